//! Timers, over a network in memory and a clock that only tests advance.

use crate::memory_net::{Loop, Peer, get};
use mio_sse::{CloseReason, EVENT_BYTES_MAX, Error, Event, Router, TimerId};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

const SECOND: Duration = Duration::from_secs(1);

fn open(world: &mut Loop<Router>) -> Peer {
    let peer = world.connect();
    peer.write(get("/"));
    world.settle();
    peer.read();
    peer
}

fn events(peer: &Peer) -> usize {
    peer.read().matches("data: ").count()
}

#[test]
fn a_streams_timers_fire_in_time_and_end_with_it() {
    let dropped = Arc::new(());
    let held = dropped.clone();
    let mut app = Router::new();
    app.sse("/", move |stream, _request, cx| {
        let held = held.clone();
        cx.every(stream, SECOND, move |stream, cx| {
            let _ = &held;
            cx.send(stream, Event::new().data("tick"))
        })?;
        cx.after(stream, 10 * SECOND, |stream, cx| cx.close(stream))
    });
    let mut world = Loop::new(app);
    let (peer, leaver) = (open(&mut world), open(&mut world));
    world.pass(SECOND - Duration::from_millis(1));
    assert_eq!(events(&peer), 0);
    world.pass(Duration::from_millis(1));
    assert_eq!(events(&peer), 1);
    leaver.close();
    world.settle();
    assert_eq!(
        Arc::strong_count(&dropped),
        3,
        "the test's, the route's, and that of the stream which is left"
    );
    world.pass(60 * SECOND);
    assert_eq!(events(&peer), 9);
    assert_eq!(Arc::strong_count(&dropped), 2);
    let stats = world.server.stats();
    assert_eq!((stats.closed(CloseReason::Application), stats.closed(CloseReason::PeerClosed)), (1, 1));
}

#[test]
fn a_timer_that_cancels_itself_is_over() {
    let count = Arc::new(AtomicUsize::new(0));
    let counter = count.clone();
    let mut app = Router::new();
    app.on_start(move |cx| {
        let own: Arc<Mutex<Option<TimerId>>> = Arc::default();
        let known = own.clone();
        let id = cx.every_global(SECOND, move |cx| {
            if counter.fetch_add(1, Ordering::SeqCst) == 2 {
                let id = known.lock().unwrap().unwrap();
                assert!(cx.cancel(id));
                assert!(!cx.cancel(id));
            }
        });
        *own.lock().unwrap() = Some(id);
    });
    let mut world = Loop::new(app);
    world.pass(60 * SECOND);
    assert_eq!(count.load(Ordering::SeqCst), 3);
    assert_eq!(world.server.next_timeout(), None, "nothing is left to wait for");
}

#[test]
fn cancelled_timers_do_not_fire() {
    let mut world = Loop::new(Router::new());
    let fired = Arc::new(AtomicUsize::new(0));
    let mut cx = world.server.context();
    let count = || {
        let fired = fired.clone();
        move |_: &mut mio_sse::Context<'_>| _ = fired.fetch_add(1, Ordering::SeqCst)
    };
    let (once, again) = (cx.after_global(SECOND, count()), cx.every_global(SECOND, count()));
    cx.after_global(2 * SECOND, count());
    assert!(cx.cancel(once) && cx.cancel(again));
    world.pass(10 * SECOND);
    assert_eq!(fired.load(Ordering::SeqCst), 1);
    assert!(!world.server.context().cancel(once), "an id of a timer that is over means nothing");
}

#[test]
fn the_first_of_many_times_comes_after_one_period_and_the_only_one_leaves_nothing() {
    let fired = Arc::new(Mutex::new(vec![]));
    let (every, after) = (fired.clone(), fired.clone());
    let mut app = Router::new();
    app.sse("/", move |stream, _request, cx| {
        let (every, after) = (every.clone(), after.clone());
        cx.every(stream, 2 * SECOND, move |_stream, _cx| every.lock().unwrap().push("every"))?;
        cx.after(stream, SECOND, move |_stream, _cx| after.lock().unwrap().push("after"))
    });
    let mut world = Loop::new(app);
    let _peer = open(&mut world);
    assert_eq!(world.server.stats().timers, 2);
    world.pass(SECOND);
    assert_eq!(*fired.lock().unwrap(), ["after"]);
    assert_eq!(world.server.stats().timers, 1);
    world.pass(SECOND);
    assert_eq!(*fired.lock().unwrap(), ["after", "every"]);
}

