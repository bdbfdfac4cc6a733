//! A topic: its log, and the streams that subscribe to it.

use crate::topic::block::Spares;
use crate::topic::busy::{Busy, SpareBusy};
use crate::topic::few::Few;
use crate::topic::history::{FRAMES_PER_EVENT, FRAMES_PER_LOOK, Kept, Overflow};
use crate::topic::log::Log;
use crate::topic::name::Name;

/// A named log and its subscribers. At rest, with one subscriber and a short name, a topic needs no other
/// memory.
#[derive(Debug)]
pub(crate) struct Topic {
    pub(crate) name: Name,
    /// The slots of the subscribers, in no particular order. Dense: a fan-out is one walk.
    pub(crate) subscribers: Few<u32>,
    /// Its state while it is not at rest.
    pub(crate) busy: Option<Box<Busy>>,
    /// How many subscribers pin the log: they have not been given everything, apart from what a wave has yet
    /// to offer. Invariant: while it is 0 and no wave is due, no stream needs a frame of this log.
    pub(crate) pins: u32,
    pub(crate) overflow: Overflow,
    /// Whether streams may get this topic compressed.
    pub(crate) compresses: bool,
    /// Whether the topic waits in `Topics::dirty` for a wave, or for the rest of one.
    pub(crate) dirty: bool,
}

/// The log of a topic at rest.
static EMPTY: Log = Log::new();

impl Topic {
    pub(crate) fn new(name: &str) -> Self {
        Self {
            name: Name::new(name),
            subscribers: Few::default(),
            busy: None,
            pins: 0,
            overflow: Overflow::default(),
            compresses: true,
            dirty: false,
        }
    }

    pub(crate) fn log(&self) -> &Log {
        self.busy.as_ref().map_or(&EMPTY, |busy| &busy.log)
    }

    pub(crate) fn kept(&self) -> Option<&Kept> {
        self.busy.as_ref()?.kept.as_deref()
    }

    /// Bytes that the current wave offers.
    pub(crate) fn offered(&self) -> usize {
        self.busy.as_ref().map_or(0, |busy| busy.offered)
    }

    /// Whether a wave is in progress.
    pub(crate) fn has_wave(&self) -> bool {
        self.busy.as_ref().is_some_and(|busy| busy.wave.is_some())
    }

    /// The state of a topic that is not at rest. A topic at rest gets one.
    pub(crate) fn busy(&mut self, spares: &mut SpareBusy) -> &mut Busy {
        self.busy.get_or_insert_with(|| spares.take())
    }

    /// Adds the stream in `slot` and returns its place, for [`unsubscribe`](Self::unsubscribe).
    pub(crate) fn subscribe(&mut self, slot: u32) -> u32 {
        self.subscribers.push(slot);
        u32::try_from(self.subscribers.len() - 1).unwrap_or(u32::MAX)
    }

    /// Removes the subscriber at `place` in constant time. Others may take its place: `moved` is called with
    /// each slot and its new place.
    pub(crate) fn unsubscribe(&mut self, place: u32, mut moved: impl FnMut(u32, u32)) {
        let mut place = place as usize;
        let mut told = |place: usize, slot: u32| moved(slot, u32::try_from(place).unwrap_or(u32::MAX));
        let wave = self.busy.as_mut().and_then(|busy| busy.wave.as_mut());
        if let Some(visited) = wave.filter(|visited| place < **visited) {
            // The hole moves to the border between subscribers that the wave has visited and others, so that
            // no subscriber crosses the border.
            *visited -= 1;
            if place != *visited {
                self.subscribers.swap(place, *visited);
                told(place, self.subscribers[place]);
            }
            place = *visited;
        }
        self.subscribers.swap_remove(place);
        if let Some(&slot) = self.subscribers.get(place) {
            told(place, slot);
        }
    }

    /// Drops events from the history that are too old at `tick`. The log may keep them for streams that lag.
    /// Returns whether none is left.
    pub(crate) fn expire(&mut self, tick: u64) -> bool {
        let Some(Busy { log, kept: Some(kept), .. }) = self.busy.as_deref_mut() else { return true };
        kept.shorten(log, tick, FRAMES_PER_LOOK)
    }

