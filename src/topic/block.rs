//! The contiguous memory that frames lie in, and a small store of it for reuse.

use crate::topic::frame::{Frame, Kind, Role};

/// Where a block is full: the next frame begins a new one, unless it belongs to a burst (see `Log::append`).
pub(crate) const BLOCK_BYTES: usize = 64 << 10;

/// What the store of unused blocks holds at most. A steady flow of events needs one block; the rest is for many
/// streams that are sent to in one turn.
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
}

impl Block {
    pub(crate) fn push(&mut self, sequence: u64, bytes: &[u8], kind: Kind) {
        debug_assert!(self.frames.last().is_none_or(|last| last.sequence < sequence));
        self.bytes.extend_from_slice(bytes);
        // A block ends at one burst plus one event, both far below 4 GiB.
        let end = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.frames.push(Frame { sequence, end, kind, role: Role::Plain });
    }

    /// Adds frames that lie one behind the other in `bytes`, which is what stands behind the offset `base` of their block.
    pub(crate) fn push_all(&mut self, frames: &[Frame], base: u32, bytes: &[u8]) {
        let before = u32::try_from(self.bytes.len()).unwrap_or(u32::MAX);
        self.bytes.extend_from_slice(bytes);
        self.frames.extend(frames.iter().map(|frame| Frame { end: frame.end - base + before, ..*frame }));
    }

    /// The bytes of frames of that role.
    pub(crate) fn bytes_of(&self, role: Role) -> usize {
        let found = self.frames.iter().enumerate().filter(|(_, frame)| frame.role == role);
        found.map(|(index, _)| self.frame_bytes(index).len()).sum()
    }

    /// Removes the first `count` frames.
    pub(crate) fn drop_front(&mut self, count: usize) {
        let bytes = self.start_of(count);
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
    }

    /// Gives back memory that nothing has been put into, where it is much.
    pub(crate) fn fit(&mut self) {
        // A vector that has just grown has room for as much again: who gave that back each time would copy everything with each
        // event.
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

    fn capacity(&self) -> usize {
        self.bytes.capacity()
            + self.frames.capacity() * size_of::<Frame>()
            + self.ticks.capacity() * size_of::<u64>()
    }
}

/// Blocks that no log needs at the moment. An idle topic holds no memory, and yet a busy one does not allocate.
#[derive(Debug, Default)]
pub(crate) struct Spares {
    blocks: Vec<Block>,
    bytes: usize,
    /// The bytes of all frames in all logs.
    pub(crate) in_use: usize,
}

impl Spares {
    pub(crate) fn take(&mut self) -> Block {
        let block = self.blocks.pop().unwrap_or_default();
        self.bytes -= block.capacity();
        block
    }

    /// Keeps `block` for later, or frees it where there is enough already or it has grown out of the ordinary.
    pub(crate) fn give(&mut self, mut block: Block) {
        let capacity = block.capacity();
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
}
