//! Spreading what would otherwise come all at once.

/// The golden ratio scatters neighbouring numbers evenly over all of them.
pub(crate) fn scatter(number: u32) -> u32 {
    number.wrapping_mul(0x9E37_79B9)
}
