//! The examples that are whole applications, used as their pages use them.

use crate::examples::{Example, example, lines};
use crate::support::{Client, DEADLINE, Head, now};
use serde_json::Value;
use std::process::Stdio;

/// Sends a request with a body. `headers` are whole lines.
pub(crate) fn send(client: &mut Client, method: &str, path: &str, headers: &str, body: &str) {
    let length = body.len();
    client.write(format!(
        "{method} {path} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n{headers}\r\n{body}"
    ));
}

pub(crate) const JSON: &str = "Content-Type: application/json\r\n";

fn json(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("JSON, not {text:?}: {error}"))
}

mod notes {
    use super::*;

    fn ask(example: &Example, method: &str, path: &str, headers: &str, body: &str) -> (Head, String) {
        let mut client = example.connect();
        send(&mut client, method, path, headers, body);
        client.reply()
    }

    fn log_in_as(example: &Example, form: &str) -> Head {
        let headers = "Content-Type: application/x-www-form-urlencoded\r\n";
        ask(example, "POST", "/login", headers, form).0
    }

    /// Logs in. Returns the header line that identifies the session.
    fn log_in(example: &Example, name: &str) -> String {
        let head = log_in_as(example, &format!("name={name}"));
        assert_eq!((head.status, head.get("Location")), (303, Some("/")));
        let cookie = head.get("Set-Cookie").expect("a cookie");
        let (pair, attributes) = cookie.split_once("; ").unwrap();
        for attribute in ["HttpOnly", "SameSite=Lax", "Path=/"] {
            assert!(attributes.split("; ").any(|one| one == attribute), "{attribute}: {cookie}");
        }
        assert_eq!(pair.strip_prefix("session=").map(str::len), Some(32), "{cookie}");
        format!("Cookie: theme=dark; {pair}\r\n")
    }

    /// Adds a note. Returns its id.
    fn add(example: &Example, session: &str, text: &str) -> u64 {
        let body = serde_json::json!({ "text": text }).to_string();
        let (head, reply) = ask(example, "POST", "/notes", &format!("{session}{JSON}"), &body);
        assert_eq!(head.status, 201, "{reply}");
        let note = json(&reply);
        assert_eq!(note["text"], text.trim());
        note["id"].as_u64().unwrap()
    }

    fn delete(example: &Example, session: &str, id: u64) -> u16 {
        ask(example, "DELETE", &format!("/notes/{id}"), session, "").0.status
    }

    fn open(example: &Example, session: &str) -> Client {
        let mut client = example.connect();
        send(&mut client, "GET", "/notes/stream", session, "");
        assert_eq!(client.head().status, 200);
        client
    }

    /// The first `count` events: names, and the data that a page shows.
    fn shown(client: &mut Client, count: usize) -> Vec<String> {
        let events = client.events(count);
        assert_eq!(events.len(), count, "and no more: {events:?}");
        let show = |data: &str| match serde_json::from_str::<Value>(data) {
            Ok(Value::Object(note)) => note["text"].as_str().unwrap().to_owned(),
            _ => data.to_owned(),
        };
        events.iter().map(|event| format!("{} {}", event.event, show(&event.data))).collect()
    }

