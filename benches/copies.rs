//! Cases in which bytes are copied: large events, a long resume, sources. Measures the time of the server's
//! thread for each megabyte delivered, beside a bare loop that writes the same bytes in pieces of the same
//! size. The bare loop has its bytes ready, except for sources, where it makes them too.
//!
//! ```text
//! cargo bench --bench copies                      all three
//! cargo bench --bench copies -- resume            one of wide, resume, pull
//! cargo bench --bench copies -- wide 300          for so many streams
//! ```

#![allow(
    clippy::disallowed_methods,
    reason = "the rule keeps the clock out of the library; measuring needs it"
)]
#![allow(clippy::print_stdout, reason = "a table on stdout is what this program is for")]

#[path = "gzip/readers.rs"]
mod readers;

use mio::net::TcpStream;
use mio::{Interest, Poll, Token};
use mio_sse::{Config, Event, Events, History, Reply, Router, Server, TopicConfig};
use nix::time::ClockId;
use readers::Readers;
use std::io::{ErrorKind, Read, Write};
use std::net::TcpListener;
use std::time::Duration;

/// Number of rounds. The median counts.
const ROUNDS: usize = 21;

/// Reply of the bare loop, so that its connections are in the same state.
const HEAD: &[u8] =
    b"HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nTransfer-Encoding: chunked\r\n\r\n";

/// A case in which many bytes go to many streams.
struct Case {
    name: &'static str,
    what: &'static str,
    streams: usize,
    /// Bytes of data of an event.
    event: usize,
    /// Events for each stream.
    events: usize,
    /// Bytes of one write of the bare loop: as many as the server writes.
    piece: usize,
    app: fn(&Case) -> (Router, Config),
}

const CASES: [Case; 3] = [
    Case {
        name: "wide",
        what: "events of 12 KiB, one at a time",
        streams: 5_000,
        event: 12 << 10,
        events: 8,
        piece: usize::MAX,
        app: wide,
    },
    Case {
        name: "resume",
        what: "10 MiB of history, events of 1 KiB",
        streams: 1,
        event: 1 << 10,
        events: 10 << 10,
        piece: 64 << 10,
        app: resume,
    },
    Case {
        name: "pull",
        what: "1 MiB of a source, events of 1 KiB",
        streams: 100,
        event: 1 << 10,
        events: 1 << 10,
        piece: 16 << 10,
        app: pull,
    },
];

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    println!(
        "{:<7} {:>7} {:>9} {:>9} {:>6}   microseconds for each MiB",
        "", "streams", "mio-sse", "bare", ""
    );
    for mut case in CASES {
        if args.first().is_some_and(|name| name != case.name) {
            continue;
        }
        if let Some(streams) = args.get(1) {
            case.streams = streams.parse().expect("a number");
        }
        let rounds: Vec<_> = (0..ROUNDS).map(|_| (served(&case), bare(&case))).collect();
        println!(
            "{:<7} {:>7} {:>9.0} {:>9.0} {:>6.2}   {}",
            case.name,
            case.streams,
            median(rounds.iter().map(|round| round.0)),
            median(rounds.iter().map(|round| round.1)),
            median(rounds.iter().map(|round| round.0 / round.1)),
            case.what
        );
    }
}

