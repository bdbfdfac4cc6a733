//! Histories of topics, and streams that resume.

use crate::memory_net::{Loop, Peer};
use crate::support::parse;
use eventsource_stream::Event as Received;
use mio_sse::{
    AfterGap, CloseReason, Config, Context, Error, Event, Handler, History, Ids, Missed, Overflow, Reply,
    Request, Router, Server, StreamId, TopicConfig,
};
use proptest::prelude::*;
use std::time::Duration;

fn history() -> TopicConfig {
    TopicConfig::default().history(History::new())
}

pub(crate) fn world(topic: TopicConfig) -> Loop<Router> {
    let mut config = Config::default();
    config.topic = topic;
    world_with(config)
}

pub(crate) fn world_with(config: Config) -> Loop<Router> {
    let mut app = Router::new();
    app.get("/{topics}", |request, _cx| {
        let topics = request.param("topics").unwrap_or_default().split('+').filter(|topic| !topic.is_empty());
        let stream = topics.fold(Reply::stream().tag("all"), |stream, topic| stream.topic(topic));
        match request.query("from").as_deref() {
            Some("live") => stream.live(),
            Some("oldest") => stream.snapshot(),
            Some("gap-live") => stream.after_gap(AfterGap::Live),
            Some(id) => stream.resume_after(id),
            None => stream,
        }
    });
    Loop::with_config(app, config)
}

pub(crate) fn ask(path: &str, last: Option<&str>) -> String {
    let last = last.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
    format!("GET {path} HTTP/1.1\r\nHost: x\r\n{last}\r\n")
}

/// Opens a stream on a connection of its own.
pub(crate) fn open(world: &mut Loop<Router>, path: &str, last: Option<&str>) -> Peer {
    let peer = world.connect();
    peer.write(ask(path, last));
    world.settle();
    peer
}

/// The data that a stream has received: the chunks of the body, read by an independent parser.
pub(crate) fn events(peer: &Peer) -> Vec<Received> {
    let received = peer.read();
    let mut rest =
        received.split_once("\r\n\r\n").filter(|_| received.starts_with("HTTP/")).map_or(&*received, |x| x.1);
    let mut body = String::new();
    while let Some((size, behind)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        body.push_str(&behind[..size]);
        rest = behind[size..].strip_prefix("\r\n").unwrap();
    }
    parse(body.as_bytes())
}

pub(crate) fn data(peer: &Peer) -> Vec<String> {
    events(peer).into_iter().map(|event| event.data).collect()
}

pub(crate) fn publish(world: &mut Loop<Router>, topic: &str, texts: &[&str]) {
    for text in texts {
        world.server.context().publish(topic, Event::new().data((*text).to_owned())).unwrap();
    }
    world.settle();
}

#[test]
fn ids_name_their_maker_and_increase_over_all_topics() {
    let mut world = world(history());
    let peer = open(&mut world, "/a+b", None);
    publish(&mut world, "a", &["1", "2"]);
    publish(&mut world, "b", &["3"]);
    world.jump(Duration::from_millis(5));
    publish(&mut world, "a", &["4"]);
    let ids: Vec<_> = events(&peer).into_iter().map(|event| event.id).collect();
    let maker = ids[0].split_once('-').unwrap().0;
    assert_eq!(ids, [1, 2, 3, 4].map(|number| format!("{maker}-{number}")));
    assert_eq!(maker.len(), 8);
}

#[test]
fn a_heartbeat_is_not_ahead_of_a_pending_wave() {
    let mut config = Config::default();
    (config.topic, config.sends_per_turn) = (history(), 1);
    let mut world = world_with(config);
    let peers = [(); 3].map(|()| open(&mut world, "/a", None));
    peers.iter().for_each(|peer| drop(peer.read()));
    world.jump(Duration::from_secs(16));
    world.server.context().publish("a", Event::new().data("1")).unwrap();
    // The wave reaches one of them, and then the sweep finds the others silent for long.
    world.turn();
    for peer in &peers {
        let seen = peer.read();
        assert!(seen.is_empty() || seen.contains("data: 1\n"), "{seen}");
    }
    assert_eq!(world.server.stats().heartbeats, 0);
}

