//! Which pages of other origins may read replies: [`Cors`], the server's half of the CORS protocol of the Fetch standard.
//!
//! Of what a request says, the only thing that is ever written back are names of headers, and those are tokens. An origin
//! is written as it was configured.

use crate::error::ConfigError;
use crate::http::parse::request::Request;
use crate::http::reply::headers::Headers;
use crate::http::reply::reply::Reply;
use crate::http::token::is_token_byte;
use std::net::Ipv6Addr;
use std::time::Duration;

const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";

/// What a page may do with a `fetch` of its own origin, save for methods that nobody uses.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// No browser keeps the answer to a preflight for more than a day: whoever says more than this means something else.
const MAX_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Which pages of other origins may read replies, for [`Config::cors`](crate::Config::cors) (Fetch, CORS protocol).
///
/// The server adds what browsers want to see to each reply: to whole ones and to streams, also where a stream is refused or
/// a handler fails. It answers preflights itself, with 204; handlers never see those. A reply that has an
/// `Access-Control-Allow-Origin` of its own is left as it is. What cannot be read as a request is rejected without any of
/// this.
///
/// ```
/// use mio_sse::{Config, Cors};
/// use std::time::Duration;
///
/// let mut config = Config::default();
/// config.cors = Some(Cors::origins(["https://app.example"]).credentials().max_age(Duration::from_secs(3600)));
/// assert!(config.check().is_ok());
///
/// config.cors = Some(Cors::origins(["https://app.example/"]));
/// assert!(config.check().is_err(), "an origin has no path");
/// ```
///
/// It lets pages *read*; it protects nothing. What a browser sends without a preflight, such as a form that is posted,
/// reaches the handler whatever its origin is, and whatever is no browser can name any origin. Whom to let in is for
/// sessions to say: see [`Cookie`](crate::Cookie) and [`Request::cookie`](crate::Request::cookie).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    origins: Origins,
    credentials: bool,
    methods: Vec<String>,
    /// `None`: all that are asked for.
    headers: Option<Vec<String>>,
    max_age: Option<Duration>,
}

#[derive(Debug, Clone, PartialEq, Eq)]
enum Origins {
    Any,
    Listed(Vec<String>),
}

impl Cors {
    /// Pages of any origin may read all replies that need no credentials: `Access-Control-Allow-Origin: *`, also to who
    /// names no origin, so that a cache may give one reply to all.
    #[must_use]
    pub fn any() -> Cors {
        Self::new(Origins::Any)
    }

    /// Pages of these origins may read all replies. Each is a scheme, a host and a port that is not the scheme's own, as
    /// browsers send it: `https://app.example`, `http://localhost:3000`. There are no wildcards. `null` is the origin of
    /// local files and sandboxed frames, so that any page can have it.
    ///
    /// The origin that asks is named in the reply, if it is one of these, and all replies say `Vary: Origin`, so that no cache
    /// gives one's reply to another. Each request is compared with all of them.
    #[must_use]
    pub fn origins(origins: impl IntoIterator<Item = impl Into<String>>) -> Cors {
        Self::new(Origins::Listed(strings(origins)))
    }

    fn new(origins: Origins) -> Cors {
        let methods = strings(METHODS);
        Cors { origins, credentials: false, methods, headers: None, max_age: None }
    }

    /// Lets these pages send cookies along, and read what is answered: `new EventSource(url, { withCredentials: true })`,
    /// `fetch(url, { credentials: "include" })`. Cookies come along only if they are
    /// [`SameSite::None`](crate::SameSite::None), or if the page is of the same site and only the origin differs.
    ///
    /// Not with [`any`](Self::any), nor with `null`: every page in the world could act for, and read as, whoever looks at
    /// it (Fetch, CORS protocol and credentials).
    #[must_use]
    pub fn credentials(mut self) -> Cors {
        self.credentials = true;
        self
    }

    /// The methods that preflights are told, in place of GET, HEAD, POST, PUT, PATCH and DELETE. Those are case-sensitive,
    /// and GET, HEAD and POST are always allowed.
    #[must_use]
    pub fn methods(mut self, methods: impl IntoIterator<Item = impl Into<String>>) -> Cors {
        self.methods = strings(methods);
        self
    }

