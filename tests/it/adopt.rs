//! Connections that another server has accepted: they continue as if all their bytes had been read here.

use crate::memory_net::{Loop, Peer, check_accounts, get, subscribe};
use crate::support::{Client, DEADLINE, Running, ms, now, replies, secs, serve, serve_with};
use mio_sse::{
    CloseReason, Config, Drain, Error, Event, NotAdopted, RawRequest, Refusal, Reply, Router, Server,
};
use proptest::prelude::*;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;
use std::time::Duration;

fn app() -> Router {
    let mut app = Router::new();
    app.get("/page", |_request, _cx| Reply::text("page"));
    app.post("/echo", |request, _cx| Reply::text(String::from_utf8(request.body().to_vec()).unwrap()));
    app.get("/stays", |_request, _cx| Reply::stream().finish());
    app.sse("/events", |stream, request, cx| {
        let last = request.last_event_id().map_or("nothing".into(), |id| id.into_owned());
        cx.send(stream, Event::new().data(format!("after {last}")))?;
        Ok::<_, Error>(Reply::stream().topic("t"))
    });
    app
}

/// The two ends of an accepted connection.
fn accepted() -> (Client, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let client = Client::connect(listener.local_addr().unwrap());
    (client, listener.accept().unwrap().0)
}

/// A client whose connection has been handed over.
fn hand_over(server: &Running, input: impl Into<Vec<u8>>) -> Client {
    let (client, socket) = accepted();
    server.publisher.adopt(socket, input).unwrap();
    client
}

/// Turns the loop until a request has arrived.
fn turn_until_asked(server: &mut Server<Router>) {
    let deadline = now() + DEADLINE;
    while server.stats().requests == 0 {
        assert!(now() < deadline, "a request");
        server.turn(Some(ms(10))).unwrap();
    }
}

fn text(text: &str) -> (u16, String) {
    (200, text.to_owned())
}

// Over real sockets.

#[test]
fn a_server_without_a_listener_serves_adopted_connections_and_drains() {
    let mut server = Server::without_listener(app(), Config::default()).unwrap();
    let error = server.local_addr().unwrap_err();
    assert_eq!(error.to_string(), "the server does not listen on TCP");
    let publisher = server.publisher();
    let running = thread::spawn(move || server.run());
    let (mut client, socket) = accepted();
    publisher.adopt(socket, get("/page")).unwrap();
    assert_eq!(client.reply().1, "page");
    let (mut stream, socket) = accepted();
    publisher.adopt(socket, subscribe("/events")).unwrap();
    stream.head();
    assert_eq!(stream.data(1), ["after nothing"]);
    drop(client);
    publisher.drain(secs(1)).unwrap();
    stream.events_to_end();
    drop(stream);
    running.join().unwrap().unwrap();
}

#[test]
fn a_host_in_another_thread_answers_its_pages_and_hands_its_streams_over() {
    let server = serve(app());
    let publisher = server.publisher.clone();
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let host = thread::spawn(move || {
        for _ in 0..2 {
            let (mut socket, _) = listener.accept().unwrap();
            let mut input = Vec::new();
            while !input.ends_with(b"\r\n\r\n") {
                let mut byte = [0];
                socket.read_exact(&mut byte).unwrap();
                input.push(byte[0]);
            }
            if input.starts_with(b"GET /events ") {
                publisher.adopt(socket, input).unwrap();
            } else {
                let page = "HTTP/1.1 200 OK\r\nContent-Length: 4\r\nConnection: close\r\n\r\nhost";
                socket.write_all(page.as_bytes()).unwrap();
            }
        }
    });
    let mut reader = Client::connect(address);
    let mut watcher = Client::connect(address);
    assert_eq!(reader.get_text("/"), "host");
    watcher.write("GET /events HTTP/1.1\r\nHost: x\r\nLast-Event-ID: 7\r\n\r\n");
    assert_eq!(watcher.head().status, 200);
    assert_eq!(watcher.data(1), ["after 7"]);
    server.publisher.publish("t", Event::new().data("to all")).unwrap();
    assert_eq!(watcher.data(2), ["after 7", "to all"]);
    host.join().unwrap();
    let stats = server.stats();
    assert_eq!((stats.accepted, stats.connections, stats.streams), (1, 1, 1), "{stats:?}");
}

