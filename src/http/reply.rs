//! What a handler answers: a whole response, or a stream of events.

use super::chunked::{is_control, is_token_byte};
use super::cookie::{Cookie, SET_COOKIE};
use super::cors::Cors;
use super::request::Request;
use super::status;
use crate::Error;
use crate::source::Source;
use std::borrow::Cow;
use std::fmt;
use std::io::Write as _;
use std::time::Duration;

const HTML: &str = "text/html; charset=utf-8";
const TEXT: &str = "text/plain; charset=utf-8";
const JSON: &str = "application/json";

/// Headers about the connection and the framing of the body. What they say has to be true, and only the
/// server knows it.
const WRITTEN_BY_THE_SERVER: [&str; 8] = [
    "Connection",
    "Content-Length",
    "Date",
    "Keep-Alive",
    "Proxy-Connection",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
];

/// Headers that every event stream has already.
const WRITTEN_FOR_STREAMS: [&str; 3] = ["Cache-Control", "Content-Type", "X-Accel-Buffering"];

/// The answer to a request: a whole response, or a stream of events.
///
/// ```
/// use mio_sse::Reply;
///
/// let page = Reply::html("<h1>Hello</h1>");
/// assert_eq!(page.status_code(), 200);
///
/// let missing = Reply::json(r#"{"error":"no such sensor"}"#).with_status(404);
/// assert_eq!(missing.status_code(), 404);
/// ```
#[derive(Debug)]
pub struct Reply {
    kind: Kind,
}

#[derive(Debug)]
enum Kind {
    Whole(Whole),
    Stream(StreamReply),
}

#[derive(Debug, Clone, PartialEq, Eq)]
struct Whole {
    status: u16,
    content_type: Cow<'static, str>,
    headers: Headers,
    body: Cow<'static, [u8]>,
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

    /// Text that is JSON already.
    #[must_use]
    pub fn json(json: impl Into<Cow<'static, str>>) -> Reply {
        Self::whole(Cow::Borrowed(JSON), into_bytes(json.into()))
    }

    /// A value as JSON.
    ///
    /// # Errors
    ///
    /// When the value cannot be written as JSON, such as a map whose keys are not strings.
    #[cfg(feature = "json")]
    pub fn json_of(value: &impl serde::Serialize) -> Result<Reply, serde_json::Error> {
        serde_json::to_vec(value).map(|json| Self::whole(Cow::Borrowed(JSON), Cow::Owned(json)))
    }

    /// Bytes of any content type.
    ///
    /// ```
    /// use mio_sse::{Error, Reply};
    ///
    /// fn style() -> Result<Reply, Error> {
    ///     Reply::bytes("text/css; charset=utf-8", b"body { margin: 0 }")
    /// }
    /// # style().unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidHeader`] when the content type cannot be the value of a header.
    pub fn bytes(
        content_type: impl Into<Cow<'static, str>>,
        body: impl Into<Cow<'static, [u8]>>,
    ) -> Result<Reply, Error> {
        let content_type = content_type.into();
        check_value("Content-Type", &content_type)?;
        Ok(Self::whole(content_type, body.into()))
    }

    /// A status, with its reason phrase as text.
    ///
    /// A reply has a status from 200 to 599; for any other number it is 500 (Internal Server Error).
    ///
    /// ```
    /// # use mio_sse::Reply;
    /// assert_eq!(Reply::status(403).body(), b"Forbidden");
    /// assert_eq!(Reply::status(1000).status_code(), 500);
    /// ```
    #[must_use]
    pub fn status(status: u16) -> Reply {
        let status = status::or_internal_error(status);
        Self::text(status::reason_phrase(status)).with_status(status)
    }

    /// 204 (No Content): an `EventSource` that gets this stops reconnecting for good, which is the polite way
    /// to tell it that there is nothing more to come.
    #[must_use]
    pub fn no_content() -> Reply {
        Self::text("").with_status(204)
    }

    /// 404 (Not Found).
    #[must_use]
    pub fn not_found() -> Reply {
        Self::status(404)
    }

