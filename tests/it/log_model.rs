//! Topics of every kind at once, reconfigured while they are read, against a model that knows only the
//! published events.
//!
//! The model does not predict the events of a stream. It knows which may be missing, and where a gap has to
//! be.

use crate::memory_net::{Loop, Peer, check_accounts};
use crate::support::parse;
use eventsource_stream::Event as Received;
use mio_sse::{
    AfterGap, Config, Context, Event, Handler, History, Ids, Overflow, Reply, Request, StreamId, TopicConfig,
};
use proptest::prelude::*;
use std::cell::RefCell;
use std::collections::BTreeMap;
use std::rc::Rc;
use std::time::Duration;

const TOPICS: [&str; 3] = ["a", "b", "c"];
const CLIENTS: usize = 4;
const LAG_BYTES_MAX: usize = 3000;

/// A kind of topic, from which both the server's configuration and the model are made.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Kind {
    keyed: bool,
    skip: bool,
    /// Events, bytes and seconds.
    history: Option<(usize, usize, u64)>,
    /// The ids are the application's, for all topics or for none.
    own_ids: bool,
}

impl Kind {
    fn config(self) -> TopicConfig {
        let mut config = TopicConfig::default();
        if let Some((events, bytes, age)) = self.history {
            config = config.history(History::new().events(events).bytes(bytes).age(Duration::from_secs(age)));
        }
        if self.keyed {
            config = config.keyed();
        }
        if self.own_ids {
            config = config.ids(Ids::Own);
        }
        config.overflow(if self.skip { Overflow::Skip } else { Overflow::Disconnect })
    }

