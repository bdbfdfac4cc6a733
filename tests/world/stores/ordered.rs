//! A log that two servers read, like a Redis stream: its ids are times of writers whose clocks differ by ten
//! seconds, and yet they increase. A client moves between the servers with these ids.

use super::Progress;
use super::client::{Client, Seen};
use crate::payloads::END;
use crate::support::{Running, ms, now, serve_at, serve_with};
use mio_sse::{
    Config, Context, Error, Event, Handler, History, Ids, Missed, Position, Reply, Request, Router, StreamId,
    TopicConfig,
};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Instant;

const TOPIC: &str = "entries";
const CLIENTS: u64 = 8;
const ENTRIES: u32 = 2400;
/// How far a server may be behind the log.
const BEHIND_MAX: usize = 60;
/// Size of the topic's history: more than a client may miss.
const KEPT: usize = 300;
/// Error of each writer's clock, in milliseconds.
const SKEWS: [i64; 2] = [5_000, -5_000];
/// The correct time.
const BEGIN: i64 = 1_700_000_000_000;

/// A time, and the index of the entry at that time: `XADD` makes them from the clock and the entry before.
type Id = (u64, u64);

/// The log. An entry is a number; the number of the last one is the end.
#[derive(Default)]
struct Log(Mutex<Vec<Id>>);

impl Log {
    /// If the clock has gone back, the time stays and the count goes on.
    fn add(&self, clock: u64) {
        let mut ids = self.0.lock().unwrap();
        let (ms, n) = ids.last().copied().unwrap_or_default();
        ids.push(if clock > ms { (clock, 0) } else { (ms, n + 1) });
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }

    fn id(&self, index: usize) -> Id {
        self.0.lock().unwrap()[index]
    }

    /// Number of entries up to the one with this id.
    fn find(&self, id: &str) -> Option<usize> {
        let (ms, n) = id.split_once('-')?;
        let id = (ms.parse().ok()?, n.parse().ok()?);
        self.0.lock().unwrap().binary_search(&id).ok().map(|index| index + 1)
    }
}

fn event(index: usize) -> Event<'static> {
    let number = u32::try_from(index).unwrap() + 1;
    let event = Event::new().data(number.to_string());
    if number > ENTRIES { event.event(END) } else { event }
}

/// The application on each server.
struct Entries {
    log: Arc<Log>,
    /// How much of the log this server has published, or earlier servers have.
    read: Arc<Mutex<usize>>,
    /// Whether it reads a client's missed events from the log.
    answers: bool,
    asked: Arc<AtomicU64>,
}

impl Handler for Entries {
    fn started(&mut self, cx: &mut Context<'_>) {
        let config = TopicConfig::default().history(History::new().events(KEPT)).ids(Ids::Ordered);
        cx.configure(TOPIC, config).unwrap();
        // With the last entry the server knows its place in the log, and that of clients with later ids.
        let mut read = self.read.lock().unwrap();
        *read = self.log.len() - 1;
        publish_next(&self.log, &mut read, cx).unwrap();
    }

    fn request(&mut self, _request: &Request<'_>, _cx: &mut Context<'_>) -> Reply {
        Reply::stream().topic(TOPIC).tag("all").retry(ms(20)).into()
    }

    fn missed(&mut self, stream: StreamId, last_event_id: &str, cx: &mut Context<'_>) -> Missed {
        self.asked.fetch_add(1, Ordering::SeqCst);
        let Some(seen) = self.log.find(last_event_id).filter(|_| self.answers) else { return Missed::Gap };
        let up_to = *self.read.lock().unwrap();
        let Ok(events) = cx.channel(stream, 8) else { return Missed::Gap };
        let log = self.log.clone();
        std::thread::spawn(move || {
            for index in seen..up_to {
                let (ms, n) = log.id(index);
                if events.send(event(index).id(Position::new(ms, n).to_string())).is_err() {
                    return;
                }
            }
            events.complete();
        });
        Missed::Later
    }
}

/// Publishes the next entry of the log.
fn publish_next(log: &Log, read: &mut usize, cx: &mut Context<'_>) -> Result<(), Error> {
    let (ms, n) = log.id(*read);
    *read += 1;
    cx.publish_at(TOPIC, Position::new(ms, n), event(*read - 1))
}

