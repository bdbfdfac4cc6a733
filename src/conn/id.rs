//! The name of a stream.

use std::fmt;

/// Names one stream of one server, for as long as the server lives: after the stream has ended the id means
/// nothing, and every operation with it is [`Error::Closed`](crate::Error::Closed). It never comes to mean
/// another stream.
///
/// Cost: 12 bytes, `Copy`. A look-up is an index and a comparison.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    pub(crate) slot: u32,
    /// Drawn anew for each stream from one counter, so that a slot that is used again has another one.
    pub(crate) generation: Generation,
    /// Which of several loops it is of.
    pub(crate) shard: u16,
}

/// A 48-bit number: at 20,000 streams a second it lasts for four centuries, and leaves two bytes of a slot's
/// record to its flags. In three parts, highest first, so that it needs no more alignment than those flags
/// leave.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub(crate) struct Generation([u16; 3]);

impl Generation {
    pub(crate) fn next(self) -> Self {
        let Self([high, middle, low]) = self;
        let (low, carry) = low.overflowing_add(1);
        let (middle, carry) = middle.overflowing_add(u16::from(carry));
        Self([high.wrapping_add(u16::from(carry)), middle, low])
    }
}

impl fmt::Debug for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self([high, middle, low]) = *self;
        write!(f, "{}", u64::from(high) << 32 | u64::from(middle) << 16 | u64::from(low))
    }
}

impl fmt::Debug for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "StreamId({self})")
    }
}

impl fmt::Display for StreamId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.shard > 0 {
            write!(f, "{}:", self.shard)?;
        }
        write!(f, "{}.{}", self.slot, self.generation)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn generations_carry_into_their_higher_parts() {
        let mut generation = Generation::default();
        for count in 1..=70_000 {
            generation = generation.next();
            assert_eq!(generation.to_string(), count.to_string());
        }
        assert_eq!(Generation([0, u16::MAX, u16::MAX]).next(), Generation([1, 0, 0]));
    }
}
