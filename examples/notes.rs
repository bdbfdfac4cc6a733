//! Notes that everyone has for themselves, on all of their devices at once: `cargo run --release --example notes`, then open the address
//! it prints in several tabs. There is no password, as it is a demo: whoever says a name is that person.
//!
//! ```text
//! curl -c jar -d name=ada http://127.0.0.1:8080/login
//! curl -b jar -N http://127.0.0.1:8080/notes/stream
//! curl -b jar --json '{"text":"hello"}' http://127.0.0.1:8080/notes
//! curl -b jar -X DELETE http://127.0.0.1:8080/notes/1
//! curl -b jar -X POST http://127.0.0.1:8080/logout
//! ```
//!
//! A stream begins with the notes there are, then come the changes; one that was cut off goes on where it was.
//!
//! `PORT` in the environment chooses the port, `RUST_LOG` what is logged.

mod common;

use mio_sse::{
    Config, Context, Cookie, Error, Event, Handler, History, IntoReply, Reply, Request, Router, TopicConfig,
};
use serde::{Deserialize, Serialize};
use std::collections::{BTreeSet, HashMap};
use std::process::ExitCode;
use std::time::Duration;

const NAME_CHARS_MAX: usize = 40;
const TEXT_BYTES_MAX: usize = 4 << 10;
const NOTES_PER_USER_MAX: usize = 200;

/// How long a client that missed the end of its session is told not to come back.
const REVOKED: Duration = Duration::from_secs(3600);

/// A struct rather than a `Router` of closures: the loop asks for one thing at a time, with `&mut self`, so that what the
/// requests share needs no lock and no cell.
struct Notes {
    /// The user of each session. In memory and for ever: a real application lets them expire, and asks for a password.
    sessions: HashMap<String, String>,
    /// The ids of each user's notes. What the notes say is kept by the topic of the user; a real application has it in a
    /// database, and publishes what it has committed.
    notes: HashMap<String, BTreeSet<u64>>,
    last_id: u64,
    /// What is the same for everyone.
    pages: Router,
}

/// What a client posts.
#[derive(Deserialize)]
struct Draft {
    text: String,
}

#[derive(Serialize)]
struct Note {
    id: u64,
    text: String,
    /// Unix time in milliseconds, as `new Date(…)` wants it.
    created: i64,
}

impl Handler for Notes {
    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
        let (method, path) = (request.method(), request.path());
        match (method, path) {
            ("POST", "/login") => return self.log_in(request),
            (_, "/logout" | "/notes") => {}
            (_, path) if path.starts_with("/notes/") => {}
            _ => return self.pages.request(request, cx),
        }
        // All that follows is for those who are logged in.
        let session = request.cookie("session").unwrap_or_default();
        let Some(user) = self.sessions.get(session).cloned() else {
            // Either makes EventSource give up. 204 says to other clients, too, that this is no mistake but the end.
            let ended = path == "/notes/stream" && cx.is_revoked(&tag(session));
            return if ended { Reply::no_content() } else { unauthorized() };
        };
        match (method, path) {
            ("GET", "/notes/stream") => stream(session, &user, cx).into_reply(),
            ("POST", "/notes") => self.add(&user, request, cx).into_reply(),
            ("DELETE", path) => self.delete(&user, path, cx).into_reply(),
            ("POST", "/logout") => self.log_out(session, cx).into_reply(),
            _ => Reply::not_found(),
        }
    }
}

/// The topic in which a user's notes are, and all of their devices read.
fn topic(user: &str) -> String {
    format!("notes of {user}")
}

/// The tag of a session's streams: those of one browser.
fn tag(session: &str) -> String {
    format!("session {session}")
}

/// The topic is keyed by note, so its snapshot is the notes that there are; who comes back gets what it has missed. Whose notes
/// they are stands behind them: it is newer.
fn stream(session: &str, user: &str, cx: &mut Context<'_>) -> Result<Reply, Error> {
    if let Some(stream) = cx.stream() {
        cx.send(stream, Event::new().data(user.to_owned()).event("user"))?;
    }
    Ok(Reply::stream().topic(topic(user)).snapshot().tag(tag(session)).into())
}

