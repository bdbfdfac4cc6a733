use super::*;
use crate::http::parse::incoming::{Incoming, Progress};
use crate::http::parse::limits::Limits;

const LIMITS: Limits =
    Limits { head_bytes_max: 4096, target_bytes_max: 1024, headers_max: 64, body_bytes_max: 1000 };

/// Calls `check` with the request in `bytes`.
fn with<T>(bytes: impl AsRef<[u8]>, check: impl FnOnce(Request<'_>) -> T) -> T {
    let bytes = bytes.as_ref();
    let mut incoming = Incoming::default();
    assert_eq!(incoming.advance(bytes, &LIMITS), Ok(Progress::Complete { consumed: bytes.len() }));
    check(incoming.request(bytes))
}

fn get<T>(target: &str, check: impl FnOnce(Request<'_>) -> T) -> T {
    with(format!("GET {target} HTTP/1.1\r\nHost: here\r\n\r\n"), check)
}

#[test]
fn the_request_line() {
    get("/a%20b/c?d=e?f", |request| {
        assert_eq!(request.method(), "GET");
        assert_eq!(request.target(), "/a%20b/c?d=e?f");
        assert_eq!(request.path(), "/a b/c");
        assert_eq!(request.raw_path(), "/a%20b/c");
        assert_eq!(request.query_string(), Some("d=e?f"));
        assert!(!request.is_head() && !request.is_http_10());
    });
    with("HEAD / HTTP/1.0\r\n\r\n", |request| {
        assert!(request.is_head() && request.is_http_10());
        assert_eq!((request.path(), request.query_string()), ("/", None));
    });
    with("head / HTTP/1.0\r\n\r\n", |request| assert!(!request.is_head()));
}

#[test]
fn a_target_that_is_a_url() {
    get("http://there:80/path?q", |request| {
        assert_eq!(request.target(), "http://there:80/path?q");
        assert_eq!((request.path(), request.query_string()), ("/path", Some("q")));
        assert_eq!(request.host(), Some("there:80"));
        assert_eq!(request.header("host"), Some("here"));
    });
    get("http://there", |request| assert_eq!((request.path(), request.raw_path()), ("/", "/")));
    get("/", |request| assert_eq!(request.host(), Some("here")));
    with("GET / HTTP/1.0\r\n\r\n", |request| assert_eq!(request.host(), None));
}

#[test]
fn queries_are_lenient() {
    get("/?a=1&b=caf%C3%A9+au%20lait&a=2&c&%=%ff%", |request| {
        assert_eq!(request.query("a").as_deref(), Some("1"));
        assert_eq!(request.query("b").as_deref(), Some("café au lait"));
        assert_eq!(request.query("c").as_deref(), Some(""));
        assert_eq!(request.query("%").as_deref(), Some("\u{fffd}%"));
        assert_eq!(request.query("d"), None);
        let names: Vec<_> = request.query_pairs().map(|(name, _)| name).collect();
        assert_eq!(names, ["a", "b", "a", "c", "%"]);
    });
    get("/", |request| assert_eq!(request.query("a"), None));
}

#[test]
fn headers_are_found_in_any_case() {
    with(b"GET / HTTP/1.0\r\nX-A: 1\r\nx-a: 2\r\nB: \xff\r\nEmpty:\r\n\r\n", |request| {
        assert_eq!(request.header("x-A"), Some("1"));
        assert_eq!(request.header("B"), None);
        assert_eq!(request.header_bytes("b"), Some(&b"\xff"[..]));
        assert_eq!(request.header("empty"), Some(""));
        assert_eq!(request.header("X"), None);
        let lines: Vec<_> = request.headers().collect();
        assert_eq!(lines, [("X-A", &b"1"[..]), ("x-a", b"2"), ("B", b"\xff"), ("Empty", b"")]);
    });
}

#[test]
fn bodies_of_both_framings() {
    with("GET / HTTP/1.0\r\nContent-Length: 5\r\n\r\nhello", |request| {
        assert_eq!(request.body(), b"hello");
    });
    let chunked =
        "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhe\r\n3\r\nllo\r\n0\r\n\r\n";
    with(chunked, |request| assert_eq!(request.body(), b"hello"));
    get("/", |request| assert_eq!(request.body(), b""));
}

#[test]
fn cookies() {
    let head = b"GET / HTTP/1.0\r\nCookie: session=1; sess=2;ses = 3 ;session=4\r\nX: sess=5\r\n\
                 cookie: quoted=\"a b\"; half=\"c; empty=; d=e=f; Session=6;\r\n\r\n";
    with(head, |request| {
        let cookie = |name| request.cookie(name);
        // Neither the beginning of a name nor its case makes another cookie. The first cookie of a name
        // counts.
        assert_eq!((cookie("session"), cookie("sess"), cookie("ses")), (Some("1"), Some("2"), Some("3")));
        assert_eq!((cookie("Session"), cookie("s"), cookie("sessio")), (Some("6"), None, None));
        // Quotes are part of a value.
        assert_eq!((cookie("quoted"), cookie("half")), (Some("\"a b\""), Some("\"c")));
        assert_eq!((cookie("empty"), cookie("d")), (Some(""), Some("e=f")));
        let names: Vec<_> = request.cookies().map(|(name, _)| name).collect();
        assert_eq!(names, ["session", "sess", "ses", "session", "quoted", "half", "empty", "d", "Session"]);
    });
    get("/", |request| assert_eq!((request.cookie(""), request.cookies().count()), (None, 0)));
}

#[test]
fn malformed_cookies_are_left_out() {
    let head = b"GET / HTTP/1.0\r\nCookie: a; ;;=b; =; \xff=c; d=\xff; e=f; \"=\"\r\nCookie:\r\n\r\n";
    with(head, |request| {
        let cookies: Vec<_> = request.cookies().collect();
        assert_eq!(cookies, [("e", "f"), ("\"", "\"")]);
        assert_eq!((request.cookie("a"), request.cookie("")), (None, None));
    });
}

#[test]
fn forms() {
    let post = |content_type: &str, check: &dyn Fn(Request<'_>)| {
        let body = "a=1&b=caf%C3%A9+au%20lait&a=2&c&%=%ff%";
        let length = body.len();
        let head = format!("POST / HTTP/1.0\r\nContent-Length: {length}\r\n{content_type}\r\n");
        with(head + body, check);
    };
    for content_type in [
        "Content-Type: application/x-www-form-urlencoded\r\n",
        "content-type: Application/X-WWW-Form-urlencoded ; charset=UTF-8\r\n",
    ] {
        post(content_type, &|request| {
            assert_eq!(request.form("a").as_deref(), Some("1"));
            assert_eq!(request.form("b").as_deref(), Some("café au lait"));
            assert_eq!(request.form("c").as_deref(), Some(""));
            assert_eq!(request.form("%").as_deref(), Some("\u{fffd}%"));
            assert_eq!(request.form("d"), None);
            let names: Vec<_> = request.form_pairs().map(|(name, _)| name).collect();
            assert_eq!(names, ["a", "b", "a", "c", "%"]);
        });
    }
    for content_type in
        ["", "application/x-www-form-urlencoded2", "text/plain; application/x-www-form-urlencoded", "\u{ff}"]
    {
        let line = format!("Content-Type: {content_type}\r\n");
        post(if content_type.is_empty() { "" } else { &line }, &|request| {
            assert_eq!((request.form("a"), request.form_pairs().count()), (None, 0), "{content_type}");
        });
    }
}

#[cfg(feature = "json")]
#[test]
fn bodies_as_json() {
    with("POST / HTTP/1.0\r\nContent-Length: 9\r\n\r\n[1,\"two\"]", |request| {
        assert_eq!(request.json::<(u8, &str)>().unwrap(), (1, "two"));
        assert!(request.json::<(u8, u8)>().is_err() && request.json::<[u8; 3]>().is_err());
    });
    with("POST / HTTP/1.0\r\nContent-Length: 2\r\n\r\n1]", |request| {
        assert!(request.json::<u8>().is_err());
    });
    get("/", |request| assert!(request.json::<Option<u8>>().is_err()));
}

#[test]
fn params_are_the_routers() {
    get("/", |request| {
        let params = [("a", Cow::Borrowed("1")), ("b", Cow::Owned("2".to_owned()))];
        let request = request.with_params(&params);
        assert_eq!(
            (request.param("a"), request.param("b"), request.param("c")),
            (Some("1"), Some("2"), None)
        );
    });
}

#[test]
fn the_last_event_id_comes_from_the_header_or_the_query() {
    let id = |query: &str, header: &str| {
        with(format!("GET /?{query} HTTP/1.0\r\n{header}\r\n"), |request| {
            request.last_event_id().map(Cow::into_owned)
        })
    };
    let some = |id: &str| Some(id.to_owned());
    assert_eq!(id("", ""), None);
    assert_eq!(id("lastEventId=1&last_event_id=2", ""), some("1"));
    assert_eq!(id("last_event_id=2", ""), some("2"));
    assert_eq!(id("lastEventId=1", "last-event-id: ü 3\r\n"), some("ü 3"));
    // An empty header hides nothing: old events are better received twice than lost.
    assert_eq!(id("lastEventId=1", "Last-Event-ID:\r\n"), some("1"));
    assert_eq!(id("", "Last-Event-ID:\r\n"), None);
    // An id that no server can have made is unknown, not absent.
    assert_eq!(id("lastEventId=%0a", ""), some("\n"));
    assert_eq!(id("lastEventId=%ff", ""), some("\u{fffd}"));
    assert_eq!(id("", &format!("Last-Event-ID: {}\r\n", "1".repeat(3000))), some(&"1".repeat(3000)));
    assert_eq!(id("", "Last-Event-ID: a\tb\r\n"), some("a\tb"));
    // Two lines are joined by a comma, unless they are equal.
    assert_eq!(id("", "Last-Event-ID: 5\r\nlast-event-id: 6\r\n"), some("5, 6"));
    assert_eq!(id("", "Last-Event-ID: 5\r\nLast-Event-ID: 5\r\n"), some("5"));
    assert_eq!(id("", "Last-Event-ID:\r\nLast-Event-ID: 5\r\n"), some("5"));
    let invalid = b"GET / HTTP/1.0\r\nLast-Event-ID: \xff1\r\n\r\n";
    assert_eq!(with(invalid, |request| request.last_event_id().map(Cow::into_owned)), some("\u{fffd}1"));
}

#[test]
fn debug_keeps_secrets() {
    let head = "GET /a HTTP/1.0\r\nAccept: b\r\nauthorization: s3cret\r\nCookie: s3cret\r\n\
                Proxy-Authorization: s3cret\r\nContent-Length: 6\r\n\r\ns3cret";
    let debug = with(head, |request| format!("{request:?}"));
    assert!(!debug.contains("s3cret"), "{debug}");
    assert!(debug.contains(r#""Accept": "b""#) && debug.contains(r#""Cookie": "…""#), "{debug}");
}
