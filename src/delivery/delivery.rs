//! All streams and all topics, and the operations on both: subscribe, send, close.

use crate::account::Account;
use crate::conn::list::List;
use crate::delivery::compressor::Compressor;
use crate::delivery::extras::{LargeFrames, SpareExtras, Subscription};
use crate::delivery::stream::{Flags, Phase, Stream};
use crate::delivery::walk::{merge, readings};
use crate::http::parse::held::Held;
use crate::topic::block::Block;
use crate::topic::frame::{Framing, Kind};
use crate::topic::log::Log;
use crate::topic::position::Place;
use crate::topic::topics::{TopicKey, Topics};
use std::borrow::Cow;
use std::collections::{BTreeMap, VecDeque};

/// The streams, in slots, each with its own socket.
pub(crate) trait Streams {
    fn stream(&self, slot: u32) -> Option<&Stream>;

    /// Whether the socket has taken everything so far.
    fn has_room(&self, slot: u32) -> bool;

    /// The stream, and whether its socket has taken everything so far.
    fn stream_and_room(&mut self, slot: u32) -> Option<(&mut Stream, &mut bool)>;
}

/// Milliseconds as streams store them. They wrap after 49 days: only differences mean anything, and `Config`
/// keeps those far below.
pub(crate) fn tick_of(milliseconds: u64) -> u32 {
    u32::try_from(milliseconds & u64::from(u32::MAX)).unwrap_or_default()
}

/// A burst may be this many times larger than the lag that is allowed.
const BURST: usize = 16;

/// Compressing a byte takes about as long as writing this many.
const COMPRESSING: u64 = 8;

/// What a socket has taken.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Written {
    pub(crate) bytes: usize,
    /// Whether the socket took all bytes.
    pub(crate) all: bool,
}

/// Counters of all that was delivered.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Delivered {
    pub(crate) events: u64,
    pub(crate) bytes: u64,
    /// How often a stream was told that it has missed events.
    pub(crate) gaps: u64,
}

/// All streams, all topics, and how far each stream has got.
#[derive(Debug, Default)]
pub(crate) struct Delivery<S> {
    pub(crate) slots: S,
    pub(crate) topics: Topics,
    /// How many bytes a log may hold for streams that lag: as configured, and currently.
    lag_bytes_max: usize,
    pub(super) may_lag: usize,
    /// The name of the gap event, which says how many events a stream has missed.
    pub(super) gap_event: Option<Cow<'static, str>>,
    /// Streams to be served in the next flush. Invariant: every stream that is marked as queued is here. An
    /// entry may be left of a stream that is gone.
    pub(crate) queue: VecDeque<u32>,
    /// Streams that have lost events and are to be closed for it.
    pub(crate) lagged: Vec<u32>,
    /// The number of open streams that pin the logs they read.
    pub(crate) pinning: u64,
    pub(crate) delivered: Delivered,
    /// A topic whose log holds too much, and until when: its streams have not had time to read it.
    pub(super) crowded: Option<(TopicKey, u64)>,
    /// Streams whose clients are ahead of this server. Each has the place that its client has seen, and
    /// whether the stream was already ahead when the end of the log was last reported. Invariant: the extras
    /// of the stream have the same place.
    pub(super) ahead: BTreeMap<(Place, u32), bool>,
    pub(super) account: Account,
    /// How many streams were visited to make room.
    pub(super) looked_at: u64,
    /// How many bytes closed streams have copied from the logs of their topics.
    pub(super) taken_along: u64,
    pub(super) spare_extras: SpareExtras,
    pub(super) large_frames: LargeFrames,
    pub(super) compressor: Compressor,
    /// The buffer for frames that are copied together.
    pub(super) scratch: Block,
    /// The buffer for a run in close-delimited framing.
    pub(super) unwrapped: Block,
    /// Subscribers that the walk over a topic leaves to `give`.
    pub(super) aside: Vec<u32>,
}

impl<S: Streams + Default> Delivery<S> {
    pub(crate) fn new(
        topics: Topics,
        lag_bytes_max: usize,
        gap_event: Option<Cow<'static, str>>,
        compressor: Compressor,
        account: Account,
    ) -> Self {
        let may_lag = lag_bytes_max;
        Self { topics, lag_bytes_max, may_lag, gap_event, account, compressor, ..Self::default() }
    }
}

impl<S: Streams> Delivery<S> {
    pub(crate) fn stream(&self, slot: u32) -> Option<&Stream> {
        self.slots.stream(slot)
    }

