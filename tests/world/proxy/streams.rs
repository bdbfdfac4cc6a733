//! Streams through the proxy, over HTTP/1.1 and HTTP/2, read by curl.

use super::nginx::replace;
use super::{Curl, Nginx, WAYS};
use crate::support::{Example, Running, ms, now, run, serve, serve_with};
use mio_sse::{CloseReason, Config, Event, Reply, Router};
use std::io::Write;
use std::net::TcpStream;
use std::process::Command;
use std::sync::mpsc::RecvTimeoutError;
use std::time::Duration;

fn app() -> Router {
    let mut app = Router::new();
    app.get("/events/{topic}", |request, cx| {
        let header = |name: &str| request.header(name).unwrap_or("none").to_owned();
        if let Some(stream) = cx.stream() {
            let names = ["Last-Event-ID", "X-Forwarded-For", "Host", "Connection"];
            cx.send(stream, Event::new().data(names.map(header).join("|")))?;
        }
        Ok::<_, mio_sse::Error>(Reply::stream().topic(request.param("topic").unwrap_or_default()).tag("all"))
    });
    app.get("/", |_request, _cx| Reply::html("<p>a page"));
    app
}

fn publish(server: &Running, data: &str) {
    server.publisher.publish("news", Event::new().data(data.to_owned())).unwrap();
}

/// Each event is published when the one before has arrived: an event held back until the next one would wait
/// for ever.
#[test]
fn nothing_is_delayed_not_even_with_gzip() {
    let hub = Example::start("hub");
    let nginx = Nginx::before(hub.address);
    for (version, tls) in WAYS {
        let curl = Curl::get(&nginx.url(tls, "/events/news"), &[version, "-HAccept-Encoding: gzip"]);
        let head = curl.head();
        assert!(head[0].starts_with(if version == "--http2" { "http/2 " } else { "http/1.1 " }), "{head:?}");
        assert!(head.contains(&"content-type: text/event-stream".to_owned()), "{head:?}");
        let hidden = ["content-encoding", "content-length", "x-accel-buffering"];
        assert!(!head.iter().any(|line| hidden.iter().any(|name| line.starts_with(name))), "{head:?}");
        for count in 0..20 {
            let data = format!("event {count}");
            let begin = now();
            let mut post = Command::new("curl");
            run(post.args(["-sSfk", version, "--data", &data, &nginx.url(tls, "/publish/news")]));
            curl.wait_for(&format!("data: {data}"));
            assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
        }
    }
    // It does compress other responses.
    let curl = Curl::get(&nginx.url(false, "/"), &["-HAccept-Encoding: gzip"]);
    assert!(!curl.head().contains(&"content-encoding: gzip".to_owned()), "text/plain is none of its types");
    let server = serve(app());
    let nginx = Nginx::before(server.address);
    let curl = Curl::get(&nginx.url(false, "/"), &["-HAccept-Encoding: gzip"]);
    assert!(curl.head().contains(&"content-encoding: gzip".to_owned()), "text/html is");
}

/// The purpose of `X-Accel-Buffering: no`: nginx holds a body without chunks back, as with HTTP/1.0, until
/// its buffer is full.
#[test]
fn our_header_keeps_nginx_from_holding_events_back() {
    let server = serve(app());
    let old = |text: &str| replace(text, "proxy_http_version 1.1;", "proxy_http_version 1.0;");
    let nginx = Nginx::with(server.address, old);
    let curl = Curl::get(&nginx.url(false, "/events/news"), &[]);
    curl.head();
    publish(&server, "in time");
    curl.wait_for("data: in time");
    drop(curl);
    server.wait_for("the stream ends", |stats| stats.streams == 0);

    let deaf = |text: &str| {
        replace(
            text,
            "proxy_http_version 1.1;",
            "proxy_http_version 1.0; proxy_ignore_headers X-Accel-Buffering;",
        )
    };
    let nginx = Nginx::with(server.address, deaf);
    let curl = Curl::get(&nginx.url(false, "/events/news"), &[]);
    server.wait_for("the stream opens", |stats| stats.streams == 1);
    publish(&server, "late");
    while let Ok(line) = curl.line_within(ms(500)) {
        assert_ne!(line, "data: late");
    }
    server.publisher.close_tagged("all").unwrap();
    curl.wait_for("data: late");
}

