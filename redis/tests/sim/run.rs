//! One run: nodes, clients, and their faults.

use crate::client::Client;
use crate::node::{Node, Setting, Weather, fields};
use crate::store::{Kind, Store, Written};
use crate::{Counts, TOPICS};
use fastrand::Rng;
use mio_sse::Event;
use mio_sse_redis::machine::{At, Fate, Record, What};
use std::collections::HashSet;
use std::time::Duration;

/// Average number of steps between two quiet periods.
const STEPS_TO_REST: u64 = 350;

/// Rounds within which every event arrives when there are no more faults.
const ROUNDS: u32 = 12;
const ROUND: Duration = Duration::from_millis(1_200);

/// The topic that is finished at some time.
const FINITE: usize = TOPICS.len() - 1;

pub(crate) struct Run {
    rng: Rng,
    is_healthy: bool,
    verbose: bool,
    now: Duration,
    store: Store,
    nodes: Vec<Node>,
    processes: u32,
    clients: Vec<Client>,
    setting: Setting,
    weather: Weather,
    /// Largest difference of a clock from the true time, in milliseconds.
    skew: i64,
    /// Number of the newest event.
    number: u64,
    /// Whether the finite topic was finished.
    has_finished: bool,
    /// One of this many drawn faults happens.
    rarity: u8,
    can_be_full: bool,
    counts: Counts,
}

impl Run {
    pub(crate) fn new(seed: u64, is_healthy: bool, verbose: bool) -> Self {
        let mut rng = Rng::with_seed(seed);
        let small = !is_healthy && rng.bool();
        let kept = if small { rng.usize(5..60) } else { 100_000 };
        let mut store = Store::new(kept, rng.usize(1..10));
        store.verbose = verbose;
        let history = if is_healthy { 10_000 } else { [1, 20, 700, 2_000][rng.usize(..4)] };
        let kept = if is_healthy { 10_000 } else { [0, 5, 50, 2_000][rng.usize(..4)] };
        let heartbeat = rng.bool().then(|| Duration::from_millis(rng.u64(2_000..20_000)));
        let setting = Setting { loops: 1, history, kept, heartbeat, skew: 0, verbose };
        let breaks = if rng.u8(..4) == 0 { 0 } else { rng.u32(3..40) };
        let skew = [0, 20, 10_000][rng.usize(..3)];
        // Sometimes more than one page. An empty stream would make a client that resumes see a gap.
        let least = u64::from(is_healthy);
        let before = if rng.u8(..8) == 0 { rng.u64(400..1_300) } else { rng.u64(least..20) };
        for number in 1..=before {
            let what = What::Event {
                topics: vec![TOPICS[rng.usize(..FINITE)].into()],
                event: Event::new().data(number.to_string()),
            };
            store.add(At::Any, fields(&Record { what, nonce: None }));
            store.unix_ms += rng.u64(..3);
        }
        let mut run = Self {
            is_healthy,
            verbose,
            now: Duration::ZERO,
            store,
            nodes: Vec::new(),
            processes: 0,
            clients: Vec::new(),
            setting,
            weather: Weather { breaks, is_full: false },
            skew,
            number: before,
            has_finished: false,
            rarity: [1, 4, 12][rng.usize(..3)],
            can_be_full: !is_healthy && rng.u8(..3) == 0,
            counts: Counts::new(),
            rng,
        };
        for _ in 0..run.rng.usize(2..5) {
            let node = run.start();
            run.nodes.push(node);
        }
        for number in 0..run.rng.usize(3..10) {
            let topics = run.rng.u8(1..1 << TOPICS.len());
            let goes_on_live = !is_healthy && run.rng.u8(..4) == 0;
            run.clients.push(Client::new(number, topics, goes_on_live));
        }
        run
    }

    fn count(&mut self, name: &'static str, more: u64) {
        *self.counts.entry(name).or_default() += more;
    }

    fn say(&self, what: impl FnOnce() -> String) {
        if self.verbose {
            println!("{:>6} {:>9.3} {}", self.store.now, self.now.as_secs_f64(), what());
        }
    }

