//! Publish and control the server from other threads.

use crate::conn::id::StreamId;
use crate::error::Error;
use crate::event::Event;
use crate::server::api::context::{Context, Outcome};
use crate::server::api::drain::Drain;
use crate::server::api::not_adopted::NotAdopted;
use crate::server::state::core::{Core, Job};
use crate::server::state::inbox::{Inbox, Order, Publication, TIME_TO_START};
use crate::shards::sequencer::{From, In, Sequencer};
use crate::topic::frame::EncodedEvent;
use crate::topic::position::Position;
use std::any::Any;
use std::fmt;
use std::iter;
use std::marker::PhantomData;
use std::net::TcpStream;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, sync_channel};
use std::time::Duration;

/// Publishes from any thread. Cloning is cheap; all clones use the same inbox, in order.
///
/// Events are encoded on the calling thread. The inbox holds [`inbox_max`](crate::Config::inbox_max)
/// messages. If it is full, [`publish`](Self::publish) waits for room and [`try_publish`](Self::try_publish)
/// does not. While a fan-out cannot keep up, the loop leaves messages in the inbox, so a publisher that is
/// too fast is slowed down, not the streams. Publishers also wait, for 100 ms at a time, for streams that are
/// still reading a burst and would be closed for [lagging](crate::Config::lag_bytes_max). Before the first
/// [turn](crate::Server::turn) the loop takes no messages: then a call waits for room for at most a second
/// and returns [`Error::Full`].
///
/// ```
/// use mio_sse::{Event, Router, Server};
///
/// let mut server = Server::bind("127.0.0.1:0", Router::new())?;
/// let publisher = server.publisher();
/// let thread = std::thread::spawn(move || server.run());
///
/// publisher.publish("news", Event::new().data("from another thread"))?;
/// publisher.run(|cx| cx.stop())?;
/// thread.join().unwrap()?;
/// assert!(publisher.publish("news", Event::new().data("too late")).is_err());
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// `S` is the [state of the router](crate::Router::with_state), for closures that [`run`](Self::run) in the
/// loop.
pub struct Publisher<S = ()> {
    inbox: Inbox<Job>,
    /// All loops, if there are several.
    shards: Option<Arc<Sequencer<Job>>>,
    id_bytes_max: usize,
    /// Whether calls wait for room in the inbox.
    waits: bool,
    state: PhantomData<fn(&mut S)>,
}

impl<S> Clone for Publisher<S> {
    fn clone(&self) -> Self {
        Self { inbox: self.inbox.clone(), shards: self.shards.clone(), ..*self }
    }
}

impl<S> fmt::Debug for Publisher<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Publisher").finish_non_exhaustive()
    }
}

