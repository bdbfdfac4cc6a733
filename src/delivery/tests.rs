//! The log against its dumb twin: a vector of everything that was ever published.

use super::cursor::{Cursor, FellOff, Source, next_batch};
use crate::event::Event;
use crate::topic::block::{BLOCK_BYTES, Block, Spares};
use crate::topic::frame::{EncodedEvent, Framing, Kind, Role};
use crate::topic::log::{Log, Place};
use crate::topic::topic::Topic;
use crate::topic::topics::Topics;
use proptest::prelude::*;

const LOGS: usize = 3;

#[derive(Debug, Clone)]
enum Step {
    /// Adds an event with so much data to one of the logs.
    Append { log: usize, size: usize },
    /// Adds bytes that are no event, such as a head.
    AppendRaw { log: usize, size: usize },
    /// Sends at most so many bytes of the next batch.
    Send { bytes: usize },
    /// Begins a wave: what is there is offered, older blocks go.
    Mark { log: usize, bytes_max: usize },
    /// Gives up what has been delivered.
    Release { log: usize },
}

fn step() -> impl Strategy<Value = Step> {
    let size = || prop_oneof![8 => 0_usize..200, 2 => Just(BLOCK_BYTES / 3), 1 => Just(BLOCK_BYTES + 5)];
    prop_oneof![
        4 => (0..LOGS, size()).prop_map(|(log, size)| Step::Append { log, size }),
        1 => (0..LOGS, size()).prop_map(|(log, size)| Step::AppendRaw { log, size }),
        4 => prop_oneof![0_usize..400, Just(usize::MAX)].prop_map(|bytes| Step::Send { bytes }),
        1 => (0..LOGS, 0_usize..4 * BLOCK_BYTES).prop_map(|(log, bytes_max)| Step::Mark { log, bytes_max }),
        1 => (0..LOGS).prop_map(|log| Step::Release { log }),
    ]
}

/// What was published: in which log, with which sequence, whether it is an event.
#[derive(Default)]
struct Model {
    frames: Vec<(usize, u64, bool)>,
    /// All that a stream has to get which reads each log from behind the frame `from`.
    expected: Vec<u8>,
    from: [u64; LOGS],
}

impl Model {
    fn add(&mut self, log: usize, sequence: u64, bytes: &[u8], event: bool) {
        if sequence > self.from[log] {
            self.frames.push((log, sequence, event));
            self.expected.extend_from_slice(bytes);
        }
    }

    fn events_up_to(&self, sequence: u64) -> u64 {
        self.frames.iter().filter(|(_, at, event)| *event && *at <= sequence).count() as u64
    }
}

