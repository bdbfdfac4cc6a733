//! The loop: the only code that does I/O.
//!
//! [`Server::turn`] is the whole of it, nine steps in nine functions. `server` is generic over [`Net`], so that tests drive
//! the same turn over a network in memory.

mod accept;
mod addresses;
mod adopt;
mod ages;
mod beats;
mod channel;
mod context;
mod core;
mod drain;
mod flush;
mod guard;
mod handler;
mod lives;
mod metrics;
mod mio_net;
mod net;
mod observer;
mod publisher;
mod rarely;
mod requests;
mod resume;
mod sources;
mod stats;
mod sweep;
mod tags;
mod timers;
#[cfg(unix)]
mod unix;

pub use adopt::NotAdopted;
pub use channel::EventSender;
pub use context::{Context, Outcome};
pub use drain::Drain;
pub use handler::Handler;
pub use mio_net::MioNet;
pub use net::{Net, Ready};
pub use observer::{Audience, LogObserver, Message, Observer};
pub use publisher::Publisher;
pub use stats::Stats;
pub use timers::TimerId;

use self::addresses::Addresses;
use self::core::Core;
use self::guard::guard;
use self::publisher::Order;
use crate::config::Config;
use crate::stream::CloseReason;
use std::fmt;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
#[cfg(unix)]
use std::path::Path;
use std::time::{Duration, UNIX_EPOCH};

/// What one read takes at most.
const READ_BYTES: usize = 64 << 10;

/// What a buffer that is used again keeps of its memory.
const BUFFER_BYTES_KEPT: usize = 256 << 10;

/// Messages taken from the inbox at once.
const INBOX_BATCH: usize = 64;

/// Batches of messages taken in one turn at most.
const INBOX_BATCHES_PER_TURN: usize = 16;

/// An HTTP server for event streams: one thread, one loop.
///
/// [Build](Self::bind) it, then let it [`run`](Self::run); or [`turn`](Self::turn) it by hand inside a loop of your own.
///
/// ```no_run
/// use mio_sse::{Event, Router, Server};
/// use std::time::Duration;
///
/// let mut app = Router::new();
/// app.sse("/hello", |stream, _request, cx| cx.send(stream, Event::data("hello")));
/// Server::bind("127.0.0.1:8080", app)?.run()
/// # ; Ok::<(), std::io::Error>(())
/// ```
///
/// A server that has [stopped](Context::stop) listens no longer. One that is dropped closes its connections; every open stream is reported to the handler as
/// [`CloseReason::Stopped`] first, or as [`CloseReason::Drained`] if it was draining.
pub struct Server<H: Handler, N: Net = MioNet> {
    handler: H,
    net: N,
    core: Core,
    /// The socket of each slot.
    sockets: Vec<Option<N::Socket>>,
    started: bool,
    stopped: bool,
    /// Whether messages may be waiting in the inbox that nobody will be woken for.
    inbox_waiting: bool,
    accept: accept::State,
    addresses: Addresses,
    slow: rarely::Rarely,
    requests: requests::State,
    flush: flush::State,
    sweep: sweep::State,
    // Kept for their capacity; empty between turns.
    ready: Vec<Ready>,
    messages: Vec<Order>,
}

impl<H: Handler, N: Net> fmt::Debug for Server<H, N> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Server").field("stats", &self.core.stats()).finish_non_exhaustive()
    }
}

