//! The cursor of a stream: the events it gets, its gaps, and when it is closed.

use crate::history::{ask, data, events, open, publish, world, world_with};
use crate::memory_net::{Loop, Peer, check_accounts, get};
use crate::support::{Client, ms, secs, serve};
use mio_sse::{
    Audience, CloseReason, Config, Context, EVENT_BYTES_MAX, Error, Event, Handler, History, Message, Missed,
    Observer, Overflow, Reply, Request, Router, StreamId, TopicConfig,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn config(change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    change(&mut config);
    config
}

/// Every request opens a stream on the topics of its path, with the tag `all`. Its handler then runs the
/// given function.
struct App<F> {
    opened: Vec<StreamId>,
    asked: F,
}

impl<F: FnMut(StreamId, &mut Context<'_>)> Handler for App<F> {
    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
        (self.asked)(cx.stream().unwrap(), cx);
        let path = request.path()[1..].to_owned();
        let topics = path.split('+').filter(|topic| !topic.is_empty());
        topics.fold(Reply::stream().tag("all"), |reply, topic| reply.topic(topic)).into()
    }

    fn opened(&mut self, stream: StreamId, _request: &Request<'_>, _cx: &mut Context<'_>) {
        self.opened.push(stream);
    }
}

fn app_with<F: FnMut(StreamId, &mut Context<'_>)>(config: Config, asked: F) -> Loop<App<F>> {
    Loop::with_config(App { opened: Vec::new(), asked }, config)
}

/// Opens a stream and reads its head.
fn stream<F: FnMut(StreamId, &mut Context<'_>)>(world: &mut Loop<App<F>>, path: &str) -> (Peer, StreamId) {
    let peer = world.connect();
    peer.write(get(path));
    world.settle();
    assert!(peer.read().starts_with("HTTP/1.1 200"));
    (peer, *world.server.handler().opened.last().unwrap())
}

fn large(number: impl std::fmt::Display, size: usize) -> String {
    format!("{number} {}", "x".repeat(size))
}

// Conflation.

#[test]
fn a_stream_whose_socket_has_room_gets_every_event_also_from_the_queue() {
    for (private, two) in [(false, false), (true, false), (false, true), (true, true)] {
        let mut world = app_with(config(|config| config.topic = TopicConfig::default().keyed()), |_, _| ());
        let (peer, id) = stream(&mut world, "/a+b");
        let mut cx = world.server.context();
        let mut expected = Vec::new();
        if private {
            cx.send(id, Event::new().data("hello")).unwrap();
            expected.push("hello".to_owned());
        }
        for number in 0..10 {
            // Far more than is copied at once, so that it is queued again while some events are superseded.
            expected.push(large(number, 60_000));
            cx.publish("a", Event::new().data(large(number, 60_000)).key("k")).unwrap();
        }
        if two {
            cx.publish("b", Event::new().data("other")).unwrap();
            expected.push("other".to_owned());
        }
        world.settle();
        assert!(data(&peer) == expected, "private send {private}, two topics {two}");
        assert_eq!(world.server.stats().streams_behind, 0);
    }
}

// Gaps.

fn skipping() -> Config {
    config(|config| {
        config.lag_bytes_max = 1000;
        config.topic = TopicConfig::default().overflow(Overflow::Skip);
        (config.heartbeat, config.max_age) = (None, None);
        config.stall_timeout = secs(7 * 24 * 60 * 60);
    })
}

#[test]
fn a_stream_that_skips_repeatedly_gets_one_gap_in_its_place() {
    // Stuck within its head, and within an event.
    for topics in ["a", "a+b"] {
        skips_again_and_again(topics, true, 10);
        skips_again_and_again(topics, false, 5);
    }
}

#[test]
fn a_stream_that_skips_repeatedly_with_an_empty_hand_gets_one_gap() {
    for topics in ["a", "a+b"] {
        skips_again_and_again(topics, false, 0);
    }
}

