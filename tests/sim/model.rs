//! The events that each stream is entitled to, as numbers: publishing costs the model one entry, for any
//! number of streams.
//!
//! Every event has a number, which is the first line of its data. The model knows its recipients and its
//! place among the events of the same topic or stream; a stream knows the next expected place in each topic.
//! So all input of a client is checked at once, without a search. `kept` has the histories of topics,
//! `reading` their meaning for a stream.

use crate::counts::Counts;
use crate::kept::{ALWAYS, Entry, Key, Kind, Topic};
use crate::late::Late;
use crate::reading::{Losses, Window};
use crate::resume::{Ids, Plan, Token};
use crate::tagged::Revoked;
use crate::trace::Note;
use fastrand::Rng;
use mio_sse::{
    Audience, CloseReason, Config, Error, Event, Message, Observer, Refusal, Request, Responder, StreamId,
    TimerId,
};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::atomic::AtomicU32;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The topics.
pub(crate) const TOPICS: [&str; 6] = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"];

/// Name of events for several topics.
const SEVERAL: &str = "several";

/// Rough size of a frame without its data: fields, line ends, chunk lines.
pub(crate) const FRAME_BYTES: u64 = 110;

/// Time of a connection that was accepted only to be refused.
pub(crate) const SURPLUS_TIMEOUT: Duration = Duration::from_secs(2);

/// No end yet.
pub(crate) const OPEN: u32 = u32::MAX;

pub(crate) struct Model {
    pub(crate) rng: Rng,
    pub(crate) config: Config,
    /// Whether sometimes many events are published at once.
    pub(crate) floods: bool,
    /// Whether many events are large, and whether topics are reconfigured while they are read.
    pub(crate) heavy: bool,
    /// All connections speak TLS.
    pub(crate) secure: bool,
    pub(crate) configures: bool,
    pub(crate) streams: Vec<Stream>,
    pub(crate) connections: Vec<Answers>,
    /// Streams on which operations succeed.
    pub(crate) live: Vec<u32>,
    /// Ids of closed streams.
    pub(crate) retired: VecDeque<StreamId>,
    /// Timers that were set at any time.
    pub(crate) timers: VecDeque<TimerId>,
    /// Streams that have refused an operation: `closed` has to follow.
    pub(crate) lost: Vec<(u32, u64)>,
    pub(crate) turn: u64,
    /// Whether callbacks no longer make calls of their own.
    pub(crate) quiet: bool,
    /// Events in the inbox.
    pub(crate) inbox: VecDeque<u32>,
    /// Messages in the inbox, at most.
    pub(crate) waiting: u64,
    /// One callback of this many panics, and the number of panics.
    pub(crate) panic_rate: Option<u32>,
    pub(crate) panics: u64,
    /// Global timers that have not fired for the last time.
    pub(crate) global_timers: HashSet<TimerId>,
    /// Number of streams that had to be refused so far.
    pub(crate) refused: [u64; Refusal::ALL.len()],
    /// After this many callbacks one of them starts a drain.
    pub(crate) drain_after: Option<u32>,
    /// Streams whose close was reported in this turn, or that turned out not to open.
    pub(crate) just_over: Vec<u32>,
    pub(crate) drain: Option<Drained>,
    /// Retry times of all requested drains. The first one counts.
    pub(crate) drain_retries: Vec<Duration>,
    /// Window and farewell of a drain that was requested through the inbox.
    pub(crate) drain_asked: Option<Drained>,
    /// The server has stopped.
    pub(crate) stopped: bool,
    /// Written by an observer when a stream closes.
    pub(crate) obituaries: Arc<Mutex<Obituaries>>,
    pub(crate) opened: u64,
    pub(crate) closed: [u64; CloseReason::ALL.len()],
    pub(crate) counts: Counts,
    /// The clock of the server, and the time when everything was last at rest.
    pub(crate) now: Duration,
    pub(crate) rest_at: Duration,
    pub(crate) topics: Vec<Topic>,
    /// Kind of ids that the application gives to events of each topic.
    pub(crate) id_styles: [IdStyle; TOPICS.len()],
    pub(crate) ids: Ids,
    /// The application makes the ids.
    pub(crate) own_ids: bool,
    /// Places of the published events, among all published and private ones.
    published_orders: Vec<u32>,
    pub(crate) revoked: Revoked,
    /// One request of this many waits for its reply, and the waiting ones.
    pub(crate) late_rate: Option<u32>,
    pub(crate) late: Vec<Late>,
    /// Responders whose requests no longer wait after this turn.
    pub(crate) turned_away: Vec<Responder>,
    /// Connections that were found to have no peer in this turn.
    pub(crate) peerless: Vec<u32>,
    /// A copy for the trace, which is out of reach elsewhere.
    pub(crate) notes: Vec<Note>,
    /// Number of published and private events so far.
    pub(crate) order: u32,
    by_id: HashMap<StreamId, u32>,
    events: Vec<Info>,
    published: u64,
}

