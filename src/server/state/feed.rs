//! The source of a stream, and whether it is to be asked.

use crate::server::state::timers::TimerId;
use crate::source::Source;
use std::time::Duration;

/// The source of one stream.
pub(crate) struct Feed {
    /// Taken out while it is asked.
    pub(super) source: Option<Box<dyn Source>>,
    pub(super) state: FeedState,
    /// When its last wait was over, by the beat.
    pub(super) beat: Option<Duration>,
    /// Visits since it last had an event that can be written.
    pub(super) fruitless: u32,
    /// It brings what a client has missed.
    pub(super) making_up: Option<MakingUp>,
}

/// A source that brings first what a client has missed.
pub(super) struct MakingUp {
    /// When that is given up.
    pub(super) deadline: TimerId,
    /// What is the stream's source after that.
    pub(super) then: Option<Box<dyn Source>>,
}

impl Feed {
    pub(crate) fn into_sources(self) -> impl Iterator<Item = Box<dyn Source>> {
        self.source.into_iter().chain(self.making_up.and_then(|making_up| making_up.then))
    }
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum FeedState {
    /// It stands in `Core::ready_sources`.
    Ready,
    /// The stream is still to be given something, or to be served at least: `Core::feed_again` makes it ready
    /// again. So does its opening.
    Full,
    Waiting(TimerId),
    Idle,
}