/// A stream that reads this many bytes, of its head or of an event, and nothing more for very long.
fn skips_again_and_again(topics: &str, within_head: bool, room: usize) {
    let mut world = world_with(skipping());
    let peer = world.connect();
    if within_head {
        peer.set_room(room);
    }
    peer.write(ask(&format!("/{topics}"), None));
    world.settle();
    if !within_head {
        peer.read();
        peer.set_room(room);
    }
    let case = format!("{topics}, room for {room}");
    const ROUNDS: usize = 300;
    for round in 0..ROUNDS {
        let topic = if topics == "a" || round % 2 == 0 { "a" } else { "b" };
        publish(&mut world, topic, &[&large(round, 70_000)]);
        world.pass(ms(20));
        let held = world.server.stats().log_bytes;
        assert!(held < 20 * 70_000, "{case}: nothing piles up: {held} bytes in round {round}");
    }
    peer.set_room(usize::MAX);
    world.settle();
    let received = events(&peer);
    let gaps: Vec<_> = received.iter().filter(|event| event.event == "gap").collect();
    assert_eq!(gaps.len(), 1, "{case}: one gap");
    assert_eq!(world.server.stats().gaps, 1, "{case}");
    let missed: usize = gaps[0].data.parse().unwrap();
    // Directly after the pending event.
    let begun = usize::from(room == 5);
    assert_eq!(received[begun].event, "gap", "{case}");
    let got = received.len() - 1;
    assert_eq!(got + missed, ROUNDS, "{case}: {missed} missed");
    assert!(got < 10, "{case}: {got}");
    assert!(received.last().unwrap().data.starts_with(&format!("{} ", ROUNDS - 1)), "{case}");
    assert_eq!(world.server.stats().log_bytes, 0, "{case}");
}

// Stalls.

#[test]
fn the_stall_timeout_starts_when_the_socket_first_has_no_room() {
    let closed = |world: &mut Loop<Router>| world.server.stats().closed(CloseReason::Stalled);
    for room in [0, 3] {
        let mut world = world_with(config(|config| config.heartbeat = Some(secs(300))));
        let peer = open(&mut world, "/a", None);
        peer.read();
        // It was silent for long, with nothing to read.
        world.pass(secs(60));
        peer.set_room(room);
        publish(&mut world, "a", &["1"]);
        world.pass(ms(29_900));
        assert_eq!(closed(&mut world), 0, "room for {room}: less than `stall_timeout`");
        // A byte is progress.
        peer.set_room(1);
        world.pass(ms(29_900));
        publish(&mut world, "a", &["2"]);
        assert_eq!(closed(&mut world), 0, "room for {room}: published events do not count");
        world.pass(ms(1100));
        assert_eq!(closed(&mut world), 1, "room for {room}: looked at once a second");
        assert!(peer.is_closed());
    }
}

#[test]
fn a_stream_that_nothing_is_written_to_never_stalls() {
    let mut world = world_with(config(|config| (config.heartbeat, config.max_age) = (None, None)));
    let peer = open(&mut world, "/a", None);
    world.pass(secs(3600));
    peer.read();
    publish(&mut world, "a", &["1"]);
    assert_eq!(data(&peer), ["1"]);
    // One whose socket had no room for nearly the whole timeout, and then had.
    peer.set_room(2);
    publish(&mut world, "a", &["2"]);
    world.pass(secs(29));
    peer.set_room(usize::MAX);
    world.pass(secs(3600));
    assert_eq!(data(&peer), ["2"]);
    assert_eq!(world.server.stats().streams, 1);
}

// Earlier requests.

/// Closes when the application is asked for its missed events.
struct EndsInMissed {
    panics: bool,
}

impl Handler for EndsInMissed {
    fn request(&mut self, request: &Request<'_>, _cx: &mut Context<'_>) -> Reply {
        if request.path() == "/page" { Reply::text("the page") } else { Reply::stream().topic("a").into() }
    }

