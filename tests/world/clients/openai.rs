//! The example `tokens`, with OpenAI's own packages as people use them.

use super::script::Script;
use super::{node, python};
use crate::support::Example;
use serde_json::{Value, json};

/// The result of both packages. They cannot know the model's reply, only that it is the same each time.
fn assert_used(script: impl Fn(&str) -> Vec<String>) {
    let example = Example::start("tokens");
    let lines = Script::start(&script(&example.url("/v1"))).finish();
    let named = |name: &str| -> Vec<&Value> {
        lines.iter().filter(|line| line[0] == name).map(|line| &line[1]).collect()
    };
    let one = |name: &str| -> &Value {
        let found = named(name);
        assert_eq!(found.len(), 1, "{name} in {lines:?}");
        found[0]
    };
    assert_eq!((one("model"), one("retrieved")), (&json!("markov-1"), &json!("markov-1")));
    let whole = one("whole");
    let (said, reason) = (whole[2].as_str().unwrap(), &whole[3]);
    assert_eq!(*whole, json!(["chat.completion", "assistant", said, reason]));
    assert!(*reason == "stop" || *reason == "length", "{reason}");
    let count = said.split(' ').count();
    assert!((6..=12).contains(&count), "{said:?}");
    assert_eq!(*one("usage"), json!([7, count, 7 + count]));
    assert_eq!(*one("streamed"), json!([said, 7, count, 7 + count]));
    // Without a limit the reply continues, up to the end of a sentence, which the Python package needs.
    let collected = one("collected");
    let more = collected[0].as_str().unwrap();
    assert!(more.len() > said.len() && more.starts_with(said), "{more:?}");
    assert_eq!(*collected, json!([more, "stop", 7 + more.split(' ').count()]));
    assert_eq!(*one("long"), 50_000);
    let kind = "invalid_request_error";
    let unknown = json!(["NotFoundError", 404, kind, "model_not_found"]);
    let bad = json!(["BadRequestError", 400, kind, null]);
    assert_eq!(named("refused"), [&unknown, &unknown, &unknown, &bad, &bad]);
}

#[test]
fn openai_for_node_asks_streams_and_is_refused() {
    assert_used(|url| node("use_openai.mjs", &[url]));
}

#[test]
fn openai_for_python_asks_streams_and_is_refused() {
    assert_used(|url| python("use_openai.py", &[url]));
}
