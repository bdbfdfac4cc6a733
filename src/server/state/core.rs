//! The state of the loop without its sockets: all that a handler can reach through its
//! [`Context`](crate::Context).
//!
//! No function here does I/O. Bytes to write are left in logs, and the stream is queued to be served. So
//! handlers mark, and steps 7 to 9 act: handlers never nest. Sockets are stored beside the slots, not in
//! them, so nothing here is generic over the network.
//!
//! `Core` keeps closures of the application that take `&mut Core` and the application's state as `dyn Any`.
//! The server passes the state of its `App` with each call, and the typed `Context` is built where the
//! closure is stored. A server has one state, so the type is always right, and `Core` knows neither type.

use crate::account::{Account, Purpose};
use crate::config::Config;
use crate::conn::close_reason::CloseReason;
use crate::conn::id::StreamId;
use crate::conn::list::List;
use crate::conn::refusal::Refusal;
use crate::conn::slots::Slots;
use crate::conn::ticket::Awaited;
use crate::delivery::compressor::Compressor;
use crate::delivery::delivery::Delivery;
use crate::delivery::stream::Phase;
use crate::error::Error;
use crate::event::Event;
use crate::http::parse::request::Request;
use crate::http::reply::reply::Reply;
use crate::peer::Peer;
use crate::server::api::access::Access;
use crate::server::api::memory::Memory;
use crate::server::api::observer::{Audience, Message, Observer};
use crate::server::api::stats::Stats;
use crate::server::api::work::Work;
use crate::server::state::draining::{DrainFlag, Draining};
use crate::server::state::guard::catch;
use crate::server::state::hooks::Hooks;
use crate::server::state::inbox::{Inbox, Order};
use crate::server::state::log_limit::LogLimit;
use crate::server::state::pressure::{Pressure, Stage};
use crate::server::state::remain::Remains;
use crate::server::state::scatter::scatter;
use crate::server::state::tags::Tags;
use crate::server::state::ticks::ticks;
use crate::server::state::timers::{TimerId, Timers};
use crate::shards::link::Link;
use crate::topic::frame::EncodedEvent;
use crate::topic::history::TopicConfig;
use crate::topic::ids::Maker;
use crate::topic::position::Position;
use crate::topic::topics::{TopicKey, Topics};
use std::any::Any;
use std::collections::{HashSet, VecDeque};
use std::fmt;
use std::iter;
use std::panic::resume_unwind;
use std::sync::Arc;
use std::time::{Duration, UNIX_EPOCH};

/// Work of another thread for the loop.
pub(crate) enum Job {
    Run(Closure),
    /// The reply to a request that waits for it.
    Reply(StreamId, Awaited, LateReply),
}

/// A closure of another thread. Here as below, the code that stores a callback makes a `Context` of the core
/// and the application's state.
pub(crate) type Closure = Box<dyn FnOnce(&mut Core, &mut dyn Any) + Send>;

