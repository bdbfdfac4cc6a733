//! A network in memory: the same loop, without an operating system.
//!
//! It is stricter than real networks: readiness is reported once, and not again before the loop has met the
//! end, so a lost wake-up fails a test.

use mio_sse::net::{Net, Ready};
use mio_sse::{App, CloseReason, Config, Server, Stats};
use std::cell::{RefCell, RefMut};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpListener, TcpStream};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// More turns than any test needs: a loop that gets here spins.
const TURNS_MAX: usize = 100_000;

#[derive(Default)]
struct World {
    now: Duration,
    backlog: VecDeque<usize>,
    /// The peer of the next socket that is adopted.
    adoptable: VecDeque<usize>,
    ends: Vec<TcpStream>,
    listener_ready: bool,
    accept_errors: VecDeque<io::ErrorKind>,
    /// Number of attempts to accept.
    accepts: usize,
    /// Number of connections that can be open at once, including the reserve.
    descriptors: Option<usize>,
    reserve: usize,
    stopped_listening: bool,
    /// How far the time of day has been set back.
    stepped_back: Duration,
    peers: Vec<Connection>,
}

impl World {
    /// Number of descriptors in use.
    fn open(&self) -> usize {
        let open = self.peers.iter().filter(|peer| peer.slot.is_some() && !peer.server_closed);
        self.reserve + open.count()
    }
}

#[derive(Default)]
struct Connection {
    address: Option<IpAddr>,
    slot: Option<u32>,
    to_server: VecDeque<u8>,
    to_peer: Vec<u8>,
    /// Number of bytes that the server can still write.
    room: usize,
    /// New room after a write that did not fit.
    refill: Option<usize>,
    peer_closed: bool,
    peer_reset: bool,
    server_shut: bool,
    server_closed: bool,
    /// Whether input, or room, has to be reported to the loop.
    read_armed: bool,
    write_armed: bool,
    readable: bool,
    writable: bool,
    /// The bytes of each write.
    writes: Vec<usize>,
    reads: usize,
    shutdowns: usize,
    /// Number of look-ups of its address.
    asked: usize,
}

/// The network. `SHORT` is [`Net::SHORT_MEANS_DRAINED`].
pub(crate) struct MemoryNet<const SHORT: bool> {
    world: Rc<RefCell<World>>,
    wakes: Arc<Wakes>,
}

#[derive(Default)]
struct Wakes(AtomicUsize);

impl Wake for Wakes {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, Ordering::SeqCst);
    }
}

impl<const SHORT: bool> Net for MemoryNet<SHORT> {
    type Socket = usize;
    const SHORT_MEANS_DRAINED: bool = SHORT;

