//! Where a stream begins: live, after the last event that its client has seen, or with the oldest retained
//! event. Only its cursor has to be placed.
//!
//! - The cursor is placed right before the first frame for the stream. The head is in its hand, so nothing
//!   needs a number before that. The first block, also in the hand, has the id of the position where the
//!   stream begins (`id_at_beginning`), with `retry:` and the gap event.
//! - `find` turns Last-Event-ID into a sequence, which places the cursor in all topics of the stream. An
//!   unknown id is a gap, or `Handler::missed` supplies the events. It is never treated as no id.
//! - An id of an external log that is newer than all events waits in `ahead`. The stream reads its topics
//!   from the first event after that id on.
//! - A stream whose application supplies missed events *later* is *held*. Its cursor stays where it begins,
//!   and events of its source go to its hand. Topics and private sends wait in their logs, where they count
//!   as lag. When the source is exhausted, the stream continues. If it is closed before, it leaves its
//!   topics, because their events would hide the loss.
//! - Events that were published after a stream subscribed in its handler are never a gap: the log keeps them
//!   for the stream (`Kept::is_lost_after`).
//! - A topic that has finished is a mark (`Topic::finished`), kept as long as its events would be. A stream
//!   is closed when all of its topics have finished.

use crate::delivery::delivery::{Delivery, Streams};
use crate::delivery::stream::{Flags, Stream};
use crate::topic::history::Kept;
use crate::topic::ids::Ids;
use crate::topic::log::Log;
use crate::topic::position::{Place, Position};
use crate::topic::topic::Topic;
use crate::topic::topics::TopicKey;
use std::borrow::Cow;
use std::ops::Bound::{Excluded, Unbounded};

/// Where a stream is to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// With the next event.
    Live,
    /// After this frame, in all of its topics.
    After(u64),
    /// After a place that is not published here yet: other servers with the same events are ahead of this
    /// one.
    Ahead(Place),
}

/// Later than any frame: the stream does not read the topic yet.
const NOT_YET: u64 = u64::MAX;

impl<S: Streams> Delivery<S> {
    /// The histories of the topics of a stream, each with the position of the stream.
    fn kept(&self, slot: u32) -> impl Iterator<Item = (&Kept, &Log, u64)> {
        let stream = self.stream(slot);
        stream.into_iter().flat_map(|stream| stream.topics().map(move |(key, _)| (key, stream))).filter_map(
            |(key, stream)| {
                let topic = self.topics.get(key);
                Some((topic.kept()?, topic.log(), stream.position_in(key)))
            },
        )
    }

    /// Who makes the ids of the events that a stream reads, if they have any.
    pub(crate) fn ids_of(&self, slot: u32) -> Option<Ids> {
        self.kept(slot).next().map(|(kept, ..)| kept.ids)
    }

    /// Whether a stream would read topics with different kinds of ids if this topic had `ids`.
    pub(crate) fn would_mix(&self, topic: TopicKey, ids: Option<Ids>) -> bool {
        let readers = || self.topics.get(topic).subscribers.iter().filter_map(|slot| self.stream(*slot));
        let others = readers().flat_map(|stream| stream.topics().map(|(key, _)| key));
        let mut kept = others.filter(|key| *key != topic).filter_map(|key| self.topics.get(key).kept());
        ids.is_some_and(|ids| kept.any(|kept| kept.ids != ids))
    }

    /// Whether the stream has topics and all of them have finished.
    pub(crate) fn has_finished(&self, slot: u32) -> bool {
        let Some(stream) = self.stream(slot) else { return false };
        let mut topics = stream.topics().map(|(key, _)| self.topics.get(key));
        stream.topics().next().is_some() && topics.all(Topic::has_finished)
    }

    /// Where a stream continues whose client has last seen `id`. `None` if the id is unknown.
    pub(crate) fn find(&self, slot: u32, id: &str) -> Option<Beginning> {
        match self.ids_of(slot)? {
            Ids::Generated => {
                let number = self.topics.number_of(id)?;
                let sequence = self.topics.sequence_of(number)?;
                let is_here = sequence <= self.topics.sequence();
                Some(if is_here {
                    Beginning::After(sequence)
                } else {
                    Beginning::Ahead(Place::Number(number))
                })
            }
            // If several topics know the id, the oldest frame counts: an event twice is better than none.
            Ids::Own => {
                let found = self.kept(slot).filter_map(|(kept, log, _)| kept.find_own(log, id));
                found.min().map(Beginning::After)
            }
            Ids::Ordered => {
                let position: Position = id.parse().ok()?;
                // Nothing is known of events before the first position that was published here.
                let (first, newest) = self.topics.positions()?;
                if position > newest {
                    return Some(Beginning::Ahead(Place::At(position)));
                }
                // All topics have one order: a frame that is before the position in one of them is so in all.
                let found = self.kept(slot).map(|(kept, log, _)| kept.newest_at(log, position));
                found.max().filter(|_| position >= first).map(Beginning::After)
            }
        }
    }

