//! Step 6, after the timers: asks the sources of streams that have room for their next events.

use crate::conn::id::StreamId;
use crate::delivery::stream::{Flags, Phase, Stream};
use crate::error::Error;
use crate::event::Event;
use crate::server::api::observer::Audience;
use crate::server::state::core::Core;
use crate::server::state::feed::{Feed, FeedState, MakingUp};
use crate::server::state::log_limit::LogLimit;
use crate::source::{Pull, Source};
use crate::topic::frame::EncodedEvent;
use std::any::Any;
use std::time::Duration;

/// Sources that are asked in one turn at most.
const VISITS_PER_TURN: usize = 256;

/// Events that one source may return before the next source is asked. They leave in one write.
const EVENTS_PER_VISIT: usize = 64;
const BYTES_PER_VISIT: usize = 16 << 10;

/// The shortest wait. A wait of zero would never let the loop rest.
const WAIT_MIN: Duration = Duration::from_millis(1);

/// The longest pause of a source after visits in which it returned only invalid events. The first pause is
/// [`WAIT_MIN`], and each next one is twice as long. So a few such events delay little, and a source that
/// returns no others costs next to nothing.
const PAUSE_MAX: Duration = Duration::from_secs(1);

/// The time between two warnings about invalid events.
const LOG_INTERVAL: Duration = Duration::from_secs(60);

impl Core {
    /// Gives a stream a source, which replaces the previous one.
    pub(crate) fn set_source(&mut self, id: StreamId, source: Box<dyn Source>) -> Result<(), Error> {
        if let Err(closed) = self.delivery.slots.live(id) {
            self.remains.add(source);
            return Err(closed);
        }
        if let Some(stream) = self.delivery.stream_mut(id.slot) {
            stream.flags.set(Flags::SOURCE, true);
        }
        let mut earlier = self.hooks.remove_feed(id);
        let making_up = earlier.as_mut().and_then(|feed| feed.making_up.take());
        let state = FeedState::Full;
        self.hooks.add_feed(id, Feed { source: Some(source), state, beat: None, fruitless: 0, making_up });
        match earlier.as_ref().map(|feed| feed.state) {
            // The source keeps the place of the previous one in the queue.
            Some(FeedState::Ready) => self.set_state(id, FeedState::Ready),
            Some(FeedState::Waiting(timer)) => _ = self.remove_timer(timer),
            _ => {}
        }
        self.wake_source(id);
        self.discard_feed(earlier);
        Ok(())
    }

    /// Asks a source again that is idle or waits.
    pub(crate) fn wake(&mut self, id: StreamId) -> Result<(), Error> {
        self.delivery.slots.live(id)?;
        if let Some(FeedState::Waiting(timer)) = self.state(id) {
            self.remove_timer(timer);
        }
        self.wake_source(id);
        Ok(())
    }

    /// Asks the source, now or when the stream has received everything.
    fn wake_source(&mut self, id: StreamId) {
        let Some(entry) = self.delivery.slots.get(id.slot) else { return };
        let Some(stream) = entry.stream() else { return };
        let waits = stream.pins && !stream.is_held();
        if stream.phase == Phase::Open && !waits && !stream.queued && entry.writable {
            self.source_ready(id);
        } else if self.state(id) != Some(FeedState::Ready) {
            // There is no room: the source is asked when the stream has received everything.
            self.set_state(id, FeedState::Full);
        }
    }

    /// Queues the source of a stream that has room.
    pub(crate) fn source_ready(&mut self, id: StreamId) {
        if self.state(id).is_some_and(|state| state != FeedState::Ready) {
            self.set_state(id, FeedState::Ready);
            self.ready_sources.push_back(id);
        }
    }

    /// The stream has received everything: asks its source again, if it has one.
    pub(crate) fn feed_again(&mut self, slot: u32) {
        if self.delivery.stream(slot).is_some_and(|stream| stream.flags.has(Flags::SOURCE))
            && let Some(id) = self.delivery.slots.id(slot)
            && self.state(id) == Some(FeedState::Full)
        {
            self.source_ready(id);
        }
    }

    fn feed(&mut self, id: StreamId) -> Option<&mut Feed> {
        self.hooks.feed_mut(id)
    }

