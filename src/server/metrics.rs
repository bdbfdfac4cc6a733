//! The text that Prometheus reads.

use super::stats::Stats;
use crate::stream::{CloseReason, Refusal};
use std::fmt::{Display, Write as _};

impl Stats {
    /// The content type of [`prometheus`](Self::prometheus).
    pub const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// All counters and gauges in Prometheus' text format, some 6 KB.
    ///
    /// Names begin with `mio_sse_`; times are in seconds, sizes in bytes; reasons are labels.
    ///
    /// ```
    /// # use mio_sse::{Reply, Router, Stats};
    /// let mut app = Router::new();
    /// app.get("/metrics", |_request, cx| {
    ///     Reply::bytes(Stats::PROMETHEUS, cx.stats().prometheus().into_bytes())
    /// });
    /// ```
    #[must_use]
    pub fn prometheus(&self) -> String {
        let mut text = Text(String::with_capacity(8 << 10));
        text.gauge("connections", "Connections now, with or without a stream.", self.connections);
        text.gauge("streams", "Open streams now.", self.streams);
        text.gauge("streams_behind", "Streams that were not given everything yet.", self.streams_behind);
        text.gauge("topics", "Topics that have a subscriber or keep something.", self.topics);
        text.gauge("tags", "Tags that a stream has.", self.tags);
        text.gauge("tags_revoked", "Tags that are revoked.", self.tags_revoked);
        text.gauge("log_bytes", "Bytes of events in all logs.", self.log_bytes);
        text.gauge("timers", "Timers that are set.", self.timers);
        text.gauge("inbox_messages", "Messages from publishers that wait for the loop.", self.inbox);

        text.counter("connections_accepted", "Connections accepted.", self.accepted);
        text.counter("accept_errors", "Times that accepting failed.", self.accept_errors);
        let closed = CloseReason::ALL.map(|reason| (reason.name(), self.connections_closed(reason)));
        text.counters("connections_closed", "Connections closed.", "reason", closed);
        let refused = Refusal::ALL.map(|refusal| (refusal.name(), self.refused(refusal)));
        text.counters("refused", "Connections and streams refused.", "reason", refused);
        text.counter("requests", "Requests that the handler was asked about.", self.requests);
        text.counter("requests_rejected", "Requests refused before the handler was asked.", self.rejected);
        text.counter("streams_opened", "Streams opened.", self.streams_opened);
        let closed = CloseReason::ALL.map(|reason| (reason.name(), self.closed(reason)));
        text.counters("streams_closed", "Streams closed.", "reason", closed);
        text.counter("events_published", "Events published to topics.", self.events_published);
        text.counter("events_sent", "Events sent to one stream.", self.events_sent);
        text.counter("events_delivered", "Events delivered, once for each stream.", self.events_delivered);
        text.counter("gaps", "Times that a stream had missed something.", self.gaps);
        text.counter("heartbeats", "Heartbeats delivered.", self.heartbeats);
        text.counter("written_bytes", "Bytes handed to the kernel.", self.bytes_written);
        text.counter("inbox_full", "Times that a publisher found the inbox full.", self.inbox_full);
        text.counter("panics", "Callbacks that panicked.", self.panics);
        text.counter("slow_turns", "Turns of the loop that took too long.", self.slow_turns);
        text.turns(self);
        text.gauge("turn_seconds_max", "The longest turn of the loop.", self.turn_time_max.as_secs_f64());
        text.0
    }
}

struct Text(String);

impl Text {
    fn head(&mut self, name: &str, kind: &str, help: &str) {
        self.0.push_str(&format!("# HELP mio_sse_{name} {help}\n# TYPE mio_sse_{name} {kind}\n"));
    }

    fn line(&mut self, name: &str, value: impl Display) {
        // Writing to a string does not fail.
        let _ = writeln!(self.0, "mio_sse_{name} {value}");
    }

    fn gauge(&mut self, name: &str, help: &str, value: impl Display) {
        self.head(name, "gauge", help);
        self.line(name, value);
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        let name = format!("{name}_total");
        self.head(&name, "counter", help);
        self.line(&name, value);
    }

    fn counters<const N: usize>(&mut self, name: &str, help: &str, label: &str, values: [(&str, u64); N]) {
        let name = format!("{name}_total");
        self.head(&name, "counter", help);
        for (of, value) in values {
            self.line(&format!("{name}{{{label}=\"{of}\"}}"), value);
        }
    }

    fn turns(&mut self, stats: &Stats) {
        self.head("turn_seconds", "histogram", "Time that turns of the loop took, without the wait.");
        let mut count = 0;
        for (bound, turns) in Stats::TURN_TIMES.iter().zip(stats.turn_times) {
            count += turns;
            self.line(&format!("turn_seconds_bucket{{le=\"{}\"}}", bound.as_secs_f64()), count);
        }
        let count: u64 = stats.turn_times.iter().sum();
        self.line("turn_seconds_bucket{le=\"+Inf\"}", count);
        self.line("turn_seconds_sum", stats.turn_time.as_secs_f64());
        self.line("turn_seconds_count", count);
    }
}
