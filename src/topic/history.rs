//! Histories: the events that a topic retains for clients that reconnect or come late.
//!
//! [`Kept`] exists only for topics with a history, keys, or ids of the application. It moves a *horizon*
//! through the log: frames after the horizon are for new clients. The log drops a frame only if it is before
//! the horizon, and no stream lags on it or it is more than `lag_bytes_max` before the horizon. So a stream
//! that begins with the oldest event has as much time as others. `complete_from` is the newest frame that is
//! gone: a client that has seen less has a gap.
//! In a keyed topic each frame has a `Role`. Streams that conflate skip superseded frames. If a quarter of a
//! block is superseded, these frames are dropped and the rest is copied together (`Log::drop_superseded`).
//! That moves no stream, because cursors are numbers.
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

/// How many events a topic retains for streams that resume: the newest ones that all three limits allow.
///
/// ```
/// use mio_sse::{History, TopicConfig};
/// use std::time::Duration;
///
/// let chat = TopicConfig::default().history(History::new().events(100).age(Duration::from_secs(3600)));
/// ```
/// # Cost
/// Currently the bytes of the events and 24 more for each, or some 50 with ids of the application, once for
/// all streams. The topic takes some 200 bytes.
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
    /// Up to 1 MiB of events, without a limit on their number and age.
    #[must_use]
    pub const fn new() -> Self {
        Self { events: usize::MAX, bytes: 1 << 20, age: None }
    }

    /// Sets the largest number of events. The limit of [`bytes`](Self::bytes), 1 MiB by default, holds too.
    #[must_use]
    pub const fn events(mut self, max: usize) -> Self {
        self.events = max;
        self
    }

    /// Sets the largest number of bytes, as they are sent. Default 1 MiB.
    #[must_use]
    pub const fn bytes(mut self, max: usize) -> Self {
        self.bytes = max;
        self
    }

    /// Sets how long events are retained, from 1 ms to 40 days. A topic that has no events left and no
    /// subscribers is removed.
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

/// What happens to a stream that reads so slowly that a topic's log no longer holds its next event. The guide
/// [Slow clients](crate::guide::slow_clients) helps to choose.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Overflow {
    /// The stream is closed, with [`CloseReason::Lagged`](crate::CloseReason::Lagged). A client that resumes
    /// with Last-Event-ID then gets what the history still has.
    #[default]
    Disconnect,
    /// The stream continues with the oldest event in the log. A [gap event](crate::Config::gap_event) says
    /// how many it has missed.
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
    /// Keeps a history, for clients that reconnect. The server gives every event an id, unless
    /// [`ids`](Self::ids) says otherwise.
    #[must_use]
    pub const fn history(mut self, history: History) -> Self {
        self.history = Some(history);
        self
    }

    /// Lets an event [with a key](crate::Event::key) supersede the one before it with the same key. A stream
    /// that is behind gets only the newest event of each key, in order. Besides its history the topic retains
    /// the newest event of each key, for [snapshots](crate::StreamReply::snapshot) and for clients that
    /// reconnect. Streams that are not behind get every event.
    ///
    /// The [removal](crate::Event::removes_key) of a key is retained like any event of the history, and
    /// without a history not at all. A client that was away in the meantime receives a gap, and then all
    /// current events. On a [gap event](crate::Config::gap_event) a page should empty its table.
    ///
    /// # Cost
    /// Currently the newest event of each key, and some 100 bytes more for each key.
    #[must_use]
    pub const fn keyed(mut self) -> Self {
        self.keyed = true;
        self
    }

    /// Delivers events at most once in this time, from 1 ms to 10 s. The first event is delivered at once;
    /// events that follow sooner are delivered together, in order, when the time is over. From a
    /// [keyed](Self::keyed) topic streams then get only the newest event of each key. For values that change
    /// more often than users look: a delivery costs the same for one event and for twenty.
    ///
    /// ```
    /// use mio_sse::TopicConfig;
    /// use std::time::Duration;
    ///
    /// let prices = TopicConfig::default().keyed().pace(Duration::from_millis(250));
    /// ```
    ///
    /// If streams need different paces, publish the same events to two topics with
    /// [`publish_all`](crate::Context::publish_all), each with its own pace. 1 MiB of waiting events is
    /// delivered at once. A stream that is closed, or to which something is sent alone, gets the waiting
    /// events before that. Its heartbeats wait with them.
    ///
    /// # Cost
    /// Currently some 250 bytes for the topic.
    #[must_use]
    pub const fn pace(mut self, interval: Duration) -> Self {
        self.pace = Some(interval);
        self
    }

    /// The shortest time between two waves, in milliseconds; 0 if there is no pace.
    pub(crate) fn pace_ms(&self) -> u64 {
        let pace = self.pace.map_or(0, |pace| pace.as_millis());
        u64::try_from(pace).unwrap_or(u64::MAX)
    }

    /// Never compresses this topic, whatever `Config::gzip` says. A stream that begins with this topic is not
    /// compressed at all. In a compressed stream that subscribes later, the events of this topic are stored
    /// uncompressed.
    ///
    /// For topics with secrets beside text that others choose. Repeated text compresses better, so the length
    /// of the encrypted bytes reveals whether a guess is right (the BREACH attack).
    #[must_use]
    pub const fn uncompressed(mut self) -> Self {
        self.uncompressed = true;
        self
    }

    pub(crate) fn compresses(&self) -> bool {
        !self.uncompressed
    }

    /// Sets who makes the ids of the events. By default, [`Ids::Generated`], a topic has ids only if it
    /// retains events. With the other two it always has ids, and [`Handler::missed`](crate::Handler::missed)
    /// is called if the history does not know an id.
    ///
    /// All topics with ids that one stream reads must have the same kind of ids: one id could not say how far
    /// the stream has come in the others. A reply that mixes them gets 400;
    /// [`Context::subscribe`](crate::Context::subscribe) and [`configure`](crate::Context::configure) return
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

    /// Checks the values.
    pub(crate) fn check(&self) -> Result<(), ConfigError> {
        const PACES: RangeInclusive<Duration> = Duration::from_millis(1)..=Duration::from_secs(10);
        if self.pace.is_some_and(|pace| !PACES.contains(&pace)) {
            return Err(ConfigError::new("topic.pace", "must be from 1 ms to 10 s"));
        }
        self.history.map_or(Ok(()), |history| history.check())
    }

    /// The history of such a topic, if it retains anything.
    pub(crate) fn kept(&self) -> Option<History> {
        // Without a history the topic retains the newest event of each key, and the newest id.
        let has_ids = self.keyed || self.ids != Ids::Generated;
        self.history.or(has_ids.then_some(History { events: 0, bytes: 0, age: None }))
    }

    /// Who makes the ids of the events, if they have any.
    pub(crate) fn kind_of_ids(&self) -> Option<Ids> {
        self.kept().map(|_| self.ids)
    }

    /// Sets what happens to streams that read too slowly.
    #[must_use]
    pub const fn overflow(mut self, overflow: Overflow) -> Self {
        self.overflow = overflow;
        self
    }
}

