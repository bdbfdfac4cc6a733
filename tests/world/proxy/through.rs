//! The same checks through each of the other proxies.

use super::Curl;
use super::others::{APACHE, CADDY, HAPROXY, Kind, LIGHTTPD, Leaving, VARNISH, reserve};
use super::over_http2::streams;
use crate::browser::Tab;
use crate::support::{DEADLINE, Running, eventually, ms, now, serve, serve_at, serve_with, tied};
use mio_sse::{CloseReason, Config, Event, History, Reply, Router, TopicConfig};
use std::time::Duration;

/// The first event of each stream has the headers that have arrived.
pub(crate) fn app() -> Router {
    let mut app = Router::new();
    app.get("/events/{topic}", |request, _cx| {
        let header = |name: &str| request.header(name).unwrap_or("none").to_owned();
        let headers = Event::new().data(["Last-Event-ID", "X-Forwarded-For"].map(header).join("|"));
        Reply::stream().first(headers).topic(request.param("topic").unwrap_or_default()).tag("all")
    });
    app.on_start(|cx| cx.configure("kept", TopicConfig::default().history(History::new().bytes(128 << 20))));
    app
}

/// No heartbeats, so that nothing but events is sent.
pub(crate) fn silent() -> Config {
    let mut config = Config::default();
    config.heartbeat = None;
    config
}

pub(crate) fn publish(server: &Running, topic: &str, data: &str) {
    server.publisher.publish(topic, Event::new().data(data.to_owned())).unwrap();
}

/// Each event is published after the one before has arrived, and nothing else is sent. So a proxy that waits
/// for more data fails. The fastest event counts, since a busy machine makes others late.
fn events_arrive_at_once(kind: &Kind) {
    let server = serve_with(app(), silent());
    let proxy = kind.before(server.address);
    let curl = Curl::get(&proxy.url("/events/news"), &["-HAccept-Encoding: gzip"]);
    assert!(curl.head().contains(&"content-type: text/event-stream".to_owned()));
    let times = (0..20).map(|count| {
        let data = format!("data: event {count}");
        let begin = now();
        publish(&server, "news", &data["data: ".len()..]);
        curl.wait_for(&data);
        begin.elapsed()
    });
    let fastest = times.min().unwrap();
    assert!(fastest < ms(50), "{fastest:?}");
}

/// Reads an id and the data that comes with it.
fn event(curl: &Curl) -> (String, String) {
    let mut id = String::new();
    loop {
        let line = curl.line();
        if let Some(text) = line.strip_prefix("id: ") {
            id = text.to_owned();
        } else if let Some(text) = line.strip_prefix("data: ") {
            return (id, text.to_owned());
        }
    }
}

fn a_client_that_comes_back_has_missed_nothing(kind: &Kind) {
    let server = serve_with(app(), silent());
    let proxy = kind.before(server.address);
    let curl = Curl::get(&proxy.url("/events/kept"), &[]);
    curl.wait_for("data: none|127.0.0.1");
    for count in 0..3 {
        publish(&server, "kept", &count.to_string());
    }
    let seen = [(); 3].map(|()| event(&curl));
    drop(curl);
    for count in 3..6 {
        publish(&server, "kept", &count.to_string());
    }
    // The last one was lost on the way.
    let id = &seen[1].0;
    let curl = Curl::get(&proxy.url("/events/kept"), &[&format!("-HLast-Event-ID: {id}")]);
    curl.wait_for(&format!("data: {id}|127.0.0.1"));
    assert_eq!(event(&curl), seen[2]);
    assert_eq!([(); 3].map(|()| event(&curl).1), ["3", "4", "5"]);
}

fn a_client_that_leaves_is_noticed(kind: &Kind) {
    let config = match kind.leaving {
        Leaving::AtOnce => silent(),
        Leaving::AtAWrite => {
            let mut config = Config::default();
            config.heartbeat = Some(ms(500));
            config
        }
    };
    let server = serve_with(app(), config);
    let proxy = kind.before(server.address);
    let curl = Curl::get(&proxy.url("/events/news"), &[]);
    curl.head();
    server.wait_for("the stream opens", |stats| stats.streams == 1);
    drop(curl);
    let (begin, before) = (now(), server.stats().heartbeats);
    let stats = server.wait_for("the stream ends", |stats| stats.streams == 0);
    // The first write makes the client's side send a reset, so the second fails. Another may be under way.
    match kind.leaving {
        Leaving::AtOnce => assert!(begin.elapsed() < Duration::from_secs(2), "{:?}", begin.elapsed()),
        Leaving::AtAWrite => assert!(stats.heartbeats <= before + 3, "{before} and {stats:?}"),
    }
    let closed = stats.closed(CloseReason::PeerClosed) + stats.closed(CloseReason::Reset);
    assert_eq!(closed, 1, "{stats:?}");
}

fn an_end_by_the_server_reaches_the_client(kind: &Kind) {
    let server = serve_with(app(), silent());
    let proxy = kind.before(server.address);
    let curl = Curl::get(&proxy.url("/events/news"), &[]);
    curl.head();
    curl.wait_for("");
    publish(&server, "news", "last");
    curl.wait_for("data: last");
    server.publisher.close_tagged("all").unwrap();
    assert!(curl.ends_cleanly());
}

