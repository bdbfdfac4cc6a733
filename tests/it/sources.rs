//! Sources: the events that a stream pulls, when a source is asked, and when it is dropped.

use crate::history::data;
use crate::memory_net::{Loop, Peer, check_accounts, get};
use crate::observers::{listen, logged};
use crate::support::{Client, DEADLINE, ms, now, serve, serve_with};
use mio_sse::{
    App, CloseReason, Config, Drain, Error, Event, EventSender, Events, Handler, Pull, Reply, Router, Source,
    StreamId,
};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Arc, Mutex};
use std::thread;

/// Number of times that a source was asked, and number of dropped sources.
#[derive(Clone, Default)]
struct Counts(Arc<[AtomicUsize; 2]>);

impl Counts {
    fn asked(&self) -> usize {
        self.0[0].load(Ordering::SeqCst)
    }

    fn dropped(&self) -> usize {
        self.0[1].load(Ordering::SeqCst)
    }
}

/// A source that counts.
struct Counted<S>(S, Counts);

impl<S: Source> Source for Counted<S> {
    fn pull(&mut self) -> Pull {
        self.1.0[0].fetch_add(1, Ordering::SeqCst);
        self.0.pull()
    }
}

impl<S> Drop for Counted<S> {
    fn drop(&mut self) {
        self.1.0[1].fetch_add(1, Ordering::SeqCst);
    }
}

fn number(number: usize) -> Event<'static> {
    Event::new().data(number.to_string())
}

/// Each stream at `/` has a source of its own, and topic and tag `all`; `/2` is a page.
fn world_of<S: Source>(make: impl Fn() -> S + Send + 'static) -> (Loop<Router>, Counts) {
    world_with(Config::default(), make)
}

fn world_with<S: Source>(config: Config, make: impl Fn() -> S + Send + 'static) -> (Loop<Router>, Counts) {
    let counts = Counts::default();
    let mut app = Router::new();
    let for_app = counts.clone();
    app.get("/", move |_request, _cx| {
        Reply::stream().topic("all").tag("all").source(Counted(make(), for_app.clone()))
    });
    app.get("/2", |_request, _cx| Reply::text("page"));
    (Loop::with_config(app, config), counts)
}

fn open<H: App>(world: &mut Loop<H>, path: &str) -> Peer {
    let peer = world.connect();
    peer.write(get(path));
    world.settle();
    peer
}

fn numbers(peer: &Peer) -> Vec<usize> {
    data(peer).iter().map(|data| data.parse().unwrap()).collect()
}

#[test]
fn an_iterator_is_a_stream_and_its_end_the_end() {
    let (mut world, counts) = world_of(|| Events::new((0..1000).map(number)));
    let peer = open(&mut world, "/");
    let received = peer.read();
    assert!(received.ends_with("\r\n0\r\n\r\n"), "it ends cleanly");
    assert_eq!(received.matches("data: ").count(), 1000);
    let in_order = (0..1000).all(|n| received.contains(&format!("data: {n}\n")));
    assert!(in_order);
    assert_eq!((counts.asked(), counts.dropped()), (1001, 1));
    peer.write(get("/2"));
    world.settle();
    assert!(peer.read().ends_with("page"), "the connection carries the next request");
    assert_eq!(world.server.stats().closed(CloseReason::Application), 1);
    assert_eq!(world.server.stats().events_sent, 1000);
    check_accounts(&world.server.stats());
}

#[test]
fn the_first_events_of_a_source_are_sent_with_the_head() {
    let (mut world, _) = world_of(|| Events::new((0..3).map(number)));
    let peer = open(&mut world, "/");
    assert_eq!(peer.writes().len(), 1);
}

