//! Memory: bound the memory of the process, and know what a stream, a topic and a history cost.
//!
//! ```
//! use mio_sse::{Config, History, RawRequest, Reply, Router, Server, TopicConfig};
//! use std::time::Duration;
//!
//! let mut config = Config::default();
//! config.memory_max = 512 << 20; // 256 MiB by default
//! config.streams_max = 50_000; // 100,000 by default
//! config.connections_max = 60_000; // 120,000 by default
//! config.topics_max = 10_000; // 1,000,000 by default
//! config.topic = TopicConfig::default()
//!     .history(History::new().events(1000).bytes(256 << 10).age(Duration::from_secs(600)));
//!
//! let mut app = Router::new();
//! app.get("/news", |_request, _cx| Reply::stream().topic("news"));
//! let mut server = Server::in_memory(app, config)?;
//! let _tab = server.ask(RawRequest::get("/news")?);
//! server.context().publish("news", "it rains")?;
//! server.settle();
//!
//! let stats = server.stats();
//! println!("{:?} of {} bytes", stats.memory, stats.memory_max);
//! # assert!(stats.memory.logs > 0 && stats.memory.total() < 1 << 20 && stats.events_delivered == 1);
//! # assert_eq!(stats.memory_pressure, 0);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What memory_max bounds
//!
//! [`Config::memory_max`](crate::Config::memory_max) is one number for everything that the server buffers:
//! histories, events that were not read, requests, replies. [`Stats::memory`](crate::Memory) shows it by
//! kind:
//!
//! | kind | what it is |
//! |---|---|
//! | [`logs`](crate::Memory::logs) | histories, keys, ids, what slow streams have not read, and encoders of compressed topics |
//! | [`hands`](crate::Memory::hands) | heads of streams, and the rest of an event that a socket took in part |
//! | [`input`](crate::Memory::input) | incomplete requests, and input on open streams |
//! | [`replies`](crate::Memory::replies) | the rest of whole replies |
//! | [`network`](crate::Memory::network) | TLS records and text that is not read yet |
//! | [`inbox`](crate::Memory::inbox) | what publishers and channels have brought |
//!
//! It does not include:
//!
//! - **Connections, topics, timers, tags**: small records, bounded by their number (`connections_max`,
//!   `streams_max`, `topics_max`, `tags_max`, `revoked_max`).
//! - **The kernel's buffers**, which are usually the larger part. See [below](#memory-of-the-kernel).
//! - **What your own closures hold**, and some MiB of buffers that the loop uses in every turn.
//!
//! With [`Shards`](crate::Shards), each loop gets an equal part of `memory_max`.
//!
//! # What happens when memory runs out
//!
//! From seven eighths of `memory_max` on, the server makes room until three quarters are used:
//!
//! 1. Publishers wait, for 100 ms.
//! 2. Streams that lag furthest are disconnected or [skip](crate::Overflow::Skip). So are connections that
//!    hold much input or do not take their reply.
//! 3. Histories are halved, again and again.
//! 4. If all memory is still in use, requests are [refused](crate::Config::refuse). `publish` and `send`
//!    return [`Error::TooMuchMemory`](crate::Error::TooMuchMemory) in the loop and wait in other threads.
//!
//! No loss is silent: a disconnected client resumes, and a shortened history is a
//! [`gap`](crate::Config::gap_event) event. The newest event of each key is never dropped, so remove keys
//! that are over ([`Event::removal`](crate::Event::removal)). That works with full memory too.
//!
//! # How to keep memory small
//!
//! - Bound each history by events, bytes and age. A topic that keeps nothing any more, and has no subscriber,
//!   is gone.
//! - Make topics [keyed](crate::TopicConfig::keyed) if only the newest values count.
//! - Lower [`lag_bytes_max`](crate::Config::lag_bytes_max) if there are many busy topics with slow readers.
//! - Let a stream [pull](crate::Source) large data instead of sending it in one callback.
//! - Lower [`head_bytes_max`](crate::Config::head_bytes_max) and
//!   [`body_bytes_max`](crate::Config::body_bytes_max) if requests are small.
//!
//! # Memory of the kernel
//!
//! Each socket costs kernel memory, idle or not, and its unread bytes cost more.
//! [`Config::tcp_notsent_lowat`](crate::Config::tcp_notsent_lowat) keeps the backlog of a slow client in the
//! log, where it is shared. [`Config::send_buffer_bytes`](crate::Config::send_buffer_bytes) is a hard limit.
//! On Linux `net.ipv4.tcp_mem` bounds all sockets together.
//!
//! # Cost
//!
//! Currently, on 64-bit Linux, in bytes:
//!
//! | what | memory |
//! |---|---|
//! | an idle stream | 65, and about 4,000 in the kernel |
//! | an idle stream over TLS | 3,300, and the same in the kernel |
//! | a further topic of a stream, its own topic, a timer, a tag | 50 to 60 each |
//! | `on_close`, a state, a source | about 40 each, and what they hold |
//! | an event in a history | its bytes and 24 more, once for all streams; with ids of your own about 50 more |
//! | a key of a keyed topic | its newest event and about 100 more |
//! | a topic that keeps a small event | about 700 |
//! | a compressed topic with two streams or more | 330 KiB while it is read, at most an eighth of `memory_max` in all |
//!
//! # Where to look next
//!
//! - [`Stats::memory_pressure`](crate::Stats::memory_pressure), [`memory_cut`](crate::Stats::memory_cut) and
//!   [`memory_shortened`](crate::Stats::memory_shortened) show which step the server has reached: see
//!   [Deployment](super::deployment).
//! - [Slow clients](super::slow_clients): what lag is, and how to choose between disconnecting and skipping.
//! - `PERFORMANCE.md` in the repository has a table of what a service needs, up to ten million streams.
