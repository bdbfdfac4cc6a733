//! What each stream is entitled to, kept as numbers: publishing costs the model one entry, however many streams there are.
//!
//! Every event has a number, which it carries as its id. The model knows whom it was for and its place among those for
//! the same topic or stream; a stream remembers which place of each topic it expects next. So whatever a client receives
//! is checked at once, and nothing has to be searched.

use crate::net::{Connection, World};
use fastrand::Rng;
use mio_sse::{CloseReason, Config, Error, Event, Observer, Refusal, Request, StreamId, TimerId};
use std::collections::{HashMap, HashSet, VecDeque};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// The topics there are.
pub(crate) const TOPICS: [&str; 6] = ["alpha", "beta", "gamma", "delta", "epsilon", "zeta"];

/// What a frame has beside its data, more or less: fields, line ends, chunk lines.
const FRAME_BYTES: u64 = 80;

/// What waits for a stream alone without being an event: its first frame, its end.
const PRIVATE_BYTES: u64 = 100;

/// How long whoever is let in to be told may take.
pub(crate) const SURPLUS_TIMEOUT: Duration = Duration::from_secs(2);

/// No end yet.
const OPEN: u32 = u32::MAX;

pub(crate) struct Model {
    pub(crate) rng: Rng,
    pub(crate) config: Config,
    /// Whether now and then a lot is published at once.
    pub(crate) floods: bool,
    pub(crate) streams: Vec<Stream>,
    pub(crate) connections: Vec<Answers>,
    /// Streams with which operations succeed.
    pub(crate) live: Vec<u32>,
    /// Ids that mean nothing any more.
    pub(crate) retired: VecDeque<StreamId>,
    /// Timers that were set at some time.
    pub(crate) timers: VecDeque<TimerId>,
    /// Streams that have refused an operation: `closed` has to follow.
    pub(crate) lost: Vec<(u32, u64)>,
    pub(crate) turn: u64,
    /// Whether callbacks have stopped doing things of their own.
    pub(crate) quiet: bool,
    /// Events published by way of the inbox that have not been taken out.
    pub(crate) inbox: VecDeque<u32>,
    /// Messages in the inbox, at most.
    pub(crate) waiting: u64,
    /// One callback in so many panics, and how many have.
    pub(crate) panic_rate: Option<u32>,
    pub(crate) panics: u64,
    /// Timers that belong to nobody and have not fired for the last time.
    pub(crate) global_timers: HashSet<TimerId>,
    /// Streams that had to be refused, by now.
    pub(crate) refused: [u64; Refusal::ALL.len()],
    /// After so many callbacks one of them has the server drain.
    pub(crate) drain_after: Option<u32>,
    pub(crate) drain: Option<Drained>,
    /// When clients are to come again, of every drain that was asked for: the first of them counts.
    pub(crate) drain_retries: Vec<Duration>,
    /// The window and the farewell of a drain that is asked for by way of the inbox.
    pub(crate) drain_asked: Option<(Duration, Option<u32>)>,
    /// The server has stopped.
    pub(crate) stopped: bool,
    /// Written by an observer, at the moment a stream ends.
    pub(crate) obituaries: Arc<Mutex<Obituaries>>,
    pub(crate) opened: u64,
    pub(crate) closed: [u64; CloseReason::ALL.len()],
    pub(crate) counts: Counts,
    by_id: HashMap<StreamId, u32>,
    events: Vec<Info>,
    topics: Vec<Topic>,
    order: u32,
    published: u64,
}

/// A drain that has begun.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Drained {
    pub(crate) begun: Duration,
    pub(crate) window: Duration,
    pub(crate) turn: u64,
    /// The number of the farewell.
    pub(crate) farewell: Option<u32>,
    /// It was asked for a second time.
    pub(crate) again: bool,
}

impl Drained {
    /// When all is over.
    pub(crate) fn end(&self) -> Duration {
        self.begun + self.window
    }

