//! Keyed topics: superseded events, snapshots for new clients, and histories.

use crate::history::{ask, data, events, open, publish, world, world_with};
use crate::memory_net::{Loop, Peer};
use mio_sse::{CloseReason, Config, Event, History, Overflow, Router, TopicConfig};
use proptest::prelude::*;
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

fn keyed() -> TopicConfig {
    TopicConfig::default().keyed()
}

fn set(world: &mut Loop<Router>, key: &str, value: &str) {
    let event = Event::new().data(format!("{key} {value}")).key(key.to_owned());
    world.server.context().publish("a", event).unwrap();
}

fn remove(world: &mut Loop<Router>, key: &str) {
    let event = Event::new().data(format!("{key} -")).key(key.to_owned()).removes_key();
    world.server.context().publish("a", event).unwrap();
}

#[test]
fn a_new_client_with_a_snapshot_gets_the_newest_of_each_key_and_then_everything() {
    let mut world = world(keyed());
    for (key, value) in [("x", "1"), ("y", "1"), ("x", "2"), ("z", "1"), ("y", "2")] {
        set(&mut world, key, value);
    }
    remove(&mut world, "z");
    world.settle();
    let snapshot = open(&mut world, "/a?from=oldest", None);
    let live = open(&mut world, "/a", None);
    assert_eq!(data(&snapshot), ["x 2", "y 2"]);
    for value in ["3", "4"] {
        set(&mut world, "x", value);
    }
    world.settle();
    assert_eq!(data(&snapshot), ["x 3", "x 4"], "a stream that does not lag gets each event");
    assert_eq!(data(&live), ["x 3", "x 4"]);
    remove(&mut world, "x");
    remove(&mut world, "y");
    world.settle();
    assert_eq!(data(&live), ["x -", "y -"], "the end of a key is an event");
    live.close();
    snapshot.close();
    world.settle();
    assert_eq!(data(&open(&mut world, "/a?from=oldest", None)), [""; 0]);
}

#[test]
fn a_reader_far_behind_gets_one_event_for_each_key_and_then_live() {
    let mut world = world(keyed());
    let peer = open(&mut world, "/a", None);
    peer.read();
    peer.set_room(10);
    for number in 0..100_000 {
        set(&mut world, &(number % 100).to_string(), &number.to_string());
        if number % 1000 == 999 {
            world.settle();
            assert!(world.server.stats().log_bytes < 300_000, "{}", world.server.stats().log_bytes);
        }
    }
    peer.set_room(usize::MAX);
    world.settle();
    let received = data(&peer);
    assert_eq!(received[0], "0 0", "a frame that was begun is completed");
    let expected: Vec<_> = (99_900..100_000).map(|number| format!("{} {number}", number % 100)).collect();
    assert_eq!(received[1..], expected);
    set(&mut world, "7", "live");
    world.settle();
    assert_eq!(data(&peer), ["7 live"]);
    assert_eq!(world.server.stats().closed(CloseReason::Lagged), 0);
}

#[test]
fn private_events_do_not_make_a_stream_lag() {
    let mut world = world(keyed());
    let peer = open(&mut world, "/a", None);
    peer.read();
    world.server.context().send_tagged("all", Event::new().data("for you")).unwrap();
    set(&mut world, "x", "1");
    set(&mut world, "x", "2");
    world.settle();
    assert_eq!(data(&peer), ["for you", "x 1", "x 2"]);
    // A stream that was offered an event without room for it does lag.
    peer.set_room(3);
    set(&mut world, "x", "3");
    world.settle();
    peer.set_room(usize::MAX);
    set(&mut world, "y", "1");
    set(&mut world, "x", "4");
    set(&mut world, "x", "5");
    world.settle();
    assert_eq!(data(&peer), ["x 3", "y 1", "x 5"]);
}

