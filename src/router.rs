//! An application made of closures: [`Router`].

use crate::conn::id::StreamId;
use crate::http::parse::request::Request;
use crate::http::parse::target::decode_segment;
use crate::http::reply::reply::{IntoReply, Reply};
use crate::http::reply::stream_reply::StreamReply;
use crate::sealed::Sealed;
use crate::server::api::context::{Context, Outcome};
use crate::server::api::handler::Handler;
use crate::server::api::missed::Missed;
use crate::server::state::timers::TimerId;
use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error;
use std::fmt;

/// A [`Handler`] made of closures, one for each method and path.
///
/// A path may have parameters: `/events/{topic}` matches one segment, `/files/{*rest}` all that remain. They are found
/// with [`Request::param`], percent-decoded. Fixed segments come before parameters. `HEAD` is answered by the route for `GET`,
/// without the body; `OPTIONS` with the methods there are. A path without a route is answered 404, a route without the method
/// 405.
///
/// ```
/// use mio_sse::{Event, Reply, Router};
///
/// let mut app = Router::new();
/// app.get("/", |_request, _cx| Reply::html("<h1>hello</h1>"));
/// app.get("/events/{topic}", |request, _cx| Reply::stream().topic(request.param("topic").unwrap_or_default()));
/// app.post("/publish/{topic}", |request, cx| {
///     let data = String::from_utf8_lossy(request.body()).into_owned();
///     cx.publish(request.param("topic").unwrap_or_default(), Event::new().data(data))?;
///     Ok::<_, mio_sse::Error>(Reply::no_content())
/// });
/// ```
///
/// Closures are `Send`, so that a server can be built in one thread and run in another. What two of them share lies in an
/// `Arc<Mutex<…>>`; state without a lock is what implementing [`Handler`] is for.
///
/// Mistakes in the routes, such as two that match the same paths, are reported when the server is built.
#[derive(Default)]
pub struct Router {
    paths: matchit::Router<usize>,
    by_path: HashMap<String, usize>,
    routes: Vec<Route>,
    started: Vec<Start>,
    drains: Vec<Start>,
    missed: Option<MakesUp>,
    error: Option<RouteError>,
}

