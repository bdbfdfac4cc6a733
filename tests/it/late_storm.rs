//! Late replies under every fault: clients that leave, do not read, or send more; limits, timeouts, drains
//! and panics. In the end nothing is left.

use crate::memory_net::{Loop, Peer, check_accounts};
use crate::support::{ms, secs};
use mio_sse::{
    Access, CloseReason, Config, Context, History, Observer, Refusal, Reply, Responder, Router, TopicConfig,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

const SEEDS: u64 = 150;

/// Numbers from a seed (xorshift).
struct Random(u64);

impl Random {
    fn new(seed: u64) -> Self {
        Self((seed + 1).wrapping_mul(0x9E37_79B9_7F4A_7C15) | 1)
    }

    fn below(&mut self, end: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 >> 20) % end
    }

    fn size(&mut self, end: u64) -> usize {
        usize::try_from(self.below(end)).unwrap()
    }

    fn one_in(&mut self, count: u64) -> bool {
        self.below(count) == 0
    }
}

#[derive(Default)]
struct Waiting {
    responders: Vec<Responder<Waiting>>,
    /// Streams whose opening was reported to the hooks of another stream.
    strays: u64,
}

/// Checks that the opened stream is the one of this request.
fn expect(cx: &mut Context<'_, Waiting>, token: Option<Arc<()>>) {
    let expected = cx.stream();
    cx.on_open(move |stream, cx| {
        cx.state.strays += u64::from(Some(stream) != expected);
        drop(token);
    });
}

fn later(cx: &mut Context<'_, Waiting>) -> Reply {
    let (reply, responder) = cx.later();
    cx.state.responders.push(responder);
    reply
}

fn app() -> Router<Waiting> {
    let mut app = Router::with_state(Waiting::default());
    app.get("/later", |_request, cx| later(cx));
    app.post("/later", |_request, cx| later(cx));
    app.get("/now", |_request, _cx| "now");
    app.get("/stream", |_request, _cx| Reply::stream().topic("t"));
    app.after(|request, reply, cx| {
        assert!(request.header("X-Panic").is_none(), "on purpose");
        if request.header("X-Again").is_some() {
            return later(cx);
        }
        expect(cx, None);
        reply
    });
    app
}

fn config(random: &mut Random) -> Config {
    let mut config = Config::default();
    config.half_closed = random.one_in(2);
    config.requests_per_connection_max = 1 + random.size(20);
    (config.head_bytes_max, config.target_bytes_max) = (2048, 512);
    config.late_replies_max = 1 + random.size(6);
    (config.connections_max, config.streams_max) = (2 + random.size(6), 1 + random.size(4));
    config.requests_per_turn = 1 + random.size(30);
    (config.late_reply_timeout, config.keep_alive_timeout) = (ms(500), ms(1500));
    (config.stall_timeout, config.linger) = (ms(800), ms(300));
    config.heartbeat = Some(ms(700));
    config.lag_bytes_max = 8 << 10;
    config.topic = TopicConfig::default().history(History::new().events(20));
    if random.one_in(3) {
        config.memory_max = 1 << 20;
    }
    config.error_body = Some(|status, text| {
        assert_ne!(status, 504, "on purpose");
        Reply::text(text.to_owned())
    });
    config
}

fn requests(random: &mut Random) -> String {
    let mut text = String::new();
    for _ in 0..1 + random.below(4) {
        let lines =
            ["X-Again: 1\r\n", "X-Panic: 1\r\n", "Accept: text/event-stream\r\n", "Connection: close\r\n"];
        let line = lines.get(random.size(8)).unwrap_or(&"");
        let most = if random.one_in(10) { 60_000 } else { 200 };
        let body = "b".repeat(random.size(most));
        let length = body.len();
        text += &match random.below(5) {
            0 => format!("GET /now HTTP/1.1\r\nHost: x\r\n{line}\r\n"),
            1 => format!("GET /later HTTP/1.1\r\nHost: x\r\n{line}\r\n"),
            2 => format!("POST /later HTTP/1.1\r\nHost: x\r\n{line}Content-Length: {length}\r\n\r\n{body}"),
            3 => format!("GET /stream HTTP/1.1\r\nHost: x\r\n{line}\r\n"),
            _ => format!("HEAD /later HTTP/1.{}\r\nHost: x\r\n{line}\r\n", random.below(2)),
        };
    }
    if random.one_in(3) {
        text.truncate(random.size(text.len() as u64));
    }
    text
}