#[test]
fn events_after_the_end_of_a_stream_do_not_cut_it() {
    let mut config = Config::default();
    (config.lag_bytes_max, config.topic) = (1000, keyed());
    let mut world = world_with(config);
    let peer = open(&mut world, "/a", None);
    peer.read();
    peer.set_room(3);
    set(&mut world, "x", "1");
    set(&mut world, "y", "1");
    world.settle();
    world.server.context().close_tagged("all");
    world.settle();
    for _ in 0..20 {
        publish(&mut world, "a", &[&"z".repeat(100_000)]);
    }
    peer.set_room(usize::MAX);
    world.settle();
    assert_eq!(world.server.stats().connections_closed(CloseReason::Lagged), 0);
    assert!(peer.read().ends_with("\r\n0\r\n\r\n"), "both, and the end");
}

#[test]
fn a_client_that_resumes_gets_the_changes() {
    let mut world = world(keyed());
    let first = open(&mut world, "/a", None);
    for (key, value) in [("x", "1"), ("y", "1"), ("x", "2"), ("z", "1"), ("x", "3")] {
        set(&mut world, key, value);
        world.settle();
    }
    let ids: Vec<_> = events(&first).into_iter().map(|event| event.id).collect();
    assert_eq!(
        data(&open(&mut world, "/a", Some(&ids[1]))),
        ["z 1", "x 3"],
        "no gap: what is gone is superseded"
    );
    assert_eq!(data(&open(&mut world, "/a", Some(&ids[4]))), [""; 0]);
    // A removal is retained only as long as the history, which is empty here. All keys follow.
    remove(&mut world, "y");
    world.settle();
    let back = open(&mut world, "/a", Some(&ids[1]));
    assert_eq!(data(&back), ["", "z 1", "x 3"], "a gap, and all there is");
}

#[test]
fn events_without_a_key_have_the_limits_of_the_history() {
    let mut world = world(keyed().history(History::new().events(3)));
    set(&mut world, "x", "1");
    publish(&mut world, "a", &["1", "2", "3", "4"]);
    assert_eq!(data(&open(&mut world, "/a?from=oldest", None)).last().unwrap(), "4");
    let big = "x".repeat(30_000);
    let texts: Vec<&str> = vec![&big; 20];
    publish(&mut world, "a", &texts);
    let all = data(&open(&mut world, "/a?from=oldest", None));
    assert_eq!(all[0], "x 1", "the newest of a key is kept whatever follows it");
    assert!(all.len() < 8, "{}", all.len());
}

#[test]
fn a_stream_that_lags_on_events_without_a_key_is_closed_or_gets_a_gap() {
    for overflow in [Overflow::Disconnect, Overflow::Skip] {
        let mut config = Config::default();
        config.lag_bytes_max = 10_000;
        config.topic = keyed().overflow(overflow);
        let mut world = world_with(config);
        let peer = open(&mut world, "/a", None);
        peer.read();
        peer.set_room(3);
        let big = "x".repeat(10_000);
        set(&mut world, "k", "1");
        for _ in 0..50 {
            publish(&mut world, "a", &[&big]);
            world.pass(Duration::from_millis(20));
        }
        peer.set_room(usize::MAX);
        world.settle();
        if overflow == Overflow::Disconnect {
            assert_eq!(world.server.stats().closed(CloseReason::Lagged), 1);
            continue;
        }
        let received = events(&peer);
        assert_eq!(received[0].data, "k 1", "events with a key are not lost");
        assert_eq!(received.iter().filter(|event| event.event == "gap").count(), 1);
        assert_eq!(received[1].event, "gap", "in its place");
        let missed: usize = received
            .iter()
            .filter(|event| event.event == "gap")
            .map(|event| event.data.parse::<usize>().unwrap())
            .sum();
        assert_eq!(missed + received.iter().filter(|event| event.data == big).count(), 50);
        assert!(missed > 30);
    }
}

#[derive(Debug, Clone)]
enum Step {
    Set {
        key: u8,
        size: usize,
    },
    Remove {
        key: u8,
    },
    Room {
        client: usize,
        room: usize,
    },
    /// A client disconnects and resumes with its last id, or for a snapshot.
    Back {
        client: usize,
        snapshot: bool,
    },
    Turn,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        12 => (0..6_u8, prop_oneof![9 => 0..50_usize, 1 => Just(20_000)]).prop_map(|(key, size)| Step::Set { key, size }),
        2 => (0..6_u8).prop_map(|key| Step::Remove { key }),
        4 => (0..3_usize, prop_oneof![0..400_usize, Just(usize::MAX)])
            .prop_map(|(client, room)| Step::Room { client, room }),
        1 => (0..3_usize, any::<bool>()).prop_map(|(client, snapshot)| Step::Back { client, snapshot }),
        4 => Just(Step::Turn),
    ]
}

