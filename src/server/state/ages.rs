//! How old a stream may become, in one byte of its record.
//!
//! A clock that ticks a hundred times in the longest age, modulo 256, tells the two apart as long as somebody
//! looks once in 128 ticks; the sweep looks far more often. Where the loop was held up for longer, a stream
//! that was there before is too old, and is marked so before anybody looks.
//!
//! The same clock bounds the time that a stream which has ended takes for its rest: a client that reads a
//! byte at a time would otherwise keep it for ever.

use crate::server::state::scatter::scatter;
use std::time::Duration;

/// Ticks of the clock in the longest age.
const TICKS: u32 = 100;

/// The latest tick at which a stream is too old: the sweep comes by up to two ticks later, and that is to be
/// in time as well.
const LATEST: u32 = TICKS - 2;

/// Ages differ by so many ticks, so that streams that came together do not leave together.
const SPREAD: u32 = 23;

/// Where the clock stands: a stream that expires there is just too old.
pub(crate) fn clock(age_max: Duration, now: Duration) -> u8 {
    let tick = (age_max / TICKS).as_nanos().max(1);
    u8::try_from(now.as_nanos() / tick % 256).unwrap_or_default()
}

/// Where the clock will stand when a stream that is opened now in `slot` is too old: after 75 to 98
/// hundredths of the longest age.
pub(crate) fn expires(age_max: Duration, now: Duration, slot: u32) -> u8 {
    let early = (u64::from(scatter(slot)) * u64::from(SPREAD)) >> 32;
    let ticks = LATEST - u32::try_from(early).unwrap_or_default();
    clock(age_max, now).wrapping_add(u8::try_from(ticks).unwrap_or_default())
}

/// Where the clock will stand when a stream that has ended now has had its time for what its peer has not
/// taken yet: a quarter of the longest age, and where that is short, as long as a stall may last. `None`
/// where a stall may be longer than an age.
pub(crate) fn rest_expires(age_max: Duration, now: Duration, stall: Duration) -> Option<u8> {
    let tick = (age_max / TICKS).as_nanos().max(1);
    let ticks = u8::try_from(stall.as_nanos() / tick + 1).ok().filter(|ticks| u32::from(*ticks) <= TICKS)?;
    Some(clock(age_max, now).wrapping_add(ticks.max(25)))
}

/// Whether that moment has passed where the clock stands so.
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
