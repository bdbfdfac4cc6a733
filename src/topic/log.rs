//! A log: the frames of a topic, or those that wait for one stream, oldest first.
//!
//! A cleared log holds no block. One store of spare blocks, at most 1 MiB, serves all logs. So a million
//! quiet topics hold no buffers, and a busy one does not allocate.

use crate::topic::block::{BLOCK_BYTES, Block, Spares};
use crate::topic::frame::{Frame, Kind, Role, text_of};
use crate::topic::ids::id_of;
use crate::topic::position::Position;
use std::collections::VecDeque;

/// A burst that was not offered yet stays contiguous up to this size, so that it leaves in one `send`.
const BURST_BYTES_MAX: usize = 1 << 20;

/// The rest of a block is copied if one in this many of its bytes is superseded.
const SPARSE: usize = 4;

/// The number of blocks for which an emptied log keeps room.
const SPARE_ROOM: usize = 4;

/// A bounded sequence of frames in contiguous blocks.
#[derive(Debug, Default)]
pub(crate) struct Log {
    /// Invariant: no block is empty.
    blocks: VecDeque<Block>,
    /// The bytes of all blocks.
    bytes: usize,
    /// The sequence of the newest frame that was ever appended.
    newest: u64,
    /// The sequence of the newest frame that was dropped from the front.
    floor: u64,
    /// The newest dated frame that was dropped without a newer one of its key.
    pub(crate) gone: u64,
    /// The bytes of superseded frames, and of frames that are the newest of their key.
    superseded: usize,
    current: usize,
    /// The newest frame when the log was last marked. Later frames have not been offered to any stream.
    marked: u64,
}

/// The place of a frame: its block, and its index there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    pub(crate) block: usize,
    pub(crate) frame: usize,
}

/// Consecutive frames of one block, at least one.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Run<'a> {
    pub(crate) bytes: &'a [u8],
    /// The frames. Their ends count from `base`.
    pub(crate) frames: &'a [Frame],
    /// The offset in the block at which `bytes` begins.
    pub(crate) base: u32,
}

impl<'a> Run<'a> {
    pub(crate) fn first(&self) -> &'a Frame {
        &self.frames[0]
    }

    /// All frames, each with its bytes.
    pub(crate) fn each(self) -> impl Iterator<Item = (&'a Frame, &'a [u8])> {
        let mut start = self.base;
        self.frames.iter().map(move |frame| {
            let bytes = &self.bytes[(start - self.base) as usize..(frame.end - self.base) as usize];
            start = frame.end;
            (frame, bytes)
        })
    }

    /// Its first `count` frames; at least one.
    pub(crate) fn cut(self, count: usize) -> Self {
        let frames = &self.frames[..count];
        let bytes = &self.bytes[..(frames[count - 1].end - self.base) as usize];
        Self { bytes, frames, ..self }
    }
}

impl Log {
    pub(crate) const fn new() -> Self {
        Self {
            blocks: VecDeque::new(),
            bytes: 0,
            newest: 0,
            floor: 0,
            gone: 0,
            superseded: 0,
            current: 0,
            marked: 0,
        }
    }

