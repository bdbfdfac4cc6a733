//! Test an application without sockets and without waiting.

use crate::config::Config;
use crate::event::Event;
use crate::event_stream::take_events;
use crate::server::api::app::App;
use crate::server::api::server::Server;
use crate::server::io::in_memory::{InMemory, Wire};
use std::io;
use std::time::Duration;

/// More turns than any server needs to become idle.
const TURNS_MAX: usize = 1_000_000;

impl<H: App> Server<H, InMemory> {
    /// A server without sockets, for tests of an application. [`ask`](Self::ask) sends a request, and the
    /// clock stands still until [`advance`](Self::advance) moves it. Everything else works as usual.
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
    /// [`InvalidInput`](io::ErrorKind::InvalidInput) for invalid limits or an invalid handler.
    pub fn in_memory(app: H, config: Config) -> io::Result<Self> {
        Self::with_net(InMemory::default(), app, config)
    }

    /// Sends a request on a new connection, and runs the server until it is idle, see
    /// [`settle`](Self::settle). A [`RawRequest`](crate::RawRequest) makes the bytes most easily. Dropping
    /// the answer disconnects the client.
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

    /// Runs the server until it is idle, without time passing. This includes messages that other threads have
    /// sent by now.
    ///
    /// # Panics
    /// If the server never becomes idle, for example because a timer sets itself again without delay.
    #[expect(clippy::panic, reason = "it is for tests, and this one has failed")]
    pub fn settle(&mut self) {
        for _ in 0..TURNS_MAX {
            self.turn(Some(Duration::ZERO)).expect("the network in memory never fails");
            if self.is_stopped() || !self.has_more() {
                return;
            }
        }
        panic!("the server does not become idle");
    }

    /// Whether the server has work without time passing.
    pub(crate) fn has_more(&mut self) -> bool {
        self.net().has_news() || self.next_timeout() == Some(Duration::ZERO)
    }

    /// Moves the server's clock, in steps from one timer to the next, and runs what is due.
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
    /// As for [`settle`](Self::settle).
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

/// The response of a [`Server::in_memory`] so far. A stream continues to arrive.
///
/// Dropping it disconnects the client.
#[derive(Debug)]
pub struct Answer {
    wire: Wire,
    /// Whether the request was HEAD, so the response has no body.
    is_to_head: bool,
    is_over: bool,
    /// The head, without the empty line; empty until it is complete.
    head: Vec<u8>,
    framing: Option<Framing>,
    /// Bytes of the body that have arrived and are not decoded.
    raw: Vec<u8>,
    body: Vec<u8>,
    /// Where the events begin that [`events`](Self::events) has not returned yet.
    unread: usize,
}

/// Where a body ends (RFC 9112 6.3).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Framing {
    Chunked,
    Length(usize),
    /// The body ends with the connection.
    Close,
}

impl Answer {
    /// The status; `None` if there is no response yet.
    pub fn status(&mut self) -> Option<u16> {
        self.take();
        str::from_utf8(self.head.get(9..12)?).ok()?.parse().ok()
    }

    /// The value of the first header line of this name, ignoring case.
    pub fn header(&mut self, name: &str) -> Option<String> {
        self.take();
        let head = String::from_utf8_lossy(&self.head);
        let mut lines = head.lines().skip(1).filter_map(|line| line.split_once(':'));
        lines.find(|(found, _)| found.eq_ignore_ascii_case(name)).map(|(_, value)| value.trim().to_owned())
    }

    /// The body so far, without any transfer coding.
    pub fn body(&mut self) -> &[u8] {
        self.take();
        &self.body
    }

    /// The body as text. Invalid UTF-8 becomes U+FFFD.
    pub fn text(&mut self) -> String {
        String::from_utf8_lossy(self.body()).into_owned()
    }

    /// The events since the last call, as a client would dispatch them. Each has the id and `retry:` of its
    /// own block. Comments, heartbeats and lone ids are not events; [`text`](Self::text) contains them.
    pub fn events(&mut self) -> Vec<Event<'static>> {
        self.take();
        // A stream is UTF-8. Bytes that are not belong to another kind of body.
        let text = self.body[self.unread..].utf8_chunks().next().map_or("", |chunk| chunk.valid());
        let mut rest = text.to_owned();
        let events = take_events(&mut rest);
        self.unread += text.len() - rest.len();
        events
    }

    /// Whether the response is complete: a whole reply at once, a stream when it has ended.
    pub fn is_over(&mut self) -> bool {
        self.take();
        self.is_over
    }

    /// Takes the bytes that have arrived.
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
            // 100 (Continue) is not the response.
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

/// The framing of the body, by the head.
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
