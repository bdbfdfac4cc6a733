use super::*;
use crate::conn::slot::Slot;
use crate::conn::slots::Slots;
use proptest::prelude::*;

const NAMES: [&str; 4] = ["ann", "bob", "session 1", ""];
const STREAMS: usize = 6;
const TAGS_MAX: usize = 3;
const REVOKED_MAX: usize = 2;

fn streams() -> Vec<StreamId> {
    let mut slots = Slots::default();
    let mut draw = |_| {
        let slot = slots.insert(Slot::new(0, None));
        slots.draw_id(slot)
    };
    (0..STREAMS).map(&mut draw).collect()
}

fn carriers(tags: &Tags, name: &str) -> Vec<StreamId> {
    let mut found = Vec::new();
    let mut next = tags.first(name);
    while let Some((stream, after)) = next.and_then(|place| tags.at(place)) {
        found.push(stream);
        next = after;
    }
    found.sort_unstable();
    found
}

#[derive(Debug, Clone)]
enum Step {
    Add(usize, &'static str),
    Remove(usize, &'static str),
    Forget(usize),
    /// Goes through the streams of a tag and forgets some of them on the way.
    Walk(&'static str, [bool; STREAMS]),
    Revoke(&'static str, u64),
    Unrevoke(&'static str),
    Pass(u64),
    ForgetRevoked(usize),
}

fn step() -> impl Strategy<Value = Step> {
    let name = || proptest::sample::select(&NAMES[..]);
    prop_oneof![
        8 => (0..STREAMS, name()).prop_map(|(stream, name)| Step::Add(stream, name)),
        3 => (0..STREAMS, name()).prop_map(|(stream, name)| Step::Remove(stream, name)),
        1 => (0..STREAMS).prop_map(Step::Forget),
        1 => (name(), any::<[bool; STREAMS]>()).prop_map(|(name, ends)| Step::Walk(name, ends)),
        3 => (name(), 0_u64..5000).prop_map(|(name, time)| Step::Revoke(name, time)),
        1 => name().prop_map(Step::Unrevoke),
        3 => (0_u64..3000).prop_map(Step::Pass),
        1 => (0_usize..3).prop_map(Step::ForgetRevoked),
    ]
}

proptest! {
    /// The index agrees with a list of pairs, the revocations with a list of times.
    #[test]
    fn the_index_agrees_with_a_list(steps in proptest::collection::vec(step(), 0..120)) {
        let ids = streams();
        let mut tags = Tags::default();
        let mut pairs: Vec<(StreamId, &str)> = Vec::new();
        let mut revoked: Vec<(Duration, &str)> = Vec::new();
        let mut now = Duration::ZERO;
        for step in steps {
            match step {
                Step::Add(stream, name) => {
                    let stream = ids[stream];
                    let has = pairs.contains(&(stream, name));
                    let fits = pairs.iter().filter(|(found, _)| *found == stream).count() < TAGS_MAX;
                    prop_assert_eq!(tags.add(stream, name, TAGS_MAX).is_ok(), has || fits);
                    if !has && fits {
                        pairs.push((stream, name));
                    }
                }
                Step::Remove(stream, name) => {
                    tags.remove(ids[stream], name);
                    pairs.retain(|pair| *pair != (ids[stream], name));
                }
                Step::Forget(stream) => {
                    tags.forget(ids[stream]);
                    pairs.retain(|(found, _)| *found != ids[stream]);
                }
                Step::Walk(name, ends) => {
                    let mut seen = Vec::new();
                    let mut next = tags.first(name);
                    while let Some((stream, after)) = next.and_then(|place| tags.at(place)) {
                        seen.push(stream);
                        next = after;
                        if ids.iter().zip(ends).any(|(id, ends)| ends && *id == stream) {
                            tags.forget(stream);
                        }
                    }
                    seen.sort_unstable();
                    let mut expected: Vec<_> =
                        pairs.iter().filter(|(_, found)| *found == name).map(|(id, _)| *id).collect();
                    expected.sort_unstable();
                    prop_assert_eq!(&seen, &expected);
                    let gone =
                        |id: &StreamId| seen.contains(id) && ids.iter().zip(ends).any(|(x, e)| e && x == id);
                    pairs.retain(|(id, _)| !gone(id));
                }
                Step::Revoke(name, time) => {
                    let until = now + Duration::from_millis(time);
                    let before = revoked.iter().find(|(_, found)| *found == name).map(|(until, _)| *until);
                    let until = before.map_or(until, |before| before.max(until));
                    revoked.retain(|(_, found)| *found != name);
                    revoked.push((until, name));
                    revoked.sort_unstable();
                    let full = revoked.len() > REVOKED_MAX;
                    if full {
                        revoked.remove(0);
                    }
                    prop_assert_eq!(tags.revoke(name, now + Duration::from_millis(time), REVOKED_MAX), full);
                }
                Step::Unrevoke(name) => {
                    let was = revoked.iter().any(|(until, found)| *found == name && *until >= now);
                    prop_assert_eq!(tags.unrevoke(name, now), was);
                    revoked.retain(|(_, found)| *found != name);
                }
                Step::Pass(time) => now += Duration::from_millis(time),
                Step::ForgetRevoked(count) => {
                    tags.forget_revoked(now, count);
                    let over = revoked.iter().take_while(|(until, _)| *until < now).count();
                    revoked.drain(..over.min(count));
                }
            }
            let mut names = 0;
            for name in NAMES {
                let mut expected: Vec<_> =
                    pairs.iter().filter(|(_, found)| *found == name).map(|(id, _)| *id).collect();
                expected.sort_unstable();
                names += usize::from(!expected.is_empty());
                prop_assert_eq!(tags.count(name), expected.len());
                prop_assert_eq!(carriers(&tags, name), expected);
                let forbidden = revoked.iter().any(|(until, found)| *found == name && *until >= now);
                prop_assert_eq!(tags.is_revoked(name, now), forbidden);
            }
            // Nothing is left of what is gone.
            prop_assert_eq!((tags.len(), tags.by_name.len()), (names, names));
            prop_assert_eq!(tags.links.len(), pairs.len());
            let tagged: std::collections::HashSet<_> = pairs.iter().map(|(id, _)| *id).collect();
            prop_assert_eq!(tags.first_of.len(), tagged.len());
            prop_assert_eq!((tags.revoked(), tags.revoked.order.len()), (revoked.len(), revoked.len()));
        }
    }
}

#[test]
fn what_is_to_be_forgotten_is_over_when_the_loop_wakes_for_it() {
    let mut tags = Tags::default();
    assert_eq!(tags.next_due(), None);
    for until in [Duration::ZERO, Duration::from_millis(1999), Duration::from_secs(2)] {
        tags.revoke("ann", until, 1);
        let due = tags.next_due().unwrap();
        assert!(due > until && due <= until + Duration::from_secs(1));
        tags.forget_revoked(due, 1);
        assert_eq!((tags.revoked(), tags.next_due()), (0, None));
    }
    tags.revoke("ann", Duration::MAX, 1);
    assert_eq!(tags.next_due(), None, "for ever");
}

#[test]
fn a_tag_on_a_stream_is_32_bytes_also_in_the_slab() {
    #[expect(dead_code, reason = "only its size matters")]
    enum Entry<T> {
        Vacant(usize),
        Occupied(T),
    }
    assert_eq!((size_of::<Entry<Link>>(), size_of::<Entry<Tag>>()), (32, 24));
}

#[test]
fn the_memory_of_a_crowd_is_given_back() {
    let mut tags = Tags::default();
    let mut slots = Slots::default();
    let crowd: Vec<_> = (0..20_000)
        .map(|_| {
            let slot = slots.insert(Slot::new(0, None));
            slots.draw_id(slot)
        })
        .collect();
    for stream in &crowd {
        tags.add(*stream, &stream.to_string(), 1).unwrap();
        tags.revoke(&stream.to_string(), Duration::ZERO, usize::MAX);
    }
    crowd.iter().for_each(|stream| tags.forget(*stream));
    tags.forget_revoked(Duration::from_secs(1), usize::MAX);
    assert!(tags.by_name.capacity() < SHRINK_MIN && tags.first_of.capacity() < SHRINK_MIN);
    assert!(tags.revoked.until.capacity() < SHRINK_MIN);
    assert_eq!((tags.links.capacity(), tags.tags.capacity()), (0, 0));
}
