//! What can go wrong when an application asks for something, or sets its limits.

use crate::event::EventError;
use std::borrow::Cow;
use std::fmt;

/// Why an operation was refused. Nothing has happened when one of these is returned.
///
/// What *peers* do wrong never shows here: it ends in a status of its own, a
/// [`CloseReason`](crate::CloseReason) and a counter in [`Stats`](crate::Stats).
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Error {
    /// The stream has ended: its peer left, it was closed, or it fell too far behind.
    /// The id of a stream never comes to mean another one.
    Closed,
    /// The stream is of another loop of [`Shards`](crate::Shards), and this can be done in its own only: see
    /// [`Publisher::run_for`](crate::Publisher::run_for).
    OtherLoop,
    /// The event cannot be written as an event stream.
    InvalidEvent(EventError),
    /// The event's id is longer than [`Config::event_id_bytes_max`](crate::Config::event_id_bytes_max): a
    /// client that came back with it might be refused.
    IdTooLong,
    /// The event has an id of its own, and the topic's are made [by the server, or are
    /// positions](crate::Ids).
    OwnId,
    /// The ids of the topic are [positions](crate::Ids::Ordered): an event needs one, see
    /// [`Context::publish_at`](crate::Context::publish_at).
    NoPosition,
    /// The ids of the topic are no positions.
    NotOrdered,
    /// The position is not behind that of the event before it, in whichever topic that is.
    PositionNotIncreasing,
    /// The stream would read topics that differ in [who makes their ids](crate::TopicConfig::ids).
    MixedIds,
    /// The topic has [finished](crate::Context::finish_topic).
    Finished,
    /// A value cannot be written as JSON, for this reason: a map whose keys are no strings, for example.
    InvalidJson(String),
    /// A stream was given this status, and an `EventSource` accepts none but 200.
    StreamStatus(u16),
    /// A header's name or value cannot be written in an HTTP head.
    InvalidHeader {
        /// The name as it was given.
        name: String,
        /// What is wrong with the name or the value.
        problem: &'static str,
    },
    /// The inbox of the [`Publisher`](crate::Publisher) is full; see
    /// [`Config::inbox_max`](crate::Config::inbox_max). Where a call waits for room this is only told on the
    /// loop's own thread, and where the server does not run yet. With [`Shards`](crate::Shards) the threads
    /// of all loops are told so, and handlers as well, where the inbox of a loop, also their own, is full
    /// twice over.
    Full,
    /// The server has stopped or was dropped.
    Stopped,
    /// A topic cannot be configured like this.
    InvalidConfig(ConfigError),
    /// The stream would read more topics than
    /// [`Config::subscriptions_max`](crate::Config::subscriptions_max).
    TooManySubscriptions,
    /// There would be more topics than [`Config::topics_max`](crate::Config::topics_max).
    TooManyTopics,
    /// [`Config::memory_max`](crate::Config::memory_max) is held already.
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
            Self::OwnId => f.write_str("the event has an id of its own, and the topic makes its ids itself"),
            Self::OtherLoop => f.write_str("the stream is of another loop"),
            Self::NoPosition => f.write_str("the topic's events need a position"),
            Self::NotOrdered => f.write_str("the topic's ids are no positions"),
            Self::PositionNotIncreasing => f.write_str("the position is not behind the one before"),
            Self::MixedIds => f.write_str("topics of one stream differ in who makes their ids"),
            Self::Finished => f.write_str("the topic has finished"),
            Self::InvalidHeader { name, problem } => write!(f, "invalid header {name:?}: {problem}"),
            Self::StreamStatus(status) => write!(f, "a stream has the status 200 and not {status}"),
            Self::InvalidJson(problem) => write!(f, "no JSON: {problem}"),
            Self::InvalidConfig(error) => error.fmt(f),
            Self::Full => f.write_str("the server's inbox is full"),
            Self::Stopped => f.write_str("the server has stopped"),
            Self::TooManySubscriptions => f.write_str("the stream reads as many topics as it may"),
            Self::TooManyTopics => f.write_str("there are as many topics as there may be"),
            Self::TooMuchMemory => f.write_str("the server holds as much memory as it may"),
            Self::TooManyTags => f.write_str("the stream has as many tags as it may"),
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

impl From<ConfigError> for Error {
    fn from(error: ConfigError) -> Self {
        Self::InvalidConfig(error)
    }
}

/// What is wrong with a request: a handler that answers with this error, most simply by `?`, has it answered
/// 400 (Bad Request), with its text. It is nothing that a log has to tell of, so it is logged as `debug`.
///
/// ```
/// use mio_sse::{BadRequest, Reply, Router};
///
/// let mut app = Router::new();
/// app.get("/square/{number}", |request, _cx| {
///     let number = request.param("number").and_then(|number| number.parse::<i32>().ok());
///     let number = number.ok_or_else(|| BadRequest::new("The number is none."))?;
///     Ok::<_, BadRequest>(Reply::text((i64::from(number) * i64::from(number)).to_string()))
/// });
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BadRequest {
    problem: String,
}

impl BadRequest {
    /// `problem` is what the client is told.
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

/// A limit that makes no sense.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    limit: &'static str,
    problem: Cow<'static, str>,
}

impl ConfigError {
    pub(crate) fn new(limit: &'static str, problem: impl Into<Cow<'static, str>>) -> Self {
        Self { limit, problem: problem.into() }
    }

    /// The name of the field of [`Config`](crate::Config), or of one within: `topic.history.age`.
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
