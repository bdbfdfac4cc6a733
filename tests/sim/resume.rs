//! Ids of events: the model's knowledge of them, and the ids with which clients resume.

use crate::kept::Topic;
use fastrand::Rng;
use std::collections::{BTreeMap, HashMap};

/// The position at which a stream is to begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Begins {
    #[default]
    Resumes,
    Live,
    Snapshot,
}

/// The position in a reply.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub(crate) begins: Begins,
    /// The event after which it begins, by the client's or the handler's id.
    pub(crate) id: Option<String>,
    /// If events are missing, it continues live.
    pub(crate) after_gap_live: bool,
}

/// The place of an id among all events: after `lowest` at least and `highest` at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub(crate) lowest: u32,
    pub(crate) highest: u32,
    /// Topics, as a bit mask, without events between `lowest` and the id.
    pub(crate) exact: u8,
    /// It is an id of the application.
    pub(crate) own: bool,
}

impl Token {
    /// In this topic: the first event that may come after it, and the first that certainly does.
    pub(crate) fn places(&self, number: u8, topic: &Topic) -> (u32, u32) {
        let first = topic.place_behind(self.lowest);
        let exact = self.exact & 1 << number != 0;
        (first, if exact { first } else { topic.place_behind(self.highest) })
    }
}

/// All server ids that any client has seen.
#[derive(Default)]
pub(crate) struct Ids {
    by_text: HashMap<String, u64>,
    by_number: BTreeMap<u64, Token>,
    /// The server that made them.
    maker: String,
}

impl Ids {
    pub(crate) fn find(&self, id: &str) -> Option<Token> {
        self.by_number.get(self.by_text.get(id)?).copied()
    }

    /// One of them, if there is any.
    pub(crate) fn any(&self, rng: &mut Rng) -> Option<String> {
        let number = self.by_number.keys().rev().nth(rng.usize(..self.by_number.len().clamp(1, 64)))?;
        Some(format!("{}-{number}", self.maker))
    }

    /// A client has seen `id`. Ids increase in the order of publishing.
    pub(crate) fn learn(&mut self, id: &str, token: Token) {
        let parsed = id.split_once('-').and_then(|(maker, number)| Some((maker, number.parse().ok()?)));
        let (maker, number) = parsed.unwrap_or_else(|| panic!("{id:?} is no id of the server's"));
        if self.maker.is_empty() {
            maker.clone_into(&mut self.maker);
        }
        assert_eq!(maker, self.maker, "{id} is of another server");
        self.by_text.entry(id.to_owned()).or_insert(number);
        let known = self.by_number.entry(number).or_insert(token);
        known.lowest = known.lowest.max(token.lowest);
        known.highest = known.highest.min(token.highest);
        known.exact |= token.exact;
        let known = *known;
        assert!(known.lowest <= known.highest, "one id for one event: {id}, {known:?}, {token:?}");
        let before = self.by_number.range(..number).next_back();
        let ordered = before.is_none_or(|(_, before)| before.is_before(known));
        assert!(ordered, "{id} of {known:?} is less than that of {before:?}");
        let behind = self.by_number.range(number + 1..).next();
        let ordered = behind.is_none_or(|(_, behind)| known.is_before(*behind));
        assert!(ordered, "{id} of {known:?} is more than that of {behind:?}");
    }
}

impl Token {
    /// The place of an event's id.
    pub(crate) fn of_event(order: u32) -> Self {
        Self { lowest: order, highest: order, exact: u8::MAX, own: false }
    }

    /// Whether it can come before another.
    fn is_before(self, other: Self) -> bool {
        self.lowest < other.highest
    }
}

/// A page: it reads one stream after another, and remembers the last id.
#[derive(Debug, Default)]
pub(crate) struct Page {
    last: String,
    older: Vec<String>,
}

/// Number of ids that a page remembers besides the last.
const OLDER: usize = 16;

impl Page {
    pub(crate) fn see(&mut self, id: &str) {
        if self.last != id {
            let last = std::mem::replace(&mut self.last, id.to_owned());
            if self.older.len() == OLDER {
                self.older.remove(0);
            }
            self.older.push(last);
        }
    }

    /// The id with which it resumes: most often the last, sometimes another or an invalid one.
    pub(crate) fn draw(&self, rng: &mut Rng) -> Option<String> {
        let strange = [
            "nobody-knows",
            "12-",
            "-",
            "18446744073709551616-0",
            "1-0",
            "0-0",
            "9999999999999-0",
            "shared-0",
            "shared-1",
        ];
        let id = match rng.u8(..16) {
            0 => strange[rng.usize(..strange.len())],
            1 => return None,
            2 | 3 if !self.older.is_empty() => &self.older[rng.usize(..self.older.len())],
            _ => &self.last,
        };
        (!id.is_empty()).then(|| id.to_owned())
    }
}
