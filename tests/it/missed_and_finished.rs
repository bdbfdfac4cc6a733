//! Missed events, first events, and streams and topics that finish.

use crate::history::{ask, data, open, publish, take_events};
use crate::memory_net::{Loop, Peer, check_accounts};
use crate::support::replies;
use crate::whose_ids::{
    COMMENT, Notes, assert_gap, at, body, config, ended, first_id, heard, kept, publish_at, publish_own,
};
use mio_sse::{
    CloseReason, Config, Context, Drain, Error, Event, EventSender, Events, History, Ids, Missed, Overflow,
    Pull, Refusal, Reply, Router, StreamId, TopicConfig,
};
use std::collections::VecDeque;
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Streams of the topics of the path, with the options of the query.
fn app() -> Router {
    let mut app = Router::new();
    app.get("/{topics}", |request, cx| {
        let topics = request.param("topics").unwrap_or_default().split('+').filter(|topic| !topic.is_empty());
        let mut stream = topics.fold(Reply::stream().tag("all"), |stream, topic| stream.topic(topic));
        if request.query("oldest").is_some() {
            stream = stream.snapshot();
        }
        if let Some(first) = request.query("first") {
            for text in first.split(',') {
                stream = stream.first(Event::new().data(text.to_owned()));
            }
        }
        if let Some(texts) = request.query("source") {
            let texts: Vec<_> = texts.split(',').map(|text| Event::new().data(text.to_owned())).collect();
            stream = stream.source(Events::new(texts));
        }
        if request.query("end").is_some() {
            stream = stream.then_end();
        }
        if request.query("close").is_some() {
            cx.close(cx.stream().unwrap())?;
        }
        Ok::<_, Error>(stream)
    });
    app
}

fn world(ids: Ids) -> Loop<Router> {
    world_with(ids, |_| {})
}

fn world_with(ids: Ids, change: impl FnOnce(&mut Config)) -> Loop<Router> {
    Loop::with_config(app(), config(ids, change))
}

fn closed(world: &Loop<Router>, reason: CloseReason) -> u64 {
    world.server.stats().closed(reason)
}

// First events, and streams that finish.

#[test]
fn a_stream_that_is_closed_by_its_handler_or_finishes_gets_its_history_first() {
    for how in ["close", "end"] {
        let mut world = world(Ids::Own);
        let notes = Notes::of(&mut world);
        publish_own(&mut world, "a", &["1"]);
        publish_own(&mut world, "b", &["2"]);
        publish_own(&mut world, "a", &["3"]);
        for (query, last, expected) in [
            ("oldest&", None, &["1", "2", "3"][..]),
            ("", None, &[]),
            ("", Some("1"), &["2", "3"]),
            ("", Some("3"), &[]),
            ("", Some("unknown"), &["", "1", "2", "3"]),
            ("oldest&first=x,y&", None, &["x", "y", "1", "2", "3"]),
            ("first=x&", Some("2"), &["x", "3"]),
            ("first=x&", Some("unknown"), &["", "x", "1", "2", "3"]),
        ] {
            let peer = open(&mut world, &format!("/a+b?{query}{how}"), last);
            assert_eq!(ended(&peer), expected, "{query} {how} {last:?}");
            assert_eq!(notes.reasons(), [CloseReason::Application]);
        }
        assert_eq!(world.server.stats().streams, 0);
        check_accounts(&world.server.stats());
    }
}

#[test]
fn a_stream_that_finishes_is_read_as_slowly_as_its_client_likes() {
    for how in ["close", "end"] {
        let mut world = world(Ids::Generated);
        let text = "x".repeat(10_000);
        publish(&mut world, "a", &[&text, &text, "3"]);
        let peer = world.connect();
        peer.set_room(500);
        peer.write(ask(&format!("/a?oldest&{how}"), None));
        world.settle();
        publish(&mut world, "a", &["behind its end"]);
        peer.set_room(usize::MAX);
        world.settle();
        assert_eq!(ended(&peer), [&text, &text, "3"]);
    }
}

#[test]
fn first_events_come_before_the_replay_and_are_counted_and_observed_once() {
    let mut world = world(Ids::Own);
    publish_own(&mut world, "a", &["1", "2"]);
    let notes = Notes::of(&mut world);
    let peer = open(&mut world, "/a?oldest&first=x,y", None);
    assert_eq!(heard(&peer), ["x", "y", "1", "2"]);
    assert_eq!(notes.messages(), ["data: x\n\n", "data: y\n\n"]);
    let stats = world.server.stats();
    assert_eq!((stats.events_sent, stats.events_delivered), (2, 4));
    publish_own(&mut world, "a", &["3"]);
    assert_eq!(heard(&peer), ["3"]);
    let gap = open(&mut world, "/a?first=x", Some("unknown"));
    assert_eq!(heard(&gap), ["gap", "x", "1", "2", "3"]);
    assert_eq!(body(&open(&mut world, "/a?first=x", Some("2"))), "id: 2\n\ndata: x\n\nid: 3\ndata: 3\n\n");
}

