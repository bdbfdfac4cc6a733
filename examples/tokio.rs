//! The server in an async program: `cargo run --release --features tokio --example tokio`,
//! then
//!
//! ```text
//! curl -N http://127.0.0.1:8080/clock
//! curl http://127.0.0.1:8080/slow
//! ```
//!
//! The server has a thread of its own, where it waits for its sockets. Tasks publish and reply without
//! blocking, so they never hold up the threads of the runtime.
//!
//! `PORT` in the environment chooses the port, `RUST_LOG` what is logged.

mod common;

use mio_sse::{Error, Publisher, Reply, Responder, Router};
use std::process::ExitCode;
use std::time::Duration;
use tokio::runtime::{Handle, Runtime};
use tokio::time::{interval, sleep};

/// Time that the async half takes for a request.
const SLOW: Duration = Duration::from_millis(300);

fn app(tasks: Handle) -> Router {
    let mut app = Router::new();
    app.get("/clock", |_request, _cx| Reply::stream().topic("clock"));
    let ticking = tasks.clone();
    app.on_start(move |cx| drop(ticking.spawn(tick(cx.publisher()))));
    app.get("/slow", move |_request, cx| {
        // Only the request waits, not the loop.
        let (reply, responder) = cx.later();
        tasks.spawn(think(responder));
        reply
    });
    app
}

/// Replies to a request, unless its client has left.
async fn think(responder: Responder) {
    sleep(SLOW).await;
    if responder.is_awaited() {
        // This never blocks: there is always room for a reply.
        let _ = responder.reply("I have thought about it.\n");
    }
}

/// Publishes the time of day ten times a second.
async fn tick(publisher: Publisher) {
    let publisher = publisher.nonblocking();
    let mut beat = interval(Duration::from_millis(100));
    loop {
        beat.tick().await;
        match publisher.publish("clock", jiff::Timestamp::now().to_string()) {
            // A full inbox only skips one tick.
            Ok(()) | Err(Error::Full) => {}
            // The server has stopped.
            Err(_) => return,
        }
    }
}

fn main() -> ExitCode {
    let runtime = Runtime::new().expect("a runtime of threads");
    common::run("tokio", app(runtime.handle().clone()))
}
