//! The cost of several loops: an event that is published to all of them, and how evenly connections are
//! spread.
//!
//! ```text
//! cargo bench --bench shards                   8 loops
//! cargo bench --bench shards -- 4 100,1000     as many, and so many streams
//! ```
//!
//! `benches/streams` measures deliveries, with the hub in two loops beside the hub in one.

#![allow(clippy::disallowed_methods, clippy::print_stdout, reason = "measuring needs the clock, and a table")]

use mio_sse::{Config, Listeners, Publisher, Reply, Router, Shards};
use std::io::{Read, Write, stdin, stdout};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, Command, Stdio};
use std::thread::{self, JoinHandle};
use std::time::Instant;

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Events published with each number of loops.
const EVENTS: u32 = 300_000;

/// Connections of each client process, as a process may have 20,000 descriptors.
const PER_CLIENT: usize = 5_000;

fn main() -> Result<()> {
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    if let [role, address, count] = &arguments[..]
        && role == "client"
    {
        return client(address.parse()?, count.parse()?);
    }
    let loops = arguments.first().map_or(Ok(8), |loops| loops.parse())?;
    let streams = arguments.get(1).map_or("100,1000,10000", |streams| streams);
    publish(loops)?;
    for streams in streams.split(',') {
        spread(loops, streams.parse()?)?;
    }
    Ok(())
}

struct Running {
    address: SocketAddr,
    publisher: Publisher,
    thread: JoinHandle<std::io::Result<()>>,
}

fn run(loops: usize, listeners: Listeners) -> Result<Running> {
    let app = |_| {
        let mut app = Router::new();
        app.get("/", |_request, _cx| Reply::stream().topic("news"));
        app
    };
    let mut shards = Shards::listen(listeners.tcp("127.0.0.1:0"), loops, app, Config::default())?;
    let (address, publisher) = (shards.local_addr()?, shards.publisher());
    Ok(Running { address, publisher, thread: thread::spawn(move || shards.run()) })
}

impl Running {
    fn stop(self) -> Result<()> {
        self.publisher.run(|cx| cx.stop())?;
        self.thread.join().map_err(|_| "a loop has panicked")??;
        Ok(())
    }
}

/// Time that a publisher needs for an event, until all loops have published all events. There are no
/// subscribers.
fn publish(most: usize) -> Result<()> {
    println!("loops   ns an event");
    for loops in [1, 2, 4, 8].into_iter().filter(|loops| *loops <= most) {
        let mut times = Vec::new();
        for _ in 0..5 {
            let running = run(loops, Listeners::new())?;
            running.publisher.ask_all(|_| ())?;
            let begun = Instant::now();
            for _ in 0..EVENTS {
                running.publisher.publish("news", "an event of some fifty bytes, as many of them are")?;
            }
            running.publisher.ask_all(|_| ())?;
            times.push(begun.elapsed().as_nanos() / u128::from(EVENTS));
            running.stop()?;
        }
        times.sort_unstable();
        println!("{loops:5}   {:11}", times[times.len() / 2]);
    }
    Ok(())
}

/// The number of streams of the fullest and of the emptiest loop.
fn spread(loops: usize, streams: usize) -> Result<()> {
    for (way, listeners) in
        [("by the kernel", Listeners::new()), ("to the fewest", Listeners::new().to_fewest())]
    {
        let running = run(loops, listeners)?;
        let mut clients = Vec::new();
        let mut left = streams;
        while left > 0 {
            let count = left.min(PER_CLIENT);
            clients.push(start(running.address, count)?);
            left -= count;
        }
        let counts = running.publisher.ask_all(|cx| cx.subscribers("news"))?;
        let (most, least) = (counts.iter().max(), counts.iter().min());
        let all: usize = counts.iter().sum();
        println!(
            "{all} streams {way} over {loops} loops: from {} to {}",
            least.unwrap_or(&0),
            most.unwrap_or(&0)
        );
        for mut client in clients {
            drop(client.stdin.take());
            client.wait()?;
        }
        running.stop()?;
    }
    Ok(())
}

/// Starts a process that opens `count` streams. They are open when this returns.
fn start(address: SocketAddr, count: usize) -> Result<Child> {
    let mut command = Command::new(std::env::current_exe()?);
    command.args(["client", &address.to_string(), &count.to_string()]);
    let mut client = command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn()?;
    client.stdout.take().ok_or("no output")?.read_exact(&mut [0])?;
    Ok(client)
}

fn client(address: SocketAddr, count: usize) -> Result<()> {
    let mut streams = Vec::new();
    for _ in 0..count {
        let mut stream = TcpStream::connect(address)?;
        write!(stream, "GET / HTTP/1.1\r\nHost: {address}\r\n\r\n")?;
        stream.read_exact(&mut [0; 12])?;
        streams.push(stream);
    }
    stdout().write_all(b".")?;
    stdout().flush()?;
    stdin().read_to_end(&mut Vec::new())?;
    Ok(())
}