    /// 401 (Unauthorized) with a `WWW-Authenticate` header, such as `Bearer` or `Basic realm="events"`.
    ///
    /// An `EventSource` gives up when it gets this.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidHeader`] when the challenge cannot be the value of a header.
    pub fn unauthorized(challenge: &str) -> Result<Reply, Error> {
        Self::status(401).header("WWW-Authenticate", challenge)
    }

    /// 303 (See Other): the client asks `location` next, with GET. With [`with_status`](Self::with_status) it
    /// becomes a 307 or 308, which keep the method.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidHeader`] when the location cannot be the value of a header.
    pub fn redirect(location: &str) -> Result<Reply, Error> {
        Self::status(303).header("Location", location)
    }

    /// A stream of events.
    #[must_use]
    pub fn stream() -> StreamReply {
        StreamReply::default()
    }

    /// The same reply with another status; with 500 in place of any number outside of 200 to 599.
    ///
    /// A stream always has the status 200, because an `EventSource` accepts no other.
    #[must_use]
    pub fn with_status(mut self, status: u16) -> Reply {
        if let Kind::Whole(whole) = &mut self.kind {
            whole.status = status::or_internal_error(status);
        }
        self
    }

    /// The same reply with one header line more. `Content-Type` is replaced instead, there being only one.
    ///
    /// ```
    /// use mio_sse::{Error, Reply};
    ///
    /// fn reply() -> Result<Reply, Error> {
    ///     Reply::text("ok").header("Link", "</a>; rel=next")?.header("Link", "</b>; rel=prev")
    /// }
    /// # reply().unwrap();
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidHeader`] when the name is no token, when the value contains a line end or another
    /// control character, or when the header is one that the server itself writes, such as `Content-Length`
    /// or `Connection`; of a stream, also `Content-Type`, `Cache-Control` and `X-Accel-Buffering`.
    pub fn header(self, name: &str, value: &str) -> Result<Reply, Error> {
        let kind = match self.kind {
            Kind::Stream(stream) => Kind::Stream(stream.header(name, value)?),
            Kind::Whole(mut whole) => {
                if name.eq_ignore_ascii_case("Content-Type") {
                    check_value(name, value)?;
                    whole.content_type = Cow::Owned(value.to_owned());
                } else {
                    whole.headers.push(name, value)?;
                }
                Kind::Whole(whole)
            }
        };
        Ok(Reply { kind })
    }

    /// The same reply, which sets a cookie; one with the same name, path and domain as an earlier one replaces it in the
    /// browser.
    ///
    /// ```
    /// use mio_sse::{Cookie, Error, Reply};
    ///
    /// fn welcome(session: &str) -> Result<Reply, Error> {
    ///     Reply::redirect("/")?.cookie(Cookie::new("session", session))
    /// }
    /// assert!(welcome("31d4d96e407aad42").is_ok());
    /// assert!(welcome("no; such=value").is_err());
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::InvalidHeader`] when it cannot be written as a cookie, or is one that browsers drop; see [`Cookie`].
    pub fn cookie(self, cookie: Cookie) -> Result<Reply, Error> {
        self.header(SET_COOKIE, &cookie.into_header_value()?)
    }

    /// The status; 200 for a stream.
    #[must_use]
    pub fn status_code(&self) -> u16 {
        match &self.kind {
            Kind::Whole(whole) => whole.status,
            Kind::Stream(_) => 200,
        }
    }

    /// The body; empty for a stream.
    #[must_use]
    pub fn body(&self) -> &[u8] {
        match &self.kind {
            Kind::Whole(whole) => &whole.body,
            Kind::Stream(_) => &[],
        }
    }

    /// The stream, if this is one, or else the whole response.
    #[expect(clippy::result_large_err, reason = "neither is an error, and both are moved once")]
    pub(crate) fn into_stream(self) -> Result<StreamReply, Reply> {
        match self.kind {
            Kind::Stream(stream) => Ok(stream),
            Kind::Whole(_) => Err(self),
        }
    }

    /// Writes the whole response; of a stream, its head alone, as HEAD wants it.
    pub(crate) fn encode(&self, cx: &HeadContext<'_>, out: &mut Vec<u8>) {
        match &self.kind {
            Kind::Whole(whole) => whole.encode(cx, out),
            Kind::Stream(stream) => stream.encode_head(cx, false, out),
        }
    }

    /// Adds what lets a page of another origin read the reply to `request`.
    pub(crate) fn share(&mut self, cors: &Cors, request: &Request<'_>) {
        match &mut self.kind {
            Kind::Whole(whole) => cors.add_to(&mut whole.headers, request),
            Kind::Stream(stream) => stream.share(cors, request),
        }
    }

    /// The same whole reply with these headers.
    pub(super) fn with_headers(mut self, headers: Headers) -> Reply {
        self.take_headers(headers, "");
        self
    }

    /// Puts `headers` and further lines into the head of a whole reply.
    fn take_headers(&mut self, mut headers: Headers, lines: &str) {
        if let Kind::Whole(whole) = &mut self.kind {
            headers.lines.push_str(lines);
            whole.headers = headers;
        }
    }

    fn whole(content_type: Cow<'static, str>, body: Cow<'static, [u8]>) -> Reply {
        Reply { kind: Kind::Whole(Whole { status: 200, content_type, headers: Headers::default(), body }) }
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

/// A reply that is a stream of events: what [`Reply::stream`] begins.
///
/// ```
/// use mio_sse::{Error, Reply, StreamReply};
/// use std::time::Duration;
///
/// fn news() -> Result<StreamReply, Error> {
///     Reply::stream().topic("news").retry(Duration::from_secs(5)).header("Access-Control-Allow-Origin", "*")
/// }
/// # news().unwrap();
/// ```
#[derive(Debug, Default)]
pub struct StreamReply {
    topics: Vec<String>,
    tags: Vec<String>,
    retry: Option<Duration>,
    headers: Headers,
    close_delimited: bool,
    max_age: Option<Duration>,
    finish: bool,
    start: Start,
    resume_after: Option<String>,
    after_gap: AfterGap,
    source: Option<Box<dyn Source>>,
}

/// Where a stream begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Start {
    /// Where its client was, or live.
    #[default]
    Resume,
    Live,
    /// Where its client was, or with all that is kept.
    Snapshot,
}