    fn is_kept(self) -> bool {
        self.keyed || self.history.is_some() || self.own_ids
    }
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Key {
    None,
    Set(u8),
    Remove(u8),
}

#[derive(Debug, Clone, Copy)]
enum Id {
    None,
    Own,
    /// The same id again and again.
    Shared,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Last {
    Seen,
    Older,
    Garbage,
    None,
}

#[derive(Debug, Clone)]
enum Step {
    Publish { topic: usize, key: Key, id: Id, size: usize, count: usize },
    Send { client: usize },
    Connect { client: usize, topics: u8, last: Last, from: usize, http_10: bool, reset: bool, rush: bool },
    Close { client: usize },
    Subscribe { client: usize, topic: usize },
    Unsubscribe { client: usize, topic: usize },
    Configure { topic: usize, kind: Kind },
    Room { client: usize, room: usize },
    Pass { ms: u64 },
    Turn,
    Check,
}

fn kind() -> impl Strategy<Value = Kind> {
    let history = (
        prop_oneof![Just(0), 1..5_usize, Just(usize::MAX)],
        prop_oneof![Just(0), 50..2000_usize, Just(100_000), Just(1_000_000)],
        prop_oneof![1..20_u64, Just(1_000_000)],
    );
    (any::<bool>(), any::<bool>(), proptest::option::weighted(0.7, history))
        .prop_map(|(keyed, skip, history)| Kind { keyed, skip, history, own_ids: false })
}

fn step() -> impl Strategy<Value = Step> {
    let client = 0..CLIENTS;
    let topic = 0..3_usize;
    let key = prop_oneof![
        2 => Just(Key::None),
        3 => (0..4_u8).prop_map(Key::Set),
        1 => (0..4_u8).prop_map(Key::Remove)
    ];
    let id = prop_oneof![4 => Just(Id::None), 2 => Just(Id::Own), 1 => Just(Id::Shared)];
    let size = prop_oneof![12 => 0..300_usize, 4 => 2000..9000_usize, 1 => Just(70_000_usize)];
    let count = prop_oneof![6 => Just(1_usize), 1 => 2..20_usize];
    let last = prop_oneof![6 => Just(Last::Seen), 1 => Just(Last::Older), 1 => Just(Last::Garbage), 2 => Just(Last::None)];
    prop_oneof![
        16 => (topic.clone(), key, id, size, count)
            .prop_map(|(topic, key, id, size, count)| Step::Publish { topic, key, id, size, count }),
        1 => client.clone().prop_map(|client| Step::Send { client }),
        4 => (client.clone(), 1..8_u8, last, 0..4_usize, proptest::bool::weighted(0.2), any::<bool>(), any::<bool>())
            .prop_map(|(client, topics, last, from, http_10, reset, rush)| Step::Connect { client, topics, last, from, http_10, reset, rush }),
        1 => client.clone().prop_map(|client| Step::Close { client }),
        1 => (client.clone(), topic.clone()).prop_map(|(client, topic)| Step::Subscribe { client, topic }),
        1 => (client.clone(), topic.clone()).prop_map(|(client, topic)| Step::Unsubscribe { client, topic }),
        1 => (topic, kind()).prop_map(|(topic, kind)| Step::Configure { topic, kind }),
        6 => (client, prop_oneof![0..400_usize, 400..20_000_usize, Just(usize::MAX)])
            .prop_map(|(client, room)| Step::Room { client, room }),
        2 => (0..4000_u64).prop_map(|ms| Step::Pass { ms }),
        8 => Just(Step::Turn),
        1 => Just(Step::Check),
    ]
}

#[derive(Debug, Clone, Copy)]
struct Published {
    topic: usize,
    key: Key,
    /// Whether it has an id. An event without one has the id before it, which may be that of the first block.
    has_id: bool,
}

/// The state at the time of a request.
#[derive(Clone, Copy)]
struct Opened {
    stream: StreamId,
    /// Number of events published by then.
    at: usize,
    kinds: [Kind; 3],
    reconfigured: [usize; 3],
}

struct Shared {
    kinds: [Kind; 3],
    /// All events in the order of publishing; `None` for a private event.
    published: Vec<Option<Published>>,
    opened: BTreeMap<usize, Opened>,
    /// The newest event of each key, and its size.
    tables: [BTreeMap<u8, (usize, usize)>; 3],
    /// Number of changes between keyed and not keyed.
    reconfigured: [usize; 3],
}

struct App(Rc<RefCell<Shared>>);

impl Handler for App {
    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
        let number: usize = request.query("n").unwrap().parse().unwrap();
        let topics: u8 = request.query("t").unwrap().parse().unwrap();
        let mut shared = self.0.borrow_mut();
        let (at, kinds, reconfigured) = (shared.published.len(), shared.kinds, shared.reconfigured);
        let opened = Opened { stream: cx.stream().unwrap(), at, kinds, reconfigured };
        shared.opened.insert(number, opened);
        let mut stream = Reply::stream();
        for (index, topic) in TOPICS.iter().enumerate() {
            if topics & (1 << index) != 0 {
                stream = stream.topic(*topic);
            }
        }
        match &*request.query("from").unwrap() {
            "1" => stream.live(),
            "2" => stream.after_gap(AfterGap::Live),
            "3" => stream.snapshot(),
            _ => stream,
        }
        .into()
    }
}

/// A subscription: events after `from`, up to `to`.
#[derive(Debug, Clone, Copy)]
struct Window {
    topic: usize,
    from: usize,
    to: Option<usize>,
}

struct Client {
    number: usize,
    peer: Option<Peer>,
    http_10: bool,
    topics: u8,
    from: usize,
    asked: Option<String>,
    /// The event after which it resumes, if its id is known.
    behind: Option<usize>,
    /// Subscriptions in addition to those it was opened with.
    windows: Vec<Window>,
    begun: bool,
    raw: String,
    seen: Vec<usize>,
    newest: Option<usize>,
    gap: bool,
    missed: usize,
    last: Option<(String, Option<usize>)>,
    older: Vec<(String, usize)>,
    tables: [BTreeMap<u8, usize>; 3],
    /// If its table has to be the server's: the number of changes of the topic by then.
    full: [Option<usize>; 3],
    /// It got a gap in these topics, and has seen no id since.
    told: Option<u8>,
}

impl Client {
    fn new() -> Self {
        Self {
            number: 0,
            peer: None,
            http_10: false,
            topics: 0,
            from: 0,
            asked: None,
            behind: None,
            windows: Vec::new(),
            begun: false,
            raw: String::new(),
            seen: Vec::new(),
            newest: None,
            gap: false,
            missed: 0,
            last: None,
            older: Vec::new(),
            tables: Default::default(),
            full: [None; 3],
            told: None,
        }
    }

