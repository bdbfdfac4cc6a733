//! The record of a connection: the only memory of an idle one.
//!
//! Currently an idle stream takes 48 bytes in the slab of slots, 4 for its socket and 4 among the subscribers
//! of its topic. The rest of the measured 65 is slack of growing vectors. Other memory is separate:
//!
//! | what | where | bytes |
//! |---|---|---|
//! | a private log, a hand, pipelined input | `Extras`, boxed while needed, in boxes that are reused | none at rest |
//! | a second topic | `More`, boxed: one `Subscription` in it, further ones in a vector | 48 |
//! | a topic without other subscribers | `Topic`: name, subscriber and two counts; the rest is boxed while its log has frames or the topic retains events (`Busy`) | 48, and 5 in a table |
//! | a timer | an entry in `Pages`, and its place in a heap with four children a node | 49 and 4 |
//! | `on_close`, a state, a source | a hook in `Pages` | 33 |
//! | a tag | a link in two lists, in `Pages`; a name of up to 14 bytes is stored in its record (`Name`) | 25; 25 and 5 in a table for the tag |
//!
//! The entries of a slot form a list. `BySlot` finds the first one: four bytes for each slot, without
//! hashing. Times are 32 bits of milliseconds; `Config` keeps limits far below the wrap.

use crate::account::{Account, Charge, Purpose};
use crate::conn::close_reason::CloseReason;
use crate::conn::id::Generation;
use crate::conn::refusal::Refusal;
use crate::conn::ticket::Ticket;
use crate::delivery::stream::Stream;
use crate::http::parse::held::Held;

/// A connection, or the slot of one that was closed in this turn. The [module](super) has a graph of the
/// states.
///
/// Invariant: 48 bytes, whatever is added (a test checks it).
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) state: Connection,
    /// The generation of the current or last stream in this slot.
    pub(crate) generation: Generation,
    pub(crate) input: Input,
    /// Whether the socket has taken all bytes so far. `false` from a short write until the poll reports room.
    pub(crate) writable: bool,
}

/// Whether bytes may wait in the socket. The poll reports readiness once, so it is remembered until a read
/// reaches the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// The last read took everything. The poll will report more.
    Drained,
    /// There may be more.
    Waiting,
    /// There may be more, and a read may stop before the end: read until the socket has nothing.
    UntilBlocked,
}

impl Input {
    pub(crate) fn with_more(self) -> Self {
        match self {
            Self::UntilBlocked => Self::UntilBlocked,
            Self::Drained | Self::Waiting => Self::Waiting,
        }
    }
}

/// The state of a connection.
#[derive(Debug)]
pub(crate) enum Connection {
    /// Between requests, or a request is arriving; `held` is its beginning.
    Reading {
        /// Milliseconds of the server's clock at which the wait began.
        since: u32,
        /// How many requests have had a reply.
        requests: u16,
        /// Why the connection is refused, if it is over a limit. It is accepted for one request, to get a
        /// reply.
        refused: Option<Refusal>,
        held: Option<Box<Held>>,
    },
    /// Writing a whole response that did not fit into the socket at once.
    Replying(Box<PendingReply>),
    /// The application replies to its request later.
    Awaiting(Box<Awaiting>),
    /// An event stream, from just before the handler is called until its last byte.
    Streaming(Stream),
    /// Everything is written and our side is closed. Input is read and dropped until the peer closes too.
    /// Closing at once would reset the connection, and the peer would lose data that it has not read yet.
    Lingering {
        since: u32,
        reason: CloseReason,
        /// How many more bytes are dropped.
        left: u32,
    },
    /// Closed. The slot is freed at the end of this turn.
    Closed,
}

/// The rest of a response that is being written.
#[derive(Debug)]
pub(crate) struct PendingReply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sent: usize,
    charge: Charge,
    /// When the peer had last taken enough, in milliseconds of the server's clock, and how much it had taken
    /// then.
    pub(crate) written: u32,
    renewed: usize,
    /// How many requests have had a reply on this connection, including this one.
    pub(crate) requests: u16,
    /// Why the connection closes after this reply; `None` if another request may follow.
    pub(crate) close: Option<CloseReason>,
    /// Why the connection is refused, if it is over a limit and its request is still arriving. Then this is
    /// only `100 Continue`.
    pub(crate) refused: Option<Refusal>,
    pub(crate) held: Option<Box<Held>>,
}

/// The bytes that a peer must take of a whole reply within `Config::stall_timeout`, unless fewer are left.
const PROGRESS_MIN: usize = 16 << 10;

impl PendingReply {
    /// `bytes` are those that the socket has not taken at `now`. `requests`, `close` and `refused` are as in
    /// the fields.
    pub(crate) fn new(
        mut bytes: Vec<u8>,
        now: u32,
        requests: u16,
        close: Option<CloseReason>,
        refused: Option<Refusal>,
        account: &Account,
    ) -> Box<Self> {
        bytes.shrink_to_fit();
        let charge = account.charge(Purpose::Replies, size_of::<Self>() + bytes.capacity());
        Box::new(Self {
            bytes,
            sent: 0,
            charge,
            written: now,
            renewed: 0,
            requests,
            close,
            refused,
            held: None,
        })
    }

