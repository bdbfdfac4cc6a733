//! Links: the connection of a loop to the other loops.

use crate::conn::id::StreamId;
use crate::error::Error;
use crate::server::state::inbox::{Inbox, Order, Publication};
use crate::shards::sequencer::{From, In, Sequencer};
use crate::topic::frame::EncodedEvent;
use crate::topic::position::Position;
use std::fmt;
use std::sync::Arc;

/// The link of one loop.
pub(crate) struct Link<W> {
    pub(crate) index: u16,
    pub(crate) sequencer: Arc<Sequencer<W>>,
    /// Whether this loop passes each connection that it accepts to the loop with the fewest connections.
    pub(crate) deals: bool,
    /// Whether all loops are being prepared, each with the same work, so that nothing is passed on.
    pub(crate) prepares: bool,
    /// How many orders of this loop's handlers wait in its own inbox: publications, and other orders after
    /// them.
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

    /// Publishes in all loops, in the common order.
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
            // All loops have stopped, so no client can get it, as in a server that stops.
            Err(Error::Stopped) => {}
            Err(error) => return Err(error),
        }
        Ok(())
    }

    /// Puts an order into the inboxes of all loops, after everything that was published so far.
    pub(crate) fn put(&mut self, order: impl Fn() -> Order<W>, from: From) -> Result<(), Error> {
        let own = self.index;
        let order = |index| if index == own { Order::Own(Box::new(order())) } else { order() };
        self.sequencer.put(order, from, In::All)?;
        self.waiting += 1;
        Ok(())
    }

    /// Puts an order of a handler into the inbox of one loop, if there is room.
    pub(crate) fn put_to(&mut self, index: u16, order: Order<W>) -> Result<(), Error> {
        let is_own = index == self.index;
        let inbox = self.sequencer.inbox(index).ok_or(Error::Closed)?;
        inbox.put_of_handler(if is_own { Order::Own(Box::new(order)) } else { order })?;
        self.waiting += usize::from(is_own);
        Ok(())
    }

    /// The inbox of the loop that has a stream, if it is not this loop.
    pub(crate) fn elsewhere(&self, id: StreamId) -> Option<&Inbox<W>> {
        if id.shard == self.index { None } else { self.sequencer.inbox(id.shard) }
    }
}
