//! Values of the application are dropped at a defined time, and may then panic like all other code.

use crate::memory_net::{Loop, get, subscribe};
use crate::support::secs;
use mio_sse::{Context, Event, Handler, Missed, Pull, Reply, Request, Router, StreamId, TopicConfig};
use std::time::Duration;

/// Panics when it is dropped.
struct Bomb;

impl Drop for Bomb {
    fn drop(&mut self) {
        if !std::thread::panicking() {
            panic!("in a destructor");
        }
    }
}

fn ticking() -> impl FnMut(StreamId, &mut Context<'_>) + Send + 'static {
    let bomb = Bomb;
    move |_, _| _ = &bomb
}

fn source() -> impl FnMut() -> Pull + Send + 'static {
    let bomb = Bomb;
    move || {
        let _ = &bomb;
        Pull::Idle
    }
}

struct App;

impl Handler for App {
    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
        let stream = cx.stream().unwrap();
        let plain = Reply::stream().topic("t");
        match request.path() {
            "/timer" => {
                cx.every(stream, secs(1), ticking()).unwrap();
                cx.after(stream, secs(1_000), ticking()).unwrap();
                plain.into()
            }
            "/timer-over" => {
                cx.after(stream, Duration::from_millis(1), ticking()).unwrap();
                plain.into()
            }
            "/timer-cancelled" => {
                let timer = cx.every(stream, secs(1), ticking()).unwrap();
                cx.cancel(timer);
                plain.into()
            }
            "/timer-of-none" => {
                cx.every(stream, secs(1), ticking()).unwrap();
                Reply::text("none")
            }
            "/timer-panics" => {
                let bomb = Bomb;
                cx.after(stream, Duration::from_millis(1), move |_, _| -> () {
                    let _ = &bomb;
                    std::panic::panic_any(Bomb)
                })
                .unwrap();
                plain.into()
            }
            "/on-close" => {
                let (one, two) = (Bomb, Bomb);
                cx.on_close(stream, move |_, _| _ = &one).unwrap();
                cx.on_close(stream, move |_, _| _ = &two).unwrap();
                plain.into()
            }
            "/on-close-of-none" => {
                let (one, two) = (Bomb, Bomb);
                cx.on_close(stream, move |_, _| _ = &one).unwrap();
                cx.on_close(stream, move |_, _| _ = &two).unwrap();
                Reply::text("none")
            }
            "/source" => plain.source(source()).into(),
            "/source-replaced" => {
                cx.set_source(stream, source()).unwrap();
                plain.source(source()).into()
            }
            "/source-of-closed" => {
                cx.close(stream).unwrap();
                plain.source(source()).into()
            }
            "/source-too-many" => {
                (0..200).fold(plain, |plain, n| plain.topic(n.to_string())).source(source()).into()
            }
            "/state" => plain.with(Bomb).into(),
            "/state-too-many" => {
                (0..200).fold(plain, |plain, n| plain.topic(n.to_string())).with(Bomb).into()
            }
            "/on-open" => {
                let bomb = Bomb;
                cx.on_open(|_, _| -> () { panic!("first") });
                cx.on_open(move |_, _| _ = &bomb);
                plain.into()
            }
            "/payload" => std::panic::panic_any(Bomb),
            "/missed" => Reply::stream().topic("own").source(source()).into(),
            "/page" => Reply::text("page"),
            path => panic!("{path}"),
        }
    }

    fn missed(&mut self, stream: StreamId, _id: &str, cx: &mut Context<'_>) -> Missed {
        cx.set_source(stream, source()).unwrap();
        Missed::Later
    }
}

#[test]
fn a_destructor_that_panics_does_not_hold_up_others() {
    for (path, bombs) in [
        ("/timer", 2),
        ("/timer-over", 1),
        ("/timer-cancelled", 1),
        ("/timer-of-none", 1),
        ("/timer-panics", 1 + 1),
        ("/on-close", 2),
        ("/on-close-of-none", 2),
        ("/source", 1),
        ("/source-replaced", 2),
        ("/source-of-closed", 1),
        ("/source-too-many", 1),
        ("/state", 1),
        ("/state-too-many", 1),
        ("/on-open", 1 + 1),
        ("/payload", 1 + 1),
        ("/missed", 2),
    ] {
        for method in ["GET", "HEAD"] {
            let mut world = Loop::<_, true>::new(App);
            world.server.context().configure("own", TopicConfig::default().ids(mio_sse::Ids::Own)).unwrap();
            let (one, other) = (world.connect(), world.connect());
            let request = subscribe(path).replace("GET ", &format!("{method} "));
            one.write(request.replace("\r\n\r\n", "\r\nLast-Event-ID: x\r\n\r\n"));
            other.write(get("/page"));
            world.settle();
            assert!(other.read().ends_with("page"), "{path}");
            world.pass(Duration::from_millis(5));
            // One poll reports both.
            one.close();
            other.write(get("/page"));
            world.turn();
            assert!(other.read().ends_with("page"), "{path}");
            world.settle();
            let stats = world.server.stats();
            assert_eq!((stats.streams, stats.timers), (0, 0), "{path}");
            if method == "GET" {
                assert_eq!(stats.panics, bombs, "{path}");
            }
            drop(world);
        }
    }
}

#[test]
fn messages_in_the_inbox_of_a_stopped_server_are_dropped_one_by_one() {
    let mut world = Loop::<_, true>::new(Router::new());
    let publisher = world.server.publisher();
    world.turn();
    for _ in 0..3 {
        let bomb = Bomb;
        publisher.run(move |_| _ = &bomb).unwrap();
    }
    world.server.context().stop();
    // The first turn takes messages; these are too late for it.
    world.turn();
    let world = Loop::<_, true>::new(Router::new());
    let publisher = world.server.publisher();
    for _ in 0..3 {
        let bomb = Bomb;
        publisher.run(move |_| _ = &bomb).unwrap();
    }
    drop(world);
    assert!(publisher.publish("t", Event::new().data("")).is_err());
}
