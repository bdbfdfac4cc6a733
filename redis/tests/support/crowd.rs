//! Any number of clients in one thread. Each records everything it receives over all its connections, and
//! resumes with its last id, as a browser does.

use super::{DEADLINE, Node, Outcome, Published, ms, now};
use mio::event::Event;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};
use mio_sse::Position;
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Something that a client received, in order.
#[derive(Debug, Clone, PartialEq)]
pub(crate) enum Heard {
    Event {
        id: Position,
        data: String,
    },
    /// An id without an event: all events up to it have arrived.
    At(Position),
    Gap,
    /// A stream has opened.
    Opened,
    /// The stream was closed, or could not be opened, and the client did not want that.
    CutOff,
    /// 204: there will be no more events.
    Finished,
}

pub(crate) struct Listener {
    pub(crate) topics: Vec<String>,
    pub(crate) node: SocketAddr,
    pub(crate) heard: Vec<Heard>,
    last_event_id: Option<String>,
    line: Line,
    parser: Parser,
}

enum Line {
    Down { again: Instant },
    Up { socket: TcpStream, asked: bool, in_body: bool, input: Vec<u8> },
    Finished,
}

/// The block that is being read (WHATWG HTML 9.2.6).
#[derive(Default)]
struct Parser {
    id: Option<String>,
    event: String,
    data: Option<String>,
}

pub(crate) struct Crowd {
    poll: Poll,
    events: Events,
    buffer: Vec<u8>,
    /// Clients that are cut off reconnect to one of these.
    pub(crate) nodes: Vec<SocketAddr>,
    pub(crate) listeners: Vec<Listener>,
}

impl Crowd {
    pub(crate) fn new(nodes: &[SocketAddr]) -> Self {
        let (poll, events) = (Poll::new().unwrap(), Events::with_capacity(1024));
        Self { poll, events, buffer: vec![0; 64 << 10], nodes: nodes.to_vec(), listeners: Vec::new() }
    }

    /// Connects a new client to `node`.
    pub(crate) fn join(&mut self, node: SocketAddr, topics: &[&str]) -> usize {
        self.listeners.push(Listener {
            topics: topics.iter().map(|&topic| topic.to_owned()).collect(),
            node,
            heard: Vec::new(),
            last_event_id: None,
            line: Line::Down { again: now() },
            parser: Parser::default(),
        });
        self.listeners.len() - 1
    }

    /// Moves a client to `node`, whatever is on its way.
    pub(crate) fn move_to(&mut self, listener: usize, node: SocketAddr) {
        let listener = &mut self.listeners[listener];
        if !matches!(listener.line, Line::Finished) {
            listener.node = node;
            listener.hang_up(now());
        }
    }

    /// Disconnects the last client and returns it, with all it has received.
    pub(crate) fn leave(&mut self) -> Listener {
        let mut listener = self.listeners.pop().unwrap();
        listener.hang_up(now());
        listener
    }

    /// Connects a client that has left to `node`.
    pub(crate) fn come_back(&mut self, mut listener: Listener, node: SocketAddr) {
        listener.node = node;
        self.listeners.push(listener);
    }

    /// Reads what has arrived, and waits for at most 10 ms.
    pub(crate) fn turn(&mut self) {
        let start = now();
        for (index, listener) in self.listeners.iter_mut().enumerate() {
            if matches!(listener.line, Line::Down { again } if again <= start) {
                listener.dial(&self.poll, Token(index), &self.nodes);
            }
        }
        self.poll.poll(&mut self.events, Some(ms(10))).unwrap();
        for event in &self.events {
            let Some(listener) = self.listeners.get_mut(event.token().0) else { continue };
            if let Err(End) = listener.go_on(event, &mut self.buffer) {
                listener.cut_off(&self.nodes);
            }
        }
    }

    pub(crate) fn run(&mut self, time: Duration) {
        let end = now() + time;
        while now() < end {
            self.turn();
        }
    }

    pub(crate) fn until(&mut self, what: &str, mut done: impl FnMut(&Self) -> bool) {
        let deadline = now() + DEADLINE;
        while !done(self) {
            assert!(now() < deadline, "waited {DEADLINE:?} for {what}");
            self.turn();
        }
    }

    /// Waits until all streams are open. From then on the clients are entitled to every event.
    pub(crate) fn until_open(&mut self) {
        self.until("streams to begin", |crowd| {
            crowd.listeners.iter().all(|one| one.heard.iter().any(|heard| matches!(heard, Heard::At(_))))
        });
    }

    /// Waits until all subscribers of the topic have the event that begins with `name`.
    pub(crate) fn until_all_have(&mut self, name: &str) {
        let missing = |crowd: &Self| crowd.listeners.iter().position(|one| !one.has(name));
        let deadline = now() + DEADLINE;
        while let Some(index) = missing(self) {
            if now() >= deadline {
                let one = &self.listeners[index];
                let last = &one.heard[one.heard.len().saturating_sub(5)..];
                panic!("client {index} of {} waited {DEADLINE:?} for {name}: {last:?}", one.node);
            }
            self.turn();
        }
    }

    /// Publishes an event to all of `topics`, and waits until all clients have it. Returns that event.
    pub(crate) fn settle(&mut self, node: &Node, topics: &[String]) -> Published {
        let topics = topics.join(",");
        // A node that does not reach Redis yet is asked again with a new event, as the first may still be
        // stored.
        let deadline = now() + DEADLINE;
        loop {
            let name = format!("end.{}", fastrand::u64(..));
            let data = format!("{name} {topics}");
            let answer = node.publish(&topics, &data);
            if answer.status == 200 {
                let outcome = Outcome::At(answer.body.trim().parse().unwrap());
                self.until_all_have(&name);
                return Published { topics, data, outcome };
            }
            assert!(now() < deadline, "{answer:?}");
            self.turn();
        }
    }