    /// The headers that requests may have beside those that all may have, in place of all that a preflight asks for.
    #[must_use]
    pub fn headers(mut self, headers: impl IntoIterator<Item = impl Into<String>>) -> Cors {
        self.headers = Some(strings(headers));
        self
    }

    /// How long a browser may remember the answer to a preflight, in whole seconds, in place of its own default of 5 s. At
    /// most 7 days; browsers keep none for longer than one.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Cors {
        self.max_age = Some(age);
        self
    }

    /// What [`Config::check`](crate::Config::check) says of it.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if let Origins::Listed(origins) = &self.origins {
            origins.iter().try_for_each(|origin| check_origin(origin))?;
        }
        let problem = match &self.origins {
            Origins::Any => Some("must not go with Cors::any: name the origins that may have them"),
            Origins::Listed(origins) if origins.iter().any(|origin| origin == "null") => {
                Some("must not go with the origin null, which any page can have")
            }
            Origins::Listed(_) => None,
        };
        if let Some(problem) = problem.filter(|_| self.credentials) {
            return Err(ConfigError::new("cors.credentials", problem));
        }
        if !self.methods.iter().all(|method| is_token(method)) {
            return Err(ConfigError::new("cors.methods", "must be tokens, such as PUT"));
        }
        if !self.headers.iter().flatten().all(|name| is_token(name)) {
            return Err(ConfigError::new("cors.headers", "must be names of headers, such as X-Token"));
        }
        if self.max_age.is_some_and(|age| age > MAX_AGE_MAX) {
            return Err(ConfigError::new("cors.max_age", "must be at most 7 days"));
        }
        Ok(())
    }

    /// The reply to a preflight, but for what all replies get; `None` for any other request, which is the handler's.
    pub(crate) fn preflight(&self, request: &Request<'_>) -> Option<Reply> {
        let asked = |name| request.header_bytes(name).is_some();
        if request.method() != "OPTIONS" || !asked("Origin") || !asked("Access-Control-Request-Method") {
            return None;
        }
        let mut headers = Headers::default();
        if self.allowed_origin(request).is_some() {
            let names = match &self.headers {
                Some(names) => names.join(", "),
                None => {
                    headers.add("Vary", "Access-Control-Request-Headers");
                    requested_headers(request).unwrap_or_default().join(", ")
                }
            };
            for (name, list) in [
                ("Access-Control-Allow-Methods", self.methods.join(", ")),
                ("Access-Control-Allow-Headers", names),
            ] {
                if !list.is_empty() {
                    headers.add(name, &list);
                }
            }
            if let Some(age) = self.max_age {
                headers.add("Access-Control-Max-Age", &age.as_secs().to_string());
            }
        }
        Some(Reply::no_content().with_headers(headers))
    }

    /// Adds what every reply to `request` has to say, unless the application has said it.
    pub(crate) fn add_to(&self, headers: &mut Headers, request: &Request<'_>) {
        if headers.has(ALLOW_ORIGIN) {
            return;
        }
        if matches!(self.origins, Origins::Listed(_)) {
            headers.add("Vary", "Origin");
        }
        if let Some(origin) = self.allowed_origin(request) {
            headers.add(ALLOW_ORIGIN, origin);
            if self.credentials {
                headers.add("Access-Control-Allow-Credentials", "true");
            }
        }
    }

    /// What the reply names as the origin that may read it. A request has one `Origin` or none (Fetch, `Origin` header); two
    /// of them are none that could be trusted to be the page's.
    fn allowed_origin(&self, request: &Request<'_>) -> Option<&str> {
        let Origins::Listed(origins) = &self.origins else { return Some("*") };
        let mut named = request.headers().filter(|(name, _)| name.eq_ignore_ascii_case("Origin"));
        let (Some((_, origin)), None) = (named.next(), named.next()) else { return None };
        origins.iter().find(|allowed| allowed.as_bytes() == origin).map(String::as_str)
    }
}

