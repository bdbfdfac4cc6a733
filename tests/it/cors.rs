//! Pages of other origins: headers that the server adds, preflights that it handles, and headers that it
//! never writes.

use crate::memory_net::{Loop, check_accounts, get, subscribe};
use crate::support::replies;
use mio_sse::{Config, Cookie, Cors, Event, Refusal, Refuse, Reply, Router};
use std::fmt::Display;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

const A: &str = "https://a.example";
const C: &str = "https://c.example";
const ALLOW_ORIGIN: &str = "Access-Control-Allow-Origin";

/// An application with one reply of each kind. It counts the requests that reach its handlers.
fn app() -> (Router, Arc<AtomicUsize>) {
    let count = Arc::<AtomicUsize>::default();
    let asked = count.clone();
    let mut app = Router::new();
    app.get("/page", move |_request, _cx| {
        asked.fetch_add(1, Ordering::SeqCst);
        Reply::text("page")
    });
    app.get("/stream", |_request, _cx| Reply::stream().topic("t").cookie(Cookie::new("seen", "1")));
    app.get("/topics", |_request, _cx| Reply::stream().topic("t").topic("u").topic("v"));
    app.get("/revoked", |_request, cx| {
        cx.revoke("gone", Duration::from_secs(60));
        Reply::stream().tag("gone")
    });
    app.get("/own", |_request, _cx| Reply::text("own").header("access-control-allow-origin", "https://own"));
    app.get("/own-stream", |_request, _cx| Reply::stream().header(ALLOW_ORIGIN, "https://own"));
    app.get("/fails", |_request, _cx| Err::<Reply, _>("failed"));
    app.get("/panics", |_request, _cx| -> Reply { panic!("in a handler") });
    let asked = count.clone();
    app.route("OPTIONS", "/options", move |_request, _cx| {
        asked.fetch_add(1, Ordering::SeqCst);
        Reply::text("options")
    });
    (app, count)
}

fn config(cors: Option<Cors>) -> Config {
    let mut config = Config::default();
    config.cors = cors;
    config.subscriptions_max = 2;
    config
}

/// The reply on a new connection.
fn ask(world: &mut Loop<Router>, request: impl AsRef<[u8]>) -> String {
    let peer = world.connect();
    peer.write(request);
    world.settle();
    let answer = peer.read();
    peer.close();
    world.settle();
    answer
}

/// A request with further header lines.
fn with(request: impl Display, lines: impl Display) -> String {
    request.to_string().replacen("\r\n\r\n", &format!("\r\n{lines}\r\n\r\n"), 1)
}

fn from(origin: &str, request: impl Display) -> String {
    with(request, format_args!("Origin: {origin}"))
}

fn preflight(path: &str) -> String {
    format!("OPTIONS {path} HTTP/1.1\r\nHost: x\r\nAccess-Control-Request-Method: PUT\r\n\r\n")
}

/// The header lines of a reply for other origins.
fn added(answer: &str) -> Vec<&str> {
    let (head, _) = answer.split_once("\r\n\r\n").unwrap_or_else(|| panic!("a head, not {answer:?}"));
    let is_added = |line: &&str| line.starts_with("Access-Control-") || line.starts_with("Vary:");
    head.lines().filter(is_added).collect()
}

fn status(answer: &str) -> u16 {
    let status = answer.strip_prefix("HTTP/1.1 ").and_then(|line| line.split(' ').next());
    status.and_then(|status| status.parse().ok()).unwrap_or_else(|| panic!("a status line, not {answer:?}"))
}

/// Requests for each kind of reply, with its status.
fn all_kinds() -> Vec<(String, u16)> {
    vec![
        (get("/page"), 200),
        (get("/page").replace("GET", "HEAD"), 200),
        (get("/page").replace("GET", "OPTIONS"), 204),
        (get("/page").replace("GET", "POST"), 405),
        (get("/missing"), 404),
        (get("/fails"), 500),
        (get("/panics"), 500),
        (subscribe("/stream"), 200),
        (subscribe("/stream").replace("GET", "HEAD"), 200),
        (subscribe("/stream").replace("HTTP/1.1", "HTTP/1.0"), 200),
        (subscribe("/topics"), 400),
        (subscribe("/revoked"), 204),
        (preflight("/page"), 204),
    ]
}

