//! Ids of streams.

use std::fmt;

/// Identifies one stream of a server. After the stream has closed, every operation with its id returns
/// [`Error::Closed`](crate::Error::Closed). An id never identifies another stream, as long as the server
/// lives.
///
/// # Cost
/// Currently 12 bytes, `Copy`. A lookup is an index and a comparison.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct StreamId {
    pub(crate) slot: u32,
    /// Taken from one counter for each stream, so a reused slot gets a new one.
    pub(crate) generation: Generation,
    /// The number of its loop, if there are several.
    pub(crate) shard: u16,
}

/// A 48-bit number. At 20,000 streams a second it lasts for four centuries, and it leaves two bytes of a
/// slot's record for flags. It has three parts, highest first, so that it needs no more alignment than those
/// flags.
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
