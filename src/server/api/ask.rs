//! Tests of applications, without sockets and without waiting.

use crate::config::Config;
use crate::event::Event;
use crate::event_stream::take_events;
use crate::server::api::app::App;
use crate::server::api::server::Server;
use crate::server::io::in_memory::{InMemory, Wire};
use std::io;
use std::time::Duration;

/// More turns than anything takes that comes to rest.
const TURNS_MAX: usize = 1_000_000;

impl<H: App> Server<H, InMemory> {
    /// A server without sockets, for tests of an application: [`ask`](Self::ask) is its client, and its clock
    /// stands still until [`advance`](Self::advance) moves it. All else is as ever.
    ///
    /// ```
    /// use mio_sse::{Config, Event, RawRequest, Reply, Router, Server};
    ///
    /// let mut app = Router::new();
    /// app.get("/news", |_request, _cx| Reply::stream().topic("news"));
    /// app.post("/news", |request, cx| cx.publish("news", String::from_utf8_lossy(request.body())));
    ///
    /// let mut server = Server::in_memory(app, Config::default())?;
    /// let mut news = server.ask(RawRequest::get("/news")?);
    /// let mut posted = server.ask(RawRequest::new("POST", "/news")?.body("it rains"));
    /// assert_eq!((news.status(), posted.status()), (Some(200), Some(204)));
    /// assert_eq!(news.events(), [Event::from("it rains")]);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for limits that make no sense or a handler that is not
    /// sound.
    pub fn in_memory(app: H, config: Config) -> io::Result<Self> {
        Self::with_net(InMemory::default(), app, config)
    }

    /// Sends a request on a connection of its own, and [lets the server do](Self::settle) what there is to
    /// do. The bytes are most easily made by a [`RawRequest`](crate::RawRequest). When the answer is dropped,
    /// the client leaves.
    pub fn ask(&mut self, request: impl Into<Vec<u8>>) -> Answer {
        let wire = self.net().connect();
        let request = request.into();
        wire.send(&request);
        self.settle();
        Answer {
            wire,
            is_to_head: request.starts_with(b"HEAD "),
            is_over: false,
            head: Vec::new(),
            framing: None,
            raw: Vec::new(),
            body: Vec::new(),
            unread: 0,
        }
    }

    /// Has the server do all that it can without time passing: what other threads have asked it for by now,
    /// too.
    ///
    /// # Panics
    /// If it does not come to rest, as where a timer is set for now again and again.
    #[expect(clippy::panic, reason = "it is for tests, and this one has failed")]
    pub fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            self.turn(Some(Duration::ZERO)).expect("the network in memory never fails");
            if self.is_stopped() || !self.has_more() {
                return;
            }
        }
        panic!("the server does not come to rest");
    }

    /// Whether there is something to do without time passing.
    pub(crate) fn has_more(&mut self) -> bool {
        self.net().has_news() || self.next_timeout() == Some(Duration::ZERO)
    }

    /// Lets time pass for the server, in steps from one timer to the next, and has it do what is due.
    ///
    /// ```
    /// # use mio_sse::{Config, Event, RawRequest, Router, Server};
    /// # use std::time::Duration;
    /// let mut app = Router::new();
    /// app.sse("/ticks", |stream, _request, cx| {
    ///     cx.every(stream, Duration::from_secs(1), |stream, cx| cx.send(stream, "tick"))
    /// });
    /// let mut server = Server::in_memory(app, Config::default())?;
    /// let mut ticks = server.ask(RawRequest::get("/ticks")?);
    /// server.advance(Duration::from_secs(60));
    /// assert_eq!(ticks.events().len(), 60);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Panics
    /// As [`settle`](Self::settle).
    pub fn advance(&mut self, time: Duration) {
        let mut left = time;
        self.settle();
        while !left.is_zero() && !self.is_stopped() {
            let step = self.next_timeout().map_or(left, |due| due.min(left));
            self.net().pass(step);
            left -= step;
            self.settle();
        }
    }
}