    pub(crate) fn run(mut self, steps: u64) -> Counts {
        for _ in 0..steps {
            if self.rng.u64(..STEPS_TO_REST) == 0 {
                self.rest();
            }
            self.step();
        }
        self.rest();
        let sums = [
            ("seeds", 1),
            ("steps", steps),
            ("entries", self.store.all.len() as u64),
            ("entries trimmed", self.store.trimmed),
            ("entries written again", self.store.again),
            ("marks", self.store.all.iter().filter(|it| it.kind == Kind::Mark).count() as u64),
            ("entries lost", self.store.all.iter().filter(|it| it.lost.is_some()).count() as u64),
            ("events twice", self.clients.iter().map(|client| client.came_twice).sum()),
        ];
        for (name, more) in sums {
            self.count(name, more);
        }
        self.counts
    }

    fn start(&mut self) -> Node {
        self.processes += 1;
        let loops = if self.rng.u8(..4) == 0 { 2 } else { 1 };
        let skew = if self.skew == 0 { 0 } else { self.rng.i64(-self.skew..self.skew) };
        let setting = Setting { loops, skew, ..self.setting };
        let rng = &mut self.rng;
        let breaks = self.weather.breaks;
        let node = Node::start(self.processes, setting, self.now, &mut self.store, |_| {
            breaks > 0 && rng.u32(..breaks) == 0
        });
        self.say(|| format!("process {} starts: {setting:?}", node.process));
        node
    }

    fn step(&mut self) {
        self.store.may_trim = self.nodes.iter().all(|node| !node.has_read_nothing());
        let index = self.rng.usize(..self.nodes.len());
        let client = self.rng.usize(..self.clients.len());
        match self.rng.u8(..100) {
            0..30 => self.read(index),
            30..50 => self.write(index),
            50..60 => self.publish(index),
            60..62 => self.foreign(),
            62..78 => self.client(client),
            78..81 => {
                self.say(|| format!("client {client} is cut"));
                self.clients[client].cut();
            }
            81..93 => {
                let ms = if self.rng.u8(..8) == 0 { self.rng.u64(..3_000) } else { self.rng.u64(..40) };
                self.pass(Duration::from_millis(ms));
            }
            93..95 => self.nodes[index].stray(&mut self.store),
            95 if self.rng.u8(..20) == 0 => self.finish(index),
            96.. if !self.is_healthy && self.rng.u8(..self.rarity) == 0 => self.fault(index),
            _ => {}
        }
        self.hear(index);
    }

    fn read(&mut self, index: usize) {
        let (now, weather) = (self.now, self.weather);
        let node = &mut self.nodes[index];
        if !node.is_asleep(now) {
            let before = node.reader.read().gaps;
            node.read(now, &mut self.store, weather, &mut self.rng);
            let (gaps, process, highest) = (node.reader.read().gaps, node.process, node.reader.highest());
            if gaps > before {
                self.say(|| format!("process {process} tells a gap, {highest}"));
            }
        }
    }

    fn write(&mut self, index: usize) {
        let (now, weather) = (self.now, self.weather);
        let node = &mut self.nodes[index];
        if !node.is_asleep(now) {
            node.write(now, &mut self.store, weather, &mut self.rng);
        }
    }

    /// Handles the results of writes.
    fn hear(&mut self, index: usize) {
        for (number, fate) in std::mem::take(&mut self.nodes[index].fates) {
            let process = self.nodes[index].process;
            self.say(|| format!("process {process}: {number} is {fate:?}"));
            if let Fate::Written(position) = fate {
                let is_it = |it: &&Written| match it.kind {
                    Kind::Event(is, _) => is == number,
                    kind => kind == Kind::Finish && number == 0,
                };
                let mut found = self.store.all.iter().filter(|it| it.entry.position == position);
                assert!(found.any(|it| is_it(&it)), "{number} is not at {position}");
                self.count("publishes confirmed", 1);
            } else {
                self.count("publishes given up", 1);
            }
        }
    }

