//! Step 7: streams are given what there is for them, those in the queue and those that a wave comes by.

use crate::conn::close_reason::CloseReason;
use crate::delivery::serve::Given;
use crate::delivery::stream::{Flags, Phase};
use crate::server::api::app::App;
use crate::server::api::server::Server;
use crate::server::io::net::Net;
use crate::server::io::write::write;
use crate::topic::topics::TopicKey;

/// Subscribers of one topic that are visited before the next topic has its turn.
const QUANTUM: usize = 256;

/// Bytes that are written in one turn, of all streams together, and some more: some milliseconds' worth. What
/// is compressed counts as more, see [`Delivery::work`](crate::delivery::delivery::Delivery::work).
const BYTES_PER_TURN: usize = 4 << 20;

/// Bytes given to a stream in the queue before the others have their turn.
const BYTES_PER_VISIT: usize = 256 << 10;

impl<H: App, N: Net> Server<H, N> {
    /// Serves the streams in the queue, then fans out what was published.
    pub(crate) fn flush(&mut self) {
        let (budget, begun) = (self.core.config.sends_per_turn, self.core.delivery.work());
        // Where there is both, each gets half of the turn at least.
        let parts = if self.core.delivery.topics.has_dirty() { 2 } else { 1 };
        let served = self.serve_queue(budget.div_ceil(parts), BYTES_PER_TURN / parts);
        let mut left = (budget - served).max(1);
        while left > 0 {
            let Some(key) = self.core.delivery.topics.next_dirty() else { return };
            self.core.begin_wave(key);
            let done = usize::try_from(self.core.delivery.work() - begun).unwrap_or(usize::MAX);
            // Most streams get what was published since the last wave, so many that the turn stays short.
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

    /// Serves up to `count` streams from the queue, as long as less than `bytes` were written. Returns how
    /// many it was.
    pub(crate) fn serve_queue(&mut self, count: usize, bytes: usize) -> usize {
        // Streams that have more than one visit's worth to get queue up again, for the next turn.
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

    /// Goes on with the topic's wave, by `count` subscribers. Those that have more to get than what is new
    /// are given it as long as fewer than `end` bytes were written in all, and queue up after that. Returns
    /// how many were visited.
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
            // The log forgets nothing that is still to come for a stream that has room and waits for its
            // turn.
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

    /// Gives one stream what there is for it, as far as the socket and `budget`, in bytes, allow.
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

    /// The end of the body has been written: the connection carries the next request, or closes.
    fn finish(&mut self, slot: u32) {
        let Some(stream) = self.core.delivery.stream(slot) else { return };
        debug_assert_eq!(stream.phase, Phase::Ending);
        let last = !stream.flags.has(Flags::KEEP_ALIVE);
        // What has made it the last response may be more than the peer's wish.
        let close = last.then(|| self.reason_to_close(slot, true, None).unwrap_or(CloseReason::Completed));
        let held = self.core.delivery.dissolve(slot);
        self.replied(slot, close, held);
    }
}