    /// When every stream has had its moment.
    pub(crate) fn last_moment(&self) -> Duration {
        self.begun + (self.window - self.window / 10)
    }
}

/// What the observer is told.
#[derive(Debug, Default)]
pub(crate) struct Obituaries {
    pub(crate) opened: u64,
    pub(crate) closed: u64,
    ended: Vec<StreamId>,
}

/// Callbacks are told at the end of a turn only, an observer at once: what is published in between is not for the stream.
pub(crate) struct Watcher(pub(crate) Arc<Mutex<Obituaries>>);

impl Observer for Watcher {
    fn open(&mut self, _stream: StreamId, _request: &Request<'_>) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).opened += 1;
    }

    fn close(&mut self, stream: StreamId, _reason: CloseReason) {
        let mut obituaries = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        obituaries.closed += 1;
        obituaries.ended.push(stream);
    }
}

/// What has been exercised.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Counts {
    pub(crate) received: u64,
    pub(crate) ends_seen: u64,
    pub(crate) replies_seen: u64,
    pub(crate) rejections_seen: u64,
    pub(crate) timeouts_seen: u64,
    pub(crate) refusals_seen: u64,
    pub(crate) panics_seen: u64,
    pub(crate) farewells_seen: u64,
    pub(crate) drains: u64,
    pub(crate) second_drains: u64,
    pub(crate) half_closed: u64,
    pub(crate) limits_met: u64,
    pub(crate) timers_fired: u64,
    pub(crate) stale_refused: u64,
    pub(crate) cut: u64,
}

/// Whom an event was for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum To {
    Topic(u8),
    Stream(u32),
    /// The last event of every stream in a drain.
    Everyone,
    /// Sent by way of the inbox: where it comes in the order is not known.
    Loose(u32),
}

#[derive(Debug)]
struct Info {
    to: To,
    size: u32,
    /// Its place among those for the same topic or stream, and among all; none before it is known.
    place: Option<(u32, u32)>,
}

#[derive(Default)]
struct Topic {
    /// The bytes of all events up to each of them.
    ends: Vec<u64>,
}

/// A stream that a handler was asked for.
#[derive(Debug)]
pub(crate) struct Stream {
    pub(crate) id: StreamId,
    pub(crate) connection: u32,
    pub(crate) since: Duration,
    pub(crate) chunked: bool,
    pub(crate) opened: bool,
    pub(crate) live: bool,
    pub(crate) closed: Option<CloseReason>,
    /// The application has asked for its end.
    pub(crate) close_requested: bool,
    /// A callback for it has panicked.
    pub(crate) panicked: bool,
    /// It is left alone by a drain.
    pub(crate) finishes: bool,
    /// How long it may stay open.
    pub(crate) own_age: Option<Duration>,
    farewell_seen: bool,
    /// Where exactly its end comes is not known.
    loose_end: bool,
    pub(crate) hooks_set: u32,
    pub(crate) hooks_run: u32,
    windows: Vec<Window>,
    sent: u32,
    sent_seen: u32,
    sent_bytes: u64,
    seen_bytes: u64,
    last_order: u32,
    last_loose: Option<u32>,
}

/// What a stream reads of one topic, from a subscription to its end.
#[derive(Debug)]
struct Window {
    topic: u8,
    next: u32,
    until: u32,
    /// Unsubscribed from: what has not been sent is left out.
    given_up: bool,
}

/// What was answered on a connection, in order.
#[derive(Debug, Default)]
pub(crate) struct Answers {
    pub(crate) answers: Vec<Answer>,
    /// Whether the connection has to close behind each of them, apart from what the client has asked for.
    pub(crate) closes: Vec<bool>,
    pub(crate) requests: u32,
    /// The handler gave more to a stream than may wait for it, and there is no answer.
    pub(crate) dropped: bool,
    /// More was sent on it than may be sent ahead.
    pub(crate) excess: bool,
    /// One of the requests on it waits for word that its body is wanted: whatever was written for that, the time for
    /// the request runs from before.
    pub(crate) expects: bool,
    /// When it was asked for something last.
    pub(crate) asked_at: Duration,
}

