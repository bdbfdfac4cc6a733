//! The handle of a hub.

use crate::error::{HubError, PublishError};
use crate::link::Link;
use crate::reader::{Act, Reader};
use crate::record::What;
use crate::shared::Shared;
use crate::stats::HubStats;
use crate::threads::{self, READ_PATIENCE, Stream};
use mio_sse::net::Net;
use mio_sse::{App, Error, Event, Position, Publisher, Server, Shards};
use redis::Connection;
use std::fmt;
use std::sync::mpsc::sync_channel;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

/// How a hub uses Redis.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct HubConfig {
    /// Approximate number of entries that the stream retains in Redis (`MAXLEN ~`); default 100,000. A node
    /// that was disconnected for longer than that has a gap. Set the same number on all nodes.
    pub kept: usize,
    /// Number of entries that are read at the start, so that clients of other nodes can resume here: as many
    /// as the [histories](mio_sse::History) of all topics retain together. Default 10,000.
    pub history: usize,
    /// How long an event may wait until Redis has stored it; default 5 seconds.
    pub publish_timeout: Duration,
    /// Most events that may wait to be written; default 10,000.
    pub waiting_max: usize,
    /// Name of the master, if the URL is that of a Sentinel, or of several, separated by commas. User,
    /// password and database of the first URL are then those of Redis itself.
    pub sentinel_master: Option<String>,
}

impl Default for HubConfig {
    fn default() -> Self {
        Self {
            kept: 100_000,
            history: 10_000,
            publish_timeout: Duration::from_secs(5),
            waiting_max: 10_000,
            sentinel_master: None,
        }
    }
}

/// One Redis stream, and this process as a node on it. Clones share one hub.
///
/// Make it before the server, so that handlers can have a clone, and [attach](Self::attach) it before the
/// server runs. Its threads stop when the server has stopped, or when the last clone is dropped.
#[derive(Clone)]
pub struct Hub(Arc<Inner>);

struct Inner {
    config: HubConfig,
    stream: Stream,
    /// Name of the reader. The writer has a name of its own.
    reader_name: u64,
    shared: Arc<Shared>,
    /// Where Redis is, for the reader and for the writer. `attach` takes both.
    links: Mutex<Option<(Link, Link)>>,
}

impl fmt::Debug for Hub {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        // The URL may contain a password.
        f.debug_struct("Hub")
            .field("key", &self.0.stream.key)
            .field("stats", &self.stats())
            .finish_non_exhaustive()
    }
}

impl Drop for Inner {
    fn drop(&mut self) {
        self.shared.stop();
    }
}

impl Hub {
    /// A hub on the stream `key` of the Redis at `url`: `redis://user:password@host:port/db`, `unix:///path`,
    /// or, with feature `tls`, `rediss://…`. This does not connect yet.
    ///
    /// # Errors
    /// [`HubError::Url`].
    pub fn new(url: &str, key: &str) -> Result<Self, HubError> {
        Self::with_config(url, key, HubConfig::default())
    }

    /// The same as [`new`](Self::new), with a configuration.
    ///
    /// # Errors
    /// As for [`new`](Self::new).
    pub fn with_config(url: &str, key: &str, config: HubConfig) -> Result<Self, HubError> {
        let link = || {
            Link::new(url, config.sentinel_master.as_deref())
                .map_err(|error| HubError::Url(error.to_string()))
        };
        let links = Mutex::new(Some((link()?, link()?)));
        let name = || getrandom::u64().map_err(|error| HubError::System(error.to_string()));
        let shared = Arc::new(Shared::new(name()?, config.waiting_max));
        let stream = Stream { key: key.to_owned(), kept: config.kept };
        Ok(Self(Arc::new(Inner { config, stream, reader_name: name()?, shared, links })))
    }

