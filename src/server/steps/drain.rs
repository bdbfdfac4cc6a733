//! A part of step 6: goes on with a graceful shutdown, in which every stream has its own moment in a window,
//! so that clients do not come back all at once.

use crate::conn::close_reason::CloseReason;
use crate::conn::slot::{Connection, Input, Slot};
use crate::delivery::stream::Flags;
use crate::server::api::handler::Handler;
use crate::server::api::observer::Audience;
use crate::server::api::server::Server;
use crate::server::io::net::Net;
use crate::server::state::core::Core;

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
            if self.has_unread(slot) {
                // To close with something unread resets the connection, which destroys the reply that is on its way.
                self.linger(slot, CloseReason::Drained);
                self.visit_again(slot);
            } else {
                self.core.close_next_drained(slot);
            }
        }
    }

    /// Whether the connection in `slot` has had its last reply, and there may be more to read.
    fn has_unread(&self, slot: u32) -> bool {
        let unread = |entry: &Slot| {
            let between = matches!(entry.state, Connection::Reading { held: None, .. });
            between && !entry.is_new() && entry.input != Input::Drained
        };
        self.core.delivery.slots.get(slot).is_some_and(unread)
    }

    /// Whether a drain is over: everybody has gone, or the time is.
    pub(crate) fn is_drained(&self) -> bool {
        self.core.drain.as_ref().is_some_and(|drain| {
            self.core.delivery.slots.len() == 0 || self.core.now >= drain.begun.saturating_add(drain.window)
        })
    }
}

impl Core {
    /// The moment of the connection in `slot` has come.
    fn close_next_drained(&mut self, slot: u32) {
        let Some(entry) = self.delivery.slots.get(slot) else { return };
        match &entry.state {
            Connection::Streaming(stream) if stream.flags.has(Flags::FINISH) => {}
            Connection::Streaming(_) => self.close_drained(slot),
            // Between two requests, or before the first. Where one has begun, it is answered, and the
            // connection closed behind it.
            Connection::Reading { held: None, .. } => self.end(slot, CloseReason::Drained),
            _ => {}
        }
    }

    /// Whether there is a drain, and the moment of the connection in `slot` has passed.
    pub(crate) fn is_drained_by_now(&self, slot: u32) -> bool {
        self.drain.as_ref().is_some_and(|drain| slot < drain.next)
    }

    /// Ends an open stream with what a drain has to say to it.
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
        // It is live, so there is something to close.
        let _ = self.close_for(id, CloseReason::Drained);
    }
}
