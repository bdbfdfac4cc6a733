//! The counters of a server.

use crate::conn::close_reason::CloseReason;
use crate::conn::refusal::Refusal;
use crate::server::api::memory::Memory;
use crate::server::api::work::Work;
use std::time::Duration;

/// A snapshot of the server's counters, which count since it was built, and gauges, which show this moment.
/// The guide [Deployment](crate::guide::deployment) says which to watch.
///
/// In every snapshot `accepted` is the sum of `connections` and all of `connections_closed`, and
/// `streams_opened` the sum of `streams` and all of `closed`. A snapshot currently costs a copy of some 1,000
/// bytes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Stats {
    /// Gauge: connections now, with or without a stream.
    pub connections: u64,
    /// Gauge: open streams now.
    pub streams: u64,
    /// Gauge: streams for which events wait. Many of them, or a few for a long time, are slow clients.
    pub streams_behind: u64,
    /// Gauge: topics that have a subscriber or retain events.
    pub topics: u64,
    /// Gauge: tags that at least one stream has.
    pub tags: u64,
    /// Gauge: tags that are [revoked](crate::Context::revoke), including those whose time has been over for
    /// at most a second.
    pub tags_revoked: u64,
    /// Gauge: bytes of events in all logs: events that topics retain, and events that wait for slow streams.
    pub log_bytes: u64,
    /// Gauge: memory held for others, by kind. [`log_bytes`](Self::log_bytes) counts the bytes of events,
    /// this the memory that they take.
    pub memory: Memory,
    /// Gauge: [`Config::memory_max`](crate::Config::memory_max).
    pub memory_max: u64,
    /// Gauge: the reaction to memory pressure: 0 none, 1 publishers wait, 2 streams that lag are closed, 3
    /// histories shorten, 4 nothing more can be freed, 5 requests are refused.
    pub memory_pressure: u64,
    /// Gauge: requests that wait for a [later](crate::Context::later) reply.
    pub late_replies: u64,
    /// Gauge: timers that are set.
    pub timers: u64,
    /// Gauge: messages from publishers that wait for the loop.
    pub inbox: u64,
    /// Connections accepted.
    pub accepted: u64,
    /// Failures to accept a connection, for example for lack of descriptors, or to adopt one that another
    /// server had accepted.
    pub accept_errors: u64,
    /// Connections and streams refused, in the order of [`Refusal::ALL`].
    refused: [u64; Refusal::ALL.len()],
    /// Connections closed, by reason, in the order of [`CloseReason::ALL`].
    connections_closed: [u64; CloseReason::ALL.len()],
    /// Requests passed to the handler.
    pub requests: u64,
    /// Requests rejected before the handler was called: malformed ones, those over a limit, and those for
    /// another [host](crate::Config::hosts).
    pub rejected: u64,
    /// Streams opened.
    pub streams_opened: u64,
    /// Streams closed, by reason, in the order of [`CloseReason::ALL`].
    closed: [u64; CloseReason::ALL.len()],
    /// Events published to topics.
    pub events_published: u64,
    /// Events sent to single streams. An event sent to a tag counts once for each stream with the tag.
    pub events_sent: u64,
    /// Events passed to the kernel completely, once for each stream.
    pub events_delivered: u64,
    /// Times that a stream missed events, with a [gap event](crate::Config::gap_event) or, if that is off,
    /// without.
    pub gaps: u64,
    /// Heartbeats passed to the kernel.
    pub heartbeats: u64,
    /// Bytes passed to the kernel, including heads and bodies of all responses.
    pub bytes_written: u64,
    /// Times that a publisher found the inbox full: it waited, or got [`Error::Full`](crate::Error::Full).
    pub inbox_full: u64,
    /// Streams and connections closed to free memory, whatever their reason says.
    pub memory_cut: u64,
    /// Bytes of events that histories have dropped early to free memory.
    pub memory_shortened: u64,
    /// Callbacks that panicked.
    pub panics: u64,
    /// The work of all turns together, by kind.
    pub work: Work,
    /// The most work of one turn, by kind. Each kind has a bound.
    pub work_max: Work,
    /// Turns of the loop.
    pub turns: u64,
    /// Turns that took longer than [`Config::slow_turn`](crate::Config::slow_turn).
    pub slow_turns: u64,
    /// The time that all turns took together, from the end of the wait to the end of the turn.
    pub turn_time: Duration,
    /// The longest turn.
    pub turn_time_max: Duration,
    /// See the method of this name.
    pub(crate) turn_times: [u64; Self::TURN_TIMES.len() + 1],
}

