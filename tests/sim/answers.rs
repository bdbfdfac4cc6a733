//! Replies of the application, and whether a reply's stream can open.

use crate::app::Shared;
use crate::belongings::give_belongings;
use crate::model::{Answer, Model, Softness, TOPICS};
use crate::resume::{Begins, Plan};
use crate::tagged::{draw_tags, name};
use mio_sse::{AfterGap, Context, Refusal, Refuse, Reply, Request, StreamReply};
use std::time::Duration;

/// Whether a stream must not subscribe to these topics as well, and why: `None` if that is not known.
pub(crate) fn one_too_many(
    model: &Model,
    index: u32,
    topics: &[u8],
    cx: &Context<'_>,
) -> Option<Option<Refusal>> {
    let stream = &model.streams[index as usize];
    if !stream.live && stream.opened {
        return Some(None);
    }
    // A topic with subscribers, or with events that are certainly retained, exists. An unused topic may exist
    // until the end of the turn.
    let is_there = |topic: u8| {
        cx.subscribers(TOPICS[topic as usize]) > 0
            || model.topics[topic as usize].keeps_something(model.now).0
    };
    let there = (0..TOPICS.len()).filter(|topic| is_there(u8::try_from(*topic).unwrap())).count();
    let total = usize::try_from(cx.stats().topics).unwrap();
    let mut more = 0;
    let mut own = stream.subscriptions();
    let mut new = Vec::new();
    for &topic in topics {
        if stream.reads(topic) || new.contains(&topic) {
            continue;
        }
        if own >= model.config.subscriptions_max {
            return Some(Some(Refusal::Subscriptions));
        }
        if !is_there(topic) {
            if total + more < model.config.topics_max {
                more += 1;
            } else if total == there {
                return Some(Some(Refusal::Topics));
            } else {
                return None;
            }
        }
        own += 1;
        new.push(topic);
    }
    Some(None)
}

/// Draws the reply to a request: `None` if the callback is to panic.
pub(crate) fn answer(
    shared: &Shared,
    model: &mut Model,
    request: &Request<'_>,
    index: u32,
    refused: Option<Refusal>,
    panics: bool,
    cx: &mut Context<'_>,
) -> Option<Reply> {
    let connection = model.streams[index as usize].connection;
    if let Some(at) = model.lost.iter().position(|(lost, _)| *lost == index) {
        // It was given more than may wait for it. There is no reply and no report.
        model.lost.remove(at);
        model.connections[connection as usize].dropped = true;
        model.just_over.push(index);
        return (!panics).then(|| Reply::text("dropped"));
    }
    let last = refused.is_some() || model.drain.is_some() || model.is_last(connection);
    let is_stream = model.rng.u8(..8) > 1;
    let (reply, answer, close) = if panics {
        (None, Answer::Panicked, true)
    } else if is_stream {
        let (reply, answer, close) = stream(shared, model, request, index, refused, cx);
        (Some(reply), answer, close || last)
    } else {
        let bytes = match model.rng.u8(..8) {
            0 => model.rng.usize(..200_000),
            1 => 0,
            _ => model.rng.usize(..200),
        };
        let status = [200, 200, 200, 204, 404, 503][model.rng.usize(..6)];
        let reply = Reply::bytes("text/plain", vec![b'w'; bytes]).with_status(status);
        let answer = Answer::Whole { status: reply.status_code(), bytes: reply.body().len() };
        (Some(reply), answer, last)
    };
    let answer = if request.is_head() { Answer::Head } else { answer };
    model.connections[connection as usize].put(answer, Some(close));
    if !matches!(answer, Answer::Stream(_)) {
        model.end(index);
        model.just_over.push(index);
    }
    reply
}

/// The result of a reply that the library makes.
pub(crate) fn whole(status: u16, head: bool) -> Answer {
    if head { Answer::Head } else { Answer::Status(status) }
}

/// How the stream of a request is refused.
pub(crate) fn softness(model: &Model, request: &Request<'_>) -> Softness {
    let soft = match model.config.refuse {
        Refuse::Auto => request.method() == "GET" && request.header("Accept").is_some(),
        Refuse::Soft => true,
        Refuse::Unavailable => false,
    };
    if soft { Softness::Soft } else { Softness::Unavailable }
}

