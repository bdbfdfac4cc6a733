//! Callbacks that panic: their stream or request ends, and everything else continues.

use crate::memory_net::{Loop, Peer, check_accounts, get, subscribe};
use crate::support::{ms, replies};
use mio_sse::{CloseReason, Config, Context, Event, Handler, Message, Observer, Reply, Request, StreamId};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, OnceLock};

/// Panics if the path of a request says so.
#[derive(Default)]
struct App {
    opened: Vec<StreamId>,
    closed: Vec<(StreamId, CloseReason)>,
    panics_on_open: bool,
    panics_on_close: bool,
}

impl Handler for App {
    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
        let stream = cx.stream().unwrap();
        match request.path() {
            "/page" => return Reply::text("page"),
            "/panic" => {
                // Everything done for the stream is undone, but nothing done for others.
                cx.publish("t", Event::new().data("published")).unwrap();
                cx.send(stream, Event::new().data("never")).unwrap();
                cx.subscribe(stream, "new").unwrap();
                cx.every(stream, ms(1), |_, _| ()).unwrap();
                cx.on_close(stream, |_, _| ()).unwrap();
                panic!("request {}", request.path());
            }
            "/panic/closed" => {
                cx.close(stream).unwrap();
                panic!("request");
            }
            "/opened" => self.panics_on_open = true,
            _ => {}
        }
        Reply::stream().topic("t").into()
    }

    fn opened(&mut self, stream: StreamId, _request: &Request<'_>, cx: &mut Context<'_>) {
        self.opened.push(stream);
        if std::mem::take(&mut self.panics_on_open) {
            cx.every(stream, ms(1), |_, _| ()).unwrap();
            panic!("opened");
        }
    }

    fn closed(&mut self, stream: StreamId, reason: CloseReason, _cx: &mut Context<'_>) {
        self.closed.push((stream, reason));
        if std::mem::take(&mut self.panics_on_close) {
            panic!("closed");
        }
    }
}

/// A world with a stream that is not affected by the panics.
fn world() -> (Loop<App>, Peer) {
    world_with(Config::default())
}

fn world_with(config: Config) -> (Loop<App>, Peer) {
    let mut world = Loop::with_config(App::default(), config);
    let bystander = world.connect();
    let answer = ask(&mut world, &bystander, subscribe("/stream"));
    assert!(answer.contains("Transfer-Encoding: chunked"));
    (world, bystander)
}

fn ask(world: &mut Loop<App>, peer: &Peer, request: impl AsRef<[u8]>) -> String {
    peer.write(request);
    world.settle();
    peer.read()
}

/// The last stream opened, on a connection of its own.
fn open(world: &mut Loop<App>) -> (Peer, StreamId) {
    let peer = world.connect();
    ask(world, &peer, subscribe("/stream"));
    (peer, *world.server.handler().opened.last().unwrap())
}

/// Checks that the server has counted `panics` and still serves.
fn goes_on(world: &mut Loop<App>, bystander: &Peer, panics: u64) {
    world.settle();
    let stats = world.server.stats();
    assert_eq!(stats.panics, panics);
    check_accounts(&stats);
    bystander.read();
    world.server.context().publish("t", Event::new().data("on it goes")).unwrap();
    world.settle();
    assert!(bystander.read().contains("data: on it goes"));
    let (peer, stream) = open(world);
    world.server.context().send(stream, Event::new().data("for one")).unwrap();
    world.settle();
    assert!(peer.read().contains("data: for one"));
    world.server.context().close(stream).unwrap();
    world.settle();
    assert_eq!(peer.read(), "0\r\n\r\n");
    assert!(ask(world, &peer, get("/page")).ends_with("page"));
    assert_eq!(world.server.handler().closed.last(), Some(&(stream, CloseReason::Application)));
    assert_eq!(world.server.stats().panics, panics);
}