#[test]
fn a_client_that_resumes_gets_each_missed_event_once_and_then_live_ones() {
    let mut world = world(history());
    let first = open(&mut world, "/a", None);
    publish(&mut world, "a", &["1", "2", "3"]);
    let seen = events(&first);
    first.close();
    publish(&mut world, "a", &["4", "5"]);
    for (nth, expected) in [(0, vec!["2", "3", "4", "5"]), (1, vec!["3", "4", "5"]), (2, vec!["4", "5"])] {
        let back = open(&mut world, "/a", Some(&seen[nth].id));
        assert_eq!(data(&back), expected);
        back.close();
    }
    let by_query = open(&mut world, &format!("/a?lastEventId={}", seen[2].id), None);
    assert_eq!(data(&by_query), ["4", "5"]);
    publish(&mut world, "a", &["6"]);
    assert_eq!(data(&by_query), ["6"]);
    let newcomer = open(&mut world, "/a", None);
    publish(&mut world, "a", &["7"]);
    assert_eq!(data(&newcomer), ["7"], "without an id a stream is live");
    assert_eq!(data(&by_query), ["7"]);
}

#[test]
fn a_stream_can_begin_with_the_oldest_or_live_or_after_any_event() {
    let mut world = world(history());
    publish(&mut world, "a", &["1", "2"]);
    let oldest = open(&mut world, "/a?from=oldest", None);
    let received = events(&oldest);
    assert_eq!(received.iter().map(|event| &*event.data).collect::<Vec<_>>(), ["1", "2"]);
    let live = open(&mut world, "/a?from=live", Some(&received[0].id));
    let behind = open(&mut world, &format!("/a?from={}", received[0].id), None);
    publish(&mut world, "a", &["3"]);
    assert_eq!(data(&live), ["3"]);
    assert_eq!(data(&behind), ["2", "3"]);
}

#[test]
fn ids_of_the_application_can_be_resumed() {
    let mut world = world(history().ids(Ids::Own));
    let other = open(&mut world, "/b", None);
    let mut cx = world.server.context();
    for id in ["x", "y", "x", "z"] {
        cx.publish("a", Event::new().data(id).id(id)).unwrap();
        cx.publish("b", Event::new().data(format!("behind {id}"))).unwrap();
    }
    world.settle();
    let back = open(&mut world, "/a+b", Some("x"));
    let expected = ["behind x", "y", "behind y", "x", "behind x", "z", "behind z"];
    assert_eq!(data(&back), expected, "after the oldest of that id, in all topics");
    let unknown = open(&mut world, "/a", Some("w"));
    let received = events(&unknown);
    assert_eq!((&*received[0].event, &*received[0].data), ("gap", ""));
    assert_eq!(received.len(), 5);
    assert_eq!(other.read().matches("data: ").count(), 4);
}

#[test]
fn limits_are_exact_and_cause_a_gap() {
    for limits in [
        History::new().events(2),
        // An event of one digit is 30 bytes on the wire.
        History::new().bytes(65),
    ] {
        let mut world = world(TopicConfig::default().history(limits));
        let first = open(&mut world, "/a", None);
        publish(&mut world, "a", &["1", "2", "3", "4", "5"]);
        let ids: Vec<_> = events(&first).into_iter().map(|event| event.id).collect();
        let back = open(&mut world, "/a", Some(&ids[2]));
        assert_eq!(data(&back), ["4", "5"], "the missed events begin after the last one seen");
        let late = open(&mut world, "/a", Some(&ids[1]));
        let received = events(&late);
        assert_eq!((&*received[0].event, &*received[0].data), ("gap", ""));
        assert_eq!(received[1..].iter().map(|event| &*event.data).collect::<Vec<_>>(), ["4", "5"]);
        let live = open(&mut world, "/a?from=gap-live", Some(&ids[1]));
        assert_eq!(events(&live).len(), 1);
        assert_eq!(world.server.stats().gaps, 2);
        assert!(world.server.stats().log_bytes < 200, "{:?}", world.server.stats());
    }
}

