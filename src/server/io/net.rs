//! The seam between the loop and the world: sockets, the poll, the clock.

use crate::peer::Peer;
use std::hash::{BuildHasher, RandomState};
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::task::Waker;
use std::time::{Duration, SystemTime};

/// What the loop needs of an operating system. [`MioNet`](crate::net::MioNet) is the real one; tests drive
/// the same loop over one in memory, with faults that no real network produces on demand.
///
/// All calls but [`poll`](Self::poll) return at once: what cannot be done now is
/// [`io::ErrorKind::WouldBlock`].
///
/// Readiness is *edge-triggered*: `poll` tells that a socket has become readable or writable, once. The loop
/// remembers it until a call returns `WouldBlock`, or, where
/// [`SHORT_MEANS_DRAINED`](Self::SHORT_MEANS_DRAINED) holds, does less than asked.
pub trait Net {
    /// One connection.
    type Socket;

    /// Whether a read that fills less than the buffer, or a write that takes less than all, means what
    /// `WouldBlock` means: `poll` reports whatever comes next. This saves a system call for each request.
    /// `poll` says where it does not hold for reads: [`until_blocked`](Ready::Connection::until_blocked).
    const SHORT_MEANS_DRAINED: bool;

    /// Waits until something is ready, the [waker](Self::waker) is called or `timeout` is over (`None`:
    /// never), and appends what is ready to `ready`. May return early with nothing, also after a signal.
    ///
    /// # Errors
    /// Only what makes it pointless to go on.
    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()>;

    /// Whether the last [`poll`](Self::poll) may have left something out that is ready: a loop around this
    /// one that waits for a change would not be told of it again.
    fn has_more(&self) -> bool {
        false
    }

    /// Takes the next waiting connection, and says where it comes from, where addresses mean something. A
    /// network with several listeners takes from each in turn.
    ///
    /// # Errors
    /// `WouldBlock` where there is none. What concerns this one connection only, which is gone again, is
    /// [`ConnectionAborted`](io::ErrorKind::ConnectionAborted), or that the
    /// [network](io::ErrorKind::NetworkUnreachable) or the [host](io::ErrorKind::HostUnreachable) is not
    /// there. All others mean that resources are short.
    fn accept(&mut self) -> io::Result<(Self::Socket, Option<IpAddr>)>;

    /// Holds `count` descriptors, which serve no other purpose than to be given up, one by one, when there
    /// are no others left: so those that wait then can be told. Returns how many are held now. Networks
    /// without such a limit hold none.
    fn reserve(&mut self, count: usize) -> usize {
        let _ = count;
        0
    }

    /// Closes all listeners: who is waiting, and who comes, is refused by the operating system.
    fn stop_listening(&mut self);

    /// Takes a connection that somebody else has accepted, and makes of it what [`accept`](Self::accept)
    /// would give. The network in use has to be one of TCP; others need not have this.
    ///
    /// # Errors
    /// [`Unsupported`](io::ErrorKind::Unsupported) unless it is overridden. The connection is closed then.
    fn adopt(&mut self, socket: TcpStream) -> io::Result<Self::Socket> {
        drop(socket);
        Err(io::ErrorKind::Unsupported.into())
    }

    /// Gives up a connection that was accepted and not [registered](Self::register), so that another network
    /// can [`adopt`](Self::adopt) it. The default is to keep it.
    ///
    /// # Errors
    /// The connection, where it cannot be given to others.
    fn release(&mut self, socket: Self::Socket) -> Result<TcpStream, Self::Socket> {
        Err(socket)
    }

    /// Asks `poll` to tell about `socket`, reading and writing both, as connection number `slot`. Called once
    /// for each.
    ///
    /// # Errors
    /// The connection is dropped then.
    fn register(&mut self, socket: &mut Self::Socket, slot: u32) -> io::Result<()>;

    /// Reads; 0 is the end.
    ///
    /// # Errors
    /// As for [`std::io::Read::read`] on a socket that does not block.
    fn read(&mut self, socket: &mut Self::Socket, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes a part of `bytes`, without raising `SIGPIPE`.
    ///
    /// # Errors
    /// As for [`std::io::Write::write`] on a socket that does not block.
    fn write(&mut self, socket: &mut Self::Socket, bytes: &[u8]) -> io::Result<usize>;

    /// There is room to write: sends what a write has taken and the socket has not. Only a network that keeps
    /// such bytes has anything to do here. Returns how many of them the socket has taken.
    ///
    /// # Errors
    /// As for [`write`](Self::write), except that `WouldBlock` is none.
    fn flush(&mut self, socket: &mut Self::Socket) -> io::Result<usize> {
        let _ = socket;
        Ok(0)
    }

    /// Whether a write has taken bytes that the socket has not.
    fn keeps(&self, socket: &Self::Socket) -> bool {
        let _ = socket;
        false
    }

    /// Bytes that the network holds for all its connections, besides what the operating system does. They
    /// count for [`Config::memory_max`](crate::Config::memory_max).
    fn held(&self) -> usize {
        0
    }

    /// What the connection is to speak that was accepted last, where that is TLS. Only with feature `tls`.
    #[cfg(feature = "tls")]
    fn tls(&self) -> Option<&crate::TlsConfig> {
        None
    }

    /// Tells the peer that nothing more will come (FIN).
    ///
    /// # Errors
    /// The connection is closed then.
    fn shutdown(&mut self, socket: &mut Self::Socket) -> io::Result<()>;

    /// The other end of a connection: what [`Request::peer`](crate::Request::peer) returns. Called once for
    /// the requests that were read together, before the first of them is answered; nothing is kept of it.
    /// `None`, the default, if nobody can tell, also because the peer has left.
    fn peer(&self, socket: &Self::Socket) -> Option<Peer> {
        let _ = socket;
        None
    }

    /// Closes the connection. Readiness that `poll` has told already may still come for its slot.
    fn close(&mut self, socket: Self::Socket);

    /// What makes a `poll` in progress, or the next one, return; usable from other threads.
    fn waker(&self) -> Waker;

    /// Time that only goes forward, since some moment in the past.
    fn now(&self) -> Duration;

    /// The time of day.
    fn unix_time(&self) -> SystemTime;

    /// A number that no other server has, drawn once by each: it names the server in the ids that it makes
    /// ([`Ids::Generated`](crate::Ids::Generated)).
    fn random(&mut self) -> u64 {
        // The standard library draws the keys of its hashes from the operating system.
        RandomState::new().hash_one(std::process::id())
    }

    /// The address that connections are accepted on; the first, if there are several.
    ///
    /// # Errors
    /// Whatever the operating system says.
    fn local_addr(&self) -> io::Result<SocketAddr>;

    /// All addresses that connections are accepted on, in the order of their listeners. The default is
    /// [`local_addr`](Self::local_addr), or none if that is an error.
    fn local_addrs(&self) -> Vec<SocketAddr> {
        self.local_addr().into_iter().collect()
    }
}

/// Whether an error of [`Net::accept`] concerns one connection only, which is gone. Linux also reports what
/// is wrong with the way to the peer, and what a firewall has against it.
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

/// One thing that has become ready.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ready {
    /// There may be a connection to accept, at any of the listeners.
    Listener,
    /// A connection may have become readable or writable.
    Connection {
        /// The number it was registered with.
        slot: u32,
        /// There may be bytes to read, an end or an error.
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
