//! Asks the operating system for the peer of a connection.

#[cfg(unix)]
use crate::peer::Credentials;
use crate::peer::Peer;
use mio::net::TcpStream;
use socket2::SockRef;

/// The peer of `socket`, which may be a unix socket too. `None` if it is gone: after a reset TCP has no
/// address for it on unix systems.
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
    // The kernel returns 0 for a process outside of our PID namespace.
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

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Read;
    use std::net::{self, Shutdown, TcpListener};

    fn pair() -> (net::TcpStream, net::TcpStream) {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = net::TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        (client, listener.accept().unwrap().0)
    }

    #[test]
    fn a_client_that_has_sent_all_is_still_there() {
        let (client, mut socket) = pair();
        let address = client.local_addr().unwrap();
        client.shutdown(Shutdown::Write).unwrap();
        assert_eq!(socket.read(&mut [0]).unwrap(), 0);
        assert_eq!(peer(&TcpStream::from_std(socket)), Some(Peer::Address(address)));
    }

    #[test]
    #[cfg(unix)]
    fn a_client_that_has_reset_is_gone() {
        let (client, mut socket) = pair();
        SockRef::from(&client).set_linger(Some(std::time::Duration::ZERO)).unwrap();
        drop(client);
        assert_eq!(socket.read(&mut [0]).unwrap_err().kind(), std::io::ErrorKind::ConnectionReset);
        assert_eq!(peer(&TcpStream::from_std(socket)), None);
    }

    #[test]
    #[cfg(any(target_os = "linux", target_os = "android"))]
    fn a_process_that_has_left_is_known() {
        let (client, mut socket) = std::os::unix::net::UnixStream::pair().unwrap();
        drop(client);
        assert_eq!(socket.read(&mut [0]).unwrap(), 0);
        let socket = net::TcpStream::from(std::os::fd::OwnedFd::from(socket));
        let Some(Peer::Unix(Some(process))) = peer(&TcpStream::from_std(socket)) else { panic!() };
        assert_eq!(process.pid, Some(std::process::id()));
    }
}
