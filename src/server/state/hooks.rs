//! What belongs to a stream beside its record.

use crate::server::state::feed::Feed;
use crate::server::state::timers::TimerId;
use std::any::Any;

/// What belongs to a stream and is the server's business: most streams have none.
pub(crate) struct Hooks<C> {
    pub(crate) timers: Vec<TimerId>,
    pub(crate) on_close: Vec<C>,
    pub(crate) feed: Option<Feed>,
    /// What the application keeps for it.
    pub(crate) state: Option<Box<dyn Any + Send>>,
}

impl<C> Default for Hooks<C> {
    fn default() -> Self {
        Self { timers: Vec::new(), on_close: Vec::new(), feed: None, state: None }
    }
}

impl<C> Hooks<C> {
    pub(crate) fn is_empty(&self) -> bool {
        self.timers.is_empty() && self.on_close.is_empty() && self.feed.is_none() && self.state.is_none()
    }
}
