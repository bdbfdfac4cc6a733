//! Cookies that a reply sets: [`Cookie`], one `Set-Cookie` line each.

use crate::error::Error;
use crate::http::header::{SET_COOKIE, invalid};
use crate::http::token::is_token_byte;
use std::fmt::{self, Write as _};
use std::time::Duration;

/// Browsers drop a cookie if its name and value together are longer than this, and an attribute that is
/// longer than `ATTRIBUTE_BYTES_MAX` (RFC 6265bis 5.6).
const COOKIE_BYTES_MAX: usize = 4096;
const ATTRIBUTE_BYTES_MAX: usize = 1024;

/// Browsers keep cookies no longer than this (RFC 6265bis 5.5).
const MAX_AGE_MAX: Duration = Duration::from_secs(400 * 24 * 60 * 60);

/// Prefixes of names for which browsers enforce rules (RFC 6265bis 4.1.3). Case does not matter.
const HOST_PREFIX: &str = "__Host-";
const SECURE_PREFIX: &str = "__Secure-";

/// A cookie for [`Reply::cookie`](crate::Reply::cookie) and
/// [`StreamReply::cookie`](crate::StreamReply::cookie).
///
/// The defaults suit a session: `Path=/; HttpOnly; SameSite=Lax`. The cookie is sent for all paths of this
/// host, is hidden from scripts, comes with no cross-site request except for followed links, and is deleted
/// when the browser closes. Behind TLS, add [`secure`](Self::secure).
///
/// ```
/// use mio_sse::{Cookie, Reply, Router};
/// use std::time::Duration;
///
/// let mut app = Router::new();
/// app.post("/login", |_request, _cx| {
///     let session = Cookie::new("session", "31d4d96e407aad42").max_age(Duration::from_secs(3600)).secure();
///     Reply::redirect("/").cookie(session)
/// });
/// app.post("/logout", |_request, _cx| Reply::redirect("/").cookie(Cookie::removal("session")));
/// ```
///
/// Adding a cookie to a reply is an error if it cannot be written (RFC 6265bis 4.1.1), or if browsers would
/// silently drop it. A value may have letters, digits and ``!#$%&'()*+-./:<=>?@[]^_`{|}~``; encode other
/// text, for example percent-encoded. The whole value may be in quotes. They are part of it: they escape
/// nothing, and [`Request::cookie`](crate::Request::cookie) returns them too.
#[derive(Clone, PartialEq, Eq)]
pub struct Cookie {
    name: String,
    value: String,
    max_age: Option<Duration>,
    path: String,
    domain: Option<String>,
    secure: bool,
    http_only: bool,
    same_site: SameSite,
    partitioned: bool,
}

/// Which cross-site requests carry the cookie (RFC 6265bis 5.6.7).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum SameSite {
    /// None, not even when a user follows a link to this site.
    Strict,
    /// Those that navigate to a page of this site, such as a followed link. Not forms that are posted,
    /// `fetch` or `EventSource`.
    #[default]
    Lax,
    /// All. Pages of other sites need this to open a stream with credentials; see
    /// [`Cors::credentials`](crate::Cors::credentials). The cookie must be [`secure`](Cookie::secure),
    /// otherwise browsers drop it.
    None,
}

impl Cookie {
    /// A cookie that is deleted when the browser closes. If its name begins with `__Host-` or `__Secure-`, it
    /// is [`secure`](Self::secure), as browsers require.
    #[must_use]
    pub fn new(name: impl Into<String>, value: impl Into<String>) -> Cookie {
        let name = name.into();
        Cookie {
            secure: has_prefix(&name, HOST_PREFIX) || has_prefix(&name, SECURE_PREFIX),
            name,
            value: value.into(),
            max_age: None,
            path: "/".to_owned(),
            domain: None,
            http_only: true,
            same_site: SameSite::Lax,
            partitioned: false,
        }
    }

    /// Makes the browser delete a cookie: an empty one with `Max-Age=0`. It must have the same
    /// [`path`](Self::path) and [`domain`](Self::domain) as the cookie, and be
    /// [`partitioned`](Self::partitioned) if the cookie is.
    #[must_use]
    pub fn removal(name: impl Into<String>) -> Cookie {
        Self::new(name, "").max_age(Duration::ZERO)
    }

