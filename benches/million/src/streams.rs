//! The other ends of the streams: a socket and a number for each, which is the position in the expected
//! bytes.
//!
//! Every stream gets the same bytes, except for the date, so these are kept once, and each byte that arrives
//! is compared: a missing, doubled or misplaced one shows at once.

use crate::control::Control;
use crate::server::data;
use crate::{PATIENCE, Result};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::ops::Range;
use std::time::{Duration, Instant};

const REQUEST: &[u8] = b"GET /events HTTP/1.1\r\nHost: million\r\nAccept: text/event-stream\r\n\r\n";

/// Streams that are being opened at the same time: fewer than the server's backlog holds.
const OPENING: usize = 512;

/// Most streams that are closed here and not yet by the server.
const CLOSING: usize = 512;

/// Ports of one address. Each stream has a port that is chosen here, as the kernel searches ever longer for
/// one.
const PORTS: Range<u16> = 2_000..62_000;

/// Bytes of the receive buffer: unread events are the kernel's memory.
const ROOM: usize = 4096;

/// Period of progress reports.
const TELL: Duration = Duration::from_secs(10);

/// Instead of a position: the request has not been sent yet.
const NOT_ASKED: u32 = u32::MAX;

pub(crate) struct Streams {
    poll: Poll,
    events: Events,
    server: SocketAddr,
    first_source: Ipv4Addr,
    count: usize,
    /// Number of addresses and ports tried so far.
    sources: usize,
    sockets: Vec<TcpStream>,
    /// Position of each stream in `expected`.
    positions: Vec<u32>,
    /// Bytes that every stream gets: the response head, the comment after it, and all events so far.
    expected: Vec<u8>,
    /// Range of the date in it, which differs.
    date: Range<usize>,
    /// Number of streams that have all of it.
    complete: usize,
    /// Number of the last event.
    published: u32,
    buf: Vec<u8>,
}

impl Streams {
    pub(crate) fn new(server: SocketAddr, count: usize) -> Result<Streams> {
        let expected = learn(server)?;
        let date = {
            let text = String::from_utf8(expected.clone())?.to_ascii_lowercase();
            let start = text.find("\r\ndate: ").ok_or("the response has no date")? + "\r\ndate: ".len();
            start..start + text[start..].find("\r\n").ok_or("the date has no end")?
        };
        let [pid, ..] = std::process::id().to_le_bytes();
        Ok(Streams {
            poll: Poll::new()?,
            events: Events::with_capacity(1024),
            server,
            first_source: Ipv4Addr::new(127, 64 + pid % 128, 1, 1),
            count,
            sources: 0,
            sockets: Vec::with_capacity(count),
            positions: Vec::with_capacity(count),
            expected,
            date,
            complete: 0,
            published: 0,
            buf: vec![0; 16 << 10],
        })
    }

    /// Number of streams that do not have everything yet.
    pub(crate) fn missing(&self) -> usize {
        self.count - self.complete
    }

    pub(crate) fn open(&mut self) -> Result<()> {
        let mut progress = Progress::new(self.count, "streams are open");
        while self.complete < self.count {
            while self.sockets.len() < self.count.min(self.complete + OPENING) {
                self.connect()?;
            }
            self.turn(&mut progress)?;
        }
        Ok(())
    }

    /// From now on every stream expects `count` more events. Returns the number of the first.
    pub(crate) fn expect(&mut self, count: u32) -> u32 {
        let first = self.published + 1;
        self.published += count;
        for number in first..first + count {
            let event = format!("data: {}\n\n", data(number));
            self.expected.extend_from_slice(format!("{:x}\r\n{event}\r\n", event.len()).as_bytes());
        }
        self.complete = 0;
        first
    }

    /// Waits until every stream has everything.
    pub(crate) fn receive(&mut self, start: Instant) -> Result<()> {
        let mut progress = Progress::new(self.count, "streams have the event");
        progress.start = start;
        while self.complete < self.count {
            self.turn(&mut progress)?;
        }
        Ok(())
    }

    /// Checks that no more bytes have arrived than expected.
    pub(crate) fn look(&mut self) -> Result<()> {
        for index in 0..self.sockets.len() {
            self.read(index)?;
        }
        Ok(())
    }

    /// Closes all streams, and waits until the server has. It closes only so many at a time as the kernel
    /// handles cleanly: above a limit the kernel resets sockets that one side has closed, and a dropped reset
    /// is not sent again.
    pub(crate) fn close(&mut self, control: &mut Control) -> Result<()> {
        let mut progress = Progress::new(self.count, "streams are closed");
        loop {
            // One connection is the control's own.
            let open = usize::try_from(control.connections()?)?.saturating_sub(1);
            progress.tell(self.count.saturating_sub(open));
            progress.check()?;
            if open == 0 {
                return Ok(());
            }
            let closing = open.saturating_sub(self.sockets.len());
            let more = CLOSING.saturating_sub(closing).min(self.sockets.len());
            self.sockets.truncate(self.sockets.len() - more);
            if more == 0 {
                std::thread::sleep(Duration::from_millis(1));
            }
        }
    }

