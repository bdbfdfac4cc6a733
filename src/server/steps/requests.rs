//! From readable bytes to answered requests.

use crate::config::Refuse;
use crate::conn::close_reason::CloseReason;
use crate::conn::id::StreamId;
use crate::conn::refusal::Refusal;
use crate::conn::slot::{Connection, Input, PendingReply, Slot};
use crate::delivery::resume::Beginning;
use crate::http::parse::held::Held;
use crate::http::parse::incoming::{Incoming, Progress};
use crate::http::parse::limits::Limits;
use crate::http::parse::request::Request;
use crate::http::reply::headers::HeadContext;
use crate::http::reply::reply::Reply;
use crate::http::reply::stream_reply::{Belongings, StreamReply};
use crate::server::api::context::Context;
use crate::server::api::handler::Handler;
use crate::server::api::missed::Missed;
use crate::server::api::server::Server;
use crate::server::io::net::Net;
use crate::server::io::write::write;
use crate::server::state::core::OnOpen;
use crate::server::state::lifecycle::Opening;
use crate::server::state::resume::Resumption;
use crate::server::state::ticks::ticks;
use crate::topic::frame::Framing;
use std::any::Any;
use std::borrow::Cow;
use std::fmt;
use std::io;

/// What one read takes at most.
const READ_BYTES: usize = 64 << 10;

/// Reads that one connection gets before the others have their turn.
const READS_PER_VISIT: usize = 4;

/// Replies to pipelined requests are gathered up to this size before they are written.
const REPLIES_BYTES: usize = 64 << 10;

/// What is swallowed of a peer that goes on sending after the server has closed its side.
const LINGER_BYTES_MAX: u32 = 1 << 20;

const CONTINUE: &[u8] = b"HTTP/1.1 100 Continue\r\n\r\n";

/// What follows when the requests that have arrived are answered.
enum Then {
    Read,
    Close(CloseReason),
    /// The peer does not read its replies, so its next requests wait.
    Block,
    /// The connection carries a stream now, or is gone.
    Leave,
}

