//! The server: how to build it, and its methods between two turns.

use crate::config::Config;
use crate::server::api::app::App;
use crate::server::api::context::Context;
use crate::server::api::observer::Observer;
use crate::server::api::publisher::Publisher;
use crate::server::api::stats::Stats;
use crate::server::io::listeners::Listeners;
use crate::server::io::mio_net::{MioNet, listen};
use crate::server::io::net::{Net, Ready};
use crate::server::state::acceptor::Acceptor;
use crate::server::state::addresses::Addresses;
use crate::server::state::core::{Core, Job};
use crate::server::state::inbox::{Inbox, Order};
use crate::server::state::log_limit::LogLimit;
use crate::server::state::request_buffers::RequestBuffers;
use crate::server::state::sweep::Sweep;
use crate::server::state::ticks::milliseconds;
use crate::topic::ids::Maker;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
#[cfg(unix)]
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// An HTTP server for event streams: one thread, one loop.
///
/// [Build](Self::bind) it, then [`run`](Self::run) it, or call [`turn`](Self::turn) in a loop of your own.
///
/// ```no_run
/// use mio_sse::{Event, Router, Server};
/// use std::time::Duration;
///
/// let mut app = Router::new();
/// app.sse("/hello", |stream, _request, cx| cx.send(stream, Event::new().data("hello")));
/// Server::bind("127.0.0.1:8080", app)?.run()
/// # ; Ok::<(), std::io::Error>(())
/// ```
///
/// A server that has [stopped](Context::stop) no longer listens. Dropping a server closes its connections.
/// First every open stream is reported to the handler as
/// [`CloseReason::Stopped`](crate::CloseReason::Stopped), or as
/// [`CloseReason::Drained`](crate::CloseReason::Drained) in a drain.
pub struct Server<H: App, N: Net = MioNet> {
    pub(crate) handler: H,
    pub(crate) net: N,
    pub(crate) core: Core,
    /// The socket of each slot.
    pub(crate) sockets: Vec<Option<N::Socket>>,
    pub(crate) started: bool,
    pub(crate) stopped: bool,
    /// Whether the inbox may hold messages for which the poll will not wake again.
    pub(crate) inbox_waiting: bool,
    /// Until when the inbox rests, to give streams time to read what was published last.
    pub(crate) inbox_rests_until: Option<Duration>,
    pub(crate) accept: Acceptor,
    pub(crate) addresses: Addresses,
    pub(crate) slow: LogLimit,
    /// Bytes written by the end of the last turn.
    pub(crate) written: u64,
    /// Limits warnings about invalid events of sources.
    pub(crate) bad_events: LogLimit,
    pub(crate) requests: RequestBuffers,
    pub(crate) sweep: Sweep,
    // Kept for their capacity; empty between turns.
    pub(crate) ready: Vec<Ready>,
    pub(crate) messages: Vec<Order<Job>>,
}

impl<H: App, N: Net> fmt::Debug for Server<H, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("stats", &self.core.stats()).finish_non_exhaustive()
    }
}

