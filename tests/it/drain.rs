//! Graceful shutdown: every stream gets all events, then a farewell, at a time of its own, and then the
//! server stops.

use crate::memory_net::{Loop, Peer, check_accounts, get, subscribe};
use crate::support::{ms, replies, secs, serve};
use mio_sse::{
    CloseReason, Config, Context, Drain, Error, Event, Handler, Refusal, Reply, Request, Router, StreamId,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Streams on topic `t`, and a callback of each kind that can be asked to drain.
#[derive(Default)]
struct App {
    opened: Vec<StreamId>,
    closed: Vec<CloseReason>,
    /// The callback that drains.
    drains: &'static str,
}

impl App {
    fn at(&self, place: &str, cx: &mut Context<'_>) {
        if self.drains == place && !cx.is_draining() {
            cx.drain(Drain::within(secs(10)).farewell(Event::new().data("bye"))).unwrap();
            assert!(cx.is_draining());
        }
    }
}

impl Handler for App {
    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
        self.at(request.path(), cx);
        match request.path() {
            "/page" => Reply::text("page"),
            "/echo" => Reply::bytes("text/plain", request.body().to_vec()),
            "/large" => Reply::text("0".repeat(100_000)),
            "/finish" => Reply::stream().topic("t").finish().into(),
            "/10" => Reply::stream().topic("t").close_delimited().into(),
            _ => Reply::stream().topic("t").into(),
        }
    }

    fn opened(&mut self, stream: StreamId, _request: &Request<'_>, cx: &mut Context<'_>) {
        self.opened.push(stream);
        self.at("opened", cx);
    }

    fn closed(&mut self, _stream: StreamId, reason: CloseReason, cx: &mut Context<'_>) {
        self.closed.push(reason);
        self.at("closed", cx);
    }

    fn started(&mut self, cx: &mut Context<'_>) {
        self.at("started", cx);
    }
}

fn world() -> Loop<App> {
    world_with(Config::default())
}

fn world_with(config: Config) -> Loop<App> {
    Loop::with_config(App::default(), config)
}

fn ask(world: &mut Loop<App>, peer: &Peer, request: impl AsRef<[u8]>) -> String {
    peer.write(request);
    world.settle();
    peer.read()
}

fn streams(world: &mut Loop<App>, count: usize, path: &str) -> Vec<Peer> {
    let peers: Vec<_> = (0..count).map(|_| world.connect()).collect();
    for peer in &peers {
        assert!(ask(world, peer, subscribe(path)).contains("text/event-stream"));
    }
    peers
}

fn drain(world: &mut Loop<App>, drain: impl Into<Drain>) {
    world.server.context().drain(drain).unwrap();
    world.settle();
}

/// Peers that have seen the end close their side too, as clients do.
fn answer_ends(world: &mut Loop<App>, peers: &[Peer]) {
    peers.iter().filter(|peer| peer.is_shut()).for_each(Peer::close);
    world.settle();
}

/// Advances the time until the server has stopped. Returns how long that took. Peers close when they see the
/// end.
fn until_stopped(world: &mut Loop<App>, peers: &[Peer], limit: Duration) -> Duration {
    let begun = world.now();
    loop {
        answer_ends(world, peers);
        if world.server.is_stopped() {
            return world.now() - begun;
        }
        assert!(world.now() - begun <= limit, "it stops within {limit:?}: {:?}", world.server);
        world.pass(ms(100));
    }
}

#[test]
fn connections_in_high_slots_are_closed_even_if_those_in_low_ones_have_left() {
    let mut world = world();
    let peers = streams(&mut world, 10, "/stream");
    peers[..8].iter().for_each(Peer::close);
    world.settle();
    drain(&mut world, secs(10));
    world.pass(secs(9));
    assert!(peers[8..].iter().all(|peer| peer.read().ends_with("0\r\n\r\n")));
    assert!(!world.server.is_stopped());
}

