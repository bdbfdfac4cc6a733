//! What the server counts.

use crate::stream::CloseReason;

/// A snapshot of the server's counters, all since it was built, and gauges, all of this moment.
///
/// Cost: a copy of some 200 bytes. `streams_opened - streams_closed() == streams` holds in every snapshot.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Gauge: connections now, with or without a stream.
    pub connections: u64,
    /// Gauge: open streams now.
    pub streams: u64,
    /// Gauge: topics that have a subscriber.
    pub topics: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Times that accepting failed, for example for want of descriptors.
    pub accept_errors: u64,
    /// Requests that the handler was asked about.
    pub requests: u64,
    /// Requests that were refused before the handler was asked: malformed ones and those over a limit.
    pub rejected: u64,
    /// Connections closed because a request did not arrive, or not follow, in time, or its whole reply was not taken.
    pub timed_out: u64,
    /// Streams opened.
    pub streams_opened: u64,
    /// Streams closed, by reason, in the order of [`CloseReason::ALL`].
    closed: [u64; CloseReason::ALL.len()],
    /// Events published to topics.
    pub events_published: u64,
    /// Events sent to one stream.
    pub events_sent: u64,
    /// Events handed to the kernel completely, once for each stream that got them.
    pub events_delivered: u64,
    /// Heartbeats handed to the kernel.
    pub heartbeats: u64,
    /// Bytes handed to the kernel, heads and bodies of all responses included.
    pub bytes_written: u64,
    /// Turns of the loop.
    pub turns: u64,
}

impl Stats {
    /// Streams closed for this reason.
    #[must_use]
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize]
    }

    /// Streams closed, for whatever reason.
    #[must_use]
    pub fn streams_closed(&self) -> u64 {
        self.closed.iter().sum()
    }

    pub(crate) fn count_closed(&mut self, reason: CloseReason) {
        self.closed[reason as usize] += 1;
    }
}
