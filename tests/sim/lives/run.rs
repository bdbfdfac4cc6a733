//! One run: servers that restart, their application, and clients over their whole lives.

use crate::lives::client::Client;
use crate::lives::node::{Node, Standstill};
use crate::lives::scenario::Scenario;
use crate::lives::story::{COUNTED, Counts, Story};
use fastrand::Rng;
use mio_sse::{Error, Ids};
use std::cell::RefCell;
use std::fmt;
use std::rc::Rc;
use std::time::Duration;

/// Average number of steps between two rests.
const STEPS_TO_REST: u64 = 600;

/// Rounds of 20 ms within which everything arrives when there are no more faults.
const ROUNDS_TO_REST: u32 = 3_000;

/// Turns of each round, in which all streams are served even one at a time.
const TURNS_TO_ROUND: u32 = 20;

/// Counters of the cases that a run has exercised.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Summary {
    pub(crate) hash: u64,
    counts: Counts,
}

impl Summary {
    pub(crate) fn add(&mut self, other: &Self) {
        for (sum, more) in self.counts.0.iter_mut().zip(other.counts.0) {
            *sum += more;
        }
    }

    /// Checks that every case was exercised.
    pub(crate) fn check_coverage(&self) {
        for (name, count) in COUNTED.iter().zip(self.counts.0) {
            assert!(count > 0, "there were no {name}");
        }
    }
}

impl fmt::Display for Summary {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        COUNTED.iter().zip(self.counts.0).try_for_each(|(name, count)| write!(f, "\n{count:>10} {name}"))
    }
}

/// Runs one seed. Panics on any error; `tail` returns the events before that.
pub(crate) fn run(
    seed: u64,
    steps: u64,
    verbose: bool,
    tail: &RefCell<Option<Rc<RefCell<Story>>>>,
) -> Summary {
    let mut rng = Rng::with_seed(seed);
    let scenario = Scenario::new(&mut rng);
    let story = Rc::new(RefCell::new(Story::new(scenario, rng.u64(..), verbose)));
    *tail.borrow_mut() = Some(story.clone());
    if seed.is_multiple_of(2) {
        Lives::<true>::new(story, rng).run(steps)
    } else {
        Lives::<false>::new(story, rng).run(steps)
    }
}

struct Lives<const SHORT: bool> {
    story: Rc<RefCell<Story>>,
    scenario: Scenario,
    rng: Rng,
    now: Duration,
    nodes: Vec<Node<SHORT>>,
    clients: Vec<Client>,
    summary: Summary,
}

impl<const SHORT: bool> Lives<SHORT> {
    fn new(story: Rc<RefCell<Story>>, rng: Rng) -> Self {
        let scenario = story.borrow().scenario.clone();
        let (now, summary) = (Duration::ZERO, Summary::default());
        let nodes = (0..scenario.nodes).map(|_| Node::start(&story, now)).collect();
        let mut lives = Self { story, scenario, rng, now, nodes, clients: Vec::new(), summary };
        for number in 0..lives.scenario.clients {
            let client = lives.newcomer(number);
            lives.clients.push(client);
        }
        lives
    }

    fn newcomer(&mut self, number: u32) -> Client {
        let topics = self.rng.u8(1..1 << self.scenario.topics);
        Client::new(number, topics, self.rng.u8(..4) == 0, self.rng.u8(..4) == 0)
    }

    fn run(mut self, steps: u64) -> Summary {
        for step in 0..steps {
            self.story.borrow_mut().step = step;
            if self.rng.u64(..STEPS_TO_REST) == 0 {
                self.rest();
            }
            self.step();
            self.count("steps");
        }
        self.rest();
        self.come_back();
        for mut node in self.nodes {
            node.stop();
            node.comes_to_its_end();
            self.summary.hash ^= node.hash();
        }
        self.summary.counts = self.story.borrow().counts;
        self.summary
    }

    fn count(&mut self, what: &str) {
        self.story.borrow_mut().count(what);
    }

