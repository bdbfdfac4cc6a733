//! Which streams carry which tag, and which tags are revoked. Knows streams by their id and nothing else of them.

use crate::conn::close_reason::CloseReason;
use crate::conn::id::StreamId;
use crate::error::Error;
use slab::Slab;
use std::collections::{BTreeSet, HashMap, VecDeque};
use std::num::NonZeroU32;
use std::sync::Arc;
use std::time::Duration;

/// In place of a link: there is none.
const NONE: u32 = u32::MAX;

/// Below this many entries a table's memory is not given back: there is not enough of it.
const SHRINK_MIN: usize = 1024;

/// The index of streams by tag.
///
/// A tag on a stream is a link in two lists: of all streams with this tag, and of all tags of this stream. All links lie in
/// one slab, so that a tag that only one stream carries, as that of a user does, needs no list of its own. Adding and
/// removing look at the other tags of the same stream, which are few, and never at other streams.
///
/// Cost (64-bit): 32 bytes for each tag on a stream, 17 for each stream that has one, 49 and its name with two counters of 8
/// for each tag, and the slack of growing tables. `tests/allocations.rs` measures it.
#[derive(Debug, Default)]
pub(crate) struct Tags {
    by_name: HashMap<Arc<str>, TagKey>,
    tags: Slab<Tag>,
    links: Slab<Link>,
    /// The first link of each stream. Invariant: no stream is here without one, no tag in `tags` without one.
    first_of: HashMap<StreamId, u32>,
    revoked: Revoked,
    /// Where those stand who go from stream to stream over several turns.
    walks: VecDeque<Walk>,
}

/// Streams that are to be closed one after the other: those that had a tag at some moment, of which this is the next.
#[derive(Debug, Clone, Copy)]
struct Walk {
    next: u32,
    reason: CloseReason,
}

/// One more than the index among the tags: the number that it never is makes room to tell vacant entries of a slab apart.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct TagKey(NonZeroU32);

#[derive(Debug)]
struct Tag {
    name: Arc<str>,
    /// The stream that was given it last.
    first: u32,
    count: u32,
}

/// One tag on one stream.
#[derive(Debug, Clone, Copy)]
struct Link {
    stream: StreamId,
    tag: TagKey,
    /// Its neighbours among the streams with the same tag.
    previous: u32,
    next: u32,
    /// The next tag of the same stream.
    next_of_stream: u32,
}

impl TagKey {
    fn new(index: usize) -> Self {
        // Each is carried by a stream, and every stream holds a descriptor: they are far fewer than 2^32.
        Self(u32::try_from(index + 1).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX))
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

impl Tags {
    /// Gives `stream` a tag. Giving it twice is giving it once.
    pub(crate) fn add(&mut self, stream: StreamId, name: &str, tags_max: usize) -> Result<(), Error> {
        let key = self.by_name.get(name).copied();
        let mut count = 0;
        for (_, link) in self.of(stream) {
            if Some(link.tag) == key {
                return Ok(());
            }
            count += 1;
        }
        if count >= tags_max {
            return Err(Error::TooManyTags);
        }
        let key = key.unwrap_or_else(|| self.insert_tag(name));
        let tag = &mut self.tags[key.index()];
        let first_of = self.first_of.entry(stream).or_insert(NONE);
        let link = Link { stream, tag: key, previous: NONE, next: tag.first, next_of_stream: *first_of };
        let place = u32::try_from(self.links.insert(link)).unwrap_or(NONE);
        let next = std::mem::replace(&mut tag.first, place);
        *first_of = place;
        tag.count += 1;
        if let Some(next) = self.links.get_mut(next as usize) {
            next.previous = place;
        }
        Ok(())
    }

    fn insert_tag(&mut self, name: &str) -> TagKey {
        let name: Arc<str> = name.into();
        let key = TagKey::new(self.tags.insert(Tag { name: name.clone(), first: NONE, count: 0 }));
        self.by_name.insert(name, key);
        key
    }

    /// Takes a tag from `stream`, if it has it.
    pub(crate) fn remove(&mut self, stream: StreamId, name: &str) {
        let Some(&key) = self.by_name.get(name) else { return };
        let mut before = NONE;
        let found = self.of(stream).find(|(place, link)| {
            let found = link.tag == key;
            before = if found { before } else { *place };
            found
        });
        let Some((place, link)) = found else { return };
        if let Some(before) = self.links.get_mut(before as usize) {
            before.next_of_stream = link.next_of_stream;
        } else if link.next_of_stream == NONE {
            self.first_of.remove(&stream);
        } else {
            self.first_of.insert(stream, link.next_of_stream);
        }
        self.unlink(place);
        self.shrink();
    }

