//! What a heartbeat says.

use crate::event::Event;
use crate::server::state::core::Core;
use crate::topic::frame::{COMMENT, COMMENT_KIND, EncodedEvent, Kind};
use std::borrow::Cow;

/// The heartbeats of a turn, made once for all streams.
#[derive(Debug, Default)]
pub(crate) struct Beats {
    /// The turn that `dated` was made in.
    turn: u64,
    /// With an id.
    dated: EncodedEvent,
    /// Without, if it has a name.
    named: Option<EncodedEvent>,
}

impl Beats {
    /// The heartbeat for streams that read topics with ids, if `dated`: it moves the id that the client would come back with,
    /// past all that was published so far, so that coming back costs nothing however long nothing was published.
    pub(crate) fn frame(&mut self, core: &mut Core, dated: bool) -> (&[u8], Kind) {
        let name = core.config.heartbeat_event.as_ref();
        let beat = || name.map_or_else(Event::new, |name| Event::data("").event(name.clone()));
        if !dated {
            if name.is_some() && self.named.is_none() {
                // A name has been checked to be one line, so it can be written.
                self.named = EncodedEvent::new(&beat()).ok();
            }
            return match &self.named {
                Some(named) => (named.bytes(), named.notice()),
                None => (COMMENT, COMMENT_KIND),
            };
        }
        if self.turn != core.stats.turns {
            self.turn = core.stats.turns;
            let id: Cow<'static, str> = core.delivery.topics.draw_position().to_string().into();
            if self.dated.encode(&beat().id(id)).is_err() {
                return (COMMENT, COMMENT_KIND);
            }
        }
        (self.dated.bytes(), self.dated.notice())
    }
}
