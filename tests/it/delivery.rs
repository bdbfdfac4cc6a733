//! Which bytes reach a stream, in which order and in how many writes: the real loop over a network in memory.

use crate::memory_net::{Loop, Peer, get};
use crate::support::parse;
use mio_sse::{CloseReason, Config, Error, Event, History, Reply, Router, StreamId, TopicConfig};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Streams by topic, chunked and close-delimited; `/none` is a stream without a topic.
fn app() -> Router {
    let mut app = Router::new();
    app.get("/events/{topic}", |request, _cx| Reply::stream().topic(request.param("topic").unwrap()));
    app.get("/close-delimited/{topic}", |request, _cx| {
        Reply::stream().topic(request.param("topic").unwrap()).close_delimited()
    });
    app.sse("/none", |_stream, _request, _cx| ());
    app
}

/// Opens a stream and reads its head and the opening comment.
fn open<const SHORT: bool>(world: &mut Loop<Router, SHORT>, path: &str) -> Peer {
    let peer = world.connect();
    peer.write(get(path));
    world.settle();
    let opening = peer.read();
    assert!(opening.starts_with("HTTP/1.1 200 OK\r\n"), "{opening}");
    peer.writes();
    peer
}

/// The body of a chunked stream, which must consist of whole chunks.
fn unwrap_chunks(mut text: &str) -> String {
    let mut body = String::new();
    while !text.is_empty() {
        let (size, rest) = text.split_once("\r\n").expect("a chunk size line");
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        body.push_str(&rest[..size]);
        text = rest[size..].strip_prefix("\r\n").expect("a chunk ends with CRLF");
    }
    body
}

fn publish<const SHORT: bool>(world: &mut Loop<Router, SHORT>, topic: &str, data: &str) {
    world.server.context().publish(topic, Event::new().data(data.to_owned())).unwrap();
}

#[test]
fn head_and_first_byte_of_the_body_leave_in_one_write() {
    let mut world = Loop::new(app());
    let peer = world.connect();
    peer.write(get("/events/a"));
    world.settle();
    assert_eq!(peer.writes().len(), 1);
    assert_eq!(peer.reads(), 1);
    let text = peer.read();
    let (head, body) = text.split_once("\r\n\r\n").unwrap();
    assert!(head.contains("\r\nContent-Type: text/event-stream\r\n"), "{head}");
    assert!(head.contains("\r\nDate: Fri, 15 Jan 2027 08:00:00 GMT\r\n"), "{head}");
    assert_eq!(unwrap_chunks(body), ":\n");
}

#[test]
fn events_that_a_handler_sends_follow_the_head_in_the_same_write() {
    let mut app = Router::new();
    app.sse("/", |stream, _request, cx| {
        cx.send(stream, Event::new().data("first"))?;
        cx.subscribe(stream, "room")?;
        cx.publish("room", Event::new().data("joined"))?;
        cx.send(stream, Event::new().data("last"))?;
        Ok::<_, Error>(Reply::stream().retry(Duration::from_millis(1500)))
    });
    let mut world = Loop::new(app);
    let peer = world.connect();
    peer.write(get("/"));
    world.settle();
    let text = peer.read();
    let (_, body) = text.split_once("\r\n\r\n").unwrap();
    assert_eq!(unwrap_chunks(body), "retry: 1500\ndata: first\n\ndata: joined\n\ndata: last\n\n");
    assert_eq!(peer.writes().len(), 1);
}

#[test]
fn an_event_published_by_a_handler_is_not_for_the_stream_of_its_reply() {
    let mut app = Router::new();
    app.get("/", |_request, cx| {
        cx.publish("room", Event::new().data("before"))?;
        Ok::<_, Error>(Reply::stream().topic("room"))
    });
    let mut world = Loop::new(app);
    let (first, second) = (world.connect(), world.connect());
    first.write(get("/"));
    world.settle();
    second.write(get("/"));
    world.settle();
    assert_eq!(
        first.read().matches("data: before").count(),
        1,
        "only what the second one's request published"
    );
    assert_eq!(second.read().matches("data: before").count(), 0);
}

