//! Applications as a trait.

use crate::conn::close_reason::CloseReason;
use crate::conn::id::StreamId;
use crate::http::parse::request::Request;
use crate::http::reply::reply::Reply;
use crate::server::api::context::Context;
use crate::server::api::missed::Missed;
use std::error::Error;

/// An application: replies to requests, and is called when streams open and close. [`Router`](crate::Router)
/// is an application made of closures. Implement this trait to keep state of your own without a lock or a
/// cell.
///
/// The server calls it from the loop, one call at a time, so a slow call delays every stream. What a call
/// asks of the [`Context`] is recorded and done in the same turn, after the call. Calls never nest.
///
/// ```no_run
/// use mio_sse::{CloseReason, Context, Event, Handler, Reply, Request, Server, StreamId};
///
/// /// Publishes the number of open streams.
/// struct Watchers(usize);
///
/// impl Handler for Watchers {
///     fn request(&mut self, _request: &Request<'_>, _cx: &mut Context<'_>) -> Reply {
///         Reply::stream().topic("watchers").into()
///     }
///
///     fn opened(&mut self, _stream: StreamId, _request: &Request<'_>, cx: &mut Context<'_>) {
///         self.0 += 1;
///         cx.publish("watchers", Event::new().data(self.0.to_string())).expect("a number is always valid data");
///     }
///
///     fn closed(&mut self, _stream: StreamId, _reason: CloseReason, cx: &mut Context<'_>) {
///         self.0 -= 1;
///         cx.publish("watchers", Event::new().data(self.0.to_string())).expect("a number is always valid data");
///     }
/// }
///
/// Server::bind("127.0.0.1:8080", Watchers(0))?.run()
/// # ; Ok::<(), std::io::Error>(())
/// ```
pub trait Handler {
    /// Replies to a request with a whole reply or a stream. The request is complete, with its body.
    ///
    /// The stream that the reply may open has its id already, [`Context::stream`], so events, timers and
    /// subscriptions can be given to it before it is open. They are dropped if the reply is not a stream, for
    /// HEAD, and if the stream is refused. So do what has to be undone at its end in [`opened`](Self::opened)
    /// or [`Context::on_open`].
    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply;

    /// A client has reconnected with an id that is unknown here or too old, so the server cannot send what it
    /// has missed. If you store events yourself, send them to `stream` in this call, as much as may
    /// [wait](crate::Config::lag_bytes_max) for a stream, or let a source bring them [later](Missed::Later).
    /// By default the client gets a `gap` event.
    ///
    /// Not called for topics without [ids](crate::TopicConfig::ids). The id is untrusted: it comes from the
    /// request. The guide [Ids and resume](crate::guide::ids_and_resume) has examples.
    fn missed(&mut self, stream: StreamId, last_event_id: &str, cx: &mut Context<'_>) -> Missed {
        let _ = (stream, last_event_id, cx);
        Missed::Gap
    }

    /// A stream was opened as the reply to this request; its head is on its way. Not called if the request is
    /// HEAD or the stream is refused. So do here what [`closed`](Self::closed) has to undo.
    fn opened(&mut self, stream: StreamId, request: &Request<'_>, cx: &mut Context<'_>) {
        let _ = (stream, request, cx);
    }

    /// A stream has ended, for any reason. Called exactly once for each stream that was opened. Its id is
    /// closed.
    fn closed(&mut self, stream: StreamId, reason: CloseReason, cx: &mut Context<'_>) {
        let _ = (stream, reason, cx);
    }

    /// Called once, in the first turn of the loop, before any request. Set global timers here.
    fn started(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// The server has begun to [drain](Context::drain). Called once.
    fn draining(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// Called once when the server is built, to check the handler itself.
    ///
    /// # Errors
    /// What is wrong with the handler, such as two conflicting routes.
    fn check(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
}
