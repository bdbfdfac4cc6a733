//! Step 6, after the timers: asks the sources of streams that have room for their next events.

use crate::conn::id::StreamId;
use crate::conn::slot::{Flags, Phase};
use crate::error::Error;
use crate::event::Event;
use crate::server::api::observer::Audience;
use crate::server::state::core::Core;
use crate::server::state::feed::{Feed, FeedState};
use crate::server::state::timers::TimerId;
use crate::source::{Pull, Source};
use std::time::Duration;

/// Sources that are asked in one turn.
const VISITS_PER_TURN: usize = 256;

/// What one of them may answer before the others have their turn: so much leaves in one write.
const EVENTS_PER_VISIT: usize = 64;
const BYTES_PER_VISIT: usize = 16 << 10;

/// A wait of nothing would never let the loop rest.
const WAIT_MIN: Duration = Duration::from_millis(1);

impl Core {
    /// Gives a stream a source, in place of the one it has.
    pub(crate) fn set_source(&mut self, id: StreamId, source: Box<dyn Source>) -> Result<(), Error> {
        self.slots.live(id)?;
        if let Some(stream) = self.slots.stream_mut(id.slot) {
            stream.flags.set(Flags::SOURCE, true);
        }
        let feed = Feed { source: Some(source), state: FeedState::Full, beat: None };
        let earlier = self.hooks.entry(id).or_default().feed.replace(feed);
        match earlier.as_ref().map(|feed| feed.state) {
            // It keeps the place of the earlier one.
            Some(FeedState::Hungry) => self.set_state(id, FeedState::Hungry),
            Some(FeedState::Waiting(timer)) => self.forget_wait(id, timer),
            _ => {}
        }
        self.wake_source(id);
        drop(earlier);
        Ok(())
    }

    /// The source has something to say, or is to be asked whether it has.
    pub(crate) fn wake(&mut self, id: StreamId) -> Result<(), Error> {
        self.slots.live(id)?;
        if let Some(FeedState::Waiting(timer)) = self.state(id) {
            self.forget_wait(id, timer);
        }
        self.wake_source(id);
        Ok(())
    }

    fn forget_wait(&mut self, id: StreamId, timer: TimerId) {
        self.timers.remove(timer);
        self.forget_timer(id, timer);
    }

    /// Has the source asked, now or when the stream has been given everything.
    fn wake_source(&mut self, id: StreamId) {
        let Some(entry) = self.slots.get(id.slot) else { return };
        let Some(stream) = entry.stream() else { return };
        if stream.phase == Phase::Open && !stream.behind && !stream.queued && entry.writable {
            self.make_hungry(id);
        } else if self.state(id) != Some(FeedState::Hungry) {
            self.have_fed_later(id);
        }
    }

    /// There is no room: its source is asked when the stream has been given everything.
    fn have_fed_later(&mut self, id: StreamId) {
        self.set_state(id, FeedState::Full);
        // Where only a heartbeat has met the full socket, serving it notes that it is behind.
        if self.slots.stream(id.slot).is_some_and(|stream| !stream.behind) {
            self.queue(id.slot);
        }
    }

    /// The stream has room for what its source has.
    pub(crate) fn make_hungry(&mut self, id: StreamId) {
        if self.state(id).is_some_and(|state| state != FeedState::Hungry) {
            self.set_state(id, FeedState::Hungry);
            self.hungry.push_back(id);
        }
    }

    /// The stream has been given everything.
    pub(crate) fn make_hungry_again(&mut self, id: StreamId) {
        if self.state(id) == Some(FeedState::Full) {
            self.make_hungry(id);
        }
    }

    fn feed(&mut self, id: StreamId) -> Option<&mut Feed> {
        self.hooks.get_mut(&id)?.feed.as_mut()
    }

    fn state(&self, id: StreamId) -> Option<FeedState> {
        Some(self.hooks.get(&id)?.feed.as_ref()?.state)
    }

    fn set_state(&mut self, id: StreamId, state: FeedState) {
        if let Some(feed) = self.feed(id) {
            feed.state = state;
        }
    }

    /// Asks those sources whose streams have room.
    pub(crate) fn pull_sources(&mut self) {
        for _ in 0..self.hungry.len().min(VISITS_PER_TURN) {
            let Some(id) = self.hungry.pop_front().filter(|id| self.slots.live(*id).is_ok()) else {
                continue;
            };
            // It may have been hungry for some turns, in which others have sent to the stream.
            if !self.slots.get(id.slot).is_some_and(|entry| entry.writable) {
                self.have_fed_later(id);
            } else if let Some(source) = self.feed(id).and_then(|feed| feed.source.take()) {
                self.set_state(id, FeedState::Full);
                self.pull(id, source);
            }
        }
    }

    fn pull(&mut self, id: StreamId, mut source: Box<dyn Source>) {
        let mut bytes = 0;
        for _ in 0..EVENTS_PER_VISIT {
            match self.guard("a source", |_core| source.pull()) {
                Some(Pull::Event(event)) => bytes += self.send_pulled(id, &event),
                Some(Pull::Wait(delay)) => {
                    self.put_back(id, source);
                    return self.wait(id, delay);
                }
                Some(Pull::Idle) => {
                    self.put_back(id, source);
                    return self.set_state(id, FeedState::Idle);
                }
                Some(Pull::End) => {
                    // It is dropped with all else that belongs to the stream.
                    self.put_back(id, source);
                    // The stream is live.
                    let _ = self.close(id);
                    return;
                }
                None => {
                    self.put_back(id, source);
                    return self.end_for_panic(id);
                }
            }
            if bytes >= BYTES_PER_VISIT {
                break;
            }
        }
        self.put_back(id, source);
        if bytes == 0 {
            // There was nothing that could be written, so nothing will be caught up with.
            self.make_hungry(id);
        }
    }

    fn put_back(&mut self, id: StreamId, source: Box<dyn Source>) {
        if let Some(feed) = self.feed(id) {
            feed.source = Some(source);
        }
    }

    /// Answers how many bytes the event has. They do not count as lag: it was the server that asked for them.
    fn send_pulled(&mut self, id: StreamId, event: &Event) -> usize {
        let sent = self.encode(event, |core, encoded| {
            core.append_private(id.slot, encoded.bytes(), encoded.kind());
            if let Some(stream) = core.slots.stream_mut(id.slot) {
                stream.extras().pulled += encoded.bytes().len();
            }
            core.stats.events_sent += 1;
            core.observe(Audience::Stream(id), encoded);
            encoded.bytes().len()
        });
        sent.unwrap_or_else(|error| {
            log::warn!("an event of a source is left out: {error}");
            0
        })
    }

    fn wait(&mut self, id: StreamId, delay: Duration) {
        let delay = delay.max(WAIT_MIN);
        let now = self.now;
        let beat = self.feed(id).and_then(|feed| feed.beat).map(|beat| beat.saturating_add(delay));
        let due = beat.filter(|due| *due > now).unwrap_or(now.saturating_add(delay));
        let callback = Box::new(move |core: &mut Core| {
            if let Some(feed) = core.feed(id) {
                feed.state = FeedState::Idle;
                feed.beat = Some(due);
            }
            core.wake_source(id);
        });
        let timer = self.add_timer(due - now, None, Some(id), callback);
        self.set_state(id, FeedState::Waiting(timer));
    }
}
