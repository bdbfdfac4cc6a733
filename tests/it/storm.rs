//! Many clients that leave and resume at random over real sockets, while events are published all the time.

use crate::memory_net::get;
use crate::support::{DEADLINE, now};
use mio_sse::{Config, Event, History, Reply, Router, Server, TopicConfig};
use std::collections::HashMap;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

const TOPICS: usize = 8;

/// The data of the last event of each topic.
const END: &str = "end";

/// Events that one client has seen of each of its topics, over all of its connections.
struct Client {
    address: SocketAddr,
    topics: Vec<usize>,
    last: String,
    seen: HashMap<String, Vec<u64>>,
    ended: usize,
    connections: u64,
}

impl Client {
    /// Connects, reads for a while or until the end, and disconnects.
    fn visit(&mut self, patience: Option<Duration>) {
        self.connections += 1;
        let path = self.topics.iter().map(ToString::to_string).collect::<Vec<_>>().join("+");
        let mut socket = TcpStream::connect(self.address).unwrap();
        let last = format!("\r\nLast-Event-ID: {}\r\n\r\n", self.last);
        let end = if self.last.is_empty() { "\r\n\r\n" } else { &last };
        let request = get(&format!("/{path}")).replacen("\r\n\r\n", end, 1);
        socket.write_all(request.as_bytes()).unwrap();
        let deadline = now() + patience.unwrap_or(DEADLINE);
        let (mut buffer, mut text) = ([0; 16 << 10], String::new());
        // The id of a block counts when the block is complete.
        let mut id = String::new();
        let mut data = None;
        while self.ended < self.topics.len() {
            let left = deadline.saturating_duration_since(now());
            if left.is_zero() {
                assert!(patience.is_some(), "the end comes: {:?}", self.seen);
                return;
            }
            socket.set_read_timeout(Some(left)).unwrap();
            let count = match socket.read(&mut buffer) {
                Ok(0) => panic!("the server does not close"),
                Ok(count) => count,
                Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::TimedOut) => continue,
                Err(error) => panic!("{error}"),
            };
            text.push_str(std::str::from_utf8(&buffer[..count]).unwrap());
            let whole = text.rfind('\n').map_or(0, |at| at + 1);
            for line in text[..whole].lines() {
                match line.split_once(": ") {
                    Some(("id", value)) => value.clone_into(&mut id),
                    Some(("data", value)) => data = Some(value.to_owned()),
                    Some(("event", value)) => panic!("a gap, or an unknown event: {value}"),
                    _ if line.is_empty() => {
                        self.last.clone_from(&id);
                        if let Some(data) = data.take() {
                            self.note(&data);
                        }
                    }
                    _ => {}
                }
            }
            text.drain(..whole);
        }
    }

    fn note(&mut self, data: &str) {
        let Some((topic, number)) = data.split_once(' ') else { return };
        if number == END {
            self.ended += 1;
        } else {
            self.seen.entry(topic.to_owned()).or_default().push(number.parse().unwrap());
        }
    }
}

/// `MIO_SSE_STORM=30` in the environment makes it 500 clients for 30 seconds.
#[test]
fn clients_that_leave_and_resume_at_random_miss_nothing() {
    let seconds: Option<u64> = std::env::var("MIO_SSE_STORM").ok().map(|seconds| seconds.parse().unwrap());
    let (clients, time) = seconds.map_or((40, 1), |seconds| (500, seconds));
    let mut app = Router::new();
    app.get("/{topics}", |request, _cx| {
        let topics = request.param("topics").unwrap_or_default().split('+');
        topics.fold(Reply::stream().snapshot(), |stream, topic| stream.topic(topic))
    });
    let mut config = Config::default();
    config.topic = TopicConfig::default().history(History::new().bytes(1 << 30));
    let mut server = Server::bind_with("127.0.0.1:0", app, config).unwrap();
    let (address, publisher) = (server.local_addr().unwrap(), server.publisher());
    let running = std::thread::spawn(move || server.run().unwrap());
    let stop = Arc::new(AtomicBool::new(false));
    let threads: Vec<_> = (0..clients)
        .map(|number: usize| {
            let stop = stop.clone();
            std::thread::spawn(move || {
                let mut random = fastrand::Rng::with_seed(number as u64);
                let topics = (0..TOPICS)
                    .filter(|topic| (number >> topic) & 1 == 1 || *topic == number % TOPICS)
                    .collect();
                // A client that is cut off before its first event resumes with the id of the position where
                // it began.
                let (last, seen) = (String::new(), HashMap::new());
                let mut client = Client { address, topics, last, seen, ended: 0, connections: 0 };
                while !stop.load(Ordering::Relaxed) {
                    client.visit(Some(Duration::from_millis(random.u64(1..500))));
                }
                client.visit(None);
                client
            })
        })
        .collect();

    // 2,000 events a second, in steps of ten milliseconds.
    let (begun, mut counts) = (now(), [0_u64; TOPICS]);
    let mut random = fastrand::Rng::with_seed(1);
    let mut published = 0;
    while begun.elapsed() < Duration::from_secs(time) {
        while published < begun.elapsed().as_millis() * 2 {
            let topic = random.usize(..TOPICS);
            publisher
                .publish(&topic.to_string(), Event::new().data(format!("{topic} {}", counts[topic])))
                .unwrap();
            counts[topic] += 1;
            published += 1;
        }
        std::thread::park_timeout(Duration::from_millis(5));
    }
    for topic in 0..TOPICS {
        publisher.publish(&topic.to_string(), Event::new().data(format!("{topic} {END}"))).unwrap();
    }
    stop.store(true, Ordering::Relaxed);

    let (mut received, mut connections) = (0, 0);
    for thread in threads {
        let client = thread.join().unwrap();
        connections += client.connections;
        for topic in client.topics {
            let seen = client.seen.get(&topic.to_string()).cloned().unwrap_or_default();
            assert_eq!(seen, (0..counts[topic]).collect::<Vec<_>>(), "topic {topic}");
            received += seen.len();
        }
    }
    println!(
        "{published} events published, {received} received by {clients} clients on {connections} connections"
    );
    publisher.run(|cx| cx.stop()).unwrap();
    running.join().unwrap();
}
