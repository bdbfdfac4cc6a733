//! One run: a server on a simulated network, its clients, its application, and the scheduler.

use crate::app::{App, Shared, by_inbox, configure, drain, draw, perform, sync, with};
use crate::client::{CHARACTERS, Character, Client};
use crate::counts::Counts;
use crate::kept::{Kind, Topic};
use crate::late::reply_to_all;
use crate::memory;
use crate::model::{Answers, Model, Obituaries, SURPLUS_TIMEOUT, Stream, TOPICS, Watcher};
use crate::net::{Connection, SimNet, Struck, World};
use crate::resume::Page;
use crate::scenario::{Action, End, Scenario};
use crate::socket::{ServerNet, Socket, prepare, server_net};
use crate::trace::Note;
use fastrand::Rng;
use mio_sse::net::Net;
use mio_sse::{CloseReason, Config, Publisher, Refusal, Server, Work};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Turns within which everything comes to rest if nothing new happens.
const TURNS_TO_REST: u32 = 50_000;

/// Most turns without waiting and without an event between the server and the world: with more, the loop
/// spins. The longest case is a topic's wave with one subscriber a turn, none of which needs anything.
const IDLE_TURNS_MAX: u32 = 2_000;

/// Longest rest of the loop before it takes more from its inbox.
const TIME_TO_READ: Duration = Duration::from_millis(100);

/// Time within which a server retries what failed for want of resources.
const RETRY: Duration = Duration::from_millis(150);

/// Room for any amount, in bytes.
const PLENTY: usize = 1 << 24;

/// Most bytes that a server without connections holds: spare blocks, and buffers of at most 256 KiB.
const KEPT_BYTES_MAX: isize = 3 << 20;

/// Average number of steps from one settling to the next.
const STEPS_TO_SETTLE: u64 = 700;

/// Counters of the cases that a run has exercised.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Summary {
    pub(crate) hash: u64,
    pub(crate) steps: u64,
    pub(crate) turns: u64,
    pub(crate) connections: u64,
    pub(crate) opened: u64,
    pub(crate) closed: [u64; CloseReason::ALL.len()],
    pub(crate) rejected: u64,
    pub(crate) connections_closed: [u64; CloseReason::ALL.len()],
    pub(crate) refused: [u64; Refusal::ALL.len()],
    pub(crate) panics: u64,
    pub(crate) heartbeats: u64,
    pub(crate) delivered: u64,
    pub(crate) published: u64,
    pub(crate) counts: Counts,
    pub(crate) struck: Struck,
}

/// Runs one seed. Panics on any error; `world` can be inspected then.
pub(crate) fn run(seed: u64, steps: u64, world: &Rc<RefCell<World>>) -> Summary {
    if seed.is_multiple_of(2) {
        Sim::<true>::new(seed, world).run(steps)
    } else {
        Sim::<false>::new(seed, world).run(steps)
    }
}

struct Sim<const SHORT: bool> {
    server: Server<App, ServerNet<SHORT>>,
    publisher: Publisher,
    shared: Shared,
    world: Rc<RefCell<World>>,
    rng: Rng,
    scenario: Scenario,
    clients: Vec<Client>,
    /// Connections of clients that have vanished.
    silent: Vec<u32>,
    /// Memory of clients that have left, with which others may resume.
    pages: Vec<Page>,
    server_is_to_stop: bool,
    idle_turns: u32,
    /// Time of the last long jump of the clock, in which the loop was held up.
    jumped_at: Duration,
    /// Bytes held before the server existed.
    held: isize,
}