/// The table of a page, by key, which a gap empties.
struct Client {
    peer: Peer,
    received: String,
    last: Option<String>,
    newest: u64,
    table: HashMap<u8, u64>,
}

impl Client {
    fn read(&mut self) {
        self.received.push_str(&self.peer.read());
        let (rest, events) = crate::history::take_events(&self.received);
        self.received = rest;
        for event in events {
            if event.event == "gap" {
                self.table.clear();
                self.newest = 0;
                continue;
            }
            self.last = Some(event.id);
            let mut words = event.data.split(' ');
            let (number, key): (u64, u8) =
                (words.next().unwrap().parse().unwrap(), words.next().unwrap().parse().unwrap());
            assert!(number > self.newest, "in order, and nothing twice");
            self.newest = number;
            if words.next() == Some("-") {
                self.table.remove(&key);
            } else {
                self.table.insert(key, number);
            }
        }
    }
}

proptest! {
    /// However slowly a client reads and however often it resumes, its table is that of the server in the
    /// end.
    #[test]
    fn every_table_ends_up_the_same(steps in proptest::collection::vec(step(), 1..200)) {
        let mut world = world(keyed());
        let mut table = BTreeMap::new();
        let mut number = 0;
        let mut clients: Vec<Client> = (0..3)
            .map(|_| {
                let peer = world.connect();
                peer.write(ask("/a?from=oldest", None));
                Client { peer, received: String::new(), last: None, newest: 0, table: HashMap::new() }
            })
            .collect();
        world.settle();
        for step in steps {
            match step {
                Step::Set { key, size } => {
                    number += 1;
                    table.insert(key, number);
                    let event = Event::new().data(format!("{number} {key} {}", "x".repeat(size))).key(key.to_string());
                    world.server.context().publish("a", event).unwrap();
                }
                Step::Remove { key } => {
                    number += 1;
                    table.remove(&key);
                    let event = Event::new().data(format!("{number} {key} -")).key(key.to_string()).removes_key();
                    world.server.context().publish("a", event).unwrap();
                }
                Step::Room { client, room } => clients[client].peer.set_room(room),
                Step::Back { client, snapshot } => {
                    let client = &mut clients[client];
                    client.read();
                    client.peer.close();
                    client.received.clear();
                    client.peer = world.connect();
                    if snapshot {
                        // Like a page that is reloaded.
                        (client.last, client.newest) = (None, 0);
                        client.table.clear();
                    }
                    client.peer.write(ask("/a?from=oldest", client.last.as_deref()));
                }
                Step::Turn => world.turn(),
            }
        }
        for client in &clients {
            client.peer.set_room(usize::MAX);
        }
        world.settle();
        for client in &mut clients {
            client.read();
            let seen: BTreeMap<u8, u64> = client.table.iter().map(|(key, number)| (*key, *number)).collect();
            prop_assert_eq!(&seen, &table);
        }
    }
}

#[test]
fn superseded_events_take_no_place_in_the_history() {
    let mut world = world(keyed().history(History::new().events(10)));
    let _reader = open(&mut world, "/a", None);
    for number in 0..1000 {
        set(&mut world, "x", &format!("{number} {}", "y".repeat(100)));
        world.settle();
    }
    publish(&mut world, "a", &["1", "2", "3"]);
    let all = data(&open(&mut world, "/a?from=oldest", None));
    assert!(all[0].starts_with("x 999 "));
    assert_eq!(all[1..], ["1", "2", "3"]);
}

#[test]
fn a_client_that_resumes_at_a_dropped_topic_gets_a_gap() {
    let mut world = world(keyed());
    let peer = open(&mut world, "/a", None);
    set(&mut world, "x", "1");
    world.settle();
    let seen = events(&peer)[0].id.clone();
    peer.close();
    world.settle();
    remove(&mut world, "x");
    world.settle();
    let stats = world.server.stats();
    assert_eq!((stats.topics, stats.log_bytes), (0, 0), "a topic of which every key is gone is gone");
    assert_eq!(events(&open(&mut world, "/a", Some(&seen)))[0].event, "gap");
}