/// A point in a log after which nothing is missing: a frame, and, if ids are positions, the position of the
/// newest event up to there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Default)]
pub(crate) struct Mark {
    pub(crate) sequence: u64,
    pub(crate) position: Position,
}

/// The newest frame of each key.
///
/// A tree, because a growing hash table moves all entries at once while streams wait.
type Keys = BTreeMap<Box<str>, u64>;

/// The part of a log that is retained for new clients.
#[derive(Debug)]
pub(crate) struct Kept {
    pub(crate) limits: History,
    /// The newest frame that is no longer retained. The log may still hold it for streams that lag.
    horizon: u64,
    /// The number of frames after the horizon, and their bytes.
    frames: usize,
    bytes: usize,
    /// Everything after this mark is retained.
    pub(crate) complete_from: Mark,
    pub(crate) ids: Ids,
    /// The frames of events with ids of the application.
    own_ids: Option<Box<OwnIds>>,
    /// The newest frame of each key, if the topic is keyed.
    keys: Option<Box<Keys>>,
    /// The bytes of all keys, and the memory of keys and ids in the account.
    key_bytes: usize,
    charge: Charge,
    /// Frames up to this one were published before the topic was keyed or retained events. New clients do not
    /// get them.
    begun: u64,
    /// Frames without a key up to this one that are not retained count as superseded.
    retired: u64,
}

/// A log is copied if that frees at least this many bytes, and half of the log.
const GAIN_MIN: usize = 4 << 10;

/// The most frames that a history drops after an event was published or the last stream caught up, and when
/// the topic is looked at in turn. If that was not all, the topic is looked at again in the next turn.
pub(crate) const FRAMES_PER_EVENT: usize = 1024;
pub(crate) const FRAMES_PER_LOOK: usize = 4096;

/// The most bytes of a log that are copied at once to drop others.
const COPY_MAX: usize = 4 << 20;

/// What a key takes besides its text: its entry in the tree, and the allocator's overhead.
const KEY_BYTES: usize = 56;

/// How many events without an id are passed in the search for an earlier one with an id.
const LOOKED_AT_MAX: usize = 16;

