//! The reply that is a stream: its topics, where it begins, how long it stays open.

use crate::error::Error;
use crate::event::Event;
use crate::http::browser::cookie::Cookie;
use crate::http::header::{SET_COOKIE, check_value, invalid};
use crate::http::reply::headers::{HeadContext, Headers, append, is_one_of};
use crate::source::Source;
use crate::topic::frame::EncodedEvent;
use std::any::Any;
use std::time::Duration;

/// Headers that every event stream has already.
const WRITTEN_FOR_STREAMS: [&str; 2] = ["Cache-Control", "X-Accel-Buffering"];

const EVENT_STREAM: &str = "text/event-stream";

/// A reply that is a stream of events, made by [`Reply::stream`](crate::Reply::stream).
///
/// ```
/// use mio_sse::Reply;
/// use std::time::Duration;
///
/// let news = Reply::stream().topic("news").retry(Duration::from_secs(5)).header("X-Served-By", "news-1");
/// assert!(news.check().is_ok());
/// ```
#[derive(Debug, Default)]
pub struct StreamReply {
    /// Most streams read one topic, which needs no list.
    topic: Option<String>,
    more_topics: Vec<String>,
    tags: Vec<String>,
    retry: Option<Duration>,
    /// Replaces `text/event-stream` without parameters.
    content_type: Option<Box<str>>,
    headers: Headers,
    close_delimited: bool,
    uncompressed: bool,
    coding: Coding,
    max_age: Option<Duration>,
    finish: bool,
    start: Start,
    resume_after: Option<String>,
    after_gap: AfterGap,
    first: Vec<EncodedEvent>,
    then_end: bool,
    pub(crate) belongings: Belongings,
    /// The first error while it was built.
    error: Option<Box<Error>>,
}

/// The content coding of the body.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Coding {
    /// No coding, although the client may accept one.
    #[default]
    Identity,
    /// No coding, because the client accepts no other.
    OnlyIdentity,
    Gzip,
}

/// Objects of the application that come with a reply, for the stream to have when it opens.
#[derive(Debug, Default)]
pub(crate) struct Belongings {
    pub(crate) source: Option<Box<dyn Source>>,
    pub(crate) state: Option<Box<dyn Any + Send>>,
}

/// Where a stream begins.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum Start {
    /// After the client's last event, or live.
    #[default]
    Resume,
    Live,
    /// After the client's last event, or with all retained events.
    Snapshot,
}

/// Where a stream continues if its client has missed events that are not retained.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub enum AfterGap {
    /// With the oldest retained event that the client has not seen; in a [keyed](crate::TopicConfig::keyed)
    /// topic, with all keys.
    #[default]
    Oldest,
    /// With the next event that is published.
    Live,
}

impl StreamReply {
    /// Subscribes the stream to a topic, from now on. Several calls subscribe it to several topics; a topic
    /// that is named twice counts once.
    #[must_use]
    pub fn topic(mut self, name: impl Into<String>) -> StreamReply {
        let name = name.into();
        match &self.topic {
            None => self.topic = Some(name),
            Some(first) if *first == name || self.more_topics.contains(&name) => {}
            Some(_) => self.more_topics.push(name),
        }
        self
    }

    /// Gives the stream a tag, such as its user or its session: see
    /// [`Context::send_tagged`](crate::Context::send_tagged), [`close_tagged`](crate::Context::close_tagged)
    /// and [`revoke`](crate::Context::revoke). Several calls give it several tags, up to
    /// [`Config::tags_max`](crate::Config::tags_max); a tag that is named twice counts once.
    ///
    /// If the tag is revoked, the client gets 204 instead of a stream, with the headers of this reply.
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

    /// Makes the stream pull events from a [`Source`], besides those that are published and sent to it. When
    /// the source is exhausted, the stream closes.
    ///
    /// ```
    /// use mio_sse::{Event, Events, Reply};
    ///
    /// let lines = "one\ntwo\nthree".lines().map(Event::from);
    /// let stream = Reply::stream().source(Events::new(lines));
    /// ```
    #[must_use]
    pub fn source(mut self, source: impl Source) -> StreamReply {
        self.belongings.source = Some(Box::new(source));
        self
    }

