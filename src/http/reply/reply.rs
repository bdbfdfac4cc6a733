//! Replies of handlers: a whole response, or a stream of events.

use crate::conn::ticket::Ticket;
use crate::error::{BadRequest, Error};
use crate::http::browser::cookie::Cookie;
use crate::http::header::{SET_COOKIE, check_value, invalid};
use crate::http::reply::failure::{Failure, found};
use crate::http::reply::headers::{HeadContext, Headers, append, append_fmt};
use crate::http::reply::status;
use crate::http::reply::stream_reply::{Belongings, StreamReply};
use std::any::Any;
use std::borrow::Cow;
use std::fmt;

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// The reply to a request: a whole response, or a stream of events.
///
/// ```
/// use mio_sse::Reply;
///
/// let page = Reply::html("<h1>Hello</h1>");
/// assert_eq!(page.status_code(), 200);
///
/// let missing = Reply::json_text(r#"{"error":"no such sensor"}"#).with_status(404);
/// assert_eq!(missing.status_code(), 404);
/// ```
///
/// Building a reply never fails. If it cannot be sent, for example because a header has a line break, the
/// client gets a 500 (Internal Server Error) when the handler returns it, and the log says why.
/// [`check`](Self::check) finds this in advance.
#[derive(Debug)]
pub struct Reply {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Whole(Whole),
    Stream(Box<StreamReply>),
    /// The reply will be given later.
    Later(Ticket),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Whole {
    status: u16,
    content_type: Cow<'static, str>,
    headers: Headers,
    body: Cow<'static, [u8]>,
    failure: Option<Box<Failure>>,
    /// The first error while it was built.
    error: Option<Box<Error>>,
    /// Whether the body is the server's default for the status.
    by_default: bool,
}

impl Reply {
    /// An HTML page.
    #[must_use]
    pub fn html(html: impl Into<Cow<'static, str>>) -> Reply {
        Self::whole(Cow::Borrowed(HTML), into_bytes(html.into()))
    }

    /// Plain text.
    #[must_use]
    pub fn text(text: impl Into<Cow<'static, str>>) -> Reply {
        Self::whole(Cow::Borrowed(TEXT), into_bytes(text.into()))
    }

    /// Text that is already JSON.
    #[must_use]
    pub fn json_text(json: impl Into<Cow<'static, str>>) -> Reply {
        Self::whole(Cow::Borrowed(JSON), into_bytes(json.into()))
    }

    /// A value as JSON. Needs the feature `json`. A value that cannot be serialized, such as a map whose keys
    /// are not strings, is [`Error::InvalidJson`].
    ///
    /// ```
    /// # use mio_sse::Reply;
    /// assert_eq!(Reply::json(&[1, 2]).body(), b"[1,2]");
    /// ```
    #[cfg(feature = "json")]
    #[must_use]
    pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> Reply {
        match serde_json::to_vec(value) {
            Ok(json) => Self::whole(Cow::Borrowed(JSON), Cow::Owned(json)),
            Err(error) => Self::status(500).fail(error.into()),
        }
    }

    /// Bytes of any content type. A type that cannot be the value of a header is [`Error::InvalidHeader`].
    ///
    /// ```
    /// use mio_sse::Reply;
    ///
    /// let style = Reply::bytes("text/css; charset=utf-8", b"body { margin: 0 }");
    /// assert!(style.check().is_ok());
    /// ```
    #[must_use]
    pub fn bytes(content_type: impl Into<Cow<'static, str>>, body: impl Into<Cow<'static, [u8]>>) -> Reply {
        let content_type = content_type.into();
        match check_value("Content-Type", content_type.as_bytes()) {
            Ok(()) => Self::whole(content_type, body.into()),
            Err(error) => Self::status(500).fail(error),
        }
    }

