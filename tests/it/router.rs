//! Applications from outside: routes and their parameters, handlers by hand, replies on the wire.

use crate::memory_net::{Loop, get};
use crate::support::{Client, Running, ms, secs, serve};
use mio_sse::{
    CloseReason, Context, Cookie, Error, Event, Handler, History, Reply, Request, Router, Routes, StreamId,
    TopicConfig,
};
use std::io;

fn ask(client: &mut Client, method: &str, target: &str) -> (crate::support::Head, String) {
    client.write(format!("{method} {target} HTTP/1.1\r\nHost: x\r\n\r\n"));
    client.reply()
}

/// Replies with the name of the route and all its parameters.
fn routes() -> Running {
    let mut app = Router::new();
    for (route, params) in [
        ("/", &[][..]),
        ("/files/{*rest}", &["rest"]),
        ("/users/{name}", &["name"]),
        ("/users/me", &[]),
        ("/users/{name}/posts/{post}", &["name", "post"]),
        ("/straße/{number}", &["number"]),
        ("/größe", &[]),
    ] {
        app.get(route, move |request, _cx| {
            let params = params.iter().map(|name| format!(" {name}={}", request.param(name).unwrap()));
            Reply::text(format!("{route}{}", params.collect::<String>()))
        });
    }
    serve(app)
}

#[test]
fn parameters_are_decoded_and_an_encoded_slash_stays_in_its_segment() {
    let server = routes();
    let mut client = server.connect();
    for (path, expected) in [
        ("/", "/"),
        ("/users/anna", "/users/{name} name=anna"),
        ("/users/a%2Fb", "/users/{name} name=a/b"),
        ("/users/a%2fb/posts/..%2F", "/users/{name}/posts/{post} name=a/b post=../"),
        ("/users/M%C3%BCller%20%F0%9F%99%82", "/users/{name} name=Müller 🙂"),
        ("/users/100%25", "/users/{name} name=100%"),
        ("/users/%2525", "/users/{name} name=%25"),
        ("/users/a+b", "/users/{name} name=a+b"),
        ("/users/a?name=b", "/users/{name} name=a"),
        ("/users/me", "/users/me"),
        ("/users/me/posts/1", "/users/{name}/posts/{post} name=me post=1"),
        ("/users/men", "/users/{name} name=men"),
        ("/files/a/b%20c/d", "/files/{*rest} rest=a/b c/d"),
        ("/files/../etc", "/files/{*rest} rest=../etc"),
        ("http://other:80/users/absolute", "/users/{name} name=absolute"),
        ("http://other", "/"),
    ] {
        assert_eq!(client.get_text(path), expected, "{path}");
    }
}

#[test]
fn routes_in_plain_text_match_encoded_requests() {
    let server = routes();
    let mut client = server.connect();
    for path in ["/gr%C3%B6%C3%9Fe", "/gr%c3%b6%c3%9fe", "/%67r%C3%B6%C3%9F%65"] {
        assert_eq!(client.get_text(path), "/größe");
    }
    assert_eq!(client.get_text("/stra%C3%9Fe/%31"), "/straße/{number} number=1");
    assert_eq!(client.get_text("/stra%C3%9Fe/%2531"), "/straße/{number} number=%31", "decoded once");
}

#[test]
fn a_path_that_no_route_matches_is_not_found() {
    let server = routes();
    let mut client = server.connect();
    for path in ["/nowhere", "/users", "/users/", "/users/a/", "/users/a/b", "//", "/files", "/Users/me"] {
        assert_eq!(ask(&mut client, "GET", path).0.status, 404, "{path}");
    }
}

#[test]
fn a_path_that_cannot_be_decoded_is_a_bad_request() {
    let server = routes();
    for path in ["/users/%", "/users/%2", "/users/%zz", "/users/%ff", "/users/%C3", "/users/a%00", "/%ff"] {
        let mut client = server.connect();
        assert_eq!(ask(&mut client, "GET", path).0.status, 400, "{path}");
    }
}

fn methods() -> Router {
    let mut app = Router::new();
    app.get("/both", |_, _| Reply::text("got")).post("/both", |_, _| Reply::text("posted"));
    app.post("/post", |_, _| Reply::text("posted"));
    app.route("DELETE", "/delete", |_, _| Reply::text("deleted"));
    app.route("OPTIONS", "/own", |_, _| Reply::text("own options")).get("/own", |_, _| Reply::text("got"));
    app.sse("/stream", |_, _, _| ());
    app
}

