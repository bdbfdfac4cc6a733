//! A client: it reads a stream, remembers the last id, and resumes at any node.

use crate::node::Node;
use crate::store::{Kind, Store};
use fastrand::Rng;
use mio_sse::{Answer, Position, RawRequest};
use std::collections::{HashMap, HashSet};

/// A gap event that the client has received.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gap {
    /// The gap ends here. `None`: it ends at the next event, if there is one.
    pub(crate) until: Option<Position>,
    pub(crate) at: u64,
}

pub(crate) struct Client {
    pub(crate) number: usize,
    /// The topics that the client reads, as a bit mask.
    pub(crate) topics: u8,
    goes_on_live: bool,
    answer: Option<Answer>,
    /// The process that the client reads from.
    pub(crate) process: u32,
    /// Newest position of the process when the client connected, if the process may have forgotten events
    /// before it.
    came_at: Option<Position>,
    /// Number of bytes of the body that were parsed.
    seen: usize,
    pub(crate) last: Option<Position>,
    /// Position and time from which on the client is to get every event.
    pub(crate) since: Option<(Position, u64)>,
    /// Numbers of the events it has received, with position and time.
    pub(crate) has: HashMap<u64, (Position, u64)>,
    pub(crate) gaps: Vec<Gap>,
    /// All ids it has had, each with the time.
    pub(crate) ids: Vec<(Position, u64)>,
    /// The client got 204.
    pub(crate) is_over: bool,
    pub(crate) came_twice: u64,
}

impl Client {
    pub(crate) fn new(number: usize, topics: u8, goes_on_live: bool) -> Self {
        Self {
            number,
            topics,
            goes_on_live,
            answer: None,
            process: 0,
            came_at: None,
            seen: 0,
            last: None,
            since: None,
            has: HashMap::new(),
            gaps: Vec::new(),
            ids: Vec::new(),
            is_over: false,
            came_twice: 0,
        }
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.answer.is_some()
    }

    pub(crate) fn connect(&mut self, node: &mut Node, rng: &mut Rng) {
        let mode = if self.goes_on_live { "live" } else { "" };
        let mut request = RawRequest::get(&format!("/{}/{mode}", self.topics)).unwrap();
        if let Some(last) = self.last {
            request = request.header("Last-Event-ID", last.to_string()).unwrap();
        }
        self.seen = 0;
        self.process = node.process;
        self.came_at = node.newest_where_it_forgets();
        self.answer = Some(node.connect(request, rng));
    }

    pub(crate) fn cut(&mut self) {
        self.answer = None;
    }

    /// Reads up to `count` bytes.
    pub(crate) fn read(&mut self, count: usize, store: &mut Store, nodes: &[Node]) {
        let Some(mut answer) = self.answer.take() else { return };
        match answer.status() {
            Some(200) => {}
            Some(204) => {
                self.is_over = true;
                return;
            }
            None => {
                self.answer = (!answer.is_over()).then_some(answer);
                return;
            }
            status => panic!("client {} got {status:?}", self.number),
        }
        let body = answer.body();
        let end = body.len().min(self.seen + count);
        let body = String::from_utf8(body[..end].to_vec()).expect("a stream is text");
        while let Some((block, _)) = body[self.seen..].split_once("\n\n") {
            self.seen += block.len() + 2;
            self.block(block, store, nodes);
        }
        let has_more = self.seen < answer.body().len();
        if has_more || !answer.is_over() {
            self.answer = Some(answer);
        }
    }

    fn block(&mut self, block: &str, store: &mut Store, nodes: &[Node]) {
        let (mut id, mut name, mut data) = (None, "", None);
        for line in block.lines() {
            match line.split_once(": ").unwrap_or((line, "")) {
                ("id", value) => id = Some(value.parse::<Position>().expect("ids are positions")),
                ("event", value) => name = value,
                ("data", value) => data = Some(value.to_owned()),
                ("" | "retry" | ":", _) => {}
                other => panic!("a line of a stream: {other:?}"),
            }
        }
        let (number, now, before) = (self.number, store.tick(), self.last);
        if store.verbose {
            println!("       client {number} gets {block:?}");
        }
        if let Some(id) = id {
            self.last = Some(id);
            self.ids.push((id, now));
            self.since.get_or_insert((id, now));
        }
        match (name, data) {
            ("gap", _) => {
                let until = id.filter(|_| id != before).or(self.came_at);
                self.gaps.push(Gap { until, at: now });
            }
            // A heartbeat or an opening event that carries only the position.
            ("", None) => {
                assert!(
                    id >= before || id.is_none(),
                    "client {number} is put back from {before:?} to {id:?}"
                );
            }
            ("", Some(data)) => {
                let id = id.expect("every event has an id");
                assert!(Some(id) > before, "client {number} gets {id} after {before:?}");
                let what = data.parse::<u64>().expect("a number");
                self.event(what, id, now, store, nodes);
            }
            other => panic!("client {number} gets {other:?}"),
        }
    }

