//! Writing to the stream: which entries to write next, and their results. No socket, clock or thread.

use crate::record::{At, Nonce, Record, What};
use mio_sse::Position;
use std::cmp::max;
use std::collections::VecDeque;
use std::time::Duration;

/// Most entries that are sent together.
const TOGETHER: usize = 256;

/// Most written entries that wait for the reader to take note of them.
const WRITTEN_MAX: usize = 4096;

/// The reply of Redis to an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Written(Position),
    /// The stream already has an entry after the requested millisecond.
    TooEarly,
    /// Redis refuses the entry, and would again.
    Refused(String),
    /// Redis cannot write now.
    Unavailable(String),
}

/// The result of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Written(Position),
    /// Redis has not confirmed it in time. It may have been written.
    Late(Option<String>),
    Refused(String),
}

/// An entry that waits to be written, and the receiver of its result.
#[derive(Debug)]
struct Item<D> {
    record: Record,
    until: Duration,
    done: D,
}

/// The entries of one node, written in order. Each is retried until it is confirmed or its time is over. A
/// retry has the same nonce, so readers recognise it.
#[derive(Debug)]
pub struct Writer<D> {
    name: u64,
    count: u64,
    waiting: VecDeque<Item<D>>,
    waiting_max: usize,
    /// How many entries of `waiting` are on their way.
    sent: usize,
    /// Whether the stream has entries after the newest position that this node knows.
    is_behind: bool,
    /// The last error of Redis or of the connection.
    problem: Option<String>,
    /// Written entries that the reader does not know of yet.
    written: Vec<(Position, Nonce)>,
}

impl<D> Writer<D> {
    /// `name` is drawn at random. At most `waiting_max` entries may wait.
    #[must_use]
    pub fn new(name: u64, waiting_max: usize) -> Self {
        Self {
            name,
            count: 0,
            waiting: VecDeque::new(),
            waiting_max,
            sent: 0,
            is_behind: false,
            problem: None,
            written: Vec::new(),
        }
    }

    /// Accepts an entry that is to be written before `until`.
    ///
    /// # Errors
    ///
    /// Returns `done` if too many entries wait.
    pub fn submit(&mut self, what: What, until: Duration, done: D) -> Result<(), D> {
        if self.waiting.len() >= self.waiting_max {
            return Err(done);
        }
        self.count += 1;
        let nonce = Some(Nonce { writer: self.name, count: self.count });
        self.waiting.push_back(Item { record: Record { what, nonce }, until, done });
        Ok(())
    }

    /// Returns the entries to send now. The caller then calls [`told`](Self::told) with the replies, or
    /// [`lost`](Self::lost). `highest` is the newest position that this node knows.
    pub fn send(&mut self, unix_ms: u64, highest: Position) -> Vec<(At, &Record)> {
        let at = if self.is_behind { At::Any } else { At::Ms(max(unix_ms, highest.ms())) };
        self.sent = self.waiting.len().min(TOGETHER);
        self.waiting.iter().take(self.sent).map(|item| (at, &item.record)).collect()
    }

    /// Takes the replies to the entries that were sent, in order. Returns their results, and whether Redis
    /// can be written to. Entries without a result are sent again.
    pub fn told(&mut self, replies: Vec<Reply>) -> (Vec<(D, Fate)>, bool) {
        let mut fates = Vec::new();
        let mut kept = VecDeque::new();
        let (mut is_available, mut is_overtaken) = (true, false);
        self.is_behind = false;
        for reply in replies.into_iter().take(std::mem::take(&mut self.sent)) {
            let Some(item) = self.waiting.pop_front() else { break };
            match reply {
                Reply::Written(position) => {
                    is_overtaken |= !kept.is_empty();
                    // The list is full only if nothing was read for long. Then the reader finds that all of
                    // them are gone.
                    if self.written.len() < WRITTEN_MAX {
                        self.written.extend(item.record.nonce.map(|nonce| (position, nonce)));
                    }
                    fates.push((item.done, Fate::Written(position)));
                }
                Reply::Refused(problem) => fates.push((item.done, Fate::Refused(problem))),
                Reply::TooEarly => {
                    self.is_behind = true;
                    kept.push_back(item);
                }
                Reply::Unavailable(problem) => {
                    self.problem = Some(problem);
                    is_available = false;
                    kept.push_back(item);
                }
            }
        }
        kept.append(&mut self.waiting);
        self.waiting = kept;
        if is_overtaken {
            // Readers drop entries that are not newer, so these get new nonces. If one of them was already
            // written without a confirmation, it is there twice, which is better than not at all.
            for item in &mut self.waiting {
                self.count += 1;
                item.record.nonce = Some(Nonce { writer: self.name, count: self.count });
            }
        }
        (fates, is_available)
    }

    /// The connection was lost, and with it the replies to the entries that were sent.
    pub fn lost(&mut self, problem: String) {
        self.sent = 0;
        self.problem = Some(problem);
    }