#[test]
fn nothing_is_added_unless_it_is_configured() {
    let (app, _) = app();
    let mut world = Loop::with_config(app, config(None));
    for (request, status_then) in all_kinds() {
        let answer = ask(&mut world, from(A, &request));
        assert_eq!((status(&answer), added(&answer)), (status_then, vec![]), "{request}");
    }
    // Without a policy, a preflight is the application's.
    let answer = ask(&mut world, from(A, preflight("/page")));
    assert!(answer.contains("\r\nAllow: GET, HEAD, OPTIONS\r\n"), "{answer}");
    check_accounts(&world.server.stats());
}

#[test]
fn any_origin_may_read_every_kind_of_answer() {
    let (app, _) = app();
    let mut world = Loop::with_config(app, config(Some(Cors::any())));
    for (request, status_then) in all_kinds() {
        // A cache may give one reply to all origins, so it is the same for all.
        let junk = from("https://a.example\r\nOrigin: \u{fc}", &request);
        for request in [from(A, &request), from("null", &request), junk, request] {
            let answer = ask(&mut world, &request);
            assert_eq!(status(&answer), status_then, "{request}");
            let lines = added(&answer);
            assert_eq!(lines.last(), Some(&"Access-Control-Allow-Origin: *"), "{request}");
            assert!(lines.len() == 1 || request.contains("Request-Method"), "{request}: {lines:?}");
        }
    }
}

#[test]
fn an_origin_of_the_list_is_named_and_vary_is_set() {
    let (app, _) = app();
    let cors = Cors::origins(["https://b.example", A, "null"]);
    let mut world = Loop::with_config(app, config(Some(cors)));
    for (request, status_then) in all_kinds() {
        for origin in [A, "https://b.example", "null"] {
            let answer = ask(&mut world, from(origin, &request));
            let lines = added(&answer);
            let allows = format!("{ALLOW_ORIGIN}: {origin}");
            assert_eq!(status(&answer), status_then, "{request}");
            assert!(lines.ends_with(&["Vary: Origin", &allows]), "{request}: {lines:?}");
            assert!(lines.len() == 2 || request.starts_with("OPTIONS"), "{request}: {lines:?}");
        }
        for request in [from("https://c.example", &request), request] {
            let answer = ask(&mut world, &request);
            assert_eq!((status(&answer), added(&answer)), (status_then, vec!["Vary: Origin"]), "{request}");
        }
    }
}

#[test]
fn credentials_are_for_the_origins_of_the_list() {
    let (app, _) = app();
    let mut world = Loop::with_config(app, config(Some(Cors::origins([A]).credentials())));
    for (request, _) in all_kinds() {
        let answer = ask(&mut world, from(A, &request));
        let allows = "Access-Control-Allow-Credentials: true";
        assert_eq!(added(&answer).iter().filter(|line| **line == allows).count(), 1, "{request}");
        let answer = ask(&mut world, from("https://c.example", &request));
        assert_eq!(added(&answer), ["Vary: Origin"], "{request}");
    }
}

#[test]
fn a_stream_that_is_refused_can_be_read_as_well() {
    for (refuse, status_then) in [(Refuse::Soft, 200), (Refuse::Unavailable, 503)] {
        let (app, _) = app();
        let mut config = config(Some(Cors::origins([A])));
        config.streams_max = 1;
        config.refuse = refuse;
        let mut world = Loop::with_config(app, config);
        let there = world.connect();
        there.write(subscribe("/stream"));
        world.settle();
        let answer = ask(&mut world, from(A, subscribe("/stream")));
        assert_eq!(status(&answer), status_then);
        assert_eq!(added(&answer), ["Vary: Origin", "Access-Control-Allow-Origin: https://a.example"]);
        assert!(answer.contains("\r\nSet-Cookie: seen=1; "), "{answer}");
        // Headers of the application are kept here, too.
        let answer = ask(&mut world, from(A, subscribe("/own-stream")));
        assert_eq!(
            (status(&answer), added(&answer)),
            (status_then, vec!["Access-Control-Allow-Origin: https://own"])
        );
        assert_eq!(world.server.stats().refused(Refusal::Streams), 2);
        check_accounts(&world.server.stats());
    }
}

