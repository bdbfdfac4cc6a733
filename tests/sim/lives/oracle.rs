//! The whole life of a client: whatever it has missed, it was told.

use crate::lives::story::{Entry, Opening, Story, TOPICS};
use mio_sse::{CloseReason, Ids, Missed};
use std::collections::HashSet;
use std::ops::Range;

pub(crate) struct Life {
    /// A bit for each.
    pub(crate) topics: u8,
    /// Of each topic, everything from this number on is owed to it, unless it was published before it came.
    owed: [u32; TOPICS.len()],
    seen: HashSet<u32>,
    /// It has an id to come back with: from now on it is told what it misses.
    is_entitled: bool,
    /// The process whose events it was given last.
    home: Option<u32>,
    /// It goes on with this number or a later one: behind the newest, unless it has begun anew.
    at: u32,
    /// Of what a keyed topic had before this, it may have got no more than the newest of each key.
    anew_until: u32,
    /// So many more may be missing, as it was told.
    told: u64,
    /// Of these, what it was told since its last event or id. Behind the id it has, it is owed that again.
    told_behind_id: u64,
    stream: Option<Stream>,
}

/// What is known of the stream that it reads.
struct Stream {
    opening: Opening,
    /// It began without an id.
    is_new: bool,
    /// The first event that has the id it began with, and whether there is another.
    place: Option<u32>,
    is_twice: bool,
    /// It was told that something is missing, and how much of it, or without a number.
    gap: bool,
    counted_gap: bool,
    /// It came with an id that nobody here knows, so it has to be told; or with one behind which all is kept.
    is_strange: bool,
    has_all: bool,
    gap_is_due: bool,
    /// The newest number so far.
    last: Option<u32>,
    /// Topics of which something has come.
    came: u8,
    greetings: u8,
    /// The event that the last id which has come is of, where that is known.
    named: Option<u32>,
}

impl Stream {
    /// Whether an event may come that its client has seen already.
    fn may_come_again(&self, number: u32, topic: usize, story: &Story) -> bool {
        let (gap, made_up) = (self.gap, self.opening.made_up.is_some());
        // Where nothing is kept, nobody knows what came from a loop that was ahead of this one.
        let is_unknown = story.scenario.is_sharded() && !story.scenario.kinds[topic].has_ids;
        let again = made_up || self.is_new || gap && story.is_keyed(topic) || is_unknown;
        again
            || match story.scenario.ids {
                Ids::Generated => gap && self.is_strange,
                // What has no id, or one that is there twice, comes again. Where the id is unknown, so is
                // what was seen.
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

    /// A stream has been opened for it.
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
        // What some topic has given up may be thought to be of any that is not there at the time.
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

    /// Of an id that is there twice the first place is meant. But where that is not kept any more, nobody can
    /// know.
    fn skips_to_second(&mut self, id: &str, begin: u32, known: u32, story: &Story) {
        let Some((first, last)) = story.find(id).filter(|(first, last)| first < last && *last < known) else {
            return;
        };
        let topic = usize::from(story.entries[first as usize].topic);
        if !story.scenario.kinds[topic].keeps_all || first < begin {
            self.owed.iter_mut().for_each(|owed| *owed = (last + 1).max(*owed));
        }
    }

    /// Behind its newest event, or where it began if none has come yet: nothing before this is owed to it.
    pub(crate) fn goes_on_with(&self) -> u32 {
        self.reads().map(|topic| self.owed[topic]).min().unwrap_or(0).max(self.at)
    }

    /// It comes back with an id that it had when it read this process, and would have gone on with the event
    /// `at`.
    pub(crate) fn goes_back(&mut self, process: u32, at: u32) {
        (self.home, self.at) = (Some(process), 0);
        self.owed.iter_mut().for_each(|owed| *owed = at.max(*owed));
    }

    fn stream(&mut self) -> &mut Stream {
        self.stream.as_mut().expect("an open stream")
    }

    /// It has an id to come back with, of an event that comes with it or of one that was before.
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
            // What was superseded here does not come, also where the newer one has not been published yet.
            for topic in self.reads().filter(|topic| story.is_keyed(*topic)) {
                self.owed[topic] = self.owed[topic].max(first + 1);
            }
        }
    }

