//! Numbers of published events. The id of an event has its number, which is the same in every loop that
//! publishes the same events. Its place in the sequence differs from loop to loop.

use std::collections::VecDeque;

/// How many runs of skipped places are remembered. A new run needs some 4,096 events sent to one stream alone
/// between two published events.
const RUNS_MAX: usize = 4096;

/// Maps places in the sequence to numbers of events, and back. They are nearly always equal, but places are
/// skipped if many events are sent to one stream alone.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    runs: VecDeque<Run>,
    /// Whether earlier runs were dropped, so that places before the first run are unknown.
    forgets: bool,
}

/// Consecutive places at which nothing was published.
#[derive(Debug)]
struct Run {
    first: u64,
    count: u64,
    /// How many places were skipped before this run.
    before: u64,
}

impl Run {
    /// The number of the last event before this run.
    fn number(&self) -> u64 {
        self.first - 1 - self.before
    }
}

impl Numbers {
    /// Notes that nothing is published at this place, which is after all others so far.
    pub(crate) fn skip(&mut self, place: u64) {
        let before = match self.runs.back_mut() {
            Some(run) if run.first + run.count == place => return run.count += 1,
            Some(run) => run.before + run.count,
            None => 0,
        };
        if self.runs.len() >= RUNS_MAX {
            self.runs.pop_front();
            self.forgets = true;
        }
        self.runs.push_back(Run { first: place, count: 1, before });
    }

    /// The number of the newest event at or before a place; `None` if that is too long ago.
    pub(crate) fn number_at(&self, place: u64) -> Option<u64> {
        let behind = self.runs.partition_point(|run| run.first <= place);
        let number = match behind.checked_sub(1).and_then(|last| self.runs.get(last)) {
            Some(run) => place - run.before - run.count.min(place - run.first + 1),
            None if self.forgets => return None,
            None => place,
        };
        Some(number)
    }

    /// The place of the event with this number, even if it is not published yet; `None` if that is too long
    /// ago.
    pub(crate) fn place_of(&self, number: u64) -> Option<u64> {
        let behind = self.runs.partition_point(|run| run.number() < number);
        let skipped = match behind.checked_sub(1).and_then(|last| self.runs.get(last)) {
            Some(run) => run.before + run.count,
            None if self.forgets => return None,
            None => 0,
        };
        number.checked_add(skipped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Compares with a list of all places.
    #[test]
    fn numbers_count_published_events_only() {
        let mut numbers = Numbers::default();
        // The number of the newest event at each place.
        let (mut at, mut random) = (vec![0], 7_u64);
        for place in 1..5_000 {
            random = random.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let is_skipped = random >> 62 == 0;
            if is_skipped {
                numbers.skip(place);
            }
            at.push(at[at.len() - 1] + u64::from(!is_skipped));
        }
        for (place, number) in at.iter().enumerate() {
            assert_eq!(numbers.number_at(place as u64), Some(*number), "at {place}");
            if place == 0 || at[place - 1] < *number {
                assert_eq!(numbers.place_of(*number), Some(place as u64), "of {number}");
            }
        }
        let newest = at[at.len() - 1];
        assert_eq!(numbers.place_of(newest + 3), Some(5_000 + 2), "events to come");
    }

    #[test]
    fn forgotten_runs_have_no_numbers_and_no_places() {
        let mut numbers = Numbers::default();
        // An event, a skipped place, an event, and so on.
        (0..RUNS_MAX as u64 + 10).for_each(|run| numbers.skip(2 * run + 2));
        assert_eq!(numbers.runs.len(), RUNS_MAX);
        assert_eq!((numbers.number_at(20), numbers.place_of(10)), (None, None));
        assert_eq!(numbers.number_at(23), Some(12));
        assert_eq!(numbers.place_of(12), Some(23));
        assert_eq!(numbers.place_of(u64::MAX), None);
    }
}