#[test]
fn events_follow_the_head_of_a_stream_as_ever() {
    let (mut app, _) = app();
    app.post("/publish", |_request, cx| {
        cx.publish("t", Event::new().data("hello")).map(|()| Reply::no_content())
    });
    let mut world = Loop::with_config(app, config(Some(Cors::any())));
    let peer = world.connect();
    peer.write(from(A, subscribe("/stream")));
    world.settle();
    assert_eq!(added(&peer.read()), ["Access-Control-Allow-Origin: *"]);
    assert_eq!(status(&ask(&mut world, "POST /publish HTTP/1.0\r\nContent-Length: 0\r\n\r\n")), 204);
    assert_eq!(peer.read(), "d\r\ndata: hello\n\n\r\n");
}

#[test]
fn headers_of_the_application_are_not_doubled() {
    for cors in [Cors::any(), Cors::origins([A]).credentials()] {
        let (app, _) = app();
        let mut world = Loop::with_config(app, config(Some(cors)));
        let answer = ask(&mut world, from(A, get("/own")));
        assert_eq!((status(&answer), added(&answer)), (200, vec![]));
        assert!(answer.contains("\r\naccess-control-allow-origin: https://own\r\n"), "{answer}");
        for request in [subscribe("/own-stream"), get("/own-stream").replace("GET", "HEAD")] {
            let answer = ask(&mut world, from(A, request));
            assert_eq!(added(&answer), ["Access-Control-Allow-Origin: https://own"]);
        }
    }
}

#[test]
fn preflights_do_not_reach_the_handler() {
    let (app, count) = app();
    let cors = Cors::origins([A]).credentials().max_age(Duration::from_secs(600));
    let mut world = Loop::with_config(app, config(Some(cors)));
    // Whether the path exists is checked by the request itself.
    let target = ["/page", "/options", "/missing", "/panics", "*"];
    let asks = "Access-Control-Request-Headers: cache-control,last-event-id";
    let peer = world.connect();
    for path in target {
        peer.write(with(from(A, preflight(path)), asks));
        world.settle();
        let answer = peer.read();
        assert_eq!(status(&answer), 204, "{path}");
        assert_eq!(
            added(&answer),
            [
                "Vary: Access-Control-Request-Headers",
                "Access-Control-Allow-Methods: GET, HEAD, POST, PUT, PATCH, DELETE",
                "Access-Control-Allow-Headers: cache-control, last-event-id",
                "Access-Control-Max-Age: 600",
                "Vary: Origin",
                "Access-Control-Allow-Origin: https://a.example",
                "Access-Control-Allow-Credentials: true",
            ]
        );
    }
    assert_eq!(added(&ask(&mut world, from("https://c.example", preflight("/options")))), ["Vary: Origin"]);
    assert_eq!(count.load(Ordering::SeqCst), 0);
    // The connection stays open, and requests after a preflight are served in order.
    peer.write(from(A, preflight("/page")) + &from(A, get("/page")));
    world.settle();
    let answers = replies(&peer.read());
    assert_eq!(answers, [(204, String::new()), (200, "page".to_owned())]);
    assert_eq!((count.load(Ordering::SeqCst), world.server.stats().requests), (1, 8));
    check_accounts(&world.server.stats());
}

#[test]
fn preflights_count_as_requests_of_their_connection() {
    let (app, _) = app();
    let mut config = config(Some(Cors::any()));
    config.requests_per_connection_max = 2;
    let mut world = Loop::with_config(app, config);
    let answer = ask(&mut world, from(A, preflight("/page")).repeat(3));
    let answers = replies(&answer);
    assert_eq!(answers.len(), 2, "{answer}");
    assert_eq!(answer.matches("Connection: close").count(), 1, "{answer}");
}

