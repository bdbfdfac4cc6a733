//! A server, from one start to the next, and its application.

use crate::lives::app::{App, Stage, States};
use crate::lives::story::{Story, TOPICS};
use crate::lives::together::{NOBODYS, Way};
use crate::net::{Faults, SimNet, World};
use crate::run::check_work;
use crate::socket::{ServerNet, server_net};
use fastrand::Rng;
use mio_sse::{Audience, CloseReason, Drain, Event, Message, Observer, Publisher, Request, Shards, StreamId};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// Reports to an observer.
#[derive(Default)]
pub(crate) struct Watched {
    opened: u64,
    closed: u64,
    published: u64,
    /// One more than the number of the newest published event.
    pub(crate) next: Option<u32>,
    /// The same at the close of a stream: events before it are for the stream.
    pub(crate) ends: HashMap<StreamId, Option<u32>>,
}

#[derive(Clone, Default)]
pub(crate) struct Watcher(Arc<Mutex<Watched>>);

impl Watcher {
    pub(crate) fn get(&self) -> MutexGuard<'_, Watched> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Observer for Watcher {
    fn open(&mut self, _stream: StreamId, _request: &Request<'_>) {
        self.get().opened += 1;
    }

    fn message(&mut self, message: &Message<'_>) {
        if matches!(message.to, Audience::Topic(topic) if topic != NOBODYS) {
            let mut watched = self.get();
            watched.published += 1;
            let number = message.text.lines().find_map(number_of).expect("every event has a number");
            assert!(watched.next.is_none_or(|next| next <= number), "published in order");
            watched.next = Some(number + 1);
        }
    }

    fn close(&mut self, stream: StreamId, _reason: CloseReason) {
        let mut watched = self.get();
        watched.closed += 1;
        let next = watched.next;
        watched.ends.insert(stream, next);
    }
}

/// The number in a line of data.
fn number_of(line: &str) -> Option<u32> {
    line.strip_prefix("data: ")?.split(' ').next()?.parse().ok()
}

/// A server of one loop or several, each on a world of its own.
pub(crate) struct Node<const SHORT: bool> {
    pub(crate) worlds: Vec<Rc<RefCell<World>>>,
    pub(crate) process: u32,
    shards: Shards<App, ServerNet<SHORT>>,
    publisher: Publisher,
    /// One for each loop.
    watchers: Vec<Watcher>,
    states: Vec<States>,
    story: Rc<RefCell<Story>>,
    /// A loop that is held up for now.
    held_up: Option<usize>,
    pub(crate) is_draining: bool,
}

impl<const SHORT: bool> Node<SHORT> {
    /// Starts a process, at some time of day.
    pub(crate) fn start(story: &Rc<RefCell<Story>>, now: Duration) -> Self {
        let mut worlds = Vec::new();
        let (process, begin, config, kinds);
        {
            let story = &mut *story.borrow_mut();
            let rng = &mut story.rng;
            let unix_offset = if rng.bool() { 0 } else { rng.i64(-50_000..50_000) };
            for _ in 0..story.scenario.loops {
                let mut fresh = World::new(rng.u64(..));
                fresh.now = now;
                fresh.unix_offset = unix_offset;
                fresh.faults = story.scenario.faults;
                worlds.push(Rc::new(RefCell::new(fresh)));
            }
            process = u32::try_from(story.next.len()).expect("not that many");
            // If all processes share the store, some of the newest events may be published again.
            let again = if story.scenario.is_shared() && rng.bool() { rng.u32(..20) } else { 0 };
            begin = story.len().saturating_sub(again);
            story.next.push(begin);
            story.feed.push(begin);
            story.ended.push(Cell::default());
            (config, kinds) = (story.scenario.config.clone(), story.scenario.kinds.clone());
            story.note(|| format!("process {process} starts"));
        }
        let watchers: Vec<_> = worlds.iter().map(|_| Watcher::default()).collect();
        let states: Vec<_> = worlds.iter().map(|_| States::default()).collect();
        let app = |at: usize| App::new(story, &watchers[at], (process, at), begin, &states[at]);
        let secure = story.borrow().scenario.secure;
        let nets = worlds.iter().map(|world| server_net(SimNet(world.clone()), secure)).collect();
        let mut shards = Shards::with_nets(nets, app, config).unwrap();
        for (server, watcher) in shards.servers().iter_mut().zip(&watchers) {
            server.observe(watcher.clone());
        }
        shards.prepare(|cx| {
            for (name, kind) in TOPICS.iter().zip(&kinds) {
                cx.configure(name, kind.configs[0]).unwrap();
            }
            let story = story.borrow();
            for entry in story.entries[..begin as usize].iter().filter(|entry| entry.finishes) {
                cx.finish_topic(TOPICS[usize::from(entry.topic)]).unwrap();
                story.ends_at(process, entry.topic);
            }
        });
        let publisher = shards.publisher().nonblocking();
        let (story, held_up, is_draining) = (story.clone(), None, false);
        let mut node =
            Self { worlds, process, shards, publisher, watchers, states, story, held_up, is_draining };
        // After the first turn a publisher on this thread does not block.
        node.turn_all();
        node
    }

