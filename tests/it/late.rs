//! Replies that are given after the handler has returned.

use crate::memory_net::{Loop, Peer, check_accounts, get, subscribe};
use crate::support::{ms, replies, secs, serve};
use mio_sse::{
    Config, Context, Cors, Error, History, Refusal, Reply, Request, Responder, Router, TopicConfig,
};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

/// The pending responders, oldest first, and a record of what happened.
#[derive(Default)]
struct Waiting {
    responders: Vec<Responder<Waiting>>,
    notes: Vec<String>,
}

type World = Loop<Router<Waiting>, true>;

fn app() -> Router<Waiting> {
    let mut app = Router::with_state(Waiting::default());
    for method in ["GET", "POST"] {
        app.route(method, "/later/{name}", |_request, cx| {
            let (reply, responder) = cx.later();
            cx.state.responders.push(responder);
            reply
        });
    }
    app.get("/now", |_request, _cx| "now");
    app.get("/long", |_request, _cx| "x".repeat(1000));
    app.after(|request, reply, _cx| reply.header("X-After", request.param("name").unwrap_or("-")));
    app
}

fn world(config: Config) -> World {
    Loop::with_config(app(), config)
}

fn ask(world: &mut World, request: impl AsRef<[u8]>) -> Peer {
    let peer = world.connect();
    peer.write(request);
    world.settle();
    peer
}

/// The oldest pending responder.
fn next(world: &mut World) -> Responder<Waiting> {
    world.server.handler().state().responders.remove(0)
}

#[test]
fn a_late_reply_is_sent_when_it_is_given_and_the_connection_stays_open() {
    let mut world = world(Config::default());
    let peer = ask(&mut world, get("/later/one"));
    assert_eq!((peer.read(), world.server.stats().late_replies), (String::new(), 1));
    let responder = next(&mut world);
    assert!(responder.is_awaited());
    responder.reply("done").unwrap();
    world.settle();
    let text = peer.read();
    assert!(text.contains("\r\nX-After: one\r\n") && text.ends_with("\r\n\r\ndone"), "{text}");
    assert_eq!(world.server.stats().late_replies, 0);
    peer.write(get("/now"));
    world.settle();
    assert_eq!(replies(&peer.read()), [(200, "now".to_owned())]);
    let stats = world.server.stats();
    assert_eq!((stats.requests, stats.memory.total()), (2, 0));
    check_accounts(&stats);
}

/// Requests that came later, in the same packet or another one, are served later. Earlier ones are not held
/// up.
#[test]
fn replies_are_in_the_order_of_their_requests() {
    let mut world = world(Config::default());
    let peer = ask(&mut world, get("/now") + &get("/later/one") + &get("/now") + &get("/later/two"));
    assert_eq!(replies(&peer.read()), [(200, "now".to_owned())]);
    peer.write(&get("/now")[..7]);
    world.settle();
    next(&mut world).reply("one").unwrap();
    world.settle();
    assert_eq!(replies(&peer.read()), [(200, "one".to_owned()), (200, "now".to_owned())]);
    peer.write(&get("/now")[7..]);
    world.settle();
    assert_eq!(peer.read(), "");
    next(&mut world).reply("two").unwrap();
    world.settle();
    assert_eq!(replies(&peer.read()), [(200, "two".to_owned()), (200, "now".to_owned())]);
}

#[test]
fn earlier_replies_without_room_are_sent_first_and_whole() {
    let mut world = world(Config::default());
    let peer = world.connect();
    peer.set_room(100);
    peer.write(get("/long") + &get("/later/one") + &get("/now"));
    world.settle();
    let mut text = peer.read();
    assert_eq!(text.len(), 100);
    peer.set_room(50);
    world.settle();
    text += &peer.read();
    assert_eq!(text.len(), 150);
    next(&mut world).reply("one").unwrap();
    world.settle();
    peer.set_room(1 << 20);
    world.settle();
    text += &peer.read();
    let expected = [(200, "x".repeat(1000)), (200, "one".to_owned()), (200, "now".to_owned())];
    assert_eq!(replies(&text), expected);
}

