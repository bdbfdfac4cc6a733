//! A server under attack, every turn of which is timed.

use crate::heap;
use crate::net::AttackNet;
use mio_sse::{Config, Context, Event, History, Pull, Reply, Router, Server, TopicConfig};
use std::rc::Rc;
use std::time::{Duration, Instant};

/// No turn may take longer.
pub(crate) const TURN_MAX: Duration = Duration::from_millis(10);

/// An attack is stopped after this time, which is enough to show its effect.
const PATIENCE: Duration = Duration::from_secs(20);

/// Result of an attack.
#[derive(Debug, Default, Clone, Copy)]
pub(crate) struct Found {
    pub(crate) longest: Duration,
    pub(crate) over: usize,
    pub(crate) turns: usize,
    /// Most bytes that one turn has written.
    pub(crate) written: usize,
    /// Largest growth of the heap since the start of the attack.
    pub(crate) held: usize,
}

pub(crate) struct World {
    pub(crate) server: Server<Router, AttackNet>,
    pub(crate) peers: Vec<usize>,
    begun: Instant,
    before: usize,
    found: Found,
}

impl World {
    /// A server without heartbeats, stall timeouts or a maximum age, except for what `change` sets.
    pub(crate) fn new(change: impl FnOnce(&mut Config)) -> World {
        let mut config = Config::default();
        config.connections_max = 100_000;
        config.streams_max = 100_000;
        config.connections_per_address_max = None;
        config.heartbeat = None;
        config.stall_timeout = Duration::from_secs(7 * 86_400);
        config.max_age = None;
        change(&mut config);
        let server = Server::with_net(AttackNet::default(), app(), config).expect("limits that make sense");
        let mut world =
            World { server, peers: Vec::new(), begun: Instant::now(), before: 0, found: Found::default() };
        world.turn();
        world
    }

    /// A server with `streams` open streams at `path`, which have received all their events.
    pub(crate) fn with_streams(streams: usize, path: &str, change: impl FnOnce(&mut Config)) -> World {
        let mut world = World::new(change);
        world.open(streams, path);
        world.settle();
        assert_eq!(world.server.stats().streams, streams as u64, "all are open");
        world
    }

    pub(crate) fn open(&mut self, count: usize, path: &str) {
        let input = bytes(&get(path));
        for _ in 0..count {
            let peer = self.server.net().connect(&input, false);
            self.peers.push(peer);
        }
    }

    /// The turns from here on count.
    pub(crate) fn begin(&mut self) {
        self.found = Found::default();
        self.before = heap::begin();
        self.begun = Instant::now();
    }

    pub(crate) fn end(mut self) -> Found {
        self.found.held = heap::most().saturating_sub(self.before);
        self.found
    }

    /// Whether the attack has taken long enough.
    pub(crate) fn is_over(&self) -> bool {
        self.begun.elapsed() > PATIENCE
    }

    /// Runs `turns` turns, or until the attack has taken long enough.
    pub(crate) fn turn_up_to(&mut self, turns: usize) {
        for _ in 0..turns {
            self.turn();
            if self.is_over() {
                return;
            }
        }
    }

    pub(crate) fn turn(&mut self) {
        let written = self.server.net().written;
        self.timed(|server| server.turn(Some(Duration::ZERO)).expect("a network without faults"));
        self.found.turns += 1;
        self.found.written = self.found.written.max(self.server.net().written - written);
    }

    /// A call of a handler, which is part of a turn.
    pub(crate) fn call<T>(&mut self, work: impl FnOnce(&mut Context<'_>) -> T) -> T {
        self.timed(|server| work(&mut server.context()))
    }

    fn timed<T>(&mut self, work: impl FnOnce(&mut Server<Router, AttackNet>) -> T) -> T {
        let begun = Instant::now();
        let outcome = work(&mut self.server);
        let took = begun.elapsed();
        self.found.longest = self.found.longest.max(took);
        self.found.over += usize::from(took > TURN_MAX);
        outcome
    }

    /// Runs turns until there is nothing left to do, or until the attack has taken long enough.
    pub(crate) fn settle(&mut self) {
        loop {
            self.turn();
            let busy = self.server.net().is_told() || self.server.next_timeout() == Some(Duration::ZERO);
            if !busy || self.is_over() {
                return;
            }
        }
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.server.net().now += time;
    }
}

/// The application under attack.
fn app() -> Router {
    let mut app = Router::new();
    app.get("/live/{topics}", |request, _cx| {
        let topics = request.param("topics").unwrap_or_default().split('+');
        topics.fold(Reply::stream(), |stream, topic| stream.topic(topic))
    });
    app.get("/tagged", |_request, _cx| Reply::stream().topic("a").tag("all"));
    app.get("/all/{topic}", |request, _cx| {
        Reply::stream().topic(request.param("topic").unwrap_or_default()).snapshot()
    });
    app.get("/bad", |_request, _cx| Reply::stream().source(|| Pull::Event(Event::new())));
    app.get("/page", |_request, _cx| Reply::text("x".repeat(64 << 10)));
    app.post("/publish", |request, cx| {
        cx.publish("a", Event::new().data(String::from_utf8_lossy(request.body()).into_owned()))?;
        Ok::<_, mio_sse::Error>(Reply::no_content())
    });
    app
}

/// A topic that retains all events.
pub(crate) fn keeps_all() -> TopicConfig {
    TopicConfig::default().history(History::new().bytes(1 << 30))
}

pub(crate) fn get(path: &str) -> String {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n\r\n")
}

pub(crate) fn post(body: &str) -> String {
    format!("POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

pub(crate) fn bytes(text: &str) -> Rc<[u8]> {
    text.as_bytes().into()
}
