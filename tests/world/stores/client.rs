//! A client in a few lines that follows the standard: over a plain socket, and it disconnects at will.

use super::Progress;
use crate::payloads::END;
use crate::support::{DEADLINE, eventually, now};
use std::io::{self, BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

/// Events that it has seen.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Seen {
    Number(u32),
    Gap,
    End,
}

/// A connection, and the received part of a block.
struct Visit(BufReader<TcpStream>);

impl Visit {
    /// Over HTTP/1.0, so that the body has no chunks and ends with the connection.
    fn begin(address: SocketAddr, path: &str, last: &str) -> io::Result<Self> {
        let mut stream = TcpStream::connect(address)?;
        if stream.local_addr()? == stream.peer_addr()? {
            // Without a listener, a socket may connect to itself.
            return Err(io::ErrorKind::ConnectionRefused.into());
        }
        stream.set_read_timeout(Some(DEADLINE))?;
        let last = if last.is_empty() { String::new() } else { format!("Last-Event-ID: {last}\r\n") };
        stream.write_all(format!("GET {path} HTTP/1.0\r\n{last}\r\n").as_bytes())?;
        let mut visit = Self(BufReader::new(stream));
        let status = visit.line()?;
        while !visit.line()?.is_empty() {}
        assert_eq!(status, "HTTP/1.1 200 OK", "{path}");
        Ok(visit)
    }

    /// A complete line.
    fn line(&mut self) -> io::Result<String> {
        let mut line = String::new();
        self.0.read_line(&mut line)?;
        let end = line.strip_suffix('\n').ok_or(io::ErrorKind::UnexpectedEof)?;
        Ok(end.strip_suffix('\r').unwrap_or(end).to_owned())
    }

    /// The next event, with its name. The last id changes with each complete block, also with one without
    /// data.
    fn event(&mut self, last: &mut String) -> io::Result<(String, String)> {
        let (mut name, mut data, mut id) = (String::new(), None, None);
        let deadline = now() + DEADLINE;
        loop {
            let line = self.line()?;
            // Heartbeats are not events.
            assert!(now() < deadline, "nothing more arrives after {last}");
            if line.is_empty() {
                if let Some(id) = id.take() {
                    *last = id;
                }
                match data {
                    Some(data) => return Ok((name, data)),
                    None => name.clear(),
                }
            }
            match line.split_once(": ") {
                Some(("event", value)) => value.clone_into(&mut name),
                Some(("data", value)) => data = Some(value.to_owned()),
                Some(("id", value)) => id = Some(value.to_owned()),
                _ => {}
            }
        }
    }
}

/// It reconnects until it has seen the end.
pub(super) struct Client {
    pub(super) dice: fastrand::Rng,
    /// The id with which it resumes.
    pub(super) last: String,
    pub(super) story: Vec<Seen>,
    pub(super) visits: u64,
}

impl Client {
    pub(super) fn new(seed: u64, last: &str) -> Self {
        let dice = fastrand::Rng::with_seed(seed);
        Self { dice, last: last.to_owned(), story: Vec::new(), visits: 0 }
    }

    /// Reads until it has seen the end. Each time it stays for some events, unless it is disconnected before,
    /// and then stays away until there are some more. `choose` returns the server to connect to.
    pub(super) fn live(
        mut self,
        path: &str,
        progress: &Progress,
        mut choose: impl FnMut(&mut fastrand::Rng) -> SocketAddr,
    ) -> Self {
        let mut deadline = now() + DEADLINE;
        while self.story.last() != Some(&Seen::End) {
            assert!(now() < deadline, "nothing more arrives after {}", self.last);
            let seen = self.story.len();
            let stays = self.dice.usize(1..80);
            // Servers that are down and connections that are lost are the reasons to reconnect.
            let address = choose(&mut self.dice);
            let _ = self.visit(address, path, stays);
            if self.story.len() > seen {
                deadline = now() + DEADLINE;
            }
            let until = progress.now() + self.dice.u32(0..50);
            eventually("more events are published", || {
                if progress.has(until) { Ok(()) } else { Err(format!("{} of {until}", progress.now())) }
            });
        }
        self
    }

    /// Stays for some events, or until it is disconnected.
    pub(super) fn visit(&mut self, address: SocketAddr, path: &str, events: usize) -> io::Result<()> {
        let mut visit = Visit::begin(address, path, &self.last)?;
        self.visits += 1;
        for _ in 0..events {
            let (name, data) = visit.event(&mut self.last)?;
            let seen = match &*name {
                "gap" => Seen::Gap,
                END => Seen::End,
                _ => Seen::Number(data.parse().unwrap()),
            };
            self.story.push(seen);
            if seen == Seen::End {
                break;
            }
        }
        Ok(())
    }
}