#[test]
fn a_late_reply_may_be_a_stream_with_everything_that_a_handler_can_set() {
    let mut world = world(Config::default());
    let peer = ask(&mut world, get("/now") + &get("/later/s?who=ada"));
    peer.read();
    next(&mut world)
        .reply_with(|request, cx| {
            let who = request.query("who").unwrap_or_default().into_owned();
            let stream = cx.stream().unwrap();
            cx.send(stream, format!("hello {who}"))?;
            cx.on_open(|stream, cx| {
                cx.state.notes.push("open".to_owned());
                cx.on_close(stream, |_reason, cx| cx.state.notes.push("close".to_owned()))
            });
            Ok::<_, Error>(Reply::stream().topic("t"))
        })
        .unwrap();
    world.settle();
    world.server.context().publish("t", "all").unwrap();
    world.settle();
    let text = peer.read();
    assert!(text.matches("text/event-stream").count() == 1 && text.contains("X-After: s"), "{text}");
    assert!(text.find("hello ada").unwrap() < text.find("data: all").unwrap(), "{text}");
    peer.close();
    world.settle();
    assert_eq!(world.server.handler().state().notes, ["open", "close"]);
    // HEAD wants the head alone.
    let peer = ask(&mut world, "HEAD /later/h HTTP/1.1\r\nHost: a\r\n\r\n".to_owned() + &get("/now"));
    next(&mut world).reply(Reply::stream().topic("t")).unwrap();
    world.settle();
    let text = peer.read();
    assert_eq!((text.matches("event-stream").count(), text.matches("\r\n\r\nnow").count()), (1, 1), "{text}");
    check_accounts(&world.server.stats());
}

#[test]
fn a_client_that_has_left_needs_no_reply() {
    for half_closed in [false, true] {
        let mut config = Config::default();
        config.half_closed = half_closed;
        let mut world = world(config);
        let peers: Vec<_> = (0..2).map(|_| ask(&mut world, get("/later/one"))).collect();
        peers[0].close();
        peers[1].reset();
        world.settle();
        let first = next(&mut world);
        assert_eq!(first.is_awaited(), half_closed);
        assert_eq!(first.reply("x"), if half_closed { Ok(()) } else { Err(Error::Closed) });
        assert_eq!(next(&mut world).reply_with(|_, _| "never"), Err(Error::Closed));
        world.settle();
        assert_eq!(peers[0].read().ends_with("\r\n\r\nx"), half_closed);
        assert_eq!((world.server.stats().late_replies, world.server.stats().memory.total()), (0, 0));
    }
    // It leaves while the reply is on its way.
    let mut world = world(Config::default());
    let peer = ask(&mut world, get("/later/one"));
    let responder = next(&mut world);
    peer.close();
    responder.reply("x").unwrap();
    world.settle();
    assert_eq!(world.server.stats().connections, 0);
}

#[test]
fn a_client_that_waits_too_long_gets_an_error_and_the_responder_learns_of_it() {
    let mut config = Config::default();
    config.late_reply_timeout = secs(2);
    let mut world = world(config);
    let peer = ask(&mut world, get("/later/one") + &get("/now"));
    world.pass(ms(1_900));
    assert_eq!(peer.read(), "");
    world.pass(ms(700));
    let answers = replies(&peer.read());
    assert_eq!(answers, [(504, "Gateway Timeout".to_owned()), (200, "now".to_owned())]);
    let responder = next(&mut world);
    assert!(!responder.is_awaited());
    assert_eq!(responder.reply("late"), Err(Error::Closed));
    world.settle();
    assert_eq!(peer.read(), "");
}