    /// Gives the stream a state of its own. [`Context::of`](crate::Context::of) finds it from
    /// [`Handler::missed`](crate::Handler::missed) on until the end of the stream is reported. It is dropped
    /// after [`Handler::closed`](crate::Handler::closed), or at the end of the turn if the stream does not
    /// open. A stream has at most one value; the last one counts.
    ///
    /// ```
    /// # use mio_sse::{Reply, Router};
    /// # use std::time::Duration;
    /// let mut app = Router::new();
    /// app.get("/count", |_request, cx| {
    ///     cx.on_open(|stream, cx| {
    ///         cx.every(stream, Duration::from_secs(1), |stream, cx| {
    ///             let Some(count) = cx.of::<u32>(stream) else { return Ok(()) };
    ///             *count += 1;
    ///             let event = count.to_string();
    ///             cx.send(stream, event)
    ///         })
    ///     });
    ///     Reply::stream().with(0_u32)
    /// });
    /// ```
    ///
    /// # Cost
    /// Currently some 40 bytes while the stream lives, and the value.
    #[must_use]
    pub fn with<T: Any + Send>(mut self, value: T) -> StreamReply {
        self.belongings.state = Some(Box::new(value));
        self
    }

    pub(crate) fn take_belongings(&mut self) -> Belongings {
        std::mem::take(&mut self.belongings)
    }

    /// Sets how long the client waits before it reconnects, instead of its own default of a few seconds. The
    /// stream sends this first. Fractions of a millisecond are dropped.
    #[must_use]
    pub fn retry(mut self, retry: Duration) -> StreamReply {
        self.retry = Some(retry);
        self
    }

    /// Adds a header line to the head of the stream. `Content-Type` is replaced instead: it must be
    /// `text/event-stream`, with parameters such as `text/event-stream; charset=utf-8`. Some clients require
    /// the charset although there is no other (WHATWG HTML 9.2.3).
    ///
    /// It is [`Error::InvalidHeader`] if the name is not a token, if the value contains a line end or another
    /// control character, or if the server sets the header itself, such as `Cache-Control` or `Connection`.
    #[must_use]
    pub fn header(mut self, name: &str, value: &str) -> StreamReply {
        let added = if name.eq_ignore_ascii_case("Content-Type") {
            self.set_content_type(name, value)
        } else if is_one_of(&WRITTEN_FOR_STREAMS, name) {
            Err(invalid(name, "every event stream has this header already"))
        } else {
            self.headers.push(name, value)
        };
        added.unwrap_or_else(|error| self.fail(error));
        self
    }

    fn set_content_type(&mut self, name: &str, value: &str) -> Result<(), Error> {
        check_value(name, value.as_bytes())?;
        let essence = value.split(';').next().unwrap_or_default().trim();
        if !essence.eq_ignore_ascii_case(EVENT_STREAM) {
            return Err(invalid(name, "a stream of events must be text/event-stream"));
        }
        self.content_type = Some(value.into());
        Ok(())
    }

    /// Sets a cookie with the head of the stream, or with the reply that refuses it. It is
    /// [`Error::InvalidHeader`] if it cannot be written, or if browsers would drop it; see [`Cookie`].
    #[must_use]
    pub fn cookie(mut self, cookie: Cookie) -> StreamReply {
        match cookie.into_header_value() {
            Ok(value) => return self.header(SET_COOKIE, &value),
            Err(error) => self.fail(error),
        }
        self
    }

    /// Whether the stream can be sent as it was built. If not, the client gets a 500 (Internal Server Error),
    /// and the log says why.
    ///
    /// # Errors
    /// The first error: [`Error::InvalidHeader`] or [`InvalidEvent`](Error::InvalidEvent).
    pub fn check(&self) -> Result<(), Error> {
        self.error.as_deref().map_or(Ok(()), |error| Err(error.clone()))
    }

    pub(crate) fn fail(&mut self, error: Error) {
        self.error.get_or_insert_with(|| Box::new(error));
    }

    /// Sends the stream without the chunked transfer coding, so it lasts until the connection closes. For
    /// clients that do not understand chunks; clients of HTTP/1.0 always get it like this.
    #[must_use]
    pub fn close_delimited(mut self) -> StreamReply {
        self.close_delimited = true;
        self
    }

    /// Sends the stream uncompressed, whatever `Config::gzip` says.
    #[must_use]
    pub fn uncompressed(mut self) -> StreamReply {
        self.uncompressed = true;
        self
    }

