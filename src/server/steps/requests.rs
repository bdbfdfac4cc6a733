//! From readable bytes to requests.
//!
//! Bytes are read into a buffer that all connections share. A complete request is parsed in place; only an
//! incomplete one is copied and held. A short read means that the socket is empty, unless the read may have
//! stopped at a mark (`Ready::Connection::until_blocked`): then the socket is read until `EAGAIN`. The peer's
//! address is looked up once for all requests of one read (`getpeername`), because storing it would cost 32
//! bytes for each idle stream.
//!
//! The server reads the request of a connection over a limit before it refuses and closes it: closing with
//! unread input resets the connection, which destroys the reply.

use crate::conn::close_reason::CloseReason;
use crate::conn::slot::{Connection, Input, Slot};
use crate::http::browser::hosts;
use crate::http::parse::held::Held;
use crate::http::parse::incoming::{Incoming, Progress};
use crate::http::parse::limits::Limits;
use crate::http::parse::rejection::Rejection;
use crate::http::reply::reply::Reply;
use crate::peer::Peer;
use crate::server::api::app::App;
use crate::server::api::server::Server;
use crate::server::io::net::Net;
use crate::server::steps::answer::Then;
use std::io;

/// Bytes of one read at most.
const READ_BYTES: usize = 64 << 10;

/// Reads from one connection before the next connection.
const READS_PER_VISIT: usize = 4;

/// Replies to pipelined requests are collected up to this size before they are written.
const REPLIES_BYTES: usize = 64 << 10;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