/// Kind of ids of a topic's events.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum IdStyle {
    #[default]
    None,
    /// Some events have an id of their own.
    Own,
    /// Some events have an id that others have, too.
    Shared,
}

/// A drain that has begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drained {
    pub(crate) begun: Duration,
    pub(crate) window: Duration,
    pub(crate) deadline: Option<Duration>,
    pub(crate) turn: u64,
    /// The number of the farewell event.
    pub(crate) farewell: Option<u32>,
    /// It was requested a second time.
    pub(crate) again: bool,
}

impl Drained {
    /// When the drain is over.
    pub(crate) fn end(&self) -> Duration {
        self.begun + self.deadline.unwrap_or(self.window)
    }

    /// When every stream has been closed.
    pub(crate) fn last_moment(&self) -> Duration {
        let window = self.deadline.map_or(self.window, |deadline| deadline.min(self.window));
        self.begun + if self.deadline.is_some() { window } else { window - window / 10 }
    }
}

/// Reports to the observer.
#[derive(Debug, Default)]
pub(crate) struct Obituaries {
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    pub(crate) published: u64,
    ended: Vec<StreamId>,
    /// Beginning of the last event of a topic.
    last: String,
}

/// Callbacks run only at the end of a turn, an observer at once: events in between are not for the stream.
pub(crate) struct Watcher(pub(crate) Arc<Mutex<Obituaries>>);

impl Observer for Watcher {
    fn open(&mut self, _stream: StreamId, _request: &Request<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).opened += 1;
    }

    fn message(&mut self, message: &Message<'_>) {
        if matches!(message.to, Audience::Topic(_)) {
            let mut obituaries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
            // An event of several topics is reported once for each, in a row. Its number is near its
            // beginning.
            let begins = message.text.get(..40).unwrap_or(message.text);
            let again = begins.contains(SEVERAL) && obituaries.last == begins;
            obituaries.published += u64::from(!again);
            begins.clone_into(&mut obituaries.last);
        }
    }

    fn close(&mut self, stream: StreamId, _reason: CloseReason) {
        let mut obituaries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        obituaries.closed += 1;
        obituaries.ended.push(stream);
    }
}

/// Recipients of an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Topic(u8),
    /// Several topics, as a bit mask.
    Several(u8),
    Stream(u32),
    /// The last event of every stream in a drain.
    Everyone,
    /// Sent through the inbox: its place in the order is not known.
    Loose(u32),
    /// All streams that had a tag.
    Tagged,
}

#[derive(Debug)]
struct Info {
    to: To,
    size: u32,
    /// Its key, its id if the application gives it one, and its encoded length.
    key: Key,
    own_id: Option<String>,
    text: usize,
    /// The id with which it was seen.
    seen_id: Option<String>,
    /// Its place among the events of the same topic or stream, and among all; `None` before it is known.
    place: Option<(u32, u32)>,
    /// If it is for several topics, its place in each.
    places: Vec<(u8, u32)>,
}