impl<H: Handler> Server<H> {
    /// Listens on `address`, with the default limits. Port 0 takes any that is free, see [`local_addr`](Self::local_addr).
    ///
    /// # Errors
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) and whatever else the operating system says;
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) if the handler is not sound (see [`Handler::check`]).
    pub fn bind(address: impl ToSocketAddrs, handler: H) -> io::Result<Self> {
        Self::bind_with(address, handler, Config::default())
    }

    /// Listens on `address`, with limits of your own.
    ///
    /// # Errors
    /// As for [`bind`](Self::bind); [`InvalidInput`](io::ErrorKind::InvalidInput) also for limits that make no sense (see
    /// [`Config::check`]).
    pub fn bind_with(address: impl ToSocketAddrs, handler: H, config: Config) -> io::Result<Self> {
        config.check()?;
        Self::with_net(MioNet::bind(address, &config)?, handler, config)
    }

    /// Listens nowhere: serves only connections that another server has accepted and hands over, see [`adopt`](Self::adopt) and
    /// [`Publisher::adopt`]. Runs until it is [stopped](Context::stop).
    ///
    /// ```no_run
    /// use mio_sse::{Config, Reply, Router, Server};
    ///
    /// let mut app = Router::new();
    /// app.get("/events", |_request, _cx| Reply::stream().topic("news"));
    /// let mut server = Server::without_listener(app, Config::default())?;
    /// let publisher = server.publisher();
    /// std::thread::spawn(move || server.run());
    /// // Wherever your own server meets a request for /events: publisher.adopt(socket, bytes)
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// As for [`bind_with`](Self::bind_with).
    pub fn without_listener(handler: H, config: Config) -> io::Result<Self> {
        config.check()?;
        Self::with_net(MioNet::without_listener(&config)?, handler, config)
    }

    /// Serves a listener that exists already: one inherited from systemd or a parent process, or made with options of
    /// your own. [`Config::backlog`] is not applied to it.
    ///
    /// This is the way to more than one core: a server in a thread for each, on one port, among which the kernel shares out the
    /// connections (`SO_REUSEPORT`; Linux). They share nothing, so what is for everybody is published to each; and where topics
    /// keep a history, events need [ids of your own](crate::Event::id) and the same order everywhere, as a client that comes back may
    /// meet another server.
    ///
    /// ```no_run
    /// use mio_sse::{Config, Event, Reply, Router, Server};
    /// use socket2::{Domain, Socket, Type};
    /// use std::net::SocketAddr;
    ///
    /// fn server(address: SocketAddr) -> std::io::Result<Server<Router>> {
    ///     let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    ///     socket.set_reuse_address(true)?;
    ///     socket.set_reuse_port(true)?;
    ///     socket.bind(&address.into())?;
    ///     socket.listen(4096)?;
    ///     let mut app = Router::new();
    ///     app.get("/events", |_request, _cx| Reply::stream().topic("news"));
    ///     Server::from_listener(socket.into(), app, Config::default())
    /// }
    ///
    /// let mut publishers = Vec::new();
    /// for _core in 0..8 {
    ///     let mut server = server(SocketAddr::from(([0, 0, 0, 0], 8080)))?;
    ///     publishers.push(server.publisher());
    ///     std::thread::spawn(move || server.run());
    /// }
    /// for publisher in &publishers {
    ///     publisher.publish("news", Event::data("to all of them").id("1"))?;
    /// }
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`bind_with`](Self::bind_with).
    pub fn from_listener(listener: std::net::TcpListener, handler: H, config: Config) -> io::Result<Self> {
        config.check()?;
        Self::with_net(MioNet::new(listener, &config)?, handler, config)
    }

    /// Listens on a unix socket, with the default limits: for clients, most of all a reverse proxy, on the same machine.
    ///
    /// The file `path` is made, and removed when the server listens no longer: when it drains, stops or is dropped, unless another
    /// server has put its own in that place by then. A file left behind by a server that was killed is replaced. Who may write to
    /// the file may connect, and the process' umask says who that is; a directory that only some may enter is the safer way.
    ///
    /// Connections have no address and none of TCP's options, so
    /// [`connections_per_address_max`](Config::connections_per_address_max) does not limit them.
    ///
    /// ```no_run
    /// use mio_sse::{Event, Router, Server};
    ///
    /// let mut app = Router::new();
    /// app.sse("/hello", |stream, _request, cx| cx.send(stream, Event::data("hello")));
    /// // curl --no-buffer --unix-socket /run/hello.sock http://localhost/hello
    /// Server::bind_unix("/run/hello.sock", app)?.run()
    /// # ; Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`AddrInUse`](io::ErrorKind::AddrInUse) if somebody listens there; [`AlreadyExists`](io::ErrorKind::AlreadyExists) if
    /// there is a file that is no socket, which stays; [`InvalidInput`](io::ErrorKind::InvalidInput) for a path that is empty or
    /// longer than a socket's may be (about 100 bytes), or a handler that is not sound; whatever else the operating system says.
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
    /// As for [`bind_unix`](Self::bind_unix); [`InvalidInput`](io::ErrorKind::InvalidInput) also for limits that make no sense
    /// (see [`Config::check`]).
    #[cfg(unix)]
    pub fn bind_unix_with(path: impl AsRef<Path>, handler: H, config: Config) -> io::Result<Self> {
        config.check()?;
        Self::with_net(MioNet::bind_unix(path.as_ref(), &config)?, handler, config)
    }

    /// Serves a listener on a unix socket that exists already: one inherited from systemd, of another mode, or without a file (an
    /// abstract name). Its file stays when the server stops, and [`Config::backlog`] is not applied to it.
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
        config.check()?;
        Self::with_net(MioNet::new_unix(listener, &config)?, handler, config)
    }
}

