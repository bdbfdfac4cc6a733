//! What a handler, a timer or a publisher's closure can ask of the server.

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
/// Nothing here blocks or writes to a socket: it is recorded, and carried out at the end of the same turn. So
/// a burst of events leaves as one write per stream, and no callback ever runs inside another.
///
/// A call that concerns a stream which has ended is [`Error::Closed`] and does nothing.
///
/// In the callbacks of a [`Router` with a state](crate::Router::with_state) it has that
/// [`state`](Self::state), in timers, in what is called when a stream opens or closes, and in
/// [`Publisher::run`](crate::Publisher::run) as well:
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
    /// The application's state, shared by all callbacks without a lock, as they run one after the other.
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

    /// Has `work` done with the state, if it is an `S`, or with none, where an `S` is nothing.
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

    /// The same with another state.
    pub(crate) fn with_state<'b, T>(&'b mut self, state: &'b mut T) -> Context<'b, T> {
        Context { core: self.core, stream: self.stream, state }
    }

    /// The state, and a context without it, to be used side by side.
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

    /// While a request is being answered: the id that the stream has if the answer is a stream. Events,
    /// timers and subscriptions can be given to it already, and are dropped with another reply, and where the
    /// stream does not open. What has to be undone at its end is for
    /// [`on_open`](Self::on_open). Everything
    /// that a stream gets has one order, so what is sent to it now comes behind what its topics have kept for
    /// it; [`StreamReply::first`](crate::StreamReply::first) comes before.
    #[must_use]
    pub fn stream(&self) -> Option<StreamId> {
        self.stream
    }

    /// Whether the request that is being answered cannot open a stream, whatever the answer is.
    pub(crate) fn refuses_streams(&self) -> bool {
        self.core.opening_refused.is_some()
    }

    /// Publishes an event to everyone who is subscribed to `topic` at this moment.
    ///
    /// The event is encoded once, however many streams there are: the cost here is that of one copy, whatever
    /// the number of subscribers. Without subscribers the event is gone.
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
    /// [`Error::InvalidEvent`] and [`Error::IdTooLong`]; [`Error::OwnId`] and [`Error::NoPosition`] where the
    /// topic's [ids](crate::TopicConfig::ids) are not the application's; [`Error::Finished`];
    /// [`Error::TooMuchMemory`]; [`Error::TooManyTopics`] where the topic would be kept and be one more than
    /// [`topics_max`](crate::Config::topics_max). Nothing is published then.
    pub fn publish<'e>(&mut self, topic: &str, event: impl Into<Event<'e>>) -> Result<(), Error> {
        self.core.publish(iter::once(topic), &event.into(), None)
    }

    /// Publishes an event to several topics at once. A stream that reads more than one of them gets it once,
    /// and it is in the history of each. Where one of the topics does not accept it, nothing is published.
    ///
    /// ```
    /// # use mio_sse::{Context, Error};
    /// fn score(game: &str, league: &str, points: &str, cx: &mut Context<'_>) -> Result<(), Error> {
    ///     cx.publish_all([game, league, "all scores"], points)
    /// }
    /// ```
    ///
    /// [`Observer`](crate::Observer)s are told of it once for each topic, and where it is lost to a stream
    /// that lags, it may count once for each topic in the gap that the stream is told of.
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
    /// [`Error::PositionNotIncreasing`] unless it is greater than that of the event before it, in whichever
    /// topic that was; [`Error::NotOrdered`]; [`Error::OwnId`]; else as [`publish`](Self::publish). Nothing
    /// is published then.
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
    /// accept it are left out, as it stands in the log already.
    ///
    /// ```
    /// # use mio_sse::{Context, Error, Position};
    /// fn on_entry(id: Position, topics: &[String], text: &str, cx: &mut Context<'_>) -> Result<(), Error> {
    ///     cx.publish_all_at(topics.iter().map(String::as_str), id, text)
    /// }
    /// ```
    ///
    /// # Errors
    /// As for [`publish_at`](Self::publish_at): that of the first topic that was left out. With
    /// [`Error::TooMuchMemory`] nothing is published.
    pub fn publish_all_at<'t, 'e>(
        &mut self,
        topics: impl IntoIterator<Item = &'t str, IntoIter: Clone>,
        position: Position,
        event: impl Into<Event<'e>>,
    ) -> Result<(), Error> {
        self.core.publish(topics.into_iter(), &event.into(), Some(position))
    }

    /// Says that an external log has lost events, all of them before `position`: it was deleted, came back
    /// without its newest entries, or was trimmed before this server read it. `position` is that of an entry
    /// which says so, or any that is greater than all that clients have seen, here or at other servers that
    /// read the log.
    ///
    /// Every stream that reads a topic whose ids are [`Ids::Ordered`](crate::Ids::Ordered) is told of a
    /// [gap](crate::Config::gap_event), with `position` as its id, in order: after what was published before
    /// this call. A client that comes back later with an older id is told of the gap when it gets there, or
    /// at once if the history begins later by then. Streams that wait for an older position, as their clients
    /// were ahead of this server, go on with the gap. Topics that have [finished](Self::finish_topic) have
    /// lost nothing. A stream counts in [`Stats::gaps`](crate::Stats::gaps) once for each such topic.
    ///
    /// # Cost
    /// One small event in each topic. Streams are told as of any other event, over several turns where there
    /// are many.
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

    /// Says that an external log was asked and has nothing after `newest`. To be called each time that a
    /// reader finds out so, having published everything up to there.
    ///
    /// A client may come with the id of a later event, which another server has read already; its stream
    /// waits for that position. If a stream waits for a position after `newest`, and did so already at the
    /// previous call, the log had time to bring that. So it never will, as the id is made up or from a part
    /// of the log that was lost, and the stream goes on with a [gap event](crate::Config::gap_event).
    ///
    /// # Cost
    /// Only streams that wait are looked at.
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

    /// Says that nothing more will be published to a topic. Streams all of whose topics have finished get
    /// what there is and end, with [`CloseReason::Finished`]; one with a [source](Self::set_source) ends when
    /// that does.
    ///
    /// A client that comes later gets what the topic keeps, after the event that it saw last, and then the
    /// end. A client that has seen everything gets 204, which makes EventSource stop. The topic is finished
    /// as long as it keeps events, and for the [age](crate::History::age) of its history at least; without an
    /// age for ever, so give such topics one. After a restart, publish its last event again before it
    /// finishes again, or its clients are told of a gap each time they come. Where nothing is kept, who comes
    /// later finds a topic that is new.
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
    /// [`Error::TooManyTopics`] where it keeps something, is not there, and would be one more than
    /// [`topics_max`](crate::Config::topics_max). With [`Shards`](crate::Shards) that is logged, and no
    /// error.
    pub fn finish_topic(&mut self, topic: &str) -> Result<(), Error> {
        self.core.finish_topic_together(topic)
    }

    /// Sends an event to one stream, in order with everything published to its topics.
    ///
    /// # Errors
    /// [`Error::Closed`] if the stream has ended, or ends with this because more than
    /// [`lag_bytes_max`](crate::Config::lag_bytes_max) was offered to it before and has not been taken;
    /// [`Error::InvalidEvent`]; [`Error::TooMuchMemory`].
    pub fn send<'e>(&mut self, stream: StreamId, event: impl Into<Event<'e>>) -> Result<(), Error> {
        self.core.send(stream, &event.into())
    }

    /// Closes a stream, cleanly: what was published and sent to it before still goes out, then the end of the
    /// body. The id is closed at once, and [`Handler::closed`](crate::Handler::closed) follows in this turn.
    ///
    /// EventSource reconnects after a clean end too; answer that with
    /// [`Reply::no_content`](crate::Reply::no_content) to stop it.
    ///
    /// # Errors
    /// [`Error::Closed`] if it has ended already.
    pub fn close(&mut self, stream: StreamId) -> Result<(), Error> {
        match self.core.way_to(stream)? {
            Some(shard) => self.core.put_to(shard, Order::Close { stream }),
            None => self.core.close(stream),
        }
    }

    /// Subscribes a stream to a topic, from the next event on. It may read any number of topics; subscribing
    /// twice is subscribing once.
    ///
    /// # Errors
    /// [`Error::Closed`]; [`Error::TooManySubscriptions`] and [`Error::TooManyTopics`] where it would be one
    /// more than [`Config`](crate::Config) allows; [`Error::MixedIds`], see [`TopicConfig::ids`].
    pub fn subscribe(&mut self, stream: StreamId, topic: &str) -> Result<(), Error> {
        self.core.at_stream(stream, topic, Core::subscribe)
    }

    /// Ends a subscription. Events of the topic that have not reached the stream yet are left out, but one
    /// that is partly sent is completed. Without such a subscription nothing happens.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn unsubscribe(&mut self, stream: StreamId, topic: &str) -> Result<(), Error> {
        self.core.at_stream(stream, topic, Core::unsubscribe)
    }

    /// Sets how one topic behaves, from now on and whenever it comes again; instead of
    /// [`Config::topic`](crate::Config::topic).
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
    /// [`Error::InvalidConfig`]; [`Error::TooManyTopics`] when
    /// [`Config::topics_max`](crate::Config::topics_max) topics are configured. Those that are given what
    /// `Config::topic` says do not count where that keeps nothing. [`Error::MixedIds`] where somebody reads
    /// the topic together with others whose ids somebody else makes.
    pub fn configure(&mut self, topic: &str, config: TopicConfig) -> Result<(), Error> {
        self.core.configure_together(topic, config)
    }

    /// Whether a stream is open: what is sent to it now is on its way. This holds also for the
    /// [stream](Self::stream) that the request being answered may become.
    ///
    /// ```
    /// # use mio_sse::{Event, Router, StreamId};
    /// # let mut app = Router::new();
    /// # let mut editor: Option<StreamId> = None;
    /// app.get("/edit", move |_request, cx| {
    ///     if editor.is_some_and(|editor| cx.is_open(editor)) {
    ///         return mio_sse::Reply::text("Somebody is at it.").with_status(409);
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
    /// Nothing besides the walk: nobody keeps a list for this.
    pub fn streams(&self, topic: &str) -> impl Iterator<Item = StreamId> {
        let topic = self.core.delivery.topics.find(topic);
        let slots = topic.map_or(&[][..], |topic| &topic.subscribers);
        self.open_streams(slots.iter().copied())
    }

    /// The open streams with this tag, those first that were given it last.
    ///
    /// # Cost
    /// As of [`streams`](Self::streams).
    ///
    /// ```
    /// # use mio_sse::{Context, Event, StreamId};
    /// /// Has a user no more than one stream: the newest.
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

    /// Gives a stream a tag: the user, the session, the document that it belongs to. Giving it twice is
    /// giving it once. A stream has its tags until it ends, or [loses](Self::untag) one before. While a
    /// request is being answered this works as well, as does [`StreamReply::tag`](crate::StreamReply::tag).
    ///
    /// A tag that is [revoked](Self::revoke) ends the stream: one that is about to be opened is answered 204
    /// instead, whatever else is done to it meanwhile, and one that is open is closed with
    /// [`CloseReason::Revoked`].
    ///
    /// # Cost
    /// Some 30 bytes for each tag of a stream, and some 35 more for a tag that no other stream has, with its
    /// name where that is longer than 14 bytes; a stream without tags costs nothing. The time it takes does
    /// not depend on other streams.
    ///
    /// # Errors
    /// [`Error::Closed`] if the stream has ended, or was open and ends by this; [`Error::TooManyTags`], see
    /// [`Config::tags_max`](crate::Config::tags_max).
    pub fn tag(&mut self, stream: StreamId, tag: &str) -> Result<(), Error> {
        self.core.at_stream(stream, tag, Core::tag)
    }

    /// Takes a tag from a stream. Without the tag nothing happens.
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

    /// Sends an event to every stream with this tag, in order with everything published and sent to it.
    /// Returns how many get it: a stream that ends with this, because more than
    /// [`lag_bytes_max`](crate::Config::lag_bytes_max) waits for it, does not.
    ///
    /// The event is encoded once and copied once for each stream with the tag; no other stream is looked at.
    /// For many streams that all get the same for long, a topic is cheaper: there the copy is one for all.
    ///
    /// ```
    /// # use mio_sse::{Event, Reply, Router};
    /// let mut app = Router::new();
    /// app.get("/events/{user}", |request, _cx| {
    ///     Reply::stream().topic("news").tag(request.param("user").unwrap_or_default())
    /// });
    /// // All tabs of one user hear of it, on the streams that they have anyway.
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

    /// [Closes](Self::close) every stream with this tag, cleanly. Returns how many.
    ///
    /// Cost: only streams with the tag are looked at. A thousand are closed at once, and of more as many in
    /// each of the next turns, so what is published in between may still reach some of them.
    pub fn close_tagged(&mut self, tag: &str) -> usize {
        let (tag, count) = (Box::<str>::from(tag), self.core.tags.count(tag));
        self.core.together(move |core| core.close_tagged(&tag), |_| count)
    }

    /// Closes every stream with this tag, cleanly, with [`CloseReason::Revoked`], and until `time` has passed
    /// answers 204 where a stream would be opened with it, so that EventSource does not come back. For a
    /// session that is logged out, a user whose rights have gone. Returns how many streams are closed by
    /// this.
    ///
    /// Revoking a tag again makes the time longer if it ends later, never shorter: the caller that asked for
    /// the longer time relies on it. [`Duration::MAX`] is for ever; [`Duration::ZERO`] ends with this turn.
    ///
    /// Where there are thousands they are closed over several turns, as by
    /// [`close_tagged`](Self::close_tagged); that none is opened holds at once.
    ///
    /// This tells clients to stop; it is not what keeps others out. It holds for one server and until that is
    /// stopped, so handlers still have to check who asks.
    ///
    /// Costs some 150 bytes and the tag until the time is over, and no timer;
    /// [`Config::revoked_max`](crate::Config::revoked_max) limits how many there are.
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

    /// Ends the time for which a tag is revoked. Returns whether it was. Clients that were answered 204 do
    /// not come back by themselves.
    pub fn unrevoke(&mut self, tag: &str) -> bool {
        let (tag, is_revoked) = (Box::<str>::from(tag), self.is_revoked(tag));
        self.core.now_and_in_order(move |core| core.unrevoke(&tag), |_| is_revoked)
    }

    /// Whether a tag is revoked at this moment. A stream with such a tag is answered 204 by itself. This is
    /// for handlers that let nobody open one any more, and would say less politely that it is over:
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

    /// Gives a stream a source of events, which is asked for the next one whenever there is room for it: see
    /// [`Source`]. It takes the place of the one that the stream has, if it has one. Events that are sent or
    /// published to the stream come in between.
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

    /// Has another thread write the stream, with up to `ahead` events, at least one, that the client has not
    /// taken yet: a model that answers word by word, a query, a file. The channel is the stream's
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
    ///             // An error says that the client has left: nobody waits for the result any more.
    ///             progress.send(Event::new().data(format!("{percent} %")))?;
    ///         }
    ///         // It is dropped here, and the stream ends.
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

    /// Has the source of a stream asked again that is [idle](crate::Pull::Idle) or waits. It is asked when
    /// the stream has room; where it is being asked in any case, and for a stream without a source, this
    /// changes nothing.
    ///
    /// # Errors
    /// [`Error::Closed`].
    pub fn wake(&mut self, stream: StreamId) -> Result<(), Error> {
        match self.core.way_elsewhere(stream) {
            Some(inbox) => inbox.put_of_handler(Order::Wake { stream }),
            None => self.core.wake(stream),
        }
    }

    /// Calls `callback` every `period` while the stream lives, for the first time after one period. The timer
    /// dies with the stream.
    ///
    /// The period is at least a millisecond. Times that pass while the loop is held up are left out.
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
    /// Some 60 bytes while the stream lives, and what `callback` holds; O(log n) each time, where n is the
    /// number of timers.
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

    /// Calls `callback` every `period` until it is cancelled: a timer that belongs to no stream.
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

    /// Calls `callback` once, after `delay`: a timer that belongs to no stream.
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

    /// Cancels a timer, also from within its own callback. Returns whether there was anything to cancel.
    pub fn cancel(&mut self, timer: TimerId) -> bool {
        self.core.remove_timer(timer)
    }

    /// While a request is being answered: calls `callback` when its stream has opened, before anything is
    /// sent, and not at all if none opens: since the reply is no stream, the request is HEAD, or the stream
    /// is refused. So this is the place for what has to be undone when the stream ends, by
    /// [`on_close`](Self::on_close) or [`Handler::closed`](crate::Handler::closed): both happen, or neither.
    /// Elsewhere `callback` is dropped.
    ///
    /// Several are called in order, and [`Handler::opened`](crate::Handler::opened) after them. What they
    /// send comes after what the handler of the request has sent, and a topic that they subscribe the stream
    /// to begins there.
    ///
    /// A stream that the handler has closed already, or which has nothing to come, opens as well, and its end
    /// is told after this. Nothing but `on_close` can be given to it by then, all else fails with
    /// [`Error::Closed`]: so give `on_close` before what may fail.
    ///
    /// A panic ends the stream with [`CloseReason::Panicked`]. The callbacks after it are dropped uncalled;
    /// `opened` and `closed` are called, as the stream has opened.
    ///
    /// ```
    /// # use mio_sse::{Event, Reply, Router};
    /// let mut app = Router::new();
    /// app.get("/room", |_request, cx| {
    ///     cx.on_open(|stream, cx| {
    ///         cx.publish("room", "somebody has come")?;
    ///         cx.on_close(stream, |_reason, cx| cx.publish("room", "somebody has left"))
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
        // One that lags too far has ended before it could open.
        if self.stream.is_some_and(|stream| self.core.delivery.stream(stream.slot).is_some()) {
            self.core.on_open.push(callback);
        }
    }

    /// Calls `callback` once when the stream ends, whichever side ends it, with the reason. Several are
    /// called in the order they were added.
    ///
    /// A stream that does not open does not end either: what was given to one while its request was answered
    /// is dropped without being called where the request is HEAD or the stream is refused. So what `callback`
    /// is to undo is best done in [`on_open`](Self::on_open), which has an example,
    /// or in [`Handler::opened`](crate::Handler::opened).
    ///
    /// # Cost
    /// Some 40 bytes while the stream lives, and what `callback` holds.
    ///
    /// # Errors
    /// [`Error::Closed`]: it has ended already, and `callback` is dropped.
    pub fn on_close<O: Outcome>(
        &mut self,
        stream: StreamId,
        callback: impl FnOnce(CloseReason, &mut Context<'_, S>) -> O + Send + 'static,
    ) -> Result<(), Error> {
        // One that was closed before it opened ends in this turn.
        if self.core.opening != Some(stream) {
            self.core.delivery.slots.live(stream)?;
        }
        let callback = Box::new(move |reason, core: &mut Core, state: &mut dyn Any| {
            Context::enter(core, state, None, |cx| callback(reason, cx).settle());
        });
        self.core.hooks.add_on_close(stream, callback);
        Ok(())
    }

    /// The state that a stream was given [with its reply](crate::StreamReply::with), if it is of that type.
    /// It is there from when the stream opens until its end has been told, to [`on_close`](Self::on_close)
    /// and [`Handler::closed`](crate::Handler::closed) last.
    pub fn of<T: Any>(&mut self, stream: StreamId) -> Option<&mut T> {
        self.core.hooks.state(stream)?.downcast_mut()
    }

    /// The server's clock: time since some moment in the past, the same during a whole turn.
    #[must_use]
    pub fn now(&self) -> Duration {
        self.core.now
    }

    /// What the server has counted so far.
    #[must_use]
    pub fn stats(&self) -> Stats {
        self.core.stats_of_all()
    }

    /// Shuts the server down gracefully. It takes no more connections, and closes those at once that are
    /// idle. Each stream is closed at a moment of its own within the window, with [`CloseReason::Drained`],
    /// after everything that was published to it before, the farewell if there is one, and a `retry:`. When
    /// all have gone, or the time is over, [`Server::run`](crate::Server::run) returns. So clients come back
    /// to the next server spread over the window, and no event is cut in two.
    ///
    /// Streams that were opened with [`StreamReply::finish`](crate::StreamReply::finish) are left to end by
    /// themselves until the [deadline](Drain::deadline). [`Handler::draining`](crate::Handler::draining) is
    /// called, and [`Source::draining`](crate::Source::draining) of each source, which may bring its last
    /// words; [`EventSender::is_draining`] tells other threads. What opens a stream on a connection that is
    /// still there is refused like one too many.
    ///
    /// A second call stops the server [now](Self::stop), as a second Ctrl-C should.
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

    /// Stops the server at the end of this turn: every stream is closed with [`CloseReason::Stopped`], or,
    /// where it [drains](Self::drain), with [`CloseReason::Drained`] and its farewell, and
    /// [`Server::run`](crate::Server::run) returns.
    pub fn stop(&mut self) {
        self.core.together(|core| core.stopping = true, |_| ());
    }
}

/// The state of those who have none.
pub(crate) fn stateless() -> &'static mut () {
    // Nothing is allocated for nothing.
    Box::leak(Box::new(()))
}

/// What a callback may answer: nothing, or a result whose error is logged, as a warning unless it is
/// [`Error::Closed`].
///
/// So that a callback can end in `cx.send(…)` and use `?`.
pub trait Outcome: Sealed {
    #[doc(hidden)]
    fn settle(self);
}

impl Sealed for TimerId {}

impl Outcome for () {
    fn settle(self) {}
}

/// The last thing that was done was setting a timer.
impl Outcome for TimerId {
    fn settle(self) {}
}

impl<T, E: fmt::Display + 'static> Outcome for Result<T, E> {
    fn settle(self) {
        match self {
            Ok(_) => {}
            // Its client has left, or does not read: that is no news.
            Err(error) if found::<Error>(&error) == Some(&Error::Closed) => {
                log::debug!("a callback: {error}");
            }
            Err(error) => log::warn!("a callback failed: {error}"),
        }
    }
}
