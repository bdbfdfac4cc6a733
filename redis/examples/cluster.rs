//! One hub on several nodes: an event that is published at one node reaches the clients of all. A client
//! whose node is gone resumes at another.
//!
//! ```text
//! PORT=8081 cargo run --release -p mio-sse-redis --example cluster
//! PORT=8082 cargo run --release -p mio-sse-redis --example cluster
//! curl -N http://127.0.0.1:8081/events/news
//! curl --data 'hello' http://127.0.0.1:8082/publish/news
//! curl http://127.0.0.1:8082/stats
//! ```
//!
//! The page at `/` shows the events of a client, and moves between nodes. Commas join several topics:
//! `/events/news,sport`. The reply to a publish is sent when Redis has stored the event, and contains its id;
//! 504 means that Redis has not confirmed it in time.
//!
//! Environment variables: `REDIS_URL` is the address of Redis (default `redis://127.0.0.1/`), `KEY` the key
//! of the hub's stream (`cluster`), `HISTORY` the number of events that each topic retains (10,000; Redis
//! retains ten times as many), `SHARDS` the number of loops (1), `PORT` the port. `RUST_LOG` chooses what is
//! logged.

#[path = "../../examples/common/mod.rs"]
mod common;

use mio_sse::{
    BadRequest, Config, Event, History, Ids, Listeners, LogObserver, Position, Reply, Router, Shards, Stats,
    TopicConfig,
};
use mio_sse_redis::{Hub, HubConfig, PublishError};
use std::env;
use std::io;
use std::process::ExitCode;
use std::time::Duration;

/// A page treats its node as lost if it receives nothing for longer.
const HEARTBEAT: Duration = Duration::from_secs(5);

fn app(hub: &Hub) -> Router {
    let mut app = Router::new();
    common::page(&mut app, include_str!("cluster.html"));
    app.after(|request, reply, _cx| for_local_pages(request.header("Origin"), reply));

    app.get("/events/{topics}", |request, _cx| {
        let topics = request.param("topics").unwrap_or_default().split(',');
        topics.fold(Reply::stream(), |stream, topic| stream.topic(topic))
    });

    let publisher = hub.clone();
    app.post("/publish/{topics}", move |request, cx| {
        let data = str::from_utf8(request.body()).map_err(|_| BadRequest::new("the body is not UTF-8"))?;
        let topics = request.param("topics").unwrap_or_default().split(',');
        // The loop does not wait for Redis: the reply is sent when Redis has replied.
        let (reply, responder) = cx.later();
        let submitted = publisher.submit_all(topics, Event::new().data(data), move |result| {
            // This fails if the client has left.
            let _ = responder.reply(answer(result));
        });
        Ok::<_, Reply>(submitted.map_or_else(|error| answer(Err(error)), |()| reply))
    });

    let counted = hub.clone();
    app.get("/stats", move |_request, cx| {
        let (hub, server) = (counted.stats(), cx.stats().json());
        let (connected, newest, gaps) = (hub.is_connected, hub.newest, hub.gaps);
        let hub = format!(r#""connected":{connected},"newest":"{newest}","gaps":{gaps}"#);
        Reply::json_text(format!("{{\"redis\":{{{hub}}},\"server\":{server}}}\n"))
    });

    let counted = hub.clone();
    app.get("/metrics", move |_request, cx| {
        let text = cx.stats().prometheus() + &counted.stats().prometheus();
        Reply::bytes(Stats::PROMETHEUS, text.into_bytes())
    });
    app
}

fn answer(result: Result<Position, PublishError>) -> Reply {
    let (status, text) = match result {
        Ok(position) => (200, position.to_string()),
        Err(error) => {
            let status = match error {
                PublishError::Invalid(_) => 400,
                PublishError::TimedOut(_) => 504,
                _ => 503,
            };
            (status, error.to_string())
        }
    };
    Reply::text(text + "\n").with_status(status)
}

/// Lets pages from other nodes on this machine read the reply, whatever their port is.
fn for_local_pages(origin: Option<&str>, reply: Reply) -> Reply {
    let is_local = |origin: &&str| {
        let rest = origin.strip_prefix("http://").unwrap_or_default();
        ["127.0.0.1:", "localhost:", "[::1]:"].iter().any(|host| rest.starts_with(host))
    };
    let reply = reply.header("Vary", "Origin");
    match origin.filter(is_local) {
        Some(origin) => reply.header("Access-Control-Allow-Origin", origin),
        None => reply,
    }
}

fn serve(address: &str) -> io::Result<()> {
    let url = env::var("REDIS_URL").unwrap_or_else(|_| "redis://127.0.0.1/".to_owned());
    let key = env::var("KEY").unwrap_or_else(|_| "cluster".to_owned());
    let history = number("HISTORY")?.unwrap_or(10_000);
    let shards = number("SHARDS")?.unwrap_or(1);

    let mut hub_config = HubConfig::default();
    hub_config.history = history;
    hub_config.kept = 10 * history;
    let hub = Hub::with_config(&url, &key, hub_config).map_err(io::Error::other)?;

    let mut config = Config::default();
    config.topic = TopicConfig::default().history(History::new().events(history)).ids(Ids::Ordered);
    config.heartbeat = Some(HEARTBEAT);
    // Named heartbeats reach the page's script, which learns its position from the first one.
    config.heartbeat_event = Some("position".into());

    let mut shards = Shards::listen(Listeners::new().tcp(address), shards, |_shard| app(&hub), config)?;
    shards.servers().iter_mut().for_each(|server| server.observe(LogObserver));
    hub.attach_shards(&mut shards).map_err(io::Error::other)?;
    common::announce("cluster", shards.publisher(), "http", shards.local_addr()?)?;
    shards.run()
}

/// Reads a number from the environment, if it is set.
fn number(name: &str) -> io::Result<Option<usize>> {
    let Ok(text) = env::var(name) else { return Ok(None) };
    let problem = |_| io::Error::other(format!("{name} is a number, not {text:?}"));
    text.parse().map(Some).map_err(problem)
}

fn main() -> ExitCode {
    common::started("cluster", serve)
}
