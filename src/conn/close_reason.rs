//! Reasons why a stream or a connection closed: one enum for callbacks, logs, counters and tests.

use std::fmt;
use std::io;

/// Why a stream, or its connection, closed. Every open stream closes exactly once, for exactly one of these
/// reasons, and so does every connection.
///
/// Some reasons are only for connections: those from [`HeadTimeout`](Self::HeadTimeout) on. A connection
/// outlives its stream if it can carry another request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The application closed it with [`Context::close`](crate::Context::close) or
    /// [`close_tagged`](crate::Context::close_tagged), there or on a [`Publisher`](crate::Publisher).
    Application,
    /// The peer closed the connection (FIN): the user left the page, the page called `EventSource.close()`,
    /// or the client exited.
    PeerClosed,
    /// The connection was reset: by the peer (RST), or by something on the network path.
    Reset,
    /// Reading or writing failed in another way, such as a network time-out.
    IoError,
    /// The peer read so slowly that the log no longer holds its next event; see
    /// [`Config::lag_bytes_max`](crate::Config::lag_bytes_max).
    Lagged,
    /// The peer read nothing for [`Config::stall_timeout`](crate::Config::stall_timeout) although bytes were
    /// waiting for it.
    Stalled,
    /// The peer sent more than one request head while the stream was open.
    ExcessInput,
    /// The stream was open for [`Config::max_age`](crate::Config::max_age), or for the
    /// [age](crate::StreamReply::max_age) that its reply has set.
    MaxAge,
    /// The application [revoked](crate::Context::revoke) a tag of the stream.
    Revoked,
    /// The server [drained](crate::Context::drain).
    Drained,
    /// All topics of the stream have [finished](crate::Context::finish_topic).
    Finished,
    /// A callback of the application panicked while it was serving this stream or request.
    Panicked,
    /// The server was stopped or dropped.
    Stopped,
    /// Only for connections: no complete request head arrived within
    /// [`Config::head_timeout`](crate::Config::head_timeout).
    HeadTimeout,
    /// Only for connections: no complete body arrived within
    /// [`Config::body_timeout`](crate::Config::body_timeout).
    BodyTimeout,
    /// Only for connections: no further request arrived within
    /// [`Config::keep_alive_timeout`](crate::Config::keep_alive_timeout).
    IdleTimeout,
    /// Only for connections: a request was malformed, over a limit, or for another
    /// [host](crate::Config::hosts). The reply says which.
    Rejected,
    /// Only for connections: the connection, or its stream, was refused. See [`Refusal`](crate::Refusal).
    Refused,
    /// Only for connections: it has carried
    /// [`Config::requests_per_connection_max`](crate::Config::requests_per_connection_max) requests.
    RequestLimit,
    /// Only for connections: the last response is complete, and no other request may follow.
    Completed,
}

/// The party that caused a stream to close.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Party {
    /// The application, or the operator.
    Server,
    /// The peer, or the network.
    Peer,
    /// A limit of [`Config`](crate::Config).
    Limit,
}

impl CloseReason {
    /// Every reason, in the order of their numbers in [`Stats`](crate::Stats).
    pub const ALL: &'static [Self] = &[
        Self::Application,
        Self::PeerClosed,
        Self::Reset,
        Self::IoError,
        Self::Lagged,
        Self::Stalled,
        Self::ExcessInput,
        Self::MaxAge,
        Self::Revoked,
        Self::Drained,
        Self::Finished,
        Self::Panicked,
        Self::Stopped,
        Self::HeadTimeout,
        Self::BodyTimeout,
        Self::IdleTimeout,
        Self::Rejected,
        Self::Refused,
        Self::RequestLimit,
        Self::Completed,
    ];

    /// The party that caused it.
    #[must_use]
    pub fn party(self) -> Party {
        match self {
            Self::Application
            | Self::Revoked
            | Self::Drained
            | Self::Finished
            | Self::Panicked
            | Self::Stopped
            | Self::Completed => Party::Server,
            Self::PeerClosed | Self::Reset | Self::IoError | Self::Rejected => Party::Peer,
            Self::Lagged
            | Self::Stalled
            | Self::ExcessInput
            | Self::MaxAge
            | Self::HeadTimeout
            | Self::BodyTimeout
            | Self::IdleTimeout
            | Self::Refused
            | Self::RequestLimit => Party::Limit,
        }
    }

    /// A short name for logs and metrics, such as `peer_closed`.
    #[must_use]
    pub fn name(self) -> &'static str {
        match self {
            Self::Application => "application",
            Self::PeerClosed => "peer_closed",
            Self::Reset => "reset",
            Self::IoError => "io_error",
            Self::Lagged => "lagged",
            Self::Stalled => "stalled",
            Self::ExcessInput => "excess_input",
            Self::MaxAge => "max_age",
            Self::Revoked => "revoked",
            Self::Drained => "drained",
            Self::Finished => "finished",
            Self::Panicked => "panicked",
            Self::Stopped => "stopped",
            Self::HeadTimeout => "head_timeout",
            Self::BodyTimeout => "body_timeout",
            Self::IdleTimeout => "idle_timeout",
            Self::Rejected => "rejected",
            Self::Refused => "refused",
            Self::RequestLimit => "request_limit",
            Self::Completed => "completed",
        }
    }

    /// The reason for an error of the socket.
    pub(crate) fn of_error(error: &io::Error) -> Self {
        match error.kind() {
            io::ErrorKind::ConnectionReset | io::ErrorKind::ConnectionAborted | io::ErrorKind::BrokenPipe => {
                Self::Reset
            }
            _ => Self::IoError,
        }
    }
}

impl fmt::Display for CloseReason {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Application => "closed by the application",
            Self::PeerClosed => "the peer closed the connection",
            Self::Reset => "the connection was reset",
            Self::IoError => "reading or writing failed",
            Self::Lagged => "the peer read too slowly",
            Self::Stalled => "the peer read nothing for too long",
            Self::ExcessInput => "the peer sent too much while the stream was open",
            Self::MaxAge => "it reached its maximum age",
            Self::Revoked => "one of its tags was revoked",
            Self::Drained => "the server drained",
            Self::Finished => "its topics have finished",
            Self::Panicked => "a callback panicked",
            Self::Stopped => "the server stopped",
            Self::HeadTimeout => "no complete request head arrived in time",
            Self::BodyTimeout => "no complete request body arrived in time",
            Self::IdleTimeout => "no further request arrived in time",
            Self::Rejected => "a request was rejected",
            Self::Refused => "it was refused",
            Self::RequestLimit => "it reached its maximum number of requests",
            Self::Completed => "the last response was complete",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_holds_every_reason_once_in_the_order_of_its_number() {
        for (number, reason) in CloseReason::ALL.iter().copied().enumerate() {
            assert_eq!(reason as usize, number);
        }
        let names: std::collections::HashSet<_> =
            CloseReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), CloseReason::ALL.len());
    }
}
