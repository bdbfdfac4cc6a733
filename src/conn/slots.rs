//! All connections, found by slot or by stream id.

use crate::conn::id::{Generation, StreamId};
use crate::conn::slot::{Connection, Slot};
use crate::delivery::delivery::Streams;
use crate::delivery::stream::{Phase, Stream};
use crate::error::Error;
use slab::Slab;

/// The slab of connections.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Slab<Slot>,
    generation: Generation,
    /// The number of this loop, if there are several.
    pub(crate) shard: u16,
    /// How many slots were in use when memory was freed last; `None` after there were many again.
    shrunk_at: Option<usize>,
}

/// With fewer slots memory is not freed: there is too little of it.
const SHRINK_MIN: usize = 1024;

impl Slots {
    pub(crate) fn insert(&mut self, slot: Slot) -> u32 {
        // Every slot has a descriptor, and there are far fewer than 2^32.
        u32::try_from(self.slots.insert(slot)).unwrap_or(u32::MAX)
    }

    pub(crate) fn remove(&mut self, slot: u32) {
        self.slots.remove(slot as usize);
    }

    pub(crate) fn get(&self, slot: u32) -> Option<&Slot> {
        self.slots.get(slot as usize)
    }

    pub(crate) fn get_mut(&mut self, slot: u32) -> Option<&mut Slot> {
        self.slots.get_mut(slot as usize)
    }

    /// The stream with this id, if the application may still use it.
    pub(crate) fn live(&self, id: StreamId) -> Result<&Stream, Error> {
        self.get(id.slot)
            .filter(|slot| slot.generation == id.generation && id.shard == self.shard)
            .and_then(Slot::stream)
            .filter(|stream| matches!(stream.phase, Phase::Opening | Phase::Open))
            .ok_or(if id.shard == self.shard { Error::Closed } else { Error::OtherLoop })
    }

    /// All streams, whatever their phase.
    pub(crate) fn streams_mut(&mut self) -> impl Iterator<Item = &mut Stream> {
        self.slots.iter_mut().filter_map(|(_, slot)| slot.stream_mut())
    }

    /// The id of the current or last stream in `slot`.
    pub(crate) fn id(&self, slot: u32) -> Option<StreamId> {
        Some(StreamId { slot, generation: self.get(slot)?.generation, shard: self.shard })
    }

    /// Draws an id for a new stream in `slot`.
    pub(crate) fn draw_id(&mut self, slot: u32) -> StreamId {
        self.generation = self.generation.next();
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            slot.generation = self.generation;
        }
        StreamId { slot, generation: self.generation, shard: self.shard }
    }

    /// Frees memory when most of the slots are vacant. Returns whether it was tried. Only slots after the
    /// highest one in use can be freed. After a try the next one waits until half of the rest are vacant. So
    /// the cost of a try, proportional to the slots, is spread over those that were freed.
    pub(crate) fn shrink(&mut self) -> bool {
        let (used, capacity) = (self.slots.len(), self.slots.capacity());
        if capacity < SHRINK_MIN || used > capacity / 4 {
            self.shrunk_at = None;
            return false;
        }
        if self.shrunk_at.is_some_and(|last| used > last / 2) {
            return false;
        }
        self.shrunk_at = Some(used);
        self.slots.shrink_to_fit();
        true
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// All slots are below this one.
    pub(crate) fn bound(&self) -> u32 {
        u32::try_from(self.slots.capacity()).unwrap_or(u32::MAX)
    }

    /// All slots in use are below this one.
    pub(crate) fn last_bound(&self) -> u32 {
        let last = self.slots.iter().next_back();
        last.map_or(0, |(slot, _)| u32::try_from(slot + 1).unwrap_or(u32::MAX))
    }

    /// The slots in use.
    pub(crate) fn occupied(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().map(|(slot, _)| u32::try_from(slot).unwrap_or(u32::MAX))
    }
}

impl Streams for Slots {
    #[inline]
    fn stream(&self, slot: u32) -> Option<&Stream> {
        self.get(slot)?.stream()
    }

    #[inline]
    fn has_room(&self, slot: u32) -> bool {
        self.get(slot).is_some_and(|slot| slot.writable)
    }

    #[inline]
    fn stream_and_room(&mut self, slot: u32) -> Option<(&mut Stream, &mut bool)> {
        let Slot { state: Connection::Streaming(stream), writable, .. } = self.get_mut(slot)? else {
            return None;
        };
        Some((stream, writable))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn memory_is_freed_when_most_have_left_and_not_tried_for_each() {
        let mut slots = Slots::default();
        let all: Vec<_> = (0..10_000).map(|_| slots.insert(Slot::new(0, None))).collect();
        let grown = slots.bound();
        let mut tries = 0;
        // The highest slot stays for long: no memory can be freed until it goes.
        for &slot in &all[..9_999] {
            slots.remove(slot);
            tries += usize::from(slots.shrink());
        }
        assert!((2..20).contains(&tries), "{tries}");
        assert_eq!(slots.get(9_999).map(|slot| slot.writable), Some(true));
        assert!(slots.bound() >= 10_000);
        slots.remove(9_999);
        slots.shrink();
        assert!(slots.bound() < grown / 8, "{}", slots.bound());
    }
}
