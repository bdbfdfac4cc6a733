//! Delivery: how far each stream has got in the logs that it reads, and how it gets further.
//!
//! The position of a stream is one number, the sequence of the last frame that it was given. Bytes that go
//! out before all else are in its [hand](extras::Hand): its head, the rest of a frame that the socket took in
//! part, a gap event. A stream has three flags:
//!
//! | | from | until | meaning |
//! |---|---|---|---|
//! | it **pins** the logs it reads | a short write, a budget used up, its opening | it was given everything | each of its topics counts it and keeps its log |
//! | it **conflates** | a short write, or beginning with earlier events | the same | it skips superseded frames |
//! | it is **queued** | its socket has room again, something is sent to it alone | it is served | it waits for the server, not for its socket |
//!
//! ```text
//!            published                       short write                    room, budget
//!   at rest ───────────→ offered by a wave ─────────────→ pins, conflates ──────────────→ queued ─┐
//!      ▲                        │ all taken                     ▲                                 │
//!      └────────────────────────┴───────────────────────────────┴───── everything given ──────────┘
//! ```
//!
//! A log is kept while a stream pins it or a wave is due. So a stream that does not pin has everything of its
//! topics except for what a wave will offer. A heartbeat carries an id only if no wave is on its way to the
//! stream: the id would be ahead of the events of the wave. `Topics::broken_invariant` checks this after each
//! turn of a debug build.
//!
//! Nothing here knows a socket, a clock, a handler or the id of a stream: the caller says which slot, what
//! time it is, and how to write.

pub(crate) mod batch;
pub(crate) mod compressor;
#[expect(clippy::module_inception, reason = "it is what this layer is about")]
pub(crate) mod delivery;
pub(crate) mod extras;
pub(crate) mod relief;
pub(crate) mod resume;
pub(crate) mod serve;
pub(crate) mod stream;
pub(crate) mod walk;
pub(crate) mod wave;

#[cfg(test)]
mod tests;
#[cfg(test)]
#[expect(clippy::cast_possible_truncation, reason = "there are few slots")]
mod twin;
