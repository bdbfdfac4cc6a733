//! Refused streams: they get a time to reconnect, and leave nothing behind.

use crate::memory_net::{Loop, Peer, check_accounts, get, subscribe};
use crate::support::replies;
use mio_sse::{
    App, CloseReason, Config, Context, Error, Event, Handler, Refusal, Refuse, Reply, Request, Router,
    StreamId,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn app() -> Router {
    let mut app = Router::new();
    app.get("/page", |_request, _cx| Reply::text("page"));
    app.get("/cors", |_request, _cx| {
        Reply::stream()
            .header("Access-Control-Allow-Origin", "https://example.org")
            .header("Access-Control-Allow-Credentials", "true")
    });
    app.get("/topics/{first}/{second}", |request, _cx| {
        Reply::stream().topic(request.param("first").unwrap()).topic(request.param("second").unwrap())
    });
    app.post("/stream", |_request, _cx| Reply::stream());
    app
}

/// At most `streams_max` streams.
fn streams(streams_max: usize) -> Config {
    let mut config = Config::default();
    config.streams_max = streams_max;
    config
}

fn ask<H: App>(world: &mut Loop<H>, peer: &Peer, request: impl AsRef<[u8]>) -> String {
    peer.write(request);
    world.settle();
    peer.read()
}

fn new_ask<H: App>(world: &mut Loop<H>, request: impl AsRef<[u8]>) -> String {
    let peer = world.connect();
    ask(world, &peer, request)
}

fn header<'a>(answer: &'a str, name: &str) -> Option<&'a str> {
    let (head, _) = answer.split_once("\r\n\r\n").unwrap();
    head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "))
}

fn is_open(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200 ") && header(answer, "Transfer-Encoding") == Some("chunked")
}

/// Checks a soft refusal. Returns its time in milliseconds.
fn soft(answer: &str) -> u64 {
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n"), "{answer}");
    assert_eq!(header(answer, "Content-Type"), Some("text/event-stream"));
    assert_eq!(header(answer, "Cache-Control"), Some("no-store, no-transform"));
    assert_eq!(header(answer, "Connection"), Some("close"));
    assert_eq!(header(answer, "Transfer-Encoding"), None);
    let [(_, body)] = &replies(answer)[..] else { panic!("one reply: {answer}") };
    let retry = body.strip_prefix("retry: ").unwrap().strip_suffix("\n").unwrap();
    retry.parse().unwrap()
}

/// Checks a 503. Returns its time in seconds.
fn unavailable(answer: &str) -> u64 {
    assert!(answer.starts_with("HTTP/1.1 503 Service Unavailable\r\n"), "{answer}");
    assert_eq!(header(answer, "Connection"), Some("close"));
    assert!(header(answer, "Content-Length").is_some());
    header(answer, "Retry-After").unwrap().parse().unwrap()
}

#[test]
fn a_stream_above_the_limit_gets_retry_and_opens_when_another_has_closed() {
    let mut world = Loop::with_config(app(), streams(2));
    let there: Vec<_> = (0..2).map(|_| world.connect()).collect();
    for peer in &there {
        assert!(is_open(&ask(&mut world, peer, subscribe("/cors"))));
    }
    let refused = world.connect();
    soft(&ask(&mut world, &refused, subscribe("/cors")));
    assert!(refused.is_shut());
    refused.close();
    world.settle();
    let stats = world.server.stats();
    assert_eq!((stats.streams, stats.refused(Refusal::Streams)), (2, 1));
    assert_eq!(stats.connections_closed(CloseReason::Refused), 1);
    assert!(new_ask(&mut world, get("/page")).ends_with("page"), "other requests are still served");
    there[0].close();
    world.settle();
    assert!(is_open(&new_ask(&mut world, subscribe("/cors"))));
    check_accounts(&world.server.stats());
}

