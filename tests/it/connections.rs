//! A connection from its first byte to its last: single and pipelined requests, bodies, replies that do not
//! fit, peers that leave, and timeouts.

use crate::memory_net::{Loop, Peer, get};
use crate::support::{Client, Running, replies, serve};
use mio_sse::{App, CloseReason, Config, Context, Error, Event, Handler, Reply, Request, Router, StreamId};
use proptest::prelude::*;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

/// More than any socket of these tests can take at once.
const LARGE: usize = 16 << 20;

type Ids = Arc<Mutex<Vec<StreamId>>>;

fn app() -> Router {
    app_with_ids(&Ids::default())
}

/// Every stream that is opened puts its id into `ids`.
fn app_with_ids(ids: &Ids) -> Router {
    let mut app = Router::new();
    app.get("/echo/{text}", |request, _cx| Reply::text(request.param("text").unwrap().to_owned()));
    app.post("/echo", |request, _cx| Reply::bytes("text/plain", request.body().to_vec()));
    app.get("/zeros/{count}", |request, _cx| {
        Reply::text("0".repeat(request.param("count").unwrap().parse().unwrap()))
    });
    let ids = ids.clone();
    app.sse("/stream", move |stream, _request, _cx| {
        ids.lock().unwrap().push(stream);
        Reply::stream().topic("all")
    });
    app.sse("/ended", |stream, _request, cx| {
        cx.send(stream, Event::new().data("only"))?;
        cx.close(stream)
    });
    app
}

fn text(text: &str) -> (u16, String) {
    (200, text.to_owned())
}

fn close<H: App, const SHORT: bool>(world: &mut Loop<H, SHORT>, stream: StreamId) {
    world.server.context().close(stream).unwrap();
    world.settle();
}

#[test]
fn one_connection_carries_one_request_after_the_other() {
    let server = serve(app());
    let mut client = server.connect();
    for n in 0..20 {
        let head = client.get(&format!("/echo/{n}"));
        assert_eq!((head.status, head.get("Connection")), (200, None));
        assert_eq!(client.body(&head), n.to_string());
    }
    let stats = server.stats();
    assert_eq!((stats.accepted, stats.requests), (1, 20));
}

#[test]
fn a_client_that_asks_for_the_close_gets_it_after_the_reply() {
    let server = serve(app());
    for option in ["close", "Close", "keep-alive, close", "x,close"] {
        let mut client = server.connect();
        client.write(format!(
            "GET /echo/a HTTP/1.1\r\nHost: x\r\nConnection: {option}\r\n\r\n{}",
            get("/echo/b")
        ));
        let (head, body) = client.reply();
        assert_eq!((head.get("Connection"), body.as_str()), (Some("close"), "a"), "{option}");
        assert_eq!(client.to_end(), "", "{option}");
    }
    let stats = server.wait_for("no connection", |stats| stats.connections == 0);
    assert_eq!(stats.requests, 4, "bytes after a request to close are not a request");
}

#[test]
fn http_1_0_closes_the_connection_unless_it_asks_for_keep_alive() {
    let server = serve(app());
    let mut client = server.connect();
    for n in 0..3 {
        client.write(format!("GET /echo/{n} HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"));
        let (head, body) = client.reply();
        assert_eq!((head.get("Connection"), body), (Some("keep-alive"), n.to_string()));
    }
    client.write("GET /echo/last HTTP/1.0\r\n\r\n");
    let (head, body) = client.reply();
    assert_eq!((head.get("Connection"), body.as_str()), (Some("close"), "last"));
    assert_eq!(client.to_end(), "");
}

#[test]
fn a_stream_for_http_1_0_ends_with_the_connection_despite_keep_alive() {
    let server = serve(app());
    for option in ["", "Connection: keep-alive\r\n"] {
        let mut client = server.connect();
        client.write(format!("GET /ended HTTP/1.0\r\n{option}\r\n"));
        let head = client.head();
        assert_eq!((head.get("Connection"), head.get("Transfer-Encoding")), (Some("close"), None));
        assert_eq!(client.to_end(), "data: only\n\n");
    }
}

#[test]
fn pipelined_requests_are_read_once_and_their_replies_are_one_write() {
    let mut world = Loop::new(app());
    let peer = world.connect();
    let (requests, expected): (String, Vec<_>) =
        (0..100).map(|n| (get(&format!("/echo/{n}")), text(&n.to_string()))).unzip();
    peer.write(requests);
    world.settle();
    assert_eq!(replies(&peer.read()), expected);
    assert_eq!((peer.writes().len(), peer.reads()), (1, 1));
    assert_eq!(world.server.stats().requests, 100);
}

#[test]
fn a_pipeline_longer_than_any_buffer_needs_few_writes() {
    let mut config = Config::default();
    config.requests_per_connection_max = 5000;
    let mut world: Loop<_> = Loop::with_config(app(), config);
    let peer = world.connect();
    let (requests, expected): (String, Vec<_>) =
        (0..5000).map(|n| (get(&format!("/echo/{n}")), text(&n.to_string()))).unzip();
    peer.write(&requests);
    world.settle();
    let answer = peer.read();
    assert_eq!(replies(&answer), expected);
    let few = (answer.len() + requests.len()).div_ceil(64 << 10) + 1;
    assert!(peer.writes().len() <= few, "a write for each 64 KiB of replies and for each read");
}

