//! Writing a request as bytes, for a server that has parsed it and passes it on.

use crate::error::Error;
use crate::http::header::{check_name, check_value, invalid};
use crate::http::parse::incoming::{Incoming, Progress};
use crate::http::parse::limits::Limits;
use crate::http::parse::target::is_host_and_port;
use crate::http::token::{is_control, is_token_byte};
use std::fmt;

/// Headers about the connection that the request came on, or about the coding of its body there. They are not
/// true here.
const ABOUT_THE_CONNECTION: [&str; 9] = [
    "Connection",
    "Content-Length",
    "Expect",
    "Keep-Alive",
    "Proxy-Connection",
    "TE",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
];

/// A request written as bytes, for [`Server::adopt`](crate::Server::adopt) and
/// [`Publisher::adopt`](crate::Publisher::adopt), if another server has parsed a request and has not kept the
/// bytes.
///
/// It has `Connection: close`, because only the other server knows which other bytes have arrived. If the
/// connection must carry further requests, pass the original bytes instead.
///
/// ```
/// use mio_sse::{Error, RawRequest};
///
/// fn request() -> Result<Vec<u8>, Error> {
///     let request = RawRequest::get("/events/news?lang=en")?.header("Host", "example.org")?;
///     Ok(request.header("Last-Event-ID", "1700000000000-4")?.into_bytes())
/// }
/// # assert!(request().unwrap().starts_with(b"GET /events/news?lang=en HTTP/1.1\r\nHost: example.org\r\n"));
/// ```
#[derive(Clone, PartialEq, Eq)]
pub struct RawRequest {
    /// The request line and the header lines so far, with all line ends.
    head: Vec<u8>,
    has_host: bool,
    body: Vec<u8>,
}

impl RawRequest {
    /// A GET of `target`: the path as it was sent, still encoded, with its query.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn get(target: &str) -> Result<Self, Error> {
        Self::new("GET", target)
    }

    /// A request with any method but CONNECT.
    ///
    /// # Errors
    /// [`Error::InvalidHeader`], which names the method or the target, if the server would reject a request
    /// with it.
    pub fn new(method: &str, target: &str) -> Result<Self, Error> {
        if method.is_empty() || !method.bytes().all(is_token_byte) {
            return Err(invalid(method, "a method must consist of letters, digits and !#$%&'*+-.^_`|~"));
        }
        if target.bytes().any(|byte| byte <= b' ' || is_control(byte)) {
            return Err(invalid(target, "a target must not contain spaces or control characters"));
        }
        let mut head = format!("{method} {target} HTTP/1.1\r\n").into_bytes();
        let line = head.len();
        // The parser itself checks the rest.
        head.extend_from_slice(b"Host:\r\n\r\n");
        match Incoming::default().advance(&head, &UNLIMITED) {
            Ok(Progress::Complete { .. }) => {}
            Ok(Progress::Partial | Progress::Continue) => {
                return Err(invalid(target, "a target must not end the request line"));
            }
            Err(rejection) => return Err(invalid(target, rejection.reason())),
        }
        head.truncate(line);
        Ok(Self { head, has_host: false, body: Vec::new() })
    }

    /// Adds a header line. Headers about the connection that the request came on, such as `Connection`,
    /// `Transfer-Encoding`, `Content-Length` and `Expect`, are left out, so all headers of a request can be
    /// passed. Without `Host` an empty one is written.
    ///
    /// # Errors
    /// [`Error::InvalidHeader`] if the name is not a token, if the value contains a line end or another
    /// control character, and for a second or malformed `Host`.
    pub fn header(mut self, name: &str, value: impl AsRef<[u8]>) -> Result<Self, Error> {
        let value = value.as_ref();
        check_name(name)?;
        check_value(name, value)?;
        if ABOUT_THE_CONNECTION.iter().any(|left_out| left_out.eq_ignore_ascii_case(name)) {
            return Ok(self);
        }
        if name.eq_ignore_ascii_case("Host") {
            if self.has_host {
                return Err(invalid(name, "a request must have one host"));
            }
            if !is_host_and_port(value.trim_ascii()) {
                return Err(invalid(name, "a host must be a name or an address with an optional port"));
            }
            self.has_host = true;
        }
        for part in [name.as_bytes(), b": ", value, b"\r\n"] {
            self.head.extend_from_slice(part);
        }
        Ok(self)
    }

    /// Sets the body, without a transfer coding, and `Content-Length`.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// The request as bytes.
    #[must_use]
    pub fn into_bytes(self) -> Vec<u8> {
        let mut bytes = self.head;
        if !self.has_host {
            bytes.extend_from_slice(b"Host:\r\n");
        }
        if !self.body.is_empty() {
            bytes.extend_from_slice(format!("Content-Length: {}\r\n", self.body.len()).as_bytes());
        }
        bytes.extend_from_slice(b"Connection: close\r\n\r\n");
        bytes.extend_from_slice(&self.body);
        bytes
    }
}

