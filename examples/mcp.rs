//! A server of the Model Context Protocol whose streams can be resumed: `cargo run --release --example mcp`,
//! then give `http://127.0.0.1:8080/mcp` to an MCP client, or
//!
//! ```text
//! curl -i 127.0.0.1:8080/mcp --json '{"jsonrpc":"2.0","id":1,"method":"initialize"}'   # says Mcp-Session-Id
//! curl -N 127.0.0.1:8080/mcp -H "Mcp-Session-Id: $ID" --json '{"jsonrpc":"2.0","id":2,"method":"tools/call",
//!     "params":{"name":"count","arguments":{"to":9},"_meta":{"progressToken":0}}}'
//! curl -N 127.0.0.1:8080/mcp -H "Mcp-Session-Id: $ID" -H 'Last-Event-ID: 1-4'
//! ```
//!
//! It speaks the transport "Streamable HTTP" of revision 2025-11-25. Revision 2026-07-28 has neither sessions
//! nor resume; clients that know both fall back to `initialize` here.
//!
//! A long call has a topic with a history, and continues without its client. A GET with `Last-Event-ID`
//! resumes the stream of the POST where it was cut off. Ids are `<call>-<number>`, so an id names its topic.
//!
//! `PORT` in the environment chooses the port, `RUST_LOG` what is logged.

mod common;

use mio_sse::{Config, Context, Event, History, Ids, Reply, Request, Router, TopicConfig};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// A client that asks for any other version is offered the first.
const VERSIONS: [&str; 2] = ["2025-11-25", "2025-06-18"];

/// Host names of this server. Requests for other names are refused, against DNS rebinding.
const HOSTS: [&str; 3] = ["127.0.0.1", "localhost", "[::1]"];

const SESSIONS_MAX: usize = 1000;
/// A session without a request for this long ends.
const SESSION_IDLE: Duration = Duration::from_secs(3600);
/// Most calls that run at the same time. Each has a thread, whether its client is connected or not.
const CALLS_MAX: usize = 64;
/// Most calls of one session that can be resumed. It is above `CALLS_MAX`, so some of them have ended.
const CALLS_KEPT: usize = 100;
/// How long a call is kept for a client that was cut off, and the delay before it reconnects.
const KEPT: Duration = Duration::from_secs(300);
const RETRY: Duration = Duration::from_millis(500);
const TICK: Duration = Duration::from_millis(250);
const COUNT_MAX: u64 = 1000;

/// Topic of the stream that concerns all clients.
const NEWS: &str = "news";

#[derive(Default)]
struct Mcp {
    sessions: HashMap<String, Session>,
    /// Number of calls that have had a stream.
    calls: u64,
    /// Each running call holds one clone.
    running: Arc<()>,
    /// Number of times that the lamp was switched.
    switched: u64,
}

struct Session {
    used: Duration,
    /// Calls with a stream. Removing a running call from here cancels it.
    calls: Vec<Call>,
}

struct Call {
    number: u64,
    request: Value,
    /// The call's thread holds a weak reference while it runs.
    wanted: Arc<()>,
}

/// A JSON-RPC message: a request, a notification (no id), or a response (no method).
#[derive(Deserialize)]
struct Message {
    #[serde(rename = "jsonrpc")]
    _version: String,
    id: Option<Value>,
    #[serde(default)]
    method: String,
    #[serde(default)]
    params: Value,
}

fn app() -> Router<Mcp> {
    let mut app = Router::with_state(Mcp::default());
    app.before(|request, cx| {
        let now = cx.now();
        cx.state.sessions.retain(|_, session| now - session.used < SESSION_IDLE);
        let origin = request.header("Origin").map(|origin| origin.split_once("://").unwrap_or_default().1);
        if !request.host().is_some_and(is_here) || !origin.is_none_or(is_here) {
            return Some(Reply::status(403));
        }
        let version = request.header("MCP-Protocol-Version");
        let is_unknown = version.is_some_and(|version| !VERSIONS.contains(&version));
        is_unknown.then(|| refusal(400, -32600, "this version of the protocol is not supported"))
    });
    app.post("/mcp", post).get("/mcp", listen).route("DELETE", "/mcp", |request, cx| {
        let id = session(request, cx)?;
        cx.state.sessions.remove(id);
        cx.close_tagged(id);
        Ok::<_, Reply>(Reply::no_content())
    });
    // A client that is cut off before the first news resumes with this id.
    app.on_start(|cx| cx.publish(NEWS, event(NEWS, 0, "").event("ping")));
    app
}

