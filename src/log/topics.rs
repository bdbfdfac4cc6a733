//! All topics by name, the one sequence, and the queue of topics that have something to deliver.

use super::block::Spares;
use super::frame::EncodedEvent;
use super::topic::Topic;
use slab::Slab;
use std::collections::{HashMap, VecDeque};
use std::sync::Arc;

/// A topic's key. Valid while the topic has a subscriber or is dirty.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct TopicKey(u32);

impl TopicKey {
    /// No topic: cheaper in a stream's record than an `Option`.
    pub(crate) const NONE: Self = Self(u32::MAX);
}

/// Every topic there is. One appears with its first subscriber and is gone with its last.
#[derive(Debug, Default)]
pub(crate) struct Topics {
    by_name: HashMap<Arc<str>, TopicKey>,
    topics: Slab<Topic>,
    /// Topics with something that has not been offered to all of their subscribers, in the order they get their turn.
    dirty: VecDeque<TopicKey>,
    /// Topics that may have become idle in this turn.
    idle: Vec<TopicKey>,
    /// The newest sequence given out; one counter for all topics and private sends.
    sequence: u64,
    /// The bytes published that have not been offered to all subscribers yet.
    unoffered: usize,
    pub(crate) spares: Spares,
}

impl Topics {
    pub(crate) fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Sets `count` sequences aside and answers the one before the first of them.
    pub(crate) fn reserve_sequences(&mut self, count: u64) -> u64 {
        self.sequence += count;
        self.sequence - count
    }

    pub(crate) fn sequence(&self) -> u64 {
        self.sequence
    }

    /// Appends `event` to the topic's log. Where nobody reads the topic, nothing is kept.
    pub(crate) fn publish(&mut self, name: &str, event: &EncodedEvent) {
        let sequence = self.next_sequence();
        let Some(&key) = self.by_name.get(name) else { return };
        let topic = &mut self.topics[key.0 as usize];
        if topic.subscribers.is_empty() {
            return;
        }
        topic.log.append(sequence, event.bytes(), event.kind(), &mut self.spares);
        topic.fresh += event.bytes().len();
        self.unoffered += event.bytes().len();
        if !topic.dirty {
            topic.dirty = true;
            self.dirty.push_back(key);
        }
    }

    /// Subscribes the stream in `slot`, which is `behind` or not, and answers the topic and the place in it.
    pub(crate) fn subscribe(&mut self, name: &str, slot: u32, behind: bool) -> (TopicKey, u32) {
        let key = match self.by_name.get(name) {
            Some(&key) => key,
            None => {
                let name: Arc<str> = name.into();
                let key =
                    TopicKey(u32::try_from(self.topics.insert(Topic::new(name.clone()))).unwrap_or(u32::MAX));
                self.by_name.insert(name, key);
                key
            }
        };
        let topic = self.get_mut(key);
        topic.behind += u32::from(behind);
        (key, topic.subscribe(slot))
    }

    /// The opposite of [`subscribe`](Self::subscribe); `moved` is told which slots have changed their place.
    pub(crate) fn unsubscribe(
        &mut self,
        key: TopicKey,
        place: u32,
        behind: bool,
        moved: impl FnMut(u32, u32),
    ) {
        let topic = &mut self.topics[key.0 as usize];
        topic.unsubscribe(place, moved);
        topic.behind -= u32::from(behind);
        topic.settle(&mut self.spares);
        if topic.subscribers.is_empty() {
            self.idle.push(key);
        }
    }

    /// Counts one subscriber more, or one less, that has not been given everything.
    pub(crate) fn set_behind(&mut self, key: TopicKey, behind: bool) {
        let topic = &mut self.topics[key.0 as usize];
        if behind {
            topic.behind += 1;
        } else {
            topic.behind -= 1;
            topic.settle(&mut self.spares);
        }
    }

    /// The topic whose turn it is. A wave that begins makes the log forget what exceeds `lag_bytes_max`, save what
    /// no one has been offered yet.
    pub(crate) fn next_dirty(&mut self, lag_bytes_max: usize) -> Option<TopicKey> {
        let key = *self.dirty.front()?;
        let topic = &mut self.topics[key.0 as usize];
        if topic.wave.is_none() {
            topic.log.trim(lag_bytes_max, &mut self.spares);
            topic.log.mark();
            topic.wave = Some(0);
            topic.offered = std::mem::take(&mut topic.fresh);
        }
        Some(key)
    }

    /// Ends the turn of the topic at the front: its wave is through, or it goes on after the others.
    pub(crate) fn rotate_dirty(&mut self) {
        let Some(key) = self.dirty.pop_front() else { return };
        let topic = &mut self.topics[key.0 as usize];
        if topic.wave.is_none_or(|visited| visited >= topic.subscribers.len()) {
            topic.wave = None;
            self.unoffered -= std::mem::take(&mut topic.offered);
        }
        if topic.wave.is_none() && topic.fresh == 0 {
            topic.dirty = false;
            topic.settle(&mut self.spares);
            if topic.subscribers.is_empty() {
                self.idle.push(key);
            }
        } else {
            self.dirty.push_back(key);
        }
    }

    /// Frees the topics that nobody and nothing needs. To be called when no key of theirs is in anyone's hands.
    pub(crate) fn free_idle(&mut self) {
        while let Some(key) = self.idle.pop() {
            if self.topics.get(key.0 as usize).is_some_and(Topic::is_idle) {
                let topic = self.topics.remove(key.0 as usize);
                self.by_name.remove(&topic.name);
            }
        }
    }

    pub(crate) fn has_dirty(&self) -> bool {
        !self.dirty.is_empty()
    }

    /// How much has been published but not been offered to everybody: where this grows, publishers are too fast.
    pub(crate) fn unoffered(&self) -> usize {
        self.unoffered
    }

    pub(crate) fn get(&self, key: TopicKey) -> &Topic {
        &self.topics[key.0 as usize]
    }

    pub(crate) fn get_mut(&mut self, key: TopicKey) -> &mut Topic {
        &mut self.topics[key.0 as usize]
    }

    pub(crate) fn find(&self, name: &str) -> Option<&Topic> {
        self.by_name.get(name).map(|key| self.get(*key))
    }

    /// What is wrong, if anything is: for `debug_assert`. Looks at every topic, or at none where there are many.
    pub(crate) fn broken_invariant(&self) -> Option<&'static str> {
        const TOPICS_MAX: usize = 16;
        if self.topics.len() > TOPICS_MAX {
            return None;
        }
        let topics = || self.topics.iter().map(|(_, topic)| topic);
        if topics().any(|topic| topic.behind as usize > topic.subscribers.len()) {
            return Some("more streams are behind than there are");
        }
        if topics().any(|topic| topic.behind == 0 && !topic.dirty && !topic.log.is_empty()) {
            return Some("a log is kept for nobody");
        }
        if topics()
            .any(|topic| topic.dirty && !self.dirty.iter().any(|key| std::ptr::eq(self.get(*key), topic)))
        {
            return Some("a topic waits for a wave that will not come");
        }
        if topics().map(|topic| topic.fresh + topic.offered).sum::<usize>() != self.unoffered {
            return Some("what is not offered yet is miscounted");
        }
        None
    }

    /// The bytes of all frames in all logs.
    pub(crate) fn log_bytes(&self) -> usize {
        self.spares.in_use
    }

    /// Whether a subscription to `name` would make a new topic.
    pub(crate) fn is_new(&self, name: &str) -> bool {
        !self.by_name.contains_key(name)
    }

    pub(crate) fn len(&self) -> usize {
        self.topics.len()
    }
}
