//! Taking new connections.

use super::core::ticks;
use super::{Handler, Net, Server};
use crate::canary::{Canary, is_planted};
use crate::stream::Slot;
use std::io;
use std::time::Duration;

/// How often a failure to accept is logged at most: whoever holds connections open must not fill a disk.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

/// How long to leave the backlog alone when accepting fails for want of descriptors or memory. Trying again at once
/// would spin; not trying again would strand whoever waits, as readiness is told only once.
const RETRY_DELAY: Duration = Duration::from_millis(100);

#[derive(Debug, Default)]
pub(super) struct State {
    /// Whether there may be connections waiting.
    waiting: bool,
    /// Not before this time.
    retry_at: Option<Duration>,
    /// When a failure was logged last.
    logged_at: Option<Duration>,
}

impl State {
    pub(super) fn ready(&mut self) {
        self.waiting = true;
    }

    pub(super) fn is_waiting(&self, now: Duration) -> bool {
        self.waiting && self.retry_at.is_none_or(|at| at <= now)
    }

    pub(super) fn next_due(&self) -> Option<Duration> {
        self.retry_at
    }
}

impl<H: Handler, N: Net> Server<H, N> {
    /// Accepts until nobody waits, or as many as one turn may.
    pub(super) fn accept_waiting(&mut self) {
        if !self.accept.is_waiting(self.core.now) {
            return;
        }
        self.accept.retry_at = None;
        for _ in 0..self.core.config.accepts_per_turn {
            match self.net.accept() {
                Ok((socket, _)) => self.add_connection(socket),
                Err(error) => match error.kind() {
                    io::ErrorKind::WouldBlock => {
                        self.accept.waiting = false;
                        return;
                    }
                    // This one is gone; the next may be there.
                    io::ErrorKind::ConnectionAborted | io::ErrorKind::Interrupted => {}
                    _ => {
                        self.accept_failed(&error);
                        self.accept.retry_at = Some(self.core.now.saturating_add(RETRY_DELAY));
                        return;
                    }
                },
            }
        }
        self.accept.waiting &= !is_planted(Canary::LostAccept);
    }

    fn accept_failed(&mut self, error: &io::Error) {
        self.core.stats.accept_errors += 1;
        let now = self.core.now;
        if self.accept.logged_at.is_none_or(|at| now.saturating_sub(at) >= LOG_INTERVAL) {
            self.accept.logged_at = Some(now);
            let count = self.core.stats.accept_errors;
            log::warn!(
                "cannot accept connections, trying again every {RETRY_DELAY:?} ({count} failures so far): {error}"
            );
        }
    }

    fn add_connection(&mut self, mut socket: N::Socket) {
        let slot = self.core.slots.insert(Slot::new(ticks(self.core.now)));
        if let Err(error) = self.net.register(&mut socket, slot) {
            self.accept_failed(&error);
            self.core.slots.remove(slot);
            self.net.close(socket);
            return;
        }
        let index = slot as usize;
        if index >= self.sockets.len() {
            self.sockets.resize_with(index + 1, || None);
        }
        self.sockets[index] = Some(socket);
        self.core.stats.accepted += 1;
    }
}
