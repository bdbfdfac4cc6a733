//! A client like a browser: it reads strictly, remembers the last id, and resumes with it (WHATWG HTML 9.2).

use crate::gunzip::Gunzip;
use crate::lives::oracle::Life;
use crate::lives::story::Story;
use crate::lives::together::LOOPS_MAX;
use crate::net::World;
use crate::socket::Socket;
use mio_sse::CloseReason;
use std::cell::RefCell;
use std::rc::Rc;

pub(crate) struct Client {
    pub(crate) number: u32,
    /// Like npm's `eventsource`, it drops blocks without data, including their ids.
    pub(crate) drops_bare: bool,
    pub(crate) last_id: String,
    /// Ids that it had before, each with the process that it read then and the next event it expected.
    older: Vec<(String, u32, u32)>,
    pub(crate) life: Life,
    pub(crate) wire: Option<Wire>,
    /// A connection that is still open after its stream has ended.
    idle: Option<Wire>,
    /// It got 204.
    pub(crate) is_over: bool,
    /// All its topics have finished, and it has all their events, or a gap.
    pub(crate) has_finished: bool,
    /// It reads rarely.
    pub(crate) is_slow: bool,
    attempt: u32,
}

/// One connection.
pub(crate) struct Wire {
    world: Rc<RefCell<World>>,
    process: u32,
    /// The last private event that has arrived from each loop.
    serials: [u64; LOOPS_MAX],
    socket: Socket,
    bytes: Vec<u8>,
    state: State,
    /// The decoder, if the stream is compressed.
    gunzip: Option<Gunzip>,
    /// The received part of a line.
    line: Vec<u8>,
    block: Block,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Chunks,
    ToEnd,
    /// A response that is not a stream, up to its end.
    Ignored,
    Over,
}

/// The received part of a block.
#[derive(Debug, Default)]
struct Block {
    id: Option<String>,
    name: Option<String>,
    data: Option<String>,
}

impl Client {
    pub(crate) fn new(number: u32, topics: u8, drops_bare: bool, is_slow: bool) -> Self {
        let life = Life::new(topics);
        Self {
            number,
            drops_bare,
            last_id: String::new(),
            older: Vec::new(),
            life,
            wire: None,
            idle: None,
            is_over: false,
            has_finished: false,
            is_slow,
            attempt: 0,
        }
    }

    /// Connects to a process, on its world.
    pub(crate) fn connect(
        &mut self,
        (world, process): (&Rc<RefCell<World>>, u32),
        capacity: usize,
        story: &mut Story,
    ) {
        self.attempt += 1;
        if !story.settles && !self.older.is_empty() && story.rng.u8(..64) == 0 {
            // A page of the back/forward cache, which resumes with its old state.
            let (id, process, at) = self.older.swap_remove(story.rng.usize(..self.older.len()));
            self.life.goes_back(process, at.max(story.find(&id).map_or(0, |(first, _)| first + 1)));
            self.last_id = id;
            story.count("steps back");
        }
        let (number, attempt, topics) = (self.number, self.attempt, self.life.topics);
        let (mut query, mut header) = (String::new(), String::new());
        match story.rng.u8(..4) {
            _ if self.last_id.is_empty() => {}
            0 => query = format!("?lastEventId={}", encode(&self.last_id)),
            1 => query = format!("?last_event_id={}", encode(&self.last_id)),
            _ => header = format!("Last-Event-ID: {}\r\n", self.last_id),
        }
        // Most accept gzip, whether they get it or not.
        let accepts = if (number + attempt) % 4 > 0 { "Accept-Encoding: gzip\r\n" } else { "" };
        let request = format!(
            "GET /{number}/{attempt}/{topics}{query} HTTP/1.1\r\nHost: x\r\nAccept: text/event-stream\r\n{accepts}{header}\r\n"
        );
        let last_id = &self.last_id;
        story.note(|| format!("client {number}.{attempt} connects to {process} after {last_id:?}"));
        let mut wire = match self.idle.take() {
            Some(idle) if Rc::ptr_eq(&idle.world, world) && idle.is_open() => idle,
            idle => {
                idle.into_iter().for_each(Wire::close);
                Wire::new(world, process, capacity, story)
            }
        };
        wire.send(request.as_bytes());
        self.wire = Some(wire);
    }

    /// Reads up to `count` bytes. Returns whether there were any.
    pub(crate) fn read(&mut self, count: usize, story: &mut Story) -> bool {
        let Some(mut wire) = self.wire.take() else { return false };
        let taken = wire.take(count);
        self.advance(&mut wire, story);
        if wire.state == State::Over || wire.world.borrow().is_at_end(wire.socket.connection) {
            let clean = wire.state == State::Over;
            let reason = story.closings.remove(&(self.number, self.attempt)).filter(|_| clean);
            story.note(|| format!("client {} is at the end: {reason:?}", self.number));
            self.has_finished = reason.is_some_and(|(reason, _)| reason == CloseReason::Finished);
            let is_asked = story.together.asked.remove(&(self.number, self.attempt));
            self.life.ends(reason, is_asked, story);
            story.together.sent.remove(&(self.number, self.attempt));
            if clean && !self.is_over && story.rng.bool() {
                // The next stream may come on the same connection.
                self.idle = Some(Wire { state: State::Head, serials: [0; LOOPS_MAX], ..wire });
            } else {
                wire.close();
            }
        } else {
            self.wire = Some(wire);
        }
        taken > 0
    }

