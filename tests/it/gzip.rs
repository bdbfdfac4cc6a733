//! Compressed streams: which streams are compressed, and that all of it can be read at any time.

use crate::memory_net::{Loop, Peer};
use crate::support::{Client as Socket, serve_with};
use flate2::bufread::GzDecoder;
use mio_sse::net::InMemory;
use mio_sse::{
    Config, Context, Error, Event, Events, History, Missed, RawRequest, Reply, Request, Router, Server,
    StreamId, TopicConfig,
};
use std::io::{ErrorKind, Read};
use std::time::Duration;

/// The received part of a gzip stream. It is decoded strictly, including its end.
pub(crate) fn gunzip(bytes: &[u8], is_over: bool) -> String {
    let mut text = Vec::new();
    let mut decoder = GzDecoder::new(bytes);
    match decoder.read_to_end(&mut text) {
        Ok(_) => assert!(is_over && decoder.into_inner().is_empty(), "it ends once"),
        Err(error) => assert!(!is_over && error.kind() == ErrorKind::UnexpectedEof, "{error}"),
    }
    String::from_utf8(text).unwrap()
}

/// A client that decodes any content coding.
struct Client {
    answer: mio_sse::Answer,
    is_compressed: bool,
}

impl Client {
    fn text(&mut self) -> String {
        let is_over = self.answer.is_over();
        let body = self.answer.body();
        if self.is_compressed { gunzip(body, is_over) } else { String::from_utf8(body.to_vec()).unwrap() }
    }

    /// The data of its events so far.
    fn data(&mut self) -> Vec<String> {
        let text = self.text();
        text.lines().filter_map(|line| line.strip_prefix("data: ")).map(str::to_owned).collect()
    }
}

fn config() -> Config {
    let mut config = Config::default();
    config.gzip = Some(6);
    config.topic = TopicConfig::default().history(History::new().events(100));
    config
}

fn app() -> Router {
    let mut app = Router::new();
    app.get("/topic/{name}", |request: &Request<'_>, _cx: &mut Context<'_>| {
        Reply::stream().topic(request.param("name").unwrap_or_default())
    });
    app
}

fn open(server: &mut Server<Router, InMemory>, path: &str, headers: &[(&str, &str)]) -> Client {
    let mut request = RawRequest::get(path).unwrap();
    for (name, value) in headers {
        request = request.header(name, value).unwrap();
    }
    let mut answer = server.ask(request);
    assert_eq!(answer.status(), Some(200));
    let is_compressed = answer.header("Content-Encoding").as_deref() == Some("gzip");
    Client { answer, is_compressed }
}

const GZIP: &[(&str, &str)] = &[("Accept-Encoding", "deflate, gzip, br, zstd")];

fn publish(server: &mut Server<Router, InMemory>, topic: &str, event: impl Into<Event<'static>>) {
    server.context().publish(topic, event).unwrap();
    server.settle();
}

#[test]
fn which_streams_are_compressed() {
    let mut app = app();
    app.get("/as-it-is", |_: &Request<'_>, _: &mut Context<'_>| Reply::stream().topic("news").uncompressed());
    app.get("/close-delimited", |_: &Request<'_>, _: &mut Context<'_>| {
        Reply::stream().topic("news").close_delimited()
    });
    app.get("/by-itself", |_: &Request<'_>, _: &mut Context<'_>| {
        Reply::stream().topic("news").header("Content-Encoding", "identity")
    });
    app.get("/both", |_: &Request<'_>, _: &mut Context<'_>| Reply::stream().topic("news").topic("secret"));
    let mut server = Server::in_memory(app, config()).unwrap();
    server.context().configure("secret", config().topic.uncompressed()).unwrap();
    let mut ask = |path: &str, headers| {
        let mut client = open(&mut server, path, headers);
        (client.answer.header("Content-Encoding"), client.answer.header("Vary"))
    };
    let (gzip, vary) = (Some("gzip".to_owned()), Some("Accept-Encoding".to_owned()));
    assert_eq!(ask("/topic/news", GZIP), (gzip, vary.clone()));
    // `Vary` has to be set for clients without gzip, too.
    assert_eq!(ask("/topic/news", &[]), (None, vary.clone()));
    assert_eq!(ask("/topic/news", &[("Accept-Encoding", "gzip;q=0")]), (None, vary));
    for path in ["/topic/secret", "/both", "/as-it-is", "/close-delimited"] {
        assert_eq!(ask(path, GZIP), (None, None), "{path}");
    }
    assert_eq!(ask("/by-itself", GZIP), (Some("identity".into()), None));
    let mut old = server.ask(&b"GET /topic/news HTTP/1.0\r\nAccept-Encoding: gzip\r\n\r\n"[..]);
    assert_eq!((old.status(), old.header("Content-Encoding")), (Some(200), None));

    let mut server = Server::in_memory(self::app(), Config::default()).unwrap();
    let mut client = open(&mut server, "/topic/news", GZIP);
    assert_eq!((client.answer.header("Content-Encoding"), client.answer.header("Vary")), (None, None));
    let mut config = config();
    config.gzip = Some(10);
    let error = Server::in_memory(self::app(), config).unwrap_err().to_string();
    assert!(error.contains("gzip must be from 1 to 9"), "{error}");
}

