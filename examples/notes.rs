//! Notes for each user, on all of their devices at once: `cargo run --release --example notes`, then open the
//! address it prints in several tabs. This is a demo without passwords: a name is enough to log in.
//!
//! ```text
//! curl -c jar -d name=ada http://127.0.0.1:8080/login
//! curl -b jar -N http://127.0.0.1:8080/notes/stream
//! curl -b jar --json '{"text":"hello"}' http://127.0.0.1:8080/notes
//! curl -b jar -X DELETE http://127.0.0.1:8080/notes/1
//! curl -b jar -X POST http://127.0.0.1:8080/logout
//! ```
//!
//! A stream begins with the present notes, then the changes follow. A stream that was cut off resumes.
//!
//! `PORT` in the environment chooses the port, `RUST_LOG` what is logged.

mod common;

use mio_sse::{Config, Context, Cookie, Event, History, Reply, Request, Router, TopicConfig};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::process::ExitCode;
use std::time::Duration;

const NAME_CHARS_MAX: usize = 40;
const TEXT_BYTES_MAX: usize = 4 << 10;
const NOTES_PER_USER_MAX: usize = 200;

/// For this long a client that missed the end of its session gets 204.
const REVOKED: Duration = Duration::from_secs(3600);

/// State that all requests share. The loop runs one callback at a time, so it needs no lock and no cell.
#[derive(Default)]
struct Notes {
    /// The user of each session. It is kept in memory and for ever: a real application lets sessions expire,
    /// and asks for a password.
    sessions: HashMap<String, String>,
    /// Ids of each user's notes. The user's topic keeps their text; a real application has it in a database,
    /// and publishes after each commit.
    notes: HashMap<String, BTreeSet<u64>>,
    last_id: u64,
}

/// The body of a POST.
#[derive(Deserialize)]
struct Draft {
    text: String,
}

#[derive(Serialize)]
struct Note {
    id: u64,
    text: String,
    /// Unix time in milliseconds, for `new Date(…)`.
    created: i64,
}

fn app() -> Router<Notes> {
    let mut app = Router::with_state(Notes::default());
    common::page(&mut app, include_str!("notes.html"));
    app.post("/login", log_in).post("/logout", log_out);
    app.get("/notes/stream", stream).post("/notes", add).route("DELETE", "/notes/{id}", delete);
    app
}

/// The user and session of a request, or the reply to a client that is not logged in.
fn user<'r>(request: &Request<'r>, cx: &Context<'_, Notes>) -> Result<(&'r str, String), Reply> {
    let session = request.cookie("session").unwrap_or_default();
    let user = cx.state.sessions.get(session).cloned();
    // There is no registered scheme for cookies. Browsers ignore a scheme that they do not know.
    user.map(|user| (session, user)).ok_or_else(|| Reply::unauthorized("Cookie realm=\"notes\""))
}

/// The topic of a user's notes, which all of their devices read.
fn topic(user: &str) -> String {
    format!("notes of {user}")
}

/// Tag of a session's streams, which are those of one browser.
fn tag(session: &str) -> String {
    format!("session {session}")
}

fn log_in(request: &Request<'_>, cx: &mut Context<'_, Notes>) -> Reply {
    let name = request.form("name").unwrap_or_default().trim().to_owned();
    if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.contains(char::is_control) {
        return Reply::text(format!("a name has up to {NAME_CHARS_MAX} letters\n")).with_status(400);
    }
    // The id of a session is all that is needed to be that user: 128 bits from the operating system, not from
    // another source of random numbers.
    let mut id = [0; 16];
    getrandom::fill(&mut id).expect("the operating system has random bytes");
    let session = format!("{:032x}", u128::from_ne_bytes(id));
    cx.state.sessions.insert(session.clone(), name);
    // The cookie is `HttpOnly; SameSite=Lax`: scripts cannot read it, and a POST from another site does not
    // carry it. With TLS, add `.secure()`.
    Reply::redirect("/").cookie(Cookie::new("session", session))
}

/// The topic is keyed by note, so its snapshot is the present notes, and a client that reconnects gets what
/// it has missed. The user's name is newer, so it follows.
fn stream(request: &Request<'_>, cx: &mut Context<'_, Notes>) -> Result<Reply, Reply> {
    let session = request.cookie("session").unwrap_or_default();
    if cx.is_revoked(&tag(session)) {
        // EventSource stops on 401 too. 204 tells other clients as well that this is not an error.
        return Ok(Reply::no_content());
    }
    let (session, user) = user(request, cx)?;
    if let Some(stream) = cx.stream() {
        cx.send(stream, Event::new().event("user").data(&user))?;
    }
    Ok(Reply::stream().topic(topic(&user)).snapshot().tag(tag(session)).into())
}

fn log_out(request: &Request<'_>, cx: &mut Context<'_, Notes>) -> Result<Reply, Reply> {
    let (session, _) = user(request, cx)?;
    cx.state.sessions.remove(session);
    // The tabs of this browser get an event, and their streams close. The user's other devices notice
    // nothing.
    cx.send_tagged(&tag(session), Event::new().event("logged-out").data(""))?;
    cx.revoke(&tag(session), REVOKED);
    Ok(Reply::no_content().cookie(Cookie::removal("session")))
}

fn add(request: &Request<'_>, cx: &mut Context<'_, Notes>) -> Result<Reply, Reply> {
    let (_, user) = user(request, cx)?;
    // A form on another site can post text, but not this content type without a CORS preflight. This is the
    // second protection, besides SameSite.
    if !request.header("Content-Type").is_some_and(|kind| kind.starts_with("application/json")) {
        return Err(problem(415, "a note is posted as application/json"));
    }
    // With the feature `json` this is `request.json()`; below, there are `Event::json` and `Reply::json`.
    let draft =
        serde_json::from_slice::<Draft>(request.body()).map_err(|error| problem(400, &error.to_string()))?;
    let text = draft.text.trim().to_owned();
    if text.is_empty() || text.len() > TEXT_BYTES_MAX {
        return Err(problem(400, &format!("a note has from 1 to {TEXT_BYTES_MAX} bytes")));
    }
    if cx.state.notes.get(&user).is_some_and(|notes| notes.len() >= NOTES_PER_USER_MAX) {
        return Err(problem(409, &format!("{NOTES_PER_USER_MAX} notes are enough: delete one first")));
    }
    let id = cx.state.last_id + 1;
    let json = serde_json::to_string(&Note { id, text, created: jiff::Timestamp::now().as_millisecond() })?;
    cx.publish(&topic(&user), Event::new().event("note").data(&json).key(id.to_string()))?;
    cx.state.notes.entry(user).or_default().insert(id);
    cx.state.last_id = id;
    Ok(Reply::json_text(json).with_status(201))
}

fn delete(request: &Request<'_>, cx: &mut Context<'_, Notes>) -> Result<Reply, Reply> {
    let (_, user) = user(request, cx)?;
    let id = request.param("id").unwrap_or_default();
    let notes = cx.state.notes.entry(user.clone()).or_default();
    // A note of another user is treated as missing.
    if !id.parse().is_ok_and(|id| notes.remove(&id)) {
        return Err(Reply::not_found());
    }
    cx.publish(&topic(&user), Event::removal(id).event("deleted").data(id))?;
    Ok(Reply::no_content())
}

fn problem(status: u16, error: &str) -> Reply {
    Reply::json_text(serde_json::json!({ "error": error }).to_string()).with_status(status)
}

fn main() -> ExitCode {
    let mut config = Config::default();
    config.topic = TopicConfig::default().history(History::new()).keyed();
    common::run_with("notes", app(), config)
}