impl<H: App> Server<H> {
    /// Listens on all addresses of `address`, with the default limits: on `127.0.0.1` and `::1` for
    /// `localhost`. Port 0 chooses one that is free on all of them, see [`local_addr`](Self::local_addr).
    /// [`Listeners::tcp`] explains addresses that the machine does not have, and `0.0.0.0` and `[::]`.
    ///
    /// # Errors
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) if one of the addresses is in use, and other errors of the
    /// operating system; the message names the address. [`InvalidInput`](io::ErrorKind::InvalidInput) if
    /// there is no address, or if the handler is invalid (see [`Handler::check`](crate::Handler::check)).
    pub fn bind(address: impl ToSocketAddrs, handler: H) -> io::Result<Self> {
        Self::bind_with(address, handler, Config::default())
    }

    /// Listens on all addresses of `address`, with limits of your own, see [`bind`](Self::bind).
    ///
    /// # Errors
    /// As for [`bind`](Self::bind); [`InvalidInput`](io::ErrorKind::InvalidInput) also for invalid limits
    /// (see [`Config::check`]).
    pub fn bind_with(address: impl ToSocketAddrs, handler: H, config: Config) -> io::Result<Self> {
        Self::listen(Listeners::new().tcp(address), handler, config)
    }

    /// Listens in several places: TCP addresses, unix sockets, and listeners that exist already.
    ///
    /// ```
    /// use mio_sse::{Config, Listeners, Router, Server};
    /// use std::net::TcpListener;
    ///
    /// let inherited = TcpListener::bind("127.0.0.1:0")?;
    /// let listeners = Listeners::new().tcp("127.0.0.1:0").tcp_listener(inherited);
    /// let server = Server::listen(listeners, Router::new(), Config::default())?;
    /// assert_eq!(server.local_addrs().len(), 2);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`bind_with`](Self::bind_with) and [`bind_unix`](Self::bind_unix). If one of the listeners
    /// fails, none is opened.
    pub fn listen(listeners: Listeners, handler: H, config: Config) -> io::Result<Self> {
        config.check()?;
        let (mut nets, _) = listen(listeners, 1, &config)?;
        let net = nets.pop().ok_or(io::ErrorKind::InvalidInput)?;
        Self::with_net(net, handler, config)
    }

    /// Does not listen: serves only connections that another server has accepted and hands over, see
    /// [`adopt`](Self::adopt) and [`Publisher::adopt`]. Runs until it is [stopped](Context::stop).
    ///
    /// ```no_run
    /// use mio_sse::{Config, Reply, Router, Server};
    ///
    /// let mut app = Router::new();
    /// app.get("/events", |_request, _cx| Reply::stream().topic("news"));
    /// let mut server = Server::without_listener(app, Config::default())?;
    /// let publisher = server.publisher();
    /// std::thread::spawn(move || server.run());
    /// // For each request for /events in your own server: publisher.adopt(socket, bytes)
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`bind_with`](Self::bind_with).
    pub fn without_listener(handler: H, config: Config) -> io::Result<Self> {
        Self::listen(Listeners::new(), handler, config)
    }

    /// Serves an existing listener: one inherited from systemd or a parent process, or made with options of
    /// your own. [`Config::backlog`] is not applied to it.
    ///
    /// ```no_run
    /// use mio_sse::{Config, Router, Server};
    /// use socket2::{Domain, Socket, Type};
    /// use std::net::SocketAddr;
    ///
    /// let address = SocketAddr::from(([0, 0, 0, 0], 8080));
    /// let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    /// socket.set_reuse_address(true)?;
    /// socket.bind(&address.into())?;
    /// socket.listen(4096)?;
    /// Server::from_listener(socket.into(), Router::new(), Config::default())?.run()
    /// # ; Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`bind_with`](Self::bind_with).
    pub fn from_listener(listener: std::net::TcpListener, handler: H, config: Config) -> io::Result<Self> {
        Self::listen(Listeners::new().tcp_listener(listener), handler, config)
    }

    /// Listens on a unix socket, with the default limits: for clients on the same machine, usually a reverse
    /// proxy.
    ///
    /// The file `path` is created. It is removed when the server stops listening: when it drains, stops or is
    /// dropped, unless another server has replaced the file by then. The file of a server that was killed is
    /// replaced. Users that may write to the file may connect. The umask of the process decides this; a
    /// directory with restricted access is safer.
    ///
    /// Connections have no address and no TCP options, so
    /// [`connections_per_address_max`](Config::connections_per_address_max) does not limit them.
    ///
    /// ```no_run
    /// use mio_sse::{Event, Router, Server};
    ///
    /// let mut app = Router::new();
    /// app.sse("/hello", |stream, _request, cx| cx.send(stream, Event::new().data("hello")));
    /// // curl --no-buffer --unix-socket /run/hello.sock http://localhost/hello
    /// Server::bind_unix("/run/hello.sock", app)?.run()
    /// # ; Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) if a server listens there;
    /// [`AlreadyExists`](io::ErrorKind::AlreadyExists) if the file exists and is not a socket (it is kept);
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for a path that is empty or too long for a socket (about
    /// 100 bytes), or an invalid handler; other errors of the operating system.
    #[cfg(unix)]
    pub fn bind_unix(path: impl AsRef<Path>, handler: H) -> io::Result<Self> {
        Self::bind_unix_with(path, handler, Config::default())
    }

    /// Listens on a unix socket, with limits of your own, see [`bind_unix`](Self::bind_unix).
    ///
    /// ```no_run
    /// use mio_sse::{Config, Router, Server};
    ///
    /// let mut config = Config::default();
    /// config.connections_max = 1_000;
    /// Server::bind_unix_with("/run/hello.sock", Router::new(), config)?.run()
    /// # ; Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`bind_unix`](Self::bind_unix); [`InvalidInput`](io::ErrorKind::InvalidInput) also for invalid
    /// limits (see [`Config::check`]).
    #[cfg(unix)]
    pub fn bind_unix_with(path: impl AsRef<Path>, handler: H, config: Config) -> io::Result<Self> {
        Self::listen(Listeners::new().unix(path), handler, config)
    }

    /// Serves an existing listener on a unix socket: one inherited from systemd, with another mode, or
    /// without a file (an abstract name). Its file is kept when the server stops, and [`Config::backlog`] is
    /// not applied to it.
    ///
    /// ```no_run
    /// use mio_sse::{Config, Router, Server};
    /// use std::os::unix::net::UnixListener;
    ///
    /// let listener = UnixListener::bind("/run/hello.sock")?;
    /// Server::from_unix_listener(listener, Router::new(), Config::default())?.run()
    /// # ; Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`bind_with`](Self::bind_with).
    #[cfg(unix)]
    pub fn from_unix_listener(
        listener: std::os::unix::net::UnixListener,
        handler: H,
        config: Config,
    ) -> io::Result<Self> {
        Self::listen(Listeners::new().unix_listener(listener), handler, config)
    }
}