    fn missed(&mut self, stream: StreamId, _last: &str, cx: &mut Context<'_>) -> Missed {
        assert!(!self.panics, "as a test");
        let event = Event::new().data("x".repeat(EVENT_BYTES_MAX - 100));
        assert!(
            (0..3).any(|_| cx.send(stream, &event) == Err(Error::Closed)),
            "more than it may be sent at once"
        );
        Missed::Sent
    }
}

#[test]
fn earlier_replies_arrive_though_the_stream_after_them_closes_during_missed_events() {
    for (panics, reason) in [(false, CloseReason::Lagged), (true, CloseReason::Panicked)] {
        let config = config(|config| config.topic = TopicConfig::default().history(History::new()));
        let mut world = Loop::<_>::with_config(EndsInMissed { panics }, config);
        let peer = world.connect();
        peer.write(format!("{}{}", get("/page"), ask("/a", Some("lost"))));
        world.settle();
        let replies = crate::support::replies(&peer.read());
        assert_eq!(replies, [(200, "the page".to_owned())], "{reason}");
        assert!(peer.is_closed(), "{reason}");
        let stats = world.server.stats();
        assert_eq!(stats.connections_closed(reason), 1, "{reason}");
        assert_eq!(
            (stats.streams, stats.streams_opened, stats.topics),
            (0, 0, 0),
            "nobody was told that it began"
        );
        assert_eq!(stats.panics, u64::from(panics));
        check_accounts(&stats);
    }
}

// Events that are sent while a stream is being opened.

#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Observer for Journal {
    fn message(&mut self, message: &Message<'_>) {
        let to = match message.to {
            Audience::Topic(topic) => format!("topic {topic}"),
            Audience::Tag(tag) => format!("tag {tag}"),
            _ => "a stream".to_owned(),
        };
        self.0.lock().unwrap().push(format!("{} to {to}", message.text.trim_end()));
    }
}

/// `/other` is a stream with the tag `t`; any other path has the reply that it names, after the handler has
/// sent to the tag.
fn tagged_while_opening(streams_max: usize) -> (Loop<Router>, Journal) {
    let mut app = Router::new();
    app.get("/other", |_request, _cx| Reply::stream().tag("t"));
    app.get("/untagged", |_request, _cx| Reply::stream());
    app.get("/{answer}", |request, cx| {
        let stream = cx.stream().unwrap();
        cx.tag(stream, "t")?;
        cx.send_tagged("t", Event::new().data("to the tag"))?;
        match request.param("answer").unwrap() {
            "page" => Ok(Reply::text("no stream")),
            "error" => Err(Error::Stopped),
            "closed" => {
                cx.close(stream)?;
                Ok(Reply::stream().into())
            }
            "panic" => panic!("as a test"),
            _ => {
                cx.send(stream, Event::new().data("to it alone"))?;
                Ok(Reply::stream().into())
            }
        }
    });
    let mut world = Loop::with_config(app, config(|config| config.streams_max = streams_max));
    let journal = Journal::default();
    world.server.observe(journal.clone());
    (world, journal)
}

fn counted(world: &Loop<Router>) -> (u64, u64) {
    let stats = world.server.stats();
    (stats.events_sent, stats.events_delivered)
}

#[test]
fn an_event_to_the_tag_of_an_opening_stream_is_counted_and_observed_once() {
    let (mut world, journal) = tagged_while_opening(10);
    let peer = open(&mut world, "/stream", None);
    assert_eq!(data(&peer), ["to the tag", "to it alone"]);
    assert_eq!(counted(&world), (2, 2));
    let told = ["data: to the tag to tag t", "data: to it alone to a stream"];
    assert_eq!(journal.0.lock().unwrap()[..], told);

    // One that is open already counts separately, and is not observed twice.
    let (mut world, journal) = tagged_while_opening(10);
    let other = open(&mut world, "/other", None);
    let peer = open(&mut world, "/stream", None);
    assert_eq!(data(&other), ["to the tag"]);
    assert_eq!(data(&peer), ["to the tag", "to it alone"]);
    assert_eq!(counted(&world), (3, 3));
    assert_eq!(journal.0.lock().unwrap()[..], told);

    // Nor is one that its handler has closed.
    let (mut world, journal) = tagged_while_opening(10);
    let peer = open(&mut world, "/closed", None);
    assert_eq!(data(&peer), ["to the tag"]);
    assert_eq!(counted(&world), (1, 1));
    assert_eq!(journal.0.lock().unwrap()[..], told[..1]);
}