    /// Whether a stream has a source.
    pub(super) fn has_source(&self, id: StreamId) -> bool {
        self.state(id).is_some()
    }

    fn state(&self, id: StreamId) -> Option<FeedState> {
        Some(self.hooks.feed(id)?.state)
    }

    fn set_state(&mut self, id: StreamId, state: FeedState) {
        if let Some(feed) = self.feed(id) {
            feed.state = state;
        }
    }

    /// Asks the sources of streams with room. Invalid events are dropped, which `log` limits the warnings
    /// about.
    pub(crate) fn pull_sources(&mut self, log: &mut LogLimit) {
        for _ in 0..self.ready_sources.len().min(VISITS_PER_TURN) {
            let Some(id) = self.ready_sources.pop_front().filter(|id| self.delivery.slots.live(*id).is_ok())
            else {
                continue;
            };
            // The source may have been ready for some turns, while the socket has become full.
            if !self.delivery.slots.get(id.slot).is_some_and(|entry| entry.writable) {
                self.set_state(id, FeedState::Full);
            } else if let Some(source) = self.feed(id).and_then(|feed| feed.source.take()) {
                self.set_state(id, FeedState::Full);
                self.pull(id, source, log);
            }
        }
    }

    fn pull(&mut self, id: StreamId, mut source: Box<dyn Source>, log: &mut LogLimit) {
        let mut bytes = 0;
        for _ in 0..EVENTS_PER_VISIT {
            self.work.events_pulled += 1;
            match self.guard("a source", |_core| source.pull()) {
                Some(Pull::Event(event)) => match self.send_pulled(id, &event) {
                    Ok(sent) => bytes += sent,
                    Err(error) => {
                        if log.is_due(self.now, LOG_INTERVAL) {
                            log::warn!(
                                "an event from the source of stream {id} cannot be written and is dropped \
                                 (logged at most once a minute): {error}"
                            );
                        }
                    }
                },
                Some(Pull::Wait(delay)) => {
                    self.put_back(id, source, bytes);
                    return self.wait(id, delay);
                }
                Some(Pull::Idle) => {
                    self.put_back(id, source, bytes);
                    return self.set_state(id, FeedState::Idle);
                }
                Some(end @ (Pull::End | Pull::Failed)) => {
                    // The source is dropped with everything else of the stream.
                    self.put_back(id, source, bytes);
                    if self.is_held(id) {
                        self.made_up(id, end == Pull::End);
                    } else {
                        // The stream is live.
                        let _ = self.close(id);
                    }
                    return;
                }
                None => {
                    self.put_back(id, source, bytes);
                    return self.end_for_panic(id);
                }
            }
            if bytes >= BYTES_PER_VISIT {
                break;
            }
        }
        self.put_back(id, source, bytes);
        if bytes == 0 {
            self.pause(id);
        }
    }

    /// Tells a source of the drain, and asks it once more.
    pub(crate) fn tell_source(&mut self, id: StreamId) {
        let Some(mut source) = self.feed(id).and_then(|feed| feed.source.take()) else { return };
        let told = self.guard("a source", |_core| source.draining());
        self.put_back(id, source, 0);
        if told.is_none() {
            self.end_for_panic(id);
        } else {
            // Fails if the stream is about to end: then there is nothing to wake.
            let _ = self.wake(id);
        }
    }

    /// Stores a source again after it was asked. It returned events of `bytes` bytes.
    fn put_back(&mut self, id: StreamId, source: Box<dyn Source>, bytes: usize) {
        let Some(feed) = self.feed(id) else {
            return self.remains.add(source);
        };
        feed.source = Some(source);
        if bytes > 0 {
            feed.fruitless = 0;
        }
    }

    /// A whole visit has brought only invalid events. Asking again at once could go on for ever.
    fn pause(&mut self, id: StreamId) {
        let Some(feed) = self.feed(id) else { return };
        let delay = WAIT_MIN.saturating_mul(1 << feed.fruitless.min(30)).min(PAUSE_MAX);
        feed.fruitless = feed.fruitless.saturating_add(1);
        self.wait_until(id, self.now.saturating_add(delay));
    }

