//! Scaling: serve more streams than one core, or one machine, can carry.
//!
//! One [`Server`](crate::Server) is one thread. [`Shards`](crate::Shards) are several loops, each in a thread
//! of its own, that are one server to their clients:
//!
//! ```
//! use mio_sse::{Config, History, RawRequest, Reply, Router, Shards, TopicConfig};
//!
//! fn app(_shard: usize) -> Router {
//!     let mut app = Router::new();
//!     app.get("/news", |_request, _cx| Reply::stream().topic("news"));
//!     app.post("/news", |request, cx| cx.publish("news", String::from_utf8_lossy(request.body())));
//!     app
//! }
//!
//! let mut config = Config::default();
//! config.topic = TopicConfig::default().history(History::new().events(100));
//! # let _real = |config: Config| -> std::io::Result<()> {
//! // In production:
//! let cores = std::thread::available_parallelism()?.get();
//! Shards::listen(mio_sse::Listeners::new().tcp("0.0.0.0:8080"), cores, app, config)?.run()
//! # };
//!
//! // In a test: a client of loop 0 gets what is posted to loop 1 …
//! # let mut config = Config::default();
//! # config.topic = TopicConfig::default().history(History::new().events(100));
//! let mut shards = Shards::in_memory(2, app, config)?;
//! let mut tab = shards.servers()[0].ask(RawRequest::get("/news")?);
//! shards.servers()[1].ask(RawRequest::new("POST", "/news")?.body("it rains"));
//! shards.settle();
//! let event = tab.events().remove(0);
//! assert_eq!(event.data.as_deref(), Some("it rains"));
//! // … and its id is the same in loop 1: nothing is sent twice there.
//! let id = event.id.unwrap_or_default();
//! let mut tab = shards.servers()[1].ask(RawRequest::get("/news")?.header("Last-Event-ID", &*id)?);
//! assert_eq!(tab.events(), []);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # When one core is not enough
//!
//! Measure first: `mio_sse_turn_seconds` and the CPU time of the process. Often the cheaper steps are enough:
//!
//! - Publish several events in one turn, from a timer of 20 to 100 ms, or give the topic a
//!   [pace](crate::TopicConfig::pace). Currently sixteen events in a turn cost a stream little more than one.
//! - Send heartbeats less often ([`Config::heartbeat`](crate::Config::heartbeat)), if there is no proxy.
//! - Move slow work out of callbacks ([`Context::later`](crate::Context::later)).
//!
//! # Several cores
//!
//! - **Events:** what is published in any loop has one order and the same ids in all. A client may reconnect
//!   to any loop.
//! - **Your state:** the closure is called once for each loop, so each has a router with its own state. Share
//!   what belongs to all with an `Arc`. A timer that publishes for everybody belongs into one loop, such as
//!   number 0.
//! - **Streams:** a stream belongs to its loop. Sending, closing and subscribing work from everywhere. For
//!   the rest use [`Publisher::run_for`](crate::Publisher::run_for).
//! - **Counting:** [`Context::stats`](crate::Context::stats) sums up all loops.
//!   [`Publisher::ask_all`](crate::Publisher::ask_all) asks each.
//! - **Limits:** connections and streams count together. Each loop gets an equal part of
//!   [`memory_max`](crate::Config::memory_max), because each keeps a copy of the logs.
//! - **Connections:** on Linux the kernel spreads them over the loops. With few and long-lived ones,
//!   [`Listeners::to_fewest`](crate::Listeners::to_fewest) is more even.
//!
//! The documentation of [`Shards`](crate::Shards) has the complete table.
//!
//! # Several machines
//!
//! | you need | use |
//! |---|---|
//! | the same events on all machines, and clients that resume on any of them | the crate `mio-sse-redis`: a Redis stream is the shared log |
//! | the same with a log of your own (Kafka, a database, NATS) | [`Ids::Ordered`](crate::Ids::Ordered): read the log on each machine and call [`Publisher::publish_at`](crate::Publisher::publish_at) |
//! | rows of one database, and little traffic | [`Ids::Own`](crate::Ids::Own) with [`Handler::missed`](crate::Handler::missed) |
//! | users or rooms that have nothing to do with each other | one server for each part; route by path or host in the proxy |
//! | live events only, without resume | any message broker: publish what it brings |
//!
//! With generated ids, a client that changes machines gets a [`gap`](crate::Config::gap_event) event: the
//! other machine does not know its id. [Ids and resume](super::ids_and_resume) compares the kinds of ids.
//!
//! # With Redis
//!
//! ```text
//! let hub = Hub::new("redis://127.0.0.1/", "events")?;
//! hub.attach(&mut server)?;                     // reads the history; for Shards: attach_shards
//! hub.publish("news", "hello from this node")?; // from any thread
//! ```
//!
//! Topics have [`Ids::Ordered`](crate::Ids::Ordered), so set that in [`Config::topic`](crate::Config::topic).
//! Every node reads the whole stream and keeps its own history; Redis is not asked for a client. Programs in
//! any language publish with `XADD`. While Redis is away, streams stay open. If Redis has lost events, every
//! client gets a `gap` event. The README of the crate starts two nodes in ten lines.
//!
//! # Restart one machine after the other
//!
//! [Drain](crate::Publisher::drain) a node with a window and `retry:`. Its clients spread over the others and
//! resume there. Start the new node, wait until it is healthy, go on with the next.
//!
//! # How many machines
//!
//! `PERFORMANCE.md` in the repository has a table, up to ten million streams, and a cost model. Currently a
//! stream takes 65 bytes and about 4 KB of kernel memory; a core makes about 200,000 deliveries a second one
//! by one, and millions in bursts.
//!
//! # Where to look next
//!
//! - [Deployment](super::deployment): limit of open files, proxies, metrics.
//! - [Ids and resume](super::ids_and_resume): what a client gets after it has changed servers.
//! - The examples `hub` (`SHARDS=4`) and, in `mio-sse-redis`, `cluster`.
