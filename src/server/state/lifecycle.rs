//! The life of a stream: it begins, opens or not, and ends once.
//!
//! A stream that is being opened with a revoked tag stays usable. A flag records that it will be refused. If
//! sends failed before that, the handler's error would be a 500 instead of the 204.

use crate::conn::close_reason::CloseReason;
use crate::conn::id::StreamId;
use crate::conn::refusal::Refusal;
use crate::conn::slot::Connection;
use crate::delivery::resume::Beginning;
use crate::delivery::stream::{Flags, Phase, Stream};
use crate::error::Error;
use crate::event::Event;
use crate::http::parse::request::Request;
use crate::http::reply::stream_reply::{Belongings, StreamReply};
use crate::server::api::observer::{Audience, Message};
use crate::server::state::ages;
use crate::server::state::core::Core;
use crate::server::state::feed::Feed;
use crate::server::state::guard::catch;
use crate::server::state::resume::Resumption;
use crate::topic::frame::{COMMENT, COMMENT_KIND, EncodedEvent, Framing};
use std::any::Any;
use std::borrow::Cow;
use std::mem::forget;
use std::panic::resume_unwind;
use std::time::Duration;

/// How a stream is opened.
#[derive(Debug)]
pub(crate) struct Opening<'a> {
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    pub(crate) resumption: Resumption<'a>,
    /// The missed events were sent or will be, so the stream's beginning is not the client's place.
    pub(crate) made_up: bool,
}

impl Core {
    /// Begins a stream on the connection in `slot`, before it is known whether the reply is a stream.
    pub(crate) fn begin(&mut self, slot: u32) -> StreamId {
        let id = self.delivery.slots.draw_id(slot);
        self.opening_revoked = false;
        // If panics propagate, the last handler may have left callbacks.
        let left = std::mem::take(&mut self.on_open);
        self.remains.add_all(left);
        let sequence = self.delivery.topics.sequence();
        let tick = self.tick();
        if let Some(slot) = self.delivery.slots.get_mut(slot) {
            let requests = slot.requests().saturating_add(1);
            slot.state = Connection::Streaming(Stream::opening(sequence, tick, requests));
        }
        id
    }

    /// The reply is not a stream: drops whatever the handler gave to the stream. `refused` is kept for a
    /// later reply.
    pub(crate) fn abandon(&mut self, id: StreamId, refused: Option<Refusal>) {
        self.delivery.dissolve(id.slot);
        self.drop_belongings(id);
        let since = self.tick();
        if let Some(slot) = self.delivery.slots.get_mut(id.slot) {
            let requests = slot.requests();
            slot.state = Connection::Reading { since, requests, refused, held: None };
        }
    }

    /// Why every new stream is refused at the moment, if so.
    pub(crate) fn refuses_streams(&self) -> Option<Refusal> {
        if self.drain.is_some() {
            return Some(Refusal::Draining);
        }
        (self.streams() >= self.config.streams_max).then_some(Refusal::Streams)
    }

    /// Subscribes a stream that is about to be opened to the topics of its reply.
    pub(crate) fn subscribe_all(&mut self, id: StreamId, reply: &StreamReply) -> Result<(), Refusal> {
        for topic in reply.topics() {
            // A stream that was closed already still gets the retained events of its topics.
            match self.subscribe_slot(id.slot, topic) {
                Err(Error::TooManySubscriptions) => return Err(Refusal::Subscriptions),
                Err(Error::TooManyTopics) => return Err(Refusal::Topics),
                Err(Error::MixedIds) => return Err(Refusal::MixedIds),
                _ => {}
            }
        }
        Ok(())
    }

