//! What can go wrong.

use mio_sse::Error;
use std::fmt;

/// Why nothing is published, or is not known to be.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PublishError {
    /// The event cannot be written as an event stream, or has an id of its own: here its position is its id.
    Invalid(Error),
    /// As many events wait to be written as may: see
    /// [`HubConfig::waiting_max`](crate::HubConfig::waiting_max).
    Full,
    /// Redis has not said in time that the event is there: see
    /// [`HubConfig::publish_timeout`](crate::HubConfig::publish_timeout). It may be, or it may come to be:
    /// the answer may have been lost. What Redis has said last, or what is wrong with the connection, if
    /// anything.
    TimedOut(Option<String>),
    /// Redis does not take it, for this reason: the key is no stream, or the user may not write to it.
    Refused(String),
    /// The server has stopped, or the hub is gone.
    Stopped,
}

impl fmt::Display for PublishError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Invalid(error) => error.fmt(f),
            Self::Full => f.write_str("too many events wait to be written to Redis"),
            Self::TimedOut(None) => f.write_str("Redis has not answered in time"),
            Self::TimedOut(Some(problem)) => write!(f, "Redis has not answered in time: {problem}"),
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
    /// The URL, or what it says, is not understood.
    Url(String),
    /// Redis cannot be reached, does not let this user in, or has something else under the key.
    Redis(String),
    /// The hub has a server already.
    Attached,
    /// What the operating system says: there are no random numbers, or no more threads.
    System(String),
}

impl fmt::Display for HubError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Url(problem) => write!(f, "the URL of Redis: {problem}"),
            Self::Redis(problem) => write!(f, "Redis: {problem}"),
            Self::Attached => f.write_str("the hub has a server already"),
            Self::System(problem) => f.write_str(problem),
        }
    }
}

impl std::error::Error for HubError {}
