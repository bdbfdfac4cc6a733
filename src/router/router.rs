//! An application made of closures: [`Router`].

use crate::conn::close_reason::CloseReason;
use crate::conn::id::StreamId;
use crate::http::browser::cors::Cors;
use crate::http::browser::cors_protocol::asked_method;
use crate::http::parse::request::Request;
use crate::http::reply::reply::{IntoReply, Reply};
use crate::router::outcome::{IntoMissed, SseOutcome};
use crate::router::routes::{Found, Params, RouteError, Routes};
use crate::server::api::app::Serve;
use crate::server::api::context::{Context, Outcome};
use crate::server::api::missed::Missed;
use std::error::Error;
use std::fmt;

/// An application made of closures, one for each method and path.
///
/// A path may have parameters: `/events/{topic}` matches one segment, `/files/{*rest}` all that remain.
/// [`Request::param`] returns them, percent-decoded. Fixed segments have priority over parameters. `HEAD`
/// takes the route for `GET`, without the body; `OPTIONS` gets the methods of the path. A path without a
/// route gets 404, a path without the method 405.
///
/// ```
/// use mio_sse::{Reply, Router};
///
/// let mut app = Router::new();
/// app.get("/", |_request, _cx| Reply::html("<h1>hello</h1>"));
/// app.get("/events/{topic}", |request, _cx| Reply::stream().topic(request.param("topic").unwrap_or_default()));
/// app.post("/publish/{topic}", |request, cx| {
///     cx.publish(request.param("topic").unwrap_or_default(), String::from_utf8_lossy(request.body()))
/// });
/// ```
///
/// # State
///
/// Closures share the state that a router is made [with](Self::with_state), without a lock or a cell. They
/// run one after another, so each gets it as `&mut`, in [`Context::state`]. So do timers, and callbacks for
/// streams that open and close. Closures are `Send`, so a server can be built in one thread and run in
/// another.
///
/// ```
/// use mio_sse::{Error, Reply, Router};
///
/// #[derive(Default)]
/// struct Room {
///     present: usize,
/// }
///
/// let mut app = Router::with_state(Room::default());
/// app.get("/room", |_request, cx| {
///     cx.on_open(|stream, cx| {
///         cx.state.present += 1;
///         cx.publish("room", cx.state.present.to_string())?;
///         cx.on_close(stream, |_reason, cx| {
///             cx.state.present -= 1;
///             cx.publish("room", cx.state.present.to_string())
///         })
///     });
///     Reply::stream().topic("room")
/// });
/// app.get("/present", |_request, cx| cx.state.present.to_string());
/// ```
///
/// # Before and after
///
/// [`before`](Self::before) is called before the route and may reply instead; [`after`](Self::after) gets
/// every reply. Both are for all routes of the router, or of a [scope](Self::scope).
///
/// Mistakes in the routes, such as two that match the same paths, are reported when the server is built.
pub struct Router<S = ()> {
    state: S,
    routes: Routes<Route<S>>,
    /// The router itself first, then its scopes.
    scopes: Vec<Scope<S>>,
    /// The scope to which routes are being added, and the prefix of their paths.
    scope: usize,
    prefix: String,
    started: Vec<Start<S>>,
    drains: Vec<Start<S>>,
    missed: Option<MakesUp<S>>,
    error: Option<RouteError>,
}

type Action<S> = Box<dyn FnMut(&Request<'_>, &mut Context<'_, S>) -> Reply + Send>;
type Before<S> = Box<dyn FnMut(&Request<'_>, &mut Context<'_, S>) -> Option<Reply> + Send>;
type After<S> = Box<dyn FnMut(&Request<'_>, Reply, &mut Context<'_, S>) -> Reply + Send>;
type Start<S> = Box<dyn FnOnce(&mut Context<'_, S>) + Send>;
type MakesUp<S> = Box<dyn FnMut(StreamId, &str, &mut Context<'_, S>) -> Missed + Send>;

struct Route<S> {
    scope: usize,
    action: Action<S>,
}

/// The common part of a group of routes.
struct Scope<S> {
    /// The scopes around it, outermost first, and itself.
    path: Vec<usize>,
    before: Vec<Before<S>>,
    after: Vec<After<S>>,
    cors: Option<Cors>,
}

impl<S> Scope<S> {
    fn new(path: Vec<usize>) -> Self {
        Self { path, before: Vec::new(), after: Vec::new(), cors: None }
    }
}

impl<S> fmt::Debug for Router<S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let routes = self.routes.list().map(|(path, methods)| (path, methods.collect::<Vec<_>>()));
        f.debug_map().entries(routes).finish()
    }
}