#[test]
fn a_burst_is_one_write_for_each_stream() {
    let mut world = Loop::new(app());
    let peers: Vec<_> = (0..20).map(|_| open(&mut world, "/events/a")).collect();
    let old = open(&mut world, "/close-delimited/a");
    for n in 0..64 {
        publish(&mut world, "a", &n.to_string());
    }
    world.settle();
    let expected: String = (0..64).map(|n| format!("data: {n}\n\n")).collect();
    for peer in &peers {
        assert_eq!(peer.writes().len(), 1);
        assert_eq!(unwrap_chunks(&peer.read()), expected);
    }
    assert_eq!(old.writes().len(), 1);
    assert_eq!(old.read(), expected);
}

#[test]
fn a_burst_over_several_topics_and_to_the_stream_alone_is_one_write_in_order() {
    let stream = Arc::new(Mutex::new(None));
    let mut app = Router::new();
    let opened = stream.clone();
    app.sse("/", move |id, _request, _cx| {
        *opened.lock().unwrap() = Some(id);
        Reply::stream().topic("a").topic("b")
    });
    let mut world = Loop::new(app);
    let peer = open(&mut world, "/");
    let stream = stream.lock().unwrap().unwrap();
    let mut cx = world.server.context();
    for (n, to) in ["a", "b", "", "a", "", "b", "b"].into_iter().enumerate() {
        let event = Event::new().data(n.to_string());
        if to.is_empty() { cx.send(stream, event).unwrap() } else { cx.publish(to, event).unwrap() }
    }
    world.settle();
    assert_eq!(peer.writes().len(), 1);
    let expected: String = (0..7).map(|n| format!("data: {n}\n\n")).collect();
    assert_eq!(unwrap_chunks(&peer.read()), expected);
}

#[test]
fn a_slow_reader_does_not_hold_up_the_others_and_misses_nothing() {
    let mut world = Loop::new(app());
    let (slow, fast) = (open(&mut world, "/events/a"), open(&mut world, "/events/a"));
    slow.set_room(7);
    for n in 0..10 {
        publish(&mut world, "a", &n.to_string());
        world.settle();
        assert!(unwrap_chunks(&fast.read()).ends_with(&format!("data: {n}\n\n")));
    }
    assert_eq!(slow.read().len(), 7, "a frame is cut where the socket is full");
    let mut text = "c\r\ndata: 0\n\n\r\n"[..7].to_owned();
    for _ in 0..200 {
        slow.set_room(3);
        world.settle();
        text.push_str(&slow.read());
    }
    // The first seven bytes were checked above.
    text.replace_range(..7, "9\r\ndata");
    let expected: String = (0..10).map(|n| format!("data: {n}\n\n")).collect();
    assert_eq!(unwrap_chunks(&text), expected);
}

#[test]
fn only_a_stream_that_lags_behind_the_log_is_closed() {
    let mut config = Config::default();
    config.lag_bytes_max = 100_000;
    let mut world = Loop::<_>::with_config(app(), config);
    let (stalled, reading) = (open(&mut world, "/events/a"), open(&mut world, "/events/a"));
    stalled.set_room(0);
    let data = "x".repeat(10_000);
    for _ in 0..40 {
        publish(&mut world, "a", &data);
        world.settle();
    }
    assert!(!stalled.is_closed(), "it has had no time to read yet");
    world.pass(Duration::from_millis(100));
    publish(&mut world, "a", &data);
    world.settle();
    assert!(stalled.is_closed());
    assert!(!reading.is_closed());
    assert_eq!(parse(unwrap_chunks(&reading.read()).as_bytes()).len(), 41);
    let stats = world.server.stats();
    assert_eq!((stats.closed(CloseReason::Lagged), stats.streams_closed(), stats.streams), (1, 1, 1));
}

#[test]
fn more_than_the_limit_sent_to_one_stream_closes_it() {
    let mut config = Config::default();
    config.lag_bytes_max = 50_000;
    let stream = Arc::new(Mutex::new(None));
    let mut app = Router::new();
    let opened = stream.clone();
    app.sse("/", move |id, _request, _cx| *opened.lock().unwrap() = Some(id));
    let mut world = Loop::<_>::with_config(app, config);
    let peer = open(&mut world, "/");
    peer.set_room(0);
    let stream = stream.lock().unwrap().unwrap();
    let event = Event::new().data("x".repeat(10_000));
    let send = |world: &mut Loop<Router>| {
        world.settle();
        world.server.context().send(stream, &event)
    };
    let sent = (0..10).take_while(|_| send(&mut world).is_ok()).count();
    assert_eq!(sent, 5, "the sixth finds more than 50,000 bytes that were offered and not taken");
    assert_eq!(send(&mut world), Err(Error::Closed));
    world.settle();
    assert!(peer.is_closed());
    assert_eq!(world.server.stats().closed(CloseReason::Lagged), 1);
}

