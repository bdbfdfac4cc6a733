//! What a topic has published, compressed once for all streams that get it so.
//!
//! A stream whose client takes gzip has the framing `Gzip`: chunked, with gzip inside. Logs, cursors and lag
//! know nothing of it. Bytes are compressed when they are given to streams.
//!
//! - **A piece** is deflate that ends at a byte (a sync flush). Pieces of different encoders can follow each
//!   other, unless a piece refers to something that the stream does not have right before it.
//! - **A chain** is what the topic has published since its encoder started over. Each piece may refer to
//!   earlier ones. A piece is made once, when a wave comes, for all streams marked `CHAINED`. The chain
//!   exists while at least two streams read the topic so, and holds no more than the wave is still to offer.
//! - **Everything else** is compressed [alone](crate::delivery::compressor), in pieces that refer to nothing.
//!   Text that is not of the chain takes the mark `CHAINED` from a stream, because the chain counts distances
//!   back from where the stream stands. So does text that the stream goes without. An empty block yields no
//!   text and fits anywhere: a heartbeat.
//! - **Joining:** a stream joins where the chain starts over. It does so after 16 events if a stream waits
//!   for that.
//! - **Topics that are `uncompressed`** are written in stored blocks.
//! - **Memory:** an encoder takes 330 KiB. Those of topics take at most an eighth of `memory_max`. If memory
//!   is short, they are dropped, and the next wave does without.
//!
//! There is no second log of compressed frames: only streams at the end of the log share what is compressed.
//! A stream that is behind gets up to 64 KiB at once, which compresses well by itself. And skips and gaps
//! would have to be kept right in two logs.

use crate::account::{Account, Charge, Purpose};
use crate::gzip::{ENCODER_BYTES, Encoder, Sum};
use crate::topic::frame::{Framing, append_chunk};
use crate::topic::log::Log;

/// After so many events a chain begins anew where a stream waits for that. Sooner would cost those who are in
/// it more than it gives to those who are not.
const ANEW: usize = 16;

/// Bytes of deflate that many streams get at once, whole or not at all: some frames of one log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// Its first and its last frame.
    pub(crate) first: u64,
    pub(crate) sequence: u64,
    /// The offset behind its last byte.
    pub(crate) end: usize,
    /// How many of its frames are events.
    pub(crate) events: u64,
    /// What is added to the sum of a stream.
    pub(crate) sum: Sum,
    /// Whether it refers to nothing before it.
    pub(crate) begins: bool,
}

/// What is added to the sum of a stream by all of them.
pub(crate) fn sum_of(pieces: &[Piece]) -> Sum {
    pieces.iter().fold(Sum::default(), |sum, piece| sum.then(piece.sum))
}

/// Whether topics have chains.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Chains {
    /// The level of those there are; none where all of them are to go.
    pub(crate) level: Option<u8>,
    /// Whether there is memory for one more.
    pub(crate) may_begin: bool,
}

/// The pieces of one encoder, each of which may refer to those before it: so they are for streams that get
/// all of them, from one that begins on.
#[derive(Debug)]
pub(crate) struct Chain {
    encoder: Encoder,
    /// Chunks, one for each piece.
    bytes: Vec<u8>,
    /// Invariant: ends and sequences ascend, and the last end is `bytes.len()`.
    pieces: Vec<Piece>,
    /// Everything up to this frame was compressed, or came before.
    newest: u64,
    /// Up to this frame the pieces are gone, or there were none.
    floor: u64,
    /// How many events there were since it began.
    events: usize,
    /// Whether some stream waits for it to begin anew.
    wanted: bool,
    /// Where a piece is made.
    scratch: Vec<u8>,
    charge: Charge,
}

impl Chain {
    /// One that begins behind the frame `after`. None where it cannot be.
    pub(crate) fn new(level: u8, after: u64, account: &Account) -> Option<Self> {
        let charge = account.charge(Purpose::Encoders, ENCODER_BYTES);
        Some(Self {
            encoder: Encoder::new(level)?,
            bytes: Vec::new(),
            pieces: Vec::new(),
            newest: after,
            floor: after,
            events: ANEW,
            wanted: true,
            scratch: Vec::new(),
            charge,
        })
    }

    /// Some stream waits for it to begin anew.
    pub(crate) fn want(&mut self) {
        self.wanted = true;
    }

    /// Compresses what the log has and this has not. Returns how many bytes that was.
    pub(crate) fn catch_up(&mut self, log: &Log) -> usize {
        let mut compressed = 0;
        let mut begins = self.newest < log.newest() && self.wanted && self.events >= ANEW;
        if begins {
            self.encoder.begin_anew();
            (self.events, self.wanted) = (0, false);
        }
        while let Some(run) = log.next(self.newest) {
            self.scratch.clear();
            let (mut events, mut sum) = (0, Sum::default());
            for (frame, bytes) in run.each() {
                let plain = Framing::CloseDelimited.bytes_of(frame.kind, bytes);
                self.encoder.add(plain, &mut self.scratch);
                sum = sum.then(Sum::of(plain));
                compressed += plain.len();
                events += u64::from(frame.kind.event);
                self.newest = frame.sequence;
            }
            self.encoder.end(&mut self.scratch);
            append_chunk(&self.scratch, &mut self.bytes);
            self.events += run.frames.len();
            let (first, sequence, end) = (run.first().sequence, self.newest, self.bytes.len());
            self.pieces.push(Piece { first, sequence, end, events, sum, begins });
            begins = false;
        }
        self.count();
        compressed
    }

    /// The pieces that a stream gets which was given everything up to the frame `after`, with their bytes and
    /// the offset at which those begin; if it `continues`, or else from a beginning on. None where there are
    /// none for it.
    pub(crate) fn behind(&self, after: u64, continues: bool) -> Option<(&[Piece], &[u8], usize)> {
        let from = self.pieces.partition_point(|piece| piece.sequence <= after);
        let first = self.pieces.get(from).filter(|piece| piece.first > after && after >= self.floor)?;
        let base = from.checked_sub(1).map_or(0, |before| self.pieces[before].end);
        (continues || first.begins).then(|| (&self.pieces[from..], &self.bytes[base..], base))
    }

    /// Nobody needs pieces up to the frame `until` any more.
    pub(crate) fn forget(&mut self, until: u64) {
        let count = self.pieces.partition_point(|piece| piece.sequence <= until);
        let Some(last) = count.checked_sub(1).map(|last| self.pieces[last]) else { return };
        self.floor = last.sequence;
        let bytes = last.end;
        self.pieces.drain(..count);
        self.pieces.iter_mut().for_each(|piece| piece.end -= bytes);
        self.bytes.drain(..bytes);
        self.bytes.shrink_to(ROOM);
        self.scratch.shrink_to(ROOM);
        self.pieces.shrink_to(ROOM / size_of::<Piece>());
        self.count();
    }

    fn count(&mut self) {
        let pieces = self.pieces.capacity() * size_of::<Piece>();
        self.charge.set(ENCODER_BYTES + self.bytes.capacity() + self.scratch.capacity() + pieces);
    }
}

/// What is kept of buffers between waves.
const ROOM: usize = 4 << 10;