#[test]
fn first_events_arrive_in_any_framing_and_byte_by_byte() {
    for version in ["1.0", "1.1"] {
        let mut world = world(Ids::Own);
        publish_own(&mut world, "a", &["1", "2"]);
        let peer = world.connect();
        peer.set_room(1);
        peer.set_refill(1);
        peer.write(format!("GET /a?oldest&first=x,y HTTP/{version}\r\nHost: x\r\n\r\n"));
        world.settle();
        let received = peer.read();
        assert_eq!(received.contains("chunked"), version == "1.1");
        let body = replies(&received).remove(0).1;
        assert_eq!(body, "data: x\n\ndata: y\n\nid: 1\ndata: 1\n\nid: 2\ndata: 2\n\n");
        assert_eq!((world.server.stats().events_sent, world.server.stats().events_delivered), (2, 4));
    }
}

// Finished topics.

/// Publishes the number `text` with an id of the kind `ids`.
fn publish_next(world: &mut Loop<Router>, ids: Ids, topic: &str, text: &str) {
    match ids {
        Ids::Generated => publish(world, topic, &[text]),
        Ids::Own => publish_own(world, topic, &[text]),
        Ids::Ordered => publish_at(world, topic, &[text]),
    }
}

fn finish(world: &mut Loop<Router>, topic: &str) {
    world.server.context().finish_topic(topic).unwrap();
    world.settle();
}

#[test]
fn subscribers_of_a_topic_that_finishes_get_all_events_and_close() {
    for ids in [Ids::Generated, Ids::Own, Ids::Ordered] {
        let mut world = world(ids);
        let notes = Notes::of(&mut world);
        let (fast, slow) = (open(&mut world, "/a", None), open(&mut world, "/a", None));
        let begin = first_id(&slow);
        slow.set_room(3);
        publish_next(&mut world, ids, "a", "10-0");
        publish_next(&mut world, ids, "a", "20-0");
        finish(&mut world, "a");
        let received = take_events(&fast.read()).1;
        assert_eq!(received.iter().map(|event| &*event.data).collect::<Vec<_>>(), ["10-0", "20-0"]);
        assert_eq!(notes.reasons(), [CloseReason::Finished; 2]);
        slow.set_room(usize::MAX);
        world.settle();
        assert!(slow.read().ends_with("data: 20-0\n\n\r\n0\r\n\r\n"));
        // A client that connects later, until it has seen everything.
        assert_eq!(ended(&open(&mut world, "/a", None)), ["10-0", "20-0"]);
        assert_eq!(ended(&open(&mut world, "/a", Some(&received[0].id))), ["20-0"]);
        assert_eq!(ended(&open(&mut world, "/a", Some("unknown"))), ["", "10-0", "20-0"]);
        if let Some(begin) = begin.filter(|_| ids == Ids::Generated) {
            assert_eq!(ended(&open(&mut world, "/a", Some(&begin))), ["10-0", "20-0"]);
        }
        let over = open(&mut world, "/a", Some(&received[1].id));
        assert!(over.read().starts_with("HTTP/1.1 204 "));
        assert_eq!(world.server.stats().refused(Refusal::Finished), 1);
        assert_eq!(ended(&open(&mut world, "/a?first=x", Some(&received[1].id))), ["x"], "there is more");
        assert_eq!(world.server.stats().streams, 0);
        check_accounts(&world.server.stats());
    }
}

#[test]
fn nothing_is_published_to_a_topic_that_has_finished() {
    for ids in [Ids::Generated, Ids::Own, Ids::Ordered] {
        let mut world = world(ids);
        publish_next(&mut world, ids, "a", "10-0");
        finish(&mut world, "a");
        finish(&mut world, "a");
        let (mut cx, event) = (world.server.context(), Event::new().data("late"));
        let refused = match ids {
            Ids::Generated => cx.publish("a", event),
            Ids::Own => cx.publish("a", event.id("late")),
            Ids::Ordered => cx.publish_at("a", at("20-0"), event),
        };
        assert_eq!(refused, Err(Error::Finished));
        if ids == Ids::Ordered {
            // A refused event does not occupy its position.
            cx.publish_at("b", at("20-0"), Event::new().data("b")).unwrap();
        }
        world.server.publisher().publish("a", Event::new().data("late")).unwrap();
        world.settle();
        assert_eq!(ended(&open(&mut world, "/a", None)), ["10-0"]);
        assert_eq!(world.server.stats().events_published, 1 + u64::from(ids == Ids::Ordered));
    }
}

