//! What an application says of a graceful shutdown.

use crate::event::{Event, EventError};
use crate::topic::frame::EncodedEvent;
use std::time::Duration;

/// How a server shuts down: see [`Context::drain`](crate::Context::drain).
///
/// ```
/// use mio_sse::{Drain, Event};
/// use std::time::Duration;
///
/// let drain = Drain::within(Duration::from_secs(10))
///     .farewell(Event::data("back in a minute").event("bye"))
///     .retry(Duration::from_secs(60));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    window: Duration,
    farewell: Option<Event>,
    retry: Option<Duration>,
}

impl Drain {
    /// Closes every stream within `window`, and stops the server when all are gone, at its end at the latest.
    #[must_use]
    pub fn within(window: Duration) -> Self {
        Self { window, farewell: None, retry: None }
    }

    /// The last event that each stream gets.
    #[must_use]
    pub fn farewell(mut self, event: Event) -> Self {
        self.farewell = Some(event);
        self
    }

    /// When clients should come back, at the earliest (`retry:`), with up to as much again added, different for each. For
    /// `EventSource` this holds from then on, until the next `retry:`. Without it they come when they would after any end.
    #[must_use]
    pub fn retry(mut self, retry: Duration) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Whether the farewell can be written.
    pub(crate) fn check(&self) -> Result<(), EventError> {
        self.farewell.as_ref().map_or(Ok(()), |event| EncodedEvent::new(event).map(drop))
    }

    pub(crate) fn into_parts(self) -> (Duration, Option<Event>, Option<Duration>) {
        (self.window, self.farewell, self.retry)
    }
}

impl From<Duration> for Drain {
    fn from(window: Duration) -> Self {
        Self::within(window)
    }
}
