//! Why a stream ended: one enum for callbacks, logs, counters and tests.

use std::fmt;
use std::io;

/// Why a stream ended. Every open stream ends exactly once, with exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum CloseReason {
    /// The application closed it with [`Context::close`](crate::Context::close) or
    /// [`Publisher::close`](crate::Publisher::close).
    Application,
    /// The peer closed the connection (FIN): a page that was left, `EventSource.close()`, a client that ended.
    PeerClosed,
    /// The connection was reset: by the peer (RST), or by something on the way to it.
    Reset,
    /// Reading or writing failed in another way, such as a time-out of the network.
    IoError,
    /// The peer read so slowly that the log no longer holds what it should get next; see
    /// [`Config::lag_bytes_max`](crate::Config::lag_bytes_max).
    Lagged,
    /// The peer took nothing for [`Config::stall_timeout`](crate::Config::stall_timeout) though bytes were waiting for it.
    Stalled,
    /// The peer kept sending while the stream was open, more than one request head's worth.
    ExcessInput,
    /// The server was stopped or dropped.
    Stopped,
}

/// Whose doing the end of a stream was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Party {
    /// The application, or whoever runs the server.
    Server,
    /// The peer, or the network between.
    Peer,
    /// A limit of [`Config`](crate::Config).
    Limit,
}

impl CloseReason {
    /// Every reason, in the order of their numbers in [`Stats`](crate::Stats).
    pub const ALL: [Self; 8] = [
        Self::Application,
        Self::PeerClosed,
        Self::Reset,
        Self::IoError,
        Self::Lagged,
        Self::Stalled,
        Self::ExcessInput,
        Self::Stopped,
    ];

    /// Whose doing it was.
    #[must_use]
    pub fn party(self) -> Party {
        match self {
            Self::Application | Self::Stopped => Party::Server,
            Self::PeerClosed | Self::Reset | Self::IoError => Party::Peer,
            Self::Lagged | Self::Stalled | Self::ExcessInput => Party::Limit,
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
            Self::Stopped => "stopped",
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
            Self::Stopped => "the server stopped",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_holds_every_reason_once_in_the_order_of_its_number() {
        for (number, reason) in CloseReason::ALL.into_iter().enumerate() {
            assert_eq!(reason as usize, number);
        }
        let names: std::collections::HashSet<_> =
            CloseReason::ALL.iter().map(|reason| reason.name()).collect();
        assert_eq!(names.len(), CloseReason::ALL.len());
    }
}
