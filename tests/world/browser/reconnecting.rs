//! How EventSource reconnects, and how a server stops it.

use super::{Tab, app};
use crate::support::{ms, now, serve, serve_with};
use mio_sse::{CloseReason, Config, Event, History, Ids, Refusal, Reply, TopicConfig};
use serde_json::json;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

/// Events that are published while the client is away are not lost, doubled or reordered, with ids of the
/// library or of the application.
#[test]
fn a_page_that_reconnects_gets_all_missed_events_once_and_in_order() {
    for own_ids in [false, true] {
        let asked = Arc::new(Mutex::new(Vec::new()));
        let mut app = app();
        let log = asked.clone();
        app.get("/events", move |request, _cx| {
            log.lock().unwrap().push(request.last_event_id().map(|id| id.into_owned()));
            Reply::stream().topic("news").tag("all").retry(ms(50))
        });
        let mut config = Config::default();
        let ids = if own_ids { Ids::Own } else { Ids::Generated };
        config.topic = TopicConfig::default().history(History::new().events(1000)).ids(ids);
        let server = serve_with(app, config);
        let tab = Tab::open(&server.url("/"));
        tab.run("var events = listen('/events', 'gap')");
        tab.wait_for("events.source.readyState == 1");

        let mut count = 0;
        let mut publish = |events: usize| {
            for _ in 0..events {
                let event = Event::new().data(count.to_string());
                let event = if own_ids { event.id(format!("Nr. é {count}")) } else { event };
                server.publisher.publish("news", event).unwrap();
                count += 1;
            }
            count
        };
        for round in 0..5 {
            let so_far = publish(3);
            tab.wait_for(&format!("events.data().length == {so_far}"));
            server.publisher.close_tagged("all").unwrap();
            server.wait_for("the stream ends", |stats| stats.closed(CloseReason::Application) == round + 1);
            let so_far = publish(4);
            tab.wait_for(&format!("events.data().length == {so_far}"));
        }
        let expected: Vec<_> = (0..count).map(|count| count.to_string()).collect();
        assert_eq!(tab.run("events.data()"), json!(expected));

        // Each time it sends the last id it has seen.
        let asked = asked.lock().unwrap();
        assert_eq!((asked.len(), &asked[0]), (6, &None));
        let ids = tab.run("events.seen.filter(([name]) => name == 'message').map(([, , id]) => id)");
        for (round, id) in asked[1..].iter().enumerate() {
            assert_eq!(ids[round * 7 + 2], **id.as_ref().unwrap(), "round {round} of {ids}");
        }
    }
}

/// Measured by the server: from the close of the stream until the next request. `retry` is in the reply, or
/// in an event.
#[test]
fn the_time_to_come_back_is_heeded() {
    type Times = Arc<Mutex<Vec<(Instant, Option<Instant>)>>>;
    let times = Times::default();
    let log = times.clone();
    let mut app = app();
    app.sse("/events", move |stream, _request, cx| {
        let mut times = log.lock().unwrap();
        times.push((now(), None));
        let retry = [ms(1100), ms(150), ms(700)].get(times.len() - 1).copied();
        let event = Event::new().data(times.len().to_string());
        cx.send(stream, if let Some(retry) = retry { event.retry(retry) } else { event })?;
        if retry.is_some() {
            times.last_mut().unwrap().1 = Some(now());
            cx.close(stream)?;
        }
        Ok::<_, mio_sse::Error>(())
    });
    let server = serve(app);
    let tab = Tab::open(&server.url("/"));
    tab.run("var events = listen('/events')");
    tab.wait_for("events.data().length == 4");
    let times = times.lock().unwrap();
    for (pair, retry) in times.windows(2).zip([ms(1100), ms(150), ms(700)]) {
        let waited = pair[1].0 - pair[0].1.unwrap();
        // Upwards less than Chromium's own three seconds, to tell the two apart.
        assert!(waited >= retry && waited < retry + ms(1800), "{waited:?} for {retry:?}");
    }
}

