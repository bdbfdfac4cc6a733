//! A network with faults, as strict as [`Net`] allows: readiness is reported once, and not again before the
//! loop has met the end of it. Faults are drawn from a seed.

use crate::trace::{Note, Trace};
use fastrand::Rng;
use mio_sse::net::{Net, Ready};
use mio_sse::{Peer, Refusal};
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Descriptors that the server holds in reserve.
const RESERVE: usize = 8;

/// Frequency of each fault, in 1024ths of the calls in which it is possible.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Faults {
    /// A read or a write is partial.
    pub(crate) part: u16,
    /// A read or a write would block, and would not a moment later.
    pub(crate) turn_around: u16,
    pub(crate) interrupted: u16,
    /// A connection fails with an error other than a reset.
    pub(crate) broken: u16,
    /// A poll reports an event that has not happened.
    pub(crate) spurious: u16,
    /// A poll reports a connection that was closed, whose slot may have another one by now.
    pub(crate) stale: u16,
    /// A poll leaves an event out, for the next one.
    pub(crate) delayed: u16,
    /// A poll returns early without events.
    pub(crate) early: u16,
    /// A poll reports events in another order.
    pub(crate) shuffled: u16,
    /// A connection is gone when it is accepted.
    pub(crate) aborted: u16,
    /// Accepting fails for want of resources.
    pub(crate) exhausted: u16,
    pub(crate) unregistered: u16,
    /// Shutting down a connection fails.
    pub(crate) unshut: u16,
    /// More is reported than needed: new input of which the loop knows already.
    pub(crate) told_twice: u16,
    /// A mark in the input, at which reads stop: an urgent byte, or a descriptor that is passed.
    pub(crate) marked: u16,
}

/// Number of occurrences of each fault.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Struck(pub(crate) [u64; FAULTS.len()]);

/// Names of the faults, in the order of their numbers in [`Struck`].
pub(crate) const FAULTS: [&str; 17] = [
    "part",
    "turn_around",
    "interrupted",
    "broken",
    "spurious",
    "stale",
    "delayed",
    "early",
    "shuffled",
    "aborted",
    "exhausted",
    "unregistered",
    "unshut",
    "told_twice",
    "descriptors",
    "destroyed",
    "marked",
];

/// Everything beside the server: sockets, clock, random numbers.
pub(crate) struct World {
    pub(crate) rng: Rng,
    pub(crate) now: Duration,
    /// Difference of the time of day to a correct clock, in milliseconds.
    pub(crate) unix_offset: i64,
    pub(crate) faults: Faults,
    pub(crate) struck: Struck,
    pub(crate) trace: Trace,
    pub(crate) connections: Vec<Connection>,
    /// Number of connections that can be open at once, including the reserve.
    pub(crate) descriptors: usize,
    /// Longest time that a waiting poll lets pass.
    pub(crate) patience: Duration,
    /// Counts everything that happens between the server and the world.
    pub(crate) activity: u64,
    /// Number of connections that the server has open, and that it has accepted.
    pub(crate) open: usize,
    pub(crate) accepted: u64,
    /// Number of bytes that it has written.
    pub(crate) written: u64,
    /// Limits of connections, in all and for one origin.
    pub(crate) connections_max: usize,
    pub(crate) connections_per_origin_max: Option<usize>,
    /// Number of connections so far that have to be counted as refused, and that were closed at once.
    pub(crate) refused: [u64; Refusal::ALL.len()],
    pub(crate) turned_away: u64,
    /// Registered connections of each origin.
    pub(crate) origins: HashMap<u32, usize>,
    /// Descriptors held in reserve.
    reserve: usize,
    /// One was freed for the next connection.
    given_up: bool,
    /// A connection was closed since the reserve was filled.
    reserve_is_due: bool,
    backlog: VecDeque<u32>,
    listener_ready: bool,
    /// Whether the loop has met the end of the backlog.
    listener_armed: bool,
    listening: bool,
    /// Connections with unreported readiness.
    pending: Vec<u32>,
    /// Slots of connections that were closed recently.
    freed: VecDeque<u32>,
    left_out: bool,
    wakes: Arc<Wakes>,
}

