//! The network around another one.
//!
//! - **Reading** goes on until the socket has nothing. An incomplete record, and plain text that does not fit
//!   into the reader's buffer, are kept.
//! - **Writing** encrypts and sends at most one record of plain text. What the socket does not take is kept
//!   and counts as written. It has to go before anything else is written; otherwise the write is
//!   `WouldBlock`. So a stream that does not read is up to 16 KiB further than its cursor says, and stalls
//!   and lags as any other.
//! - **`Net::flush`** exists for that: when the poll reports room, what is kept goes out, even if the stream
//!   has nothing else to get. It is the only place where that happens, because it tells the loop that the
//!   client takes something. While `Net::keeps` says that the end of a reply waits, the connection has the
//!   time for a stall, however short it may be idle or linger.
//! - **Handshakes** take as long as fifty deliveries. A turn does four of them, counted by the steps that
//!   take long. Further ones are put off to the next poll, ahead of newer connections. The time for a head
//!   covers them.
//! - **A turn** reads at most 1 MiB of records, since short records are as much work as long ones. The rest
//!   is put off in the same way.
//! - **The end** is announced (`close_notify`) before our side closes; later input is dropped. A connection
//!   that ends without it was cut: `CloseReason::Reset`. The loop learns of the peer's end when nothing waits
//!   any more, because the loop closes then.
//! - **Memory:** `Net::held` is what all sessions keep. It counts for `memory_max` (`Memory::network`).
//!
//! PERFORMANCE.md says why there are no threads for handshakes, and no TLS in the kernel (kTLS).

use crate::peer::Peer;
use crate::server::io::net::{Net, Ready};
use crate::server::io::tls::config::TlsConfig;
use crate::server::io::tls::session::{RECORD_BYTES, Session};
use std::fmt;
use std::io;
use std::net::{IpAddr, SocketAddr, TcpStream};
use std::task::Waker;
use std::time::{Duration, SystemTime};

/// Handshakes that are carried out in one turn. One takes as long as fifty deliveries, so a crowd of them
/// must not keep the streams waiting that are there.
const HANDSHAKES_PER_TURN: usize = 4;

/// Bytes of records that are read in one turn, of all connections together. The loop counts the text in them,
/// but in records of one byte each there is little text, and as much to do as for long ones.
const BYTES_PER_TURN: usize = 1 << 20;

/// What one read of records takes at most, besides what was there.
const READ_BYTES: usize = 2 * RECORD_BYTES;

/// Connections that speak TLS, over those of another network `N`. Only with feature `tls`.
///
/// `Config::head_timeout` covers the handshake. In each turn there are four at most; the others wait, while
/// the streams that are there are served.
#[derive(Debug)]
pub struct TlsNet<N: Net> {
    net: N,
    /// For all connections; `None`: the listener says.
    all: Option<TlsConfig>,
    handshakes_left: usize,
    /// Bytes that may still be read in this turn.
    bytes_left: usize,
    /// Connections that are to be read in the next turn though the poll will not tell of them, in the order
    /// in which they came.
    postponed: Vec<u32>,
    /// The number of this turn, from 1 on.
    turn: u64,
    /// Bytes that all sessions hold.
    held: usize,
    // Kept for their capacity.
    input: Vec<u8>,
    output: Vec<u8>,
}

/// One connection: with TLS, or as it is.
pub enum TlsSocket<S> {
    #[doc(hidden)]
    Plain(S),
    #[doc(hidden)]
    Secure(Box<Secure<S>>),
}

#[doc(hidden)]
pub struct Secure<S> {
    socket: S,
    slot: u32,
    session: Session,
    /// Whether the loop is to be told of the end when nothing waits any more.
    holds_end: bool,
    /// The turn in which it was put off last.
    postponed: u64,
}

impl<S> fmt::Debug for TlsSocket<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Plain(_) => "Plain",
            Self::Secure(_) => "Secure",
        })
    }
}

impl<S> fmt::Debug for Secure<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Secure").finish_non_exhaustive()
    }
}

impl<S> TlsSocket<S> {
    fn inner(&self) -> &S {
        match self {
            Self::Plain(socket) => socket,
            Self::Secure(secure) => &secure.socket,
        }
    }
}

