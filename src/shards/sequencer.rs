//! The sequencer: one order for several loops.

use crate::error::Error;
use crate::server::api::stats::Stats;
use crate::server::state::inbox::{Inbox, Order, Publication};
use std::net::TcpStream;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, PoisonError};

/// Puts orders for all loops into the inbox of each, in one order.
pub(crate) struct Sequencer<W> {
    loops: Vec<Member<W>>,
    /// Held while an order is put into all inboxes.
    order: Mutex<()>,
    /// How many events were published.
    published: AtomicU64,
}

/// The shared part of a loop.
struct Member<W> {
    inbox: Inbox<W>,
    /// Connections that were passed to the loop and have not arrived there.
    arriving: AtomicUsize,
    connections: AtomicUsize,
    streams: AtomicUsize,
    stats: Mutex<Stats>,
}

impl<W> Member<W> {
    /// The connections of the loop, including those that are about to arrive.
    fn load(&self) -> usize {
        self.connections.load(Ordering::Relaxed) + self.arriving.load(Ordering::Relaxed)
    }
}

/// The origin of an order.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum From {
    /// Another thread, which may wait for room.
    Thread { waits: bool },
    /// A handler in this loop, which cannot wait. It has twice the room of other threads.
    Handler(u16),
    /// A handler in this loop whose order is never refused for want of room, or the server itself.
    Insisting(Option<u16>),
}

/// The loops that an order is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum In {
    All,
    AllBut(u16),
}

impl<W> Sequencer<W> {
    pub(crate) fn new(inboxes: impl Iterator<Item = Inbox<W>>) -> Self {
        let member = |inbox| Member {
            inbox,
            arriving: AtomicUsize::new(0),
            connections: AtomicUsize::new(0),
            streams: AtomicUsize::new(0),
            stats: Mutex::default(),
        };
        Self { loops: inboxes.map(member).collect(), order: Mutex::default(), published: AtomicU64::new(0) }
    }

    pub(crate) fn len(&self) -> usize {
        self.loops.len()
    }

    /// The inbox of a loop, if there is such a loop.
    pub(crate) fn inbox(&self, index: u16) -> Option<&Inbox<W>> {
        self.loops.get(usize::from(index)).map(|member| &member.inbox)
    }

    /// Whether this is the thread of one of the loops.
    pub(crate) fn is_on_a_loop(&self) -> bool {
        self.inboxes().any(Inbox::is_of_this_thread)
    }

    pub(crate) fn inboxes(&self) -> impl Iterator<Item = &Inbox<W>> {
        self.loops.iter().map(|member| &member.inbox)
    }

    /// Puts an order into the inboxes of all running loops, or of none. `order` makes it for each loop. The
    /// loop of a handler is not woken.
    pub(crate) fn put(&self, order: impl Fn(u16) -> Order<W>, from: From, into: In) -> Result<(), Error> {
        let publishes = matches!(order(0), Order::Publish(_));
        let members = || (0..).zip(&self.loops).filter(|(index, _)| into != In::AllBut(*index));
        let has_room = |member: &Member<W>| match from {
            From::Thread { .. } => member.inbox.has_room(1),
            From::Handler(_) => member.inbox.has_room(2),
            From::Insisting(_) => true,
        };
        let held = loop {
            let held = self.order.lock().unwrap_or_else(PoisonError::into_inner);
            let Some((_, full)) = members().find(|(_, member)| !has_room(member)) else { break held };
            drop(held);
            let From::Thread { waits } = from else { return Err(Error::Full) };
            // On the thread of a loop the wait could be for ever.
            let waits = waits && !self.is_on_a_loop();
            match full.inbox.wait_for_room(waits) {
                // Other loops may be running.
                Ok(()) | Err(Error::Stopped) => {}
                Err(error) => return Err(error),
            }
        };
        if publishes {
            // This is counted before any loop has it. Otherwise a client could bring its id to a loop where
            // it is unknown.
            self.published.fetch_add(1, Ordering::SeqCst);
        }
        let mut to_wake = Vec::new();
        let mut runs = members().next().is_none();
        for (index, member) in members() {
            let Some(is_first) = member.inbox.add_at_once(order(index)) else { continue };
            runs = true;
            let is_own = matches!(from, From::Handler(own) | From::Insisting(Some(own)) if own == index);
            if is_first && !is_own {
                to_wake.push(&member.inbox);
            }
        }
        drop(held);
        to_wake.into_iter().for_each(Inbox::wake);
        if runs { Ok(()) } else { Err(Error::Stopped) }
    }