    /// Sets how long the browser keeps it. Fractions of a second are rounded up. The maximum is 400 days,
    /// because browsers keep no cookie for longer. Zero deletes the cookie.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Cookie {
        self.max_age = Some(age);
        self
    }

    /// Sets the path below which it is sent, instead of `/`. It must begin with a slash.
    #[must_use]
    pub fn path(mut self, path: impl Into<String>) -> Cookie {
        self.path = path.into();
        self
    }

    /// Sends it to this domain and all of its subdomains, instead of this host alone.
    #[must_use]
    pub fn domain(mut self, domain: impl Into<String>) -> Cookie {
        self.domain = Some(domain.into());
        self
    }

    /// Sends it over TLS only. On `http://`, some browsers accept such cookies from `localhost`, and no
    /// others.
    #[must_use]
    pub fn secure(mut self) -> Cookie {
        self.secure = true;
        self
    }

    /// Lets scripts of the page read it: removes `HttpOnly`. For preferences, not for sessions.
    #[must_use]
    pub fn readable_by_scripts(mut self) -> Cookie {
        self.http_only = false;
        self
    }

    /// Sets which cross-site requests carry it, instead of [`SameSite::Lax`].
    #[must_use]
    pub fn same_site(mut self, same_site: SameSite) -> Cookie {
        self.same_site = same_site;
        self
    }

    /// Gives the user a separate cookie on each site that embeds this one: `Partitioned` (CHIPS, Cookies
    /// Having Independent Partitioned State). Browsers that block third-party cookies still send these: with
    /// a frame or a stream of this site in a page of another one. A cookie set there is not sent when the
    /// user opens this site itself, or on a third site.
    ///
    /// Browsers drop it unless it is [`secure`](Self::secure), and send it across sites only with
    /// [`SameSite::None`]. A name that begins with `__Host-` is recommended.
    ///
    /// ```
    /// use mio_sse::{Cookie, Reply, SameSite};
    ///
    /// let seen = Cookie::new("__Host-seen", "41").same_site(SameSite::None).partitioned();
    /// let reply = Reply::stream().topic("comments").cookie(seen);
    /// ```
    #[must_use]
    pub fn partitioned(mut self) -> Cookie {
        self.partitioned = true;
        self
    }

    /// The value of the `Set-Cookie` header (RFC 6265bis 4.1.1).
    pub(crate) fn into_header_value(self) -> Result<String, Error> {
        self.check().map_err(|problem| invalid(SET_COOKIE, problem))?;
        let mut line = self.name;
        push(&mut line, format_args!("={}; Path={}", self.value, self.path));
        if let Some(domain) = self.domain {
            push(&mut line, format_args!("; Domain={domain}"));
        }
        if let Some(age) = self.max_age {
            push(
                &mut line,
                format_args!("; Max-Age={}", age.min(MAX_AGE_MAX).as_nanos().div_ceil(1_000_000_000)),
            );
        }
        if self.secure {
            line.push_str("; Secure");
        }
        if self.http_only {
            line.push_str("; HttpOnly");
        }
        line.push_str(match self.same_site {
            SameSite::Strict => "; SameSite=Strict",
            SameSite::Lax => "; SameSite=Lax",
            SameSite::None => "; SameSite=None",
        });
        if self.partitioned {
            line.push_str("; Partitioned");
        }
        Ok(line)
    }

    fn check(&self) -> Result<(), &'static str> {
        let is_attribute = |byte: u8| (byte.is_ascii_graphic() || byte == b' ') && byte != b';';
        let is_in_domain = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'-' || byte == b'.';
        if self.name.is_empty() || !self.name.bytes().all(is_token_byte) {
            return Err("a cookie's name consists of letters, digits and !#$%&'*+-.^_`|~");
        }
        let quoted = self.value.strip_prefix('"').and_then(|value| value.strip_suffix('"'));
        if !quoted.unwrap_or(&self.value).bytes().all(is_cookie_octet) {
            return Err(
                "a cookie's value is ASCII without spaces, control characters, commas, semicolons, backslashes and inner quotes",
            );
        }
        if self.name.len() + self.value.len() > COOKIE_BYTES_MAX {
            return Err("browsers drop cookies of more than 4096 bytes");
        }
        if !self.path.starts_with('/') || !self.path.bytes().all(is_attribute) {
            return Err(
                "a cookie's path begins with a slash and is ASCII without control characters and semicolons",
            );
        }
        let domain = self.domain.as_deref();
        if domain.is_some_and(|domain| domain.is_empty() || !domain.bytes().all(is_in_domain)) {
            return Err("a cookie's domain consists of letters, digits, hyphens and dots");
        }
        if self.path.len().max(domain.map_or(0, str::len)) > ATTRIBUTE_BYTES_MAX {
            return Err("browsers ignore attributes of more than 1024 bytes");
        }
        if has_prefix(&self.name, HOST_PREFIX) && (domain.is_some() || self.path != "/") {
            return Err("browsers drop a cookie named __Host- that has a domain, or a path other than /");
        }
        if self.same_site == SameSite::None && !self.secure {
            return Err("browsers drop a cookie that is SameSite=None and not secure");
        }
        if self.partitioned && !self.secure {
            return Err("browsers drop a cookie that is Partitioned and not secure");
        }
        Ok(())
    }
}

