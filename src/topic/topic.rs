//! A topic: its log, and the streams that read it.

use crate::topic::block::Spares;
use crate::topic::history::{Kept, Overflow};
use crate::topic::log::Log;
use std::sync::Arc;

/// A named log and its subscribers.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Arc<str>,
    pub(crate) log: Log,
    /// The slots of the streams that read this topic, in no particular order. Dense: a fan-out is one walk.
    pub(crate) subscribers: Vec<u32>,
    /// How many subscribers the current wave has visited; `None` between waves. A wave offers every subscriber what
    /// was published, and may take several turns.
    pub(crate) wave: Option<usize>,
    /// Bytes published since the last wave began.
    pub(crate) fresh: usize,
    /// Bytes that the current wave was begun for.
    pub(crate) offered: usize,
    /// Whether the topic waits in `Topics::dirty` for a wave, or for the rest of one.
    pub(crate) dirty: bool,
    /// How many subscribers have not been given everything, besides those that a wave is still to visit.
    /// Invariant: while it is 0 and no wave is due, nobody needs a frame of this log.
    pub(crate) behind: u32,
    pub(crate) overflow: Overflow,
    /// What of the log is kept for newcomers, if anything.
    pub(crate) kept: Option<Box<Kept>>,
}

impl Topic {
    pub(crate) fn new(name: Arc<str>) -> Self {
        Self {
            name,
            log: Log::default(),
            subscribers: Vec::new(),
            wave: None,
            fresh: 0,
            offered: 0,
            dirty: false,
            behind: 0,
            overflow: Overflow::default(),
            kept: None,
        }
    }

    /// Adds the stream in `slot` and answers its place, which [`unsubscribe`](Self::unsubscribe) asks for.
    pub(crate) fn subscribe(&mut self, slot: u32) -> u32 {
        self.subscribers.push(slot);
        u32::try_from(self.subscribers.len() - 1).unwrap_or(u32::MAX)
    }

    /// Removes the subscriber at `place` in constant time. Others take its place: `moved` is told of each slot and its
    /// new place.
    pub(crate) fn unsubscribe(&mut self, place: u32, mut moved: impl FnMut(u32, u32)) {
        let mut place = place as usize;
        debug_assert!(place < self.subscribers.len());
        let mut fill = |subscribers: &mut Vec<u32>, place: usize, from: usize| {
            subscribers[place] = subscribers[from];
            moved(subscribers[place], u32::try_from(place).unwrap_or(u32::MAX));
        };
        if let Some(visited) = self.wave.as_mut().filter(|visited| place < **visited) {
            // The hole goes to the border between those that the wave has visited and those that it has not, so that
            // nobody crosses the border.
            *visited -= 1;
            if place != *visited {
                fill(&mut self.subscribers, place, *visited);
            }
            place = *visited;
        }
        let last = self.subscribers.len() - 1;
        if place != last {
            fill(&mut self.subscribers, place, last);
        }
        self.subscribers.pop();
        if self.subscribers.len() < self.subscribers.capacity() / 4 {
            self.subscribers.shrink_to(self.subscribers.len() * 2);
        }
    }

    /// Gives up what has become too old by `tick`, though it stays for those who lag.
    pub(crate) fn expire(&mut self, tick: u32) {
        if let Some(kept) = &mut self.kept {
            kept.shorten(&self.log, tick);
        }
    }

    /// Frees what nobody needs of the log; at `tick`, by the server's clock.
    pub(crate) fn settle(&mut self, tick: u32, spares: &mut Spares) {
        if self.behind > 0 || self.dirty {
            return;
        }
        match &mut self.kept {
            None => self.log.clear(spares),
            Some(kept) => {
                kept.shorten(&self.log, tick);
                if kept.is_keyed() {
                    kept.compact_keys(&mut self.log, spares);
                } else {
                    self.log.release(kept.horizon(), spares);
                    self.log.compact(kept.horizon(), spares);
                }
            }
        }
    }

    /// Whether it keeps events that become too old.
    pub(crate) fn ages(&self) -> bool {
        self.kept.as_ref().is_some_and(|kept| kept.limits.age_max().is_some())
    }

    /// How much its log holds: what is kept for newcomers, and so much for streams that lag.
    pub(crate) fn bytes_max(&self, lag_bytes_max: usize) -> usize {
        lag_bytes_max.saturating_add(self.kept.as_ref().map_or(0, |kept| kept.bytes()))
    }

    /// The newest frame of those that only streams need which lag.
    pub(crate) fn horizon(&self) -> u64 {
        self.kept.as_ref().map_or(u64::MAX, |kept| kept.horizon())
    }

    /// Whether nothing and nobody needs the topic any more.
    pub(crate) fn is_idle(&self) -> bool {
        self.subscribers.is_empty() && !self.dirty && (self.kept.is_none() || self.log.is_empty())
    }
}
