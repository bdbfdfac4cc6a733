//! Where a stream begins: live, behind the event that its client saw last, or with the oldest event that is kept; and where
//! one goes on that has missed something. All of it is placing a cursor.

use crate::conn::close_reason::CloseReason;
use crate::conn::id::StreamId;
use crate::conn::slot::Phase;
use crate::delivery::extras::Gap;
use crate::event::Event;
use crate::http::reply::stream_reply::{AfterGap, StreamReply};
use crate::server::state::core::{Core, rescue_partial};
use crate::topic::frame::EncodedEvent;
use crate::topic::history::Overflow;
use crate::topic::position::Position;
use crate::topic::topics::STRIDE;
use crate::topic::topics::TopicKey;
use std::borrow::Cow;

/// Where a stream is to begin.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Beginning {
    /// With what comes next.
    Live,
    /// Behind this position, in all of its topics.
    After(Position),
}

/// Whether a stream that comes back has missed something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Resumption {
    pub(crate) beginning: Beginning,
    /// Something between what its client saw last and the beginning is not kept any more.
    pub(crate) gap: bool,
}

impl Core {
    /// Where a stream begins whose client saw the event `last_event_id` last, which is looked for only where something is kept.
    /// The stream is subscribed to its topics already.
    pub(crate) fn resumption<'a>(
        &self,
        id: StreamId,
        reply: &StreamReply,
        last_event_id: impl FnOnce() -> Option<Cow<'a, str>>,
    ) -> Resumption {
        let live = Resumption { beginning: Beginning::Live, gap: false };
        let Some(stream) = self.slots.stream(id.slot).filter(|_| !reply.is_live()) else { return live };
        let kept = || {
            let topics = stream.topics().map(|(key, _)| self.topics.get(key));
            topics.filter_map(|topic| Some((topic.kept.as_deref()?, &topic.log)))
        };
        if kept().next().is_none() {
            return live;
        }
        let Some(last) = last_event_id().filter(|id| !id.is_empty()) else {
            let beginning =
                if reply.is_snapshot() { Beginning::After(Position::default()) } else { Beginning::Live };
            return Resumption { beginning, gap: false };
        };
        // Where several topics know the id, the oldest is meant: better an event twice than one not at all.
        let found = kept().filter_map(|(kept, log)| kept.position_of(log, &last)).min();
        // One that lies in the future is of a time when the clock was wrong: what has come since is not known to be behind it.
        let parsed = Position::parse(&last).filter(|position| !self.topics.is_to_come(*position));
        let position = found.or(parsed);
        let gap = position.is_none_or(|position| kept().any(|(kept, _)| kept.complete_from > position));
        let beginning = match (gap, reply.after_gap_begins()) {
            (true, AfterGap::Live) => Beginning::Live,
            _ => Beginning::After(position.unwrap_or_default()),
        };
        Resumption { beginning, gap }
    }

    /// Places the cursor of a stream that is about to be opened.
    pub(crate) fn place(&mut self, slot: u32, resumption: Resumption) {
        let Beginning::After(position) = resumption.beginning else { return };
        let Some(stream) = self.slots.stream_mut(slot) else { return };
        let now = stream.cursor().sequence;
        let keys: Vec<TopicKey> = stream.topics().map(|(key, _)| key).collect();
        let mut first = u64::MAX;
        for key in keys {
            let topic = self.topics.get(key);
            let found = topic.kept.as_ref().and_then(|kept| {
                // Who has missed that a key is gone has to begin anew with them.
                let anew = resumption.gap && kept.is_keyed();
                kept.first_after(&topic.log, if anew { Position::default() } else { position })
            });
            // What was published since it subscribed is for it, whether it is kept or not.
            let since = stream.from(key).max(now);
            let from = found.map_or(since, |found| since.min(found - 1));
            first = first.min(found.unwrap_or(u64::MAX));
            stream.read_from(key, from);
        }
        if first < u64::MAX {
            // Between this and the frame is room for the head and what else comes first.
            stream.rewind(first - STRIDE);
        }
    }

    /// Before the log of a topic forgets everything up to the frame `until`: streams that still need something of it go on behind
    /// it, and are told how much they have missed.
    pub(crate) fn skip_all(&mut self, key: TopicKey, until: u64) {
        for place in 0..self.topics.get(key).subscribers.len() {
            let slot = self.topics.get(key).subscribers[place];
            self.skip(slot, key, until);
        }
    }

    fn skip(&mut self, slot: u32, key: TopicKey, until: u64) {
        let Some(stream) = self.slots.stream_mut(slot) else { return };
        // One that is ending is cut: its end has a place that may lie before this.
        if !stream.behind || stream.phase != Phase::Open || stream.position_in(key) >= until {
            return;
        }
        let rescues = stream.cursor().partial > 0;
        let rescued = if rescues { rescue_partial(stream, key, &mut self.topics) } else { None };
        let position = rescued.unwrap_or_else(|| stream.position_in(key));
        let missed = self.topics.get(key).log.count(position, until) as u64;
        stream.read_from(key, until);
        if missed == 0 {
            return;
        }
        self.tell_of_gap(slot, key, until, missed);
    }

    /// Before the log of a keyed topic forgets what is superseded, and everything without a key up to the frame `until`: streams that
    /// have begun to get some of it get the rest, and those that miss something without a key are told, or closed.
    pub(crate) fn make_way(&mut self, key: TopicKey, until: u64) {
        for place in (0..self.topics.get(key).subscribers.len()).rev() {
            let slot = self.topics.get(key).subscribers[place];
            let Some(stream) = self.slots.stream_mut(slot).filter(|stream| stream.behind) else { continue };
            let mut position = stream.position_in(key);
            let phase = stream.phase;
            // What stands behind the end of a stream is not for it.
            let last = stream.last().unwrap_or(u64::MAX);
            let topic = self.topics.get(key);
            // What stays in the log must not be in a second place as well.
            let begun = topic.log.next(position).is_some_and(|run| topic.log.gives_up(run.first(), until));
            let overflow = topic.overflow;
            if stream.cursor().partial > 0
                && begun
                && let Some(rescued) = rescue_partial(stream, key, &mut self.topics)
            {
                position = rescued;
            }
            let missed = self.topics.get(key).log.count_plain(position, until.min(last)) as u64;
            if missed == 0 {
                continue;
            }
            if overflow == Overflow::Disconnect || phase != Phase::Open {
                self.end(slot, CloseReason::Lagged);
            } else {
                self.tell_of_gap(slot, key, until, missed);
            }
        }
    }

    /// Tells a stream, in the place of the frame `until`, which it does not get, how many it has missed of a topic.
    fn tell_of_gap(&mut self, slot: u32, key: TopicKey, until: u64, missed: u64) {
        self.stats.gaps += 1;
        let Some(stream) = self.slots.stream_mut(slot) else { return };
        let Some(name) = self.config.gap_event.clone() else { return };
        // A gap that nobody was told of yet grows; one that has begun to be sent stays as it is.
        let cursor = stream.cursor();
        let earlier = stream.extras().gap.filter(|gap| gap.topic == key && gap.sequence > cursor.sequence);
        let earlier = earlier.filter(|_| cursor.partial == 0);
        let missed = missed + earlier.map_or(0, |gap| gap.missed);
        let Ok(event) = EncodedEvent::new(&Event::data(missed.to_string()).event(name)) else {
            return;
        };
        let extras = stream.extras();
        // The frame `until` is not for this stream any more, so its place is free.
        extras.gap = Some(Gap { topic: key, missed, sequence: until });
        let frame = (until, event.bytes(), event.notice());
        extras.private.insert(frame, earlier.map(|gap| gap.sequence), &mut self.topics.spares);
        self.queue(slot);
    }
}
