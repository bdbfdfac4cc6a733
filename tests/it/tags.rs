//! Tags: which streams get an event, are closed, or do not open, and that nothing is kept for closed streams.

use crate::memory_net::{Loop, Peer, get, subscribe};
use crate::support::secs;
use mio_sse::{
    Audience, CloseReason, Config, Context, Drain, EVENT_BYTES_MAX, Error, Event, Handler, Message, Observer,
    Refusal, Reply, Request, Router, StreamId,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// All calls, in order.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<Vec<String>>>);

impl Journal {
    fn note(&self, entry: impl Into<String>) {
        self.0.lock().unwrap().push(entry.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap())
    }
}

impl Observer for Journal {
    fn message(&mut self, message: &Message<'_>) {
        let text = message.text.trim_end();
        match message.to {
            Audience::Topic(topic) => self.note(format!("{text} to topic {topic}")),
            Audience::Tag(tag) => self.note(format!("{text} to tag {tag}")),
            _ => self.note(format!("{text} to a stream")),
        }
    }

    fn close(&mut self, _stream: StreamId, reason: CloseReason) {
        self.note(format!("closed {reason:?}"));
    }
}

type Script = Box<dyn FnMut(StreamId, &mut Context<'_>) -> Option<Reply>>;

/// Replies to `/a,b` with a stream on topic `t` with the tags `a` and `b`, after the script has run.
struct App {
    script: Script,
    streams: Vec<StreamId>,
}

impl Handler for App {
    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
        if let Some(reply) = (self.script)(cx.stream().unwrap(), cx) {
            return reply;
        }
        let mut reply = Reply::stream().topic("t").header("Access-Control-Allow-Origin", "*");
        for tag in request.path()[1..].split(',').filter(|tag| !tag.is_empty()) {
            reply = reply.tag(tag);
        }
        reply.into()
    }

    fn opened(&mut self, stream: StreamId, _request: &Request<'_>, _cx: &mut Context<'_>) {
        self.streams.push(stream);
    }

    fn closed(&mut self, stream: StreamId, _reason: CloseReason, cx: &mut Context<'_>) {
        assert_eq!(cx.tag(stream, "late"), Err(Error::Closed));
        assert_eq!(cx.untag(stream, "late"), Err(Error::Closed));
    }
}

type World = Loop<App>;

fn world_with(
    config: Config,
    script: impl FnMut(StreamId, &mut Context<'_>) -> Option<Reply> + 'static,
) -> World {
    Loop::with_config(App { script: Box::new(script), streams: Vec::new() }, config)
}

fn world() -> World {
    world_with(Config::default(), |_, _| None)
}

/// Opens a stream and reads its head.
fn open(world: &mut World, path: &str) -> (Peer, StreamId) {
    let before = world.server.handler().streams.len();
    let peer = world.connect();
    peer.write(get(path));
    world.settle();
    let head = peer.read();
    assert!(head.starts_with("HTTP/1.1 200") && head.contains("Transfer-Encoding: chunked"), "{head}");
    assert_eq!(world.server.handler().streams.len(), before + 1);
    (peer, world.server.handler().streams[before])
}

/// The reply to a request on a connection of its own.
fn ask(world: &mut World, path: &str) -> String {
    let peer = world.connect();
    peer.write(get(path));
    world.settle();
    let reply = peer.read();
    peer.close();
    world.settle();
    reply
}

/// The bytes that arrived, without the lines of chunks.
fn events(peer: &Peer) -> Vec<String> {
    let text = peer.read();
    text.lines().filter_map(|line| line.strip_prefix("data: ")).map(String::from).collect()
}

fn cx(world: &mut World) -> Context<'_> {
    world.server.context()
}

/// Checks that no tag of a stream is kept.
fn untagged(world: &mut World) -> bool {
    let left = ["a", "b", "c"].iter().map(|tag| cx(world).tagged(tag)).sum::<usize>();
    left == 0 && world.server.stats().tags == 0
}

#[test]
fn an_event_to_a_tag_reaches_the_streams_with_it_in_order_with_everything_else() {
    let mut world = world();
    let (both, id) = open(&mut world, "/a,b");
    let (one, _) = open(&mut world, "/b");
    let (none, _) = open(&mut world, "/");
    let mut cx = cx(&mut world);
    assert_eq!((cx.tagged("a"), cx.tagged("b"), cx.tagged("c")), (1, 2, 0));
    cx.publish("t", Event::new().data("1")).unwrap();
    assert_eq!(cx.send_tagged("b", Event::new().data("2")), Ok(2));
    cx.send(id, Event::new().data("3")).unwrap();
    assert_eq!(cx.send_tagged("a", Event::new().data("4")), Ok(1));
    cx.publish("t", Event::new().data("5")).unwrap();
    assert_eq!(cx.send_tagged("c", Event::new().data("6")), Ok(0));
    world.settle();
    assert_eq!(events(&both), ["1", "2", "3", "4", "5"]);
    assert_eq!(events(&one), ["1", "2", "5"]);
    assert_eq!(events(&none), ["1", "5"]);
    let stats = world.server.stats();
    assert_eq!((stats.tags, stats.events_sent, stats.events_published), (2, 4, 2));
}

#[test]
fn an_event_that_cannot_be_encoded_is_not_sent() {
    let mut world = world();
    let journal = Journal::default();
    world.server.observe(journal.clone());
    let (peer, _) = open(&mut world, "/a");
    let invalid = cx(&mut world).send_tagged("a", Event::new().data("x").event("a\nb"));
    assert!(matches!(invalid, Err(Error::InvalidEvent(_))));
    let publisher = world.server.publisher();
    assert!(matches!(
        publisher.send_tagged("a", Event::new().data("x").id("\n")),
        Err(Error::InvalidEvent(_))
    ));
    world.settle();
    assert_eq!((events(&peer), journal.take()), (vec![], vec![]));
    assert_eq!(world.server.stats().events_sent, 0);
}

#[test]
fn observers_see_an_event_to_a_tag_once_and_before_whom_it_closes() {
    let mut config = Config::default();
    config.lag_bytes_max = 1000;
    let mut world = world_with(config, |_, _| None);
    let journal = Journal::default();
    world.server.observe(journal.clone());
    let peers: Vec<_> = (0..3).map(|_| open(&mut world, "/a").0).collect();
    cx(&mut world).send_tagged("a", Event::new().data("x")).unwrap();
    cx(&mut world).send_tagged("nobody", Event::new().data("y")).unwrap();
    world.settle();
    assert_eq!(journal.take(), ["data: x to tag a", "data: y to tag nobody"]);
    peers[0].set_room(0);
    world.settle();
    for expected in [3, 3, 2] {
        assert_eq!(cx(&mut world).send_tagged("a", Event::new().data("z".repeat(600))), Ok(expected));
        let entries = journal.take();
        assert!(entries[0].ends_with("to tag a"));
        assert_eq!(entries[1..], ["closed Lagged"][..3 - expected]);
        world.settle();
    }
}

#[test]
fn streams_that_lag_by_an_event_to_their_tag_are_closed_and_the_others_get_it() {
    let mut config = Config::default();
    config.lag_bytes_max = 1000;
    let mut world = world_with(config, |_, _| None);
    let peers: Vec<_> = (0..8).map(|_| open(&mut world, "/a,b").0).collect();
    // Neighbours, the first, and the last.
    let slow = [0, 3, 4, 7];
    slow.iter().for_each(|peer| peers[*peer].set_room(0));
    let big = Event::new().data("x".repeat(600));
    for _ in 0..2 {
        assert_eq!(cx(&mut world).send_tagged("a", &big), Ok(8));
        world.settle();
    }
    assert_eq!(cx(&mut world).send_tagged("a", &big), Ok(4));
    assert_eq!((cx(&mut world).tagged("a"), cx(&mut world).tagged("b")), (4, 4), "at once");
    assert_eq!(cx(&mut world).send_tagged("b", Event::new().data("end")), Ok(4));
    world.settle();
    for (number, peer) in peers.iter().enumerate() {
        assert_eq!(peer.is_closed(), slow.contains(&number));
        assert_eq!(events(peer).len(), if slow.contains(&number) { 0 } else { 4 });
    }
    assert_eq!(world.server.stats().closed(CloseReason::Lagged), 4);
}

#[test]
fn all_streams_with_a_tag_are_closed_cleanly_and_no_others() {
    let mut world = world();
    let (first, _) = open(&mut world, "/a,b");
    let (second, _) = open(&mut world, "/a");
    let (other, _) = open(&mut world, "/b");
    cx(&mut world).publish("t", Event::new().data("farewell")).unwrap();
    assert_eq!(cx(&mut world).close_tagged("a"), 2);
    assert_eq!(cx(&mut world).close_tagged("a"), 0, "closed is closed");
    assert_eq!((cx(&mut world).tagged("a"), cx(&mut world).tagged("b")), (0, 1), "at once");
    assert_eq!(cx(&mut world).send_tagged("a", Event::new().data("too late")), Ok(0));
    world.settle();
    for peer in [&first, &second] {
        let text = peer.read();
        assert!(text.ends_with("data: farewell\n\n\r\n0\r\n\r\n"), "{text}");
        // The connection stays open.
        peer.write(get("/a"));
        world.settle();
        assert!(peer.read().starts_with("HTTP/1.1 200"));
    }
    assert_eq!(events(&other), ["farewell"]);
    assert_eq!(world.server.stats().closed(CloseReason::Application), 2);
    assert_eq!(cx(&mut world).tagged("a"), 2);
}

#[test]
fn a_tag_that_was_taken_away_counts_no_more() {
    let mut world = world();
    let (peer, id) = open(&mut world, "/a,b");
    cx(&mut world).untag(id, "a").unwrap();
    cx(&mut world).untag(id, "a").unwrap();
    cx(&mut world).untag(id, "never").unwrap();
    assert_eq!(cx(&mut world).send_tagged("a", Event::new().data("x")), Ok(0));
    assert_eq!(cx(&mut world).send_tagged("b", Event::new().data("y")), Ok(1));
    assert_eq!(cx(&mut world).close_tagged("a"), 0);
    world.settle();
    assert_eq!((events(&peer), world.server.stats().tags), (vec!["y".into()], 1));
    cx(&mut world).tag(id, "a").unwrap();
    cx(&mut world).tag(id, "a").unwrap();
    assert_eq!(cx(&mut world).tagged("a"), 1, "twice is once");
}

#[test]
fn a_revoked_tag_closes_its_streams_and_gets_204_until_it_expires() {
    let mut world = world();
    let (peer, _) = open(&mut world, "/a,b");
    let (other, _) = open(&mut world, "/b");
    assert_eq!(cx(&mut world).revoke("a", Duration::from_secs(60)), 1);
    assert_eq!(cx(&mut world).tagged("b"), 1, "at once");
    world.settle();
    assert!(peer.read().ends_with("0\r\n\r\n"), "closed cleanly");
    assert_eq!(world.server.stats().closed(CloseReason::Revoked), 1);

    // EventSource reconnects on the same connection, and gets 204.
    for path in ["/a", "/c,a,b"] {
        peer.write(get(path));
        world.settle();
        let reply = peer.read();
        assert!(reply.starts_with("HTTP/1.1 204 No Content\r\n"), "{reply}");
        assert!(reply.contains("\r\nAccess-Control-Allow-Origin: *\r\n"), "{reply}");
        assert!(reply.contains("\r\nCache-Control: no-store\r\n"), "{reply}");
        assert!(reply.ends_with("\r\n\r\n") && !reply.contains("Content-Length"), "{reply}");
        assert!(!peer.is_shut());
    }
    let stats = world.server.stats();
    assert_eq!((stats.refused(Refusal::Revoked), stats.streams_opened, stats.streams), (2, 2, 1));
    assert_eq!((stats.tags, stats.tags_revoked), (1, 1));
    assert!(stats.prometheus().contains("mio_sse_tags 1\n"));
    assert!(stats.prometheus().contains("mio_sse_tags_revoked 1\n"));
    assert!(stats.prometheus().contains("mio_sse_streams_closed_total{reason=\"revoked\"} 1\n"));
    assert!(stats.prometheus().contains("mio_sse_refused_total{reason=\"revoked\"} 2\n"));
    assert_eq!(CloseReason::Revoked.party(), mio_sse::Party::Server);
    assert_eq!(events(&other).len(), 0);

    world.pass(Duration::from_millis(60_000));
    assert!(ask(&mut world, "/a").starts_with("HTTP/1.1 204"), "up to the last moment");
    world.pass(Duration::from_millis(1));
    assert!(ask(&mut world, "/a").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_stream_that_its_handler_gives_a_revoked_tag_gets_204_whatever_else_happens() {
    let mut world = world_with(Config::default(), |stream, cx| {
        cx.subscribe(stream, "u").unwrap();
        cx.tag(stream, "b").unwrap();
        cx.tag(stream, "a").unwrap();
        cx.send(stream, Event::new().data("x")).unwrap();
        cx.after(stream, Duration::from_secs(1), |_, _| -> () { panic!("a timer of no stream") }).unwrap();
        cx.untag(stream, "a").unwrap();
        if cx.now().as_secs() % 2 == 1 {
            cx.close(stream).unwrap();
        }
        None
    });
    cx(&mut world).revoke("a", Duration::from_secs(60));
    for _ in 0..2 {
        let reply = ask(&mut world, "/");
        assert!(reply.starts_with("HTTP/1.1 204") && reply.ends_with("\r\n\r\n"), "{reply}");
        assert!(untagged(&mut world));
        world.pass(Duration::from_secs(1));
    }
    let stats = world.server.stats();
    assert_eq!((stats.streams_opened, stats.topics, stats.timers, stats.streams_behind), (0, 0, 0, 0));
    // The revocation was for that stream, not the next one.
    cx(&mut world).unrevoke("a");
    assert!(ask(&mut world, "/").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_stream_whose_tag_is_revoked_while_it_opens_gets_204() {
    let mut asked = 0;
    let mut world = world_with(Config::default(), move |stream, cx| {
        asked += 1;
        if asked == 1 {
            cx.tag(stream, "a").unwrap();
            cx.tag(stream, "b").unwrap();
            assert_eq!(cx.revoke("a", Duration::ZERO), 1);
            assert_eq!((cx.tagged("a"), cx.tagged("b")), (0, 1));
            assert_eq!(cx.send(stream, Event::new().data("x")), Ok(()));
        }
        None
    });
    assert!(ask(&mut world, "/").starts_with("HTTP/1.1 204"));
    assert!(untagged(&mut world));
    assert!(ask(&mut world, "/").starts_with("HTTP/1.1 200"), "the mark was of that one");
}

#[test]
fn a_stream_with_a_tag_that_its_handler_revokes_gets_204() {
    let mut world = world_with(Config::default(), |_, cx| {
        cx.revoke("a", Duration::ZERO);
        None
    });
    assert!(ask(&mut world, "/a").starts_with("HTTP/1.1 204"));
    assert!(ask(&mut world, "/b").starts_with("HTTP/1.1 200"));
}

#[test]
fn an_open_stream_that_is_given_a_revoked_tag_is_closed() {
    let mut world = world();
    let (peer, id) = open(&mut world, "/b");
    let mut cx = cx(&mut world);
    cx.revoke("a", Duration::from_secs(1));
    cx.send(id, Event::new().data("last")).unwrap();
    assert_eq!(cx.tag(id, "a"), Err(Error::Closed));
    assert_eq!(cx.send(id, Event::new().data("too late")), Err(Error::Closed));
    assert_eq!((cx.tagged("a"), cx.tagged("b")), (0, 0));
    world.settle();
    assert!(peer.read().ends_with("data: last\n\n\r\n0\r\n\r\n"));
    assert_eq!(world.server.stats().closed(CloseReason::Revoked), 1);
}

#[test]
fn revoking_again_makes_the_time_longer_and_never_shorter() {
    let mut world = world();
    let seconds = Duration::from_secs;
    cx(&mut world).revoke("a", seconds(10));
    world.pass(seconds(5));
    cx(&mut world).revoke("a", seconds(1));
    world.pass(seconds(4));
    assert!(ask(&mut world, "/a").starts_with("HTTP/1.1 204"), "not shorter");
    cx(&mut world).revoke("a", seconds(10));
    world.pass(seconds(9));
    assert!(ask(&mut world, "/a").starts_with("HTTP/1.1 204"), "longer");
    assert_eq!(world.server.stats().tags_revoked, 1);
    world.pass(seconds(2));
    assert!(ask(&mut world, "/a").starts_with("HTTP/1.1 200"));
}

#[test]
fn a_tag_whose_revocation_has_ended_opens_streams_again() {
    let mut world = world();
    cx(&mut world).revoke("a", Duration::MAX);
    world.pass(Duration::from_secs(100_000_000));
    assert!(ask(&mut world, "/a").starts_with("HTTP/1.1 204"), "for ever");
    assert_eq!((cx(&mut world).is_revoked("a"), cx(&mut world).is_revoked("b")), (true, false));
    assert!(cx(&mut world).unrevoke("a"));
    assert!(!cx(&mut world).unrevoke("a") && !cx(&mut world).is_revoked("a"));
    assert!(ask(&mut world, "/a").starts_with("HTTP/1.1 200"));
    // An expired revocation has no effect, though it may still be stored.
    cx(&mut world).revoke("a", Duration::from_millis(1));
    assert!(cx(&mut world).is_revoked("a"), "at once");
    world.jump(Duration::from_millis(2));
    assert!(!cx(&mut world).is_revoked("a") && !cx(&mut world).unrevoke("a"));
    assert_eq!(world.server.stats().tags_revoked, 0);
}

#[test]
fn revocations_are_forgotten_when_they_are_over_and_the_loop_does_not_wake_for_each() {
    let mut world = world();
    for number in 0..900_u64 {
        cx(&mut world).revoke(&number.to_string(), Duration::from_millis(2000 + number));
    }
    world.settle();
    assert_eq!(world.server.stats().tags_revoked, 900);
    assert_eq!(world.server.next_timeout(), Some(Duration::from_secs(3)), "even without connections");
    let before = world.server.stats().turns;
    world.pass(Duration::from_millis(3000));
    let stats = world.server.stats();
    assert_eq!((stats.tags_revoked, stats.timers), (0, 0));
    assert!(stats.turns - before < 10, "{} turns", stats.turns - before);
    assert_eq!(world.server.next_timeout(), None);
}

#[test]
fn of_too_many_revocations_those_that_are_over_first_are_forgotten() {
    let mut config = Config::default();
    config.revoked_max = 2;
    let mut world = world_with(config, |_, _| None);
    cx(&mut world).revoke("a", Duration::from_secs(100));
    cx(&mut world).revoke("b", Duration::from_secs(10));
    cx(&mut world).revoke("b", Duration::from_secs(20));
    assert_eq!(world.server.stats().tags_revoked, 2, "revoked again is one");
    let (peer, _) = open(&mut world, "/c");
    assert_eq!(cx(&mut world).revoke("c", Duration::from_secs(50)), 1);
    world.settle();
    assert!(peer.read().ends_with("0\r\n\r\n"));
    let answers = ["/a", "/b", "/c"].map(|path| ask(&mut world, path)[9..12].to_owned());
    assert_eq!(answers, ["204", "200", "204"]);
}

#[test]
fn a_revoked_client_gets_204_even_where_others_get_retry() {
    let mut config = Config::default();
    config.streams_max = 1;
    let mut world = world_with(config, |_, _| None);
    let (_peer, _) = open(&mut world, "/b");
    cx(&mut world).revoke("a", Duration::from_secs(60));
    let waiting = world.connect();
    waiting.write("GET /");
    world.settle();
    assert!(ask(&mut world, "/c").starts_with("HTTP/1.1 503"));
    assert!(ask(&mut world, "/a").starts_with("HTTP/1.1 204"));
    cx(&mut world).drain(Drain::within(Duration::from_secs(60))).unwrap();
    waiting.write("a HTTP/1.1\r\nHost: x\r\n\r\n");
    world.settle();
    assert!(waiting.read().starts_with("HTTP/1.1 204"));
    assert_eq!(world.server.stats().refused(Refusal::Revoked), 2);
}

#[test]
fn a_stream_has_only_so_many_tags() {
    let mut config = Config::default();
    config.tags_max = 2;
    let mut world = world_with(config, |stream, cx| cx.tag(stream, "a").err().map(|_| Reply::status(500)));
    let (_peer, id) = open(&mut world, "/a,b,a");
    assert_eq!(cx(&mut world).tag(id, "c"), Err(Error::TooManyTags));
    assert_eq!(cx(&mut world).tag(id, "b"), Ok(()), "it has this one");
    assert_eq!(cx(&mut world).tagged("c"), 0);
    cx(&mut world).untag(id, "b").unwrap();
    assert_eq!(cx(&mut world).tag(id, "c"), Ok(()));

    let peer = world.connect();
    peer.write(get("/b,c"));
    world.settle();
    assert!(peer.read().starts_with("HTTP/1.1 400"));
    assert!(!peer.is_shut(), "the connection goes on");
    let stats = world.server.stats();
    assert_eq!((stats.refused(Refusal::Tags), stats.tags), (1, 2));
    assert_eq!(
        (cx(&mut world).tagged("a"), cx(&mut world).tagged("b"), cx(&mut world).tagged("c")),
        (1, 0, 1)
    );
}

#[test]
fn calls_of_a_handler_for_its_own_tag_affect_the_stream_it_opens() {
    let mut world = world_with(Config::default(), |stream, cx| {
        cx.tag(stream, "a").unwrap();
        assert_eq!(cx.tagged("a"), 1);
        assert_eq!(cx.send_tagged("a", Event::new().data("x")), Ok(1));
        assert_eq!(cx.close_tagged("a"), 1);
        assert_eq!((cx.tagged("a"), cx.close_tagged("a")), (0, 0));
        None
    });
    let reply = ask(&mut world, "/b");
    assert!(reply.starts_with("HTTP/1.1 200") && reply.ends_with("data: x\n\n\r\n0\r\n\r\n"), "{reply}");
    assert!(untagged(&mut world), "a closed stream is not given the tags of its reply");
    assert_eq!(world.server.stats().closed(CloseReason::Application), 1);
}

#[test]
fn a_stream_that_is_not_opened_leaves_no_tag_behind() {
    for (path, page) in [("/", true), ("/b", false)] {
        let mut config = Config::default();
        config.streams_max = 1;
        let mut world = world_with(config, move |stream, cx| {
            cx.tag(stream, "a").unwrap();
            cx.send_tagged("a", Event::new().data("x")).unwrap();
            page.then(|| Reply::text("none"))
        });
        let stream = reply_is_stream(&ask(&mut world, path));
        world.settle();
        assert!(untagged(&mut world), "the first stream, if it was one, has gone");
        if stream {
            let (_peer, _) = open(&mut world, "/b");
            assert!(ask(&mut world, "/c").starts_with("HTTP/1.1 503"));
            let peer = world.connect();
            peer.write("HEAD /c HTTP/1.1\r\nHost: x\r\n\r\n");
            world.settle();
            assert_eq!((cx(&mut world).tagged("a"), cx(&mut world).tagged("c")), (1, 0));
        }
    }
}

fn reply_is_stream(reply: &str) -> bool {
    reply.contains("text/event-stream")
}

#[test]
fn a_handler_that_panics_or_sends_too_much_leaves_no_tag_behind() {
    let mut config = Config::default();
    config.lag_bytes_max = 10;
    let mut asked = 0;
    let mut world = world_with(config, move |stream, cx| {
        asked += 1;
        cx.tag(stream, "a").unwrap();
        cx.tag(stream, "b").unwrap();
        assert_ne!(asked, 1, "the first one panics");
        // An event of the largest size, which exhausts the limit. No event after it is accepted.
        let large = Event::new().data("x".repeat(EVENT_BYTES_MAX - "data: \n\n".len()));
        assert_eq!(cx.send_tagged("a", large), Ok(1));
        assert_eq!(cx.send_tagged("a", Event::new().data("more than may wait")), Ok(0));
        assert_eq!((cx.tagged("a"), cx.tagged("b")), (0, 0));
        None
    });
    assert!(ask(&mut world, "/").starts_with("HTTP/1.1 500"));
    assert!(untagged(&mut world));
    assert_eq!(ask(&mut world, "/"), "");
    assert!(untagged(&mut world));
}

/// Runs an action on a server with an open stream that has tags. Returns the close reason. The tags are gone
/// before any callback is called.
fn ended_by(what: impl FnOnce(&mut World, &Peer, StreamId)) -> Option<CloseReason> {
    let mut config = Config::default();
    config.lag_bytes_max = 1000;
    config.heartbeat = None;
    config.max_age = Some(Duration::from_secs(1000));
    let told = Arc::new(Mutex::new(None));
    let mut world = world_with(config, {
        let told = told.clone();
        move |stream, cx| {
            let told = told.clone();
            cx.on_close(stream, move |reason, cx| {
                assert_eq!((cx.tagged("a"), cx.tagged("b"), cx.stats().tags), (0, 0, 0));
                *told.lock().unwrap() = Some(reason);
            })
            .unwrap();
            None
        }
    });
    let (peer, id) = open(&mut world, "/a,b");
    assert_eq!(world.server.stats().tags, 2);
    what(&mut world, &peer, id);
    world.settle();
    assert!(untagged(&mut world));
    told.lock().unwrap().take()
}

#[test]
fn a_stream_leaves_its_tags_whichever_side_closes_it() {
    assert_eq!(ended_by(|_, peer, _| peer.close()), Some(CloseReason::PeerClosed));
    assert_eq!(ended_by(|_, peer, _| peer.reset()), Some(CloseReason::Reset));
    assert_eq!(
        ended_by(|world, peer, _| {
            // It is closed, and its end waits for room.
            peer.set_room(0);
            cx(world).close_tagged("a");
            assert!(untagged(world));
        }),
        Some(CloseReason::Application)
    );
    assert_eq!(
        ended_by(|world, peer, id| {
            peer.set_room(0);
            cx(world).send(id, Event::new().data("x".repeat(2000))).unwrap();
            world.settle();
            assert!(!untagged(world));
            assert_eq!(cx(world).send(id, Event::new().data("x")), Err(Error::Closed));
            assert!(untagged(world));
        }),
        Some(CloseReason::Lagged)
    );
    assert_eq!(
        ended_by(|world, peer, _| {
            peer.set_room(0);
            cx(world).publish("t", Event::new().data("x")).unwrap();
            world.pass(Duration::from_secs(40));
        }),
        Some(CloseReason::Stalled)
    );
    assert_eq!(ended_by(|world, _, _| world.pass(Duration::from_secs(1000))), Some(CloseReason::MaxAge));
    assert_eq!(
        ended_by(|world, _, _| {
            cx(world).drain(Duration::from_secs(1)).unwrap();
            world.pass(Duration::from_secs(2));
        }),
        Some(CloseReason::Drained)
    );
    assert_eq!(
        ended_by(|world, _, id| {
            cx(world).after(id, Duration::ZERO, |_, _| -> () { panic!("as a test") }).unwrap();
        }),
        Some(CloseReason::Panicked)
    );
    assert_eq!(ended_by(|world, _, _| cx(world).stop()), Some(CloseReason::Stopped));
    assert_eq!(
        ended_by(|world, peer, _| {
            peer.write("x".repeat(20_000));
            world.settle();
        }),
        Some(CloseReason::ExcessInput)
    );
}

#[test]
fn a_stream_in_the_slot_of_another_has_only_its_own_tags() {
    let mut world = world();
    let (peer, _) = open(&mut world, "/a");
    cx(&mut world).close_tagged("a");
    peer.write(get("/b"));
    world.settle();
    peer.read();
    assert_eq!((cx(&mut world).tagged("a"), cx(&mut world).tagged("b")), (0, 1));
    assert_eq!(cx(&mut world).send_tagged("a", Event::new().data("x")), Ok(0));
    peer.close();
    world.settle();
    let (peer, _) = open(&mut world, "/c");
    assert_eq!(cx(&mut world).send_tagged("b", Event::new().data("x")), Ok(0));
    world.settle();
    assert_eq!(events(&peer).len(), 0);
}

#[test]
fn other_threads_reach_streams_by_tag() {
    let mut world = world();
    let (peer, _) = open(&mut world, "/a");
    let (other, _) = open(&mut world, "/b");
    let publisher = world.server.publisher();
    std::thread::spawn(move || {
        publisher.send_tagged("a", Event::new().data("1"))?;
        publisher.publish("t", Event::new().data("2"))?;
        publisher.send_tagged("a", Event::new().data("3"))?;
        publisher.close_tagged("a")?;
        publisher.send_tagged("a", Event::new().data("4"))?;
        publisher.revoke("b", Duration::from_secs(60))?;
        publisher.revoke("c", Duration::from_secs(60))?;
        publisher.unrevoke("c")
    })
    .join()
    .unwrap()
    .unwrap();
    world.settle();
    let text = peer.read();
    assert!(text.ends_with("0\r\n\r\n") && text.contains("data: 3") && !text.contains("data: 4"), "{text}");
    let order = ["data: 1", "data: 2", "data: 3"].map(|data| text.find(data).unwrap());
    assert!(order.is_sorted());
    assert!(other.read().ends_with("0\r\n\r\n"));
    let answers = ["/a", "/b", "/c"].map(|path| ask(&mut world, path)[9..12].to_owned());
    assert_eq!(answers, ["200", "204", "200"]);
    assert_eq!(world.server.stats().closed(CloseReason::Revoked), 1);
}

#[test]
fn thousands_with_a_tag_are_closed_over_several_turns_but_no_newer_streams() {
    let mut app = Router::new();
    app.get("/{tag}", |request, _cx| {
        Reply::stream().topic("t").tag("all").tag(request.param("tag").unwrap_or_default())
    });
    let mut world = Loop::<_, true>::new(app);
    let open = |world: &mut Loop<Router>, count: usize, path: &str| -> Vec<Peer> {
        let peers: Vec<_> = (0..count).map(|_| world.connect()).collect();
        peers.iter().for_each(|peer| peer.write(subscribe(path)));
        world.settle();
        peers
    };
    let peers = open(&mut world, 3_000, "/old");
    let late = world.connect();
    world.settle();
    assert_eq!(world.server.context().close_tagged("all"), 3_000);
    assert_eq!(world.server.stats().streams, 3_000 - 1_024);
    // Some of those that are still to be closed disconnect by themselves, and a new client connects.
    peers[..1_900].iter().step_by(7).chain(&peers[1_960..1_976]).for_each(Peer::close);
    late.write(subscribe("/new"));
    world.turn();
    assert!(world.server.stats().streams > 0);
    world.settle();
    let stats = world.server.stats();
    assert_eq!((stats.streams, stats.tags), (1, 2));
    assert!(!late.is_closed());
    // A revocation takes effect at once, for any number of streams.
    let peers = open(&mut world, 3_000, "/user");
    assert_eq!(world.server.context().revoke("user", secs(60)), 3_000);
    let refused = world.connect();
    refused.write(subscribe("/user"));
    world.turn();
    world.turn();
    assert!(refused.read().starts_with("HTTP/1.1 204 "));
    world.settle();
    assert_eq!(world.server.stats().closed(CloseReason::Revoked), 3_000);
    assert!(peers.iter().all(|peer| peer.read().ends_with("0\r\n\r\n")));
}
