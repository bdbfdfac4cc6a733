//! What a handler is shown of a request, and the rules that hold for all of it.

use mio_sse::{Config, Request};

/// A request as a handler has seen it, in a form that outlives it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) method: String,
    pub(crate) target: String,
    pub(crate) path: String,
    pub(crate) query: Option<String>,
    pub(crate) headers: Vec<(String, Vec<u8>)>,
    pub(crate) body: Vec<u8>,
    pub(crate) http_10: bool,
}

impl Seen {
    pub(crate) fn new(request: &Request<'_>) -> Self {
        Self {
            method: request.method().to_owned(),
            target: request.target().to_owned(),
            path: request.path().to_owned(),
            query: request.query_string().map(str::to_owned),
            headers: request.headers().map(|(name, value)| (name.to_owned(), value.to_owned())).collect(),
            body: request.body().to_owned(),
            http_10: request.is_http_10(),
        }
    }

    /// What a path begins with, behind its slash.
    pub(crate) fn kind(&self) -> Option<char> {
        self.path.chars().nth(1)
    }

    /// The request as the plainest of clients would send it.
    pub(crate) fn to_bytes(&self) -> Vec<u8> {
        let version = if self.http_10 { "1.0" } else { "1.1" };
        let mut bytes = format!("{} {} HTTP/{version}\r\n", self.method, self.target).into_bytes();
        for (name, value) in &self.headers {
            bytes.extend_from_slice(&[name.as_bytes(), b":", value, b"\r\n"].concat());
        }
        bytes.extend_from_slice(b"\r\n");
        if self.values("Transfer-Encoding").next().is_none() {
            bytes.extend_from_slice(&self.body);
            return bytes;
        }
        if !self.body.is_empty() {
            bytes.extend_from_slice(format!("{:x}\r\n", self.body.len()).as_bytes());
            bytes.extend_from_slice(&[&self.body, &b"\r\n"[..]].concat());
        }
        bytes.extend_from_slice(b"0\r\n\r\n");
        bytes
    }

    /// The values of all header lines of this name.
    pub(crate) fn values<'a>(&'a self, name: &'a str) -> impl Iterator<Item = &'a [u8]> {
        let named = self.headers.iter().filter(move |(known, _)| known.eq_ignore_ascii_case(name));
        named.map(|(_, value)| value.as_slice())
    }
}

/// Whatever a peer sends, a handler can rely on this.
pub(crate) fn check_rules(request: &Request<'_>, config: &Config) {
    let seen = Seen::new(request);
    check_request_line(request, config);
    check_headers(&seen, config);
    check_body(&seen, config);
    check_conveniences(request, &seen);
    check_host(request, config);
}

/// Who is served where a list says which hosts there are. It has all ports of the host `a`, and port 8 of
/// `b`.
fn check_host(request: &Request<'_>, config: &Config) {
    if config.hosts.is_empty() {
        return;
    }
    assert_eq!(config.hosts, ["a", "b:8"]);
    let host = request.host().expect("a host").to_ascii_lowercase();
    let port = host.strip_prefix("b:").map(|port| port.trim_start_matches('0'));
    assert!(host == "a" || host.starts_with("a:") || port == Some("8"), "{host:?} is served");
}

fn check_request_line(request: &Request<'_>, config: &Config) {
    let (method, target, raw) = (request.method(), request.target(), request.raw_path());
    assert!(!method.is_empty() && method.bytes().all(is_token), "method {method:?}");
    assert_ne!(method, "CONNECT", "this is no proxy");
    assert!(target.len() <= config.target_bytes_max, "target {target:?}");
    assert!(!target.chars().any(|char| char == ' ' || char == '#' || char.is_ascii_control()), "{target:?}");
    assert!(raw.starts_with('/') || (raw, method) == ("*", "OPTIONS"), "path {raw:?} of {method}");
    assert!(!raw.contains('?'), "path {raw:?}");
    assert_eq!(request.path().as_bytes(), decode(raw), "path {raw:?}");
    assert!(!request.path().contains('\0'), "path {raw:?}");
    let tail = match request.query_string() {
        Some(query) => format!("{raw}?{query}"),
        None => raw.to_owned(),
    };
    // A URL may have no path at all, which is told as a slash.
    let authority = target.strip_suffix(&tail).or_else(|| target.strip_suffix(&tail[1..]));
    let authority =
        authority.unwrap_or_else(|| panic!("{tail:?} is no part of {target:?}")).to_ascii_lowercase();
    assert!(
        authority.is_empty() || authority.starts_with("http://") || authority.starts_with("https://"),
        "target {target:?}"
    );
}

