//! The events that a stream is entitled to in each topic: the first, the last, and which may be missing.
//!
//! An event that a stream does not get was either superseded while the stream lagged, or counted in a gap
//! event, or published at a time when it is not for the stream. There is no fourth case.

use crate::counts::Counts;
use crate::kept::Topic;
use crate::model::{Model, OPEN, Stream};
use crate::resume::{Begins, Plan, Token};
use std::collections::VecDeque;

/// A window: the part of a topic that a stream reads, from a subscription to its end.
#[derive(Debug)]
pub(crate) struct Window {
    pub(crate) topic: u8,
    /// The first event that may come next.
    pub(crate) next: u32,
    /// It may get events before this, or not: it is not known whether they were retained.
    free: u32,
    pub(crate) until: u32,
    /// Unsubscribed: unsent events are left out.
    pub(crate) given_up: bool,
    /// Number of events of the topic, and of all events, when it began.
    began: u32,
    since: u32,
    /// The newest event of each key at that time, as far as they have not arrived.
    due: VecDeque<u32>,
    /// It begins with the history, parts of which may have been dropped.
    replays: bool,
    is_patchy: bool,
}

impl Window {
    pub(crate) fn new(topic: u8, next: u32, since: u32) -> Self {
        Self {
            topic,
            next,
            free: next,
            until: OPEN,
            given_up: false,
            began: next,
            since,
            due: VecDeque::new(),
            replays: false,
            is_patchy: false,
        }
    }

    /// Whether it has had every event of its topic that was published after `order`, and none before that is
    /// on its way.
    fn reads_since(&self, order: u32) -> bool {
        !self.given_up && self.since <= order
    }
}

/// Events that a stream did not get, and its gaps.
#[derive(Debug, Default)]
pub(crate) struct Losses {
    /// Those that need a gap, and those that may be counted in one.
    owed: u64,
    doubtful: u64,
    told: u64,
}

impl Stream {
    /// Topics whose history it reads, by their subscriptions.
    fn kept_windows<'a>(&'a self, topics: &'a [Topic]) -> impl Iterator<Item = &'a Window> {
        let windows = self.windows.iter().filter(|window| !window.given_up);
        windows.filter(|window| topics[window.topic as usize].kind.is_kept())
    }

    /// Settles the events of a window up to the one at `to`, which is not among them: the stream did not get
    /// them.
    fn pass(&mut self, at: usize, to: u32, topics: &[Topic], lag_bytes_max: u64, counts: &mut Counts) {
        let window = &self.windows[at];
        let topic = &topics[window.topic as usize];
        for place in window.next..to.min(window.free) {
            // It may have been retained, and dropped before the stream read it.
            let plain = topic.superseded_by(place).is_none() && !topic.is_current(place);
            self.losses.doubtful += u64::from(plain);
        }
        for place in window.next.max(window.free)..to {
            let entry = &topic.entries[place as usize];
            if topic.superseded_by(place).is_some() {
                assert!(
                    self.behind_until >= entry.turn || !self.live,
                    "{place} of {} is conflated though the stream was not behind: {self:?}",
                    window.topic
                );
                counts.conflated += 1;
                continue;
            }
            assert!(
                !topic.is_current(place),
                "{place} of {} is the newest of its key: {self:?}",
                window.topic
            );
            assert!(
                topic.may_skip(entry.turn.max(self.began_turn)),
                "{place} of {} is missing: {self:?}",
                window.topic
            );
            assert!(
                topic.bytes_from(place) >= lag_bytes_max,
                "{place} of {} is skipped though there is little to lag behind: {self:?}",
                window.topic
            );
            counts.skipped += 1;
            if entry.shared {
                // It may count once for each of its topics.
                self.losses.doubtful += 1;
            } else {
                self.losses.owed += 1;
            }
        }
        while let Some(due) = self.windows[at].due.front().copied().filter(|due| *due < to) {
            self.windows[at].due.pop_front();
            assert!(
                // If the topic has not been keyed meanwhile, it is no longer the newest of a key.
                !topic.is_current(due),
                "a snapshot holds {due}: {self:?}"
            );
        }
        let window = &mut self.windows[at];
        window.next = window.next.max(to);
    }

    /// Drops the missing events of a window.
    fn give_up(&mut self, at: usize, end: u32) {
        let window = &mut self.windows[at];
        window.until = window.until.min(end);
        window.given_up = true;
        self.losses.doubtful += u64::from(window.until.saturating_sub(window.next));
    }
}

