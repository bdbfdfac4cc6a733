//! The yardstick: the least that a single-threaded server can do and still deliver.
//!
//! It accepts, reads up to an empty line, answers with a fixed head, and on a POST walks over all stream sockets and
//! writes. It knows one topic whatever the path says, has no log, no limits and no timers, trusts its peers, and drops
//! whoever does not take a whole frame at once. So its cost is what the kernel asks for the same traffic.
//!
//! By default each event is one write per stream, also when several events arrive in one read. With `coalesce`, events
//! that arrive together leave in one write per stream: the least that a burst can cost.

use crate::Result;
use mio::net::{TcpListener, TcpStream};
use mio::{Events, Interest, Poll, Token};
use slab::Slab;
use socket2::{Domain, Socket, Type};
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr};

const LISTENER: Token = Token(usize::MAX);

const STREAM_HEAD: &[u8] = b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n\
    Cache-Control: no-store, no-transform\r\nX-Accel-Buffering: no\r\nTransfer-Encoding: chunked\r\n\r\n\
    2\r\n:\n\r\n";

#[derive(Debug)]
struct Floor {
    poll: Poll,
    listener: TcpListener,
    peers: Slab<Peer>,
    /// The stream sockets, side by side for the loop of writes, each with its place in `peers`.
    streams: Vec<(TcpStream, usize)>,
    coalesce: bool,
    delivered: u64,
    buf: Vec<u8>,
}

#[derive(Debug)]
enum Peer {
    /// May send requests; `input` is what it has sent of the next one.
    Asking { socket: TcpStream, input: Vec<u8> },
    /// The index in `streams`.
    Streaming(usize),
}

/// What a connection wants of the server once its input has been looked through.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    Request,
    Stream,
    Close,
}

/// Serves on `PORT` of 127.0.0.1 until it is killed.
pub(crate) fn run(coalesce: bool) -> Result<()> {
    let port = std::env::var("PORT").ok().and_then(|port| port.parse().ok()).unwrap_or(0);
    let socket = Socket::new(Domain::IPV4, Type::STREAM, None)?;
    socket.set_reuse_address(true)?;
    socket.set_nonblocking(true)?;
    // Inherited by accepted sockets on Linux.
    socket.set_tcp_nodelay(true)?;
    socket.bind(&SocketAddr::from((Ipv4Addr::LOCALHOST, port)).into())?;
    socket.listen(4096)?;
    let mut listener = TcpListener::from_std(socket.into());
    let poll = Poll::new()?;
    poll.registry().register(&mut listener, LISTENER, Interest::READABLE)?;
    println!("floor on http://{}", listener.local_addr()?);
    let buf = vec![0; 64 * 1024];
    Floor { poll, listener, peers: Slab::new(), streams: Vec::new(), coalesce, delivered: 0, buf }.serve()
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
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error.into()),
            }
        }
    }

    /// Reads until the socket is empty, which edge-triggered polling asks for. A read that did not fill the buffer has
    /// emptied it, unless the end of the stream is behind.
    fn read(&mut self, place: usize, closed: bool) {
        let mut buf = std::mem::take(&mut self.buf);
        loop {
            let read = match self.peers.get_mut(place) {
                Some(Peer::Asking { socket, .. }) => socket.read(&mut buf),
                Some(Peer::Streaming(stream)) => self.streams[*stream].0.read(&mut buf),
                // Left earlier in this batch of events.
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

    /// Serves the requests in what has been read. What a stream sends is ignored.
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

    /// Serves the whole requests at the beginning of `input`; says how many bytes they were and what is to come.
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
                    self.deliver(frames, *count);
                }
                answers.extend_from_slice(b"HTTP/1.1 204 No Content\r\n\r\n");
            } else if head.starts_with(b"GET /events/") {
                answers.extend_from_slice(STREAM_HEAD);
                next = Next::Stream;
            } else if head.starts_with(b"GET /stats ") {
                let (streams, connections, delivered) =
                    (self.streams.len(), self.peers.len(), self.delivered);
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
            self.deliver(&together.0, together.1);
        }
        (used, next)
    }

    /// The loop of writes.
    fn deliver(&mut self, frames: &[u8], events: u64) {
        let mut gone = Vec::new();
        for (socket, place) in &mut self.streams {
            if socket.write(frames).ok() == Some(frames.len()) {
                self.delivered += events;
            } else {
                gone.push(*place);
            }
        }
        for place in gone {
            eprintln!("floor: a stream did not take {} bytes at once and is dropped", frames.len());
            self.remove(place);
        }
    }

    fn stream(&mut self, place: usize) {
        let peer = std::mem::replace(&mut self.peers[place], Peer::Streaming(self.streams.len()));
        if let Peer::Asking { socket, .. } = peer {
            self.streams.push((socket, place));
        }
    }

    fn remove(&mut self, place: usize) {
        if let Peer::Streaming(stream) = self.peers.remove(place) {
            self.streams.swap_remove(stream);
            if let Some((_, moved)) = self.streams.get(stream) {
                self.peers[*moved] = Peer::Streaming(stream);
            }
        }
    }
}

/// One event as one chunk. The data is one line, as it is the harness that publishes.
fn frame(data: &[u8], frames: &mut Vec<u8>) {
    let event_bytes = b"data: ".len() + data.len() + b"\n\n".len();
    frames.extend_from_slice(format!("{event_bytes:x}\r\ndata: ").as_bytes());
    frames.extend_from_slice(data);
    frames.extend_from_slice(b"\n\n\r\n");
}

/// Bytes of the body behind a head, of a request or an answer.
pub(crate) fn content_length(head: &[u8]) -> usize {
    const NAME: &[u8] = b"content-length:";
    head.split(|&byte| byte == b'\n')
        .filter(|line| line.len() > NAME.len() && line[..NAME.len()].eq_ignore_ascii_case(NAME))
        .find_map(|line| std::str::from_utf8(&line[NAME.len()..]).ok()?.trim().parse().ok())
        .unwrap_or(0)
}
