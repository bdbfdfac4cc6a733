//! The example `mcp`, with requests written by hand. `tests/world` uses the official client.

use crate::examples::Example;
use crate::support::{Client, DEADLINE, Head, now};
use eventsource_stream::Event;
use serde_json::{Value, json};

fn parse(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("JSON, not {text:?}: {error}"))
}

/// A client of one server, and its session.
struct Session<'a> {
    example: &'a Example,
    id: String,
}

/// Sends a request for `/mcp`. `headers` are whole lines.
fn send(example: &Example, method: &str, headers: &str, body: &str) -> Client {
    let mut client = example.connect();
    let (host, length) = (example.address, body.len());
    client.write(format!(
        "{method} /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    ));
    client
}

fn ask(example: &Example, method: &str, headers: &str, body: &str) -> (Head, String) {
    send(example, method, headers, body).reply()
}

fn request(id: u64, method: &str, params: &Value) -> String {
    json!({ "jsonrpc": "2.0", "id": id, "method": method, "params": params }).to_string()
}

fn initialize(version: &str) -> String {
    let about = json!({ "name": "test", "version": "1" });
    let params = json!({ "protocolVersion": version, "capabilities": {}, "clientInfo": about });
    request(0, "initialize", &params)
}

impl<'a> Session<'a> {
    fn begin(example: &'a Example) -> Self {
        let (head, _) = ask(example, "POST", "", &initialize("2025-11-25"));
        assert_eq!(head.status, 200);
        Self { example, id: head.get("Mcp-Session-Id").expect("a session").to_owned() }
    }

    fn send(&self, method: &str, headers: &str, body: &str) -> Client {
        let headers = format!("Mcp-Session-Id: {}\r\n{headers}", self.id);
        send(self.example, method, &headers, body)
    }

    fn ask(&self, method: &str, headers: &str, body: &str) -> (Head, String) {
        self.send(method, headers, body).reply()
    }

    /// The reply to a request without a stream.
    fn call(&self, method: &str, params: &Value) -> Value {
        let (head, reply) = self.ask("POST", "", &request(1, method, params));
        assert_eq!((head.status, head.get("Content-Type")), (200, Some("application/json")), "{reply}");
        let reply = parse(&reply);
        assert_eq!((&reply["jsonrpc"], &reply["id"]), (&json!("2.0"), &json!(1)));
        reply
    }

    fn tools(&self) -> Vec<String> {
        let list = self.call("tools/list", &json!({}));
        let tools = list["result"]["tools"].as_array().unwrap();
        assert!(tools.iter().all(|tool| tool["inputSchema"]["type"] == "object"), "{list}");
        tools.iter().map(|tool| tool["name"].as_str().unwrap().to_owned()).collect()
    }

    /// The stream of a call.
    fn count(&self, id: u64, to: u64, token: Option<&str>) -> Client {
        let mut params = json!({ "name": "count", "arguments": { "to": to } });
        if let Some(token) = token {
            params["_meta"] = json!({ "progressToken": token });
        }
        let mut client = self.send("POST", "", &request(id, "tools/call", &params));
        let head = client.head();
        assert_eq!((head.status, head.get("Content-Type")), (200, Some("text/event-stream")));
        client
    }

    /// The stream that resumes after an id.
    fn resume(&self, id: &str) -> Client {
        self.send("GET", &format!("Last-Event-ID: {id}\r\n"), "")
    }
}

/// The messages of streams as a client sees them, without events that have no data.
fn messages(events: &[Event]) -> Vec<Value> {
    events.iter().filter(|event| !event.data.is_empty()).map(|event| parse(&event.data)).collect()
}

#[test]
fn a_session_begins_with_a_version_that_both_know() {
    let example = Example::start("mcp");
    for (asked, agreed) in
        [("2025-11-25", "2025-11-25"), ("2025-06-18", "2025-06-18"), ("2024-01-01", "2025-11-25")]
    {
        let (head, reply) = ask(&example, "POST", "", &initialize(asked));
        assert_eq!((head.status, head.get("Content-Type")), (200, Some("application/json")));
        let id = head.get("Mcp-Session-Id").unwrap();
        assert!(id.len() == 32 && id.bytes().all(|byte| byte.is_ascii_alphanumeric()), "{id}");
        let reply = parse(&reply);
        assert_eq!((&reply["id"], &reply["result"]["protocolVersion"]), (&json!(0), &json!(agreed)));
        assert_eq!(reply["result"]["capabilities"]["tools"]["listChanged"], true);
        assert_eq!(reply["result"]["serverInfo"]["name"], "mio-sse");
    }
}

#[test]
fn tools_that_need_no_time_reply_at_once() {
    let example = Example::start("mcp");
    let session = Session::begin(&example);
    assert_eq!(session.tools(), ["add", "count", "turn_on"]);
    assert_eq!(session.call("ping", &Value::Null)["result"], json!({}));
    let add = |arguments: Value| {
        let reply = session.call("tools/call", &json!({ "name": "add", "arguments": arguments }));
        let result = reply["result"].clone();
        (result["content"][0]["text"].as_str().unwrap().to_owned(), result["isError"] == true)
    };
    assert_eq!(add(json!({ "a": 1, "b": 2.5 })), ("3.5".to_owned(), false));
    assert!(
        add(json!({ "a": 1 })).1 && add(json!(null)).1,
        "what a tool does not understand is its own error"
    );
    for to in [json!(0), json!(1001), json!("x"), json!(null)] {
        let reply = session.call("tools/call", &json!({ "name": "count", "arguments": { "to": to } }));
        assert_eq!(reply["result"]["isError"], true, "{to}");
    }
    // Unknown methods.
    for (method, name) in
        [("tools/call", "turn_off"), ("tools/call", "x"), ("x", "add"), ("server/discover", "")]
    {
        let reply = session.call(method, &json!({ "name": name }));
        assert_eq!((&reply["error"]["code"], &reply["result"]), (&json!(-32601), &Value::Null), "{method}");
    }
}

#[test]
fn notifications_and_responses_are_accepted_without_a_body() {
    let example = Example::start("mcp");
    let session = Session::begin(&example);
    for body in [
        r#"{"jsonrpc":"2.0","method":"notifications/initialized"}"#,
        r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":99}}"#,
        r#"{"jsonrpc":"2.0","id":7,"result":{}}"#,
        r#"{"jsonrpc":"2.0","id":7,"error":{"code":1,"message":"no"}}"#,
    ] {
        let (head, reply) = session.ask("POST", "", body);
        assert_eq!((head.status, &*reply), (202, ""), "{body}");
    }
}

#[test]
fn an_invalid_message_is_refused() {
    let example = Example::start("mcp");
    let session = Session::begin(&example);
    let status = |method: &str, headers: &str, body: &str| {
        let (head, reply) = ask(&example, method, headers, body);
        let is_error = head.status == 200 || parse(&reply)["error"]["message"].is_string();
        assert!(is_error, "{reply}");
        head.status
    };
    let ping = request(1, "ping", &Value::Null);
    let known = format!("Mcp-Session-Id: {}\r\n", session.id);
    assert_eq!(status("POST", &known, &ping), 200);
    for (method, body) in [("POST", &*ping), ("GET", ""), ("DELETE", "")] {
        assert_eq!(status(method, "", body), 400, "{method} without a session");
        assert_eq!(status(method, "Mcp-Session-Id: 0123\r\n", body), 404, "{method} of another session");
    }
    // The last ones are batches, which an earlier protocol had.
    for body in ["", "{", "7", "{}", "[]", &format!("[{ping}]"), &format!("[{ping},{ping}]")] {
        assert_eq!(status("POST", &known, body), 400, "{body}");
    }
    for method in ["PUT", "PATCH"] {
        let (head, _) = ask(&example, method, &known, "");
        let allow = head.get("Allow").unwrap();
        assert!(["GET", "POST", "DELETE"].iter().all(|method| allow.contains(method)), "{allow}");
        assert_eq!(head.status, 405, "{method}");
    }
    let mut client = example.connect();
    client.write("GET / HTTP/1.1\r\nHost: localhost\r\n\r\n");
    assert_eq!(client.head().status, 404);
    for (version, expected) in [("2025-11-25", 200), ("2025-06-18", 200), ("2026-07-28", 400), ("x", 400)] {
        let headers = format!("{known}MCP-Protocol-Version: {version}\r\n");
        assert_eq!(status("POST", &headers, &ping), expected, "{version}");
    }
}

/// A page whose name was rebound to this server sends its own name as host.
#[test]
fn pages_of_other_sites_are_refused() {
    let example = Example::start("mcp");
    let here = format!("http://{}", example.address);
    for (origin, expected) in [
        (&*here, 200),
        ("http://localhost:6274", 200),
        ("https://localhost", 200),
        ("http://[::1]:6274", 200),
        ("http://evil.example", 403),
        ("http://localhost.evil.example", 403),
        ("http://127.0.0.1.evil.example:8080", 403),
        ("http://evil.example:127", 403),
        ("null", 403),
        ("localhost", 403),
    ] {
        let headers = format!("Origin: {origin}\r\n");
        assert_eq!(ask(&example, "POST", &headers, &initialize("")).0.status, expected, "{origin}");
    }
    for (host, expected) in [("localhost:8080", 200), ("[::1]", 200), ("evil.example:8080", 403)] {
        let mut client = example.connect();
        let (body, length) = (initialize(""), initialize("").len());
        client.write(format!("POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Length: {length}\r\n\r\n{body}"));
        assert_eq!(client.reply().0.status, expected, "{host}");
    }
}

#[test]
fn a_call_that_was_cut_off_resumes_after_the_last_event_seen() {
    let example = Example::start("mcp");
    let (session, other) = (Session::begin(&example), Session::begin(&example));
    let mut cut = session.count(5, 6, Some("t"));
    let seen = cut.events(3);
    assert!(seen[0].data.is_empty() && !seen[0].id.is_empty(), "the first event only says where it begins");
    cut.reset();
    // The call continues while its client is disconnected, and so does another one.
    let mut short = other.count(5, 2, Some("u"));
    assert_eq!(messages(&short.events_to_end()).len(), 3);

    let mut back = session.resume(&seen[2].id);
    assert_eq!(back.head().status, 200);
    let rest = back.events_to_end();
    let all = [messages(&seen), messages(&rest)].concat();
    let (last, progress) = all.split_last().unwrap();
    for (message, number) in progress.iter().zip(1..) {
        let params = json!({ "progressToken": "t", "progress": number, "total": 6 });
        assert_eq!((&message["method"], &message["params"]), (&json!("notifications/progress"), &params));
    }
    assert_eq!(progress.len(), 6);
    assert_eq!((&last["id"], &last["result"]["isError"]), (&json!(5), &json!(false)));
    assert_eq!(last["result"]["content"][0]["text"], "counted to 6");

    // From the beginning once more; after the end there is nothing.
    let mut again = session.resume(&seen[0].id);
    assert_eq!(again.head().status, 200);
    assert_eq!(messages(&again.events_to_end()), all);
    assert_eq!(session.resume(&rest.last().unwrap().id).head().status, 204);
    // Other sessions cannot have it, and an unknown stream is refused.
    assert_eq!(other.resume(&seen[2].id).head().status, 400);
    for id in ["99-1", "x", "-", "2-0"] {
        assert_eq!(session.resume(id).head().status, 400, "{id:?}");
    }
    // A position in its stream that was never given is a gap.
    let mut odd = session.resume("1-99");
    assert_eq!(odd.head().status, 200);
    let mut events = odd.events_to_end();
    assert_eq!(events.remove(0).event, "gap");
    assert_eq!(messages(&events), all);
}

#[test]
fn a_call_without_a_progress_token_only_has_a_result() {
    let example = Example::start("mcp");
    let session = Session::begin(&example);
    let said = messages(&session.count(3, 2, None).events_to_end());
    assert_eq!(said.len(), 1, "{said:?}");
    assert_eq!(said[0]["result"]["content"][0]["text"], "counted to 2");
}

#[test]
fn a_call_that_is_cancelled_ends_without_a_result() {
    let example = Example::start("mcp");
    let session = Session::begin(&example);
    let (mut cancelled, mut other) = (session.count(3, 1000, Some("t")), session.count(4, 4, Some("u")));
    cancelled.events(2);
    let body = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":3}}"#;
    assert_eq!(session.ask("POST", "", body).0.status, 202);
    let said = messages(&cancelled.events_to_end());
    assert!(said.iter().all(|message| message["method"] == "notifications/progress"), "{said:?}");
    assert_eq!(messages(&other.events_to_end()).len(), 5);
}

#[test]
fn a_session_that_is_ended_has_no_streams_and_is_unknown() {
    let example = Example::start("mcp");
    let (session, other) = (Session::begin(&example), Session::begin(&example));
    let mut news = session.send("GET", "", "");
    assert_eq!(news.head().status, 200);
    let mut call = session.count(3, 1000, None);
    call.events(1);
    assert_eq!(session.ask("DELETE", "", "").0.status, 204);
    assert!(messages(&news.events_to_end()).is_empty());
    assert!(messages(&call.events_to_end()).is_empty());
    for method in ["GET", "DELETE"] {
        assert_eq!(session.ask(method, "", "").0.status, 404);
    }
    assert_eq!(session.ask("POST", "", &request(1, "ping", &Value::Null)).0.status, 404);
    assert_eq!(other.tools().len(), 3);
}

#[test]
fn all_sessions_learn_that_the_tools_have_changed() {
    let example = Example::start("mcp");
    let (session, other) = (Session::begin(&example), Session::begin(&example));
    let mut streams = [session.send("GET", "", ""), other.send("GET", "", "")];
    let mut ids = Vec::new();
    for stream in &mut streams {
        assert_eq!(stream.head().status, 200);
        ids.push(stream.events(1).remove(0).id);
    }
    let switch = |name: &str| {
        session.call("tools/call", &json!({ "name": name, "arguments": {} }))["result"].is_object()
    };
    assert!(switch("turn_on") && !switch("turn_on"));
    for stream in &mut streams {
        let said = messages(&stream.events(2));
        assert_eq!(said[0]["method"], "notifications/tools/list_changed");
    }
    assert_eq!(other.tools()[2], "turn_off");

    // A client that reconnects replaces the stream that it has lost unnoticed.
    assert!(switch("turn_off"));
    let mut back = session.resume(&ids[0]);
    assert_eq!(back.head().status, 200);
    back.wait_for_body("news-2");
    assert_eq!(messages(&back.events(3)).len(), 2, "its missed messages, once");
    assert_eq!(messages(&streams[0].events_to_end()).len(), 2);
    assert!(switch("turn_on"));
    back.wait_for_body("news-3");
    streams[1].wait_for_body("news-3");
}

#[test]
fn calls_and_sessions_are_limited() {
    let example = Example::start("mcp");
    let session = Session::begin(&example);
    let mut running: Vec<_> = (0..64).map(|id| session.count(id, 1000, None)).collect();
    let count = || session.call("tools/call", &json!({ "name": "count", "arguments": { "to": 1 } }));
    let refused = count();
    assert_eq!(refused["result"]["isError"], true, "{refused}");
    let body = r#"{"jsonrpc":"2.0","method":"notifications/cancelled","params":{"requestId":9}}"#;
    assert_eq!(session.ask("POST", "", body).0.status, 202);
    running.remove(9).events_to_end();
    // Its thread ends at about the same time.
    let deadline = now() + DEADLINE;
    let params = json!({ "name": "count", "arguments": { "to": 1 } });
    while session.send("POST", "", &request(1, "tools/call", &params)).head().get("Content-Type")
        != Some("text/event-stream")
    {
        assert!(now() < deadline, "there is room for another call");
    }

    let mut client = example.connect();
    let (body, host) = (initialize(""), example.address);
    let text = format!("POST /mcp HTTP/1.1\r\nHost: {host}\r\nContent-Length: {}\r\n\r\n{body}", body.len());
    for _ in 1..1000 {
        client.write(&text);
        assert_eq!(client.reply().0.status, 200);
    }
    let (head, reply) = ask(&example, "POST", "", &body);
    assert_eq!((head.status, parse(&reply)["error"]["code"].as_i64()), (503, Some(-32000)));
    assert_eq!(session.ask("DELETE", "", "").0.status, 204);
    assert_eq!(ask(&example, "POST", "", &body).0.status, 200);
}

#[test]
fn of_many_calls_those_are_forgotten_first_that_have_ended() {
    let example = Example::start("mcp");
    let session = Session::begin(&example);
    let mut long = session.count(0, 1000, Some("t"));
    let first = long.events(1).remove(0).id;
    // With the hundred and second call, the oldest can no longer be resumed.
    for _ in 0..3 {
        let calls: Vec<_> = (1..=34).map(|id| session.count(id, 1, None)).collect();
        for mut call in calls {
            assert_eq!(messages(&call.events_to_end()).len(), 1);
        }
    }
    let status = |id: &str| session.resume(id).head().status;
    assert_eq!((status("2-0"), status("4-0"), status("5-0"), status("103-0")), (400, 400, 200, 200));
    long.events(4);
    assert_eq!(status(&first), 200, "the one that runs is still there");
}