#[test]
fn streams_are_closed_one_by_one_over_the_window_each_with_a_farewell() {
    let mut world = world();
    let peers = streams(&mut world, 100, "/stream");
    let begun = world.now();
    world
        .server
        .context()
        .drain(Drain::within(secs(10)).farewell(Event::new().data("bye")).retry(secs(30)))
        .unwrap();
    let mut moments = vec![None; 100];
    let mut retries = Vec::new();
    while !world.server.is_stopped() {
        world.settle();
        for (peer, moment) in peers.iter().zip(&mut moments) {
            let body = peer.read();
            if body.is_empty() {
                continue;
            }
            assert!(moment.is_none(), "bytes after the end: {body}");
            *moment = Some(world.now() - begun);
            let rest = body.strip_prefix("b\r\ndata: bye\n\n\r\n").unwrap_or_else(|| panic!("{body}"));
            let retry = rest.split_once("\r\nretry: ").unwrap().1.strip_suffix("\n\r\n0\r\n\r\n").unwrap();
            retries.push(retry.parse::<u64>().unwrap());
        }
        answer_ends(&mut world, &peers);
        if !world.server.is_stopped() {
            world.pass(ms(10));
        }
    }
    let moments: Vec<_> = moments.into_iter().map(Option::unwrap).collect();
    assert!(moments.iter().all(|moment| *moment <= secs(9)), "{moments:?}");
    for second in 0..9 {
        let here = moments.iter().filter(|moment| (secs(second)..secs(second + 1)).contains(*moment)).count();
        assert!((10..=12).contains(&here), "{second}: {moments:?}");
    }
    assert!(world.now() - begun < secs(9), "when all have gone it is over, without the rest of the window");
    retries.sort_unstable();
    assert!(retries[0] >= 30_000 && retries[99] <= 60_000 && retries[99] - retries[0] > 25_000);
    retries.dedup();
    assert!(retries.len() > 90);
    let stats = world.server.stats();
    assert_eq!((stats.closed(CloseReason::Drained), stats.connections), (100, 0));
    assert_eq!(stats.connections_closed(CloseReason::Drained), 100);
    assert_eq!(stats.events_sent, 100, "farewells are events");
    check_accounts(&stats);
    assert_eq!(world.server.handler().closed, [CloseReason::Drained; 100]);
}

#[test]
fn nobody_is_let_in_any_more() {
    let mut world = world();
    let peers = streams(&mut world, 2, "/stream");
    let waiting = world.connect();
    drain(&mut world, secs(10));
    assert!(!world.is_listening());
    let late = world.connect();
    world.settle();
    assert!(late.is_closed() && waiting.is_closed());
    let stats = world.server.stats();
    assert_eq!((stats.accepted, stats.connections), (2, 2));
    until_stopped(&mut world, &peers, secs(10));
}

#[test]
fn a_drain_completes_without_free_descriptors() {
    let mut world = world();
    world.set_descriptors(12);
    let mut peers = streams(&mut world, 4, "/stream");
    peers.extend((0..20).map(|_| world.connect()));
    world.settle();
    let accepts = world.accepts();
    drain(&mut world, secs(30));
    world.pass(secs(1));
    assert_eq!(world.accepts(), accepts);
    assert_eq!(peers.iter().filter(|peer| peer.is_closed()).count(), 12 + 8, "all but the streams");
    until_stopped(&mut world, &peers, secs(30));
    check_accounts(&world.server.stats());
}

#[test]
fn waiting_events_come_before_the_farewell_in_every_framing() {
    for (path, ends) in [("/stream", "\r\n0\r\n\r\n"), ("/10", "data: bye\n\n")] {
        let mut world = world();
        let peers = streams(&mut world, 3, path);
        peers[1].set_room(5);
        peers[2].set_room(5);
        world.server.context().publish("t", Event::new().data("first")).unwrap();
        world.settle();
        world.server.context().publish("t", Event::new().data("second")).unwrap();
        drain(&mut world, Drain::within(secs(10)).farewell(Event::new().data("bye")));
        world.pass(secs(9));
        peers[1].set_room(usize::MAX);
        world.settle();
        for peer in &peers[..2] {
            let body = peer.read();
            let [first, second, bye] =
                ["first", "second", "bye"].map(|data| body.find(data).expect("all of it"));
            assert!(first < second && second < bye && body.ends_with(ends), "{body:?}");
            assert!(peer.is_shut());
        }
        answer_ends(&mut world, &peers);
        assert!(!world.server.is_stopped(), "one is left that may still read");
        assert!(until_stopped(&mut world, &peers, secs(2)) <= secs(1), "it does not prolong the window");
        assert_eq!(world.server.handler().closed, [CloseReason::Drained; 3]);
        check_accounts(&world.server.stats());
    }
}

