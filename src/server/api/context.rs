//! The server as handlers, timers and closures of publishers see it.

use crate::conn::close_reason::CloseReason;
use crate::conn::id::StreamId;
use crate::error::Error;
use crate::event::Event;
use crate::http::reply::failure::found;
use crate::sealed::Sealed;
use crate::server::api::channel::{EventSender, channel};
use crate::server::api::drain::Drain;
use crate::server::api::stats::Stats;
use crate::server::state::core::Core;
use crate::server::state::inbox::Order;
use crate::server::state::timers::TimerId;
use crate::source::Source;
use crate::topic::history::TopicConfig;
use crate::topic::position::Position;
use std::any::Any;
use std::fmt;
use std::iter;
use std::sync::Arc;
use std::time::Duration;

/// The server, as seen from a callback: publish, send, close, subscribe, set timers.
///
/// No call blocks or writes to a socket. Calls are recorded and carried out at the end of the same turn. So a
/// burst of events leaves as one write per stream, and no callback ever runs inside another.
///
/// A call for a stream that has ended returns [`Error::Closed`] and does nothing.
///
/// In all callbacks of a [`Router` with a state](crate::Router::with_state) it has that
/// [`state`](Self::state), including timers, `on_open`, `on_close` and
/// [`Publisher::run`](crate::Publisher::run):
///
/// ```
/// # use mio_sse::{Reply, Router};
/// # use std::time::Duration;
/// #[derive(Default)]
/// struct Visits {
///     today: usize,
/// }
///
/// let mut app = Router::with_state(Visits::default());
/// app.on_start(|cx| cx.every_global(Duration::from_secs(86_400), |cx| cx.state.today = 0));
/// app.get("/", |_request, cx| {
///     cx.state.today += 1;
///     format!("{} today", cx.state.today)
/// });
/// ```
pub struct Context<'a, S = ()> {
    core: &'a mut Core,
    stream: Option<StreamId>,
    /// The application's state. All callbacks share it without a lock, as they run one after the other.
    pub state: &'a mut S,
}

impl<S> fmt::Debug for Context<'_, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Context").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl<'a> Context<'a> {
    pub(crate) fn new(core: &'a mut Core) -> Self {
        Self { core, stream: None, state: stateless() }
    }

    pub(crate) fn for_request(core: &'a mut Core, stream: StreamId) -> Self {
        Self { stream: Some(stream), ..Self::new(core) }
    }
}

