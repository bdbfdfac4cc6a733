//! Replies that come later.

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

/// Replies to one request, from any thread, some time after its handler has returned: what [`Context::later`]
/// gives.
///
/// One that is dropped without a reply replies 500 (Internal Server Error).
pub struct Responder<S = ()> {
    /// What the request is known by, until there is a reply.
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
    /// Has the request that is being answered wait for its reply: return the [`Reply`] that this gives, and
    /// say what it is with the [`Responder`], later and on any thread. So what takes long, such as a question
    /// to a database, holds up nobody. The reply may be whole or a stream.
    ///
    /// ```
    /// # use mio_sse::{Reply, Router};
    /// # fn ask_database(name: &str) -> Option<String> { None }
    /// let mut app = Router::new();
    /// app.get("/users/{name}", |request, cx| {
    ///     let name = request.param("name").unwrap_or_default().to_owned();
    ///     let (reply, responder) = cx.later();
    ///     std::thread::spawn(move || {
    ///         // `None` is a 404. An error says that the client has left.
    ///         let _ = responder.reply(ask_database(&name));
    ///     });
    ///     reply
    /// });
    /// ```
    ///
    /// Until then the connection waits: the client's next requests, if there are any, are answered in their
    /// order, and that it leaves is noticed. (Not if it has sent
    /// [`head_bytes_max`](crate::Config::head_bytes_max) or more after the request: then nothing is read.)
    /// After [`late_reply_timeout`](crate::Config::late_reply_timeout) it gets 504 (Gateway Timeout). More
    /// requests than [`late_replies_max`](crate::Config::late_replies_max) do not wait at a time: those get
    /// 503.
    ///
    /// What was given to the [stream](Self::stream) of the request by then is dropped, as the stream is
    /// another one: give it to the late reply, or in [`Responder::reply_with`].
    /// [`Router::after`](crate::Router::after) gets the late reply. The reply that this gives has no headers
    /// of its own: adding some makes it a 500.
    ///
    /// # Cost
    /// The request is copied, and some 300 bytes.
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
    /// [`Error::Closed`] if nobody waits for the reply any more: the client has left, or was told that it
    /// took too long. [`Error::Stopped`].
    pub fn reply(self, reply: impl IntoReply) -> Result<(), Error> {
        let reply = reply.into_reply();
        self.reply_by(Box::new(move |_request, _stream, _core, _state| reply))
    }

    /// Has the request answered by `answer`, in the loop: with the request, and all that a handler can do,
    /// also for the [stream](Context::stream) that the reply may be. Does not wait.
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
    /// As for [`reply`](Self::reply); `answer` is dropped uncalled then, and also where the client leaves
    /// before the loop gets to it.
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
    /// Whether somebody waits for the reply: what takes long may be given up otherwise.
    #[must_use]
    pub fn is_awaited(&self) -> bool {
        !self.awaited.is_over()
    }

    fn reply_by(mut self, reply: LateReply) -> Result<(), Error> {
        self.put(reply)
    }

    fn put(&mut self, reply: LateReply) -> Result<(), Error> {
        let request = self.request.take().filter(|_| self.is_awaited()).ok_or(Error::Closed)?;
        // There is one for each request that waits, and of those there is a bound.
        self.inbox.put_at_once(Order::Run(Job::Reply(request, self.awaited.clone(), reply)))
    }
}

impl<S> Drop for Responder<S> {
    fn drop(&mut self) {
        if self.request.is_some() {
            let reply = || Err::<Reply, _>("its responder was dropped without a reply").into_reply();
            // Nobody may be waiting for it.
            let _ = self.put(Box::new(move |_, _, _, _| reply()));
        }
    }
}