proptest! {
    /// A stream that reads several logs gets, in whatever pieces, what the vector holds in the order of the sequence;
    /// or is told that it has fallen off, and then something it needed is really gone.
    #[test]
    fn a_cursor_reads_what_a_vector_holds(
        chunked in any::<bool>(),
        from in proptest::array::uniform3(0_u64..4),
        steps in proptest::collection::vec(step(), 1..120),
    ) {
        let framing = if chunked { Framing::Chunked } else { Framing::CloseDelimited };
        let mut logs: [Log; LOGS] = Default::default();
        let (mut spares, mut scratch) = (Spares::default(), Block::default());
        let mut model = Model { from, ..Model::default() };
        let mut cursor = Cursor { sequence: 0, partial: 0 };
        let (mut output, mut events) = (Vec::new(), 0);
        let mut sequence = 0;
        for step in steps {
            match step {
                Step::Append { log, size } => {
                    sequence += 1;
                    let event = EncodedEvent::new(&Event::data("x".repeat(size))).unwrap();
                    logs[log].append(sequence, event.bytes(), event.kind(), &mut spares);
                    model.add(log, sequence, framing.bytes_of(event.kind(), event.bytes()), true);
                }
                Step::AppendRaw { log, size } => {
                    sequence += 1;
                    let bytes = vec![b'h'; size];
                    logs[log].append(sequence, &bytes, Kind::RAW, &mut spares);
                    model.add(log, sequence, &bytes, false);
                }
                Step::Send { bytes } => {
                    let sources: Vec<_> = logs.iter().zip(from).map(|(log, from)| Source { log, from }).collect();
                    match next_batch(&sources, cursor, true, u64::MAX, framing, &mut scratch) {
                        Ok(batch) => {
                            let sent = bytes.min(batch.bytes.len());
                            output.extend_from_slice(&batch.bytes[..sent]);
                            let advance = batch.advance(cursor, sent);
                            prop_assert!(advance.cursor.sequence >= cursor.sequence);
                            cursor = advance.cursor;
                            events += advance.events;
                            if batch.is_empty() {
                                prop_assert_eq!(output.len(), model.expected.len(), "nothing left, but not all was given");
                            }
                        }
                        Err(FellOff) => {
                            let gone = logs.iter().zip(from).any(|(log, from)| cursor.sequence.max(from) < log.floor());
                            prop_assert!(gone);
                            // The stream would be closed now.
                            return Ok(());
                        }
                    }
                }
                Step::Mark { log, bytes_max } => {
                    let offered = logs[log].marked().max(logs[log].floor());
                    if let Some(until) = logs[log].excess(bytes_max, u64::MAX) {
                        logs[log].release(until, &mut spares);
                    }
                    prop_assert!(logs[log].floor() <= offered, "what nobody was offered has gone");
                    logs[log].mark();
                }
                Step::Release { log } => logs[log].release(cursor.sequence, &mut spares),
            }
            prop_assert!(model.expected.starts_with(&output));
            prop_assert_eq!(events, model.events_up_to(cursor.sequence));
        }
        // Everything that is left comes out, too.
        loop {
            let sources: Vec<_> = logs.iter().zip(from).map(|(log, from)| Source { log, from }).collect();
            let Ok(batch) = next_batch(&sources, cursor, true, u64::MAX, framing, &mut scratch) else { return Ok(()) };
            if batch.is_empty() {
                break;
            }
            output.extend_from_slice(batch.bytes);
            cursor = batch.advance(cursor, batch.bytes.len()).cursor;
        }
        prop_assert!(output == model.expected);
    }

    /// However subscribers come and go during a wave, it visits everyone who was there all along, once.
    #[test]
    fn a_wave_visits_everyone_once(
        count in 1_u32..20,
        steps in proptest::collection::vec((0_u8..3, any::<prop::sample::Index>()), 0..60),
    ) {
        let mut topic = Topic::new("t".into());
        let mut places = std::collections::HashMap::new();
        for slot in 0..count {
            places.insert(slot, topic.subscribe(slot));
        }
        topic.wave = Some(0);
        let (mut next, mut visited, mut stayed) = (count, Vec::new(), (0..count).collect::<Vec<_>>());
        for (step, index) in steps {
            match step {
                0 => {
                    let at = topic.wave.unwrap();
                    if at < topic.subscribers.len() {
                        visited.push(topic.subscribers[at]);
                        topic.wave = Some(at + 1);
                    }
                }
                1 => {
                    places.insert(next, topic.subscribe(next));
                    next += 1;
                }
                _ if topic.subscribers.is_empty() => {}
                _ => {
                    let slot = topic.subscribers[index.index(topic.subscribers.len())];
                    let place = places.remove(&slot).unwrap();
                    topic.unsubscribe(place, |slot, place| { places.insert(slot, place); });
                    stayed.retain(|stays| *stays != slot);
                }
            }
            for (&slot, &place) in &places {
                prop_assert_eq!(topic.subscribers[place as usize], slot);
            }
            prop_assert_eq!(places.len(), topic.subscribers.len());
        }
        visited.extend(&topic.subscribers[topic.wave.unwrap()..]);
        for slot in stayed {
            prop_assert_eq!(visited.iter().filter(|seen| **seen == slot).count(), 1);
        }
    }
}

fn texts(log: &Log) -> Vec<String> {
    let mut scratch = Block::default();
    let mut cursor = Cursor { sequence: log.floor(), partial: 0 };
    let mut batches = Vec::new();
    loop {
        let batch =
            next_batch(&[Source { log, from: 0 }], cursor, true, u64::MAX, Framing::Chunked, &mut scratch)
                .unwrap();
        if batch.is_empty() {
            return batches;
        }
        batches.push(String::from_utf8(batch.bytes.to_vec()).unwrap());
        cursor = batch.advance(cursor, batch.bytes.len()).cursor;
    }
}