    fn event(&mut self, what: u64, id: Position, now: u64, store: &Store, nodes: &[Node]) {
        let is_it =
            |kind| matches!(kind, Kind::Event(number, topics) if number == what && topics & self.topics != 0);
        let found = store.all.iter().rev().find(|it| it.entry.position == id && is_it(it.kind));
        let found = found.unwrap_or_else(|| panic!("client {}: {what} was never at {id}", self.number));
        // A gap without an id ends before this event.
        for gap in self.gaps.iter_mut().rev().take_while(|gap| gap.until.is_none()) {
            gap.until = Some(id);
        }
        if let Some((before, _)) = self.has.insert(what, (id, now)) {
            let fresh = nodes.iter().find(|node| node.process == self.process);
            // A process that was started later cannot know.
            let knows = fresh.is_some_and(|node| node.first.is_none_or(|first| first <= before));
            let first = store.was_at(before, found.at).expect("it was there");
            // A node that has read a mark forgets its nonces.
            let is_marked = store.all.iter().any(|it| it.at > first.at && it.kind == Kind::Mark);
            let is_lost = store
                .all
                .iter()
                .any(|it| it.entry.position == before && it.lost.is_some_and(|(lost, _)| lost < found.at));
            assert!(
                found.is_new || !knows || is_marked || is_lost,
                "client {} gets {what} at {before} and at {id}",
                self.number
            );
            self.came_twice += 1;
        }
    }

    /// Checks that the client has every event it was to get, or a gap. `lives` are the running processes.
    pub(crate) fn check(&self, store: &Store, lives: &HashSet<u32>) -> Result<u64, String> {
        let Some((from, since)) = self.since else { return Ok(0) };
        let is_witnessed = |loss: usize| store.losses[loss].witnesses.iter().any(|it| lives.contains(it));
        let mut excused = 0;
        for it in &store.all {
            let Kind::Event(what, topics) = it.kind else { continue };
            let position = it.entry.position;
            if store.topics_at(topics, it.at) & self.topics == 0 || !it.is_new || self.has.contains_key(&what)
            {
                continue;
            }
            let was_lost_before = it.lost.is_some_and(|(lost, _)| lost < since);
            // Its node had published nothing yet, so it cannot know of earlier events.
            let begins_live = from == Position::default();
            if it.at < since && (position <= from || was_lost_before || begins_live) {
                continue;
            }
            // After a loss, positions repeat, and then trimmed entries are missing, too.
            let was_lost = |gap: &Gap| match it.lost {
                Some((lost, _)) => lost < gap.at,
                None => it.is_trimmed && store.losses.iter().any(|loss| loss.at > it.at && loss.at < gap.at),
            };
            let is_covered = |gap: &Gap| {
                gap.at > it.at && (gap.until.is_some_and(|until| until >= position) || was_lost(gap))
            };
            if self.gaps.iter().any(is_covered) {
                continue;
            }
            // No process is left that knew of the loss, or of the event at the client's position.
            let is_known = it.lost.is_none_or(|(_, loss)| is_witnessed(loss));
            let stands_nowhere = |(id, at): &(Position, u64)| {
                let stood = store.was_at(*id, it.at.saturating_sub(1).min(*at));
                let lost = stood.and_then(|stood| stood.lost).filter(|(lost, _)| *lost < it.at);
                *id >= position && lost.is_some_and(|(_, loss)| !is_witnessed(loss))
            };
            if !is_known || self.ids.iter().any(stands_nowhere) {
                excused += 1;
                continue;
            }
            return Err(format!(
                "client {} has missed {what} at {position}, written at {}, lost {:?}, and was not told; it begins at {from} \
                 in {since}, and is at {:?} of {}",
                self.number, it.at, it.lost, self.last, self.process
            ));
        }
        Ok(excused)
    }

    /// Everything up to now has been checked.
    pub(crate) fn begins_anew(&mut self, now: u64) {
        self.gaps.clear();
        self.ids.clear();
        self.ids.extend(self.last.map(|last| (last, now)));
        // All events that were written before have been checked.
        self.since = self.last.map(|_| (Position::new(u64::MAX, 0), now));
    }
}