#[test]
fn an_event_to_the_tag_of_a_stream_that_does_not_open_is_not_counted() {
    for (request, status) in [
        (ask("/page", None), 200),
        (ask("/error", None), 500),
        (ask("/panic", None), 500),
        (ask("/refused", None), 503),
        (ask("/stream", None).replace("GET", "HEAD"), 200),
    ] {
        let (mut world, journal) = tagged_while_opening(1);
        if status == 503 {
            // Another stream has its slot.
            open(&mut world, "/untagged", None);
        }
        let peer = world.connect();
        peer.write(&request);
        world.settle();
        assert!(peer.read().starts_with(&format!("HTTP/1.1 {status} ")), "{request}");
        assert_eq!(counted(&world), (0, 0), "{request}");
        assert_eq!(journal.0.lock().unwrap()[..], ["data: to the tag to tag t"], "{request}");
    }
}

// Numbers that overflow.

#[test]
fn a_keyed_topic_may_hold_any_number_of_bytes_for_streams_that_lag() {
    let mut world = world_with(config(|config| {
        (config.lag_bytes_max, config.topic) = (usize::MAX, TopicConfig::default().keyed());
    }));
    let (peer, slow) = (open(&mut world, "/a", None), open(&mut world, "/a", None));
    peer.read();
    slow.read();
    slow.set_room(3);
    for number in 0..100 {
        let event = Event::new().data(large(number, 10_000));
        let event = if number % 2 == 0 { event.key("k") } else { event };
        world.server.context().publish("a", event).unwrap();
        world.pass(ms(10));
    }
    slow.set_room(usize::MAX);
    world.settle();
    let number = |text: String| text.split_once(' ').unwrap().0.parse::<usize>().unwrap();
    assert!(data(&peer).into_iter().map(number).eq(0..100));
    let expected = (0..100).filter(|number| *number == 0 || number % 2 == 1 || *number == 98);
    assert!(data(&slow).into_iter().map(number).eq(expected));
    assert_eq!((world.server.stats().panics, world.server.stats().streams), (0, 2));
}

#[test]
fn an_age_given_to_a_history_counts_also_for_events_of_more_than_49_days() {
    // Milliseconds in 32 bits wrap after 49.7 days.
    for wraps in [0, 1, 2] {
        let mut world = world(TopicConfig::default().history(History::new()));
        world.turn();
        publish(&mut world, "a", &["old"]);
        world.jump(Duration::from_millis((wraps << 32) + 1000));
        publish(&mut world, "a", &["younger"]);
        world.jump(ms(1000));
        world.turn();
        let age = TopicConfig::default().history(History::new().age(secs(3600)));
        world.server.context().configure("a", age).unwrap();
        world.settle();
        let kept = data(&open(&mut world, "/a?from=oldest", None));
        assert_eq!(kept, if wraps == 0 { vec!["old", "younger"] } else { vec!["younger"] }, "{wraps} wraps");
        world.pass(secs(3600));
        assert_eq!(world.server.stats().log_bytes, 0, "{wraps} wraps");
    }
}

// Streams that begin with older events, and streams that close after them.