    /// Notes that the peer has taken `bytes` more bytes. Its time is renewed only after some thousands of
    /// them. Otherwise a peer could hold the reply for ever with one byte now and then.
    pub(crate) fn took(&mut self, bytes: usize, now: u32) {
        self.sent += bytes;
        if self.sent - self.renewed >= PROGRESS_MIN {
            (self.renewed, self.written) = (self.sent, now);
        }
    }

    /// The memory that it takes.
    pub(crate) fn size(&self) -> usize {
        self.charge.bytes()
    }
}

/// A request whose reply is given later.
#[derive(Debug)]
pub(crate) struct Awaiting {
    request: Box<Held>,
    /// Milliseconds of the server's clock at which the wait began.
    pub(crate) since: u32,
    /// How many requests have had a reply on this connection, including this one.
    pub(crate) requests: u16,
    /// Why the connection is refused, if it is over a limit.
    pub(crate) refused: Option<Refusal>,
    /// The bytes of earlier replies that the socket has not taken.
    earlier: Vec<u8>,
    charge: Charge,
    /// The bytes that have arrived after the request.
    held: Option<Box<Held>>,
    pub(crate) ticket: Ticket,
}

impl Awaiting {
    pub(crate) fn new(
        request: Box<Held>,
        now: u32,
        requests: u16,
        refused: Option<Refusal>,
        ticket: Ticket,
        earlier: Vec<u8>,
        account: &Account,
    ) -> Box<Self> {
        let charge = account.charge(Purpose::Replies, size_of::<Self>() + earlier.capacity());
        Box::new(Self { request, since: now, requests, refused, earlier, charge, held: None, ticket })
    }

    /// The bytes that must be written before the reply.
    pub(crate) fn earlier(&self) -> &[u8] {
        &self.earlier
    }

    /// Notes that `bytes` of them are written.
    pub(crate) fn took(&mut self, bytes: usize) {
        self.earlier.drain(..bytes);
    }

    /// The bytes that have arrived after the request.
    pub(crate) fn held(&mut self) -> &mut Option<Box<Held>> {
        &mut self.held
    }

    /// Whether so many bytes have arrived after the request that the rest may wait in the socket.
    pub(crate) fn has_enough(&self, bytes_max: usize) -> bool {
        self.held.as_ref().is_some_and(|held| held.bytes.len() >= bytes_max)
    }

    /// The memory that it takes.
    pub(crate) fn size(&self) -> usize {
        let held = self.held.as_ref().map_or(0, |held| held.size());
        self.charge.bytes() + self.request.size() + held
    }

    /// The request, the rest of earlier replies, and the bytes that have arrived after the request.
    pub(crate) fn into_parts(self) -> (Box<Held>, Vec<u8>, Option<Box<Held>>) {
        let Self { request, earlier, held, .. } = self;
        (request, earlier, held)
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

    /// Whether no request has had a reply on this connection yet.
    pub(crate) fn is_new(&self) -> bool {
        self.generation == Generation::default()
    }

    /// How many requests have had a reply.
    pub(crate) fn requests(&self) -> u16 {
        match &self.state {
            Connection::Reading { requests, .. } => *requests,
            Connection::Replying(reply) => reply.requests,
            Connection::Awaiting(awaiting) => awaiting.requests,
            Connection::Streaming(stream) => stream.requests,
            Connection::Lingering { .. } | Connection::Closed => 0,
        }
    }

    /// The socket has taken more of what counts as written already (`Net::flush`), `all` or not all of it.
    pub(crate) fn took_more(&mut self, all: bool, now: u32) {
        let is_new = self.is_new();
        match &mut self.state {
            Connection::Streaming(stream) => stream.took_more(now),
            Connection::Lingering { since, .. } if all => *since = now,
            // The time for the next request. That for the first one does not begin anew.
            Connection::Reading { since, .. } if all && !is_new => *since = now,
            _ => {}
        }
    }

    /// Whether it holds bytes that were not parsed yet, because they arrived after an earlier request.
    pub(crate) fn holds_more(&self) -> bool {
        let Connection::Reading { held: Some(held), .. } = &self.state else { return false };
        held.incoming.is_fresh() && !held.bytes.is_empty()
    }

    /// Why the connection is refused, if it is over a limit and its one request has had no reply.
    pub(crate) fn refused(&self) -> Option<Refusal> {
        match &self.state {
            Connection::Reading { refused, .. } => *refused,
            Connection::Replying(reply) => reply.refused,
            Connection::Awaiting(awaiting) => awaiting.refused,
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

    /// The cost of an idle stream: its slot in the slab, its place in a topic, its socket (4 bytes each).
    #[test]
    fn a_slot_is_48_bytes_also_in_the_slab() {
        assert_eq!(size_of::<Slot>(), 48);
        assert_eq!(slab_entry_size::<Slot>(), 48);
    }

    /// An entry of the slab is the value or the number of the next vacant entry. `Slot` must leave room to
    /// distinguish them.
    fn slab_entry_size<T>() -> usize {
        #[expect(dead_code, reason = "only its size matters")]
        enum Entry<T> {
            Vacant(usize),
            Occupied(T),
        }
        size_of::<Entry<T>>()
    }
}
