//! A countdown that every stream has for itself, out of an iterator: `cargo run --release --example
//! countdown`, then
//!
//! ```text
//! curl -N http://127.0.0.1:8080/countdown
//! curl -N 'http://127.0.0.1:8080/countdown?from=3'
//! ```
//!
//! The stream ends when the iterator does. When the client leaves before, the iterator is dropped: that is
//! all the clean-up there is.
//!
//! `PORT` in the environment chooses the port, `RUST_LOG` what is logged.

mod common;

use mio_sse::{Event, Events, Reply, Router};
use std::process::ExitCode;
use std::time::Duration;

/// As far as one may count down: a client that asks for more is told so.
const FROM_MAX: u32 = 3600;

fn app() -> Router {
    let mut app = Router::new();
    common::page(&mut app, include_str!("countdown.html"));

    app.get("/countdown", |request, _cx| {
        let from = request.query("from").map_or(Ok(10), |from| from.parse());
        let Ok(from @ 0..=FROM_MAX) = from else {
            return Reply::text(format!("from is a number up to {FROM_MAX}\n")).with_status(400);
        };
        // Where the client was cut off it comes back with Last-Event-ID, and goes on from there.
        let seen: Option<u32> = request.last_event_id().and_then(|id| id.parse().ok());
        if seen == Some(0) {
            // EventSource also comes back after the end. This is the answer from which it does not come back
            // again.
            return Reply::no_content();
        }
        let next = seen.map_or(from, |seen| from.min(seen - 1));
        let numbers = (0..=next).rev().map(|number| Event::from(number.to_string()).id(number.to_string()));
        Reply::stream().source(Events::new(numbers).every(Duration::from_secs(1))).into()
    });

    app
}

fn main() -> ExitCode {
    common::run("countdown", app())
}
