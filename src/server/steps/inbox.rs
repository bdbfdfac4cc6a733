//! Step 4: what other threads have asked for.

use crate::server::api::handler::Handler;
use crate::server::api::server::Server;
use crate::server::io::net::Net;
use crate::server::state::core::Work;
use crate::server::state::inbox::Order;
use std::time::Duration;

/// Messages taken from the inbox at once.
const INBOX_BATCH: usize = 64;

/// Batches of messages taken in one turn at most.
const INBOX_BATCHES_PER_TURN: usize = 16;

impl<H: Handler, N: Net> Server<H, N> {
    /// Step 4: does what other threads have asked for. Leaves it to wait while the streams cannot keep up with what is
    /// published, so that it is the publishers who wait and not memory that grows.
    pub(crate) fn take_inbox(&mut self) {
        // After each rest at least one batch is taken, or handlers that publish could keep all others
        // waiting.
        let mut rested = self.inbox_rests_until.is_some_and(|until| until <= self.core.now);
        for _ in 0..INBOX_BATCHES_PER_TURN {
            if let Some(until) = self.core.delivery.crowded_until().filter(|_| !rested) {
                self.inbox_waiting = true;
                self.inbox_rests_until.get_or_insert(Duration::from_millis(until));
                return;
            }
            (self.inbox_rests_until, rested) = (None, false);
            let congested = self.core.delivery.topics.unoffered() > self.core.config.lag_bytes_max;
            if congested && self.core.delivery.topics.has_dirty() {
                self.inbox_waiting = true;
                return;
            }
            let mut messages = std::mem::take(&mut self.messages);
            self.inbox_waiting = self.core.inbox.take(INBOX_BATCH, &mut messages);
            for message in messages.drain(..) {
                self.apply(message);
            }
            self.messages = messages;
            if !self.inbox_waiting {
                return;
            }
        }
    }

    fn apply(&mut self, order: Order<Work>) {
        match order {
            Order::Publish { topic, event, at } => {
                if let Err(error) = self.core.publish_encoded(&topic, &event, at) {
                    log::debug!("nothing is published to {topic:?} for another thread: {error}");
                }
            }
            // The stream may have ended since: the publisher could not know.
            Order::Send { stream, event } => drop(self.core.send_encoded(stream, &event)),
            Order::SendTagged { tag, event } => drop(self.core.send_tagged_encoded(&tag, &event)),
            Order::Wake { stream } => drop(self.core.wake(stream)),
            Order::Adopt { socket, input } => self.adopt_for_publisher(socket, input),
            Order::Close { stream } => drop(self.core.close(stream)),
            Order::Run(work) => {
                self.core.guard("a publisher's closure", work);
            }
        }
    }
}
