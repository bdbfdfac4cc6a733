//! The whole layer against a naive twin: a list of events for each stream.

use super::compressor::Compressor;
use super::delivery::{Delivery, Streams, Written};
use super::resume::Beginning;
use super::serve::Given;
use super::stream::{Phase, Stream};
use crate::account::Account;
use crate::event::Event;
use crate::topic::frame::{COMMENT, COMMENT_KIND, EncodedEvent, Framing};
use crate::topic::history::{History, Overflow, TopicConfig};
use crate::topic::ids::{Ids, Maker};
use crate::topic::topics::{TopicKey, Topics};
use proptest::prelude::*;
use std::convert::Infallible;
use std::iter;

const TOPICS: [&str; 4] = ["closes", "skips", "keyed", "kept"];
const SLOTS: usize = 5;
const LAG_BYTES_MAX: usize = 40_000;

#[derive(Debug, Default)]
struct Table(Vec<Option<(Stream, bool)>>);

impl Streams for Table {
    fn stream(&self, slot: u32) -> Option<&Stream> {
        self.0[slot as usize].as_ref().map(|(stream, _)| stream)
    }

    fn has_room(&self, slot: u32) -> bool {
        self.0[slot as usize].as_ref().is_some_and(|(_, room)| *room)
    }

    fn stream_and_room(&mut self, slot: u32) -> Option<(&mut Stream, &mut bool)> {
        self.0[slot as usize].as_mut().map(|(stream, room)| (stream, room))
    }
}

#[derive(Debug, Clone, Copy)]
enum Step {
    Publish {
        topic: usize,
        key: Option<u8>,
        removes: bool,
        size: usize,
    },
    Send {
        slot: usize,
        size: usize,
    },
    /// Opens a stream on these topics, or on some of them after something was sent to it. Its client may be
    /// one that reconnects, or the stream is closed at once.
    Open {
        slot: usize,
        topics: u8,
        sent: bool,
        framing: Framing,
        back: Option<usize>,
        close: bool,
    },
    PublishToTwo {
        size: usize,
    },
    Close {
        slot: usize,
    },
    Subscribe {
        slot: usize,
        topic: usize,
    },
    Unsubscribe {
        slot: usize,
        topic: usize,
    },
    Leave {
        slot: usize,
    },
    /// The socket takes this many more bytes.
    Room {
        slot: usize,
        bytes: usize,
    },
    Beat {
        slot: usize,
    },
    /// This many streams of the queue are served, and this many subscribers visited.
    Turn {
        served: usize,
        visited: usize,
        budget: usize,
    },
    Pass(u64),
    /// Memory is short: streams that lag and encoders give way.
    GiveWay,
}

fn framing_if(gzip: bool) -> Framing {
    if gzip && cfg!(feature = "gzip") { Framing::Gzip } else { Framing::Chunked }
}

fn framing() -> impl Strategy<Value = Framing> {
    let gzip = framing_if(true);
    prop_oneof![1 => Just(Framing::Chunked), 1 => Just(Framing::CloseDelimited), 2 => Just(gzip)]
}

fn step() -> impl Strategy<Value = Step> {
    let size =
        || prop_oneof![6 => 0_usize..100, 2 => Just(10_000_usize), 1 => Just(20_000), 1 => Just(70_000)];
    let slot = || 0..SLOTS;
    let room = prop_oneof![3 => 0_usize..100, 2 => 0_usize..50_000, 2 => Just(1_usize << 30)];
    let budget = prop_oneof![Just(1_usize), Just(usize::MAX)];
    prop_oneof![
        8 => (0..TOPICS.len(), proptest::option::of(0_u8..3), prop::bool::weighted(0.2), size())
            .prop_map(|(topic, key, removes, size)| Step::Publish { topic, key, removes, size }),
        2 => size().prop_map(|size| Step::PublishToTwo { size }),
        2 => (slot(), size()).prop_map(|(slot, size)| Step::Send { slot, size }),
        3 => (slot(), 0_u8..16, any::<bool>(), framing(), proptest::option::of(0_usize..100), prop::bool::weighted(0.1))
            .prop_map(|(slot, topics, sent, framing, back, close)| Step::Open { slot, topics, sent, framing, back, close }),
        1 => slot().prop_map(|slot| Step::Close { slot }),
        1 => (slot(), 0..TOPICS.len()).prop_map(|(slot, topic)| Step::Subscribe { slot, topic }),
        1 => (slot(), 0..TOPICS.len()).prop_map(|(slot, topic)| Step::Unsubscribe { slot, topic }),
        1 => slot().prop_map(|slot| Step::Leave { slot }),
        6 => (slot(), room).prop_map(|(slot, bytes)| Step::Room { slot, bytes }),
        1 => slot().prop_map(|slot| Step::Beat { slot }),
        8 => (0_usize..4, 0_usize..6, budget)
            .prop_map(|(served, visited, budget)| Step::Turn { served, visited, budget }),
        2 => (0_u64..300).prop_map(Step::Pass),
        1 => Just(Step::GiveWay),
    ]
}

