//! The reply to a POST, word by word, as language models are served: `cargo run --release --example tokens`,
//! then open the address it prints, or
//!
//! ```text
//! curl -N http://127.0.0.1:8080/v1/chat/completions \
//!     --json '{"messages":[{"role":"user","content":"Where does the river begin?"}],"stream":true}'
//! ```
//!
//! The format is that of OpenAI's chat completions, as far as its official packages need it. The "model" is a
//! Markov chain over the few sentences below: after each word it draws one of the words that follow it there.
//!
//! A thread writes each reply, as slow work does not belong in the loop. When the client leaves, the thread's
//! sender fails, and the thread stops and logs that. While the client does not read, the thread waits.
//!
//! `PORT` in the environment chooses the port, `RUST_LOG` what is logged.

mod common;

use mio_sse::{Config, Error, EventSender, Reply, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const MODEL: &str = "markov-1";
/// The text that the model was trained on.
const TEXT: &str = "\
    The river begins as a thread of water between two stones. A stream is patient and it never asks where the river goes. The \
    water carries what the rain has given, and the rain comes from the sea. Every word is a small stone in the river, and a \
    sentence is the bridge that nobody crosses twice. Where the bridge ends, the road goes on along the water to the mill. The \
    wheel does not know the sea, but the water does. What you ask the river it carries away, and what it answers is only the \
    sound of the stones. A good answer is like a ferry: it comes when you wait, and it leaves when you leave. Nobody waits for \
    the sea. The sea has time, and the time has stones, and every stone was once a mountain. The mountain says one word in a \
    thousand years. When the snow leaves the mountain, a thread of water asks the way. The way is down, and the river begins.";

const TOKENS_PER_SECOND: u32 = 20;
const TOKENS: usize = 80;
const TOKENS_MAX: usize = 1000;
/// Most replies that are written at the same time. Each has a thread.
const WRITERS_MAX: usize = 64;
/// Most tokens that may wait for the client.
const TOKENS_AHEAD: usize = 16;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Question {
    model: Option<String>,
    messages: Vec<Value>,
    stream: bool,
    stream_options: Value,
    max_tokens: Option<usize>,
    max_completion_tokens: Option<usize>,
}

/// The text of a message. Its content is text, or an array of parts, some of which are text.
fn text(message: &Value) -> Option<String> {
    let (parts, text) = (message["content"].as_array(), message["content"].as_str());
    let parts = parts.map(|parts| parts.iter().filter_map(|part| part["text"].as_str()).collect());
    parts.or(text.map(str::to_owned))
}

fn app() -> Router {
    let mut app = Router::new();
    common::page(&mut app, include_str!("tokens.html"));
    let model = json!({ "id": MODEL, "object": "model", "created": 1_764_374_400, "owned_by": "mio-sse" });
    let models = json!({ "object": "list", "data": [model] }).to_string();
    app.get("/v1/models", move |_request, _cx| Reply::json_text(models.clone()));
    app.get("/v1/models/{model}", move |request, _cx| match request.param("model") {
        Some(MODEL) => Reply::json_text(model.to_string()),
        _ => problem(404, "there is no such model"),
    });
    // Each writer holds one clone.
    let writers = Arc::new(());
    let mut count = 0;
    app.post("/v1/chat/completions", move |request, cx| {
        let question = match serde_json::from_slice::<Question>(request.body()) {
            Ok(question) => question,
            Err(error) => return Ok(problem(400, &format!("the body is no such request: {error}"))),
        };
        if question.model.is_some_and(|model| model != MODEL) {
            return Ok(problem(404, "there is no such model"));
        }
        let Some(asked) = question.messages.iter().rfind(|one| one["role"] == "user").and_then(text) else {
            return Ok(problem(400, "there is no message of the role user with content"));
        };
        count += 1;
        let name = format!("chatcmpl-{count}");
        let prompt = question.messages.iter().filter_map(text).map(|it| it.split_whitespace().count()).sum();
        let tokens_max = question.max_completion_tokens.or(question.max_tokens).unwrap_or(TOKENS);
        let answer = Answer::new(&name, question.stream, &asked, prompt, tokens_max.min(TOKENS_MAX));
        if !question.stream {
            let message = json!({ "role": "assistant", "content": answer.tokens.concat() });
            return Ok(Reply::json_text(answer.json("message", &message, true)));
        }
        if Arc::strong_count(&writers) > WRITERS_MAX {
            return Ok(problem(429, "too many replies are being written: try again later"));
        }
        let (writer, with_usage) = (writers.clone(), question.stream_options["include_usage"] == true);
        // The thread is started only if the stream opens.
        cx.on_open(move |stream, cx| {
            let events = cx.channel(stream, TOKENS_AHEAD)?;
            thread::spawn(move || {
                let _writer = writer;
                let said = write(answer, with_usage, &events);
                log::info!("{name}: {}", if said.is_ok() { "done" } else { "cancelled" });
                // The sender is dropped here, so the stream closes.
            });
            Ok::<_, Error>(())
        });
        // A reply that has begun may finish during a drain.
        Ok::<_, Error>(Reply::stream().finish().into())
    });
    app
}

/// Writes a reply event by event, at the speed of a small model. Returns an error if the client has left.
fn write(mut answer: Answer, with_usage: bool, events: &EventSender) -> Result<(), Error> {
    let chunk = |delta: Value, is_last| answer.json("delta", &delta, is_last);
    events.send(chunk(json!({ "role": "assistant", "content": "" }), false))?;
    for token in &answer.tokens {
        thread::sleep(Duration::from_secs(1) / TOKENS_PER_SECOND);
        events.send(chunk(json!({ "content": token }), false))?;
    }
    events.send(chunk(json!({}), true))?;
    if with_usage {
        answer.head["usage"] = answer.usage;
        events.send(answer.head.to_string())?;
    }
    events.send("[DONE]")
}

fn problem(status: u16, message: &str) -> Reply {
    let kind = if status == 429 { "rate_limit_error" } else { "invalid_request_error" };
    let code = (status == 404).then_some("model_not_found");
    let error = json!({ "message": message, "type": kind, "param": null, "code": code });
    Reply::json_text(json!({ "error": error }).to_string()).with_status(status)
}

/// The reply of the model: a walk through [`TEXT`]. The question is the seed of the random numbers, so the
/// same question gets the same reply. A real model would run in the thread that writes.
struct Answer {
    /// The fields that all parts have in common, without choices.
    head: Value,
    tokens: Vec<String>,
    usage: Value,
}

impl Answer {
    fn new(name: &str, is_stream: bool, question: &str, prompt: usize, count_max: usize) -> Self {
        // State after a word: empty if a sentence ends there.
        let state = |word: &'static str| if word.ends_with('.') { "" } else { word };
        let (mut follows, mut before) = (HashMap::<_, Vec<_>>::new(), "");
        for word in TEXT.split_whitespace() {
            follows.entry(before).or_default().push(word);
            before = state(word);
        }
        let mut hasher = DefaultHasher::new();
        question.hash(&mut hasher);
        let (mut dice, mut tokens) = (fastrand::Rng::with_seed(hasher.finish()), Vec::new());
        // The reply ends with a whole sentence if possible.
        while tokens.len() < if before.is_empty() { count_max.div_ceil(2) } else { count_max } {
            let words = &follows[before];
            let word = words[dice.usize(..words.len())];
            before = state(word);
            tokens.push(if tokens.is_empty() { word.to_owned() } else { format!(" {word}") });
        }
        let object = if is_stream { "chat.completion.chunk" } else { "chat.completion" };
        let created = jiff::Timestamp::now().as_second();
        let head = json!({ "id": name, "object": object, "created": created, "model": MODEL, "choices": [] });
        let (said, all) = (tokens.len(), prompt + tokens.len());
        let usage = json!({ "prompt_tokens": prompt, "completion_tokens": said, "total_tokens": all });
        Self { head, tokens, usage }
    }

    /// The whole reply, or a part of it.
    fn json(&self, name: &str, value: &Value, is_last: bool) -> String {
        let is_whole = self.tokens.last().is_none_or(|last| last.ends_with('.'));
        let reason = is_last.then_some(if is_whole { "stop" } else { "length" });
        let mut json = self.head.clone();
        json["choices"] = json!([{ "index": 0, name: value, "finish_reason": reason }]);
        json["usage"] = if name == "message" { self.usage.clone() } else { Value::Null };
        json.to_string()
    }
}

fn main() -> ExitCode {
    let mut config = Config::default();
    // The default of 64 KiB is too little for long conversations.
    config.body_bytes_max = 4 << 20;
    common::run_with("tokens", app(), config)
}
