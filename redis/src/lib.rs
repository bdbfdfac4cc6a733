//! The same events with the same ids on every machine: [mio-sse](mio_sse) on a Redis stream.
//!
//! Each node is a process with a [`mio_sse::Server`], or [`mio_sse::Shards`]. All that is published on any of
//! them is an entry of one Redis stream, which every node reads as a whole. The id of the entry is the id of
//! the event everywhere ([`Ids::Ordered`](mio_sse::Ids::Ordered)). So a client that comes back to another
//! node gets what it has missed, once and in order. Each node keeps its own history, and Redis is asked
//! nothing for a client.
//!
//! ```no_run
//! use mio_sse::{Config, History, Ids, Reply, Router, Server, TopicConfig};
//! use mio_sse_redis::Hub;
//!
//! let hub = Hub::new("redis://127.0.0.1/", "events")?;
//!
//! let mut app = Router::new();
//! app.get("/news", |_request, _cx| Reply::stream().topic("news"));
//! let mut config = Config::default();
//! config.topic = TopicConfig::default().history(History::new().events(1000)).ids(Ids::Ordered);
//! let mut server = Server::bind_with("127.0.0.1:8080", app, config)?;
//!
//! hub.attach(&mut server)?; // Reads the history.
//! std::thread::spawn(move || hub.publish("news", "hello from this node"));
//! server.run()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # An entry
//! `XADD key MAXLEN ~ n <ms>-* topic news event name data text …`: the fields `topic` (one or several),
//! `event`, `data`, `key`, `removal`, `comment`, `retry` (milliseconds), and `finish` for the end of a topic.
//! So programs in any language publish with one command:
//!
//! ```text
//! redis-cli XADD events '*' topic news data hello
//! ```
//!
//! `nonce` names the writer and counts what it has written. An event whose answer was lost is written again
//! with the same nonce, and every node drops the second.
//!
//! # When Redis is away
//! Streams stay open, and topics that have other ids go on. [`Hub::publish`] waits for a while, and then says
//! so. When Redis is back, each node looks whether the last entry that it has read is still there, and what
//! it has written. If not, Redis has lost something: it was restarted without what it had, a replica was
//! promoted that lacked the newest, the key was deleted, or the node was away for longer than the stream
//! keeps. Then every stream is told of a [gap](mio_sse::Config::gap_event), on all nodes, and goes on with
//! what comes next. An event whose answer was lost may come twice then. What Redis has kept is never lost,
//! and what it has lost is never lost silently, as long as a node is there that has read some of it, or
//! written it.
//!
//! # One key
//! The topics of a stream key have one order, which a client needs that reads several of them. Topics that no
//! stream reads together may lie in several keys, on several Redis, with a process for each. In a Redis
//! Cluster one key is in one slot, thus on one master: connect to that one.

#![forbid(unsafe_code)]
// On docs.rs each item says which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
#![warn(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod error;
mod hub;
mod link;
mod nonces;
#[allow(missing_docs, reason = "hidden, for simulations")]
mod reader;
#[allow(missing_docs, reason = "hidden, for simulations")]
mod record;
mod shared;
mod stats;
mod threads;
mod wire;
#[allow(missing_docs, reason = "hidden, for simulations")]
mod writer;

pub use error::{HubError, PublishError};
pub use hub::{Hub, HubConfig};
pub use stats::HubStats;

/// What decides what is read and written, without a socket, a clock or a thread: for simulations. It may
/// change at any time.
#[doc(hidden)]
#[allow(missing_docs)]
pub mod machine {
    pub use crate::reader::{Act, Ask, Read, Reader, Told};
    pub use crate::record::{At, Entry, Malformed, Nonce, Record, What};
    pub use crate::writer::{Fate, Reply, Writer};
}
