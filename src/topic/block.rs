//! Blocks: the contiguous memory that holds frames, and a small store of spare ones.

use crate::topic::frame::{Frame, Kind, Role};

/// A block of this size is full: the next frame begins a new one, unless it belongs to a burst (see
/// `Log::append`).
pub(crate) const BLOCK_BYTES: usize = 64 << 10;

/// The most bytes that the store of spare blocks holds. A steady flow of events needs one block. The rest is
/// for turns that send to many streams.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// The most unused bytes that an idle block may keep.
const SLACK_BYTES: usize = 4 << 10;

/// Frames in one piece of memory, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) bytes: Vec<u8>,
    /// Invariant: ends and sequences ascend, and the last end is `bytes.len()`.
    pub(crate) frames: Vec<Frame>,
    /// When each frame was published, in milliseconds of the server's clock. Empty if no history needs it.
    pub(crate) ticks: Vec<u64>,
    /// The bytes of superseded frames, and of frames that are the newest of their key.
    superseded: usize,
    current: usize,
}

impl Block {
    pub(crate) fn push(&mut self, sequence: u64, bytes: &[u8], kind: Kind) {
        debug_assert!(self.frames.last().is_none_or(|last| last.sequence < sequence));
        self.bytes.extend_from_slice(bytes);
        // A block holds at most one burst plus one event, both far below 4 GiB.
        let end = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.frames.push(Frame { sequence, end, kind, role: Role::Plain });
    }

    /// Copies frames from another block. `bytes` are their bytes, which begin at offset `base` of that block.
    /// Roles are not counted here: the caller knows them.
    pub(crate) fn push_all(&mut self, frames: &[Frame], base: u32, bytes: &[u8]) {
        let before = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(bytes);
        self.frames.extend(frames.iter().map(|frame| Frame { end: frame.end - base + before, ..*frame }));
    }

    /// The bytes of frames with this role.
    pub(crate) fn bytes_of(&self, role: Role) -> usize {
        match role {
            Role::Plain => self.bytes.len() - self.superseded - self.current,
            Role::Current => self.current,
            Role::Superseded => self.superseded,
        }
    }

    /// Sets the role of frame number `index`, and returns its role before.
    pub(crate) fn set_role(&mut self, index: usize, role: Role) -> Role {
        let bytes = self.frame_bytes(index).len();
        let before = std::mem::replace(&mut self.frames[index].role, role);
        self.count_role(before, 0, bytes);
        self.count_role(role, bytes, 0);
        before
    }

    /// Makes all current frames plain: the keys of the topic are forgotten.
    pub(crate) fn forget_keys(&mut self) {
        if self.current > 0 {
            for frame in self.frames.iter_mut().filter(|frame| frame.role == Role::Current) {
                frame.role = Role::Plain;
            }
            self.current = 0;
        }
    }

    /// Whether all frames are superseded.
    pub(crate) fn is_superseded(&self) -> bool {
        self.superseded == self.bytes.len()
    }

    fn count_role(&mut self, role: Role, more: usize, less: usize) {
        let count = match role {
            Role::Plain => return,
            Role::Current => &mut self.current,
            Role::Superseded => &mut self.superseded,
        };
        *count = *count + more - less;
    }

