//! What a heartbeat says.

use crate::event::Event;
use crate::server::state::core::Core;
use crate::topic::frame::{COMMENT, COMMENT_KIND, EncodedEvent, Kind};
use crate::topic::ids::Ids;
use std::borrow::Cow;

/// The heartbeats of a turn, made once for all streams.
#[derive(Debug, Default)]
pub(crate) struct Beats {
    /// With an id of the server's, and with a position.
    generated: Dated,
    ordered: Dated,
    /// Without, if it has a name.
    named: Option<EncodedEvent>,
}

/// A heartbeat with an id.
#[derive(Debug, Default)]
struct Dated {
    id: String,
    beat: EncodedEvent,
}

impl Beats {
    /// The heartbeat for a stream whose topics have such ids. Where they are not the application's, it moves the id that the client would
    /// come back with past all that was published so far, so that coming back costs nothing however long nothing was published.
    pub(crate) fn frame(&mut self, core: &Core, ids: Option<Ids>) -> (&[u8], Kind) {
        let topics = &core.delivery.topics;
        let dated = match ids {
            Some(Ids::Generated) => {
                let id = topics.generated_id(topics.sequence()).to_string();
                Some((&mut self.generated, id))
            }
            Some(Ids::Ordered) => {
                let newest = topics.positions().map(|(_, newest)| newest.to_string());
                newest.map(|id| (&mut self.ordered, id))
            }
            Some(Ids::Own) | None => None,
        };
        let name = core.config.heartbeat_event.as_ref();
        let Some((dated, id)) = dated else {
            // A name has been checked to be one line, so it can be written.
            let named = name.map(|_| EncodedEvent::new(&Event::notice(name)).unwrap_or_default());
            self.named = self.named.take().or(named);
            return self
                .named
                .as_ref()
                .map_or((COMMENT, COMMENT_KIND), |named| (named.bytes(), named.notice()));
        };
        if dated.id != id {
            let beat = Event::notice(name).id(Cow::Owned(id.clone()));
            if dated.beat.encode(&beat).is_err() {
                return (COMMENT, COMMENT_KIND);
            }
            dated.id = id;
        }
        (dated.beat.bytes(), dated.beat.notice())
    }
}
