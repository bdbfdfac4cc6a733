//! All connections, found by slot or by stream id.

use super::id::{Generation, StreamId};
use super::slot::{Phase, Slot, Stream};
use crate::error::Error;
use slab::Slab;

/// The slab of connections.
#[derive(Debug, Default)]
pub(crate) struct Slots {
    slots: Slab<Slot>,
    generation: Generation,
}

impl Slots {
    pub(crate) fn insert(&mut self, slot: Slot) -> u32 {
        // Every slot holds a descriptor, and those are far fewer than 2^32.
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

    /// The stream in `slot`, whatever its phase.
    pub(crate) fn stream(&self, slot: u32) -> Option<&Stream> {
        self.get(slot)?.stream()
    }

    /// The stream in `slot`, whatever its phase.
    pub(crate) fn stream_mut(&mut self, slot: u32) -> Option<&mut Stream> {
        self.get_mut(slot)?.stream_mut()
    }

    /// The stream of that id, if the application may still use it.
    pub(crate) fn live(&self, id: StreamId) -> Result<&Stream, Error> {
        self.get(id.slot)
            .filter(|slot| slot.generation == id.generation)
            .and_then(Slot::stream)
            .filter(|stream| matches!(stream.phase, Phase::Opening | Phase::Open))
            .ok_or(Error::Closed)
    }

    /// The id of the stream that is, or was last, in `slot`.
    pub(crate) fn id(&self, slot: u32) -> Option<StreamId> {
        Some(StreamId { slot, generation: self.get(slot)?.generation })
    }

    /// Draws an id for a stream about to begin in `slot`.
    pub(crate) fn draw_id(&mut self, slot: u32) -> StreamId {
        self.generation = self.generation.next();
        if let Some(slot) = self.slots.get_mut(slot as usize) {
            slot.generation = self.generation;
        }
        StreamId { slot, generation: self.generation }
    }

    pub(crate) fn len(&self) -> usize {
        self.slots.len()
    }

    /// One more than the highest slot there may be.
    pub(crate) fn bound(&self) -> u32 {
        u32::try_from(self.slots.capacity()).unwrap_or(u32::MAX)
    }

    /// The slots in use.
    pub(crate) fn occupied(&self) -> impl Iterator<Item = u32> {
        self.slots.iter().map(|(slot, _)| u32::try_from(slot).unwrap_or(u32::MAX))
    }
}
