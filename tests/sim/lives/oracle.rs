//! The whole life of a client: it has a gap for every event that it has missed.

use crate::lives::story::{Entry, Opening, Story, TOPICS};
use mio_sse::{CloseReason, Ids, Missed};
use std::collections::HashSet;
use std::ops::Range;

pub(crate) struct Life {
    /// Topics, as a bit mask.
    pub(crate) topics: u8,
    /// For each topic, the client is entitled to every event from this number on, unless it was published
    /// before the client came.
    owed: [u32; TOPICS.len()],
    seen: HashSet<u32>,
    /// It has an id to resume with: from now on it gets gaps.
    is_entitled: bool,
    /// The process whose events it received last.
    home: Option<u32>,
    /// It continues with this number or a later one: after the newest, unless it has started anew.
    at: u32,
    /// Of the events of a keyed topic before this, it may have received only the newest of each key.
    anew_until: u32,
    /// This many more events may be missing, by its gaps.
    told: u64,
    /// Of these, the ones of gaps since its last event or id. After that id, it is entitled to them again.
    told_behind_id: u64,
    stream: Option<Stream>,
}

/// State of its present stream.
struct Stream {
    opening: Opening,
    /// It began without an id.
    is_new: bool,
    /// The first event with the id it began with, and whether there is another.
    place: Option<u32>,
    is_twice: bool,
    /// It got a gap, with or without a number.
    gap: bool,
    counted_gap: bool,
    /// It resumed with an id that is unknown here, so it has to get a gap; or with one after which everything
    /// is retained.
    is_strange: bool,
    has_all: bool,
    gap_is_due: bool,
    /// The newest number so far.
    last: Option<u32>,
    /// Topics with events that have arrived.
    came: u8,
    greetings: u8,
    /// The event of the last id that has arrived, if that is known.
    named: Option<u32>,
}

impl Stream {
    /// Whether an event may arrive that its client has seen already.
    fn may_come_again(&self, number: u32, topic: usize, story: &Story) -> bool {
        let (gap, made_up) = (self.gap, self.opening.made_up.is_some());
        // Without a history, it is not known what came from a loop that was ahead of this one.
        let is_unknown = story.scenario.is_sharded() && !story.scenario.kinds[topic].has_ids;
        let again = made_up || self.is_new || gap && story.is_keyed(topic) || is_unknown;
        again
            || match story.scenario.ids {
                Ids::Generated => gap && self.is_strange,
                // An event without an id, or with one that is used twice, comes again. With an unknown id, it
                // is also unknown what was seen.
                Ids::Own => gap || self.place.is_some_and(|place| place < number),
                Ids::Ordered => false,
            }
    }
}

impl Life {
    pub(crate) fn new(topics: u8) -> Self {
        Self {
            topics,
            owed: Default::default(),
            seen: HashSet::new(),
            is_entitled: false,
            home: None,
            at: 0,
            anew_until: 0,
            told: 0,
            told_behind_id: 0,
            stream: None,
        }
    }

    fn reads(&self) -> impl Iterator<Item = usize> + use<> {
        let topics = self.topics;
        (0..TOPICS.len()).filter(move |topic| topics & 1 << topic != 0)
    }

    /// A stream has opened for it.
    pub(crate) fn begins(&mut self, opening: Opening, id: &str, story: &mut Story) {
        story.count("streams");
        let is_shared = story.scenario.is_shared();
        let is_elsewhere = self.home.is_some_and(|home| home != opening.process);
        let gap_is_due = self.is_entitled && is_elsewhere && !is_shared;
        if gap_is_due {
            story.count("strangers");
        }
        if !self.is_entitled || is_shared {
            self.home = Some(opening.process);
        }
        let found = story.find(id);
        let is_known = match (story.scenario.ids, found) {
            (Ids::Generated, _) => self.is_entitled && !is_elsewhere,
            (Ids::Own, Some((first, last))) => first >= opening.begin && last < opening.known,
            (Ids::Ordered, Some((place, _))) => place >= opening.begin && opening.begin < opening.known,
            (_, None) => false,
        };
        // Events that one topic has dropped may count as those of any topic that does not exist at the time.
        let has_all = is_known && story.scenario.kinds.iter().all(|kind| kind.keeps_all);
        for topic in self.reads() {
            let (owed, kind) = (&mut self.owed[topic], &story.scenario.kinds[topic]);
            if !kind.has_ids || !self.is_entitled {
                let has_rest = kind.keeps_all || kind.keyed;
                *owed = if opening.replays && has_rest { opening.begin } else { opening.next };
            }
        }
        self.skips_to_second(id, opening.begin, opening.known, story);
        self.told = self.told.saturating_sub(std::mem::take(&mut self.told_behind_id));
        if !self.is_entitled {
            (self.told, self.anew_until) = (0, opening.next);
        }
        if story.scenario.is_sharded() && is_known && self.at > opening.next {
            story.count("streams ahead of their loop");
        }
        self.stream = Some(Stream {
            opening,
            is_new: id.is_empty(),
            place: found.map(|(first, _)| first),
            is_twice: found.is_some_and(|(first, last)| first < last),
            gap: false,
            counted_gap: false,
            is_strange: gap_is_due,
            has_all,
            gap_is_due,
            last: None,
            came: 0,
            greetings: 0,
            named: None,
        });
    }

