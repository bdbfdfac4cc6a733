//! What only browsers ask for: cookies, and who may read from other origins.

pub(crate) mod cookie;
pub(crate) mod cors;
mod cors_protocol;
mod host;
mod origin;
