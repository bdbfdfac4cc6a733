//! What a topic keeps for those who come back, or come late.

use super::block::Meta;
use super::frame::EncodedEvent;
use super::log::{Log, Place};
use super::position::Position;
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

    /// Keeps events for so long at most. A topic of which nothing is left, and that nobody reads, is gone.
    #[must_use]
    pub const fn age(mut self, max: Duration) -> Self {
        self.age = Some(max);
        self
    }

    pub(crate) fn age_max(&self) -> Option<Duration> {
        self.age
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
}

impl TopicConfig {
    /// Keeps a history, and gives every event an id that has none of its own: `<unix milliseconds>-<n>`, strictly increasing
    /// also when the clock steps back.
    #[must_use]
    pub const fn history(mut self, history: History) -> Self {
        self.history = Some(history);
        self
    }

    /// What happens to streams that read too slowly.
    #[must_use]
    pub const fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }
}

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
    ids: HashMap<u64, u64>,
}

impl Kept {
    pub(crate) fn new(limits: History, horizon: u64, complete_from: Position) -> Self {
        Self { limits, horizon, frames: 0, bytes: 0, complete_from, ids: HashMap::new() }
    }

    /// `event` was appended as the frame `sequence`.
    pub(crate) fn appended(&mut self, sequence: u64, event: &EncodedEvent, own_id: bool) {
        self.frames += 1;
        self.bytes += event.bytes().len();
        if own_id && let Some(id) = id_of(event.bytes()).filter(|id| !id.is_empty()) {
            self.ids.insert(hash(id), sequence);
        }
    }

    /// Gives up the oldest events as far as the limits want it.
    pub(crate) fn shorten(&mut self, log: &Log, tick: u32) {
        while let Some((meta, sequence, bytes)) = self.oldest(log) {
            let too_old = |age: Duration| u128::from(tick.wrapping_sub(meta.tick)) >= age.as_millis();
            let excess = self.frames > self.limits.events || self.bytes > self.limits.bytes;
            if !excess && !self.limits.age.is_some_and(too_old) {
                return;
            }
            if !self.ids.is_empty()
                && let Some(id) = id_of(bytes).map(hash)
                && self.ids.get(&id) == Some(&sequence)
            {
                self.ids.remove(&id);
            }
            self.frames -= 1;
            self.bytes -= bytes.len();
            self.horizon = sequence;
            self.complete_from = meta.position;
        }
    }

    fn oldest<'a>(&self, log: &'a Log) -> Option<(Meta, u64, &'a [u8])> {
        let Place::Before { block, frame } = log.place(self.horizon) else { return None };
        let (found, bytes) = log.frame(block, frame)?;
        Some((log.meta(block, frame)?, found.sequence, bytes))
    }

    pub(crate) fn horizon(&self) -> u64 {
        self.horizon
    }

    /// The first frame that is kept and stands behind `position`.
    pub(crate) fn first_after(&self, log: &Log, position: Position) -> Option<u64> {
        let Place::Before { block, frame } = log.place(log.newest_at(position).max(self.horizon)) else {
            return None;
        };
        log.frame(block, frame).map(|(frame, _)| frame.sequence)
    }

    /// Where the newest event stands that has this id of the application's.
    pub(crate) fn position_of(&self, log: &Log, id: &str) -> Option<Position> {
        let sequence = *self.ids.get(&hash(id))?;
        let Place::Before { block, frame } = log.place(sequence - 1) else { return None };
        let (_, bytes) = log.frame(block, frame).filter(|(frame, _)| frame.sequence == sequence)?;
        (id_of(bytes) == Some(id)).then(|| log.meta(block, frame).map(|meta| meta.position))?
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
