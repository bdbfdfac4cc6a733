//! The state of accepting connections.

use crate::server::state::log_limit::LogLimit;
use std::time::Duration;

#[derive(Debug, Default)]
pub(crate) struct Acceptor {
    /// Whether connections may be waiting.
    pub(crate) waiting: bool,
    /// Do not accept before this time.
    pub(crate) retry_at: Option<Duration>,
    /// Descriptors held in reserve.
    pub(crate) reserve: usize,
    /// Limits warnings: clients must not be able to fill a disk.
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
