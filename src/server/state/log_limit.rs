//! A limit for log lines that could repeat.

use std::time::Duration;

/// Allows one log line in an interval.
#[derive(Debug, Default)]
pub(crate) struct LogLimit {
    last: Option<Duration>,
}

impl LogLimit {
    /// Whether `interval` has passed since this last returned true.
    pub(crate) fn is_due(&mut self, now: Duration, interval: Duration) -> bool {
        let due = self.last.is_none_or(|last| now.saturating_sub(last) >= interval);
        if due {
            self.last = Some(now);
        }
        due
    }
}
