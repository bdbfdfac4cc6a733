//! Later replies.

use crate::conn::id::StreamId;
use crate::conn::ticket::{Awaited, Ticket};
use crate::error::Error;
use crate::http::parse::request::Request;
use crate::http::reply::reply::{IntoReply, Reply};
use crate::server::api::context::Context;
use crate::server::state::core::{Core, Job, LateReply};
use crate::server::state::inbox::{Inbox, Order};
use std::any::Any;
use std::fmt;
use std::marker::PhantomData;

/// Replies to one request from any thread, after its handler has returned. [`Context::later`] makes it.
///
/// If it is dropped without a reply, the client gets 500 (Internal Server Error).
pub struct Responder<S = ()> {
    /// The id of the request, until it has a reply.
    request: Option<StreamId>,
    awaited: Awaited,
    inbox: Inbox<Job>,
    state: PhantomData<fn(&mut S)>,
}

impl<S> fmt::Debug for Responder<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Responder").field("is_awaited", &!self.awaited.is_over()).finish_non_exhaustive()
    }
}

impl<S: 'static> Context<'_, S> {
    /// Lets the current request wait for its reply. Return the [`Reply`] from the handler, and reply with the
    /// [`Responder`] later, on any thread. So slow work, such as a database query, delays no other client.
    /// The reply may be whole or a stream.
    ///
    /// ```
    /// # use mio_sse::{Reply, Router};
    /// # fn ask_database(name: &str) -> Option<String> { None }
    /// let mut app = Router::new();
    /// app.get("/users/{name}", |request, cx| {
    ///     let name = request.param("name").unwrap_or_default().to_owned();
    ///     let (reply, responder) = cx.later();
    ///     std::thread::spawn(move || {
    ///         // `None` is a 404. An error means that the client has left.
    ///         let _ = responder.reply(ask_database(&name));
    ///     });
    ///     reply
    /// });
    /// ```
    ///
    /// Until then the connection waits. Later requests of the client are handled in order. The server notices
    /// if the client leaves, unless it has sent [`head_bytes_max`](crate::Config::head_bytes_max) or more
    /// after the request, because then nothing is read. After
    /// [`late_reply_timeout`](crate::Config::late_reply_timeout) the client gets 504 (Gateway Timeout). At
    /// most [`late_replies_max`](crate::Config::late_replies_max) requests wait at a time; others get 503.
    ///
    /// Whatever the handler gave to the [stream](Self::stream) of the request is dropped, because the late
    /// reply opens another stream: set it on the late reply, or in [`Responder::reply_with`].
    /// [`Router::after`](crate::Router::after) gets the late reply. The returned reply cannot have headers:
    /// adding some makes it a 500.
    ///
    /// # Cost
    /// Currently a copy of the request, and some 300 bytes.
    #[must_use]
    pub fn later(&mut self) -> (Reply, Responder<S>) {
        let request = self.stream();
        let (ticket, awaited) = Ticket::new(request, self.core().late_replies.clone());
        let inbox = self.core().inbox.clone();
        (Reply::later(ticket), Responder { request, awaited, inbox, state: PhantomData })
    }
}

impl<S: 'static> Responder<S> {
    /// Replies. Does not wait.
    ///
    /// # Errors
    /// [`Error::Closed`] if the request no longer waits: the client has left, or has got 504.
    /// [`Error::Stopped`].
    pub fn reply(self, reply: impl IntoReply) -> Result<(), Error> {
        let reply = reply.into_reply();
        self.reply_by(Box::new(move |_request, _stream, _core, _state| reply))
    }

    /// Replies with the result of `answer`, which runs in the loop like a handler: it gets the request and a
    /// context, whose [stream](Context::stream) is that of the reply. Does not wait.
    ///
    /// ```
    /// # use mio_sse::{Event, Reply, Router};
    /// # fn sessions_of(user: &str) -> Vec<String> { Vec::new() }
    /// let mut app = Router::with_state(0);
    /// app.get("/events", |request, cx| {
    ///     let (reply, responder) = cx.later();
    ///     let user = request.query("user").unwrap_or_default().into_owned();
    ///     std::thread::spawn(move || {
    ///         let sessions = sessions_of(&user);
    ///         let _ = responder.reply_with(move |_request, cx| {
    ///             cx.on_open(|_stream, cx| *cx.state += 1);
    ///             sessions.into_iter().fold(Reply::stream(), |stream, session| stream.topic(session))
    ///         });
    ///     });
    ///     reply
    /// });
    /// ```
    ///
    /// # Errors
    /// As for [`reply`](Self::reply). `answer` is then dropped without being called, and also if the client
    /// leaves before the loop runs it.
    pub fn reply_with<R: IntoReply>(
        self,
        answer: impl FnOnce(&Request<'_>, &mut Context<'_, S>) -> R + Send + 'static,
    ) -> Result<(), Error> {
        self.reply_by(Box::new(move |request: &Request<'_>, stream, core: &mut Core, state: &mut dyn Any| {
            let reply = Context::enter(core, state, Some(stream), |cx| answer(request, cx).into_reply());
            reply.unwrap_or_else(|| Reply::status(500))
        }))
    }
}

impl<S> Responder<S> {
    /// Whether the request still waits for the reply. If not, abandon long work.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        !self.awaited.is_over()
    }

    fn reply_by(mut self, reply: LateReply) -> Result<(), Error> {
        self.put(reply)
    }

    fn put(&mut self, reply: LateReply) -> Result<(), Error> {
        let request = self.request.take().filter(|_| self.is_awaited()).ok_or(Error::Closed)?;
        // At most one for each waiting request, whose number is bounded.
        self.inbox.put_at_once(Order::Run(Job::Reply(request, self.awaited.clone(), reply)))
    }
}

impl<S> Drop for Responder<S> {
    fn drop(&mut self) {
        if self.request.is_some() {
            let reply = || Err::<Reply, _>("its responder was dropped without a reply").into_reply();
            // Fails if the request no longer waits.
            let _ = self.put(Box::new(move |_, _, _, _| reply()));
        }
    }
}