/// A server, and how far it has read.
struct Node {
    server: Option<Running>,
    address: SocketAddr,
    log: Arc<Log>,
    read: Arc<Mutex<usize>>,
    answers: bool,
    asked: Arc<AtomicU64>,
    gaps: u64,
}

impl Node {
    fn start(log: &Arc<Log>, answers: bool) -> Self {
        let (log, read, asked) = (log.clone(), Arc::default(), Arc::default());
        let app = Entries { log: log.clone(), read, answers, asked };
        let (read, asked) = (app.read.clone(), app.asked.clone());
        let server = serve_with(app, Config::default());
        Self { address: server.address, server: Some(server), log, read, answers, asked, gaps: 0 }
    }

    fn server(&self) -> &Running {
        self.server.as_ref().unwrap()
    }

    /// Reads some of the log, if there is so much.
    fn read(&self, entries: usize) {
        let (log, read) = (self.log.clone(), self.read.clone());
        let publish = move |cx: &mut Context<'_>| {
            let mut read = read.lock().unwrap();
            for _ in 0..entries.min(log.len() - *read) {
                publish_next(&log, &mut read, cx)?;
            }
            Ok::<_, Error>(())
        };
        self.server().publisher.run(publish).unwrap();
    }

    /// Waits until all its messages have been handled.
    fn settle(&self) {
        self.server().stats();
    }

    fn restart(&mut self) {
        self.gaps += self.server().stats().gaps;
        self.server = None;
        let app = || Entries {
            log: self.log.clone(),
            read: self.read.clone(),
            answers: self.answers,
            asked: self.asked.clone(),
        };
        self.server = Some(serve_at(self.address, app, &Config::default()));
        // It has started: new clients find it at the end of the log.
        self.settle();
    }
}

/// The result.
struct Lives {
    clients: Vec<Client>,
    /// The first number that each restarted server published.
    firsts: Vec<u32>,
    asked: u64,
    gaps: u64,
}

/// Clients move between two servers that are sometimes behind each other, and sometimes restart.
fn live(answers: bool, restarts: u32) -> Lives {
    let log = Arc::<Log>::default();
    log.add(BEGIN as u64);
    let mut nodes = [Node::start(&log, answers), Node::start(&log, answers)];
    let addresses = [nodes[0].address, nodes[1].address];
    nodes.iter().for_each(Node::settle);
    let progress = Arc::<Progress>::default();
    // All begin after the entry that both servers have.
    let first = Position::new(log.id(0).0, log.id(0).1).to_string();
    let clients: Vec<_> = (0..CLIENTS)
        .map(|seed| {
            let (progress, client) = (progress.clone(), Client::new(seed, &first));
            std::thread::spawn(move || client.live("/", &progress, |dice| addresses[dice.usize(..2)]))
        })
        .collect();

    let mut dice = fastrand::Rng::with_seed(13);
    let (begin, mut firsts): (Instant, Vec<u32>) = (now(), Vec::new());
    for number in 2..=ENTRIES + 1 {
        let skew = SKEWS[dice.usize(..2)];
        log.add((BEGIN + skew + i64::try_from(begin.elapsed().as_millis()).unwrap()).try_into().unwrap());
        for node in &nodes {
            let behind = log.len() - *node.read.lock().unwrap();
            // From now on each of them reads sometimes little, sometimes much.
            let entries = dice.usize(..3).max(behind.saturating_sub(BEHIND_MAX));
            node.read(if dice.usize(..50) == 0 { behind } else { entries });
        }
        progress.is_at(number);
        if dice.usize(..100) == 0 {
            nodes[dice.usize(..2)].server().publisher.close_tagged("all").unwrap();
        }
        if restarts > 0 && number % (ENTRIES / (restarts + 1)) == 0 {
            firsts.push(number);
            nodes[firsts.len() % 2].restart();
        }
        std::thread::sleep(ms(2));
    }
    nodes.iter().for_each(|node| node.read(ENTRIES as usize));
    nodes.iter().for_each(Node::settle);
    progress.is_over();
    let clients: Vec<_> = clients.into_iter().map(|client| client.join().unwrap()).collect();
    let gaps = nodes.iter().map(|node| node.gaps + node.server().stats().gaps).sum();
    let asked = nodes.iter().map(|node| node.asked.load(Ordering::SeqCst)).sum();
    let visits: u64 = clients.iter().map(|client| client.visits).sum();
    println!(
        "{CLIENTS} clients, {ENTRIES} entries each, {restarts} restarts: {visits} visits, {asked} with an \
         unknown id, {gaps} gaps",
    );
    assert!(visits > CLIENTS * 10, "{visits}");
    Lives { clients, firsts, asked, gaps }
}

