//! A server in a thread, and a strict client: it reads HTTP by hand, and events with an independent parser.

use eventsource_stream::{Event, EventStream};
use futures_executor::block_on;
use futures_util::{StreamExt, stream};
use mio_sse::{App, Config, Publisher, Server, Stats};
use std::convert::Infallible;
use std::io::{Read, Write};
use std::net::{Shutdown, SocketAddr, TcpStream};
use std::sync::mpsc;
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Timeout of a test. Only a failed test waits this long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(20);

/// A server that runs until it is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) publisher: Publisher,
    /// Whether it uses TLS.
    secure: bool,
    thread: Option<JoinHandle<()>>,
}

pub(crate) fn serve(app: impl App + Send + 'static) -> Running {
    serve_with(app, Config::default())
}

pub(crate) fn serve_with(app: impl App + Send + 'static, config: Config) -> Running {
    // The same tests over TLS: `MIO_SSE_TLS=1 cargo test --features tls --test it`.
    #[cfg(feature = "tls")]
    if std::env::var_os("MIO_SSE_TLS").is_some() {
        let listeners = mio_sse::Listeners::new().tls("127.0.0.1:0", &crate::tls_client::tls());
        let mut running = run(Server::listen(listeners, app, config).unwrap());
        running.secure = true;
        return running;
    }
    run(Server::bind_with("127.0.0.1:0", app, config).unwrap())
}

pub(crate) fn run(mut server: Server<impl App + Send + 'static>) -> Running {
    let (address, publisher) = (server.local_addr().unwrap(), server.publisher().without_state());
    let thread = std::thread::spawn(move || server.run().unwrap());
    Running { address, publisher, secure: false, thread: Some(thread) }
}

impl Running {
    pub(crate) fn connect(&self) -> Client {
        let client = Client::connect(self.address);
        if self.secure { client.with_tls() } else { client }
    }

    pub(crate) fn stats(&self) -> Stats {
        let (sender, receiver) = mpsc::channel();
        self.publisher.run(move |cx| sender.send(cx.stats()).map_err(|_| "nobody waits")).unwrap();
        receiver.recv_timeout(DEADLINE).unwrap()
    }

    /// Waits until the stats meet the condition.
    pub(crate) fn wait_for(&self, what: &str, mut condition: impl FnMut(&Stats) -> bool) -> Stats {
        let deadline = now() + DEADLINE;
        loop {
            let stats = self.stats();
            if condition(&stats) {
                return stats;
            }
            assert!(now() < deadline, "{what}: {stats:?}");
            std::thread::yield_now();
        }
    }

    /// Stops the server and waits for its thread.
    pub(crate) fn stop(mut self) {
        self.join();
    }

    /// Waits until the server has stopped by itself.
    pub(crate) fn wait_until_stopped(mut self) {
        let thread = self.thread.take().unwrap();
        let deadline = now() + DEADLINE;
        while !thread.is_finished() {
            assert!(now() < deadline, "the server stops by itself");
            std::thread::yield_now();
        }
        thread.join().unwrap();
    }

    fn join(&mut self) {
        let Some(thread) = self.thread.take() else { return };
        // It may have stopped by itself.
        let _ = self.publisher.run(|cx| cx.stop());
        let deadline = now() + DEADLINE;
        while !thread.is_finished() && now() < deadline {
            std::thread::yield_now();
        }
        if !std::thread::panicking() {
            assert!(thread.is_finished(), "the server stops");
            thread.join().unwrap();
        }
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.join();
    }
}