/// Where a stream goes on whose client has missed events that are not kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AfterGap {
    /// With the oldest event that is kept and that it has not seen; in a [keyed](crate::TopicConfig::keyed) topic, with all of its keys.
    #[default]
    Oldest,
    /// With the next event that is published.
    Live,
}

impl StreamReply {
    /// Subscribes the stream to a topic, from now on. Several calls subscribe it to several topics; naming a
    /// topic twice is as naming it once.
    #[must_use]
    pub fn topic(mut self, name: impl Into<String>) -> StreamReply {
        let name = name.into();
        if !self.topics.contains(&name) {
            self.topics.push(name);
        }
        self
    }

    /// Gives the stream a tag, such as the user or the session that it belongs to: see
    /// [`Context::send_tagged`](crate::Context::send_tagged), [`close_tagged`](crate::Context::close_tagged) and
    /// [`revoke`](crate::Context::revoke). Several calls give it several tags, up to
    /// [`Config::tags_max`](crate::Config::tags_max); naming a tag twice is as naming it once.
    ///
    /// With a tag that is revoked there is no stream: the answer is 204, with the headers of this one.
    ///
    /// ```
    /// use mio_sse::{Reply, Router};
    ///
    /// let mut app = Router::new();
    /// app.get("/events/{user}", |request, _cx| {
    ///     let user = request.param("user").unwrap_or_default();
    ///     Reply::stream().topic("news").tag(format!("user {user}"))
    /// });
    /// app.post("/logout/{user}", |request, cx| {
    ///     let user = request.param("user").unwrap_or_default();
    ///     cx.revoke(&format!("user {user}"), std::time::Duration::from_secs(60));
    ///     Reply::no_content()
    /// });
    /// ```
    #[must_use]
    pub fn tag(mut self, tag: impl Into<String>) -> StreamReply {
        let tag = tag.into();
        if !self.tags.contains(&tag) {
            self.tags.push(tag);
        }
        self
    }