/// One connection, with its buffers.
#[derive(Default)]
pub(crate) struct Connection {
    slot: Option<u32>,
    /// If it is above a limit: which one, and whether it can get a refusal.
    pub(crate) refusal: Option<(Refusal, bool)>,
    to_server: Vec<u8>,
    /// Number of bytes of `to_server` that were read.
    read: usize,
    /// Positions in `to_server` at which reads stop that have begun before.
    marks: VecDeque<usize>,
    /// As with unix sockets: the poll reports each time that there may be marks. Otherwise, as with TCP,
    /// there is at most one mark, and the poll reports it as long as nothing after it was read.
    unannounced: bool,
    to_peer: Vec<u8>,
    /// Capacity of `to_peer` in bytes.
    pub(crate) capacity: usize,
    /// The peer will send no more.
    pub(crate) fin: bool,
    /// The peer is gone: writes to it cause a reset.
    pub(crate) gone: bool,
    pub(crate) reset: bool,
    /// It has ended, or will, without the close_notify of TLS.
    pub(crate) unsaid: bool,
    /// An error was drawn for it, or it could not be registered.
    pub(crate) broken: bool,
    server_shut: bool,
    pub(crate) server_closed: Option<Duration>,
    /// The last write to it was partial, or its bytes were lost.
    pub(crate) unfinished: bool,
    /// When the server accepted it, and when it last wrote to it.
    pub(crate) accepted_at: Option<Duration>,
    pub(crate) written_at: Duration,
    /// Time of the write before that.
    pub(crate) written_before: Duration,
    /// When it last tried to write, or shut down its side: a false report of room restarts the stall timeout.
    pub(crate) tried_at: Duration,
    /// Since when there have been unread bytes.
    pub(crate) behind_since: Option<Duration>,
    /// Time of the last partial write.
    pub(crate) held_up_at: Option<Duration>,
    /// Time of the last read.
    pub(crate) read_at: Duration,
    /// Whether the loop has to get a report of input, or of room.
    read_armed: bool,
    write_armed: bool,
    readable: bool,
    writable: bool,
    is_pending: bool,
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

impl World {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            rng: Rng::with_seed(seed),
            now: Duration::ZERO,
            unix_offset: 0,
            faults: Faults::default(),
            struck: Struck::default(),
            trace: Trace::default(),
            connections: Vec::new(),
            descriptors: usize::MAX,
            patience: Duration::ZERO,
            activity: 0,
            open: 0,
            accepted: 0,
            written: 0,
            connections_max: usize::MAX,
            connections_per_origin_max: None,
            refused: Default::default(),
            turned_away: 0,
            origins: HashMap::new(),
            reserve: 0,
            given_up: false,
            reserve_is_due: false,
            backlog: VecDeque::new(),
            listener_ready: false,
            listener_armed: true,
            listening: true,
            pending: Vec::new(),
            freed: VecDeque::new(),
            left_out: false,
            wakes: Arc::default(),
        }
    }

    fn strikes(&mut self, fault: usize, rate: u16) -> bool {
        let strikes = rate > 0 && self.rng.u16(..1024) < rate;
        self.struck.0[fault] += u64::from(strikes);
        strikes
    }

    /// Whether a poll would return at once, or the server could already know of an event.
    pub(crate) fn has_news(&self) -> bool {
        self.listener_ready || !self.pending.is_empty() || self.wakes.0.load(Ordering::Relaxed) > 0
    }

    /// Whether a connection waits to be accepted.
    pub(crate) fn has_backlog(&self) -> bool {
        !self.backlog.is_empty()
    }

    /// Whether the reserve could be filled and is not, though a connection was closed.
    pub(crate) fn misses_reserve(&self) -> bool {
        let free = self.open + self.reserve < self.descriptors;
        self.listening && self.reserve_is_due && self.reserve < RESERVE && free
    }

    fn raise(&mut self, connection: u32, readable: bool, writable: bool) {
        let it = &mut self.connections[connection as usize];
        if it.slot.is_none() || it.server_closed.is_some() {
            return;
        }
        it.readable |= readable;
        it.writable |= writable;
        if !std::mem::replace(&mut it.is_pending, true) {
            self.pending.push(connection);
        }
    }

    // Actions of peers.

    /// A peer connects. Its buffer has room for `capacity` bytes.
    pub(crate) fn connect(&mut self, capacity: usize) -> u32 {
        let number = u32::try_from(self.connections.len()).unwrap();
        let unannounced = self.rng.u8(..4) == 0;
        let mut connection = Connection { capacity, unannounced, ..Connection::default() };
        if self.listening {
            self.backlog.push_back(number);
            self.listener_ready |= self.listener_armed || self.rng.bool();
        } else {
            connection.server_closed = Some(self.now);
        }
        self.connections.push(connection);
        number
    }

    /// The peer sends.
    pub(crate) fn send(&mut self, connection: u32, bytes: &[u8]) {
        let it = &mut self.connections[connection as usize];
        if it.server_closed.is_some() || it.reset {
            // The reply is a reset, which destroys bytes that the peer has not read.
            if it.accepted_at.is_some() && !it.to_peer.is_empty() {
                self.struck.0[15] += 1;
                it.to_peer.clear();
                it.broken = true;
            }
            return;
        }
        assert!(!it.fin, "a peer sends nothing after its end");
        let before = it.to_server.len();
        it.to_server.extend_from_slice(bytes);
        let armed = std::mem::take(&mut it.read_armed);
        let announced = self.strikes(16, self.faults.marked) && self.mark(connection, before);
        if armed || announced || self.strikes(13, self.faults.told_twice) {
            self.raise(connection, true, false);
        }
    }

    /// Puts a mark into the last bytes sent, which begin at `from`. Returns whether the poll reports it, even
    /// if the loop still knows of unread input.
    fn mark(&mut self, connection: u32, from: usize) -> bool {
        let it = &mut self.connections[connection as usize];
        let Some(place) = (from < it.to_server.len()).then(|| self.rng.usize(from..it.to_server.len()))
        else {
            return false;
        };
        if !it.unannounced {
            it.marks.clear();
        }
        it.marks.push_back(place);
        !it.unannounced
    }

    /// The peer reads up to `count` bytes.
    pub(crate) fn take(&mut self, connection: u32, count: usize, into: &mut Vec<u8>) -> usize {
        let it = &mut self.connections[connection as usize];
        let count = count.min(it.to_peer.len());
        into.extend(it.to_peer.drain(..count));
        // As on Linux: only enough room causes a wake-up.
        let worth = (it.capacity - it.to_peer.len()) * 3 >= it.capacity;
        if worth && std::mem::take(&mut it.write_armed) {
            self.raise(connection, false, true);
        }
        count
    }

    /// Whether no more bytes will arrive at the peer.
    pub(crate) fn is_at_end(&self, connection: u32) -> bool {
        let it = &self.connections[connection as usize];
        it.to_peer.is_empty() && (it.server_shut || it.server_closed.is_some() || it.reset)
    }

    /// FIN: the peer sends no more, but keeps reading.
    pub(crate) fn half_close(&mut self, connection: u32) {
        self.connections[connection as usize].fin = true;
        self.raise(connection, true, false);
    }

    /// The peer closes: FIN, and RST in reply to any bytes.
    pub(crate) fn close(&mut self, connection: u32) {
        let it = &mut self.connections[connection as usize];
        it.gone = true;
        it.fin = true;
        if it.to_peer.is_empty() {
            self.raise(connection, true, false);
        } else {
            self.reset(connection);
        }
        self.connections[connection as usize].to_peer = Vec::new();
    }

    /// RST.
    pub(crate) fn reset(&mut self, connection: u32) {
        let it = &mut self.connections[connection as usize];
        it.reset = true;
        it.gone = true;
        self.raise(connection, true, true);
    }

    /// The server vanishes: some of its bytes on their way have arrived.
    pub(crate) fn crash(&mut self) {
        for connection in 0..self.connections.len() {
            let it = &mut self.connections[connection];
            it.to_peer.truncate(self.rng.usize(..=it.to_peer.len()));
            it.reset = true;
        }
    }

    /// Frees the records of past events.
    pub(crate) fn forget(&mut self) {
        self.connections = Vec::new();
        self.pending = Vec::new();
        self.trace = Trace::default();
    }

    /// From now on there are no faults.
    pub(crate) fn calm(&mut self) -> Faults {
        self.left_out = false;
        std::mem::take(&mut self.faults)
    }
}

