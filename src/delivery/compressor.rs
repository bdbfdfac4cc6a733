//! Compression for single streams, and the checksum of each compressed stream.
//!
//! This covers private sends, catching up, the first frames of a stream, and events that are not in the
//! [chain](crate::topic::chain) of their topic. Such a piece refers to nothing before it. The last piece is
//! remembered, because streams that are behind often need the same.
//!
//! A gzip stream ends with the CRC-32 and the length of its text: eight bytes for each connection (`sums`).
//! In a wave, the same bytes change the sums of all streams by one linear map. It is made once (`Addition`)
//! and costs some nanoseconds for each stream.

use crate::account::{Account, Charge, Purpose};
use crate::delivery::batch::Batch;
use crate::delivery::stream::{Flags, Stream};
use crate::gzip::{ENCODER_BYTES, Encoder, HEADER, Sum, store};
use crate::topic::chain::{Chains, Piece};
use crate::topic::frame::{Framing, Kind, LAST_CHUNK, append_chunk};

/// Makes pieces that fit anywhere. For pieces of published events see [chains](crate::topic::chain).
#[derive(Debug, Default)]
pub(crate) struct Compressor {
    /// From 1 to 9; `None` if streams are not compressed.
    level: Option<u8>,
    chains_max: usize,
    account: Account,
    /// Made for the first piece, and dropped with the last stream, or if memory is short.
    encoder: Option<(Encoder, Charge)>,
    /// By slot, the checksum of the text that each compressed stream was sent, including the bytes in its
    /// hand.
    sums: Vec<Sum>,
    /// How many compressed streams there are.
    streams: usize,
    /// The last piece: its text, whether it is stored, its chunk, its checksum. Clients that reconnect in a
    /// crowd need the same.
    plain: Vec<u8>,
    is_stored: bool,
    chunk: Vec<u8>,
    sum: Sum,
    /// The bytes and pieces for one stream.
    packed: Vec<u8>,
    pieces: Vec<Piece>,
    scratch: Vec<u8>,
    /// How many bytes were compressed so far, chains included.
    compressed: u64,
}

impl Compressor {
    /// `level` is the compression level, `chains_max` the memory that the chains of topics may take.
    pub(crate) fn new(level: Option<u8>, chains_max: usize, account: Account) -> Self {
        Self { level, chains_max, account, ..Self::default() }
    }

    /// Whether topics may have chains, and whether there is memory for another.
    pub(crate) fn chains(&self) -> Chains {
        let held = self.account.sum(Purpose::Encoders);
        Chains { level: self.level, may_begin: held + ENCODER_BYTES <= self.chains_max }
    }

    pub(crate) fn level(&self) -> Option<u8> {
        self.level
    }

    /// Begins a compressed stream. Returns the bytes after its head.
    pub(crate) fn begin(&mut self, slot: u32) -> &[u8] {
        let place = slot as usize;
        if self.sums.len() <= place {
            self.sums.resize(place + 1, Sum::default());
        }
        self.sums[place] = Sum::default();
        self.streams += 1;
        self.packed.clear();
        append_chunk(&HEADER, &mut self.packed);
        &self.packed
    }

    /// Notes that a compressed stream is gone.
    pub(crate) fn end(&mut self) {
        self.streams -= 1;
        if self.streams == 0 {
            let compressed = self.compressed;
            let new = Self::new(self.level, self.chains_max, self.account.clone());
            *self = Self { compressed, ..new };
        }
    }

    /// Drops the encoder until the next piece.
    pub(crate) fn drop_encoder(&mut self) {
        self.encoder = None;
    }

    /// Makes the chunk of a piece that refers to nothing.
    fn make(&mut self, plain: &[u8], is_stored: bool) {
        if self.plain == plain && self.is_stored == is_stored {
            return;
        }
        self.scratch.clear();
        if self.encoder.is_none() && !is_stored {
            let encoder = self.level.and_then(Encoder::new);
            self.encoder =
                encoder.map(|encoder| (encoder, self.account.charge(Purpose::Indexes, ENCODER_BYTES)));
        }
        match &mut self.encoder {
            Some((encoder, _)) if !is_stored => {
                encoder.begin_anew();
                encoder.add(plain, &mut self.scratch);
                encoder.end(&mut self.scratch);
                self.compressed += plain.len() as u64;
            }
            _ => store(plain, &mut self.scratch),
        }
        self.chunk.clear();
        append_chunk(&self.scratch, &mut self.chunk);
        (self.sum, self.is_stored) = (Sum::of(plain), is_stored);
        self.plain.clear();
        self.plain.extend_from_slice(plain);
    }

