//! One log: the frames of a topic, or those waiting for a single stream, oldest first.

use crate::topic::block::{BLOCK_BYTES, Block, Meta, Spares};
use crate::topic::frame::{Frame, Kind, Role, text_of};
use crate::topic::position::Position;
use std::collections::VecDeque;

/// A burst that nobody has been served yet stays contiguous up to this size, so that it leaves in one `send`.
const BURST_BYTES_MAX: usize = 1 << 20;

/// Blocks that an emptied log keeps the room for.
const SPARE_ROOM: usize = 4;

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
    /// The bytes of frames that are superseded, and of those that are the newest of their key.
    superseded: usize,
    current: usize,
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

/// Frames that lie one behind the other in one block: one at least.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) bytes: &'a [u8],
    /// Their ends count from `base`.
    pub(crate) frames: &'a [Frame],
    /// The offset in the block at which `bytes` begins.
    pub(crate) base: u32,
}

impl<'a> Run<'a> {
    pub(crate) fn first(&self) -> &'a Frame {
        &self.frames[0]
    }

    /// Its first `count` frames, of which there is one at least.
    pub(crate) fn cut(self, count: usize) -> Self {
        let frames = &self.frames[..count];
        let bytes = &self.bytes[..(frames[count - 1].end - self.base) as usize];
        Self { bytes, frames, ..self }
    }
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

    /// Adds a frame as [`append`](Self::append) does, with what a history has to know of it: of all frames of a log, or of none.
    pub(crate) fn append_dated(
        &mut self,
        sequence: u64,
        bytes: &[u8],
        kind: Kind,
        meta: Meta,
        spares: &mut Spares,
    ) {
        self.append(sequence, bytes, kind, spares);
        if let Some(tail) = self.blocks.back_mut() {
            tail.meta.push(meta);
        }
    }

    /// Dates all frames there are: they were published before anybody wanted to know when.
    pub(crate) fn date_all(&mut self, meta: Meta) {
        for block in &mut self.blocks {
            block.meta.resize(block.frames.len(), meta);
        }
    }

    /// When the frame at this place was published.
    pub(crate) fn meta(&self, block: usize, frame: usize) -> Option<Meta> {
        self.blocks.get(block)?.meta.get(frame).copied()
    }

    /// The newest frame at `position` or before; that before the oldest where there is none.
    pub(crate) fn newest_at(&self, position: Position) -> u64 {
        let is_before = |meta: &Meta| meta.position <= position;
        let count = self.blocks.partition_point(|block| block.meta.first().is_some_and(is_before));
        let Some(block) = count.checked_sub(1).and_then(|last| self.blocks.get(last)) else {
            return self.floor;
        };
        let frames = block.meta.partition_point(is_before);
        frames
            .checked_sub(1)
            .and_then(|last| block.frames.get(last))
            .map_or(self.floor, |frame| frame.sequence)
    }

    /// How many frames that are not superseded stand behind `after` and not behind `until`.
    pub(crate) fn count(&self, after: u64, until: u64) -> usize {
        let frames = self.blocks.iter().flat_map(|block| &block.frames);
        let counted =
            |frame: &&Frame| (after + 1..=until).contains(&frame.sequence) && frame.role != Role::Superseded;
        frames.filter(counted).count()
    }

    /// Gives up frames up to `sequence` at the front of the oldest block as well, when they are most of it, and memory that is
    /// reserved for more. For a log that is left alone for a while: there may be many.
    pub(crate) fn compact(&mut self, sequence: u64, spares: &mut Spares) {
        if let Some(front) = self.blocks.front_mut() {
            let dead = front.frames.partition_point(|frame| frame.sequence <= sequence);
            let bytes = front.start_of(dead) as usize;
            if bytes > front.bytes.len() / 2 {
                self.floor = front.frames[dead - 1].sequence;
                // A topic that is keyed no more may hold some that were superseded when it was.
                self.superseded -= front.bytes_of(Role::Superseded);
                self.current -= front.bytes_of(Role::Current);
                front.drop_front(dead);
                self.superseded += front.bytes_of(Role::Superseded);
                self.current += front.bytes_of(Role::Current);
                self.bytes -= bytes;
                spares.in_use -= bytes;
            }
        }
        if let Some(tail) = self.blocks.back_mut() {
            tail.fit();
        }
        // Nearly always it is one block, and there is no room for fewer than four unless it is asked for.
        if self.blocks.len() == 1 {
            self.blocks.shrink_to_fit();
        }
    }

    /// Notes that everything there is now is being offered to its streams.
    pub(crate) fn mark(&mut self) {
        self.marked = self.newest;
    }

    /// Says what a frame is, and answers its bytes if it is there.
    pub(crate) fn set_role(&mut self, sequence: u64, role: Role) -> Option<usize> {
        let Place::Before { block, frame } = self.place(sequence - 1) else { return None };
        let block = &mut self.blocks[block];
        let bytes = block.frame_bytes(frame).len();
        let found = &mut block.frames[frame];
        if found.sequence != sequence {
            return None;
        }
        let before = std::mem::replace(&mut found.role, role);
        self.count_role(before, 0, bytes);
        self.count_role(role, bytes, 0);
        Some(bytes)
    }

    /// Nothing is the newest of its key any more: nobody knows which keys there were.
    pub(crate) fn forget_keys(&mut self) {
        for frame in self.blocks.iter_mut().flat_map(|block| &mut block.frames) {
            if frame.role == Role::Current {
                frame.role = Role::Plain;
            }
        }
        self.current = 0;
    }

    /// Whether it holds the frame `sequence`.
    pub(crate) fn holds(&self, sequence: u64) -> bool {
        self.next(sequence - 1).is_some_and(|run| run.first().sequence == sequence)
    }

    fn count_role(&mut self, role: Role, more: usize, less: usize) {
        let count = match role {
            Role::Plain => return,
            Role::Current => &mut self.current,
            Role::Superseded => &mut self.superseded,
        };
        *count = *count + more - less;
    }

    /// Whether it holds frames that only those get who are not behind.
    pub(crate) fn is_conflated(&self) -> bool {
        self.superseded > 0
    }

    /// The bytes of frames that only those get who are not behind.
    pub(crate) fn superseded(&self) -> usize {
        self.superseded
    }

    /// Up to which frame those without a key would have to go, so that `bytes_max` are left of them, if that is worth a copy of
    /// the rest: none behind the mark or behind `horizon` can.
    pub(crate) fn plain_excess(&self, bytes_max: usize, horizon: u64) -> Option<u64> {
        let plain = self.bytes - self.superseded - self.current;
        let can = self.marked.min(horizon);
        let (mut gain, mut excess) = (0, None);
        if plain <= bytes_max + BLOCK_BYTES {
            return None;
        }
        'walk: for block in &self.blocks {
            for (index, frame) in block.frames.iter().enumerate() {
                if plain - gain <= bytes_max || frame.sequence > can {
                    break 'walk;
                }
                if frame.role == Role::Plain {
                    gain += block.frame_bytes(index).len();
                    excess = Some(frame.sequence);
                }
            }
        }
        excess.filter(|_| gain >= BLOCK_BYTES.max(self.bytes / 4))
    }

    /// How many frames without a key stand behind `after` and not behind `until`.
    pub(crate) fn count_plain(&self, after: u64, until: u64) -> usize {
        let frames = self.blocks.iter().flat_map(|block| &block.frames);
        frames
            .filter(|frame| frame.sequence > after && frame.goes(until) && frame.role == Role::Plain)
            .count()
    }

    /// Whether [`retain_keys`](Self::retain_keys) gives this frame up.
    pub(crate) fn gives_up(&self, frame: &Frame, limit: u64) -> bool {
        frame.sequence <= self.marked && frame.goes(limit)
    }

    /// Gives up what is superseded and has been offered, and of all frames up to `limit` those that are not the newest of their
    /// key. Whoever has begun to get one of them has to have its rest elsewhere. Costs a copy of what is left.
    pub(crate) fn retain_keys(&mut self, limit: u64, spares: &mut Spares) {
        let mut old = std::mem::take(self);
        (self.marked, self.floor) = (old.marked, old.floor);
        spares.in_use -= old.bytes;
        for block in std::mem::take(&mut old.blocks) {
            for (index, frame) in block.frames.iter().enumerate() {
                if old.gives_up(frame, limit) {
                    continue;
                }
                let bytes = block.frame_bytes(index);
                self.append(frame.sequence, bytes, frame.kind, spares);
                if let Some(tail) = self.blocks.back_mut() {
                    tail.meta.extend(block.meta.get(index));
                    if let Some(last) = tail.frames.last_mut() {
                        last.role = frame.role;
                    }
                }
                self.count_role(frame.role, bytes.len(), 0);
            }
            spares.give(block);
        }
        self.newest = old.newest;
    }

    /// The first frame behind `after`, and those behind it in its block.
    pub(crate) fn next(&self, after: u64) -> Option<Run<'_>> {
        let Place::Before { block, frame } = self.place(after) else { return None };
        Some(self.run(block, frame))
    }

    /// The first frame behind `after` that is not superseded, and whatever stands behind it in its block.
    pub(crate) fn next_current(&self, after: u64) -> Option<Run<'_>> {
        let Place::Before { block: first, frame } = self.place(after) else { return None };
        let mut from = frame;
        for (number, block) in self.blocks.iter().enumerate().skip(first) {
            let current = block.frames.iter().skip(from).position(|frame| !frame.is_conflated());
            if let Some(offset) = current {
                return Some(self.run(number, from + offset));
            }
            from = 0;
        }
        None
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

    /// The newest frame of the oldest blocks that can be given up, if any can, so that `bytes_max` are left without them. None
    /// that holds a frame behind the mark can, as those have not been offered to anyone, or one behind `horizon`.
    pub(crate) fn excess(&self, bytes_max: usize, horizon: u64) -> Option<u64> {
        let mut left = self.bytes;
        let mut excess = None;
        for block in &self.blocks {
            left -= block.bytes.len();
            if left < bytes_max || block.last() > self.marked.min(horizon) {
                break;
            }
            excess = Some(block.last());
        }
        excess
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

    /// Makes a log that has been [cleared](Self::clear) a new one, with the room for a few blocks that it has.
    pub(crate) fn reset(&mut self) {
        debug_assert!(self.is_empty());
        self.blocks.shrink_to(SPARE_ROOM);
        *self = Self { blocks: std::mem::take(&mut self.blocks), ..Self::default() };
    }

    fn drop_front(&mut self, spares: &mut Spares) {
        if let Some(front) = self.blocks.pop_front() {
            self.bytes -= front.bytes.len();
            spares.in_use -= front.bytes.len();
            self.superseded -= front.bytes_of(Role::Superseded);
            self.current -= front.bytes_of(Role::Current);
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

    /// Puts frames before all that have not been delivered, in one piece with them.
    ///
    /// Only for the log of a single stream. The new sequences lie between that stream's cursor and its next frame, so
    /// whatever is not behind them has been delivered and goes.
    pub(crate) fn prepend<'a>(
        &mut self,
        frames: impl IntoIterator<Item = (u64, &'a [u8], Kind)>,
        spares: &mut Spares,
    ) {
        let mut old = std::mem::take(self);
        spares.in_use -= old.bytes;
        if old.is_empty() {
            std::mem::swap(&mut self.blocks, &mut old.blocks);
        }
        for (sequence, bytes, kind) in frames {
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

    /// Puts a frame to its place among those that have not been delivered, where another frame `without` gives way.
    ///
    /// Only for the log of a single stream.
    pub(crate) fn insert(&mut self, new: (u64, &[u8], Kind), without: Option<u64>, spares: &mut Spares) {
        let old = std::mem::take(self);
        spares.in_use -= old.bytes;
        let mut new = Some(new);
        for block in old.blocks {
            for (index, frame) in block.frames.iter().enumerate() {
                if let Some((sequence, bytes, kind)) =
                    new.take_if(|(sequence, ..)| *sequence < frame.sequence)
                {
                    self.append(sequence, bytes, kind, spares);
                }
                if without != Some(frame.sequence) {
                    self.append(frame.sequence, block.frame_bytes(index), frame.kind, spares);
                }
            }
            spares.give(block);
        }
        if let Some((sequence, bytes, kind)) = new {
            self.append(sequence, bytes, kind, spares);
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

    pub(crate) fn floor(&self) -> u64 {
        self.floor
    }
}
