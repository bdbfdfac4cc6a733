//! No step of a turn does more than its share, and no peer holds anything for ever.

use crate::memory_net::{Loop, Peer, check_accounts, get, subscribe};
use crate::support::{ms, secs};
use mio_sse::{CloseReason, Config, Context, Event, Handler, History, Reply, Request, StreamId, TopicConfig};

#[derive(Default)]
struct App {
    opened: Option<StreamId>,
    closed: usize,
}

impl Handler for App {
    fn request(&mut self, request: &Request<'_>, _cx: &mut Context<'_>) -> Reply {
        match request.path() {
            "/large" => Reply::text("x".repeat(100_000)),
            "/page" => Reply::text("page"),
            "/other" => Reply::stream().topic("other").tag("others").into(),
            "/state" => Reply::stream().topic("t").snapshot().then_end().into(),
            _ => Reply::stream().topic("t").into(),
        }
    }

    fn opened(&mut self, stream: StreamId, _request: &Request<'_>, _cx: &mut Context<'_>) {
        self.opened = Some(stream);
    }

    fn closed(&mut self, _stream: StreamId, _reason: CloseReason, _cx: &mut Context<'_>) {
        self.closed += 1;
    }
}

fn streams(world: &mut Loop<App>, count: usize) -> Vec<Peer> {
    let peers: Vec<_> = (0..count).map(|_| world.connect()).collect();
    for peer in &peers {
        peer.write(subscribe("/stream"));
    }
    world.settle();
    assert_eq!(world.server.stats().streams, count as u64);
    peers
}

#[test]
fn input_after_the_end_is_read_up_to_a_limit() {
    let mut world = Loop::<_, true>::new(App::default());
    let peer = world.connect();
    peer.write("no request at all\r\n\r\n");
    world.settle();
    assert!(peer.read().starts_with("HTTP/1.1 400 ") && !peer.is_closed());
    let mut sent = 0;
    while !peer.is_closed() {
        peer.write("x".repeat(60_000));
        sent += 60_000;
        world.settle();
        assert!(sent < 2 << 20, "it goes on");
    }
    assert!(sent > 1 << 20);
    assert_eq!(world.server.stats().connections_closed(CloseReason::Rejected), 1);
}

#[test]
fn a_reply_that_is_read_a_byte_at_a_time_holds_its_connection_no_longer_than_one_that_is_not() {
    let mut world = Loop::<_, true>::new(App::default());
    let (slow, steady) = (world.connect(), world.connect());
    for peer in [&slow, &steady] {
        peer.set_room(1_000);
        peer.write(get("/large"));
    }
    world.settle();
    let begun = world.now();
    while !slow.is_closed() {
        slow.read();
        slow.set_room(1);
        // Slow, but with progress: 2.5 KB in a second.
        if !steady.is_closed() {
            steady.read();
            steady.set_room(2_500);
        }
        world.pass(secs(1));
        assert!(world.now() - begun < secs(60), "a byte in a second is enough");
    }
    assert_eq!(world.server.stats().connections_closed(CloseReason::Stalled), 1);
    assert!(!steady.is_closed());
}

#[test]
fn input_is_read_in_shares() {
    let mut world = Loop::<_, true>::new(App::default());
    let peers: Vec<_> = (0..100).map(|_| world.connect()).collect();
    world.settle();
    let before: usize = peers.iter().map(Peer::reads).sum();
    for peer in &peers {
        peer.write(format!(
            "POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: 65000\r\n\r\n{}",
            "x".repeat(65_000)
        ));
    }
    let other = world.connect();
    world.turn();
    let reads: usize = peers.iter().map(Peer::reads).sum();
    assert!((60..80).contains(&(reads - before)), "{}", reads - before);
    other.write(get("/page"));
    world.settle();
    assert!(other.read().ends_with("page"));
    assert!(peers.iter().all(|peer| peer.read().ends_with("page")));
}

