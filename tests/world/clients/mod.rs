//! Independent clients read events that are easy to get wrong, and reconnect. If a client deviates from the
//! standard, its test says how, and fails once it no longer does.

pub(crate) mod fetched;
mod heartbeat_event;
mod mcp;
mod nothing_empty;
mod openai;
mod rust;
pub(crate) mod script;

use crate::payloads::{self, END, Seen};
use crate::support::{Running, ms, serve_with, tied};
use fetched::{node, python};
use mio_sse::{Config, Error, Event, Router};
use serde_json::Value;
use std::process::Stdio;
use std::sync::{Arc, Mutex};

/// Number of times that a client is disconnected while it reads from `/counts`.
const ENDS: u32 = 3;
/// Number of events that it gets each time.
const EVENTS: u32 = 4;

/// The `Last-Event-ID` of each request for `/counts`.
type Asked = Arc<Mutex<Vec<Option<String>>>>;

/// `/payloads`, for one connection, and `/counts`, for several.
fn server() -> (Running, Asked) {
    let asked = Asked::default();
    let log = asked.clone();
    let mut app = Router::new();
    app.sse("/payloads", |stream, _request, cx| payloads::send(stream, cx));
    app.sse("/counts", move |stream, request, cx| {
        let id = request.last_event_id();
        let seen: u32 = id.as_deref().map_or(0, |id| id.trim_start_matches("n-").parse().unwrap());
        log.lock().unwrap().push(id.map(|id| id.into_owned()));
        cx.send(stream, Event::new().retry(ms(20)))?;
        for count in seen + 1..=seen + EVENTS {
            cx.send(stream, Event::new().data(count.to_string()).id(format!("n-{count}")))?;
        }
        if seen / EVENTS == ENDS {
            cx.send(stream, Event::new().data("").event(END))?;
        }
        cx.close(stream)?;
        Ok::<_, Error>(())
    });
    let mut config = Config::default();
    config.lag_bytes_max = 4 << 20;
    (serve_with(app, config), asked)
}

/// The report of a script. It has a minute.
fn reported(script: &[String]) -> Vec<Seen> {
    let output = tied("timeout").arg("60").args(script).stderr(Stdio::inherit()).output().unwrap();
    assert!(output.status.success(), "{script:?}: {}", output.status);
    let output = String::from_utf8(output.stdout).unwrap();
    let seen = output.lines().map(|line| {
        let value: Value = serde_json::from_str(line).unwrap_or_else(|error| panic!("{error}: {line:?}"));
        let text = |name: &str| value[name].as_str().unwrap_or_else(|| panic!("{name} in {line}")).to_owned();
        Seen { event: text("event"), data: text("data"), id: text("id") }
    });
    seen.collect()
}

fn assert_seen(seen: &[Seen], expected: &[Seen]) {
    for (at, (seen, expected)) in seen.iter().zip(expected).enumerate() {
        // A megabyte would be unreadable in a message.
        let short = |text: &Seen| text.data.chars().take(60).collect::<String>();
        assert!(
            seen == expected,
            "{at}: {:?} {:?} {:?}, not {:?} {:?} {:?}",
            seen.event,
            short(seen),
            seen.id,
            expected.event,
            short(expected),
            expected.id
        );
    }
    assert_eq!(seen.len(), expected.len());
}

/// Whether `/counts` was read without a hole, and requested correctly.
fn assert_counts(seen: &[Seen], asked: &Asked) {
    let data: Vec<_> = seen.iter().filter(|seen| seen.event == "message").map(|seen| &*seen.data).collect();
    let expected: Vec<_> = (1..=(ENDS + 1) * EVENTS).map(|count| count.to_string()).collect();
    assert_eq!(data, expected);
    let ids: Vec<_> = (0..=ENDS).map(|visit| (visit > 0).then(|| format!("n-{}", visit * EVENTS))).collect();
    assert_eq!(*asked.lock().unwrap(), ids);
}

/// Events as seen by clients for which an event without an id has none, where the standard gives it the last
/// one. The id to resume with is still known from other events.
fn expected_without_last_ids() -> Vec<Seen> {
    let seen = |sent: payloads::Sent| Some(Seen { id: sent.new_id.unwrap_or_default(), ..sent.seen? });
    payloads::all().into_iter().filter_map(seen).collect()
}

/// It deviates: `lastEventId` is the event's own id.
#[test]
fn npm_eventsource_reads_everything() {
    let (server, _) = server();
    let script = node("read_eventsource.mjs", &[&server.url("/payloads"), "named", END]);
    assert_seen(&reported(&script), &expected_without_last_ids());
}

#[test]
fn npm_eventsource_reconnects() {
    let (server, asked) = server();
    assert_counts(&reported(&node("read_eventsource.mjs", &[&server.url("/counts"), END])), &asked);
}

#[test]
fn httpx_sse_reads_everything() {
    let (server, _) = server();
    let script = python("read_httpx.py", &[&server.url("/payloads"), END]);
    assert_seen(&reported(&script), &payloads::expected());
}

#[test]
fn httpx_sse_reconnects() {
    let (server, asked) = server();
    assert_counts(&reported(&python("read_httpx.py", &[&server.url("/counts"), END])), &asked);
}

/// It deviates: `id` is the event's own id.
#[test]
fn sseclient_py_reads_everything() {
    let (server, _) = server();
    let script = python("read_sseclient.py", &[&server.url("/payloads"), END]);
    assert_seen(&reported(&script), &expected_without_last_ids());
}

#[test]
fn sseclient_py_reconnects() {
    let (server, asked) = server();
    assert_counts(&reported(&python("read_sseclient.py", &[&server.url("/counts"), END])), &asked);
}