#[test]
fn a_drain_during_a_long_fan_out_loses_no_event() {
    let mut config = Config::default();
    config.sends_per_turn = 3;
    let mut world = world_with(config);
    let peers = streams(&mut world, 40, "/stream");
    for round in 0..3 {
        world.server.context().publish("t", Event::new().data(format!("event {round}"))).unwrap();
        world.turn();
    }
    world.server.context().drain(Drain::within(ms(100)).farewell(Event::new().data("bye"))).unwrap();
    // All streams but the first are to be closed in the middle of it.
    world.jump(ms(95));
    for _ in 0..200 {
        world.turn();
    }
    for peer in &peers {
        let body = peer.read();
        let at: Vec<_> =
            ["event 0", "event 1", "event 2", "bye"].map(|data| body.find(data).expect("all of it")).into();
        assert!(at.is_sorted() && body.ends_with("0\r\n\r\n"), "{body}");
    }
    until_stopped(&mut world, &peers, ms(100));
}

#[test]
fn a_stream_that_is_to_finish_is_left_to_end_by_itself() {
    let mut world = world();
    let mut peers = streams(&mut world, 2, "/stream");
    peers.extend(streams(&mut world, 1, "/finish"));
    drain(&mut world, Drain::within(secs(20)).farewell(Event::new().data("bye")));
    world.pass(secs(15));
    answer_ends(&mut world, &peers);
    world.server.context().publish("t", Event::new().data("more")).unwrap();
    world.settle();
    let body = peers[2].read();
    assert!(body.contains("data: more") && !body.contains("bye"), "{body}");
    assert_eq!(world.server.stats().streams, 1);
    let stream = world.server.handler().opened[2];
    world.server.context().close(stream).unwrap();
    world.settle();
    assert_eq!(peers[2].read(), "0\r\n\r\n");
    let left = until_stopped(&mut world, &peers, secs(6));
    assert!(left <= ms(100), "with it everything has ended; {left:?} longer");
    let closed = [CloseReason::Drained, CloseReason::Drained, CloseReason::Application];
    assert_eq!(world.server.handler().closed, closed);
    check_accounts(&world.server.stats());
}

#[test]
fn a_stream_that_does_not_finish_is_ended_with_the_window() {
    let mut world = world();
    let peers = streams(&mut world, 1, "/finish");
    drain(&mut world, Drain::within(secs(20)).farewell(Event::new().data("bye")).retry(secs(1)));
    let took = until_stopped(&mut world, &peers, secs(21));
    assert_eq!(took, secs(20));
    let body = peers[0].read();
    assert!(body.contains("data: bye\n\n\r\n") && body.contains("retry: ") && body.ends_with("0\r\n\r\n"));
    assert!(peers[0].is_closed());
}

#[test]
fn connections_between_two_requests_are_closed_and_pending_requests_served() {
    let mut world = world();
    let peers: Vec<_> = (0..4).map(|_| world.connect()).collect();
    for peer in &peers {
        ask(&mut world, peer, get("/page"));
    }
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\n\r\n";
    assert_eq!(ask(&mut world, &peers[1], "GET /pa"), "");
    assert_eq!(ask(&mut world, &peers[2], format!("{head}h")), "");
    peers[3].set_room(50_000);
    let begun = ask(&mut world, &peers[3], get("/large"));
    drain(&mut world, secs(20));
    world.pass(secs(5));
    assert!(peers[0].is_closed(), "it has asked for nothing");
    assert_eq!(peers[0].read(), "");
    world.pass(secs(3));
    let (first, second) =
        (ask(&mut world, &peers[1], "ge HTTP/1.1\r\nHost: x\r\n\r\n"), ask(&mut world, &peers[2], "i"));
    for (answer, body) in [(first, "page"), (second, "hi")] {
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        assert_eq!(replies(&answer), [(200, body.to_owned())]);
    }
    world.pass(secs(10));
    peers[3].set_room(usize::MAX);
    world.settle();
    let answer = begun + &peers[3].read();
    assert_eq!(replies(&answer)[0].1.len(), 100_000);
    let left = until_stopped(&mut world, &peers, secs(10));
    assert!(left <= ms(100), "with it everything has ended; {left:?} longer");
    assert_eq!(world.server.stats().connections_closed(CloseReason::Drained), 4);
    check_accounts(&world.server.stats());
}

