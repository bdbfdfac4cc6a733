//! One client, and what it makes of what it reads.

use super::super::memory_net::Peer;
use super::{Asked, Expected, PLAIN};
use rustls::{ClientConfig, ClientConnection};
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;

/// Fewer requests than what may wait behind a stream.
const REQUESTS_MAX: usize = 12;

/// rustls bears no more than 32 in a row.
const KEY_UPDATES_MAX: usize = 30;

/// The type of a record that nobody may send in the clear, at any time.
const APPLICATION_DATA: u8 = 23;

/// What the client speaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Kind {
    Tls13,
    Tls12,
    /// HTTP without TLS.
    Plain,
}

pub(super) struct Client {
    pub(super) peer: Peer,
    kind: Kind,
    /// Its TLS, as long as it understands the server.
    connection: Option<ClientConnection>,
    /// Records that are not yet sent, and those that it has not yet looked at.
    outgoing: Vec<u8>,
    incoming: Vec<u8>,
    pub(super) sent_bytes: usize,
    received: String,
    key_updates: usize,
    pub(super) asked: Vec<Asked>,
    has_heard: bool,
    /// The server has said that nothing more comes.
    ended: bool,
    pub(super) has_said_goodbye: bool,
    has_closed: bool,
    left: bool,
    /// Something on the way was not what either side has sent.
    damaged: bool,
    /// It is the end of the connection, whatever else there is.
    doomed: bool,
}

impl Client {
    pub(super) fn new(peer: Peer, kind: Kind, config: &Arc<ClientConfig>) -> Self {
        let is_plain = kind == Kind::Plain;
        let connection = (!is_plain).then(|| {
            let name = "localhost".try_into().expect("a name");
            ClientConnection::new(config.clone(), name).expect("a client")
        });
        let mut client = Self {
            peer,
            kind,
            connection,
            outgoing: Vec::new(),
            incoming: Vec::new(),
            sent_bytes: 0,
            received: String::new(),
            key_updates: 0,
            asked: Vec::new(),
            has_heard: false,
            ended: false,
            has_said_goodbye: false,
            has_closed: false,
            left: false,
            damaged: is_plain,
            doomed: is_plain,
        };
        client.make_records();
        if is_plain {
            client.outgoing.extend_from_slice(PLAIN);
        }
        client
    }

    fn make_records(&mut self) {
        let Some(connection) = &mut self.connection else { return };
        while connection.wants_write() {
            connection.write_tls(&mut self.outgoing).expect("there is room");
        }
    }

    pub(super) fn ask(&mut self, at: usize, kind: usize) {
        let may_not = self.has_said_goodbye
            || self.asked.len() >= REQUESTS_MAX
            || matches!(self.asked.last(), Some(Asked::Stream | Asked::Last));
        let Some(connection) = self.connection.as_mut().filter(|_| !may_not) else { return };
        let asked = match kind % 5 {
            0 => Asked::Page,
            1 => Asked::Large,
            2 => Asked::Stream,
            3 => Asked::Last,
            _ => Asked::Measured(kind * 64),
        };
        let (name, length) = asked.parts();
        let (method, close) = match asked {
            Asked::Measured(_) => ("POST", ""),
            Asked::Last => ("GET", "Connection: close\r\n"),
            _ => ("GET", ""),
        };
        let number = self.asked.len();
        let length_line = if length > 0 { format!("Content-Length: {length}\r\n") } else { String::new() };
        let head = format!("{method} /{at}/{number}/{name} HTTP/1.1\r\nHost: x\r\n{close}{length_line}\r\n");
        let text = [head.into_bytes(), vec![b'b'; length]].concat();
        connection.set_buffer_limit(None);
        connection.writer().write_all(&text).expect("there is room");
        self.asked.push(asked);
        self.make_records();
    }

    /// Sends up to `count` bytes.
    pub(super) fn send(&mut self, count: usize) {
        let count = count.min(self.outgoing.len());
        if count > 0 && !self.left && !self.has_closed {
            self.peer.write(&self.outgoing[..count]);
            self.sent_bytes += count;
        }
        self.outgoing.drain(..count);
    }

