//! Reading the stream: what to ask Redis next, and what the replies mean. No socket, clock or thread.
//!
//! Each read asks for the entries after the last one that was read, and whether that one is still there. If
//! it is, no entry after it was lost, as a stream loses its oldest entries first. If it is not, the stream
//! has *diverged*: it was deleted, a restart or a failover has lost its end, or it was trimmed further than
//! this node had read. An entry that this node wrote and does not find at its position means the same.
//! Reading on from there might find nothing for ever. So the reader writes a *mark*: an entry after every
//! position that this node has seen. Each node that reads a mark tells its streams of a gap.

use crate::nonces::Nonces;
use crate::record::{At, Entry, Malformed, Nonce, Record, What};
use mio_sse::{Event, Position};
use std::cmp::max;
use std::collections::BTreeMap;
use std::time::Duration;

/// Entries of one read.
const PAGE: usize = 500;

/// Most written entries that are checked one by one. Of more than that, only `highest` is checked.
const AWAITED_MAX: usize = 4096;

/// Least time between two [`Act::End`].
const END_PERIOD: Duration = Duration::from_secs(1);

/// A command for Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Ask {
    /// The newest `count` entries before a position, or of the whole stream: `XREVRANGE key (before - COUNT
    /// count`.
    Newest { before: Option<Position>, count: usize },
    /// The entries after a position, and the entry at the position: `XREAD COUNT count STREAMS key after`,
    /// with `BLOCK` if it may wait, then `XRANGE key after after COUNT 1`.
    Behind { after: Position, count: usize, waits: bool },
    /// Writes an entry: `XADD key …`.
    Add { at: At, record: Record },
}

/// A reply of Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Told {
    /// To [`Ask::Newest`]: newest first.
    Newest(Vec<Entry>),
    /// To [`Ask::Behind`]: the entries after the position, and the entry at the position.
    Behind { entries: Vec<Entry>, there: Option<Entry> },
    /// To [`Ask::Add`]: its position, or `None` if the stream already has later entries.
    Added(Option<Position>),
}

/// What the server has to do, in this order.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Publish {
        topics: Vec<String>,
        position: Position,
        event: Event<'static>,
    },
    Finish(String),
    /// Entries before this position were lost: [`ordered_gap`](mio_sse::Context::ordered_gap).
    Gap(Position),
    /// There is no entry after this position yet: [`ordered_end`](mio_sse::Context::ordered_end).
    End(Position),
}

/// Counters of the reader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Read {
    pub entries: u64,
    pub duplicates: u64,
    pub malformed: u64,
    /// Times that the stream had lost entries.
    pub gaps: u64,
}

#[derive(Debug)]
enum Stage {
    /// Collects the newest entries at the start, newest first.
    Filling(Vec<Entry>),
    Reading,
    /// Writes a mark, as the stream has lost entries.
    Marking(At),
}

/// One reader of the stream.
#[derive(Debug)]
pub struct Reader {
    stage: Stage,
    /// Number of entries that are read at the start.
    history: usize,
    /// Position of the last entry that was read.
    last: Position,
    /// The entry at `last`, if one was read there.
    was_there: Option<Entry>,
    /// Whether entries between `last` and the next one were lost.
    has_lost: bool,
    /// The newest position that this node knows.
    highest: Position,
    /// Entries that this node has written and not read yet.
    awaited: BTreeMap<Position, Nonce>,
    /// Value of `highest` when the pending read was sent.
    expected: Position,
    /// Whether the next read may block. The first one after a lost connection may not: it has to find losses
    /// at once.
    waits: bool,
    nonces: Nonces,
    /// Name of this reader in its marks, and the number of marks it has made.
    name: u64,
    marks: u64,
    /// Time of the last [`Act::End`].
    ended: Option<Duration>,
    read: Read,
    last_malformed: Option<(Position, Malformed)>,
}

impl Reader {
    /// The reader begins with the newest `history` entries, at least one. `name` is drawn at random.
    #[must_use]
    pub fn new(history: usize, name: u64) -> Self {
        Self {
            stage: Stage::Filling(Vec::new()),
            history: history.max(1),
            last: Position::default(),
            was_there: None,
            has_lost: false,
            highest: Position::default(),
            awaited: BTreeMap::new(),
            expected: Position::default(),
            waits: false,
            nonces: Nonces::default(),
            name,
            marks: 0,
            ended: None,
            read: Read::default(),
            last_malformed: None,
        }
    }

