//! How streams close: by either side, once, with the reason, and nothing is left behind.

use crate::memory_net::{Loop, get};
use crate::support::{Client, Running, serve, serve_with};
use mio_sse::{
    CloseReason, Config, Context, Error, Event, Handler, Reply, Request, Router, Server, StreamId,
};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// Events of the run, in order.
#[derive(Clone, Default)]
struct Journal(Arc<Mutex<(Vec<String>, Vec<StreamId>)>>);

impl Journal {
    fn note(&self, entry: impl Into<String>) {
        self.0.lock().unwrap().0.push(entry.into());
    }

    fn take(&self) -> Vec<String> {
        std::mem::take(&mut self.0.lock().unwrap().0)
    }

    /// The stream that was opened last.
    fn stream(&self) -> StreamId {
        *self.0.lock().unwrap().1.last().expect("a stream was opened")
    }
}

/// Every request opens a stream on topic `t`. All calls are recorded.
struct Noting(Journal);

impl Handler for Noting {
    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
        let (journal, stream) = (self.0.clone(), cx.stream().unwrap());
        cx.on_close(stream, move |reason, _cx| journal.note(format!("on_close {reason:?}"))).unwrap();
        match request.path() {
            "/close-delimited" => Reply::stream().topic("t").close_delimited().into(),
            "/refused" => Reply::status(403),
            _ => Reply::stream().topic("t").into(),
        }
    }

    fn opened(&mut self, stream: StreamId, _request: &Request<'_>, _cx: &mut Context<'_>) {
        self.0.note("opened");
        self.0.0.lock().unwrap().1.push(stream);
    }

    fn closed(&mut self, stream: StreamId, reason: CloseReason, cx: &mut Context<'_>) {
        assert_eq!(cx.send(stream, Event::new().data("x")), Err(Error::Closed));
        assert_eq!(cx.close(stream), Err(Error::Closed));
        self.0.note(format!("closed {reason:?}"));
    }
}

fn noting() -> (Running, Journal) {
    let journal = Journal::default();
    (serve(Noting(journal.clone())), journal)
}

/// Opens a stream, and waits until it is open.
fn open(server: &Running, path: &str) -> Client {
    let mut client = server.connect();
    assert_eq!(client.get(path).status, 200);
    client.wait_for_body(":\n");
    client
}

fn gone(server: &Running) {
    server.wait_for("nothing is left", |stats| {
        (stats.streams, stats.connections, stats.topics) == (0, 0, 0)
            && stats.streams_opened == stats.streams_closed()
    });
}

#[test]
fn a_peer_that_closes_closes_its_stream_once() {
    let (server, journal) = noting();
    drop(open(&server, "/"));
    gone(&server);
    assert_eq!(journal.take(), ["opened", "on_close PeerClosed", "closed PeerClosed"]);
}

#[test]
fn callbacks_for_the_end_of_a_stream_are_called_in_the_order_they_were_added() {
    let (server, journal) = noting();
    let client = open(&server, "/stream");
    let (stream, again) = (journal.stream(), journal.clone());
    let add = move |cx: &mut Context<'_>| {
        for count in 1..=3 {
            let journal = again.clone();
            cx.on_close(stream, move |_reason, _cx| journal.note(format!("{count}"))).unwrap();
        }
    };
    server.publisher.run(add).unwrap();
    drop(client);
    gone(&server);
    assert_eq!(journal.take(), ["opened", "on_close PeerClosed", "1", "2", "3", "closed PeerClosed"]);
}

#[test]
fn a_peer_that_resets_closes_its_stream_once() {
    let (server, journal) = noting();
    open(&server, "/").reset();
    gone(&server);
    assert_eq!(journal.take(), ["opened", "on_close Reset", "closed Reset"]);
}

#[test]
fn a_half_closed_peer_is_gone() {
    let (server, journal) = noting();
    let mut client = open(&server, "/");
    client.shutdown_write();
    client.wait_for_close();
    gone(&server);
    assert_eq!(journal.take(), ["opened", "on_close PeerClosed", "closed PeerClosed"]);
}

#[test]
fn a_write_that_fails_closes_the_stream_once() {
    let journal = Journal::default();
    let mut world = Loop::new(Noting(journal.clone()));
    let peer = world.connect();
    peer.write(get("/"));
    world.settle();
    // The write reports the reset: there is no readiness event before it.
    peer.reset_silently();
    world.server.context().publish("t", Event::new().data("x")).unwrap();
    world.settle();
    assert!(peer.is_closed());
    assert_eq!(journal.take(), ["opened", "on_close Reset", "closed Reset"]);
    assert_eq!(world.server.stats().connections, 0);
}