    /// Removes the first `count` frames.
    pub(crate) fn drop_front(&mut self, count: usize) {
        let bytes = self.start_of(count);
        if self.superseded + self.current > 0 {
            for index in 0..count {
                self.set_role(index, Role::Plain);
            }
        }
        self.bytes.drain(..bytes as usize);
        self.frames.drain(..count);
        self.ticks.drain(..count.min(self.ticks.len()));
        for frame in &mut self.frames {
            frame.end -= bytes;
        }
    }

    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
        self.frames.clear();
        self.ticks.clear();
        (self.superseded, self.current) = (0, 0);
    }

    /// Frees unused memory, if there is much.
    pub(crate) fn fit(&mut self) {
        // A vector that has just grown has as much room again. Freeing that each time would copy everything
        // with each event.
        let used =
            self.bytes.len() + self.frames.len() * size_of::<Frame>() + self.ticks.len() * size_of::<u64>();
        if self.capacity() > SLACK_BYTES && self.capacity() / 4 > used {
            self.bytes.shrink_to_fit();
            self.frames.shrink_to_fit();
            self.ticks.shrink_to_fit();
        }
    }

    /// Clears the block, and frees its memory if that is more than `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        if self.capacity() > bytes {
            *self = Self::default();
        }
    }

    /// The sequence of the newest frame; 0 for an empty block.
    pub(crate) fn last(&self) -> u64 {
        self.frames.last().map_or(0, |frame| frame.sequence)
    }

    /// The offset at which frame number `index` begins.
    pub(crate) fn start_of(&self, index: usize) -> u32 {
        match index {
            0 => 0,
            _ => self.frames[index - 1].end,
        }
    }

    /// The bytes of frame number `index`.
    pub(crate) fn frame_bytes(&self, index: usize) -> &[u8] {
        &self.bytes[self.start_of(index) as usize..self.frames[index].end as usize]
    }

    /// The memory that the block takes.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
            + self.frames.capacity() * size_of::<Frame>()
            + self.ticks.capacity() * size_of::<u64>()
    }
}

/// Spare blocks. With them an idle topic holds no memory, and a busy one does not allocate.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    blocks: Vec<Block>,
    bytes: usize,
    /// The bytes of all frames in all logs.
    pub(crate) in_use: usize,
    /// The memory of all blocks in all logs.
    pub(crate) held: usize,
}

impl Spares {
    pub(crate) fn take(&mut self) -> Block {
        let block = self.blocks.pop().unwrap_or_default();
        self.bytes -= block.capacity();
        self.held += block.capacity();
        block
    }

    /// Frees the unused memory of a block of a log, if there is much.
    pub(crate) fn fit(&mut self, block: &mut Block) {
        self.held -= block.capacity();
        block.fit();
        self.held += block.capacity();
    }

    /// Keeps `block` for later. Frees it instead if the store is full or the block is unusually large.
    pub(crate) fn give(&mut self, mut block: Block) {
        let capacity = block.capacity();
        self.held -= capacity;
        if capacity <= 4 * BLOCK_BYTES && self.bytes + capacity <= SPARE_BYTES_MAX {
            block.clear();
            self.bytes += capacity;
            self.blocks.push(block);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_block_that_grows_between_looks_is_not_copied_each_time() {
        let mut block = Block::default();
        let mut moved = 0;
        for sequence in 1..1000 {
            let before = block.bytes.capacity();
            block.push(sequence, &[b'x'; 44], Kind::RAW);
            block.ticks.push(0);
            moved += usize::from(block.bytes.capacity() != before);
            block.fit();
        }
        assert!(moved < 30, "{moved}");
    }

    #[test]
    fn the_bytes_of_each_role_agree_with_a_recount() {
        let roles = [Role::Plain, Role::Current, Role::Superseded];
        let agrees = |block: &Block| {
            roles.iter().all(|role| {
                let found = (0..block.frames.len()).filter(|index| block.frames[*index].role == *role);
                block.bytes_of(*role) == found.map(|index| block.frame_bytes(index).len()).sum::<usize>()
            })
        };
        let mut block = Block::default();
        for number in 0..60_usize {
            block.push(number as u64 + 1, &vec![b'x'; number + 1], Kind::RAW);
            block.set_role(number / 2, roles[number % 3]);
            assert!(agrees(&block), "after {number}");
        }
        block.drop_front(7);
        assert!(agrees(&block) && block.bytes_of(Role::Current) > 0);
        block.forget_keys();
        assert!(agrees(&block) && block.bytes_of(Role::Current) == 0);
        assert!(!block.is_superseded());
        (0..block.frames.len()).for_each(|index| _ = block.set_role(index, Role::Superseded));
        assert!(agrees(&block) && block.is_superseded());
        block.clear();
        assert!(agrees(&block));
    }
}
