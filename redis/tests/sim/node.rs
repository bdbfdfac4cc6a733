//! A node: a server in memory, with the library's reader and writer, on connections that break.

use crate::TOPICS;
use crate::store::Store;
use fastrand::Rng;
use mio_sse::net::InMemory;
use mio_sse::{
    AfterGap, Answer, Config, Context, Handler, History, Ids, Position, Publisher, RawRequest, Reply,
    Request, Server, Shards, TopicConfig,
};
use mio_sse_redis::machine::{Act, Ask, At, Fate, Reader, Record, Reply as Replied, Told, What, Writer};
use std::collections::VecDeque;
use std::time::Duration;

/// How long Redis blocks a read.
const BLOCK: Duration = Duration::from_secs(5);

/// How long an event may wait to be written.
const PATIENCE: Duration = Duration::from_secs(5);

/// State of the connections and of Redis.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Weather {
    /// One of this many commands meets a connection that breaks; 0 for never.
    pub(crate) breaks: u32,
    /// Redis refuses writes for a while.
    pub(crate) is_full: bool,
}

impl Weather {
    pub(crate) const CALM: Self = Self { breaks: 0, is_full: false };
}

pub(crate) struct App;

impl Handler for App {
    fn request(&mut self, request: &Request<'_>, _cx: &mut Context<'_>) -> Reply {
        let mut parts = request.path()[1..].split('/');
        let topics: u8 = parts.next().and_then(|mask| mask.parse().ok()).expect("topics");
        let mut reply = Reply::stream();
        for (_, name) in TOPICS.iter().enumerate().filter(|(topic, _)| topics & 1 << topic != 0) {
            reply = reply.topic(*name);
        }
        if parts.next() == Some("live") {
            reply = reply.after_gap(AfterGap::Live);
        }
        reply.into()
    }
}

enum Served {
    One(Box<Server<App, InMemory>>),
    Several(Shards<App, InMemory>),
}

/// A command on its way between a node and Redis.
enum Way<C, R> {
    Idle,
    /// The command was sent at this time.
    Asked(C, Duration),
    /// Redis has replied. `None`: the connection is lost instead.
    Answered(Option<R>),
}

/// Settings of a node.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Setting {
    pub(crate) loops: usize,
    /// Number of entries that are read at the start, and of events that each topic keeps.
    pub(crate) history: usize,
    pub(crate) kept: usize,
    pub(crate) heartbeat: Option<Duration>,
    /// Difference of its clock from the true time.
    pub(crate) skew: i64,
    pub(crate) verbose: bool,
}

pub(crate) struct Node {
    pub(crate) process: u32,
    pub(crate) setting: Setting,
    served: Served,
    publisher: Publisher,
    pub(crate) reader: Reader,
    writer: Writer<u64>,
    pub(crate) highest: Position,
    reading: Way<Ask, Told>,
    writing: Way<Vec<(At, Record)>, Vec<Replied>>,
    /// Commands on lost connections. They may still arrive.
    pub(crate) strays: VecDeque<(At, Record)>,
    /// Time of the server's clock.
    clock: Duration,
    pub(crate) asleep_until: Duration,
    /// The first position that was read.
    pub(crate) first: Option<Position>,
    /// Position and number of each published event.
    pub(crate) published: Vec<(Position, u64)>,
    /// Number and result of each written event.
    pub(crate) fates: Vec<(u64, Fate)>,
    /// Positions that this node knows: read or confirmed.
    pub(crate) known: Vec<Position>,
}

fn config(setting: &Setting) -> Config {
    let mut config = Config::default();
    config.heartbeat = setting.heartbeat;
    config.topic = TopicConfig::default().history(History::new().events(setting.kept)).ids(Ids::Ordered);
    config
}

impl Node {
    /// Starts a process, which reads the history. `between` changes the stream between its reads.
    pub(crate) fn start(
        process: u32,
        setting: Setting,
        now: Duration,
        store: &mut Store,
        mut between: impl FnMut(&mut Store) -> bool,
    ) -> Self {
        let config = config(&setting);
        let (served, publisher) = if setting.loops == 1 {
            let server = Server::in_memory(App, config).unwrap();
            let publisher = server.publisher();
            (Served::One(Box::new(server)), publisher)
        } else {
            let shards = Shards::in_memory(setting.loops, |_| App, config).unwrap();
            let publisher = shards.publisher();
            (Served::Several(shards), publisher)
        };
        let mut node = Self {
            process,
            setting,
            served,
            publisher,
            reader: Reader::new(setting.history, u64::from(process) << 8 | 1),
            writer: Writer::new(u64::from(process) << 8 | 2, 50),
            highest: Position::default(),
            reading: Way::Idle,
            writing: Way::Idle,
            strays: VecDeque::new(),
            clock: now,
            asleep_until: Duration::ZERO,
            first: None,
            published: Vec::new(),
            fates: Vec::new(),
            known: Vec::new(),
        };
        let mut acts = Vec::new();
        while !node.reader.is_filled() {
            let ask = node.ask(store.unix_ms);
            if between(store) {
                node.reader.lost();
                continue;
            }
            let told = told(&ask, store, &Weather::CALM).expect("it does not wait");
            acts.extend(node.told(&ask, told, now));
        }
        node.note(&acts);
        match &mut node.served {
            Served::One(server) => fill(&acts, &mut server.context()),
            Served::Several(shards) => shards.prepare(|cx| fill(&acts, cx)),
        }
        // After the first turn a publisher on this thread does not block.
        node.settle();
        node
    }