impl<H: App, N: Net> Server<H, N> {
    /// Handles the readiness of a connection.
    pub(crate) fn on_ready(&mut self, slot: u32, readable: bool, writable: bool, until_blocked: bool) {
        let now = self.core.tick();
        let Some(entry) = self.core.delivery.slots.get_mut(slot) else { return };
        if writable && let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::as_mut) {
            match self.net.flush(socket) {
                Ok(0) => {}
                Ok(_) => entry.took_more(!self.net.keeps(socket), now),
                Err(error) => return self.core.end(slot, CloseReason::of_error(&error)),
            }
        }
        if readable {
            // `until_blocked` is set if the peer has closed its side, and also if a read may stop at a mark.
            entry.input = if until_blocked { Input::UntilBlocked } else { entry.input.with_more() };
        }
        if writable && !entry.writable {
            entry.writable = true;
            match &entry.state {
                Connection::Replying(_) => self.write_reply(slot),
                Connection::Awaiting(_) => self.write_earlier(slot),
                Connection::Streaming(stream) if stream.pins || stream.conflates() => {
                    self.core.delivery.queue(slot);
                }
                _ => {}
            }
        }
        if readable {
            self.on_readable(slot);
        }
    }

    /// Reads input and handles its requests, up to a limit; the rest waits for the next turn.
    pub(crate) fn on_readable(&mut self, slot: u32) {
        if !self.may_go_on(slot) {
            self.core.unread.push(slot);
            return;
        }
        // A reply whose rest had to wait for a later turn.
        let rests = |slot: &Slot| matches!(slot.state, Connection::Replying(_)) && slot.writable;
        if self.core.delivery.slots.get(slot).is_some_and(rests) {
            return self.write_reply(slot);
        }
        // Input held while an earlier request was handled comes first.
        if self.core.delivery.slots.get(slot).is_some_and(Slot::holds_more) {
            self.read_requests(slot, 0);
        }
        for _ in 0..READS_PER_VISIT {
            let may_go_on = self.may_go_on(slot);
            let Some(entry) = self.core.delivery.slots.get_mut(slot) else { return };
            match &entry.state {
                Connection::Replying(_) | Connection::Closed => return,
                Connection::Awaiting(awaiting) if awaiting.has_enough(self.core.config.head_bytes_max) => {
                    return;
                }
                _ => {}
            }
            if entry.holds_more() {
                break;
            }
            if entry.input == Input::Drained {
                return;
            }
            if !may_go_on {
                break;
            }
            let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::as_mut) else { return };
            let buffer = &mut self.requests.buffer;
            buffer.resize(READ_BYTES, 0);
            match self.net.read(socket, buffer) {
                Ok(0) => {
                    let replies = matches!(entry.state, Connection::Streaming(_) | Connection::Awaiting(_));
                    if self.core.config.half_closed && replies {
                        // Reading continues after the reply.
                        entry.input = Input::UntilBlocked;
                        return;
                    }
                    return self.core.end(slot, CloseReason::PeerClosed);
                }
                Ok(count) => {
                    self.requests.last = slot;
                    self.core.work.bytes_read += count as u64;
                    self.requests.spend(count);
                    if N::SHORT_MEANS_DRAINED && count < READ_BYTES && entry.input == Input::Waiting {
                        entry.input = Input::Drained;
                    }
                    self.on_input(slot, count);
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    entry.input = Input::Drained;
                    return;
                }
                Err(error) => return self.core.end(slot, CloseReason::of_error(&error)),
            }
        }
        self.visit_again(slot);
    }

    /// Whether this turn still has time for input of a connection. Checked before reading, because input that
    /// is read has to be handled in this turn: no later readiness would announce it.
    fn may_go_on(&self, slot: u32) -> bool {
        let reading = |slot: &Slot| matches!(slot.state, Connection::Reading { .. });
        let asks = self.core.delivery.slots.get(slot).is_some_and(reading);
        let has_time = self.requests.left > 0 && !self.core.delivery.has_taken_much();
        self.requests.bytes_left > 0 && (has_time || !asks)
    }

    /// Visits a connection again in the next turn if there may be something to read.
    pub(crate) fn visit_again(&mut self, slot: u32) {
        let Some(entry) = self.core.delivery.slots.get(slot) else { return };
        if entry.holds_more() || entry.input != Input::Drained {
            self.core.unread.push(slot);
        }
    }

    /// Handles the first `count` bytes of the buffer as input of the connection in `slot`.
    fn on_input(&mut self, slot: u32, count: usize) {
        let Some(entry) = self.core.delivery.slots.get_mut(slot) else { return };
        match &mut entry.state {
            Connection::Reading { .. } => self.read_requests(slot, count),
            Connection::Streaming(_) => {
                let Some(held) = self.core.delivery.held(slot) else { return };
                let held = Held::add_to(held, &self.requests.buffer[..count], &self.core.account);
                if held.bytes.len() > self.core.config.head_bytes_max || self.core.memory_is_full() {
                    self.core.end(slot, CloseReason::ExcessInput);
                }
            }
            Connection::Awaiting(awaiting) => {
                Held::add_to(awaiting.held(), &self.requests.buffer[..count], &self.core.account);
            }
            Connection::Lingering { reason, left, .. } => {
                // Input changes when the connection closes, not why.
                let reason = *reason;
                match left.checked_sub(u32::try_from(count).unwrap_or(u32::MAX)) {
                    Some(less) => *left = less,
                    None => self.core.end(slot, reason),
                }
            }
            Connection::Replying(_) | Connection::Closed => {}
        }
    }

    /// Handles the requests in the held bytes of a connection and the first `count` bytes of the buffer, and
    /// holds the rest.
    fn read_requests(&mut self, slot: u32, count: usize) {
        let Some(entry) = self.core.delivery.slots.get_mut(slot) else { return };
        let Connection::Reading { held, .. } = &mut entry.state else { return };
        let held = held.take();
        let begins = held.is_none();
        let was_in_body = held.as_ref().is_some_and(|held| held.incoming.in_body());
        let (rest, consumed) = if let Some(mut held) = held {
            held.add(&self.requests.buffer[..count]);
            let consumed = self.answer_all(slot, &held.bytes, &mut held.incoming);
            held.bytes.drain(..consumed);
            (held, consumed)
        } else {
            let buffer = std::mem::take(&mut self.requests.buffer);
            let mut incoming = std::mem::take(&mut self.requests.incoming);
            let consumed = self.answer_all(slot, &buffer[..count], &mut incoming);
            let rest = buffer[consumed..count].to_vec();
            self.requests.buffer = buffer;
            if rest.is_empty() && incoming.is_fresh() {
                self.requests.incoming = incoming;
                return;
            }
            (Held::new(rest, incoming, &self.core.account), consumed)
        };
        let begins = begins || consumed > 0;
        self.hold(slot, rest, begins, was_in_body && !begins);
    }

    /// Holds the beginning of the next request for its connection.
    pub(super) fn hold(&mut self, slot: u32, mut rest: Box<Held>, begins: bool, was_in_body: bool) {
        rest.fit();
        if rest.bytes.is_empty() && rest.incoming.is_fresh() {
            return;
        }
        let now = self.core.tick();
        let Some(entry) = self.core.delivery.slots.get_mut(slot) else { return };
        let first = entry.is_new();
        match &mut entry.state {
            Connection::Reading { held, since, .. } => {
                // The time for a head runs from its first byte, or from the accept for the first request;
                // that for a body runs from the end of the head.
                if begins && !first || rest.incoming.in_body() && !was_in_body {
                    *since = now;
                }
                *held = Some(rest);
                if self.core.memory_is_full() {
                    self.refuse_unread(slot);
                }
            }
            Connection::Replying(reply) => reply.held = Some(rest),
            Connection::Awaiting(awaiting) => *awaiting.held() = Some(rest),
            Connection::Streaming(_) if rest.bytes.len() > self.core.config.head_bytes_max => {
                self.core.end(slot, CloseReason::ExcessInput);
            }
            Connection::Streaming(_) => {
                if let Some(held) = self.core.delivery.held(slot) {
                    *held = Some(rest);
                }
            }
            Connection::Lingering { .. } | Connection::Closed => {}
        }
    }

    /// Handles requests until one is incomplete or ends the sequence. Returns the number of bytes of `data`
    /// consumed.
    fn answer_all(&mut self, slot: u32, data: &[u8], incoming: &mut Incoming) -> usize {
        let config = &self.core.config;
        let limits = Limits {
            head_bytes_max: config.head_bytes_max,
            target_bytes_max: config.target_bytes_max,
            headers_max: config.headers_max,
            body_bytes_max: config.body_bytes_max,
        };
        self.refresh_date();
        let mut replies = std::mem::take(&mut self.requests.replies);
        let mut share = self.requests.share.min(self.requests.left);
        self.requests.last = slot;
        // Looked up when the first request is complete.
        let mut peer = None;
        // Where the last request begins and ends.
        let (mut begun, mut at) = (0, 0);
        let then = loop {
            if share == 0 || at > 0 && self.requests.bytes_left == 0 {
                // The rest waits until other connections had their share.
                break Then::Read;
            }
            match self.read_on(incoming, &data[at..], &limits) {
                Ok(Progress::Partial) => break Then::Read,
                Ok(Progress::Continue) => replies.extend_from_slice(CONTINUE),
                Ok(Progress::Complete { consumed }) => {
                    let peer: &Option<Peer> = peer.get_or_insert_with(|| self.peer(slot));
                    let request = incoming.request(&data[at..]).with_peer(peer.as_ref());
                    let before = replies.len();
                    // The peer was looked up before: `answer` may change the connection's state.
                    let then = self.answer(slot, &request, incoming.keep_alive(), &mut replies);
                    self.requests.spend(replies.len().saturating_sub(before));
                    begun = at;
                    at += consumed;
                    share -= 1;
                    self.requests.left -= 1;
                    if matches!(then, Then::Await(_)) {
                        break then;
                    }
                    incoming.reset();
                    if !matches!(then, Then::Read) || at == data.len() {
                        break then;
                    }
                    if replies.len() >= REPLIES_BYTES && !self.write_now(slot, &mut replies) {
                        break Then::Block;
                    }
                }
                Err(rejection) => {
                    log::debug!("rejected a request: {rejection}");
                    self.core.stats.rejected += 1;
                    let request = incoming.without_body(&data[at..]);
                    self.append_whole(slot, rejection.reply(), request.as_ref(), false, &mut replies);
                    // The bytes after a rejected request cannot be trusted to be a request.
                    incoming.reset();
                    at = data.len();
                    break Then::Close(CloseReason::Rejected);
                }
            }
        };
        match then {
            // The replies have left with the head of the stream.
            Then::Leave => replies.clear(),
            Then::Block => self.reply_later(slot, std::mem::take(&mut replies), None),
            Then::Await(ticket) => {
                if !replies.is_empty() {
                    self.write_now(slot, &mut replies);
                }
                let request = data[begun..at].to_vec();
                let held = Held::new(request, std::mem::take(incoming), &self.core.account);
                self.await_reply(slot, held, ticket, std::mem::take(&mut replies));
            }
            then @ (Then::Read | Then::Close(_)) => {
                replies = self.write_replies(slot, then.into_close(), replies);
            }
        }
        self.requests.replies = replies;
        at
    }

    /// Writes replies; bytes that the socket does not take are written later. Returns the buffer, for its
    /// capacity.
    pub(super) fn write_replies(
        &mut self,
        slot: u32,
        close: Option<CloseReason>,
        mut replies: Vec<u8>,
    ) -> Vec<u8> {
        if !replies.is_empty() && !self.write_now(slot, &mut replies) {
            self.reply_later(slot, std::mem::take(&mut replies), close);
        } else if let Some(reason) = close {
            self.linger(slot, reason);
        }
        replies
    }

    /// Parses more of a request. One for another host is rejected as soon as its head is complete.
    fn read_on(&self, incoming: &mut Incoming, data: &[u8], limits: &Limits) -> Result<Progress, Rejection> {
        let progress = incoming.advance(data, limits)?;
        let served = &self.core.config.hosts;
        if !served.is_empty()
            && incoming.without_body(data).is_some_and(|request| !hosts::is_served(served, request.host()))
        {
            return Err(Rejection::Misdirected);
        }
        Ok(progress)
    }

    /// The peer of a connection.
    pub(super) fn peer(&self, slot: u32) -> Option<Peer> {
        self.sockets.get(slot as usize)?.as_ref().and_then(|socket| self.net.peer(socket))
    }

    /// The time for a request is over. A client that has begun one gets 408 (RFC 9110 15.5.9).
    pub(crate) fn give_up_waiting(&mut self, slot: u32, reason: CloseReason) {
        let begun = |slot: &Slot| matches!(slot.state, Connection::Reading { held: Some(_), .. });
        if !self.core.delivery.slots.get(slot).is_some_and(begun) {
            return self.core.end(slot, reason);
        }
        self.give_up(slot, Reply::status(408), reason);
    }

    /// Replies to an incomplete request, and closes its connection after that.
    pub(crate) fn give_up(&mut self, slot: u32, reply: Reply, reason: CloseReason) {
        self.refresh_date();
        let mut bytes = Vec::new();
        let held = match self.core.delivery.slots.get_mut(slot).map(|slot| &mut slot.state) {
            Some(Connection::Reading { held, .. }) => held.take(),
            _ => None,
        };
        let request = held.as_ref().and_then(|held| held.incoming.without_body(&held.bytes));
        self.append_whole(slot, reply, request.as_ref(), false, &mut bytes);
        if self.write_now(slot, &mut bytes) {
            self.linger(slot, reason);
        } else {
            self.reply_later(slot, bytes, Some(reason));
        }
    }

    /// Sets `requests.date.text` to the date of this turn.
    pub(super) fn refresh_date(&mut self) {
        self.requests.date.refresh(self.core.delivery.topics.unix_ms() / 1000);
    }
}
