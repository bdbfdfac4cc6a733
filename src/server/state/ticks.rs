//! Time as records keep it.

use crate::delivery::delivery::tick_of;
use std::time::Duration;

/// A time as a number of milliseconds.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// The clock's time in milliseconds as records keep it: see [`tick_of`].
pub(crate) fn ticks(time: Duration) -> u32 {
    tick_of(milliseconds(time))
}
