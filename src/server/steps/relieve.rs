//! A part of step 8: relieves memory pressure.

use crate::conn::close_reason::CloseReason;
use crate::conn::refusal::Refusal;
use crate::conn::slot::{Connection, Slot};
use crate::server::api::app::App;
use crate::server::api::server::Server;
use crate::server::io::net::Net;
use crate::server::state::pressure::Relief;

/// Topics and connections that are visited in one turn at most.
const LOOKS_PER_TURN: usize = 4096;

/// Bytes of input, or of an unread reply, that a connection may always hold, even under pressure.
const HELD_MIN: usize = 1 << 10;

impl<H: App, N: Net> Server<H, N> {
    /// Checks the memory held. If it is too much, in this order publishers wait, the streams that lag
    /// furthest are closed or skip, and histories shorten.
    pub(crate) fn relieve(&mut self) {
        self.core.inbox_bytes = self.core.inbox.bytes();
        // A few topics and connections are visited several times.
        let mut left = LOOKS_PER_TURN;
        while left > 0 {
            let core = &mut self.core;
            let relief = core.pressure.look(core.memory().total(), core.config.memory_max, core.now);
            core.delivery.set_lag_bytes_max(core.pressure.lag_bytes_max(core.config.lag_bytes_max));
            let (looks, is_round) = match relief {
                None => return,
                Some(Relief::Cut) => self.cut(left),
                Some(Relief::Shorten) => self.core.shorten_histories(left),
            };
            left = left.saturating_sub(looks.max(1));
            if is_round && self.core.pressure.is_not_enough(self.core.now) {
                return self.core.warn_of_memory();
            }
        }
    }

    /// Trims the logs of the next topics to the current limit of lag, then closes those of the next
    /// connections that hold too much. Returns the number visited, and whether those were the last.
    fn cut(&mut self, count: usize) -> (usize, bool) {
        let core = &mut self.core;
        let from = core.pressure.next_topic;
        let looks = core.delivery.make_room_in(from, count);
        core.pressure.next_topic += looks;
        core.end_lagged();
        let next = core.pressure.next_slot as usize;
        let bound = core.delivery.slots.bound() as usize;
        let end = bound.min(next + (count - looks));
        for slot in next..end {
            self.cut_connection(u32::try_from(slot).unwrap_or(u32::MAX));
        }
        self.core.pressure.next_slot = u32::try_from(end).unwrap_or(u32::MAX);
        (looks + end - next, end == bound)
    }

    fn cut_connection(&mut self, slot: u32) {
        let lag_bytes_max = self.core.delivery.may_lag();
        let may_hold = lag_bytes_max.max(HELD_MIN);
        let Some(entry) = self.core.delivery.slots.get(slot) else { return };
        match &entry.state {
            Connection::Streaming(stream) if stream.has_opened() => {
                let (own, input) = stream.own_memory();
                if !entry.writable && own > lag_bytes_max {
                    self.core.end(slot, CloseReason::Lagged);
                } else if input > may_hold {
                    self.core.end(slot, CloseReason::ExcessInput);
                } else {
                    return;
                }
            }
            Connection::Replying(reply) if reply.size() > may_hold => {
                self.core.end(slot, CloseReason::Stalled);
            }
            Connection::Awaiting(awaiting) if awaiting.size() > may_hold => {
                self.refuse_awaiting(slot);
            }
            Connection::Reading { held: Some(held), .. } if held.size() > may_hold => {
                self.refuse_unread(slot);
            }
            _ => return,
        }
        self.core.stats.memory_cut += 1;
    }

    /// Refuses an incomplete request, because memory is full. If its head is incomplete, it may ask for a
    /// stream: then the connection is closed without a reply, because EventSource reconnects after that and
    /// not after a 503.
    pub(crate) fn refuse_unread(&mut self, slot: u32) {
        self.core.stats.count_refused(Refusal::Memory);
        let in_body = |entry: &Slot| match &entry.state {
            Connection::Reading { held: Some(held), .. } => held.incoming.in_body(),
            _ => false,
        };
        if self.core.delivery.slots.get(slot).is_some_and(in_body) {
            let reply = self.core.unavailable();
            self.give_up(slot, reply, CloseReason::Refused);
        } else {
            self.core.end(slot, CloseReason::Refused);
        }
    }
}