    fn step(&mut self) {
        if self.scenario.is_sharded() && self.rng.u8(..8) == 0 {
            self.go_to_those_behind();
        }
        let node = self.rng.usize(..self.nodes.len());
        let client = self.rng.usize(..self.clients.len());
        match self.rng.u8(..128) {
            0..40 => self.nodes[node].turn_any(&mut self.rng),
            40..55 => {
                let time = Duration::from_micros(self.rng.u64(..self.scenario.pause * 1_000));
                self.pass(time);
            }
            55..70 => self.publish(),
            70..76 => self.feed(node),
            76..80 => self.bring(),
            80..122 => self.act(client),
            122..125 => {
                self.count("cuts");
                self.clients[client].cut(&mut self.story.borrow_mut());
            }
            125 if self.rng.bool() => self.nodes[node].set_clock(),
            125 => self.nodes[node].configure(),
            126 => self.replace(client),
            _ => match self.rng.u8(..8) {
                0 => {
                    if self.rng.bool() {
                        self.nodes[node].stop();
                        self.nodes[node].comes_to_its_end();
                    }
                    self.restart(node);
                }
                1 if !self.nodes[node].is_draining => self.nodes[node].drain(),
                _ => {}
            },
        }
        if self.nodes[node].is_stopped() {
            self.restart(node);
        }
    }

    /// Advances the time everywhere.
    fn pass(&mut self, time: Duration) {
        self.now += time;
        self.nodes.iter().for_each(|node| node.set_time(self.now));
    }

    fn publish(&mut self) {
        for _ in 0..self.rng.u8(1..6) {
            self.count("events");
            let any = self.rng.usize(..self.nodes.len());
            let process = self.nodes[any].process;
            self.story.borrow_mut().write(Some(process));
        }
        // Each process reads the log in its own time.
        if self.scenario.ids != Ids::Ordered {
            for node in 0..self.nodes.len() {
                // The rest is for handlers, or for later.
                let leaves_some = self.scenario.is_sharded() && self.rng.bool();
                let count = if leaves_some { self.rng.u32(..4) } else { u32::MAX };
                self.nodes[node].publish(count);
            }
        }
    }

    fn feed(&mut self, node: usize) {
        let count = if self.rng.bool() { self.rng.u32(..20) } else { u32::MAX };
        self.nodes[node].publish(count);
    }

    /// Other threads deliver missed events, until their streams have closed.
    fn bring(&mut self) {
        self.story.borrow_mut().bringers.retain_mut(|bringer| {
            loop {
                if bringer.fails_at.is_some_and(|left| left >= bringer.events.len()) {
                    return false;
                }
                let Some(event) = bringer.events.front() else {
                    bringer.sender.clone().complete();
                    return false;
                };
                match bringer.sender.try_send(event.clone()) {
                    Ok(()) => drop(bringer.events.pop_front()),
                    Err(error) => return error == Error::Full,
                }
            }
        });
    }

    /// A client reads, or reconnects.
    fn act(&mut self, client: usize) {
        if self.clients[client].wire.is_some() {
            if self.clients[client].is_slow && self.rng.u8(..8) > 0 {
                return;
            }
            let count = if self.rng.bool() { usize::MAX } else { self.rng.usize(..400) };
            self.clients[client].read(count, &mut self.story.borrow_mut());
        } else if !self.clients[client].is_over && self.rng.u8(..4) == 0 {
            self.connect(client, self.scenario.capacity);
        }
    }

    /// A client that has read everything moves to a loop that is behind.
    fn go_to_those_behind(&mut self) {
        let (client, nodes) = (self.rng.usize(..self.clients.len()), self.nodes.iter_mut().enumerate());
        let Some((node, at)) = nodes.filter_map(|(node, it)| Some((node, it.loop_behind()?))).next() else {
            return;
        };
        if self.clients[client].reads_at(&self.nodes[node].worlds[at]) {
            return;
        }
        self.clients[client].read(usize::MAX, &mut self.story.borrow_mut());
        self.clients[client].cut(&mut self.story.borrow_mut());
        if !self.clients[client].is_over {
            self.connect_to((node, at), client, self.scenario.capacity);
        }
    }

    fn connect(&mut self, client: usize, capacity: usize) {
        // Most often to the process where it was before.
        let usual = client % self.nodes.len();
        let node = if self.rng.u8(..3) == 0 { self.rng.usize(..self.nodes.len()) } else { usual };
        let at = self.rng.usize(..self.scenario.loops);
        self.connect_to((node, at), client, capacity);
    }

