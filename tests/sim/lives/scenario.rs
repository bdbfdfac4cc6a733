//! Settings that a seed determines before the first step.

use crate::net::Faults;
use fastrand::Rng;
use mio_sse::{Config, History, Ids, Overflow, TopicConfig};
use std::time::Duration;

/// Properties of a topic.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) keyed: bool,
    /// Its events have ids, if there are any.
    pub(crate) has_ids: bool,
    /// None of its events is ever dropped.
    pub(crate) keeps_all: bool,
    /// If it has finished, this is never forgotten.
    pub(crate) is_ageless: bool,
    /// Its configuration at first, and later.
    pub(crate) configs: [TopicConfig; 3],
}

/// Settings of a seed.
#[derive(Debug, Clone)]
pub(crate) struct Scenario {
    pub(crate) config: Config,
    pub(crate) ids: Ids,
    /// Events in a hundred that have no id, if the ids are the application's.
    pub(crate) bare: u8,
    /// Form of these ids.
    pub(crate) id_style: u8,
    /// Topics finish.
    pub(crate) finishes: bool,
    /// Streams are closed after the present events.
    pub(crate) ends: bool,
    /// The application has a store, and makes up for missed events.
    pub(crate) makes_up: bool,
    /// Number of topics.
    pub(crate) topics: u8,
    pub(crate) kinds: Vec<Kind>,
    pub(crate) nodes: usize,
    /// Number of loops of each process.
    pub(crate) loops: usize,
    pub(crate) clients: u32,
    pub(crate) faults: Faults,
    /// Events in a hundred that handlers publish, if there are several loops.
    pub(crate) by_handlers: u8,
    /// Whether events are published through the inbox.
    pub(crate) by_inbox: bool,
    /// Streams begin with a snapshot.
    pub(crate) snapshot: bool,
    /// If events are missing, streams continue live.
    pub(crate) after_gap_live: bool,
    /// Many events are large.
    pub(crate) heavy: bool,
    /// Bytes that fit between a server and a client.
    pub(crate) capacity: usize,
    /// Longest time that passes at once, in milliseconds.
    pub(crate) pause: u64,
    /// Whether everything uses TLS.
    pub(crate) secure: bool,
}

impl Scenario {
    pub(crate) fn new(rng: &mut Rng) -> Self {
        let topics = rng.u8(1..4);
        let ids = [Ids::Generated, Ids::Own, Ids::Ordered][rng.usize(..3)];
        let overflow = if rng.bool() { Overflow::Skip } else { Overflow::Disconnect };
        let (heavy, changes) = (rng.u8(..3) == 0, rng.u8(..3) == 0);
        let mut kinds: Vec<_> = (0..topics).map(|_| kind(rng, ids, overflow, changes)).collect();
        // Large events and long ids exceed a history without limits of its own.
        let id_style = rng.u8(..8);
        let mut config = config(rng);
        if heavy && rng.bool() {
            // A low limit, too low for large events.
            config.memory_max = 1 << 20;
        }
        let is_roomy = config.memory_max == ROOMY;
        // Each has an equal share.
        let loops = [1, 1, 2, 3][rng.usize(..4)];
        config.memory_max *= loops;
        #[cfg(feature = "gzip")]
        {
            config.gzip = [None, Some(1), Some(6)][rng.usize(..3)];
        }
        if rng.u8(..4) == 0 {
            let pace = Duration::from_millis(rng.u64(1..500));
            kinds.iter_mut().for_each(|kind| kind.configs = kind.configs.map(|config| config.pace(pace)));
        }
        kinds.iter_mut().for_each(|kind| kind.keeps_all &= !heavy && id_style != 3 && is_roomy);
        Self {
            config,
            ids,
            bare: [0, 0, 20, 70][rng.usize(..4)],
            id_style,
            finishes: rng.bool(),
            ends: rng.u8(..3) == 0,
            makes_up: rng.bool(),
            topics,
            kinds,
            nodes: rng.usize(1..=3),
            loops,
            clients: [2, 6, 20][rng.usize(..3)],
            faults: faults(rng),
            by_handlers: [0, 0, 66, 100][rng.usize(..4)],
            by_inbox: rng.bool(),
            snapshot: rng.u8(..3) == 0,
            after_gap_live: rng.u8(..4) == 0,
            heavy,
            capacity: [100, 500, 5_000, 100_000][rng.usize(..4)],
            pause: [5, 50, 400][rng.usize(..3)],
            secure: cfg!(feature = "tls") && rng.u8(..3) == 0,
        }
    }
}

