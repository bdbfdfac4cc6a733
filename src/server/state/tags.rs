//! The tags of streams, and the revoked tags. Streams are known only by their slots.
//!
//! All links are in one slab. Each link is in two lists: that of its tag and that of its stream.

use crate::conn::close_reason::CloseReason;
use crate::error::Error;
use crate::server::state::by_slot::BySlot;
use crate::server::state::pages::{Pages, Place};
use crate::topic::index::Index;
use crate::topic::name::Name;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::sync::Arc;
use std::time::Duration;

/// Tables do not shrink below this many entries, as that would free little.
const SHRINK_MIN: usize = 1024;

/// The index of streams by tag.
///
/// A tag on a stream is a link in two lists: of all streams with this tag, and of all tags of this stream.
/// All links are in one slab, so a tag of only one stream, such as that of a user, needs no list of its own.
/// Adding and removing look at the other tags of the same stream, which are few, and never at other streams.
///
/// Cost (64-bit): 25 bytes for each tag on a stream; for each tag 25, its name if that is longer than 14
/// bytes, and some 8 in a table; and that of `BySlot`. `tests/allocations.rs` measures it.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    by_name: Index<Place>,
    tags: Pages<Tag>,
    links: Pages<Link>,
    /// The first link of each stream. Invariant: every tag in `tags` has a link.
    of_slot: BySlot,
    revoked: Revoked,
    /// Walks over the streams of a tag, which take several turns.
    walks: VecDeque<Walk>,
}

/// A walk that closes the streams which had a tag at some moment.
#[derive(Debug, Clone, Copy)]
struct Walk {
    next: Place,
    reason: CloseReason,
}

#[derive(Debug)]
struct Tag {
    name: Name,
    /// The link of the stream that was tagged last.
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
    /// Gives the stream in `slot` a tag. Giving it again changes nothing.
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

    /// Removes a tag from the stream in `slot`, if it has it.
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

    /// Removes all tags from the stream in `slot`.
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

    /// Removes a link from the list of its tag.
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

    /// The number of streams with a tag.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.tag(name).map_or(0, |tag| tag.count as usize)
    }

    /// The place of the first stream with a tag. Continue with [`at`](Self::at).
    pub(crate) fn first(&self, name: &str) -> Option<Place> {
        self.tag(name).map(|tag| tag.first)
    }

    /// The slots of the streams with a tag.
    pub(crate) fn slots(&self, name: &str) -> impl Iterator<Item = u32> {
        let mut next = self.first(name);
        std::iter::from_fn(move || {
            let (slot, after) = self.at(next?)?;
            next = Some(after);
            Some(slot)
        })
    }

    /// The slot of the stream at a place, and the place of the next one with the same tag. That place stays
    /// valid while only this stream loses its tags, so each stream may be closed on the way.
    pub(crate) fn at(&self, place: Place) -> Option<(u32, Place)> {
        self.links.get(place).map(|link| (link.slot, link.next))
    }

    /// Makes [`next_to_close`](Self::next_to_close) return the streams with a tag, and a reason. Streams that
    /// get the tag later come before them in the list, so they are not included.
    pub(crate) fn close_all(&mut self, name: &str, reason: CloseReason) {
        if let Some(next) = self.first(name) {
            self.walks.push_back(Walk { next, reason });
        }
    }

    /// The slot of the next stream to close, its tag, and the reason.
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

    /// Whether there may be streams to close.
    pub(crate) fn is_closing(&self) -> bool {
        !self.walks.is_empty()
    }

    /// The number of tags that at least one stream has.
    pub(crate) fn len(&self) -> usize {
        self.tags.len()
    }

    /// Frees memory of slots from `bound` on, which have no streams.
    pub(crate) fn shrink(&mut self, bound: u32) {
        self.of_slot.shrink(bound);
    }

    /// Shrinks the table when most of it is unused. It shrinks to its entries and grows by doubling, so the
    /// cost is spread over the removals.
    fn shrink_names(&mut self) {
        let capacity = self.by_name.capacity();
        if capacity >= SHRINK_MIN && self.tags.len() < capacity / 8 {
            self.by_name.shrink(|key| name_of(&self.tags, key));
        }
    }
}

/// The name of a tag.
fn name_of(tags: &Pages<Tag>, key: Place) -> &[u8] {
    tags.get(key).map_or(&[], |tag| tag.name.as_bytes())
}

/// The revoked tags.
///
/// Cost (64-bit): for each 65 bytes, and the name with two counters of 8; and the unused room of two tables.
#[derive(Debug, Default)]
struct Revoked {
    until: HashMap<Arc<str>, Duration>,
    /// Invariant: the same entries, ordered by time.
    order: BTreeSet<(Duration, Arc<str>)>,
}

impl Tags {
    /// Revokes a tag up to and including `until`, or for as long as it is revoked already if that is longer.
    /// If there are more than `revoked_max`, drops the one that expires first. Returns whether one was
    /// dropped.
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

    /// Drops up to `count` revocations that are over.
    pub(crate) fn forget_revoked(&mut self, now: Duration, count: usize) {
        let revoked = &mut self.revoked;
        for _ in 0..count {
            if revoked.order.first().is_none_or(|(until, _)| *until >= now) {
                return;
            }
            revoked.pop();
        }
    }

    /// When there is a revocation to drop, in whole seconds, so the loop does not wake for each. A revocation
    /// is over in time even if it was not dropped yet.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let (until, _) = self.revoked.order.first()?;
        until.as_secs().checked_add(1).map(Duration::from_secs)
    }

    /// The number of revocations, including those that are over and not dropped yet.
    pub(crate) fn revoked(&self) -> usize {
        self.revoked.until.len()
    }
}

impl Revoked {
    /// Drops the revocation that expires first.
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