#[test]
fn a_stream_goes_on_as_long_as_one_of_its_topics_does() {
    for unsubscribes in [false, true] {
        let mut world = world(Ids::Own);
        let notes = Notes::of(&mut world);
        let peer = open(&mut world, "/a+b", None);
        publish_own(&mut world, "a", &["1"]);
        finish(&mut world, "a");
        publish_own(&mut world, "b", &["2"]);
        assert_eq!(heard(&peer), ["1", "2"]);
        let back = open(&mut world, "/a+b", Some("1"));
        assert_eq!(heard(&back), ["2"]);
        back.close();
        world.settle();
        notes.reasons();
        let stream = notes.streams()[0];
        if unsubscribes {
            world.server.context().unsubscribe(stream, "b").unwrap();
            world.settle();
        } else {
            publish_own(&mut world, "b", &["3"]);
            finish(&mut world, "b");
        }
        assert_eq!(ended(&peer), if unsubscribes { &[][..] } else { &["3"] });
        assert_eq!(notes.reasons(), [CloseReason::Finished]);
    }
}

#[test]
fn that_a_topic_has_finished_is_known_as_long_as_its_history_is_old() {
    let aged = |events: usize| History::new().age(Duration::from_secs(60)).events(events);
    for (history, is_forgotten) in [(aged(9), true), (aged(0), true), (History::new().events(0), false)] {
        let mut world = world_with(Ids::Own, |config| {
            config.topic = TopicConfig::default().history(history).ids(Ids::Own);
        });
        publish_own(&mut world, "a", &["1"]);
        world.pass(Duration::from_secs(30));
        finish(&mut world, "a");
        world.pass(Duration::from_secs(55));
        assert_eq!(
            world.server.context().publish("a", Event::new().data("late").id("2")),
            Err(Error::Finished)
        );
        assert_eq!(ended(&open(&mut world, "/a", None)), [""; 0]);
        world.pass(Duration::from_secs(10));
        let published = world.server.context().publish("a", Event::new().data("new").id("3"));
        assert_eq!(published, if is_forgotten { Ok(()) } else { Err(Error::Finished) }, "{history:?}");
        world.settle();
        assert_eq!(world.server.stats().topics, u64::from(!is_forgotten || history != aged(0)));
    }
}

#[test]
fn a_topic_without_a_history_finishes_for_its_subscribers() {
    let mut world = world_with(Ids::Own, |config| config.topic = TopicConfig::default());
    let peer = open(&mut world, "/a", None);
    publish(&mut world, "a", &["1"]);
    finish(&mut world, "a");
    assert!(peer.read().ends_with("data: 1\n\n\r\n0\r\n\r\n"));
    assert_eq!(closed(&world, CloseReason::Finished), 1);
    // A client that connects later finds a new topic.
    let later = open(&mut world, "/a", None);
    publish(&mut world, "a", &["2"]);
    assert_eq!(heard(&later), ["2"]);
}

#[test]
fn a_publisher_finishes_a_topic_after_its_events() {
    let mut world = world(Ids::Own);
    let peer = open(&mut world, "/a", None);
    let publisher = world.server.publisher();
    publisher.publish("a", Event::new().data("1").id("1")).unwrap();
    publisher.finish_topic("a").unwrap();
    publisher.publish("a", Event::new().data("2").id("2")).unwrap();
    world.settle();
    assert_eq!(ended(&peer), ["1"]);
    assert_eq!(closed(&world, CloseReason::Finished), 1);
}

#[test]
fn a_stream_with_a_source_of_its_own_outlives_its_topics() {
    let mut world = world(Ids::Own);
    let notes = Notes::of(&mut world);
    let peer = open(&mut world, "/a", None);
    let later = Script::default();
    let stream = notes.last();
    world.server.context().set_source(stream, later.source()).unwrap();
    publish_own(&mut world, "a", &["1"]);
    finish(&mut world, "a");
    assert_eq!(heard(&peer), ["1"]);
    later.say(&mut world, stream, [Pull::Event(Event::new().data("of the source"))]);
    assert_eq!(heard(&peer), ["of the source"]);
    later.say(&mut world, stream, [Pull::End]);
    assert_eq!(ended(&peer), [""; 0]);
    assert_eq!(notes.reasons().len(), 1);
}

// Missed events.

/// A source that gives the answers of a test, at times that the test chooses.
#[derive(Debug, Clone, Default)]
struct Script(Arc<Mutex<VecDeque<Pull>>>);

