//! Requests, as handlers see them.

#[cfg(feature = "json")]
use crate::error::BadRequest;
use crate::http::parse::head::Head;
use crate::http::parse::span::HeaderSpan;
use crate::peer::Peer;
use std::borrow::Cow;
use std::fmt;

/// A complete request: head and body.
///
/// It borrows the bytes from the network and is cheap to copy. Lookups happen only when a method is called.
///
/// ```
/// use mio_sse::{Reply, Request};
///
/// fn greet(request: &Request<'_>) -> Reply {
///     match request.query("name") {
///         Some(name) => Reply::text(format!("Hello, {name}!")),
///         None => Reply::status(400),
///     }
/// }
/// ```
#[derive(Clone, Copy)]
pub struct Request<'a> {
    head: &'a Head,
    /// The bytes from the first one of the request on, at least the whole head.
    bytes: &'a [u8],
    method: &'a str,
    target: &'a str,
    body: &'a [u8],
    params: &'a [(&'a str, Cow<'a, str>)],
    peer: Option<&'a Peer>,
}

impl<'a> Request<'a> {
    /// `bytes` begins with those that `head` was parsed from.
    pub(crate) fn new(head: &'a Head, bytes: &'a [u8], body: &'a [u8]) -> Self {
        let (method, target) = (head.method.text(bytes), head.target.text(bytes));
        Self { head, bytes, method, target, body, params: &[], peer: None }
    }

    /// The same request with its peer.
    pub(crate) fn with_peer(self, peer: Option<&'a Peer>) -> Self {
        Self { peer, ..self }
    }

    /// The same request with the decoded parameters that a router has found in its path.
    pub(crate) fn with_params(self, params: &'a [(&'a str, Cow<'a, str>)]) -> Request<'a> {
        Self { params, ..self }
    }

    /// The method, such as `GET`. Methods are case-sensitive.
    #[must_use]
    pub fn method(&self) -> &'a str {
        self.method
    }

