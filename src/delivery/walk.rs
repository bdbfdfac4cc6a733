//! The one walk: the next bytes for a stream, in one order over all the logs that it reads.

use crate::delivery::batch::Batch;
use crate::delivery::stream::Stream;
use crate::topic::block::Block;
use crate::topic::frame::{Framing, Kind};
use crate::topic::log::{Log, Place, Run};
use crate::topic::topics::{TopicKey, Topics};
use std::cmp::Reverse;

/// The largest batch that is copied together.
pub(crate) const COPY_BYTES_MAX: usize = 64 << 10;

/// A log that a stream reads, from after the frame `from`. Events from before it subscribed are not for it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Reading<'a> {
    pub(crate) log: &'a Log,
    pub(crate) from: u64,
}

/// The logs that `stream` reads.
pub(crate) fn readings<'a>(
    stream: &'a Stream,
    topics: &'a Topics,
) -> impl Iterator<Item = Reading<'a>> + Clone {
    let log = |topic| topics.get(topic).log();
    let first = (stream.topic != TopicKey::NONE).then(|| Reading { log: log(stream.topic), from: 0 });
    let own = stream.extras().map(|extras| Reading { log: &extras.private, from: 0 });
    let more =
        stream.subscriptions().iter().map(move |found| Reading { log: log(found.topic), from: found.from });
    first.into_iter().chain(own).chain(more)
}

/// The next bytes for a stream: its hand, then all frames of its logs in the order of their sequence, then
/// the end of the body if it is closed. Also returns the newest frame for the stream.
///
/// If the frames lie in one piece of one log and need no other framing, no bytes are copied. Otherwise they
/// are copied to `scratch`: at most 64 KiB, or one frame if that is larger.
pub(crate) fn next_batch<'a>(
    stream: &'a Stream,
    topics: &'a Topics,
    scratch: &'a mut Block,
) -> (Batch<'a>, u64) {
    let readings = readings(stream, topics);
    let after = stream.sequence();
    let (hand, end) = stream.hand_and_end();
    if stream.is_held() || !hand.is_empty() && (hand.len() > COPY_BYTES_MAX || stream.has_missed()) {
        // A gap event and missed events come before everything else.
        return (Batch::of_hand(hand), u64::MAX);
    }
    let mut alone: Option<(&Log, Place)> = None;
    let (mut several, mut newest) = (false, 0);
    for reading in readings.clone() {
        newest = newest.max(reading.log.newest());
        if let Some(place) = reading.log.place(after.max(reading.from)) {
            several |= alone.is_some();
            alone = Some((reading.log, place));
        }
    }
    if let Some((log, place)) = alone
        && !several
        && hand.is_empty()
        && end.is_none()
        && stream.framing == Framing::Chunked
        && !(stream.conflates() && log.is_conflated())
    {
        return (Batch::of_run(log.run(place)), newest);
    }
    if alone.is_none() && end.is_none() {
        return (Batch::of_hand(hand), newest);
    }
    scratch.clear();
    scratch.bytes.extend_from_slice(hand);
    let until = end.unwrap_or(u64::MAX);
    let all = merge(&readings, after, until, !stream.conflates(), stream.framing, scratch);
    if let Some(end) = end.filter(|end| all && after < *end) {
        scratch.push(end, stream.framing.end(), Kind::RAW);
    }
    (Batch::of_copy(scratch, hand.len()), newest.max(until))
}

/// Copies frames after `after` and up to `until` in the order of their sequence, until `scratch` is full.
/// Returns whether these are all. Without `superseded`, superseded frames are skipped.
///
/// A run is copied in one piece: a client that reconnects gets a head and then a long run of one log.
pub(crate) fn merge<'a>(
    readings: &(impl Iterator<Item = Reading<'a>> + Clone),
    mut after: u64,
    until: u64,
    superseded: bool,
    framing: Framing,
    scratch: &mut Block,
) -> bool {
    // An event that was published to several topics is in all of their logs. The longest frame has the id
    // from the topic with a history. With another id, the client would get the event again when it resumes.
    let place = |run: &Run<'_>| (run.first().sequence, Reverse(run.first().end - run.base));
    while scratch.bytes.len() < COPY_BYTES_MAX {
        let mut next: Option<Run<'_>> = None;
        // This run stops before the first frame of another log.
        let mut limit = until.saturating_add(1);
        for Reading { log, from } in readings.clone() {
            let after = after.max(from);
            let run = if superseded { log.next(after) } else { log.next_current(after) };
            let Some(mut run) = run else { continue };
            match &mut next {
                None => next = Some(run),
                Some(found) => {
                    if place(&run) < place(found) {
                        std::mem::swap(found, &mut run);
                    }
                    limit = limit.min(run.first().sequence);
                }
            }
        }
        let Some(run) = next.filter(|run| run.first().sequence <= until) else { return true };
        let room = COPY_BYTES_MAX - scratch.bytes.len();
        let more = run.frames.windows(2).take_while(|pair| {
            let full = (pair[0].end - run.base) as usize >= room;
            !full && pair[1].sequence < limit && (superseded || !pair[1].is_conflated())
        });
        let run = run.cut(1 + more.count());
        copy(run, framing, scratch);
        after = scratch.last();
    }
    false
}

/// Appends a run to `scratch`.
fn copy(run: Run<'_>, framing: Framing, scratch: &mut Block) {
    match framing {
        Framing::Chunked => scratch.push_all(run.frames, run.base, run.bytes),
        Framing::CloseDelimited | Framing::Gzip => {
            for (frame, bytes) in run.each() {
                scratch.push(frame.sequence, framing.bytes_of(frame.kind, bytes), frame.kind);
            }
        }
    }
}

/// A run in close-delimited framing, made once for all streams that need it.
pub(crate) fn unwrap_run(run: Run<'_>, scratch: &mut Block) {
    scratch.clear();
    copy(run, Framing::CloseDelimited, scratch);
}