/// The headers that a preflight asks for; `None` if what it says is no list of names.
fn requested_headers<'a>(request: &Request<'a>) -> Option<Vec<&'a str>> {
    let lines =
        request.headers().filter(|(name, _)| name.eq_ignore_ascii_case("Access-Control-Request-Headers"));
    let names = lines.flat_map(|(_, line)| line.split(|byte| *byte == b',')).map(<[u8]>::trim_ascii);
    // Empty elements are no mistake (RFC 9110 5.6.1.2).
    let names = names.filter(|name| !name.is_empty()).map(|name| str::from_utf8(name).ok());
    names.map(|name| name.filter(|name| is_token(name))).collect()
}

/// Whether a page can have this origin (WHATWG HTML 7.1.1): one that is spelled otherwise would match none, in silence.
fn check_origin(origin: &str) -> Result<(), ConfigError> {
    let problem = if origin == "null" {
        return Ok(());
    } else if origin == "*" {
        "must not be *: that is Cors::any"
    } else if !origin.is_ascii() || origin.bytes().any(|byte| byte.is_ascii_uppercase()) {
        "must be ASCII and lower case, as browsers send them"
    } else {
        let Some((scheme, authority)) = origin.split_once("://").filter(|(scheme, _)| is_scheme(scheme))
        else {
            return Err(ConfigError::new("cors.origins", FORM));
        };
        let (host, port) = split_port(authority);
        if authority.contains(['/', '?', '#']) {
            "must have no path, not even a slash at the end"
        } else if !is_host(host) || !port.is_none_or(is_port) {
            FORM
        } else if matches!((scheme, port), ("http" | "ws", Some("80")) | ("https" | "wss", Some("443"))) {
            "must leave out the port that is the scheme's own"
        } else {
            return Ok(());
        }
    };
    Err(ConfigError::new("cors.origins", problem))
}

const FORM: &str = "must each be scheme://host or scheme://host:port, without wildcards";

/// The host, and what follows the colon behind it.
fn split_port(authority: &str) -> (&str, Option<&str>) {
    match authority.rsplit_once(':') {
        Some((host, port)) if !port.contains(']') => (host, Some(port)),
        _ => (authority, None),
    }
}

fn is_scheme(scheme: &str) -> bool {
    let is_in_scheme = |byte: u8| byte.is_ascii_alphanumeric() || b"+-.".contains(&byte);
    scheme.starts_with(|letter: char| letter.is_ascii_alphabetic()) && scheme.bytes().all(is_in_scheme)
}

fn is_host(host: &str) -> bool {
    match host.strip_prefix('[').and_then(|host| host.strip_suffix(']')) {
        Some(address) => address.parse::<Ipv6Addr>().is_ok(),
        None => {
            let is_in_name = |byte: u8| byte.is_ascii_alphanumeric() || b"-._".contains(&byte);
            !host.is_empty() && host.bytes().all(is_in_name)
        }
    }
}

/// A port as browsers write it: a number without a zero in front.
fn is_port(port: &str) -> bool {
    port.parse::<u16>().is_ok_and(|number| number.to_string() == port)
}

fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

