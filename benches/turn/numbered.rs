//! Events with a number, which show whether a stream has missed one.

use mio_sse::Event;

/// Period of the numbers: a number takes two bytes of a socket's four.
const COUNT: u32 = 4096;

/// Bytes of data of each event. The first are its number.
const DATA_BYTES: usize = 64;

/// Place of the number in a frame: after `48\r\n` and `data: `.
const NUMBER_AT: usize = 10;

const NUMBER_BYTES: usize = 8;

/// Several events in one write.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run {
    /// Place of the first event.
    pub(crate) from: u32,
    /// Place of the event after the last.
    pub(crate) to: u32,
    pub(crate) events: u64,
}

/// The events as they are on the wire.
#[derive(Debug)]
pub(crate) struct Numbered {
    /// The frames of all places in order, all of the same size.
    frames: Vec<u8>,
    frame_bytes: usize,
    /// The bytes read last, and their meaning: most streams get the same bytes.
    known: Run,
    first: [u8; NUMBER_BYTES],
    last: [u8; NUMBER_BYTES],
    bytes: usize,
}

impl Numbered {
    pub(crate) fn new() -> Self {
        let mut frames = Vec::new();
        for place in 0..COUNT {
            let body = format!("data: {}\n\n", data(place));
            frames.extend_from_slice(format!("{:x}\r\n{body}\r\n", body.len()).as_bytes());
        }
        let frame_bytes = frames.len() / COUNT as usize;
        let known = Run { from: 0, to: 0, events: 0 };
        Self { frames, frame_bytes, known, first: [0; NUMBER_BYTES], last: [0; NUMBER_BYTES], bytes: 0 }
    }

    /// All events, in order.
    pub(crate) fn events() -> Vec<Event<'static>> {
        (0..COUNT).map(|place| Event::new().data(data(place))).collect()
    }

    /// Reads these bytes, which have to be whole frames.
    pub(crate) fn read(&mut self, bytes: &[u8]) -> Run {
        let number = |at: usize| bytes.get(at..).and_then(|from| from.first_chunk::<NUMBER_BYTES>());
        let first = number(NUMBER_AT).expect("a frame");
        let last = number(bytes.len() + NUMBER_AT - self.frame_bytes).expect("a frame");
        if self.bytes != bytes.len() || self.first != *first || self.last != *last {
            self.known = self.compare(bytes);
            (self.first, self.last, self.bytes) = (*first, *last, bytes.len());
        }
        self.known
    }

    fn compare(&self, bytes: &[u8]) -> Run {
        let number = str::from_utf8(&bytes[NUMBER_AT..][..NUMBER_BYTES]).expect("a number");
        let from: u32 = number.parse().expect("a number");
        let mut place = from;
        for frame in bytes.chunks(self.frame_bytes) {
            let expected = &self.frames[place as usize * self.frame_bytes..][..self.frame_bytes];
            assert_eq!(frame, expected, "the frame in place {place}");
            place = (place + 1) % COUNT;
        }
        Run { from, to: place, events: (bytes.len() / self.frame_bytes) as u64 }
    }
}

fn data(place: u32) -> String {
    format!("{place:0width$}{}", "x".repeat(DATA_BYTES - NUMBER_BYTES), width = NUMBER_BYTES)
}