/// Makes the reply to a request. The id is that of the stream, if the reply is one.
pub(crate) type LateReply = Box<dyn FnOnce(&Request<'_>, StreamId, &mut Core, &mut dyn Any) -> Reply + Send>;

/// The callback of a timer, which gets the stream that the timer belongs to, if any.
pub(crate) type Callback = Box<dyn FnMut(Option<StreamId>, &mut Core, &mut dyn Any) + Send>;

/// An `on_open` callback.
pub(crate) type OnOpen = Box<dyn FnOnce(StreamId, &mut Core, &mut dyn Any) + Send>;

/// An `on_close` callback.
pub(crate) type OnClose = Box<dyn FnOnce(CloseReason, &mut Core, &mut dyn Any) + Send>;

pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) delivery: Delivery<Slots>,
    pub(crate) timers: Timers<Callback>,
    pub(crate) stats: Stats,
    pub(crate) inbox: Inbox<Job>,
    /// Bytes of messages in the inbox when it was last checked.
    pub(crate) inbox_bytes: usize,
    /// Bytes that the network held at the end of the last turn.
    pub(crate) network_bytes: usize,
    /// Memory held besides logs.
    pub(crate) account: Account,
    pub(crate) pressure: Pressure,
    pub(crate) memory_log: LogLimit,
    /// The time, read once a turn.
    pub(crate) now: Duration,
    pub(crate) hooks: Hooks<OnClose>,
    /// Invariant: only live streams are here.
    pub(crate) tags: Tags,
    /// Whether the stream that is being opened has a revoked tag.
    pub(crate) opening_revoked: bool,
    pub(super) revoked_log: LogLimit,
    /// Why the current request cannot open a stream, as far as that does not depend on the reply.
    pub(crate) opening_refused: Option<Refusal>,
    /// Callbacks for when the stream of the current request opens.
    pub(crate) on_open: Vec<OnOpen>,
    /// The stream whose opening is being reported.
    pub(crate) opening: Option<StreamId>,
    /// Each request that waits for a later reply holds a clone.
    pub(crate) late_replies: Arc<()>,
    /// Later replies that have arrived.
    pub(crate) late: VecDeque<(StreamId, Awaited, LateReply)>,
    /// Streams with room, whose sources are to be asked. Invariant: each is here once, and its source has
    /// state `Ready`.
    pub(crate) ready_sources: VecDeque<StreamId>,
    /// Streams that have ended, to be reported at the end of this turn.
    pub(crate) ended: Vec<(StreamId, CloseReason)>,
    /// Slots to be freed at the end of this turn.
    pub(crate) closed: Vec<u32>,
    /// Connections that may have something to read and wait for a later turn.
    pub(crate) unread: Vec<u32>,
    /// Streams that may be finished because one of their topics has finished.
    pub(super) finishing: VecDeque<u32>,
    /// Bytes that streams closed together have copied from keyed logs in this turn.
    pub(crate) taken_together: u64,
    /// Values of the application to drop at the end of this turn.
    pub(crate) remains: Remains,
    pub(crate) stopping: bool,
    pub(crate) drain: Option<Draining>,
    /// Whether the server drains, for threads that write streams.
    pub(crate) is_draining: DrainFlag,
    pub(crate) observers: Vec<Box<dyn Observer + Send>>,
    /// The link to other loops, if this is one of several.
    pub(crate) link: Option<Link<Job>>,
    /// The work of this turn so far.
    pub(crate) work: Work,
    /// The number of calls of `scatter`.
    scattered: u32,
    encoded: EncodedEvent,
}

/// The divisor of `memory_max` that bounds the encoders of topics.
const CHAINS_PART: usize = 8;

impl Core {
    pub(crate) fn new(config: Config, inbox: Inbox<Job>, maker: Maker, now: Duration) -> Self {
        let account = Account::default();
        Self {
            delivery: Delivery::new(
                Topics::new(config.topic, maker, account.clone()),
                config.lag_bytes_max,
                config.gap_event.clone(),
                Compressor::new(config.gzip_level(), config.memory_max / CHAINS_PART, account.clone()),
                account.clone(),
            ),
            config,
            timers: Timers::default(),
            stats: Stats::default(),
            inbox,
            inbox_bytes: 0,
            network_bytes: 0,
            account,
            pressure: Pressure::default(),
            memory_log: LogLimit::default(),
            now,
            hooks: Hooks::default(),
            tags: Tags::default(),
            opening_revoked: false,
            revoked_log: LogLimit::default(),
            opening_refused: None,
            on_open: Vec::new(),
            opening: None,
            late_replies: Arc::default(),
            late: VecDeque::new(),
            ready_sources: VecDeque::new(),
            ended: Vec::new(),
            closed: Vec::new(),
            unread: Vec::new(),
            finishing: VecDeque::new(),
            taken_together: 0,
            remains: Remains::default(),
            stopping: false,
            drain: None,
            is_draining: DrainFlag::default(),
            observers: Vec::new(),
            link: None,
            work: Work::default(),
            scattered: 0,
            encoded: EncodedEvent::default(),
        }
    }

    pub(crate) fn tick(&self) -> u32 {
        ticks(self.now)
    }