impl<N: Net> TlsNet<N> {
    /// Connections speak TLS or not, as the listener says that they come from ([`Net::tls`]).
    pub fn new(net: N) -> Self {
        Self {
            net,
            all: None,
            handshakes_left: HANDSHAKES_PER_TURN,
            bytes_left: BYTES_PER_TURN,
            postponed: Vec::new(),
            turn: 1,
            held: 0,
            input: Vec::new(),
            output: Vec::new(),
        }
    }

    /// All connections that are accepted speak TLS.
    pub fn for_all(net: N, config: TlsConfig) -> Self {
        Self { all: Some(config), ..Self::new(net) }
    }

    /// Sends what waits for room. Returns how much there was room for.
    fn send_waiting(&mut self, secure: &mut Secure<N::Socket>) -> io::Result<usize> {
        let mut sent = 0;
        while !secure.session.outgoing().is_empty() {
            match self.net.write(&mut secure.socket, secure.session.outgoing()) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => {
                    secure.session.sent(count);
                    sent += count;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Ok(sent),
                Err(error) => return Err(error),
            }
        }
        if std::mem::take(&mut secure.session.shuts_down) {
            self.net.shutdown(&mut secure.socket)?;
        }
        if std::mem::take(&mut secure.holds_end) {
            self.postpone(secure);
        }
        Ok(sent)
    }

    /// Has a connection read in the next turn.
    fn postpone(&mut self, secure: &mut Secure<N::Socket>) {
        if secure.postponed != self.turn {
            secure.postponed = self.turn;
            self.postponed.push(secure.slot);
        }
    }

