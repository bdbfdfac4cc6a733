//! The client role: holds the streams, publishes, and checks that every event reaches every stream in order.
//!
//! It publishes too, which puts the sending of an event and its last arrival on one clock, without a third
//! process that has to be woken in between. It has one thread and one loop, and allocates nothing once the
//! streams are open. Of two cores it has one and the server the other, and the server must be the one at its
//! limit.
//!
//! Commands are lines on stdin, replies are lines on stdout:
//! ```text
//! open ADDRESS TOPIC STREAMS SOURCE SOURCES   → opened STREAMS
//! stall ADDRESS TOPIC STREAMS SOURCE SOURCES  → opened STREAMS, which have little room and are no longer read
//! publish TURNS BURST                         → published WALL_NS BYTES LATENCY_NS,LATENCY_NS,…
//! schedule EVENTS PERIOD_MS                   → scheduled WALL_NS BYTES LATE_NS QUANTILE_NS,QUANTILE_NS,…
//! rest MS                                     → rested READS BYTES
//! leave fin|rst                               → left STREAMS
//! end PID                                     → ended EXIT_NS END_NS,END_NS,…: SIGTERM to PID, and when streams ended
//! anything that goes wrong                    → error WORDS, and the end
//! ```

mod publisher;
mod schedule;
mod turns;

use crate::Result;
use crate::decoder::Decoder;
use crate::payload::Lines;
use crate::procfs;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use publisher::{PUBLISHER, Publisher};
use socket2::{Domain, SockRef, Socket, Type};
use std::fmt::Write as _;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::ops::Range;
use std::process::Command;
use std::time::{Duration, Instant};

/// A command without progress for this long fails. Heartbeats are not progress.
const STALL: Duration = Duration::from_secs(15);

/// Receive buffer of a stream that is to stall: as small as the kernel allows.
const STALLED_ROOM: usize = 2048;

/// Reads commands until the harness closes the pipe. Opens `opening` streams at the same time.
pub(crate) fn run(opening: usize) -> Result<()> {
    let mut client = Client {
        opening,
        poll: Poll::new()?,
        events: Some(Events::with_capacity(1024)),
        streams: Vec::new(),
        request: Vec::new(),
        target: None,
        published: 0,
        lines: Lines::default(),
        buf: vec![0; 256 * 1024],
        bytes: 0,
        room: None,
        ending: false,
    };
    for line in io::stdin().lock().lines() {
        match client.obey(&line?) {
            // Not `println!`, which panics when the harness is gone.
            Ok(answer) => writeln!(io::stdout(), "{answer}")?,
            Err(failure) => {
                writeln!(io::stdout(), "error {failure}")?;
                break;
            }
        }
    }
    Ok(())
}

#[derive(Debug)]
struct Client {
    /// Streams that are being opened at the same time.
    opening: usize,
    poll: Poll,
    /// Taken out during a walk over it.
    events: Option<Events>,
    streams: Vec<Stream>,
    /// The request for a stream.
    request: Vec<u8>,
    /// Address and topic, once streams are open.
    target: Option<(SocketAddr, String)>,
    /// Number of the last published event.
    published: u32,
    lines: Lines,
    buf: Vec<u8>,
    /// Bytes read from streams.
    bytes: u64,
    /// Size of the receive buffers, if it is not left to the kernel.
    room: Option<usize>,
    /// Whether the streams are expected to close.
    ending: bool,
}

#[derive(Debug)]
struct Stream {
    socket: TcpStream,
    decoder: Decoder,
    asked: bool,
}

impl Client {
    fn obey(&mut self, line: &str) -> Result<String> {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words[..] {
            [how @ ("open" | "stall"), address, topic, streams, source, sources] => {
                self.room = (how == "stall").then_some(STALLED_ROOM);
                self.open(address.parse()?, topic, streams.parse()?, source.parse()?, sources.parse()?)
            }
            ["end", server] => self.end(server.parse()?),
            ["publish", turns, burst] => self.publish(turns.parse()?, burst.parse()?),
            ["schedule", count, period] => {
                self.schedule(count.parse()?, Duration::from_millis(period.parse()?))
            }
            ["rest", time] => self.rest(Duration::from_millis(time.parse()?)),
            ["leave", how @ ("fin" | "rst")] => self.leave(how == "rst"),
            _ => Err(format!("no such command: {line}").into()),
        }
    }

