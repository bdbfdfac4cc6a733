//! Ids of events: what the model knows of them, and what clients come back with.

use crate::kept::Topic;
use fastrand::Rng;
use std::collections::{BTreeMap, HashMap};

/// Where a stream is to begin.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(crate) enum Begins {
    #[default]
    Resumes,
    Live,
    Snapshot,
}

/// What a reply says of where its stream begins.
#[derive(Debug, Clone, Default)]
pub(crate) struct Plan {
    pub(crate) begins: Begins,
    /// Behind which event, by what its client or its handler says.
    pub(crate) id: Option<String>,
    /// Where something is missing it goes on with what comes next.
    pub(crate) after_gap_live: bool,
}

/// Where an id stands among all that was published or sent: behind `lowest` at least and `highest` at most.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Token {
    pub(crate) lowest: u32,
    pub(crate) highest: u32,
    /// Topics, a bit for each, of which nothing lies between `lowest` and the id.
    pub(crate) exact: u8,
    /// It is an id of the application's.
    pub(crate) own: bool,
}

impl Token {
    /// In this topic: the first event that may be behind it, and the first that surely is.
    pub(crate) fn places(&self, number: u8, topic: &Topic) -> (u32, u32) {
        let first = topic.place_behind(self.lowest);
        let exact = self.exact & 1 << number != 0;
        (first, if exact { first } else { topic.place_behind(self.highest) })
    }
}

/// All ids of the server's that any client has seen.
#[derive(Default)]
pub(crate) struct Ids {
    by_text: HashMap<String, u64>,
    by_number: BTreeMap<u64, Token>,
    /// Which server has made them.
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

    /// Somebody has seen `id`. Ids increase with what is published.
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
    /// That of an event, which stands there.
    pub(crate) fn of_event(order: u32) -> Self {
        Self { lowest: order, highest: order, exact: u8::MAX, own: false }
    }

    /// Whether it can stand before another.
    fn is_before(self, other: Self) -> bool {
        self.lowest < other.highest
    }
}

/// Whoever reads streams one after the other, and remembers what it has seen last.
#[derive(Debug, Default)]
pub(crate) struct Page {
    last: String,
    older: Vec<String>,
}

/// How many ids a page remembers besides the last.
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

    /// The id that it comes back with: most often the last, now and then another or one that makes no sense.
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
