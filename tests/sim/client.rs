//! Simulated clients: their requests, how they send and read, and a strict parser for their input.

use crate::ends::is_over;
use crate::gunzip::Gunzip;
use crate::kept::ALWAYS;
use crate::model::{Answer, Model, SURPLUS_TIMEOUT, Softness};
use crate::net::World;
use crate::resume::Page;
use crate::socket::Socket;
use crate::trace::Note;
use fastrand::Rng;
use mio_sse::Refusal;
use std::borrow::Cow;

/// How a client behaves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Character {
    /// Sends its request at once, and reads everything.
    Good,
    /// Reads a little now and then.
    Slow,
    /// Does not read for long.
    Stalled,
    /// Has vanished: it never reads and never closes.
    Silent,
    /// Sends byte by byte.
    Dribbler,
    /// Sends many requests at once.
    Pipeliner,
    /// Sends invalid requests.
    Malicious,
}

/// Relative frequency of each.
pub(crate) const CHARACTERS: [(u32, Character); 7] = [
    (10, Character::Good),
    (6, Character::Slow),
    (3, Character::Stalled),
    (1, Character::Silent),
    (3, Character::Dribbler),
    (3, Character::Pipeliner),
    (2, Character::Malicious),
];

pub(crate) struct Client {
    pub(crate) connection: u32,
    socket: Socket,
    pub(crate) character: Character,
    /// Bytes that fit between it and the server.
    pub(crate) capacity: usize,
    pub(crate) wire: Wire,
    /// It has half-closed: it only reads.
    pub(crate) half_closed: bool,
    out: Vec<u8>,
    out_at: usize,
    /// End of each request, counted from the first byte, and the number of complete ones that were sent.
    ends: Vec<u64>,
    complete: u32,
    sent: u64,
    /// One of its requests waits for `100 Continue`.
    expects: bool,
    /// Its last input was not a request: only a rejection may follow.
    spoilt: bool,
}

/// Input of a client.
#[derive(Default)]
pub(crate) struct Wire {
    pub(crate) buffer: Vec<u8>,
    /// Number of bytes of `buffer` that were used.
    at: usize,
    /// Number of unused bytes that were searched in vain.
    scanned: usize,
    state: State,
    answered: u32,
    close: bool,
    /// For each request, whether it announces the close.
    lasts: Vec<bool>,
    /// If its stream is compressed: the decoder, and the text that has arrived with a chunk.
    gunzip: Option<Gunzip>,
    text: Vec<u8>,
    /// State that lasts from one stream to the next.
    pub(crate) page: Page,
}

#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
enum State {
    #[default]
    Head,
    Body(usize),
    /// This many bytes, which are checked when all have arrived.
    Text(usize, Text),
    Chunks(u32),
    ToEnd(u32),
    /// No more bytes may arrive.
    Over,
}

/// The expected text of a short body.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Text {
    /// The expected retry time.
    Retry,
    Anything,
}

impl Client {
    pub(crate) fn new(socket: Socket, character: Character, capacity: usize, page: Page) -> Self {
        Self {
            connection: socket.connection,
            socket,
            character,
            capacity,
            wire: Wire { page, ..Wire::default() },
            half_closed: false,
            out: Vec::new(),
            out_at: 0,
            ends: Vec::new(),
            complete: 0,
            sent: 0,
            expects: false,
            spoilt: false,
        }
    }

    /// Draws the next request.
    pub(crate) fn ask(&mut self, rng: &mut Rng, model: &mut Model) {
        if self.spoilt || self.half_closed || self.out.len() > 1 << 20 {
            return;
        }
        if self.character == Character::Malicious && rng.bool() {
            self.spoilt = true;
            spoil(rng, model, &mut self.out);
            return;
        }
        let count = if self.character == Character::Pipeliner { rng.u32(1..60) } else { 1 };
        for _ in 0..count {
            self.request(rng, model);
            self.ends.push(self.sent + (self.out.len() - self.out_at) as u64);
        }
    }

