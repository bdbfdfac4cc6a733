//! A stream is requested, and then it opens, or does not: if it does not, nothing of it is left.

use crate::memory_net::{Loop, Peer, check_accounts, subscribe};
use crate::support::secs;
use mio_sse::{
    CloseReason, Config, Context, Drain, Event, Handler, History, Ids, Missed, Pull, Refusal, Reply, Request,
    Router, StreamId, TopicConfig,
};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Counters of the calls.
#[derive(Clone, Default)]
struct Counts(Arc<[AtomicUsize; 7]>);

const MADE: usize = 0;
const DROPPED: usize = 1;
const ON_OPEN: usize = 2;
const ON_CLOSE: usize = 3;
const OPENED: usize = 4;
const CLOSED: usize = 5;
/// Errors: the state of a stream was missing, or existed when it should not.
const LOST: usize = 6;

impl Counts {
    fn note(&self, what: usize) {
        self.0[what].fetch_add(1, Ordering::Relaxed);
    }

    fn get(&self) -> [usize; 7] {
        std::array::from_fn(|what| self.0[what].load(Ordering::Relaxed))
    }

    /// Checks that the state of a stream exists when it should. Callbacks cannot fail the test themselves.
    fn look(&self, stream: StreamId, is_there: bool, cx: &mut Context<'_>) {
        if cx.of::<Token>(stream).is_some() != is_there || cx.of::<u32>(stream).is_some() {
            self.note(LOST);
        }
    }
}

/// A value that has to be dropped.
struct Token(Counts);

impl Token {
    fn new(counts: &Counts) -> Self {
        counts.note(MADE);
        Self(counts.clone())
    }
}

impl Drop for Token {
    fn drop(&mut self) {
        self.0.note(DROPPED);
    }
}

/// Streams with everything that a stream can have, and with all kinds of ends.
struct App(Counts);

impl Handler for App {
    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
        let counts = &self.0;
        let stream = cx.stream().unwrap();
        let (timer, source, end) = (Token::new(counts), Token::new(counts), Token::new(counts));
        cx.every(stream, secs(1), move |_, _| _ = &timer).unwrap();
        cx.on_close(stream, move |_, _| drop(end)).unwrap();
        counts.look(stream, false, cx);
        let closes = counts.clone();
        let source = move || {
            let _ = &source;
            Pull::Idle
        };
        // With a source there is more to come, even if all topics have finished.
        let is_over = ["/finished", "/seen"].contains(&request.path());
        let reply = if is_over { Reply::stream() } else { Reply::stream().source(source) };
        let reply = reply.with(Token::new(counts));
        cx.on_open(move |stream, cx| {
            closes.look(stream, true, cx);
            closes.note(ON_OPEN);
            cx.on_close(stream, move |_, cx| {
                closes.note(ON_CLOSE);
                closes.look(stream, true, cx);
            })
        });
        match request.path() {
            "/none" => {
                drop(reply);
                Reply::text("none")
            }
            "/closed" => {
                cx.close(stream).unwrap();
                reply.into()
            }
            "/panics" => panic!("in the handler"),
            "/panics-open" => {
                cx.on_open(|_, _| -> () { panic!("in on_open") });
                reply.into()
            }
            "/closes-open" => {
                cx.on_open(|stream, cx| cx.close(stream));
                reply.into()
            }
            "/many-topics" => (0..200).fold(reply, |reply, n| reply.topic(format!("t{n}"))).into(),
            "/many-tags" => (0..40).fold(reply, |reply, n| reply.tag(format!("t{n}"))).into(),
            "/revoked" => reply.tag("gone").into(),
            "/finished" => reply.topic("finished").live().into(),
            "/new" => (0..4).fold(reply, |reply, n| reply.topic(format!("t{n}"))).into(),
            "/tags" => reply.tag("one").tag("two").into(),
            "/seen" => reply.topic("own").into(),
            "/mixed" => reply.topic("a").topic("own").into(),
            "/long-id" => reply.first(Event::new().data("").id("x".repeat(10_000))).into(),
            _ => reply.topic("a").into(),
        }
    }

    fn missed(&mut self, stream: StreamId, _last_event_id: &str, cx: &mut Context<'_>) -> Missed {
        self.0.look(stream, true, cx);
        panic!("in missed");
    }

    fn opened(&mut self, stream: StreamId, request: &Request<'_>, cx: &mut Context<'_>) {
        self.0.note(OPENED);
        self.0.look(stream, true, cx);
        if request.path() == "/panics-opened" {
            panic!("in opened");
        }
    }

    fn closed(&mut self, stream: StreamId, _reason: CloseReason, cx: &mut Context<'_>) {
        self.0.note(CLOSED);
        self.0.look(stream, true, cx);
    }
}

