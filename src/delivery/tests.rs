//! The walk over several logs, step by step.

use super::compressor::Compressor;
use super::delivery::{Delivery, Streams};
use super::stream::{Phase, Stream};
use super::walk::{Reading, merge};
use crate::account::Account;
use crate::topic::block::{BLOCK_BYTES, Block, Spares};
use crate::topic::frame::{Framing, Kind, Role};
use crate::topic::history::TopicConfig;
use crate::topic::ids::Maker;
use crate::topic::log::Log;
use crate::topic::topics::{TopicKey, Topics};

/// The first copy of these logs, after `hand` bytes: the number of bytes, the last frame, and whether that
/// was all.
fn first_copy(logs: [&Log; 2], hand: usize) -> (usize, u64, bool) {
    let mut scratch = Block::default();
    scratch.bytes.resize(hand, b'h');
    let readings = logs.map(|log| Reading { log, from: 0 });
    let all = merge(&readings.into_iter(), 0, u64::MAX, true, Framing::Chunked, &mut scratch);
    (scratch.bytes.len(), scratch.last(), all)
}

#[test]
fn a_copy_ends_with_the_frame_that_fills_it() {
    const FRAME: usize = 64;
    let whole = (BLOCK_BYTES / FRAME) as u64;
    let (mut private, mut log, mut spares) = (Log::default(), Log::default(), Spares::default());
    for sequence in 1..=2 * whole {
        log.append(sequence, &[b'x'; FRAME], Kind::RAW, &mut spares);
    }
    // A hand as long as a frame, a byte shorter, a byte longer: the copy is full, or has room for one more
    // frame.
    for (hand, expected) in [
        (0, (BLOCK_BYTES, whole, false)),
        (FRAME, (BLOCK_BYTES, whole - 1, false)),
        (FRAME - 1, (BLOCK_BYTES - 1 + FRAME, whole, false)),
        (FRAME + 1, (BLOCK_BYTES + 1, whole - 1, false)),
    ] {
        assert_eq!(first_copy([&private, &log], hand), expected, "{hand} bytes in hand");
    }
    // Nothing follows one long frame that fills the copy.
    let mut log = Log::default();
    private.append(2, b"p", Kind::RAW, &mut spares);
    log.append(1, &[b'x'; 2 * BLOCK_BYTES], Kind::RAW, &mut spares);
    log.append(3, b"x", Kind::RAW, &mut spares);
    assert_eq!(first_copy([&private, &log], 0), (2 * BLOCK_BYTES, 1, false));
}

#[test]
fn a_run_is_copied_up_to_the_next_frame_of_another_log() {
    let (mut one, mut other, mut spares) = (Log::default(), Log::default(), Spares::default());
    for (sequence, bytes) in [(1, "a"), (2, "b"), (4, "d"), (5, "Ee"), (6, "f"), (9, "i")] {
        one.append(sequence, bytes.as_bytes(), Kind::RAW, &mut spares);
    }
    for (sequence, bytes) in [(3, "c"), (7, "g"), (8, "h")] {
        other.append(sequence, bytes.as_bytes(), Kind::RAW, &mut spares);
    }
    let text = |one: &Log, superseded, until| {
        let mut scratch = Block::default();
        let readings = [Reading { log: &other, from: 0 }, Reading { log: one, from: 0 }];
        assert!(merge(&readings.into_iter(), 0, until, superseded, Framing::Chunked, &mut scratch));
        (String::from_utf8(scratch.bytes.clone()).unwrap(), scratch.last())
    };
    assert_eq!(text(&one, false, u64::MAX), ("abcdEefghi".into(), 9));
    assert_eq!(text(&one, false, 8), ("abcdEefgh".into(), 8), "later frames are not for it");
    // Superseded frames in the middle and at the front of a run: streams that conflate skip them.
    for sequence in [1, 5] {
        one.set_role(sequence, Role::Superseded).unwrap();
    }
    assert_eq!(text(&one, false, u64::MAX), ("bcdfghi".into(), 9));
    assert_eq!(text(&one, true, u64::MAX), ("abcdEefghi".into(), 9));
}

/// One stream, whose socket takes everything.
#[derive(Debug)]
struct One(Stream, bool);

impl Default for One {
    fn default() -> Self {
        Self(Stream::opening(0, 0, 1), true)
    }
}

impl Streams for One {
    fn stream(&self, _slot: u32) -> Option<&Stream> {
        Some(&self.0)
    }

    fn has_room(&self, _slot: u32) -> bool {
        self.1
    }

    fn stream_and_room(&mut self, _slot: u32) -> Option<(&mut Stream, &mut bool)> {
        Some((&mut self.0, &mut self.1))
    }
}

#[test]
fn a_stream_with_one_topic_left_is_on_the_fast_path() {
    for leaves in ["a", "b"] {
        let mut delivery = Delivery::<One>::new(
            Topics::new(TopicConfig::default(), Maker::default(), Account::default()),
            1000,
            None,
            Compressor::default(),
            Account::default(),
        );
        delivery.subscribe(0, "a");
        delivery.subscribe(0, "b");
        delivery.pinning = 1;
        delivery.slots.0.phase = Phase::Open;
        delivery.rest(0);
        assert!(!delivery.slots.0.reads_one_log(), "it merges two topics");
        let topic = delivery.subscription(0, leaves).unwrap();
        assert!(delivery.unsubscribe(0, topic), "it was given everything");
        let stream = &delivery.slots.0;
        assert!(stream.more.is_none() && stream.topic != TopicKey::NONE, "without {leaves}");
        assert!(stream.reads_one_log());
    }
}
