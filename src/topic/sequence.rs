//! The one order of all that streams are given.
//!
//! A sequence has two levels in one number. What is published to a topic takes the next number of the upper
//! level, which all topics share. What is sent to one stream alone comes behind everything published so far:
//! it has the same upper part and counts in the lower one, which other streams use as well. So what waits for
//! one stream needs no number of the others.

/// Bits of the lower level. The upper one has 52: at 20 million events a second they last for seven years.
const LOCAL_BITS: u32 = 12;

const LOCAL: u64 = (1 << LOCAL_BITS) - 1;

/// The place of what is published next, where everything up to `now` has one.
pub(crate) fn next_shared(now: u64) -> u64 {
    (now | LOCAL) + 1
}

/// The place of what is sent to a stream alone, behind `now`.
pub(crate) fn next_local(now: u64) -> u64 {
    let next = now + 1;
    next + u64::from(is_shared(next))
}

/// The place of the newest event that is before or at `sequence`, if there was any there.
pub(crate) fn shared(sequence: u64) -> u64 {
    sequence & !LOCAL
}

/// Whether this is the place of something published, which many streams may be given.
pub(crate) fn is_shared(sequence: u64) -> bool {
    sequence & LOCAL == 0
}

/// Which place of things published is the last up to `sequence`, counted from the first.
pub(crate) fn shared_number(sequence: u64) -> u64 {
    sequence >> LOCAL_BITS
}

/// The place that is counted as this one.
pub(crate) fn shared_place(number: u64) -> Option<u64> {
    number.checked_mul(LOCAL + 1)
}
