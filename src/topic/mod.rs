//! The one idea: one log, one cursor.
//!
//! Every event is encoded once, into its topic's [`Log`](log::Log): [frames](frame::Frame) in contiguous
//! [blocks](block::Block), each already an HTTP/1.1 chunk. What a stream has been given is one number, its
//! cursor. Delivering live, catching up and merging several topics with what was sent to one stream alone are
//! all [one walk](crate::delivery::walk) that moves this number forward through the one order of the
//! sequence.
//!
//! Nothing here knows a socket, a clock or HTTP beyond the line of a chunk.
//!
//! ```text
//!   publish ─→ frame 41 │ frame 44 │ frame 45 │ (end)      log of a topic: the sequence is shared by all topics
//!                       ▲                     ▲
//!            a stream that lags     streams that are caught up: one contiguous range serves them all
//! ```

pub(crate) mod block;
pub(crate) mod busy;
pub(crate) mod chain;
pub(crate) mod few;
pub(crate) mod frame;
pub(crate) mod history;
pub(crate) mod ids;
pub(crate) mod index;
pub(crate) mod log;
pub(crate) mod name;
pub(crate) mod numbers;
pub(crate) mod position;
pub(crate) mod sequence;
#[expect(clippy::module_inception, reason = "a topic is what this layer is about")]
pub(crate) mod topic;
pub(crate) mod topics;

#[cfg(test)]
mod tests;
