//! Finds the end of a request's head, however the bytes arrive.
//!
//! ```text
//!             SP          SP            CRLF            CRLF CRLF
//!   Method ──────▶ Target ────▶ Version ────▶ Headers ───────────▶ complete
//! ```
//!
//! The scan checks everything that does not depend on the meaning of headers, at the first byte that settles
//! it: lengths, line ends, control characters and the version. `head` parses the lines once the end has been
//! found.

use crate::http::parse::limits::Limits;
use crate::http::parse::rejection::Rejection;

/// Longer than any registered method. The longest is `UPDATEREDIRECTREF` with 17 bytes.
const METHOD_BYTES_MAX: usize = 32;
const HTTP_1_9: u64 = u64::from_be_bytes(*b"HTTP/1.9");
const HTTP_1_0: u64 = u64::from_be_bytes(*b"HTTP/1.0");
/// The first byte of a TLS record that carries a handshake (RFC 8446 5.1).
const TLS_HANDSHAKE: u8 = 0x16;
/// The last control character; space is the next byte.
const LAST_CONTROL: u8 = 0x1f;

/// The state of the search for the end of a head.
#[derive(Debug, Default)]
pub(crate) struct HeadScan {
    phase: Phase,
    /// How many bytes have been scanned. They are not passed to `advance` again.
    scanned: usize,
    /// Where the current part of the request line, or the current header line, begins.
    part_start: usize,
    /// Whether the last byte was a CR, so that the next one must be an LF.
    after_cr: bool,
    /// The bytes of the version so far, in the order of a big-endian number.
    version: u64,
    header_lines: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Phase {
    #[default]
    Method,
    Target,
    Version,
    Headers,
    Complete,
}

impl HeadScan {
    /// How many bytes have been scanned. Once `advance` has returned `true`, this is the length of the head.
    pub(crate) fn scanned(&self) -> usize {
        self.scanned
    }

    /// Scans the next bytes. Returns `true` if the head ends among them.
    pub(crate) fn advance(&mut self, unseen: &[u8], limits: &Limits) -> Result<bool, Rejection> {
        // Bytes beyond the limit are not scanned. Otherwise the result for an error there would depend on how
        // the bytes were cut.
        let room = limits.head_bytes_max.saturating_sub(self.scanned);
        let mut rest = unseen.get(..room).unwrap_or(unseen);
        while let Some((&first, behind_first)) = rest.split_first() {
            if self.after_cr {
                if first != b'\n' {
                    return Err(Rejection::BareCarriageReturn);
                }
                self.after_cr = false;
                self.scanned += 1;
                if self.end_line(limits)? {
                    return Ok(true);
                }
                rest = behind_first;
                continue;
            }
            let delimiter = if self.phase == Phase::Headers { LAST_CONTROL } else { b' ' };
            let (run, behind_run) = rest.split_at(position_of_at_most(delimiter, rest).unwrap_or(rest.len()));
            self.take_run(run, limits)?;
            // Nearly always both are there.
            if let [b'\r', b'\n', behind_line @ ..] = behind_run {
                self.scanned += 2;
                if self.end_line(limits)? {
                    return Ok(true);
                }
                rest = behind_line;
                continue;
            }
            let Some((&byte, behind_byte)) = behind_run.split_first() else { break };
            self.scanned += 1;
            self.take_delimiter(byte)?;
            rest = behind_byte;
        }
        if self.scanned >= limits.head_bytes_max { Err(Rejection::HeadTooLarge) } else { Ok(false) }
    }

    /// Takes bytes that end nothing. A part is too long at the first byte beyond its limit.
    fn take_run(&mut self, run: &[u8], limits: &Limits) -> Result<(), Rejection> {
        self.scanned += run.len();
        let part_len = self.scanned - self.part_start;
        match self.phase {
            Phase::Method if part_len > METHOD_BYTES_MAX => Err(Rejection::MethodTooLong),
            Phase::Target if part_len > limits.target_bytes_max => Err(Rejection::TargetTooLong),
            Phase::Version if part_len > size_of_val(&self.version) => Err(Rejection::MalformedRequestLine),
            Phase::Version => {
                self.version = run.iter().fold(self.version, |version, &byte| version << 8 | u64::from(byte));
                Ok(())
            }
            _ => Ok(()),
        }
    }

