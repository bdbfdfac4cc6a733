//! Timers: callbacks at a time, once or periodically.

use crate::server::state::by_slot::BySlot;
use crate::server::state::pages::{Pages, Place};
use std::fmt;
use std::time::Duration;

/// The shortest period: a timer that is due again at once would never let the loop rest.
const PERIOD_MIN: Duration = Duration::from_millis(1);

/// The id of a timer, to [cancel](crate::Context::cancel) it. It is invalid after the timer has fired for the
/// last time.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct TimerId {
    place: Place,
    serial: u32,
}

/// All timers, in a heap by due time. Adding and removing cost O(log n), and removing looks at the other
/// timers of the same stream.
///
/// Cost (64-bit): 49 bytes for each, four to eight in the heap, and that of `BySlot`.
#[derive(Debug)]
pub(crate) struct Timers<C> {
    entries: Pages<Entry<C>>,
    /// A heap in which each node has four children. Invariant: it holds exactly the entries that are not
    /// firing, and each knows its position.
    heap: Vec<Place>,
    of_slot: BySlot,
    serial: u32,
}

struct Entry<C> {
    /// In nanoseconds. 2^64 are 584 years.
    due: u64,
    /// In nanoseconds; zero for a timer that fires once.
    period: u64,
    /// `None` while it is called.
    callback: Option<C>,
    /// The slot of its stream, or `NOBODY`.
    owner: u32,
    serial: u32,
    /// The position in the heap, or `FIRING`.
    position: u32,
    /// The next timer of the same stream.
    next: Place,
}

/// The owner of a timer that belongs to no stream.
const NOBODY: u32 = u32::MAX;

/// The position of a timer that is not in the heap.
const FIRING: u32 = u32::MAX;

impl<C> fmt::Debug for Entry<C> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Entry").field("due", &self.due).field("period", &self.period).finish_non_exhaustive()
    }
}

/// A due timer, taken out of the heap to be called.
pub(crate) struct Due<C> {
    pub(crate) id: TimerId,
    /// The slot of its stream.
    pub(crate) owner: Option<u32>,
    pub(crate) callback: C,
}

impl<C> Default for Timers<C> {
    fn default() -> Self {
        Self { entries: Pages::default(), heap: Vec::new(), of_slot: BySlot::default(), serial: 0 }
    }
}

impl<C> Timers<C> {
    /// Adds a timer that is due at `due`, and after that every `period` if it has one. It belongs to the
    /// stream in the slot `owner`, or to no stream.
    pub(crate) fn add(
        &mut self,
        due: Duration,
        period: Option<Duration>,
        owner: Option<u32>,
        callback: C,
    ) -> TimerId {
        self.serial = self.serial.wrapping_add(1);
        let serial = self.serial;
        let period = period.map_or(0, |period| nanos(period.max(PERIOD_MIN)));
        let (owner, next) = match owner {
            Some(slot) => (slot, self.of_slot.get(slot)),
            None => (NOBODY, Place::NONE),
        };
        let callback = Some(callback);
        let entry = Entry { due: nanos(due), period, callback, owner, serial, position: FIRING, next };
        let place = self.entries.insert(entry);
        if owner != NOBODY {
            self.of_slot.set(owner, place);
        }
        self.queue(place);
        TimerId { place, serial }
    }

    /// Removes a timer. Returns its callback unless that is being called, or `None` if the timer no longer
    /// exists.
    pub(crate) fn remove(&mut self, id: TimerId) -> Option<Option<C>> {
        self.entry(id)?;
        self.take_out(id.place)
    }

    /// Removes one timer of the stream in a slot, or returns `None` if there is none.
    pub(crate) fn remove_next_of(&mut self, slot: u32) -> Option<Option<C>> {
        self.take_out(self.of_slot.get(slot))
    }

    fn entry(&mut self, id: TimerId) -> Option<&mut Entry<C>> {
        self.entries.get_mut(id.place).filter(|entry| entry.serial == id.serial)
    }

    /// Takes a timer out of the heap and out of the list of its stream.
    fn take_out(&mut self, place: Place) -> Option<Option<C>> {
        let position = self.entries.get(place)?.position;
        if position != FIRING {
            self.unqueue(position);
        }
        let Entry { owner, next, callback, .. } = self.entries.remove(place)?;
        if owner != NOBODY {
            let mut before = self.of_slot.get(owner);
            if before == place {
                self.of_slot.set(owner, next);
            } else {
                while let Some(entry) = self.entries.get_mut(before) {
                    if entry.next == place {
                        entry.next = next;
                        break;
                    }
                    before = entry.next;
                }
            }
        }
        Some(callback)
    }

