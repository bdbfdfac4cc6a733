//! The history of a topic, in the simplest way: a list of every event that was ever published to it.
//!
//! The model knows what is retained as far as the documentation promises it. For limits of bytes or time it
//! knows which events are certainly retained, and which may be.

use crate::model::FRAME_BYTES;
use fastrand::Rng;
use mio_sse::{History, Ids, Overflow, TopicConfig};
use std::collections::{BTreeMap, HashMap};
use std::time::Duration;

/// Later than any turn.
pub(crate) const ALWAYS: u64 = u64::MAX;

/// The configuration of a topic, from which both the server's configuration and the model are made.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
pub(crate) struct Kind {
    pub(crate) keyed: bool,
    pub(crate) skip: bool,
    /// The application makes the ids.
    pub(crate) own_ids: bool,
    /// Limits of events, bytes and age.
    pub(crate) history: Option<(usize, usize, Option<Duration>)>,
}

impl Kind {
    pub(crate) fn draw(rng: &mut Rng, own_ids: bool) -> Self {
        let history = (rng.u8(..3) > 0).then(|| {
            let events = [0, rng.usize(1..10), rng.usize(1..100), usize::MAX]
                [[0, 1, 2, 2, 3, 3, 3, 3][rng.usize(..8)]];
            let bytes = [rng.usize(..2_000), rng.usize(..50_000), 100_000, 300_000][rng.usize(..4)];
            let age = (rng.u8(..5) == 0).then(|| Duration::from_millis(rng.u64(1..60_000)));
            (events, bytes, age)
        });
        Self { keyed: rng.u8(..3) == 0, skip: rng.u8(..3) > 0, own_ids, history }
    }

    pub(crate) fn config(self) -> TopicConfig {
        let mut config = TopicConfig::default();
        if let Some((events, bytes, age)) = self.history {
            let history = History::new().events(events).bytes(bytes);
            config = config.history(age.map_or(history, |age| history.age(age)));
        }
        if self.keyed {
            config = config.keyed();
        }
        if self.own_ids {
            config = config.ids(Ids::Own);
        }
        config.overflow(if self.skip { Overflow::Skip } else { Overflow::Disconnect })
    }

    pub(crate) fn is_kept(self) -> bool {
        self.keyed || self.own_ids || self.history.is_some()
    }
}

/// The key of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    None,
    Set(u8),
    Remove(u8),
}

/// One event that was published.
#[derive(Debug)]
pub(crate) struct Entry {
    pub(crate) number: u32,
    /// Its place among all published and private events.
    pub(crate) order: u32,
    pub(crate) turn: u64,
    at: Duration,
    key: Key,
    /// The next event of the same key, published while the topic was keyed.
    superseded_by: Option<u32>,
    /// It was published to other topics, too.
    pub(crate) shared: bool,
    /// The server gives it an id if it has none.
    pub(crate) is_dated: bool,
    /// Bytes of all events up to this one: roughly those of their data, and those of their frames, at least
    /// and at most.
    end: u64,
    least: u64,
    most: u64,
}

#[derive(Default)]
pub(crate) struct Topic {
    pub(crate) kind: Kind,
    pub(crate) entries: Vec<Entry>,
    /// The newest event of each key.
    table: BTreeMap<u8, u32>,
    /// Places of each id of the application, and the newest id.
    own_ids: HashMap<String, Vec<u32>>,
    newest_own: Option<u32>,
    /// Nothing before this place is retained: the topic was of another kind.
    reset: u32,
    /// Events before the first place are dropped. Those from the second on are retained, unless they are too
    /// old.
    horizon: (u32, u32),
    /// The last turns in which it closed lagging streams, and in which it let them skip.
    disconnects: u64,
    skips: u64,
    was_keyed: bool,
}

impl Topic {
    pub(crate) fn new(kind: Kind) -> Self {
        let (disconnects, skips) = if kind.skip { (0, ALWAYS) } else { (ALWAYS, 0) };
        Self { kind, disconnects, skips, was_keyed: kind.keyed, ..Self::default() }
    }