    fn request(&mut self, rng: &mut Rng, model: &mut Model) {
        use std::io::Write as _;
        let (connection, number) = (self.connection, self.ends.len());
        let mut body = rng.usize(..600).min(model.config.body_bytes_max);
        if rng.u8(..32) == 0 {
            body = model.config.body_bytes_max;
        }
        let kind = rng.u8(..32);
        self.wire.lasts.push(matches!(kind, 2 | 4));
        let last_seen = self.wire.page.draw(rng);
        let (mut query, mut header) = (String::new(), accepts(connection, number, model));
        if let Some(id) = &last_seen {
            match rng.u8(..4) {
                0 => query = format!("?lastEventId={id}"),
                1 => query = format!("?last_event_id={id}"),
                _ => header.push_str(&format!("\r\nLast-Event-ID: {id}")),
            }
        }
        model.connections[connection as usize].last_seen.push(last_seen);
        let out = &mut self.out;
        let write = |out: &mut Vec<u8>, method: &str, body: usize, rest: &str| {
            write!(out, "{method} /{connection}/{number}/{body}{query} HTTP/1.{rest}{header}\r\n\r\n")
                .unwrap();
        };
        match kind {
            0 | 1 => write(out, "HEAD", 0, "1\r\nHost: x"),
            2 => write(out, "GET", 0, "0"),
            3 => write(out, "GET", 0, "0\r\nConnection: keep-alive"),
            4 => write(out, "GET", 0, "1\r\nHost: x\r\nConnection: close"),
            5 | 6 => {
                write(out, "POST", body, &format!("1\r\nHost: x\r\nContent-Length: {body}"));
                out.resize(out.len() + body, b'p');
            }
            7 => {
                self.expects = true;
                let expect = format!("1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: {body}");
                write(out, "POST", body, &expect);
                out.resize(out.len() + body, b'p');
            }
            8 | 9 => {
                write(out, "POST", body, "1\r\nHost: x\r\nTransfer-Encoding: chunked");
                let mut left = body;
                while left > 0 {
                    let chunk = rng.usize(1..=left);
                    write!(out, "{chunk:x}\r\n").unwrap();
                    out.resize(out.len() + chunk, b'p');
                    out.extend_from_slice(b"\r\n");
                    left -= chunk;
                }
                out.extend_from_slice(b"0\r\n\r\n");
            }
            _ => write(out, "GET", 0, "1\r\nHost: x\r\nAccept: text/event-stream"),
        }
    }

    /// Sends a part of its pending bytes, or all.
    pub(crate) fn send(&mut self, all: bool, world: &mut World, model: &mut Model) {
        let left = self.out.len() - self.out_at;
        if left == 0 || self.half_closed {
            return;
        }
        let count = match self.character {
            _ if all => left,
            Character::Dribbler => world.rng.usize(1..8).min(left),
            _ if world.rng.u8(..4) == 0 => world.rng.usize(1..=left),
            _ => left,
        };
        self.socket.send(&self.out[self.out_at..self.out_at + count], world);
        self.out_at += count;
        self.sent += count as u64;
        if self.out_at == self.out.len() {
            self.out.clear();
            self.out_at = 0;
        }
        while self.ends.get(self.complete as usize).is_some_and(|end| *end <= self.sent) {
            self.complete += 1;
        }
        let answers = &mut model.connections[self.connection as usize];
        let requested = answers.requests.checked_sub(1).map_or(0, |last| self.ends[last as usize]);
        answers.expects |= self.expects;
        let (ahead, most) = (self.sent - requested, model.config.head_bytes_max as u64);
        answers.excess |= ahead > most;
        answers.enough |= ahead >= most;
    }

    pub(crate) fn has_unsent(&self) -> bool {
        self.out_at < self.out.len() && !self.half_closed
    }

    /// Reads up to `count` bytes, and checks them. Returns whether there were any.
    pub(crate) fn read(&mut self, count: usize, world: &mut World, model: &mut Model) -> bool {
        let taken = self.socket.take(count, &mut self.wire.buffer, world);
        if taken > 0 {
            self.wire.advance(self.spoilt, self.connection, world, model);
        }
        taken > 0
    }