    /// When the next timer is due.
    pub(crate) fn next_due(&self) -> Option<Duration> {
        let first = self.entries.get(*self.heap.first()?)?;
        Some(Duration::from_nanos(first.due))
    }

    /// Takes the next timer that is due. After its call it has to be [put back](Self::put_back).
    pub(crate) fn take_due(&mut self, now: Duration) -> Option<Due<C>> {
        let &place = self.heap.first()?;
        let entry = self.entries.get_mut(place).filter(|entry| entry.due <= nanos(now))?;
        let callback = entry.callback.take()?;
        let id = TimerId { place, serial: entry.serial };
        let owner = Some(entry.owner).filter(|&slot| slot != NOBODY);
        entry.position = FIRING;
        self.unqueue(0);
        Some(Due { id, owner, callback })
    }

    /// Sets a called timer for its next time. Returns the callback if the timer is over or was cancelled in
    /// the meantime.
    ///
    /// Times that have passed already are skipped: after a delay of the loop a timer does not fire in a
    /// burst.
    pub(crate) fn put_back(&mut self, fired: Due<C>, now: Duration) -> Option<C> {
        let Some(entry) = self.entry(fired.id) else { return Some(fired.callback) };
        if entry.period == 0 {
            self.take_out(fired.id.place);
            return Some(fired.callback);
        }
        let periods = nanos(now).saturating_sub(entry.due) / entry.period + 1;
        entry.due = entry.due.saturating_add(entry.period.saturating_mul(periods));
        entry.callback = Some(fired.callback);
        self.queue(fired.id.place);
        None
    }

    pub(crate) fn len(&self) -> usize {
        self.entries.len()
    }

    /// Frees memory of slots from `bound` on, which have no streams.
    pub(crate) fn shrink(&mut self, bound: u32) {
        self.of_slot.shrink(bound);
    }

    // The heap.

    fn queue(&mut self, place: Place) {
        self.heap.push(place);
        self.rise(self.heap.len() - 1);
    }

    /// Removes the entry at a position of the heap and moves the last entry there.
    fn unqueue(&mut self, position: u32) {
        let position = position as usize;
        self.heap.swap_remove(position);
        if position < self.heap.len() {
            self.sink(position);
            self.rise(position);
        }
        if self.heap.capacity() >= SHRINK_MIN && self.heap.len() < self.heap.capacity() / 8 {
            self.heap.shrink_to(2 * self.heap.len());
        }
    }

    fn rise(&mut self, mut position: usize) {
        while position > 0 && self.is_before(position, (position - 1) / CHILDREN) {
            self.heap.swap(position, (position - 1) / CHILDREN);
            self.note(position);
            position = (position - 1) / CHILDREN;
        }
        self.note(position);
    }

    fn sink(&mut self, mut position: usize) {
        loop {
            let first = position * CHILDREN + 1;
            let children = first..(first + CHILDREN).min(self.heap.len());
            let next = children.reduce(|best, child| if self.is_before(child, best) { child } else { best });
            let Some(next) = next.filter(|&next| self.is_before(next, position)) else { break };
            self.heap.swap(position, next);
            self.note(position);
            position = next;
        }
        self.note(position);
    }

    /// Updates the position of the entry at `position`.
    fn note(&mut self, position: usize) {
        if let Some(entry) = self.entries.get_mut(self.heap[position]) {
            // There are fewer than 2^32 timers.
            entry.position = u32::try_from(position).unwrap_or(FIRING);
        }
    }

    /// Whether the timer at one position fires before that at another. Of two that are due at the same
    /// moment, the one added first does.
    fn is_before(&self, one: usize, other: usize) -> bool {
        let entry = |position: usize| self.entries.get(self.heap[position]);
        let (Some(one), Some(other)) = (entry(one), entry(other)) else { return false };
        let added_before = || one.serial.wrapping_sub(other.serial) > u32::MAX / 2;
        one.due < other.due || one.due == other.due && added_before()
    }
}

/// Children of each node in the heap. With four it is half as high as with two, and they are adjacent in
/// memory.
const CHILDREN: usize = 4;

