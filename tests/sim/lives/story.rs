//! The events that the application has published, and the streams that it has opened.

use crate::lives::scenario::{Kind, Scenario};
use crate::lives::together::Together;
use fastrand::Rng;
use mio_sse::{CloseReason, Event, EventSender, Ids, Missed, Position};
use std::cell::Cell;
use std::collections::{HashMap, VecDeque};

/// The topics, or the first of them. A stream reads some, as a bit mask.
pub(crate) const TOPICS: [&str; 3] = ["a", "b", "c"];

/// Names of the counted cases.
pub(crate) const COUNTED: &[&str] = &[
    "steps",
    "events",
    "processes",
    "rests",
    "connections",
    "cuts",
    "streams",
    "events received",
    "events received again",
    "gaps",
    "gaps with a number",
    "strangers",
    "turns short of memory",
    "steps back",
    "made up at once",
    "made up later",
    "ended by the application",
    "ended as finished",
    "ended by a drain",
    "told to stop",
    "streams ahead of their loop",
    "turns that leave something in an inbox of several",
    "events published by handlers of several loops",
    "events published by others to several loops",
    "inboxes without room",
    "sent behind",
    "bursts to one stream",
    "published to what has finished",
    "closed behind",
    "sent to a tag",
    "closed with a tag",
    "ends of all loops",
    #[cfg(feature = "gzip")]
    "compressed streams",
    #[cfg(feature = "gzip")]
    "compressed streams read to their ends",
    #[cfg(feature = "tls")]
    "connections with TLS",
];

/// Counter of each.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Counts(pub(crate) [u64; COUNTED.len()]);

impl Default for Counts {
    fn default() -> Self {
        Self([0; COUNTED.len()])
    }
}

/// Number of notes that are kept as text.
const KEPT: usize = 20_000;

/// One event. Its number is its place in the store.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) topic: u8,
    /// It is not an event, but finishes its topic.
    pub(crate) finishes: bool,
    /// The process that it is for, if each has its own.
    pub(crate) process: Option<u32>,
    pub(crate) id: Option<String>,
    pub(crate) position: Option<Position>,
    pub(crate) key: Option<u8>,
    pub(crate) removes_key: bool,
    /// The next event of the same key.
    pub(crate) superseded_by: Option<u32>,
    size: usize,
}

/// Options of a stream.
#[derive(Debug, Clone)]
pub(crate) struct Opening {
    pub(crate) process: u32,
    /// Every event that is published there from this number on is for it.
    pub(crate) next: u32,
    /// Ids of events before this are known there, or on their way.
    pub(crate) known: u32,
    /// The first event that is ever published there.
    pub(crate) begin: u32,
    /// It may begin with the history, and then with all of that.
    pub(crate) snapshot: bool,
    pub(crate) replays: bool,
    /// It finishes by itself, whatever its topics do.
    pub(crate) ends: bool,
    /// This many greetings of the application come first.
    pub(crate) greetings: u8,
    /// Its client can get an id for the position at which it begins.
    pub(crate) has_position: bool,
    /// The application makes up for its missed events.
    pub(crate) made_up: Option<Missed>,
}

/// Another thread that delivers a client's missed events.
pub(crate) struct Bringer {
    pub(crate) sender: EventSender,
    pub(crate) events: VecDeque<Event<'static>>,
    /// It gives up when this many are left.
    pub(crate) fails_at: Option<usize>,
}

/// All that the application knows.
pub(crate) struct Story {
    pub(crate) scenario: Scenario,
    pub(crate) rng: Rng,
    pub(crate) entries: Vec<Entry>,
    /// The first event with this id and the last.
    places: HashMap<String, (u32, u32)>,
    /// Finished topics.
    pub(crate) finished: u8,
    /// By client and attempt.
    pub(crate) openings: HashMap<(u32, u32), Opening>,
    /// The close reason of a stream, and the event before which it closed.
    pub(crate) closings: HashMap<(u32, u32), (CloseReason, u32)>,
    pub(crate) bringers: Vec<Bringer>,
    /// The number of the next event of each process.
    pub(crate) next: Vec<u32>,
    /// The first event that was not given to each process yet.
    pub(crate) feed: Vec<u32>,
    pub(crate) together: Together,
    /// Topics that have certainly finished there.
    pub(crate) ended: Vec<Cell<u8>>,
    /// There are no more unusual actions.
    pub(crate) settles: bool,
    /// Number of the current step.
    pub(crate) step: u64,
    pub(crate) counts: Counts,
    log: Option<VecDeque<String>>,
}

impl Story {
    pub(crate) fn new(scenario: Scenario, seed: u64, verbose: bool) -> Self {
        Self {
            scenario,
            rng: Rng::with_seed(seed),
            entries: Vec::new(),
            places: HashMap::new(),
            finished: 0,
            openings: HashMap::new(),
            closings: HashMap::new(),
            bringers: Vec::new(),
            next: Vec::new(),
            feed: Vec::new(),
            together: Together::default(),
            ended: Vec::new(),
            settles: false,
            step: 0,
            counts: Counts::default(),
            log: verbose.then(VecDeque::new),
        }
    }

    pub(crate) fn count(&mut self, what: &str) {
        let at = COUNTED.iter().position(|name| *name == what).expect("it is counted");
        self.counts.0[at] += 1;
    }

    /// Records a note, if it will be read.
    pub(crate) fn note(&mut self, what: impl FnOnce() -> String) {
        if let Some(log) = &mut self.log {
            if log.len() == KEPT {
                log.pop_front();
            }
            log.push_back(format!("{:>8}  {}", self.step, what()));
        }
    }

