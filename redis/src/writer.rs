//! Writing to the stream: what is to be written next, and what becomes of it. No socket, clock or thread.

use crate::record::{At, Nonce, Record, What};
use mio_sse::Position;
use std::cmp::max;
use std::collections::VecDeque;
use std::time::Duration;

/// Entries that are sent together.
const TOGETHER: usize = 256;

/// So many that were written wait for the reader.
const WRITTEN_MAX: usize = 4096;

/// What Redis says to an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Reply {
    Written(Position),
    /// The stream is further than the millisecond that was asked for.
    TooEarly,
    /// It does not want it, and would not if it were asked again.
    Refused(String),
    /// Not now.
    Unavailable(String),
}

/// What became of an entry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Fate {
    Written(Position),
    /// Nobody has said so in time. It may have been written.
    Late(Option<String>),
    Refused(String),
}

/// An entry that is to be written, and what is to be told of it.
#[derive(Debug)]
struct Item<D> {
    record: Record,
    until: Duration,
    done: D,
}

/// The entries of one node, written in order, each until it is known to be there or its time is over. One
/// that is sent again has the nonce that it had, so readers know it.
#[derive(Debug)]
pub struct Writer<D> {
    name: u64,
    count: u64,
    waiting: VecDeque<Item<D>>,
    waiting_max: usize,
    /// How many of them are on their way.
    sent: usize,
    /// Whether the stream is further than what is known here.
    is_behind: bool,
    /// What Redis has said when it did not want to write.
    problem: Option<String>,
    /// What was written and is not known to the reader.
    written: Vec<(Position, Nonce)>,
}

impl<D> Writer<D> {
    /// `name` is drawn at random. So many entries may wait.
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

    /// Takes an entry that is to be written until then.
    ///
    /// # Errors
    /// `done`, where as many wait as may.
    pub fn submit(&mut self, what: What, until: Duration, done: D) -> Result<(), D> {
        if self.waiting.len() >= self.waiting_max {
            return Err(done);
        }
        self.count += 1;
        let nonce = Some(Nonce { writer: self.name, count: self.count });
        self.waiting.push_back(Item { record: Record { what, nonce }, until, done });
        Ok(())
    }

    /// What is to be sent now, if anything is. Each is to be [told](Self::told) of, or [`lost`](Self::lost)
    /// said. `highest` is the newest position that anybody here knows of.
    pub fn send(&mut self, unix_ms: u64, highest: Position) -> Vec<(At, &Record)> {
        let at = if self.is_behind { At::Any } else { At::Ms(max(unix_ms, highest.ms())) };
        self.sent = self.waiting.len().min(TOGETHER);
        self.waiting.iter().take(self.sent).map(|item| (at, &item.record)).collect()
    }