    /// Closes its side of the connection, or all of it. With TLS it sometimes does not announce that first.
    pub(crate) fn close(&mut self, half: bool, rng: &mut Rng, world: &mut World, model: &mut Model) {
        let it = &world.connections[self.connection as usize];
        let says = self.socket.is_secure() && !it.fin && rng.u8(..4) > 0 && self.socket.say_goodbye(world);
        let it = &mut world.connections[self.connection as usize];
        it.unsaid = self.socket.is_secure() && !it.fin && !says || it.unsaid;
        model.counts.unsaid += u64::from(it.unsaid);
        if half { world.half_close(self.connection) } else { world.close(self.connection) }
    }

    /// Whether it is in the middle of a stream.
    pub(crate) fn reads_stream(&self) -> bool {
        matches!(self.wire.state, State::Chunks(_) | State::ToEnd(_))
    }

    /// Checks that its input may end here: the server has closed the connection. `may_be_cut` says that the
    /// server had a reason to close at any time.
    pub(crate) fn check_end(&self, may_be_cut: bool, model: &mut Model) {
        if may_be_cut {
            model.counts.cut += 1;
            return;
        }
        // A server that closes during a handshake cannot announce that.
        let is_told = self.wire.answered == 0 || self.socket.was_told_the_end();
        assert!(is_told, "the end is said: {self}");
        let wire = &self.wire;
        match wire.state {
            State::Over => {}
            // A drain closes between two requests, even if the next one is on its way.
            State::Head if model.drain.is_some() && wire.at == wire.buffer.len() => {}
            State::ToEnd(stream) => {
                let it = &model.streams[stream as usize];
                assert!(it.close_requested || it.closed.is_some(), "ended by whom? {it:?}");
                assert_eq!(wire.at, wire.buffer.len(), "the last frame is whole");
                model.check_complete(stream);
                model.counts.ends_seen += 1;
            }
            state => panic!("connection {} ends in {state:?}, {self}", self.connection),
        }
    }

    /// Checks that it has received everything that it can: everything is at rest.
    pub(crate) fn check_rest(&self, model: &mut Model) {
        let wire = &self.wire;
        assert_eq!(wire.at, wire.buffer.len(), "everything is whole: {self}");
        match wire.state {
            State::Head => {
                let answers = &model.connections[self.connection as usize];
                let waits = u32::from(model.awaiting(self.connection).is_some());
                assert_eq!(
                    (wire.answered + waits) as usize,
                    answers.answers.len(),
                    "every answer has arrived: {self}"
                );
                let all = answers.requests == self.complete || waits > 0;
                assert!(all, "every request got a reply: {self}");
                let refused = !self.spoilt || self.has_unsent() || waits > 0;
                assert!(refused, "an invalid request is rejected: {self}");
            }
            State::Chunks(stream) | State::ToEnd(stream) => {
                let it = &model.streams[stream as usize];
                assert!(it.live, "the end of stream {stream} has arrived: {it:?}");
                model.check_complete(stream);
                model.all_caught_up(stream);
            }
            State::Over => panic!("the server closes after its last reply: {self}"),
            State::Body(_) | State::Text(..) => panic!("replies arrive completely: {self}"),
        }
    }
}

impl std::fmt::Display for Client {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "connection {}, {:?}, {} requests of {} sent, {:?}, {} replies seen, {:?}",
            self.connection,
            self.character,
            self.complete,
            self.ends.len(),
            self.wire.state,
            self.wire.answered,
            String::from_utf8_lossy(&self.wire.buffer[self.wire.at..]).chars().take(200).collect::<String>()
        )
    }
}

/// Draws the `Accept-Encoding` of a request: some accept gzip, if the limits have room for it.
fn accepts(connection: u32, number: usize, model: &Model) -> String {
    let is_roomy = model.config.head_bytes_max > 256;
    let accepts = cfg!(feature = "gzip") && is_roomy && !(connection as usize + number).is_multiple_of(4);
    if accepts { "\r\nAccept-Encoding: gzip".into() } else { String::new() }
}