#[test]
fn replies_are_written_in_shares() {
    let mut world = Loop::<_, true>::new(App::default());
    let peers: Vec<_> = (0..100).map(|_| world.connect()).collect();
    world.settle();
    peers.iter().for_each(|peer| peer.write(get("/large")));
    world.settle();
    assert!(peers.iter().all(|peer| peer.read().ends_with("xxx")));
    // Nor does it matter when their sockets have room.
    for peer in &peers {
        peer.set_room(0);
        peer.write(get("/large"));
    }
    world.settle();
    peers.iter().for_each(|peer| peer.set_room(usize::MAX));
    world.settle();
    assert!(peers.iter().all(|peer| peer.read().ends_with("xxx")));
    let most = world.server.stats().work_max.bytes_written;
    assert!((4 << 20..5 << 20).contains(&most), "{most} bytes in one turn");
}

#[test]
fn a_wave_past_many_streams_that_lag_writes_no_more_than_its_share() {
    let mut world = Loop::<_, true>::new(App::default());
    let peers = streams(&mut world, 200);
    peers.iter().for_each(|peer| peer.set_room(0));
    for _ in 0..10 {
        world.server.context().publish("t", Event::new().data("x".repeat(10_000))).unwrap();
        world.settle();
    }
    // They have room again, which is not yet reported when a small event is published.
    peers.iter().for_each(|peer| drop(peer.read()));
    peers.iter().for_each(|peer| peer.set_room(usize::MAX));
    world.server.context().publish("t", Event::new().data("small")).unwrap();
    world.settle();
    assert!(peers.iter().all(|peer| peer.read().ends_with("data: small\n\n\r\n")));
    let most = world.server.stats().work_max.bytes_written;
    assert!((2 << 20..5 << 20).contains(&most), "{most} bytes in one turn");
}

#[test]
fn heartbeats_that_are_due_at_once_go_out_over_several_turns() {
    let mut config = Config::default();
    config.heartbeat = Some(secs(60));
    let mut world = Loop::<_, true>::with_config(App::default(), config);
    let peers = streams(&mut world, 3_000);
    peers.iter().for_each(|peer| drop(peer.read()));
    // All are long overdue after this.
    world.jump(secs(100));
    let mut beats = Vec::new();
    for _ in 0..4 {
        let before = world.server.stats().heartbeats;
        world.turn();
        beats.push(world.server.stats().heartbeats - before);
    }
    assert_eq!(beats, [1_024, 1_024, 952, 0]);
}

#[test]
fn thousands_that_leave_at_once_are_reported_and_freed_over_several_turns() {
    let mut world = Loop::<_, true>::new(App::default());
    let peers = streams(&mut world, 3_000);
    for peer in &peers {
        peer.close();
    }
    let mut told = Vec::new();
    for _ in 0..8 {
        let before = world.server.handler().closed;
        world.turn();
        let closed = world.server.handler().closed - before;
        told.push(closed);
        assert!(closed <= 1_024);
    }
    assert_eq!(told.iter().sum::<usize>(), 3_000);
    world.settle();
    assert!(peers.iter().all(Peer::is_closed));
    check_accounts(&world.server.stats());
}

#[test]
fn a_drain_closes_in_shares_too() {
    let mut world = Loop::<_, true>::new(App::default());
    let peers = streams(&mut world, 3_000);
    world.server.context().drain(mio_sse::Drain::within(ms(0)).deadline(secs(10))).unwrap();
    let mut last = 0;
    for _ in 0..6 {
        world.turn();
        let closed = world.server.stats().closed(CloseReason::Drained);
        assert!(closed - last <= 1_024, "{}", closed - last);
        last = closed;
    }
    assert_eq!(last, 3_000);
    world.settle();
    assert!(peers.iter().all(|peer| peer.read().ends_with("0\r\n\r\n")));
}

#[test]
fn a_stream_that_has_ended_is_not_read_a_byte_at_a_time_for_ever() {
    let mut config = Config::default();
    config.max_age = Some(secs(1000));
    config.heartbeat = None;
    let mut world = Loop::<_, true>::with_config(App::default(), config);
    let peer = streams(&mut world, 1).remove(0);
    peer.set_room(0);
    let stream = world.server.handler().opened.unwrap();
    world.server.context().send(stream, Event::new().data("x".repeat(100_000))).unwrap();
    world.server.context().close(stream).unwrap();
    for second in 0..260 {
        assert!(second > 240 || !peer.is_closed(), "{second}");
        peer.set_room(1);
        world.pass(secs(1));
    }
    assert!(peer.is_closed());
    assert_eq!(world.server.stats().connections_closed(CloseReason::Stalled), 1);
}