#[test]
fn events_after_a_stream_has_subscribed_in_its_handler_are_no_gap() {
    for lost in [0, 3] {
        let mut asked = 0;
        let keep =
            |config: &mut Config| config.topic = TopicConfig::default().history(History::new().events(2));
        let mut world = app_with(config(keep), move |stream, cx| {
            asked += 1;
            if asked == 2 {
                cx.subscribe(stream, "a").unwrap();
                // More than the history holds.
                for number in 1..=5 {
                    cx.publish("a", Event::new().data(number.to_string())).unwrap();
                }
            }
        });
        let (first, _) = stream(&mut world, "/a");
        world.server.context().publish("a", Event::new().data("0")).unwrap();
        world.settle();
        let seen = events(&first)[0].id.clone();
        first.close();
        world.settle();
        for number in 0..lost {
            world.server.context().publish("a", Event::new().data(format!("lost {number}"))).unwrap();
        }
        world.settle();
        let peer = world.connect();
        peer.write(ask("/a", Some(&seen)));
        world.settle();
        let received = events(&peer);
        let gaps = received.iter().filter(|event| event.event == "gap").count();
        assert_eq!(gaps, usize::from(lost > 0), "{lost} lost");
        assert_eq!(world.server.stats().gaps, u64::from(lost > 0), "{lost} lost");
        assert!(lost == 0 || received[0].event == "gap");
        let received = received.iter().filter(|event| event.event != "gap").map(|event| &*event.data);
        assert!(received.eq(["1", "2", "3", "4", "5"]), "{lost} lost");
    }
}

#[test]
fn a_keyed_stream_that_lags_and_is_closed_gets_events_superseded_later() {
    for topics in ["a", "a+b"] {
        let mut world = world_with(config(|config| {
            (config.lag_bytes_max, config.topic) = (1000, TopicConfig::default().keyed());
        }));
        let peer = open(&mut world, &format!("/{topics}"), None);
        peer.read();
        peer.set_room(3);
        let set = |world: &mut Loop<Router>, key: &'static str, value: &str| {
            world
                .server
                .context()
                .publish("a", Event::new().data(format!("{key} {value}")).key(key))
                .unwrap();
            world.settle();
        };
        for value in ["1", "2", "3"] {
            set(&mut world, "x", value);
            set(&mut world, "y", value);
        }
        publish(&mut world, "b", &["b"]);
        assert_eq!(world.server.context().close_tagged("all"), 1);
        for number in 0..50 {
            set(&mut world, "x", &large(number, 3000));
            set(&mut world, "y", &large(number, 3000));
            publish(&mut world, "a", &[&large("without a key", 3000)]);
            world.pass(ms(20));
        }
        peer.set_room(usize::MAX);
        world.settle();
        let received = peer.read();
        assert!(received.ends_with("\r\n0\r\n\r\n"), "{received}");
        let received: Vec<_> = received.lines().filter_map(|line| line.strip_prefix("data: ")).collect();
        let expected = ["x 1", "x 3", "y 3", "b"];
        assert_eq!(received, expected[..if topics == "a" { 3 } else { 4 }]);
        assert_eq!(world.server.stats().connections_closed(CloseReason::Lagged), 0);
    }
}

#[test]
fn a_stream_that_replays_is_not_cut_before_it_was_served() {
    let mut app = Router::new();
    app.get("/a", |_request, _cx| Reply::stream().topic("a").snapshot());
    app.get("/more", |_request, cx| {
        // Nothing of the old history is left.
        let from = usize::try_from(cx.stats().events_published).unwrap();
        (from..from + 4)
            .for_each(|number| cx.publish("a", Event::new().data(large(number, 70_000))).unwrap());
        Reply::no_content()
    });
    let mut world = Loop::<_>::with_config(
        app,
        config(|config| {
            (config.sends_per_turn, config.lag_bytes_max) = (1, 1);
            config.topic = TopicConfig::default().history(History::new().events(3));
        }),
    );
    let peers: Vec<_> = (0..6).map(|_| world.connect()).collect();
    let more = world.connect();
    more.write(get("/more"));
    world.settle();
    // All requests are handled in one turn, in this order, and one of the streams is served in it.
    peers.iter().for_each(|peer| peer.write(get("/a")));
    for _ in 0..6 {
        more.write(get("/more"));
        world.turn();
        world.jump(ms(300));
    }
    world.settle();
    assert_eq!(world.server.stats().closed(CloseReason::Lagged), 0);
    for (number, peer) in peers.iter().enumerate() {
        let numbers: Vec<usize> =
            data(peer).iter().map(|text| text.split_once(' ').unwrap().0.parse().unwrap()).collect();
        // From the oldest event of the history when it connected.
        assert!(numbers.iter().copied().eq(1..28), "stream {number}: {numbers:?}");
    }
}

