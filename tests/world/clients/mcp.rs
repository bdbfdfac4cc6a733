//! The example `mcp` with the official packages of the Model Context Protocol, over a wire that is cut.

use super::script::Script;
use super::{node, python};
use crate::support::Example;
use crate::wire::Wire;
use serde_json::{Value, json};

fn named<'a>(lines: &'a [Value], name: &str) -> Vec<&'a Value> {
    lines.iter().filter(|line| line[0] == name).map(|line| &line[1]).collect()
}

/// Requests that resumed a stream: their ids and replies.
fn resumed(lines: &[Value], stream: &str) -> Vec<(u64, u64)> {
    let asked = named(lines, "asked").into_iter().filter(|asked| asked[0] == "GET");
    let number = |asked: &Value| asked[1].as_str()?.strip_prefix(stream)?.strip_prefix('-')?.parse().ok();
    asked.filter_map(|asked| Some((number(asked)?, asked[2].as_u64()?))).collect()
}

#[test]
fn mcp_sdk_resumes_its_calls_and_gets_each_result_once() {
    let example = Example::start("mcp");
    let wire = Wire::to(example.address);
    let script = Script::start(&node("use_mcp.mjs", &[&wire.url("/mcp")]));

    // In the middle of the first call, all connections are lost.
    script.wait_for("progress", |lines| named(lines, "progress").len() >= 4);
    wire.cut();
    wire.mend();
    let lines = script.wait_for("the first result", |lines| !named(lines, "count").is_empty());
    let expected: Vec<_> = (1..=12).map(|number| json!([number, 12])).collect();
    assert_eq!(named(&lines, "progress"), expected.iter().collect::<Vec<_>>());
    let back = resumed(&lines, "1");
    assert!(matches!(back[..], [(4..12, 200)]), "{back:?}");

    // The second client disconnects as soon as it has an id, until its call has ended.
    script.wait_for("the second call", |lines| named(lines, "id").contains(&&json!("2-0")));
    wire.cut();
    let errors = named(&script.wait_for("", |_| true), "error").len();
    let lost = |lines: &[Value]| named(lines, "error").len() >= errors + 20;
    script.wait_for("it tries to come back", lost);
    wire.mend();

    let lines = script.finish();
    let expected: Vec<_> = expected.into_iter().chain((1..=5).map(|number| json!([number, 5]))).collect();
    assert_eq!(named(&lines, "progress"), expected.iter().collect::<Vec<_>>());
    assert_eq!(named(&lines, "count"), [&json!("counted to 12"), &json!("counted to 5")]);
    let back = resumed(&lines, "2");
    assert!(matches!(back[..], [(0..=5, 200)]), "{back:?}");

    // It has missed nothing of the stream for all clients, either.
    let back = resumed(&lines, "news");
    assert!(back.len() >= 2 && back.iter().all(|back| *back == (1, 200)), "{back:?}");
    let tools = |switch: &str| json!(["add", "count", switch]);
    assert_eq!(named(&lines, "tools"), [&tools("turn_on")]);
    assert_eq!(named(&lines, "changed"), [&tools("turn_off"), &tools("turn_on")]);

    assert_eq!(named(&lines, "connected"), [&json!(["mio-sse", "2025-11-25", 32])]);
    assert_eq!(named(&lines, "add"), [&json!("42"), &json!("error: a and b are numbers")]);
    assert_eq!(named(&lines, "ended"), [&json!(404)]);
    let is_fine = |asked: &&Value| asked[2].as_u64().is_some_and(|status| status < 300);
    assert!(named(&lines, "asked").iter().all(is_fine), "{lines:?}");
}

/// It also speaks the revision of the protocol without sessions, and finds out that this server does not.
#[test]
fn mcp_for_python_falls_back_to_a_session_and_resumes() {
    let example = Example::start("mcp");
    let wire = Wire::to(example.address);
    let script = Script::start(&python("use_mcp.py", &[&wire.url("/mcp")]));
    script.wait_for("progress", |lines| named(lines, "progress").len() >= 4);
    wire.cut();
    wire.mend();
    let lines = script.finish();
    assert_eq!(named(&lines, "connected"), [&json!("2025-11-25")]);
    assert_eq!(named(&lines, "tools"), [&json!(["add", "count", "turn_on"])]);
    assert_eq!(named(&lines, "add"), [&json!(["42", false]), &json!(["a and b are numbers", true])]);
    let expected: Vec<_> = (1..=12).map(|number| json!([f64::from(number), 12.0])).collect();
    assert_eq!(named(&lines, "progress"), expected.iter().collect::<Vec<_>>());
    assert_eq!(named(&lines, "count"), [&json!(["counted to 12", false])]);
}
