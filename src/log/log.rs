//! One log: the frames of a topic, or those waiting for a single stream, oldest first.

use super::block::{BLOCK_BYTES, Block, Spares};
use super::frame::{Frame, Kind, text_of};
use crate::canary::{Canary, is_planted};
use std::collections::VecDeque;

/// A burst that nobody has been served yet stays contiguous up to this size, so that it leaves in one `send`.
const BURST_BYTES_MAX: usize = 1 << 20;

/// A bounded sequence of frames in contiguous blocks.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Invariant: no block is empty.
    blocks: VecDeque<Block>,
    /// The sum of the blocks' bytes.
    bytes: usize,
    /// The sequence of the newest frame there ever was.
    newest: u64,
    /// The sequence of the newest frame that is gone. Whoever stands before it has fallen off.
    floor: u64,
    /// The newest frame when the log was last marked; what is behind it has not been offered to anyone yet.
    marked: u64,
}

/// Where in a log a cursor stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Place {
    /// Everything has been delivered.
    End,
    /// This frame is the next.
    Before { block: usize, frame: usize },
    /// A frame that should have been next is gone.
    FellOff,
}

/// Frames that lie one behind the other in one block.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) bytes: &'a [u8],
    /// Their ends count from `base`.
    pub(crate) frames: &'a [Frame],
    /// The offset in the block at which `bytes` begins.
    pub(crate) base: u32,
}

impl Log {
    /// Adds a frame behind all others.
    pub(crate) fn append(&mut self, sequence: u64, bytes: &[u8], kind: Kind, spares: &mut Spares) {
        debug_assert!(sequence > self.newest);
        let marked = self.marked;
        let fits = self.blocks.back().is_some_and(|tail| {
            let full = tail.bytes.len() >= BLOCK_BYTES;
            let in_burst = tail.last() > marked && tail.bytes.len() < BURST_BYTES_MAX;
            !full || in_burst
        });
        if !fits {
            self.blocks.push_back(spares.take());
        }
        if let Some(tail) = self.blocks.back_mut() {
            tail.push(sequence, bytes, kind);
        }
        self.bytes += bytes.len();
        spares.in_use += bytes.len();
        self.newest = sequence;
    }

    /// Notes that everything there is now is being offered to its streams.
    pub(crate) fn mark(&mut self) {
        self.marked = self.newest;
    }

    /// Where a cursor stands that has been given everything up to the frame `after`. Costs two binary searches, and
    /// nothing for a cursor at the end.
    pub(crate) fn place(&self, after: u64) -> Place {
        if after >= self.newest {
            return Place::End;
        }
        if after < self.floor {
            return Place::FellOff;
        }
        let block = self.blocks.partition_point(|block| block.last() <= after);
        match self.blocks.get(block) {
            None => Place::End,
            Some(found) => {
                Place::Before { block, frame: found.frames.partition_point(|frame| frame.sequence <= after) }
            }
        }
    }

