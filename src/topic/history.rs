//! What a topic keeps for those who come back, or come late.

use crate::error::ConfigError;
use crate::topic::block::{Meta, Spares};
use crate::topic::frame::{EncodedEvent, Role};
use crate::topic::log::Log;
use crate::topic::position::Position;
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::time::Duration;

/// How much a topic keeps for streams that resume: as many of its newest events as all three limits allow.
///
/// ```
/// use mio_sse::{History, TopicConfig};
/// use std::time::Duration;
///
/// let chat = TopicConfig::default().history(History::new().events(100).age(Duration::from_secs(3600)));
/// ```
///
/// Cost: the bytes of the events and 32 more for each, once for all streams; some 200 bytes for the topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct History {
    events: usize,
    bytes: usize,
    age: Option<Duration>,
}

impl Default for History {
    fn default() -> Self {
        Self::new()
    }
}

impl History {
    /// Keeps up to 1 MiB, of any number and any age.
    #[must_use]
    pub const fn new() -> Self {
        Self { events: usize::MAX, bytes: 1 << 20, age: None }
    }

    /// Keeps so many events at most.
    #[must_use]
    pub const fn events(mut self, max: usize) -> Self {
        self.events = max;
        self
    }

    /// Keeps so many bytes at most, as they are sent.
    #[must_use]
    pub const fn bytes(mut self, max: usize) -> Self {
        self.bytes = max;
        self
    }

    /// Keeps events for so long at most, from 1 ms to 40 days. A topic of which nothing is left, and that nobody reads, is gone.
    #[must_use]
    pub const fn age(mut self, max: Duration) -> Self {
        self.age = Some(max);
        self
    }

    pub(crate) fn age_max(&self) -> Option<Duration> {
        self.age
    }

    fn check(&self) -> Result<(), ConfigError> {
        const AGE_MAX: Duration = Duration::from_secs(40 * 24 * 60 * 60);
        let ages = Duration::from_millis(1)..=AGE_MAX;
        match self.age {
            Some(age) if !ages.contains(&age) => {
                Err(ConfigError::new("topic.history.age", "must be from 1 ms to 40 days"))
            }
            _ => Ok(()),
        }
    }
}

/// What becomes of a stream that reads so slowly that a topic's log no longer holds what it should get next.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// It is closed, with [`CloseReason::Lagged`](crate::CloseReason::Lagged). A client that resumes with Last-Event-ID then
    /// gets what the history still has.
    #[default]
    Disconnect,
    /// It goes on with the oldest event there is, and is told how many it has missed: a
    /// [gap event](crate::Config::gap_event).
    Skip,
}

/// How a topic behaves: see [`Config::topic`](crate::Config::topic) for all topics and
/// [`Context::configure`](crate::Context::configure) for one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct TopicConfig {
    pub(crate) history: Option<History>,
    pub(crate) overflow: Overflow,
    pub(crate) keyed: bool,
}

impl TopicConfig {
    /// Keeps a history, and gives every event an id that has none of its own: `<unix milliseconds>-<n>`, strictly increasing
    /// also when the clock steps back.
    #[must_use]
    pub const fn history(mut self, history: History) -> Self {
        self.history = Some(history);
        self
    }

    /// Lets an event [with a key](crate::Event::key) supersede the one before it with the same key. A stream that is behind gets
    /// the newest of each key only, in order; the topic keeps the newest of each, besides its history, for
    /// [snapshots](crate::StreamReply::snapshot) and for those who come back. Streams that are not behind get every event.
    ///
    /// That a key was [removed](crate::Event::removes_key) is kept as long as the history keeps it, and not at all without one. A client that was away
    /// meanwhile is told of a gap, and then gets all there is: on a [gap event](crate::Config::gap_event) a page empties its table.
    ///
    /// Cost: the newest event of each key, and some 100 bytes besides, as long as there is the key.
    #[must_use]
    pub const fn keyed(mut self) -> Self {
        self.keyed = true;
        self
    }

