//! Errors of the hub.

use mio_sse::Error;
use std::fmt;

/// Why an event was not published, or is not known to be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// The event cannot be encoded, or has an id of its own. Here the position is the id.
    Invalid(Error),
    /// Too many events wait to be written: see [`HubConfig::waiting_max`](crate::HubConfig::waiting_max).
    Full,
    /// Redis has not confirmed the event in time: see
    /// [`HubConfig::publish_timeout`](crate::HubConfig::publish_timeout). The event may have been stored, as
    /// the reply may have been lost, or may still be. Holds the last error of Redis or of the connection, if
    /// there was one.
    TimedOut(Option<String>),
    /// Redis has refused the event, for this reason: the key is not a stream, or the user may not write to
    /// it.
    Refused(String),
    /// The server has stopped, or the hub was dropped.
    Stopped,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => error.fmt(f),
            Self::Full => f.write_str("too many events are waiting to be written to Redis"),
            Self::TimedOut(None) => f.write_str("Redis has not replied in time"),
            Self::TimedOut(Some(problem)) => write!(f, "Redis has not replied in time: {problem}"),
            Self::Refused(problem) => write!(f, "Redis has refused the event: {problem}"),
            Self::Stopped => f.write_str("the server has stopped"),
        }
    }
}

impl std::error::Error for PublishError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::Invalid(error) => Some(error),
            _ => None,
        }
    }
}

/// Why a hub cannot be made, or attached to a server.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum HubError {
    /// The URL, or a part of it, is invalid.
    Url(String),
    /// Redis cannot be reached, refuses the user, or has another type of value at the key.
    Redis(String),
    /// The hub is attached to a server already.
    Attached,
    /// An error of the operating system: no random numbers, or no more threads.
    System(String),
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(problem) => write!(f, "invalid Redis URL: {problem}"),
            Self::Redis(problem) => write!(f, "Redis: {problem}"),
            Self::Attached => f.write_str("the hub is already attached to a server"),
            Self::System(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for HubError {}
