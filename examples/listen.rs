//! A client for the command line. It prints the events of a stream, and reconnects as a browser does.
//!
//! ```text
//! cargo run --release --example listen http://127.0.0.1:8080/events/news
//! cargo run --release --example listen http://127.0.0.1:8080/events/news 1767225600000-3
//! ```
//!
//! The second argument is the id to resume after. Data goes to standard output, named events as `name: data`;
//! the state of the stream goes to standard error. The program exits when the server replies 204 (No
//! Content), which means that there will be no more events, or after an error that a retry cannot fix (WHATWG
//! HTML 9.2.3, "Processing model").
//!
//! It sends HTTP/1.0, so that the stream has no chunks, and supports only `http://`.

use std::error::Error;
use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::process::ExitCode;
use std::time::Duration;

/// Delay before it reconnects, unless the server sets another.
const RETRY: Duration = Duration::from_secs(3);

/// Least delay, even if the server sets a shorter one: a server that is down must not be asked without pause.
const RETRY_MIN: Duration = Duration::from_millis(100);

/// A stream without even a heartbeat for this long is dead.
const SILENCE_MAX: Duration = Duration::from_secs(60);

const HEAD_BYTES_MAX: usize = 16 << 10;

/// Longer events are refused.
const EVENT_BYTES_MAX: usize = 64 << 20;

/// State that outlives a stream.
struct Memory {
    last_event_id: String,
    retry: Duration,
}

/// Reason why a stream has ended.
enum End {
    /// The client may reconnect.
    CutOff(String),
    /// The server wants no reconnect.
    NoMore,
}

/// Reads one stream to its end. Returns an error if a retry cannot help.
fn listen(url: &str, memory: &mut Memory) -> Result<End, Box<dyn Error>> {
    let rest = url.strip_prefix("http://").ok_or("a URL begins with http://")?;
    let (host, path) = rest.find(['/', '?']).map_or((rest, ""), |end| rest.split_at(end));
    let slash = if path.starts_with('/') { "" } else { "/" };
    // An IPv6 address has colons of its own, in brackets.
    let has_port = host.rsplit_once(':').is_some_and(|(_, port)| !port.ends_with(']'));
    let address = if has_port { host.to_owned() } else { format!("{host}:80") };
    if url.contains(|c: char| c.is_ascii_control() || c == ' ') {
        return Err("a URL has no spaces and no control characters".into());
    }
    let mut socket = match TcpStream::connect(&*address) {
        Ok(socket) => socket,
        // For example an invalid port.
        Err(error) if error.kind() == ErrorKind::InvalidInput => return Err(error.into()),
        Err(error) => return Ok(End::CutOff(format!("cannot connect to {address}: {error}"))),
    };
    socket.set_read_timeout(Some(SILENCE_MAX))?;
    let id = &memory.last_event_id;
    let id = if id.is_empty() { String::new() } else { format!("Last-Event-ID: {id}\r\n") };
    let request =
        format!("GET {slash}{path} HTTP/1.0\r\nHost: {host}\r\nAccept: text/event-stream\r\n{id}\r\n");
    let sent = socket.write_all(request.as_bytes());
    let mut input = BufReader::new(socket);
    match sent.and_then(|()| read_head(&mut input)) {
        Ok(Some(End::NoMore)) => return Ok(End::NoMore),
        Ok(_) => {}
        Err(error) if error.kind() == ErrorKind::InvalidData => return Err(error.into()),
        Err(error) => return Ok(End::CutOff(error.to_string())),
    }
    eprintln!("listen: open");
    Ok(End::CutOff(read_events(&mut input, memory)))
}

/// Reads the head of the response. Returns `None` if events follow.
fn read_head(input: &mut impl BufRead) -> std::io::Result<Option<End>> {
    let invalid = |problem: String| std::io::Error::new(ErrorKind::InvalidData, problem);
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        let room = (HEAD_BYTES_MAX - head.len()) as u64;
        if input.by_ref().take(room).read_until(b'\n', &mut head)? == 0 {
            let problem = "the connection was closed before there was a response";
            return Err(std::io::Error::new(ErrorKind::UnexpectedEof, problem));
        }
    }
    let mut headers = [httparse::EMPTY_HEADER; 64];
    let mut response = httparse::Response::new(&mut headers);
    response.parse(&head).map_err(|error| invalid(error.to_string()))?;
    let status = response.code.unwrap_or_default();
    let content_type =
        response.headers.iter().find(|header| header.name.eq_ignore_ascii_case("Content-Type"));
    let content_type = String::from_utf8_lossy(content_type.map_or(b"", |header| header.value));
    match status {
        204 => Ok(Some(End::NoMore)),
        200 if content_type.split(';').next().is_some_and(|kind| kind.trim() == "text/event-stream") => {
            Ok(None)
        }
        200 => Err(invalid(format!("this is no event stream, but {content_type:?}"))),
        _ => Err(invalid(format!("the server replied {status} {}", response.reason.unwrap_or_default()))),
    }
}

