//! The parser's state of a request that is arriving.
//!
//! ```text
//!               first byte that is         empty line        last byte
//!               neither CR nor LF
//!   EmptyLines ──────────────────▶ Head ─────────────▶ Body ──────────▶ Complete
//!        └───────────────┬──────────┴────────────────────┘
//!                        └──▶ Rejected
//! ```
//!
//! [`Incoming`] stores places in the bytes, not the bytes themselves. They stay in the buffer of the
//! connection, or of the read that brought them, and [`Request`] reads them there. The one exception is a
//! chunked body, whose bytes are not contiguous.

use crate::http::parse::chunked::Chunked;
use crate::http::parse::head::{Framing, Head};
use crate::http::parse::limits::Limits;
use crate::http::parse::rejection::Rejection;
use crate::http::parse::request::Request;
use crate::http::parse::scan::HeadScan;

/// RFC 9112 2.2 says to ignore "at least one" empty line before a request. Some old clients send one after
/// the body of a POST.
const EMPTY_LINES_MAX: usize = 8;
/// How much room of a chunked body a reused [`Incoming`] keeps.
const BODY_CAPACITY_KEPT: usize = 16 * 1024;

/// How much of a request has arrived.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Progress {
    /// More bytes are needed.
    Partial,
    /// The client waits for `HTTP/1.1 100 Continue` and an empty line before it sends the body. Returned
    /// once; then call [`Incoming::advance`] again as after `Partial`.
    Continue,
    /// The request is the first `consumed` bytes of the data. The rest belongs to the next request.
    Complete { consumed: usize },
}

/// A request that is arriving. It is reused: [`reset`](Self::reset) keeps the buffers, so later requests need
/// no allocation.
#[derive(Debug, Default)]
pub(crate) struct Incoming {
    stage: Stage,
    empty_lines: usize,
    /// Whether the last byte of the empty lines so far is a CR.
    after_cr: bool,
    /// How many bytes of empty lines are before the request in the data.
    skipped: usize,
    scan: HeadScan,
    /// Set when the stage becomes `Body`. Its places count from the first byte of the request.
    head: Head,
    continue_due: bool,
    chunked: Chunked,
    /// The decoded part of a chunked body.
    body: Vec<u8>,
    /// How many bytes after the head have been decoded into `body` and are still in the data.
    decoded: usize,
}

#[derive(Debug, Default, Clone, Copy, PartialEq, Eq)]
enum Stage {
    #[default]
    EmptyLines,
    Head,
    Body,
    Complete,
    Rejected(Rejection),
}

impl Incoming {
    /// Parses the bytes that have arrived since the last call.
    ///
    /// `data` begins where it began in the last call, or where [`retain`](Self::retain) has left it. Earlier
    /// bytes are still there, and new ones have been appended. No byte is parsed twice.
    ///
    /// # Errors
    ///
    /// The request is refused. The connection must be closed after the reply, and this must not be called
    /// again before [`reset`](Self::reset).
    pub(crate) fn advance(&mut self, data: &[u8], limits: &Limits) -> Result<Progress, Rejection> {
        debug_assert!(!matches!(self.stage, Stage::Rejected(_)), "a rejected request goes no further");
        self.take(data, limits).inspect_err(|&rejection| self.stage = Stage::Rejected(rejection))
    }

    /// Removes bytes from `held` that the next call of [`advance`](Self::advance) does not need: empty lines,
    /// and the decoded part of a chunked body. `held` must begin like the data of the last call.
    pub(crate) fn retain(&mut self, held: &mut Vec<u8>) {
        // The decoded bytes go first, so that those before them do not move.
        if self.decoded > 0 {
            let start = (self.skipped + self.scan.scanned()).min(held.len());
            let end = (start + self.decoded).min(held.len());
            held.drain(start..end);
            self.decoded = 0;
        }
        if self.skipped > 0 {
            held.drain(..self.skipped.min(held.len()));
            self.skipped = 0;
        }
    }

    /// The complete request. `data` must be that of the call that returned [`Progress::Complete`].
    pub(crate) fn request<'a>(&'a self, data: &'a [u8]) -> Request<'a> {
        debug_assert_eq!(self.stage, Stage::Complete, "the request is complete");
        let bytes = data.get(self.skipped..).unwrap_or_default();
        let body = match self.head.framing {
            Framing::Chunked => &self.body,
            Framing::Length(length) => {
                let behind_head = bytes.get(self.scan.scanned()..).unwrap_or_default();
                behind_head.get(..length).unwrap_or_default()
            }
        };
        Request::new(&self.head, bytes, body)
    }

