//! Pull instead of push: [`Source`].

use crate::event::Event;
use std::fmt;
use std::time::Duration;

/// Where a stream gets its events from, one by one, whenever it has room: an iterator, by [`Events`], or a
/// closure that answers with a [`Pull`].
///
/// The stream is given one by [`StreamReply::source`](crate::StreamReply::source) or
/// [`Context::set_source`](crate::Context::set_source). It is asked for its next event only when everything
/// before has been taken by the client's connection, so it produces as fast as the client reads, and nothing
/// waits in memory. When the stream ends, whichever side ends it, the source is dropped at the end of that
/// turn: its `Drop` is its clean-up. When the source ends, so does the stream, cleanly.
///
/// It is asked in the loop, between other streams, so it must not wait for anything: for time there is
/// [`Pull::Wait`], for other threads [`Context::channel`](crate::Context::channel), which is made of
/// [`Pull::Idle`] and [`Publisher::wake`](crate::Publisher::wake). One that panics ends its stream with
/// [`CloseReason::Panicked`](crate::CloseReason::Panicked).
///
/// An event that cannot be written ([`EventError`](crate::EventError)) is left out: the stream goes on with
/// the next one. The server logs a warning, at most one a minute for all its sources. After 64 such events in
/// a row it pauses the source: for 1 ms, then for twice as long each time, up to 1 s.
/// [Waking](crate::Context::wake) the source ends the pause. After an event that can be written the pauses
/// are short again.
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
/// Some 130 bytes while the stream lives, besides the source itself.
pub trait Source: Send + 'static {
    /// The next event, or why there is none.
    fn pull(&mut self) -> Pull;

    /// The server has begun to [drain](crate::Context::drain): the stream will be closed at some moment of
    /// the window. The source is asked once more after this, also where it waits or is idle, so it may bring
    /// something for the end, or end.
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

/// What a [`Source`] answers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Pull {
    /// The next event. The source is asked again as soon as there is room. An event that cannot be written is
    /// left out, see [`Source`].
    Event(Event<'static>),
    /// Nothing for so long, at least a millisecond; then the source is asked again. One wait after the other
    /// is a steady beat: the time that passes between them is part of the next, unless the client reads too
    /// slowly for that.
    Wait(Duration),
    /// Nothing until [`Context::wake`](crate::Context::wake) or [`Publisher::wake`](crate::Publisher::wake).
    Idle,
    /// Nothing ever again: the stream is closed, as by [`Context::close`](crate::Context::close).
    End,
    /// Nothing ever again, though there was more to come. It is as [`End`](Self::End), but where the source
    /// is to make up [later](crate::Missed::Later) for what a client has missed: that is told of a gap then.
    Failed,
}

/// A [`Source`] of all that an iterator has, at once or in a steady beat.
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
    /// Whether the time between two events is still to pass.
    pause: bool,
}

impl<I: Iterator<Item: Into<Event<'static>>>> Events<I> {
    /// All of `events`, as fast as the client takes them: [`Event`]s, or text that is the data of one each.
    pub fn new(events: impl IntoIterator<IntoIter = I>) -> Self {
        Self { iterator: events.into_iter(), period: None, pause: false }
    }

    /// One event each `period`: the first at once, the end one period after the last.
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