    pub(crate) fn stream_mut(&mut self, slot: u32) -> Option<&mut Stream> {
        self.slots.stream_and_room(slot).map(|(stream, _)| stream)
    }

    /// The topic of that name, if the stream subscribes to it.
    pub(crate) fn subscription(&self, slot: u32, topic: &str) -> Option<TopicKey> {
        let mut topics = self.stream(slot)?.topics().map(|(key, _)| key);
        topics.find(|key| self.topics.get(*key).name.as_bytes() == topic.as_bytes())
    }

    /// Subscribes a stream that has no subscription to a topic. It gets the events that are published from
    /// now on.
    pub(crate) fn subscribe(&mut self, slot: u32, topic: &str) {
        let Some((stream, _)) = self.slots.stream_and_room(slot) else { return };
        let (topic, place) = self.topics.subscribe(topic, slot, stream.pins);
        let from = self.reads_from(slot, topic);
        let Some((stream, _)) = self.slots.stream_and_room(slot) else { return };
        stream.flags.set(Flags::CHAINED, false);
        if stream.topics().next().is_none() && stream.reads_one_log() {
            // It reads nothing else, so its cursor may be that of this topic.
            (stream.topic, stream.place) = (topic, place);
            stream.skip_to(from);
        } else {
            stream.add_subscription(Subscription { topic, place, from }, &mut self.spare_extras);
        }
    }

    /// Removes a stream from a topic. The bytes in its hand are still sent. Returns whether it has been given
    /// everything.
    pub(crate) fn unsubscribe(&mut self, slot: u32, topic: TopicKey) -> bool {
        self.leave(slot, topic);
        let at_rest =
            self.stream(slot).is_some_and(|stream| !stream.pins && !stream.queued && !stream.conflates());
        if at_rest {
            self.rest(slot);
        }
        at_rest
    }

    /// Removes a stream from a topic, and notes the new places of others there.
    fn leave(&mut self, slot: u32, topic: TopicKey) {
        let slots = &mut self.slots;
        let Some((stream, _)) = slots.stream_and_room(slot) else { return };
        let Some((_, place)) = stream.topics().find(|(found, _)| *found == topic) else { return };
        stream.forget(topic);
        let pins = stream.pins;
        self.topics.unsubscribe(topic, place, pins, |slot, place| {
            if let Some((stream, _)) = slots.stream_and_room(slot) {
                stream.moved(topic, place);
            }
        });
    }

    /// Appends an event for one stream alone, after everything else for it. Returns whether too much waits,
    /// apart from events of its source: more than the allowed lag was offered before and its socket has
    /// refused it, or more waits than a burst may have.
    pub(crate) fn send(&mut self, slot: u32, bytes: &[u8], kind: Kind) -> bool {
        let burst_bytes_max = self.burst_bytes_max();
        let Some((stream, room)) = self.slots.stream_and_room(slot) else { return false };
        let given = stream.sequence();
        let extras = stream.make_extras(&mut self.spare_extras);
        let sequence = self.topics.next_local(given.max(extras.private.newest()));
        let excused = given.max(extras.pulled);
        let lags = !*room && extras.private.offered_behind(excused) > self.may_lag;
        let too_much = lags || extras.private.bytes_behind(excused) > burst_bytes_max;
        extras.private.append(sequence, bytes, kind, &mut self.topics.spares);
        self.queue(slot);
        too_much
    }

    /// The work done so far, in bytes written: a measure of time.
    pub(crate) fn work(&self) -> u64 {
        self.delivered.bytes + COMPRESSING * self.compressor.compressed()
    }

    /// Whether streams that lag must give way because memory is short.
    pub(super) fn is_short_of_memory(&self) -> bool {
        self.may_lag < self.lag_bytes_max
    }

    /// How many bytes may wait that a stream was not offered yet, or has had no time to read.
    pub(super) fn burst_bytes_max(&self) -> usize {
        self.lag_bytes_max.saturating_mul(BURST)
    }

    /// The same for an event of the stream's source, which is never too much: the server has asked for it.
    pub(crate) fn send_pulled(&mut self, slot: u32, bytes: &[u8], kind: Kind) {
        self.send(slot, bytes, kind);
        if let Some(extras) = self.stream_mut(slot).and_then(Stream::extras_mut) {
            extras.pulled = extras.private.newest();
        }
    }

    /// What the peer of a stream has sent since the stream was opened.
    pub(crate) fn held(&mut self, slot: u32) -> Option<&mut Option<Box<Held>>> {
        let (stream, _) = self.slots.stream_and_room(slot)?;
        Some(&mut stream.make_extras(&mut self.spare_extras).held)
    }