    /// The target as it was sent: usually a path with a query, but it can be a whole URL or `*`.
    #[must_use]
    pub fn target(&self) -> &'a str {
        self.target
    }

    /// The path, percent-decoded once.
    ///
    /// It is not normalised: it contains `..` and `//` if they were sent, and a slash in it may have been
    /// sent as `%2F`. So it is not safe as the name of a file. `*` for `OPTIONS *`.
    #[must_use]
    pub fn path(&self) -> &'a str {
        if self.head.decoded_path.is_empty() { self.raw_path() } else { &self.head.decoded_path }
    }

    /// The path as it was sent, without the query.
    #[must_use]
    pub fn raw_path(&self) -> &'a str {
        match self.head.parts.path.part_of(self.target) {
            "" => "/",
            path => path,
        }
    }

    /// The text after the first question mark of the target, as it was sent; `None` without a question mark.
    #[must_use]
    pub fn query_string(&self) -> Option<&'a str> {
        self.head.parts.query.map(|query| query.part_of(self.target))
    }

    /// The first value of this name in the query, decoded as forms are: `+` is a space. Malformed escapes are
    /// left as they are, and bytes that are not UTF-8 become U+FFFD.
    ///
    /// ```
    /// # fn handler(request: &mio_sse::Request<'_>) {
    /// // GET /search?q=caf%C3%A9+au+lait
    /// assert_eq!(request.query("q").as_deref(), Some("café au lait"));
    /// # }
    /// ```
    #[must_use]
    pub fn query(&self, name: &str) -> Option<Cow<'a, str>> {
        self.query_pairs().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// All names and values of the query in their order, decoded as in [`query`](Self::query).
    pub fn query_pairs(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        form_urlencoded::parse(self.query_string().unwrap_or_default().as_bytes())
    }

    /// The value of the first header line of this name; `None` also if it is not UTF-8. Case does not matter.
    ///
    /// ```
    /// # fn handler(request: &mio_sse::Request<'_>) -> bool {
    /// request.header("accept") == Some("text/event-stream")
    /// # }
    /// ```
    #[must_use]
    pub fn header(&self, name: &str) -> Option<&'a str> {
        self.header_bytes(name).and_then(|value| str::from_utf8(value).ok())
    }

    /// The value of the first header line of this name, without the whitespace around it.
    #[must_use]
    pub fn header_bytes(&self, name: &str) -> Option<&'a [u8]> {
        let bytes = self.bytes;
        let is_named = |header: &&HeaderSpan| header.name.bytes(bytes).eq_ignore_ascii_case(name.as_bytes());
        self.head.headers.iter().find(is_named).map(|header| header.value.bytes(bytes))
    }

    /// All header lines in order, with names as they were sent.
    pub fn headers(&self) -> impl Iterator<Item = (&'a str, &'a [u8])> + use<'a> {
        let bytes = self.bytes;
        self.head.headers.iter().map(move |header| (header.name.text(bytes), header.value.bytes(bytes)))
    }

    /// The host and port that the client requests: those of a target that is a whole URL, which overrule the
    /// `Host` header (RFC 9112 3.2.2), otherwise that header. Only HTTP/1.0 may leave it out.
    #[must_use]
    pub fn host(&self) -> Option<&'a str> {
        match self.head.parts.authority {
            Some(authority) => Some(authority.part_of(self.target)),
            None => self.header("Host"),
        }
    }

    /// The id of the last event that the client has seen: from the `Last-Event-ID` header, or else from
    /// `lastEventId` or `last_event_id` in the query, for clients that cannot set headers.
    ///
    /// The header has priority, because a client that reconnects to the same URL repeats its first query.
    /// Several different header lines are joined by commas (RFC 9110 5.3). Bytes that are not UTF-8 become
    /// U+FFFD. `None` only if there is no id, or an empty one. An id that no server has made is unknown: its
    /// client has missed something. The id is untrusted.
    #[must_use]
    pub fn last_event_id(&self) -> Option<Cow<'a, str>> {
        let lines = self.headers().filter(|(name, _)| name.eq_ignore_ascii_case("Last-Event-ID"));
        // An empty line means nothing, and does not hide an id in the query.
        let mut lines = lines.map(|(_, line)| String::from_utf8_lossy(line)).filter(|line| !line.is_empty());
        let Some(first) = lines.next() else {
            let parameters = ["lastEventId", "last_event_id"].into_iter();
            return parameters.filter_map(|name| self.query(name)).find(|id| !id.is_empty());
        };
        let others = lines.filter(|line| *line != first);
        Some(others.fold(first.clone(), |joined, line| joined + ", " + line))
    }

    /// The value of the first cookie of this name, exactly as it was sent: nothing is decoded, and quotes
    /// around it are part of it, as for browsers (RFC 6265bis 4.1.1). So it equals the value that
    /// [`Cookie::new`](crate::Cookie::new) was given. Names are case-sensitive. A browser puts the cookie
    /// with the longest path first (RFC 6265 5.4), so the first one is the most specific. It is untrusted: a
    /// client can send any cookies.
    ///
    /// Searches all cookies up to this one; copies nothing.
    ///
    /// ```
    /// # fn handler(request: &mio_sse::Request<'_>) {
    /// // Cookie: theme=dark; session=31d4d96e407aad42
    /// assert_eq!(request.cookie("session"), Some("31d4d96e407aad42"));
    /// # }
    /// ```
    #[must_use]
    pub fn cookie(&self, name: &str) -> Option<&'a str> {
        self.cookies().find(|(key, _)| *key == name).map(|(_, value)| value)
    }

    /// All cookies in order, from all `Cookie` lines (RFC 6265 5.4). Cookies without a name or `=`, or that
    /// are not UTF-8, are left out, and so is whitespace around names and values.
    pub fn cookies(&self) -> impl Iterator<Item = (&'a str, &'a str)> + use<'a> {
        self.headers()
            .filter(|(name, _)| name.eq_ignore_ascii_case("Cookie"))
            .flat_map(|(_, line)| line.split(|byte| *byte == b';'))
            .filter_map(|pair| cookie_pair(str::from_utf8(pair).ok()?))
    }

    /// The peer of the connection: its address, or over a unix socket the process. The operating system
    /// reports it, so no client can forge it.
    ///
    /// `None` if the client has reset its connection by now, and for a [`Net`](crate::net::Net) that does not
    /// report it. If access depends on the peer, refuse such requests. A connection that was
    /// [adopted](crate::Server::adopt) has its own peer like any other.
    ///
    /// Behind a reverse proxy the peer is the proxy. A client can send `X-Forwarded-For` and similar headers
    /// itself, so this library trusts none of them. Trust such a header only from your own proxy, and only
    /// its last entry, which the proxy has appended; the client may have sent the entries before:
    ///
    /// ```
    /// use mio_sse::{Peer, Request};
    /// use std::net::IpAddr;
    ///
    /// /// The address of the client, where the proxy `own` appends it to `X-Forwarded-For`.
    /// fn client(request: &Request<'_>, own: IpAddr) -> Option<IpAddr> {
    ///     let peer = request.peer()?.ip()?;
    ///     if peer != own {
    ///         // The client did not come through the proxy, so the header is its own.
    ///         return Some(peer);
    ///     }
    ///     let lines = request.headers().filter(|(name, _)| name.eq_ignore_ascii_case("X-Forwarded-For"));
    ///     let (_, line) = lines.last()?;
    ///     str::from_utf8(line).ok()?.rsplit(',').next()?.trim().parse().ok()
    /// }
    /// ```
    ///
    /// For a proxy that connects over a unix socket, check that the peer is [`Peer::Unix`]: only processes
    /// that may write to the socket's file can connect.
    ///
    /// # Cost
    /// No memory. Currently one system call for requests that were read together (`getpeername`, and
    /// `getsockopt` for a unix socket), even if this is never called.
    #[must_use]
    pub fn peer(&self) -> Option<Peer> {
        self.peer.copied()
    }

    /// The body, complete and without the chunked transfer coding; empty if there is none.
    #[must_use]
    pub fn body(&self) -> &'a [u8] {
        self.body
    }

    /// The first value of this name in a posted form, decoded as in [`query`](Self::query); `None` also if
    /// the body is not such a form, see [`form_pairs`](Self::form_pairs).
    ///
    /// ```
    /// use mio_sse::{Reply, Router};
    ///
    /// let mut app = Router::new();
    /// app.post("/greet", |request, _cx| match request.form("name") {
    ///     Some(name) => Reply::text(format!("Hello, {name}!")),
    ///     None => Reply::status(400),
    /// });
    /// ```
    #[must_use]
    pub fn form(&self, name: &str) -> Option<Cow<'a, str>> {
        self.form_pairs().find(|(key, _)| key == name).map(|(_, value)| value)
    }

    /// All names and values of a posted form, in order. None unless `Content-Type` is
    /// `application/x-www-form-urlencoded` (WHATWG URL 5.1), as for HTML forms and `URLSearchParams`.
    pub fn form_pairs(&self) -> impl Iterator<Item = (Cow<'a, str>, Cow<'a, str>)> + use<'a> {
        let is_form = self.content_type_is("application/x-www-form-urlencoded");
        form_urlencoded::parse(if is_form { self.body } else { &[] })
    }

    /// The body, parsed as JSON. Needs the feature `json`. Text in it without escapes can be borrowed:
    /// `&str`.
    ///
    /// `Content-Type` is not checked. Check it if a cookie alone gives access and browsers send that cookie
    /// with requests of other origins. Pages can post text to other origins without a preflight, but
    /// `application/json` only if [`Config::cors`](crate::Config::cors) allows it. Across sites, browsers do
    /// not send [`Cookie`](crate::Cookie)s unless they are `SameSite=None`.
    ///
    /// ```
    /// use mio_sse::{BadRequest, Reply, Router};
    ///
    /// let mut app = Router::new();
    /// app.post("/add", |request, _cx| {
    ///     let [a, b] = request.json::<[i64; 2]>()?;
    ///     Ok::<_, BadRequest>(Reply::json(&(a + b)))
    /// });
    /// ```
    ///
    /// # Errors
    /// [`BadRequest`] with the message of [`serde_json::from_slice`] if the body is not JSON, or not a `T`.
    #[cfg(feature = "json")]
    pub fn json<T: serde::Deserialize<'a>>(&self) -> Result<T, BadRequest> {
        serde_json::from_slice(self.body).map_err(|error| BadRequest::new(error.to_string()))
    }

    /// Whether this is the media type of the body, whatever its parameters (RFC 9110 8.3.1).
    fn content_type_is(&self, media_type: &str) -> bool {
        let essence = self.header("Content-Type").and_then(|value| value.split(';').next());
        essence.is_some_and(|essence| essence.trim_ascii().eq_ignore_ascii_case(media_type))
    }

    /// Whether the client wants only the head of the reply. A handler may reply as to `GET`: the server
    /// leaves out the body.
    #[must_use]
    pub fn is_head(&self) -> bool {
        self.method == "HEAD"
    }

    /// Whether the client uses HTTP/1.0, which has no chunked transfer coding.
    #[must_use]
    pub fn is_http_10(&self) -> bool {
        self.head.http_10
    }

    /// The value of the route's parameter with this name, percent-decoded.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&'a str> {
        self.params.iter().find(|(key, _)| *key == name).map(|(_, value)| value.as_ref())
    }
}