impl<const SHORT: bool> Sim<SHORT> {
    fn new(seed: u64, world: &Rc<RefCell<World>>) -> Self {
        prepare();
        let held = memory::held();
        let mut rng = Rng::with_seed(seed);
        let scenario = Scenario::new(&mut rng);
        let mut fresh = World::new(rng.u64(..));
        fresh.now = scenario.begin;
        fresh.faults = scenario.faults;
        fresh.descriptors = scenario.descriptors;
        fresh.connections_max = scenario.config.connections_max;
        fresh.connections_per_origin_max = scenario.config.connections_per_address_max;
        *world.borrow_mut() = fresh;
        let mut model = Model::new(rng.u64(..), scenario.config.clone());
        (model.panic_rate, model.late_rate) = (scenario.panics, scenario.late);
        (model.heavy, model.secure) = (scenario.heavy, scenario.secure);
        (model.own_ids, model.id_styles) = (scenario.own_ids, scenario.id_styles);
        model.topics = scenario.kinds.map(Topic::new).into();
        model.configures &= scenario.kinds != [Kind::default(); TOPICS.len()];
        let obituaries: Arc<Mutex<Obituaries>> = model.obituaries.clone();
        let shared: Shared = Arc::new(Mutex::new(model));
        let app = App { shared: shared.clone(), world: world.clone(), stopping: false };
        let net = server_net(SimNet(world.clone()), scenario.secure);
        let mut server = Server::with_net(net, app, scenario.config.clone()).unwrap();
        server.observe(Watcher(obituaries));
        let publisher = server.publisher();
        let mut sim = Self {
            server,
            publisher,
            shared,
            world: world.clone(),
            rng,
            scenario,
            clients: Vec::new(),
            silent: Vec::new(),
            pages: Vec::new(),
            server_is_to_stop: false,
            idle_turns: 0,
            jumped_at: Duration::ZERO,
            held,
        };
        for (name, kind) in TOPICS.iter().zip(sim.scenario.kinds) {
            if kind.config() != sim.scenario.config.topic {
                sim.server.context().configure(name, kind.config()).unwrap();
            }
        }
        // After the first turn a publisher on this thread does not block.
        sim.turn(Some(Duration::ZERO));
        sim
    }

    fn run(mut self, steps: u64) -> Summary {
        let mut settle_at = self.rng.u64(..STEPS_TO_SETTLE * 2);
        for step in 0..steps {
            let action =
                if step == settle_at { Action::Settle } else { draw(&mut self.rng, &self.scenario.weights) };
            if action == Action::Settle {
                settle_at = step + 1 + self.rng.u64(..STEPS_TO_SETTLE * 2);
            }
            self.world.borrow_mut().trace.step = step;
            self.act(action);
            self.check_step();
        }
        self.settle();
        match self.scenario.end {
            End::Stops => self.stop(),
            End::Leaves => self.leave_all(),
            End::Drains => self.drain(),
        }
        let stats = self.server.stats();
        let world = self.world.borrow();
        let summary = with(&self.shared, |model| Summary {
            hash: world.trace.hash(),
            steps,
            turns: stats.turns,
            connections: stats.accepted,
            opened: model.opened,
            closed: model.closed,
            rejected: stats.rejected,
            connections_closed: std::array::from_fn(|at| stats.connections_closed(CloseReason::ALL[at])),
            refused: std::array::from_fn(|at| stats.refused(Refusal::ALL[at])),
            panics: stats.panics,
            heartbeats: stats.heartbeats,
            delivered: stats.events_delivered,
            published: stats.events_published,
            counts: model.counts,
            struck: world.struck,
        });
        drop(world);
        self.check_memory();
        summary
    }

    /// Checks that the server holds little when all have left, whatever happened before.
    fn check_memory(mut self) {
        self.clients = Vec::new();
        self.silent = Vec::new();
        self.world.borrow_mut().forget();
        with(&self.shared, |model| *model = Model::new(0, Config::default()));
        let held = memory::held() - self.held;
        // A stopped server keeps histories, in blocks that have doubled as they grew.
        let kept = isize::try_from(self.server.stats().log_bytes).unwrap();
        assert!(held < KEPT_BYTES_MAX + 2 * kept, "{held} bytes are held without connections");
    }

