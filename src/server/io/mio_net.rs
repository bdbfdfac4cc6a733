//! The real network: TCP on mio, or unix sockets.
//!
//! All that is done with a connection is the same for both, so a unix socket is held as a `TcpStream` once it is accepted: only
//! the listeners differ, and options that are TCP's.

use crate::config::Config;
use crate::server::io::net::{Net, Ready};
#[cfg(unix)]
use crate::server::io::unix::SocketFile;
use mio::event::Source;
#[cfg(unix)]
use mio::net::UnixListener;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, ToSocketAddrs};
#[cfg(unix)]
use std::os::fd::OwnedFd;
#[cfg(unix)]
use std::path::Path;
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant, SystemTime};

/// Readiness fetched by one poll at most.
const EVENTS_PER_POLL: usize = 1024;

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// Set in the token of a connection if reads may stop at marks that the poll does not report. No slot has so
/// high a number.
const UNTIL_BLOCKED: usize = 1 << 31;

/// Readiness that the poll reports as long as an urgent byte of TCP waits, where mio has it. A read stops
/// before such a byte, so that it may be short although more waits. If the byte arrives between the poll and
/// the read, the next poll reports it.
#[cfg(any(target_os = "linux", target_os = "android"))]
const PRIORITY: Option<Interest> = Some(Interest::PRIORITY);
#[cfg(not(any(target_os = "linux", target_os = "android")))]
const PRIORITY: Option<Interest> = None;

/// Sockets of the operating system, through mio: epoll on Linux, kqueue on macOS and the BSDs.
#[derive(Debug)]
pub struct MioNet {
    poll: Poll,
    events: Events,
    /// How many events the last poll fetched.
    fetched: usize,
    /// None where all connections are adopted, and once the server takes no more.
    listener: Option<Listener>,
    /// None where it does not listen on TCP.
    address: Option<SocketAddr>,
    /// Copies of the listener.
    reserve: Vec<Socket>,
    /// Whether connections were adopted. They may be unix sockets although the listener is one of TCP.
    adopts: bool,
    options: Options,
    waker: Waker,
    started: Instant,
}

/// Where connections come from.
#[derive(Debug)]
enum Listener {
    Tcp(TcpListener),
    #[cfg(unix)]
    Unix {
        /// Held only to be dropped, if the file is ours, and before the socket is (see `SocketFile`).
        _file: Option<SocketFile>,
        listener: UnixListener,
    },
}

impl Listener {
    fn as_source(&mut self) -> &mut dyn Source {
        match self {
            Self::Tcp(listener) => listener,
            #[cfg(unix)]
            Self::Unix { listener, .. } => listener,
        }
    }

    /// Another descriptor for it.
    fn try_clone(&self) -> io::Result<Socket> {
        match self {
            Self::Tcp(listener) => SockRef::from(listener).try_clone(),
            #[cfg(unix)]
            Self::Unix { listener, .. } => SockRef::from(listener).try_clone(),
        }
    }
}

impl MioNet {
    /// Listens on the first of the addresses that can be bound.
    pub(crate) fn bind(address: impl ToSocketAddrs, config: &Config) -> io::Result<Self> {
        let mut failure = io::Error::new(io::ErrorKind::InvalidInput, "no address to listen on");
        for address in address.to_socket_addrs()? {
            match listen(address, config.backlog) {
                Ok(listener) => return Self::new(listener, config),
                Err(error) => failure = error,
            }
        }
        Err(failure)
    }

