//! The real network: TCP on mio, or unix sockets.
//!
//! Both kinds of connections are used alike, so a unix socket is held as a `TcpStream` after it is accepted.
//! Only the listeners and the TCP options differ.

use crate::config::Config;
use crate::peer::Peer;
#[cfg(any(target_os = "linux", target_os = "android"))]
use crate::server::io::descriptors::make_room;
use crate::server::io::listener::Listener;
use crate::server::io::listeners::Listeners;
use crate::server::io::net::{Net, Ready};
use crate::server::io::options::Options;
use crate::server::io::peer::peer;
use crate::server::io::rotation::Rotation;
use crate::server::io::secured::Tls;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{SockRef, Socket};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant, SystemTime};

/// Events fetched by one poll at most.
const EVENTS_PER_POLL: usize = 1024;

const WAKER: Token = Token(usize::MAX);
/// The token of the first listener. Those of further listeners count down from here. Slots have lower
/// numbers.
const LISTENERS: usize = usize::MAX - 1;

/// Set in the token of a connection if reads may stop at marks that the poll does not report. Slots have
/// lower numbers.
const UNTIL_BLOCKED: usize = 1 << 31;

/// Readiness that the poll reports while an urgent byte of TCP waits, on systems where mio has it. A read
/// stops before such a byte, so it may be short although more waits. If the byte arrives between the poll and
/// the read, the next poll reports it.
#[cfg(any(target_os = "linux", target_os = "android"))]
const PRIORITY: Option<Interest> = Some(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const PRIORITY: Option<Interest> = None;

/// The default network of a server: sockets of the operating system, and TLS for connections of a TLS
/// [listener](crate::Listeners::tls).
#[cfg(feature = "tls")]
pub type MioNet = crate::server::io::tls::tls_net::TlsNet<Sockets>;

/// The default network of a server: sockets of the operating system.
#[cfg(not(feature = "tls"))]
pub type MioNet = Sockets;

/// Sockets of the operating system, through mio: epoll on Linux, kqueue on macOS and the BSDs, AFD on
/// Windows.
#[derive(Debug)]
pub struct Sockets {
    poll: Poll,
    events: Events,
    /// The number of events that the last poll fetched.
    fetched: usize,
    /// Empty if all connections are adopted, and after the server has stopped listening.
    listeners: Rotation<Listener>,
    /// The addresses of TCP listeners.
    addresses: Vec<SocketAddr>,
    /// The kinds of sockets that are accepted.
    accepts: Kinds,
    /// Descriptors in reserve, which are copies of a listener.
    reserve: Vec<Socket>,
    /// Whether connections were adopted. They may be unix sockets even if all listeners are TCP.
    adopts: bool,
    /// The TLS configuration of the connection that was accepted last.
    accepted: Option<Tls>,
    options: Options,
    waker: Waker,
    started: Instant,
}

/// Which kinds of sockets a server accepts.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kinds {
    /// TCP, or none at all.
    Tcp,
    Unix,
    Both,
}

impl Kinds {
    fn of(listeners: &[Listener]) -> Self {
        match listeners.iter().filter(|listener| listener.is_unix()).count() {
            0 => Self::Tcp,
            count if count == listeners.len() => Self::Unix,
            _ => Self::Both,
        }
    }
}

/// Opens `listeners` for a number of loops. Returns a network for each, and whether the first accepts for the
/// others too.
pub(crate) fn listen(listeners: Listeners, loops: usize, config: &Config) -> io::Result<(Vec<MioNet>, bool)> {
    let options = Options::new(config);
    let (of_loops, deals) = listeners.open(loops, config, &options)?;
    let nets = of_loops.into_iter().map(|listeners| Sockets::new(listeners, options.clone()));
    let nets: Vec<_> = nets.collect::<io::Result<_>>()?;
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Some(net) = nets.first() {
        make_room(net, config.connections_max.saturating_mul(loops));
    }
    #[cfg(feature = "tls")]
    let nets = nets.into_iter().map(MioNet::new).collect();
    Ok((nets, deals))
}

impl Sockets {
    fn new(mut listeners: Vec<Listener>, options: Options) -> io::Result<Self> {
        let poll = Poll::new()?;
        let mut addresses = Vec::new();
        for (number, listener) in listeners.iter_mut().enumerate() {
            addresses.extend(listener.address()?);
            let token = Token(LISTENERS - number);
            poll.registry().register(listener.as_source(), token, Interest::READABLE)?;
        }
        let waker = Arc::new(MioWaker(mio::Waker::new(poll.registry(), WAKER)?)).into();
        let events = Events::with_capacity(EVENTS_PER_POLL);
        Ok(Self {
            poll,
            events,
            fetched: 0,
            addresses,
            accepts: Kinds::of(&listeners),
            listeners: Rotation::new(listeners),
            reserve: Vec::new(),
            adopts: false,
            accepted: None,
            options,
            waker,
            started: clock(),
        })
    }

    /// Whether reads from `socket` may stop at marks that the poll does not report: at a passed descriptor
    /// (`SCM_RIGHTS`) on every unix socket, at an urgent byte on systems without [`PRIORITY`].
    fn stops_unannounced(&self, socket: &TcpStream) -> bool {
        let is_one_of_both = self.adopts || self.accepts == Kinds::Both;
        // A unix socket has no TCP address. If nearly all are unix sockets, the check is not worth it.
        PRIORITY.is_none() || self.accepts == Kinds::Unix || is_one_of_both && socket.local_addr().is_err()
    }
}

