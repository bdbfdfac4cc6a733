//! Work that a loop shares with others, if it is one of [`Shards`](crate::Shards).
//!
//! Events published in any loop go through the inbox of each loop, so they have one order. What a handler
//! does afterwards in its own loop takes the same way, until the events that it has published have arrived.

use crate::conn::id::StreamId;
use crate::delivery::stream::Phase;
use crate::error::Error;
use crate::event::Event;
use crate::server::api::stats::Stats;
use crate::server::state::core::{Core, Job};
use crate::server::state::inbox::{Inbox, Order, Publication};
use crate::shards::link::Link;
use crate::shards::sequencer::{From, In, Sequencer};
use crate::topic::frame::EncodedEvent;
use crate::topic::ids::{Ids, id_of};
use crate::topic::position::{Place, Position};
use std::any::Any;
use std::iter;
use std::sync::Arc;

impl Core {
    /// The link to other loops, unless all are being prepared alike.
    fn link(&self) -> Option<&Link<Job>> {
        self.link.as_ref().filter(|link| !link.prepares)
    }

    /// Begins or ends the preparation, in which all loops do the same, one after the other.
    pub(crate) fn prepare(&mut self, prepares: bool) {
        if let Some(link) = &mut self.link {
            link.prepares = prepares;
        }
    }

    /// Whether there are other loops that have to know what this one does.
    pub(crate) fn is_linked(&self) -> bool {
        self.link().is_some()
    }

    fn link_mut(&mut self) -> Option<&mut Link<Job>> {
        self.link.as_mut().filter(|link| !link.prepares)
    }

    /// A message that a handler of this loop has put into its own inbox has arrived.
    pub(crate) fn own_arrived(&mut self) {
        if let Some(link) = &mut self.link {
            link.waiting -= 1;
        }
    }

    /// Whether a message of this loop itself waits in its inbox. No wake announces such messages.
    pub(crate) fn waits_for_own(&self) -> bool {
        self.link.as_ref().is_some_and(|link| link.waiting > 0)
    }

