//! A shopping list that grows in every tab as people add to it, with htmx and its SSE extension: `cargo run
//! --release --example htmx`, then open the address it prints in several tabs.
//!
//! The server sends HTML, and attributes of the page say where it goes. The page needs no script:
//!
//! | event | what the page does with it |
//! |---|---|
//! | `item` | puts it on top of the list: `sse-swap="item" hx-swap="afterbegin"` |
//! | `bought-<id>` | removes the item that waits for it: `sse-swap="bought-7" hx-swap="delete"` |
//! | `counters` | replaces two elements elsewhere, by their ids: `hx-swap-oob="true"` |
//! | `gap` | empties the list; all items follow |
//!
//! `PORT` in the environment chooses the port, `RUST_LOG` what is logged.

mod common;

use mio_sse::{Config, Context, Error, Event, History, Reply, Request, Router, StreamReply, TopicConfig};
use std::collections::BTreeSet;
use std::process::ExitCode;

const TEXT_CHARS_MAX: usize = 80;
const ITEMS_MAX: usize = 100;

#[derive(Default)]
struct List {
    /// Ids of the items. The topic keeps their text.
    items: BTreeSet<u64>,
    last_id: u64,
    /// Number of open streams.
    people: usize,
}

fn app() -> Router<List> {
    let mut app = Router::with_state(List::default());
    common::page(&mut app, include_str!("htmx.html"));
    let (htmx, sse) = (include_bytes!("htmx/htmx-2.0.11.min.js"), include_bytes!("htmx/sse-2.2.4.min.js"));
    common::asset(&mut app, "/htmx-2.0.11.js", "text/javascript", htmx);
    common::asset(&mut app, "/sse-2.2.4.js", "text/javascript", sse);
    app.get("/list", stream).post("/items", add).route("DELETE", "/items/{id}", remove);
    app
}

/// The topic is keyed by item, so a stream begins with the present items. A page that reconnects gets the
/// events that it has missed.
fn stream(request: &Request<'_>, cx: &mut Context<'_, List>) -> StreamReply {
    cx.on_open(|stream, cx| {
        cx.state.people += 1;
        cx.on_close(stream, |_reason, cx| {
            cx.state.people -= 1;
            publish_counters(cx)
        })?;
        publish_counters(cx)
    });
    let stream = Reply::stream().topic("list").snapshot();
    match request.last_event_id() {
        Some(_) => stream,
        // After an error page of a proxy, the extension opens a new EventSource without Last-Event-ID, though
        // the page has items already.
        None => stream.first(Event::new().event("gap").data("")),
    }
}

fn add(request: &Request<'_>, cx: &mut Context<'_, List>) -> Result<(), Reply> {
    let text = request.form("text").unwrap_or_default();
    let text = text.trim();
    if text.is_empty() || text.chars().count() > TEXT_CHARS_MAX || cx.state.items.len() >= ITEMS_MAX {
        return Err(Reply::status(422));
    }
    let (id, text) = (cx.state.last_id + 1, common::escape(text));
    let html = format!(
        r#"<li sse-swap="bought-{id}" hx-swap="delete"><span>{text}</span>
           <button hx-delete="/items/{id}" hx-swap="none" aria-label="Bought: {text}">Bought</button></li>"#
    );
    cx.publish("list", Event::new().event("item").data(html).key(id.to_string()))?;
    cx.state.items.insert(id);
    cx.state.last_id = id;
    Ok(publish_counters(cx)?)
}

fn remove(request: &Request<'_>, cx: &mut Context<'_, List>) -> Result<(), Error> {
    let id = request.param("id").unwrap_or_default();
    // Another tab may have removed it first.
    if id.parse().is_ok_and(|id| cx.state.items.remove(&id)) {
        cx.publish("list", Event::removal(id).event(format!("bought-{id}")))?;
        publish_counters(cx)?;
    }
    Ok(())
}

fn publish_counters(cx: &mut Context<'_, List>) -> Result<(), Error> {
    let (items, people) = (cx.state.items.len(), cx.state.people);
    let html = format!(
        r#"<span id="items" hx-swap-oob="true">{items}</span><span id="people" hx-swap-oob="true">{people}</span>"#
    );
    cx.publish("list", Event::new().event("counters").data(html).key("counters"))
}

fn main() -> ExitCode {
    let mut config = Config::default();
    config.topic = TopicConfig::default().history(History::new()).keyed();
    common::run_with("htmx", app(), config)
}
