//! Streams that other threads write: a bounded channel whose receiver is a source.

use crate::account::{Account, Charge, Purpose};
use crate::conn::id::StreamId;
use crate::error::Error;
use crate::event::Event;
use crate::server::state::core::Job;
use crate::server::state::draining::DrainFlag;
use crate::server::state::inbox::{Inbox, Order};
use crate::shards::sequencer::Sequencer;
use crate::source::{Pull, Source};
use std::fmt;
use std::sync::Arc;

// With `--cfg shuttle` these come from shuttle, which tests the orders in which threads may use them.
#[cfg(not(all(test, shuttle)))]
use std::sync::atomic::{AtomicBool, Ordering};
#[cfg(not(all(test, shuttle)))]
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};
#[cfg(all(test, shuttle))]
use tests::scheduled::{
    AtomicBool, Ordering, Receiver, SyncSender, TryRecvError, TrySendError, sync_channel,
};

/// Writes one stream from any thread, as fast as its client reads.
/// [`Context::channel`](crate::Context::channel) makes it.
///
/// When all clones are dropped, the stream is closed cleanly after the events they have sent. If the stream
/// has ended before, for example because its client has left, [`send`](Self::send) returns an error.
#[derive(Clone)]
pub struct EventSender {
    /// `None` only while it is being dropped.
    events: Option<SyncSender<Waiting>>,
    /// Whether the source has found the channel empty and has to be woken.
    idle: Arc<AtomicBool>,
    /// Whether [`complete`](Self::complete) was called.
    complete: Arc<AtomicBool>,
    inbox: Inbox<Job>,
    /// All loops, if there are several.
    loops: Option<Arc<Sequencer<Job>>>,
    account: Account,
    is_draining: DrainFlag,
    stream: StreamId,
}

/// An event in the channel, and its memory.
type Waiting = (Event<'static>, Charge);

impl fmt::Debug for EventSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSender").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl EventSender {
    /// Sends an event. Waits while the channel is full because the client does not read.
    ///
    /// # Errors
    /// [`Error::InvalidEvent`]; [`Error::Closed`] if the stream has ended: stop then. [`Error::Full`] on the
    /// thread of any loop, which must not wait, because it could wait for ever.
    pub fn send<'e>(&self, event: impl Into<Event<'e>>) -> Result<(), Error> {
        let others = self.loops.as_ref().is_some_and(|loops| loops.is_on_a_loop());
        if others || self.inbox.is_of_this_thread() {
            return self.try_send(event);
        }
        let event = self.charged(event)?;
        self.events.as_ref().and_then(|events| events.send(event).ok()).ok_or(Error::Closed)?;
        self.wake();
        Ok(())
    }

    /// Sends an event if the channel has room for it.
    ///
    /// # Errors
    /// [`Error::InvalidEvent`]; [`Error::Full`]; [`Error::Closed`] as for [`send`](Self::send).
    pub fn try_send<'e>(&self, event: impl Into<Event<'e>>) -> Result<(), Error> {
        let events = self.events.as_ref().ok_or(Error::Closed)?;
        events.try_send(self.charged(event)?).map_err(|error| match error {
            TrySendError::Full(_) => Error::Full,
            TrySendError::Disconnected(_) => Error::Closed,
        })?;
        self.wake();
        Ok(())
    }

    fn charged<'e>(&self, event: impl Into<Event<'e>>) -> Result<Waiting, Error> {
        let event = event.into();
        event.check()?;
        let event = event.into_owned();
        let charge = self.account.charge(Purpose::Channels, size_of::<Waiting>() + event.held());
        Ok((event, charge))
    }

    /// Marks the channel as complete and drops it. If the channel brings missed events
    /// [later](crate::Missed::Later), only this says that all were sent. For other streams it is the same as
    /// dropping it.
    pub fn complete(self) {
        self.complete.store(true, Ordering::SeqCst);
    }

    /// Whether the server is [draining](crate::Context::drain): the stream will be closed soon, unless it was
    /// opened to [finish](crate::StreamReply::finish). Do not begin long work then.
    #[must_use]
    pub fn is_draining(&self) -> bool {
        self.is_draining.is_set()
    }

    /// The stream that this writes.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    fn wake(&self) {
        // At most one wake each time that the source has found the channel empty. So wakes cannot fill the
        // inbox, and need not wait for room in it.
        if self.idle.swap(false, Ordering::SeqCst) {
            // The inbox holds at most one wake for each stream. A server that has stopped has no streams to
            // wake.
            let _ = self.inbox.put_at_once(Order::Wake { stream: self.stream });
        }
    }
}

