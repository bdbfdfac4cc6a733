//! HTTP for browsers: cookies, CORS, and the hosts that a server serves.

pub(crate) mod cookie;
pub(crate) mod cors;
pub(crate) mod cors_protocol;
mod host;
pub(crate) mod hosts;
mod origin;