    fn act(&mut self, action: Action) {
        if self.server.is_stopped() {
            return;
        }
        match action {
            Action::Turn => self.turn(Some(Duration::ZERO)),
            Action::Wait => {
                let patience = Duration::from_micros(self.rng.u64(..200_000));
                self.world.borrow_mut().patience = patience;
                let limit = self.rng.bool().then(|| Duration::from_millis(self.rng.u64(..500)));
                self.turn(limit);
            }
            Action::Jump => {
                let longest =
                    if self.rng.u8(..64) == 0 { Duration::from_secs(400_000) } else { self.scenario.jump };
                let time = Duration::from_micros(self.rng.u64(..u64::try_from(longest.as_micros()).unwrap()));
                let mut world = self.world.borrow_mut();
                world.now += time;
                if longest > self.scenario.jump {
                    self.jumped_at = world.now;
                }
            }
            Action::Clock => {
                let step = i64::try_from(self.rng.u64(1..20_000)).unwrap();
                let mut world = self.world.borrow_mut();
                if self.rng.bool() {
                    with(&self.shared, |model| model.counts.steps_back += 1);
                    world.unix_offset -= step;
                } else {
                    with(&self.shared, |model| model.counts.steps_forward += 1);
                    world.unix_offset += step;
                }
            }
            Action::Connect => self.connect(),
            Action::Perform => {
                self.note("perform", 0);
                perform(&self.shared, None, &mut self.server.context());
            }
            Action::Inbox => {
                self.note("inbox", 0);
                by_inbox(&self.shared, &self.publisher);
            }
            Action::Settle => self.settle(),
            Action::Ask | Action::Send | Action::Read | Action::Leave if self.clients.is_empty() => {}
            Action::Ask => {
                let any = self.rng.usize(..self.clients.len());
                self.ask(any);
            }
            Action::Send => {
                let any = self.rng.usize(..self.clients.len());
                let client = &mut self.clients[any];
                with(&self.shared, |model| client.send(false, &mut self.world.borrow_mut(), model));
            }
            Action::Read => {
                // Several, for there are many: reading is frequent.
                for _ in 0..self.rng.usize(1..=4) {
                    if !self.clients.is_empty() {
                        let any = self.rng.usize(..self.clients.len());
                        self.read(any);
                    }
                }
            }
            Action::Leave => {
                let any = self.rng.usize(..self.clients.len());
                self.leave(any);
            }
        }
    }

    fn note(&self, what: &'static str, whom: u32) {
        self.world.borrow_mut().trace.note(Note::Act(what, whom));
    }

