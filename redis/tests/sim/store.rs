//! The Redis stream, and every entry that was ever written to it.

use crate::TOPICS;
use mio_sse::Position;
use mio_sse_redis::machine::{At, Entry, Nonce, Record, What};

/// The meaning of an entry for a client.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// An event with this number, for these topics (a bit mask).
    Event(u64, u8),
    /// A topic is finished.
    Finish,
    Mark,
    Malformed,
}

/// An entry that was written at some time.
#[derive(Debug, Clone)]
pub(crate) struct Written {
    pub(crate) entry: Entry,
    pub(crate) kind: Kind,
    pub(crate) nonce: Option<Nonce>,
    pub(crate) at: u64,
    /// Time and number of the loss that removed it, other than by trimming.
    pub(crate) lost: Option<(u64, usize)>,
    /// Whether it was trimmed.
    pub(crate) is_trimmed: bool,
    /// Whether readers take it, as no older entry has its nonce.
    pub(crate) is_new: bool,
}

/// Entries that Redis lost together.
#[derive(Debug, Default)]
pub(crate) struct Loss {
    pub(crate) at: u64,
    /// Processes that know of one of these entries.
    pub(crate) witnesses: Vec<u32>,
}

#[derive(Debug, Default)]
pub(crate) struct Store {
    /// Every entry ever written, in the order of writing.
    pub(crate) all: Vec<Written>,
    /// Indices of the present entries.
    stream: Vec<usize>,
    /// The newest id.
    last: Position,
    pub(crate) losses: Vec<Loss>,
    pub(crate) unix_ms: u64,
    /// `MAXLEN ~`, and the number of entries that are trimmed together.
    kept: usize,
    trimmed_together: usize,
    pub(crate) may_trim: bool,
    /// The time: a count of all events of the simulation.
    pub(crate) now: u64,
    pub(crate) is_down: bool,
    pub(crate) trimmed: u64,
    pub(crate) again: u64,
    finished_at: Option<u64>,
    pub(crate) verbose: bool,
}

impl Store {
    pub(crate) fn new(kept: usize, trimmed_together: usize) -> Self {
        Self { unix_ms: 1_000_000_000, kept, trimmed_together, ..Self::default() }
    }

    pub(crate) fn tick(&mut self) -> u64 {
        self.now += 1;
        self.now
    }

    pub(crate) fn len(&self) -> usize {
        self.stream.len()
    }

    /// The topics of an event that was written at `at`, without those that were finished by then.
    pub(crate) fn topics_at(&self, topics: u8, at: u64) -> u8 {
        let has_ended = self.finished_at.is_some_and(|finished| finished < at);
        if has_ended { topics & !(1 << (TOPICS.len() - 1)) } else { topics }
    }

    pub(crate) fn newest(&self) -> Position {
        self.last
    }

    /// `XADD key MAXLEN ~ n <at> …`. `None`: the stream already has later entries.
    pub(crate) fn add(&mut self, at: At, fields: Vec<(Vec<u8>, Vec<u8>)>) -> Option<Position> {
        let ms = match at {
            At::Any => self.unix_ms.max(self.last.ms()),
            At::Ms(ms) if ms < self.last.ms() => return None,
            At::Ms(ms) => ms,
        };
        let n = if ms == self.last.ms() && self.last != Position::default() { self.last.n() + 1 } else { 0 };
        let position = Position::new(ms, n);
        self.last = position;
        let at = self.tick();
        let record = Record::read(&fields).ok();
        let nonce = record.as_ref().and_then(|record| record.nonce);
        let kind = match record.map(|record| record.what) {
            None => Kind::Malformed,
            Some(What::Broken) => Kind::Mark,
            Some(What::Finish(_)) => Kind::Finish,
            Some(What::Event { event, .. }) if event.encode().is_err() => Kind::Malformed,
            Some(What::Event { topics, event }) => {
                let number = event.data.as_deref().and_then(|data| data.parse().ok());
                let mask = topics.iter().filter_map(|topic| TOPICS.iter().position(|name| name == topic));
                Kind::Event(number.expect("a number"), mask.fold(0, |mask, topic| mask | 1 << topic))
            }
        };
        if kind == Kind::Finish {
            self.finished_at.get_or_insert(at);
        }
        let same = |before: &&Written| {
            before.lost.is_none()
                && before.nonce.zip(nonce).is_some_and(|(a, b)| a.writer == b.writer && a.count >= b.count)
        };
        let is_new = !self.all.iter().rev().any(|before| same(&before));
        self.again += u64::from(!is_new);
        self.stream.push(self.all.len());
        let entry = Entry { position, fields };
        self.all.push(Written { entry, kind, nonce, at, lost: None, is_trimmed: false, is_new });
        if self.may_trim && self.stream.len() >= self.kept + self.trimmed_together {
            self.trim(self.trimmed_together);
        }
        Some(position)
    }

    /// `XREVRANGE key (before - COUNT count`.
    pub(crate) fn newest_before(&self, before: Option<Position>, count: usize) -> Vec<Entry> {
        let end = before.map_or(self.stream.len(), |before| self.place(before));
        let entries = self.stream[..end].iter().rev().map(|index| &self.all[*index].entry);
        entries.take(count).cloned().collect()
    }

    /// `XREAD COUNT count STREAMS key after`.
    pub(crate) fn behind(&self, after: Position, count: usize) -> Vec<Entry> {
        let first = self.place(Position::new(after.ms(), after.n() + 1));
        let entries = self.stream[first..].iter().map(|index| &self.all[*index].entry);
        entries.take(count).cloned().collect()
    }

    /// `XRANGE key at at COUNT 1`.
    pub(crate) fn entry_at(&self, at: Position) -> Option<Entry> {
        let entry = self.stream.get(self.place(at)).map(|index| &self.all[*index].entry);
        entry.filter(|entry| entry.position == at).cloned()
    }

    /// Number of entries before a position.
    fn place(&self, at: Position) -> usize {
        self.stream.partition_point(|index| self.all[*index].entry.position < at)
    }

    /// Trims the oldest entries.
    pub(crate) fn trim(&mut self, count: usize) {
        let count = count.min(self.stream.len());
        self.stream.drain(..count).for_each(|index| self.all[index].is_trimmed = true);
        self.trimmed += count as u64;
    }

    /// Loses the newest entries. `witnesses` returns the processes that know of one of them.
    pub(crate) fn lose(&mut self, count: usize, witnesses: impl Fn(&[&Written]) -> Vec<u32>) {
        let lost = self.stream.split_off(self.stream.len() - count.min(self.stream.len()));
        let now = self.tick();
        let entries: Vec<_> = lost.iter().map(|index| &self.all[*index]).collect();
        let witnesses = witnesses(&entries);
        for index in lost {
            self.all[index].lost = Some((now, self.losses.len()));
        }
        self.losses.push(Loss { at: now, witnesses });
        self.last = self.stream.last().map_or(Position::default(), |index| self.all[*index].entry.position);
    }

    /// The newest entry that was at a position until the time `until`, if there was one.
    pub(crate) fn was_at(&self, position: Position, until: u64) -> Option<&Written> {
        self.all.iter().rev().find(|written| written.entry.position == position && written.at <= until)
    }
}
