//! Ids and resume: give a client that reconnects the events it has missed, or tell it that some are lost.
//!
//! A connection can end at any moment. `EventSource` reconnects by itself and sends the id of the last event
//! it saw as `Last-Event-ID` (WHATWG HTML 9.2.4). This server promises: **if a topic with ids has lost an
//! event for a client, the client is told.** It gets all events since, once and in order. Or
//! [`Handler::missed`](crate::Handler::missed) sends them from a store of yours. Or a
//! [`gap`](crate::Config::gap_event) event comes first, or the stream ends.
//!
//! A topic has ids if it has a history, is keyed, or says who else makes its ids. Any other topic is live
//! only and promises nothing.
//!
//! # Which kind of ids to use
//!
//! | [`TopicConfig::ids`](crate::TopicConfig::ids) | use it if | an id looks like |
//! |---|---|---|
//! | [`Ids::Generated`](crate::Ids::Generated) (default) | events exist in this process only | `k3Xp0aZ9-1234`: a name for the server, and a number |
//! | [`Ids::Own`](crate::Ids::Own) | events come from your database | what you say, such as the key of a row |
//! | [`Ids::Ordered`](crate::Ids::Ordered) | several servers read the same log | `1764380000000-3`, the id of an entry in a Redis stream |
//!
//! A stream reads topics with ids of one kind only. The first block of a stream names the position where it
//! begins, so a client that is cut off before its first event resumes there.
//!
//! # Generated: events of this process
//!
//! ```
//! use mio_sse::{Config, Event, History, RawRequest, Reply, Router, Server, TopicConfig};
//!
//! let mut config = Config::default();
//! // At most 1,000 events, and at most 16 MiB: without `bytes` it is 1 MiB.
//! config.topic = TopicConfig::default().history(History::new().events(1000).bytes(16 << 20));
//! let mut app = Router::new();
//! app.get("/events", |_request, _cx| Reply::stream().topic("news"));
//!
//! let mut server = Server::in_memory(app, config)?;
//! let mut tab = server.ask(RawRequest::get("/events")?);
//! server.context().publish("news", "one")?;
//! server.settle();
//! let seen = tab.events()[0].id.clone().unwrap_or_default();
//! drop(tab); // The connection breaks.
//! server.context().publish("news", "two")?;
//!
//! let mut tab = server.ask(RawRequest::get("/events")?.header("Last-Event-ID", &*seen)?);
//! assert_eq!(tab.events()[0].data.as_deref(), Some("two"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - **Restart:** the history is empty. The server recognises ids of an earlier run, whatever the clock says.
//!   Their clients get a `gap` event, and then what there is.
//! - **Second server:** it has a history of its own, so a client that changes servers gets a `gap` event.
//!   Route clients to the same server, or use another kind of id. All loops of [`Shards`](crate::Shards) are
//!   one server.
//! - **Absence longer than the history:** a `gap` event, then [the oldest event](crate::AfterGap::Oldest) or
//!   [live events only](crate::AfterGap::Live).
//! - **Numbers** count the events of all topics of the server, so those of one topic have holes.
//! - On a `gap` event, a page fetches its state again. Or begin each stream with that state:
//!   [`StreamReply::first`](crate::StreamReply::first), or a [keyed](crate::TopicConfig::keyed) topic.
//!
//! # Own: events of a database
//!
//! The history serves clients that were away for a moment. For older ids the server calls `missed`:
//!
//! ```
//! use mio_sse::{Event, History, Ids, Missed, Reply, Router, TopicConfig};
//! # use std::sync::{Arc, Mutex};
//!
//! /// Stands for a table `notes(id INTEGER PRIMARY KEY, text TEXT)`.
//! #[derive(Clone, Default)]
//! struct Store(Arc<Mutex<Vec<String>>>);
//! impl Store {
//!     /// SELECT max(id)
//!     fn newest(&self) -> usize { self.0.lock().unwrap().len() }
//!     /// SELECT … WHERE id > ? AND id <= ? ORDER BY id. `None` for an id that was never given.
//!     fn rows(&self, seen: usize, newest: usize) -> Option<Vec<Event<'static>>> {
//!         let rows = self.0.lock().unwrap().get(seen..newest)?.to_vec().into_iter().zip(seen + 1..);
//!         Some(rows.map(|(text, id)| Event::from(text).id(id.to_string())).collect())
//!     }
//! }
//!
//! # let mut config = mio_sse::Config::default();
//! config.topic = TopicConfig::default().history(History::new().events(100)).ids(Ids::Own);
//! let (store, mut app) = (Store::default(), Router::new());
//! # let (all, store) = (store.clone(), store);
//! // A client that has seen nothing begins after the newest row, and knows that row's id at once.
//! let begin = store.clone();
//! app.get("/notes", move |request, _cx| match request.last_event_id() {
//!     Some(_) => Reply::stream().topic("notes"),
//!     None => Reply::stream().topic("notes").first(Event::new().id(begin.newest().to_string())),
//! });
//! app.missed(move |stream, last_event_id, cx| {
//!     let Ok(seen) = last_event_id.parse() else { return Ok(Missed::Gap) };
//!     // Rows up to this moment. Later ones are published after this.
//!     let (store, newest, sender) = (store.clone(), store.newest(), cx.channel(stream, 16)?);
//!     // A thread reads them, so the loop does not wait.
//!     std::thread::spawn(move || {
//!         // If the sender is dropped before `complete`, the client gets a `gap` event.
//!         let Some(events) = store.rows(seen, newest) else { return Ok(()) };
//!         events.into_iter().try_for_each(|event| sender.send(event))?;
//!         sender.complete();
//!         Ok::<_, mio_sse::Error>(())
//!     });
//!     Ok::<_, mio_sse::Error>(Missed::Later)
//! });
//! # let mut server = mio_sse::Server::in_memory(app, config)?;
//! # all.0.lock().unwrap().extend(["bread", "milk"].map(String::from));
//! # let mut tab = server.ask(mio_sse::RawRequest::get("/notes")?.header("Last-Event-ID", "1")?);
//! # let mut events = tab.events();
//! # for _ in 0..10_000 {
//! #     if !events.is_empty() { break; }
//! #     (server.settle(), std::thread::sleep(std::time::Duration::from_millis(1)));
//! #     events = tab.events();
//! # }
//! # assert_eq!(events[0].data.as_deref(), Some("milk"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - Insert first and publish second, in the same order, in the loop: in a handler or with
//!   [`Publisher::run`](crate::Publisher::run). If another thread has inserted a row and not published it
//!   yet, its event may come twice: from the store and live.
//! - **Restart, second server:** nothing is lost, because the server asks the store for ids that it has not
//!   published. To spare the store, publish the newest rows in [`on_start`](crate::Router::on_start).
//! - **Absence longer than the history:** the store is asked. If it returns
//!   [`Missed::Gap`](crate::Missed::Gap) or fails, the client is told.
//! - **A table for each user:** give the stream its user with
//!   [`StreamReply::with`](crate::StreamReply::with); `missed` gets it by `cx.of(stream)`. Never take the
//!   user from the id, which the client chooses.
//! - `missed` is called for every id that the history does not have, also for ids that no row ever had. Parse
//!   them strictly.
//! - Give every event an id. A client that resumes before an event without id gets that event again.
//!
//! # Ordered: events of a shared log
//!
//! ```
//! use mio_sse::{Config, History, Ids, Position, RawRequest, Reply, Router, Server, TopicConfig};
//!
//! let mut config = Config::default();
//! config.topic = TopicConfig::default().history(History::new().events(1000)).ids(Ids::Ordered);
//! let mut app = Router::new();
//! app.get("/events", |_request, _cx| Reply::stream().topic("news"));
//! // The newest entries first, so that there is a history before the first client.
//! app.on_start(|cx| cx.publish_at("news", Position::new(1_764_380_000_000, 0), "one"));
//! let mut server = Server::in_memory(app, config)?;
//! // The thread that reads the log goes on with `Publisher::publish_at`.
//! server.publisher().publish_at("news", Position::new(1_764_380_000_000, 1), "two")?;
//!
//! let mut tab = server.ask(RawRequest::get("/events")?.header("Last-Event-ID", "1764380000000-0")?);
//! assert_eq!(tab.events()[0].data.as_deref(), Some("two"));
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - **Restart, second server:** servers that read the same log know the same ids. A client that is ahead of
//!   its server waits, and gets nothing twice.
//! - **Absence longer than the history:** a `gap` event, or `missed`, which can ask the log for a range.
//! - **The log has lost events:** [`ordered_gap`](crate::Context::ordered_gap) tells all streams that read
//!   it. [`ordered_end`](crate::Context::ordered_end) reports the end of the log, so that no client waits for
//!   a position that will never come.
//! - Positions increase over all such topics of a server. Two unrelated logs need two servers.
//! - Before anything is published every id is unknown, so publish the newest entry of the log first.
//!
//! # Clients to know about
//!
//! - Ids that a browser would change or cannot send back are refused ([`EventError`](crate::EventError),
//!   [`Error::IdTooLong`](crate::Error::IdTooLong)).
//! - npm `eventsource` and the MCP SDK for JavaScript ignore an id without data: set
//!   [`Config::heartbeat_event`](crate::Config::heartbeat_event). httpx-sse and fetch-event-source report it
//!   as an empty message: skip those.
//! - A new `EventSource` object has seen nothing. To resume after a reload of the page, keep `lastEventId`
//!   and put it into the query: `?lastEventId=`.
//!
//! # Where to look next
//!
//! - [`Context::finish_topic`](crate::Context::finish_topic) ends a topic: clients get the rest, then 204.
//!   [`StreamReply::then_end`](crate::StreamReply::then_end) ends one stream after its history.
//! - [Slow clients](super::slow_clients) lose events too, and are told in the same way.
//! - [Scaling](super::scaling): `mio-sse-redis` is the shared log, ready to use.
