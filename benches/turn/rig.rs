//! A server on the network in memory, its application, and the hands to move both.

use crate::net::{Check, MemoryNet};
use crate::numbered::Numbered;
use mio_sse::{
    CloseReason, Config, Context, Event, Events, Handler, History, Reply, Request, Routes, Server, StreamId,
    TopicConfig,
};
use std::time::{Duration, Instant};

/// The topic of the streams at `/live`: nothing is kept of it.
pub(crate) const LIVE: &str = "live";

/// The topic of the streams at `/history`: [`HISTORY_EVENTS`] are kept.
pub(crate) const HISTORY: &str = "history";

pub(crate) const HISTORY_EVENTS: usize = 10_000;

/// The topic of the streams at `/keyed`: the newest event of each key is kept.
pub(crate) const KEYED: &str = "keyed";

/// What the stream at `/source` pulls before it ends.
pub(crate) const SOURCE_EVENTS: u32 = 1_000;

/// What the reply at `/page` says.
pub(crate) const PAGE: &str = "a page";

/// More turns than anything here takes.
const TURNS_MAX: usize = 1_000_000;

/// What answers requests, by path.
#[derive(Debug, Default)]
pub(crate) struct App {
    /// The paths below `/events`.
    routes: Routes<()>,
    /// The streams that have opened.
    pub(crate) opened: Vec<StreamId>,
    /// How many have ended.
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

/// The server and what it needs.
pub(crate) struct Rig {
    pub(crate) server: Server<App, MemoryNet>,
    events: Vec<Event<'static>>,
    /// The next of `events` to be published.
    next: usize,
}

impl Rig {
    pub(crate) fn new() -> Self {
        Self::with(|_config| {})
    }

    /// With the default limits but for those on how many there may be, and what `change` does to them.
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

    /// With so many streams at `/live`, of which each is to get every numbered event.
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

    /// Turns until `done`.
    pub(crate) fn turn_until(&mut self, mut done: impl FnMut(&mut Self) -> bool) {
        for _ in 0..TURNS_MAX {
            if done(self) {
                return;
            }
            self.turn();
        }
        panic!("it does not come to an end");
    }

    /// Opens so many streams at `path`.
    pub(crate) fn open(&mut self, path: &str, count: usize) {
        self.net().input = request(path, "");
        self.connect(count);
    }

    /// So many connect and ask for streams, which open.
    pub(crate) fn connect(&mut self, count: usize) {
        let opened = self.server.handler().opened.len() + count;
        self.net().connect(count);
        self.turn_until(|rig| rig.server.handler().opened.len() == opened);
    }

    /// So many connect and ask for streams, which open and are given all that there is for them.
    pub(crate) fn connect_and_read(&mut self, count: usize) {
        self.connect(count);
        self.turn_until(|rig| rig.server.stats().streams_behind == 0);
    }

    /// All that have connected leave.
    pub(crate) fn hang_up(&mut self) {
        self.leave(0);
    }

    /// All that have connected leave, but for those that were [forgotten](MemoryNet::forget).
    pub(crate) fn leave(&mut self, others: usize) {
        let open = self.server.handler().opened.len() - others;
        self.net().hang_up();
        self.turn_until(|rig| rig.server.handler().closed >= open);
        assert_eq!(self.server.handler().closed, open, "each once");
        let app = self.server.handler();
        app.opened.truncate(others);
        app.closed = 0;
    }

    /// Publishes the next numbered events, and turns until every stream has all of them.
    pub(crate) fn deliver(&mut self, events: usize) {
        let streams = self.server.handler().opened.len();
        let expected = self.net().events + (streams * events) as u64;
        let mut cx = self.server.context();
        for _ in 0..events {
            cx.publish(LIVE, &self.events[self.next]).expect("an event that can be written");
            self.next = (self.next + 1) % self.events.len();
        }
        // None has more than what was published, so each has all when all have so much.
        self.turn_until(|rig| rig.net().events == expected);
        self.turn_until(|rig| rig.server.next_timeout() != Some(Duration::ZERO));
    }

    /// Has all streams at `/live` stand in any order among its subscribers, as they do when they have come
    /// and gone for long.
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
    /// A server that stops writes the end of each stream's body, which is no event.
    fn drop(&mut self) {
        self.net().check = Check::Tail(Vec::new());
    }
}

/// How long `work` takes.
pub(crate) fn time<T>(work: impl FnOnce() -> T) -> Duration {
    let begun = Instant::now();
    std::hint::black_box(work());
    begun.elapsed()
}

/// What `EventSource` asks for `path`, with more header lines.
pub(crate) fn request(path: &str, headers: &str) -> Vec<u8> {
    format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n{headers}\r\n").into_bytes()
}
