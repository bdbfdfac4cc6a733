//! The answer that is a stream: what it reads, where it begins, how long it may stay.

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

/// A reply that is a stream of events: what [`Reply::stream`](crate::Reply::stream) begins.
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
    /// Instead of the usual.
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
    /// What was wrong first while it was built.
    error: Option<Box<Error>>,
}

/// How the body is coded.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Coding {
    /// As it is, whatever the client takes.
    #[default]
    Identity,
    /// As it is, as the client takes nothing else.
    OnlyIdentity,
    Gzip,
}

/// What of the application's comes with a reply, for the stream to have when it opens.
#[derive(Debug, Default)]
pub(crate) struct Belongings {
    pub(crate) source: Option<Box<dyn Source>>,
    pub(crate) state: Option<Box<dyn Any + Send>>,
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
    /// With the oldest event that is kept and that it has not seen; in a [keyed](crate::TopicConfig::keyed)
    /// topic, with all of its keys.
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
        match &self.topic {
            None => self.topic = Some(name),
            Some(first) if *first == name || self.more_topics.contains(&name) => {}
            Some(_) => self.more_topics.push(name),
        }
        self
    }

    /// Gives the stream a tag, such as the user or the session that it belongs to: see
    /// [`Context::send_tagged`](crate::Context::send_tagged), [`close_tagged`](crate::Context::close_tagged)
    /// and [`revoke`](crate::Context::revoke). Several calls give it several tags, up to
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

    /// Has the stream pull its events, besides those that are published and sent to it, from a [`Source`];
    /// when that ends, so does the stream.
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

    /// Gives the stream a state of its own, which [`Context::of`](crate::Context::of) finds from when the
    /// stream opens until its end has been told. It is dropped after
    /// [`Handler::closed`](crate::Handler::closed), or at the end of the turn if the stream does not open. A
    /// stream has one value at most; the last that is given counts.
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
    /// Some 40 bytes while the stream lives, and the value.
    #[must_use]
    pub fn with<T: Any + Send>(mut self, value: T) -> StreamReply {
        self.belongings.state = Some(Box::new(value));
        self
    }

    pub(crate) fn take_belongings(&mut self) -> Belongings {
        std::mem::take(&mut self.belongings)
    }

    /// How long the client waits before it reconnects, instead of its own default of a few seconds. It is
    /// the first thing that the stream says; parts of a millisecond are dropped.
    #[must_use]
    pub fn retry(mut self, retry: Duration) -> StreamReply {
        self.retry = Some(retry);
        self
    }

    /// Adds a header line to the head of the stream. `Content-Type` replaces the one that it has: it is
    /// `text/event-stream` with parameters, such as `text/event-stream; charset=utf-8`, which some clients
    /// want to see though there is no other charset (WHATWG HTML 9.2.3).
    ///
    /// It is [`Error::InvalidHeader`] when the name is no token, when the value contains a line end or
    /// another control character, or when the header is one that the server itself writes, such as
    /// `Cache-Control` or `Connection`.
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
            return Err(invalid(name, "a stream of events is text/event-stream"));
        }
        self.content_type = Some(value.into());
        Ok(())
    }

    /// Sets a cookie with the head of the stream, and with what is sent instead if it is refused. It is
    /// [`Error::InvalidHeader`] when it cannot be written as a cookie, or is one that browsers drop; see
    /// [`Cookie`].
    #[must_use]
    pub fn cookie(mut self, cookie: Cookie) -> StreamReply {
        match cookie.into_header_value() {
            Ok(value) => return self.header(SET_COOKIE, &value),
            Err(error) => self.fail(error),
        }
        self
    }

    /// Whether it can be sent as it was built. One that cannot is a 500 (Internal Server Error) instead, and
    /// the log says why.
    ///
    /// # Errors
    /// What was wrong with it first: [`Error::InvalidHeader`] or [`InvalidEvent`](Error::InvalidEvent).
    pub fn check(&self) -> Result<(), Error> {
        self.error.as_deref().map_or(Ok(()), |error| Err(error.clone()))
    }

    pub(crate) fn fail(&mut self, error: Error) {
        self.error.get_or_insert_with(|| Box::new(error));
    }

    /// Sends the stream without the chunked transfer coding, so that only the end of the connection ends it.
    /// For clients that do not understand chunks; those of HTTP/1.0 get their stream like this in any case.
    #[must_use]
    pub fn close_delimited(mut self) -> StreamReply {
        self.close_delimited = true;
        self
    }

    /// Sends the stream as it is, whatever `Config::gzip` says.
    #[must_use]
    pub fn uncompressed(mut self) -> StreamReply {
        self.uncompressed = true;
        self
    }

    /// How long this stream may stay open, instead of [`Config::max_age`](crate::Config::max_age), and
    /// exactly: for a session that ends, a token that expires. It is closed cleanly then, with
    /// [`CloseReason::MaxAge`](crate::CloseReason::MaxAge). Costs a timer.
    #[must_use]
    pub fn max_age(mut self, age: Duration) -> StreamReply {
        self.max_age = Some(age);
        self
    }

    /// Lets the stream end by itself when the server [drains](crate::Context::drain), as long as there is
    /// time: for one that is about to end anyway, such as an answer in progress.
    #[must_use]
    pub fn finish(mut self) -> StreamReply {
        self.finish = true;
        self
    }

    /// Begins with what is published next, whatever the client has seen. Without this, a client that comes
    /// back to topics with a [history](crate::TopicConfig::history), which it says by `Last-Event-ID` (or
    /// `lastEventId` or `last_event_id` in the query), gets everything behind that event first, once and in
    /// order (WHATWG HTML 9.2.3).
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

    /// Where it goes on when what the client has missed is not kept any more, or not known: it is told so by
    /// a [gap event](crate::Config::gap_event) first, unless [`Handler::missed`](crate::Handler::missed)
    /// makes up for it.
    #[must_use]
    pub fn after_gap(mut self, goes_on: AfterGap) -> StreamReply {
        self.after_gap = goes_on;
        self
    }

    /// Sends an event before everything that the topics of the stream have, also what they have kept for it:
    /// a greeting, where to post answers, the state that the events change. Several calls send several
    /// events, in order.
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
    /// One that cannot be written is [`Error::InvalidEvent`], and one whose id is
    /// [too long](crate::Config::event_id_bytes_max) makes the reply a 500, too.
    #[must_use]
    pub fn first<'e>(mut self, event: impl Into<Event<'e>>) -> StreamReply {
        match EncodedEvent::new(&event.into()) {
            Ok(event) => self.first.push(event),
            Err(error) => self.fail(error.into()),
        }
        self
    }

    /// Ends the stream behind what its topics have kept for it, and what was sent to it: an answer that can
    /// be had again, not one to wait with. With [`snapshot`](Self::snapshot) also those who come for the
    /// first time get what is kept.
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

    /// What is left of it where something else is answered.
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

    /// Whether it may be compressed, as far as that depends on it.
    pub(crate) fn compresses(&self) -> bool {
        // An application that says it itself does it itself.
        !self.uncompressed && !self.close_delimited && !self.headers.has("Content-Encoding")
    }

    pub(crate) fn set_coding(&mut self, coding: Coding) {
        self.coding = coding;
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