    /// Has the stream pull its events, besides those that are published and sent to it, from a [`Source`]; when that ends, so does
    /// the stream.
    ///
    /// ```
    /// use mio_sse::{Event, Events, Reply};
    ///
    /// let lines = "one\ntwo\nthree".lines().map(Event::data);
    /// let stream = Reply::stream().source(Events::new(lines));
    /// ```
    #[must_use]
    pub fn source(mut self, source: impl Source) -> StreamReply {
        self.source = Some(Box::new(source));
        self
    }

    pub(crate) fn take_source(&mut self) -> Option<Box<dyn Source>> {
        self.source.take()
    }

    /// How long the client waits before it reconnects, in place of its own default of a few seconds. It is
    /// the first thing that the stream says; parts of a millisecond are dropped.
    #[must_use]
    pub fn retry(mut self, retry: Duration) -> StreamReply {
        self.retry = Some(retry);
        self
    }

    /// Adds a header line to the head of the stream.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidHeader`] when the name is no token, when the value contains a line end or another
    /// control character, or when the header is one that the server itself writes, such as `Content-Type`,
    /// `Cache-Control` or `Connection`.
    pub fn header(mut self, name: &str, value: &str) -> Result<StreamReply, Error> {
        if is_one_of(&WRITTEN_FOR_STREAMS, name) {
            return Err(invalid(name, "every event stream has this header already"));
        }
        self.headers.push(name, value)?;
        Ok(self)
    }

    /// Sets a cookie with the head of the stream, and with the answer in its place if it is refused.
    ///
    /// # Errors
    ///
    /// [`Error::InvalidHeader`] when it cannot be written as a cookie, or is one that browsers drop; see [`Cookie`].
    pub fn cookie(self, cookie: Cookie) -> Result<StreamReply, Error> {
        self.header(SET_COOKIE, &cookie.into_header_value()?)
    }

    /// Sends the stream without the chunked transfer coding, so that only the end of the connection ends it.
    /// For clients that do not understand chunks; those of HTTP/1.0 get their stream like this in any case.
    #[must_use]
    pub fn close_delimited(mut self) -> StreamReply {
        self.close_delimited = true;
        self
    }

    /// In place of the stream: one that only says when to come again. EventSource survives it, as it does no other
    /// status; headers are those of the stream, since without CORS headers a page of another origin gives up too.
    pub(crate) fn refused_softly(self, retry: Duration) -> Reply {
        let body = format!("retry: {}\n\n", retry.as_millis()).into_bytes();
        let mut whole = Reply::whole(Cow::Borrowed("text/event-stream"), Cow::Owned(body));
        whole.take_headers(self.headers, "Cache-Control: no-store, no-transform\r\n");
        whole
    }

    /// In place of the stream: 204 (No Content), which no EventSource comes back from. Not to be kept by a cache, as any
    /// other 204 may be (RFC 9110 15.3.5): the revocation has its time.
    pub(crate) fn revoked(self) -> Reply {
        let mut whole = Reply::no_content();
        whole.take_headers(self.headers, "Cache-Control: no-store\r\n");
        whole
    }

    /// In place of the stream: 503 (Service Unavailable), and when to come again (RFC 9110 10.2.3).
    pub(crate) fn unavailable(self, retry: Duration) -> Reply {
        let mut whole = Reply::status(503);
        let seconds = retry.as_millis().div_ceil(1000);
        whole.take_headers(self.headers, &format!("Retry-After: {seconds}\r\n"));
        whole
    }

