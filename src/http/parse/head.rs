//! What the head of a request says: where its parts lie, and how its body is delimited.

use crate::http::parse::limits::Limits;
use crate::http::parse::rejection::Rejection;
use crate::http::parse::span::{HeaderSpan, Span};
use crate::http::parse::target::{self, Parts};
use httparse::Status;
use std::mem::MaybeUninit;

/// The most header lines that a request can have, whatever `Limits::headers_max` says: room for that many is
/// taken on the stack while a head is parsed.
pub(crate) const HEADERS_CEILING: usize = 128;

/// A complete and valid head, as places in its bytes. Reused from request to request for the sake of its
/// buffers.
#[derive(Debug, Default)]
pub(crate) struct Head {
    pub(crate) method: Span,
    pub(crate) target: Span,
    /// Places in the target.
    pub(crate) parts: Parts,
    /// The decoded path; empty when the raw path is the path.
    pub(crate) decoded_path: String,
    pub(crate) headers: Vec<HeaderSpan>,
    pub(crate) http_10: bool,
    pub(crate) keep_alive: bool,
    /// The client waits for a `100 Continue` before it sends the body.
    pub(crate) expects_continue: bool,
    pub(crate) framing: Framing,
}

/// How the end of the body is found (RFC 9112 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Framing {
    /// So many bytes; none when the head does not speak of a body.
    Length(usize),
    Chunked,
}

impl Default for Framing {
    fn default() -> Self {
        Self::Length(0)
    }
}

impl Head {
    /// Forgets the head and keeps the buffers.
    pub(crate) fn clear(&mut self) {
        let headers = std::mem::take(&mut self.headers);
        let decoded_path = std::mem::take(&mut self.decoded_path);
        *self = Self { headers, decoded_path, ..Self::default() };
        self.headers.clear();
        self.decoded_path.clear();
    }

    /// Parses a head of which `HeadScan` has found the end: `bytes` are the head and nothing else.
    pub(crate) fn parse(&mut self, bytes: &[u8], limits: &Limits) -> Result<(), Rejection> {
        self.clear();
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
            // Two opinions on where a head ends are what request smuggling is made of.
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

        self.framing = seen.framing(self.http_10, limits)?;
        seen.check_host(self.http_10)?;
        self.parts = target::split(method, target)?;
        target::decode_path(self.parts.path.part_of(target), &mut self.decoded_path)?;
        self.keep_alive = !seen.close && (seen.keep_alive || !self.http_10);
        // HTTP/1.0 has no 100 (Continue), and a client of its kind cannot wait for one (RFC 9110 10.1.1).
        if seen.expectation && !self.http_10 {
            if seen.other_expectation {
                return Err(Rejection::UnsupportedExpectation);
            }
            self.expects_continue = self.framing != Framing::Length(0);
        }
        Ok(())
    }
}

/// The headers that decide about the connection and the body, gathered in one pass.
#[derive(Debug, Default)]
struct Seen<'a> {
    host: Option<&'a [u8]>,
    repeated_host: bool,
    content_length: Option<u64>,
    /// How many transfer codings are named, on all lines together, and how many of them are `chunked`.
    transfer_codings: usize,
    chunked: usize,
    close: bool,
    keep_alive: bool,
    expectation: bool,
    other_expectation: bool,
}