/// The heap does not shrink below this capacity, as that would free little.
const SHRINK_MIN: usize = 1024;

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
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
    fn times_that_have_passed_are_skipped() {
        let mut timers = Timers::default();
        timers.add(ms(10), Some(ms(10)), None, ());
        assert!(fire(&mut timers, ms(9)).is_none());
        assert!(fire(&mut timers, ms(35)).is_some());
        assert!(fire(&mut timers, ms(35)).is_none());
        assert_eq!(timers.next_due(), Some(ms(40)), "in step with the first time");
    }

    #[test]
    fn a_period_of_zero_still_lets_the_loop_rest() {
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
        assert_eq!(timers.remove(new), Some(Some(())));
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

    #[test]
    fn a_timer_is_48_bytes_also_in_the_slab() {
        assert_eq!(size_of::<Option<Entry<Box<dyn FnMut()>>>>(), 48);
    }

    #[test]
    fn memory_is_freed_after_many_have_left() {
        let mut timers = Timers::default();
        let crowd: Vec<TimerId> = (0..20_000).map(|slot| timers.add(ms(1), None, Some(slot), ())).collect();
        // Half are cancelled, half end with their streams; the last one stays.
        crowd[..10_000].iter().for_each(|id| assert!(timers.remove(*id).is_some()));
        (10_000..19_999).for_each(|slot| assert!(timers.remove_next_of(slot).is_some()));
        timers.shrink(0);
        assert_eq!(timers.len(), 1);
        assert!(timers.heap.capacity() < SHRINK_MIN);
    }

    #[derive(Debug, Clone)]
    enum Step {
        /// With a due time from now, a period, and a stream.
        Add(u64, Option<u64>, Option<u32>),
        Cancel(usize),
        End(u32),
        /// Passes time, and cancels one in so many while it is called.
        Pass(u64, usize),
    }

    fn step() -> impl Strategy<Value = Step> {
        let option = proptest::option::of::<std::ops::Range<u64>>;
        let stream = proptest::option::of(0_u32..4);
        prop_oneof![
            6 => (0_u64..50, option(1..20), stream).prop_map(|(due, period, of)| Step::Add(due, period, of)),
            2 => any::<usize>().prop_map(Step::Cancel),
            1 => (0_u32..4).prop_map(Step::End),
            3 => (0_u64..4, 1_usize..8).prop_map(|(time, cancels)| Step::Pass(time, cancels)),
        ]
    }

    proptest! {
        /// The timers agree with a list.
        #[test]
        fn timers_fire_in_the_order_they_are_due(steps in proptest::collection::vec(step(), 0..200)) {
            let mut timers = Timers::default();
            // In the order in which they were added.
            let mut model: Vec<(u64, Option<u64>, Option<u32>, TimerId)> = Vec::new();
            let mut now = 0;
            for step in steps {
                match step {
                    Step::Add(due, period, owner) => {
                        let id = timers.add(ms(now + due), period.map(ms), owner, ());
                        model.push((now + due, period, owner, id));
                    }
                    Step::Cancel(number) if !model.is_empty() => {
                        let (.., id) = model.remove(number % model.len());
                        prop_assert_eq!(timers.remove(id), Some(Some(())));
                        prop_assert_eq!(timers.remove(id), None);
                    }
                    Step::Cancel(_) => {}
                    Step::End(slot) => {
                        let mut count = 0;
                        while timers.remove_next_of(slot).is_some() {
                            count += 1;
                        }
                        let before = model.len();
                        model.retain(|(_, _, owner, _)| *owner != Some(slot));
                        prop_assert_eq!(count, before - model.len());
                    }
                    Step::Pass(time, cancels) => {
                        now += time;
                        let mut expected: Vec<_> = model.iter().filter(|(due, ..)| *due <= now).collect();
                        expected.sort_by_key(|(due, ..)| *due);
                        let expected: Vec<_> = expected.iter().map(|(.., owner, id)| (*owner, *id)).collect();
                        let mut fired = Vec::new();
                        while let Some(due) = timers.take_due(ms(now)) {
                            fired.push((due.owner, due.id));
                            if fired.len() % cancels == 0 {
                                prop_assert_eq!(timers.remove(due.id), Some(None));
                                model.retain(|(.., id)| *id != due.id);
                            }
                            timers.put_back(due, ms(now));
                        }
                        prop_assert_eq!(fired, expected);
                        for (due, period, ..) in &mut model {
                            if *due <= now {
                                let next = |period| *due + ((now - *due) / period + 1) * period;
                                *due = period.map_or(u64::MAX, next);
                            }
                        }
                        model.retain(|(due, ..)| *due != u64::MAX);
                    }
                }
                prop_assert_eq!(timers.next_due(), model.iter().map(|(due, ..)| ms(*due)).min());
                prop_assert_eq!(timers.len(), model.len());
                for (position, &place) in timers.heap.iter().enumerate() {
                    let entry = timers.entries.get(place);
                    prop_assert_eq!(entry.map(|entry| entry.position as usize), Some(position));
                }
            }
        }
    }
}
