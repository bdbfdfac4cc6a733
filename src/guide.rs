//! Ids and resume: how a client that was away gets what it has missed, or learns that it has missed
//! something.
//!
//! A connection can end at any moment. `EventSource` connects again by itself, and says by `Last-Event-ID`
//! which id it saw last (WHATWG HTML 9.2.4). This server promises: **whatever a topic with ids has lost for a
//! client, the client is told.** It gets all events since, once and in order; or [`Handler::missed`] makes up
//! for them from a store of yours; or a [`gap`](crate::Config::gap_event) event comes first; or its stream
//! ends. There is no silent loss.
//!
//! A topic without a history, without keys and without [ids](crate::TopicConfig::ids) of somebody else's is
//! live only, and promises nothing.
//!
//! # Who makes the ids
//!
//! | [`TopicConfig::ids`] | use it when | an id looks like |
//! |---|---|---|
//! | [`Ids::Generated`] (default) | events exist in this process only | `k3Xp0aZ9-1234`: who made it, and a number |
//! | [`Ids::Own`] | events come from a database of yours | what you say, such as the key of a row |
//! | [`Ids::Ordered`] | events come from a log that several servers read | `1764380000000-3`, the id of a Redis stream's entry |
//!
//! All topics with ids that one stream reads are of one kind. The first block of a stream already names where
//! it begins, so that a client which is cut off before its first event comes back exactly.
//!
//! # Generated: this process knows
//!
//! ```
//! use mio_sse::{Config, Event, History, Reply, Router, Server, TopicConfig};
//! use std::time::Duration;
//!
//! let mut config = Config::default();
//! config.topic = TopicConfig::default().history(History::new().events(1000).age(Duration::from_secs(600)));
//!
//! let mut app = Router::new();
//! app.get("/events", |_request, _cx| Reply::stream().topic("news"));
//! let mut server = Server::bind_with("127.0.0.1:0", app, config)?;
//! server.context().publish("news", Event::new().data("it begins"))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - **A restart** begins the history anew. Ids of the earlier run are recognised as foreign, whatever the
//!   clock says: their clients
//!   get a `gap` event, and then what there is.
//! - **A second server** has a history of its own. A client that meets the other one gets a `gap`. Send
//!   clients to the same server, or use another kind. The loops of [`Shards`](crate::Shards) are one server.
//! - **An outage longer than the history**: a `gap`, then [the oldest that is kept](crate::AfterGap::Oldest),
//!   or [live](crate::AfterGap::Live).
//! - On a `gap` a page fetches its state anew. A snapshot as the first event of each stream is another way:
//!   [`StreamReply::first`](crate::StreamReply::first), or a [keyed](crate::TopicConfig::keyed) topic.
//!
//! # Own: a database knows
//!
//! The history spares the database: it answers those who were away for a moment. For all others there is
//! [`Handler::missed`]:
//!
//! ```
//! use mio_sse::{Config, Event, History, Ids, Missed, Reply, Router, Server, TopicConfig};
//! use std::sync::{Arc, Mutex};
//! use std::thread;
//!
//! /// Stands for a table `notes(id INTEGER PRIMARY KEY, text TEXT)`.
//! #[derive(Clone, Default)]
//! struct Store(Arc<Mutex<Vec<String>>>);
//!
//! impl Store {
//!     /// INSERT. The event has the row's key as its id.
//!     fn insert(&self, text: &str) -> Event<'static> {
//!         let mut rows = self.0.lock().unwrap();
//!         rows.push(text.to_owned());
//!         Event::new().data(text.to_owned()).id(rows.len().to_string())
//!     }
//!
//!     /// SELECT … WHERE id > ? ORDER BY id. `None` for an id that was never given.
//!     fn since(&self, id: &str) -> Option<Vec<Event<'static>>> {
//!         let seen: usize = id.parse().ok()?;
//!         let rows = self.0.lock().unwrap();
//!         let since = rows.get(seen..)?.iter().zip(seen + 1..);
//!         Some(since.map(|(text, id)| Event::new().data(text.clone()).id(id.to_string())).collect())
//!     }
//! }
//!
//! let mut config = Config::default();
//! config.topic = TopicConfig::default().history(History::new().events(100)).ids(Ids::Own);
//!
//! let store = Store::default();
//! let mut app = Router::new();
//! // A client that has seen nothing begins behind the newest row, and knows that from its first byte.
//! let newest = store.clone();
//! app.get("/notes", move |request, _cx| {
//!     let stream = Reply::stream().topic("notes");
//!     match request.last_event_id() {
//!         Some(_) => stream,
//!         None => stream.first(Event::new().id(newest.0.lock().unwrap().len().to_string())),
//!     }
//! });
//! // The loop does not wait for the database: a thread reads it, as fast as the client does.
//! let rows = store.clone();
//! app.missed(move |stream, last_event_id, cx| {
//!     let Some(events) = rows.since(last_event_id) else { return Ok(Missed::Gap) };
//!     let sender = cx.channel(stream, 16)?;
//!     thread::spawn(move || {
//!         for event in events {
//!             sender.send(event)?;
//!         }
//!         sender.complete();
//!         Ok::<_, mio_sse::Error>(())
//!     });
//!     Ok::<_, mio_sse::Error>(Missed::Later)
//! });
//! let mut server = Server::bind_with("127.0.0.1:0", app, config)?;
//! server.context().publish("notes", store.insert("bread"))?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - Insert first, publish second, and both in the same order: `missed` then has everything up to this
//!   moment, and what is published later comes behind it. Do both in the loop, in a handler or by
//!   [`Publisher::run`](crate::Publisher::run): what another thread has inserted and not published yet may
//!   come twice, from the store and live.
//! - **A restart** loses nothing: ids that the new server has not published are unknown to it, so the store
//!   is asked. To spare the store, publish the newest rows when the server starts ([`Router::on_start`]), in
//!   the order in which they were inserted, over all topics that one stream reads.
//! - **A second server** with the same store is the same: what one has not published yet, `missed` brings.
//! - **An outage longer than the history**: the store is asked. If it answers [`Missed::Gap`], or fails, the
//!   client is told.
//! - Give every event an id. One without is lost with those before it when a client comes back with an
//!   earlier id: it gets them again, twice rather than never.
//!   Without any id there is nothing that a client can come back with, so begin with one, as above.
//!
//! # Ordered: a log knows
//!
//! ```
//! use mio_sse::{Config, Event, History, Ids, Position, Reply, Router, Server, TopicConfig};
//!
//! /// Stands for what XREVRANGE and XREAD give: entries of one stream, in its order.
//! fn entries() -> Vec<(Position, &'static str)> {
//!     vec![(Position::new(1_764_380_000_000, 0), "one"), (Position::new(1_764_380_000_000, 1), "two")]
//! }
//!
//! let mut config = Config::default();
//! config.topic = TopicConfig::default().history(History::new().events(1000)).ids(Ids::Ordered);
//!
//! let mut app = Router::new();
//! app.get("/events", |_request, _cx| Reply::stream().topic("news"));
//! // The newest of the log first, so that there is a history from the first client on.
//! app.on_start(|cx| {
//!     for (position, text) in entries() {
//!         cx.publish_at("news", position, Event::new().data(text))?;
//!     }
//!     Ok::<_, mio_sse::Error>(())
//! });
//! let server = Server::bind_with("127.0.0.1:0", app, config)?;
//! // A thread that reads the log on publishes with `Publisher::publish_at`.
//! let publisher = server.publisher();
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - **A restart** and **a second server** are the same: servers that read the same log know the same ids.
//! - A client that is ahead of a server which is still reading waits, and gets what comes behind its id,
//!   without anything twice.
//! - **An outage longer than the history**: a `gap`, or `missed`, which can ask the log for a range.
//! - **A log that has lost events** is a gap for all streams that read it: [`Context::ordered_gap`]. A
//!   position that the log will never reach is one as well, if the reader says where the log ends:
//!   [`Context::ordered_end`].
//! - The crate `mio-sse-redis` does all of this with a Redis stream.
//! - Positions increase over all such topics of a server: two logs that know nothing of each other belong to
//!   two servers.
//! - Where nothing was published yet, every id is unknown, and the id of a stream is `0-0`. So publish the
//!   newest entry of the log first, also where only what
//!   comes from now on matters.
//!
//! # What clients do
//!
//! - An id has to come back as it was. Those that browsers change, or cannot send, are refused when the event
//!   is published:
//!   [`EventError`](crate::EventError), [`Error::IdTooLong`](crate::Error::IdTooLong).
//! - Some clients, npm `eventsource` and the MCP SDK for JavaScript among them, take no notice of an id
//!   without data. With [`Config::heartbeat_event`](crate::Config::heartbeat_event) the first block and the
//!   heartbeats are events with data.
//! - Others, httpx-sse and fetch-event-source among them, take a lone id for an empty message: let them pass
//!   over messages without data.
//! - A new `EventSource` object has seen nothing. To go on over a reload of the page, keep `lastEventId` and
//!   put it into the query, `?lastEventId=`.
//!
//! # When no more will come
//!
//! [`Context::finish_topic`](crate::Context::finish_topic) ends what reads a topic, behind its last event;
//! who comes later gets what is kept and the end, and who has seen it all gets 204, which makes `EventSource`
//! stop. [`StreamReply::then_end`](crate::StreamReply::then_end) ends one stream behind what its topics have
//! kept for it.
//!
//! [`Handler::missed`]: crate::Handler::missed
//! [`Router::on_start`]: crate::Router::on_start
//! [`TopicConfig::ids`]: crate::TopicConfig::ids
//! [`Ids::Generated`]: crate::Ids::Generated
//! [`Ids::Own`]: crate::Ids::Own
//! [`Ids::Ordered`]: crate::Ids::Ordered
//! [`Context::ordered_gap`]: crate::Context::ordered_gap
//! [`Context::ordered_end`]: crate::Context::ordered_end
//! [`Missed::Gap`]: crate::Missed::Gap