#[test]
fn expired_events_are_dropped_and_the_topic_with_them() {
    let mut world = world(TopicConfig::default().history(History::new().age(Duration::from_secs(60))));
    publish(&mut world, "a", &["1"]);
    world.pass(Duration::from_secs(30));
    publish(&mut world, "a", &["2"]);
    let both = open(&mut world, "/a?from=oldest", None);
    let seen = events(&both);
    assert_eq!(seen.len(), 2);
    both.close();
    world.pass(Duration::from_secs(35));
    let one = open(&mut world, "/a?from=oldest", None);
    assert_eq!(data(&one), ["2"]);
    one.close();
    world.settle();
    assert_ne!(world.server.next_timeout(), None, "the loop has to wake, though there is no subscriber");
    world.pass(Duration::from_secs(40));
    let stats = world.server.stats();
    assert_eq!((stats.topics, stats.log_bytes), (0, 0));
    assert_eq!(world.server.next_timeout(), None, "nothing is left that could age");
    let back = open(&mut world, "/a", Some(&seen[0].id));
    assert_eq!(events(&back)[0].event, "gap");
    back.close();
    publish(&mut world, "b", &["1"]);
    let now = events(&open(&mut world, "/b?from=oldest", None))[0].id.clone();
    let quiet = open(&mut world, "/a", Some(&now));
    assert_eq!(events(&quiet), [], "nothing that was published since can be missing");
}

#[test]
fn expired_events_are_dropped_even_while_a_stream_lags() {
    let mut config = Config::default();
    config.topic = TopicConfig::default().history(History::new().age(Duration::from_secs(60)));
    (config.stall_timeout, config.heartbeat) = (Duration::from_secs(1000), None);
    let mut world = world_with(config);
    let peer = open(&mut world, "/a", None);
    peer.read();
    peer.set_room(3);
    publish(&mut world, "a", &["1"]);
    world.pass(Duration::from_secs(70));
    assert_eq!(data(&open(&mut world, "/a?from=oldest", None)), [""; 0]);
    peer.set_room(usize::MAX);
    world.settle();
    assert_eq!(data(&peer), ["1"], "a stream that was open at the time gets it");
    assert_eq!(world.server.stats().log_bytes, 0);
}

#[test]
fn events_after_the_end_of_a_stream_do_not_cut_it() {
    for topic in [TopicConfig::default(), history()] {
        let mut config = Config::default();
        (config.lag_bytes_max, config.topic) = (1000, topic.overflow(Overflow::Disconnect));
        let mut world = world_with(config);
        let peer = open(&mut world, "/a+b", None);
        peer.read();
        peer.set_room(3);
        publish(&mut world, "a", &["1"]);
        publish(&mut world, "b", &[&"x".repeat(500)]);
        world.server.context().close_tagged("all");
        // So much that it has all of its events of `a`, and not all of `b`.
        peer.set_room(300);
        world.settle();
        for _ in 0..20 {
            publish(&mut world, "a", &[&"y".repeat(100_000)]);
        }
        peer.set_room(usize::MAX);
        world.settle();
        assert!(peer.read().ends_with("\r\n0\r\n\r\n"), "the rest of `b`, and the end");
        assert_eq!(world.server.stats().closed(CloseReason::Application), 1);
        assert_eq!(world.server.stats().connections_closed(CloseReason::Lagged), 0);
    }
}

#[test]
fn a_topic_is_configured_within_limits() {
    let mut config = Config::default();
    config.topics_max = 2;
    let mut world = world_with(config);
    let mut cx = world.server.context();
    let long = History::new().age(Duration::from_secs(41 * 24 * 60 * 60));
    for history in [long, History::new().age(Duration::ZERO)] {
        let error = cx.configure("a", TopicConfig::default().history(history)).unwrap_err();
        assert_eq!(error.to_string(), "Config::topic.history.age must be from 1 ms to 40 days");
    }
    cx.configure("a", history()).unwrap();
    cx.configure("b", history()).unwrap();
    cx.configure("b", history().keyed()).unwrap();
    assert_eq!(cx.configure("c", history()), Err(Error::TooManyTopics));
    cx.configure("a", TopicConfig::default()).unwrap();
    cx.configure("c", history()).unwrap();
    let mut config = Config::default();
    config.topic = TopicConfig::default().history(long);
    assert_eq!(config.check().unwrap_err().limit(), "topic.history.age");
}

