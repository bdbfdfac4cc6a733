//! What is kept from one flush to the next.

use crate::conn::close_reason::CloseReason;
use crate::topic::block::Block;

/// Kept for their capacity; empty between turns.
#[derive(Debug, Default)]
pub(crate) struct FlushBuffers {
    /// Where a run is made close-delimited.
    pub(crate) unwrapped: Block,
    /// Subscribers that the walk over a topic has left for a closer look.
    pub(crate) aside: Vec<u32>,
    pub(crate) failed: Vec<(u32, CloseReason)>,
}

impl FlushBuffers {
    /// See `Server::shrink_buffers`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        self.unwrapped.shrink(bytes);
    }
}
