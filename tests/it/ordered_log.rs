//! Calls for an external log besides its events: entries of several topics, losses, and its end.

use crate::history::{data, events, open, world, world_with};
use crate::memory_net::{Loop, Peer, check_accounts};
use crate::whose_ids::{COMMENT, Notes, at, config, first_id, heard, kept, publish_at};
use mio_sse::{Config, Error, Event, History, Ids, Router, TopicConfig};
use std::borrow::Cow;
use std::time::Duration;

fn lose(world: &mut Loop<Router>, position: &str) {
    world.server.context().ordered_gap(at(position)).unwrap();
}

fn end(world: &mut Loop<Router>, position: &str) {
    world.server.context().ordered_end(at(position));
    world.settle();
}

/// A history of this many events in each topic.
fn keeping(events: usize) -> TopicConfig {
    TopicConfig::default().history(History::new().events(events)).ids(Ids::Ordered)
}

fn publish_all_at(world: &mut Loop<Router>, topics: &[&str], position: &str) -> Result<(), Error> {
    let event = Event::new().data(position.to_owned());
    world.server.context().publish_all_at(topics.iter().copied(), at(position), event)
}

/// Ids of the events that a page sees.
fn ids(peer: &Peer) -> Vec<String> {
    events(peer).into_iter().map(|event| event.id).collect()
}

#[test]
fn an_entry_for_several_topics_comes_once_and_is_in_the_history_of_each() {
    let mut world = world(kept(Ids::Ordered));
    let both = open(&mut world, "/a+b", None);
    publish_all_at(&mut world, &["a", "b", "a"], "10-0").unwrap();
    world.settle();
    assert_eq!(ids(&both), ["10-0"]);
    for path in ["/a", "/b", "/b+a"] {
        assert_eq!(data(&open(&mut world, &format!("{path}?from=oldest"), None)), ["10-0"], "{path}");
    }
    assert_eq!(publish_all_at(&mut world, &["a", "b"], "10-0"), Err(Error::PositionNotIncreasing));
}

#[test]
fn a_topic_that_does_not_take_an_entry_keeps_it_from_no_other() {
    let mut world = world_with(config(Ids::Ordered, |config| config.topics_max = 3));
    world.server.context().configure("own", kept(Ids::Own)).unwrap();
    let peer = open(&mut world, "/a", None);
    publish_at(&mut world, "done", &["10-0"]);
    world.server.context().finish_topic("done").unwrap();
    world.settle();
    assert_eq!(publish_all_at(&mut world, &["own", "a", "done"], "20-0"), Err(Error::NotOrdered));
    assert_eq!(publish_all_at(&mut world, &["done", "a"], "30-0"), Err(Error::Finished));
    assert_eq!(publish_all_at(&mut world, &["done"], "40-0"), Err(Error::Finished));
    assert_eq!(publish_all_at(&mut world, &["new", "newer", "a"], "50-0"), Err(Error::TooManyTopics));
    world.settle();
    assert_eq!(data(&peer), ["20-0", "30-0", "50-0"]);
    assert_eq!(data(&open(&mut world, "/new?from=oldest", None)), ["50-0"]);
}

#[test]
fn an_entry_that_there_was_no_topic_for_is_missing_where_there_is_one_later() {
    let mut world = world_with(config(Ids::Ordered, |config| config.topics_max = 1));
    let other = open(&mut world, "/other", None);
    publish_at(&mut world, "other", &["10-0"]);
    assert_eq!(publish_all_at(&mut world, &["a"], "20-0"), Err(Error::TooManyTopics));
    world.server.context().configure("other", TopicConfig::default()).unwrap();
    other.close();
    world.settle();
    publish_at(&mut world, "a", &["30-0"]);
    assert_eq!(heard(&open(&mut world, "/a", Some("15-0"))), ["gap", "30-0"]);
    assert_eq!(heard(&open(&mut world, "/a", Some("20-0"))), ["30-0"]);
}