impl Model {
    pub(crate) fn subscribe(&mut self, index: u32, topic: u8) {
        let order = self.order;
        let stream = &mut self.streams[index as usize];
        let count = self.topics[topic as usize].count();
        if (stream.live || !stream.opened) && !stream.reads(topic) {
            // A stream that was closed already gets all present events.
            let until = if stream.live { OPEN } else { count };
            stream.windows.push(Window { until, ..Window::new(topic, count, order) });
        }
    }

    pub(crate) fn unsubscribe(&mut self, index: u32, topic: u8) {
        let end = self.topics[topic as usize].count();
        let stream = &mut self.streams[index as usize];
        for at in 0..stream.windows.len() {
            if stream.windows[at].topic == topic && stream.windows[at].until == OPEN {
                stream.give_up(at, end);
            }
        }
        stream.windows.retain(|window| window.next < window.until);
    }

    /// The stream begins, after its handler was called and before anything else is published.
    pub(crate) fn begin_reading(&mut self, index: u32) {
        let stream = &mut self.streams[index as usize];
        stream.opened_order = self.order;
        let is_kept = stream.kept_windows(&self.topics).next().is_some();
        stream.says_where = is_kept && !stream.store_answered && !self.own_ids;
        let Plan { begins, id, after_gap_live } = stream.plan.clone();
        stream.closed_early = !stream.live;
        if !stream.live && is_kept && (id.is_some() || begins == Begins::Snapshot) {
            // The application was not asked for missed events.
            for window in stream.windows.iter_mut().filter(|window| !window.given_up) {
                // It closes after the present events.
                window.until = self.topics[window.topic as usize].count();
                (window.next, window.free, window.is_patchy) = (0, window.until, true);
            }
            return;
        }
        if stream.kept_windows(&self.topics).next().is_none() || begins == Begins::Live {
            assert!(!stream.gap && !stream.store_answered, "nothing is missing: {stream:?}");
            return;
        }
        let Some(id) = id else {
            assert!(!stream.gap && !stream.store_answered, "nothing is missing: {stream:?}");
            if begins == Begins::Snapshot {
                self.counts.snapshots += 1;
                self.replay(index, None);
            }
            return;
        };
        let token = self.token(index, &id);
        if self.streams[index as usize].store_answered {
            return;
        }
        if self.streams[index as usize].gap {
            self.counts.gaps += 1;
            self.counts.gaps_off += u64::from(self.config.gap_event.is_none());
            if !after_gap_live {
                self.replay(index, token);
            }
            return;
        }
        let (token, _) = token.unwrap_or_else(|| panic!("an unknown id is a gap: {id}"));
        self.counts.resumed += 1;
        self.counts.own_ids_found += u64::from(token.own);
        let (topics, stream) = (&self.topics, &mut self.streams[index as usize]);
        let mut late = false;
        for window in stream.windows.iter_mut().filter(|window| !window.given_up) {
            let topic = &topics[window.topic as usize];
            if topic.kind.is_kept() {
                let (next, free) = token.places(window.topic, topic);
                late |= free < window.next;
                window.next = window.next.min(next);
                window.free = window.free.min(free);
                window.replays = true;
            }
        }
        self.counts.caught_up += u64::from(late);
    }

    /// The stream first gets the history, or the part of it after `token`.
    fn replay(&mut self, index: u32, token: Option<(Token, bool)>) {
        let (topics, stream) = (&self.topics, &mut self.streams[index as usize]);
        for window in stream.windows.iter_mut().filter(|window| !window.given_up) {
            let topic = &topics[window.topic as usize];
            if !topic.kind.is_kept() {
                continue;
            }
            let (lowest, highest) = topic.horizon(self.now);
            if topic.kind.keyed {
                // It gets all keys again, whatever was seen before.
                window.next = window.next.min(lowest);
                window.due = topic.newest_of_keys().into();
                window.is_patchy = true;
            } else {
                let (next, free) = token.map_or((0, 0), |(token, found)| {
                    let (next, free) = token.places(window.topic, topic);
                    (if found { next } else { 0 }, free)
                });
                window.next = window.next.min(next.max(lowest));
                window.free = window.free.min(free.max(highest));
            }
            window.replays = true;
        }
    }

