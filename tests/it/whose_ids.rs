//! The makers of event ids, the position at which each stream begins, and that no loss is silent.

use crate::history::{data, events, open, publish, take_events, world, world_with};
use crate::memory_net::{Loop, Peer, check_accounts};
use crate::support::replies;
use mio_sse::{
    CloseReason, Config, Error, Event, EventError, Events, History, Ids, Message, Observer, Position, Reply,
    Request, Router, StreamId, TopicConfig,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// A heartbeat without an id, as a chunk.
pub(crate) const COMMENT: &str = "2\r\n:\n\r\n";

pub(crate) fn kept(ids: Ids) -> TopicConfig {
    TopicConfig::default().history(History::new()).ids(ids)
}

pub(crate) fn config(ids: Ids, change: impl FnOnce(&mut Config)) -> Config {
    let mut config = Config::default();
    (config.topic, config.propagate_panics) = (kept(ids), true);
    change(&mut config);
    config
}

pub(crate) fn at(position: &str) -> Position {
    position.parse().unwrap()
}

pub(crate) fn publish_at(world: &mut Loop<Router>, topic: &str, positions: &[&str]) {
    for position in positions {
        let event = Event::new().data((*position).to_owned());
        world.server.context().publish_at(topic, at(position), event).unwrap();
    }
    world.settle();
}

pub(crate) fn publish_own(world: &mut Loop<Router>, topic: &str, ids: &[&str]) {
    for id in ids {
        let event = Event::new().data((*id).to_owned()).id((*id).to_owned());
        world.server.context().publish(topic, event).unwrap();
    }
    world.settle();
}

/// The events that a page sees: the data of messages, and the names of other events.
pub(crate) fn heard(peer: &Peer) -> Vec<String> {
    let received = events(peer).into_iter();
    received.map(|event| if event.event == "message" { event.data } else { event.event }).collect()
}

/// The whole body of the only response on a connection.
pub(crate) fn body(peer: &Peer) -> String {
    replies(&peer.read()).remove(0).1
}

/// The body of a response that has ended.
#[track_caller]
pub(crate) fn ended(peer: &Peer) -> Vec<String> {
    let received = peer.read();
    assert!(received.ends_with("0\r\n\r\n"), "{received}");
    let head = if received.starts_with("HTTP/") { "" } else { "HTTP/1.1 200 OK\r\n\r\n" };
    take_events(&format!("{head}{received}")).1.into_iter().map(|event| event.data).collect()
}

/// The id of the first block of a stream, if it has one.
pub(crate) fn first_id(peer: &Peer) -> Option<String> {
    let body = body(peer);
    let block = body.split("\n\n").next().unwrap();
    block.lines().find_map(|line| line.strip_prefix("id: ")).map(str::to_owned)
}

pub(crate) fn assert_gap(world: &mut Loop<Router>, path: &str, id: &str) {
    let peer = open(world, path, Some(id));
    assert_eq!(heard(&peer).first().map(String::as_str), Some("gap"), "{path} {id:?}");
    peer.close();
    world.settle();
}

/// Calls of observers for streams.
#[derive(Debug, Clone, Default)]
pub(crate) struct Notes {
    streams: Arc<Mutex<Vec<StreamId>>>,
    messages: Arc<Mutex<Vec<String>>>,
    reasons: Arc<Mutex<Vec<CloseReason>>>,
}

impl Notes {
    pub(crate) fn of(world: &mut Loop<Router>) -> Self {
        let notes = Self::default();
        world.server.observe(notes.clone());
        notes
    }

    pub(crate) fn last(&self) -> StreamId {
        *self.streams.lock().unwrap().last().unwrap()
    }

    pub(crate) fn streams(&self) -> Vec<StreamId> {
        self.streams.lock().unwrap().clone()
    }

    pub(crate) fn messages(&self) -> Vec<String> {
        std::mem::take(&mut self.messages.lock().unwrap())
    }

    pub(crate) fn reasons(&self) -> Vec<CloseReason> {
        std::mem::take(&mut self.reasons.lock().unwrap())
    }
}

impl Observer for Notes {
    fn open(&mut self, stream: StreamId, _request: &Request<'_>) {
        self.streams.lock().unwrap().push(stream);
    }

    fn message(&mut self, message: &Message<'_>) {
        self.messages.lock().unwrap().push(message.text.to_owned());
    }

    fn close(&mut self, _stream: StreamId, reason: CloseReason) {
        self.reasons.lock().unwrap().push(reason);
    }
}

// Known ids.

const NEVER_COMES_BACK: [(&str, EventError); 10] = [
    ("a\tb", EventError::ControlInId),
    ("\u{7f}", EventError::ControlInId),
    ("a\u{1b}[0m", EventError::ControlInId),
    ("a\nb", EventError::ControlInId),
    ("a\r", EventError::ControlInId),
    ("\0", EventError::ControlInId),
    (" a", EventError::SpaceAroundId),
    ("a ", EventError::SpaceAroundId),
    (" ", EventError::SpaceAroundId),
    ("   ", EventError::SpaceAroundId),
];

/// Every method that sends refuses an event with that id.
fn assert_refused(world: &mut Loop<Router>, stream: StreamId, id: &str, error: &Error) {
    let event = Event::new().data("never").id(id.to_owned());
    let publisher = world.server.publisher();
    let mut cx = world.server.context();
    let refused = [
        cx.publish("a", &event),
        cx.publish("nobody reads it", &event),
        cx.send(stream, &event),
        cx.send_tagged("all", &event).map(drop),
        publisher.publish("a", &event),
        publisher.try_publish("a", &event),
        publisher.publish_at("a", at("1-1"), &event),
        publisher.send(stream, &event),
        publisher.send_tagged("all", &event),
    ];
    for (nth, refused) in refused.into_iter().enumerate() {
        assert_eq!(refused.as_ref(), Err(error), "{nth} {id:?}");
    }
    world.settle();
}

#[test]
fn an_id_that_cannot_come_back_is_refused_by_everything_that_sends() {
    for ids in [Some(Ids::Own), None] {
        let topic = ids.map_or(TopicConfig::default(), kept);
        let mut world = world(topic);
        let notes = Notes::of(&mut world);
        let peer = open(&mut world, "/a", None);
        let stream = notes.last();
        for (id, error) in NEVER_COMES_BACK {
            assert_refused(&mut world, stream, id, &Error::InvalidEvent(error));
            assert_eq!(Reply::stream().first(Event::new().data("").id(id)).check(), Err(error.into()));
        }
        assert_refused(&mut world, stream, &"x".repeat(4097), &Error::IdTooLong);
        assert_eq!(heard(&peer), [""; 0]);
        assert_eq!((world.server.stats().events_published, world.server.stats().events_sent), (0, 0));
        assert_eq!(notes.messages(), [""; 0]);
        // An empty id makes clients forget their id, which is invalid only in topics that have ids.
        let empty = world.server.context().publish("a", Event::new().data("empty").id(""));
        assert_eq!(empty, ids.map_or(Ok(()), |_| Err(EventError::EmptyId.into())));
        world.server.context().send(stream, Event::new().data("forget").id("")).unwrap();
    }
}

#[test]
fn an_event_of_a_source_whose_id_cannot_come_back_is_left_out() {
    let mut app = Router::new();
    app.get("/", |_request, _cx| {
        let ids = NEVER_COMES_BACK.map(|(id, _)| id.to_owned()).into_iter().chain(["x".repeat(4097)]);
        let never = ids.map(|id| Event::new().data("never").id(id));
        let events = [Event::new().data("1")]
            .into_iter()
            .chain(never)
            .chain([Event::new().data("2").id("x".repeat(4096))]);
        Reply::stream().source(Events::new(events.collect::<Vec<_>>()))
    });
    let mut world = Loop::with_config(app, config(Ids::Own, |_| {}));
    let peer = open(&mut world, "/", None);
    assert_eq!(ended(&peer), ["1", "2"]);
    assert_eq!(world.server.stats().events_sent, 2);
}

#[test]
fn a_first_event_with_too_long_an_id_makes_the_reply_an_error() {
    for (length, status) in [(64, 200), (65, 500)] {
        let mut app = Router::new();
        app.get("/", move |_request, _cx| {
            Reply::stream().first(Event::new().data("1").id("x".repeat(length)))
        });
        let mut world = Loop::with_config(app, config(Ids::Own, |config| config.event_id_bytes_max = 64));
        let peer = open(&mut world, "/", None);
        assert_eq!(replies(&peer.read())[0].0, status);
        assert_eq!(world.server.stats().streams, u64::from(status == 200));
        check_accounts(&world.server.stats());
    }
}

#[test]
fn an_id_that_just_fits_can_be_resumed() {
    let (long, odd) = ("x".repeat(4096), "a b: \"é\", \u{a0}日本 ,;=%20&+");
    for id in [&long, odd, "0", "-", "1800000000005-0", ":", "a\u{85}b", "\u{a0}"] {
        let mut world = world(kept(Ids::Own));
        publish_own(&mut world, "a", &["before", id, "behind"]);
        let back = open(&mut world, "/a", Some(id));
        assert_eq!(data(&back), ["behind"], "{id:?}");
        let again = open(&mut world, "/a", Some(id));
        assert_eq!(first_id(&again).as_deref(), Some(id));
    }
}

#[test]
fn the_length_of_an_id_is_limited_to_half_a_head() {
    let mut world = world_with(config(Ids::Own, |config| {
        (config.head_bytes_max, config.target_bytes_max) = (1000, 500);
    }));
    let mut cx = world.server.context();
    assert_eq!(cx.publish("a", Event::new().data("1").id("x".repeat(501))), Err(Error::IdTooLong));
    cx.publish("a", Event::new().data("1").id("x".repeat(500))).unwrap();
    publish_own(&mut world, "a", &["2"]);
    assert_eq!(data(&open(&mut world, "/a", Some(&"x".repeat(500)))), ["2"]);
}

// Unknown ids.

#[test]
fn an_unknown_last_event_id_is_always_a_gap() {
    let lines: [(&[u8], &str); 7] = [
        (b"Last-Event-ID: \xff\xfe1\r\n", "\u{fffd}\u{fffd}1"),
        (b"Last-Event-ID: a\tb\r\n", "a\tb"),
        (b"Last-Event-ID: 1\r\nLast-Event-ID: 2\r\n", "1, 2"),
        (b"last-event-id: 2\r\nLAST-EVENT-ID: 1\r\n", "2, 1"),
        (b"Last-Event-ID: 1,2\r\n", "1,2"),
        (&[b"Last-Event-ID: ", &[b'x'; 5000][..], b"\r\n"].concat(), &"x".repeat(5000)),
        (b"Last-Event-ID: 1800000000005-0\r\n", "1800000000005-0"),
    ];
    for ids in [Ids::Own, Ids::Generated, Ids::Ordered] {
        for (line, expected) in lines {
            for is_made_up in [false, true] {
                let asked = Arc::<Mutex<Vec<String>>>::default();
                let mut app = Router::new();
                app.get("/", |_request, _cx| Reply::stream().topic("a"));
                let asks = asked.clone();
                app.missed(move |_stream, last, _cx| {
                    asks.lock().unwrap().push(last.to_owned());
                    is_made_up
                });
                let mut world = Loop::with_config(app, config(ids, |_| {}));
                if ids == Ids::Own {
                    publish_own(&mut world, "a", &["1", "2"]);
                }
                let peer = world.connect();
                peer.write([b"GET / HTTP/1.1\r\nHost: x\r\n", line, b"\r\n"].concat());
                world.settle();
                assert_eq!(heard(&peer).contains(&"gap".to_owned()), !is_made_up, "{ids:?} {expected:?}");
                assert_eq!(*asked.lock().unwrap(), [expected]);
            }
        }
    }
}

#[test]
fn the_same_header_line_twice_and_an_id_in_the_query_are_one_id() {
    let mut world = world(kept(Ids::Own));
    publish_own(&mut world, "a", &["1", "2"]);
    for (query, lines) in [
        ("", "Last-Event-ID: 1\r\nLast-Event-ID: 1\r\n"),
        ("?lastEventId=1", ""),
        ("?last_event_id=1", ""),
        ("?lastEventId=unknown", "Last-Event-ID: 1\r\n"),
        // An empty id is no id, and does not hide another one.
        ("?lastEventId=1", "Last-Event-ID: \r\n"),
        ("?lastEventId=&last_event_id=1", ""),
        ("", "Last-Event-ID: \r\nLast-Event-ID: 1\r\n"),
    ] {
        let peer = world.connect();
        peer.write(format!("GET /a{query} HTTP/1.1\r\nHost: x\r\n{lines}\r\n"));
        world.settle();
        assert_eq!(heard(&peer), ["2"], "{query} {lines}");
    }
    assert_eq!(heard(&open(&mut world, "/a", Some(""))), [""; 0]);
    assert_gap(&mut world, "/a?last_event_id=%FF%00", "");
}

#[test]
fn an_id_of_an_earlier_server_is_a_gap_whatever_its_clock_and_its_number() {
    for (ahead, behind) in [(0, 0), (3600, 0), (0, 3600)] {
        let mut earlier = world(kept(Ids::Generated));
        earlier.jump(Duration::from_secs(ahead));
        let peer = open(&mut earlier, "/a", None);
        let begin = first_id(&peer).unwrap();
        publish(&mut earlier, "a", &["1", "2"]);
        let mut seen: Vec<_> = events(&peer).into_iter().map(|event| event.id).collect();
        seen.push(begin);
        let mut now = world(kept(Ids::Generated));
        now.jump(Duration::from_secs(behind));
        // Before, while and after the new server has as many events.
        for text in ["1", "2", "3"] {
            seen.iter().for_each(|id| assert_gap(&mut now, "/a", id));
            publish(&mut now, "a", &[text]);
        }
        seen.iter().for_each(|id| assert_gap(&mut now, "/a", id));
    }
}

#[test]
fn a_number_that_this_server_has_not_given_yet_and_other_forms_of_an_id_are_a_gap() {
    let mut world = world(kept(Ids::Generated));
    let peer = open(&mut world, "/a", None);
    publish(&mut world, "a", &["1"]);
    let id = events(&peer)[0].id.clone();
    let (maker, _) = id.split_once('-').unwrap();
    let lower = id.to_ascii_lowercase();
    let others = ["2", "01", "+1", "", "18446744073709551615", "99999999999999999999", "1-0"];
    let others = others.map(|number| format!("{maker}-{number}"));
    for other in others.iter().map(String::as_str).chain([maker, "1800000000005-0", "-1", "1"]) {
        assert_gap(&mut world, "/a", other);
    }
    if lower != id {
        assert_gap(&mut world, "/a", &lower);
    }
    assert_eq!(heard(&open(&mut world, "/a", Some(&id))), [""; 0]);
}

// Positions of an external log.

#[test]
fn a_stream_resumes_exactly_after_any_position_between() {
    let mut world = world(kept(Ids::Ordered));
    publish_at(&mut world, "a", &["10-0"]);
    publish_at(&mut world, "b", &["20-5"]);
    publish_at(&mut world, "a", &["30-1", "30-18446744073709551615"]);
    let all = ["10-0", "20-5", "30-1", "30-18446744073709551615"];
    for (path, of_path) in [("/a+b", &[0, 1, 2, 3][..]), ("/a", &[0, 2, 3]), ("/b", &[1])] {
        for seen in ["10-0", "10-1", "15-0", "20-4", "20-5", "20-6", "30-0", "30-1", "30-2", all[3]] {
            let back = open(&mut world, path, Some(seen));
            let expected = of_path.iter().map(|nth| all[*nth]).filter(|position| at(position) > at(seen));
            assert_eq!(heard(&back), expected.collect::<Vec<_>>(), "{path} {seen}");
        }
        ["9-9", "0-0", "10", "10-", "-0", "10-0-0", "99999999999999999999-0", "maker-1"]
            .iter()
            .for_each(|unknown| assert_gap(&mut world, path, unknown));
    }
}

#[test]
fn a_position_before_the_history_is_a_gap_and_one_after_it_is_not() {
    let history = History::new().events(2);
    let mut world = world(TopicConfig::default().history(history).ids(Ids::Ordered));
    publish_at(&mut world, "a", &["10-0", "20-0", "30-0", "40-0"]);
    publish_at(&mut world, "b", &["50-0"]);
    for (seen, expected) in [
        ("19-0", &["gap", "30-0", "40-0", "50-0"][..]),
        ("20-0", &["30-0", "40-0", "50-0"]),
        ("25-0", &["30-0", "40-0", "50-0"]),
        ("35-0", &["40-0", "50-0"]),
    ] {
        assert_eq!(heard(&open(&mut world, "/a+b", Some(seen))), expected, "{seen}");
    }
    // Nothing is missing of `b`.
    assert_eq!(heard(&open(&mut world, "/b", Some("19-0"))), ["50-0"]);
}

#[test]
fn a_client_that_is_ahead_of_this_server_gets_only_new_events_and_each_once() {
    let mut world = world(kept(Ids::Ordered));
    publish_at(&mut world, "a", &["10-0"]);
    let peers = ["/a", "/a+b", "/b+a+c"].map(|path| open(&mut world, path, Some("40-0")));
    peers.iter().for_each(|peer| assert_eq!(first_id(peer).as_deref(), Some("40-0")));
    publish_at(&mut world, "b", &["20-0"]);
    publish_at(&mut world, "a", &["30-0", "40-0"]);
    // A heartbeat with the position of this server would set the client back.
    world.pass(Duration::from_secs(20));
    for peer in &peers {
        assert_eq!(peer.read().replace(COMMENT, ""), "");
    }
    publish_at(&mut world, "a", &["40-1"]);
    publish_at(&mut world, "b", &["50-0"]);
    publish_at(&mut world, "c", &["60-0"]);
    for (peer, expected) in peers.iter().zip([&["40-1"][..], &["40-1", "50-0"], &["40-1", "50-0", "60-0"]]) {
        assert_eq!(heard(peer), expected);
    }
    world.pass(Duration::from_secs(20));
    assert!(peers[0].read().contains("id: 60-0\n\n"), "as soon as this server has caught up");
}

#[test]
fn calls_for_a_stream_that_waits_for_a_position_neither_lose_nor_double_events() {
    let mut world = world(kept(Ids::Ordered));
    let notes = Notes::of(&mut world);
    world.server.context().configure("plain", TopicConfig::default()).unwrap();
    publish_at(&mut world, "a", &["10-0"]);
    let left = open(&mut world, "/a", Some("40-0"));
    left.close();
    world.settle();
    let peer = open(&mut world, "/a+plain", Some("40-0"));
    let stream = notes.last();
    for topic in ["b", "c", "a"] {
        world.server.context().subscribe(stream, topic).unwrap();
    }
    world.server.context().unsubscribe(stream, "c").unwrap();
    // Another history of the same kind does not affect it.
    let shorter = TopicConfig::default().history(History::new().events(1)).ids(Ids::Ordered);
    world.server.context().configure("a", shorter).unwrap();
    publish_at(&mut world, "a", &["20-0"]);
    publish_at(&mut world, "b", &["30-0", "40-0"]);
    // A topic without ids has nothing to wait for.
    publish(&mut world, "plain", &["plain"]);
    world.server.context().send(stream, Event::new().data("sent")).unwrap();
    world.settle();
    assert_eq!(heard(&peer), ["plain", "sent"]);
    publish_at(&mut world, "b", &["45-0"]);
    publish_at(&mut world, "a", &["46-0"]);
    publish_at(&mut world, "c", &["47-0"]);
    assert_eq!(heard(&peer), ["45-0", "46-0"]);
    assert_eq!(world.server.stats().streams, 1);
    check_accounts(&world.server.stats());
}

#[test]
fn a_stream_does_not_wait_for_a_position_in_a_topic_that_has_no_positions_any_more() {
    for topic in [TopicConfig::default(), kept(Ids::Own), kept(Ids::Generated)] {
        let mut world = world(kept(Ids::Ordered));
        publish_at(&mut world, "a", &["10-0"]);
        let peer = open(&mut world, "/a", Some("40-0"));
        world.server.context().configure("a", topic).unwrap();
        publish(&mut world, "a", &["new"]);
        assert_eq!(heard(&peer), ["new"], "{topic:?}");
    }
}

#[test]
fn before_the_first_position_every_position_is_a_gap() {
    let mut world = world(kept(Ids::Ordered));
    for id in ["0-0", "1-0", "1800000000005-0"] {
        assert_gap(&mut world, "/a", id);
    }
    let newcomer = open(&mut world, "/a", None);
    assert_eq!(first_id(&newcomer).as_deref(), Some("0-0"));
    newcomer.close();
    publish_at(&mut world, "a", &["5-0"]);
    assert_eq!(heard(&open(&mut world, "/a", Some("0-0"))), ["gap", "5-0"]);
}

#[test]
fn an_event_with_an_invalid_position_or_id_is_an_error_and_is_not_published() {
    let mut world = world(kept(Ids::Ordered));
    let mut cx = world.server.context();
    cx.configure("own", kept(Ids::Own)).unwrap();
    cx.configure("generated", kept(Ids::Generated)).unwrap();
    cx.configure("plain", TopicConfig::default()).unwrap();
    let peers = ["/a+b+plain", "/own", "/generated"].map(|path| open(&mut world, path, None));
    publish_at(&mut world, "a", &["10-5"]);
    let mut cx = world.server.context();
    let (event, with_id) = (Event::new().data("never"), Event::new().data("never").id("1"));
    for position in ["10-5", "10-4", "9-9", "0-0"] {
        for topic in ["a", "b", "nobody reads it"] {
            assert_eq!(cx.publish_at(topic, at(position), &event), Err(Error::PositionNotIncreasing));
        }
    }
    assert_eq!(cx.publish("a", &event), Err(Error::NoPosition));
    assert_eq!(cx.publish("a", &with_id), Err(Error::NoPosition));
    assert_eq!(cx.publish_at("a", at("11-0"), &with_id), Err(Error::OwnId));
    assert_eq!(cx.publish("generated", &with_id), Err(Error::OwnId));
    assert_eq!(cx.publish("generated", Event::new().data("never").id("")), Err(Error::OwnId));
    for topic in ["own", "generated", "plain"] {
        assert_eq!(cx.publish_at(topic, at("12-0"), &event), Err(Error::NotOrdered));
    }
    // With a publisher the loop finds out.
    let publisher = world.server.publisher();
    publisher.publish("a", &event).unwrap();
    publisher.publish_at("b", at("10-5"), &event).unwrap();
    publisher.publish_at("own", at("12-0"), &event).unwrap();
    publisher.publish("generated", &with_id).unwrap();
    publisher.publish_at("b", at("10-6"), Event::new().data("10-6")).unwrap();
    world.settle();
    publish_own(&mut world, "own", &["1"]);
    world.server.context().publish("plain", Event::new().data("with its id").id("1")).unwrap();
    publish(&mut world, "generated", &["1"]);
    let expected = [&["10-5", "10-6", "with its id"][..], &["1"], &["1"]];
    peers.iter().zip(expected).for_each(|(peer, expected)| assert_eq!(heard(peer), expected));
    assert_eq!(world.server.stats().events_published, 5);
    assert_eq!(heard(&open(&mut world, "/a+b", Some("10-5"))), ["10-6"]);
}

// Ids of heartbeats and first blocks.

/// The id of the heartbeat after a silence.
fn beat(world: &mut Loop<Router>, peer: &Peer) -> Option<String> {
    peer.read();
    world.pass(Duration::from_secs(20));
    let beats = peer.read();
    assert_ne!(beats, "", "a heartbeat");
    beats.rsplit_once("id: ").map(|(_, id)| id.lines().next().unwrap().to_owned())
}

#[test]
fn neither_heartbeat_nor_first_block_invents_an_id_where_the_application_makes_them() {
    for name in [None, Some("beat".into())] {
        let mut world = world_with(config(Ids::Own, |config| config.heartbeat_event = name.clone()));
        let peer = open(&mut world, "/a+b", None);
        assert_eq!(first_id(&peer), None);
        assert_eq!(beat(&mut world, &peer), None);
        publish(&mut world, "a", &["an event without an id has none"]);
        let another = open(&mut world, "/a+b", None);
        assert_eq!(first_id(&another), None);
        publish_own(&mut world, "a", &["1"]);
        publish_own(&mut world, "b", &["2"]);
        publish(&mut world, "a", &["nor has this"]);
        assert_eq!(beat(&mut world, &peer), None);
        assert_eq!(first_id(&open(&mut world, "/a+b", None)).as_deref(), Some("2"), "the newest there is");
        assert_eq!(first_id(&open(&mut world, "/a", None)).as_deref(), Some("1"));
        assert_eq!(first_id(&open(&mut world, "/a+b", Some("1"))).as_deref(), Some("1"), "its own");
        assert_eq!(first_id(&open(&mut world, "/a?from=oldest", None)), None, "it has none of these");
    }
}

#[test]
fn resuming_with_the_id_of_a_heartbeat_gets_exactly_the_new_events() {
    for name in [None, Some("beat".into())] {
        for ids in [Ids::Generated, Ids::Ordered] {
            let mut world = world_with(config(ids, |config| config.heartbeat_event = name.clone()));
            let send = |world: &mut Loop<Router>, topic, number| match ids {
                Ids::Ordered => publish_at(world, topic, &[number]),
                _ => publish(world, topic, &[number]),
            };
            let peer = open(&mut world, "/a+b", None);
            send(&mut world, "a", "10-0");
            // A heartbeat is ahead of other topics, too.
            send(&mut world, "c", "20-0");
            let seen = beat(&mut world, &peer).unwrap();
            send(&mut world, "b", "20-1");
            send(&mut world, "a", "30-0");
            let back = open(&mut world, "/a+b", Some(&seen));
            let mut received = heard(&back);
            received.retain(|data| data != "beat");
            assert_eq!(received, ["20-1", "30-0"], "{ids:?} {seen}");
        }
    }
}

#[test]
fn an_id_that_was_given_twice_means_its_first_place_as_long_as_that_is_kept() {
    for (events, expected) in [(4, &["6", "5", "7"][..]), (3, &["7"]), (2, &["7"]), (1, &["gap", "7"])] {
        let topic = TopicConfig::default().history(History::new().events(events)).ids(Ids::Own);
        let mut world = world(topic);
        publish_own(&mut world, "a", &["5", "6", "5", "7"]);
        assert_eq!(heard(&open(&mut world, "/a", Some("5"))), expected, "{events}");
        // Without a history of the first 6 events there is no other one.
        let of_6 = if events >= 3 { &["5", "7"][..] } else { &["gap", "5", "7"][2 - events.min(2)..] };
        let received = heard(&open(&mut world, "/a", Some("6")));
        assert_eq!(received.last(), of_6.last().map(|last| (*last).to_owned()).as_ref());
        assert_eq!(received.contains(&"gap".to_owned()), events < 3);
    }
    // In two topics: after the older of both.
    let mut world = world(kept(Ids::Own));
    for (topic, id) in [("a", "5"), ("b", "6"), ("b", "5"), ("a", "7")] {
        publish_own(&mut world, topic, &[id]);
    }
    assert_eq!(heard(&open(&mut world, "/a+b", Some("5"))), ["6", "5", "7"]);
}

// Clients that are cut off before their first event.

/// Opens a stream that is cut off after its first block, and resumes with its id after more was published.
#[track_caller]
fn cut_off(world: &mut Loop<Router>, path: &str, last: Option<&str>, behind: &[&str]) -> Vec<String> {
    let peer = world.connect();
    peer.write(crate::history::ask(path, last));
    world.settle();
    let id = first_id(&peer).unwrap_or_else(|| panic!("{path} {last:?} has a position"));
    peer.reset();
    world.settle();
    publish(world, "a", &behind[..1]);
    publish(world, "b", &behind[1..]);
    heard(&open(world, path.split('?').next().unwrap(), Some(&id)))
}

#[test]
fn a_client_that_is_cut_off_before_its_first_event_resumes_exactly() {
    for name in [None, Some("beat".into())] {
        let mut world = world_with(config(Ids::Generated, |config| config.heartbeat_event = name.clone()));
        let watcher = open(&mut world, "/a+b", None);
        publish(&mut world, "a", &["1"]);
        publish(&mut world, "b", &["2"]);
        let ids: Vec<_> = events(&watcher).into_iter().filter(|event| event.event == "message").collect();
        let mut back = |path, last, behind: &[&str]| {
            let mut received = cut_off(&mut world, path, last, behind);
            received.retain(|data| data != "beat");
            received
        };
        assert_eq!(back("/a+b?from=oldest", None, &["3", "4"]), ["1", "2", "3", "4"]);
        assert_eq!(back("/a+b?from=live", Some("unknown"), &["5", "6"]), ["5", "6"]);
        assert_eq!(back("/a", None, &["7", "8"]), ["7"]);
        assert_eq!(
            back("/a+b", Some(&*ids[0].id), &["9", "x"]),
            ["2", "3", "4", "5", "6", "7", "8", "9", "x"]
        );
        assert_eq!(back("/a+b?from=gap-live", Some("unknown"), &["y", "z"]), ["y", "z"]);
        let all = ["1", "2", "3", "4", "5", "6", "7", "8", "9", "x", "y", "z", "!", "?"];
        assert_eq!(back("/a+b", Some("unknown"), &["!", "?"]), all);
    }
}

#[test]
fn a_client_with_ids_of_the_application_resumes_exactly_before_its_first_event() {
    let mut world = world(kept(Ids::Own));
    publish_own(&mut world, "a", &["1"]);
    publish_own(&mut world, "b", &["2"]);
    for (path, last, expected) in [
        ("/a+b", None, &["3"][..]),
        ("/a", None, &["3"]),
        ("/a+b", Some("1"), &["2", "3"]),
        ("/a+b?from=gap-live", Some("unknown"), &["3"]),
    ] {
        let peer = open(&mut world, path, last);
        let id = first_id(&peer).unwrap();
        peer.close();
        let mut world = self::world(kept(Ids::Own));
        publish_own(&mut world, "a", &["1"]);
        publish_own(&mut world, "b", &["2"]);
        publish_own(&mut world, "a", &["3"]);
        let back = open(&mut world, path.split('?').next().unwrap(), Some(&id));
        assert_eq!(heard(&back), expected, "{path} {last:?}");
    }
}

#[test]
fn a_client_of_an_external_log_resumes_exactly_before_its_first_event() {
    let mut world = world(kept(Ids::Ordered));
    publish_at(&mut world, "a", &["10-0"]);
    publish_at(&mut world, "b", &["20-0"]);
    let opened = [("/a+b", None, "20-0"), ("/a", None, "20-0"), ("/a+b", Some("15-0"), "15-0")];
    for (path, last, position) in opened.into_iter().chain([("/b?from=gap-live", Some("x"), "20-0")]) {
        assert_eq!(first_id(&open(&mut world, path, last)).as_deref(), Some(position), "{path} {last:?}");
    }
    publish_at(&mut world, "a", &["30-0"]);
    assert_eq!(heard(&open(&mut world, "/a+b", Some("20-0"))), ["30-0"]);
    assert_eq!(heard(&open(&mut world, "/a+b", Some("15-0"))), ["20-0", "30-0"]);
}

#[test]
fn events_that_a_handler_publishes_to_its_stream_come_after_the_first_id() {
    for ids in [Ids::Generated, Ids::Own, Ids::Ordered] {
        let mut app = Router::new();
        app.get("/again", |_request, _cx| Reply::stream().topic("a"));
        app.sse("/", move |stream, _request, cx| {
            cx.subscribe(stream, "a")?;
            match ids {
                Ids::Generated => cx.publish("a", Event::new().data("within")),
                Ids::Own => {
                    cx.publish("a", Event::new().data("without an id"))?;
                    cx.publish("a", Event::new().data("within").id("within"))
                }
                Ids::Ordered => cx.publish_at("a", Position::new(20, 0), Event::new().data("within")),
            }
        });
        let mut world = Loop::with_config(app, config(ids, |_| {}));
        match ids {
            Ids::Generated => publish(&mut world, "a", &["before"]),
            Ids::Own => publish_own(&mut world, "a", &["before"]),
            Ids::Ordered => publish_at(&mut world, "a", &["10-0"]),
        }
        let id = first_id(&open(&mut world, "/", None)).unwrap();
        let back = heard(&open(&mut world, "/again", Some(&id)));
        assert_eq!(back, if ids == Ids::Own { &["without an id", "within"][..] } else { &["within"] });
    }
}

// Bytes.

#[test]
fn notices_are_written_byte_by_byte_as_they_are_documented() {
    let mut app = Router::new();
    app.get("/{topic}", |request, _cx| {
        let topic = request.param("topic").unwrap_or_default();
        Reply::stream().topic(topic).retry(Duration::from_millis(1500))
    });
    let mut world = Loop::with_config(app, config(Ids::Own, |config| config.streams_max = 5));
    world.server.context().configure("plain", TopicConfig::default()).unwrap();
    publish_own(&mut world, "a", &["1", "2"]);
    let mut first = |path, last| {
        let peer = open(&mut world, path, last);
        (body(&peer), peer)
    };
    assert_eq!(first("/plain", None).0, "retry: 1500\n");
    assert_eq!(first("/a", None).0, "id: 2\nretry: 1500\n\n");
    assert_eq!(first("/a", Some("1")).0, "id: 1\nretry: 1500\n\nid: 2\ndata: 2\n\n");
    let gap = "event: gap\nretry: 1500\ndata: \n\nid: 1\ndata: 1\n\nid: 2\ndata: 2\n\n";
    let (received, peer) = first("/a", Some("unknown"));
    assert_eq!(received, gap);
    assert_eq!(first("/b", None).0, "retry: 1500\n");
    // All places are taken: the refusal has a time to reconnect.
    let refused = world.connect();
    refused.write(crate::memory_net::subscribe("/a"));
    world.settle();
    let refusal = body(&refused);
    let delay = refusal.strip_prefix("retry: ").and_then(|rest| rest.strip_suffix('\n'));
    assert!(delay.is_some_and(|delay| delay.parse::<u32>().is_ok()), "{refusal:?}");
    let cx = &mut world.server.context();
    cx.publish("a", Event::new().comment("two\nlines")).unwrap();
    cx.publish("a", Event::new().comment("and").retry(Duration::from_secs(1))).unwrap();
    cx.publish("a", Event::new().data("3").comment("with data")).unwrap();
    world.settle();
    let expected = ["e\r\n: two\n: lines\n\r\n", ": and\nretry: 1000\n\r\n", ": with data\ndata: 3\n\n\r\n"];
    let received = peer.read();
    assert!(expected.iter().all(|chunk| received.contains(chunk)), "{received:?}");
    world.pass(Duration::from_secs(20));
    assert_eq!(peer.read(), COMMENT);
}

#[test]
fn a_stream_that_waits_for_a_position_gets_nothing_twice_though_another_topic_of_it_changes() {
    let mut world = world(kept(Ids::Ordered));
    let plain = TopicConfig::default();
    world.server.context().configure("plain", plain).unwrap();
    publish_at(&mut world, "a", &["10-0"]);
    let peer = open(&mut world, "/a+b+plain", Some("40-0"));
    world.server.context().configure("a", plain).unwrap();
    world.server.context().configure("plain", kept(Ids::Ordered)).unwrap();
    publish_at(&mut world, "b", &["20-0", "40-0"]);
    publish(&mut world, "a", &["plain"]);
    assert_eq!(heard(&peer), ["plain"]);
    publish_at(&mut world, "b", &["50-0"]);
    assert_eq!(heard(&peer), ["50-0"]);
}

#[test]
fn a_stream_that_has_left_the_topics_for_which_it_waited_gets_what_others_have() {
    let mut world = world(kept(Ids::Generated));
    world.server.context().configure("a", kept(Ids::Ordered)).unwrap();
    publish_at(&mut world, "a", &["10-0"]);
    let notes = Notes::of(&mut world);
    let peer = open(&mut world, "/a", Some("40-0"));
    world.server.context().unsubscribe(notes.last(), "a").unwrap();
    world.server.context().subscribe(notes.last(), "b").unwrap();
    publish(&mut world, "b", &["1"]);
    assert_eq!(heard(&peer), ["1"]);
}

#[test]
fn dropped_events_of_a_topic_are_a_gap_even_if_other_topics_have_dropped_more() {
    let aged = |ids| TopicConfig::default().history(History::new().age(Duration::from_secs(60))).ids(ids);
    for other in [Ids::Generated, Ids::Own] {
        let mut world = world(aged(Ids::Ordered));
        world.server.context().configure("other", aged(other)).unwrap();
        publish_at(&mut world, "a", &["10-0", "20-0", "30-0"]);
        world.pass(Duration::from_secs(10));
        publish(&mut world, "other", &["1"]);
        world.pass(Duration::from_secs(100));
        assert_eq!(world.server.stats().topics, 0);
        assert_gap(&mut world, "/a", "10-0");
        assert_eq!(heard(&open(&mut world, "/a", Some("30-0"))), [""; 0]);
    }
}

#[test]
fn a_client_that_is_cut_off_while_it_waits_for_a_restarted_server_resumes() {
    let mut world = world(kept(Ids::Ordered));
    let peer = open(&mut world, "/a", Some("40-0"));
    assert_eq!(heard(&peer), ["gap"]);
    publish_at(&mut world, "a", &["30-0", "40-0"]);
    assert_eq!(heard(&peer), [""; 0]);
    publish_at(&mut world, "a", &["40-1"]);
    assert_eq!(heard(&peer), ["40-1"]);
    assert_eq!(heard(&open(&mut world, "/a", Some("40-0"))), ["40-1"]);
}

#[test]
fn a_first_position_where_a_handler_publishes_the_first_event_of_all_is_before_it() {
    let mut app = Router::new();
    app.get("/again", |_request, _cx| Reply::stream().topic("a"));
    app.sse("/", |stream, _request, cx| {
        cx.subscribe(stream, "a")?;
        cx.publish_at("a", Position::new(20, 0), Event::new().data("within"))
    });
    let mut world = Loop::with_config(app, config(Ids::Ordered, |_| {}));
    let id = first_id(&open(&mut world, "/", None)).unwrap();
    assert_eq!(heard(&open(&mut world, "/again", Some(&id))), ["gap", "within"], "{id}: never silence");
}

#[test]
fn a_topic_of_positions_or_own_ids_without_a_history_knows_the_newest_and_no_other() {
    let mut world = world(TopicConfig::default().ids(Ids::Own));
    let reader = open(&mut world, "/a", None);
    publish_own(&mut world, "a", &["1", "2"]);
    assert_eq!(heard(&open(&mut world, "/a", Some("2"))), [""; 0]);
    assert_gap(&mut world, "/a", "1");
    publish(&mut world, "a", &["without an id"]);
    assert_gap(&mut world, "/a", "2");
    assert_eq!(heard(&reader), ["1", "2", "without an id"]);
    for is_read in [true, false] {
        let mut world = self::world(TopicConfig::default().ids(Ids::Ordered));
        let _reader = is_read.then(|| open(&mut world, "/a", None));
        publish_at(&mut world, "a", &["10-0", "20-0"]);
        assert_eq!(heard(&open(&mut world, "/a", Some("20-0"))), [""; 0]);
        for lost in ["10-0", "15-0", "19-9"] {
            assert_gap(&mut world, "/a", lost);
        }
        let ahead = open(&mut world, "/a", Some("30-0"));
        publish_at(&mut world, "a", &["25-0", "30-0", "35-0"]);
        assert_eq!(heard(&ahead), ["35-0"]);
    }
}
