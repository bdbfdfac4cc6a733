//! How far a graceful shutdown has come.

use crate::topic::frame::EncodedEvent;
use std::time::Duration;

/// A shutdown in progress, see [`Context::drain`](crate::Context::drain).
pub(crate) struct Draining {
    pub(crate) begun: Duration,
    pub(crate) window: Duration,
    pub(crate) farewell: Option<EncodedEvent>,
    pub(crate) retry: Option<Duration>,
    pub(crate) listener_closed: bool,
    /// The slot whose moment comes next.
    pub(crate) next: u32,
    /// One more than the last slot.
    pub(crate) bound: u32,
}

impl Draining {
    /// When the next slot is due, or all is to be over.
    pub(crate) fn next_due(&self) -> Duration {
        let end = self.begun.saturating_add(self.window);
        if self.next >= self.bound {
            return end;
        }
        let share = f64::from(self.next) / f64::from(self.bound);
        self.begun.saturating_add(span(self.window).mul_f64(share)).min(end)
    }
}

/// The part of the window in which streams are closed; the rest is for what they have not read yet.
fn span(window: Duration) -> Duration {
    window - window / 10
}
