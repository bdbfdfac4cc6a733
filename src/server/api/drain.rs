//! What an application says of a graceful shutdown.

use crate::event::{Event, EventError};
use crate::topic::frame::EncodedEvent;
use std::time::Duration;

/// How a server shuts down: see [`Context::drain`](crate::Context::drain), and the guide
/// [Deployment](crate::guide::deployment).
///
/// ```
/// use mio_sse::{Drain, Event};
/// use std::time::Duration;
///
/// let drain = Drain::within(Duration::from_secs(10))
///     .farewell(Event::new().data("back in a minute").event("bye"))
///     .retry(Duration::from_secs(60));
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Drain {
    window: Duration,
    deadline: Option<Duration>,
    farewell: Option<Event<'static>>,
    retry: Option<Duration>,
}

impl Drain {
    /// Closes every stream within `window`, each at a moment of its own, and stops the server when all are
    /// gone. Without a [deadline](Self::deadline) they are closed in nine tenths of it, and the server stops
    /// at its end.
    #[must_use]
    pub fn within(window: Duration) -> Self {
        Self { window, deadline: None, farewell: None, retry: None }
    }

    /// Until when, from the beginning of the drain, the server goes on for clients that have not read
    /// everything and for streams that [finish](crate::StreamReply::finish): then it stops, and cuts off what
    /// is left. The streams are closed in the whole window, or in this time where that is shorter.
    ///
    /// ```
    /// use mio_sse::Drain;
    /// use std::time::Duration;
    ///
    /// // All at once, and ten seconds for what is on its way.
    /// let now = Drain::within(Duration::ZERO).deadline(Duration::from_secs(10));
    /// ```
    #[must_use]
    pub fn deadline(mut self, deadline: Duration) -> Self {
        self.deadline = Some(deadline);
        self
    }

    /// The last event that each stream gets.
    #[must_use]
    pub fn farewell<'e>(mut self, event: impl Into<Event<'e>>) -> Self {
        self.farewell = Some(event.into().into_owned());
        self
    }

    /// When clients should come back, at the earliest (`retry:`), with up to as much again added, different
    /// for each. For `EventSource` this holds from then on, until the next `retry:`. Without it they come
    /// when they would after any end.
    #[must_use]
    pub fn retry(mut self, retry: Duration) -> Self {
        self.retry = Some(retry);
        self
    }

    /// Whether the farewell can be written.
    pub(crate) fn check(&self) -> Result<(), EventError> {
        self.farewell.as_ref().map_or(Ok(()), |event| EncodedEvent::new(event).map(drop))
    }

    pub(crate) fn into_parts(self) -> (Duration, Option<Duration>, Option<Event<'static>>, Option<Duration>) {
        let window = self.deadline.map_or(self.window, |deadline| self.window.min(deadline));
        (window, self.deadline, self.farewell, self.retry)
    }
}

impl From<Duration> for Drain {
    fn from(window: Duration) -> Self {
        Self::within(window)
    }
}
