//! A small hub for scripts: whoever posts to a topic reaches everyone who listens to it.
//!
//! ```text
//! cargo run --release --example hub
//! curl -N http://127.0.0.1:8080/events/news
//! curl --data 'hello' http://127.0.0.1:8080/publish/news
//! curl http://127.0.0.1:8080/stats
//! ```
//!
//! A body is at most 64 KiB. `HISTORY=100` in the environment has each topic keep its last 100 events for those who come back, with
//! Last-Event-ID or `?last_event_id=`, and for those who begin with `?from=oldest`. `PORT` chooses the port, `RUST_LOG` what is logged.

mod common;

use mio_sse::{BadRequest, Config, History, Reply, Router, Stats, TopicConfig};
use std::process::ExitCode;

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
    let mut config = Config::default();
    if let Ok(history) = std::env::var("HISTORY") {
        let Ok(events) = history.parse() else {
            eprintln!("hub: HISTORY is a number of events, not {history:?}");
            return ExitCode::FAILURE;
        };
        config.topic = TopicConfig::default().history(History::new().events(events));
    }
    common::run_with("hub", app(), config)
}
