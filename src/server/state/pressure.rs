//! What gives way when more memory is held than may be, and in which order.
//!
//! `Pressure` is asked once a turn (step 8). From seven eighths of `memory_max` on, it goes through its
//! stages until three quarters are left:
//!
//! 1. Publishers wait, for 100 ms.
//! 2. All topics and connections are gone round, 4,096 in a turn, with the permitted lag halved each round.
//!    Making room then cuts as it always does, only sooner.
//! 3. Histories are halved, round by round.
//!
//! If all of it is still held, `publish` and `send` fail, orders that take memory go back into the inbox, and
//! requests are refused. No loss is silent: a stream that is cut resumes, and a shortened history is a gap.
//! The newest event of a key never gives way; removing keys works also when memory is full.

use std::time::Duration;

/// The parts of `Config::memory_max`, in sixteenths, at which pressure begins, ends, and leaves no time.
const BEGINS: usize = 14;
const ENDS: usize = 12;
const HURRIES: usize = 15;

/// How long publishers wait before anybody is cut: those who read as fast as they can have made room by then.
pub(crate) const PATIENCE: Duration = Duration::from_millis(100);

/// How long the server rests when nothing more can give way.
const RESTS: Duration = Duration::from_secs(1);

/// What may lag is halved so often, the last time to nothing, and then what is kept.
const HALVINGS: u8 = 8;

/// How far the server has gone to get by with its memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Stage {
    #[default]
    Calm,
    /// Publishers wait for those who read.
    Waiting { since: Duration },
    /// Who lags furthest behind is cut, or skips: nobody may have more behind than a part, which is halved
    /// each time round.
    Cutting { halvings: u8 },
    /// Histories are halved each time round.
    Shortening { halvings: u8 },
    /// What is left cannot give way.
    Stuck { until: Duration },
}

/// What is to be done about it, in one turn.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Relief {
    Cut,
    Shorten,
}

/// The stage, and where the server stands in going round all topics and connections.
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

    /// Whether publishers are to wait.
    pub(crate) fn is_on(&self) -> bool {
        self.stage != Stage::Calm
    }

    /// Whether those who lag are cut sooner than they would be.
    pub(crate) fn is_cutting(&self) -> bool {
        !matches!(self.stage, Stage::Calm | Stage::Waiting { .. })
    }

    /// What may lag of `lag_bytes_max` at this stage.
    pub(crate) fn lag_bytes_max(&self, lag_bytes_max: usize) -> usize {
        match self.stage {
            Stage::Calm | Stage::Waiting { .. } => lag_bytes_max,
            Stage::Cutting { halvings } if halvings < HALVINGS => lag_bytes_max >> halvings,
            Stage::Cutting { .. } | Stage::Shortening { .. } | Stage::Stuck { .. } => 0,
        }
    }

    /// So many bytes are held of `max`. What is to be done about it?
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

    /// All topics and connections have been gone round, and it was not enough. Returns whether nothing more
    /// can be done.
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

    /// When there is something to be done again, where so many bytes are held of `max`.
    pub(crate) fn next_due(&self, held: usize, max: usize) -> Option<Duration> {
        match self.stage {
            // What has come since the last look may be too much.
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
    fn near_the_limit_nobody_waits() {
        let mut pressure = Pressure::default();
        assert_eq!(pressure.look(1500, MAX, Duration::ZERO), Some(Relief::Cut));
    }
}
