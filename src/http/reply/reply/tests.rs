use super::*;
use crate::event::{Event, EventError};
use crate::http::reply::headers::WRITTEN_BY_THE_SERVER;
use std::time::Duration;

const CX: HeadContext<'_> =
    HeadContext { date: "<now>", keep_alive: true, http_10: false, head_request: false };

fn encode(reply: &Reply, cx: HeadContext<'_>) -> String {
    let mut out = b"before ".to_vec();
    reply.encode(&cx, &mut out);
    String::from_utf8(out).unwrap().strip_prefix("before ").unwrap().to_owned()
}

fn encode_head(stream: &StreamReply, cx: HeadContext<'_>, chunked: bool) -> String {
    let mut out = Vec::new();
    stream.encode_head(&cx, chunked, &mut out);
    String::from_utf8(out).unwrap()
}

#[test]
fn a_whole_response() {
    let reply = Reply::html("<p>ü</p>").header("X-A", "1").header("x-a", "2\t3");
    assert_eq!(
        encode(&reply, CX),
        "HTTP/1.1 200 OK\r\nDate: <now>\r\nContent-Type: text/html; charset=utf-8\r\nContent-Length: 9\r\n\
         X-A: 1\r\nx-a: 2\t3\r\n\r\n<p>ü</p>"
    );
    assert_eq!(reply.body(), "<p>ü</p>".as_bytes());
}

#[test]
fn the_connection_header_says_what_is_not_the_default() {
    let connection = |keep_alive, http_10| {
        let head = encode(&Reply::text(""), HeadContext { keep_alive, http_10, ..CX });
        head.lines().find_map(|line| line.strip_prefix("Connection: ")).map(str::to_owned)
    };
    assert_eq!(connection(true, false), None);
    assert_eq!(connection(false, false).as_deref(), Some("close"));
    assert_eq!(connection(true, true).as_deref(), Some("keep-alive"));
    assert_eq!(connection(false, true).as_deref(), Some("close"));
}

#[test]
fn head_requests_get_the_same_head_alone() {
    let reply = Reply::text("hello");
    let whole = encode(&reply, CX);
    let head = encode(&reply, HeadContext { head_request: true, ..CX });
    assert_eq!(head + "hello", whole);
    assert!(whole.contains("Content-Length: 5\r\n"));
}

#[test]
fn statuses_without_a_body() {
    let empty = "Date: <now>\r\n\r\n";
    assert_eq!(encode(&Reply::no_content(), CX), format!("HTTP/1.1 204 No Content\r\n{empty}"));
    assert_eq!(
        encode(&Reply::html("x").with_status(304), CX),
        format!("HTTP/1.1 304 Not Modified\r\n{empty}")
    );
    assert_eq!(
        encode(&Reply::status(205), CX),
        "HTTP/1.1 205 Reset Content\r\nDate: <now>\r\nContent-Length: 0\r\n\r\n"
    );
}

#[test]
fn statuses_are_kept_within_reason() {
    assert_eq!(Reply::status(404).status_code(), 404);
    assert_eq!((Reply::status(404).body(), Reply::not_found().status_code()), (&b"Not Found"[..], 404));
    assert_eq!((Reply::status(101).status_code(), Reply::status(600).status_code()), (500, 500));
    assert_eq!(Reply::status(101).body(), b"Internal Server Error");
    assert_eq!(Reply::text("x").with_status(99).status_code(), 500);
    let stream = |status| Reply::from(Reply::stream()).with_status(status);
    assert_eq!((stream(200).status_code(), stream(404).status_code()), (200, 500));
    assert_eq!(stream(404).check(), Err(Error::StreamStatus(404)));
}

#[test]
fn content_types() {
    let content_type = |reply: Reply| {
        let head = encode(&reply, CX);
        head.lines().filter_map(|line| line.strip_prefix("Content-Type: ")).collect::<Vec<_>>().join("|")
    };
    assert_eq!(content_type(Reply::json_text("{}")), "application/json");
    assert_eq!(content_type(Reply::text("a")), "text/plain; charset=utf-8");
    assert_eq!(content_type(Reply::bytes("image/png", b"PNG")), "image/png");
    assert_eq!(content_type(Reply::bytes(String::from("a/b"), vec![0])), "a/b");
    assert_eq!(content_type(Reply::text("a").header("content-TYPE", "text/css")), "text/css");
    assert!(Reply::bytes("a/b\r\nX: y", b"").check().is_err());
    assert!(Reply::text("a").header("Content-Type", "a\nb").check().is_err());
}

#[test]
fn shorthands_with_a_header() {
    assert!(encode(&Reply::unauthorized("Bearer"), CX).contains("\r\nWWW-Authenticate: Bearer\r\n"));
    assert_eq!(Reply::unauthorized("Bearer").status_code(), 401);
    let redirect = Reply::redirect("/there");
    assert_eq!(redirect.status_code(), 303);
    assert!(encode(&redirect.with_status(308), CX).starts_with("HTTP/1.1 308 Permanent Redirect\r\n"));
    assert!(
        Reply::redirect("/\r\nSet-Cookie: a=b").check().is_err()
            && Reply::unauthorized("\0").check().is_err()
    );
}

#[test]
fn a_reply_that_cannot_be_sent_is_a_500_and_has_the_first_error() {
    let reply =
        Reply::text("a").with_status(201).header("A", "\n").header("B C", "").cookie(Cookie::new("", ""));
    assert_eq!(reply.status_code(), 500);
    assert!(matches!(reply.check(), Err(Error::InvalidHeader { name, .. }) if name == "A"));
    let stream = Reply::stream().first(Event::new()).header("A", "\n");
    assert_eq!(stream.check(), Err(Error::InvalidEvent(EventError::Empty)));
    assert_eq!(Reply::from(stream).status_code(), 500);
}