#[test]
fn a_stream_that_was_refused_is_neither_opened_nor_closed() {
    let (server, journal) = noting();
    assert_eq!(server.connect().get("/refused").status, 403);
    assert_eq!(server.stats().streams_opened, 0);
    assert!(journal.take().is_empty());
}

#[test]
fn a_server_close_sends_all_events_and_the_last_chunk_and_keeps_the_connection() {
    let (server, journal) = noting();
    let mut client = open(&server, "/");
    let stream = journal.stream();
    server
        .publisher
        .run(move |cx| {
            cx.publish("t", Event::new().data("farewell"))?;
            cx.close(stream)?;
            assert_eq!(cx.close(stream), Err(Error::Closed), "closed is closed");
            cx.publish("t", Event::new().data("too late"))
        })
        .unwrap();
    let events = client.events_to_end();
    assert_eq!(events.iter().map(|event| &event.data).collect::<Vec<_>>(), ["farewell"]);
    assert_eq!(client.get("/").status, 200);
    client.wait_for_body(":\n");
    assert_eq!(journal.take(), ["opened", "on_close Application", "closed Application", "opened"]);
    assert_eq!(server.stats().connections, 1);
}

#[test]
fn a_close_delimited_stream_ends_with_the_connection() {
    let mut app = Router::new();
    app.sse("/", |stream, _request, cx| {
        cx.after(stream, Duration::from_millis(1), |stream, cx| {
            cx.send(stream, Event::new().data("last"))?;
            cx.close(stream)
        })?;
        Ok::<_, Error>(Reply::stream().close_delimited())
    });
    let server = serve(app);
    let mut client = server.connect();
    let head = client.get("/");
    assert_eq!((head.get("Connection"), head.get("Transfer-Encoding")), (Some("close"), None));
    let events = client.events_to_end();
    assert_eq!(events.len(), 1);
    assert_eq!(client.body_text(), ":\ndata: last\n\n");
    drop(client);
    gone(&server);
}

#[test]
fn closing_waits_for_a_slow_reader_but_is_reported_at_once() {
    let journal = Journal::default();
    let mut world = Loop::new(Noting(journal.clone()));
    let peer = world.connect();
    peer.write(get("/"));
    world.settle();
    peer.read();
    peer.set_room(3);
    world.server.context().publish("t", Event::new().data("begun")).unwrap();
    world.settle();
    world.server.context().close(journal.stream()).unwrap();
    world.settle();
    assert_eq!(journal.take(), ["opened", "on_close Application", "closed Application"]);
    assert!(!peer.is_closed());
    peer.set_room(usize::MAX);
    world.settle();
    assert!(peer.read().ends_with("data: begun\n\n\r\n0\r\n\r\n"));
    peer.close();
    world.settle();
    assert!(peer.is_closed());
    assert!(journal.take().is_empty(), "reported once");
}

#[test]
fn a_stream_id_never_names_another_stream() {
    let journal = Journal::default();
    let mut world = Loop::new(Noting(journal.clone()));
    let peer = world.connect();
    peer.write(get("/"));
    world.settle();
    let old = journal.stream();
    // The same connection, and so the same slot, carries the next stream.
    world.server.context().close(old).unwrap();
    peer.write(get("/"));
    world.settle();
    let second = journal.stream();
    // Another connection uses the slot again.
    peer.close();
    world.settle();
    let other = world.connect();
    other.write(get("/"));
    world.settle();
    let third = journal.stream();
    other.read();
    for stale in [old, second] {
        assert_ne!(stale, third);
        let mut cx = world.server.context();
        assert_eq!(cx.send(stale, Event::new().data("x")), Err(Error::Closed));
        assert_eq!(cx.close(stale), Err(Error::Closed));
        assert_eq!(cx.subscribe(stale, "t"), Err(Error::Closed));
        assert_eq!(cx.unsubscribe(stale, "t"), Err(Error::Closed));
        assert_eq!(cx.on_close(stale, |_, _| ()), Err(Error::Closed));
        assert!(cx.every(stale, Duration::from_secs(1), |_, _| ()).is_err());
        assert!(cx.after(stale, Duration::from_secs(1), |_, _| ()).is_err());
    }
    world.settle();
    assert_eq!(other.read(), "");
    world.server.context().send(third, Event::new().data("x")).unwrap();
    world.settle();
    assert_eq!(other.read(), "9\r\ndata: x\n\n\r\n");
}