#[test]
fn each_event_can_be_read_as_soon_as_it_is_sent_whenever_a_stream_has_joined() {
    let mut server = Server::in_memory(app(), config()).unwrap();
    let mut clients: Vec<(Client, usize)> = Vec::new();
    for number in 0..100 {
        if number % 5 == 0 {
            clients.push((open(&mut server, "/topic/ticks", GZIP), number));
            clients.push((open(&mut server, "/topic/ticks", &[]), number));
        }
        publish(&mut server, "ticks", format!("{number} of the ticks that resemble each other very much"));
        for (client, joined) in &mut clients {
            let data = client.data();
            assert_eq!(data.len(), number + 1 - *joined);
            assert!(data.last().unwrap().starts_with(&format!("{number} ")));
        }
    }
    let bytes = |client: &mut Client| client.answer.body().len();
    let (compressed, plain) = (bytes(&mut clients[0].0), bytes(&mut clients[1].0));
    assert!(compressed * 2 < plain, "{compressed} of {plain} bytes");
    server.context().finish_topic("ticks").unwrap();
    server.settle();
    for (client, joined) in &mut clients {
        assert!(client.answer.is_over());
        assert_eq!(client.data().len(), 100 - *joined);
    }
}

#[test]
fn private_events_come_between_events_for_all() {
    let mut server = Server::in_memory(app(), config()).unwrap();
    let mut clients: Vec<_> = (0..4).map(|_| open(&mut server, "/topic/chat", GZIP)).collect();
    let streams: Vec<StreamId> = server.context().streams("chat").collect();
    let mut expected = vec![Vec::new(); 4];
    for number in 0..200 {
        let said = format!("number {number} is said, and said again: number {number}");
        publish(&mut server, "chat", said.clone());
        expected.iter_mut().for_each(|all| all.push(said.clone()));
        let whom = number % 5;
        if let Some(&stream) = streams.get(whom) {
            let said = format!("to you alone: number {number}");
            server.context().send(stream, said.clone()).unwrap();
            expected[whom].push(said);
            if number % 2 == 0 {
                server.settle();
            }
        }
    }
    server.settle();
    for (client, all) in clients.iter_mut().zip(expected) {
        assert_eq!(client.data(), all);
    }
}

#[test]
fn heartbeats_of_both_kinds_and_a_second_topic() {
    for name in [None, Some("ping")] {
        let mut config = config();
        config.topic = TopicConfig::default();
        config.heartbeat = Some(Duration::from_secs(10));
        config.heartbeat_event = name.map(Into::into);
        let mut server = Server::in_memory(app(), config).unwrap();
        server.context().configure("secret", TopicConfig::default().uncompressed()).unwrap();
        let mut clients: Vec<_> = (0..3).map(|_| open(&mut server, "/topic/chat", GZIP)).collect();
        let stream = server.context().streams("chat").next().unwrap();
        for number in 0..40 {
            publish(&mut server, "chat", format!("number {number} of so many"));
            if number % 3 == 0 {
                let before = clients[0].answer.body().len();
                server.advance(Duration::from_secs(15));
                assert!(clients[0].answer.body().len() > before, "something comes while nothing happens");
            }
            if number == 20 {
                server.context().subscribe(stream, "secret").unwrap();
            }
            publish(&mut server, "secret", format!("the password is {number}"));
            for client in &mut clients {
                let data = client.data();
                assert!(data.iter().any(|data| data.ends_with(&format!("{number} of so many"))), "{data:?}");
            }
        }
        let told: Vec<_> =
            clients.iter_mut().map(|client| client.text().matches("the password").count()).collect();
        assert_eq!(told.iter().sum::<usize>(), 20);
        // Data that must not be compressed is in the stream as plain text.
        let reader = told.iter().position(|count| *count > 0).unwrap();
        let body = clients[reader].answer.body();
        let secret = b"data: the password is 39\n\n";
        assert!(body.windows(secret.len()).any(|window| window == secret));
        assert_eq!(clients[0].text().matches("event: ping").count() > 0, name.is_some());
    }
}

