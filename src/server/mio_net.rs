//! The real network: TCP on mio.

use super::net::{Net, Ready};
use crate::config::Config;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Protocol, SockRef, Socket, TcpKeepalive, Type};
use std::io::{self, Read, Write};
use std::net::{IpAddr, Shutdown, SocketAddr, ToSocketAddrs};
use std::sync::Arc;
use std::task::{Wake, Waker};
use std::time::{Duration, Instant, SystemTime};

/// Readiness fetched by one poll at most.
const EVENTS_PER_POLL: usize = 1024;

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

/// Sockets of the operating system, through mio: epoll on Linux, kqueue on macOS and the BSDs.
#[derive(Debug)]
pub struct MioNet {
    poll: Poll,
    events: Events,
    /// How many events the last poll fetched.
    fetched: usize,
    /// None once the server takes no more connections.
    listener: Option<TcpListener>,
    address: SocketAddr,
    reserve: Vec<std::net::TcpListener>,
    options: Options,
    waker: Waker,
    started: Instant,
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
        let mut listener = TcpListener::from_std(listener);
        let address = listener.local_addr()?;
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let waker = Arc::new(MioWaker(mio::Waker::new(poll.registry(), WAKER)?)).into();
        let events = Events::with_capacity(EVENTS_PER_POLL);
        Ok(Self {
            poll,
            events,
            fetched: 0,
            listener: Some(listener),
            address,
            reserve: Vec::new(),
            options,
            waker,
            started: clock(),
        })
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
        if let Some(bytes) = self.send_buffer {
            socket.set_send_buffer_size(bytes)?;
        }
        Ok(())
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

    // Elsewhere mio asks for readiness anew only after a call that would have blocked.
    const SHORT_MEANS_DRAINED: bool = cfg!(unix);

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
                Token(slot) => Some(Ready::Connection {
                    slot: u32::try_from(slot).ok()?,
                    readable: event.is_readable() || event.is_error(),
                    writable: event.is_writable(),
                    closing: event.is_read_closed() || event.is_error(),
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
        let (socket, address) = listener.accept()?;
        if !INHERITED {
            self.options.set(&SockRef::from(&socket))?;
        }
        Ok((socket, Some(address.ip())))
    }

    fn adopt(&mut self, socket: std::net::TcpStream) -> io::Result<TcpStream> {
        socket.set_nonblocking(true)?;
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
                && let Ok(copy) = SockRef::from(listener).try_clone()
            {
                self.reserve.push(copy.into());
            }
        }
        self.reserve.len()
    }

    fn stop_listening(&mut self) {
        // The listener lives as long as any copy of it.
        self.reserve.clear();
        if let Some(mut listener) = self.listener.take()
            && let Err(error) = self.poll.registry().deregister(&mut listener)
        {
            log::error!("cannot take the listener out of the poll: {error}");
        }
    }

    fn register(&mut self, socket: &mut TcpStream, slot: u32) -> io::Result<()> {
        self.poll.registry().register(socket, Token(slot as usize), Interest::READABLE | Interest::WRITABLE)
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
        Ok(self.address)
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
