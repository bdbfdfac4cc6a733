//! Several loops, each in its own thread.

use crate::config::Config;
use crate::server::api::app::App;
use crate::server::api::context::Context;
use crate::server::api::publisher::Publisher;
use crate::server::api::server::Server;
use crate::server::api::stats::Stats;
use crate::server::io::in_memory::InMemory;
use crate::server::io::listeners::Listeners;
use crate::server::io::mio_net::{MioNet, listen};
use crate::server::io::net::Net;
use crate::server::state::core::Job;
use crate::server::state::inbox::Order;
use crate::shards::link::Link;
use crate::shards::sequencer::{From, In, Sequencer};
use crate::topic::ids::Maker;
use std::io;
use std::net::{SocketAddr, ToSocketAddrs};
use std::panic::resume_unwind;
use std::sync::Arc;
use std::thread;

/// A server of several loops, each in its own thread: for more streams than one core can serve.
///
/// Clients see one server. Events that are published in any loop, or from another thread, have one order and
/// the same ids in all loops, and each loop keeps the same history. So a client that reconnects to another
/// loop resumes where it was. The guide [Scaling](crate::guide::scaling) says when to use it.
///
/// ```no_run
/// use mio_sse::{Reply, Router, Shards};
/// use std::thread::available_parallelism;
///
/// let cores = available_parallelism()?.get();
/// let mut shards = Shards::bind("0.0.0.0:8080", cores, |_shard| {
///     let mut app = Router::new();
///     app.get("/news", |_request, _cx| Reply::stream().topic("news"));
///     app.post("/news", |request, cx| cx.publish("news", String::from_utf8_lossy(request.body())));
///     app
/// })?;
/// let publisher = shards.publisher();
/// shards.run()
/// # ; Ok::<(), std::io::Error>(())
/// ```
///
/// # All loops or one
/// Each loop has its own handler, made by the closure, with its own state. If handlers share anything, they
/// must synchronize it themselves.
///
/// | | |
/// |---|---|
/// | publish, finish a topic, [configure](Context::configure) one, send to a tag, close or revoke one, drain, stop | all loops, wherever it is called |
/// | send to a stream, close, subscribe or tag it | the loop of the stream, wherever it is called |
/// | timers, sources, `on_close` and the state of a stream | the loop of the stream; elsewhere [`Error::OtherLoop`](crate::Error::OtherLoop). [`Publisher::run_for`] runs code there |
/// | [`Publisher::run`], [`Publisher::ask`] | the first loop; the handler's own with [`Context::publisher`]. [`Publisher::ask_all`] asks all |
/// | [`Context::stats`] | sums of all loops |
/// | counts of streams, and [`Context::streams`], [`tagged`](Context::tagged), [`is_open`](Context::is_open) | the loop where they are called |
/// | [`Observer`](crate::Observer)s | the loop that they were [added](Server::observe) to; each sees every event that is published |
///
/// An event that a handler publishes goes through the common order of all loops. It is in the logs of its own
/// loop in the next turn, and whatever the handler then sends, closes or publishes comes after it. The end of
/// a topic has its place in the same order. If the inbox of any loop is full twice over, the call returns
/// [`Error::Full`](crate::Error::Full) and nothing is published. An event that its topic no longer accepts is
/// dropped in all loops, as with a [`Publisher`]: the topic has finished in the meantime, or another loop has
/// published at a later position.
///
/// Every loop calls [`on_start`](crate::Router::on_start). A timer that publishes for all belongs in one of
/// them, such as number 0.
///
/// A loop may be behind others for a moment. A client that reconnects to it from another loop gets no event
/// twice from topics with a history. From a topic without one it may get an event twice. So may a client for
/// which [`missed`](crate::Handler::missed) has supplied events: its store may already have events that are
/// on their way to this loop.
///
/// # Limits
/// [`connections_max`](Config::connections_max),
/// [`connections_per_address_max`](Config::connections_per_address_max) and
/// [`streams_max`](Config::streams_max) are for all loops together. Loops that accept at the same moment may
/// exceed them by one each. Each loop has an equal part of [`memory_max`](Config::memory_max), because each
/// keeps its own logs. If a loop has no room for a topic, a client that resumes there receives a gap. All
/// other limits are for each loop.
///
/// # Cost
/// Currently an event is encoded once, and copied into the log of each loop: some 100 ns for each. One loop
/// has no such cost.
pub struct Shards<H: App, N: Net = MioNet> {
    servers: Vec<Server<H, N>>,
    /// The common order, if there are several loops.
    sequencer: Option<Arc<Sequencer<Job>>>,
}

impl<H: App, N: Net> std::fmt::Debug for Shards<H, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.servers).finish()
    }
}