impl Script {
    fn source(&self) -> impl FnMut() -> Pull + Send + 'static {
        let script = self.0.clone();
        move || script.lock().unwrap().pop_front().unwrap_or(Pull::Idle)
    }

    fn say(&self, world: &mut Loop<Router>, stream: StreamId, pulls: impl IntoIterator<Item = Pull>) {
        self.0.lock().unwrap().extend(pulls);
        world.server.context().wake(stream).unwrap();
        world.settle();
    }
}

fn pull(text: &'static str) -> Pull {
    Pull::Event(Event::new().data(text).id(text))
}

/// A server whose store delivers missed events later, as the script says.
fn brings_later(ids: Ids, change: impl FnOnce(&mut Config)) -> (Loop<Router>, Script) {
    let (mut app, script) = (app(), Script::default());
    let brings = script.clone();
    app.missed(move |stream, _last, cx| {
        cx.set_source(stream, brings.source())?;
        Ok::<_, Error>(Missed::Later)
    });
    let mut world = Loop::with_config(app, config(ids, change));
    publish_next(&mut world, ids, "a", "10-0");
    (world, script)
}

/// The handler of a gap knows whose stream it is, by the state that came with the reply. A stream that the
/// handler ends there drops it.
#[test]
fn missed_sees_the_state_of_the_stream() {
    let mut app = Router::new();
    let alive = Arc::new(());
    let held = alive.clone();
    app.get("/{user}", move |request, _cx| {
        let user = request.param("user").unwrap_or_default().to_owned();
        Reply::stream().topic("a").with((user, held.clone()))
    });
    app.missed(|stream, last, cx| {
        let (user, _) = cx.of::<(String, Arc<()>)>(stream).unwrap().clone();
        match last {
            "end" => cx.close(stream)?,
            _ => cx.send(stream, format!("{user} was away since {last}"))?,
        }
        Ok::<_, Error>(Missed::Sent)
    });
    let mut world = Loop::with_config(app, config(Ids::Own, |_| {}));
    let peers = ["ada", "bob"].map(|user| open(&mut world, &format!("/{user}"), Some("7")));
    assert_eq!(peers.each_ref().map(heard), [["ada was away since 7"], ["bob was away since 7"]]);
    assert_eq!(Arc::strong_count(&alive), 4);
    open(&mut world, "/eve", Some("end"));
    peers.iter().for_each(Peer::close);
    world.settle();
    assert_eq!((world.server.stats().streams, Arc::strong_count(&alive)), (0, 2));
    check_accounts(&world.server.stats());
}

fn missed<M: mio_sse::IntoMissed>(
    missed: impl FnMut(StreamId, &str, &mut Context<'_>) -> M + Send + 'static,
) -> Loop<Router> {
    let mut app = app();
    app.missed(missed);
    let mut world = Loop::with_config(app, config(Ids::Own, |_| {}));
    publish_own(&mut world, "a", &["1"]);
    world
}

#[track_caller]
fn assert_made_up(mut world: Loop<Router>, expected: &[&str]) {
    let peer = open(&mut world, "/a", Some("old"));
    publish_own(&mut world, "a", &["live"]);
    assert_eq!(heard(&peer), expected);
    assert_eq!(world.server.stats().gaps, u64::from(expected.contains(&"gap")));
    assert_eq!(world.server.stats().streams, 1);
}

#[test]
fn the_closure_for_missed_events_may_return_a_missed_or_a_result() {
    let gap = ["gap", "1", "live"];
    let send = |stream: StreamId, last: &str, cx: &mut Context<'_>| {
        cx.send(stream, Event::new().data(format!("behind {last}")).id("new")).unwrap();
    };
    assert_made_up(missed(|_, _, _| false), &gap);
    assert_made_up(missed(|_, _, _| Missed::Gap), &gap);
    assert_made_up(missed(|_, _, _| Err::<Missed, _>(Error::Full)), &gap);
    assert_made_up(missed(|_, _, _| Ok::<_, Error>(Missed::Gap)), &gap);
    assert_made_up(missed(|_, _, _| Missed::Later), &gap);
    let sent = ["behind old", "live"];
    assert_made_up(missed(move |stream, last, cx| (send(stream, last, cx), true).1), &sent);
    assert_made_up(missed(move |stream, last, cx| (send(stream, last, cx), Missed::Sent).1), &sent);
    assert_made_up(missed(move |stream, last, cx| (send(stream, last, cx), Ok::<_, Error>(true)).1), &sent);
    assert_made_up(missed(|_, _, _| true), &["live"]);
}

