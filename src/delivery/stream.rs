//! The part of a connection's record that makes it a stream.

use crate::delivery::extras::{Extras, More, SpareExtras, Subscription};
use crate::topic::frame::Framing;
use crate::topic::position::Place;
use crate::topic::topics::TopicKey;

/// Where a stream stands: all there is of one that is at rest.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The frame that it was given last. What is published behind it is still to come; what is not for it
    /// counts as given.
    sequence: u64,
    /// All that most streams do not have, so that they do not pay for it.
    pub(super) more: Option<Box<More>>,
    /// The topic it reads, the only one for most; [`TopicKey::NONE`] without.
    pub(crate) topic: TopicKey,
    /// Its place among the subscribers of `topic`.
    pub(crate) place: u32,
    /// Milliseconds of the server's clock when the socket took something last, or when it refused something
    /// for the first time.
    pub(crate) since: u32,
    pub(crate) framing: Framing,
    pub(crate) phase: Phase,
    pub(crate) flags: Flags,
    /// Where the clock of ages (see the sweep) will stand when it is too old.
    pub(crate) expires: u8,
    /// Requests answered so far on this connection, the one for this stream included.
    pub(crate) requests: u16,
    /// Whether its topics keep their logs for it: it has not been given everything, apart from what waves are
    /// still to offer it.
    pub(crate) pins: bool,
    /// Whether it stands in the queue of streams to be served.
    pub(crate) queued: bool,
}

/// What is rarely asked of a stream, in one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags(u8);

impl Flags {
    /// The next request may follow when the stream ends. Only ever with chunked framing.
    pub(crate) const KEEP_ALIVE: Self = Self(1);
    /// A drain leaves it alone until the deadline.
    pub(crate) const FINISH: Self = Self(2);
    /// Its age is limited by a timer of its own.
    pub(crate) const OWN_AGE: Self = Self(4);
    /// It has a source, or had one.
    pub(crate) const SOURCE: Self = Self(8);
    /// It does without what is superseded: its socket has refused something since it was given everything
    /// last, or it begins with what was published before.
    pub(crate) const CONFLATES: Self = Self(16);
    /// Its source brings first what its client has missed: it is given nothing of a log before that is done.
    pub(crate) const HELD: Self = Self(32);
    /// It ends when that is done.
    pub(crate) const ENDS: Self = Self(64);
    /// All it was given since a [chain](crate::topic::chain::Chain) of its first topic began is from that.
    pub(crate) const CHAINED: Self = Self(128);

    pub(crate) fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub(crate) fn set(&mut self, flag: Self, on: bool) {
        self.0 = if on { self.0 | flag.0 } else { self.0 & !flag.0 };
    }
}

/// How far the life of a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The handler is being asked; nothing is sent before it has answered.
    Opening,
    /// The handler has closed it already, before it answered.
    OpeningClosed,
    Open,
    /// It has been closed by the server and reported so; what was sent before is still on its way, and then
    /// the end of the body.
    Ending,
}

impl Stream {
    /// A stream that is only just being asked for, and is to be given what is published behind the frame
    /// `sequence`.
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

    /// Whether it is open, or was: its handler has answered.
    pub(crate) fn has_opened(&self) -> bool {
        matches!(self.phase, Phase::Open | Phase::Ending)
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Moves it forward to this frame: everything before has been given to it, or is not for it.
    pub(crate) fn skip_to(&mut self, sequence: u64) {
        self.sequence = self.sequence.max(sequence);
    }

    /// Moves it back, before anything was sent.
    pub(crate) fn rewind(&mut self, sequence: u64) {
        self.sequence = self.sequence.min(sequence);
    }

    /// The socket has taken so many bytes, all or not all of those it was offered.
    pub(crate) fn took(&mut self, bytes: usize, all: bool, now: u32) {
        // Nothing taken is no progress, save that now it is the socket's turn.
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

    /// Whether it waits for what its source brings of what its client has missed.
    pub(crate) fn is_held(&self) -> bool {
        self.flags.has(Flags::HELD)
    }

    /// The position that its client has seen, and this server has not yet.
    pub(crate) fn waits_for(&self) -> Option<Place> {
        self.extras()?.ahead
    }

    /// What it has in its hand, and where the end of its body stands, if anywhere.
    pub(crate) fn hand_and_end(&self) -> (&[u8], Option<u64>) {
        self.extras().map_or((&[], None), |extras| (extras.hand.bytes(), extras.end))
    }

    /// The memory of what waits for it alone, and of what its peer has sent.
    pub(crate) fn own_memory(&self) -> (usize, usize) {
        let Some(extras) = self.extras() else { return (0, 0) };
        let own = extras.private.bytes() + extras.hand.bytes().len();
        (own, extras.held.as_ref().map_or(0, |held| held.size()))
    }

    /// Where the end of its body stands, if anywhere.
    pub(crate) fn end(&self) -> Option<u64> {
        self.extras()?.end
    }

    /// Whether it has missed events and has not been told so.
    pub(crate) fn has_missed(&self) -> bool {
        self.extras().is_some_and(|extras| extras.missed > 0)
    }

    /// Everything of `topic` up to this frame has been given to it, or is not for it.
    pub(crate) fn position_in(&self, topic: TopicKey) -> u64 {
        let found = self.subscriptions().iter().find(|found| found.topic == topic);
        let from = found.map_or(0, |found| found.from);
        self.sequence.max(from)
    }

    /// Reads `topic`, one of its own, from behind the frame `from` on, if it does not stand behind that
    /// anyway.
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

    /// Gives up what there is nothing in.
    pub(super) fn shrink(&mut self, spares: &mut SpareExtras) {
        let Some(more) = &mut self.more else { return };
        if let Some(extras) = more.extras.take_if(|extras| extras.is_empty()) {
            spares.give(extras);
        }
        if let Some(more) = self.more.take_if(|more| more.is_empty()) {
            spares.give_more(more);
        }
    }

    /// Whether what is in the log of `topic` is all there can be for it.
    pub(crate) fn reads_one_log(&self) -> bool {
        self.more.as_ref().is_none_or(|more| more.gives_nothing())
    }

    /// Whether nothing was sent to it alone.
    pub(crate) fn reads_topics_only(&self) -> bool {
        self.extras().is_none_or(|extras| extras.private.is_empty())
    }

    /// The topics it is subscribed to and its place in each.
    pub(crate) fn topics(&self) -> impl Iterator<Item = (TopicKey, u32)> {
        let first = (self.topic != TopicKey::NONE).then_some((self.topic, self.place));
        first
            .into_iter()
            .chain(self.subscriptions().iter().map(|subscription| (subscription.topic, subscription.place)))
    }

    fn subscription(&mut self, topic: TopicKey) -> Option<&mut Subscription> {
        self.subscriptions_mut().iter_mut().find(|found| found.topic == topic)
    }

    /// Drops the subscription to `topic` from the record.
    pub(crate) fn forget(&mut self, topic: TopicKey) {
        if self.topic == topic {
            self.topic = TopicKey::NONE;
        } else if let Some(more) = &mut self.more
            && let Some(place) = more.subscriptions.iter().position(|found| found.topic == topic)
        {
            more.subscriptions.swap_remove(place);
        }
    }

    /// Notes the new place among the subscribers of `topic`.
    pub(crate) fn moved(&mut self, topic: TopicKey, place: u32) {
        if self.topic == topic {
            self.place = place;
        } else if let Some(found) = self.subscription(topic) {
            found.place = place;
        }
    }
}