/// The session id of a request.
fn session<'r>(request: &Request<'r>, cx: &mut Context<'_, Mcp>) -> Result<&'r str, Reply> {
    let (id, now) = (request.header("Mcp-Session-Id"), cx.now());
    let id = id.ok_or_else(|| refusal(400, -32600, "the header Mcp-Session-Id is missing"))?;
    let session = cx.state.sessions.get_mut(id);
    session.ok_or_else(|| refusal(404, -32001, "there is no such session"))?.used = now;
    Ok(id)
}

/// Opens the news, or resumes the stream of a call.
fn listen(request: &Request<'_>, cx: &mut Context<'_, Mcp>) -> Result<Reply, Reply> {
    let session = session(request, cx)?;
    let last = request.last_event_id().unwrap_or(NEWS.into());
    let stream = last.rsplit_once('-').map_or(&*last, |(stream, _)| stream);
    let mut calls = cx.state.sessions[session].calls.iter();
    if stream != NEWS && !calls.any(|call| call.number.to_string() == stream) {
        return Err(refusal(400, -32600, "nothing is known of this stream"));
    }
    // Each stream has one reader. An older one is a connection that was cut off.
    let reader = format!("{session} {stream}");
    cx.close_tagged(&reader);
    let topic = if stream == NEWS { NEWS } else { &reader };
    Ok(Reply::stream().topic(topic).tag(session).tag(&reader).retry(RETRY).into())
}

fn initialize(message: &Message, cx: &mut Context<'_, Mcp>) -> Result<Reply, Reply> {
    if cx.state.sessions.len() >= SESSIONS_MAX {
        return Err(refusal(503, -32000, "there are too many sessions"));
    }
    // The id of a session is all that is needed to use it: 128 bits from the operating system, not from
    // another source of random numbers.
    let mut session = [0; 16];
    getrandom::fill(&mut session).expect("the operating system has random bytes");
    let session = format!("{:032x}", u128::from_ne_bytes(session));
    let used = cx.now();
    cx.state.sessions.insert(session.clone(), Session { used, calls: Vec::new() });
    let asked = &message.params["protocolVersion"];
    let about = json!({
        "protocolVersion": VERSIONS.iter().find(|version| asked == *version).unwrap_or(&VERSIONS[0]),
        "capabilities": { "tools": { "listChanged": true } },
        "serverInfo": { "name": "mio-sse", "version": env!("CARGO_PKG_VERSION") },
    });
    Ok(result(&message.id, &about).header("Mcp-Session-Id", &session))
}

fn post(request: &Request<'_>, cx: &mut Context<'_, Mcp>) -> Result<Reply, Reply> {
    let message = serde_json::from_slice::<Message>(request.body());
    let message = message.map_err(|error| refusal(400, -32700, &error.to_string()))?;
    if message.method == "initialize" {
        return initialize(&message, cx);
    }
    let session = session(request, cx)?;
    if message.method == "notifications/cancelled" {
        let calls = &mut cx.state.sessions.get_mut(session).expect("it was found").calls;
        calls.retain(|call| call.request != message.params["requestId"]);
    }
    if message.id.is_none() || message.method.is_empty() {
        return Ok(Reply::empty(202));
    }
    let (name, given) = (&message.params["name"], &message.params["arguments"]);
    // The tools that are possible change with the lamp, so the list of tools changes.
    let switch = if cx.state.switched.is_multiple_of(2) { "turn_on" } else { "turn_off" };
    let value = match (&*message.method, name.as_str().unwrap_or_default()) {
        ("ping", _) => json!({}),
        ("tools/list", _) => {
            json!({ "tools": [tool("add", &["a", "b"]), tool("count", &["to"]), tool(switch, &[])] })
        }
        ("tools/call", "add") => match (given["a"].as_f64(), given["b"].as_f64()) {
            (Some(a), Some(b)) => said(&(a + b).to_string(), false),
            _ => said("a and b are numbers", true),
        },
        ("tools/call", "count") => match given["to"].as_u64() {
            _ if Arc::strong_count(&cx.state.running) > CALLS_MAX => said("too many are counting", true),
            Some(to @ 1..=COUNT_MAX) => return count(session, &message, to, cx),
            _ => said(&format!("to is from 1 to {COUNT_MAX}"), true),
        },
        ("tools/call", name) if name == switch => {
            cx.state.switched += 1;
            let changed = rpc(json!({ "method": "notifications/tools/list_changed" }));
            cx.publish(NEWS, event(NEWS, cx.state.switched, &changed))?;
            said("done", false)
        }
        _ => {
            let error = json!({ "code": -32601, "message": "there is no such method or tool" });
            return Ok(Reply::json_text(rpc(json!({ "id": message.id, "error": error }))));
        }
    };
    Ok(result(&message.id, &value))
}