    /// The position of `id`, if nothing was published at any position yet. `None` for streams that must get
    /// all keys of a topic again.
    pub(crate) fn position_before_all(&self, slot: u32, id: &str) -> Option<Position> {
        let is_first = self.ids_of(slot) == Some(Ids::Ordered) && self.topics.positions().is_none();
        let is_keyed = || self.kept(slot).any(|(kept, ..)| kept.is_keyed());
        id.parse().ok().filter(|_| is_first && !is_keyed())
    }

    /// Whether events after the frame `after` are lost in the topics of a stream that were published before
    /// it subscribed.
    pub(crate) fn is_lost_after(&self, slot: u32, after: u64) -> bool {
        self.kept(slot).any(|(kept, log, subscribed)| kept.is_lost_after(log, after, subscribed))
    }

    /// Whether a stream that begins after `after` will get retained events.
    pub(crate) fn has_more(&self, slot: u32, after: u64) -> bool {
        self.kept(slot).any(|(kept, log, _)| kept.first_after(log, after).is_some())
    }

    /// Places the cursor of a stream before it is opened. With `anew` it gets all keys of keyed topics,
    /// because it may have missed that one was removed.
    pub(crate) fn place(&mut self, slot: u32, beginning: Beginning, anew: bool) {
        let position = match beginning {
            Beginning::Live => return,
            Beginning::After(position) => position,
            Beginning::Ahead(place) => return self.wait_for(slot, place),
        };
        let Some(stream) = self.stream(slot) else { return };
        let places: Vec<(TopicKey, u64)> = stream
            .topics()
            .map(|(key, _)| {
                let topic = self.topics.get(key);
                let found = topic.kept().and_then(|kept| {
                    let anew = anew && kept.is_keyed();
                    kept.first_after(topic.log(), if anew { 0 } else { position })
                });
                // Events since it subscribed are for it, whether they are retained or not.
                let since = stream.position_in(key);
                (key, found.map_or(since, |found| since.min(found - 1)))
            })
            .collect();
        let Some(first) = places.iter().map(|(_, from)| *from).min() else { return };
        let Some((stream, _)) = self.slots.stream_and_room(slot) else { return };
        if places.len() > 1 || stream.topic == TopicKey::NONE {
            places.iter().for_each(|(key, from)| stream.read_from(*key, *from));
        }
        stream.rewind(first);
        stream.flags.set(Flags::CONFLATES, true);
    }