    /// Reads the newest entries of the stream into the histories of the server, then keeps reading in a
    /// thread of its own.
    ///
    /// The topics of the hub need [`Ids::Ordered`](mio_sse::Ids::Ordered). Other topics may have other ids,
    /// or none, and stay local to this server. No stream can subscribe to both kinds.
    ///
    /// # Errors
    /// [`HubError::Redis`], without any effect, so the call can be repeated. [`HubError::Attached`].
    pub fn attach<H: App, N: Net>(&self, server: &mut Server<H, N>) -> Result<(), HubError> {
        let publisher = server.publisher().without_state();
        self.begin(publisher, |acts| threads::fill(acts, &self.0.shared, &mut server.context()))
    }

    /// The same as [`attach`](Self::attach) for a server of several loops.
    ///
    /// # Errors
    /// As for [`attach`](Self::attach).
    pub fn attach_shards<H: App, N: Net>(&self, shards: &mut Shards<H, N>) -> Result<(), HubError> {
        let publisher = shards.publisher().without_state();
        self.begin(publisher, |acts| shards.prepare(|cx| threads::fill(acts, &self.0.shared, cx)))
    }

    fn begin(&self, publisher: Publisher, fill: impl FnOnce(&[Act])) -> Result<(), HubError> {
        let inner = &*self.0;
        let mut links = inner.links.lock().unwrap_or_else(PoisonError::into_inner);
        let Some((mut reads, writes)) = links.take() else { return Err(HubError::Attached) };
        let mut reader = Reader::new(inner.config.history, inner.reader_name);
        let filled = reads.connect(READ_PATIENCE).map_err(|error| error.to_string());
        let filled = filled.and_then(|connection| self.read_history(&mut reader, connection));
        let (connection, acts) = match filled {
            Ok(filled) => filled,
            Err(problem) => {
                *links = Some((reads, writes));
                return Err(HubError::Redis(problem));
            }
        };
        fill(&acts);
        inner.shared.lock().stats.is_connected = true;
        self.start("mio-sse-redis-read", {
            let (stream, shared) = (inner.stream.clone(), Arc::clone(&inner.shared));
            move || threads::read(reader, &stream, reads, connection, &shared, &publisher)
        })?;
        self.start("mio-sse-redis-write", {
            let (stream, shared) = (inner.stream.clone(), Arc::clone(&inner.shared));
            let patience = inner.config.publish_timeout;
            move || threads::write(&stream, writes, patience, &shared)
        })
    }

    fn read_history(
        &self,
        reader: &mut Reader,
        mut connection: Connection,
    ) -> Result<(Connection, Vec<Act>), String> {
        let mut acts = Vec::new();
        while !reader.is_filled() {
            acts.extend(threads::ask(reader, &self.0.stream, &mut connection, &self.0.shared)?);
        }
        Ok((connection, acts))
    }

    fn start(&self, name: &str, run: impl FnOnce() + Send + 'static) -> Result<(), HubError> {
        let thread = thread::Builder::new().name(name.to_owned()).spawn(run);
        thread.map(drop).map_err(|error| {
            self.0.shared.stop();
            HubError::System(error.to_string())
        })
    }