    /// The next command, at `unix_ms`. After a [lost](Self::lost) connection this is the same one again.
    pub fn ask(&mut self, unix_ms: u64) -> Ask {
        self.expected = self.highest;
        match &self.stage {
            Stage::Filling(entries) => {
                let before = entries.last().map(|entry| entry.position);
                Ask::Newest { before, count: PAGE.min(self.history - entries.len()) }
            }
            Stage::Reading => Ask::Behind { after: self.last, count: PAGE, waits: self.waits },
            Stage::Marking(at) => {
                let nonce = Some(self.mark());
                // After every position that a client of this node may have seen.
                let at = match at {
                    At::Any => At::Any,
                    At::Ms(ms) => At::Ms(max(unix_ms, *ms)),
                };
                Ask::Add { at, record: Record { what: What::Broken, nonce } }
            }
        }
    }

    /// Takes a reply. `now` is the time of any clock that never goes back. Returns the acts that follow.
    pub fn told(&mut self, told: Told, now: Duration) -> Vec<Act> {
        let mut acts = Vec::new();
        match (&mut self.stage, told) {
            (Stage::Filling(collected), Told::Newest(entries)) => {
                let is_short = entries.len() < PAGE.min(self.history - collected.len());
                collected.extend(entries);
                if is_short || collected.len() >= self.history {
                    let mut collected = std::mem::take(collected);
                    self.stage = Stage::Reading;
                    collected.reverse();
                    self.take_all(collected, &mut acts);
                }
            }
            (Stage::Reading, Told::Behind { entries, there }) => {
                self.behind(entries, there.as_ref(), now, &mut acts);
            }
            (Stage::Marking(_), Told::Added(Some(position))) => {
                (self.was_there, self.waits) = (None, false);
                // The mark stands for all losses so far. Its own loss would be noticed too.
                self.awaited.clear();
                self.wrote(position, self.mark());
                self.stage = Stage::Reading;
            }
            // So the stream has entries after all that this node knows.
            (Stage::Marking(at), Told::Added(None)) => *at = At::Any,
            // The reply does not match the command.
            _ => self.lost(),
        }
        acts
    }

    fn behind(&mut self, entries: Vec<Entry>, there: Option<&Entry>, now: Duration, acts: &mut Vec<Act>) {
        let is_all = entries.len() < PAGE;
        // The last entry is no longer there, or another one is at its position, which a loss has made free.
        let diverged = self.was_there.is_some() && self.was_there.as_ref() != there;
        if diverged {
            // The lost entries may include some that the writer did not know to be stored. It sends them
            // again with the same nonces, and they must not be dropped as duplicates.
            self.nonces = Nonces::default();
        }
        let newest = entries.last().map_or(self.last, |entry| entry.position);
        let is_short = is_all && newest < self.expected;
        let is_there = |at: &Position, nonce: &Nonce| {
            let found = entries.binary_search_by_key(at, |entry| entry.position);
            found.is_ok_and(|place| entries[place].nonce() == Some(*nonce))
        };
        let missing = self.awaited.range(..=newest).rev().find(|(at, nonce)| !is_there(at, nonce));
        let is_mark = |entry: &Entry| Record::read(&entry.fields).is_ok_and(|it| it.what == What::Broken);
        if diverged || is_short || missing.is_some() {
            self.has_lost = true;
            // Another node may already have made a mark after all positions that this node knows.
            if !entries.iter().any(|entry| entry.position > self.expected && is_mark(entry)) {
                self.marks += 1;
                self.stage = Stage::Marking(At::Ms(self.highest.ms().saturating_add(1)));
                return;
            }
        }
        if let Some(first) = entries.first()
            && std::mem::take(&mut self.has_lost)
            && !is_mark(first)
        {
            // Entries between the loss and the mark are delivered too, after a gap of their own.
            acts.extend(before(first.position).filter(|gap| *gap > self.last).map(Act::Gap));
        }
        self.take_all(entries, acts);
        self.waits = is_all;
        if is_all && self.ended.is_none_or(|ended| now.saturating_sub(ended) >= END_PERIOD) {
            self.ended = Some(now);
            acts.push(Act::End(self.last));
        }
    }