#[test]
fn timers_of_a_stream_that_was_not_opened_are_dropped() {
    let fired = Arc::new(AtomicUsize::new(0));
    let counter = fired.clone();
    let mut app = Router::new();
    app.sse("/", move |stream, _request, cx| {
        let counter = counter.clone();
        cx.every(stream, SECOND, move |_stream, _cx| _ = counter.fetch_add(1, Ordering::SeqCst))?;
        Err::<(), _>(Error::Stopped)
    });
    let mut world = Loop::new(app);
    let peer = world.connect();
    peer.write(get("/"));
    world.settle();
    assert!(peer.read().starts_with("HTTP/1.1 500 "));
    world.pass(10 * SECOND);
    assert_eq!(fired.load(Ordering::SeqCst), 0);
    assert_eq!(Arc::strong_count(&fired), 2);
}

#[test]
fn timers_of_a_stream_that_closes_before_it_is_open_are_dropped() {
    let held = Arc::new(());
    let given = held.clone();
    let mut app = Router::new();
    app.sse("/", move |stream, _request, cx| {
        let (timer, hook) = (given.clone(), given.clone());
        cx.every(stream, SECOND, move |_stream, _cx| _ = &timer)?;
        cx.on_close(stream, move |_reason, _cx| _ = hook)?;
        let large = Event::new().data("x".repeat(EVENT_BYTES_MAX - "data: \n\n".len()));
        assert_eq!(cx.send(stream, large), Ok(()));
        let more = cx.send(stream, Event::new().data("x"));
        assert_eq!(more, Err(Error::Closed), "more than may wait for a stream at once");
        Ok::<_, Error>(())
    });
    let mut world = Loop::new(app);
    let peer = world.connect();
    peer.write(get("/"));
    world.settle();
    assert!(peer.is_closed());
    assert_eq!(Arc::strong_count(&held), 2);
    let stats = world.server.stats();
    assert_eq!((stats.streams_opened, stats.streams_closed(), stats.connections), (0, 0, 0));
}

#[test]
fn timers_beyond_the_budget_of_a_turn_fire_in_the_next() {
    let mut config = mio_sse::Config::default();
    config.timers_per_turn = 3;
    let mut world = Loop::<_>::with_config(Router::new(), config);
    let fired = Arc::new(AtomicUsize::new(0));
    for _ in 0..100 {
        let fired = fired.clone();
        world.server.context().after_global(SECOND, move |_cx| _ = fired.fetch_add(1, Ordering::SeqCst));
    }
    world.pass(SECOND);
    assert_eq!(fired.load(Ordering::SeqCst), 100);
}

#[test]
fn times_beyond_the_end_of_time_never_come() {
    let mut world = Loop::new(Router::new());
    let mut cx = world.server.context();
    cx.every_global(Duration::MAX, |_cx| -> () { panic!("too early") });
    cx.after_global(Duration::MAX, |_cx| -> () { panic!("too early") });
    world.pass(1000 * SECOND);
    assert!(world.server.next_timeout().unwrap() > 1_000_000 * SECOND);
}

#[test]
fn timers_of_the_same_time_fire_in_the_order_they_were_set() {
    let fired = Arc::new(Mutex::new(vec![]));
    let mut world = Loop::new(Router::new());
    world.settle();
    for n in 0..4 {
        let fired = fired.clone();
        world.server.context().after_global(Duration::from_secs(1), move |_| fired.lock().unwrap().push(n));
        if n % 2 == 1 {
            world.pass(Duration::from_secs(1));
        }
    }
    assert_eq!(*fired.lock().unwrap(), [0, 1, 2, 3]);
}