impl<S: Default + 'static> Default for Router<S> {
    fn default() -> Self {
        Self::with_state(S::default())
    }
}

impl Router {
    /// A router without a state and routes, which replies 404 to everything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }
}

impl<S: 'static> Router<S> {
    /// A router with a state that all its callbacks share, see [`Context::state`].
    #[must_use]
    pub fn with_state(state: S) -> Self {
        Self {
            state,
            routes: Routes::new(),
            scopes: vec![Scope::new(vec![0])],
            scope: 0,
            prefix: String::new(),
            started: Vec::new(),
            drains: Vec::new(),
            missed: None,
            error: None,
        }
    }

    /// The state.
    pub fn state(&mut self) -> &mut S {
        &mut self.state
    }

    /// Adds a route for `GET` (and `HEAD`) of a path. The reply is whole or a stream.
    pub fn get<R: IntoReply>(
        &mut self,
        path: &str,
        handler: impl FnMut(&Request<'_>, &mut Context<'_, S>) -> R + Send + 'static,
    ) -> &mut Self {
        self.route("GET", path, handler)
    }

    /// Adds a route for `POST` of a path.
    pub fn post<R: IntoReply>(
        &mut self,
        path: &str,
        handler: impl FnMut(&Request<'_>, &mut Context<'_, S>) -> R + Send + 'static,
    ) -> &mut Self {
        self.route("POST", path, handler)
    }

    /// Adds a route for `GET` of a path whose reply is a stream. The closure is called once for each stream,
    /// before anything is sent. Events that it sends follow the head of the response.
    ///
    /// It is not called for `HEAD`, or if every stream would be refused: while the server drains, or has
    /// reached its limit of streams or connections. Such a reply has the headers of
    /// [`Config::cors`](crate::Config::cors), but none of the closure's own. If a route also gives whole
    /// replies, use [`get`](Self::get) or [`post`](Self::post), which are always called.
    ///
    /// The stream may still be refused, for a revoked tag or a topic too many. Then everything that the
    /// closure gave to the stream is dropped, and its [`on_close`](Context::on_close) is not called. Work
    /// that must be undone when the stream closes belongs in [`Context::on_open`].
    ///
    /// The closure returns nothing, or the last result of what it did, or a
    /// [`StreamReply`](crate::StreamReply) with topics and headers, or another [`Reply`] to refuse. An error
    /// is logged, and the client gets 500.
    ///
    /// ```
    /// # use mio_sse::{Event, Router};
    /// # use std::time::Duration;
    /// let mut app = Router::new();
    /// app.sse("/ten-seconds", |stream, _request, cx| {
    ///     cx.send(stream, Event::new().data("begin"))?;
    ///     cx.on_close(stream, |reason, _cx| log::info!("gone: {reason}"))?;
    ///     cx.after(stream, Duration::from_secs(10), |stream, cx| cx.close(stream))
    /// });
    /// ```
    pub fn sse<R: SseOutcome>(
        &mut self,
        path: &str,
        handler: impl FnMut(StreamId, &Request<'_>, &mut Context<'_, S>) -> R + Send + 'static,
    ) -> &mut Self {
        self.sse_route("GET", path, handler)
    }

    /// The same as [`sse`](Self::sse), for `POST`: for a request with a body whose reply is a stream, such as
    /// a prompt for a language model. A page reads it with `fetch`, because `EventSource` only sends GET.
    pub fn sse_post<R: SseOutcome>(
        &mut self,
        path: &str,
        handler: impl FnMut(StreamId, &Request<'_>, &mut Context<'_, S>) -> R + Send + 'static,
    ) -> &mut Self {
        self.sse_route("POST", path, handler)
    }

    fn sse_route<R: SseOutcome>(
        &mut self,
        method: &str,
        path: &str,
        mut handler: impl FnMut(StreamId, &Request<'_>, &mut Context<'_, S>) -> R + Send + 'static,
    ) -> &mut Self {
        self.route(method, path, move |request, cx| match cx.stream() {
            // Only the head is sent, or the server refuses the stream itself.
            Some(_) if request.is_head() || cx.refuses_streams() => Reply::stream().into(),
            Some(stream) => handler(stream, request, cx).into_sse_reply(),
            // A request always has a context with a stream.
            None => Reply::status(500),
        })
    }

    /// Adds a route for any method of a path, such as `PUT` or `DELETE`. Methods are case-sensitive (RFC 9110
    /// 9.1).
    pub fn route<R: IntoReply>(
        &mut self,
        method: &str,
        path: &str,
        mut handler: impl FnMut(&Request<'_>, &mut Context<'_, S>) -> R + Send + 'static,
    ) -> &mut Self {
        let action =
            Box::new(move |request: &Request<'_>, cx: &mut Context<'_, S>| handler(request, cx).into_reply());
        let path = format!("{}{path}", self.prefix);
        if let Err(error) = self.routes.add(method, &path, Route { scope: self.scope, action }) {
            self.error.get_or_insert(error);
        }
        self
    }

    /// Adds routes as a group. Their paths begin with `prefix`, such as `/api`, which may be empty.
    /// [`before`](Self::before), [`after`](Self::after) and [`cors`](Self::cors) in a scope apply only to its
    /// routes. Scopes may have scopes. Everything else in a scope, such as [`on_start`](Self::on_start), is
    /// the same as outside.
    ///
    /// ```
    /// use mio_sse::{Reply, Router};
    ///
    /// let mut app = Router::new();
    /// app.get("/login", |_request, _cx| Reply::html("<form>…</form>"));
    /// app.scope("/api", |api| {
    ///     api.before(|request, _cx| match request.header("Authorization") {
    ///         Some("Bearer 31d4d96e407aad42") => None,
    ///         _ => Some(Reply::unauthorized("Bearer")),
    ///     });
    ///     // GET /api/news
    ///     api.get("/news", |_request, _cx| Reply::stream().topic("news"));
    /// });
    /// ```
    pub fn scope(&mut self, prefix: &str, build: impl FnOnce(&mut Self)) -> &mut Self {
        let (outer, length) = (self.scope, self.prefix.len());
        self.scope = self.scopes.len();
        let path = self.scopes[outer].path.iter().copied().chain([self.scope]).collect();
        self.scopes.push(Scope::new(path));
        self.prefix.push_str(prefix);
        build(self);
        self.prefix.truncate(length);
        self.scope = outer;
        self
    }

    /// Calls `before` ahead of every route of the router, or of the [scope](Self::scope) that is being built,
    /// including routes that were added earlier. If it returns a reply, the client gets that and the route is
    /// not called; `None` lets the request through. Several are called in order, those of an outer scope
    /// first.
    ///
    /// Those of the router itself are also called for paths without a route. Those of a scope are not, and
    /// neither for methods that a path does not have. None is called for CORS preflights.
    pub fn before(
        &mut self,
        before: impl FnMut(&Request<'_>, &mut Context<'_, S>) -> Option<Reply> + Send + 'static,
    ) -> &mut Self {
        self.scopes[self.scope].before.push(Box::new(before));
        self
    }

    /// Calls `after` with every reply of the routes of the router, or of the [scope](Self::scope) that is
    /// being built, including routes that were added earlier. It returns the reply, usually with another
    /// header. Streams are replies, too. Several are called in order, those of an outer scope last.
    ///
    /// They also get replies of [`before`](Self::before), [late replies](Context::later) when they are given,
    /// and those of the router itself get 404 and 405. They do not get the server's own replies, such as 413
    /// (Content Too Large), or 500 after a panic.
    ///
    /// ```
    /// # use mio_sse::Router;
    /// let mut app = Router::new();
    /// app.after(|_request, reply, _cx| reply.header("X-Content-Type-Options", "nosniff"));
    /// ```
    pub fn after(
        &mut self,
        after: impl FnMut(&Request<'_>, Reply, &mut Context<'_, S>) -> Reply + Send + 'static,
    ) -> &mut Self {
        self.scopes[self.scope].after.push(Box::new(after));
        self
    }

    /// Lets pages of other origins read the replies of the router, or of the [scope](Self::scope) that is
    /// being built, instead of [`Config::cors`](crate::Config::cors). Requests without a route, such as those
    /// that get 404 or 413, use `Config::cors`.
    ///
    /// ```
    /// # use mio_sse::{Cors, Reply, Router};
    /// let mut app = Router::new();
    /// app.scope("/public", |public| {
    ///     public.cors(Cors::any());
    ///     public.get("/news", |_request, _cx| Reply::stream().topic("news"));
    /// });
    /// ```
    ///
    /// An invalid policy is reported when the server is built, as by [`Config::check`](crate::Config::check).
    pub fn cors(&mut self, policy: Cors) -> &mut Self {
        self.scopes[self.scope].cors = Some(policy);
        self
    }

    /// Calls `start` once, when the server starts. Use it to configure topics, and for timers that belong to
    /// no stream.
    pub fn on_start<O: Outcome>(
        &mut self,
        start: impl FnOnce(&mut Context<'_, S>) -> O + Send + 'static,
    ) -> &mut Self {
        self.started.push(Box::new(|cx| start(cx).settle()));
        self
    }

    /// Calls `drain` once, when the server begins to [drain](Context::drain). Use it to inform clients, and
    /// to end work that should finish by itself.
    ///
    /// ```
    /// # use mio_sse::{Event, Router};
    /// let mut app = Router::new();
    /// app.on_drain(|cx| cx.publish("news", Event::new().data("back in a minute")));
    /// ```
    pub fn on_drain<O: Outcome>(
        &mut self,
        drain: impl FnOnce(&mut Context<'_, S>) -> O + Send + 'static,
    ) -> &mut Self {
        self.drains.push(Box::new(|cx| drain(cx).settle()));
        self
    }

    /// Calls `missed` for a client that resumes with an unknown id, see
    /// [`Handler::missed`](crate::Handler::missed). The last one counts.
    ///
    /// ```
    /// # use mio_sse::{Event, Missed, Router};
    /// # fn newer_than(id: &str) -> Option<Vec<(String, String)>> { None }
    /// let mut app = Router::new();
    /// app.missed(|stream, last_event_id, cx| {
    ///     let Some(notes) = newer_than(last_event_id) else { return Ok(Missed::Gap) };
    ///     for (id, text) in notes {
    ///         cx.send(stream, Event::new().data(text).id(id))?;
    ///     }
    ///     Ok::<_, mio_sse::Error>(Missed::Sent)
    /// });
    /// ```
    pub fn missed<M: IntoMissed>(
        &mut self,
        mut missed: impl FnMut(StreamId, &str, &mut Context<'_, S>) -> M + Send + 'static,
    ) -> &mut Self {
        self.missed = Some(Box::new(move |stream, id, cx| missed(stream, id, cx).into_missed()));
        self
    }
}

/// Calls the `after` closures of a scope and those around it.
fn after<S: 'static>(
    scopes: &mut [Scope<S>],
    scope: usize,
    request: &Request<'_>,
    mut reply: Reply,
    cx: &mut Context<'_, S>,
) -> Reply {
    for at in (0..scopes[scope].path.len()).rev() {
        let scope = scopes[scope].path[at];
        for after in &mut scopes[scope].after {
            reply = after(request, reply, cx);
        }
    }
    reply
}

impl<S: 'static> Serve for Router<S> {
    type State = S;

    fn state(&mut self) -> &mut S {
        &mut self.state
    }

    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
        let cx = &mut cx.with_state(&mut self.state);
        let (route, params) = match self.routes.find(request) {
            Ok(Found { target, params }) => (Ok(target), params),
            Err(reply) => (Err(reply), Params::default()),
        };
        let request = &request.with_params(params.all());
        let scope = route.as_ref().map_or(0, |route| route.scope);
        let depth = self.scopes[scope].path.len();
        let mut early = None;
        for at in 0..depth {
            let scope = self.scopes[scope].path[at];
            let mut before = self.scopes[scope].before.iter_mut();
            early = early.or_else(|| before.find_map(|before| before(request, cx)));
        }
        let reply = match (early, route) {
            (Some(reply), _) | (None, Err(reply)) => reply,
            (None, Ok(route)) => (route.action)(request, cx),
        };
        // A late reply gets `after` when it is given.
        if reply.is_later() { reply } else { after(&mut self.scopes, scope, request, reply, cx) }
    }

    fn after(&mut self, request: &Request<'_>, reply: Reply, cx: &mut Context<'_>) -> Reply {
        let (scope, params) = match self.routes.find(request) {
            Ok(Found { target, params }) => (target.scope, params),
            Err(_) => (0, Params::default()),
        };
        let cx = &mut cx.with_state(&mut self.state);
        after(&mut self.scopes, scope, &request.with_params(params.all()), reply, cx)
    }

    fn cors(&self, request: &Request<'_>) -> Option<&Cors> {
        // Most applications have none, and the search can be skipped.
        self.scopes.iter().find(|scope| scope.cors.is_some())?;
        let method = asked_method(request).unwrap_or(request.method());
        let route = self.routes.get(request, method)?;
        let path = self.scopes[route.scope].path.iter().rev();
        path.filter_map(|scope| self.scopes[*scope].cors.as_ref()).next()
    }

    fn missed(&mut self, stream: StreamId, last_event_id: &str, cx: &mut Context<'_>) -> Missed {
        let cx = &mut cx.with_state(&mut self.state);
        self.missed.as_mut().map_or(Missed::Gap, |missed| missed(stream, last_event_id, cx))
    }

    fn opened(&mut self, _stream: StreamId, _request: &Request<'_>, _cx: &mut Context<'_>) {}

    fn closed(&mut self, _stream: StreamId, _reason: CloseReason, _cx: &mut Context<'_>) {}

    fn started(&mut self, cx: &mut Context<'_>) {
        let cx = &mut cx.with_state(&mut self.state);
        self.started.drain(..).for_each(|start| start(cx));
    }

    fn draining(&mut self, cx: &mut Context<'_>) {
        let cx = &mut cx.with_state(&mut self.state);
        self.drains.drain(..).for_each(|drain| drain(cx));
    }

    fn check(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        if let Some(error) = &self.error {
            return Err(error.clone().into());
        }
        for cors in self.scopes.iter().filter_map(|scope| scope.cors.as_ref()) {
            cors.check()?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(build: impl FnOnce(&mut Router)) -> String {
        let mut app = Router::new();
        build(&mut app);
        app.check().unwrap_err().to_string()
    }

    #[test]
    fn mistakes_in_routes_are_reported_when_the_server_is_built() {
        let reply = |_: &Request<'_>, _: &mut Context<'_>| Reply::no_content();
        let twice = problem(|app| _ = app.get("/a", reply).get("/a", reply));
        assert_eq!(twice, "route GET /a: this route exists already");
        let both = problem(|app| _ = app.get("/a/{x}", reply).post("/a/{y}", reply));
        assert!(both.starts_with("route POST /a/{y}: "), "{both}");
        assert_eq!(problem(|app| _ = app.get("a", reply)), "route GET a: a path must begin with '/'");
        let malformed = problem(|app| _ = app.get("/a%", reply));
        assert_eq!(malformed, "route GET /a%: the path cannot be percent-decoded");
        let spellings = problem(|app| _ = app.get("/caf%C3%A9", reply).get("/caf\u{e9}", reply));
        assert_eq!(spellings, "route GET /caf\u{e9}: this route exists already");
        let error = crate::Server::bind("127.0.0.1:0", {
            let mut app = Router::new();
            app.get("nowhere", reply);
            app
        })
        .unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
}