    fn take_all(&mut self, mut entries: Vec<Entry>, acts: &mut Vec<Act>) {
        entries.iter().for_each(|entry| self.take(entry, acts));
        if let Some(newest) = entries.pop() {
            self.last = newest.position;
            self.awaited.retain(|at, _| *at > newest.position);
            self.was_there = Some(newest);
        }
    }

    fn take(&mut self, entry: &Entry, acts: &mut Vec<Act>) {
        let position = entry.position;
        self.saw(position);
        self.read.entries += 1;
        match Record::read(&entry.fields) {
            Err(malformed) => {
                self.read.malformed += 1;
                self.last_malformed = Some((position, malformed));
            }
            Ok(record) if record.nonce.is_some_and(|nonce| !self.nonces.is_new(nonce)) => {
                self.read.duplicates += 1;
            }
            Ok(Record { what, nonce }) => match what {
                What::Event { topics, event } => acts.push(Act::Publish { topics, position, event }),
                What::Finish(topic) => acts.push(Act::Finish(topic)),
                What::Broken => {
                    self.read.gaps += 1;
                    // Entries that were read here may be lost for others, and written again: twice is better
                    // than never.
                    self.nonces = Nonces::default();
                    if let Some(nonce) = nonce {
                        self.nonces.is_new(nonce);
                    }
                    acts.push(Act::Gap(position));
                }
            },
        }
    }

    /// This node wrote an entry at this position, and expects to read it there.
    pub fn wrote(&mut self, position: Position, nonce: Nonce) {
        self.saw(position);
        if position > self.last && self.awaited.len() < AWAITED_MAX {
            // Of two entries at one position the first is expected. The second shows that the first was lost.
            self.awaited.entry(position).or_insert(nonce);
        }
    }

    /// An entry was read or written at this position.
    pub fn saw(&mut self, position: Position) {
        self.highest = self.highest.max(position);
    }

    /// The nonce of the current mark.
    fn mark(&self) -> Nonce {
        Nonce { writer: self.name, count: self.marks }
    }

    /// The newest position that this node knows.
    #[must_use]
    pub fn highest(&self) -> Position {
        self.highest
    }

    /// The connection was lost before the reply. The command is asked again.
    pub fn lost(&mut self) {
        self.waits = false;
    }

    /// Whether the newest entries at the start have been read.
    #[must_use]
    pub fn is_filled(&self) -> bool {
        !matches!(self.stage, Stage::Filling(_))
    }

    /// Counters of the entries read so far.
    #[must_use]
    pub fn read(&self) -> Read {
        self.read
    }

    /// The last malformed entry, returned once.
    pub fn take_malformed(&mut self) -> Option<(Position, Malformed)> {
        self.last_malformed.take()
    }
}