#[test]
fn new_events_follow_the_missed_ones_of_a_source_in_order() {
    for ids in [Ids::Generated, Ids::Own, Ids::Ordered] {
        let (mut world, script) = brings_later(ids, |_| {});
        let notes = Notes::of(&mut world);
        let peer = open(&mut world, "/a+b", Some("old"));
        let stream = notes.last();
        assert_eq!(first_id(&peer), None, "where it begins is not where its client is");
        publish_next(&mut world, ids, "a", "20-0");
        world.server.context().send(stream, Event::new().data("sent")).unwrap();
        publish_next(&mut world, ids, "b", "30-0");
        assert_eq!(peer.read(), "");
        script.say(&mut world, stream, [pull("old 1")]);
        assert_eq!(heard(&peer), ["old 1"]);
        // A heartbeat with the position of the server would lose the rest.
        world.pass(Duration::from_secs(20));
        assert_eq!(peer.read(), COMMENT);
        publish_next(&mut world, ids, "a", "40-0");
        script.say(&mut world, stream, [pull("old 2"), pull("old 3"), Pull::End]);
        assert_eq!(heard(&peer), ["old 2", "old 3", "20-0", "sent", "30-0", "40-0"]);
        publish_next(&mut world, ids, "b", "50-0");
        assert_eq!(heard(&peer), ["50-0"]);
        world.pass(Duration::from_secs(60));
        assert!(!peer.read().contains("gap"), "nothing is given up that has come to its end");
        assert_eq!((world.server.stats().gaps, world.server.stats().streams), (0, 1));
    }
}

#[test]
fn a_source_of_missed_events_that_fails_leaves_a_gap_and_a_live_stream() {
    for fails in [true, false] {
        let (mut world, script) = brings_later(Ids::Generated, |_| {});
        let notes = Notes::of(&mut world);
        let peer = open(&mut world, "/a", Some("old"));
        script.say(&mut world, notes.last(), [pull("old 1")]);
        publish(&mut world, "a", &["meanwhile"]);
        assert_eq!(heard(&peer), ["old 1"]);
        if fails {
            script.say(&mut world, notes.last(), [Pull::Failed, pull("never")]);
        } else {
            world.jump(Duration::from_millis(29_999));
            world.settle();
            assert!(!peer.read().contains("gap"));
            world.jump(Duration::from_millis(1));
            world.settle();
        }
        assert_eq!(heard(&peer), ["gap", "meanwhile"]);
        publish(&mut world, "a", &["live"]);
        assert_eq!(heard(&peer), ["live"]);
        assert_eq!((world.server.stats().gaps, world.server.stats().streams), (1, 1));
        // The source was dropped, and no wake asks it again.
        world.server.context().wake(notes.last()).unwrap();
        world.settle();
        assert_eq!(peer.read(), "");
    }
}

/// Sends two events by a channel from another thread, and completes the channel, or does not.
fn by_channel(completes: bool) -> Loop<Router> {
    missed(move |stream, _last, cx| {
        let sender: EventSender = cx.channel(stream, 4)?;
        let thread = std::thread::spawn(move || {
            sender.send(Event::new().data("old 1").id("old 1")).unwrap();
            sender.clone().send(Event::new().data("old 2").id("old 2")).unwrap();
            if completes {
                sender.complete();
            }
        });
        // There is room for all events, so this does not wait for the stream.
        thread.join().unwrap();
        cx.publish("a", Event::new().data("meanwhile").id("2"))?;
        Ok::<_, Error>(Missed::Later)
    })
}

#[test]
fn a_channel_makes_up_for_missed_events_if_it_is_completed() {
    assert_made_up(by_channel(true), &["old 1", "old 2", "meanwhile", "live"]);
    assert_made_up(by_channel(false), &["old 1", "old 2", "gap", "meanwhile", "live"]);
}

#[test]
fn a_stream_that_is_closed_before_its_missed_events_does_not_get_newer_ones() {
    for drains in [false, true] {
        let (mut world, script) = brings_later(Ids::Own, |_| {});
        let notes = Notes::of(&mut world);
        let peer = open(&mut world, "/a", Some("old"));
        script.say(&mut world, notes.last(), [pull("old 1")]);
        publish_own(&mut world, "a", &["meanwhile"]);
        // A farewell event is sent, not published: it still goes out.
        world.server.context().send(notes.last(), Event::new().data("sent")).unwrap();
        if drains {
            let drain = Drain::within(Duration::from_millis(1)).farewell(Event::new().data("farewell"));
            world.server.context().drain(drain).unwrap();
        } else {
            world.server.context().close(notes.last()).unwrap();
        }
        world.pass(Duration::from_millis(2));
        let expected = ["old 1", "sent", "farewell"];
        assert_eq!(ended(&peer), expected[..if drains { 3 } else { 2 }]);
        assert_eq!(notes.reasons(), [if drains { CloseReason::Drained } else { CloseReason::Application }]);
    }
}

