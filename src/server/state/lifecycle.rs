//! The life of a stream: how it begins, is opened or not, and ends, once.

use crate::conn::close_reason::CloseReason;
use crate::conn::id::StreamId;
use crate::conn::refusal::Refusal;
use crate::conn::slot::{Connection, Flags, Held, Phase, Stream};
use crate::error::Error;
use crate::event::Event;
use crate::http::parse::request::Request;
use crate::http::reply::stream_reply::StreamReply;
use crate::server::api::observer::{Audience, Message};
use crate::server::state::ages;
use crate::server::state::core::{Core, OPENING_SEQUENCES, OnClose};
use crate::server::state::hooks::Hooks;
use crate::server::state::resume::Resumption;
use crate::topic::frame::{COMMENT, COMMENT_KIND, EncodedEvent, Framing, Kind};
use crate::topic::log::Place;
use crate::topic::topics::TopicKey;

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
        let id = self.slots.draw_id(slot);
        self.opening_revoked = false;
        let sequence = self.topics.reserve_sequences(OPENING_SEQUENCES);
        let tick = self.tick();
        if let Some(slot) = self.slots.get_mut(slot) {
            let requests = slot.requests().saturating_add(1);
            slot.state = Connection::Streaming(Stream::opening(sequence, tick, requests));
        }
        id
    }

    /// The reply was none: drops whatever the handler gave to the stream.
    pub(crate) fn abandon(&mut self, id: StreamId) {
        self.dissolve(id.slot);
        self.drop_hooks(id);
        let since = self.tick();
        if let Some(slot) = self.slots.get_mut(id.slot) {
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
        self.place(id.slot, resumption);
        let expires = self.config.max_age.map_or(0, |age| ages::expires(age, self.now, id.slot));
        let Some(stream) = self.slots.stream_mut(id.slot) else { return };
        stream.framing = framing;
        stream.flags.set(Flags::KEEP_ALIVE, keep_alive);
        stream.flags.set(Flags::FINISH, reply.finishes());
        stream.flags.set(Flags::OWN_AGE, reply.own_age().is_some());
        stream.expires = expires;
        let closed = stream.phase == Phase::OpeningClosed;
        stream.phase = Phase::Open;
        self.behind += u64::from(stream.behind);

        // A head without a first byte of the body makes browsers hold the response back: where nothing else follows
        // at once, a comment does.
        let sequence = stream.cursor().sequence;
        let private = &mut stream.extras_from(&mut self.spare_extras).private;
        let retry = reply.retry_after().and_then(|delay| EncodedEvent::new(&Event::new().retry(delay)).ok());
        let gap = gap.then(|| self.config.gap_event.clone()).flatten();
        // How many it was is not known: what has gone is not counted.
        let gap = gap.and_then(|name| EncodedEvent::new(&Event::data("").event(name)).ok());
        let head = (sequence + 1, head, Kind::RAW);
        let spares = &mut self.topics.spares;
        let second = match &retry {
            Some(retry) => Some((sequence + 2, retry.bytes(), retry.notice())),
            None => (private.is_empty() && gap.is_none()).then_some((sequence + 2, COMMENT, COMMENT_KIND)),
        };
        let third = gap.as_ref().map(|gap| (sequence + 3, gap.bytes(), gap.notice()));
        private.prepend([Some(head), second, third].into_iter().flatten(), spares);

        if closed {
            private.extend_last(framing.end(), spares);
        }
        let sent: Vec<String> = match self.observers.len() {
            0 => Vec::new(),
            _ => private.events().map(ToOwned::to_owned).collect(),
        };
        self.stats.events_sent += private.events().count() as u64;
        self.stats.streams_opened += 1;
        self.queue(id.slot);
        self.make_hungry(id);
        self.tell(|observer| {
            observer.open(id, request);
            for text in &sent {
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
        let stream = self.slots.live(id)?;
        if stream.phase == Phase::Opening {
            // Only the place of the end is known: what it looks like depends on the reply.
            self.append_private(id.slot, b"", Kind::RAW);
            self.tags.forget(id);
            if let Some(stream) = self.slots.stream_mut(id.slot) {
                stream.phase = Phase::OpeningClosed;
            }
        } else {
            let end = stream.framing.end();
            self.append_private(id.slot, end, Kind::RAW);
            self.ending(id, reason);
        }
        Ok(())
    }

    /// The end of the body is in place: nothing will follow it.
    fn ending(&mut self, id: StreamId, reason: CloseReason) {
        if let Some(stream) = self.slots.stream_mut(id.slot) {
            stream.phase = Phase::Ending;
        }
        self.leave_exhausted(id.slot);
        self.report(id, reason);
    }

    /// Takes a stream that is ending out of those topics that hold nothing more for it, so that what they publish from now
    /// on cannot make it fall off.
    pub(crate) fn leave_exhausted(&mut self, slot: u32) {
        let Some(stream) = self.slots.stream(slot) else { return };
        let Some(last) = stream.last() else { return };
        let exhausted = |key: &TopicKey| {
            let log = &self.topics.get(*key).log;
            match log.place(stream.position_in(*key)) {
                Place::End => true,
                Place::FellOff => false,
                Place::Before { block, frame } => {
                    log.frame(block, frame).is_none_or(|(frame, _)| frame.sequence > last)
                }
            }
        };
        let keys: Vec<_> = stream.topics().map(|(key, _)| key).filter(exhausted).collect();
        for key in keys {
            self.leave(slot, key);
        }
    }

    /// Ends a connection at once, and the stream on it if there is one. What waits is dropped.
    pub(crate) fn end(&mut self, slot: u32, reason: CloseReason) {
        let Some(entry) = self.slots.get_mut(slot) else { return };
        let reason = match entry.state {
            Connection::Closed => return,
            // What is left is only to wait for the peer.
            Connection::Lingering { reason, .. } => reason,
            _ => reason,
        };
        let phase = entry.stream().map(|stream| stream.phase);
        self.dissolve(slot);
        if let Some(entry) = self.slots.get_mut(slot) {
            entry.state = Connection::Closed;
        }
        self.stats.count_connection_closed(reason);
        self.closed.push(slot);
        if let Some(id) = self.slots.id(slot) {
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
        if self.slots.live(id).is_ok() {
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

    /// Takes a stream out of its topics and gives back its memory. Answers what the peer has sent ahead.
    pub(crate) fn dissolve(&mut self, slot: u32) -> Option<Box<Held>> {
        loop {
            let next = self.slots.stream(slot)?.topics().next();
            let Some((key, _)) = next else { break };
            self.leave(slot, key);
        }
        let stream = self.slots.stream_mut(slot)?;
        let counts = !matches!(stream.phase, Phase::Opening | Phase::OpeningClosed);
        let behind = std::mem::take(&mut stream.behind) && counts;
        self.behind -= u64::from(behind);
        let mut extras = stream.extras.take()?;
        extras.private.clear(&mut self.topics.spares);
        let held = extras.held.take();
        self.spare_extras.give(extras);
        held
    }
}
