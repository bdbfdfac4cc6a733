//! State that the threads of a hub share with its users.

use crate::error::PublishError;
use crate::stats::HubStats;
use crate::writer::{Fate, Writer};
use mio_sse::Position;
use std::fmt;
use std::sync::{Condvar, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

/// Time between two warnings about malformed entries.
const COMPLAINTS: Duration = Duration::from_secs(60);

/// Receives the result of a write.
pub(crate) type Done = Box<dyn FnOnce(Result<Position, PublishError>) + Send>;

/// The state of a hub.
pub(crate) struct Shared {
    state: Mutex<State>,
    /// Signalled when there is something to write, and when the hub stops.
    news: Condvar,
    begun: Instant,
}

pub(crate) struct State {
    pub(crate) writer: Writer<Done>,
    /// The newest position that was read or written.
    pub(crate) highest: Position,
    pub(crate) stats: HubStats,
    pub(crate) stopped: bool,
    /// Time of the last warning about malformed entries.
    complained: Option<Duration>,
}

impl fmt::Debug for Shared {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.lock().stats.fmt(f)
    }
}

impl Shared {
    pub(crate) fn new(name: u64, waiting_max: usize) -> Self {
        let state = State {
            writer: Writer::new(name, waiting_max),
            highest: Position::default(),
            stats: HubStats::default(),
            stopped: false,
            complained: None,
        };
        Self { state: Mutex::new(state), news: Condvar::new(), begun: now() }
    }

    /// Callers must not run code of the application under the lock.
    pub(crate) fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Time since the hub was made.
    pub(crate) fn now(&self) -> Duration {
        now().duration_since(self.begun)
    }

    pub(crate) fn tell(&self) {
        self.news.notify_all();
    }

    /// Waits for a signal, at most for `time`.
    pub(crate) fn wait<'a>(
        &self,
        state: MutexGuard<'a, State>,
        time: Option<Duration>,
    ) -> MutexGuard<'a, State> {
        match time {
            None => self.news.wait(state).unwrap_or_else(PoisonError::into_inner),
            Some(time) => self.news.wait_timeout(state, time).unwrap_or_else(PoisonError::into_inner).0,
        }
    }

    /// Waits for `time`, or until the hub stops. Returns whether the hub is still running.
    pub(crate) fn rest(&self, time: Duration) -> bool {
        let until = self.now() + time;
        let mut state = self.lock();
        while !state.stopped {
            let left = until.saturating_sub(self.now());
            if left.is_zero() {
                return true;
            }
            state = self.wait(state, Some(left));
        }
        false
    }

    /// Stops the threads. Waiting events are not written.
    pub(crate) fn stop(&self) {
        let mut state = self.lock();
        state.stopped = true;
        let late = state.writer.give_up_all();
        drop(state);
        self.tell();
        for (done, _) in late {
            done(Err(PublishError::Stopped));
        }
    }

    /// Logs a problem that another writer has caused: a warning once in a while, otherwise at `debug`.
    pub(crate) fn complain(&self, problem: &str) {
        let now = self.now();
        let mut state = self.lock();
        let is_due = state.complained.is_none_or(|last| now.saturating_sub(last) >= COMPLAINTS);
        if is_due {
            state.complained = Some(now);
        }
        drop(state);
        log::log!(if is_due { log::Level::Warn } else { log::Level::Debug }, "{problem}");
    }

    /// Counts the results of writes and passes them to the callers.
    pub(crate) fn settle(&self, fates: Vec<(Done, Fate)>) {
        if fates.is_empty() {
            return;
        }
        let mut state = self.lock();
        for (_, fate) in &fates {
            match fate {
                Fate::Written(position) => {
                    state.highest = state.highest.max(*position);
                    state.stats.published += 1;
                }
                Fate::Late(_) | Fate::Refused(_) => state.stats.publish_failed += 1,
            }
        }
        drop(state);
        for (done, fate) in fates {
            done(match fate {
                Fate::Written(position) => Ok(position),
                Fate::Late(problem) => Err(PublishError::TimedOut(problem)),
                Fate::Refused(problem) => Err(PublishError::Refused(problem)),
            });
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "the threads of this crate have a clock of their own")]
fn now() -> Instant {
    Instant::now()
}
