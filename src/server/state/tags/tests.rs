use super::*;
use proptest::prelude::*;

const NAMES: [&str; 4] = ["ann", "bob", "session 1", ""];
const STREAMS: u32 = 6;
const TAGS_MAX: usize = 3;
const REVOKED_MAX: usize = 2;

fn carriers(tags: &Tags, name: &str) -> Vec<u32> {
    let mut found = Vec::new();
    let mut next = tags.first(name);
    while let Some((stream, after)) = next.and_then(|place| tags.at(place)) {
        found.push(stream);
        next = Some(after);
    }
    found.sort_unstable();
    found
}

#[derive(Debug, Clone)]
enum Step {
    Add(u32, &'static str),
    Remove(u32, &'static str),
    Forget(u32),
    /// Visits the streams of a tag and forgets some of them on the way.
    Walk(&'static str, [bool; STREAMS as usize]),
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
        1 => (name(), any::<[bool; STREAMS as usize]>()).prop_map(|(name, ends)| Step::Walk(name, ends)),
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
        let mut tags = Tags::default();
        let mut pairs: Vec<(u32, &str)> = Vec::new();
        let mut revoked: Vec<(Duration, &str)> = Vec::new();
        let mut now = Duration::ZERO;
        for step in steps {
            match step {
                Step::Add(stream, name) => {
                    let has = pairs.contains(&(stream, name));
                    let fits = pairs.iter().filter(|(found, _)| *found == stream).count() < TAGS_MAX;
                    prop_assert_eq!(tags.add(stream, name, TAGS_MAX).is_ok(), has || fits);
                    if !has && fits {
                        pairs.push((stream, name));
                    }
                }
                Step::Remove(stream, name) => {
                    tags.remove(stream, name);
                    pairs.retain(|pair| *pair != (stream, name));
                }
                Step::Forget(stream) => {
                    tags.forget(stream);
                    pairs.retain(|(found, _)| *found != stream);
                }
                Step::Walk(name, ends) => {
                    let mut seen = Vec::new();
                    let mut next = tags.first(name);
                    while let Some((stream, after)) = next.and_then(|place| tags.at(place)) {
                        seen.push(stream);
                        next = Some(after);
                        if ends[stream as usize] {
                            tags.forget(stream);
                        }
                    }
                    seen.sort_unstable();
                    let mut expected: Vec<_> =
                        pairs.iter().filter(|(_, found)| *found == name).map(|(id, _)| *id).collect();
                    expected.sort_unstable();
                    prop_assert_eq!(&seen, &expected);
                    let gone = |stream: &u32| seen.contains(stream) && ends[*stream as usize];
                    pairs.retain(|(stream, _)| !gone(stream));
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
            // Removed entries leave nothing.
            prop_assert_eq!(tags.len(), names);
            prop_assert_eq!(tags.links.len(), pairs.len());
            for slot in 0..STREAMS {
                prop_assert_eq!(tags.of(slot).count(), pairs.iter().filter(|(found, _)| *found == slot).count());
            }
            prop_assert_eq!((tags.revoked(), tags.revoked.order.len()), (revoked.len(), revoked.len()));
        }
    }
}

#[test]
fn a_revocation_is_over_when_the_loop_wakes_to_drop_it() {
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
fn a_tag_on_a_stream_is_24_bytes_and_so_is_a_tag_also_in_the_slab() {
    assert_eq!((size_of::<Option<Link>>(), size_of::<Option<Tag>>()), (20, 24));
}

#[test]
fn memory_is_freed_after_many_have_left() {
    let mut tags = Tags::default();
    for slot in 0..20_000 {
        tags.add(slot, &slot.to_string(), 1).unwrap();
        tags.revoke(&slot.to_string(), Duration::ZERO, usize::MAX);
    }
    (0..19_999).for_each(|slot| tags.forget(slot));
    tags.forget_revoked(Duration::from_secs(1), usize::MAX);
    assert!(tags.by_name.capacity() < SHRINK_MIN && tags.revoked.until.capacity() < SHRINK_MIN);
    assert_eq!((tags.len(), tags.count("19999"), tags.links.len()), (1, 1, 1));
}