    /// One turn, and the checks after it.
    fn turn(&mut self, timeout: Option<Duration>) {
        let before = self.world.borrow().activity;
        let (now, waits) = (self.world.borrow().now, self.server.next_timeout() != Some(Duration::ZERO));
        if self.server.is_stopped() {
            return;
        }
        self.server.turn(timeout).unwrap();
        let is_stopped = self.server.is_stopped();
        with(&self.shared, |model| {
            sync(model, &self.server.context());
            model.stopped = is_stopped;
        });
        let stats = self.server.stats();
        let closed: u64 = CloseReason::ALL.iter().map(|reason| stats.connections_closed(*reason)).sum();
        assert_eq!(
            stats.accepted,
            stats.connections + closed,
            "each accepted connection is open or was closed"
        );
        let notes = with(&self.shared, |model| std::mem::take(&mut model.notes));
        notes.into_iter().for_each(|note| self.world.borrow_mut().trace.note(note));
        let world = self.world.borrow();
        let idle = world.activity == before && world.now == now && !waits;
        self.idle_turns = if idle { self.idle_turns + 1 } else { 0 };
        assert!(self.idle_turns < IDLE_TURNS_MAX, "the loop spins");
        assert_eq!(stats.streams_opened, stats.streams + stats.streams_closed());
        // Streams that the last callbacks of a turn close are closed in the next.
        assert!(stats.connections <= world.open as u64, "every connection that is open, and no other");
        assert_eq!(stats.accepted, world.accepted, "every connection that was accepted");
        // Bytes that TLS has not sent yet count as written.
        let written = stats.bytes_written <= world.written || self.scenario.secure;
        assert!(written, "no more than was written");
        assert!(!world.misses_reserve(), "the reserve is taken back");
        with(&self.shared, |model| {
            model.turn += 1;
            model.check_dropped();
            model.check_late(&world, &stats);
            assert_eq!(stats.panics, model.panics, "nothing but what is to panic does");
            assert_eq!(stats.streams_opened, model.opened);
            for &refusal in Refusal::ALL {
                let expected = world.refused[refusal as usize] + model.refused[refusal as usize];
                assert_eq!(stats.refused(refusal), expected, "{refusal:?}");
            }
            let refused = stats.connections_closed(CloseReason::Refused);
            assert!(refused >= world.turned_away, "who is closed at once was refused");
            assert!(stats.inbox <= model.waiting, "nothing comes into the inbox by itself");
            assert!(
                stats.inbox >= model.inbox.len() as u64 || is_stopped,
                "what was put in has not been lost"
            );
            model.waiting = stats.inbox;
            {
                let observed = model.obituaries.lock().unwrap();
                assert_eq!(observed.opened, stats.streams_opened, "observers saw it");
                assert_eq!(observed.closed, stats.streams_closed(), "observers saw it");
            }
            check_work(&stats.work_max, &model.config);
            match &model.drain {
                None => assert!(!is_stopped || self.server_is_to_stop, "nobody has asked for an end"),
                Some(drain) => {
                    let is_over = world.now >= drain.end() || drain.again;
                    assert!(is_stopped || !is_over, "a drain has an end: {drain:?}");
                    let early = is_stopped && !is_over;
                    assert!(!early || world.open == 0, "a drain takes its time: {drain:?}");
                    if world.now >= drain.last_moment() && model.turn > drain.turn + 2 {
                        let late = model.live.iter().map(|index| &model.streams[*index as usize]);
                        let late =
                            late.filter(|stream| stream.opened && !stream.finishes).collect::<Vec<_>>();
                        assert!(late.is_empty(), "every stream has its moment: {late:?}");
                    }
                }
            }
            // The last of several writes may fail, and then the bytes of the others are not counted.
            let delivered = model.counts.received <= stats.events_delivered;
            let once = <ServerNet<SHORT> as Net>::SHORT_MEANS_DRAINED;
            assert!(delivered || !once, "what has arrived was delivered");
            let told: u64 = model.closed.iter().sum();
            assert!(told <= stats.streams_closed(), "closed are those that have ended");
            // Closes that the last callbacks of a turn cause are reported in the next.
            let overdue = model.lost.iter().find(|(_, turn)| *turn + 2 < model.turn);
            assert_eq!(overdue, None, "every close is reported");
        });
    }

    /// The checks after each step.
    fn check_step(&mut self) {
        if self.server.is_stopped() {
            return;
        }
        let put_in = with(&self.shared, |model| model.waiting);
        assert_eq!(self.server.stats().inbox, put_in, "what was put in is there");
        if self.server.next_timeout() != Some(Duration::ZERO) {
            let late_by = self.period() + Duration::from_millis(2);
            with(&self.shared, |model| model.check_late_in_time(self.world.borrow().now, late_by));
        }
        // It may rest for a while, for streams that still read older events.
        let waits = self.server.next_timeout().is_none_or(|timeout| timeout > TIME_TO_READ);
        if waits && !self.world.borrow().has_news() {
            with(&self.shared, |model| {
                assert!(model.inbox.is_empty(), "nobody wakes the loop for its inbox");
                assert!(!model.has_replies_due(), "nobody wakes the loop for late replies");
            });
        }
    }

    // Clients.

    fn connect(&mut self) {
        if self.clients.len() >= self.scenario.clients {
            return;
        }
        let character = draw(&mut self.rng, &CHARACTERS);
        let capacity = match character {
            Character::Good | Character::Pipeliner => PLENTY,
            _ => self.rng.usize(20..self.scenario.capacity.max(21)),
        };
        let connection = self.world.borrow_mut().connect(capacity);
        with(&self.shared, |model| model.connections.push(Answers::default()));
        let page = match self.pages.len() {
            0 => Page::default(),
            _ if self.rng.u8(..4) == 0 => Page::default(),
            pages => self.pages.swap_remove(self.rng.usize(..pages)),
        };
        let socket = Socket::new(connection, self.scenario.secure);
        with(&self.shared, |model| model.counts.secure += u64::from(socket.is_secure()));
        self.clients.push(Client::new(socket, character, capacity, page));
        self.note("connect", connection);
        if self.rng.u8(..8) > 0 {
            self.ask(self.clients.len() - 1);
        }
    }