#[test]
fn a_refusal_has_the_form_that_the_client_understands() {
    let post = "POST /stream HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\nContent-Length: 0\r\n\r\n";
    let among = "GET /cors HTTP/1.1\r\nHost: x\r\naccept: text/html, text/event-stream;q=0.9\r\n\r\n";
    let any = "GET /cors HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n";
    let old = "GET /cors HTTP/1.0\r\nAccept: text/event-stream\r\nConnection: keep-alive\r\n\r\n";
    for (refuse, softly) in [
        (Refuse::Auto, [true, false, false, true, false, true]),
        (Refuse::Soft, [true; 6]),
        (Refuse::Unavailable, [false; 6]),
    ] {
        let mut config = streams(1);
        config.refuse = refuse;
        let mut world = Loop::with_config(app(), config);
        assert!(is_open(&new_ask(&mut world, subscribe("/cors"))));
        let requests = [subscribe("/cors"), get("/cors"), post.into(), among.into(), any.into(), old.into()];
        for (request, softly) in requests.iter().zip(softly) {
            let answer = new_ask(&mut world, request);
            if softly {
                soft(&answer)
            } else {
                unavailable(&answer)
            };
        }
        assert_eq!(world.server.stats().refused(Refusal::Streams), 6);
    }
}

#[test]
fn retry_times_are_spread_between_the_delay_and_twice_as_much() {
    for (delay, refuse) in [(10_000, Refuse::Soft), (1, Refuse::Soft), (10_000, Refuse::Unavailable)] {
        let mut config = streams(1);
        config.refuse = refuse;
        config.refuse_retry = Duration::from_millis(delay);
        let mut world = Loop::with_config(app(), config);
        assert!(is_open(&new_ask(&mut world, subscribe("/cors"))));
        let mut moments: Vec<_> = (0..100)
            .map(|_| {
                let answer = new_ask(&mut world, subscribe("/cors"));
                if refuse == Refuse::Soft { soft(&answer) } else { 1000 * unavailable(&answer) }
            })
            .collect();
        moments.sort_unstable();
        assert!(moments[0] >= delay && moments[99] <= 2 * delay, "{moments:?}");
        if delay > 1 {
            for tenth in 0..10 {
                let from = delay + tenth * delay / 10;
                let here =
                    moments.iter().filter(|moment| (from..=from + delay / 10).contains(moment)).count();
                assert!((5..=25).contains(&here), "{tenth}: {moments:?}");
            }
        }
    }
}

#[test]
fn a_refusal_has_the_headers_of_the_stream_so_that_a_page_of_another_origin_may_read_it() {
    for refuse in [Refuse::Soft, Refuse::Unavailable] {
        let mut config = streams(1);
        config.refuse = refuse;
        let mut world = Loop::with_config(app(), config);
        assert!(is_open(&new_ask(&mut world, subscribe("/cors"))));
        let answer = new_ask(&mut world, subscribe("/cors"));
        assert_eq!(header(&answer, "Access-Control-Allow-Origin"), Some("https://example.org"), "{answer}");
        assert_eq!(header(&answer, "Access-Control-Allow-Credentials"), Some("true"));
    }
}