fn median(values: impl Iterator<Item = f64>) -> f64 {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

fn wide(_: &Case) -> (Router, Config) {
    let mut app = Router::new();
    app.get("/", |_, _| Reply::stream().topic("all"));
    (app, Config::default())
}

fn resume(case: &Case) -> (Router, Config) {
    let mut app = Router::new();
    let bytes = case.events * (case.event + 100);
    app.get("/", |_, _| Reply::stream().topic("all").snapshot());
    let mut config = Config::default();
    config.topic = TopicConfig::default().history(History::new().events(case.events).bytes(bytes));
    config.lag_bytes_max = 64 << 20;
    (app, config)
}

fn pull(case: &Case) -> (Router, Config) {
    let mut app = Router::new();
    let (data, events) = ("x".repeat(case.event), case.events);
    app.get("/", move |_, _| {
        let data = data.clone();
        Reply::stream().source(Events::new((0..events).map(move |_| Event::new().data(data.clone()))))
    });
    (app, Config::default())
}

/// Microseconds for each MiB.
fn served(case: &Case) -> f64 {
    let (app, config) = (case.app)(case);
    let mut server = Server::bind_with("127.0.0.1:0", app, config).expect("a port");
    let mut readers = Readers::new(server.local_addr().expect("an address"));
    let data = "x".repeat(case.event);
    let is_wide = case.name == "wide";
    if case.name == "resume" {
        for _ in 0..case.events {
            server.context().publish("all", data.as_str()).expect("it is published");
        }
        server.turn(Some(Duration::ZERO)).expect("a turn");
    }
    for _ in 0..case.streams {
        let joined = readers.join();
        while is_wide && server.stats().streams_opened < joined {
            server.turn(Some(Duration::from_millis(1))).expect("a turn");
        }
    }
    let before = thread_us();
    let mut due = 0;
    for round in 1..=if is_wide { case.events } else { 1 } {
        if is_wide {
            server.context().publish("all", data.as_str()).expect("it is published");
            due = (round * case.streams) as u64;
        } else {
            due = due.max((case.events * case.streams) as u64);
        }
        while server.stats().events_delivered < due || readers.received() < server.stats().bytes_written {
            server.turn(Some(Duration::from_millis(1))).expect("a turn");
        }
    }
    (thread_us() - before) / mib(readers.received())
}

/// A loop that only writes: the same bytes for each event as the server.
fn bare(case: &Case) -> f64 {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let mut readers = Readers::new(listener.local_addr().expect("an address"));
    let mut poll = Poll::new().expect("a poll");
    let mut sockets = Vec::with_capacity(case.streams);
    for number in 0..case.streams {
        readers.join();
        let (mut socket, _) = listener.accept().expect("a connection");
        socket.set_nodelay(true).expect("an option");
        let _ = socket.read(&mut [0; 1024]).expect("a request");
        socket.write_all(HEAD).expect("room for a head");
        socket.set_nonblocking(true).expect("a socket");
        let mut socket = TcpStream::from_std(socket);
        poll.registry().register(&mut socket, Token(number), Interest::WRITABLE).expect("a registration");
        sockets.push((socket, 0));
    }
    let data = "x".repeat(case.event);
    let frame = format!("{:x}\r\ndata: {data}\n\n\r\n", case.event + 8);
    let (is_wide, makes) = (case.name == "wide", case.name == "pull");
    let mut made = Vec::new();
    let bytes = frame.repeat(if is_wide { 1 } else { case.events }).into_bytes();
    let mut events = mio::Events::with_capacity(1_024);
    let heads = (HEAD.len() * case.streams) as u64;
    let before = thread_us();
    let mut due = heads;
    for _ in 0..if is_wide { case.events } else { 1 } {
        sockets.iter_mut().for_each(|(_, at)| *at = 0);
        due += (bytes.len() * case.streams) as u64;
        // A piece for each stream in turn, as the server does.
        let mut unfinished: Vec<usize> = (0..case.streams).collect();
        while readers.received() < due {
            unfinished.retain(|&number| {
                let (socket, at) = &mut sockets[number];
                let mut piece = &bytes[*at..][..case.piece.min(bytes.len() - *at)];
                if makes {
                    made.clear();
                    while made.len() < piece.len() {
                        let data = data.clone();
                        write!(made, "{:x}\r\ndata: {data}\n\n\r\n", data.len() + 8)
                            .expect("there is memory");
                    }
                    piece = &made[..piece.len()];
                }
                match socket.write(piece) {
                    Ok(count) => *at += count,
                    Err(error) if error.kind() == ErrorKind::WouldBlock => return false,
                    Err(error) => panic!("{error}"),
                }
                *at < bytes.len()
            });
            let wait = Duration::from_millis(u64::from(unfinished.is_empty()));
            poll.poll(&mut events, Some(wait)).expect("a poll");
            let waits = |number: &usize| sockets[*number].1 < bytes.len() && !unfinished.contains(number);
            let more: Vec<_> = events.iter().map(|event| event.token().0).filter(waits).collect();
            unfinished.extend(more);
        }
    }
    (thread_us() - before) / mib(readers.received())
}

#[expect(clippy::cast_precision_loss, reason = "they are small")]
fn mib(bytes: u64) -> f64 {
    bytes as f64 / f64::from(1 << 20)
}

/// CPU time of this thread, in microseconds.
fn thread_us() -> f64 {
    let time = ClockId::CLOCK_THREAD_CPUTIME_ID.now().expect("every system has this clock");
    Duration::from(time).as_secs_f64() * 1e6
}
