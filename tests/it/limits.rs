//! Limits of connections and streams: requests, timeouts, ages, and the counters of these.

use crate::memory_net::{Clock, Loop, Peer, check_accounts, get, subscribe};
use crate::support::{Client, ms, replies, secs, serve_with};
use mio_sse::{CloseReason, Config, Context, Error, Event, Handler, Reply, Request, Router, StreamId};
use std::sync::{Arc, Mutex};
use std::time::Duration;

type Reasons = Arc<Mutex<Vec<(StreamId, CloseReason)>>>;

/// Streams on topic `t`, with their ids and close reasons in order.
#[derive(Default)]
struct App {
    opened: Vec<StreamId>,
    closed: Vec<(StreamId, CloseReason)>,
    clock: Option<Clock>,
}

impl Handler for App {
    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
        match request.path() {
            "/page" => Reply::text("page"),
            "/echo" => Reply::bytes("text/plain", request.body().to_vec()),
            "/large" => Reply::text("0".repeat(1 << 20)),
            "/slow" => {
                if let Some(clock) = &self.clock {
                    clock.jump(secs(1));
                }
                Reply::text("slow")
            }
            "/ended" => {
                let stream = cx.stream().unwrap();
                cx.send(stream, Event::new().data("only")).unwrap();
                cx.close(stream).unwrap();
                Reply::stream().into()
            }
            "/hour" => Reply::stream().topic("t").max_age(secs(3600)).into(),
            "/second" => Reply::stream().topic("t").max_age(secs(1)).into(),
            _ => Reply::stream().topic("t").into(),
        }
    }

    fn opened(&mut self, stream: StreamId, _request: &Request<'_>, _cx: &mut Context<'_>) {
        self.opened.push(stream);
    }

    fn closed(&mut self, stream: StreamId, reason: CloseReason, cx: &mut Context<'_>) {
        self.closed.push((stream, reason));
        check_accounts(&cx.stats());
    }
}

fn world_with(config: Config) -> Loop<App> {
    Loop::with_config(App::default(), config)
}

fn ask(world: &mut Loop<App>, peer: &Peer, request: impl AsRef<[u8]>) -> String {
    peer.write(request);
    world.settle();
    peer.read()
}

fn requests(requests_max: usize) -> Config {
    let mut config = Config::default();
    config.requests_per_connection_max = requests_max;
    config
}

#[test]
fn the_last_request_that_a_connection_may_carry_says_so() {
    let mut world = world_with(requests(3));
    let peer = world.connect();
    for n in 1..=3 {
        let answer = ask(&mut world, &peer, get("/page"));
        assert_eq!(answer.contains("\r\nConnection: close\r\n"), n == 3, "{n}: {answer}");
    }
    assert!(peer.is_shut());
    peer.close();
    world.settle();
    assert_eq!(world.server.stats().connections_closed(CloseReason::RequestLimit), 1);
    check_accounts(&world.server.stats());
}

#[test]
fn requests_above_the_limit_of_a_connection_are_not_served() {
    for cut in [0, 10, 100] {
        let mut world = world_with(requests(3));
        let peer = world.connect();
        let pipeline = get("/page").repeat(10);
        let (first, second) = pipeline.split_at(cut);
        let answer = ask(&mut world, &peer, first) + &ask(&mut world, &peer, second);
        assert_eq!(replies(&answer).len(), 3);
        assert_eq!(answer.matches("Connection: close").count(), 1);
        assert_eq!(world.server.stats().requests, 3, "the handler was not called");
    }
}

#[test]
fn streams_and_bodies_are_requests_like_any_other() {
    let echo = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\nhi";
    let mut world = world_with(requests(4));
    let peer = world.connect();
    let pipeline =
        get("/ended") + echo + &get("/ended") + "HEAD /page HTTP/1.1\r\nHost: x\r\n\r\n" + &get("/page");
    let answer = ask(&mut world, &peer, pipeline);
    assert_eq!(answer.matches("HTTP/1.1 200 OK").count(), 4);
    let last = answer.rfind("HTTP/1.1 200 OK").unwrap();
    assert_eq!(answer.find("Connection: close").map(|at| at > last), Some(true), "only the last: {answer}");
    assert!(peer.is_shut());
}

