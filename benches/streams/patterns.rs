//! A server whose streams are made as applications make them: with a timer, `on_close`, a topic or a tag of
//! their own.
//!
//! `memory --pattern` measures the cost of each. `GET /events/{topic}?pattern=close` chooses one; without a
//! pattern a stream has only the topic, like those of the example `hub`. It uses little of the library, so
//! that it builds against older versions too.

#[path = "../../examples/common/mod.rs"]
mod common;

use mio_sse::{Config, Context, Event, Reply, Request, Router, StreamReply};
use std::process::ExitCode;
use std::time::Duration;

/// More than clients of `hoard` can fill.
const MEMORY_MAX: usize = 64 << 20;

/// Nothing is due during a measurement.
const LONG: Duration = Duration::from_secs(3600);

fn app() -> Router {
    let mut app = Router::new();
    let mut number = 0_u64;
    app.get("/events/{topic}", move |request, cx| {
        number += 1;
        stream(request, number, cx)
    });
    app.post("/publish/{topic}", |request, cx| {
        let data = String::from_utf8_lossy(request.body()).into_owned();
        cx.publish(request.param("topic").unwrap_or_default(), Event::new().data(data))?;
        Ok::<_, mio_sse::Error>(Reply::no_content())
    });
    app.get("/page", |_request, _cx| Reply::text("x".repeat(8 << 20)));
    app.get("/stats", |_request, cx| Reply::json_text(cx.stats().json() + "\n"));
    app
}

/// The stream with this pattern. It is the `number`th.
fn stream(request: &Request<'_>, number: u64, cx: &mut Context<'_>) -> Result<StreamReply, mio_sse::Error> {
    let topic = request.param("topic").unwrap_or_default();
    let pattern = request.query("pattern").unwrap_or_default();
    let Some(id) = cx.stream() else { return Ok(Reply::stream().topic(topic)) };
    if matches!(&*pattern, "timer" | "both") {
        cx.every(id, LONG, |_stream, _cx| {})?;
    }
    if matches!(&*pattern, "close" | "both") {
        // The closure captures the number, as real ones capture something.
        cx.on_close(id, move |_reason, _cx| {
            std::hint::black_box(number);
        })?;
    }
    Ok(match &*pattern {
        "topic" => Reply::stream().topic(format!("user-{number}")),
        "many" => (0..120).fold(Reply::stream(), |stream, number| stream.topic(format!("t{number}"))),
        "two" => Reply::stream().topic(topic).topic("another"),
        "tag" => Reply::stream().topic(topic).tag(format!("user-{number}")),
        _ => Reply::stream().topic(topic),
    })
}

fn main() -> ExitCode {
    let mut config = Config::default();
    config.memory_max = MEMORY_MAX;
    common::run_with("patterns", app(), config)
}