    /// Number of records of one kind, over all clients.
    pub(crate) fn count(&self, which: impl Fn(&Heard) -> bool) -> usize {
        self.listeners.iter().flat_map(|one| &one.heard).filter(|heard| which(heard)).count()
    }
}

/// The connection was closed.
struct End;

impl Listener {
    pub(crate) fn events(&self) -> impl Iterator<Item = (Position, &str)> {
        self.heard.iter().filter_map(|heard| match heard {
            Heard::Event { id, data } => Some((*id, &**data)),
            _ => None,
        })
    }

    /// Sets the last event id that the next request will send.
    pub(crate) fn claim(&mut self, id: &str) {
        self.last_event_id = Some(id.to_owned());
    }

    pub(crate) fn gaps(&self) -> usize {
        self.heard.iter().filter(|heard| **heard == Heard::Gap).count()
    }

    /// Searches from the end, where it is most often.
    pub(crate) fn has(&self, name: &str) -> bool {
        let is = |heard: &Heard| matches!(heard, Heard::Event { data, .. } if data.split(' ').next() == Some(name));
        self.heard.iter().rev().any(is)
    }

    fn hang_up(&mut self, again: Instant) {
        self.line = Line::Down { again };
        self.parser = Parser::default();
    }

    fn cut_off(&mut self, nodes: &[SocketAddr]) {
        if matches!(self.line, Line::Finished) {
            return;
        }
        self.heard.push(Heard::CutOff);
        self.node = *fastrand::choice(nodes).expect("a node");
        self.hang_up(now() + ms(fastrand::u64(20..70)));
    }

    fn dial(&mut self, poll: &Poll, token: Token, nodes: &[SocketAddr]) {
        let Ok(mut socket) = TcpStream::connect(self.node) else { return self.cut_off(nodes) };
        poll.registry().register(&mut socket, token, Interest::READABLE | Interest::WRITABLE).unwrap();
        self.line = Line::Up { socket, asked: false, in_body: false, input: Vec::new() };
    }

    fn go_on(&mut self, event: &Event, buffer: &mut [u8]) -> Result<(), End> {
        let Line::Up { socket, asked, .. } = &mut self.line else { return Ok(()) };
        if !*asked {
            // The event is of the previous connection, or this one is not established yet.
            if !event.is_writable() || !socket.take_error().is_ok_and(|error| error.is_none()) {
                return if event.is_error() { Err(End) } else { Ok(()) };
            }
            if socket.peer_addr().is_err() {
                return Ok(());
            }
            let id = self.last_event_id.as_ref().map(|id| format!("Last-Event-ID: {id}\r\n"));
            let (path, id) = (self.topics.join(","), id.unwrap_or_default());
            // HTTP/1.0, so that there are no chunks.
            let request = format!("GET /events/{path} HTTP/1.0\r\nHost: x\r\n{id}\r\n");
            // So few bytes always fit into the socket.
            socket.write_all(request.as_bytes()).map_err(|_| End)?;
            *asked = true;
        }
        self.read(buffer)
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<(), End> {
        loop {
            let Line::Up { socket, in_body, input, .. } = &mut self.line else { return Ok(()) };
            let count = match socket.read(buffer) {
                Ok(0) => return Err(End),
                Ok(count) => count,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(()),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(_) => return Err(End),
            };
            input.extend_from_slice(&buffer[..count]);
            if !*in_body {
                let Some(end) = input.windows(4).position(|window| window == b"\r\n\r\n") else { continue };
                let head = String::from_utf8_lossy(&input[..end]).into_owned();
                input.drain(..end + 4);
                match head.split(' ').nth(1) {
                    Some("200") => *in_body = true,
                    Some("204") => {
                        self.heard.push(Heard::Finished);
                        self.line = Line::Finished;
                        return Ok(());
                    }
                    _ => return Err(End),
                }
                self.heard.push(Heard::Opened);
            }
            let Line::Up { input, .. } = &mut self.line else { return Ok(()) };
            let mut rest = std::mem::take(input);
            let mut begin = 0;
            while let Some(length) = rest[begin..].iter().position(|byte| *byte == b'\n') {
                let line = String::from_utf8_lossy(&rest[begin..begin + length]).into_owned();
                begin += length + 1;
                self.take(&line);
            }
            rest.drain(..begin);
            if let Line::Up { input, .. } = &mut self.line {
                *input = rest;
            }
        }
    }

    /// Takes a line of the stream.
    fn take(&mut self, line: &str) {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "id" => self.parser.id = Some(value.to_owned()),
            "event" => value.clone_into(&mut self.parser.event),
            "data" => {
                let data = self.parser.data.get_or_insert_default();
                if !data.is_empty() {
                    data.push('\n');
                }
                data.push_str(value);
            }
            "" if line.is_empty() => self.block(),
            _ => {}
        }
    }

    fn block(&mut self) {
        let Parser { id, event, data } = std::mem::take(&mut self.parser);
        let position = id.as_ref().map(|id| id.parse().unwrap_or_else(|_| panic!("no position: {id:?}")));
        self.last_event_id = id.or(self.last_event_id.take());
        match (position, data) {
            (position, Some(_)) if event == "gap" => {
                self.heard.push(Heard::Gap);
                self.heard.extend(position.map(Heard::At));
            }
            // The example's heartbeat. It has no id while the node is behind the client.
            (position, Some(_)) if event == "position" => self.heard.extend(position.map(Heard::At)),
            (Some(id), Some(data)) => self.heard.push(Heard::Event { id, data }),
            (Some(id), None) => self.heard.push(Heard::At(id)),
            (None, Some(data)) => panic!("an event without a position: {data}"),
            (None, None) => {}
        }
    }
}