impl<'a, S: 'static> Context<'a, S> {
    pub(crate) fn outside(core: &'a mut Core, state: &'a mut S) -> Self {
        Self { core, stream: None, state }
    }

    /// Calls `work` with a context that has the state, if that is an `S`, or `()`.
    pub(crate) fn enter<T>(
        core: &mut Core,
        state: &mut dyn Any,
        stream: Option<StreamId>,
        work: impl FnOnce(&mut Context<'_, S>) -> T,
    ) -> Option<T> {
        let state = match state.is::<S>() {
            true => state,
            false => stateless(),
        };
        let state = state.downcast_mut();
        debug_assert!(state.is_some(), "contexts have the state of their server");
        state.map(|state| work(&mut Context { core, stream, state }))
    }

    pub(super) fn core(&self) -> &Core {
        self.core
    }

    /// The same context with another state.
    pub(crate) fn with_state<'b, T>(&'b mut self, state: &'b mut T) -> Context<'b, T> {
        Context { core: self.core, stream: self.stream, state }
    }

    /// The state, and a context without it, to use side by side.
    ///
    /// ```
    /// # use mio_sse::Router;
    /// let mut app = Router::with_state(vec![String::from("one"), String::from("two")]);
    /// app.sse("/all", |stream, _request, cx| {
    ///     let (all, mut cx) = cx.split();
    ///     all.iter().try_for_each(|one| cx.send(stream, one))
    /// });
    /// ```
    pub fn split(&mut self) -> (&mut S, Context<'_>) {
        (self.state, Context { core: self.core, stream: self.stream, state: stateless() })
    }

    /// While a request is handled: the id of the stream that the reply may open. Events, timers and
    /// subscriptions can be given to it already. They are dropped if the reply is not a stream, or if the
    /// stream does not open. Do what has to be undone at its end in [`on_open`](Self::on_open). All events of
    /// a stream have one order, so an event sent to it now follows those that its topics have retained for
    /// it; [`StreamReply::first`](crate::StreamReply::first) precedes them.
    #[must_use]
    pub fn stream(&self) -> Option<StreamId> {
        self.stream
    }

    /// Whether the current request cannot open a stream, whatever the reply is.
    pub(crate) fn refuses_streams(&self) -> bool {
        self.core.opening_refused.is_some()
    }

    /// Publishes an event to every stream that is subscribed to `topic` at this moment, and to its history.
    ///
    /// The event is encoded once, and this call makes one copy, however many subscribers there are. Without
    /// subscribers and history the event is dropped.
    ///
    /// ```
    /// # use mio_sse::{Event, Reply, Router};
    /// let mut app = Router::new();
    /// app.get("/news", |_request, _cx| Reply::stream().topic("news"));
    /// app.post("/news", |request, cx| {
    ///     let text = String::from_utf8_lossy(request.body());
    ///     cx.publish("news", Event::new().data(text).event("news"))
    /// });
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidEvent`] and [`Error::IdTooLong`]; [`Error::OwnId`] and [`Error::NoPosition`] if the
    /// topic's [ids](crate::TopicConfig::ids) are not the application's; [`Error::Finished`];
    /// [`Error::TooMuchMemory`]; [`Error::TooManyTopics`] if the topic would retain the event and exceed
    /// [`topics_max`](crate::Config::topics_max). Nothing is published then.
    pub fn publish<'e>(&mut self, topic: &str, event: impl Into<Event<'e>>) -> Result<(), Error> {
        self.core.publish(iter::once(topic), &event.into(), None)
    }

    /// Publishes an event to several topics at once. A stream that reads more than one of them gets it once,
    /// and it is in the history of each. If one of the topics does not accept it, nothing is published.
    ///
    /// ```
    /// # use mio_sse::{Context, Error};
    /// fn score(game: &str, league: &str, points: &str, cx: &mut Context<'_>) -> Result<(), Error> {
    ///     cx.publish_all([game, league, "all scores"], points)
    /// }
    /// ```
    ///
    /// [`Observer`](crate::Observer)s are called once for each topic. If a stream that lags misses the event,
    /// it may count once for each topic in the stream's gap.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish).
    pub fn publish_all<'t, 'e>(
        &mut self,
        topics: impl IntoIterator<Item = &'t str, IntoIter: Clone>,
        event: impl Into<Event<'e>>,
    ) -> Result<(), Error> {
        self.core.publish(topics.into_iter(), &event.into(), None)
    }

    /// Publishes an event at its position in an external log, to a topic whose ids are
    /// [`Ids::Ordered`](crate::Ids::Ordered). The position is its id.
    ///
    /// ```
    /// # use mio_sse::{Context, Error, Event, Position};
    /// /// An entry of a Redis stream, as XREAD gives it.
    /// fn on_entry(id: Position, text: String, cx: &mut Context<'_>) -> Result<(), Error> {
    ///     cx.publish_at("news", id, Event::new().data(text))
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::PositionNotIncreasing`] unless the position is greater than that of the event published
    /// before, in any topic; [`Error::NotOrdered`]; [`Error::OwnId`]; else as for [`publish`](Self::publish).
    /// Nothing is published then.
    pub fn publish_at<'e>(
        &mut self,
        topic: &str,
        position: Position,
        event: impl Into<Event<'e>>,
    ) -> Result<(), Error> {
        self.core.publish(iter::once(topic), &event.into(), Some(position))
    }

    /// Publishes one entry of an external log to several topics, at its position. A stream that reads more
    /// than one of them gets it once. Unlike with [`publish_all`](Self::publish_all), topics that do not
    /// accept it are skipped, because the entry is in the log already.
    ///
    /// ```
    /// # use mio_sse::{Context, Error, Position};
    /// fn on_entry(id: Position, topics: &[String], text: &str, cx: &mut Context<'_>) -> Result<(), Error> {
    ///     cx.publish_all_at(topics.iter().map(String::as_str), id, text)
    /// }
    /// ```
    ///
    /// # Errors
    /// As for [`publish_at`](Self::publish_at): the error of the first topic that was skipped. With
    /// [`Error::TooMuchMemory`] nothing is published.
    pub fn publish_all_at<'t, 'e>(
        &mut self,
        topics: impl IntoIterator<Item = &'t str, IntoIter: Clone>,
        position: Position,
        event: impl Into<Event<'e>>,
    ) -> Result<(), Error> {
        self.core.publish(topics.into_iter(), &event.into(), Some(position))
    }

    /// Reports that an external log has lost events, all of them before `position`: it was deleted, came back
    /// without its newest entries, or was trimmed before this server read it. `position` is that of an entry
    /// that reports the loss, or any position greater than all that clients have seen, here or at other
    /// servers that read the log.
    ///
    /// Every stream that reads a topic with [`Ids::Ordered`](crate::Ids::Ordered) gets a [gap
    /// event](crate::Config::gap_event) with `position` as its id, in order: after all events published
    /// before this call. A client that reconnects later with an older id gets the gap event when it reaches
    /// that place, or at once if the history begins later by then. Streams that wait for an older position,
    /// because their clients were ahead of this server, continue with the gap event. Topics that have
    /// [finished](Self::finish_topic) have lost nothing. A stream counts in
    /// [`Stats::gaps`](crate::Stats::gaps) once for each such topic.
    ///
    /// # Cost
    /// Currently one small event in each topic. It is delivered like any other event, over several turns if
    /// there are many streams.
    ///
    /// ```
    /// # use mio_sse::{Context, Error, Position};
    /// fn on_restart_of_the_log(first: Position, cx: &mut Context<'_>) -> Result<(), Error> {
    ///     cx.ordered_gap(first)
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::PositionNotIncreasing`] unless `position` is greater than that of everything published so
    /// far.
    pub fn ordered_gap(&mut self, position: Position) -> Result<(), Error> {
        self.core.ordered_gap_together(position)
    }

    /// Reports that an external log was read and has nothing after `newest`. Call it each time that a reader
    /// finds this, after it has published everything up to there.
    ///
    /// A client may connect with the id of a later event, which another server has read already; its stream
    /// waits for that position. If a stream waits for a position after `newest`, and waited at the previous
    /// call too, the log had time to deliver that position and never will: the id is made up, or from a part
    /// of the log that was lost. The stream then continues with a [gap event](crate::Config::gap_event).
    ///
    /// # Cost
    /// Currently it visits only streams that wait.
    ///
    /// ```
    /// # use mio_sse::{Context, Error, Position};
    /// fn on_answer(entries: &[(Position, String)], asked_after: Position, cx: &mut Context<'_>) -> Result<(), Error> {
    ///     for (position, text) in entries {
    ///         cx.publish_at("news", *position, text)?;
    ///     }
    ///     cx.ordered_end(entries.last().map_or(asked_after, |(position, _)| *position));
    ///     Ok(())
    /// }
    /// ```
    pub fn ordered_end(&mut self, newest: Position) {
        self.core.in_order(move |core| core.ordered_end(newest));
    }

    /// Finishes a topic: nothing more will be published to it. A stream whose topics have all finished gets
    /// the events that wait for it and is closed with [`CloseReason::Finished`]. A stream with a
    /// [source](Self::set_source) is closed when the source ends.
    ///
    /// A client that connects later gets the retained events after the one that it saw last, and then the
    /// end. A client that has seen everything gets 204, which makes EventSource stop. The topic stays
    /// finished as long as it retains events, and at least for the [age](crate::History::age) of its history.
    /// Without an age that is for ever, so give such topics one. After a restart, publish its last event
    /// again before you finish it again: otherwise its clients get a `gap` event each time they connect. A
    /// topic that retains nothing is new for clients that connect later.
    ///
    /// ```
    /// # use mio_sse::{Reply, Router};
    /// let mut app = Router::new();
    /// app.get("/jobs/{job}", |request, _cx| Reply::stream().topic(request.param("job").unwrap_or_default()));
    /// app.post("/jobs/{job}/done", |request, cx| {
    ///     let job = request.param("job").unwrap_or_default();
    ///     cx.publish(job, "done")?;
    ///     cx.finish_topic(job)
    /// });
    /// ```
    ///
    /// # Errors
    /// [`Error::TooManyTopics`] if the topic retains events, does not exist yet, and would exceed
    /// [`topics_max`](crate::Config::topics_max). With [`Shards`](crate::Shards) this is only logged.
    pub fn finish_topic(&mut self, topic: &str) -> Result<(), Error> {
        self.core.finish_topic_together(topic)
    }

    /// Sends an event to one stream, in order with the events published to its topics.
    ///
    /// # Errors
    /// [`Error::Closed`] if the stream has ended, or is closed by this call because more than
    /// [`lag_bytes_max`](crate::Config::lag_bytes_max) was offered to it before and not taken;
    /// [`Error::InvalidEvent`]; [`Error::TooMuchMemory`].
    pub fn send<'e>(&mut self, stream: StreamId, event: impl Into<Event<'e>>) -> Result<(), Error> {
        self.core.send(stream, &event.into())
    }

    /// Closes a stream cleanly: events published and sent to it before still go out, then the end of the
    /// body. The id is closed at once, and [`Handler::closed`](crate::Handler::closed) follows in this turn.
    ///
    /// EventSource reconnects after a clean end too. Reply with
    /// [`Reply::no_content`](crate::Reply::no_content) to stop it.
    ///
    /// # Errors
    /// [`Error::Closed`] if the stream has ended already.
    pub fn close(&mut self, stream: StreamId) -> Result<(), Error> {
        match self.core.way_to(stream)? {
            Some(shard) => self.core.put_to(shard, Order::Close { stream }),
            None => self.core.close(stream),
        }
    }

    /// Subscribes a stream to a topic, from the next event on. A second subscription to the same topic
    /// changes nothing.
    ///
    /// # Errors
    /// [`Error::Closed`]; [`Error::TooManySubscriptions`] and [`Error::TooManyTopics`] beyond the limits of
    /// [`Config`](crate::Config); [`Error::MixedIds`], see [`TopicConfig::ids`].
    pub fn subscribe(&mut self, stream: StreamId, topic: &str) -> Result<(), Error> {
        self.core.at_stream(stream, topic, Core::subscribe)
    }

    /// Ends a subscription. Events of the topic that have not reached the stream yet are dropped, but one
    /// that is partly sent is completed. Without such a subscription nothing happens.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn unsubscribe(&mut self, stream: StreamId, topic: &str) -> Result<(), Error> {
        self.core.at_stream(stream, topic, Core::unsubscribe)
    }

    /// Configures one topic, instead of [`Config::topic`](crate::Config::topic). It applies from now on, also
    /// if the topic is freed and created again.
    ///
    /// ```
    /// # use mio_sse::{History, Router, TopicConfig};
    /// # use std::time::Duration;
    /// let mut app = Router::new();
    /// app.on_start(|cx| {
    ///     cx.configure("chat", TopicConfig::default().history(History::new().events(100)))
    /// });
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidConfig`]; [`Error::TooManyTopics`] if
    /// [`Config::topics_max`](crate::Config::topics_max) topics are configured already. A topic configured
    /// like `Config::topic` does not count if that retains nothing. [`Error::MixedIds`] if a stream reads the
    /// topic together with others whose ids are made in another way.
    pub fn configure(&mut self, topic: &str, config: TopicConfig) -> Result<(), Error> {
        self.core.configure_together(topic, config)
    }

    /// Whether a stream is open, so an event can be sent to it. True also for the [stream](Self::stream) that
    /// the current request may open.
    ///
    /// ```
    /// # use mio_sse::{Event, Router, StreamId};
    /// # let mut app = Router::new();
    /// # let mut editor: Option<StreamId> = None;
    /// app.get("/edit", move |_request, cx| {
    ///     if editor.is_some_and(|editor| cx.is_open(editor)) {
    ///         return mio_sse::Reply::text("Another user is editing this.").with_status(409);
    ///     }
    ///     editor = cx.stream();
    ///     mio_sse::Reply::stream().into()
    /// });
    /// ```
    #[must_use]
    pub fn is_open(&self, stream: StreamId) -> bool {
        self.core.delivery.slots.live(stream).is_ok()
    }

    /// The open streams that read `topic`, in no particular order.
    ///
    /// # Cost
    /// Currently one walk over the topic's subscribers, and no memory.
    pub fn streams(&self, topic: &str) -> impl Iterator<Item = StreamId> {
        let topic = self.core.delivery.topics.find(topic);
        let slots = topic.map_or(&[][..], |topic| &topic.subscribers);
        self.open_streams(slots.iter().copied())
    }

    /// The open streams with this tag, the last tagged first.
    ///
    /// # Cost
    /// Currently one walk over the streams with the tag, and no memory.
    ///
    /// ```
    /// # use mio_sse::{Context, Event, StreamId};
    /// /// Closes all streams of a user but the newest.
    /// fn replaces_others(stream: StreamId, user: &str, cx: &mut Context<'_>) {
    ///     let others: Vec<_> = cx.streams_tagged(user).filter(|other| *other != stream).collect();
    ///     others.into_iter().for_each(|other| _ = cx.close(other));
    /// }
    /// ```
    pub fn streams_tagged(&self, tag: &str) -> impl Iterator<Item = StreamId> {
        self.open_streams(self.core.tags.slots(tag))
    }

    fn open_streams(&self, slots: impl Iterator<Item = u32>) -> impl Iterator<Item = StreamId> {
        slots.filter_map(|slot| self.core.delivery.slots.id(slot)).filter(|id| self.is_open(*id))
    }

    /// The number of streams subscribed to `topic`.
    #[must_use]
    pub fn subscribers(&self, topic: &str) -> usize {
        self.core.delivery.topics.find(topic).map_or(0, |topic| topic.subscribers.len())
    }

    /// Gives a stream a tag: the user, the session, the document that it belongs to. Giving the same tag
    /// again changes nothing. A stream has its tags until it ends or the tag is [removed](Self::untag). This
    /// also works for the stream of the current request, as does
    /// [`StreamReply::tag`](crate::StreamReply::tag).
    ///
    /// If the tag is [revoked](Self::revoke), an open stream is closed with [`CloseReason::Revoked`]. The
    /// client of a stream that is not open yet gets 204 instead, whatever else is done to it in the meantime.
    ///
    /// # Cost
    /// Currently some 30 bytes for each tag of a stream. A tag that no other stream has takes some 35 more,
    /// and its name if that is longer than 14 bytes. A stream without tags takes none. The time does not
    /// depend on other streams.
    ///
    /// # Errors
    /// [`Error::Closed`] if the stream has ended, or was open and is closed because the tag is revoked;
    /// [`Error::TooManyTags`], see [`Config::tags_max`](crate::Config::tags_max).
    pub fn tag(&mut self, stream: StreamId, tag: &str) -> Result<(), Error> {
        self.core.at_stream(stream, tag, Core::tag)
    }

    /// Removes a tag from a stream. Without the tag nothing happens.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn untag(&mut self, stream: StreamId, tag: &str) -> Result<(), Error> {
        self.core.at_stream(stream, tag, Core::untag)
    }

    /// The number of streams with this tag.
    #[must_use]
    pub fn tagged(&self, tag: &str) -> usize {
        self.core.tags.count(tag)
    }

    /// Sends an event to every stream with this tag, in order with the events published and sent to it.
    /// Returns the number of streams that will receive it. A stream that is closed by this call, because more
    /// than [`lag_bytes_max`](crate::Config::lag_bytes_max) waits for it, is not counted.
    ///
    /// The event is encoded once and copied for each stream with the tag. No other stream is visited. For
    /// many streams that always get the same events, a topic is cheaper: it makes one copy for all.
    ///
    /// ```
    /// # use mio_sse::{Event, Reply, Router};
    /// let mut app = Router::new();
    /// app.get("/events/{user}", |request, _cx| {
    ///     Reply::stream().topic("news").tag(request.param("user").unwrap_or_default())
    /// });
    /// // All tabs of one user get it, on their existing streams.
    /// app.post("/inbox/{user}", |request, cx| {
    ///     let user = request.param("user").unwrap_or_default();
    ///     cx.send_tagged(user, Event::new().data("1").event("mail")).map(|tabs| format!("{tabs} tabs"))
    /// });
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidEvent`] and [`Error::TooMuchMemory`]; nothing is sent then.
    pub fn send_tagged<'e>(&mut self, tag: &str, event: impl Into<Event<'e>>) -> Result<usize, Error> {
        self.core.send_tagged(tag, &event.into())
    }

    /// [Closes](Self::close) every stream with this tag cleanly, in all loops. Returns the number of those in
    /// this loop.
    ///
    /// Only streams with the tag are visited. Of many, some 1,000 are closed at once and as many in each of
    /// the next turns, so events published in between may still reach some of them.
    pub fn close_tagged(&mut self, tag: &str) -> usize {
        let (tag, count) = (Box::<str>::from(tag), self.core.tags.count(tag));
        self.core.together(move |core| core.close_tagged(&tag), |_| count)
    }

    /// Closes every stream with this tag cleanly, with [`CloseReason::Revoked`]. Until `time` has passed, a
    /// client that would open a stream with the tag gets 204, which makes EventSource stop reconnecting. Use
    /// it when a session logs out or a user loses access. Returns the number of streams closed in this loop.
    ///
    /// Tag streams with the session rather than the user, or a user who logs in again gets 204 as well. To
    /// let a tag in again before the time is over, call [`unrevoke`](Self::unrevoke).
    ///
    /// Revoking a tag again may extend its time but never shortens it: the caller that asked for the longer
    /// time relies on it. [`Duration::MAX`] is for ever; [`Duration::ZERO`] is until the end of this turn.
    ///
    /// Thousands of streams are closed over several turns, as by [`close_tagged`](Self::close_tagged). New
    /// streams are refused at once.
    ///
    /// This tells clients to stop; it is not access control. It holds for one server until that stops, so
    /// handlers still have to authenticate requests.
    ///
    /// Currently costs some 150 bytes and the tag until the time is over, and no timer.
    /// [`Config::revoked_max`](crate::Config::revoked_max) limits the number of revocations.
    ///
    /// ```
    /// # use mio_sse::{Context, Error, Event};
    /// # use std::time::Duration;
    /// fn log_out(session: &str, cx: &mut Context<'_>) -> Result<(), Error> {
    ///     cx.send_tagged(session, Event::new().data("").event("logged-out"))?;
    ///     cx.revoke(session, Duration::from_secs(60));
    ///     Ok(())
    /// }
    /// ```
    pub fn revoke(&mut self, tag: &str, time: Duration) -> usize {
        let (tag, count) = (Box::<str>::from(tag), self.core.tags.count(tag));
        self.core.now_and_in_order(move |core| core.revoke(&tag, time), |_| count)
    }

    /// Ends the revocation of a tag. Returns whether it was revoked. Clients that got 204 do not reconnect by
    /// themselves.
    pub fn unrevoke(&mut self, tag: &str) -> bool {
        let (tag, is_revoked) = (Box::<str>::from(tag), self.is_revoked(tag));
        self.core.now_and_in_order(move |core| core.unrevoke(&tag), |_| is_revoked)
    }

    /// Whether a tag is revoked at this moment. The server itself replies 204 to a stream with such a tag.
    /// This is for handlers that would reject the request before, with a status after which some clients
    /// retry:
    ///
    /// ```
    /// # use mio_sse::{Context, Reply};
    /// fn no_such_session(session: &str, cx: &Context<'_>) -> Reply {
    ///     if cx.is_revoked(session) { Reply::no_content() } else { Reply::status(401) }
    /// }
    /// ```
    #[must_use]
    pub fn is_revoked(&self, tag: &str) -> bool {
        self.core.tags.is_revoked(tag, self.core.now)
    }

    /// Gives a stream a source, which is asked for the next event whenever there is room for it: see
    /// [`Source`]. It replaces the stream's previous source. Events sent or published to the stream come in
    /// between.
    ///
    /// ```
    /// # use mio_sse::{Event, Events, Router};
    /// let mut app = Router::new();
    /// app.sse("/numbers", |stream, _request, cx| {
    ///     cx.set_source(stream, Events::new((1..).map(|number| Event::new().data(number.to_string()))))
    /// });
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`]; the source is dropped then.
    pub fn set_source(&mut self, stream: StreamId, source: impl Source) -> Result<(), Error> {
        self.core.set_source(stream, Box::new(source))
    }

    /// Lets another thread write the stream, with up to `ahead` events (at least one) that the client has not
    /// taken yet: the output of a language model, a query, a file. The channel becomes the stream's
    /// [source](Self::set_source).
    ///
    /// ```
    /// # use mio_sse::{Event, Router};
    /// # use std::thread;
    /// let mut app = Router::new();
    /// app.sse("/work", |stream, _request, cx| {
    ///     let progress = cx.channel(stream, 16)?;
    ///     thread::spawn(move || {
    ///         for percent in 0..=100 {
    ///             // An error means that the client has left, so the work can stop.
    ///             progress.send(Event::new().data(format!("{percent} %")))?;
    ///         }
    ///         // `progress` is dropped here, which closes the stream.
    ///         Ok::<_, mio_sse::Error>(())
    ///     });
    ///     Ok::<_, mio_sse::Error>(())
    /// });
    /// ```
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn channel(&mut self, stream: StreamId, ahead: usize) -> Result<EventSender, Error> {
        let (sender, source) = channel(
            stream,
            ahead,
            self.core.inbox.clone(),
            self.core.link.as_ref().map(|link| Arc::clone(&link.sequencer)),
            self.core.account.clone(),
            self.core.is_draining.clone(),
        );
        self.core.set_source(stream, Box::new(source))?;
        Ok(sender)
    }

    /// Asks the source of a stream again that is [idle](crate::Pull::Idle) or waits, as soon as the stream
    /// has room. For another source, or a stream without one, this changes nothing.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn wake(&mut self, stream: StreamId) -> Result<(), Error> {
        match self.core.way_elsewhere(stream) {
            Some(inbox) => inbox.put_of_handler(Order::Wake { stream }),
            None => self.core.wake(stream),
        }
    }

    /// Calls `callback` every `period` while the stream is open, first after one period. The timer ends with
    /// the stream.
    ///
    /// The period is at least a millisecond. Calls that were due while the loop was delayed are skipped.
    ///
    /// ```
    /// # use mio_sse::{Event, Router};
    /// # use std::time::Duration;
    /// let mut app = Router::new();
    /// app.sse("/count", |stream, _request, cx| {
    ///     let mut count = 0;
    ///     cx.every(stream, Duration::from_secs(1), move |stream, cx| {
    ///         count += 1;
    ///         cx.send(stream, Event::new().data(count.to_string()))
    ///     })
    /// });
    /// ```
    ///
    /// # Cost
    /// Currently some 60 bytes while the stream is open, and the size of `callback`. Each call takes O(log n)
    /// for n timers.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn every<O: Outcome>(
        &mut self,
        stream: StreamId,
        period: Duration,
        mut callback: impl FnMut(StreamId, &mut Context<'_, S>) -> O + Send + 'static,
    ) -> Result<TimerId, Error> {
        self.core.delivery.slots.live(stream)?;
        let callback = Box::new(move |owner: Option<StreamId>, core: &mut Core, state: &mut dyn Any| {
            if let Some(stream) = owner {
                Context::enter(core, state, None, |cx| callback(stream, cx).settle());
            }
        });
        Ok(self.core.add_timer(period, Some(period), Some(stream), callback))
    }

    /// Calls `callback` once, after `delay`, unless the stream has ended by then.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn after<O: Outcome>(
        &mut self,
        stream: StreamId,
        delay: Duration,
        callback: impl FnOnce(StreamId, &mut Context<'_, S>) -> O + Send + 'static,
    ) -> Result<TimerId, Error> {
        self.core.delivery.slots.live(stream)?;
        let mut callback = Some(callback);
        let callback = Box::new(move |owner: Option<StreamId>, core: &mut Core, state: &mut dyn Any| {
            if let (Some(callback), Some(stream)) = (callback.take(), owner) {
                Context::enter(core, state, None, |cx| callback(stream, cx).settle());
            }
        });
        Ok(self.core.add_timer(delay, None, Some(stream), callback))
    }

    /// Calls `callback` every `period` until it is cancelled. The timer belongs to no stream.
    pub fn every_global<O: Outcome>(
        &mut self,
        period: Duration,
        mut callback: impl FnMut(&mut Context<'_, S>) -> O + Send + 'static,
    ) -> TimerId {
        let callback = Box::new(move |_, core: &mut Core, state: &mut dyn Any| {
            Context::enter(core, state, None, |cx| callback(cx).settle());
        });
        self.core.add_timer(period, Some(period), None, callback)
    }

    /// Calls `callback` once, after `delay`. The timer belongs to no stream.
    pub fn after_global<O: Outcome>(
        &mut self,
        delay: Duration,
        callback: impl FnOnce(&mut Context<'_, S>) -> O + Send + 'static,
    ) -> TimerId {
        let mut callback = Some(callback);
        let callback = Box::new(move |_, core: &mut Core, state: &mut dyn Any| {
            if let Some(callback) = callback.take() {
                Context::enter(core, state, None, |cx| callback(cx).settle());
            }
        });
        self.core.add_timer(delay, None, None, callback)
    }

    /// Cancels a timer. It may be called in the timer's own callback. Returns whether the timer was set.
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        self.core.remove_timer(timer)
    }

    /// Calls `callback` when the stream of the current request has opened, before anything is sent. It is not
    /// called if no stream opens: if the reply is not a stream, the request is HEAD, or the stream is
    /// refused. So do here what [`on_close`](Self::on_close) or [`Handler::closed`](crate::Handler::closed)
    /// has to undo: both are called, or neither. If no request is being handled, `callback` is dropped.
    ///
    /// Several callbacks are called in order, then [`Handler::opened`](crate::Handler::opened). Events they
    /// send follow those that the request's handler has sent. A topic that they subscribe the stream to
    /// begins there.
    ///
    /// A stream that the handler has closed already, or that has no events to come, opens too, and its end is
    /// reported after this. By then only `on_close` works on it, and all else returns [`Error::Closed`]. So
    /// call `on_close` before anything that may fail.
    ///
    /// A panic closes the stream with [`CloseReason::Panicked`]. The callbacks after it are dropped without
    /// being called. `opened` and `closed` are called, as the stream has opened.
    ///
    /// ```
    /// # use mio_sse::{Event, Reply, Router};
    /// let mut app = Router::new();
    /// app.get("/room", |_request, cx| {
    ///     cx.on_open(|stream, cx| {
    ///         cx.publish("room", "a user has joined")?;
    ///         cx.on_close(stream, |_reason, cx| cx.publish("room", "a user has left"))
    ///     });
    ///     Reply::stream().topic("room")
    /// });
    /// ```
    pub fn on_open<O: Outcome>(
        &mut self,
        callback: impl FnOnce(StreamId, &mut Context<'_, S>) -> O + Send + 'static,
    ) {
        let callback = Box::new(move |stream, core: &mut Core, state: &mut dyn Any| {
            Context::enter(core, state, None, |cx| callback(stream, cx).settle());
        });
        // A stream that lags too far has ended before it could open.
        if self.stream.is_some_and(|stream| self.core.delivery.stream(stream.slot).is_some()) {
            self.core.on_open.push(callback);
        }
    }

    /// Calls `callback` once with the reason when the stream ends, for any reason. Several callbacks are
    /// called in the order they were added.
    ///
    /// A stream that does not open does not end either: if the request is HEAD or the stream is refused,
    /// callbacks set by the request's handler are dropped without being called. So do what `callback` undoes
    /// in [`on_open`](Self::on_open), which has an example, or in
    /// [`Handler::opened`](crate::Handler::opened).
    ///
    /// # Cost
    /// Currently some 40 bytes while the stream is open, and the size of `callback`.
    ///
    /// # Errors
    /// [`Error::Closed`] if the stream has ended already; `callback` is dropped.
    pub fn on_close<O: Outcome>(
        &mut self,
        stream: StreamId,
        callback: impl FnOnce(CloseReason, &mut Context<'_, S>) -> O + Send + 'static,
    ) -> Result<(), Error> {
        // The end of a stream that was closed before it opened is reported in this turn.
        if self.core.opening != Some(stream) {
            self.core.delivery.slots.live(stream)?;
        }
        let callback = Box::new(move |reason, core: &mut Core, state: &mut dyn Any| {
            Context::enter(core, state, None, |cx| callback(reason, cx).settle());
        });
        self.core.hooks.add_on_close(stream, callback);
        Ok(())
    }

    /// The state that a stream was given [with its reply](crate::StreamReply::with), if it has type `T`. It
    /// exists from [`Handler::missed`](crate::Handler::missed) until the end of the stream was reported, last
    /// to [`on_close`](Self::on_close) and [`Handler::closed`](crate::Handler::closed).
    pub fn of<T: Any>(&mut self, stream: StreamId) -> Option<&mut T> {
        self.core.hooks.state(stream)?.downcast_mut()
    }

    /// The server's clock: time since some fixed moment. It does not change during a turn.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.core.now
    }

    /// The server's counters and gauges.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core.stats_of_all()
    }

    /// Shuts the server down gracefully. It stops accepting connections and closes idle ones at once. Each
    /// stream is closed at a moment of its own within the window, with [`CloseReason::Drained`], after all
    /// events published to it before, the farewell if there is one, and a `retry:`. When all connections are
    /// closed or the time is over, [`Server::run`](crate::Server::run) returns. So clients reconnect spread
    /// over the window, and no event is cut in two.
    ///
    /// Streams opened with [`StreamReply::finish`](crate::StreamReply::finish) may end by themselves until
    /// the [deadline](Drain::deadline). [`Handler::draining`](crate::Handler::draining) is called, and
    /// [`Source::draining`](crate::Source::draining) of each source, which may return a last event. Other
    /// threads can check [`EventSender::is_draining`]. New streams on existing connections are refused as if
    /// there were too many.
    ///
    /// A second call [stops](Self::stop) the server at once, as a second Ctrl-C should.
    ///
    /// ```
    /// # use mio_sse::{Context, Drain, Error, Event};
    /// # use std::time::Duration;
    /// fn shut_down(cx: &mut Context<'_>) -> Result<(), Error> {
    ///     cx.drain(Drain::within(Duration::from_secs(5)).farewell(Event::new().data("").event("bye")))
    /// }
    /// ```
    ///
    /// # Errors
    /// [`Error::InvalidEvent`] if the farewell cannot be written; nothing happens then.
    pub fn drain(&mut self, drain: impl Into<Drain>) -> Result<(), Error> {
        let drain = drain.into();
        drain.check()?;
        self.core.together(move |core| core.begin_drain(drain.clone()), |_| Ok(()))
    }

    /// Whether the server is shutting down.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.core.drain.is_some()
    }

    /// Stops the server at the end of this turn. Every stream is closed with [`CloseReason::Stopped`], or in
    /// a [drain](Self::drain) with [`CloseReason::Drained`] and the farewell.
    /// [`Server::run`](crate::Server::run) returns.
    pub fn stop(&mut self) {
        self.core.together(|core| core.stopping = true, |_| ());
    }
}

/// The state `()`.
pub(crate) fn stateless() -> &'static mut () {
    // A box of `()` allocates nothing.
    Box::leak(Box::new(()))
}

/// What a callback may return: nothing, or a result. An error is logged, as a warning unless it is
/// [`Error::Closed`].
///
/// So a callback can end in `cx.send(…)` and use `?`.
pub trait Outcome: Sealed {
    #[doc(hidden)]
    fn settle(self);
}

impl Sealed for TimerId {}

impl Outcome for () {
    fn settle(self) {}
}

/// For a callback that ends by setting a timer.
impl Outcome for TimerId {
    fn settle(self) {}
}

impl<T, E: fmt::Display + 'static> Outcome for Result<T, E> {
    fn settle(self) {
        match self {
            Ok(_) => {}
            // The client has left or does not read, which is normal.
            Err(error) if found::<Error>(&error) == Some(&Error::Closed) => {
                log::debug!("a callback: {error}");
            }
            Err(error) => log::warn!("a callback failed: {error}"),
        }
    }
}