#[test]
fn requests_pipelined_after_a_slow_reply_are_served_in_a_drain_too() {
    let mut world = world();
    let peers = [world.connect()];
    peers[0].set_room(50_000);
    let mut answer = ask(&mut world, &peers[0], get("/large") + &get("/page") + &get("/page"));
    drain(&mut world, secs(20));
    world.pass(secs(10));
    peers[0].set_room(usize::MAX);
    world.settle();
    answer += &peers[0].read();
    let replies = replies(&answer);
    assert_eq!((replies.len(), replies[1].1.as_str()), (2, "page"), "and the last of them says that it is");
    assert_eq!(answer.matches("Connection: close").count(), 1);
    until_stopped(&mut world, &peers, ms(100));
}

#[test]
fn a_stream_that_was_ending_when_its_moment_came_does_not_hold_up_the_end() {
    let mut world = world();
    let peers = streams(&mut world, 1, "/stream");
    peers[0].set_room(3);
    let stream = world.server.handler().opened[0];
    world.server.context().close(stream).unwrap();
    world.settle();
    drain(&mut world, secs(20));
    world.pass(secs(1));
    peers[0].set_room(usize::MAX);
    world.settle();
    assert!(peers[0].read().ends_with("0\r\n\r\n"));
    assert!(until_stopped(&mut world, &peers, secs(20)) <= ms(100));
}

#[test]
fn a_silent_connection_does_not_hold_up_the_end() {
    let mut world = world();
    let peer = world.connect();
    world.settle();
    drain(&mut world, secs(60));
    let took = until_stopped(&mut world, &[peer], secs(60));
    assert!(took <= secs(1), "{took:?}");
}

#[test]
fn a_new_stream_on_a_connection_that_is_there_is_refused() {
    let mut world = world();
    // A request that has begun is served.
    let (begun, rest) = (&subscribe("/stream")[..5], &subscribe("/stream")[5..]);
    let peer = world.connect();
    ask(&mut world, &peer, begun);
    drain(&mut world, secs(60));
    let soft = ask(&mut world, &peer, rest);
    assert!(soft.contains("\r\n\r\nretry: ") && soft.contains("\r\nConnection: close\r\n"), "{soft}");
    // The retry time of the drain overrides that of the limits.
    let mut world = self::world();
    let peer = world.connect();
    ask(&mut world, &peer, begun);
    drain(&mut world, Drain::within(secs(60)).retry(secs(100)));
    let later = ask(&mut world, &peer, rest);
    let retry: u64 = later.split_once("retry: ").unwrap().1.trim_end().parse().unwrap();
    assert!((100_000..=200_000).contains(&retry), "{retry}");
}

#[test]
fn clients_other_than_event_source_get_503() {
    let mut world = world();
    let peers = [world.connect()];
    ask(&mut world, &peers[0], "GET /st");
    drain(&mut world, secs(60));
    let hard = ask(&mut world, &peers[0], "ream HTTP/1.1\r\nHost: x\r\n\r\n");
    assert!(hard.starts_with("HTTP/1.1 503 ") && hard.contains("\r\nRetry-After: "), "{hard}");
    let stats = world.server.stats();
    assert_eq!((stats.refused(Refusal::Draining), stats.streams_opened), (1, 0));
    assert!(until_stopped(&mut world, &peers, secs(60)) <= ms(100));
}

#[test]
fn the_second_time_means_now() {
    for again in [false, true] {
        let mut world = world();
        let peers = streams(&mut world, 10, "/stream");
        drain(&mut world, Drain::within(secs(60)).farewell(Event::new().data("bye")));
        world.pass(secs(1));
        if again {
            // The settings of the second drain are ignored, even if they are invalid.
            world.server.context().drain(secs(60)).unwrap();
        } else {
            world.server.context().stop();
        }
        world.settle();
        assert!(world.server.is_stopped());
        for peer in &peers {
            assert!(
                peer.read().ends_with("b\r\ndata: bye\n\n\r\n0\r\n\r\n"),
                "they get the farewell now, too"
            );
            assert!(peer.is_closed());
        }
        assert_eq!(world.server.handler().closed, [CloseReason::Drained; 10]);
        check_accounts(&world.server.stats());
    }
}