    /// How long this stream may stay open, in place of [`Config::max_age`](crate::Config::max_age), and exactly: for a
    /// session that ends, a token that expires. It is closed cleanly then, with
    /// [`CloseReason::MaxAge`](crate::CloseReason::MaxAge). Costs a timer.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> StreamReply {
        self.max_age = Some(age);
        self
    }

    /// Lets the stream end by itself when the server [drains](crate::Context::drain), as long as there is time: for one that is
    /// about to end anyway, such as an answer in progress.
    #[must_use]
    pub fn finish(mut self) -> StreamReply {
        self.finish = true;
        self
    }

    /// Begins with what is published next, whatever the client has seen. Without this, a client that comes back to topics with a
    /// [history](crate::TopicConfig::history), which it says by `Last-Event-ID` (or `lastEventId` or `last_event_id` in the
    /// query), gets everything behind that event first, once and in order (WHATWG HTML 9.2.3).
    #[must_use]
    pub fn live(mut self) -> StreamReply {
        self.start = Start::Live;
        self
    }

    /// Begins with all that its topics keep, unless the client comes back: their history, and of a
    /// [keyed](crate::TopicConfig::keyed) topic the last event of each key.
    #[must_use]
    pub fn snapshot(mut self) -> StreamReply {
        self.start = Start::Snapshot;
        self
    }

    /// Begins behind the event with this id, whatever the request says.
    #[must_use]
    pub fn resume_after(mut self, id: impl Into<String>) -> StreamReply {
        self.resume_after = Some(id.into());
        self
    }

    /// Where it goes on when what the client has missed is not kept any more. It is told so by a
    /// [gap event](crate::Config::gap_event) first, unless [`Handler::missed`](crate::Handler::missed) makes up for it.
    #[must_use]
    pub fn after_gap(mut self, goes_on: AfterGap) -> StreamReply {
        self.after_gap = goes_on;
        self
    }

    /// Adds what lets a page of another origin read the stream that `request` asks for.
    pub(crate) fn share(&mut self, cors: &Cors, request: &Request<'_>) {
        cors.add_to(&mut self.headers, request);
    }

    pub(crate) fn is_live(&self) -> bool {
        self.start == Start::Live
    }

    pub(crate) fn is_snapshot(&self) -> bool {
        self.start == Start::Snapshot
    }

    pub(crate) fn resumes_after(&self) -> Option<&str> {
        self.resume_after.as_deref()
    }

    pub(crate) fn after_gap_begins(&self) -> AfterGap {
        self.after_gap
    }

    pub(crate) fn own_age(&self) -> Option<Duration> {
        self.max_age
    }

    pub(crate) fn finishes(&self) -> bool {
        self.finish
    }

    pub(crate) fn topics(&self) -> &[String] {
        &self.topics
    }

    pub(crate) fn tags(&self) -> &[String] {
        &self.tags
    }

    pub(crate) fn retry_after(&self) -> Option<Duration> {
        self.retry
    }

    pub(crate) fn is_close_delimited(&self) -> bool {
        self.close_delimited
    }

    /// Writes the head. Without `chunked` the connection ends with the stream, and the head says so whatever
    /// `cx` says, unless the head is all that is wanted.
    pub(crate) fn encode_head(&self, cx: &HeadContext<'_>, chunked: bool, out: &mut Vec<u8>) {
        debug_assert!(!(chunked && cx.http_10), "HTTP/1.0 has no chunks");
        let keep_alive = cx.keep_alive && (chunked || cx.head_request);
        append(
            out,
            &[
                "HTTP/1.1 200 OK\r\nDate: ",
                cx.date,
                "\r\nContent-Type: text/event-stream\r\n\
                 Cache-Control: no-store, no-transform\r\n\
                 X-Accel-Buffering: no\r\n",
                if chunked { "Transfer-Encoding: chunked\r\n" } else { "" },
                cx.connection(keep_alive),
                &self.headers.lines,
                "\r\n",
            ],
        );
    }
}

impl From<StreamReply> for Reply {
    fn from(stream: StreamReply) -> Self {
        Self { kind: Kind::Stream(stream) }
    }
}

/// What a handler may return.
///
/// Of a `Result`, the error is logged, and the client gets a 500 (Internal Server Error) that does not reveal
/// it.
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
    /// The reply that this stands for.
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

impl<R: IntoReply, E: fmt::Display> IntoReply for Result<R, E> {
    fn into_reply(self) -> Reply {
        self.map_or_else(
            |error| {
                log::error!("a handler failed, the client gets a 500: {error}");
                Reply::status(500)
            },
            IntoReply::into_reply,
        )
    }
}

/// What the head of a reply depends on beside the reply.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadContext<'a> {
    /// The value of the `Date` header.
    pub(crate) date: &'a str,
    /// The connection may carry another request behind this reply.
    pub(crate) keep_alive: bool,
    /// The request was HTTP/1.0, where keeping a connection has to be said.
    pub(crate) http_10: bool,
    /// The request was HEAD: it wants the head alone.
    pub(crate) head_request: bool,
}

