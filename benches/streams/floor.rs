//! The yardstick: the least work with which a single-threaded server can deliver.
//!
//! It accepts, reads up to an empty line, sends a fixed head, and on a POST walks over all stream sockets and
//! writes. It has one topic for all paths, and no log, limits or timers; it trusts its peers, and drops a
//! peer whose socket does not take a whole frame at once. So its cost is the kernel's cost of the same
//! traffic.
//!
//! By default each event is one write for each stream, even if several events arrive in one read. With
//! `coalesce`, events that arrive together are one write for each stream: the least that a burst can cost.
//!
//! With several loops it is as many threads. Each has the streams that the kernel gives to its listener, and
//! passes on the events that are posted to it.

use crate::Result;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, Sender, channel};
use std::thread;

const LISTENER: Token = Token(usize::MAX);
const WAKER: Token = Token(usize::MAX - 1);

const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Cache-Control: no-store, no-transform\r\nX-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n\
    2\r\n:\n\r\n";

#[derive(Debug)]
struct Floor {
    poll: Poll,
    listener: TcpListener,
    peers: Slab<Peer>,
    /// The stream sockets in one vector for the loop of writes, each with its place in `peers`.
    streams: Vec<(TcpStream, usize)>,
    coalesce: bool,
    counts: Arc<Counts>,
    /// Frames that were posted to another loop, and their number.
    posted: Receiver<(Arc<[u8]>, u64)>,
    others: Vec<Other>,
    buf: Vec<u8>,
}

/// Counters over all loops.
#[derive(Debug, Default)]
struct Counts {
    connections: AtomicU64,
    streams: AtomicU64,
    delivered: AtomicU64,
}

/// The sender to another loop.
#[derive(Debug, Clone)]
struct Other {
    post: Sender<(Arc<[u8]>, u64)>,
    waker: Arc<mio::Waker>,
}

#[derive(Debug)]
enum Peer {
    /// The client may send requests. `input` is the beginning of the next one.
    Asking { socket: TcpStream, input: Vec<u8> },
    /// Index in `streams`.
    Streaming(usize),
}

/// What follows after the input of a connection was read.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Request,
    Stream,
    Close,
}

/// Serves on `PORT` of 127.0.0.1 in `loops` loops until it is killed.
pub(crate) fn run(coalesce: bool, loops: usize) -> Result<()> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(0);
    let mut address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let counts = Arc::new(Counts::default());
    let (mut floors, mut ways) = (Vec::new(), Vec::new());
    for _ in 0..loops {
        let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        socket.set_reuse_port(loops > 1)?;
        socket.set_nonblocking(true)?;
        // Accepted sockets inherit this on Linux.
        socket.set_tcp_nodelay(true)?;
        socket.bind(&address.into())?;
        socket.listen(4096)?;
        let mut listener = TcpListener::from_std(socket.into());
        address = listener.local_addr()?;
        let poll = Poll::new()?;
        poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
        let (post, posted) = channel();
        ways.push(Other { post, waker: Arc::new(mio::Waker::new(poll.registry(), WAKER)?) });
        floors.push(Floor {
            poll,
            listener,
            peers: Slab::new(),
            streams: Vec::new(),
            coalesce,
            counts: Arc::clone(&counts),
            posted,
            others: Vec::new(),
            buf: vec![0; 64 * 1024],
        });
    }
    for (index, floor) in floors.iter_mut().enumerate() {
        let others = ways.iter().enumerate().filter(|(other, _)| *other != index);
        floor.others = others.map(|(_, way)| way.clone()).collect();
    }
    println!("floor on http://{address}");
    let mut floors = floors.into_iter();
    let first = floors.next();
    for mut floor in floors {
        thread::spawn(move || floor.serve().expect("the poll works"));
    }
    first.map_or(Ok(()), |mut first| first.serve())
}

impl Floor {
    fn serve(&mut self) -> Result<()> {
        let mut events = Events::with_capacity(1024);
        loop {
            match self.poll.poll(&mut events, None) {
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                polled => polled?,
            }
            for event in &events {
                match event.token() {
                    LISTENER => self.accept()?,
                    WAKER => {
                        while let Ok((frames, events)) = self.posted.try_recv() {
                            self.deliver(&frames, events);
                        }
                    }
                    Token(place) => self.read(place, event.is_read_closed()),
                }
            }
        }
    }