#[test]
fn an_id_from_before_the_server_began_is_a_gap_and_nonsense_too() {
    let mut world = world(history());
    publish(&mut world, "a", &["1"]);
    for id in ["1799999999999-9", "nonsense"] {
        let back = open(&mut world, "/a", Some(id));
        let received = events(&back);
        assert_eq!(
            received.iter().map(|event| &*event.event).collect::<Vec<_>>(),
            ["gap", "message"],
            "{id}"
        );
    }
    // Without a history there is nothing to resume, and no gap.
    let mut world = self::world(TopicConfig::default());
    let back = open(&mut world, "/a", Some("nonsense"));
    assert_eq!(events(&back), []);
}

#[test]
fn the_gap_event_has_a_name_or_is_not_sent() {
    for (name, expected) in [(Some("missed"), vec!["missed"]), (None, vec![])] {
        let mut config = Config::default();
        config.topic = history();
        config.gap_event = name.map(Into::into);
        let mut world = world_with(config);
        let back = open(&mut world, "/a", Some("x"));
        assert_eq!(events(&back).into_iter().map(|event| event.event).collect::<Vec<_>>(), expected);
        assert_eq!(world.server.stats().gaps, 1);
    }
}

#[test]
fn a_topic_is_configured_by_name_while_it_is_read() {
    let mut world = world(TopicConfig::default());
    let peer = open(&mut world, "/a", None);
    publish(&mut world, "a", &["1"]);
    peer.set_room(3);
    publish(&mut world, "a", &["2", "3"]);
    world.server.context().configure("a", history()).unwrap();
    publish(&mut world, "a", &["4", "5"]);
    peer.set_room(usize::MAX);
    world.settle();
    let seen = events(&peer);
    assert_eq!(seen.iter().map(|event| &*event.data).collect::<Vec<_>>(), ["1", "2", "3", "4", "5"]);
    let back = open(&mut world, "/a", Some(&seen[3].id));
    assert_eq!(data(&back), ["5"]);
    world.server.context().configure("a", TopicConfig::default()).unwrap();
    let back = open(&mut world, "/a", Some(&seen[3].id));
    assert_eq!(data(&back), [""; 0]);
    peer.close();
    back.close();
    world.settle();
    assert_eq!(world.server.stats().log_bytes, 0);
}

/// Returns the missed events from a store of its own.
struct Store;

impl Handler for Store {
    fn request(&mut self, _request: &Request<'_>, _cx: &mut Context<'_>) -> Reply {
        Reply::stream().topic("a").into()
    }

    fn missed(&mut self, stream: StreamId, last: &str, cx: &mut Context<'_>) -> Missed {
        cx.send(stream, Event::new().data(format!("behind {last}"))).unwrap();
        (last != "lost").into()
    }
}

#[test]
fn a_store_of_the_application_makes_up_for_a_gap() {
    let mut config = Config::default();
    config.topic = history();
    let mut world: Loop<_> = Loop::with_config(Store, config);
    world.server.context().publish("a", Event::new().data("1")).unwrap();
    for (id, expected) in [("old", vec!["behind old", "2"]), ("lost", vec!["", "1", "behind lost", "2"])] {
        let peer = world.connect();
        peer.write(ask("/", Some(id)));
        world.settle();
        world.server.context().publish("a", Event::new().data("2")).unwrap();
        world.settle();
        assert_eq!(data(&peer), expected);
        peer.close();
        // The next round starts anew.
        world = {
            let mut config = Config::default();
            config.topic = history();
            Loop::with_config(Store, config)
        };
        world.server.context().publish("a", Event::new().data("1")).unwrap();
    }
}