/// An event that was published or sent, in order.
struct Entry {
    topic: Option<usize>,
    /// Whether it was also published to the topic with a history, at once.
    also_kept: bool,
    key: Option<u8>,
    removes: bool,
}

impl Entry {
    fn is_in(&self, topic: usize) -> bool {
        self.topic == Some(topic) || self.also_kept && topic == 3
    }
}

/// The events that one stream has to get, and the bytes that its socket has taken.
struct Twin {
    /// The numbers of its events, each with whether it may be missing.
    due: Vec<(usize, bool)>,
    /// How many of those were settled when it was last given everything, and the numbers of those that it
    /// must not skip.
    settled: usize,
    exact: Vec<usize>,
    subscribed: [bool; TOPICS.len()],
    /// Whether its socket has refused bytes since, or it began with earlier events.
    may_conflate: bool,
    closed: bool,
    /// How many events were published when it was closed.
    closed_at: Option<usize>,
    ended: bool,
    capacity: usize,
    output: Vec<u8>,
    framing: Framing,
}

struct World {
    delivery: Delivery<Table>,
    twins: [Option<Twin>; SLOTS],
    entries: Vec<Entry>,
    now: u64,
    arrived: u64,
}

fn event(number: usize, size: usize) -> Event<'static> {
    Event::new().data(format!("{number} {}", "x".repeat(size)))
}

impl World {
    fn new(uncompressed: bool) -> Self {
        let mut topics = Topics::new(TopicConfig::default(), Maker::default(), Account::default());
        topics.set_clock(1_000_000, 1000);
        let keyed = TopicConfig::default().overflow(Overflow::Skip).keyed().ids(Ids::Own);
        let kept = TopicConfig::default().history(History::new().bytes(30_000)).ids(Ids::Own);
        let skips = TopicConfig::default().overflow(Overflow::Skip);
        let skips = if uncompressed { skips.uncompressed() } else { skips };
        for (name, config) in [("skips", skips), ("keyed", keyed), ("kept", kept)] {
            topics.configure(name, config, 10);
        }
        let compressor = Compressor::new(Some(6), usize::MAX, Account::default());
        let mut delivery =
            Delivery::<Table>::new(topics, LAG_BYTES_MAX, Some("gap".into()), compressor, Account::default());
        delivery.slots.0.resize_with(SLOTS, || None);
        Self { delivery, twins: Default::default(), entries: Vec::new(), now: 1000, arrived: 0 }
    }

    /// Makes all streams read this topic, compressed if they can be, and gives them some of it.
    fn begin_with_a_crowd(&mut self, topic: usize) {
        for slot in 0..SLOTS {
            self.open(slot, 1 << topic, false, framing_if(true), None, false);
            self.make_room(slot, 1 << 20);
        }
        for _ in 0..3 {
            self.publish(topic, None, false, 20);
            self.turn(SLOTS, SLOTS, usize::MAX);
        }
    }

    fn tick(&self) -> u32 {
        u32::try_from(self.now).unwrap()
    }

    fn note(&mut self, topic: Option<usize>, key: Option<u8>, removes: bool) -> usize {
        self.entries.push(Entry { topic, also_kept: false, key, removes });
        self.entries.len() - 1
    }