#[test]
fn a_stream_closed_in_its_own_handler_is_still_complete() {
    let journal = Journal::default();
    let mut app = Router::new();
    let noting = journal.clone();
    app.sse("/", move |stream, _request, cx| {
        let noting = noting.clone();
        cx.on_close(stream, move |reason, _cx| noting.note(format!("{reason:?}")))?;
        cx.send(stream, Event::new().data("only"))?;
        cx.close(stream)?;
        assert_eq!(cx.send(stream, Event::new().data("more")), Err(Error::Closed));
        Ok::<_, Error>(())
    });
    let server = serve(app);
    let mut client = server.connect();
    assert_eq!(client.get("/").status, 200);
    assert_eq!(client.events_to_end().len(), 1);
    assert_eq!(client.get("/missing").status, 404, "the connection goes on");
    assert_eq!(journal.take(), ["Application"]);
}

#[test]
fn callbacks_may_close_other_streams() {
    /// Each stream that closes closes all others.
    struct Together(Vec<StreamId>, Journal);

    impl Handler for Together {
        fn request(&mut self, _request: &Request<'_>, _cx: &mut Context<'_>) -> Reply {
            Reply::stream().into()
        }

        fn opened(&mut self, stream: StreamId, _request: &Request<'_>, _cx: &mut Context<'_>) {
            self.0.push(stream);
        }

        fn closed(&mut self, stream: StreamId, reason: CloseReason, cx: &mut Context<'_>) {
            self.1.note(format!("{reason:?}"));
            self.0.retain(|other| *other != stream);
            if let Some(next) = self.0.first() {
                cx.close(*next).unwrap();
            }
        }
    }

    let journal = Journal::default();
    let server = serve(Together(Vec::new(), journal.clone()));
    let mut clients: Vec<_> = (0..5).map(|_| open(&server, "/")).collect();
    drop(clients.remove(2));
    for client in &mut clients {
        client.events_to_end();
    }
    drop(clients);
    gone(&server);
    assert_eq!(journal.take(), ["PeerClosed", "Application", "Application", "Application", "Application"]);
}

#[test]
fn stopping_closes_every_stream_cleanly() {
    let (server, journal) = noting();
    let mut clients = [open(&server, "/"), open(&server, "/close-delimited")];
    journal.take();
    server.stop();
    for client in &mut clients {
        assert!(client.events_to_end().is_empty());
    }
    let mut entries = journal.take();
    entries.sort();
    assert_eq!(entries, ["closed Stopped", "closed Stopped", "on_close Stopped", "on_close Stopped"]);
}

#[test]
fn a_server_that_is_dropped_reports_its_streams() {
    let journal = Journal::default();
    let mut world = Loop::new(Noting(journal.clone()));
    let (peer, ending) = (world.connect(), world.connect());
    ending.write(get("/"));
    world.settle();
    ending.set_room(0);
    world.server.context().close(journal.stream()).unwrap();
    world.settle();
    peer.write(get("/"));
    world.settle();
    assert_eq!(journal.take(), ["opened", "on_close Application", "closed Application", "opened"]);
    drop(world);
    assert_eq!(journal.take(), ["on_close Stopped", "closed Stopped"]);
    assert!(peer.is_closed() && ending.is_closed());
    assert!(peer.read().ends_with("0\r\n\r\n"));
}

#[test]
fn an_inherited_listener_is_served() {
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut server = Server::from_listener(listener, Noting(Journal::default()), Config::default()).unwrap();
    let publisher = server.publisher();
    let thread = std::thread::spawn(move || server.run());
    assert_eq!(Client::connect(address).get("/refused").status, 403);
    publisher.run(|cx| cx.stop()).unwrap();
    thread.join().unwrap().unwrap();
}

#[test]
fn limits_that_make_no_sense_are_refused() {
    let mut config = Config::default();
    config.sends_per_turn = 0;
    let error = Server::bind_with("127.0.0.1:0", Router::new(), config).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    assert_eq!(error.to_string(), "Config::sends_per_turn must not be 0");
}