    /// Number of published events.
    pub(crate) fn count(&self) -> u32 {
        u32::try_from(self.entries.len()).unwrap()
    }

    pub(crate) fn publish(
        &mut self,
        (number, order): (u32, u32),
        (turn, at): (u64, Duration),
        (key, own_id): (Key, Option<&str>),
        (size, text): (u32, usize),
    ) {
        let place = self.count();
        let is_dated = self.kind.is_kept() && !self.kind.own_ids;
        // `id: ` with eight letters or digits, a hyphen and a number.
        let id = if is_dated { (15, 22) } else { (0, 0) };
        let frame = |text: usize| {
            let digits = format!("{text:x}").len();
            (digits + 2 + text + 2) as u64
        };
        let (end, least, most) = self.entries.last().map_or((0, 0, 0), |it| (it.end, it.least, it.most));
        self.entries.push(Entry {
            number,
            order,
            turn,
            at,
            key,
            superseded_by: None,
            shared: false,
            is_dated,
            end: end + u64::from(size) + FRAME_BYTES,
            least: least + frame(text + id.0),
            most: most + frame(text + id.1),
        });
        if self.kind.keyed {
            let before = match key {
                Key::None => None,
                Key::Set(key) => self.table.insert(key, place),
                Key::Remove(key) => self.table.remove(&key),
            };
            if let Some(before) = before {
                self.entries[before as usize].superseded_by = Some(place);
            }
        }
        if let Some(id) = own_id {
            self.own_ids.entry(id.to_owned()).or_default().push(place);
            self.newest_own = Some(place);
        }
        self.shorten();
    }

    /// Moves the horizon.
    fn shorten(&mut self) {
        let count = self.entries.len();
        let Some((events, bytes, _)) = self.kind.history else {
            self.horizon =
                if self.kind.keyed { (self.reset, self.count()) } else { (self.count(), self.count()) };
            return;
        };
        let total = |measure: fn(&Entry) -> u64| self.entries.last().map_or(0, measure);
        let before = |place: u32, measure: fn(&Entry) -> u64| {
            (place as usize).checked_sub(1).map_or(0, |last| measure(&self.entries[last]))
        };
        let (mut lowest, mut highest) = self.horizon;
        let least: fn(&Entry) -> u64 = |entry| entry.least;
        let most: fn(&Entry) -> u64 = |entry| entry.most;
        while count - lowest as usize > events || total(least) - before(lowest, least) > bytes as u64 {
            lowest += 1;
        }
        while count - highest as usize > events || total(most) - before(highest, most) > bytes as u64 {
            highest += 1;
        }
        // Superseded events do not count, so others may be retained for longer.
        self.horizon = (if self.kind.keyed { self.reset } else { lowest }, highest);
    }

    pub(crate) fn configure(&mut self, kind: Kind, turn: u64, now: Duration) {
        // Events that are too old by now may be dropped already.
        self.horizon.1 = self.horizon(now).1;
        if kind.is_kept() != self.kind.is_kept() || kind.keyed != self.kind.keyed {
            self.reset = self.count();
            self.horizon = (self.reset, self.reset);
            self.table.clear();
            self.own_ids.clear();
            self.newest_own = None;
        }
        self.kind = kind;
        self.was_keyed |= kind.keyed;
        // Its old configuration may have been used in this turn.
        if kind.skip {
            self.disconnects = self.disconnects.min(turn + 1);
            self.skips = ALWAYS;
        } else {
            self.skips = self.skips.min(turn + 1);
            self.disconnects = ALWAYS;
        }
        // While a stream lags, nothing more is dropped before the next publish.
        let lowest = self.horizon.0;
        self.shorten();
        if kind.is_kept() {
            self.horizon.0 = lowest;
        }
    }

    /// Place of the first event that was published after all those up to `order`.
    pub(crate) fn place_behind(&self, order: u32) -> u32 {
        u32::try_from(self.entries.partition_point(|entry| entry.order <= order)).unwrap()
    }

