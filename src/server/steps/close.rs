//! Step 9: reports and frees streams and connections that have ended. Also stops the server.

use crate::conn::close_reason::CloseReason;
use crate::conn::list::List;
use crate::server::api::app::App;
use crate::server::api::context::Context;
use crate::server::api::server::Server;
use crate::server::io::net::Net;
use crate::server::state::core::Core;
use crate::topic::chain::Chains;
use std::sync::Arc;

/// The capacity up to which a reused buffer keeps its memory.
const BUFFER_BYTES_KEPT: usize = 256 << 10;

/// The number of streams for which lists always keep room.
const STREAMS_KEPT: usize = 512;

/// Streams reported, and connections freed, in one turn at most.
const ENDS_PER_TURN: usize = 1024;

impl<H: App, N: Net> Server<H, N> {
    /// Step 9: reports the streams that have ended in this turn, then frees the slots of closed connections.
    pub(crate) fn free_closed(&mut self) {
        self.core.delivery.topics.free_idle();
        let mut ended = std::mem::take(&mut self.core.ended);
        let mut closed = std::mem::take(&mut self.core.closed);
        for (id, reason) in ended.drain(..ended.len().min(ENDS_PER_TURN)) {
            self.core.work.streams_reported += 1;
            // The application's state of the stream stays until all callbacks have run.
            for callback in self.core.hooks.remove_on_close(id) {
                let state = self.handler.state();
                self.core.guard("an on_close callback", |core| callback(reason, core, state));
            }
            let handler = &mut self.handler;
            self.core.guard("the handler of a closed stream", |core| {
                handler.closed(id, reason, &mut Context::new(core));
            });
            self.core.drop_hooks(id);
        }
        // A slot is not reused before its stream is reported.
        if !closed.is_empty() && ended.is_empty() {
            for slot in closed.drain(..closed.len().min(ENDS_PER_TURN)) {
                self.core.work.connections_freed += 1;
                self.core.delivery.slots.remove(slot);
                self.core.count_for_others(-1, 0);
                self.addresses.leave(slot);
                if let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::take) {
                    self.net.close(socket);
                }
            }
            self.replenish_reserve();
            if self.core.delivery.slots.shrink() {
                let bound = self.core.delivery.slots.bound();
                self.addresses.shrink(bound);
                self.core.timers.shrink(bound);
                self.core.hooks.shrink(bound);
                self.core.tags.shrink(bound);
                self.sockets.truncate(bound as usize);
                self.sockets.shrink_to_fit();
            }
        }
        // Streams that these callbacks have closed are reported and freed in the next turn. All others are
        // freed now: an application that closes a stream for each that ends would else put this off for ever.
        ended.append(&mut self.core.ended);
        self.core.ended = ended;
        closed.append(&mut self.core.closed);
        self.core.closed = closed;
        self.core.drop_remains();
        self.shrink_buffers();
    }

    /// Buffers and lists are kept from turn to turn, but not at the size that one huge event or reply, or
    /// many streams that have left, gave them.
    fn shrink_buffers(&mut self) {
        let streams = 2 * self.core.delivery.slots.len() + STREAMS_KEPT;
        self.core.shrink_buffers(BUFFER_BYTES_KEPT, streams);
        self.ready.give_back(streams);
        self.requests.shrink(BUFFER_BYTES_KEPT);
    }

    /// Stops the server. Streams get what fits into their sockets, and the end of their body.
    pub(crate) fn stop(&mut self) {
        self.stopped = true;
        let reason = if self.core.drain.is_some() { CloseReason::Drained } else { CloseReason::Stopped };
        if self.core.drain.is_some() && self.core.all_have_gone() {
            // Other loops have no connections left that would wake them.
            self.core.tell_others(&Arc::new(|core: &mut Core| core.stopping = true));
        }
        let orders = self.core.inbox.stop();
        self.core.remains.add_all(orders);
        let late = std::mem::take(&mut self.core.late);
        self.core.remains.add_all(late.into_iter().map(|(_, _, reply)| reply));
        if !self.core.drain.as_ref().is_some_and(|drain| drain.listener_closed) {
            self.stop_listening();
        }
        let slots: Vec<u32> = self.core.delivery.slots.occupied().collect();
        for &slot in &slots {
            if let Some(id) = self.core.delivery.slots.id(slot) {
                // Fails if the stream is not open: then there is nothing to close.
                self.core.close_drained(slot);
                let _ = self.core.close_for(id, reason);
            }
        }
        // A stream that needs more than one visit joins the queue again, as long as its socket takes bytes.
        while !self.core.delivery.queue.is_empty() {
            self.serve_queue(usize::MAX, usize::MAX);
        }
        for slot in slots {
            self.core.end(slot, reason);
        }
        // Frames that were not offered yet have no readers left.
        self.core.delivery.topics.end_rests(u64::MAX);
        while let Some(key) = self.core.delivery.topics.next_dirty() {
            self.core.delivery.topics.begin_wave(key, Chains::default());
            self.core.delivery.topics.rotate_dirty();
        }
        self.core.delivery.topics.free_idle();
        while !self.core.ended.is_empty() || !self.core.closed.is_empty() || !self.core.remains.is_empty() {
            self.free_closed();
        }
        self.core.note_for_others();
    }
}
