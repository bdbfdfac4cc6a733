//! One log, one cursor: published events, and the log that each topic keeps of them.
//!
//! Every event is encoded once, into its topic's [`Log`](log::Log): [frames](frame::Frame) in contiguous
//! [blocks](block::Block), each already an HTTP/1.1 chunk. A stream has one number, its cursor: the last
//! frame that it was given. Live delivery, catching up, and merging several topics with private sends are all
//! [one walk](crate::delivery::walk) that moves the cursor forward in the one order of sequences.
//!
//! Nothing here knows a socket, a clock, or any HTTP besides the line of a chunk.
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
