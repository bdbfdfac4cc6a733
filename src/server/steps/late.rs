//! A part of step 5: replies that come later than their requests.
//!
//! For a later reply the handler returns a `Ticket`. The request is copied and its connection is `Awaiting`.
//! Later requests on that connection wait, beyond `head_bytes_max` in the socket. The `Responder` puts the
//! reply into the inbox, which always has room for it: at most one reply for each waiting request. The reply
//! is then handled like any other. If the client leaves or the time is over, the ticket is dropped, and the
//! responder learns of it.
//!
//! `Context` makes such a reply, not `Reply`, because it knows the inbox, the request and the type of the
//! state.

use crate::conn::close_reason::CloseReason;
use crate::conn::id::StreamId;
use crate::conn::refusal::Refusal;
use crate::conn::slot::{Awaiting, Connection};
use crate::conn::ticket::{Awaited, Ticket};
use crate::http::parse::held::Held;
use crate::http::reply::failure::Failure;
use crate::http::reply::reply::Reply;
use crate::server::api::app::App;
use crate::server::api::context::Context;
use crate::server::api::server::Server;
use crate::server::io::net::Net;
use crate::server::io::write::write;
use crate::server::state::core::LateReply;
use crate::server::steps::answer::{HandlerOf, Then};

impl<H: App, N: Net> Server<H, N> {
    /// Makes a request wait for its reply. The rest of earlier replies is written in the meantime.
    pub(super) fn await_reply(&mut self, slot: u32, request: Box<Held>, ticket: Ticket, earlier: Vec<u8>) {
        let since = self.core.tick();
        let Some(entry) = self.core.delivery.slots.get_mut(slot) else { return };
        if matches!(entry.state, Connection::Closed) {
            return;
        }
        let (requests, refused) = (entry.requests(), entry.refused());
        let awaiting = Awaiting::new(request, since, requests, refused, ticket, earlier, &self.core.account);
        entry.state = Connection::Awaiting(awaiting);
    }

    /// Continues to write the replies before the one that is awaited.
    pub(super) fn write_earlier(&mut self, slot: u32) {
        let Some(entry) = self.core.delivery.slots.get_mut(slot) else { return };
        let Connection::Awaiting(awaiting) = &mut entry.state else { return };
        let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        match write(&mut self.net, socket, awaiting.earlier()) {
            Ok(written) => {
                self.core.stats.bytes_written += written.bytes as u64;
                awaiting.took(written.bytes);
                entry.writable = written.all;
            }
            Err(reason) => self.core.end(slot, reason),
        }
    }

    /// Sends the late replies that have arrived, as long as this turn has time.
    pub(super) fn give_late_replies(&mut self) {
        for _ in 0..self.core.late.len() {
            if self.requests.bytes_left == 0 {
                return;
            }
            let Some((request, awaited, reply)) = self.core.late.pop_front() else { return };
            self.reply_late(request, &awaited, reply);
        }
    }

    fn reply_late(&mut self, request: StreamId, awaited: &Awaited, late: LateReply) {
        let slot = request.slot;
        let Some(awaiting) = self.end_wait(slot, |awaiting| awaited.is_of(&awaiting.ticket)) else {
            return self.core.remains.add(late);
        };
        let (held, mut replies, behind) = (*awaiting).into_parts();
        let (keep_alive, peer) = (held.incoming.keep_alive(), self.peer(slot));
        self.refresh_date();
        let before = replies.len();
        let then = {
            let request = held.incoming.request(&held.bytes).with_peer(peer.as_ref());
            self.answer_by(slot, &request, keep_alive, &mut replies, |server, id| {
                let state = server.handler.state();
                let reply = server.core.guard(HandlerOf(&request), |core| late(&request, id, core, state))?;
                let handler = &mut server.handler;
                let reply = server.core.guard(HandlerOf(&request), |core| match reply.is_later() {
                    true => reply,
                    false => handler.after(&request, reply, &mut Context::for_request(core, id)),
                })?;
                let again = || Failure::of_application("a later reply must not be later again");
                Some(if reply.is_later() { Reply::status(500).because(again()) } else { reply })
            })
        };
        self.requests.spend(replies.len().saturating_sub(before));
        if !matches!(then, Then::Leave) {
            self.write_replies(slot, then.into_close(), replies);
        }
        if let Some(behind) = behind {
            self.hold(slot, behind, true, false);
        }
        self.visit_again(slot);
    }

    /// Ends the wait of the connection in `slot`, if it waits for a reply and `is_meant` accepts the wait.
    fn end_wait(&mut self, slot: u32, is_meant: impl Fn(&Awaiting) -> bool) -> Option<Box<Awaiting>> {
        let since = self.core.tick();
        let entry = self.core.delivery.slots.get_mut(slot)?;
        let Connection::Awaiting(awaiting) = &entry.state else { return None };
        if !is_meant(awaiting) {
            return None;
        }
        // The request is counted again when its reply is handled.
        let requests = awaiting.requests.saturating_sub(1);
        let reading = Connection::Reading { since, requests, refused: awaiting.refused, held: None };
        match std::mem::replace(&mut entry.state, reading) {
            Connection::Awaiting(awaiting) => Some(awaiting),
            _ => None,
        }
    }

    /// Refuses a request that waits, because memory is full. It gets its reply at once, which frees what it
    /// holds.
    pub(super) fn refuse_awaiting(&mut self, slot: u32) {
        let Some(awaiting) = self.end_wait(slot, |_awaiting| true) else { return };
        let (held, mut replies, _behind) = (*awaiting).into_parts();
        let peer = self.peer(slot);
        let request = held.incoming.request(&held.bytes).with_peer(peer.as_ref());
        self.core.stats.count_refused(Refusal::Memory);
        let reply = self.core.unavailable();
        self.refresh_date();
        self.append_whole(slot, reply, Some(&request), false, &mut replies);
        self.write_replies(slot, Some(CloseReason::Refused), replies);
        self.visit_again(slot);
    }

    /// The application took too long to reply.
    pub(super) fn give_up_awaiting(&mut self, slot: u32, reply: Reply) {
        let entry = self.core.delivery.slots.get(slot);
        if let Some(Connection::Awaiting(awaiting)) = entry.map(|entry| &entry.state)
            && let Some(id) = self.core.delivery.slots.id(slot)
        {
            self.core.late.push_back((id, awaiting.ticket.awaited(), Box::new(move |_, _, _, _| reply)));
        }
    }
}

/// The reply to a request that has waited too long.
pub(super) fn too_late() -> Reply {
    Reply::status(504).because(Failure::of_application("no reply in time"))
}
