//! What a topic keeps for those who come back, or come late.
//!
//! [`Kept`] exists only for topics with a history, keys, or ids of somebody else's. It moves a *horizon*
//! through the log: frames after the horizon are for new clients. The log forgets a frame only if it is
//! before the horizon, and no stream lags on it or it is more than `lag_bytes_max` before the horizon. So a
//! stream that begins with the oldest event has as much time as others. `complete_from` is the newest frame
//! that is gone: a client that saw less has a gap.
//!
//! In a keyed topic each frame has a `Role`. Streams that conflate skip superseded frames. A block of which a
//! quarter is superseded gives those up, and what is left is copied together (`Log::drop_superseded`).
//! Cursors are numbers, so that moves no stream.

use crate::account::{Account, Charge, Purpose};
use crate::error::ConfigError;
use crate::topic::block::Spares;
use crate::topic::frame::{EncodedEvent, Role};
use crate::topic::ids::{Ids, OwnIds, id_of};
use crate::topic::log::{Log, position_of};
use crate::topic::position::Position;
use std::collections::BTreeMap;
use std::ops::RangeInclusive;
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
/// Cost: the bytes of the events and 24 more for each, with ids of the application some 50, once for all
/// streams; some 200 bytes for the topic.
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

    /// Keeps events for so long at most, from 1 ms to 40 days. A topic of which nothing is left, and that
    /// nobody reads, is gone.
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
/// The guide [Slow clients](crate::guide::slow_clients) helps to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// It is closed, with [`CloseReason::Lagged`](crate::CloseReason::Lagged). A client that resumes with
    /// Last-Event-ID then gets what the history still has.
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
    pub(crate) ids: Ids,
    uncompressed: bool,
    pace: Option<Duration>,
}

impl TopicConfig {
    /// Keeps a history, for clients that come back. Unless somebody [else](Self::ids) makes the ids, the
    /// server gives every event one.
    #[must_use]
    pub const fn history(mut self, history: History) -> Self {
        self.history = Some(history);
        self
    }

    /// Lets an event [with a key](crate::Event::key) supersede the one before it with the same key. A stream
    /// that is behind gets the newest of each key only, in order; the topic keeps the newest of each, besides
    /// its history, for [snapshots](crate::StreamReply::snapshot) and for those who come back. Streams that
    /// are not behind get every event.
    ///
    /// That a key was [removed](crate::Event::removes_key) is kept as long as the history keeps it, and not
    /// at all without one. A client that was away meanwhile is told of a gap, and then gets all there is: on
    /// a [gap event](crate::Config::gap_event) a page empties its table.
    ///
    /// Cost: the newest event of each key, and some 100 bytes besides, as long as there is the key.
    #[must_use]
    pub const fn keyed(mut self) -> Self {
        self.keyed = true;
        self
    }

    /// Has streams get what is published to it at most once in this time, from 1 ms to 10 s: the first event
    /// at once, and those that follow sooner together, in order, when the time is over. Of a
    /// [keyed](Self::keyed) topic they get the newest of each key then. For what changes more often than
    /// anybody looks: a delivery costs the same for one event and for twenty.
    ///
    /// ```
    /// use mio_sse::TopicConfig;
    /// use std::time::Duration;
    ///
    /// let prices = TopicConfig::default().keyed().pace(Duration::from_millis(250));
    /// ```
    ///
    /// Where some streams may look less often than others, publish the same to two topics with
    /// [`publish_all`](crate::Context::publish_all), each with its pace. When 1 MiB waits, it waits no
    /// longer. A stream that is closed, or to which something is sent alone, gets what waits before that; its
    /// heartbeats wait with it.
    ///
    /// # Cost
    /// Some 250 bytes for the topic.
    #[must_use]
    pub const fn pace(mut self, interval: Duration) -> Self {
        self.pace = Some(interval);
        self
    }

    /// The least time between two waves, in milliseconds; none is 0.
    pub(crate) fn pace_ms(&self) -> u64 {
        let pace = self.pace.map_or(0, |pace| pace.as_millis());
        u64::try_from(pace).unwrap_or(u64::MAX)
    }