    /// Records the subscriptions that its request has made.
    fn begin(&mut self, shared: &Shared) {
        let Some(opened) = shared.opened.get(&self.number).filter(|_| !self.begun) else { return };
        self.begun = true;
        // A gap empties the table and has no id. If the client is cut off before the next event, it resumes
        // as before. The same topics then have the same gap, but other topics may have nothing after that id.
        if self.told.take().is_some_and(|told| told != self.topics) {
            self.full = [None; 3];
        }
        for topic in (0..3).filter(|topic| self.topics & (1 << topic) != 0) {
            let from = match self.behind.filter(|_| opened.kinds[topic].is_kept() && self.from != 1) {
                Some(behind) => behind + 1,
                None => opened.at,
            };
            self.windows.push(Window { topic, from, to: None });
            let kept = self.asked.is_some()
                && self.behind.is_some()
                && self.from != 1
                && self.full[topic] == Some(opened.reconfigured[topic]);
            let snapshot = self.asked.is_none() && self.from == 3 && opened.kinds[topic].keyed;
            if snapshot {
                self.tables[topic].clear();
            }
            self.full[topic] = (kept || snapshot).then_some(opened.reconfigured[topic]);
        }
        for topic in (0..3).filter(|topic| self.topics & (1 << topic) == 0) {
            self.full[topic] = None;
        }
    }

    /// The whole events that have arrived.
    fn take(&mut self) -> Vec<Received> {
        let Some(peer) = &self.peer else { return Vec::new() };
        self.raw.push_str(&peer.read());
        if !self.http_10 {
            let (rest, events) = crate::history::take_events(&self.raw);
            if let Some((_, rest)) = rest.split_once("\r\n\r\n") {
                assert!(
                    rest.is_empty() || rest.as_bytes()[0].is_ascii_hexdigit(),
                    "whole chunks: {rest:.40}"
                );
            }
            self.raw = rest;
            return events;
        }
        let Some((head, body)) = self.raw.split_once("\r\n\r\n") else { return Vec::new() };
        let Some(end) = body.rfind("\n\n") else { return Vec::new() };
        let events = parse(&body.as_bytes()[..end + 2]);
        self.raw = format!("{head}\r\n\r\n{}", &body[end + 2..]);
        events
    }

    fn read(&mut self, shared: &Shared) {
        self.begin(shared);
        for event in self.take() {
            if event.event == "gap" {
                if event.data.is_empty() {
                    assert!(!self.gap && self.seen.is_empty(), "one such gap, and first");
                    self.gap = true;
                    self.told = Some(self.topics);
                    let opened = &shared.opened[&self.number];
                    // Later subscriptions, and ended ones, play no part in this.
                    let (first, later) = self.windows.split_at_mut(self.topics.count_ones() as usize);
                    for window in first {
                        window.from = window.from.max(opened.at);
                        let topic = window.topic;
                        // A page that gets this starts anew, and gets everything.
                        let stays = window.to.is_none() && later.iter().all(|later| later.topic != topic);
                        let anew = stays && opened.kinds[topic].keyed && self.from != 1 && self.from != 2;
                        self.tables[topic].clear();
                        self.full[topic] = anew.then_some(opened.reconfigured[topic]);
                    }
                } else {
                    self.missed += event.data.parse::<usize>().unwrap();
                    self.full = [None; 3];
                }
                continue;
            }
            let words: Vec<&str> = event.data.split(' ').collect();
            let number: usize = words[0].parse().unwrap();
            assert_eq!(words[1].len(), words[2].parse::<usize>().unwrap(), "no byte is missing");
            assert!(self.newest < Some(number), "{number} after {:?}", self.newest);
            self.newest = Some(number);
            self.seen.push(number);
            if !event.id.is_empty() && self.last.as_ref().is_none_or(|(last, _)| *last != event.id) {
                self.told = None;
                // The id before an event without one belongs to an earlier event.
                let own = event.id.strip_prefix("own").map(|number| number.parse().unwrap());
                let has_id = shared.published[number].is_some_and(|published| published.has_id);
                let known = own.or_else(|| (has_id && event.id != "shared").then_some(number));
                self.last = Some((event.id.clone(), known));
                self.older.extend(known.map(|number| (event.id, number)));
            }
            let Some(published) = shared.published[number] else { continue };
            match published.key {
                Key::None => {}
                Key::Set(key) => drop(self.tables[published.topic].insert(key, number)),
                Key::Remove(key) => drop(self.tables[published.topic].remove(&key)),
            }
            let opened = shared.opened[&self.number];
            let replayed = self.gap || self.from == 3 || self.asked.is_some() && self.behind.is_none();
            let belongs = |window: &Window| {
                window.topic == published.topic
                    && (number >= window.from || replayed && number < opened.at)
                    && window.to.is_none_or(|to| number < to)
            };
            assert!(
                self.windows.iter().any(belongs),
                "{number} {published:?} is not for {:?} (behind {:?})",
                self.windows,
                self.behind
            );
        }
    }

