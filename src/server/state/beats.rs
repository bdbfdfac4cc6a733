//! What a heartbeat says.

use crate::event::Event;
use crate::server::state::core::Core;
use crate::topic::frame::{COMMENT, COMMENT_KIND, EncodedEvent, Kind};
use crate::topic::ids::Ids;
use crate::topic::position::Position;
use std::borrow::Cow;

/// The heartbeats, each made once for all streams that get it.
#[derive(Debug, Default)]
pub(crate) struct Beats {
    /// With an id of the server's, and with a position.
    generated: Dated<u64>,
    ordered: Dated<Position>,
    /// Without, if it has a name.
    named: Option<EncodedEvent>,
}

/// The last heartbeat with an id, and where that stands.
#[derive(Debug, Default)]
struct Dated<T> {
    at: Option<T>,
    beat: EncodedEvent,
}

impl<T: Copy + PartialEq> Dated<T> {
    /// The heartbeat at a place, whose id is written only if it is another than the last.
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
    /// The heartbeat for a stream whose topics have such ids. Where they are not the application's, it moves
    /// the id that the client would come back with past all that was published so far, so that coming back
    /// costs nothing however long nothing was published.
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
            // A name has been checked to be one line, so it can be written.
            self.named = EncodedEvent::new(&Event::notice(name)).ok();
        }
        self.named.as_ref().map_or((COMMENT, COMMENT_KIND), |named| (named.bytes(), named.notice()))
    }
}
