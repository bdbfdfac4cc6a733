//! What single streams get that are compressed, and the sum of what each of those was sent.
//!
//! This covers what is sent to one stream, what its walk brings, a greeting, and an event that is not in the
//! [chain](crate::topic::chain) of its topic. Such a piece refers to nothing before it. The last piece made
//! is remembered, because streams that are behind often need the same.
//!
//! The end of a gzip stream is the CRC-32 and the length of what the stream was sent: eight bytes for each
//! connection (`sums`). In a wave, the same bytes change the sums of all streams by one linear map, which is
//! made once (`Addition`) and costs some nanoseconds for each stream.

use crate::account::{Account, Charge, Purpose};
use crate::delivery::batch::Batch;
use crate::delivery::stream::{Flags, Stream};
use crate::gzip::{ENCODER_BYTES, Encoder, HEADER, Sum, store};
use crate::topic::chain::{Chains, Piece};
use crate::topic::frame::{Framing, Kind, LAST_CHUNK, append_chunk};

/// Makes pieces that fit behind anything: what topics have published goes by their
/// [chains](crate::topic::chain).
#[derive(Debug, Default)]
pub(crate) struct Compressor {
    /// From 1 to 9; none where no stream is compressed.
    level: Option<u8>,
    chains_max: usize,
    account: Account,
    /// Made with the first piece, and gone with the last stream, or where memory is short.
    encoder: Option<(Encoder, Charge)>,
    /// By slot, what each compressed stream was sent, or will be by what is in its hand.
    sums: Vec<Sum>,
    /// How many compressed streams there are.
    streams: usize,
    /// The piece that was made last: of what, how, its chunk and its sum. Those who come back in a crowd need
    /// the same.
    plain: Vec<u8>,
    is_stored: bool,
    chunk: Vec<u8>,
    sum: Sum,
    /// What one stream is given.
    packed: Vec<u8>,
    pieces: Vec<Piece>,
    scratch: Vec<u8>,
    /// How many bytes were compressed so far, chains included.
    compressed: u64,
}

impl Compressor {
    /// With a level, and the memory that the chains of topics may take.
    pub(crate) fn new(level: Option<u8>, chains_max: usize, account: Account) -> Self {
        Self { level, chains_max, account, ..Self::default() }
    }

    /// Whether topics have chains, where there is memory for others.
    pub(crate) fn chains(&self) -> Chains {
        let held = self.account.sum(Purpose::Encoders);
        Chains { level: self.level, may_begin: held + ENCODER_BYTES <= self.chains_max }
    }

    pub(crate) fn level(&self) -> Option<u8> {
        self.level
    }

    /// A compressed stream begins, with these bytes behind its head.
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

    /// A compressed stream is gone.
    pub(crate) fn end(&mut self) {
        self.streams -= 1;
        if self.streams == 0 {
            let compressed = self.compressed;
            let new = Self::new(self.level, self.chains_max, self.account.clone());
            *self = Self { compressed, ..new };
        }
    }

    /// Does without an encoder until the next piece.
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

    /// The bytes of a frame of no log, as this stream is to get them. They have to be given to it.
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

    /// The same as what a stream is to get for its bytes, in one piece that refers to nothing.
    pub(crate) fn alone(&mut self, plain: &[u8]) -> (&[u8], Sum) {
        self.make(plain, false);
        (&self.chunk, self.sum)
    }

    /// What a batch that holds frames is for a compressed stream: the same hand, all frames in one piece, and
    /// the end of the body if that is the frame `end`.
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

    /// A stream was given bytes with this sum.
    pub(crate) fn add(&mut self, slot: u32, sum: Sum) {
        if let Some(all) = self.sums.get_mut(slot as usize) {
            *all = all.then(sum);
        }
    }

    /// How many bytes were compressed so far: that takes far longer than to write them.
    pub(crate) fn compressed(&self) -> u64 {
        self.compressed
    }

    /// So many were by a chain.
    pub(crate) fn count_compressed(&mut self, bytes: usize) {
        self.compressed += bytes as u64;
    }

    /// The sum of what a stream was sent, for the walk over many.
    pub(crate) fn sum_mut(&mut self, slot: u32) -> Option<&mut Sum> {
        self.sums.get_mut(slot as usize)
    }

    /// Gives up memory of buffers that is more than so many bytes.
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
