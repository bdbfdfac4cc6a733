//! A stream has its position before its first event, so a client that is cut off until then misses nothing,
//! or gets a gap.

use super::{Tab, app};
use crate::support::{Running, eventually, ms, serve_with};
use crate::wire::Wire;
use mio_sse::{Config, Context, Error, Event, History, Ids, Position, Reply, Router, TopicConfig};
use serde_json::{Value, json};
use std::sync::{Arc, Mutex};

const TOPIC: &str = "news";

/// The `Last-Event-ID` of each request for `/events`.
type Asked = Arc<Mutex<Vec<Option<String>>>>;

/// A way in which a topic has ids.
#[derive(Debug, Clone, Copy)]
struct Kind {
    ids: Ids,
    history: bool,
    /// Whether an event was published before the page connects.
    earlier: bool,
}

const KINDS: [Kind; 6] = [
    Kind { ids: Ids::Generated, history: true, earlier: false },
    Kind { ids: Ids::Generated, history: true, earlier: true },
    // Without an event there is no id of the application.
    Kind { ids: Ids::Own, history: true, earlier: true },
    Kind { ids: Ids::Own, history: false, earlier: true },
    Kind { ids: Ids::Ordered, history: true, earlier: true },
    Kind { ids: Ids::Ordered, history: false, earlier: true },
];

impl Kind {
    fn topic(self) -> TopicConfig {
        let topic = TopicConfig::default().ids(self.ids);
        if self.history { topic.history(History::new().events(100)) } else { topic }
    }

    fn publish(self, cx: &mut Context<'_>, number: u64, data: &'static str) -> Result<(), Error> {
        match self.ids {
            Ids::Generated => cx.publish(TOPIC, Event::new().data(data)),
            Ids::Own => cx.publish(TOPIC, Event::new().data(data).id(data)),
            Ids::Ordered => cx.publish_at(TOPIC, Position::new(number, 0), Event::new().data(data)),
        }
    }

    /// Names that a page sees if it misses events that were dropped.
    fn expected(self) -> Value {
        match self.history {
            true => json!([["message", "meanwhile"], ["message", "afterwards"]]),
            false => json!([["gap", ""], ["message", "afterwards"]]),
        }
    }
}

fn news() -> (Router, Asked) {
    let asked = Asked::default();
    let log = asked.clone();
    let mut app = app();
    app.get("/events", move |request, _cx| {
        log.lock().unwrap().push(request.last_event_id().map(|id| id.into_owned()));
        Reply::stream().topic(TOPIC).tag("all").retry(ms(50))
    });
    (app, asked)
}

/// Only the beginning of a stream changes its client's position: there are no heartbeats.
fn serve_news(kind: Kind) -> (Running, Asked) {
    let (app, asked) = news();
    let mut config = Config::default();
    config.heartbeat = None;
    config.topic = kind.topic();
    let server = serve_with(app, config);
    if kind.earlier {
        server.publisher.run(move |cx| kind.publish(cx, 1, "earlier")).unwrap();
    }
    (server, asked)
}

/// Opens a stream and waits until the first bytes of its body have arrived: its position.
fn listens(tab: &Tab) {
    tab.run("var events = listen('/events', 'gap')");
    eventually("the stream says something", || {
        let asked = tab.events("Network.requestWillBeSent");
        let stream = asked.iter().find(|request| request["type"] == "EventSource");
        let stream = stream.map(|request| &request["requestId"]);
        let received = tab.events("Network.dataReceived");
        let said = received.iter().any(|data| Some(&data["requestId"]) == stream);
        if said { Ok(()) } else { Err(format!("{stream:?} {received:?}")) }
    });
    tab.wait_for("events.source.readyState == 1");
}

/// Checks the events published while the page was away, or a gap, then later ones, and the position that it
/// sent.
fn missed_nothing(tab: &Tab, server: &Running, kind: Kind, asked: &Asked) {
    tab.wait_for("events.seen.filter(([name]) => name == 'open').length == 2");
    server.publisher.run(move |cx| kind.publish(cx, 3, "afterwards")).unwrap();
    tab.wait_for("events.data().includes('afterwards')");
    let seen = tab.run("events.seen.filter((entry) => entry.length > 2).map(([name, data]) => [name, data])");
    let asked = asked.lock().unwrap();
    assert_eq!(seen, kind.expected(), "{kind:?} {asked:?}");
    assert_eq!(asked[0], None);
    assert!(asked.len() > 1 && asked[1..].iter().all(Option::is_some), "{asked:?}");
}

#[test]
fn a_page_whose_stream_is_closed_before_its_first_event_misses_nothing() {
    for kind in KINDS {
        let (server, asked) = serve_news(kind);
        let tab = Tab::open(&server.url("/"));
        listens(&tab);
        // In one callback, so that the client cannot reconnect before the event is published.
        let end_and_publish = move |cx: &mut Context<'_>| {
            assert_eq!(cx.close_tagged("all"), 1);
            kind.publish(cx, 2, "meanwhile")
        };
        server.publisher.run(end_and_publish).unwrap();
        missed_nothing(&tab, &server, kind, &asked);
    }
}

#[test]
fn a_page_whose_connection_is_reset_before_its_first_event_misses_nothing() {
    for kind in KINDS {
        let (server, asked) = serve_news(kind);
        let wire = Wire::to(server.address);
        let tab = Tab::open(&wire.url("/"));
        listens(&tab);
        wire.cut();
        tab.wait_for("events.seen.some(([name]) => name == 'error')");
        server.wait_for("its end is noticed", |stats| stats.streams == 0);
        server.publisher.run(move |cx| kind.publish(cx, 2, "meanwhile")).unwrap();
        wire.mend();
        missed_nothing(&tab, &server, kind, &asked);
    }
}
