//! The limit of all memory held for others, and what is dropped above it.

use crate::memory_net::{Loop, Peer, get, subscribe};
use crate::support::{ms, replies, secs};
use mio_sse::{
    App, CloseReason, Config, Error, Event, History, Overflow, Refusal, Reply, Router, TopicConfig,
};
use std::time::Duration;

const MAX: usize = 4 << 20;

/// Allowed excess over `memory_max`: one request or event, and the rounding of the allocator.
const MORE: usize = 256 << 10;

fn config() -> Config {
    let mut config = Config::default();
    config.memory_max = MAX;
    config.heartbeat = None;
    config.stall_timeout = secs(7 * 86_400);
    config.max_age = None;
    config
}

/// Streams of the topics in the path, pages of many bytes, and a route that publishes the posted body.
fn app() -> Router {
    let mut app = Router::new();
    app.get("/read/{topics}", |request, _cx| {
        let topics = request.param("topics").unwrap_or_default().split('+');
        topics.fold(Reply::stream(), |stream, topic| stream.topic(topic))
    });
    app.get("/snapshot/{topic}", |request, _cx| {
        Reply::stream().topic(request.param("topic").unwrap_or_default()).snapshot()
    });
    app.get("/page", |_request, _cx| Reply::text("page"));
    app.get("/large", |_request, _cx| Reply::text("x".repeat(1 << 20)));
    app.post("/publish", |request, cx| {
        let text = String::from_utf8_lossy(request.body()).into_owned();
        match cx.publish("a", Event::new().data(text)) {
            Err(Error::TooMuchMemory) => Ok(Reply::status(503)),
            result => result.map(|()| Reply::no_content()),
        }
    });
    app
}

fn open<H: App>(world: &mut Loop<H>, path: &str) -> Peer {
    let peer = world.connect();
    peer.write(subscribe(path));
    world.settle();
    peer
}

/// Publishes, and checks that the limit holds.
fn publish<H: App>(world: &mut Loop<H>, topic: &str, event: Event<'static>) -> Result<(), Error> {
    let published = world.server.context().publish(topic, event);
    world.turn();
    check(world);
    published
}

fn check<H: App>(world: &Loop<H>) {
    let memory = world.server.stats().memory;
    assert!(memory.total() <= MAX + MORE, "{memory:?}");
}

fn post(body: &str) -> String {
    format!("POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{body}", body.len())
}

#[test]
fn one_slow_stream_of_many_topics_is_cut_before_all_is_full() {
    let mut world = Loop::<_, true>::with_config(app(), config());
    let topics: Vec<String> = (0..120).map(|number| format!("t{number}")).collect();
    let slow = open(&mut world, &format!("/read/{}", topics.join("+")));
    slow.read();
    slow.set_room(0);
    let other = open(&mut world, "/read/t7");
    for _ in 0..4 {
        for topic in &topics {
            publish(&mut world, topic, Event::new().data("x".repeat(60_000))).unwrap();
            other.read();
            world.pass(ms(10));
        }
    }
    world.settle();
    let stats = world.server.stats();
    assert_eq!((stats.closed(CloseReason::Lagged), stats.streams, stats.memory_cut), (1, 1, 1));
    assert_eq!((stats.memory_pressure, stats.refused(Refusal::Memory)), (0, 0));
    assert!(slow.is_closed() && !other.is_closed());
    assert!(stats.memory.logs < MAX / 2, "{:?}", stats.memory);
}

#[test]
fn streams_that_may_skip_do_so_and_get_a_gap() {
    let mut config = config();
    config.topic = TopicConfig::default().overflow(Overflow::Skip);
    config.lag_bytes_max = 64 << 20;
    let mut world = Loop::<_, true>::with_config(app(), config);
    let slow = open(&mut world, "/read/a");
    slow.read();
    slow.set_room(0);
    for _ in 0..400 {
        publish(&mut world, "a", Event::new().data("x".repeat(30_000))).unwrap();
        world.pass(ms(10));
    }
    slow.set_room(usize::MAX);
    world.settle();
    let text = slow.read();
    let told: usize =
        text.split("event: gap\ndata: ").nth(1).unwrap().lines().next().unwrap().parse().unwrap();
    assert_eq!(told + text.matches("xxx\n").count(), 400);
    assert!(told > 100, "{told}");
}

#[test]
fn events_that_handlers_publish_during_a_wave_are_limited() {
    let mut config = config();
    config.sends_per_turn = 1;
    let mut world = Loop::<_, true>::with_config(app(), config);
    let readers: Vec<_> = (0..400).map(|_| open(&mut world, "/read/a")).collect();
    let writer = world.connect();
    for _ in 0..400 {
        writer.write(post(&"x".repeat(60_000)));
        world.turn();
        check(&world);
        readers.iter().for_each(|reader| drop(reader.read()));
    }
    world.settle();
    let refused = replies(&writer.read()).iter().filter(|(status, _)| *status == 503).count() as u64;
    assert!(refused > 0 || world.server.stats().refused(Refusal::Memory) > 0);
    for _ in 0..3_000 {
        world.turn();
        check(&world);
    }
    let stats = world.server.stats();
    assert_eq!((stats.memory_pressure, stats.streams), (0, 400), "{:?}", stats.memory);
}