    /// Puts the end of the body after everything else for a stream. The stream gets no later event. It leaves
    /// topics that have no more events for it.
    pub(crate) fn close(&mut self, slot: u32) {
        let Some((stream, _)) = self.slots.stream_and_room(slot) else { return };
        let given = stream.sequence();
        let extras = stream.make_extras(&mut self.spare_extras);
        extras.end = Some(self.topics.next_local(given.max(extras.private.newest())));
        if stream.has_opened() {
            self.close_opened(slot);
        }
    }

    fn close_opened(&mut self, slot: u32) {
        self.forget_wait(slot);
        if self.stream(slot).is_some_and(Stream::is_held) {
            // Events of its topics come after the missed ones, and would hide the loss.
            self.leave_all(slot);
            self.go_on(slot);
        }
        self.leave_exhausted(slot);
        self.take_along(slot);
        self.queue(slot);
    }

    /// Removes a closed stream from topics that have no more events for it, so that it does not pin their
    /// logs.
    pub(crate) fn leave_exhausted(&mut self, slot: u32) {
        while let Some(topic) = self.find_topic(slot, |log, position, end| {
            log.next(position).is_none_or(|run| run.first().sequence > end)
        }) {
            self.leave(slot, topic);
        }
    }

    /// The first topic of a closed stream for which `holds` is true. Its arguments are the log, the position
    /// of the stream in it, and the end of the body.
    fn find_topic(&self, slot: u32, holds: impl Fn(&Log, u64, u64) -> bool) -> Option<TopicKey> {
        let stream = self.stream(slot)?;
        let end = stream.end()?;
        let mut topics = stream.topics().map(|(key, _)| key);
        topics.find(|key| holds(self.topics.get(*key).log(), stream.position_in(*key), end))
    }

    /// In a keyed topic, events after the end of a closed stream may supersede those that it still has to
    /// get. So it copies these: at most one event for each key if the stream conflates.
    fn take_along(&mut self, slot: u32) {
        let Some(stream) = self.slots.stream(slot) else { return };
        let Some(end) = stream.end() else { return };
        let may_be_superseded = |key| self.topics.get(key).log().holds_current(stream.position_in(key), end);
        if !stream.topics().any(|(key, _)| may_be_superseded(key)) {
            return;
        }
        let (mut own, mut after) = (Log::default(), stream.sequence());
        let mut spares = std::mem::take(&mut self.topics.spares);
        {
            let readings = readings(stream, &self.topics);
            let mut all = false;
            while !all {
                self.scratch.clear();
                // Chunked, as in all logs.
                all = merge(&readings, after, end, !stream.conflates(), Framing::Chunked, &mut self.scratch);
                for (index, frame) in self.scratch.frames.iter().enumerate() {
                    own.append(frame.sequence, self.scratch.frame_bytes(index), frame.kind, &mut spares);
                    after = frame.sequence;
                }
            }
        }
        self.topics.spares = spares;
        self.taken_along += own.bytes() as u64;
        self.leave_all(slot);
        if let Some((stream, _)) = self.slots.stream_and_room(slot) {
            let extras = stream.make_extras(&mut self.spare_extras);
            std::mem::replace(&mut extras.private, own).clear(&mut self.topics.spares);
        }
    }

    fn leave_all(&mut self, slot: u32) {
        while let Some(topic) = self.stream(slot).and_then(|stream| stream.topics().next()) {
            self.leave(slot, topic.0);
        }
    }