    pub(crate) fn new(listener: std::net::TcpListener, config: &Config) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let options = Options::new(config);
        if INHERITED {
            options.set(&SockRef::from(&listener))?;
        }
        let listener = TcpListener::from_std(listener);
        let address = listener.local_addr()?;
        Self::with_listener(Some(Listener::Tcp(listener)), Some(address), options)
    }

    /// Listens on a unix socket, and removes its file when it does not any more.
    #[cfg(unix)]
    pub(crate) fn bind_unix(path: &Path, config: &Config) -> io::Result<Self> {
        let (file, listener) = super::unix::listen(path, config.backlog)?;
        Self::of_unix(Some(file), listener, config)
    }

    #[cfg(unix)]
    pub(crate) fn new_unix(listener: std::os::unix::net::UnixListener, config: &Config) -> io::Result<Self> {
        Self::of_unix(None, listener, config)
    }

    #[cfg(unix)]
    fn of_unix(
        file: Option<SocketFile>,
        listener: std::os::unix::net::UnixListener,
        config: &Config,
    ) -> io::Result<Self> {
        listener.set_nonblocking(true)?;
        let listener = Listener::Unix { _file: file, listener: UnixListener::from_std(listener) };
        Self::with_listener(Some(listener), None, Options::new(config))
    }

    /// Listens nowhere.
    pub(crate) fn without_listener(config: &Config) -> io::Result<Self> {
        Self::with_listener(None, None, Options::new(config))
    }

    fn with_listener(
        mut listener: Option<Listener>,
        address: Option<SocketAddr>,
        options: Options,
    ) -> io::Result<Self> {
        let poll = Poll::new()?;
        if let Some(listener) = &mut listener {
            poll.registry().register(listener.as_source(), LISTENER, Interest::READABLE)?;
        }
        let waker = Arc::new(MioWaker(mio::Waker::new(poll.registry(), WAKER)?)).into();
        let events = Events::with_capacity(EVENTS_PER_POLL);
        Ok(Self {
            poll,
            events,
            fetched: 0,
            listener,
            address,
            reserve: Vec::new(),
            adopts: false,
            options,
            waker,
            started: clock(),
        })
    }

    /// Whether reads from `socket` may stop at marks that the poll does not report: at a passed descriptor
    /// (`SCM_RIGHTS`) on every unix socket, at an urgent byte on systems without [`PRIORITY`].
    fn stops_unannounced(&self, socket: &TcpStream) -> bool {
        #[cfg(unix)]
        if matches!(self.listener, Some(Listener::Unix { .. })) {
            return true;
        }
        // A unix socket has no address of TCP's.
        PRIORITY.is_none() || self.adopts && socket.local_addr().is_err()
    }
}

/// The one place where the monotonic clock is read.
#[expect(clippy::disallowed_methods, reason = "this is the place that clippy.toml speaks of")]
fn clock() -> Instant {
    Instant::now()
}

/// Through socket2, since std and mio listen with a fixed backlog of 128 or so.
fn listen(address: SocketAddr, backlog: u32) -> io::Result<std::net::TcpListener> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, Some(Protocol::TCP))?;
    // A restart must not wait for the old connections' TIME_WAIT. On Windows the option means something else.
    #[cfg(unix)]
    socket.set_reuse_address(true)?;
    socket.bind(&address.into())?;
    socket.listen(i32::try_from(backlog).unwrap_or(i32::MAX))?;
    Ok(socket.into())
}

/// Whether accepted sockets have the options of the listener, which saves a system call for each.
const INHERITED: bool = cfg!(any(target_os = "linux", target_os = "android"));

/// What `Config` has to say about sockets.
#[derive(Debug)]
struct Options {
    keepalive: Option<Duration>,
    user_timeout: Option<Duration>,
    notsent_lowat: Option<u32>,
    send_buffer: Option<usize>,
}

impl Options {
    fn new(config: &Config) -> Self {
        Self {
            keepalive: config.tcp_keepalive,
            user_timeout: config.tcp_user_timeout,
            notsent_lowat: config.tcp_notsent_lowat,
            send_buffer: config.send_buffer_bytes,
        }
    }

