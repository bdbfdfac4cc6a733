//! Two things that happen to a stream at once. Each case has failed once.

use crate::memory_net::{Loop, Peer, get};
use mio_sse::{CloseReason, Config, Context, Error, Event, Handler, Reply, Request, Router, StreamId};
use std::time::Duration;

/// Every request opens a stream on the topics of its query, and keeps its id.
#[derive(Default)]
struct App {
    opened: Vec<StreamId>,
    closed: Vec<CloseReason>,
}

impl Handler for App {
    fn request(&mut self, request: &Request<'_>, _cx: &mut Context<'_>) -> Reply {
        let topics = request.query("topics").unwrap();
        topics.split_terminator(',').fold(Reply::stream(), |reply, topic| reply.topic(topic)).into()
    }

    fn opened(&mut self, stream: StreamId, _request: &Request<'_>, _cx: &mut Context<'_>) {
        self.opened.push(stream);
    }

    fn closed(&mut self, _stream: StreamId, reason: CloseReason, _cx: &mut Context<'_>) {
        self.closed.push(reason);
    }
}

fn world(change: impl FnOnce(&mut Config)) -> Loop<App> {
    let mut config = Config::default();
    change(&mut config);
    Loop::with_config(App::default(), config)
}

fn open(world: &mut Loop<App>, topics: &str) -> (Peer, StreamId) {
    let peer = world.connect();
    peer.write(get(&format!("/?topics={topics}")));
    world.settle();
    assert!(peer.read().starts_with("HTTP/1.1 200 OK\r\n"));
    (peer, *world.server.handler().opened.last().unwrap())
}

fn data(text: impl Into<String>) -> Event<'static> {
    Event::new().data(text.into())
}

#[test]
fn leaving_a_topic_loses_nothing_of_another_that_was_just_published() {
    let mut world = world(|_| ());
    let (peer, stream) = open(&mut world, "a,b");
    let mut cx = world.server.context();
    cx.publish("b", data("for b")).unwrap();
    cx.unsubscribe(stream, "a").unwrap();
    world.settle();
    assert_eq!(peer.read(), "d\r\ndata: for b\n\n\r\n");
}

#[test]
fn an_event_after_an_unsent_heartbeat_is_sent_when_there_is_room() {
    let mut world = world(|config| config.stall_timeout = Duration::from_secs(300));
    let (peer, _) = open(&mut world, "a,b");
    peer.set_room(0);
    world.pass(Duration::from_secs(20));
    world.server.context().publish("a", data("1")).unwrap();
    world.settle();
    peer.set_room(usize::MAX);
    world.settle();
    // The rest of the heartbeat is sent first, and then the event.
    assert_eq!(peer.read(), "2\r\n:\n\r\n9\r\ndata: 1\n\n\r\n");
    world.server.context().publish("b", data("2")).unwrap();
    world.settle();
    assert_eq!(peer.read(), "9\r\ndata: 2\n\n\r\n");
}

#[test]
fn a_heartbeat_does_not_come_between_while_a_wave_is_on_its_way() {
    let mut world = world(|config| config.sends_per_turn = 1);
    let peers: Vec<_> = (0..3).map(|_| open(&mut world, "a").0).collect();
    world.pass(Duration::from_millis(500));
    world.jump(Duration::from_secs(20));
    world.server.context().publish("a", data("x")).unwrap();
    peers[2].set_room(2);
    world.turn();
    peers[2].set_room(usize::MAX);
    world.settle();
    assert_eq!(peers[2].read().replace("2\r\n:\n\r\n", ""), "9\r\ndata: x\n\n\r\n");
}

/// An event on the wire, and then the next.
fn chunks(texts: &[&str]) -> String {
    let chunk = |text: &&str| format!("{:x}\r\ndata: {text}\n\n\r\n", text.len() + 8);
    texts.iter().map(chunk).collect()
}