    /// The bytes of a frame that is in no log, for this stream. They must be sent to it: its checksum
    /// includes them.
    pub(crate) fn frame<'a>(
        &'a mut self,
        slot: u32,
        stream: &mut Stream,
        kind: Kind,
        bytes: &'a [u8],
        is_stored: bool,
    ) -> &'a [u8] {
        let plain = stream.framing.bytes_of(kind, bytes);
        if stream.framing != Framing::Gzip || plain.is_empty() {
            return plain;
        }
        self.make(plain, is_stored);
        stream.flags.set(Flags::CHAINED, false);
        self.add(slot, self.sum);
        &self.chunk
    }

    /// The same bytes in one piece that refers to nothing, and their checksum.
    pub(crate) fn alone(&mut self, plain: &[u8]) -> (&[u8], Sum) {
        self.make(plain, false);
        (&self.chunk, self.sum)
    }

    /// A batch of frames for a compressed stream: the same hand, all frames in one piece, and the end of the
    /// body if the last frame is `end`.
    pub(crate) fn pack(
        &mut self,
        slot: u32,
        batch: &Batch<'_>,
        end: Option<u64>,
        is_stored: bool,
    ) -> Batch<'_> {
        let (hand, plain) = batch.bytes.split_at(batch.hand());
        let mut frames = batch.frames();
        let ends = frames.last().is_some_and(|last| end == Some(last.sequence));
        if ends {
            frames = &frames[..frames.len() - 1];
        }
        self.packed.clear();
        self.packed.extend_from_slice(hand);
        self.pieces.clear();
        let mut all = self.sum_of(slot);
        if let [first, .., last] | [first @ last] = frames {
            self.make(plain, is_stored);
            self.packed.extend_from_slice(&self.chunk);
            all = all.then(self.sum);
            let (first, sequence, end) = (first.sequence, last.sequence, self.packed.len());
            let events = frames.iter().filter(|frame| frame.kind.event).count() as u64;
            self.pieces.push(Piece { first, sequence, end, events, sum: self.sum, begins: true });
        }
        if let Some(sequence) = end.filter(|_| ends) {
            append_chunk(&all.trailer(), &mut self.packed);
            self.packed.extend_from_slice(LAST_CHUNK);
            let (end, sum) = (self.packed.len(), Sum::default());
            self.pieces.push(Piece { first: sequence, sequence, end, events: 0, sum, begins: true });
        }
        Batch::of_pieces(&self.packed, hand.len(), &self.pieces, 0)
    }

    fn sum_of(&self, slot: u32) -> Sum {
        self.sums.get(slot as usize).copied().unwrap_or_default()
    }

    /// Adds the checksum of bytes that a stream was given.
    pub(crate) fn add(&mut self, slot: u32, sum: Sum) {
        if let Some(all) = self.sums.get_mut(slot as usize) {
            *all = all.then(sum);
        }
    }

    /// How many bytes were compressed so far. That takes far longer than writing them.
    pub(crate) fn compressed(&self) -> u64 {
        self.compressed
    }

    /// Counts bytes that a chain has compressed.
    pub(crate) fn count_compressed(&mut self, bytes: usize) {
        self.compressed += bytes as u64;
    }

    /// The checksum of a stream, for the walk over many.
    pub(crate) fn sum_mut(&mut self, slot: u32) -> Option<&mut Sum> {
        self.sums.get_mut(slot as usize)
    }

    /// Frees the memory of buffers beyond `bytes`.
    pub(crate) fn shrink_buffers(&mut self, bytes: usize) {
        if self.plain.capacity() > bytes {
            (self.plain, self.chunk, self.is_stored) = (Vec::new(), Vec::new(), false);
            self.sum = Sum::default();
        }
        for buffer in [&mut self.packed, &mut self.scratch] {
            if buffer.capacity() > bytes {
                *buffer = Vec::new();
            }
        }
    }
}
