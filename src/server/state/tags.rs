//! Which streams carry which tag, and which tags are revoked. Knows streams by their slot and nothing else of
//! them.
//!
//! A link lies in one slab, and in two lists: that of its tag and that of its stream.

use crate::conn::close_reason::CloseReason;
use crate::error::Error;
use crate::server::state::by_slot::BySlot;
use crate::server::state::pages::{Pages, Place};
use crate::topic::index::Index;
use crate::topic::name::Name;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Below this many entries a table's memory is not given back: there is not enough of it.
const SHRINK_MIN: usize = 1024;

/// The index of streams by tag.
///
/// A tag on a stream is a link in two lists: of all streams with this tag, and of all tags of this stream.
/// All links lie in one slab, so that a tag that only one stream carries, as that of a user does, needs no
/// list of its own. Adding and removing look at the other tags of the same stream, which are few, and never
/// at other streams.
///
/// Cost (64-bit): 25 bytes for each tag on a stream; for each tag 25, its name where that is longer than 14
/// bytes, and some 8 in a table; and what `BySlot` says. `tests/allocations.rs` measures it.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    by_name: Index<Place>,
    tags: Pages<Tag>,
    links: Pages<Link>,
    /// The first link of each stream. Invariant: no tag in `tags` is without one.
    of_slot: BySlot,
    revoked: Revoked,
    /// Where those stand who go from stream to stream over several turns.
    walks: VecDeque<Walk>,
}

/// Streams that are to be closed one after the other: those that had a tag at some moment, of which this is
/// the next.
#[derive(Debug, Clone, Copy)]
struct Walk {
    next: Place,
    reason: CloseReason,
}

#[derive(Debug)]
struct Tag {
    name: Name,
    /// The link of the stream that was given it last.
    first: Place,
    count: u32,
}

/// One tag on one stream.
#[derive(Debug, Clone, Copy)]
struct Link {
    slot: u32,
    tag: Place,
    /// Its neighbours among the streams with the same tag.
    previous: Place,
    next: Place,
    /// The next tag of the same stream.
    next_of_stream: Place,
}

impl Tags {
    /// Gives the stream in `slot` a tag. Giving it twice is giving it once.
    pub(crate) fn add(&mut self, slot: u32, name: &str, tags_max: usize) -> Result<(), Error> {
        let key = self.find(name);
        let mut count = 0;
        for (_, link) in self.of(slot) {
            if Some(link.tag) == key {
                return Ok(());
            }
            count += 1;
        }
        if count >= tags_max {
            return Err(Error::TooManyTags);
        }
        let key = key.unwrap_or_else(|| self.insert_tag(name));
        let Some(tag) = self.tags.get_mut(key) else { return Ok(()) };
        let next_of_stream = self.of_slot.get(slot);
        let link = Link { slot, tag: key, previous: Place::NONE, next: tag.first, next_of_stream };
        let place = self.links.insert(link);
        tag.count += 1;
        let next = std::mem::replace(&mut tag.first, place);
        if let Some(next) = self.links.get_mut(next) {
            next.previous = place;
        }
        self.of_slot.set(slot, place);
        Ok(())
    }

    fn insert_tag(&mut self, name: &str) -> Place {
        let key = self.tags.insert(Tag { name: Name::new(name), first: Place::NONE, count: 0 });
        self.by_name.insert(key, |key| name_of(&self.tags, key));
        key
    }

    fn find(&self, name: &str) -> Option<Place> {
        self.by_name.find(name, |key| name_of(&self.tags, key))
    }

    /// Takes a tag from the stream in `slot`, if it has it.
    pub(crate) fn remove(&mut self, slot: u32, name: &str) {
        let Some(key) = self.find(name) else { return };
        let mut before = Place::NONE;
        let found = self.of(slot).find(|(place, link)| {
            let found = link.tag == key;
            before = if found { before } else { *place };
            found
        });
        let Some((place, link)) = found else { return };
        match self.links.get_mut(before) {
            Some(before) => before.next_of_stream = link.next_of_stream,
            None => self.of_slot.set(slot, link.next_of_stream),
        }
        self.unlink(place);
        self.shrink_names();
    }

    /// Takes all its tags from the stream in `slot`.
    pub(crate) fn forget(&mut self, slot: u32) {
        let mut place = self.of_slot.get(slot);
        if place == Place::NONE {
            return;
        }
        self.of_slot.set(slot, Place::NONE);
        while let Some(link) = self.unlink(place) {
            place = link.next_of_stream;
        }
        self.shrink_names();
    }

    /// Takes a link out of the list of its tag.
    fn unlink(&mut self, place: Place) -> Option<Link> {
        let link = self.links.remove(place)?;
        for walk in self.walks.iter_mut().filter(|walk| walk.next == place) {
            walk.next = link.next;
        }
        if let Some(next) = self.links.get_mut(link.next) {
            next.previous = link.previous;
        }
        let tag = self.tags.get_mut(link.tag)?;
        tag.count -= 1;
        match self.links.get_mut(link.previous) {
            Some(previous) => previous.next = link.next,
            None => tag.first = link.next,
        }
        if tag.count == 0
            && let Some(tag) = self.tags.remove(link.tag)
        {
            self.by_name.remove(tag.name.as_bytes(), link.tag);
        }
        Some(link)
    }

    /// The tags of the stream in `slot`, each with its place.
    fn of(&self, slot: u32) -> impl Iterator<Item = (Place, Link)> {
        let link = |place: Place| self.links.get(place).map(|link| (place, *link));
        std::iter::successors(link(self.of_slot.get(slot)), move |(_, found)| link(found.next_of_stream))
    }

