//! Latency of an event from a node through Redis to a client of another node, and the CPU time of each
//! process.
//!
//! ```text
//! cargo bench -p mio-sse-redis --bench latency
//! cargo bench -p mio-sse-redis --bench latency -- 100 1000 --seconds 5 --clients 10
//! ```
//!
//! Redis and two nodes are processes, which this program starts. One node publishes events of 200 bytes at a
//! fixed rate; clients of the other record when each arrives. All run on one machine, as they share its
//! clock. No event may be missing.

#![expect(clippy::disallowed_methods, reason = "this measures time")]

#[path = "../tests/support/mod.rs"]
mod support;

use hdrhistogram::Histogram;
use mio_sse::{Config, Event, History, Ids, Reply, Router, Server, TopicConfig};
use mio_sse_redis::Hub;
use std::io::{BufRead, BufReader, Write, stdin};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant, SystemTime, UNIX_EPOCH};
use support::RedisServer;

const EVENT_BYTES: usize = 200;
/// Set for a process that runs as a node: the URL of Redis.
const NODE: &str = "LATENCY_NODE";

fn nanos() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_nanos()).unwrap_or(u64::MAX)
}

fn main() {
    if let Ok(url) = std::env::var(NODE) {
        return node(&url);
    }
    let (mut rates, mut seconds, mut clients) = (Vec::new(), 5, 1);
    let mut arguments = std::env::args().skip(1).filter(|argument| argument != "--bench");
    while let Some(argument) = arguments.next() {
        let number = |text: Option<String>| text.and_then(|text| text.parse().ok()).expect("a number");
        match &*argument {
            "--seconds" => seconds = number(arguments.next()),
            "--clients" => clients = number(arguments.next()),
            _ => rates.push(number(Some(argument))),
        }
    }
    if rates.is_empty() {
        rates = vec![100, 1000, 20_000];
    }
    println!("{EVENT_BYTES} bytes an event, {seconds} s, {clients} clients at the other node");
    println!(
        "events/s   latency p50    p99    max    lost   CPU an event: publishing node  other node  Redis"
    );
    for rate in rates {
        measure(rate, seconds, clients);
    }
}

fn measure(rate: u64, seconds: u64, clients: u64) {
    let redis = RedisServer::start();
    let (mut from, to) = (Process::node(&redis.url()), Process::node(&redis.url()));
    let count = rate * seconds;
    let readers: Vec<_> = (0..clients).map(|_| open(to.address)).collect();
    let readers: Vec<_> =
        readers.into_iter().map(|input| thread::spawn(move || read(input, count))).collect();
    let pids = [from.child.id(), to.child.id(), redis.process().id()];
    let before = pids.map(cpu);
    writeln!(from.input, "{rate} {count}").expect("a node");
    let mut failed = String::new();
    from.output.read_line(&mut failed).expect("a node");
    let mut all = Histogram::<u64>::new(3).expect("three digits");
    for reader in readers {
        all.add(reader.join().expect("a reader")).expect("the same kind");
    }
    let [from, to, redis] =
        [0, 1, 2].map(|at| (cpu(pids[at]) - before[at]).as_secs_f64() * 1e6 / count as f64);
    let ms = |nanos: u64| nanos as f64 / 1e6;
    let lost = count * clients - all.len();
    println!(
        "{rate:>8}   {:>8.2} ms {:>6.2} {:>6.2} {lost:>7}   {from:>27.1} µs  {to:>7.1} µs  {redis:>4.1} µs",
        ms(all.value_at_quantile(0.5)),
        ms(all.value_at_quantile(0.99)),
        ms(all.max()),
    );
    assert_eq!(failed.trim(), "0", "failed to publish");
}

/// User and system time of a process so far, in steps of 10 ms.
fn cpu(pid: u32) -> Duration {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    // The name, in brackets, can contain spaces. The fields are 14 and 15 of proc(5); the third field is the
    // first after the name.
    let fields = stat.rsplit_once(") ").expect("a name").1;
    let ticks = fields.split(' ').skip(11).take(2).map(|field| field.parse::<u64>().expect("ticks"));
    Duration::from_millis(ticks.sum::<u64>() * 10)
}

