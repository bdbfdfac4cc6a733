//! The state of a graceful shutdown.

use crate::topic::frame::EncodedEvent;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

/// Whether a shutdown is in progress, for other threads. Clones share the flag.
#[derive(Debug, Clone, Default)]
pub(crate) struct DrainFlag(Arc<AtomicBool>);

impl DrainFlag {
    pub(crate) fn set(&self) {
        self.0.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_set(&self) -> bool {
        self.0.load(Ordering::Relaxed)
    }
}

/// A shutdown in progress, see [`Context::drain`](crate::Context::drain).
pub(crate) struct Draining {
    pub(crate) begun: Duration,
    pub(crate) window: Duration,
    /// The time from `begun` after which the server stops at the latest.
    pub(crate) deadline: Option<Duration>,
    pub(crate) farewell: Option<EncodedEvent>,
    pub(crate) retry: Option<Duration>,
    pub(crate) listener_closed: bool,
    /// The next slot to check for an idle connection, and for a source to tell.
    pub(crate) next_idle: u32,
    pub(crate) next_source: u32,
    /// The slot that is closed next.
    pub(crate) next: u32,
    /// One more than the last slot.
    pub(crate) bound: u32,
}

impl Draining {
    /// When the next slot is due, or the end of the drain.
    pub(crate) fn next_due(&self) -> Duration {
        if !self.has_told() {
            return self.begun;
        }
        if self.next >= self.bound {
            return self.end();
        }
        let share = f64::from(self.next) / f64::from(self.bound);
        self.begun.saturating_add(self.span().mul_f64(share)).min(self.end())
    }

    /// Whether idle connections were closed and sources told.
    pub(crate) fn has_told(&self) -> bool {
        self.listener_closed && self.next_idle >= self.bound && self.next_source >= self.bound
    }

    /// The end of the drain.
    pub(crate) fn end(&self) -> Duration {
        self.begun.saturating_add(self.deadline.unwrap_or(self.window))
    }

    /// The time in which streams are closed. Without a deadline the last tenth of the window is left for
    /// clients to read the rest.
    fn span(&self) -> Duration {
        if self.deadline.is_some() { self.window } else { self.window - self.window / 10 }
    }
}
