//! How far the sweep has come.

use crate::server::state::beats::Beats;
use crate::server::state::core::Core;
use std::time::Duration;

/// Where the sweep stands between two of its slices, and what it gives to those it visits.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// The slot to look at next.
    pub(crate) next: u32,
    /// When the next slice is due; `None` while there is nothing to look at.
    pub(crate) due: Option<Duration>,
    /// When the last turn was.
    pub(crate) turned: Duration,
    pub(crate) beats: Beats,
}

impl Sweep {
    pub(crate) fn next_due(&self, core: &Core) -> Option<Duration> {
        let idle = core.delivery.slots.len() == 0 && !core.delivery.topics.is_aging();
        if idle { None } else { Some(self.due.unwrap_or(core.now)) }
    }
}
