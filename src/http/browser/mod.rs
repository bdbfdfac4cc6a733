//! What only browsers ask for: cookies, who may read from other origins, and which hosts a server is.

pub(crate) mod cookie;
pub(crate) mod cors;
pub(crate) mod cors_protocol;
mod host;
pub(crate) mod hosts;
mod origin;