    fn poll(&mut self, _timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        if std::mem::take(&mut world.listener_ready) {
            ready.push(Ready::Listener);
        }
        for peer in &mut world.peers {
            let Some(slot) = peer.slot.filter(|_| !peer.server_closed && (peer.readable || peer.writable))
            else {
                continue;
            };
            let until_blocked = peer.peer_closed || peer.peer_reset;
            ready.push(Ready::Connection {
                slot,
                readable: peer.readable,
                writable: peer.writable,
                until_blocked,
            });
            peer.readable = false;
            peer.writable = false;
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<(usize, Option<IpAddr>)> {
        let mut world = self.world.borrow_mut();
        assert!(!world.stopped_listening, "nothing is accepted without a listener");
        world.accepts += 1;
        if let Some(kind) = world.accept_errors.pop_front() {
            return Err(kind.into());
        }
        if !world.backlog.is_empty() && world.descriptors.is_some_and(|limit| world.open() >= limit) {
            // The operating system's error for missing descriptors has no kind of its own.
            return Err(io::Error::other("too many open files"));
        }
        let socket = world.backlog.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        let address = world.peers[socket].address;
        Ok((socket, address))
    }

    /// The socket only represents a peer that [`Loop::adopt`] has made.
    fn adopt(&mut self, _socket: TcpStream) -> io::Result<usize> {
        self.world.borrow_mut().adoptable.pop_front().ok_or_else(|| io::ErrorKind::Unsupported.into())
    }

    fn reserve(&mut self, count: usize) -> usize {
        let mut world = self.world.borrow_mut();
        let free = world.descriptors.map_or(usize::MAX, |limit| limit.saturating_sub(world.open()));
        world.reserve = count.min(world.reserve.saturating_add(free));
        world.reserve
    }

    fn stop_listening(&mut self) {
        let mut world = self.world.borrow_mut();
        world.reserve = 0;
        world.stopped_listening = true;
        let waiting: Vec<_> = world.backlog.drain(..).collect();
        for peer in waiting {
            world.peers[peer].server_closed = true;
        }
    }

    fn register(&mut self, socket: &mut usize, slot: u32) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        let peer = &mut world.peers[*socket];
        assert_eq!(peer.slot, None, "registered once");
        peer.slot = Some(slot);
        peer.writable = true;
        peer.readable = !peer.to_server.is_empty() || peer.peer_closed || peer.peer_reset;
        peer.read_armed = !peer.readable;
        Ok(())
    }

    fn read(&mut self, socket: &mut usize, buffer: &mut [u8]) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        let peer = &mut world.peers[*socket];
        peer.reads += 1;
        if peer.peer_reset {
            return Err(io::ErrorKind::ConnectionReset.into());
        }
        let count = peer.to_server.len().min(buffer.len());
        if count == 0 && !peer.peer_closed {
            // The poll reports the state at the time of the call.
            peer.readable = false;
            peer.read_armed = true;
            return Err(io::ErrorKind::WouldBlock.into());
        }
        for (to, from) in buffer.iter_mut().zip(peer.to_server.drain(..count)) {
            *to = from;
        }
        if SHORT && count < buffer.len() {
            peer.readable &= peer.peer_closed;
            peer.read_armed = true;
        }
        Ok(count)
    }

    fn write(&mut self, socket: &mut usize, bytes: &[u8]) -> io::Result<usize> {
        let mut world = self.world.borrow_mut();
        let peer = &mut world.peers[*socket];
        assert!(!peer.server_shut, "nothing is written after the end");
        assert!(!bytes.is_empty(), "nothing is no reason for a system call");
        if peer.peer_reset {
            return Err(io::ErrorKind::BrokenPipe.into());
        }
        let count = bytes.len().min(peer.room);
        peer.room -= count;
        peer.to_peer.extend_from_slice(&bytes[..count]);
        peer.writes.push(count);
        if count == 0 || SHORT && count < bytes.len() {
            peer.write_armed = true;
            if let Some(room) = peer.refill {
                peer.make_room(room);
            }
        }
        if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    fn peer(&self, socket: &usize) -> Option<mio_sse::Peer> {
        let peer = &mut self.world.borrow_mut().peers[*socket];
        peer.asked += 1;
        peer.address.map(|address| mio_sse::Peer::Address((address, 50_000).into()))
    }

    fn shutdown(&mut self, socket: &mut usize) -> io::Result<()> {
        let mut world = self.world.borrow_mut();
        let peer = &mut world.peers[*socket];
        if peer.peer_reset {
            return Err(io::ErrorKind::NotConnected.into());
        }
        peer.server_shut = true;
        peer.shutdowns += 1;
        Ok(())
    }

    fn close(&mut self, socket: usize) {
        let mut world = self.world.borrow_mut();
        let peer = &mut world.peers[socket];
        assert!(!peer.server_closed, "closed once");
        peer.server_closed = true;
    }

    fn waker(&self) -> Waker {
        self.wakes.clone().into()
    }

    fn now(&self) -> Duration {
        self.world.borrow().now
    }

    fn unix_time(&self) -> SystemTime {
        UNIX_EPOCH + Duration::from_secs(1_800_000_000) + self.now() - self.world.borrow().stepped_back
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(([127, 0, 0, 1], 80).into())
    }
}

/// A server on a network in memory, or on one that wraps it, with controls for both.
pub(crate) struct Loop<H: App, const SHORT: bool = true, N: Net = MemoryNet<SHORT>> {
    pub(crate) server: Server<H, N>,
    world: Rc<RefCell<World>>,
    wakes: Arc<Wakes>,
}

/// One peer of the server.
pub(crate) struct Peer {
    world: Rc<RefCell<World>>,
    number: usize,
}

impl<H: App> Loop<H> {
    pub(crate) fn new(handler: H) -> Self {
        Self::with_config(handler, Config::default())
    }
}

impl<H: App, const SHORT: bool> Loop<H, SHORT> {
    pub(crate) fn with_config(handler: H, config: Config) -> Self {
        Self::over(handler, config, |net| net)
    }
}

impl<H: App, const SHORT: bool, N: Net> Loop<H, SHORT, N> {
    /// On a network that `around` makes of one in memory.
    pub(crate) fn over(handler: H, config: Config, around: impl FnOnce(MemoryNet<SHORT>) -> N) -> Self {
        let world = Rc::<RefCell<World>>::default();
        let wakes = Arc::<Wakes>::default();
        let net = around(MemoryNet { world: world.clone(), wakes: wakes.clone() });
        Self { server: Server::with_net(net, handler, config).unwrap(), world, wakes }
    }