#[test]
fn a_parsed_request_is_written_as_bytes_again() {
    let server = serve(app());
    let request = RawRequest::get("/events").unwrap().header("Last-Event-ID", "a b").unwrap();
    let mut client = hand_over(&server, request);
    assert_eq!(client.head().get("Connection"), Some("close"));
    assert_eq!(client.data(1), ["after a b"]);
    drop(client);
    let request = RawRequest::new("POST", "/echo").unwrap().header("Content-Length", "9").unwrap();
    let mut client = hand_over(&server, request.body("body"));
    assert_eq!(replies(&client.to_end()), [text("body")]);
}

#[test]
fn bytes_that_the_host_has_not_read_are_read_from_the_socket() {
    let server = serve(app());
    for (read, unread) in [("", get("/page")), ("GET /pa", "ge HTTP/1.1\r\nHost: x\r\n\r\n".to_owned())] {
        // It has arrived before the loop waits.
        let (mut client, socket) = accepted();
        client.write(&unread);
        let mut seen = vec![0; unread.len()];
        while socket.peek(&mut seen).unwrap() < seen.len() {}
        server.publisher.adopt(socket, read).unwrap();
        assert_eq!(client.reply().1, "page");
        // The next request arrives while the loop waits.
        assert_eq!(client.get_text("/page"), "page");
    }
    // It arrives while the loop waits.
    let mut client = hand_over(&server, "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 8\r\n\r\nhalf");
    server.wait_for("the connection is there", |stats| stats.accepted == 3);
    client.write("half");
    assert_eq!(client.reply().1, "halfhalf");
}

#[test]
fn a_socket_that_blocks_does_not_block_the_loop() {
    let mut config = Config::default();
    config.send_buffer_bytes = Some(8192);
    config.lag_bytes_max = 64 << 20;
    let server = serve_with(app(), config);
    let (mut client, socket) = accepted();
    socket.set_nonblocking(false).unwrap();
    server.publisher.adopt(socket, get("/events")).unwrap();
    assert_eq!(client.data_of_stream(), ["after nothing"]);
    // More than the socket of a peer that does not read can take.
    for _ in 0..16 {
        server.publisher.publish("t", Event::new().data("x".repeat(1 << 20))).unwrap();
    }
    server.wait_for("there is no room", |stats| stats.streams_behind == 1);
    assert_eq!(server.connect().get_text("/page"), "page", "others are served");
    drop(client);
    server.wait_for("the client has left", |stats| stats.streams == 0);
}

#[test]
fn a_peer_that_has_left_is_counted_as_that() {
    let server = serve(app());
    let (client, socket) = accepted();
    drop(client);
    server.publisher.adopt(socket, "GET /pa").unwrap();
    let stats = server.wait_for("the end is seen", |stats| stats.all_closed() == 1);
    assert_eq!(stats.connections_closed(CloseReason::PeerClosed), 1, "{stats:?}");
    let (client, socket) = accepted();
    client.reset();
    // The reset has arrived.
    while socket.peer_addr().is_ok() {
        thread::yield_now();
    }
    server.publisher.adopt(socket, get("/events")).unwrap();
    let stats = server.wait_for("the reset is seen", |stats| stats.all_closed() == 2);
    assert_eq!((stats.accepted, stats.accept_errors), (2, 0), "{stats:?}");
}

#[test]
fn the_loop_is_woken_from_its_sleep() {
    let mut server = Server::bind("127.0.0.1:0", app()).unwrap();
    let publisher = server.publisher();
    server.turn(Some(Duration::ZERO)).unwrap();
    let (mut client, socket) = accepted();
    let host = thread::spawn(move || publisher.adopt(socket, get("/page")).unwrap());
    // Nothing else can end this wait.
    while server.stats().accepted == 0 {
        server.turn(Some(DEADLINE)).unwrap();
    }
    host.join().unwrap();
    turn_until_asked(&mut server);
    assert_eq!(client.reply().1, "page");
}

