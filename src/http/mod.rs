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
//! Two properties hold throughout, and the tests of `incoming` insist on them:
//!
//! - **How the bytes are cut does not matter.** A request means the same whether it arrives in one piece or
//!   byte by byte, and a bad one earns the same rejection, at the first byte that settles it.
//! - **Every byte is looked at once**, however small the pieces are: a peer cannot buy work with patience.
//!
//! What is ambiguous is refused, never repaired: an ambiguity is where this server and a proxy in front of it
//! come to disagree about where a request ends (request smuggling).

mod chunked;
mod cookie;
mod cors;
mod head;
mod headers;
mod incoming;
mod raw_request;
mod rejection;
mod reply;
mod request;
mod scan;
mod status;
mod stream_reply;
mod target;

pub use cookie::{Cookie, SameSite};
pub use cors::Cors;
pub use raw_request::RawRequest;
pub use reply::{IntoReply, Reply};
pub use request::Request;
pub use stream_reply::{AfterGap, StreamReply};

pub(crate) use headers::HeadContext;
pub(crate) use incoming::{Incoming, Limits, Progress};
pub(crate) use target::decode_segment;