    fn event(&mut self) -> (Vec<String>, Event<'static>) {
        self.number += 1;
        let topics = if self.has_finished { FINITE } else { TOPICS.len() };
        let mut topics: Vec<_> = (0..topics).filter(|_| self.rng.u8(..3) == 0).collect();
        if topics.is_empty() {
            topics.push(self.rng.usize(..FINITE));
        }
        let topics = topics.into_iter().map(|topic| TOPICS[topic].into()).collect();
        (topics, Event::new().data(self.number.to_string()))
    }

    fn publish(&mut self, index: usize) {
        if self.nodes[index].is_asleep(self.now) {
            return;
        }
        for _ in 0..self.rng.usize(1..4) {
            let (topics, event) = self.event();
            let (number, now) = (self.number, self.now);
            self.nodes[index].submit(What::Event { topics, event }, number, now);
        }
    }

    /// Another program writes to the stream.
    fn foreign(&mut self) {
        if self.store.is_down {
            return;
        }
        let (topics, event) = self.event();
        let mut fields = fields(&Record { what: What::Event { topics, event }, nonce: None });
        match self.rng.u8(..6) {
            0 => fields.retain(|(name, _)| name != b"topic"),
            1 => fields.push((b"event".to_vec(), b"two\nlines".to_vec())),
            2 => fields.push((b"comment".to_vec(), vec![0xff])),
            3 => fields.push((b"who".to_vec(), vec![0xff])),
            _ => {}
        }
        self.count("entries of others", 1);
        let number = self.number;
        let position = self.store.add(At::Any, fields);
        self.say(|| format!("{number} is written by others at {position:?}"));
    }

    fn finish(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if !self.has_finished && !node.is_asleep(self.now) {
            self.has_finished = node.submit(What::Finish(TOPICS[FINITE].into()), 0, self.now);
            self.count("topics finished", 1);
        }
    }

