//! A client: it reads a stream, remembers the last id, and comes back with it to any node.

use crate::node::Node;
use crate::store::{Kind, Store};
use fastrand::Rng;
use mio_sse::{Answer, Position, RawRequest};
use std::collections::{HashMap, HashSet};

/// Something that it was told of having missed.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gap {
    /// Everything up to here. `None`: up to what came next, if anything did.
    pub(crate) until: Option<Position>,
    pub(crate) at: u64,
}

pub(crate) struct Client {
    pub(crate) number: usize,
    /// Which topics it reads, a bit for each.
    pub(crate) topics: u8,
    goes_on_live: bool,
    answer: Option<Answer>,
    /// The process that it reads.
    pub(crate) process: u32,
    /// Where that was when it came, if it may have forgotten some of what was before.
    came_at: Option<Position>,
    /// How much of the body it has looked at.
    seen: usize,
    pub(crate) last: Option<Position>,
    /// Since when it is to get everything, and from which position on.
    pub(crate) since: Option<(Position, u64)>,
    /// The numbers of the events it has, and where and when each was.
    pub(crate) has: HashMap<u64, (Position, u64)>,
    pub(crate) gaps: Vec<Gap>,
    /// All ids that it had, and since when.
    pub(crate) ids: Vec<(Position, u64)>,
    /// It was told not to come back.
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
            status => panic!("client {} is answered {status:?}", self.number),
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
            // What was sent to say where it is.
            ("", None) => {
                assert!(
                    id >= before || id.is_none(),
                    "client {number} is put back from {before:?} to {id:?}"
                );
            }
            ("", Some(data)) => {
                let id = id.expect("every event has an id");
                assert!(Some(id) > before, "client {number} gets {id} behind {before:?}");
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
        // A gap without an id was before this.
        for gap in self.gaps.iter_mut().rev().take_while(|gap| gap.until.is_none()) {
            gap.until = Some(id);
        }
        if let Some((before, _)) = self.has.insert(what, (id, now)) {
            let fresh = nodes.iter().find(|node| node.process == self.process);
            // A process that was not there then, cannot know.
            let knows = fresh.is_some_and(|node| node.first.is_none_or(|first| first <= before));
            let first = store.was_at(before, found.at).expect("it was there");
            // A node that has missed something forgets what it has read.
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

    /// Whether all is well so far: it has what it was to get, or was told. `lives` are the processes that are
    /// there.
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
            // Its node has published nothing by then, which says nothing of what there was.
            let begins_live = from == Position::default();
            if it.at < since && (position <= from || was_lost_before || begins_live) {
                continue;
            }
            // Behind what was lost come positions that were there before. What was trimmed is gone as well
            // then.
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
            // Nobody is left who knew that it was lost, or that the place where the client stands was.
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

    /// All is well up to now.
    pub(crate) fn begins_anew(&mut self, now: u64) {
        self.gaps.clear();
        self.ids.clear();
        self.ids.extend(self.last.map(|last| (last, now)));
        // Whatever was written before is settled.
        self.since = self.last.map(|_| (Position::new(u64::MAX, 0), now));
    }
}
