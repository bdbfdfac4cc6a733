//! Writes whole replies as sockets take them, and then continues or closes their connections.

use crate::conn::close_reason::CloseReason;
use crate::conn::slot::{Connection, PendingReply};
use crate::http::browser::cors::Cors;
use crate::http::parse::held::Held;
use crate::http::parse::request::Request;
use crate::http::reply::headers::HeadContext;
use crate::http::reply::reply::Reply;
use crate::server::api::app::App;
use crate::server::api::server::Server;
use crate::server::io::net::Net;
use crate::server::io::write::write;
use crate::server::state::ticks::ticks;

/// Bytes of input that are dropped after the server has shut down its side.
const LINGER_BYTES_MAX: u32 = 1 << 20;

impl<H: App, N: Net> Server<H, N> {
    /// The CORS policy for a request.
    pub(super) fn cors(&self, request: &Request<'_>) -> Option<&Cors> {
        self.handler.cors(request).or(self.core.config.cors.as_ref())
    }

    /// Appends a whole reply to `replies`. `request` is the request, if its head was read.
    pub(super) fn append_whole(
        &mut self,
        slot: u32,
        mut whole: Reply,
        request: Option<&Request<'_>>,
        keep_alive: bool,
        replies: &mut Vec<u8>,
    ) {
        if let Some(body) = self.core.config.error_body
            && let Some((status, text)) = whole.default_text()
            && let Some(mut page) = self.core.guard("Config::error_body", |_core| body(status, text))
        {
            self.core.discard(page.take_belongings());
            whole = whole.with_body_of(page);
        }
        match request {
            Some(request) => {
                if let Some(cors) = self.cors(request) {
                    whole.share(cors, request);
                }
            }
            None => {
                if let Some(cors) = &self.core.config.cors {
                    whole.share_unread(cors);
                }
            }
        }
        let cx = HeadContext {
            date: &self.requests.date.text,
            keep_alive,
            http_10: request.is_some_and(Request::is_http_10),
            head_request: request.is_some_and(Request::is_head),
        };
        whole.encode(&cx, replies);
        if !self.core.observers.is_empty() {
            let peer = request.and_then(Request::peer).or_else(|| self.peer(slot));
            let bytes = whole.body_bytes(&cx);
            self.core.tell_access(request, peer, whole.status_code(), Some(bytes));
        }
    }

    /// Holds the bytes of a reply that the socket did not take until it takes them.
    pub(super) fn reply_later(&mut self, slot: u32, bytes: Vec<u8>, close: Option<CloseReason>) {
        let written = self.core.tick();
        if let Some(entry) = self.core.delivery.slots.get_mut(slot)
            && !matches!(entry.state, Connection::Closed)
        {
            let (requests, refused) = (entry.requests(), entry.refused());
            let rest = PendingReply::new(bytes, written, requests, close, refused, &self.core.account);
            entry.state = Connection::Replying(rest);
        }
    }

    /// Writes `replies`. Bytes that the socket does not take stay in it. Returns whether the socket took all.
    pub(crate) fn write_now(&mut self, slot: u32, replies: &mut Vec<u8>) -> bool {
        let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::as_mut) else { return false };
        match write(&mut self.net, socket, replies) {
            Ok(written) => {
                self.core.stats.bytes_written += written.bytes as u64;
                replies.drain(..written.bytes);
                if let Some(entry) = self.core.delivery.slots.get_mut(slot) {
                    entry.writable = written.all;
                }
                written.all
            }
            Err(reason) => {
                self.core.end(slot, reason);
                false
            }
        }
    }

    /// Continues a reply that did not fit into the socket. Waits for the next turn if this one has used its
    /// budget.
    pub(super) fn write_reply(&mut self, slot: u32) {
        let Some(entry) = self.core.delivery.slots.get_mut(slot) else { return };
        let Connection::Replying(reply) = &mut entry.state else { return };
        if self.requests.bytes_left == 0 {
            self.core.unread.push(slot);
            return;
        }
        let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        match write(&mut self.net, socket, &reply.bytes[reply.sent..]) {
            Ok(written) => {
                self.core.stats.bytes_written += written.bytes as u64;
                self.requests.spend(written.bytes);
                reply.took(written.bytes, ticks(self.core.now));
                entry.writable = written.all;
                if written.all {
                    let (close, held) = (reply.close, reply.held.take());
                    self.replied(slot, close, held);
                }
            }
            Err(reason) => self.core.end(slot, reason),
        }
    }

    /// A response that took more than one turn is complete: the connection takes the next request, or closes.
    pub(crate) fn replied(&mut self, slot: u32, close: Option<CloseReason>, held: Option<Box<Held>>) {
        let since = self.core.tick();
        // In a drain the connection's moment may have passed. Then only a request that has begun is still
        // handled.
        let late = held.is_none() && self.core.is_drained_by_now(slot);
        let close = close.or(late.then_some(CloseReason::Drained));
        if let Some(entry) = self.core.delivery.slots.get_mut(slot) {
            let (requests, refused) = (entry.requests(), entry.refused());
            entry.state = Connection::Reading { since, requests, refused, held };
        }
        if let Some(reason) = close {
            self.linger(slot, reason);
        }
        self.visit_again(slot);
    }

    /// Shuts down our side and waits for the peer to close its own.
    pub(crate) fn linger(&mut self, slot: u32, reason: CloseReason) {
        let since = self.core.tick();
        let Some(entry) = self.core.delivery.slots.get_mut(slot) else { return };
        let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        match self.net.shutdown(socket) {
            Ok(()) => entry.state = Connection::Lingering { since, reason, left: LINGER_BYTES_MAX },
            Err(error) => self.core.end(slot, CloseReason::of_error(&error)),
        }
    }
}