impl<H: Handler, N: Net> Server<H, N> {
    /// The poll has told something about a connection.
    pub(crate) fn on_ready(&mut self, slot: u32, readable: bool, writable: bool, until_blocked: bool) {
        let Some(entry) = self.core.delivery.slots.get_mut(slot) else { return };
        if readable {
            // Not only when the peer has closed its side, but also when a read may stop at a mark.
            entry.input = if until_blocked { Input::UntilBlocked } else { entry.input.with_more() };
        }
        if writable && !entry.writable {
            entry.writable = true;
            match &entry.state {
                Connection::Replying(_) => self.write_reply(slot),
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

    /// Reads and answers what has arrived, up to a limit; the rest waits for the next turn.
    pub(crate) fn on_readable(&mut self, slot: u32) {
        let reading = |slot: &Slot| matches!(slot.state, Connection::Reading { .. });
        if self.requests.left == 0 && self.core.delivery.slots.get(slot).is_some_and(reading) {
            self.core.unread.push(slot);
            return;
        }
        // The rest of a reply that others had to be written before.
        let rests = |slot: &Slot| matches!(slot.state, Connection::Replying(_)) && slot.writable;
        if self.core.delivery.slots.get(slot).is_some_and(rests) {
            return self.write_reply(slot);
        }
        // What was held back behind an earlier request comes first.
        if self.core.delivery.slots.get(slot).is_some_and(Slot::holds_more) {
            self.read_requests(slot, 0);
        }
        for _ in 0..READS_PER_VISIT {
            let has_taken_much = self.core.delivery.has_taken_much();
            let Some(entry) = self.core.delivery.slots.get_mut(slot) else { return };
            if matches!(entry.state, Connection::Replying(_) | Connection::Closed) {
                return;
            }
            if entry.holds_more() {
                break;
            }
            if entry.input == Input::Drained {
                return;
            }
            if self.requests.bytes_left == 0 || has_taken_much {
                break;
            }
            let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::as_mut) else { return };
            let buffer = &mut self.requests.buffer;
            buffer.resize(READ_BYTES, 0);
            match self.net.read(socket, buffer) {
                Ok(0) => {
                    if self.core.config.half_closed && matches!(entry.state, Connection::Streaming(_)) {
                        // It is read on when the stream has ended.
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

    /// Has a connection looked at in the next turn if there may be something to read.
    pub(crate) fn visit_again(&mut self, slot: u32) {
        let Some(entry) = self.core.delivery.slots.get(slot) else { return };
        if entry.holds_more() || entry.input != Input::Drained {
            self.core.unread.push(slot);
        }
    }

    /// The first `count` bytes of the buffer have come from the connection in `slot`.
    fn on_input(&mut self, slot: u32, count: usize) {
        let Some(entry) = self.core.delivery.slots.get_mut(slot) else { return };
        match &mut entry.state {
            Connection::Reading { .. } => self.read_requests(slot, count),
            Connection::Streaming(_) => {
                let Some(held) = self.core.delivery.held(slot) else { return };
                let held = held
                    .get_or_insert_with(|| Held::new(Vec::new(), Incoming::default(), &self.core.account));
                held.add(&self.requests.buffer[..count]);
                if held.bytes.len() > self.core.config.head_bytes_max || self.core.memory_is_full() {
                    self.core.end(slot, CloseReason::ExcessInput);
                }
            }
            Connection::Lingering { reason, left, .. } => {
                // Nothing that arrives can change how the connection ends, only when.
                let reason = *reason;
                match left.checked_sub(u32::try_from(count).unwrap_or(u32::MAX)) {
                    Some(less) => *left = less,
                    None => self.core.end(slot, reason),
                }
            }
            Connection::Replying(_) | Connection::Closed => {}
        }
    }

    /// Answers the requests in what the connection held and the first `count` bytes of the buffer, and holds the rest.
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

    /// Keeps the beginning of the next request for its connection.
    fn hold(&mut self, slot: u32, mut rest: Box<Held>, begins: bool, was_in_body: bool) {
        rest.fit();
        if rest.bytes.is_empty() && rest.incoming.is_fresh() {
            return;
        }
        let now = self.core.tick();
        let Some(entry) = self.core.delivery.slots.get_mut(slot) else { return };
        let first = entry.is_new();
        match &mut entry.state {
            Connection::Reading { held, since, .. } => {
                // The time for a head runs from its first byte, and from the accept for the first one; that for a body from
                // the end of the head.
                if begins && !first || rest.incoming.in_body() && !was_in_body {
                    *since = now;
                }
                *held = Some(rest);
                if self.core.memory_is_full() {
                    self.refuse_unread(slot);
                }
            }
            Connection::Replying(reply) => reply.held = Some(rest),
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

    /// Answers one request after the other, until one is incomplete or ends the sequence. Answers how many bytes of
    /// `data` are done with.
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
        let mut at = 0;
        let then = loop {
            if share == 0 || self.requests.bytes_left == 0 {
                // The rest has its turn when the others have had theirs.
                break Then::Read;
            }
            match incoming.advance(&data[at..], &limits) {
                Ok(Progress::Partial) => break Then::Read,
                Ok(Progress::Continue) => replies.extend_from_slice(CONTINUE),
                Ok(Progress::Complete { consumed }) => {
                    let request = incoming.request(&data[at..]);
                    let before = replies.len();
                    let then = self.answer(slot, &request, incoming.keep_alive(), &mut replies);
                    self.requests.spend(replies.len().saturating_sub(before));
                    at += consumed;
                    incoming.reset();
                    share -= 1;
                    self.requests.left -= 1;
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
                    rejection.encode(&self.requests.date.text, &mut replies);
                    // Whatever follows cannot be trusted to be a request.
                    incoming.reset();
                    at = data.len();
                    break Then::Close(CloseReason::Rejected);
                }
            }
        };
        let written = match then {
            Then::Leave => {
                replies.clear();
                true
            }
            Then::Block => false,
            Then::Read | Then::Close(_) => replies.is_empty() || self.write_now(slot, &mut replies),
        };
        let close = match then {
            Then::Close(reason) => Some(reason),
            Then::Read | Then::Block | Then::Leave => None,
        };
        if written {
            self.requests.replies = replies;
            if let Some(reason) = close {
                self.linger(slot, reason);
            }
        } else {
            self.reply_later(slot, replies, close);
        }
        at
    }

    /// Keeps what the socket did not take of a reply until it does.
    fn reply_later(&mut self, slot: u32, bytes: Vec<u8>, close: Option<CloseReason>) {
        let written = self.core.tick();
        if let Some(entry) = self.core.delivery.slots.get_mut(slot)
            && !matches!(entry.state, Connection::Closed)
        {
            let (requests, refused) = (entry.requests(), entry.refused());
            let rest = PendingReply::new(bytes, written, requests, close, refused, &self.core.account);
            entry.state = Connection::Replying(rest);
        }
    }

    /// The time for a request is over. Whoever has begun one is told (RFC 9110 15.5.9).
    pub(crate) fn give_up_waiting(&mut self, slot: u32, reason: CloseReason) {
        let begun = |slot: &Slot| matches!(slot.state, Connection::Reading { held: Some(_), .. });
        if !self.core.delivery.slots.get(slot).is_some_and(begun) {
            return self.core.end(slot, reason);
        }
        self.give_up(slot, &Reply::status(408), reason);
    }

    /// Answers a request that is not complete, and closes its connection behind that.
    pub(crate) fn give_up(&mut self, slot: u32, reply: &Reply, reason: CloseReason) {
        self.refresh_date();
        let date = &self.requests.date.text;
        let cx = HeadContext { date, keep_alive: false, http_10: false, head_request: false };
        let mut bytes = Vec::new();
        reply.encode(&cx, &mut bytes);
        if self.write_now(slot, &mut bytes) {
            self.linger(slot, reason);
        } else {
            self.reply_later(slot, bytes, Some(reason));
        }
    }

    /// Writes `replies`; what the socket does not take stays in it. Answers whether it took all.
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

    /// Asks the handler, and appends a whole reply to `replies` or opens a stream.
    fn answer(&mut self, slot: u32, request: &Request<'_>, keep_alive: bool, replies: &mut Vec<u8>) -> Then {
        if self.core.memory_is_full() {
            return self.turn_away(request, replies);
        }
        self.core.stats.requests += 1;
        self.core.work.requests += 1;
        let refused = self.core.delivery.slots.get(slot).and_then(Slot::refused);
        let id = self.core.begin(slot);
        self.core.opening_refused = refused.or_else(|| self.core.refuses_streams());
        let preflight = self.core.config.cors.as_ref().and_then(|cors| cors.preflight(request));
        let handler = &mut self.handler;
        let reply = preflight.or_else(|| {
            self.core.guard(HandlerOf(request), |core| {
                handler.request(request, &mut Context::for_request(core, id))
            })
        });
        if self.core.delivery.stream(slot).is_none() {
            // More was sent to the stream than may wait for it. Earlier replies are no part of that.
            self.core.discard(reply.map(|mut reply| reply.take_belongings()).unwrap_or_default());
            self.write_now(slot, replies);
            return Then::Leave;
        }
        if let Some(failure) = reply.as_ref().and_then(Reply::failure) {
            let level = if failure.is_of_peer { log::Level::Debug } else { log::Level::Error };
            log::log!(level, "{} failed: {}", HandlerOf(request), failure.text);
        }
        let (reply, mut close) = match reply {
            Some(reply) => (reply, self.reason_to_close(slot, keep_alive, refused)),
            None => (Reply::status(500), Some(CloseReason::Panicked)),
        };
        let whole = match if request.is_head() { Err(reply) } else { reply.into_stream() } {
            Err(mut whole) => {
                self.core.discard(whole.take_belongings());
                whole
            }
            Ok(mut stream) if self.core.has_too_long_ids(&stream) => {
                self.core.discard(stream.take_belongings());
                Reply::status(500)
            }
            Ok(mut stream) => match self.refusal(id, request, &stream, refused) {
                None => {
                    if let Some(cors) = &self.core.config.cors {
                        stream.share(cors, request);
                    }
                    self.open(id, request, &mut stream, close.is_none(), replies);
                    return Then::Leave;
                }
                Some(refusal) => {
                    log::debug!("refused a stream: {refusal}");
                    if refused.is_none() {
                        self.core.stats.count_refused(refusal);
                    }
                    if !is_final(refusal) {
                        close = Some(CloseReason::Refused);
                    }
                    self.core.discard(stream.take_belongings());
                    self.refuse(refusal, stream, request)
                }
            },
        };
        self.append_whole(whole, request, close.is_none(), replies);
        self.core.abandon(id);
        close.map_or(Then::Read, Then::Close)
    }

    /// Answers a request for which there is no memory, without asking the handler.
    fn turn_away(&mut self, request: &Request<'_>, replies: &mut Vec<u8>) -> Then {
        self.core.stats.count_refused(Refusal::Memory);
        let whole = self.refuse(Refusal::Memory, StreamReply::default(), request);
        self.append_whole(whole, request, false, replies);
        Then::Close(CloseReason::Refused)
    }

    /// Appends a whole reply to `replies`.
    fn append_whole(&self, mut whole: Reply, request: &Request<'_>, keep_alive: bool, replies: &mut Vec<u8>) {
        if let Some(cors) = &self.core.config.cors {
            whole.share(cors, request);
        }
        let cx = HeadContext {
            date: &self.requests.date.text,
            keep_alive,
            http_10: request.is_http_10(),
            head_request: request.is_head(),
        };
        whole.encode(&cx, replies);
    }

    /// Why the connection closes behind this request, if it does.
    pub(crate) fn reason_to_close(
        &self,
        slot: u32,
        keep_alive: bool,
        refused: Option<Refusal>,
    ) -> Option<CloseReason> {
        let requests = self.core.delivery.slots.get(slot).map_or(0, Slot::requests);
        if !keep_alive {
            Some(CloseReason::Completed)
        } else if refused.is_some() {
            Some(CloseReason::Refused)
        } else if self.core.drain.is_some() {
            Some(CloseReason::Drained)
        } else {
            let limit = self.core.config.requests_per_connection_max;
            (usize::from(requests) >= limit).then_some(CloseReason::RequestLimit)
        }
    }

    /// Why the stream cannot be opened, if it cannot. Subscribes it to its topics and gives it its tags.
    fn refusal(
        &mut self,
        id: StreamId,
        request: &Request<'_>,
        stream: &StreamReply,
        refused: Option<Refusal>,
    ) -> Option<Refusal> {
        // Before all others: they say when to come again, and this one is not to.
        if self.core.refuses_tags(stream) {
            return Some(Refusal::Revoked);
        }
        let refused = refused.or_else(|| self.core.refuses_streams());
        let refused = refused.or_else(|| self.core.subscribe_all(id, stream).err());
        let refused = refused.or_else(|| self.core.tag_all(id, stream).err());
        if refused.is_some() || !self.core.delivery.has_finished(id.slot) {
            return refused;
        }
        let resumption = self.core.resumption(id, stream, || last_event_id(stream, request));
        self.core.has_seen_all(id, stream, &resumption).then_some(Refusal::Finished)
    }

    /// What is answered in place of a stream.
    fn refuse(&mut self, refusal: Refusal, stream: StreamReply, request: &Request<'_>) -> Reply {
        match refusal {
            Refusal::Subscriptions => {
                return Reply::text("The stream asks for more topics than one may read.").with_status(400);
            }
            Refusal::Tags => {
                return Reply::text("The stream asks for more tags than one may have.").with_status(400);
            }
            Refusal::MixedIds => {
                return Reply::text("The stream asks for topics that differ in who makes their ids.")
                    .with_status(400);
            }
            Refusal::Revoked | Refusal::Finished => return stream.over(),
            _ => {}
        }
        let drain = self.core.drain.as_ref().and_then(|drain| drain.retry);
        let retry = self.core.scatter(drain.unwrap_or(self.core.config.refuse_retry));
        let accepts = || {
            let accept = request.headers().filter(|(name, _)| name.eq_ignore_ascii_case("Accept"));
            let mut accept = accept.map(|(_, value)| String::from_utf8_lossy(value).to_ascii_lowercase());
            accept.any(|value| value.contains("text/event-stream"))
        };
        let softly = match self.core.config.refuse {
            Refuse::Auto => request.method() == "GET" && accepts(),
            Refuse::Soft => true,
            Refuse::Unavailable => false,
        };
        if softly { stream.refused_softly(retry) } else { stream.unavailable(retry) }
    }

    /// Opens a stream. Replies to earlier requests leave together with its head.
    fn open(
        &mut self,
        id: StreamId,
        request: &Request<'_>,
        stream: &mut StreamReply,
        keep_alive: bool,
        replies: &mut Vec<u8>,
    ) {
        let http_10 = request.is_http_10();
        let chunked = !http_10 && !stream.is_close_delimited();
        let keep_alive = keep_alive && chunked;
        let cx = HeadContext { date: &self.requests.date.text, keep_alive, http_10, head_request: false };
        let earlier = replies.len();
        stream.encode_head(&cx, chunked, replies);
        let framing = if chunked { Framing::Chunked } else { Framing::CloseDelimited };
        let mut belongings = stream.take_belongings();
        let mut resumption = self.core.resumption(id, stream, || last_event_id(stream, request));
        let made_up = resumption.gap && self.is_made_up(id, &resumption);
        if made_up {
            (resumption.beginning, resumption.gap) = (Beginning::Live, false);
        }
        if let Some(source) = belongings.source.take() {
            self.core.set_source_after(id, source);
        }
        if self.core.delivery.stream(id.slot).is_some() {
            let how = Opening { framing, keep_alive, resumption, made_up };
            self.core.open(id, request, replies, stream, how);
            self.tell_of_opening(id, request, belongings);
        } else {
            self.core.discard(belongings);
        }
        if self.core.delivery.stream(id.slot).is_none() {
            // It has ended before anything of it was written. Earlier replies are no part of that.
            replies.truncate(earlier);
            self.write_now(id.slot, replies);
        }
    }

    /// Tells the application that a stream has opened. It may have ended already: then its end is told behind
    /// this.
    fn tell_of_opening(&mut self, id: StreamId, request: &Request<'_>, mut belongings: Belongings) {
        if let Some(state) = belongings.state.take() {
            self.core.hooks.add_state(id, state);
        }
        self.core.opening = Some(id);
        let mut callbacks =
            belongings.on_open.drain(..).filter_map(|callback| callback.downcast::<OnOpen>().ok());
        let mut is_sound = true;
        while is_sound && let Some(callback) = callbacks.next() {
            is_sound = self.core.guard("an on_open callback", |core| callback(id, core)).is_some();
        }
        let left = callbacks.map(|callback| callback as Box<dyn Any + Send>).collect();
        self.core.discard(Belongings { on_open: left, ..Belongings::default() });
        let handler = &mut self.handler;
        let opened = self.core.guard("the handler of an opened stream", |core| {
            handler.opened(id, request, &mut Context::new(core));
        });
        self.core.opening = None;
        if !is_sound || opened.is_none() {
            self.core.end_for_panic(id);
        }
    }

    /// Asks the handler to make up for what a client has missed. Answers whether it does, or has said that it
    /// will.
    fn is_made_up(&mut self, id: StreamId, resumption: &Resumption<'_>) -> bool {
        let Some(last) = resumption.last_event_id.as_deref() else { return false };
        if self.core.delivery.slots.live(id).is_err() {
            // It is closed already, and nothing can be given to it.
            return false;
        }
        let handler = &mut self.handler;
        let answered = self.core.guard("the handler of a gap", |core| {
            handler.missed(id, last, &mut Context::for_request(core, id))
        });
        if self.core.opening_revoked {
            // Too late for a refusal. Where it is closed already, there is nothing to do.
            let _ = self.core.close(id);
        }
        match answered {
            Some(Missed::Gap) => false,
            Some(Missed::Sent) => true,
            Some(Missed::Later) => self.core.hold(id),
            None => {
                self.core.end_for_panic(id);
                false
            }
        }
    }

    /// Goes on with a reply that did not fit into the socket, in the next turn if this one has done its share.
    fn write_reply(&mut self, slot: u32) {
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

    /// A response that took more than one turn is complete: the next request, or the end.
    pub(crate) fn replied(&mut self, slot: u32, close: Option<CloseReason>, held: Option<Box<Held>>) {
        let since = self.core.tick();
        // In a drain the time for further requests may be over, but for one that has begun.
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

    /// Closes our side and waits for the peer to close its own.
    pub(crate) fn linger(&mut self, slot: u32, reason: CloseReason) {
        let since = self.core.tick();
        let Some(entry) = self.core.delivery.slots.get_mut(slot) else { return };
        let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        match self.net.shutdown(socket) {
            Ok(()) => entry.state = Connection::Lingering { since, reason, left: LINGER_BYTES_MAX },
            Err(error) => self.core.end(slot, CloseReason::of_error(&error)),
        }
    }

    /// Makes sure that `requests.date.text` is this turn's.
    fn refresh_date(&mut self) {
        self.requests.date.refresh(self.core.delivery.topics.unix_ms() / 1000);
    }
}

/// Names the handler of a request in the log, where a peer says what stands there.
struct HandlerOf<'a>(&'a Request<'a>);

impl fmt::Display for HandlerOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.raw_path();
        let shown = path.char_indices().nth(LOGGED_CHARS).map_or(path, |(end, _)| &path[..end]);
        let more = if shown.len() < path.len() { "..." } else { "" };
        write!(f, "the handler of {} {}{more}", self.0.method().escape_debug(), shown.escape_debug())
    }
}

/// What is shown of a path at most.
const LOGGED_CHARS: usize = 200;

/// The id of what a client has seen last, by what it or its handler says.
fn last_event_id<'a>(stream: &'a StreamReply, request: &Request<'a>) -> Option<Cow<'a, str>> {
    let id = stream.resumes_after().map(Cow::Borrowed).or_else(|| request.last_event_id());
    id.filter(|id| !id.is_empty())
}

/// Whether coming again is of no use, so that it does no good to close the connection either.
fn is_final(refusal: Refusal) -> bool {
    use Refusal::{Finished, MixedIds, Revoked, Subscriptions, Tags};
    matches!(refusal, Subscriptions | Tags | Revoked | MixedIds | Finished)
}
