//! Logs and topics, without streams.

use super::block::{BLOCK_BYTES, Spares};
use super::chain::Chains;
use super::frame::{EncodedEvent, Kind, Role};
use super::log::Log;
use super::topic::Topic;
use super::topics::Topics;
use crate::event::Event;
use proptest::prelude::*;
use std::iter;

proptest! {
    /// Whatever subscribers come and go during a wave, it visits each of the others exactly once.
    #[test]
    fn a_wave_visits_each_subscriber_once(
        count in 1_u32..20,
        steps in proptest::collection::vec((0_u8..3, any::<prop::sample::Index>()), 0..60),
    ) {
        let mut topic = Topic::new("t");
        let mut places = std::collections::HashMap::new();
        for slot in 0..count {
            places.insert(slot, topic.subscribe(slot));
        }
        topic.busy.get_or_insert_default().wave = Some(0);
        let (mut next, mut visited, mut stayed) = (count, Vec::new(), (0..count).collect::<Vec<_>>());
        for (step, index) in steps {
            match step {
                0 => {
                    let at = topic.busy.as_ref().unwrap().wave.unwrap();
                    if at < topic.subscribers.len() {
                        visited.push(topic.subscribers[at]);
                        topic.busy.as_mut().unwrap().wave = Some(at + 1);
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
        visited.extend(&topic.subscribers[topic.busy.as_ref().unwrap().wave.unwrap()..]);
        for slot in stayed {
            prop_assert_eq!(visited.iter().filter(|seen| **seen == slot).count(), 1);
        }
    }
}

#[test]
fn a_burst_is_one_piece_however_full_the_block_was() {
    let (mut log, mut spares) = (Log::default(), Spares::default());
    log.append(1, &[b'a'; BLOCK_BYTES - 1], Kind::RAW, &mut spares);
    log.mark();
    for sequence in 2..100 {
        log.append(sequence, &[b'b'; 100], Kind::RAW, &mut spares);
    }
    assert_eq!(log.next(1).unwrap().bytes.len(), 98 * 100);
}

#[test]
fn an_idle_topic_is_removed_and_frees_its_memory() {
    let mut topics = Topics::default();
    let event = EncodedEvent::new(&Event::new().data("x")).unwrap();
    topics.publish(iter::once("nobody"), &event, None);
    assert_eq!(topics.len(), 0, "publishing without subscribers makes no topic");
    let (key, place) = topics.subscribe("t", 7, false);
    topics.publish(iter::once("t"), &event, None);
    assert!(topics.has_dirty());
    topics.unsubscribe(key, place, false, |_, _| {});
    topics.free_idle();
    assert_eq!(topics.len(), 1, "a topic in the queue stays until its turn");
    while let Some(key) = topics.next_dirty() {
        topics.begin_wave(key, Chains::default());
        topics.get_mut(key).busy.as_mut().unwrap().wave = Some(0);
        topics.rotate_dirty();
    }
    topics.free_idle();
    assert_eq!((topics.len(), topics.unoffered()), (0, 0));
    assert!(topics.find("t").is_none());
}

#[test]
fn a_log_is_not_copied_to_drop_a_little() {
    let mut log = Log::default();
    let spares = &mut Spares::default();
    let bytes = [0; 1000];
    for sequence in 1..=200 {
        log.append(sequence, &bytes, Kind::RAW, spares);
    }
    log.mark();
    let excess = |can| log.plain_excess(100_000, can);
    assert_eq!(excess(100), Some(100), "half of it, and no more than requested");
    assert_eq!(excess(66), Some(66));
    assert_eq!(excess(40), None, "less than a block");
    assert_eq!(log.plain_excess(199_000, 200), None);
}

#[test]
fn many_superseded_frames_are_dropped_in_pieces() {
    let mut log = Log::default();
    let spares = &mut Spares::default();
    for sequence in 1..=1_000 {
        log.append(sequence, &[0; 1000], Kind::RAW, spares);
        log.mark();
        log.set_role(sequence, if sequence % 2 == 0 { Role::Current } else { Role::Superseded });
    }
    let (mut copies, mut more) = (0, true);
    while more {
        let mut gone = 0;
        more = log.drop_superseded(u64::MAX, 100_000, spares, |_, bytes| gone += bytes.len());
        assert!((1..200_000).contains(&gone), "{gone} at once");
        copies += 1;
    }
    assert!(copies > 3 && log.superseded() == 0, "{copies}");
}