    /// Whether it makes sense.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        self.history.map_or(Ok(()), |history| history.check())
    }

    /// What is kept of such a topic, if anything.
    pub(crate) fn kept(&self) -> Option<History> {
        // Without a history it is the newest of each key, and nothing more.
        self.history.or(self.keyed.then_some(History { events: 0, bytes: 0, age: None }))
    }

    /// What happens to streams that read too slowly.
    #[must_use]
    pub const fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }
}

/// The frame of each. Boxed where it is used: there may be a million topics that have none.
type Places<K> = HashMap<K, u64>;

/// The part of a log that is kept for newcomers.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) limits: History,
    /// The newest frame that is kept no more. The log may hold it still, for those who lag.
    horizon: u64,
    /// The frames behind the horizon, and their bytes.
    frames: usize,
    bytes: usize,
    /// Everything behind this position is kept.
    pub(crate) complete_from: Position,
    /// Where events stand that have ids of the application's: the newest for each hash of an id.
    ids: Option<Box<Places<u64>>>,
    own_ids: bool,
    /// The newest frame of each key, in a keyed topic.
    keys: Option<Box<Places<Box<str>>>>,
    /// What stands up to here in the log was there before, and is nobody's who comes now.
    begun: u64,
    /// Up to here, what has no key and is not kept is nobody's any more.
    retired: u64,
}

/// A log is copied when that gives back so many bytes at least, and half of it.
const GAIN_MIN: usize = 4 << 10;

impl Kept {
    pub(crate) fn new(limits: History, keyed: bool, horizon: u64, complete_from: Position) -> Self {
        let keys = keyed.then(Box::default);
        Self {
            limits,
            horizon,
            frames: 0,
            bytes: 0,
            complete_from,
            ids: None,
            own_ids: false,
            keys,
            begun: horizon,
            // What was there before has no key that is known here.
            retired: 0,
        }
    }

    /// `event` was appended as the frame `sequence`.
    pub(crate) fn appended(&mut self, sequence: u64, event: &EncodedEvent, own_id: bool) {
        self.frames += 1;
        self.bytes += event.bytes().len();
        self.own_ids |= own_id;
        if own_id && let Some(id) = id_of(event.bytes()).filter(|id| !id.is_empty()) {
            self.ids.get_or_insert_default().insert(hash(id), sequence);
        }
    }

    /// Whether there ever was an id of the application's.
    pub(crate) fn has_own_ids(&self) -> bool {
        self.own_ids
    }

    /// Whether the newest of each key is kept.
    pub(crate) fn is_keyed(&self) -> bool {
        self.keys.is_some()
    }

    /// `event` was appended as the frame `sequence`: if it has a key, that has a new newest frame.
    pub(crate) fn supersede(&mut self, log: &mut Log, sequence: u64, event: &EncodedEvent) {
        let (Some(keys), Some((key, end))) = (&mut self.keys, event.key_and_end()) else { return };
        let superseded = if end {
            keys.remove(key)
        } else if let Some(newest) = keys.get_mut(key) {
            Some(std::mem::replace(newest, sequence))
        } else {
            keys.insert(key.into(), sequence)
        };
        if !end {
            log.set_role(sequence, Role::Current);
        }
        if let Some(superseded) = superseded
            && let Some(bytes) = log.set_role(superseded, Role::Superseded)
            && superseded > self.horizon
        {
            // Nobody who comes back gets it, and it may be given up before its turn has come.
            self.frames -= 1;
            self.bytes -= bytes;
        }
    }

    /// Whether most of the log of a keyed topic is superseded.
    pub(crate) fn is_worth_compacting(log: &Log) -> bool {
        log.superseded() >= GAIN_MIN && log.superseded() > log.bytes() / 2
    }

