//! The record of a connection: the only memory an idle one costs.

use crate::conn::close_reason::CloseReason;
use crate::conn::id::Generation;
use crate::conn::refusal::Refusal;
use crate::delivery::cursor::Cursor;
use crate::delivery::extras::{Extras, SpareExtras, Subscription};
use crate::http::parse::incoming::Incoming;
use crate::topic::frame::Framing;
use crate::topic::topics::TopicKey;

/// A connection, or a slot of one that was closed in this turn. See the graph in the [module](super) documentation.
///
/// Invariant: 48 bytes, whatever is added (a test holds it).
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) state: Connection,
    /// The generation of the stream that is open here, or was last.
    pub(crate) generation: Generation,
    pub(crate) input: Input,
    /// Whether the socket has taken everything that was written to it. False from a short write on until the poll says
    /// that there is room.
    pub(crate) writable: bool,
}

/// What is known of bytes waiting in the socket. Readiness is told once, so it is remembered until a read meets the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// The last read took everything; the poll will tell of more.
    Drained,
    /// There may be more.
    Waiting,
    /// There may be more, and the peer has closed its side: read on until the end shows.
    Closing,
}

impl Input {
    pub(crate) fn with_more(self) -> Self {
        match self {
            Self::Closing => Self::Closing,
            Self::Drained | Self::Waiting => Self::Waiting,
        }
    }
}

/// What a connection is doing.
#[derive(Debug)]
pub(crate) enum Connection {
    /// Between requests, or in one of which `held` is the beginning.
    Reading {
        /// Milliseconds of the server's clock at which the wait began.
        since: u32,
        /// Requests answered so far.
        requests: u16,
        /// Whether it is one too many: then it is let in for one request, to be told.
        refused: Option<Refusal>,
        held: Option<Box<Held>>,
    },
    /// Writing a whole response that did not fit into the socket at once.
    Replying(Box<PendingReply>),
    /// An event stream, from just before the handler is asked until its last byte.
    Streaming(Stream),
    /// Everything is written and our side is closed. What the peer still sends is read and dropped until it closes too:
    /// closing at once would reset the connection and destroy what the peer has not read yet.
    Lingering { since: u32, reason: CloseReason },
    /// To be freed at the end of this turn.
    Closed,
}

/// Bytes that have arrived and are not a whole request yet, and what is known of it.
#[derive(Debug, Default)]
pub(crate) struct Held {
    pub(crate) bytes: Vec<u8>,
    pub(crate) incoming: Incoming,
}

/// The rest of a response.
#[derive(Debug)]
pub(crate) struct PendingReply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sent: usize,
    /// Milliseconds of the server's clock when the peer took something last.
    pub(crate) written: u32,
    /// Requests answered so far on this connection, this one included.
    pub(crate) requests: u16,
    /// Why the connection closes behind it; `None` if the next request may follow.
    pub(crate) close: Option<CloseReason>,
    /// Whether the connection is one too many and its request is still to come: this is only the word that its body is wanted.
    pub(crate) refused: Option<Refusal>,
    pub(crate) held: Option<Box<Held>>,
}

/// The part of a slot that makes it a stream.
#[derive(Debug)]
pub(crate) struct Stream {
    /// The frame delivered last, see [`Cursor`].
    sequence: u64,
    /// All that most streams do not have, so that they do not pay for it.
    pub(crate) extras: Option<Box<Extras>>,
    /// The topic it reads, the only one for most; [`TopicKey::NONE`] without.
    pub(crate) topic: TopicKey,
    /// Its place among the subscribers of `topic`.
    pub(crate) place: u32,
    partial: u32,
    /// Milliseconds of the server's clock when something was last written.
    pub(crate) written: u32,
    pub(crate) framing: Framing,
    pub(crate) phase: Phase,
    pub(crate) flags: Flags,
    /// Where the clock of ages (see the sweep) will stand when it is too old.
    pub(crate) expires: u8,
    /// Requests answered so far on this connection, the one for this stream included.
    pub(crate) requests: u16,
    /// Whether it has not been given everything, apart from what waves are still to offer it. Each of its topics counts
    /// it, and keeps its log for it.
    pub(crate) behind: bool,
    /// Whether it stands in the queue of streams to be served.
    pub(crate) queued: bool,
}