/// The position directly before another.
fn before(position: Position) -> Option<Position> {
    let (ms, n) = (position.ms(), position.n());
    match n.checked_sub(1) {
        Some(n) => Some(Position::new(ms, n)),
        None => Some(Position::new(ms.checked_sub(1)?, u64::MAX)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn at(ms: u64) -> Position {
        Position::new(ms, 0)
    }

    fn entry(ms: u64) -> Entry {
        let record = Record {
            what: What::Event { topics: vec!["t".into()], event: Event::new().data(ms.to_string()) },
            nonce: None,
        };
        with(ms, &record)
    }

    fn with(ms: u64, record: &Record) -> Entry {
        let fields = record.fields().into_iter();
        let fields = fields.map(|(name, value)| (name.as_bytes().to_vec(), value.as_bytes().to_vec()));
        Entry { position: at(ms), fields: fields.collect() }
    }

    /// Short names of the acts.
    fn said(acts: Vec<Act>) -> Vec<String> {
        let say = |act| match act {
            Act::Publish { position, .. } => position.ms().to_string(),
            Act::Finish(topic) => format!("finish {topic}"),
            Act::Gap(position) => format!("gap {}", position.ms()),
            Act::End(position) => format!("end {}", position.ms()),
        };
        acts.into_iter().map(say).collect()
    }

    fn filled(entries: &[u64]) -> Reader {
        let mut reader = Reader::new(10, 1);
        assert_eq!(reader.ask(0), Ask::Newest { before: None, count: 10 });
        let newest_first = entries.iter().rev().map(|ms| entry(*ms)).collect();
        let acts = said(reader.told(Told::Newest(newest_first), SECOND));
        assert_eq!(acts, entries.iter().map(u64::to_string).collect::<Vec<_>>());
        assert!(reader.is_filled());
        reader
    }

    /// A reply with these entries, and with or without the last entry that was read.
    fn behind(reader: &Reader, entries: Vec<Entry>, is_there: bool) -> Told {
        Told::Behind { entries, there: reader.was_there.clone().filter(|_| is_there) }
    }

    fn read(reader: &mut Reader, entries: &[u64], is_there: bool) -> Vec<String> {
        assert!(matches!(reader.ask(0), Ask::Behind { .. }));
        let entries = entries.iter().map(|ms| entry(*ms)).collect();
        let acts = said(reader.told(behind(reader, entries, is_there), SECOND));
        acts.into_iter().filter(|act| !act.starts_with("end")).collect()
    }

    #[test]
    fn the_history_is_read_in_pages_from_its_end_and_published_from_its_beginning() {
        let mut reader = Reader::new(700, 1);
        assert_eq!(reader.ask(0), Ask::Newest { before: None, count: 500 });
        let page = (501..=1000).rev().map(entry).collect();
        assert_eq!(reader.told(Told::Newest(page), SECOND), []);
        // The connection may be lost at any time.
        reader.lost();
        assert_eq!(reader.ask(0), Ask::Newest { before: Some(at(501)), count: 200 });
        let acts = said(reader.told(Told::Newest((301..=500).rev().map(entry).collect()), SECOND));
        assert_eq!(acts, (301..=1000).map(|ms| ms.to_string()).collect::<Vec<_>>());
        assert_eq!(reader.ask(0), Ask::Behind { after: at(1000), count: 500, waits: false });
    }

    #[test]
    fn a_read_blocks_once_everything_is_read() {
        let mut reader = filled(&[]);
        assert_eq!(reader.ask(0), Ask::Behind { after: Position::default(), count: 500, waits: false });
        let all = |reader: &mut Reader, entries, now| said(reader.told(behind(reader, entries, true), now));
        assert_eq!(all(&mut reader, (1..=500).map(entry).collect(), SECOND).len(), 500);
        assert_eq!(reader.ask(0), Ask::Behind { after: at(500), count: 500, waits: false });
        assert_eq!(all(&mut reader, vec![entry(501)], SECOND), ["501", "end 501"]);
        assert_eq!(reader.ask(0), Ask::Behind { after: at(501), count: 500, waits: true });
        // The end is reported at most once a second.
        assert_eq!(all(&mut reader, vec![entry(502)], 3 * SECOND / 2), ["502"]);
        assert_eq!(all(&mut reader, vec![], 2 * SECOND), ["end 502"]);
        // The first read after a lost connection does not block.
        reader.lost();
        assert_eq!(reader.ask(0), Ask::Behind { after: at(502), count: 500, waits: false });
    }

    #[test]
    fn if_the_last_entry_is_gone_a_mark_is_written_after_all_known_positions() {
        for (written_at, tries) in [(None, 1), (Some(at(300)), 2)] {
            let mut reader = filled(&[50, 99]);
            reader.saw(at(200));
            // Other writers have already started anew.
            assert_eq!(read(&mut reader, &[100], false), [""; 0]);
            let Ask::Add { at: first, record } = reader.ask(7) else { panic!("it marks") };
            assert_eq!((first, &record.what), (At::Ms(201), &What::Broken));
            reader.lost();
            assert_eq!(reader.ask(7), Ask::Add { at: first, record: record.clone() }, "the same again");
            if tries > 1 {
                assert_eq!(reader.told(Told::Added(None), SECOND), []);
                assert_eq!(reader.ask(7), Ask::Add { at: At::Any, record: record.clone() });
            }
            let mark = written_at.unwrap_or(at(201));
            assert_eq!(reader.told(Told::Added(Some(mark)), SECOND), []);
            // Entries that were written meanwhile are not lost.
            assert_eq!(reader.ask(7), Ask::Behind { after: at(99), count: 500, waits: false });
            let entries = vec![entry(100), with(mark.ms(), &record), with(400, &record), entry(401)];
            let acts = said(reader.told(Told::Behind { entries, there: None }, SECOND));
            let mark = format!("gap {}", mark.ms());
            assert_eq!(acts, ["gap 99".into(), "100".into(), mark, "401".into(), "end 401".into()]);
            assert_eq!(reader.read().gaps, 1);
        }
    }

    #[test]
    fn another_entry_at_the_last_position_is_a_loss() {
        let mut reader = filled(&[50]);
        reader.ask(0);
        let other = with(50, &Record { what: What::Finish("t".into()), nonce: None });
        let told = Told::Behind { entries: vec![entry(51)], there: Some(other) };
        assert_eq!(reader.told(told, SECOND), []);
        assert!(matches!(reader.ask(0), Ask::Add { at: At::Ms(51), .. }));
    }

    #[test]
    fn a_written_entry_that_is_not_read_is_a_loss() {
        let mut reader = filled(&[50]);
        reader.saw(at(60));
        assert_eq!(read(&mut reader, &[55], true), [""; 0]);
        assert!(matches!(reader.ask(0), Ask::Add { at: At::Ms(61), .. }));
        // A read may miss entries that were written after it was sent.
        let mut reader = filled(&[50]);
        assert!(matches!(reader.ask(0), Ask::Behind { .. }));
        reader.saw(at(60));
        let acts = reader.told(behind(&reader, vec![], true), SECOND);
        assert_eq!(said(acts), ["end 50"]);
    }

    #[test]
    fn a_written_entry_is_a_loss_even_if_others_have_written_since() {
        let nonce = |count| Nonce { writer: 9, count };
        let record = |count| Record { what: What::Finish("t".into()), nonce: Some(nonce(count)) };
        for others in
            [vec![entry(70), with(80, &record(2))], vec![with(60, &record(3)), with(80, &record(2))]]
        {
            let mut reader = filled(&[50]);
            reader.wrote(at(60), nonce(1));
            reader.wrote(at(80), nonce(2));
            reader.wrote(at(60), nonce(3));
            reader.ask(0);
            assert_eq!(reader.told(behind(&reader, others.clone(), true), SECOND), []);
            assert!(matches!(reader.ask(0), Ask::Add { at: At::Ms(81), .. }));
            reader.told(Told::Added(Some(at(91))), SECOND);
            // The mark is lost in the same way.
            let more = [others, vec![entry(91)]].concat();
            reader.ask(0);
            assert_eq!(reader.told(behind(&reader, more, true), SECOND), []);
            assert!(matches!(reader.ask(0), Ask::Add { at: At::Ms(92), .. }));
        }
        let mut reader = filled(&[50]);
        reader.wrote(at(60), nonce(1));
        reader.ask(0);
        let entries = vec![entry(55), with(60, &record(1)), entry(70)];
        assert_eq!(said(reader.told(behind(&reader, entries, true), SECOND)).len(), 4);
        assert!(reader.awaited.is_empty());
    }

    #[test]
    fn a_loss_that_another_node_has_marked_is_not_marked_again() {
        let mut reader = filled(&[50, 99]);
        reader.saw(at(200));
        let record = Record { what: What::Broken, nonce: Some(Nonce { writer: 2, count: 1 }) };
        let answer = |mark| {
            let entries = vec![entry(150), with(mark, &record), entry(230)];
            Told::Behind { entries, there: None }
        };
        reader.ask(0);
        assert_eq!(said(reader.told(answer(220), SECOND)), ["gap 149", "150", "gap 220", "230", "end 230"]);
        // Clients may have seen entries after this mark that are lost as well.
        let mut reader = filled(&[50, 99]);
        reader.saw(at(200));
        reader.ask(0);
        assert_eq!(said(reader.told(answer(180), SECOND)), [""; 0]);
        assert!(matches!(reader.ask(0), Ask::Add { at: At::Ms(201), .. }));
    }

    #[test]
    fn a_gap_is_told_where_it_is() {
        let mark = Record { what: What::Broken, nonce: None };
        let lost = |first: Entry| {
            let mut reader = filled(&[50]);
            assert_eq!(read(&mut reader, &[90], false), [""; 0]);
            let Ask::Add { record, .. } = reader.ask(0) else { panic!("it marks") };
            reader.told(Told::Added(Some(at(100))), SECOND);
            reader.ask(0);
            let entries = vec![first, with(100, &record)];
            let acts = reader.told(Told::Behind { entries, there: None }, SECOND);
            acts.into_iter().find_map(|act| if let Act::Gap(gap) = act { Some(gap) } else { None })
        };
        assert_eq!(lost(entry(90)), Some(Position::new(89, u64::MAX)));
        assert_eq!(lost(Entry { position: Position::new(90, 7), ..entry(90) }), Some(Position::new(90, 6)));
        assert_eq!(lost(with(95, &mark)), Some(at(95)), "nothing is before the mark");
        let next = Entry { position: Position::new(50, 1), ..entry(50) };
        assert_eq!(lost(next), Some(at(100)), "there is no place before it");
    }

    #[test]
    fn an_entry_that_is_written_again_after_a_mark_is_new() {
        let mut reader = filled(&[]);
        let what = What::Event { topics: vec!["t".into()], event: Event::new().data("x") };
        let event = Record { what, nonce: Some(Nonce { writer: 9, count: 1 }) };
        let mark = Record { what: What::Broken, nonce: Some(Nonce { writer: 2, count: 1 }) };
        let entries = vec![with(1, &event), with(2, &event), with(3, &mark), with(4, &mark), with(5, &event)];
        reader.ask(0);
        let acts = said(reader.told(Told::Behind { entries, there: None }, SECOND));
        assert_eq!(acts, ["1", "gap 3", "5", "end 5"]);
    }

    #[test]
    fn a_mark_that_is_many_entries_away_is_not_made_again() {
        let mut reader = filled(&[50]);
        assert_eq!(read(&mut reader, &[], false), [""; 0]);
        assert!(matches!(reader.ask(0), Ask::Add { .. }));
        reader.told(Told::Added(Some(at(900))), SECOND);
        let page: Vec<u64> = (100..600).collect();
        assert_eq!(read(&mut reader, &page, false).len(), 501, "with the gap");
        assert_eq!(reader.ask(0), Ask::Behind { after: at(599), count: 500, waits: false });
    }

    #[test]
    fn a_mark_that_is_lost_is_made_again() {
        let mut reader = filled(&[50]);
        assert_eq!(read(&mut reader, &[], false), [""; 0]);
        assert!(matches!(reader.ask(0), Ask::Add { .. }));
        reader.told(Told::Added(Some(at(51))), SECOND);
        // The mark is gone before it could be read.
        assert_eq!(read(&mut reader, &[], false), [""; 0]);
        assert!(matches!(reader.ask(0), Ask::Add { at: At::Ms(52), .. }));
    }

    #[test]
    fn an_entry_that_was_lost_and_written_again_is_delivered_once() {
        let mut reader = filled(&[50]);
        let what = What::Finish("t".into());
        let record = Record { what, nonce: Some(Nonce { writer: 9, count: 1 }) };
        let told = |reader: &mut Reader, entries, is_there| {
            reader.ask(0);
            said(reader.told(behind(reader, entries, is_there), SECOND))
        };
        assert_eq!(told(&mut reader, vec![with(51, &record)], true), ["finish t", "end 51"]);
        assert_eq!(told(&mut reader, vec![], false), [""; 0]);
        let Ask::Add { record: mark, .. } = reader.ask(0) else { panic!("it marks") };
        reader.told(Told::Added(Some(at(52))), SECOND);
        let entries = vec![with(52, &mark), with(53, &record), with(54, &record)];
        assert_eq!(told(&mut reader, entries, false), ["gap 52", "finish t"]);
        assert_eq!(reader.read().duplicates, 1);
    }

    #[test]
    fn duplicates_and_malformed_entries_are_skipped() {
        let mut reader = filled(&[]);
        let what = What::Finish("t".into());
        let once = |count| Record { what: what.clone(), nonce: Some(Nonce { writer: 9, count }) };
        let nothing = Entry { position: at(3), fields: vec![] };
        let entries = vec![with(1, &once(1)), with(2, &once(1)), nothing, with(4, &once(2))];
        reader.ask(0);
        let acts = said(reader.told(Told::Behind { entries, there: None }, SECOND));
        assert_eq!(acts, ["finish t", "finish t", "end 4"]);
        let read = reader.read();
        assert_eq!((read.entries, read.duplicates, read.malformed), (4, 1, 1));
        assert_eq!(reader.take_malformed().map(|(position, _)| position), Some(at(3)));
    }
}