#[test]
fn a_request_that_panics_gets_500_and_its_connection_closes() {
    for path in ["/panic", "/panic/closed"] {
        let (mut world, bystander) = world();
        let peer = world.connect();
        let answer = ask(&mut world, &peer, get(path) + &get("/page"));
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        assert_eq!(
            replies(&answer),
            [(500, "Internal Server Error".to_owned())],
            "the reason is ours to know"
        );
        assert!(peer.is_shut());
        peer.close();
        world.settle();
        let stats = world.server.stats();
        assert_eq!(stats.connections_closed(CloseReason::Panicked), 1);
        assert_eq!((stats.timers, stats.topics, stats.streams), (0, 1, 1), "nothing is left of the stream");
        assert_eq!(bystander.read().contains("published"), path == "/panic");
        goes_on(&mut world, &bystander, 1);
    }
}

#[test]
fn a_head_request_that_panics_gets_a_reply_without_a_body() {
    let (mut world, bystander) = world();
    let peer = world.connect();
    let answer = ask(&mut world, &peer, "HEAD /panic HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(answer.starts_with("HTTP/1.1 500 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    goes_on(&mut world, &bystander, 1);
}

#[test]
fn replies_to_earlier_requests_of_a_pipeline_arrive() {
    let (mut world, bystander) = world();
    let peer = world.connect();
    let answer = ask(&mut world, &peer, get("/page") + &get("/page") + &get("/panic") + &get("/page"));
    let answers: Vec<_> = replies(&answer).into_iter().map(|(status, _)| status).collect();
    assert_eq!(answers, [200, 200, 500]);
    goes_on(&mut world, &bystander, 1);
}

#[test]
fn a_stream_whose_opening_panics_closes() {
    let (mut world, bystander) = world();
    let peer = world.connect();
    ask(&mut world, &peer, subscribe("/opened"));
    assert!(peer.is_closed());
    let stats = world.server.stats();
    assert_eq!((stats.closed(CloseReason::Panicked), stats.timers, stats.streams), (1, 0, 1));
    let handler = world.server.handler();
    let stream = handler.opened[1];
    assert_eq!(handler.closed, [(stream, CloseReason::Panicked)], "an opened stream is closed once");
    goes_on(&mut world, &bystander, 1);
}

#[test]
fn replies_to_earlier_requests_arrive_also_where_the_opening_of_a_stream_panics() {
    let (mut world, _bystander) = world();
    let peer = world.connect();
    let answer = ask(&mut world, &peer, get("/page") + &subscribe("/opened"));
    assert!(answer.starts_with("HTTP/1.1 200 OK") && answer.ends_with("\r\n\r\npage"), "{answer:?}");
}

#[test]
fn a_closed_or_on_close_that_panics_keeps_no_other_from_being_called() {
    let (mut world, bystander) = world();
    let (first, stream) = open(&mut world);
    let (_second, other) = open(&mut world);
    world.server.context().on_close::<()>(stream, |_, _| panic!("on_close")).unwrap();
    world
        .server
        .context()
        .on_close(stream, |_, cx| cx.publish("t", Event::new().data("second")).unwrap())
        .unwrap();
    world
        .server
        .context()
        .on_close(other, |_, cx| cx.publish("t", Event::new().data("third")).unwrap())
        .unwrap();
    world.server.handler().panics_on_close = true;
    first.close();
    world.server.context().close(other).unwrap();
    world.settle();
    let body = bystander.read();
    assert!(body.contains("second") && body.contains("third"), "{body}");
    let mut closed = world.server.handler().closed.clone();
    closed.sort_by_key(|(stream, _)| stream.to_string());
    let mut expected = [(stream, CloseReason::PeerClosed), (other, CloseReason::Application)];
    expected.sort_by_key(|(stream, _)| stream.to_string());
    assert_eq!(closed, expected);
    goes_on(&mut world, &bystander, 2);
}

#[test]
fn a_timer_that_panics_closes_its_stream_and_is_gone() {
    let (mut world, bystander) = world();
    let (peer, stream) = open(&mut world);
    let (other, _) = open(&mut world);
    world.server.context().every::<()>(stream, ms(1), |_, _| panic!("timer")).unwrap();
    world.server.context().every(stream, ms(2), |_, _| ()).unwrap();
    world.pass(ms(10));
    assert!(peer.is_closed() && !other.is_closed());
    assert!(!peer.read().ends_with("0\r\n\r\n"), "a stream that was cut does not look complete");
    let stats = world.server.stats();
    assert_eq!((stats.timers, stats.closed(CloseReason::Panicked), stats.streams), (0, 1, 2));
    assert_eq!(stats.connections_closed(CloseReason::Panicked), 1);
    assert_eq!(world.server.handler().closed, [(stream, CloseReason::Panicked)]);
    goes_on(&mut world, &bystander, 1);
}

#[test]
fn a_timer_that_panics_after_it_has_done_something_about_itself_is_gone_too() {
    type Work = fn(StreamId, &mut Context<'_>);
    let works: [Work; 3] = [
        |stream, cx| cx.close(stream).unwrap(),
        |stream, cx| _ = cx.after(stream, ms(1), |_, _| ()).unwrap(),
        |stream, cx| cx.send(stream, Event::new().data("half")).unwrap(),
    ];
    for (work, reason) in
        works.into_iter().zip([CloseReason::Application, CloseReason::Panicked, CloseReason::Panicked])
    {
        let (mut world, bystander) = world();
        let (peer, stream) = open(&mut world);
        let panics = move |stream: StreamId, cx: &mut Context<'_>| {
            work(stream, cx);
            panic!("timer");
        };
        world.server.context().every::<()>(stream, ms(1), panics).unwrap();
        world.pass(ms(10));
        let stats = world.server.stats();
        assert_eq!((stats.timers, stats.closed(reason), stats.streams), (0, 1, 1), "{reason}");
        drop(peer);
        goes_on(&mut world, &bystander, 1);
    }
}

#[test]
fn a_timer_that_cancels_itself_and_then_panics_closes_its_stream() {
    let (mut world, bystander) = world();
    let (peer, stream) = open(&mut world);
    let timer = Arc::new(OnceLock::new());
    let own = timer.clone();
    let panics = move |_stream: StreamId, cx: &mut Context<'_>| {
        assert!(cx.cancel(*own.get().unwrap()));
        panic!("timer");
    };
    timer.set(world.server.context().every::<()>(stream, ms(1), panics).unwrap()).unwrap();
    world.pass(ms(10));
    assert!(peer.is_closed());
    let stats = world.server.stats();
    assert_eq!((stats.timers, stats.closed(CloseReason::Panicked), stats.streams), (0, 1, 1));
    goes_on(&mut world, &bystander, 1);
}