impl<'a> Seen<'a> {
    fn take(&mut self, header: &httparse::Header<'a>) -> Result<(), Rejection> {
        let is = |name: &str| header.name.eq_ignore_ascii_case(name);
        // The length is compared first: most headers are none of these.
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
                for coding in list(header.value) {
                    self.transfer_codings += 1;
                    self.chunked += usize::from(coding.eq_ignore_ascii_case(b"chunked"));
                }
            }
            _ => {}
        }
        Ok(())
    }

    fn framing(&self, http_10: bool, limits: &Limits) -> Result<Framing, Rejection> {
        if self.transfer_codings > 0 {
            if self.content_length.is_some() {
                Err(Rejection::ContentLengthWithTransferEncoding)
            } else if http_10 {
                Err(Rejection::TransferEncodingInHttp10)
            } else if self.chunked > 1 {
                Err(Rejection::RepeatedChunked)
            } else if self.chunked < self.transfer_codings {
                Err(Rejection::UnsupportedTransferEncoding)
            } else {
                Ok(Framing::Chunked)
            }
        } else {
            let length = usize::try_from(self.content_length.unwrap_or(0));
            let length = length.ok().filter(|&length| length <= limits.body_bytes_max);
            length.map(Framing::Length).ok_or(Rejection::BodyTooLarge)
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

/// The elements of a comma-separated list; one that is empty is kept, so that nobody overlooks it.
fn list(value: &[u8]) -> impl Iterator<Item = &[u8]> {
    value.split(|&byte| byte == b',').map(<[u8]>::trim_ascii)
}

/// Digits and nothing but digits.
fn parse_decimal(text: &[u8]) -> Option<u64> {
    let digits = str::from_utf8(text).ok().filter(|text| text.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

/// Tells what made httparse refuse a head. The request line has passed the scan already, and what the scan
/// has no opinion about are the characters in its parts and the shape of the header lines.
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

/// What is wrong in front of a header line's colon, if it is whitespace. A line without a colon ends with its
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
mod tests {
    use super::*;

    const LIMITS: Limits =
        Limits { head_bytes_max: 4096, target_bytes_max: 1024, headers_max: 128, body_bytes_max: 1000 };

    fn parse(head: impl AsRef<[u8]>) -> Result<Head, Rejection> {
        let mut parsed = Head::default();
        parsed.parse(head.as_ref(), &LIMITS).map(|()| parsed)
    }

    /// A request with these header lines, which must not end with a line end.
    fn with(lines: &str) -> Result<Head, Rejection> {
        parse(format!("POST / HTTP/1.1\r\nHost: a\r\n{lines}\r\n\r\n"))
    }

    fn rejection(lines: &str) -> Rejection {
        with(lines).unwrap_err()
    }

    #[test]
    fn parts_are_found_where_they_are() {
        let bytes = b"GET /a%20b?c HTTP/1.1\r\nHost: a:1\r\nX-Empty:\r\nx-y: \t z z \t\r\n\r\n";
        let head = parse(bytes).unwrap();
        assert_eq!(head.method.bytes(bytes), b"GET");
        assert_eq!(head.target.text(bytes), "/a%20b?c");
        assert_eq!(head.decoded_path, "/a b");
        let headers: Vec<_> =
            head.headers.iter().map(|header| (header.name.text(bytes), header.value.text(bytes))).collect();
        assert_eq!(headers, [("Host", "a:1"), ("X-Empty", ""), ("x-y", "z z")]);
    }

    #[test]
    fn a_head_is_forgotten_before_the_next() {
        let mut head = with("Content-Length: 5\r\nExpect: 100-continue").unwrap();
        assert_eq!((head.framing, head.expects_continue), (Framing::Length(5), true));
        head.parse(b"GET /%41 HTTP/1.0\r\n\r\n", &LIMITS).unwrap();
        assert_eq!((head.framing, head.expects_continue), (Framing::Length(0), false));
        assert_eq!((head.headers.len(), head.decoded_path.as_str()), (0, "/A"));
        head.parse(b"GET /b HTTP/1.0\r\n\r\n", &LIMITS).unwrap();
        assert_eq!(head.decoded_path, "");
    }

    #[test]
    fn hosts() {
        assert_eq!(parse("GET / HTTP/1.1\r\n\r\n").unwrap_err(), Rejection::MissingHost);
        assert!(parse("GET / HTTP/1.0\r\n\r\n").is_ok());
        assert_eq!(rejection("host: a"), Rejection::RepeatedHost);
        assert_eq!(
            parse("GET / HTTP/1.0\r\nHost: a\r\nHost: a\r\n\r\n").unwrap_err(),
            Rejection::RepeatedHost
        );
        assert_eq!(parse("GET / HTTP/1.1\r\nHost: a b\r\n\r\n").unwrap_err(), Rejection::InvalidHost);
        assert_eq!(parse("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n").unwrap_err(), Rejection::InvalidHost);
        // An absolute-form target does not replace the Host header in the head, only in its meaning.
        assert_eq!(parse("GET http://a/ HTTP/1.1\r\n\r\n").unwrap_err(), Rejection::MissingHost);
    }

    #[test]
    fn whitespace_in_header_lines() {
        assert_eq!(rejection("Transfer-Encoding : chunked"), Rejection::WhitespaceBeforeColon);
        assert_eq!(rejection("Transfer-Encoding\t: chunked"), Rejection::WhitespaceBeforeColon);
        assert_eq!(rejection("A: b\r\n c: d"), Rejection::ObsoleteLineFolding);
        assert_eq!(rejection("A: b\r\n\tc"), Rejection::ObsoleteLineFolding);
        assert_eq!(rejection("A: b\r\n : c"), Rejection::ObsoleteLineFolding);
        assert_eq!(rejection("A: b\r\n \t "), Rejection::ObsoleteLineFolding);
        assert_eq!(parse("GET / HTTP/1.1\r\n Host: a\r\n\r\n").unwrap_err(), Rejection::ObsoleteLineFolding);
        // A value may be anything that is visible, spaces before a colon in it included.
        assert!(with("A: b : c").is_ok());
    }

    #[test]
    fn malformed_header_lines() {
        for line in ["A", "A b", "A b: c", ": a", "A(b): c", "ü: a", "A/b: c"] {
            assert_eq!(rejection(line), Rejection::MalformedHeader, "{line}");
        }
        assert_eq!(rejection("A: \x7f"), Rejection::InvalidHeaderValue);
        assert!(parse(b"GET / HTTP/1.0\r\nA: \xff\x80\r\n\r\n").is_ok(), "obs-text is allowed in values");
    }

    #[test]
    fn malformed_request_lines() {
        for line in ["G(T / HTTP/1.1", "GÉT / HTTP/1.1", "GET /\x7f HTTP/1.1"] {
            assert_eq!(
                parse(format!("{line}\r\n\r\n")).unwrap_err(),
                Rejection::MalformedRequestLine,
                "{line}"
            );
        }
        assert_eq!(parse(b"GET /\xff HTTP/1.1\r\n\r\n").unwrap_err(), Rejection::MalformedRequestLine);
    }

    #[test]
    fn more_headers_than_there_is_room_for() {
        let head = |lines: usize| format!("GET / HTTP/1.0\r\n{}\r\n", "A: b\r\n".repeat(lines));
        assert_eq!(parse(head(HEADERS_CEILING)).unwrap().headers.len(), HEADERS_CEILING);
        assert_eq!(parse(head(HEADERS_CEILING + 1)).unwrap_err(), Rejection::TooManyHeaders);
    }

    #[test]
    fn content_length() {
        let framing = |lines: &str| with(lines).map(|head| head.framing);
        assert_eq!(framing("A: b"), Ok(Framing::Length(0)));
        assert_eq!(framing("Content-Length: 0"), Ok(Framing::Length(0)));
        assert_eq!(framing("content-length:\t1000 "), Ok(Framing::Length(1000)));
        assert_eq!(framing("Content-Length: 5\r\nContent-Length: 5"), Ok(Framing::Length(5)));
        assert_eq!(
            framing("Content-Length: 5\r\nContent-Length: 6"),
            Err(Rejection::DifferingContentLengths)
        );
        assert_eq!(framing("Content-Length: 1001"), Err(Rejection::BodyTooLarge));
        assert_eq!(framing("Content-Length: 18446744073709551615"), Err(Rejection::BodyTooLarge));
        for value in [
            "5, 5",
            "+5",
            "-5",
            "",
            " ",
            "5 5",
            "0x5",
            "5.0",
            "5;",
            "18446744073709551616",
            "٥",
            "\"5\"",
            "1e1",
        ] {
            let lines = format!("Content-Length: {value}");
            assert_eq!(framing(&lines), Err(Rejection::MalformedContentLength), "{value:?}");
        }
    }

    #[test]
    fn transfer_encoding() {
        let framing = |lines: &str| with(lines).map(|head| head.framing);
        assert_eq!(framing("Transfer-Encoding: chunked"), Ok(Framing::Chunked));
        assert_eq!(framing("transfer-encoding:CHUNKED\t"), Ok(Framing::Chunked));
        for value in [
            "",
            "gzip",
            "identity",
            "gzip, chunked",
            "chunked, gzip",
            ",chunked",
            "chunked,",
            "chunked;q=1",
            "\"chunked\"",
            "xchunked",
            "chunked x",
        ] {
            let lines = format!("Transfer-Encoding: {value}");
            assert_eq!(framing(&lines), Err(Rejection::UnsupportedTransferEncoding), "{value:?}");
        }
        assert_eq!(
            framing("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked"),
            Err(Rejection::UnsupportedTransferEncoding)
        );
        assert_eq!(framing("Transfer-Encoding: chunked, chunked"), Err(Rejection::RepeatedChunked));
        assert_eq!(
            framing("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked"),
            Err(Rejection::RepeatedChunked)
        );
        for lines in [
            "Content-Length: 5\r\nTransfer-Encoding: chunked",
            "Transfer-Encoding: chunked\r\nContent-Length: 5",
            "Transfer-Encoding: gzip\r\nContent-Length: 0",
            "Transfer-Encoding:\r\nContent-Length: 0",
        ] {
            assert_eq!(framing(lines), Err(Rejection::ContentLengthWithTransferEncoding), "{lines:?}");
        }
        assert_eq!(
            parse("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n").unwrap_err(),
            Rejection::TransferEncodingInHttp10
        );
    }

    #[test]
    fn keep_alive() {
        let keep_alive = |version: &str, lines: &str| {
            parse(format!("GET / HTTP/{version}\r\nHost: a\r\n{lines}\r\n")).unwrap().keep_alive
        };
        assert!(keep_alive("1.1", ""));
        assert!(keep_alive("1.1", "Connection: upgrade\r\n"));
        assert!(!keep_alive("1.1", "Connection: close\r\n"));
        assert!(!keep_alive("1.1", "Connection: a,\tCLOSE ,b\r\n"));
        assert!(!keep_alive("1.1", "Connection: keep-alive\r\nConnection: close\r\n"));
        assert!(keep_alive("1.1", "Connection: closed\r\n"));
        assert!(!keep_alive("1.0", ""));
        assert!(keep_alive("1.0", "connection: Keep-Alive\r\n"));
        assert!(!keep_alive("1.0", "Connection: keep-alive, close\r\n"));
    }

    #[test]
    fn expectations() {
        let expects = |lines: &str| with(lines).map(|head| head.expects_continue);
        assert_eq!(expects("Content-Length: 5"), Ok(false));
        assert_eq!(expects("Content-Length: 5\r\nExpect: 100-Continue"), Ok(true));
        assert_eq!(expects("Transfer-Encoding: chunked\r\nExpect: 100-continue"), Ok(true));
        assert_eq!(expects("Expect: 100-continue"), Ok(false));
        assert_eq!(expects("Content-Length: 0\r\nExpect: 100-continue"), Ok(false));
        for value in ["", "tea", "100-continue, tea", "100-continue=1"] {
            assert_eq!(
                expects(&format!("Expect: {value}")),
                Err(Rejection::UnsupportedExpectation),
                "{value}"
            );
        }
        let http_10 =
            |expect: &str| parse(format!("POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: {expect}\r\n\r\n"));
        assert!(!http_10("100-continue").unwrap().expects_continue);
        assert!(!http_10("tea").unwrap().expects_continue);
        // Too large is said before the client is asked to send it.
        assert_eq!(expects("Content-Length: 1001\r\nExpect: 100-continue"), Err(Rejection::BodyTooLarge));
    }
}