    pub(crate) fn unix_ms(&self, store: &Store) -> u64 {
        store.unix_ms.saturating_add_signed(self.setting.skew)
    }

    fn ask(&mut self, unix_ms: u64) -> Ask {
        self.tell_written();
        self.reader.ask(unix_ms)
    }

    fn tell_written(&mut self) {
        let written = self.writer.take_written();
        written.into_iter().for_each(|(position, nonce)| self.reader.wrote(position, nonce));
        self.reader.saw(self.highest);
    }

    fn told(&mut self, ask: &Ask, told: Told, now: Duration) -> Vec<Act> {
        match (ask, &told) {
            (Ask::Newest { .. }, Told::Newest(entries)) | (_, Told::Behind { entries, .. }) => {
                self.known.extend(entries.iter().map(|entry| entry.position));
                let first = entries.iter().map(|entry| entry.position).min();
                self.first = self.first.into_iter().chain(first).min();
            }
            _ => {}
        }
        self.tell_written();
        let acts = self.reader.told(told, now);
        self.highest = self.highest.max(self.reader.highest());
        acts
    }

    /// One step of reading.
    pub(crate) fn read(&mut self, now: Duration, store: &mut Store, weather: Weather, rng: &mut Rng) {
        match std::mem::replace(&mut self.reading, Way::Idle) {
            Way::Idle if store.is_down => self.reader.lost(),
            Way::Idle => {
                let unix_ms = self.unix_ms(store);
                self.reading = Way::Asked(self.ask(unix_ms), now);
            }
            Way::Asked(ask, since) => {
                let breaks = store.is_down || weather.breaks > 0 && rng.u32(..weather.breaks) == 0;
                if breaks {
                    if let Ask::Add { at, record } = ask {
                        match rng.u8(..3) {
                            0 => {}
                            1 => self.strays.push_back((at, record)),
                            _ => drop(write(store, at, &record)),
                        }
                    }
                    self.reading = Way::Answered(None);
                    return;
                }
                let waits = matches!(ask, Ask::Behind { waits: true, .. }) && now - since < BLOCK;
                let told = told(&ask, store, &weather);
                let is_empty = matches!(&told, Some(Told::Behind { entries, .. }) if entries.is_empty());
                self.reading = match told {
                    Some(_) if waits && is_empty && rng.u8(..20) > 0 => Way::Asked(ask, since),
                    Some(told) if rng.u8(..3) > 0 => return self.done(&ask, told, now),
                    told => Way::Answered(told),
                };
            }
            Way::Answered(None) => self.reader.lost(),
            Way::Answered(Some(told)) => {
                let ask = Ask::Newest { before: None, count: 0 };
                self.done(&ask, told, now);
            }
        }
    }

    fn done(&mut self, ask: &Ask, told: Told, now: Duration) {
        let acts = self.told(ask, told, now);
        self.perform(acts);
    }

    fn note(&mut self, acts: &[Act]) {
        for act in acts {
            if let Act::Publish { position, event, .. } = act
                && event.encode().is_ok()
            {
                let number = event.data.as_deref().and_then(|data| data.parse().ok()).expect("a number");
                self.published.push((*position, number));
            }
        }
    }

    fn perform(&mut self, acts: Vec<Act>) {
        if acts.is_empty() {
            return;
        }
        self.note(&acts);
        if self.setting.verbose {
            println!("       process {} does {acts:?}", self.process);
        }
        for (count, act) in (1..).zip(acts) {
            let done = match act {
                Act::Publish { topics, position, event } => {
                    self.publisher.publish_all_at(topics.iter().map(|topic| &**topic), position, event)
                }
                Act::Finish(topic) => self.publisher.finish_topic(&topic),
                Act::Gap(position) => self.publisher.ordered_gap(position),
                Act::End(position) => self.publisher.ordered_end(position),
            };
            assert!(
                !matches!(done, Err(mio_sse::Error::Full | mio_sse::Error::Stopped)),
                "it is published: {done:?}"
            );
            if count % 200 == 0 {
                self.settle();
            }
        }
        self.settle();
    }

    /// Submits an event.
    pub(crate) fn submit(&mut self, what: What, number: u64, now: Duration) -> bool {
        self.writer.submit(what, now + PATIENCE, number).is_ok()
    }

