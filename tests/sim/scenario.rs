//! Settings that a seed determines before the first step: limits, faults, and the mix of actions.

use crate::kept::Kind;
use crate::model::{IdStyle, TOPICS};
use crate::net::Faults;
use fastrand::Rng;
use mio_sse::{Config, Refuse};
use std::time::Duration;

/// Actions of the scheduler in one step.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Action {
    /// A turn that does not wait, and one with a random timeout.
    Turn,
    Wait,
    /// The clock advances while the loop is held up.
    Jump,
    /// The time of day is changed.
    Clock,
    Connect,
    /// A client draws a request, or invalid bytes.
    Ask,
    /// A client sends some of its pending bytes.
    Send,
    /// A client reads.
    Read,
    Leave,
    /// The application makes a call between two turns.
    Perform,
    /// Another thread sends a message.
    Inbox,
    /// All faults end, all clients read, and everything has to arrive.
    Settle,
}

/// Settings of a seed.
#[derive(Debug)]
pub(crate) struct Scenario {
    pub(crate) config: Config,
    /// History of each topic at first, and the kind of ids of its events.
    pub(crate) kinds: [Kind; TOPICS.len()],
    /// The application makes the ids.
    pub(crate) own_ids: bool,
    pub(crate) id_styles: [IdStyle; TOPICS.len()],
    pub(crate) faults: Faults,
    pub(crate) weights: Vec<(u32, Action)>,
    /// Largest number of clients.
    pub(crate) clients: usize,
    pub(crate) descriptors: usize,
    /// Bytes that fit between the server and a client that reads slowly.
    pub(crate) capacity: usize,
    /// Initial value of the clock.
    pub(crate) begin: Duration,
    /// Longest jump of the clock that is not rare.
    pub(crate) jump: Duration,
    pub(crate) end: End,
    /// Whether many events are large, so that clients that do not read lag rather than stall.
    pub(crate) heavy: bool,
    /// One callback of this many panics.
    pub(crate) panics: Option<u32>,
    /// One request of this many waits for its reply.
    pub(crate) late: Option<u32>,
    /// Whether all speak TLS.
    pub(crate) secure: bool,
}

/// How a run ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum End {
    /// The server is stopped in the middle of everything.
    Stops,
    /// It runs until all clients have left.
    Leaves,
    /// It drains in the middle of everything.
    Drains,
}

impl Scenario {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        #[cfg(feature = "gzip")]
        let gzip = [None, Some(1), Some(6)][rng.clone().fork().usize(..3)];
        // With random numbers of its own, so that a seed without TLS is the same as without the feature.
        let secure = cfg!(feature = "tls") && Rng::with_seed(rng.clone().u64(..) ^ 1).u8(..3) == 0;
        let clients = [4, 12, 40, 100, 300][rng.usize(..5)];
        let mut config = config(rng, clients);
        #[cfg(feature = "gzip")]
        {
            config.gzip = gzip;
        }
        let plain = rng.u8(..5) == 0;
        let own_ids = !plain && rng.bool();
        let kind = |rng: &mut Rng| if plain { Kind::default() } else { Kind::draw(rng, own_ids) };
        let mut kinds = [(); TOPICS.len()].map(|()| kind(rng));
        let none = [IdStyle::None; 4];
        let styles =
            if own_ids { [IdStyle::None, IdStyle::Own, IdStyle::Own, IdStyle::Shared] } else { none };
        let id_styles = [(); TOPICS.len()].map(|()| styles[rng.usize(..styles.len())]);
        let usual = kinds[rng.usize(..kinds.len())];
        config.topic = usual.config();
        // At most as many topics as the limit allows are configured differently.
        let different = kinds.iter_mut().filter(|kind| **kind != usual);
        different.skip(config.topics_max).for_each(|kind| *kind = usual);
        let heavy = rng.bool();
        if heavy {
            config.lag_bytes_max = [1, 20_000, 60_000, 100_000][rng.usize(..4)];
            config.stall_timeout = Duration::from_millis(rng.u64(10_000..100_000));
            config.max_age = config.max_age.filter(|_| rng.bool());
        }
        let weights = vec![
            (rng.u32(20..60), Action::Turn),
            (rng.u32(2..20), Action::Wait),
            (rng.u32(0..3), Action::Jump),
            (rng.u32(0..3), Action::Clock),
            (rng.u32(2..12), Action::Connect),
            (rng.u32(4..12), Action::Ask),
            (rng.u32(6..20), Action::Send),
            (rng.u32(5..40), Action::Read),
            (rng.u32(1..6), Action::Leave),
            (rng.u32(4..30), Action::Perform),
            (rng.u32(0..8), Action::Inbox),
        ];
        Self {
            config,
            kinds,
            own_ids,
            id_styles,
            faults: faults(rng),
            weights,
            clients,
            descriptors: if rng.u8(..4) == 0 { clients * 3 / 4 + 1 } else { usize::MAX },
            capacity: [60, 300, 2_000, 20_000, 200_000][rng.usize(..5)],
            // The server keeps times in 32 bits of milliseconds: some runs pass the end of these.
            begin: Duration::from_millis(if rng.bool() { 0 } else { (1 << 32) - rng.u64(..5_000) }),
            jump: Duration::from_millis([10, 300, 5_000][rng.usize(..3)]),
            end: [End::Stops, End::Leaves, End::Drains][rng.usize(..3)],
            heavy,
            panics: (rng.u8(..3) == 0).then(|| rng.u32(20..400)),
            late: [None, Some(8), Some(8), Some(3)][rng.usize(..4)],
            secure,
        }
    }
}

