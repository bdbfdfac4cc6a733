//! The browser behind the proxy.

use super::Nginx;
use crate::browser::{Tab, app};
use crate::support::{Running, eventually, ms, serve};
use mio_sse::{Event, History, Reply, Router, Server, TopicConfig};
use serde_json::json;
use std::net::SocketAddr;

pub(super) fn streams() -> Router {
    let mut app = app();
    app.get("/events/{topic}", |request, _cx| {
        Reply::stream().topic(request.param("topic").unwrap_or_default()).tag("all").retry(ms(50))
    });
    app.on_start(|cx| cx.configure("news", TopicConfig::default().history(History::new().events(100))));
    app
}

/// The page. Its certificate is not checked.
fn open(nginx: &Nginx) -> Tab {
    let tab = Tab::blank();
    tab.call("Security.setIgnoreCertificateErrors", &json!({ "ignore": true }));
    tab.go(&nginx.url(true, "/"));
    assert_eq!(tab.run("performance.getEntriesByType('navigation')[0].nextHopProtocol"), "h2");
    tab
}

fn wait_for_streams(server: &Running, streams: u64) {
    server.wait_for("so many streams", |stats| stats.streams == streams);
}

/// Six is the limit over HTTP/1.1: see `browser::connections`.
#[test]
fn forty_streams_are_open_at_once_and_each_is_closed_alone() {
    let server = serve(streams());
    let nginx = Nginx::before(server.address);
    let tab = open(&nginx);
    tab.run("var all = Array.from({ length: 40 }, () => listen('/events/live'))");
    tab.wait_for("all.every(({ source }) => source.readyState == 1)");
    wait_for_streams(&server, 40);
    server.publisher.publish("live", Event::new().data("for all")).unwrap();
    tab.wait_for("all.every((events) => events.data().join() == 'for all')");

    let begin = crate::support::now();
    tab.run("all[0].source.close()");
    wait_for_streams(&server, 39);
    assert!(begin.elapsed().as_secs() < 2, "{:?}", begin.elapsed());
    server.publisher.publish("live", Event::new().data("more")).unwrap();
    tab.wait_for("all.slice(1).every((events) => events.data().length == 2)");
    assert_eq!(tab.errors(), [""; 0]);
    drop(tab);
    wait_for_streams(&server, 0);
}

#[test]
fn a_page_that_reconnects_has_missed_nothing() {
    let server = serve(streams());
    let nginx = Nginx::before(server.address);
    let tab = open(&nginx);
    tab.run("var events = listen('/events/news', 'gap')");
    tab.wait_for("events.source.readyState == 1");
    for count in 0..30 {
        server.publisher.publish("news", Event::new().data(count.to_string())).unwrap();
        if count % 10 == 5 {
            tab.wait_for(&format!("events.data().length == {}", count + 1));
            server.publisher.close_tagged("all").unwrap();
        }
    }
    tab.wait_for("events.data().length == 30");
    let expected: Vec<_> = (0..30).map(|count| count.to_string()).collect();
    assert_eq!(tab.run("events.data()"), json!(expected));
    assert_eq!(server.stats().streams_opened, 4);
}

/// A server on an address that another one had.
fn serve_again(address: SocketAddr) -> (mio_sse::Publisher, std::thread::JoinHandle<()>) {
    let mut server = eventually("the port is free again", || {
        Server::bind(address, streams()).map_err(|error| error.to_string())
    });
    let publisher = server.publisher();
    (publisher, std::thread::spawn(move || server.run().unwrap()))
}

/// Without a server, a 502 would make every EventSource give up.
#[test]
fn a_page_survives_a_restart_of_the_server() {
    let server = serve(streams());
    let address = server.address;
    let sooner = |text: &str| super::nginx::replace(text, "retry: 3000", "retry: 50");
    let nginx = Nginx::with(address, sooner);
    let tab = open(&nginx);
    tab.run("var events = listen('/events/live')");
    tab.wait_for("events.source.readyState == 1");
    drop(server);
    // Some replies of nginx alone: each opens and ends.
    tab.wait_for("events.seen.filter(([name]) => name == 'open').length >= 4");
    let (publisher, thread) = serve_again(address);
    eventually("it has come back", || {
        publisher.publish("live", Event::new().data("back")).unwrap();
        if tab.run("events.data().length") == 0 { Err("nothing yet".to_owned()) } else { Ok(()) }
    });
    publisher.run(|cx| cx.stop()).unwrap();
    thread.join().unwrap();
}
