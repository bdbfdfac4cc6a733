//! Who was given what: where each stream stands in the logs that it reads, and how it is moved on.
//!
//! A stream's place is one number, the sequence of the last frame that it was given. What goes out before all
//! else is in its [hand](extras::Hand): its head, the rest of a frame that the socket has taken in part, the
//! notice that it has missed something. Three questions are asked of a stream, and each has an answer of its
//! own:
//!
//! - Does it **pin** the logs it reads? Yes, until it has been given everything there is, apart from what a
//!   wave is still to offer.
//! - May it be **conflated**? Yes, since its socket refused something, or since it began with what was
//!   published before.
//! - Is it **queued** to be served? Yes, while it is the server's turn and not that of the socket.
//!
//! ```text
//!            published                       short write                    room, budget
//!   at rest ───────────→ offered by a wave ─────────────→ pins, conflates ──────────────→ queued ─┐
//!      ▲                        │ all taken                     ▲                                 │
//!      └────────────────────────┴───────────────────────────────┴───── everything given ──────────┘
//! ```
//!
//! Nothing here knows a socket, a clock, a handler or an id of a stream: the caller says which slot, what
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