impl HeadContext<'_> {
    fn connection(&self, keep_alive: bool) -> &'static str {
        match (keep_alive, self.http_10) {
            (false, _) => "Connection: close\r\n",
            (true, true) => "Connection: keep-alive\r\n",
            (true, false) => "",
        }
    }
}

/// The application's own header lines, ready to be sent.
#[derive(Clone, Default, PartialEq, Eq)]
pub(super) struct Headers {
    lines: String,
}

impl Headers {
    fn push(&mut self, name: &str, value: &str) -> Result<(), Error> {
        if name.is_empty() || !name.bytes().all(is_token_byte) {
            return Err(invalid(name, "a name consists of letters, digits and !#$%&'*+-.^_`|~"));
        }
        if is_one_of(&WRITTEN_BY_THE_SERVER, name) {
            return Err(invalid(name, "the server itself writes this header"));
        }
        check_value(name, value)?;
        self.add(name, value);
        Ok(())
    }

    /// Adds a line that is known to be well-formed.
    pub(super) fn add(&mut self, name: &str, value: &str) {
        for part in [name, ": ", value, "\r\n"] {
            self.lines.push_str(part);
        }
    }

    /// Whether there is a line of this name, in upper or lower case.
    pub(super) fn has(&self, name: &str) -> bool {
        self.lines.lines().any(|line| name_of(line).eq_ignore_ascii_case(name))
    }
}

/// Leaves out the values of cookies, which should not end up in a log.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |line| match name_of(line) {
            name if name.eq_ignore_ascii_case(SET_COOKIE) => format!("{name}: …"),
            _ => String::from(line),
        };
        f.debug_list().entries(self.lines.lines().map(shown)).finish()
    }
}

fn name_of(line: &str) -> &str {
    line.split_once(':').map_or(line, |(name, _)| name)
}

fn check_value(name: &str, value: &str) -> Result<(), Error> {
    if value.bytes().any(is_control) {
        return Err(invalid(name, "a value contains no line end and no other control character"));
    }
    Ok(())
}

fn is_one_of(names: &[&str], name: &str) -> bool {
    names.iter().any(|candidate| candidate.eq_ignore_ascii_case(name))
}

pub(super) fn invalid(name: &str, problem: &'static str) -> Error {
    Error::InvalidHeader { name: name.to_owned(), problem }
}

