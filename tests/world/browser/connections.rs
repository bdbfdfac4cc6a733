//! The number of streams that a browser opens, in one tab and in two.

use super::{Tab, app};
use crate::support::serve;
use mio_sse::{Event, Reply};

#[test]
fn two_tabs_see_the_same() {
    let mut app = app();
    app.get("/events", |_request, _cx| Reply::stream().topic("news"));
    let server = serve(app);
    let first = Tab::open(&server.url("/"));
    let second = first.another(&server.url("/"));
    for tab in [&first, &second] {
        tab.run("var events = listen('/events')");
        tab.wait_for("events.source.readyState == 1");
    }
    server.publisher.publish("news", Event::new().data("for both")).unwrap();
    for tab in [&first, &second] {
        tab.wait_for("events.data().join() == 'for both'");
    }
    drop(first);
    server.publisher.publish("news", Event::new().data("for one")).unwrap();
    second.wait_for("events.data().join() == 'for both,for one'");
}

/// The README warns of this limit: six connections to a host over HTTP/1.1, over all tabs.
#[test]
fn the_seventh_stream_waits_until_one_of_the_six_is_closed() {
    let mut app = app();
    app.get("/events", |_request, _cx| Reply::stream().topic("news"));
    let server = serve(app);
    let first = Tab::open(&server.url("/"));
    let second = first.another(&server.url("/"));
    first.run("var all = Array.from({ length: 4 }, () => listen('/events'))");
    first.wait_for("all.every(({ source }) => source.readyState == 1)");
    second.run("var all = Array.from({ length: 2 }, () => listen('/events'))");
    second.wait_for("all.every(({ source }) => source.readyState == 1)");
    second.run("var seventh = listen('/events')");
    for count in 1..=20 {
        server.publisher.publish("news", Event::new().data("tick")).unwrap();
        for tab in [&first, &second] {
            tab.wait_for(&format!("all.every((events) => events.data().length == {count})"));
        }
    }
    assert_eq!((server.stats().streams, second.run("seventh.source.readyState")), (6, 0.into()));
    first.run("all[0].source.close()");
    second.wait_for("seventh.source.readyState == 1");
    server.publisher.publish("news", Event::new().data("tick")).unwrap();
    second.wait_for("seventh.data().length == 1");
}