#[test]
fn options_requests_that_are_not_preflights_reach_the_handler() {
    let (app, count) = app();
    let mut world = Loop::with_config(app, config(Some(Cors::any())));
    let options = "OPTIONS /options HTTP/1.1\r\nHost: x\r\n\r\n";
    let requests = [options.to_owned(), from(A, options), preflight("/options")];
    for (request, seen) in requests.iter().zip(1..) {
        let answer = ask(&mut world, request);
        assert!(answer.ends_with("\r\n\r\noptions"), "{answer}");
        assert_eq!(count.load(Ordering::SeqCst), seen, "{request}");
    }
    let get = with(from(A, get("/page")), "Access-Control-Request-Method: GET");
    assert!(ask(&mut world, get).ends_with("\r\n\r\npage"));
}

#[test]
fn origins_that_are_none_of_the_list_are_never_named() {
    let (app, count) = app();
    let cors = Cors::origins([A]).credentials();
    let mut world = Loop::with_config(app, config(Some(cors)));
    let long = format!("https://a.example{}", "x".repeat(8000));
    let junk = [
        "",
        "*",
        "null",
        "https://A.example",
        "HTTPS://a.example",
        "https://a.example/",
        "https://a.example:443",
        "https://a.example.",
        "https://a.example.evil",
        "https://evil.a.example",
        "http://a.example",
        "https://a.exampl",
        "a.example",
        "https://a.example, https://a.example",
        "https://a.example https://b.example",
        "\"https://a.example\"",
        "https://a.example\u{fc}",
        "https://a.example\tx",
        "https://a.example\r\nOrigin: https://evil.example",
        "https://evil.example\r\nOrigin: https://a.example",
        "https://a.example\r\norigin: https://a.example",
        "\r\nOrigin: https://a.example",
        &long,
    ];
    for origin in junk {
        for (request, status_then) in
            [(get("/page"), 200), (subscribe("/stream"), 200), (preflight("/page"), 204)]
        {
            let answer = ask(&mut world, from(origin, request));
            assert_eq!((status(&answer), added(&answer)), (status_then, vec!["Vary: Origin"]), "{origin:?}");
        }
    }
    let answered = count.load(Ordering::SeqCst);
    // Such requests have no meaning.
    for control in ["\0", "\x01", "\x7f", "\r", "\n", "\n\r", "\x1b[1m"] {
        for request in [get("/page"), preflight("/page")] {
            let answer = ask(&mut world, from(&format!("{A}{control}x"), request));
            assert_eq!((status(&answer), added(&answer)), (400, vec![]), "{control:?}");
        }
    }
    assert_eq!(count.load(Ordering::SeqCst), answered);
    // Whitespace around a value is not part of it (RFC 9110 5.5).
    assert!(added(&ask(&mut world, from(" \thttps://a.example\t ", get("/page")))).len() == 3);
}

#[test]
fn headers_that_are_asked_for_are_written_back_only_as_names() {
    let (app, _) = app();
    let mut world = Loop::with_config(app, config(Some(Cors::any())));
    let mut allowed = |value: &str| {
        let asks = format!("Access-Control-Request-Headers: {value}");
        let answer = ask(&mut world, with(from(A, preflight("/page")), asks));
        assert_eq!(status(&answer), 204, "{value:?}");
        let (_, list) = answer.split_once("\r\nAccess-Control-Allow-Headers: ")?;
        list.lines().next().map(str::to_owned)
    };
    assert_eq!(allowed("x-a,X-B , x-c").as_deref(), Some("x-a, X-B, x-c"));
    let long = vec!["x-a"; 2000].join(",");
    assert_eq!(allowed(&long), Some(long.replace(',', ", ")));
    for junk in ["", " ", ",,", "x a", "x\ta", "x-a, <b>", "x-a: b", "\u{fc}", "x-a, \"b\"", "x-a;q=1"] {
        assert_eq!(allowed(junk), None, "{junk:?}");
    }
}