/// Replies in one of many ways. Each reply owns `token`.
fn reply(responder: Responder<Waiting>, token: Arc<()>, random: &mut Random) {
    let how = random.below(8);
    let size = if random.one_in(20) { 3 << 20 } else { 10 };
    let reply = move |cx: &mut Context<'_, Waiting>| {
        let stream = cx.stream().unwrap();
        match how {
            0 => return Reply::stream().topic("t").with(token).into(),
            1 => {
                // It may lag too far by this.
                (0..3).for_each(|_| _ = cx.send(stream, "x".repeat(5000)));
                expect(cx, Some(token));
            }
            2 => {
                cx.on_close(stream, move |_reason, _cx| drop(token)).unwrap();
                cx.close(stream).unwrap();
            }
            3 => panic!("on purpose"),
            4 => return later(cx),
            _ => return Reply::text("y".repeat(size)),
        }
        Reply::stream().topic("t").into()
    };
    // Its client may have left, or the server may have stopped.
    let _ = responder.reply_with(move |_request, cx| reply(cx));
}

/// Counts the replies.
struct Counter(Arc<AtomicU64>);

impl Observer for Counter {
    fn access(&mut self, _access: &Access<'_>) {
        self.0.fetch_add(1, Ordering::Relaxed);
    }
}

fn storm<const SHORT: bool>(seed: u64) {
    let mut random = Random::new(seed);
    let mut world = Loop::<_, SHORT>::with_config(app(), config(&mut random));
    let told = Arc::new(AtomicU64::new(0));
    world.server.observe(Counter(told.clone()));
    let token = Arc::new(());
    let mut peers: Vec<Peer> = Vec::new();
    for _ in 0..60 + random.below(200) {
        let peer = (!peers.is_empty()).then(|| random.size(peers.len() as u64)).map(|at| &peers[at]);
        match (random.below(14), peer) {
            (0, _) => {
                peers.push(world.connect());
                if random.one_in(2) {
                    peers.last().unwrap().set_room(random.size(500));
                }
            }
            (1..=4, Some(peer)) => peer.write(requests(&mut random)),
            (5..=7, _) => {
                let waiting = &mut world.server.handler().state().responders;
                if !waiting.is_empty() {
                    let responder = waiting.swap_remove(random.size(waiting.len() as u64));
                    reply(responder, token.clone(), &mut random);
                }
            }
            (8, _) => _ = world.server.handler().state().responders.pop(),
            (9, Some(peer)) => match random.below(4) {
                0 => peer.close(),
                1 => peer.reset(),
                2 => peer.reset_silently(),
                _ => peer.set_room(random.size(5000)),
            },
            (10, _) => world.pass(ms(random.below(400))),
            (11, _) => _ = world.server.context().publish("t", "z".repeat(random.size(3000))),
            (12, _) if random.one_in(40) => _ = world.server.context().drain(ms(400)),
            _ => world.turn(),
        }
        for peer in &peers {
            if random.one_in(4) {
                peer.read();
            }
        }
        if world.server.is_stopped() {
            break;
        }
    }
    peers.iter().for_each(|peer| peer.set_room(1 << 30));
    world.pass(secs(4));
    peers.iter().for_each(Peer::reset);
    world.pass(secs(3));
    let stats = world.server.stats();
    assert_eq!((stats.connections, stats.streams, stats.late_replies), (0, 0, 0), "{seed}");
    let memory = stats.memory;
    assert_eq!((memory.input, memory.replies, memory.hands), (0, 0, 0), "{seed}: {memory:?}");
    check_accounts(&stats);
    assert_eq!(world.server.handler().state().strays, 0, "{seed}");
    // Incomplete requests get a reply as well.
    let timed_out =
        [CloseReason::HeadTimeout, CloseReason::BodyTimeout].map(|reason| stats.connections_closed(reason));
    let unread = stats.rejected + stats.refused(Refusal::Memory) + timed_out.iter().sum::<u64>();
    let told = told.load(Ordering::Relaxed);
    assert!(told <= stats.requests + unread, "{seed}: {told} {stats:?}");
    assert_eq!(Arc::strong_count(&token), 1, "{seed}");
}

#[test]
fn late_replies_leave_nothing_behind_under_any_fault() {
    for seed in 0..SEEDS {
        storm::<true>(seed);
        storm::<false>(seed);
    }
}