#[test]
fn half_an_event_is_followed_by_its_other_half_and_by_nothing_else() {
    let large = "x".repeat(70_000);
    for size in [1, 150] {
        let mut world = world(|config| (config.sends_per_turn, config.lag_bytes_max) = (1, 1000));
        let _others: Vec<_> = (0..3).map(|_| open(&mut world, "a")).collect();
        let (peer, stream) = open(&mut world, "a");
        peer.set_room(100);
        world.server.context().publish("a", data(large.clone())).unwrap();
        world.settle();
        let mut received = peer.read();
        assert_eq!(received.len(), 100);
        // The stream does not read for long. A wave is on its way but has not reached it, and by now the log
        // has dropped the event.
        world.pass(Duration::from_millis(300));
        world.server.context().publish("a", data("z".repeat(2000))).unwrap();
        world.turn();
        assert!(world.server.stats().log_bytes < 10_000, "the log has dropped it");
        let mut cx = world.server.context();
        assert_eq!(cx.unsubscribe(stream, "a"), Ok(()));
        let alone = "y".repeat(size);
        assert_eq!(cx.send(stream, data(alone.clone())), Ok(()));
        peer.set_room(usize::MAX);
        world.settle();
        received.push_str(&peer.read());
        assert!(received == chunks(&[&large, &alone]), "{} bytes", received.len());
        assert_eq!(world.server.handler().closed, []);
    }
}

#[test]
fn delivered_events_do_not_count_as_waiting() {
    let mut world = world(|config| config.lag_bytes_max = 1000);
    let (peer, stream) = open(&mut world, "");
    peer.set_room(0);
    world.server.context().send(stream, data("0".repeat(100))).unwrap();
    for _ in 0..1000 {
        world.server.context().send(stream, data("x".repeat(100))).unwrap();
        // Room for one event: at most two ever wait.
        peer.set_room("6c\r\ndata: \n\n\r\n".len() + 100);
        world.settle();
    }
}

#[test]
fn the_end_of_a_closed_stream_is_not_lost_to_later_events() {
    let mut world = world(|config| config.lag_bytes_max = 1000);
    let (peer, stream) = open(&mut world, "a");
    peer.set_room(0);
    let mut cx = world.server.context();
    cx.send(stream, data("bye")).unwrap();
    cx.close(stream).unwrap();
    assert_eq!(cx.subscribers("a"), 0);
    world.settle();
    for _ in 0..3 {
        world.server.context().publish("a", data("x".repeat(70_000))).unwrap();
        world.settle();
    }
    peer.set_room(usize::MAX);
    world.settle();
    assert_eq!(peer.read(), "b\r\ndata: bye\n\n\r\n0\r\n\r\n");
}

#[test]
fn a_peer_that_does_not_even_read_heartbeats_is_closed() {
    let mut world = world(|_| ());
    let (peer, _) = open(&mut world, "a");
    peer.set_room(0);
    peer.writes();
    let refused = loop {
        world.pass(Duration::from_millis(100));
        if !peer.writes().is_empty() {
            break world.now();
        }
    };
    assert!(refused <= Duration::from_secs(15), "{refused:?}");
    world.pass(Duration::from_millis(29_800));
    assert_eq!(world.server.handler().closed, [], "that was less than `stall_timeout` ago");
    world.pass(Duration::from_millis(1300));
    assert_eq!(world.server.handler().closed, [CloseReason::Stalled], "looked at once a second");
    assert!(peer.writes().is_empty(), "and it was not tried again");
}

#[test]
fn a_heartbeat_that_was_cut_is_completed_also_where_the_stream_has_left_its_topic() {
    let mut world = world(|_| ());
    let (peer, stream) = open(&mut world, "a");
    peer.set_room(4);
    world.pass(Duration::from_secs(16));
    assert_eq!(peer.read(), "2\r\n:");
    world.server.context().unsubscribe(stream, "a").unwrap();
    world.settle();
    peer.set_room(usize::MAX);
    world.pass(Duration::from_secs(20));
    assert_eq!(peer.read(), "\n\r\n2\r\n:\n\r\n");
}

