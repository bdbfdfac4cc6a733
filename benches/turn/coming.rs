//! Streams that open and close: accepted, requested, subscribed; unsubscribed, reported and closed.

use crate::rig::{LIVE, Rig, request, time};
use criterion::{BenchmarkId, Criterion, Throughput};

const STREAMS: usize = 1_000;

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("coming and going");
    group.throughput(Throughput::Elements(STREAMS as u64));
    // The number of other streams should make no difference.
    for others in [0, 100_000] {
        let mut rig = None;
        let made = || {
            let mut rig = Rig::new();
            rig.open("/live", others);
            rig.net().forget();
            rig.net().input = request("/live", "");
            rig
        };
        for (name, comes) in [("open", true), ("close", false)] {
            group.bench_function(BenchmarkId::new(name, format!("beside {others}")), |bencher| {
                let rig = rig.get_or_insert_with(made);
                bencher.iter_custom(|iterations| {
                    let times = (0..iterations).map(|_| {
                        rig.net().input = request("/live", "");
                        let open = time(|| rig.connect(STREAMS));
                        assert_eq!(rig.server.context().subscribers(LIVE), others + STREAMS);
                        let close = time(|| rig.leave(others));
                        assert_eq!(rig.server.context().subscribers(LIVE), others);
                        if comes { open } else { close }
                    });
                    times.sum()
                });
            });
        }
    }
    group.finish();
}
