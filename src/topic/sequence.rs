//! The sequence: one order for all frames of all streams.
//!
//! A sequence is a number with two levels. Each published event takes the next number of the upper level,
//! which all topics share. An event for one stream alone comes after everything published so far: it has the
//! same upper part and counts in the lower one, which other streams use as well. So events that wait for one
//! stream use up no numbers of the others.

/// Bits of the lower level. The upper one has 52: at 20 million events a second they last for seven years.
const LOCAL_BITS: u32 = 12;

const LOCAL: u64 = (1 << LOCAL_BITS) - 1;

/// The sequence of the next published event, after `now`.
pub(crate) fn next_shared(now: u64) -> u64 {
    (now | LOCAL) + 1
}

/// The sequence of the next event for a stream alone, after `now`.
pub(crate) fn next_local(now: u64) -> u64 {
    let next = now + 1;
    next + u64::from(is_shared(next))
}

/// The sequence of the newest published event at or before `sequence`, if there was one.
pub(crate) fn shared(sequence: u64) -> u64 {
    sequence & !LOCAL
}

/// Whether this is the sequence of a published event, which many streams may get.
pub(crate) fn is_shared(sequence: u64) -> bool {
    sequence & LOCAL == 0
}

/// The number of the last published place up to `sequence`, counted from the first.
pub(crate) fn shared_number(sequence: u64) -> u64 {
    sequence >> LOCAL_BITS
}

/// The sequence with this number.
pub(crate) fn shared_place(number: u64) -> Option<u64> {
    number.checked_mul(LOCAL + 1)
}