/// The network. `SHORT` is [`Net::SHORT_MEANS_DRAINED`].
pub(crate) struct SimNet<const SHORT: bool>(pub(crate) Rc<RefCell<World>>);

impl fmt::Debug for Connection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Connection")
            .field("slot", &self.slot)
            .field("to_server", &(self.to_server.len() - self.read))
            .field("to_peer", &self.to_peer.len())
            .field("capacity", &self.capacity)
            .field("fin", &self.fin)
            .field("gone", &self.gone)
            .field("reset", &self.reset)
            .field("unsaid", &self.unsaid)
            .field("broken", &self.broken)
            .field("server_shut", &self.server_shut)
            .field("server_closed", &self.server_closed)
            .field("refusal", &self.refusal)
            .field("accepted_at", &self.accepted_at)
            .field("written_at", &self.written_at)
            .field("read_at", &self.read_at)
            .field("read_armed", &self.read_armed)
            .field("write_armed", &self.write_armed)
            .finish_non_exhaustive()
    }
}

impl Connection {
    /// Whether the server has it.
    pub(crate) fn is_open(&self) -> bool {
        self.accepted_at.is_some() && self.server_closed.is_none()
    }

    /// Whether the server has met the end of its room.
    pub(crate) fn is_full(&self) -> bool {
        self.write_armed
    }