/// Prints events until the stream ends. Returns the reason.
fn read_events(input: &mut impl BufRead, memory: &mut Memory) -> String {
    let mut parser = Parser::default();
    loop {
        let bytes = match input.fill_buf() {
            Ok([]) => return "the stream has ended".to_owned(),
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => {
                return format!("nothing has come for {SILENCE_MAX:?}");
            }
            Err(error) => return error.to_string(),
        };
        let length = bytes.len();
        for byte in bytes {
            if let Some(line) = parser.line(*byte)
                && let Some(event) = parser.field(&line, memory)
            {
                print(&event);
            }
        }
        input.consume(length);
        if parser.line.len() + parser.event.data.len() > EVENT_BYTES_MAX {
            return "an event is too long".to_owned();
        }
    }
}

fn print(event: &Event) {
    let name = if event.name.is_empty() { "" } else { &format!("{}: ", event.name) };
    let mut output = std::io::stdout().lock();
    if writeln!(output, "{name}{}", event.data).and_then(|()| output.flush()).is_err() {
        // The reader of the output has gone, as with `listen … | head`.
        std::process::exit(0);
    }
}

#[derive(Default)]
struct Event {
    name: String,
    data: String,
    has_data: bool,
}

/// WHATWG HTML 9.2.6, "Interpreting an event stream".
#[derive(Default)]
struct Parser {
    line: Vec<u8>,
    /// The last line has ended with CR, so an LF that follows belongs to it.
    after_cr: bool,
    /// A byte order mark counts only at the very beginning.
    begun: bool,
    id: Option<String>,
    event: Event,
}

impl Parser {
    /// Takes one byte. Returns a line if the byte ends it. Lines end with LF, CR or CRLF.
    fn line(&mut self, byte: u8) -> Option<String> {
        let after_cr = std::mem::replace(&mut self.after_cr, byte == b'\r');
        match byte {
            b'\n' if after_cr => None,
            b'\n' | b'\r' => {
                let line = String::from_utf8_lossy(&std::mem::take(&mut self.line)).into_owned();
                let begun = std::mem::replace(&mut self.begun, true);
                Some(if begun { line } else { line.strip_prefix('\u{feff}').unwrap_or(&line).to_owned() })
            }
            _ => {
                self.line.push(byte);
                None
            }
        }
    }

    /// Takes one line. Returns an event if the line ends it.
    fn field(&mut self, line: &str, memory: &mut Memory) -> Option<Event> {
        if line.is_empty() {
            // An id without data counts too.
            if let Some(id) = &self.id {
                memory.last_event_id.clone_from(id);
            }
            let event = std::mem::take(&mut self.event);
            return event.has_data.then_some(event);
        }
        let (name, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match name {
            "data" => {
                if std::mem::replace(&mut self.event.has_data, true) {
                    self.event.data.push('\n');
                }
                self.event.data.push_str(value);
            }
            "event" => value.clone_into(&mut self.event.name),
            "id" if !value.contains('\0') => self.id = Some(value.to_owned()),
            "retry" if value.bytes().all(|byte| byte.is_ascii_digit()) => {
                if let Ok(milliseconds) = value.parse() {
                    memory.retry = Duration::from_millis(milliseconds).max(RETRY_MIN);
                }
            }
            _ => {}
        }
        None
    }
}

fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let (url, last_event_id) = match &arguments[..] {
        [url] => (url, String::new()),
        [url, id] => (url, id.clone()),
        _ => {
            eprintln!("listen: the arguments are a URL, and, to resume, the last id");
            return ExitCode::FAILURE;
        }
    };
    let mut memory = Memory { last_event_id, retry: RETRY };
    loop {
        match listen(url, &mut memory) {
            Ok(End::CutOff(why)) => {
                let from = if memory.last_event_id.is_empty() { "" } else { ", after " };
                eprintln!("listen: {why}; again in {:?}{from}{}", memory.retry, memory.last_event_id);
                std::thread::sleep(memory.retry);
            }
            Ok(End::NoMore) => {
                eprintln!("listen: the server says that nothing more will come");
                return ExitCode::SUCCESS;
            }
            Err(error) => {
                eprintln!("listen: {error}");
                return ExitCode::FAILURE;
            }
        }
    }
}