type Action = Box<dyn FnMut(&Request<'_>, &mut Context<'_>) -> Reply + Send>;
type Start = Box<dyn FnOnce(&mut Context<'_>) + Send>;
type MakesUp = Box<dyn FnMut(StreamId, &str, &mut Context<'_>) -> Missed + Send>;

#[derive(Default)]
struct Route {
    actions: Vec<(String, Action)>,
}

impl fmt::Debug for Router {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let methods = |route: usize| self.routes[route].actions.iter().map(|(method, _)| method.as_str());
        let routes = self.by_path.iter().map(|(path, &route)| (path, methods(route).collect::<Vec<_>>()));
        f.debug_map().entries(routes).finish()
    }
}

impl Router {
    /// A router that answers 404 to everything.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Answers `GET` (and `HEAD`) of a path with a whole reply or a stream.
    pub fn get<R: IntoReply>(
        &mut self,
        path: &str,
        handler: impl FnMut(&Request<'_>, &mut Context<'_>) -> R + Send + 'static,
    ) -> &mut Self {
        self.route("GET", path, handler)
    }

    /// Answers `POST` of a path.
    pub fn post<R: IntoReply>(
        &mut self,
        path: &str,
        handler: impl FnMut(&Request<'_>, &mut Context<'_>) -> R + Send + 'static,
    ) -> &mut Self {
        self.route("POST", path, handler)
    }

    /// Answers `GET` of a path with a stream. The closure is called once for each stream, before anything is sent; what it
    /// sends follows the head of the response.
    ///
    /// It is not called for `HEAD`, nor where every stream would be refused: while the server drains, or has as
    /// many streams or connections as it may. Such an answer has the headers of [`Config::cors`](crate::Config::cors),
    /// but none of the closure's own. A route that also answers whole replies is better a [`get`](Self::get) or
    /// [`post`](Self::post), which are always called.
    ///
    /// The stream that it answers may still be refused, for a tag that is revoked or one topic too many. Then
    /// all that it gave to the stream is dropped, and its [`on_close`](Context::on_close) is not called. What
    /// has to be undone at the end of a stream is done in [`StreamReply::on_open`].
    ///
    /// It answers nothing, or the last result of what it did, or a [`StreamReply`] with topics and headers, or another
    /// [`Reply`] to refuse. An error is logged and answered 500.
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
        handler: impl FnMut(StreamId, &Request<'_>, &mut Context<'_>) -> R + Send + 'static,
    ) -> &mut Self {
        self.sse_route("GET", path, handler)
    }

    /// As [`sse`](Self::sse), of `POST`: for what is asked with a body and answered with a stream, such as a question to a language
    /// model. A page reads it with `fetch`, as `EventSource` only asks with GET.
    pub fn sse_post<R: SseOutcome>(
        &mut self,
        path: &str,
        handler: impl FnMut(StreamId, &Request<'_>, &mut Context<'_>) -> R + Send + 'static,
    ) -> &mut Self {
        self.sse_route("POST", path, handler)
    }

    fn sse_route<R: SseOutcome>(
        &mut self,
        method: &str,
        path: &str,
        mut handler: impl FnMut(StreamId, &Request<'_>, &mut Context<'_>) -> R + Send + 'static,
    ) -> &mut Self {
        self.route(method, path, move |request, cx| match cx.stream() {
            // The head of a stream, and the server's own refusal.
            Some(_) if request.is_head() || cx.refuses_streams() => Reply::stream().into(),
            Some(stream) => handler(stream, request, cx).into_sse_reply(),
            // A context without a stream does not come with a request.
            None => Reply::status(500),
        })
    }

    /// Answers any method of a path, such as `PUT` or `DELETE`. Methods are case-sensitive (RFC 9110 9.1).
    pub fn route<R: IntoReply>(
        &mut self,
        method: &str,
        path: &str,
        mut handler: impl FnMut(&Request<'_>, &mut Context<'_>) -> R + Send + 'static,
    ) -> &mut Self {
        let action =
            Box::new(move |request: &Request<'_>, cx: &mut Context<'_>| handler(request, cx).into_reply());
        if let Err(problem) = self.add(method, path, action) {
            let error = RouteError { method: method.to_owned(), path: path.to_owned(), problem };
            self.error.get_or_insert(error);
        }
        self
    }

    /// Calls `start` once, when the server begins to run: the place to configure topics, and for timers that belong to no stream.
    pub fn on_start<O: Outcome>(
        &mut self,
        start: impl FnOnce(&mut Context<'_>) -> O + Send + 'static,
    ) -> &mut Self {
        self.started.push(Box::new(|cx| start(cx).settle()));
        self
    }

    /// Calls `drain` once, when the server begins to [drain](Context::drain): the place to tell what should end
    /// by itself.
    ///
    /// ```
    /// # use mio_sse::{Event, Router};
    /// let mut app = Router::new();
    /// app.on_drain(|cx| cx.publish("news", Event::new().data("back in a minute")));
    /// ```
    pub fn on_drain<O: Outcome>(
        &mut self,
        drain: impl FnOnce(&mut Context<'_>) -> O + Send + 'static,
    ) -> &mut Self {
        self.drains.push(Box::new(|cx| drain(cx).settle()));
        self
    }

    /// Calls `missed` for a client that comes back with an id which is unknown here, see [`Handler::missed`].
    /// The last one that is given counts.
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
        mut missed: impl FnMut(StreamId, &str, &mut Context<'_>) -> M + Send + 'static,
    ) -> &mut Self {
        self.missed = Some(Box::new(move |stream, id, cx| missed(stream, id, cx).into_missed()));
        self
    }

    fn add(&mut self, method: &str, path: &str, action: Action) -> Result<(), String> {
        if !path.starts_with('/') {
            return Err("a path begins with '/'".to_owned());
        }
        let Some(path) = normal_form(path) else {
            return Err("the path cannot be percent-decoded".to_owned());
        };
        let path = &*path;
        let index = match self.by_path.get(path) {
            Some(&index) => index,
            None => {
                let index = self.routes.len();
                self.paths.insert(path, index).map_err(|error| error.to_string())?;
                self.by_path.insert(path.to_owned(), index);
                self.routes.push(Route::default());
                index
            }
        };
        let actions = &mut self.routes[index].actions;
        if actions.iter().any(|(known, _)| known == method) {
            return Err("there is such a route already".to_owned());
        }
        actions.push((method.to_owned(), action));
        Ok(())
    }
}

impl Handler for Router {
    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
        // The path of a request has been checked, so it has a normal form.
        let path = normal_form(request.raw_path()).unwrap_or_default();
        let found = match self.paths.at(&path) {
            Ok(found) => found,
            Err(_) if request.method() == "OPTIONS" && request.target() == "*" => return Reply::no_content(),
            Err(_) => return Reply::not_found(),
        };
        // Few routes have more than two, and those are not worth an allocation.
        let (mut few, mut many) = (<[(&str, Cow<'_, str>); 2]>::default(), Vec::new());
        let params = match few.get_mut(..found.params.len()) {
            Some(params) => params,
            None => {
                many.resize(found.params.len(), Default::default());
                &mut many[..]
            }
        };
        for (param, (name, value)) in params.iter_mut().zip(found.params.iter()) {
            match decode_segment(value) {
                Some(value) => *param = (name, value),
                None => return Reply::status(400),
            }
        }
        let actions = &mut self.routes[*found.value].actions;
        let method = request.method();
        let position = |method: &str| actions.iter().position(|(known, _)| known == method);
        let found = position(method).or_else(|| position("GET").filter(|_| request.is_head()));
        match found.map(|at| &mut actions[at]) {
            Some((_, action)) => action(&request.with_params(params), cx),
            None if method == "OPTIONS" => allow(Reply::no_content(), actions),
            None => allow(Reply::status(405), actions),
        }
    }

    fn missed(&mut self, stream: StreamId, last_event_id: &str, cx: &mut Context<'_>) -> Missed {
        self.missed.as_mut().map_or(Missed::Gap, |missed| missed(stream, last_event_id, cx))
    }

    fn started(&mut self, cx: &mut Context<'_>) {
        for start in self.started.drain(..) {
            start(cx);
        }
    }

    fn draining(&mut self, cx: &mut Context<'_>) {
        for drain in self.drains.drain(..) {
            drain(cx);
        }
    }

    fn check(&self) -> Result<(), Box<dyn Error + Send + Sync>> {
        match &self.error {
            None => Ok(()),
            Some(error) => Err(error.clone().into()),
        }
    }
}

/// The one spelling of a path that routes are compared with: decoded, save for a slash within a segment, which must
/// not become a separator, and for the sign that marks it. `None` if it cannot be decoded.
fn normal_form(raw: &str) -> Option<Cow<'_, str>> {
    if !raw.contains('%') {
        return Some(Cow::Borrowed(raw));
    }
    let segments = raw.split('/').map(|segment| {
        let segment = decode_segment(segment)?;
        Some(segment.replace('%', "%25").replace('/', "%2F"))
    });
    Some(Cow::Owned(segments.collect::<Option<Vec<_>>>()?.join("/")))
}

/// Adds the methods that a route has (RFC 9110 10.2.1).
fn allow(reply: Reply, actions: &[(String, Action)]) -> Reply {
    let mut methods: Vec<&str> = actions.iter().map(|(method, _)| method.as_str()).collect();
    if methods.contains(&"GET") && !methods.contains(&"HEAD") {
        methods.push("HEAD");
    }
    if !methods.contains(&"OPTIONS") {
        methods.push("OPTIONS");
    }
    reply.header("Allow", &methods.join(", "))
}

/// What the closure of an [`sse`](Router::sse) route may answer.
pub trait SseOutcome: Sealed {
    #[doc(hidden)]
    fn into_sse_reply(self) -> Reply;
}

impl Sealed for Reply {}
impl Sealed for StreamReply {}
impl Sealed for Missed {}

impl SseOutcome for () {
    fn into_sse_reply(self) -> Reply {
        Reply::stream().into()
    }
}

/// The last thing that was done was setting a timer.
impl SseOutcome for TimerId {
    fn into_sse_reply(self) -> Reply {
        Reply::stream().into()
    }
}

impl SseOutcome for StreamReply {
    fn into_sse_reply(self) -> Reply {
        self.into()
    }
}

impl SseOutcome for Reply {
    fn into_sse_reply(self) -> Reply {
        self
    }
}

impl<R: SseOutcome, E: fmt::Display + 'static> SseOutcome for Result<R, E> {
    fn into_sse_reply(self) -> Reply {
        self.map(SseOutcome::into_sse_reply).into_reply()
    }
}

/// What the closure of [`Router::missed`] may answer.
pub trait IntoMissed: Sealed {
    #[doc(hidden)]
    fn into_missed(self) -> Missed;
}

impl IntoMissed for Missed {
    fn into_missed(self) -> Missed {
        self
    }
}

impl IntoMissed for bool {
    fn into_missed(self) -> Missed {
        self.into()
    }
}

/// An error is logged, and the client is told of a gap.
impl<M: IntoMissed, E: fmt::Display> IntoMissed for Result<M, E> {
    fn into_missed(self) -> Missed {
        self.map_or_else(
            |error| {
                log::error!("what a client has missed is not made up for: {error}");
                Missed::Gap
            },
            IntoMissed::into_missed,
        )
    }
}

/// A route that cannot be.
#[derive(Debug, Clone, PartialEq, Eq)]
struct RouteError {
    method: String,
    path: String,
    problem: String,
}

impl fmt::Display for RouteError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "route {} {}: {}", self.method, self.path, self.problem)
    }
}

