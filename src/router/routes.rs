//! Routes by path and method: [`Routes`].

use crate::http::parse::request::Request;
use crate::http::parse::target::decode_segment;
use crate::http::reply::reply::Reply;
use std::borrow::Cow;
use std::collections::HashMap;
use std::error::Error;
use std::fmt;

/// Routes by path and method, each with a value of your own. A [`Router`](crate::Router) finds its closures
/// with it; use it for a [`Handler`](crate::Handler) whose paths have parameters.
///
/// A path may have parameters: `/events/{topic}` matches one segment, `/files/{*rest}` all that remain. They
/// are percent-decoded. Fixed segments have priority over parameters. `HEAD` takes the route for `GET`.
///
/// ```
/// use mio_sse::{Context, Handler, Reply, Request, Routes};
///
/// #[derive(Clone, Copy)]
/// enum Route {
///     Events,
///     Count,
/// }
///
/// struct App {
///     routes: Routes<Route>,
///     count: usize,
/// }
///
/// impl App {
///     fn new() -> Result<Self, mio_sse::RouteError> {
///         let mut routes = Routes::new();
///         routes.add("GET", "/events/{topic}", Route::Events)?;
///         routes.add("GET", "/count", Route::Count)?;
///         Ok(Self { routes, count: 0 })
///     }
/// }
///
/// impl Handler for App {
///     fn request(&mut self, request: &Request<'_>, _cx: &mut Context<'_>) -> Reply {
///         self.count += 1;
///         match self.routes.find(request) {
///             Ok(found) => match found.target {
///                 Route::Events => Reply::stream().topic(found.param("topic").unwrap_or_default()).into(),
///                 Route::Count => Reply::text(self.count.to_string()),
///             },
///             // 404, 405 or the reply to OPTIONS.
///             Err(reply) => reply,
///         }
///     }
/// }
/// # App::new()?;
/// # Ok::<(), mio_sse::RouteError>(())
/// ```
#[derive(Debug, Clone)]
pub struct Routes<T> {
    paths: matchit::Router<usize>,
    by_path: HashMap<String, usize>,
    targets: Vec<Vec<(String, T)>>,
}

impl<T> Default for Routes<T> {
    fn default() -> Self {
        Self { paths: matchit::Router::new(), by_path: HashMap::new(), targets: Vec::new() }
    }
}

/// The route that a request takes, with its parameters.
#[derive(Debug)]
pub struct Found<'r, T> {
    /// The value that was added for the route.
    pub target: &'r mut T,
    pub(crate) params: Params<'r>,
}

impl<T> Found<'_, T> {
    /// The value of the route's parameter with this name, percent-decoded.
    #[must_use]
    pub fn param(&self, name: &str) -> Option<&str> {
        self.params.all().iter().find(|(known, _)| *known == name).map(|(_, value)| value.as_ref())
    }
}

/// The name and the decoded value of a parameter.
type Param<'r> = (&'r str, Cow<'r, str>);

/// The parameters of a route. Few routes have more than two, so two need no allocation.
#[derive(Debug, Default)]
pub(crate) struct Params<'r> {
    few: [Param<'r>; 2],
    many: Vec<Param<'r>>,
    count: usize,
}

impl<'r> Params<'r> {
    pub(crate) fn all(&self) -> &[Param<'r>] {
        self.few.get(..self.count).unwrap_or(&self.many)
    }
}

impl<T> Routes<T> {
    /// No routes.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds a route. Methods are case-sensitive (RFC 9110 9.1).
    ///
    /// # Errors
    /// [`RouteError`] if the path does not begin with `/` or is malformed, or if the route exists already,
    /// also with other names of parameters.
    pub fn add(&mut self, method: &str, path: &str, target: T) -> Result<(), RouteError> {
        let error = |problem| RouteError { method: method.to_owned(), path: path.to_owned(), problem };
        if !path.starts_with('/') {
            return Err(error("a path must begin with '/'".to_owned()));
        }
        let Some(normal) = normal_form(path) else {
            return Err(error("the path cannot be percent-decoded".to_owned()));
        };
        let index = match self.by_path.get(&*normal) {
            Some(&index) => index,
            None => {
                let index = self.targets.len();
                self.paths.insert(&*normal, index).map_err(|problem| error(problem.to_string()))?;
                self.by_path.insert(normal.into_owned(), index);
                self.targets.push(Vec::new());
                index
            }
        };
        let targets = &mut self.targets[index];
        if targets.iter().any(|(known, _)| known == method) {
            return Err(error("this route exists already".to_owned()));
        }
        targets.push((method.to_owned(), target));
        Ok(())
    }

