//! Everything the loop knows but the sockets: what a handler can reach, through its [`Context`](crate::Context).
//!
//! No function here does I/O. What has to be written is left in logs, and the stream in the queue of those to be served.

use crate::config::Config;
use crate::conn::close_reason::CloseReason;
use crate::conn::id::StreamId;
use crate::conn::refusal::Refusal;
use crate::conn::slot::{Flags, Phase, Stream};
use crate::conn::slots::Slots;
use crate::delivery::cursor::Source;
use crate::delivery::extras::{SpareExtras, Subscription};
use crate::error::Error;
use crate::event::Event;
use crate::http::reply::stream_reply::StreamReply;
use crate::server::api::observer::{Audience, Message, Observer};
use crate::server::api::stats::Stats;
use crate::server::state::draining::Draining;
use crate::server::state::guard::catch;
use crate::server::state::hooks::Hooks;
use crate::server::state::inbox::Inbox;
use crate::server::state::rarely::Rarely;
use crate::server::state::scatter::scatter;
use crate::server::state::tags::Tags;
use crate::server::state::ticks::ticks;
use crate::server::state::timers::{TimerId, Timers};
use crate::topic::block::Block;
use crate::topic::frame::{EncodedEvent, Kind};
use crate::topic::history::Overflow;
use crate::topic::log::{Log, Place};
use crate::topic::topics::{STRIDE, TopicKey, Topics};
use std::collections::{HashMap, VecDeque};
use std::panic::resume_unwind;
use std::time::Duration;

/// What another thread has done in the loop. Here as below, whoever stores a callback of the application makes a `Context` of the
/// core.
pub(crate) type Work = Box<dyn FnOnce(&mut Core) + Send>;

/// What a timer calls.
pub(crate) type Callback = Box<dyn FnMut(&mut Core) + Send>;

/// What is called when a stream ends.
pub(crate) type OnClose = Box<dyn FnOnce(CloseReason, &mut Core) + Send>;

pub(crate) struct Core {
    pub(crate) config: Config,
    pub(crate) slots: Slots,
    pub(crate) topics: Topics,
    pub(crate) timers: Timers<Callback>,
    pub(crate) stats: Stats,
    pub(crate) inbox: Inbox<Work>,
    /// Read once a turn.
    pub(crate) now: Duration,
    pub(crate) hooks: HashMap<StreamId, Hooks<OnClose>>,
    /// Invariant: only live streams are here.
    pub(crate) tags: Tags,
    /// Whether the stream that is being opened has a tag that is revoked.
    pub(crate) opening_revoked: bool,
    forgetful: Rarely,
    /// Streams to be served in the next flush. Invariant: each is here once, and marked so.
    pub(crate) queue: VecDeque<u32>,
    /// Streams with room, whose sources are to be asked for more. Invariant: each is here once, and its source says so.
    pub(crate) hungry: VecDeque<StreamId>,
    /// Streams that have ended in this turn, to be reported at its end.
    pub(crate) ended: Vec<(StreamId, CloseReason)>,
    /// Slots to be freed at the end of this turn.
    pub(crate) closed: Vec<u32>,
    /// Connections with something to read that have not had their turn.
    pub(crate) unread: Vec<u32>,
    /// Where frames are copied together that do not lie in one piece.
    pub(crate) scratch: Block,
    pub(crate) spare_extras: SpareExtras,
    pub(crate) stopping: bool,
    pub(crate) drain: Option<Draining>,
    pub(crate) observers: Vec<Box<dyn Observer + Send>>,
    /// Streams that are not given everything yet: the sum of all `Stream::behind`, save for those not open yet.
    pub(crate) behind: u64,
    /// How often something was scattered.
    scattered: u32,
    encoded: EncodedEvent,
}