#[test]
fn waiting_requests_are_limited() {
    let mut config = Config::default();
    config.late_replies_max = 2;
    let mut world = world(config);
    let waiting: Vec<_> = (0..2).map(|_| ask(&mut world, get("/later/one"))).collect();
    let third = ask(&mut world, get("/later/one"));
    let text = third.read();
    assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("Retry-After: "), "{text}");
    assert_eq!(world.server.stats().refused(Refusal::LateReplies), 1);
    let refused = world.server.handler().state().responders.pop().unwrap();
    assert_eq!(refused.reply("x"), Err(Error::Closed));
    next(&mut world).reply("x").unwrap();
    world.settle();
    assert!(waiting[0].read().ends_with('x'));
    let fourth = ask(&mut world, get("/later/one"));
    assert_eq!((fourth.read(), world.server.stats().late_replies), (String::new(), 2));
}

/// A connection above the limit is accepted for one request, whenever its reply comes.
#[test]
fn a_connection_that_is_one_too_many_stays_so_while_it_waits() {
    let mut config = Config::default();
    config.connections_max = 1;
    let mut world = world(config);
    let _first = ask(&mut world, get("/now"));
    let page = ask(&mut world, get("/later/page") + &get("/now"));
    let stream = ask(&mut world, subscribe("/later/stream"));
    next(&mut world).reply("page").unwrap();
    next(&mut world).reply(Reply::stream().topic("t")).unwrap();
    world.settle();
    let text = page.read();
    assert!(text.contains("Connection: close") && text.ends_with("\r\n\r\npage"), "{text}");
    let text = stream.read();
    assert!(text.contains("Connection: close") && text.contains("retry: "), "{text}");
    assert_eq!((page.is_shut(), stream.is_shut(), world.server.stats().streams), (true, true, 0));
}

#[test]
fn a_responder_that_is_lost_replies_500() {
    let mut world = world(Config::default());
    let peer = ask(&mut world, get("/later/one") + &get("/now"));
    drop(next(&mut world));
    world.settle();
    assert_eq!(replies(&peer.read())[0].0, 500);
    // One that panics, and one that is late again.
    let peer = ask(&mut world, get("/later/one"));
    next(&mut world).reply_with(|_, _| -> Reply { panic!("on purpose") }).unwrap();
    world.settle();
    let text = peer.read();
    assert!(text.starts_with("HTTP/1.1 500 ") && text.contains("Connection: close"), "{text}");
    let peer = ask(&mut world, get("/later/one"));
    next(&mut world).reply_with(|_, cx| cx.later().0).unwrap();
    world.settle();
    assert!(peer.read().starts_with("HTTP/1.1 500 "));
    check_accounts(&world.server.stats());
}

/// A handler may return another reply: only that one is sent.
#[test]
fn each_responder_is_for_its_own_reply() {
    let mut app = Router::with_state(Waiting::default());
    app.get("/", |_request, cx| {
        let (reply, responder) = cx.later();
        let (_unused, _lost) = cx.later();
        cx.state.responders.push(responder);
        reply
    });
    let mut world = Loop::<_, true>::new(app);
    let peer = ask(&mut world, get("/"));
    assert_eq!((peer.read(), world.server.stats().late_replies), (String::new(), 1));
    next(&mut world).reply("x").unwrap();
    world.settle();
    assert_eq!(replies(&peer.read()), [(200, "x".to_owned())]);
}

/// Otherwise the next reply would be mistaken for this one.
#[test]
fn a_late_reply_cannot_be_late_again() {
    let mut app = app();
    app.after(|_request, _reply, cx| {
        let (reply, responder) = cx.later();
        cx.state.responders.push(responder);
        reply
    });
    app.get("/before", |_request, _cx| "never seen");
    let mut world = Loop::<_, true>::new(app);
    let peer = ask(&mut world, get("/later/one") + &get("/before"));
    next(&mut world).reply("one").unwrap();
    world.settle();
    assert_eq!(replies(&peer.read())[0].0, 500);
    let _lost = next(&mut world);
    next(&mut world).reply("two").unwrap();
    world.settle();
    assert_eq!(replies(&peer.read())[0].0, 500);
    assert_eq!(world.server.stats().late_replies, 0);
}

