//! The options of a graceful shutdown.

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
    /// Closes every stream within `window`, each at a moment of its own, and stops the server when all
    /// connections are closed. Without a [deadline](Self::deadline) the streams are closed in the first nine
    /// tenths of it, and the server stops at its end.
    #[must_use]
    pub fn within(window: Duration) -> Self {
        Self { window, deadline: None, farewell: None, retry: None }
    }

    /// The time, from the beginning of the drain, that the server waits for clients that have not read
    /// everything and for streams that [finish](crate::StreamReply::finish). Then it stops and cuts off the
    /// rest. The streams are closed in the whole window, or in this time if it is shorter.
    ///
    /// ```
    /// use mio_sse::Drain;
    /// use std::time::Duration;
    ///
    /// // Closes all streams at once, and waits ten seconds for clients that are still reading.
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

    /// How long clients should wait before they reconnect (`retry:`). Each gets a different delay between
    /// once and twice this. `EventSource` keeps the delay until the next `retry:`. Without it clients
    /// reconnect as after any end.
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