#[test]
fn a_full_inbox_returns_the_connection_if_the_caller_must_not_wait() {
    let mut config = Config::default();
    config.inbox_max = 1;
    let mut server = Server::bind_with("127.0.0.1:0", app(), config).unwrap();
    let publisher = server.publisher();
    publisher.publish("t", Event::new().data("takes the room")).unwrap();
    let (mut client, socket) = accepted();
    let NotAdopted { error, socket, input } = publisher.try_adopt(socket, get("/page")).unwrap_err();
    assert_eq!((error, &*input), (Error::Full, get("/page").as_bytes()));
    // A caller that may wait does, until there is room.
    assert_eq!(server.stats().inbox_full, 1);
    let host = thread::spawn(move || publisher.adopt(socket, input));
    let deadline = now() + DEADLINE;
    while server.stats().inbox_full == 1 {
        assert!(now() < deadline, "it finds no room");
        thread::yield_now();
    }
    turn_until_asked(&mut server);
    host.join().unwrap().unwrap();
    assert_eq!(client.reply().1, "page");
}

#[test]
fn after_the_stop_the_connection_is_closed() {
    let mut server = Server::bind("127.0.0.1:0", app()).unwrap();
    let publisher = server.publisher();
    // This one is in the inbox when the server stops.
    let (mut waiting, socket) = accepted();
    server.context().stop();
    server.turn(Some(Duration::ZERO)).unwrap();
    assert!(server.is_stopped());
    let error = server.adopt(socket, get("/page")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Other);
    assert_eq!(error.get_ref().and_then(|error| error.downcast_ref()), Some(&Error::Stopped));
    waiting.wait_for_close();
    let (mut client, socket) = accepted();
    assert_eq!(publisher.adopt(socket, get("/page")), Err(Error::Stopped));
    client.wait_for_close();
    let (mut client, socket) = accepted();
    let mut back = publisher.try_adopt(socket, get("/page")).unwrap_err();
    assert_eq!(back.error, Error::Stopped);
    assert_eq!(back.to_string(), "the connection was not handed over: the server has stopped");
    back.socket.write_all(b"still there").unwrap();
    drop(back);
    assert_eq!(client.to_end(), "still there");
    check_accounts(&server.stats());
}

#[test]
fn connections_in_the_inbox_of_a_dropped_server_are_closed() {
    let server = Server::bind("127.0.0.1:0", app()).unwrap();
    let (mut client, socket) = accepted();
    server.publisher().adopt(socket, get("/page")).unwrap();
    drop(server);
    client.wait_for_close();
}

#[test]
fn a_connection_may_be_handed_over_before_the_first_turn() {
    let mut server = Server::bind("127.0.0.1:0", app()).unwrap();
    let (mut client, socket) = accepted();
    server.adopt(socket, get("/page")).unwrap();
    assert_eq!(server.next_timeout(), Some(Duration::ZERO), "there is something to do");
    server.turn(None).unwrap();
    assert_eq!(client.reply().1, "page");
}

#[test]
fn in_a_drain_adopted_connections_are_refused_and_the_drain_ends() {
    let server = serve(app());
    let mut first = hand_over(&server, get("/stays"));
    assert_eq!(first.head().status, 200);
    server.publisher.drain(Drain::within(secs(600)).retry(secs(3))).unwrap();
    let mut page = hand_over(&server, get("/page"));
    assert_eq!(page.head().get("Connection"), Some("close"));
    let mut stream = hand_over(&server, subscribe("/events"));
    let head = stream.head();
    assert_eq!((head.status, head.get("Connection")), (200, Some("close")));
    assert!(stream.body(&head).starts_with("retry: "), "it gets a retry time");
    let silent = hand_over(&server, "");
    let stats = server.wait_for("all are there", |stats| stats.accepted == 4);
    assert_eq!(stats.refused(Refusal::Draining), 1, "{stats:?}");
    drop((first, page, stream, silent));
    server.wait_until_stopped();
}

#[test]
fn the_options_are_those_of_an_accepted_connection() {
    let mut config = Config::default();
    config.send_buffer_bytes = Some(8192);
    let server = serve_with(app(), config);
    let (mut client, socket) = accepted();
    let clone = socket2::SockRef::from(&socket).try_clone().unwrap();
    assert!(!clone.tcp_nodelay().unwrap());
    server.publisher.adopt(socket, get("/events")).unwrap();
    assert_eq!(client.data_of_stream(), ["after nothing"]);
    assert!(clone.tcp_nodelay().unwrap());
    assert!(clone.keepalive().unwrap());
    assert!((8192..=16384).contains(&clone.send_buffer_size().unwrap()));
}

