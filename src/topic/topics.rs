//! All topics by name, the one sequence, and the queue of topics with events to deliver.
//!
//! `publish` gives an encoded event the next sequence, appends it to the log of the topic, and marks the
//! topic dirty. An event for several topics has one sequence in all of their logs, so a stream that reads two
//! of them gets it once.
//!
//! A topic with a pace gets its turn only when its last wave is long enough ago. Until then it is in `paced`,
//! ordered by time. In a keyed topic, streams then skip superseded frames, as if they were behind.

use crate::account::{Account, Purpose};
use crate::error::Error;
use crate::event::EventError;
use crate::topic::block::Spares;
use crate::topic::busy::{Busy, SpareBusy};
use crate::topic::chain::Chains;
use crate::topic::frame::EncodedEvent;
use crate::topic::history::{FRAMES_PER_EVENT, Kept, Mark, TopicConfig};
use crate::topic::ids::{GeneratedId, Ids, Maker};
use crate::topic::index::Index;
use crate::topic::log::Log;
use crate::topic::numbers::Numbers;
use crate::topic::position::Position;
use crate::topic::sequence::{next_local, next_shared, shared, shared_number, shared_place};
use crate::topic::topic::{Excess, Topic};
use slab::Slab;
use std::collections::{BTreeSet, HashMap, VecDeque};

/// The key of a topic. Valid while the topic has a subscriber or a history, or is dirty.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct TopicKey(u32);

impl TopicKey {
    /// No topic: smaller in a stream's record than an `Option`.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// All topics. A topic is made for its first subscriber, or for the first event that is retained. It is
/// removed when it has neither.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_name: Index<TopicKey>,
    topics: Slab<Topic>,
    /// The configuration of topics that are not in `configured`.
    default: TopicConfig,
    /// The configuration of other topics, and since when they have retained events.
    configured: HashMap<Box<str>, (TopicConfig, Mark)>,
    /// Topics with events that have not been offered to all of their subscribers, in the order of their
    /// turns.
    dirty: VecDeque<TopicKey>,
    /// Topics with events that wait for their pace, by the time of their next wave.
    paced: BTreeSet<(u64, TopicKey)>,
    /// Topics that may have become idle in this turn.
    idle: Vec<TopicKey>,
    /// The sequence of the event that was published last.
    sequence: u64,
    /// The bytes of events that have not been offered to all subscribers yet.
    unoffered: usize,
    clock: Clock,
    /// The maker of the ids that are generated here.
    maker: Maker,
    /// The number of events up to each place, for these ids.
    numbers: Numbers,
    /// The positions of the first and the newest event that was published at one.
    positions: Option<(Position, Position)>,
    /// Removed topics have lost no events after this mark. For topics whose ids are positions it is separate.
    forgotten: Mark,
    forgotten_positions: Mark,
    /// The number of topics whose events expire.
    aging: usize,
    /// Whether one of them has more expired events than were dropped last.
    is_behind: bool,
    /// The topic to search next for expired events.
    next_aging: usize,
    /// The buffer in which an event gets its id.
    encoded: EncodedEvent,
    pub(crate) spares: Spares,
    account: Account,
    spare_busy: SpareBusy,
    /// Topics that have more to free than was done at once. They are few: each has more than 4 MiB.
    unsettled: Vec<TopicKey>,
    /// How many topics there were when memory was freed last; `None` after there were many again.
    shrunk_at: Option<usize>,
}

/// With fewer topics memory is not freed: there is too little of it.
const SHRINK_MIN: usize = 1024;

/// The current time.
#[derive(Debug, Clone, Copy, Default)]
struct Clock {
    /// Milliseconds since the Unix epoch.
    unix_ms: u64,
    /// Milliseconds of the server's clock.
    tick: u64,
}

impl Topics {
    pub(crate) fn new(default: TopicConfig, maker: Maker, account: Account) -> Self {
        Self { default, maker, account, ..Self::default() }
    }