impl<H: App> Shards<H> {
    /// Listens on every address of `address` with `count` loops and the default limits; see [`Server::bind`].
    /// `handler` is called once for each loop, with its number from 0.
    ///
    /// # Errors
    /// As for [`Server::bind`]; [`InvalidInput`](io::ErrorKind::InvalidInput) also for no loop, and for more
    /// than 65,535.
    pub fn bind(
        address: impl ToSocketAddrs,
        count: usize,
        handler: impl FnMut(usize) -> H,
    ) -> io::Result<Self> {
        Self::listen(Listeners::new().tcp(address), count, handler, Config::default())
    }

    /// Listens in several places, see [`Server::listen`]. [`Listeners::to_fewest`] chooses how connections
    /// are distributed.
    ///
    /// # Errors
    /// As for [`bind`](Self::bind) and [`Server::listen`].
    pub fn listen(
        listeners: Listeners,
        count: usize,
        handler: impl FnMut(usize) -> H,
        config: Config,
    ) -> io::Result<Self> {
        config.check()?;
        check_count(count)?;
        let (nets, deals) = listen(listeners, count, &config)?;
        let mut shards = Self::with_nets(nets, handler, config)?;
        if let Some(link) = shards.servers.first_mut().and_then(|first| first.core.link.as_mut()) {
            link.deals = deals;
        }
        Ok(shards)
    }
}

impl<H: App, N: Net> Shards<H, N> {
    /// Makes one loop for each network of your own; see [`Server::with_net`]. [`servers`](Self::servers)
    /// gives access to the loops, to turn them by hand.
    ///
    /// # Errors
    /// As for [`Server::with_net`]; [`InvalidInput`](io::ErrorKind::InvalidInput) also for no network.
    pub fn with_nets(
        nets: Vec<N>,
        mut handler: impl FnMut(usize) -> H,
        mut config: Config,
    ) -> io::Result<Self> {
        let count = nets.len();
        check_count(count)?;
        config.memory_max /= count;
        let servers = nets.into_iter().enumerate().map(|(index, net)| {
            let config = config.clone();
            Server::with_net(net, handler(index), config)
        });
        let mut servers = servers.collect::<io::Result<Vec<_>>>()?;
        let sequencer = (count > 1).then(|| tie(&mut servers));
        Ok(Self { servers, sequencer })
    }

    /// The loops, each of which is a server, to [observe](Server::observe) or to [turn](Server::turn) by
    /// hand.
    pub fn servers(&mut self) -> &mut [Server<H, N>] {
        &mut self.servers
    }

    /// Calls `work` with the context of each loop, one after another, before they run. Events are published
    /// only in that loop, so `work` must publish the same each time. Use it to fill a history at the start,
    /// however long: it does not go through the inboxes.
    ///
    /// ```
    /// use mio_sse::{Config, History, Ids, Listeners, Position, Router, Shards, TopicConfig};
    ///
    /// let mut config = Config::default();
    /// config.topic = TopicConfig::default().history(History::new().events(1_000)).ids(Ids::Ordered);
    /// let stored = [(Position::new(1, 0), "one"), (Position::new(2, 0), "two")];
    ///
    /// let mut shards = Shards::listen(Listeners::new(), 2, |_shard| Router::new(), config)?;
    /// shards.prepare(|cx| {
    ///     for (position, text) in stored {
    ///         cx.publish_at("news", position, text).expect("positions increase");
    ///     }
    /// });
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn prepare(&mut self, mut work: impl FnMut(&mut Context<'_, H::State>)) {
        let mut published = 0;
        for server in &mut self.servers {
            let before = server.core.delivery.topics.number();
            server.core.prepare(true);
            work(&mut server.context());
            server.core.prepare(false);
            published = server.core.delivery.topics.number() - before;
        }
        if let Some(sequencer) = &self.sequencer {
            sequencer.add_published(published);
        }
    }

    /// A handle for other threads, which publishes in all loops.
    #[must_use]
    pub fn publisher(&self) -> Publisher<H::State> {
        self.first().publisher()
    }

    /// The address that the loops listen on, see [`Server::local_addr`].
    ///
    /// # Errors
    /// As for [`Server::local_addr`].
    pub fn local_addr(&self) -> io::Result<SocketAddr> {
        self.first().local_addr()
    }

    /// All TCP addresses that the loops listen on, see [`Server::local_addrs`].
    #[must_use]
    pub fn local_addrs(&self) -> Vec<SocketAddr> {
        self.first().local_addrs()
    }

    /// The counters of all loops together. Values that are equal in all loops, such as published events,
    /// count once. Maxima of one turn are the highest of any loop.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        self.servers.iter().for_each(|server| stats.add(&server.core.stats()));
        stats
    }