/// How many bytes and frames are copied first to a stream at the beginning, of which `partial` bytes of a frame are sent.
fn first_copy(logs: [&Log; 2], partial: u32) -> (usize, u64) {
    let mut scratch = Block::default();
    let sources = logs.map(|log| Source { log, from: 0 });
    let cursor = Cursor { sequence: 0, partial };
    let batch = next_batch(&sources, cursor, true, u64::MAX, Framing::Chunked, &mut scratch).unwrap();
    let end = batch.advance(cursor, batch.bytes.len()).cursor;
    assert_eq!(end.partial, 0, "whole frames");
    (batch.bytes.len(), end.sequence)
}

#[test]
fn a_copy_ends_with_the_frame_that_fills_it() {
    const FRAME: usize = 64;
    let whole = (BLOCK_BYTES / FRAME) as u64;
    // A head as long as a frame, a byte shorter, a byte longer: what is full, and what has room for one more.
    for (head, partial, expected) in [
        (FRAME, 0, (BLOCK_BYTES, whole)),
        (FRAME - 1, 0, (BLOCK_BYTES - 1 + FRAME, whole + 1)),
        (FRAME + 1, 0, (BLOCK_BYTES + 1, whole)),
        (FRAME + 9, 9, (BLOCK_BYTES, whole)),
        (FRAME, 1, (BLOCK_BYTES - 1 + FRAME, whole + 1)),
    ] {
        let (mut private, mut log, mut spares) = (Log::default(), Log::default(), Spares::default());
        private.append(1, &vec![b'h'; head], Kind::RAW, &mut spares);
        for sequence in 2..2 * whole {
            log.append(sequence, &[b'x'; FRAME], Kind::RAW, &mut spares);
        }
        assert_eq!(first_copy([&private, &log], partial), expected, "a head of {head}, {partial} sent");
    }
    // One long frame that fills it has nothing behind it.
    let (mut private, mut log, mut spares) = (Log::default(), Log::default(), Spares::default());
    private.append(2, b"p", Kind::RAW, &mut spares);
    log.append(1, &[b'x'; 2 * BLOCK_BYTES], Kind::RAW, &mut spares);
    log.append(3, b"x", Kind::RAW, &mut spares);
    assert_eq!(first_copy([&private, &log], 0), (2 * BLOCK_BYTES, 1));
}

#[test]
fn a_run_is_copied_up_to_what_comes_between() {
    let (mut one, mut other, mut spares) = (Log::default(), Log::default(), Spares::default());
    for (sequence, bytes) in [(1, "a"), (2, "b"), (4, "d"), (5, "Ee"), (6, "f"), (9, "i")] {
        one.append(sequence, bytes.as_bytes(), Kind::RAW, &mut spares);
    }
    for (sequence, bytes) in [(3, "c"), (7, "g"), (8, "h")] {
        other.append(sequence, bytes.as_bytes(), Kind::RAW, &mut spares);
    }
    let text = |one: &Log, cursor, behind, until| {
        let mut scratch = Block::default();
        let sources = [Source { log: &other, from: 0 }, Source { log: one, from: 0 }];
        let batch = next_batch(&sources, cursor, behind, until, Framing::Chunked, &mut scratch).unwrap();
        let end = batch.advance(cursor, batch.bytes.len()).cursor.sequence;
        (String::from_utf8(batch.bytes.to_vec()).unwrap(), end)
    };
    let begin = Cursor { sequence: 0, partial: 0 };
    assert_eq!(text(&one, begin, true, u64::MAX), ("abcdEefghi".into(), 9));
    assert_eq!(
        text(&one, begin, true, 8),
        ("abcdEefgh".into(), 8),
        "what stands behind its end is not for it"
    );
    // In the middle, and in front, of a run: those that are behind go on without it, but what was begun is completed.
    for sequence in [1, 5] {
        one.set_role(sequence, Role::Superseded).unwrap();
    }
    assert_eq!(text(&one, begin, true, u64::MAX), ("bcdfghi".into(), 9));
    assert_eq!(text(&one, begin, false, u64::MAX), ("abcdEefghi".into(), 9));
    let begun = Cursor { sequence: 4, partial: 1 };
    assert_eq!(text(&one, begun, true, u64::MAX), ("efghi".into(), 9));
}

