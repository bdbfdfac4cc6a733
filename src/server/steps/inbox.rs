//! Step 4: messages of other threads.

use crate::server::api::app::App;
use crate::server::api::server::Server;
use crate::server::io::net::Net;
use crate::server::state::core::Job;
use crate::server::state::inbox::{Order, Publication};
use crate::server::state::pressure::PATIENCE;
use std::iter;
use std::time::Duration;

/// Messages taken from the inbox in one batch.
const INBOX_BATCH: usize = 64;

/// Batches of messages taken in one turn at most.
const INBOX_BATCHES_PER_TURN: usize = 16;

impl<H: App, N: Net> Server<H, N> {
    /// Step 4: applies messages of other threads. While streams cannot keep up with publishers, messages stay
    /// in the inbox: publishers wait, and memory does not grow.
    pub(crate) fn take_inbox(&mut self) {
        // After each rest at least one batch is taken. Otherwise handlers that publish could block publishers
        // for ever.
        let mut rested = self.inbox_rests_until.is_some_and(|until| until <= self.core.now);
        for _ in 0..INBOX_BATCHES_PER_TURN {
            if let Some(until) = self.publishers_wait_until().filter(|_| !rested) {
                self.inbox_waiting = true;
                self.inbox_rests_until.get_or_insert(until);
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
            self.core.inbox_bytes = self.core.inbox.bytes();
            let mut waiting = messages.drain(..);
            while let Some(message) = waiting.next() {
                if message.takes_memory() && self.core.memory_is_full() {
                    // The messages go back into the inbox, and publishers wait.
                    self.core.inbox.put_back(iter::once(message).chain(waiting.by_ref()));
                    // Late replies are applied anyway, because they free the memory of their requests.
                    let is_reply = |order: &Order<Job>| matches!(order, Order::Run(Job::Reply(..)));
                    let replies = self.core.inbox.take_out(is_reply);
                    replies.into_iter().for_each(|reply| self.apply(reply));
                    self.inbox_waiting = true;
                    self.inbox_rests_until = Some(self.core.now.saturating_add(PATIENCE));
                    break;
                }
                self.core.work.orders += 1;
                self.apply(message);
            }
            drop(waiting);
            self.messages = messages;
            if !self.inbox_waiting || self.inbox_rests_until.is_some() {
                return;
            }
        }
    }

    /// Until when publishers have to wait, if at all: for streams that are still reading, or for memory.
    fn publishers_wait_until(&mut self) -> Option<Duration> {
        // Messages of handlers are never held back, in any loop.
        let may_wait = !self.core.inbox.has_of_handlers();
        let crowded = self.core.delivery.crowded_until().filter(|_| may_wait).map(Duration::from_millis);
        let memory = self.core.pressure.is_on().then(|| self.core.now.saturating_add(PATIENCE));
        crowded.max(memory)
    }

    fn publish_for_publisher(&mut self, publication: &Publication) {
        if let Err(error) = self.core.publish_in_order(publication) {
            let topics: Vec<_> = publication.topics().collect();
            log::debug!("cannot publish to {topics:?} for another thread: {error}");
        }
    }

    fn apply(&mut self, order: Order<Job>) {
        match order {
            Order::Publish(publication) => self.publish_for_publisher(&publication),
            // The stream may have ended since, which the publisher could not know.
            Order::Send { stream, event } => drop(self.core.send_encoded(stream, &event)),
            Order::SendTagged { tag, event } => drop(self.core.send_tagged_encoded(&tag, &event)),
            Order::Wake { stream } => drop(self.core.wake(stream)),
            Order::Adopt { socket, input } => {
                if let Some(link) = &self.core.link {
                    link.sequencer.arrived(link.index);
                }
                self.adopt_for_publisher(socket, input);
            }
            Order::Close { stream } => drop(self.core.close(stream)),
            Order::Own(order) => {
                self.core.own_arrived();
                self.apply(*order);
            }
            Order::Run(Job::Reply(request, awaited, reply)) => {
                self.core.late.push_back((request, awaited, reply));
            }
            Order::Run(Job::Run(work)) => {
                let state = self.handler.state();
                self.core.guard("a publisher's closure", |core| work(core, state));
            }
        }
    }
}