#[test]
fn a_burst_to_one_stream_is_no_lag_up_to_a_limit() {
    let mut config = Config::default();
    config.lag_bytes_max = 10_000;
    let stream = Arc::new(Mutex::new(None));
    let mut app = Router::new();
    let opened = stream.clone();
    app.sse("/", move |id, _request, _cx| *opened.lock().unwrap() = Some(id));
    let mut world = Loop::<_>::with_config(app, config);
    let open = |world: &mut Loop<Router>| (open(world, "/"), stream.lock().unwrap().unwrap());
    let event = Event::new().data("x".repeat(10_000));
    // Without the limit nothing would end a callback's loop.
    for (count, expected) in [(16, Ok(())), (17, Err(Error::Closed))] {
        let (peer, stream) = open(&mut world);
        let mut sent = (0..count).map(|_| world.server.context().send(stream, &event));
        assert!(sent.by_ref().take(16).all(|sent| sent.is_ok()));
        assert_eq!(sent.last().unwrap_or(Ok(())), expected);
        world.settle();
        assert_eq!(peer.is_closed(), expected.is_err());
        assert_eq!(peer.read().len() / 10_000, if expected.is_ok() { 16 } else { 0 });
    }
    assert_eq!(world.server.stats().closed(CloseReason::Lagged), 1);
}

#[test]
fn a_client_that_reads_nothing_for_too_long_is_closed_though_little_waits() {
    let mut world = Loop::new(app());
    let (stalled, slow) = (open(&mut world, "/events/a"), open(&mut world, "/events/a"));
    stalled.set_room(3);
    slow.set_room(3);
    publish(&mut world, "a", "little, but more than three bytes");
    for _ in 0..10 {
        world.pass(Duration::from_secs(3));
        slow.set_room(1);
    }
    world.pass(Duration::from_secs(1));
    assert!(stalled.is_closed() && !slow.is_closed());
    let stats = world.server.stats();
    assert_eq!((stats.closed(CloseReason::Stalled), stats.streams_closed()), (1, 1));
}

#[test]
fn a_burst_above_the_limit_reaches_clients_that_read_it() {
    let mut config = Config::default();
    config.lag_bytes_max = 10_000;
    let mut world = Loop::<_>::with_config(app(), config);
    let peer = open(&mut world, "/events/a");
    for _ in 0..1000 {
        publish(&mut world, "a", &"x".repeat(5_000));
    }
    world.settle();
    assert_eq!(parse(unwrap_chunks(&peer.read()).as_bytes()).len(), 1000);
}

#[test]
fn a_wave_may_take_many_turns_and_events_go_on_in_between() {
    let mut config = Config::default();
    config.sends_per_turn = 3;
    let mut world = Loop::<_>::with_config(app(), config);
    let mut peers: Vec<_> = (0..50).map(|n| open(&mut world, ["/events/a", "/events/b"][n % 2])).collect();
    for n in 0..40 {
        publish(&mut world, ["a", "b"][n % 2], &n.to_string());
        world.turn();
        if n == 20 {
            // Some streams close in the middle of a wave.
            for peer in peers.drain(10..20) {
                peer.close();
            }
        }
    }
    world.settle();
    for (n, peer) in peers.iter().enumerate() {
        let expected: String = (0..40).filter(|m| m % 2 == n % 2).map(|m| format!("data: {m}\n\n")).collect();
        assert_eq!(unwrap_chunks(&peer.read()), expected);
    }
}

#[test]
fn a_stream_that_leaves_a_topic_within_a_frame_still_gets_the_rest_of_it() {
    for other in ["", "b"] {
        let stream = Arc::new(Mutex::new(None));
        let mut app = Router::new();
        let opened = stream.clone();
        app.sse("/", move |id, _request, cx| {
            *opened.lock().unwrap() = Some(id);
            cx.subscribe(id, "a")?;
            if other.is_empty() { Ok(()) } else { cx.subscribe(id, other) }
        });
        let mut world = Loop::new(app);
        let peer = open(&mut world, "/");
        let stream: StreamId = stream.lock().unwrap().unwrap();
        peer.set_room(5);
        let mut cx = world.server.context();
        cx.publish("a", Event::new().data("begun")).unwrap();
        cx.publish("a", Event::new().data("not begun")).unwrap();
        cx.publish("b", Event::new().data("other")).unwrap();
        world.settle();
        let mut cx = world.server.context();
        cx.unsubscribe(stream, "a").unwrap();
        cx.send(stream, Event::new().data("sent")).unwrap();
        cx.publish("a", Event::new().data("after")).unwrap();
        peer.set_room(usize::MAX);
        world.settle();
        let expected = ["data: begun\n\ndata: sent\n\n", "data: begun\n\ndata: other\n\ndata: sent\n\n"];
        assert_eq!(unwrap_chunks(&peer.read()), expected[other.len()]);
        assert_eq!(world.server.context().subscribers("a"), 0);
    }
}

