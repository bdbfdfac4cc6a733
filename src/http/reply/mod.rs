//! Replies, and their bytes.

pub(crate) mod failure;
pub(crate) mod headers;
pub(crate) mod refused;
pub(crate) mod rejected;
#[expect(clippy::module_inception, reason = "a reply is what this layer is about")]
pub(crate) mod reply;
pub(crate) mod status;
pub(crate) mod stream_reply;
