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
use std::time::Duration;

/// What another thread asks for.
pub(crate) enum Order<W> {
    /// One for all loops that it is for.
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
    /// What a handler of this loop does behind what it has published.
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
    /// The memory that it takes.
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

    /// Whether it is for more memory to be taken.
    pub(crate) fn takes_memory(&self) -> bool {
        match self {
            // That a key is removed gives memory back.
            Self::Publish(publication) => !publication.event.removes_key(),
            Self::Send { .. } | Self::SendTagged { .. } => true,
            Self::Own(order) => order.takes_memory(),
            Self::Wake { .. } | Self::Close { .. } | Self::Adopt { .. } | Self::Run(_) => false,
        }
    }

    /// Whether a handler waits for it, in this loop or another, which cannot be held back.
    fn is_of_handler(&self) -> bool {
        match self {
            Self::Publish(publication) => publication.of_loop.is_some(),
            order => matches!(order, Self::Own(_)),
        }
    }
}

/// How long publishers wait for room before the first turn: the loop may be about to begin on another thread.
pub(crate) const TIME_TO_START: Duration = Duration::from_secs(1);

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
    bytes_max: usize,
}

struct Queue<W> {
    messages: VecDeque<Order<W>>,
    /// The memory that they take.
    bytes: usize,
    stopped: bool,
    /// The thread that takes messages out: it must not wait for itself. Nobody does before the first turn.
    runs_on: Option<ThreadId>,
    /// How often a publisher found no room.
    full: u64,
    /// How many of the messages are of handlers.
    of_handlers: usize,
}

impl<W> Queue<W> {
    fn is_full(&self, shared: &Shared<W>) -> bool {
        self.holds(shared, 1)
    }

    /// Whether it holds so many times as much as publishers have room for.
    fn holds(&self, shared: &Shared<W>, times: usize) -> bool {
        let (messages, bytes) =
            (shared.messages_max.saturating_mul(times), shared.bytes_max.saturating_mul(times));
        let is_full = self.messages.len() >= messages || self.bytes >= bytes;
        is_full && !self.messages.is_empty()
    }

    /// Counts what was taken out.
    fn forget<'o>(&mut self, taken: impl Iterator<Item = &'o Order<W>>)
    where
        W: 'o,
    {
        for order in taken {
            self.bytes -= order.size();
            self.of_handlers -= usize::from(order.is_of_handler());
        }
    }

    /// Counts what comes in.
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
    /// For so many messages, and so many bytes of them; or one, of whatever size.
    pub(crate) fn new(messages_max: usize, bytes_max: usize, waker: Waker) -> Self {
        let (messages, stopped) = (VecDeque::new(), false);
        let queue = Queue { messages, bytes: 0, stopped, runs_on: None, full: 0, of_handlers: 0 };
        let (queue, room) = (Mutex::new(queue), Condvar::new());
        let shared = Shared { queue, room, waker, messages_max, bytes_max };
        Self { shared: Arc::new(shared) }
    }

    /// Puts a message into the inbox, also where it is full: for those who see to it that there is a bound
    /// for such.
    pub(crate) fn put_at_once(&self, message: Order<W>) -> Result<(), Error> {
        let queue = self.lock();
        if queue.stopped {
            // It may do anything when it is dropped: the lock is free by then.
            drop(queue);
            return Err(Error::Stopped);
        }
        self.push(queue, message);
        Ok(())
    }

    /// Puts a message of a handler into the inbox, if there is room for such.
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

    /// Puts what `order` makes of `value` into the inbox, or gives `value` back.
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

    /// Waits for room for publishers, if there is none and `wait` says so.
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
                // This may be the thread that is to run the loop.
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

    /// Puts a message behind the others. Returns whether the loop has to be woken.
    fn add(mut queue: MutexGuard<'_, Queue<W>>, message: Order<W>) -> bool {
        queue.count(&message);
        queue.messages.push_back(message);
        // The loop empties the inbox before it sleeps, so only the first message has to wake it.
        queue.messages.len() == 1
    }

    pub(crate) fn wake(&self) {
        self.shared.waker.wake_by_ref();
    }

    /// As [`put_at_once`](Self::put_at_once), for one that is put into several inboxes. Returns whether the
    /// loop is to be [woken](Self::wake), or nothing where it has stopped.
    pub(crate) fn add_at_once(&self, message: Order<W>) -> Option<bool> {
        let queue = self.lock();
        if queue.stopped {
            drop(queue);
            return None;
        }
        Some(Self::add(queue, message))
    }

    /// Whether it holds less than so many times what publishers have room for.
    pub(crate) fn has_room(&self, times: usize) -> bool {
        let queue = self.lock();
        queue.stopped || !queue.holds(&self.shared, times)
    }

    /// Whether the loop takes messages, or will.
    pub(crate) fn runs(&self) -> bool {
        !self.lock().stopped
    }

    /// Whether something waits that a handler has published.
    pub(crate) fn has_of_handlers(&self) -> bool {
        self.lock().of_handlers > 0
    }

    /// How many events are to be published before the first for which `is` holds.
    pub(crate) fn find_publication(&self, is: impl Fn(&Publication) -> bool) -> Option<usize> {
        let queue = self.lock();
        let mut publications = queue.messages.iter().filter_map(|order| match order {
            Order::Publish(publication) => Some(&**publication),
            _ => None,
        });
        publications.position(is)
    }

    /// How many messages wait, and how often there was no room.
    pub(crate) fn counts(&self) -> (u64, u64) {
        let queue = self.lock();
        (queue.messages.len() as u64, queue.full)
    }

    /// The memory of the messages that wait.
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

    /// Takes the messages that are `wanted`, though others are before them.
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

    /// Takes back messages that cannot be followed yet. They come first again.
    pub(crate) fn put_back(&self, messages: impl DoubleEndedIterator<Item = Order<W>>) {
        let mut queue = self.lock();
        for message in messages.rev() {
            queue.count(&message);
            queue.messages.push_front(message);
        }
    }

    /// From now on nothing is taken any more: publishers that wait are told. Returns what is in the inbox.
    pub(crate) fn stop(&self) -> impl Iterator<Item = Order<W>> + use<W> {
        let mut queue = self.lock();
        queue.stopped = true;
        let dropped = std::mem::take(&mut queue.messages);
        (queue.bytes, queue.of_handlers) = (0, 0);
        drop(queue);
        self.shared.room.notify_all();
        // Closures may do anything when they are dropped, also publish: the lock is free by now.
        dropped.into_iter()
    }

    /// No code of the application runs under the lock, so it cannot be left in a bad state.
    fn lock(&self) -> MutexGuard<'_, Queue<W>> {
        self.shared.queue.lock().unwrap_or_else(PoisonError::into_inner)
    }
}