#[test]
fn a_stream_that_is_the_last_request_closes_its_connection() {
    for limit in [1, 2] {
        let mut world = world_with(requests(limit));
        let peer = world.connect();
        let pipeline = get("/page").repeat(limit - 1) + &get("/stream") + &get("/page");
        let answer = ask(&mut world, &peer, pipeline);
        assert_eq!(answer.matches("Connection: close").count(), 1);
        assert!(answer.contains("Transfer-Encoding: chunked"), "still a stream like any other");
        let stream = world.server.handler().opened[0];
        world.server.context().close(stream).unwrap();
        world.settle();
        assert_eq!(peer.read(), "0\r\n\r\n");
        assert!(peer.is_shut());
        peer.close();
        world.settle();
        assert_eq!(world.server.stats().requests, limit as u64);
        let stats = world.server.stats();
        assert_eq!(stats.closed(CloseReason::Application), 1);
        assert_eq!(stats.connections_closed(CloseReason::RequestLimit), 1, "{stats:?}");
    }
}

#[test]
fn a_peer_that_drips_gets_408_and_is_closed() {
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n";
    for (begin, reason, least, most) in
        [("GET /page HT", CloseReason::HeadTimeout, 10, 11), (head, CloseReason::BodyTimeout, 30, 31)]
    {
        for reads in [true, false] {
            let mut world = world_with(Config::default());
            let peer = world.connect();
            if !reads {
                peer.set_room(7);
            }
            assert_eq!(ask(&mut world, &peer, begin), "");
            world.pass(secs(least) - ms(1));
            assert_eq!(peer.read(), "", "it has its time");
            world.pass(secs(most - least) + ms(1));
            let answer = peer.read();
            if reads {
                assert!(answer.starts_with("HTTP/1.1 408 Request Timeout\r\nDate: "), "{answer}");
                assert!(!answer.contains("Date: Thu, 01 Jan 1970"), "{answer}");
                assert!(answer.contains("\r\nConnection: close\r\n"));
                assert!(peer.is_shut());
            } else {
                assert_eq!(answer, "HTTP/1.");
                assert!(!peer.is_shut());
            }
            // Input from now on is too late.
            assert_eq!(ask(&mut world, &peer, get("/page")), "");
            let patience = if reads { secs(4) } else { secs(32) };
            world.pass(patience);
            assert!(peer.is_closed());
            let stats = world.server.stats();
            let reason = if reads { reason } else { CloseReason::Stalled };
            assert_eq!((stats.connections_closed(reason), stats.requests), (1, 0), "{stats:?}");
            check_accounts(&stats);
        }
    }
}

#[test]
fn a_connection_without_a_further_request_is_idle() {
    let mut world = world_with(Config::default());
    let peer = world.connect();
    ask(&mut world, &peer, get("/page"));
    world.pass(secs(74));
    assert!(!peer.is_closed());
    world.pass(secs(3));
    assert_eq!(peer.read(), "", "closed without a reply: there was no request");
    assert!(peer.is_closed());
    assert_eq!(world.server.stats().connections_closed(CloseReason::IdleTimeout), 1);
}

/// A configuration with this maximum age.
fn aged(age: Option<Duration>) -> Config {
    let mut config = Config::default();
    config.max_age = age;
    // Days pass in these tests.
    config.heartbeat = None;
    config
}

#[test]
fn every_stream_ends_cleanly_between_three_quarters_of_the_longest_age_and_all_of_it() {
    for (age, step) in [(ms(100), ms(1)), (secs(10), ms(20)), (secs(100), ms(250)), (secs(10_000), secs(20))]
    {
        let mut world = world_with(aged(Some(age)));
        // Some streams open a little later, and the clock of ages wraps at different times.
        let mut open = Vec::new();
        for _ in 0..60 {
            let peer = world.connect();
            ask(&mut world, &peer, subscribe("/stream"));
            open.push((peer, world.now()));
            world.pass(age / 400);
        }
        let mut ages = Vec::new();
        while !open.is_empty() {
            world.pass(step);
            let now = world.now();
            open.retain(|(peer, begun)| {
                let body = peer.read();
                if body.ends_with("0\r\n\r\n") {
                    ages.push(now - *begun);
                }
                assert!(!body.ends_with("0\r\n\r\n") || !peer.is_shut(), "the connection goes on");
                now - *begun <= age + step && !body.ends_with("0\r\n\r\n")
            });
        }
        assert_eq!(ages.len(), 60, "of {age:?}: all have ended cleanly by then");
        let (least, most) = (*ages.iter().min().unwrap(), *ages.iter().max().unwrap());
        assert!(least >= age * 3 / 4 && most <= age + step, "{age:?}: from {least:?} to {most:?}");
        assert!(most - least > age / 8, "they differ: from {least:?} to {most:?}");
        assert_eq!(world.server.stats().closed(CloseReason::MaxAge), 60);
        assert!(world.server.handler().closed.iter().all(|(_, reason)| *reason == CloseReason::MaxAge));
    }
}