    /// Turns one of the loops, or holds one up for a while, or ends that.
    pub(crate) fn turn_any(&mut self, rng: &mut Rng) {
        let at = rng.usize(..self.worlds.len());
        if rng.u8(..100) == 0 {
            self.held_up = rng.bool().then_some(at);
        }
        if self.held_up != Some(at) || self.worlds.len() == 1 {
            self.turn(at);
        }
    }

    /// A loop with messages in its inbox.
    pub(crate) fn loop_behind(&mut self) -> Option<usize> {
        self.shards.servers().iter().position(|server| server.stats().inbox > 0)
    }

    fn turn_all(&mut self) {
        (0..self.worlds.len()).for_each(|at| self.turn(at));
    }

    /// Turns all loops that would not sleep now.
    pub(crate) fn turn_those_awake(&mut self) {
        for at in 0..self.worlds.len() {
            let has_news = self.worlds[at].borrow().has_news();
            if has_news || self.shards.servers()[at].next_timeout() == Some(Duration::ZERO) {
                self.turn(at);
            }
        }
    }

    fn turn(&mut self, at: usize) {
        let (watcher, states) = (&self.watchers[at], &self.states[at]);
        let server = &mut self.shards.servers()[at];
        if server.is_stopped() {
            return;
        }
        server.turn(Some(Duration::ZERO)).unwrap();
        let stats = server.stats();
        if self.worlds.len() > 1 && stats.inbox > 0 {
            self.story.borrow_mut().count("turns that leave something in an inbox of several");
        }
        if stats.memory_pressure > 0 {
            self.story.borrow_mut().count("turns short of memory");
        }
        check_work(&stats.work_max, &self.story.borrow().scenario.config);
        {
            let watched = watcher.get();
            assert_eq!(watched.opened, stats.streams_opened, "observers saw it");
            assert_eq!(watched.closed, stats.streams_closed(), "observers saw it");
            assert_eq!(watched.published, stats.events_published, "observers saw it");
        }
        let count = |stage| states.get(stage);
        assert_eq!(count(Stage::Opened), stats.streams_opened, "every open stream was reported");
        assert_eq!(
            count(Stage::Made) - count(Stage::Dropped),
            count(Stage::Opened) - count(Stage::Closed),
            "a state is there as long as its stream"
        );
        self.note_next();
    }

    fn note_next(&self) {
        let next = self.watchers.iter().filter_map(|watcher| watcher.get().next).max();
        if let Some(next) = next {
            self.story.borrow_mut().next[self.process as usize] = next;
        }
    }

    /// Publishes up to `count` events that were not published here, in any way, and makes a call after them.
    pub(crate) fn publish(&mut self, count: u32) {
        let (process, story) = (self.process, &mut *self.story.borrow_mut());
        for _ in 0..count {
            let loops = self.worlds.len();
            let by_others = story.rng.u8(..100) >= story.scenario.by_handlers;
            let by_inbox = if loops > 1 { by_others } else { story.scenario.by_inbox };
            let at = if loops > 1 { story.rng.usize(..loops) } else { 0 };
            let server = &mut self.shards.servers()[at];
            if server.is_stopped() {
                return;
            }
            let mut cx = server.context();
            let way = if by_inbox { Way::Thread(&self.publisher) } else { Way::Handler(&mut cx) };
            if !story.publish_next(process, way) {
                return;
            }
            if loops > 1 && !by_inbox {
                let until = story.published_until(process);
                story.act_behind((process, at), until, &mut cx);
            }
        }
    }

    pub(crate) fn set_time(&self, now: Duration) {
        self.worlds.iter().for_each(|world| world.borrow_mut().now = now);
    }

    pub(crate) fn set_faults(&self, faults: Faults) {
        self.worlds.iter().for_each(|world| world.borrow_mut().faults = faults);
    }

    /// From now on there are no faults.
    pub(crate) fn calm(&self) {
        for world in &self.worlds {
            world.borrow_mut().calm();
        }
    }

    pub(crate) fn hash(&self) -> u64 {
        self.worlds.iter().fold(0, |sum, world| sum.rotate_left(1) ^ world.borrow().trace.hash())
    }

    /// Changes the time of day.
    pub(crate) fn set_clock(&mut self) {
        let step = self.story.borrow_mut().rng.i64(-20_000..20_000);
        self.worlds.iter().for_each(|world| world.borrow_mut().unix_offset += step);
    }

