//! From `publish` until every stream has the event, over all turns that this needs.

use crate::rig::Rig;
use criterion::measurement::WallTime;
use criterion::{BenchmarkGroup, BenchmarkId, Criterion, Throughput};
use std::time::Duration;

const STREAMS: [usize; 6] = [1, 100, 1_000, 10_000, 100_000, 1_000_000];

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("fan-out");
    group.sample_size(10).measurement_time(Duration::from_millis(1500));
    for streams in STREAMS {
        let mut live = Live { streams, any_order: false, rig: None };
        measure_one(&mut group, "1 event a turn", &mut live, 1);
        measure_one(&mut group, "64 events a turn", &mut live, 64);
    }
    // After long coming and going, streams are not in the order of their slots.
    for streams in [1_000, 1_000_000] {
        let mut live = Live { streams, any_order: true, rig: None };
        measure_one(&mut group, "1 event a turn, any order", &mut live, 1);
        measure_one(&mut group, "64 events a turn, any order", &mut live, 64);
    }
    group.finish();
}

fn measure_one(group: &mut BenchmarkGroup<'_, WallTime>, series: &str, live: &mut Live, events: usize) {
    let streams = live.streams;
    let deliveries = (streams * events) as u64;
    group.throughput(Throughput::Elements(deliveries));
    group.bench_function(BenchmarkId::new(series, streams), |bencher| {
        let rig = live.rig();
        bencher.iter(|| rig.deliver(events));
    });
}

/// A server with many streams on one topic.
struct Live {
    streams: usize,
    any_order: bool,
    /// A million streams take a second or two to open: once, and only if requested.
    rig: Option<Rig>,
}

impl Live {
    fn rig(&mut self) -> &mut Rig {
        self.rig.get_or_insert_with(|| {
            let mut rig = Rig::live(self.streams);
            if self.any_order {
                rig.shuffle();
            }
            rig
        })
    }
}