    /// Limits how long this stream may stay open, instead of [`Config::max_age`](crate::Config::max_age), and
    /// exactly: for a session or a token that expires. The stream is then closed cleanly, with
    /// [`CloseReason::MaxAge`](crate::CloseReason::MaxAge). Costs a timer.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> StreamReply {
        self.max_age = Some(age);
        self
    }

    /// Lets the stream end by itself when the server [drains](crate::Context::drain), as long as there is
    /// time. For a stream that will end soon anyway, such as generated text.
    #[must_use]
    pub fn finish(mut self) -> StreamReply {
        self.finish = true;
        self
    }

    /// Begins with the next published event, whatever the client has seen. Without this, a client that
    /// reconnects to topics with a [history](crate::TopicConfig::history) and sends `Last-Event-ID` (or
    /// `lastEventId` or `last_event_id` in the query) first gets all events after that one, once and in order
    /// (WHATWG HTML 9.2.3).
    #[must_use]
    pub fn live(mut self) -> StreamReply {
        self.start = Start::Live;
        self
    }

    /// Begins with all retained events of its topics, unless the client resumes: their history, and for a
    /// [keyed](crate::TopicConfig::keyed) topic the last event of each key.
    #[must_use]
    pub fn snapshot(mut self) -> StreamReply {
        self.start = Start::Snapshot;
        self
    }

    /// Begins after the event with this id, whatever the request says.
    #[must_use]
    pub fn resume_after(mut self, id: impl Into<String>) -> StreamReply {
        self.resume_after = Some(id.into());
        self
    }

    /// Sets where the stream continues if events that the client has missed are not retained, or its id is
    /// unknown. The client first receives a [gap event](crate::Config::gap_event), unless
    /// [`Handler::missed`](crate::Handler::missed) supplies the events.
    #[must_use]
    pub fn after_gap(mut self, goes_on: AfterGap) -> StreamReply {
        self.after_gap = goes_on;
        self
    }

    /// Sends an event before all events of the stream's topics, including retained ones: a greeting, the URL
    /// to post to, the state that the events change. Several calls send several events, in order.
    ///
    /// ```
    /// use mio_sse::{Event, Reply, Router};
    ///
    /// let mut app = Router::new();
    /// app.get("/session", |_request, _cx| {
    ///     Reply::stream().topic("session").first(Event::new().data("/messages").event("endpoint"))
    /// });
    /// ```
    ///
    /// An event that cannot be written is [`Error::InvalidEvent`]. An event whose id is [too
    /// long](crate::Config::event_id_bytes_max) makes the reply a 500, too.
    #[must_use]
    pub fn first<'e>(mut self, event: impl Into<Event<'e>>) -> StreamReply {
        match EncodedEvent::new(&event.into()) {
            Ok(event) => self.first.push(event),
            Err(error) => self.fail(error.into()),
        }
        self
    }

    /// Closes the stream after the retained events of its topics and events that were sent to it, for clients
    /// that poll. With [`snapshot`](Self::snapshot), new clients get the retained events too.
    #[must_use]
    pub fn then_end(mut self) -> StreamReply {
        self.then_end = true;
        self
    }

    pub(crate) fn first_events(&self) -> &[EncodedEvent] {
        &self.first
    }

    pub(crate) fn ends(&self) -> bool {
        self.then_end
    }

    /// Whether it has events besides those of its topics.
    pub(crate) fn brings_more(&self) -> bool {
        !self.first.is_empty() || self.belongings.source.is_some()
    }

    pub(crate) fn headers_mut(&mut self) -> &mut Headers {
        &mut self.headers
    }

    /// Its headers, for the reply that replaces it.
    pub(crate) fn into_headers(self) -> Headers {
        self.headers
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

    pub(crate) fn topics(&self) -> impl Iterator<Item = &String> {
        self.topic.iter().chain(&self.more_topics)
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

    /// Whether this reply allows compression.
    pub(crate) fn compresses(&self) -> bool {
        // An application that sets `Content-Encoding` compresses the body itself.
        !self.uncompressed && !self.close_delimited && !self.headers.has("Content-Encoding")
    }

    pub(crate) fn set_coding(&mut self, coding: Coding) {
        self.coding = coding;
    }

    /// Writes the head. Without `chunked` the connection closes after the stream, and the head says so
    /// whatever `cx` says, except for HEAD.
    pub(crate) fn encode_head(&self, cx: &HeadContext<'_>, chunked: bool, out: &mut Vec<u8>) {
        debug_assert!(!(chunked && cx.http_10), "HTTP/1.0 has no chunks");
        let keep_alive = cx.keep_alive && (chunked || cx.head_request);
        append(
            out,
            &[
                "HTTP/1.1 200 OK\r\nDate: ",
                cx.date,
                "\r\nContent-Type: ",
                self.content_type.as_deref().unwrap_or(EVENT_STREAM),
                "\r\n\
                 Cache-Control: no-store, no-transform\r\n\
                 X-Accel-Buffering: no\r\n",
                match self.coding {
                    Coding::Identity => "",
                    Coding::OnlyIdentity => "Vary: Accept-Encoding\r\n",
                    Coding::Gzip => "Content-Encoding: gzip\r\nVary: Accept-Encoding\r\n",
                },
                if chunked { "Transfer-Encoding: chunked\r\n" } else { "" },
                cx.connection(keep_alive),
                &self.headers.lines,
                "\r\n",
            ],
        );
    }
}
