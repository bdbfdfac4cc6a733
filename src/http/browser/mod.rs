//! What only browsers ask for: cookies, and who may read from other origins.

pub(crate) mod cookie;
pub(crate) mod cors;
pub(crate) mod cors_protocol;
