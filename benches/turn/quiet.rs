//! Work while nothing is published: the sweep, heartbeats, timers.

use crate::rig::{Rig, time};
use criterion::{Criterion, Throughput};
use mio_sse::Event;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

const STREAMS: usize = 100_000;
const TIMERS: usize = 10_000;

/// Period of the sweep with the default limits, and its number of slices.
const PERIOD: Duration = Duration::from_millis(500);
const SLICES: u32 = 16;

/// Within this time without events each stream gets a heartbeat.
const SILENCE: Duration = Duration::from_secs(15);

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("sweep");
    group.throughput(Throughput::Elements(STREAMS as u64));
    group.bench_function("one period over 100,000 idle streams", |bencher| {
        let mut rig = Rig::with(|config| config.heartbeat = None);
        rig.open("/live", STREAMS);
        let writes = rig.net().writes;
        bencher.iter(|| rig.pass(PERIOD));
        assert_eq!(rig.net().writes, writes);
        assert_eq!(rig.server.stats().streams, STREAMS as u64);
    });
    group.sample_size(10);
    group.bench_function("15 s, with a heartbeat for each of 100,000 streams", |bencher| {
        let mut rig = Rig::new();
        rig.open("/live", STREAMS);
        bencher.iter(|| {
            let before = rig.server.stats().heartbeats;
            rig.pass(SILENCE);
            let beats = rig.server.stats().heartbeats - before;
            let each = STREAMS as u64;
            assert!((each..2 * each).contains(&beats), "{beats}");
            assert!(rig.net().tail().ends_with(b":\n\r\n"));
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("timers");
    group.throughput(Throughput::Elements(TIMERS as u64));
    let fired = Arc::new(AtomicU64::new(0));
    let delay = |number: usize| Duration::from_millis(1 + (number * 7919 % 10_000) as u64);
    group.bench_function("set 10,000, cancel them", |bencher| {
        let mut rig = Rig::new();
        let mut ids = Vec::new();
        bencher.iter(|| {
            let mut cx = rig.server.context();
            ids.extend((0..TIMERS).map(|number| cx.after_global(delay(number), |_cx| {})));
            assert!(ids.drain(..).all(|id| cx.cancel(id)));
        });
        assert_eq!(rig.server.stats().timers, 0);
    });
    group.bench_function("set 10,000, let them fire", |bencher| {
        let mut rig = Rig::new();
        bencher.iter(|| {
            let before = fired.load(Ordering::Relaxed);
            let mut cx = rig.server.context();
            for number in 0..TIMERS {
                let fired = fired.clone();
                cx.after_global(delay(number), move |_cx| {
                    fired.fetch_add(1, Ordering::Relaxed);
                });
            }
            rig.net().now += Duration::from_secs(10);
            rig.turn_until(|rig| rig.server.stats().timers == 0);
            assert_eq!(fired.load(Ordering::Relaxed) - before, TIMERS as u64);
        });
    });
    group.bench_function("10,000 streams set one each, and cancel it", |bencher| {
        let mut rig = Rig::new();
        rig.open("/alone", TIMERS);
        let streams = rig.server.handler().opened.clone();
        let mut ids = Vec::new();
        bencher.iter(|| {
            let mut cx = rig.server.context();
            let timers = streams.iter().enumerate().map(|(number, stream)| {
                cx.after(*stream, delay(number), |_stream, _cx| {}).expect("an open stream")
            });
            ids.extend(timers);
            assert!(ids.drain(..).all(|id| cx.cancel(id)));
        });
        assert_eq!(rig.server.stats().timers, 0);
    });
    group.bench_function("a tick of 10,000 streams, each with a timer that sends", |bencher| {
        let mut rig = Rig::with(|config| config.heartbeat = None);
        rig.open("/alone", TIMERS);
        let second = Duration::from_secs(1);
        for stream in rig.server.handler().opened.clone() {
            let mut cx = rig.server.context();
            cx.every(stream, second, |stream, cx| cx.send(stream, Event::new().data("tick")))
                .expect("an open stream");
        }
        bencher.iter_custom(|iterations| {
            let before = rig.server.stats().events_delivered;
            let tick = |rig: &mut Rig| {
                rig.net().now += second;
                rig.turn_until(|rig| rig.server.next_timeout() != Some(Duration::ZERO));
            };
            let took = time(|| (0..iterations).for_each(|_| tick(&mut rig)));
            let delivered = rig.server.stats().events_delivered - before;
            assert_eq!(delivered, iterations * TIMERS as u64);
            took
        });
    });
    group.finish();
}

impl Rig {
    /// Lets time pass, in steps of a slice of the sweep.
    fn pass(&mut self, time: Duration) {
        let slice = PERIOD / SLICES;
        let steps = time.as_nanos() / slice.as_nanos();
        for _ in 0..steps {
            self.net().now += slice;
            self.turn();
        }
    }
}
