//! A topic: its log, and the streams that read it.

use crate::topic::block::Spares;
use crate::topic::history::{FRAMES_PER_EVENT, FRAMES_PER_LOOK, Kept, Overflow};
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
    /// How many subscribers pin the log: they have not been given everything, apart from what a wave is still
    /// to offer them. Invariant: while it is 0 and no wave is due, nobody needs a frame of this log.
    pub(crate) pins: u32,
    offers: Offers,
    pub(crate) overflow: Overflow,
    /// When it was said that nothing more will come, if it was, by the server's clock.
    pub(crate) finished: Option<u64>,
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
            pins: 0,
            offers: Offers::default(),
            overflow: Overflow::default(),
            finished: None,
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

    /// Gives up what has become too old by `tick`, though it stays for those who lag. Answers whether that is
    /// all.
    pub(crate) fn expire(&mut self, tick: u64) -> bool {
        self.kept.as_mut().is_none_or(|kept| kept.shorten(&self.log, tick, FRAMES_PER_LOOK))
    }

    /// Frees what nobody needs of the log; at `tick`, by the server's clock.
    pub(crate) fn settle(&mut self, tick: u64, spares: &mut Spares) {
        if self.pins > 0 || self.dirty {
            return;
        }
        match &mut self.kept {
            None => self.log.clear(spares),
            Some(kept) => {
                kept.shorten(&self.log, tick, FRAMES_PER_EVENT);
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

    /// The newest frame that streams have had time to read, before a wave begins that offers more.
    pub(crate) fn read_by_now(&mut self, tick: u64) -> u64 {
        self.offers.read_by(tick, self.log.marked())
    }

    /// What the log has to forget so that `lag_bytes_max` are left for those who lag, besides what is kept
    /// for newcomers. Nothing that is kept goes, nothing behind the frame `can`, and behind `read` only what
    /// is superseded.
    pub(crate) fn excess(&self, lag_bytes_max: usize, can: u64, read: u64) -> Option<Excess> {
        let kept = self.kept.as_deref();
        let bytes_max = lag_bytes_max.saturating_add(kept.map_or(0, Kept::bytes));
        let can = can.min(self.log.marked());
        let kept_from = can.min(read).min(kept.map_or(u64::MAX, Kept::horizon));
        if !kept.is_some_and(Kept::is_keyed) {
            return self.log.excess(bytes_max, kept_from).map(|until| Excess { until, can });
        }
        let plain = self.log.plain_excess(bytes_max, kept_from);
        let until = plain.or_else(|| Kept::is_worth_compacting(&self.log).then_some(0))?;
        Some(Excess { until, can })
    }

    /// Makes the log forget what is in excess.
    pub(crate) fn forget(&mut self, excess: Excess, spares: &mut Spares) {
        match &mut self.kept {
            Some(kept) if kept.is_keyed() => kept.retain(&mut self.log, excess.until, excess.can, spares),
            _ => self.log.release(excess.until, spares),
        }
    }

    /// Whether nothing more will come.
    pub(crate) fn has_finished(&self) -> bool {
        self.finished.is_some()
    }

    /// Whether nothing and nobody needs the topic any more, at `tick`. That it has finished, and which id was
    /// its newest, is kept for those who come later for as long as its events would be.
    pub(crate) fn is_idle(&self, tick: u64) -> bool {
        let is_left = self.subscribers.is_empty() && !self.dirty;
        let Some(kept) = &self.kept else { return is_left };
        let age = kept.limits.age_max().map(|age| age.as_millis());
        let is_over = |since: u64| age.is_some_and(|age| u128::from(tick.saturating_sub(since)) >= age);
        let is_forgotten = age.is_some() || kept.newest_own_id().is_none();
        is_left && self.log.is_empty() && is_forgotten && self.finished.is_none_or(is_over)
    }
}

/// What a log has to forget.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Excess {
    /// Everything without a key goes up to this frame.
    pub(crate) until: u64,
    /// What is superseded goes up to this frame.
    pub(crate) can: u64,
}

/// How long a stream has, at least, to read what it was offered before that counts as lag, in milliseconds. A
/// burst of more than the log may hold would otherwise cut streams that read as fast as they can.
pub(crate) const TIME_TO_READ: u64 = 100;

/// What has been offered to the streams, and when: in two steps, of [`TIME_TO_READ`] each at least.
#[derive(Debug, Default)]
struct Offers {
    /// The newest frame that was offered two steps ago.
    read: u64,
    /// The newest frame that was offered when the last step was made.
    recent: u64,
    /// When that was.
    since: u64,
}

impl Offers {
    fn read_by(&mut self, tick: u64, offered: u64) -> u64 {
        if tick.saturating_sub(self.since) >= TIME_TO_READ {
            self.read = std::mem::replace(&mut self.recent, offered);
            self.since = tick;
        }
        self.read
    }
}
