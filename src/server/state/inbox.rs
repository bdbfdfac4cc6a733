//! The bounded inbox through which other threads reach the loop.

use crate::conn::id::StreamId;
use crate::error::Error;
use crate::topic::frame::EncodedEvent;
use crate::topic::position::Position;
use std::collections::VecDeque;
use std::net::TcpStream;
use std::sync::{Arc, Condvar, Mutex, MutexGuard, PoisonError};
use std::task::Waker;
use std::thread::ThreadId;
use std::time::Duration;

/// A message of another thread.
pub(crate) enum Order<W> {
    /// Shared by all loops that get it.
    Publish(Arc<Publication>),
    Send {
        stream: StreamId,
        event: EncodedEvent,
    },
    SendTagged {
        tag: Box<str>,
        event: EncodedEvent,
    },
    Wake {
        stream: StreamId,
    },
    Close {
        stream: StreamId,
    },
    Adopt {
        socket: TcpStream,
        input: Vec<u8>,
    },
    Run(W),
    /// An order of a handler of this loop, which follows the events that it has published.
    Own(Box<Order<W>>),
}

/// An event for topics.
pub(crate) struct Publication {
    /// The first topic, and further ones.
    topic: Option<Box<str>>,
    more: Vec<Box<str>>,
    pub(crate) event: EncodedEvent,
    pub(crate) at: Option<Position>,
    /// The loop whose handler publishes it, if it is one of several.
    pub(crate) of_loop: Option<u16>,
}

impl Publication {
    pub(crate) fn new<'t>(
        topics: impl IntoIterator<Item = &'t str>,
        event: EncodedEvent,
        at: Option<Position>,
        of_loop: Option<u16>,
    ) -> Self {
        let mut topics = topics.into_iter().map(Box::from);
        Self { topic: topics.next(), more: topics.collect(), event, at, of_loop }
    }

    pub(crate) fn topics(&self) -> impl Iterator<Item = &str> + Clone {
        self.topic.iter().chain(&self.more).map(|topic| &**topic)
    }

    fn size(&self) -> usize {
        let names = self.topics().map(|topic| size_of::<Box<str>>() + topic.len()).sum::<usize>();
        size_of::<Self>() + names + self.event.held()
    }
}

impl<W> Order<W> {
    /// The memory of the order.
    fn size(&self) -> usize {
        let more = match self {
            Self::Publish(publication) => publication.size(),
            Self::SendTagged { tag, event } => tag.len() + event.held(),
            Self::Send { event, .. } => event.held(),
            Self::Adopt { input, .. } => input.capacity(),
            Self::Own(order) => order.size(),
            Self::Wake { .. } | Self::Close { .. } | Self::Run(_) => 0,
        };
        size_of::<Self>() + more
    }

    /// Whether applying it takes memory.
    pub(crate) fn takes_memory(&self) -> bool {
        match self {
            // Removing a key frees memory.
            Self::Publish(publication) => !publication.event.removes_key(),
            Self::Send { .. } | Self::SendTagged { .. } => true,
            Self::Own(order) => order.takes_memory(),
            Self::Wake { .. } | Self::Close { .. } | Self::Adopt { .. } | Self::Run(_) => false,
        }
    }

    /// Whether a handler of this loop or another has sent it. Handlers cannot wait.
    fn is_of_handler(&self) -> bool {
        match self {
            Self::Publish(publication) => publication.of_loop.is_some(),
            order => matches!(order, Self::Own(_)),
        }
    }
}

/// How long publishers wait for room before the first turn, as another thread may be about to start the loop.
pub(crate) const TIME_TO_START: Duration = Duration::from_secs(1);

/// A bounded inbox of orders, one kind of which runs a `W`. Clones share the inbox.
pub(crate) struct Inbox<W> {
    shared: Arc<Shared<W>>,
}

struct Shared<W> {
    queue: Mutex<Queue<W>>,
    /// Signalled when there is room again, or when the inbox has stopped.
    room: Condvar,
    waker: Waker,
    messages_max: usize,
    bytes_max: usize,
}

struct Queue<W> {
    messages: VecDeque<Order<W>>,
    /// The memory of the messages.
    bytes: usize,
    stopped: bool,
    /// The thread that takes messages, which must not wait for itself. `None` before the first turn.
    runs_on: Option<ThreadId>,
    /// How often a publisher has found no room.
    full: u64,
    /// The number of messages of handlers.
    of_handlers: usize,
}

