//! What compression saves and costs: bytes on the wire and time of the server's thread for each delivery, for
//! five kinds of events, beside the same without compression.
//!
//! ```text
//! cargo bench --bench gzip --features gzip                   five kinds, for 1, 100 and 5,000 streams
//! cargo bench --bench gzip --features gzip -- ticks 100      one kind, for so many streams
//! ```
//!
//! Another stream joins with every 16 events, and stays. The next event is published when all have the last.

#![allow(
    clippy::disallowed_methods,
    reason = "the rule keeps the clock out of the library; measuring needs it"
)]
#![allow(clippy::print_stdout, reason = "a table on stdout is what this program is for")]

#[path = "gzip/payload.rs"]
mod payload;
#[path = "gzip/readers.rs"]
mod readers;

use mio_sse::{Config, Context, Reply, Request, Router, Server};
use nix::time::ClockId;
use payload::{KINDS, Payload};
use readers::Readers;
use std::time::Duration;

/// Number of rounds. The median counts.
const ROUNDS: usize = 5;

/// Events before the measured ones. All chains have begun by then.
const WARM_UP: usize = 32;

/// Events between two streams that join.
const JOIN_EVERY: usize = 16;

fn main() {
    let args: Vec<String> = std::env::args().skip(1).filter(|arg| arg != "--bench").collect();
    let kinds = KINDS.iter().filter(|kind| args.first().is_none_or(|name| kind.name == name));
    let counts = args.get(1).map_or(vec![1, 100, 5_000], |count| vec![count.parse().expect("a number")]);
    println!("{:<8} {:>7} {:>8}  {:>22}  {:>22}", "", "", "identity", "gzip, level 1", "gzip, level 6");
    println!(
        "{:<8} {:>7} {:>8} {:>6}  {:>8} {:>6} {:>6}  {:>8} {:>6} {:>6}",
        "event", "streams", "bytes", "us", "bytes", "part", "us", "bytes", "part", "us"
    );
    for kind in kinds {
        for &count in &counts {
            let mut rounds = [const { Vec::new() }; 3];
            for _ in 0..ROUNDS {
                for (results, level) in rounds.iter_mut().zip([None, Some(1), Some(6)]) {
                    results.push(measure(kind, count, level));
                }
            }
            let [identity, one, six] = rounds.each_ref().map(|rounds| median(rounds));
            let part = |of: Delivery| of.bytes / identity.bytes;
            println!(
                "{:<8} {count:>7} {:>8.0} {:>6.2}  {:>8.1} {:>6.2} {:>6.2}  {:>8.1} {:>6.2} {:>6.2}",
                kind.name,
                identity.bytes,
                identity.us,
                one.bytes,
                part(one),
                one.us,
                six.bytes,
                part(six),
                six.us
            );
        }
    }
}

/// Cost of one delivery.
#[derive(Clone, Copy)]
struct Delivery {
    bytes: f64,
    us: f64,
}

fn median(rounds: &[Delivery]) -> Delivery {
    let middle = |of: fn(&Delivery) -> f64| {
        let mut values: Vec<f64> = rounds.iter().map(of).collect();
        values.sort_by(f64::total_cmp);
        values[values.len() / 2]
    };
    Delivery { bytes: middle(|round| round.bytes), us: middle(|round| round.us) }
}

fn measure(kind: &Payload, count: usize, level: Option<u8>) -> Delivery {
    let mut app = Router::new();
    app.get("/", |_: &Request<'_>, _: &mut Context<'_>| Reply::stream().topic("all"));
    let mut config = Config::default();
    config.gzip = level;
    let mut server = Server::bind_with("127.0.0.1:0", app, config).expect("a port");
    let mut readers = Readers::new(server.local_addr().expect("an address"));
    let mut random = fastrand::Rng::with_seed(42);
    let mut begun = Delivery { bytes: 0.0, us: 0.0 };
    let mut events = 0.0;
    let total = WARM_UP + kind.events_for(count);
    let step = |server: &mut Server<Router>, readers: &mut Readers, joins: usize| {
        for _ in 0..joins {
            let joined = readers.join();
            while server.stats().streams_opened < joined {
                server.turn(Some(Duration::from_millis(1))).expect("a turn");
            }
        }
        while readers.received() < server.stats().bytes_written {
            std::thread::yield_now();
        }
    };
    step(&mut server, &mut readers, count);
    for number in 0..total {
        if number % JOIN_EVERY == 0 {
            step(&mut server, &mut readers, 1);
        }
        if number == WARM_UP {
            begun = Delivery { bytes: bytes(&server), us: 0.0 };
            events = delivered(&server);
        }
        let data = kind.next(&mut random, number);
        let (before, before_bytes) = (thread_us(), bytes(&server));
        server.context().publish("all", data).expect("it is published");
        while server.next_timeout() == Some(Duration::ZERO) {
            server.turn(Some(Duration::ZERO)).expect("a turn");
        }
        if number >= WARM_UP {
            begun.us += thread_us() - before;
        } else {
            assert!(bytes(&server) > before_bytes, "it is delivered");
        }
        step(&mut server, &mut readers, 0);
    }
    let deliveries = delivered(&server) - events;
    Delivery { bytes: (bytes(&server) - begun.bytes) / deliveries, us: begun.us / deliveries }
}

#[expect(clippy::cast_precision_loss, reason = "they are small")]
fn bytes(server: &Server<Router>) -> f64 {
    server.stats().bytes_written as f64
}

#[expect(clippy::cast_precision_loss, reason = "they are small")]
fn delivered(server: &Server<Router>) -> f64 {
    server.stats().events_delivered as f64
}

/// CPU time of this thread, in microseconds.
fn thread_us() -> f64 {
    let time = ClockId::CLOCK_THREAD_CPUTIME_ID.now().expect("every system has this clock");
    Duration::from(time).as_secs_f64() * 1e6
}
