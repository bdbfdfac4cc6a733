//! The interface between the loop and the operating system: sockets, the poll, the clock.

use crate::peer::Peer;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::task::Waker;
use std::time::{Duration, SystemTime};

/// The network of the loop. [`MioNet`](crate::net::MioNet) is the real one. Tests drive the same loop over
/// one in memory, with faults that no real network produces on demand.
///
/// All calls but [`poll`](Self::poll) return at once, with [`io::ErrorKind::WouldBlock`] if they cannot
/// proceed now.
///
/// Readiness is *edge-triggered*: `poll` reports once that a socket has become readable or writable. The loop
/// remembers it until a call returns `WouldBlock`, or does less than asked if
/// [`SHORT_MEANS_DRAINED`](Self::SHORT_MEANS_DRAINED) is set.
pub trait Net {
    /// One connection.
    type Socket;

    /// Whether a read that fills less than the buffer, or a write that takes less than all, means the same as
    /// `WouldBlock`: `poll` reports the next change. This saves a system call for each request. `poll` marks
    /// exceptions for reads: [`until_blocked`](Ready::Connection::until_blocked).
    const SHORT_MEANS_DRAINED: bool;

    /// Waits until something is ready, the [waker](Self::waker) is called or `timeout` is over (`None`:
    /// never), and appends to `ready`. May return early with nothing, for example after a signal.
    ///
    /// # Errors
    /// Only errors after which the loop cannot continue.
    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()>;

    /// Whether the last [`poll`](Self::poll) may have left out ready sockets. An outer loop that waits for a
    /// change would not hear of them again.
    fn has_more(&self) -> bool {
        false
    }

    /// Accepts the next waiting connection, and returns its address, if it has one. A network with several
    /// listeners accepts from each in turn.
    ///
    /// # Errors
    /// `WouldBlock` if none waits. [`ConnectionAborted`](io::ErrorKind::ConnectionAborted),
    /// [`NetworkUnreachable`](io::ErrorKind::NetworkUnreachable) or
    /// [`HostUnreachable`](io::ErrorKind::HostUnreachable) if this one connection is gone again. All other
    /// errors mean that resources are short.
    fn accept(&mut self) -> io::Result<(Self::Socket, Option<IpAddr>)>;

    /// Holds `count` descriptors in reserve. They are given up one by one when no others are left, to refuse
    /// waiting connections with a reply. Returns the number held now. Networks without such a limit hold
    /// none.
    fn reserve(&mut self, count: usize) -> usize {
        let _ = count;
        0
    }

    /// Closes all listeners. The operating system refuses connections that wait or arrive later.
    fn stop_listening(&mut self);

