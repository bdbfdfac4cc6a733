//! Requests with late replies: which requests wait, which get a reply, and what follows.

use crate::answers::{softness, whole};
use crate::app::{Shared, begin, play, reply, with};
use crate::ends::is_over;
use crate::model::{Answer, Answers, Model};
use crate::net::{World, peer};
use crate::trace::Note;
use mio_sse::{Context, Error, Refusal, Reply, Request, Responder, Stats};
use std::sync::Arc;
use std::time::Duration;

/// A request that waits for its reply.
pub(crate) struct Late {
    pub(crate) connection: u32,
    pub(crate) number: u32,
    pub(crate) since: Duration,
    /// If its connection is above a limit: which one.
    refused: Option<Refusal>,
    /// It gets no reply in time.
    never: bool,
    phase: Phase,
}

enum Phase {
    Waiting(Responder),
    /// A closure in the loop makes its reply, and owns this, too.
    Said(Arc<()>),
    /// Its reply was made elsewhere. It is not known when the loop gets to it.
    Blind,
    /// The request of this responder no longer waits.
    Over(Responder),
}

/// Properties of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked {
    pub(crate) connection: u32,
    pub(crate) number: u32,
    body: u32,
}

impl Asked {
    pub(crate) fn of(request: &Request<'_>) -> Self {
        let mut parts = request.path().split('/').skip(1);
        let mut part =
            || parts.next().and_then(|part| part.parse::<u32>().ok()).expect("no request but ours");
        Self { connection: part(), number: part(), body: part() }
    }

    /// Checks that the request is as it was sent.
    pub(crate) fn check(&self, request: &Request<'_>, model: &mut Model) {
        assert_eq!(request.body().len(), self.body as usize, "the whole body");
        assert!(request.body().iter().all(|byte| *byte == b'p'), "no byte of another's");
        match request.peer() {
            Some(found) => assert_eq!(found, peer(self.connection), "the peer that has sent it"),
            None => model.peerless.push(self.connection),
        }
        let last_seen = &model.connections[self.connection as usize].last_seen[self.number as usize];
        assert_eq!(request.last_event_id().as_deref(), last_seen.as_deref(), "the last event seen");
    }
}

impl Late {
    fn is_awaited(&self) -> bool {
        matches!(&self.phase, Phase::Waiting(responder) if responder.is_awaited())
    }

    /// Whether its reply is on its way to it.
    fn is_due(&self) -> bool {
        match &self.phase {
            Phase::Said(held) => Arc::strong_count(held) > 1,
            Phase::Blind => true,
            Phase::Waiting(_) | Phase::Over(_) => false,
        }
    }
}

/// Lets a request wait for its reply, at random.
pub(crate) fn wait(
    model: &mut Model,
    request: &Request<'_>,
    index: u32,
    refused: Option<Refusal>,
    cx: &mut Context<'_>,
) -> Option<Reply> {
    let is_lost = model.lost.iter().any(|(lost, _)| *lost == index);
    if is_lost || model.quiet || model.late_rate.is_none_or(|rate| model.rng.u32(..rate) > 0) {
        return None;
    }
    let (placeholder, responder) = cx.later();
    if model.rng.u8(..32) == 0 {
        drop(placeholder);
        model.say_in_vain(responder);
        return None;
    }
    let connection = model.streams[index as usize].connection;
    model.end(index);
    model.just_over.push(index);
    if cx.stats().late_replies > model.config.late_replies_max as u64 {
        model.refused[Refusal::LateReplies as usize] += 1;
        let answer = Answer::Refused(Refusal::LateReplies, softness(model, request));
        let answer = if request.is_head() { Answer::Head } else { answer };
        model.connections[connection as usize].put(answer, Some(true));
        model.turned_away.push(responder);
        return Some(placeholder);
    }
    model.counts.late += 1;
    let (since, head, never) = (cx.now(), request.is_head(), model.rng.u8(..12) == 0);
    let answers = &mut model.connections[connection as usize];
    answers.put(Answer::Late { since, said: None, head }, None);
    let number = answers.requests - 1;
    model.late.push(Late { connection, number, since, refused, never, phase: Phase::Waiting(responder) });
    Some(placeholder)
}

/// Replies to one of the waiting requests.
pub(crate) fn reply_to_any(shared: &Shared, model: &mut Model) {
    if !model.late.is_empty() {
        let any = model.rng.usize(..model.late.len());
        say(shared, model, any);
    }
}

/// Replies to all waiting requests that are to get a reply. Returns whether there were any.
pub(crate) fn reply_to_all(shared: &Shared, model: &mut Model) -> bool {
    let mut any = false;
    for at in (0..model.late.len()).rev() {
        any |= say(shared, model, at);
    }
    any
}