// Bursts, and clients that read them.

/// Reads a stream up to the event `end`, as fast as possible. Returns the numbers at the beginning of its
/// events.
fn numbers_to_the_end(client: &mut Client) -> Vec<usize> {
    client.socket.set_read_timeout(Some(crate::support::DEADLINE)).unwrap();
    let mut received = Vec::new();
    let mut buffer = vec![0; 256 << 10];
    while !received.ends_with(b"data: end\n\n\r\n") {
        let count = client.read(&mut buffer).unwrap();
        assert!(count > 0, "cut after {} bytes", received.len());
        received.extend_from_slice(&buffer[..count]);
    }
    let text = String::from_utf8(received).unwrap();
    let numbers = text.lines().filter_map(|line| line.strip_prefix("data: ")?.split_once(' '));
    numbers.map(|(number, _)| number.parse().unwrap()).collect()
}

#[test]
fn a_burst_of_a_publisher_reaches_clients_that_read() {
    const READERS: u64 = 3;
    for (count, size) in [(8, 300 << 10), (40, 64 << 10)] {
        let mut app = Router::new();
        app.get("/a", |_request, _cx| Reply::stream().topic("a"));
        let server = serve(app);
        let readers: Vec<_> = (0..READERS)
            .map(|_| {
                let mut client = server.connect();
                assert_eq!(client.get("/a").status, 200);
                std::thread::spawn(move || numbers_to_the_end(&mut client))
            })
            .collect();
        server.wait_for("all of them", |stats| stats.streams == READERS);
        for number in 0..count {
            server.publisher.publish("a", Event::new().data(large(number, size))).unwrap();
        }
        server.publisher.publish("a", Event::new().data("end")).unwrap();
        for reader in readers {
            assert!(reader.join().unwrap().into_iter().eq(0..count), "{count} of {size}");
        }
        assert_eq!(server.stats().closed(CloseReason::Lagged), 0);
    }
}

/// Advances the time, while the peer reads this many bytes in 10 ms.
fn read_on<H: mio_sse::App>(world: &mut Loop<H>, peer: &Peer, bytes: usize, rounds: usize) {
    for _ in 0..rounds {
        world.pass(ms(10));
        peer.set_room(bytes);
        world.settle();
    }
}

#[test]
fn publishers_wait_for_a_stream_that_goes_on_reading_and_memory_does_not_grow() {
    const SIZE: usize = 300 << 10;
    for (lag, count) in [(1 << 20, 8), (1 << 20, 40)] {
        let mut world = world_with(config(|config| (config.lag_bytes_max, config.inbox_max) = (lag, 1)));
        let (peer, fast) = (open(&mut world, "/a", None), open(&mut world, "/a", None));
        peer.read();
        fast.read();
        peer.set_room(64 << 10);
        let publisher = world.server.publisher();
        let mut published = 0;
        let mut received = 0;
        for round in 0.. {
            // As many at once as the inbox has room for.
            while published < count
                && publisher.try_publish("a", Event::new().data(large(published, SIZE))).is_ok()
            {
                published += 1;
                world.turn();
            }
            world.settle();
            let stats = world.server.stats();
            assert_eq!(stats.closed(CloseReason::Lagged), 0, "it reads on in round {round}");
            // Events within the limit, those that were begun, and those that were accepted after waiting.
            assert!(stats.log_bytes <= (lag + 3 * SIZE) as u64, "{} bytes in round {round}", stats.log_bytes);
            if stats.events_published < published as u64 {
                assert!(world.server.next_timeout().is_some_and(|wait| wait <= ms(100)), "it looks again");
            }
            read_on(&mut world, &peer, 128 << 10, 1);
            received += peer.read().matches("data: ").count();
            if received == count {
                let most = count * SIZE / (128 << 10) + 2;
                assert!(round <= most, "it had something to read in all {round} rounds but {most}");
                break;
            }
        }
        // The rest of the last one.
        peer.set_room(SIZE);
        world.settle();
        assert_eq!(data(&fast).len(), count);
        let stats = world.server.stats();
        assert_eq!((stats.events_published, stats.streams, stats.log_bytes), (count as u64, 2, 0));
    }
}