/// A stream that was requested.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) connection: u32,
    pub(crate) since: Duration,
    pub(crate) chunked: bool,
    pub(crate) opened: bool,
    pub(crate) live: bool,
    pub(crate) closed: Option<CloseReason>,
    pub(crate) closed_at: Duration,
    /// The application has requested its close.
    pub(crate) close_requested: bool,
    /// A callback for it has panicked.
    pub(crate) panicked: bool,
    /// A drain leaves it alone.
    pub(crate) finishes: bool,
    /// Its maximum age.
    pub(crate) own_age: Option<Duration>,
    farewell_seen: bool,
    /// The exact place of its end is not known.
    loose_end: bool,
    pub(crate) hooks_set: u32,
    pub(crate) hooks_run: u32,
    /// The number of its source, and the number of its sources so far.
    pub(crate) source: Option<u32>,
    pub(crate) sources: Arc<AtomicU32>,
    /// Whether it gets a state when it opens, and the number of its states.
    pub(crate) has_state: bool,
    pub(crate) states: Arc<AtomicU32>,
    pub(crate) on_open_set: u32,
    pub(crate) on_open_run: u32,
    pub(crate) windows: Vec<Window>,
    sent: u32,
    sent_seen: u32,
    sent_bytes: u64,
    seen_bytes: u64,
    pub(crate) last_order: u32,
    last_loose: Option<u32>,
    /// The turn in which it was requested, and the number of events by then.
    pub(crate) began_turn: u64,
    pub(crate) began_order: u32,
    /// The last turn in which it may have lagged.
    pub(crate) behind_until: u64,
    /// Only its head has been sent.
    pub(crate) silent: bool,
    /// It begins with a server id.
    pub(crate) says_where: bool,
    /// It was closed before it opened.
    pub(crate) closed_early: bool,
    /// The position at which it begins.
    pub(crate) plan: Plan,
    /// Events that its client has missed were dropped, and whether it got a gap.
    pub(crate) gap: bool,
    pub(crate) gap_seen: bool,
    /// The application has made up for them, and this many events are on their way.
    pub(crate) store_answered: bool,
    pub(crate) store_left: usize,
    store_last: u32,
    /// The number of events when it was opened, and the last one that it has received of those that were sent
    /// to it before.
    pub(crate) opened_order: u32,
    early_last: u32,
    pub(crate) losses: Losses,
    /// Its tags, and events that were sent to these and have not arrived.
    pub(crate) tags: Vec<u8>,
    tagged_due: VecDeque<u32>,
    /// It was given a revoked tag: before it opened, or at any time.
    pub(crate) opening_revoked: bool,
    pub(crate) revoked: bool,
}

/// Replies on a connection, in order.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) answers: Vec<Answer>,
    /// Whether the connection has to close after each of them, apart from the client's own wish, if that is
    /// known.
    pub(crate) closes: Vec<Option<bool>>,
    /// For each request on it, the last event that its client claims to have seen.
    pub(crate) last_seen: Vec<Option<String>>,
    pub(crate) requests: u32,
    /// The handler gave a stream more than may wait for it, so there is no reply.
    pub(crate) dropped: bool,
    /// More was sent on it than may be sent ahead.
    pub(crate) excess: bool,
    /// So much was sent ahead that the rest may stay unread.
    pub(crate) enough: bool,
    /// One of its requests waits for `100 Continue`: whenever that was written, the timeout of the request
    /// has started before.
    pub(crate) expects: bool,
    /// Time of the last request on it.
    pub(crate) asked_at: Duration,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Whole {
        status: u16,
        bytes: usize,
    },
    /// To a HEAD request.
    Head,
    Stream(u32),
    /// Instead of a stream.
    Refused(Refusal, Softness),
    Panicked,
    /// It waits for its reply: the status, if it was given, or 504 when the time is over.
    Late {
        since: Duration,
        said: Option<u16>,
        head: bool,
    },
    /// A reply that the library has made, with a text of its own.
    Status(u16),
}