fn count(session: &str, message: &Message, to: u64, cx: &mut Context<'_, Mcp>) -> Result<Reply, Reply> {
    cx.state.calls += 1;
    let number = cx.state.calls;
    let (stream, topic) = (number.to_string(), format!("{session} {number}"));
    // This gives the stream an id at once, so that a client that is cut off early can resume.
    cx.publish(&topic, event(&stream, 0, "").event("ping"))?;
    let reply = Reply::stream().topic(&topic).tag(session).tag(&topic).retry(RETRY).finish();
    let (id, wanted) = (message.id.clone().unwrap_or_default(), Arc::new(()));
    let (asked, running) = (Arc::downgrade(&wanted), cx.state.running.clone());
    let calls = &mut cx.state.sessions.get_mut(session).expect("it was found").calls;
    let has_ended = |call: &Call| Arc::weak_count(&call.wanted) == 0;
    if let (CALLS_KEPT.., Some(ended)) = (calls.len(), calls.iter().position(has_ended)) {
        calls.remove(ended);
    }
    calls.push(Call { number, request: id.clone(), wanted });
    let (token, publisher) = (message.params["_meta"]["progressToken"].clone(), cx.publisher());
    thread::spawn(move || {
        let _running = running;
        for number in 1..=to {
            thread::sleep(TICK);
            if asked.strong_count() == 0 {
                return publisher.finish_topic(topic);
            }
            let params = json!({ "progressToken": token, "progress": number, "total": to });
            let progress = json!({ "method": "notifications/progress", "params": params });
            if !token.is_null() {
                publisher.publish(&topic, event(&stream, number, &rpc(progress)))?;
            }
        }
        let result = json!({ "id": id, "result": said(&format!("counted to {to}"), false) });
        publisher.publish(&topic, event(&stream, to + 1, &rpc(result)))?;
        publisher.finish_topic(topic)
    });
    Ok(reply.into())
}

fn event<'a>(stream: &str, number: u64, data: &'a str) -> Event<'a> {
    Event::new().data(data).id(format!("{stream}-{number}"))
}

fn tool(name: &str, arguments: &[&str]) -> Value {
    let types: Value = arguments.iter().map(|argument| (*argument, json!({ "type": "number" }))).collect();
    json!({ "name": name, "inputSchema": { "type": "object", "properties": types, "required": arguments } })
}

/// The result of a tool, or its error.
fn said(text: &str, is_error: bool) -> Value {
    json!({ "content": [{ "type": "text", "text": text }], "isError": is_error })
}

fn rpc(mut message: Value) -> String {
    message["jsonrpc"] = "2.0".into();
    message.to_string()
}

fn result(id: &Option<Value>, value: &Value) -> Reply {
    Reply::json_text(rpc(json!({ "id": id, "result": value })))
}

fn refusal(status: u16, code: i32, message: &str) -> Reply {
    let error = json!({ "code": code, "message": message });
    Reply::json_text(rpc(json!({ "id": null, "error": error }))).with_status(status)
}

fn is_here(authority: &str) -> bool {
    let port = HOSTS.iter().find_map(|host| authority.strip_prefix(host));
    port.is_some_and(|port| port.is_empty() || port.starts_with(':'))
}

fn main() -> ExitCode {
    let mut config = Config::default();
    config.topic = TopicConfig::default().history(History::new().age(KEPT)).ids(Ids::Own);
    // The official clients ignore an id without data. They do not parse named events as JSON.
    config.heartbeat_event = Some("ping".into());
    // Clients that only listen reconnect now and then, and their request keeps the session alive.
    config.max_age = Some(SESSION_IDLE / 2);
    common::run_with("mcp", app(), config)
}