#[test]
fn publishers_do_not_wait_for_stuck_readers() {
    let mut world = world_with(config(|config| config.lag_bytes_max = 100_000));
    let peer = open(&mut world, "/a", None);
    let publisher = world.server.publisher();
    let publish =
        |number: usize| publisher.try_publish("a", Event::new().data(large(number, 70_000))).unwrap();
    let published = |world: &Loop<Router>| world.server.stats().events_published;
    let fill = |world: &mut Loop<Router>| {
        peer.read();
        peer.set_room(10);
        let before = published(world);
        for number in 0..10 {
            publish(number);
            world.settle();
        }
        let taken = published(world) - before;
        assert!((3..6).contains(&taken), "{taken} taken, and the others wait");
        before + 10
    };
    // It reads everything at once, so publishers do not wait, and no time passes.
    let all = fill(&mut world);
    peer.set_room(usize::MAX);
    world.settle();
    // The next turn, whatever its cause, finds that they need not wait.
    world.settle();
    assert_eq!((published(&world), world.server.stats().streams), (all, 1));
    assert_eq!(peer.read().matches("data: ").count(), 10);
    // It reads nothing, and they have waited for that long enough.
    let all = fill(&mut world);
    world.pass(ms(100));
    assert_eq!((published(&world), world.server.stats().closed(CloseReason::Lagged)), (all, 1));
    assert_eq!(world.server.stats().log_bytes, 0);
}

#[test]
fn a_slow_reader_is_closed_for_events_that_it_had_time_to_read() {
    let mut world = world_with(config(|config| config.lag_bytes_max = 100_000));
    let peer = open(&mut world, "/a", None);
    peer.read();
    peer.set_room(10);
    let mut cut = 0;
    for number in 0..50 {
        publish(&mut world, "a", &[&large(number, 70_000)]);
        read_on(&mut world, &peer, 1000, 2);
        cut += usize::from(!peer.is_closed());
    }
    // 20 ms each: not within 100 ms, and not much more than 200 ms later.
    assert!((5..15).contains(&cut), "{cut}");
    assert_eq!(world.server.stats().closed(CloseReason::Lagged), 1);
}

#[test]
fn the_first_events_of_a_handler_may_exceed_the_lag_limit() {
    for room in [usize::MAX, 1 << 20] {
        let mut app = Router::new();
        app.sse("/", |stream, _request, cx| cx.send(stream, Event::new().data("x".repeat(3 << 20))));
        let mut world = Loop::new(app);
        let peer = world.connect();
        peer.set_room(room);
        peer.write(get("/"));
        world.settle();
        peer.set_room(usize::MAX);
        world.settle();
        let received = peer.read();
        assert!(received.len() > 3 << 20 && received.ends_with("xx\n\n\r\n"), "{} bytes", received.len());
        assert_eq!(world.server.stats().streams, 1);
    }
}

