//! Memory held for others, by kind.

/// Bytes that the server holds for others at this moment, as requested from the allocator. Their sum exceeds
/// [`Config::memory_max`](crate::Config::memory_max) by at most one event or request.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// Logs: events that topics retain, events that wait for slow streams, and events sent to single streams,
    /// with their keys and ids.
    pub logs: usize,
    /// Bytes that go out to single streams before everything else: heads, rests of events that sockets have
    /// taken in part, missed events from a source.
    pub hands: usize,
    /// Incomplete requests, and input that clients send while their streams are open.
    pub input: usize,
    /// Rests of replies that sockets have not taken.
    pub replies: usize,
    /// Buffers of the network: TLS records on their way, and plain text that was not read yet.
    pub network: usize,
    /// Messages of publishers and [channels](crate::EventSender) that the loop has not taken.
    pub inbox: usize,
}

impl Memory {
    /// The sum of all kinds.
    #[must_use]
    pub fn total(&self) -> usize {
        self.logs + self.hands + self.input + self.replies + self.network + self.inbox
    }

    /// Adds the memory of another loop.
    pub(crate) fn add(&mut self, other: &Self) {
        self.logs += other.logs;
        self.hands += other.hands;
        self.input += other.input;
        self.replies += other.replies;
        self.network += other.network;
        self.inbox += other.inbox;
    }

    /// Each with its name, for metrics.
    pub(crate) fn by_name(&self) -> [(&'static str, u64); 6] {
        [
            ("logs", self.logs as u64),
            ("hands", self.hands as u64),
            ("input", self.input as u64),
            ("replies", self.replies as u64),
            ("network", self.network as u64),
            ("inbox", self.inbox as u64),
        ]
    }
}