    /// Frees the frames of the log that no stream needs, at `tick` of the server's clock. A topic that is
    /// then at rest gives up its [`Busy`]. Returns whether there is more to free than was done at once.
    pub(crate) fn settle(&mut self, tick: u64, spares: &mut Spares, spare_busy: &mut SpareBusy) -> bool {
        if !self.dirty
            && let Some(busy) = &mut self.busy
        {
            busy.rest_chain(self.subscribers.is_empty());
        }
        if self.pins > 0 || self.dirty {
            return false;
        }
        let Some(Busy { log, kept, .. }) = self.busy.as_deref_mut() else { return false };
        let mut more = false;
        match kept {
            None => log.clear(spares),
            Some(kept) => {
                kept.shorten(log, tick, FRAMES_PER_EVENT);
                if kept.is_keyed() {
                    more = kept.compact_keys(log, spares);
                } else {
                    log.release(kept.horizon(), spares);
                    log.compact(kept.horizon(), spares);
                }
            }
        }
        if let Some(busy) = self.busy.take_if(|busy| busy.is_at_rest()) {
            spare_busy.give(busy);
        }
        more
    }

    /// Whether its events expire.
    pub(crate) fn ages(&self) -> bool {
        self.kept().is_some_and(|kept| kept.limits.age_max().is_some())
    }

    /// The newest frame that streams have had time to read, before a wave offers more.
    pub(crate) fn read_by_now(&mut self, tick: u64) -> u64 {
        self.busy.as_mut().map_or(0, |busy| busy.offers.read_by(tick, busy.log.marked()))
    }

    /// The frames that the log has to drop to keep `lag_bytes_max` bytes for streams that lag, besides its
    /// history. Frames of the history stay, and frames after `can`. After `read` only superseded frames go.
    pub(crate) fn excess(&self, lag_bytes_max: usize, can: u64, read: u64) -> Option<Excess> {
        let (log, kept) = (self.log(), self.kept());
        let bytes_max = lag_bytes_max.saturating_add(kept.map_or(0, Kept::bytes));
        let can = can.min(log.marked());
        let kept_from = can.min(read).min(kept.map_or(u64::MAX, Kept::horizon));
        if !kept.is_some_and(Kept::is_keyed) {
            return log.excess(bytes_max, kept_from).map(|until| Excess { until, can });
        }
        let plain = log.plain_excess(bytes_max, kept_from);
        let until = plain.or_else(|| Kept::is_worth_compacting(log).then_some(0))?;
        Some(Excess { until, can })
    }

    /// Drops these frames from the log.
    pub(crate) fn forget(&mut self, excess: Excess, spares: &mut Spares) {
        let Some(Busy { log, kept, .. }) = self.busy.as_deref_mut() else { return };
        match kept {
            // The rest is dropped before the next wave.
            Some(kept) if kept.is_keyed() => _ = kept.retain(log, excess.until, excess.can, spares),
            _ => log.release(excess.until, spares),
        }
    }

    /// Whether the topic has finished.
    pub(crate) fn has_finished(&self) -> bool {
        self.finished().is_some()
    }

    fn finished(&self) -> Option<u64> {
        self.busy.as_ref()?.finished
    }

    /// Whether the topic can be removed at `tick`. For clients that come later, a finished topic and its
    /// newest id are remembered as long as its events would be.
    pub(crate) fn is_idle(&self, tick: u64) -> bool {
        let is_left = self.subscribers.is_empty() && !self.dirty;
        let Some(kept) = self.kept() else { return is_left };
        let age = kept.limits.age_max().map(|age| age.as_millis());
        let is_over = |since: u64| age.is_some_and(|age| u128::from(tick.saturating_sub(since)) >= age);
        let is_forgotten = age.is_some() || kept.newest_own_id().is_none();
        is_left && self.log().is_empty() && is_forgotten && self.finished().is_none_or(is_over)
    }
}

/// The frames that a log has to drop.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Excess {
    /// Frames without a key go up to this one.
    pub(crate) until: u64,
    /// Superseded frames go up to this one.
    pub(crate) can: u64,
}