    pub(crate) fn stats(&self) -> Stats {
        let mut stats = self.stats;
        stats.connections = stats.accepted - stats.all_connections_closed();
        stats.streams = stats.streams_opened - stats.streams_closed();
        stats.streams_behind = self.delivery.pinning;
        stats.events_delivered = self.delivery.delivered.events;
        stats.bytes_written += self.delivery.delivered.bytes;
        stats.gaps += self.delivery.delivered.gaps;
        stats.topics = self.delivery.topics.len() as u64;
        stats.log_bytes = self.delivery.topics.log_bytes() as u64;
        stats.memory =
            Memory { inbox: self.account.sum(Purpose::Channels) + self.inbox.bytes(), ..self.memory() };
        stats.memory_max = self.config.memory_max as u64;
        stats.memory_pressure = match self.pressure.stage() {
            _ if self.memory_is_full() => 5,
            Stage::Calm => 0,
            Stage::Waiting { .. } => 1,
            Stage::Cutting { .. } => 2,
            Stage::Shortening { .. } => 3,
            Stage::Stuck { .. } => 4,
        };
        stats.late_replies = self.count_late_replies() as u64;
        stats.timers = self.timers.len() as u64;
        stats.tags = self.tags.len() as u64;
        stats.tags_revoked = self.tags.revoked() as u64;
        (stats.inbox, stats.inbox_full) = self.inbox.counts();
        stats
    }

    /// The number of requests that wait for a later reply.
    pub(crate) fn count_late_replies(&self) -> usize {
        Arc::strong_count(&self.late_replies) - 1
    }

    // Events.