#[test]
fn a_loss_is_a_gap_in_its_place_for_every_stream_of_the_log() {
    let mut world = world(kept(Ids::Ordered));
    for (topic, config) in [("own", kept(Ids::Own)), ("plain", TopicConfig::default())] {
        world.server.context().configure(topic, config).unwrap();
    }
    let readers = ["/a", "/b+a", "/c", "/plain+a"].map(|path| open(&mut world, path, None));
    let others = ["/own", "/plain"].map(|path| open(&mut world, path, None));
    let mut cx = world.server.context();
    cx.publish_at("a", at("10-0"), "10-0").unwrap();
    cx.ordered_gap(at("20-0")).unwrap();
    cx.publish_at("a", at("20-1"), "20-1").unwrap();
    world.settle();
    for (peer, expected) in readers.iter().zip([
        &["10-0", "20-0", "20-1"][..],
        &["10-0", "20-0", "20-1"],
        &["20-0"],
        &["10-0", "20-0", "20-1"],
    ]) {
        let events = events(peer);
        let gaps: Vec<_> = events.iter().map(|event| event.event == "gap").collect();
        let ids: Vec<_> = events.iter().map(|event| event.id.as_str()).collect();
        assert_eq!(ids, expected);
        assert_eq!(gaps, expected.iter().map(|id| *id == "20-0").collect::<Vec<_>>());
    }
    for peer in &others {
        assert_eq!(heard(peer), [""; 0]);
    }
    let stats = world.server.stats();
    // One of the streams reads two such topics.
    assert_eq!((stats.gaps, stats.events_published), (5, 2));
    check_accounts(&stats);
    for position in ["20-1", "20-0", "1-0"] {
        let refused = world.server.context().ordered_gap(at(position));
        assert_eq!(refused, Err(Error::PositionNotIncreasing));
    }
}

#[test]
fn a_client_that_resumes_before_a_loss_gets_a_gap_however_short_the_history() {
    for events in [0, 1, 2, 3, 10] {
        let mut world = world(keeping(events));
        publish_at(&mut world, "a", &["10-0", "15-0"]);
        // Its whole history was dropped, and so was the topic.
        publish_at(&mut world, "b", &["16-0"]);
        lose(&mut world, "20-0");
        publish_at(&mut world, "a", &["30-0"]);
        for (path, id) in [
            ("/a", "10-0"),
            ("/a", "15-0"),
            ("/a", "16-0"),
            ("/a", "19-9"),
            ("/b", "16-0"),
            ("/b", "17-0"),
            ("/c", "16-0"),
            ("/a+c", "18-0"),
        ] {
            let peer = open(&mut world, path, Some(id));
            let gaps = heard(&peer).into_iter().filter(|event| event == "gap").count();
            // If other events were dropped, that gap comes first.
            assert!((1..=2).contains(&gaps), "{gaps} gaps for {id} of {path}, {events} kept");
            peer.close();
        }
        for (path, id) in [("/a", "20-0"), ("/b", "20-0"), ("/c", "20-0"), ("/a", "30-0")] {
            let peer = open(&mut world, path, Some(id));
            // Without a history, the topic that was published to last has dropped more.
            let expected = usize::from(events == 0 && id == "20-0");
            let gaps = heard(&peer).into_iter().filter(|event| event == "gap").count();
            assert_eq!(gaps, expected, "{id} of {path}, {events} kept");
            peer.close();
        }
        world.settle();
    }
}

#[test]
fn the_history_has_its_gap_where_the_loss_was() {
    let mut world = world(kept(Ids::Ordered));
    publish_at(&mut world, "a", &["10-0", "15-0"]);
    lose(&mut world, "20-0");
    publish_at(&mut world, "a", &["30-0"]);
    assert_eq!(heard(&open(&mut world, "/a", Some("10-0"))), ["15-0", "gap", "30-0"]);
    assert_eq!(heard(&open(&mut world, "/a?from=oldest", None)), ["10-0", "15-0", "gap", "30-0"]);
    assert_eq!(heard(&open(&mut world, "/a", Some("20-0"))), ["30-0"]);
}

#[test]
fn a_loss_before_any_event_is_the_first_position() {
    let mut world = world(kept(Ids::Ordered));
    let live = open(&mut world, "/a", None);
    let waiting = open(&mut world, "/b", Some("7-0"));
    lose(&mut world, "20-0");
    world.settle();
    assert_eq!(heard(&live), ["gap"]);
    assert_eq!(heard(&waiting).last().unwrap(), "gap");
    let newcomer = open(&mut world, "/a", None);
    assert_eq!(first_id(&newcomer).as_deref(), Some("20-0"));
    newcomer.close();
    publish_at(&mut world, "a", &["30-0"]);
    assert_eq!(heard(&open(&mut world, "/a", Some("20-0"))), ["30-0"]);
    assert_eq!(heard(&open(&mut world, "/c", Some("7-0"))), ["gap"]);
}

#[test]
fn a_stream_that_waits_for_a_lost_position_continues_with_the_gap() {
    let mut world = world(kept(Ids::Ordered));
    publish_at(&mut world, "a", &["10-0"]);
    let peers = ["/a", "/a+b"].map(|path| open(&mut world, path, Some("40-0")));
    let further = open(&mut world, "/a", Some("60-0"));
    publish_at(&mut world, "a", &["20-0"]);
    lose(&mut world, "50-0");
    publish_at(&mut world, "a", &["55-0", "60-0", "70-0"]);
    for peer in &peers {
        assert_eq!(ids(peer), ["50-0", "55-0", "60-0", "70-0"]);
    }
    // Another server sent its client the gap, before it has seen what follows.
    assert_eq!(ids(&further), ["70-0"]);
}