    /// Opens a stream. `head` goes out before anything that the handler has given to it.
    pub(crate) fn open(
        &mut self,
        id: StreamId,
        request: &Request<'_>,
        head: &[u8],
        reply: &StreamReply,
        how: Opening<'_>,
    ) {
        let Opening { framing, keep_alive, resumption, made_up } = how;
        let gap = resumption.gap;
        self.stats.gaps += u64::from(gap);
        self.delivery.place(id.slot, resumption.beginning, gap);
        let begins_at = if made_up {
            None
        } else {
            let is_ahead = matches!(resumption.beginning, Beginning::Ahead(_));
            let seen = resumption.last_event_id.as_deref().filter(|_| !gap || is_ahead);
            self.delivery.id_at_beginning(id.slot, seen, resumption.beginning == Beginning::Live)
        };
        let expires = self.config.max_age.map_or(0, |age| ages::expires(age, self.now, id.slot));
        let Some(stream) = self.delivery.stream_mut(id.slot) else { return };
        stream.framing = framing;
        stream.flags.set(Flags::KEEP_ALIVE, keep_alive);
        stream.flags.set(Flags::FINISH, reply.finishes());
        stream.flags.set(Flags::OWN_AGE, reply.own_age().is_some());
        stream.flags.set(Flags::ENDS, stream.is_held() && reply.ends());
        stream.expires = expires;
        let closed = stream.phase == Phase::OpeningClosed;
        let first = reply.first_events();
        let sent = stream.extras().map(|extras| &extras.private);
        self.stats.events_sent += (first.len() + sent.map_or(0, |sent| sent.events().count())) as u64;
        // Events sent to one of its tags were reported already.
        let sent_before = sent.into_iter().flat_map(|sent| sent.events());
        let untold = sent_before.filter(|(kind, _)| !kind.told).map(|(_, text)| text);
        let untold = first.iter().map(EncodedEvent::text).chain(untold).map(str::to_owned);
        let untold: Vec<String> = untold.take_while(|_| !self.observers.is_empty()).collect();
        let follows = closed || !first.is_empty() || sent.is_some_and(|sent| !sent.is_empty());
        let ends = self.reason_to_end(id.slot, closed || reply.ends());
        if ends.is_some() && (!closed || resumption.beginning != Beginning::Live) {
            // Moves the end after the events that its topics have by now.
            self.delivery.close(id.slot);
        }

        let opening = self.opening_notice(reply.retry_after(), gap, begins_at);
        let opening = opening.and_then(|opening| EncodedEvent::new(&opening).ok());
        // Browsers hold back a response whose body has no byte yet: if nothing else follows at once, a
        // comment is sent.
        let comment = opening.is_none() && !follows;
        let opening = opening.as_ref().map(|event| (event.notice(), event.bytes()));
        let opening = opening.or_else(|| comment.then_some((COMMENT_KIND, COMMENT)));
        let first = first.iter().map(|event| (event.kind(), event.bytes()));
        self.delivery.open(id.slot, head, opening.into_iter().chain(first));
        self.stats.streams_opened += 1;
        self.count_for_others(0, 1);
        self.source_ready(id);
        if !self.observers.is_empty() {
            self.tell_access(Some(request), request.peer(), 200, None);
        }
        self.tell(|observer| {
            observer.open(id, request);
            for text in &untold {
                observer.message(&Message { to: Audience::Stream(id), text });
            }
        });
        if let Some(reason) = ends {
            self.ending(id, reason);
        } else if let Some(age) = reply.own_age() {
            let end =
                move |_, core: &mut Core, _: &mut dyn Any| drop(core.close_for(id, CloseReason::MaxAge));
            self.add_timer(age, None, Some(id), Box::new(end));
        }
    }

