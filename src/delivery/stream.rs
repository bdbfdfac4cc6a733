//! The part of a connection's record that belongs to its stream.
//!
//! - **Lag:** a stream lags while it waits for its socket (`!writable`). A stream that waits to be served
//!   does not, however small the limits are. Bytes that were offered less than 100 ms ago do not count
//!   against a stream that keeps reading (`Topic::read_by_now`). Private sends count once they were offered.
//! - **Stall:** `since` is the time of the last progress, or of the first refusal after everything was given.
//! - **Closing:** a closed stream notes the sequence at which its body ends, even if its handler has not
//!   returned yet. It leaves topics that have no more events for it. It copies the frames that it still needs
//!   of keyed topics, because later events may supersede them.

use crate::delivery::extras::{Extras, More, SpareExtras, Subscription};
use crate::topic::frame::Framing;
use crate::topic::position::Place;
use crate::topic::topics::TopicKey;

/// The state of a stream. At rest it needs no other memory.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The cursor: the frame that it was given last. Frames that are not for it count as given.
    sequence: u64,
    /// Parts that most streams do not need, and so do not pay for.
    pub(super) more: Option<Box<More>>,
    /// Its topic, for most streams the only one; [`TopicKey::NONE`] without.
    pub(crate) topic: TopicKey,
    /// Its place among the subscribers of `topic`.
    pub(crate) place: u32,
    /// The time when the socket last took bytes, or refused some for the first time, in milliseconds of the
    /// server's clock.
    pub(crate) since: u32,
    pub(crate) framing: Framing,
    pub(crate) phase: Phase,
    pub(crate) flags: Flags,
    /// When it exceeds its age limit, by the clock of ages (see the sweep).
    pub(crate) expires: u8,
    /// How many requests this connection has sent, including the one for this stream.
    pub(crate) requests: u16,
    /// Whether it pins the logs of its topics: it has not been given everything, apart from what waves have
    /// yet to offer.
    pub(crate) pins: bool,
    /// Whether it is in the queue of streams to be served.
    pub(crate) queued: bool,
}

/// Rarely used flags of a stream, in one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags(u8);

impl Flags {
    /// The connection is kept when the stream ends. Only with chunked framing.
    pub(crate) const KEEP_ALIVE: Self = Self(1);
    /// A drain does not close it before the deadline.
    pub(crate) const FINISH: Self = Self(2);
    /// It has its own timer that limits its age.
    pub(crate) const OWN_AGE: Self = Self(4);
    /// It has a source, or had one.
    pub(crate) const SOURCE: Self = Self(8);
    /// It skips superseded frames: its socket has refused bytes since it was last given everything, or it
    /// begins with earlier events.
    pub(crate) const CONFLATES: Self = Self(16);
    /// Its source first supplies the events that its client has missed. Until then it gets nothing from a
    /// log.
    pub(crate) const HELD: Self = Self(32);
    /// It closes when its source is exhausted.
    pub(crate) const ENDS: Self = Self(64);
    /// All of its bytes since the [chain](crate::topic::chain::Chain) of its first topic started over are
    /// from that chain.
    pub(crate) const CHAINED: Self = Self(128);

    pub(crate) fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub(crate) fn set(&mut self, flag: Self, on: bool) {
        self.0 = if on { self.0 | flag.0 } else { self.0 & !flag.0 };
    }
}

/// The phases in the life of a stream.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The handler is running. Nothing is sent before it returns.
    Opening,
    /// The handler has closed the stream, and has not returned yet.
    OpeningClosed,
    Open,
    /// The server has closed and reported it. Earlier events are still being sent, then the end of the body.
    Ending,
}

impl Stream {
    /// A stream whose handler is running. It will get events published after the frame `sequence`.
    pub(crate) fn opening(sequence: u64, now: u32, requests: u16) -> Self {
        Self {
            sequence,
            more: None,
            topic: TopicKey::NONE,
            place: 0,
            since: now,
            framing: Framing::Chunked,
            phase: Phase::Opening,
            flags: Flags::default(),
            expires: 0,
            requests,
            pins: true,
            queued: false,
        }
    }

    /// Whether its handler has returned.
    pub(crate) fn has_opened(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Ending)
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Moves the cursor forward: all frames up to `sequence` were given, or are not for it.
    pub(crate) fn skip_to(&mut self, sequence: u64) {
        self.sequence = self.sequence.max(sequence);
    }

    /// Moves the cursor back, before anything was sent.
    pub(crate) fn rewind(&mut self, sequence: u64) {
        self.sequence = self.sequence.min(sequence);
    }

    /// Notes that the socket has taken `bytes` bytes, and whether that was all.
    pub(crate) fn took(&mut self, bytes: usize, all: bool, now: u32) {
        // No bytes taken is no progress. But from now on the stream waits for its socket.
        if bytes > 0 || !self.conflates() {
            self.since = now;
        }
        if !all {
            self.flags.set(Flags::CONFLATES, true);
        }
    }

    /// The socket has taken more of what it seemed to have before.
    pub(crate) fn took_more(&mut self, now: u32) {
        self.since = now;
    }

