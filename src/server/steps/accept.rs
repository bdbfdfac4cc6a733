//! Accepts connections, and refuses those over a limit.
//!
//! A refused client should get a reply. That needs a descriptor and a slot, so a few connections over the
//! limit are accepted as *surplus*: each gets the reply to one request, where a stream is refused, and is
//! closed. Connections beyond the surplus are closed at once. If the process has no descriptors left, the
//! network gives up those it holds in reserve one by one, eight in 50 ms, and takes them back as connections
//! close. A failure for lack of resources does not end a listener's turn: otherwise the reserve would serve
//! only every second listener.

use crate::conn::close_reason::CloseReason;
use crate::conn::refusal::Refusal;
use crate::conn::slot::Slot;
use crate::server::api::app::App;
use crate::server::api::server::Server;
use crate::server::io::net::{Net, Ready, is_of_one_connection};
use crate::server::state::ticks::ticks;
use std::io;
use std::net::IpAddr;
use std::time::Duration;

/// The pause after accepting has failed for lack of descriptors or memory. Trying again at once would spin.
/// Not trying again would strand waiting connections, because readiness is reported only once.
const RETRY_DELAY: Duration = Duration::from_millis(50);

/// Descriptors held in reserve. With the delay, at most 160 connections a second are refused with a reply,
/// which costs next to nothing.
const RESERVE: usize = 8;

/// Connections over `limit` that are accepted to be refused with a reply.
fn surplus(limit: usize) -> usize {
    (limit / 16).clamp(8, 1024)
}

impl<H: App, N: Net> Server<H, N> {
    /// Step 5: reads, parses, calls the handler, and accepts connections.
    pub(crate) fn accept_and_read(&mut self) {
        let mut unread = std::mem::take(&mut self.core.unread);
        let mut ready = std::mem::take(&mut self.ready);
        self.requests.begin_turn(&mut unread, ready.len(), self.core.config.requests_per_turn);
        self.give_late_replies();
        for slot in unread.drain(..) {
            self.on_readable(slot);
        }
        for event in ready.drain(..) {
            match event {
                Ready::Listener => self.accept.ready(),
                Ready::Connection { slot, readable, writable, until_blocked } => {
                    self.on_ready(slot, readable, writable, until_blocked);
                }
            }
        }
        self.ready = ready;
        // Connections added in the meantime wait for the next turn.
        unread.append(&mut self.core.unread);
        self.core.unread = unread;
        self.accept_waiting();
    }

