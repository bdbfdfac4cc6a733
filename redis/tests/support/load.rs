//! Publishers that run through all faults of nodes and Redis, and record each result.

use super::node::{ask, connect};
use super::{ms, now};
use mio_sse::Position;
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::{self, JoinHandle};

/// Each publisher waits for a reply before it publishes the next event.
const PUBLISHERS: u32 = 12;

#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) enum Outcome {
    /// Redis has stored it, at this position.
    At(Position),
    /// Status of the node's refusal.
    Refused(u16),
    /// The connection was closed before there was a reply.
    Unknown,
}

#[derive(Debug, Clone)]
pub(crate) struct Published {
    /// Names of the topics, joined by commas.
    pub(crate) topics: String,
    /// Name of the event, which no other event has.
    pub(crate) data: String,
    pub(crate) outcome: Outcome,
}

struct Shared {
    nodes: Mutex<Vec<SocketAddr>>,
    topics: Vec<String>,
    stopped: AtomicBool,
    accepted: AtomicU64,
}

pub(crate) struct Load {
    shared: Arc<Shared>,
    publishers: Vec<JoinHandle<Vec<Published>>>,
}

impl Load {
    /// Publishes `rate` events a second on all of `nodes`, each to one of `topics`, and every tenth to two.
    pub(crate) fn start(nodes: &[SocketAddr], topics: &[String], rate: u32) -> Self {
        let shared = Arc::new(Shared {
            nodes: Mutex::new(nodes.to_vec()),
            topics: topics.to_vec(),
            stopped: AtomicBool::new(false),
            accepted: AtomicU64::new(0),
        });
        let publish_on = |publisher| {
            let shared = shared.clone();
            thread::spawn(move || publish(&shared, publisher, f64::from(rate) / f64::from(PUBLISHERS)))
        };
        let publishers = (0..PUBLISHERS).map(publish_on).collect();
        Self { shared, publishers }
    }

    /// Publishers whose connection was closed connect to one of these.
    pub(crate) fn use_nodes(&self, nodes: &[SocketAddr]) {
        *self.shared.nodes.lock().unwrap() = nodes.to_vec();
    }

    /// Number of events that Redis has stored.
    pub(crate) fn accepted(&self) -> u64 {
        self.shared.accepted.load(Ordering::Relaxed)
    }

    /// Stops. Returns every published event with its result.
    pub(crate) fn finish(mut self) -> Vec<Published> {
        self.shared.stopped.store(true, Ordering::Relaxed);
        let publishers = std::mem::take(&mut self.publishers);
        publishers.into_iter().flat_map(|publisher| publisher.join().unwrap()).collect()
    }
}

impl Drop for Load {
    fn drop(&mut self) {
        self.shared.stopped.store(true, Ordering::Relaxed);
    }
}

fn publish(shared: &Shared, publisher: u32, rate: f64) -> Vec<Published> {
    let mut published = Vec::new();
    let mut connection = None;
    // The rate is an average over a second. Time without progress is not made up for.
    let (mut since, mut due) = (now(), 0.0);
    while !shared.stopped.load(Ordering::Relaxed) {
        due = f64::min(due + since.elapsed().as_secs_f64() * rate, rate);
        since = now();
        if due < 1.0 {
            thread::sleep(ms(1));
            continue;
        }
        due -= 1.0;
        let mut topics = fastrand::choice(&shared.topics).unwrap().clone();
        if fastrand::u8(..10) == 0 {
            let second = fastrand::choice(&shared.topics).unwrap();
            if *second != topics {
                topics = format!("{topics},{second}");
            }
        }
        let data = format!("{publisher}.{} {topics} {:x>80}", published.len(), "");
        if connection.is_none() {
            let node = *fastrand::choice(&*shared.nodes.lock().unwrap()).unwrap();
            connection = connect(node).ok();
        }
        let Some(open) = &mut connection else {
            thread::sleep(ms(10));
            continue;
        };
        let answer = ask(open, &format!("POST /publish/{topics}"), &data);
        let outcome = match &answer {
            Ok(answer) if answer.status == 200 => Outcome::At(answer.body.trim().parse().unwrap()),
            Ok(answer) => Outcome::Refused(answer.status),
            Err(_) => Outcome::Unknown,
        };
        if answer.is_err() {
            connection = None;
        }
        if matches!(outcome, Outcome::At(_)) {
            shared.accepted.fetch_add(1, Ordering::Relaxed);
        }
        published.push(Published { topics, data, outcome });
    }
    published
}