    fn publish(&mut self, topic: usize, key: Option<u8>, removes: bool, size: usize) {
        let number = self.note(Some(topic), key, removes);
        let mut event = event(number, size);
        event = if topic == 3 { event.id(number.to_string()) } else { event };
        event = match key.map(|key| key.to_string()) {
            Some(key) if removes => event.key(key).removes_key(),
            Some(key) => event.key(key),
            None => event,
        };
        self.delivery.topics.publish(iter::once(TOPICS[topic]), &EncodedEvent::new(&event).unwrap(), None);
        for twin in self.twins.iter_mut().flatten().filter(|twin| twin.subscribed[topic] && !twin.closed) {
            twin.due.push((number, false));
        }
    }

    fn publish_to_two(&mut self, size: usize) {
        let number = self.note(Some(0), None, false);
        self.entries[number].also_kept = true;
        let event = EncodedEvent::new(&event(number, size).id(number.to_string())).unwrap();
        // A topic that is named twice counts once.
        self.delivery.topics.publish([0, 3, 0].map(|topic| TOPICS[topic]).into_iter(), &event, None);
        let reads = |twin: &&mut Twin| (twin.subscribed[0] || twin.subscribed[3]) && !twin.closed;
        self.twins.iter_mut().flatten().filter(reads).for_each(|twin| twin.due.push((number, false)));
    }

    fn send(&mut self, slot: usize, size: usize) {
        if self.twins[slot].as_ref().is_none_or(|twin| twin.closed) {
            return;
        }
        let number = self.note(None, None, false);
        let event = EncodedEvent::new(&event(number, size)).unwrap();
        let too_much = self.delivery.send(slot as u32, event.bytes(), event.kind());
        self.twins[slot].as_mut().unwrap().due.push((number, false));
        if too_much {
            self.leave(slot);
        }
    }

    fn subscribe(&mut self, slot: usize, topic: usize) {
        let Some(twin) = self.twins[slot].as_mut().filter(|twin| !twin.closed && !twin.subscribed[topic])
        else {
            return;
        };
        twin.subscribed[topic] = true;
        self.delivery.subscribe(slot as u32, TOPICS[topic]);
    }

    fn unsubscribe(&mut self, slot: usize, topic: usize) {
        let Some(twin) = self.twins[slot].as_mut().filter(|twin| !twin.closed && twin.subscribed[topic])
        else {
            return;
        };
        twin.subscribed[topic] = false;
        // An event that has not arrived may still be in its hand, or be counted as missed.
        let entries = &self.entries;
        twin.due.iter_mut().filter(|(number, _)| entries[*number].is_in(topic)).for_each(|due| due.1 = true);
        let key = self.delivery.subscription(slot as u32, TOPICS[topic]).unwrap();
        self.delivery.unsubscribe(slot as u32, key);
    }

    fn open(
        &mut self,
        slot: usize,
        topics: u8,
        sent: bool,
        framing: Framing,
        back: Option<usize>,
        close: bool,
    ) {
        if self.twins[slot].is_some() {
            return;
        }
        let sequence = self.delivery.topics.sequence();
        self.delivery.slots.0[slot] = Some((Stream::opening(sequence, self.tick(), 1), true));
        self.twins[slot] = Some(Twin::new());
        for topic in 0..TOPICS.len() {
            if topics & 1 << topic != 0 {
                self.subscribe(slot, topic);
            }
            if sent && topic == 1 {
                self.send(slot, 5);
                self.publish(topic, None, false, 5);
            }
        }
        let at = slot as u32;
        let seen = back.filter(|_| topics & 8 != 0).map(|back| back % self.entries.len().max(1));
        let found = seen.and_then(|seen| self.delivery.find(at, &seen.to_string()));
        let is_kept = |found: &Beginning| matches!(*found, Beginning::After(after) if !self.delivery.is_lost_after(at, after));
        if let (Some(seen), Some(found)) = (seen, found.filter(is_kept)) {
            self.delivery.place(at, found, false);
            let twin = self.twins[slot].as_mut().unwrap();
            twin.may_conflate = true;
            let missed = (seen + 1..self.entries.len()).filter(|number| self.entries[*number].is_in(3));
            let missed: Vec<_> = missed.filter(|number| !twin.due.contains(&(*number, false))).collect();
            twin.due.extend(missed.into_iter().map(|number| (number, false)));
            // From a keyed topic it may also get the newest event of each key.
            let keyed = (0..self.entries.len())
                .filter(|number| self.entries[*number].topic == Some(2) && topics & 4 != 0);
            let keyed: Vec<_> = keyed.filter(|number| !twin.due.contains(&(*number, false))).collect();
            twin.due.extend(keyed.into_iter().map(|number| (number, true)));
            twin.due.sort_unstable();
        }
        let may = framing != Framing::Gzip || self.delivery.compresses(at);
        let framing = if may { framing } else { Framing::Chunked };
        self.delivery.stream_mut(at).unwrap().framing = framing;
        self.twins[slot].as_mut().unwrap().framing = framing;
        if close {
            self.close(slot);
        }
        self.delivery.open(at, b"HEAD\n", iter::empty());
        if close {
            self.delivery.stream_mut(at).unwrap().phase = Phase::Ending;
        }
    }