/// Invalid requests, followed by bytes that look like one.
fn spoil(rng: &mut Rng, model: &Model, out: &mut Vec<u8>) {
    let config = &model.config;
    let fields = |line: &str, count: usize| line.repeat(count);
    let spoilt: Vec<u8> = match rng.u8(..18) {
        0 => b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(),
        1 => (0..64).map(|_| rng.u8(0..9)).collect(),
        2 => format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(config.target_bytes_max)).into(),
        3 => format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n", "a".repeat(config.head_bytes_max)).into(),
        4 => format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", fields("A: b\r\n", config.headers_max)).into(),
        5 => {
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n"
                .into()
        }
        6 => b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\nContent-Length: 5\r\n\r\n".into(),
        7 => b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked, chunked\r\n\r\n".into(),
        8 => {
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nfffffffffffffffffff\r\n".into()
        }
        9 => b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabcd\r\n".into(),
        10 => b"GET / HTTP/1.1\nHost: x\n\n".into(),
        11 => b"GET / HTTP/1.1\r\nHost: x\r\nA: b\r\n c\r\n\r\n".into(),
        12 => b"GET / HTTP/1.1\r\nHost : x\r\n\r\n".into(),
        13 => b"GET / HTTP/1.1\r\n\r\n".into(),
        14 => b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".into(),
        15 => b"CONNECT x:80 HTTP/1.1\r\nHost: x\r\n\r\n".into(),
        16 => format!("POST / HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n", config.body_bytes_max + 1)
            .into(),
        _ => b"\r\n".repeat(20),
    };
    out.extend_from_slice(&spoilt);
    out.extend_from_slice(b"GET /smuggled HTTP/1.1\r\nHost: x\r\n\r\n");
}

impl Wire {
    /// Reads everything complete from the buffer.
    fn advance(&mut self, spoilt: bool, connection: u32, world: &mut World, model: &mut Model) {
        while self.take(spoilt, connection, world, model) {
            self.scanned = 0;
        }
        if self.at == self.buffer.len() {
            self.buffer.clear();
            self.at = 0;
        } else if self.at > 1 << 16 {
            self.buffer.drain(..self.at);
            self.at = 0;
        }
    }

    /// Reads one element. Returns whether it was complete.
    fn take(&mut self, spoilt: bool, connection: u32, world: &mut World, model: &mut Model) -> bool {
        let rest = &self.buffer[self.at..];
        if rest.is_empty() {
            return false;
        }
        match self.state {
            State::Head => {
                let Some(head) = find(rest, self.scanned, b"\r\n\r\n") else {
                    self.scanned = rest.len();
                    return false;
                };
                let head = std::str::from_utf8(&rest[..head]).expect("a head is text").to_owned();
                self.at += head.len() + 4;
                self.head(&head, spoilt, connection, world, model);
                true
            }
            State::Body(left) => {
                let count = left.min(rest.len());
                assert!(rest[..count].iter().all(|byte| *byte == b'w' || spoilt), "the body of the reply");
                self.at += count;
                self.state = State::Body(left - count);
                if count == left {
                    self.state = if self.close { State::Over } else { State::Head };
                    model.counts.replies_seen += 1;
                }
                true
            }
            State::Text(length, text) => {
                let Some(bytes) = rest.get(..length) else { return false };
                if text == Text::Retry {
                    let retry = std::str::from_utf8(bytes).ok().and_then(|text| text.strip_prefix("retry: "));
                    let retry = retry.and_then(|retry| retry.strip_suffix("\n")?.parse::<u128>().ok());
                    check_retry(retry.expect("when to come again"), 1, model);
                }
                self.at += length;
                self.state = if self.close { State::Over } else { State::Head };
                true
            }
            State::Chunks(stream) => {
                let Some(line) = find(rest, 0, b"\r\n") else { return false };
                let size = std::str::from_utf8(&rest[..line]).ok();
                let size = size.and_then(|size| usize::from_str_radix(size, 16).ok());
                let size =
                    size.unwrap_or_else(|| panic!("a chunk size in {:?}", String::from_utf8_lossy(rest)));
                let whole = line + 2 + size + 2;
                let Some(chunk) = rest.get(line + 2..whole) else { return false };
                let content = chunk.strip_suffix(b"\r\n").expect("a chunk ends with a line end");
                if size == 0 {
                    let it = &model.streams[stream as usize];
                    assert!(it.close_requested || it.closed.is_some(), "ended by whom? {it:?}");
                    model.check_complete(stream);
                    model.counts.ends_seen += 1;
                    self.state = if self.close { State::Over } else { State::Head };
                    self.gunzip.take().into_iter().for_each(Gunzip::end);
                } else if let Some(gunzip) = &mut self.gunzip {
                    self.text = gunzip.read(content);
                    let mut text = &self.text[..];
                    while !text.is_empty() {
                        let end = end_of_frame(text, 0).expect("a frame in one piece is complete");
                        frame(&text[..end], (connection, stream), &mut self.page, world, model);
                        text = &text[end..];
                    }
                } else {
                    frame(content, (connection, stream), &mut self.page, world, model);
                }
                self.at += whole;
                true
            }
            State::ToEnd(stream) => {
                let Some(end) = end_of_frame(rest, self.scanned) else {
                    self.scanned = rest.len().saturating_sub(1);
                    return false;
                };
                frame(&rest[..end], (connection, stream), &mut self.page, world, model);
                self.at += end;
                true
            }
            State::Over => {
                panic!("connection {connection}: {:?} after the end", String::from_utf8_lossy(rest))
            }
        }
    }

