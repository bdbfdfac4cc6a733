//! Where a stream begins: live, behind the event that its client saw last, or with the oldest event that is
//! kept. All of it is placing its cursor.

use crate::delivery::delivery::{Delivery, Streams};
use crate::delivery::stream::Flags;
use crate::topic::history::Kept;
use crate::topic::log::Log;
use crate::topic::position::Position;
use crate::topic::topics::TopicKey;

/// Where a stream is to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// With what comes next.
    Live,
    /// Behind this position, in all of its topics.
    After(Position),
}

impl<S: Streams> Delivery<S> {
    /// What is kept of the topics of a stream, with how far the stream has got in each.
    fn kept(&self, slot: u32) -> impl Iterator<Item = (&Kept, &Log, u64)> {
        let stream = self.stream(slot);
        stream.into_iter().flat_map(|stream| stream.topics().map(move |(key, _)| (key, stream))).filter_map(
            |(key, stream)| {
                let topic = self.topics.get(key);
                Some((topic.kept.as_deref()?, &topic.log, stream.position_in(key)))
            },
        )
    }

    /// Whether anything is kept of the topics of a stream.
    pub(crate) fn is_anything_kept(&self, slot: u32) -> bool {
        self.kept(slot).next().is_some()
    }

    /// The position that an id means in the topics of a stream.
    pub(crate) fn position_of(&self, slot: u32, id: &str) -> Option<Position> {
        // Where several topics know the id, the oldest is meant: better an event twice than one not at all.
        let found = self.kept(slot).filter_map(|(kept, log, _)| kept.position_of(log, id)).min();
        // One that lies in the future is of a time when the clock was wrong: what has come since is not known
        // to be behind it.
        found.or_else(|| Position::parse(id).filter(|position| !self.topics.is_to_come(*position)))
    }

    /// Whether something behind `position` is lost, in the topics of a stream, that was published before the
    /// stream subscribed.
    pub(crate) fn is_lost_after(&self, slot: u32, position: Position) -> bool {
        self.kept(slot).any(|(kept, log, subscribed)| kept.is_lost_after(log, position, subscribed))
    }

    /// Places the cursor of a stream that is about to be opened. One that has missed something begins `anew`
    /// with all keys, as it may have missed that one of them is gone.
    pub(crate) fn place(&mut self, slot: u32, beginning: Beginning, anew: bool) {
        let Beginning::After(position) = beginning else { return };
        let Some(stream) = self.stream(slot) else { return };
        let places: Vec<(TopicKey, u64)> = stream
            .topics()
            .map(|(key, _)| {
                let topic = self.topics.get(key);
                let found = topic.kept.as_ref().and_then(|kept| {
                    let anew = anew && kept.is_keyed();
                    kept.first_after(&topic.log, if anew { Position::default() } else { position })
                });
                // What was published since it subscribed is for it, whether it is kept or not.
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
}