/// What a [`Server::in_memory`] has answered by now, and goes on to answer if it is a stream.
///
/// When it is dropped, the client leaves.
#[derive(Debug)]
pub struct Answer {
    wire: Wire,
    /// Whether its head is all of it.
    is_to_head: bool,
    is_over: bool,
    /// The head, without the empty line; empty until it is complete.
    head: Vec<u8>,
    framing: Option<Framing>,
    /// What has arrived of the body and is not decoded.
    raw: Vec<u8>,
    body: Vec<u8>,
    /// Where the events begin that were not asked for.
    unread: usize,
}

/// Where a body ends (RFC 9112 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Chunked,
    Length(usize),
    /// With the connection.
    Close,
}

impl Answer {
    /// The status; `None` if there is no answer yet.
    pub fn status(&mut self) -> Option<u16> {
        self.take();
        str::from_utf8(self.head.get(9..12)?).ok()?.parse().ok()
    }

    /// The value of the first header line of this name, in upper or lower case.
    pub fn header(&mut self, name: &str) -> Option<String> {
        self.take();
        let head = String::from_utf8_lossy(&self.head);
        let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    }

    /// The body as far as it has come, without any transfer coding.
    pub fn body(&mut self) -> &[u8] {
        self.take();
        &self.body
    }

    /// The body as text. What is not UTF-8 becomes U+FFFD.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.body()).into_owned()
    }

    /// The events that have come since this was called last: what a client's handlers would be called with.
    /// Each has its id and `retry:`, if these stand with it. Comments, heartbeats and lone ids are no events;
    /// [`text`](Self::text) has them.
    pub fn events(&mut self) -> Vec<Event<'static>> {
        self.take();
        // A stream is UTF-8; what is not is another body.
        let text = self.body[self.unread..].utf8_chunks().next().map_or("", |chunk| chunk.valid());
        let mut rest = text.to_owned();
        let events = take_events(&mut rest);
        self.unread += text.len() - rest.len();
        events
    }

    /// Whether the answer is complete: a whole reply is at once, a stream when it has ended.
    pub fn is_over(&mut self) -> bool {
        self.take();
        self.is_over
    }

    /// Takes what has arrived.
    fn take(&mut self) {
        let (bytes, closed) = self.wire.receive();
        self.raw.extend(bytes);
        while self.head.is_empty() {
            let Some(end) = find(&self.raw, b"\r\n\r\n") else {
                self.is_over |= closed;
                return;
            };
            let mut head: Vec<u8> = self.raw.drain(..end + 4).collect();
            head.truncate(end);
            // 100 (Continue) is no answer.
            if head.get(9) != Some(&b'1') {
                self.head = head;
            }
        }
        let to_head = self.is_to_head.then_some(Framing::Length(0));
        let framing = *self.framing.get_or_insert_with(|| to_head.unwrap_or_else(|| framing(&self.head)));
        match framing {
            Framing::Length(length) => {
                self.body.append(&mut self.raw);
                self.is_over |= self.body.len() >= length;
            }
            Framing::Close => self.body.append(&mut self.raw),
            Framing::Chunked => self.take_chunks(),
        }
        self.is_over |= closed;
    }

    fn take_chunks(&mut self) {
        while let Some(line) = find(&self.raw, b"\r\n") {
            let size = str::from_utf8(&self.raw[..line]).ok();
            let size = size.and_then(|size| usize::from_str_radix(size, 16).ok()).unwrap_or(0);
            let end = line + 2 + size + 2;
            if self.raw.len() < end {
                return;
            }
            self.is_over |= size == 0;
            self.body.extend_from_slice(&self.raw[line + 2..line + 2 + size]);
            self.raw.drain(..end);
        }
    }
}

impl Drop for Answer {
    fn drop(&mut self) {
        self.wire.close();
    }
}

/// What a head says about the body behind it.
fn framing(head: &[u8]) -> Framing {
    let head = String::from_utf8_lossy(head).to_ascii_lowercase();
    let value = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)).map(str::trim);
    if matches!(head.get(9..12), Some("204" | "304")) {
        return Framing::Length(0);
    }
    if value("transfer-encoding:").is_some() {
        return Framing::Chunked;
    }
    let length = value("content-length:").and_then(|length| length.parse().ok());
    length.map_or(Framing::Close, Framing::Length)
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}