#[test]
fn a_reply_that_is_to_come_cannot_be_changed_or_given_to_another_request() {
    let mut app = Router::with_state(None);
    app.get("/header", |_request, cx| {
        let (reply, responder) = cx.later();
        assert!(responder.is_awaited());
        let reply = reply.header("X", "y");
        assert!(!responder.is_awaited());
        reply
    });
    app.get("/keep", |_request, cx| {
        let (reply, _responder) = cx.later();
        *cx.state = Some(reply);
        "kept"
    });
    app.get("/use", |_request, cx| cx.state.take());
    let mut world = Loop::<_, true>::new(app);
    for (path, status) in [("/header", 500), ("/keep", 200), ("/use", 500), ("/use", 404)] {
        let peer = world.connect();
        peer.write(get(path));
        world.settle();
        assert_eq!(replies(&peer.read())[0].0, status, "{path}");
    }
    assert_eq!(world.server.stats().late_replies, 0);
}

/// What does not fit stays in the socket, and is not read again and again.
#[test]
fn input_after_a_waiting_request_is_limited() {
    let mut config = Config::default();
    (config.head_bytes_max, config.target_bytes_max) = (1024, 512);
    let mut world = world(config);
    let peer = ask(&mut world, get("/later/one") + &get("/now").repeat(5000));
    world.settle();
    assert!(world.server.stats().memory.input < 200 << 10, "{:?}", world.server.stats().memory);
    assert_ne!(world.server.next_timeout(), Some(std::time::Duration::ZERO));
    next(&mut world).reply("one").unwrap();
    world.settle();
    let answers = replies(&peer.read());
    assert_eq!((answers.len(), &*answers[0].1), (1000, "one"), "as many as a connection may ask");
}

#[test]
fn a_drain_waits_for_late_replies_and_then_closes() {
    let mut world = world(Config::default());
    let peer = ask(&mut world, get("/later/one"));
    world.server.context().drain(secs(10)).unwrap();
    world.pass(secs(1));
    assert!(!peer.is_closed());
    next(&mut world).reply("done").unwrap();
    world.settle();
    let text = peer.read();
    assert!(text.contains("Connection: close") && text.ends_with("done"), "{text}");
}

#[test]
fn a_server_that_has_stopped_takes_no_replies() {
    let mut world = world(Config::default());
    ask(&mut world, get("/later/one"));
    ask(&mut world, get("/later/two"));
    let (one, two) = (next(&mut world), next(&mut world));
    world.server.context().stop();
    world.settle();
    assert!(matches!(one.reply("x"), Err(Error::Stopped | Error::Closed)));
    drop(world);
    drop(two);
}

/// The requests that hold most are refused at once, so that this frees enough.
#[test]
fn large_requests_that_wait_give_way_before_small_ones_and_histories() {
    let mut config = Config::default();
    (config.memory_max, config.lag_bytes_max) = (1 << 20, 64 << 10);
    config.body_bytes_max = 1 << 20;
    let mut world = world(config);
    let history = TopicConfig::default().history(History::new().events(100));
    world.server.context().configure("kept", history).unwrap();
    (0..100).for_each(|number| world.server.context().publish("kept", number.to_string()).unwrap());
    world.settle();
    let kept = world.server.stats().memory.logs;
    let post = |size: usize| {
        let body = "x".repeat(size);
        format!("POST /later/x HTTP/1.1\r\nHost: x\r\nContent-Length: {size}\r\n\r\n{body}") + &get("/now")
    };
    let small: Vec<_> = (0..3).map(|_| ask(&mut world, post(2 << 10))).collect();
    let large: Vec<_> = (0..9).map(|_| ask(&mut world, post(100 << 10))).collect();
    world.pass(secs(1));
    for peer in &large {
        let text = peer.read();
        assert!(text.starts_with("HTTP/1.1 503 ") && text.contains("Connection: close"), "{text}");
        assert!(peer.is_shut() && replies(&text).len() == 1, "{text}");
    }
    let stats = world.server.stats();
    assert_eq!((stats.refused(Refusal::Memory), stats.memory_cut), (9, 9));
    assert_eq!((stats.late_replies, stats.memory.logs), (3, kept));
    let waiting = std::mem::take(&mut world.server.handler().state().responders);
    let said = waiting.into_iter().map(|responder| responder.reply("x"));
    assert_eq!(said.filter(Result::is_ok).count(), 3);
    world.settle();
    for peer in &small {
        assert_eq!(replies(&peer.read()), [(200, "x".to_owned()), (200, "now".to_owned())]);
    }
    small.iter().chain(&large).for_each(Peer::close);
    world.settle();
    let stats = world.server.stats();
    assert_eq!((stats.memory.input, stats.memory.replies, stats.connections), (0, 0, 0));
    check_accounts(&stats);
}