#[test]
fn events_that_wait_for_a_source_of_missed_events_count_as_lag() {
    for overflow in [Overflow::Disconnect, Overflow::Skip] {
        let (mut world, script) = brings_later(Ids::Generated, |config| {
            config.topic = TopicConfig::default().history(History::new().events(2)).overflow(overflow);
            config.lag_bytes_max = 1000;
        });
        let notes = Notes::of(&mut world);
        let peer = open(&mut world, "/a", Some("old"));
        let text = "x".repeat(40_000);
        for number in 0..20 {
            publish(&mut world, "a", &[&format!("{number} {text}")]);
            world.pass(Duration::from_millis(200));
        }
        if overflow == Overflow::Disconnect {
            assert_eq!(notes.reasons(), [CloseReason::Lagged]);
            continue;
        }
        script.say(&mut world, notes.last(), [pull("old"), Pull::End]);
        let received = crate::history::events(&peer);
        assert_eq!((&*received[0].data, &*received[1].event), ("old", "gap"));
        let skipped: usize = received[1].data.parse().unwrap();
        assert_eq!((skipped > 10, skipped + received.len()), (true, 22));
        assert!(received[21 - skipped].data.starts_with("19 "));
    }
}

#[test]
fn events_that_were_dropped_meanwhile_are_not_sent_even_between_keyed_ones() {
    let (mut world, script) = brings_later(Ids::Generated, |config| {
        let topic = TopicConfig::default().history(History::new().events(2)).keyed();
        config.topic = topic.overflow(Overflow::Skip);
        config.lag_bytes_max = 1000;
    });
    let notes = Notes::of(&mut world);
    let peer = open(&mut world, "/a", Some("old"));
    for number in 0..60 {
        let keyed = Event::new().data("x".repeat(30_000)).event("keyed").key(number.to_string());
        world.server.context().publish("a", keyed).unwrap();
        publish(&mut world, "a", &[&format!("{number} {}", "x".repeat(6_000))]);
        world.pass(Duration::from_millis(200));
    }
    script.say(&mut world, notes.last(), [pull("old"), Pull::End]);
    let received = crate::history::events(&peer);
    let count = |name: &str| received.iter().filter(|event| event.event == name).count();
    let missed: usize = received.iter().find(|event| event.event == "gap").unwrap().data.parse().unwrap();
    assert!(missed > 30, "{missed}");
    // Events of its source are messages as well.
    assert_eq!((count("keyed"), count("message") + missed), (60, 61));
}

#[test]
fn a_stream_that_finishes_closes_after_its_missed_events() {
    let (mut world, script) = brings_later(Ids::Own, |_| {});
    let notes = Notes::of(&mut world);
    let peer = open(&mut world, "/a?end&first=x", Some("old"));
    assert_eq!(heard(&peer), ["x"]);
    script.say(&mut world, notes.last(), [pull("old 1")]);
    publish_own(&mut world, "a", &["meanwhile"]);
    assert_eq!(heard(&peer), ["old 1"]);
    script.say(&mut world, notes.last(), [pull("old 2"), Pull::End]);
    assert_eq!(ended(&peer), ["old 2", "meanwhile"]);
    assert_eq!(notes.reasons(), [CloseReason::Application]);
}

#[test]
fn a_topic_that_finishes_during_missed_events_closes_the_stream_after_all_of_them() {
    let (mut world, script) = brings_later(Ids::Own, |_| {});
    let notes = Notes::of(&mut world);
    let peer = open(&mut world, "/a", Some("old"));
    publish_own(&mut world, "a", &["meanwhile"]);
    finish(&mut world, "a");
    assert_eq!(heard(&peer), [""; 0]);
    script.say(&mut world, notes.last(), [pull("old 1"), Pull::End]);
    assert_eq!(ended(&peer), ["old 1", "meanwhile"]);
    assert_eq!(notes.reasons(), [CloseReason::Finished]);
}

#[test]
fn the_source_of_a_reply_is_asked_when_all_was_made_up_for() {
    let (mut world, script) = brings_later(Ids::Own, |_| {});
    let notes = Notes::of(&mut world);
    let peer = open(&mut world, "/a?source=its,own", Some("old"));
    publish_own(&mut world, "a", &["meanwhile"]);
    assert_eq!(heard(&peer), [""; 0]);
    script.say(&mut world, notes.last(), [pull("old 1"), Pull::End]);
    assert_eq!(ended(&peer), ["old 1", "meanwhile", "its", "own"]);
}

// Topics with different kinds of ids.

/// `own`, `generated`, `ordered` and `plain` have the kind of ids that their names say.
fn mixed() -> Loop<Router> {
    let mut world = world_with(Ids::Own, |config| config.topic = TopicConfig::default());
    let kinds = [("own", Ids::Own), ("generated", Ids::Generated), ("ordered", Ids::Ordered)];
    for (name, ids) in kinds {
        world.server.context().configure(name, kept(ids)).unwrap();
    }
    world
}