    /// A status, with its reason phrase as the body.
    ///
    /// Valid statuses are 200 to 599; any other number becomes 500 (Internal Server Error).
    ///
    /// ```
    /// # use mio_sse::Reply;
    /// assert_eq!(Reply::status(403).body(), b"Forbidden");
    /// assert_eq!(Reply::status(1000).status_code(), 500);
    /// ```
    #[must_use]
    pub fn status(status: u16) -> Reply {
        let status = status::or_internal_error(status);
        Self::text(status::reason_phrase(status)).with_status(status).by_default()
    }

    /// A status without a body.
    ///
    /// ```
    /// # use mio_sse::Reply;
    /// assert_eq!((Reply::empty(202).status_code(), Reply::empty(202).body()), (202, &b""[..]));
    /// ```
    #[must_use]
    pub fn empty(status: u16) -> Reply {
        Self::text("").with_status(status)
    }

    /// 204 (No Content): an `EventSource` that gets this stops reconnecting. Use it when there are no more
    /// events.
    #[must_use]
    pub fn no_content() -> Reply {
        Self::empty(204)
    }

    /// 404 (Not Found).
    #[must_use]
    pub fn not_found() -> Reply {
        Self::status(404)
    }

    /// 401 (Unauthorized) with a `WWW-Authenticate` header, such as `Bearer` or `Basic realm="events"`.
    ///
    /// An `EventSource` gives up when it gets this. A challenge that cannot be the value of a header is
    /// [`Error::InvalidHeader`].
    #[must_use]
    pub fn unauthorized(challenge: &str) -> Reply {
        Self::status(401).header("WWW-Authenticate", challenge)
    }

    /// 303 (See Other): the client requests `location` next, with GET. With
    /// [`with_status`](Self::with_status) it becomes a 307 or 308, which keep the method. A location that
    /// cannot be the value of a header is [`Error::InvalidHeader`].
    #[must_use]
    pub fn redirect(location: &str) -> Reply {
        Self::status(303).header("Location", location)
    }

    /// A reply that is given later.
    pub(crate) fn later(ticket: Ticket) -> Reply {
        Reply { kind: Kind::Later(ticket) }
    }

    pub(crate) fn is_later(&self) -> bool {
        matches!(self.kind, Kind::Later(_))
    }

    /// The ticket, if the reply is given later.
    pub(crate) fn into_ticket(self) -> Option<Ticket> {
        match self.kind {
            Kind::Later(ticket) => Some(ticket),
            Kind::Whole(_) | Kind::Stream(_) => None,
        }
    }

    /// A stream of events.
    #[must_use]
    pub fn stream() -> StreamReply {
        StreamReply::default()
    }

    /// The same reply with another status; any number outside of 200 to 599 becomes 500.
    ///
    /// A stream always has the status 200, because an `EventSource` accepts no other: another status is
    /// [`Error::StreamStatus`], and the client gets a 500.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Reply {
        match &mut self.kind {
            Kind::Whole(whole) => whole.status = status::or_internal_error(status),
            Kind::Stream(_) | Kind::Later(_) if status == 200 => {}
            Kind::Stream(_) | Kind::Later(_) => return self.fail(Error::StreamStatus(status)),
        }
        self
    }

    /// The same reply with one more header line. `Content-Type` is replaced instead, because there is only
    /// one.
    ///
    /// It is [`Error::InvalidHeader`] if the name is not a token, if the value contains a line end or another
    /// control character, or if the server sets the header itself, such as `Content-Length` or `Connection`;
    /// for a stream, also `Content-Type`, `Cache-Control` and `X-Accel-Buffering`.
    ///
    /// ```
    /// use mio_sse::Reply;
    ///
    /// let reply = Reply::text("ok").header("Link", "</a>; rel=next").header("Link", "</b>; rel=prev");
    /// assert!(reply.check().is_ok());
    /// assert!(reply.header("X", "two\nlines").check().is_err());
    /// ```
    #[must_use]
    pub fn header(self, name: &str, value: &str) -> Reply {
        match self.kind {
            Kind::Stream(stream) => stream.header(name, value).into(),
            Kind::Later(_) => self.fail(invalid(name, "the reply is given later, with its own headers")),
            Kind::Whole(mut whole) => {
                let is_type = name.eq_ignore_ascii_case("Content-Type");
                let added = match is_type {
                    true => check_value(name, value.as_bytes()),
                    false => whole.headers.push(name, value),
                };
                if is_type && added.is_ok() {
                    whole.content_type = Cow::Owned(value.to_owned());
                }
                let reply = Reply { kind: Kind::Whole(whole) };
                match added {
                    Ok(()) => reply,
                    Err(error) => reply.fail(error),
                }
            }
        }
    }