    fn ask(&mut self, at: usize) {
        let client = &mut self.clients[at];
        with(&self.shared, |model| {
            client.ask(&mut self.rng, model);
            if self.rng.u8(..4) > 0 {
                client.send(false, &mut self.world.borrow_mut(), model);
            }
        });
    }

    fn read(&mut self, at: usize) {
        let count = match self.clients[at].character {
            Character::Stalled if self.rng.u8(..32) > 0 => 0,
            Character::Silent => 0,
            Character::Slow => self.rng.usize(..self.scenario.capacity),
            _ => usize::MAX,
        };
        if count > 0 {
            self.read_up_to(count, at);
        }
    }

    /// Returns whether there was anything to read. A client that expects nothing more is removed then.
    fn read_up_to(&mut self, count: usize, at: usize) -> bool {
        let client = &mut self.clients[at];
        let connection = client.connection;
        let read = with(&self.shared, |model| {
            let mut world = self.world.borrow_mut();
            let read = client.read(count, &mut world, model);
            if world.is_at_end(connection) {
                let may_be_cut =
                    model.may_be_cut(connection, &world.connections[connection as usize], world.now);
                client.check_end(may_be_cut, model);
                (read, true)
            } else {
                (read, false)
            }
        });
        if read.1 {
            self.world.borrow_mut().close(connection);
            self.pages.push(self.clients.swap_remove(at).wire.page);
        }
        read.0
    }

    fn leave(&mut self, at: usize) {
        let connection = self.clients[at].connection;
        let mut world = self.world.borrow_mut();
        world.trace.note(Note::Act("leave", connection));
        match self.rng.u8(..8) {
            0 | 1 => world.reset(connection),
            2 => {
                if !std::mem::replace(&mut self.clients[at].half_closed, true) {
                    with(&self.shared, |model| {
                        model.counts.half_closed += 1;
                        self.clients[at].close(true, &mut self.rng, &mut world, model);
                    });
                }
                return;
            }
            3 => self.silent.push(connection),
            _ => with(&self.shared, |model| {
                self.clients[at].close(false, &mut self.rng, &mut world, model);
            }),
        }
        self.pages.push(self.clients.swap_remove(at).wire.page);
    }

    // Rest.

    /// All faults end and all clients read: every event that a client is entitled to arrives, and the server
    /// waits.
    fn settle(&mut self) {
        self.note("settle", 0);
        let faults = self.world.borrow_mut().calm();
        self.make_room(|_| PLENTY);
        self.come_to_rest();
        // What failed for want of resources is retried after a while.
        self.world.borrow_mut().descriptors = usize::MAX;
        let until = self.world.borrow().now + RETRY;
        while self.world.borrow().now < until {
            let left = until - self.world.borrow().now;
            self.world.borrow_mut().patience = left;
            self.turn(Some(left));
            self.come_to_rest();
        }
        self.check_rest();
        self.make_room(|client| client.capacity);
        let mut world = self.world.borrow_mut();
        world.faults = faults;
        world.descriptors = self.scenario.descriptors;
    }

    /// Gives all clients that read this much room.
    fn make_room(&self, room: impl Fn(&Client) -> usize) {
        let mut world = self.world.borrow_mut();
        for client in self.clients.iter().filter(|client| client.character != Character::Silent) {
            world.connections[client.connection as usize].capacity = room(client);
        }
    }

    fn come_to_rest(&mut self) {
        for _ in 0..TURNS_TO_REST {
            self.turn(Some(Duration::ZERO));
            let mut read = with(&self.shared, |model| reply_to_all(&self.shared, model));
            for at in (0..self.clients.len()).rev() {
                let client = &mut self.clients[at];
                if client.character == Character::Silent {
                    continue;
                }
                with(&self.shared, |model| client.send(true, &mut self.world.borrow_mut(), model));
                read |= self.read_up_to(usize::MAX, at);
            }
            let waits = self.server.next_timeout() != Some(Duration::ZERO);
            if !read && waits && !self.world.borrow().has_news() {
                if with(&self.shared, |model| model.inbox.is_empty() && !model.has_replies_due()) {
                    return;
                }
                self.world.borrow_mut().now += TIME_TO_READ;
            }
        }
        panic!("the loop does not come to rest");
    }

