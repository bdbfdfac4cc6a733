//! Extras: the parts of a stream that only some streams need.
//!
//! The rest of a frame that a socket took in part is copied into the [`Hand`]. So changes of a log or a
//! subscription need not consider it. Noting the log and copying later would need that care in five places.
//! Large frames (16 KiB and more) are copied once for all streams that are cut within them (`LargeFrames`):
//! otherwise a slow crowd would hold a copy for each stream.

use crate::account::{Account, Charge, Purpose};
use crate::delivery::batch::Cut;
use crate::http::parse::held::Held;
use crate::topic::few::Few;
use crate::topic::frame::Framing;
use crate::topic::log::Log;
use crate::topic::position::Place;
use crate::topic::sequence::is_shared;
use crate::topic::topics::TopicKey;
use std::collections::HashMap;
use std::sync::{Arc, Weak};

/// The parts that most streams never need.
#[derive(Debug, Default)]
pub(crate) struct More {
    /// Topics besides the first.
    pub(crate) subscriptions: Few<Subscription>,
    pub(crate) extras: Option<Box<Extras>>,
}

/// The parts that a stream needs only some of the time.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// The bytes that are sent before everything else.
    pub(crate) hand: Hand,
    /// Events for this stream alone that have not been delivered.
    pub(crate) private: Log,
    /// The newest frame of `private` that came from the stream's source. Up to here nothing is lag, because
    /// the server has asked for it.
    pub(crate) pulled: u64,
    /// What the peer has sent since the stream was opened: the beginning of its next request.
    pub(crate) held: Option<Box<Held>>,
    /// How many events the stream has missed and not been told of.
    pub(crate) missed: u64,
    /// The sequence of the end of the body, once the stream is closed. It gets no later frame.
    pub(crate) end: Option<u64>,
    /// The place that its client has seen, if this server is not there yet.
    pub(crate) ahead: Option<Place>,
}

/// A topic that a stream reads besides its first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subscription {
    pub(crate) topic: TopicKey,
    /// The stream's place among the topic's subscribers.
    pub(crate) place: u32,
    /// The newest sequence when it subscribed: it reads later frames.
    pub(crate) from: u64,
}

/// Bytes of a stream that are sent before anything from a log, in its framing: a head, notices of the server,
/// the rest of a frame that was cut. The stream owns them, so no frame breaks off, whatever happens to the
/// log.
#[derive(Debug, Default)]
pub(crate) struct Hand {
    own: Vec<u8>,
    /// A large frame, used instead of `own`: one copy for all streams that are cut within it.
    shared: Option<Arc<Large>>,
    sent: usize,
    /// How many events are delivered with the last byte.
    events: u64,
    /// The memory of its own bytes, if there are any.
    charge: Option<Charge>,
}

/// A large frame in the hands of streams.
#[derive(Debug)]
struct Large {
    bytes: Box<[u8]>,
    _charge: Charge,
}

impl Hand {
    fn own(bytes: Vec<u8>, events: u64, account: &Account) -> Self {
        let charge = Some(account.charge(Purpose::Hands, bytes.capacity()));
        Self { own: bytes, events, charge, ..Self::default() }
    }

    /// The bytes that are still to be sent.
    pub(crate) fn bytes(&self) -> &[u8] {
        let all = self.shared.as_ref().map_or(&self.own[..], |shared| &shared.bytes);
        &all[self.sent..]
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.bytes().is_empty()
    }

    /// Adds bytes that are not an event. Must not be used after a large frame that was cut.
    pub(crate) fn add(&mut self, bytes: &[u8], account: &Account) {
        debug_assert!(self.shared.is_none());
        self.own.extend_from_slice(bytes);
        self.charge.get_or_insert_with(|| account.charge(Purpose::Hands, 0)).set(self.own.capacity());
    }

    /// Adds an event.
    pub(crate) fn add_event(&mut self, bytes: &[u8], account: &Account) {
        self.add(bytes, account);
        self.events += 1;
    }

    /// Notes that `sent` bytes are sent. Returns how many events are delivered with them.
    pub(crate) fn advance(&mut self, sent: usize) -> u64 {
        self.sent += sent;
        let done = sent > 0 && self.is_empty();
        let events = if done { self.events } else { 0 };
        if done {
            self.clear();
        }
        events
    }

    pub(crate) fn clear(&mut self) {
        self.own.clear();
        self.own.shrink_to(HAND_BYTES_KEPT);
        (self.shared, self.sent, self.events, self.charge) = (None, 0, 0, None);
    }
}

/// Frames from this size on are copied once for all streams that are cut within them.
const SHARED_BYTES_MIN: usize = 16 << 10;

/// Large frames in the hands of streams.
#[derive(Debug, Default)]
pub(crate) struct LargeFrames {
    /// By sequence, framing, topic (if it is of a chain) and size. An event that was published to several
    /// topics has an id in some of them and none in others. The bytes are boxed so that they are freed with
    /// the last stream that has them.
    frames: HashMap<(u64, Framing, TopicKey, usize), Weak<Large>>,
    /// How many entries were left when unused ones were dropped last.
    kept: usize,
}