#[test]
fn a_server_is_not_built_with_origins_that_can_match_none() {
    let (app, _) = app();
    let mut config = Config::default();
    config.cors = Some(Cors::origins(["https://a.example/"]));
    let error = mio_sse::Server::bind_with("127.0.0.1:0", app, config).unwrap_err();
    assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
    let problem = "must be spelled as browsers send them: \"https://a.example\", not \"https://a.example/\"";
    assert_eq!(error.to_string(), format!("Config::cors.origins {problem}"));
}

#[test]
fn scripts_may_read_the_headers_that_are_exposed_to_them() {
    for cors in [Cors::any(), Cors::origins([A]), Cors::origins([A]).credentials()] {
        let (app, _) = app();
        let cors = cors.expose(["Retry-After", "X-A"]);
        let mut world = Loop::with_config(app, config(Some(cors)));
        for (request, status_then) in all_kinds() {
            let answer = ask(&mut world, from(A, &request));
            assert_eq!(status(&answer), status_then, "{request}");
            let exposed: Vec<_> = added(&answer).into_iter().filter(|line| line.contains("Expose")).collect();
            let is_preflight = request.contains("Request-Method");
            let expected = ["Access-Control-Expose-Headers: Retry-After, X-A"];
            assert_eq!(exposed, if is_preflight { &[][..] } else { &expected }, "{request}");
        }
        // The application's own header is not doubled.
        assert!(!ask(&mut world, from(A, get("/own"))).contains("Expose"));
    }
    let (app, _) = app();
    let mut world = Loop::with_config(app, config(Some(Cors::origins([A]).expose(["X-A"]))));
    for origin in ["https://c.example", "null", ""] {
        assert_eq!(added(&ask(&mut world, from(origin, get("/page")))), ["Vary: Origin"], "{origin}");
    }
}

#[test]
fn a_preflight_asks_for_a_private_network() {
    let asks = || with(from(A, preflight("/page")), "Access-Control-Request-Private-Network: true");
    for (cors, allows) in [
        (Cors::any(), false),
        (Cors::any().private_network(), true),
        (Cors::origins([A]).private_network(), true),
        (Cors::origins(["https://b.example"]).private_network(), false),
    ] {
        let (app, _) = app();
        let mut world = Loop::with_config(app, config(Some(cors)));
        let line = "Access-Control-Allow-Private-Network: true";
        assert_eq!(added(&ask(&mut world, asks())).contains(&line), allows);
        assert!(!added(&ask(&mut world, from(A, preflight("/page")))).contains(&line));
        // Only a preflight lists what is allowed.
        assert!(!added(&ask(&mut world, asks().replace("OPTIONS", "GET"))).contains(&line));
    }
}

/// A server that rejects early.
fn narrow(cors: Cors) -> Loop<Router> {
    let (app, _) = app();
    let mut config = config(Some(cors));
    config.head_bytes_max = 1024;
    config.target_bytes_max = 256;
    config.headers_max = 10;
    config.body_bytes_max = 100;
    config.hosts = vec!["x".to_owned()];
    Loop::with_config(app, config)
}

/// A request with a body and these header lines.
fn post(lines: &str, body: &str) -> String {
    format!("POST /page HTTP/1.1\r\nHost: x\r\n{lines}\r\n\r\n{body}")
}

fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked", body)
}

/// Requests that are rejected after their head was read.
fn rejected_after_the_head() -> Vec<(String, u16)> {
    let trailers = format!("0\r\n{}", "X-A: a\r\n".repeat(200));
    vec![
        (post("Content-Length: 101", ""), 413),
        (post("Content-Length: 18446744073709551615", ""), 413),
        (chunked("65\r\n"), 413),
        (chunked("1\r\na\r\n64\r\n"), 413),
        (chunked(&trailers), 431),
        (chunked("what is no chunk"), 400),
        (post("Expect: the-unexpected", ""), 417),
        (post("Content-Length: 101\r\nExpect: 100-continue", ""), 413),
        (chunked("").replace("Host: x", "Host: evil.example"), 421),
    ]
}