impl From<RawRequest> for Vec<u8> {
    fn from(request: RawRequest) -> Self {
        request.into_bytes()
    }
}

/// Leaves out the values of headers and the body, which may be secret: requests are logged.
impl fmt::Debug for RawRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let line = self.head.split(|byte| *byte == b'\r').next().unwrap_or_default();
        f.debug_struct("RawRequest").field("line", &String::from_utf8_lossy(line)).finish_non_exhaustive()
    }
}

/// The server that gets the request has limits of its own.
const UNLIMITED: Limits = Limits {
    head_bytes_max: usize::MAX,
    target_bytes_max: usize::MAX,
    headers_max: usize::MAX,
    body_bytes_max: usize::MAX,
};

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn headers_about_the_connection_are_left_out() {
        let request = RawRequest::new("POST", "/a?b").unwrap();
        let headers = [
            ("host", "example.org:80"),
            ("Connection", "keep-alive, Upgrade"),
            ("Upgrade", "h2c"),
            ("content-length", "99"),
            ("Transfer-Encoding", "chunked"),
            ("Expect", "100-continue"),
            ("Cookie", "a=b"),
        ];
        let request = headers.iter().try_fold(request, |request, (name, value)| request.header(name, value));
        assert_eq!(
            String::from_utf8(request.unwrap().body("body").into_bytes()).unwrap(),
            "POST /a?b HTTP/1.1\r\nhost: example.org:80\r\nCookie: a=b\r\nContent-Length: 4\r\nConnection: close\r\n\r\nbody"
        );
    }

    #[test]
    fn a_request_that_the_server_would_reject_is_refused() {
        for target in
            ["", "a", "/ ", "/\r\nX: y", "/a b", "/%", "/%zz", "/#a", "*", "/%00", "ftp://a/", "/\u{7f}"]
        {
            assert!(RawRequest::get(target).is_err(), "{target:?}");
        }
        for method in ["", "GE T", "CONNECT", "GET /\r\n", "A-METHOD-THAT-IS-LONGER-THAN-ANY-THAT-THERE-IS"] {
            assert!(RawRequest::new(method, "/").is_err(), "{method:?}");
        }
        let request = RawRequest::get("/").unwrap();
        for (name, value) in [
            ("", "a"),
            ("a b", "a"),
            ("a:", "a"),
            ("a", "b\r\nc: d"),
            ("a", "\0"),
            ("Host", "a b"),
            ("Host", "a:b"),
        ] {
            assert!(request.clone().header(name, value).is_err(), "{name:?} {value:?}");
        }
        let once = request.header("Host", "a").unwrap();
        let twice = once.header("host", "a").unwrap_err();
        assert_eq!(twice.to_string(), "invalid header \"host\": a request must have one host");
    }

    #[test]
    fn secrets_are_not_shown() {
        let request = RawRequest::get("/").unwrap().header("Authorization", "secret").unwrap().body("secret");
        assert_eq!(format!("{request:?}"), "RawRequest { line: \"GET / HTTP/1.1\", .. }");
    }

    proptest! {
        /// A request that is not refused is parsed as what was put in.
        #[test]
        fn a_written_request_is_parsed_unchanged(
            method in "(GET|POST|[A-Z]{1,9}|.{0,3})",
            target in "(/[ -~]{0,12}|/.{0,5}|.{0,5})",
            name in "([A-Za-z-]{1,8}|.{0,4}|Host)",
            value in proptest::collection::vec(any::<u8>(), 0..8),
            body in proptest::collection::vec(any::<u8>(), 0..8),
        ) {
            let request = RawRequest::new(&method, &target).and_then(|request| request.header(&name, &value));
            if let Ok(request) = request {
                let bytes = request.body(body.clone()).into_bytes();
                let mut incoming = Incoming::default();
                let progress = incoming.advance(&bytes, &UNLIMITED);
                prop_assert_eq!(progress, Ok(Progress::Complete { consumed: bytes.len() }));
                prop_assert!(!incoming.keep_alive());
                let request = incoming.request(&bytes);
                prop_assert_eq!((request.method(), request.target(), request.body()), (&*method, &*target, &*body));
                let left_out = ABOUT_THE_CONNECTION.iter().any(|left_out| left_out.eq_ignore_ascii_case(&name));
                let found = request.headers().any(|(found, text)| found == name && text == value.trim_ascii());
                prop_assert!(found || left_out);
            }
        }
    }
}