fn check_headers(seen: &Seen, config: &Config) {
    assert!(seen.headers.len() <= config.headers_max);
    let lines = seen.headers.iter().map(|(name, value)| name.len() + value.len() + 3);
    let line = seen.method.len() + seen.target.len() + " HTTP/1.1".len();
    assert!(lines.sum::<usize>() + line + 4 <= config.head_bytes_max);
    for (name, value) in &seen.headers {
        assert!(!name.is_empty() && name.bytes().all(is_token), "header {name:?}");
        assert!(!value.iter().any(|byte| byte.is_ascii_control() && *byte != b'\t'), "{name}: {value:?}");
        assert_eq!(value.trim_ascii(), value, "{name}");
    }
    let hosts = seen.values("Host").count();
    assert!(hosts == 1 || hosts == 0 && seen.http_10, "{hosts} hosts");
}

/// There is one opinion only on how long a body is: two are what smuggles requests past a proxy.
fn check_body(seen: &Seen, config: &Config) {
    assert!(seen.body.len() <= config.body_bytes_max);
    // Elements of a list that are empty are none, but where there are no others, nobody knows what is meant.
    let is_coded = seen.values("Transfer-Encoding").next().is_some();
    let elements = seen.values("Transfer-Encoding").flat_map(|line| line.split(|byte| *byte == b','));
    let codings: Vec<_> = elements.map(|element| element.trim_ascii().to_ascii_lowercase()).collect();
    let codings: Vec<_> = codings.into_iter().filter(|coding| !coding.is_empty()).collect();
    assert_eq!(is_coded, !codings.is_empty(), "a coding, or no word of it");
    let lengths: Vec<_> = seen.values("Content-Length").collect();
    match (codings.as_slice(), lengths.as_slice()) {
        ([], []) => assert_eq!(seen.body, b""),
        ([], lengths) => {
            for length in lengths {
                assert!(!length.is_empty() && length.iter().all(u8::is_ascii_digit), "{length:?}");
                let length = length.iter().fold(0, |sum: u128, digit| sum * 10 + u128::from(digit - b'0'));
                assert_eq!(seen.body.len() as u128, length);
            }
        }
        ([coding], []) => assert!(coding == b"chunked" && !seen.http_10, "{coding:?}"),
        _ => panic!("{codings:?} and {lengths:?}"),
    }
}

fn check_conveniences(request: &Request<'_>, seen: &Seen) {
    for (name, value) in request.query_pairs() {
        let first = request.query(&name);
        assert!(first.is_some(), "{name:?} is in the query");
        drop(value);
    }
    for (name, _) in &seen.headers {
        assert_eq!(request.header_bytes(&name.to_ascii_uppercase()), seen.values(name).next());
    }
    if let Some(id) = request.last_event_id() {
        assert!(!id.is_empty(), "an empty one is none");
    }
    for (name, value) in request.cookies() {
        assert!(!name.is_empty() && !name.contains(['=', ';']) && !value.contains(';'), "{name:?} {value:?}");
        assert!(request.cookie(name).is_some(), "{name:?} is a cookie");
        // Nothing is decoded, and no quotes are taken away.
        let mut pairs = seen.values("Cookie").flat_map(|line| line.split(|byte| *byte == b';'));
        let is_pair = |pair: &[u8]| {
            let at = pair.iter().position(|byte| *byte == b'=');
            at.map(|at| (pair[..at].trim_ascii(), pair[at + 1..].trim_ascii()))
                == Some((name.as_bytes(), value.as_bytes()))
        };
        assert!(pairs.any(is_pair), "{name:?} {value:?} as it was sent");
    }
    for (name, _) in request.form_pairs() {
        assert!(request.form(&name).is_some(), "{name:?} is in the form");
    }
    assert!(request.host().is_some() || seen.http_10);
    assert_eq!(request.is_head(), seen.method == "HEAD");
    assert_eq!(request.param(""), None);
    assert!(format!("{request:?}").starts_with("Request"));
}

/// Percent-decoding in its plainest form, for what is well encoded; a percent sign that is not panics.
fn decode(raw: &str) -> Vec<u8> {
    let mut decoded = Vec::new();
    let mut bytes = raw.bytes();
    while let Some(byte) = bytes.next() {
        decoded.push(if byte == b'%' {
            let digits = [bytes.next().expect("a digit"), bytes.next().expect("a second digit")];
            let digits = std::str::from_utf8(&digits).expect("digits");
            u8::from_str_radix(digits, 16).expect("two hexadecimal digits")
        } else {
            byte
        });
    }
    decoded
}

/// RFC 9110 5.6.2.
pub(crate) fn is_token(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || b"!#$%&'*+-.^_`|~".contains(&byte)
}