impl<H: Handler, N: Net> Server<H, N> {
    /// Runs on a network of your own.
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for limits that make no sense or a handler that is not sound.
    pub fn with_net(net: N, handler: H, config: Config) -> io::Result<Self> {
        config.check()?;
        handler.check().map_err(|error| io::Error::new(io::ErrorKind::InvalidInput, error))?;
        let publisher = Publisher::new(config.inbox_max, net.waker());
        let mut server = Self {
            core: Core::new(config, publisher, net.now()),
            handler,
            net,
            sockets: Vec::new(),
            started: false,
            stopped: false,
            inbox_waiting: true,
            accept: accept::State::default(),
            addresses: Addresses::default(),
            slow: rarely::Rarely::default(),
            requests: requests::State::default(),
            flush: flush::State::default(),
            sweep: sweep::State::default(),
            ready: Vec::new(),
            messages: Vec::new(),
        };
        server.replenish_reserve();
        Ok(server)
    }

    /// Runs until the server is [stopped](Context::stop).
    ///
    /// # Errors
    /// Only where the operating system refuses to wait for events: nothing that a peer does ends a server.
    pub fn run(&mut self) -> io::Result<()> {
        while !self.stopped {
            self.turn(None)?;
        }
        Ok(())
    }

    /// One turn of the loop: waits for something to do, at most for `timeout` (`None`: for ever, `Some(ZERO)`: not
    /// at all), does it, and returns. Every step has a budget, so a turn is short whatever happens.
    ///
    /// In a loop of your own: wait until the server's descriptor ([`AsFd`](std::os::fd::AsFd)) is readable or
    /// [`next_timeout`](Self::next_timeout) is over, then call `turn(Some(Duration::ZERO))`.
    ///
    /// After the server has been stopped this does nothing.
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub fn turn(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        if self.stopped {
            return Ok(());
        }
        let timeout = self.nearest_deadline(timeout); // 1.
        self.poll(timeout)?; // 2.
        self.read_clock(); // 3.
        self.take_inbox(); // 4.
        self.accept_and_read(); // 5.
        self.fire_timers(); // 6.
        self.core.pull_sources();
        self.drain();
        self.flush(); // 7.
        self.sweep(); // 8.
        self.free_closed(); // 9.
        debug_assert_eq!(self.core.topics.broken_invariant(), None);
        self.measure();
        if self.core.stopping || self.is_drained() {
            self.stop();
        }
        Ok(())
    }

    /// How long the server has nothing to do by itself: `None` until something arrives. For a loop of your own.
    pub fn next_timeout(&mut self) -> Option<Duration> {
        if self.stopped {
            return None;
        }
        self.nearest_deadline(None)
    }

