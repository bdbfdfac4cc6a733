//! A part of step 6: continues a graceful shutdown. Every stream closes at its own moment in a window, so
//! clients do not reconnect all at once.
//!
//! First the listener and idle connections are closed, and the application is told. Then slots are visited in
//! order, in proportion to the time passed. `stop` closes the rest.

use crate::conn::close_reason::CloseReason;
use crate::conn::slot::{Connection, Input, Slot};
use crate::delivery::stream::Flags;
use crate::error::Error;
use crate::server::api::app::App;
use crate::server::api::context::Context;
use crate::server::api::drain::Drain;
use crate::server::api::observer::Audience;
use crate::server::api::server::Server;
use crate::server::io::net::Net;
use crate::server::state::core::Core;
use crate::server::state::draining::Draining;
use crate::topic::frame::EncodedEvent;

impl<H: App, N: Net> Server<H, N> {
    /// A part of step 6: continues a drain, if there is one.
    pub(crate) fn drain(&mut self) {
        let Some(drain) = &mut self.core.drain else { return };
        // Sources told in this turn are asked once more before their streams are closed.
        let was_told = drain.has_told();
        if !drain.listener_closed {
            drain.listener_closed = true;
            self.stop_listening();
            let handler = &mut self.handler;
            self.core.guard("the handler of a drain", |core| handler.draining(&mut Context::new(core)));
        }
        self.core.tell_sources();
        let mut left = CLOSES_PER_TURN;
        while let Some(drain) = &mut self.core.drain
            && drain.next_idle < drain.bound
            && left > 0
        {
            let slot = drain.next_idle;
            drain.next_idle += 1;
            self.core.work.connections_drained += 1;
            left -= usize::from(self.close_idle(slot));
        }
        let now = self.core.now;
        while let Some(drain) = &mut self.core.drain
            && was_told
            && drain.next < drain.bound
            && drain.next_due() <= now
            && !self.core.delivery.has_taken_much()
            && left > 0
        {
            let slot = drain.next;
            (drain.next, left) = (slot + 1, left - 1);
            self.core.work.connections_drained += 1;
            if self.has_unread(slot) {
                // Closing with unread input resets the connection, which destroys the reply that is on its
                // way.
                self.linger(slot, CloseReason::Drained);
                self.visit_again(slot);
            } else {
                self.core.close_next_drained(slot);
            }
        }
    }

    /// Closes the connection in `slot` if it waits for a request and none has begun. Returns whether it did.
    fn close_idle(&mut self, slot: u32) -> bool {
        let Some(entry) = self.core.delivery.slots.get(slot) else { return false };
        let waits = matches!(entry.state, Connection::Reading { held: None, .. });
        if !waits || entry.input != Input::Drained {
            return false;
        }
        if entry.is_new() {
            self.core.end(slot, CloseReason::Drained);
        } else {
            // The next request may be on its way. Closing now would destroy the last reply.
            self.linger(slot, CloseReason::Drained);
        }
        true
    }

    /// Whether the connection in `slot` is between two requests and may have unread input.
    fn has_unread(&self, slot: u32) -> bool {
        let unread = |entry: &Slot| {
            let between = matches!(entry.state, Connection::Reading { held: None, .. });
            between && !entry.is_new() && entry.input != Input::Drained
        };
        self.core.delivery.slots.get(slot).is_some_and(unread)
    }

    /// Whether a drain is over: all connections of all loops are closed, or its time is over.
    pub(crate) fn is_drained(&self) -> bool {
        let Some(drain) = &self.core.drain else { return false };
        self.core.all_have_gone() || self.core.now >= drain.end()
    }
}

/// Connections that are closed in one turn at most.
const CLOSES_PER_TURN: usize = 1024;

/// Sources that are told in one turn at most.
const SOURCES_PER_TURN: usize = 256;

impl Core {
    /// Begins to shut down gracefully. A second call stops the server.
    pub(crate) fn begin_drain(&mut self, drain: Drain) -> Result<(), Error> {
        if self.drain.is_some() {
            self.stopping = true;
            return Ok(());
        }
        let (window, deadline, farewell, retry) = drain.into_parts();
        let farewell = farewell.map(|event| EncodedEvent::new(&event)).transpose()?;
        let (begun, bound) = (self.now, self.delivery.slots.last_bound());
        self.is_draining.set();
        self.drain = Some(Draining {
            begun,
            window,
            deadline,
            farewell,
            retry,
            listener_closed: false,
            next_idle: 0,
            next_source: 0,
            next: 0,
            bound,
        });
        log::info!("draining {} connections within {window:?}", self.delivery.slots.len());
        Ok(())
    }

    /// Tells the next sources of the drain.
    fn tell_sources(&mut self) {
        let mut left = SOURCES_PER_TURN;
        while let Some(drain) = &mut self.drain
            && drain.next_source < drain.bound
            && left > 0
        {
            let slot = drain.next_source;
            drain.next_source += 1;
            if self.delivery.stream(slot).is_some_and(|stream| stream.flags.has(Flags::SOURCE))
                && let Some(id) = self.delivery.slots.id(slot)
            {
                left -= 1;
                self.tell_source(id);
            }
        }
    }

    /// Closes the connection in `slot`, as its moment has come.
    fn close_next_drained(&mut self, slot: u32) {
        let Some(entry) = self.delivery.slots.get(slot) else { return };
        match &entry.state {
            Connection::Streaming(stream) if stream.flags.has(Flags::FINISH) => {}
            Connection::Streaming(_) => self.close_drained(slot),
            // Between two requests, or before the first. A request that has begun is handled, and the
            // connection closes after it.
            Connection::Reading { held: None, .. } => self.end(slot, CloseReason::Drained),
            _ => {}
        }
    }

    /// Whether there is a drain in which the moment of the connection in `slot` has passed.
    pub(crate) fn is_drained_by_now(&self, slot: u32) -> bool {
        self.drain.as_ref().is_some_and(|drain| slot < drain.next)
    }

    /// Closes an open stream with the drain's farewell and `retry:`.
    pub(crate) fn close_drained(&mut self, slot: u32) {
        let Some(drain) = &self.drain else { return };
        let (farewell, retry) = (drain.farewell.clone(), drain.retry);
        let Some(id) = self.delivery.slots.id(slot).filter(|id| self.delivery.slots.live(*id).is_ok()) else {
            return;
        };
        if let Some(farewell) = farewell {
            self.delivery.send(slot, farewell.bytes(), farewell.kind());
            self.stats.events_sent += 1;
            self.observe(Audience::Stream(id), &farewell);
        }
        if let Some(retry) = retry {
            let retry = self.scatter(retry);
            self.append_retry(slot, retry);
        }
        // Cannot fail: the stream is live.
        let _ = self.close_for(id, CloseReason::Drained);
    }
}
