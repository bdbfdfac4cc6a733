//! Serving one stream: it is given everything that is there for it, from all logs.

use crate::delivery::delivery::{Delivery, Streams, Written};
use crate::delivery::stream::Flags;
use crate::delivery::walk::next_batch;
use crate::event::Event;
use crate::topic::chain::sum_of;
use crate::topic::frame::{COMMENT, EMPTY_BLOCK, EncodedEvent, Framing, Kind};
use crate::topic::topics::TopicKey;

/// How far a stream got by what it was given.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Given {
    /// Nothing is left for the stream.
    Everything,
    /// The socket took everything, and there may be more.
    More,
    /// The socket has no room. The stream continues when the poll reports room.
    Refused,
    /// The end of the body is written.
    Ended,
}

impl<S: Streams> Delivery<S> {
    /// Gives a stream its next bytes, as many as `write` takes.
    pub(crate) fn give<E>(
        &mut self,
        slot: u32,
        now: u32,
        write: impl FnOnce(&[u8]) -> Result<Written, E>,
    ) -> Result<Given, E> {
        if self.slots.has_room(slot) {
            self.tell_what_was_missed(slot);
        }
        let is_stored = self.is_stored(slot);
        let Some((stream, room)) = self.slots.stream_and_room(slot) else { return Ok(Given::Everything) };
        if !*room {
            if let Some(extras) = stream.extras_mut() {
                extras.private.mark();
            }
            self.pin(slot, true);
            return Ok(Given::Refused);
        }
        let (mut batch, newest) = next_batch(stream, &self.topics, &mut self.scratch);
        if batch.is_empty() {
            if stream.conflates() {
                // It may have skipped frames that the chain holds.
                stream.flags.set(Flags::CHAINED, false);
            }
            if !stream.is_held() {
                self.nothing_left(slot);
            }
            return Ok(Given::Everything);
        }
        if stream.framing == Framing::Gzip && !batch.frames().is_empty() {
            batch = self.compressor.pack(slot, &batch, stream.end(), is_stored);
        }
        let written = write(batch.bytes)?;
        let advance = batch.advance(stream.sequence(), written.bytes);
        let sequence = advance.sequence;
        let given = Some(batch.pieces_until(sequence)).filter(|given| !given.is_empty()).map(sum_of);
        self.delivered.events += advance.events;
        self.delivered.bytes += written.bytes as u64;
        *room = written.all;
        // A cut frame is copied before anything moves.
        let framing = stream.framing;
        let cut = advance.cut.map(|cut| self.large_frames.rest(cut, framing, TopicKey::NONE, &self.account));
        let in_hand = advance.hand;
        if let Some(sum) = given {
            self.compressor.add(slot, sum);
            stream.flags.set(Flags::CHAINED, false);
        }
        stream.took(written.bytes, written.all, now);
        stream.skip_to(sequence);
        if let Some(cut) = cut {
            let extras = stream.make_extras(&mut self.spare_extras);
            self.delivered.events += extras.hand.advance(in_hand);
            extras.hand = cut;
        } else if let Some(extras) = stream.extras_mut() {
            self.delivered.events += extras.hand.advance(in_hand);
        }
        let end = stream.end();
        if let Some(extras) = stream.extras_mut() {
            extras.private.release(sequence, &mut self.topics.spares);
            // The next event begins a new block if this one is full, so that this one can be freed.
            extras.private.mark();
        }
        if end.is_some_and(|end| sequence >= end) && written.all {
            return Ok(Given::Ended);
        }
        // Usually that was all, and a search for more would find nothing.
        if written.all && end.is_none() && newest <= sequence {
            self.nothing_left(slot);
            return Ok(Given::Everything);
        }
        if end.is_some() {
            self.leave_exhausted(slot);
        }
        if !written.all {
            self.pin(slot, true);
            return Ok(Given::Refused);
        }
        Ok(Given::More)
    }

    /// Queues a stream that may not be given more in this turn.
    pub(crate) fn give_more_later(&mut self, slot: u32) {
        self.pin(slot, true);
        self.queue(slot);
    }

    /// Notes that a stream has been given everything, or has skipped the rest as superseded.
    fn nothing_left(&mut self, slot: u32) {
        let newest = self.topics.sequence();
        if let Some(stream) = self.stream_mut(slot) {
            stream.skip_to(newest);
        }
        self.rest(slot);
    }

    /// Puts a gap event into the hand of a stream, if the hand is empty and it has missed events.
    fn tell_what_was_missed(&mut self, slot: u32) {
        // A held stream first gets the events that it has missed.
        let Some((stream, _)) = self.slots.stream_and_room(slot).filter(|(stream, _)| !stream.is_held())
        else {
            return;
        };
        let Some(extras) = stream.extras_mut().filter(|extras| extras.missed > 0 && extras.hand.is_empty())
        else {
            return;
        };
        let missed = std::mem::take(&mut extras.missed);
        // Also if there is no gap event.
        stream.flags.set(Flags::CHAINED, false);
        self.delivered.gaps += 1;
        let event =
            self.gap_event.as_ref().map(|name| Event::new().data(missed.to_string()).event(name.clone()));
        // The configuration checks that the name is one line, so encoding cannot fail.
        if let Some(gap) = event.and_then(|event| EncodedEvent::new(&event).ok()) {
            self.add_to_hand(slot, gap.notice(), gap.bytes());
        }
    }

    /// Gives a stream with an empty hand a frame that is in no log, such as a heartbeat. Bytes that the
    /// socket does not take are sent before anything else when it has room. Returns `false`, and gives
    /// nothing, if the socket has no room.
    pub(crate) fn give_aside<E>(
        &mut self,
        slot: u32,
        now: u32,
        kind: Kind,
        bytes: &[u8],
        write: impl FnOnce(&[u8]) -> Result<Written, E>,
    ) -> Result<bool, E> {
        let is_stored = self.is_stored(slot);
        let Some((stream, room)) = self.slots.stream_and_room(slot).filter(|(_, room)| **room) else {
            return Ok(false);
        };
        let (hand, _) = stream.hand_and_end();
        if stream.is_held() && !hand.is_empty() {
            return Ok(false);
        }
        debug_assert!(hand.is_empty(), "it waits for room, or to be served");
        let bytes = if stream.framing == Framing::Gzip && bytes == COMMENT {
            // It decodes to nothing, so it fits into a chain.
            EMPTY_BLOCK
        } else {
            self.compressor.frame(slot, stream, kind, bytes, is_stored)
        };
        let written = write(bytes)?;
        *room = written.all;
        stream.took(written.bytes, written.all, now);
        self.delivered.bytes += written.bytes as u64;
        if !written.all {
            stream.make_extras(&mut self.spare_extras).hand.add(&bytes[written.bytes..], &self.account);
        }
        Ok(true)
    }
}