    /// A peer that has connected. It reads without end unless its room is set.
    pub(crate) fn connect(&self) -> Peer {
        self.connect_from([127, 0, 0, 1].into())
    }

    pub(crate) fn connect_from(&self, address: IpAddr) -> Peer {
        let mut world = self.world.borrow_mut();
        let number = world.peers.len();
        let address = Some(address);
        world.peers.push(Connection { address, room: usize::MAX, ..Connection::default() });
        if world.stopped_listening {
            world.peers[number].server_closed = true;
            return Peer { world: self.world.clone(), number };
        }
        world.backlog.push_back(number);
        world.listener_ready = true;
        Peer { world: self.world.clone(), number }
    }

    /// A peer whose connection another server has accepted and read `input` from. Its address is 127.0.0.1.
    pub(crate) fn adopt(&mut self, input: impl Into<Vec<u8>>) -> Peer {
        let (peer, socket) = self.adoptable();
        self.server.adopt(socket, input).unwrap();
        peer
    }

    /// A peer, and the socket that represents it.
    pub(crate) fn adoptable(&self) -> (Peer, TcpStream) {
        let mut world = self.world.borrow_mut();
        let number = world.peers.len();
        world.peers.push(Connection { room: usize::MAX, ..Connection::default() });
        world.adoptable.push_back(number);
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let socket = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        // The socket has an address as long as the peer exists.
        world.ends.push(listener.accept().unwrap().0);
        (Peer { world: self.world.clone(), number }, socket)
    }

    /// From now on this many connections can be open at once.
    pub(crate) fn set_descriptors(&self, count: usize) {
        self.world.borrow_mut().descriptors = Some(count);
    }

    pub(crate) fn fail_accept(&self, kind: io::ErrorKind) {
        self.world.borrow_mut().accept_errors.push_back(kind);
    }

    pub(crate) fn turn(&mut self) {
        self.server.turn(Some(Duration::ZERO)).unwrap();
    }

    /// Turns until the server has nothing left to do at this time.
    pub(crate) fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            self.turn();
            if self.rests() {
                return;
            }
        }
        panic!("the loop does not come to rest");
    }

    /// Whether the server has nothing left to do at this time.
    pub(crate) fn rests(&mut self) -> bool {
        let world = self.world.borrow();
        let told = world.listener_ready || world.peers.iter().any(Connection::tells);
        drop(world);
        !told && self.server.next_timeout() != Some(Duration::ZERO)
    }

    /// Advances the time in small steps, so that everything due happens in time.
    pub(crate) fn pass(&mut self, time: Duration) {
        let end = self.world.borrow().now + time;
        loop {
            self.settle();
            let now = self.world.borrow().now;
            if now >= end {
                return;
            }
            let step = self.server.next_timeout().unwrap_or(Duration::MAX).min(end - now);
            self.world.borrow_mut().now = now + step;
        }
    }

    /// Advances the time at once, as if the loop had been held up.
    pub(crate) fn jump(&self, time: Duration) {
        self.world.borrow_mut().now += time;
    }

    /// Sets the time of day back.
    pub(crate) fn step_back(&self, time: Duration) {
        self.world.borrow_mut().stepped_back += time;
    }

    /// Number of attempts to accept so far.
    pub(crate) fn accepts(&self) -> usize {
        self.world.borrow().accepts
    }

    /// Whether new connections are still accepted.
    pub(crate) fn is_listening(&self) -> bool {
        !self.world.borrow().stopped_listening
    }

    /// The clock, for a handler to advance.
    pub(crate) fn clock(&self) -> Clock {
        Clock(self.world.clone())
    }

    pub(crate) fn now(&self) -> Duration {
        self.world.borrow().now
    }

    pub(crate) fn wakes(&self) -> usize {
        self.wakes.0.load(Ordering::SeqCst)
    }
}