#[test]
fn a_rejection_of_a_body_can_be_read_as_well() {
    let credentials = "Access-Control-Allow-Credentials: true";
    let exposes = "Access-Control-Expose-Headers: X-A";
    let allows = "Access-Control-Allow-Origin: https://a.example";
    for (request, status_then) in rejected_after_the_head() {
        let mut world = narrow(Cors::origins([A, "https://b.example"]).credentials().expose(["X-A"]));
        let answer = ask(&mut world, from(A, &request));
        assert_eq!(
            (status(&answer), added(&answer)),
            (status_then, vec!["Vary: Origin", allows, credentials, exposes]),
            "{request}"
        );
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        for request in [from("https://c.example", &request), request.clone()] {
            let answer = ask(&mut world, &request);
            assert_eq!((status(&answer), added(&answer)), (status_then, vec!["Vary: Origin"]), "{request}");
        }
        assert_eq!((world.server.stats().rejected, world.server.stats().requests), (3, 0));
        check_accounts(&world.server.stats());
        let mut world = narrow(Cors::any());
        for request in [from(A, &request), request] {
            let answer = ask(&mut world, &request);
            let allows = vec!["Access-Control-Allow-Origin: *"];
            assert_eq!((status(&answer), added(&answer)), (status_then, allows), "{request}");
        }
    }
}

/// For every cut of the bytes, and also after another request.
#[test]
fn the_origin_of_a_rejected_request_is_that_of_its_own_head() {
    for (request, status_then) in rejected_after_the_head() {
        let mut world = narrow(Cors::origins([A, "https://b.example"]));
        let peer = world.connect();
        let before = from("https://b.example", get("/page").replace("test", "x"));
        for byte in (before + "\r\n" + &from(A, &request)).bytes() {
            peer.write([byte]);
            world.turn();
        }
        world.settle();
        let answers = peer.read();
        let (first, second) = answers.split_once("\r\n\r\npage").unwrap();
        assert!(first.ends_with("\r\nAccess-Control-Allow-Origin: https://b.example"), "{first}");
        assert_eq!(
            (status(second), added(second)),
            (status_then, vec!["Vary: Origin", "Access-Control-Allow-Origin: https://a.example"]),
            "{request}"
        );
        assert!(peer.is_shut());
    }
}

#[test]
fn a_body_that_is_late_is_refused_to_its_page() {
    for (lines, body) in [
        ("Content-Length: 50", ""),
        ("Content-Length: 50", "begun"),
        ("Transfer-Encoding: chunked", "5\r\nbegun\r\n"),
        ("Transfer-Encoding: chunked", "5\r\nbegun\r\n5\r\nbeg"),
    ] {
        let mut world = narrow(Cors::origins([A]));
        let peer = world.connect();
        peer.write(from(A, post(lines, body)));
        world.pass(Duration::from_secs(40));
        let answer = peer.read();
        assert_eq!(
            (status(&answer), added(&answer)),
            (408, vec!["Vary: Origin", "Access-Control-Allow-Origin: https://a.example"]),
            "{lines} {body:?}"
        );
    }
}

#[test]
fn a_body_that_there_is_no_memory_for_is_refused_to_its_page() {
    let (app, _) = app();
    let mut config = config(Some(Cors::origins([A])));
    config.memory_max = 1 << 20;
    config.body_bytes_max = 4 << 20;
    let mut world = Loop::<_, true>::with_config(app, config);
    let peer = world.connect();
    peer.write(from(A, post("Content-Length: 3000000", &"x".repeat(2 << 20))));
    world.settle();
    let answer = peer.read();
    assert_eq!(
        (status(&answer), added(&answer)),
        (503, vec!["Vary: Origin", "Access-Control-Allow-Origin: https://a.example"])
    );
    assert_eq!(world.server.stats().refused(Refusal::Memory), 1);
}

