//! Slow clients: decide what happens to a client that reads more slowly than you publish.
//!
//! A phone in a tunnel reads nothing for a minute. Other clients must not wait for it, and its events must
//! not fill the memory. Choose for each topic what such a client gets:
//!
//! ```
//! use mio_sse::{Config, History, Overflow, Reply, Router, Server, TopicConfig};
//! use std::time::Duration;
//!
//! let mut app = Router::new();
//! app.get("/chat", |_request, _cx| Reply::stream().topic("chat"));
//! app.get("/log", |_request, _cx| Reply::stream().topic("log"));
//! app.get("/prices", |_request, _cx| Reply::stream().topic("prices").snapshot());
//! app.on_start(|cx| {
//!     // Every event counts: a slow client is disconnected, comes back, and resumes from the history.
//!     cx.configure("chat", TopicConfig::default().history(History::new().bytes(8 << 20)))?;
//!     // The newest events count: a slow client skips, and is told how many it has missed.
//!     cx.configure("log", TopicConfig::default().overflow(Overflow::Skip))?;
//!     // The newest event of each key counts: a slow client gets only that.
//!     cx.configure("prices", TopicConfig::default().keyed().pace(Duration::from_millis(250)))
//! });
//! let mut config = Config::default();
//! config.lag_bytes_max = 4 << 20; // 1 MiB by default
//! let mut server = Server::in_memory(app, config)?;
//! # server.settle();
//! # let mut prices = server.ask(mio_sse::RawRequest::get("/prices")?);
//! # for price in ["17.1", "17.2", "17.3"] {
//! #     server.context().publish("prices", mio_sse::Event::from(price).key("ACME"))?;
//! #     server.settle();
//! # }
//! # assert_eq!(prices.events().len(), 1);
//! # server.advance(Duration::from_millis(250));
//! # assert_eq!(prices.events()[0].data.as_deref(), Some("17.3"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What a slow client costs others
//!
//! Nothing is queued for it. Each topic has one log of encoded events, and each stream a position in it. A
//! client that falls behind reads from the same log later. Delivery to other streams goes on in the same
//! turn.
//!
//! # When a slow client is disconnected
//!
//! | the client | what happens | setting |
//! |---|---|---|
//! | needs an event that the log no longer holds | [`CloseReason::Lagged`], or it [skips](#skip-events) | [`Config::lag_bytes_max`], 1 MiB for each topic beside its history |
//! | has the same amount waiting in events sent to it alone | [`CloseReason::Lagged`] | the same |
//! | takes nothing while bytes wait for it | [`CloseReason::Stalled`] | [`Config::stall_timeout`], 30 s |
//! | is behind when memory runs out | the limit of lag is halved until there is room | [`Config::memory_max`], see [Memory](super::memory) |
//!
//! The kernel buffers too. A client that reads nothing lags or stalls only after its socket is full.
//! [`Config::tcp_notsent_lowat`] (Linux) keeps that buffer small.
//!
//! `EventSource` reconnects after each of these. With a history it gets what it has missed, see [Ids and
//! resume](super::ids_and_resume).
//!
//! # Bursts
//!
//! A burst may be larger than `lag_bytes_max`. Events that the server has not tried to send yet do not count.
//! A stream that keeps reading has at least 100 ms to take the rest. If it would be disconnected, a
//! [`Publisher`](crate::Publisher) waits in the meantime. Handlers and timers do not wait: they may publish
//! up to 16 times `lag_bytes_max` at once.
//!
//! # Skip events
//!
//! With [`Overflow::Skip`](crate::Overflow::Skip) the stream stays open and continues with the oldest event
//! that is left. First it gets a [`gap`](crate::Config::gap_event) event with the number of missed events as
//! its data. Use it for logs and metrics, where a reconnect would not help.
//!
//! # Send only the newest value of each key
//!
//! Give each event a [key](crate::Event::key) and make the topic [keyed](crate::TopicConfig::keyed). A client
//! that is behind gets the newest event of each key, in order. All others get every event. A new client
//! begins with a [snapshot](crate::StreamReply::snapshot): the newest event of each key.
//! [`Event::removal`](crate::Event::removal) removes a key.
//!
//! # Publish faster than anybody looks
//!
//! [`TopicConfig::pace`](crate::TopicConfig::pace) limits how often a topic is delivered. The first event
//! goes out at once. Later ones wait for the next interval and go out together; a keyed topic then sends the
//! newest of each key. One delivery costs about the same for one event and for twenty.
//!
//! # Produce only as fast as the client reads
//!
//! For files, queries and generated text, let the stream pull. A [`Source`](crate::Source) is asked for its
//! next event when there is room for it. It is called in the loop, so it must not wait. A
//! [channel](crate::Context::channel) does the same for a thread:
//! [`EventSender::send`](crate::EventSender::send) waits while the client does not read, and returns an error
//! after it has left.
//!
//! # Who was slow
//!
//! `on_close` gets the reason. [`Stats`](crate::Stats) counts streams by [reason](crate::Stats::closed),
//! those that are behind now ([`streams_behind`](crate::Stats::streams_behind)), and
//! [gaps](crate::Stats::gaps).
//!
//! ```
//! # use mio_sse::{CloseReason, Party, Router};
//! # let mut app = Router::new();
//! app.sse("/chat", |stream, _request, cx| {
//!     cx.subscribe(stream, "chat")?;
//!     cx.on_close(stream, |reason, _cx| {
//!         if matches!(reason, CloseReason::Lagged | CloseReason::Stalled) {
//!             println!("too slow: {reason}");
//!         }
//!     })
//! });
//! # assert_eq!(CloseReason::Lagged.party(), Party::Limit);
//! ```
//!
//! # Cost
//!
//! Currently a stream that lags takes no memory of its own: its position is there anyway. It takes one `send`
//! each time its socket has room. The log that it needs takes at most `lag_bytes_max`, or the size of a
//! burst, once for all slow streams of the topic.
//!
//! # Where to look next
//!
//! - The examples `prices` (keyed, paced), `tail` (skip), `countdown` and `tokens` (pull).
//! - [Memory](super::memory): all limits together.
//! - [Deployment](super::deployment): a proxy reads for its clients, and may hide a slow one.
//!
//! [`CloseReason::Lagged`]: crate::CloseReason::Lagged
//! [`CloseReason::Stalled`]: crate::CloseReason::Stalled
//! [`Config::lag_bytes_max`]: crate::Config::lag_bytes_max
//! [`Config::stall_timeout`]: crate::Config::stall_timeout
//! [`Config::memory_max`]: crate::Config::memory_max
//! [`Config::tcp_notsent_lowat`]: crate::Config::tcp_notsent_lowat
