//! Other threads: their events arrive whole and in order, a full inbox holds them back, and no thread waits
//! for ever.

use crate::memory_net::{Loop, get};
use crate::support::{DEADLINE, parse, replies, serve, serve_with};
use mio_sse::{
    Config, Context, Error, Event, EventError, Handler, Publisher, Reply, Request, Router, Server, StreamId,
};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

fn app() -> Router {
    let mut app = Router::new();
    app.get("/{topic}", |request, _cx| Reply::stream().topic(request.param("topic").unwrap()));
    app
}

fn with_inbox(inbox_max: usize) -> Config {
    let mut config = Config::default();
    config.inbox_max = inbox_max;
    config
}

/// A stream route that reports the id of each stream.
fn app_with_ids() -> (Router, mpsc::Receiver<StreamId>) {
    let (sender, receiver) = mpsc::channel();
    let mut app = Router::new();
    app.sse("/", move |stream, _request, _cx| {
        sender.send(stream).unwrap();
        Reply::stream().topic("all")
    });
    (app, receiver)
}

#[test]
fn a_publisher_is_for_every_thread() {
    fn is_shared<T: Send + Sync + Clone + 'static>() {}
    is_shared::<Publisher>();
    fn is_sent<T: Send>() {}
    is_sent::<Server<Router>>();
}

