//! Spans: places in the bytes of a request, stored instead of copies.

/// From `start` to `end`. The holder of the span knows in which bytes.
#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Span {
    pub(crate) start: usize,
    pub(crate) end: usize,
}

impl Span {
    /// The place of `part`, which must be a slice of `whole`.
    pub(crate) fn locate(part: &[u8], whole: &[u8]) -> Self {
        let start = part.as_ptr().addr().wrapping_sub(whole.as_ptr().addr());
        debug_assert!(start + part.len() <= whole.len(), "a part lies within the whole");
        Self { start, end: start + part.len() }
    }

    /// The bytes at this place; empty if `whole` is not the slice that the span was made for.
    pub(crate) fn bytes(self, whole: &[u8]) -> &[u8] {
        whole.get(self.start..self.end).unwrap_or_default()
    }

    /// The text at this place. The span must be of valid UTF-8.
    pub(crate) fn text(self, whole: &[u8]) -> &str {
        let text = str::from_utf8(self.bytes(whole));
        debug_assert!(text.is_ok(), "a span of text was made for other bytes");
        text.unwrap_or_default()
    }

    /// The text at this place of a text, which needs no check.
    pub(crate) fn part_of(self, whole: &str) -> &str {
        let text = whole.get(self.start..self.end);
        debug_assert!(text.is_some(), "a span was made for another text");
        text.unwrap_or_default()
    }
}

/// One header line.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeaderSpan {
    pub(crate) name: Span,
    pub(crate) value: Span,
}
