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

pub(crate) mod browser;
pub(crate) mod coding;
pub(crate) mod header;
pub(crate) mod parse;
pub(crate) mod reply;
pub(crate) mod token;