    fn set(&self, socket: &SockRef<'_>) -> io::Result<()> {
        // Events are written when they happen and never in halves: waiting for more to send only delays them.
        socket.set_tcp_nodelay(true)?;
        if let Some(time) = self.keepalive {
            socket.set_tcp_keepalive(&TcpKeepalive::new().with_time(time).with_interval(time))?;
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(time) = self.user_timeout {
            socket.set_tcp_user_timeout(Some(time))?;
        }
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if let Some(bytes) = self.notsent_lowat {
            socket.set_tcp_notsent_lowat(bytes)?;
        }
        self.set_of_any(socket)
    }

    /// Those that unix sockets have as well.
    fn set_of_any(&self, socket: &SockRef<'_>) -> io::Result<()> {
        self.send_buffer.map_or(Ok(()), |bytes| socket.set_send_buffer_size(bytes))
    }
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

impl Net for MioNet {
    type Socket = TcpStream;

    // Epoll and kqueue. Elsewhere mio asks for readiness anew only after a call that would have blocked.
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
        self.fetched = 0;
        match self.poll.poll(&mut self.events, timeout) {
            // A signal: whoever handles it wants to be asked, so this turn ends early.
            Err(error) if error.kind() == io::ErrorKind::Interrupted => return Ok(()),
            result => result?,
        }
        ready.extend(self.events.iter().inspect(|_| self.fetched += 1).filter_map(
            |event| match event.token() {
                LISTENER => Some(Ready::Listener),
                WAKER => None,
                Token(token) => Some(Ready::Connection {
                    slot: u32::try_from(token & !UNTIL_BLOCKED).ok()?,
                    readable: event.is_readable() || event.is_error(),
                    writable: event.is_writable(),
                    until_blocked: token & UNTIL_BLOCKED != 0
                        || event.is_priority()
                        || event.is_read_closed()
                        || event.is_error(),
                }),
            },
        ));
        Ok(())
    }

    fn has_more(&self) -> bool {
        self.fetched >= EVENTS_PER_POLL
    }

    fn accept(&mut self) -> io::Result<(TcpStream, Option<IpAddr>)> {
        let Some(listener) = &self.listener else { return Err(io::ErrorKind::WouldBlock.into()) };
        match listener {
            Listener::Tcp(listener) => {
                let (socket, address) = listener.accept()?;
                if !INHERITED {
                    self.options.set(&SockRef::from(&socket))?;
                }
                Ok((socket, Some(address.ip())))
            }
            #[cfg(unix)]
            Listener::Unix { listener, .. } => {
                let (socket, _) = listener.accept()?;
                let socket = std::net::TcpStream::from(OwnedFd::from(socket));
                self.options.set_of_any(&SockRef::from(&socket))?;
                Ok((TcpStream::from_std(socket), None))
            }
        }
    }

    fn adopt(&mut self, socket: std::net::TcpStream) -> io::Result<TcpStream> {
        socket.set_nonblocking(true)?;
        self.adopts = true;
        // A peer that has left is no error yet, and on some systems has no options any more. Nor has a unix socket, which may
        // come in this type as well as those that are accepted here.
        if let Err(error) = self.options.set(&SockRef::from(&socket)) {
            log::debug!("a connection is taken over with the options it has: {error}");
        }
        Ok(TcpStream::from_std(socket))
    }

    fn reserve(&mut self, count: usize) -> usize {
        self.reserve.truncate(count);
        if let Some(listener) = &self.listener {
            while self.reserve.len() < count
                && let Ok(copy) = listener.try_clone()
            {
                self.reserve.push(copy);
            }
        }
        self.reserve.len()
    }

    fn stop_listening(&mut self) {
        // The listener lives as long as any copy of it.
        self.reserve.clear();
        if let Some(mut listener) = self.listener.take()
            && let Err(error) = self.poll.registry().deregister(listener.as_source())
        {
            log::error!("cannot take the listener out of the poll: {error}");
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

    fn close(&mut self, socket: TcpStream) {
        // Closing the descriptor takes it out of the poll as well.
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
        self.address.ok_or_else(|| io::Error::new(io::ErrorKind::Unsupported, problem))
    }
}

#[cfg(unix)]
impl std::os::fd::AsFd for MioNet {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.poll.registry().as_fd()
    }
}

#[cfg(unix)]
impl std::os::fd::AsRawFd for MioNet {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.poll.as_raw_fd()
    }
}
