//! npm's `eventsource` drops blocks without data, including their ids. A heartbeat that is an event has data,
//! even if empty, so it tells such a client its position, too.

use super::node;
use super::script::Script;
use crate::payloads::END;
use crate::support::{ms, serve_with};
use mio_sse::{Config, Error, Event, History, Reply, Router, TopicConfig};
use serde_json::Value;

const BEAT: &str = "beat";

#[test]
fn npm_eventsource_that_is_cut_off_before_its_first_event_resumes_exactly() {
    let mut app = Router::new();
    app.get("/events", |_request, _cx| Reply::stream().topic("news").tag("all").retry(ms(20)));
    let mut config = Config::default();
    config.topic = TopicConfig::default().history(History::new().events(100));
    config.heartbeat_event = Some(BEAT.into());
    // The first block of a stream is one all the same.
    config.heartbeat = Some(ms(60 * 60 * 1000));
    let server = serve_with(app, config);
    let script = Script::start(&node("read_eventsource.mjs", &[&server.url("/events"), BEAT, "gap", END]));
    let is_beat = |line: &Value| line["event"] == BEAT && line["data"] == "" && line["id"] != "";
    script.wait_for("the beginning is a heartbeat", |lines| lines.first().is_some_and(is_beat));

    for round in 1..=3 {
        let end_and_publish = move |cx: &mut mio_sse::Context<'_>| {
            assert_eq!(cx.close_tagged("all"), 1);
            cx.publish("news", Event::new().data(format!("meanwhile {round}")))?;
            Ok::<_, Error>(())
        };
        server.publisher.run(end_and_publish).unwrap();
        server.wait_for("it is back", |stats| stats.streams_opened == round + 1 && stats.streams == 1);
        script.wait_for("it knows where it is", |lines| {
            lines.iter().filter(|line| is_beat(line)).count() as u64 > round
        });
    }
    server.publisher.publish("news", Event::new().data("").event(END)).unwrap();
    let lines = script.finish();
    let seen: Vec<_> = lines.iter().filter(|line| line["event"] != BEAT).collect();
    let expected = ["meanwhile 1", "meanwhile 2", "meanwhile 3", ""];
    assert!(seen.iter().map(|line| &line["data"]).eq(&expected), "{seen:?}");
    assert_eq!(seen.last().unwrap()["event"], END);
}
