//! The texts for Prometheus and as JSON, as independent parsers read them: every number, under its name.

use crate::memory_net::{Loop, get, subscribe};
use mio_sse::{CloseReason, Config, Event, History, Refusal, Reply, Router, Stats, TopicConfig};
use prometheus_parse::{Scrape, Value};
use std::collections::HashMap;
use std::time::Duration;

/// A server that has counted nearly everything.
fn busy() -> Stats {
    let mut app = Router::new();
    app.get("/page", |_request, _cx| Reply::text("page"));
    app.get("/panic", |_request, _cx| -> Reply { panic!("on purpose") });
    app.get("/later", |_request, cx| {
        let (reply, responder) = cx.later();
        std::mem::forget(responder);
        reply
    });
    app.sse("/stream", |stream, _request, cx| {
        cx.every(stream, Duration::from_secs(3), |stream, cx| cx.send(stream, Event::new().data("tick")))?;
        Ok::<_, mio_sse::Error>(Reply::stream().topic("t").topic("kept").resume_after("nonsense").tag("user"))
    });
    let mut config = Config::default();
    config.streams_max = 3;
    config.inbox_max = 1;
    let mut world: Loop<_> = Loop::with_config(app, config);
    let history = TopicConfig::default().history(History::new());
    world.server.context().configure("kept", history).unwrap();
    world.server.context().revoke("other", Duration::from_secs(3600));
    world.fail_accept(std::io::ErrorKind::OutOfMemory);
    world.fail_accept(std::io::ErrorKind::OutOfMemory);
    let peers: Vec<_> = (0..5).map(|_| world.connect()).collect();
    for peer in &peers {
        peer.write(subscribe("/stream"));
    }
    world.pass(Duration::from_secs(20));
    let requests = [get("/page"), get("/panic"), get("/later"), "nonsense\r\n\r\n".to_owned()];
    let others: Vec<_> = requests.iter().map(|_| world.connect()).collect();
    for (peer, request) in others.iter().zip(requests) {
        peer.write(request);
    }
    peers[0].reset();
    world.settle();
    peers[1].set_room(10);
    world.server.context().publish("t", Event::new().data("x".repeat(1000))).unwrap();
    world.settle();
    let publisher = world.server.publisher();
    publisher.try_publish("t", Event::new().data("first")).unwrap();
    publisher.try_publish("t", Event::new().data("no room")).unwrap_err();
    world.jump(Duration::from_secs(20));
    world.server.stats()
}

/// Every value by its name and labels.
fn values(text: &str) -> HashMap<String, f64> {
    let scrape = Scrape::parse(text.lines().map(|line| Ok(line.to_owned()))).unwrap();
    let mut values = HashMap::new();
    for sample in scrape.samples {
        let labels: Vec<_> = sample.labels.iter().map(|(name, value)| format!("{name}={value}")).collect();
        let name = format!(
            "{}{}",
            sample.metric,
            labels.iter().map(|label| format!(" {label}")).collect::<String>()
        );
        assert!(scrape.docs.keys().any(|known| name.starts_with(known.as_str())), "{name} is explained");
        match sample.value {
            Value::Counter(value) => {
                assert!(name.starts_with("mio_sse_") && sample.metric.ends_with("_total"), "{name}");
                assert_eq!(values.insert(name, value), None);
            }
            Value::Gauge(value) => assert_eq!(values.insert(name, value), None),
            Value::Untyped(value) => assert_eq!(values.insert(format!("{name} untyped"), value), None),
            Value::Histogram(buckets) => {
                for bucket in buckets {
                    values.insert(format!("{name} {}", bucket.less_than), bucket.count);
                }
            }
            Value::Summary(_) => panic!("{name} is no summary"),
        }
    }
    values
}