    fn connect_to(&mut self, (node, at): (usize, usize), client: usize, capacity: usize) {
        self.count("connections");
        let Node { worlds, process, .. } = &self.nodes[node];
        self.clients[client].connect((&worlds[at], *process), capacity, &mut self.story.borrow_mut());
    }

    /// A new client replaces an old one.
    fn replace(&mut self, client: usize) {
        if self.clients[client].is_over || self.rng.u8(..4) == 0 {
            self.clients[client].cut(&mut self.story.borrow_mut());
            let number = self.clients.iter().map(|client| client.number).max().unwrap_or_default() + 1;
            self.clients[client] = self.newcomer(number);
        }
    }

    /// A process ends, and another one replaces it.
    fn restart(&mut self, node: usize) {
        self.count("processes");
        let fresh = Node::start(&self.story, self.now);
        let old = std::mem::replace(&mut self.nodes[node], fresh);
        self.summary.hash ^= old.hash();
        old.crash();
    }

    /// There are no more faults, and all clients read: everything arrives, or is covered by a gap.
    fn rest(&mut self) {
        self.count("rests");
        self.story.borrow_mut().note(|| "a rest".to_owned());
        self.story.borrow_mut().settles = true;
        self.clients.iter_mut().for_each(|client| client.has_finished = false);
        for node in 0..self.nodes.len() {
            if self.nodes[node].is_draining {
                self.nodes[node].comes_to_its_end();
                self.restart(node);
            }
        }
        self.nodes.iter().for_each(Node::calm);
        let (mut rounds, mut came_to_rest) = (Standstill::default(), false);
        while !came_to_rest && rounds.count < ROUNDS_TO_REST {
            self.round();
            came_to_rest = self.is_at_rest();
            // Near the limit of its memory a loop takes few messages at a time.
            rounds.add(self.nodes.iter().map(Node::waiting).sum());
        }
        let story = self.story.borrow();
        for client in &self.clients {
            let told = client.life.check(&story);
            assert!(told.is_ok(), "client {} at rest: {told:?}", client.number);
        }
        let restless =
            self.clients.iter().enumerate().find(|(at, it)| !self.is_done(*at) && !it.is_at_rest(&story));
        let restless = restless.map(|(_, client)| client.number);
        assert!(came_to_rest, "client {restless:?} waits for an end that does not come, or for a stream");
        drop(story);
        self.nodes.iter_mut().for_each(|node| {
            node.check_same();
            node.check_sleeps();
            node.set_faults(self.scenario.faults);
        });
        self.story.borrow_mut().settles = false;
    }

    /// All processes and clients do their pending work.
    fn round(&mut self) {
        for _ in 0..TURNS_TO_ROUND {
            self.bring();
            for node in &mut self.nodes {
                node.publish(u32::MAX);
                node.turn_those_awake();
            }
        }
        for client in 0..self.clients.len() {
            if self.clients[client].wire.is_none() && !self.is_done(client) {
                self.connect(client, 1 << 20);
            }
            self.clients[client].make_room();
            self.clients[client].read(usize::MAX, &mut self.story.borrow_mut());
        }
        if self.rng.bool() {
            self.pass(Duration::from_millis(20));
        }
    }

    /// Whether a client expects nothing more.
    fn is_done(&self, client: usize) -> bool {
        let client = &self.clients[client];
        client.is_over || client.has_finished && client.life.check(&self.story.borrow()).is_ok()
    }

    fn is_at_rest(&self) -> bool {
        let story = self.story.borrow();
        let mut clients = self.clients.iter().enumerate();
        story.together.is_at_rest()
            && self.nodes.iter().all(Node::is_up_to_date)
            && clients.all(|(at, client)| self.is_done(at) || client.is_at_rest(&story))
    }

    /// Every client is cut while more is published, and resumes once more.
    fn come_back(&mut self) {
        for round in 0..3 {
            self.clients.iter_mut().for_each(|client| client.cut(&mut self.story.borrow_mut()));
            (0..round).for_each(|_| self.publish());
            self.rest();
        }
    }
}