    /// It has received every event that it can get.
    fn check(&self, shared: &Shared, keyed_since: &[Vec<bool>]) {
        if !self.begun || self.peer.as_ref().is_none_or(Peer::is_closed) {
            return;
        }
        let (mut surely, mut at_most) = (0, 0);
        for window in &self.windows {
            let range = window.from..window.to.unwrap_or(shared.published.len());
            for number in range {
                let Some(published) = shared.published[number] else { continue };
                if published.topic != window.topic || self.seen.binary_search(&number).is_ok() {
                    continue;
                }
                at_most += 1;
                let conflated = keyed_since[window.topic].iter().any(|keyed| *keyed)
                    && matches!(published.key, Key::Set(_));
                surely += usize::from(window.to.is_none() && !conflated);
            }
        }
        if self.gap || self.from == 3 || self.asked.is_some() && self.behind.is_none() {
            // The event that it got may have been published long before.
            at_most = usize::MAX;
        }
        assert!(
            (surely..=at_most).contains(&self.missed),
            "client {} missed {surely}..={at_most} and was told of {} (behind {:?}, windows {:?}, seen {:?})",
            self.number,
            self.missed,
            self.behind,
            self.windows,
            self.seen
        );
        for (topic, name) in TOPICS.iter().enumerate() {
            let open = self.windows.iter().any(|window| window.topic == topic && window.to.is_none());
            if open && self.full[topic] == Some(shared.reconfigured[topic]) && shared.kinds[topic].keyed {
                let table: BTreeMap<u8, usize> =
                    shared.tables[topic].iter().map(|(key, (number, _))| (*key, *number)).collect();
                assert_eq!(self.tables[topic], table, "client {}, topic {name}", self.number);
            }
        }
    }
}

struct Model<const SHORT: bool> {
    world: Loop<App, SHORT>,
    shared: Rc<RefCell<Shared>>,
    clients: Vec<Client>,
    connections: usize,
    /// Whether each topic was keyed, at each time.
    keyed_since: Vec<Vec<bool>>,
}

impl<const SHORT: bool> Model<SHORT> {
    fn new(kinds: [Kind; 3], sends_per_turn: usize) -> Self {
        let shared = Shared {
            kinds,
            published: Vec::new(),
            opened: BTreeMap::new(),
            tables: Default::default(),
            reconfigured: [0; 3],
        };
        let shared = Rc::new(RefCell::new(shared));
        let mut config = Config::default();
        config.lag_bytes_max = LAG_BYTES_MAX;
        config.sends_per_turn = sends_per_turn;
        config.heartbeat = None;
        config.stall_timeout = Duration::from_secs(600_000);
        config.max_age = None;
        let mut world = Loop::with_config(App(shared.clone()), config);
        for (topic, kind) in TOPICS.iter().zip(kinds) {
            world.server.context().configure(topic, kind.config()).unwrap();
        }
        let clients = (0..CLIENTS).map(|_| Client::new()).collect();
        let keyed_since = kinds.iter().map(|kind| vec![kind.keyed]).collect();
        Self { world, shared, clients, connections: 0, keyed_since }
    }