pub(crate) fn secs(secs: u64) -> Duration {
    Duration::from_secs(secs)
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[expect(clippy::disallowed_methods, reason = "tests have deadlines")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

/// Waits until a condition holds.
pub(crate) fn wait_until(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = now() + DEADLINE;
    while !condition() {
        assert!(now() < deadline, "{what}");
        std::thread::yield_now();
    }
}

/// The head of a response.
#[derive(Debug, Clone)]
pub(crate) struct Head {
    pub(crate) status: u16,
    pub(crate) headers: Vec<(String, String)>,
}

impl Head {
    pub(crate) fn get(&self, name: &str) -> Option<&str> {
        let mut found = self.headers.iter().filter(|(known, _)| known.eq_ignore_ascii_case(name));
        let value = found.next().map(|(_, value)| value.as_str());
        assert!(found.next().is_none(), "{name} once");
        value
    }
}

/// A connection to the server.
pub(crate) struct Client {
    pub(crate) socket: TcpStream,
    #[cfg(feature = "tls")]
    tls: Option<Box<rustls::ClientConnection>>,
    /// Bytes that have been read and not used.
    buffer: Vec<u8>,
    /// The body of the response so far, without the lines of chunks.
    body: Vec<u8>,
    chunked: bool,
    ended: bool,
    /// Heartbeats must not keep a test alive that waits for something else.
    deadline: Instant,
}

impl Client {
    pub(crate) fn connect(address: SocketAddr) -> Self {
        Self::from(TcpStream::connect(address).unwrap())
    }

    /// A client on an existing connection.
    pub(crate) fn from(socket: TcpStream) -> Self {
        socket.set_nodelay(true).unwrap();
        let deadline = now() + 3 * DEADLINE;
        Self {
            socket,
            #[cfg(feature = "tls")]
            tls: None,
            buffer: Vec::new(),
            body: Vec::new(),
            chunked: false,
            ended: false,
            deadline,
        }
    }

    /// The same, over TLS.
    #[cfg(feature = "tls")]
    fn with_tls(mut self) -> Self {
        use crate::tls_client::{BOTH, client_config};
        let (config, name) = (std::sync::Arc::new(client_config(&BOTH)), "localhost".try_into().unwrap());
        self.tls = Some(Box::new(rustls::ClientConnection::new(config, name).unwrap()));
        self
    }

    #[cfg(not(feature = "tls"))]
    fn with_tls(self) -> Self {
        self
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return rustls::Stream::new(tls.as_mut(), &mut self.socket).write_all(bytes.as_ref()).unwrap();
        }
        self.socket.write_all(bytes.as_ref()).unwrap();
    }

    pub(crate) fn read(&mut self, chunk: &mut [u8]) -> std::io::Result<usize> {
        #[cfg(feature = "tls")]
        if let Some(tls) = &mut self.tls {
            return rustls::Stream::new(tls.as_mut(), &mut self.socket).read(chunk);
        }
        self.socket.read(chunk)
    }

    pub(crate) fn get(&mut self, path: &str) -> Head {
        self.write(format!("GET {path} HTTP/1.1\r\nHost: test\r\n\r\n"));
        self.head()
    }

    /// Reads more. Returns false at the end of the connection.
    fn fill(&mut self) -> bool {
        let mut chunk = [0; 16 << 10];
        let left = self.deadline.saturating_duration_since(now()).max(Duration::from_millis(1));
        self.socket.set_read_timeout(Some(left)).unwrap();
        let count = self.read(&mut chunk).expect("bytes within the deadline");
        self.buffer.extend_from_slice(&chunk[..count]);
        count > 0
    }

    /// Reads the head of a response.
    pub(crate) fn head(&mut self) -> Head {
        let end = loop {
            if let Some(at) = find(&self.buffer, b"\r\n\r\n") {
                break at + 4;
            }
            assert!(self.fill(), "a head, not only {:?}", String::from_utf8_lossy(&self.buffer));
        };
        let text = String::from_utf8(self.buffer.drain(..end).collect()).unwrap();
        let mut lines = text.trim_end().split("\r\n");
        let status = lines.next().unwrap();
        let status = status.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("{status}"));
        let status = status[..3].parse().unwrap();
        let headers = lines.map(|line| line.split_once(": ").unwrap_or_else(|| panic!("{line}")));
        let headers = headers.map(|(name, value)| (name.to_owned(), value.to_owned())).collect();
        let head = Head { status, headers };
        self.chunked = head.get("Transfer-Encoding") == Some("chunked");
        self.ended = false;
        self.body.clear();
        head
    }

    /// Reads the whole body of a response whose head was read.
    pub(crate) fn body(&mut self, head: &Head) -> String {
        let length: usize = head.get("Content-Length").map_or(0, |length| length.parse().unwrap());
        while self.buffer.len() < length {
            assert!(self.fill(), "the whole body");
        }
        String::from_utf8(self.buffer.drain(..length).collect()).unwrap()
    }

    /// Reads a whole response that is not a stream.
    pub(crate) fn reply(&mut self) -> (Head, String) {
        let head = self.head();
        let body = self.body(&head);
        (head, body)
    }

    /// Requests a path and reads the whole response.
    pub(crate) fn get_text(&mut self, path: &str) -> String {
        let head = self.get(path);
        assert_eq!(head.status, 200, "{path}");
        self.body(&head)
    }

    /// Moves the complete chunks that have arrived to the body.
    fn unwrap_chunks(&mut self) {
        if !self.chunked {
            self.body.append(&mut self.buffer);
            return;
        }
        while !self.ended {
            let Some(line) = find(&self.buffer, b"\r\n") else { return };
            let size = std::str::from_utf8(&self.buffer[..line]).unwrap();
            let size = usize::from_str_radix(size, 16).unwrap_or_else(|_| panic!("chunk size {size:?}"));
            let end = line + 2 + size;
            if self.buffer.len() < end + 2 {
                return;
            }
            assert_eq!(&self.buffer[end..end + 2], b"\r\n", "a chunk ends with CRLF");
            self.body.extend_from_slice(&self.buffer[line + 2..end]);
            self.buffer.drain(..end + 2);
            self.ended = size == 0;
        }
    }

    /// Reads until the body holds at least `count` events. Returns all of them.
    pub(crate) fn events(&mut self, count: usize) -> Vec<Event> {
        loop {
            self.unwrap_chunks();
            let events = parse(&self.body);
            if events.len() >= count {
                return events;
            }
            assert!(!self.ended && self.fill(), "{count} events, not only {events:?}");
        }
    }

    /// Reads to the end of a chunked body of any bytes.
    #[cfg(feature = "gzip")]
    pub(crate) fn chunks_to_end(&mut self) -> Vec<u8> {
        self.unwrap_chunks();
        while !self.ended {
            assert!(self.fill(), "the end of the body");
            self.unwrap_chunks();
        }
        std::mem::take(&mut self.body)
    }

    /// The data of the first `count` events.
    pub(crate) fn data(&mut self, count: usize) -> Vec<String> {
        self.events(count).into_iter().take(count).map(|event| event.data).collect()
    }

    /// Reads until the body holds `text`.
    pub(crate) fn wait_for_body(&mut self, text: &str) {
        loop {
            self.unwrap_chunks();
            if find(&self.body, text.as_bytes()).is_some() {
                return;
            }
            assert!(
                !self.ended && self.fill(),
                "{text:?}, not only {:?}",
                String::from_utf8_lossy(&self.body)
            );
        }
    }

    /// Reads to the end of the body - the last chunk, or the end of the connection - and returns all events.
    pub(crate) fn events_to_end(&mut self) -> Vec<Event> {
        loop {
            self.unwrap_chunks();
            if self.ended {
                break;
            }
            if !self.fill() {
                assert!(!self.chunked, "a chunked body ends with its last chunk");
                break;
            }
        }
        parse(&self.body)
    }

    /// The body so far.
    pub(crate) fn body_text(&self) -> String {
        String::from_utf8(self.body.clone()).unwrap()
    }

    /// Reads to the end of the connection. Returns the rest.
    #[expect(clippy::wrong_self_convention, reason = "it reads to the end, and converts nothing")]
    pub(crate) fn to_end(&mut self) -> String {
        while self.fill() {}
        String::from_utf8(std::mem::take(&mut self.buffer)).unwrap()
    }

    /// Waits for the end of the connection, also by a reset.
    pub(crate) fn wait_for_close(&mut self) {
        let mut chunk = [0; 16 << 10];
        loop {
            match self.read(&mut chunk) {
                Ok(0) => return,
                Ok(_) => {}
                Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return,
                Err(error) => panic!("the end of the connection: {error}"),
            }
        }
    }

    /// Closes the connection with RST instead of FIN.
    #[cfg_attr(not(feature = "tls"), expect(unused_mut, reason = "over TLS it says no goodbye"))]
    pub(crate) fn reset(mut self) {
        #[cfg(feature = "tls")]
        self.tls.take();
        socket2::SockRef::from(&self.socket).set_linger(Some(Duration::ZERO)).unwrap();
    }

    pub(crate) fn shutdown_write(&mut self) {
        self.say_goodbye();
        self.socket.shutdown(Shutdown::Write).unwrap();
    }

    /// Over TLS, an end that is not announced is a cut.
    fn say_goodbye(&mut self) {
        #[cfg(feature = "tls")]
        if let Some(mut tls) = self.tls.take() {
            tls.send_close_notify();
            // The server may have closed.
            let _ = tls.write_tls(&mut self.socket);
            self.tls = Some(tls);
        }
    }
}

