//! The hub in a program that has a server and a publisher in one process.

use crate::support::{Crowd, Heard, Mode, Proxy, RedisServer, ms, now, until};
use mio_sse::{Config, Drain, Event, History, Ids, Publisher, Reply, Router, Server, TopicConfig};
use mio_sse_redis::{Hub, HubConfig, HubError, PublishError};
use std::net::SocketAddr;
use std::sync::mpsc::channel;
use std::thread::{self, JoinHandle};
use std::time::Duration;

/// A server in a thread, which is stopped on drop.
struct Running {
    address: SocketAddr,
    publisher: Publisher,
    thread: Option<JoinHandle<()>>,
}

fn server() -> Server<Router> {
    let mut config = Config::default();
    config.topic = TopicConfig::default().history(History::new().events(100)).ids(Ids::Ordered);
    let mut app = Router::new();
    app.get("/events/{topic}", |request, _cx| {
        Reply::stream().topic(request.param("topic").unwrap_or_default())
    });
    Server::bind_with("127.0.0.1:0", app, config).unwrap()
}

fn run(mut server: Server<Router>) -> Running {
    let (address, publisher) = (server.local_addr().unwrap(), server.publisher());
    let thread = Some(thread::spawn(move || server.run().unwrap()));
    Running { address, publisher, thread }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.publisher.drain(Drain::within(ms(1)));
        let _ = self.thread.take().map(JoinHandle::join);
    }
}

fn attached(url: &str, config: HubConfig) -> (Hub, Running) {
    let hub = Hub::with_config(url, "events", config).unwrap();
    let mut server = server();
    hub.attach(&mut server).unwrap();
    (hub, run(server))
}

fn impatient() -> HubConfig {
    let mut config = HubConfig::default();
    config.publish_timeout = ms(500);
    config.waiting_max = 3;
    config
}

#[test]
fn a_topic_finishes_on_all_nodes_after_its_last_event() {
    let redis = RedisServer::start();
    let nodes = [attached(&redis.url(), HubConfig::default()), attached(&redis.url(), HubConfig::default())];
    let mut crowd = Crowd::new(&[nodes[0].1.address, nodes[1].1.address]);
    for (_, node) in &nodes {
        crowd.join(node.address, &["job"]);
    }
    crowd.until_open();
    let event = nodes[0].0.publish("job", "done job").unwrap();
    let end = nodes[1].0.finish_topic("job").unwrap();
    assert!(event < end);
    crowd.until("the end", |crowd| {
        crowd.listeners.iter().all(|one| one.heard.last() == Some(&Heard::Finished) && one.has("done"))
    });
}

#[test]
fn a_server_begins_with_events_that_were_published_before() {
    let redis = RedisServer::start();
    let (hub, _running) = attached(&redis.url(), HubConfig::default());
    let first = hub.publish("t", "first t").unwrap();
    let second = hub.publish_all(["t", "u"], Event::new().data("second t,u")).unwrap();
    let (_other, running) = attached(&redis.url(), HubConfig::default());
    let mut crowd = Crowd::new(&[]);
    crowd.join(running.address, &["t"]);
    crowd.listeners[0].claim(&first.to_string());
    crowd.until_all_have("second");
    assert_eq!(crowd.listeners[0].events().collect::<Vec<_>>(), [(second, "second t,u")]);
}

