//! Several loops that could diverge: concurrent calls, and the end.

use mio_sse::net::InMemory;
use mio_sse::{
    Answer, Config, Context, Drain, Error, History, Ids, Overflow, RawRequest, Reply, Router, Shards,
    TopicConfig,
};
use std::io::ErrorKind;
use std::sync::Barrier;
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

fn kept(ids: Ids) -> Config {
    let mut config = Config::default();
    config.topic = TopicConfig::default().history(History::new().events(100)).ids(ids);
    config.heartbeat = None;
    config
}

/// Loops whose streams read the topic that is the path, and whose POST runs `act`.
fn shards(
    config: Config,
    act: impl Fn(&mut Context<'_>) -> Result<(), Error> + Clone + Send + 'static,
) -> Shards<Router, InMemory> {
    let make = |_| {
        let (mut app, act) = (Router::new(), act.clone());
        app.get("/{topic}", |request, _cx| Reply::stream().topic(request.param("topic").unwrap()).tag("all"));
        app.post("/act", move |_request, cx| act(cx));
        app
    };
    Shards::in_memory(2, make, config).unwrap()
}

fn read(shards: &mut Shards<Router, InMemory>, index: usize, path: &str) -> Answer {
    shards.servers()[index].ask(RawRequest::get(path).unwrap())
}

fn texts(answer: &mut Answer) -> Vec<String> {
    answer.events().into_iter().filter_map(|event| event.data.map(|data| data.into_owned())).collect()
}

#[test]
fn loops_that_would_wait_for_each_other_get_an_error() {
    let mut config = Config::default();
    config.inbox_max = 1;
    let mut shards = Shards::listen(mio_sse::Listeners::new(), 2, |_| Router::new(), config).unwrap();
    let publisher = shards.publisher();
    let of_loops: Vec<_> = shards.servers().iter().map(|server| server.publisher()).collect();
    let running = thread::spawn(move || shards.run());
    let (answer, answered) = channel();
    let (asks, both) = (publisher.clone(), Barrier::new(2));
    thread::spawn(move || {
        let answers = asks.ask_all(move |_cx| {
            both.wait();
            let asked: Vec<_> = of_loops.iter().map(|other| other.ask(|_cx| ())).collect();
            let put: Vec<_> = of_loops
                .iter()
                .map(|other| {
                    _ = other.run(|_cx| ());
                    other.run(|_cx| ())
                })
                .collect();
            both.wait();
            (asked, put)
        });
        answer.send(answers)
    });
    let answers = answered.recv_timeout(Duration::from_secs(20)).expect("the loops wait for each other");
    let full = || vec![Err(Error::Full); 2];
    assert_eq!(answers, Ok(vec![(full(), full()); 2]));
    publisher.run(|cx| cx.stop()).unwrap();
    running.join().unwrap().unwrap();
}

#[test]
fn a_topic_finishes_at_the_same_place_in_all_loops() {
    let mut shards = shards(kept(Ids::Generated), |cx| {
        // It waits in the inbox of this loop as well.
        cx.publisher().publish("news", "the last")?;
        cx.finish_topic("news")
    });
    let mut streams = [0, 1].map(|index| read(&mut shards, index, "/news"));
    shards.servers()[0].ask(RawRequest::new("POST", "/act").unwrap());
    shards.settle();
    assert_eq!(streams.each_mut().map(texts), [["the last"]; 2]);
    assert!(streams.iter_mut().all(Answer::is_over));
}

#[test]
fn topics_and_revocations_are_the_same_in_all_loops() {
    let mut shards = shards(Config::default(), |_| Ok(()));
    for (index, events) in [(0, 1), (1, 5)] {
        let config = TopicConfig::default().history(History::new().events(events)).overflow(Overflow::Skip);
        let mut cx = shards.servers()[index].context();
        cx.configure("news", config).unwrap();
        _ = if index == 0 { cx.revoke("user", Duration::from_secs(60)) } else { cx.unrevoke("user").into() };
    }
    shards.settle();
    (0..9).for_each(|number| shards.publisher().publish("news", number.to_string()).unwrap());
    shards.settle();
    let [one, other] = [0, 1].map(|index| {
        let request = RawRequest::get("/news").unwrap().header("Last-Event-ID", "x").unwrap();
        let kept = texts(&mut shards.servers()[index].ask(request));
        (kept, shards.servers()[index].context().is_revoked("user"))
    });
    assert_eq!(one, other);
}

#[test]
fn a_loop_without_room_for_one_topic_publishes_to_the_others() {
    let mut config = kept(Ids::Generated);
    config.topics_max = 2;
    let mut shards = shards(config, |cx| cx.publish_all(["news", "other"], "for both"));
    let mut streams = [0, 1].map(|index| read(&mut shards, index, "/news"));
    let third = read(&mut shards, 1, "/third");
    shards.servers()[0].ask(RawRequest::new("POST", "/act").unwrap());
    shards.settle();
    let [one, other] = streams.each_mut().map(Answer::events);
    assert_eq!(one.len(), 1);
    assert_eq!(one, other);
    // A client that resumes at the other topic gets a gap here.
    drop(third);
    shards.settle();
    let before = shards.stats().gaps;
    let id = one[0].id.clone().unwrap().replace("-1", "-0");
    let request = |id: &str| RawRequest::get("/other").unwrap().header("Last-Event-ID", id).unwrap();
    drop(shards.servers()[1].ask(request(&id)));
    assert_eq!(shards.stats().gaps, before + 1);
}

#[test]
fn a_drain_ends_when_all_loops_are_empty() {
    let mut shards = shards(Config::default(), |_| Ok(()));
    let streams = [0, 1].map(|_| read(&mut shards, 1, "/news"));
    let publisher = shards.publisher();
    publisher.drain(Duration::from_secs(10)).unwrap();
    shards.settle();
    // The first loop has no streams, but others still have.
    publisher.run(|_cx| {}).unwrap();
    drop(streams);
    shards.settle();
    assert!(shards.servers().iter().all(|server| server.is_stopped()));
}

#[test]
fn a_loop_that_is_left_over_goes_on_as_before() {
    let mut shards = shards(Config::default(), |_| Ok(()));
    let mut streams = [0, 0, 1].map(|index| read(&mut shards, index, "/news"));
    shards.publisher().drain(Drain::within(Duration::from_secs(10))).unwrap();
    shards.settle();
    // For this one the deadline has passed.
    shards.servers()[1].advance(Duration::from_secs(20));
    assert!(shards.servers()[1].is_stopped());
    let mut cx = shards.servers()[0].context();
    assert_eq!(cx.send_tagged("all", "tagged"), Ok(1));
    assert_eq!(cx.publish("news", "published"), Ok(()));
    assert_eq!(cx.stats().streams, 1, "a stopped loop has no streams");
    shards.servers()[0].settle();
    assert_eq!(texts(&mut streams[1]), ["tagged", "published"]);
}

#[test]
fn too_many_loops_are_an_error_before_anything_is_opened() {
    let error = Shards::bind("127.0.0.1:0", 70_000, |_| Router::new()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
}