    /// The first block of a stream, from the server: `retry:`, a gap, and the id where the stream begins. The
    /// number of missed events is unknown, as dropped events are not counted.
    fn opening_notice(
        &self,
        retry: Option<Duration>,
        gap: bool,
        begins_at: Option<Cow<'static, str>>,
    ) -> Option<Event<'_>> {
        if retry.is_none() && !gap && begins_at.is_none() {
            return None;
        }
        let gap_event = self.config.gap_event.as_ref().filter(|_| gap);
        // A named heartbeat is for clients that ignore an id without data.
        let heartbeat = self.config.heartbeat_event.as_ref().filter(|_| begins_at.is_some());
        let name = gap_event.or(heartbeat);
        let mut notice = Event::notice(name);
        if let Some(retry) = retry {
            notice = notice.retry(retry);
        }
        Some(match begins_at {
            Some(id) => notice.id(id),
            None => notice,
        })
    }

    /// Why a stream that is about to open ends, if it does. `asked` is whether the application has closed it.
    /// A held stream does not end before it has the missed events.
    fn reason_to_end(&self, slot: u32, asked: bool) -> Option<CloseReason> {
        match () {
            () if self.delivery.stream(slot).is_some_and(Stream::is_held) => None,
            () if asked && self.opening_revoked => Some(CloseReason::Revoked),
            () if asked => Some(CloseReason::Application),
            () => self.is_over(slot).then_some(CloseReason::Finished),
        }
    }

    /// Whether a stream has no events to come.
    fn is_over(&self, slot: u32) -> bool {
        let has_source = || self.delivery.slots.id(slot).is_some_and(|id| self.has_source(id));
        self.delivery.has_finished(slot) && !has_source()
    }

    /// Closes a stream that has no events to come.
    pub(crate) fn end_if_finished(&mut self, slot: u32) {
        let is_open = self.delivery.stream(slot).is_some_and(|stream| stream.phase == Phase::Open);
        if is_open
            && self.is_over(slot)
            && let Some(id) = self.delivery.slots.id(slot)
        {
            // Cannot fail: the stream is open.
            let _ = self.close_for(id, CloseReason::Finished);
        }
    }

    /// Closes a stream for the application: events published and sent to it so far still go out, then the end
    /// of the body.
    pub(crate) fn close(&mut self, id: StreamId) -> Result<(), Error> {
        self.close_for(id, CloseReason::Application)
    }

    pub(crate) fn close_for(&mut self, id: StreamId, reason: CloseReason) -> Result<(), Error> {
        let opening = self.delivery.slots.live(id)?.phase == Phase::Opening;
        self.delivery.close(id.slot);
        if opening {
            self.tags.forget(id.slot);
            if let Some(stream) = self.delivery.stream_mut(id.slot) {
                stream.phase = Phase::OpeningClosed;
            }
        } else {
            self.ending(id, reason);
        }
        Ok(())
    }

    /// The end of the body is placed, and nothing will follow it.
    fn ending(&mut self, id: StreamId, reason: CloseReason) {
        let expires = self.rest_expires();
        if let Some(stream) = self.delivery.stream_mut(id.slot) {
            stream.phase = Phase::Ending;
            stream.expires = expires.unwrap_or(stream.expires);
        }
        self.report(id, reason);
    }

    /// See [`ages::rest_expires`].
    pub(crate) fn rest_expires(&self) -> Option<u8> {
        ages::rest_expires(self.config.max_age?, self.now, self.config.stall_timeout)
    }

    /// Closes a connection at once, and the stream on it if there is one. Waiting bytes are dropped.
    pub(crate) fn end(&mut self, slot: u32, reason: CloseReason) {
        let Some(entry) = self.delivery.slots.get_mut(slot) else { return };
        let reason = match entry.state {
            Connection::Closed => return,
            // The connection only waits for the peer, and has its reason already.
            Connection::Lingering { reason, .. } => reason,
            _ => reason,
        };
        let phase = entry.stream().map(|stream| stream.phase);
        self.delivery.dissolve(slot);
        if let Some(entry) = self.delivery.slots.get_mut(slot) {
            entry.state = Connection::Closed;
        }
        self.stats.count_connection_closed(reason);
        self.closed.push(slot);
        if let Some(id) = self.delivery.slots.id(slot) {
            match phase {
                Some(Phase::Open) => self.report(id, reason),
                // Its opening was not reported.
                Some(Phase::Opening | Phase::OpeningClosed) => self.drop_belongings(id),
                Some(Phase::Ending) | None => {}
            }
        }
    }

    /// Closes a stream after one of its callbacks has panicked.
    pub(crate) fn end_for_panic(&mut self, id: StreamId) {
        if self.delivery.slots.live(id).is_ok() {
            self.end(id.slot, CloseReason::Panicked);
        }
    }

    /// Reports the end of an open stream, once.
    fn report(&mut self, id: StreamId, reason: CloseReason) {
        log::debug!("stream {id}: {reason}");
        self.stats.count_closed(reason);
        self.count_for_others(0, -1);
        self.ended.push((id, reason));
        self.drop_tags_and_timers(id);
        self.tell(|observer| observer.close(id, reason));
    }

    /// Drops all that belongs to a stream that did not open.
    fn drop_belongings(&mut self, id: StreamId) {
        let on_open = std::mem::take(&mut self.on_open);
        self.remains.add_all(on_open);
        self.drop_tags_and_timers(id);
        self.drop_hooks(id);
    }

    /// Drops the values that a stream keeps until its end was reported.
    pub(crate) fn drop_hooks(&mut self, id: StreamId) {
        let hooks = self.hooks.remove_all(id);
        self.remains.add_all(hooks.on_close);
        self.remains.add_all(hooks.state);
        self.discard_feed(hooks.feed);
    }

    /// Drops what a reply has brought for a stream that does not open.
    pub(crate) fn discard(&mut self, belongings: Belongings) {
        let Belongings { source, state } = belongings;
        self.remains.add_all(source);
        self.remains.add_all(state);
    }

    /// Drops tags and timers, which are stored by slot, before another stream begins there.
    fn drop_tags_and_timers(&mut self, id: StreamId) {
        self.tags.forget(id.slot);
        while let Some(callback) = self.timers.remove_next_of(id.slot) {
            self.remains.add_all(callback);
        }
    }

    /// Drops the sources of a stream.
    pub(crate) fn discard_feed(&mut self, feed: Option<Feed>) {
        self.remains.add_all(feed.into_iter().flat_map(Feed::into_sources));
    }

    /// A part of step 9: drops values of the application one by one, so a destructor that panics does not
    /// affect others.
    pub(crate) fn drop_remains(&mut self) {
        for _ in 0..DROPS_PER_TURN {
            let Some(remain) = self.remains.take() else { return };
            if let Err(panic) = catch("a destructor", || drop(remain)) {
                self.stats.panics += 1;
                if self.config.propagate_panics {
                    resume_unwind(panic);
                }
                // Dropping the payload may panic as well, and so on.
                if !(panic.is::<String>() || panic.is::<&str>()) {
                    forget(panic);
                }
            }
        }
    }
}

/// Values of the application that are dropped in one turn at most.
const DROPS_PER_TURN: usize = 1024;