fn world(config: Config) -> (Loop<App>, Counts) {
    let counts = Counts::default();
    let mut world = Loop::with_config(App(counts.clone()), config);
    world.turn();
    let kept = TopicConfig::default().history(History::new());
    let mut cx = world.server.context();
    cx.configure("a", kept).unwrap();
    cx.configure("own", kept.ids(Ids::Own)).unwrap();
    cx.configure("finished", kept).unwrap();
    cx.finish_topic("finished").unwrap();
    cx.revoke("gone", secs(1_000));
    (world, counts)
}

fn ask<H: mio_sse::App>(world: &mut Loop<H>, method: &str, path: &str) -> Peer {
    let peer = world.connect();
    peer.write(subscribe(path).replace("GET ", &format!("{method} ")));
    world.settle();
    peer
}

/// Everything was dropped, and every opened stream was closed.
fn check(counts: &Counts, opened: usize, what: &str) {
    let [made, dropped, on_open, on_close, opened_told, closed, lost] = counts.get();
    assert_eq!(lost, 0, "{what}: the state exists until the close has been reported");
    assert_eq!(made, dropped, "{what}: {:?}", counts.get());
    assert_eq!((on_open, on_close, opened_told, closed), (opened, opened, opened, opened), "{what}");
}

#[test]
fn a_stream_that_does_not_open_leaves_nothing_behind() {
    for (method, path, status) in [
        ("HEAD", "/", "200"),
        ("GET", "/none", "200"),
        ("GET", "/panics", "500"),
        ("GET", "/many-topics", "400"),
        ("GET", "/many-tags", "400"),
        ("GET", "/revoked", "204"),
        ("GET", "/mixed", "400"),
        ("GET", "/long-id", "500"),
    ] {
        let (mut world, counts) = world(Config::default());
        let peer = ask(&mut world, method, path);
        let text = peer.read();
        assert!(text.starts_with(&format!("HTTP/1.1 {status} ")), "{path}: {text}");
        check(&counts, 0, path);
        check_accounts(&world.server.stats());
    }
}

#[test]
fn a_refused_stream_leaves_nothing_behind() {
    type Limit = fn(&mut Config);
    let limits: [(Refusal, &str, Limit); 7] = [
        (Refusal::Streams, "/", |config| config.streams_max = 1),
        (Refusal::Connections, "/", |config| config.connections_max = 1),
        (Refusal::ConnectionsPerAddress, "/", |config| config.connections_per_address_max = Some(1)),
        (Refusal::Topics, "/new", |config| config.topics_max = 3),
        (Refusal::Subscriptions, "/mixed", |config| config.subscriptions_max = 1),
        (Refusal::Tags, "/tags", |config| config.tags_max = 1),
        (Refusal::Revoked, "/revoked", |_| ()),
    ];
    for (refusal, path, limit) in limits {
        let mut config = Config::default();
        limit(&mut config);
        let (mut world, counts) = world(config);
        let first = ask(&mut world, "GET", "/");
        assert!(first.read().starts_with("HTTP/1.1 200 "));
        let second = ask(&mut world, "GET", path);
        let stats = world.server.stats();
        assert_eq!((stats.refused(refusal), stats.streams_opened), (1, 1), "{refusal:?}");
        let [made, dropped, ..] = counts.get();
        assert_eq!(made - dropped, 4, "{refusal:?}: only the first has something");
        first.close();
        second.close();
        world.settle();
        check(&counts, 1, refusal.name());
    }
}

#[test]
fn a_client_that_has_seen_everything_leaves_nothing_behind() {
    let (mut world, counts) = world(Config::default());
    let mut cx = world.server.context();
    cx.publish("own", Event::new().data("last").id("7")).unwrap();
    cx.finish_topic("own").unwrap();
    let peer = world.connect();
    peer.write("GET /seen HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 7\r\n\r\n");
    world.settle();
    assert!(peer.read().starts_with("HTTP/1.1 204 "));
    assert_eq!(world.server.stats().refused(Refusal::Finished), 1);
    check(&counts, 0, "finished");
}