    /// What Redis says to those that were sent, in order. Returns what became of them, and whether the
    /// connection is of use; what is not among these is to be sent again.
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
                    // More only where nothing is read for long, and then it is seen that all of it is gone.
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
            // Readers drop what is not newer. One that was written before, which nobody has heard of, is
            // there twice then; that is better than not at all.
            for item in &mut self.waiting {
                self.count += 1;
                item.record.nonce = Some(Nonce { writer: self.name, count: self.count });
            }
        }
        (fates, is_available)
    }

    /// The connection is lost, with the replies to what was sent.
    pub fn lost(&mut self, problem: String) {
        self.sent = 0;
        self.problem = Some(problem);
    }

    /// Gives up what has waited too long. Nothing may be on its way.
    pub fn give_up(&mut self, now: Duration) -> Vec<(D, Fate)> {
        // All have the same time, so those that came first are late first.
        let late = self.waiting.iter().take_while(|item| item.until <= now).count();
        let late = self.waiting.drain(..late);
        late.map(|item| (item.done, Fate::Late(self.problem.clone()))).collect()
    }

    /// Gives up everything.
    pub fn give_up_all(&mut self) -> Vec<(D, Fate)> {
        self.give_up(Duration::MAX)
    }

    /// When the next is to be given up.
    #[must_use]
    pub fn next_late(&self) -> Option<Duration> {
        self.waiting.front().map(|item| item.until)
    }

    /// What was written since this was asked last, for the [reader](crate::reader::Reader::wrote).
    pub fn take_written(&mut self) -> Vec<(Position, Nonce)> {
        std::mem::take(&mut self.written)
    }

    /// How many wait.
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
    fn what_is_not_answered_is_sent_again_as_it_was() {
        let mut writer = writer();
        assert_eq!(writer.submit(What::Broken, Duration::MAX, 3), Err(3), "as many wait as may");
        let sent = writer.send(5, at(9));
        assert_eq!((sent[0].0, counts(&sent)), (At::Ms(9), vec![1, 2, 3]));
        writer.lost("no answer".into());
        let sent = writer.send(10, at(9));
        assert_eq!((sent[0].0, counts(&sent)), (At::Ms(10), vec![1, 2, 3]));
        let (fates, is_available) = writer.told(vec![Reply::Written(at(10)), Reply::Refused("no".into())]);
        assert_eq!(fates, [(0, Fate::Written(at(10))), (1, Fate::Refused("no".into()))]);
        assert!(is_available);
        assert_eq!(writer.take_written(), [(at(10), Nonce { writer: 7, count: 1 })]);
        // Of the last it is not known whether it was written.
        assert_eq!(counts(&writer.send(10, at(9))), [3]);
        assert_eq!(writer.give_up(Duration::from_secs(2)), [(2, Fate::Late(Some("no answer".into())))]);
        assert!(writer.send(10, at(9)).is_empty());
    }

    #[test]
    fn what_others_overtake_is_written_as_something_new() {
        let mut writer = writer();
        writer.send(5, at(1));
        let (fates, is_available) = writer.told(vec![
            Reply::Unavailable("full".into()),
            Reply::Written(at(5)),
            Reply::Unavailable("full".into()),
        ]);
        assert_eq!((fates, is_available), (vec![(1, Fate::Written(at(5)))], false));
        assert_eq!(counts(&writer.send(5, at(1))), [4, 5], "readers drop what is not newer than 2");
        assert_eq!(writer.next_late(), Some(Duration::ZERO));
        let late = Fate::Late(Some("full".into()));
        assert_eq!(writer.give_up_all(), [(0, late.clone()), (2, late)]);
    }

    #[test]
    fn what_may_have_been_written_is_no_new_thing_where_the_stream_is_further() {
        let mut writer = writer();
        writer.send(5, at(1));
        writer.lost("no answer".into());
        writer.send(5, at(1));
        writer.told(vec![Reply::TooEarly; 3]);
        assert_eq!(counts(&writer.send(5, at(1))), [1, 2, 3]);
        writer.told(vec![Reply::Written(at(8)), Reply::Unavailable("full".into()), Reply::TooEarly]);
        assert_eq!(counts(&writer.send(5, at(8))), [2, 3]);
    }

    #[test]
    fn what_is_kept_stays_before_what_came_later() {
        let mut writer = Writer::new(7, 9);
        assert_eq!(writer.submit(What::Broken, Duration::ZERO, 0), Ok(()));
        writer.send(5, at(1));
        assert_eq!(writer.submit(What::Broken, Duration::ZERO, 1), Ok(()));
        writer.told(vec![Reply::TooEarly]);
        assert_eq!(counts(&writer.send(5, at(1))), [1, 2]);
    }

    #[test]
    fn where_the_stream_is_further_it_is_written_behind_that() {
        let mut writer = writer();
        assert_eq!(writer.send(5, at(1))[0].0, At::Ms(5));
        assert_eq!(writer.told(vec![Reply::TooEarly; 3]), (vec![], true));
        assert!(writer.send(5, at(1)).iter().all(|(at, _)| *at == At::Any));
        writer.told(vec![Reply::Written(at(8))]);
        assert_eq!(writer.send(5, at(8))[0].0, At::Ms(8));
    }
}