    #[test]
    fn without_a_session_there_is_nothing() {
        let example = Example::start("notes");
        let unknown = format!("Cookie: session={}\r\n", "0".repeat(32));
        for session in ["", &unknown, "Cookie: session=\r\n", "Cookie: session\r\n"] {
            for (method, path) in
                [("GET", "/notes/stream"), ("POST", "/notes"), ("DELETE", "/notes/1"), ("POST", "/logout")]
            {
                let (head, _) = ask(&example, method, path, &format!("{session}{JSON}"), r#"{"text":"x"}"#);
                assert_eq!(head.status, 401, "{method} {path} {session}");
                assert!(head.get("WWW-Authenticate").is_some() && head.get("Set-Cookie").is_none());
            }
        }
        let (head, page) = ask(&example, "GET", "/", "", "");
        assert_eq!((head.status, head.get("Content-Type")), (200, Some("text/html; charset=utf-8")));
        assert!(page.contains("action=\"/login\"") && !page.contains("innerHTML"));
        assert_eq!(ask(&example, "GET", "/style.css", "", "").0.status, 200);
        assert_eq!(ask(&example, "GET", "/other", "", "").0.status, 404);
    }

    #[test]
    fn a_login_takes_a_name() {
        let example = Example::start("notes");
        let long = format!("name={}", "ü".repeat(41));
        for form in ["", "name=", "name=+++", "nick=ada", "name=a%0Ab", "name=a%00", &long] {
            let head = log_in_as(&example, form);
            assert_eq!((head.status, head.get("Set-Cookie")), (400, None), "{form}");
        }
        let (head, _) = ask(&example, "POST", "/login", JSON, r#"{"name":"ada"}"#);
        assert_eq!(head.status, 400);
        let sessions = [log_in(&example, "ada"), log_in(&example, "ada"), log_in(&example, &"ü".repeat(40))];
        assert_ne!(sessions[0], sessions[1]);
        let ada = log_in(&example, "+Ada%20L.%3Cb%3E+");
        assert_eq!(shown(&mut open(&example, &ada), 1), ["user Ada L.<b>"]);
    }

    #[test]
    fn notes_come_on_all_streams_of_a_user_and_on_no_others() {
        let example = Example::start("notes");
        let (desk, phone, bob) = (log_in(&example, "ada"), log_in(&example, "ada"), log_in(&example, "bob"));
        // Two tabs of one browser, and another device.
        let mut adas = [open(&example, &desk), open(&example, &desk), open(&example, &phone)];
        let mut bobs = [open(&example, &bob), open(&example, &bob)];
        for (clients, name) in [(&mut adas[..], "user ada"), (&mut bobs, "user bob")] {
            clients.iter_mut().for_each(|client| assert_eq!(shown(client, 1), [name]));
        }
        let first = add(&example, &desk, "one\r\n<b>&amp;</b>");
        let second = add(&example, &phone, " \"zwei\" 🦀 ");
        let bobs_own = add(&example, &bob, "mine");
        assert_eq!(delete(&example, &phone, first), 204);
        for client in &mut adas {
            let expected =
                ["user ada", "note one\r\n<b>&amp;</b>", "note \"zwei\" 🦀", &format!("deleted {first}")];
            assert_eq!(shown(client, 4), expected);
        }
        for client in &mut bobs {
            assert_eq!(shown(client, 2), ["user bob", "note mine"]);
        }
        // A note of another user, a deleted one, and one that never existed.
        for id in [bobs_own, first, 99] {
            assert_eq!(delete(&example, &desk, id), 404);
        }
        assert_eq!(ask(&example, "DELETE", "/notes/x", &desk, "").0.status, 404);
        // A new client begins with the present notes.
        let mut late = open(&example, &phone);
        let events = shown(&mut late, 3);
        assert_eq!(events, ["note \"zwei\" 🦀", &format!("deleted {first}"), "user ada"]);
        assert_eq!(late.events(1)[0].data.matches(&format!("\"id\":{second},")).count(), 1);
    }

    #[test]
    fn a_client_that_resumes_gets_exactly_the_missed_events() {
        let example = Example::start("notes");
        let ada = log_in(&example, "ada");
        let first = add(&example, &ada, "first");
        let mut client = open(&example, &ada);
        assert_eq!(shown(&mut client, 2), ["note first", "user ada"]);
        add(&example, &ada, "second");
        let seen = client.events(3)[2].id.clone();
        drop(client);
        add(&example, &ada, "third");
        delete(&example, &ada, first);
        add(&example, &log_in(&example, "bob"), "of bob");
        let mut client = open(&example, &format!("{ada}Last-Event-ID: {seen}\r\n"));
        let missed = ["note third", &format!("deleted {first}"), "user ada"];
        assert_eq!(shown(&mut client, 3), missed);
        add(&example, &ada, "fourth");
        assert_eq!(shown(&mut client, 4)[3], "note fourth");
        // Nothing was missed, so nothing is sent.
        let seen = client.events(4)[3].id.clone();
        let mut client = open(&example, &format!("{ada}Last-Event-ID: {seen}\r\n"));
        assert_eq!(shown(&mut client, 1), ["user ada"]);
    }

    #[test]
    fn logging_out_closes_only_the_streams_of_the_session() {
        let example = Example::start("notes");
        let (desk, phone) = (log_in(&example, "ada"), log_in(&example, "ada"));
        let mut tabs = [open(&example, &desk), open(&example, &desk)];
        let mut other = open(&example, &phone);
        for client in tabs.iter_mut().chain([&mut other]) {
            client.events(1);
        }
        let (head, _) = ask(&example, "POST", "/logout", &desk, "");
        assert_eq!(head.status, 204);
        assert!(head.get("Set-Cookie").is_some_and(|cookie| cookie.starts_with("session=; ")));
        assert!(head.get("Set-Cookie").is_some_and(|cookie| cookie.contains("Max-Age=0")));
        for client in &mut tabs {
            let events = client.events_to_end();
            assert_eq!(events.last().map(|event| &*event.event), Some("logged-out"));
            // EventSource reconnects, and gets 204.
            send(client, "GET", "/notes/stream", &desk, "");
            assert_eq!(client.head().status, 204);
        }
        for (method, path) in [("POST", "/notes"), ("DELETE", "/notes/1"), ("POST", "/logout")] {
            let (head, _) = ask(&example, method, path, &format!("{desk}{JSON}"), r#"{"text":"x"}"#);
            assert_eq!(head.status, 401, "{method} {path}");
        }
        add(&example, &phone, "still here");
        assert_eq!(shown(&mut other, 2), ["user ada", "note still here"]);
        // The notes are the user's, not the session's.
        let again = log_in(&example, "ada");
        assert_eq!(shown(&mut open(&example, &again), 2), ["note still here", "user ada"]);
    }

    #[test]
    fn an_invalid_note_is_an_error_and_is_not_published() {
        let example = Example::start("notes");
        let ada = log_in(&example, "ada");
        let mut client = open(&example, &ada);
        client.events(1);
        let headers = format!("{ada}{JSON}");
        let long = format!(r#"{{"text":"{}"}}"#, "x".repeat(4097));
        let bad =
            ["", "{", "[]", "null", "{}", r#"{"text":1}"#, r#"{"text":""}"#, r#"{"text":" \n"}"#, &long];
        for body in bad {
            let (head, reply) = ask(&example, "POST", "/notes", &headers, body);
            assert_eq!((head.status, head.get("Content-Type")), (400, Some("application/json")), "{body}");
            assert!(json(&reply)["error"].is_string(), "{reply}");
        }
        // As a form on another page could post it.
        for kind in ["", "Content-Type: text/plain\r\n"] {
            let (head, _) = ask(&example, "POST", "/notes", &format!("{ada}{kind}"), r#"{"text":"x"}"#);
            assert_eq!(head.status, 415, "{kind}");
        }
        let ids: Vec<_> = (0..200).map(|number| add(&example, &ada, &number.to_string())).collect();
        let (head, _) = ask(&example, "POST", "/notes", &headers, r#"{"text":"one too many"}"#);
        assert_eq!(head.status, 409);
        assert_eq!(delete(&example, &ada, ids[0]), 204);
        add(&example, &ada, "last");
        let seen = shown(&mut client, 203);
        assert_eq!((&*seen[1], &*seen[202]), ("note 0", "note last"));
    }
}

mod tokens {
    use super::*;
    use std::sync::mpsc::Receiver;

    fn ask(client: &mut Client, body: &str) {
        send(client, "POST", "/v1/chat/completions", JSON, body);
    }

    fn question(content: &str, max_tokens: usize, stream: bool) -> String {
        let messages = serde_json::json!([
            { "role": "system", "content": "be brief" },
            { "role": "user", "content": content },
            { "role": "assistant", "content": "hm" },
        ]);
        serde_json::json!({ "messages": messages, "max_tokens": max_tokens, "stream": stream }).to_string()
    }

    /// A stream that has begun.
    fn begin(example: &Example, content: &str, max_tokens: usize) -> Client {
        let mut client = example.connect();
        ask(&mut client, &question(content, max_tokens, true));
        let head = client.head();
        assert_eq!((head.status, head.get("Content-Type")), (200, Some("text/event-stream")));
        client
    }

    /// An example whose log is read.
    fn start() -> (Example, Receiver<String>) {
        let mut command = example("tokens");
        let mut example = Example::start_as("tokens", command.env("PORT", "0").stderr(Stdio::piped()));
        let log = lines(example.process.stderr.take().unwrap());
        (example, log)
    }

    fn wait_for_line(log: &Receiver<String>, what: &str) {
        while !log.recv_timeout(DEADLINE).unwrap_or_else(|_| panic!("a line with {what:?}")).contains(what) {}
    }

    #[test]
    fn a_reply_arrives_token_by_token_and_ends_cleanly() {
        let (example, log) = start();
        let mut client = begin(&example, "Where does the river begin?", 12);
        let mut events = client.events_to_end();
        assert_eq!(events.pop().map(|event| event.data).as_deref(), Some("[DONE]"));
        let chunks: Vec<_> = events.iter().map(|event| json(&event.data)).collect();
        assert!(events.iter().all(|event| event.event == "message"));
        for chunk in &chunks {
            assert_eq!((&chunk["object"], &chunk["id"]), (&"chat.completion.chunk".into(), &chunks[0]["id"]));
        }
        let choices: Vec<_> = chunks.iter().map(|chunk| &chunk["choices"][0]).collect();
        let (last, rest) = choices.split_last().unwrap();
        assert!(rest.iter().all(|choice| choice["finish_reason"].is_null()));
        assert!(["stop", "length"].contains(&last["finish_reason"].as_str().unwrap()), "{last}");
        assert_eq!(rest[0]["delta"]["role"], "assistant");
        let tokens: Vec<_> =
            rest[1..].iter().map(|choice| choice["delta"]["content"].as_str().unwrap()).collect();
        assert!((6..=12).contains(&tokens.len()), "{tokens:?}");
        wait_for_line(&log, "chatcmpl-1: done");

        // The connection carries the next question. Without `stream`, the same question gets the same reply
        // in one piece.
        ask(&mut client, &question("Where does the river begin?", 12, false));
        let (head, reply) = client.reply();
        assert_eq!((head.status, head.get("Content-Type")), (200, Some("application/json")));
        let whole = json(&reply);
        assert_eq!(whole["object"], "chat.completion");
        let choice = &whole["choices"][0];
        assert_eq!(choice["message"]["content"], tokens.concat());
        assert_eq!(choice["finish_reason"], last["finish_reason"]);
        ask(&mut client, &question("And then?", 0, true));
        client.head();
        assert_eq!(client.events_to_end().len(), 3, "the role, the reason, the end");
    }

    #[test]
    fn a_client_that_leaves_cancels_its_answer_and_no_other() {
        let (example, log) = start();
        let mut leaves = begin(&example, "one", 1000);
        let mut stays = begin(&example, "two", 1000);
        let before = stays.events(3).len();
        leaves.events(3);
        drop(leaves);
        wait_for_line(&log, "chatcmpl-1: cancelled");
        let after = stays.events(before + 5);
        assert!(after.iter().all(|event| json(&event.data)["id"] == "chatcmpl-2"));
        // Another way to disconnect.
        stays.reset();
        wait_for_line(&log, "chatcmpl-2: cancelled");
    }

    #[test]
    fn two_answers_are_written_at_once() {
        let example = Example::start("tokens");
        let mut long = begin(&example, "long", 1000);
        let before = long.events(3).len();
        let mut short = begin(&example, "short", 4);
        let short = short.events_to_end();
        assert_eq!(short.last().map(|event| &*event.data), Some("[DONE]"));
        let after = long.events(before + 4);
        assert!(after.iter().all(|event| event.data != "[DONE]"), "a thousand tokens take longer");
    }

    #[test]
    fn an_invalid_question_is_an_error_in_the_same_style() {
        let example = Example::start("tokens");
        let mut client = example.connect();
        for body in [
            "",
            "{",
            "[]",
            "{}",
            r#"{"messages":[]}"#,
            r#"{"messages":"hello"}"#,
            r#"{"messages":[{"role":"system","content":"x"}],"stream":true}"#,
            r#"{"messages":[{"role":"user"}]}"#,
            r#"{"messages":[{"role":"user","content":"x"}],"max_tokens":-1}"#,
        ] {
            ask(&mut client, body);
            let (head, reply) = client.reply();
            assert_eq!((head.status, head.get("Content-Type")), (400, Some("application/json")), "{body}");
            let error = &json(&reply)["error"];
            assert!(error["message"].is_string() && error["type"] == "invalid_request_error", "{reply}");
        }
        assert_eq!(client.get("/v1/chat/completions").status, 405);
        let mut client = example.connect();
        let page = client.get_text("/");
        assert!(page.contains("/v1/chat/completions") && !page.contains("innerHTML"));
    }

    fn message(content: &Value) -> Value {
        serde_json::json!({ "messages": [{ "role": "user", "content": content }], "max_tokens": 12 })
    }

    fn whole(client: &mut Client, body: &Value) -> Value {
        ask(client, &body.to_string());
        let (head, reply) = client.reply();
        assert_eq!(head.status, 200, "{reply}");
        json(&reply)
    }

    #[test]
    fn content_may_be_parts_and_the_texts_of_them_are_one() {
        let example = Example::start("tokens");
        let mut client = example.connect();
        let text = whole(&mut client, &message(&"Where does the river begin?".into()));
        let parts = serde_json::json!([
            { "type": "text", "text": "Where does " },
            { "type": "image_url", "image_url": { "url": "data:image/png;base64,AAAA" } },
            { "type": "text", "text": "the river begin?" },
        ]);
        let parts = whole(&mut client, &message(&parts));
        assert_eq!(parts["choices"], text["choices"]);
        assert_eq!(parts["usage"], text["usage"]);
        let usage = &text["usage"];
        assert_eq!(usage["prompt_tokens"], 5);
        let said = text["choices"][0]["message"]["content"].as_str().unwrap().split(' ').count();
        assert_eq!(usage["completion_tokens"], said);
        assert_eq!(usage["total_tokens"], said + 5);
    }

    #[test]
    fn the_usage_is_sent_before_the_end_if_requested() {
        let example = Example::start("tokens");
        let mut client = example.connect();
        let mut body = message(&"x".into());
        let usage = whole(&mut client, &body)["usage"].clone();
        body["stream"] = true.into();
        for include_usage in [false, true] {
            body["stream_options"] = serde_json::json!({ "include_usage": include_usage });
            ask(&mut client, &body.to_string());
            client.head();
            let mut events = client.events_to_end();
            assert_eq!(events.pop().map(|event| event.data).as_deref(), Some("[DONE]"));
            let chunks: Vec<_> = events.iter().map(|event| json(&event.data)).collect();
            let with_usage: Vec<_> = chunks.iter().filter(|chunk| !chunk["usage"].is_null()).collect();
            if include_usage {
                assert_eq!(with_usage, [chunks.last().unwrap()]);
                let last = with_usage[0];
                assert_eq!((&last["usage"], &last["choices"]), (&usage, &serde_json::json!([])));
            } else {
                assert!(with_usage.is_empty(), "{with_usage:?}");
            }
        }
    }

    #[test]
    fn the_newer_name_of_the_limit_wins_and_long_prompts_fit() {
        let example = Example::start("tokens");
        let mut client = example.connect();
        let mut body = message(&"word ".repeat(200_000).into());
        body["max_completion_tokens"] = 2.into();
        let usage = whole(&mut client, &body)["usage"].clone();
        assert_eq!((&usage["prompt_tokens"], &usage["completion_tokens"]), (&200_000.into(), &2.into()));
        // A body that is too long is refused by its head.
        let length = (4 << 20) + 1;
        client.write(format!(
            "POST /v1/chat/completions HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n"
        ));
        assert_eq!(client.head().status, 413);
    }

    #[test]
    fn there_is_one_model_and_no_other() {
        let example = Example::start("tokens");
        let mut client = example.connect();
        let list = json(&client.get_text("/v1/models"));
        assert_eq!(list["object"], "list");
        assert_eq!(list["data"].as_array().unwrap().len(), 1);
        assert_eq!(
            (&list["data"][0]["id"], &list["data"][0]["object"]),
            (&"markov-1".into(), &"model".into())
        );
        assert_eq!(json(&client.get_text("/v1/models/markov-1")), list["data"][0]);
        let mut body = message(&"x".into());
        body["model"] = "markov-1".into();
        assert_eq!(whole(&mut client, &body)["model"], "markov-1");

        client.write("GET /v1/models/gpt-9 HTTP/1.1\r\nHost: x\r\n\r\n");
        let (head, by_name) = client.reply();
        body["model"] = "gpt-9".into();
        ask(&mut client, &body.to_string());
        let (asked, in_body) = client.reply();
        assert_eq!((head.status, asked.status, &*by_name), (404, 404, &*in_body));
        assert_eq!(json(&by_name)["error"]["code"], "model_not_found");
    }

    #[test]
    fn too_many_replies_at_once_are_refused_until_some_have_ended() {
        let example = Example::start("tokens");
        let mut writing: Vec<_> = (0..64).map(|_| begin(&example, "x", 1000)).collect();
        let mut client = example.connect();
        ask(&mut client, &question("x", 3, true));
        let (head, reply) = client.reply();
        assert_eq!((head.status, json(&reply)["error"]["type"].as_str()), (429, Some("rate_limit_error")));
        writing.truncate(32);
        let deadline = now() + DEADLINE;
        loop {
            ask(&mut client, &question("x", 3, true));
            let head = client.head();
            if head.status == 200 {
                break;
            }
            client.body(&head);
            assert!(now() < deadline, "{head:?}");
        }
        assert_eq!(client.events_to_end().last().map(|event| &*event.data), Some("[DONE]"));
    }
}