#[test]
fn a_rejection_without_a_readable_head_is_shared_with_all_or_with_none() {
    let long = format!("GET /{} HTTP/1.1\r\nHost: x\r\n\r\n", "a".repeat(300));
    let cases = [
        (from(A, long), 414),
        (from(A, with(get("/page"), format_args!("X-A: {}", "a".repeat(1000)))), 431),
        (from(A, with(get("/page"), ["X-A: a"; 20].join("\r\n"))), 431),
        (from(A, get("/page").replace("Host", "Hast")), 400),
        (from(A, "\0\0\0\0"), 400),
        (from(A, post("Content-Length: five", "")), 400),
        (from(A, post("Transfer-Encoding: gzip, chunked", "")), 501),
        (from(A, get("/page").replace("GET", "CONNECT")), 501),
    ];
    for (request, status_then) in cases {
        let answer = ask(&mut narrow(Cors::origins([A]).credentials()), &request);
        assert_eq!((status(&answer), added(&answer)), (status_then, vec![]), "{request}");
        let answer = ask(&mut narrow(Cors::any()), &request);
        let allows = vec!["Access-Control-Allow-Origin: *"];
        assert_eq!((status(&answer), added(&answer)), (status_then, allows), "{request}");
    }
    let shared = vec!["Access-Control-Allow-Origin: *"];
    for (cors, expected) in [(Cors::origins([A]), vec![]), (Cors::any(), shared)] {
        let mut world = narrow(cors);
        let peer = world.connect();
        peer.write("GET /page HTTP/1.1\r\nOrigin: https://a.example\r\n");
        world.pass(Duration::from_secs(20));
        let answer = peer.read();
        assert_eq!((status(&answer), added(&answer)), (408, expected));
    }
}

#[test]
fn of_a_request_before_nothing_is_left() {
    let mut world = narrow(Cors::origins([A]));
    let peer = world.connect();
    peer.write(from(A, get("/page").replace("test", "x")) + "no request\r\n\r\n");
    world.settle();
    let answers = peer.read();
    let (_, second) = answers.split_once("\r\n\r\npage").unwrap();
    assert_eq!((status(second), added(second)), (400, vec![]));
}

#[test]
fn a_scope_has_a_policy_of_its_own() {
    let mut app = Router::new();
    app.get("/page", |_request, _cx| "page");
    app.scope("/public", |public| {
        public.cors(Cors::any().methods(["PUT"]));
        public.get("/page", |_request, _cx| "page").route("PUT", "/page", |_request, _cx| "put");
        public.get("/panics", |_request, _cx| -> &str { panic!("on purpose") });
        public.get("/stream", |_request, _cx| Reply::stream().topic("t").topic("u").topic("v"));
        public.scope("", |inner| _ = inner.cors(Cors::origins([C])).get("/inner", |_request, _cx| "inner"));
    });
    let mut world = Loop::with_config(app, config(Some(Cors::origins([A]))));
    let mut origin = |path: &str, from_where: &str| {
        let answer = ask(&mut world, from(from_where, get(path)));
        let lines = added(&answer).into_iter();
        lines.filter_map(|line| line.strip_prefix("Access-Control-Allow-Origin: ").map(str::to_owned)).next()
    };
    let some = |origin: &str| Some(origin.to_owned());
    assert_eq!((origin("/page", A), origin("/page", C)), (some(A), None));
    // A whole reply, a reply after a panic, and a refused stream.
    for path in ["/public/page", "/public/panics", "/public/stream"] {
        assert_eq!(origin(path, C), some("*"), "{path}");
    }
    assert_eq!((origin("/public/inner", A), origin("/public/inner", C)), (None, some(C)));
    assert_eq!((origin("/public/none", A), origin("/public/none", C)), (some(A), None));
    // A preflight asks for another method.
    let answer = ask(&mut world, from(C, preflight("/public/page")));
    assert!(added(&answer).contains(&"Access-Control-Allow-Methods: PUT"), "{answer}");
    let other = preflight("/public/page").replace("Request-Method: PUT", "Request-Method: DELETE");
    assert_eq!(added(&ask(&mut world, from(C, other))), ["Vary: Origin"]);

    let mut app = Router::new();
    app.scope("", |scope| _ = scope.cors(Cors::any().credentials()));
    let error = mio_sse::Server::without_listener(app, Config::default()).unwrap_err();
    assert!(error.to_string().contains("credentials"), "{error}");
}
