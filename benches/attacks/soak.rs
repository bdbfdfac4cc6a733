//! Hours of everything at once, in simulated time. In the last hour the server may hold no more than in the
//! first.

use crate::heap;
use crate::net::AttackNet;
use crate::world::{bytes, get, post};
use mio_sse::{
    Config, Context, Error, Event, Events, History, Ids, Overflow, Reply, Request, Router, Server,
    StreamReply, TopicConfig,
};
use std::time::{Duration, Instant};

/// Number of streams, apart from those that come and go.
const STREAMS: usize = 4_000;

/// Samples of the held memory in an hour.
const SAMPLES: usize = 180;

/// Largest allowed growth of the held memory from the first hour to the last. For the allocator's own memory
/// the figures are only printed.
const DRIFT_MAX: f64 = 0.05;

struct Soak {
    server: Server<Router, AttackNet>,
    rng: fastrand::Rng,
    peers: Vec<usize>,
    number: u64,
}

pub(crate) fn run(hours: usize) {
    let begun = Instant::now();
    let mut soak = Soak::new();
    println!(
        "{:>5} {:>12} {:>12} {:>10} {:>14} {:>12}",
        "hour", "heap, KiB", "RSS, KiB", "streams", "opened", "events"
    );
    let mut hourly = Vec::new();
    for hour in 1..=hours {
        // The content of one moment is chance, so the last half of the hour counts.
        (0..1800).for_each(|_| soak.second());
        let (mut held, mut resident) = (0, 0);
        for _ in 0..SAMPLES {
            (0..1800 / SAMPLES).for_each(|_| soak.second());
            held += heap::held() / SAMPLES;
            resident += self::resident() / SAMPLES;
        }
        let stats = soak.server.stats();
        hourly.push((held, resident));
        println!(
            "{hour:>5} {:>12} {:>12} {:>10} {:>14} {:>12}",
            held >> 10,
            resident >> 10,
            stats.streams,
            stats.streams_opened,
            stats.events_delivered
        );
    }
    let drift = |of: fn(&(usize, usize)) -> usize| {
        let (first, last) = (of(&hourly[0]) as f64, of(&hourly[hourly.len() - 1]) as f64);
        last / first - 1.0
    };
    let (heap, rss) = (drift(|(held, _)| *held), drift(|(_, resident)| *resident));
    let took = begun.elapsed().as_secs();
    println!("last hour against the first: heap {:+.1} %, RSS {:+.1} %; in {took} s", heap * 1e2, rss * 1e2);
    println!("{:?}", soak.server.stats().work_max);
    assert!(heap <= DRIFT_MAX, "more is held from hour to hour");
}

/// Resident memory.
fn resident() -> usize {
    let pages = std::fs::read_to_string("/proc/self/statm").unwrap_or_default();
    let pages = pages.split(' ').nth(1).and_then(|pages| pages.parse::<usize>().ok());
    pages.unwrap_or_default() * 4096
}

impl Soak {
    fn new() -> Self {
        let mut config = Config::default();
        config.connections_per_address_max = None;
        config.memory_max = 64 << 20;
        config.max_age = Some(Duration::from_secs(600));
        config.gap_event = Some("gap".into());
        let mut net = AttackNet::default();
        net.reuses = true;
        let mut server = Server::with_net(net, app(), config).expect("limits that make sense");
        let mut cx = server.context();
        let history = History::new().events(200).age(Duration::from_secs(900));
        let kept = TopicConfig::default().history(history);
        let configs = [
            ("news", kept.overflow(Overflow::Skip)),
            ("prices", kept.keyed()),
            ("notes", kept.ids(Ids::Own)),
        ];
        configs.into_iter().for_each(|(topic, config)| cx.configure(topic, config).expect("there is room"));
        Self { server, rng: fastrand::Rng::with_seed(7), peers: Vec::new(), number: 0 }
    }

    fn second(&mut self) {
        for _ in 0..self.rng.usize(..60) {
            self.comes();
        }
        for _ in 0..self.rng.usize(..40) {
            self.goes();
        }
        self.publish();
        self.disturb();
        self.server.net().now += Duration::from_secs(1);
        self.settle();
    }