    pub(super) fn has_sent_all(&self) -> bool {
        self.outgoing.is_empty()
    }

    /// Looks at up to `count` bytes of what has come.
    pub(super) fn read(&mut self, count: usize) {
        self.incoming.extend(self.peer.read_bytes());
        if self.damaged && self.has_said_goodbye {
            // In debug builds rustls takes it for a mistake of ours if there is something wrong with what
            // comes now.
            self.connection = None;
        }
        let Some(connection) = &mut self.connection else { return };
        let count = count.min(self.incoming.len());
        let incoming: Vec<_> = self.incoming.drain(..count).collect();
        let mut rest = &incoming[..];
        while !rest.is_empty() {
            connection.read_tls(&mut rest).expect("it is there");
            let failed = connection.process_new_packets().err();
            let mut text = [0; 4096];
            loop {
                match connection.reader().read(&mut text) {
                    Ok(0) => {
                        self.ended = true;
                        break;
                    }
                    Ok(count) => self.received += std::str::from_utf8(&text[..count]).expect("text"),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
            if let Some(error) = failed {
                assert!(self.damaged, "the server speaks TLS: {error}");
                // The server is told why, and that is all.
                self.make_records();
                self.connection = None;
                return;
            }
        }
        self.make_records();
    }

    pub(super) fn update_keys(&mut self) {
        if self.kind == Kind::Tls13
            && let Some(connection) = &mut self.connection
            && !connection.is_handshaking()
            && !self.has_said_goodbye
            && self.key_updates < KEY_UPDATES_MAX
        {
            self.key_updates += 1;
            connection.refresh_traffic_keys().expect("TLS 1.3 has new keys");
            self.make_records();
        }
    }

    pub(super) fn say_goodbye(&mut self) {
        if let Some(connection) = &mut self.connection
            && !std::mem::replace(&mut self.has_said_goodbye, true)
        {
            // Then nothing is agreed on.
            self.damaged |= connection.is_handshaking();
            connection.send_close_notify();
            self.make_records();
        }
    }

    /// Closes its side, or the whole connection. One that has said goodbye before the former reads on.
    pub(super) fn leave(&mut self, is_reset: bool) {
        self.left |= is_reset || !self.has_said_goodbye || !self.outgoing.is_empty();
        if is_reset {
            self.peer.reset();
        } else if !std::mem::replace(&mut self.has_closed, true) {
            self.peer.close();
        }
    }

    fn note_damage(&mut self) {
        (self.damaged, self.doomed) = (true, false);
    }

    /// Another bit of what waits to be sent.
    pub(super) fn damage(&mut self, at: usize) {
        if !self.outgoing.is_empty() {
            let at = at % self.outgoing.len();
            self.outgoing[at] ^= 1 << (at % 8);
            self.note_damage();
        }
    }

    /// The same of what it is to read.
    pub(super) fn damage_incoming(&mut self, at: usize) {
        self.incoming.extend(self.peer.read_bytes());
        if !self.incoming.is_empty() {
            let at = at % self.incoming.len();
            self.incoming[at] ^= 1 << (at % 8);
            self.note_damage();
        }
    }

    /// A byte does not arrive.
    pub(super) fn lose(&mut self, at: usize) {
        if !self.outgoing.is_empty() {
            self.outgoing.remove(at % self.outgoing.len());
            self.note_damage();
        }
    }

    /// What comes last comes first.
    pub(super) fn swap(&mut self, at: usize) {
        if self.outgoing.len() > 1 {
            let at = at % self.outgoing.len();
            self.outgoing.rotate_left(at);
            self.note_damage();
        }
    }

    /// The first bytes come twice.
    pub(super) fn repeat(&mut self, count: usize) {
        let count = count.min(self.outgoing.len());
        if count > 0 {
            self.outgoing.extend_from_within(..count);
            self.outgoing.rotate_right(count);
            self.note_damage();
        }
    }

    /// A record that nobody has encrypted.
    pub(super) fn forge(&mut self, kind: usize, length: usize) {
        let kind = 20 + u8::try_from(kind % 6).unwrap_or_default();
        let length = u8::try_from(length % 256).unwrap_or_default();
        let is_first = !self.damaged && !self.has_said_goodbye;
        self.outgoing.extend([kind, 3, 3, 0, length]);
        self.outgoing.extend(std::iter::repeat_n(1, usize::from(length)));
        self.damaged = true;
        self.doomed |= is_first && kind == APPLICATION_DATA && length > 0;
    }

    /// Something else in front of what waits to be sent.
    pub(super) fn insert(&mut self, bytes: &[u8]) {
        self.outgoing.splice(..0, bytes.iter().copied());
        self.note_damage();
    }

    /// Whether the server has written to it, and never before.
    pub(super) fn hears_for_the_first_time(&mut self) -> bool {
        let writes = self.peer.writes();
        !writes.is_empty() && !std::mem::replace(&mut self.has_heard, true)
    }

    /// Compares what it has received with what it had to. The server has seen `seen` of its requests.
    pub(super) fn check(&self, seen: usize, replies: &[Expected], time_has_passed: bool) {
        let is_gone = self.peer.is_closed() || self.peer.is_shut();
        let mut text = self.received.as_str();
        let mut complete = 0;
        for reply in replies {
            let Some(rest) = read(text, reply) else { break };
            text = rest;
            complete += 1;
        }
        assert!(complete < replies.len() || text.is_empty(), "there is no more than was asked for: {text:?}");
        if self.doomed && !self.left {
            assert!(is_gone, "what is no TLS is the end");
            let is_told = self.incoming.starts_with(b"HTTP/1.1 400 Bad Request\r\n");
            assert!(self.kind != Kind::Plain || time_has_passed || is_told, "it is told what is wrong");
        }
        if self.damaged || self.left || time_has_passed {
            return;
        }
        let connection = self.connection.as_ref().expect("it understands the server");
        assert!(!connection.is_handshaking(), "hands were shaken");
        let listens = self.asked.last() == Some(&Asked::Stream);
        if !(self.has_said_goodbye && listens) {
            assert_eq!((seen, complete), (self.asked.len(), seen), "everything arrives");
        }
        let is_last = self.has_said_goodbye || self.asked.last() == Some(&Asked::Last);
        assert!(is_last || !is_gone && !self.ended, "nobody is turned out");
        assert!(self.asked.last() != Some(&Asked::Last) || self.ended && is_gone, "the last is the last");
    }
}

/// Takes what answers one request off `text`. `None` if the text breaks off, as that of a stream may: then
/// what there is has to be right.
fn read<'a>(text: &'a str, expected: &Expected) -> Option<&'a str> {
    let (head, rest) = text.split_once("\r\n\r\n")?;
    assert!(head.starts_with("HTTP/1.1 200 OK\r\n"), "{head:?}");
    match expected {
        Expected::Text(body) => {
            assert!(head.contains(&format!("\r\nContent-Length: {}", body.len())), "{head:?}");
            let count = body.len().min(rest.len());
            assert_eq!(rest[..count], body[..count]);
            rest.get(body.len()..)
        }
        Expected::Events(events) => {
            let body = read_chunks(rest);
            let mut lines = body.lines().filter(|line| line.starts_with("data: "));
            let arrived: Vec<_> = lines.by_ref().map(|line| &line["data: ".len()..]).collect();
            assert!(arrived.len() <= events.len(), "nobody has published that");
            assert!(arrived.iter().zip(events).all(|(line, event)| line == event), "{arrived:?}");
            (arrived.len() == events.len()).then_some("")
        }
    }
}

/// The chunks of a body that are complete.
fn read_chunks(text: &str) -> String {
    let mut body = String::new();
    let mut rest = text;
    while let Some((size, behind)) = rest.split_once("\r\n") {
        let size = usize::from_str_radix(size, 16).expect("a chunk size");
        let (Some(chunk), Some(behind)) = (behind.get(..size), behind.get(size + 2..)) else { break };
        body += chunk;
        rest = behind;
    }
    body
}