#[derive(Debug, Clone, Copy)]
pub(crate) enum Answer {
    Whole {
        status: u16,
        bytes: usize,
    },
    /// To a request for the head alone.
    Head,
    Stream(u32),
    /// In place of a stream.
    Refused(Refusal, Softness),
    Panicked,
}

/// How a stream is refused.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Softness {
    Soft,
    Unavailable,
}

/// The byte of which the data of an event consists.
fn filler(number: u32) -> u8 {
    b'a' + u8::try_from(number % 26).unwrap()
}

/// The data of an event; of some, in two lines.
fn data(number: u32, size: u32) -> String {
    let mut data = vec![filler(number); size as usize];
    if let Some(at) = line_end(number, size) {
        data[at] = b'\n';
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
            stopped: false,
            obituaries: Arc::default(),
            opened: 0,
            closed: Default::default(),
            counts: Counts::default(),
            by_id: HashMap::new(),
            events: Vec::new(),
            topics: TOPICS.iter().map(|_| Topic::default()).collect(),
            order: 0,
            published: 0,
        }
    }

    // Events on their way.

    /// An event that is about to be published to a topic.
    pub(crate) fn for_topic(&mut self, topic: u8, size: u32) -> (u32, Event) {
        (self.number(To::Topic(topic), size), self.event(topic.into(), size))
    }

    /// An event that is about to be sent to a stream.
    pub(crate) fn for_stream(&mut self, stream: u32, size: u32) -> (u32, Event) {
        (self.number(To::Stream(stream), size), self.event(usize::MAX, size))
    }

    /// An event that is sent to a stream whenever the inbox gets to it.
    pub(crate) fn for_stream_by_inbox(&mut self, stream: u32, size: u32) -> Event {
        self.number(To::Loose(stream), size);
        self.streams[stream as usize].sent_bytes += u64::from(size) + FRAME_BYTES;
        self.event(usize::MAX, size)
    }

    /// The event that everybody gets at last.
    pub(crate) fn for_everyone(&mut self) -> (u32, Event) {
        (self.number(To::Everyone, 5), self.event(usize::MAX, 5))
    }

    fn number(&mut self, to: To, size: u32) -> u32 {
        self.events.push(Info { to, size, place: None });
        u32::try_from(self.events.len() - 1).unwrap()
    }

    /// The event numbered last.
    fn event(&self, topic: usize, size: u32) -> Event {
        let number = u32::try_from(self.events.len() - 1).unwrap();
        let name = TOPICS.get(topic).copied().unwrap_or("own");
        Event::data(data(number, size)).event(name).id(number.to_string())
    }

    /// The inbox may have been taken from since: so many events were published in all.
    pub(crate) fn sync(&mut self, published: u64) {
        while self.published < published {
            let number = self.inbox.pop_front().expect("no more is published than was asked for");
            self.place(number);
        }
        assert_eq!(self.published, published, "what was published is counted");
        // The inbox comes first in a turn, and streams end behind it.
        let ended = {
            let mut obituaries = self.obituaries.lock().unwrap_or_else(PoisonError::into_inner);
            std::mem::take(&mut obituaries.ended)
        };
        for id in ended {
            self.end(self.find(id));
        }
    }

    /// The event has been published now.
    pub(crate) fn place(&mut self, number: u32) {
        self.order += 1;
        let info = &mut self.events[number as usize];
        let place = match info.to {
            To::Topic(topic) => {
                self.published += 1;
                let ends = &mut self.topics[topic as usize].ends;
                let before = ends.last().copied().unwrap_or(0);
                ends.push(before + u64::from(info.size) + FRAME_BYTES);
                u32::try_from(ends.len() - 1).unwrap()
            }
            To::Stream(stream) => {
                let stream = &mut self.streams[stream as usize];
                stream.sent += 1;
                stream.sent_bytes += u64::from(info.size) + FRAME_BYTES;
                stream.sent - 1
            }
            To::Loose(_) | To::Everyone => 0,
        };
        info.place = Some((place, self.order));
    }

    /// A stream has received an event, completely.
    pub(crate) fn received(&mut self, index: u32, number: u32, name: &str, content: &[&[u8]]) {
        self.counts.received += 1;
        let info = self.events.get(number as usize).expect("nothing is received that was not published");
        let stream = &mut self.streams[index as usize];
        check_content(number, info.size, content);
        assert!(!stream.farewell_seen, "nothing follows the farewell: {number} of {index}");
        if info.to == To::Everyone {
            stream.farewell_seen = true;
            self.counts.farewells_seen += 1;
            return;
        }
        if let To::Loose(to) = info.to {
            assert_eq!((to, name), (index, "own"), "what is sent to one stream reaches no other");
            assert!(stream.last_loose.is_none_or(|last| last < number), "sent once, and in order");
            stream.last_loose = Some(number);
            stream.seen_bytes += u64::from(info.size) + FRAME_BYTES;
            return;
        }
        let (place, order) = info.place.expect("nothing is received before it was published");
        assert!(
            order > stream.last_order || stream.last_order == 0,
            "in order, {number} of {index}: {stream:?}"
        );
        stream.last_order = order;
        match info.to {
            To::Topic(topic) => {
                assert_eq!(name, TOPICS[topic as usize]);
                let at = stream.windows.iter().rposition(|window| {
                    window.topic == topic && window.next <= place && place < window.until
                });
                let Some(at) = at else {
                    panic!("{place} of {name} (event {number}) is not for it, or twice: {index}, {stream:?}");
                };
                let next = stream.windows[at].next;
                assert_eq!(place, next, "{name} is received without a gap: {index}, {stream:?}");
                stream.windows[at].next += 1;
                // Whoever gets something of a later subscription gets nothing more of an earlier one.
                if stream.windows.len() > TOPICS.len() {
                    stream.windows.retain(|window| window.topic != topic || window.until > place);
                }
            }
            To::Stream(to) => {
                assert_eq!((to, name), (index, "own"), "what is sent to one stream reaches no other");
                assert_eq!(place, stream.sent_seen, "what is sent is received without a gap");
                stream.sent_seen += 1;
                stream.seen_bytes += u64::from(info.size) + FRAME_BYTES;
            }
            To::Loose(_) | To::Everyone => {}
        }
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
            close_requested: false,
            panicked: false,
            finishes: false,
            own_age: None,
            farewell_seen: false,
            loose_end: false,
            hooks_set: 0,
            hooks_run: 0,
            windows: Vec::new(),
            sent: 0,
            sent_seen: 0,
            sent_bytes: 0,
            seen_bytes: 0,
            last_order: 0,
            last_loose: None,
        });
        self.live.push(index);
        index
    }

    pub(crate) fn find(&self, id: StreamId) -> u32 {
        self.by_id[&id]
    }

    /// Whether an operation with the stream succeeded, as it has to as long as the stream lives.
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

    /// The stream did not accept an event of that size: it may be that it has ended by it.
    pub(crate) fn refused(&mut self, index: u32, size: u32) {
        self.streams[index as usize].sent_bytes += u64::from(size) + FRAME_BYTES;
    }

    /// From now on nothing more is for the stream.
    pub(crate) fn end(&mut self, index: u32) {
        let stream = &mut self.streams[index as usize];
        if !std::mem::take(&mut stream.live) {
            return;
        }
        for window in stream.windows.iter_mut().filter(|window| window.until == OPEN) {
            window.until = u32::try_from(self.topics[window.topic as usize].ends.len()).unwrap();
        }
        self.retired.push_back(stream.id);
        if self.retired.len() > 32 {
            self.retired.pop_front();
        }
        let at = self.live.iter().position(|live| *live == index).unwrap();
        self.live.swap_remove(at);
    }

    /// The end of a stream has been asked for by way of the inbox.
    pub(crate) fn close_by_inbox(&mut self, index: u32) {
        let stream = &mut self.streams[index as usize];
        stream.close_requested = true;
        stream.loose_end = true;
    }

    pub(crate) fn subscribe(&mut self, index: u32, topic: u8) {
        let stream = &mut self.streams[index as usize];
        if stream.live && !stream.reads(topic) {
            let next = u32::try_from(self.topics[topic as usize].ends.len()).unwrap();
            stream.windows.push(Window { topic, next, until: OPEN, given_up: false });
        }
    }

    pub(crate) fn unsubscribe(&mut self, index: u32, topic: u8) {
        let end = u32::try_from(self.topics[topic as usize].ends.len()).unwrap();
        let stream = &mut self.streams[index as usize];
        for window in stream.windows.iter_mut().filter(|window| window.topic == topic && window.until == OPEN)
        {
            window.until = end;
            window.given_up = true;
        }
        stream.windows.retain(|window| window.next < window.until);
    }

    /// The topics that some stream reads.
    pub(crate) fn topics_read(&self) -> usize {
        let streams = || self.live.iter().map(|index| &self.streams[*index as usize]);
        (0..TOPICS.len())
            .filter(|topic| streams().any(|stream| stream.reads(u8::try_from(*topic).unwrap())))
            .count()
    }

    /// That a stream which is whole, open or closed by the application, has received all that it is entitled to.
    pub(crate) fn check_complete(&self, index: u32) {
        let stream = &self.streams[index as usize];
        if stream.closed == Some(CloseReason::Drained) {
            let farewell = self.drain.is_some_and(|drain| drain.farewell.is_some());
            assert_eq!(stream.farewell_seen, farewell, "the farewell of {index}: {stream:?}");
        }
        if stream.loose_end {
            return;
        }
        assert_eq!(stream.sent_seen, stream.sent, "all that was sent has arrived: {index}, {stream:?}");
        for window in stream.windows.iter().filter(|window| !window.given_up) {
            let published = u32::try_from(self.topics[window.topic as usize].ends.len()).unwrap();
            let end = window.until.min(published);
            assert_eq!(window.next, end, "all that was published has arrived: {index}, {stream:?}");
        }
    }

    /// That `reason` can be why the stream has ended.
    pub(crate) fn check_reason(&self, index: u32, reason: CloseReason, world: &World, stopping: bool) {
        let stream = &self.streams[index as usize];
        let connection = &world.connections[stream.connection as usize];
        let justified = match reason {
            CloseReason::Application => stream.close_requested,
            CloseReason::PeerClosed => connection.fin && !self.config.half_closed,
            CloseReason::Reset => connection.reset,
            CloseReason::IoError => connection.broken,
            CloseReason::Lagged => {
                // Whoever has taken everything so far has not been offered the rest.
                let held_up = connection.held_up_at.is_some_and(|at| at >= stream.since);
                self.lags(stream) && (held_up || self.lags_alone(stream))
            }
            CloseReason::Stalled => is_over(connection.written_at, world.now, self.config.stall_timeout),
            CloseReason::ExcessInput => self.connections[stream.connection as usize].excess,
            CloseReason::Stopped => stopping && self.drain.is_none(),
            CloseReason::MaxAge => match (stream.own_age, self.config.max_age) {
                (Some(age), _) => is_over(stream.since, world.now, age),
                (None, Some(age)) => is_over(stream.since, world.now, age * 3 / 4),
                (None, None) => false,
            },
            CloseReason::Panicked => stream.panicked,
            CloseReason::Drained => {
                self.drain.is_some_and(|drain| !stream.finishes || drain.again || world.now >= drain.end())
            }
            _ => false,
        };
        assert!(justified, "{reason:?} of stream {index}: {stream:?}, {connection:?}");
    }

    /// Whether the server may have closed the connection, or broken it off, for a reason that is none of its own.
    pub(crate) fn may_be_cut(&self, number: u32, connection: &Connection, now: Duration) -> bool {
        let answers = &self.connections[number as usize];
        let config = &self.config;
        let shortest = [
            config.head_timeout,
            config.body_timeout,
            config.keep_alive_timeout,
            config.stall_timeout,
            config.linger,
        ];
        let shortest = shortest.into_iter().chain(connection.refusal.map(|_| SURPLUS_TIMEOUT));
        let shortest = shortest.min().unwrap_or_default();
        let closed_at = connection.server_closed.unwrap_or(now);
        let since =
            if answers.expects { connection.accepted_at.unwrap_or_default() } else { connection.written_at };
        connection.fin
            || connection.reset
            || connection.broken
            || connection.refusal.is_some_and(|(_, room)| !room)
            || answers.dropped
            || answers.excess
            // A server that stops gives everybody as much as there is room for.
            || self.stopped && connection.unfinished
            || self.stopped && self.drain.is_some_and(|drain| connection.held_up_at >= Some(drain.begun))
            || connection.server_closed.is_some() && is_over(since, closed_at, shortest)
            || answers.streams().any(|index| {
                let stream = &self.streams[index as usize];
                stream.closed.is_some_and(|reason| !is_clean(reason))
                    // Reported already, and then too slow for what was to follow.
                    || stream.closed.is_some() && self.lags(stream)
            })
    }

    /// Whether so much was waiting for the stream that it could be closed for it.
    fn lags(&self, stream: &Stream) -> bool {
        let limit = self.config.lag_bytes_max as u64;
        let waiting = |window: &Window| {
            let ends = &self.topics[window.topic as usize].ends;
            let up_to = |count: u32| count.checked_sub(1).map_or(0, |last| ends[last as usize]);
            ends.last().copied().unwrap_or(0) - up_to(window.next)
        };
        let lags = |window: &Window| !window.given_up && waiting(window) + FRAME_BYTES > limit;
        self.lags_alone(stream) || stream.windows.iter().any(lags)
    }

    /// The same for what was sent to it alone.
    fn lags_alone(&self, stream: &Stream) -> bool {
        stream.sent_bytes - stream.seen_bytes + PRIVATE_BYTES > self.config.lag_bytes_max as u64
    }
}