#[test]
fn options_and_405_name_the_methods_of_the_path() {
    let server = serve(methods());
    let mut client = server.connect();
    for (path, allow) in [
        ("/both", "GET, POST, HEAD, OPTIONS"),
        ("/post", "POST, OPTIONS"),
        ("/delete", "DELETE, OPTIONS"),
        ("/stream", "GET, HEAD, OPTIONS"),
    ] {
        let (head, body) = ask(&mut client, "OPTIONS", path);
        assert_eq!((head.status, head.get("Allow"), body.as_str()), (204, Some(allow), ""), "{path}");
        for method in ["PUT", "get", "PATCH"] {
            let (head, _) = ask(&mut client, method, path);
            assert_eq!((head.status, head.get("Allow")), (405, Some(allow)), "{method} {path}");
        }
    }
    assert_eq!(ask(&mut client, "OPTIONS", "/own").1, "own options");
    assert_eq!(ask(&mut client, "PUT", "/own").0.get("Allow"), Some("OPTIONS, GET, HEAD"));
    assert_eq!(ask(&mut client, "OPTIONS", "/nowhere").0.status, 404);
    assert_eq!(ask(&mut client, "OPTIONS", "*").0.status, 204);
    assert_eq!(ask(&mut client, "DELETE", "/delete").1, "deleted");
    assert_eq!(ask(&mut client, "POST", "/both").1, "posted");
}