    /// The same reply, which sets a cookie. A later cookie with the same name, path and domain replaces an
    /// earlier one in the browser. It is [`Error::InvalidHeader`] if it cannot be written, or if browsers
    /// would drop it; see [`Cookie`].
    ///
    /// ```
    /// use mio_sse::{Cookie, Reply};
    ///
    /// let welcome = |session: &'static str| Reply::redirect("/").cookie(Cookie::new("session", session));
    /// assert!(welcome("31d4d96e407aad42").check().is_ok());
    /// assert!(welcome("no; such=value").check().is_err());
    /// ```
    #[must_use]
    pub fn cookie(self, cookie: Cookie) -> Reply {
        match cookie.into_header_value() {
            Ok(value) => self.header(SET_COOKIE, &value),
            Err(error) => self.fail(error),
        }
    }

    /// Whether the reply can be sent as it was built.
    ///
    /// # Errors
    /// The first error: [`Error::InvalidHeader`], [`InvalidJson`](Error::InvalidJson) or
    /// [`InvalidEvent`](Error::InvalidEvent).
    pub fn check(&self) -> Result<(), Error> {
        let error = match &self.kind {
            Kind::Whole(whole) => whole.error.as_deref(),
            Kind::Stream(stream) => return stream.check(),
            Kind::Later(_) => None,
        };
        error.map_or(Ok(()), |error| Err(error.clone()))
    }

    /// The same reply with an error, unless it already has one.
    fn fail(mut self, error: Error) -> Reply {
        match &mut self.kind {
            Kind::Whole(whole) => _ = whole.error.get_or_insert_with(|| Box::new(error)),
            Kind::Stream(stream) => stream.fail(error),
            Kind::Later(_) => return Reply::status(500).fail(error),
        }
        self
    }

    /// The status; 200 for a stream and for a reply that is given [later](crate::Context::later), and 500 for
    /// a reply that cannot be sent.
    #[must_use]
    pub fn status_code(&self) -> u16 {
        match &self.kind {
            _ if self.check().is_err() => 500,
            Kind::Whole(whole) => whole.status,
            Kind::Stream(_) | Kind::Later(_) => 200,
        }
    }