    fn tag(&self, name: &str) -> Option<&Tag> {
        self.tags.get(self.find(name)?)
    }

    /// How many streams carry a tag.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.tag(name).map_or(0, |tag| tag.count as usize)
    }

    /// Where the streams that carry a tag begin. Go on with [`at`](Self::at).
    pub(crate) fn first(&self, name: &str) -> Option<Place> {
        self.tag(name).map(|tag| tag.first)
    }

    /// The slots of the streams that carry a tag.
    pub(crate) fn slots(&self, name: &str) -> impl Iterator<Item = u32> {
        let mut next = self.first(name);
        std::iter::from_fn(move || {
            let (slot, after) = self.at(next?)?;
            next = Some(after);
            Some(slot)
        })
    }

    /// The slot of the stream at a place, and the place of the next one with the same tag. That place stays
    /// good while only this stream loses its tags, so each may be ended on the way.
    pub(crate) fn at(&self, place: Place) -> Option<(u32, Place)> {
        self.links.get(place).map(|link| (link.slot, link.next))
    }

    /// From now on [`next_to_close`](Self::next_to_close) returns the streams that carry a tag, with a
    /// reason. Those that are given it later stand before them.
    pub(crate) fn close_all(&mut self, name: &str, reason: CloseReason) {
        if let Some(next) = self.first(name) {
            self.walks.push_back(Walk { next, reason });
        }
    }

    /// The slot of the next stream that is to be closed, for which tag and why.
    pub(crate) fn next_to_close(&mut self) -> Option<(u32, Name, CloseReason)> {
        loop {
            let walk = self.walks.front_mut()?;
            if let Some(link) = self.links.get(walk.next)
                && let Some(tag) = self.tags.get(link.tag)
            {
                walk.next = link.next;
                return Some((link.slot, tag.name.clone(), walk.reason));
            }
            self.walks.pop_front();
        }
    }

    /// Whether there are streams to be closed.
    pub(crate) fn is_closing(&self) -> bool {
        !self.walks.is_empty()
    }

    /// How many tags some stream carries.
    pub(crate) fn len(&self) -> usize {
        self.tags.len()
    }

    /// From this slot on there are no streams any more.
    pub(crate) fn shrink(&mut self, bound: u32) {
        self.of_slot.shrink(bound);
    }

    /// Gives memory of the table back when most of it is not used. It shrinks to what it holds and grows by
    /// doubling, so the cost is spread over those that have left.
    fn shrink_names(&mut self) {
        let capacity = self.by_name.capacity();
        if capacity >= SHRINK_MIN && self.tags.len() < capacity / 8 {
            self.by_name.shrink(|key| name_of(&self.tags, key));
        }
    }
}

/// What a tag is called.
fn name_of(tags: &Pages<Tag>, key: Place) -> &[u8] {
    tags.get(key).map_or(&[], |tag| tag.name.as_bytes())
}

/// Tags that no stream may be opened with for a while.
///
/// Cost (64-bit): 65 bytes and the name with two counters of 8 for each, and the slack of two tables.
#[derive(Debug, Default)]
struct Revoked {
    until: HashMap<Arc<str>, Duration>,
    /// Invariant: the same, ordered by time.
    order: BTreeSet<(Duration, Arc<str>)>,
}

impl Tags {
    /// Revokes a tag up to and including `until`, or for as long as it is revoked already if that is longer.
    /// Where there are more than `revoked_max`, the one that is over first is forgotten early; answers
    /// whether one was.
    pub(crate) fn revoke(&mut self, name: &str, until: Duration, revoked_max: usize) -> bool {
        let revoked = &mut self.revoked;
        let name: Arc<str> = match revoked.until.get_key_value(name) {
            Some((_, before)) if *before >= until => return false,
            Some((name, _)) => name.clone(),
            None => name.into(),
        };
        if let Some(before) = revoked.until.insert(name.clone(), until) {
            revoked.order.remove(&(before, name.clone()));
        }
        revoked.order.insert((until, name));
        let full = revoked.until.len() > revoked_max;
        if full {
            revoked.pop();
        }
        full
    }

    /// Ends a revocation early; returns whether there was one.
    pub(crate) fn unrevoke(&mut self, name: &str, now: Duration) -> bool {
        let Some((name, until)) = self.revoked.until.remove_entry(name) else { return false };
        self.revoked.order.remove(&(until, name));
        until >= now
    }

    pub(crate) fn is_revoked(&self, name: &str, now: Duration) -> bool {
        !self.revoked.until.is_empty() && self.revoked.until.get(name).is_some_and(|until| *until >= now)
    }

    /// Forgets up to `count` revocations that are over.
    pub(crate) fn forget_revoked(&mut self, now: Duration, count: usize) {
        let revoked = &mut self.revoked;
        for _ in 0..count {
            if revoked.order.first().is_none_or(|(until, _)| *until >= now) {
                return;
            }
            revoked.pop();
        }
    }

    /// When there is a revocation to forget. In whole seconds, so that the loop does not wake for each: what
    /// they forbid is over in time whatever is remembered of it.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let (until, _) = self.revoked.order.first()?;
        until.as_secs().checked_add(1).map(Duration::from_secs)
    }

    /// How many revocations are remembered.
    pub(crate) fn revoked(&self) -> usize {
        self.revoked.until.len()
    }
}

impl Revoked {
    /// Forgets the one that is over first.
    fn pop(&mut self) {
        let Some((_, name)) = self.order.pop_first() else { return };
        self.until.remove(&name);
        if self.until.capacity() >= SHRINK_MIN && self.until.len() < self.until.capacity() / 8 {
            self.until.shrink_to(2 * self.until.len());
        }
    }
}

#[cfg(test)]
mod tests;