impl Stats {
    /// The bounds of [`turn_times`](Self::turn_times).
    pub const TURN_TIMES: &'static [Duration] = &[
        Duration::from_micros(100),
        Duration::from_millis(1),
        Duration::from_millis(5),
        Duration::from_millis(10),
        Duration::from_millis(50),
        Duration::from_millis(100),
        Duration::from_millis(500),
        Duration::from_secs(1),
    ];

    /// Turns by duration: for each of [`TURN_TIMES`](Self::TURN_TIMES), the number of turns that took at most
    /// this time and longer than the bound before. The last number counts turns longer than all bounds.
    #[must_use]
    pub fn turn_times(&self) -> &[u64] {
        &self.turn_times
    }

    /// Streams closed for this reason.
    #[must_use]
    pub fn closed(&self, reason: CloseReason) -> u64 {
        self.closed[reason as usize]
    }

    /// Streams closed, for all reasons together.
    #[must_use]
    pub fn streams_closed(&self) -> u64 {
        self.closed.iter().sum()
    }

    /// Connections closed for this reason. A connection that was kept for further requests after its stream
    /// had closed has a reason of its own.
    #[must_use]
    pub fn connections_closed(&self, reason: CloseReason) -> u64 {
        self.connections_closed[reason as usize]
    }

    /// Connections and streams refused for this reason. A refused connection may still get the reply to one
    /// request. A stream refused there is not counted again.
    #[must_use]
    pub fn refused(&self, refusal: Refusal) -> u64 {
        self.refused[refusal as usize]
    }

    /// Connections closed, for all reasons together. Their slots and descriptors are freed at the end of the
    /// turn.
    pub(crate) fn all_connections_closed(&self) -> u64 {
        self.connections_closed.iter().sum()
    }

    /// Adds the counters of another loop of the same `Shards`. All loops publish the same events.
    pub(crate) fn add(&mut self, other: &Self) {
        self.connections += other.connections;
        self.streams += other.streams;
        self.streams_behind += other.streams_behind;
        self.topics = self.topics.max(other.topics);
        self.tags += other.tags;
        self.tags_revoked = self.tags_revoked.max(other.tags_revoked);
        self.log_bytes += other.log_bytes;
        self.memory.add(&other.memory);
        self.memory_max += other.memory_max;
        self.memory_pressure = self.memory_pressure.max(other.memory_pressure);
        self.late_replies += other.late_replies;
        self.timers += other.timers;
        self.inbox += other.inbox;
        self.accepted += other.accepted;
        self.accept_errors += other.accept_errors;
        add_each(&mut self.refused, &other.refused);
        add_each(&mut self.connections_closed, &other.connections_closed);
        self.requests += other.requests;
        self.rejected += other.rejected;
        self.streams_opened += other.streams_opened;
        add_each(&mut self.closed, &other.closed);
        self.events_published = self.events_published.max(other.events_published);
        self.events_sent += other.events_sent;
        self.events_delivered += other.events_delivered;
        self.gaps += other.gaps;
        self.heartbeats += other.heartbeats;
        self.bytes_written += other.bytes_written;
        self.inbox_full += other.inbox_full;
        self.memory_cut += other.memory_cut;
        self.memory_shortened += other.memory_shortened;
        self.panics += other.panics;
        self.work += &other.work;
        self.work_max = self.work_max.max(&other.work_max);
        self.turns += other.turns;
        self.slow_turns += other.slow_turns;
        self.turn_time += other.turn_time;
        self.turn_time_max = self.turn_time_max.max(other.turn_time_max);
        add_each(&mut self.turn_times, &other.turn_times);
    }

    pub(crate) fn count_closed(&mut self, reason: CloseReason) {
        self.closed[reason as usize] += 1;
    }

    pub(crate) fn count_connection_closed(&mut self, reason: CloseReason) {
        self.connections_closed[reason as usize] += 1;
    }

    pub(crate) fn count_refused(&mut self, refusal: Refusal) {
        self.refused[refusal as usize] += 1;
    }

    pub(crate) fn count_turn(&mut self, time: Duration, work: &Work) {
        self.work += work;
        self.work_max = self.work_max.max(work);
        self.turn_time += time;
        self.turn_time_max = self.turn_time_max.max(time);
        let class = Self::TURN_TIMES.iter().position(|bound| time <= *bound);
        self.turn_times[class.unwrap_or(Self::TURN_TIMES.len())] += 1;
    }
}

fn add_each(sums: &mut [u64], others: &[u64]) {
    sums.iter_mut().zip(others).for_each(|(sum, other)| *sum += other);
}