impl Client {
    /// Data of the first event of a stream whose head follows.
    fn data_of_stream(&mut self) -> Vec<String> {
        assert_eq!(self.head().status, 200);
        self.data(1)
    }
}

trait AllClosed {
    fn all_closed(&self) -> u64;
}

impl AllClosed for mio_sse::Stats {
    fn all_closed(&self) -> u64 {
        CloseReason::ALL.iter().map(|reason| self.connections_closed(*reason)).sum()
    }
}

// Over a network in memory.

/// Output for a peer, without the dates.
fn answers(peer: &Peer) -> Vec<(u16, String)> {
    replies(&peer.read())
}

#[test]
fn adopted_bytes_are_served_without_further_input() {
    let mut world = Loop::new(app());
    world.settle();
    let peer = world.adopt(format!("{}{}{}", get("/page"), get("/page"), get("/events")));
    world.settle();
    let answers = answers(&peer);
    assert_eq!(answers[..2], [text("page"), text("page")]);
    assert!(answers[2].1.contains("after nothing"), "{answers:?}");
    // Adopting makes the loop look once, and then no more.
    let reads = peer.reads();
    world.settle();
    assert_eq!(peer.reads(), reads);
}

#[test]
fn adopted_bytes_after_a_stream_are_the_next_request() {
    let mut world = Loop::new(app());
    let peer = world.adopt(format!("{}{}", get("/events"), get("/page")));
    world.settle();
    assert_eq!(answers(&peer).len(), 1);
    world.server.context().drain(secs(10)).unwrap();
    world.pass(secs(1));
    // In a drain the connection closes with the stream.
    assert_eq!(answers_of_close(&peer.read()), "0\r\n\r\n");
}

fn answers_of_close(text: &str) -> &str {
    text.split_once("HTTP/1.1").map_or(text, |(before, _)| before)
}

#[test]
fn more_adopted_bytes_after_a_stream_than_a_head_may_have_close_it() {
    let mut config = Config::default();
    config.head_bytes_max = 1024;
    config.target_bytes_max = 1024;
    let mut world = Loop::<_>::with_config(app(), config);
    let peer = world.adopt([get("/events"), "x".repeat(1025)].concat());
    world.settle();
    assert!(peer.is_closed());
    assert_eq!(world.server.stats().connections_closed(CloseReason::ExcessInput), 1);
}

