//! What memory is held for others, by kind.

/// Bytes that the server holds for others at this moment, as they are taken from the allocator. Together they
/// are at most [`Config::memory_max`](crate::Config::memory_max), and one event or request more.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Memory {
    /// Logs: what topics keep, what waits for streams that are behind, and what was sent to one stream alone;
    /// with the keys and ids by which it is found.
    pub logs: usize,
    /// What goes out to single streams before all else: heads, the rests of events that sockets have taken in
    /// part, what a source brings of what a client has missed.
    pub hands: usize,
    /// Requests that are not complete, and what peers send while their streams are open.
    pub input: usize,
    /// The rests of replies that sockets have not taken.
    pub replies: usize,
    /// What the network holds: records of TLS on their way, and plain text that was not read yet.
    pub network: usize,
    /// What publishers and [channels](crate::EventSender) have brought and the loop has not taken.
    pub inbox: usize,
}

impl Memory {
    /// All of it together.
    #[must_use]
    pub fn total(&self) -> usize {
        self.logs + self.hands + self.input + self.replies + self.network + self.inbox
    }

    /// Adds what another loop holds.
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
