//! A server on the network in memory, with its application and its controls.

use crate::net::{Check, MemoryNet};
use crate::numbered::Numbered;
use mio_sse::{
    CloseReason, Config, Context, Event, Events, Handler, History, Reply, Request, Routes, Server, StreamId,
    TopicConfig,
};
use std::time::{Duration, Instant};

/// Topic of the streams at `/live`, without a history.
pub(crate) const LIVE: &str = "live";

/// Topic of the streams at `/history`, with a history of [`HISTORY_EVENTS`].
pub(crate) const HISTORY: &str = "history";

pub(crate) const HISTORY_EVENTS: usize = 10_000;

/// Topic of the streams at `/keyed`, which is keyed.
pub(crate) const KEYED: &str = "keyed";

/// Events that the source at `/source` has.
pub(crate) const SOURCE_EVENTS: u32 = 1_000;

/// The reply at `/page`.
pub(crate) const PAGE: &str = "a page";

/// More turns than anything here needs.
const TURNS_MAX: usize = 1_000_000;

/// The application, by path.
#[derive(Debug, Default)]
pub(crate) struct App {
    /// The paths below `/events`.
    routes: Routes<()>,
    /// The streams that have opened.
    pub(crate) opened: Vec<StreamId>,
    /// Number of closed streams.
    pub(crate) closed: usize,
}

impl Handler for App {
    fn request(&mut self, request: &Request<'_>, _cx: &mut Context<'_>) -> Reply {
        match request.path() {
            "/live" => Reply::stream().topic(LIVE).into(),
            "/history" => Reply::stream().topic(HISTORY).into(),
            "/keyed" => Reply::stream().topic(KEYED).into(),
            "/alone" => Reply::stream().into(),
            "/source" => {
                let numbers = (0..SOURCE_EVENTS).map(|number| Event::new().data(number.to_string()));
                Reply::stream().source(Events::new(numbers)).into()
            }
            path if path.starts_with("/events/") => match self.routes.find(request) {
                Ok(found) => Reply::stream().topic(found.param("topic").unwrap_or_default()).into(),
                Err(reply) => reply,
            },
            _ => Reply::text(PAGE),
        }
    }

    fn opened(&mut self, stream: StreamId, _request: &Request<'_>, _cx: &mut Context<'_>) {
        self.opened.push(stream);
    }

    fn closed(&mut self, _stream: StreamId, _reason: CloseReason, _cx: &mut Context<'_>) {
        self.closed += 1;
    }
}

/// The server and its network.
pub(crate) struct Rig {
    pub(crate) server: Server<App, MemoryNet>,
    events: Vec<Event<'static>>,
    /// Index in `events` of the next event to publish.
    next: usize,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(|_config| {})
    }

    /// A server without limits on its number of clients, otherwise with the default limits, except for what
    /// `change` sets.
    pub(crate) fn with(change: impl FnOnce(&mut Config)) -> Self {
        let mut config = Config::default();
        config.connections_max = 2_000_000;
        config.streams_max = 2_000_000;
        change(&mut config);
        let mut app = App::default();
        app.routes.add("GET", "/events/{topic}", ()).expect("a route that makes sense");
        let mut server = Server::with_net(MemoryNet::new(), app, config).expect("limits that make sense");
        let mut cx = server.context();
        let history = History::new().events(HISTORY_EVENTS).bytes(16 << 20);
        cx.configure(HISTORY, TopicConfig::default().history(history)).expect("a history that makes sense");
        cx.configure(KEYED, TopicConfig::default().keyed()).expect("a topic that makes sense");
        Self { server, events: Numbered::events(), next: 0 }
    }

    /// A server with `streams` streams at `/live`, each of which is to get every numbered event.
    pub(crate) fn live(streams: usize) -> Self {
        let mut rig = Self::new();
        rig.open("/live", streams);
        rig.net().check = Check::Numbered(Box::new(Numbered::new()));
        rig
    }

    pub(crate) fn net(&mut self) -> &mut MemoryNet {
        self.server.net()
    }

    pub(crate) fn turn(&mut self) {
        self.server.turn(Some(Duration::ZERO)).expect("a network without faults");
    }

    /// Runs turns until `done`.
    pub(crate) fn turn_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..TURNS_MAX {
            if done(self) {
                return;
            }
            self.turn();
        }
        panic!("it does not come to an end");
    }

    /// Opens `count` streams at `path`.
    pub(crate) fn open(&mut self, path: &str, count: usize) {
        self.net().input = request(path, "");
        self.connect(count);
    }

    /// Connects `count` peers, whose streams open.
    pub(crate) fn connect(&mut self, count: usize) {
        let opened = self.server.handler().opened.len() + count;
        self.net().connect(count);
        self.turn_until(|rig| rig.server.handler().opened.len() == opened);
    }

    /// Connects `count` peers, whose streams open and get all their events.
    pub(crate) fn connect_and_read(&mut self, count: usize) {
        self.connect(count);
        self.turn_until(|rig| rig.server.stats().streams_behind == 0);
    }

    /// All connected peers leave.
    pub(crate) fn hang_up(&mut self) {
        self.leave(0);
    }

    /// All connected peers leave, except for those that were [forgotten](MemoryNet::forget).
    pub(crate) fn leave(&mut self, others: usize) {
        let open = self.server.handler().opened.len() - others;
        self.net().hang_up();
        self.turn_until(|rig| rig.server.handler().closed >= open);
        assert_eq!(self.server.handler().closed, open, "each once");
        let app = self.server.handler();
        app.opened.truncate(others);
        app.closed = 0;
    }

    /// Publishes the next numbered events, and runs turns until every stream has all of them.
    pub(crate) fn deliver(&mut self, events: usize) {
        let streams = self.server.handler().opened.len();
        let expected = self.net().events + (streams * events) as u64;
        let mut cx = self.server.context();
        for _ in 0..events {
            cx.publish(LIVE, &self.events[self.next]).expect("an event that can be written");
            self.next = (self.next + 1) % self.events.len();
        }
        // No stream has more than was published, so all have everything when the sum is right.
        self.turn_until(|rig| rig.net().events == expected);
        self.turn_until(|rig| rig.server.next_timeout() != Some(Duration::ZERO));
    }

    /// Shuffles the subscribers of `/live`, as long coming and going does.
    pub(crate) fn shuffle(&mut self) {
        let mut streams = self.server.handler().opened.clone();
        fastrand::Rng::with_seed(1).shuffle(&mut streams);
        let mut cx = self.server.context();
        for stream in &streams {
            cx.unsubscribe(*stream, LIVE).expect("an open stream");
        }
        for stream in &streams {
            cx.subscribe(*stream, LIVE).expect("an open stream");
        }
    }
}

impl Drop for Rig {
    /// A server that stops writes the end of each stream's body, which is not an event.
    fn drop(&mut self) {
        self.net().check = Check::Tail(Vec::new());
    }
}

/// The time that `work` takes.
pub(crate) fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let begun = Instant::now();
    std::hint::black_box(work());
    begun.elapsed()
}

/// The request of `EventSource` for `path`, with more header lines.
pub(crate) fn request(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n{headers}\r\n").into_bytes()
}
