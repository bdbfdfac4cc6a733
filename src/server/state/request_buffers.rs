//! What is kept from one request to the next, and from turn to turn: buffers, the date, and whose turn it is.

use crate::http::parse::incoming::Incoming;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Requests that one connection may have answered in a turn, however many others wait.
const REQUESTS_PER_VISIT_MIN: usize = 16;

/// Bytes that are read in one turn, of all connections together: some milliseconds' worth.
const BYTES_PER_TURN: usize = 4 << 20;

/// Buffers that are kept from one connection to the next, and the date.
#[derive(Debug, Default)]
pub(crate) struct RequestBuffers {
    /// What is read goes here first. Only the beginning of a request that is not complete is kept for its
    /// connection.
    pub(crate) buffer: Vec<u8>,
    pub(crate) incoming: Incoming,
    pub(crate) replies: Vec<u8>,
    pub(crate) date: Date,
    /// Bytes that may still be read or replied in this turn.
    pub(crate) bytes_left: usize,
    /// Requests that may still be answered in this turn.
    pub(crate) left: usize,
    /// How many of them each connection gets.
    pub(crate) share: usize,
    /// The slot of the connection that was read last: those behind it come first in the next turn.
    pub(crate) last: u32,
}

impl RequestBuffers {
    /// Shares out the requests of a turn among the connections in `unread` and `ready` others, and puts
    /// `unread` in order: each slot once, and round and round, so that none waits for ever.
    pub(crate) fn begin_turn(&mut self, unread: &mut Vec<u32>, ready: usize, budget: usize) {
        unread.sort_unstable();
        unread.dedup();
        let served = unread.partition_point(|slot| *slot <= self.last);
        unread.rotate_left(served);
        (self.left, self.bytes_left) = (budget, BYTES_PER_TURN);
        self.share = (budget / (unread.len() + ready).max(1)).max(REQUESTS_PER_VISIT_MIN);
    }

    /// So many bytes were read or replied.
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
    /// Makes sure that the text is of `second`, by the clock of unix.
    pub(crate) fn refresh(&mut self, second: u64) {
        if second != self.second || self.text.is_empty() {
            self.second = second;
            self.text = http_date(UNIX_EPOCH + Duration::from_secs(second));
        }
    }
}

/// The form of RFC 9110 5.6.7. It has four digits for the year; a clock beyond them is as good as none.
fn http_date(now: SystemTime) -> String {
    let representable = now.duration_since(UNIX_EPOCH).is_ok_and(|since| since.as_secs() < 253_402_300_800);
    httpdate::fmt_http_date(if representable { now } else { UNIX_EPOCH })
}
