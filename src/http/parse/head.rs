//! The head of a request: where its parts are, and how its body is delimited.

use crate::http::parse::limits::Limits;
use crate::http::parse::rejection::Rejection;
use crate::http::parse::span::{HeaderSpan, Span};
use crate::http::parse::target::{self, Parts};
use httparse::Status;
use std::mem::MaybeUninit;

/// The most header lines that a request can have, whatever `Limits::headers_max` says. Parsing a head takes
/// room for that many on the stack.
pub(crate) const HEADERS_CEILING: usize = 128;

/// A complete and valid head, as places in its bytes. It is reused from request to request, to keep its
/// buffers.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) method: Span,
    pub(crate) target: Span,
    /// The parts of the target.
    pub(crate) parts: Parts,
    /// The decoded path; empty if the raw path needs no decoding.
    pub(crate) decoded_path: String,
    pub(crate) headers: Vec<HeaderSpan>,
    pub(crate) http_10: bool,
    pub(crate) keep_alive: bool,
    /// Whether the client waits for `100 Continue` before it sends the body.
    pub(crate) expects_continue: bool,
    pub(crate) framing: Framing,
    /// Whether the whole head was understood, even if the request is refused for what it asks.
    pub(crate) is_valid: bool,
}

/// How the end of the body is found (RFC 9112 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// This many bytes; 0 if the head names no body.
    Length(usize),
    Chunked,
}

impl Default for Framing {
    fn default() -> Self {
        Self::Length(0)
    }
}

impl Head {
    /// The memory of its buffers.
    pub(crate) fn held(&self) -> usize {
        self.decoded_path.capacity() + self.headers.capacity() * size_of::<HeaderSpan>()
    }

    /// Clears the head and keeps its buffers.
    pub(crate) fn clear(&mut self) {
        let headers = std::mem::take(&mut self.headers);
        let decoded_path = std::mem::take(&mut self.decoded_path);
        *self = Self { headers, decoded_path, ..Self::default() };
        self.headers.clear();
        self.decoded_path.clear();
    }

    /// Parses a complete head: `HeadScan` has found its end, and `bytes` is nothing else.
    pub(crate) fn parse(&mut self, bytes: &[u8], limits: &Limits) -> Result<(), Rejection> {
        self.clear();
        let understood = understood(bytes);
        let bytes = understood.as_deref().unwrap_or(bytes);
        let mut headers = [const { MaybeUninit::uninit() }; HEADERS_CEILING];
        let mut request = httparse::Request::new(&mut []);
        let end =
            request.parse_with_uninit_headers(bytes, &mut headers).map_err(|error| explain(error, bytes))?;
        let httparse::Request { method: Some(method), path: Some(target), version: Some(version), headers } =
            request
        else {
            return Err(Rejection::MalformedRequestLine);
        };
        if end != Status::Complete(bytes.len()) {
            // If two parsers disagree on where a head ends, request smuggling is possible.
            debug_assert!(false, "the scan and the parser disagree about the end of a head");
            return Err(Rejection::MalformedRequestLine);
        }

        self.method = Span::locate(method.as_bytes(), bytes);
        self.target = Span::locate(target.as_bytes(), bytes);
        self.http_10 = version == 0;
        let mut seen = Seen::default();
        for header in headers {
            seen.take(header)?;
            self.headers.push(HeaderSpan {
                name: Span::locate(header.name.as_bytes(), bytes),
                value: Span::locate(header.value, bytes),
            });
        }

        let length = seen.check_framing(self.http_10)?;
        seen.check_host(self.http_10)?;
        self.parts = target::split(method, target)?;
        target::decode_path(self.parts.path.part_of(target), &mut self.decoded_path)?;
        self.keep_alive = !seen.close && (seen.keep_alive || !self.http_10);
        self.is_valid = true;
        self.framing = match length {
            None => Framing::Chunked,
            Some(length) => {
                let length = usize::try_from(length).ok().filter(|&length| length <= limits.body_bytes_max);
                Framing::Length(length.ok_or(Rejection::BodyTooLarge)?)
            }
        };
        // HTTP/1.0 has no 100 (Continue), so such a client cannot wait for it (RFC 9110 10.1.1).
        if seen.expectation && !self.http_10 {
            if seen.other_expectation {
                return Err(Rejection::UnsupportedExpectation);
            }
            self.expects_continue = self.framing != Framing::Length(0);
        }
        Ok(())
    }
}

/// The headers that determine the connection and the body, found in one pass.
#[derive(Debug, Default)]
struct Seen<'a> {
    host: Option<&'a [u8]>,
    repeated_host: bool,
    content_length: Option<u64>,
    /// How many transfer codings all lines together name, and how many of them are `chunked`.
    transfer_codings: usize,
    chunked: usize,
    /// Whether the last of them is `chunked`. Otherwise the end of the body is unknown.
    ends_chunked: bool,
    /// Whether there is a `Transfer-Encoding` line, even if it names none.
    transfer_encoding: bool,
    close: bool,
    keep_alive: bool,
    expectation: bool,
    other_expectation: bool,
}

