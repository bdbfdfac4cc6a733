//! All operations from all callbacks, in any order, against a list of the events that each stream has to get.

use crate::memory_net::{Loop, Peer, get};
use crate::support::parse;
use mio_sse::{
    CloseReason, Config, Context, Error, Event, Handler, History, Pull, Reply, Request, Source, StreamId,
    TopicConfig,
};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::subsequence;
use std::collections::{HashSet, VecDeque};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const TOPICS: [&str; 3] = ["a", "b", "c"];
const TAGS: [&str; 2] = ["ann", "bob"];
const KEYS: [&str; 2] = ["x", "y"];

/// Data of repeating timers. The model does not count these events: they may come at any point.
const TICK: &str = "tick";

/// A limit that no stream reaches here.
const NO_LAG: usize = 1 << 30;

/// So long that nothing stalls or is idle for too long: only timers need time.
const NEVER: Duration = Duration::from_secs(500_000);

/// Operations of any callback.
#[derive(Debug, Clone, Copy)]
enum Operation {
    Publish {
        topic: &'static str,
        key: Option<&'static str>,
        size: usize,
    },
    Configure {
        topic: &'static str,
        keyed: bool,
        events: Option<usize>,
    },
    SendTagged {
        tag: &'static str,
        size: usize,
    },
    CloseTagged(&'static str),
    AfterGlobal(Duration),
    /// An operation on one stream, counted back from the newest.
    With(usize, StreamOperation),
}

#[derive(Debug, Clone, Copy)]
enum StreamOperation {
    Send { size: usize },
    Subscribe(&'static str),
    Unsubscribe(&'static str),
    Tag(&'static str),
    Untag(&'static str),
    Close,
    After(Duration),
    Every(Duration),
    OnClose,
    SetSource(Answers),
    Wake,
}

/// The answers of a source, repeated until it has had this many events.
#[derive(Debug, Clone, Copy)]
struct Answers {
    between: Between,
    events: usize,
    size: usize,
    /// The last answer.
    last: Last,
}

/// The answer of a source between two events.
#[derive(Debug, Clone, Copy)]
enum Between {
    Nothing,
    Idle,
    Wait(Duration),
    /// An event that cannot be encoded.
    Bad,
}

#[derive(Debug, Clone, Copy)]
enum Last {
    Idle,
    End,
    Panic,
}

/// Steps that drive the server. Connections are counted from the first.
#[derive(Debug, Clone)]
enum Step {
    /// An operation between two turns.
    Perform(Operation),
    /// An operation of a publisher.
    Run(Operation),
    Connect(Vec<Ask>),
    Ask(usize, Ask),
    Room(usize, usize),
    Leave {
        connection: usize,
        reset: bool,
    },
    Turn,
    Settle,
    Pass(Duration),
    Jump(Duration),
}

/// A request.
#[derive(Debug, Clone)]
struct Ask {
    topics: Vec<&'static str>,
    answer: Answer,
}

#[derive(Debug, Clone, Copy, PartialEq)]
enum Answer {
    /// A reply instead of a stream.
    Text,
    CloseDelimited,
    Chunked,
}

fn topic() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&TOPICS)
}

fn tag() -> impl Strategy<Value = &'static str> {
    proptest::sample::select(&TAGS)
}

fn millis(range: std::ops::Range<u64>) -> impl Strategy<Value = Duration> {
    range.prop_map(Duration::from_millis)
}

fn size() -> impl Strategy<Value = usize> {
    prop_oneof![8 => 0_usize..40, 1 => Just(30_000_usize), 1 => Just(70_000_usize)]
}

fn stream_operation() -> impl Strategy<Value = StreamOperation> {
    prop_oneof![
        5 => size().prop_map(|size| StreamOperation::Send { size }),
        3 => topic().prop_map(StreamOperation::Subscribe),
        3 => topic().prop_map(StreamOperation::Unsubscribe),
        3 => tag().prop_map(StreamOperation::Tag),
        1 => tag().prop_map(StreamOperation::Untag),
        2 => Just(StreamOperation::Close),
        1 => millis(0..3000).prop_map(StreamOperation::After),
        1 => millis(500..3000).prop_map(StreamOperation::Every),
        1 => Just(StreamOperation::OnClose),
        3 => answers().prop_map(StreamOperation::SetSource),
        3 => Just(StreamOperation::Wake),
    ]
}

fn answers() -> impl Strategy<Value = Answers> {
    let between = prop_oneof![
        3 => Just(Between::Nothing),
        2 => Just(Between::Idle),
        2 => millis(0..3000).prop_map(Between::Wait),
        1 => Just(Between::Bad),
    ];
    let last = prop_oneof![4 => Just(Last::Idle), 2 => Just(Last::End), 1 => Just(Last::Panic)];
    let events = prop_oneof![3 => 0_usize..5, 1 => 50_usize..200];
    (between, events, size(), last).prop_map(|(between, events, size, last)| {
        // At most a few megabytes.
        let size = if events > 10 { size.min(1000) } else { size };
        Answers { between, events, size, last }
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    // Most often the newest stream, which in a handler is its own.
    let stream = || prop_oneof![2 => Just(0_usize), 3 => 0_usize..12];
    let key = proptest::option::of(proptest::sample::select(&KEYS));
    prop_oneof![
        8 => (topic(), key, size()).prop_map(|(topic, key, size)| Operation::Publish { topic, key, size }),
        1 => (topic(), any::<bool>(), proptest::option::of(0_usize..5))
            .prop_map(|(topic, keyed, events)| Operation::Configure { topic, keyed, events }),
        3 => (tag(), size()).prop_map(|(tag, size)| Operation::SendTagged { tag, size }),
        1 => tag().prop_map(Operation::CloseTagged),
        1 => millis(0..3000).prop_map(Operation::AfterGlobal),
        16 => (stream(), stream_operation()).prop_map(|(stream, what)| Operation::With(stream, what)),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let answer =
        prop_oneof![1 => Just(Answer::Text), 1 => Just(Answer::CloseDelimited), 6 => Just(Answer::Chunked)];
    (subsequence(&TOPICS, 0..=TOPICS.len()), answer).prop_map(|(topics, answer)| Ask { topics, answer })
}

fn step() -> impl Strategy<Value = Step> {
    let connection = || 0_usize..12;
    let room =
        prop_oneof![2 => Just(0_usize), 4 => 0_usize..100, 1 => 0_usize..80_000, 4 => Just(usize::MAX)];
    prop_oneof![
        14 => operation().prop_map(Step::Perform),
        2 => operation().prop_map(Step::Run),
        3 => vec(ask(), 1..4).prop_map(Step::Connect),
        1 => (connection(), ask()).prop_map(|(connection, ask)| Step::Ask(connection, ask)),
        5 => (connection(), room).prop_map(|(connection, room)| Step::Room(connection, room)),
        1 => (connection(), any::<bool>()).prop_map(|(connection, reset)| Step::Leave { connection, reset }),
        8 => Just(Step::Turn),
        2 => Just(Step::Settle),
        1 => millis(0..20_000).prop_map(Step::Pass),
        1 => millis(0..20_000).prop_map(Step::Jump),
    ]
}

/// The expected result of all operations.
#[derive(Default)]
struct Model {
    /// In the order of their requests, including those with a text as reply.
    streams: Vec<Stream>,
    connections: Vec<Connection>,
    /// Lists of operations for the next callbacks, one each.
    scripts: VecDeque<Vec<Operation>>,
    /// Number of events so far: each has its own number.
    events: usize,
    /// Whether streams can be closed because they lag.
    lagging: bool,
    /// Whether any topic ever had a history or was keyed.
    configured: bool,
    keyed: bool,
    /// Number of sources that were made, and of those that were dropped.
    sources: usize,
    dropped: Arc<AtomicUsize>,
}

#[derive(Default)]
struct Connection {
    /// Indices of the streams that were requested on it, in order.
    streams: Vec<usize>,
    /// Whether the peer has gone, or a panic has cut its output.
    left: bool,
}

#[derive(Debug)]
struct Stream {
    id: StreamId,
    connection: usize,
    answer: Answer,
    /// `None` unless it is live: the subscriptions end with the stream.
    topics: Vec<&'static str>,
    /// `None` unless it is live.
    tags: HashSet<&'static str>,
    items: Vec<Item>,
    /// Whether operations with it succeed.
    live: bool,
    opened: bool,
    /// Whether the application has closed it.
    closed_by_application: bool,
    /// The reason with which `closed` was called.
    closed: Vec<CloseReason>,
    hooks_set: usize,
    hooks_run: usize,
    /// The number of its source.
    source: Option<usize>,
    /// Whether its source has panicked.
    panicked: bool,
}

/// An event that a stream should get.
#[derive(Debug)]
struct Item {
    /// Its topics, unless it was sent.
    topic: Option<&'static str>,
    key: Option<&'static str>,
    data: String,
    /// Whether it may be missing: events before the end of a subscription may be dropped with it.
    optional: bool,
}

impl Model {
    fn next_data(&mut self, size: usize) -> String {
        self.events += 1;
        format!("{} {}", self.events, "x".repeat(size))
    }

    /// Whether the input of the peer can end anywhere.
    fn may_be_cut(&self, connection: usize) -> bool {
        self.lagging || self.connections[connection].left
    }

    /// The streams with a tag, and how many of them are certainly open: the others may have closed already.
    fn tagged(&self, tag: &str) -> (Vec<usize>, usize) {
        let tagged = |index: &usize| self.streams[*index].tags.contains(tag);
        let found: Vec<_> = (0..self.streams.len()).filter(tagged).collect();
        let sure = found.iter().filter(|index| !self.may_be_cut(self.streams[**index].connection)).count();
        (found, sure)
    }

    fn find(&mut self, id: StreamId) -> &mut Stream {
        self.streams.iter_mut().find(|stream| stream.id == id).unwrap()
    }
}

impl Stream {
    fn end(&mut self) {
        self.live = false;
        self.source = None;
        self.topics.clear();
        self.tags.clear();
    }

    fn subscribe(&mut self, topic: &'static str) {
        if !self.topics.contains(&topic) {
            self.topics.push(topic);
        }
    }

    /// Checks that an operation succeeded, as it has to with a live stream, except where `may_be_cut`.
    fn accepts<T: std::fmt::Debug>(&mut self, result: &Result<T, Error>, may_be_cut: bool) -> bool {
        if !self.live {
            assert_eq!(result.as_ref().err(), Some(&Error::Closed), "{self:?}");
            return false;
        }
        if result.is_err() {
            assert!(may_be_cut, "live, but {result:?}");
            self.end();
        }
        result.is_ok()
    }
}

type Shared = Arc<Mutex<Model>>;

/// Any callback: runs the next script.
fn perform_script(shared: &Shared, cx: &mut Context<'_>) {
    let operations = shared.lock().unwrap().scripts.pop_front().unwrap_or_default();
    for operation in operations {
        perform(shared, operation, cx);
    }
}

fn perform(shared: &Shared, operation: Operation, cx: &mut Context<'_>) {
    let mut model = shared.lock().unwrap();
    match operation {
        Operation::Publish { topic, key, size } => {
            let data = model.next_data(size);
            let event = Event::new().data(data.clone());
            cx.publish(topic, if let Some(key) = key { event.key(key) } else { event }).unwrap();
            if model.keyed && key.is_some() {
                // This includes streams that were closed and lag: newer events of the key are not for them.
                let items = model.streams.iter_mut().flat_map(|stream| &mut stream.items);
                let superseded = items.filter(|item| item.topic == Some(topic) && item.key == key);
                superseded.for_each(|item| item.optional = true);
            }
            for stream in model.streams.iter_mut().filter(|stream| stream.topics.contains(&topic)) {
                stream.items.push(Item { topic: Some(topic), key, data: data.clone(), optional: false });
            }
        }
        Operation::Configure { topic, keyed, events } => {
            let mut config = TopicConfig::default();
            if keyed {
                config = config.keyed();
            }
            if let Some(events) = events {
                config = config.history(History::new().events(events));
            }
            cx.configure(topic, config).unwrap();
            model.configured = true;
            model.keyed |= keyed;
        }
        Operation::SendTagged { tag, size } => {
            let data = model.next_data(size);
            let (tagged, sure) = model.tagged(tag);
            assert!((sure..=tagged.len()).contains(&cx.tagged(tag)));
            let sent = cx.send_tagged(tag, Event::new().data(data.clone())).unwrap();
            assert!((sure..=tagged.len()).contains(&sent));
            for index in tagged {
                // The call does not report which ones now lag too far.
                let optional = model.lagging;
                let stream = &mut model.streams[index];
                stream.items.push(Item { topic: None, key: None, data: data.clone(), optional });
                // A stream that was to be opened may be gone without a report; any operation shows that.
                if optional && !stream.opened && cx.untag(stream.id, "nobody").is_err() {
                    stream.end();
                }
            }
        }
        Operation::CloseTagged(tag) => {
            let (tagged, sure) = model.tagged(tag);
            assert!((sure..=tagged.len()).contains(&cx.close_tagged(tag)));
            assert_eq!(cx.tagged(tag), 0);
            for index in tagged {
                model.streams[index].closed_by_application = true;
                model.streams[index].end();
            }
        }
        Operation::AfterGlobal(delay) => {
            let shared = shared.clone();
            cx.after_global(delay, move |cx| perform_script(&shared, cx));
        }
        Operation::With(back, operation) => {
            let count = model.streams.len();
            if count > 0 {
                perform_with(shared, &mut model, count - 1 - back % count, operation, cx);
            }
        }
    }
}

fn perform_with(
    shared: &Shared,
    model: &mut Model,
    index: usize,
    operation: StreamOperation,
    cx: &mut Context<'_>,
) {
    let may_be_cut = model.may_be_cut(model.streams[index].connection);
    let shared = shared.clone();
    match operation {
        StreamOperation::Send { size } => {
            let data = model.next_data(size);
            let stream = &mut model.streams[index];
            let result = cx.send(stream.id, Event::new().data(data.clone()));
            let accepted = stream.accepts(&result, may_be_cut);
            // The event with which a stream lags too far may still arrive.
            if accepted || model.lagging {
                stream.items.push(Item { topic: None, key: None, data, optional: !accepted });
            }
        }
        StreamOperation::Subscribe(topic) => {
            let stream = &mut model.streams[index];
            let result = cx.subscribe(stream.id, topic);
            if stream.accepts(&result, may_be_cut) {
                stream.subscribe(topic);
            }
        }
        StreamOperation::Unsubscribe(topic) => {
            let stream = &mut model.streams[index];
            let result = cx.unsubscribe(stream.id, topic);
            if stream.accepts(&result, may_be_cut) {
                stream.topics.retain(|other| *other != topic);
                for item in stream.items.iter_mut().filter(|item| item.topic == Some(topic)) {
                    item.optional = true;
                }
            }
        }
        StreamOperation::Tag(tag) => {
            let stream = &mut model.streams[index];
            let result = cx.tag(stream.id, tag);
            if stream.accepts(&result, may_be_cut) {
                stream.tags.insert(tag);
            }
        }
        StreamOperation::Untag(tag) => {
            let stream = &mut model.streams[index];
            let result = cx.untag(stream.id, tag);
            if stream.accepts(&result, may_be_cut) {
                stream.tags.remove(tag);
            }
        }
        StreamOperation::Close => {
            let stream = &mut model.streams[index];
            let result = cx.close(stream.id);
            if stream.accepts(&result, may_be_cut) {
                stream.closed_by_application = true;
                stream.end();
            }
        }
        StreamOperation::After(delay) => {
            let stream = &mut model.streams[index];
            let result = cx.after(stream.id, delay, move |_, cx| perform_script(&shared, cx));
            stream.accepts(&result, may_be_cut);
        }
        StreamOperation::Every(period) => {
            let stream = &mut model.streams[index];
            let result = cx.every(stream.id, period, move |id, cx| {
                let _ = cx.send(id, Event::new().data(TICK));
                perform_script(&shared, cx);
            });
            stream.accepts(&result, may_be_cut);
        }
        StreamOperation::OnClose => {
            let stream = &mut model.streams[index];
            let result = cx.on_close(stream.id, move |_, cx| {
                shared.lock().unwrap().streams[index].hooks_run += 1;
                perform_script(&shared, cx);
            });
            // While its opening is reported, `on_close` can still be set, though it has closed already.
            if !stream.live && result.is_ok() || stream.accepts(&result, may_be_cut) {
                stream.hooks_set += 1;
            }
        }
        StreamOperation::SetSource(answers) => {
            model.sources += 1;
            let number = model.sources;
            let dropped = model.dropped.clone();
            let stream = &mut model.streams[index];
            let source = Scripted { shared, stream: index, number, answers, between: false, dropped };
            let result = cx.set_source(stream.id, source);
            if stream.accepts(&result, may_be_cut) {
                stream.source = Some(number);
            }
        }
        StreamOperation::Wake => {
            let stream = &mut model.streams[index];
            let result = cx.wake(stream.id);
            stream.accepts(&result, may_be_cut);
        }
    }
}

/// A source that gives the model the same answers as the server.
struct Scripted {
    shared: Shared,
    /// Index of its stream.
    stream: usize,
    number: usize,
    answers: Answers,
    /// Whether its last answer was an event.
    between: bool,
    dropped: Arc<AtomicUsize>,
}

impl Drop for Scripted {
    fn drop(&mut self) {
        self.dropped.fetch_add(1, Ordering::SeqCst);
    }
}

impl Source for Scripted {
    fn pull(&mut self) -> Pull {
        let mut model = self.shared.lock().unwrap();
        let may_be_cut = model.may_be_cut(model.streams[self.stream].connection);
        let stream = &model.streams[self.stream];
        assert!(stream.live || may_be_cut, "asked after the end: {stream:?}");
        assert!(stream.opened && stream.source == Some(self.number), "{stream:?}");
        if std::mem::take(&mut self.between) {
            match self.answers.between {
                Between::Nothing => {}
                Between::Idle => return Pull::Idle,
                Between::Wait(time) => return Pull::Wait(time),
                Between::Bad => return Pull::Event(Event::new().data("x").event("two\nlines")),
            }
        }
        if let Some(left) = self.answers.events.checked_sub(1) {
            self.answers.events = left;
            self.between = true;
            let data = model.next_data(self.answers.size);
            let item = Item { topic: None, key: None, data: data.clone(), optional: false };
            model.streams[self.stream].items.push(item);
            return Pull::Event(Event::new().data(data));
        }
        let stream = &mut model.streams[self.stream];
        match self.answers.last {
            Last::Idle => return Pull::Idle,
            Last::End => stream.closed_by_application = true,
            Last::Panic => stream.panicked = true,
        }
        stream.end();
        let connection = stream.connection;
        model.connections[connection].left |= matches!(self.answers.last, Last::Panic);
        drop(model);
        if matches!(self.answers.last, Last::Panic) {
            // A panic without a message, which would be printed thousands of times.
            std::panic::resume_unwind(Box::new("a source"));
        }
        Pull::End
    }
}

impl Ask {
    fn request(&self, connection: usize) -> String {
        let Self { topics, answer } = self;
        get(&format!("/?connection={connection}&answer={answer:?}&topics={}", topics.join(",")))
    }

    /// The connection and its requests.
    fn read(request: &Request<'_>) -> (usize, Self) {
        let connection = request.query("connection").unwrap().parse().unwrap();
        let asked = request.query("topics").unwrap();
        let topics = TOPICS.into_iter().filter(|topic| asked.contains(topic)).collect();
        let answer = [Answer::Text, Answer::CloseDelimited, Answer::Chunked]
            .into_iter()
            .find(|answer| *request.query("answer").unwrap() == format!("{answer:?}"))
            .unwrap();
        (connection, Self { topics, answer })
    }
}

struct App(Shared);

impl Handler for App {
    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
        let (connection, Ask { topics, answer }) = Ask::read(request);
        let mut model = self.0.lock().unwrap();
        let index = model.streams.len();
        model.connections[connection].streams.push(index);
        model.streams.push(Stream {
            id: cx.stream().unwrap(),
            connection,
            answer,
            topics: Vec::new(),
            tags: HashSet::new(),
            items: Vec::new(),
            live: true,
            opened: false,
            closed_by_application: false,
            closed: Vec::new(),
            hooks_set: 0,
            hooks_run: 0,
            source: None,
            panicked: false,
        });
        drop(model);
        perform_script(&self.0, cx);

        let mut model = self.0.lock().unwrap();
        let stream = &mut model.streams[index];
        if answer == Answer::Text {
            stream.end();
            stream.items.clear();
            return Reply::text("text");
        }
        let mut reply = Reply::stream();
        for topic in topics {
            reply = reply.topic(topic);
            if stream.live {
                stream.subscribe(topic);
            }
        }
        if answer == Answer::CloseDelimited {
            reply = reply.close_delimited();
        }
        reply.into()
    }

    fn opened(&mut self, id: StreamId, _request: &Request<'_>, cx: &mut Context<'_>) {
        let mut model = self.0.lock().unwrap();
        let stream = model.find(id);
        assert!(!stream.opened && stream.closed.is_empty() && stream.answer != Answer::Text, "{stream:?}");
        stream.opened = true;
        drop(model);
        perform_script(&self.0, cx);
    }

    fn closed(&mut self, id: StreamId, reason: CloseReason, cx: &mut Context<'_>) {
        assert_eq!(cx.send(id, Event::new().data("too late")), Err(Error::Closed));
        let mut model = self.0.lock().unwrap();
        let stream = model.find(id);
        assert!(stream.opened && stream.closed.is_empty(), "{stream:?}");
        assert_eq!(stream.hooks_run, stream.hooks_set);
        stream.closed.push(reason);
        stream.end();
        drop(model);
        perform_script(&self.0, cx);
    }
}

/// A server, its peers, and the model of both.
struct Play<const SHORT: bool> {
    world: Loop<App, SHORT>,
    peers: Vec<Peer>,
    shared: Shared,
}

impl<const SHORT: bool> Play<SHORT> {
    fn new(scripts: Vec<Vec<Operation>>, sends_per_turn: usize, lag_bytes_max: usize) -> Self {
        let mut config = Config::default();
        config.lag_bytes_max = lag_bytes_max;
        config.sends_per_turn = sends_per_turn;
        config.stall_timeout = NEVER;
        config.keep_alive_timeout = NEVER;
        let lagging = lag_bytes_max < NO_LAG;
        let model = Model { scripts: scripts.into(), lagging, ..Model::default() };
        let shared = Arc::new(Mutex::new(model));
        Self { world: Loop::with_config(App(shared.clone()), config), peers: Vec::new(), shared }
    }

    /// The connection of a step, if it exists.
    fn pick(&self, connection: usize) -> Option<usize> {
        connection.checked_rem(self.peers.len())
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Perform(operation) => perform(&self.shared, operation, &mut self.world.server.context()),
            Step::Run(operation) => {
                let shared = self.shared.clone();
                let publisher = self.world.server.publisher();
                publisher.run(move |cx| perform(&shared, operation, cx)).unwrap();
            }
            Step::Connect(asks) => {
                let peer = self.world.connect();
                for ask in asks {
                    peer.write(ask.request(self.peers.len()));
                }
                self.peers.push(peer);
                self.shared.lock().unwrap().connections.push(Connection::default());
            }
            Step::Ask(connection, ask) => {
                if let Some(connection) = self.pick(connection) {
                    self.peers[connection].write(ask.request(connection));
                }
            }
            Step::Room(connection, room) => {
                if let Some(connection) = self.pick(connection) {
                    self.peers[connection].set_room(room);
                }
            }
            Step::Leave { connection, reset } => {
                if let Some(connection) = self.pick(connection) {
                    self.shared.lock().unwrap().connections[connection].left = true;
                    let peer = &self.peers[connection];
                    if reset { peer.reset() } else { peer.close() }
                }
            }
            Step::Turn => self.world.turn(),
            Step::Settle => self.world.settle(),
            Step::Pass(time) => self.world.pass(time),
            Step::Jump(time) => {
                self.world.jump(time);
                self.world.turn();
            }
        }
    }

    /// Lets everything arrive that is on its way.
    fn catch_up(&mut self) {
        for peer in &self.peers {
            peer.set_room(usize::MAX);
        }
        self.world.settle();
        self.world.turn();
        self.world.settle();
    }

    fn compare_counters(&self) {
        let model = self.shared.lock().unwrap();
        let stats = self.world.server.stats();
        let count = |is: fn(&&Stream) -> bool| model.streams.iter().filter(is).count() as u64;
        assert_eq!(stats.streams, count(|stream| stream.live));
        assert_eq!(stats.streams_opened, count(|stream| stream.opened));
        assert_eq!(stats.panics, count(|stream| stream.panicked));
        let topics: HashSet<_> = model.streams.iter().flat_map(|stream| &stream.topics).collect();
        // A topic with a history exists without subscribers, too.
        let kept = if model.configured { TOPICS.len() } else { topics.len() };
        assert!((topics.len() as u64..=kept as u64).contains(&stats.topics));
        let sources = count(|stream| stream.source.is_some());
        assert_eq!((model.sources - model.dropped.load(Ordering::SeqCst)) as u64, sources);
        let tags: HashSet<_> = model.streams.iter().flat_map(|stream| &stream.tags).collect();
        assert_eq!(stats.tags, tags.len() as u64);
    }

    /// Checks that streams were closed once, and for the right reason.
    fn compare_ends(&self) {
        let model = self.shared.lock().unwrap();
        for stream in &model.streams {
            let ended = stream.opened && !stream.live;
            assert_eq!(stream.closed.len(), usize::from(ended), "{stream:?}");
            if !ended {
                continue;
            }
            assert_eq!(stream.hooks_run, stream.hooks_set);
            let expected = match stream.closed[0] {
                CloseReason::Application => stream.closed_by_application,
                CloseReason::ExcessInput => true,
                CloseReason::Panicked => stream.panicked,
                _ => false,
            };
            assert!(expected || model.may_be_cut(stream.connection), "{stream:?}");
        }
    }

    /// Checks that each connection received the replies to its requests, in order.
    fn compare_received(&self) {
        let model = self.shared.lock().unwrap();
        for (number, (connection, peer)) in model.connections.iter().zip(&self.peers).enumerate() {
            let may_be_cut = model.may_be_cut(number);
            let received = peer.read();
            let mut rest = received.as_str();
            for &index in &connection.streams {
                let stream = &model.streams[index];
                let Some((body, behind)) = take_answer(rest, stream, may_be_cut) else {
                    assert!(may_be_cut, "an answer is missing");
                    rest = "";
                    break;
                };
                rest = behind;
                if stream.answer == Answer::CloseDelimited && !may_be_cut {
                    assert_eq!(peer.is_shut(), !stream.live, "{stream:?}");
                }
                compare_events(&body, &stream.items, may_be_cut);
            }
            assert!(may_be_cut || rest.is_empty(), "after the last reply: {rest:?}");
        }
    }

    /// Stops the server, which closes the remaining streams.
    fn stop(mut self) {
        self.shared.lock().unwrap().scripts.clear();
        self.world.server.context().stop();
        self.world.turn();
        for stream in &self.shared.lock().unwrap().streams {
            assert_eq!(stream.closed.len(), usize::from(stream.opened), "{stream:?}");
            assert!(!stream.opened || stream.hooks_run == stream.hooks_set, "{stream:?}");
        }
        let model = self.shared.lock().unwrap();
        assert_eq!(model.dropped.load(Ordering::SeqCst), model.sources);
        assert!(self.peers.iter().all(Peer::is_closed));
    }
}

/// The body of a stream, empty for a text, and the bytes after the reply; `None` if not even its head is
/// complete.
fn take_answer<'a>(received: &'a str, stream: &Stream, may_be_cut: bool) -> Option<(String, &'a str)> {
    let (head, rest) = received.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200"), "{head}");
    match stream.answer {
        Answer::Text => Some((String::new(), rest.strip_prefix("text")?)),
        Answer::CloseDelimited => Some((rest.to_owned(), "")),
        Answer::Chunked => {
            let (body, ended, behind) = take_chunks(rest, may_be_cut);
            assert!(may_be_cut || ended != stream.live, "the last chunk, or none: {stream:?}");
            Some((body, behind))
        }
    }
}

/// The content of the chunks, whether the last one is among them, and the bytes after it.
fn take_chunks(received: &str, may_be_cut: bool) -> (String, bool, &str) {
    let mut body = String::new();
    let mut rest = received;
    while !rest.is_empty() {
        let Some((size, behind)) = rest.split_once("\r\n") else {
            assert!(may_be_cut, "cut within a size: {rest:?}");
            break;
        };
        let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("a size: {size:?}"));
        if behind.len() < size + 2 {
            assert!(may_be_cut, "cut within a chunk");
            break;
        }
        let (chunk, behind) = behind.split_at(size);
        body.push_str(chunk);
        rest = behind.strip_prefix("\r\n").unwrap();
        if size == 0 {
            return (body, true, rest);
        }
    }
    (body, false, "")
}

/// Checks that the events are those of the list, with no gap but for optional ones.
fn compare_events(body: &str, items: &[Item], may_be_cut: bool) {
    let events = parse(body.as_bytes()).into_iter().map(|event| event.data);
    let mut received = events.filter(|data| data != TICK).peekable();
    let mut missing = false;
    for Item { data, optional, .. } in items {
        if received.next_if_eq(data).is_some() {
            assert!(!missing, "{data:.20} after a gap");
        } else if !optional {
            assert!(may_be_cut, "{data:.20} is missing");
            missing = true;
        }
    }
    assert_eq!(received.next(), None, "more than expected");
}

fn play<const SHORT: bool>(
    steps: Vec<Step>,
    scripts: Vec<Vec<Operation>>,
    sends_per_turn: usize,
    lag_bytes_max: usize,
) {
    let mut play = Play::<SHORT>::new(scripts, sends_per_turn, lag_bytes_max);
    for step in steps {
        play.step(step);
    }
    play.catch_up();
    play.compare_counters();
    play.compare_ends();
    play.compare_received();
    play.stop();
}

proptest! {
    #[test]
    fn streams_get_their_events_whatever_callbacks_do(
        steps in vec(step(), 1..120), scripts in vec(vec(operation(), 0..4), 0..60),
        sends_per_turn in 1_usize..6,
        lag_bytes_max in prop_oneof![2 => Just(NO_LAG), 1 => 1_usize..2000, 1 => Just(100_000_usize)],
    ) {
        play::<true>(steps.clone(), scripts.clone(), sends_per_turn, lag_bytes_max);
        play::<false>(steps, scripts, sends_per_turn, lag_bytes_max);
    }
}
