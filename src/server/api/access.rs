//! A request and its reply, for access logs.

use crate::http::parse::request::Request;
use crate::peer::Peer;
use std::fmt;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// A reply that is on its way, as [`Observer::access`](crate::Observer::access) gets it: the reply of a
/// handler, a refusal, or a rejection.
///
/// Written with `{}`, it is a line of the Common Log Format, which web servers and log tools share:
///
/// ```text
/// 192.0.2.7 - - [06/Nov/1994:08:49:37 +0000] "GET /news HTTP/1.1" 200 -
/// ```
///
/// The size is that of the body, and `-` for a stream. Text of the client is escaped, so it cannot forge a
/// line.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct Access<'a> {
    /// The request; `None` if its head could not be read.
    pub request: Option<Request<'a>>,
    /// The client, see [`Request::peer`].
    pub peer: Option<Peer>,
    /// The status of the reply.
    pub status: u16,
    /// Bytes of the body; `None` for a stream.
    pub body_bytes: Option<usize>,
    /// The time of the reply.
    pub time: SystemTime,
}

impl fmt::Display for Access<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.peer {
            Some(Peer::Address(address)) => write!(f, "{}", address.ip().to_canonical())?,
            Some(Peer::Unix(_)) => f.write_str("unix")?,
            _ => f.write_str("-")?,
        }
        // The format has four digits for the year. A clock beyond that is not right anyway.
        let seconds = self.time.duration_since(UNIX_EPOCH).map_or(0, |since| since.as_secs());
        let seconds = if seconds < 253_402_300_800 { seconds } else { 0 };
        // "Sun, 06 Nov 1994 08:49:37 GMT", whose parts are the same.
        let date = httpdate::fmt_http_date(UNIX_EPOCH + Duration::from_secs(seconds));
        let part = |from, to| date.get(from..to).unwrap_or_default();
        let (day, month, year, time) = (part(5, 7), part(8, 11), part(12, 16), part(17, 25));
        write!(f, " - - [{day}/{month}/{year}:{time} +0000] \"")?;
        match &self.request {
            Some(request) => {
                let (method, target) = (request.method().escape_debug(), request.target().escape_debug());
                let version = if request.is_http_10() { "1.0" } else { "1.1" };
                write!(f, "{method} {target} HTTP/{version}")?;
            }
            None => f.write_str("-")?,
        }
        write!(f, "\" {} ", self.status)?;
        match self.body_bytes {
            Some(bytes) => write!(f, "{bytes}"),
            None => f.write_str("-"),
        }
    }
}