#[test]
fn a_slow_stream_skips_and_gets_the_number_of_missed_events() {
    let mut config = Config::default();
    config.lag_bytes_max = 1000;
    config.topic = TopicConfig::default().overflow(Overflow::Skip);
    let mut world = world_with(config);
    let peer = open(&mut world, "/a", None);
    let mut expected = 0;
    peer.read();
    // Cut within a frame, which is completed whatever happens to the log.
    peer.set_room(5);
    let big = "x".repeat(40_000);
    for round in 0..20 {
        publish(&mut world, "a", &[&format!("{round} {big}")]);
        expected += 1;
        // Time to read what was offered just now.
        world.pass(Duration::from_millis(50));
    }
    assert!(world.server.stats().log_bytes < 200_000, "{}", world.server.stats().log_bytes);
    peer.set_room(usize::MAX);
    world.settle();
    let received = events(&peer);
    let missed: usize = received
        .iter()
        .filter(|event| event.event == "gap")
        .map(|event| event.data.parse::<usize>().unwrap())
        .sum();
    let got = received.iter().filter(|event| event.event == "message").count();
    assert!(missed > 10, "{missed}");
    assert_eq!(received.iter().filter(|event| event.event == "gap").count(), 1, "one gap, not many");
    assert_eq!(got + missed, expected);
    assert!(received[0].data.starts_with("0 ") && received[1].event == "gap", "in its place");
    assert!(received.last().unwrap().data.starts_with("19 "));
    publish(&mut world, "a", &["live"]);
    assert_eq!(data(&peer), ["live"]);
    assert_eq!(world.server.stats().closed(CloseReason::Lagged), 0);
    assert_eq!(world.server.stats().log_bytes, 0);
}

#[test]
fn a_history_is_served_as_slowly_as_it_is_read_and_costs_its_readers_nothing() {
    let mut world = world(TopicConfig::default().history(History::new().bytes(4 << 20)));
    let text = "x".repeat(10_000);
    let texts: Vec<&str> = vec![&text; 200];
    publish(&mut world, "a", &texts);
    let held = world.server.stats().log_bytes;
    let peers: Vec<_> = (0..50)
        .map(|_| {
            let peer = world.connect();
            peer.set_room(1000);
            peer.write(ask("/a?from=oldest", None));
            world.settle();
            peer
        })
        .collect();
    assert!(world.server.stats().log_bytes - held < 50 * 1000, "no copies wait");
    assert_eq!(world.server.stats().streams_behind, 50);
    for peer in &peers {
        peer.set_room(usize::MAX);
        world.settle();
        assert_eq!(data(peer).len(), 200);
    }
    assert_eq!(world.server.stats().streams_behind, 0);
    assert_eq!(world.server.stats().log_bytes, held);
}

#[test]
fn the_readme_promises_that_a_real_server_resumes() {
    let mut config = Config::default();
    config.topic = history();
    let mut app = Router::new();
    app.get("/a", |_request, _cx| Reply::stream().topic("a"));
    let mut server = Server::bind_with("127.0.0.1:0", app, config).unwrap();
    let (address, publisher) = (server.local_addr().unwrap(), server.publisher());
    let thread = std::thread::spawn(move || server.run().unwrap());
    let mut client = crate::support::Client::connect(address);
    client.get("/a");
    client.wait_for_body(":");
    publisher.publish("a", Event::new().data("1")).unwrap();
    publisher.publish("a", Event::new().data("2")).unwrap();
    let seen = client.events(2);
    drop(client);
    publisher.publish("a", Event::new().data("3")).unwrap();
    let mut client = crate::support::Client::connect(address);
    client.write(ask("/a", Some(&seen[0].id)));
    client.head();
    assert_eq!(client.data(2), ["2", "3"]);
    publisher.run(|cx| cx.stop()).unwrap();
    thread.join().unwrap();
}

#[test]
fn an_event_that_is_too_large_to_be_kept_is_not_forgotten_silently() {
    let mut world = world(TopicConfig::default().history(History::new().bytes(100)));
    let first = open(&mut world, "/a", None);
    publish(&mut world, "a", &["1"]);
    let seen = events(&first)[0].id.clone();
    first.close();
    publish(&mut world, "a", &[&"x".repeat(1000)]);
    assert_eq!(world.server.stats().topics, 0, "nothing is left of it");
    assert_eq!(events(&open(&mut world, "/a", Some(&seen)))[0].event, "gap");
}

