//! A server, from one start to the next, and the application on it.

use crate::lives::app::{App, Stage, States};
use crate::lives::story::{Entry, Story, TOPICS};
use crate::net::{SimNet, World};
use mio_sse::{
    Audience, CloseReason, Drain, Error, Event, Message, Observer, Publisher, Request, Server, StreamId,
};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::rc::Rc;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

/// What an observer has been told.
#[derive(Default)]
pub(crate) struct Watched {
    opened: u64,
    closed: u64,
    published: u64,
    /// The number behind the newest event that was published.
    pub(crate) next: Option<u32>,
    /// The same when a stream was closed: what was published before is for it.
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
        if matches!(message.to, Audience::Topic(_)) {
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

/// A server on its world.
pub(crate) struct Node<const SHORT: bool> {
    pub(crate) world: Rc<RefCell<World>>,
    pub(crate) process: u32,
    server: Server<App, SimNet<SHORT>>,
    publisher: Publisher,
    watcher: Watcher,
    states: States,
    story: Rc<RefCell<Story>>,
    /// The first event that has not been published here.
    feed: u32,
    pub(crate) is_draining: bool,
}

impl<const SHORT: bool> Node<SHORT> {
    /// A process starts, at some time of day.
    pub(crate) fn start(story: &Rc<RefCell<Story>>, now: Duration) -> Self {
        let (world, process, begin, config, kinds);
        {
            let story = &mut *story.borrow_mut();
            let rng = &mut story.rng;
            let mut fresh = World::new(rng.u64(..));
            fresh.now = now;
            fresh.unix_offset = if rng.bool() { 0 } else { rng.i64(-50_000..50_000) };
            fresh.faults = story.scenario.faults;
            world = Rc::new(RefCell::new(fresh));
            process = u32::try_from(story.next.len()).expect("not that many");
            // Where the store is the same for all, some of the newest may be published again.
            let again = if story.scenario.is_shared() && rng.bool() { rng.u32(..20) } else { 0 };
            begin = story.len().saturating_sub(again);
            story.next.push(begin);
            story.ended.push(Cell::default());
            (config, kinds) = (story.scenario.config.clone(), story.scenario.kinds.clone());
            story.note(|| format!("process {process} starts"));
        }
        let watcher = Watcher::default();
        let states = States::default();
        let app = App::new(story, &watcher, process, begin, &states);
        let mut server = Server::with_net(SimNet(world.clone()), app, config).unwrap();
        server.observe(watcher.clone());
        for (name, kind) in TOPICS.iter().zip(kinds) {
            server.context().configure(name, kind.configs[0]).unwrap();
        }
        {
            let story = story.borrow();
            for entry in story.entries[..begin as usize].iter().filter(|entry| entry.finishes) {
                server.context().finish_topic(TOPICS[usize::from(entry.topic)]).unwrap();
                story.ends_at(process, entry.topic);
            }
        }
        let publisher = server.publisher();
        let (story, feed, is_draining) = (story.clone(), begin, false);
        let mut node = Self { world, process, server, publisher, watcher, states, story, feed, is_draining };
        // From the first turn on a publisher on this thread does not wait.
        node.turn();
        node
    }

    pub(crate) fn turn(&mut self) {
        if self.is_stopped() {
            return;
        }
        self.server.turn(Some(Duration::ZERO)).unwrap();
        let stats = self.server.stats();
        if stats.memory_pressure > 0 {
            self.story.borrow_mut().count("turns short of memory");
        }
        {
            let watched = self.watcher.get();
            assert_eq!(watched.opened, stats.streams_opened, "observers are told");
            assert_eq!(watched.closed, stats.streams_closed(), "observers are told");
            assert_eq!(watched.published, stats.events_published, "observers are told");
        }
        let count = |stage| self.states.get(stage);
        assert_eq!(count(Stage::Opened), stats.streams_opened, "whoever opens is told");
        assert_eq!(
            count(Stage::Made) - count(Stage::Dropped),
            count(Stage::Opened) - count(Stage::Closed),
            "a state is there as long as its stream"
        );
        self.note_next();
    }

    fn note_next(&self) {
        if let Some(next) = self.watcher.get().next {
            self.story.borrow_mut().next[self.process as usize] = next;
        }
    }

    /// Publishes up to `count` events that have not been published here.
    pub(crate) fn publish(&mut self, count: u32) {
        if self.is_stopped() {
            return;
        }
        let story = self.story.clone();
        let story = story.borrow();
        let end = story.len().min(self.feed.saturating_add(count));
        while self.feed < end {
            let entry = &story.entries[self.feed as usize];
            let is_here = entry.process.is_none_or(|process| process == self.process);
            if is_here && let Err(error) = self.publish_entry(entry, &story) {
                assert!(matches!(error, Error::Full | Error::TooMuchMemory), "it can be published: {error}");
                return;
            }
            self.feed += 1;
        }
    }

    fn publish_entry(&mut self, entry: &Entry, story: &Story) -> Result<(), Error> {
        let (topic, event) = (TOPICS[usize::from(entry.topic)], story.event(self.feed, false));
        let mut cx = self.server.context();
        match (story.scenario.by_inbox, entry.position) {
            (true, _) if entry.finishes => self.publisher.finish_topic(topic),
            (true, Some(position)) => self.publisher.publish_at(topic, position, event),
            (true, None) => self.publisher.publish(topic, event),
            (false, _) if entry.finishes => {
                cx.finish_topic(topic)?;
                story.ends_at(self.process, entry.topic);
                if story.scenario.kinds[usize::from(entry.topic)].has_ids {
                    assert_eq!(cx.publish(topic, Event::new().data("too late")), Err(Error::Finished));
                }
                Ok(())
            }
            (false, Some(position)) => cx.publish_at(topic, position, event),
            (false, None) => cx.publish(topic, event),
        }
    }

    /// The time of day is set anew.
    pub(crate) fn set_clock(&mut self) {
        let step = self.story.borrow_mut().rng.i64(-20_000..20_000);
        self.world.borrow_mut().unix_offset += step;
    }

    /// A topic keeps more or less than it did.
    pub(crate) fn configure(&mut self) {
        let story = &mut *self.story.borrow_mut();
        let topic = story.rng.usize(..story.scenario.kinds.len());
        let config = story.scenario.kinds[topic].configs[story.rng.usize(..3)];
        story.note(|| format!("process {} has {config:?} for {}", self.process, TOPICS[topic]));
        self.server.context().configure(TOPICS[topic], config).unwrap();
    }

    /// Whether all there is was published here.
    pub(crate) fn is_up_to_date(&self) -> bool {
        self.feed == self.story.borrow().len() && self.server.stats().inbox == 0
    }

    /// The process is to end, and tells its clients when to come again.
    pub(crate) fn drain(&mut self) {
        let time = Duration::from_millis(self.story.borrow_mut().rng.u64(..500));
        let drain = Drain::within(time).retry(time).farewell(Event::new().data("").event("bye"));
        self.is_draining = true;
        self.server.context().drain(drain).unwrap();
    }

    pub(crate) fn is_stopped(&self) -> bool {
        self.server.is_stopped()
    }

    /// The process ends, with everything going on.
    pub(crate) fn crash(self) {
        self.note_next();
        let Self { world, server, states, .. } = self;
        drop(server);
        assert_eq!(states.get(Stage::Made), states.get(Stage::Dropped), "nothing is left of any stream");
        world.borrow_mut().crash();
    }
}
