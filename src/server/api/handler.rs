//! What an application is to the server.

use crate::conn::close_reason::CloseReason;
use crate::conn::id::StreamId;
use crate::http::parse::request::Request;
use crate::http::reply::reply::Reply;
use crate::server::api::context::Context;
use crate::server::api::missed::Missed;
use std::error::Error;

/// An application: answers requests, and is told when streams open and close. [`Router`](crate::Router) is
/// one made of closures; implement the trait for state of your own without a lock or a cell.
///
/// The server calls it from the loop, one call at a time, so a call that takes long holds up every stream.
/// What a call asks of the [`Context`] is recorded and done in the same turn, after the call: calls never
/// nest.
///
/// ```no_run
/// use mio_sse::{CloseReason, Context, Event, Handler, Reply, Request, Server, StreamId};
///
/// /// Tells everyone how many are watching.
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
    /// Answers a request with a whole reply or with a stream. The request is complete, with its body.
    ///
    /// The stream that would be opened by the reply has its id already, [`Context::stream`], so that events,
    /// timers and subscriptions can be given to it before it is open. They are dropped if the reply is none,
    /// for HEAD, and if the stream is refused. So what has to be undone when the stream ends is done in
    /// [`opened`](Self::opened) or [`Context::on_open`].
    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply;

    /// A client has come back with an id that is unknown here, or too old: what it has missed is not kept. A
    /// store of your own may have it: send it to `stream` in this call, as much as may
    /// [wait](crate::Config::lag_bytes_max) for a stream, or have a source bring it [later](Missed::Later).
    /// By default the client is told of a gap.
    ///
    /// Not asked for topics without [ids](crate::TopicConfig::ids). The id is untrusted: it is what the
    /// request says, and may have been made up. The guide [Ids and resume](crate::guide::ids_and_resume) has
    /// examples.
    fn missed(&mut self, stream: StreamId, last_event_id: &str, cx: &mut Context<'_>) -> Missed {
        let _ = (stream, last_event_id, cx);
        Missed::Gap
    }

    /// A stream has been opened by the answer to this request; its head is on its way. Not called for a
    /// stream that does not open, since the request is HEAD or the stream is refused: what has to be undone
    /// when a stream ends is done here, and undone in [`closed`](Self::closed).
    fn opened(&mut self, stream: StreamId, request: &Request<'_>, cx: &mut Context<'_>) {
        let _ = (stream, request, cx);
    }

    /// A stream has ended, whichever side has ended it. Called exactly once for each stream that was opened;
    /// its id is closed.
    fn closed(&mut self, stream: StreamId, reason: CloseReason, cx: &mut Context<'_>) {
        let _ = (stream, reason, cx);
    }

    /// Called once, in the first turn of the loop, before any request: the place for timers that belong to
    /// nobody.
    fn started(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// The server has begun to [drain](Context::drain). Called once.
    fn draining(&mut self, cx: &mut Context<'_>) {
        let _ = cx;
    }

    /// Asked once when the server is built: whether the handler itself is sound.
    ///
    /// # Errors
    /// Whatever makes it pointless to serve, such as two routes that contradict each other.
    fn check(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        Ok(())
    }
}