impl<W> Queue<W> {
    fn is_full(&self, shared: &Shared<W>) -> bool {
        self.holds(shared, 1)
    }

    /// Whether it holds `times` the limit of publishers.
    fn holds(&self, shared: &Shared<W>, times: usize) -> bool {
        let (messages, bytes) =
            (shared.messages_max.saturating_mul(times), shared.bytes_max.saturating_mul(times));
        let is_full = self.messages.len() >= messages || self.bytes >= bytes;
        is_full && !self.messages.is_empty()
    }

    /// Subtracts removed messages from the counts.
    fn forget<'o>(&mut self, taken: impl Iterator<Item = &'o Order<W>>)
    where
        W: 'o,
    {
        for order in taken {
            self.bytes -= order.size();
            self.of_handlers -= usize::from(order.is_of_handler());
        }
    }

    /// Adds a message to the counts.
    fn count(&mut self, order: &Order<W>) {
        self.bytes += order.size();
        self.of_handlers += usize::from(order.is_of_handler());
    }

    fn is_of_this_thread(&self) -> bool {
        self.runs_on == Some(std::thread::current().id())
    }
}

impl<W> Clone for Inbox<W> {
    fn clone(&self) -> Self {
        Self { shared: Arc::clone(&self.shared) }
    }
}

impl<W> Inbox<W> {
    /// An inbox for `messages_max` messages and `bytes_max` bytes, or for one message of any size.
    pub(crate) fn new(messages_max: usize, bytes_max: usize, waker: Waker) -> Self {
        let (messages, stopped) = (VecDeque::new(), false);
        let queue = Queue { messages, bytes: 0, stopped, runs_on: None, full: 0, of_handlers: 0 };
        let (queue, room) = (Mutex::new(queue), Condvar::new());
        let shared = Shared { queue, room, waker, messages_max, bytes_max };
        Self { shared: Arc::new(shared) }
    }

    /// Puts a message into the inbox even if it is full. The caller bounds the number of such messages.
    pub(crate) fn put_at_once(&self, message: Order<W>) -> Result<(), Error> {
        let queue = self.lock();
        if queue.stopped {
            // Dropping the message may run application code, so the lock is released first.
            drop(queue);
            return Err(Error::Stopped);
        }
        self.push(queue, message);
        Ok(())
    }

    /// Puts a message of a handler into the inbox, which has twice the room for them.
    pub(crate) fn put_of_handler(&self, message: Order<W>) -> Result<(), Error> {
        if !self.has_room(2) {
            return Err(Error::Full);
        }
        self.put_at_once(message)
    }

    /// Whether the loop has begun to run.
    pub(crate) fn has_started(&self) -> bool {
        self.lock().runs_on.is_some()
    }

    /// Whether the loop runs on this thread.
    pub(crate) fn is_of_this_thread(&self) -> bool {
        self.lock().is_of_this_thread()
    }

    pub(crate) fn put(&self, message: Order<W>, wait: bool) -> Result<(), Error> {
        self.put_with(message, |message| message, wait).map_err(|(error, _)| error)
    }

    /// Puts the order made of `value` into the inbox, or returns `value`.
    pub(crate) fn put_with<T>(
        &self,
        value: T,
        order: impl FnOnce(T) -> Order<W>,
        wait: bool,
    ) -> Result<(), (Error, T)> {
        match self.with_room(wait) {
            Ok(queue) => {
                self.push(queue, order(value));
                Ok(())
            }
            Err(error) => Err((error, value)),
        }
    }

    /// Waits for room for publishers, if `wait` is set.
    pub(crate) fn wait_for_room(&self, wait: bool) -> Result<(), Error> {
        self.with_room(wait).map(drop)
    }

