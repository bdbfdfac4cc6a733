//! Work on all streams of a tag, or of a topic that has finished.
//!
//! An event sent to a tag is copied to the private log of each stream, because tags have few streams. Topics
//! are for many.

use crate::conn::close_reason::CloseReason;
use crate::conn::id::StreamId;
use crate::conn::refusal::Refusal;
use crate::delivery::relief::TAKEN_ALONG_PER_TURN;
use crate::delivery::stream::Phase;
use crate::error::Error;
use crate::event::Event;
use crate::http::reply::stream_reply::StreamReply;
use crate::server::api::observer::Audience;
use crate::server::state::core::Core;
use crate::topic::frame::EncodedEvent;
use crate::topic::name::Name;
use std::time::Duration;

/// Streams that are closed for a tag in one turn at most.
const CLOSED_TOGETHER_PER_TURN: u64 = 1024;

impl Core {
    /// Gives a stream a tag. If the tag is revoked, the stream is closed, or will not open.
    pub(crate) fn tag(&mut self, id: StreamId, tag: &str) -> Result<(), Error> {
        let opening = self.delivery.slots.live(id)?.phase == Phase::Opening;
        if self.tags.is_revoked(tag, self.now) {
            if opening {
                // Further calls of the handler for this stream must not fail. The stream is refused by the
                // reply.
                self.opening_revoked = true;
                return Ok(());
            }
            self.close_for(id, CloseReason::Revoked)?;
            return Err(Error::Closed);
        }
        self.tags.add(id.slot, tag, self.config.tags_max)
    }

    pub(crate) fn untag(&mut self, id: StreamId, tag: &str) -> Result<(), Error> {
        self.delivery.slots.live(id)?;
        self.tags.remove(id.slot, tag);
        Ok(())
    }

    pub(crate) fn close_tagged(&mut self, tag: &str) -> usize {
        let count = self.tags.count(tag);
        self.tags.close_all(tag, CloseReason::Application);
        self.close_next_together();
        count
    }

    /// Closes the next streams that are to be closed for a tag, or have no events to come as their topic has
    /// finished.
    pub(crate) fn close_next_together(&mut self) {
        // Only bytes copied here count. Others could otherwise delay this for ever.
        while self.work.closed_together < CLOSED_TOGETHER_PER_TURN
            && self.taken_together < TAKEN_ALONG_PER_TURN
        {
            let before = self.delivery.taken_along();
            if let Some((slot, tag, reason)) = self.tags.next_to_close() {
                self.close_tagged_stream(slot, &tag, reason);
            } else if let Some(slot) = self.finishing.pop_front() {
                self.end_if_finished(slot);
            } else {
                return;
            }
            self.work.closed_together += 1;
            self.taken_together += self.delivery.taken_along() - before;
        }
    }

    fn close_tagged_stream(&mut self, slot: u32, tag: &Name, reason: CloseReason) {
        let opening = self.delivery.stream(slot).is_some_and(|stream| stream.phase == Phase::Opening);
        if opening && reason == CloseReason::Revoked {
            self.opening_revoked = true;
            self.tags.remove(slot, tag.as_str());
        } else if let Some(id) = self.delivery.slots.id(slot) {
            // Cannot fail: the stream is live.
            let _ = self.close_for(id, reason);
        }
    }

    /// Whether streams are still to be closed for a tag, or checked because their topic has finished.
    pub(crate) fn is_closing_together(&self) -> bool {
        self.tags.is_closing() || !self.finishing.is_empty()
    }

    pub(crate) fn revoke(&mut self, tag: &str, time: Duration) -> usize {
        let until = self.now.saturating_add(time);
        let forgot = self.tags.revoke(tag, until, self.config.revoked_max);
        if forgot && self.revoked_log.is_due(self.now, Duration::from_secs(10)) {
            let limit = self.config.revoked_max;
            log::warn!("more than {limit} tags are revoked: those that expire soonest are dropped early");
        }
        let count = self.tags.count(tag);
        self.tags.close_all(tag, CloseReason::Revoked);
        self.close_next_together();
        count
    }

    pub(crate) fn unrevoke(&mut self, tag: &str) -> bool {
        self.tags.unrevoke(tag, self.now)
    }

    /// Calls `work` for each stream with a tag. `work` may close that stream.
    fn each_tagged(&mut self, tag: &str, mut work: impl FnMut(&mut Self, StreamId)) {
        let Some(mut next) = self.tags.first(tag) else { return };
        while let Some((slot, after)) = self.tags.at(next) {
            next = after;
            let Some(id) = self.delivery.slots.id(slot) else { continue };
            debug_assert!(self.delivery.slots.live(id).is_ok(), "only live streams have tags");
            work(self, id);
        }
    }

    /// Whether the stream that is about to be opened has a revoked tag, from its handler or its reply.
    pub(crate) fn refuses_tags(&self, reply: &StreamReply) -> bool {
        self.opening_revoked || reply.tags().iter().any(|tag| self.tags.is_revoked(tag, self.now))
    }

    /// Gives a stream that is about to be opened the tags of its reply, none of which is revoked.
    pub(crate) fn tag_all(&mut self, id: StreamId, reply: &StreamReply) -> Result<(), Refusal> {
        for tag in reply.tags() {
            if self.tag(id, tag) == Err(Error::TooManyTags) {
                return Err(Refusal::Tags);
            }
            // A stream that was closed already gets no tags.
        }
        Ok(())
    }

    pub(crate) fn send_tagged(&mut self, tag: &str, event: &Event<'_>) -> Result<usize, Error> {
        self.has_memory()?;
        if self.is_linked() {
            return self.send_tagged_together(tag, event);
        }
        self.encode(event, |core, encoded| core.send_tagged_encoded(tag, encoded))
    }

    /// Returns the number of streams that will receive the event.
    pub(crate) fn send_tagged_encoded(&mut self, tag: &str, event: &EncodedEvent) -> usize {
        // Before streams that lag too far by this are closed.
        self.observe(Audience::Tag(tag), event);
        let mut count = 0;
        self.each_tagged(tag, |core, id| {
            let opening = core.delivery.stream(id.slot).is_some_and(|stream| stream.phase == Phase::Opening);
            let too_much = core.delivery.send(id.slot, event.bytes(), event.kind().told_to_observers());
            core.stats.events_sent += u64::from(!opening);
            if too_much {
                core.end(id.slot, CloseReason::Lagged);
            } else {
                count += 1;
            }
        });
        count
    }
}
