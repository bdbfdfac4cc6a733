//! Errors that calls of the application return.

use crate::event::EventError;
use std::borrow::Cow;
use std::fmt;

/// Why an operation was refused. An operation that returns an error has changed nothing.
///
/// Errors of *clients* are not among these. They show as a status, a [`CloseReason`](crate::CloseReason) and
/// a counter in [`Stats`](crate::Stats).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The stream has ended: its client left, it was closed, or it lagged too far. A stream's id is never
    /// reused.
    Closed,
    /// The stream belongs to another loop of [`Shards`](crate::Shards). Do this in that loop: see
    /// [`Publisher::run_for`](crate::Publisher::run_for).
    OtherLoop,
    /// The event cannot be written as an event stream.
    InvalidEvent(EventError),
    /// The event's id is longer than [`Config::event_id_bytes_max`](crate::Config::event_id_bytes_max). A
    /// client that reconnects with it might be refused.
    IdTooLong,
    /// The event has an id, but the ids of the topic are made [by the server, or are positions](crate::Ids).
    OwnId,
    /// The ids of the topic are [positions](crate::Ids::Ordered), and the event has none: see
    /// [`Context::publish_at`](crate::Context::publish_at).
    NoPosition,
    /// The ids of the topic are not [positions](crate::Ids::Ordered).
    NotOrdered,
    /// The position is not greater than that of the event published before it, in any topic.
    PositionNotIncreasing,
    /// The stream would read topics that differ in [how their ids are made](crate::TopicConfig::ids).
    MixedIds,
    /// The topic has [finished](crate::Context::finish_topic).
    Finished,
    /// A value cannot be written as JSON, for this reason: for example a map whose keys are not strings.
    InvalidJson(String),
    /// A stream's reply has this status, and `EventSource` accepts only 200.
    StreamStatus(u16),
    /// A header's name or value cannot be written in an HTTP head.
    InvalidHeader {
        /// The name as it was given.
        name: String,
        /// What is wrong with the name or the value.
        problem: &'static str,
    },
    /// The inbox of the [`Publisher`](crate::Publisher) is full; see
    /// [`Config::inbox_max`](crate::Config::inbox_max). A call that waits for room returns this only on the
    /// loop's own thread, or before the server runs. With [`Shards`](crate::Shards) it is returned on the
    /// threads of all loops, and in handlers once the inbox of any loop holds twice its limit.
    Full,
    /// The server has stopped or was dropped.
    Stopped,
    /// The configuration of the topic is invalid.
    InvalidConfig(ConfigError),
    /// The stream would read more topics than
    /// [`Config::subscriptions_max`](crate::Config::subscriptions_max).
    TooManySubscriptions,
    /// There would be more topics than [`Config::topics_max`](crate::Config::topics_max).
    TooManyTopics,
    /// The server holds [`Config::memory_max`](crate::Config::memory_max) already.
    TooMuchMemory,
    /// The stream would have more tags than [`Config::tags_max`](crate::Config::tags_max).
    TooManyTags,
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Closed => f.write_str("the stream has ended"),
            Self::InvalidEvent(error) => write!(f, "invalid event: {error}"),
            Self::IdTooLong => f.write_str("the event's id is longer than Config::event_id_bytes_max"),
            Self::OwnId => f.write_str("the event has an id, but the topic makes its ids itself"),
            Self::OtherLoop => f.write_str("the stream belongs to another loop"),
            Self::NoPosition => f.write_str("the topic's events need a position"),
            Self::NotOrdered => f.write_str("the topic's ids are not positions"),
            Self::PositionNotIncreasing => f.write_str("the position is not greater than the one before"),
            Self::MixedIds => f.write_str("the stream's topics differ in how their ids are made"),
            Self::Finished => f.write_str("the topic has finished"),
            Self::InvalidHeader { name, problem } => write!(f, "invalid header {name:?}: {problem}"),
            Self::StreamStatus(status) => write!(f, "a stream must have status 200, not {status}"),
            Self::InvalidJson(problem) => write!(f, "cannot be written as JSON: {problem}"),
            Self::InvalidConfig(error) => error.fmt(f),
            Self::Full => f.write_str("the server's inbox is full"),
            Self::Stopped => f.write_str("the server has stopped"),
            Self::TooManySubscriptions => {
                f.write_str("the stream reads Config::subscriptions_max topics already")
            }
            Self::TooManyTopics => f.write_str("the server has Config::topics_max topics already"),
            Self::TooMuchMemory => f.write_str("the server holds Config::memory_max already"),
            Self::TooManyTags => f.write_str("the stream has Config::tags_max tags already"),
        }
    }
}

impl std::error::Error for Error {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        match self {
            Self::InvalidEvent(error) => Some(error),
            Self::InvalidConfig(error) => Some(error),
            _ => None,
        }
    }
}

impl From<EventError> for Error {
    fn from(error: EventError) -> Self {
        Self::InvalidEvent(error)
    }
}

#[cfg(feature = "json")]
impl From<serde_json::Error> for Error {
    fn from(error: serde_json::Error) -> Self {
        Self::InvalidJson(error.to_string())
    }
}

impl From<Error> for std::io::Error {
    fn from(error: Error) -> Self {
        Self::other(error)
    }
}

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::InvalidConfig(error)
    }
}

/// What is wrong with a request. If a handler returns this error, most simply by `?`, the client gets 400
/// (Bad Request) with its text. It is logged as `debug`, because it is the client's mistake.
///
/// ```
/// use mio_sse::{BadRequest, Reply, Router};
///
/// let mut app = Router::new();
/// app.get("/square/{number}", |request, _cx| {
///     let number = request.param("number").and_then(|number| number.parse::<i32>().ok());
///     let number = number.ok_or_else(|| BadRequest::new("Not a number."))?;
///     Ok::<_, BadRequest>(Reply::text((i64::from(number) * i64::from(number)).to_string()))
/// });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRequest {
    problem: String,
}

impl BadRequest {
    /// The client gets `problem` as the body of the reply.
    pub fn new(problem: impl Into<String>) -> Self {
        Self { problem: problem.into() }
    }
}

impl fmt::Display for BadRequest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.problem)
    }
}

impl std::error::Error for BadRequest {}

/// An invalid limit.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    limit: &'static str,
    problem: Cow<'static, str>,
}

impl ConfigError {
    pub(crate) fn new(limit: &'static str, problem: impl Into<Cow<'static, str>>) -> Self {
        Self { limit, problem: problem.into() }
    }

    /// The name of the field of [`Config`](crate::Config), or the path of a nested one: `topic.history.age`.
    #[must_use]
    pub fn limit(&self) -> &'static str {
        self.limit
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Config::{} {}", self.limit, self.problem)
    }
}

impl std::error::Error for ConfigError {}

impl From<ConfigError> for std::io::Error {
    fn from(error: ConfigError) -> Self {
        Self::new(std::io::ErrorKind::InvalidInput, error)
    }
}