    /// The id of the position where a stream begins, for a client that is disconnected before its first
    /// event. `seen` is the id in its request, if it is known here. A stream that `is_live` may have been
    /// subscribed by its handler before the handler has published more.
    pub(crate) fn id_at_beginning(
        &self,
        slot: u32,
        seen: Option<&str>,
        is_live: bool,
    ) -> Option<Cow<'static, str>> {
        let ids = self.ids_of(slot)?;
        let position = self.kept(slot).map(|(.., position)| position).min()?;
        match (ids, seen) {
            // A stream that is ahead has no position here yet.
            (Ids::Generated, _) if position < NOT_YET => {
                Some(self.topics.generated_id(position)?.to_string().into())
            }
            (_, Some(seen)) => Some(seen.to_owned().into()),
            (Ids::Generated, None) => None,
            (Ids::Own, None) => {
                let until = |(kept, log, _): (&Kept, &Log, _)| {
                    let newest = kept.newest_own_id()?;
                    let is_before = newest.1 <= position;
                    let found = if is_before { newest } else { kept.own_id_until(log, position)? };
                    (is_before || is_live).then(|| (found.1, found.0.to_owned()))
                };
                self.kept(slot).filter_map(until).max().map(|(_, id)| id.into())
            }
            (Ids::Ordered, None) => {
                // If nothing was published yet, the lowest position: a client that reconnects with it gets a
                // gap instead of a silent loss.
                let newest = self.topics.positions().map(|(_, newest)| newest);
                let nothing_since = self.kept(slot).all(|(_, log, position)| log.newest() <= position);
                let before =
                    || self.kept(slot).map(|(kept, log, _)| kept.position_until(log, position)).max();
                let newest = if nothing_since { newest } else { before().filter(|_| is_live) };
                (is_live || nothing_since).then(|| newest.unwrap_or_default().to_string().into())
            }
        }
    }

    /// The stream does not read its topics with ids until an event after `place` is published.
    fn wait_for(&mut self, slot: u32, place: Place) {
        let Some(stream) = self.stream(slot) else { return };
        let topics = stream.topics().map(|(key, _)| key).filter(|key| self.topics.get(*key).kept().is_some());
        let topics: Vec<_> = topics.collect();
        let Some((stream, _)) = self.slots.stream_and_room(slot) else { return };
        topics.iter().for_each(|key| stream.read_from(*key, NOT_YET));
        stream.make_extras(&mut self.spare_extras).ahead = Some(place);
        self.ahead.insert((place, slot), false);
    }

    /// The ids of a topic are not positions from now on. Streams that wait for a position read this topic,
    /// and still wait in their other topics.
    pub(crate) fn wait_no_longer(&mut self, topic: TopicKey) {
        let now = self.topics.sequence();
        let slots = self.topics.get(topic).subscribers.to_vec();
        for slot in slots {
            let stream = self.stream_mut(slot).filter(|stream| stream.waits_for().is_some());
            let Some(stream) = stream else { continue };
            let mut waits_elsewhere = false;
            for found in stream.subscriptions_mut().iter_mut().filter(|found| found.from == NOT_YET) {
                if found.topic == topic {
                    found.from = now;
                } else {
                    waits_elsewhere = true;
                }
            }
            if !waits_elsewhere {
                self.forget_wait(slot);
            }
        }
    }

    /// Called before an event is published at `place`: streams that have waited for that read it, and later
    /// events.
    pub(crate) fn catch_up_with(&mut self, place: Place) {
        let first = match place {
            Place::Number(_) => Place::Number(0),
            Place::At(_) => Place::At(Position::default()),
        };
        while let Some((&(_, slot), _)) = self.ahead.range((first, 0)..(place, 0)).next() {
            self.begin_now(slot);
        }
    }

    /// Called when the external log is known to end at `newest`. Streams that wait for a later position, and
    /// already did at the last call, read the events that are published from now on. Returns these streams,
    /// which have a gap.
    pub(crate) fn give_up_waiting_behind(&mut self, newest: Position) -> Vec<u32> {
        let mut in_vain = Vec::new();
        for ((_, slot), waited) in self.ahead.range_mut((Excluded((Place::At(newest), u32::MAX)), Unbounded))
        {
            if std::mem::replace(waited, true) {
                in_vain.push(*slot);
            }
        }
        in_vain.iter().for_each(|slot| self.begin_now(*slot));
        in_vain
    }

    /// Lets a stream that waits for a position read the events that are published from now on.
    fn begin_now(&mut self, slot: u32) {
        self.forget_wait(slot);
        let now = self.topics.sequence();
        let Some(stream) = self.stream_mut(slot) else { return };
        let waiting = stream.subscriptions_mut().iter_mut().filter(|found| found.from == NOT_YET);
        waiting.for_each(|found| found.from = now);
    }

    /// The stream does not wait for a position from now on.
    pub(super) fn forget_wait(&mut self, slot: u32) {
        let Some(extras) = self.stream_mut(slot).and_then(Stream::extras_mut) else { return };
        if let Some(place) = extras.ahead.take() {
            self.ahead.remove(&(place, slot));
        }
    }

    /// From where on a stream reads a topic that it subscribes to now.
    pub(super) fn reads_from(&self, slot: u32, topic: TopicKey) -> u64 {
        let stream = self.stream(slot);
        let waits_for = stream.and_then(Stream::waits_for);
        let waits = waits_for.zip(self.topics.get(topic).kept()).is_some_and(|(place, kept)| {
            // The place is in the order of this topic's ids.
            matches!(place, Place::At(_)) == (kept.ids == Ids::Ordered)
        });
        if waits { NOT_YET } else { self.topics.sequence() }
    }
}