/// How a stream is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Softness {
    Soft,
    Unavailable,
}

/// The byte that fills the data of an event.
fn filler(number: u32) -> u8 {
    b'a' + u8::try_from(number % 26).unwrap()
}

/// The data of an event: its number and a line, or two lines for some.
fn data(number: u32, size: u32) -> String {
    let mut data = format!("{number}\n").into_bytes();
    let begin = data.len();
    data.resize(begin + size as usize, filler(number));
    if let Some(at) = line_end(number, size) {
        data[begin + at] = b'\n';
    }
    String::from_utf8(data).unwrap()
}

fn line_end(number: u32, size: u32) -> Option<usize> {
    (number.is_multiple_of(8) && size > 2).then_some(size as usize / 2)
}

impl Model {
    pub(crate) fn new(seed: u64, config: Config) -> Self {
        let mut rng = Rng::with_seed(seed);
        Self {
            floods: rng.u8(..8) == 0,
            heavy: false,
            secure: false,
            configures: rng.bool(),
            rng,
            config,
            streams: Vec::new(),
            connections: Vec::new(),
            live: Vec::new(),
            retired: VecDeque::new(),
            timers: VecDeque::new(),
            lost: Vec::new(),
            turn: 0,
            quiet: false,
            inbox: VecDeque::new(),
            waiting: 0,
            panic_rate: None,
            panics: 0,
            global_timers: HashSet::new(),
            refused: Default::default(),
            drain_after: None,
            drain: None,
            drain_retries: Vec::new(),
            drain_asked: None,
            just_over: Vec::new(),
            stopped: false,
            obituaries: Arc::default(),
            opened: 0,
            closed: Default::default(),
            counts: Counts::default(),
            now: Duration::ZERO,
            rest_at: Duration::ZERO,
            topics: TOPICS.iter().map(|_| Topic::new(Kind::default())).collect(),
            id_styles: Default::default(),
            ids: Ids::default(),
            own_ids: false,
            published_orders: Vec::new(),
            revoked: Revoked::default(),
            late_rate: None,
            late: Vec::new(),
            turned_away: Vec::new(),
            peerless: Vec::new(),
            notes: Vec::new(),
            order: 0,
            by_id: HashMap::new(),
            events: Vec::new(),
            published: 0,
        }
    }

    // Events on their way.

    /// An event that is about to be published to a topic.
    pub(crate) fn for_topic(&mut self, topic: u8, size: u32) -> (u32, Event<'static>) {
        let number = self.number(To::Topic(topic), size);
        let key = match self.rng.u8(..16) {
            0..6 => Key::None,
            6..14 => Key::Set(self.rng.u8(..6)),
            _ => Key::Remove(self.rng.u8(..6)),
        };
        let own_id = match (self.id_styles[topic as usize], self.rng.u8(..8)) {
            (IdStyle::Own, 0..5) => Some(format!("own-{number}")),
            (IdStyle::Shared, 0..3) => Some(format!("shared-{}", self.rng.u8(..2))),
            _ => None,
        };
        let mut event = self.event(topic.into(), size);
        event = match key {
            Key::None => event,
            Key::Set(key) => event.key(key.to_string()),
            Key::Remove(key) => event.key(key.to_string()).removes_key(),
        };
        if let Some(id) = &own_id {
            event = event.id(id.clone());
        }
        let info = self.events.last_mut().unwrap();
        (info.key, info.own_id, info.text) = (key, own_id, event.encode().unwrap().len());
        (number, event)
    }

    /// Several topics that never have a history, so it does not matter through which of them an event
    /// arrives. One may be named twice.
    pub(crate) fn several_topics(&mut self) -> Option<Vec<u8>> {
        let plain: Vec<u8> =
            (0..).zip(&self.topics).filter(|(_, topic)| !topic.kind.is_kept()).map(|(it, _)| it).collect();
        if self.configures || plain.len() < 2 {
            return None;
        }
        Some((0..self.rng.u8(2..5)).map(|_| plain[self.rng.usize(..plain.len())]).collect())
    }

