//! Counters of a hub.

use mio_sse::Position;
use std::fmt::Write;

/// A snapshot of the counters since the hub was made, and of its present state.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubStats {
    /// Gauge: whether the stream is being read. If not, the streams of clients stay open and get local
    /// events.
    pub is_connected: bool,
    /// Gauge: the newest position that this node has read or written.
    pub newest: Position,
    /// Gauge: events that wait to be written.
    pub waiting: u64,
    /// Entries read.
    pub entries_read: u64,
    /// Entries read that were written twice, because a reply of Redis was lost.
    pub duplicates: u64,
    /// Entries read that are not events.
    pub malformed: u64,
    /// Times that the stream was found to have lost entries, by this node or another.
    pub gaps: u64,
    /// Times that the reader's connection was lost, or could not be made.
    pub disconnects: u64,
    /// Events that Redis has stored for this node.
    pub published: u64,
    /// Events that Redis has refused, or has not confirmed in time.
    pub publish_failed: u64,
}

impl HubStats {
    /// All of it in the text format of Prometheus, to be appended to
    /// [`Stats::prometheus`](mio_sse::Stats::prometheus).
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut text = String::new();
        let gauges = [
            ("connected", "Whether the stream is being read.", u64::from(self.is_connected)),
            ("waiting", "Events that wait to be written.", self.waiting),
            ("newest_ms", "The time of the newest entry, in milliseconds since 1970.", self.newest.ms()),
        ];
        let counters = [
            ("entries_read", "Entries read.", self.entries_read),
            ("duplicates", "Entries that were written twice.", self.duplicates),
            ("malformed", "Entries that are not events.", self.malformed),
            ("gaps", "Times that the stream had lost entries.", self.gaps),
            ("disconnects", "Times that the connection was lost, or could not be made.", self.disconnects),
            ("published", "Events that Redis has stored.", self.published),
            (
                "publish_failed",
                "Events that Redis has refused, or not confirmed in time.",
                self.publish_failed,
            ),
        ];
        for (name, help, value) in gauges {
            // Writing to a string cannot fail.
            let _ = write!(
                text,
                "# HELP mio_sse_redis_{name} {help}\n# TYPE mio_sse_redis_{name} gauge\nmio_sse_redis_{name} {value}\n"
            );
        }
        for (name, help, value) in counters {
            let _ = write!(
                text,
                "# HELP mio_sse_redis_{name}_total {help}\n# TYPE mio_sse_redis_{name}_total counter\nmio_sse_redis_{name}_total {value}\n"
            );
        }
        text
    }
}
