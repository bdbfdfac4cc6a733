//! A poll whose bars move in every tab, with datastar: `cargo run --release --example datastar`, then open
//! the address it prints in several tabs.
//!
//! One stream, opened by `data-init="@get('/poll')"`, sends both kinds of change:
//!
//! - `datastar-patch-elements`: the options, when one is added. The HTML is the whole list, and datastar
//!   changes the page where it differs.
//! - `datastar-patch-signals`: the votes, as numbers. The page computes bars and percentages.
//!
//! In the other direction, `@post` sends the page's signals as JSON, and the reply may be signals too.
//!
//! `PORT` in the environment chooses the port, `RUST_LOG` what is logged.

mod common;

use mio_sse::{Config, Context, Error, Event, History, Reply, Request, Router, StreamReply, TopicConfig};
use serde::Deserialize;
use serde_json::json;
use std::process::ExitCode;

const NAME_CHARS_MAX: usize = 40;
const OPTIONS_MAX: usize = 12;

struct Poll {
    options: Vec<String>,
    votes: Vec<u64>,
    /// Number of open streams.
    people: usize,
}

/// The signals that are read, of all that the page sends.
#[derive(Deserialize)]
struct Signals {
    draft: String,
}

fn app() -> Router<Poll> {
    let options = ["Ferry", "Night train", "Bicycle"].map(str::to_owned).to_vec();
    let mut app = Router::with_state(Poll { votes: vec![0; options.len()], options, people: 0 });
    common::page(&mut app, include_str!("datastar.html"));
    let datastar = include_bytes!("datastar/datastar-1.0.2.js");
    common::asset(&mut app, "/datastar-1.0.2.js", "text/javascript", datastar);
    app.get("/poll", stream).post("/options", add).post("/options/{option}/vote", vote);
    app.on_start(publish_options);
    app
}

/// A page needs only the newest event of each key, whether it is new or reconnects.
fn stream(_request: &Request<'_>, cx: &mut Context<'_, Poll>) -> StreamReply {
    cx.on_open(|stream, cx| {
        cx.state.people += 1;
        cx.on_close(stream, |_reason, cx| {
            cx.state.people -= 1;
            publish_signals(cx)
        })?;
        publish_signals(cx)
    });
    Reply::stream().topic("poll").snapshot()
}

fn add(request: &Request<'_>, cx: &mut Context<'_, Poll>) -> Result<Reply, Reply> {
    // With the feature `json` this is `request.json()`.
    let signals: Signals = serde_json::from_slice(request.body()).map_err(|_| Reply::status(400))?;
    let name = signals.draft.trim();
    let problem = match name.chars().count() {
        0 => "An option has a name.",
        length if length > NAME_CHARS_MAX => "That is too long.",
        _ if cx.state.options.iter().any(|option| option == name) => "There is such an option already.",
        _ if cx.state.options.len() >= OPTIONS_MAX => "There are enough options.",
        _ => {
            cx.state.options.push(name.to_owned());
            cx.state.votes.push(0);
            publish_options(cx)?;
            publish_signals(cx)?;
            return Ok(Reply::json_text(r#"{"draft":"","problem":""}"#));
        }
    };
    Ok(Reply::json_text(json!({ "problem": problem }).to_string()))
}

fn vote(request: &Request<'_>, cx: &mut Context<'_, Poll>) -> Result<(), Reply> {
    let option = request.param("option").and_then(|option| option.parse::<usize>().ok());
    let votes = option.and_then(|option| cx.state.votes.get_mut(option)).ok_or_else(Reply::not_found)?;
    *votes += 1;
    Ok(publish_signals(cx)?)
}

fn publish_options(cx: &mut Context<'_, Poll>) -> Result<(), Error> {
    let options = cx.state.options.iter().enumerate().map(|(option, name)| {
        // The HTML is one line, as each line of data would have to begin with `elements`.
        format!(
            concat!(
                r#"<li id="option-{0}"><button data-on:click="@post('/options/{0}/vote')">{1}</button>"#,
                r#"<span data-text="$votes[{0}] ?? 0"></span>"#,
                r#"<div class="bar"><div data-style:width="`${{100 * ($votes[{0}] ?? 0) / ($total || 1)}}%`"></div></div></li>"#,
            ),
            option,
            common::escape(name),
        )
    });
    let html = format!(r#"elements <ul id="options">{}</ul>"#, options.collect::<String>());
    cx.publish("poll", Event::new().event("datastar-patch-elements").data(html).key("options"))
}

fn publish_signals(cx: &mut Context<'_, Poll>) -> Result<(), Error> {
    let signals = json!({ "votes": cx.state.votes, "people": cx.state.people });
    let data = format!("signals {signals}");
    cx.publish("poll", Event::new().event("datastar-patch-signals").data(data).key("signals"))
}

fn main() -> ExitCode {
    let mut config = Config::default();
    config.topic = TopicConfig::default().history(History::new()).keyed();
    common::run_with("datastar", app(), config)
}
