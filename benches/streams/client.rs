//! The client role: holds the streams, publishes, and checks that every event reaches every stream in order.
//!
//! It publishes too, as that puts the sending of an event and its arrival at the last stream on one clock, with no
//! third process to be woken in between. One thread, one loop, no allocation once the streams are open: on two cores
//! it has one and the server has the other, and it must be the server that is at its limit.
//!
//! Commands come in lines on stdin, answers go in lines to stdout:
//! ```text
//! open ADDRESS TOPIC STREAMS SOURCE SOURCES   → opened STREAMS
//! stall ADDRESS TOPIC STREAMS SOURCE SOURCES  → opened STREAMS, which have little room and are not read any more
//! publish TURNS BURST                         → published WALL_NS BYTES LATENCY_NS,LATENCY_NS,…
//! leave fin|rst                               → left STREAMS
//! end PID                                     → ended EXIT_NS END_NS,END_NS,…: SIGTERM to PID, and when streams ended
//! anything that goes wrong                    → error WORDS, and the end
//! ```

use crate::Result;
use crate::decoder::Decoder;
use crate::floor::content_length;
use crate::payload::{self, Lines};
use crate::procfs;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use socket2::{Domain, SockRef, Socket, Type};
use std::fmt::Write as _;
use std::io::{self, BufRead, ErrorKind, Read, Write};
use std::net::{Ipv4Addr, Shutdown, SocketAddr};
use std::process::Command;
use std::time::{Duration, Instant};

/// Streams that are being opened at the same time: below the 128 that many servers queue before they accept.
const OPENING: usize = 100;

/// Nothing that brings the command forward within this time ends it. Heartbeats do not count as progress.
const STALL: Duration = Duration::from_secs(15);

/// The receive buffer of a stream that is to stall: as small as the kernel allows.
const STALLED_ROOM: usize = 2048;

/// Requests that one connection publishes: fewer than any server allows on one.
const REQUESTS_PER_CONNECTION: usize = 500;

const PUBLISHER: Token = Token(usize::MAX);

