//! The same events with the same ids on every machine: [mio-sse](mio_sse) on a Redis stream.
//!
//! Each node is a process with a [`mio_sse::Server`], or [`mio_sse::Shards`]. Every event that a node
//! publishes is an entry of one Redis stream, and every node reads that whole stream. The id of the entry is
//! the id of the event everywhere ([`Ids::Ordered`](mio_sse::Ids::Ordered)). So a client that reconnects to
//! another node gets the events that it has missed, once and in order. Each node keeps a history of its own:
//! a client that connects causes no request to Redis.
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
//! `XADD key MAXLEN ~ n <ms>-* topic news event name data text …`: the fields `topic` (one or several),
//! `event`, `data`, `key`, `removal`, `comment`, `retry` (milliseconds), and `finish`, which finishes a
//! topic. So programs in any language publish with one command:
//!
//! ```text
//! redis-cli XADD events '*' topic news data hello
//! ```
//!
//! `nonce` names the writer and counts its entries. If the reply to an `XADD` was lost, the writer sends the
//! event again with the same nonce, and every node drops the second entry.
//!
//! # When Redis is unavailable
//!
//! Streams stay open, and topics with other ids are not affected. [`Hub::publish`] waits for a while, then
//! returns an error. When Redis is back, each node checks that the last entry it has read is still there, and
//! so are the entries it has written. If not, Redis has lost entries: it restarted without them, a replica
//! was promoted that lacked the newest, the key was deleted, or the node was disconnected for longer than the
//! stream retains entries. Then every stream on every node gets a [gap](mio_sse::Config::gap_event) event,
//! and continues with the next entry. An event whose reply was lost may then be delivered twice. No entry
//! that Redis has kept is lost. No entry that it has lost is lost silently, as long as one node is running
//! that has read or written some of the lost entries.
//!
//! # One key
//!
//! All topics of one stream key share one order, which a client of several topics needs. Topics that no
//! client reads together can use several keys, on several Redis servers, with one process for each. In a
//! Redis Cluster a key belongs to one slot, so to one master: connect to that one.

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

/// The decisions of the reader and the writer, without a socket, a clock or a thread: for simulations. It may
/// change at any time.
#[doc(hidden)]
#[allow(missing_docs)]
pub mod machine {
    pub use crate::reader::{Act, Ask, Read, Reader, Told};
    pub use crate::record::{At, Entry, Malformed, Nonce, Record, What};
    pub use crate::writer::{Fate, Reply, Writer};
}