    /// One step of writing.
    pub(crate) fn write(&mut self, now: Duration, store: &mut Store, weather: Weather, rng: &mut Rng) {
        match std::mem::replace(&mut self.writing, Way::Idle) {
            Way::Idle => {
                let late = self.writer.give_up(now);
                self.settle_fates(late);
                let unix_ms = self.unix_ms(store);
                let sent = self.writer.send(unix_ms, self.highest);
                let sent: Vec<_> = sent.into_iter().map(|(at, record)| (at, record.clone())).collect();
                if !sent.is_empty() {
                    self.writing = Way::Asked(sent, now);
                }
            }
            Way::Asked(sent, _) => {
                let breaks = store.is_down || weather.breaks > 0 && rng.u32(..weather.breaks) == 0;
                let arrives = if breaks { rng.usize(..=sent.len()) } else { sent.len() };
                let is_late = breaks && rng.bool() || store.is_down;
                let mut replies = Vec::new();
                for (at, record) in sent.into_iter().take(arrives) {
                    if is_late {
                        self.strays.push_back((at, record));
                    } else if weather.is_full && rng.u8(..3) > 0 {
                        replies.push(Replied::Unavailable("full".into()));
                    } else {
                        let written = write(store, at, &record);
                        replies.push(written.map_or(Replied::TooEarly, Replied::Written));
                    }
                }
                self.writing = Way::Answered((!breaks).then_some(replies));
            }
            Way::Answered(None) => self.writer.lost("it is gone".into()),
            Way::Answered(Some(replies)) => {
                let (fates, _) = self.writer.told(replies);
                self.settle_fates(fates);
            }
        }
    }

    fn settle_fates(&mut self, fates: Vec<(u64, Fate)>) {
        for (_, fate) in &fates {
            if let Fate::Written(position) = fate {
                self.highest = self.highest.max(*position);
                self.known.push(*position);
            }
        }
        self.fates.extend(fates);
    }

    /// A command that was sent on a lost connection arrives.
    pub(crate) fn stray(&mut self, store: &mut Store) {
        if let Some((at, record)) = self.strays.pop_front() {
            write(store, at, &record);
        }
    }

    /// Advances the clock to `now`.
    pub(crate) fn pass(&mut self, now: Duration) {
        let time = now.saturating_sub(self.clock);
        self.clock = now;
        match &mut self.served {
            Served::One(server) => server.advance(time),
            Served::Several(shards) => {
                shards.servers().iter_mut().for_each(|server| server.advance(time));
                shards.settle();
            }
        }
    }

    fn settle(&mut self) {
        match &mut self.served {
            Served::One(server) => server.settle(),
            Served::Several(shards) => shards.settle(),
        }
    }

    /// Connects a client to one of the loops.
    pub(crate) fn connect(&mut self, request: RawRequest, rng: &mut Rng) -> Answer {
        match &mut self.served {
            Served::One(server) => server.ask(request),
            Served::Several(shards) => {
                let count = shards.servers().len();
                let answer = shards.servers()[rng.usize(..count)].ask(request);
                shards.settle();
                answer
            }
        }
    }

    pub(crate) fn is_asleep(&self, now: Duration) -> bool {
        now < self.asleep_until
    }

    /// The newest published position, if topics keep only a few events.
    pub(crate) fn newest_where_it_forgets(&self) -> Option<Position> {
        self.published.last().map(|(position, _)| *position).filter(|_| self.setting.kept < 1_000)
    }

    /// Whether nothing was read yet. Such a node cannot notice that entries were trimmed.
    pub(crate) fn has_read_nothing(&self) -> bool {
        self.reader.read().entries == 0
    }
}

fn fill(acts: &[Act], cx: &mut Context<'_>) {
    for act in acts {
        // Entries that are not events are skipped, as on every node.
        let _ = match act {
            Act::Publish { topics, position, event } => {
                cx.publish_all_at(topics.iter().map(|topic| &**topic), *position, event)
            }
            Act::Finish(topic) => cx.finish_topic(topic),
            Act::Gap(position) => cx.ordered_gap(*position),
            Act::End(position) => {
                cx.ordered_end(*position);
                Ok(())
            }
        };
    }
}

pub(crate) fn fields(record: &Record) -> Vec<(Vec<u8>, Vec<u8>)> {
    let fields = record.fields().into_iter();
    fields.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec())).collect()
}

fn write(store: &mut Store, at: At, record: &Record) -> Option<Position> {
    store.add(at, fields(record))
}

/// The reply of Redis. `None`: an error, which ends the connection.
fn told(ask: &Ask, store: &mut Store, weather: &Weather) -> Option<Told> {
    Some(match ask {
        Ask::Newest { before, count } => Told::Newest(store.newest_before(*before, *count)),
        Ask::Behind { after, count, .. } => {
            let entries = store.behind(*after, *count);
            Told::Behind { entries, there: store.entry_at(*after) }
        }
        Ask::Add { .. } if weather.is_full => return None,
        Ask::Add { at, record } => Told::Added(write(store, *at, record)),
    })
}