#[test]
fn a_topic_keeps_as_much_as_it_says() {
    let mut world = world(|_| ());
    let (peer, _) = open(&mut world, "a");
    peer.set_room(1_000_000);
    let mut cx = world.server.context();
    for _ in 0..1050 {
        cx.publish("a", data("x".repeat(1000))).unwrap();
    }
    world.settle();
    world.server.context().publish("a", data("one more")).unwrap();
    world.settle();
    assert!(world.server.handler().closed.is_empty(), "it lags by 64 kB, and the limit is 1 MiB");
}

#[test]
fn events_after_a_stream_was_closed_in_its_own_request_do_not_reach_it() {
    for close_delimited in [false, true] {
        let mut app = Router::new();
        app.sse("/", move |stream, _request, cx| {
            cx.subscribe(stream, "a")?;
            cx.publish("a", data("before"))?;
            cx.close(stream)?;
            cx.publish("a", data("after"))?;
            let reply = Reply::stream().topic("b");
            Ok::<_, Error>(if close_delimited { reply.close_delimited() } else { reply })
        });
        let mut world = Loop::new(app);
        let peer = world.connect();
        peer.write(get("/"));
        world.settle();
        let text = peer.read();
        let (_, body) = text.split_once("\r\n\r\n").unwrap();
        let expected =
            ["e\r\ndata: before\n\n\r\n0\r\n\r\n", "data: before\n\n"][usize::from(close_delimited)];
        assert_eq!(body, expected);
        assert_eq!(peer.is_shut(), close_delimited);
        let stats = world.server.stats();
        assert_eq!((stats.streams_opened, stats.closed(CloseReason::Application), stats.topics), (1, 1, 0));
    }
}

#[test]
fn a_timer_set_between_turns_counts_from_then() {
    let mut world = world(|_| ());
    let (peer, stream) = open(&mut world, "a");
    world.jump(Duration::from_secs(10));
    let five = Duration::from_secs(5);
    world.server.context().after(stream, five, |stream, cx| cx.send(stream, data("late"))).unwrap();
    world.settle();
    assert_eq!(peer.read(), "");
    world.pass(five);
    assert!(peer.read().contains("data: late"));
}

/// Each stream that closes closes the next.
struct Chain(Vec<StreamId>);
impl Handler for Chain {
    fn request(&mut self, _request: &Request<'_>, _cx: &mut Context<'_>) -> Reply {
        Reply::stream().into()
    }
    fn opened(&mut self, stream: StreamId, _request: &Request<'_>, _cx: &mut Context<'_>) {
        self.0.push(stream);
    }
    fn closed(&mut self, stream: StreamId, _reason: CloseReason, cx: &mut Context<'_>) {
        self.0.retain(|open| *open != stream);
        if let Some(next) = self.0.first() {
            // It may already have closed, without a report yet.
            let _ = cx.close(*next);
        }
    }
}

#[test]
fn sockets_are_closed_though_callbacks_go_on_to_end_streams() {
    let mut world = Loop::new(Chain(vec![]));
    let peers: Vec<_> = (0..100)
        .map(|_| {
            let peer = world.connect();
            peer.write(get("/"));
            world.settle();
            peer
        })
        .collect();
    peers[99].close();
    for _ in 0..3 {
        world.turn();
    }
    assert!(peers[99].is_closed());
}

#[test]
fn head_requests_do_not_fill_the_queue() {
    let mut config = Config::default();
    config.sends_per_turn = 8;
    let mut app = Router::new();
    app.sse("/", |stream, _request, cx| cx.send(stream, Event::new().data("hello")));
    let mut world = Loop::<_>::with_config(app, config);
    let (attacker, victim) = (world.connect(), world.connect());
    attacker.write("HEAD / HTTP/1.1\r\nHost:\r\n\r\n".repeat(2000));
    world.turn();
    world.turn();
    victim.write(get("/"));
    let mut turns = 0;
    while victim.read().is_empty() {
        world.turn();
        turns += 1;
    }
    assert!(turns <= 3, "{turns} turns for one stream");
}

#[test]
fn a_stop_between_turns_needs_no_wakeup() {
    let mut world = Loop::new(App::default());
    world.settle();
    world.server.context().stop();
    assert_eq!(world.server.next_timeout(), Some(Duration::ZERO));
}
