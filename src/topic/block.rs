//! The contiguous memory that frames lie in, and a small store of it for reuse.

use crate::topic::frame::{Frame, Kind, Role};

/// Where a block is full: the next frame begins a new one, unless it belongs to a burst (see `Log::append`).
pub(crate) const BLOCK_BYTES: usize = 64 << 10;

/// What the store of unused blocks holds at most. A steady flow of events needs one block; the rest is for
/// many streams that are sent to in one turn.
const SPARE_BYTES_MAX: usize = 1 << 20;

/// What a block may have to spare while nothing happens to it.
const SLACK_BYTES: usize = 4 << 10;

/// Frames one behind the other in one piece of memory, oldest first.
#[derive(Debug, Default)]
pub(crate) struct Block {
    pub(crate) bytes: Vec<u8>,
    /// Invariant: ends and sequences ascend, and the last end is `bytes.len()`.
    pub(crate) frames: Vec<Frame>,
    /// When each was published, in milliseconds of the server's clock; empty where no history asks for that.
    pub(crate) ticks: Vec<u64>,
    /// The bytes of frames that are superseded, and of those that are the newest of their key.
    superseded: usize,
    current: usize,
}

impl Block {
    pub(crate) fn push(&mut self, sequence: u64, bytes: &[u8], kind: Kind) {
        debug_assert!(self.frames.last().is_none_or(|last| last.sequence < sequence));
        self.bytes.extend_from_slice(bytes);
        // A block ends at one burst plus one event, both far below 4 GiB.
        let end = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.frames.push(Frame { sequence, end, kind, role: Role::Plain });
    }

    /// Adds frames that lie one behind the other in `bytes`, which is what stands behind the offset `base` of
    /// their block. Whose copies they are knows their roles: here they are not counted.
    pub(crate) fn push_all(&mut self, frames: &[Frame], base: u32, bytes: &[u8]) {
        let before = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(bytes);
        self.frames.extend(frames.iter().map(|frame| Frame { end: frame.end - base + before, ..*frame }));
    }

    /// The bytes of frames of that role.
    pub(crate) fn bytes_of(&self, role: Role) -> usize {
        match role {
            Role::Plain => self.bytes.len() - self.superseded - self.current,
            Role::Current => self.current,
            Role::Superseded => self.superseded,
        }
    }

    /// Says what frame number `index` is, and returns what it was.
    pub(crate) fn set_role(&mut self, index: usize, role: Role) -> Role {
        let bytes = self.frame_bytes(index).len();
        let before = std::mem::replace(&mut self.frames[index].role, role);
        self.count_role(before, 0, bytes);
        self.count_role(role, bytes, 0);
        before
    }

    /// Nothing is the newest of its key any more.
    pub(crate) fn forget_keys(&mut self) {
        if self.current > 0 {
            for frame in self.frames.iter_mut().filter(|frame| frame.role == Role::Current) {
                frame.role = Role::Plain;
            }
            self.current = 0;
        }
    }

    /// Whether there is nothing that a stream which is behind gets.
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

    /// Gives back memory that nothing has been put into, where it is much.
    pub(crate) fn fit(&mut self) {
        // A vector that has just grown has room for as much again: who gave that back each time would copy
        // everything with each event.
        let used =
            self.bytes.len() + self.frames.len() * size_of::<Frame>() + self.ticks.len() * size_of::<u64>();
        if self.capacity() > SLACK_BYTES && self.capacity() / 4 > used {
            self.bytes.shrink_to_fit();
            self.frames.shrink_to_fit();
            self.ticks.shrink_to_fit();
        }
    }

    /// Gives up the content, and the memory where it is more than `bytes`.
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

    /// The memory that it takes.
    pub(crate) fn capacity(&self) -> usize {
        self.bytes.capacity()
            + self.frames.capacity() * size_of::<Frame>()
            + self.ticks.capacity() * size_of::<u64>()
    }
}

/// Blocks that no log needs at the moment. An idle topic holds no memory, and yet a busy one does not
/// allocate.
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

    /// Has a block that is in use give back memory that nothing has been put into, where it is much.
    pub(crate) fn fit(&mut self, block: &mut Block) {
        self.held -= block.capacity();
        block.fit();
        self.held += block.capacity();
    }

    /// Keeps `block` for later, or frees it where there is enough already or it has grown out of the
    /// ordinary.
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