#[test]
fn every_stream_gets_the_events_of_each_thread_in_order_and_none_is_lost() {
    const THREADS: usize = 4;
    const EVENTS: usize = 3000;
    let mut config = with_inbox(16);
    config.lag_bytes_max = 64 << 20;
    let server = serve_with(app(), config);
    let mut clients: Vec<_> = (0..3)
        .map(|_| {
            let mut client = server.connect();
            client.get("/all");
            client
        })
        .collect();
    let threads: Vec<_> = (0..THREADS)
        .map(|thread| {
            let publisher = server.publisher.clone();
            thread::spawn(move || {
                for n in 0..EVENTS {
                    publisher.publish("all", Event::new().data(format!("{thread} {n}"))).unwrap();
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().unwrap();
    }
    server.publisher.publish("all", Event::new().data("end")).unwrap();
    for client in &mut clients {
        client.wait_for_body("data: end\n\n");
        let data = client.data(THREADS * EVENTS + 1);
        assert_eq!(data.len(), THREADS * EVENTS + 1);
        for thread in 0..THREADS {
            let prefix = format!("{thread} ");
            let numbers = data.iter().filter_map(|data| data.strip_prefix(&prefix)?.parse::<usize>().ok());
            assert!(numbers.eq(0..EVENTS), "thread {thread}");
        }
    }
    let stats = server.stats();
    assert_eq!(stats.events_published, (THREADS * EVENTS + 1) as u64);
}

#[test]
fn messages_of_one_thread_are_handled_in_order() {
    let (app, ids) = app_with_ids();
    let server = serve(app);
    let mut client = server.connect();
    client.get("/");
    let stream = ids.recv_timeout(DEADLINE).unwrap();
    let publisher = &server.publisher;
    publisher.publish("all", Event::new().data("1")).unwrap();
    publisher.send(stream, Event::new().data("2")).unwrap();
    publisher.clone().run(move |cx| cx.send(stream, Event::new().data("3"))).unwrap();
    publisher.try_publish("all", Event::new().data("4")).unwrap();
    publisher.close(stream).unwrap();
    publisher.publish("all", Event::new().data("5, too late")).unwrap();
    // The stream has closed by the time that the loop gets to it, which the publisher cannot know.
    publisher.send(stream, Event::new().data("6, too late")).unwrap();
    publisher.close(stream).unwrap();
    let data: Vec<_> = client.events_to_end().into_iter().map(|event| event.data).collect();
    assert_eq!(data, ["1", "2", "3", "4"]);
}

#[test]
fn a_full_inbox_is_an_error_for_a_publisher_that_must_not_wait() {
    let mut server = Server::bind_with("127.0.0.1:0", app(), with_inbox(3)).unwrap();
    let publisher = server.publisher();
    for _ in 0..3 {
        assert_eq!(publisher.try_publish("a", Event::new().data("x")), Ok(()));
    }
    for _ in 0..3 {
        assert_eq!(publisher.try_publish("a", Event::new().data("x")), Err(Error::Full));
    }
    server.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(server.stats().events_published, 3, "refused events are not published later");
    assert_eq!(publisher.try_publish("a", Event::new().data("x")), Ok(()));
}

#[test]
fn a_publisher_that_waits_for_room_continues_when_there_is_some() {
    let mut server = Server::bind_with("127.0.0.1:0", app(), with_inbox(2)).unwrap();
    let publisher = server.publisher();
    let (sender, receiver) = mpsc::channel();
    let threads: Vec<_> = (0..8)
        .map(|_| {
            let (publisher, sender) = (publisher.clone(), sender.clone());
            thread::spawn(move || {
                for _ in 0..50 {
                    publisher.publish("a", Event::new().data("x")).unwrap();
                    sender.send(()).unwrap();
                }
            })
        })
        .collect();
    for _ in 0..2 {
        receiver.recv_timeout(DEADLINE).unwrap();
    }
    let none = receiver.recv_timeout(Duration::from_millis(20));
    assert_eq!(none, Err(RecvTimeoutError::Timeout), "two fit, and no more");
    let deadline = crate::support::now() + DEADLINE;
    while server.stats().events_published < 400 {
        assert!(crate::support::now() < deadline, "{:?}", server.stats());
        server.turn(Some(Duration::from_millis(100))).unwrap();
    }
    for thread in threads {
        thread.join().unwrap();
    }
    assert_eq!(receiver.try_iter().count(), 398);
}

/// All calls of a publisher.
fn all_refusals(publisher: &Publisher, stream: StreamId) -> [Result<(), Error>; 5] {
    [
        publisher.publish("a", Event::new().data("x")),
        publisher.try_publish("a", Event::new().data("x")),
        publisher.send(stream, Event::new().data("x")),
        publisher.close(stream),
        publisher.run(|_cx| ()),
    ]
}

#[test]
fn after_the_stop_every_request_is_refused() {
    let (app, ids) = app_with_ids();
    let server = serve(app);
    let mut client = server.connect();
    client.get("/");
    let stream = ids.recv_timeout(DEADLINE).unwrap();
    let publisher = server.publisher.clone();
    server.stop();
    assert_eq!(all_refusals(&publisher, stream), [const { Err(Error::Stopped) }; 5]);
}

#[test]
fn a_server_that_was_dropped_refuses_too() {
    let publisher = Server::bind("127.0.0.1:0", app()).unwrap().publisher();
    assert_eq!(publisher.publish("a", Event::new().data("x")), Err(Error::Stopped));
    assert_eq!(publisher.try_publish("a", Event::new().data("x")), Err(Error::Stopped));
}

#[test]
fn a_publisher_that_waits_for_room_learns_that_the_server_stops() {
    let mut server = Server::bind_with("127.0.0.1:0", app(), with_inbox(1)).unwrap();
    // After the first turn, publishers wait for room as long as needed.
    server.turn(Some(Duration::ZERO)).unwrap();
    server.publisher().publish("a", Event::new().data("x")).unwrap();
    let (sender, receiver) = mpsc::channel();
    for n in 0..6 {
        let (publisher, sender) = (server.publisher(), sender.clone());
        thread::spawn(move || {
            let result = match n % 2 {
                0 => publisher.publish("a", Event::new().data("x")),
                _ => publisher.run(|_cx| ()),
            };
            sender.send(result).unwrap();
        });
    }
    let none = receiver.recv_timeout(Duration::from_millis(20));
    assert_eq!(none, Err(RecvTimeoutError::Timeout), "there is no room");
    drop(server);
    for _ in 0..6 {
        assert_eq!(receiver.recv_timeout(DEADLINE), Ok(Err(Error::Stopped)));
    }
}

#[test]
fn a_closure_that_never_ran_is_dropped_with_the_server() {
    let server = Server::bind("127.0.0.1:0", app()).unwrap();
    let publisher = server.publisher();
    let (captured, inner) = (Arc::new(()), publisher.clone());
    let held = captured.clone();
    // Its destructor uses the publisher again, which must not be a deadlock.
    struct OnDrop(Publisher);
    impl Drop for OnDrop {
        fn drop(&mut self) {
            assert_eq!(self.0.run(|_cx| ()), Err(Error::Stopped));
        }
    }
    let on_drop = OnDrop(inner);
    publisher.run(move |_cx| drop((held, on_drop))).unwrap();
    drop(server);
    assert_eq!(Arc::strong_count(&captured), 1);
}

#[test]
fn on_the_thread_of_the_loop_a_full_inbox_is_an_error_and_not_a_deadlock() {
    let (app, ids) = app_with_ids();
    let server = serve_with(app, with_inbox(4));
    let mut client = server.connect();
    client.get("/");
    let stream = ids.recv_timeout(DEADLINE).unwrap();
    let (sender, receiver) = mpsc::channel();
    let publisher = server.publisher.clone();
    let work = move |_cx: &mut Context<'_>| {
        while publisher.try_publish("all", Event::new().data("x")).is_ok() {}
        sender.send(all_refusals(&publisher, stream)).unwrap();
    };
    server.publisher.run(work).unwrap();
    let full = || Err(Error::Full);
    assert_eq!(receiver.recv_timeout(DEADLINE).unwrap(), [full(), full(), full(), full(), full()]);
    server.publisher.publish("all", Event::new().data("and on")).unwrap();
    client.wait_for_body("data: and on\n\n");
}

#[test]
fn a_handler_may_publish_through_a_publisher_of_its_own() {
    let mut app = Router::new();
    let own = Arc::new(Mutex::new(None::<Publisher>));
    let publisher = own.clone();
    app.sse("/", move |_stream, _request, _cx| {
        publisher.lock().unwrap().as_ref().unwrap().publish("all", Event::new().data("joined"))?;
        Ok::<_, Error>(Reply::stream().topic("all"))
    });
    let server = serve_with(app, with_inbox(1));
    *own.lock().unwrap() = Some(server.publisher.clone());
    let mut client = server.connect();
    client.get("/");
    // The event goes through the inbox, so it comes after the subscription.
    assert_eq!(client.data(1), ["joined"]);
}

#[test]
fn the_loop_is_woken_once_for_each_time_that_the_inbox_was_empty() {
    let mut world = Loop::<_>::with_config(app(), with_inbox(100));
    world.settle();
    let publisher = world.server.publisher();
    for round in 1..=5 {
        for _ in 0..30 {
            publisher.publish("a", Event::new().data("x")).unwrap();
        }
        publisher.run(|_cx| ()).unwrap();
        assert_eq!(world.wakes(), round, "one wake for 31 messages");
        world.settle();
        assert_eq!(world.server.stats().events_published, 30 * round as u64);
    }
    while publisher.try_publish("a", Event::new().data("x")).is_ok() {}
    assert_eq!(world.wakes(), 6, "a refusal does not wake the loop");
}

#[test]
fn messages_above_the_budget_of_a_turn_are_handled_in_the_next() {
    let mut world = Loop::<_>::with_config(app(), with_inbox(3000));
    world.settle();
    let publisher = world.server.publisher();
    for count in [65, 3000] {
        let before = world.server.stats().events_published;
        (0..count).for_each(|_| publisher.publish("a", Event::new().data("x")).unwrap());
        world.settle();
        assert_eq!(world.server.stats().events_published, before + count);
    }
}

#[test]
fn an_event_that_cannot_be_encoded_is_refused_at_once_and_takes_no_room() {
    let (app, ids) = app_with_ids();
    let mut world = Loop::<_>::with_config(app, with_inbox(1));
    let peer = world.connect();
    peer.write(get("/"));
    world.settle();
    let stream = ids.recv_timeout(DEADLINE).unwrap();
    let publisher = world.server.publisher();
    let wakes = world.wakes();
    let invalid = || Event::new().data("x").id("two\nlines");
    let refused = || Err(Error::InvalidEvent(EventError::ControlInId));
    for _ in 0..3 {
        assert_eq!(publisher.publish("all", invalid()), refused());
        assert_eq!(publisher.try_publish("all", invalid()), refused());
        assert_eq!(publisher.send(stream, invalid()), refused());
    }
    assert_eq!(world.wakes(), wakes);
    publisher.try_publish("all", Event::new().data("fits")).unwrap();
    assert_eq!(publisher.publish("all", invalid()), refused(), "also where there is no room to wait for");
    world.settle();
    assert_eq!(parse(replies(&peer.read())[0].1.as_bytes()).len(), 1);
}

#[test]
fn while_a_fan_out_cannot_keep_up_messages_stay_in_the_inbox_and_publishers_wait() {
    const SUBSCRIBERS: usize = 20;
    let mut config = with_inbox(200);
    config.lag_bytes_max = 5_000;
    config.sends_per_turn = 1;
    let mut world = Loop::<_>::with_config(app(), config);
    let peers: Vec<_> = (0..SUBSCRIBERS)
        .map(|_| {
            let peer = world.connect();
            peer.write(get("/all"));
            peer
        })
        .collect();
    world.settle();
    // One of them reads nothing: it must not hold up the others.
    peers[0].set_room(0);
    let publisher = world.server.publisher();
    let event = Event::new().data("x".repeat(200));
    let publish = |count| (0..count).take_while(|_| publisher.try_publish("all", &event).is_ok()).count();
    // By then it has had the time to read, and publishers no longer wait for it.
    assert_eq!(publish(1), 1);
    world.settle();
    world.pass(Duration::from_millis(100));

    assert_eq!(publish(1000), 200);
    world.turn();
    // A batch of 64 exceeds the limit already; the rest waits for the fan-out.
    assert_eq!(world.server.stats().events_published, 65);
    assert_eq!(publish(1000), 64, "there is room for as many as were taken");
    let mut published: u64 = 265;
    let mut full = 0;
    for _ in 0..400 {
        world.turn();
        assert_eq!(world.server.next_timeout(), Some(Duration::ZERO), "there is more to do");
        let more = publish(1000);
        published += more as u64;
        full += usize::from(more == 0);
    }
    assert!((350..400).contains(&full), "the inbox stayed full in {full} turns of 400");
    let taken = world.server.stats().events_published;
    assert!(taken < published && taken > 265, "{taken} of {published}: slowly, but always on");

    world.settle();
    assert_eq!(world.server.stats().events_published, published);
    assert!(peers[0].is_closed());
    for peer in &peers[1..] {
        assert_eq!(parse(replies(&peer.read())[0].1.as_bytes()).len() as u64, published);
    }
}

/// Panics in its first request.
struct Panics;

impl Handler for Panics {
    fn request(&mut self, _request: &Request<'_>, _cx: &mut Context<'_>) -> Reply {
        panic!("as it should")
    }
}

#[test]
fn publishers_do_not_wait_for_a_server_whose_handler_has_panicked() {
    let mut config = Config::default();
    config.inbox_max = 1;
    config.propagate_panics = true;
    let mut server = Server::bind_with("127.0.0.1:0", Panics, config).unwrap();
    let (address, publisher) = (server.local_addr().unwrap(), server.publisher());
    let thread = thread::spawn(move || server.run());
    crate::support::Client::connect(address).write(get("/"));
    assert!(thread.join().is_err());
    let (sender, receiver) = mpsc::channel();
    thread::spawn(move || {
        sender.send([0, 1].map(|_| publisher.publish("a", Event::new().data("x")))).unwrap();
    });
    assert_eq!(receiver.recv_timeout(DEADLINE), Ok([Err(Error::Stopped), Err(Error::Stopped)]));
}

/// The thread of the loop is recorded in the first turn and never again.
#[test]
fn a_full_inbox_is_no_deadlock_for_a_server_that_has_moved_to_another_thread() {
    let publisher = Arc::new(Mutex::new(None::<Publisher>));
    let own = publisher.clone();
    let mut app = Router::new();
    app.get("/", move |_request, _cx| {
        let publisher = own.lock().unwrap().clone().unwrap();
        while publisher.publish("a", Event::new().data("x")).is_ok() {}
        Reply::text("went on")
    });
    let mut config = Config::default();
    config.inbox_max = 1;
    let mut server = Server::bind_with("127.0.0.1:0", app, config).unwrap();
    *publisher.lock().unwrap() = Some(server.publisher());
    let address = server.local_addr().unwrap();
    server.turn(Some(Duration::ZERO)).unwrap();
    thread::spawn(move || server.run());
    assert_eq!(crate::support::Client::connect(address).get_text("/"), "went on");
}

#[test]
fn a_publisher_does_not_wait_for_ever_before_the_server_runs() {
    let mut server = Server::bind_with("127.0.0.1:0", app(), with_inbox(4)).unwrap();
    let publisher = server.publisher();
    (0..4).for_each(|_| publisher.publish("all", Event::new().data("")).unwrap());
    assert_eq!(publisher.publish("all", Event::new().data("")), Err(Error::Full));
    // If it starts in time, nothing is refused.
    let waiting = thread::spawn(move || publisher.publish("all", Event::new().data("")));
    while !waiting.is_finished() {
        server.turn(Some(Duration::from_millis(1))).unwrap();
    }
    assert_eq!(waiting.join().unwrap(), Ok(()));
}

#[test]
fn the_inbox_is_bounded_by_bytes_and_one_message_always_fits() {
    let mut config = Config::default();
    config.memory_max = 8 << 20;
    let mut server = Server::bind_with("127.0.0.1:0", app(), config).unwrap();
    let publisher = server.publisher();
    let large = Event::new().data("x".repeat(700_000));
    assert_eq!(publisher.try_publish("all", Event::new().data("x".repeat(5 << 20))), Ok(()));
    assert_eq!(publisher.try_publish("all", &large), Err(Error::Full));
    server.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(publisher.try_publish("all", &large), Ok(()));
    assert_eq!(publisher.try_publish("all", &large), Ok(()));
    assert_eq!(publisher.try_publish("all", &large), Err(Error::Full));
    assert!(server.stats().memory.inbox > 1_400_000, "{:?}", server.stats().memory);
    server.turn(Some(Duration::ZERO)).unwrap();
    assert_eq!(server.stats().memory.inbox, 0);
}

#[test]
fn a_publisher_that_does_not_wait_says_that_there_is_no_room() {
    let mut config = Config::default();
    config.inbox_max = 1;
    let mut app = Router::with_state(None);
    app.sse("/", |stream, _request, cx| *cx.state = Some(stream));
    let mut world = Loop::<_>::with_config(app, config);
    let peer = world.connect();
    peer.write(get("/"));
    world.settle();
    let stream = world.server.handler().state().expect("it has opened");
    let publisher = world.server.publisher().nonblocking();
    publisher.publish("t", "fits").unwrap();
    // On a thread that may wait.
    let (sender, results) = mpsc::channel();
    let calls = publisher.clone();
    thread::spawn(move || {
        let results = [
            ("publish", calls.clone().publish("t", "x")),
            ("publish_all", calls.publish_all(["t"], "x")),
            ("send", calls.send(stream, "x")),
            ("send_tagged", calls.send_tagged("t", "x")),
            ("close", calls.close(stream)),
            ("wake", calls.without_state().wake(stream)),
            ("run", calls.run(|_cx| ())),
            ("ask", calls.ask(|_cx| ())),
        ];
        sender.send(results).unwrap();
    });
    for (name, result) in results.recv_timeout(DEADLINE).expect("nothing waits") {
        assert_eq!(result, Err(Error::Full), "{name}");
    }
    world.settle();
    publisher.close_tagged("t").unwrap();
}

#[test]
fn other_threads_can_ask() {
    let mut app = Router::with_state(41);
    app.get("/", |_request, _cx| "x");
    let mut server = Server::bind("127.0.0.1:0", app).unwrap();
    let publisher = server.publisher();
    // This server never runs.
    assert_eq!(publisher.ask(|cx| *cx.state), Err(Error::Full));
    let asks = publisher.clone();
    publisher.run(move |_cx| assert_eq!(asks.ask(|_cx| ()), Err(Error::Full))).unwrap();
    let thread = thread::spawn(move || server.run());
    assert_eq!(
        publisher.ask(|cx| {
            *cx.state += 1;
            *cx.state
        }),
        Ok(42)
    );
    assert_eq!(publisher.ask(|_cx| -> () { panic!("on purpose") }), Err(Error::Stopped));
    publisher.run(|cx| cx.stop()).unwrap();
    thread.join().unwrap().unwrap();
    assert_eq!(publisher.ask(|_cx| ()), Err(Error::Stopped));
}