#[test]
fn limits_and_rejections_are_the_same_for_adopted_bytes() {
    let mut config = Config::default();
    config.head_bytes_max = 1024;
    config.target_bytes_max = 1024;
    config.body_bytes_max = 10;
    let cases: [(Vec<u8>, u16); 5] = [
        (format!("GET / HTTP/1.1\r\nHost: x\r\nA: {}", "a".repeat(2000)).into(), 431),
        (b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03".to_vec(), 400),
        (vec![0xFF; 100_000], 501),
        (b"POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\n\r\n".to_vec(), 413),
        (b"GET / HTTP/1.1\r\n\r\n".to_vec(), 400),
    ];
    for (input, status) in cases {
        let mut world = Loop::<_>::with_config(app(), config.clone());
        let peer = world.adopt(input);
        world.settle();
        assert_eq!(answers(&peer)[0].0, status);
        assert!(peer.is_shut());
        peer.close();
        world.settle();
        assert_eq!(world.server.stats().connections_closed(CloseReason::Rejected), 1);
    }
}

#[test]
fn the_time_for_the_request_begins_when_the_connection_is_handed_over() {
    let mut config = Config::default();
    config.head_timeout = secs(10);
    let mut world = Loop::<_>::with_config(app(), config);
    world.settle();
    // The loop has slept for long.
    world.jump(secs(100));
    let begun = world.adopt("GET /pa");
    let silent = world.adopt("");
    world.pass(secs(8));
    assert!(!begun.is_shut() && !silent.is_closed());
    world.pass(secs(3));
    assert_eq!(answers(&begun)[0].0, 408);
    assert!(silent.is_closed());
    assert_eq!(silent.read(), "");
}

#[test]
fn adopted_connections_above_the_limit_are_refused_like_others() {
    let mut config = Config::default();
    config.connections_max = 1;
    let mut world = Loop::<_>::with_config(app(), config);
    let there = world.adopt(get("/events"));
    let told: Vec<_> = (0..8).map(|_| world.adopt(subscribe("/events"))).collect();
    let closed = world.adopt(subscribe("/events"));
    let late = world.connect();
    world.settle();
    assert!(there.read().contains("after nothing"));
    for peer in &told {
        let answer = peer.read();
        assert!(answer.contains("\r\nConnection: close\r\n") && answer.contains("retry: "), "{answer}");
    }
    assert!(closed.is_closed() && late.is_closed());
    let stats = world.server.stats();
    assert_eq!((stats.accepted, stats.refused(Refusal::Connections)), (11, 10), "{stats:?}");
    check_accounts(&stats);
}

#[test]
fn adopted_connections_count_for_the_limit_of_their_address() {
    let mut config = Config::default();
    config.connections_per_address_max = Some(2);
    let mut world = Loop::<_>::with_config(app(), config);
    let peers = [world.adopt(get("/events")), world.connect(), world.adopt(get("/events"))];
    peers[1].write(get("/events"));
    world.settle();
    let streams = peers.iter().filter(|peer| peer.read().contains("after nothing")).count();
    assert_eq!(streams, 2);
    assert_eq!(world.server.stats().refused(Refusal::ConnectionsPerAddress), 1);
    peers.iter().for_each(Peer::close);
    world.settle();
    let peer = world.adopt(get("/events"));
    world.settle();
    assert!(peer.read().contains("after nothing"), "there is room again");
    check_accounts(&world.server.stats());
}

#[test]
fn a_network_that_cannot_take_it_says_so() {
    let mut world = Loop::new(app());
    let (_client, socket) = accepted();
    let error = world.server.adopt(socket, get("/page")).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::Unsupported);
    let (mut client, socket) = accepted();
    world.server.publisher().adopt(socket, get("/page")).unwrap();
    world.settle();
    client.wait_for_close();
    let stats = world.server.stats();
    assert_eq!((stats.accepted, stats.accept_errors), (0, 2), "{stats:?}");
}

/// Shorter than a turn needs to serve them all, so some wait.
#[test]
fn many_adopted_requests_are_served_over_several_turns() {
    let mut config = Config::default();
    config.requests_per_turn = 20;
    let mut world = Loop::<_>::with_config(app(), config);
    let peers: Vec<_> = (0..5).map(|_| world.adopt(get("/page").repeat(30))).collect();
    world.turn();
    let first: Vec<_> = peers.iter().map(|peer| answers(peer).len()).collect();
    assert_eq!(first.iter().sum::<usize>(), 20, "{first:?}");
    world.settle();
    for (peer, first) in peers.iter().zip(first) {
        assert_eq!(answers(peer).len(), 30 - first);
    }
}

proptest! {
    /// Wherever the host has stopped reading, the replies are the same.
    #[test]
    fn the_number_of_bytes_that_the_host_has_read_does_not_matter(cut in any::<prop::sample::Index>(), second in any::<bool>()) {
        let requests = [
            get("/page"),
            "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n".to_owned(),
            "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 4\r\n\r\nbody".to_owned(),
            get("/nothing"),
            "GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n".to_owned(),
        ]
        .concat();
        let (read, unread) = requests.split_at(cut.index(requests.len() + 1));
        let mut world = Loop::new(app());
        let (peer, socket) = world.adoptable();
        if second {
            peer.write(unread);
        }
        world.server.publisher().adopt(socket, read).unwrap();
        world.settle();
        if !second {
            peer.write(unread);
            world.settle();
        }
        let answers = answers(&peer);
        let statuses: Vec<_> = answers.iter().map(|(status, _)| *status).collect();
        prop_assert_eq!(statuses, [200, 200, 200, 404, 200]);
        prop_assert_eq!((&*answers[1].1, &*answers[2].1), ("abc", "body"));
        prop_assert!(peer.is_shut());
    }
}