/// The clock of a world.
pub(crate) struct Clock(Rc<RefCell<World>>);

impl Clock {
    /// Advances the time while the loop is busy.
    pub(crate) fn jump(&self, time: Duration) {
        self.0.borrow_mut().now += time;
    }
}

impl Connection {
    fn tells(&self) -> bool {
        self.slot.is_some() && !self.server_closed && (self.readable || self.writable)
    }

    fn make_room(&mut self, room: usize) {
        self.room = room;
        if room > 0 && std::mem::take(&mut self.write_armed) {
            self.writable = true;
        }
    }
}

impl Peer {
    /// Another handle of the same peer.
    pub(crate) fn again(&self) -> Self {
        Self { world: self.world.clone(), number: self.number }
    }

    fn connection(&self) -> RefMut<'_, Connection> {
        RefMut::map(self.world.borrow_mut(), |world| &mut world.peers[self.number])
    }

    pub(crate) fn write(&self, bytes: impl AsRef<[u8]>) {
        let mut connection = self.connection();
        connection.to_server.extend(bytes.as_ref());
        if std::mem::take(&mut connection.read_armed) {
            connection.readable = true;
        }
    }

    /// Sends FIN.
    pub(crate) fn close(&self) {
        let mut connection = self.connection();
        connection.peer_closed = true;
        connection.readable = true;
    }

    /// Sends RST.
    pub(crate) fn reset(&self) {
        let mut connection = self.connection();
        connection.peer_reset = true;
        connection.readable = true;
        connection.writable = true;
    }

    /// Sends RST, which the next read or write reports, but not the poll.
    pub(crate) fn reset_silently(&self) {
        self.connection().peer_reset = true;
    }

    /// From now on the server can write this many bytes.
    pub(crate) fn set_room(&self, room: usize) {
        self.connection().make_room(room);
    }

    /// The peer reads while the server writes: after each write that does not fit, there is this much room
    /// again.
    pub(crate) fn set_refill(&self, room: usize) {
        self.connection().refill = Some(room);
    }

    /// Takes the bytes that have arrived.
    pub(crate) fn read(&self) -> String {
        String::from_utf8(self.read_bytes()).unwrap()
    }

    /// The same for bytes that are not text.
    pub(crate) fn read_bytes(&self) -> Vec<u8> {
        std::mem::take(&mut self.connection().to_peer)
    }

    /// The bytes of each write of the server since the last call.
    pub(crate) fn writes(&self) -> Vec<usize> {
        std::mem::take(&mut self.connection().writes)
    }

    pub(crate) fn reads(&self) -> usize {
        self.connection().reads
    }

    /// Number of look-ups of its address by the loop.
    pub(crate) fn asked(&self) -> usize {
        self.connection().asked
    }

    /// Whether the server has closed its side.
    pub(crate) fn is_shut(&self) -> bool {
        self.connection().server_shut
    }

    pub(crate) fn is_closed(&self) -> bool {
        self.connection().server_closed
    }
}

/// The request of `EventSource`.
pub(crate) fn subscribe(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n")
}

/// Checks that the counters agree with each other.
pub(crate) fn check_accounts(stats: &Stats) {
    let closed: u64 = CloseReason::ALL.iter().map(|reason| stats.connections_closed(*reason)).sum();
    assert_eq!(stats.accepted, stats.connections + closed, "{stats:?}");
    assert_eq!(stats.streams_opened, stats.streams + stats.streams_closed(), "{stats:?}");
}

/// A request without a body.
pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}