    fn close(&mut self, slot: usize) {
        let Some(twin) = self.twins[slot].as_mut().filter(|twin| !twin.closed) else { return };
        twin.closed = true;
        twin.closed_at = Some(self.entries.len());
        self.delivery.close(slot as u32);
        let stream = self.delivery.stream_mut(slot as u32).unwrap();
        stream.phase = if stream.phase == Phase::Open { Phase::Ending } else { Phase::OpeningClosed };
    }

    /// The stream goes at once, with what it has received.
    fn leave(&mut self, slot: usize) {
        if let Some(twin) = self.twins[slot].take() {
            self.delivery.dissolve(slot as u32);
            self.delivery.slots.0[slot] = None;
            self.check(&twin, false);
        }
    }

    fn make_room(&mut self, slot: usize, bytes: usize) {
        let Some(twin) = &mut self.twins[slot] else { return };
        twin.capacity = twin.capacity.saturating_add(bytes);
        let (stream, room) = self.delivery.slots.0[slot].as_mut().unwrap();
        if !*room && bytes > 0 {
            *room = true;
            if stream.pins || stream.conflates() {
                self.delivery.queue(slot as u32);
            }
        }
    }

    fn serve(&mut self, slot: u32, mut budget: usize) {
        let now = self.tick();
        while let Some(twin) = &mut self.twins[slot as usize] {
            let given = self.delivery.give(slot, now, |bytes| Ok::<_, Infallible>(twin.take(bytes))).unwrap();
            budget = budget.saturating_sub(1);
            match given {
                Given::Everything => return twin.settle(),
                Given::Refused => return,
                Given::Ended => {
                    assert!(!twin.ended && twin.closed, "ends once, and closed");
                    twin.ended = true;
                    let twin = self.twins[slot as usize].take().unwrap();
                    self.delivery.dissolve(slot);
                    self.delivery.slots.0[slot as usize] = None;
                    return self.check(&twin, true);
                }
                Given::More if budget == 0 => return self.delivery.give_more_later(slot),
                Given::More => {}
            }
        }
    }

    fn turn(&mut self, served: usize, visited: usize, budget: usize) {
        for _ in 0..served.min(self.delivery.queue.len()) {
            let slot = self.delivery.queue.pop_front().unwrap();
            if let Some(stream) = self.delivery.stream_mut(slot) {
                stream.queued = false;
                self.serve(slot, budget);
            }
        }
        let Some(key) = self.delivery.topics.next_dirty().filter(|_| visited > 0) else { return };
        self.delivery.begin_wave(key);
        self.end_lagged();
        let (now, twins) = (self.tick(), &mut self.twins);
        let take =
            |slot: u32, bytes: &[u8]| Ok::<_, Infallible>(twins[slot as usize].as_mut().unwrap().take(bytes));
        let offered = self.delivery.offer(key, visited, now, take);
        for &slot in &offered.aside {
            self.serve(slot, usize::MAX);
        }
        self.delivery.reuse(offered.aside);
        self.delivery.topics.rotate_dirty();
    }