#[test]
fn a_loop_that_was_held_up_does_not_take_the_old_for_young() {
    let age = secs(10);
    for hundredths in (50..700).step_by(7) {
        let mut world = world_with(aged(Some(age)));
        let peer = world.connect();
        ask(&mut world, &peer, subscribe("/stream"));
        world.jump(age * hundredths / 100);
        // A young stream in a later slot.
        let other = world.connect();
        ask(&mut world, &other, subscribe("/stream"));
        world.pass(age * 60 / 100);
        let body = peer.read();
        assert!(body.ends_with("0\r\n\r\n"), "after {hundredths} hundredths of the age, and 60: {body}");
        assert_eq!(world.server.stats().streams, 1, "the other goes on");
    }
}

#[test]
fn a_stream_is_never_older_than_it_may_be_in_whatever_slot() {
    let age = secs(10);
    for offset in [0, 99, 100, 250, 300] {
        let mut world = world_with(aged(Some(age)));
        let peers: Vec<_> = (0..200).map(|_| world.connect()).collect();
        // Between two ticks of the clock of ages and two visits of the sweep.
        world.pass(ms(offset));
        peers.iter().for_each(|peer| peer.write(subscribe("/stream")));
        world.settle();
        world.pass(age);
        assert_eq!(world.server.stats().streams, 0, "after {age:?} all have ended");
    }
}

/// The clock of ages has one byte, which tells old from young only for so long.
#[test]
fn a_stream_that_is_too_old_is_closed_however_long_the_loop_was_held_up() {
    for held_up in [ms(50), ms(110), ms(240), ms(300), ms(500)] {
        let mut world = world_with(aged(Some(ms(100))));
        let peer = world.connect();
        ask(&mut world, &peer, subscribe("/stream"));
        world.pass(ms(60));
        world.jump(held_up);
        world.pass(ms(5));
        assert_eq!(world.server.stats().streams, 0, "after {held_up:?}");
    }
}

#[test]
fn an_age_of_its_own_is_kept_exactly_whatever_the_config_says() {
    for config in [None, Some(ms(500)), Some(secs(100_000))] {
        let mut world = world_with(aged(config));
        let (second, hour) = (world.connect(), world.connect());
        for (peer, path) in [(&second, "/second"), (&hour, "/hour")] {
            ask(&mut world, peer, subscribe(path));
        }
        assert_eq!(world.server.stats().timers, 2);
        world.pass(ms(999));
        assert!(!second.read().ends_with("0\r\n\r\n"));
        world.pass(ms(1));
        assert!(second.read().ends_with("0\r\n\r\n"), "{config:?}");
        assert_eq!(world.server.stats().timers, 1);
        assert!(ask(&mut world, &second, get("/page")).ends_with("page"), "the connection goes on");
        world.pass(secs(3598));
        assert!(!hour.read().ends_with("0\r\n\r\n"));
        world.pass(secs(1));
        assert!(hour.read().ends_with("0\r\n\r\n"), "{config:?}");
        let stats = world.server.stats();
        assert_eq!((stats.timers, stats.closed(CloseReason::MaxAge)), (0, 2));
    }
}

#[test]
fn the_timer_of_an_age_dies_with_its_stream() {
    let mut world = world_with(Config::default());
    for way in 0..3 {
        let peer = world.connect();
        ask(&mut world, &peer, subscribe("/second"));
        assert_eq!(world.server.stats().timers, 1);
        let stream = *world.server.handler().opened.last().unwrap();
        match way {
            0 => peer.close(),
            1 => peer.reset(),
            _ => world.server.context().close(stream).unwrap(),
        }
        world.settle();
        assert_eq!(world.server.stats().timers, 0, "{way}");
        // A new stream in the same slot is not affected.
        let next = world.connect();
        ask(&mut world, &next, subscribe("/stream"));
        world.pass(secs(2));
        assert_eq!(world.server.stats().streams, 1);
        assert_eq!(world.server.stats().closed(CloseReason::MaxAge), 0);
        next.close();
        world.settle();
    }
}