impl Notes {
    fn log_in(&mut self, request: &Request<'_>) -> Reply {
        let name = request.form("name").unwrap_or_default().trim().to_owned();
        if name.is_empty() || name.chars().count() > NAME_CHARS_MAX || name.contains(char::is_control) {
            return Reply::text(format!("a name has up to {NAME_CHARS_MAX} letters\n")).with_status(400);
        }
        // Whoever guesses the id of a session has it: 128 bits, and from the operating system, not from any other dice.
        let mut id = [0; 16];
        getrandom::fill(&mut id).expect("the operating system has random bytes");
        let session = format!("{:032x}", u128::from_ne_bytes(id));
        self.sessions.insert(session.clone(), name);
        // The cookie is `HttpOnly; SameSite=Lax`: no script sees it, and no post from another site brings it along. Where
        // there is TLS in front, add `.secure()`.
        Reply::redirect("/").cookie(Cookie::new("session", session))
    }

    fn log_out(&mut self, session: &str, cx: &mut Context<'_>) -> Result<Reply, Error> {
        self.sessions.remove(session);
        // The tabs of this browser are told, and their streams end. The user's other devices notice nothing.
        cx.send_tagged(&tag(session), Event::new().data("").event("logged-out"))?;
        cx.revoke(&tag(session), REVOKED);
        Ok(Reply::no_content().cookie(Cookie::removal("session")))
    }

    fn add(&mut self, user: &str, request: &Request<'_>, cx: &mut Context<'_>) -> Result<Reply, Error> {
        // A form on another page can post text, but not this type without being asked for leave (CORS): the second lock
        // besides SameSite.
        if !request.header("Content-Type").is_some_and(|kind| kind.starts_with("application/json")) {
            return Ok(problem(415, "a note is posted as application/json"));
        }
        // With the feature `json` this is `request.json()`, and below there are `Event::json` and `Reply::json`.
        let text = match serde_json::from_slice::<Draft>(request.body()) {
            Ok(draft) => draft.text.trim().to_owned(),
            Err(error) => return Ok(problem(400, &error.to_string())),
        };
        if text.is_empty() || text.len() > TEXT_BYTES_MAX {
            return Ok(problem(400, &format!("a note has from 1 to {TEXT_BYTES_MAX} bytes")));
        }
        let notes = self.notes.entry(user.to_owned()).or_default();
        if notes.len() >= NOTES_PER_USER_MAX {
            return Ok(problem(409, &format!("{NOTES_PER_USER_MAX} notes are enough: delete one first")));
        }
        let id = self.last_id + 1;
        let note = Note { id, text, created: jiff::Timestamp::now().as_millisecond() };
        let json = serde_json::to_string(&note).expect("a note can be written as JSON");
        cx.publish(&topic(user), Event::new().data(json.clone()).event("note").key(id.to_string()))?;
        notes.insert(id);
        self.last_id = id;
        Ok(Reply::json_text(json).with_status(201))
    }

    fn delete(&mut self, user: &str, path: &str, cx: &mut Context<'_>) -> Result<Reply, Error> {
        let id = path.strip_prefix("/notes/").and_then(|id| id.parse().ok());
        // Another user's note is as good as none.
        let notes = self.notes.entry(user.to_owned()).or_default();
        let Some(id) = id.filter(|id| notes.contains(id)) else { return Ok(Reply::not_found()) };
        let gone = Event::new().data(id.to_string()).event("deleted").key(id.to_string()).removes_key();
        cx.publish(&topic(user), gone)?;
        notes.remove(&id);
        Ok(Reply::no_content())
    }
}

fn unauthorized() -> Reply {
    // There is no registered scheme for cookies; browsers leave one alone that they do not know.
    Reply::unauthorized("Cookie realm=\"notes\"")
}

fn problem(status: u16, error: &str) -> Reply {
    Reply::json_text(serde_json::json!({ "error": error }).to_string()).with_status(status)
}

fn main() -> ExitCode {
    let mut pages = Router::new();
    common::page(&mut pages, include_str!("notes.html"));
    let app = Notes { sessions: HashMap::new(), notes: HashMap::new(), last_id: 0, pages };

    let mut config = Config::default();
    config.topic = TopicConfig::default().history(History::new()).keyed();
    common::run_with("notes", app, config)
}