/// The name and the value of one cookie of a `Cookie` line.
fn cookie_pair(pair: &str) -> Option<(&str, &str)> {
    let (name, value) = pair.split_once('=')?;
    let (name, value) = (name.trim_ascii(), value.trim_ascii());
    (!name.is_empty()).then_some((name, value))
}

/// Leaves out secrets that must not be logged: the values of headers with credentials, and the body.
impl fmt::Debug for Request<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Request")
            .field("method", &self.method)
            .field("target", &self.target)
            .field("http_10", &self.is_http_10())
            .field("headers", &DebugHeaders(*self))
            .field("params", &self.params)
            .field("body_len", &self.body.len())
            .field("peer", &self.peer)
            .finish()
    }
}

struct DebugHeaders<'a>(Request<'a>);

impl fmt::Debug for DebugHeaders<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let is_secret = |name: &str| {
            ["Authorization", "Proxy-Authorization", "Cookie"]
                .iter()
                .any(|secret| name.eq_ignore_ascii_case(secret))
        };
        let mut map = f.debug_map();
        for (name, value) in self.0.headers() {
            let shown = if is_secret(name) { "…".into() } else { String::from_utf8_lossy(value) };
            map.entry(&name, &shown);
        }
        map.finish()
    }
}

#[cfg(test)]
mod tests;