#[test]
fn without_a_longest_age_a_stream_is_open_for_ever() {
    let mut world = world_with(aged(None));
    let peer = world.connect();
    ask(&mut world, &peer, subscribe("/stream"));
    world.pass(secs(30 * 3600));
    assert!(!peer.read().ends_with("0\r\n\r\n"));
    assert_eq!(world.server.stats().streams, 1);
}

fn half_closed(half_closed: bool) -> Config {
    let mut config = Config::default();
    config.half_closed = half_closed;
    config
}

#[test]
fn a_peer_that_has_done_sending_gets_its_stream_only_where_that_is_wanted() {
    for wanted in [true, false] {
        for with_the_request in [true, false] {
            let mut world = world_with(half_closed(wanted));
            let peer = world.connect();
            peer.write(get("/stream"));
            if !with_the_request {
                world.settle();
            }
            peer.close();
            world.settle();
            assert_eq!(peer.is_closed(), !wanted);
            let stats = world.server.stats();
            assert_eq!(stats.closed(CloseReason::PeerClosed), u64::from(!wanted));
            if !wanted {
                continue;
            }
            let (turns, reads) = (stats.turns, peer.reads());
            world.pass(secs(60));
            assert!(world.server.stats().turns - turns < 1000, "it does not spin");
            assert_eq!(peer.reads(), reads, "nothing is to be read");
            assert!(peer.read().ends_with(":\n\r\n"), "with heartbeats");
            world.server.context().publish("t", Event::new().data("later")).unwrap();
            world.settle();
            assert!(peer.read().contains("data: later"));

            // It closes properly, and so does its connection, as there will be no other request.
            let stream = world.server.handler().opened[0];
            world.server.context().close(stream).unwrap();
            world.settle();
            assert_eq!(peer.read(), "0\r\n\r\n");
            assert!(peer.is_closed());
            let stats = world.server.stats();
            assert_eq!(stats.closed(CloseReason::Application), 1);
            assert_eq!(stats.connections_closed(CloseReason::PeerClosed), 1);
            check_accounts(&stats);
        }
    }
}

#[test]
fn requests_after_a_stream_are_served_also_for_a_half_closed_peer() {
    let mut world = world_with(half_closed(true));
    let peer = world.connect();
    peer.write(get("/page") + &get("/ended") + &get("/stream") + &get("/page"));
    peer.close();
    world.settle();
    let stream = world.server.handler().opened[1];
    world.server.context().close(stream).unwrap();
    world.settle();
    let answer = peer.read();
    assert_eq!(replies(&answer).len(), 4, "{answer}");
    assert!(peer.is_closed());
}

#[test]
fn a_half_closed_peer_that_resets_is_gone() {
    let mut world = world_with(half_closed(true));
    let peer = world.connect();
    peer.write(get("/stream"));
    peer.close();
    world.settle();
    peer.reset();
    world.settle();
    assert!(peer.is_closed());
    assert_eq!(world.server.stats().closed(CloseReason::Reset), 1);
}

#[test]
fn a_real_peer_that_has_done_sending_gets_its_stream_to_the_end() {
    let mut config = half_closed(true);
    config.heartbeat = Some(ms(20));
    let ids = Arc::new(Mutex::new(Vec::new()));
    let (mut app, sink) = (Router::new(), ids.clone());
    app.sse("/", move |stream, _request, _cx| {
        sink.lock().unwrap().push(stream);
        Reply::stream().topic("t")
    });
    let server = serve_with(app, config);
    let mut client: Client = server.connect();
    client.write(get("/"));
    client.shutdown_write();
    assert_eq!(client.head().status, 200);
    let before = server.wait_for("some heartbeats", |stats| stats.heartbeats > 3);
    let after = server.wait_for("some more heartbeats", |stats| stats.heartbeats > before.heartbeats + 5);
    // Each request for the stats takes a turn or two as well, so this only shows that time passes in between.
    assert_eq!(after.connections, 1);
    server.publisher.publish("t", Event::new().data("later")).unwrap();
    assert_eq!(client.data(1), ["later"]);
    let stream = ids.lock().unwrap()[0];
    server.publisher.close(stream).unwrap();
    client.events_to_end();
    client.wait_for_close();
    server.wait_for("it is gone", |stats| stats.connections == 0);
}

