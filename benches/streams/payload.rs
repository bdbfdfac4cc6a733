//! The events that are published: numbered, so that a missing or doubled one shows, with 64 bytes of data
//! each.

/// Bytes of the value of a `data:` line.
pub(crate) const DATA_BYTES: usize = 64;

/// Bytes of `data: <value>\n`.
pub(crate) const LINE_BYTES: usize = 6 + DATA_BYTES + 1;

/// Fills a value up after its number.
pub(crate) const PADDING: u8 = b'x';

/// The data of event `number`: `<number> xxx…`.
pub(crate) fn data(number: u32) -> [u8; DATA_BYTES] {
    let mut data = [PADDING; DATA_BYTES];
    let text = format!("{number} ");
    data[..text.len()].copy_from_slice(text.as_bytes());
    data
}

/// The lines of the events that are about to be published. Every stream compares what it reads with the same
/// few bytes, which makes it cheap to check every byte of every event.
#[derive(Debug, Default)]
pub(crate) struct Lines {
    first: u32,
    lines: Vec<[u8; LINE_BYTES]>,
}

impl Lines {
    pub(crate) fn new(first: u32, count: u32) -> Lines {
        let line = |number| {
            let mut line = [b'\n'; LINE_BYTES];
            line[..6].copy_from_slice(b"data: ");
            line[6..6 + DATA_BYTES].copy_from_slice(&data(number));
            line
        };
        Lines { first, lines: (first..first + count).map(line).collect() }
    }

    /// The line of event `number`, if it is being published.
    pub(crate) fn get(&self, number: u32) -> Option<&[u8; LINE_BYTES]> {
        self.lines.get(number.checked_sub(self.first)? as usize)
    }
}