#[test]
fn a_drain_leaves_nothing_behind() {
    let (mut world, counts) = world(Config::default());
    let peer = world.connect();
    peer.write("GET /");
    world.settle();
    world.server.context().drain(Drain::within(secs(100))).unwrap();
    peer.write(" HTTP/1.1\r\nHost: x\r\n\r\n");
    world.settle();
    assert!(peer.read().starts_with("HTTP/1.1 503 "));
    assert_eq!(world.server.stats().refused(Refusal::Draining), 1);
    check(&counts, 0, "draining");
}

#[test]
fn a_panic_while_a_gap_is_made_up_for_leaves_nothing_behind() {
    let (mut world, counts) = world(Config::default());
    let peer = world.connect();
    peer.write("GET /panics-missed HTTP/1.1\r\nHost: x\r\nLast-Event-ID: unknown\r\n\r\n");
    world.settle();
    assert_eq!(peer.read(), "", "there is no reply");
    let stats = world.server.stats();
    assert_eq!((stats.panics, stats.streams_opened), (1, 0));
    check(&counts, 0, "a panic");
}

#[test]
fn every_opened_stream_is_closed() {
    for (path, reason) in [
        ("/", CloseReason::PeerClosed),
        ("/closed", CloseReason::Application),
        ("/panics-open", CloseReason::Panicked),
        ("/closes-open", CloseReason::Application),
        ("/panics-opened", CloseReason::Panicked),
        ("/finished", CloseReason::Finished),
    ] {
        let (mut world, counts) = world(Config::default());
        let peer = ask(&mut world, "GET", path);
        peer.close();
        world.settle();
        check(&counts, 1, path);
        let stats = world.server.stats();
        assert_eq!(stats.closed(reason), 1, "{path}");
        check_accounts(&stats);
    }
}

#[test]
fn every_opened_stream_is_closed_when_the_server_stops_or_is_dropped() {
    for stops in [true, false] {
        let (mut world, counts) = world(Config::default());
        let peers: Vec<_> = (0..10).map(|_| ask(&mut world, "GET", "/")).collect();
        if stops {
            world.server.context().stop();
            world.turn();
        }
        drop(world);
        check(&counts, 10, "stopped");
        drop(peers);
    }
}

/// The example of a room counts correctly for any clients.
#[test]
fn every_accepted_connection_is_counted_as_closed() {
    let mut app = Router::new();
    app.get("/room", |_request, cx| {
        cx.on_open(|stream, cx| {
            cx.publish("room", "come")?;
            cx.on_close(stream, |_reason, cx| cx.publish("room", "left"))
        });
        Reply::stream().topic("room")
    });
    let mut config = Config::default();
    config.streams_max = 3;
    let mut world = Loop::<_, true>::with_config(app, config);
    let watching = ask(&mut world, "GET", "/room");
    for _ in 0..3 {
        let peers: Vec<_> = (0..4).map(|_| ask(&mut world, "GET", "/room")).collect();
        ask(&mut world, "HEAD", "/room");
        peers.iter().for_each(Peer::close);
        world.settle();
    }
    let text = watching.read();
    assert_eq!(text.matches("data: come").count(), 1 + 6);
    assert_eq!(text.matches("data: left").count(), 6);
}

#[test]
fn an_sse_closure_is_called_only_where_a_stream_may_open() {
    let calls = Arc::new(Mutex::new(0));
    let called = calls.clone();
    let mut app = Router::new();
    app.sse("/sse", move |stream, _request, cx| {
        *called.lock().unwrap() += 1;
        cx.send(stream, Event::new().data("hello"))
    });
    let mut config = Config::default();
    config.streams_max = 1;
    let mut world = Loop::<_, true>::with_config(app, config);
    let head = ask(&mut world, "HEAD", "/sse").read();
    assert!(head.starts_with("HTTP/1.1 200 OK") && head.contains("text/event-stream"), "{head}");
    assert_eq!(*calls.lock().unwrap(), 0);
    let first = ask(&mut world, "GET", "/sse");
    assert!(first.read().contains("data: hello"));
    let second = ask(&mut world, "GET", "/sse").read();
    assert!(second.contains("retry: ") || second.starts_with("HTTP/1.1 503 "), "{second}");
    world.server.context().drain(Duration::from_secs(60)).unwrap();
    assert_eq!(*calls.lock().unwrap(), 1);
}