impl Error for RouteError {}

#[cfg(test)]
mod tests {
    use super::*;

    fn problem(build: impl FnOnce(&mut Router)) -> String {
        let mut app = Router::new();
        build(&mut app);
        app.check().unwrap_err().to_string()
    }

    #[test]
    fn mistakes_in_routes_are_told_when_the_server_is_built() {
        let reply = |_: &Request<'_>, _: &mut Context<'_>| Reply::no_content();
        let twice = problem(|app| _ = app.get("/a", reply).get("/a", reply));
        assert_eq!(twice, "route GET /a: there is such a route already");
        let both = problem(|app| _ = app.get("/a/{x}", reply).post("/a/{y}", reply));
        assert!(both.starts_with("route POST /a/{y}: "), "{both}");
        assert_eq!(problem(|app| _ = app.get("a", reply)), "route GET a: a path begins with '/'");
        let malformed = problem(|app| _ = app.get("/a%", reply));
        assert_eq!(malformed, "route GET /a%: the path cannot be percent-decoded");
        let spellings = problem(|app| _ = app.get("/caf%C3%A9", reply).get("/caf\u{e9}", reply));
        assert_eq!(spellings, "route GET /caf\u{e9}: there is such a route already");
        let error = crate::Server::bind("127.0.0.1:0", {
            let mut app = Router::new();
            app.get("nowhere", reply);
            app
        })
        .unwrap_err();
        assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    }
}