#[test]
fn a_dropped_table_is_not_sent_again() {
    let mut world = world(keyed());
    let peer = open(&mut world, "/a", None);
    peer.set_room(3);
    set(&mut world, "x", "1");
    world.settle();
    world.server.context().configure("a", TopicConfig::default()).unwrap();
    world.server.context().configure("a", keyed()).unwrap();
    remove(&mut world, "x");
    set(&mut world, "y", "1");
    world.settle();
    assert_eq!(
        data(&open(&mut world, "/a?from=oldest", None)),
        ["x -", "y 1"],
        "who lags needs the former still"
    );
    peer.set_room(usize::MAX);
    world.settle();
    assert!(world.server.stats().log_bytes < 200, "{}", world.server.stats().log_bytes);
}

#[test]
fn a_frame_that_is_begun_and_superseded_before_it_was_offered_is_sent_once() {
    let mut config = Config::default();
    (config.topic, config.sends_per_turn) = (keyed(), 1);
    let mut world = world_with(config);
    let peer = open(&mut world, "/a+b", None);
    let _other = open(&mut world, "/b", None);
    peer.read();
    peer.set_room(1);
    world.server.context().publish("b", Event::new().data("first")).unwrap();
    world.turn();
    set(&mut world, "x", &"y".repeat(10_000));
    peer.set_room(50);
    world.turn();
    set(&mut world, "x", "2");
    for room in [3, 3, 3, usize::MAX] {
        world.turn();
        peer.set_room(room);
    }
    world.settle();
    let received = data(&peer);
    assert_eq!((received.len(), &*received[2]), (3, "x 2"));
}

#[test]
fn a_stream_of_several_topics_that_does_not_lag_gets_every_event() {
    let mut world = world(keyed());
    let peer = open(&mut world, "/a+b", None);
    peer.read();
    set(&mut world, "x", "1");
    set(&mut world, "x", "2");
    world.settle();
    assert_eq!(data(&peer), ["x 1", "x 2"]);
}

#[test]
fn a_frame_of_another_topic_that_is_lost_is_not_mistaken_for_one_that_makes_way() {
    let mut config = Config::default();
    config.lag_bytes_max = 3000;
    let mut world = world_with(config);
    world.server.context().configure("a", keyed()).unwrap();
    let peer = open(&mut world, "/a+b", None);
    peer.read();
    peer.set_room(1000);
    let big = "x".repeat(70_000);
    publish(&mut world, "b", &[&big]);
    for _ in 0..3 {
        set(&mut world, "x", "1");
    }
    set(&mut world, "x", &"y".repeat(5000));
    assert_eq!(world.server.stats().closed(CloseReason::Lagged), 0);
    world.pass(Duration::from_millis(200));
    for _ in 0..3 {
        publish(&mut world, "b", &[&big]);
    }
    set(&mut world, "x", "2");
    world.settle();
    set(&mut world, "x", "3");
    world.settle();
    peer.set_room(usize::MAX);
    world.settle();
    assert_eq!(world.server.stats().closed(CloseReason::Lagged), 1);
}

#[test]
fn a_topic_that_is_keyed_again_counts_only_its_present_events() {
    let mut world = world(keyed());
    let peer = open(&mut world, "/a", None);
    peer.read();
    for number in 0..3 {
        let event = Event::new().data(format!("{number} {}", "x".repeat(1000))).key("x");
        world.server.context().publish("a", event).unwrap();
    }
    let history = TopicConfig::default().history(History::new());
    world.server.context().configure("a", history).unwrap();
    // Older events are dropped, after every stream has received them.
    publish(&mut world, "a", &["a"]);
    world.server.context().configure("a", keyed().history(History::new())).unwrap();
    publish(&mut world, "a", &["b"]);
    assert_eq!(data(&peer).len(), 5);
    assert_eq!(world.server.stats().panics, 0);
}
