//! Log lines of errors and their levels: peers cannot fill the log.

use crate::memory_net::{Loop, get, subscribe};
use crate::observers::{listen, logged};
use crate::support::{replies, secs};
use log::Level;
use mio_sse::{BadRequest, Error, Event, Reply, Router};

fn app() -> Router {
    let mut app = Router::new();
    app.get("/bad", |_request, _cx| Err::<Reply, _>(BadRequest::new("It is no number.")));
    app.get("/boxed", |_request, _cx| {
        Err::<Reply, Box<dyn std::error::Error>>(BadRequest::new("Boxed.").into())
    });
    app.get("/sent", |_request, _cx| {
        Err::<Reply, Box<dyn std::error::Error + Send + Sync>>(BadRequest::new("Sent.").into())
    });
    app.get("/failed/{*rest}", |_request, _cx| Err::<Reply, _>("the disk is full"));
    app.get("/memory", |_request, _cx| Err::<Reply, _>(Error::TooMuchMemory));
    app.get("/panics", |_request, _cx| -> Reply { panic!("on purpose") });
    app.sse("/clock", |stream, _request, cx| {
        cx.every(stream, secs(1), |stream, cx| {
            cx.send(stream, Event::new().data("x".repeat(1 << 20)))?;
            cx.send(stream, Event::new().data("y"))
        })
    });
    app
}

fn ask(path: &str) -> (u16, String, Vec<(Level, String)>) {
    listen();
    let mut world = Loop::<_, true>::new(app());
    let peer = world.connect();
    peer.write(get(path));
    world.settle();
    let (status, text) = replies(&peer.read()).remove(0);
    (status, text, logged().into_iter().map(|(level, _, line)| (level, line)).collect())
}

#[test]
fn a_fault_of_the_peer_is_a_400_without_a_log_line() {
    for (path, text) in [("/bad", "It is no number."), ("/boxed", "Boxed."), ("/sent", "Sent.")] {
        assert_eq!(ask(path), (400, text.to_owned(), vec![]), "{path}");
    }
    assert_eq!(ask("/memory"), (503, "Service Unavailable".to_owned(), vec![]));
}

#[test]
fn errors_of_the_application_name_the_request() {
    let line = "the handler of GET /failed/%0Ax failed: the disk is full".to_owned();
    let status = "Internal Server Error".to_owned();
    assert_eq!(ask("/failed/%0Ax"), (500, status.clone(), vec![(Level::Error, line)]));
    let long = format!("/failed/{}", "x".repeat(1_000));
    let (.., lines) = ask(&long);
    assert!(lines[0].1.len() < 300 && lines[0].1.contains("xxx... failed: "), "{lines:?}");
    let line = "the handler of GET /panics panicked: on purpose".to_owned();
    assert_eq!(ask("/panics"), (500, status, vec![(Level::Error, line)]));
}

#[test]
fn a_client_that_does_not_read_is_no_warning() {
    listen();
    let mut config = mio_sse::Config::default();
    config.lag_bytes_max = 1 << 10;
    let mut world = Loop::<_, true>::with_config(app(), config);
    let peer = world.connect();
    peer.write(subscribe("/clock"));
    world.settle();
    peer.set_room(0);
    for _ in 0..5 {
        world.pass(secs(1));
    }
    assert_eq!(world.server.stats().streams, 0);
    assert_eq!(logged(), []);
}

#[cfg(feature = "json")]
#[test]
fn malformed_json_is_a_400() {
    listen();
    let mut app = Router::new();
    app.post("/add", |request, _cx| {
        let [a, b] = request.json::<[i64; 2]>()?;
        Ok::<_, Box<dyn std::error::Error>>(Reply::text((a + b).to_string()))
    });
    let mut world = Loop::<_, true>::new(app);
    let peer = world.connect();
    for body in ["[1,2]", "[1,", "{}"] {
        let length = body.len();
        peer.write(format!("POST /add HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"));
    }
    world.settle();
    let replies = replies(&peer.read());
    assert_eq!(replies[0], (200, "3".to_owned()));
    assert!(replies[1].0 == 400 && replies[1].1.contains("EOF"), "{replies:?}");
    assert_eq!(replies[2].0, 400);
    assert_eq!(logged(), []);
}