    /// Never has it compressed, whatever `Config::gzip` says: a stream that begins with such a topic is not
    /// compressed at all, and to one that subscribes to it later its events are sent as they are, within what
    /// is compressed.
    ///
    /// For topics that hold secrets beside text that others choose. What is repeated is compressed to less,
    /// so the length of what is sent tells who can see that whether a guess is right (the BREACH attack).
    #[must_use]
    pub const fn uncompressed(mut self) -> Self {
        self.uncompressed = true;
        self
    }

    pub(crate) fn compresses(&self) -> bool {
        !self.uncompressed
    }

    /// Who makes the ids of the events. Default [`Ids::Generated`], by which a topic has ids where it keeps
    /// something. With the others it has ids in any case, and [`Handler::missed`](crate::Handler::missed) is
    /// asked where the history, if there is one, does not know them.
    ///
    /// All topics with ids that one stream reads have the same kind: an id could not say how far the stream
    /// has come in the others. A reply that mixes them is answered 400,
    /// [`Context::subscribe`](crate::Context::subscribe) and [`configure`](crate::Context::configure) are
    /// [`Error::MixedIds`](crate::Error::MixedIds).
    ///
    /// ```
    /// use mio_sse::{History, Ids, TopicConfig};
    ///
    /// let notes = TopicConfig::default().history(History::new().events(1000)).ids(Ids::Own);
    /// ```
    #[must_use]
    pub const fn ids(mut self, ids: Ids) -> Self {
        self.ids = ids;
        self
    }

    /// Whether it makes sense.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        const PACES: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(10);
        if self.pace.is_some_and(|pace| !PACES.contains(&pace)) {
            return Err(ConfigError::new("topic.pace", "must be from 1 ms to 10 s"));
        }
        self.history.map_or(Ok(()), |history| history.check())
    }

    /// What is kept of such a topic, if anything.
    pub(crate) fn kept(&self) -> Option<History> {
        // Without a history it is the newest of each key, and which id is the newest.
        let has_ids = self.keyed || self.ids != Ids::Generated;
        self.history.or(has_ids.then_some(History { events: 0, bytes: 0, age: None }))
    }

    /// Who makes the ids of its events, if they have any.
    pub(crate) fn kind_of_ids(&self) -> Option<Ids> {
        self.kept().map(|_| self.ids)
    }

    /// What happens to streams that read too slowly.
    #[must_use]
    pub const fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }
}

/// Where something is complete from: a frame, and, where ids are positions, that of the newest event up to
/// there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Mark {
    pub(crate) sequence: u64,
    pub(crate) position: Position,
}

/// The newest frame of each key.
///
/// In a tree: a hash table that grows moves all of them in one go, while streams wait.
type Keys = BTreeMap<Box<str>, u64>;

/// The part of a log that is kept for newcomers.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) limits: History,
    /// The newest frame that is kept no more. The log may hold it still, for those who lag.
    horizon: u64,
    /// The frames behind the horizon, and their bytes.
    frames: usize,
    bytes: usize,
    /// Everything behind this mark is kept.
    pub(crate) complete_from: Mark,
    pub(crate) ids: Ids,
    /// Where events stand that have ids of the application's.
    own_ids: Option<Box<OwnIds>>,
    /// The newest frame of each key, in a keyed topic.
    keys: Option<Box<Keys>>,
    /// The memory of the keys themselves, and of all that frames are found by.
    key_bytes: usize,
    charge: Charge,
    /// What stands up to here in the log was there before, and is nobody's who comes now.
    begun: u64,
    /// Up to here, what has no key and is not kept is nobody's any more.
    retired: u64,
}

/// A log is copied when that gives back so many bytes at least, and half of it.
const GAIN_MIN: usize = 4 << 10;

/// What a history gives up at most when something is published, or nobody lags any more; and when it is its
/// turn to be looked at, which is done again at once where that is not all.
pub(crate) const FRAMES_PER_EVENT: usize = 1024;
pub(crate) const FRAMES_PER_LOOK: usize = 4096;

/// So many bytes of a log are copied at once to give up others.
const COPY_MAX: usize = 4 << 20;

/// What a key takes besides its text: its place in the tree, and what an allocator adds to the text.
const KEY_BYTES: usize = 56;