#[test]
fn a_stream_of_topics_with_different_kinds_of_ids_is_refused() {
    let mut world = mixed();
    let pairs = ["/own+generated", "/ordered+plain+own", "/generated+ordered?oldest"];
    for (count, path) in (1..).zip(pairs) {
        let peer: Peer = open(&mut world, path, None);
        assert_eq!(replies(&peer.read())[0].0, 400, "{path}");
        assert_eq!(world.server.stats().refused(Refusal::MixedIds), count);
    }
    assert_eq!((world.server.stats().streams, world.server.stats().streams_opened), (0, 0));
    for path in ["/own+plain", "/plain+generated", "/plain+ordered+other"] {
        let peer = open(&mut world, path, None);
        assert_eq!(replies(&peer.read())[0].0, 200, "{path}");
        publish(&mut world, "plain", &["plain"]);
        assert_eq!(data(&peer), ["plain"]);
        assert_gap(&mut world, path, "unknown");
    }
    check_accounts(&world.server.stats());
}

#[test]
fn a_stream_cannot_subscribe_to_topics_with_different_kinds_of_ids() {
    let mut world = mixed();
    let notes = Notes::of(&mut world);
    let peer = open(&mut world, "/own", None);
    let (stream, mut cx) = (notes.last(), world.server.context());
    assert_eq!(cx.subscribe(stream, "generated"), Err(Error::MixedIds));
    assert_eq!(cx.subscribe(stream, "ordered"), Err(Error::MixedIds));
    assert_eq!((cx.subscribers("generated"), cx.subscribers("ordered")), (0, 0));
    cx.subscribe(stream, "plain").unwrap();
    for ids in [Ids::Generated, Ids::Ordered] {
        assert_eq!(cx.configure("plain", kept(ids)), Err(Error::MixedIds));
        // A history makes no difference.
        let bare = TopicConfig::default().ids(ids);
        let mixes = if ids == Ids::Ordered { Err(Error::MixedIds) } else { Ok(()) };
        assert_eq!(cx.configure("plain", bare), mixes);
    }
    cx.configure("plain", kept(Ids::Own)).unwrap();
    publish_own(&mut world, "plain", &["1"]);
    publish_own(&mut world, "own", &["2"]);
    assert_eq!(heard(&peer), ["1", "2"]);
    // It may subscribe to others after it has left these.
    let mut cx = world.server.context();
    cx.unsubscribe(stream, "own").unwrap();
    cx.unsubscribe(stream, "plain").unwrap();
    cx.subscribe(stream, "generated").unwrap();
    assert_eq!(cx.configure("generated", kept(Ids::Ordered)), Ok(()), "it reads no other");
}

#[test]
fn a_client_that_is_ahead_of_a_finished_topic_has_seen_all_of_it() {
    let mut world = world(Ids::Ordered);
    publish_at(&mut world, "a", &["10-0"]);
    finish(&mut world, "a");
    let over = open(&mut world, "/a", Some("40-0"));
    assert!(over.read().starts_with("HTTP/1.1 204 "));
}

#[test]
fn a_stream_that_is_closed_during_missed_events_closes_once() {
    for answer in [Missed::Gap, Missed::Sent, Missed::Later] {
        let world = &mut missed(move |stream, _last, cx| {
            cx.set_source(stream, || Pull::Event(Event::new().data("of the source")))?;
            cx.send(stream, Event::new().data("sent"))?;
            cx.close(stream)?;
            Ok::<_, Error>(answer)
        });
        let notes = Notes::of(world);
        let peer = open(world, "/a", Some("old"));
        let expected = if answer == Missed::Gap { &["", "1", "sent"][..] } else { &["sent"] };
        assert_eq!(ended(&peer), expected, "{answer:?}");
        assert_eq!(notes.reasons(), [CloseReason::Application], "{answer:?}");
        assert_eq!(world.server.stats().streams, 0);
        check_accounts(&world.server.stats());
    }
}

