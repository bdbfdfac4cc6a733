//! The other side of a connection, as the operating system names it.

use std::net::{IpAddr, SocketAddr};

/// The other side of the connection that a request came on, see [`Request::peer`](crate::Request::peer).
///
/// The operating system reports it, so a client cannot forge it. It is the *next* process on the way: behind
/// a reverse proxy that is the proxy.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Peer {
    /// The address and the port at the other end of a TCP connection.
    ///
    /// A listener for both families (`[::]`) sees IPv4 addresses mapped into IPv6, as `::ffff:192.0.2.1`.
    /// [`Peer::ip`] turns these back.
    Address(SocketAddr),
    /// A process on the same machine, over a unix socket. `None` if the system does not identify it: Linux,
    /// Android, macOS, iOS and the BSDs do.
    Unix(Option<Credentials>),
}

impl Peer {
    /// The IP address in its real family (`192.0.2.1`, never `::ffff:192.0.2.1`). `None` for a unix socket.
    ///
    /// ```
    /// use mio_sse::Peer;
    /// use std::net::Ipv4Addr;
    ///
    /// let peer = Peer::Address("[::ffff:192.0.2.1]:50000".parse()?);
    /// assert_eq!(peer.ip(), Some(Ipv4Addr::new(192, 0, 2, 1).into()));
    /// # Ok::<(), std::net::AddrParseError>(())
    /// ```
    #[must_use]
    pub fn ip(&self) -> Option<IpAddr> {
        match self {
            Self::Address(address) => Some(address.ip().to_canonical()),
            Self::Unix(_) => None,
        }
    }
}

/// The process at the other end of a unix socket, as it was when it connected (`SO_PEERCRED`, `getpeereid`).
///
/// For a socket pair, and for a connection that was [adopted](crate::Server::adopt), this is the process that
/// made the other end, even if that was passed to another process since.
///
/// ```
/// use mio_sse::{Peer, Request};
///
/// /// Whether the request comes from a process of root, over a unix socket.
/// fn is_from_root(request: &Request<'_>) -> bool {
///     matches!(request.peer(), Some(Peer::Unix(Some(process))) if process.uid == 0)
/// }
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct Credentials {
    /// The id of the process. `None` on systems that do not report it (the BSDs, macOS), and for a process in
    /// another PID namespace (a container). The process may have exited and its id may be reused, so decide
    /// by [`uid`](Self::uid) or [`gid`](Self::gid).
    pub pid: Option<u32>,
    /// The effective user.
    pub uid: u32,
    /// The effective group.
    pub gid: u32,
}