#[test]
fn a_client_that_resumes_gets_the_missed_events_or_a_gap() {
    let mut server = Server::in_memory(app(), config()).unwrap();
    let mut first = open(&mut server, "/topic/chat", GZIP);
    publish(&mut server, "chat", "the first");
    let text = first.text();
    let id = text.lines().filter_map(|line| line.strip_prefix("id: ")).next_back().unwrap().to_owned();
    for number in 0..50 {
        publish(&mut server, "chat", format!("number {number} while there was no client"));
    }
    let mut back = open(&mut server, "/topic/chat", &[GZIP[0], ("Last-Event-ID", &id)]);
    assert_eq!(back.data().len(), 50);
    let compressed = back.answer.body().len();
    let mut plain = open(&mut server, "/topic/chat", &[("Last-Event-ID", &id)]);
    assert!(compressed * 3 < plain.answer.body().len());
    for number in 0..100 {
        publish(&mut server, "chat", format!("number {number}"));
    }
    let mut late = open(&mut server, "/topic/chat", &[GZIP[0], ("Last-Event-ID", &id)]);
    assert!(late.text().contains("event: gap\n"), "{}", late.text());
    assert_eq!(late.data().len(), 101, "those that are kept, and a gap");
}

#[test]
fn events_of_sources_and_missed_events_are_compressed() {
    let mut app = Router::new();
    let numbers = || Events::new((0..50).map(|number| Event::from(number.to_string())));
    app.get("/source", move |_: &Request<'_>, _: &mut Context<'_>| {
        Reply::stream().topic("chat").first("a greeting").source(numbers())
    });
    app.get("/missed", |_: &Request<'_>, _: &mut Context<'_>| {
        Reply::stream().topic("chat").first("a greeting")
    });
    app.missed(move |stream, _last, cx| {
        cx.set_source(stream, numbers())?;
        Ok::<_, Error>(Missed::Later)
    });
    let mut server = Server::in_memory(app, config()).unwrap();
    let mut source = open(&mut server, "/source", GZIP);
    assert!(source.answer.is_over(), "a stream ends with its source");
    let mut missed = open(&mut server, "/missed", &[GZIP[0], ("Last-Event-ID", "unknown")]);
    publish(&mut server, "chat", "live");
    assert_eq!(missed.data().pop().unwrap(), "live");
    for mut data in [source.data(), missed.data()] {
        data.retain(|data| data != "live");
        assert_eq!((data.len(), &*data[0], &*data[50]), (51, "a greeting", "49"));
    }
}

#[test]
fn the_connection_carries_the_next_request_after_a_compressed_stream() {
    let mut app = app();
    app.get("/short", |_: &Request<'_>, _: &mut Context<'_>| {
        Reply::stream().first("one").first("two").then_end()
    });
    let server = serve_with(app, config());
    let mut client: Socket = server.connect();
    let mut bodies = Vec::new();
    for _ in 0..3 {
        client.write("GET /short HTTP/1.1\r\nHost: a\r\nAccept-Encoding: gzip\r\n\r\n");
        let head = client.head();
        assert_eq!(head.get("Content-Encoding"), Some("gzip"));
        bodies.push(gunzip(&client.chunks_to_end(), true));
    }
    assert_eq!(bodies, ["data: one\n\ndata: two\n\n"; 3]);
}

/// Streams on a network in memory whose sockets have limited room.
fn crowd(count: usize, config: Config) -> (Loop<Router>, Vec<Peer>) {
    let mut world = Loop::<_, true>::with_config(app(), config);
    let peers = (0..count).map(|_| ask(&mut world, "/topic/chat", "")).collect();
    (world, peers)
}

fn ask(world: &mut Loop<Router>, path: &str, more: &str) -> Peer {
    let peer = world.connect();
    peer.write(format!("GET {path} HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n{more}\r\n"));
    world.settle();
    peer
}

/// The text of a stream that has not ended.
fn text_of(bytes: &[u8]) -> String {
    let head = bytes.windows(4).position(|end| end == b"\r\n\r\n").unwrap() + 4;
    let (mut rest, mut body) = (&bytes[head..], Vec::new());
    while let Some(line) = rest.windows(2).position(|end| end == b"\r\n") {
        let size = usize::from_str_radix(std::str::from_utf8(&rest[..line]).unwrap(), 16).unwrap();
        let Some(chunk) = rest.get(line + 2..line + 2 + size) else { break };
        body.extend_from_slice(chunk);
        rest = rest.get(line + 4 + size..).unwrap_or_default();
    }
    gunzip(&body, false)
}