#[test]
fn events_before_a_topic_had_a_history_are_a_gap() {
    for read in [false, true] {
        let mut world = world(TopicConfig::default());
        world.server.context().configure("b", history()).unwrap();
        let peer = open(&mut world, "/a+b", None);
        publish(&mut world, "b", &["1"]);
        let seen = events(&peer)[0].id.clone();
        peer.close();
        world.settle();
        let _reader = read.then(|| open(&mut world, "/a", None));
        publish(&mut world, "a", &["missed"]);
        world.server.context().configure("a", history()).unwrap();
        publish(&mut world, "a", &["kept"]);
        let received = events(&open(&mut world, "/a+b", Some(&seen)));
        assert_eq!(received[0].event, "gap", "{read}");
        assert_eq!(received.last().unwrap().data, "kept");
        let quiet = received.last().unwrap().id.clone();
        // Configuring it again changes nothing.
        world.server.context().configure("a", history()).unwrap();
        assert_eq!(events(&open(&mut world, "/a+b", Some(&quiet))), []);
    }
}

#[test]
fn an_id_from_the_future_is_unknown() {
    let mut world = world(history());
    publish(&mut world, "a", &["1"]);
    let received = events(&open(&mut world, "/a", Some("1800000060000-0")));
    assert_eq!(received.iter().map(|event| &*event.event).collect::<Vec<_>>(), ["gap", "message"]);
}

#[test]
fn a_topic_that_is_kept_counts_without_subscribers() {
    let mut config = Config::default();
    config.topics_max = 2;
    config.topic = history();
    let mut world = world_with(config);
    publish(&mut world, "a", &["1"]);
    publish(&mut world, "b", &["1"]);
    let mut cx = world.server.context();
    assert_eq!(cx.publish("c", Event::new().data("1")), Err(Error::TooManyTopics));
    assert_eq!(cx.publish("a", Event::new().data("2")), Ok(()));
    // A topic without a history would leave nothing.
    cx.configure("d", TopicConfig::default()).unwrap();
    assert_eq!(cx.publish("d", Event::new().data("1")), Ok(()));
    world.settle();
    let stats = world.server.stats();
    assert_eq!((stats.topics, stats.events_published), (2, 4));
}

#[derive(Debug, Clone)]
enum Step {
    Publish {
        topic: usize,
        size: usize,
    },
    /// A client disconnects and resumes after the event that it saw last.
    Resume {
        client: usize,
        reset: bool,
    },
    Room {
        client: usize,
        room: usize,
    },
    Pass(u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        8 => (0..3_usize, prop_oneof![0..100_usize, Just(30_000)])
            .prop_map(|(topic, size)| Step::Publish { topic, size }),
        3 => (0..4_usize, any::<bool>()).prop_map(|(client, reset)| Step::Resume { client, reset }),
        3 => (0..4_usize, prop_oneof![0..500_usize, Just(usize::MAX)])
            .prop_map(|(client, room)| Step::Room { client, room }),
        1 => (0..3_u64).prop_map(Step::Pass),
    ]
}

const TOPICS: [&str; 3] = ["a", "b", "c"];

/// A client and its input so far, over all of its connections.
struct Client {
    topics: Vec<usize>,
    peer: Peer,
    received: String,
    last: Option<String>,
    seen: Vec<usize>,
}

impl Client {
    fn path(&self) -> String {
        format!("/{}", self.topics.iter().map(|topic| TOPICS[*topic]).collect::<Vec<_>>().join("+"))
    }

    /// Resumes, or begins with the oldest event.
    fn ask(&self) {
        let from = if self.last.is_some() { "" } else { "?from=oldest" };
        self.peer.write(ask(&format!("{}{from}", self.path()), self.last.as_deref()));
    }

