//! The application on a server: it opens streams, and makes up for missed events.

use crate::lives::node::Watcher;
use crate::lives::story::{Bringer, Opening, Story, TOPICS};
use crate::lives::together::{Open, tag_of};
use fastrand::Rng;
use mio_sse::{
    AfterGap, CloseReason, Context, Event, Handler, Ids, Missed, Pull, Reply, Request, StreamId, StreamReply,
};
use std::borrow::Cow;
use std::cell::RefCell;
use std::collections::{HashMap, VecDeque};
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

pub(crate) struct App {
    story: Rc<RefCell<Story>>,
    watcher: Watcher,
    process: u32,
    /// Index of its loop among several.
    at: usize,
    /// The first event that is published here.
    begin: u32,
    streams: HashMap<StreamId, Asked>,
    opened: u64,
    states: States,
}

/// Counters of the states of streams, at each stage.
#[derive(Debug, Clone, Default)]
pub(crate) struct States(Arc<[AtomicU64; 4]>);

#[derive(Debug, Clone, Copy)]
pub(crate) enum Stage {
    Made,
    Opened,
    Closed,
    Dropped,
}

impl States {
    pub(crate) fn get(&self, stage: Stage) -> u64 {
        self.0[stage as usize].load(Ordering::Relaxed)
    }

    fn note(&self, stage: Stage) {
        self.0[stage as usize].fetch_add(1, Ordering::Relaxed);
    }
}

/// The state of one stream.
struct State(States);

impl Drop for State {
    fn drop(&mut self) {
        self.0.note(Stage::Dropped);
    }
}

/// The client of a stream, and the stream that it gets.
struct Asked {
    who: (u32, u32),
    topics: u8,
    opening: Opening,
}

impl App {
    pub(crate) fn new(
        story: &Rc<RefCell<Story>>,
        watcher: &Watcher,
        (process, at): (u32, usize),
        begin: u32,
        states: &States,
    ) -> Self {
        let (story, watcher) = (story.clone(), watcher.clone());
        Self {
            story,
            watcher,
            process,
            at,
            begin,
            streams: HashMap::new(),
            opened: 0,
            states: states.clone(),
        }
    }

    /// One more than the number of the newest event published here.
    fn next(&self) -> u32 {
        self.watcher.get().next.unwrap_or(self.begin)
    }

    /// Whether a stream that begins now can report its position.
    fn has_position(&self, topics: u8, next: u32, story: &Story) -> bool {
        let reads = |topic: u8| topics & 1 << topic != 0;
        let mut here = story.entries[self.begin as usize..next as usize].iter();
        match story.scenario.ids {
            Ids::Generated => (0..story.scenario.topics)
                .any(|at| reads(at) && story.scenario.kinds[usize::from(at)].has_ids),
            // The whole history comes first: a client without any of it starts anew.
            _ if story.scenario.snapshot || topics & !story.finished == 0 => false,
            // A history with an age may be empty, and then its newest id is forgotten with it.
            Ids::Own => here.any(|entry| {
                let kind = &story.scenario.kinds[usize::from(entry.topic)];
                entry.id.is_some() && reads(entry.topic) && kind.is_ageless
            }),
            Ids::Ordered => true,
        }
    }
}

