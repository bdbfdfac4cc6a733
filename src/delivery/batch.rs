//! A batch: bytes that are offered to a stream in one piece, and how far the stream gets if the socket takes
//! a part.

use crate::topic::block::Block;
use crate::topic::chain::Piece;
use crate::topic::frame::Frame;
use crate::topic::log::Run;

/// The bytes to send next, and the frames or pieces in them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Batch<'a> {
    pub(crate) bytes: &'a [u8],
    /// How many of the bytes are from the hand of the stream.
    hand: usize,
    parts: Parts<'a>,
}

/// The content of the bytes, and the offset at which it begins.
#[derive(Debug, Clone, Copy)]
enum Parts<'a> {
    Frames(&'a [Frame], u32),
    Pieces(&'a [Piece], usize),
}

/// A frame or piece that was sent in part. The stream must get the rest.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Cut<'a> {
    pub(crate) sequence: u64,
    /// How many events are delivered with the last byte.
    pub(crate) events: u64,
    pub(crate) bytes: &'a [u8],
    /// How many of the bytes are sent.
    pub(crate) sent: usize,
}

/// How far a stream gets by sending a part of a batch.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Advance<'a> {
    /// How many bytes of the hand are sent.
    pub(crate) hand: usize,
    pub(crate) sequence: u64,
    /// The number of events in the frames that are completely sent.
    pub(crate) events: u64,
    pub(crate) cut: Option<Cut<'a>>,
}

impl<'a> Batch<'a> {
    pub(crate) fn of_run(run: Run<'a>) -> Self {
        Self { bytes: run.bytes, hand: 0, parts: Parts::Frames(run.frames, run.base) }
    }

    /// The frames that were copied into `block`, after `hand` other bytes.
    pub(crate) fn of_copy(block: &'a Block, hand: usize) -> Self {
        Self { bytes: &block.bytes, hand, parts: Parts::Frames(&block.frames, 0) }
    }

    pub(crate) fn of_hand(hand: &'a [u8]) -> Self {
        Self { bytes: hand, hand: hand.len(), parts: Parts::Frames(&[], 0) }
    }

    /// Pieces whose ends count from `base`, after `hand` other bytes.
    pub(crate) fn of_pieces(bytes: &'a [u8], hand: usize, pieces: &'a [Piece], base: usize) -> Self {
        Self { bytes, hand, parts: Parts::Pieces(pieces, base) }
    }

    pub(crate) fn hand(&self) -> usize {
        self.hand
    }

    pub(crate) fn frames(&self) -> &'a [Frame] {
        match self.parts {
            Parts::Frames(frames, _) => frames,
            Parts::Pieces(..) => &[],
        }
    }

    /// The pieces that a stream has been given when its cursor is at `given`. It may still need the rest of
    /// the last.
    pub(crate) fn pieces_until(&self, given: u64) -> &'a [Piece] {
        match self.parts {
            Parts::Frames(..) => &[],
            Parts::Pieces(pieces, _) => &pieces[..pieces.partition_point(|piece| piece.sequence <= given)],
        }
    }

    /// Whether there is nothing to do. A batch may have frames but no bytes: the end of a close-delimited
    /// stream.
    pub(crate) fn is_empty(&self) -> bool {
        let is_bare = match self.parts {
            Parts::Frames(frames, _) => frames.is_empty(),
            Parts::Pieces(pieces, _) => pieces.is_empty(),
        };
        is_bare && self.hand == 0
    }

    /// How far a stream at `sequence`, for which the batch was made, gets when `sent` bytes are sent.
    pub(crate) fn advance(&self, sequence: u64, sent: usize) -> Advance<'a> {
        debug_assert!(sent <= self.bytes.len());
        if sent < self.hand {
            return Advance { hand: sent, sequence, events: 0, cut: None };
        }
        match self.parts {
            Parts::Frames(frames, base) => self.advance_by(frames, sequence, sent, |frame| {
                ((frame.end - base) as usize, frame.sequence, u64::from(frame.kind.event))
            }),
            Parts::Pieces(pieces, base) => self
                .advance_by(pieces, sequence, sent, |piece| (piece.end - base, piece.sequence, piece.events)),
        }
    }

    /// The same, where `of` returns the end, the sequence and the number of events of a part.
    fn advance_by<T>(
        &self,
        parts: &[T],
        sequence: u64,
        sent: usize,
        of: impl Fn(&T) -> (usize, u64, u64),
    ) -> Advance<'a> {
        let (given, rest) = parts.split_at(parts.partition_point(|part| of(part).0 <= sent));
        let events = given.iter().map(|part| of(part).2).sum();
        let (from, sequence, _) = given.last().map_or((self.hand, sequence, 0), &of);
        let cut = rest.first().filter(|_| sent > from).map(|part| {
            let (end, sequence, events) = of(part);
            Cut { sequence, events, bytes: &self.bytes[from..end], sent: sent - from }
        });
        let sequence = cut.map_or(sequence, |cut| cut.sequence);
        Advance { hand: self.hand, sequence, events, cut }
    }
}