#[test]
fn head_of_a_stream_takes_no_place_and_is_not_refused() {
    let mut world = Loop::with_config(app(), streams(1));
    assert!(is_open(&new_ask(&mut world, subscribe("/cors"))));
    let answer = new_ask(&mut world, "HEAD /cors HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert_eq!(world.server.stats().refused(Refusal::Streams), 0);
}

#[test]
fn a_request_after_a_refused_stream_is_not_served() {
    let mut world = Loop::with_config(app(), streams(1));
    assert!(is_open(&new_ask(&mut world, subscribe("/cors"))));
    let answer = new_ask(&mut world, get("/page") + &subscribe("/cors") + &get("/page"));
    let answers = replies(&answer);
    assert_eq!((answers.len(), answers[0].1.as_str()), (2, "page"), "{answer}");
    assert!(answers[1].1.starts_with("retry: "), "{answer}");
}

/// Gives each stream everything that a stream can have, and counts the calls.
struct Generous {
    called: Arc<AtomicUsize>,
    opened: usize,
    closed: usize,
    stream: Option<StreamId>,
}

impl Generous {
    fn new() -> Self {
        Self { called: Arc::default(), opened: 0, closed: 0, stream: None }
    }
}

impl Handler for Generous {
    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
        let stream = cx.stream().unwrap();
        self.stream = Some(stream);
        let (on_close, timer) = (self.called.clone(), self.called.clone());
        cx.on_close(stream, move |_, _| _ = on_close.fetch_add(1, Ordering::SeqCst)).unwrap();
        cx.every(stream, Duration::from_millis(10), move |_, _| _ = timer.fetch_add(1, Ordering::SeqCst))
            .unwrap();
        cx.send(stream, Event::new().data("private ".repeat(100))).unwrap();
        if request.path() == "/closed" {
            cx.close(stream).unwrap();
        }
        let reply = Reply::stream().max_age(Duration::from_secs(5)).finish();
        request.path().split('.').skip(1).fold(reply, |reply, topic| reply.topic(topic)).into()
    }

    fn opened(&mut self, _stream: StreamId, _request: &Request<'_>, _cx: &mut Context<'_>) {
        self.opened += 1;
    }

    fn closed(&mut self, _stream: StreamId, _reason: CloseReason, _cx: &mut Context<'_>) {
        self.closed += 1;
    }
}

/// Checks that a refused stream has left nothing.
fn nothing_remains(world: &mut Loop<Generous>, answer: &str) {
    assert!(!answer.contains("private"), "{answer}");
    world.pass(Duration::from_secs(10));
    let stats = world.server.stats();
    assert_eq!((stats.timers, stats.log_bytes, stats.streams_behind), (0, 0, 0));
    assert_eq!(stats.events_delivered, 0);
    check_accounts(&stats);
    let (opened, closed) = (world.server.handler().opened, world.server.handler().closed);
    assert_eq!((opened, closed), (0, 0));
    let called = world.server.handler().called.clone();
    assert_eq!(called.load(Ordering::SeqCst), 0, "no callback of it is called");
    assert_eq!(Arc::strong_count(&called), 2, "none is kept");
    let stream = world.server.handler().stream.unwrap();
    assert_eq!(world.server.context().send(stream, Event::new().data("x")), Err(Error::Closed));
}

#[test]
fn nothing_remains_of_a_stream_that_is_refused_whatever_it_was_given() {
    // A drain is the only refusal of streams that needs no other stream.
    for path in ["/", "/.a.b.c", "/closed"] {
        let mut world = Loop::new(Generous::new());
        let peer = world.connect();
        world.settle();
        world.server.context().drain(Duration::from_secs(60)).unwrap();
        let answer = ask(&mut world, &peer, subscribe(path));
        soft(&answer);
        assert_eq!(world.server.stats().topics, 0);
        assert_eq!(world.server.stats().refused(Refusal::Draining), 1);
        nothing_remains(&mut world, &answer);
    }
}

#[test]
fn nothing_remains_of_a_stream_that_asks_for_one_topic_too_many() {
    let mut config = Config::default();
    config.topics_max = 2;
    let mut world = Loop::with_config(Generous::new(), config);
    let peer = world.connect();
    let answer = ask(&mut world, &peer, subscribe("/.a.b.c"));
    soft(&answer);
    assert!(peer.is_shut());
    let stats = world.server.stats();
    assert_eq!((stats.topics, stats.refused(Refusal::Topics)), (0, 1), "not even those there was room for");
    nothing_remains(&mut world, &answer);
}

#[test]
fn nothing_remains_of_a_stream_that_reads_too_many_topics_and_its_connection_goes_on() {
    let mut config = Config::default();
    config.subscriptions_max = 2;
    let mut world = Loop::with_config(Generous::new(), config);
    let peer = world.connect();
    let answer = ask(&mut world, &peer, subscribe("/.a.b.c"));
    assert!(answer.starts_with("HTTP/1.1 400 "), "{answer}");
    assert_eq!((header(&answer, "Connection"), peer.is_shut()), (None, false));
    let stats = world.server.stats();
    assert_eq!((stats.topics, stats.refused(Refusal::Subscriptions)), (0, 1));
    nothing_remains(&mut world, &answer);
    assert!(is_open(&ask(&mut world, &peer, subscribe("/.a.b"))));
}