    /// Nobody lags: gives up what a keyed topic keeps no longer, and its memory, when that is most of it.
    pub(crate) fn compact_keys(&mut self, log: &mut Log, spares: &mut Spares) {
        while let Some(place) = log.place(self.retired.max(log.floor()))
            && let (&frame, _) = log.frame(place)
            && frame.sequence <= self.horizon
        {
            self.retired = frame.sequence;
            if frame.role == Role::Plain {
                log.gone = log.meta(place).map_or(log.gone, |meta| meta.position.max(log.gone));
                log.set_role(self.retired, Role::Superseded);
            }
        }
        if log.superseded() == log.bytes() {
            log.clear(spares);
            self.ids = None;
        } else if Self::is_worth_compacting(log) {
            self.retain(log, 0, u64::MAX, spares);
        }
    }

    /// Makes the log of a keyed topic forget what is superseded up to the frame `can`, and everything without
    /// a key up to the frame `until`.
    pub(crate) fn retain(&mut self, log: &mut Log, until: u64, can: u64, spares: &mut Spares) {
        log.retain_keys(until, can, spares);
        if let Some(ids) = &mut self.ids {
            ids.retain(|_, sequence| log.holds(*sequence));
        }
    }

    /// Gives up the oldest events as far as the limits want it.
    pub(crate) fn shorten(&mut self, log: &Log, tick: u64) {
        while let Some((meta, sequence, role, bytes)) = self.oldest(log) {
            let too_old = |age: Duration| u128::from(tick.saturating_sub(meta.tick)) >= age.as_millis();
            let excess = self.frames > self.limits.events || self.bytes > self.limits.bytes;
            if !excess && !self.limits.age.is_some_and(too_old) {
                return;
            }
            // The newest of its key is kept, and can be found, as long as it is that.
            if role != Role::Current {
                forget_id(&mut self.ids, sequence, bytes);
            }
            if role != Role::Superseded {
                self.frames -= 1;
                self.bytes -= bytes.len();
            }
            self.horizon = sequence;
            if role == Role::Plain {
                // All others have a newer one of the same key, which is kept.
                self.complete_from = meta.position;
            }
        }
    }

    fn oldest<'a>(&self, log: &'a Log) -> Option<(Meta, u64, Role, &'a [u8])> {
        let place = log.place(self.horizon)?;
        let (found, bytes) = log.frame(place);
        Some((log.meta(place)?, found.sequence, found.role, bytes))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn horizon(&self) -> u64 {
        self.horizon
    }

    /// Whether something behind `position` is lost for a stream that has subscribed behind the frame
    /// `subscribed`: since then the log keeps everything for it.
    pub(crate) fn is_lost_after(&self, log: &Log, position: Position, subscribed: u64) -> bool {
        self.complete_from > position && log.position_at(subscribed) > position
    }

    /// The first frame that is kept and stands behind `position`.
    pub(crate) fn first_after(&self, log: &Log, position: Position) -> Option<u64> {
        // The newest of a key is kept on either side of the horizon.
        let horizon = if self.is_keyed() { self.begun } else { self.horizon };
        log.next_current(log.newest_at(position).max(horizon)).map(|run| run.first().sequence)
    }

    /// Where the newest event stands that has this id of the application's.
    pub(crate) fn position_of(&self, log: &Log, id: &str) -> Option<Position> {
        let sequence = *self.ids.as_ref()?.get(&hash(id))?;
        let place = log.place(sequence - 1)?;
        let (frame, bytes) = log.frame(place);
        let found = frame.sequence == sequence && id_of(bytes) == Some(id);
        log.meta(place).filter(|_| found).map(|meta| meta.position)
    }
}

/// The frame `sequence`, of these bytes, is not to be found any more.
fn forget_id(ids: &mut Option<Box<Places<u64>>>, sequence: u64, bytes: &[u8]) {
    if let Some(ids) = ids
        && let Some(id) = id_of(bytes).map(hash)
        && ids.get(&id) == Some(&sequence)
    {
        ids.remove(&id);
    }
}

fn hash(id: &str) -> u64 {
    let mut hasher = DefaultHasher::new();
    id.hash(&mut hasher);
    hasher.finish()
}

/// The id in the bytes of a frame.
fn id_of(bytes: &[u8]) -> Option<&str> {
    let id = bytes.split(|byte| *byte == b'\n').find_map(|line| line.strip_prefix(b"id: "))?;
    str::from_utf8(id).ok()
}