impl<'a> Seen<'a> {
    fn take(&mut self, header: &httparse::Header<'a>) -> Result<(), Rejection> {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        // Compares the length first: most headers have none of these names.
        match header.name.len() {
            4 if is("Host") => self.repeated_host |= self.host.replace(header.value).is_some(),
            6 if is("Expect") => {
                self.expectation = true;
                self.other_expectation |= !header.value.eq_ignore_ascii_case(b"100-continue");
            }
            10 if is("Connection") => {
                for option in list(header.value) {
                    self.close |= option.eq_ignore_ascii_case(b"close");
                    self.keep_alive |= option.eq_ignore_ascii_case(b"keep-alive");
                }
            }
            14 if is("Content-Length") => {
                let length = parse_decimal(header.value).ok_or(Rejection::MalformedContentLength)?;
                if self.content_length.replace(length).is_some_and(|before| before != length) {
                    return Err(Rejection::DifferingContentLengths);
                }
            }
            17 if is("Transfer-Encoding") => {
                self.transfer_encoding = true;
                for coding in list(header.value) {
                    self.transfer_codings += 1;
                    self.ends_chunked = coding.eq_ignore_ascii_case(b"chunked");
                    self.chunked += usize::from(self.ends_chunked);
                }
            }
            _ => {}
        }
        Ok(())
    }

    /// The length of the body, without regard to the limit; `None` if it is chunked.
    fn check_framing(&self, http_10: bool) -> Result<Option<u64>, Rejection> {
        if self.transfer_encoding {
            if self.content_length.is_some() {
                Err(Rejection::ContentLengthWithTransferEncoding)
            } else if http_10 {
                Err(Rejection::TransferEncodingInHttp10)
            } else if !self.ends_chunked {
                // RFC 9112 6.3
                Err(Rejection::TransferEncodingNotChunked)
            } else if self.chunked > 1 {
                Err(Rejection::RepeatedChunked)
            } else if self.chunked < self.transfer_codings {
                Err(Rejection::UnsupportedTransferEncoding)
            } else {
                Ok(None)
            }
        } else {
            Ok(Some(self.content_length.unwrap_or(0)))
        }
    }

    fn check_host(&self, http_10: bool) -> Result<(), Rejection> {
        match self.host {
            _ if self.repeated_host => Err(Rejection::RepeatedHost),
            Some(host) if target::is_host_and_port(host) => Ok(()),
            Some(_) => Err(Rejection::InvalidHost),
            None if http_10 => Ok(()),
            None => Err(Rejection::MissingHost),
        }
    }
}

/// The elements of a comma-separated list, without empty ones (RFC 9110 5.6.1.2).
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii).filter(|element| !element.is_empty())
}

/// The same head as one of HTTP/1.1, if its version is a later HTTP/1 (RFC 9110 2.5).
fn understood(bytes: &[u8]) -> Option<Vec<u8>> {
    let line = bytes.split(|&byte| byte == b'\r').next().unwrap_or_default();
    let last = line.len().checked_sub(1).filter(|&last| (b'2'..=b'9').contains(&line[last]))?;
    let mut bytes = bytes.to_vec();
    bytes[last] = b'1';
    Some(bytes)
}

/// Parses a number of digits only.
fn parse_decimal(text: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

/// Why httparse refused a head. The request line has passed the scan already. The scan does not check the
/// characters in its parts and the form of the header lines.
#[cold]
fn explain(error: httparse::Error, head: &[u8]) -> Rejection {
    match error {
        httparse::Error::HeaderName => head
            .split(|&byte| byte == b'\n')
            .skip(1)
            .find_map(explain_header_line)
            .unwrap_or(Rejection::MalformedHeader),
        httparse::Error::HeaderValue => Rejection::InvalidHeaderValue,
        httparse::Error::TooManyHeaders => Rejection::TooManyHeaders,
        httparse::Error::Version => Rejection::UnsupportedVersion,
        httparse::Error::NewLine | httparse::Error::Status | httparse::Error::Token => {
            Rejection::MalformedRequestLine
        }
    }
}

/// The problem before the colon of a header line, if it is whitespace. A line without a colon ends with its
/// CR.
fn explain_header_line(line: &[u8]) -> Option<Rejection> {
    let name = line.split(|&byte| byte == b':').next()?;
    if matches!(name, [b' ' | b'\t', ..]) {
        Some(Rejection::ObsoleteLineFolding)
    } else if matches!(name, [.., b' ' | b'\t']) {
        Some(Rejection::WhitespaceBeforeColon)
    } else {
        None
    }
}

#[cfg(test)]
mod tests;