/// Leaves out the value: a session cookie gives access to anyone who knows it.
impl fmt::Debug for Cookie {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cookie")
            .field("name", &self.name)
            .field("path", &self.path)
            .field("domain", &self.domain)
            .field("max_age", &self.max_age)
            .field("secure", &self.secure)
            .field("http_only", &self.http_only)
            .field("same_site", &self.same_site)
            .field("partitioned", &self.partitioned)
            .finish_non_exhaustive()
    }
}

fn has_prefix(name: &str, prefix: &str) -> bool {
    name.get(..prefix.len()).is_some_and(|start| start.eq_ignore_ascii_case(prefix))
}

/// `cookie-octet` (RFC 6265bis 4.1.1).
fn is_cookie_octet(byte: u8) -> bool {
    byte.is_ascii_graphic() && !b"\",;\\".contains(&byte)
}

fn push(line: &mut String, arguments: fmt::Arguments<'_>) {
    let written = line.write_fmt(arguments);
    debug_assert!(written.is_ok(), "writing to a string cannot fail");
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Reply;
    use crate::http::parse::incoming::{Incoming, Progress};
    use crate::http::parse::limits::Limits;
    use proptest::prelude::*;

    const LIMITS: Limits =
        Limits { head_bytes_max: 4096, target_bytes_max: 1024, headers_max: 64, body_bytes_max: 1000 };

    #[track_caller]
    fn assert_line(cookie: Cookie, line: &str) {
        assert_eq!(cookie.into_header_value().as_deref(), Ok(line));
    }

    /// The error for a cookie that cannot be added to a reply.
    #[track_caller]
    fn problem(cookie: Cookie) -> &'static str {
        let whole = Reply::text("").cookie(cookie.clone()).check();
        let stream = Reply::stream().cookie(cookie).check();
        match (whole, stream) {
            (Err(Error::InvalidHeader { name, problem }), Err(stream)) => {
                assert_eq!(name, "Set-Cookie");
                assert_eq!(stream, Error::InvalidHeader { name, problem });
                problem
            }
            added => panic!("{added:?}"),
        }
    }

    #[test]
    fn a_cookie_has_the_defaults_of_a_session() {
        assert_line(Cookie::new("a", "b"), "a=b; Path=/; HttpOnly; SameSite=Lax");
        let other = Cookie::new("a", "")
            .path("/b c")
            .domain("example.org")
            .max_age(Duration::from_secs(60))
            .secure()
            .readable_by_scripts()
            .same_site(SameSite::None);
        assert_line(other, "a=; Path=/b c; Domain=example.org; Max-Age=60; Secure; SameSite=None");
        assert_line(
            Cookie::removal("a").same_site(SameSite::Strict),
            "a=; Path=/; Max-Age=0; HttpOnly; SameSite=Strict",
        );
    }

    #[test]
    fn ages_are_whole_seconds_that_browsers_accept() {
        let age = |age| {
            let line = Cookie::new("a", "b").max_age(age).into_header_value().unwrap();
            line.split("; ").find_map(|part| part.strip_prefix("Max-Age=")).unwrap().to_owned()
        };
        assert_eq!(age(Duration::ZERO), "0");
        // Rounded down, this would be a removal.
        assert_eq!(age(Duration::from_nanos(1)), "1");
        assert_eq!(age(Duration::from_millis(1001)), "2");
        assert_eq!(age(Duration::MAX), "34560000");
    }

    #[test]
    fn cookies_that_cannot_be_written() {
        for name in ["", "a b", "a=b", "a;b", "ü", "a\r\nb", "\0", "\"a\"", "a,b"] {
            assert!(problem(Cookie::new(name, "b")).contains("name"), "{name:?}");
        }
        let values = ["a b", "a;b", "a,b", "a\\b", "ü", "a\r\nSet-Cookie: c=d", "\0", "\x7f", "\t"];
        let quotes = ["\"", "\"a", "a\"", "a\"b\"", "\"a\"b\"", "\"a b\"", "\"a;b\"", " \"a\"", "\"\\\"\""];
        for value in values.iter().chain(&quotes) {
            assert!(problem(Cookie::new("a", *value)).contains("value"), "{value:?}");
        }
        for path in ["", "a", "/;a", "/\r\n", "/ü"] {
            assert!(problem(Cookie::new("a", "b").path(path)).contains("path"), "{path:?}");
        }
        for domain in ["", "a b", "a;b", "ü.example", "a:80", "a\r\n"] {
            assert!(problem(Cookie::new("a", "b").domain(domain)).contains("domain"), "{domain:?}");
        }
        let letters: String = ('!'..='~').filter(|letter| !"\",;\\".contains(*letter)).collect();
        assert_line(Cookie::new("a", &letters), &format!("a={letters}; Path=/; HttpOnly; SameSite=Lax"));
    }

    #[test]
    fn cookies_that_browsers_would_drop() {
        let of_len = |len: usize| Cookie::new("name", "v".repeat(len - 4));
        assert!(of_len(4096).into_header_value().is_ok());
        assert!(problem(of_len(4097)).contains("4096"));
        let path_of_len = |len: usize| Cookie::new("a", "b").path("/".repeat(len));
        assert!(path_of_len(1024).into_header_value().is_ok());
        assert!(problem(path_of_len(1025)).contains("1024"));
        assert!(problem(Cookie::new("a", "b").domain("d".repeat(1025))).contains("1024"));
        assert!(problem(Cookie::new("a", "b").same_site(SameSite::None)).contains("SameSite"));
        assert!(problem(Cookie::new("a", "b").partitioned()).contains("Partitioned"));
    }

    #[test]
    fn a_partitioned_cookie() {
        assert_line(
            Cookie::new("__Host-a", "b").same_site(SameSite::None).partitioned(),
            "__Host-a=b; Path=/; Secure; HttpOnly; SameSite=None; Partitioned",
        );
        assert_line(
            Cookie::removal("a").secure().partitioned(),
            "a=; Path=/; Max-Age=0; Secure; HttpOnly; SameSite=Lax; Partitioned",
        );
    }

    /// The name and value that a browser stores from a `Set-Cookie` line, to send them back (RFC 6265bis
    /// 5.6).
    fn stored(line: &str) -> Option<(&str, &str)> {
        let is_control = |byte: u8| byte.is_ascii_control() && byte != b'\t';
        let pair = line.split(';').next().filter(|_| !line.bytes().any(is_control))?;
        let (name, value) = pair.split_once('=').unwrap_or(("", pair));
        let (name, value) = (name.trim_matches([' ', '\t']), value.trim_matches([' ', '\t']));
        (name.len() + value.len() <= 4096).then_some((name, value))
    }

    proptest! {
        /// If a cookie can be set at all, a handler reads the same name and value again.
        #[test]
        fn a_cookie_comes_back_unchanged(
            name in "[!-~]{1,3}|[a-z_-]{1,9}",
            value in "[ -~]{0,9}|[!#-+.-:<-\\[\\]-~]{0,9}|\"[!#-+.-:<-\\[\\]-~]{0,9}\"|.{0,4}",
        ) {
            let Ok(line) = Cookie::new(&name, &value).into_header_value() else { return Ok(()) };
            let (stored_name, stored_value) = stored(&line).expect("a cookie that a browser accepts");
            prop_assert_eq!((stored_name, stored_value), (&*name, &*value));
            let head = format!("GET / HTTP/1.0\r\nCookie: x=y; {stored_name}={stored_value}; z=\r\n\r\n");
            let mut incoming = Incoming::default();
            let progress = incoming.advance(head.as_bytes(), &LIMITS);
            prop_assert_eq!(progress, Ok(Progress::Complete { consumed: head.len() }));
            let request = incoming.request(head.as_bytes());
            let expected = if name == "x" { "y" } else { &*value };
            prop_assert_eq!(request.cookie(&name), Some(expected));
        }
    }

    #[test]
    fn prefixes_of_names_are_promises() {
        assert_line(Cookie::new("__Host-a", "b"), "__Host-a=b; Path=/; Secure; HttpOnly; SameSite=Lax");
        assert_line(
            Cookie::removal("__secure-a").path("/c").domain("d"),
            "__secure-a=; Path=/c; Domain=d; Max-Age=0; Secure; HttpOnly; SameSite=Lax",
        );
        assert_line(Cookie::new("__Hos", "b"), "__Hos=b; Path=/; HttpOnly; SameSite=Lax");
        assert!(problem(Cookie::new("__host-a", "b").path("/c")).contains("__Host-"));
        assert!(problem(Cookie::new("__Host-a", "b").domain("c")).contains("__Host-"));
    }

    #[test]
    fn debug_keeps_the_value() {
        let cookie = Cookie::new("session", "s3cret");
        let replies = (Reply::text("").cookie(cookie.clone()), Reply::stream().cookie(cookie.clone()));
        let debug = format!("{cookie:?} {replies:?}");
        assert!(debug.contains("session") && debug.contains("Set-Cookie"), "{debug}");
        assert!(!debug.contains("s3cret"), "{debug}");
    }
}
