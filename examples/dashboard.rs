//! The server's own numbers as live charts: `cargo run --release --example dashboard`, then open the address
//! it prints.
//!
//! - `/stats`: a sample once a second, from a topic with a history of five minutes. A page that opens shows
//!   the past at once, and a page that reconnects misses nothing. From a keyed topic: the present values of
//!   all counters.
//! - `/demo`: a topic that is published ten times a second, or at the rate that `POST /demo/<events a
//!   second>` sets.
//!
//! Two hundred more streams, for half a minute:
//!
//! ```text
//! seq 200 | xargs -P 200 -I{} curl -sN --max-time 30 -o /dev/null http://127.0.0.1:8080/demo
//! ```
//!
//! `PORT` in the environment chooses the port, `RUST_LOG` what is logged.

mod common;

use mio_sse::{Context, Error, Event, History, Reply, Router, TopicConfig};
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

/// Samples that the charts show, one a second.
const HISTORY: History = History::new().events(300);

/// Highest rate of the demo, in events a second.
const RATE_MAX: u32 = 10_000;

/// Period with which the demo publishes the events that are due.
const DEMO_PERIOD: Duration = Duration::from_millis(20);

fn app() -> Router {
    let mut app = Router::new();
    common::page(&mut app, include_str!("dashboard.html"));
    // The version is in the path, so browsers may cache these files for ever.
    common::asset(
        &mut app,
        "/uPlot-1.6.32.js",
        "text/javascript",
        include_bytes!("dashboard/uPlot.iife.min.js"),
    );
    common::asset(&mut app, "/uPlot-1.6.32.css", "text/css", include_bytes!("dashboard/uPlot.min.css"));

    app.get("/stats", |_request, _cx| Reply::stream().topic("samples").topic("now").snapshot());
    app.on_start(|cx| {
        cx.configure("samples", TopicConfig::default().history(HISTORY))?;
        cx.configure("now", TopicConfig::default().keyed())?;
        sample(cx)?;
        cx.every_global(Duration::from_secs(1), sample);
        Ok::<_, Error>(())
    });

    demo(&mut app);
    app
}

/// Publishes the sample of this second. It contains counters, not rates: the page computes rates over the
/// time between two samples.
fn sample(cx: &mut Context<'_>) -> Result<(), Error> {
    let stats = cx.stats();
    let time = jiff::Timestamp::now().as_millisecond();
    let sample = format!(
        r#"{{"time":{time},"streams":{},"behind":{},"published":{},"delivered":{},"bytes":{},"log":{},"busy":{},"memory":{}}}"#,
        stats.streams,
        stats.streams_behind,
        stats.events_published,
        stats.events_delivered,
        stats.bytes_written,
        stats.log_bytes,
        stats.turn_time.as_secs_f64(),
        memory().map_or("null".to_owned(), |bytes| bytes.to_string()),
    );
    cx.publish("samples", Event::new().data(sample).event("sample"))?;
    // Only the newest of these counts: under one key, a newer event supersedes the older ones.
    cx.publish("now", Event::new().data(stats.json()).event("now").key("now"))
}

/// Memory of the process in bytes, on systems that report it.
fn memory() -> Option<u64> {
    let status = std::fs::read_to_string("/proc/self/status").ok()?;
    let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:"))?;
    Some(line.trim().strip_suffix(" kB")?.parse::<u64>().ok()? * 1024)
}

/// A topic to watch.
fn demo(app: &mut Router) {
    let rate = Arc::new(AtomicU32::new(10));
    app.get("/demo", |_request, _cx| Reply::stream().topic("demo"));

    let set = Arc::clone(&rate);
    app.post("/demo/{rate}", move |request, _cx| match request.param("rate").map(str::parse) {
        Some(Ok(per_second @ 0..=RATE_MAX)) => {
            set.store(per_second, Ordering::Relaxed);
            Reply::no_content()
        }
        _ => Reply::text(format!("a number of events a second, up to {RATE_MAX}\n")).with_status(400),
    });

    app.on_start(move |cx| {
        let event = Event::new().data("x".repeat(1000));
        let mut due = 0.0;
        cx.every_global(DEMO_PERIOD, move |cx| {
            due += f64::from(rate.load(Ordering::Relaxed)) * DEMO_PERIOD.as_secs_f64();
            while due >= 1.0 {
                due -= 1.0;
                cx.publish("demo", &event)?;
            }
            Ok::<_, Error>(())
        });
    });
}

fn main() -> ExitCode {
    common::run("dashboard", app())
}
