//! What a loop knows of the others.

use crate::conn::id::StreamId;
use crate::error::Error;
use crate::server::state::inbox::{Inbox, Order, Publication};
use crate::shards::sequencer::{From, In, Sequencer};
use crate::topic::frame::EncodedEvent;
use crate::topic::position::Position;
use std::fmt;
use std::sync::Arc;

/// The place of a loop among several.
pub(crate) struct Link<W> {
    pub(crate) index: u16,
    pub(crate) sequencer: Arc<Sequencer<W>>,
    /// Whether this loop gives what it accepts to the one with the fewest connections.
    pub(crate) deals: bool,
    /// Whether all loops are made to do the same one after the other, so that nothing is to be handed on.
    pub(crate) prepares: bool,
    /// What handlers of this loop have published, and what they have done behind that: it waits in its inbox.
    pub(crate) waiting: usize,
}

impl<W> fmt::Debug for Link<W> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Link({} of {})", self.index, self.sequencer.len())
    }
}

impl<W> Link<W> {
    pub(crate) fn new(index: u16, sequencer: Arc<Sequencer<W>>) -> Self {
        Self { index, sequencer, deals: false, prepares: false, waiting: 0 }
    }

    /// Publishes in all loops, in the order that all have.
    pub(crate) fn publish<'t>(
        &mut self,
        topics: impl Iterator<Item = &'t str>,
        event: EncodedEvent,
        at: Option<Position>,
    ) -> Result<(), Error> {
        let publication = Arc::new(Publication::new(topics, event, at, Some(self.index)));
        let order = |_| Order::Publish(Arc::clone(&publication));
        match self.sequencer.put(order, From::Handler(self.index), In::All) {
            Ok(()) => self.waiting += 1,
            // It stops, and nobody is left to get it, as in a server that stops.
            Err(Error::Stopped) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Puts into the inboxes of all loops what comes behind all that was published so far.
    pub(crate) fn put(&mut self, order: impl Fn() -> Order<W>, from: From) -> Result<(), Error> {
        let own = self.index;
        let order = |index| if index == own { Order::Own(Box::new(order())) } else { order() };
        self.sequencer.put(order, from, In::All)?;
        self.waiting += 1;
        Ok(())
    }

    /// Puts into the inbox of one loop what its handler has room for.
    pub(crate) fn put_to(&mut self, index: u16, order: Order<W>) -> Result<(), Error> {
        let is_own = index == self.index;
        let inbox = self.sequencer.inbox(index).ok_or(Error::Closed)?;
        inbox.put_of_handler(if is_own { Order::Own(Box::new(order)) } else { order })?;
        self.waiting += usize::from(is_own);
        Ok(())
    }

    /// The inbox of the loop that has a stream, if it is another.
    pub(crate) fn elsewhere(&self, id: StreamId) -> Option<&Inbox<W>> {
        if id.shard == self.index { None } else { self.sequencer.inbox(id.shard) }
    }
}