#[test]
fn a_burst_is_one_piece_however_full_the_block_was() {
    let (mut log, mut spares) = (Log::default(), Spares::default());
    log.append(1, &[b'a'; BLOCK_BYTES - 1], Kind::RAW, &mut spares);
    log.mark();
    for sequence in 2..100 {
        log.append(sequence, &[b'b'; 100], Kind::RAW, &mut spares);
    }
    let Place::Before { block, frame } = log.place(1) else { panic!("there is more") };
    assert_eq!(log.run(block, frame).bytes.len(), 98 * 100);
}

#[test]
fn what_is_put_before_comes_before_and_in_one_piece() {
    let (mut log, mut spares) = (Log::default(), Spares::default());
    log.append(2, b"delivered", Kind::RAW, &mut spares);
    log.append(8, b"event", Kind::RAW, &mut spares);
    log.append(9, b"another", Kind::RAW, &mut spares);
    log.prepend([(5, &b"head "[..], Kind::RAW), (6, b"comment ", Kind::RAW)], &mut spares);
    assert_eq!(texts(&log), ["head comment eventanother"]);
    assert_eq!((log.newest(), log.bytes()), (9, 25));
}

#[test]
fn renumbering_moves_only_what_has_not_been_delivered() {
    let (mut log, mut spares) = (Log::default(), Spares::default());
    for sequence in [3, 5, 6] {
        log.append(sequence, b"x", Kind::RAW, &mut spares);
    }
    assert_eq!(log.renumber(3, 10), 12);
    assert_eq!(log.place(3), Place::Before { block: 0, frame: 1 });
    assert_eq!(log.place(10), Place::Before { block: 0, frame: 2 });
    assert_eq!(log.place(11), Place::End);
}

#[test]
fn an_idle_topic_is_gone_and_leaves_nothing_behind() {
    let mut topics = Topics::default();
    let event = EncodedEvent::new(&Event::data("x")).unwrap();
    topics.publish("nobody", &event);
    assert_eq!(topics.len(), 0, "publishing to nobody makes no topic");
    let (key, place) = topics.subscribe("t", 7, false);
    topics.publish("t", &event);
    assert!(topics.has_dirty());
    topics.unsubscribe(key, place, false, |_, _| {});
    topics.free_idle();
    assert_eq!(topics.len(), 1, "a topic in the queue stays until it had its turn");
    while let Some(key) = topics.next_dirty() {
        topics.begin_wave(key);
        topics.get_mut(key).wave = Some(0);
        topics.rotate_dirty();
    }
    topics.free_idle();
    assert_eq!((topics.len(), topics.unoffered()), (0, 0));
    assert!(topics.find("t").is_none());
}

#[test]
fn what_lags_is_kept_only_up_to_the_limit() {
    let mut topics = Topics::default();
    let (key, _) = topics.subscribe("t", 0, true);
    let event = EncodedEvent::new(&Event::data("x".repeat(10_000))).unwrap();
    for _ in 0..100 {
        topics.publish("t", &event);
        while let Some(key) = topics.next_dirty() {
            if let Some(until) = topics.excess(key, 100_000) {
                topics.release(key, until);
            }
            topics.begin_wave(key);
            topics.get_mut(key).wave = Some(1);
            topics.rotate_dirty();
        }
        assert!(topics.get(key).log.bytes() <= 100_000 + BLOCK_BYTES + 2 * 10_017);
    }
    assert!(topics.get(key).log.bytes() > 50_000);
    assert_eq!(topics.get(key).log.place(1), Place::FellOff);
    topics.set_behind(key, false);
    assert_eq!(topics.get(key).log.bytes(), 0, "nobody lags: nothing is kept");
}

#[test]
fn a_log_is_not_copied_to_give_up_a_little() {
    let mut log = Log::default();
    let spares = &mut Spares::default();
    let bytes = [0; 1000];
    for sequence in 1..=200 {
        log.append(sequence, &bytes, Kind::RAW, spares);
    }
    log.mark();
    assert_eq!(log.plain_excess(100_000, 100), Some(100), "half of it, and no more than is asked for");
    assert_eq!(log.plain_excess(100_000, 66), Some(66));
    assert_eq!(log.plain_excess(100_000, 40), None, "less than a block, and than a quarter of it");
    assert_eq!(log.plain_excess(199_000, 200), None);
}