    /// Sends records, and keeps what the socket does not take.
    fn send(net: &mut N, secure: &mut Secure<N::Socket>, records: &[u8]) -> io::Result<()> {
        let mut sent = 0;
        while sent < records.len() {
            match net.write(&mut secure.socket, &records[sent..]) {
                Ok(0) => return Err(io::ErrorKind::WriteZero.into()),
                Ok(count) => sent += count,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                    secure.session.keep(&records[sent..]);
                    break;
                }
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    /// Reads plain text. It is put off when enough was read in this turn, and so is a session whose
    /// handshake is not complete, if none is left for this turn: nobody knows what a read brings, and a hello
    /// that comes in pieces is no cheaper.
    fn read_secure(&mut self, secure: &mut Secure<N::Socket>, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            let session = &mut secure.session;
            if session.has_failed() {
                return Err(io::ErrorKind::InvalidData.into());
            }
            if session.closed && !session.is_at_end() {
                // It can change nothing any more, so nobody has to understand it. Nor could rustls, which in
                // debug builds takes it for a mistake of ours if there is something wrong with it.
                return match self.net.read(&mut secure.socket, buffer)? {
                    0 => Self::end(secure),
                    count => Ok(count),
                };
            }
            if let count @ 1.. = session.take(buffer) {
                return Ok(count);
            }
            if session.is_at_end() {
                // It may have left since, which the socket says. What it sends behind its end is nothing.
                return match self.net.read(&mut secure.socket, buffer) {
                    Err(error) if error.kind() != io::ErrorKind::WouldBlock => Err(error),
                    _ => Self::end(secure),
                };
            }
            let (is_new, was_open) = (session.is_new(), session.is_open());
            if !was_open && self.handshakes_left == 0 || self.bytes_left == 0 {
                self.postpone(secure);
                return Err(io::ErrorKind::WouldBlock.into());
            }
            let begin = session.incoming_bytes();
            self.input.resize(begin + READ_BYTES, 0);
            let count = match self.net.read(&mut secure.socket, &mut self.input[begin..])? {
                0 if is_new => return Ok(0),
                // Who cuts a connection must not be able to pretend that the peer has ended it (RFC 8446
                // 6.1).
                0 => return Err(io::ErrorKind::ConnectionReset.into()),
                count => count,
            };
            self.bytes_left = self.bytes_left.saturating_sub(count);
            let waited = session.outgoing().len();
            let received = session.receive(&mut self.input[..begin + count]);
            let worked = received.is_err() || session.outgoing().len() > waited || session.is_open();
            if !was_open && worked && !session.has_opened_cheaply() {
                self.handshakes_left -= 1;
            }
            // What has waited goes out when there is room, and `flush` says so; unless this is the end.
            let sent =
                if waited == 0 || received.is_err() { self.send_waiting(secure).map(drop) } else { Ok(()) };
            if let Err(error) = received {
                log::debug!("a TLS connection has failed: {error}");
                // It has been told why, if it was to be told.
                let _ = self.net.shutdown(&mut secure.socket);
                return Err(io::Error::new(io::ErrorKind::InvalidData, error));
            }
            sent?;
        }
    }

    /// The end of what the peer sends, of which the loop learns when nothing waits any more: it closes then,
    /// and a peer that has said its last word may still read.
    fn end(secure: &mut Secure<N::Socket>) -> io::Result<usize> {
        secure.holds_end = !secure.session.outgoing().is_empty();
        if secure.holds_end { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(0) }
    }

    fn write_secure(&mut self, secure: &mut Secure<N::Socket>, bytes: &[u8]) -> io::Result<usize> {
        if !secure.session.is_open() {
            // There is nobody yet who could be told anything.
            return Err(io::ErrorKind::NotConnected.into());
        }
        if !secure.session.outgoing().is_empty() {
            // There was no room, and when there is, `flush` comes first.
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = bytes.len().min(RECORD_BYTES);
        self.output.clear();
        secure.session.encrypt(&bytes[..count], &mut self.output).map_err(io::Error::other)?;
        Self::send(&mut self.net, secure, &self.output)?;
        Ok(count)
    }

    fn shut_down_secure(&mut self, secure: &mut Secure<N::Socket>) -> io::Result<()> {
        self.say_goodbye(secure)?;
        if secure.session.outgoing().is_empty() {
            return self.net.shutdown(&mut secure.socket);
        }
        secure.session.shuts_down = true;
        Ok(())
    }

    /// Says that nothing more will come, behind what waits.
    fn say_goodbye(&mut self, secure: &mut Secure<N::Socket>) -> io::Result<()> {
        self.send_waiting(secure)?;
        if secure.session.closed || !secure.session.is_open() {
            return Ok(());
        }
        self.output.clear();
        self.output.extend_from_slice(secure.session.outgoing());
        secure.session.sent(self.output.len());
        secure.session.close(&mut self.output).map_err(io::Error::other)?;
        Self::send(&mut self.net, secure, &self.output)
    }

    /// Does something with a session, and notes what it holds then.
    fn with<T>(
        &mut self,
        secure: &mut Secure<N::Socket>,
        act: impl FnOnce(&mut Self, &mut Secure<N::Socket>) -> T,
    ) -> T {
        let before = secure.session.held();
        let result = act(self, secure);
        self.held = (self.held + secure.session.held()).saturating_sub(before);
        result
    }
}

impl<N: Net> Net for TlsNet<N> {
    type Socket = TlsSocket<N::Socket>;

    /// A record holds less than what is to be written, and more than what is to be read.
    const SHORT_MEANS_DRAINED: bool = false;

    fn poll(&mut self, timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        let timeout = if self.postponed.is_empty() { timeout } else { Some(Duration::ZERO) };
        self.turn += 1;
        (self.handshakes_left, self.bytes_left) = (HANDSHAKES_PER_TURN, BYTES_PER_TURN);
        // They go first, or those who come later would always be before them.
        ready.extend(self.postponed.drain(..).map(|slot| Ready::Connection {
            slot,
            readable: true,
            writable: false,
            until_blocked: true,
        }));
        self.net.poll(timeout, ready)
    }

    fn has_more(&self) -> bool {
        !self.postponed.is_empty() || self.net.has_more()
    }

    fn accept(&mut self) -> io::Result<(Self::Socket, Option<IpAddr>)> {
        let (socket, address) = self.net.accept()?;
        let Some(config) = self.tls() else {
            return Ok((TlsSocket::Plain(socket), address));
        };
        match Session::new(config.current()) {
            Ok(session) => {
                let secure = Secure { socket, slot: 0, session, holds_end: false, postponed: 0 };
                Ok((TlsSocket::Secure(Box::new(secure)), address))
            }
            Err(error) => {
                self.net.close(socket);
                log::warn!("a TLS connection cannot be begun: {error}");
                Err(io::ErrorKind::ConnectionAborted.into())
            }
        }
    }

    fn tls(&self) -> Option<&TlsConfig> {
        self.all.as_ref().or_else(|| self.net.tls())
    }

    fn reserve(&mut self, count: usize) -> usize {
        self.net.reserve(count)
    }

    fn stop_listening(&mut self) {
        self.net.stop_listening();
    }

    fn adopt(&mut self, socket: TcpStream) -> io::Result<Self::Socket> {
        self.net.adopt(socket).map(TlsSocket::Plain)
    }

    /// One with TLS stays with the loop that has accepted it.
    fn release(&mut self, socket: Self::Socket) -> Result<TcpStream, Self::Socket> {
        match socket {
            TlsSocket::Plain(socket) => self.net.release(socket).map_err(TlsSocket::Plain),
            secure @ TlsSocket::Secure(_) => Err(secure),
        }
    }

    fn register(&mut self, socket: &mut Self::Socket, slot: u32) -> io::Result<()> {
        match socket {
            TlsSocket::Plain(socket) => self.net.register(socket, slot),
            TlsSocket::Secure(secure) => {
                secure.slot = slot;
                self.net.register(&mut secure.socket, slot)
            }
        }
    }

    fn read(&mut self, socket: &mut Self::Socket, buffer: &mut [u8]) -> io::Result<usize> {
        match socket {
            TlsSocket::Plain(socket) => self.net.read(socket, buffer),
            TlsSocket::Secure(secure) => self.with(secure, |net, secure| net.read_secure(secure, buffer)),
        }
    }

    fn write(&mut self, socket: &mut Self::Socket, bytes: &[u8]) -> io::Result<usize> {
        match socket {
            TlsSocket::Plain(socket) => self.net.write(socket, bytes),
            TlsSocket::Secure(secure) => self.with(secure, |net, secure| net.write_secure(secure, bytes)),
        }
    }

    fn flush(&mut self, socket: &mut Self::Socket) -> io::Result<usize> {
        match socket {
            TlsSocket::Plain(socket) => self.net.flush(socket),
            TlsSocket::Secure(secure) => self.with(secure, Self::send_waiting),
        }
    }

    fn keeps(&self, socket: &Self::Socket) -> bool {
        match socket {
            TlsSocket::Plain(socket) => self.net.keeps(socket),
            TlsSocket::Secure(secure) => !secure.session.outgoing().is_empty(),
        }
    }

    fn held(&self) -> usize {
        self.held + self.net.held()
    }

    fn shutdown(&mut self, socket: &mut Self::Socket) -> io::Result<()> {
        match socket {
            TlsSocket::Plain(socket) => self.net.shutdown(socket),
            TlsSocket::Secure(secure) => self.with(secure, Self::shut_down_secure),
        }
    }

    fn peer(&self, socket: &Self::Socket) -> Option<Peer> {
        self.net.peer(socket.inner())
    }

    fn close(&mut self, socket: Self::Socket) {
        match socket {
            TlsSocket::Plain(socket) => self.net.close(socket),
            TlsSocket::Secure(mut secure) => {
                self.held = self.held.saturating_sub(secure.session.held());
                // As much as the socket takes at once: the peer may have left long ago.
                if !secure.session.has_failed() {
                    let _ = self.say_goodbye(&mut secure);
                }
                self.net.close(secure.socket);
            }
        }
    }

    fn waker(&self) -> Waker {
        self.net.waker()
    }

    fn now(&self) -> Duration {
        self.net.now()
    }

    fn unix_time(&self) -> SystemTime {
        self.net.unix_time()
    }

    fn random(&mut self) -> u64 {
        self.net.random()
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        self.net.local_addr()
    }

    fn local_addrs(&self) -> Vec<SocketAddr> {
        self.net.local_addrs()
    }
}

#[cfg(unix)]
impl<N: Net + std::os::fd::AsFd> std::os::fd::AsFd for TlsNet<N> {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.net.as_fd()
    }
}

#[cfg(unix)]
impl<N: Net + std::os::fd::AsRawFd> std::os::fd::AsRawFd for TlsNet<N> {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.net.as_raw_fd()
    }
}