    fn step(&mut self, step: Step) {
        match step {
            Step::Publish { topic, key, removes, size } => {
                self.publish(topic, key, removes && key.is_some(), size);
            }
            Step::PublishToTwo { size } => self.publish_to_two(size),
            Step::Send { slot, size } => self.send(slot, size),
            Step::Open { slot, topics, sent, framing, back, close } => {
                self.open(slot, topics, sent, framing, back, close);
            }
            Step::Close { slot } => self.close(slot),
            Step::Subscribe { slot, topic } => self.subscribe(slot, topic),
            Step::Unsubscribe { slot, topic } => self.unsubscribe(slot, topic),
            Step::Leave { slot } => self.leave(slot),
            Step::Room { slot, bytes } => self.make_room(slot, bytes),
            Step::Beat { slot } => self.beat(slot),
            Step::Turn { served, visited, budget } => self.turn(served, visited, budget),
            Step::Pass(ms) => {
                self.now += ms;
                self.delivery.topics.set_clock(1_000_000 + self.now, self.now);
            }
            Step::GiveWay => self.give_way(),
        }
        self.delivery.topics.free_idle();
    }

    fn end_lagged(&mut self) {
        while let Some(slot) = self.delivery.lagged.pop() {
            assert!(!self.delivery.slots.has_room(slot), "it lags although its socket has room");
            self.leave(slot as usize);
        }
    }

    fn give_way(&mut self) {
        self.delivery.set_lag_bytes_max(LAG_BYTES_MAX / 2);
        self.delivery.make_room_in(0, usize::MAX / 2);
        self.end_lagged();
        self.delivery.set_lag_bytes_max(LAG_BYTES_MAX);
    }

    fn beat(&mut self, slot: usize) {
        let now = self.tick();
        let at_rest = |stream: &Stream| !stream.pins && !stream.queued && stream.phase == Phase::Open;
        let Some(stream) = self.delivery.stream(slot as u32).filter(|stream| at_rest(stream)) else { return };
        if stream.topics().any(|(key, _)| self.delivery.topics.get(key).dirty) {
            return;
        }
        let twin = self.twins[slot].as_mut().unwrap();
        self.delivery
            .give_aside(slot as u32, now, COMMENT_KIND, COMMENT, |bytes| {
                Ok::<_, Infallible>(twin.take(bytes))
            })
            .unwrap();
    }

    /// Every event for the stream has arrived once and in order, was superseded, or was counted in a gap
    /// event. If `whole`, nothing is missing at the end.
    fn check(&mut self, twin: &Twin, whole: bool) {
        let events = twin.events();
        self.arrived += events.iter().filter(|event| matches!(event, Got::Event(_))).count() as u64;
        let mut due = twin.due.iter().copied();
        let (mut told, mut owed, mut doubtful) = (0, 0, 0);
        let mut miss = |(number, optional): (usize, bool), whole: bool| {
            let Entry { topic, key, removes, .. } = &self.entries[number];
            let later =
                &self.entries[number + 1..twin.closed_at.unwrap_or(self.entries.len()).max(number + 1)];
            let newer = later.iter().any(|entry| entry.topic == *topic && entry.key == *key && key.is_some());
            let settled = twin.due[..twin.settled].iter().any(|due| due.0 == number);
            let spared = if settled { !twin.exact.contains(&number) } else { twin.may_conflate };
            let superseded = *topic == Some(2) && newer && !removes && spared;
            match topic {
                _ if optional => doubtful += 1,
                _ if superseded => {}
                Some(1 | 2) => owed += 1,
                _ => assert!(!whole, "event {number} is missing"),
            }
        };
        for event in events {
            match event {
                Got::Gap(missed) => told += missed,
                Got::Event(number) => loop {
                    let next =
                        due.next().unwrap_or_else(|| panic!("event {number} is not due: {:?}", twin.due));
                    if next.0 == number {
                        break;
                    }
                    miss(next, true);
                },
            }
        }
        due.for_each(|next| miss(next, whole));
        if whole {
            assert!(
                (owed..=owed + doubtful).contains(&told),
                "told of {told}, lost {owed}, perhaps {doubtful} more"
            );
        } else {
            assert!(told <= owed + doubtful, "told of {told}, lost {owed}, perhaps {doubtful} more");
        }
    }