    /// Whether it reads a stream, or a refusal with a retry time, and has everything.
    pub(crate) fn is_at_rest(&self, story: &Story) -> bool {
        let is_over =
            story.closings.contains_key(&(self.number, self.attempt)) || self.life.should_end(story);
        let reads = self.wire.as_ref().is_some_and(|wire| wire.state != State::Head);
        let has_all = !story.together.sent.contains_key(&(self.number, self.attempt));
        reads && !is_over && has_all && self.life.check(story).is_ok()
    }

    pub(crate) fn reads_at(&self, world: &Rc<RefCell<World>>) -> bool {
        self.wire.as_ref().is_some_and(|wire| Rc::ptr_eq(&wire.world, world))
    }

    /// Gives it room for any amount.
    pub(crate) fn make_room(&mut self) {
        if let Some(wire) = &self.wire {
            wire.world.borrow_mut().connections[wire.socket.connection as usize].capacity = 1 << 24;
        }
    }

    /// Its connection is cut.
    pub(crate) fn cut(&mut self, story: &mut Story) {
        if let Some(wire) = self.wire.take() {
            story.note(|| format!("client {} is cut", self.number));
            self.life.ends(None, false, story);
            story.together.sent.remove(&(self.number, self.attempt));
            let mut world = wire.world.borrow_mut();
            if story.rng.bool() {
                world.reset(wire.socket.connection);
            } else {
                world.close(wire.socket.connection);
            }
        }
    }

    fn advance(&mut self, wire: &mut Wire, story: &mut Story) {
        loop {
            let taken = match wire.state {
                State::Head => self.head(wire, story),
                State::Chunks => wire.chunk(),
                State::ToEnd => Some(std::mem::take(&mut wire.bytes)).filter(|bytes| !bytes.is_empty()),
                State::Ignored => return wire.bytes.clear(),
                State::Over => return assert!(wire.bytes.is_empty(), "nothing follows the end"),
            };
            let Some(mut text) = taken else { return };
            if let Some(gunzip) = &mut wire.gunzip {
                text = gunzip.read(&text);
            }
            if wire.state == State::Over
                && let Some(gunzip) = wire.gunzip.take()
            {
                gunzip.end();
                story.count("compressed streams read to their ends");
            }
            for byte in text {
                assert!(byte != b'\r', "lines end with LF");
                if byte == b'\n' {
                    let line = String::from_utf8(std::mem::take(&mut wire.line)).expect("a stream is text");
                    self.line(&line, wire, story);
                } else {
                    wire.line.push(byte);
                }
            }
        }
    }

    /// Checks the head, when it is complete. Returns the bytes after it.
    fn head(&mut self, wire: &mut Wire, story: &mut Story) -> Option<Vec<u8>> {
        let end = wire.bytes.windows(4).position(|four| four == b"\r\n\r\n")? + 4;
        let head = String::from_utf8(wire.bytes.drain(..end).collect()).expect("a head is text");
        if head.starts_with("HTTP/1.1 204 ") {
            story.note(|| format!("client {} gets 204", self.number));
            wire.state = State::Over;
            if story.together.is_revoked(wire.process, self.number) {
                // This was only temporary, unless there was nothing more to come anyway.
                self.is_over = self.life.has_seen_all(wire.process, &self.last_id, story);
                return Some(Vec::new());
            }
            self.is_over = true;
            self.life.is_told_to_stop(wire.process, &self.last_id, story);
            return Some(Vec::new());
        }
        if head.starts_with("HTTP/1.1 408 ") {
            // It was accepted only to be refused, and its request did not arrive in the short time for that.
            wire.state = State::Ignored;
            return Some(Vec::new());
        }
        assert!(head.starts_with("HTTP/1.1 200 ") && head.contains("text/event-stream"), "{head}");
        let chunked = head.contains("Transfer-Encoding: chunked");
        wire.state = if chunked { State::Chunks } else { State::ToEnd };
        wire.gunzip = head.contains("Content-Encoding: gzip").then(Gunzip::new);
        if wire.gunzip.is_some() {
            story.count("compressed streams");
        }
        // A refused client gets a stream with a retry time, which was never opened.
        if let Some(opening) = story.openings.remove(&(self.number, self.attempt)) {
            story.note(|| format!("client {}.{}: {opening:?}", self.number, self.attempt));
            self.life.begins(opening, &self.last_id, story);
        }
        Some(Vec::new())
    }

