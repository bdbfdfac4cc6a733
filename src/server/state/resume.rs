//! Whether a stream that comes back has missed something, and where it goes on.

use crate::conn::id::StreamId;
use crate::delivery::resume::Beginning;
use crate::http::reply::stream_reply::{AfterGap, StreamReply};
use crate::server::state::core::Core;
use crate::topic::position::Position;
use std::borrow::Cow;

/// Where a stream begins, and whether its client has missed something.
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
        if reply.is_live() || !self.delivery.is_anything_kept(id.slot) {
            return live;
        }
        let Some(last) = last_event_id().filter(|id| !id.is_empty()) else {
            let beginning =
                if reply.is_snapshot() { Beginning::After(Position::default()) } else { Beginning::Live };
            return Resumption { beginning, gap: false };
        };
        let position = self.delivery.position_of(id.slot, &last);
        let gap = position.is_none_or(|position| self.delivery.is_lost_after(id.slot, position));
        let beginning = match (gap, reply.after_gap_begins()) {
            (true, AfterGap::Live) => Beginning::Live,
            _ => Beginning::After(position.unwrap_or_default()),
        };
        Resumption { beginning, gap }
    }
}