#[test]
fn waiting_bytes_are_counted_and_the_count_returns_to_zero() {
    let mut config = Config::default();
    config.stall_timeout = secs(5);
    let mut world = world_with(config);
    let peers: Vec<_> = (0..6).map(|_| world.connect()).collect();
    for peer in &peers {
        ask(&mut world, peer, subscribe("/stream"));
        peer.set_room(3);
    }
    let ids = world.server.handler().opened.clone();
    for _ in 0..10 {
        world.server.context().publish("t", Event::new().data("x".repeat(100))).unwrap();
    }
    world.server.context().send(ids[0], Event::new().data("private")).unwrap();
    world.settle();
    let stats = world.server.stats();
    assert_eq!(stats.streams_behind, 6);
    assert!(stats.log_bytes >= 1000, "{stats:?}");
    // Each closes, or stays open, in another way.
    peers[0].set_room(usize::MAX);
    peers[1].close();
    peers[2].reset();
    world.server.context().close(ids[3]).unwrap();
    world.server.context().unsubscribe(ids[4], "t").unwrap();
    world.settle();
    peers[4].set_room(usize::MAX);
    world.settle();
    assert_eq!(world.server.stats().streams_behind, 2, "the one that is ending and the one that stalls");
    world.pass(secs(8));
    let stats = world.server.stats();
    assert_eq!((stats.streams_behind, stats.log_bytes), (0, 0));
    assert_eq!((stats.streams, stats.closed(CloseReason::Stalled)), (2, 1));
    check_accounts(&stats);
}

#[test]
fn the_accounts_are_right_in_every_snapshot_also_in_the_middle_of_a_turn() {
    let reasons = Reasons::default();
    let (mut app, sink) = (Router::new(), reasons.clone());
    app.sse("/", move |stream, _request, cx| {
        let sink = sink.clone();
        cx.every(stream, ms(1), |_, cx| check_accounts(&cx.stats()))?;
        cx.on_close(stream, move |reason, cx| {
            check_accounts(&cx.stats());
            sink.lock().unwrap().push((stream, reason));
        })?;
        check_accounts(&cx.stats());
        Ok::<_, Error>(())
    });
    let mut world = Loop::new(app);
    world.server.context().every_global(ms(1), |cx| check_accounts(&cx.stats()));
    for round in 0..20 {
        let peers: Vec<_> = (0..5).map(|_| world.connect()).collect();
        peers.iter().for_each(|peer| peer.write(get("/")));
        world.pass(ms(2));
        for (n, peer) in peers.iter().enumerate() {
            if (n + round) % 2 == 0 { peer.close() } else { peer.reset() }
        }
        world.jump(ms(3));
        world.settle();
        assert_eq!(world.server.stats().panics, 0, "no snapshot was wrong");
    }
    assert_eq!(reasons.lock().unwrap().len(), 100);
    assert_eq!(world.server.stats().connections, 0);
}

#[test]
fn a_turn_that_takes_too_long_is_counted_in_its_class() {
    let mut world = world_with(Config::default());
    let clock = world.clock();
    world.server.handler().clock = Some(clock);
    let peer = world.connect();
    ask(&mut world, &peer, get("/page"));
    assert_eq!(world.server.stats().slow_turns, 0);
    assert!(ask(&mut world, &peer, get("/slow")).ends_with("slow"));
    let stats = world.server.stats();
    assert_eq!((stats.slow_turns, stats.turn_time_max, stats.turn_time), (1, secs(1), secs(1)));
    let mut turns = [0; 9];
    turns[0] = stats.turns - 1;
    turns[7] = 1;
    assert_eq!(stats.turn_times(), turns, "of a second at most");
    ask(&mut world, &peer, get("/slow") + &get("/slow"));
    assert_eq!(world.server.stats().turn_times()[8], 1, "longer than all");
    assert_eq!(world.server.stats().slow_turns, 2);
}
