//! What an external log says besides its events: topics whose ids are its positions.

use crate::error::Error;
use crate::event::Event;
use crate::server::state::core::Core;
use crate::topic::frame::EncodedEvent;
use crate::topic::position::Position;
use crate::topic::topics::Topics;

impl Core {
    /// Publishes an event of the log to those topics that take it. The error is that of the first that does
    /// not.
    pub(crate) fn publish_all_at<'t>(
        &mut self,
        topics: impl Iterator<Item = &'t str> + Clone,
        position: Position,
        event: &Event<'_>,
    ) -> Result<(), Error> {
        self.encode(event, |core, encoded| {
            if core.publish_encoded(topics.clone(), encoded, Some(position)).is_ok() {
                return Ok(());
            }
            let (mut taken, mut refused) = (Vec::new(), Ok(()));
            for topic in topics {
                let accepted = core.delivery.topics.accepts(topic, encoded, Some(position));
                let all = taken.iter().copied().chain([topic]);
                match accepted.and_then(|()| core.make_room_for_topics(all, Topics::would_add)) {
                    Ok(()) => taken.push(topic),
                    Err(error) => refused = refused.and(Err(error)),
                }
            }
            if !taken.is_empty() {
                core.publish_encoded(taken.into_iter(), encoded, Some(position))?;
            }
            refused
        })?
    }

    /// The log has lost events up to `position`.
    pub(crate) fn ordered_gap(&mut self, position: Position) -> Result<(), Error> {
        if self.delivery.topics.positions().is_some_and(|(_, newest)| position <= newest) {
            return Err(Error::PositionNotIncreasing);
        }
        self.delivery.catch_up_with(position);
        if let Some(notice) = self.gap_notice(position) {
            self.stats.gaps += self.delivery.topics.lose_until(position, &notice);
        }
        Ok(())
    }

    /// The log has nothing behind `newest`. Who waits for that for the second time is told of a gap.
    pub(crate) fn ordered_end(&mut self, newest: Position) {
        let in_vain = self.delivery.give_up_waiting_behind(newest);
        if in_vain.is_empty() {
            return;
        }
        let Some(notice) = self.gap_notice(newest) else { return };
        for slot in in_vain {
            self.stats.gaps += 1;
            self.delivery.send(slot, notice.bytes(), notice.kind());
        }
    }

    /// Tells a stream that it has missed something before `position`. How many events that is, nobody knows.
    fn gap_notice(&self, position: Position) -> Option<EncodedEvent> {
        let notice = Event::notice(self.config.gap_event.as_ref()).id(position.to_string());
        // A name that is configured has been checked to be one line, so it can be written.
        EncodedEvent::new_notice(&notice).ok()
    }
}
