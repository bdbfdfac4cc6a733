//! Reasons for refusing a connection or a stream: one enum for counters and logs.
//!
//! A refused stream gets 200 with `retry:`, or 503 (`Config::refuse`). A revoked tag gets 204 before every
//! other refusal, because the client must not reconnect. If memory is short, a request is refused without
//! asking the handler; a connection whose head is incomplete is closed, because EventSource reconnects after
//! that. Every refusal is counted once.

use std::fmt;

/// Why a connection or a stream was refused. The server never evicts an existing one for a new one.
///
/// A refused client gets a reply, see [`Config::refuse`](crate::Config::refuse). Only a few connections
/// beyond the limit are accepted for that; others are closed without one.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Refusal {
    /// There are [`connections_max`](crate::Config::connections_max) connections.
    Connections,
    /// Its address has [`connections_per_address_max`](crate::Config::connections_per_address_max)
    /// connections.
    ConnectionsPerAddress,
    /// The process has no descriptors left.
    Descriptors,
    /// There are [`streams_max`](crate::Config::streams_max) streams.
    Streams,
    /// The topic of the stream would exceed [`topics_max`](crate::Config::topics_max).
    Topics,
    /// The stream would read more topics than [`subscriptions_max`](crate::Config::subscriptions_max).
    Subscriptions,
    /// The stream would have more tags than [`tags_max`](crate::Config::tags_max).
    Tags,
    /// The server is [draining](crate::Context::drain).
    Draining,
    /// A tag of the stream is [revoked](crate::Context::revoke). The client gets 204, so it does not
    /// reconnect.
    Revoked,
    /// The topics of the stream have different [kinds of ids](crate::TopicConfig::ids). The client gets 400.
    MixedIds,
    /// All topics of the stream have [finished](crate::Context::finish_topic), and its client has seen
    /// everything. The client gets 204, so it does not reconnect.
    Finished,
    /// The server already holds [`memory_max`](crate::Config::memory_max). This also refuses other requests.
    Memory,
    /// [`late_replies_max`](crate::Config::late_replies_max) requests already wait for their replies. This
    /// also refuses other requests.
    LateReplies,
}

impl Refusal {
    /// All reasons, in the order of their numbers in [`Stats`](crate::Stats).
    pub const ALL: &'static [Self] = &[
        Self::Connections,
        Self::ConnectionsPerAddress,
        Self::Descriptors,
        Self::Streams,
        Self::Topics,
        Self::Subscriptions,
        Self::Tags,
        Self::Draining,
        Self::Revoked,
        Self::MixedIds,
        Self::Finished,
        Self::Memory,
        Self::LateReplies,
    ];

    /// A short name for logs and metrics, such as `connections_per_address`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Connections => "connections",
            Self::ConnectionsPerAddress => "connections_per_address",
            Self::Descriptors => "descriptors",
            Self::Streams => "streams",
            Self::Topics => "topics",
            Self::Subscriptions => "subscriptions",
            Self::Tags => "tags",
            Self::Draining => "draining",
            Self::Revoked => "revoked",
            Self::MixedIds => "mixed_ids",
            Self::Finished => "finished",
            Self::Memory => "memory",
            Self::LateReplies => "late_replies",
        }
    }
}

impl fmt::Display for Refusal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Connections => "there are too many connections",
            Self::ConnectionsPerAddress => "there are too many connections from one address",
            Self::Descriptors => "there are no descriptors left",
            Self::Streams => "there are too many streams",
            Self::Topics => "there are too many topics",
            Self::Subscriptions => "it would read too many topics",
            Self::Tags => "it would have too many tags",
            Self::Draining => "the server is draining",
            Self::Revoked => "one of its tags is revoked",
            Self::MixedIds => "its topics have ids of different kinds",
            Self::Finished => "its topics have finished, and its client has seen everything",
            Self::Memory => "the server holds as much memory as it may",
            Self::LateReplies => "too many requests wait for their replies",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_holds_every_refusal_once_in_the_order_of_its_number() {
        for (number, refusal) in Refusal::ALL.iter().copied().enumerate() {
            assert_eq!(refusal as usize, number);
        }
    }
}
