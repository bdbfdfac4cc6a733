//! Spreads events in time that would otherwise coincide.

/// Scatters neighbouring numbers evenly over all 32-bit numbers, by the golden ratio.
pub(crate) fn scatter(number: u32) -> u32 {
    number.wrapping_mul(0x9E37_79B9)
}