    /// Changes the history of a topic.
    pub(crate) fn configure(&mut self) {
        let story = &mut *self.story.borrow_mut();
        let topic = story.rng.usize(..story.scenario.kinds.len());
        let config = story.scenario.kinds[topic].configs[story.rng.usize(..3)];
        let at = story.rng.usize(..self.worlds.len());
        story.note(|| format!("process {} has {config:?} for {}", self.process, TOPICS[topic]));
        self.shards.servers()[at].context().configure(TOPICS[topic], config).unwrap();
    }

    /// Whether all events were published here.
    pub(crate) fn is_up_to_date(&self) -> bool {
        let story = self.story.borrow();
        story.feed[self.process as usize] == story.len() && self.waiting() == 0
    }

    /// Number of messages in the inboxes of its loops.
    pub(crate) fn waiting(&self) -> u64 {
        self.shards.stats().inbox
    }

    /// Checks that all loops have published the same.
    pub(crate) fn check_same(&mut self) {
        let servers = self.shards.servers();
        let all: Vec<_> = servers.iter().map(|server| server.stats().events_published).collect();
        assert!(all.iter().all(|count| *count == all[0]), "the loops have published {all:?}");
    }

    /// Checks that no loop spins without work.
    pub(crate) fn check_sleeps(&mut self) {
        (0..TURNS_TO_SLEEP).for_each(|_| self.turn_those_awake());
        let mut servers = self.shards.servers().iter_mut();
        let awake = servers.position(|server| server.next_timeout() == Some(Duration::ZERO));
        assert_eq!(awake, None, "a loop does not sleep");
    }

    /// Starts a drain of the process, with a retry time.
    pub(crate) fn drain(&mut self) {
        let (time, at);
        {
            let rng = &mut self.story.borrow_mut().rng;
            time = Duration::from_millis(rng.u64(..500));
            at = rng.usize(..self.worlds.len());
        }
        let drain = Drain::within(time).retry(time).farewell(Event::new().data("").event("bye"));
        self.is_draining = true;
        self.shards.servers()[at].context().drain(drain).unwrap();
    }

    /// Stops the process at once.
    pub(crate) fn stop(&mut self) {
        let at = self.story.borrow_mut().rng.usize(..self.worlds.len());
        self.shards.servers()[at].context().stop();
    }

    /// Turns all loops until they have stopped, which they do if one of them was stopped.
    pub(crate) fn comes_to_its_end(&mut self) {
        let mut turns = Standstill::default();
        while !self.is_stopped() && turns.count < TURNS_TO_END {
            self.turn_all();
            self.worlds.iter().for_each(|world| world.borrow_mut().now += Duration::from_millis(20));
            // Earlier messages are handled first, however few streams a turn may serve.
            turns.add(self.waiting());
        }
        assert!(self.is_stopped(), "all loops stop when one is asked to");
        let stats = self.shards.stats();
        let held = stats.memory.total() - stats.memory.logs;
        assert_eq!(held, 0, "memory of stopped loops besides their histories: {:?}", stats.memory);
        let left = [stats.connections, stats.streams, stats.tags, stats.timers, stats.inbox];
        assert_eq!(
            left, [0; 5],
            "connections, streams, tags, timers and messages of loops that have stopped"
        );
        for server in self.shards.servers() {
            let seen = server.context().stats();
            assert_eq!((seen.connections, seen.streams), (0, 0), "the totals that a handler sees");
        }
        self.story.borrow_mut().count("ends of all loops");
    }

    pub(crate) fn is_stopped(&mut self) -> bool {
        self.shards.servers().iter().all(|server| server.is_stopped())
    }

    /// Ends the process in the middle of everything.
    pub(crate) fn crash(self) {
        self.note_next();
        let Self { worlds, process, shards, states, story, .. } = self;
        drop(shards);
        for states in states {
            assert_eq!(states.get(Stage::Made), states.get(Stage::Dropped), "nothing is left of any stream");
        }
        story.borrow_mut().together.ends(process);
        worlds.iter().for_each(|world| world.borrow_mut().crash());
    }
}

/// Number of turns after which a loop has done everything possible without time passing.
const TURNS_TO_SLEEP: u32 = 100;

/// Turns, or rounds, since the inboxes last became emptier than ever before.
#[derive(Default)]
pub(crate) struct Standstill {
    pub(crate) count: u32,
    /// Least number of waiting messages so far.
    fewest: Option<u64>,
}

impl Standstill {
    /// Another turn was made, after which this many messages wait.
    pub(crate) fn add(&mut self, waiting: u64) {
        if self.fewest.is_none_or(|fewest| waiting < fewest) {
            (self.fewest, self.count) = (Some(waiting), 0);
        } else {
            self.count += 1;
        }
    }
}

/// Turns of 20 ms within which a server stops, if it was asked to, or takes a message from an inbox, whatever
/// memory it lacks.
const TURNS_TO_END: u32 = 200;