    /// Checks that nothing is on its way.
    fn check_rest(&mut self) {
        with(&self.shared, |model| model.check_tags(&self.server.context()));
        let stats = self.server.stats();
        let world = self.world.borrow();
        assert!(!world.has_backlog(), "every waiting connection is accepted");
        with(&self.shared, |model| {
            assert!(model.inbox.is_empty(), "the inbox is emptied");
            assert_eq!(model.lost, [], "every close is reported");
            assert_eq!(stats.connections, world.open as u64, "every connection that is open, and no other");
            assert_eq!(stats.streams, model.live.len() as u64, "live are those that are not closed");
            assert_eq!(stats.streams_closed(), model.closed.iter().sum::<u64>());
            for &reason in CloseReason::ALL {
                assert_eq!(stats.closed(reason), model.closed[reason as usize], "{reason:?}");
            }
            // A vanished client may hold more, until it is closed.
            let silent = !self.silent.is_empty()
                || self.clients.iter().any(|client| client.character == Character::Silent);
            let (least, most) = model.topics_needed();
            assert!(stats.topics >= least, "topics are those that are read, or keep something: {least}");
            if !silent {
                assert!(stats.topics <= most, "{} topics are there, {most} are needed", stats.topics);
                assert_eq!(stats.streams_behind, 0, "nobody is behind");
                let late = self.period() + RETRY;
                let bound = |topic: &Topic| topic.log_bytes_max(world.now, late);
                let bound: u64 = model.topics.iter().map(bound).sum();
                assert!(stats.log_bytes <= bound, "{} bytes are kept, not {bound}", stats.log_bytes);
            }
            model.check_late_at_rest(&stats);
            model.check_late_in_time(world.now, self.period() + Duration::from_millis(2));
            model.rest_at = world.now;
            for client in &self.clients {
                let connection = &world.connections[client.connection as usize];
                if client.character != Character::Silent {
                    let waits = model.awaiting(client.connection).is_some();
                    let may_stay = self.scenario.config.half_closed && (client.reads_stream() || waits)
                        || waits && model.connections[client.connection as usize].enough;
                    assert!(!connection.reset, "every disconnect is noticed: {client}");
                    assert!(!connection.fin || may_stay, "every disconnect is noticed: {client}");
                    client.check_rest(model);
                    if client.reads_stream() {
                        self.check_silence(connection, world.now);
                    }
                }
            }
            for (number, connection) in world.connections.iter().enumerate().filter(|(_, it)| it.is_open()) {
                let stream = model.connections[number].live_stream(model);
                if let Some(stream) = stream {
                    self.check_age(stream, world.now);
                }
                if model.awaiting(u32::try_from(number).unwrap()).is_some() {
                    // Nothing more is read when there is much input after the request.
                    let unread = model.connections[number].enough;
                    let may_stay = self.scenario.config.half_closed || unread;
                    assert!(
                        !connection.reset || unread,
                        "a client that is gone is noticed: {number}, {connection:?}"
                    );
                    assert!(
                        !connection.gone || may_stay,
                        "a client that is gone is noticed: {number}, {connection:?}"
                    );
                    continue;
                }
                self.check_open(connection, stream.map(|stream| stream.since), world.now);
            }
        });
    }

    /// Time until every connection has been visited.
    fn period(&self) -> Duration {
        let config = &self.scenario.config;
        let times = time_outs(config).into_iter().chain([config.late_reply_timeout]);
        let shortest = times.chain(config.heartbeat).min().unwrap_or_default();
        let age = config.max_age.map_or(shortest, |age| age / 16);
        (shortest.min(age) / 4).clamp(Duration::from_millis(1), Duration::from_secs(1))
    }

    /// Checks that a stream with room is not silent for too long.
    fn check_silence(&self, connection: &Connection, now: Duration) {
        if let Some(heartbeat) = self.scenario.config.heartbeat.filter(|_| self.period() < RETRY) {
            // A stream without room is left alone for a while.
            let refused = connection.held_up_at.unwrap_or_default();
            let silence = now.saturating_sub(connection.written_at.max(refused));
            assert!(
                silence <= heartbeat + Duration::from_millis(2),
                "a heartbeat is missing: {connection:?}"
            );
        }
    }

