//! A stream that another thread writes: a bounded channel whose reading end is a source.

use crate::conn::id::StreamId;
use crate::error::Error;
use crate::event::Event;
use crate::server::state::core::Work;
use crate::server::state::inbox::Inbox;
use crate::source::{Pull, Source};
use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, TryRecvError, TrySendError, sync_channel};

/// Writes one stream from any thread, as fast as its client reads: what [`Context::channel`](crate::Context::channel) answers.
///
/// When all clones of it are dropped, the stream ends, cleanly, behind what they have sent. When the stream has ended before that, as its
/// client has left, [`send`](Self::send) says so.
#[derive(Clone)]
pub struct EventSender {
    /// There until it is dropped.
    events: Option<SyncSender<Event>>,
    /// Whether the source has found nothing, and has to be woken.
    idle: Arc<AtomicBool>,
    inbox: Inbox<Work>,
    stream: StreamId,
}

impl fmt::Debug for EventSender {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("EventSender").field("stream", &self.stream).finish_non_exhaustive()
    }
}

impl EventSender {
    /// Sends an event. Waits while as many are ahead as the channel holds, and the client does not take them.
    ///
    /// # Errors
    /// [`Error::Closed`] when the stream has ended: nobody will read any more, and there is no need to go on. [`Error::Full`] on the
    /// loop's own thread, where waiting would be for ever.
    pub fn send(&self, event: Event) -> Result<(), Error> {
        if self.inbox.is_of_this_thread() {
            return self.try_send(event);
        }
        self.events.as_ref().and_then(|events| events.send(event).ok()).ok_or(Error::Closed)?;
        self.wake();
        Ok(())
    }

    /// Sends an event, if there is room for it.
    ///
    /// # Errors
    /// [`Error::Full`]; [`Error::Closed`] as for [`send`](Self::send).
    pub fn try_send(&self, event: Event) -> Result<(), Error> {
        let events = self.events.as_ref().ok_or(Error::Closed)?;
        events.try_send(event).map_err(|error| match error {
            TrySendError::Full(_) => Error::Full,
            TrySendError::Disconnected(_) => Error::Closed,
        })?;
        self.wake();
        Ok(())
    }

    /// The stream that it writes.
    #[must_use]
    pub fn stream(&self) -> StreamId {
        self.stream
    }

    fn wake(&self) {
        // Once for each time that the source has found nothing. So wakes cannot fill the inbox, and need not wait for room in it.
        if self.idle.swap(false, Ordering::SeqCst) {
            self.inbox.wake_at_once(self.stream);
        }
    }
}

impl Drop for EventSender {
    fn drop(&mut self) {
        // The source sees that it is gone only when it is.
        drop(self.events.take());
        self.wake();
    }
}

/// The reading end.
struct Channel {
    events: Receiver<Event>,
    idle: Arc<AtomicBool>,
}

impl Channel {
    fn take(&self) -> Pull {
        match self.events.try_recv() {
            Ok(event) => Pull::Event(event),
            Err(TryRecvError::Empty) => Pull::Idle,
            Err(TryRecvError::Disconnected) => Pull::End,
        }
    }
}

impl Source for Channel {
    fn pull(&mut self) -> Pull {
        match self.take() {
            Pull::Idle => {
                self.idle.store(true, Ordering::SeqCst);
                // Something may have come in between, and not have woken anybody.
                self.take()
            }
            pull => pull,
        }
    }
}

/// A channel for `ahead` events that the client has not taken yet, at least one.
pub(crate) fn channel(stream: StreamId, ahead: usize, inbox: Inbox<Work>) -> (EventSender, impl Source) {
    let (sender, events) = sync_channel(ahead.max(1));
    let idle = Arc::new(AtomicBool::new(false));
    let source = Channel { events, idle: idle.clone() };
    (EventSender { events: Some(sender), idle, inbox, stream }, source)
}