fn into_bytes(text: Cow<'static, str>) -> Cow<'static, [u8]> {
    match text {
        Cow::Borrowed(text) => Cow::Borrowed(text.as_bytes()),
        Cow::Owned(text) => Cow::Owned(text.into_bytes()),
    }
}

fn append(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

fn append_fmt(out: &mut Vec<u8>, arguments: fmt::Arguments<'_>) {
    let written = out.write_fmt(arguments);
    debug_assert!(written.is_ok(), "a vector takes all that is written to it");
}

#[cfg(test)]
mod tests {
    use super::*;

    const CX: HeadContext<'_> =
        HeadContext { date: "<now>", keep_alive: true, http_10: false, head_request: false };

    fn encode(reply: &Reply, cx: HeadContext<'_>) -> String {
        let mut out = b"before ".to_vec();
        reply.encode(&cx, &mut out);
        String::from_utf8(out).unwrap().strip_prefix("before ").unwrap().to_owned()
    }

    fn encode_head(stream: &StreamReply, cx: HeadContext<'_>, chunked: bool) -> String {
        let mut out = Vec::new();
        stream.encode_head(&cx, chunked, &mut out);
        String::from_utf8(out).unwrap()
    }

    #[test]
    fn a_whole_response() {
        let reply = Reply::html("<p>ü</p>").header("X-A", "1").unwrap().header("x-a", "2\t3").unwrap();
        assert_eq!(
            encode(&reply, CX),
            "HTTP/1.1 200 OK\r\nDate: <now>\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 9\r\n\
             X-A: 1\r\nx-a: 2\t3\r\n\r\n<p>ü</p>"
        );
        assert_eq!(reply.body(), "<p>ü</p>".as_bytes());
    }

    #[test]
    fn the_connection_header_says_what_is_not_the_default() {
        let connection = |keep_alive, http_10| {
            let head = encode(&Reply::text(""), HeadContext { keep_alive, http_10, ..CX });
            head.lines().find_map(|line| line.strip_prefix("Connection: ")).map(str::to_owned)
        };
        assert_eq!(connection(true, false), None);
        assert_eq!(connection(false, false).as_deref(), Some("close"));
        assert_eq!(connection(true, true).as_deref(), Some("keep-alive"));
        assert_eq!(connection(false, true).as_deref(), Some("close"));
    }

    #[test]
    fn head_requests_get_the_same_head_alone() {
        let reply = Reply::text("hello");
        let whole = encode(&reply, CX);
        let head = encode(&reply, HeadContext { head_request: true, ..CX });
        assert_eq!(head + "hello", whole);
        assert!(whole.contains("Content-Length: 5\r\n"));
    }

    #[test]
    fn statuses_without_a_body() {
        let empty = "Date: <now>\r\n\r\n";
        assert_eq!(encode(&Reply::no_content(), CX), format!("HTTP/1.1 204 No Content\r\n{empty}"));
        assert_eq!(
            encode(&Reply::html("x").with_status(304), CX),
            format!("HTTP/1.1 304 Not Modified\r\n{empty}")
        );
        assert_eq!(
            encode(&Reply::status(205), CX),
            "HTTP/1.1 205 Reset Content\r\nDate: <now>\r\nContent-Length: 0\r\n\r\n"
        );
    }

    #[test]
    fn statuses_are_kept_within_reason() {
        assert_eq!(Reply::status(404).status_code(), 404);
        assert_eq!((Reply::status(404).body(), Reply::not_found().status_code()), (&b"Not Found"[..], 404));
        assert_eq!((Reply::status(101).status_code(), Reply::status(600).status_code()), (500, 500));
        assert_eq!(Reply::status(101).body(), b"Internal Server Error");
        assert_eq!(Reply::text("x").with_status(99).status_code(), 500);
        assert_eq!(Reply::from(Reply::stream()).with_status(404).status_code(), 200);
    }

    #[test]
    fn content_types() {
        let content_type = |reply: Reply| {
            let head = encode(&reply, CX);
            head.lines().filter_map(|line| line.strip_prefix("Content-Type: ")).collect::<Vec<_>>().join("|")
        };
        assert_eq!(content_type(Reply::json("{}")), "application/json");
        assert_eq!(content_type(Reply::text("a")), "text/plain; charset=utf-8");
        assert_eq!(content_type(Reply::bytes("image/png", b"PNG").unwrap()), "image/png");
        assert_eq!(content_type(Reply::bytes(String::from("a/b"), vec![0]).unwrap()), "a/b");
        assert_eq!(content_type(Reply::text("a").header("content-TYPE", "text/css").unwrap()), "text/css");
        assert!(Reply::bytes("a/b\r\nX: y", b"").is_err());
        assert!(Reply::text("a").header("Content-Type", "a\nb").is_err());
    }

    #[test]
    fn shorthands_with_a_header() {
        assert!(
            encode(&Reply::unauthorized("Bearer").unwrap(), CX).contains("\r\nWWW-Authenticate: Bearer\r\n")
        );
        assert_eq!(Reply::unauthorized("Bearer").unwrap().status_code(), 401);
        let redirect = Reply::redirect("/there").unwrap();
        assert_eq!(redirect.status_code(), 303);
        assert!(encode(&redirect.with_status(308), CX).starts_with("HTTP/1.1 308 Permanent Redirect\r\n"));
        assert!(Reply::redirect("/\r\nSet-Cookie: a=b").is_err() && Reply::unauthorized("\0").is_err());
    }

    #[test]
    fn headers_that_cannot_be_written() {
        let name_is_refused = |name: &str| {
            let whole = Reply::text("").header(name, "a");
            let stream = Reply::stream().header(name, "a");
            assert_eq!(whole.is_err(), stream.is_err(), "{name:?}");
            matches!(whole, Err(Error::InvalidHeader { name: named, .. }) if named == name)
        };
        for name in ["", " ", "A B", "A:", "A\r\nB", "ü", "A\0", "(A)"] {
            assert!(name_is_refused(name), "{name:?}");
        }
        for name in WRITTEN_BY_THE_SERVER {
            assert!(name_is_refused(name) && name_is_refused(&name.to_lowercase()), "{name}");
        }
        assert!(!name_is_refused("X!#$%&'*+-.^_`|~1"));
        for value in ["a\rb", "a\nb", "\0", "\x7f", "\x1b[1m"] {
            assert!(Reply::text("").header("A", value).is_err(), "{value:?}");
            assert!(Reply::stream().header("A", value).is_err(), "{value:?}");
        }
        for value in ["", "ü", "a\tb"] {
            assert!(Reply::text("").header("A", value).is_ok(), "{value:?}");
        }
        for name in ["content-type", "Cache-Control", "X-Accel-Buffering"] {
            assert!(Reply::stream().header(name, "a").is_err(), "{name}");
            assert!(Reply::from(Reply::stream()).header(name, "a").is_err(), "{name}");
            assert!(Reply::text("").header(name, "a").is_ok(), "{name}");
        }
    }

    #[test]
    fn the_head_of_a_stream() {
        let stream = Reply::stream().header("Vary", "Origin").unwrap();
        let start = "HTTP/1.1 200 OK\r\nDate: <now>\r\nContent-Type: text/event-stream\r\n\
                     Cache-Control: no-store, no-transform\r\nX-Accel-Buffering: no\r\n";
        let head = |cx, chunked| encode_head(&stream, cx, chunked);
        let with = |lines: &str| format!("{start}{lines}Vary: Origin\r\n\r\n");
        assert_eq!(head(CX, true), with("Transfer-Encoding: chunked\r\n"));
        let closing = HeadContext { keep_alive: false, ..CX };
        assert_eq!(head(closing, true), with("Transfer-Encoding: chunked\r\nConnection: close\r\n"));
        // Without chunks, it takes the end of the connection to end the stream.
        assert_eq!(head(CX, false), with("Connection: close\r\n"));
        assert_eq!(head(HeadContext { http_10: true, ..CX }, false), with("Connection: close\r\n"));
        // HEAD has nothing to delimit.
        assert_eq!(encode(&stream.into(), HeadContext { head_request: true, ..CX }), with(""));
    }

    #[test]
    fn what_a_stream_is_made_of() {
        let stream =
            Reply::stream().topic("a").topic(String::from("b")).topic("a").retry(Duration::from_secs(1));
        assert_eq!(stream.topics(), ["a", "b"]);
        assert_eq!(stream.retry_after(), Some(Duration::from_secs(1)));
        assert!(!stream.is_close_delimited() && Reply::stream().close_delimited().is_close_delimited());
        assert_eq!(Reply::from(stream).into_stream().unwrap().topics(), ["a", "b"]);
        assert_eq!(Reply::text("a").into_stream().unwrap_err().body(), b"a");
    }

    #[test]
    fn errors_become_a_500_that_does_not_tell() {
        assert_eq!(Ok::<_, Error>(Reply::text("a")).into_reply().body(), b"a");
        assert!(Ok::<_, Error>(Reply::stream()).into_reply().into_stream().is_ok());
        let error = Err::<Reply, _>("the password is 1234").into_reply();
        assert_eq!((error.status_code(), error.body()), (500, &b"Internal Server Error"[..]));
    }

    #[cfg(feature = "json")]
    #[test]
    fn values_as_json() {
        assert_eq!(Reply::json_of(&[1, 2]).unwrap().body(), b"[1,2]");
        let reply = encode(&Reply::json_of(&"a\nb").unwrap(), CX);
        assert!(
            reply.contains("Content-Type: application/json\r\n") && reply.ends_with(r#""a\nb""#),
            "{reply}"
        );
        let keys_are_no_strings = std::collections::BTreeMap::from([(vec![1], 2)]);
        assert!(Reply::json_of(&keys_are_no_strings).is_err());
    }
}
