//! Who makes the ids of events, and what an id in Last-Event-ID means.
//!
//! An id means a sequence, or nothing. No clock is involved.
//!
//! | `Ids` | id on the wire | how it is found |
//! |---|---|---|
//! | `Generated` | `<maker>-<number>`: eight random characters for each server, and the number of events published up to this one | by arithmetic; another maker's id is unknown |
//! | `Own` | the application's | `OwnIds`, a set of (hash, sequence): the oldest of equal ones; the newest id is remembered even after its event is gone |
//! | `Ordered` | a `Position` of an external log, increasing over all topics | a binary search over the ids in the frames |
//!
//! An id of one kind cannot say how far a stream has come in topics of another kind. So all topics of a
//! stream have ids of one kind (`MixedIds`).

use crate::topic::position::number;
use std::collections::BTreeSet;
use std::fmt;
use std::hash::{DefaultHasher, Hash, Hasher};

/// Who makes the ids of a topic's events: see [`TopicConfig::ids`](crate::TopicConfig::ids), and the guide
/// [Ids and resume](crate::guide::ids_and_resume).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Ids {
    /// The server. An id names the server that made it, so an id of an earlier run or of another machine is
    /// recognised as foreign. Its client then receives a gap, or [`Handler::missed`](crate::Handler::missed)
    /// supplies the events. The application must not set ids.
    #[default]
    Generated,
    /// The application. Each id is unique, and has no order. An event without an id is allowed. The server
    /// never makes ids here, so every id in Last-Event-ID is the application's, and `missed` can look it up
    /// in its store.
    ///
    /// A stream begins with the newest id of its topics, so a client that is disconnected before its first
    /// event resumes exactly. If there was no id yet, or the [age](crate::History::age) of the history has
    /// passed since, give the stream one with [`StreamReply::first`](crate::StreamReply::first).
    Own,
    /// An external log, such as a Redis stream. Each event is published [at a
    /// position](crate::Context::publish_at), which is its id. Positions increase over all such topics of a
    /// server. So a client can resume at any server that reads the same log.
    Ordered,
}

/// The maker of ids: letters and digits that a server draws at random when it starts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Maker([u8; 8]);

/// An id that a server has made: `<maker>-<number>`.
#[derive(Debug, Clone, Copy)]
pub(crate) struct GeneratedId {
    maker: Maker,
    number: u64,
}

impl Maker {
    pub(crate) fn new(mut random: u64) -> Self {
        const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        let digit = |_| {
            let digit = DIGITS[(random % 62) as usize];
            random /= 62;
            digit
        };
        Self([(); 8].map(digit))
    }

    /// The id of the event with this number.
    pub(crate) fn id(self, number: u64) -> GeneratedId {
        GeneratedId { maker: self, number }
    }

    /// The number in an id of this maker.
    pub(crate) fn number_of(self, id: &str) -> Option<u64> {
        let (maker, digits) = id.split_once('-')?;
        (maker.as_bytes() == self.0).then(|| number(digits)).flatten()
    }
}

impl Default for Maker {
    fn default() -> Self {
        Self::new(0)
    }
}

impl fmt::Display for GeneratedId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let maker = str::from_utf8(&self.maker.0).unwrap_or_default();
        write!(f, "{maker}-{}", self.number)
    }
}

/// The memory of an entry in a tree, in bytes.
const PLACE_BYTES: usize = 24;

/// The frames of events with ids of the application.
#[derive(Debug, Default)]
pub(crate) struct OwnIds {
    /// A hash of the id, and the frame. An id that occurs twice has two entries.
    places: BTreeSet<(u64, u64)>,
    /// The newest id, also after its event is gone.
    newest: String,
    newest_at: u64,
}

impl OwnIds {
    pub(crate) fn add(&mut self, id: &str, sequence: u64) {
        self.places.insert((hash(id), sequence));
        id.clone_into(&mut self.newest);
        self.newest_at = sequence;
    }

    /// The memory that it takes, as far as that can be known of a tree.
    pub(crate) fn held(&self) -> usize {
        size_of::<Self>() + self.newest.capacity() + self.places.len() * PLACE_BYTES
    }

    /// Removes the frame `sequence`.
    pub(crate) fn forget(&mut self, id: &str, sequence: u64) {
        self.places.remove(&(hash(id), sequence));
    }

    /// Removes all frames.
    pub(crate) fn forget_all(&mut self) {
        self.places.clear();
    }

    /// The oldest frame with this id. `is` tells whether a frame with the same hash really has it.
    pub(crate) fn find(&self, id: &str, is: impl Fn(u64) -> bool) -> Option<u64> {
        let hash = hash(id);
        let places = self.places.range((hash, 0)..=(hash, u64::MAX)).map(|(_, sequence)| *sequence);
        let newest = (self.newest_at > 0 && self.newest == id).then_some(self.newest_at);
        places.filter(|sequence| is(*sequence)).chain(newest).min()
    }

    /// The newest id, and its frame.
    pub(crate) fn newest(&self) -> Option<(&str, u64)> {
        (self.newest_at > 0).then_some((&self.newest, self.newest_at))
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

/// The id in the bytes of a frame.
pub(crate) fn id_of(bytes: &[u8]) -> Option<&str> {
    let id = bytes.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"id: "))?;
    str::from_utf8(id).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_by_its_maker_only() {
        let (one, other) = (Maker::new(1 << 60), Maker::new((1 << 60) + 1));
        let id = one.id(2).to_string();
        assert_eq!(id.len(), 10, "{id}");
        assert_eq!(one.number_of(&id), Some(2));
        assert_eq!(other.number_of(&id), None);
        for id in ["", "-", "2", &id[..9], &format!("{id} "), &id.replace('-', "-0"), "1700000000000-2"] {
            assert_eq!(one.number_of(id), None, "{id:?}");
        }
    }

    #[test]
    fn an_id_that_is_there_twice_means_its_oldest_place() {
        let mut ids = OwnIds::default();
        for (id, sequence) in [("5", 10), ("6", 20), ("5", 30), ("7", 40)] {
            ids.add(id, sequence);
        }
        assert_eq!(ids.find("5", |_| true), Some(10));
        ids.forget("5", 10);
        assert_eq!(ids.find("5", |_| true), Some(30));
        assert_eq!(ids.find("5", |_| false), None, "another id has the same hash");
        ids.forget_all();
        assert_eq!((ids.find("5", |_| true), ids.find("7", |_| true)), (None, Some(40)));
        assert_eq!(ids.newest(), Some(("7", 40)));
    }
}