    fn take_delimiter(&mut self, byte: u8) -> Result<(), Rejection> {
        let part_is_empty = self.scanned - 1 == self.part_start;
        match (byte, self.phase) {
            (b'\r', _) => self.after_cr = true,
            (b'\n', _) => return Err(Rejection::BareLineFeed),
            (b'\t', Phase::Headers) => {}
            (b' ', Phase::Method) if !part_is_empty => self.begin(Phase::Target),
            (b' ', Phase::Target) if !part_is_empty => self.begin(Phase::Version),
            (b' ' | b'\t', _) => return Err(Rejection::MalformedRequestLine),
            (TLS_HANDSHAKE, Phase::Method) if part_is_empty => return Err(Rejection::TlsHandshake),
            _ => return Err(Rejection::ControlCharacter),
        }
        Ok(())
    }

    /// Takes a CRLF. Returns whether it was the last.
    fn end_line(&mut self, limits: &Limits) -> Result<bool, Rejection> {
        let line_is_empty = self.scanned - 2 == self.part_start;
        match self.phase {
            Phase::Version => match self.version {
                // A higher minor version must be understood as 1.1 (RFC 9110 2.5).
                HTTP_1_0..=HTTP_1_9 => self.begin(Phase::Headers),
                version => return Err(refuse_version(version)),
            },
            Phase::Headers if line_is_empty => self.phase = Phase::Complete,
            Phase::Headers => {
                self.header_lines += 1;
                if self.header_lines > limits.headers_max {
                    return Err(Rejection::TooManyHeaders);
                }
                self.begin(Phase::Headers);
            }
            Phase::Method | Phase::Target | Phase::Complete => return Err(Rejection::MalformedRequestLine),
        }
        Ok(self.phase == Phase::Complete)
    }

    fn begin(&mut self, phase: Phase) {
        self.phase = phase;
        self.part_start = self.scanned;
    }
}

/// Rejects an unsupported version of HTTP, or a malformed one. The preface of HTTP/2 is a request line with
/// `HTTP/2.0` so that servers can tell the difference (RFC 9113 3.4).
#[cold]
fn refuse_version(version: u64) -> Rejection {
    let bytes = version.to_be_bytes();
    let unused = bytes.iter().take_while(|&&byte| byte == 0).count();
    let number = bytes.get(unused..).and_then(|text| text.strip_prefix(b"HTTP/")).unwrap_or_default();
    if !number.is_empty() && number.iter().all(|&byte| byte.is_ascii_digit() || byte == b'.') {
        Rejection::UnsupportedVersion
    } else {
        Rejection::MalformedRequestLine
    }
}

/// The offset of the first byte that is at most `bound`, which is below 0x80. Compares eight bytes at once:
/// subtracting `bound + 1` from each of them borrows from the high bit of bytes that are at most `bound`,
/// unless that bit was set before. A borrow from the next byte only affects bytes after the first hit.
fn position_of_at_most(bound: u8, bytes: &[u8]) -> Option<usize> {
    const EACH: u64 = u64::from_ne_bytes([1; 8]);
    const HIGH_BITS: u64 = EACH * 0x80;
    debug_assert!(bound < 0x80);
    let least = EACH * (u64::from(bound) + 1);
    let (words, rest) = bytes.as_chunks::<8>();
    for (index, word) in words.iter().enumerate() {
        let word = u64::from_le_bytes(*word);
        let found = word.wrapping_sub(least) & !word & HIGH_BITS;
        if found != 0 {
            return Some(index * 8 + found.trailing_zeros() as usize / 8);
        }
    }
    let position = rest.iter().position(|&byte| byte <= bound)?;
    Some(words.len() * 8 + position)
}

#[cfg(test)]
mod tests;