    /// An event that is about to be published to several topics at once.
    pub(crate) fn for_several(&mut self, topics: &[u8], size: u32) -> (u32, Event<'static>) {
        let several = topics.iter().fold(0, |several, topic| several | 1 << topic);
        let number = self.number(To::Several(several), size);
        let event = self.event(usize::MAX, size).event(SEVERAL);
        let info = self.events.last_mut().unwrap();
        info.text = event.encode().unwrap().len();
        (number, event)
    }

    /// An event of a topic, sent again to a stream that has missed it.
    pub(crate) fn send_again(&mut self, index: u32, topic: u8, place: u32) -> Event<'static> {
        self.streams[index as usize].sent_bytes += self.frame_bytes(topic, place);
        let number = self.entry(topic, place).number;
        let size = self.events[number as usize].size;
        Event::new().data(data(number, size)).event(TOPICS[topic as usize])
    }

    /// Its rough length.
    pub(crate) fn frame_bytes(&self, topic: u8, place: u32) -> u64 {
        u64::from(self.events[self.entry(topic, place).number as usize].size) + FRAME_BYTES
    }

    pub(crate) fn entry(&self, topic: u8, place: u32) -> &Entry {
        &self.topics[topic as usize].entries[place as usize]
    }

    /// An event that is about to be sent to a stream.
    pub(crate) fn for_stream(&mut self, stream: u32, size: u32) -> (u32, Event<'static>) {
        (self.number(To::Stream(stream), size), self.event(usize::MAX, size))
    }

    /// An event that is sent to a stream when the inbox is handled.
    pub(crate) fn for_stream_by_inbox(&mut self, stream: u32, size: u32) -> Event<'static> {
        self.number(To::Loose(stream), size);
        let stream = &mut self.streams[stream as usize];
        stream.sent_bytes += u64::from(size) + FRAME_BYTES;
        self.event(usize::MAX, size)
    }

    /// An event that is about to be sent to all of these streams.
    pub(crate) fn for_tagged(&mut self, streams: &[u32], size: u32) -> Event<'static> {
        let number = self.number(To::Tagged, size);
        self.place(number);
        for stream in streams {
            let stream = &mut self.streams[*stream as usize];
            stream.sent_bytes += u64::from(size) + FRAME_BYTES;
            stream.tagged_due.push_back(number);
        }
        self.event(usize::MAX, size)
    }

    /// The last event of all streams.
    pub(crate) fn for_everyone(&mut self) -> (u32, Event<'static>) {
        (self.number(To::Everyone, 5), self.event(usize::MAX, 5))
    }

    fn number(&mut self, to: To, size: u32) -> u32 {
        let (key, own_id, text) = (Key::None, None, 0);
        self.events.push(Info {
            to,
            size,
            key,
            own_id,
            text,
            seen_id: None,
            place: None,
            places: Vec::new(),
        });
        u32::try_from(self.events.len() - 1).unwrap()
    }

    /// The event with the newest number.
    fn event(&self, topic: usize, size: u32) -> Event<'static> {
        let number = u32::try_from(self.events.len() - 1).unwrap();
        let name = TOPICS.get(topic).copied().unwrap_or("own");
        Event::new().data(data(number, size)).event(name)
    }

    /// The inbox may have been handled since then: the total number of published events.
    pub(crate) fn sync(&mut self, published: u64) {
        while self.published < published {
            let number = self.inbox.pop_front().expect("no more is published than was asked for");
            self.place(number);
        }
        assert_eq!(self.published, published, "published events are counted");
        // The inbox is handled first in a turn, and streams close after it.
        let ended = {
            let mut obituaries = self.obituaries.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut obituaries.ended)
        };
        for id in ended {
            self.end(self.find(id));
        }
    }

    /// The event has now been published.
    pub(crate) fn place(&mut self, number: u32) {
        self.order += 1;
        let info = &mut self.events[number as usize];
        let place = match info.to {
            To::Topic(topic) => {
                self.published += 1;
                let what = (info.key, info.own_id.as_deref());
                let topic = &mut self.topics[topic as usize];
                self.published_orders.push(self.order);
                topic.publish((number, self.order), (self.turn, self.now), what, (info.size, info.text));
                topic.count() - 1
            }
            To::Several(several) => {
                self.published += 1;
                self.published_orders.push(self.order);
                self.counts.several += 1;
                for number_of in (0..8).filter(|topic| several & 1 << topic != 0) {
                    let topic = &mut self.topics[number_of as usize];
                    let text = (info.size, info.text);
                    topic.publish((number, self.order), (self.turn, self.now), (Key::None, None), text);
                    topic.entries.last_mut().unwrap().shared = true;
                    info.places.push((number_of, topic.count() - 1));
                }
                0
            }
            To::Stream(stream) => {
                let stream = &mut self.streams[stream as usize];
                stream.sent += 1;
                stream.sent_bytes += u64::from(info.size) + FRAME_BYTES;
                stream.sent - 1
            }
            To::Loose(_) | To::Everyone | To::Tagged => 0,
        };
        info.place = Some((place, self.order));
    }

    /// A stream has received a complete event.
    pub(crate) fn received(
        &mut self,
        index: u32,
        number: u32,
        name: &str,
        id: Option<&str>,
        content: &[&[u8]],
    ) {
        self.counts.received += 1;
        let info = self.events.get_mut(number as usize).expect("nothing is received that was not published");
        let stream = &mut self.streams[index as usize];
        check_content(number, info.size, content);
        assert!(!stream.farewell_seen, "nothing follows the farewell: {number} of {index}");
        let told = stream.gap_seen || !stream.gap || self.config.gap_event.is_none();
        assert!(told, "that something is missing comes first: {stream:?}");
        let is_own = !matches!(info.to, To::Topic(_) | To::Several(_));
        assert!(
            !is_own || id.is_none() && (name == "own"),
            "what is sent to one stream has no id: {name}, {id:?}"
        );
        if info.to == To::Everyone {
            stream.farewell_seen = true;
            self.counts.farewells_seen += 1;
            return;
        }
        let bytes = u64::from(info.size) + FRAME_BYTES;
        if let To::Loose(to) = info.to {
            assert_eq!(to, index, "private events reach only their stream");
            assert!(stream.last_loose.is_none_or(|last| last < number), "sent once, and in order");
            stream.last_loose = Some(number);
            stream.seen_bytes += bytes;
            return;
        }
        let (place, order) = info.place.expect("nothing is received before it was published");
        // Events from the application's store were published before any private one of the stream.
        let from_store = stream.store_left > 0 && !is_own;
        let last = match () {
            () if from_store => &mut stream.store_last,
            // A private event that was sent before a subscription comes after events that the topic has
            // retained meanwhile.
            () if is_own && order <= stream.opened_order => &mut stream.early_last,
            () => &mut stream.last_order,
        };
        let before = std::mem::replace(last, order);
        assert!(order > before || before == 0, "in order, {number} of {index} after {before}: {stream:?}");
        match info.to {
            To::Topic(topic) => {
                assert_eq!(name, TOPICS[topic as usize]);
                if from_store {
                    stream.store_left -= 1;
                    stream.seen_bytes += bytes;
                } else {
                    let is_dated = self.topics[topic as usize].entries[place as usize].is_dated;
                    assert_eq!(id.is_some(), is_dated || info.own_id.is_some(), "the id of {number}: {id:?}");
                    if info.own_id.is_some() {
                        assert_eq!(id, info.own_id.as_deref(), "an id of the application's is its own");
                    } else if let Some(id) = id {
                        let seen = info.seen_id.get_or_insert_with(|| id.to_owned());
                        assert_eq!(seen, id, "one id for all");
                        self.ids.learn(id, Token::of_event(order));
                    }
                }
                self.received_of_topic(index, topic, place);
            }
            To::Several(_) => {
                assert!(
                    name == SEVERAL && id.is_none(),
                    "an event without a history has no id: {name}, {id:?}"
                );
                let places = std::mem::take(&mut info.places);
                self.received_of_several(index, &places);
                self.events[number as usize].places = places;
            }
            To::Stream(to) => {
                assert_eq!(to, index, "private events reach only their stream");
                assert_eq!(place, stream.sent_seen, "private events arrive without a gap");
                stream.sent_seen += 1;
                stream.seen_bytes += bytes;
            }
            To::Tagged => {
                let due = stream.tagged_due.pop_front();
                assert_eq!(due, Some(number), "an event to a tag reaches its streams: {stream:?}");
                stream.seen_bytes += bytes;
            }
            To::Loose(_) | To::Everyone => {}
        }
    }

    /// The place of the last event published up to `order`.
    pub(crate) fn published_by(&self, order: u32) -> u32 {
        let count = self.published_orders.partition_point(|published| *published <= order);
        count.checked_sub(1).map_or(0, |last| self.published_orders[last])
    }

    /// Whether the application has given this id, or may have.
    pub(crate) fn is_own_id(&self, id: &str) -> bool {
        self.own_ids && (id.starts_with("own-") || id.starts_with("shared-"))
    }

    // The lives of streams.

    pub(crate) fn begin(&mut self, id: StreamId, connection: u32, since: Duration) -> u32 {
        let index = u32::try_from(self.streams.len()).unwrap();
        assert_eq!(self.by_id.insert(id, index), None, "an id never comes to mean another stream");
        self.streams.push(Stream {
            id,
            connection,
            since,
            chunked: false,
            opened: false,
            live: true,
            closed: None,
            closed_at: Duration::ZERO,
            close_requested: false,
            panicked: false,
            finishes: false,
            own_age: None,
            farewell_seen: false,
            loose_end: false,
            hooks_set: 0,
            hooks_run: 0,
            source: None,
            sources: Arc::default(),
            has_state: false,
            states: Arc::default(),
            on_open_set: 0,
            on_open_run: 0,
            windows: Vec::new(),
            sent: 0,
            sent_seen: 0,
            sent_bytes: 0,
            seen_bytes: 0,
            last_order: 0,
            last_loose: None,
            began_turn: self.turn,
            began_order: self.order,
            behind_until: ALWAYS,
            silent: true,
            says_where: false,
            closed_early: false,
            plan: Plan::default(),
            gap: false,
            gap_seen: false,
            store_answered: false,
            store_left: 0,
            store_last: 0,
            opened_order: 0,
            early_last: 0,
            losses: Losses::default(),
            tags: Vec::new(),
            tagged_due: VecDeque::new(),
            opening_revoked: false,
            revoked: false,
        });
        self.live.push(index);
        index
    }

    pub(crate) fn find(&self, id: StreamId) -> u32 {
        self.by_id[&id]
    }

    /// Checks that an operation on the stream succeeded, as it has to while the stream is live.
    pub(crate) fn accepts<T: std::fmt::Debug>(&mut self, index: u32, result: &Result<T, Error>) -> bool {
        if !self.streams[index as usize].live {
            assert_eq!(result.as_ref().err(), Some(&Error::Closed), "{:?}", self.streams[index as usize]);
            return false;
        }
        if let Err(error) = result {
            assert_eq!(*error, Error::Closed);
            self.end(index);
            self.lost.push((index, self.turn));
        }
        result.is_ok()
    }

    /// The stream did not accept an event of that size, and may have closed.
    pub(crate) fn refused(&mut self, index: u32, size: u32) {
        self.streams[index as usize].sent_bytes += u64::from(size) + FRAME_BYTES;
    }

    /// From now on no event is for the stream.
    pub(crate) fn end(&mut self, index: u32) {
        let stream = &mut self.streams[index as usize];
        if !std::mem::take(&mut stream.live) {
            return;
        }
        for window in stream.windows.iter_mut().filter(|window| window.until == OPEN) {
            window.until = self.topics[window.topic as usize].count();
        }
        stream.tags.clear();
        self.retired.push_back(stream.id);
        if self.retired.len() > 32 {
            self.retired.pop_front();
        }
        let at = self.live.iter().position(|live| *live == index).unwrap();
        self.live.swap_remove(at);
    }

    /// The close of a stream has been requested through the inbox.
    pub(crate) fn close_by_inbox(&mut self, index: u32) {
        let stream = &mut self.streams[index as usize];
        stream.close_requested = true;
        stream.loose_end = true;
    }

    /// Least and largest number of topics: those with subscribers or retained events.
    pub(crate) fn topics_needed(&self) -> (u64, u64) {
        let (mut least, mut most) = (0, 0);
        for (number, topic) in (0..).zip(&self.topics) {
            let read = self.live.iter().any(|index| self.streams[*index as usize].reads(number));
            let (keeps, may_keep) = topic.keeps_something(self.now);
            least += u64::from(read || keeps);
            most += u64::from(read || may_keep);
        }
        (least, most)
    }

    /// Checks that a complete stream, open or closed by the application, has received everything it is
    /// entitled to.
    pub(crate) fn check_complete(&mut self, index: u32) {
        let stream = &self.streams[index as usize];
        if stream.closed == Some(CloseReason::Drained) {
            let farewell = self.drain.is_some_and(|drain| drain.farewell.is_some());
            assert_eq!(stream.farewell_seen, farewell, "the farewell of {index}: {stream:?}");
        }
        if stream.loose_end {
            return;
        }
        assert_eq!(stream.sent_seen, stream.sent, "all that was sent has arrived: {index}, {stream:?}");
        assert!(
            stream.tagged_due.is_empty(),
            "all that was sent to its tags has arrived: {index}, {stream:?}"
        );
        self.check_received(index);
    }
}

