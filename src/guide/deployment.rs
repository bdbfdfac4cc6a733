//! Deployment: put a server behind a proxy or on the open internet, restart it without losing events, and
//! watch it.
//!
//! ```
//! use mio_sse::{AccessLog, Config, Drain, LogObserver, RawRequest, Reply, Router, Server, Stats};
//! use std::time::Duration;
//!
//! let mut app = Router::new();
//! app.get("/events", |_request, _cx| Reply::stream().topic("news").retry(Duration::from_secs(3)));
//! app.get("/health", |_request, _cx| "ok");
//! app.get("/metrics", |_request, cx| Reply::bytes(Stats::PROMETHEUS, cx.stats().prometheus().into_bytes()));
//!
//! let mut config = Config::default();
//! config.streams_max = 20_000;
//! config.connections_max = 25_000; // Below `ulimit -n`.
//! # let mut server = Server::in_memory(app, config)?;
//! # let _real = |app: Router, config: Config| -> std::io::Result<()> {
//! let mut server = Server::bind_with("127.0.0.1:8080", app, config)?;
//! # server.run() };
//! server.observe(LogObserver);
//! server.observe(AccessLog);
//!
//! // Call this on SIGTERM, from any thread. With `cargo add ctrlc --features termination`:
//! // ctrlc::set_handler(move || drop(shut_down()))
//! let publisher = server.publisher();
//! let shut_down = move || publisher.drain(Drain::within(Duration::from_secs(10)).retry(Duration::from_secs(2)));
//! # let mut tab = server.ask(RawRequest::get("/events")?);
//! # assert_eq!(server.ask(RawRequest::get("/health")?).text(), "ok");
//! # assert!(server.ask(RawRequest::get("/metrics")?).text().contains("mio_sse_streams 1\n"));
//! # shut_down()?;
//! # server.advance(Duration::from_secs(10));
//! # assert!(tab.is_over() && server.is_stopped());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Behind nginx or another proxy
//!
//! - The README has a complete configuration for nginx. `tests/world/proxy/configurations.md` in the
//!   repository has HAProxy, Caddy, lighttpd, Varnish and Apache, and a table of what each does to events.
//! - **Buffering:** streams carry `X-Accel-Buffering: no`, which turns it off in nginx. Other proxies have a
//!   setting of their own.
//! - **Timeouts:** the proxy closes a silent connection. Its read timeout has to be longer than
//!   [`Config::heartbeat`](crate::Config::heartbeat), 15 s.
//! - **502 while the server restarts:** `EventSource` gives up for good on any status but 200. Let the proxy
//!   send `200`, `text/event-stream` and `retry: 3000` instead, as the README shows.
//! - **Addresses:** all clients have the address of the proxy. Leave
//!   [`connections_per_address_max`](crate::Config::connections_per_address_max) unset, and read the last
//!   entry of `X-Forwarded-For` if [`Request::peer`](crate::Request::peer) is your proxy.
//! - **On the same machine:** listen on a [unix socket](crate::Server::bind_unix), which only programs on
//!   that machine can reach.
//!
//! # TLS and HTTP/2
//!
//! With feature `tls` the server speaks TLS itself: `Listeners::tls` with a `TlsConfig`, which can `reload`
//! its certificate while streams stay open. The example `tls` does it on SIGHUP. It does not speak HTTP/2.
//! Browsers open at most six HTTP/1.1 connections to a host, over all tabs, so pages that people open in many
//! tabs need a proxy with HTTP/2.
//!
//! # Limit of open files
//!
//! Each connection needs a descriptor. Set `ulimit -n`, or `LimitNOFILE=` of systemd, above
//! `connections_max`. If descriptors run out, new clients are [refused](crate::Config::refuse) and old ones
//! stay.
//!
//! # systemd
//!
//! ```text
//! [Service]
//! ExecStart=/usr/local/bin/my-server
//! LimitNOFILE=200000
//! # Longer than the window of the drain: after that, systemd kills.
//! TimeoutStopSec=30
//! Restart=always
//! ```
//!
//! With a `.socket` unit, systemd keeps the listener open while the service restarts, so clients wait instead
//! of being rejected. Take the listener over with the crate `listenfd` and give it to
//! [`Server::from_listener`](crate::Server::from_listener).
//!
//! # Restart and shut down
//!
//! - [`Publisher::drain`](crate::Publisher::drain) stops accepting, closes idle connections, and ends each
//!   stream at a moment of its own within the window. Clients do not all come back at once. Then
//!   [`run`](crate::Server::run) returns. A second call stops at once.
//! - [`Drain::retry`](crate::Drain::retry) says when clients come back, at the earliest;
//!   [`farewell`](crate::Drain::farewell) is a last event. A stream opened with
//!   [`StreamReply::finish`](crate::StreamReply::finish) may go on until the
//!   [`deadline`](crate::Drain::deadline).
//! - After a restart, histories in memory are empty, and clients get a [`gap`](crate::Config::gap_event)
//!   event. With ids of a database or a shared log they resume: see [Ids and resume](super::ids_and_resume).
//!
//! # Exposed to strangers
//!
//! - On a user's own machine or in a private network, set [`Config::hosts`](crate::Config::hosts) against DNS
//!   rebinding. Health checks that use the address of the server need it in that list.
//! - Pages of other origins need [`Config::cors`](crate::Config::cors).
//! - Keep `/metrics` private: let the proxy refuse it from outside, or check the peer in the handler.
//! - Without a proxy, set `connections_per_address_max`. All timeouts and sizes are bounded by default.
//! - A full server refuses new clients and never evicts old ones. `EventSource` gets `200`, `retry:` and an
//!   end; other clients get `503` with `Retry-After`.
//!
//! # Metrics to watch
//!
//! [`Stats`](crate::Stats) has every counter, as numbers, JSON and Prometheus text.
//!
//! | metric | it means |
//! |---|---|
//! | `mio_sse_streams`, `mio_sse_streams_behind` | open streams; those that were not given everything yet |
//! | `mio_sse_refused_total{reason=…}` | `streams`, `connections`, `descriptors`, `memory`: clients over a limit; also `draining`, `revoked`, `finished`, which are normal |
//! | `mio_sse_streams_closed_total{reason="lagged"}`, `"stalled"` | [slow clients](super::slow_clients) |
//! | `mio_sse_gaps_total` | clients that have missed events: the history is too short, or they are too slow |
//! | `mio_sse_slow_turns_total`, `mio_sse_turn_seconds` | a callback that works too long, or a machine that is too busy |
//! | `mio_sse_inbox_full_total` | publishers faster than the loop |
//! | `mio_sse_memory_pressure` | 0 is normal; more: see [Memory](super::memory) |
//! | `mio_sse_panics_total`, `mio_sse_accept_errors_total` | bugs; no descriptors |
//!
//! Three alerts to begin with:
//!
//! ```yaml
//! - alert: SseRefusesClients
//!   expr: rate(mio_sse_refused_total{reason=~"streams|connections|descriptors|memory"}[5m]) > 0
//! - alert: SseShortOfMemory
//!   expr: min_over_time(mio_sse_memory_pressure[5m]) > 0
//! - alert: SseSlowOrBroken
//!   expr: rate(mio_sse_slow_turns_total[5m]) > 0.1 or increase(mio_sse_panics_total[1h]) > 0
//! ```
//!
//! A draining server does not accept connections, so `/metrics` and `/health` are out of reach then.
//!
//! # Logs
//!
//! The crate logs through `log`. What a client does wrong is `debug`. Problems of the machine or of a
//! callback are `warn`, bugs and panics `error`. [`LogObserver`](crate::LogObserver) adds streams and events
//! under `sse:open`, `sse:message` and `sse:close`; [`AccessLog`](crate::AccessLog) adds requests under
//! `access`, in the Common Log Format. With `env_logger`: `RUST_LOG=info,sse:message=warn`. For anything else
//! write an [`Observer`](crate::Observer).
//!
//! # Where to look next
//!
//! - [Memory](super::memory) and [Slow clients](super::slow_clients): limits of a server under load.
//! - [Scaling](super::scaling): several cores and machines, and restarts one machine after the other.
//! - `PERFORMANCE.md` in the repository: kernel settings for many connections.
