//! The bytes of heartbeats.

use crate::event::Event;
use crate::server::state::core::Core;
use crate::topic::frame::{COMMENT, COMMENT_KIND, EncodedEvent, Kind};
use crate::topic::ids::Ids;
use crate::topic::position::Position;
use std::borrow::Cow;

/// The heartbeats, each encoded once for all streams that get it.
#[derive(Debug, Default)]
pub(crate) struct Beats {
    /// With an id made by the server, and with a position.
    generated: Dated<u64>,
    ordered: Dated<Position>,
    /// Without an id, if it has a name.
    named: Option<EncodedEvent>,
}

/// The last heartbeat with an id, and the place of that id.
#[derive(Debug, Default)]
struct Dated<T> {
    at: Option<T>,
    beat: EncodedEvent,
}

impl<T: Copy + PartialEq> Dated<T> {
    /// The heartbeat with the id of a place, encoded only if the place has changed.
    fn frame(
        &mut self,
        name: Option<&Cow<'static, str>>,
        at: T,
        id: impl FnOnce() -> String,
    ) -> (&[u8], Kind) {
        if self.at != Some(at) {
            if self.beat.encode(&Event::notice(name).id(id())).is_err() {
                return (COMMENT, COMMENT_KIND);
            }
            self.at = Some(at);
        }
        (self.beat.bytes(), self.beat.notice())
    }
}

impl Beats {
    /// The heartbeat for a stream with this kind of ids. If they are not the application's, it carries an id
    /// after all events published so far. So a client that reconnects after a long silence has nothing to
    /// search.
    pub(crate) fn frame(&mut self, core: &Core, ids: Option<Ids>) -> (&[u8], Kind) {
        let (topics, name) = (&core.delivery.topics, core.config.heartbeat_event.as_ref());
        match ids {
            Some(Ids::Generated) => {
                return self.generated.frame(name, topics.number(), || topics.newest_id().to_string());
            }
            Some(Ids::Ordered) => {
                if let Some((_, newest)) = topics.positions() {
                    return self.ordered.frame(name, newest, || newest.to_string());
                }
            }
            Some(Ids::Own) | None => {}
        }
        if name.is_some() && self.named.is_none() {
            // Cannot fail: `Config::check` has checked that the name is one line.
            self.named = EncodedEvent::new(&Event::notice(name)).ok();
        }
        self.named.as_ref().map_or((COMMENT, COMMENT_KIND), |named| (named.bytes(), named.notice()))
    }
}
