//! Topics with a pace: streams get all events of an interval together, and no more often than that.

use mio_sse::net::InMemory;
use mio_sse::{
    Answer, Config, Context, Error, Event, RawRequest, Reply, Request, Router, Server, TopicConfig,
};
use std::time::Duration;

const PACE: Duration = Duration::from_millis(250);

fn server(topic: TopicConfig) -> Server<Router, InMemory> {
    let mut app = Router::new();
    app.get("/", |_: &Request<'_>, _: &mut Context<'_>| Reply::stream().topic("prices"));
    let mut config = Config::default();
    config.topic = topic.pace(PACE);
    Server::in_memory(app, config).unwrap()
}

fn open(server: &mut Server<Router, InMemory>) -> Answer {
    server.ask(RawRequest::get("/").unwrap())
}

fn publish(server: &mut Server<Router, InMemory>, event: impl Into<Event<'static>>) {
    server.context().publish("prices", event).unwrap();
    server.settle();
}

fn data(answer: &mut Answer) -> Vec<String> {
    answer.events().into_iter().map(|event| event.data.unwrap_or_default().into_owned()).collect()
}

fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

#[test]
fn the_first_event_comes_at_once_and_those_that_follow_sooner_together() {
    let mut server = server(TopicConfig::default());
    let mut clients = [open(&mut server), open(&mut server)];
    publish(&mut server, "1");
    for client in &mut clients {
        assert_eq!(data(client), ["1"]);
    }
    for number in 2..6 {
        server.advance(ms(50));
        publish(&mut server, number.to_string());
        assert!(data(&mut clients[0]).is_empty(), "{number} is too early");
    }
    server.advance(ms(49));
    assert!(data(&mut clients[0]).is_empty());
    server.advance(ms(1));
    for client in &mut clients {
        assert_eq!(data(client), ["2", "3", "4", "5"]);
    }
    // Each wave restarts the interval.
    server.advance(ms(100));
    publish(&mut server, "6");
    assert!(data(&mut clients[0]).is_empty());
    server.advance(ms(150));
    assert_eq!(data(&mut clients[0]), ["6"]);
    server.advance(PACE);
    publish(&mut server, "7");
    assert_eq!(data(&mut clients[1]), ["6", "7"]);
}

#[test]
fn of_each_key_only_the_newest_comes() {
    let mut server = server(TopicConfig::default().keyed());
    let mut client = open(&mut server);
    let price = |symbol: &'static str, price: u32| Event::new().data(format!("{symbol} {price}")).key(symbol);
    for number in 0..20 {
        publish(&mut server, price("a", number));
        publish(&mut server, price("b", 2 * number));
    }
    assert_eq!(data(&mut client), ["a 0"], "the first");
    server.advance(PACE);
    assert_eq!(data(&mut client), ["a 19", "b 38"]);
    publish(&mut server, price("a", 20));
    publish(&mut server, Event::new().data("b is gone").key("b").removes_key());
    publish(&mut server, price("a", 21));
    server.advance(PACE);
    assert_eq!(data(&mut client), ["b is gone", "a 21"]);
}

#[test]
fn waiting_events_come_before_private_ones_and_before_the_close() {
    let mut server = server(TopicConfig::default());
    let mut clients = [open(&mut server), open(&mut server), open(&mut server)];
    publish(&mut server, "1");
    publish(&mut server, "2");
    let streams: Vec<_> = server.context().streams("prices").collect();
    server.context().send(streams[0], "to you alone").unwrap();
    server.context().close(streams[1]).unwrap();
    server.settle();
    assert_eq!(data(&mut clients[0]), ["1", "2", "to you alone"]);
    assert_eq!(data(&mut clients[1]), ["1", "2"]);
    assert!(clients[1].is_over());
    assert_eq!(data(&mut clients[2]), ["1"]);
    server.context().finish_topic("prices").unwrap();
    server.settle();
    assert_eq!(data(&mut clients[2]), ["2"]);
    assert!(clients[2].is_over() && clients[0].is_over() && data(&mut clients[0]).is_empty());
}

#[test]
fn too_many_waiting_events_are_sent_early_and_nothing_is_held_in_the_end() {
    let mut server = server(TopicConfig::default());
    let mut client = open(&mut server);
    let part = "x".repeat(300_000);
    for number in 0..5 {
        server.context().publish("prices", format!("{number} {part}")).unwrap();
        server.settle();
        let expected = usize::from(number == 0 || number == 4);
        assert_eq!(data(&mut client).len().min(1), expected, "{number}");
    }
    // A stream that lags gets the rest when there is room, without waiting for the pace.
    server.settle();
    assert!(data(&mut client).len() < 5);
    server.settle();
    publish(&mut server, "the last");
    assert!(data(&mut client).is_empty());
    server.context().configure("prices", TopicConfig::default()).unwrap();
    server.advance(PACE);
    assert_eq!(data(&mut client), ["the last"]);
    assert_eq!(server.stats().memory.total(), 0);
    publish(&mut server, "another");
    assert_eq!(data(&mut client), ["another"], "it no longer has a pace");

    server.context().configure("prices", TopicConfig::default().pace(PACE)).unwrap();
    publish(&mut server, "paced");
    publish(&mut server, "for nobody");
    server.context().stop();
    server.settle();
    assert_eq!(
        (data(&mut client), server.stats().memory.total()),
        (vec!["paced".to_owned(), "for nobody".into()], 0)
    );
}

#[test]
fn a_pace_that_makes_no_sense_is_refused() {
    let mut server = server(TopicConfig::default());
    for pace in [Duration::ZERO, Duration::from_micros(999), ms(10_001), Duration::MAX] {
        let refused = server.context().configure("prices", TopicConfig::default().pace(pace));
        assert!(matches!(refused, Err(Error::InvalidConfig(_))), "{pace:?}: {refused:?}");
    }
}