    /// Adopts a connection that another server has accepted, as if [`accept`](Self::accept) had returned it.
    /// Only networks with TCP sockets need this.
    ///
    /// # Errors
    /// [`Unsupported`](io::ErrorKind::Unsupported) unless it is overridden. The connection is closed then.
    fn adopt(&mut self, socket: TcpStream) -> io::Result<Self::Socket> {
        drop(socket);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Gives up a connection that was accepted and not [registered](Self::register), so another network can
    /// [`adopt`](Self::adopt) it. The default is to keep it.
    ///
    /// # Errors
    /// The connection, if it cannot be given to others.
    fn release(&mut self, socket: Self::Socket) -> Result<TcpStream, Self::Socket> {
        Err(socket)
    }

    /// Registers `socket` with `poll` for reading and writing, as connection number `slot`. Called once for
    /// each.
    ///
    /// # Errors
    /// The connection is dropped then.
    fn register(&mut self, socket: &mut Self::Socket, slot: u32) -> io::Result<()>;

    /// Reads. 0 is the end of input.
    ///
    /// # Errors
    /// As for [`std::io::Read::read`] on a nonblocking socket.
    fn read(&mut self, socket: &mut Self::Socket, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes a part of `bytes`, without raising `SIGPIPE`.
    ///
    /// # Errors
    /// As for [`std::io::Write::write`] on a nonblocking socket.
    fn write(&mut self, socket: &mut Self::Socket, bytes: &[u8]) -> io::Result<usize>;

    /// The socket has room: sends bytes that a write has taken and the network has buffered. Only networks
    /// that buffer need this. Returns how many of them the socket has taken.
    ///
    /// # Errors
    /// As for [`write`](Self::write), but never `WouldBlock`.
    fn flush(&mut self, socket: &mut Self::Socket) -> io::Result<usize> {
        let _ = socket;
        Ok(0)
    }

    /// Whether a write has taken bytes that the socket has not.
    fn keeps(&self, socket: &Self::Socket) -> bool {
        let _ = socket;
        false
    }

    /// Bytes that the network itself holds for all its connections, without those of the operating system.
    /// They count towards [`Config::memory_max`](crate::Config::memory_max).
    fn held(&self) -> usize {
        0
    }

    /// The TLS configuration of the connection that was accepted last, if it speaks TLS. Only with feature
    /// `tls`.
    #[cfg(feature = "tls")]
    fn tls(&self) -> Option<&crate::TlsConfig> {
        None
    }

    /// Tells the peer that nothing more will come (FIN).
    ///
    /// # Errors
    /// The connection is closed then.
    fn shutdown(&mut self, socket: &mut Self::Socket) -> io::Result<()>;

    /// The peer of a connection, for [`Request::peer`](crate::Request::peer). Called once for all requests of
    /// one read, before the first is handled, and not stored. `None`, the default, if it is unknown, for
    /// example because the peer has left.
    fn peer(&self, socket: &Self::Socket) -> Option<Peer> {
        let _ = socket;
        None
    }

    /// Closes the connection. Readiness that `poll` has reported already may still be handled for its slot.
    fn close(&mut self, socket: Self::Socket);

    /// A waker that makes a `poll` in progress, or the next one, return. Usable from other threads.
    fn waker(&self) -> Waker;

    /// Monotonic time since some fixed moment.
    fn now(&self) -> Duration;

    /// The time of day.
    fn unix_time(&self) -> SystemTime;

    /// A random number that identifies the server in the ids that it makes
    /// ([`Ids::Generated`](crate::Ids::Generated)). Called once by each server.
    fn random(&mut self) -> u64 {
        // The standard library draws the keys of its hashes from the operating system.
        RandomState::new().hash_one(std::process::id())
    }

    /// The address that the network listens on, or the first of several.
    ///
    /// # Errors
    /// Errors of the operating system.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// All addresses that the network listens on, in the order of the listeners. The default is
    /// [`local_addr`](Self::local_addr), or none if that is an error.
    fn local_addrs(&self) -> Vec<SocketAddr> {
        self.local_addr().into_iter().collect()
    }
}

/// Whether an error of [`Net::accept`] concerns only one connection, which is gone. Linux also reports errors
/// of the route to the peer and of firewalls here.
pub(crate) fn is_of_one_connection(error: &io::Error) -> bool {
    use io::ErrorKind::{
        ConnectionAborted, ConnectionReset, HostUnreachable, Interrupted, NetworkDown, NetworkUnreachable,
        PermissionDenied,
    };
    matches!(
        error.kind(),
        ConnectionAborted
            | ConnectionReset
            | HostUnreachable
            | Interrupted
            | NetworkDown
            | NetworkUnreachable
            | PermissionDenied
    )
}

/// A listener or connection that has become ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// A connection may wait at any of the listeners.
    Listener,
    /// A connection may have become readable or writable.
    Connection {
        /// The number that the connection was registered with.
        slot: u32,
        /// There may be bytes to read, the end of input, or an error.
        readable: bool,
        /// There may be room to write.
        writable: bool,
        /// A read that fills less than the buffer does not mean that nothing more waits, whatever
        /// [`SHORT_MEANS_DRAINED`](Net::SHORT_MEANS_DRAINED) says. The loop reads until it gets `WouldBlock`,
        /// 0 or another error.
        ///
        /// This is the case after the peer has closed its side: the end comes after the bytes that wait. It
        /// is also the case while reads may stop at a mark: at an urgent byte of TCP, or at a descriptor that
        /// is passed over a unix socket.
        until_blocked: bool,
    },
}