#[test]
fn headers_of_the_client_pass() {
    let server = serve(app());
    let nginx = Nginx::before(server.address);
    for (version, tls) in WAYS {
        let curl = Curl::get(&nginx.url(tls, "/events/news"), &[version, "-HLast-Event-ID: é 7"]);
        curl.head();
        curl.wait_for("data: é 7|127.0.0.1|127.0.0.1|none");
    }
}

#[test]
fn a_client_that_leaves_is_noticed_within_two_seconds() {
    let server = serve(app());
    let nginx = Nginx::before(server.address);
    for (count, (version, tls)) in (1..).zip(WAYS) {
        let curl = Curl::get(&nginx.url(tls, "/events/news"), &[version]);
        curl.head();
        assert_eq!(server.stats().streams, 1);
        let begin = now();
        drop(curl);
        let stats = server.wait_for("the stream ends", |stats| stats.streams == 0);
        assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed());
        // nginx closes its connection to the server.
        let closed = stats.closed(CloseReason::PeerClosed) + stats.closed(CloseReason::Reset);
        assert_eq!((closed, stats.connections), (count, 0), "{stats:?}");
    }
}

#[test]
fn a_close_by_the_server_reaches_the_client_and_the_connection_is_used_again() {
    let server = serve(app());
    let nginx = Nginx::before(server.address);
    for (version, tls) in WAYS {
        let curl = Curl::get(&nginx.url(tls, "/events/news"), &[version]);
        curl.head();
        publish(&server, "last");
        curl.wait_for("data: last");
        server.publisher.close_tagged("all").unwrap();
        assert!(curl.ends_cleanly(), "{version} ends cleanly");
    }
    assert_eq!(server.stats().accepted, 1);
}

/// nginx gets a timeout of a second, instead of the README's minute.
#[test]
fn heartbeats_keep_a_silent_stream_open() {
    let impatient = |text: &str| replace(text, "proxy_read_timeout 60s;", "proxy_read_timeout 1s;");
    for (heartbeat, lasts) in [(Some(ms(300)), true), (None, false)] {
        let mut config = Config::default();
        config.heartbeat = heartbeat;
        let server = serve_with(app(), config);
        let nginx = Nginx::with(server.address, impatient);
        for (version, tls) in WAYS {
            let curl = Curl::get(&nginx.url(tls, "/events/news"), &[version]);
            curl.head();
            if lasts {
                let begin = now();
                while begin.elapsed() < ms(2500) {
                    let beat = curl.line_within(Duration::from_secs(1));
                    assert_ne!(beat, Err(RecvTimeoutError::Disconnected), "{version}");
                }
                publish(&server, "still there");
                curl.wait_for("data: still there");
            } else {
                assert!(!curl.ends_cleanly(), "{version} is cut off");
                server.wait_for("nginx has left", |stats| stats.streams == 0);
            }
        }
    }
}

/// nginx reads no faster than its client, so the server notices a slow client, and nothing is written to
/// nginx' disk.
#[test]
fn a_client_that_reads_nothing_is_noticed_by_the_server() {
    let mut config = Config::default();
    config.lag_bytes_max = 64 << 10;
    let server = serve_with(app(), config);
    let nginx = Nginx::before(server.address);
    let mut idle = TcpStream::connect(nginx.url(false, "").trim_start_matches("http://")).unwrap();
    idle.write_all(b"GET /events/news HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    server.wait_for("the stream opens", |stats| stats.streams == 1);
    let text = "x".repeat(60_000);
    // At some time all buffers on the way are full, and then it lags.
    let stats = server.wait_for("it lags", |stats| {
        publish(&server, &text);
        stats.streams == 0
    });
    assert_eq!(stats.closed(CloseReason::Lagged), 1, "{stats:?}");
    assert!(stats.events_published < 1000, "{stats:?}");
}