    /// Records the whole events that have arrived.
    fn read(&mut self) {
        self.received.push_str(&self.peer.read());
        let (rest, events) = take_events(&self.received);
        self.received = rest;
        for event in events {
            assert_eq!(event.event, "message", "nothing is ever missed");
            self.last = Some(event.id);
            if event.data == "first" {
                continue;
            }
            self.seen.push(event.data.split(' ').next().unwrap().parse().unwrap());
        }
    }
}

/// The events in the whole chunks of a response, and the rest of the response.
pub(crate) fn take_events(received: &str) -> (String, Vec<Received>) {
    let Some((head, mut rest)) = received.split_once("\r\n\r\n") else {
        return (received.to_owned(), Vec::new());
    };
    let mut text = String::new();
    while let Some((size, behind)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).unwrap();
        let Some(chunk) = behind.get(..size + 2) else { break };
        text.push_str(&chunk[..size]);
        rest = &behind[size + 2..];
    }
    (format!("{head}\r\n\r\n{rest}"), parse(text.as_bytes()))
}

proptest! {
    /// A client that resumes at any time and after any cut has each event of its topics once and in order.
    #[test]
    fn nothing_is_lost_or_doubled_by_coming_back(
        own_ids in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..150),
    ) {
        let ids = if own_ids { Ids::Own } else { Ids::Generated };
        let mut world = world(TopicConfig::default().history(History::new().bytes(usize::MAX)).ids(ids));
        let mut published: Vec<usize> = Vec::new();
        // Each client begins after an event, so it has an id to resume with.
        for topic in TOPICS {
            let first = Event::new().data("first");
            world.server.context().publish(topic, if own_ids { first.id("first") } else { first }).unwrap();
        }
        let mut clients: Vec<Client> = [vec![0], vec![1, 2], vec![0, 1, 2], vec![2, 0]]
            .into_iter()
            .map(|topics| {
                let peer = world.connect();
                let last = own_ids.then(|| "first".to_owned());
                let client = Client { topics, peer, received: String::new(), last, seen: Vec::new() };
                client.ask();
                client
            })
            .collect();
        world.settle();
        for step in steps {
            match step {
                Step::Publish { topic, size } => {
                    let number = published.len();
                    published.push(topic);
                    let mut event = Event::new().data(format!("{number} {}", "x".repeat(size)));
                    if own_ids {
                        event = event.id(format!("own {number}"));
                    }
                    world.server.context().publish(TOPICS[topic], event).unwrap();
                }
                Step::Resume { client, reset } => {
                    let client = &mut clients[client];
                    client.read();
                    if reset { client.peer.reset() } else { client.peer.close() }
                    client.received.clear();
                    client.peer = world.connect();
                    client.ask();
                }
                Step::Room { client, room } => clients[client].peer.set_room(room),
                Step::Pass(ms) => world.jump(Duration::from_millis(ms)),
            }
            world.turn();
        }
        for client in &mut clients {
            client.peer.set_room(usize::MAX);
        }
        world.settle();
        for client in &mut clients {
            client.read();
            let expected = |number: &usize| client.topics.contains(&published[*number]);
            let all: Vec<usize> = (0..published.len()).filter(expected).collect();
            prop_assert_eq!(&client.seen, &all);
        }
    }
}

#[test]
fn heartbeats_move_the_id_on_topics_with_ids() {
    let mut topic = Config::default();
    topic.topic = TopicConfig::default().history(History::new().age(Duration::from_secs(60)));
    let mut world = world_with(topic);
    let peer = open(&mut world, "/a", None);
    publish(&mut world, "a", &["1"]);
    peer.read();
    world.pass(Duration::from_secs(600));
    let body = peer.read();
    let beat = body.rsplit("id: ").next().unwrap().lines().next().unwrap();
    assert!(beat.ends_with("-1"), "{beat}");
    assert!(!body.contains("data"), "no event");
    peer.close();
    publish(&mut world, "a", &["2"]);
    let back = open(&mut world, "/a", Some(beat));
    assert_eq!(data(&back), ["2"], "no gap, though the older events were dropped");
    // An event of the same millisecond comes after the heartbeat.
    let peer = open(&mut world, "/b", None);
    world.pass(Duration::from_secs(11));
    let mut last = String::new();
    while last.is_empty() {
        world.pass(Duration::from_secs(1));
        last = peer
            .read()
            .rsplit_once("id: ")
            .map_or(String::new(), |(_, rest)| rest.lines().next().unwrap().to_owned());
    }
    publish(&mut world, "b", &["1"]);
    assert_eq!(data(&open(&mut world, "/b", Some(&last))), ["1"]);
}