/// Checks that every entry after the first has arrived in order and once, without a gap.
fn assert_whole(lives: &Lives) {
    for client in &lives.clients {
        let expected = (2..=ENTRIES).map(Seen::Number).chain([Seen::End]);
        for (at, (seen, expected)) in client.story.iter().zip(expected).enumerate() {
            let around = &client.story[at.saturating_sub(3)..client.story.len().min(at + 4)];
            assert_eq!(*seen, expected, "at {at}: {around:?}");
        }
        assert_eq!(client.story.len(), ENTRIES as usize);
    }
    assert_eq!(lives.gaps, 0);
}

/// Also from a server that is ahead to one that is behind, and back.
#[test]
fn a_client_goes_from_server_to_server_and_misses_nothing() {
    let lives = live(false, 0);
    assert_whole(&lives);
    assert_eq!(lives.asked, 0);
}

#[test]
fn entries_that_a_new_server_has_not_read_are_brought_from_the_log() {
    let lives = live(true, 3);
    assert_whole(&lives);
    assert!(lives.asked > 0);
}

/// Without an answer from the log a client gets a gap, exactly in the right place.
#[test]
fn missed_entries_without_an_answer_are_a_gap() {
    let lives = live(false, 3);
    for client in &lives.clients {
        let (mut last, mut gap) = (1, false);
        for seen in &client.story {
            let number = match *seen {
                Seen::Gap => {
                    gap = true;
                    continue;
                }
                Seen::Number(number) => number,
                Seen::End => ENTRIES + 1,
            };
            let what = format!("{number} behind {last}, gap: {gap}, {:?}", lives.firsts);
            assert!(number > last, "twice or in disorder: {what}");
            assert!(gap || number == last + 1, "missing without a word: {what}");
            // The gap is followed by the first entry that a new server has read, unless the client has
            // resumed at the other.
            assert!(lives.firsts.contains(&number) || number == last + 1, "more is missing: {what}");
            (last, gap) = (number, false);
        }
    }
    assert!(lives.gaps > 0 && lives.gaps == lives.asked, "{} {}", lives.gaps, lives.asked);
}

/// It cannot know what the client has missed, and sends a gap. But it keeps the client's position in the log:
/// back at the other server nothing comes twice.
#[test]
fn a_server_that_has_read_nothing_does_not_move_a_client_back() {
    let config = TopicConfig::default().history(History::new().events(KEPT)).ids(Ids::Ordered);
    let servers = [(); 2].map(|()| {
        let mut app = Router::new();
        app.on_start(move |cx| cx.configure(TOPIC, config));
        app.get("/", |_request, _cx| Reply::stream().topic(TOPIC));
        serve_with(app, Config::default())
    });
    let publish = |index: usize| {
        let position = Position::new(index as u64 + 1, 0);
        servers[0].publisher.publish_at(TOPIC, position, event(index)).unwrap();
    };
    (0..5).for_each(publish);
    let mut client = Client::new(0, "1-0");
    client.visit(servers[0].address, "/", 4).unwrap();
    client.visit(servers[1].address, "/", 1).unwrap();
    publish(5);
    client.visit(servers[0].address, "/", 1).unwrap();
    let expected = [2, 3, 4, 5].map(Seen::Number).into_iter().chain([Seen::Gap, Seen::Number(6)]);
    assert_eq!(client.story, expected.collect::<Vec<_>>(), "last id {:?}", client.last);
}