#[test]
fn a_global_timer_that_panics_is_gone_and_closes_nothing() {
    let (mut world, bystander) = world();
    world.server.context().every_global::<()>(ms(1), |_| panic!("timer"));
    world.server.context().after_global::<()>(ms(1), |_| panic!("timer"));
    world.server.context().every_global(ms(5), |cx| cx.publish("t", Event::new().data("tick")));
    world.pass(ms(10));
    assert_eq!(world.server.stats().timers, 1);
    assert_eq!(bystander.read().matches("data: tick").count(), 2);
    goes_on(&mut world, &bystander, 2);
}

#[test]
fn a_closure_of_a_publisher_that_panics_keeps_the_next_message_from_nothing() {
    let (mut world, bystander) = world();
    let publisher = world.server.publisher();
    publisher.run::<()>(|_| panic!("closure")).unwrap();
    publisher.publish("t", Event::new().data("next")).unwrap();
    world.settle();
    assert!(bystander.read().contains("data: next"));
    goes_on(&mut world, &bystander, 1);
}

#[test]
fn a_handler_that_panics_when_the_server_starts_does_not_keep_it_from_serving() {
    /// Serves, but fails to start.
    struct Stumbles(App);

    impl Handler for Stumbles {
        fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
            self.0.request(request, cx)
        }

        fn started(&mut self, _cx: &mut Context<'_>) {
            panic!("started");
        }
    }

    let mut world = Loop::new(Stumbles(App::default()));
    let peer = world.connect();
    peer.write(get("/page"));
    world.settle();
    assert_eq!(replies(&peer.read()), [(200, "page".to_owned())]);
    assert_eq!(world.server.stats().panics, 1);
}

