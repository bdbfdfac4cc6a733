//! Memory pressure: what is freed, and in which order.
//!
//! `Pressure` is checked once a turn (step 8). Above seven eighths of `memory_max` it goes through its stages
//! until less than three quarters are in use:
//!
//! 1. Publishers wait, for 100 ms.
//! 2. All topics and connections are visited in rounds, 4,096 in a turn, with the permitted lag halved each
//!    round. Making room then closes streams as usual, only sooner.
//! 3. Histories are halved in each round.
//!
//! While all of it is in use, `publish` and `send` fail, orders that take memory go back into the inbox, and
//! requests are refused. No loss is silent: a stream that was closed resumes, and a shortened history is a
//! gap. The newest event of a key is never dropped; removing keys works even when memory is full.

use std::time::Duration;

/// The parts of `Config::memory_max`, in sixteenths, at which pressure begins, ends, and no longer waits.
const BEGINS: usize = 14;
const ENDS: usize = 12;
const HURRIES: usize = 15;

/// How long publishers wait before streams are closed: by then streams that read as fast as they can have
/// made room.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

/// How long the server rests if no more memory can be freed.
const RESTS: Duration = Duration::from_secs(1);

/// How often the permitted lag is halved, the last time to zero, and then the histories.
const HALVINGS: u8 = 8;

/// The stages of relief.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Stage {
    #[default]
    Calm,
    /// Publishers wait for streams that read.
    Waiting { since: Duration },
    /// The streams that lag furthest are closed or skip: the permitted lag is halved in each round.
    Cutting { halvings: u8 },
    /// Histories are halved in each round.
    Shortening { halvings: u8 },
    /// No more memory can be freed.
    Stuck { until: Duration },
}

/// The relief to do in one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relief {
    Cut,
    Shorten,
}

/// The stage, and the position in the round over all topics and connections.
#[derive(Debug, Default)]
pub(crate) struct Pressure {
    stage: Stage,
    pub(crate) next_topic: usize,
    pub(crate) next_slot: u32,
}

impl Pressure {
    pub(crate) fn stage(&self) -> Stage {
        self.stage
    }

    /// Whether publishers have to wait.
    pub(crate) fn is_on(&self) -> bool {
        self.stage != Stage::Calm
    }

    /// Whether streams that lag are closed sooner than usual.
    pub(crate) fn is_cutting(&self) -> bool {
        !matches!(self.stage, Stage::Calm | Stage::Waiting { .. })
    }

    /// The permitted lag at this stage, given `lag_bytes_max`.
    pub(crate) fn lag_bytes_max(&self, lag_bytes_max: usize) -> usize {
        match self.stage {
            Stage::Calm | Stage::Waiting { .. } => lag_bytes_max,
            Stage::Cutting { halvings } if halvings < HALVINGS => lag_bytes_max >> halvings,
            Stage::Cutting { .. } | Stage::Shortening { .. } | Stage::Stuck { .. } => 0,
        }
    }

    /// The relief to do while `held` of `max` bytes are in use.
    pub(crate) fn look(&mut self, held: usize, max: usize, now: Duration) -> Option<Relief> {
        let part = |sixteenths| part(max, sixteenths);
        self.stage = match self.stage {
            Stage::Calm if held < part(BEGINS) => return None,
            Stage::Calm => Stage::Waiting { since: now },
            _ if held < part(ENDS) => Stage::Calm,
            stage => stage,
        };
        match self.stage {
            Stage::Waiting { since } if held >= part(HURRIES) || now.saturating_sub(since) >= PATIENCE => {
                self.stage = Stage::Cutting { halvings: 1 };
            }
            Stage::Stuck { until } if now >= until => self.stage = Stage::Cutting { halvings: 1 },
            _ => {}
        }
        match self.stage {
            Stage::Cutting { .. } => Some(Relief::Cut),
            Stage::Shortening { .. } => Some(Relief::Shorten),
            Stage::Calm | Stage::Waiting { .. } | Stage::Stuck { .. } => None,
        }
    }

    /// Ends a round over all topics and connections that was not enough. Returns whether nothing more can be
    /// done.
    pub(crate) fn is_not_enough(&mut self, now: Duration) -> bool {
        (self.next_topic, self.next_slot) = (0, 0);
        self.stage = match self.stage {
            Stage::Cutting { halvings } if halvings < HALVINGS => Stage::Cutting { halvings: halvings + 1 },
            Stage::Cutting { .. } => Stage::Shortening { halvings: 1 },
            Stage::Shortening { halvings } if halvings < HALVINGS => {
                Stage::Shortening { halvings: halvings + 1 }
            }
            Stage::Shortening { .. } => Stage::Stuck { until: now.saturating_add(RESTS) },
            stage => stage,
        };
        matches!(self.stage, Stage::Stuck { .. })
    }

    /// When there is something to do again, while `held` of `max` bytes are in use.
    pub(crate) fn next_due(&self, held: usize, max: usize) -> Option<Duration> {
        match self.stage {
            // Memory taken since the last check may be too much.
            Stage::Calm => (held >= part(max, BEGINS)).then_some(Duration::ZERO),
            Stage::Waiting { since } => Some(since.saturating_add(PATIENCE)),
            Stage::Cutting { .. } | Stage::Shortening { .. } => Some(Duration::ZERO),
            Stage::Stuck { until } => Some(until),
        }
    }
}

fn part(max: usize, sixteenths: usize) -> usize {
    max / 16 * sixteenths
}

#[cfg(test)]
mod tests {
    use super::*;

    const MAX: usize = 1600;

    #[test]
    fn publishers_wait_then_laggards_are_cut_then_histories_shorten() {
        let mut pressure = Pressure::default();
        assert_eq!(pressure.look(1399, MAX, Duration::ZERO), None);
        assert!(!pressure.is_on());
        assert_eq!(pressure.look(1400, MAX, Duration::ZERO), None);
        assert!(pressure.is_on());
        assert_eq!(pressure.lag_bytes_max(1000), 1000);
        assert_eq!(pressure.look(1400, MAX, PATIENCE), Some(Relief::Cut));
        for halved in [500, 250, 125, 62, 31, 15, 7, 0] {
            assert_eq!(pressure.lag_bytes_max(1000), halved);
            assert_eq!(pressure.look(1400, MAX, PATIENCE), Some(Relief::Cut));
            assert!(!pressure.is_not_enough(PATIENCE));
        }
        for round in 0..HALVINGS {
            assert_eq!(pressure.look(1300, MAX, PATIENCE), Some(Relief::Shorten));
            assert_eq!(pressure.is_not_enough(PATIENCE), round + 1 == HALVINGS);
        }
        assert_eq!(pressure.look(1300, MAX, PATIENCE), None);
        assert_eq!(pressure.look(1300, MAX, PATIENCE + RESTS), Some(Relief::Cut));
        assert_eq!(pressure.look(1199, MAX, PATIENCE + RESTS), None);
        assert!(!pressure.is_on());
    }

    #[test]
    fn near_the_limit_publishers_do_not_wait() {
        let mut pressure = Pressure::default();
        assert_eq!(pressure.look(1500, MAX, Duration::ZERO), Some(Relief::Cut));
    }
}