impl Handler for App {
    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
        let mut parts = request.path()[1..].split('/').map(|part| part.parse::<u32>().expect("a number"));
        let mut part = || parts.next().expect("three numbers");
        let (who, topics) = ((part(), part()), u8::try_from(part()).expect("few topics"));
        let next = self.next();
        let stream = cx.stream().expect("a stream to be");
        let mut story = self.story.borrow_mut();
        let mut opening = Opening {
            process: self.process,
            next,
            known: next,
            begin: self.begin,
            // There is nothing else to get of finished topics.
            snapshot: story.scenario.snapshot || topics & !story.finished == 0,
            replays: story.scenario.snapshot || topics & !story.ended[self.process as usize].get() == 0,
            ends: false,
            greetings: 0,
            has_position: self.has_position(topics, next, &story),
            made_up: None,
        };
        let whom = (stream, request.last_event_id());
        let reply = reply(topics, whom, &mut opening, &mut story, cx).tag(tag_of(who.0));
        story.act_together((self.process, self.at), cx);
        if story.scenario.is_sharded() {
            // The event published just now is on its way, and its id is looked up after it.
            opening.known = story.feed[self.process as usize];
        }
        self.streams.insert(stream, Asked { who, topics, opening });
        self.states.note(Stage::Made);
        cx.on_open(|stream, cx| {
            cx.of::<State>(stream).expect("it has a state by now").0.note(Stage::Opened);
        });
        reply.with(State(self.states.clone())).into()
    }

    fn missed(&mut self, stream: StreamId, last_event_id: &str, cx: &mut Context<'_>) -> Missed {
        let Asked { topics, opening, who } = self.streams.get_mut(&stream).expect("asked for");
        let story = &mut *self.story.borrow_mut();
        let found = story.find(last_event_id).filter(|_| story.scenario.makes_up);
        if !story.settles && story.rng.u8(..16) == 0 {
            // It is to close after the present events.
            cx.close(stream).expect("it is not closed");
            opening.ends = true;
            return Missed::Gap;
        }
        let Some((place, _)) = found else { return Missed::Gap };
        story.act_together((self.process, self.at), cx);
        if !cx.is_open(stream) {
            // Its private events exceeded the limit.
            return Missed::Gap;
        }
        let is_its = |number: &u32| {
            let entry = &story.entries[*number as usize];
            *topics & 1 << entry.topic != 0 && !entry.finishes
        };
        let numbers = (place + 1..opening.next).filter(is_its);
        let events: VecDeque<_> = numbers.map(|number| story.event(number, true)).collect();
        // Sending it at once takes memory, which may be missing.
        let at_once = !story.settles && story.scenario.is_roomy();
        let answer = story.rng.u8(..if at_once { 4 } else { 3 });
        let fails_at = (!story.settles && story.rng.u8(..4) == 0).then(|| story.rng.usize(..=events.len()));
        story.note(|| format!("{who:?} is brought {} events, {answer}, {fails_at:?}", events.len()));
        opening.made_up = match answer {
            0 => return Missed::Gap,
            1 | 2 => Some(Missed::Later),
            _ => Some(Missed::Sent),
        };
        story.count(if answer > 2 { "made up at once" } else { "made up later" });
        match answer {
            1 => {
                let sender = cx.channel(stream, story.rng.usize(1..8)).expect("it is not closed");
                story.bringers.push(Bringer { sender, events, fails_at });
                Missed::Later
            }
            2 => {
                let source = source(events, fails_at, story.rng.fork());
                cx.set_source(stream, source).expect("it is not closed");
                Missed::Later
            }
            _ => {
                // A stream with more than may wait closes by this.
                events.iter().all(|event| cx.send(stream, event).is_ok());
                Missed::Sent
            }
        }
    }

    fn opened(&mut self, stream: StreamId, _request: &Request<'_>, cx: &mut Context<'_>) {
        self.opened += 1;
        assert_eq!(self.states.get(Stage::Opened), self.opened, "reported first, and once");
        let Asked { who, opening, .. } = self.streams.get(&stream).expect("asked for");
        assert_eq!(opening.next, self.next(), "nothing was published meanwhile");
        let mut story = self.story.borrow_mut();
        story.openings.insert(*who, opening.clone());
        let ends = opening.ends || opening.made_up.is_some();
        story.together.open.push(Open {
            stream,
            process: self.process,
            who: *who,
            ends,
            next: opening.next,
            closes: None,
        });
        story.act_together((self.process, self.at), cx);
    }

    fn closed(&mut self, stream: StreamId, reason: CloseReason, cx: &mut Context<'_>) {
        cx.of::<State>(stream).expect("it exists until its close has been reported").0.note(Stage::Closed);
        let Asked { who, .. } = self.streams.remove(&stream).expect("asked for");
        let end = self.watcher.get().ends.remove(&stream).expect("observers are called first");
        let end = end.unwrap_or(self.begin);
        let mut story = self.story.borrow_mut();
        story.note(|| format!("{who:?} is closed: {reason}, before {end}"));
        story.together.is_closed((stream, self.process), reason, end);
        story.act_together((self.process, self.at), cx);
        story.closings.insert(who, (reason, end));
    }
}

/// Draws the options of a stream.
fn reply(
    topics: u8,
    (stream, last_event_id): (StreamId, Option<Cow<'_, str>>),
    opening: &mut Opening,
    story: &mut Story,
    cx: &mut Context<'_>,
) -> StreamReply {
    let (scenario, rng) = (&story.scenario, &mut story.rng);
    let mut reply = Reply::stream();
    for (_, name) in TOPICS.iter().enumerate().filter(|(topic, _)| topics & 1 << topic != 0) {
        if rng.u8(..8) == 0 {
            cx.subscribe(stream, name).expect("it may read all of them");
        } else {
            reply = reply.topic(*name);
        }
    }
    if let Some(id) = last_event_id.filter(|_| rng.u8(..8) == 0) {
        reply = reply.resume_after(id);
    }
    if !story.settles && rng.u8(..16) == 0 {
        opening.ends = true;
        reply = reply.source(ticks(rng.fork()));
    }
    if scenario.snapshot {
        reply = reply.snapshot();
    }
    if scenario.after_gap_live {
        reply = reply.after_gap(AfterGap::Live);
    }
    if rng.u8(..4) == 0 {
        reply = reply.retry(Duration::from_millis(rng.u64(..5_000)));
    }
    if rng.u8(..8) == 0 {
        reply = reply.close_delimited();
    }
    if rng.u8(..4) == 0 {
        opening.greetings = rng.u8(1..3);
        for _ in 0..opening.greetings {
            reply = reply.first(Event::new().data("").event("hello"));
        }
    }
    if scenario.ends && !story.settles && rng.bool() {
        opening.ends = true;
        if rng.bool() {
            return reply.then_end();
        }
        cx.close(stream).expect("it is not closed");
    }
    reply
}

/// A source of a stream, which closes it at its end.
fn ticks(mut rng: Rng) -> impl FnMut() -> Pull + Send + 'static {
    move || match rng.u8(..8) {
        0..3 => Pull::Event(Event::new().data("").event("tick")),
        3..6 => Pull::Wait(Duration::from_millis(rng.u64(..200))),
        _ => Pull::End,
    }
}

/// A source that delivers events, sometimes with a delay, and fails when so many are left, or never ends.
fn source(
    mut events: VecDeque<Event<'static>>,
    fails_at: Option<usize>,
    mut rng: Rng,
) -> impl FnMut() -> Pull + Send + 'static {
    move || match fails_at {
        Some(left) if left >= events.len() => {
            if rng.bool() {
                Pull::Failed
            } else {
                Pull::Idle
            }
        }
        _ if rng.u8(..3) == 0 => Pull::Wait(Duration::from_millis(rng.u64(..30))),
        _ => events.pop_front().map_or(Pull::End, Pull::Event),
    }
}