/// State in a reply may be what another thread waits for.
#[test]
fn replies_that_a_turn_had_no_time_for_are_dropped_with_the_server_still_there() {
    let mut world = world(Config::default());
    let _peers: Vec<_> = (0..3).map(|_| ask(&mut world, get("/later/one"))).collect();
    let brought = Arc::new(());
    for _ in 0..3 {
        let brought = brought.clone();
        let large = move |_: &Request<'_>, _: &mut Context<'_, Waiting>| {
            drop(brought);
            "x".repeat(8 << 20)
        };
        next(&mut world).reply_with(large).unwrap();
    }
    world.server.context().stop();
    world.settle();
    assert!(world.server.is_stopped());
    assert_eq!(Arc::strong_count(&brought), 1);
}

#[test]
fn bodies_and_chunks_of_late_replies_are_sent_with_cors_headers() {
    let mut config = Config::default();
    config.cors = Some(Cors::any());
    let mut world = world(config);
    let chunked = "POST /later/b HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n";
    let plain = "POST /later/b HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nfghij";
    let peer = world.connect();
    for byte in format!("{chunked}{plain}").bytes() {
        peer.write([byte]);
        world.settle();
    }
    fn body(request: &Request<'_>) -> String {
        String::from_utf8(request.body().to_vec()).unwrap()
    }
    next(&mut world).reply_with(|request, _cx| body(request)).unwrap();
    world.settle();
    next(&mut world).reply_with(|request, _cx| body(request)).unwrap();
    world.settle();
    let text = peer.read();
    assert_eq!(replies(&text), [(200, "abcde".to_owned()), (200, "fghij".to_owned())]);
    assert_eq!(text.matches("Access-Control-Allow-Origin: *").count(), 2, "{text}");
}

#[test]
fn threads_reply_over_real_sockets() {
    let mut app = Router::new();
    app.get("/{name}", |request, cx| {
        let name = request.param("name").unwrap_or_default().to_owned();
        let (reply, responder) = cx.later();
        let peer = request.peer();
        std::thread::spawn(move || {
            responder.reply_with(move |request, _cx| {
                assert!(peer.is_some() && request.peer() == peer);
                name
            })
        });
        reply
    });
    let server = serve(app);
    let mut client = server.connect();
    for name in ["one", "two", "three"] {
        assert_eq!(client.get_text(&format!("/{name}")), name);
    }
    static LEFT: AtomicBool = AtomicBool::new(false);
    let mut app = Router::new();
    app.get("/", |_request, cx| {
        let (reply, responder) = cx.later();
        std::thread::spawn(move || {
            while responder.is_awaited() {
                std::thread::yield_now();
            }
            LEFT.store(true, Ordering::SeqCst);
        });
        reply
    });
    let server = serve(app);
    let mut client = server.connect();
    client.write(get("/"));
    server.wait_for("it waits", |stats| stats.late_replies == 1);
    drop(client);
    server.wait_for("its client has left", |stats| stats.late_replies == 0);
    let deadline = crate::support::now() + secs(10);
    while !LEFT.load(Ordering::SeqCst) {
        assert!(crate::support::now() < deadline);
        std::thread::yield_now();
    }
}