    fn check_state(&self) {
        assert_eq!(self.delivery.topics.broken_invariant(), None);
        let streams = || {
            self.delivery.slots.0.iter().enumerate().filter_map(|(slot, found)| Some((slot, found.as_ref()?)))
        };
        let pinning = streams().filter(|(_, (stream, _))| stream.pins && stream.has_opened()).count();
        assert_eq!(self.delivery.pinning, pinning as u64, "streams that pin");
        let mut keys: Vec<TopicKey> =
            streams().flat_map(|(_, (stream, _))| stream.topics().map(|(key, _)| key)).collect();
        while let Some(key) = keys.pop() {
            let topic = self.delivery.topics.get(key);
            let pins =
                topic.subscribers.iter().filter(|slot| self.delivery.stream(**slot).unwrap().pins).count();
            assert_eq!(topic.pins as usize, pins, "pins of {:?}", topic.name);
        }
        for (slot, (stream, room)) in streams() {
            // An earlier stream in this slot may have left an entry, which does no harm.
            let queued = self.delivery.queue.contains(&u32::try_from(slot).unwrap());
            assert!(queued || !stream.queued, "{slot} is marked as queued and is not");
            assert!(
                !stream.pins || !stream.has_opened() || !*room || stream.queued,
                "{slot} has room and is not served"
            );
            if !stream.pins && !stream.queued {
                assert!(
                    stream.topics().count() > 1 || stream.reads_one_log() || !room,
                    "{slot} is at rest and on the slow path"
                );
            }
        }
    }

    /// All clients read everything.
    fn come_to_rest(&mut self) {
        for _ in 0..10_000 {
            (0..SLOTS).for_each(|slot| self.make_room(slot, 1 << 30));
            if self.delivery.queue.is_empty() && self.delivery.topics.next_dirty().is_none() {
                break;
            }
            self.step(Step::Turn { served: 10, visited: 10, budget: usize::MAX });
            self.check_state();
        }
        for slot in 0..SLOTS {
            if let Some(twin) = self.twins[slot].take() {
                assert!(!twin.closed, "{slot} has not closed");
                self.delivery.dissolve(slot as u32);
                self.delivery.slots.0[slot] = None;
                self.check(&twin, true);
            }
        }
        self.delivery.topics.free_idle();
        self.delivery.topics.configure("keyed", TopicConfig::default(), 10);
        self.delivery.topics.configure("kept", TopicConfig::default(), 10);
        self.delivery.topics.free_idle();
        assert_eq!((self.delivery.topics.log_bytes(), self.delivery.topics.len()), (0, 0), "held for nobody");
        assert_eq!(self.delivery.delivered.events, self.arrived, "all delivered events have arrived");
    }
}

enum Got {
    Event(usize),
    Gap(usize),
}

impl Twin {
    fn new() -> Self {
        Self {
            due: Vec::new(),
            settled: 0,
            exact: Vec::new(),
            subscribed: Default::default(),
            may_conflate: false,
            closed: false,
            closed_at: None,
            ended: false,
            capacity: 0,
            output: Vec::new(),
            framing: Framing::Chunked,
        }
    }

    /// Notes that it has been given everything.
    fn settle(&mut self) {
        if !self.may_conflate {
            self.exact.extend(self.due[self.settled..].iter().map(|(number, _)| number));
        }
        (self.settled, self.may_conflate) = (self.due.len(), false);
    }

    fn take(&mut self, bytes: &[u8]) -> Written {
        let count = bytes.len().min(self.capacity);
        self.capacity -= count;
        self.output.extend_from_slice(&bytes[..count]);
        self.may_conflate |= count < bytes.len();
        Written { bytes: count, all: count == bytes.len() }
    }

