//! Interplay of the loops of one server: a handler of any loop publishes, and its later calls for streams of
//! any loop take effect after that.

use crate::lives::story::{Entry, Story, TOPICS};
use mio_sse::{CloseReason, Context, Error, Event, Ids, Position, Publisher, StreamId};
use std::collections::{BTreeSet, HashMap};
use std::time::Duration;

/// Largest number of loops of a server.
pub(crate) const LOOPS_MAX: usize = 3;

/// More than there are places between two published events.
const BURST: u32 = 4_100;

/// Number of tags. Only streams with the first are ever closed by it.
const TAGS: u32 = 4;

/// The tag of a client's streams.
pub(crate) fn tag_of(client: u32) -> String {
    format!("tag {}", client % TAGS)
}

/// An open stream in any of the loops.
pub(crate) struct Open {
    pub(crate) stream: StreamId,
    pub(crate) process: u32,
    /// The client and its attempt.
    pub(crate) who: (u32, u32),
    /// The application closes it by itself.
    pub(crate) ends: bool,
    /// The first event that was not published when it opened.
    pub(crate) next: u32,
    /// It is to be closed after all events before this.
    pub(crate) closes: Option<u32>,
}

impl Open {
    /// A loop has requested its close, after all events before `until`. It is not known which comes first.
    fn is_to_close(&mut self, until: u32) {
        self.closes = Some(self.closes.map_or(until, |closes| closes.min(until)));
    }
}

/// Calls that concern all loops.
#[derive(Default)]
pub(crate) struct Together {
    pub(crate) open: Vec<Open>,
    /// Pending private events of each stream, each with the loop whose handler sent it.
    pub(crate) sent: HashMap<(u32, u32), Vec<(u64, usize)>>,
    serial: u64,
    /// The client and attempt of the last call.
    last: Option<(u32, u32)>,
    /// Events that were sent to no stream, as there was no room or no memory.
    unsent: BTreeSet<u64>,
    /// Streams that were closed as requested.
    pub(crate) asked: BTreeSet<(u32, u32)>,
    /// Processes in which streams with the first tag were closed, each time after all events before one, and
    /// those in which they were refused.
    closed_first_tag: Vec<(u32, u32)>,
    revoked_first_tag: BTreeSet<u32>,
    /// The id of each event, and the event of each id.
    ids: HashMap<(u32, u32), String>,
    numbers: HashMap<(u32, String), u32>,
}

impl Together {
    /// Whether every requested close has happened.
    pub(crate) fn is_at_rest(&self) -> bool {
        self.open.iter().all(|open| open.closes.is_none())
    }

    /// A process has ended, and with it all its streams.
    pub(crate) fn ends(&mut self, process: u32) {
        self.open.retain(|open| open.process != process);
    }

    /// A stream was closed, before the event `end`.
    pub(crate) fn is_closed(&mut self, (stream, process): (StreamId, u32), reason: CloseReason, end: u32) {
        let is_it = |open: &Open| open.stream == stream && open.process == process;
        let place = self.open.iter().position(is_it).expect("it was opened");
        let Open { who, ends, next, closes, .. } = self.open.swap_remove(place);
        // Calls from before it opened that were still pending.
        let mut earlier =
            self.closed_first_tag.iter().filter(|(its, until)| *its == process && *until >= next);
        let earlier = earlier.next().map(|(_, until)| *until).filter(|_| who.0.is_multiple_of(TAGS));
        let asked = [closes, earlier].into_iter().flatten().min();
        if asked.is_some() {
            self.asked.insert(who);
        }
        if ends || !matches!(reason, CloseReason::Application | CloseReason::Revoked) {
            return;
        }
        let behind = asked.unwrap_or_else(|| panic!("{who:?} was closed without a request"));
        assert!(
            end >= behind,
            "{who:?} was closed before {end}, though it was to be after all before {behind}"
        );
    }