    /// Takes all its tags from `stream`.
    pub(crate) fn forget(&mut self, stream: StreamId) {
        if self.first_of.is_empty() {
            return;
        }
        let Some(mut place) = self.first_of.remove(&stream) else { return };
        while let Some(next) = self.unlink(place) {
            place = next;
        }
        self.shrink();
    }

    /// Takes a link out of the list of its tag, and answers the next link of its stream.
    fn unlink(&mut self, place: u32) -> Option<u32> {
        let link = self.links.try_remove(place as usize)?;
        for walk in self.walks.iter_mut().filter(|walk| walk.next == place) {
            walk.next = link.next;
        }
        let tag = &mut self.tags[link.tag.index()];
        tag.count -= 1;
        if let Some(next) = self.links.get_mut(link.next as usize) {
            next.previous = link.previous;
        }
        match self.links.get_mut(link.previous as usize) {
            Some(previous) => previous.next = link.next,
            None => tag.first = link.next,
        }
        if tag.count == 0 {
            let tag = self.tags.remove(link.tag.index());
            self.by_name.remove(&tag.name);
        }
        Some(link.next_of_stream)
    }

    /// The tags of a stream, each with its place.
    fn of(&self, stream: StreamId) -> impl Iterator<Item = (u32, Link)> {
        let link = |place: u32| self.links.get(place as usize).map(|link| (place, *link));
        let first = self.first_of.get(&stream).and_then(|first| link(*first));
        std::iter::successors(first, move |(_, found)| link(found.next_of_stream))
    }

    /// How many streams carry a tag.
    pub(crate) fn count(&self, name: &str) -> usize {
        self.by_name.get(name).map_or(0, |key| self.tags[key.index()].count as usize)
    }

    /// Where the streams that carry a tag begin. Go on with [`at`](Self::at).
    pub(crate) fn first(&self, name: &str) -> Option<u32> {
        self.by_name.get(name).map(|key| self.tags[key.index()].first)
    }

    /// The stream at a place, and the place of the next one with the same tag. That place stays good while only this stream
    /// loses its tags, so whoever goes from stream to stream may end each.
    pub(crate) fn at(&self, place: u32) -> Option<(StreamId, Option<u32>)> {
        let link = self.links.get(place as usize)?;
        Some((link.stream, Some(link.next).filter(|next| *next != NONE)))
    }

    /// From now on [`next_to_close`](Self::next_to_close) answers the streams that carry a tag, for a reason.
    /// Those that are given it later stand before them.
    pub(crate) fn close_all(&mut self, name: &str, reason: CloseReason) {
        if let Some(next) = self.first(name) {
            self.walks.push_back(Walk { next, reason });
        }
    }

    /// The next stream that is to be closed, for which tag and why.
    pub(crate) fn next_to_close(&mut self) -> Option<(StreamId, Arc<str>, CloseReason)> {
        loop {
            let walk = self.walks.front_mut()?;
            if let Some(link) = self.links.get(walk.next as usize) {
                walk.next = link.next;
                return Some((link.stream, self.tags[link.tag.index()].name.clone(), walk.reason));
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

    /// Gives memory back when most of it is not used. A table shrinks to what it holds and grows by doubling, so
    /// the cost is spread over those that have left.
    fn shrink(&mut self) {
        let sparse = |used: usize, capacity: usize| capacity >= SHRINK_MIN && used < capacity / 8;
        if sparse(self.by_name.len(), self.by_name.capacity()) {
            self.by_name.shrink_to(2 * self.by_name.len());
        }
        if sparse(self.first_of.len(), self.first_of.capacity()) {
            self.first_of.shrink_to(2 * self.first_of.len());
        }
        // A slab only loses what is behind its last entry, which is all of it when it is empty.
        if self.links.is_empty() && self.links.capacity() >= SHRINK_MIN {
            self.links = Slab::new();
            self.tags = Slab::new();
        }
    }
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
    /// Revokes a tag up to and including `until`, or for as long as it is revoked already if that is longer. Where there are
    /// more than `revoked_max`, the one that is over first is forgotten early; answers whether one was.
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

    /// Ends a revocation early; answers whether there was one.
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

    /// When there is a revocation to forget. In whole seconds, so that the loop does not wake for each: what they forbid is over
    /// in time whatever is remembered of it.
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
