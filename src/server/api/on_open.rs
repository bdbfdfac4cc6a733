//! What belongs to a stream from the moment that it opens.

use crate::conn::id::StreamId;
use crate::http::reply::stream_reply::StreamReply;
use crate::server::api::context::{Context, Outcome};
use crate::server::state::core::OnOpen;
use std::any::Any;

impl StreamReply {
    /// Calls `callback` when the stream has opened, before anything is sent, and not at all if it does not
    /// open: since the request is HEAD, or the stream is refused. So this is the place for what has to be
    /// undone when the stream ends, by [`Context::on_close`] or [`Handler::closed`](crate::Handler::closed):
    /// both happen, or neither.
    ///
    /// Several are called in order, and [`Handler::opened`](crate::Handler::opened) after them. What they
    /// send comes after what the handler of the request has sent, and a topic that they subscribe the stream
    /// to begins there.
    ///
    /// A stream that the handler has closed already, or which has nothing to come, opens as well, and its end is
    /// told after this. Nothing but `on_close` can be given to it by then, all else fails with
    /// [`Error::Closed`](crate::Error::Closed): so give `on_close` before what may fail.
    ///
    /// A panic ends the stream with [`CloseReason::Panicked`](crate::CloseReason::Panicked). The callbacks
    /// after it are dropped uncalled; `opened` and `closed` are called, as the stream has opened.
    ///
    /// ```
    /// # use mio_sse::{Event, Reply, Router};
    /// let mut app = Router::new();
    /// app.get("/room", |_request, _cx| {
    ///     Reply::stream().topic("room").on_open(|stream, cx| {
    ///         cx.publish("room", Event::new().data("somebody has come"))?;
    ///         cx.on_close(stream, |_reason, cx| cx.publish("room", Event::new().data("somebody has left")))
    ///     })
    /// });
    /// ```
    #[must_use]
    pub fn on_open<O: Outcome>(
        mut self,
        callback: impl FnOnce(StreamId, &mut Context<'_>) -> O + Send + 'static,
    ) -> StreamReply {
        let callback: OnOpen = Box::new(|stream, core| callback(stream, &mut Context::new(core)).settle());
        self.belongings.on_open.push(Box::new(callback));
        self
    }

    /// Gives the stream a state of its own, which [`Context::of`] finds from when the stream opens until its end
    /// has been told. It is dropped after [`Handler::closed`](crate::Handler::closed), or at the end of the
    /// turn if the stream does not open. A stream has one value at most; the last that is given counts.
    ///
    /// ```
    /// # use mio_sse::{Event, Reply, Router};
    /// # use std::time::Duration;
    /// let mut app = Router::new();
    /// app.get("/count", |_request, _cx| {
    ///     Reply::stream().with(0_u32).on_open(|stream, cx| {
    ///         cx.every(stream, Duration::from_secs(1), |stream, cx| {
    ///             let Some(count) = cx.of::<u32>(stream) else { return Ok(()) };
    ///             *count += 1;
    ///             let event = Event::new().data(count.to_string());
    ///             cx.send(stream, event)
    ///         })
    ///     })
    /// });
    /// ```
    ///
    /// # Cost
    /// Some 40 bytes while the stream lives, and the value.
    #[must_use]
    pub fn with<T: Any + Send>(mut self, value: T) -> StreamReply {
        self.belongings.state = Some(Box::new(value));
        self
    }
}