    /// A private event has arrived. Returns the event before which all others have to be there.
    pub(crate) fn is_sent(&mut self, who: (u32, u32), data: &str, serials: &mut [u64; LOOPS_MAX]) -> u32 {
        let mut parts = data.split(' ').map(|part| part.parse::<u64>().expect("a number"));
        let mut part = || parts.next().expect("three numbers");
        let (at, serial, until) = (usize::try_from(part()).expect("a loop"), part(), part());
        assert!(!self.unsent.contains(&serial), "{serial} was not sent");
        assert!(serials[at] < serial, "{serial} comes to {who:?} after {} of the same loop", serials[at]);
        serials[at] = serial;
        if let Some(sent) = self.sent.get_mut(&who) {
            // A newer stream may get an event that was sent to its tag.
            let lost = sent.iter().find(|(found, of)| *of == at && *found < serial);
            assert_eq!(lost, None, "{serial} comes to {who:?}, and what was sent before has not");
            sent.retain(|(found, _)| *found != serial);
            if sent.is_empty() {
                self.sent.remove(&who);
            }
        }
        u32::try_from(until).expect("few events")
    }

    /// An event has arrived with an id, which is the same in all loops.
    pub(crate) fn is_named(&mut self, process: u32, number: u32, id: String) {
        let known = self.ids.entry((process, number)).or_insert_with(|| id.clone());
        assert_eq!(*known, id, "{number} has two ids");
        let known = *self.numbers.entry((process, id)).or_insert(number);
        assert_eq!(known, number, "two events have one id");
    }

    /// Whether a client may be refused for its tag.
    pub(crate) fn is_revoked(&self, process: u32, client: u32) -> bool {
        self.revoked_first_tag.contains(&process) && client.is_multiple_of(TAGS)
    }
}

/// Ways of publishing.
pub(crate) enum Way<'w, 'c> {
    Thread(&'w Publisher),
    Handler(&'w mut Context<'c>),
}

impl Story {
    /// Publishes the next event that was not published in a process. Returns whether there was one, and room
    /// for it.
    pub(crate) fn publish_next(&mut self, process: u32, mut way: Way<'_, '_>) -> bool {
        while let Some(entry) = self.entries.get(self.feed[process as usize] as usize) {
            if entry.process.is_some_and(|its| its != process) {
                self.feed[process as usize] += 1;
                continue;
            }
            let number = self.feed[process as usize];
            if let Err(error) = self.publish_entry(number, process, &mut way) {
                let expected = matches!(error, Error::Full | Error::TooMuchMemory | Error::Stopped);
                assert!(expected, "it can be published: {error}");
                if error == Error::Full {
                    self.count("inboxes without room");
                }
                return false;
            }
            self.feed[process as usize] += 1;
            return true;
        }
        false
    }

    fn publish_entry(&mut self, number: u32, process: u32, way: &mut Way<'_, '_>) -> Result<(), Error> {
        let entry = &self.entries[number as usize];
        let (topic, position) = (TOPICS[usize::from(entry.topic)], entry.position);
        let event = self.event(number, false);
        // Finishing an unused topic changes nothing.
        let with_another = position.is_none() && self.scenario.is_sharded() && self.rng.u8(..8) == 0;
        let topics = [topic, NOBODYS];
        match way {
            Way::Thread(publisher) if entry.finishes => publisher.finish_topic(topic)?,
            Way::Thread(publisher) => match position {
                Some(position) => publisher.publish_at(topic, position, event)?,
                None if with_another => publisher.publish_all(topics, event)?,
                None => publisher.publish(topic, event)?,
            },
            Way::Handler(cx) if entry.finishes => {
                cx.finish_topic(topic)?;
                if !self.scenario.is_sharded() {
                    self.ends_at(process, entry.topic);
                    if self.scenario.kinds[usize::from(entry.topic)].has_ids {
                        assert_eq!(cx.publish(topic, Event::new().data("too late")), Err(Error::Finished));
                    }
                }
            }
            Way::Handler(cx) => match position {
                Some(position) => cx.publish_at(topic, position, event)?,
                None if with_another => cx.publish_all(topics, event)?,
                None => cx.publish(topic, event)?,
            },
        }
        self.note(|| format!("{number} is published in {process}"));
        if self.scenario.is_sharded() {
            let by_handler = matches!(way, Way::Handler(_));
            let (handlers, others) = (
                "events published by handlers of several loops",
                "events published by others to several loops",
            );
            self.count(if by_handler { handlers } else { others });
        }
        Ok(())
    }

