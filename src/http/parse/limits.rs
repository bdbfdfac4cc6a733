//! The limits that every part of the parser keeps to.

/// The limits of a request.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Limits {
    /// The request line and the headers with all line ends; the trailers of a chunked body have the same
    /// limit.
    pub(crate) head_bytes_max: usize,
    /// The target as it is sent, query included.
    pub(crate) target_bytes_max: usize,
    /// Header lines; more than 128 are never accepted.
    pub(crate) headers_max: usize,
    /// The body without its transfer coding.
    pub(crate) body_bytes_max: usize,
}
