//! Every limit and every time-out.

use std::fmt;
use std::time::Duration;

/// The limits of a server. The defaults are fit for the open internet.
///
/// ```
/// use mio_sse::{Config, Router, Server};
/// use std::time::Duration;
///
/// let mut config = Config::default();
/// config.heartbeat = Some(Duration::from_secs(30));
/// config.body_bytes_max = 1 << 20;
/// let server = Server::bind_with("127.0.0.1:0", Router::new(), config)?;
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Connections that the kernel holds ready for the server to accept. The kernel caps it (Linux:
    /// `net.core.somaxconn`). Default 4096: room for a crowd that reconnects at once, which a backlog of 128 turns away.
    pub backlog: u32,
    /// Bytes of a request head, and of what a peer may send while its stream is open. Default 16 KiB: generous for
    /// cookies, too little to hurt. More is answered 431.
    pub head_bytes_max: usize,
    /// Bytes of a request target. Default 8 KiB, the least that RFC 9110 4.1 recommends. More is answered 414.
    pub target_bytes_max: usize,
    /// Header lines of a request, at most 128. Default 100. More are answered 431.
    pub headers_max: usize,
    /// Bytes of a request body, which is held in memory until it is complete. Default 64 KiB. More is answered 413.
    pub body_bytes_max: usize,
    /// Time to send a whole request, head and body, from the moment it is waited for to begin on a new connection, or
    /// has begun on one kept alive. Default 10 s: whoever sends a byte now and then cannot hold a connection for ever.
    pub request_timeout: Duration,
    /// How long a connection may stay open between two requests. Default 75 s.
    pub keep_alive_timeout: Duration,
    /// The longest silence on a stream: after it a comment is sent, so that proxies do not close the connection and dead
    /// peers are found. Default 15 s. A stream that gets events often enough gets no heartbeats. `None`: never.
    pub heartbeat: Option<Duration>,
    /// How long bytes may wait for a peer that takes none of them, of a stream as of any other response. Default 30 s. The
    /// stream is closed with [`CloseReason::Stalled`](crate::CloseReason::Stalled). What the kernel has taken counts as
    /// taken, so a peer that reads nothing is noticed only once the socket is full.
    pub stall_timeout: Duration,
    /// Bytes of events that a topic keeps for streams that read slowly, and bytes that may wait for one stream alone. A
    /// stream that needs older ones is closed with [`CloseReason::Lagged`](crate::CloseReason::Lagged). Default 1 MiB.
    /// A topic keeps up to a block
    /// of 64 KiB, or a burst of 1 MiB, more than this; one that nobody lags on keeps nothing.
    pub lag_bytes_max: usize,
    /// How long a connection that the server has closed on its side waits for the peer to do the same. Default 2 s. To
    /// close at once would destroy what the peer has not read yet.
    pub linger: Duration,
    /// Messages from [`Publisher`](crate::Publisher)s that wait for the loop. Default 1024. More make the publisher wait.
    pub inbox_max: usize,
    /// Connections accepted in one turn at most, so that a storm of them does not hold up the streams. Default 256.
    pub accepts_per_turn: usize,
    /// Requests answered in one turn at most, shared evenly among the connections that have some, so that peers which
    /// pipeline requests hold up neither each other nor the streams. Default 1024.
    pub requests_per_turn: usize,
    /// Streams served in one turn at most, so that a fan-out does not hold up requests and timers. Default 1024, which
    /// takes about 5 ms.
    pub sends_per_turn: usize,
    /// Timers fired in one turn at most. Default 1024.
    pub timers_per_turn: usize,
}

impl Default for Config {
    fn default() -> Self {
        Self {
            backlog: 4096,
            head_bytes_max: 16 << 10,
            target_bytes_max: 8 << 10,
            headers_max: 100,
            body_bytes_max: 64 << 10,
            request_timeout: Duration::from_secs(10),
            keep_alive_timeout: Duration::from_secs(75),
            heartbeat: Some(Duration::from_secs(15)),
            stall_timeout: Duration::from_secs(30),
            lag_bytes_max: 1 << 20,
            linger: Duration::from_secs(2),
            inbox_max: 1024,
            accepts_per_turn: 256,
            requests_per_turn: 1024,
            sends_per_turn: 1024,
            timers_per_turn: 1024,
        }
    }
}

