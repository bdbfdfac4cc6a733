//! Timers: callbacks at a time, once or again and again.

use crate::conn::id::StreamId;
use slab::Slab;
use std::collections::BTreeSet;
use std::fmt;
use std::time::Duration;

/// The shortest period: a timer that is due again at once would never let the loop rest.
const PERIOD_MIN: Duration = Duration::from_millis(1);

/// Names one timer, to [cancel](crate::Context::cancel) it. Means nothing once the timer has fired for the last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimerId {
    key: u32,
    serial: u64,
}

/// All timers, ordered by the time they are due. Adding and removing cost O(log n); a stream without timers costs
/// nothing here. What is called, and with what, is for whoever keeps them to say.
#[derive(Debug)]
pub(crate) struct Timers<C> {
    entries: Slab<Entry<C>>,
    /// Invariant: holds `(entry.due, entry.serial, key)` of just those entries that are not firing at this moment.
    queue: BTreeSet<(Duration, u64, u32)>,
    serial: u64,
}

struct Entry<C> {
    serial: u64,
    due: Duration,
    period: Option<Duration>,
    owner: Option<StreamId>,
    /// Taken out while it is called.
    callback: Option<C>,
}

impl<C> fmt::Debug for Entry<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("due", &self.due).field("period", &self.period).finish_non_exhaustive()
    }
}

/// A timer that is due, on its way to be called and back.
pub(crate) struct Due<C> {
    pub(crate) id: TimerId,
    pub(crate) owner: Option<StreamId>,
    pub(crate) callback: C,
}

impl<C> Default for Timers<C> {
    fn default() -> Self {
        Self { entries: Slab::new(), queue: BTreeSet::new(), serial: 0 }
    }
}

impl<C> Timers<C> {
    /// Adds a timer that is due at `due` and, with a period, again and again after that.
    pub(crate) fn add(
        &mut self,
        due: Duration,
        period: Option<Duration>,
        owner: Option<StreamId>,
        callback: C,
    ) -> TimerId {
        self.serial += 1;
        let period = period.map(|period| period.max(PERIOD_MIN));
        let entry = Entry { serial: self.serial, due, period, owner, callback: Some(callback) };
        let key = u32::try_from(self.entries.insert(entry)).unwrap_or(u32::MAX);
        self.queue.insert((due, self.serial, key));
        TimerId { key, serial: self.serial }
    }

    /// Removes a timer; answers its owner and what it would have called, or `None` if there is no such timer
    /// any more.
    pub(crate) fn remove(&mut self, id: TimerId) -> Option<(Option<StreamId>, Option<C>)> {
        let entry = self.entries.get(id.key as usize).filter(|entry| entry.serial == id.serial)?;
        self.queue.remove(&(entry.due, id.serial, id.key));
        let entry = self.entries.remove(id.key as usize);
        Some((entry.owner, entry.callback))
    }