    /// Opens a stream: its `head` and the frames `first` are sent before anything that it was given already.
    pub(crate) fn open<'a>(&mut self, slot: u32, head: &[u8], first: impl Iterator<Item = (Kind, &'a [u8])>) {
        let Some((stream, _)) = self.slots.stream_and_room(slot) else { return };
        stream.phase = Phase::Open;
        self.pinning += u64::from(stream.pins);
        let is_compressed = stream.framing == Framing::Gzip;
        let is_closed = stream.end().is_some();
        let hand = &mut stream.make_extras(&mut self.spare_extras).hand;
        hand.add(head, &self.account);
        if is_compressed {
            hand.add(self.compressor.begin(slot), &self.account);
        }
        first.for_each(|(kind, bytes)| self.add_to_hand(slot, kind, bytes));
        if is_closed {
            self.close_opened(slot);
        }
        self.queue(slot);
    }

    /// Puts a frame that is in no log into the hand of a stream.
    pub(super) fn add_to_hand(&mut self, slot: u32, kind: Kind, bytes: &[u8]) {
        let is_stored = self.is_stored(slot);
        let Some((stream, _)) = self.slots.stream_and_room(slot) else { return };
        let bytes = self.compressor.frame(slot, stream, kind, bytes, is_stored);
        let hand = &mut stream.make_extras(&mut self.spare_extras).hand;
        if kind.event {
            hand.add_event(bytes, &self.account);
        } else {
            hand.add(bytes, &self.account);
        }
    }

    /// Whether a compressed stream gets its text in stored blocks, because it reads a topic that is never
    /// compressed.
    pub(super) fn is_stored(&self, slot: u32) -> bool {
        self.stream(slot).is_some_and(|stream| {
            stream.framing == Framing::Gzip
                && stream.topics().any(|(key, _)| !self.topics.get(key).compresses)
        })
    }

    /// Whether all topics of a stream may be compressed.
    pub(crate) fn compresses(&self, slot: u32) -> bool {
        let topics = self.stream(slot).into_iter().flat_map(Stream::topics);
        self.compressor.level().is_some()
            && topics.into_iter().all(|(key, _)| self.topics.get(key).compresses)
    }

    /// Puts an event that the client has missed into the hand of a held stream, or a gap event.
    pub(crate) fn make_up(&mut self, slot: u32, bytes: &[u8], kind: Kind) {
        self.add_to_hand(slot, kind, bytes);
        self.queue(slot);
    }

    /// Continues a stream that was held, with the events of its topics.
    pub(crate) fn go_on(&mut self, slot: u32) {
        if let Some(stream) = self.stream_mut(slot) {
            stream.flags.set(Flags::HELD, false);
        }
        self.queue(slot);
    }

    /// Removes a stream from its topics and frees its memory. Returns what the peer has sent since the stream
    /// was opened.
    pub(crate) fn dissolve(&mut self, slot: u32) -> Option<Box<Held>> {
        self.forget_wait(slot);
        self.leave_all(slot);
        let (stream, _) = self.slots.stream_and_room(slot)?;
        let pinned = std::mem::take(&mut stream.pins) && stream.has_opened();
        if stream.framing == Framing::Gzip && stream.has_opened() {
            self.compressor.end();
            // The stream must be counted only once.
            stream.framing = Framing::Chunked;
        }
        self.pinning -= u64::from(pinned);
        let mut more = stream.more.take()?;
        let extras = more.extras.take();
        self.spare_extras.give_more(more);
        let mut extras = extras?;
        extras.private.clear(&mut self.topics.spares);
        let held = extras.held.take();
        self.spare_extras.give(extras);
        held
    }

    /// Queues a stream for the next flush. Only an open stream: one that never opens would leave its entry in
    /// the queue.
    pub(crate) fn queue(&mut self, slot: u32) {
        if let Some((stream, _)) = self.slots.stream_and_room(slot)
            && !stream.queued
            && stream.has_opened()
        {
            stream.queued = true;
            self.queue.push_back(slot);
        }
    }

    /// Notes whether the stream pins the logs of its topics.
    pub(super) fn pin(&mut self, slot: u32, pins: bool) {
        let Some((stream, _)) = self.slots.stream_and_room(slot) else { return };
        if stream.pins == pins {
            return;
        }
        stream.pins = pins;
        if pins {
            self.pinning += 1;
        } else {
            self.pinning -= 1;
        }
        for (key, _) in stream.topics() {
            self.topics.pin(key, pins);
        }
    }

    /// Frees the memory of a stream that has been given everything, apart from what a wave has yet to offer.
    pub(super) fn rest(&mut self, slot: u32) {
        self.pin(slot, false);
        let Some((stream, _)) = self.slots.stream_and_room(slot) else { return };
        stream.flags.set(Flags::CONFLATES, false);
        if let Some(extras) = stream.extras_mut() {
            extras.private.clear(&mut self.topics.spares);
        }
        if stream.topic == TopicKey::NONE
            && stream.waits_for().is_none()
            && let &[Subscription { topic, place, from }] = stream.subscriptions()
        {
            stream.forget(topic);
            (stream.topic, stream.place) = (topic, place);
            // A wave may still have to offer later events.
            stream.skip_to(from);
        }
        stream.shrink(&mut self.spare_extras);
    }

    /// Frees the memory of buffers beyond `bytes`, and of lists beyond twice `streams`.
    pub(crate) fn shrink_buffers(&mut self, bytes: usize, streams: usize) {
        self.scratch.shrink(bytes);
        self.unwrapped.shrink(bytes);
        self.compressor.shrink_buffers(bytes);
        self.queue.give_back(streams);
        self.lagged.give_back(streams);
        self.aside.give_back(streams);
    }
}