/// The shortest time-out that makes sense, and the finest the server keeps: a millisecond.
const TIME_MIN: Duration = Duration::from_millis(1);

/// Times are kept as 32 bits of milliseconds; this leaves room to compare them.
const TIME_MAX: Duration = Duration::from_secs(7 * 24 * 60 * 60);

impl Config {
    /// Whether the limits make sense, alone and together. A server is not built with limits that do not.
    ///
    /// # Errors
    /// Says which limit is wrong and what it has to be.
    pub fn check(&self) -> Result<(), ConfigError> {
        let positive = [
            ("inbox_max", self.inbox_max),
            ("accepts_per_turn", self.accepts_per_turn),
            ("requests_per_turn", self.requests_per_turn),
            ("sends_per_turn", self.sends_per_turn),
            ("timers_per_turn", self.timers_per_turn),
            ("lag_bytes_max", self.lag_bytes_max),
            ("backlog", self.backlog as usize),
        ];
        if let Some((name, _)) = positive.into_iter().find(|(_, value)| *value == 0) {
            return Err(ConfigError { limit: name, problem: "must not be 0" });
        }
        if !(1..=128).contains(&self.headers_max) {
            return Err(ConfigError { limit: "headers_max", problem: "must be from 1 to 128" });
        }
        if !(256..=1 << 20).contains(&self.head_bytes_max) {
            return Err(ConfigError { limit: "head_bytes_max", problem: "must be from 256 bytes to 1 MiB" });
        }
        if self.target_bytes_max == 0 || self.target_bytes_max > self.head_bytes_max {
            return Err(ConfigError {
                limit: "target_bytes_max",
                problem: "must be from 1 to head_bytes_max",
            });
        }
        if self.body_bytes_max > 1 << 30 {
            return Err(ConfigError { limit: "body_bytes_max", problem: "must be at most 1 GiB" });
        }
        let times = [
            ("request_timeout", self.request_timeout),
            ("keep_alive_timeout", self.keep_alive_timeout),
            ("heartbeat", self.heartbeat.unwrap_or(TIME_MAX)),
            ("stall_timeout", self.stall_timeout),
            ("linger", self.linger),
        ];
        if let Some((name, _)) = times.into_iter().find(|(_, time)| !(TIME_MIN..=TIME_MAX).contains(time)) {
            return Err(ConfigError { limit: name, problem: "must be from 1 ms to 7 days" });
        }
        Ok(())
    }
}

/// A limit that makes no sense.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct ConfigError {
    limit: &'static str,
    problem: &'static str,
}

impl ConfigError {
    /// The name of the field of [`Config`].
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_defaults_make_sense() {
        assert_eq!(Config::default().check(), Ok(()));
    }

    #[test]
    fn limits_that_make_no_sense_are_named() {
        type Spoil = fn(&mut Config);
        let cases: [(&str, Spoil); 9] = [
            ("inbox_max", |config| config.inbox_max = 0),
            ("sends_per_turn", |config| config.sends_per_turn = 0),
            ("backlog", |config| config.backlog = 0),
            ("headers_max", |config| config.headers_max = 129),
            ("head_bytes_max", |config| config.head_bytes_max = 255),
            ("target_bytes_max", |config| config.target_bytes_max = config.head_bytes_max + 1),
            ("body_bytes_max", |config| config.body_bytes_max = usize::MAX),
            ("heartbeat", |config| config.heartbeat = Some(Duration::ZERO)),
            ("linger", |config| config.linger = Duration::MAX),
        ];
        for (limit, spoil) in cases {
            let mut config = Config::default();
            spoil(&mut config);
            assert_eq!(config.check().unwrap_err().limit(), limit);
        }
    }
}
