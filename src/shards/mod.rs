//! Several loops that are one server to their clients: published events have one order and the same ids in
//! all loops.
//!
//! Each loop is a whole [`Server`](crate::Server), with its own thread, topics and streams. The loops share
//! the maker of their ids, and an `Arc<Sequencer>`.
//!
//! - **One order:** the [`Sequencer`](sequencer::Sequencer) puts an order into the inboxes of all loops while
//!   it holds one lock. A publication is a pointer to one encoded event. Whether it is accepted depends on
//!   the order alone, and refused ones count too, so no loop has to be asked. Finished topics, their
//!   configuration, revoked tags, and gaps of an external log have their place in the same order.
//! - **One number:** generated ids are `<maker>-<number>`, where the number counts publications (`Numbers`).
//!   It is the same in all loops. Sequences are not, because private sends may skip some.
//! - **Events of a handler** also go through the inbox of its own loop. Until they are published there, later
//!   sends, closes and tags of the handler follow in the same inbox, so the order is that of the calls
//!   (`Order::Own`, `Link::waiting`).
//! - **Ahead:** a client may have seen an event in another loop that this loop has not published yet. Its id
//!   is then a number up to which events were counted (`Place::Number`), or that of an event in the inbox.
//!   The stream begins after that event when it is published, as with positions of an external log.
//! - **Room:** publishers wait for the slowest loop. Handlers cannot wait: they have twice the room, and then
//!   get `Error::Full`, with nothing published anywhere. An inbox with an event of a handler does not rest.
//!   On the thread of a loop no `Publisher` waits, because two loops could wait for each other for ever.
//! - **Drains:** a drain is over when no loop has connections. Stopped loops are left out of all orders.
//! - **By stream:** a `StreamId` names its loop, so an order for one stream goes into the right inbox.
//! - **Connections:** on Linux every loop listens on the same address, and the kernel spreads connections.
//!   Elsewhere, and for unix sockets and given listeners, the first loop accepts and passes each connection
//!   to the loop with the fewest (`Net::release`, `Order::Adopt`).
//!
//! There is no shared log: streams read logs without locks in the hottest path. A copy for each loop costs
//! 100 ns for each event, and its deliveries cost thousands.

pub(crate) mod link;
pub(crate) mod sequencer;
#[expect(clippy::module_inception, reason = "it is what the folder is about")]
pub(crate) mod shards;