    /// Waits for readiness, at most for `wait`. Fails if `progress` is too long ago.
    fn poll(
        &mut self,
        events: &mut Events,
        wait: Duration,
        progress: Instant,
        what: impl Fn() -> String,
    ) -> Result<()> {
        match self.poll.poll(events, Some(wait)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
            polled => polled?,
        }
        if progress.elapsed() >= STALL {
            return Err(format!("no progress within {STALL:?}: {}", what()).into());
        }
        Ok(())
    }

    /// Waits as [`poll`](Self::poll) does, then serves the ready sockets. `came` gets the numbers of the
    /// events that each read has completed.
    fn exchange(
        &mut self,
        publisher: &mut Publisher,
        events: &mut Events,
        wait: Duration,
        progress: Instant,
        what: impl Fn() -> String,
        mut came: impl FnMut(Range<u32>) -> Result<()>,
    ) -> Result<()> {
        self.poll(events, wait, progress, what)?;
        for event in events.iter() {
            let Token(index) = event.token();
            if event.token() == PUBLISHER {
                publisher.ready(&mut self.buf)?;
            } else if event.is_readable() {
                let next = self.streams[index].decoder.next();
                self.read(index, event.is_read_closed())?;
                came(next..self.streams[index].decoder.next())?;
            }
        }
        Ok(())
    }

    /// Connects to the server of the streams, to publish.
    fn publisher(&self) -> Result<Publisher> {
        let (address, topic) = self.target.as_ref().ok_or("there are no streams to publish to")?;
        Publisher::connect(*address, topic, &self.poll)
    }

    fn open(
        &mut self,
        address: SocketAddr,
        topic: &str,
        count: usize,
        source: Ipv4Addr,
        sources: u32,
    ) -> Result<String> {
        self.request =
            format!("GET /events/{topic} HTTP/1.1\r\nHost: {address}\r\nAccept: text/event-stream\r\n\r\n")
                .into_bytes();
        self.target = Some((address, topic.to_owned()));
        let mut events = self.events.take().ok_or("no events")?;
        let before = self.streams.len();
        let mut opened = 0;
        let mut progress = Instant::now();
        while opened < count {
            while self.streams.len() - before < count.min(opened + self.opening) {
                let nth = u32::try_from(self.streams.len())?;
                self.connect(address, Ipv4Addr::from_bits(source.to_bits() + nth % sources))?;
            }
            self.poll(&mut events, STALL, progress, || format!("{opened} of {count} streams are open"))?;
            for event in &events {
                let Token(index) = event.token();
                if event.is_writable() {
                    self.ask(index)?;
                }
                if event.is_readable() {
                    let already = self.streams[index].decoder.opened();
                    self.read(index, event.is_read_closed())?;
                    if !already && self.streams[index].decoder.opened() {
                        opened += 1;
                        progress = Instant::now();
                    }
                }
            }
        }
        self.events = Some(events);
        Ok(format!("opened {opened}"))
    }

    fn connect(&mut self, address: SocketAddr, source: Ipv4Addr) -> Result<()> {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_nonblocking(true)?;
        if let Some(room) = self.room {
            socket.set_recv_buffer_size(room)?;
        }
        socket.bind(&SocketAddr::from((source, 0)).into())?;
        let socket: std::net::TcpStream = match socket.connect(&address.into()) {
            Err(error)
                if error.raw_os_error() != Some(EINPROGRESS) && error.kind() != ErrorKind::WouldBlock =>
            {
                return Err(error.into());
            }
            _ => socket.into(),
        };
        let mut socket = TcpStream::from_std(socket);
        let token = Token(self.streams.len());
        self.poll.registry().register(&mut socket, token, Interest::READABLE | Interest::WRITABLE)?;
        self.streams.push(Stream { socket, decoder: Decoder::new(self.published + 1), asked: false });
        Ok(())
    }

