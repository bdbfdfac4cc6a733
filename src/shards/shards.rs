//! Several loops, each in a thread of its own.

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

/// A server of several loops, each in a thread of its own: for more streams than one core can serve.
///
/// Clients see one server. What is published, in whichever loop or from another thread, has one order and the
/// same ids in all of them, and each loop keeps the same history: so a client that comes back to another loop
/// goes on where it was. The guide [Scaling](crate::guide::scaling) says when to use it.
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
/// # What is for all loops, and what for one
/// Each loop has a handler of its own, made by the closure, and state of its own. What handlers share is
/// theirs to share.
///
/// | | |
/// |---|---|
/// | publish, finish a topic, [configure](Context::configure) one, send to a tag, close or revoke one, drain, stop | all loops, from wherever it is asked for |
/// | send to a stream, close, subscribe or tag it | the loop that it is of, wherever that is asked for |
/// | timers, sources, `on_close` and the state of a stream | its own loop; elsewhere [`Error::OtherLoop`](crate::Error::OtherLoop). [`Publisher::run_for`] goes there |
/// | [`Publisher::run`], [`Publisher::ask`] | the first loop; the handler's own with [`Context::publisher`]. [`Publisher::ask_all`] asks all |
/// | [`Context::stats`] | sums of all loops |
/// | counts of streams, and [`Context::streams`], [`tagged`](Context::tagged), [`is_open`](Context::is_open) | the loop where they are asked |
/// | [`Observer`](crate::Observer)s | the loop that they were [added](Server::observe) to; each sees every event that is published |
///
/// What a handler publishes goes through the order that all loops have: it is in its own loop's logs in the
/// next turn, and what the handler sends, closes or publishes after it comes after it. The end of a topic has
/// its place in the same order. Where the inbox of a loop, also its own, is full twice over, it is
/// [`Error::Full`](crate::Error::Full) and published nowhere. What a topic turns out not to accept when its
/// turn comes is dropped in all loops, as with a [`Publisher`]: it has finished meanwhile, or another loop
/// has published at a later position.
///
/// What all loops do when they [start](crate::Router::on_start) is done as often as there are loops: a timer
/// that publishes for all belongs into one of them, such as number 0.
///
/// A loop may be behind others for a moment. A client that comes to it from one of those gets nothing again
/// of topics that keep a history; of a topic that keeps nothing it may get the same event once more. So may
/// one for which [`missed`](crate::Handler::missed) has made up: its store may have what is on its way to
/// this loop.
///
/// # Limits
/// [`connections_max`](Config::connections_max),
/// [`connections_per_address_max`](Config::connections_per_address_max) and
/// [`streams_max`](Config::streams_max) hold for all loops together; loops that let somebody in at the same
/// moment may go beyond them by one each. Of [`memory_max`](Config::memory_max) each has an equal part: a log
/// is kept in each. Where one has no room for a topic, who asks there for what was published to it is told of
/// a gap. All other limits are those of one loop.
///
/// # Cost
/// An event that is published is encoded once, and copied into the log of each loop: some 100 ns for each.
/// With one loop there is nothing of this.
pub struct Shards<H: App, N: Net = MioNet> {
    servers: Vec<Server<H, N>>,
    /// What all of them do in one order, if there are several.
    sequencer: Option<Arc<Sequencer<Job>>>,
}

impl<H: App, N: Net> std::fmt::Debug for Shards<H, N> {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_list().entries(&self.servers).finish()
    }
}

impl<H: App> Shards<H> {
    /// Listens on every address that `address` has with so many loops, and the default limits; see
    /// [`Server::bind`]. `handler` is called once for each loop, with its number from 0.
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

    /// Listens in several places with so many loops, see [`Server::listen`]. [`Listeners::to_fewest`] says
    /// how connections are shared out.
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
    /// A loop for each of these networks of your own; see [`Server::with_net`]. Who turns them by hand does
    /// so with [`servers`](Self::servers).
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

    /// The loops, each of which is a server: to [observe](Server::observe) it, or to [turn](Server::turn) it
    /// by hand.
    pub fn servers(&mut self) -> &mut [Server<H, N>] {
        &mut self.servers
    }

    /// Calls `work` with the context of each loop, one after the other, before they run: what is published is
    /// published in that loop alone, so `work` has to publish the same each time. For a history that is
    /// filled at the start, however long: it does not go through the inboxes.
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

    /// A handle to publish from other threads, in all loops.
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

    /// What all loops have counted so far. What is the same in all, such as what was published, counts once,
    /// and of what is the most in one turn, the most in any is told.
    pub fn stats(&self) -> Stats {
        let mut stats = Stats::default();
        self.servers.iter().for_each(|server| stats.add(&server.core.stats()));
        stats
    }

    fn first(&self) -> &Server<H, N> {
        // There is one at least.
        &self.servers[0]
    }
}

impl<H: App> Shards<H, InMemory> {
    /// So many loops without sockets, whose clocks only go on when they are told to: for tests, see
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

    /// Has all loops do what they can without time passing, see [`Server::settle`].
    pub fn settle(&mut self) {
        // What one does may concern those before it.
        while self.servers.iter_mut().any(|server| !server.is_stopped() && server.has_more()) {
            self.servers.iter_mut().filter(|server| !server.is_stopped()).for_each(Server::settle);
        }
    }
}

impl<H: App + Send, N: Net<Socket: Send> + Send> Shards<H, N> {
    /// Runs until all loops are [stopped](Context::stop), each in a thread: the first in this one.
    ///
    /// # Errors
    /// As for [`Server::run`]: the other loops are stopped then. Where no thread can be had, what the
    /// operating system says.
    ///
    /// # Panics
    /// Where a handler panics and [`Config::propagate_panics`] says so. The other loops are stopped first.
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
    let problem = format!("{count} loops: there have to be from 1 to 65,535");
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
        // Where none runs any more, that is what was wanted.
        let _ = sequencer.put(stop, From::Insisting(None), In::All);
    }
}

/// Makes one server of several.
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