#[test]
fn a_source_is_asked_only_when_there_is_room() {
    let (mut world, counts) = world_of(|| Events::new((0..).map(number)));
    let peer = world.connect();
    peer.set_room(10);
    peer.write(get("/"));
    world.settle();
    let first = counts.asked();
    assert!((1..=64).contains(&first), "{first}");
    for _ in 0..10 {
        peer.set_room(10);
        world.pass(ms(10));
    }
    assert_eq!(counts.asked(), first, "the client has not read the pulled events yet");
    // Room for that, and for a little of what follows.
    peer.set_room(3000);
    world.settle();
    let second = counts.asked();
    assert!(second > first && second < 3000 / 10 + 64, "{second}");
    world.pass(ms(100));
    assert_eq!(counts.asked(), second);
    world.server.context().close_tagged("all");
    peer.set_room(usize::MAX);
    world.settle();
    let received = peer.read();
    assert!(received.contains(&format!("data: {}\n", second - 1)) && received.ends_with("0\r\n\r\n"));
    assert_eq!((counts.asked(), counts.dropped()), (second, 1));
}

#[test]
fn large_events_are_pulled_few_at_a_time() {
    let (mut world, counts) = world_of(|| Events::new((0..).map(|_| Event::new().data("x".repeat(10_000)))));
    let peer = world.connect();
    peer.set_room(10);
    peer.write(get("/"));
    world.settle();
    assert_eq!(counts.asked(), 2, "16 KiB, rounded up");
}

#[test]
fn events_of_a_source_are_no_lag() {
    let mut config = Config::default();
    config.lag_bytes_max = 1;
    let (mut world, _) = world_with(config, || Events::new((0..500).map(number)));
    let peer = world.connect();
    peer.set_room(100);
    peer.set_refill(100);
    peer.write(get("/"));
    world.settle();
    assert_eq!(peer.read().matches("data: ").count(), 500);
    assert_eq!(world.server.stats().closed(CloseReason::Application), 1);
}

#[test]
fn streams_with_endless_sources_share_the_loop() {
    let (mut world, _) = world_of(|| Events::new((0..).map(number)));
    let peers = [world.connect(), world.connect()];
    for peer in &peers {
        peer.write(get("/"));
    }
    for _ in 0..100 {
        world.turn();
    }
    let page = world.connect();
    page.write(get("/2"));
    for _ in 0..3 {
        world.turn();
    }
    assert!(page.read().ends_with("page"));
    let counts = peers.map(|peer| peer.read().matches("data: ").count());
    assert!(counts[0] > 5000 && counts[0].abs_diff(counts[1]) <= 64, "{counts:?}");
}

#[test]
fn the_source_is_dropped_once_whichever_side_closes_the_stream() {
    let (mut world, counts) = world_of(|| || Pull::Idle);
    let mut expected = 0;
    for end in 0..6 {
        let peer = open(&mut world, "/");
        assert_eq!(counts.dropped(), expected);
        match end {
            0 => peer.close(),
            1 => peer.reset(),
            2 => assert_eq!(world.server.context().close_tagged("all"), 1),
            3 => {
                assert_eq!(world.server.context().revoke("all", ms(1000)), 1);
                assert!(world.server.context().unrevoke("all"));
            }
            4 => {
                // It has no room, and lags.
                peer.set_room(0);
                let event = Event::new().data("x".repeat(2 << 20));
                assert_eq!(world.server.context().send_tagged("all", &event), Ok(1));
                world.turn();
                assert_eq!(counts.dropped(), expected);
                assert_eq!(world.server.context().send_tagged("all", &event), Ok(0));
            }
            _ => world.server.context().stop(),
        }
        world.turn();
        expected += 1;
        assert_eq!(counts.dropped(), expected, "{end}: at the end of the turn");
    }
    check_accounts(&world.server.stats());
}