/// Events without an id that are looked at for one before them.
const LOOKED_AT_MAX: usize = 16;

impl Kept {
    /// What a topic that is configured like this keeps, in addition to nothing.
    pub(crate) fn new(
        config: &TopicConfig,
        limits: History,
        horizon: u64,
        complete_from: Mark,
        account: &Account,
    ) -> Self {
        Self {
            limits,
            horizon,
            frames: 0,
            bytes: 0,
            complete_from,
            ids: config.ids,
            own_ids: None,
            keys: config.keyed.then(Box::default),
            key_bytes: 0,
            charge: account.charge(Purpose::Indexes, size_of::<Self>()),
            begun: horizon,
            // What was there before has no key that is known here.
            retired: 0,
        }
    }

    /// `event` was appended as the frame `sequence`.
    pub(crate) fn appended(&mut self, sequence: u64, event: &EncodedEvent) {
        self.frames += 1;
        self.bytes += event.bytes().len();
        if self.ids == Ids::Own
            && event.has_id()
            && let Some(id) = id_of(event.bytes())
        {
            self.own_ids.get_or_insert_default().add(id, sequence);
        }
        self.measure();
    }

    /// Notes in the account what frames are found by.
    fn measure(&mut self) {
        if self.keys.is_some() || self.own_ids.is_some() {
            let ids = self.own_ids.as_ref().map_or(0, |ids| ids.held());
            let keys = self.keys.as_ref().map_or(0, |keys| keys.len() * KEY_BYTES);
            self.charge.set(size_of::<Self>() + ids + keys + self.key_bytes);
        }
    }

    /// The newest id of the application's, and its frame.
    pub(crate) fn newest_own_id(&self) -> Option<(&str, u64)> {
        self.own_ids.as_ref()?.newest()
    }