#[test]
fn text_is_a_reply_and_nothing_is_not_found() {
    let found = |reply: Option<&'static str>| reply.into_reply();
    assert_eq!(encode(&found(Some("ü")), CX), encode(&Reply::text("ü"), CX));
    assert_eq!(encode(&String::from("ü").into_reply(), CX), encode(&Reply::text("ü"), CX));
    assert_eq!(found(None).status_code(), 404);
    assert_eq!((().into_reply().status_code(), 403.into_reply().status_code()), (204, 403));
    assert_eq!((Reply::empty(202).status_code(), Reply::empty(202).body()), (202, &b""[..]));
}

#[test]
fn headers_that_cannot_be_written() {
    let name_is_refused = |name: &str| {
        let whole = Reply::text("").header(name, "a").check();
        let stream = Reply::stream().header(name, "a").check();
        assert_eq!(whole.is_err(), stream.is_err(), "{name:?}");
        matches!(whole, Err(Error::InvalidHeader { name: named, .. }) if named == name)
    };
    for name in ["", " ", "A B", "A:", "A\r\nB", "ü", "A\0", "(A)"] {
        assert!(name_is_refused(name), "{name:?}");
    }
    for name in WRITTEN_BY_THE_SERVER {
        assert!(name_is_refused(name) && name_is_refused(&name.to_lowercase()), "{name}");
    }
    assert!(!name_is_refused("X!#$%&'*+-.^_`|~1"));
    for value in ["a\rb", "a\nb", "\0", "\x7f", "\x1b[1m"] {
        assert!(Reply::text("").header("A", value).check().is_err(), "{value:?}");
        assert!(Reply::stream().header("A", value).check().is_err(), "{value:?}");
    }
    for value in ["", "ü", "a\tb"] {
        assert!(Reply::text("").header("A", value).check().is_ok(), "{value:?}");
    }
    for name in ["content-type", "Cache-Control", "X-Accel-Buffering"] {
        assert!(Reply::stream().header(name, "a").check().is_err(), "{name}");
        assert!(Reply::from(Reply::stream()).header(name, "a").check().is_err(), "{name}");
        assert!(Reply::text("").header(name, "a").check().is_ok(), "{name}");
    }
}

#[test]
fn the_head_of_a_stream() {
    let stream = Reply::stream().header("Vary", "Origin");
    let start = "HTTP/1.1 200 OK\r\nDate: <now>\r\nContent-Type: text/event-stream\r\n\
                 Cache-Control: no-store, no-transform\r\nX-Accel-Buffering: no\r\n";
    let head = |cx, chunked| encode_head(&stream, cx, chunked);
    let with = |lines: &str| format!("{start}{lines}Vary: Origin\r\n\r\n");
    assert_eq!(head(CX, true), with("Transfer-Encoding: chunked\r\n"));
    let closing = HeadContext { keep_alive: false, ..CX };
    assert_eq!(head(closing, true), with("Transfer-Encoding: chunked\r\nConnection: close\r\n"));
    // Without chunks, the stream lasts until the connection closes.
    assert_eq!(head(CX, false), with("Connection: close\r\n"));
    assert_eq!(head(HeadContext { http_10: true, ..CX }, false), with("Connection: close\r\n"));
    // A reply to HEAD has no body to delimit.
    assert_eq!(encode(&stream.into(), HeadContext { head_request: true, ..CX }), with(""));
}

#[test]
fn the_parts_of_a_stream_reply() {
    let stream = Reply::stream().topic("a").topic(String::from("b")).topic("a").retry(Duration::from_secs(1));
    assert!(stream.topics().eq(["a", "b"]));
    assert_eq!(stream.retry_after(), Some(Duration::from_secs(1)));
    assert!(!stream.is_close_delimited() && Reply::stream().close_delimited().is_close_delimited());
    assert!(Reply::from(stream).into_stream().unwrap().topics().eq(["a", "b"]));
    assert_eq!(Reply::text("a").into_stream().unwrap_err().body(), b"a");
}

#[test]
fn errors_become_a_500_that_does_not_reveal_them() {
    assert_eq!(Ok::<_, Error>(Reply::text("a")).into_reply().body(), b"a");
    assert!(Ok::<_, Error>(Reply::stream()).into_reply().into_stream().is_ok());
    let error = Err::<Reply, _>("the password is 1234").into_reply();
    assert_eq!((error.status_code(), error.body()), (500, &b"Internal Server Error"[..]));
}

#[cfg(feature = "json")]
#[test]
fn values_as_json() {
    assert_eq!(Reply::json(&[1, 2]).body(), b"[1,2]");
    let reply = encode(&Reply::json(&"a\nb"), CX);
    assert!(reply.contains("Content-Type: application/json\r\n") && reply.ends_with(r#""a\nb""#), "{reply}");
    let keys_are_no_strings = std::collections::BTreeMap::from([(vec![1], 2)]);
    assert!(Reply::json(&keys_are_no_strings).check().is_err());
}

#[test]
fn a_stream_may_say_more_about_its_type_and_nothing_else() {
    let typed = |value: &str| Reply::from(Reply::stream()).header("content-type", value);
    let head = encode(&typed("text/event-stream; charset=utf-8"), CX);
    assert_eq!(head.matches("Content-Type: text/event-stream; charset=utf-8\r\n").count(), 1, "{head}");
    assert_eq!(head.matches("ontent-").count(), 1, "{head}");
    for value in ["text/plain", "", "text/event-streams", "text/event-stream\r\nX: y", "; charset=utf-8"] {
        assert!(matches!(typed(value).check(), Err(Error::InvalidHeader { .. })), "{value}");
    }
}