#[test]
fn older_clients_and_those_that_wait_for_100_continue() {
    let mut world = world(Config::default());
    let peer = ask(&mut world, "GET /later/s HTTP/1.0\r\n\r\n");
    next(&mut world).reply(Reply::stream().topic("t")).unwrap();
    world.settle();
    world.server.context().publish("t", "hello").unwrap();
    world.settle();
    let text = peer.read();
    assert!(text.contains("data: hello") && !text.contains("chunked"), "{text}");
    let peer = ask(&mut world, "GET /later/x HTTP/1.0\r\n\r\n".to_owned() + &get("/now"));
    next(&mut world).reply("x").unwrap();
    world.settle();
    assert!(peer.read().ends_with("\r\n\r\nx") && peer.is_shut());
    let head = "POST /later/x HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 3\r\n\r\n";
    let peer = ask(&mut world, head);
    assert_eq!(peer.read(), "HTTP/1.1 100 Continue\r\n\r\n");
    peer.write("abc");
    world.settle();
    assert_eq!(peer.read(), "");
    next(&mut world).reply_with(|request, _cx| String::from_utf8_lossy(request.body()).into_owned()).unwrap();
    world.settle();
    assert_eq!(replies(&peer.read()), [(200, "abc".to_owned())]);
}

/// It has half-closed, and still reads.
#[test]
fn a_client_that_has_closed_its_side_gets_all_of_its_replies() {
    for room in [0, 5, 1 << 20] {
        let mut config = Config::default();
        config.half_closed = true;
        (config.head_bytes_max, config.target_bytes_max) = (1024, 512);
        let mut world = world(config);
        let peer = world.connect();
        peer.set_room(room);
        peer.write(get("/now").repeat(3) + &get("/later/x") + &get("/now").repeat(200));
        peer.close();
        world.settle();
        next(&mut world).reply("late").unwrap();
        world.settle();
        peer.set_room(1 << 20);
        world.settle();
        let answers = replies(&peer.read());
        assert_eq!((answers.len(), &*answers[3].1, peer.is_closed()), (204, "late", true), "{room}");
        assert_eq!(world.server.stats().memory.total(), 0);
    }
}

#[test]
fn the_last_request_of_a_connection_may_have_a_late_reply() {
    let mut config = Config::default();
    config.requests_per_connection_max = 2;
    let mut world = world(config);
    let peer = ask(&mut world, get("/later/one") + &get("/later/two") + &get("/now"));
    for name in ["one", "two"] {
        next(&mut world).reply(name).unwrap();
        world.settle();
    }
    let text = peer.read();
    assert!(text.ends_with("\r\n\r\ntwo") && text.matches("Connection: close").count() == 1, "{text}");
    assert!(peer.is_shut());
}

/// Waiting requests may hold all the memory. Events without room must not hold up their replies.
#[test]
fn late_replies_are_not_held_up_by_requests_without_memory() {
    let mut config = Config::default();
    (config.memory_max, config.lag_bytes_max) = (1 << 20, 64 << 10);
    (config.late_replies_max, config.connections_max) = (100_000, 100_000);
    let mut world = world(config);
    let mut peers = Vec::new();
    loop {
        let peer = ask(&mut world, get("/later/x"));
        if !peer.read().is_empty() {
            break;
        }
        peers.push(peer);
    }
    world.server.publisher().publish("t", "x").unwrap();
    for responder in std::mem::take(&mut world.server.handler().state().responders) {
        // The last one is that of the refused request.
        let _ = responder.reply("x");
    }
    world.pass(secs(2));
    assert!(peers.iter().all(|peer| peer.read().contains("200 OK")));
    assert_eq!((world.server.stats().events_published, world.server.stats().late_replies), (1, 0));
}