    fn first(&self) -> &Server<H, N> {
        // There is at least one.
        &self.servers[0]
    }
}

impl<H: App> Shards<H, InMemory> {
    /// Loops without sockets, whose clocks advance only when they are told to: for tests, see
    /// [`Server::in_memory`].
    ///
    /// ```
    /// use mio_sse::{Config, Event, RawRequest, Reply, Router, Shards};
    ///
    /// let mut shards = Shards::in_memory(2, |_shard| {
    ///     let mut app = Router::new();
    ///     app.get("/news", |_request, _cx| Reply::stream().topic("news"));
    ///     app.post("/news", |_request, cx| cx.publish("news", "it rains"));
    ///     app
    /// }, Config::default())?;
    /// let mut news = shards.servers()[0].ask(RawRequest::get("/news")?);
    /// shards.servers()[1].ask(RawRequest::new("POST", "/news")?);
    /// shards.settle();
    /// assert_eq!(news.events(), [Event::from("it rains")]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// As for [`with_nets`](Self::with_nets).
    pub fn in_memory(count: usize, handler: impl FnMut(usize) -> H, config: Config) -> io::Result<Self> {
        Self::with_nets((0..count).map(|_| InMemory::default()).collect(), handler, config)
    }

    /// Lets all loops do everything that they can without time passing, see [`Server::settle`].
    pub fn settle(&mut self) {
        // A loop may make work for earlier ones.
        while self.servers.iter_mut().any(|server| !server.is_stopped() && server.has_more()) {
            self.servers.iter_mut().filter(|server| !server.is_stopped()).for_each(Server::settle);
        }
    }
}

impl<H: App + Send, N: Net<Socket: Send> + Send> Shards<H, N> {
    /// Runs until all loops are [stopped](Context::stop), each in its own thread; the first one in this
    /// thread.
    ///
    /// # Errors
    /// As for [`Server::run`]: the other loops are then stopped. The error of the operating system if a
    /// thread cannot be started.
    ///
    /// # Panics
    /// If a handler panics and [`Config::propagate_panics`] is set. The other loops are stopped first.
    pub fn run(&mut self) -> io::Result<()> {
        let sequencer = self.sequencer.as_ref();
        let mut servers = self.servers.iter_mut().enumerate();
        let Some((_, first)) = servers.next() else { return Ok(()) };
        thread::scope(|scope| {
            let all = StopsAll { sequencer };
            let mut threads = Vec::new();
            for (index, server) in servers {
                let run = move || run_one(server, sequencer);
                threads
                    .push(thread::Builder::new().name(format!("mio-sse-{index}")).spawn_scoped(scope, run)?);
            }
            let mut result = run_one(first, sequencer);
            std::mem::forget(all);
            for thread in threads {
                match thread.join() {
                    Ok(other) => result = result.and(other),
                    Err(panic) => resume_unwind(panic),
                }
            }
            result
        })
    }
}

fn check_count(count: usize) -> io::Result<()> {
    if count > 0 && u16::try_from(count).is_ok() {
        return Ok(());
    }
    let problem = format!("{count} loops: there must be from 1 to 65,535");
    Err(io::Error::new(io::ErrorKind::InvalidInput, problem))
}

fn run_one<H: App, N: Net>(
    server: &mut Server<H, N>,
    sequencer: Option<&Arc<Sequencer<Job>>>,
) -> io::Result<()> {
    let all = StopsAll { sequencer };
    server.run()?;
    std::mem::forget(all);
    Ok(())
}

/// Stops all loops when it is dropped.
struct StopsAll<'a> {
    sequencer: Option<&'a Arc<Sequencer<Job>>>,
}

impl Drop for StopsAll<'_> {
    fn drop(&mut self) {
        let Some(sequencer) = self.sequencer else { return };
        let stop = |_| Order::Run(Job::Run(Box::new(|core, _state| core.stopping = true)));
        // If none is running, all have stopped already.
        let _ = sequencer.put(stop, From::Insisting(None), In::All);
    }
}

/// Connects several servers to one.
fn tie<H: App, N: Net>(servers: &mut [Server<H, N>]) -> Arc<Sequencer<Job>> {
    let sequencer = Arc::new(Sequencer::new(servers.iter().map(|server| server.core.inbox.clone())));
    let Some(first) = servers.first_mut() else { return sequencer };
    let maker = Maker::new(first.net.random());
    let addresses = first.addresses.of_another_loop();
    for (index, server) in (0..).zip(servers) {
        server.addresses = addresses.of_another_loop();
        server.core.delivery.slots.shard = index;
        server.core.delivery.topics.set_maker(maker);
        server.core.link = Some(Link::new(index, Arc::clone(&sequencer)));
    }
    sequencer
}