    /// Appends a frame.
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
            let before = tail.capacity();
            tail.push(sequence, bytes, kind);
            spares.held += tail.capacity() - before;
        }
        self.bytes += bytes.len();
        spares.in_use += bytes.len();
        self.newest = sequence;
    }

    /// Appends a frame together with the time when it was published. In one log either all frames have a
    /// time, or none.
    pub(crate) fn append_dated(
        &mut self,
        sequence: u64,
        bytes: &[u8],
        kind: Kind,
        tick: u64,
        spares: &mut Spares,
    ) {
        self.append(sequence, bytes, kind, spares);
        if let Some(tail) = self.blocks.back_mut() {
            let before = tail.capacity();
            tail.ticks.push(tick);
            spares.held += tail.capacity() - before;
        }
    }

    /// Gives all frames the time `tick`: they were published when no history needed it.
    pub(crate) fn date_all(&mut self, tick: u64, spares: &mut Spares) {
        for block in &mut self.blocks {
            let before = block.capacity();
            block.ticks.resize(block.frames.len(), tick);
            spares.held += block.capacity() - before;
        }
    }

    /// When the frame at this place was published.
    pub(crate) fn tick(&self, Place { block, frame }: Place) -> Option<u64> {
        self.blocks.get(block)?.ticks.get(frame).copied()
    }

    /// The newest frame that was ever appended at or before `until`.
    pub(crate) fn newest_until(&self, until: u64) -> u64 {
        let block = self.blocks.partition_point(|block| block.frames[0].sequence <= until);
        let found = block.checked_sub(1).map(|last| &self.blocks[last].frames);
        let found = found.and_then(|frames| {
            let count = frames.partition_point(|frame| frame.sequence <= until);
            frames[..count].last()
        });
        found.map_or(self.gone, |frame| frame.sequence.max(self.gone))
    }

    /// The newest frame at or before `position` whose id is a position, if there is one. Frames before those
    /// with positions may have no id, or another.
    pub(crate) fn newest_at(&self, position: Position) -> Option<u64> {
        let is_before = |block: &Block, frame: usize| {
            position_of(block.frame_bytes(frame)).is_none_or(|found| found <= position)
        };
        let block = self.blocks.partition_point(|block| is_before(block, 0)).checked_sub(1)?;
        let block = &self.blocks[block];
        let (mut low, mut high) = (0, block.frames.len());
        while low < high {
            let middle = usize::midpoint(low, high);
            if is_before(block, middle) {
                low = middle + 1;
            } else {
                high = middle;
            }
        }
        Some(block.frames[low - 1].sequence)
    }

    /// Drops frames up to `sequence` from the front of the oldest block too, if they are most of it, and
    /// frees unused memory. For a log that will be idle for a while: there may be many.
    pub(crate) fn compact(&mut self, sequence: u64, spares: &mut Spares) {
        if let Some(front) = self.blocks.front_mut() {
            let dead = front.frames.partition_point(|frame| frame.sequence <= sequence);
            let bytes = front.start_of(dead) as usize;
            if bytes > front.bytes.len() / 2 {
                self.floor = front.frames[dead - 1].sequence;
                self.gone = self.gone.max(if front.ticks.is_empty() { 0 } else { self.floor });
                // If the topic was keyed before, it may still hold superseded frames.
                self.superseded -= front.bytes_of(Role::Superseded);
                self.current -= front.bytes_of(Role::Current);
                front.drop_front(dead);
                self.superseded += front.bytes_of(Role::Superseded);
                self.current += front.bytes_of(Role::Current);
                self.bytes -= bytes;
                spares.in_use -= bytes;
                spares.fit(front);
            }
        }
        self.fit_newest(spares);
        // Nearly always there is one block, but a `VecDeque` has room for at least four unless it is shrunk.
        if self.blocks.len() == 1 {
            self.blocks.shrink_to_fit();
        }
    }

    /// Frees memory that is reserved for more events, if there is much.
    pub(crate) fn fit_newest(&mut self, spares: &mut Spares) {
        if let Some(tail) = self.blocks.back_mut() {
            spares.fit(tail);
        }
    }

    /// Notes that all frames are now being offered to the subscribers.
    pub(crate) fn mark(&mut self) {
        self.marked = self.newest;
    }

    /// Sets the role of a frame, and returns the number of its bytes if the log holds it.
    pub(crate) fn set_role(&mut self, sequence: u64, role: Role) -> Option<usize> {
        let Place { block, frame } = self.place(sequence - 1)?;
        let block = &mut self.blocks[block];
        if block.frames[frame].sequence != sequence {
            return None;
        }
        let bytes = block.frame_bytes(frame).len();
        let before = block.set_role(frame, role);
        self.count_role(before, 0, bytes);
        self.count_role(role, bytes, 0);
        Some(bytes)
    }

    /// Makes all current frames plain: the keys of the topic are forgotten.
    pub(crate) fn forget_keys(&mut self) {
        self.blocks.iter_mut().for_each(Block::forget_keys);
        self.current = 0;
    }

    /// The bytes of the frame `sequence`, if the log holds it.
    pub(crate) fn bytes_of(&self, sequence: u64) -> Option<&[u8]> {
        let (frame, bytes) = self.frame(self.place(sequence.checked_sub(1)?)?);
        (frame.sequence == sequence).then_some(bytes)
    }

    fn count_role(&mut self, role: Role, more: usize, less: usize) {
        let count = match role {
            Role::Plain => return,
            Role::Current => &mut self.current,
            Role::Superseded => &mut self.superseded,
        };
        *count = *count + more - less;
    }

    /// Whether the log holds superseded frames, which only streams that are not behind get.
    pub(crate) fn is_conflated(&self) -> bool {
        self.superseded > 0
    }

    /// The bytes of superseded frames.
    pub(crate) fn superseded(&self) -> usize {
        self.superseded
    }

    /// The newest frame without a key that has to go for `bytes_max` bytes of such frames to be left. `None`
    /// if that frees less than a block. Frames after `can` stay.
    pub(crate) fn plain_excess(&self, bytes_max: usize, can: u64) -> Option<u64> {
        let plain = self.bytes - self.superseded - self.current;
        let (mut gain, mut excess, mut whole) = (0, None, None);
        if plain <= bytes_max.saturating_add(BLOCK_BYTES) {
            return None;
        }
        'walk: for block in &self.blocks {
            let all = block.bytes_of(Role::Plain);
            if all == 0 || block.last() <= can && plain - gain > bytes_max.saturating_add(all) {
                // All plain frames of this block go. The next block is looked at without a walk over the
                // frames.
                whole = if all > 0 { Some(block) } else { whole };
                gain += all;
                continue;
            }
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
        let last_plain = |block: &Block| {
            block.frames.iter().rfind(|frame| frame.role == Role::Plain).map(|frame| frame.sequence)
        };
        let excess = excess.or_else(|| whole.and_then(last_plain));
        excess.filter(|_| gain >= BLOCK_BYTES)
    }

    /// For each of `places`, which ascend, the number of frames without a key at or before it.
    pub(crate) fn count_plain_at(&self, places: impl Iterator<Item = u64>) -> impl Iterator<Item = usize> {
        let mut frames = self.blocks.iter().flat_map(|block| &block.frames).peekable();
        let mut count = 0;
        places.map(move |place| {
            while let Some(frame) = frames.next_if(|frame| frame.sequence <= place) {
                count += usize::from(frame.role == Role::Plain);
            }
            count
        })
    }

    /// Marks frames without a key after the frame `after` and up to `until` as superseded: streams that are
    /// behind skip them.
    pub(crate) fn supersede_plain(&mut self, after: u64, until: u64) {
        let first = self.blocks.partition_point(|block| block.last() <= after);
        for block in self.blocks.range_mut(first..) {
            if block.bytes_of(Role::Plain) == 0 {
                continue;
            }
            if block.frames[0].sequence > until {
                return;
            }
            let before = block.bytes_of(Role::Superseded);
            for index in 0..block.frames.partition_point(|frame| frame.sequence <= until) {
                if block.frames[index].role == Role::Plain {
                    self.gone =
                        self.gone.max(if block.ticks.is_empty() { 0 } else { block.frames[index].sequence });
                    block.set_role(index, Role::Superseded);
                }
            }
            self.superseded += block.bytes_of(Role::Superseded) - before;
        }
    }

    /// Drops superseded frames up to the frame `can`, and calls `gone` for each. Returns whether there may be
    /// more to drop.
    ///
    /// A block with few superseded frames is left alone. Otherwise the rest of the block is copied, as long
    /// as no more than `copy_max` bytes have been copied.
    pub(crate) fn drop_superseded(
        &mut self,
        can: u64,
        copy_max: usize,
        spares: &mut Spares,
        mut gone: impl FnMut(u64, &[u8]),
    ) -> bool {
        let newest = self.newest;
        let (mut copied, mut more) = (0, false);
        for block in std::mem::take(&mut self.blocks) {
            let superseded = block.bytes_of(Role::Superseded);
            let is_sparse = superseded > block.bytes.len() / SPARSE && block.last() <= can;
            let copy = block.bytes.len() - superseded;
            if !is_sparse || copied + copy > copy_max.max(copy) {
                more |= is_sparse;
                self.blocks.push_back(block);
                continue;
            }
            copied += copy;
            self.bytes -= block.bytes.len();
            spares.in_use -= block.bytes.len();
            self.superseded -= superseded;
            self.current -= block.bytes_of(Role::Current);
            self.newest = self.blocks.back().map_or(0, Block::last);
            for (index, frame) in block.frames.iter().enumerate() {
                let bytes = block.frame_bytes(index);
                if frame.role == Role::Superseded {
                    gone(frame.sequence, bytes);
                    continue;
                }
                self.append(frame.sequence, bytes, frame.kind, spares);
                if let Some(tail) = self.blocks.back_mut() {
                    let before = tail.capacity();
                    tail.ticks.extend(block.ticks.get(index));
                    spares.held += tail.capacity() - before;
                    tail.set_role(tail.frames.len() - 1, frame.role);
                }
                self.count_role(frame.role, bytes.len(), 0);
            }
            spares.give(block);
        }
        self.blocks.iter_mut().for_each(|block| spares.fit(block));
        self.newest = newest;
        more
    }

    /// The first frame after `after`, and those that follow in its block.
    pub(crate) fn next(&self, after: u64) -> Option<Run<'_>> {
        self.place(after).map(|place| self.run(place))
    }

    /// The first frame after `after` that is not superseded, and all that follow in its block.
    pub(crate) fn next_current(&self, after: u64) -> Option<Run<'_>> {
        let Place { block: first, frame } = self.place(after)?;
        let mut from = frame;
        for (number, block) in self.blocks.iter().enumerate().skip(first) {
            if block.is_superseded() {
                from = 0;
                continue;
            }
            let current = block.frames.iter().skip(from).position(|frame| !frame.is_conflated());
            if let Some(offset) = current {
                return Some(self.run(Place { block: number, frame: from + offset }));
            }
            from = 0;
        }
        None
    }

    /// The first frame after `after`. Costs two binary searches, and nothing for a cursor at the end.
    pub(crate) fn place(&self, after: u64) -> Option<Place> {
        if after >= self.newest {
            return None;
        }
        let block = self.blocks.partition_point(|block| block.last() <= after);
        let frame = self.blocks.get(block)?.frames.partition_point(|frame| frame.sequence <= after);
        Some(Place { block, frame })
    }

    /// All frames from this one to the end of its block.
    pub(crate) fn run(&self, Place { block, frame }: Place) -> Run<'_> {
        let block = &self.blocks[block];
        let base = block.start_of(frame);
        Run { bytes: &block.bytes[base as usize..], frames: &block.frames[frame..], base }
    }

    /// The sequence of the frame before this place. Any cursor from there up to the frame itself means the
    /// same position.
    pub(crate) fn before(&self, Place { block, frame }: Place) -> u64 {
        match (block, frame) {
            (0, 0) => self.floor,
            (_, 0) => self.blocks[block - 1].last(),
            _ => self.blocks[block].frames[frame - 1].sequence,
        }
    }

    /// The frame at this place, and its bytes.
    pub(crate) fn frame(&self, Place { block, frame }: Place) -> (&Frame, &[u8]) {
        let block = &self.blocks[block];
        (&block.frames[frame], block.frame_bytes(frame))
    }

    /// The last frame of the oldest blocks that can be dropped, if any can, when `bytes_max` bytes have to be
    /// left. Blocks with a frame after `can` stay.
    pub(crate) fn excess(&self, bytes_max: usize, can: u64) -> Option<u64> {
        let mut left = self.bytes;
        let mut excess = None;
        for block in &self.blocks {
            left -= block.bytes.len();
            if left < bytes_max || block.last() > can {
                break;
            }
            excess = Some(block.last());
        }
        excess
    }

    /// Drops the blocks that end at or before `sequence`.
    pub(crate) fn release(&mut self, sequence: u64, spares: &mut Spares) {
        while self.blocks.front().is_some_and(|front| front.last() <= sequence) {
            self.drop_front(spares);
        }
    }

    /// Drops all frames.
    pub(crate) fn clear(&mut self, spares: &mut Spares) {
        self.release(self.newest, spares);
    }

    /// Resets a [cleared](Self::clear) log, but keeps its room for a few blocks.
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
            self.gone = self.gone.max(if front.ticks.is_empty() { 0 } else { self.floor });
            spares.give(front);
        }
    }

    /// All events, each with its text without chunk lines.
    pub(crate) fn events(&self) -> impl Iterator<Item = (Kind, &str)> {
        let frames = self.blocks.iter().flat_map(|block| {
            block.frames.iter().enumerate().map(|(index, frame)| (frame.kind, block.frame_bytes(index)))
        });
        frames.filter(|(kind, _)| kind.event).map(|(kind, bytes)| (kind, text_of(kind, bytes)))
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.blocks.is_empty()
    }

    /// The bytes of the frames after `after` that have been offered.
    pub(crate) fn offered_behind(&self, after: u64) -> usize {
        self.bytes_up_to(self.marked).saturating_sub(self.bytes_up_to(after))
    }

    /// The bytes of the frames after `after`.
    pub(crate) fn bytes_behind(&self, after: u64) -> usize {
        self.bytes - self.bytes_up_to(after)
    }

    /// Whether the log holds the newest frame of a key after `after` and up to `until`.
    pub(crate) fn holds_current(&self, after: u64, until: u64) -> bool {
        let mut frames = self.blocks.iter().flat_map(|block| &block.frames);
        let current =
            |frame: &Frame| frame.sequence > after && frame.sequence <= until && frame.role == Role::Current;
        self.current > 0 && frames.any(current)
    }

    fn bytes_up_to(&self, sequence: u64) -> usize {
        let whole = self.blocks.partition_point(|block| block.last() <= sequence);
        let before: usize = self.blocks.iter().take(whole).map(|block| block.bytes.len()).sum();
        let begun = self.blocks.get(whole).map_or(0, |block| {
            block.start_of(block.frames.partition_point(|frame| frame.sequence <= sequence))
        });
        before + begun as usize
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    /// The memory of its blocks.
    pub(crate) fn held(&self) -> usize {
        self.blocks.iter().map(Block::capacity).sum()
    }

    pub(crate) fn newest(&self) -> u64 {
        self.newest
    }

    /// The newest frame that has been offered.
    pub(crate) fn marked(&self) -> u64 {
        self.marked
    }
}