    /// Publishes an event on all nodes, and waits until Redis has stored it, at most for
    /// [`publish_timeout`](HubConfig::publish_timeout). Returns its position, which is its id. If a reply was
    /// lost and the event was written again, the returned position is that of the second entry, and the id is
    /// that of the first. Nothing is written before the hub is attached.
    ///
    /// Handlers must not wait: they use [`submit`](Self::submit).
    ///
    /// # Errors
    ///
    /// [`PublishError`]. Only after [`TimedOut`](PublishError::TimedOut) is it unknown whether the event was
    /// published.
    pub fn publish<'e>(&self, topic: &str, event: impl Into<Event<'e>>) -> Result<Position, PublishError> {
        self.publish_all([topic], event)
    }

    /// The same as [`publish`](Self::publish) for several topics: a stream that reads more than one of them
    /// gets the event once.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish).
    pub fn publish_all<'t, 'e>(
        &self,
        topics: impl IntoIterator<Item = &'t str>,
        event: impl Into<Event<'e>>,
    ) -> Result<Position, PublishError> {
        let topics = topics.into_iter().map(str::to_owned).collect();
        self.wait_for(What::Event { topics, event: event.into().into_owned() })
    }

    /// Finishes a topic on all nodes, after all events that were published to it before: see
    /// [`Context::finish_topic`](mio_sse::Context::finish_topic).
    ///
    /// # Errors
    /// As for [`publish`](Self::publish).
    pub fn finish_topic(&self, topic: &str) -> Result<Position, PublishError> {
        self.wait_for(What::Finish(topic.to_owned()))
    }

    fn wait_for(&self, what: What) -> Result<Position, PublishError> {
        let (sender, receiver) = sync_channel(1);
        // The caller may have timed out.
        self.put(what, Box::new(move |result| drop(sender.send(result))))?;
        match receiver.recv_timeout(self.0.config.publish_timeout) {
            Ok(result) => result,
            Err(_) => Err(PublishError::TimedOut(None)),
        }
    }

    /// Publishes an event on all nodes without waiting: for handlers. `done` is called with the result, in a
    /// thread of the hub. It must be quick, as the next events wait for it.
    ///
    /// ```
    /// use mio_sse::{Reply, Router};
    /// use mio_sse_redis::Hub;
    ///
    /// fn app(hub: &Hub) -> Router {
    ///     let mut app = Router::new();
    ///     app.get("/news", |_request, _cx| Reply::stream().topic("news"));
    ///     let hub = hub.clone();
    ///     app.post("/news", move |request, cx| {
    ///         let text = String::from_utf8_lossy(request.body());
    ///         let (reply, responder) = cx.later();
    ///         hub.submit("news", text, move |result| match result {
    ///             Ok(position) => responder.reply(position.to_string()),
    ///             Err(error) => responder.reply(Reply::text(error.to_string()).with_status(503)),
    ///         })?;
    ///         Ok::<_, mio_sse_redis::PublishError>(reply)
    ///     });
    ///     app
    /// }
    /// ```
    ///
    /// # Errors
    /// [`PublishError::Invalid`], [`PublishError::Full`] and [`PublishError::Stopped`], at once. `done` is
    /// then dropped without a call.
    pub fn submit<'e, T>(
        &self,
        topic: &str,
        event: impl Into<Event<'e>>,
        done: impl FnOnce(Result<Position, PublishError>) -> T + Send + 'static,
    ) -> Result<(), PublishError> {
        self.submit_all([topic], event, done)
    }

    /// The same as [`submit`](Self::submit) for several topics: a stream that reads more than one of them
    /// gets the event once.
    ///
    /// # Errors
    /// As for [`submit`](Self::submit).
    pub fn submit_all<'t, 'e, T>(
        &self,
        topics: impl IntoIterator<Item = &'t str>,
        event: impl Into<Event<'e>>,
        done: impl FnOnce(Result<Position, PublishError>) -> T + Send + 'static,
    ) -> Result<(), PublishError> {
        let topics = topics.into_iter().map(str::to_owned).collect();
        let what = What::Event { topics, event: event.into().into_owned() };
        self.put(what, Box::new(move |result| drop(done(result))))
    }

    fn put(&self, what: What, done: crate::shared::Done) -> Result<(), PublishError> {
        check(&what).map_err(PublishError::Invalid)?;
        let inner = &*self.0;
        let until = inner.shared.now() + inner.config.publish_timeout;
        let mut state = inner.shared.lock();
        if state.stopped {
            return Err(PublishError::Stopped);
        }
        let put = state.writer.submit(what, until, done);
        drop(state);
        inner.shared.tell();
        // `done` belongs to the application: it is dropped without the lock.
        put.map_err(|done| {
            drop(done);
            PublishError::Full
        })
    }

    /// Counters and gauges of the hub.
    #[must_use]
    pub fn stats(&self) -> HubStats {
        let state = self.0.shared.lock();
        HubStats { newest: state.highest, waiting: state.writer.waiting() as u64, ..state.stats }
    }
}

/// Checks that every node will read the event as it was published.
fn check(what: &What) -> Result<(), Error> {
    let What::Event { event, .. } = what else { return Ok(()) };
    if event.id.is_some() {
        return Err(Error::OwnId);
    }
    event.encode().map(drop).map_err(Error::InvalidEvent)
}