/// Reads commands until the harness closes the pipe.
pub(crate) fn run() -> Result<()> {
    let mut client = Client {
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
    poll: Poll,
    /// Taken out while it is walked over.
    events: Option<Events>,
    streams: Vec<Stream>,
    /// What asks for a stream.
    request: Vec<u8>,
    /// Address and topic, once streams are open.
    target: Option<(SocketAddr, String)>,
    /// The number of the last event published.
    published: u32,
    lines: Lines,
    buf: Vec<u8>,
    /// Bytes read from streams.
    bytes: u64,
    /// Bytes of the receive buffers, where they are not the kernel's business.
    room: Option<usize>,
    /// Whether streams are to end.
    ending: bool,
}

#[derive(Debug)]
struct Stream {
    socket: TcpStream,
    decoder: Decoder,
    asked: bool,
}

/// The connection that publishes, made anew for each command.
#[derive(Debug)]
struct Publisher {
    socket: TcpStream,
    /// The requests of this turn, and how much of them has been written.
    requests: Vec<u8>,
    written: usize,
    answers: Answers,
    /// Answers still to come.
    unanswered: u32,
    /// Whether the server has closed it, as many do when nothing is asked for some seconds.
    closed: bool,
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
            ["leave", how @ ("fin" | "rst")] => self.leave(how == "rst"),
            _ => Err(format!("no such command: {line}").into()),
        }
    }

    /// Waits until something is readable or writable; fails when `progress` lies too far back.
    fn poll(&mut self, events: &mut Events, progress: Instant, what: impl Fn() -> String) -> Result<()> {
        match self.poll.poll(events, Some(STALL)) {
            Err(error) if error.kind() == ErrorKind::Interrupted => events.clear(),
            polled => polled?,
        }
        if progress.elapsed() >= STALL {
            return Err(format!("no progress within {STALL:?}: {}", what()).into());
        }
        Ok(())
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
            while self.streams.len() - before < count.min(opened + OPENING) {
                let nth = u32::try_from(self.streams.len())?;
                self.connect(address, Ipv4Addr::from_bits(source.to_bits() + nth % sources))?;
            }
            self.poll(&mut events, progress, || format!("{opened} of {count} streams are open"))?;
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

    /// Sends the request as soon as the connection stands.
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

    /// Reads what has come. A read that did not fill the buffer has emptied the socket and saves the one that would
    /// only say so; unless the peer has closed, which a read has to see.
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

    /// Publishes `turns` times `burst` events, each turn when the one before has arrived everywhere.
    fn publish(&mut self, turns: u32, burst: u32) -> Result<String> {
        let (address, topic) = self.target.clone().ok_or("there are no streams to publish to")?;
        let head = format!(
            "POST /publish/{topic} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n",
            payload::DATA_BYTES
        );
        self.lines = Lines::new(self.published + 1, turns * burst);
        let mut publisher = Publisher::connect(address, &self.poll)?;
        let mut events = self.events.take().ok_or("no events")?;
        let mut latencies = Vec::with_capacity(turns as usize);
        let bytes = self.bytes;
        let start = Instant::now();
        let turns_per_connection = (REQUESTS_PER_CONNECTION / burst.max(1) as usize).max(1);
        for turn in 0..turns as usize {
            if publisher.closed || turn > 0 && turn.is_multiple_of(turns_per_connection) {
                publisher = Publisher::connect(address, &self.poll)?;
            }
            latencies.push(self.turn(&mut publisher, &mut events, head.as_bytes(), burst)?);
        }
        let mut answer = format!("published {} {} ", start.elapsed().as_nanos(), self.bytes - bytes);
        for latency in latencies {
            write!(answer, "{},", latency.as_nanos())?;
        }
        self.events = Some(events);
        Ok(answer)
    }

    /// Publishes one burst in one write; returns the time until the last stream had all of it.
    fn turn(
        &mut self,
        publisher: &mut Publisher,
        events: &mut Events,
        head: &[u8],
        burst: u32,
    ) -> Result<Duration> {
        publisher.requests.clear();
        publisher.written = 0;
        publisher.unanswered = burst;
        for number in self.published + 1..=self.published + burst {
            publisher.requests.extend_from_slice(head);
            publisher.requests.extend_from_slice(&payload::data(number));
        }
        self.published += burst;
        let last = self.published;
        let mut missing = self.streams.len();
        let mut arrived = Duration::ZERO;
        let mut progress = Instant::now();
        let start = Instant::now();
        publisher.write()?;
        while missing > 0 || publisher.unanswered > 0 {
            let before = (missing, publisher.unanswered);
            self.poll(events, progress, || {
                let (streams, answers) = before;
                format!("event {last} is missing at {streams} streams, {answers} requests lack an answer")
            })?;
            for event in events.iter() {
                if event.token() == PUBLISHER {
                    publisher.write()?;
                    publisher.read(&mut self.buf)?;
                    continue;
                }
                let Token(index) = event.token();
                if !event.is_readable() {
                    continue;
                }
                let next = self.streams[index].decoder.next();
                self.read(index, event.is_read_closed())?;
                if next <= last && self.streams[index].decoder.next() > last {
                    missing -= 1;
                    if missing == 0 {
                        arrived = start.elapsed();
                    }
                }
            }
            if before != (missing, publisher.unanswered) {
                progress = Instant::now();
            }
        }
        Ok(arrived)
    }

    /// Asks the server to end, and waits until it has ended every stream and itself.
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
            self.poll(&mut events, progress, || format!("{missing} streams have not ended"))?;
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
                    // As a browser does.
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

    /// Looks a last time for what should not have come, then closes every stream: in an orderly way, or so that no
    /// port stays behind in TIME_WAIT.
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

/// Standard Rust has no [`ErrorKind`] for a connection that is under way.
const EINPROGRESS: i32 = 115;

impl Publisher {
    fn connect(address: SocketAddr, poll: &Poll) -> Result<Publisher> {
        let socket = std::net::TcpStream::connect_timeout(&address, STALL)?;
        socket.set_nodelay(true)?;
        socket.set_nonblocking(true)?;
        let mut socket = TcpStream::from_std(socket);
        poll.registry().register(&mut socket, PUBLISHER, Interest::READABLE | Interest::WRITABLE)?;
        Ok(Publisher {
            socket,
            requests: Vec::new(),
            written: 0,
            answers: Answers::default(),
            unanswered: 0,
            closed: false,
        })
    }

    fn write(&mut self) -> Result<()> {
        while self.written < self.requests.len() {
            match self.socket.write(&self.requests[self.written..]) {
                Ok(written) => self.written += written,
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(format!("publishing: {error}").into()),
            }
        }
        Ok(())
    }

    fn read(&mut self, buf: &mut [u8]) -> Result<()> {
        loop {
            let length = match self.socket.read(buf) {
                Ok(0) if self.unanswered == 0 => {
                    self.closed = true;
                    return Ok(());
                }
                Ok(0) => return Err("the server closed the connection that publishes".into()),
                Ok(length) => length,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("publishing: {error}").into()),
            };
            let answers = self.answers.count(&buf[..length])?;
            self.unanswered = self.unanswered.checked_sub(answers).ok_or("more answers than requests")?;
        }
    }
}

/// Finds where one answer ends and the next begins: each is a 2xx, mostly a 204, and may have a body of known length.
#[derive(Debug, Default)]
struct Answers {
    /// What has come of a head.
    head: Vec<u8>,
    /// What is to come of a body.
    body: usize,
}

impl Answers {
    /// Takes what a read has brought; says how many answers have ended in it.
    fn count(&mut self, mut bytes: &[u8]) -> Result<u32> {
        let mut ended = 0;
        while let Some((&byte, rest)) = bytes.split_first() {
            if self.body > 0 {
                let taken = self.body.min(bytes.len());
                self.body -= taken;
                bytes = &bytes[taken..];
            } else {
                bytes = rest;
                self.head.push(byte);
                if !self.head.ends_with(b"\r\n\r\n") {
                    continue;
                }
                if !self.head.starts_with(b"HTTP/1.1 2") {
                    let seen = self.head[..self.head.len().min(200)].escape_ascii();
                    return Err(format!("publishing was answered \"{seen}\"").into());
                }
                self.body = content_length(&self.head);
                self.head.clear();
            }
            ended += u32::from(self.body == 0);
        }
        Ok(ended)
    }
}
