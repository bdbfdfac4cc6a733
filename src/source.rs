//! Pull instead of push: [`Source`].

use crate::event::Event;
use std::fmt;
use std::time::Duration;

/// Produces the events of a stream, one by one, when the stream has room: an iterator in [`Events`], or a
/// closure that returns a [`Pull`].
///
/// [`StreamReply::source`](crate::StreamReply::source) or [`Context::set_source`](crate::Context::set_source)
/// gives a stream its source. The server asks it for the next event only after the client's connection has
/// taken everything before, so it produces as fast as the client reads, and nothing waits in memory. When the
/// stream ends for any reason, the source is dropped at the end of that turn: clean up in its `Drop`. When
/// the source ends, the stream is closed cleanly.
///
/// The loop calls it between other streams, so it must not block. To wait for time, return [`Pull::Wait`]. To
/// wait for other threads, use [`Context::channel`](crate::Context::channel), which is made of [`Pull::Idle`]
/// and [`Publisher::wake`](crate::Publisher::wake). A source that panics ends its stream with
/// [`CloseReason::Panicked`](crate::CloseReason::Panicked).
///
/// An event that cannot be written ([`EventError`](crate::EventError)) is dropped: the stream goes on with
/// the next one. The server logs a warning, at most one a minute for all its sources. After 64 such events in
/// a row it pauses the source: for 1 ms, then for twice as long each time, up to 1 s.
/// [Waking](crate::Context::wake) the source ends the pause. A valid event resets the pauses.
///
/// ```
/// use mio_sse::{Event, Pull, Reply, Router};
/// use std::time::Duration;
///
/// let mut app = Router::new();
/// app.get("/load", |_request, _cx| {
///     let mut pause = false;
///     Reply::stream().source(move || {
///         pause = !pause;
///         match std::fs::read_to_string("/proc/loadavg") {
///             _ if !pause => Pull::Wait(Duration::from_secs(1)),
///             Ok(load) => Pull::Event(Event::new().data(load)),
///             Err(_) => Pull::End,
///         }
///     })
/// });
/// ```
///
/// # Cost
/// Currently some 130 bytes while the stream is open, besides the source itself.
pub trait Source: Send + 'static {
    /// The next event, or why there is none.
    fn pull(&mut self) -> Pull;

    /// The server has begun to [drain](crate::Context::drain): the stream will be closed at some moment of
    /// the window. The source is asked once more after this, even if it waits or is idle, so it may return a
    /// last event, or end.
    fn draining(&mut self) {}
}

impl fmt::Debug for dyn Source {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Source")
    }
}

impl<F: FnMut() -> Pull + Send + 'static> Source for F {
    fn pull(&mut self) -> Pull {
        self()
    }
}

/// What a [`Source`] returns.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pull {
    /// The next event. The source is asked again as soon as there is room. An event that cannot be written is
    /// dropped, see [`Source`].
    Event(Event<'static>),
    /// Nothing for this time, at least a millisecond; then the source is asked again. Waits in a row keep a
    /// steady rate: each is measured from the end of the last, unless the client reads too slowly for that.
    Wait(Duration),
    /// Nothing until [`Context::wake`](crate::Context::wake) or [`Publisher::wake`](crate::Publisher::wake).
    Idle,
    /// Nothing ever again: the stream is closed, as by [`Context::close`](crate::Context::close).
    End,
    /// Nothing ever again, because the source has failed. The stream is closed as by [`End`](Self::End). If
    /// the source was to bring missed events [later](crate::Missed::Later), the client gets a `gap` event
    /// instead.
    Failed,
}

/// A [`Source`] of the items of an iterator, at once or at a steady rate.
///
/// ```
/// use mio_sse::{Events, Reply, Router};
/// use std::time::Duration;
///
/// let mut app = Router::new();
/// app.get("/countdown", |_request, _cx| {
///     let numbers = (0..=10).rev().map(|number| number.to_string());
///     Reply::stream().source(Events::new(numbers).every(Duration::from_secs(1)))
/// });
/// ```
#[derive(Debug, Clone)]
pub struct Events<I> {
    iterator: I,
    period: Option<Duration>,
    /// Whether to wait for a period before the next event.
    pause: bool,
}

impl<I: Iterator<Item: Into<Event<'static>>>> Events<I> {
    /// All of `events`, as fast as the client takes them: [`Event`]s, or text as the data of one event each.
    pub fn new(events: impl IntoIterator<IntoIter = I>) -> Self {
        Self { iterator: events.into_iter(), period: None, pause: false }
    }

    /// One event every `period`: the first at once, and the stream closes one period after the last.
    #[must_use]
    pub fn every(self, period: Duration) -> Self {
        Self { period: Some(period), ..self }
    }
}

impl<I: Iterator<Item: Into<Event<'static>>> + Send + 'static> Source for Events<I> {
    fn pull(&mut self) -> Pull {
        if let Some(period) = self.period.filter(|_| self.pause) {
            self.pause = false;
            return Pull::Wait(period);
        }
        self.pause = true;
        self.iterator.next().map_or(Pull::End, |event| Pull::Event(event.into()))
    }
}
