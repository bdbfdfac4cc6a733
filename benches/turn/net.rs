//! A network in memory that costs next to nothing, so that the loop is measured.
//!
//! Unlike the network of the tests it has no faults. For each peer it keeps only what fits into the four
//! bytes of its socket: the number of the next event.

use crate::numbered::Numbered;
use mio_sse::net::{Net, Ready};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::num::NonZeroU32;
use std::task::Waker;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// The time of day when the clock is at zero.
const BEGUN: Duration = Duration::from_secs(1_800_000_000);

/// One more than the place of the next event among the [numbered](Numbered) events.
#[derive(Debug)]
pub(crate) struct Socket(NonZeroU32);

/// What happens to written bytes.
#[derive(Debug)]
pub(crate) enum Check {
    /// They are counted, and the last ones are kept.
    Tail(Vec<u8>),
    /// All of them are kept.
    Keep(Vec<u8>),
    /// They are numbered events. Every stream has to get each of them, in order, once.
    Numbered(Box<Numbered>),
}

/// The network and its peers.
#[derive(Debug)]
pub(crate) struct MemoryNet {
    pub(crate) now: Duration,
    /// The bytes that each ready peer sends. If empty, a read returns the end.
    pub(crate) input: Vec<u8>,
    /// Whether no peer has room for anything.
    pub(crate) blocked: bool,
    pub(crate) check: Check,
    pub(crate) bytes: u64,
    pub(crate) writes: u64,
    /// Numbered events that have arrived.
    pub(crate) events: u64,
    /// Connections that the server has closed.
    pub(crate) closed: usize,
    /// Connections that wait to be accepted.
    backlog: usize,
    ready: Vec<Ready>,
    /// The slots of all connections since [`forget`](Self::forget).
    slots: Vec<u32>,
}

impl MemoryNet {
    pub(crate) fn new() -> Self {
        Self {
            now: Duration::ZERO,
            input: Vec::new(),
            blocked: false,
            check: Check::Tail(Vec::new()),
            bytes: 0,
            writes: 0,
            events: 0,
            closed: 0,
            backlog: 0,
            ready: Vec::new(),
            slots: Vec::new(),
        }
    }

    /// `count` peers connect and send [`input`](Self::input).
    pub(crate) fn connect(&mut self, count: usize) {
        self.backlog += count;
        self.ready.push(Ready::Listener);
    }

    /// All connected peers send `input` once more.
    pub(crate) fn ask(&mut self) {
        self.tell(true, false, false);
    }

    /// All connected peers have room again.
    pub(crate) fn make_room(&mut self) {
        self.blocked = false;
        self.tell(false, true, false);
    }

    /// All connected peers leave.
    pub(crate) fn hang_up(&mut self) {
        self.input.clear();
        self.tell(true, false, true);
        self.slots.clear();
    }

    /// The peers that have connected so far are left as they are.
    pub(crate) fn forget(&mut self) {
        self.slots.clear();
    }

    /// The last bytes written.
    pub(crate) fn tail(&self) -> &[u8] {
        match &self.check {
            Check::Tail(bytes) | Check::Keep(bytes) => bytes,
            Check::Numbered(_) => &[],
        }
    }

    fn tell(&mut self, readable: bool, writable: bool, until_blocked: bool) {
        let ready = |&slot: &u32| Ready::Connection { slot, readable, writable, until_blocked };
        self.ready.extend(self.slots.iter().map(ready));
    }
}

impl Net for MemoryNet {
    type Socket = Socket;
    const SHORT_MEANS_DRAINED: bool = true;

    fn poll(&mut self, _timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        ready.append(&mut self.ready);
        Ok(())
    }

    fn accept(&mut self) -> io::Result<(Socket, Option<IpAddr>)> {
        self.backlog = self.backlog.checked_sub(1).ok_or(io::ErrorKind::WouldBlock)?;
        Ok((Socket(NonZeroU32::MIN), Some([127, 0, 0, 1].into())))
    }

    fn stop_listening(&mut self) {}

    fn register(&mut self, _socket: &mut Socket, slot: u32) -> io::Result<()> {
        self.slots.push(slot);
        self.ready.push(Ready::Connection { slot, readable: true, writable: true, until_blocked: false });
        Ok(())
    }

    fn read(&mut self, _socket: &mut Socket, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.input.len();
        buffer[..count].copy_from_slice(&self.input);
        Ok(count)
    }

    fn write(&mut self, socket: &mut Socket, bytes: &[u8]) -> io::Result<usize> {
        if self.blocked {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        self.bytes += bytes.len() as u64;
        self.writes += 1;
        match &mut self.check {
            Check::Numbered(numbered) => {
                let run = numbered.read(bytes);
                assert_eq!(socket.0.get() - 1, run.from, "each event in order, once");
                socket.0 = NonZeroU32::MIN.saturating_add(run.to);
                self.events += run.events;
            }
            Check::Tail(tail) => {
                tail.clear();
                tail.extend_from_slice(&bytes[bytes.len().saturating_sub(64)..]);
            }
            Check::Keep(all) => all.extend_from_slice(bytes),
        }
        Ok(bytes.len())
    }

    fn shutdown(&mut self, _socket: &mut Socket) -> io::Result<()> {
        Ok(())
    }

    fn close(&mut self, _socket: Socket) {
        self.closed += 1;
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