    fn head(&mut self, text: &str, spoilt: bool, connection: u32, world: &World, model: &mut Model) {
        let mut lines = text.split("\r\n");
        let status = lines.next().and_then(|line| line.strip_prefix("HTTP/1.1 ")).expect("a status line");
        let status: u16 = status.get(..3).and_then(|status| status.parse().ok()).expect("a status");
        if status == 100 {
            return;
        }
        let mut length = None;
        let mut chunked = false;
        let mut is_stream = false;
        let mut retry_after = None;
        let mut is_compressed = false;
        for line in lines {
            let (name, value) = line.split_once(": ").expect("a header line");
            match name {
                "Content-Length" => assert_eq!(length.replace(value.parse::<usize>().unwrap()), None),
                "Transfer-Encoding" => chunked = value == "chunked",
                "Connection" => self.close = value == "close",
                "Retry-After" => retry_after = value.parse::<u128>().ok(),
                "Content-Encoding" => is_compressed = value == "gzip",
                "Content-Type" => is_stream = value == "text/event-stream",
                _ => {}
            }
        }
        assert!(!(chunked && length.is_some()), "one framing: {text}");
        assert!(!is_compressed || chunked && is_stream, "only chunked streams are compressed: {text}");
        self.gunzip = is_compressed.then(Gunzip::new);
        model.counts.compressed += u64::from(is_compressed);
        let answers = &model.connections[connection as usize];
        let at = self.answered as usize;
        if let Some(Some(close)) = answers.closes.get(at) {
            assert_eq!(
                self.close,
                *close || self.lasts[at],
                "whether it is the last: {:?}, {text}",
                answers.answers[at]
            );
        }
        self.state = match answers.answers.get(at) {
            None if status == 408 => {
                assert!(self.close, "nothing follows a timeout: {text}");
                let it = &world.connections[connection as usize];
                let since = it.accepted_at.unwrap_or_default().max(answers.asked_at);
                let mut shortest = model.config.head_timeout.min(model.config.body_timeout);
                if it.refusal.is_some() {
                    shortest = shortest.min(SURPLUS_TIMEOUT);
                }
                assert!(is_over(since, it.written_at, shortest), "a request has its time: {it:?}");
                model.counts.timeouts_seen += 1;
                State::Text(length.expect("the length of a timeout"), Text::Anything)
            }
            None => {
                assert!(spoilt && status >= 400 && self.close, "a refusal, if anything: {text}");
                model.counts.rejections_seen += 1;
                State::Text(length.expect("the refusal's length"), Text::Anything)
            }
            Some(&Answer::Refused(Refusal::Revoked, _)) => {
                assert!(status == 204 && length.is_none() && !is_stream, "do not come again: {text}");
                model.counts.revoked_seen += 1;
                if self.close { State::Over } else { State::Head }
            }
            Some(&Answer::Refused(refusal, softness)) => {
                model.counts.refusals_seen += 1;
                let length = length.unwrap_or_else(|| panic!("{refusal:?} got {text}"));
                match (refusal, softness) {
                    (Refusal::Revoked, _) => unreachable!("it has no length"),
                    (Refusal::Subscriptions | Refusal::Tags, _) => {
                        assert!(status == 400 && !is_stream);
                        State::Text(length, Text::Anything)
                    }
                    (_, Softness::Soft) => {
                        assert!(status == 200 && is_stream && !chunked);
                        State::Text(length, Text::Retry)
                    }
                    (_, Softness::Unavailable) => {
                        assert_eq!(status, 503);
                        check_retry(retry_after.expect("when to come again"), 1000, model);
                        State::Text(length, Text::Anything)
                    }
                }
            }
            Some(Answer::Panicked) => {
                assert_eq!(status, 500);
                model.counts.panics_seen += 1;
                State::Text(length.expect("the length of the apology"), Text::Anything)
            }
            Some(Answer::Head) => {
                if self.close {
                    State::Over
                } else {
                    State::Head
                }
            }
            Some(&Answer::Status(expected)) => {
                assert_eq!(status, expected);
                State::Text(length.expect("the length of a reply"), Text::Anything)
            }
            Some(&Answer::Late { since, said, head }) => {
                // The message may have come too late.
                let late = status == 504 && is_over(since, model.now, model.config.late_reply_timeout);
                assert!(said == Some(status) || late, "{said:?} was replied: {text}");
                match length.filter(|_| !head) {
                    Some(length) => State::Text(length, Text::Anything),
                    None if self.close => State::Over,
                    None => State::Head,
                }
            }
            Some(Answer::Whole { status: expected, bytes }) => {
                assert_eq!(status, *expected);
                if status == 204 {
                    assert_eq!(length, None);
                    if self.close { State::Over } else { State::Head }
                } else {
                    assert_eq!(length, Some(*bytes));
                    State::Body(*bytes)
                }
            }
            Some(&Answer::Stream(stream)) => {
                assert!(is_stream && status == 200 && length.is_none());
                assert_eq!(chunked, model.streams[stream as usize].chunked);
                if chunked { State::Chunks(stream) } else { State::ToEnd(stream) }
            }
        };
        self.answered += 1;
        if self.state == State::Body(0) {
            self.state = if self.close { State::Over } else { State::Head };
        }
    }
}