#[test]
fn head_takes_the_route_of_get_and_no_other() {
    let server = serve(methods());
    let mut client = server.connect();
    client.write("HEAD /both HTTP/1.1\r\nHost: x\r\n\r\nHEAD /post HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = client.head();
    assert_eq!((head.status, head.get("Content-Length")), (200, Some("3")));
    let head = client.head();
    assert_eq!((head.status, head.get("Allow")), (405, Some("POST, OPTIONS")));
    assert_eq!(client.get_text("/both"), "got");
}

#[test]
fn the_query_is_decoded_as_forms_are() {
    let mut app = Router::new();
    app.get("/", |request, _cx| {
        let pairs: Vec<_> = request.query_pairs().map(|(name, value)| format!("{name}={value}")).collect();
        let q = request.query("q").map_or("none".into(), |q| format!("{q:?}"));
        Reply::text(format!("{q} {pairs:?} {:?}", request.query_string()))
    });
    let server = serve(app);
    let mut client = server.connect();
    for (target, expected) in [
        ("/", r#"none [] None"#),
        ("/?", r#"none [] Some("")"#),
        ("/?q", r#""" ["q="] Some("q")"#),
        ("/?q=a+b%2Bc&q=second", r#""a b+c" ["q=a b+c", "q=second"] Some("q=a+b%2Bc&q=second")"#),
        ("/?%71=%C3%BC%ff%", r#""ü�%" ["q=ü�%"] Some("%71=%C3%BC%ff%")"#),
        ("/?a=/b?c=%26", r#"none ["a=/b?c=&"] Some("a=/b?c=%26")"#),
    ] {
        assert_eq!(client.get_text(target), expected, "{target}");
    }
}

#[test]
fn an_error_of_a_handler_is_a_500_without_details() {
    let mut app = Router::new();
    let secret = || io::Error::other("the secret is 1234");
    app.get("/get", move |_, _| Err::<Reply, _>(secret()));
    app.sse("/sse", move |stream, _, cx| {
        cx.send(stream, Event::new().data("1234")).unwrap();
        Err::<(), _>(secret())
    });
    app.sse("/event", |stream, _, cx| cx.send(stream, Event::new().data("x").event("two\nlines")));
    app.get("/header", |_, _| Reply::text("x").header("X", "two\r\nlines"));
    app.get("/later", |_, _| Reply::text("x").header("X", "\0").header("Y", "z").with_status(201));
    app.get("/stream", |_, _| Reply::stream().topic("t").tag("a").header("X", "two\r\nlines"));
    app.get("/first", |_, _| Reply::stream().topic("t").first(Event::new().data("x").event("two\nlines")));
    app.get("/fine", |_, _| Ok::<_, Error>("fine"));
    app.get("/found/{what}", |request, _| {
        (request.param("what") == Some("it")).then(|| Reply::redirect("/").cookie(Cookie::new("a", "b")))
    });
    let server = serve(app);
    let mut client = server.connect();
    for path in ["/get", "/sse", "/event", "/header", "/later", "/stream", "/first"] {
        let head = client.get(path);
        let body = client.body(&head);
        assert_eq!((head.status, body.as_str()), (500, "Internal Server Error"), "{path}");
        assert_eq!(head.get("Connection"), None, "{path}");
    }
    assert_eq!(client.get_text("/fine"), "fine");
    let found = client.get("/found/it");
    assert_eq!((found.status, found.get("Location")), (303, Some("/")));
    client.body(&found);
    assert_eq!(client.get("/found/nothing").status, 404);
    let stats = server.stats();
    assert_eq!((stats.streams_opened, stats.topics, stats.tags), (0, 0, 0));
}

#[test]
fn an_sse_route_may_refuse_with_any_reply() {
    let mut app = Router::new();
    app.sse("/{status}", |stream, request, cx| {
        cx.send(stream, Event::new().data("for nobody"))?;
        let status = request.param("status").unwrap().parse().unwrap();
        Ok::<_, Error>(if status == 200 { Reply::stream().into() } else { Reply::status(status) })
    });
    let server = serve(app);
    let mut client = server.connect();
    for status in [204, 401, 403, 503] {
        let head = client.get(&format!("/{status}"));
        client.body(&head);
        assert_eq!(head.status, status);
    }
    assert_eq!(client.get("/200").status, 200);
    assert_eq!(client.data(1), ["for nobody"]);
    assert_eq!(server.stats().streams_opened, 1);
}

/// A handler by hand: its state needs no lock.
#[derive(Default)]
struct Journal {
    lines: Vec<String>,
    last: Option<StreamId>,
}

impl Handler for Journal {
    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
        match (request.method(), request.path()) {
            ("GET", "/stream") => {
                self.last = cx.stream();
                Reply::stream().into()
            }
            ("GET", "/journal") => Reply::text(self.lines.join("\n")),
            ("POST", "/close") => match self.last.map(|stream| cx.close(stream)) {
                Some(Ok(())) => Reply::no_content(),
                _ => Reply::status(409),
            },
            _ => Reply::not_found(),
        }
    }

    fn opened(&mut self, stream: StreamId, _request: &Request<'_>, cx: &mut Context<'_>) {
        assert_eq!(Some(stream), self.last, "the id that the request was asked with");
        cx.send(stream, Event::new().data("opened")).unwrap();
        self.lines.push("opened".to_owned());
    }

    fn closed(&mut self, stream: StreamId, reason: CloseReason, cx: &mut Context<'_>) {
        assert_eq!(cx.send(stream, Event::new().data("x")), Err(Error::Closed));
        self.lines.push(format!("closed: {reason}"));
    }

    fn started(&mut self, cx: &mut Context<'_>) {
        assert_eq!((cx.stream(), cx.stats().requests), (None, 0));
        self.lines.push("started".to_owned());
    }
}

#[test]
fn a_handler_by_hand_is_called_for_everything_once_and_in_order() {
    let server = serve(Journal::default());
    let mut control = server.connect();
    assert_eq!(control.get_text("/journal"), "started");

    let mut watcher = server.connect();
    watcher.get("/stream");
    assert_eq!(watcher.data(1), ["opened"]);
    assert_eq!(ask(&mut control, "POST", "/close").0.status, 204);
    watcher.events_to_end();
    assert_eq!(ask(&mut control, "POST", "/close").0.status, 409, "it has ended");

    watcher.get("/stream");
    assert_eq!(watcher.data(1), ["opened"]);
    drop(watcher);
    server.wait_for("the peer to be gone", |stats| stats.closed(CloseReason::PeerClosed) == 1);
    assert_eq!(
        control.get_text("/journal").lines().collect::<Vec<_>>(),
        [
            "started",
            "opened",
            "closed: closed by the application",
            "opened",
            "closed: the peer closed the connection",
        ]
    );
}

#[test]
fn replies_have_the_shape_on_the_wire_that_their_names_promise() {
    let mut app = Router::new();
    app.get("/html", |_, _| Reply::html("<p>ü</p>"));
    app.get("/text", |_, _| Reply::text("ü"));
    app.get("/json", |_, _| Reply::json_text("{}"));
    app.get("/bytes", |_, _| Reply::bytes("image/x-none", &[1, 2][..]));
    app.get("/empty", |_, _| Reply::text(""));
    app.get("/no-content", |_, _| Reply::no_content());
    app.get("/not-modified", |_, _| Reply::text("left out").with_status(304));
    app.get("/redirect", |_, _| Reply::redirect("/html"));
    app.get("/moved", |_, _| Reply::redirect("/html").with_status(308));
    app.get("/unauthorized", |_, _| Reply::unauthorized("Bearer realm=\"events\""));
    app.get("/cookies", |_, _| Reply::text("").header("Set-Cookie", "a=b").header("Content-Type", "text/x"));
    let server = serve(app);
    let mut client = server.connect();
    const TEXT: Option<&str> = Some("text/plain; charset=utf-8");
    for (path, status, content_type, length, body) in [
        ("/html", 200, Some("text/html; charset=utf-8"), Some("9"), "<p>ü</p>"),
        ("/text", 200, TEXT, Some("2"), "ü"),
        ("/json", 200, Some("application/json"), Some("2"), "{}"),
        ("/bytes", 200, Some("image/x-none"), Some("2"), "\u{1}\u{2}"),
        ("/empty", 200, TEXT, Some("0"), ""),
        ("/no-content", 204, None, None, ""),
        ("/not-modified", 304, None, None, ""),
        ("/redirect", 303, TEXT, Some("9"), "See Other"),
        ("/moved", 308, TEXT, Some("9"), "See Other"),
        ("/unauthorized", 401, TEXT, Some("12"), "Unauthorized"),
        ("/cookies", 200, Some("text/x"), Some("0"), ""),
    ] {
        // The next head shows that there is no byte more than the length says.
        let head = client.get(path);
        assert_eq!(head.status, status, "{path}");
        assert_eq!((head.get("Content-Type"), head.get("Content-Length")), (content_type, length), "{path}");
        assert!(head.get("Date").is_some_and(|date| date.ends_with(" GMT")), "{path}");
        assert_eq!(client.body(&head), body, "{path}");
    }
    client.write(get("/redirect") + &get("/unauthorized") + &get("/cookies"));
    assert_eq!(client.reply().0.get("Location"), Some("/html"));
    assert_eq!(client.reply().0.get("WWW-Authenticate"), Some("Bearer realm=\"events\""));
    assert_eq!(client.reply().0.get("Set-Cookie"), Some("a=b"));
}

/// Fixed segments take precedence over parameters, even if the request percent-encodes the segment.
#[test]
fn an_encoded_spelling_of_a_fixed_segment_does_not_match_a_parameter_instead() {
    let mut app = Router::new();
    app.get("/users/admin", |_, _| Reply::text("fixed"));
    app.get("/users/größe", |_, _| Reply::text("fixed"));
    app.get("/users/{name}", |_, _| Reply::text("parameter"));
    let server = serve(app);
    let mut client = server.connect();
    assert_eq!(client.get_text("/users/admin"), "fixed");
    assert_eq!(client.get_text("/users/gr%C3%B6%C3%9Fe"), "fixed");
    assert_eq!(client.get_text("/users/%61dmin"), "fixed");
}

/// An encoded slash stays in its segment: it does not separate segments.
#[test]
fn an_encoded_slash_is_never_a_separator() {
    let mut app = Router::new();
    app.get("/private/{name}", |_, _| Reply::text("matched"));
    let server = serve(app);
    let mut client = server.connect();
    let head = client.get("/private%2Fx");
    client.body(&head);
    assert_eq!(head.status, 404);
}

#[test]
fn a_parameter_after_a_non_ascii_segment_may_hold_an_encoded_slash() {
    let mut app = Router::new();
    app.get("/straße/{name}", |request, _cx| Reply::text(request.param("name").unwrap().to_owned()));
    let server = serve(app);
    let mut client = server.connect();
    assert_eq!(client.get_text("/stra%C3%9Fe/a%2Fb"), "a/b");
}

#[test]
fn a_route_for_head_is_called() {
    let mut app = Router::new();
    app.route("HEAD", "/", |_, _| Reply::no_content());
    let server = serve(app);
    let mut client = server.connect();
    client.write("HEAD / HTTP/1.1\r\nHost: x\r\n\r\n");
    let head = client.head();
    assert_eq!((head.status, head.get("Allow")), (204, None));
}

/// One state for all callbacks: routes, timers, opening and closing, and other threads.
#[test]
fn all_callbacks_share_the_state_of_their_router() {
    #[derive(Default)]
    struct Shared(Vec<&'static str>);
    let mut app = Router::with_state(Shared::default());
    app.state().0.push("made");
    app.on_start(|cx| {
        cx.state.0.push("start");
        cx.after_global(secs(1), |cx| cx.state.0.push("after_global"));
        cx.every_global(secs(100), |cx| cx.state.0.push("every_global"));
    });
    app.on_drain(|cx| cx.state.0.push("drain"));
    app.missed(|_stream, _id, cx| {
        cx.state.0.push("missed");
        false
    });
    app.before(|_request, cx| {
        cx.state.0.push("before");
        None
    });
    app.after(|_request, reply, cx| {
        cx.state.0.push("after");
        reply
    });
    app.sse("/stream", |stream, _request, cx| {
        cx.state.0.push("sse");
        cx.on_open(|stream, cx| {
            cx.state.0.push("open");
            cx.on_close(stream, |_reason, cx| cx.state.0.push("close"))
        });
        cx.every(stream, secs(100), |_stream, cx| cx.state.0.push("every"))?;
        cx.after(stream, secs(2), |_stream, cx| {
            let (state, mut cx) = cx.split();
            state.0.push("timer");
            cx.after_global(ms(10), |_cx| ());
            cx.publisher().run(|_cx| ())
        })?;
        Ok::<_, Error>(Reply::stream().topic("kept"))
    });
    let mut world = Loop::<_, true>::new(app);
    let kept = TopicConfig::default().history(History::new().events(1));
    world.server.context().configure("kept", kept).unwrap();
    let said = |world: &mut Loop<Router<Shared>, true>| {
        world.settle();
        std::mem::take(&mut world.server.handler().state().0)
    };
    let peer = world.connect();
    peer.write("GET /stream HTTP/1.1\r\nHost: a\r\nLast-Event-ID: unknown\r\n\r\n");
    assert_eq!(said(&mut world), ["made", "start", "before", "sse", "after", "missed", "open"]);
    world.pass(secs(1));
    assert_eq!(said(&mut world), ["after_global"]);
    world.pass(secs(1));
    assert_eq!(said(&mut world), ["timer"]);
    world.pass(secs(98));
    assert_eq!(said(&mut world), ["every_global", "every"]);
    world.server.publisher().run(|cx| cx.state.0.push("run")).unwrap();
    world.server.context().state.0.push("outside");
    assert_eq!(said(&mut world), ["outside", "run"]);
    peer.close();
    assert_eq!(said(&mut world), ["close"]);
    world.server.context().drain(secs(10)).unwrap();
    assert_eq!(said(&mut world), ["drain"]);
}

#[test]
fn scopes_have_their_own_before_and_after() {
    let mut app = Router::with_state(Vec::new());
    app.get("/open", |_request, _cx| "open");
    app.scope("/api", |api| {
        api.get("", |_request, _cx| "api");
        api.get("/{name}", |request, _cx| request.param("name").map(str::to_owned));
        api.scope("/inner", |inner| {
            inner.post("/stop", |_request, _cx| "never");
            inner.before(|request, cx| {
                cx.state.push(format!("inner {}", request.path()));
                (request.path() == "/api/inner/stop").then(|| Reply::status(403))
            });
            inner.after(|_request, reply, _cx| reply.header("X-Order", "inner"));
        });
        // Also for routes that were added before.
        api.before(|request, cx| {
            cx.state.push(format!("api {}", request.param("name").unwrap_or("-")));
            request.header("Authorization").is_none().then(|| Reply::unauthorized("Bearer"))
        });
        api.after(|_request, reply, _cx| reply.header("X-Order", "api"));
    });
    app.get("/api/outside", |_request, _cx| "outside");
    app.before(|_request, cx| {
        cx.state.push("root".to_owned());
        None
    });
    app.after(|_request, reply, _cx| reply.header("X-Order", "root"));
    let mut world = Loop::<_, true>::new(app);
    let mut ask = |method: &str, path: &str, headers: &str| {
        let peer = world.connect();
        peer.write(format!("{method} {path} HTTP/1.1\r\nHost: a\r\n{headers}\r\n"));
        world.settle();
        let reply = peer.read();
        let status = reply[9..12].to_owned();
        let order: Vec<_> = reply.lines().filter_map(|line| line.strip_prefix("X-Order: ")).collect();
        (status, order.join(" "), std::mem::take(world.server.handler().state()).join(", "))
    };
    let expect = |status: &str, after: &str, before: &str| (status.into(), after.into(), before.into());
    let key = "Authorization: x\r\n";
    assert_eq!(ask("GET", "/open", ""), expect("200", "root", "root"));
    assert_eq!(ask("GET", "/api", ""), expect("401", "api root", "root, api -"));
    assert_eq!(ask("GET", "/api", key), expect("200", "api root", "root, api -"));
    assert_eq!(ask("HEAD", "/api/one", key), expect("200", "api root", "root, api one"));
    assert_eq!(ask("GET", "/api/outside", ""), expect("200", "root", "root"));
    let inner = "root, api -, inner /api/inner/stop";
    assert_eq!(ask("POST", "/api/inner/stop", key), expect("403", "inner api root", inner));
    assert_eq!(ask("POST", "/api/inner/stop", ""), expect("401", "inner api root", "root, api -"));
    // A path without a route is handled by the router.
    assert_eq!(ask("GET", "/api/inner/stop", ""), expect("405", "root", "root"));
    assert_eq!(ask("GET", "/nowhere/at/all", ""), expect("404", "root", "root"));
}

#[test]
fn a_function_can_end_early_with_a_reply() {
    fn early(request: &Request<'_>, cx: &mut Context<'_>) -> Result<Reply, Reply> {
        let topic = request.query("topic").ok_or_else(|| Reply::status(422))?;
        let number: u32 = topic.parse()?;
        cx.publish(&topic, Event::new())?;
        Ok(Reply::text(number.to_string()))
    }
    let mut app = Router::new();
    app.get("/", early);
    let server = serve(app);
    let mut client = server.connect();
    for (target, status) in [("/", 422), ("/?topic=x", 500), ("/?topic=1", 500)] {
        assert_eq!(ask(&mut client, "GET", target).0.status, status, "{target}");
    }
    assert_eq!(Reply::status(404).to_string(), "404 Not Found");
}

#[test]
fn a_handler_finds_its_routes_with_their_parameters() {
    struct App(Routes<&'static str>);
    impl Handler for App {
        fn request(&mut self, request: &Request<'_>, _cx: &mut Context<'_>) -> Reply {
            match self.0.find(request) {
                Ok(found) => {
                    let params = ["a", "b", "c"].map(|name| found.param(name).unwrap_or("-"));
                    Reply::text(format!("{} {}", found.target, params.join(" ")))
                }
                Err(reply) => reply,
            }
        }
    }
    let mut routes = Routes::new();
    for path in ["/one", "/{a}/two", "/{a}/{b}/{c}", "/r%C3%A9st/{*a}"] {
        routes.add("GET", path, path).unwrap();
    }
    let error = routes.add("GET", "/one", "again").unwrap_err();
    assert_eq!(error.to_string(), "route GET /one: this route exists already");
    let server = serve(App(routes));
    let mut client = server.connect();
    assert_eq!(client.get_text("/one"), "/one - - -");
    assert_eq!(client.get_text("/%C3%A9/two"), "/{a}/two \u{e9} - -");
    assert_eq!(client.get_text("/1/a%2Fb/3"), "/{a}/{b}/{c} 1 a/b 3");
    assert_eq!(client.get_text("/r\u{e9}st/x/y"), "/r%C3%A9st/{*a} x/y - -");
    assert_eq!(ask(&mut client, "POST", "/one").0.get("Allow"), Some("GET, HEAD, OPTIONS"));
    assert_eq!(ask(&mut client, "OPTIONS", "*").0.status, 204);
    assert_eq!(ask(&mut client, "GET", "/none/at/all/of/it").0.status, 404);
}