    /// The last notes, with a line for each.
    pub(crate) fn tail(&self) -> String {
        let lines: String = self.log.iter().flatten().map(|line| format!("{line}\n")).collect();
        format!("{:?}\n{lines}", self.scenario)
    }

    /// The number of the next event.
    pub(crate) fn len(&self) -> u32 {
        u32::try_from(self.entries.len()).expect("not that many")
    }

    /// Whether a topic drops for good only events without a key, and removals.
    pub(crate) fn is_keyed(&self, topic: usize) -> bool {
        self.scenario.kinds[topic].keyed
    }

    /// A topic has finished at a process, which will not be forgotten.
    pub(crate) fn ends_at(&self, process: u32, topic: u8) {
        let Kind { has_ids, is_ageless, .. } = self.scenario.kinds[usize::from(topic)];
        let ended = &self.ended[process as usize];
        ended.set(ended.get() | u8::from(has_ids && is_ageless) << topic);
    }

    /// Makes up an event, or finishes a topic.
    pub(crate) fn write(&mut self, process: Option<u32>) {
        let topics = (0..self.scenario.topics).filter(|topic| self.finished & 1 << topic == 0);
        let Some(topic) = self.rng.choice(topics.collect::<Vec<_>>()) else { return };
        let process = process.filter(|_| !self.scenario.is_shared());
        let is_last = self.finished.count_ones() + 1 == u32::from(self.scenario.topics);
        let rarely = if is_last { 2_000 } else { 400 };
        if self.scenario.finishes && self.rng.u32(..rarely) == 0 {
            self.finished |= 1 << topic;
            self.push(Entry { finishes: true, process: None, ..Entry::new(topic) });
            return;
        }
        let key = (self.is_keyed(topic.into()) && self.rng.u8(..4) > 0).then(|| self.rng.u8(..4));
        let number = self.len();
        let same = |it: &&mut Entry| it.topic == topic && it.process == process && it.key == key;
        if key.is_some()
            && let Some(before) = self.entries.iter_mut().rev().find(same)
        {
            before.superseded_by = Some(number);
        }
        let removes_key = key.is_some() && self.rng.u8(..5) == 0;
        let rarely_large = if self.scenario.heavy { 3 } else { 64 };
        let large = if self.scenario.is_roomy() { 4_000 } else { 15_000 };
        let size =
            if self.rng.u8(..rarely_large) == 0 { self.rng.usize(..large) } else { self.rng.usize(..60) };
        let (id, position) = (self.own_id(), self.position());
        self.push(Entry { process, id, position, key, removes_key, size, ..Entry::new(topic) });
    }

    fn push(&mut self, entry: Entry) {
        let number = self.len();
        self.note(|| format!("{number} is written: {entry:?}"));
        if let Some(id) = &entry.id {
            self.places.entry(id.clone()).or_insert((number, number)).1 = number;
        }
        self.entries.push(entry);
    }

    /// An id of the application, if it has any; sometimes one that was used before.
    fn own_id(&mut self) -> Option<String> {
        if self.scenario.ids != Ids::Own || self.rng.u8(..100) < self.scenario.bare {
            return None;
        }
        let earlier = self.entries.iter().rev().nth(self.rng.usize(..10)).and_then(|entry| entry.id.clone());
        let again = earlier.filter(|id| self.rng.u8(..50) == 0 && self.places[id].0 == self.places[id].1);
        let number = self.len();
        again.or_else(|| {
            Some(match self.scenario.id_style {
                0 => number.to_string(),
                // Text that looks like a position, and text like two header lines.
                1 => format!("{number}-0"),
                2 => format!("{number}, {number}"),
                3 => format!("{}{number}", "long".repeat(300)),
                _ => format!("\u{e9}t\u{e9} {number}"),
            })
        })
    }

    fn position(&mut self) -> Option<Position> {
        let last = self.entries.iter().rev().find_map(|entry| entry.position).unwrap_or_default();
        let later = self.rng.u64(..3);
        let n = if later == 0 { last.n() + 1 } else { self.rng.u64(..2) };
        (self.scenario.ids == Ids::Ordered).then(|| Position::new(last.ms() + later, n))
    }

    /// Place of the id with which a client resumes: the first event that has it, and the last.
    pub(crate) fn find(&self, id: &str) -> Option<(u32, u32)> {
        if self.scenario.ids != Ids::Ordered {
            return self.places.get(id).copied();
        }
        let seen: Position = id.parse().ok()?;
        let before = |entry: &Entry| entry.position.is_some_and(|position| position <= seen);
        let place = self.entries.iter().rposition(before)?;
        u32::try_from(place).ok().map(|place| (place, place))
    }

    /// The event as it is published. `sent` to one stream alone, it always has an id from the application.
    pub(crate) fn event(&self, number: u32, sent: bool) -> Event<'static> {
        let entry = &self.entries[number as usize];
        let mut event = Event::new().data(format!("{number} {}", "x".repeat(entry.size)));
        if let Some(key) = entry.key {
            event = event.key(key.to_string());
        }
        let position = entry.position.filter(|_| sent).map(|position| position.to_string());
        if let Some(id) = entry.id.clone().or(position) {
            event = event.id(id);
        }
        if entry.removes_key { event.removes_key() } else { event }
    }
}

impl Entry {
    fn new(topic: u8) -> Self {
        Self {
            topic,
            finishes: false,
            process: None,
            id: None,
            position: None,
            key: None,
            removes_key: false,
            superseded_by: None,
            size: 0,
        }
    }
}