#[test]
fn a_request_after_a_stream_is_served_when_the_server_closes_the_stream() {
    let ids = Ids::default();
    let mut world = Loop::new(app_with_ids(&ids));
    let peer = world.connect();
    peer.write(get("/echo/before") + &get("/stream") + &get("/echo/behind"));
    world.settle();
    world.server.context().publish("all", Event::new().data("1")).unwrap();
    world.settle();
    let before = peer.read();
    assert_eq!(replies(&before), [text("before"), text(":\ndata: 1\n\n")]);
    assert_eq!(world.server.stats().requests, 2, "the third one waits");

    close(&mut world, ids.lock().unwrap()[0]);
    let behind = peer.read();
    assert_eq!(replies(behind.strip_prefix("0\r\n\r\n").expect("the last chunk")), [text("behind")]);
    peer.write(get("/echo/again"));
    world.settle();
    assert_eq!(replies(&peer.read()), [text("again")]);
    assert_eq!(world.server.stats().closed(CloseReason::Application), 1);
}

#[test]
fn a_request_after_the_last_stream_of_a_connection_is_never_served() {
    for stream in
        ["GET /ended HTTP/1.0\r\n\r\n", "GET /ended HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n"]
    {
        let mut world = Loop::new(app());
        let peer = world.connect();
        peer.write(format!("{stream}{}", get("/echo/behind")));
        world.settle();
        assert_eq!(replies(&peer.read()), [text("data: only\n\n")]);
        assert!(peer.is_shut());
        assert_eq!(world.server.stats().requests, 1);
    }
}

#[test]
fn two_streams_on_one_connection_have_ids_of_their_own() {
    let ids = Ids::default();
    let server = serve(app_with_ids(&ids));
    let mut client = server.connect();
    client.write(get("/stream") + &get("/stream"));
    client.head();
    client.wait_for_body(":\n");
    let old = ids.lock().unwrap()[0];
    server.publisher.send(old, Event::new().data("for the first")).unwrap();
    server.publisher.close(old).unwrap();
    assert_eq!(client.events_to_end().len(), 1);

    client.head();
    client.wait_for_body(":\n");
    let new = ids.lock().unwrap()[1];
    assert_ne!(old, new);
    let results = Arc::new(Mutex::new(Vec::new()));
    let sink = results.clone();
    let ask = move |cx: &mut Context<'_>| {
        let result = [
            cx.send(old, Event::new().data("for nobody")),
            cx.subscribe(old, "other"),
            cx.unsubscribe(old, "all"),
            cx.close(old),
            cx.on_close::<()>(old, |_, _| unreachable!()),
            cx.after(old, Duration::ZERO, |_, _| ()).map(drop),
            cx.send(new, Event::new().data("for the second")),
        ];
        sink.lock().unwrap().extend(result);
    };
    server.publisher.run(ask).unwrap();
    assert_eq!(client.data(1), ["for the second"]);
    let closed = || Err(Error::Closed);
    let expected = [closed(), closed(), closed(), closed(), closed(), closed(), Ok(())];
    assert_eq!(*results.lock().unwrap(), expected);
}