    pub(crate) fn publish<'t>(
        &mut self,
        topics: impl Iterator<Item = &'t str> + Clone,
        event: &Event<'_>,
        at: Option<Position>,
    ) -> Result<(), Error> {
        if self.is_linked() {
            return self.publish_together(topics, event, at);
        }
        self.encode(event, |core, encoded| match at {
            None => core.publish_encoded(topics, encoded),
            Some(position) => core.publish_at(topics, encoded, position),
        })?
    }

    /// Calls `work` with the encoded event, which reuses the buffer of the last one.
    pub(crate) fn encode<T>(
        &mut self,
        event: &Event<'_>,
        work: impl FnOnce(&mut Self, &EncodedEvent) -> T,
    ) -> Result<T, Error> {
        let mut encoded = std::mem::take(&mut self.encoded);
        let result = encoded.encode_checked(event, self.config.id_bytes_max());
        let result = result.map(|()| work(self, &encoded));
        self.encoded = encoded;
        result
    }

    pub(crate) fn publish_encoded<'t>(
        &mut self,
        topics: impl Iterator<Item = &'t str> + Clone,
        event: &EncodedEvent,
    ) -> Result<(), Error> {
        for topic in topics.clone() {
            self.delivery.topics.accepts(topic, event, None)?;
        }
        // Removing a key frees memory, so it is always allowed.
        if !event.removes_key() {
            self.has_memory()?;
        }
        self.make_room_for_topics(topics.clone(), Topics::would_add)?;
        self.delivery.topics.publish(topics.clone(), event, None);
        self.stats.events_published += 1;
        topics.for_each(|topic| self.observe(Audience::Topic(topic), event));
        Ok(())
    }

    /// Finishes a topic.
    pub(crate) fn finish_topic(&mut self, topic: &str) -> Result<(), Error> {
        self.make_room_for_topics(iter::once(topic), Topics::would_add)?;
        let Some(key) = self.delivery.topics.finish(topic) else { return Ok(()) };
        self.finishing.extend(self.delivery.topics.get(key).subscribers.iter());
        self.close_next_together();
        Ok(())
    }

    /// Finishes a topic in all loops, at one place in the order of events.
    pub(crate) fn finish_topic_together(&mut self, topic: &str) -> Result<(), Error> {
        self.make_room_for_topics(iter::once(topic), Topics::would_add)?;
        let topic: Box<str> = topic.into();
        self.in_order(move |core| core.finish_topic(&topic)).unwrap_or(Ok(()))
    }

    /// Configures a topic.
    pub(crate) fn configure(&mut self, topic: &str, config: TopicConfig) -> Result<(), Error> {
        config.check()?;
        let key = self.delivery.topics.key(topic);
        let changes = self.delivery.topics.ids_of(topic) != config.kind_of_ids();
        if let Some(key) = key.filter(|_| changes)
            && self.delivery.would_mix(key, config.kind_of_ids())
        {
            return Err(Error::MixedIds);
        }
        if !self.delivery.topics.configure(topic, config, self.config.topics_max) {
            return Err(Error::TooManyTopics);
        }
        if let Some(key) = key.filter(|_| changes) {
            self.delivery.wait_no_longer(key);
        }
        Ok(())
    }

    /// Configures a topic in all loops.
    pub(crate) fn configure_together(&mut self, topic: &str, config: TopicConfig) -> Result<(), Error> {
        self.configure(topic, config)?;
        if self.is_linked() {
            // Applied again in this loop, so the last configuration in the order wins in all loops.
            let topic: Box<str> = topic.into();
            self.in_order(move |core| core.configure(&topic, config));
        }
        Ok(())
    }

    /// Makes sure that those of `topics` that have to be added fit into `topics_max`. Topics that became idle
    /// in this turn do not count.
    pub(super) fn make_room_for_topics<'t>(
        &mut self,
        topics: impl Iterator<Item = &'t str> + Clone,
        adds: fn(&Topics, &str) -> bool,
    ) -> Result<(), Error> {
        let has_room = |core: &Self, count| core.delivery.topics.len() + count <= core.config.topics_max;
        // Nearly always there is room, so nothing is looked up.
        if has_room(self, topics.clone().count()) {
            return Ok(());
        }
        let new: HashSet<_> = topics.filter(|topic| adds(&self.delivery.topics, topic)).collect();
        if new.is_empty() {
            return Ok(());
        }
        self.delivery.topics.free_idle();
        if has_room(self, new.len()) { Ok(()) } else { Err(Error::TooManyTopics) }
    }

    pub(crate) fn send(&mut self, id: StreamId, event: &Event<'_>) -> Result<(), Error> {
        if let Some(shard) = self.way_to(id)? {
            let mut encoded = EncodedEvent::default();
            encoded.encode_checked(event, self.config.id_bytes_max())?;
            return self.put_to(shard, Order::Send { stream: id, event: encoded });
        }
        self.delivery.slots.live(id)?;
        self.encode(event, |core, encoded| core.send_encoded(id, encoded))?
    }

    pub(crate) fn send_encoded(&mut self, id: StreamId, event: &EncodedEvent) -> Result<(), Error> {
        // The stream may never open, so `open` counts events sent before and reports them.
        let opening = self.delivery.slots.live(id)?.phase == Phase::Opening;
        self.has_memory()?;
        let too_much = self.delivery.send(id.slot, event.bytes(), event.kind());
        if !opening {
            self.stats.events_sent += 1;
            self.observe(Audience::Stream(id), event);
        }
        if too_much {
            self.end(id.slot, CloseReason::Lagged);
            return Err(Error::Closed);
        }
        Ok(())
    }

    pub(crate) fn observe(&mut self, to: Audience<'_>, event: &EncodedEvent) {
        if !self.observers.is_empty() {
            let message = Message { to, text: event.text() };
            self.tell(|observer| observer.message(&message));
        }
    }

    /// Reports a reply to observers.
    pub(crate) fn tell_access(
        &mut self,
        request: Option<&Request<'_>>,
        peer: Option<Peer>,
        status: u16,
        body_bytes: Option<usize>,
    ) {
        let time = UNIX_EPOCH + Duration::from_millis(self.delivery.topics.unix_ms());
        let access = Access { request: request.copied(), peer, status, body_bytes, time };
        self.tell(|observer| observer.access(&access));
    }

    /// Calls every observer. To be called last: if panics propagate, the code after it does not run.
    pub(crate) fn tell(&mut self, tell: impl Fn(&mut dyn Observer)) {
        let mut observers = std::mem::take(&mut self.observers);
        for observer in &mut observers {
            self.guard("an observer", |_core| tell(&mut **observer));
        }
        self.observers = observers;
    }

    /// Runs `work`, which is application code. Returns `None` if it panics: the panic is logged and counted,
    /// or propagates to the caller of the loop.
    ///
    /// The core stays consistent: no application code runs in the middle of a change to it. Observers are
    /// called at the end of one.
    pub(crate) fn guard<T>(
        &mut self,
        what: impl fmt::Display,
        work: impl FnOnce(&mut Self) -> T,
    ) -> Option<T> {
        match catch(what, || work(self)) {
            Ok(value) => Some(value),
            Err(panic) => {
                self.stats.panics += 1;
                if self.config.propagate_panics {
                    resume_unwind(panic);
                }
                self.remains.add(panic);
                None
            }
        }
    }

    /// Appends `retry:` to everything else that waits for one stream.
    pub(crate) fn append_retry(&mut self, slot: u32, delay: Duration) {
        if let Ok(retry) = EncodedEvent::new(&Event::new().retry(delay)) {
            self.delivery.send(slot, retry.bytes(), retry.notice());
        }
    }

    /// A delay between `delay` and twice as much, spread evenly over the calls.
    pub(crate) fn scatter(&mut self, delay: Duration) -> Duration {
        self.scattered = self.scattered.wrapping_add(1);
        // No client waits for longer, and a far longer delay would overflow when multiplied.
        let delay = delay.min(DELAY_MAX);
        delay + delay.mul_f64(f64::from(scatter(self.scattered)) / f64::from(u32::MAX))
    }

    // Subscriptions.

    pub(crate) fn subscribe(&mut self, id: StreamId, topic: &str) -> Result<(), Error> {
        self.delivery.slots.live(id)?;
        self.subscribe_slot(id.slot, topic)?;
        self.end_if_finished(id.slot);
        Ok(())
    }

    pub(super) fn subscribe_slot(&mut self, slot: u32, topic: &str) -> Result<(), Error> {
        let count = self.delivery.stream(slot).map_or(0, |stream| stream.topics().count());
        if self.delivery.subscription(slot, topic).is_some() {
            return Ok(());
        }
        if count >= self.config.subscriptions_max {
            return Err(Error::TooManySubscriptions);
        }
        if let Some(has) = self.delivery.ids_of(slot)
            && self.delivery.topics.ids_of(topic).is_some_and(|gets| gets != has)
        {
            return Err(Error::MixedIds);
        }
        self.make_room_for_topics(iter::once(topic), Topics::is_new)?;
        self.delivery.subscribe(slot, topic);
        Ok(())
    }

    pub(crate) fn unsubscribe(&mut self, id: StreamId, topic: &str) -> Result<(), Error> {
        self.delivery.slots.live(id)?;
        if let Some(topic) = self.delivery.subscription(id.slot, topic)
            && self.delivery.unsubscribe(id.slot, topic)
        {
            self.feed_again(id.slot);
        }
        self.end_if_finished(id.slot);
        Ok(())
    }

    /// Begins a wave of a topic, and closes the streams that lag too far.
    pub(crate) fn begin_wave(&mut self, key: TopicKey) {
        self.delivery.begin_wave(key);
        self.end_lagged();
    }

    /// Closes the streams that lag too far.
    pub(crate) fn end_lagged(&mut self) {
        while let Some(slot) = self.delivery.lagged.pop() {
            // A stream is listed once for each topic.
            let is_there = self.delivery.stream(slot).is_some();
            self.stats.memory_cut += u64::from(is_there && self.pressure.is_cutting());
            self.end(slot, CloseReason::Lagged);
        }
    }

    /// See `Server::shrink_buffers`.
    pub(crate) fn shrink_buffers(&mut self, bytes: usize, streams: usize) {
        self.delivery.shrink_buffers(bytes, streams);
        self.encoded.shrink(bytes);
        self.ready_sources.give_back(streams);
        self.ended.give_back(streams);
        self.closed.give_back(streams);
        self.unread.give_back(streams);
        self.finishing.give_back(streams);
        // A stream may leave several values to drop.
        self.remains.give_back(4 * streams);
    }

    // Timers.

    /// Adds a timer, which belongs to a stream or to none.
    pub(crate) fn add_timer(
        &mut self,
        delay: Duration,
        period: Option<Duration>,
        owner: Option<StreamId>,
        callback: Callback,
    ) -> TimerId {
        debug_assert!(owner.is_none_or(|id| self.delivery.slots.live(id).is_ok()), "it ends with its stream");
        self.timers.add(self.now.saturating_add(delay), period, owner.map(|id| id.slot), callback)
    }

    /// Removes a timer. Returns whether it existed.
    pub(crate) fn remove_timer(&mut self, id: TimerId) -> bool {
        let Some(callback) = self.timers.remove(id) else { return false };
        self.remains.add_all(callback);
        true
    }
}

/// The longest delay that clients are asked to wait, before it is scattered.
const DELAY_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);
