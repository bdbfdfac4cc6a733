//! A countdown of its own for each stream, made from an iterator: `cargo run --release --example countdown`,
//! then
//!
//! ```text
//! curl -N http://127.0.0.1:8080/countdown
//! curl -N 'http://127.0.0.1:8080/countdown?from=3'
//! ```
//!
//! The stream closes when the iterator ends. When the client leaves earlier, the iterator is dropped: no
//! other clean-up is needed.
//!
//! `PORT` in the environment chooses the port, `RUST_LOG` what is logged.

mod common;

use mio_sse::{Event, Events, Reply, Router};
use std::process::ExitCode;
use std::time::Duration;

/// Highest number to count down from. A client that asks for more gets an error.
const FROM_MAX: u32 = 3600;

fn app() -> Router {
    let mut app = Router::new();
    common::page(&mut app, include_str!("countdown.html"));

    app.get("/countdown", |request, _cx| {
        let from = request.query("from").map_or(Ok(10), |from| from.parse());
        let Ok(from @ 0..=FROM_MAX) = from else {
            return Reply::text(format!("from is a number up to {FROM_MAX}\n")).with_status(400);
        };
        // A client that was cut off reconnects with Last-Event-ID and resumes there.
        let seen: Option<u32> = request.last_event_id().and_then(|id| id.parse().ok());
        if seen == Some(0) {
            // EventSource reconnects after the end too. This reply makes it stop.
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
