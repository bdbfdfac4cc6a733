//! A network in memory with the peers that an attack needs: they read as much as they like, and can send the
//! same bytes for ever.

use mio_sse::net::{Net, Ready};
use std::collections::VecDeque;
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::rc::Rc;
use std::task::Waker;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time of day when the clock is at zero.
const BEGUN: Duration = Duration::from_secs(1_800_000_000);

#[derive(Debug, Clone)]
struct Peer {
    slot: Option<u32>,
    /// Bytes that it sends, and how many of them have been read.
    input: Rc<[u8]>,
    read: usize,
    /// Whether it sends junk for ever after its input.
    junk: bool,
    /// Number of bytes that can be written to it.
    room: usize,
    left: bool,
}

#[derive(Debug, Default)]
pub(crate) struct AttackNet {
    pub(crate) now: Duration,
    /// Bytes written so far.
    pub(crate) written: usize,
    /// Target of the writes: a kernel copies them, too.
    sink: Vec<u8>,
    peers: Vec<Peer>,
    /// Whether closed peers free their numbers for others.
    pub(crate) reuses: bool,
    free: Vec<usize>,
    backlog: VecDeque<u32>,
    ready: Vec<Ready>,
}

impl AttackNet {
    /// A new peer that has connected and sends `input`.
    pub(crate) fn connect(&mut self, input: &Rc<[u8]>, junk: bool) -> usize {
        let peer = Peer { slot: None, input: input.clone(), read: 0, junk, room: usize::MAX, left: false };
        let number = self.free.pop().unwrap_or(self.peers.len());
        if number == self.peers.len() {
            self.peers.push(peer);
        } else {
            self.peers[number] = peer;
        }
        self.backlog.push_back(u32::try_from(number).expect("few peers"));
        if self.backlog.len() == 1 {
            self.ready.push(Ready::Listener);
        }
        number
    }

    pub(crate) fn send(&mut self, peer: usize, input: &Rc<[u8]>) {
        self.peers[peer].input = input.clone();
        self.peers[peer].read = 0;
        self.tell(peer, true, false);
    }

    /// From now on `room` bytes can be written to the peer.
    pub(crate) fn set_room(&mut self, peer: usize, room: usize) {
        self.peers[peer].room = room;
        self.tell(peer, false, room > 0);
    }

    pub(crate) fn leave(&mut self, peer: usize) {
        self.peers[peer].left = true;
        self.tell(peer, true, false);
    }

    /// Whether its connection is open.
    pub(crate) fn is_open(&self, peer: usize) -> bool {
        self.peers[peer].slot.is_some()
    }

    pub(crate) fn is_told(&self) -> bool {
        !self.ready.is_empty()
    }

    fn tell(&mut self, peer: usize, readable: bool, writable: bool) {
        let Peer { slot, left, .. } = self.peers[peer];
        if let Some(slot) = slot.filter(|_| readable || writable) {
            self.ready.push(Ready::Connection { slot, readable, writable, until_blocked: left });
        }
    }
}

/// The number of events that a real poll returns at once.
const EVENTS_PER_POLL: usize = 1024;

impl Net for AttackNet {
    type Socket = u32;
    const SHORT_MEANS_DRAINED: bool = true;

    fn poll(&mut self, _timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.extend(self.ready.drain(..self.ready.len().min(EVENTS_PER_POLL)));
        Ok(())
    }

    fn has_more(&self) -> bool {
        !self.ready.is_empty()
    }

    fn accept(&mut self) -> io::Result<(u32, Option<IpAddr>)> {
        let socket = self.backlog.pop_front().ok_or(io::ErrorKind::WouldBlock)?;
        Ok((socket, Some([127, 0, 0, 1].into())))
    }

    fn stop_listening(&mut self) {
        self.backlog.clear();
    }

    fn register(&mut self, socket: &mut u32, slot: u32) -> io::Result<()> {
        self.peers[*socket as usize].slot = Some(slot);
        self.tell(*socket as usize, true, true);
        Ok(())
    }

    fn read(&mut self, socket: &mut u32, buffer: &mut [u8]) -> io::Result<usize> {
        let peer = &mut self.peers[*socket as usize];
        let rest = &peer.input[peer.read..];
        let count = rest.len().min(buffer.len());
        buffer[..count].copy_from_slice(&rest[..count]);
        peer.read += count;
        if count == 0 && peer.left {
            return Ok(0);
        }
        if count == 0 && peer.junk {
            // The content of the junk does not matter, only its amount.
            return Ok(buffer.len());
        }
        if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    fn write(&mut self, socket: &mut u32, bytes: &[u8]) -> io::Result<usize> {
        let peer = &mut self.peers[*socket as usize];
        let count = bytes.len().min(peer.room);
        if peer.room != usize::MAX {
            peer.room -= count;
        }
        self.written += count;
        for piece in bytes[..count].chunks(1 << 16) {
            self.sink.clear();
            self.sink.extend_from_slice(piece);
        }
        if count == 0 { Err(io::ErrorKind::WouldBlock.into()) } else { Ok(count) }
    }

    fn shutdown(&mut self, _socket: &mut u32) -> io::Result<()> {
        Ok(())
    }

    fn close(&mut self, socket: u32) {
        self.peers[socket as usize].slot = None;
        if self.reuses {
            self.free.push(socket as usize);
        }
    }

    fn waker(&self) -> Waker {
        Waker::noop().clone()
    }

    fn now(&self) -> Duration {
        self.now
    }

    fn unix_time(&self) -> SystemTime {
        UNIX_EPOCH + BEGUN + self.now
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(([127, 0, 0, 1], 80).into())
    }
}