#[test]
fn a_second_topic_begins_when_it_is_subscribed_also_for_a_stream_that_lags() {
    let stream = Arc::new(Mutex::new(None));
    let mut app = app();
    let opened = stream.clone();
    app.sse("/", move |id, _request, _cx| {
        *opened.lock().unwrap() = Some(id);
        Reply::stream().topic("a")
    });
    let mut world = Loop::new(app);
    let (peer, stalled) = (open(&mut world, "/"), open(&mut world, "/events/b"));
    let stream = stream.lock().unwrap().unwrap();
    peer.set_room(0);
    stalled.set_room(0);
    publish(&mut world, "a", "a1");
    publish(&mut world, "b", "b1, which the log keeps for the other stream");
    world.settle();
    world.server.context().subscribe(stream, "b").unwrap();
    world.server.context().subscribe(stream, "b").unwrap();
    publish(&mut world, "b", "b2");
    publish(&mut world, "a", "a2");
    peer.set_room(usize::MAX);
    world.settle();
    assert_eq!(unwrap_chunks(&peer.read()), "data: a1\n\ndata: b2\n\ndata: a2\n\n");
    world.server.context().unsubscribe(stream, "a").unwrap();
    publish(&mut world, "a", "a3");
    publish(&mut world, "b", "b3");
    world.settle();
    assert_eq!(unwrap_chunks(&peer.read()), "data: b3\n\n");
}

#[test]
fn heartbeats_fill_the_silence_and_nothing_else() {
    let mut world = Loop::new(app());
    let (quiet, busy, old) = (
        open(&mut world, "/events/a"),
        open(&mut world, "/events/b"),
        open(&mut world, "/close-delimited/a"),
    );
    for _ in 0..60 {
        world.pass(Duration::from_secs(1));
        publish(&mut world, "b", "x");
    }
    assert_eq!(unwrap_chunks(&busy.read()).matches(":\n").count(), 0);
    let beats = unwrap_chunks(&quiet.read()).matches(":\n").count();
    assert!((4..=6).contains(&beats), "{beats} in a minute of at most 15 s of silence each");
    assert_eq!(old.read(), ":\n".repeat(beats));
    assert_eq!(world.server.stats().heartbeats, 2 * beats as u64);
}

#[test]
fn silence_never_exceeds_the_heartbeat() {
    let mut world = Loop::new(app());
    let peers: Vec<_> = (0..100).map(|_| open(&mut world, "/events/a")).collect();
    let mut silent = vec![0; peers.len()];
    for _ in 0..600 {
        world.pass(Duration::from_millis(100));
        for (peer, silent) in peers.iter().zip(&mut silent) {
            *silent = if peer.read().is_empty() { *silent + 1 } else { 0 };
            assert!(*silent <= 150, "15 s");
        }
    }
}

#[test]
fn streams_that_were_served_together_do_not_beat_together() {
    let mut world = Loop::new(app());
    let peers: Vec<_> = (0..100).map(|_| open(&mut world, "/events/a")).collect();
    publish(&mut world, "a", "x");
    world.settle();
    peers.iter().for_each(|peer| drop(peer.read()));
    let mut most = 0;
    for _ in 0..15 {
        world.pass(Duration::from_secs(1));
        most = most.max(peers.iter().filter(|peer| !peer.read().is_empty()).count());
    }
    assert!(
        (20..=50).contains(&most),
        "{most} of 100 in one second of the three or four in which all of them do"
    );
}