/// A node, as the parent process sees it.
struct Process {
    child: Child,
    input: ChildStdin,
    output: BufReader<ChildStdout>,
    address: SocketAddr,
}

impl Process {
    fn node(url: &str) -> Self {
        let program = std::env::current_exe().expect("this program");
        let mut command = Command::new(program);
        command.env(NODE, url).stdin(Stdio::piped()).stdout(Stdio::piped());
        let mut child = command.spawn().expect("a node");
        let input = child.stdin.take().expect("a pipe");
        let mut output = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        output.read_line(&mut line).expect("an address");
        let address = line.trim().parse().expect("an address");
        Self { child, input, output, address }
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Opens a stream and reads its first block.
fn open(node: SocketAddr) -> BufReader<TcpStream> {
    let mut socket = TcpStream::connect(node).expect("the node");
    socket.set_read_timeout(Some(Duration::from_secs(10))).expect("a time-out");
    socket.write_all(b"GET /events HTTP/1.0\r\nHost: x\r\n\r\n").expect("the node");
    let mut input = BufReader::with_capacity(64 << 10, socket);
    let mut line = String::new();
    // The head, and the first block, end with empty lines.
    for _ in 0..2 {
        while line.trim() != "" || line.is_empty() {
            line.clear();
            input.read_line(&mut line).expect("the node");
        }
        line.clear();
    }
    input
}

/// Latencies of `count` events. Events that do not arrive are not counted.
fn read(input: BufReader<TcpStream>, count: u64) -> Histogram<u64> {
    let mut latencies = Histogram::new(3).expect("three digits");
    for line in input.lines().map_while(Result::ok) {
        let Some(data) = line.strip_prefix("data: ") else { continue };
        let sent = data.split(' ').next().and_then(|sent| sent.parse().ok()).unwrap_or(u64::MAX);
        latencies.record(nanos().saturating_sub(sent)).expect("it grows");
        if latencies.len() == count {
            break;
        }
    }
    latencies
}

/// Runs as a node: prints its address, and publishes as its standard input says, until that ends.
fn node(url: &str) {
    let mut config = Config::default();
    config.topic = TopicConfig::default().ids(Ids::Ordered).history(History::new().events(10_000));
    let mut app = Router::new();
    app.get("/events", |_request, _cx| Reply::stream().topic("t"));
    let mut server = Server::bind_with("127.0.0.1:0", app, config).expect("a port");
    let hub = Hub::new(url, "events").expect("a URL");
    hub.attach(&mut server).expect("Redis");
    println!("{}", server.local_addr().expect("an address"));
    thread::spawn(move || {
        for line in stdin().lines().map_while(Result::ok) {
            let (rate, count) = line.split_once(' ').expect("two numbers");
            let (rate, count) = (rate.parse().expect("a rate"), count.parse().expect("a count"));
            println!("{}", publish(&hub, rate, count));
        }
        std::process::exit(0);
    });
    server.run().expect("a server");
}

/// Returns the number of failures.
fn publish(hub: &Hub, rate: u64, count: u64) -> u64 {
    let (answered, failed) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let start = Instant::now();
    for number in 0..count {
        let due = start + Duration::from_nanos(number * 1_000_000_000 / rate);
        thread::sleep(due.saturating_duration_since(Instant::now()));
        let data = format!("{} ", nanos());
        let data = format!("{data}{:x>1$}", "", EVENT_BYTES - data.len());
        let (answered_too, failed_too) = (answered.clone(), failed.clone());
        let submitted = hub.submit("t", Event::new().data(data), move |result| {
            failed_too.fetch_add(u64::from(result.is_err()), Ordering::Relaxed);
            answered_too.fetch_add(1, Ordering::Relaxed);
        });
        if submitted.is_err() {
            failed.fetch_add(1, Ordering::Relaxed);
            answered.fetch_add(1, Ordering::Relaxed);
        }
    }
    while answered.load(Ordering::Relaxed) < count {
        thread::sleep(Duration::from_millis(1));
    }
    failed.load(Ordering::Relaxed)
}