impl<H: App, N: Net> Server<H, N> {
    /// Runs on a network of your own.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for invalid limits or an invalid handler.
    pub fn with_net(mut net: N, handler: H, config: Config) -> io::Result<Self> {
        config.check()?;
        handler.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let inbox = Inbox::new(config.inbox_max, config.memory_max / 8, net.waker());
        let mut server = Self {
            core: Core::new(config, inbox, Maker::new(net.random()), net.now()),
            handler,
            net,
            sockets: Vec::new(),
            started: false,
            stopped: false,
            inbox_waiting: true,
            inbox_rests_until: None,
            accept: Acceptor::default(),
            addresses: Addresses::default(),
            slow: LogLimit::default(),
            written: 0,
            bad_events: LogLimit::default(),
            requests: RequestBuffers::default(),
            sweep: Sweep::default(),
            ready: Vec::new(),
            messages: Vec::new(),
        };
        server.replenish_reserve();
        Ok(server)
    }

    /// The address that the server listens on, or the first of several. It stays the same after the server
    /// has stopped listening.
    ///
    /// # Errors
    /// [`Unsupported`](io::ErrorKind::Unsupported) if the server does not listen on TCP; errors of the
    /// operating system.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.net.local_addr()
    }

    /// All TCP addresses that the server listens on, in the order of its [`Listeners`]. A name with several
    /// addresses has a listener for each; unix sockets have none.
    ///
    /// ```
    /// use mio_sse::{Router, Server};
    ///
    /// let server = Server::bind("localhost:0", Router::new())?;
    /// for address in server.local_addrs() {
    ///     println!("http://{address}/");
    /// }
    /// # Ok::<(), std::io::Error>(())
    /// ```
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.net.local_addrs()
    }

    /// A handle to publish from other threads.
    pub fn publisher(&self) -> Publisher<H::State> {
        Publisher::new(&self.core)
    }

    /// The server's counters and gauges.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// Whether the server has been stopped.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Adds an observer, which is called for every reply, stream and event. Several are called in the order
    /// they were added.
    pub fn observe(&mut self, observer: impl Observer + Send + 'static) {
        self.core.observers.push(Box::new(observer));
    }

    /// The handler.
    pub fn handler(&mut self) -> &mut H {
        &mut self.handler
    }

    /// The network.
    pub fn net(&mut self) -> &mut N {
        &mut self.net
    }

    /// A context outside of callbacks, for use between two turns.
    pub fn context(&mut self) -> Context<'_, H::State> {
        // The last turn may have been long ago.
        self.tell_time();
        Context::outside(&mut self.core, self.handler.state())
    }

    pub(crate) fn tell_time(&mut self) {
        self.core.now = self.net.now();
        let unix = self.net.unix_time().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.core.delivery.topics.set_clock(milliseconds(unix), milliseconds(self.core.now));
    }
}

impl<H: App, N: Net> Drop for Server<H, N> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The handler may be in any state, so it is not called. But publishers must not wait for a loop
            // that has ended.
            drop(self.core.inbox.stop());
        } else if !self.stopped {
            self.stop();
        }
    }
}

#[cfg(unix)]
impl<H: App, N: Net + std::os::fd::AsFd> std::os::fd::AsFd for Server<H, N> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.net.as_fd()
    }
}

#[cfg(unix)]
impl<H: App, N: Net + std::os::fd::AsRawFd> std::os::fd::AsRawFd for Server<H, N> {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.net.as_raw_fd()
    }
}