    /// The events that have arrived whole, parsed by the rules of the wire.
    fn events(&self) -> Vec<Got> {
        let Some(body) = self.output.strip_prefix(b"HEAD\n") else { return Vec::new() };
        let mut text = Vec::new();
        let mut rest = body;
        let is_chunked = self.framing != Framing::CloseDelimited;
        while is_chunked && !rest.is_empty() {
            let Some(line) = rest.windows(2).position(|pair| pair == b"\r\n") else { break };
            let size = usize::from_str_radix(str::from_utf8(&rest[..line]).unwrap(), 16)
                .expect("a chunk begins here");
            let Some(data) = rest.get(line + 2..line + 2 + size) else { break };
            let Some(end) = rest.get(line + 2 + size..line + 4 + size) else { break };
            assert_eq!(end, b"\r\n", "a chunk ends here");
            text.extend_from_slice(data);
            rest = &rest[line + 4 + size..];
            assert!(size > 0 || rest.is_empty(), "nothing follows the end");
        }
        let text = match self.framing {
            Framing::Chunked => text,
            Framing::CloseDelimited => body.to_vec(),
            Framing::Gzip => gunzip(&text, self.ended),
        };
        let text = &text[..];
        let blocks =
            str::from_utf8(text).unwrap().split_inclusive("\n\n").filter(|block| block.ends_with("\n\n"));
        let got = blocks.filter_map(|block| {
            let data = block.lines().find_map(|line| line.strip_prefix("data: "))?;
            let number = data.split(' ').next().unwrap().parse().unwrap();
            Some(if block.starts_with("event: gap") { Got::Gap(number) } else { Got::Event(number) })
        });
        got.collect()
    }
}

/// The text of a gzip stream so far. If that is all, the trailer is checked.
#[cfg(feature = "gzip")]
fn gunzip(bytes: &[u8], is_all: bool) -> Vec<u8> {
    let mut text = Vec::new();
    let mut decoder = flate2::bufread::GzDecoder::new(bytes);
    let read = std::io::Read::read_to_end(&mut decoder, &mut text);
    if is_all {
        assert!(decoder.into_inner().is_empty(), "nothing follows the trailer");
        read.expect("a right trailer");
    } else if let Err(error) = read {
        assert_eq!(error.kind(), std::io::ErrorKind::UnexpectedEof, "{error}");
    }
    text
}

#[cfg(not(feature = "gzip"))]
fn gunzip(_bytes: &[u8], _is_all: bool) -> Vec<u8> {
    unreachable!("nothing is compressed")
}

proptest! {
    #[test]
    fn streams_get_the_events_of_their_lists(
        steps in proptest::collection::vec(step(), 1..150),
        uncompressed in any::<bool>(),
        crowd in proptest::option::of(0..TOPICS.len()),
    ) {
        let mut world = World::new(uncompressed);
        if let Some(topic) = crowd {
            world.begin_with_a_crowd(topic);
        }
        for step in steps {
            world.step(step);
            world.check_state();
        }
        world.come_to_rest();
    }
}

#[test]
fn subscribers_are_sorted_again_after_much_coming_and_going() {
    const STREAMS: usize = 3_000;
    let mut world = World::new(false);
    world.delivery.slots.0.resize_with(STREAMS, || None);
    let slots: Vec<u32> = (0..STREAMS as u32).map(|number| number * 1_201 % STREAMS as u32).collect();
    for &slot in &slots {
        world.delivery.slots.0[slot as usize] = Some((Stream::opening(0, 1000, 1), true));
        world.delivery.subscribe(slot, TOPICS[0]);
        world.delivery.open(slot, b"", iter::empty());
        world.delivery.give(slot, 1000, |_| Ok::<_, Infallible>(Written { bytes: 0, all: true })).unwrap();
    }
    world.delivery.queue.clear();
    let event = EncodedEvent::new(&event(0, 10)).unwrap();
    world.delivery.topics.publish(iter::once(TOPICS[0]), &event, None);
    let key = world.delivery.topics.next_dirty().unwrap();
    assert!(!world.delivery.topics.get(key).subscribers.is_sorted());
    world.delivery.begin_wave(key);
    let subscribers = world.delivery.topics.get(key).subscribers.to_vec();
    assert!(subscribers.is_sorted() && subscribers.len() == STREAMS);
    for (place, slot) in (0..).zip(subscribers) {
        let stream = world.delivery.stream(slot).unwrap();
        assert_eq!(stream.topics().collect::<Vec<_>>(), [(key, place)]);
    }
}