    /// Whether an event may be missing between the last one that the client saw and the history.
    pub(crate) fn may_have_gap(&self, index: u32) -> bool {
        let stream = &self.streams[index as usize];
        if stream.kept_windows(&self.topics).next().is_none() || stream.plan.begins == Begins::Live {
            return false;
        }
        let Some(id) = &stream.plan.id else { return false };
        let Some((token, found)) = self.token(index, id) else { return true };
        !found
            || stream.kept_windows(&self.topics).any(|window| {
                // The last event that it saw is in the history itself: then so are all after it.
                let topic = &self.topics[window.topic as usize];
                let behind = token.places(window.topic, topic).0;
                behind.checked_sub(1).is_none_or(|last| !topic.keeps(last, self.now))
            })
    }

    /// The position of a stream that has seen this id last, and whether it is certainly found. If several
    /// topics know the id, the oldest event counts.
    fn token(&self, index: u32, id: &str) -> Option<(Token, bool)> {
        if let Some(token) = self.ids.find(id) {
            return Some((token, true));
        }
        let windows = self.streams[index as usize].kept_windows(&self.topics);
        let (mut lowest, mut possible, mut sure) = (u32::MAX, 0, u32::MAX);
        for window in windows {
            let topic = &self.topics[window.topic as usize];
            for (place, surely) in topic.find_own(id, self.now) {
                let order = topic.entries[place as usize].order;
                lowest = lowest.min(order);
                possible = possible.max(order);
                sure = if surely { sure.min(order) } else { sure };
            }
        }
        let highest = possible.min(sure);
        (lowest < u32::MAX).then_some((Token { lowest, highest, exact: 0, own: true }, sure < u32::MAX))
    }

    /// The events that the client has missed, by their numbers and in order; `None` if something has been
    /// published to its stream since.
    pub(crate) fn missed(&self, index: u32) -> Option<Vec<(u8, u32)>> {
        let stream = &self.streams[index as usize];
        let (token, _) = self.token(index, stream.plan.id.as_ref()?)?;
        let pending = |window: &Window| window.next < self.topics[window.topic as usize].count();
        if stream.windows.iter().any(pending) || !stream.live {
            return None;
        }
        let mut missed = Vec::new();
        for window in stream.kept_windows(&self.topics) {
            let topic = &self.topics[window.topic as usize];
            let from = token.places(window.topic, topic).0;
            missed.extend((from..window.next).map(|place| (window.topic, place)));
        }
        missed.sort_unstable_by_key(|(topic, place)| self.entry(*topic, *place).order);
        Some(missed)
    }

    /// The application sends all of these to the stream itself.
    pub(crate) fn answered_from_store(&mut self, index: u32, missed: &[(u8, u32)]) {
        self.counts.missed_answered += 1;
        let stream = &mut self.streams[index as usize];
        stream.store_answered = true;
        stream.store_left = missed.len();
        for window in &mut stream.windows {
            if let Some((_, first)) = missed.iter().find(|(topic, _)| *topic == window.topic) {
                window.next = *first;
                window.free = *first;
            }
        }
    }

    /// Whether a stream is to receive an event of a topic: the window for it.
    fn window_of(&self, index: u32, topic: u8, place: u32) -> Option<usize> {
        let windows = &self.streams[index as usize].windows;
        windows
            .iter()
            .rposition(|window| window.topic == topic && window.next <= place && place < window.until)
    }

    /// A stream has received an event of several topics, in these places.
    pub(crate) fn received_of_several(&mut self, index: u32, places: &[(u8, u32)]) {
        let windows = places.iter().filter_map(|(topic, place)| {
            let at = self.window_of(index, *topic, *place)?;
            Some((*topic, *place, at, self.streams[index as usize].windows[at].given_up))
        });
        let (left, read): (Vec<_>, Vec<_>) = windows.partition(|(_, _, _, given_up)| *given_up);
        let stream = &mut self.streams[index as usize];
        assert!(left.len() + read.len() > 0, "{places:?} are not for it, or twice: {index}, {stream:?}");
        self.counts.several_once += u64::from(read.len() > 1);
        // If the stream had lost it in one topic, it was counted there, though it arrived through another.
        stream.losses.doubtful += (left.len() + read.len() - 1) as u64;
        if let ([(topic, place, ..)], []) = (&left[..], &read[..]) {
            return self.received_of_topic(index, *topic, *place);
        }
        // Earlier events of a topic that the stream has left may have been left out.
        for (_, place, at, _) in left {
            stream.windows[at].next = place + 1;
        }
        for (topic, place, ..) in read {
            self.received_of_topic(index, topic, place);
        }
    }