#[test]
fn a_window_of_nothing_is_a_stop_with_a_farewell() {
    let mut world = world();
    let peers = streams(&mut world, 10, "/stream");
    world.server.context().drain(Drain::within(Duration::ZERO).farewell(Event::new().data("bye"))).unwrap();
    world.turn();
    assert!(world.server.is_stopped());
    for peer in &peers {
        assert!(peer.read().ends_with("b\r\ndata: bye\n\n\r\n0\r\n\r\n"));
    }
    assert_eq!(world.server.handler().closed, [CloseReason::Drained; 10]);
}

#[test]
fn clients_that_read_get_everything_before_a_stop() {
    let mut world = world();
    let peers = streams(&mut world, 1, "/stream");
    peers[0].set_room(0);
    for _ in 0..10 {
        world.server.context().publish("t", Event::new().data("x".repeat(90_000))).unwrap();
        // Each event has a block of its own, so that one visit does not write all of them.
        world.settle();
    }
    peers[0].set_room(usize::MAX);
    world.server.context().drain(Drain::within(Duration::ZERO).farewell(Event::new().data("bye"))).unwrap();
    world.turn();
    assert!(world.server.is_stopped());
    let body = peers[0].read();
    assert!(
        body.len() > 900_000 && body.ends_with("b\r\ndata: bye\n\n\r\n0\r\n\r\n"),
        "only {} bytes",
        body.len()
    );
}

#[test]
fn a_window_without_end_is_no_more_than_long() {
    let mut world = world();
    world.pass(secs(1));
    let peers = streams(&mut world, 2, "/stream");
    drain(&mut world, Drain::within(Duration::MAX).retry(Duration::MAX));
    world.pass(secs(1000));
    assert_eq!(world.server.stats().streams, 1, "the first moment is at once");
    assert!(peers[0].read().contains("retry: "));
}

#[test]
fn a_drain_without_connections_ends_at_once() {
    for run_before in [false, true] {
        let mut world = world();
        if run_before {
            let peers = streams(&mut world, 3, "/stream");
            peers.iter().for_each(Peer::close);
            world.settle();
        }
        world.server.context().drain(secs(60)).unwrap();
        assert_eq!(
            world.server.next_timeout(),
            Some(Duration::ZERO),
            "there is something to do: {run_before}"
        );
        world.turn();
        assert!(world.server.is_stopped());
        assert_eq!(world.server.next_timeout(), None);
    }
}

#[test]
fn the_loop_never_sleeps_past_a_close() {
    let mut config = Config::default();
    // Nothing else wakes the loop more often than once a second.
    config.linger = secs(60);
    let mut world = world_with(config);
    let peers = streams(&mut world, 10, "/stream");
    world.server.context().drain(secs(10)).unwrap();
    for gone in 1..10 {
        world.settle();
        assert_eq!(world.server.stats().closed(CloseReason::Drained), gone);
        // The closes are nine tenths of a second apart.
        let mut slept = Duration::ZERO;
        while slept < ms(900) {
            let timeout = world.server.next_timeout().expect("there is more to come");
            slept += timeout;
            world.jump(timeout);
            world.turn();
        }
        assert_eq!(slept, ms(900), "not past the next one");
    }
    drop(peers);
}

#[test]
fn a_farewell_that_cannot_be_written_is_an_error_and_nothing_happens() {
    let invalid = || Drain::within(secs(1)).farewell(Event::new().data("x").event("two\nlines"));
    let mut world = world();
    let peers = streams(&mut world, 1, "/stream");
    assert!(matches!(world.server.context().drain(invalid()), Err(Error::InvalidEvent(_))));
    assert!(matches!(world.server.publisher().drain(invalid()), Err(Error::InvalidEvent(_))));
    world.pass(secs(2));
    assert!(!world.server.is_stopped() && !world.server.context().is_draining());
    assert!(world.is_listening());
    assert_eq!(world.server.stats().streams, 1);
    drop(peers);
}