/// What is rarely asked of a stream, in one byte.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Flags(u8);

impl Flags {
    /// The next request may follow when the stream ends. Only ever with chunked framing.
    pub(crate) const KEEP_ALIVE: Self = Self(1);
    /// A drain leaves it alone until the deadline.
    pub(crate) const FINISH: Self = Self(2);
    /// Its age is limited by a timer of its own.
    pub(crate) const OWN_AGE: Self = Self(4);
    /// It has a source, or had one.
    pub(crate) const SOURCE: Self = Self(8);

    pub(crate) fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub(crate) fn set(&mut self, flag: Self, on: bool) {
        self.0 = if on { self.0 | flag.0 } else { self.0 & !flag.0 };
    }
}

/// How far the life of a stream has come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Phase {
    /// The handler is being asked; nothing is sent before it has answered.
    Opening,
    /// The handler has closed it already, before it answered.
    OpeningClosed,
    Open,
    /// It has been closed by the server and reported so; what was sent before is still on its way, and its last frame is
    /// the end of the body.
    Ending,
}

impl Stream {
    /// A stream that is only just being asked for. `sequence` is the place in the one order at which it begins.
    pub(crate) fn opening(sequence: u64, now: u32, requests: u16) -> Self {
        Self {
            sequence,
            extras: None,
            topic: TopicKey::NONE,
            place: 0,
            partial: 0,
            written: now,
            framing: Framing::Chunked,
            phase: Phase::Opening,
            flags: Flags::default(),
            expires: 0,
            requests,
            behind: true,
            queued: false,
        }
    }

    pub(crate) fn cursor(&self) -> Cursor {
        Cursor { sequence: self.sequence, partial: self.partial }
    }

    pub(crate) fn set_cursor(&mut self, cursor: Cursor) {
        self.sequence = cursor.sequence;
        self.partial = cursor.partial;
    }

    /// The socket has taken so many bytes at that time. Nothing taken is no progress.
    pub(crate) fn took(&mut self, bytes: usize, now: u32) {
        if bytes > 0 {
            self.written = now;
        }
    }

    /// Moves the cursor forward over what is not for this stream. A frame that was begun stays begun.
    pub(crate) fn skip_to(&mut self, sequence: u64) {
        self.sequence = self.sequence.max(sequence);
    }

    /// Moves the cursor back, before anything was sent.
    pub(crate) fn rewind(&mut self, sequence: u64) {
        self.sequence = self.sequence.min(sequence);
    }

    /// Everything of `topic` up to this frame has been given to it, or is not for it.
    pub(crate) fn position_in(&self, topic: TopicKey) -> u64 {
        self.sequence.max(self.from(topic))
    }

    /// Reads `topic` from behind the frame `from` on, whatever its cursor says.
    pub(crate) fn read_from(&mut self, topic: TopicKey, from: u64) {
        let place = self.place;
        if self.topic == topic {
            self.topic = TopicKey::NONE;
            self.extras().subscriptions.push(Subscription { topic, place, from });
        } else if let Some(extras) = &mut self.extras
            && let Some(found) = extras.subscriptions.iter_mut().find(|found| found.topic == topic)
        {
            found.from = from;
        }
    }

    /// The rest of the frame that was begun has become a frame of its own.
    pub(crate) fn restart_frame(&mut self) {
        self.partial = 0;
    }

    pub(crate) fn extras(&mut self) -> &mut Extras {
        self.extras.get_or_insert_default()
    }

    /// The same, for what most streams have at some time.
    pub(crate) fn extras_from(&mut self, spares: &mut SpareExtras) -> &mut Extras {
        self.extras.get_or_insert_with(|| spares.take())
    }

    /// Gives up the extras if there is nothing in them.
    pub(crate) fn shrink(&mut self, spares: &mut SpareExtras) {
        if let Some(extras) = self.extras.take_if(|extras| extras.is_empty()) {
            spares.give(extras);
        }
    }

    /// The frame it ends with, once it is ending: the newest of those sent to it alone.
    pub(crate) fn last(&self) -> Option<u64> {
        let extras = self.extras.as_ref().filter(|_| self.phase == Phase::Ending)?;
        Some(extras.private.newest())
    }