#[test]
fn histories_are_halved_when_no_stream_lags_and_clients_that_resume_get_a_gap() {
    let mut config = config();
    config.topic = TopicConfig::default().history(History::new());
    let mut world = Loop::<_, true>::with_config(app(), config);
    let first = open(&mut world, "/read/t0");
    publish(&mut world, "t0", Event::new().data("first")).unwrap();
    let text = first.read();
    let id = text.lines().rev().find_map(|line| line.strip_prefix("id: ")).unwrap();
    first.close();
    // Twelve histories of up to 1 MiB do not fit into 4.
    for round in 0..40 {
        for topic in 0..12 {
            publish(&mut world, &format!("t{topic}"), Event::new().data(format!("{round}").repeat(15_000)))
                .unwrap();
            world.pass(ms(50));
        }
    }
    let stats = world.server.stats();
    assert!(stats.memory_shortened > 0 && stats.memory_cut == 0, "{stats:?}");
    assert!(stats.memory.logs > MAX / 4, "more than needed is given up: {:?}", stats.memory);
    let again = world.connect();
    again.write(format!("GET /read/t0 HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {id}\r\n\r\n"));
    world.settle();
    let text = again.read();
    assert!(text.contains("event: gap") && text.contains("data: 393939"), "{}", &text[..500.min(text.len())]);
}

#[test]
fn small_values_do_not_hold_the_memory_of_large_events() {
    let mut config = config();
    config.memory_max = 1 << 20;
    config.topic = TopicConfig::default().keyed();
    let mut world = Loop::<_, true>::with_config(app(), config);
    for topic in 0..8 {
        world.server.context().configure(&format!("large{topic}"), TopicConfig::default()).unwrap();
    }
    let reader = open(&mut world, "/read/large0+large1+large2+large3+large4+large5+large6+large7");
    for round in 0..6 {
        // The large event has been read, and its blocks are free for others.
        for topic in 0..8 {
            let large = Event::new().data("x".repeat(90_000));
            world.server.context().publish(&format!("large{topic}"), large).unwrap();
        }
        world.settle();
        reader.read();
        for topic in 0..8 {
            let small = Event::new().data("1").key("k");
            world.server.context().publish(&format!("small{round}-{topic}"), small).unwrap();
        }
        world.settle();
    }
    let stats = world.server.stats();
    assert!(stats.memory.logs < 64 << 10, "{:?}", stats.memory);
    assert_eq!(stats.memory_pressure, 0);
}

#[test]
fn input_of_peers_with_open_streams_is_limited() {
    let mut world = Loop::<_, true>::with_config(app(), config());
    let peers: Vec<_> = (0..1_000).map(|_| open(&mut world, "/read/a")).collect();
    for peer in &peers {
        peer.read();
        peer.write("x".repeat(16_000));
        world.turn();
        check(&world);
    }
    for _ in 0..50 {
        world.pass(ms(50));
        check(&world);
    }
    let stats = world.server.stats();
    assert!(stats.closed(CloseReason::ExcessInput) > 500 && stats.memory_pressure == 0, "{stats:?}");
    assert!(stats.memory.input < MAX / 16 * 12);
}

#[test]
fn bodies_that_are_not_complete_are_refused_when_there_is_no_room() {
    let mut config = config();
    config.body_bytes_max = 1 << 20;
    let mut world = Loop::<_, true>::with_config(app(), config);
    let peers: Vec<_> = (0..500).map(|_| world.connect()).collect();
    for peer in &peers {
        peer.write(format!(
            "POST /publish HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000\r\n\r\n{}",
            "x".repeat(140_000)
        ));
        for _ in 0..4 {
            world.turn();
            check(&world);
        }
    }
    let stats = world.server.stats();
    assert!(stats.refused(Refusal::Memory) + stats.memory_cut > 400, "{stats:?}");
    assert!(peers.iter().any(|peer| peer.read().starts_with("HTTP/1.1 503 Service Unavailable")));
    // There is room again for other requests.
    for _ in 0..10 {
        world.pass(ms(50));
    }
    let page = world.connect();
    page.write(get("/page"));
    world.settle();
    assert!(page.read().starts_with("HTTP/1.1 200 OK"));
}

