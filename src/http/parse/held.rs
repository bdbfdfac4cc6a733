//! What has arrived of a request that is not whole yet.

use crate::http::parse::incoming::Incoming;

/// Bytes that have arrived and are not a whole request yet, and what is known of it.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) bytes: Vec<u8>,
    pub(crate) incoming: Incoming,
}