#[test]
fn events_of_on_open_follow_those_of_the_handler() {
    let mut app = Router::new();
    app.get("/", |_request, cx| {
        cx.send(cx.stream().unwrap(), Event::new().data("first")).unwrap();
        cx.on_open(|stream, cx| cx.send(stream, "second"));
        cx.on_open(|stream, cx| {
            cx.send(stream, "third")?;
            cx.publish("t", "fourth")
        });
        Reply::stream().topic("t")
    });
    let mut world = Loop::<_, true>::new(app);
    let text = ask(&mut world, "GET", "/").read();
    let places = ["first", "second", "third", "fourth"].map(|data| text.find(data).unwrap());
    assert!(places.is_sorted(), "{text}");
}

#[test]
fn topics_subscribed_in_on_open_begin_there() {
    let mut app = Router::new();
    app.get("/", |_request, cx| {
        cx.publish("t", Event::new().data("before")).unwrap();
        cx.on_open(|stream, cx| {
            cx.publish("t", "just before")?;
            cx.subscribe(stream, "t")?;
            cx.publish("t", "behind")
        });
        Reply::stream()
    });
    let mut world = Loop::<_, true>::new(app);
    let text = ask(&mut world, "GET", "/").read();
    assert!(text.contains("data: behind") && !text.contains("before"), "{text}");
}

#[test]
fn a_stream_has_one_state_until_its_close_has_been_reported() {
    let counts = Counts::default();
    let (mut first, mut second) = (Some(Token::new(&counts)), Some(Token::new(&counts)));
    let opened = Arc::new(Mutex::new(None));
    let known = opened.clone();
    let mut app = Router::new();
    app.get("/", move |_request, cx| {
        let known = known.clone();
        cx.on_open(move |stream, _cx| *known.lock().unwrap() = Some(stream));
        Reply::stream().with(first.take().unwrap()).with(second.take().unwrap())
    });
    let mut world = Loop::<_, true>::new(app);
    let peer = ask(&mut world, "GET", "/");
    assert_eq!(counts.get()[DROPPED], 1, "the last that was given counts");
    let stream = opened.lock().unwrap().expect("it has opened");
    assert!(world.server.context().of::<Token>(stream).is_some());
    assert!(world.server.context().of::<Counts>(stream).is_none());
    peer.close();
    world.settle();
    assert!(world.server.context().of::<Token>(stream).is_none());
    check(&counts, 0, "dropped once");
}

/// Hooks of a stream that does not open are not called for the next one that does.
#[test]
fn on_open_is_for_no_other_stream() {
    for how in ["lags", "lags in missed", "panics", "panics on", "replies"] {
        let mut config = Config::default();
        config.lag_bytes_max = 1024;
        config.propagate_panics = how == "panics on";
        config.topic = TopicConfig::default().history(History::new().events(3));
        fn lag(stream: StreamId, cx: &mut Context<'_, Vec<&'static str>>) {
            while cx.send(stream, "x".repeat(1000)).is_ok() {}
            cx.on_open(|_stream, cx| cx.state.push("first"));
        }
        let mut app = Router::with_state(Vec::new());
        app.get("/", move |_request, cx| {
            match how {
                "lags" => lag(cx.stream().unwrap(), cx),
                "lags in missed" => return Reply::stream().topic("t").resume_after("elsewhere").into(),
                _ => cx.on_open(|_stream, cx| cx.state.push("first")),
            }
            assert!(!how.starts_with("panics"), "on purpose");
            if how == "replies" { Reply::no_content() } else { Reply::stream().into() }
        });
        app.missed(|stream, _id, cx| {
            lag(stream, cx);
            true
        });
        app.get("/other", |_request, cx| {
            cx.on_open(|_stream, cx| cx.state.push("other"));
            Reply::stream()
        });
        let mut world = Loop::<_, true>::with_config(app, config);
        let first = world.connect();
        first.write(subscribe("/"));
        let result = catch_unwind(AssertUnwindSafe(|| world.settle()));
        assert_eq!(result.is_err(), how == "panics on");
        assert_eq!(first.is_closed(), how.starts_with("lags"), "{how}");
        world.connect().write(subscribe("/other"));
        world.settle();
        assert_eq!(*world.server.handler().state(), ["other"], "{how}");
    }
}