impl Drop for EventSender {
    fn drop(&mut self) {
        // Dropped before the wake, so the source finds the channel closed.
        drop(self.events.take());
        self.wake();
    }
}

/// The receiver.
struct Channel {
    events: Receiver<Waiting>,
    idle: Arc<AtomicBool>,
    complete: Arc<AtomicBool>,
}

impl Channel {
    fn take(&self) -> Pull {
        match self.events.try_recv() {
            Ok((event, _charge)) => Pull::Event(event),
            Err(TryRecvError::Empty) => Pull::Idle,
            Err(TryRecvError::Disconnected) if self.complete.load(Ordering::SeqCst) => Pull::End,
            Err(TryRecvError::Disconnected) => Pull::Failed,
        }
    }
}

impl Source for Channel {
    fn pull(&mut self) -> Pull {
        match self.take() {
            Pull::Idle => {
                self.idle.store(true, Ordering::SeqCst);
                // An event may have arrived before the flag was set, without a wake.
                self.take()
            }
            pull => pull,
        }
    }
}

/// A channel for `ahead` events, at least one.
pub(crate) fn channel(
    stream: StreamId,
    ahead: usize,
    inbox: Inbox<Job>,
    loops: Option<Arc<Sequencer<Job>>>,
    account: Account,
    is_draining: DrainFlag,
) -> (EventSender, impl Source) {
    let (sender, events) = sync_channel(ahead.max(1));
    let idle = Arc::new(AtomicBool::new(false));
    let complete = Arc::new(AtomicBool::new(false));
    let source = Channel { events, idle: idle.clone(), complete: complete.clone() };
    (EventSender { events: Some(sender), idle, complete, inbox, loops, account, is_draining, stream }, source)
}

#[cfg(all(test, shuttle))]
mod tests {
    use super::*;
    use crate::conn::id::Generation;
    use crate::server::state::inbox::Order;
    use shuttle::sync::mpsc::{self, Sender};
    use shuttle::thread;
    use std::task::Wake;

    /// The parts of the channel under shuttle's scheduler.
    pub(super) mod scheduled {
        use shuttle::sync::mpsc;
        pub(in super::super) use shuttle::sync::{
            atomic::{AtomicBool, Ordering},
            mpsc::{Receiver, TryRecvError, TrySendError},
        };
        use std::ops::Deref;
        use std::time::Duration;

        /// Shuttle's sender. Its drop is no step of the scheduler, so here other threads may run before it.
        pub(in super::super) struct SyncSender<T>(mpsc::SyncSender<T>);

        impl<T> Clone for SyncSender<T> {
            fn clone(&self) -> Self {
                Self(self.0.clone())
            }
        }

        impl<T> Drop for SyncSender<T> {
            fn drop(&mut self) {
                // Shuttle has no time: this only lets other threads run.
                shuttle::thread::sleep(Duration::ZERO);
            }
        }

        impl<T> Deref for SyncSender<T> {
            type Target = mpsc::SyncSender<T>;

            fn deref(&self) -> &Self::Target {
                &self.0
            }
        }