    fn publish(&mut self, topic: usize, key: Key, id: Id, size: usize) {
        let number = self.shared.borrow().published.len();
        let mut event = Event::new().data(format!("{number} {} {size}", "x".repeat(size)));
        event = match key {
            Key::None => event,
            Key::Set(key) => event.key(key.to_string()),
            Key::Remove(key) => event.key(key.to_string()).removes_key(),
        };
        let kind = self.shared.borrow().kinds[topic];
        let own_ids = kind.own_ids;
        let has_id = kind.is_kept() && (!own_ids || !matches!(id, Id::None));
        event = match id {
            _ if !own_ids => event,
            Id::None => event,
            Id::Own => event.id(format!("own{number}")),
            Id::Shared => event.id("shared"),
        };
        self.world.server.context().publish(TOPICS[topic], event).unwrap();
        let mut shared = self.shared.borrow_mut();
        shared.published.push(Some(Published { topic, key, has_id }));
        if shared.kinds[topic].keyed {
            match key {
                Key::None => {}
                Key::Set(key) => drop(shared.tables[topic].insert(key, (number, size + 80))),
                Key::Remove(key) => drop(shared.tables[topic].remove(&key)),
            }
        }
    }

    fn stream(&self, client: usize) -> Option<StreamId> {
        let client = &self.clients[client];
        client.peer.as_ref()?;
        Some(self.shared.borrow().opened.get(&client.number)?.stream)
    }

    fn step(&mut self, step: &Step) {
        match *step {
            Step::Publish { topic, key, id, size, count } => {
                for _ in 0..count {
                    self.publish(topic, key, id, size);
                }
            }
            Step::Send { client } => {
                let Some(stream) = self.stream(client) else { return };
                let number = self.shared.borrow().published.len();
                let sent =
                    self.world.server.context().send(stream, Event::new().data(format!("{number} xx 2")));
                self.shared.borrow_mut().published.extend(sent.is_ok().then_some(None));
            }
            Step::Connect { client, topics, last, from, http_10, reset, rush } => {
                self.leave(client, reset);
                if !rush {
                    self.world.turn();
                }
                self.connect(client, topics, last, from, http_10);
            }
            Step::Close { client } => self.leave(client, false),
            Step::Subscribe { client, topic } => {
                let Some(stream) = self.stream(client) else { return };
                let shared = self.shared.borrow();
                self.clients[client].read(&shared);
                let from = shared.published.len();
                drop(shared);
                let known = |window: &Window| window.topic == topic && window.to.is_none();
                let client = &mut self.clients[client];
                if self.world.server.context().subscribe(stream, TOPICS[topic]).is_ok()
                    && !client.windows.iter().any(known)
                {
                    client.windows.push(Window { topic, from, to: None });
                    client.full[topic] = None;
                }
            }
            Step::Unsubscribe { client, topic } => {
                let Some(stream) = self.stream(client) else { return };
                let shared = self.shared.borrow();
                self.clients[client].read(&shared);
                let client = &mut self.clients[client];
                if self.world.server.context().unsubscribe(stream, TOPICS[topic]).is_ok() {
                    let open = client
                        .windows
                        .iter_mut()
                        .filter(|window| window.topic == topic && window.to.is_none());
                    open.for_each(|window| window.to = Some(shared.published.len()));
                    client.full[topic] = None;
                }
            }
            Step::Configure { topic, kind } => {
                let mut shared = self.shared.borrow_mut();
                let kind = Kind { own_ids: shared.kinds[topic].own_ids, ..kind };
                if shared.kinds[topic].keyed != kind.keyed {
                    shared.tables[topic].clear();
                    shared.reconfigured[topic] += 1;
                }
                shared.kinds[topic] = kind;
                self.keyed_since[topic].push(kind.keyed);
                self.world.server.context().configure(TOPICS[topic], kind.config()).unwrap();
            }
            Step::Room { client, room } => {
                if let Some(peer) = &self.clients[client].peer {
                    peer.set_room(room);
                }
            }
            Step::Pass { ms } => {
                self.world.jump(Duration::from_millis(ms));
                self.world.turn();
            }
            Step::Turn => self.world.turn(),
            Step::Check => self.check(),
        }
    }

