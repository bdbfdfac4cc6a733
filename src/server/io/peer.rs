//! Asks the operating system who is at the other end of a connection.

#[cfg(unix)]
use crate::peer::Credentials;
use crate::peer::Peer;
use mio::net::TcpStream;
use socket2::SockRef;

/// The other end of `socket`, which may be a unix socket as well. `None` if it is gone: after a reset TCP has no address for it.
pub(crate) fn peer(socket: &TcpStream) -> Option<Peer> {
    let address = SockRef::from(socket).peer_addr().ok()?;
    #[cfg(unix)]
    if address.is_unix() {
        return Some(Peer::Unix(credentials(socket)));
    }
    address.as_socket().map(Peer::Address)
}

#[cfg(any(target_os = "linux", target_os = "android"))]
fn credentials(socket: &TcpStream) -> Option<Credentials> {
    let found = nix::sys::socket::getsockopt(socket, nix::sys::socket::sockopt::PeerCredentials).ok()?;
    // The kernel says 0 for a process that the PID namespace of this one does not have.
    let pid = u32::try_from(found.pid()).ok().filter(|pid| *pid != 0);
    Some(Credentials { pid, uid: found.uid(), gid: found.gid() })
}

#[cfg(any(
    target_os = "dragonfly",
    target_os = "freebsd",
    target_os = "ios",
    target_os = "macos",
    target_os = "netbsd",
    target_os = "openbsd",
))]
fn credentials(socket: &TcpStream) -> Option<Credentials> {
    let (uid, gid) = nix::unistd::getpeereid(socket).ok()?;
    Some(Credentials { pid: None, uid: uid.as_raw(), gid: gid.as_raw() })
}

#[cfg(all(
    unix,
    not(any(
        target_os = "android",
        target_os = "dragonfly",
        target_os = "freebsd",
        target_os = "ios",
        target_os = "linux",
        target_os = "macos",
        target_os = "netbsd",
        target_os = "openbsd",
    ))
))]
fn credentials(_socket: &TcpStream) -> Option<Credentials> {
    None
}