    /// One more than the number of the newest event that was given to a process.
    pub(crate) fn published_until(&self, process: u32) -> u32 {
        let mut entries = self.entries[..self.feed[process as usize] as usize].iter();
        let is_its = |entry: &Entry| !entry.finishes && entry.process.is_none_or(|its| its == process);
        entries.rposition(is_its).map_or(0, |place| u32::try_from(place + 1).expect("few events"))
    }

    /// Sometimes a callback of a loop publishes, and makes a call after that.
    pub(crate) fn act_together(&mut self, (process, at): (u32, usize), cx: &mut Context<'_>) {
        if !self.scenario.is_sharded() || self.rng.bool() {
            return;
        }
        let mut until = 0;
        for _ in 0..self.rng.u8(..3) {
            let publishes = self.rng.u8(..100) < self.scenario.by_handlers;
            if publishes && self.publish_next(process, Way::Handler(cx)) {
                until = self.published_until(process);
            }
        }
        for _ in 0..self.rng.u8(..3) {
            // Even if this loop has published nothing now: what it has sent before comes first.
            self.act_behind((process, at), until, cx);
        }
    }

    /// A handler of a loop makes a call after all events it has published, which are before `until`.
    pub(crate) fn act_behind(&mut self, from: (u32, usize), until: u32, cx: &mut Context<'_>) {
        let closes = !self.settles;
        match self.rng.u8(..32) {
            0..12 => self.send_behind(from, until, cx),
            12..14 if closes => self.close_behind(from, until, cx),
            14..18 => self.send_to_tag(from, until, cx),
            18 if closes && until > 0 => self.close_first_tag(from, until, cx),
            19 => self.publish_too_late(from.0, cx),
            20 if self.rng.u8(..8) == 0 => self.send_burst(from.0, cx),
            _ => {}
        }
    }

    /// Any stream of a process, often the same as before.
    fn draw_open(&mut self, process: u32) -> Option<&mut Open> {
        let last = self.together.last.filter(|_| self.rng.bool());
        let is_it = |open: &&mut Open| open.process == process && last.is_none_or(|last| open.who == last);
        let open = self.rng.choice(self.together.open.iter_mut().filter(is_it).collect::<Vec<_>>())?;
        self.together.last = Some(open.who);
        Some(open)
    }

    fn send_behind(&mut self, (process, at): (u32, usize), until: u32, cx: &mut Context<'_>) {
        let Some(Open { stream, who, .. }) = self.draw_open(process) else { return };
        let (stream, who) = (*stream, *who);
        // Sometimes more than a loop takes from its inbox at once.
        let count = if self.rng.u8(..8) == 0 { self.rng.u8(..100) } else { 1 };
        for _ in 0..count {
            let (serial, event) = self.event_behind(at, until);
            let sent = cx.send(stream, event);
            self.note(|| format!("{serial} is sent by {at} to {who:?}, after {until}: {sent:?}"));
            assert_ne!(sent, Err(Error::OtherLoop), "any loop may send to it");
            if sent.is_err() {
                self.together.unsent.insert(serial);
                return;
            }
            self.together.sent.entry(who).or_default().push((serial, at));
            self.count("sent behind");
        }
    }

