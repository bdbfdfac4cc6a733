//! The age limit of a stream, in one byte of its record.
//!
//! A clock ticks a hundred times in `max_age`, modulo 256. It tells old from young as long as every stream is
//! checked once in 128 ticks; the sweep does so far more often. If the loop was delayed for longer, existing
//! streams are too old, and are marked before they are checked.
//!
//! The same clock bounds the time that a stream which has ended takes to write its rest. Otherwise a client
//! that reads a byte at a time would keep it for ever.

use crate::server::state::scatter::scatter;
use std::time::Duration;

/// Ticks of the clock in `max_age`.
const TICKS: u32 = 100;

/// The latest tick at which a stream expires. The sweep visits it up to two ticks later, which has to be
/// within `max_age` too.
const LATEST: u32 = TICKS - 2;

/// The spread of ages in ticks, so streams that opened together do not close together.
const SPREAD: u32 = 23;

/// The current tick. A stream that expires at this tick is too old.
pub(crate) fn clock(age_max: Duration, now: Duration) -> u8 {
    let tick = (age_max / TICKS).as_nanos().max(1);
    u8::try_from(now.as_nanos() / tick % 256).unwrap_or_default()
}

/// The tick at which a stream opened now in `slot` expires: after 75 to 98 hundredths of `max_age`.
pub(crate) fn expires(age_max: Duration, now: Duration, slot: u32) -> u8 {
    let early = (u64::from(scatter(slot)) * u64::from(SPREAD)) >> 32;
    let ticks = LATEST - u32::try_from(early).unwrap_or_default();
    clock(age_max, now).wrapping_add(u8::try_from(ticks).unwrap_or_default())
}

/// The tick at which the time of a stream that ends now to write its rest is over: a quarter of `max_age`, or
/// the stall time-out if that is longer. `None` if the stall time-out is longer than `max_age`.
pub(crate) fn rest_expires(age_max: Duration, now: Duration, stall: Duration) -> Option<u8> {
    let tick = (age_max / TICKS).as_nanos().max(1);
    let ticks = u8::try_from(stall.as_nanos() / tick + 1).ok().filter(|ticks| u32::from(*ticks) <= TICKS)?;
    Some(clock(age_max, now).wrapping_add(ticks.max(25)))
}

/// Whether `expires` has passed at the tick `clock`.
pub(crate) fn is_over(clock: u8, expires: u8) -> bool {
    clock.wrapping_sub(expires) < 128
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ages_lie_between_three_quarters_and_all_of_the_longest() {
        let age_max = Duration::from_secs(60);
        for slot in 0..1000 {
            let opened = Duration::from_millis(u64::from(slot) * 977);
            let expires = expires(age_max, opened, slot);
            let looks = (0..900).map(|look| age_max * look / 800);
            let age = looks.into_iter().find(|age| is_over(clock(age_max, opened + *age), expires)).unwrap();
            assert!(age >= age_max * 3 / 4 && age <= age_max, "{slot}: {age:?}");
        }
    }

    #[test]
    fn ages_are_spread() {
        let age_max = Duration::from_secs(60);
        let mut ages: Vec<_> = (0..1000).map(|slot| expires(age_max, Duration::ZERO, slot)).collect();
        ages.sort_unstable();
        ages.dedup();
        assert_eq!(ages.len(), SPREAD as usize);
    }
}
