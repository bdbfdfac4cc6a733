//! The life of a stream: how it begins, is opened or not, and ends, once.

use crate::conn::close_reason::CloseReason;
use crate::conn::id::StreamId;
use crate::conn::refusal::Refusal;
use crate::conn::slot::Connection;
use crate::delivery::stream::{Flags, Phase, Stream};
use crate::error::Error;
use crate::event::Event;
use crate::http::parse::request::Request;
use crate::http::reply::stream_reply::StreamReply;
use crate::server::api::observer::{Audience, Message};
use crate::server::state::ages;
use crate::server::state::core::{Core, OnClose};
use crate::server::state::hooks::Hooks;
use crate::server::state::resume::Resumption;
use crate::topic::frame::{COMMENT, COMMENT_KIND, EncodedEvent, Framing};

/// How a stream is opened.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Opening {
    pub(crate) framing: Framing,
    pub(crate) keep_alive: bool,
    pub(crate) resumption: Resumption,
}

impl Core {
    /// Makes a stream of the connection in `slot`, before it is known whether the reply will be one.
    pub(crate) fn begin(&mut self, slot: u32) -> StreamId {
        let id = self.delivery.slots.draw_id(slot);
        self.opening_revoked = false;
        let sequence = self.delivery.topics.sequence();
        let tick = self.tick();
        if let Some(slot) = self.delivery.slots.get_mut(slot) {
            let requests = slot.requests().saturating_add(1);
            slot.state = Connection::Streaming(Stream::opening(sequence, tick, requests));
        }
        id
    }

    /// The reply was none: drops whatever the handler gave to the stream.
    pub(crate) fn abandon(&mut self, id: StreamId) {
        self.delivery.dissolve(id.slot);
        self.drop_hooks(id);
        let since = self.tick();
        if let Some(slot) = self.delivery.slots.get_mut(id.slot) {
            let requests = slot.requests();
            slot.state = Connection::Reading { since, requests, refused: None, held: None };
        }
    }

    /// Whether a stream that is about to be opened is one too many, whatever it would read.
    pub(crate) fn refuses_streams(&self) -> Option<Refusal> {
        if self.drain.is_some() {
            return Some(Refusal::Draining);
        }
        let streams = self.stats.streams_opened - self.stats.streams_closed();
        (streams >= self.config.streams_max as u64).then_some(Refusal::Streams)
    }

    /// Subscribes a stream that is about to be opened to the topics of its reply.
    pub(crate) fn subscribe_all(&mut self, id: StreamId, reply: &StreamReply) -> Result<(), Refusal> {
        for topic in reply.topics() {
            match self.subscribe(id, topic) {
                Err(Error::TooManySubscriptions) => return Err(Refusal::Subscriptions),
                Err(Error::TooManyTopics) => return Err(Refusal::Topics),
                // A stream that was closed already is not subscribed to anything more.
                _ => {}
            }
        }
        Ok(())
    }

    /// The reply is a stream: `head` goes out before anything that the handler has given to it.
    pub(crate) fn open(
        &mut self,
        id: StreamId,
        request: &Request<'_>,
        head: &[u8],
        reply: &StreamReply,
        how: Opening,
    ) {
        let Opening { framing, keep_alive, resumption } = how;
        let gap = resumption.gap;
        self.stats.gaps += u64::from(gap);
        self.delivery.place(id.slot, resumption.beginning, gap);
        let expires = self.config.max_age.map_or(0, |age| ages::expires(age, self.now, id.slot));
        let Some(stream) = self.delivery.stream_mut(id.slot) else { return };
        stream.framing = framing;
        stream.flags.set(Flags::KEEP_ALIVE, keep_alive);
        stream.flags.set(Flags::FINISH, reply.finishes());
        stream.flags.set(Flags::OWN_AGE, reply.own_age().is_some());
        stream.expires = expires;
        let closed = stream.phase == Phase::OpeningClosed;
        let sent = stream.extras.as_ref().map(|extras| &extras.private);
        self.stats.events_sent += sent.map_or(0, |sent| sent.events().count() as u64);
        // What was sent to a tag of it has been told already.
        let untold = sent.filter(|_| !self.observers.is_empty()).into_iter().flat_map(|sent| sent.events());
        let untold = untold.filter(|(kind, _)| !kind.told).map(|(_, text)| text.to_owned());
        let untold: Vec<String> = untold.collect();
        let follows = closed || sent.is_some_and(|sent| !sent.is_empty());

        // How many it was is not known: what has gone is not counted.
        let gap = self.config.gap_event.clone().filter(|_| gap);
        let gap = gap.and_then(|name| EncodedEvent::new(&Event::data("").event(name)).ok());
        let retry = reply.retry_after().and_then(|delay| EncodedEvent::new(&Event::new().retry(delay)).ok());
        // A head without a first byte of the body makes browsers hold the response back: where nothing else
        // follows at once, a comment does.
        let comment = (retry.is_none() && gap.is_none() && !follows).then_some((COMMENT_KIND, COMMENT));
        let notices = retry.iter().chain(&gap).map(|event| (event.kind(), event.bytes()));
        let notices = notices.chain(comment).map(|(kind, bytes)| framing.bytes_of(kind, bytes));
        self.delivery.open(id.slot, std::iter::once(head).chain(notices));
        self.stats.streams_opened += 1;
        self.source_ready(id);
        self.tell(|observer| {
            observer.open(id, request);
            for text in &untold {
                observer.message(&Message { to: Audience::Stream(id), text });
            }
        });
        if closed {
            self.ending(id, CloseReason::Application);
        } else if let Some(age) = reply.own_age() {
            let end = move |core: &mut Core| drop(core.close_for(id, CloseReason::MaxAge));
            self.add_timer(age, None, Some(id), Box::new(end));
        }
    }

