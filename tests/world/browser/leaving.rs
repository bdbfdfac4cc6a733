//! A page that leaves is noticed at once.

use super::{Tab, app};
use crate::support::{Running, now, serve};
use mio_sse::{CloseReason, Event, Reply};
use std::time::Duration;

fn open(streams: u64) -> (Running, Tab) {
    let mut app = app();
    app.get("/events", |_request, _cx| Reply::stream().topic("news"));
    let server = serve(app);
    let tab = Tab::open(&server.url("/"));
    tab.run(&format!("var all = Array.from({{ length: {streams} }}, () => listen('/events'))"));
    tab.wait_for("all.every(({ source }) => source.readyState == 1)");
    assert_eq!(server.stats().streams, streams);
    (server, tab)
}

fn leaves(server: &Running, streams: u64, leave: impl FnOnce()) {
    let begin = now();
    leave();
    let stats = server.wait_for("the streams end", |stats| stats.streams == 0);
    assert!(begin.elapsed() < Duration::from_secs(1), "{:?}", begin.elapsed());
    let closed = stats.closed(CloseReason::PeerClosed) + stats.closed(CloseReason::Reset);
    assert_eq!(closed, streams, "{stats:?}");
}

#[test]
fn close_is_noticed_within_a_second() {
    let (server, tab) = open(1);
    leaves(&server, 1, || drop(tab.run("all[0].source.close()")));
}

#[test]
fn a_closed_tab_is_noticed_within_a_second() {
    let (server, tab) = open(3);
    leaves(&server, 3, || drop(tab));
}

/// Like the page of `time_ticker`, and as every page should: see the next test.
#[test]
fn a_page_that_closes_its_streams_on_pagehide_is_noticed_within_a_second() {
    let (server, tab) = open(2);
    tab.run("onpagehide = () => all.forEach(({ source }) => source.close())");
    leaves(&server, 2, || tab.go(&server.url("/?another")));
}

/// Chromium keeps a page for the Back button after it was left, including its streams. A page that does not
/// close them holds them for minutes, or until half a megabyte has arrived. The README says how to avoid
/// that.
#[test]
fn a_page_that_does_not_close_its_streams_takes_them_along() {
    let (server, tab) = open(2);
    tab.go(&server.url("/?another"));
    server.publisher.publish("news", Event::new().data("nobody looks")).unwrap();
    server.wait_for("it is sent", |stats| stats.events_delivered == 2);
    assert_eq!(server.stats().streams, 2);
    tab.run("setTimeout(() => history.back())");
    tab.wait_for("typeof all == 'object' && all.every((events) => events.data().join() == 'nobody looks')");
    assert_eq!(server.stats().streams_opened, 2);
}