impl Core {
    pub(crate) fn new(config: Config, inbox: Inbox<Work>, now: Duration) -> Self {
        Self {
            topics: Topics::new(config.topic),
            config,
            slots: Slots::default(),
            timers: Timers::default(),
            stats: Stats::default(),
            inbox,
            now,
            hooks: HashMap::new(),
            tags: Tags::default(),
            opening_revoked: false,
            forgetful: Rarely::default(),
            queue: VecDeque::new(),
            hungry: VecDeque::new(),
            ended: Vec::new(),
            closed: Vec::new(),
            unread: Vec::new(),
            scratch: Block::default(),
            spare_extras: SpareExtras::default(),
            stopping: false,
            drain: None,
            observers: Vec::new(),
            behind: 0,
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
        stats.streams_behind = self.behind;
        stats.topics = self.topics.len() as u64;
        stats.log_bytes = self.topics.log_bytes() as u64;
        stats.timers = self.timers.len() as u64;
        stats.tags = self.tags.len() as u64;
        stats.tags_revoked = self.tags.revoked() as u64;
        (stats.inbox, stats.inbox_full) = self.inbox.counts();
        stats
    }

    // Events.

    pub(crate) fn publish(&mut self, topic: &str, event: &Event) -> Result<(), Error> {
        self.encode(event, |core, encoded| core.publish_encoded(topic, encoded))?
    }

    /// Has `work` done with the event as it is sent, which is written where the last one was.
    pub(crate) fn encode<T>(
        &mut self,
        event: &Event,
        work: impl FnOnce(&mut Self, &EncodedEvent) -> T,
    ) -> Result<T, Error> {
        let mut encoded = std::mem::take(&mut self.encoded);
        let result = encoded.encode(event).map_err(Error::from);
        let result = result.map(|()| work(self, &encoded));
        self.encoded = encoded;
        result
    }

    pub(crate) fn publish_encoded(&mut self, topic: &str, event: &EncodedEvent) -> Result<(), Error> {
        if self.topics.len() >= self.config.topics_max && self.topics.would_add(topic) {
            self.make_room_for_topic()?;
        }
        self.topics.publish(topic, event);
        self.stats.events_published += 1;
        self.observe(Audience::Topic(topic), event);
        Ok(())
    }

    /// Topics that were left in this turn do not count.
    fn make_room_for_topic(&mut self) -> Result<(), Error> {
        self.topics.free_idle();
        if self.topics.len() < self.config.topics_max { Ok(()) } else { Err(Error::TooManyTopics) }
    }

    pub(crate) fn send(&mut self, id: StreamId, event: &Event) -> Result<(), Error> {
        self.slots.live(id)?;
        self.encode(event, |core, encoded| core.send_encoded(id, encoded))?
    }

    pub(crate) fn send_encoded(&mut self, id: StreamId, event: &EncodedEvent) -> Result<(), Error> {
        // Before the stream is open nobody knows whether it will be: `open` tells of what was sent to it.
        let opening = self.slots.live(id)?.phase == Phase::Opening;
        let waiting = self.append_private(id.slot, event.bytes(), event.kind());
        if !opening {
            self.stats.events_sent += 1;
            self.observe(Audience::Stream(id), event);
        }
        if waiting > self.config.lag_bytes_max {
            self.end(id.slot, CloseReason::Lagged);
            return Err(Error::Closed);
        }
        Ok(())
    }

    pub(crate) fn send_tagged(&mut self, tag: &str, event: &Event) -> Result<usize, Error> {
        self.encode(event, |core, encoded| core.send_tagged_encoded(tag, encoded))
    }

    /// Answers how many streams were sent the event, and go on.
    pub(crate) fn send_tagged_encoded(&mut self, tag: &str, event: &EncodedEvent) -> usize {
        // Before the streams that lag by this are closed.
        self.observe(Audience::Tag(tag), event);
        let mut count = 0;
        self.each_tagged(tag, |core, id| {
            let waiting = core.append_private(id.slot, event.bytes(), event.kind());
            core.stats.events_sent += 1;
            if waiting > core.config.lag_bytes_max {
                core.end(id.slot, CloseReason::Lagged);
            } else {
                count += 1;
            }
        });
        count
    }

    pub(crate) fn observe(&mut self, to: Audience<'_>, event: &EncodedEvent) {
        if !self.observers.is_empty() {
            let message = Message { to, text: event.text() };
            self.tell(|observer| observer.message(&message));
        }
    }

    /// Has every observer told of something. To be called last: it may panic, and where panics are to go on, what stands
    /// behind is not done.
    pub(crate) fn tell(&mut self, tell: impl Fn(&mut dyn Observer)) {
        let mut observers = std::mem::take(&mut self.observers);
        for observer in &mut observers {
            self.guard("an observer", |_core| tell(&mut **observer));
        }
        self.observers = observers;
    }

    /// Runs `work`, which is application code. Answers nothing if it has panicked; then that is logged and counted, or goes on
    /// to whoever turns the loop.
    ///
    /// The core is whole whatever happens: no application code runs in the middle of a change to it. Observers are told at the
    /// end of one.
    pub(crate) fn guard<T>(&mut self, what: &str, work: impl FnOnce(&mut Self) -> T) -> Option<T> {
        match catch(what, || work(self)) {
            Ok(value) => Some(value),
            Err(panic) => {
                self.stats.panics += 1;
                if self.config.propagate_panics {
                    resume_unwind(panic);
                }
                None
            }
        }
    }

    /// Puts `retry:` behind everything else that one stream is to get.
    pub(crate) fn append_retry(&mut self, slot: u32, delay: Duration) {
        if let Ok(retry) = EncodedEvent::new(&Event::new().retry(delay)) {
            self.append_private(slot, retry.bytes(), retry.notice());
        }
    }

    /// Between `delay` and twice as much, spread evenly over the calls.
    pub(crate) fn scatter(&mut self, delay: Duration) -> Duration {
        self.scattered = self.scattered.wrapping_add(1);
        // Nobody waits for longer, and what is far longer does not fit when it is multiplied.
        let delay = delay.min(DELAY_MAX);
        delay + delay.mul_f64(f64::from(scatter(self.scattered)) / f64::from(u32::MAX))
    }

    /// Puts bytes for one stream behind everything else it is to get. Answers how many bytes wait for it alone, its source's apart.
    pub(crate) fn append_private(&mut self, slot: u32, bytes: &[u8], kind: Kind) -> usize {
        let Some(stream) = self.slots.stream_mut(slot) else { return 0 };
        let sequence = self.topics.next_sequence();
        let delivered = stream.cursor().sequence;
        let extras = stream.extras_from(&mut self.spare_extras);
        extras.private.append(sequence, bytes, kind, &mut self.topics.spares);
        let waiting = extras.private.bytes_behind(delivered).saturating_sub(extras.pulled);
        // That it has something of its own to get does not make it one that lags: it may be given that, and what is published, at once.
        self.queue(slot);
        waiting
    }

    // Subscriptions.

    pub(crate) fn subscribe(&mut self, id: StreamId, topic: &str) -> Result<(), Error> {
        self.slots.live(id)?;
        let sequence = self.topics.sequence();
        let Some(stream) = self.slots.stream_mut(id.slot) else { return Err(Error::Closed) };
        if stream.topics().any(|(key, _)| &*self.topics.get(key).name == topic) {
            return Ok(());
        }
        if stream.topics().count() >= self.config.subscriptions_max {
            return Err(Error::TooManySubscriptions);
        }
        if self.topics.len() >= self.config.topics_max && self.topics.is_new(topic) {
            self.make_room_for_topic()?;
        }
        let Some(stream) = self.slots.stream_mut(id.slot) else { return Err(Error::Closed) };
        let (key, place) = self.topics.subscribe(topic, id.slot, stream.behind);
        if stream.topics().next().is_some() {
            let subscription = Subscription { topic: key, place, from: sequence };
            stream.extras().subscriptions.push(subscription);
            return Ok(());
        }
        // The first topic is read from the cursor on, so the cursor moves to this moment. What waits for the stream
        // alone moves along, behind it.
        stream.topic = key;
        stream.place = place;
        let delivered = stream.cursor().sequence;
        stream.skip_to(sequence);
        if stream.phase == Phase::Opening {
            self.topics.reserve_sequences(OPENING_SEQUENCES);
        }
        if let Some(extras) = &mut stream.extras {
            let next = self.topics.sequence() + 1;
            let next = extras.private.renumber(delivered, next);
            self.topics.reserve_sequences(next - 1 - self.topics.sequence());
        }
        Ok(())
    }

    pub(crate) fn unsubscribe(&mut self, id: StreamId, topic: &str) -> Result<(), Error> {
        self.slots.live(id)?;
        let Some(stream) = self.slots.stream_mut(id.slot) else { return Err(Error::Closed) };
        let found = stream.topics().find(|(key, _)| &*self.topics.get(*key).name == topic);
        let Some((key, _)) = found else { return Ok(()) };
        if stream.cursor().partial > 0 && self.has_fallen_off(id.slot) {
            // The rest of the frame that was begun may be what is lost.
            self.end(id.slot, CloseReason::Lagged);
            return Err(Error::Closed);
        }
        let Some(stream) = self.slots.stream_mut(id.slot) else { return Err(Error::Closed) };
        if stream.cursor().partial > 0 {
            let _ = rescue_partial(stream, key, &mut self.topics);
        }
        let done = !stream.behind && !stream.queued;
        self.leave(id.slot, key);
        if done {
            self.caught_up(id.slot);
        }
        Ok(())
    }

    /// Takes a stream out of a topic and tells those that take its place there.
    pub(crate) fn leave(&mut self, slot: u32, key: TopicKey) {
        let slots = &mut self.slots;
        let Some(stream) = slots.stream_mut(slot) else { return };
        let Some((_, place)) = stream.topics().find(|(found, _)| *found == key) else { return };
        stream.forget(key);
        self.topics.unsubscribe(key, place, stream.behind, |slot, place| {
            if let Some(stream) = slots.stream_mut(slot) {
                stream.moved(key, place);
            }
        });
    }

    // Tags.

    /// Gives a stream a tag. With one that is revoked it cannot stay: it is closed, or not opened in the first place.
    pub(crate) fn tag(&mut self, id: StreamId, tag: &str) -> Result<(), Error> {
        let opening = self.slots.live(id)?.phase == Phase::Opening;
        if self.tags.is_revoked(tag, self.now) {
            if opening {
                // What the handler goes on to give to it must not fail: that it is not opened is said in the answer.
                self.opening_revoked = true;
                return Ok(());
            }
            self.close_for(id, CloseReason::Revoked)?;
            return Err(Error::Closed);
        }
        self.tags.add(id, tag, self.config.tags_max)
    }

    pub(crate) fn untag(&mut self, id: StreamId, tag: &str) -> Result<(), Error> {
        self.slots.live(id)?;
        self.tags.remove(id, tag);
        Ok(())
    }

    pub(crate) fn close_tagged(&mut self, tag: &str) -> usize {
        let mut count = 0;
        // All of them are live.
        self.each_tagged(tag, |core, id| count += usize::from(core.close(id).is_ok()));
        count
    }

    pub(crate) fn revoke(&mut self, tag: &str, time: Duration) -> usize {
        let until = self.now.saturating_add(time);
        let forgot = self.tags.revoke(tag, until, self.config.revoked_max);
        if forgot && self.forgetful.is_due(self.now, Duration::from_secs(10)) {
            let limit = self.config.revoked_max;
            log::warn!("more than {limit} tags are revoked: those that are over soonest are forgotten early");
        }
        let mut count = 0;
        self.each_tagged(tag, |core, id| {
            count += 1;
            if core.slots.live(id).is_ok_and(|stream| stream.phase == Phase::Opening) {
                core.opening_revoked = true;
                core.tags.remove(id, tag);
            } else {
                // It is live, so there is something to close.
                let _ = core.close_for(id, CloseReason::Revoked);
            }
        });
        count
    }

    /// Calls `work`, which may end the stream it is given, for each stream with a tag.
    fn each_tagged(&mut self, tag: &str, mut work: impl FnMut(&mut Self, StreamId)) {
        let mut next = self.tags.first(tag);
        while let Some((id, after)) = next.and_then(|place| self.tags.at(place)) {
            debug_assert!(self.slots.live(id).is_ok(), "only live streams have tags");
            next = after;
            work(self, id);
        }
    }

    /// Whether the stream that is about to be opened has a revoked tag, from its handler or its reply.
    pub(crate) fn refuses_tags(&self, reply: &StreamReply) -> bool {
        self.opening_revoked || reply.tags().iter().any(|tag| self.tags.is_revoked(tag, self.now))
    }

    /// Gives a stream that is about to be opened the tags of its reply, none of which is revoked.
    pub(crate) fn tag_all(&mut self, id: StreamId, reply: &StreamReply) -> Result<(), Refusal> {
        for tag in reply.tags() {
            if self.tag(id, tag) == Err(Error::TooManyTags) {
                return Err(Refusal::Tags);
            }
            // A stream that was closed already is not given anything more.
        }
        Ok(())
    }

    // Delivery state.

    /// Has the stream served in the next flush. Not before it is open: it may never be, and leave its place behind.
    pub(crate) fn queue(&mut self, slot: u32) {
        if let Some(stream) = self.slots.stream_mut(slot)
            && !stream.queued
            && !matches!(stream.phase, Phase::Opening | Phase::OpeningClosed)
        {
            stream.queued = true;
            self.queue.push_back(slot);
        }
    }

    /// Notes whether the stream still needs something of its topics' logs.
    pub(crate) fn set_behind(&mut self, slot: u32, behind: bool) {
        let Some(stream) = self.slots.stream_mut(slot) else { return };
        if stream.behind == behind {
            return;
        }
        stream.behind = behind;
        if behind {
            self.behind += 1;
        } else {
            self.behind -= 1;
        }
        for (key, _) in stream.topics() {
            self.topics.set_behind(key, behind);
        }
    }

    /// The stream has been given everything there is: frees what it held.
    pub(crate) fn caught_up(&mut self, slot: u32) {
        self.set_behind(slot, false);
        let Some(stream) = self.slots.stream_mut(slot) else { return };
        if let Some(extras) = &mut stream.extras {
            extras.gap = None;
            extras.pulled = 0;
            extras.private.clear(&mut self.topics.spares);
            if stream.topic == TopicKey::NONE && extras.subscriptions.len() == 1 {
                stream.topic = extras.subscriptions[0].topic;
                stream.place = extras.subscriptions[0].place;
                let from = extras.subscriptions[0].from;
                extras.subscriptions.clear();
                // From here on this topic is read from the cursor on. A wave may still have something to offer.
                stream.skip_to(from);
            }
            stream.shrink(&mut self.spare_extras);
        }
        if stream.flags.has(Flags::SOURCE)
            && let Some(id) = self.slots.id(slot)
        {
            self.make_hungry_again(id);
        }
    }

    /// Begins a wave of a topic, if none is on its way. Then the log forgets what nobody is to get any more.
    pub(crate) fn begin_wave(&mut self, key: TopicKey) {
        if let Some(until) = self.topics.excess(key, self.config.lag_bytes_max) {
            let topic = self.topics.get(key);
            if topic.overflow == Overflow::Skip && topic.behind > 0 {
                self.skip_all(key, until);
            }
            self.topics.release(key, until);
        }
        if let Some(until) = self.topics.keyed_excess(key, self.config.lag_bytes_max) {
            self.make_way(key, until);
            self.topics.retain_keys(key, until);
        }
        self.topics.begin_wave(key);
    }

    /// Frees what was sent to this stream alone and has been delivered.
    pub(crate) fn release_private(&mut self, slot: u32) {
        if let Some(stream) = self.slots.stream_mut(slot) {
            let sequence = stream.cursor().sequence;
            if let Some(extras) = &mut stream.extras {
                extras.private.release(sequence, &mut self.topics.spares);
                // What comes next begins a block of its own where this one is full, so that this one can be released.
                extras.private.mark();
            }
        }
    }

    /// Whether the logs no longer hold what the stream needs next.
    pub(crate) fn has_fallen_off(&self, slot: u32) -> bool {
        let Some(stream) = self.slots.stream(slot) else { return false };
        let sequence = stream.cursor().sequence;
        sources(stream, &self.topics)
            .as_slice()
            .iter()
            .any(|source| source.log.place(sequence.max(source.from)) == Place::FellOff)
    }

    /// See `Server::shrink_buffers`.
    pub(crate) fn shrink_buffers(&mut self, bytes: usize) {
        self.scratch.shrink(bytes);
        self.encoded.shrink(bytes);
    }

    // Timers.

    pub(crate) fn add_timer(
        &mut self,
        delay: Duration,
        period: Option<Duration>,
        owner: Option<StreamId>,
        callback: Callback,
    ) -> TimerId {
        let id = self.timers.add(self.now.saturating_add(delay), period, owner, callback);
        if let Some(owner) = owner {
            self.hooks.entry(owner).or_default().timers.push(id);
        }
        id
    }

    pub(crate) fn forget_timer(&mut self, owner: StreamId, id: TimerId) {
        if let Some(hooks) = self.hooks.get_mut(&owner) {
            hooks.timers.retain(|timer| *timer != id);
            if hooks.is_empty() {
                self.hooks.remove(&owner);
            }
        }
    }
}

/// The longest time that clients are asked to stay away, before it is scattered.
const DELAY_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

/// Sequences set aside when a stream begins, behind its cursor: for its response head, its first frame and what it has missed, which
/// have to come before anything that the handler gives to it.
pub(crate) const OPENING_SEQUENCES: u64 = STRIDE - 1;

/// All that a stream reads. Nearly all streams read one topic and what is sent to them alone.
pub(crate) enum Sources<'a> {
    Few([Source<'a>; 2], usize),
    Many(Vec<Source<'a>>),
}

impl<'a> Sources<'a> {
    pub(crate) fn as_slice(&self) -> &[Source<'a>] {
        match self {
            Self::Few(sources, count) => &sources[..*count],
            Self::Many(sources) => sources,
        }
    }
}

/// The logs that `stream` reads.
pub(crate) fn sources<'a>(stream: &'a Stream, topics: &'a Topics) -> Sources<'a> {
    let first =
        (stream.topic != TopicKey::NONE).then(|| Source { log: &topics.get(stream.topic).log, from: 0 });
    let extras = stream.extras.as_deref();
    let private = extras.map(|extras| &extras.private).filter(|log: &&Log| !log.is_empty());
    let private = private.map(|log| Source { log, from: 0 });
    let subscriptions = extras.map_or(&[][..], |extras| &extras.subscriptions[..]);
    if subscriptions.is_empty() {
        return match (first, private) {
            (Some(first), Some(private)) => Sources::Few([first, private], 2),
            (Some(only), None) | (None, Some(only)) => Sources::Few([only, only], 1),
            (None, None) => Sources::Many(Vec::new()),
        };
    }
    let more =
        subscriptions.iter().map(|found| Source { log: &topics.get(found.topic).log, from: found.from });
    Sources::Many(first.into_iter().chain(private).chain(more).collect())
}

/// A stream that leaves a topic in the middle of a frame still has to get the rest of that frame: the rest becomes its
/// own. Answers which frame that was, if it was one of this topic.
pub(crate) fn rescue_partial(stream: &mut Stream, key: TopicKey, topics: &mut Topics) -> Option<u64> {
    let cursor = stream.cursor();
    let next = |source: &Source<'_>| match source.log.place(cursor.sequence.max(source.from)) {
        Place::Before { block, frame } => source.log.frame(block, frame).map(|(frame, _)| frame.sequence),
        Place::End | Place::FellOff => None,
    };
    let fallen = |source: &Source<'_>| source.log.place(cursor.sequence.max(source.from)) == Place::FellOff;
    if sources(stream, topics).as_slice().iter().any(fallen) {
        // The frame that was begun may be the one that is lost, in another topic. The stream ends when it is served.
        return None;
    }
    let from = stream.from(key);
    let log = &topics.get(key).log;
    let sequence = next(&Source { log, from });
    if sequence.is_none() || sequence != sources(stream, topics).as_slice().iter().filter_map(next).min() {
        return None;
    }
    let Place::Before { block, frame } = log.place(cursor.sequence.max(from)) else { return None };
    let (frame, bytes) = log.frame(block, frame)?;
    let rest = stream.framing.bytes_of(frame.kind, bytes)[cursor.partial as usize..].to_vec();
    let (sequence, kind) = (frame.sequence, Kind { prefix: 0, event: frame.kind.event });
    stream.restart_frame();
    stream.extras().private.prepend([(sequence, &rest[..], kind)], &mut topics.spares);
    Some(sequence)
}