impl Kept {
    /// An empty history for a topic with this configuration.
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
            // Earlier frames have no known key.
            retired: 0,
        }
    }

    /// Notes that `event` was appended as the frame `sequence`.
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

    /// Updates the account with the memory of keys and ids.
    fn measure(&mut self) {
        if self.keys.is_some() || self.own_ids.is_some() {
            let ids = self.own_ids.as_ref().map_or(0, |ids| ids.held());
            let keys = self.keys.as_ref().map_or(0, |keys| keys.len() * KEY_BYTES);
            self.charge.set(size_of::<Self>() + ids + keys + self.key_bytes);
        }
    }

    /// The newest id of the application, and its frame.
    pub(crate) fn newest_own_id(&self) -> Option<(&str, u64)> {
        self.own_ids.as_ref()?.newest()
    }

    /// The newest id of the application at or before the frame `until`, and its frame. Only a few frames are
    /// searched.
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

    /// The position of the newest frame at or before `until`; the lowest position if it is no longer known.
    pub(crate) fn position_until(&self, log: &Log, until: u64) -> Position {
        let found = log.bytes_of(log.newest_until(until)).and_then(position_of);
        let complete = Some(self.complete_from).filter(|mark| mark.sequence <= until);
        found.or(complete.map(|mark| mark.position)).unwrap_or_default()
    }

    /// Whether the topic is keyed.
    pub(crate) fn is_keyed(&self) -> bool {
        self.keys.is_some()
    }

    /// Notes that `event` was appended as the frame `sequence`: if it has a key, the frame is the newest of
    /// that.
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
            // No client that reconnects gets it, so it does not count, and may be dropped before its turn.
            self.frames -= 1;
            self.bytes -= bytes;
        }
    }

    /// Whether most of the log of a keyed topic is superseded.
    pub(crate) fn is_worth_compacting(log: &Log) -> bool {
        log.superseded() >= GAIN_MIN && log.superseded() > log.bytes() / 2
    }

    /// Drops what a keyed topic no longer retains, and its memory, if that is most of the log. Called when no
    /// stream lags. Returns whether there is more to drop than was done at once.
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

    /// Marks frames without a key up to the frame `until` as superseded.
    fn retire(&mut self, log: &mut Log, until: u64) {
        log.supersede_plain(self.retired, until);
        self.retired = self.retired.max(until);
    }

    /// Drops from a keyed log superseded frames up to the frame `can`, and frames without a key up to the
    /// frame `until`. Returns whether there is more to drop.
    pub(crate) fn retain(&mut self, log: &mut Log, until: u64, can: u64, spares: &mut Spares) -> bool {
        self.retire(log, until);
        let mut ids = self.own_ids.as_deref_mut();
        log.drop_superseded(can, COPY_MAX, spares, |sequence, bytes| {
            if let (Some(ids), Some(id)) = (&mut ids, id_of(bytes)) {
                ids.forget(id, sequence);
            }
        })
    }

    /// Drops the oldest events that exceed the limits, at most `frames_max` frames. Returns whether nothing
    /// in excess is left.
    pub(crate) fn shorten(&mut self, log: &Log, tick: u64, frames_max: usize) -> bool {
        for _ in 0..frames_max {
            let Some((published, sequence, role, bytes)) = self.oldest(log) else { return true };
            let too_old = |age: Duration| u128::from(tick.saturating_sub(published)) >= age.as_millis();
            let excess = self.frames > self.limits.events || self.bytes > self.limits.bytes;
            if !excess && !self.limits.age.is_some_and(too_old) {
                return true;
            }
            // The newest of its key is retained, and keeps its id.
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
                // All others have a newer event of the same key, which is retained.
                let position = (self.ids == Ids::Ordered).then(|| position_of(bytes)).flatten();
                self.complete_from = Mark { sequence, position: position.unwrap_or_default() };
            }
        }
        false
    }

    /// Drops the older half of the history, before its time. Returns the number of bytes.
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

    /// Whether events after the frame `after` are lost for a stream that subscribed after the frame
    /// `subscribed`. Since then the log keeps everything for it.
    pub(crate) fn is_lost_after(&self, log: &Log, after: u64, subscribed: u64) -> bool {
        self.complete_from.sequence > after && log.newest_until(subscribed) > after
    }

    /// The first retained frame after `after`.
    pub(crate) fn first_after(&self, log: &Log, after: u64) -> Option<u64> {
        // The newest frame of a key is retained on either side of the horizon.
        let horizon = if self.is_keyed() { self.begun } else { self.horizon };
        log.next_current(after.max(horizon)).map(|run| run.first().sequence)
    }

    /// The oldest frame with this id of the application: an event twice is better than none.
    pub(crate) fn find_own(&self, log: &Log, id: &str) -> Option<u64> {
        self.own_ids.as_ref()?.find(id, |sequence| log.bytes_of(sequence).and_then(id_of) == Some(id))
    }

    /// The newest known frame at or before `position`.
    pub(crate) fn newest_at(&self, log: &Log, position: Position) -> u64 {
        let complete = Some(self.complete_from).filter(|mark| mark.position <= position);
        let kept = log.newest_at(position).unwrap_or_default();
        complete.map_or(kept, |mark| mark.sequence.max(kept))
    }
}