    fn leave(&mut self, client: usize, reset: bool) {
        let client = &mut self.clients[client];
        client.read(&self.shared.borrow());
        if let Some(peer) = client.peer.take() {
            if reset { peer.reset() } else { peer.close() }
        }
    }

    fn connect(&mut self, client: usize, topics: u8, last: Last, from: usize, http_10: bool) {
        self.connections += 1;
        let client = &mut self.clients[client];
        let (asked, behind) = match last {
            Last::Seen => client.last.clone().map_or((None, None), |(id, number)| (Some(id), number)),
            Last::Older => match client.older.get(client.older.len() / 2) {
                Some((id, number)) => (Some(id.clone()), Some(*number)),
                None => (None, None),
            },
            Last::Garbage => (Some("garbage".to_owned()), None),
            Last::None => (None, None),
        };
        if last != Last::Seen {
            client.full = [None; 3];
        }
        if last != Last::Seen {
            // Like a page that is reloaded, which knows only what it requests.
            client.last = asked.clone().map(|id| (id, behind));
        }
        let peer = self.world.connect();
        let version = if http_10 { "1.0" } else { "1.1" };
        let number = self.connections;
        let header = asked.as_ref().map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
        peer.write(format!(
            "GET /?n={number}&t={topics}&from={from} HTTP/{version}\r\nHost: x\r\n{header}\r\n"
        ));
        *client = Client {
            number,
            peer: Some(peer),
            http_10,
            topics,
            from,
            asked,
            behind,
            last: client.last.take(),
            older: std::mem::take(&mut client.older),
            tables: std::mem::take(&mut client.tables),
            full: client.full,
            told: client.told,
            ..Client::new()
        };
    }

    /// Delivers everything, and checks it.
    fn check(&mut self) {
        for client in &self.clients {
            if let Some(peer) = &client.peer {
                peer.set_room(usize::MAX);
            }
        }
        self.world.settle();
        let shared = self.shared.borrow();
        for client in &mut self.clients {
            client.read(&shared);
            client.check(&shared, &self.keyed_since);
        }
        let stats = self.world.server.stats();
        check_accounts(&stats);
        assert_eq!(stats.streams_behind, 0);
        let bound = |topic: usize| {
            let kind = shared.kinds[topic];
            let bytes = kind.history.map_or(0, |(_, bytes, _)| bytes);
            let current: usize = shared.tables[topic].values().map(|(_, size)| size).sum();
            let slack = if kind.keyed { 4 << 10 } else { 0 };
            if kind.is_kept() { 2 * (bytes + current) + slack } else { 0 }
        };
        let bound: usize = (0..3).map(bound).sum();
        assert!(stats.log_bytes <= bound as u64, "{} of {bound} bytes, {:?}", stats.log_bytes, shared.kinds);
    }
}

fn run<const SHORT: bool>(kinds: [Kind; 3], sends_per_turn: usize, steps: Vec<Step>) {
    let mut model = Model::<SHORT>::new(kinds, sends_per_turn);
    for step in steps {
        model.step(&step);
    }
    model.check();
    for client in 0..CLIENTS {
        model.leave(client, client % 2 == 0);
    }
    model.check();
    assert_eq!(model.world.server.stats().streams, 0);
}

proptest! {
    /// Every loss is a gap, nothing is doubled or out of order, and nothing is held without need.
    #[test]
    fn no_loss_is_silent_in_topics_of_any_kind(
        kinds in proptest::array::uniform3(kind()),
        own_ids in any::<bool>(),
        sends_per_turn in 1..6_usize,
        short in any::<bool>(),
        steps in proptest::collection::vec(step(), 1..120)
    ) {
        let kinds = kinds.map(|kind| Kind { own_ids, ..kind });
        if short {
            run::<true>(kinds, sends_per_turn, steps);
        } else {
            run::<false>(kinds, sends_per_turn, steps);
        }
    }
}