        pub(in super::super) fn sync_channel<T>(bound: usize) -> (SyncSender<T>, Receiver<T>) {
            let (sender, receiver) = mpsc::sync_channel(bound);
            (SyncSender(sender), receiver)
        }
    }

    /// Wakes the loop, as the poll's waker does.
    struct Bell(Sender<()>);

    impl Wake for Bell {
        fn wake(self: Arc<Self>) {
            // The reader may have ended.
            let _ = self.0.send(());
        }
    }

    /// Plays the loop, with one source.
    struct Reader<S> {
        source: S,
        inbox: Inbox<Job>,
        rings: Receiver<()>,
        asked: usize,
        woken: usize,
    }

    fn channel_and_reader(ahead: usize) -> (EventSender, Reader<impl Source>) {
        let (bell, rings) = mpsc::channel();
        let inbox = Inbox::new(1, usize::MAX, Arc::new(Bell(bell)).into());
        let stream = StreamId { slot: 0, generation: Generation::default(), shard: 0 };
        let (sender, source) =
            channel(stream, ahead, inbox.clone(), None, Account::default(), DrainFlag::default());
        (sender, Reader { source, inbox, rings, asked: 0, woken: 0 })
    }

    impl<S: Source> Reader<S> {
        /// The next event, or `None` at the end. An idle source is not asked before it is woken. If the wake
        /// is lost, shuttle reports a deadlock.
        fn next(&mut self) -> Option<Event<'static>> {
            loop {
                self.asked += 1;
                match self.source.pull() {
                    Pull::Event(event) => return Some(event),
                    Pull::End | Pull::Failed => return None,
                    Pull::Idle => self.wait(),
                    Pull::Wait(_) => unreachable!("a channel does not wait for time"),
                }
            }
        }

        fn wait(&mut self) {
            let mut orders = Vec::new();
            while orders.is_empty() {
                self.rings.recv().unwrap();
                self.inbox.take(usize::MAX, &mut orders);
            }
            assert!(orders.iter().all(|order| matches!(order, Order::Wake { .. })));
            self.woken += orders.len();
            assert!(self.woken <= self.asked, "wakes cannot fill the inbox");
        }
    }

    fn event(number: usize) -> Event<'static> {
        Event::new().data(number.to_string())
    }

    #[test]
    fn an_event_and_the_end_wake_the_source_whatever_the_order() {
        // All orders, some 3,500.
        let thread_sends = || {
            let (sender, mut reader) = channel_and_reader(1);
            let sender = Arc::new(sender);
            let of_thread = sender.clone();
            thread::spawn(move || of_thread.send(event(0)).unwrap());
            // The sender still exists, so the event has to wake the source.
            assert_eq!(reader.next(), Some(event(0)));
            drop(sender);
            assert_eq!(reader.next(), None);
        };
        shuttle::check_dfs(thread_sends, None);
        let thread_drops = || {
            let (sender, mut reader) = channel_and_reader(1);
            thread::spawn(move || drop(sender));
            assert_eq!(reader.next(), None);
        };
        shuttle::check_dfs(thread_drops, None);
    }

    #[test]
    fn events_of_several_threads_arrive_in_the_order_of_each() {
        // There are too many orders to try all. These are the same thousand each time.
        let threads_send = || {
            let (sender, mut reader) = channel_and_reader(2);
            for thread in 0..3 {
                let sender = sender.clone();
                thread::spawn(move || (0..3).for_each(|n| sender.send(event(10 * thread + n)).unwrap()));
            }
            drop(sender);
            let events: Vec<_> = std::iter::from_fn(|| reader.next()).collect();
            assert_eq!(events.len(), 9);
            for thread in 0..3 {
                let places =
                    (0..3).map(|n| events.iter().position(|e| *e == event(10 * thread + n)).unwrap());
                assert!(places.is_sorted(), "{events:?}");
            }
        };
        shuttle::check_random_with_seed(threads_send, 1, 1000);
    }
}