#[test]
fn every_callback_may_begin_a_drain() {
    let places = [
        "started",
        "/page",
        "/stream",
        "/late",
        "opened",
        "closed",
        "timer",
        "global",
        "on_close",
        "publisher",
    ];
    for place in places {
        let mut world = world();
        world.server.handler().drains = place;
        // A handler that drains and returns a stream gets none.
        let early = if ["started", "/stream"].contains(&place) { 0 } else { 1 };
        let peers: Vec<_> = (0..2).map(|_| world.connect()).collect();
        world.settle();
        for peer in &peers {
            peer.write(subscribe("/stream"));
        }
        world.settle();
        let first = world.server.handler().opened.first().copied();
        let bye = || Drain::within(secs(10)).farewell(Event::new().data("bye"));
        match place {
            "timer" => {
                world.server.context().after(first.unwrap(), ms(5), move |_, cx| cx.drain(bye())).unwrap();
            }
            "global" => _ = world.server.context().after_global(ms(5), move |cx| cx.drain(bye())),
            "on_close" => {
                world
                    .server
                    .context()
                    .on_close(first.unwrap(), move |_, cx| cx.drain(bye()).unwrap())
                    .unwrap();
                world.server.context().close(first.unwrap()).unwrap();
            }
            "closed" => world.server.context().close(first.unwrap()).unwrap(),
            "publisher" => world.server.publisher().drain(bye()).unwrap(),
            "/page" | "/late" => {
                let page = world.connect();
                world.settle();
                page.write(get(place));
                world.settle();
                page.close();
            }
            _ => {}
        }
        world.pass(ms(10));
        if !world.server.is_stopped() {
            assert!(world.server.context().is_draining(), "{place}");
        }
        until_stopped(&mut world, &peers, secs(11));
        let opened = world.server.handler().opened.len();
        assert!(opened >= early && world.server.handler().closed.len() == opened, "{place}");
        check_accounts(&world.server.stats());
        for (peer, nth) in peers.iter().zip(0..) {
            let body = peer.read();
            let closed_before = nth == 0 && ["closed", "on_close"].contains(&place);
            let never_open = nth >= opened;
            assert_eq!(body.contains("data: bye"), !closed_before && !never_open, "{place} {nth}: {body}");
        }
    }
}

#[test]
fn a_server_that_is_dropped_in_a_drain_still_says_farewell() {
    let mut world = world();
    let peers = streams(&mut world, 5, "/stream");
    drain(&mut world, Drain::within(secs(60)).farewell(Event::new().data("bye")));
    drop(world);
    for peer in &peers {
        assert!(peer.read().ends_with("data: bye\n\n\r\n0\r\n\r\n"));
        assert!(peer.is_closed());
    }
}

#[test]
fn a_half_closed_peer_is_drained_like_the_others() {
    let mut config = Config::default();
    config.half_closed = true;
    let mut world = world_with(config);
    let peers = streams(&mut world, 2, "/stream");
    peers.iter().for_each(Peer::close);
    world.settle();
    assert_eq!(world.server.stats().streams, 2);
    world.server.context().drain(Drain::within(secs(10)).farewell(Event::new().data("bye"))).unwrap();
    until_stopped(&mut world, &[], secs(6));
    for peer in &peers {
        assert!(peer.read().ends_with("data: bye\n\n\r\n0\r\n\r\n"));
    }
    assert_eq!(world.server.stats().connections_closed(CloseReason::Drained), 2);
}

#[test]
fn a_real_server_drains_and_run_returns() {
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let (mut app, sink) = (Router::new(), reasons.clone());
    app.sse("/", move |stream, _request, cx| {
        let sink = sink.clone();
        cx.on_close(stream, move |reason, _cx| sink.lock().unwrap().push(reason))?;
        Ok::<_, Error>(Reply::stream().topic("t"))
    });
    let server = serve(app);
    let mut clients: Vec<_> = (0..20).map(|_| server.connect()).collect();
    for client in &mut clients {
        client.get("/");
        client.wait_for_body(":\n");
    }
    server.publisher.publish("t", Event::new().data("last")).unwrap();
    server.publisher.drain(Drain::within(ms(300)).farewell(Event::new().data("bye"))).unwrap();
    for mut client in clients {
        let events: Vec<_> = client.events_to_end().into_iter().map(|event| event.data).collect();
        assert_eq!(events, ["last", "bye"]);
    }
    // The server has stopped by itself, or is about to, as there are no connections left.
    server.wait_until_stopped();
    assert_eq!(*reasons.lock().unwrap(), [CloseReason::Drained; 20]);
}

