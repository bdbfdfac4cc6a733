//! Shared buffers for requests, the date, and the budget of a turn.

use crate::http::parse::incoming::Incoming;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Requests of one connection that are handled in a turn at least, however many others wait.
const REQUESTS_PER_VISIT_MIN: usize = 16;

/// Bytes read from all connections in one turn: some milliseconds' worth.
const BYTES_PER_TURN: usize = 4 << 20;

/// Buffers that connections share, the date, and the budget of a turn.
#[derive(Debug, Default)]
pub(crate) struct RequestBuffers {
    /// The buffer for reads. Only an incomplete request is copied to its connection.
    pub(crate) buffer: Vec<u8>,
    pub(crate) incoming: Incoming,
    pub(crate) replies: Vec<u8>,
    pub(crate) date: Date,
    /// Bytes that may still be read or written as replies in this turn.
    pub(crate) bytes_left: usize,
    /// Requests that may still be handled in this turn.
    pub(crate) left: usize,
    /// Requests of each connection in this turn at most.
    pub(crate) share: usize,
    /// The slot of the connection that was read last. The next turn begins with the slots after it.
    pub(crate) last: u32,
}

impl RequestBuffers {
    /// Divides the requests of a turn among the connections in `unread` and `ready` others. Sorts `unread` so
    /// that each slot is there once and all get their turn in rotation.
    pub(crate) fn begin_turn(&mut self, unread: &mut Vec<u32>, ready: usize, budget: usize) {
        unread.sort_unstable();
        unread.dedup();
        let served = unread.partition_point(|slot| *slot <= self.last);
        unread.rotate_left(served);
        (self.left, self.bytes_left) = (budget, BYTES_PER_TURN);
        self.share = (budget / (unread.len() + ready).max(1)).max(REQUESTS_PER_VISIT_MIN);
    }

    /// Subtracts bytes that were read or written as replies.
    pub(crate) fn spend(&mut self, bytes: usize) {
        self.bytes_left = self.bytes_left.saturating_sub(bytes);
    }

    /// See `Server::shrink_buffers`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        if self.replies.capacity() > bytes {
            self.replies = Vec::new();
        }
    }
}

/// The `Date` header's value, formatted once a second.
#[derive(Debug, Default)]
pub(crate) struct Date {
    second: u64,
    pub(crate) text: String,
}

impl Date {
    /// Formats the date of `second` (unix time), if it has changed.
    pub(crate) fn refresh(&mut self, second: u64) {
        if second != self.second || self.text.is_empty() {
            self.second = second;
            self.text = http_date(UNIX_EPOCH + Duration::from_secs(second));
        }
    }
}

/// The format of RFC 9110 5.6.7. It has four digits for the year. A clock beyond that is not right anyway.
fn http_date(now: SystemTime) -> String {
    let representable = now.duration_since(UNIX_EPOCH).is_ok_and(|since| since.as_secs() < 253_402_300_800);
    httpdate::fmt_http_date(if representable { now } else { UNIX_EPOCH })
}
