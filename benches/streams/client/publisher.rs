//! The connection that publishes: it sends requests in one write, and counts the responses.

use super::STALL;
use crate::Result;
use crate::floor::content_length;
use crate::payload;
use mio::net::TcpStream;
use mio::{Interest, Poll, Token};
use std::io::{ErrorKind, Read, Write};
use std::net::SocketAddr;
use std::ops::RangeInclusive;

pub(super) const PUBLISHER: Token = Token(usize::MAX);

/// Requests on one connection: fewer than any server's limit.
const REQUESTS_PER_CONNECTION: u32 = 500;

/// The connection that publishes. It is replaced after so many requests.
#[derive(Debug)]
pub(super) struct Publisher {
    address: SocketAddr,
    /// Head of each request.
    head: Vec<u8>,
    socket: TcpStream,
    /// Requests that this connection may still carry.
    left: u32,
    /// Pending requests, and how much of them has been written.
    requests: Vec<u8>,
    written: usize,
    answers: Answers,
    /// Pending responses.
    unanswered: u32,
    /// Whether the server has closed the connection, as many do after some idle seconds.
    closed: bool,
}

impl Publisher {
    pub(super) fn connect(address: SocketAddr, topic: &str, poll: &Poll) -> Result<Publisher> {
        let head = format!(
            "POST /publish/{topic} HTTP/1.1\r\nHost: {address}\r\nContent-Length: {}\r\n\r\n",
            payload::DATA_BYTES
        );
        Ok(Publisher {
            address,
            head: head.into_bytes(),
            socket: connect(address, poll)?,
            left: REQUESTS_PER_CONNECTION,
            requests: Vec::new(),
            written: 0,
            answers: Answers::default(),
            unanswered: 0,
            closed: false,
        })
    }

    /// Number of pending responses.
    pub(super) fn unanswered(&self) -> u32 {
        self.unanswered
    }

    /// Reconnects if the connection cannot carry `requests` more and none is pending.
    pub(super) fn renew(&mut self, requests: u32, poll: &Poll) -> Result<()> {
        if self.unanswered == 0 && (self.closed || self.left < requests) {
            self.socket = connect(self.address, poll)?;
            self.left = REQUESTS_PER_CONNECTION;
            self.closed = false;
        }
        Ok(())
    }

    /// Publishes the events with these numbers in one write.
    pub(super) fn publish(&mut self, numbers: RangeInclusive<u32>) -> Result<()> {
        if self.written == self.requests.len() {
            self.requests.clear();
            self.written = 0;
        }
        for number in numbers {
            self.requests.extend_from_slice(&self.head);
            self.requests.extend_from_slice(&payload::data(number));
            self.left = self.left.saturating_sub(1);
            self.unanswered += 1;
        }
        self.write()
    }

    /// Reads or writes, as the socket is ready.
    pub(super) fn ready(&mut self, buf: &mut [u8]) -> Result<()> {
        self.write()?;
        self.read(buf)
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
            self.unanswered = self.unanswered.checked_sub(answers).ok_or("more responses than requests")?;
        }
    }
}

fn connect(address: SocketAddr, poll: &Poll) -> Result<TcpStream> {
    let socket = std::net::TcpStream::connect_timeout(&address, STALL)?;
    socket.set_nodelay(true)?;
    socket.set_nonblocking(true)?;
    let mut socket = TcpStream::from_std(socket);
    poll.registry().register(&mut socket, PUBLISHER, Interest::READABLE | Interest::WRITABLE)?;
    Ok(socket)
}

/// Finds the end of each response. Each is a 2xx, mostly a 204, and may have a body of known length.
#[derive(Debug, Default)]
struct Answers {
    /// The part of a head that has arrived.
    head: Vec<u8>,
    /// Missing bytes of a body.
    body: usize,
}

impl Answers {
    /// Takes the bytes of a read. Returns the number of responses that end in them.
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
                    return Err(format!("publishing got \"{seen}\"").into());
                }
                self.body = content_length(&self.head);
                self.head.clear();
            }
            ended += u32::from(self.body == 0);
        }
        Ok(ended)
    }
}