    /// An id that was used twice means its first place. But if that event was dropped, this is not known.
    fn skips_to_second(&mut self, id: &str, begin: u32, known: u32, story: &Story) {
        let Some((first, last)) = story.find(id).filter(|(first, last)| first < last && *last < known) else {
            return;
        };
        let topic = usize::from(story.entries[first as usize].topic);
        if !story.scenario.kinds[topic].keeps_all || first < begin {
            self.owed.iter_mut().for_each(|owed| *owed = (last + 1).max(*owed));
        }
    }

    /// After its newest event, or where it began if none has arrived: it is not entitled to anything before.
    pub(crate) fn goes_on_with(&self) -> u32 {
        self.reads().map(|topic| self.owed[topic]).min().unwrap_or(0).max(self.at)
    }

    /// It resumes with an id that it had when it read this process, and would have continued with the event
    /// `at`.
    pub(crate) fn goes_back(&mut self, process: u32, at: u32) {
        (self.home, self.at) = (Some(process), 0);
        self.owed.iter_mut().for_each(|owed| *owed = at.max(*owed));
    }

    fn stream(&mut self) -> &mut Stream {
        self.stream.as_mut().expect("an open stream")
    }

    /// It has an id to resume with, of an event that arrives with it or of an earlier one.
    pub(crate) fn is_placed(&mut self, id: &str, is_event: bool, story: &Story) {
        let is_own = story.scenario.ids != Ids::Own || story.find(id).is_some();
        assert!(is_own, "{id} is none of the application's");
        self.is_entitled = true;
        let Some((first, _)) = story.find(id) else { return };
        let stream = self.stream.as_mut().expect("an open stream");
        if stream.named.or(stream.place).is_none_or(|before| before < first) {
            self.told_behind_id = 0;
        }
        stream.named = Some(first);
        if stream.is_new && stream.last.is_none() && !is_event {
            // Events that were superseded here do not arrive, even if the newer one has not been published
            // yet.
            for topic in self.reads().filter(|topic| story.is_keyed(*topic)) {
                self.owed[topic] = self.owed[topic].max(first + 1);
            }
        }
    }

    /// Input of its stream has arrived. The position at which it begins comes first.
    pub(crate) fn hears(&self) {
        let has_position = self.stream.as_ref().is_some_and(|stream| stream.opening.has_position);
        assert!(self.is_entitled || !has_position, "a stream begins without an id");
    }

    pub(crate) fn is_greeted(&mut self) {
        let stream = self.stream();
        assert!(stream.last.is_none() && !stream.gap_is_due, "a greeting comes first, but for gaps");
        stream.greetings += 1;
        assert!(stream.greetings <= stream.opening.greetings, "each greeting comes once");
    }

    /// Something has arrived that was sent after all events before `until`.
    pub(crate) fn is_sent(&self, until: u32, story: &Story) {
        let stream = self.stream.as_ref().expect("an open stream");
        let is_brought = stream.opening.made_up.is_some() && !stream.gap;
        let missing = self.check_up_to(until, story).err().filter(|_| !is_brought);
        assert_eq!(missing, None, "what was sent after all before {until} comes first");
    }

    /// It gets a gap, with its size if that is known.
    pub(crate) fn is_told(&mut self, count: &str, story: &mut Story) {
        if let Ok(count) = count.parse::<u64>() {
            assert!(count > 0, "nothing is no gap");
            story.count("gaps with a number");
            self.told += count;
            self.told_behind_id += count;
            self.stream().counted_gap = true;
            return;
        }
        story.count("gaps");
        let stream = self.stream();
        assert!(count.is_empty() && !stream.gap, "one gap at a time");
        assert!(!stream.has_all, "it got a gap, and nothing is missing");
        (stream.gap, stream.gap_is_due) = (true, false);
        let Opening { process, next, begin, made_up, .. } = stream.opening;
        // A position is valid everywhere.
        let is_keyed = self.reads().any(|topic| story.is_keyed(topic));
        let may_repeat = is_keyed || story.scenario.ids != Ids::Ordered;
        (self.told, self.told_behind_id, self.anew_until) = (0, 0, next);
        if may_repeat {
            self.at = 0;
        }
        self.home = Some(process);
        for owed in &mut self.owed {
            // A client that is ahead of a log that all servers share stays so.
            let least = if story.scenario.is_shared() { *owed } else { 0 };
            *owed = least.max(next);
        }
        if !story.scenario.after_gap_live && made_up.is_none() && begin < next {
            self.begin_keys_anew(begin..next, story);
        }
    }