#[test]
fn idle_connections_are_closed_at_once_however_long_the_window() {
    let mut world = world();
    let peers: Vec<_> = (0..5).map(|_| world.connect()).collect();
    for peer in &peers[..4] {
        ask(&mut world, peer, get("/page"));
    }
    let stream = streams(&mut world, 1, "/stream");
    drain(&mut world, secs(6));
    world.settle();
    assert!(peers[..4].iter().all(Peer::is_shut) && peers[4].is_closed(), "one has not asked for anything");
    assert!(!stream[0].is_shut());
    world.pass(secs(2));
    assert!(peers.iter().all(Peer::is_closed), "they have time to close their side");
    assert_eq!(world.server.stats().connections_closed(CloseReason::Drained), 5);
}

#[test]
fn the_deadline_is_apart_from_the_window() {
    let mut world = world();
    let peers = streams(&mut world, 4, "/stream");
    peers[3].set_room(3);
    let finishing = streams(&mut world, 1, "/finish");
    let begun = world.now();
    drain(&mut world, Drain::within(Duration::ZERO).deadline(secs(10)).farewell(Event::new().data("bye")));
    world.settle();
    for peer in &peers[..3] {
        assert!(peer.read().ends_with("b\r\ndata: bye\n\n\r\n0\r\n\r\n"), "all at once");
    }
    assert_eq!(world.server.stats().streams, 1, "the one that is to finish");
    world.pass(secs(5));
    assert!(!world.server.is_stopped(), "one has not read everything");
    let mut rest = peers[3].read();
    peers[3].set_room(usize::MAX);
    world.settle();
    rest += &peers[3].read();
    assert!(rest.ends_with("b\r\ndata: bye\n\n\r\n0\r\n\r\n"), "{rest}");
    let left = until_stopped(&mut world, &finishing, secs(20));
    assert!(world.now() - begun <= secs(11) && left >= secs(4), "{left:?}");
}

#[test]
fn the_window_ends_with_the_deadline() {
    let mut world = world();
    let peers = streams(&mut world, 4, "/stream");
    drain(&mut world, Drain::within(secs(100)).deadline(secs(2)));
    let left = until_stopped(&mut world, &peers, secs(3));
    assert!(left <= secs(2), "{left:?}");
    assert!(peers.iter().all(|peer| peer.read().ends_with("0\r\n\r\n")));
}

#[test]
fn sources_learn_of_a_drain() {
    use mio_sse::{EventSender, Pull, Source};
    struct Clock(bool);
    impl Source for Clock {
        fn pull(&mut self) -> Pull {
            if std::mem::take(&mut self.0) {
                Pull::Event(Event::new().data("last words"))
            } else {
                Pull::Idle
            }
        }
        fn draining(&mut self) {
            self.0 = true;
        }
    }
    let told = Arc::new(Mutex::new(0));
    let senders: Arc<Mutex<Vec<EventSender>>> = Arc::default();
    let (of_drain, of_stream) = (told.clone(), senders.clone());
    let mut app = Router::new();
    app.get("/clock", |_request, _cx| Reply::stream().source(Clock(false)));
    app.sse("/channel", move |stream, _request, cx| {
        of_stream.lock().unwrap().push(cx.channel(stream, 1)?);
        Ok::<_, Error>(())
    });
    app.on_drain(move |_cx| *of_drain.lock().unwrap() += 1);
    let mut world = Loop::<_, true>::new(app);
    let (clock, channel) = (world.connect(), world.connect());
    clock.write(subscribe("/clock"));
    channel.write(subscribe("/channel"));
    world.settle();
    clock.read();
    assert!(!senders.lock().unwrap()[0].is_draining());
    world.server.context().drain(secs(100)).unwrap();
    world.turn();
    world.turn();
    assert!(senders.lock().unwrap()[0].is_draining());
    assert_eq!(*told.lock().unwrap(), 1);
    assert!(clock.read().contains("data: last words"));
    senders.lock().unwrap()[0].try_send(Event::new().data("in time")).unwrap();
    world.turn();
    world.turn();
    assert!(channel.read().contains("data: in time"));
    world.server.context().stop();
    world.turn();
    assert_eq!(*told.lock().unwrap(), 1, "once");
}