    /// How many events were published, even if some loops have not got them yet.
    pub(crate) fn published(&self) -> u64 {
        self.published.load(Ordering::SeqCst)
    }

    /// Counts events that each loop has published by itself.
    pub(crate) fn add_published(&self, count: u64) {
        self.published.fetch_add(count, Ordering::SeqCst);
    }

    /// How many events a loop still has to publish before the first one for which `is` returns `true`.
    pub(crate) fn find_publication(&self, index: u16, is: impl Fn(&Publication) -> bool) -> Option<usize> {
        // An event that one loop has is then in the inboxes of all.
        let _held = self.order.lock().unwrap_or_else(PoisonError::into_inner);
        self.inbox(index)?.find_publication(is)
    }

    fn member(&self, index: u16) -> &Member<W> {
        &self.loops[usize::from(index)]
    }

    /// Stores the counters of a loop.
    pub(crate) fn note(&self, index: u16, stats: &Stats) {
        *self.member(index).stats.lock().unwrap_or_else(PoisonError::into_inner) = *stats;
    }

    /// The counters of each other loop at the end of its last turn.
    pub(crate) fn stats_of_others(&self, index: u16) -> impl Iterator<Item = Stats> {
        let others = (0..).zip(&self.loops).filter(move |(other, _)| *other != index);
        others.map(|(_, member)| *member.stats.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Adds to the numbers of connections and streams of a loop. Negative numbers subtract.
    pub(crate) fn count(&self, index: u16, connections: isize, streams: isize) {
        let member = self.member(index);
        member.connections.fetch_add(connections.cast_unsigned(), Ordering::Relaxed);
        member.streams.fetch_add(streams.cast_unsigned(), Ordering::Relaxed);
    }

    /// The number of connections and streams in all loops.
    pub(crate) fn counts(&self) -> (usize, usize) {
        let connections = self.loops.iter().map(|member| member.connections.load(Ordering::Relaxed)).sum();
        (connections, self.loops.iter().map(|member| member.streams.load(Ordering::Relaxed)).sum())
    }

    /// Whether no running loop has connections, or is about to get one.
    pub(crate) fn is_left(&self) -> bool {
        let mut running = self.loops.iter().filter(|member| member.inbox.runs());
        running.all(|member| member.load() == 0)
    }

    /// The loop with the fewest connections; `index` if it is one of them.
    pub(crate) fn fewest(&self, index: u16) -> u16 {
        let running = (0..).zip(&self.loops).filter(|(_, member)| member.inbox.runs());
        let fewest = running.min_by_key(|(other, member)| (member.load(), *other != index));
        fewest.map_or(index, |(other, _)| other)
    }

    /// Passes a connection to a loop. Returns the connection on an error.
    pub(crate) fn adopt(
        &self,
        index: u16,
        socket: TcpStream,
        input: Vec<u8>,
        wait: bool,
    ) -> Result<(), (Error, TcpStream, Vec<u8>)> {
        let member = self.member(index);
        member.arriving.fetch_add(1, Ordering::Relaxed);
        let order = |(socket, input)| Order::Adopt { socket, input };
        member.inbox.put_with((socket, input), order, wait).map_err(|(error, (socket, input))| {
            self.arrived(index);
            (error, socket, input)
        })
    }

    /// Notes that a passed connection has arrived.
    pub(crate) fn arrived(&self, index: u16) {
        self.member(index).arriving.fetch_sub(1, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::task::Waker;
    use std::thread;

    #[test]
    fn a_publisher_that_waits_for_a_stopping_loop_reaches_the_others() {
        let inboxes = [(); 2].map(|()| Inbox::new(1, 1 << 20, Waker::noop().clone()));
        let sequencer = Sequencer::new(inboxes.iter().cloned());
        let order = |_| Order::Run(());
        inboxes[1].put_at_once(order(0)).unwrap();
        inboxes.iter().for_each(Inbox::bind_to_this_thread);
        thread::scope(|scope| {
            let waits = scope.spawn(|| sequencer.put(order, From::Thread { waits: true }, In::All));
            while inboxes[1].counts().1 == 0 {
                thread::yield_now();
            }
            drop(inboxes[1].stop());
            assert_eq!(waits.join().unwrap(), Ok(()));
        });
        assert_eq!(inboxes[0].counts().0, 1);
        drop(inboxes[0].stop());
        assert_eq!(sequencer.put(order, From::Thread { waits: true }, In::All), Err(Error::Stopped));
    }
}
