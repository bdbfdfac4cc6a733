//! Wire ids: `<unix milliseconds>-<n>`, the form of a Redis stream's.
//!
//! An id that can be compared says where its event stood although the event is long gone, also after a restart and
//! on another machine; a number that begins anew with each process says nothing.

use std::fmt;

/// Where an event stands in time. Strictly increasing over all topics of a server, also when the clock steps back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Position {
    /// Milliseconds since the Unix epoch.
    pub(crate) ms: u64,
    /// Tells events of one millisecond apart.
    pub(crate) n: u32,
}

impl Position {
    /// The position behind this one at that time of day.
    pub(crate) fn next(self, unix_ms: u64) -> Self {
        if unix_ms > self.ms {
            return Self { ms: unix_ms, n: 0 };
        }
        match self.n.checked_add(1) {
            Some(n) => Self { ms: self.ms, n },
            None => Self { ms: self.ms + 1, n: 0 },
        }
    }

    /// Reads what [`Display`](fmt::Display) writes, and nothing else: what somebody else has made up is not ours.
    pub(crate) fn parse(id: &str) -> Option<Self> {
        let (ms, n) = id.split_once('-')?;
        let position = Self { ms: number(ms)?, n: u32::try_from(number(n)?).ok()? };
        Some(position)
    }
}

/// A number without sign and without leading zeros.
fn number(digits: &str) -> Option<u64> {
    let canonical =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| canonical)
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.n)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn what_is_no_position_is_none() {
        for id in [
            "",
            "-",
            "1",
            "1-",
            "-1",
            "01-0",
            "1-00",
            "+1-0",
            "1-0 ",
            "1-0-0",
            "1-4294967296",
            "99999999999999999999-0",
        ] {
            assert_eq!(Position::parse(id), None, "{id:?}");
        }
        assert_eq!(Position::parse("0-0"), Some(Position::default()));
    }

    #[test]
    fn the_count_goes_on_when_it_is_full() {
        let last = Position { ms: 5, n: u32::MAX };
        assert_eq!(last.next(5), Position { ms: 6, n: 0 });
    }

    proptest! {
        #[test]
        fn positions_increase_whatever_the_clock_does(clock in proptest::collection::vec(0_u64..5, 1..50)) {
            let mut last = Position { ms: 2, n: 0 };
            for ms in clock {
                let next = last.next(ms);
                prop_assert!(next > last);
                prop_assert_eq!(Position::parse(&next.to_string()), Some(next));
                last = next;
            }
        }
    }
}