    /// The newest id of the application's at the frame `until` or before, and its frame, where that is one of
    /// the few before it.
    pub(crate) fn own_id_until<'a>(&self, log: &'a Log, mut until: u64) -> Option<(&'a str, u64)> {
        for _ in 0..LOOKED_AT_MAX {
            let sequence = log.newest_until(until);
            let bytes = log.bytes_of(sequence)?;
            if let Some(id) = id_of(bytes) {
                return Some((id, sequence));
            }
            until = sequence.checked_sub(1)?;
        }
        None
    }

    /// The position of the newest frame at `until` or before; one before all where that is not known any
    /// more.
    pub(crate) fn position_until(&self, log: &Log, until: u64) -> Position {
        let found = log.bytes_of(log.newest_until(until)).and_then(position_of);
        let complete = Some(self.complete_from).filter(|mark| mark.sequence <= until);
        found.or(complete.map(|mark| mark.position)).unwrap_or_default()
    }

    /// Whether the newest of each key is kept.
    pub(crate) fn is_keyed(&self) -> bool {
        self.keys.is_some()
    }

    /// `event` was appended as the frame `sequence`: if it has a key, that has a new newest frame.
    pub(crate) fn supersede(&mut self, log: &mut Log, sequence: u64, event: &EncodedEvent) {
        let (Some(keys), Some((key, end))) = (&mut self.keys, event.key_and_end()) else { return };
        let superseded = if end {
            let removed = keys.remove(key);
            self.key_bytes -= removed.map_or(0, |_| key.len());
            removed
        } else if let Some(newest) = keys.get_mut(key) {
            Some(std::mem::replace(newest, sequence))
        } else {
            self.key_bytes += key.len();
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
    /// Returns whether there is more of that than is given up at once.
    pub(crate) fn compact_keys(&mut self, log: &mut Log, spares: &mut Spares) -> bool {
        self.retire(log, self.horizon);
        if log.superseded() == log.bytes() {
            log.clear(spares);
            if let Some(ids) = &mut self.own_ids {
                ids.forget_all();
            }
            false
        } else if Self::is_worth_compacting(log) {
            self.retain(log, 0, u64::MAX, spares) && Self::is_worth_compacting(log)
        } else {
            log.fit_newest(spares);
            false
        }
    }

    /// What has no key and is not kept, up to the frame `until`, is nobody's any more.
    fn retire(&mut self, log: &mut Log, until: u64) {
        log.supersede_plain(self.retired, until);
        self.retired = self.retired.max(until);
    }

    /// Makes the log of a keyed topic forget what is superseded up to the frame `can`, and what has no key up
    /// to the frame `until`. Returns whether that was only a part, as it is much.
    pub(crate) fn retain(&mut self, log: &mut Log, until: u64, can: u64, spares: &mut Spares) -> bool {
        self.retire(log, until);
        let mut ids = self.own_ids.as_deref_mut();
        log.drop_superseded(can, COPY_MAX, spares, |sequence, bytes| {
            if let (Some(ids), Some(id)) = (&mut ids, id_of(bytes)) {
                ids.forget(id, sequence);
            }
        })
    }

    /// Gives up the oldest events as far as the limits want it, but no more than so many frames. Answers
    /// whether that was all.
    pub(crate) fn shorten(&mut self, log: &Log, tick: u64, frames_max: usize) -> bool {
        for _ in 0..frames_max {
            let Some((published, sequence, role, bytes)) = self.oldest(log) else { return true };
            let too_old = |age: Duration| u128::from(tick.saturating_sub(published)) >= age.as_millis();
            let excess = self.frames > self.limits.events || self.bytes > self.limits.bytes;
            if !excess && !self.limits.age.is_some_and(too_old) {
                return true;
            }
            // The newest of its key is kept, and can be found, as long as it is that.
            if role != Role::Current
                && let Some(ids) = &mut self.own_ids
                && let Some(id) = id_of(bytes)
            {
                ids.forget(id, sequence);
            }
            if role != Role::Superseded {
                self.frames -= 1;
                self.bytes -= bytes.len();
            }
            self.horizon = sequence;
            if role == Role::Plain {
                // All others have a newer one of the same key, which is kept.
                let position = (self.ids == Ids::Ordered).then(|| position_of(bytes)).flatten();
                self.complete_from = Mark { sequence, position: position.unwrap_or_default() };
            }
        }
        false
    }

    /// Gives up the older half of what is kept, before its time. Returns how many bytes of events that was.
    pub(crate) fn halve(&mut self, log: &Log, tick: u64) -> usize {
        let (limits, before) = (self.limits, self.bytes);
        self.limits.bytes = limits.bytes.min(before / 2);
        self.shorten(log, tick, FRAMES_PER_LOOK);
        self.limits = limits;
        before - self.bytes
    }

    fn oldest<'a>(&self, log: &'a Log) -> Option<(u64, u64, Role, &'a [u8])> {
        let place = log.place(self.horizon)?;
        let (found, bytes) = log.frame(place);
        Some((log.tick(place)?, found.sequence, found.role, bytes))
    }

    pub(crate) fn bytes(&self) -> usize {
        self.bytes
    }

    pub(crate) fn horizon(&self) -> u64 {
        self.horizon
    }

    /// Whether something behind the frame `after` is lost for a stream that has subscribed behind the frame
    /// `subscribed`: since then the log keeps everything for it.
    pub(crate) fn is_lost_after(&self, log: &Log, after: u64, subscribed: u64) -> bool {
        self.complete_from.sequence > after && log.newest_until(subscribed) > after
    }

    /// The first frame that is kept and stands behind `after`.
    pub(crate) fn first_after(&self, log: &Log, after: u64) -> Option<u64> {
        // The newest of a key is kept on either side of the horizon.
        let horizon = if self.is_keyed() { self.begun } else { self.horizon };
        log.next_current(after.max(horizon)).map(|run| run.first().sequence)
    }

    /// Where an event with this id of the application's stands: the oldest, better twice than not at all.
    pub(crate) fn find_own(&self, log: &Log, id: &str) -> Option<u64> {
        self.own_ids.as_ref()?.find(id, |sequence| log.bytes_of(sequence).and_then(id_of) == Some(id))
    }

    /// The newest frame that stands at `position` or before, as far as that is known here.
    pub(crate) fn newest_at(&self, log: &Log, position: Position) -> u64 {
        let complete = Some(self.complete_from).filter(|mark| mark.position <= position);
        let kept = log.newest_at(position).unwrap_or_default();
        complete.map_or(kept, |mark| mark.sequence.max(kept))
    }
}
