//! Bugs that the simulator has found in several loops, each reduced to a few lines.

use mio_sse::net::InMemory;
use mio_sse::{
    Answer, Config, Event, History, Ids, Position, RawRequest, Reply, Router, Shards, StreamId, TopicConfig,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Number of messages that a loop takes from its inbox at once.
const BATCH: usize = 64;

fn shards(count: usize, config: Config) -> (Shards<Router, InMemory>, Arc<Mutex<Vec<StreamId>>>) {
    let streams = Arc::<Mutex<Vec<StreamId>>>::default();
    let app = |_| {
        let (mut app, streams) = (Router::new(), Arc::clone(&streams));
        app.get("/news", move |_request, cx| {
            streams.lock().unwrap().extend(cx.stream());
            Reply::stream().topic("news")
        });
        app
    };
    let shards = Shards::in_memory(count, app, config).unwrap();
    (shards, streams)
}

fn kept() -> Config {
    let mut config = Config::default();
    config.topic = TopicConfig::default().history(History::new());
    config.heartbeat = None;
    config
}

fn read(shards: &mut Shards<Router, InMemory>, index: usize) -> Answer {
    shards.servers()[index].ask(RawRequest::get("/news").unwrap())
}

fn texts(answer: &mut Answer) -> Vec<String> {
    answer.events().into_iter().filter_map(|event: Event<'static>| Some(event.data?.into_owned())).collect()
}

#[test]
fn a_topic_finishes_at_the_same_place_in_all_loops() {
    let (mut shards, _) = shards(2, kept());
    let mut streams = [0, 1].map(|index| read(&mut shards, index));
    shards.publisher().publish("news", "before").unwrap();
    // This loop has not taken that message from its inbox.
    shards.servers()[0].context().finish_topic("news").unwrap();
    shards.publisher().publish("news", "too late").unwrap();
    shards.settle();
    for stream in &mut streams {
        assert_eq!(texts(stream), ["before"]);
        assert!(stream.is_over());
    }
}

#[test]
fn private_events_stay_in_order_even_if_their_loop_handles_a_part() {
    let mut config = kept();
    // The loop leaves its inbox alone once this much is to be read.
    config.lag_bytes_max = 500;
    let (mut shards, streams) = shards(2, config);
    let mut news = read(&mut shards, 0);
    let stream = streams.lock().unwrap()[0];
    let publisher = shards.publisher();
    for _ in 0..BATCH - 1 {
        publisher.publish("news", "of others").unwrap();
    }
    let mut cx = shards.servers()[0].context();
    cx.publish("news", "first").unwrap();
    cx.send(stream, "second").unwrap();
    shards.servers()[0].turn(Some(Duration::ZERO)).unwrap();
    shards.servers()[0].context().send(stream, "third").unwrap();
    shards.settle();
    assert_eq!(texts(&mut news)[BATCH - 1..], ["first", "second", "third"]);
}

#[test]
fn an_external_log_has_a_gap_at_the_same_place_in_all_loops() {
    let mut config = kept();
    config.topic = config.topic.ids(Ids::Ordered);
    let (mut shards, _) = shards(2, config);
    let mut streams = [0, 1].map(|index| read(&mut shards, index));
    shards.publisher().publish_at("news", Position::new(1, 0), "before").unwrap();
    // This loop has not taken that message from its inbox.
    shards.servers()[0].context().ordered_gap(Position::new(2, 0)).unwrap();
    shards.settle();
    for stream in &mut streams {
        assert_eq!(texts(stream), ["before", ""], "an event, and the gap");
    }
}

#[test]
fn a_loop_that_has_stopped_has_no_streams_for_the_others() {
    let (mut shards, _) = shards(2, kept());
    let _stream = read(&mut shards, 1);
    let streams = |shards: &mut Shards<Router, InMemory>| shards.servers()[0].context().stats().streams;
    assert_eq!(streams(&mut shards), 1);
    // It stops at the end of its turn, the first one in its next turn.
    shards.servers()[0].context().stop();
    shards.servers()[1].turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(streams(&mut shards), 0);
}
