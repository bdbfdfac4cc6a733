//! What a server serves.

use crate::conn::close_reason::CloseReason;
use crate::conn::id::StreamId;
use crate::http::browser::cors::Cors;
use crate::http::parse::request::Request;
use crate::http::reply::reply::Reply;
use crate::server::api::context::{Context, stateless};
use crate::server::api::handler::Handler;
use crate::server::api::missed::Missed;
use std::error::Error;

/// What a [`Server`](crate::Server) serves: a [`Router`](crate::Router), or any [`Handler`].
///
/// It has no methods that could be called, so a router cannot be wrapped in a handler that forgets to pass
/// something on. What is to be done before or after its routes is said to the router itself.
pub trait App: Serve {}

impl<T: Serve> App for T {}

/// What the server calls. Not exported, so that nobody can implement or call it.
pub trait Serve {
    /// What callbacks get as [`Context::state`].
    type State: 'static;

    fn state(&mut self) -> &mut Self::State;

    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply;

    /// What becomes of a late reply.
    fn after(&mut self, request: &Request<'_>, reply: Reply, cx: &mut Context<'_>) -> Reply;

    /// Who may read the reply to a request, or to what a preflight asks for, if that is not for the server to
    /// say.
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
