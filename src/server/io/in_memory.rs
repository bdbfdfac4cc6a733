//! A network in memory, for tests, whose clock is moved by hand.

use crate::peer::Peer;
use crate::server::io::net::{Net, Ready};
use std::collections::VecDeque;
use std::fmt;
use std::io;
use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Wake, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Bytes that may wait for a client, like the buffer of a socket.
const ROOM_BYTES: usize = 1 << 20;

/// The begin of the clock: the first of January 2000.
const BEGIN: Duration = Duration::from_secs(946_684_800);

const PEER: IpAddr = IpAddr::V4(Ipv4Addr::LOCALHOST);

/// The network of [`Server::in_memory`](crate::Server::in_memory).
#[derive(Default)]
pub struct InMemory {
    now: Duration,
    waiting: VecDeque<Wire>,
    /// Registered connections by slot.
    wires: Vec<Option<Wire>>,
    woken: Arc<Woken>,
}

impl fmt::Debug for InMemory {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("InMemory").field("now", &self.now).finish_non_exhaustive()
    }
}

#[derive(Default)]
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// One connection, shared by both ends.
#[derive(Clone, Default)]
pub struct Wire(Arc<Mutex<Ends>>);

impl fmt::Debug for Wire {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Wire")
    }
}

/// Bytes on their way, and the state of both ends.
#[derive(Default)]
pub(crate) struct Ends {
    to_server: VecDeque<u8>,
    to_client: Vec<u8>,
    client_closed: bool,
    server_closed: bool,
    /// Readiness that the next poll reports.
    readable: bool,
    writable: bool,
}

impl Wire {
    fn lock(&self) -> MutexGuard<'_, Ends> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub(crate) fn send(&self, bytes: &[u8]) {
        let mut ends = self.lock();
        ends.to_server.extend(bytes);
        ends.readable = true;
    }

    /// The bytes that have arrived, and whether the server has closed.
    pub(crate) fn receive(&self) -> (Vec<u8>, bool) {
        let mut ends = self.lock();
        ends.writable = true;
        (std::mem::take(&mut ends.to_client), ends.server_closed)
    }

    pub(crate) fn close(&self) {
        let mut ends = self.lock();
        ends.client_closed = true;
        ends.readable = true;
    }
}

impl InMemory {
    /// A client connects.
    pub(crate) fn connect(&mut self) -> Wire {
        let wire = Wire::default();
        self.waiting.push_back(wire.clone());
        wire
    }

    pub(crate) fn pass(&mut self, time: Duration) {
        self.now = self.now.saturating_add(time);
    }

    /// Whether the next poll has something to report.
    pub(crate) fn has_news(&self) -> bool {
        let tells = |wire: &Wire| {
            let ends = wire.lock();
            ends.readable || ends.writable
        };
        !self.waiting.is_empty()
            || self.woken.0.swap(false, Ordering::SeqCst)
            || self.wires.iter().flatten().any(tells)
    }
}

impl Net for InMemory {
    type Socket = Wire;

    const SHORT_MEANS_DRAINED: bool = false;

    fn poll(&mut self, _timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        if !self.waiting.is_empty() {
            ready.push(Ready::Listener);
        }
        for (slot, wire) in (0..).zip(&self.wires) {
            let Some(wire) = wire else { continue };
            let mut ends = wire.lock();
            let (readable, writable) =
                (std::mem::take(&mut ends.readable), std::mem::take(&mut ends.writable));
            if readable || writable {
                ready.push(Ready::Connection { slot, readable, writable, until_blocked: true });
            }
        }
        Ok(())
    }

    fn accept(&mut self) -> io::Result<(Wire, Option<IpAddr>)> {
        let wire = self.waiting.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        Ok((wire, Some(PEER)))
    }

    fn stop_listening(&mut self) {
        self.waiting.drain(..).for_each(|wire| wire.lock().server_closed = true);
    }

    fn register(&mut self, socket: &mut Wire, slot: u32) -> io::Result<()> {
        let index = slot as usize;
        if index >= self.wires.len() {
            self.wires.resize(index + 1, None);
        }
        self.wires[index] = Some(socket.clone());
        Ok(())
    }

    fn read(&mut self, socket: &mut Wire, buffer: &mut [u8]) -> io::Result<usize> {
        let mut ends = socket.lock();
        if ends.to_server.is_empty() && !ends.client_closed {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let count = buffer.len().min(ends.to_server.len());
        for (place, byte) in buffer.iter_mut().zip(ends.to_server.drain(..count)) {
            *place = byte;
        }
        Ok(count)
    }

    fn write(&mut self, socket: &mut Wire, bytes: &[u8]) -> io::Result<usize> {
        let mut ends = socket.lock();
        let count = bytes.len().min(ROOM_BYTES.saturating_sub(ends.to_client.len()));
        if count == 0 {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        ends.to_client.extend_from_slice(&bytes[..count]);
        Ok(count)
    }

    fn shutdown(&mut self, socket: &mut Wire) -> io::Result<()> {
        let mut ends = socket.lock();
        ends.server_closed = true;
        // The client would send nothing more.
        ends.client_closed = true;
        ends.readable = true;
        Ok(())
    }

    fn close(&mut self, socket: Wire) {
        socket.lock().server_closed = true;
        let is_it =
            |wire: &&mut Option<Wire>| wire.as_ref().is_some_and(|wire| Arc::ptr_eq(&wire.0, &socket.0));
        if let Some(wire) = self.wires.iter_mut().find(is_it) {
            *wire = None;
        }
    }

    fn waker(&self) -> Waker {
        self.woken.clone().into()
    }

    fn now(&self) -> Duration {
        self.now
    }

    fn unix_time(&self) -> SystemTime {
        UNIX_EPOCH + BEGIN + self.now
    }

    /// Always the same, so a test gets the same ids each time.
    fn random(&mut self) -> u64 {
        0
    }

    fn peer(&self, _socket: &Wire) -> Option<Peer> {
        Some(Peer::Address(SocketAddr::new(PEER, 0)))
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Err(io::ErrorKind::Unsupported.into())
    }
}