#[test]
fn a_topic_that_is_there_already_is_none_too_many() {
    let mut config = Config::default();
    config.topics_max = 2;
    let mut world = Loop::with_config(app(), config);
    let first = world.connect();
    assert!(is_open(&ask(&mut world, &first, subscribe("/topics/a/b"))));
    assert!(is_open(&new_ask(&mut world, subscribe("/topics/b/a"))));
    assert!(is_open(&new_ask(&mut world, subscribe("/topics/b/b"))));
    soft(&new_ask(&mut world, subscribe("/topics/b/c")));
    assert_eq!(world.server.stats().topics, 2);
    assert_eq!(world.server.context().subscribers("b"), 3);
}

#[test]
fn a_subscription_too_many_is_an_error_that_changes_nothing() {
    let ids = Arc::new(Mutex::new(Vec::new()));
    let mut app = Router::new();
    let sink = ids.clone();
    app.sse("/", move |stream, _request, _cx| sink.lock().unwrap().push(stream));
    let mut config = Config::default();
    config.subscriptions_max = 2;
    config.topics_max = 3;
    let mut world = Loop::with_config(app, config);
    let peers = [world.connect(), world.connect()];
    for peer in &peers {
        assert!(is_open(&ask(&mut world, peer, subscribe("/"))));
    }
    let ids = ids.lock().unwrap().clone();
    let mut cx = world.server.context();
    for topic in ["a", "b", "a"] {
        assert_eq!(cx.subscribe(ids[0], topic), Ok(()));
    }
    assert_eq!(cx.subscribe(ids[0], "c"), Err(Error::TooManySubscriptions));
    assert_eq!(cx.subscribe(ids[1], "c"), Ok(()));
    assert_eq!(cx.subscribe(ids[1], "d"), Err(Error::TooManyTopics));
    assert_eq!(cx.subscribe(ids[1], "a"), Ok(()), "which is no new one");
    assert_eq!(
        [cx.subscribers("a"), cx.subscribers("b"), cx.subscribers("c"), cx.subscribers("d")],
        [2, 1, 1, 0]
    );
    world.settle();
    assert_eq!(world.server.stats().topics, 3);
    for topic in ["a", "b", "c", "d"] {
        world.server.context().publish(topic, Event::new().data(topic)).unwrap();
    }
    world.settle();
    let [first, second] = peers.map(|peer| peer.read());
    assert!(first.contains("data: a") && first.contains("data: b") && !first.contains("data: c"), "{first}");
    assert!(
        second.contains("data: a") && second.contains("data: c") && !second.contains("data: d"),
        "{second}"
    );
    // The errors are ignored: they are the application's.
    assert_eq!(world.server.stats().refused(Refusal::Topics), 0);
}

#[test]
fn a_stream_moves_from_one_topic_to_another_also_where_there_are_as_many_as_may_be() {
    let ids = Arc::new(Mutex::new(Vec::new()));
    let mut app = Router::new();
    let sink = ids.clone();
    app.sse("/", move |stream, _request, _cx| {
        sink.lock().unwrap().push(stream);
        Reply::stream().topic("a")
    });
    let mut config = Config::default();
    config.topics_max = 1;
    let mut world = Loop::with_config(app, config);
    let peer = world.connect();
    assert!(is_open(&ask(&mut world, &peer, subscribe("/"))));
    let stream = ids.lock().unwrap()[0];
    let mut cx = world.server.context();
    cx.unsubscribe(stream, "a").unwrap();
    assert_eq!(cx.subscribe(stream, "b"), Ok(()), "there are no subscribers");
    world.server.context().publish("b", Event::new().data("moved")).unwrap();
    world.settle();
    assert!(peer.read().contains("data: moved"));
    assert_eq!(world.server.stats().topics, 1);
}
