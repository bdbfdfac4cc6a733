//! Graceful shutdown: every stream has its own moment in a window, so that clients do not come back all at once.

use crate::conn::close_reason::CloseReason;
use crate::conn::slot::{Connection, Flags};
use crate::event::{Event, EventError};
use crate::server::api::handler::Handler;
use crate::server::api::observer::Audience;
use crate::server::api::server::Server;
use crate::server::io::net::Net;
use crate::server::state::core::{Core, Draining};
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

/// The part of the window in which streams are closed; the rest is for what they have not read yet.
fn span(window: Duration) -> Duration {
    window - window / 10
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

impl<H: Handler, N: Net> Server<H, N> {
    /// A part of step 6: goes on with a drain, if there is one.
    pub(crate) fn drain(&mut self) {
        let Some(drain) = &mut self.core.drain else { return };
        if !drain.listener_closed {
            drain.listener_closed = true;
            self.stop_listening();
        }
        let now = self.core.now;
        while let Some(drain) = &mut self.core.drain
            && drain.next < drain.bound
            && drain.next_due() <= now
        {
            let slot = drain.next;
            drain.next += 1;
            self.core.take_leave(slot);
        }
    }

    /// Whether a drain is over: everybody has gone, or the time is.
    pub(crate) fn is_drained(&self) -> bool {
        self.core.drain.as_ref().is_some_and(|drain| {
            self.core.slots.len() == 0 || self.core.now >= drain.begun.saturating_add(drain.window)
        })
    }
}

impl Core {
    /// The moment of the connection in `slot` has come.
    fn take_leave(&mut self, slot: u32) {
        let Some(entry) = self.slots.get(slot) else { return };
        match &entry.state {
            Connection::Streaming(stream) if stream.flags.has(Flags::FINISH) => {}
            Connection::Streaming(_) => self.close_drained(slot),
            // Between two requests, or before the first. Where one has begun, it is answered, and the connection closed behind it.
            Connection::Reading { held: None, .. } => self.end(slot, CloseReason::Drained),
            _ => {}
        }
    }

    /// Whether there is a drain, and the moment of the connection in `slot` has passed.
    pub(crate) fn has_taken_leave(&self, slot: u32) -> bool {
        self.drain.as_ref().is_some_and(|drain| slot < drain.next)
    }

    /// Ends an open stream with what a drain has to say to it.
    pub(crate) fn close_drained(&mut self, slot: u32) {
        let Some(drain) = &self.drain else { return };
        let (farewell, retry) = (drain.farewell.clone(), drain.retry);
        let Some(id) = self.slots.id(slot).filter(|id| self.slots.live(*id).is_ok()) else { return };
        if let Some(farewell) = farewell {
            self.append_private(slot, farewell.bytes(), farewell.kind());
            self.stats.events_sent += 1;
            self.observe(Audience::Stream(id), &farewell);
        }
        if let Some(retry) = retry {
            let retry = self.scatter(retry);
            self.append_retry(slot, retry);
        }
        // It is live, so there is something to close.
        let _ = self.close_for(id, CloseReason::Drained);
    }
}