    /// The route of a request.
    ///
    /// # Errors
    /// The reply to a request without a route: 404 (Not Found), 405 (Method Not Allowed) with the allowed
    /// methods, or 204 with them for `OPTIONS` (RFC 9110 9.3.7).
    pub fn find<'r>(&'r mut self, request: &Request<'r>) -> Result<Found<'r, T>, Reply> {
        // The path of a request has been checked, so it has a normal form.
        match normal_form(request.raw_path()).unwrap_or_default() {
            Cow::Borrowed(path) => self.find_path(path, request, decode_segment),
            Cow::Owned(path) => self.find_path(&path, request, |value| {
                decode_segment(value).map(|value| Cow::Owned(value.into_owned()))
            }),
        }
    }

    fn find_path<'r, 'p>(
        &'r mut self,
        path: &'p str,
        request: &Request<'_>,
        decode: impl Fn(&'p str) -> Option<Cow<'r, str>>,
    ) -> Result<Found<'r, T>, Reply> {
        let matched = match self.paths.at(path) {
            Ok(matched) => matched,
            Err(_) if request.method() == "OPTIONS" && request.target() == "*" => {
                return Err(Reply::no_content());
            }
            Err(_) => return Err(Reply::not_found()),
        };
        let targets = &mut self.targets[*matched.value];
        let Some(at) = position(targets, request.method()) else {
            let reply = if request.method() == "OPTIONS" { Reply::no_content() } else { Reply::status(405) };
            return Err(allow(reply, targets));
        };
        let count = matched.params.len();
        let mut params = Params { count, ..Params::default() };
        for (place, (name, value)) in matched.params.iter().enumerate() {
            let param = (name, decode(value).ok_or_else(|| Reply::status(400))?);
            match params.few.get_mut(place).filter(|_| count <= 2) {
                Some(place) => *place = param,
                None => params.many.push(param),
            }
        }
        Ok(Found { target: &mut targets[at].1, params })
    }

    /// The value for a method and the path of a request.
    pub(crate) fn get(&self, request: &Request<'_>, method: &str) -> Option<&T> {
        let path = normal_form(request.raw_path())?;
        let targets = &self.targets[*self.paths.at(&path).ok()?.value];
        position(targets, method).map(|at| &targets[at].1)
    }

    /// All paths, each with its methods.
    pub(crate) fn list(&self) -> impl Iterator<Item = (&str, impl Iterator<Item = &str>)> {
        let methods = |&route: &usize| self.targets[route].iter().map(|(method, _)| method.as_str());
        self.by_path.iter().map(move |(path, route)| (path.as_str(), methods(route)))
    }
}

/// The index of the target for a method.
fn position<T>(targets: &[(String, T)], method: &str) -> Option<usize> {
    let position = |method| targets.iter().position(|(known, _)| known == method);
    position(method).or_else(|| position("GET").filter(|_| method == "HEAD"))
}

/// The spelling of a path in which routes are compared. It is decoded, except for a slash within a segment,
/// which must not become a separator, and for the sign that marks it. `None` if it cannot be decoded.
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

/// Adds the `Allow` header with the methods of a route (RFC 9110 10.2.1).
fn allow<T>(reply: Reply, targets: &[(String, T)]) -> Reply {
    let mut methods: Vec<&str> = targets.iter().map(|(method, _)| method.as_str()).collect();
    if methods.contains(&"GET") && !methods.contains(&"HEAD") {
        methods.push("HEAD");
    }
    if !methods.contains(&"OPTIONS") {
        methods.push("OPTIONS");
    }
    reply.header("Allow", &methods.join(", "))
}

/// The error for a route that cannot be added.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct RouteError {
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