    /// Time of its last event.
    pub(crate) fn moved_at(&self) -> Duration {
        self.accepted_at.unwrap_or_default().max(self.read_at).max(self.tried_at)
    }
}

impl<const SHORT: bool> Net for SimNet<SHORT> {
    type Socket = u32;
    const SHORT_MEANS_DRAINED: bool = SHORT;

    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let world = &mut *self.0.borrow_mut();
        let before = ready.len();
        let woken = world.wakes.0.swap(0, Ordering::Relaxed) > 0;
        world.left_out = false;
        if world.strikes(7, world.faults.early) {
            world.left_out = !world.pending.is_empty() || world.listener_ready;
            return Ok(());
        }
        if world.listener_ready && !world.strikes(6, world.faults.delayed) {
            world.listener_ready = false;
            ready.push(Ready::Listener);
        }
        let pending = std::mem::take(&mut world.pending);
        for connection in pending {
            let it = &mut world.connections[connection as usize];
            let Some(slot) = it.slot.filter(|_| it.server_closed.is_none()) else { continue };
            let waits_in_vain = timeout != Some(Duration::ZERO) && ready.len() == before;
            if !waits_in_vain && world.strikes(6, world.faults.delayed) {
                world.pending.push(connection);
                continue;
            }
            let it = &mut world.connections[connection as usize];
            it.is_pending = false;
            let readable = std::mem::take(&mut it.readable);
            let writable = std::mem::take(&mut it.writable);
            let until_blocked = it.fin || it.reset || it.unannounced || !it.marks.is_empty();
            ready.push(Ready::Connection { slot, readable, writable, until_blocked });
        }
        // What a poll without a timeout has left out is reported by the next one, and until then the loop is
        // not at rest.
        world.left_out = !world.pending.is_empty() || world.listener_ready;
        let told = ready.len() - before;
        world.activity += told as u64;
        if !world.connections.is_empty() && world.strikes(4, world.faults.spurious) {
            let any = world.rng.usize(..world.connections.len());
            let it = &world.connections[any];
            if let Some(slot) = it.slot.filter(|_| it.server_closed.is_none()) {
                let (readable, writable) = (world.rng.bool(), world.rng.bool());
                ready.push(Ready::Connection { slot, readable, writable, until_blocked: false });
            }
        }
        if !world.freed.is_empty() && world.strikes(5, world.faults.stale) {
            let slot = world.freed[world.rng.usize(..world.freed.len())];
            let (readable, writable, until_blocked) = (world.rng.bool(), world.rng.bool(), world.rng.bool());
            ready.push(Ready::Connection { slot, readable, writable, until_blocked });
        }
        if told > 1 && world.strikes(8, world.faults.shuffled) {
            world.rng.shuffle(&mut ready[before..]);
        }
        let waited = ready.len() == before && !woken && timeout != Some(Duration::ZERO);
        if waited {
            world.now += timeout.unwrap_or(Duration::MAX).min(world.patience);
        }
        if waited || told > 0 {
            let now = u64::try_from(world.now.as_micros()).unwrap();
            world.trace.note(Note::Polled { told, waited, now });
        }
        for event in &ready[before..] {
            if let Ready::Connection { slot, readable, writable, until_blocked } = *event {
                world.trace.note(Note::Told { slot, readable, writable, until_blocked });
            }
        }
        Ok(())
    }

    fn has_more(&self) -> bool {
        self.0.borrow().left_out
    }

    fn accept(&mut self) -> io::Result<(u32, Option<IpAddr>)> {
        let world = &mut *self.0.borrow_mut();
        let result = world.accept();
        world.trace.note(Note::Accepted(result.as_ref().copied().map_err(code)));
        result.map(|number| (number, Some(address(number))))
    }

    fn reserve(&mut self, count: usize) -> usize {
        let world = &mut *self.0.borrow_mut();
        world.given_up = count < world.reserve;
        world.reserve_is_due = false;
        let free = world.descriptors.saturating_sub(world.open + world.reserve);
        let most = if world.listening { world.reserve + free } else { world.reserve };
        world.reserve = count.min(most);
        world.reserve
    }

    fn stop_listening(&mut self) {
        let world = &mut *self.0.borrow_mut();
        world.reserve = 0;
        world.listening = false;
        world.listener_ready = false;
        let now = world.now;
        for connection in world.backlog.drain(..) {
            world.connections[connection as usize].server_closed = Some(now);
        }
    }

    fn register(&mut self, socket: &mut u32, slot: u32) -> io::Result<()> {
        let world = &mut *self.0.borrow_mut();
        let fails = world.strikes(11, world.faults.unregistered);
        let it = &mut world.connections[*socket as usize];
        assert_eq!(it.slot, None, "registered once");
        if fails {
            it.broken = true;
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        assert!(it.refusal.is_none_or(|(_, room)| room), "too many are not let in: {it:?}");
        it.slot = Some(slot);
        world.accepted += 1;
        *world.origins.entry(origin(*socket)).or_default() += 1;
        let readable = it.read < it.to_server.len() || it.fin || it.reset;
        it.read_armed = !readable;
        world.trace.note(Note::Registered { connection: *socket, slot });
        world.raise(*socket, readable, true);
        Ok(())
    }

    fn read(&mut self, socket: &mut u32, buffer: &mut [u8]) -> io::Result<usize> {
        let world = &mut *self.0.borrow_mut();
        let result = world.read(*socket, buffer, SHORT);
        world.trace.note(Note::Read { connection: *socket, result: result.as_ref().copied().map_err(code) });
        world.activity += u64::from(result.is_ok());
        result
    }

    fn write(&mut self, socket: &mut u32, bytes: &[u8]) -> io::Result<usize> {
        let world = &mut *self.0.borrow_mut();
        let result = world.write(*socket, bytes, SHORT);
        let it = &mut world.connections[*socket as usize];
        it.tried_at = world.now;
        let count = result.as_ref().map_or(0, |count| *count);
        it.unfinished = count < bytes.len();
        if count < bytes.len() {
            it.held_up_at = Some(world.now);
            it.behind_since.get_or_insert(world.now);
        } else {
            it.behind_since = None;
        }
        let (connection, asked) = (*socket, bytes.len());
        world.trace.note(Note::Written { connection, asked, result: result.as_ref().copied().map_err(code) });
        world.activity += u64::from(result.is_ok());
        world.written += result.as_ref().map_or(0, |count| *count as u64);
        result
    }

    fn peer(&self, socket: &u32) -> Option<Peer> {
        // After a reset the peer is gone.
        let is_there = !self.0.borrow().connections[*socket as usize].reset;
        is_there.then(|| peer(*socket))
    }

    fn shutdown(&mut self, socket: &mut u32) -> io::Result<()> {
        let world = &mut *self.0.borrow_mut();
        let fails = world.strikes(12, world.faults.unshut);
        let it = &mut world.connections[*socket as usize];
        assert!(it.server_closed.is_none() && !it.server_shut, "shut down once");
        if it.reset || fails {
            it.broken = true;
            return Err(io::ErrorKind::NotConnected.into());
        }
        it.server_shut = true;
        it.tried_at = world.now;
        world.activity += 1;
        world.trace.note(Note::Shut(*socket));
        Ok(())
    }

    fn close(&mut self, socket: u32) {
        let world = &mut *self.0.borrow_mut();
        let now = world.now;
        let it = &mut world.connections[socket as usize];
        assert!(it.accepted_at.is_some() && it.server_closed.is_none(), "closed once");
        it.server_closed = Some(now);
        if it.slot.is_some() {
            *world.origins.entry(origin(socket)).or_default() -= 1;
            world.reserve_is_due = true;
        } else if !it.broken {
            assert!(
                it.refusal.is_some_and(|(_, room)| !room),
                "a connection that can get a refusal is accepted: {it:?}"
            );
            world.accepted += 1;
            world.turned_away += 1;
        }
        if it.read < it.to_server.len() && !it.to_peer.is_empty() {
            // Closing with unread input resets the connection: bytes on their way may never arrive.
            it.unfinished = true;
            it.to_peer.truncate(world.rng.usize(..=it.to_peer.len()));
            world.struck.0[15] += 1;
        }
        it.to_server = Vec::new();
        it.read = 0;
        it.marks = VecDeque::new();
        world.open -= 1;
        world.activity += 1;
        world.freed.extend(it.slot);
        if world.freed.len() > 8 {
            world.freed.pop_front();
        }
        world.trace.note(Note::Closed(socket));
    }

    fn waker(&self) -> Waker {
        self.0.borrow().wakes.clone().into()
    }

    fn now(&self) -> Duration {
        self.0.borrow().now
    }

    fn unix_time(&self) -> SystemTime {
        let world = self.0.borrow();
        let ms = 1_800_000_000_000_u64.saturating_add_signed(world.unix_offset);
        UNIX_EPOCH + Duration::from_millis(ms) + world.now
    }

    fn random(&mut self) -> u64 {
        self.0.borrow_mut().rng.u64(..)
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(([127, 0, 0, 1], 80).into())
    }
}