    fn line(&mut self, line: &str, wire: &mut Wire, story: &mut Story) {
        let number = self.number;
        story.note(|| format!("client {number}: {}", &line[..line.len().min(60)]));
        let block = &mut wire.block;
        match line.split_once(": ").unwrap_or((line, "")) {
            ("", "") => {
                let block = std::mem::take(block);
                self.dispatch(block, (wire.process, &mut wire.serials), story);
                self.hears(story);
            }
            (":", "") => self.hears(story),
            ("id", value) => assert_eq!(block.id.replace(value.to_owned()), None, "one id"),
            ("event", value) => assert_eq!(block.name.replace(value.to_owned()), None, "one name"),
            ("data", value) => assert_eq!(block.data.replace(value.to_owned()), None, "one line"),
            ("retry", value) => assert!(value.parse::<u64>().is_ok(), "a time"),
            _ => panic!("a line of a stream: {line:?}"),
        }
    }

    /// Input has arrived, and with it an id, if the client regards it.
    fn hears(&mut self, story: &Story) {
        if !self.drops_bare || story.scenario.config.heartbeat_event.is_some() {
            self.life.hears();
        }
    }

    fn dispatch(
        &mut self,
        block: Block,
        (process, serials): (u32, &mut [u64; LOOPS_MAX]),
        story: &mut Story,
    ) {
        let mut moved = false;
        let given = block.id.clone();
        if let Some(id) = block.id.filter(|_| block.data.is_some() || !self.drops_bare) {
            self.life.is_placed(&id, block.name.is_none() && block.data.is_some(), story);
            self.last_id = id;
            moved = true;
        }
        match (block.name.as_deref(), block.data) {
            (Some("beat"), Some(data)) => assert_eq!(data, "", "a heartbeat says nothing"),
            (Some("gap"), Some(data)) => self.life.is_told(&data, story),
            (Some("hello"), Some(_)) => self.life.is_greeted(),
            (Some("bye" | "tick"), Some(_)) => {}
            (Some("sent"), Some(data)) => {
                let who = (self.number, self.attempt);
                self.life.is_sent(story.together.is_sent(who, &data, serials), story);
            }
            (None, None) => {}
            (None, Some(data)) => {
                let number = data.split(' ').next().and_then(|number| number.parse().ok());
                let number = number.expect("every event has a number");
                if let Some(id) = given.filter(|_| !story.scenario.is_shared()) {
                    story.together.is_named(process, number, id);
                }
                self.life.receives(number, story);
            }
            (name, data) => panic!("an event of {name:?} with {data:?}"),
        }
        if moved && story.rng.u8(..16) == 0 {
            self.older.push((self.last_id.clone(), process, self.life.goes_on_with()));
        }
    }
}

/// Encodes it for a query.
fn encode(text: &str) -> String {
    text.bytes().map(|byte| format!("%{byte:02x}")).collect()
}

impl Wire {
    fn new(world: &Rc<RefCell<World>>, process: u32, capacity: usize, story: &mut Story) -> Self {
        let connection = world.borrow_mut().connect(capacity);
        if story.scenario.secure {
            story.count("connections with TLS");
        }
        let socket = Socket::new(connection, story.scenario.secure);
        let (bytes, line, block) = (Vec::new(), Vec::new(), Block::default());
        let serials = [0; LOOPS_MAX];
        let (world, state, gunzip) = (world.clone(), State::Head, None);
        Self { world, process, serials, socket, bytes, state, gunzip, line, block }
    }

    fn send(&mut self, text: &[u8]) {
        self.socket.send(text, &mut self.world.borrow_mut());
    }

    /// Reads up to `count` bytes. Returns how many there were.
    fn take(&mut self, count: usize) -> usize {
        self.socket.take(count, &mut self.bytes, &mut self.world.borrow_mut())
    }

    /// The client closes cleanly.
    fn close(mut self) {
        let world = &mut *self.world.borrow_mut();
        self.socket.say_goodbye(world);
        world.close(self.socket.connection);
    }

    /// Whether the client believes that it can send on it.
    fn is_open(&self) -> bool {
        !self.world.borrow().is_at_end(self.socket.connection)
    }

    /// The next chunk, when it is complete.
    fn chunk(&mut self) -> Option<Vec<u8>> {
        let line = self.bytes.windows(2).position(|two| two == b"\r\n")?;
        let size =
            str::from_utf8(&self.bytes[..line]).ok().and_then(|size| usize::from_str_radix(size, 16).ok());
        let size = size.unwrap_or_else(|| panic!("a size: {:?}", &self.bytes[..line]));
        let end = line + 2 + size + 2;
        if self.bytes.len() < end {
            return None;
        }
        assert_eq!(&self.bytes[end - 2..end], b"\r\n", "a chunk ends with a line's end");
        if size == 0 {
            self.state = State::Over;
        }
        let chunk = self.bytes[line + 2..end - 2].to_vec();
        self.bytes.drain(..end);
        Some(chunk)
    }
}