    /// The body; empty for a stream.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        match &self.kind {
            Kind::Whole(whole) => &whole.body,
            Kind::Stream(_) | Kind::Later(_) => &[],
        }
    }

    pub(crate) fn take_belongings(&mut self) -> Belongings {
        match &mut self.kind {
            Kind::Whole(_) | Kind::Later(_) => Belongings::default(),
            Kind::Stream(stream) => stream.take_belongings(),
        }
    }

    /// The same reply, whose body is the server's default for the status.
    pub(crate) fn by_default(mut self) -> Reply {
        if let Kind::Whole(whole) = &mut self.kind {
            whole.by_default = true;
        }
        self
    }

    /// The status of an error and the server's default text, if that is the whole body.
    pub(crate) fn default_text(&self) -> Option<(u16, &str)> {
        match &self.kind {
            Kind::Whole(whole) if whole.by_default && whole.status >= 400 => {
                Some((whole.status, str::from_utf8(&whole.body).unwrap_or_default()))
            }
            _ => None,
        }
    }

    /// The same reply with the body and the additional headers of `page`.
    pub(crate) fn with_body_of(mut self, page: Reply) -> Reply {
        if let (Kind::Whole(whole), Kind::Whole(page)) = (&mut self.kind, page.kind) {
            (whole.content_type, whole.body) = (page.content_type, page.body);
            whole.headers.lines.push_str(&page.headers.lines);
        }
        self
    }

    /// How many bytes of body [`encode`](Self::encode) writes.
    pub(crate) fn body_bytes(&self, cx: &HeadContext<'_>) -> usize {
        match &self.kind {
            Kind::Whole(whole) if status::has_body(whole.status) && !cx.head_request => whole.body.len(),
            _ => 0,
        }
    }

    /// The stream, or else the whole response.
    pub(crate) fn into_stream(self) -> Result<StreamReply, Reply> {
        match self.kind {
            Kind::Stream(stream) => Ok(*stream),
            Kind::Whole(_) | Kind::Later(_) => Err(self),
        }
    }

    /// Writes the whole response; for a stream only its head, as for HEAD.
    pub(crate) fn encode(&self, cx: &HeadContext<'_>, out: &mut Vec<u8>) {
        match &self.kind {
            Kind::Whole(whole) => whole.encode(cx, out),
            Kind::Stream(stream) => stream.encode_head(cx, false, out),
            // This never happens.
            Kind::Later(_) => Reply::status(500).encode(cx, out),
        }
    }

    pub(crate) fn headers_mut(&mut self) -> Option<&mut Headers> {
        match &mut self.kind {
            Kind::Whole(whole) => Some(&mut whole.headers),
            Kind::Stream(stream) => Some(stream.headers_mut()),
            Kind::Later(_) => None,
        }
    }

    /// The same whole reply with these headers.
    pub(crate) fn with_headers(mut self, headers: Headers) -> Reply {
        self.take_headers(headers, "");
        self
    }

    /// Adds `headers` and further lines to the head of a whole reply.
    pub(crate) fn take_headers(&mut self, mut headers: Headers, lines: &str) {
        if let Kind::Whole(whole) = &mut self.kind {
            headers.lines.push_str(lines);
            whole.headers = headers;
        }
    }

    pub(crate) fn whole(content_type: Cow<'static, str>, body: Cow<'static, [u8]>) -> Reply {
        let (status, headers) = (200, Headers::default());
        let whole =
            Whole { status, content_type, headers, body, failure: None, error: None, by_default: false };
        Reply { kind: Kind::Whole(whole) }
    }

    /// The same whole reply, with the failure that caused it.
    pub(crate) fn because(mut self, failure: Failure) -> Reply {
        if let Kind::Whole(whole) = &mut self.kind {
            whole.failure = Some(Box::new(failure));
        }
        self
    }

    pub(crate) fn failure(&self) -> Option<&Failure> {
        match &self.kind {
            Kind::Whole(whole) => whole.failure.as_deref(),
            Kind::Stream(_) | Kind::Later(_) => None,
        }
    }
}

impl Whole {
    fn encode(&self, cx: &HeadContext<'_>, out: &mut Vec<u8>) {
        let (body, content_type): (&[u8], &str) =
            if status::has_body(self.status) { (&self.body, &self.content_type) } else { (&[], "") };
        append_fmt(out, format_args!("HTTP/1.1 {} {}\r\n", self.status, status::reason_phrase(self.status)));
        append(out, &["Date: ", cx.date, "\r\n"]);
        if !content_type.is_empty() {
            append(out, &["Content-Type: ", content_type, "\r\n"]);
        }
        if status::has_content_length(self.status) {
            append_fmt(out, format_args!("Content-Length: {}\r\n", body.len()));
        }
        append(out, &[cx.connection(cx.keep_alive), &self.headers.lines, "\r\n"]);
        if !cx.head_request {
            out.extend_from_slice(body);
        }
    }
}

impl From<StreamReply> for Reply {
    fn from(stream: StreamReply) -> Self {
        Self { kind: Kind::Stream(Box::new(stream)) }
    }
}