    /// Sends the request as soon as the connection is established.
    fn ask(&mut self, index: usize) -> Result<()> {
        let stream = &mut self.streams[index];
        if stream.asked {
            return Ok(());
        }
        match stream.socket.write(&self.request) {
            Ok(written) if written == self.request.len() => stream.asked = true,
            Ok(_) => {
                return Err(format!("stream {index}: the request did not fit into an empty socket").into());
            }
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::NotConnected) => {}
            Err(error) => return Err(format!("stream {index}: {error}").into()),
        }
        Ok(())
    }

    /// Reads what has arrived. A read that did not fill the buffer has emptied the socket, which saves
    /// another read, unless the peer has closed, which only a read shows.
    fn read(&mut self, index: usize, closed: bool) -> Result<()> {
        let stream = &mut self.streams[index];
        loop {
            match stream.socket.read(&mut self.buf) {
                Ok(0) => return Err(format!("stream {index}: closed by the server").into()),
                Ok(length) => {
                    self.bytes += length as u64;
                    let bytes = &self.buf[..length];
                    stream.decoder.decode(bytes, &self.lines).map_err(|fault| {
                        let seen = bytes[..length.min(200)].escape_ascii();
                        format!("stream {index}: {fault}; the read began with \"{seen}\"")
                    })?;
                    if stream.decoder.ended() && !self.ending {
                        return Err(format!("stream {index}: the server ended the stream").into());
                    }
                    if length < self.buf.len() && !closed {
                        return Ok(());
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("stream {index}: {error}").into()),
            }
        }
    }

    /// Stops the server, and waits until it has closed every stream and exited.
    fn end(&mut self, server: u32) -> Result<String> {
        self.ending = true;
        let mut ends = vec![None; self.streams.len()];
        let mut missing = ends.len();
        let mut events = self.events.take().ok_or("no events")?;
        let mut progress = Instant::now();
        let start = Instant::now();
        if !Command::new("kill").arg(server.to_string()).status()?.success() {
            return Err(format!("cannot send SIGTERM to process {server}").into());
        }
        while missing > 0 {
            self.poll(&mut events, STALL, progress, || format!("{missing} streams have not ended"))?;
            for event in &events {
                let Token(index) = event.token();
                if !event.is_readable() || ends.get(index).is_none_or(Option::is_some) {
                    continue;
                }
                self.read(index, false)?;
                if self.streams[index].decoder.ended() {
                    progress = Instant::now();
                    ends[index] = Some(start.elapsed());
                    missing -= 1;
                    // A browser does this as well.
                    self.streams[index].socket.shutdown(Shutdown::Both)?;
                }
            }
        }
        while procfs::program(server).is_some() {
            if progress.elapsed() >= STALL {
                return Err(format!("process {server} is still there {STALL:?} after the last stream").into());
            }
            std::thread::sleep(Duration::from_millis(1));
        }
        let mut answer = format!("ended {} ", start.elapsed().as_nanos());
        for end in ends.into_iter().flatten() {
            write!(answer, "{},", end.as_nanos())?;
        }
        self.events = Some(events);
        self.streams.clear();
        Ok(answer)
    }

    /// Checks a last time for unexpected bytes, then closes every stream: cleanly, or with a reset, so that
    /// no port stays in TIME_WAIT.
    fn leave(&mut self, reset: bool) -> Result<String> {
        for index in 0..self.streams.len() {
            self.read(index, false)?;
            if self.streams[index].decoder.next() != self.published + 1 {
                return Err(format!("stream {index} has seen more than was published").into());
            }
        }
        let left = self.streams.len();
        for stream in self.streams.drain(..) {
            if reset {
                SockRef::from(&stream.socket).set_linger(Some(Duration::ZERO))?;
            }
        }
        Ok(format!("left {left}"))
    }
}

/// Standard Rust has no [`ErrorKind`] for a pending connection.
const EINPROGRESS: i32 = 115;
