//! Connections that were not handed over.

use crate::error::Error;
use std::fmt;
use std::net::TcpStream;

/// A connection that was not handed over, with its input: see
/// [`Publisher::try_adopt`](crate::Publisher::try_adopt).
///
/// ```no_run
/// use mio_sse::{NotAdopted, Publisher};
/// use std::io::Write;
/// use std::net::TcpStream;
///
/// fn hand_over(publisher: &Publisher, socket: TcpStream, input: Vec<u8>) {
///     if let Err(NotAdopted { mut socket, .. }) = publisher.try_adopt(socket, input) {
///         let _ = socket.write_all(b"HTTP/1.1 503 Service Unavailable\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
///     }
/// }
/// ```
pub struct NotAdopted {
    /// Why it was not handed over.
    pub error: Error,
    /// The connection, unchanged.
    pub socket: TcpStream,
    /// The input that was passed with it.
    pub input: Vec<u8>,
}

/// Without the input, which may be secret.
impl fmt::Debug for NotAdopted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("NotAdopted").field("error", &self.error).finish_non_exhaustive()
    }
}

impl fmt::Display for NotAdopted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the connection was not handed over: {}", self.error)
    }
}

impl std::error::Error for NotAdopted {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.error)
    }
}
