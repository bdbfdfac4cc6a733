//! The state of the sweep.

use crate::server::state::beats::Beats;
use crate::server::state::core::Core;
use std::time::Duration;

/// The position of the sweep between two slices, and the heartbeats that it writes.
#[derive(Debug, Default)]
pub(crate) struct Sweep {
    /// The slot to visit next.
    pub(crate) next: u32,
    /// When the next slice is due; `None` while there is nothing to visit.
    pub(crate) due: Option<Duration>,
    /// The time of the last turn.
    pub(crate) turned: Duration,
    pub(crate) beats: Beats,
}

impl Sweep {
    pub(crate) fn next_due(&self, core: &Core) -> Option<Duration> {
        let idle = core.delivery.slots.len() == 0 && !core.delivery.topics.is_aging();
        if idle { None } else { Some(self.due.unwrap_or(core.now)) }
    }
}