/// Gives a reply, in one way or another. Returns whether it is on its way.
fn say(shared: &Shared, model: &mut Model, at: usize) -> bool {
    let late = &mut model.late[at];
    let Late { connection, number, refused, never, .. } = *late;
    let responder = match std::mem::replace(&mut late.phase, Phase::Blind) {
        Phase::Over(responder) => {
            model.late.swap_remove(at);
            model.say_in_vain(responder);
            return false;
        }
        Phase::Waiting(responder) if !never && responder.is_awaited() => responder,
        phase => {
            late.phase = phase;
            return false;
        }
    };
    model.waiting += 1;
    let how = model.rng.u8(..16);
    if how < 2 {
        let status = if how == 0 {
            drop(responder);
            model.counts.late_given_up += 1;
            500
        } else {
            responder.reply(Reply::status(410)).expect("it is awaited");
            410
        };
        let answers = &mut model.connections[connection as usize];
        let Some(Answer::Late { said, .. }) = answers.answers.get_mut(number as usize) else {
            panic!("{number} of {connection} waits");
        };
        *said = Some(status);
        let closes = refused.is_some() || model.drain.is_some() || model.is_last(connection);
        model.connections[connection as usize].closes[number as usize] = closes.then_some(true);
        return true;
    }
    let held = Arc::new(());
    late_at(model, at).phase = Phase::Said(held.clone());
    let again = shared.clone();
    let said = responder.reply_with(move |request, cx| {
        let _held = held;
        reply_late(&again, request, (connection, number), refused, cx)
    });
    said.expect("it is awaited");
    true
}

fn late_at(model: &mut Model, at: usize) -> &mut Late {
    &mut model.late[at]
}

/// The closure that the loop calls for a late reply.
fn reply_late(
    shared: &Shared,
    request: &Request<'_>,
    whose: (u32, u32),
    refused: Option<Refusal>,
    cx: &mut Context<'_>,
) -> Reply {
    let asked = Asked::of(request);
    assert_eq!((asked.connection, asked.number), whose, "a reply is to its own request");
    let index = with(shared, |model| {
        let at = model.late.iter().position(|late| (late.connection, late.number) == whose);
        let late = model.late.swap_remove(at.expect("said once"));
        assert!(matches!(late.phase, Phase::Said(_)), "said, and not given up");
        model.notes.push(Note::Said(asked.connection, asked.number));
        model.counts.late_said += 1;
        let requests = model.connections[asked.connection as usize].requests;
        assert_eq!(requests, asked.number + 1, "later requests wait");
        begin(model, request, asked, cx)
    });
    let panics = play(shared, Some(index), cx);
    if !panics && let Some(again) = with(shared, |model| late_again(model, request, index, refused, cx)) {
        return again;
    }
    reply(shared, request, index, refused, panics, cx)
}

/// A late reply that is to be late itself, at random: that does not exist.
fn late_again(
    model: &mut Model,
    request: &Request<'_>,
    index: u32,
    refused: Option<Refusal>,
    cx: &mut Context<'_>,
) -> Option<Reply> {
    if model.lost.iter().any(|(lost, _)| *lost == index) || model.rng.u8(..32) > 0 {
        return None;
    }
    let (placeholder, responder) = cx.later();
    model.turned_away.push(responder);
    model.end(index);
    model.just_over.push(index);
    let connection = model.streams[index as usize].connection;
    let closes = refused.is_some() || model.drain.is_some() || model.is_last(connection);
    model.connections[connection as usize].put(whole(500, request.is_head()), Some(closes));
    Some(placeholder)
}

impl Answers {
    /// Records the reply of the last request on the connection, and whether the connection closes then.
    pub(crate) fn put(&mut self, answer: Answer, closes: Option<bool>) {
        let number = self.requests as usize - 1;
        self.answers.truncate(number);
        self.closes.truncate(number);
        assert_eq!(self.answers.len(), number, "each request has its answer");
        self.answers.push(answer);
        self.closes.push(closes);
    }
}

impl Model {
    /// Whether the last request on a connection reaches the limit of requests.
    pub(crate) fn is_last(&self, connection: u32) -> bool {
        let requests = self.connections[connection as usize].requests as usize;
        requests >= self.config.requests_per_connection_max
    }

    /// The request on a connection that waits, without a reply so far.
    pub(crate) fn awaiting(&self, connection: u32) -> Option<&Late> {
        self.late.iter().find(|late| late.connection == connection && late.is_awaited())
    }

    /// Whether there are replies that the loop has not looked at.
    pub(crate) fn has_replies_due(&self) -> bool {
        self.waiting > 0 && self.late.iter().any(Late::is_due)
    }

