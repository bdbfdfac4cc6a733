//! HTTP/1.1 without a socket and without a clock: bytes become a [`Request`] or a [`Rejection`], a [`Reply`]
//! becomes bytes.
//!
//! ```text
//!            ┌──────────── Incoming ────────────┐
//!  bytes ──▶ │ empty lines ─▶ head ─▶ body      │ ──▶ Request ──▶ handler ──▶ Reply ──▶ bytes
//!            │     (HeadScan, Head)  (Chunked)  │
//!            └────────────────┬─────────────────┘
//!                             └──▶ Rejection ──▶ bytes, then the connection closes
//! ```
//!
//! Two properties hold throughout, and the tests of `incoming` check them:
//!
//! - **The boundaries between reads do not matter.** A request means the same whether it arrives in one piece
//!   or byte by byte, and a bad one gets the same rejection, at the first byte that settles it.
//! - **Every byte is looked at once**, however small the pieces are: a patient peer cannot cause more work.
//!
//! Ambiguous requests are refused, never repaired. Otherwise this server and a proxy could disagree about the
//! end of a request (request smuggling).

pub(crate) mod browser;
pub(crate) mod coding;
pub(crate) mod header;
pub(crate) mod parse;
pub(crate) mod reply;
pub(crate) mod token;