/// Panics on certain calls.
struct Nervous;

impl Observer for Nervous {
    fn open(&mut self, _stream: StreamId, _request: &Request<'_>) {
        panic!("open");
    }

    fn message(&mut self, _message: &Message<'_>) {
        panic!("message");
    }

    fn close(&mut self, _stream: StreamId, _reason: CloseReason) {
        panic!("close");
    }
}

#[test]
fn an_observer_that_panics_changes_nothing() {
    let mut world = Loop::new(App::default());
    world.server.observe(Nervous);
    let peers = [world.connect(), world.connect(), world.connect()];
    for peer in &peers {
        assert!(ask(&mut world, peer, subscribe("/stream")).contains("Transfer-Encoding: chunked"));
    }
    let streams = world.server.handler().opened.clone();
    assert_eq!(world.server.stats().panics, 3);
    world.server.context().publish("t", Event::new().data("published")).unwrap();
    world.server.publisher().publish("t", Event::new().data("from elsewhere")).unwrap();
    world.server.context().send(streams[0], Event::new().data("sent")).unwrap();
    world.settle();
    let body = peers[0].read();
    assert!(["published", "from elsewhere", "sent"].into_iter().all(|data| body.contains(data)), "{body}");
    world.server.context().close(streams[0]).unwrap();
    peers[1].close();
    world.server.context().after(streams[2], ms(1), |stream, cx| cx.close(stream)).unwrap();
    world.pass(ms(5));
    let mut closed: Vec<_> = world.server.handler().closed.iter().map(|(_, reason)| *reason).collect();
    closed.sort_by_key(|reason| *reason as usize);
    assert_eq!(closed, [CloseReason::Application, CloseReason::Application, CloseReason::PeerClosed]);
    let stats = world.server.stats();
    assert_eq!((stats.panics, stats.streams), (9, 0));
    check_accounts(&stats);
    assert!(ask(&mut world, &peers[0], get("/page")).ends_with("page"));
}

#[test]
fn panics_that_are_to_be_resumed_are_and_the_server_can_still_be_dropped() {
    let mut config = Config::default();
    config.propagate_panics = true;
    for place in ["request", "opened", "closed", "timer", "closure", "observer"] {
        let (mut world, bystander) = world_with(config.clone());
        let (peer, stream) = open(&mut world);
        match place {
            "request" => world.connect().write(get("/panic")),
            "opened" => world.connect().write(get("/opened")),
            "closed" => {
                world.server.handler().panics_on_close = true;
                peer.close();
            }
            "timer" => _ = world.server.context().after::<()>(stream, ms(0), |_, _| panic!("timer")).unwrap(),
            "closure" => world.server.publisher().run::<()>(|_| panic!("closure")).unwrap(),
            _ => {
                world.server.observe(Nervous);
                peer.close();
            }
        }
        let result = catch_unwind(AssertUnwindSafe(|| world.settle()));
        let panic = result.expect_err(place);
        assert!(panic.is::<&str>() || panic.is::<String>(), "the panic itself: {place}");
        assert_eq!(world.server.stats().panics, 1, "{place}");
        let publisher = world.server.publisher();
        drop(world);
        assert!(bystander.is_closed(), "{place}");
        assert!(publisher.publish("t", Event::new().data("x")).is_err());
    }
}