    /// A reply without a waiting request.
    fn say_in_vain(&mut self, responder: Responder) {
        assert!(!responder.is_awaited(), "no request waits for it");
        self.counts.late_in_vain += 1;
        let result = match self.rng.u8(..3) {
            0 => responder.reply("in vain"),
            1 => responder.reply_with(|_, _| -> Reply { panic!("no request waits for it") }),
            // There is no client to report it to.
            _ => return,
        };
        assert!(matches!(result, Err(Error::Closed | Error::Stopped)), "{result:?}");
    }

    /// Called after each turn, which is counted already: a request that no longer waits has lost its client,
    /// or timed out.
    pub(crate) fn check_late(&mut self, world: &World, stats: &Stats) {
        for connection in std::mem::take(&mut self.peerless) {
            let is_reset = world.connections[connection as usize].reset;
            assert!(is_reset, "a request has the peer that has sent it: {connection}");
        }
        for responder in std::mem::take(&mut self.turned_away) {
            self.say_in_vain(responder);
        }
        for at in (0..self.late.len()).rev() {
            let Late { connection, number, since, refused, .. } = self.late[at];
            let is_closed = world.connections[connection as usize].server_closed.is_some();
            let is_behind = self.connections[connection as usize].requests > number + 1;
            match &self.late[at].phase {
                Phase::Over(_) => continue,
                Phase::Blind => {
                    if is_closed || is_behind {
                        self.late.swap_remove(at);
                    }
                    continue;
                }
                Phase::Waiting(responder) if responder.is_awaited() => {
                    assert!(!is_closed, "a client that has left does not wait: {connection}");
                    assert!(!is_behind, "requests wait for the replies before theirs: {connection}");
                    continue;
                }
                // It may have come too late, and wait to be dropped.
                Phase::Said(held) if Arc::strong_count(held) > 1 && !is_behind => continue,
                Phase::Waiting(_) | Phase::Said(_) => {}
            }
            if !is_closed {
                let timeout = self.config.late_reply_timeout;
                assert!(is_over(since, world.now, timeout), "{number} of {connection} has time left");
                self.counts.late_timed_out += 1;
                let answers = &mut self.connections[connection as usize];
                let answer = &mut answers.answers[number as usize];
                let Answer::Late { head, .. } = *answer else { panic!("two replies: {answer:?}") };
                *answer = whole(504, head);
                let is_exact = matches!(self.late[at].phase, Phase::Waiting(_));
                let drains = match &self.drain {
                    // It is not known which of the two came first.
                    Some(drain) if drain.turn + 1 >= self.turn || !is_exact => None,
                    drain => Some(drain.is_some()),
                };
                let limit = number as usize + 1 >= self.config.requests_per_connection_max;
                let closes = if refused.is_some() || limit { Some(true) } else { drains };
                self.connections[connection as usize].closes[number as usize] = closes;
            }
            let late = self.late.swap_remove(at);
            if let Phase::Waiting(responder) = late.phase {
                self.late.push(Late { phase: Phase::Over(responder), ..late });
            }
        }
        let awaited = self.late.iter().filter(|late| late.is_awaited()).count() as u64;
        let due = self.late.iter().filter(|late| late.is_due()).count() as u64;
        let counted = stats.late_replies;
        let most = self.config.late_replies_max as u64;
        assert!(
            (awaited..=awaited + due).contains(&counted),
            "{counted} wait, not {awaited}, and {due} perhaps"
        );
        assert!(counted <= most, "{counted} wait, and {most} may");
    }

    /// Checks that no request waits for too long, if the loop has done everything that is due.
    pub(crate) fn check_late_in_time(&self, now: Duration, late_by: Duration) {
        let most = self.config.late_reply_timeout + late_by;
        for late in self.late.iter().filter(|late| late.is_awaited()) {
            let waits = now.saturating_sub(late.since);
            assert!(waits <= most, "{} of {} waits for ever", late.number, late.connection);
        }
    }

    /// At rest, only requests without a reply wait.
    pub(crate) fn check_late_at_rest(&mut self, stats: &Stats) {
        self.late.retain(|late| !matches!(late.phase, Phase::Blind));
        let awaited = self.late.iter().filter(|late| late.is_awaited()).count();
        assert_eq!(stats.late_replies, awaited as u64, "waiting requests are counted");
        for late in &self.late {
            let is_said = matches!(late.phase, Phase::Said(_));
            assert!(!is_said, "every reply is given: {} of {}", late.number, late.connection);
            assert!(!late.is_awaited() || late.never, "a request that is to get a reply gets it");
        }
    }

    /// Checks that no request waits in a server that has stopped, or whose clients have all left.
    pub(crate) fn check_late_over(&mut self) {
        for late in std::mem::take(&mut self.late) {
            if let Phase::Waiting(responder) | Phase::Over(responder) = late.phase {
                self.say_in_vain(responder);
            }
        }
    }
}
