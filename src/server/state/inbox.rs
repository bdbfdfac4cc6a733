//! The way into the loop from other threads: a bounded inbox.

use crate::conn::id::StreamId;
use crate::error::Error;
use crate::topic::frame::EncodedEvent;
use crate::topic::position::Position;
use std::collections::VecDeque;
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::ThreadId;

/// What another thread asks for.
pub(crate) enum Order<W> {
    Publish { topic: Box<str>, event: EncodedEvent, at: Option<Position> },
    Send { stream: StreamId, event: EncodedEvent },
    SendTagged { tag: Box<str>, event: EncodedEvent },
    Wake { stream: StreamId },
    Close { stream: StreamId },
    Adopt { socket: TcpStream, input: Vec<u8> },
    Run(W),
}

/// A bounded inbox, of orders one of which is to run a `W`. All clones put into the same one, in order.
pub(crate) struct Inbox<W> {
    shared: Arc<Shared<W>>,
}

struct Shared<W> {
    queue: Mutex<Queue<W>>,
    /// Signalled when there is room again, or will never be.
    room: Condvar,
    waker: Waker,
    messages_max: usize,
}

struct Queue<W> {
    messages: VecDeque<Order<W>>,
    stopped: bool,
    /// The thread that takes messages out: it must not wait for itself.
    loop_thread: Option<ThreadId>,
    /// How often a publisher found no room.
    full: u64,
}

impl<W> Clone for Inbox<W> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<W> Inbox<W> {
    pub(crate) fn new(messages_max: usize, waker: Waker) -> Self {
        let queue = Queue { messages: VecDeque::new(), stopped: false, loop_thread: None, full: 0 };
        let shared = Shared { queue: Mutex::new(queue), room: Condvar::new(), waker, messages_max };
        Self { shared: Arc::new(shared) }
    }

    /// Wakes a source, also where the inbox is full: for those who see to it that there is one such message
    /// for a stream at most.
    pub(crate) fn wake_at_once(&self, stream: StreamId) {
        let queue = self.lock();
        if !queue.stopped {
            self.push(queue, Order::Wake { stream });
        }
    }

    /// Whether the loop runs on this thread.
    pub(crate) fn is_of_this_thread(&self) -> bool {
        self.lock().loop_thread == Some(std::thread::current().id())
    }

    pub(crate) fn put(&self, message: Order<W>, wait: bool) -> Result<(), Error> {
        self.put_with(message, |message| message, wait).map_err(|(error, _)| error)
    }

    /// Puts what `order` makes of `value` into the inbox, or gives `value` back.
    pub(crate) fn put_with<T>(
        &self,
        value: T,
        order: impl FnOnce(T) -> Order<W>,
        wait: bool,
    ) -> Result<(), (Error, T)> {
        let mut queue = self.lock();
        if queue.messages.len() >= self.shared.messages_max {
            queue.full += 1;
        }
        while queue.messages.len() >= self.shared.messages_max && !queue.stopped {
            if !wait || queue.loop_thread == Some(std::thread::current().id()) {
                return Err((Error::Full, value));
            }
            queue = self.shared.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
        }
        if queue.stopped {
            return Err((Error::Stopped, value));
        }
        self.push(queue, order(value));
        Ok(())
    }

    fn push(&self, mut queue: MutexGuard<'_, Queue<W>>, message: Order<W>) {
        queue.messages.push_back(message);
        // The loop empties the inbox before it sleeps, so only the first message has to wake it.
        let first = queue.messages.len() == 1;
        drop(queue);
        if first {
            self.shared.waker.wake_by_ref();
        }
    }

    /// How many messages wait, and how often there was no room.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let queue = self.lock();
        (queue.messages.len() as u64, queue.full)
    }

    /// Notes which thread runs the loop.
    pub(crate) fn bind_to_this_thread(&self) {
        self.lock().loop_thread = Some(std::thread::current().id());
    }

    /// Moves up to `count` messages to `taken`; answers whether there are more.
    pub(crate) fn take(&self, count: usize, taken: &mut Vec<Order<W>>) -> bool {
        let mut queue = self.lock();
        let count = count.min(queue.messages.len());
        let was_full = queue.messages.len() >= self.shared.messages_max;
        taken.extend(queue.messages.drain(..count));
        let more = !queue.messages.is_empty();
        drop(queue);
        if was_full && count > 0 {
            self.shared.room.notify_all();
        }
        more
    }

    /// From now on nothing is taken any more: whoever waits is told, and what is in the inbox is dropped.
    pub(crate) fn stop(&self) {
        let mut queue = self.lock();
        queue.stopped = true;
        let dropped = std::mem::take(&mut queue.messages);
        drop(queue);
        self.shared.room.notify_all();
        // Closures may do anything when they are dropped, also publish: the lock is free by now.
        drop(dropped);
    }

    /// No code of the application runs under the lock, so it cannot be left in a bad state.
    fn lock(&self) -> MutexGuard<'_, Queue<W>> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