    fn comes(&mut self) {
        self.number += 1;
        let kind = self.rng.u8(..12);
        let seen = if self.rng.bool() { "Last-Event-ID: 1\r\n" } else { "" };
        let text = match kind {
            0 => get("/page"),
            1 => post(&"x".repeat(self.rng.usize(..4_000))),
            2 => "no request at all\r\n\r\n".to_owned(),
            3 => "POST /publish HTTP/1.1\r\nContent-Le".to_owned(),
            _ => format!("GET /stream/{kind}/{} HTTP/1.1\r\nHost: x\r\n{seen}\r\n", self.number),
        };
        let peer = self.server.net().connect(&bytes(&text), kind == 2);
        if self.rng.u8(..8) == 0 {
            let room = self.rng.usize(..4_000);
            self.server.net().set_room(peer, room);
        }
        self.settle();
        self.peers.push(peer);
    }

    fn goes(&mut self) {
        let net = self.server.net();
        self.peers.retain(|peer| net.is_open(*peer));
        if self.peers.len() > STREAMS / 2 || self.rng.u8(..4) == 0 && !self.peers.is_empty() {
            let peer = self.peers.swap_remove(self.rng.usize(..self.peers.len()));
            self.server.net().leave(peer);
            self.settle();
        }
    }

    fn publish(&mut self) {
        let (number, size) = (self.number, self.rng.usize(..2_000));
        let event = || Event::new().data(format!("{number} {}", "x".repeat(size)));
        let (key, one) = (self.rng.u8(..200).to_string(), self.rng.u8(..5));
        let mut cx = self.server.context();
        // If memory is short for a moment, nothing is published.
        let _ = match one {
            0 => cx.publish("news", event()),
            1 => cx.publish("prices", event().key(key)),
            2 => cx.publish("notes", event().id(number.to_string())),
            3 => cx.publish(&format!("own {}", number % 500), event()),
            _ => cx.send_tagged(&format!("user {}", number % 500), event()).map(drop),
        };
    }

    /// Occasional disturbances.
    fn disturb(&mut self) {
        let (die, number) = (self.rng.u8(..60), self.rng.u16(..500));
        let user = format!("user {number}");
        let mut cx = self.server.context();
        match die {
            0 => _ = cx.close_tagged(&user),
            1 => _ = cx.revoke(&user, Duration::from_secs(30)),
            2 => _ = cx.finish_topic(&format!("own {}", number % 500)),
            3..10 => {
                let net = self.server.net();
                self.peers.retain(|peer| net.is_open(*peer));
                for &peer in &self.peers {
                    net.set_room(peer, 100_000);
                }
            }
            _ => {}
        }
    }

    fn settle(&mut self) {
        loop {
            self.server.turn(Some(Duration::ZERO)).expect("a network without faults");
            if !self.server.net().is_told() && self.server.next_timeout() != Some(Duration::ZERO) {
                return;
            }
        }
    }
}

fn app() -> Router {
    let mut app = Router::new();
    app.get("/stream/{kind}/{number}", stream);
    app.get("/page", |_request, _cx| Reply::text("x".repeat(64 << 10)));
    app.post("/publish", |request, cx| {
        cx.publish("news", Event::new().data(String::from_utf8_lossy(request.body()).into_owned()))?;
        Ok::<_, Error>(Reply::no_content())
    });
    app
}

/// Each kind of stream has something that the others do not have.
fn stream(request: &Request<'_>, cx: &mut Context<'_>) -> Result<StreamReply, Error> {
    let number: u64 = request.param("number").and_then(|number| number.parse().ok()).unwrap_or_default();
    let stream = Reply::stream();
    Ok(match request.param("kind").unwrap_or_default() {
        "4" => {
            if let Some(id) = cx.stream() {
                cx.every(id, Duration::from_secs(7), |stream, cx| {
                    cx.send(stream, Event::new().data("tick"))
                })?;
            }
            cx.on_open(|id, cx| cx.on_close(id, |reason, _cx| _ = std::hint::black_box(reason)));
            stream.with(number)
        }
        "5" => stream.topic(format!("own {}", number % 500)),
        "6" => stream.topic("prices").snapshot(),
        "7" => stream.topic("news").topic(format!("own {}", number % 500)),
        "8" => stream.topic("news").tag(format!("user {}", number % 500)),
        "9" => stream.topic("prices").snapshot().then_end(),
        "10" => {
            let ticks = (0..40).map(|tick: u32| Event::new().data(tick.to_string()));
            stream.source(Events::new(ticks).every(Duration::from_secs(3)))
        }
        _ => stream.topic("notes").snapshot().close_delimited(),
    })
}
