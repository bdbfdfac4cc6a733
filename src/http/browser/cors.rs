//! Configuration of CORS: which pages of other origins may read replies. For its effect on requests and
//! replies see `cors_protocol`.

use crate::error::ConfigError;
use crate::http::browser::origin;
use crate::http::token::is_token_byte;
use std::time::Duration;

/// The methods that a page may use with `fetch` on its own origin, except for unusual ones.
const METHODS: [&str; 6] = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"];

/// Browsers keep the reply to a preflight for at most a day, so a much larger value is a mistake.
const MAX_AGE_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Which pages of other origins may read replies, for [`Config::cors`](crate::Config::cors) (Fetch, CORS
/// protocol).
///
/// The server adds the headers that browsers require to every reply: to whole replies, to streams, and also
/// if a stream is refused or a handler fails. It handles preflights itself, with 204; handlers never see
/// them. A reply that already has an `Access-Control-Allow-Origin` is left as it is.
///
/// This includes requests that are rejected after their head was read, without asking the handler: for a body
/// that is too large (413) or late (408), an unknown expectation (417), or another
/// [host](crate::Config::hosts) (421). If the head is malformed (400), incomplete (408) or too large (414,
/// 431), the server does not know the origin. Then pages can read the reply only with [`any`](Self::any);
/// otherwise they see a network error.
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
/// CORS lets pages *read*; it protects nothing. Requests that browsers send without a preflight, such as a
/// posted form, reach the handler whatever their origin is, and clients other than browsers can send any
/// origin. To control access, use sessions: see [`Cookie`](crate::Cookie) and
/// [`Request::cookie`](crate::Request::cookie).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Cors {
    pub(super) origins: Origins,
    pub(super) credentials: bool,
    pub(super) methods: Vec<String>,
    /// `None` allows all headers that a preflight asks for.
    pub(super) headers: Option<Vec<String>>,
    pub(super) exposed: Vec<String>,
    pub(super) max_age: Option<Duration>,
    pub(super) private_network: bool,
}

#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Origins {
    Any,
    Listed(Vec<String>),
}

impl Cors {
    /// Pages of any origin may read all replies that need no credentials. All replies have
    /// `Access-Control-Allow-Origin: *`, even without an `Origin` in the request, so a cache may give one
    /// reply to all.
    #[must_use]
    pub fn any() -> Cors {
        Self::new(Origins::Any)
    }

    /// Pages of these origins may read all replies. Each is a scheme, a host, and a port unless it is the
    /// scheme's default, as browsers send it: `https://app.example`, `http://localhost:3000`. There are no
    /// wildcards. `null` is the origin of local files and sandboxed frames, so any page can have it.
    ///
    /// Origins are compared byte by byte, so [`Config::check`](crate::Config::check) refuses those that no
    /// browser sends, and says what to write instead: `http://[0:0::1]:80/` is `http://[::1]`.
    ///
    /// A reply names the origin of the request if it is one of these. All replies have `Vary: Origin`, so no
    /// cache gives one origin's reply to another. Currently each request is compared with all of them.
    #[must_use]
    pub fn origins(origins: impl IntoIterator<Item = impl Into<String>>) -> Cors {
        Self::new(Origins::Listed(strings(origins)))
    }

    fn new(origins: Origins) -> Cors {
        let methods = strings(METHODS);
        Cors {
            origins,
            credentials: false,
            methods,
            headers: None,
            exposed: Vec::new(),
            max_age: None,
            private_network: false,
        }
    }

    /// Lets these pages send cookies and read the replies: `new EventSource(url, { withCredentials: true })`,
    /// `fetch(url, { credentials: "include" })`. Browsers send cookies only if they are
    /// [`SameSite::None`](crate::SameSite::None), or if the page is of the same site and only the origin
    /// differs.
    ///
    /// Not allowed with [`any`](Self::any) or `null`: every page in the world could act and read as the user
    /// who visits it (Fetch, CORS protocol and credentials).
    #[must_use]
    pub fn credentials(mut self) -> Cors {
        self.credentials = true;
        self
    }

    /// Sets the methods that preflights allow, instead of GET, HEAD, POST, PUT, PATCH and DELETE. They are
    /// case-sensitive, and GET, HEAD and POST are always allowed.
    #[must_use]
    pub fn methods(mut self, methods: impl IntoIterator<Item = impl Into<String>>) -> Cors {
        self.methods = strings(methods);
        self
    }

    /// Sets the headers that requests may have besides the safelisted ones, instead of all that a preflight
    /// asks for.
    #[must_use]
    pub fn headers(mut self, headers: impl IntoIterator<Item = impl Into<String>>) -> Cors {
        self.headers = Some(strings(headers));
        self
    }

