//! An answer word by word, to a POST, as language models are served: `cargo run --release --example tokens`, then open the address it
//! prints, or
//!
//! ```text
//! curl -N http://127.0.0.1:8080/v1/chat/completions \
//!     --json '{"messages":[{"role":"user","content":"Where does the river begin?"}],"stream":true}'
//! ```
//!
//! The wire is OpenAI's chat completions, as far as it is needed. The "model" is a Markov chain over the few sentences below: after
//! each word it throws dice for one of those that follow it there. It understands nothing, and says so by what it says.
//!
//! Each answer is written by a thread, as a model would be: slow work does not belong in the loop. When the client leaves, what the
//! thread writes to is gone, and it stops; the log says so. While the client does not read, it waits.
//!
//! `PORT` in the environment chooses the port, `RUST_LOG` what is logged.

mod common;

use mio_sse::{Error, Event, EventSender, Reply, Router};
use serde::Deserialize;
use serde_json::{Value, json};
use std::collections::HashMap;
use std::hash::{DefaultHasher, Hash, Hasher};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

const MODEL: &str = "markov-1";

/// All that the model has ever read.
const TEXT: &str = "\
    The river begins as a thread of water between two stones. A stream is patient and it never asks where the river goes. \
    The water carries what the rain has given, and the rain comes from the sea. Every word is a small stone in the river, \
    and a sentence is the bridge that nobody crosses twice. Where the bridge ends, the road goes on along the water to the \
    mill. The mill turns as long as the stream comes, and it rests when the stream is late. A miller listens to the wheel \
    and hears the rain before it falls. The wheel does not know the sea, but the water does. What you ask the river it \
    carries away, and what it answers is only the sound of the stones. A good answer is like a ferry: it comes when you \
    wait, and it leaves when you leave. Nobody waits for the sea. The sea has time, and the time has stones, and every \
    stone was once a mountain. The mountain says one word in a thousand years. When the snow leaves the mountain, a \
    thread of water asks for the way. The way is down, says the stone, and the river begins.";

const TOKENS_PER_SECOND: u32 = 20;
const TOKENS: usize = 80;
const TOKENS_MAX: usize = 1000;

/// As many answers are written at a time. Each is a thread.
const WRITERS_MAX: usize = 64;

/// So many tokens may be ready before the client takes them.
const TOKENS_AHEAD: usize = 16;

#[derive(Deserialize)]
struct Question {
    messages: Vec<Message>,
    #[serde(default)]
    stream: bool,
    max_tokens: Option<usize>,
}

#[derive(Deserialize)]
struct Message {
    role: String,
    content: String,
}

fn app() -> Router {
    let mut app = Router::new();
    common::page(&mut app, include_str!("tokens.html"));
    // Each writer holds one more.
    let writers = Arc::new(());
    let mut count = 0;
    app.post("/v1/chat/completions", move |request, cx| {
        let question = match serde_json::from_slice::<Question>(request.body()) {
            Ok(question) => question,
            Err(error) => return Ok(problem(400, &format!("the body is no such request: {error}"))),
        };
        let Some(asked) = question.messages.iter().rfind(|message| message.role == "user") else {
            return Ok(problem(400, "there is no message of the role user"));
        };
        count += 1;
        let name = format!("chatcmpl-{count}");
        let answer = Answer::new(&asked.content, question.max_tokens.unwrap_or(TOKENS).min(TOKENS_MAX));
        if !question.stream {
            return Ok(whole(&name, answer));
        }
        if Arc::strong_count(&writers) > WRITERS_MAX {
            return Ok(problem(429, "too many answers are being written: ask again later"));
        }
        let writer = writers.clone();
        // Only a stream that opens has somebody who writes it.
        cx.on_open(move |stream, cx| {
            let events = cx.channel(stream, TOKENS_AHEAD)?;
            thread::spawn(move || {
                let _writer = writer;
                let said = write(&name, answer, &events);
                log::info!("{name}: {}", if said.is_ok() { "done" } else { "cancelled" });
                // The channel ends here, and the stream with it.
            });
            Ok::<_, Error>(())
        });
        // An answer that has begun may end when the server is asked to.
        Ok::<_, Error>(Reply::stream().finish().into())
    });
    app
}

/// Says an answer event by event, at the speed of a small model. An error says that nobody listens any more.
fn write(name: &str, mut answer: Answer, events: &EventSender) -> Result<(), Error> {
    let chunk = |delta: Value, finish_reason: Option<&str>| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish_reason });
        Event::new().data(completion(name, "chat.completion.chunk", &choice).to_string())
    };
    events.send(chunk(json!({ "role": "assistant", "content": "" }), None))?;
    for token in &mut answer {
        thread::sleep(Duration::from_secs(1) / TOKENS_PER_SECOND);
        events.send(chunk(json!({ "content": token }), None))?;
    }
    events.send(chunk(json!({}), Some(answer.finish_reason())))?;
    events.send(Event::new().data("[DONE]"))
}

/// The answer in one piece.
fn whole(name: &str, mut answer: Answer) -> Reply {
    let content: String = answer.by_ref().collect();
    let message = json!({ "role": "assistant", "content": content });
    let choice = json!({ "index": 0, "message": message, "finish_reason": answer.finish_reason() });
    Reply::json_text(completion(name, "chat.completion", &choice).to_string())
}

fn completion(name: &str, object: &str, choice: &Value) -> Value {
    let created = jiff::Timestamp::now().as_second();
    json!({ "id": name, "object": object, "created": created, "model": MODEL, "choices": [choice] })
}

fn problem(status: u16, message: &str) -> Reply {
    let kind = if status == 429 { "rate_limit_error" } else { "invalid_request_error" };
    let error = json!({ "message": message, "type": kind, "param": null, "code": null });
    Reply::json_text(json!({ "error": error }).to_string()).with_status(status)
}

/// What the model answers, token by token: a walk through [`TEXT`]. The question only chooses the dice, so that the same one
/// is answered the same.
struct Answer {
    follows: HashMap<&'static str, Vec<&'static str>>,
    dice: fastrand::Rng,
    before: &'static str,
    count: usize,
    count_max: usize,
}

impl Answer {
    fn new(question: &str, count_max: usize) -> Self {
        let mut follows: HashMap<_, Vec<_>> = HashMap::new();
        let mut before = "";
        for word in TEXT.split_whitespace() {
            follows.entry(before).or_default().push(word);
            before = state(word);
        }
        let mut hasher = DefaultHasher::new();
        question.hash(&mut hasher);
        Self { follows, dice: fastrand::Rng::with_seed(hasher.finish()), before, count: 0, count_max }
    }

    /// Why there are no more.
    fn finish_reason(&self) -> &'static str {
        if self.before.is_empty() { "stop" } else { "length" }
    }
}

impl Iterator for Answer {
    type Item = String;

    fn next(&mut self) -> Option<String> {
        // It ends with a sentence if it can.
        let enough = if self.before.is_empty() { self.count_max.div_ceil(2) } else { self.count_max };
        if self.count >= enough {
            return None;
        }
        let words = &self.follows[self.before];
        let word = words[self.dice.usize(..words.len())];
        self.before = state(word);
        self.count += 1;
        Some(if self.count == 1 { word.to_owned() } else { format!(" {word}") })
    }
}

/// What is remembered of a word: nothing, where a sentence begins behind it.
fn state(word: &'static str) -> &'static str {
    if word.ends_with('.') { "" } else { word }
}

fn main() -> ExitCode {
    common::run("tokens", app())
}