    /// Sends an event of a source and returns its bytes. They do not count as lag, because the server asked
    /// for the event.
    fn send_pulled(&mut self, id: StreamId, event: &Event<'_>) -> Result<usize, Error> {
        let is_held = self.is_held(id);
        self.encode(event, |core, encoded| {
            if is_held {
                core.delivery.make_up(id.slot, encoded.bytes(), encoded.kind());
            } else {
                core.delivery.send_pulled(id.slot, encoded.bytes(), encoded.kind());
            }
            core.stats.events_sent += 1;
            core.observe(Audience::Stream(id), encoded);
            encoded.bytes().len()
        })
    }

    fn is_held(&self, id: StreamId) -> bool {
        self.delivery.stream(id.slot).is_some_and(Stream::is_held)
    }

    /// Holds a stream until its source has brought the events that its client has missed. Nothing else is
    /// delivered before. Returns whether it has a source.
    pub(crate) fn hold(&mut self, id: StreamId) -> bool {
        if self.delivery.slots.live(id).is_err() {
            // The stream was closed in the same call and ends without those events. Its client reconnects
            // with the same id.
            return true;
        }
        if self.feed(id).is_none() {
            log::error!("Handler::missed returned Missed::Later, but gave the stream no source");
            return false;
        }
        let give_up = Box::new(move |_, core: &mut Core, _: &mut dyn Any| core.made_up(id, false));
        let deadline = self.add_timer(self.config.missed_timeout, None, Some(id), give_up);
        if let Some(feed) = self.feed(id) {
            feed.making_up = Some(MakingUp { deadline, then: None });
        }
        if let Some(stream) = self.delivery.stream_mut(id.slot) {
            stream.flags.set(Flags::HELD, true);
        }
        true
    }

    /// Gives a stream a source that is used after the missed events. A stream that was closed already needs
    /// none.
    pub(crate) fn set_source_after(&mut self, id: StreamId, source: Box<dyn Source>) {
        if let Some(making_up) = self.feed(id).and_then(|feed| feed.making_up.as_mut()) {
            let earlier = making_up.then.replace(source);
            self.remains.add_all(earlier);
        } else {
            let _ = self.set_source(id, source);
        }
    }

    /// Ends the hold of a stream: its source has brought `all` missed events, or the client gets a `gap`
    /// event. The stream continues with the events that arrived in the meantime.
    fn made_up(&mut self, id: StreamId, all: bool) {
        if !self.is_held(id) {
            return;
        }
        if !all {
            self.stats.gaps += 1;
            let gap = EncodedEvent::new(&Event::notice(self.config.gap_event.as_ref()));
            if let Ok(gap) = gap {
                self.delivery.make_up(id.slot, gap.bytes(), gap.notice());
            }
        }
        self.delivery.go_on(id.slot);
        let making_up = self.feed(id).and_then(|feed| feed.making_up.take());
        if let Some(MakingUp { deadline, then }) = making_up {
            self.remove_timer(deadline);
            match then {
                // The stream is live.
                Some(then) => drop(self.set_source(id, then)),
                None => self.drop_source(id),
            }
        }
        if self.delivery.stream(id.slot).is_some_and(|stream| stream.flags.has(Flags::ENDS)) {
            let _ = self.close(id);
        } else {
            self.end_if_finished(id.slot);
        }
    }

    fn drop_source(&mut self, id: StreamId) {
        if let Some(FeedState::Waiting(timer)) = self.state(id) {
            self.remove_timer(timer);
        }
        let feed = self.hooks.remove_feed(id);
        self.discard_feed(feed);
    }

    fn wait(&mut self, id: StreamId, delay: Duration) {
        let delay = delay.max(WAIT_MIN);
        let now = self.now;
        let beat = self.feed(id).and_then(|feed| feed.beat).map(|beat| beat.saturating_add(delay));
        let due = beat.filter(|due| *due > now).unwrap_or(now.saturating_add(delay));
        self.wait_until(id, due);
    }

    fn wait_until(&mut self, id: StreamId, due: Duration) {
        let callback = Box::new(move |_, core: &mut Core, _: &mut dyn Any| {
            if let Some(feed) = core.feed(id) {
                feed.state = FeedState::Idle;
                feed.beat = Some(due);
            }
            core.wake_source(id);
        });
        let timer = self.add_timer(due.saturating_sub(self.now), None, Some(id), callback);
        self.set_state(id, FeedState::Waiting(timer));
    }
}