#[test]
fn a_parser_of_others_finds_every_number_under_its_name() {
    let stats = busy();
    let text = stats.prometheus();
    assert!(text.len() < 10 << 10, "some 8 KB, not {}", text.len());
    let mut values = values(&text);
    let mut expect = |name: &str, expected: f64| {
        let found = values.remove(&format!("mio_sse_{name}"));
        assert_eq!(found, Some(expected), "{name}");
    };
    #[expect(clippy::cast_precision_loss, reason = "the numbers are small")]
    let float = |count: u64| count as f64;
    for (name, count) in [
        ("connections", stats.connections),
        ("streams", stats.streams),
        ("streams_behind", stats.streams_behind),
        ("topics", stats.topics),
        ("log_bytes", stats.log_bytes),
        ("late_replies", stats.late_replies),
        ("timers", stats.timers),
        ("memory_max_bytes", stats.memory_max),
        ("memory_bytes kind=logs", stats.memory.logs as u64),
        ("memory_bytes kind=hands", stats.memory.hands as u64),
        ("tags", stats.tags),
        ("tags_revoked", stats.tags_revoked),
        ("gaps_total", stats.gaps),
        ("inbox_messages", stats.inbox),
        ("connections_accepted_total", stats.accepted),
        ("accept_errors_total", stats.accept_errors),
        ("requests_total", stats.requests),
        ("requests_rejected_total", stats.rejected),
        ("streams_opened_total", stats.streams_opened),
        ("events_published_total", stats.events_published),
        ("events_sent_total", stats.events_sent),
        ("events_delivered_total", stats.events_delivered),
        ("written_bytes_total", stats.bytes_written),
        ("inbox_full_total", stats.inbox_full),
        ("panics_total", stats.panics),
        ("turn_seconds_count untyped", stats.turns),
    ] {
        assert_ne!(count, 0, "{name} has been counted");
        expect(name, float(count));
    }
    expect("heartbeats_total", float(stats.heartbeats));
    for (name, count) in [
        ("memory_bytes kind=input", stats.memory.input as u64),
        ("memory_bytes kind=replies", stats.memory.replies as u64),
        ("memory_bytes kind=network", stats.memory.network as u64),
        ("memory_bytes kind=inbox", stats.memory.inbox as u64),
        ("memory_pressure", stats.memory_pressure),
        ("memory_cut_total", stats.memory_cut),
        ("memory_shortened_bytes_total", stats.memory_shortened),
    ] {
        expect(name, float(count));
    }
    expect("slow_turns_total", float(stats.slow_turns));
    for &reason in CloseReason::ALL {
        expect(&format!("streams_closed_total reason={}", reason.name()), float(stats.closed(reason)));
        let count = stats.connections_closed(reason);
        expect(&format!("connections_closed_total reason={}", reason.name()), float(count));
    }
    for &refusal in Refusal::ALL {
        expect(&format!("refused_total reason={}", refusal.name()), float(stats.refused(refusal)));
    }
    let mut count = 0;
    for (bound, turns) in Stats::TURN_TIMES.iter().zip(stats.turn_times()) {
        count += turns;
        expect(&format!("turn_seconds {}", bound.as_secs_f64()), float(count));
    }
    expect("turn_seconds inf", float(stats.turns));
    expect("turn_seconds_sum untyped", stats.turn_time.as_secs_f64());
    expect("turn_seconds_max", stats.turn_time_max.as_secs_f64());
    expect("work_total kind=requests", float(stats.work.requests));
    expect("work_max kind=requests", float(stats.work_max.requests));
    expect("work_total kind=bytes_written", float(stats.bytes_written));
    // As these are all others.
    values.retain(|name, _| !name.starts_with("mio_sse_work_"));
    assert_eq!(values, HashMap::new(), "and there is nothing else");
}

#[test]
fn the_json_has_every_field_and_every_reason() {
    let stats = busy();
    let text = stats.json();
    assert!(text.len() < 3 << 10 && !text.contains('\n'), "some 2 KB on one line, not {text:?}");
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    // The derived `Debug` has every field: their names are alone on the first level.
    let debug = format!("{stats:#?}");
    let fields = debug.lines().filter_map(|line| line.strip_prefix("    ")?.split_once(": "));
    let mut count = 0;
    for (name, value) in fields.filter(|(name, _)| !name.starts_with(' ')) {
        count += 1;
        match value.trim_end_matches(',').parse::<u64>() {
            Ok(value) => assert_eq!(json[name], value, "{name}"),
            Err(_) => assert!(!json[name].is_null(), "{name}"),
        }
    }
    assert_eq!(json.as_object().unwrap().len(), count + 1, "{json}");
    assert_eq!(json["streams_closed"], stats.streams_closed());
    assert_eq!(json["turn_time"], stats.turn_time.as_secs_f64());
    assert_eq!(json["turn_time_max"], stats.turn_time_max.as_secs_f64());
    assert_eq!(json["turn_times"], serde_json::json!(stats.turn_times()));
    for &reason in CloseReason::ALL {
        assert_eq!(json["closed"][reason.name()], stats.closed(reason));
        assert_eq!(json["connections_closed"][reason.name()], stats.connections_closed(reason));
    }
    for &refusal in Refusal::ALL {
        assert_eq!(json["refused"][refusal.name()], stats.refused(refusal));
    }
}

#[test]
fn a_server_that_has_done_nothing_has_metrics_too() {
    let values = values(&Stats::default().prometheus());
    assert!(values.values().all(|value| *value == 0.0), "{values:?}");
}

/// A request for the stats is not counted as a stream that lags.
#[test]
fn the_request_for_the_stats_does_not_count_in_them() {
    let mut app = Router::new();
    app.get("/behind", |_request, cx| Reply::text(cx.stats().streams_behind.to_string()));
    let mut world: Loop<_> = Loop::new(app);
    let peer = world.connect();
    peer.write(get("/behind"));
    world.settle();
    assert!(peer.read().ends_with("\r\n\r\n0"));
}