    /// Lets scripts read these headers of replies: `Access-Control-Expose-Headers`, on all replies except
    /// those to preflights. Default none. Scripts can always read `Cache-Control`, `Content-Language`,
    /// `Content-Length`, `Content-Type`, `Expires`, `Last-Modified` and `Pragma` (Fetch, CORS-safelisted
    /// response-header name).
    ///
    /// `*` means all headers, and is an error with [`credentials`](Self::credentials), where it would mean
    /// none. No script can read `Set-Cookie`.
    ///
    /// ```
    /// use mio_sse::Cors;
    ///
    /// // `response.headers.get("Retry-After")`, where a stream was refused with 503.
    /// let cors = Cors::origins(["https://app.example"]).expose(["Retry-After", "X-Request-Id"]);
    /// ```
    #[must_use]
    pub fn expose(mut self, headers: impl IntoIterator<Item = impl Into<String>>) -> Cors {
        self.exposed = strings(headers);
        self
    }

    /// Lets pages of these origins on the internet use this server although it is in a private network, or on
    /// the user's own machine: a preflight with `Access-Control-Request-Private-Network: true` gets
    /// `Access-Control-Allow-Private-Network: true`. Default no.
    ///
    /// Only older browsers use this. The headers are those of the draft *Private Network Access*. Chrome sent
    /// such preflights from version 98 on, put the draft on hold in October 2024 before it enforced them, and
    /// replaced it by *Local Network Access* (a WICG draft): since Chrome 142, and step by step in Firefox,
    /// the browser asks its user for permission, and no header of a server can give it. So this helps only
    /// with older versions of Chromium, and where an administrator has switched the old checks on.
    ///
    /// [`origins`](Self::origins) still decides which pages may *read*. Against DNS rebinding, see
    /// [`Config::hosts`](crate::Config::hosts).
    #[must_use]
    pub fn private_network(mut self) -> Cors {
        self.private_network = true;
        self
    }

    /// Sets how long a browser may remember the reply to a preflight, in whole seconds, instead of its own
    /// default of 5 s. At most 7 days; browsers limit it to a day or less.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> Cors {
        self.max_age = Some(age);
        self
    }

    /// Checks the values, for [`Config::check`](crate::Config::check).
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        if let Origins::Listed(origins) = &self.origins {
            let check = |origin: &String| origin::check(origin);
            origins
                .iter()
                .try_for_each(check)
                .map_err(|problem| ConfigError::new("cors.origins", problem))?;
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
        if !self.exposed.iter().all(|name| is_token(name)) {
            return Err(ConfigError::new("cors.expose", "must be names of headers, such as X-Request-Id"));
        }
        if self.credentials && self.exposed.iter().any(|name| name == "*") {
            return Err(ConfigError::new(
                "cors.expose",
                "must name the headers: with credentials, * means none",
            ));
        }
        if self.max_age.is_some_and(|age| age > MAX_AGE_MAX) {
            return Err(ConfigError::new("cors.max_age", "must be at most 7 days"));
        }
        Ok(())
    }
}

pub(super) fn is_token(text: &str) -> bool {
    !text.is_empty() && text.bytes().all(is_token_byte)
}

fn strings(texts: impl IntoIterator<Item = impl Into<String>>) -> Vec<String> {
    texts.into_iter().map(Into::into).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn origins_are_spelled_as_browsers_send_them() {
        assert_eq!(Cors::origins(["https://a.example", "http://[::1]:8080", "null"]).check(), Ok(()));
        let (limit, text) = problem(Cors::origins(["https://a.example", "http://[0:0::1]:80/"]));
        assert_eq!(limit, "cors.origins");
        assert!(text.ends_with(": \"http://[::1]\", not \"http://[0:0::1]:80/\""), "{text}");
    }

    #[test]
    fn credentials_are_not_for_all_origins() {
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
            assert_eq!(problem(Cors::any().expose(["X-A", junk])).0, "cors.expose", "{junk:?}");
        }
        assert_eq!(problem(Cors::any().max_age(MAX_AGE_MAX + Duration::from_nanos(1))).0, "cors.max_age");
        assert_eq!(Cors::any().max_age(MAX_AGE_MAX).methods(["PUT"]).headers(["X-A"]).check(), Ok(()));
        assert_eq!(Cors::any().max_age(Duration::ZERO).check(), Ok(()));
        assert_eq!(Cors::any().expose(["*", "X-A"]).private_network().check(), Ok(()));
        let named = Cors::origins(["https://a.example"]).credentials();
        assert_eq!(named.clone().expose(["X-A"]).check(), Ok(()));
        assert_eq!(problem(named.expose(["X-A", "*"])).0, "cors.expose");
    }

    /// The error: the field, and the sentence about it.
    #[track_caller]
    fn problem(cors: Cors) -> (&'static str, String) {
        let config = crate::Config { cors: Some(cors), ..crate::Config::default() };
        let error = config.check().expect_err("a problem");
        let text = error.to_string();
        let text = text.strip_prefix("Config::").unwrap().strip_prefix(error.limit()).unwrap();
        (error.limit(), text.trim_start().to_owned())
    }
}
