//! A page sees exactly the events that were sent.

use super::{Tab, app};
use crate::payloads::{self, END, megabyte};
use crate::support::{serve, serve_with};
use mio_sse::{Config, Event, Reply};
use serde_json::{Value, json};
use std::sync::mpsc;

#[test]
fn a_stream_opens_and_events_arrive_under_their_names_with_their_ids() {
    let mut app = app();
    app.sse("/events", |stream, _request, cx| {
        cx.send(stream, Event::new().data("one"))?;
        cx.send(stream, Event::new().data("two").event("named").id("7"))?;
        cx.send(stream, Event::new().data("unheard").event("other").id("8"))?;
        cx.send(stream, Event::new().data("three"))
    });
    let server = serve(app);
    let tab = Tab::open(&server.url("/"));
    tab.run("var events = listen('/events', 'named')");
    tab.wait_for("events.seen.length == 4");
    let expected =
        json!([["open"], ["message", "one", ""], ["named", "two", "7"], ["message", "three", "8"]]);
    assert_eq!(tab.run("events.seen"), expected);
    assert_eq!(tab.run("events.source.readyState"), 1);
    assert_eq!(tab.errors(), [""; 0]);
}

#[test]
fn any_text_arrives_as_it_was_sent_also_a_megabyte() {
    let mut app = app();
    app.sse("/events", |stream, _request, cx| payloads::send(stream, cx));
    let mut config = Config::default();
    config.lag_bytes_max = 4 << 20;
    let server = serve_with(app, config);
    let tab = Tab::open(&server.url("/"));
    tab.run(&format!("var events = listen('/events', 'named', '{END}')"));
    tab.wait_for(&format!("events.seen.some(([name]) => name == '{END}')"));
    let Value::Array(seen) = tab.run("events.seen") else { panic!("a list") };
    let expected = payloads::expected();
    assert_eq!(seen[0], json!(["open"]));
    for (seen, expected) in seen[1..].iter().zip(&expected) {
        // A megabyte would be unreadable in a message.
        let name = expected.data.chars().take(80).collect::<String>();
        assert!(
            *seen == json!([expected.event, expected.data, expected.id]),
            "{name:?} {}",
            &seen.to_string()[..100.min(seen.to_string().len())]
        );
    }
    assert_eq!(seen.len(), expected.len() + 1);
}

#[test]
fn a_megabyte_that_is_published_arrives_in_every_page() {
    let mut app = app();
    app.get("/events", |_request, _cx| Reply::stream().topic("news"));
    app.get("/expected", |_request, _cx| Reply::text(megabyte()));
    let server = serve(app);
    let tabs = [(); 2].map(|()| Tab::open(&server.url("/")));
    for tab in &tabs {
        tab.run("var expected = await (await fetch('/expected')).text(), events = listen('/events')");
        tab.wait_for("events.source.readyState == 1");
    }
    server.publisher.publish("news", Event::new().data(megabyte())).unwrap();
    for tab in &tabs {
        tab.wait_for("events.data().length == 1");
        assert_eq!(tab.run("events.data()[0] == expected"), true);
    }
}

#[test]
fn ten_thousand_events_at_once_arrive_in_order() {
    let mut app = app();
    app.get("/events", |_request, _cx| Reply::stream().topic("news"));
    let server = serve(app);
    let tab = Tab::open(&server.url("/"));
    tab.run("var events = listen('/events')");
    tab.wait_for("events.source.readyState == 1");
    let (sender, receiver) = mpsc::channel();
    // In one callback, so that all of them exist before the first is sent.
    let burst = move |cx: &mut mio_sse::Context<'_>| {
        for count in 0..10_000 {
            cx.publish("news", Event::new().data(format!("event {count}")).id(count.to_string()))?;
        }
        sender.send(()).unwrap();
        Ok::<_, mio_sse::Error>(())
    };
    server.publisher.run(burst).unwrap();
    receiver.recv().unwrap();
    tab.wait_for("events.seen.length == 10001");
    let wrong = tab
        .run("events.seen.slice(1).findIndex(([, data, id], at) => data != `event ${at}` || id != `${at}`)");
    assert_eq!(wrong, -1);
}
