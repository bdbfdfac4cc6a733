//! Why a stream or a connection ended: one enum for callbacks, logs, counters and tests.

use std::fmt;
use std::io;

/// Why a stream, or the connection it was on, ended. Every open stream ends exactly once, with exactly one of
/// these, and so does every connection.
///
/// Connections also end for reasons that no stream has: those from [`HeadTimeout`](Self::HeadTimeout) on. A
/// connection outlives its stream if it can carry the next request.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The application closed it with [`Context::close`](crate::Context::close) or
    /// [`close_tagged`](crate::Context::close_tagged), there or on a [`Publisher`](crate::Publisher).
    Application,
    /// The peer closed the connection (FIN): a page that was left, `EventSource.close()`, a client that
    /// ended.
    PeerClosed,
    /// The connection was reset: by the peer (RST), or by something on the way to it.
    Reset,
    /// Reading or writing failed in another way, such as a time-out of the network.
    IoError,
    /// The peer read so slowly that the log no longer holds what it should get next; see
    /// [`Config::lag_bytes_max`](crate::Config::lag_bytes_max).
    Lagged,
    /// The peer took nothing for [`Config::stall_timeout`](crate::Config::stall_timeout) though bytes were
    /// waiting for it.
    Stalled,
    /// The peer kept sending while the stream was open, more than one request head's worth.
    ExcessInput,
    /// It was open for [`Config::max_age`](crate::Config::max_age), or for the
    /// [age](crate::StreamReply::max_age) that its reply has set.
    MaxAge,
    /// The application [revoked](crate::Context::revoke) a tag that it had or was given.
    Revoked,
    /// The server [drained](crate::Context::drain).
    Drained,
    /// All topics that it read have [finished](crate::Context::finish_topic).
    Finished,
    /// A callback of the application panicked while it was serving this stream or request.
    Panicked,
    /// The server was stopped or dropped.
    Stopped,
    /// Only of connections: no complete request head came within
    /// [`Config::head_timeout`](crate::Config::head_timeout).
    HeadTimeout,
    /// Only of connections: no complete body came within
    /// [`Config::body_timeout`](crate::Config::body_timeout).
    BodyTimeout,
    /// Only of connections: no further request came within
    /// [`Config::keep_alive_timeout`](crate::Config::keep_alive_timeout).
    IdleTimeout,
    /// Only of connections: a request was malformed, over a limit, or for another
    /// [host](crate::Config::hosts), which its answer says.
    Rejected,
    /// Only of connections: it, or the stream it asked for, was not let in. See [`Refusal`](crate::Refusal).
    Refused,
    /// Only of connections: it has carried
    /// [`Config::requests_per_connection_max`](crate::Config::requests_per_connection_max) requests.
    RequestLimit,
    /// Only of connections: the last response on it is complete, and no other was to follow.
    Completed,
}

/// Whose doing the end of a stream was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Party {
    /// The application, or the operator.
    Server,
    /// The peer, or the network between.
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

    /// Whose doing it was.
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

    /// What an error of a socket means for the stream on it.
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
            Self::Stalled => "the peer took nothing for too long",
            Self::ExcessInput => "the peer sent too much while the stream was open",
            Self::MaxAge => "it was open for as long as it may be",
            Self::Revoked => "a tag of it was revoked",
            Self::Drained => "the server drained",
            Self::Finished => "its topics have finished",
            Self::Panicked => "a callback panicked",
            Self::Stopped => "the server stopped",
            Self::HeadTimeout => "no complete request head came in time",
            Self::BodyTimeout => "no complete request body came in time",
            Self::IdleTimeout => "no further request came in time",
            Self::Rejected => "a request was rejected",
            Self::Refused => "it was refused",
            Self::RequestLimit => "it carried as many requests as it may",
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
