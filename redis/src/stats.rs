//! What a hub has counted.

use mio_sse::Position;
use std::fmt::Write;

/// A snapshot of what a hub has counted since it was made, and how it stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubStats {
    /// Gauge: whether the stream is being read. Where it is not, streams of clients stay open and get what is
    /// local.
    pub is_connected: bool,
    /// Gauge: the newest position that was read or written here.
    pub newest: Position,
    /// Gauge: events that wait to be written.
    pub waiting: u64,
    /// Entries read.
    pub entries_read: u64,
    /// Entries of them that were there before: an answer of Redis was lost, and the event was written again.
    pub duplicates: u64,
    /// Entries of them that are no event.
    pub malformed: u64,
    /// How often the stream was found to have lost something, here or by another node.
    pub gaps: u64,
    /// How often the connection that reads was lost, or could not be made.
    pub disconnects: u64,
    /// Events that Redis has taken from here.
    pub published: u64,
    /// Events that it has refused, or not taken in time as far as is known.
    pub publish_failed: u64,
}

impl HubStats {
    /// The same in the text format of Prometheus, to stand behind
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
            ("duplicates", "Entries that were there before.", self.duplicates),
            ("malformed", "Entries that are no event.", self.malformed),
            ("gaps", "Times that the stream had lost something.", self.gaps),
            ("disconnects", "Times that the connection was lost, or could not be made.", self.disconnects),
            ("published", "Events that Redis has taken.", self.published),
            ("publish_failed", "Events that Redis has not taken.", self.publish_failed),
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