    /// A stream has received an event of a topic.
    pub(crate) fn received_of_topic(&mut self, index: u32, topic: u8, place: u32) {
        let at = self.window_of(index, topic, place);
        let stream = &mut self.streams[index as usize];
        let Some(at) = at else {
            panic!("{place} of topic {topic} is not for it, or twice: {index}, {stream:?}");
        };
        let lag_bytes_max = self.config.lag_bytes_max as u64;
        let log = &self.topics[topic as usize];
        let window = &stream.windows[at];
        let stale = log.superseded_by(place).is_some_and(|by| by < window.began);
        assert!(!(window.replays && stale), "{place} was superseded when it began: {stream:?}");
        stream.pass(at, place, &self.topics, lag_bytes_max, &mut self.counts);
        let window = &mut stream.windows[at];
        window.next = place + 1;
        if window.due.front() == Some(&place) {
            window.due.pop_front();
        }
        if !window.is_patchy {
            window.free = 0;
        }
        self.counts.removed += u64::from(log.removes_key(place));
        // A stream that gets an event of a later subscription gets no more of an earlier one.
        if stream.windows.len() > self.topics.len() {
            stream.windows.retain(|window| window.topic != topic || window.until > place);
        }
        if self.config.gap_event.is_some() {
            assert!(stream.losses.owed <= stream.losses.told, "its gap comes first: {stream:?}");
        }
    }

    /// A stream gets a gap, with its size if that is known.
    pub(crate) fn received_gap(&mut self, index: u32, missed: Option<u64>) {
        let stream = &mut self.streams[index as usize];
        if let Some(missed) = missed {
            assert!(missed > 0, "nothing is no gap: {stream:?}");
            stream.losses.told += missed;
            self.counts.gaps_counted += 1;
            return;
        }
        stream.gap |= stream.closed_early;
        assert!(stream.gap && !stream.gap_seen && stream.last_order == 0, "it got a gap: {stream:?}");
        stream.gap_seen = true;
    }

    /// Checks that a stream that gets no more has received everything it was entitled to, or a gap.
    pub(crate) fn check_received(&mut self, index: u32) {
        let lag_bytes_max = self.config.lag_bytes_max as u64;
        let stream = &mut self.streams[index as usize];
        for at in 0..stream.windows.len() {
            let window = &stream.windows[at];
            if !window.given_up {
                let end = window.until.min(self.topics[window.topic as usize].count());
                stream.pass(at, end, &self.topics, lag_bytes_max, &mut self.counts);
            }
        }
        let Losses { owed, doubtful, told, .. } = stream.losses;
        if self.config.gap_event.is_some() {
            assert!(
                (owed..=owed + doubtful).contains(&told),
                "{owed} are lost, {told} were told of: {index}, {stream:?}"
            );
            assert_eq!(stream.gap, stream.gap_seen, "it got its gap: {stream:?}");
        } else {
            assert_eq!(told, 0, "gaps are off: {stream:?}");
        }
        assert_eq!(stream.store_left, 0, "all events sent instead: {stream:?}");
    }

    /// A heartbeat has the position of a stream.
    pub(crate) fn received_beat(&mut self, index: u32, id: &str) {
        let stream = &self.streams[index as usize];
        let since = stream.last_order.max(stream.began_order);
        let exact = stream.windows.iter().filter(|window| window.reads_since(since));
        let exact = exact.fold(0, |exact, window| exact | 1 << window.topic);
        // An id is that of an event, after which others may have been sent.
        let lowest = self.published_by(since);
        self.ids.learn(id, Token { lowest, highest: self.order, exact, own: false });
        self.counts.dated_beats += 1;
    }

    /// The first frame of a stream has the position at which it begins: that of its first event, which is not
    /// known yet.
    pub(crate) fn received_beginning(&mut self, index: u32, id: Option<&str>) {
        let stream = &self.streams[index as usize];
        let Some(id) = id else {
            assert!(!stream.says_where, "the first of a stream says where it begins: {stream:?}");
            return;
        };
        if self.is_own_id(id) {
            return;
        }
        assert!(stream.says_where, "a stream begins with an id: {stream:?}");
        self.ids.learn(id, Token { lowest: 0, highest: stream.opened_order, exact: 0, own: false });
        self.counts.beginnings += 1;
    }

    /// Whether its first frame has no name, though heartbeats have: it would be a gap that is not reported.
    pub(crate) fn may_be_unnamed(&self, index: u32) -> bool {
        let stream = &self.streams[index as usize];
        self.config.gap_event.is_none() && (stream.gap || stream.closed_early)
    }

    /// Every stream that reads has got everything, and has room.
    pub(crate) fn all_caught_up(&mut self, index: u32) {
        self.streams[index as usize].behind_until = self.turn;
    }
}