impl Stream {
    /// How many topics it reads.
    pub(crate) fn subscriptions(&self) -> usize {
        self.windows.iter().filter(|window| window.until == OPEN).count()
    }

    pub(crate) fn reads(&self, topic: u8) -> bool {
        self.windows.iter().any(|window| window.topic == topic && window.until == OPEN)
    }
}

impl Answers {
    /// The stream on the connection, if there is one that lives.
    pub(crate) fn live_stream<'a>(&self, model: &'a Model) -> Option<&'a Stream> {
        let mut streams = self.streams().map(|index| &model.streams[index as usize]);
        streams.find(|stream| stream.live)
    }

    fn streams(&self) -> impl Iterator<Item = u32> {
        self.answers.iter().filter_map(|answer| match answer {
            Answer::Stream(index) => Some(*index),
            _ => None,
        })
    }
}

/// Whether a stream that is closed for this reason gets everything first, and an end.
pub(crate) fn is_clean(reason: CloseReason) -> bool {
    matches!(reason, CloseReason::Application | CloseReason::MaxAge | CloseReason::Drained)
}

/// Whether `limit` is over since `since`, as far as a clock of whole milliseconds can tell.
pub(crate) fn is_over(since: Duration, now: Duration, limit: Duration) -> bool {
    now.saturating_sub(since) + Duration::from_millis(1) >= limit
}

/// That the data of an event is what it should be, line by line.
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