impl World {
    fn accept(&mut self) -> io::Result<u32> {
        assert!(self.listening, "nothing is accepted without a listener");
        let given_up = std::mem::take(&mut self.given_up);
        if self.strikes(2, self.faults.interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.backlog.is_empty() {
            self.listener_armed = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.listener_armed = false;
        if self.strikes(10, self.faults.exhausted) {
            return Err(io::ErrorKind::OutOfMemory.into());
        }
        if self.open + self.reserve >= self.descriptors {
            self.struck.0[14] += 1;
            // The operating system's error for missing descriptors has no kind of its own.
            return Err(io::Error::other("too many open files"));
        }
        let aborted = self.strikes(9, self.faults.aborted);
        let number = self.backlog.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        let it = &mut self.connections[number as usize];
        self.activity += 1;
        if aborted {
            it.broken = true;
            it.server_closed = Some(self.now);
            return Err(io::ErrorKind::ConnectionAborted.into());
        }
        it.accepted_at = Some(self.now);
        it.written_at = self.now;
        let refusal = self.refusal(number).or(given_up.then_some((Refusal::Descriptors, true)));
        if let Some((refusal, _)) = refusal {
            self.refused[refusal as usize] += 1;
        }
        self.connections[number as usize].refusal = refusal;
        self.open += 1;
        Ok(number)
    }

    /// Whether one more connection is above a limit, and whether it can get a refusal.
    fn refusal(&self, connection: u32) -> Option<(Refusal, bool)> {
        let surplus = |limit: usize| (limit / 16).clamp(8, 1024);
        let limit = self.connections_max;
        let here = self.origins.get(&origin(connection)).copied().unwrap_or_default();
        if let Some(most) = self.connections_per_origin_max.filter(|most| here >= *most) {
            let room = here < most + surplus(most) && self.open < limit;
            return Some((Refusal::ConnectionsPerAddress, room));
        }
        (self.open >= limit).then(|| (Refusal::Connections, self.open < limit + surplus(limit)))
    }

    /// Errors that any call on a connection can return.
    fn fail(&mut self, connection: u32) -> io::Result<()> {
        assert!(self.connections[connection as usize].server_closed.is_none(), "not used when closed");
        if self.strikes(2, self.faults.interrupted) {
            return Err(io::ErrorKind::Interrupted.into());
        }
        if self.strikes(3, self.faults.broken) {
            self.connections[connection as usize].broken = true;
        }
        let it = &self.connections[connection as usize];
        match (it.reset, it.broken) {
            (true, _) => Err(io::ErrorKind::ConnectionReset.into()),
            (_, true) => Err(io::ErrorKind::TimedOut.into()),
            _ => Ok(()),
        }
    }

    fn read(&mut self, connection: u32, buffer: &mut [u8], short: bool) -> io::Result<usize> {
        self.fail(connection)?;
        let part = self.strikes(0, self.faults.part);
        let turns_around = self.strikes(1, self.faults.turn_around);
        let it = &mut self.connections[connection as usize];
        let waiting = it.to_server.len() - it.read;
        if waiting == 0 && it.fin {
            return Ok(0);
        }
        if waiting == 0 || turns_around {
            it.read_armed = true;
            if turns_around && waiting > 0 {
                it.read_armed = false;
                self.raise(connection, true, false);
            }
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let mut count = waiting.min(buffer.len());
        if it.marks.front() == Some(&it.read) {
            it.marks.pop_front();
        }
        if let Some(mark) = it.marks.front() {
            count = count.min(mark - it.read);
        }
        if part {
            count = self.rng.usize(1..=count);
        }
        let it = &mut self.connections[connection as usize];
        buffer[..count].copy_from_slice(&it.to_server[it.read..it.read + count]);
        it.read += count;
        it.read_at = self.now;
        let rest = it.to_server.len() - it.read;
        let at_mark = it.marks.front() == Some(&it.read);
        if rest == 0 {
            it.to_server.clear();
            it.read = 0;
        }
        if short && count < buffer.len() && !at_mark {
            it.read_armed = rest == 0;
            if rest > 0 {
                // The rest has arrived just now.
                self.raise(connection, true, false);
            }
        }
        Ok(count)
    }

    fn write(&mut self, connection: u32, bytes: &[u8], short: bool) -> io::Result<usize> {
        assert!(!bytes.is_empty(), "nothing is no reason for a system call");
        assert!(!self.connections[connection as usize].server_shut, "nothing is written after the end");
        self.fail(connection)?;
        let part = self.strikes(0, self.faults.part);
        let turns_around = self.strikes(1, self.faults.turn_around);
        if self.connections[connection as usize].gone {
            // The peer replies with a reset.
            self.reset(connection);
            self.connections[connection as usize].written_at = self.now;
            return Ok(bytes.len());
        }
        let it = &mut self.connections[connection as usize];
        let room = it.capacity.saturating_sub(it.to_peer.len());
        let mut count = room.min(bytes.len());
        if part && count > 0 {
            count = self.rng.usize(1..=count);
        }
        if turns_around {
            count = 0;
        }
        let it = &mut self.connections[connection as usize];
        if count == 0 || short && count < bytes.len() {
            it.write_armed = count == room;
            if !it.write_armed {
                // There is room again just now.
                self.raise(connection, false, true);
            }
        }
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let it = &mut self.connections[connection as usize];
        it.to_peer.extend_from_slice(&bytes[..count]);
        if it.written_at < self.now {
            it.written_before = it.written_at;
        }
        it.written_at = self.now;
        Ok(count)
    }
}

/// Origin of a connection: few origins for many connections.
fn origin(connection: u32) -> u32 {
    connection % 7
}

/// Its address, in several forms for one origin.
fn address(connection: u32) -> IpAddr {
    let within = connection / 7;
    match origin(connection) {
        // An IPv4 address, plain or as a listener for both families sees it.
        place @ 0..4 => {
            let address = Ipv4Addr::from(0x0A00_0000 + place);
            if within.is_multiple_of(2) { address.into() } else { address.to_ipv6_mapped().into() }
        }
        // Anywhere in a network of 64 bits.
        place => {
            let host = u128::from(within).wrapping_mul(0x9E37_79B9_7F4A_7C15) & u128::from(u64::MAX);
            Ipv6Addr::from(0x2001_0db8_u128 << 96 | u128::from(place) << 64 | host).into()
        }
    }
}

/// The other end of a connection.
pub(crate) fn peer(connection: u32) -> Peer {
    let port = 1024 + u16::try_from(connection % 60_000).unwrap();
    Peer::Address((address(connection), port).into())
}

/// An error as a number, for the trace.
fn code(error: &io::Error) -> i32 {
    match error.kind() {
        io::ErrorKind::WouldBlock => 0,
        io::ErrorKind::Interrupted => 1,
        io::ErrorKind::ConnectionReset => 2,
        io::ErrorKind::TimedOut => 3,
        io::ErrorKind::ConnectionAborted => 4,
        io::ErrorKind::OutOfMemory => 5,
        _ => 6,
    }
}
