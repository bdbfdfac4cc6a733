//! A small hub for scripts: an event that is posted to a topic reaches all its subscribers.
//!
//! ```text
//! cargo run --release --example hub
//! curl -N http://127.0.0.1:8080/events/news
//! curl --data 'hello' http://127.0.0.1:8080/publish/news
//! curl http://127.0.0.1:8080/stats
//! ```
//!
//! A body is at most 64 KiB. `HISTORY=100` in the environment lets each topic keep its last 100 events, for
//! clients that reconnect with Last-Event-ID or `?last_event_id=`, and for clients that begin with
//! `?from=oldest`. `SHARDS=4` runs the hub in four loops, on four cores; clients see one hub. With
//! `--features gzip` streams are compressed for clients that accept it: `GZIP=6` is the level, 1 by default,
//! and `GZIP=0` turns compression off. With `DEFER_ACCEPT=5` the kernel holds a connection back until it
//! sends something, for at most 5 seconds. With `--features tls`, `CERTIFICATES` and `KEY` name the PEM files
//! for TLS. `PORT` chooses the port, `RUST_LOG` what is logged.

mod common;

use mio_sse::{BadRequest, Config, History, Listeners, Reply, Router, Stats, TopicConfig};
use std::io;
use std::process::ExitCode;
use std::time::Duration;

fn app() -> Router {
    let mut app = Router::new();

    app.get("/events/{topic}", |request, _cx| {
        let stream = Reply::stream().topic(request.param("topic").unwrap_or_default());
        if request.query("from").is_some_and(|from| from == "oldest") { stream.snapshot() } else { stream }
    });

    app.post("/publish/{topic}", |request, cx| {
        let data = str::from_utf8(request.body()).map_err(|_| BadRequest::new("the body is not UTF-8"))?;
        Ok::<_, Reply>(cx.publish(request.param("topic").unwrap_or_default(), data)?)
    });

    app.get("/stats", |_request, cx| Reply::json_text(cx.stats().json() + "\n"));

    app.get("/metrics", |_request, cx| Reply::bytes(Stats::PROMETHEUS, cx.stats().prometheus().into_bytes()));

    app.get("/", |_request, _cx| Reply::text("GET /events/<topic>\nPOST /publish/<topic>\nGET /stats\n"));

    app
}

fn main() -> ExitCode {
    match from_environment() {
        Ok((config, shards)) => common::run_shards("hub", listeners, shards, |_shard| app(), config),
        Err(problem) => {
            eprintln!("hub: {problem}");
            ExitCode::FAILURE
        }
    }
}

/// The listeners, with TLS if there is a certificate.
fn listeners(address: &str) -> io::Result<(&'static str, Listeners)> {
    #[cfg(feature = "tls")]
    if let (Some(certificates), Some(key)) = (std::env::var_os("CERTIFICATES"), std::env::var_os("KEY")) {
        let tls = mio_sse::TlsConfig::from_pem_files(certificates, key)?;
        return Ok(("https", Listeners::new().tls(address, &tls)));
    }
    Ok(("http", Listeners::new().tcp(address)))
}

/// Reads the configuration, and the number of loops.
fn from_environment() -> Result<(Config, usize), String> {
    let mut config = Config::default();
    if let Some(events) = number("HISTORY")? {
        config.topic = TopicConfig::default().history(History::new().events(events));
    }
    #[cfg(feature = "gzip")]
    if let level @ 1.. = number("GZIP")?.unwrap_or(1) {
        // The server reports a level that is too high.
        config.gzip = Some(u8::try_from(level).unwrap_or(u8::MAX));
    }
    if let Some(seconds) = number("DEFER_ACCEPT")? {
        config.tcp_defer_accept = Some(Duration::from_secs(seconds as u64));
    }
    Ok((config, number("SHARDS")?.unwrap_or(1)))
}

/// Reads a number from the environment, if it is set.
fn number(name: &str) -> Result<Option<usize>, String> {
    let Ok(text) = std::env::var(name) else { return Ok(None) };
    text.parse().map(Some).map_err(|_| format!("{name} is a number, not {text:?}"))
}