    /// Checks that no stream grows too old.
    fn check_age(&self, stream: &Stream, now: Duration) {
        if stream.opened
            && let Some(age) = stream.own_age.or(self.scenario.config.max_age)
        {
            let late = self.period() + Duration::from_millis(2);
            assert!(now.saturating_sub(stream.since) <= age + late, "a stream is too old: {stream:?}");
        }
    }

    /// Checks that an open connection has not exceeded its time. It has had a stream since `stream`, or none.
    fn check_open(&self, connection: &Connection, stream: Option<Duration>, now: Duration) {
        let config = &self.scenario.config;
        // If half a connection is enough for a stream, only writes show that its client does not read.
        let may_stay = config.half_closed && stream.is_some();
        assert!(!connection.reset, "a client that is gone is noticed: {connection:?}");
        assert!(!connection.gone || may_stay, "a client that is gone is noticed: {connection:?}");
        let late = self.period() + Duration::from_millis(2);
        if let Some(since) = stream {
            let waits = now.saturating_sub(connection.tried_at.max(since));
            // Behind what TLS keeps, the time runs anew when something else is refused for the first time.
            let times = 1 + u32::from(self.scenario.secure);
            let stalls = connection.is_full() && waits > config.stall_timeout * times + late;
            assert!(!stalls, "a stream that stalls is closed: {connection:?}");
        } else {
            let times = time_outs(config);
            let mut longest = times.into_iter().max().unwrap_or_default();
            if connection.refusal.is_some() {
                longest = SURPLUS_TIMEOUT.max(config.linger).max(config.stall_timeout);
            }
            let mut since = connection.moved_at();
            if self.scenario.secure {
                // If TLS holds bytes back, a later reply waits without an attempt, such as a 408, which the
                // loop may have noticed late.
                longest *= 2;
                since = since.max(self.jumped_at);
            }
            let waits = now.saturating_sub(since);
            assert!(waits <= longest + late, "nobody stays for ever: {connection:?}");
        }
    }

    /// Stops the server in the middle of everything.
    fn stop(&mut self) {
        self.disturb();
        self.server.handler().stopping = true;
        self.server_is_to_stop = true;
        self.server.context().stop();
        self.turn(Some(Duration::ZERO));
        assert!(self.server.is_stopped());
        with(&self.shared, |model| model.quiet = true);
        self.check_over();
    }

    /// Drains the server in the middle of everything, until it has stopped.
    fn drain(&mut self) {
        let callbacks = self.rng.u32(..60);
        with(&self.shared, |model| model.drain_after = Some(callbacks));
        for _ in 0..self.rng.u32(..2_000) {
            let action = draw(&mut self.rng, &self.scenario.weights);
            self.act(action);
            self.check_step();
        }
        if !self.server.is_stopped() && with(&self.shared, |model| model.drain.is_none()) {
            with(&self.shared, |model| {
                model.drain_after = None;
                if model.drain_asked.is_none() {
                    drain(model, &mut self.server.context());
                }
            });
        }
        // The loop finds the end by itself.
        for _ in 0..TURNS_TO_REST {
            self.world.borrow_mut().patience = Duration::from_secs(1000);
            self.turn(None);
            if self.server.is_stopped() {
                break;
            }
        }
        assert!(self.server.is_stopped(), "a drain has an end");
        with(&self.shared, |model| model.quiet = true);
        // A client that has read everything gets a clean end.
        for at in (0..self.clients.len()).rev() {
            let client = &self.clients[at];
            let connection = client.connection;
            if client.character != Character::Silent {
                self.read_up_to(usize::MAX, at);
                let world = self.world.borrow();
                let accepted = world.connections[connection as usize].accepted_at.is_some();
                let closed = world.is_at_end(connection) || !accepted;
                assert!(closed, "a server that has stopped keeps no connection");
            }
        }
        self.check_over();
    }

