//! Times as stored in records.

use crate::delivery::delivery::tick_of;
use std::time::Duration;

/// A time in milliseconds.
pub(crate) fn milliseconds(time: Duration) -> u64 {
    u64::try_from(time.as_millis()).unwrap_or(u64::MAX)
}

/// A time in the 32-bit milliseconds of records, see [`tick_of`].
pub(crate) fn ticks(time: Duration) -> u32 {
    tick_of(milliseconds(time))
}