    /// Something of its stream has come. What says where it begins is the first of all.
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

    /// Something has come that was sent behind all that was published before `until`.
    pub(crate) fn is_sent(&self, until: u32, story: &Story) {
        let stream = self.stream.as_ref().expect("an open stream");
        let is_brought = stream.opening.made_up.is_some() && !stream.gap;
        let missing = self.check_up_to(until, story).err().filter(|_| !is_brought);
        assert_eq!(missing, None, "what was sent behind all before {until} comes first");
    }

    /// It is told that it has missed something, and how much if that is known.
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
        assert!(count.is_empty() && !stream.gap, "told once");
        assert!(!stream.has_all, "it is told of a gap, and nothing is missing");
        (stream.gap, stream.gap_is_due) = (true, false);
        let Opening { process, next, begin, made_up, .. } = stream.opening;
        // A position is as good anywhere else.
        let is_keyed = self.reads().any(|topic| story.is_keyed(topic));
        let may_repeat = is_keyed || story.scenario.ids != Ids::Ordered;
        (self.told, self.told_behind_id, self.anew_until) = (0, 0, next);
        if may_repeat {
            self.at = 0;
        }
        self.home = Some(process);
        for owed in &mut self.owed {
            // Whoever is ahead of a log that is the same everywhere stays so.
            let least = if story.scenario.is_shared() { *owed } else { 0 };
            *owed = least.max(next);
        }
        if !story.scenario.after_gap_live && made_up.is_none() && begin < next {
            self.begin_keys_anew(begin..next, story);
        }
    }

    /// It gets the newest of all keys anew, whether it has seen them or not.
    fn begin_keys_anew(&mut self, here: Range<u32>, story: &Story) {
        for topic in self.reads().filter(|topic| story.is_keyed(*topic)) {
            // What was not owed to it before, though it has not been published here, is not now.
            let is_its = |number: &u32| usize::from(story.entries[*number as usize].topic) == topic;
            self.seen.extend((here.end..self.owed[topic]).filter(is_its));
            self.owed[topic] = here.start;
        }
        self.seen.retain(|number| !here.contains(number) || story.entries[*number as usize].key.is_none());
    }

    /// Whether nobody needs that event any more, or nobody can tell that it is missing.
    fn is_excused(&self, number: u32, entry: &Entry, story: &Story) -> bool {
        let is_elsewhere = entry.process.is_some_and(|process| Some(process) != self.home);
        let next = self.home.map_or(0, |home| story.next[home as usize]);
        let is_superseded = entry.superseded_by.is_some_and(|by| by < next);
        let is_newest = entry.key.is_some() && !entry.removes_key;
        let is_unkept = story.is_keyed(entry.topic.into()) && number < self.anew_until && !is_newest;
        entry.finishes || is_elsewhere || is_superseded || is_unkept || self.seen.contains(&number)
    }

    /// What it should have received before the event `until`.
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
        assert!(!stream.gap_is_due, "{number} comes, and nothing was told of what is missing");
        assert!(entry.process.is_none_or(|process| process == stream.opening.process), "{number} is of here");
        assert!(stream.last.is_none_or(|last| last < number), "{number} is out of order");
        assert!(stream.named.is_none_or(|named| named <= number), "an id was ahead of {number}");
        let later = stream.opening.made_up == Some(Missed::Later);
        let is_brought = later && !stream.gap && number < stream.opening.next;
        assert!(!is_brought || !stream.counted_gap, "{number} is brought, behind a gap of what came later");
        let keyed = story.is_keyed(topic);
        if self.seen.contains(&number) {
            let again = self.at <= number || stream.may_come_again(number, topic, story);
            assert!(again, "{number} comes twice, before {}", self.at);
            story.count("events received again");
        } else if number < self.owed[topic] {
            assert!(!stream.is_new || stream.opening.snapshot, "{number} comes from before");
            if stream.came & bit == 0 && moves {
                // What is kept comes without a hole, behind what it would come back with.
                self.owed[topic] = number + 1;
            }
        }
        // What it gets has one order over all topics: whatever was published before has come by now, or does
        // not.
        let counted = stream.counted_gap;
        let missing = self.missing(number, story);
        let few = &missing[..missing.len().min(8)];
        let told = self.told.checked_sub(missing.len() as u64);
        self.told = told.unwrap_or_else(|| panic!("{number} comes, but not {few:?}; told of {}", self.told));
        // Where a stream begins anew, the number is also that of what nobody owes it.
        let begins_anew = stream.is_new && stream.opening.snapshot || stream.gap || stream.is_twice;
        let is_made_up = stream.opening.made_up.is_some();
        let is_new = begins_anew || is_made_up;
        let has_ids = story.scenario.kinds[topic].has_ids;
        if !is_new && !keyed && has_ids && self.topics == bit {
            // What comes again may be lost again, and so may what was published before it came, or before it
            // was told of a gap, and is behind the id that it came with.
            let from = stream.last.or(stream.place).map_or(0, |last| last + 1);
            let is_unowed = |number: &u32| {
                let Entry { topic: its, process, finishes, .. } = &story.entries[*number as usize];
                let is_here = process.is_none_or(|process| process == stream.opening.process);
                usize::from(*its) == topic && is_here && !finishes && *number < self.owed[topic]
            };
            let again = |number: &u32| self.seen.contains(number) || is_unowed(number);
            let again = (from..number).filter(again).count() as u64;
            let too_many = counted && self.told > again;
            assert!(!too_many, "{number} comes behind a gap of {}, too many", self.told);
        }
        if !keyed && has_ids && self.topics == bit && !is_made_up {
            // Of several topics it may be of what comes later in another.
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

    /// Its stream has ended cleanly, for a reason and before an event, or was cut. `is_asked` is whether
    /// some loop has asked for that at any moment.
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
            // Where something was still to be brought, the rest is behind that.
            let is_over = reason == CloseReason::Finished || reason == CloseReason::Application && !is_asked;
            let is_brought = stream.opening.made_up == Some(Missed::Later) && !is_over;
            let missing = self.check_up_to(until, story).err().filter(|_| !is_brought || stream.gap);
            assert_eq!(missing, None, "it ends before {until}: {reason}");
        }
        // Where it is cut off before all keys have come anew, it may have an id from before, and others go on
        // with that.
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

    /// Whether all that it reads has finished, and nothing of that is missing.
    pub(crate) fn has_seen_all(&mut self, process: u32, id: &str, story: &Story) -> bool {
        if self.topics & !story.finished != 0 {
            return false;
        }
        self.skips_to_second(id, u32::MAX, story.next[process as usize], story);
        self.check(story).is_ok()
    }

    /// It is not to come back: there is nothing more for it.
    pub(crate) fn is_told_to_stop(&mut self, process: u32, id: &str, story: &mut Story) {
        self.skips_to_second(id, u32::MAX, story.next[process as usize], story);
        story.count("told to stop");
        assert_eq!(self.topics & !story.finished, 0, "there is more to come");
        let is_known = story.scenario.is_shared() || self.home == Some(process);
        assert!(is_known && self.is_entitled, "it was told to stop by a stranger");
        self.check(story).unwrap_or_else(|missing| panic!("it was told to stop, and {missing}"));
    }

    /// Whether its stream should have come to its end: all that it reads has finished, which is not
    /// forgotten.
    pub(crate) fn should_end(&self, story: &Story) -> bool {
        let is_known =
            |topic: usize| story.scenario.kinds[topic].has_ids && story.scenario.kinds[topic].is_ageless;
        let has_finished = self.topics & !story.finished == 0 && self.reads().all(is_known);
        self.stream.as_ref().is_some_and(|stream| stream.opening.ends || has_finished)
    }

    /// Whether it has everything, or was told.
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
        Err(format!("{count} are missing, such as {first:?}; told of {told}, a gap is due: {due}"))
    }
}