    /// Ends a stream for the application: everything given to it so far still goes out, then the end of the body.
    pub(crate) fn close(&mut self, id: StreamId) -> Result<(), Error> {
        self.close_for(id, CloseReason::Application)
    }

    pub(crate) fn close_for(&mut self, id: StreamId, reason: CloseReason) -> Result<(), Error> {
        let opening = self.delivery.slots.live(id)?.phase == Phase::Opening;
        self.delivery.close(id.slot);
        if opening {
            self.tags.forget(id);
            if let Some(stream) = self.delivery.stream_mut(id.slot) {
                stream.phase = Phase::OpeningClosed;
            }
        } else {
            self.ending(id, reason);
        }
        Ok(())
    }

    /// The end of the body is in place: nothing will follow it.
    fn ending(&mut self, id: StreamId, reason: CloseReason) {
        if let Some(stream) = self.delivery.stream_mut(id.slot) {
            stream.phase = Phase::Ending;
        }
        self.report(id, reason);
    }

    /// Ends a connection at once, and the stream on it if there is one. What waits is dropped.
    pub(crate) fn end(&mut self, slot: u32, reason: CloseReason) {
        let Some(entry) = self.delivery.slots.get_mut(slot) else { return };
        let reason = match entry.state {
            Connection::Closed => return,
            // What is left is only to wait for the peer.
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
                // Nobody was told that it began.
                Some(Phase::Opening | Phase::OpeningClosed) => self.drop_hooks(id),
                Some(Phase::Ending) | None => {}
            }
        }
    }

    /// A callback for this stream has panicked: whatever it was about to do, the stream cannot go on as if it had.
    pub(crate) fn end_for_panic(&mut self, id: StreamId) {
        if self.delivery.slots.live(id).is_ok() {
            self.end(id.slot, CloseReason::Panicked);
        }
    }

    /// Notes that an open stream has ended, once.
    fn report(&mut self, id: StreamId, reason: CloseReason) {
        log::debug!("stream {id}: {reason}");
        self.stats.count_closed(reason);
        self.ended.push((id, reason));
        self.tags.forget(id);
        self.drop_timers(id);
        self.tell(|observer| observer.close(id, reason));
    }

    /// Drops all that belongs to a stream which never was.
    fn drop_hooks(&mut self, id: StreamId) {
        self.tags.forget(id);
        self.drop_timers(id);
        if let Some(hooks) = self.take_hooks(id) {
            self.guard("dropping what belonged to a stream", |_core| drop(hooks));
        }
    }

    /// What belonged to a stream that is gone.
    pub(crate) fn take_hooks(&mut self, id: StreamId) -> Option<Hooks<OnClose>> {
        // Mostly no stream has any, and removing hashes the id before it looks.
        if self.hooks.is_empty() { None } else { self.hooks.remove(&id) }
    }

    fn drop_timers(&mut self, id: StreamId) {
        if let Some(hooks) = self.hooks.get_mut(&id) {
            for timer in hooks.timers.drain(..) {
                self.timers.remove(timer);
            }
        }
    }
}
