//! The events that clients were entitled to, and whether they have them.

use super::crowd::Listener;
use super::{Crowd, Heard, Outcome, Published};
use mio_sse::Position;
use std::collections::{BTreeSet, HashMap};

/// All events: those that publishing has confirmed, and those that any client has received.
///
/// An event is identified by its data. It can have two positions: a node sends it again if Redis has not
/// replied, and if Redis has lost the first entry, nodes that have read that one drop the second, and others
/// do not. The first position counts.
pub(crate) struct Truth {
    first: HashMap<String, Position>,
    /// By topic. After a loss Redis can use a position again.
    events: HashMap<String, BTreeSet<(Position, String)>>,
}

/// Totals over all clients.
#[derive(Debug, Default, PartialEq)]
pub(crate) struct Tally {
    pub(crate) events: usize,
    pub(crate) gaps: usize,
    /// Events that were not delivered, but covered by a gap.
    pub(crate) missed: usize,
}

/// The topics that the data of an event names after the event's own name.
fn topics_of(data: &str) -> impl Iterator<Item = &str> {
    data.split(' ').nth(1).unwrap_or_default().split(',')
}

/// The next possible position.
fn after(id: Position) -> Position {
    id.n().checked_add(1).map_or(Position::new(id.ms() + 1, 0), |n| Position::new(id.ms(), n))
}

impl Truth {
    pub(crate) fn new(published: &[Published], crowd: &Crowd) -> Self {
        let told = published.iter().filter_map(|one| match one.outcome {
            Outcome::At(position) => Some((position, &*one.data)),
            _ => None,
        });
        let heard = crowd.listeners.iter().flat_map(Listener::events);
        let mut first: HashMap<String, Position> = HashMap::new();
        for (position, data) in told.chain(heard) {
            let known = first.entry(data.to_owned()).or_insert(position);
            *known = position.min(*known);
        }
        let mut events: HashMap<String, BTreeSet<(Position, String)>> = HashMap::new();
        for (data, position) in &first {
            for topic in topics_of(data) {
                events.entry(topic.to_owned()).or_default().insert((*position, data.clone()));
            }
        }
        Self { first, events }
    }

    /// Number of different events.
    pub(crate) fn len(&self) -> usize {
        self.first.len()
    }

    /// Checks that each client has each event that it was entitled to, once and in order, or got a gap
    /// instead.
    pub(crate) fn check(&self, crowd: &Crowd) -> Result<Tally, String> {
        let mut tally = Tally::default();
        let mut wrong = Vec::new();
        for (index, listener) in crowd.listeners.iter().enumerate() {
            match self.check_one(listener) {
                Ok(one) => {
                    tally.events += one.events;
                    tally.gaps += one.gaps;
                    tally.missed += one.missed;
                }
                Err(error) => wrong.push(format!("client {index} of {:?}: {error}", listener.topics)),
            }
        }
        match wrong.len() {
            0 => Ok(tally),
            count => Err(format!("{count} clients: {:#?}", &wrong[..count.min(4)])),
        }
    }

    fn check_one(&self, listener: &Listener) -> Result<Tally, String> {
        // Events that it still has to get.
        let mut due: BTreeSet<(Position, &str)> = BTreeSet::new();
        for topic in &listener.topics {
            due.extend(self.events.get(topic).into_iter().flatten().map(|(id, data)| (*id, &**data)));
        }
        let mut tally = Tally::default();
        // Number of gaps it had received at each event.
        let mut had: HashMap<&str, usize> = HashMap::new();
        let (mut at, mut in_gap) = (None, false);
        for (index, heard) in listener.heard.iter().enumerate() {
            let (id, data) = match heard {
                Heard::Gap => {
                    tally.gaps += 1;
                    in_gap = true;
                    continue;
                }
                Heard::Event { id, data } => (*id, Some(&**data)),
                Heard::At(id) => (*id, None),
                Heard::Opened | Heard::CutOff | Heard::Finished => continue,
            };
            if at.is_some_and(|at| id < at || (id == at && data.is_some())) {
                return Err(format!("from {} back to {id}: {data:?}", at.unwrap_or_default()));
            }
            if let Some(data) = data {
                if !topics_of(data).any(|topic| listener.topics.iter().any(|own| own == topic)) {
                    return Err(format!("{data} is not for it"));
                }
                if had.insert(data, tally.gaps).is_some_and(|gaps| gaps == tally.gaps) {
                    return Err(format!("{data} a second time, at {id}"));
                }
                due.remove(&(self.first[data], data));
                tally.events += 1;
            }
            // Everything up to here is settled: it was delivered, or is part of the gap, or is older than the
            // client's first position.
            let later = due.split_off(&(after(id), ""));
            let mut missing = std::mem::replace(&mut due, later);
            missing.retain(|(_, data)| !had.contains_key(data));
            if at.is_some() {
                if let Some(lost) = missing.first().filter(|_| !in_gap) {
                    let around = &listener.heard[index.saturating_sub(3)..=index];
                    let count = missing.len();
                    return Err(format!(
                        "lost without a word: {count}, from {lost:?} on, where it got {around:?}"
                    ));
                }
                tally.missed += missing.len();
            }
            (at, in_gap) = (Some(id), false);
        }
        Ok(tally)
    }
}
