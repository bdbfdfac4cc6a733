//! The chunked transfer coding (RFC 9112 7.1), decoded byte by byte as it arrives.
//!
//! ```text
//!            ┌──────────────────────────────────────────────┐
//!            ▼      size > 0                                │
//!   Size ─▶ SizeLineFeed ─────────▶ Data ─▶ DataReturn ─▶ DataLineFeed
//!    │ ▲         ▲  │ size = 0
//!    ▼ │         │  └─▶ TrailerStart ─▶ EndLineFeed ─▶ Complete
//!   SizeSpace    │        │      ▲
//!    │           │        ▼      │
//!    └▶ Extension┘    TrailerName ─▶ TrailerValue ─▶ TrailerLineFeed
//! ```
//!
//! Extensions and trailers are checked for their form, counted against a limit, and dropped.

use crate::http::parse::limits::Limits;
use crate::http::parse::rejection::Rejection;
use crate::http::token::{is_control, is_token_byte};

/// The hexadecimal digits of a `u64`, leading zeros included.
const SIZE_DIGITS_MAX: u8 = 16;
/// For all chunks of a body together. Otherwise a peer could make the server read a hundred bytes for each
/// byte of its body. Signed uploads, the one known use of extensions, need about 90 bytes for chunks of at
/// least 64 KiB.
const EXTENSION_BYTES_MAX: usize = 4096;

/// The state of decoding a body.
#[derive(Debug, Default)]
pub(crate) struct Chunked {
    state: State,
    /// The size of the current chunk so far, while its digits arrive; then how many of its bytes are missing.
    size: u64,
    digits: u8,
    extension_bytes: usize,
    trailer_bytes: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum State {
    #[default]
    Size,
    SizeSpace,
    Extension,
    SizeLineFeed,
    Data,
    DataReturn,
    DataLineFeed,
    TrailerStart,
    TrailerName,
    TrailerValue,
    TrailerLineFeed,
    EndLineFeed,
    Complete,
}

impl Chunked {
    pub(crate) fn is_complete(&self) -> bool {
        self.state == State::Complete
    }

    /// Decodes the next bytes and appends their data to `body`. Returns how many bytes were taken: all of
    /// them, unless the body is complete.
    pub(crate) fn advance(
        &mut self,
        unseen: &[u8],
        body: &mut Vec<u8>,
        limits: &Limits,
    ) -> Result<usize, Rejection> {
        let mut rest = unseen;
        while !self.is_complete() {
            if self.state == State::Data {
                rest = self.take_data(rest, body);
            }
            let Some((&byte, behind)) = rest.split_first() else { break };
            self.state = self.take_byte(byte, body.len(), limits)?;
            rest = behind;
        }
        Ok(unseen.len() - rest.len())
    }

    /// Takes the data of the current chunk, as far as it is there. Returns the bytes after it.
    fn take_data<'a>(&mut self, rest: &'a [u8], body: &mut Vec<u8>) -> &'a [u8] {
        // A chunk larger than the address space has been refused with its size.
        let wanted = usize::try_from(self.size).unwrap_or(usize::MAX);
        let (data, behind) = rest.split_at_checked(wanted).unwrap_or((rest, &[]));
        body.extend_from_slice(data);
        self.size -= data.len() as u64; // At most `wanted`, and a usize has at most 64 bits.
        if self.size == 0 {
            self.state = State::DataReturn;
        }
        behind
    }

    /// The state after `byte`, which is not part of a chunk's data.
    fn take_byte(&mut self, byte: u8, body_len: usize, limits: &Limits) -> Result<State, Rejection> {
        match (self.state, byte) {
            (State::Size, b'0'..=b'9' | b'a'..=b'f' | b'A'..=b'F') => self.take_digit(byte),
            (State::Size, _) if self.digits == 0 => Err(Rejection::MalformedChunk),
            (State::Size, b'\r' | b';' | b' ' | b'\t') => {
                self.check_size(body_len, limits)?;
                match byte {
                    b'\r' => Ok(State::SizeLineFeed),
                    _ => self.take_extension(byte),
                }
            }
            // Whitespace is allowed before an extension and nowhere else.
            (State::SizeSpace, b';' | b' ' | b'\t') => self.take_extension(byte),
            (State::Extension, b'\r') => Ok(State::SizeLineFeed),
            (State::Extension, _) if !is_control(byte) => {
                self.take_extension(byte)?;
                Ok(State::Extension)
            }
            (State::SizeLineFeed, b'\n') => Ok(self.end_size_line()),
            (State::DataReturn, b'\r') => Ok(State::DataLineFeed),
            (State::DataLineFeed, b'\n') => Ok(State::Size),
            (
                State::Size
                | State::SizeSpace
                | State::Extension
                | State::SizeLineFeed
                | State::Data
                | State::DataReturn
                | State::DataLineFeed
                | State::Complete,
                _,
            ) => Err(Rejection::MalformedChunk),
            (state, _) => self.take_trailer(state, byte, limits),
        }
    }

    fn take_digit(&mut self, byte: u8) -> Result<State, Rejection> {
        self.digits += 1;
        if self.digits > SIZE_DIGITS_MAX {
            return Err(Rejection::ChunkSizeOverflow);
        }
        let digit = char::from(byte).to_digit(16).ok_or(Rejection::MalformedChunk)?;
        self.size = self.size << 4 | u64::from(digit);
        Ok(State::Size)
    }

    /// Checks the size after its last digit. A body that is too large is refused here, before it arrives.
    fn check_size(&self, body_len: usize, limits: &Limits) -> Result<(), Rejection> {
        let total = usize::try_from(self.size).ok().and_then(|size| body_len.checked_add(size));
        match total {
            Some(total) if total <= limits.body_bytes_max => Ok(()),
            _ => Err(Rejection::BodyTooLarge),
        }
    }

    fn take_extension(&mut self, byte: u8) -> Result<State, Rejection> {
        self.extension_bytes += 1;
        if self.extension_bytes > EXTENSION_BYTES_MAX {
            return Err(Rejection::ChunkExtensionsTooLarge);
        }
        Ok(if byte == b';' { State::Extension } else { State::SizeSpace })
    }

    fn end_size_line(&mut self) -> State {
        self.digits = 0;
        if self.size == 0 { State::TrailerStart } else { State::Data }
    }

    fn take_trailer(&mut self, state: State, byte: u8, limits: &Limits) -> Result<State, Rejection> {
        // Trailers are headers after the body. They have the same limit, counted separately.
        self.trailer_bytes += 1;
        if self.trailer_bytes > limits.head_bytes_max {
            return Err(Rejection::TrailersTooLarge);
        }
        match (state, byte) {
            (State::TrailerStart, b'\r') => Ok(State::EndLineFeed),
            (State::EndLineFeed, b'\n') => Ok(State::Complete),
            (State::TrailerName, b':') => Ok(State::TrailerValue),
            (State::TrailerStart | State::TrailerName, _) if is_token_byte(byte) => Ok(State::TrailerName),
            (State::TrailerValue, b'\r') => Ok(State::TrailerLineFeed),
            (State::TrailerValue, _) if !is_control(byte) => Ok(State::TrailerValue),
            (State::TrailerLineFeed, b'\n') => Ok(State::TrailerStart),
            _ => Err(Rejection::MalformedTrailer),
        }
    }
}

#[cfg(test)]
mod tests;
