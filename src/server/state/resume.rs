//! Where a resumed stream begins, and whether its client has missed events.

use crate::conn::id::StreamId;
use crate::delivery::resume::Beginning;
use crate::http::reply::stream_reply::{AfterGap, StreamReply};
use crate::server::state::core::Core;
use crate::topic::position::Place;
use std::borrow::Cow;

/// Where a stream begins, and whether its client has missed events.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Resumption<'a> {
    pub(crate) beginning: Beginning,
    /// Events between the client's last one and the beginning were dropped.
    pub(crate) gap: bool,
    /// The last id that the client has seen, if the stream's topics have ids.
    pub(crate) last_event_id: Option<Cow<'a, str>>,
}

impl Core {
    /// Where a stream begins. Its client saw the event `last_event_id` last, which is looked up only if the
    /// topics have ids. The stream is subscribed to its topics already.
    pub(crate) fn resumption<'a>(
        &self,
        id: StreamId,
        reply: &StreamReply,
        last_event_id: impl FnOnce() -> Option<Cow<'a, str>>,
    ) -> Resumption<'a> {
        let live = Resumption { beginning: Beginning::Live, gap: false, last_event_id: None };
        if reply.is_live() || self.delivery.ids_of(id.slot).is_none() {
            return live;
        }
        let Some(last) = last_event_id() else {
            // Finished topics have no live events, so the stream begins with the oldest.
            let from_oldest = reply.is_snapshot() || self.delivery.has_finished(id.slot);
            let beginning = if from_oldest { Beginning::After(0) } else { Beginning::Live };
            return Resumption { beginning, ..live };
        };
        let found = match self.delivery.find(id.slot, &last) {
            Some(Beginning::Ahead(place)) => self.is_to_come(place).then_some(Beginning::Ahead(place)),
            None => self.find_own_to_come(id.slot, &last).map(Beginning::Ahead),
            found => found,
        };
        let gap = match found {
            None => true,
            Some(Beginning::After(position)) => self.delivery.is_lost_after(id.slot, position),
            Some(Beginning::Live | Beginning::Ahead(_)) => false,
        };
        // Nothing was published here yet. The events that other servers have sent to the client will be
        // published here too.
        let position = self.delivery.position_before_all(id.slot, &last);
        let beginning = match (gap, reply.after_gap_begins()) {
            _ if position.is_some() => {
                position.map_or(Beginning::Live, |position| Beginning::Ahead(Place::At(position)))
            }
            (true, AfterGap::Live) => Beginning::Live,
            _ => found.unwrap_or(Beginning::After(0)),
        };
        Resumption { beginning, gap, last_event_id: Some(last) }
    }

    /// Whether one of the first events in a reply has an id that is too long to come back in a request.
    pub(crate) fn has_too_long_ids(&self, reply: &StreamReply) -> bool {
        let bytes_max = self.config.id_bytes_max();
        let too_long = reply.first_events().iter().any(|event| event.has_longer_id(bytes_max));
        if too_long {
            log::error!("the first event of a stream has an id of more than {bytes_max} bytes");
        }
        too_long
    }

    /// Whether a stream that is about to open has no events to come: its topics have finished, and its client
    /// has seen all.
    pub(crate) fn has_seen_all(
        &self,
        id: StreamId,
        reply: &StreamReply,
        resumption: &Resumption<'_>,
    ) -> bool {
        let has_more = match resumption.beginning {
            Beginning::Live => return false,
            Beginning::After(position) => self.delivery.has_more(id.slot, position),
            // The client's last event was published elsewhere and will not be published here.
            Beginning::Ahead(_) => false,
        };
        resumption.last_event_id.is_some()
            && !resumption.gap
            && !has_more
            && !reply.brings_more()
            && self.delivery.stream(id.slot).is_some_and(|stream| stream.reads_topics_only())
            && !self.has_source(id)
    }
}
