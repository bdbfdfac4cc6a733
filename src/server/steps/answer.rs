//! Calls the handler for a request, and writes a whole reply, opens a stream, or refuses it.
//!
//! `Incoming` finds the end of a request in the bytes that have arrived. A request for a host that is not in
//! `Config::hosts` is rejected as soon as its head is complete. Then the `App` is called; for a `Router` that
//! is `before` (outermost scope first), the route, and `after`. The reply is checked and gets CORS headers,
//! from the scope's policy or `Config::cors`. An error without a body gets that of `Config::error_body`. Then
//! the reply is written or the stream opened, and observers get an `Access`.
//!
//! A stream is refused after the handler was called. Only the handler's reply shows that it would be a
//! stream, and has the CORS headers, without which a page of another origin gives up for good.
//!
//! The closure of an `sse` route is called before the stream opens, because its reply may name topics and
//! headers that the head needs. It is not called for HEAD, nor if every stream would be refused. If its own
//! reply is refused (a revoked tag, one topic too many), what it did is dropped. `on_open` is for what must
//! be undone.

use crate::config::Refuse;
use crate::conn::close_reason::CloseReason;
use crate::conn::id::StreamId;
use crate::conn::refusal::Refusal;
use crate::conn::slot::Slot;
use crate::conn::ticket::Ticket;
use crate::http::parse::request::Request;
use crate::http::reply::reply::{IntoReply, Reply};
use crate::http::reply::stream_reply::StreamReply;
use crate::server::api::app::App;
use crate::server::api::context::Context;
use crate::server::api::server::Server;
use crate::server::io::net::Net;
use crate::server::steps::open::last_event_id;
use std::fmt;

/// What a connection does after its requests were handled.
pub(super) enum Then {
    Read,
    Close(CloseReason),
    /// The client does not read its replies, so its next requests wait.
    Block,
    /// The reply comes later.
    Await(Ticket),
    /// The connection carries a stream now, or is closed.
    Leave,
}

impl Then {
    /// Why the connection closes, if it does.
    pub(super) fn into_close(self) -> Option<CloseReason> {
        match self {
            Self::Close(reason) => Some(reason),
            Self::Read | Self::Block | Self::Await(_) | Self::Leave => None,
        }
    }
}

impl<H: App, N: Net> Server<H, N> {
    /// Calls the handler, and appends a whole reply to `replies` or opens a stream.
    pub(super) fn answer(
        &mut self,
        slot: u32,
        request: &Request<'_>,
        keep_alive: bool,
        replies: &mut Vec<u8>,
    ) -> Then {
        if self.core.memory_is_full() {
            return self.turn_away(slot, Refusal::Memory, request, replies);
        }
        self.core.stats.requests += 1;
        self.core.work.requests += 1;
        self.answer_by(slot, request, keep_alive, replies, |server, id| {
            let preflight = server.cors(request).and_then(|cors| cors.preflight(request));
            let handler = &mut server.handler;
            preflight.or_else(|| {
                server.core.guard(HandlerOf(request), |core| {
                    handler.request(request, &mut Context::for_request(core, id))
                })
            })
        })
    }

    /// Does the same with the reply of `ask`, which gets the id that a stream would have.
    pub(super) fn answer_by(
        &mut self,
        slot: u32,
        request: &Request<'_>,
        keep_alive: bool,
        replies: &mut Vec<u8>,
        ask: impl FnOnce(&mut Self, StreamId) -> Option<Reply>,
    ) -> Then {
        let refused = self.core.delivery.slots.get(slot).and_then(Slot::refused);
        let id = self.core.begin(slot);
        self.core.opening_refused = refused.or_else(|| self.core.refuses_streams());
        let reply = ask(self, id);
        if self.core.delivery.stream(slot).is_none() {
            // The handler sent more to the stream than may wait for it. Earlier replies are still written.
            self.core.discard(reply.map(|mut reply| reply.take_belongings()).unwrap_or_default());
            self.write_now(slot, replies);
            return Then::Leave;
        }
        if reply.as_ref().is_some_and(Reply::is_later) {
            self.core.abandon(id, refused);
            let ticket = reply.and_then(Reply::into_ticket);
            // The count includes this request's own ticket.
            return match ticket.filter(|ticket| ticket.request == Some(id)) {
                Some(_) if self.core.count_late_replies() > self.core.config.late_replies_max => {
                    self.turn_away(slot, Refusal::LateReplies, request, replies)
                }
                Some(ticket) => Then::Await(ticket),
                None => {
                    log::error!(
                        "{} failed: it returned the later reply of another request",
                        HandlerOf(request)
                    );
                    self.append_whole(slot, Reply::status(500), Some(request), false, replies);
                    Then::Close(CloseReason::Completed)
                }
            };
        }
        let reply = reply.map(|mut reply| match reply.check() {
            Ok(()) => reply,
            Err(error) => {
                self.core.discard(reply.take_belongings());
                Err::<Reply, _>(error).into_reply()
            }
        });
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
                    if let Some(cors) = self.cors(request) {
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
        self.append_whole(slot, whole, Some(request), close.is_none(), replies);
        self.core.abandon(id, None);
        close.map_or(Then::Read, Then::Close)
    }

    /// Refuses a request, whether it asks for a stream or not.
    fn turn_away(
        &mut self,
        slot: u32,
        refusal: Refusal,
        request: &Request<'_>,
        replies: &mut Vec<u8>,
    ) -> Then {
        self.core.stats.count_refused(refusal);
        let whole = self.refuse(refusal, StreamReply::default(), request);
        self.append_whole(slot, whole, Some(request), false, replies);
        Then::Close(CloseReason::Refused)
    }

    /// Why the connection closes after this request, if it does.
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

    /// Why the stream cannot be opened, if it cannot. Subscribes it to its topics and sets its tags.
    fn refusal(
        &mut self,
        id: StreamId,
        request: &Request<'_>,
        stream: &StreamReply,
        refused: Option<Refusal>,
    ) -> Option<Refusal> {
        // Checked first: other refusals tell the client to retry, and this one must not.
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

    /// The reply instead of a stream.
    fn refuse(&mut self, refusal: Refusal, stream: StreamReply, request: &Request<'_>) -> Reply {
        match refusal {
            Refusal::Subscriptions => {
                return bad_stream("The stream asks for more topics than one may read.");
            }
            Refusal::Tags => {
                return bad_stream("The stream asks for more tags than one may have.");
            }
            Refusal::MixedIds => {
                return bad_stream("The stream asks for topics that differ in how their ids are made.");
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
}

fn bad_stream(problem: &'static str) -> Reply {
    Reply::text(problem).with_status(400).by_default()
}

/// Names the handler of a request in the log. The client chooses this text, so it is escaped and cut.
pub(super) struct HandlerOf<'a>(pub(super) &'a Request<'a>);

impl fmt::Display for HandlerOf<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let path = self.0.raw_path();
        let shown = path.char_indices().nth(LOGGED_CHARS).map_or(path, |(end, _)| &path[..end]);
        let more = if shown.len() < path.len() { "..." } else { "" };
        write!(f, "the handler of {} {}{more}", self.0.method().escape_debug(), shown.escape_debug())
    }
}

/// Characters of a path that are logged at most.
const LOGGED_CHARS: usize = 200;

/// Whether a retry would get the same refusal. Then the connection need not close either.
fn is_final(refusal: Refusal) -> bool {
    use Refusal::{Finished, MixedIds, Revoked, Subscriptions, Tags};
    matches!(refusal, Subscriptions | Tags | Revoked | MixedIds | Finished)
}
