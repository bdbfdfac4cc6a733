//! What has been published is counted: the number of an event is in its id, and the same in every loop that
//! publishes the same. Where it stands is a matter of each loop alone.

use std::collections::VecDeque;

/// Runs of skipped places that are remembered. A new one needs some 4,096 events sent to one stream alone
/// between two that are published.
const RUNS_MAX: usize = 4096;

/// Which number the event at a place has, and where the event with a number stands. Nearly always that is the
/// same; but places are skipped where too much is sent to one stream alone.
#[derive(Debug, Default)]
pub(crate) struct Numbers {
    runs: VecDeque<Run>,
    /// Whether what stands before the first of them is unknown, as there were more.
    forgets: bool,
}

/// Places one after the other at which nothing was published.
#[derive(Debug)]
struct Run {
    first: u64,
    count: u64,
    /// How many were skipped before.
    before: u64,
}

impl Run {
    /// The number of the last event before it.
    fn number(&self) -> u64 {
        self.first - 1 - self.before
    }
}

impl Numbers {
    /// Nothing will be published at this place, behind all others so far.
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

    /// The number of the newest event at or before a place; none if that is too long ago.
    pub(crate) fn number_at(&self, place: u64) -> Option<u64> {
        let behind = self.runs.partition_point(|run| run.first <= place);
        let number = match behind.checked_sub(1).and_then(|last| self.runs.get(last)) {
            Some(run) => place - run.before - run.count.min(place - run.first + 1),
            None if self.forgets => return None,
            None => place,
        };
        Some(number)
    }

    /// The place of the event with a number, also if that has not come yet; none if that is too long ago.
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

    /// What is published and skipped, against a list of all places.
    #[test]
    fn numbers_count_what_is_published_and_nothing_else() {
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
        assert_eq!(numbers.place_of(newest + 3), Some(5_000 + 2), "what is to come");
    }

    #[test]
    fn what_is_forgotten_has_no_number_and_no_place() {
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