    /// Accepts until no connection waits, or as many as one turn may.
    pub(crate) fn accept_waiting(&mut self) {
        if !self.accept.is_waiting(self.core.now) || self.core.drain.is_some() {
            return;
        }
        self.accept.retry_at = None;
        for _ in 0..self.core.config.accepts_per_turn {
            match self.net.accept() {
                Ok((socket, address)) => self.take_or_deal(socket, address),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        self.accept.waiting = false;
                        return;
                    }
                    // The next connection may be fine.
                    _ if is_of_one_connection(&error) => {}
                    _ => {
                        if !self.accept_with_reserve() {
                            self.accept_failed(&error);
                            self.accept.retry_at = Some(self.core.now.saturating_add(RETRY_DELAY));
                            return;
                        }
                    }
                },
            }
        }
    }

    /// Keeps a connection, or gives it to the loop that has the fewest.
    fn take_or_deal(&mut self, socket: N::Socket, address: Option<IpAddr>) {
        let Some((others, other)) = self.core.deals_to() else {
            return self.take(socket, address, None);
        };
        match self.net.release(socket).map(|socket| others.adopt(other, socket, Vec::new(), false)) {
            Ok(Ok(())) => {}
            // The other loop has no room, or has stopped.
            Ok(Err((_, socket, input))) => self.adopt_for_publisher(socket, input),
            Err(socket) => self.take(socket, address, None),
        }
    }

    /// Gives a connection a slot. With `tcp_defer_accept` its request has arrived and is read at once.
    /// Otherwise it mostly has not, and reading would waste a system call.
    fn take(&mut self, socket: N::Socket, address: Option<IpAddr>, refusal: Option<Refusal>) {
        // A failure has been logged.
        let Ok(Some(slot)) = self.add_connection(socket, address, refusal) else { return };
        if self.core.config.tcp_defer_accept.is_some()
            && let Some(entry) = self.core.delivery.slots.get_mut(slot)
        {
            entry.input = entry.input.with_more();
            self.on_readable(slot);
        }
    }

    /// Gives up a descriptor of the reserve to accept a connection and refuse it. Returns whether that
    /// worked.
    fn accept_with_reserve(&mut self) -> bool {
        let Some(left) = self.accept.reserve.checked_sub(1) else { return false };
        self.accept.reserve = self.net.reserve(left);
        match self.net.accept() {
            Ok((socket, address)) => {
                self.take(socket, address, Some(Refusal::Descriptors));
                true
            }
            Err(_) => {
                // The failure had another cause than descriptors.
                self.accept.reserve = self.net.reserve(RESERVE);
                false
            }
        }
    }

    /// Stops accepting connections.
    pub(crate) fn stop_listening(&mut self) {
        self.net.stop_listening();
        self.accept.waiting = false;
    }

    /// Fills the reserve: when the server starts, and after connections have closed.
    pub(crate) fn replenish_reserve(&mut self) {
        if self.accept.reserve < RESERVE {
            self.accept.reserve = self.net.reserve(RESERVE);
        }
    }

    pub(crate) fn accept_failed(&mut self, error: &io::Error) {
        self.core.stats.accept_errors += 1;
        let count = self.core.stats.accept_errors;
        if self.accept.log.is_due(self.core.now, Duration::from_secs(60)) {
            log::warn!(
                "cannot accept connections, trying again every {RETRY_DELAY:?} ({count} failures so far): {error}"
            );
        }
    }

    /// Why one more connection from `address` is over a limit, if it is, and whether it can get a reply.
    fn too_many(&self, address: Option<IpAddr>) -> Option<(Refusal, bool)> {
        let config = &self.core.config;
        let count = self.core.connections();
        if let (Some(limit), Some(address)) = (config.connections_per_address_max, address) {
            let here = self.addresses.count(address);
            if here >= limit {
                let room = here - limit < surplus(limit) && count < config.connections_max;
                return Some((Refusal::ConnectionsPerAddress, room));
            }
        }
        let limit = config.connections_max;
        (count >= limit).then(|| (Refusal::Connections, count - limit < surplus(limit)))
    }

    /// Gives a connection a slot, unless it is beyond the surplus.
    ///
    /// # Errors
    /// If the network cannot register the connection. This has been counted and logged.
    pub(crate) fn add_connection(
        &mut self,
        mut socket: N::Socket,
        address: Option<IpAddr>,
        refusal: Option<Refusal>,
    ) -> io::Result<Option<u32>> {
        let (refusal, room) = match (refusal, self.too_many(address)) {
            (_, Some((refusal, room))) => (Some(refusal), room),
            (refusal, None) => (refusal, true),
        };
        if let Some(refusal) = refusal {
            log::debug!("refused a connection: {refusal}");
            self.core.stats.count_refused(refusal);
        }
        if !room {
            self.core.stats.accepted += 1;
            self.core.work.accepted += 1;
            self.core.stats.count_connection_closed(CloseReason::Refused);
            self.net.close(socket);
            return Ok(None);
        }
        let slot = self.core.delivery.slots.insert(Slot::new(ticks(self.core.now), refusal));
        if let Err(error) = self.net.register(&mut socket, slot) {
            self.accept_failed(&error);
            self.core.delivery.slots.remove(slot);
            self.net.close(socket);
            return Err(error);
        }
        if let (Some(_), Some(address)) = (self.core.config.connections_per_address_max, address) {
            self.addresses.enter(slot, address);
        }
        let index = slot as usize;
        if index >= self.sockets.len() {
            self.sockets.resize_with(index + 1, || None);
        }
        self.sockets[index] = Some(socket);
        self.core.count_for_others(1, 0);
        self.core.stats.accepted += 1;
        self.core.work.accepted += 1;
        Ok(Some(slot))
    }
}