impl Stream {
    /// Rough number of bytes that wait for it alone.
    pub(crate) fn waiting_alone(&self) -> u64 {
        self.sent_bytes - self.seen_bytes
    }

    /// Number of its topics.
    pub(crate) fn subscriptions(&self) -> usize {
        self.windows.iter().filter(|window| self.is_open(window)).count()
    }

    pub(crate) fn reads(&self, topic: u8) -> bool {
        self.windows.iter().any(|window| window.topic == topic && self.is_open(window))
    }

    /// Whether it reads there, or will when it opens, though it was closed already.
    fn is_open(&self, window: &Window) -> bool {
        window.until == OPEN || !self.opened && !window.given_up
    }
}

impl Answers {
    /// The live stream on the connection, if there is one.
    pub(crate) fn live_stream<'a>(&self, model: &'a Model) -> Option<&'a Stream> {
        let mut streams = self.streams().map(|index| &model.streams[index as usize]);
        streams.find(|stream| stream.live)
    }

    pub(crate) fn streams(&self) -> impl Iterator<Item = u32> {
        self.answers.iter().filter_map(|answer| match answer {
            Answer::Stream(index) => Some(*index),
            _ => None,
        })
    }
}

/// Checks the data of an event, line by line.
fn check_content(number: u32, size: u32, lines: &[&[u8]]) {
    let whole = size as usize;
    let (expected, count) = match line_end(number, size) {
        None => ([whole, 0], 1),
        Some(at) => ([at, whole - at - 1], 2),
    };
    assert_eq!(lines.len(), count, "the lines of event {number}");
    for (line, expected) in lines.iter().zip(expected) {
        assert_eq!(line.len(), expected, "the size of event {number}");
        assert!(line.iter().all(|byte| *byte == filler(number)), "the bytes of event {number}");
    }
}