#[test]
fn a_wave_writes_no_more_to_one_stream_than_the_queue_does() {
    use mio_sse::{History, TopicConfig};
    let mut config = Config::default();
    config.topic = TopicConfig::default().history(History::new().bytes(64 << 20));
    let mut world = Loop::<_, true>::with_config(App::default(), config);
    let first = streams(&mut world, 1).remove(0);
    let id = first.read().lines().find_map(|line| line.strip_prefix("id: ").map(str::to_owned)).unwrap();
    first.close();
    for _ in 0..300 {
        world.server.context().publish("t", Event::new().data("x".repeat(100_000))).unwrap();
        world.turn();
    }
    let behind = world.connect();
    behind.write(format!("GET /stream HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {id}\r\n\r\n"));
    for number in 0..200 {
        // Each is a wave that passes the stream, which has room for everything.
        world.server.context().publish("t", Event::new().data(format!("new {number}"))).unwrap();
        world.turn();
        assert!(world.server.stats().work_max.bytes_written < 1 << 20);
    }
    let text = behind.read();
    assert_eq!(text.matches("data: new ").count(), 200);
    assert_eq!(text.matches("data: xxx").count(), 300);
}

#[test]
fn events_that_expire_together_are_dropped_over_several_turns() {
    use mio_sse::{History, TopicConfig};
    let mut config = Config::default();
    config.topic = TopicConfig::default().history(History::new().bytes(64 << 20).age(secs(60)));
    let mut world = Loop::<_, true>::with_config(App::default(), config);
    world.turn();
    for _ in 0..40_000 {
        world.server.context().publish("t", Event::new().data("0123456789")).unwrap();
    }
    world.settle();
    let all = world.server.stats().log_bytes;
    world.jump(secs(61));
    world.turn();
    let left = world.server.stats().log_bytes;
    assert!(left > all / 2, "{left} of {all}");
    // The loop does not sleep before the rest has been dropped.
    world.settle();
    let stats = world.server.stats();
    assert_eq!((stats.log_bytes, stats.topics), (0, 0));
}

#[test]
fn a_large_wave_takes_several_turns() {
    let mut world = Loop::<_, true>::new(App::default());
    let peers = streams(&mut world, 200);
    peers.iter().for_each(|peer| drop(peer.read()));
    for _ in 0..10 {
        world.server.context().publish("t", Event::new().data("x".repeat(90_000))).unwrap();
    }
    world.settle();
    let most = world.server.stats().work_max.bytes_written;
    assert!((2 << 20..8 << 20).contains(&most), "{most} bytes in one turn");
    assert!(peers.iter().all(|peer| peer.read().matches("data: x").count() == 10));
}

#[test]
fn thousands_whose_topic_finishes_are_closed_over_several_turns() {
    let mut config = Config::default();
    config.topic = TopicConfig::default().history(History::new().events(10));
    let mut world = Loop::<_, true>::with_config(App::default(), config);
    streams(&mut world, 3_000);
    let before = world.server.stats().work;
    world.server.context().finish_topic("t").unwrap();
    assert_eq!(world.server.stats().streams, 3_000 - 1_024);
    (0..3).for_each(|_| world.turn());
    let stats = world.server.stats();
    assert_eq!((stats.streams, stats.closed(CloseReason::Finished)), (0, 3_000));
    world.settle();
    assert_eq!(world.server.stats().work.closed_together - before.closed_together, 3_000);
}

/// A server with a state of a megabyte and a half, in 15 keys.
fn world_with_state() -> Loop<App> {
    let mut config = Config::default();
    config.topic = TopicConfig::default().keyed();
    let mut world = Loop::<_, true>::with_config(App::default(), config);
    for key in 0..15 {
        let event = Event::new().data("x".repeat(100_000)).key(key.to_string());
        world.server.context().publish("t", event).unwrap();
    }
    world
}

#[test]
fn the_memory_freed_by_closing_streams_in_a_turn_has_a_limit() {
    let mut world = world_with_state();
    let peers: Vec<_> = (0..20).map(|_| world.connect()).collect();
    world.settle();
    peers.iter().for_each(|peer| peer.write(subscribe("/state")));
    world.settle();
    // Each has all of it, as of the time of its request.
    for peer in &peers {
        assert_eq!(peer.read().matches("\ndata: xx").count(), 15);
    }
    let most = world.server.stats().work_max.bytes_taken_along;
    assert!((16 << 20..18 << 20).contains(&most), "{most} bytes in one turn");
}