    fn client(&mut self, index: usize) {
        if self.clients[index].is_over {
            return;
        }
        if self.clients[index].is_connected() {
            let count = if self.rng.bool() { 10_000_000 } else { self.rng.usize(..200) };
            self.clients[index].read(count, &mut self.store, &self.nodes);
        } else {
            let to = self.rng.usize(..self.nodes.len());
            let node = &mut self.nodes[to];
            if !node.is_asleep(self.now) {
                let process = node.process;
                self.clients[index].connect(node, &mut self.rng);
                let last = self.clients[index].last;
                self.say(|| format!("client {index} connects to {process} after {last:?}"));
                self.count("connections", 1);
                self.count("connections with an id", u64::from(last.is_some()));
            }
        }
    }

    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.store.unix_ms += u64::try_from(time.as_millis()).unwrap();
        for node in &mut self.nodes {
            if !node.is_asleep(self.now) {
                node.pass(self.now);
            }
        }
    }

    fn fault(&mut self, index: usize) {
        let name = match self.rng.u8(..12) {
            0 => {
                self.lose(usize::MAX);
                "keys deleted"
            }
            1 | 2 => {
                let count = self.rng.usize(1..10);
                self.lose(count);
                "tails lost"
            }
            3 if self.store.may_trim => {
                let all = self.store.len();
                let count = if self.rng.bool() { self.rng.usize(..=all) } else { all };
                self.store.trim(count);
                self.say(|| format!("{count} are trimmed"));
                "times trimmed"
            }
            4 | 5 => {
                self.store.is_down = !self.store.is_down;
                let is_down = self.store.is_down;
                self.say(|| format!("Redis is down: {is_down}"));
                "outages begun or ended"
            }
            6 => {
                let node = self.start();
                let before = std::mem::replace(&mut self.nodes[index], node);
                for client in self.clients.iter_mut().filter(|client| client.process == before.process) {
                    client.cut();
                }
                self.say(|| format!("process {} has ended", before.process));
                "restarts"
            }
            7 | 8 => {
                let time = Duration::from_millis(self.rng.u64(..20_000));
                self.nodes[index].asleep_until = self.now + time;
                let process = self.nodes[index].process;
                self.say(|| format!("process {process} sleeps for {time:?}"));
                "pauses"
            }
            9 if self.skew > 0 => {
                self.nodes[index].setting.skew = self.rng.i64(-self.skew..self.skew);
                "clocks of nodes set"
            }
            10 if self.skew > 0 => {
                self.store.unix_ms =
                    self.store.unix_ms.saturating_add_signed(self.rng.i64(-self.skew..self.skew));
                "clocks of Redis set"
            }
            11 if self.can_be_full => {
                self.weather.is_full = !self.weather.is_full;
                "refusals begun or ended"
            }
            _ => return,
        };
        self.count(name, 1);
    }

    /// Redis loses the newest entries.
    fn lose(&mut self, count: usize) {
        let nodes = &self.nodes;
        self.store.lose(count, |lost| {
            let knows = |node: &&Node| lost.iter().any(|it| node.known.contains(&it.entry.position));
            nodes.iter().filter(knows).map(|node| node.process).collect()
        });
        let (losses, newest) = (&self.store.losses, self.store.newest());
        let witnesses = &losses[losses.len() - 1].witnesses;
        self.say(|| format!("Redis has lost the entries after {newest}, of which {witnesses:?} know"));
        self.store.is_down = false;
    }

    /// Stops the faults. Then every client soon has every event, and new events arrive.
    fn rest(&mut self) {
        self.say(|| "no more faults".into());
        self.store.may_trim = false;
        self.store.is_down = false;
        let weather = std::mem::replace(&mut self.weather, Weather::CALM);
        for node in &mut self.nodes {
            node.asleep_until = Duration::ZERO;
            while !node.strays.is_empty() {
                node.stray(&mut self.store);
            }
        }
        self.rounds();
        let mut last = Vec::new();
        for _ in 0..3 {
            let index = self.rng.usize(..self.nodes.len());
            let topics = TOPICS[..FINITE].iter().map(|topic| (*topic).to_owned()).collect();
            self.number += 1;
            let (event, number, now) = (Event::new().data(self.number.to_string()), self.number, self.now);
            assert!(self.nodes[index].submit(What::Event { topics, event }, number, now), "nothing waits");
            last.push(number);
        }
        self.rounds();
        let lives: HashSet<_> = self.nodes.iter().map(|node| node.process).collect();
        let mut excused = 0;
        for client in &self.clients {
            let reads = client.topics & ((1 << FINITE) - 1) != 0;
            for number in last.iter().filter(|_| reads) {
                assert!(client.has.contains_key(number), "client {} does not get {number}", client.number);
            }
            if reads || self.is_healthy {
                excused += client.check(&self.store, &lives).unwrap_or_else(|problem| panic!("{problem}"));
            }
        }
        self.check_nodes();
        let told = self.clients.iter().map(|client| client.gaps.len() as u64).sum();
        self.count("gaps received", told);
        self.count("losses without witnesses", excused);
        let now = self.store.tick();
        self.clients.iter_mut().for_each(|client| client.begins_anew(now));
        self.weather = weather;
    }

    fn rounds(&mut self) {
        for _ in 0..ROUNDS {
            for index in 0..self.nodes.len() {
                for _ in 0..3 {
                    self.read(index);
                    self.write(index);
                }
                self.hear(index);
            }
            for index in 0..self.clients.len() {
                self.client(index);
            }
            self.pass(ROUND);
        }
    }

    /// All nodes have published the same events, each from its own start.
    fn check_nodes(&self) {
        if !self.is_healthy {
            return;
        }
        for client in &self.clients {
            assert!(client.gaps.is_empty(), "client {} got a gap", client.number);
            assert_eq!(client.came_twice, 0, "client {} gets something twice", client.number);
        }
        let is_event = |it: &&Written| it.is_new && matches!(it.kind, Kind::Event(..));
        let all: Vec<_> = self.store.all.iter().filter(is_event).map(|it| it.entry.position).collect();
        for node in &self.nodes {
            let published: Vec<_> = node.published.iter().map(|(position, _)| *position).collect();
            assert_eq!(published, all, "process {}", node.process);
        }
    }
}