    /// Publishes in all loops.
    pub(crate) fn publish_together<'t>(
        &mut self,
        topics: impl Iterator<Item = &'t str> + Clone,
        event: &Event<'_>,
        at: Option<Position>,
    ) -> Result<(), Error> {
        let mut encoded = EncodedEvent::default();
        encoded.encode_checked(event, self.config.id_bytes_max())?;
        // With a position and several topics, topics that do not accept the event are skipped.
        for topic in topics.clone().filter(|_| at.is_none() || topics.clone().nth(1).is_none()) {
            self.delivery.topics.accepts(topic, &encoded, at)?;
        }
        if !encoded.removes_key() {
            self.has_memory()?;
        }
        self.link.as_mut().map_or(Ok(()), |link| link.publish(topics, encoded, at))
    }

    /// Publishes an event that all loops publish at this place of the order. Its number is used even if it
    /// fails.
    pub(crate) fn publish_in_order(&mut self, publication: &Publication) -> Result<(), Error> {
        let Some(link) = &mut self.link else { return self.publish_encoded_at(publication) };
        link.waiting -= usize::from(publication.of_loop == Some(link.index));
        let before = self.delivery.topics.number();
        self.delivery.catch_up_with(Place::Number(before + 1));
        let result = self.publish_encoded_at(publication);
        if self.delivery.topics.number() == before {
            // Topics that exist here still get the event, as in other loops.
            let is_lost = matches!(result, Err(Error::TooManyTopics | Error::TooMuchMemory));
            let topics =
                publication.topics().filter(|topic| is_lost && !self.delivery.topics.would_add(topic));
            let there: Vec<_> = topics.collect();
            if there.is_empty() || self.publish_encoded(there.into_iter(), &publication.event).is_err() {
                self.delivery.topics.publish(iter::empty(), &publication.event, None);
            }
            if is_lost {
                self.delivery.topics.note_lost();
            }
        }
        result
    }

    /// Does `work` at a place in the order of events. Returns `None` if there are several loops, which do it
    /// later.
    pub(crate) fn in_order<T>(&mut self, work: impl Fn(&mut Self) -> T + Send + Sync + 'static) -> Option<T> {
        let Some(link) = self.link_mut() else { return Some(work(self)) };
        let work = Arc::new(work);
        // Fails if all have stopped: then there is nothing to do.
        let _ = link.put(|| order(&work), From::Insisting(Some(link.index)));
        None
    }

    fn publish_encoded_at(&mut self, publication: &Publication) -> Result<(), Error> {
        let (topics, event) = (publication.topics(), &publication.event);
        match publication.at {
            None => self.publish_encoded(topics, event),
            Some(position) => self.publish_at(topics, event, position),
        }
    }

    /// Does `work` in this loop and in all others. If events that handlers have published before are still on
    /// their way, it follows after them, and the result of `meanwhile` is returned.
    pub(crate) fn together<T>(
        &mut self,
        work: impl Fn(&mut Self) -> T + Send + Sync + 'static,
        meanwhile: impl FnOnce(&Self) -> T,
    ) -> T {
        if self.waits_for_own() {
            return self.in_order(work).unwrap_or_else(|| meanwhile(self));
        }
        let work = Arc::new(work);
        self.tell_others(&work);
        work(self)
    }

    /// Does `work` in all other loops.
    pub(crate) fn tell_others<T>(&self, work: &Arc<impl Fn(&mut Self) -> T + Send + Sync + 'static>) {
        let Some(link) = self.link() else { return };
        // Fails if all of them have stopped: then there is nothing to do.
        let _ =
            link.sequencer.put(|_| order(work), From::Insisting(Some(link.index)), In::AllBut(link.index));
    }

    /// Does `work` in this loop at once, unless events that handlers have published before are still on their
    /// way, and again in all loops at one place of their order. So the last call in the order wins in all
    /// loops.
    pub(crate) fn now_and_in_order<T>(
        &mut self,
        work: impl Fn(&mut Self) -> T + Clone + Send + Sync + 'static,
        meanwhile: impl FnOnce(&Self) -> T,
    ) -> T {
        if !self.is_linked() {
            return work(self);
        }
        let waits = self.waits_for_own();
        let _ = self.in_order(work.clone());
        if waits { meanwhile(self) } else { work(self) }
    }

    /// The loop whose inbox leads to a stream: the stream's loop if it is another, or this one if events
    /// published before wait in its inbox. `None` if the work can be done at once.
    ///
    /// # Errors
    /// [`Error::Closed`] if the stream belongs to this loop and has ended.
    pub(crate) fn way_to(&self, id: StreamId) -> Result<Option<u16>, Error> {
        let Some(link) = self.link() else { return Ok(None) };
        if id.shard != link.index {
            return Ok(Some(id.shard));
        }
        // Events sent to a stream that is being opened come first, whatever waits.
        let is_open = self.delivery.slots.live(id)?.phase == Phase::Open;
        Ok((is_open && link.waiting > 0).then_some(link.index))
    }

    /// Puts an order into the inbox that [`way_to`](Self::way_to) has returned.
    pub(crate) fn put_to(&mut self, index: u16, order: Order<Job>) -> Result<(), Error> {
        self.link.as_mut().map_or(Err(Error::Closed), |link| link.put_to(index, order))
    }

    /// The inbox of a stream in another loop, for work that is done at once in this loop.
    pub(crate) fn way_elsewhere(&self, id: StreamId) -> Option<&Inbox<Job>> {
        self.link().and_then(|link| link.elsewhere(id))
    }

    /// Does `work` with a stream and a name, in the stream's loop.
    pub(crate) fn at_stream(
        &mut self,
        id: StreamId,
        name: &str,
        work: fn(&mut Self, StreamId, &str) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let Some(inbox) = self.way_elsewhere(id) else { return work(self, id, name) };
        let name: Box<str> = name.into();
        let work = move |core: &mut Self, _: &mut dyn Any| drop(work(core, id, &name));
        inbox.put_of_handler(Order::Run(Job::Run(Box::new(work))))
    }

    /// Sends an event to the streams with a tag in all loops. Returns the number of those in this one.
    pub(crate) fn send_tagged_together(&mut self, tag: &str, event: &Event<'_>) -> Result<usize, Error> {
        let mut encoded = EncodedEvent::default();
        encoded.encode_checked(event, self.config.id_bytes_max())?;
        let count = self.tags.count(tag);
        let Some(link) = self.link_mut() else { return Ok(count) };
        let order = || Order::SendTagged { tag: tag.into(), event: encoded.clone() };
        let (own, from) = (link.index, From::Handler(link.index));
        let waits = link.waiting > 0;
        let put = if waits {
            link.put(order, from)
        } else {
            link.sequencer.put(|_| order(), from, In::AllBut(own))
        };
        match put {
            // If all others have stopped, this one still sends it.
            Ok(()) | Err(Error::Stopped) => {}
            Err(error) => return Err(error),
        }
        Ok(if waits { count } else { self.send_tagged_encoded(tag, &encoded) })
    }

    /// The sum of all loops' counters. Those of other loops are from the end of their last turns.
    pub(crate) fn stats_of_all(&self) -> Stats {
        let mut stats = self.stats();
        if let Some(link) = &self.link {
            link.sequencer.stats_of_others(link.index).for_each(|other| stats.add(&other));
        }
        stats
    }

    /// Shares the counters of this loop with others.
    pub(crate) fn note_for_others(&self) {
        if let Some(link) = &self.link {
            link.sequencer.note(link.index, &self.stats());
        }
    }

    /// Whether the event that a stream waits for is on its way.
    pub(crate) fn is_to_come(&self, place: Place) -> bool {
        match (place, &self.link) {
            (Place::Number(number), Some(link)) => number <= link.sequencer.published(),
            (Place::Number(_), None) => false,
            (Place::At(_), _) => true,
        }
    }

    /// The place of an event with this id that waits in the inbox, for a topic that the stream in `slot`
    /// reads and whose ids are the application's.
    pub(crate) fn find_own_to_come(&self, slot: u32, id: &str) -> Option<Place> {
        let link = self.link.as_ref().filter(|_| self.delivery.ids_of(slot) == Some(Ids::Own))?;
        let is = |publication: &Publication| {
            let mut topics = publication.topics();
            id_of(publication.event.bytes()) == Some(id)
                && topics.any(|topic| self.delivery.subscription(slot, topic).is_some())
        };
        let before = link.sequencer.find_publication(link.index, is)? as u64;
        Some(Place::Number(self.delivery.topics.number() + before + 1))
    }

    /// The loop that gets the next connection, if it is not this one.
    pub(crate) fn deals_to(&self) -> Option<(Arc<Sequencer<Job>>, u16)> {
        let link = self.link.as_ref().filter(|link| link.deals)?;
        let fewest = link.sequencer.fewest(link.index);
        (fewest != link.index).then(|| (Arc::clone(&link.sequencer), fewest))
    }

    /// Adds to the shared counts of connections and streams.
    pub(crate) fn count_for_others(&self, connections: isize, streams: isize) {
        if let Some(link) = &self.link {
            link.sequencer.count(link.index, connections, streams);
        }
    }

    /// The number of connections in all loops.
    pub(crate) fn connections(&self) -> usize {
        self.link.as_ref().map_or(self.delivery.slots.len(), |link| link.sequencer.counts().0)
    }

    /// Whether no loop has connections left.
    pub(crate) fn all_have_gone(&self) -> bool {
        self.delivery.slots.len() == 0 && self.link.as_ref().is_none_or(|link| link.sequencer.is_left())
    }

    /// The number of open streams in all loops.
    pub(crate) fn streams(&self) -> usize {
        let here = self.stats.streams_opened - self.stats.streams_closed();
        let here = usize::try_from(here).unwrap_or(usize::MAX);
        self.link.as_ref().map_or(here, |link| link.sequencer.counts().1)
    }
}

fn order<T>(work: &Arc<impl Fn(&mut Core) -> T + Send + Sync + 'static>) -> Order<Job> {
    let work = Arc::clone(work);
    Order::Run(Job::Run(Box::new(move |core, _state| drop(work(core)))))
}