#[test]
fn a_topic_that_has_finished_has_lost_nothing() {
    let mut world = world(kept(Ids::Ordered));
    publish_at(&mut world, "a", &["10-0", "11-0"]);
    world.server.context().finish_topic("a").unwrap();
    lose(&mut world, "20-0");
    world.settle();
    let peer = open(&mut world, "/a", Some("10-0"));
    assert_eq!(heard(&peer), ["11-0"]);
    assert!(peer.read().is_empty());
}

#[test]
fn a_gap_without_a_name_moves_the_position_alone() {
    let mut world =
        world_with(config(Ids::Ordered, |config: &mut Config| config.gap_event = None::<Cow<'static, str>>));
    let peer = open(&mut world, "/a", None);
    peer.read();
    lose(&mut world, "20-0");
    world.settle();
    assert_eq!(peer.read(), "a\r\nid: 20-0\n\n\r\n");
    assert_eq!(world.server.stats().gaps, 1);
}

#[test]
fn a_position_that_cannot_come_is_a_gap_when_the_log_has_ended_twice() {
    let mut world = world(kept(Ids::Ordered));
    publish_at(&mut world, "a", &["10-0"]);
    let before = open(&mut world, "/a+b", Some("40-0"));
    end(&mut world, "10-0");
    let after = open(&mut world, "/a", Some("40-0"));
    assert_eq!(heard(&before), [""; 0], "it may come from a server that is ahead");
    end(&mut world, "10-0");
    assert_eq!(heard(&before), ["gap"]);
    assert_eq!(heard(&after), [""; 0]);
    publish_at(&mut world, "a", &["20-0"]);
    assert_eq!(ids(&before), ["20-0"]);
    end(&mut world, "20-0");
    assert_eq!(ids(&after), ["20-0"], "a gap with the position up to which it has everything now");
    publish_at(&mut world, "b", &["30-0"]);
    publish_at(&mut world, "a", &["35-0"]);
    assert_eq!((heard(&before), heard(&after)), (vec!["30-0".into(), "35-0".into()], vec!["35-0".into()]));
    assert_eq!(world.server.stats().gaps, 2);
    check_accounts(&world.server.stats());
}

#[test]
fn a_position_that_the_log_has_read_by_now_is_no_gap() {
    let mut world = world(kept(Ids::Ordered));
    publish_at(&mut world, "a", &["10-0"]);
    let peer = open(&mut world, "/a", Some("40-0"));
    // Entries that were not events, and one of an unknown topic.
    for _ in 0..3 {
        end(&mut world, "40-0");
    }
    assert_eq!(heard(&peer), [""; 0]);
    publish_at(&mut world, "a", &["50-0"]);
    assert_eq!(heard(&peer), ["50-0"]);
}

#[test]
fn a_stream_that_waits_and_closes_is_not_mistaken_for_the_next_in_its_slot() {
    let mut world = world(kept(Ids::Ordered));
    publish_at(&mut world, "a", &["10-0"]);
    let left = open(&mut world, "/a", Some("40-0"));
    end(&mut world, "10-0");
    left.close();
    world.settle();
    let next = open(&mut world, "/a", Some("40-0"));
    end(&mut world, "10-0");
    assert_eq!(heard(&next), [""; 0]);
    end(&mut world, "10-0");
    assert_eq!(heard(&next), ["gap"]);
}

#[test]
fn an_empty_log_ends_as_well() {
    let mut world = world(kept(Ids::Ordered));
    let peer = open(&mut world, "/a", Some("40-0"));
    peer.read();
    end(&mut world, "0-0");
    end(&mut world, "0-0");
    assert_eq!(ids(&peer), ["0-0"]);
    // A heartbeat of a server without any position has no id.
    world.pass(Duration::from_secs(20));
    assert_eq!(peer.read().replace(COMMENT, ""), "");
    publish_at(&mut world, "a", &["5-0"]);
    assert_eq!(ids(&peer), ["5-0"]);
}

#[test]
fn a_loss_and_an_end_count_as_no_events_and_observers_hear_nothing() {
    let mut world = world(kept(Ids::Ordered));
    let notes = Notes::of(&mut world);
    let _peers = [open(&mut world, "/a", None), open(&mut world, "/a", Some("40-0"))];
    lose(&mut world, "20-0");
    end(&mut world, "20-0");
    end(&mut world, "20-0");
    assert_eq!(notes.messages(), [""; 0]);
    let stats = world.server.stats();
    assert_eq!((stats.events_published, stats.events_sent, stats.events_delivered), (0, 0, 0));
    assert_eq!(stats.gaps, 4, "two streams, one that waited in vain, and one that came with a foreign id");
}