    /// Sets the time of all events that are published from now on.
    pub(crate) fn set_clock(&mut self, unix_ms: u64, tick: u64) {
        self.clock = Clock { unix_ms, tick };
        self.end_rests(tick);
    }

    /// Gives topics their turn whose waves may begin by `tick`.
    pub(crate) fn end_rests(&mut self, tick: u64) {
        while self.paced.first().is_some_and(|(due, _)| *due <= tick)
            && let Some((_, key)) = self.paced.pop_first()
        {
            self.dirty.push_back(key);
        }
    }

    /// When the next paced wave may begin, by the server's clock.
    pub(crate) fn next_paced(&self) -> Option<u64> {
        self.paced.first().map(|(due, _)| *due)
    }

    /// The time of day, in milliseconds since the Unix epoch.
    pub(crate) fn unix_ms(&self) -> u64 {
        self.clock.unix_ms
    }

    /// Sets the configuration of a topic. Returns `false` if `max` topics have one already.
    pub(crate) fn configure(&mut self, name: &str, config: TopicConfig, max: usize) -> bool {
        if self.configured.len() >= max && !self.configured.contains_key(name) {
            return false;
        }
        let (before, since) = self.config_of(name);
        // Events that were published before and not retained are lost.
        let is_same = before.kept().is_some() && before.ids == config.ids;
        let since = if is_same { since } else { self.mark() };
        if config == self.default && config.kept().is_none() {
            self.configured.remove(name);
        } else {
            self.configured.insert(name.into(), (config, since));
        }
        let Some(key) = self.key(name) else { return true };
        let (tick, now) = (self.clock.tick, self.mark());
        let topic = &mut self.topics[key.0 as usize];
        (topic.overflow, topic.compresses) = (config.overflow, config.compresses());
        self.aging -= usize::from(topic.ages());
        let Busy { log, kept, pace, .. } = topic.busy(&mut self.spare_busy);
        *pace = config.pace_ms();
        match (config.kept(), &mut *kept) {
            (None, kept) => {
                *kept = None;
                log.forget_keys();
            }
            (Some(limits), Some(kept)) if kept.is_keyed() == config.keyed && kept.ids == config.ids => {
                kept.limits = limits;
            }
            (Some(limits), kept) => {
                log.date_all(tick, &mut self.spares);
                log.forget_keys();
                let complete_from = if kept.is_some() { now } else { since };
                let new = Kept::new(&config, limits, log.newest(), complete_from, &self.account);
                *kept = Some(Box::new(new));
                log.gone = complete_from.sequence;
            }
        }
        self.aging += usize::from(topic.ages());
        topic.expire(tick);
        self.settle(key);
        self.idle.push(key);
        true
    }

    /// The configuration of a topic, and since when it has retained events.
    fn config_of(&self, name: &str) -> (TopicConfig, Mark) {
        self.configured.get(name).copied().unwrap_or((self.default, Mark::default()))
    }

    /// Who makes the ids of a topic's events, if they have any.
    pub(crate) fn ids_of(&self, name: &str) -> Option<Ids> {
        self.config_of(name).0.kind_of_ids()
    }

    /// The mark after everything that was published so far.
    fn mark(&self) -> Mark {
        Mark { sequence: self.sequence, position: self.newest_position().unwrap_or_default() }
    }

    /// Whether publishing to `name` would make a new topic.
    pub(crate) fn would_add(&self, name: &str) -> bool {
        self.is_new(name) && self.config_of(name).0.kept().is_some()
    }

    /// The sequence of an event for a stream alone, after `after` and everything published so far.
    pub(crate) fn next_local(&mut self, after: u64) -> u64 {
        let sequence = next_local(self.sequence.max(after));
        // If the lower level is used up, the sequence continues after a place at which nothing was published.
        let behind = shared(sequence);
        if behind > self.sequence {
            self.sequence = behind;
            self.numbers.skip(shared_number(behind));
        }
        sequence
    }

