//! The source of a stream and its state.

use crate::server::state::timers::TimerId;
use crate::source::Source;
use std::time::Duration;

/// The source of one stream.
pub(crate) struct Feed {
    /// `None` while the source is being asked.
    pub(super) source: Option<Box<dyn Source>>,
    pub(super) state: FeedState,
    /// When the last wait should have ended, to keep a steady rate.
    pub(super) beat: Option<Duration>,
    /// Visits since the last valid event.
    pub(super) fruitless: u32,
    /// Set while the source brings events that the client has missed.
    pub(super) making_up: Option<MakingUp>,
}

/// The state of a source that brings missed events.
pub(super) struct MakingUp {
    /// The timer that ends it with a gap.
    pub(super) deadline: TimerId,
    /// The stream's source after that.
    pub(super) then: Option<Box<dyn Source>>,
}

impl Feed {
    pub(crate) fn into_sources(self) -> impl Iterator<Item = Box<dyn Source>> {
        self.source.into_iter().chain(self.making_up.and_then(|making_up| making_up.then))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FeedState {
    /// Queued in `Core::ready_sources`.
    Ready,
    /// Waits until the stream has received everything, or was at least served: `Core::feed_again` makes the
    /// source ready again. So does the opening of the stream.
    Full,
    Waiting(TimerId),
    Idle,
}