    /// It gets the newest event of all keys again, whether it has seen them or not.
    fn begin_keys_anew(&mut self, here: Range<u32>, story: &Story) {
        for topic in self.reads().filter(|topic| story.is_keyed(*topic)) {
            // Events that it was not entitled to before, though they were not published here, remain so.
            let is_its = |number: &u32| usize::from(story.entries[*number as usize].topic) == topic;
            self.seen.extend((here.end..self.owed[topic]).filter(is_its));
            self.owed[topic] = here.start;
        }
        self.seen.retain(|number| !here.contains(number) || story.entries[*number as usize].key.is_none());
    }

    /// Whether the event is no longer needed, or its absence cannot be noticed.
    fn is_excused(&self, number: u32, entry: &Entry, story: &Story) -> bool {
        let is_elsewhere = entry.process.is_some_and(|process| Some(process) != self.home);
        let next = self.home.map_or(0, |home| story.next[home as usize]);
        let is_superseded = entry.superseded_by.is_some_and(|by| by < next);
        let is_newest = entry.key.is_some() && !entry.removes_key;
        let is_unkept = story.is_keyed(entry.topic.into()) && number < self.anew_until && !is_newest;
        entry.finishes || is_elsewhere || is_superseded || is_unkept || self.seen.contains(&number)
    }

    /// The events that it should have received before the event `until`.
    fn missing(&self, until: u32, story: &Story) -> Vec<u32> {
        let from = self.reads().map(|topic| self.owed[topic]).min().unwrap_or(until);
        let missing = |number: &u32| {
            let entry = &story.entries[*number as usize];
            let topic = usize::from(entry.topic);
            let is_owed = self.topics & 1 << topic != 0 && self.owed[topic] <= *number;
            is_owed && !self.is_excused(*number, entry, story)
        };
        (from..until).filter(missing).collect()
    }

    pub(crate) fn receives(&mut self, number: u32, story: &mut Story) {
        story.count("events received");
        let entry = &story.entries[number as usize];
        let (topic, bit) = (usize::from(entry.topic), 1 << entry.topic);
        let moves = entry.id.is_some() || story.scenario.ids != Ids::Own;
        let stream = self.stream.as_ref().expect("an open stream");
        let greeted = stream.greetings == stream.opening.greetings;
        assert!(greeted, "{number} comes before the greetings");
        assert!(self.topics & bit != 0, "{number} is of a topic that it does not read");
        assert!(!stream.gap_is_due, "{number} comes without the gap that was due");
        assert!(entry.process.is_none_or(|process| process == stream.opening.process), "{number} is of here");
        assert!(stream.last.is_none_or(|last| last < number), "{number} is out of order");
        assert!(stream.named.is_none_or(|named| named <= number), "an id was ahead of {number}");
        let later = stream.opening.made_up == Some(Missed::Later);
        let is_brought = later && !stream.gap && number < stream.opening.next;
        assert!(!is_brought || !stream.counted_gap, "{number} is brought, after a gap of later events");
        let keyed = story.is_keyed(topic);
        if self.seen.contains(&number) {
            let again = self.at <= number || stream.may_come_again(number, topic, story);
            assert!(again, "{number} comes twice, before {}", self.at);
            story.count("events received again");
        } else if number < self.owed[topic] {
            assert!(!stream.is_new || stream.opening.snapshot, "{number} comes from before");
            if stream.came & bit == 0 && moves {
                // The history arrives without a hole, after the id with which it would resume.
                self.owed[topic] = number + 1;
            }
        }
        // Its events have one order over all topics: events published earlier have arrived by now, or never
        // will.
        let counted = stream.counted_gap;
        let missing = self.missing(number, story);
        let few = &missing[..missing.len().min(8)];
        let told = self.told.checked_sub(missing.len() as u64);
        self.told = told.unwrap_or_else(|| panic!("{number} comes, but not {few:?}; gaps of {}", self.told));
        // If a stream starts anew, the number also counts events to which the client is not entitled.
        let begins_anew = stream.is_new && stream.opening.snapshot || stream.gap || stream.is_twice;
        let is_made_up = stream.opening.made_up.is_some();
        let is_new = begins_anew || is_made_up;
        let has_ids = story.scenario.kinds[topic].has_ids;
        if !is_new && !keyed && has_ids && self.topics == bit {
            // Repeated events may be lost again. So may those after its id that were published before the
            // client came, or before its gap.
            let from = stream.last.or(stream.place).map_or(0, |last| last + 1);
            let is_unowed = |number: &u32| {
                let Entry { topic: its, process, finishes, .. } = &story.entries[*number as usize];
                let is_here = process.is_none_or(|process| process == stream.opening.process);
                usize::from(*its) == topic && is_here && !finishes && *number < self.owed[topic]
            };
            let again = |number: &u32| self.seen.contains(number) || is_unowed(number);
            let again = (from..number).filter(again).count() as u64;
            let too_many = counted && self.told > again;
            assert!(!too_many, "{number} comes after a gap of {}, too many", self.told);
        }
        if !keyed && has_ids && self.topics == bit && !is_made_up {
            // With several topics the gap may concern later events of another topic.
            self.told = 0;
        }
        for topic in self.reads() {
            self.owed[topic] = self.owed[topic].max(number);
        }
        self.seen.insert(number);
        (self.at, self.told_behind_id) = (number + 1, 0);
        let stream = self.stream();
        (stream.last, stream.counted_gap) = (Some(number), false);
        stream.came |= if moves { bit } else { 0 };
    }