    /// When the next timer is due.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        self.queue.first().map(|(due, ..)| *due)
    }

    /// Takes the next timer that is due. It has to be given [back](Self::put_back) when it has been called.
    pub(crate) fn take_due(&mut self, now: Duration) -> Option<Due<C>> {
        let &(due, serial, key) = self.queue.first().filter(|(due, ..)| *due <= now)?;
        self.queue.remove(&(due, serial, key));
        let entry = self.entries.get_mut(key as usize)?;
        let callback = entry.callback.take()?;
        Some(Due { id: TimerId { key, serial: entry.serial }, owner: entry.owner, callback })
    }

    /// Sets a timer that was called for its next time. What one has called that is over, or was cancelled
    /// meanwhile, is answered, and the owner of one that is over.
    ///
    /// Times that have passed already are left out, not made up for: a loop that was held up does not fire in a burst.
    pub(crate) fn put_back(&mut self, fired: Due<C>, now: Duration) -> (Option<StreamId>, Option<C>) {
        let key = fired.id.key;
        let entry = self.entries.get_mut(key as usize).filter(|entry| entry.serial == fired.id.serial);
        let Some(entry) = entry else { return (None, Some(fired.callback)) };
        let Some(period) = entry.period else {
            return (self.entries.remove(key as usize).owner, Some(fired.callback));
        };
        let late = now.saturating_sub(entry.due).as_nanos() / period.as_nanos();
        let periods = u32::try_from(late).unwrap_or(u32::MAX).saturating_add(1);
        entry.due = entry.due.saturating_add(period.saturating_mul(periods));
        entry.callback = Some(fired.callback);
        self.queue.insert((entry.due, entry.serial, key));
        (None, None)
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn ms(ms: u64) -> Duration {
        Duration::from_millis(ms)
    }

    fn fire(timers: &mut Timers<()>, now: Duration) -> Option<TimerId> {
        let due = timers.take_due(now)?;
        let id = due.id;
        timers.put_back(due, now);
        Some(id)
    }

    #[test]
    fn times_that_have_passed_are_not_made_up_for() {
        let mut timers = Timers::default();
        timers.add(ms(10), Some(ms(10)), None, ());
        assert!(fire(&mut timers, ms(9)).is_none());
        assert!(fire(&mut timers, ms(35)).is_some());
        assert!(fire(&mut timers, ms(35)).is_none());
        assert_eq!(timers.next_due(), Some(ms(40)), "in step with the first time");
    }

    #[test]
    fn a_period_of_nothing_still_lets_the_loop_rest() {
        let mut timers = Timers::default();
        timers.add(ms(0), Some(Duration::ZERO), None, ());
        assert!(fire(&mut timers, ms(0)).is_some());
        assert!(fire(&mut timers, ms(0)).is_none());
    }

    #[test]
    fn an_old_id_never_cancels_a_new_timer() {
        let mut timers = Timers::default();
        let old = timers.add(ms(1), None, None, ());
        assert_eq!(fire(&mut timers, ms(1)), Some(old));
        let new = timers.add(ms(1), None, None, ());
        assert_eq!(timers.remove(old), None);
        assert_eq!(timers.remove(new), Some((None, Some(()))));
        assert_eq!(timers.len(), 0);
    }

    #[test]
    fn a_timer_cancelled_while_it_is_called_is_not_set_again() {
        let mut timers = Timers::default();
        let id = timers.add(ms(1), Some(ms(1)), None, ());
        let due = timers.take_due(ms(1)).unwrap();
        assert!(timers.remove(id).is_some());
        timers.put_back(due, ms(1));
        assert_eq!((timers.len(), timers.next_due()), (0, None));
    }

    proptest! {
        /// The timers agree with a sorted list.
        #[test]
        fn timers_fire_in_the_order_they_are_due(
            adds in proptest::collection::vec((0_u64..50, proptest::option::of(1_u64..20), any::<bool>()), 0..40),
        ) {
            let mut timers = Timers::default();
            let mut model: Vec<(u64, Option<u64>, TimerId)> = Vec::new();
            for (due, period, cancelled) in adds {
                let id = timers.add(ms(due), period.map(ms), None, ());
                if cancelled {
                    prop_assert!(timers.remove(id).is_some());
                } else {
                    model.push((due, period, id));
                }
            }
            for now in 0..60 {
                prop_assert_eq!(timers.next_due(), model.iter().map(|(due, ..)| ms(*due)).min());
                let mut fired = Vec::new();
                while let Some(id) = fire(&mut timers, ms(now)) {
                    fired.push(id);
                }
                let mut expected = Vec::new();
                for (due, period, id) in &mut model {
                    if *due <= now {
                        expected.push(*id);
                        *due = period.map_or(u64::MAX, |period| *due + period);
                    }
                }
                model.retain(|(due, ..)| *due != u64::MAX);
                prop_assert_eq!(fired.len(), expected.len());
                prop_assert!(expected.iter().all(|id| fired.contains(id)));
            }
        }
    }
}