impl Drop for Client {
    fn drop(&mut self) {
        self.say_goodbye();
    }
}

fn find(bytes: &[u8], what: &[u8]) -> Option<usize> {
    bytes.windows(what.len()).position(|window| window == what)
}

/// The responses in a text, statuses and bodies, without the lines of chunks. The last body may be
/// incomplete.
pub(crate) fn replies(mut text: &str) -> Vec<(u16, String)> {
    let mut replies = Vec::new();
    while !text.is_empty() {
        let (head, mut rest) = text.split_once("\r\n\r\n").unwrap_or_else(|| panic!("a head, not {text:?}"));
        let status = head.strip_prefix("HTTP/1.1 ").unwrap_or_else(|| panic!("a status line, not {head:?}"));
        let header = |name: &str| head.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(": "));
        let mut body = String::new();
        if let Some(length) = header("Content-Length") {
            let length: usize = length.parse().unwrap();
            assert!(rest.len() >= length, "{length} bytes, not only {rest:?}");
            let (whole, behind) = rest.split_at(length);
            body.push_str(whole);
            rest = behind;
        } else if header("Transfer-Encoding") == Some("chunked") {
            while !rest.is_empty() {
                let (size, behind) = rest.split_once("\r\n").expect("a chunk size line");
                let size = usize::from_str_radix(size, 16).expect("a chunk size");
                body.push_str(&behind[..size]);
                rest = behind[size..].strip_prefix("\r\n").expect("a chunk ends with CRLF");
                if size == 0 {
                    break;
                }
            }
        } else if header("Content-Type") == Some("text/event-stream") {
            body.push_str(std::mem::take(&mut rest));
        }
        replies.push((status[..3].parse().unwrap(), body));
        text = rest;
    }
    replies
}

/// The events of a body, by an independent parser.
pub(crate) fn parse(body: &[u8]) -> Vec<Event> {
    let input = stream::iter([Ok::<_, Infallible>(body.to_vec())]);
    block_on(EventStream::new(input).map(|event| event.unwrap()).collect())
}