    fn close_behind(&mut self, (process, at): (u32, usize), until: u32, cx: &mut Context<'_>) {
        let Some(open) = self.draw_open(process) else { return };
        let closed = cx.close(open.stream);
        assert_ne!(closed, Err(Error::OtherLoop), "any loop may close it");
        if closed.is_ok() {
            open.is_to_close(until);
            let who = open.who;
            self.note(|| format!("{who:?} is closed by {at}, after {until}"));
            self.count("closed behind");
        }
    }

    fn send_to_tag(&mut self, (process, at): (u32, usize), until: u32, cx: &mut Context<'_>) {
        let tag = self.rng.u32(..TAGS);
        let (serial, event) = self.event_behind(at, until);
        let sent = cx.send_tagged(&tag_of(tag), event);
        self.note(|| format!("{serial} is sent by {at} to the tag {tag}, after {until}: {sent:?}"));
        if sent.is_err() {
            self.together.unsent.insert(serial);
            return;
        }
        let its = |open: &&Open| open.process == process && open.who.0 % TAGS == tag;
        for Open { who, .. } in self.together.open.iter().filter(its) {
            self.together.sent.entry(*who).or_default().push((serial, at));
        }
        self.count("sent to a tag");
    }

    fn close_first_tag(&mut self, (process, at): (u32, usize), until: u32, cx: &mut Context<'_>) {
        self.together.closed_first_tag.push((process, until));
        if self.rng.bool() {
            cx.close_tagged(&tag_of(0));
        } else {
            // The revocation ends with the turn.
            self.together.revoked_first_tag.insert(process);
            cx.revoke(&tag_of(0), Duration::ZERO);
        }
        let its = |open: &&mut Open| open.process == process && open.who.0.is_multiple_of(TAGS);
        for open in self.together.open.iter_mut().filter(its) {
            open.is_to_close(until);
        }
        self.note(|| format!("all with the first tag are closed by {at}, after {until}"));
        self.count("closed with a tag");
    }

    /// Sends so much to a stream that no place is left before the next published event.
    fn send_burst(&mut self, process: u32, cx: &mut Context<'_>) {
        let Some(Open { stream, .. }) = self.draw_open(process) else { return };
        let stream = *stream;
        (0..BURST).all(|_| cx.send(stream, Event::new().data("").event("tick")).is_ok());
        self.count("bursts to one stream");
    }

    /// A handler publishes to a finished topic: no stream gets the event, in any loop.
    fn publish_too_late(&mut self, process: u32, cx: &mut Context<'_>) {
        let given = &self.entries[..self.feed[process as usize] as usize];
        let finished = given.iter().filter(|entry| entry.finishes).map(|entry| usize::from(entry.topic));
        let is_known = |topic: &usize| {
            let kind = &self.scenario.kinds[*topic];
            kind.has_ids && kind.is_ageless
        };
        let Some(topic) = self.rng.choice(finished.filter(is_known).collect::<Vec<_>>()) else { return };
        let event = Event::new().data("too late");
        let published = match self.scenario.ids {
            Ids::Ordered => {
                let next = given.iter().rev().find_map(|entry| entry.position).unwrap_or_default();
                cx.publish_at(TOPICS[topic], Position::new(next.ms(), next.n() + 1), event)
            }
            _ => cx.publish(TOPICS[topic], event),
        };
        self.note(|| {
            format!("an event without effect is published to {} in {process}: {published:?}", TOPICS[topic])
        });
        self.count("published to what has finished");
    }

    /// An event that is sent after all events before `until`, and its number.
    fn event_behind(&mut self, at: usize, until: u32) -> (u64, Event<'static>) {
        self.together.serial += 1;
        let serial = self.together.serial;
        (serial, Event::new().data(format!("{at} {serial} {until}")).event("sent"))
    }
}

/// A topic without subscribers.
pub(crate) const NOBODYS: &str = "nobody's";