/// Draws a stream, and returns whether it is refused.
fn stream(
    shared: &Shared,
    model: &mut Model,
    request: &Request<'_>,
    index: u32,
    refused: Option<Refusal>,
    cx: &mut Context<'_>,
) -> (Reply, Answer, bool) {
    let mut topics = Vec::new();
    for _ in 0..model.rng.u8(..5) {
        topics.push(model.topic());
        if one_too_many(model, index, &topics, cx).is_none() {
            topics.pop();
        }
    }
    let mut reply = Reply::stream();
    for topic in &topics {
        reply = reply.topic(TOPICS[*topic as usize]);
    }
    let mut chunked = !request.is_http_10();
    if model.rng.u8(..5) == 0 {
        reply = reply.close_delimited();
        chunked = false;
    }
    if model.rng.u8(..6) == 0 {
        reply = reply.retry(Duration::from_millis(model.rng.u64(..10_000)));
    }
    let own_age = (model.rng.u8(..12) == 0).then(|| Duration::from_millis(model.rng.u64(..3_000)));
    if let Some(age) = own_age {
        reply = reply.max_age(age);
    }
    let finishes = model.rng.u8(..6) == 0;
    if finishes {
        reply = reply.finish();
    }
    let tags = draw_tags(&mut model.rng);
    for tag in &tags {
        reply = reply.tag(name(*tag));
    }
    let (reply, plan) = begin(model, request, reply);
    let reply = Reply::from(give_belongings(shared, model, index, reply, cx));
    if request.is_head() {
        return (reply, Answer::Head, false);
    }
    let full = cx.stats().streams >= model.config.streams_max as u64;
    let stream = &model.streams[index as usize];
    let mut all_tags = stream.tags.clone();
    all_tags.extend(tags.iter().filter(|tag| !stream.tags.contains(tag)));
    let revoked = stream.opening_revoked || tags.iter().any(|tag| model.is_revoked(*tag));
    let many_tags = stream.live && all_tags.len() > model.config.tags_max;
    let refusal = revoked
        .then_some(Refusal::Revoked)
        .or(refused)
        .or(model.drain.map(|_| Refusal::Draining))
        .or(full.then_some(Refusal::Streams))
        .or_else(|| one_too_many(model, index, &topics, cx).flatten())
        .or(many_tags.then_some(Refusal::Tags));
    if let Some(refusal) = refusal {
        if refused.is_none() {
            model.refused[refusal as usize] += 1;
        }
        let is_final = matches!(refusal, Refusal::Subscriptions | Refusal::Tags | Refusal::Revoked);
        return (reply, Answer::Refused(refusal, softness(model, request)), !is_final);
    }
    for topic in topics {
        model.subscribe(index, topic);
    }
    let it = &mut model.streams[index as usize];
    (it.chunked, it.own_age, it.finishes, it.plan) = (chunked, own_age, finishes, plan);
    if it.live {
        model.counts.tagged += (all_tags.len() - it.tags.len()) as u64;
        it.tags = all_tags;
    }
    (reply, Answer::Stream(index), !chunked)
}

/// Draws the position at which a stream begins.
fn begin(model: &mut Model, request: &Request<'_>, mut reply: StreamReply) -> (StreamReply, Plan) {
    let mut id = request.last_event_id().map(|id| id.into_owned());
    let begins = match model.rng.u8(..8) {
        0 => Begins::Live,
        1 | 2 => Begins::Snapshot,
        _ => Begins::Resumes,
    };
    reply = match begins {
        Begins::Live => reply.live(),
        Begins::Snapshot => reply.snapshot(),
        Begins::Resumes => reply,
    };
    if model.rng.u8(..16) == 0 {
        // A position of another stream, or none at all.
        let other = if model.rng.u8(..4) == 0 { None } else { model.ids.any(&mut model.rng) };
        let other = other.unwrap_or_else(|| "nobody-knows".to_owned());
        reply = reply.resume_after(other.clone());
        id = Some(other);
    }
    let after_gap_live = model.rng.u8(..3) == 0;
    if after_gap_live {
        reply = reply.after_gap(AfterGap::Live);
    }
    (reply, Plan { begins, id, after_gap_live })
}