/// More memory than anything here needs.
const ROOMY: usize = 256 << 20;

impl Scenario {
    /// Whether there is memory for everything.
    pub(crate) fn is_roomy(&self) -> bool {
        self.config.memory_max == ROOMY * self.loops
    }

    /// Whether a server has several loops.
    pub(crate) fn is_sharded(&self) -> bool {
        self.loops > 1
    }

    /// Whether all processes publish the same events.
    pub(crate) fn is_shared(&self) -> bool {
        self.ids != Ids::Generated
    }
}

fn kind(rng: &mut Rng, ids: Ids, overflow: Overflow, changes: bool) -> Kind {
    let (keyed, has_history) = (rng.u8(..3) == 0, rng.u8(..6) > 0);
    let mut histories = [(); 3].map(|()| history(rng));
    if !changes {
        histories = [histories[0]; 3];
    }
    let configs = histories.map(|(history, ..)| {
        let config = TopicConfig::default().ids(ids).overflow(overflow);
        let config = if has_history { config.history(history) } else { config };
        if keyed { config.keyed() } else { config }
    });
    let keeps_all = histories.iter().all(|(_, is_endless, is_ageless)| *is_endless && *is_ageless);
    Kind {
        keyed,
        has_ids: has_history || keyed || ids != Ids::Generated,
        keeps_all: has_history && keeps_all && !keyed,
        is_ageless: !has_history || histories.iter().all(|(.., is_ageless)| *is_ageless),
        configs,
    }
}

/// Size of the history, whether it is endless, and whether it has no age.
fn history(rng: &mut Rng) -> (History, bool, bool) {
    let mut history = History::new();
    let is_short = rng.bool();
    if is_short {
        history = history.events(rng.usize(..20));
    }
    let is_small = rng.u8(..3) == 0;
    if is_small {
        history = history.bytes(rng.usize(..3_000));
    }
    let is_ageless = rng.u8(..3) > 0;
    if !is_ageless {
        history = history.age(Duration::from_millis(rng.u64(20..5_000)));
    }
    (history, !is_short && !is_small, is_ageless)
}

fn config(rng: &mut Rng) -> Config {
    let mut config = Config::default();
    config.propagate_panics = true;
    config.lag_bytes_max = [1, 300, 3_000, 1 << 20][rng.usize(..4)];
    config.sends_per_turn = [1, 5, 1_024][rng.usize(..3)];
    config.requests_per_turn = [1, 1_024][rng.usize(..2)];
    config.tcp_defer_accept = rng.bool().then_some(Duration::from_secs(5));
    config.memory_max = [ROOMY, ROOMY, 1 << 20, 3 << 20][rng.usize(..4)];
    config.inbox_max = [3, 1_024][rng.usize(..2)];
    config.heartbeat = rng.bool().then(|| Duration::from_millis(rng.u64(10..1_000)));
    config.heartbeat_event = (rng.u8(..3) == 0).then_some("beat".into());
    config.missed_timeout = Duration::from_millis(rng.u64(50..3_000));
    config.max_age = (rng.u8(..3) == 0).then(|| Duration::from_millis(rng.u64(100..5_000)));
    config
}

fn faults(rng: &mut Rng) -> Faults {
    let mut rate = |most: u16| if rng.bool() { 0 } else { rng.u16(..most) };
    Faults {
        part: rate(500),
        turn_around: rate(200),
        interrupted: rate(100),
        broken: rate(4),
        spurious: rate(100),
        stale: rate(100),
        delayed: rate(400),
        early: rate(100),
        shuffled: rate(300),
        aborted: rate(30),
        exhausted: rate(50),
        unregistered: rate(20),
        unshut: rate(20),
        told_twice: rate(200),
        marked: rate(100),
    }
}