/// The one place where the monotonic clock is read.
#[expect(clippy::disallowed_methods, reason = "this is the place that clippy.toml speaks of")]
fn clock() -> Instant {
    Instant::now()
}

struct MioWaker(mio::Waker);

impl Wake for MioWaker {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if let Err(error) = self.0.wake() {
            log::error!("cannot wake the loop: {error}");
        }
    }
}

impl Net for Sockets {
    type Socket = TcpStream;

    // True for epoll and kqueue. On other systems mio renews its interest only after a call that would have
    // blocked.
    const SHORT_MEANS_DRAINED: bool = cfg!(any(
        target_os = "android",
        target_os = "dragonfly",
        target_os = "freebsd",
        target_os = "ios",
        target_os = "linux",
        target_os = "macos",
        target_os = "netbsd",
        target_os = "openbsd",
    ));

    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let Self { listeners, fetched, .. } = self;
        *fetched = 0;
        match self.poll.poll(&mut self.events, timeout) {
            // A signal. The turn ends early, so a loop of the application can react to it.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        ready.extend(self.events.iter().inspect(|_| *fetched += 1).filter_map(|event| match event.token() {
            WAKER => None,
            Token(token) if listeners.ready(LISTENERS - token) => Some(Ready::Listener),
            Token(token) => Some(Ready::Connection {
                slot: u32::try_from(token & !UNTIL_BLOCKED).ok()?,
                readable: event.is_readable() || event.is_error(),
                writable: event.is_writable(),
                until_blocked: token & UNTIL_BLOCKED != 0
                    || event.is_priority()
                    || event.is_read_closed()
                    || event.is_error(),
            }),
        }));
        Ok(())
    }

    fn has_more(&self) -> bool {
        self.fetched >= EVENTS_PER_POLL
    }

    fn accept(&mut self) -> io::Result<(TcpStream, Option<IpAddr>)> {
        let options = &self.options;
        let (socket, address, tls) = self.listeners.accept(|listener| listener.accept(options))?;
        self.accepted = tls;
        Ok((socket, address))
    }

    #[cfg(feature = "tls")]
    fn tls(&self) -> Option<&Tls> {
        self.accepted.as_ref()
    }

    fn adopt(&mut self, socket: std::net::TcpStream) -> io::Result<TcpStream> {
        socket.set_nonblocking(true)?;
        self.adopts = true;
        // It may be a unix socket, which this type can hold too.
        self.options.set_of_connection(&SockRef::from(&socket));
        Ok(TcpStream::from_std(socket))
    }

    fn release(&mut self, socket: TcpStream) -> Result<std::net::TcpStream, TcpStream> {
        Ok(socket.into())
    }

    fn reserve(&mut self, count: usize) -> usize {
        self.reserve.truncate(count);
        if let Some(listener) = self.listeners.iter().next() {
            while self.reserve.len() < count
                && let Ok(copy) = listener.try_clone()
            {
                self.reserve.push(copy);
            }
        }
        self.reserve.len()
    }

    fn stop_listening(&mut self) {
        // A listener stays open as long as any copy of it.
        self.reserve.clear();
        for mut listener in self.listeners.take() {
            if let Err(error) = self.poll.registry().deregister(listener.as_source()) {
                log::error!("cannot deregister a listener: {error}");
            }
        }
    }

    fn register(&mut self, socket: &mut TcpStream, slot: u32) -> io::Result<()> {
        let mark = if self.stops_unannounced(socket) { UNTIL_BLOCKED } else { 0 };
        let interest = Interest::READABLE | Interest::WRITABLE;
        let interest = PRIORITY.map_or(interest, |priority| interest | priority);
        self.poll.registry().register(socket, Token(slot as usize | mark), interest)
    }

    fn read(&mut self, socket: &mut TcpStream, buffer: &mut [u8]) -> io::Result<usize> {
        socket.read(buffer)
    }

    fn write(&mut self, socket: &mut TcpStream, bytes: &[u8]) -> io::Result<usize> {
        socket.write(bytes)
    }

    fn shutdown(&mut self, socket: &mut TcpStream) -> io::Result<()> {
        socket.shutdown(Shutdown::Write)
    }

    fn peer(&self, socket: &TcpStream) -> Option<Peer> {
        peer(socket)
    }

    fn close(&mut self, socket: TcpStream) {
        // Closing the descriptor also removes it from the poll.
        drop(socket);
    }

    fn waker(&self) -> Waker {
        self.waker.clone()
    }

    fn now(&self) -> Duration {
        self.started.elapsed()
    }

    #[expect(clippy::disallowed_methods, reason = "this is the place that clippy.toml speaks of")]
    fn unix_time(&self) -> SystemTime {
        SystemTime::now()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        let problem = "the server does not listen on TCP";
        let first = self.addresses.first().copied();
        first.ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, problem))
    }

    fn local_addrs(&self) -> Vec<SocketAddr> {
        self.addresses.clone()
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for Sockets {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }
}

#[cfg(unix)]
impl std::os::fd::AsRawFd for Sockets {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.poll.as_raw_fd()
    }
}
