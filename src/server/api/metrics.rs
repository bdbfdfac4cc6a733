//! The counters as text for Prometheus and as JSON.

use crate::conn::close_reason::CloseReason;
use crate::conn::refusal::Refusal;
use crate::server::api::stats::Stats;
use std::fmt::{Display, Write as _};

impl Stats {
    /// The content type of [`prometheus`](Self::prometheus).
    pub const PROMETHEUS: &str = "text/plain; version=0.0.4; charset=utf-8";

    /// All counters and gauges in Prometheus' text format, some 9 KB.
    ///
    /// Names begin with `mio_sse_`. Times are in seconds, sizes in bytes. Reasons are labels.
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
        text.gauge("streams_behind", "Streams for which events wait.", self.streams_behind);
        text.gauge("topics", "Topics that have a subscriber or retain events.", self.topics);
        text.gauge("tags", "Tags that at least one stream has.", self.tags);
        text.gauge("tags_revoked", "Tags that are revoked.", self.tags_revoked);
        text.gauge("log_bytes", "Bytes of events in all logs.", self.log_bytes);
        text.gauges("memory_bytes", "Memory held for others.", "kind", self.memory.by_name());
        text.gauge("memory_max_bytes", "The limit of memory held for others.", self.memory_max);
        text.gauge(
            "memory_pressure",
            "Reaction to memory pressure, from 0 (none) to 5.",
            self.memory_pressure,
        );
        text.gauge("late_replies", "Requests that wait for a later reply.", self.late_replies);
        text.gauge("timers", "Timers that are set.", self.timers);
        text.gauge("inbox_messages", "Messages from publishers that wait for the loop.", self.inbox);

        text.counter("connections_accepted", "Connections accepted.", self.accepted);
        text.counter("accept_errors", "Failures to accept a connection.", self.accept_errors);
        let closed = CloseReason::ALL.iter().map(|&reason| (reason.name(), self.connections_closed(reason)));
        text.counters("connections_closed", "Connections closed.", "reason", closed);
        let refused = Refusal::ALL.iter().map(|&refusal| (refusal.name(), self.refused(refusal)));
        text.counters("refused", "Connections and streams refused.", "reason", refused);
        text.counter("requests", "Requests passed to the handler.", self.requests);
        text.counter("requests_rejected", "Requests rejected before the handler.", self.rejected);
        text.counter("streams_opened", "Streams opened.", self.streams_opened);
        let closed = CloseReason::ALL.iter().map(|&reason| (reason.name(), self.closed(reason)));
        text.counters("streams_closed", "Streams closed.", "reason", closed);
        text.counter("events_published", "Events published to topics.", self.events_published);
        text.counter("events_sent", "Events sent to one stream.", self.events_sent);
        text.counter("events_delivered", "Events delivered, once for each stream.", self.events_delivered);
        text.counter("gaps", "Times that a stream missed events.", self.gaps);
        text.counter("heartbeats", "Heartbeats delivered.", self.heartbeats);
        text.counter("written_bytes", "Bytes passed to the kernel.", self.bytes_written);
        text.counter("inbox_full", "Times that a publisher found the inbox full.", self.inbox_full);
        text.counter("memory_cut", "Connections closed to free memory.", self.memory_cut);
        text.counter("memory_shortened_bytes", "Histories dropped to free memory.", self.memory_shortened);
        text.counters("work", "Work of all turns of the loop.", "kind", self.work.kinds());
        text.gauges("work_max", "The most work of one turn.", "kind", self.work_max.kinds());
        text.counter("panics", "Callbacks that panicked.", self.panics);
        text.counter("slow_turns", "Turns of the loop that took too long.", self.slow_turns);
        text.turns(self);
        text.gauge("turn_seconds_max", "The longest turn of the loop.", self.turn_time_max.as_secs_f64());
        text.0
    }
}

impl Stats {
    /// All counters and gauges as one JSON object, some 3 KB, on one line.
    ///
    /// The names are those of the fields and methods of `Stats`. A count by reason is an object, with the
    /// names of [`CloseReason`] and [`Refusal`]. Times are in seconds.
    ///
    /// ```
    /// # use mio_sse::{Reply, Router};
    /// let mut app = Router::new();
    /// app.get("/stats", |_request, cx| Reply::json_text(cx.stats().json()));
    /// ```
    #[must_use]
    pub fn json(&self) -> String {
        let mut json = String::with_capacity(4 << 10);
        for (name, count) in [
            ("connections", self.connections),
            ("streams", self.streams),
            ("streams_behind", self.streams_behind),
            ("topics", self.topics),
            ("tags", self.tags),
            ("tags_revoked", self.tags_revoked),
            ("log_bytes", self.log_bytes),
            ("memory_max", self.memory_max),
            ("memory_pressure", self.memory_pressure),
            ("memory_cut", self.memory_cut),
            ("memory_shortened", self.memory_shortened),
            ("late_replies", self.late_replies),
            ("timers", self.timers),
            ("inbox", self.inbox),
            ("accepted", self.accepted),
            ("accept_errors", self.accept_errors),
            ("requests", self.requests),
            ("rejected", self.rejected),
            ("streams_opened", self.streams_opened),
            ("streams_closed", self.streams_closed()),
            ("events_published", self.events_published),
            ("events_sent", self.events_sent),
            ("events_delivered", self.events_delivered),
            ("gaps", self.gaps),
            ("heartbeats", self.heartbeats),
            ("bytes_written", self.bytes_written),
            ("inbox_full", self.inbox_full),
            ("panics", self.panics),
            ("turns", self.turns),
            ("slow_turns", self.slow_turns),
        ] {
            // Writing to a string does not fail; no name needs an escape.
            let _ = write!(json, "{}\"{name}\":{count}", if json.is_empty() { '{' } else { ',' });
        }
        for (name, time) in [("turn_time", self.turn_time), ("turn_time_max", self.turn_time_max)] {
            let _ = write!(json, ",\"{name}\":{}", time.as_secs_f64());
        }
        let _ = write!(json, ",\"turn_times\":{:?}", self.turn_times);
        object(&mut json, "memory", self.memory.by_name());
        object(&mut json, "work", self.work.kinds());
        object(&mut json, "work_max", self.work_max.kinds());
        let closed = CloseReason::ALL.iter().map(|&reason| (reason.name(), self.closed(reason)));
        object(&mut json, "closed", closed);
        let closed = CloseReason::ALL.iter().map(|&reason| (reason.name(), self.connections_closed(reason)));
        object(&mut json, "connections_closed", closed);
        let refused = Refusal::ALL.iter().map(|&refusal| (refusal.name(), self.refused(refusal)));
        object(&mut json, "refused", refused);
        json.push('}');
        json
    }
}

fn object<'n>(json: &mut String, name: &str, counts: impl IntoIterator<Item = (&'n str, u64)>) {
    let counts: Vec<_> = counts.into_iter().map(|(reason, count)| format!("\"{reason}\":{count}")).collect();
    let _ = write!(json, ",\"{name}\":{{{}}}", counts.join(","));
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

    fn gauges<'n>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'n str, u64)>,
    ) {
        self.head(name, "gauge", help);
        for (of, value) in values {
            self.line(&format!("{name}{{{label}=\"{of}\"}}"), value);
        }
    }

    fn counter(&mut self, name: &str, help: &str, value: u64) {
        let name = format!("{name}_total");
        self.head(&name, "counter", help);
        self.line(&name, value);
    }

    fn counters<'n>(
        &mut self,
        name: &str,
        help: &str,
        label: &str,
        values: impl IntoIterator<Item = (&'n str, u64)>,
    ) {
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
