//! Step 7: delivers events, to the streams in the queue and then in waves over the topics that have news.

use crate::conn::close_reason::CloseReason;
use crate::delivery::serve::Given;
use crate::delivery::stream::{Flags, Phase};
use crate::server::api::app::App;
use crate::server::api::server::Server;
use crate::server::io::net::Net;
use crate::server::io::write::write;
use crate::topic::topics::TopicKey;

/// Subscribers of one topic that are visited before the next topic.
const QUANTUM: usize = 256;

/// Bytes written to all streams in one turn, about: some milliseconds' worth. Compressed bytes count for
/// more, see [`Delivery::work`](crate::delivery::delivery::Delivery::work).
const BYTES_PER_TURN: usize = 4 << 20;

/// Bytes written to a stream in the queue before the next stream.
const BYTES_PER_VISIT: usize = 256 << 10;

impl<H: App, N: Net> Server<H, N> {
    /// Serves the streams in the queue, then fans out what was published.
    pub(crate) fn flush(&mut self) {
        let (budget, begun) = (self.core.config.sends_per_turn, self.core.delivery.work());
        // If both have work, each gets at least half of the turn.
        let parts = if self.core.delivery.topics.has_dirty() { 2 } else { 1 };
        let served = self.serve_queue(budget.div_ceil(parts), BYTES_PER_TURN / parts);
        let mut left = (budget - served).max(1);
        while left > 0 {
            let Some(key) = self.core.delivery.topics.next_dirty() else { return };
            self.core.begin_wave(key);
            let done = usize::try_from(self.core.delivery.work() - begun).unwrap_or(usize::MAX);
            // Most streams get all that was published since the last wave. Their number is limited to keep
            // the turn short.
            let each = self.core.delivery.topics.get(key).offered().max(1);
            let share = BYTES_PER_TURN.saturating_sub(done) / each;
            let count = left.min(QUANTUM).min(share.max(1));
            left = left.saturating_sub(self.fan_out(key, count, begun + BYTES_PER_TURN as u64).max(1));
            self.core.delivery.topics.rotate_dirty();
            if share == 0 {
                return;
            }
        }
    }

    /// Serves up to `count` streams from the queue, until `bytes` were written. Returns the number of streams
    /// served.
    pub(crate) fn serve_queue(&mut self, count: usize, bytes: usize) -> usize {
        // A stream that needs more than one visit joins the queue again, for the next turn.
        let count = count.min(self.core.delivery.queue.len());
        let end = self.core.delivery.work().saturating_add(bytes as u64);
        let mut served = 0;
        while served < count && self.core.delivery.work() < end {
            let Some(slot) = self.core.delivery.queue.pop_front() else { break };
            served += 1;
            if let Some(stream) = self.core.delivery.stream_mut(slot) {
                stream.queued = false;
                self.serve(slot, BYTES_PER_VISIT);
            }
        }
        self.core.work.streams_served += served as u64;
        served
    }

    /// Continues the topic's wave by `count` subscribers. A subscriber that needs more than the new frames is
    /// served at once until `end` bytes were written in total, and queued after that. Returns the number
    /// visited.
    fn fan_out(&mut self, key: TopicKey, count: usize, end: u64) -> usize {
        let now = self.core.tick();
        let (net, sockets) = (&mut self.net, &mut self.sockets);
        let mut offered = self.core.delivery.offer(key, count, now, |slot, bytes| {
            let socket =
                sockets.get_mut(slot as usize).and_then(Option::as_mut).ok_or(CloseReason::IoError)?;
            write(net, socket, bytes)
        });
        for (slot, reason) in offered.failed {
            self.core.end(slot, reason);
        }
        for &slot in &offered.aside {
            // A queued stream whose socket has room pins its logs, so they drop nothing that it still needs.
            if self.core.delivery.work() < end {
                self.serve(slot, BYTES_PER_VISIT);
            } else {
                self.core.delivery.give_more_later(slot);
            }
        }
        self.core.delivery.reuse(std::mem::take(&mut offered.aside));
        self.core.work.streams_served += offered.visited as u64;
        offered.visited
    }

    /// Delivers to one stream all that waits for it, as far as the socket and `budget`, in bytes, allow.
    fn serve(&mut self, slot: u32, mut budget: usize) {
        let now = self.core.tick();
        loop {
            let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::as_mut) else { return };
            let (net, begun) = (&mut self.net, self.core.delivery.work());
            let given = self.core.delivery.give(slot, now, |bytes| write(net, socket, bytes));
            match given {
                Err(reason) => return self.core.end(slot, reason),
                Ok(Given::Everything) => return self.core.feed_again(slot),
                Ok(Given::Refused) => return,
                Ok(Given::Ended) => return self.finish(slot),
                Ok(Given::More) => {}
            }
            let done = usize::try_from(self.core.delivery.work() - begun).unwrap_or(usize::MAX);
            budget = budget.saturating_sub(done.max(1));
            if budget == 0 {
                return self.core.delivery.give_more_later(slot);
            }
        }
    }

    /// The end of the body has been written: the connection takes the next request, or closes.
    fn finish(&mut self, slot: u32) {
        let Some(stream) = self.core.delivery.stream(slot) else { return };
        debug_assert_eq!(stream.phase, Phase::Ending);
        let last = !stream.flags.has(Flags::KEEP_ALIVE);
        // The connection may close for another reason than the client's wish.
        let close = last.then(|| self.reason_to_close(slot, true, None).unwrap_or(CloseReason::Completed));
        let held = self.core.delivery.dissolve(slot);
        self.replied(slot, close, held);
    }
}