    fn accept(&mut self) -> Result<()> {
        loop {
            match self.listener.accept() {
                Ok((mut socket, _)) => {
                    let entry = self.peers.vacant_entry();
                    self.poll.registry().register(&mut socket, Token(entry.key()), Interest::READABLE)?;
                    entry.insert(Peer::Asking { socket, input: Vec::new() });
                    self.counts.connections.fetch_add(1, Ordering::Relaxed);
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads until the socket is empty, as edge-triggered polling needs. A read that did not fill the buffer
    /// has emptied it, unless the peer has closed.
    fn read(&mut self, place: usize, closed: bool) {
        let mut buf = std::mem::take(&mut self.buf);
        loop {
            let read = match self.peers.get_mut(place) {
                Some(Peer::Asking { socket, .. }) => socket.read(&mut buf),
                Some(Peer::Streaming(stream)) => self.streams[*stream].0.read(&mut buf),
                // The peer has left earlier in this batch of events.
                None => break,
            };
            match read {
                Ok(0) => self.remove(place),
                Ok(length) => {
                    self.take(place, &buf[..length]);
                    if length < buf.len() && !closed {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(_) => self.remove(place),
            }
        }
        self.buf = buf;
    }

    /// Serves the requests in the bytes read. Input of a stream is ignored.
    fn take(&mut self, place: usize, bytes: &[u8]) {
        let Some(Peer::Asking { input, .. }) = self.peers.get_mut(place) else { return };
        let mut input = std::mem::take(input);
        input.extend_from_slice(bytes);
        let mut answers = Vec::new();
        let (used, mut next) = self.requests(&input, &mut answers);
        input.drain(..used);
        if let Some(Peer::Asking { socket, input: kept }) = self.peers.get_mut(place) {
            *kept = input;
            if !answers.is_empty() && socket.write(&answers).ok() != Some(answers.len()) {
                next = Next::Close;
            }
        }
        match next {
            Next::Request => {}
            Next::Stream => self.stream(place),
            Next::Close => self.remove(place),
        }
    }

    /// Serves the whole requests at the beginning of `input`. Returns their length in bytes, and what
    /// follows.
    fn requests(&mut self, input: &[u8], answers: &mut Vec<u8>) -> (usize, Next) {
        let mut used = 0;
        let mut next = Next::Request;
        let mut together = (Vec::new(), 0);
        while next == Next::Request {
            let rest = &input[used..];
            let Some(head_bytes) = rest.windows(4).position(|end| end == b"\r\n\r\n").map(|at| at + 4) else {
                break;
            };
            let (head, rest) = rest.split_at(head_bytes);
            let body_bytes = content_length(head);
            let Some(data) = rest.get(..body_bytes) else { break };
            used += head_bytes + body_bytes;
            if head.starts_with(b"POST /publish/") {
                let (frames, count) = &mut together;
                if !self.coalesce {
                    frames.clear();
                    *count = 0;
                }
                frame(data, frames);
                *count += 1;
                if !self.coalesce {
                    self.deliver_everywhere(frames, *count);
                }
                answers.extend_from_slice(b"HTTP/1.1 204 No Content\r\n\r\n");
            } else if head.starts_with(b"GET /events/") {
                answers.extend_from_slice(STREAM_HEAD);
                next = Next::Stream;
            } else if head.starts_with(b"GET /stats ") {
                let counts = [&self.counts.streams, &self.counts.connections, &self.counts.delivered];
                let [streams, connections, delivered] = counts.map(|count| count.load(Ordering::Relaxed));
                let stats = format!(
                    "{{\"streams\":{streams},\"connections\":{connections},\"events_delivered\":{delivered},\"topics\":1}}"
                );
                let length = stats.len();
                answers.extend_from_slice(
                    format!("HTTP/1.1 200 OK\r\nContent-Type: application/json\r\nContent-Length: {length}\r\n\r\n{stats}")
                        .as_bytes(),
                );
            } else {
                answers.extend_from_slice(b"HTTP/1.1 404 Not Found\r\nContent-Length: 0\r\n\r\n");
                next = Next::Close;
            }
        }
        if self.coalesce && together.1 > 0 {
            self.deliver_everywhere(&together.0, together.1);
        }
        (used, next)
    }

    fn deliver_everywhere(&mut self, frames: &[u8], events: u64) {
        if !self.others.is_empty() {
            let frames = Arc::<[u8]>::from(frames);
            for other in &self.others {
                // The other loops stop with this one.
                let _ = other.post.send((Arc::clone(&frames), events));
                let _ = other.waker.wake();
            }
        }
        self.deliver(frames, events);
    }

    /// The loop of writes.
    fn deliver(&mut self, frames: &[u8], events: u64) {
        let (mut gone, mut delivered) = (Vec::new(), 0);
        for (socket, place) in &mut self.streams {
            if socket.write(frames).ok() == Some(frames.len()) {
                delivered += events;
            } else {
                gone.push(*place);
            }
        }
        self.counts.delivered.fetch_add(delivered, Ordering::Relaxed);
        for place in gone {
            eprintln!("floor: a stream did not take {} bytes at once and is dropped", frames.len());
            self.remove(place);
        }
    }

    fn stream(&mut self, place: usize) {
        let peer = std::mem::replace(&mut self.peers[place], Peer::Streaming(self.streams.len()));
        if let Peer::Asking { socket, .. } = peer {
            self.streams.push((socket, place));
            self.counts.streams.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn remove(&mut self, place: usize) {
        self.counts.connections.fetch_sub(1, Ordering::Relaxed);
        if let Peer::Streaming(stream) = self.peers.remove(place) {
            self.streams.swap_remove(stream);
            self.counts.streams.fetch_sub(1, Ordering::Relaxed);
            if let Some((_, moved)) = self.streams.get(stream) {
                self.peers[*moved] = Peer::Streaming(stream);
            }
        }
    }
}

/// One event as one chunk. The data is one line, as the harness publishes it.
fn frame(data: &[u8], frames: &mut Vec<u8>) {
    let event_bytes = b"data: ".len() + data.len() + b"\n\n".len();
    frames.extend_from_slice(format!("{event_bytes:x}\r\ndata: ").as_bytes());
    frames.extend_from_slice(data);
    frames.extend_from_slice(b"\n\n\r\n");
}

/// Length of the body after the head of a request or a response.
pub(crate) fn content_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"content-length:";
    head.split(|&byte| byte == b'\n')
        .filter(|line| line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME))
        .find_map(|line| std::str::from_utf8(&line[NAME.len()..]).ok()?.trim().parse().ok())
        .unwrap_or(0)
}
