//! Encoding and publishing: the cost of an event before its delivery.

use crate::rig::{HISTORY, KEYED, LIVE, Rig};
use criterion::{BenchmarkId, Criterion, Throughput};
use mio_sse::Event;
use std::hint::black_box;

/// Events published in one turn.
const BURST: usize = 64;

pub(crate) fn measure(criterion: &mut Criterion) {
    let lines = vec!["x".repeat(63); 64].join("\n");
    let events = [
        ("64 bytes", Event::new().data("x".repeat(64)), 64 + 8),
        (
            "64 bytes, named, with id",
            Event::new().data("x".repeat(64)).event("name").id("1800000000000-1"),
            64 + 40,
        ),
        ("4 KiB in one line", Event::new().data("x".repeat(4096)), 4096 + 8),
        ("4 KiB in 64 lines", Event::new().data(lines), 4095 + 63 * 6 + 8),
    ];
    let mut group = criterion.benchmark_group("encode");
    for (name, event, bytes) in events {
        group.throughput(Throughput::Bytes(bytes));
        group.bench_function(name, |bencher| {
            assert_eq!(event.encode().expect("an event that can be written").len() as u64, bytes);
            bencher.iter(|| black_box(&event).encode());
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("publish");
    group.throughput(Throughput::Elements(BURST as u64));
    let event = Event::new().data("x".repeat(64)).key("key");
    for (name, path, topic) in [
        ("to nobody", "/live", "nobody's"),
        ("to one stream", "/live", LIVE),
        ("to one stream and a history", "/history", HISTORY),
        ("to one stream, all on one key", "/keyed", KEYED),
    ] {
        group.bench_function(BenchmarkId::from_parameter(name), |bencher| {
            let mut rig = Rig::new();
            rig.open(path, 1);
            let before = rig.server.stats();
            bencher.iter(|| {
                let mut cx = rig.server.context();
                for _ in 0..BURST {
                    cx.publish(topic, &event).expect("an event that can be written");
                }
                rig.turn();
            });
            let after = rig.server.stats();
            let published = after.events_published - before.events_published;
            let expected = if topic == "nobody's" { 0 } else { published };
            assert_eq!(after.events_delivered - before.events_delivered, expected);
        });
    }
    group.bench_function(BenchmarkId::from_parameter("to one stream, by a publisher"), |bencher| {
        let mut rig = Rig::new();
        rig.open("/live", 1);
        let before = rig.server.stats();
        let publisher = rig.server.publisher();
        bencher.iter(|| {
            for _ in 0..BURST {
                publisher.publish(LIVE, &event).expect("room in the inbox");
            }
            rig.turn();
        });
        let after = rig.server.stats();
        let published = after.events_published - before.events_published;
        assert!(published > 0);
        assert_eq!(after.events_delivered - before.events_delivered, published);
    });
    group.finish();
}