    /// All frames from number `frame` of block number `block` to the end of that block.
    pub(crate) fn run(&self, block: usize, frame: usize) -> Run<'_> {
        let block = &self.blocks[block];
        let base = block.start_of(frame);
        Run { bytes: &block.bytes[base as usize..], frames: &block.frames[frame..], base }
    }

    /// The sequence of the frame before the one at this place: whoever stands there or behind it, and before the
    /// frame itself, is at the same place.
    pub(crate) fn before(&self, block: usize, frame: usize) -> u64 {
        match (block, frame) {
            (0, 0) => self.floor,
            (_, 0) => self.blocks[block - 1].last(),
            _ => self.blocks[block].frames[frame - 1].sequence,
        }
    }

    /// One frame and its bytes, or `None` behind the last.
    pub(crate) fn frame(&self, block: usize, frame: usize) -> Option<(&Frame, &[u8])> {
        let block = self.blocks.get(block)?;
        Some((block.frames.get(frame)?, block.frame_bytes(frame)))
    }

    /// Gives up the oldest blocks as long as `bytes_max` are left without them, but none that holds a frame behind the
    /// mark: those have not been offered to anyone.
    pub(crate) fn trim(&mut self, bytes_max: usize, spares: &mut Spares) {
        let marked = if is_planted(Canary::TrimsUnoffered) { self.newest } else { self.marked };
        while self
            .blocks
            .front()
            .is_some_and(|front| self.bytes - front.bytes.len() >= bytes_max && front.last() <= marked)
        {
            self.drop_front(spares);
        }
    }

    /// Gives up the blocks of which everything up to `sequence` has been delivered.
    pub(crate) fn release(&mut self, sequence: u64, spares: &mut Spares) {
        while self.blocks.front().is_some_and(|front| front.last() <= sequence) {
            self.drop_front(spares);
        }
    }

    /// Gives up everything: nobody needs it any more.
    pub(crate) fn clear(&mut self, spares: &mut Spares) {
        self.release(self.newest, spares);
    }

    fn drop_front(&mut self, spares: &mut Spares) {
        if let Some(front) = self.blocks.pop_front() {
            self.bytes -= front.bytes.len();
            spares.in_use -= front.bytes.len();
            self.floor = front.last();
            spares.give(front);
        }
    }

    /// Adds bytes to the newest frame.
    ///
    /// Only for the log of a single stream, of which that frame is not sent yet.
    pub(crate) fn extend_last(&mut self, bytes: &[u8], spares: &mut Spares) {
        if let Some(tail) = self.blocks.back_mut() {
            tail.extend_last(bytes);
            self.bytes += bytes.len();
            spares.in_use += bytes.len();
        }
    }

    /// Gives every frame behind `cursor` a new sequence: `next` and those that follow. Answers the first one unused.
    ///
    /// Only for the log of a single stream, whose frames no other cursor points at.
    pub(crate) fn renumber(&mut self, cursor: u64, mut next: u64) -> u64 {
        for frame in self.blocks.iter_mut().flat_map(|block| &mut block.frames) {
            if frame.sequence > cursor {
                frame.sequence = next;
                self.newest = next;
                next += 1;
            }
        }
        next
    }

    /// Puts a frame, or two, before all that have not been delivered, in one piece with them.
    ///
    /// Only for the log of a single stream. The new sequences lie between that stream's cursor and its next frame, so
    /// whatever is not behind them has been delivered and goes.
    pub(crate) fn prepend(
        &mut self,
        first: (u64, &[u8], Kind),
        second: Option<(u64, &[u8], Kind)>,
        spares: &mut Spares,
    ) {
        let old = std::mem::take(self);
        spares.in_use -= old.bytes;
        for (sequence, bytes, kind) in [first].into_iter().chain(second) {
            self.append(sequence, bytes, kind, spares);
        }
        for block in old.blocks {
            for (index, frame) in block.frames.iter().enumerate() {
                if frame.sequence > self.newest {
                    self.append(frame.sequence, block.frame_bytes(index), frame.kind, spares);
                }
            }
            spares.give(block);
        }
    }

    /// The texts of all events, as they are without chunk lines.
    pub(crate) fn events(&self) -> impl Iterator<Item = &str> {
        let frames = self.blocks.iter().flat_map(|block| {
            block.frames.iter().enumerate().map(|(index, frame)| (frame.kind, block.frame_bytes(index)))
        });
        frames.filter(|(kind, _)| kind.event).map(|(kind, bytes)| text_of(kind, bytes))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The bytes of all frames behind the frame `after`. Where the first of them is no chunk it does not count: it is
    /// what has to be sent before any event can be, such as the head of a response and the replies in front of it.
    pub(crate) fn bytes_behind(&self, after: u64) -> usize {
        match self.place(after) {
            Place::Before { block, frame } => {
                let before: usize = self.blocks.iter().take(block).map(|block| block.bytes.len()).sum();
                let first = &self.blocks[block];
                let from = if first.frames[frame].kind.prefix == 0 {
                    first.frames[frame].end
                } else {
                    first.start_of(frame)
                };
                self.bytes - before - from as usize
            }
            Place::End | Place::FellOff => 0,
        }
    }

    #[cfg(test)]
    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    #[cfg(test)]
    pub(crate) fn marked(&self) -> u64 {
        self.marked
    }

    #[cfg(test)]
    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }
}