#[test]
fn a_request_whose_end_arrives_with_the_last_bytes_of_a_turn_is_served() {
    fn check<const SHORT: bool>() {
        let mut world = Loop::<_, SHORT>::with_config(App::default(), Config::default());
        let others: Vec<_> = (0..64).map(|_| world.connect()).collect();
        let cut = world.connect();
        world.settle();
        let post =
            |length: usize| format!("POST /page HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n");
        cut.write(post(60_000));
        world.settle();
        others.iter().for_each(|peer| peer.write(post(64_900) + &"x".repeat(64_900)));
        cut.write("x".repeat(60_000));
        world.settle();
        assert!(others.iter().all(|peer| peer.read().ends_with("page")));
        assert!(cut.read().ends_with("page"), "it has arrived, and is not looked at");
    }
    check::<true>();
    check::<false>();
}

#[test]
fn streams_are_closed_however_much_others_take_along() {
    let mut world = world_with_state();
    let peers: Vec<_> = (0..2_000).map(|_| world.connect()).collect();
    peers.iter().for_each(|peer| peer.write(subscribe("/other")));
    world.settle();
    // In each turn as many clients as one turn serves request the state, and leave before they have it.
    let mut asking = std::collections::VecDeque::new();
    let mut ask = |world: &mut Loop<App>| {
        for _ in 0..12 {
            let peer = world.connect();
            peer.write(subscribe("/state"));
            asking.push_back(peer);
        }
        let leave = asking.len().saturating_sub(36);
        asking.drain(..leave).for_each(|peer: Peer| peer.reset());
        world.turn();
    };
    (0..6).for_each(|_| ask(&mut world));
    assert_eq!(world.server.context().close_tagged("others"), 2_000);
    (0..3).for_each(|_| ask(&mut world));
    assert_eq!(world.server.context().tagged("others"), 0);
}

/// A server with a keyed topic that may hold a mebibyte for streams that lag, and a peer that reads it.
fn keyed_world() -> (Loop<App>, Peer) {
    let mut config = Config::default();
    config.topic = TopicConfig::default().keyed();
    config.lag_bytes_max = 1 << 20;
    config.stall_timeout = secs(3_000);
    let mut world = Loop::<_, true>::with_config(App::default(), config);
    let peer = streams(&mut world, 1).remove(0);
    (world, peer)
}

#[test]
fn events_without_a_key_are_dropped_even_after_megabytes_that_stay() {
    let (mut world, reads) = keyed_world();
    let lags = world.connect();
    lags.write(subscribe("/stream"));
    world.settle();
    lags.set_room(0);
    let publish = |world: &mut Loop<App>, event: Event<'static>| {
        world.server.context().publish("t", event).unwrap();
        world.settle();
        reads.read();
        world.pass(ms(50));
    };
    // Each block has a little that can be dropped, and much that stays.
    for key in 0..1_000 {
        publish(&mut world, Event::new().data("without a key"));
        publish(&mut world, Event::new().data("x".repeat(6 << 10)).key(key.to_string()));
    }
    for _ in 0..300 {
        publish(&mut world, Event::new().data("x".repeat(50_000)));
    }
    let stats = world.server.stats();
    assert_eq!((stats.closed(CloseReason::Lagged), stats.streams), (1, 1));
    assert!(stats.log_bytes < 16 << 20, "{} bytes", stats.log_bytes);
}

#[test]
fn superseded_events_are_dropped_even_if_nothing_more_is_published() {
    for size in [100_000, 300] {
        let (mut world, reads) = keyed_world();
        // A third of the smaller ones stays, and is copied.
        for number in 0..60_000_000 / size {
            let key = if size < 1_000 && number % 3 == 0 { number } else { 1 };
            let event = Event::new().data("x".repeat(size)).key(key.to_string());
            world.server.context().publish("t", event).unwrap();
        }
        world.settle();
        reads.read();
        world.settle();
        let stats = world.server.stats();
        let kept = if size < 1_000 { 44 << 20 } else { 1 << 20 };
        assert!(stats.log_bytes < kept, "{} bytes with events of {size}", stats.log_bytes);
    }
}
