//! Some clients take every empty line for the end of an event. `retry:` and heartbeats have no empty line of
//! their own, so these clients see exactly the events.

use super::{node, python, reported};
use crate::payloads::{END, Seen};
use crate::support::{Running, ms, serve_with};
use mio_sse::{Config, Context, Error, Event, History, Ids, Reply, Router, StreamId, TopicConfig};
use serde_json::json;

const NAME: &str = "chatcmpl-1";
const TOPIC: &str = "words";
const ID: &str = "the last of them";

/// Sends one event after another, each after a heartbeat, and closes the stream.
fn send_between_heartbeats(
    stream: StreamId,
    events: Vec<Event<'static>>,
    cx: &mut Context<'_>,
) -> Result<(), Error> {
    let mut events = events.into_iter();
    let mut heard = cx.stats().heartbeats;
    cx.every(stream, ms(5), move |stream, cx| {
        let heartbeats = cx.stats().heartbeats;
        if heartbeats == heard {
            return Ok(());
        }
        heard = heartbeats;
        match events.next() {
            Some(event) => cx.send(stream, event),
            None => cx.close(stream),
        }
    })?;
    Ok(())
}

fn words() -> Vec<&'static str> {
    "The river begins as a thread of water between two stones.".split_inclusive(' ').collect()
}

/// A chat completion as OpenAI's servers stream it.
fn completion() -> Vec<Event<'static>> {
    let chunk = |delta: serde_json::Value, finish_reason: Option<&str>| {
        let choice = json!({ "index": 0, "delta": delta, "finish_reason": finish_reason });
        let object = "chat.completion.chunk";
        let chunk = json!({
            "id": NAME, "object": object, "created": 1, "model": "none", "choices": [choice],
        });
        Event::new().data(chunk.to_string())
    };
    let mut events = vec![chunk(json!({ "role": "assistant", "content": "" }), None)];
    events.extend(words().into_iter().map(|word| chunk(json!({ "content": word }), None)));
    events.push(chunk(json!({ "content": "" }), Some("stop")));
    events.push(Event::new().data("[DONE]"));
    events
}

/// The words, and their end.
fn talk() -> Vec<Event<'static>> {
    words().into_iter().map(Event::from).chain([Event::new().data("").event(END)]).collect()
}

/// One stream at a time, as each waits for heartbeats of its own.
fn server() -> Running {
    let mut app = Router::new();
    app.sse_post("/v1/chat/completions", |stream, _request, cx| {
        send_between_heartbeats(stream, completion(), cx)?;
        Ok::<_, Error>(Reply::stream().retry(ms(50)))
    });
    app.sse("/words", |stream, _request, cx| {
        send_between_heartbeats(stream, talk(), cx)?;
        Ok::<_, Error>(Reply::stream().retry(ms(50)))
    });
    app.on_start(|cx| {
        cx.configure(TOPIC, TopicConfig::default().history(History::new()).ids(Ids::Own))?;
        cx.publish(TOPIC, Event::new().data("known").id(ID))
    });
    app.sse("/words-behind-an-id", |stream, _request, cx| {
        send_between_heartbeats(stream, talk(), cx)?;
        Ok::<_, Error>(Reply::stream().topic(TOPIC).retry(ms(50)))
    });
    let mut config = Config::default();
    config.heartbeat = Some(ms(20));
    serve_with(app, config)
}

fn seen(event: &str, data: &str, id: &str) -> Seen {
    Seen { event: event.to_owned(), data: data.to_owned(), id: id.to_owned() }
}

fn expected_completion() -> Vec<Seen> {
    let mut expected = vec![seen("message", "", NAME)];
    expected.extend(words().into_iter().map(|word| seen("message", word, NAME)));
    expected.extend([seen("message", "", NAME), seen(END, "", "")]);
    expected
}

/// With the id that is valid for an event without one.
fn expected_words(id: &str) -> Vec<Seen> {
    let words = words().into_iter().map(|word| seen("message", word, id));
    words.chain([seen(END, "", id)]).collect()
}

/// There were heartbeats between the words.
fn assert_heartbeats(server: &Running) {
    let stats = server.stats();
    assert!(stats.heartbeats >= words().len() as u64, "{stats:?}");
}

/// It parses a block without data as JSON, which raises an exception.
#[test]
fn openai_for_python_reads_a_chat_completion() {
    let server = server();
    assert_eq!(reported(&python("read_openai.py", &[&server.url("/v1")])), expected_completion());
    assert_heartbeats(&server);
}

#[test]
fn openai_for_node_reads_a_chat_completion() {
    let server = server();
    assert_eq!(reported(&node("read_openai.mjs", &[&server.url("/v1")])), expected_completion());
    assert_heartbeats(&server);
}

#[test]
fn httpx_sse_sees_only_events() {
    let server = server();
    assert_eq!(reported(&python("read_httpx.py", &[&server.url("/words"), END])), expected_words(""));
    assert_heartbeats(&server);
}

#[test]
fn fetch_event_source_sees_only_events() {
    let server = server();
    assert_eq!(reported(&node("read_fetch.mjs", &[&server.url("/words"), END])), expected_words(""));
    assert_heartbeats(&server);
}

/// It deviates: an id alone, which is the position of the stream, is a message for it. There is only this
/// one.
#[test]
fn httpx_sse_sees_the_id_that_a_stream_begins_with() {
    let server = server();
    let mut expected = expected_words(ID);
    expected.insert(0, seen("message", "", ID));
    assert_eq!(reported(&python("read_httpx.py", &[&server.url("/words-behind-an-id"), END])), expected);
    assert_heartbeats(&server);
}

/// It deviates in the same way, and the `id` of a message is its own.
#[test]
fn fetch_event_source_sees_the_id_that_a_stream_begins_with() {
    let server = server();
    let mut expected = expected_words("");
    expected.insert(0, seen("message", "", ID));
    assert_eq!(reported(&node("read_fetch.mjs", &[&server.url("/words-behind-an-id"), END])), expected);
    assert_heartbeats(&server);
}
