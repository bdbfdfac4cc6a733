//! Opens a stream: writes its head, places its cursor, and calls the application.

use crate::conn::id::StreamId;
use crate::delivery::resume::Beginning;
use crate::http::coding::accepts_gzip;
use crate::http::parse::request::Request;
use crate::http::reply::headers::HeadContext;
use crate::http::reply::stream_reply::{Coding, StreamReply};
use crate::server::api::app::App;
use crate::server::api::context::Context;
use crate::server::api::missed::Missed;
use crate::server::api::server::Server;
use crate::server::io::net::Net;
use crate::server::state::lifecycle::Opening;
use crate::server::state::resume::Resumption;
use crate::topic::frame::Framing;
use std::borrow::Cow;

impl<H: App, N: Net> Server<H, N> {
    /// Opens a stream. Replies to earlier requests leave together with its head.
    pub(super) fn open(
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
        let coding = match chunked && stream.compresses() && self.core.delivery.compresses(id.slot) {
            false => Coding::Identity,
            true if accepts_gzip(request) => Coding::Gzip,
            true => Coding::OnlyIdentity,
        };
        stream.set_coding(coding);
        stream.encode_head(&cx, chunked, replies);
        let framing = match coding {
            Coding::Gzip => Framing::Gzip,
            _ if chunked => Framing::Chunked,
            _ => Framing::CloseDelimited,
        };
        let mut belongings = stream.take_belongings();
        // `missed` may ask for it. Where the stream has ended already, nobody does.
        if self.core.delivery.stream(id.slot).is_some()
            && let Some(state) = belongings.state.take()
        {
            self.core.hooks.add_state(id, state);
        }
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
            self.tell_of_opening(id, request);
        } else {
            self.core.discard(belongings);
        }
        if self.core.delivery.stream(id.slot).is_none() {
            // The stream has ended before anything of it was written. Earlier replies are still written.
            replies.truncate(earlier);
            self.write_now(id.slot, replies);
        }
    }

    /// Tells the application that a stream has opened. The stream may have ended already; its end is reported
    /// after this.
    fn tell_of_opening(&mut self, id: StreamId, request: &Request<'_>) {
        self.core.opening = Some(id);
        let mut callbacks = std::mem::take(&mut self.core.on_open).into_iter();
        let mut is_sound = true;
        while is_sound && let Some(callback) = callbacks.next() {
            let state = self.handler.state();
            is_sound = self.core.guard("an on_open callback", |core| callback(id, core, state)).is_some();
        }
        self.core.remains.add_all(callbacks);
        let handler = &mut self.handler;
        let opened = self.core.guard("the handler of an opened stream", |core| {
            handler.opened(id, request, &mut Context::new(core));
        });
        self.core.opening = None;
        if !is_sound || opened.is_none() {
            self.core.end_for_panic(id);
        }
    }

    /// Asks the handler for the events that a client has missed. Returns whether it has sent them or will.
    fn is_made_up(&mut self, id: StreamId, resumption: &Resumption<'_>) -> bool {
        let Some(last) = resumption.last_event_id.as_deref() else { return false };
        if self.core.delivery.slots.live(id).is_err() {
            // The stream is closed already, so nothing can be sent to it.
            return false;
        }
        let handler = &mut self.handler;
        let answered = self.core.guard("the handler of a gap", |core| {
            handler.missed(id, last, &mut Context::for_request(core, id))
        });
        if self.core.opening_revoked {
            // Too late to refuse the stream, so it is closed. It may be closed already.
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
}

/// The id of the last event that a client has seen, as the handler or the client says.
pub(super) fn last_event_id<'a>(stream: &'a StreamReply, request: &Request<'a>) -> Option<Cow<'a, str>> {
    let id = stream.resumes_after().map(Cow::Borrowed).or_else(|| request.last_event_id());
    id.filter(|id| !id.is_empty())
}