    fn with_room(&self, mut wait: bool) -> Result<MutexGuard<'_, Queue<W>>, Error> {
        let mut queue = self.lock();
        let shared = &self.shared;
        queue.full += u64::from(queue.is_full(shared));
        while queue.is_full(shared) && !queue.stopped {
            if !wait || queue.is_of_this_thread() {
                return Err(Error::Full);
            }
            if queue.runs_on.is_some() {
                queue = shared.room.wait(queue).unwrap_or_else(PoisonError::into_inner);
            } else {
                // This may be the thread that will run the loop.
                let waited = shared.room.wait_timeout(queue, TIME_TO_START);
                let timed_out;
                (queue, timed_out) = waited.unwrap_or_else(PoisonError::into_inner);
                wait = !timed_out.timed_out() || queue.runs_on.is_some();
            }
        }
        if queue.stopped { Err(Error::Stopped) } else { Ok(queue) }
    }

    fn push(&self, queue: MutexGuard<'_, Queue<W>>, message: Order<W>) {
        if Self::add(queue, message) {
            self.wake();
        }
    }

    /// Appends a message. Returns whether the loop has to be woken.
    fn add(mut queue: MutexGuard<'_, Queue<W>>, message: Order<W>) -> bool {
        queue.count(&message);
        queue.messages.push_back(message);
        // The loop empties the inbox before it sleeps, so only the first message has to wake it.
        queue.messages.len() == 1
    }

    pub(crate) fn wake(&self) {
        self.shared.waker.wake_by_ref();
    }

    /// Like [`put_at_once`](Self::put_at_once), for a message that goes into several inboxes. Returns whether
    /// the loop has to be [woken](Self::wake), or `None` if it has stopped.
    pub(crate) fn add_at_once(&self, message: Order<W>) -> Option<bool> {
        let queue = self.lock();
        if queue.stopped {
            drop(queue);
            return None;
        }
        Some(Self::add(queue, message))
    }

    /// Whether it holds less than `times` the limit of publishers.
    pub(crate) fn has_room(&self, times: usize) -> bool {
        let queue = self.lock();
        queue.stopped || !queue.holds(&self.shared, times)
    }

    /// Whether the loop has not stopped.
    pub(crate) fn runs(&self) -> bool {
        !self.lock().stopped
    }

    /// Whether messages of handlers wait.
    pub(crate) fn has_of_handlers(&self) -> bool {
        self.lock().of_handlers > 0
    }

    /// The number of publications before the first for which `is` returns true.
    pub(crate) fn find_publication(&self, is: impl Fn(&Publication) -> bool) -> Option<usize> {
        let queue = self.lock();
        let mut publications = queue.messages.iter().filter_map(|order| match order {
            Order::Publish(publication) => Some(&**publication),
            _ => None,
        });
        publications.position(is)
    }

    /// The number of messages, and how often there was no room.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let queue = self.lock();
        (queue.messages.len() as u64, queue.full)
    }

    /// The memory of the messages.
    pub(crate) fn bytes(&self) -> usize {
        self.lock().bytes
    }

    /// Notes which thread runs the loop.
    pub(crate) fn bind_to_this_thread(&self) {
        self.lock().runs_on = Some(std::thread::current().id());
    }

    /// Moves up to `count` messages to `taken`; returns whether there are more.
    pub(crate) fn take(&self, count: usize, taken: &mut Vec<Order<W>>) -> bool {
        let mut queue = self.lock();
        let count = count.min(queue.messages.len());
        let was_full = queue.is_full(&self.shared);
        let before = taken.len();
        taken.extend(queue.messages.drain(..count));
        queue.forget(taken[before..].iter());
        let more = !queue.messages.is_empty();
        drop(queue);
        if was_full && count > 0 {
            self.shared.room.notify_all();
        }
        more
    }

    /// Takes the messages that are `wanted`, ahead of others.
    pub(crate) fn take_out(&self, wanted: impl Fn(&Order<W>) -> bool) -> VecDeque<Order<W>> {
        let mut queue = self.lock();
        let was_full = queue.is_full(&self.shared);
        let (found, left): (VecDeque<_>, VecDeque<_>) = queue.messages.drain(..).partition(wanted);
        queue.forget(found.iter());
        queue.messages = left;
        drop(queue);
        if was_full && !found.is_empty() {
            self.shared.room.notify_all();
        }
        found
    }

    /// Puts messages that cannot be applied yet back at the front.
    pub(crate) fn put_back(&self, messages: impl DoubleEndedIterator<Item = Order<W>>) {
        let mut queue = self.lock();
        for message in messages.rev() {
            queue.count(&message);
            queue.messages.push_front(message);
        }
    }

    /// Stops the inbox: publishers that wait get an error. Returns the messages in it.
    pub(crate) fn stop(&self) -> impl Iterator<Item = Order<W>> + use<W> {
        let mut queue = self.lock();
        queue.stopped = true;
        let dropped = std::mem::take(&mut queue.messages);
        (queue.bytes, queue.of_handlers) = (0, 0);
        drop(queue);
        self.shared.room.notify_all();
        // Dropping closures may run application code, even publish, so the lock is released first.
        dropped.into_iter()
    }

    /// No code of the application runs under the lock, so it cannot be left in a bad state.
    fn lock(&self) -> MutexGuard<'_, Queue<W>> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