    /// Its stream has ended cleanly, for a reason and before an event, or was cut. `is_asked` is whether any
    /// loop has requested that.
    pub(crate) fn ends(&mut self, clean: Option<(CloseReason, u32)>, is_asked: bool, story: &mut Story) {
        if let Some((reason, until)) = clean
            && let Some(stream) = &self.stream
        {
            match reason {
                CloseReason::Application => story.count("ended by the application"),
                CloseReason::Finished => story.count("ended as finished"),
                CloseReason::Drained => story.count("ended by a drain"),
                _ => {}
            }
            // If events were still to be brought, the rest comes after them.
            let is_over = reason == CloseReason::Finished || reason == CloseReason::Application && !is_asked;
            let is_brought = stream.opening.made_up == Some(Missed::Later) && !is_over;
            let missing = self.check_up_to(until, story).err().filter(|_| !is_brought || stream.gap);
            assert_eq!(missing, None, "it ends before {until}: {reason}");
        }
        // If it is cut off before all keys have arrived again, it may have an older id, with which others
        // continue.
        let anew = self.stream.as_ref().filter(|stream| stream.gap || stream.is_new);
        let next = anew.map_or(0, |stream| stream.opening.next);
        for topic in self.reads().filter(|topic| story.is_keyed(*topic)) {
            self.owed[topic] = self.owed[topic].max(next);
        }
        for topic in self.reads().filter(|topic| !story.scenario.kinds[*topic].has_ids) {
            self.owed[topic] = u32::MAX;
        }
        self.stream = None;
    }

    /// Whether all its topics have finished, and none of their events is missing.
    pub(crate) fn has_seen_all(&mut self, process: u32, id: &str, story: &Story) -> bool {
        if self.topics & !story.finished != 0 {
            return false;
        }
        self.skips_to_second(id, u32::MAX, story.next[process as usize], story);
        self.check(story).is_ok()
    }

    /// It got 204: there is nothing more for it.
    pub(crate) fn is_told_to_stop(&mut self, process: u32, id: &str, story: &mut Story) {
        self.skips_to_second(id, u32::MAX, story.next[process as usize], story);
        story.count("told to stop");
        assert_eq!(self.topics & !story.finished, 0, "there is more to come");
        let is_known = story.scenario.is_shared() || self.home == Some(process);
        assert!(is_known && self.is_entitled, "it got 204 from a process that does not know it");
        self.check(story).unwrap_or_else(|missing| panic!("it got 204, and {missing}"));
    }

    /// Whether its stream should have closed: all its topics have finished, and that is not forgotten.
    pub(crate) fn should_end(&self, story: &Story) -> bool {
        let is_known =
            |topic: usize| story.scenario.kinds[topic].has_ids && story.scenario.kinds[topic].is_ageless;
        let has_finished = self.topics & !story.finished == 0 && self.reads().all(is_known);
        self.stream.as_ref().is_some_and(|stream| stream.opening.ends || has_finished)
    }

    /// Whether it has everything, or gaps.
    pub(crate) fn check(&self, story: &Story) -> Result<(), String> {
        self.check_up_to(story.len(), story)
    }

    fn check_up_to(&self, until: u32, story: &Story) -> Result<(), String> {
        let missing = self.missing(until, story);
        let due = self.stream.as_ref().is_some_and(|stream| stream.gap_is_due);
        if missing.len() as u64 <= self.told && !due {
            return Ok(());
        }
        let first = &missing[..missing.len().min(8)];
        let (count, told) = (missing.len(), self.told);
        Err(format!("{count} are missing, such as {first:?}; gaps of {told}, a gap is due: {due}"))
    }
}