fn strings(texts: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
    texts.into_iter().map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::http::parse::incoming::{Incoming, Progress};
    use crate::http::parse::limits::Limits;
    use crate::http::reply::headers::HeadContext;
    use proptest::prelude::*;

    const LIMITS: Limits =
        Limits { head_bytes_max: 4096, target_bytes_max: 1024, headers_max: 64, body_bytes_max: 1000 };

    /// What a preflight with these header lines is answered, without the status line and the date; nothing if it is none, or
    /// no request at all.
    fn preflight(cors: &Cors, lines: impl AsRef<[u8]>) -> Option<Vec<String>> {
        let bytes = [b"OPTIONS /a HTTP/1.0\r\n", lines.as_ref(), b"\r\n"].concat();
        let mut incoming = Incoming::default();
        let Ok(Progress::Complete { .. }) = incoming.advance(&bytes, &LIMITS) else { return None };
        let request = incoming.request(&bytes);
        let mut reply = cors.preflight(&request)?;
        reply.share(cors, &request);
        let cx = HeadContext { date: "now", keep_alive: true, http_10: false, head_request: false };
        let mut out = Vec::new();
        reply.encode(&cx, &mut out);
        let text = String::from_utf8(out).unwrap();
        let lines = text.strip_prefix("HTTP/1.1 204 No Content\r\nDate: now\r\n").unwrap();
        Some(lines.strip_suffix("\r\n\r\n").unwrap().split("\r\n").map(str::to_owned).collect())
    }

    const ASKS: &str = "Origin: https://a.example\r\nAccess-Control-Request-Method: PUT\r\n";

    #[test]
    fn preflights() {
        let answer = |cors: Cors, asks_for: &str| preflight(&cors, format!("{ASKS}{asks_for}")).unwrap();
        assert_eq!(
            answer(Cors::any(), ""),
            [
                "Vary: Access-Control-Request-Headers",
                "Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE",
                "Access-Control-Allow-Origin: *",
            ]
        );
        let listed = Cors::origins(["https://b.example", "https://a.example"]);
        assert_eq!(
            answer(
                listed
                    .clone()
                    .credentials()
                    .methods(["PUT", "QUERY"])
                    .headers(["x-a", "X-B"])
                    .max_age(Duration::from_millis(60_999)),
                "Access-Control-Request-Headers: x-c\r\n",
            ),
            [
                "Access-Control-Allow-Methods: PUT, QUERY",
                "Access-Control-Allow-Headers: x-a, X-B",
                "Access-Control-Max-Age: 60",
                "Vary: Origin",
                "Access-Control-Allow-Origin: https://a.example",
                "Access-Control-Allow-Credentials: true",
            ]
        );
        let none = listed.methods(Vec::<String>::new()).headers(Vec::<String>::new());
        assert_eq!(answer(none, ""), ["Vary: Origin", "Access-Control-Allow-Origin: https://a.example"]);
        let other = Cors::origins(["https://b.example"]).credentials().max_age(Duration::from_secs(1));
        assert_eq!(answer(other, "Access-Control-Request-Headers: x-c\r\n"), ["Vary: Origin"]);
    }

    #[test]
    fn what_is_no_preflight() {
        let any = Cors::any();
        assert_eq!(preflight(&any, "Origin: https://a.example\r\n"), None);
        assert_eq!(preflight(&any, "Access-Control-Request-Method: PUT\r\n"), None);
        assert_eq!(preflight(&any, ""), None);
        assert!(preflight(&any, ASKS.to_ascii_lowercase()).is_some());
    }

    /// The headers that a preflight is allowed which asks with these lines.
    fn allowed(lines: impl AsRef<[u8]>) -> Option<String> {
        let head = preflight(&Cors::any(), [ASKS.as_bytes(), lines.as_ref()].concat())?;
        head.iter().find_map(|line| line.strip_prefix("Access-Control-Allow-Headers: ").map(str::to_owned))
    }

    #[test]
    fn the_headers_asked_for_are_allowed_if_they_are_names() {
        let allowed = |lines: &str| allowed(lines.replace("ACRH", "Access-Control-Request-Headers"));
        assert_eq!(allowed("ACRH: content-type\r\n").as_deref(), Some("content-type"));
        assert_eq!(allowed("ACRH: a,b ,, c\t,\r\n").as_deref(), Some("a, b, c"));
        assert_eq!(allowed("ACRH: a\r\nacrh: z\r\nACRH: b\r\n").as_deref(), Some("a, b"));
        let long = vec!["x-abc"; 500].join(",");
        assert_eq!(allowed(&format!("ACRH: {long}\r\n")), Some(long.replace(',', ", ")));
        for junk in ["", ",", "a b", "a, \"b\"", "a:b", "a;b", "\u{fc}", "a, (b)", "a\tb", "a\r\nACRH: b:"] {
            assert_eq!(allowed(&format!("ACRH: {junk}\r\n")), None, "{junk:?}");
        }
    }

    proptest! {
        /// Whatever a preflight asks for, the answer is lines of the known form.
        #[test]
        fn nothing_but_names_is_written_back(
            junk in prop_oneof![prop::collection::vec(any::<u8>(), 0..40), "[a-c,; \t:\"\u{7f}\u{80}\r\n]{0,12}".prop_map(String::into_bytes)],
        ) {
            let lines = [b"Access-Control-Request-Headers: ", &junk[..], b"\r\n"].concat();
            if let Some(names) = allowed(lines) {
                prop_assert!(names.split(", ").all(is_token), "{names:?}");
            }
            let lines = [b"Access-Control-Request-Method: PUT\r\nOrigin: ", &junk[..], b"\r\n"].concat();
            let list = Cors::origins(["https://a.example"]);
            if let Some(head) = preflight(&list, lines) {
                prop_assert_eq!(head, ["Vary: Origin"]);
            }
        }
    }

    #[test]
    fn origins_are_spelled_as_browsers_send_them() {
        for origin in [
            "https://a.example",
            "http://localhost:3000",
            "http://127.0.0.1:8080",
            "http://[::1]:8080",
            "http://[::1]",
            "https://a_b-c.example:80",
            "http://a.example:443",
            "capacitor://localhost",
            "chrome-extension://abcdefghijklmnop",
            "null",
        ] {
            assert_eq!(Cors::origins([origin]).check(), Ok(()), "{origin}");
        }
        let form =
            ["", "a.example", "a.example:80", "//a.example", "https:a.example", "https://", "https://:80"];
        let more =
            ["https://a.example:", "https://a:b", "https://a:65536", "https://a:080", "https://*.example"];
        let others =
            ["https://u@a.example", "https://a b", "https://[::1", "https://[a]", "https://a\r\nb", "1://a"];
        for origin in form.iter().chain(&more).chain(&others) {
            assert_eq!(problem(Cors::origins([*origin])), ("cors.origins", FORM.to_owned()), "{origin:?}");
        }
        let says = |origin: &str, word: &str| {
            let (limit, problem) = problem(Cors::origins(["https://a.example", origin]));
            assert!(limit == "cors.origins" && problem.contains(word), "{origin}: {problem}");
        };
        says("*", "Cors::any");
        says("https://a.example/", "slash");
        says("https://a.example/path", "path");
        says("https://a.example?", "path");
        says("https://A.example", "lower case");
        says("HTTPS://a.example", "lower case");
        says("https://\u{fc}.example", "ASCII");
        says("https://a.example:443", "port");
        says("http://a.example:80", "port");
        says("http://[::1]:80", "port");
    }

    #[test]
    fn credentials_are_not_for_everybody() {
        assert_eq!(problem(Cors::any().credentials()).0, "cors.credentials");
        assert_eq!(problem(Cors::origins(["https://a.example", "null"]).credentials()).0, "cors.credentials");
        assert_eq!(Cors::origins(["https://a.example"]).credentials().check(), Ok(()));
        assert_eq!(Cors::any().check(), Ok(()));
    }

    #[test]
    fn lists_are_of_tokens_and_ages_bounded() {
        for junk in ["", "a b", "a,b", "a\r\nb", "\u{fc}"] {
            assert_eq!(problem(Cors::any().methods(["PUT", junk])).0, "cors.methods", "{junk:?}");
            assert_eq!(problem(Cors::any().headers(["X-A", junk])).0, "cors.headers", "{junk:?}");
        }
        assert_eq!(problem(Cors::any().max_age(MAX_AGE_MAX + Duration::from_nanos(1))).0, "cors.max_age");
        assert_eq!(Cors::any().max_age(MAX_AGE_MAX).methods(["PUT"]).headers(["X-A"]).check(), Ok(()));
        assert_eq!(Cors::any().max_age(Duration::ZERO).check(), Ok(()));
    }

    /// What is wrong with it: the limit, and the sentence about it.
    #[track_caller]
    fn problem(cors: Cors) -> (&'static str, String) {
        let config = crate::Config { cors: Some(cors), ..crate::Config::default() };
        let error = config.check().expect_err("a problem");
        let text = error.to_string();
        let text = text.strip_prefix("Config::").unwrap().strip_prefix(error.limit()).unwrap();
        (error.limit(), text.trim_start().to_owned())
    }
}