/// Events that a client does not read wait in the server's log, not in the proxy's memory or on its disk.
fn a_client_that_does_not_read_is_waited_for(kind: &Kind) {
    const EVENTS: u64 = 1000;
    let mut config = silent();
    config.stall_timeout = Duration::from_secs(600);
    let server = serve_with(app(), config);
    let proxy = kind.before(server.address);
    let curl = Curl::get(&proxy.url("/events/kept"), &[]);
    curl.wait_for("data: none|127.0.0.1");
    curl.signal("STOP");
    let text = "x".repeat(60_000);
    for count in 0..EVENTS {
        publish(&server, "kept", &format!("{count} {text}"));
    }
    // Until all the buffers on the way are full.
    let (mut delivered, mut since) = (0, now());
    let stats = server.wait_for("nothing gets through", |stats| {
        if stats.events_delivered > delivered {
            (delivered, since) = (stats.events_delivered, now());
        }
        stats.events_published == EVENTS && stats.streams_behind == 1 && since.elapsed() > ms(500)
    });
    assert!(delivered < EVENTS, "{stats:?}");

    curl.signal("CONT");
    for count in 0..EVENTS {
        let (_, data) = event(&curl);
        assert_eq!(
            data.split_once(' ').map(|(number, rest)| (number, rest.len())),
            Some((&*count.to_string(), 60_000))
        );
    }
    assert_eq!(server.stats().streams_opened, 1);
}

/// Status and content type of a response.
fn ask(url: &str) -> String {
    let mut curl = tied("curl");
    curl.args(["-s", "--max-time", "20", "--output", "/dev/null", "--write-out"]);
    let output = curl.arg("%{http_code} %{content_type}").arg(url).output().unwrap();
    String::from_utf8(output.stdout).unwrap()
}

/// EventSource reconnects by itself after a stream that has ended, and after a connection that was closed
/// without a response. It gives up on any status but 200.
fn a_server_that_was_away_is_reached_again(kind: &Kind) {
    let (reserved, address) = reserve();
    let proxy = kind.before(address);
    let begin = now();
    assert_eq!(ask(&proxy.url("/events/news")), kind.away);
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
    assert_ne!(ask(&proxy.url("/")), "200 text/event-stream", "only streams");

    drop(reserved);
    let _server = serve_at(address, app, &silent());
    let begin = now();
    eventually("a stream", || {
        let curl = Curl::get(&proxy.url("/events/news"), &[]);
        while let Ok(line) = curl.line_within(DEADLINE) {
            if line == "data: none|127.0.0.1" {
                return Ok(());
            }
        }
        Err("the proxy says something else".to_owned())
    });
    assert!(begin.elapsed() < Duration::from_secs(10), "{:?}", begin.elapsed());
}

/// The same with a browser.
fn a_page_survives_a_restart_unless_it_is_told_503(kind: &Kind) {
    let server = serve(streams());
    let address = server.address;
    let proxy = kind.with(address, |text| text.replace("retry: 3000", "retry: 50"));
    let tab = Tab::open(&proxy.url("/"));
    tab.run("var events = listen('/events/live')");
    tab.wait_for("events.source.readyState == 1");
    drop(server);
    if kind.away.starts_with("503") {
        tab.wait_for("events.source.readyState == 2");
        return;
    }
    tab.wait_for("events.seen.filter(([name]) => name == 'error').length >= 4");
    let server = serve_at(address, streams, &silent());
    eventually("it has come back", || {
        publish(&server, "live", "back");
        if tab.run("events.data().length") == 0 { Err("nothing yet".to_owned()) } else { Ok(()) }
    });
}

macro_rules! through {
    ($($name:ident: $kind:expr,)*) => {$(
        mod $name {
            use super::*;

            #[test]
            fn events_arrive_at_once() {
                super::events_arrive_at_once(&$kind);
            }

            #[test]
            fn a_client_that_comes_back_has_missed_nothing() {
                super::a_client_that_comes_back_has_missed_nothing(&$kind);
            }

            #[test]
            fn a_client_that_leaves_is_noticed() {
                super::a_client_that_leaves_is_noticed(&$kind);
            }

            #[test]
            fn an_end_by_the_server_reaches_the_client() {
                super::an_end_by_the_server_reaches_the_client(&$kind);
            }

            #[test]
            fn a_server_that_was_away_is_reached_again() {
                super::a_server_that_was_away_is_reached_again(&$kind);
            }

            #[test]
            fn a_page_survives_a_restart_unless_it_is_told_503() {
                super::a_page_survives_a_restart_unless_it_is_told_503(&$kind);
            }

            #[test]
            fn a_client_that_does_not_read_is_waited_for() {
                super::a_client_that_does_not_read_is_waited_for(&$kind);
            }
        }
    )*};
}

through! {
    haproxy: HAPROXY,
    caddy: CADDY,
    lighttpd: LIGHTTPD,
    varnish: VARNISH,
    apache: APACHE,
}