#[test]
fn head_gets_the_reply_of_get_without_its_body() {
    let server = serve(app());
    let mut client = server.connect();
    let get = client.get("/echo/text");
    client.body(&get);
    client.write("HEAD /echo/text HTTP/1.1\r\nHost: x\r\n\r\nHEAD /none HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = client.head();
    assert_eq!(head.status, 200);
    for name in ["Content-Length", "Content-Type", "Connection"] {
        assert_eq!(head.get(name), get.get(name), "{name}");
    }
    // The bytes of a body would be parsed as the next head.
    let head = client.head();
    assert_eq!((head.status, head.get("Content-Length")), (404, Some("9")));
    assert_eq!(client.get_text("/echo/next"), "next");
}

#[test]
fn head_of_a_stream_opens_none_and_the_connection_goes_on() {
    let id = Arc::new(Mutex::new(None));
    let calls = Arc::new(AtomicUsize::new(0));
    let mut app = app();
    let (asked, called) = (id.clone(), calls.clone());
    app.get("/all", move |_request, cx| {
        let stream = cx.stream().unwrap();
        *asked.lock().unwrap() = Some(stream);
        let (timer, closed) = (called.clone(), called.clone());
        cx.every(stream, Duration::from_millis(1), move |_, _| _ = timer.fetch_add(1, Ordering::SeqCst))?;
        cx.on_close(stream, move |_, _| _ = closed.fetch_add(1, Ordering::SeqCst))?;
        cx.subscribe(stream, "first")?;
        cx.send(stream, Event::new().data("dropped"))?;
        Ok::<_, Error>(Reply::stream().topic("second"))
    });
    let mut world = Loop::new(app);
    let peer = world.connect();
    peer.write(format!("HEAD /all HTTP/1.1\r\nHost: x\r\n\r\n{}", get("/echo/next")));
    world.settle();
    world.pass(Duration::from_secs(1));
    let answer = peer.read();
    let (head, next) = answer.split_once("\r\n\r\n").unwrap();
    assert!(
        head.starts_with("HTTP/1.1 200 OK\r\n") && head.contains("\r\nContent-Type: text/event-stream"),
        "{head}"
    );
    assert!(!head.contains("Connection: close"), "{head}");
    assert_eq!(replies(next), [text("next")]);

    let stats = world.server.stats();
    assert_eq!((stats.streams_opened, stats.streams_closed(), stats.streams, stats.topics), (0, 0, 0, 0));
    assert_eq!((stats.events_delivered, stats.requests, stats.connections), (0, 2, 1));
    assert_eq!(calls.load(Ordering::SeqCst), 0, "its timers and callbacks are not called");
    assert_eq!(Arc::strong_count(&calls), 2, "and dropped: only the route and this test hold it");
    let stream = id.lock().unwrap().unwrap();
    assert_eq!(world.server.context().send(stream, Event::new().data("x")), Err(Error::Closed));
}

/// Every kind of request, and the application for them; a stream at the end.
fn everything() -> (String, Vec<(u16, String)>) {
    let requests = [
        "\r\nGET /echo/%C3%BC?q=1 HTTP/1.1\r\nHost: x\r\nX-Empty:\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
        "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n",
        "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
         3;a=\"b\"\r\nGET\r\n02\r\n /\r\n0\r\nTrailer: x\r\n\r\n",
        "GET /none HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /ended HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET /echo/kept HTTP/1.0\r\nConnection: keep-alive\r\n\r\n",
        "GET /ended HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
    ];
    let expected = vec![
        text("ü"),
        text("hello"),
        text(""),
        text("GET /"),
        (404, "Not Found".to_owned()),
        text("data: only\n\n"),
        text("kept"),
        text("data: only\n\n"),
    ];
    (requests.concat(), expected)
}

fn byte_by_byte_in_memory<const SHORT: bool>() {
    let (requests, expected) = everything();
    let mut world = Loop::<_, SHORT>::with_config(app(), Config::default());
    let peer = world.connect();
    for byte in requests.bytes() {
        peer.write([byte]);
        world.settle();
    }
    assert_eq!(replies(&peer.read()), expected);
    assert!(peer.is_shut());
    assert_eq!(world.server.stats().requests, expected.len() as u64);
}

#[test]
fn requests_may_arrive_byte_by_byte_over_any_network() {
    byte_by_byte_in_memory::<true>();
    byte_by_byte_in_memory::<false>();
}

#[test]
fn requests_may_arrive_byte_by_byte_over_real_sockets() {
    let (requests, expected) = everything();
    let server = serve(app());
    let mut client = server.connect();
    for byte in requests.bytes() {
        client.write([byte]);
    }
    assert_eq!(replies(&client.to_end()), expected);
}

#[test]
fn a_client_that_waits_for_100_continue_gets_it_once() {
    let head = "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n";
    for framing in ["Content-Length: 4\r\n\r\n", "Transfer-Encoding: chunked\r\n\r\n"] {
        let mut world = Loop::new(app());
        let peer = world.connect();
        peer.write(get("/echo/before") + head);
        world.settle();
        assert_eq!(replies(&peer.read()), [text("before")]);
        peer.write(framing);
        world.settle();
        assert_eq!(peer.read(), "HTTP/1.1 100 Continue\r\n\r\n");
        let body = if framing.starts_with('C') { "body" } else { "4\r\nbody\r\n0\r\n\r\n" };
        for byte in body.bytes() {
            assert_eq!(peer.read(), "");
            peer.write([byte]);
            world.settle();
        }
        assert_eq!(replies(&peer.read()), [text("body")]);
    }
}

#[test]
fn a_client_that_does_not_wait_for_100_continue_gets_none() {
    let cases = [
        ("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n", "body"),
        (
            "POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nTransfer-Encoding: chunked\r\n\r\n",
            "4\r\nbody\r\n0\r\n\r\n",
        ),
        ("POST /echo HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\n\r\n", ""),
    ];
    for (head, body) in cases {
        let mut world = Loop::new(app());
        let peer = world.connect();
        peer.write(format!("{head}{body}"));
        world.settle();
        let expected = if body.is_empty() { "" } else { "body" };
        assert_eq!(replies(&peer.read()), [text(expected)], "{head}");
    }
    let mut world = Loop::new(app());
    let peer = world.connect();
    peer.write("POST /echo HTTP/1.0\r\nExpect: 100-continue\r\nContent-Length: 4\r\n\r\n");
    world.settle();
    assert_eq!(peer.read(), "", "HTTP/1.0 does not know it");
    peer.write("body");
    world.settle();
    assert_eq!(replies(&peer.read()), [text("body")]);
}

fn slow_reader<const SHORT: bool>() {
    let mut world = Loop::<_, SHORT>::with_config(app(), Config::default());
    let peer = world.connect();
    peer.set_room(1000);
    peer.write(get("/zeros/200000") + &get("/echo/a"));
    world.settle();
    let reads = peer.reads();
    peer.write(get("/echo/b") + &get("/ended"));
    world.settle();
    assert_eq!(peer.reads(), reads, "a client that does not read its replies is not read from");
    assert_eq!(world.server.stats().requests, 1, "nor asked for");
    let mut answer = peer.read();
    assert_eq!(answer.len(), 1000);
    while answer.len() < 200_000 {
        peer.set_room(1000);
        world.settle();
        let piece = peer.read();
        assert_eq!(piece.len(), 1000);
        answer.push_str(&piece);
    }
    peer.set_room(usize::MAX);
    world.settle();
    answer.push_str(&peer.read());
    assert_eq!(replies(&answer), [text(&"0".repeat(200_000)), text("a"), text("b"), text("data: only\n\n")]);
    peer.write(get("/echo/c"));
    world.settle();
    assert_eq!(replies(&peer.read()), [text("c")]);
}

#[test]
fn a_slow_reader_gets_a_large_reply_and_then_the_next_one() {
    slow_reader::<true>();
    slow_reader::<false>();
}

#[test]
fn a_slow_reader_gets_the_last_reply_whole_before_the_end_of_the_connection() {
    let mut world = Loop::new(app());
    let peer = world.connect();
    peer.set_room(10);
    peer.write(
        "GET /zeros/100000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nGET /echo/never HTTP/1.1\r\n",
    );
    world.settle();
    assert!(!peer.is_shut());
    // From now on it reads while the server writes.
    peer.set_refill(777);
    peer.set_room(10);
    world.settle();
    assert_eq!(replies(&peer.read()), [text(&"0".repeat(100_000))]);
    assert!(peer.is_shut() && !peer.is_closed());
    peer.close();
    world.settle();
    assert!(peer.is_closed());
}

#[test]
fn a_half_closed_client_gets_its_whole_reply() {
    let server = serve(app());
    let mut client = server.connect();
    client.write(get("/echo/first") + &get(&format!("/zeros/{LARGE}")));
    client.shutdown_write();
    assert_eq!(client.reply().1, "first");
    let (_, body) = client.reply();
    assert!(body.len() == LARGE && body.bytes().all(|byte| byte == b'0'));
    assert_eq!(client.to_end(), "");
    server.wait_for("no connection", |stats| stats.connections == 0);
}

fn half_closed_in_memory<const SHORT: bool>() {
    let mut world = Loop::<_, SHORT>::with_config(app(), Config::default());
    let peer = world.connect();
    peer.set_room(0);
    peer.write(get("/zeros/100000") + &get("/echo/behind"));
    peer.close();
    world.settle();
    assert!(!peer.is_closed());
    peer.set_room(50_000);
    world.settle();
    assert!(!peer.is_closed());
    peer.set_room(usize::MAX);
    world.settle();
    assert_eq!(replies(&peer.read()), [text(&"0".repeat(100_000)), text("behind")]);
    assert!(peer.is_closed());
}

#[test]
fn a_half_closed_client_gets_all_its_replies_even_if_they_do_not_fit() {
    half_closed_in_memory::<true>();
    half_closed_in_memory::<false>();
}

/// Advances the time until the server closes the connection. Returns the number of tenths of a second.
fn tenths_until_closed<H: App>(world: &mut Loop<H>, peer: &Peer, each: impl FnMut(usize)) -> usize {
    tenths_until(world, peer, Peer::is_closed, each)
}

/// The same, until any change that the server makes to the connection.
fn tenths_until<H: App>(
    world: &mut Loop<H>,
    peer: &Peer,
    done: fn(&Peer) -> bool,
    mut each: impl FnMut(usize),
) -> usize {
    for tenths in 0..2000 {
        if done(peer) {
            return tenths;
        }
        each(tenths);
        world.pass(Duration::from_millis(100));
    }
    panic!("still open after 200 s");
}

/// The sweep looks at each connection once a period, which is at most this many tenths of a second.
const SWEEP: usize = 10;

#[test]
fn a_request_has_to_be_complete_in_time_however_its_bytes_drip() {
    let head = "GET /echo/a HTTP/1.1\r\nHost: x\r\nX-Slow: ";
    let body = "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n";
    let chunked = "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3e8\r\n";
    for (begin, drips, limit, reason) in [
        (head, false, 100, CloseReason::HeadTimeout),
        (head, true, 100, CloseReason::HeadTimeout),
        (body, false, 300, CloseReason::BodyTimeout),
        (body, true, 300, CloseReason::BodyTimeout),
        (chunked, true, 300, CloseReason::BodyTimeout),
    ] {
        let mut world = Loop::new(app());
        let peer = world.connect();
        peer.write(begin);
        let tenths = tenths_until(&mut world, &peer, Peer::is_shut, |_| {
            if drips {
                peer.write("x");
            }
        });
        assert!((limit..=limit + SWEEP).contains(&tenths), "{tenths} tenths of a second, {begin:?}");
        assert_eq!(replies(&peer.read()), [(408, "Request Timeout".to_owned())]);
        peer.close();
        world.settle();
        let stats = world.server.stats();
        assert_eq!((stats.connections_closed(reason), stats.connections, stats.requests), (1, 0, 0));
    }
}

#[test]
fn the_time_for_a_body_begins_with_the_end_of_the_head() {
    let mut world = Loop::new(app());
    let peer = world.connect();
    peer.write("POST /echo HTTP/1.1\r\nContent-Length: 3\r\n");
    world.pass(Duration::from_secs(9));
    peer.write("Host: x\r\n\r\n1");
    world.pass(Duration::from_secs(29));
    peer.write("23");
    world.settle();
    assert_eq!(replies(&peer.read()), [text("123")]);
    // The next request restarts the timeouts.
    peer.write("POST /echo HTTP/1.1\r\nContent-Length: 3\r\nHost: x\r\n\r\n1");
    world.pass(Duration::from_secs(29));
    peer.write("23POST /echo HTTP/1.1\r\nContent-Length: 3\r\nHost: x\r\n\r\n4");
    world.pass(Duration::from_secs(29));
    peer.write("56");
    world.settle();
    assert_eq!(replies(&peer.read()), [text("123"), text("456")]);
}

#[test]
fn a_connection_without_a_byte_is_closed_without_a_word() {
    let mut world = Loop::new(app());
    let peer = world.connect();
    let tenths = tenths_until_closed(&mut world, &peer, |_| ());
    assert!((100..=100 + SWEEP).contains(&tenths), "{tenths} tenths of a second");
    assert_eq!(peer.read(), "");
    assert_eq!(world.server.stats().connections_closed(CloseReason::HeadTimeout), 1);
}

#[test]
fn the_time_for_a_request_on_a_kept_connection_runs_from_its_first_byte() {
    let mut world = Loop::new(app());
    let peer = world.connect();
    peer.write(get("/echo/first"));
    world.pass(Duration::from_secs(60));
    assert!(!peer.is_closed());
    peer.write("G");
    world.settle();
    peer.write("ET /echo/a HTTP/1.1\r\nX-Slow: ");
    let tenths = tenths_until(&mut world, &peer, Peer::is_shut, |_| peer.write("x"));
    assert!((100..=100 + SWEEP).contains(&tenths), "{tenths} tenths of a second");
}

#[test]
fn a_connection_may_be_silent_between_requests_for_the_keep_alive_timeout() {
    let mut world = Loop::new(app());
    let peer = world.connect();
    for _ in 0..5 {
        peer.write(get("/echo/a"));
        world.pass(Duration::from_secs(70));
        assert!(!peer.is_closed(), "each request restarts the timeout");
    }
    peer.write(get("/ended"));
    let tenths = tenths_until_closed(&mut world, &peer, |_| ());
    assert!((750..=750 + SWEEP).contains(&tenths), "{tenths} tenths of a second");
    assert_eq!(world.server.stats().connections_closed(CloseReason::IdleTimeout), 1);
}

#[test]
fn the_date_of_responses_is_updated_each_second() {
    let mut world = Loop::new(app());
    let peer = world.connect();
    let mut dates = Vec::new();
    for _ in 0..3 {
        peer.write(get("/echo/a"));
        world.pass(Duration::from_secs(1));
        let answer = peer.read();
        let date = answer.lines().find_map(|line| line.strip_prefix("Date: ")).unwrap();
        dates.push(date.to_owned());
    }
    let expected = ["08:00:00", "08:00:01", "08:00:02"].map(|time| format!("Fri, 15 Jan 2027 {time} GMT"));
    assert_eq!(dates, expected);
}

#[test]
fn a_stream_outlives_the_time_outs_of_requests() {
    let ids = Ids::default();
    let mut world = Loop::new(app_with_ids(&ids));
    let peer = world.connect();
    peer.write(get("/stream") + "GET /echo/beg");
    world.pass(Duration::from_secs(300));
    assert!(!peer.is_closed());
    close(&mut world, ids.lock().unwrap()[0]);
    // The request that has begun after it has its full time from now on.
    world.pass(Duration::from_secs(9));
    peer.read();
    peer.write("un HTTP/1.1\r\nHost: x\r\n\r\n");
    world.settle();
    assert_eq!(replies(&peer.read()), [text("begun")]);
}

#[test]
fn a_peer_that_does_not_close_its_side_is_waited_for_only_so_long() {
    for drips in [false, true] {
        let mut world = Loop::new(app());
        let peer = world.connect();
        peer.write("GET /echo/a HTTP/1.0\r\n\r\n");
        world.settle();
        assert!(peer.is_shut() && !peer.is_closed());
        let tenths = tenths_until_closed(&mut world, &peer, |_| {
            if drips {
                peer.write("and on and on");
            }
        });
        assert!((20..=20 + SWEEP).contains(&tenths), "{tenths} tenths of a second");
        let stats = world.server.stats();
        assert_eq!((stats.connections, stats.connections_closed(CloseReason::Completed)), (0, 1));
    }
}

#[test]
fn unread_input_at_the_close_does_not_destroy_the_reply() {
    let server = serve(app());
    let mut client = server.connect();
    client.write("GET /zeros/100000 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
    client.write("x".repeat(100_000));
    server.wait_for("an answer", |stats| stats.requests == 1 && stats.bytes_written > 100_000);
    client.write("x".repeat(100_000));
    let (head, body) = client.reply();
    assert_eq!((head.status, body.len()), (200, 100_000));
    assert_eq!(client.to_end(), "");
    drop(client);
    server.wait_for("no connection", |stats| stats.connections == 0);
}

#[test]
fn little_that_is_sent_while_a_stream_is_open_is_the_next_request() {
    let ids = Ids::default();
    let server = serve(app_with_ids(&ids));
    let mut client = server.connect();
    client.get("/stream");
    client.wait_for_body(":\n");
    for byte in get("/echo/next").bytes() {
        client.write([byte]);
    }
    server.publisher.close(ids.lock().unwrap()[0]).unwrap();
    assert!(client.events_to_end().is_empty());
    assert_eq!(client.reply().1, "next");
}

fn excess<const SHORT: bool>() {
    let reasons = Arc::new(Mutex::new(Vec::new()));
    let mut app = Router::new();
    let sink = reasons.clone();
    app.sse("/", move |stream, _request, cx| {
        let sink = sink.clone();
        cx.on_close(stream, move |reason, _cx| sink.lock().unwrap().push(reason))
    });
    let mut world = Loop::<_, SHORT>::with_config(app, Config::default());
    let peer = world.connect();
    peer.write(get("/"));
    world.settle();
    for _ in 0..16 {
        peer.write("x".repeat(1024));
        world.settle();
        assert!(!peer.is_closed(), "16 KiB are kept");
    }
    peer.write("x");
    world.settle();
    assert!(peer.is_closed());
    assert_eq!(*reasons.lock().unwrap(), [CloseReason::ExcessInput]);
    let stats = world.server.stats();
    assert_eq!((stats.closed(CloseReason::ExcessInput), stats.connections, stats.streams), (1, 0, 0));
}

#[test]
fn too_much_input_while_a_stream_is_open_closes_it() {
    excess::<true>();
    excess::<false>();
}

/// Stage of a connection at which its peer leaves.
const STAGES: [&str; 9] = [
    "",
    "\r\n",
    "GET /echo/a HTTP/1.1\r\nHo",
    "POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nhalf",
    "POST /echo HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhel",
    "GET /echo/a HTTP/1.1\r\nHost: x\r\n\r\n",
    "GET /echo/a HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\nmore",
    "GET /stream HTTP/1.1\r\nHost: x\r\n\r\nGET /echo/a HTTP",
    "no request at all\r\n\r\n",
];

fn peers_that_leave_in_memory<const SHORT: bool>() {
    let mut world = Loop::<_, SHORT>::with_config(app(), Config::default());
    for (settles, resets) in [(true, true), (true, false), (false, true), (false, false)] {
        for room in [usize::MAX, 20] {
            for stage in STAGES {
                let peer = world.connect();
                peer.set_room(room);
                peer.write(stage);
                if settles {
                    world.settle();
                }
                if resets {
                    peer.reset();
                } else {
                    peer.close();
                }
                world.settle();
                if !resets {
                    // It may still want its reply.
                    peer.set_room(usize::MAX);
                    world.settle();
                }
                assert!(peer.is_closed(), "{stage:?}, settles: {settles}, resets: {resets}");
            }
        }
    }
    let stats = world.server.stats();
    assert_eq!((stats.connections, stats.streams, stats.topics), (0, 0, 0));
    assert_eq!(stats.accepted, 8 * STAGES.len() as u64);
}

#[test]
fn peers_that_leave_at_any_stage_leave_nothing_behind() {
    peers_that_leave_in_memory::<true>();
    peers_that_leave_in_memory::<false>();
}

#[test]
fn real_peers_that_leave_at_any_stage_leave_nothing_behind() {
    let server = serve(app());
    let large = get(&format!("/zeros/{LARGE}"));
    let leave: [fn(Client); 2] = [drop, Client::reset];
    for stage in STAGES.into_iter().chain([large.as_str()]) {
        for leave in leave {
            // One leaves at once, the other when the server has done what it can.
            let mut client = server.connect();
            client.write(stage);
            leave(client);
            let mut client = server.connect();
            client.write(stage);
            server.stats();
            leave(client);
        }
    }
    let stats = server.wait_for("no connection", |stats| stats.connections == 0);
    assert_eq!((stats.streams, stats.topics), (0, 0));
}

#[test]
fn an_open_stream_whose_peer_leaves_has_that_reason() {
    let server: Running = serve(app());
    let mut client = server.connect();
    client.get("/stream");
    client.wait_for_body(":\n");
    drop(client);
    server.wait_for("FIN", |stats| stats.closed(CloseReason::PeerClosed) == 1);
    let mut client = server.connect();
    client.get("/stream");
    client.wait_for_body(":\n");
    client.reset();
    server.wait_for("RST", |stats| stats.closed(CloseReason::Reset) == 1);
}

mod pieces {
    //! Any cut of the bytes and any order of turns gives the same replies.

    use super::*;

    #[derive(Debug, Clone)]
    enum Ask {
        Get(u16),
        Head(u16),
        Post(Vec<u8>),
        Chunked(Vec<Vec<u8>>),
        Zeros(usize),
        Ended,
        Missing,
    }

    fn ask() -> impl Strategy<Value = Ask> {
        let body = || proptest::collection::vec(b' '..b'~', 0..50);
        prop_oneof![
            3 => any::<u16>().prop_map(Ask::Get),
            1 => any::<u16>().prop_map(Ask::Head),
            3 => body().prop_map(Ask::Post),
            3 => proptest::collection::vec(body(), 0..5).prop_map(Ask::Chunked),
            1 => prop_oneof![0_usize..200, Just(70_000_usize)].prop_map(Ask::Zeros),
            1 => Just(Ask::Ended),
            1 => Just(Ask::Missing),
        ]
    }

    impl Ask {
        fn request(&self) -> Vec<u8> {
            let post = "POST /echo HTTP/1.1\r\nHost: x\r\n";
            match self {
                Self::Get(n) => get(&format!("/echo/{n}")).into(),
                Self::Head(n) => format!("HEAD /echo/{n} HTTP/1.1\r\nHost: x\r\n\r\n").into(),
                Self::Post(body) => {
                    let head = format!("{post}Content-Length: {}\r\n\r\n", body.len());
                    [head.as_bytes(), body].concat()
                }
                Self::Chunked(chunks) => {
                    let mut request = format!("{post}Transfer-Encoding: chunked\r\n\r\n").into_bytes();
                    for chunk in chunks.iter().filter(|chunk| !chunk.is_empty()) {
                        request.extend(format!("{:X}\r\n", chunk.len()).bytes());
                        request.extend(chunk);
                        request.extend(b"\r\n");
                    }
                    request.extend(b"0\r\n\r\n");
                    request
                }
                Self::Zeros(count) => get(&format!("/zeros/{count}")).into(),
                Self::Ended => get("/ended").into(),
                Self::Missing => get("/none").into(),
            }
        }

        /// The end of the reply, which only this request gets.
        fn reply_ends_with(&self) -> String {
            let text = |body: &[u8]| String::from_utf8(body.to_vec()).unwrap();
            match self {
                Self::Get(n) => format!("\r\n\r\n{n}"),
                Self::Head(n) => format!("Content-Length: {}\r\n\r\n", n.to_string().len()),
                Self::Post(body) => format!("Content-Length: {}\r\n\r\n{}", body.len(), text(body)),
                Self::Chunked(chunks) => format!("\r\n\r\n{}", text(&chunks.concat())),
                Self::Zeros(count) => format!("\r\n\r\n{}", "0".repeat(*count)),
                Self::Ended => "\r\n\r\nc\r\ndata: only\n\n\r\n0\r\n\r\n".to_owned(),
                Self::Missing => "\r\n\r\nNot Found".to_owned(),
            }
        }
    }

    /// Action between two pieces.
    #[derive(Debug, Clone, Copy)]
    enum Between {
        Nothing,
        Turn,
        Settle,
        Room(usize),
    }

    fn between() -> impl Strategy<Value = Between> {
        prop_oneof![
            1 => Just(Between::Nothing),
            2 => Just(Between::Turn),
            3 => Just(Between::Settle),
            1 => (0_usize..300).prop_map(Between::Room),
        ]
    }

    /// All bytes that the peer gets.
    fn answer<const SHORT: bool>(requests: &[u8], cuts: &[(prop::sample::Index, Between)]) -> String {
        let mut cuts: Vec<_> =
            cuts.iter().map(|(at, between)| (at.index(requests.len()), *between)).collect();
        cuts.sort_by_key(|(at, _)| *at);
        let ids = Ids::default();
        let mut world = Loop::<_, SHORT>::with_config(app_with_ids(&ids), Config::default());
        let peer = world.connect();
        let mut from = 0;
        for (at, between) in cuts {
            peer.write(&requests[from..at]);
            from = at;
            match between {
                Between::Nothing => {}
                Between::Turn => world.turn(),
                Between::Settle => world.settle(),
                Between::Room(room) => peer.set_room(room),
            }
        }
        peer.write(&requests[from..]);
        peer.set_room(usize::MAX);
        world.settle();
        world.server.context().publish("all", Event::new().data("published")).unwrap();
        close(&mut world, ids.lock().unwrap()[0]);
        peer.close();
        world.settle();
        assert!(peer.is_closed());
        assert_eq!(world.server.stats().connections, 0);
        peer.read()
    }

    proptest! {
        #[test]
        fn any_cut_of_the_same_requests_gets_the_same_replies(
            asks in proptest::collection::vec(ask(), 0..8),
            cuts in proptest::collection::vec((any::<prop::sample::Index>(), between()), 0..40),
        ) {
            let mut requests: Vec<u8> = asks.iter().flat_map(Ask::request).collect();
            requests.extend(get("/stream").bytes());
            let whole = answer::<true>(&requests, &[]);
            let mut rest = whole.as_str();
            for ask in &asks {
                let end = ask.reply_ends_with();
                let at = rest.find(&end).unwrap_or_else(|| panic!("{end:?} in {rest:?}"));
                rest = &rest[at + end.len()..];
            }
            prop_assert!(rest.ends_with("2\r\n:\n\r\n11\r\ndata: published\n\n\r\n0\r\n\r\n"), "{}", rest);
            prop_assert_eq!(&answer::<true>(&requests, &cuts), &whole);
            prop_assert_eq!(&answer::<false>(&requests, &cuts), &whole);
        }
    }
}

/// A handler that gets several calls at once handles one after another: calls never nest.
#[test]
fn replies_to_many_connections_in_one_turn_are_not_mixed_up() {
    struct Counting(usize);
    impl Handler for Counting {
        fn request(&mut self, request: &Request<'_>, _cx: &mut Context<'_>) -> Reply {
            self.0 += 1;
            Reply::text(request.path().to_owned())
        }
    }
    let mut world = Loop::new(Counting(0));
    let peers: Vec<_> = (0..200).map(|_| world.connect()).collect();
    for (n, peer) in peers.iter().enumerate() {
        peer.write(get(&format!("/{n}")));
    }
    world.settle();
    for (n, peer) in peers.iter().enumerate() {
        assert_eq!(replies(&peer.read()), [text(&format!("/{n}"))]);
    }
    assert_eq!(world.server.handler().0, 200);
}

fn zeros() -> Router {
    let mut app = Router::new();
    app.get("/zeros/{count}", |request, _cx| {
        Reply::text("0".repeat(request.param("count").unwrap().parse().unwrap()))
    });
    app
}

/// The replies to a pipeline reach 64 KiB and are written. The socket takes a part, and, as the peer reads
/// meanwhile, the rest in the second attempt of the same visit. The requests after them are held, and must
/// not be forgotten.
fn pipeline_read_while_it_is_written<const SHORT: bool>() {
    let mut world = Loop::<_, SHORT>::with_config(zeros(), Config::default());
    let peer = world.connect();
    peer.set_room(30_000);
    peer.set_refill(usize::MAX);
    peer.write(get("/zeros/70000") + &get("/zeros/1"));
    world.settle();
    let answer = replies(&peer.read());
    assert_eq!(answer.len(), 2, "the second request got no reply");
}

#[test]
fn a_pipeline_continues_when_the_peer_reads_while_it_is_written_to() {
    pipeline_read_while_it_is_written::<true>();
}

#[test]
fn a_pipeline_continues_when_the_peer_reads_while_it_is_written_to_with_full_writes() {
    pipeline_read_while_it_is_written::<false>();
}

/// Earlier replies of a pipeline are not dropped when a later handler sends more to its stream than may wait
/// for it.
#[test]
fn earlier_replies_of_a_pipeline_survive_a_stream_that_is_ended_before_it_is_opened() {
    let mut config = Config::default();
    config.lag_bytes_max = 10_000;
    let mut app = zeros();
    app.sse("/much", |stream, _request, cx| {
        let event = Event::new().data("x".repeat(1000));
        while cx.send(stream, &event).is_ok() {}
    });
    let mut world = Loop::<_>::with_config(app, config);
    let peer = world.connect();
    peer.write(get("/zeros/1") + &get("/much"));
    world.settle();
    assert_eq!(replies(&peer.read()).first(), Some(&(200, "0".to_owned())));
}

/// The cut of a pipeline's bytes decides whether the input after a stream is too much.
#[test]
fn too_much_input_after_a_stream_closes_it_in_one_piece_as_well() {
    let closed = |cut: bool| {
        let mut app = Router::new();
        app.sse("/", |_stream, _request, _cx| ());
        let mut world = Loop::new(app);
        let peer = world.connect();
        peer.write(get("/"));
        if cut {
            world.settle();
        }
        peer.write("x".repeat(40_000));
        world.settle();
        world.server.stats().closed(CloseReason::ExcessInput)
    };
    assert_eq!(closed(true), 1);
    assert_eq!(closed(false), 1);
}

#[test]
fn a_peer_that_never_reads_its_reply_does_not_hold_its_connection_for_ever() {
    let mut world = Loop::new(zeros());
    let peer = world.connect();
    peer.set_room(0);
    peer.write(get("/zeros/100000"));
    peer.close();
    world.pass(Duration::from_secs(29));
    assert!(!peer.is_closed());
    world.pass(Duration::from_secs(2));
    assert!(peer.is_closed());
}

#[test]
fn a_peer_that_never_reads_the_end_of_its_stream_does_not_hold_its_connection_for_ever() {
    let mut app = Router::new();
    app.sse("/", |stream, _request, cx| {
        cx.send(stream, Event::new().data("x"))?;
        cx.close(stream)
    });
    let mut world = Loop::new(app);
    let peer = world.connect();
    peer.set_room(0);
    peer.write(get("/"));
    world.pass(Duration::from_secs(29));
    assert!(!peer.is_closed());
    world.pass(Duration::from_secs(2));
    assert!(peer.is_closed());
}

#[test]
fn peers_that_pipeline_without_end_do_not_hold_up_others() {
    let mut config = Config::default();
    config.requests_per_turn = 64;
    let mut world = Loop::<_>::with_config(zeros(), config);
    let flood = get("/zeros/1").repeat(500);
    let flooders: Vec<_> = (0..40).map(|_| world.connect()).collect();
    world.settle();
    flooders.iter().for_each(|peer| peer.write(&flood));
    world.turn();
    assert_eq!(world.server.stats().requests, 64, "no more than one turn may");
    // A new client is served after each of the others had one turn, not after they are done.
    let (honest, late) = (world.connect(), world.connect());
    honest.write(get("/zeros/2"));
    let mut turns = 0;
    while honest.read().is_empty() {
        world.turn();
        turns += 1;
        assert!(turns <= 40 * 16 / 64 + 4, "{turns}");
    }
    // Nor does it take longer to notice a disconnect.
    late.close();
    world.settle();
    assert!(late.is_closed());
    for peer in &flooders {
        assert_eq!(replies(&peer.read()).len(), 500);
    }
}

#[test]
fn one_peer_alone_may_use_the_whole_turn() {
    let mut world = Loop::new(zeros());
    let peer = world.connect();
    world.settle();
    peer.write(get("/zeros/1").repeat(500));
    world.turn();
    assert_eq!(replies(&peer.read()).len(), 500);
    assert_eq!(peer.writes().len(), 1);
}