/// The position in the id of a frame.
pub(crate) fn position_of(bytes: &[u8]) -> Option<Position> {
    id_of(bytes)?.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// `Log::plain_excess`, frame by frame.
    fn excess_by_frames(log: &Log, bytes_max: usize, can: u64) -> Option<u64> {
        let plain = log.bytes - log.superseded - log.current;
        let (mut gain, mut excess) = (0, None);
        let frames = log.blocks.iter().flat_map(|block| {
            block.frames.iter().enumerate().map(|(index, frame)| (frame, block.frame_bytes(index).len()))
        });
        for (frame, bytes) in frames {
            if plain - gain <= bytes_max || frame.sequence > can {
                break;
            }
            if frame.role == Role::Plain {
                gain += bytes;
                excess = Some(frame.sequence);
            }
        }
        excess.filter(|_| plain > bytes_max + BLOCK_BYTES && gain >= BLOCK_BYTES)
    }

    #[test]
    fn the_excess_by_blocks_is_the_excess_by_frames() {
        let (mut log, mut spares, mut random) = (Log::default(), Spares::default(), 7_u32);
        for number in 1..=600_usize {
            let sequence = number as u64;
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            log.append(sequence, &vec![b'x'; 1 + (random >> 20) as usize], Kind::RAW, &mut spares);
            log.mark();
            // Long stretches of one role, so that some blocks hold only that.
            let role = [Role::Plain, Role::Superseded, Role::Plain, Role::Current];
            log.set_role(sequence, role[number / 75 % 4]);
        }
        let mut found = 0;
        for bytes_max in (0..log.bytes).step_by(997) {
            for can in [0, 1, 40, 74, 75, 200, 301, 450, 599, 600, u64::MAX] {
                let excess = log.plain_excess(bytes_max, can);
                assert_eq!(excess, excess_by_frames(&log, bytes_max, can), "{bytes_max} {can}");
                found += usize::from(excess.is_some());
            }
        }
        assert!(log.blocks.len() > 10 && found > 100, "{found}");
        let next = log.next_current(75).map(|run| run.first().sequence);
        assert_eq!(next, Some(150), "superseded blocks are skipped");
    }

    proptest! {
        /// A keyed log drops superseded frames and nothing else, in pieces, except where few frames of a
        /// block are superseded.
        #[test]
        fn a_log_that_is_copied_in_pieces_loses_nothing_else(
            roles in proptest::collection::vec((0..3_usize, 0..6_000_usize), 1..400),
            limit in 0..400_u64,
            can in 0..500_u64,
            copy_max in 1..200_000_usize,
        ) {
            let (mut log, mut spares) = (Log::default(), Spares::default());
            let all = [Role::Plain, Role::Current, Role::Superseded];
            let frames: Vec<_> = (1..).zip(&roles).map(|(sequence, (role, size))| (sequence, all[*role], *size)).collect();
            for &(sequence, role, size) in &frames {
                log.append_dated(sequence, &vec![b'x'; 1 + size], Kind::RAW, sequence, &mut spares);
                log.mark();
                log.set_role(sequence, role);
            }
            let mut gone = Vec::new();
            let limit = limit.min(can);
            log.supersede_plain(0, limit / 2);
            log.supersede_plain(limit / 2, limit);
            let mut calls = 0;
            while log.drop_superseded(can, copy_max, &mut spares, |sequence, _| gone.push(sequence)) {
                calls += 1;
                prop_assert!(calls < 400, "it makes progress");
            }
            gone.sort_unstable();
            let held: Vec<_> = log.blocks.iter().flat_map(|block| block.frames.iter().zip(&block.ticks)).collect();
            let mut left = held.iter().map(|(frame, _)| frame.sequence).chain(gone.iter().copied()).collect::<Vec<_>>();
            left.sort_unstable();
            prop_assert_eq!(left, frames.iter().map(|(sequence, ..)| *sequence).collect::<Vec<_>>(), "once each");
            let at = |sequence: u64| *frames.iter().find(|(found, ..)| *found == sequence).unwrap();
            prop_assert!(held.is_sorted_by_key(|(frame, _)| frame.sequence));
            for (frame, tick) in held {
                let (sequence, role, size) = at(frame.sequence);
                let is_limited = role == Role::Plain && sequence <= limit;
                prop_assert_eq!(frame.role, if is_limited { Role::Superseded } else { role });
                prop_assert_eq!(*tick, sequence);
                prop_assert_eq!(log.bytes_of(sequence).map(<[u8]>::len), Some(1 + size));
            }
            for sequence in gone {
                let role = at(sequence).1;
                prop_assert!(role == Role::Superseded && sequence <= can || role == Role::Plain && sequence <= limit);
            }
            for block in log.blocks.iter().filter(|block| block.last() <= can) {
                prop_assert!(block.bytes_of(Role::Superseded) <= block.bytes.len() / SPARSE);
            }
            let sum = |role| log.blocks.iter().map(|block| block.bytes_of(role)).sum::<usize>();
            prop_assert_eq!((sum(Role::Superseded), sum(Role::Current)), (log.superseded, log.current));
            let bytes: usize = log.blocks.iter().map(|block| block.bytes.len()).sum();
            let capacity: usize = log.blocks.iter().map(Block::capacity).sum();
            prop_assert_eq!((bytes, bytes, capacity), (log.bytes, spares.in_use, spares.held));
            prop_assert_eq!(log.newest(), frames.len() as u64);
            log.append(frames.len() as u64 + 1, b"x", Kind::RAW, &mut spares);
        }
    }
}
