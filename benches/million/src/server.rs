//! The server: one topic for all streams, and the requests of the harness.

use crate::Result;
use mio_sse::{Config, Event, Reply, Router, Server};
use std::time::Duration;

/// Longer than anything takes on an emulated processor.
const PATIENCE: Duration = Duration::from_secs(60 * 60);

/// The data of event `number`: 64 bytes.
pub(crate) fn data(number: u32) -> String {
    format!("{number:x<64}")
}

pub(crate) fn run(streams: usize) -> Result<()> {
    let mut app = Router::new();
    app.get("/events", |_request, _cx| Reply::stream().topic("everybody"));
    app.post("/publish/{first}/{count}", |request, cx| {
        let number = |name| request.param(name).and_then(|number| number.parse::<u32>().ok());
        let (Some(first), Some(count)) = (number("first"), number("count")) else {
            return Ok(Reply::status(400));
        };
        for number in first..first + count {
            cx.publish("everybody", Event::new().data(data(number)))?;
        }
        Ok::<_, mio_sse::Error>(Reply::text(""))
    });
    app.get("/streams", |_request, cx| Reply::text(cx.stats().streams.to_string()));
    app.get("/connections", |_request, cx| Reply::text(cx.stats().connections.to_string()));
    app.get("/slow-turns", |_request, cx| Reply::text(cx.stats().slow_turns.to_string()));
    app.get("/turn-max", |_request, cx| Reply::text(cx.stats().turn_time_max.as_millis().to_string()));

    let mut config = Config::default();
    config.backlog = 65_535;
    config.streams_max = streams + 1;
    config.connections_max = streams + 16;
    config.requests_per_connection_max = 65_535;
    // With a million streams, heartbeats every 15 s are 67,000 a second, and keepalive probes every 60 s
    // 17,000: so many streams need minutes.
    config.heartbeat = None;
    config.tcp_keepalive = None;
    config.max_age = None;
    for time in [
        &mut config.head_timeout,
        &mut config.body_timeout,
        &mut config.keep_alive_timeout,
        &mut config.stall_timeout,
        &mut config.linger,
    ] {
        *time = PATIENCE;
    }
    config.tcp_user_timeout = Some(PATIENCE);

    let mut server = Server::bind_with("127.0.0.1:0", app, config)?;
    println!("{}", server.local_addr()?);
    Ok(server.run()?)
}