#[test]
fn heartbeats_leave_ids_of_the_application_alone() {
    for (topic, id) in [(history().ids(Ids::Own), Some("own")), (TopicConfig::default(), None)] {
        let mut world = world(topic);
        let peer = open(&mut world, "/a", None);
        let event = id.map_or(Event::new().data("1"), |id| Event::new().data("1").id(id));
        world.server.context().publish("a", event).unwrap();
        world.settle();
        peer.read();
        world.pass(Duration::from_secs(60));
        let body = peer.read();
        assert!(body.contains(":\n") && !body.contains("id"), "{body}");
    }
}

#[test]
fn a_heartbeat_with_a_name_is_an_event() {
    let mut config = Config::default();
    config.heartbeat_event = Some("beat".into());
    let mut world = world_with(config.clone());
    let peer = open(&mut world, "/a", None);
    world.pass(Duration::from_secs(20));
    assert_eq!(peer.read().split_once("\r\n\r\n").unwrap().1.matches("event: beat\ndata: \n\n").count(), 1);
    config.topic = history();
    let mut world = world_with(config);
    let peer = open(&mut world, "/a", None);
    world.pass(Duration::from_secs(20));
    let beats = events(&peer);
    // With the position at which it begins, and after a silence.
    assert_eq!(beats.len(), 2);
    assert!(beats.iter().all(|beat| beat.event == "beat" && beat.id.ends_with("-0")), "{beats:?}");
}

#[test]
fn events_that_a_handler_publishes_before_its_stream_begins_reach_it() {
    let mut config = Config::default();
    config.topic = TopicConfig::default().history(History::new().events(2));
    let app = || {
        let mut app = Router::new();
        app.sse("/", |stream, request, cx| {
            cx.subscribe(stream, "a")?;
            for number in 3..8 {
                cx.publish("a", Event::new().data(number.to_string()))?;
            }
            let reply = Reply::stream();
            Ok::<_, Error>(if request.last_event_id().is_some() { reply } else { reply.snapshot() })
        });
        app
    };
    for comes_back in [false, true] {
        let mut world = Loop::with_config(app(), config.clone());
        publish(&mut world, "a", &["1", "2"]);
        let peer = open(&mut world, "/", comes_back.then_some("nobody-2"));
        let mut received = data(&peer);
        // Some events after the one that it has seen were dropped, so it gets a gap.
        received.retain(|data| !data.is_empty());
        assert_eq!(received, ["3", "4", "5", "6", "7"], "{comes_back}");
    }
}

/// A client that has seen the first of two events gets the second, without a gap.
#[track_caller]
fn assert_no_gap(mut world: Loop<Router>) {
    let first = open(&mut world, "/a", None);
    publish(&mut world, "a", &["1", "2"]);
    let seen = events(&first);
    assert_eq!(seen.len(), 2);
    assert_eq!(data(&open(&mut world, "/a", Some(&seen[0].id))), ["2"]);
    assert_eq!(world.server.stats().gaps, 0);
}

#[test]
fn a_clock_that_steps_back_before_the_start_makes_no_gap() {
    let mut world = world(history());
    world.turn();
    world.step_back(Duration::from_secs(60));
    assert_no_gap(world);
}

#[test]
fn a_clock_that_steps_back_before_a_topic_had_a_history_makes_no_gap() {
    let mut world = world(TopicConfig::default());
    world.turn();
    world.jump(Duration::from_secs(60));
    world.server.context().configure("a", history()).unwrap();
    world.step_back(Duration::from_secs(30));
    assert_no_gap(world);
}