    /// All clients leave, and nothing is left of them.
    fn leave_all(&mut self) {
        self.disturb();
        with(&self.shared, |model| model.quiet = true);
        while !self.clients.is_empty() {
            self.leave(0);
            // Half-closed is not gone.
            if self.clients.first().is_some_and(|client| client.half_closed) {
                let connection = self.clients.swap_remove(0).connection;
                self.world.borrow_mut().close(connection);
            }
        }
        self.settle();
        // A client that does not read may seem half-closed.
        let count = u32::try_from(self.world.borrow().connections.len()).unwrap();
        for connection in 0..count {
            let is_open = self.world.borrow().connections[connection as usize].is_open();
            if is_open {
                self.world.borrow_mut().reset(connection);
            }
        }
        self.silent = Vec::new();
        self.settle();
        if self.server.stats().late_replies > 0 {
            // A waiting client that has sent much ahead is not read from before its time is over.
            self.world.borrow_mut().now += self.scenario.config.late_reply_timeout;
            self.settle();
        }
        for topic in 0..TOPICS.len() {
            let topic = u8::try_from(topic).unwrap();
            let cx = &mut self.server.context();
            with(&self.shared, |model| configure(model, topic, Kind::default(), cx));
        }
        self.turn(Some(Duration::ZERO));
        self.check_over();
        // With fewer topics than names, some could not be configured.
        if self.scenario.config.topics_max >= TOPICS.len() {
            assert_eq!(self.server.stats().topics, 0, "what keeps nothing is gone");
            assert_eq!(self.server.stats().log_bytes, 0, "what keeps nothing is gone");
        }
        let world = self.world.borrow();
        assert!(world.origins.values().all(|count| *count == 0), "nobody is left");
        with(&self.shared, |model| {
            let timers = model.global_timers.len() as u64;
            assert_eq!(self.server.stats().timers, timers, "timers die with their streams");
        });
    }

    /// Some steps without a rest after them.
    fn disturb(&mut self) {
        for _ in 0..100 {
            let action = draw(&mut self.rng, &self.scenario.weights);
            self.act(action);
        }
    }

    fn check_over(&self) {
        let stats = self.server.stats();
        assert_eq!((stats.connections, stats.streams, stats.tags), (0, 0, 0), "nothing is left");
        assert_eq!(stats.late_replies, 0, "nobody waits");
        assert_eq!(self.world.borrow().open, 0, "every socket is closed");
        with(&self.shared, |model| {
            model.check_late_over();
            assert_eq!(model.closed.iter().sum::<u64>(), model.opened, "every opened stream is closed");
            for stream in &model.streams {
                assert_eq!(stream.opened, stream.closed.is_some(), "{stream:?}");
            }
        });
    }
}

/// Timeouts of a connection, for each thing that it can wait for.
fn time_outs(config: &Config) -> [Duration; 5] {
    [config.head_timeout, config.body_timeout, config.keep_alive_timeout, config.stall_timeout, config.linger]
}

/// Checks that no turn has exceeded a budget.
pub(crate) fn check_work(most: &Work, config: &Config) {
    let bounds = [
        ("orders", most.orders, 1024),
        // Each adopted connection is one message.
        ("accepted", most.accepted, config.accepts_per_turn as u64 + 1024),
        ("bytes read", most.bytes_read, 4 << 20),
        ("requests", most.requests, config.requests_per_turn as u64),
        ("timers", most.timers, config.timers_per_turn as u64),
        ("events pulled", most.events_pulled, 256 * 64),
        // Of each kind there is at least one.
        ("streams served", most.streams_served, config.sends_per_turn as u64 + 1),
        ("connections swept", most.connections_swept, 4096),
        ("connections drained", most.connections_drained, 2 * (16 << 10)),
        ("streams closed together", most.closed_together, 1024),
        ("bytes taken along", most.bytes_taken_along, 2 * (17 << 20)),
        ("streams reported", most.streams_reported, 1024),
        ("connections freed", most.connections_freed, 1024),
    ];
    for (kind, most, bound) in bounds {
        assert!(most <= bound, "{kind}: {most} in one turn, and {bound} is the bound");
    }
}