/// Types that a handler may return.
///
/// The error of a `Result` may be a [`Reply`] as well. Any other error is logged with the method and the
/// path, and the client gets a 500 (Internal Server Error) that does not reveal it. Text is [plain
/// text](Reply::text), a number is a [status](Reply::status), `None` is a 404. `()` is a 204, so a handler
/// can end with `cx.publish(…)`. [`BadRequest`](crate::BadRequest), also in a `Box<dyn Error>`, is a 400 with
/// its text, and [`Error::TooMuchMemory`] is a 503.
///
/// ```
/// use mio_sse::{IntoReply, Reply};
///
/// fn page() -> Result<Reply, std::io::Error> {
///     Ok(Reply::html(std::fs::read_to_string("no such file")?))
/// }
/// assert_eq!(page().into_reply().status_code(), 500);
/// ```
pub trait IntoReply {
    /// Converts the value to a reply.
    fn into_reply(self) -> Reply;
}

impl IntoReply for Reply {
    fn into_reply(self) -> Reply {
        self
    }
}

impl IntoReply for StreamReply {
    fn into_reply(self) -> Reply {
        self.into()
    }
}

/// 204 (No Content).
impl IntoReply for () {
    fn into_reply(self) -> Reply {
        Reply::no_content()
    }
}

/// A reply with that [status](Reply::status).
impl IntoReply for u16 {
    fn into_reply(self) -> Reply {
        Reply::status(self)
    }
}

impl IntoReply for &'static str {
    fn into_reply(self) -> Reply {
        Reply::text(self)
    }
}

impl IntoReply for String {
    fn into_reply(self) -> Reply {
        Reply::text(self)
    }
}

impl<R: IntoReply> IntoReply for Option<R> {
    fn into_reply(self) -> Reply {
        self.map_or_else(Reply::not_found, IntoReply::into_reply)
    }
}

impl<R: IntoReply, E: fmt::Display + 'static> IntoReply for Result<R, E> {
    fn into_reply(self) -> Reply {
        self.map_or_else(reply_to, IntoReply::into_reply)
    }
}

/// Lets `?` return an error from a function that returns `Result<Reply, Reply>`. So the function can return
/// early with a reply as well as with an error.
///
/// ```
/// use mio_sse::{Context, Reply, Request};
///
/// fn publish(request: &Request<'_>, cx: &mut Context<'_>) -> Result<Reply, Reply> {
///     let topic = request.param("topic").ok_or_else(Reply::not_found)?;
///     let data = std::str::from_utf8(request.body()).map_err(|_| Reply::status(415))?;
///     cx.publish(topic, data)?;
///     Ok(Reply::no_content())
/// }
/// ```
impl<E: std::error::Error + 'static> From<E> for Reply {
    fn from(error: E) -> Self {
        reply_to(error)
    }
}

/// The status, for a log.
impl fmt::Display for Reply {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let status = self.status_code();
        write!(f, "{status} {}", status::reason_phrase(status))
    }
}

/// The reply for an error of a handler.
fn reply_to(error: impl fmt::Display + 'static) -> Reply {
    let mut error = Some(error);
    if let Some(reply) = (&mut error as &mut dyn Any).downcast_mut::<Option<Reply>>() {
        return reply.take().unwrap_or_else(|| Reply::status(500));
    }
    let Some(error) = &error else { return Reply::status(500) };
    let text = error.to_string();
    let (reply, is_of_peer) = if let Some(bad) = found::<BadRequest>(error) {
        (Reply::text(bad.to_string()).with_status(400).by_default(), true)
    } else if matches!(found::<Error>(error), Some(Error::TooMuchMemory | Error::Full)) {
        (Reply::status(503), true)
    } else {
        (Reply::status(500), false)
    };
    reply.because(Failure { text, is_of_peer })
}

fn into_bytes(text: Cow<'static, str>) -> Cow<'static, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

#[cfg(test)]
mod tests;