#[test]
fn a_stream_that_is_not_opened_asks_nothing_of_its_source() {
    let mut config = Config::default();
    config.streams_max = 1;
    let (mut world, counts) = world_with(config, || Events::new((0..1).map(number)).every(ms(1000)));
    let _first = open(&mut world, "/");
    assert_eq!((counts.asked(), counts.dropped()), (2, 0));
    let _refused = open(&mut world, "/");
    let head = world.connect();
    head.write("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    world.settle();
    assert_eq!((counts.asked(), counts.dropped()), (2, 2));
}

#[test]
fn waits_are_a_steady_beat() {
    let (mut world, counts) = world_of(|| Events::new((0..3).map(number)).every(ms(1000)));
    let peer = open(&mut world, "/");
    assert_eq!(numbers(&peer), [0], "the first at once");
    world.pass(ms(999));
    assert_eq!(data(&peer), [""; 0]);
    world.pass(ms(1));
    assert_eq!(numbers(&peer), [1]);
    // The loop is held up, which the next wait makes up for.
    world.jump(ms(1400));
    world.settle();
    assert_eq!(numbers(&peer), [2]);
    world.pass(ms(599));
    assert_eq!(peer.read(), "");
    world.pass(ms(1));
    assert_eq!(peer.read(), "0\r\n\r\n");
    assert_eq!((counts.dropped(), world.server.stats().timers), (1, 0));
}

#[test]
fn a_client_that_reads_too_slowly_for_the_beat_gets_no_burst() {
    let (mut world, counts) = world_of(|| Events::new((0..).map(number)).every(ms(1000)));
    let peer = open(&mut world, "/");
    peer.read();
    peer.set_room(5);
    world.pass(ms(5500));
    assert_eq!(counts.asked(), 4, "two events and the waits after them; the second event is not read");
    peer.set_room(usize::MAX);
    world.settle();
    assert_eq!(numbers(&peer), [1, 2], "the wait between them has long been over");
    world.pass(ms(999));
    assert_eq!(peer.read(), "");
    world.pass(ms(1));
    assert_eq!(numbers(&peer), [3]);
}

/// A source that takes its answers from a queue, and idles when that is empty.
#[derive(Clone, Default)]
struct Queue(Arc<Mutex<Vec<Pull>>>);

impl Queue {
    fn put(&self, pull: Pull) {
        self.0.lock().unwrap().insert(0, pull);
    }
}

impl Source for Queue {
    fn pull(&mut self) -> Pull {
        self.0.lock().unwrap().pop().unwrap_or(Pull::Idle)
    }
}

fn stream_of(world: &mut Loop<Kept>) -> StreamId {
    world.server.handler().stream.unwrap()
}

/// Records the stream it has opened last. All sources share one queue.
#[derive(Default)]
struct Kept {
    queue: Queue,
    stream: Option<StreamId>,
}

impl Handler for Kept {
    fn request(&mut self, _request: &mio_sse::Request<'_>, cx: &mut mio_sse::Context<'_>) -> Reply {
        let stream = cx.stream().unwrap();
        self.stream = Some(stream);
        cx.set_source(stream, self.queue.clone()).unwrap();
        Reply::stream().into()
    }
}

#[test]
fn an_idle_source_is_asked_when_it_is_woken() {
    let queue = Queue::default();
    let mut world = Loop::new(Kept { queue: queue.clone(), stream: None });
    let peer = open(&mut world, "/");
    let stream = stream_of(&mut world);
    peer.read();
    queue.put(Pull::Event(number(1)));
    world.pass(ms(100));
    assert_eq!(peer.read(), "", "the source was not woken");
    world.server.context().wake(stream).unwrap();
    world.settle();
    assert_eq!(numbers(&peer), [1]);
    queue.put(Pull::Event(number(2)));
    world.server.publisher().wake(stream).unwrap();
    world.settle();
    assert_eq!(numbers(&peer), [2]);
    // The wait is interrupted.
    queue.put(Pull::Wait(ms(1000)));
    world.server.context().wake(stream).unwrap();
    world.settle();
    assert_eq!(world.server.stats().timers, 1);
    queue.put(Pull::Event(number(3)));
    world.server.context().wake(stream).unwrap();
    world.settle();
    assert_eq!((numbers(&peer), world.server.stats().timers), (vec![3], 0));
    queue.put(Pull::End);
    for _ in 0..3 {
        world.server.context().wake(stream).unwrap();
    }
    world.settle();
    assert_eq!(peer.read(), "0\r\n\r\n");
    assert_eq!(world.server.context().wake(stream), Err(Error::Closed));
    assert_eq!(world.server.context().set_source(stream, queue), Err(Error::Closed));
}

#[test]
fn a_source_that_is_woken_while_there_is_no_room_is_asked_when_there_is() {
    let queue = Queue::default();
    let mut world = Loop::new(Kept { queue: queue.clone(), stream: None });
    let peer = open(&mut world, "/");
    let stream = stream_of(&mut world);
    peer.read();
    peer.set_room(3);
    world.server.context().send(stream, Event::new().data("sent")).unwrap();
    queue.put(Pull::Event(number(1)));
    world.settle();
    world.server.context().wake(stream).unwrap();
    world.settle();
    assert_eq!(queue.0.lock().unwrap().len(), 1, "not asked");
    peer.set_room(usize::MAX);
    world.settle();
    assert_eq!(data(&peer), ["sent", "1"]);
}

#[test]
fn another_source_replaces_the_first() {
    for first in [Pull::Idle, Pull::Wait(ms(1000)), Pull::Event(number(0))] {
        let queue = Queue::default();
        let mut world = Loop::new(Kept { queue: queue.clone(), stream: None });
        queue.put(first.clone());
        let peer = open(&mut world, "/");
        let stream = stream_of(&mut world);
        peer.read();
        let counts = Counts::default();
        let second = || Counted(Events::new((1..3).map(number)), counts.clone());
        // The first of them is never asked, whatever the state of the one before.
        world.server.context().set_source(stream, second()).unwrap();
        world.server.context().set_source(stream, second()).unwrap();
        world.settle();
        let received = peer.read();
        assert_eq!(received.matches("data: ").count(), 2, "{first:?}");
        assert!(received.ends_with("0\r\n\r\n"));
        assert_eq!((counts.dropped(), counts.asked(), world.server.stats().timers), (2, 3, 0));
    }
}

#[test]
fn the_wait_of_an_earlier_source_is_none_of_the_next() {
    let queue = Queue::default();
    let mut world = Loop::new(Kept { queue: queue.clone(), stream: None });
    queue.put(Pull::Wait(ms(1000)));
    let _peer = open(&mut world, "/");
    let stream = stream_of(&mut world);
    let counts = Counts::default();
    let events = Events::new((0..).map(number)).every(ms(10_000));
    world.server.context().set_source(stream, Counted(events, counts.clone())).unwrap();
    world.pass(ms(5000));
    assert_eq!((counts.asked(), world.server.stats().timers), (2, 1));
}

#[test]
fn published_and_private_events_come_in_between() {
    let (mut world, _) = world_of(|| Events::new((0..2).map(number)).every(ms(1000)));
    let peer = open(&mut world, "/");
    world.server.context().publish("all", number(100)).unwrap();
    world.server.context().send_tagged("all", number(200)).unwrap();
    world.pass(ms(1000));
    assert_eq!(numbers(&peer), [0, 100, 200, 1]);
}

#[test]
fn a_panic_closes_only_its_own_stream() {
    let (mut world, counts) = world_of(|| {
        let mut count = 0;
        move || {
            count += 1;
            if count > 2 { panic!("source") } else { Pull::Event(number(count)) }
        }
    });
    let peer = open(&mut world, "/");
    assert!(peer.is_closed());
    assert_eq!((counts.dropped(), world.server.stats().closed(CloseReason::Panicked)), (1, 1));
    let other = open(&mut world, "/2");
    assert!(other.read().ends_with("page"));
}

#[test]
fn a_panic_while_a_source_is_dropped_is_survived() {
    struct Bad;
    impl Drop for Bad {
        fn drop(&mut self) {
            panic!("dropped");
        }
    }
    impl Source for Bad {
        fn pull(&mut self) -> Pull {
            Pull::End
        }
    }
    let mut config = Config::default();
    config.streams_max = 1;
    let (mut world, _) = world_with(config, || Events::new((0..1).map(number)).every(ms(1000)));
    let _stream = open(&mut world, "/");
    let mut app = Router::new();
    app.get("/", |_request, _cx| Reply::stream().source(Bad));
    app.sse("/refused", |stream, _request, cx| {
        cx.set_source(stream, Bad)?;
        Ok::<_, Error>(Reply::status(403))
    });
    let mut bad = Loop::new(app);
    for path in ["/", "/refused"] {
        let peer = open(&mut bad, path);
        assert!(!peer.is_closed(), "{path}");
    }
    assert_eq!(bad.server.stats().panics, 2);
}

#[test]
fn an_event_that_cannot_be_written_is_left_out() {
    let bad = || Event::new().data("x").event("two\nlines");
    let (mut world, _) =
        world_of(move || Events::new((0..200).map(move |n| if n % 100 == 50 { number(n) } else { bad() })));
    let peer = open(&mut world, "/");
    world.pass(ms(1));
    let received = peer.read();
    assert!(received.contains("data: 50\n") && received.contains("data: 150\n"));
    assert!(received.ends_with("\r\n0\r\n\r\n"));
}

#[test]
fn a_source_of_nothing_but_events_that_cannot_be_written_is_asked_ever_more_rarely() {
    listen();
    let (mut world, counts) = world_of(|| || Pull::Event(Event::new()));
    let peer = open(&mut world, "/");
    let _second = open(&mut world, "/");
    peer.read();
    assert_eq!(counts.asked(), 2 * 64, "once each, and the loop comes to rest");
    world.pass(ms(59_900));
    let visits = counts.asked() / 2 / 64;
    assert!((60..80).contains(&visits), "few in the first second, then one a second: {visits}");
    let lines = logged();
    assert_eq!(lines.len(), 1, "{lines:?}");
    let id = "stream 0.1";
    assert!(lines[0].2.contains(id) && lines[0].2.ends_with("the event is empty"), "{lines:?}");
    world.pass(ms(60_000));
    assert_eq!(logged().len(), 1, "once a minute, whatever the number of sources");
    // The stream stays open.
    world.server.context().publish("all", number(1)).unwrap();
    world.settle();
    assert!(peer.read().contains("data: 1\n"));
}

#[test]
fn one_event_that_can_be_written_makes_up_for_all_that_cannot() {
    let queue = Queue::default();
    let mut world = Loop::new(Kept { queue: queue.clone(), stream: None });
    let peer = open(&mut world, "/");
    let stream = stream_of(&mut world);
    let bad = |visits: usize| (0..64 * visits).for_each(|_| queue.put(Pull::Event(Event::new())));
    let left = || queue.0.lock().unwrap().len();
    bad(12);
    world.server.context().wake(stream).unwrap();
    world.pass(ms(1024));
    assert_eq!(left(), 64, "after 1 + 2 + … + 512 ms");
    world.pass(ms(900));
    assert_eq!(left(), 64);
    // A source that was woken is asked at once.
    world.server.context().wake(stream).unwrap();
    world.settle();
    assert_eq!((left(), world.server.stats().timers), (0, 1));
    queue.put(Pull::Event(number(1)));
    bad(2);
    queue.put(Pull::Event(number(2)));
    world.server.context().wake(stream).unwrap();
    world.settle();
    assert!(peer.read().ends_with("data: 1\n\n\r\n"));
    world.pass(ms(1));
    assert_eq!(numbers(&peer), [2], "the wait is short again");
    assert_eq!(world.server.stats().timers, 0);
}

#[test]
fn a_drain_lets_streams_finish_that_are_to() {
    let mut app = Router::new();
    app.get("/", |_request, _cx| {
        Reply::stream().finish().source(Events::new((0..3).map(number)).every(ms(100)))
    });
    let mut world = Loop::new(app);
    let peer = open(&mut world, "/");
    world.server.context().drain(Drain::within(ms(10_000))).unwrap();
    world.pass(ms(1000));
    assert_eq!(peer.read().matches("data: ").count(), 3);
    peer.close();
    world.turn();
    assert!(world.server.is_stopped(), "when all have finished it is over");
    assert_eq!(world.server.stats().closed(CloseReason::Application), 1);
}

#[test]
fn a_source_and_timers_of_the_stream_live_side_by_side() {
    let mut app = Router::new();
    app.sse("/", |stream, _request, cx| {
        cx.set_source(stream, Events::new((0..).map(number)).every(ms(100)))?;
        cx.after(stream, ms(250), |stream, cx| cx.close(stream))
    });
    let mut world = Loop::new(app);
    let peer = open(&mut world, "/");
    world.pass(ms(1000));
    assert_eq!(peer.read().matches("data: ").count(), 3);
    let stats = world.server.stats();
    assert_eq!((stats.timers, stats.closed(CloseReason::Application)), (0, 1));
}

/// Streams in topic and tag `all`, whose sources share one queue, and their ids in the order of opening.
#[derive(Default)]
struct Many {
    queue: Queue,
    streams: Vec<StreamId>,
}

impl Handler for Many {
    fn request(&mut self, _request: &mio_sse::Request<'_>, cx: &mut mio_sse::Context<'_>) -> Reply {
        self.streams.extend(cx.stream());
        Reply::stream().topic("all").tag("all").source(self.queue.clone()).into()
    }
}

/// Opens `count` streams, whose sources idle.
fn idle_streams(count: usize, config: Config) -> (Loop<Many>, Queue, Vec<Peer>, Vec<StreamId>) {
    let queue = Queue::default();
    let mut world = Loop::with_config(Many { queue: queue.clone(), streams: Vec::new() }, config);
    let peers: Vec<_> = (0..count).map(|_| open(&mut world, "/")).collect();
    peers.iter().for_each(|peer| drop(peer.read()));
    let streams = world.server.handler().streams.clone();
    (world, queue, peers, streams)
}

#[test]
fn a_source_that_is_woken_before_its_stream_was_served_is_asked_after_that() {
    let mut config = Config::default();
    config.sends_per_turn = 1;
    let (mut world, queue, peers, streams) = idle_streams(20, config);
    for stream in &streams {
        world.server.context().send(*stream, number(0)).unwrap();
    }
    for number in 1..1000 {
        queue.put(Pull::Event(self::number(number)));
    }
    // Each turn serves one of the others.
    for _ in 0..10 {
        world.server.context().wake(streams[19]).unwrap();
        world.turn();
    }
    assert_eq!(queue.0.lock().unwrap().len(), 999, "its events have not been sent yet");
    for _ in 0..30 {
        world.turn();
    }
    assert_eq!(numbers(&peers[19])[..3], [0, 1, 2]);
}

#[test]
fn a_source_that_waits_for_its_turn_is_not_asked_when_its_stream_lags() {
    let (mut world, queue, peers, streams) = idle_streams(300, Config::default());
    let late = &peers[299];
    late.set_room(3);
    for stream in &streams {
        world.server.context().wake(*stream).unwrap();
    }
    world.server.context().publish("all", number(0)).unwrap();
    world.turn();
    assert_eq!(world.server.stats().streams_behind, 1);
    for number in 1..100 {
        queue.put(Pull::Event(self::number(number)));
    }
    world.settle();
    assert!(queue.0.lock().unwrap().is_empty(), "some others are asked in the second turn");
    late.set_room(usize::MAX);
    queue.put(Pull::Event(number(1000)));
    world.settle();
    assert_eq!(numbers(late), [0, 1000]);
}

#[test]
fn a_source_is_not_asked_while_a_heartbeat_has_met_a_full_socket() {
    let (mut world, queue, peers, streams) = idle_streams(1, Config::default());
    peers[0].set_room(0);
    world.pass(ms(20_000));
    assert_eq!((peers[0].writes().last(), world.server.stats().streams_behind), (Some(&0), 0));
    queue.put(Pull::Event(number(1)));
    world.server.context().wake(streams[0]).unwrap();
    world.settle();
    assert_eq!(queue.0.lock().unwrap().len(), 1);
    peers[0].set_room(usize::MAX);
    world.settle();
    assert_eq!(numbers(&peers[0]), [1]);
}

#[test]
fn events_of_a_source_do_not_make_private_events_lag() {
    other_than_the_sources(0);
}

#[test]
fn events_of_a_source_excuse_no_lag_once_they_are_in_the_hand() {
    other_than_the_sources(10);
}

/// A stream that reads this many bytes of its source still lags by other events, and only by those.
fn other_than_the_sources(room: usize) {
    let mut config = Config::default();
    config.lag_bytes_max = 1000;
    let (mut world, queue, peers, streams) = idle_streams(1, config);
    peers[0].set_room(room);
    queue.put(Pull::Event(Event::new().data("x".repeat(5000))));
    world.server.context().wake(streams[0]).unwrap();
    world.settle();
    for number in 0..20 {
        world.server.context().send(streams[0], self::number(number)).unwrap();
        world.server.context().send_tagged("all", self::number(number)).unwrap();
        world.settle();
    }
    assert_eq!(world.server.context().send(streams[0], Event::new().data("x".repeat(1000))), Ok(()));
    world.settle();
    assert_eq!(world.server.context().send(streams[0], number(20)), Err(Error::Closed));
    assert_eq!(world.server.stats().closed(CloseReason::Lagged), 1);
}

// Streams whose source is a channel.

/// A server that passes each stream's channel to the test.
fn channels(ahead: usize) -> (Router, Receiver<EventSender>) {
    let (hand_out, senders) = channel();
    let mut app = Router::new();
    app.sse("/", move |stream, _request, cx| {
        hand_out.send(cx.channel(stream, ahead)?).unwrap();
        Ok::<_, Error>(())
    });
    app.sse_post("/", |stream, request, cx| {
        let events = cx.channel(stream, 1)?;
        let text = String::from_utf8_lossy(request.body()).into_owned();
        thread::spawn(move || {
            text.split(' ').try_for_each(|word| events.send(Event::new().data(word.to_owned())))
        });
        Ok::<_, Error>(Reply::stream())
    });
    (app, senders)
}

fn ask(client: &mut Client, senders: &Receiver<EventSender>) -> EventSender {
    assert_eq!(client.get("/").status, 200);
    senders.recv_timeout(DEADLINE).unwrap()
}

#[test]
fn events_of_a_channel_arrive_in_order_and_its_end_closes_the_stream() {
    let (app, senders) = channels(4);
    let server = serve(app);
    let mut client = server.connect();
    let events = ask(&mut client, &senders);
    let clone = events.clone();
    for n in 0..1000 {
        if n % 2 == 0 { &events } else { &clone }.send(number(n)).unwrap();
    }
    drop(events);
    clone.send(number(1000)).unwrap();
    drop(clone);
    let received = client.events_to_end();
    assert!(received.iter().map(|event| event.data.parse::<usize>().unwrap()).eq(0..=1000));
    // The connection carries the next request.
    client.write("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\none two 3");
    assert_eq!(client.head().status, 200);
    assert_eq!(client.data(3), ["one", "two", "3"]);
}

#[test]
fn a_thread_learns_that_its_client_has_left_and_waits_while_it_does_not_read() {
    let (app, senders) = channels(4);
    let mut config = Config::default();
    config.send_buffer_bytes = Some(4096);
    let server = serve_with(app, config);
    let mut client = server.connect();
    let events = ask(&mut client, &senders);
    let big = || Event::new().data("x".repeat(50_000));
    // As much as fits into the buffers of both systems, and into the channel.
    let deadline = now() + DEADLINE;
    let mut count = 0;
    let mut last = now();
    while last.elapsed() < ms(300) {
        assert!(now() < deadline, "{count} events, and no end");
        match events.try_send(big()) {
            Ok(()) => (count, last) = (count + 1, now()),
            Err(error) => assert_eq!(error, Error::Full),
        }
    }
    assert!(server.stats().log_bytes < 200_000, "{:?}", server.stats());
    let waits = thread::spawn(move || std::iter::repeat_with(|| events.send(big())).find_map(Result::err));
    client.reset();
    assert_eq!(waits.join().unwrap(), Some(Error::Closed));
}

#[test]
fn an_idle_channel_wakes_its_stream_for_each_event_and_its_end() {
    let (app, senders) = channels(1);
    let mut world: Loop<Router> = Loop::new(app);
    let peer = open(&mut world, "/");
    let events = senders.recv().unwrap();
    peer.read();
    events.try_send(number(1)).unwrap();
    world.settle();
    assert!(peer.read().contains("data: 1\n"));
    let events = thread::spawn(move || events.send(number(2)).map(|()| events)).join().unwrap().unwrap();
    world.settle();
    assert!(peer.read().contains("data: 2\n"));
    drop(events);
    world.settle();
    assert_eq!(peer.read(), "0\r\n\r\n");
}

#[test]
fn a_channel_to_a_server_that_has_stopped_is_closed() {
    let (app, senders) = channels(1);
    let server = serve(app);
    let mut client = server.connect();
    let events = ask(&mut client, &senders);
    server.stop();
    assert_eq!(events.send(number(1)), Err(Error::Closed));
    assert_eq!(events.try_send(number(1)), Err(Error::Closed));
}

#[test]
fn the_loop_does_not_wait_for_itself_and_wakes_need_no_room() {
    let mut app = Router::new();
    let results = Arc::<Mutex<Vec<Result<(), Error>>>>::default();
    let for_app = results.clone();
    app.sse("/", move |stream, _request, cx| {
        let events = cx.channel(stream, 2)?;
        let results = for_app.clone();
        // By then it has found nothing, and is idle.
        cx.after(stream, ms(10), move |_stream, cx| {
            let full = cx.publisher().try_publish("t", number(1));
            let sent = (0..3).map(|n| events.send(number(n)));
            results.lock().unwrap().extend([full].into_iter().chain(sent));
        })
    });
    let mut config = Config::default();
    config.inbox_max = 1;
    let mut world: Loop<Router> = Loop::with_config(app, config);
    let peer = open(&mut world, "/");
    world.pass(ms(20));
    assert_eq!(*results.lock().unwrap(), [Ok(()), Ok(()), Ok(()), Err(Error::Full)]);
    let received = peer.read();
    assert!(received.contains("data: 1\n") && received.ends_with("0\r\n\r\n"), "{received}");
}

#[test]
fn events_that_a_source_had_long_ago_excuse_no_lag() {
    let mut config = Config::default();
    config.lag_bytes_max = 1000;
    let (mut world, queue, peers, streams) = idle_streams(1, config);
    // With several topics, so that it has what only some streams have.
    world.server.context().subscribe(streams[0], "another").unwrap();
    queue.put(Pull::Event(Event::new().data("x".repeat(5000))));
    world.server.context().wake(streams[0]).unwrap();
    world.settle();
    assert_eq!(data(&peers[0]).len(), 1);
    peers[0].set_room(0);
    for _ in 0..2 {
        assert_eq!(world.server.context().send(streams[0], Event::new().data("x".repeat(600))), Ok(()));
        world.settle();
    }
    assert_eq!(world.server.context().send(streams[0], number(1)), Err(Error::Closed));
}
