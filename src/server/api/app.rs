//! The application that a server runs.

use crate::conn::close_reason::CloseReason;
use crate::conn::id::StreamId;
use crate::http::browser::cors::Cors;
use crate::http::parse::request::Request;
use crate::http::reply::reply::Reply;
use crate::server::api::context::{Context, stateless};
use crate::server::api::handler::Handler;
use crate::server::api::missed::Missed;
use std::error::Error;

/// The application that a [`Server`](crate::Server) runs: a [`Router`](crate::Router), or any [`Handler`].
///
/// It has no public methods, so a router cannot be wrapped in a handler that forgets to forward a call. For
/// code before or after the routes use [`Router::before`](crate::Router::before) and
/// [`after`](crate::Router::after).
pub trait App: Serve {}

impl<T: Serve> App for T {}

/// The calls of the server. Not exported, so other crates can neither implement nor call it.
pub trait Serve {
    /// The type of [`Context::state`] in callbacks.
    type State: 'static;

    fn state(&mut self) -> &mut Self::State;

    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply;

    /// Changes a late reply.
    fn after(&mut self, request: &Request<'_>, reply: Reply, cx: &mut Context<'_>) -> Reply;

    /// The CORS policy for a request, or for the request that a preflight asks about. `None`: that of the
    /// server.
    fn cors(&self, request: &Request<'_>) -> Option<&Cors>;

    fn missed(&mut self, stream: StreamId, last_event_id: &str, cx: &mut Context<'_>) -> Missed;

    fn opened(&mut self, stream: StreamId, request: &Request<'_>, cx: &mut Context<'_>);

    fn closed(&mut self, stream: StreamId, reason: CloseReason, cx: &mut Context<'_>);

    fn started(&mut self, cx: &mut Context<'_>);

    fn draining(&mut self, cx: &mut Context<'_>);

    fn check(&self) -> Result<(), Box<dyn Error + Send + Sync>>;
}

impl<H: Handler> Serve for H {
    type State = ();

    fn state(&mut self) -> &mut () {
        stateless()
    }

    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
        Handler::request(self, request, cx)
    }

    fn after(&mut self, _request: &Request<'_>, reply: Reply, _cx: &mut Context<'_>) -> Reply {
        reply
    }

    fn cors(&self, _request: &Request<'_>) -> Option<&Cors> {
        None
    }

    fn missed(&mut self, stream: StreamId, last_event_id: &str, cx: &mut Context<'_>) -> Missed {
        Handler::missed(self, stream, last_event_id, cx)
    }

    fn opened(&mut self, stream: StreamId, request: &Request<'_>, cx: &mut Context<'_>) {
        Handler::opened(self, stream, request, cx);
    }

    fn closed(&mut self, stream: StreamId, reason: CloseReason, cx: &mut Context<'_>) {
        Handler::closed(self, stream, reason, cx);
    }

    fn started(&mut self, cx: &mut Context<'_>) {
        Handler::started(self, cx);
    }

    fn draining(&mut self, cx: &mut Context<'_>) {
        Handler::draining(self, cx);
    }

    fn check(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        Handler::check(self)
    }
}