#[test]
fn a_burst_that_is_read_over_several_turns_is_no_lag() {
    let mut world = app_with(Config::default(), |_, _| ());
    let (peer, id) = stream(&mut world, "/");
    for number in 0..4 {
        world.server.context().send(id, Event::new().data(large(number, 1 << 20))).unwrap();
    }
    world.turn();
    assert_eq!(peer.read().len() >> 20, 1, "the others have their turn");
    assert_eq!(world.server.context().send(id, Event::new().data("4 ")), Ok(()));
    world.settle();
    assert_eq!(peer.read().matches("data: ").count(), 4);
}

#[test]
fn many_streams_that_lag_in_a_keyed_topic_and_are_closed_do_not_copy_all_of_it_each() {
    let mut world = world_with(config(|config| config.topic = TopicConfig::default().keyed()));
    let peers: Vec<_> = (0..50).map(|_| open(&mut world, "/a", None)).collect();
    peers.iter().for_each(|peer| peer.set_room(3));
    for number in 0..15 {
        publish(&mut world, "a", &[&large(number, 60_000)]);
    }
    let before = world.server.stats().log_bytes;
    assert_eq!(world.server.context().close_tagged("all"), 50);
    let after = world.server.stats().log_bytes;
    assert!(after < 2 * before, "{before} bytes, and then {after}");
}

#[test]
fn messages_of_other_threads_are_handled_whatever_handlers_publish() {
    let mut world = app_with(Config::default(), |_, _| ());
    let (peer, _) = stream(&mut world, "/a");
    // 15 MB a second, which it reads as fast, with somewhat less than 100 ms of delay.
    world.server.context().every_global(ms(20), |cx| cx.publish("a", Event::new().data("x".repeat(300_000))));
    peer.set_room(10);
    world.pass(ms(60));
    peer.set_room(10);
    world.pass(ms(65));
    world.server.publisher().revoke("all", secs(60)).unwrap();
    read_on(&mut world, &peer, 150_010, 100);
    assert_eq!(world.server.stats().streams, 0, "a second later it is revoked");
}

// Turns and memory.

#[test]
fn neither_the_queue_nor_a_wave_starves_the_other() {
    let mut world = app_with(config(|config| config.sends_per_turn = 8), |_, _| ());
    let many: Vec<_> = (0..40).map(|_| stream(&mut world, "/a").0).collect();
    let others: Vec<_> = (0..40).map(|_| stream(&mut world, "/b")).collect();
    world.server.context().publish("a", Event::new().data("1")).unwrap();
    let (mut reached, mut turns) = (0, 0);
    while reached < many.len() {
        // The queue always has more than a turn serves.
        for (_, id) in &others {
            world.server.context().send(*id, Event::new().data("x")).unwrap();
        }
        world.turn();
        turns += 1;
        let served = others.iter().filter(|(peer, _)| !peer.read().is_empty()).count();
        reached += many.iter().filter(|peer| !peer.read().is_empty()).count();
        assert_eq!(served, 4, "half of turn {turns} is the queue's");
        assert_eq!(reached, 4 * turns, "and half of it the wave's");
    }
}

#[test]
fn private_events_of_a_slow_reader_are_freed_while_it_reads() {
    const SIZE: usize = 70_000;
    let mut world = app_with(Config::default(), |_, _| ());
    let (peer, id) = stream(&mut world, "/a");
    peer.set_room(0);
    for number in 0..10 {
        world.server.context().send(id, Event::new().data(large(number, SIZE))).unwrap();
        world.settle();
    }
    assert!(world.server.stats().log_bytes > 10 * SIZE as u64);
    for read in 1..=10 {
        peer.set_room(SIZE);
        world.settle();
        let held = usize::try_from(world.server.stats().log_bytes).unwrap();
        // Each is copied into a block of its own.
        assert!(held <= (11 - read) * (SIZE + 100), "{held} bytes after {read} of 10");
    }
    peer.set_room(SIZE);
    world.settle();
    assert_eq!((world.server.stats().log_bytes, peer.read().matches("data: ").count()), (0, 10));
}