    /// Gives up entries whose time is over. No entry may be on its way.
    pub fn give_up(&mut self, now: Duration) -> Vec<(D, Fate)> {
        // All entries have the same timeout, so the oldest are due first.
        let late = self.waiting.iter().take_while(|item| item.until <= now).count();
        let late = self.waiting.drain(..late);
        late.map(|item| (item.done, Fate::Late(self.problem.clone()))).collect()
    }

    /// Gives up all entries.
    pub fn give_up_all(&mut self) -> Vec<(D, Fate)> {
        self.give_up(Duration::MAX)
    }

    /// Time at which the next entry is to be given up.
    #[must_use]
    pub fn next_late(&self) -> Option<Duration> {
        self.waiting.front().map(|item| item.until)
    }

    /// Entries written since the last call, for the [reader](crate::reader::Reader::wrote).
    pub fn take_written(&mut self) -> Vec<(Position, Nonce)> {
        std::mem::take(&mut self.written)
    }

    /// Number of entries that wait.
    #[must_use]
    pub fn waiting(&self) -> usize {
        self.waiting.len()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn writer() -> Writer<u32> {
        let mut writer = Writer::new(7, 3);
        for number in 0..3 {
            assert_eq!(writer.submit(What::Broken, Duration::from_secs(number.into()), number), Ok(()));
        }
        writer
    }

    fn counts(sent: &[(At, &Record)]) -> Vec<u64> {
        sent.iter().filter_map(|(_, record)| Some(record.nonce?.count)).collect()
    }

    fn at(ms: u64) -> Position {
        Position::new(ms, 0)
    }

    #[test]
    fn an_entry_without_a_reply_is_sent_again_unchanged() {
        let mut writer = writer();
        assert_eq!(writer.submit(What::Broken, Duration::MAX, 3), Err(3), "the writer is full");
        let sent = writer.send(5, at(9));
        assert_eq!((sent[0].0, counts(&sent)), (At::Ms(9), vec![1, 2, 3]));
        writer.lost("no reply".into());
        let sent = writer.send(10, at(9));
        assert_eq!((sent[0].0, counts(&sent)), (At::Ms(10), vec![1, 2, 3]));
        let (fates, is_available) = writer.told(vec![Reply::Written(at(10)), Reply::Refused("no".into())]);
        assert_eq!(fates, [(0, Fate::Written(at(10))), (1, Fate::Refused("no".into()))]);
        assert!(is_available);
        assert_eq!(writer.take_written(), [(at(10), Nonce { writer: 7, count: 1 })]);
        // It is not known whether the last was written.
        assert_eq!(counts(&writer.send(10, at(9))), [3]);
        assert_eq!(writer.give_up(Duration::from_secs(2)), [(2, Fate::Late(Some("no reply".into())))]);
        assert!(writer.send(10, at(9)).is_empty());
    }

    #[test]
    fn an_entry_that_was_overtaken_gets_a_new_nonce() {
        let mut writer = writer();
        writer.send(5, at(1));
        let (fates, is_available) = writer.told(vec![
            Reply::Unavailable("full".into()),
            Reply::Written(at(5)),
            Reply::Unavailable("full".into()),
        ]);
        assert_eq!((fates, is_available), (vec![(1, Fate::Written(at(5)))], false));
        assert_eq!(counts(&writer.send(5, at(1))), [4, 5], "readers drop entries that are not newer than 2");
        assert_eq!(writer.next_late(), Some(Duration::ZERO));
        let late = Fate::Late(Some("full".into()));
        assert_eq!(writer.give_up_all(), [(0, late.clone()), (2, late)]);
    }

    #[test]
    fn an_entry_that_was_too_early_keeps_its_nonce() {
        let mut writer = writer();
        writer.send(5, at(1));
        writer.lost("no reply".into());
        writer.send(5, at(1));
        writer.told(vec![Reply::TooEarly; 3]);
        assert_eq!(counts(&writer.send(5, at(1))), [1, 2, 3]);
        writer.told(vec![Reply::Written(at(8)), Reply::Unavailable("full".into()), Reply::TooEarly]);
        assert_eq!(counts(&writer.send(5, at(8))), [2, 3]);
    }

    #[test]
    fn an_entry_that_is_retried_stays_before_later_ones() {
        let mut writer = Writer::new(7, 9);
        assert_eq!(writer.submit(What::Broken, Duration::ZERO, 0), Ok(()));
        writer.send(5, at(1));
        assert_eq!(writer.submit(What::Broken, Duration::ZERO, 1), Ok(()));
        writer.told(vec![Reply::TooEarly]);
        assert_eq!(counts(&writer.send(5, at(1))), [1, 2]);
    }

    #[test]
    fn an_entry_that_was_too_early_is_written_at_the_end() {
        let mut writer = writer();
        assert_eq!(writer.send(5, at(1))[0].0, At::Ms(5));
        assert_eq!(writer.told(vec![Reply::TooEarly; 3]), (vec![], true));
        assert!(writer.send(5, at(1)).iter().all(|(at, _)| *at == At::Any));
        writer.told(vec![Reply::Written(at(8))]);
        assert_eq!(writer.send(5, at(8))[0].0, At::Ms(8));
    }
}