    /// Whether what is in the log of `topic` is all there can be for it.
    pub(crate) fn reads_one_log(&self) -> bool {
        match &self.extras {
            None => true,
            Some(extras) => extras.subscriptions.is_empty() && extras.private.is_empty(),
        }
    }

    /// The topics it is subscribed to and its place in each.
    pub(crate) fn topics(&self) -> impl Iterator<Item = (TopicKey, u32)> {
        let first = (self.topic != TopicKey::NONE).then_some((self.topic, self.place));
        let more = self.extras.iter().flat_map(|extras| &extras.subscriptions);
        first.into_iter().chain(more.map(|subscription| (subscription.topic, subscription.place)))
    }

    /// The sequence from which on it reads `topic`, whatever its cursor says.
    pub(crate) fn from(&self, topic: TopicKey) -> u64 {
        let mut subscriptions = self.extras.iter().flat_map(|extras| &extras.subscriptions);
        subscriptions.find(|found| found.topic == topic).map_or(0, |found| found.from)
    }

    /// Drops the subscription to `topic` from the record.
    pub(crate) fn forget(&mut self, topic: TopicKey) {
        if self.topic == topic {
            self.topic = TopicKey::NONE;
        } else if let Some(extras) = &mut self.extras {
            extras.subscriptions.retain(|found| found.topic != topic);
        }
    }

    /// Notes the new place among the subscribers of `topic`.
    pub(crate) fn moved(&mut self, topic: TopicKey, place: u32) {
        if self.topic == topic {
            self.place = place;
        } else if let Some(extras) = &mut self.extras
            && let Some(found) = extras.subscriptions.iter_mut().find(|found| found.topic == topic)
        {
            found.place = place;
        }
    }
}

impl Slot {
    pub(crate) fn new(now: u32, refused: Option<Refusal>) -> Self {
        Self {
            state: Connection::Reading { since: now, requests: 0, refused, held: None },
            generation: Generation::default(),
            input: Input::Drained,
            writable: true,
        }
    }

    /// Whether no request has been answered on this connection yet.
    pub(crate) fn is_new(&self) -> bool {
        self.generation == Generation::default()
    }

    /// Requests answered so far.
    pub(crate) fn requests(&self) -> u16 {
        match &self.state {
            Connection::Reading { requests, .. } => *requests,
            Connection::Replying(reply) => reply.requests,
            Connection::Streaming(stream) => stream.requests,
            Connection::Lingering { .. } | Connection::Closed => 0,
        }
    }

    /// Whether it holds bytes that were not looked at yet, since they came behind an earlier request.
    pub(crate) fn holds_more(&self) -> bool {
        let Connection::Reading { held: Some(held), .. } = &self.state else { return false };
        held.incoming.is_fresh() && !held.bytes.is_empty()
    }

    /// Whether the connection is one too many, and its one request has not been answered.
    pub(crate) fn refused(&self) -> Option<Refusal> {
        match &self.state {
            Connection::Reading { refused, .. } => *refused,
            Connection::Replying(reply) => reply.refused,
            Connection::Streaming(_) | Connection::Lingering { .. } | Connection::Closed => None,
        }
    }

    pub(crate) fn stream(&self) -> Option<&Stream> {
        match &self.state {
            Connection::Streaming(stream) => Some(stream),
            _ => None,
        }
    }

    pub(crate) fn stream_mut(&mut self) -> Option<&mut Stream> {
        match &mut self.state {
            Connection::Streaming(stream) => Some(stream),
            _ => None,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// What an idle stream costs: its slot in the slab, its place in a topic, its socket (4 bytes each).
    #[test]
    fn a_slot_is_48_bytes_also_in_the_slab() {
        assert_eq!(size_of::<Slot>(), 48);
        assert_eq!(slab_entry_size::<Slot>(), 48);
    }

    /// A slab's entry is the value or the number of the next vacant entry: `Slot` has to leave room to tell them apart.
    fn slab_entry_size<T>() -> usize {
        #[expect(dead_code, reason = "only its size matters")]
        enum Entry<T> {
            Vacant(usize),
            Occupied(T),
        }
        size_of::<Entry<T>>()
    }
}
