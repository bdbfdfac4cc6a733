//! Several loops that are one server to their clients: what is published has one order, and the same ids, in
//! all of them.
//!
//! Each loop is a whole [`Server`](crate::Server), with a thread, topics and streams of its own. The loops
//! share the name in their ids, and an `Arc<Sequencer>`.
//!
//! - **One order:** the [`Sequencer`](sequencer::Sequencer) puts an order into the inboxes of all loops while
//!   it holds one lock. A publication is a pointer to one encoded event. Whether it is accepted depends on
//!   the order alone, and refused ones count too, so no loop has to be asked. The end of a topic, its
//!   configuration, revoked tags, and a gap of an external log have their place in the same order.
//! - **One number:** generated ids are `<maker>-<number>`, where the number counts publications (`Numbers`).
//!   It is the same in all loops. Sequences are not, because private sends may skip some.
//! - **Events of a handler** take the same way through the inbox of its own loop. Until they are published
//!   there, what the handler sends, closes or tags follows in the same inbox, so the order is that of the
//!   calls (`Order::Own`, `Link::waiting`).
//! - **Ahead:** a client may have seen an event in another loop that this loop has not published yet. Its id
//!   is then a number that was counted (`Place::Number`), or that of an event in the inbox. The stream begins
//!   after that event when it comes, as with positions of an external log.
//! - **Room:** publishers wait for the slowest loop. Handlers cannot wait: they have twice the room, and then
//!   get `Error::Full`, with nothing published anywhere. An inbox with an event of a handler does not rest.
//!   On the thread of a loop no `Publisher` waits, because two loops could wait for each other for ever.
//! - **The end:** a drain is over when no loop has connections. Loops that have ended are left out of all
//!   orders.
//! - **By stream:** a `StreamId` names its loop, so what is for one stream goes into the right inbox.
//! - **Connections:** on Linux every loop listens on the same address, and the kernel spreads connections.
//!   Elsewhere, and for unix sockets and given listeners, the first loop accepts and gives each connection to
//!   the loop with the fewest (`Net::release`, `Order::Adopt`).
//!
//! There is no shared log: streams read logs without locks in the hottest path. A copy for each loop costs
//! 100 ns an event, and each delivery costs thousands.

pub(crate) mod link;
pub(crate) mod sequencer;
#[expect(clippy::module_inception, reason = "it is what the folder is about")]
pub(crate) mod shards;