#[test]
fn a_heartbeat_that_does_not_fit_is_completed_before_the_next_event() {
    let mut world = Loop::new(app());
    let peer = open(&mut world, "/events/a");
    peer.set_room(2);
    world.pass(Duration::from_secs(16));
    assert_eq!(peer.read(), "2\r");
    publish(&mut world, "a", "x");
    peer.set_room(usize::MAX);
    world.settle();
    assert_eq!(peer.read(), "\n:\n\r\n9\r\ndata: x\n\n\r\n");
}

#[test]
fn replies_in_front_of_a_stream_do_not_count_as_waiting_for_it() {
    let mut app = Router::new();
    app.get("/page", |_request, _cx| Reply::text("x".repeat(2000)));
    app.sse("/events", |stream, _request, cx| {
        // In the same turn, when the stream is open and nothing is written yet.
        cx.after(stream, Duration::ZERO, |stream, cx| cx.send(stream, Event::new().data("first")))
    });
    let mut config = Config::default();
    config.lag_bytes_max = 1000;
    let mut world: Loop<Router> = Loop::with_config(app, config);
    let peer = world.connect();
    peer.write(get("/page") + &get("/events"));
    world.settle();
    let text = peer.read();
    assert!(text.ends_with("data: first\n\n\r\n"), "{text}");
}

#[test]
fn a_burst_reaches_clients_that_read_it_whatever_follows() {
    for path in ["/events/a", "/close-delimited/a"] {
        let mut config = Config::default();
        config.lag_bytes_max = 1000;
        let mut world: Loop<Router> = Loop::with_config(app(), config);
        let peer = open(&mut world, path);
        for _ in 0..60 {
            publish(&mut world, "a", &"x".repeat(60_000));
        }
        world.turn();
        publish(&mut world, "a", "more");
        world.settle();
        assert_eq!(world.server.stats().closed(CloseReason::Lagged), 0, "{path}");
        let text = peer.read();
        assert_eq!(text.matches("data: x").count(), 60, "{path}");
        assert_eq!(text.matches("data: more").count(), 1, "{path}");
    }
}

#[test]
fn an_event_of_several_topics_reaches_each_subscriber_once() {
    let mut app = Router::new();
    app.get("/both", |_request, _cx| Reply::stream().topic("kept").topic("plain"));
    app.get("/htob", |_request, _cx| Reply::stream().topic("plain").topic("kept"));
    app.get("/{topic}", |request, _cx| Reply::stream().topic(request.param("topic").unwrap()));
    let mut config = Config::default();
    config.topics_max = 2;
    let mut world = Loop::<_>::with_config(app, config);
    let history = TopicConfig::default().history(History::new().events(10));
    world.server.context().configure("kept", history).unwrap();
    let mut readers = ["/both", "/plain", "/kept", "/htob"].map(|path| {
        let peer = world.connect();
        peer.write(get(path));
        world.settle();
        peer.read();
        peer
    });
    let one = String::from("one");
    world.server.context().publish_all(["plain", "kept", "plain"], &one).unwrap();
    world.server.publisher().publish_all(["kept", "plain"], Event::new().data("two").event("x")).unwrap();
    world.settle();
    let told: Vec<_> = readers.iter_mut().map(|peer| peer.read()).collect();
    for text in &told {
        assert_eq!((text.matches("data: one").count(), text.matches("data: two").count()), (1, 1), "{text}");
    }
    // The event has one id in every history. A stream without a history gets none.
    let id = told[0].split("id: ").nth(1).unwrap().split('\n').next().unwrap().to_owned();
    assert!(!told[1].contains("id: ") && told[2].contains(&format!("id: {id}\n")), "{told:?}");
    assert_eq!(told[0], told[3], "the id that it can come back with");
    let back = world.connect();
    back.write(format!("GET /both HTTP/1.1\r\nHost: a\r\nLast-Event-ID: {id}\r\n\r\n"));
    world.settle();
    let text = back.read();
    assert_eq!((text.matches("data: one").count(), text.matches("data: two").count()), (0, 1), "{text}");

    // All or nothing.
    let before = world.server.stats().events_published;
    let mut cx = world.server.context();
    let own = Event::new().data("x").id("own");
    assert_eq!(cx.publish_all(["plain", "kept"], &own), Err(Error::OwnId));
    cx.configure("one more", history).unwrap();
    assert_eq!(cx.publish_all(["plain", "one more", "one more"], "x"), Err(Error::TooManyTopics));
    assert_eq!(world.server.stats().events_published, before);
    world.settle();
    readers.iter_mut().for_each(|peer| assert_eq!(peer.read(), ""));
}