    /// The address that the server listens on.
    ///
    /// # Errors
    /// [`Unsupported`](io::ErrorKind::Unsupported) where it does not listen on TCP; whatever the operating system says.
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.net.local_addr()
    }

    /// A handle to publish from other threads.
    pub fn publisher(&self) -> Publisher {
        self.core.publisher.clone()
    }

    /// What the server has counted so far.
    pub fn stats(&self) -> Stats {
        self.core.stats()
    }

    /// Whether the server has been stopped.
    pub fn is_stopped(&self) -> bool {
        self.stopped
    }

    /// Has `observer` told of every stream that opens and closes and of every event. Several are told in the order they were
    /// added.
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

    /// Asks the server for something from outside of a callback, between two turns.
    pub fn context(&mut self) -> Context<'_> {
        // The last turn may have been long ago.
        self.tell_time();
        Context::new(&mut self.core)
    }

    fn tell_time(&mut self) {
        self.core.now = self.net.now();
        let unix = self.net.unix_time().duration_since(UNIX_EPOCH).unwrap_or_default();
        self.core.topics.set_clock(u64::try_from(unix.as_millis()).unwrap_or(u64::MAX), self.core.tick());
    }

    /// Step 1: how long to wait, at most `limit`. Not at all while something is left over from the last turn.
    fn nearest_deadline(&self, limit: Option<Duration>) -> Option<Duration> {
        let core = &self.core;
        let unfinished = !self.started
            || self.inbox_waiting
            || self.accept.is_waiting(core.now)
            || !core.unread.is_empty()
            || !core.queue.is_empty()
            || !core.hungry.is_empty()
            || !core.ended.is_empty()
            || !core.closed.is_empty()
            || core.stopping
            || core.drain.as_ref().is_some_and(|drain| !drain.listener_closed)
            || self.net.has_more()
            || core.topics.has_dirty();
        if unfinished {
            return Some(Duration::ZERO);
        }
        let deadlines =
            [core.timers.next_due(), core.tags.next_due(), self.sweep.next_due(core), self.accept.next_due()];
        let deadlines = deadlines.into_iter().chain([core.drain.as_ref().map(core::Drain::next_due)]);
        // The last turn has taken its time since it read the clock.
        let wait = deadlines.flatten().min().map(|due| due.saturating_sub(self.net.now()));
        match (wait, limit) {
            (Some(wait), Some(limit)) => Some(wait.min(limit)),
            (wait, limit) => wait.or(limit),
        }
    }

    /// Step 2: waits for readiness.
    fn poll(&mut self, timeout: Option<Duration>) -> io::Result<()> {
        self.net.poll(timeout, &mut self.ready)
    }

    /// Step 3: reads the clock, the only time in this turn.
    fn read_clock(&mut self) {
        self.tell_time();
        self.core.stats.turns += 1;
        self.mark_ages();
        // Whoever turns the loop must not wait for it.
        self.core.publisher.bind_to_this_thread();
        if !self.started {
            self.started = true;
            self.replenish_reserve();
            let handler = &mut self.handler;
            guard(&mut self.core, "the handler of the start", |core| {
                handler.started(&mut Context::new(core));
            });
        }
    }

    /// Step 4: does what other threads have asked for. Leaves it to wait while the streams cannot keep up with what is
    /// published, so that it is the publishers who wait and not memory that grows.
    fn take_inbox(&mut self) {
        for _ in 0..INBOX_BATCHES_PER_TURN {
            let congested = self.core.topics.unoffered() > self.core.config.lag_bytes_max;
            if congested && self.core.topics.has_dirty() {
                self.inbox_waiting = true;
                return;
            }
            let mut messages = std::mem::take(&mut self.messages);
            self.inbox_waiting = self.core.publisher.take(INBOX_BATCH, &mut messages);
            for message in messages.drain(..) {
                self.obey(message);
            }
            self.messages = messages;
            if !self.inbox_waiting {
                return;
            }
        }
    }

    fn obey(&mut self, order: Order) {
        match order {
            Order::Publish { topic, event } => {
                if let Err(error) = self.core.publish_encoded(&topic, &event) {
                    log::debug!("nothing is published to {topic:?} for another thread: {error}");
                }
            }
            // The stream may have ended since: the publisher could not know.
            Order::Send { stream, event } => drop(self.core.send_encoded(stream, &event)),
            Order::SendTagged { tag, event } => drop(self.core.send_tagged_encoded(&tag, &event)),
            Order::Wake { stream } => drop(self.core.wake(stream)),
            Order::Adopt { socket, input } => self.adopt_for_publisher(socket, input),
            Order::Close { stream } => drop(self.core.close(stream)),
            Order::Run(work) => {
                guard(&mut self.core, "a publisher's closure", |core| work(&mut Context::new(core)));
            }
        }
    }

    /// Step 5: takes new connections, reads, parses, asks the handler.
    fn accept_and_read(&mut self) {
        let mut unread = std::mem::take(&mut self.core.unread);
        let mut ready = std::mem::take(&mut self.ready);
        self.requests.begin_turn(&mut unread, ready.len(), self.core.config.requests_per_turn);
        for slot in unread.drain(..) {
            self.on_readable(slot);
        }
        for event in ready.drain(..) {
            match event {
                Ready::Listener => self.accept.ready(),
                Ready::Connection { slot, readable, writable, closing } => {
                    self.on_ready(slot, readable, writable, closing);
                }
            }
        }
        self.ready = ready;
        // What has come up meanwhile waits for the next turn.
        unread.append(&mut self.core.unread);
        self.core.unread = unread;
        self.accept_waiting();
    }

    /// Step 6: calls the timers that are due, and forgets the revocations that are over.
    fn fire_timers(&mut self) {
        self.core.tags.forget_revoked(self.core.now, self.core.config.timers_per_turn);
        for _ in 0..self.core.config.timers_per_turn {
            let now = self.core.now;
            let Some(mut due) = self.core.timers.take_due(now) else { return };
            let id = due.id;
            let called = guard(&mut self.core, "a timer", |core| (due.callback)(&mut Context::new(core)));
            if called.is_none() {
                // What it was about to do is half done: it is not called again.
                if let Some(Some(owner)) = self.core.timers.remove(id) {
                    self.core.forget_timer(owner, id);
                    self.core.end_for_panic(owner);
                }
                continue;
            }
            if let Some(owner) = self.core.timers.put_back(due, now) {
                self.core.forget_timer(owner, id);
            }
        }
    }

    /// Step 9: reports the streams that have ended in this turn, then frees the slots of connections that have.
    fn free_closed(&mut self) {
        self.core.topics.free_idle();
        let mut ended = std::mem::take(&mut self.core.ended);
        let mut closed = std::mem::take(&mut self.core.closed);
        for (id, reason) in ended.drain(..) {
            let hooks = self.core.take_hooks(id).unwrap_or_default();
            for callback in hooks.on_close {
                guard(&mut self.core, "an on_close callback", |core| {
                    callback(reason, &mut Context::new(core));
                });
            }
            if let Some(feed) = hooks.feed {
                guard(&mut self.core, "dropping a source", |_core| drop(feed));
            }
            let handler = &mut self.handler;
            guard(&mut self.core, "the handler of a closed stream", |core| {
                handler.closed(id, reason, &mut Context::new(core));
            });
        }
        if !closed.is_empty() {
            for slot in closed.drain(..) {
                self.core.slots.remove(slot);
                self.addresses.leave(slot);
                if let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::take) {
                    self.net.close(socket);
                }
            }
            self.replenish_reserve();
            if self.core.slots.shrink() {
                self.addresses.shrink(self.core.slots.bound());
                self.sockets.truncate(self.core.slots.bound() as usize);
                self.sockets.shrink_to_fit();
            }
        }
        // What was ended by these callbacks is reported, and its slot freed, in the next turn. All others are freed now:
        // an application may end a stream for each that ends, and then there is no turn without.
        ended.append(&mut self.core.ended);
        self.core.ended = ended;
        closed.append(&mut self.core.closed);
        self.core.closed = closed;
        self.shrink_buffers();
    }

    /// Buffers are kept from turn to turn, but not at the size that one huge event or reply has given them.
    fn shrink_buffers(&mut self) {
        self.core.shrink_buffers(BUFFER_BYTES_KEPT);
        self.flush.shrink(BUFFER_BYTES_KEPT);
        self.requests.shrink(BUFFER_BYTES_KEPT);
    }

    /// Takes the time of this turn.
    fn measure(&mut self) {
        let took = self.net.now().saturating_sub(self.core.now);
        self.core.stats.count_turn(took);
        if took > self.core.config.slow_turn {
            self.core.stats.slow_turns += 1;
            if self.slow.is_due(self.core.now, Duration::from_secs(10)) {
                let count = self.core.stats.slow_turns;
                log::warn!(
                    "a turn took {took:?}, in which no other stream was served ({count} slow turns so far)"
                );
            }
        }
    }

    /// Ends everything, in order: streams get what fits into their sockets and the end of their body.
    fn stop(&mut self) {
        self.stopped = true;
        let reason = if self.core.drain.is_some() { CloseReason::Drained } else { CloseReason::Stopped };
        self.core.publisher.stop();
        if !self.core.drain.as_ref().is_some_and(|drain| drain.listener_closed) {
            self.stop_listening();
        }
        let slots: Vec<u32> = self.core.slots.occupied().collect();
        for &slot in &slots {
            if let Some(id) = self.core.slots.id(slot) {
                // Those that are not open are none to close.
                self.core.close_drained(slot);
                let _ = self.core.close_for(id, reason);
            }
        }
        // Whoever has more than one visit's worth to get stands in the queue again, as long as its socket takes it.
        while !self.core.queue.is_empty() {
            self.serve_queue(usize::MAX);
        }
        for slot in slots {
            self.core.end(slot, reason);
        }
        // What was published and not offered yet is for nobody now.
        while let Some(key) = self.core.topics.next_dirty() {
            self.core.topics.begin_wave(key);
            self.core.topics.rotate_dirty();
        }
        self.core.topics.free_idle();
        while !self.core.ended.is_empty() || !self.core.closed.is_empty() {
            self.free_closed();
        }
    }
}

impl<H: Handler, N: Net> Drop for Server<H, N> {
    fn drop(&mut self) {
        if std::thread::panicking() {
            // The handler may be in any state: leave it alone. But nobody must wait for a loop that is gone.
            self.core.publisher.stop();
        } else if !self.stopped {
            self.stop();
        }
    }
}

#[cfg(unix)]
impl<H: Handler, N: Net + std::os::fd::AsFd> std::os::fd::AsFd for Server<H, N> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.net.as_fd()
    }
}

#[cfg(unix)]
impl<H: Handler, N: Net + std::os::fd::AsRawFd> std::os::fd::AsRawFd for Server<H, N> {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.net.as_raw_fd()
    }
}
