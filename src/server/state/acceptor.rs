//! What is kept from one accept to the next.

use crate::server::state::log_limit::LogLimit;
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Acceptor {
    /// Whether there may be connections waiting.
    pub(crate) waiting: bool,
    /// Not before this time.
    pub(crate) retry_at: Option<Duration>,
    /// Descriptors held in reserve.
    pub(crate) reserve: usize,
    /// A peer that holds connections open must not fill a disk.
    pub(crate) log: LogLimit,
}

impl Acceptor {
    pub(crate) fn ready(&mut self) {
        self.waiting = true;
    }

    pub(crate) fn is_waiting(&self, now: Duration) -> bool {
        self.waiting && self.retry_at.is_none_or(|at| at <= now)
    }

    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.retry_at.filter(|_| self.waiting)
    }
}
