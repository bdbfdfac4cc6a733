//! The chain of a topic: its events, compressed once for all streams with compression.
//!
//! A stream whose client accepts gzip has the framing `Gzip`: chunked, with gzip inside. Logs, cursors and
//! lag know nothing of it. Bytes are compressed when they are given to streams.
//!
//! - **A piece** is deflate that ends at a byte (a sync flush). Pieces of different encoders can follow each
//!   other, unless a piece refers to something that the stream does not have right before it.
//! - **A chain** is what the topic has published since its encoder started over. Each piece may refer to
//!   earlier ones. A wave makes a piece once, for all streams marked `CHAINED`. The chain exists while at
//!   least two streams read the topic so, and holds no more than the wave has yet to offer.
//! - **Everything else** is compressed [alone](crate::delivery::compressor), in pieces that refer to nothing.
//!   A stream that gets text outside of the chain, or skips text of the chain, loses the mark `CHAINED`: the
//!   chain counts distances back from the position of the stream. An empty block yields no text and fits
//!   anywhere: a heartbeat.
//! - **Joining:** a stream joins where the chain starts over. If a stream waits for that, the chain starts
//!   over after 16 events.
//! - **Topics that are `uncompressed`** are written in stored blocks.
//! - **Memory:** an encoder takes 330 KiB. The encoders of topics take at most an eighth of `memory_max`. If
//!   memory is short, they are dropped, and the next wave does without.
//!
//! There is no second log of compressed frames: only streams at the end of the log share compressed bytes. A
//! stream that is behind gets up to 64 KiB at once, which compresses well by itself. And two logs would have
//! to agree on skips and gaps.

use crate::account::{Account, Charge, Purpose};
use crate::gzip::{ENCODER_BYTES, Encoder, Sum};
use crate::topic::frame::{Framing, append_chunk};
use crate::topic::log::Log;

/// The chain starts over after this many events if a stream waits for that. Sooner would cost the streams in
/// the chain more than the others gain.
const ANEW: usize = 16;

/// Deflate bytes of some frames of one log. Each stream gets all of them at once, or none.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Piece {
    /// The sequences of its first and its last frame.
    pub(crate) first: u64,
    pub(crate) sequence: u64,
    /// The offset after its last byte.
    pub(crate) end: usize,
    /// How many of its frames are events.
    pub(crate) events: u64,
    /// What this piece adds to the checksum of a stream.
    pub(crate) sum: Sum,
    /// Whether it refers to nothing before it.
    pub(crate) begins: bool,
}

/// What all of these pieces add to the checksum of a stream.
pub(crate) fn sum_of(pieces: &[Piece]) -> Sum {
    pieces.iter().fold(Sum::default(), |sum, piece| sum.then(piece.sum))
}

/// Whether topics have chains.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Chains {
    /// The compression level; `None` drops all chains.
    pub(crate) level: Option<u8>,
    /// Whether there is memory for another chain.
    pub(crate) may_begin: bool,
}

/// The pieces of one encoder. Each may refer to earlier ones, so a stream has to get all of them, from a
/// piece that `begins` on.
#[derive(Debug)]
pub(crate) struct Chain {
    encoder: Encoder,
    /// HTTP chunks, one for each piece.
    bytes: Vec<u8>,
    /// Invariant: ends and sequences ascend, and the last end is `bytes.len()`.
    pieces: Vec<Piece>,
    /// The newest frame that is compressed, or came before the chain.
    newest: u64,
    /// Pieces up to this frame are dropped, or never were.
    floor: u64,
    /// How many events the chain has compressed since it started over.
    events: usize,
    /// Whether a stream waits for the chain to start over.
    wanted: bool,
    /// The buffer in which a piece is made.
    scratch: Vec<u8>,
    charge: Charge,
}

impl Chain {
    /// A chain that begins after the frame `after`. `None` if the encoder cannot be made.
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

    /// Notes that a stream waits for the chain to start over.
    pub(crate) fn want(&mut self) {
        self.wanted = true;
    }

    /// Compresses the frames of the log that the chain does not have yet. Returns their size in bytes.
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

    /// The pieces for a stream that has everything up to the frame `after`, their bytes, and the offset at
    /// which these begin. A stream that does not `continue` needs a first piece that `begins`. `None` if no
    /// pieces fit.
    pub(crate) fn behind(&self, after: u64, continues: bool) -> Option<(&[Piece], &[u8], usize)> {
        let from = self.pieces.partition_point(|piece| piece.sequence <= after);
        let first = self.pieces.get(from).filter(|piece| piece.first > after && after >= self.floor)?;
        let base = from.checked_sub(1).map_or(0, |before| self.pieces[before].end);
        (continues || first.begins).then(|| (&self.pieces[from..], &self.bytes[base..], base))
    }

    /// Drops the pieces up to the frame `until`.
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

/// The most bytes that each buffer keeps between waves.
const ROOM: usize = 4 << 10;