#[test]
fn replies_that_are_not_read_are_limited() {
    let mut world = Loop::<_, true>::with_config(app(), config());
    let peers: Vec<_> = (0..40).map(|_| world.connect()).collect();
    for peer in &peers {
        peer.set_room(100);
        peer.write(get("/large"));
        world.turn();
        assert!(world.server.stats().memory.total() <= MAX + (1 << 20) + MORE);
        world.pass(ms(20));
    }
    let stats = world.server.stats();
    assert!(
        stats.connections_closed(CloseReason::Stalled) + stats.refused(Refusal::Memory) > 30,
        "{stats:?}"
    );
    assert!(stats.memory.total() < MAX);
}

#[test]
fn when_memory_is_full_requests_and_events_are_refused() {
    let mut config = config();
    config.topic = TopicConfig::default().keyed();
    let mut world = Loop::<_, true>::with_config(app(), config);
    let mut number = 0;
    // The newest event of a key is never dropped.
    let refused = loop {
        number += 1;
        let event = Event::new().data("x".repeat(1_000)).key(number.to_string());
        if let Err(error) = publish(&mut world, "k", event) {
            break error;
        }
        assert!(number < 10_000);
        world.pass(ms(1));
    };
    assert_eq!(refused, Error::TooMuchMemory);
    let browser = world.connect();
    browser.write("GET /read/k HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n\r\n");
    let other = world.connect();
    other.write(get("/page"));
    world.settle();
    let text = browser.read();
    assert!(text.starts_with("HTTP/1.1 200 OK") && text.contains("retry: "), "{text}");
    let text = other.read();
    assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("Retry-After: "), "{text}");
    let stats = world.server.stats();
    assert_eq!((stats.refused(Refusal::Memory), stats.memory_pressure), (2, 5));
    // Events that are no longer the newest of a key are freed.
    for number in 0..number / 2 {
        let event = Event::new().data("x").key(number.to_string()).removes_key();
        world.server.context().publish("k", event).unwrap();
        world.turn();
    }
    world.settle();
    assert_eq!(world.server.stats().memory_pressure, 0);
}

#[test]
fn pressure_ends_by_itself() {
    let mut world = Loop::<_, true>::with_config(app(), config());
    let slow: Vec<_> = (0..8).map(|number| open(&mut world, &format!("/read/t{number}"))).collect();
    slow.iter().for_each(|slow| {
        slow.read();
        slow.set_room(0);
    });
    for round in 0..10 {
        for number in 0..8 {
            publish(&mut world, &format!("t{number}"), Event::new().data(format!("{round}").repeat(60_000)))
                .unwrap();
        }
    }
    // Nothing more is published, so the loop has to continue by itself.
    let begun = world.now();
    while world.server.stats().memory_pressure != 0 {
        assert!(world.now() - begun < secs(5), "{:?}", world.server.stats());
        let wait = world.server.next_timeout().unwrap_or(Duration::from_millis(10));
        world.pass(wait.max(ms(1)));
    }
}

#[test]
fn an_outer_loop_has_to_turn_when_memory_is_short() {
    let mut config = config();
    config.topic = TopicConfig::default().history(History::new().bytes(MAX));
    let mut world = Loop::<_, true>::with_config(app(), config);
    world.settle();
    // There are no subscribers, so there is nothing else to do.
    let event = || Event::new().data("x".repeat(10_000));
    while world.server.context().publish("t", event()).is_ok() {}
    assert_eq!(world.server.stats().memory_pressure, 5);
    let begun = world.now();
    while let Err(error) = world.server.context().publish("t", event()) {
        assert_eq!(error, Error::TooMuchMemory);
        let wait = world.server.next_timeout().expect("there is something to give way");
        assert!(world.now() - begun < secs(1), "{:?}", world.server.stats());
        world.pass(wait.max(ms(1)));
    }
    assert!(world.server.stats().memory_shortened > 0, "{:?}", world.server.stats());
}

#[test]
fn events_of_other_threads_wait_while_memory_is_full_and_are_not_lost() {
    let mut config = config();
    config.topic = TopicConfig::default().keyed();
    let mut world = Loop::<_, true>::with_config(app(), config);
    world.turn();
    let publisher = world.server.publisher();
    let mut number = 0;
    while world.server.stats().memory_pressure < 5 {
        number += 1;
        let event = Event::new().data("x".repeat(10_000)).key(number.to_string());
        let _ = world.server.context().publish("k", event);
        world.turn();
    }
    for text in ["one", "two"] {
        publisher.try_publish("late", Event::new().data(text).key(text)).unwrap();
    }
    for _ in 0..20 {
        world.pass(ms(100));
    }
    assert_eq!(world.server.stats().inbox, 2, "they wait");
    // There is room again.
    for key in 0..number {
        let event = Event::new().data("").key(key.to_string()).removes_key();
        world.server.context().publish("k", event).unwrap();
        world.turn();
    }
    world.pass(secs(2));
    let reader = world.connect();
    reader.write(subscribe("/snapshot/late"));
    world.settle();
    let text = reader.read();
    assert!(text.contains("data: one") && text.contains("data: two"), "{text}");
}
