//! Positions in an external log: `<ms>-<n>`, the ids of a Redis stream.

use std::error::Error;
use std::fmt;
use std::str::FromStr;

/// The position of an event in an external log: the id of a Redis stream's entry. For topics whose ids are
/// [`Ids::Ordered`](crate::Ids::Ordered).
///
/// ```
/// use mio_sse::Position;
///
/// let position: Position = "1764380000000-3".parse()?;
/// assert_eq!(position, Position::new(1_764_380_000_000, 3));
/// assert!(position < Position::new(1_764_380_000_001, 0));
/// assert_eq!(position.to_string(), "1764380000000-3");
/// # Ok::<(), mio_sse::ParsePositionError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Position {
    ms: u64,
    n: u64,
}

impl Position {
    /// The position number `n`, from 0, within the millisecond `ms` since the Unix epoch. Both are only
    /// compared, so any two numbers that increase will do.
    #[must_use]
    pub const fn new(ms: u64, n: u64) -> Self {
        Self { ms, n }
    }

    /// Milliseconds since the Unix epoch.
    #[must_use]
    pub const fn ms(self) -> u64 {
        self.ms
    }

    /// The number within the millisecond.
    #[must_use]
    pub const fn n(self) -> u64 {
        self.n
    }
}

impl fmt::Display for Position {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.ms, self.n)
    }
}

/// The place of an event in an order that is shared with others, which may be ahead.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Place {
    /// The number of the event among all that is published to several loops.
    Number(u64),
    /// The position in an external log.
    At(Position),
}

/// The error for a text that is not a [`Position`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ParsePositionError;

impl fmt::Display for ParsePositionError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a position is two numbers with a hyphen between them")
    }
}

impl Error for ParsePositionError {}

impl FromStr for Position {
    type Err = ParsePositionError;

    /// Reads what [`Display`](fmt::Display) writes, and nothing else.
    fn from_str(text: &str) -> Result<Self, ParsePositionError> {
        let (ms, n) = text.split_once('-').ok_or(ParsePositionError)?;
        let number = |digits| number(digits).ok_or(ParsePositionError);
        Ok(Self { ms: number(ms)?, n: number(n)? })
    }
}

/// A number without sign and without leading zeros.
pub(crate) fn number(digits: &str) -> Option<u64> {
    let canonical =
        digits.bytes().all(|byte| byte.is_ascii_digit()) && (digits == "0" || !digits.starts_with('0'));
    digits.parse().ok().filter(|_| canonical)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_texts_than_positions_are_refused() {
        for text in [
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
            "1-18446744073709551616",
            "99999999999999999999-0",
        ] {
            assert_eq!(text.parse::<Position>(), Err(ParsePositionError), "{text:?}");
        }
        assert_eq!("0-0".parse(), Ok(Position::default()));
        let last = Position::new(u64::MAX, u64::MAX);
        assert_eq!(last.to_string().parse(), Ok(last));
    }
}