    /// The sequence of the event that was published last.
    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Whether an event may be published to a topic, with or without a position.
    pub(crate) fn accepts(
        &self,
        name: &str,
        event: &EncodedEvent,
        position: Option<Position>,
    ) -> Result<(), Error> {
        let ids = match self.find(name) {
            Some(topic) if topic.has_finished() => return Err(Error::Finished),
            Some(topic) => topic.kept().map(|kept| kept.ids),
            None => self.ids_of(name),
        };
        match (ids, position) {
            (Some(Ids::Ordered), None) => Err(Error::NoPosition),
            (Some(Ids::Ordered), Some(at)) if self.newest_position().is_some_and(|newest| at <= newest) => {
                Err(Error::PositionNotIncreasing)
            }
            (Some(Ids::Generated | Ids::Own) | None, Some(_)) => Err(Error::NotOrdered),
            (Some(Ids::Generated | Ids::Ordered), _) if event.has_id() => Err(Error::OwnId),
            (Some(Ids::Own), _) if event.has_empty_id() => Err(EventError::EmptyId.into()),
            _ => Ok(()),
        }
    }

    /// Appends `event` to the logs of these topics, which all [accept](Self::accepts) it. It has one
    /// sequence, so a stream that reads several of them gets it once. A topic without subscribers and history
    /// appends nothing.
    pub(crate) fn publish<'n>(
        &mut self,
        names: impl Iterator<Item = &'n str>,
        event: &EncodedEvent,
        position: Option<Position>,
    ) {
        // An event that no topic appends has a sequence too: a topic that retains events from now on has lost
        // it.
        let before = self.sequence;
        self.sequence = next_shared(before);
        self.note_position(position);
        for name in names {
            let key = match self.key(name) {
                // The topic was named twice.
                Some(key) if self.get(key).log().newest() == self.sequence => continue,
                Some(key) => key,
                None if self.would_add(name) => self.add(name, before),
                None => continue,
            };
            self.append(key, event, position);
        }
    }

    /// Notes that events of an external log up to `position` are lost. Appends `notice`, which has that id,
    /// to all unfinished topics whose ids are positions. Returns the number of subscriptions to these topics.
    pub(crate) fn lose_until(&mut self, position: Position, notice: &EncodedEvent) -> u64 {
        self.forget_at(position);
        self.note_position(Some(position));
        let mut readers = 0;
        for place in 0..self.bound() {
            let Some(key) = self.key_at(place) else { continue };
            let topic = self.get(key);
            if topic.kept().is_some_and(|kept| kept.ids == Ids::Ordered) && !topic.has_finished() {
                readers += topic.subscribers.len() as u64;
                self.append(key, notice, None);
            }
        }
        readers
    }

    /// Notes that topics which do not exist have lost the events of the external log up to `position`.
    fn forget_at(&mut self, position: Position) {
        self.sequence = next_shared(self.sequence);
        // The notice is not an event of this server.
        self.numbers.skip(shared_number(self.sequence));
        self.forgotten_positions = self.forgotten_positions.max(Mark { sequence: self.sequence, position });
    }

    fn append(&mut self, key: TopicKey, event: &EncodedEvent, position: Option<Position>) {
        let number = self.number();
        let topic = &mut self.topics[key.0 as usize];
        let read = !topic.subscribers.is_empty();
        if !read && topic.kept().is_none() {
            return;
        }
        let busy = topic.busy(&mut self.spare_busy);
        let Busy { log, kept, .. } = busy;
        let size = match kept {
            None => {
                log.append(self.sequence, event.bytes(), event.kind(), &mut self.spares);
                event.bytes().len()
            }
            Some(kept) => {
                let event = match position {
                    Some(position) => {
                        self.encoded.encode_with_id(event, position);
                        &self.encoded
                    }
                    None if kept.ids == Ids::Generated => {
                        self.encoded.encode_with_id(event, self.maker.id(number));
                        &self.encoded
                    }
                    None => event,
                };
                let tick = self.clock.tick;
                log.append_dated(self.sequence, event.bytes(), event.kind(), tick, &mut self.spares);
                kept.supersede(log, self.sequence, event);
                kept.appended(self.sequence, event);
                kept.shorten(log, tick, FRAMES_PER_EVENT);
                event.bytes().len()
            }
        };
        if !read {
            log.mark();
            self.settle(key);
            self.idle.push(key);
            return;
        }
        let rested = busy.rests_until(self.clock.tick);
        busy.fresh += size;
        self.unoffered += size;
        let rests = busy.rests_until(self.clock.tick);
        match (rested, rests) {
            (_, Some(due)) if !topic.dirty => _ = self.paced.insert((due, key)),
            // Too many bytes wait.
            (Some(due), None) if topic.dirty && self.paced.remove(&(due, key)) => self.dirty.push_back(key),
            _ if !topic.dirty => self.dirty.push_back(key),
            _ => {}
        }
        topic.dirty = true;
    }

    /// Adds a topic that is new after the frame `horizon`.
    fn add(&mut self, name: &str, horizon: u64) -> TopicKey {
        let (config, since) = self.config_of(name);
        let mut topic = Topic::new(name);
        (topic.overflow, topic.compresses) = (config.overflow, config.compresses());
        if config.pace_ms() > 0 {
            topic.busy(&mut self.spare_busy).pace = config.pace_ms();
        }
        if let Some(limits) = config.kept() {
            // The topic may have existed before, and was removed when it had lost its events.
            let is_ordered = config.ids == Ids::Ordered;
            let forgotten = if is_ordered { self.forgotten_positions } else { self.forgotten };
            let complete_from = since.max(forgotten);
            let busy = topic.busy(&mut self.spare_busy);
            busy.kept = Some(Box::new(Kept::new(&config, limits, horizon, complete_from, &self.account)));
            busy.log.gone = complete_from.sequence;
        }
        self.aging += usize::from(topic.ages());
        let key = TopicKey(u32::try_from(self.topics.insert(topic)).unwrap_or(u32::MAX));
        self.by_name.insert(key, |key| self.topics[key.0 as usize].name.as_bytes());
        key
    }

    /// Subscribes the stream in `slot`, which `pins` its logs or does not. Returns the topic, and the place
    /// of the subscriber.
    pub(crate) fn subscribe(&mut self, name: &str, slot: u32, pins: bool) -> (TopicKey, u32) {
        let key = match self.key(name) {
            Some(key) => key,
            None => self.add(name, self.sequence),
        };
        let topic = self.get_mut(key);
        topic.pins += u32::from(pins);
        (key, topic.subscribe(slot))
    }

    /// Reverts [`subscribe`](Self::subscribe). `moved` is called with each slot that has a new place.
    pub(crate) fn unsubscribe(&mut self, key: TopicKey, place: u32, pins: bool, moved: impl FnMut(u32, u32)) {
        let topic = &mut self.topics[key.0 as usize];
        topic.unsubscribe(place, moved);
        topic.pins -= u32::from(pins);
        let is_left = topic.subscribers.is_empty();
        self.settle(key);
        if is_left {
            self.idle.push(key);
        }
    }

    /// Counts one more subscriber that pins the log, or one less.
    pub(crate) fn pin(&mut self, key: TopicKey, pins: bool) {
        let topic = &mut self.topics[key.0 as usize];
        if pins {
            topic.pins += 1;
        } else {
            topic.pins -= 1;
            self.settle(key);
        }
    }

    /// The topic whose turn it is.
    pub(crate) fn next_dirty(&self) -> Option<TopicKey> {
        self.dirty.front().copied()
    }

    /// Drops these frames from the log of a topic.
    pub(crate) fn forget(&mut self, key: TopicKey, excess: Excess) {
        self.topics[key.0 as usize].forget(excess, &mut self.spares);
    }

    /// The time in milliseconds of the server's clock.
    pub(crate) fn tick(&self) -> u64 {
        self.clock.tick
    }

    /// Begins a wave, if none is in progress. Events are compressed at the level of `chains` for streams that
    /// read the topic compressed.
    pub(crate) fn begin_wave(&mut self, key: TopicKey, chains: Chains) {
        let topic = &mut self.topics[key.0 as usize];
        if let Some(busy) = topic.busy.as_mut().filter(|busy| busy.wave.is_none()) {
            let chains = if topic.compresses { chains } else { Chains::default() };
            busy.begin_chain(chains, &self.account);
            busy.begin_wave(self.clock.tick);
        }
    }

    /// Drops the chain of a topic. Must not be called in the middle of a wave, which some streams have
    /// already from the chain.
    pub(crate) fn drop_chain(&mut self, key: TopicKey) {
        if let Some(busy) = &mut self.topics[key.0 as usize].busy {
            (busy.chain, busy.compressed) = (None, 0);
            self.settle(key);
        }
    }

    /// Ends the turn of the topic at the front: its wave is complete, or continues after the others.
    pub(crate) fn rotate_dirty(&mut self) {
        let Some(key) = self.dirty.pop_front() else { return };
        let topic = &mut self.topics[key.0 as usize];
        if let Some(busy) = &mut topic.busy {
            if busy.wave.is_none_or(|visited| visited >= topic.subscribers.len()) {
                busy.wave = None;
                self.unoffered -= std::mem::take(&mut busy.offered);
            }
            if busy.wave.is_some() || busy.fresh > 0 {
                match busy.rests_until(self.clock.tick).filter(|_| busy.wave.is_none()) {
                    Some(due) => _ = self.paced.insert((due, key)),
                    None => self.dirty.push_back(key),
                }
                return;
            }
        }
        topic.dirty = false;
        let is_left = topic.subscribers.is_empty();
        self.settle(key);
        if is_left {
            self.idle.push(key);
        }
    }

    /// The memory of all logs, including those of single streams, and of the indexes of keys and ids.
    pub(crate) fn held(&self) -> usize {
        self.spares.held + self.account.sum(Purpose::Indexes) + self.account.sum(Purpose::Encoders)
    }

    /// The memory of logs, counted anew. `others` are logs of streams.
    pub(crate) fn recount<'a>(&'a self, others: impl Iterator<Item = &'a Log>) -> (usize, usize) {
        let logs = self.topics.iter().map(|(_, topic)| topic.log()).chain(others);
        (self.spares.held, logs.map(Log::held).sum())
    }

    /// All places of topics are below this one.
    pub(crate) fn bound(&self) -> usize {
        self.topics.capacity()
    }

    /// The topic at a place, if there is one.
    pub(crate) fn key_at(&self, place: usize) -> Option<TopicKey> {
        self.topics.get(place)?;
        u32::try_from(place).ok().map(TopicKey)
    }

    /// Drops the older half of the histories of `count` topics from place `from` on, except for the newest
    /// event of each key. Returns the number of topics and the number of bytes.
    pub(crate) fn halve_histories(&mut self, from: usize, count: usize) -> (usize, usize) {
        let end = self.bound().min(from + count);
        let mut bytes = 0;
        for place in from..end {
            let Some(topic) = self.topics.get_mut(place) else { continue };
            let Some(Busy { log, kept: Some(kept), .. }) = topic.busy.as_deref_mut() else { continue };
            bytes += kept.halve(log, self.clock.tick);
            self.settle(TopicKey(u32::try_from(place).unwrap_or(u32::MAX)));
        }
        (end.saturating_sub(from), bytes)
    }

    /// Removes idle topics. Must be called while no key of such a topic is in use.
    pub(crate) fn free_idle(&mut self) {
        if self.idle.is_empty() {
            return;
        }
        while let Some(key) = self.idle.pop() {
            if self.topics.get(key.0 as usize).is_some_and(|topic| topic.is_idle(self.clock.tick)) {
                let topic = self.topics.remove(key.0 as usize);
                self.by_name.remove(topic.name.as_bytes(), key);
                self.aging -= usize::from(topic.ages());
                if let Some(kept) = topic.kept() {
                    let is_ordered = kept.ids == Ids::Ordered;
                    let forgotten =
                        if is_ordered { &mut self.forgotten_positions } else { &mut self.forgotten };
                    *forgotten = kept.complete_from.max(*forgotten);
                }
            }
        }
        self.shrink();
    }

    /// Frees memory when most topics are gone. The slots before a remaining topic cannot be freed. After a
    /// try the next one waits until half of the rest are gone. So its cost, proportional to the slots, is
    /// spread over those that were freed.
    fn shrink(&mut self) {
        let (used, capacity) = (self.topics.len(), self.topics.capacity());
        if capacity < SHRINK_MIN || used > capacity / 4 {
            self.shrunk_at = None;
        } else if self.shrunk_at.is_none_or(|last| used <= last / 2) {
            self.shrunk_at = Some(used);
            self.topics.shrink_to_fit();
            self.by_name.shrink(|key| self.topics[key.0 as usize].name.as_bytes());
            self.dirty.shrink_to_fit();
            self.idle.shrink_to_fit();
        }
    }

    /// Frees frames of a topic's log that no stream needs.
    fn settle(&mut self, key: TopicKey) {
        let Some(topic) = self.topics.get_mut(key.0 as usize) else { return };
        let more = topic.settle(self.clock.tick, &mut self.spares, &mut self.spare_busy);
        if more && !self.unsettled.contains(&key) {
            self.unsettled.push(key);
        }
    }

    /// Drops expired events from the next `count` topics, and continues with one topic that has more to free
    /// than was done at once.
    pub(crate) fn expire(&mut self, count: usize) {
        if let Some(key) = self.unsettled.pop() {
            self.settle(key);
        }
        self.is_behind = false;
        if self.aging == 0 {
            return;
        }
        for _ in 0..count.min(self.topics.capacity()) {
            if self.next_aging >= self.topics.capacity() {
                self.next_aging = 0;
            }
            let index = self.next_aging;
            self.next_aging += 1;
            if let Some(topic) = self.topics.get_mut(index).filter(|topic| topic.ages()) {
                self.is_behind = !topic.expire(self.clock.tick);
                let key = TopicKey(u32::try_from(index).unwrap_or(u32::MAX));
                self.settle(key);
                self.idle.push(key);
                if self.is_behind {
                    // It is looked at again in the next turn.
                    self.next_aging = index;
                    return;
                }
            }
        }
    }

    /// Whether there is more to drop than one call of `expire` does.
    pub(crate) fn is_behind(&self) -> bool {
        // The topic may have been removed in the meantime.
        self.is_behind && self.aging > 0 || !self.unsettled.is_empty()
    }

    /// The id of the newest event up to `sequence`, if the server makes the ids; `None` if it is too long
    /// ago.
    pub(crate) fn generated_id(&self, sequence: u64) -> Option<GeneratedId> {
        self.numbers.number_at(shared_number(sequence)).map(|number| self.maker.id(number))
    }

    /// The id of the newest event, if the server makes the ids.
    pub(crate) fn newest_id(&self) -> GeneratedId {
        self.maker.id(self.number())
    }

    /// The number in an id of this maker, which loops that publish the same events share.
    pub(crate) fn number_of(&self, id: &str) -> Option<u64> {
        self.maker.number_of(id)
    }

    /// The sequence of the event with this number, even if it is not published yet; `None` if it is too long
    /// ago.
    pub(crate) fn sequence_of(&self, number: u64) -> Option<u64> {
        self.numbers.place_of(number).and_then(shared_place)
    }

    /// How many events were published.
    pub(crate) fn number(&self) -> u64 {
        self.numbers.number_at(shared_number(self.sequence)).unwrap_or_default()
    }

    /// Sets the maker of ids. Loops that publish the same events share one.
    pub(crate) fn set_maker(&mut self, maker: Maker) {
        self.maker = maker;
    }

    /// Notes that the last event is lost: there was no room for the topic that would have retained it.
    pub(crate) fn note_lost(&mut self) {
        let now = self.mark();
        (self.forgotten, self.forgotten_positions) = (now, now);
    }

    fn note_position(&mut self, position: Option<Position>) {
        if let Some(at) = position {
            self.positions = Some((self.positions.map_or(at, |(first, _)| first), at));
        }
    }

    /// The positions of the first and the newest event that was published at one.
    pub(crate) fn positions(&self) -> Option<(Position, Position)> {
        self.positions
    }

    fn newest_position(&self) -> Option<Position> {
        self.positions.map(|(_, newest)| newest)
    }

    /// Finishes a topic: no more events may be published to it. Returns its key, if it exists.
    pub(crate) fn finish(&mut self, name: &str) -> Option<TopicKey> {
        let key = match self.key(name) {
            Some(key) => key,
            // Clients that come later must learn that it has finished.
            None if self.would_add(name) => self.add(name, self.sequence),
            None => return None,
        };
        let topic = &mut self.topics[key.0 as usize];
        topic.busy(&mut self.spare_busy).finished.get_or_insert(self.clock.tick);
        self.idle.push(key);
        Some(key)
    }

    /// Whether any topic has events that expire.
    pub(crate) fn is_aging(&self) -> bool {
        self.aging > 0
    }

    pub(crate) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// The bytes of events that were not offered to all subscribers yet. If this grows, publishers are too
    /// fast.
    pub(crate) fn unoffered(&self) -> usize {
        self.unoffered
    }

    pub(crate) fn get(&self, key: TopicKey) -> &Topic {
        &self.topics[key.0 as usize]
    }

    /// The topic, if it still exists.
    pub(crate) fn try_get(&self, key: TopicKey) -> Option<&Topic> {
        self.topics.get(key.0 as usize)
    }

    pub(crate) fn get_mut(&mut self, key: TopicKey) -> &mut Topic {
        &mut self.topics[key.0 as usize]
    }

    pub(crate) fn key(&self, name: &str) -> Option<TopicKey> {
        self.by_name.find(name, |key| self.topics[key.0 as usize].name.as_bytes())
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Topic> {
        self.key(name).map(|key| self.get(key))
    }

    /// The broken invariant, if there is one, for `debug_assert`. Checks every topic, or none if there are
    /// many.
    pub(crate) fn broken_invariant(&self) -> Option<&'static str> {
        const TOPICS_MAX: usize = 16;
        if self.topics.len() > TOPICS_MAX {
            return None;
        }
        let topics = || self.topics.iter().map(|(_, topic)| topic);
        if topics().any(|topic| topic.pins as usize > topic.subscribers.len()) {
            return Some("a log is pinned by more streams than there are");
        }
        let is_for_nobody = |busy: &Busy| {
            let has_more = busy.has_chain() || busy.pace > 0;
            busy.kept.is_none() && busy.finished.is_none() && !(has_more && busy.log.is_empty())
        };
        if topics()
            .any(|topic| topic.busy.as_deref().is_some_and(is_for_nobody) && topic.pins == 0 && !topic.dirty)
        {
            return Some("a topic keeps a log, or room for one, without need");
        }
        let is_in_turn = |topic: &Topic| {
            let mut waiting = self.dirty.iter().chain(self.paced.iter().map(|(_, key)| key));
            waiting.any(|key| std::ptr::eq(self.get(*key), topic))
        };
        if topics().any(|topic| topic.dirty != is_in_turn(topic)) {
            return Some("a topic waits for a wave that will not come");
        }
        if topics()
            .filter_map(|topic| topic.busy.as_ref())
            .map(|busy| busy.fresh + busy.offered)
            .sum::<usize>()
            != self.unoffered
        {
            return Some("the bytes that are not offered yet are miscounted");
        }
        None
    }

    /// The bytes of all frames in all logs.
    pub(crate) fn log_bytes(&self) -> usize {
        self.spares.in_use
    }

    /// Whether a subscription to `name` would make a new topic.
    pub(crate) fn is_new(&self, name: &str) -> bool {
        self.key(name).is_none()
    }

    pub(crate) fn len(&self) -> usize {
        self.topics.len()
    }
}
