//! Lines of standard input for every browser that connects: a log, a build, a sensor.
//!
//! ```text
//! ping 127.0.0.1 | cargo run --release --example tail
//! ```
//!
//! The server keeps 1,000 lines or 1 MiB. A new client begins with these; a client that reconnects resumes. A
//! client that reads too slowly skips lines, and is told how many. For terminals there is `curl -N
//! http://127.0.0.1:8080/lines`. The server runs on after the end of the input, until Ctrl-C.
//!
//! `PORT` in the environment chooses the port, `RUST_LOG` what is logged.

mod common;

use mio_sse::{Error, Event, History, Overflow, Publisher, Reply, Router, TopicConfig};
use std::io::{BufRead, Read};
use std::process::ExitCode;

/// Longer lines are cut into pieces of this size.
const LINE_BYTES_MAX: u64 = 64 << 10;

fn app() -> Router {
    let mut app = Router::new();
    common::page(&mut app, include_str!("tail.html"));
    app.get("/lines", |_request, _cx| Reply::stream().topic("lines").snapshot());
    app.on_start(|cx| {
        let publisher = cx.publisher();
        std::thread::spawn(move || read_lines(std::io::stdin().lock(), &publisher));
        let kept = History::new().events(1000).bytes(1 << 20);
        cx.configure("lines", TopicConfig::default().history(kept).overflow(Overflow::Skip))
    });
    app
}

/// Publishes each line of `input`. It waits while the inbox of the server is full, so the program that writes
/// the lines waits too.
fn read_lines(mut input: impl BufRead, publisher: &Publisher) {
    let publish = |event| match publisher.publish("lines", event) {
        // The server is shutting down.
        Err(Error::Stopped) => false,
        Err(error) => {
            log::warn!("a line is left out: {error}");
            true
        }
        Ok(()) => true,
    };
    let mut line = Vec::new();
    let ended = loop {
        line.clear();
        match input.by_ref().take(LINE_BYTES_MAX).read_until(b'\n', &mut line) {
            Ok(0) => break "end of input".to_owned(),
            Err(error) => break error.to_string(),
            Ok(_) => {
                let text = line.trim_ascii_end();
                if !publish(Event::new().data(String::from_utf8_lossy(text).into_owned())) {
                    return;
                }
            }
        }
    };
    log::info!("{ended}");
    publish(Event::new().data(ended).event("end"));
}

fn main() -> ExitCode {
    common::run("tail", app())
}