fn config(rng: &mut Rng, clients: usize) -> Config {
    let mut config = Config::default();
    let few = |rng: &mut Rng, default: usize| match rng.u8(..3) {
        0 => rng.usize(1..6),
        1 => rng.usize(1..100),
        _ => default,
    };
    config.accepts_per_turn = few(rng, config.accepts_per_turn);
    config.requests_per_turn = few(rng, config.requests_per_turn);
    config.sends_per_turn = few(rng, config.sends_per_turn);
    config.timers_per_turn = few(rng, config.timers_per_turn);
    config.inbox_max = few(rng, config.inbox_max);
    config.lag_bytes_max = [1, 3_000, 20_000, 100_000, 100_000, 1 << 20, 1 << 20, 1 << 30][rng.usize(..8)];
    config.head_bytes_max = [256, 2_000, 16 << 10, 16 << 10][rng.usize(..4)];
    config.event_id_bytes_max = config.event_id_bytes_max.min(config.head_bytes_max / 2);
    config.target_bytes_max = config.head_bytes_max.min([100, 8 << 10][rng.usize(..2)]);
    config.headers_max = [8, 100][rng.usize(..2)];
    config.body_bytes_max = match rng.u8(..8) {
        0 => 600_000,
        1 => 0,
        _ => rng.usize(1..2_000),
    };
    let time = |rng: &mut Rng, short: u64, long: u64| {
        Duration::from_millis(if rng.u8(..3) == 0 { rng.u64(20..short) } else { rng.u64(short..long) })
    };
    config.head_timeout = time(rng, 2_000, 500_000);
    config.body_timeout = time(rng, 2_000, 500_000);
    config.max_age = match rng.u8(..3) {
        0 => None,
        1 => Some(Duration::from_millis(rng.u64(100..3_000))),
        _ => Some(time(rng, 20_000, 86_400_000).max(Duration::from_millis(100))),
    };
    config.keep_alive_timeout = time(rng, 5_000, 500_000);
    config.stall_timeout = time(rng, 1_000, 100_000);
    config.linger = time(rng, 1_000, 10_000);
    config.late_reply_timeout = time(rng, 2_000, 100_000);
    limits(rng, clients, &mut config);
    config.heartbeat = match rng.u8(..4) {
        0 => None,
        1 => Some(Duration::from_millis(rng.u64(4..100))),
        _ => Some(time(rng, 1_000, 20_000)),
    };
    // This network passes connections on as they come; with deferred ones the loop reads at once.
    config.tcp_defer_accept = rng.bool().then_some(Duration::from_secs(5));
    config
}

/// Draws all limits, which are low in some runs.
fn limits(rng: &mut Rng, clients: usize, config: &mut Config) {
    if rng.u8(..4) == 0 {
        config.connections_max = rng.usize(1..=clients);
    }
    if rng.u8(..4) == 0 {
        config.connections_per_address_max = Some(rng.usize(1..=clients.div_ceil(7) + 2));
    }
    config.requests_per_connection_max = match rng.u8(..8) {
        0 => 1,
        1..4 => rng.usize(2..30),
        _ => 1_000,
    };
    if rng.u8(..4) == 0 {
        config.streams_max = rng.usize(1..=clients);
    }
    if rng.u8(..3) == 0 {
        config.late_replies_max = rng.usize(1..6);
    }
    if rng.u8(..5) == 0 {
        config.topics_max = rng.usize(1..6);
    }
    if rng.u8(..5) == 0 {
        config.subscriptions_max = rng.usize(1..4);
    }
    if rng.u8(..3) == 0 {
        config.tags_max = rng.usize(1..4);
    }
    if rng.u8(..3) == 0 {
        config.revoked_max = rng.usize(1..4);
    }
    config.gap_event = [Some("gap"), Some("gap"), Some("lost"), None][rng.usize(..4)].map(Into::into);
    config.heartbeat_event = [None, None, Some("beat")][rng.usize(..3)].map(Into::into);
    config.refuse = [Refuse::Auto, Refuse::Soft, Refuse::Unavailable][rng.usize(..3)];
    config.refuse_retry = Duration::from_millis(rng.u64(1..20_000));
    config.half_closed = rng.bool();
}

/// Draws the faults: in some runs there are none of a kind, in some many.
fn faults(rng: &mut Rng) -> Faults {
    let rate = |rng: &mut Rng, most: u16| match rng.u8(..4) {
        0 => 0,
        1 => most / 10,
        _ => rng.u16(..=most),
    };
    Faults {
        part: rate(rng, 500),
        turn_around: rate(rng, 200),
        interrupted: rate(rng, 200),
        broken: rate(rng, 3),
        spurious: rate(rng, 200),
        stale: rate(rng, 200),
        delayed: rate(rng, 400),
        early: rate(rng, 100),
        shuffled: rate(rng, 500),
        aborted: rate(rng, 30),
        exhausted: rate(rng, 100),
        unregistered: rate(rng, 30),
        unshut: rate(rng, 40),
        told_twice: rate(rng, 500),
        marked: rate(rng, 300),
    }
}