impl<S: 'static> Publisher<S> {
    pub(crate) fn new(core: &Core) -> Self {
        let id_bytes_max = core.config.id_bytes_max();
        let shards = core.link.as_ref().map(|link| Arc::clone(&link.sequencer));
        Self { inbox: core.inbox.clone(), shards, id_bytes_max, waits: true, state: PhantomData }
    }

    /// The same publisher for code that does not know the application's state.
    #[must_use]
    pub fn without_state(&self) -> Publisher {
        let Self { id_bytes_max, waits, .. } = *self;
        let (inbox, shards) = (self.inbox.clone(), self.shards.clone());
        Publisher { inbox, shards, id_bytes_max, waits, state: PhantomData }
    }

    /// The same publisher, but no call waits for room: if the inbox is full, it returns [`Error::Full`] at
    /// once and does nothing. For async tasks, which must not block (see the guide [Async
    /// programs](crate::guide::async_programs)), and if dropping an event is better than waiting.
    ///
    /// ```
    /// use mio_sse::{Error, Event, Publisher};
    /// use std::time::Duration;
    ///
    /// /// In a tokio task: tries again a little later if the inbox is full, while other tasks run.
    /// async fn publish(publisher: &Publisher, topic: &str, data: &str) -> Result<(), Error> {
    ///     let publisher = publisher.nonblocking();
    ///     loop {
    ///         match publisher.publish(topic, data) {
    ///             Err(Error::Full) => tokio::time::sleep(Duration::from_millis(5)).await,
    ///             done => return done,
    ///         }
    ///     }
    /// }
    /// ```
    #[must_use]
    pub fn nonblocking(&self) -> Publisher<S> {
        Publisher { waits: false, ..self.clone() }
    }

    /// Publishes an event to a topic. Waits while the inbox is full. If the topic does not accept it when the
    /// loop takes it, see [`Context::publish`], it is dropped.
    ///
    /// # Errors
    /// [`Error::InvalidEvent`]; [`Error::IdTooLong`]; [`Error::Stopped`]; [`Error::Full`] only on the loop's
    /// own thread, where it would wait for ever (use [`Context::publish`] there), and if the server does not
    /// run.
    pub fn publish<'e>(&self, topic: &str, event: impl Into<Event<'e>>) -> Result<(), Error> {
        self.publish_to(iter::once(topic), event, None, self.waits)
    }

    /// Publishes an event to several topics at once, see [`Context::publish_all`]. Waits while the inbox is
    /// full.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish).
    pub fn publish_all<'t, 'e>(
        &self,
        topics: impl IntoIterator<Item = &'t str>,
        event: impl Into<Event<'e>>,
    ) -> Result<(), Error> {
        self.publish_to(topics, event, None, self.waits)
    }

    /// Publishes an event at its position in an external log, see [`Context::publish_at`]. Waits while the
    /// inbox is full.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish).
    pub fn publish_at<'e>(
        &self,
        topic: &str,
        position: Position,
        event: impl Into<Event<'e>>,
    ) -> Result<(), Error> {
        self.publish_to(iter::once(topic), event, Some(position), self.waits)
    }

    /// Publishes an event to several topics at its position in an external log, see
    /// [`Context::publish_all_at`]. Waits while the inbox is full.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish).
    pub fn publish_all_at<'t, 'e>(
        &self,
        topics: impl IntoIterator<Item = &'t str>,
        position: Position,
        event: impl Into<Event<'e>>,
    ) -> Result<(), Error> {
        self.publish_to(topics, event, Some(position), self.waits)
    }

    fn publish_to<'t, 'e>(
        &self,
        topics: impl IntoIterator<Item = &'t str>,
        event: impl Into<Event<'e>>,
        at: Option<Position>,
        waits: bool,
    ) -> Result<(), Error> {
        let publication = Arc::new(Publication::new(topics, self.encode(event)?, at, None));
        match &self.shards {
            None => self.inbox.put(Order::Publish(publication), waits),
            Some(all) => {
                all.put(|_| Order::Publish(Arc::clone(&publication)), From::Thread { waits }, In::All)
            }
        }
    }

    /// Runs `work` in the loop, or in each of several.
    fn in_all<O: Outcome>(&self, work: impl Fn(&mut Core) -> O + Send + Sync + 'static) -> Result<(), Error> {
        let work = Arc::new(work);
        let order = || {
            let work = Arc::clone(&work);
            Order::Run(Job::Run(Box::new(move |core, _state| work(core).settle())))
        };
        match &self.shards {
            None => self.put(&self.inbox, order()),
            Some(all) => all.put(|_| order(), From::Thread { waits: self.waits }, In::All),
        }
    }

    /// Puts a message into the inbox of one loop.
    fn put(&self, inbox: &Inbox<Job>, order: Order<Job>) -> Result<(), Error> {
        inbox.put(order, self.waits && !self.is_on_one_of_several())
    }

    /// Whether this is the thread of one of several loops. Two loops that wait for each other would wait for
    /// ever.
    fn is_on_one_of_several(&self) -> bool {
        self.shards.as_ref().is_some_and(|all| all.is_on_a_loop())
    }

    /// The inbox of a stream's loop.
    fn inbox_of(&self, stream: StreamId) -> Result<&Inbox<Job>, Error> {
        let Some(all) = &self.shards else { return Ok(&self.inbox) };
        all.inbox(stream.shard).ok_or(Error::Closed)
    }

    fn encode<'e>(&self, event: impl Into<Event<'e>>) -> Result<EncodedEvent, Error> {
        let mut encoded = EncodedEvent::default();
        encoded.encode_checked(&event.into(), self.id_bytes_max)?;
        Ok(encoded)
    }

    /// Publishes an event to a topic, if the inbox has room for it now.
    ///
    /// # Errors
    /// [`Error::InvalidEvent`]; [`Error::Stopped`]; [`Error::Full`].
    pub fn try_publish<'e>(&self, topic: &str, event: impl Into<Event<'e>>) -> Result<(), Error> {
        self.publish_to(iter::once(topic), event, None, false)
    }

    /// Reports that an external log has lost events, see [`Context::ordered_gap`]. Waits while the inbox is
    /// full.
    ///
    /// # Errors
    /// [`Error::Stopped`], and [`Error::Full`] as for [`publish`](Self::publish). A position that does not
    /// increase is logged.
    pub fn ordered_gap(&self, position: Position) -> Result<(), Error> {
        self.in_all(move |core| core.ordered_gap(position))
    }

    /// Reports where an external log ends, see [`Context::ordered_end`]. Waits while the inbox is full.
    ///
    /// # Errors
    /// [`Error::Stopped`], and [`Error::Full`] as for [`publish`](Self::publish).
    pub fn ordered_end(&self, newest: Position) -> Result<(), Error> {
        self.in_all(move |core| core.ordered_end(newest))
    }

    /// Whether the server, or all of its loops, have stopped.
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        match &self.shards {
            Some(all) => !all.inboxes().any(Inbox::runs),
            None => !self.inbox.runs(),
        }
    }

    /// Finishes a topic, see [`Context::finish_topic`]. Waits while the inbox is full.
    ///
    /// # Errors
    /// As for [`close`](Self::close).
    pub fn finish_topic(&self, topic: impl Into<String>) -> Result<(), Error> {
        let topic = topic.into();
        self.in_all(move |core| core.finish_topic(&topic))
    }

    /// Sends an event to one stream. Waits while the inbox is full. If the stream has ended when the loop
    /// takes the event, it is dropped.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish).
    pub fn send<'e>(&self, stream: StreamId, event: impl Into<Event<'e>>) -> Result<(), Error> {
        let event = self.encode(event)?;
        self.put(self.inbox_of(stream)?, Order::Send { stream, event })
    }

    /// Sends an event to every stream with a tag, see [`Context::send_tagged`]. Waits while the inbox is
    /// full.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish).
    pub fn send_tagged<'e>(&self, tag: &str, event: impl Into<Event<'e>>) -> Result<(), Error> {
        let event = self.encode(event)?;
        let order = || Order::SendTagged { tag: tag.into(), event: event.clone() };
        match &self.shards {
            None => self.put(&self.inbox, order()),
            Some(all) => all.put(|_| order(), From::Thread { waits: self.waits }, In::All),
        }
    }

    /// Closes every stream with a tag, see [`Context::close_tagged`]. Waits while the inbox is full.
    ///
    /// # Errors
    /// As for [`close`](Self::close).
    pub fn close_tagged(&self, tag: impl Into<String>) -> Result<(), Error> {
        let tag = tag.into();
        self.in_all(move |core| {
            core.close_tagged(&tag);
        })
    }

    /// Closes every stream with a tag and refuses new ones for `time`, see [`Context::revoke`]. The time runs
    /// from when the loop takes the message. Waits while the inbox is full.
    ///
    /// # Errors
    /// As for [`close`](Self::close).
    pub fn revoke(&self, tag: impl Into<String>, time: Duration) -> Result<(), Error> {
        let tag = tag.into();
        self.in_all(move |core| {
            core.revoke(&tag, time);
        })
    }

    /// Ends the revocation of a tag, see [`Context::unrevoke`]. Waits while the inbox is full.
    ///
    /// # Errors
    /// As for [`close`](Self::close).
    pub fn unrevoke(&self, tag: impl Into<String>) -> Result<(), Error> {
        let tag = tag.into();
        self.in_all(move |core| {
            core.unrevoke(&tag);
        })
    }

    /// Wakes the [source](crate::Source) of a stream, see [`Context::wake`]. Waits while the inbox is full.
    ///
    /// # Errors
    /// [`Error::Stopped`], and [`Error::Full`] as for [`publish`](Self::publish). A stream that has ended is
    /// not an error.
    pub fn wake(&self, stream: StreamId) -> Result<(), Error> {
        self.put(self.inbox_of(stream)?, Order::Wake { stream })
    }

    /// Closes a stream, see [`Context::close`]. Waits while the inbox is full.
    ///
    /// # Errors
    /// [`Error::Stopped`], and [`Error::Full`] as for [`publish`](Self::publish).
    pub fn close(&self, stream: StreamId) -> Result<(), Error> {
        self.put(self.inbox_of(stream)?, Order::Close { stream })
    }

    /// Runs a closure in the loop, with a [`Context`]. Waits while the inbox is full, not until the closure
    /// has run.
    ///
    /// # Errors
    /// [`Error::Stopped`], and [`Error::Full`] as for [`publish`](Self::publish).
    pub fn run<O: Outcome>(
        &self,
        work: impl FnOnce(&mut Context<'_, S>) -> O + Send + 'static,
    ) -> Result<(), Error> {
        self.run_in(&self.inbox, work)
    }

    /// Runs a closure in the loop of a stream, where all methods of [`Context`] work for it. With one loop
    /// this is the same as [`run`](Self::run).
    ///
    /// ```
    /// # use mio_sse::{Error, Event, Publisher, StreamId};
    /// # use std::time::Duration;
    /// fn count_down(stream: StreamId, publisher: &Publisher) -> Result<(), Error> {
    ///     publisher.run_for(stream, move |cx| {
    ///         cx.after(stream, Duration::from_secs(3), |stream, cx| cx.send(stream, "now"))
    ///     })
    /// }
    /// ```
    ///
    /// # Errors
    /// As for [`run`](Self::run).
    pub fn run_for<O: Outcome>(
        &self,
        stream: StreamId,
        work: impl FnOnce(&mut Context<'_, S>) -> O + Send + 'static,
    ) -> Result<(), Error> {
        self.run_in(self.inbox_of(stream)?, work)
    }

    fn run_in<O: Outcome>(
        &self,
        inbox: &Inbox<Job>,
        work: impl FnOnce(&mut Context<'_, S>) -> O + Send + 'static,
    ) -> Result<(), Error> {
        let work = Job::Run(Box::new(move |core: &mut Core, state: &mut dyn Any| {
            Context::enter(core, state, None, |cx| work(cx).settle());
        }));
        self.put(inbox, Order::Run(work))
    }

    /// Runs a closure in the loop, waits for it, and returns its result.
    ///
    /// ```
    /// # use mio_sse::{Router, Server};
    /// # let mut server = Server::bind("127.0.0.1:0", Router::new())?;
    /// let publisher = server.publisher();
    /// # std::thread::spawn(move || server.run());
    /// let watching = publisher.ask(|cx| cx.subscribers("news"))?;
    /// assert_eq!(watching, 0);
    /// # publisher.run(|cx| cx.stop())?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// In an async task, which must not block, use [`run`](Self::run) and send the value through a channel.
    ///
    /// # Errors
    /// [`Error::Full`] as for [`publish`](Self::publish), and always on the loop's own thread or that of any
    /// loop of [`Shards`](crate::Shards), because two loops could wait for each other. [`Error::Stopped`],
    /// also if the server stops before it runs the closure, and if the closure panics.
    pub fn ask<T: Send + 'static>(
        &self,
        question: impl FnOnce(&mut Context<'_, S>) -> T + Send + 'static,
    ) -> Result<T, Error> {
        if self.inbox.is_of_this_thread() || self.is_on_one_of_several() {
            return Err(Error::Full);
        }
        let answered = self.put_question(&self.inbox, question)?;
        wait_for_answer(&self.inbox, &answered)
    }

    /// Runs a closure in each loop of [`Shards`](crate::Shards), waits, and returns the results in the order
    /// of the loops, without loops that have stopped. With one loop this is like [`ask`](Self::ask).
    ///
    /// ```
    /// # use mio_sse::{Error, Publisher};
    /// fn watching(publisher: &Publisher) -> Result<usize, Error> {
    ///     Ok(publisher.ask_all(|cx| cx.subscribers("news"))?.iter().sum())
    /// }
    /// ```
    ///
    /// # Errors
    /// As for [`ask`](Self::ask); [`Error::Stopped`] if all loops have stopped.
    pub fn ask_all<T: Send + 'static>(
        &self,
        question: impl Fn(&mut Context<'_, S>) -> T + Send + Sync + 'static,
    ) -> Result<Vec<T>, Error> {
        let inboxes: Vec<&Inbox<Job>> = match &self.shards {
            Some(all) => all.inboxes().collect(),
            None => vec![&self.inbox],
        };
        if self.inbox.is_of_this_thread() || self.is_on_one_of_several() {
            return Err(Error::Full);
        }
        let question = Arc::new(question);
        let mut asked = Vec::new();
        for inbox in inboxes {
            let question = Arc::clone(&question);
            match self.put_question(inbox, move |cx| question(cx)) {
                Ok(answered) => asked.push((inbox, answered)),
                Err(Error::Stopped) => {}
                Err(error) => return Err(error),
            }
        }
        let mut answers = Vec::new();
        for (inbox, answered) in asked {
            match wait_for_answer(inbox, &answered) {
                Ok(answer) => answers.push(answer),
                Err(Error::Stopped) => {}
                Err(error) => return Err(error),
            }
        }
        if answers.is_empty() { Err(Error::Stopped) } else { Ok(answers) }
    }

    /// Runs a closure in the loop of an inbox. Its result arrives in the returned channel.
    fn put_question<T: Send + 'static>(
        &self,
        inbox: &Inbox<Job>,
        question: impl FnOnce(&mut Context<'_, S>) -> T + Send + 'static,
    ) -> Result<Receiver<T>, Error> {
        let (answer, answered) = sync_channel(1);
        // Fails if the caller no longer waits.
        self.run_in(inbox, move |cx| drop(answer.send(question(cx))))?;
        Ok(answered)
    }

    /// Hands over a connection that another HTTP server has accepted, with the input that it has read, see
    /// [`Server::adopt`](crate::Server::adopt) and the guide [Embedding](crate::guide::embedding). Waits
    /// while the inbox is full, not for the reply.
    ///
    /// ```no_run
    /// use mio_sse::{Event, RawRequest, Router, Server};
    /// use std::net::TcpListener;
    ///
    /// let mut app = Router::new();
    /// app.sse("/events", |stream, _request, cx| cx.send(stream, Event::new().data("hello")));
    /// let mut server = Server::bind("127.0.0.1:0", app)?;
    /// let publisher = server.publisher();
    /// std::thread::spawn(move || server.run());
    ///
    /// // Another server has accepted a request that is for this one.
    /// let (socket, _) = TcpListener::bind("127.0.0.1:8080")?.accept()?;
    /// publisher.adopt(socket, RawRequest::get("/events")?.header("Last-Event-ID", "7")?)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    /// [`Error::Stopped`], and [`Error::Full`] as for [`publish`](Self::publish); the connection is closed
    /// then. An error in the loop later closes the connection, is logged, and is counted in
    /// [`Stats::accept_errors`](crate::Stats::accept_errors).
    pub fn adopt(&self, socket: TcpStream, input: impl Into<Vec<u8>>) -> Result<(), Error> {
        self.hand_over(socket, input.into(), self.waits).map_err(|not_adopted| not_adopted.error)
    }

    /// Hands over a connection, see [`adopt`](Self::adopt), if the inbox has room for it now. [`NotAdopted`]
    /// has an example.
    ///
    /// # Errors
    /// [`Error::Stopped`]; [`Error::Full`]. The error contains the connection, so the caller can still reply.
    pub fn try_adopt(&self, socket: TcpStream, input: impl Into<Vec<u8>>) -> Result<(), NotAdopted> {
        self.hand_over(socket, input.into(), false)
    }

    fn hand_over(&self, socket: TcpStream, input: Vec<u8>, waits: bool) -> Result<(), NotAdopted> {
        let put = match &self.shards {
            Some(all) => all.adopt(all.fewest(0), socket, input, waits && !self.is_on_one_of_several()),
            None => {
                let order = |(socket, input)| Order::Adopt { socket, input };
                let put = self.inbox.put_with((socket, input), order, waits);
                put.map_err(|(error, (socket, input))| (error, socket, input))
            }
        };
        put.map_err(|(error, socket, input)| NotAdopted { error, socket, input })
    }

    /// Shuts the server down gracefully, see [`Context::drain`]. A second call stops it at once. Does not
    /// wait for the end of the drain, when [`Server::run`](crate::Server::run) returns.
    ///
    /// # Errors
    /// As for [`publish`](Self::publish); [`Error::InvalidEvent`] if the farewell cannot be written.
    pub fn drain(&self, drain: impl Into<Drain>) -> Result<(), Error> {
        let drain = drain.into();
        drain.check()?;
        self.in_all(move |core| core.begin_drain(drain.clone()))
    }
}

fn wait_for_answer<T>(inbox: &Inbox<Job>, answered: &Receiver<T>) -> Result<T, Error> {
    loop {
        match answered.recv_timeout(TIME_TO_START) {
            Ok(value) => return Ok(value),
            Err(RecvTimeoutError::Disconnected) => return Err(Error::Stopped),
            Err(RecvTimeoutError::Timeout) if inbox.has_started() => {}
            Err(RecvTimeoutError::Timeout) => return Err(Error::Full),
        }
    }
}

impl<S: 'static> Context<'_, S> {
    /// A handle for other threads.
    #[must_use]
    pub fn publisher(&self) -> Publisher<S> {
        Publisher::new(self.core())
    }
}