#[test]
fn no_content_stops_reconnecting() {
    let asked = Arc::new(Mutex::new(0));
    let log = asked.clone();
    let mut app = app();
    app.get("/events", move |_request, cx| {
        let mut asked = log.lock().unwrap();
        *asked += 1;
        let stream = cx.stream();
        match (*asked, stream) {
            (1, Some(stream)) => {
                cx.send(stream, Event::new().data("only").retry(ms(1)))?;
                cx.close(stream)?;
                Ok::<_, mio_sse::Error>(Reply::stream().into())
            }
            _ => Ok(Reply::no_content()),
        }
    });
    app.sse("/clock", |stream, _request, cx| {
        cx.send(stream, Event::new().data("tick").retry(ms(50)))?;
        cx.close(stream)
    });
    let server = serve(app);
    let tab = Tab::open(&server.url("/"));
    tab.run("var events = listen('/events')");
    tab.wait_for("events.source.readyState == EventSource.CLOSED");
    let seen = json!([["open"], ["message", "only", ""], ["error", 0], ["error", 2]]);
    assert_eq!(tab.run("events.seen"), seen);
    // Another stream reconnects ten times, with a longer delay, and this one not once.
    tab.run("var clock = listen('/clock')");
    tab.wait_for("clock.data().length >= 10");
    assert_eq!(*asked.lock().unwrap(), 2);
    assert_eq!(tab.run("events.seen"), seen);
}

#[test]
fn a_revoked_page_does_not_come_back() {
    let mut app = app();
    app.get("/events", |_request, _cx| Reply::stream().tag("user").topic("news").retry(ms(1)));
    let server = serve(app);
    let tab = Tab::open(&server.url("/"));
    tab.run("var events = listen('/events')");
    tab.wait_for("events.source.readyState == EventSource.OPEN");
    server.publisher.revoke("user", Duration::from_secs(60)).unwrap();
    tab.wait_for("events.source.readyState == EventSource.CLOSED");
    assert_eq!(server.stats().refused(Refusal::Revoked), 1);
}

#[test]
fn a_page_that_is_refused_softly_gets_its_stream_later() {
    let mut app = app();
    app.sse("/events", |stream, _request, cx| cx.send(stream, Event::new().data("welcome")));
    let mut config = Config::default();
    config.streams_max = 1;
    config.refuse_retry = ms(50);
    let server = serve_with(app, config);
    let first = Tab::open(&server.url("/"));
    first.run("var events = listen('/events')");
    first.wait_for("events.data().length == 1");
    let second = first.another(&server.url("/"));
    second.run("var events = listen('/events')");
    server.wait_for("three refusals", |stats| stats.refused(Refusal::Streams) >= 3);
    assert_eq!(second.run("events.data().length"), 0);
    assert_eq!(second.run("events.source.readyState == EventSource.CLOSED"), false);
    first.run("events.source.close()");
    second.wait_for("events.data().length == 1");
    assert_eq!(second.run("events.source.readyState"), 1);
}

/// The clients of a server reconnect after it has restarted on the same port.
#[test]
fn a_page_survives_a_drain_and_a_new_server() {
    let app = || {
        let mut app = app();
        app.get("/events", |_request, _cx| Reply::stream().topic("news").retry(ms(100)));
        app
    };
    let server = serve(app());
    let address = server.address;
    let tab = Tab::open(&server.url("/"));
    tab.run("var events = listen('/events')");
    tab.wait_for("events.source.readyState == 1");
    server.publisher.drain(mio_sse::Drain::within(ms(100)).retry(ms(100))).unwrap();
    tab.wait_for("events.source.readyState == 0");
    drop(server);
    let stopped = Arc::new(AtomicBool::new(false));
    let again = crate::support::eventually("the port is free again", || {
        mio_sse::Server::bind(address, app()).map_err(|error| error.to_string())
    });
    let mut again = again;
    let publisher = again.publisher();
    let flag = stopped.clone();
    let thread = std::thread::spawn(move || {
        again.run().unwrap();
        flag.store(true, Ordering::Release);
    });
    tab.wait_for("events.source.readyState == 1");
    publisher.publish("news", Event::new().data("back")).unwrap();
    tab.wait_for("events.data().length == 1");
    publisher.run(|cx| cx.stop()).unwrap();
    thread.join().unwrap();
    assert!(stopped.load(Ordering::Acquire));
}