#[test]
fn missed_events_are_pulled_as_fast_as_the_client_reads_in_any_framing() {
    for version in ["1.0", "1.1"] {
        let pulled = Arc::<Mutex<usize>>::default();
        let pulls = pulled.clone();
        let mut world = missed(move |stream, _last, cx| {
            let pulls = pulls.clone();
            let mut left = 100;
            cx.set_source(stream, move || {
                *pulls.lock().unwrap() += 1;
                left -= 1;
                if left < 0 { Pull::End } else { Pull::Event(Event::new().data("x".repeat(1000))) }
            })?;
            Ok::<_, Error>(Missed::Later)
        });
        let peer = world.connect();
        peer.set_room(300);
        peer.write(format!("GET /a?end HTTP/{version}\r\nHost: x\r\nLast-Event-ID: old\r\n\r\n"));
        world.settle();
        publish_own(&mut world, "a", &["meanwhile"]);
        world.pass(Duration::from_secs(5));
        assert!(*pulled.lock().unwrap() < 30, "{} events wait", *pulled.lock().unwrap());
        peer.set_refill(7);
        peer.set_room(7);
        world.settle();
        let body = body(&peer);
        assert_eq!((body.matches("xxx\n\n").count(), *pulled.lock().unwrap()), (100, 101), "{version}");
        assert!(body.ends_with("id: meanwhile\ndata: meanwhile\n\n"));
        assert!(!body.contains("gap"));
        assert_eq!(closed(&world, CloseReason::Application), 1);
    }
}

#[test]
fn a_stream_that_finishes_closes_after_the_gap_of_missed_events() {
    for fails in [false, true] {
        let (mut world, script) = brings_later(Ids::Own, |_| {});
        let notes = Notes::of(&mut world);
        let peer = open(&mut world, "/a?end", Some("old"));
        publish_own(&mut world, "a", &["meanwhile"]);
        if fails {
            script.say(&mut world, notes.last(), [Pull::Failed]);
        } else {
            world.jump(Duration::from_secs(30));
            world.settle();
        }
        assert_eq!(ended(&peer), ["", "meanwhile"]);
        assert_eq!((world.server.stats().gaps, world.server.stats().streams), (1, 0));
    }
}

#[test]
fn another_source_takes_over_missed_events() {
    let (mut world, script) = brings_later(Ids::Own, |_| {});
    let notes = Notes::of(&mut world);
    let peer = open(&mut world, "/a", Some("old"));
    script.say(&mut world, notes.last(), [pull("old 1")]);
    publish_own(&mut world, "a", &["meanwhile"]);
    let rest = Events::new([Event::new().data("old 2").id("old 2")]);
    world.server.context().set_source(notes.last(), rest).unwrap();
    world.settle();
    assert_eq!(heard(&peer), ["old 1", "old 2", "meanwhile"]);
    world.pass(Duration::from_secs(31));
    assert_eq!((world.server.stats().gaps, world.server.stats().streams), (0, 1));
}

#[test]
fn a_stream_that_waits_for_a_position_closes_when_its_topics_have_finished() {
    let mut world = world(Ids::Ordered);
    publish_at(&mut world, "a", &["10-0"]);
    let peer = open(&mut world, "/a", Some("40-0"));
    publish_at(&mut world, "a", &["30-0"]);
    finish(&mut world, "a");
    assert_eq!(ended(&peer), [""; 0]);
    assert_eq!((closed(&world, CloseReason::Finished), world.server.stats().streams), (1, 0));
}

#[test]
fn a_stream_whose_tag_is_revoked_during_missed_events_closes() {
    for answer in [Missed::Gap, Missed::Sent, Missed::Later] {
        let mut world = missed(move |stream, _last, cx| {
            cx.set_source(stream, || Pull::Idle)?;
            cx.revoke("all", Duration::from_secs(60));
            Ok::<_, Error>(answer)
        });
        let notes = Notes::of(&mut world);
        let peer = open(&mut world, "/a", Some("old"));
        publish_own(&mut world, "a", &["behind it"]);
        assert_eq!(ended(&peer), if answer == Missed::Gap { &["", "1"][..] } else { &[] }, "{answer:?}");
        assert_eq!(notes.reasons(), [CloseReason::Revoked]);
        assert!(open(&mut world, "/a", Some("old")).read().starts_with("HTTP/1.1 204 "));
        assert_eq!(world.server.stats().streams, 0, "{answer:?}");
        check_accounts(&world.server.stats());
    }
}

#[test]
fn a_handler_that_closes_its_stream_and_publishes_more_has_that_replayed_and_not_sent_live() {
    let mut app = Router::new();
    app.get("/", |request, cx| {
        let stream = cx.stream().unwrap();
        cx.subscribe(stream, "a")?;
        cx.close(stream)?;
        cx.publish("a", Event::new().data("within"))?;
        let reply = Reply::stream();
        Ok::<_, Error>(if request.query("oldest").is_some() { reply.snapshot() } else { reply })
    });
    let mut world = Loop::with_config(app, config(Ids::Own, |_| {}));
    publish_own(&mut world, "a", &["1"]);
    assert_eq!(ended(&open(&mut world, "/", None)), [""; 0]);
    assert_eq!(ended(&open(&mut world, "/?oldest", None)), ["1", "within", "within"]);
    assert_eq!(ended(&open(&mut world, "/", Some("1"))), ["within"; 3]);
}