impl LargeFrames {
    /// The rest of a cut frame, as a hand.
    pub(crate) fn rest(
        &mut self,
        cut: Cut<'_>,
        framing: Framing,
        topic: TopicKey,
        account: &Account,
    ) -> Hand {
        let Cut { sequence, events, bytes, sent } = cut;
        let is_alone = framing == Framing::Gzip && topic == TopicKey::NONE;
        if bytes.len() < SHARED_BYTES_MIN || !is_shared(sequence) {
            return Hand::own(bytes[sent..].to_vec(), events, account);
        }
        if self.frames.len() > 2 * self.kept + 16 {
            self.frames.retain(|_, frame| frame.strong_count() > 0);
            self.kept = self.frames.len();
        }
        let weak = self.frames.entry((sequence, framing, topic, bytes.len())).or_default();
        // Pieces outside of a chain may differ although their end and size are the same.
        let same = weak.upgrade().filter(|large| !is_alone || *large.bytes == *bytes);
        let shared = same.unwrap_or_else(|| {
            let charge = account.charge(Purpose::Hands, bytes.len());
            let shared = Arc::new(Large { bytes: bytes.into(), _charge: charge });
            *weak = Arc::downgrade(&shared);
            shared
        });
        Hand { shared: Some(shared), sent, events, ..Hand::default() }
    }
}

/// Spare extras. A stream has extras while its head or a private event waits to be sent, so extras come and
/// go far more often than streams.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "they are given back as they lie in memory, not copied")]
pub(crate) struct SpareExtras {
    more: Vec<Box<More>>,
    extras: Vec<Box<Extras>>,
}

/// As many streams as may open in one turn by default.
const SPARES_MAX: usize = 256;

/// The most memory that a spare hand keeps, in bytes.
const HAND_BYTES_KEPT: usize = 1 << 10;

impl SpareExtras {
    pub(crate) fn take_more(&mut self) -> Box<More> {
        self.more.pop().unwrap_or_default()
    }

    pub(crate) fn take(&mut self) -> Box<Extras> {
        self.extras.pop().unwrap_or_default()
    }

    /// Keeps an [empty](More::is_empty) box for later.
    pub(crate) fn give_more(&mut self, more: Box<More>) {
        debug_assert!(more.is_empty());
        if self.more.len() < SPARES_MAX {
            self.more.push(more);
        }
    }

    /// Keeps extras that no stream needs for later. The blocks of the log have been freed.
    pub(crate) fn give(&mut self, mut extras: Box<Extras>) {
        if self.extras.len() < SPARES_MAX {
            let Extras { hand, private, pulled, held, missed, end, ahead } = &mut *extras;
            private.reset();
            hand.clear();
            (*pulled, *held, *missed, *end, *ahead) = (0, None, 0, None, None);
            self.extras.push(extras);
        }
    }
}

impl More {
    pub(crate) fn is_empty(&self) -> bool {
        self.subscriptions.is_empty() && self.extras.is_none()
    }

    /// Whether nothing in it is to be sent. The stream then gets everything from its one topic.
    pub(crate) fn gives_nothing(&self) -> bool {
        self.subscriptions.is_empty() && self.extras.as_ref().is_none_or(|extras| extras.gives_nothing())
    }
}

impl Extras {
    fn gives_nothing(&self) -> bool {
        self.private.is_empty()
            && self.hand.is_empty()
            && self.missed == 0
            && self.end.is_none()
            && self.ahead.is_none()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.gives_nothing() && self.held.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::frame::Kind;
    use crate::topic::topics::Topics;

    #[test]
    fn a_reused_box_is_like_a_new_one() {
        let mut blocks = Topics::default().spares;
        let mut spares = SpareExtras::default();
        let mut extras = spares.take();
        extras.private.append(7, b"x", Kind::RAW, &mut blocks);
        extras.hand.add(b"head", &Account::default());
        (extras.pulled, extras.missed, extras.end) = (1, 1, Some(7));
        extras.ahead = Some(Place::Number(1));
        extras.private.clear(&mut blocks);
        spares.give(extras);
        let mut again = spares.take();
        assert_eq!(format!("{again:?}"), format!("{:?}", Extras::default()));
        // Its log has no floor and no newest frame from before.
        again.private.append(1, b"x", Kind::RAW, &mut blocks);

        (0..2 * SPARES_MAX).for_each(|_| spares.give(Box::default()));
        assert_eq!(spares.extras.len(), SPARES_MAX);
        (0..2 * SPARES_MAX).for_each(|_| spares.give_more(Box::default()));
        assert_eq!(spares.more.len(), SPARES_MAX);
        assert_eq!((size_of::<Subscription>(), size_of::<More>()), (16, 32));
    }
}
