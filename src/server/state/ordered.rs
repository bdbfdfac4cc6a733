//! Losses and the end of an external log, for topics whose ids are its positions.
//!
//! A loss (`ordered_gap`) is a notice with a position, appended to the logs of all such topics. A stream gets
//! it in order like any event. A resume finds the notice in the history, or in `complete_from` after the
//! notice was dropped. A stream that still waits in `ahead` at the second `ordered_end` waits for an event
//! that cannot come: it continues with a gap of its own.

use crate::error::Error;
use crate::event::Event;
use crate::server::api::observer::Audience;
use crate::server::state::core::Core;
use crate::topic::frame::EncodedEvent;
use crate::topic::position::{Place, Position};
use crate::topic::topics::Topics;

impl Core {
    /// Publishes an event of the log to those topics that accept it, because it is in the log already.
    /// Returns the error of the first topic that does not.
    pub(crate) fn publish_at<'t>(
        &mut self,
        topics: impl Iterator<Item = &'t str>,
        event: &EncodedEvent,
        position: Position,
    ) -> Result<(), Error> {
        if !event.removes_key() {
            self.has_memory()?;
        }
        let (mut taken, mut refused, mut is_lost) = (Vec::new(), Ok(()), false);
        for topic in topics {
            let accepted = self.delivery.topics.accepts(topic, event, Some(position));
            let all = taken.iter().copied().chain([topic]);
            match accepted.and_then(|()| self.make_room_for_topics(all, Topics::would_add)) {
                Ok(()) => taken.push(topic),
                Err(error) => {
                    // The event cannot be published later: a topic that fits by then has missed it.
                    is_lost |= error == Error::TooManyTopics;
                    refused = refused.and(Err(error));
                }
            }
        }
        if taken.is_empty() && !is_lost {
            return refused;
        }
        self.delivery.catch_up_with(Place::At(position));
        self.delivery.topics.publish(taken.iter().copied(), event, Some(position));
        if is_lost {
            self.delivery.topics.note_lost();
        }
        self.stats.events_published += u64::from(!taken.is_empty());
        taken.into_iter().for_each(|topic| self.observe(Audience::Topic(topic), event));
        refused
    }

    /// Reports that the log has lost events up to `position`.
    pub(crate) fn ordered_gap(&mut self, position: Position) -> Result<(), Error> {
        self.is_behind_all(position)?;
        self.delivery.catch_up_with(Place::At(position));
        if let Some(notice) = self.gap_notice(position) {
            self.stats.gaps += self.delivery.topics.lose_until(position, &notice);
        }
        Ok(())
    }

    /// Reports a loss in all loops, at one place in the order of events.
    pub(crate) fn ordered_gap_together(&mut self, position: Position) -> Result<(), Error> {
        self.is_behind_all(position)?;
        self.in_order(move |core| core.ordered_gap(position)).unwrap_or(Ok(()))
    }

    fn is_behind_all(&self, position: Position) -> Result<(), Error> {
        let newest = self.delivery.topics.positions().map(|(_, newest)| newest);
        if newest.is_some_and(|newest| position <= newest) {
            Err(Error::PositionNotIncreasing)
        } else {
            Ok(())
        }
    }

    /// Reports that the log has nothing after `newest`. A stream that waits for a later position at the
    /// second such call gets a gap.
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

    /// A notice that events before `position` were missed. Their number is unknown.
    fn gap_notice(&self, position: Position) -> Option<EncodedEvent> {
        let notice = Event::notice(self.config.gap_event.as_ref()).id(position.to_string());
        // Cannot fail: `Config::check` has checked that the name is one line.
        EncodedEvent::new_notice(&notice).ok()
    }
}
