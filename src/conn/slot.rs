//! The record of a connection: the only memory an idle one costs.

use crate::account::{Account, Charge, Purpose};
use crate::conn::close_reason::CloseReason;
use crate::conn::id::Generation;
use crate::conn::refusal::Refusal;
use crate::conn::ticket::Ticket;
use crate::delivery::stream::Stream;
use crate::http::parse::held::Held;

/// A connection, or a slot of one that was closed in this turn. See the graph in the [module](super)
/// documentation.
///
/// Invariant: 48 bytes, whatever is added (a test holds it).
#[derive(Debug)]
pub(crate) struct Slot {
    pub(crate) state: Connection,
    /// The generation of the stream that is open here, or was last.
    pub(crate) generation: Generation,
    pub(crate) input: Input,
    /// Whether the socket has taken everything that was written to it. False from a short write on until the
    /// poll says that there is room.
    pub(crate) writable: bool,
}

/// What is known of bytes waiting in the socket. Readiness is told once, so it is remembered until a read
/// meets the end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Input {
    /// The last read took everything; the poll will tell of more.
    Drained,
    /// There may be more.
    Waiting,
    /// There may be more, and a read may stop short of it: read on until the socket has nothing.
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
    /// The application replies to its request later.
    Awaiting(Box<Awaiting>),
    /// An event stream, from just before the handler is asked until its last byte.
    Streaming(Stream),
    /// Everything is written and our side is closed. What the peer still sends is read and dropped until it
    /// closes too: closing at once would reset the connection and destroy what the peer has not read yet.
    Lingering {
        since: u32,
        reason: CloseReason,
        /// So many bytes more are dropped.
        left: u32,
    },
    /// To be freed at the end of this turn.
    Closed,
}

/// The rest of a response.
#[derive(Debug)]
pub(crate) struct PendingReply {
    pub(crate) bytes: Vec<u8>,
    pub(crate) sent: usize,
    charge: Charge,
    /// Milliseconds of the server's clock when the peer had taken enough last, and how much it had taken
    /// then.
    pub(crate) written: u32,
    renewed: usize,
    /// Requests answered so far on this connection, this one included.
    pub(crate) requests: u16,
    /// Why the connection closes behind it; `None` if the next request may follow.
    pub(crate) close: Option<CloseReason>,
    /// Whether the connection is one too many and its request is still to come: this is only the word that
    /// its body is wanted.
    pub(crate) refused: Option<Refusal>,
    pub(crate) held: Option<Box<Held>>,
}

/// What a peer has to take of a whole reply within `Config::stall_timeout`, or the rest of it.
const PROGRESS_MIN: usize = 16 << 10;

impl PendingReply {
    /// `bytes` that the socket has not taken at `now`, on a connection that has answered so many requests and
    /// is `refused` or not; it is closed behind them, or not.
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

    /// The peer has taken so many bytes more. Its time is renewed for some thousands of them, and not for
    /// each: one byte now and then would hold the reply for ever.
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

/// A request whose reply comes later.
#[derive(Debug)]
pub(crate) struct Awaiting {
    request: Box<Held>,
    /// Milliseconds of the server's clock at which the wait began.
    pub(crate) since: u32,
    /// Requests answered so far on this connection, this one included.
    pub(crate) requests: u16,
    /// Whether the connection is one too many.
    pub(crate) refused: Option<Refusal>,
    /// What the socket has not taken of earlier replies.
    earlier: Vec<u8>,
    charge: Charge,
    /// What has arrived behind the request.
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

    /// What is to be written before the reply.
    pub(crate) fn earlier(&self) -> &[u8] {
        &self.earlier
    }

    /// So many bytes of it are written.
    pub(crate) fn took(&mut self, bytes: usize) {
        self.earlier.drain(..bytes);
    }

    /// Where what arrives behind the request is kept.
    pub(crate) fn held(&mut self) -> &mut Option<Box<Held>> {
        &mut self.held
    }

    /// Whether so much has arrived behind the request that the rest may wait in the socket.
    pub(crate) fn has_enough(&self, bytes_max: usize) -> bool {
        self.held.as_ref().is_some_and(|held| held.bytes.len() >= bytes_max)
    }

    /// The memory that it takes.
    pub(crate) fn size(&self) -> usize {
        let held = self.held.as_ref().map_or(0, |held| held.size());
        self.charge.bytes() + self.request.size() + held
    }

    /// The request, what is left of earlier replies, and what has arrived behind it.
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

    /// Whether no request has been answered on this connection yet.
    pub(crate) fn is_new(&self) -> bool {
        self.generation == Generation::default()
    }

    /// Requests answered so far.
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

    /// What an idle stream costs: its slot in the slab, its place in a topic, its socket (4 bytes each).
    #[test]
    fn a_slot_is_48_bytes_also_in_the_slab() {
        assert_eq!(size_of::<Slot>(), 48);
        assert_eq!(slab_entry_size::<Slot>(), 48);
    }

    /// A slab's entry is the value or the number of the next vacant entry: `Slot` has to leave room to tell
    /// them apart.
    fn slab_entry_size<T>() -> usize {
        #[expect(dead_code, reason = "only its size matters")]
        enum Entry<T> {
            Vacant(usize),
            Occupied(T),
        }
        size_of::<Entry<T>>()
    }
}
