//! Time as records keep it.

use std::time::Duration;

/// The clock's time in milliseconds as records keep it. Wraps after 49 days: only differences mean something, and
/// `Config` keeps those far below.
pub(crate) fn ticks(time: Duration) -> u32 {
    u32::try_from(time.as_millis() & u128::from(u32::MAX)).unwrap_or_default()
}
