//! Clients that come and go a hundred times leave nothing behind.

use super::{Tab, app};
use crate::support::{Example, eventually, ms, serve};
use mio_sse::{CloseReason, Event};

const TIMES: u64 = 100;

/// Allowed growth of a process, in KiB, for memory that it allocates once.
const GROWTH_MAX: u64 = 2048;

/// Uses an example until its memory has settled, then a hundred times, and compares.
fn nothing_stays(example: &Example, mut once: impl FnMut(&Tab), path: &str) {
    let before = example.descriptors();
    let mut resident = 0;
    for times in [5, TIMES] {
        let tab = Tab::open(&example.url(path));
        for _ in 0..times {
            once(&tab);
        }
        drop(tab);
        eventually("descriptors are closed", || match example.descriptors() {
            now if now == before => Ok(()),
            now => Err(format!("{now} descriptors, {before} before")),
        });
        let grown = example.resident().saturating_sub(resident);
        assert!(times == 5 || grown < GROWTH_MAX, "{grown} KiB more");
        resident = example.resident();
    }
}

#[test]
fn a_hundred_streams_that_the_page_closes() {
    let hub = Example::start("hub");
    let once = |tab: &Tab| {
        let script = "await new Promise((done, failed) => {
            const source = new EventSource('/events/news');
            source.onopen = () => { source.close(); done(); };
            source.onerror = failed;
        })";
        tab.run(script);
    };
    nothing_stays(&hub, once, "/stats");
    let tab = Tab::open(&hub.url("/stats"));
    let stats = tab.run("JSON.parse(document.body.innerText)");
    assert_eq!((&stats["streams"], &stats["streams_opened"]), (&0.into(), &(TIMES + 5).into()), "{stats}");
    assert_eq!((&stats["topics"], &stats["log_bytes"]), (&0.into(), &0.into()), "{stats}");
}

#[test]
fn a_hundred_reloads_of_a_page_with_a_stream() {
    let ticker = Example::start("time_ticker");
    let once = |tab: &Tab| {
        tab.run("window.old = true");
        tab.call("Page.reload", &serde_json::json!({}));
        tab.wait_for("!window.old && document.readyState == 'complete' && document.getElementById('time-count').textContent >= 1");
    };
    nothing_stays(&ticker, once, "/");
}

#[test]
fn a_hundred_streams_that_the_server_ends() {
    let mut app = app();
    app.sse("/events", |stream, _request, cx| {
        cx.send(stream, Event::new().data("hello").retry(ms(1)))?;
        cx.subscribe(stream, "news")?;
        cx.tag(stream, "all")?;
        cx.on_close(stream, |_reason, _cx| {})?;
        cx.after(stream, ms(60_000), |_stream, _cx| {})?;
        cx.close(stream)
    });
    let server = serve(app);
    let tab = Tab::open(&server.url("/"));
    tab.run("var events = listen('/events')");
    tab.wait_for(&format!("events.data().length >= {TIMES}"));
    tab.run("events.source.close()");
    drop(tab);
    let stats = server.wait_for("all have left", |stats| stats.connections == 0);
    assert_eq!((stats.streams, stats.topics, stats.tags, stats.timers, stats.log_bytes), (0, 0, 0, 0, 0));
    assert!(stats.streams_opened >= TIMES && stats.closed(CloseReason::Application) == stats.streams_opened);
    // The connection is used again.
    assert!(stats.accepted < 10, "{stats:?}");
}