/// Incompressible data.
fn noise(size: usize) -> String {
    let mut random = fastrand::Rng::with_seed(5);
    (0..size).map(|_| char::from(random.u8(b' '..b'~'))).collect()
}

#[test]
fn a_turn_compresses_no_more_than_its_share() {
    let mut config = config();
    config.topic = TopicConfig::default().history(History::new().bytes(64 << 20));
    let (mut world, first) = crowd(1, config);
    let text = text_of(&first[0].read_bytes());
    let id = text.lines().find_map(|line| line.strip_prefix("id: ")).unwrap().to_owned();
    for number in 0..200 {
        // This shrinks to a thousandth.
        let data = format!("{number} {}", "x".repeat(100_000));
        world.server.context().publish("chat", Event::new().data(data)).unwrap();
        world.settle();
    }
    let back: Vec<_> = (0..3)
        .map(|number| {
            let peer = world.connect();
            let topic = "GET /topic/chat HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip";
            peer.write(format!("{topic}\r\nLast-Event-ID: {id}\r\nX: {number}\r\n\r\n"));
            peer
        })
        .collect();
    let (mut turns, mut before) = (0, world.server.stats().events_delivered);
    while before < 4 * 200 {
        world.turn();
        let delivered = world.server.stats().events_delivered;
        assert!(delivered - before < 30, "{} events of 100 KB in one turn", delivered - before);
        (turns, before) = (turns + 1, delivered);
        assert!(turns < 10_000, "it goes on");
    }
    for peer in back {
        let text = text_of(&peer.read_bytes());
        let numbers = text.lines().filter_map(|line| line.strip_prefix("data: ")?.split(' ').next());
        assert!(numbers.eq((0..200).map(|number| number.to_string())));
    }
}

#[test]
fn encoders_of_idle_topics_are_dropped_before_streams_that_lag() {
    let mut config = config();
    config.memory_max = 16 << 20;
    config.topic = TopicConfig::default();
    config.lag_bytes_max = 64 << 20;
    (config.heartbeat, config.max_age, config.stall_timeout) = (None, None, Duration::from_secs(86_400));
    let (mut world, _) = crowd(0, config);
    let mut peers = Vec::new();
    for number in 0..4 {
        let path = format!("/topic/{number}");
        peers.extend([ask(&mut world, &path, ""), ask(&mut world, &path, "")]);
        for _ in 0..3 {
            world.server.context().publish(&number.to_string(), "an event").unwrap();
            world.settle();
        }
    }
    let at_rest = world.server.stats().memory.logs;
    assert!(at_rest > 4 * (300 << 10), "{at_rest}: there are chains");
    let slow = ask(&mut world, "/topic/slow", "");
    slow.set_room(0);
    for number in 0..2_000 {
        let published = world.server.context().publish("slow", noise(20_000 + number));
        world.settle();
        world.pass(Duration::from_millis(200));
        if published.is_err() || slow.is_closed() {
            break;
        }
    }
    assert!(slow.is_closed(), "it lags");
    world.settle();
    let held = world.server.stats().memory.logs;
    assert!(held < 64 << 10, "{held} bytes");
    // All streams continue.
    for number in 0..4 {
        for count in 0..4 {
            world.server.context().publish(&number.to_string(), format!("later {count}")).unwrap();
            world.settle();
        }
    }
    for peer in &peers {
        let text = text_of(&peer.read_bytes());
        assert_eq!((text.matches("an event").count(), text.matches("later").count()), (3, 4));
    }
}

#[test]
fn a_large_event_is_held_once_for_all_streams_that_are_cut_within_it() {
    let (mut world, peers) = crowd(20, config());
    peers.iter().for_each(|peer| peer.set_room(100));
    world.server.context().publish("chat", noise(300_000)).unwrap();
    world.settle();
    let hands = world.server.stats().memory.hands;
    assert!((200_000..600_000).contains(&hands), "{hands} bytes for 20 streams");
    peers.iter().for_each(|peer| peer.set_room(usize::MAX));
    world.server.context().publish("chat", "the next").unwrap();
    world.settle();
    for peer in peers {
        let text = text_of(&peer.read_bytes());
        assert!(text.contains(&noise(300_000)) && text.ends_with("data: the next\n\n"));
    }
}