    /// At that time, events before the first place are dropped; those from the second on are retained.
    pub(crate) fn horizon(&self, now: Duration) -> (u32, u32) {
        let (lowest, mut highest) = self.horizon;
        if let Some((_, _, Some(age))) = self.kind.history {
            let is_old = |entry: &Entry| now.saturating_sub(entry.at) + Duration::from_millis(2) >= age;
            highest = highest.max(u32::try_from(self.entries.partition_point(is_old)).unwrap());
        }
        (lowest, highest)
    }

    /// Whether the event at `place` is certainly available to clients that resume.
    pub(crate) fn keeps(&self, place: u32, now: Duration) -> bool {
        place >= self.horizon(now).1 && place >= self.reset
    }

    /// Place of an id of the application, and whether it is certainly known.
    pub(crate) fn find_own(&self, id: &str, now: Duration) -> impl Iterator<Item = (u32, bool)> {
        let places = self.own_ids.get(id).into_iter().flatten().copied();
        // The newest id is known though its event was dropped, as long as the topic exists.
        let places = places.filter(|place| *place >= self.horizon.0 || Some(*place) == self.newest_own);
        // Superseded events are dropped before others, and their ids with them.
        places.map(move |place| (place, self.keeps(place, now) && self.superseded_by(place).is_none()))
    }

    /// Whether events are certainly retained, or may be.
    pub(crate) fn keeps_something(&self, now: Duration) -> (bool, bool) {
        if !self.kind.is_kept() {
            return (false, false);
        }
        let (lowest, highest) = self.horizon(now);
        let has_newest = self.newest_own.is_some();
        (highest < self.count() || !self.table.is_empty(), lowest < self.count() || has_newest)
    }

    /// Bytes that a log may have while no stream lags, after events that are too old since `late` were
    /// dropped. While a stream lags, no event is dropped for its age.
    pub(crate) fn log_bytes_max(&self, now: Duration, late: Duration) -> u64 {
        if !self.kind.is_kept() {
            return 0;
        }
        let from = match self.kind.history {
            None => self.count(),
            Some((_, _, Some(age))) => {
                let is_old = |entry: &Entry| now.saturating_sub(entry.at) > age + late;
                self.horizon.0.max(u32::try_from(self.entries.partition_point(is_old)).unwrap())
            }
            Some(_) => self.horizon.0,
        };
        let bytes = |place: u32| {
            let before = (place as usize).checked_sub(1).map_or(0, |last| self.entries[last].most);
            self.entries[place as usize].most - before
        };
        if !self.kind.keyed {
            return 2 * (from..self.count()).map(bytes).sum::<u64>();
        }
        let history = self.kind.history.map_or(0, |(_, bytes, _)| bytes as u64);
        let current: u64 = self.table.values().map(|place| bytes(*place)).sum();
        2 * (history + current) + (4 << 10)
    }

    // The fate of events.

    /// The newest event of each key.
    pub(crate) fn newest_of_keys(&self) -> Vec<u32> {
        let mut places: Vec<u32> = self.table.values().copied().collect();
        places.sort_unstable();
        places
    }

    /// The next event of the same key, if there is one.
    pub(crate) fn superseded_by(&self, place: u32) -> Option<u32> {
        self.entries[place as usize].superseded_by
    }

    /// Whether it is still the newest of a retained key.
    pub(crate) fn is_current(&self, place: u32) -> bool {
        matches!(self.entries[place as usize].key, Key::Set(key) if self.table.get(&key) == Some(&place))
    }

    pub(crate) fn removes_key(&self, place: u32) -> bool {
        self.kind.keyed && matches!(self.entries[place as usize].key, Key::Remove(_))
    }

    /// Whether streams had to skip, or to be closed for their lag, in `turn` or later.
    pub(crate) fn may_skip(&self, turn: u64) -> bool {
        self.skips >= turn
    }

    pub(crate) fn may_disconnect(&self, turn: u64) -> bool {
        self.disconnects >= turn
    }

    /// Bytes from the event at `place` on, roughly.
    pub(crate) fn bytes_from(&self, place: u32) -> u64 {
        let before = (place as usize).checked_sub(1).map_or(0, |last| self.entries[last].end);
        self.entries.last().map_or(0, |last| last.end) - before
    }
}
