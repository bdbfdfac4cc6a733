//! Decodes a compressed stream, piece by piece.

use flate2::write::GzDecoder;
use std::io::Write;

pub(crate) struct Gunzip(GzDecoder<Vec<u8>>);

impl Gunzip {
    pub(crate) fn new() -> Self {
        Self(GzDecoder::new(Vec::new()))
    }

    /// The text that has arrived with a chunk.
    pub(crate) fn read(&mut self, chunk: &[u8]) -> Vec<u8> {
        self.0.write_all(chunk).and_then(|()| self.0.flush()).expect("it can be decompressed");
        std::mem::take(self.0.get_mut())
    }

    /// Checks the end of the stream.
    pub(crate) fn end(mut self) {
        self.0.try_finish().expect("the right sum at the end");
        assert!(self.0.get_ref().is_empty(), "all was read as it came");
    }
}