    pub(crate) fn conflates(&self) -> bool {
        self.flags.has(Flags::CONFLATES)
    }

    /// Whether its source still has to supply the events that its client has missed.
    pub(crate) fn is_held(&self) -> bool {
        self.flags.has(Flags::HELD)
    }

    /// The place that its client has seen, if this server is not there yet.
    pub(crate) fn waits_for(&self) -> Option<Place> {
        self.extras()?.ahead
    }

    /// The bytes in its hand, and the sequence of the end of its body, if it is closed.
    pub(crate) fn hand_and_end(&self) -> (&[u8], Option<u64>) {
        self.extras().map_or((&[], None), |extras| (extras.hand.bytes(), extras.end))
    }

    /// The memory of what waits for it alone, and of what its peer has sent.
    pub(crate) fn own_memory(&self) -> (usize, usize) {
        let Some(extras) = self.extras() else { return (0, 0) };
        let own = extras.private.bytes() + extras.hand.bytes().len();
        (own, extras.held.as_ref().map_or(0, |held| held.size()))
    }

    /// The sequence of the end of its body, if it is closed.
    pub(crate) fn end(&self) -> Option<u64> {
        self.extras()?.end
    }

    /// Whether it has missed events and has not been told.
    pub(crate) fn has_missed(&self) -> bool {
        self.extras().is_some_and(|extras| extras.missed > 0)
    }

    /// The position in `topic`: frames up to it were given, or are not for this stream.
    pub(crate) fn position_in(&self, topic: TopicKey) -> u64 {
        let found = self.subscriptions().iter().find(|found| found.topic == topic);
        let from = found.map_or(0, |found| found.from);
        self.sequence.max(from)
    }

    /// Reads `topic`, one of its own, from after the frame `from`, unless its cursor is already further.
    pub(crate) fn read_from(&mut self, topic: TopicKey, from: u64) {
        let place = self.place;
        if self.topic == topic {
            self.topic = TopicKey::NONE;
            self.more.get_or_insert_default().subscriptions.push(Subscription { topic, place, from });
        } else if let Some(found) = self.subscription(topic) {
            found.from = from;
        }
    }

    /// Its topics besides the first.
    pub(crate) fn subscriptions(&self) -> &[Subscription] {
        self.more.as_ref().map_or(&[], |more| &more.subscriptions)
    }

    pub(super) fn subscriptions_mut(&mut self) -> &mut [Subscription] {
        self.more.as_mut().map_or(&mut [], |more| &mut more.subscriptions)
    }

    pub(super) fn add_subscription(&mut self, subscription: Subscription, spares: &mut SpareExtras) {
        self.more.get_or_insert_with(|| spares.take_more()).subscriptions.push(subscription);
    }

    pub(crate) fn extras(&self) -> Option<&Extras> {
        self.more.as_ref()?.extras.as_deref()
    }

    pub(super) fn extras_mut(&mut self) -> Option<&mut Extras> {
        self.more.as_mut()?.extras.as_deref_mut()
    }

    pub(super) fn make_extras(&mut self, spares: &mut SpareExtras) -> &mut Extras {
        let more = self.more.get_or_insert_with(|| spares.take_more());
        more.extras.get_or_insert_with(|| spares.take())
    }

    /// Drops empty parts.
    pub(super) fn shrink(&mut self, spares: &mut SpareExtras) {
        let Some(more) = &mut self.more else { return };
        if let Some(extras) = more.extras.take_if(|extras| extras.is_empty()) {
            spares.give(extras);
        }
        if let Some(more) = self.more.take_if(|more| more.is_empty()) {
            spares.give_more(more);
        }
    }

    /// Whether everything for it is in the log of `topic`.
    pub(crate) fn reads_one_log(&self) -> bool {
        self.more.as_ref().is_none_or(|more| more.gives_nothing())
    }

    /// Whether no private event waits.
    pub(crate) fn reads_topics_only(&self) -> bool {
        self.extras().is_none_or(|extras| extras.private.is_empty())
    }

    /// The topics that it subscribes to, and its place in each.
    pub(crate) fn topics(&self) -> impl Iterator<Item = (TopicKey, u32)> {
        let first = (self.topic != TopicKey::NONE).then_some((self.topic, self.place));
        first
            .into_iter()
            .chain(self.subscriptions().iter().map(|subscription| (subscription.topic, subscription.place)))
    }

    fn subscription(&mut self, topic: TopicKey) -> Option<&mut Subscription> {
        self.subscriptions_mut().iter_mut().find(|found| found.topic == topic)
    }

    /// Removes the subscription to `topic` from the record.
    pub(crate) fn forget(&mut self, topic: TopicKey) {
        if self.topic == topic {
            self.topic = TopicKey::NONE;
        } else if let Some(more) = &mut self.more
            && let Some(place) = more.subscriptions.iter().position(|found| found.topic == topic)
        {
            more.subscriptions.swap_remove(place);
        }
    }

    /// Notes its new place among the subscribers of `topic`.
    pub(crate) fn moved(&mut self, topic: TopicKey, place: u32) {
        if self.topic == topic {
            self.place = place;
        } else if let Some(found) = self.subscription(topic) {
            found.place = place;
        }
    }
}