    fn connect(&mut self) -> Result<()> {
        let index = self.sockets.len();
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        socket.set_recv_buffer_size(ROOM)?;
        // A socket that listens on all addresses occupies its port here too.
        while let Err(error) = socket.bind(&self.next_source()?.into()) {
            if error.kind() != ErrorKind::AddrInUse {
                return Err(error.into());
            }
        }
        match socket.connect(&self.server.into()) {
            Err(error) if error.raw_os_error() != Some(EINPROGRESS) => return Err(error.into()),
            _ => {}
        }
        let mut socket = TcpStream::from_std(socket.into());
        self.poll.registry().register(&mut socket, Token(index), Interest::READABLE | Interest::WRITABLE)?;
        self.sockets.push(socket);
        self.positions.push(NOT_ASKED);
        self.request(index)
    }

    fn next_source(&mut self) -> Result<SocketAddr> {
        let (address, port) = (self.sources / PORTS.len(), self.sources % PORTS.len());
        self.sources += 1;
        let address = Ipv4Addr::from_bits(self.first_source.to_bits() + u32::try_from(address)?);
        Ok(SocketAddr::from((address, PORTS.start + u16::try_from(port)?)))
    }

    /// Sends the request if the connection is established, which on loopback it mostly is at once.
    fn request(&mut self, index: usize) -> Result<()> {
        match self.sockets[index].write(REQUEST) {
            Ok(written) if written == REQUEST.len() => self.positions[index] = 0,
            Ok(_) => return Err(format!("stream {index}: no room for a request").into()),
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {}
            Err(error) => return Err(format!("stream {index}: {error}").into()),
        }
        Ok(())
    }

    fn turn(&mut self, progress: &mut Progress) -> Result<()> {
        let mut events = std::mem::replace(&mut self.events, Events::with_capacity(0));
        match self.poll.poll(&mut events, Some(Duration::from_secs(1))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
            polled => polled?,
        }
        for event in &events {
            let Token(index) = event.token();
            if self.positions[index] == NOT_ASKED {
                self.request(index)?;
            } else if event.is_readable() {
                self.read(index)?;
            }
        }
        self.events = events;
        progress.tell(self.complete);
        progress.check()
    }

    /// Reads until the socket is empty, which a read that does not fill the buffer shows.
    fn read(&mut self, index: usize) -> Result<()> {
        loop {
            let read = match self.sockets[index].read(&mut self.buf) {
                Ok(0) => return Err(format!("stream {index}: closed by the server").into()),
                Ok(read) => read,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(format!("stream {index}: {error}").into()),
            };
            let start = self.positions[index] as usize;
            let end = start + read;
            let same = self.expected.get(start..end).is_some_and(|expected| {
                let seen = &self.buf[..read];
                seen == expected || start < self.date.end && self.same_but_the_date(start, seen)
            });
            if !same {
                let seen = self.buf[..read].escape_ascii();
                return Err(format!("stream {index}: at byte {start} came \"{seen}\"").into());
            }
            self.positions[index] = u32::try_from(end)?;
            if end == self.expected.len() {
                self.complete += 1;
            }
            if read < self.buf.len() {
                return Ok(());
            }
        }
    }

    fn same_but_the_date(&self, start: usize, seen: &[u8]) -> bool {
        let expected = &self.expected[start..];
        (start..)
            .zip(seen.iter().zip(expected))
            .all(|(at, (seen, expected))| seen == expected || self.date.contains(&at))
    }
}

/// Standard Rust has no [`ErrorKind`] for a pending connection.
const EINPROGRESS: i32 = 115;

/// The first bytes of a stream, from one that is opened for this and closed again.
fn learn(server: SocketAddr) -> Result<Vec<u8>> {
    let mut socket = std::net::TcpStream::connect(server)?;
    socket.write_all(REQUEST)?;
    socket.set_read_timeout(Some(Duration::from_secs(1)))?;
    let mut beginning = Vec::new();
    let error = socket.read_to_end(&mut beginning).err();
    let silent = error.is_some_and(|error| error.kind() == ErrorKind::WouldBlock);
    let text = String::from_utf8_lossy(&beginning).to_ascii_lowercase();
    let head = text.split("\r\n\r\n").next().unwrap_or_default();
    let right = head.starts_with("http/1.1 200 ")
        && head.contains("\r\ncontent-type: text/event-stream\r\n")
        && head.contains("\r\ntransfer-encoding: chunked");
    if silent && right { Ok(beginning) } else { Err(format!("no stream but {text:?}").into()) }
}

/// Reports progress now and then, and fails if there is none.
struct Progress {
    start: Instant,
    of: usize,
    what: &'static str,
    told: Instant,
    last: (usize, Instant),
}

impl Progress {
    fn new(of: usize, what: &'static str) -> Progress {
        let now = Instant::now();
        Progress { start: now, of, what, told: now, last: (0, now) }
    }

    fn tell(&mut self, done: usize) {
        if done != self.last.0 {
            self.last = (done, Instant::now());
        }
        if self.told.elapsed() >= TELL || done == self.of {
            self.told = Instant::now();
            eprintln!("# {:.1} s: {done} {}", self.start.elapsed().as_secs_f64(), self.what);
        }
    }

    fn check(&self) -> Result<()> {
        let (done, since) = self.last;
        if since.elapsed() < PATIENCE {
            return Ok(());
        }
        Err(format!("only {done} of {} {}, for {PATIENCE:?} now", self.of, self.what).into())
    }
}