#[test]
fn publishing_fails_within_its_timeout_and_says_why() {
    let redis = RedisServer::start();
    let proxy = Proxy::before(&redis);
    let (hub, _running) = attached(&proxy.url(), impatient());
    let own_id = hub.publish("t", Event::new().data("x").id("7"));
    assert!(matches!(own_id, Err(PublishError::Invalid(_))), "{own_id:?}");
    hub.publish("t", "x").unwrap();
    for mode in [Mode::Hold, Mode::Refuse] {
        proxy.set(mode);
        proxy.cut();
        let start = now();
        let late = hub.publish("t", "x");
        assert!(matches!(late, Err(PublishError::TimedOut(_))), "{late:?}");
        let took = start.elapsed();
        assert!(took >= ms(500) && took < Duration::from_secs(10), "{took:?}");
    }
    // The writer is full, and all waiting events fail.
    let (sender, told) = channel();
    let submit = || {
        let sender = sender.clone();
        hub.submit("t", "x", move |result| sender.send(result))
    };
    until("too many", || submit() == Err(PublishError::Full));
    for _ in 0..3 {
        assert!(matches!(
            told.recv_timeout(Duration::from_secs(10)).unwrap(),
            Err(PublishError::TimedOut(_))
        ));
    }
    proxy.set(Mode::Pass);
    until("Redis", || hub.publish("t", "x").is_ok());
    // The key now holds another type.
    let _: redis::Value = redis.ask("DEL events");
    let _: () = redis.ask("SET events x");
    let refused = hub.publish("t", "x");
    assert!(matches!(refused, Err(PublishError::Refused(_))), "{refused:?}");
}

#[test]
fn an_event_that_is_written_twice_after_a_lost_reply_is_delivered_once() {
    let redis = RedisServer::start();
    let (proxy, entries) = (Proxy::before(&redis), || redis.ask::<usize>("XLEN events"));
    let (hub, writing) = attached(&proxy.url(), HubConfig::default());
    let (other, reading) = attached(&redis.url(), HubConfig::default());
    let mut crowd = Crowd::new(&[]);
    crowd.join(writing.address, &["t"]);
    crowd.join(reading.address, &["t"]);
    crowd.until_open();
    hub.publish("t", "first t").unwrap();
    proxy.set(Mode::HoldReplies);
    let (sender, told) = channel();
    hub.submit("t", "twice t", move |result| sender.send(result)).unwrap();
    until("the event to be written", || entries() == 2);
    proxy.cut();
    proxy.set(Mode::Pass);
    told.recv_timeout(Duration::from_secs(10)).unwrap().unwrap();
    assert_eq!(entries(), 3);
    hub.publish("t", "last t").unwrap();
    crowd.until_all_have("last");
    for listener in &crowd.listeners {
        let events: Vec<_> = listener.events().map(|(_, data)| data).collect();
        assert_eq!(events, ["first t", "twice t", "last t"]);
    }
    assert_eq!((hub.stats().duplicates, other.stats().duplicates), (1, 1));
}

#[test]
fn attach_reports_an_error_and_can_be_repeated() {
    assert!(matches!(Hub::new("http://x", "events"), Err(HubError::Url(_))));
    let mut redis = RedisServer::start();
    let _: () = redis.ask("SET events x");
    let hub = Hub::new(&redis.url(), "events").unwrap();
    let mut server = server();
    let attach = |server: &mut _| hub.attach(server);
    assert!(matches!(attach(&mut server), Err(HubError::Redis(_))));
    redis.kill();
    assert!(matches!(attach(&mut server), Err(HubError::Redis(_))));
    redis.restart();
    assert_eq!(attach(&mut server), Ok(()));
    assert_eq!(attach(&mut server), Err(HubError::Attached));
}

#[test]
fn nothing_is_left_of_a_hub_that_is_dropped_or_whose_server_has_stopped() {
    let redis = RedisServer::start();
    let connections = || redis.ask::<String>("CLIENT LIST").lines().count() - 1;
    let (hub, running) = attached(&redis.url(), HubConfig::default());
    hub.publish("t", "x").unwrap();
    assert_eq!(connections(), 2);
    drop(hub);
    until("the connections to end", || connections() == 0);
    drop(running);

    let (hub, running) = attached(&redis.url(), HubConfig::default());
    hub.publish("t", "x").unwrap();
    drop(running);
    until("the connections to end", || connections() == 0);
    assert_eq!(hub.publish("t", "x"), Err(PublishError::Stopped));
}