    /// The request without its body, once its head is complete and valid: also while the body arrives, and if
    /// the request was rejected for its body or for what its head asks. `data` must be that of the last call
    /// of [`advance`](Self::advance), or what [`retain`](Self::retain) has left of it.
    pub(crate) fn without_body<'a>(&'a self, data: &'a [u8]) -> Option<Request<'a>> {
        let bytes = data.get(self.skipped..).unwrap_or_default();
        self.head.is_valid.then(|| Request::new(&self.head, bytes, &[]))
    }

    /// Whether the connection may carry another request: HTTP/1.1 unless it says `Connection: close`,
    /// HTTP/1.0 only with `Connection: keep-alive`. `false` before the request is complete, and after a
    /// rejection.
    pub(crate) fn keep_alive(&self) -> bool {
        self.stage == Stage::Complete && self.head.keep_alive
    }

    /// Whether no byte has arrived, not even of an empty line before a request.
    pub(crate) fn is_fresh(&self) -> bool {
        self.stage == Stage::EmptyLines && self.empty_lines == 0 && !self.after_cr
    }

    /// Whether the head is complete and the body is not.
    pub(crate) fn in_body(&self) -> bool {
        self.stage == Stage::Body
    }

    /// The memory that it holds besides its own record.
    pub(crate) fn held(&self) -> usize {
        self.body.capacity() + self.head.held()
    }

    /// Clears the state for the next request.
    pub(crate) fn reset(&mut self) {
        self.head.clear();
        self.body.clear();
        self.body.shrink_to(BODY_CAPACITY_KEPT);
        *self = Self {
            head: std::mem::take(&mut self.head),
            body: std::mem::take(&mut self.body),
            ..Self::default()
        };
    }

    fn take(&mut self, data: &[u8], limits: &Limits) -> Result<Progress, Rejection> {
        if let Stage::Rejected(rejection) = self.stage {
            return Err(rejection);
        }
        if self.stage == Stage::EmptyLines {
            self.skip_empty_lines(data)?;
        }
        if self.stage == Stage::Head {
            self.take_head(data, limits)?;
        }
        if self.stage == Stage::Body {
            self.take_body(data, limits)?;
        }
        if self.stage == Stage::Complete {
            return Ok(Progress::Complete { consumed: self.body_start() + self.raw_body_len() });
        }
        // Only a complete head sets this.
        Ok(if std::mem::take(&mut self.continue_due) { Progress::Continue } else { Progress::Partial })
    }

    /// Nearly always there are none, and the stage becomes `Head` at once.
    fn skip_empty_lines(&mut self, data: &[u8]) -> Result<(), Rejection> {
        for &byte in data.get(self.skipped..).unwrap_or_default() {
            match byte {
                b'\n' if self.after_cr => {
                    self.after_cr = false;
                    self.empty_lines += 1;
                    if self.empty_lines > EMPTY_LINES_MAX {
                        return Err(Rejection::TooManyEmptyLines);
                    }
                }
                b'\n' => return Err(Rejection::BareLineFeed),
                _ if self.after_cr => return Err(Rejection::BareCarriageReturn),
                b'\r' => self.after_cr = true,
                _ => {
                    self.stage = Stage::Head;
                    break;
                }
            }
            self.skipped += 1;
        }
        Ok(())
    }

    fn take_head(&mut self, data: &[u8], limits: &Limits) -> Result<(), Rejection> {
        let bytes = data.get(self.skipped..).unwrap_or_default();
        let unseen = bytes.get(self.scan.scanned()..).unwrap_or_default();
        if self.scan.advance(unseen, limits)? {
            self.head.parse(bytes.get(..self.scan.scanned()).unwrap_or_default(), limits)?;
            self.continue_due = self.head.expects_continue;
            self.stage = Stage::Body;
        }
        Ok(())
    }

    fn take_body(&mut self, data: &[u8], limits: &Limits) -> Result<(), Rejection> {
        let is_complete = match self.head.framing {
            Framing::Length(length) => data.len().saturating_sub(self.body_start()) >= length,
            Framing::Chunked => {
                let undecoded = data.get(self.body_start() + self.decoded..).unwrap_or_default();
                self.decoded += self.chunked.advance(undecoded, &mut self.body, limits)?;
                self.chunked.is_complete()
            }
        };
        if is_complete {
            self.stage = Stage::Complete;
        }
        Ok(())
    }

    /// The offset of the body in the data, once the head is complete.
    fn body_start(&self) -> usize {
        self.skipped + self.scan.scanned()
    }

    /// How many bytes of the data belong to the body, once it is complete.
    fn raw_body_len(&self) -> usize {
        match self.head.framing {
            Framing::Length(length) => length,
            Framing::Chunked => self.decoded,
        }
    }
}

#[cfg(test)]
mod tests;