/// Checks that a refusal has the right retry time, in milliseconds.
fn check_retry(retry: u128, unit: u128, model: &Model) {
    let mut times = model.drain_retries.iter().copied().chain([model.config.refuse_retry]);
    let told = times.any(|least| {
        let least = least.as_millis();
        (least.div_ceil(unit)..=(least * 2 + 1).div_ceil(unit)).contains(&retry)
    });
    assert!(told, "{retry} is the retry time of neither a limit nor a drain");
}

/// One frame, from its first line to its empty one, and nothing else.
fn frame(
    frame: &[u8],
    (connection, stream): (u32, u32),
    page: &mut Page,
    world: &mut World,
    model: &mut Model,
) {
    let text = || String::from_utf8_lossy(frame).chars().take(200).collect::<String>();
    if world.connections[connection as usize].held_up_at.is_some_and(|at| at >= model.rest_at) {
        model.streams[stream as usize].behind_until = ALWAYS;
    }
    let is_first = std::mem::take(&mut model.streams[stream as usize].silent);
    if frame == b":\n" || is_retry(frame) {
        let may_be = is_first || frame != b":\n" || model.config.heartbeat_event.is_none();
        assert!(may_be, "heartbeats have a name");
        if is_first {
            model.received_beginning(stream, None);
        }
        return;
    }
    let lines = frame.strip_suffix(b"\n\n");
    let lines = lines.unwrap_or_else(|| panic!("a frame ends with an empty line: {:?}", text()));
    let mut id = None;
    let mut name = None;
    let mut content: [&[u8]; 3] = [&[]; 3];
    let mut count = 0;
    for line in lines.split(|byte| *byte == b'\n') {
        if let Some(value) = line.strip_prefix(b"data: ") {
            assert!(count < 3, "three lines at most: {:?}", text());
            content[count] = value;
            count += 1;
        } else if let Some(value) = line.strip_prefix(b"id: ") {
            let value = std::str::from_utf8(value).expect("an id is text");
            assert_eq!(id.replace(value), None, "one id: {:?}", text());
        } else if let Some(value) = line.strip_prefix(b"event: ") {
            let value = std::str::from_utf8(value).expect("a name of ours");
            assert_eq!(name.replace(value), None, "one name: {:?}", text());
        } else if is_first && line.starts_with(b"retry: ") {
            // The retry time comes with the position at which the stream begins.
        } else {
            panic!("a line of a frame: {:?}", text());
        }
    }
    let number = || std::str::from_utf8(content[0]).ok()?.parse::<u32>().ok();
    let is = |wanted: &Option<Cow<'static, str>>| wanted.is_some() && name == wanted.as_deref();
    // Without such a first frame, any frame may be the first.
    let is_notice = is_first && count < 2 && content[0].is_empty();
    if is_first {
        model.received_beginning(stream, id.filter(|_| is_notice));
    }
    if is_notice && is(&model.config.gap_event) {
        world.trace.note(Note::Received(stream, u32::MAX));
        model.received_gap(stream, None);
    } else if is_notice {
        let named = name == model.config.heartbeat_event.as_deref();
        assert!(named || model.may_be_unnamed(stream), "the first: {:?}", text());
    } else if count == 0 || is(&model.config.heartbeat_event) {
        assert_eq!(name, model.config.heartbeat_event.as_deref(), "the heartbeat: {:?}", text());
        assert!(content[0].is_empty() && count < 2, "a heartbeat has no data: {:?}", text());
        model.counts.named_beats += u64::from(count > 0);
        if let Some(id) = id {
            model.received_beat(stream, id);
        }
    } else if is(&model.config.gap_event) {
        assert!(id.is_none() && count == 1, "a gap: {:?}", text());
        let missed = if content[0].is_empty() { None } else { Some(number().expect("a number")) };
        world.trace.note(Note::Received(stream, u32::MAX));
        model.received_gap(stream, missed.map(u64::from));
    } else {
        let number = number().expect("every event has a number");
        world.trace.note(Note::Received(stream, number));
        let name = name.expect("every event has a name");
        model.received(stream, number, name, id, &content[1..count]);
    }
    if let Some(id) = id {
        page.see(id);
    }
}

/// Whether a frame contains only a retry time.
fn is_retry(frame: &[u8]) -> bool {
    let retry = frame.strip_prefix(b"retry: ").and_then(|rest| rest.strip_suffix(b"\n"));
    retry.is_some_and(|retry| retry.iter().all(u8::is_ascii_digit))
}

/// End of the first frame in `bytes`; it is not in the first `scanned` bytes.
fn end_of_frame(bytes: &[u8], scanned: usize) -> Option<usize> {
    // A comment, and a retry time, have no empty line.
    let is_alone = bytes[0] == b':' || bytes.starts_with(b"retry: ");
    let what: &[u8] = if is_alone { b"\n" } else { b"\n\n" };
    Some(find(bytes, scanned, what)? + what.len())
}

/// Position of `what` in `bytes`; its end is not in the first `scanned` bytes.
fn find(bytes: &[u8], scanned: usize, what: &[u8]) -> Option<usize> {
    let from = scanned.saturating_sub(what.len() - 1);
    bytes[from..].windows(what.len()).position(|window| window == what).map(|at| from + at)
}