#[test]
fn an_accept_that_fails_is_retried_without_spinning() {
    let mut world = Loop::new(Noting(Journal::default()));
    world.fail_accept(std::io::ErrorKind::OutOfMemory);
    world.fail_accept(std::io::ErrorKind::ConnectionAborted);
    let peer = world.connect();
    peer.write(get("/"));
    world.settle();
    assert_eq!(peer.read(), "", "not before the delay");
    world.pass(Duration::from_millis(100));
    assert!(peer.read().starts_with("HTTP/1.1 200 OK"));
    assert_eq!(world.server.stats().accept_errors, 1);
    assert_eq!(world.server.next_timeout().map(|timeout| timeout.is_zero()), Some(false));
}

#[test]
fn coming_and_going_leaves_nothing_behind() {
    let mut config = Config::default();
    config.accepts_per_turn = 7;
    let server = serve_with(Noting(Journal::default()), config);
    for round in 0..20 {
        let clients: Vec<_> = (0..20).map(|_| open(&server, "/")).collect();
        server.publisher.publish("t", Event::new().data("x")).unwrap();
        for (n, client) in clients.into_iter().enumerate() {
            if (n + round) % 2 == 0 { client.reset() } else { drop(client) }
        }
    }
    gone(&server);
    let stats = server.stats();
    assert_eq!(stats.streams_opened, 400);
    assert_eq!(stats.closed(CloseReason::PeerClosed) + stats.closed(CloseReason::Reset), 400);
}

/// The stats count `topics` as topics with a subscriber, until the end of the turn.
#[test]
fn a_topic_without_a_subscriber_is_not_counted() {
    struct Last(Option<u64>);
    impl Handler for Last {
        fn request(&mut self, _request: &Request<'_>, _cx: &mut Context<'_>) -> Reply {
            Reply::stream().topic("a").into()
        }
        fn closed(&mut self, _stream: StreamId, _reason: CloseReason, cx: &mut Context<'_>) {
            assert_eq!(cx.subscribers("a"), 0);
            self.0 = Some(cx.stats().topics);
        }
    }
    let mut world = Loop::new(Last(None));
    let peer = world.connect();
    peer.write(get("/"));
    world.settle();
    peer.reset();
    world.settle();
    assert_eq!(world.server.handler().0, Some(0));
}

#[test]
fn open_streams_can_be_listed() {
    let mut app = Router::new();
    app.get("/{topic}", |request, cx| {
        let (stream, topic) = (cx.stream().unwrap(), request.param("topic").unwrap_or_default().to_owned());
        assert!(cx.is_open(stream), "it may be sent to already");
        Reply::stream().topic(topic).tag("all")
    });
    let mut world = Loop::<_, true>::new(app);
    let peers: Vec<_> = ["a", "b", "a"].into_iter().map(|topic| (world.connect(), topic)).collect();
    for (peer, topic) in &peers {
        peer.write(get(&format!("/{topic}")));
        world.settle();
    }
    let mut cx = world.server.context();
    let all: Vec<_> = cx.streams_tagged("all").collect();
    let [last, middle, first] = all[..] else { panic!("{all:?}") };
    assert_eq!(cx.streams("a").collect::<std::collections::BTreeSet<_>>(), [first, last].into());
    assert_eq!(cx.streams("b").collect::<Vec<_>>(), [middle]);
    assert_eq!((cx.streams("c").count(), cx.streams_tagged("nobody").count()), (0, 0));
    // A closed stream is no longer open, though the end of its body waits for room.
    peers[2].0.set_room(0);
    cx.publish("a", Event::new().data("on its way")).unwrap();
    cx.close(last).unwrap();
    assert!(!cx.is_open(last) && cx.is_open(first));
    assert_eq!(cx.streams("a").collect::<Vec<_>>(), [first]);
    peers[0].0.close();
    world.settle();
    let cx = world.server.context();
    assert!(!cx.is_open(first) && cx.is_open(middle));
    assert_eq!((cx.streams("a").count(), cx.streams_tagged("all").collect::<Vec<_>>()), (0, vec![middle]));
}

/// No name of the library is ambiguous if everything is imported.
mod with_everything_imported {
    use mio_sse::*;

    #[test]
    fn constructors_of_replies_set_status_and_body() {
        assert_eq!(Reply::text("a").into_reply().status_code(), 200);
        assert_eq!(Ok::<_, Error>(Reply::stream()).into_reply().status_code(), 200);
    }
}
