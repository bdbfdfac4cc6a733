//! Events for one stream alone: sent to it, or to its tag, or from its source.

use crate::net::Check;
use crate::rig::{Rig, SOURCE_EVENTS, request, time};
use criterion::{Criterion, Throughput};
use mio_sse::{Error, Event};

const STREAMS: usize = 10_000;

/// Number of streams with the same tag.
const TAGGED: usize = 10;

pub(crate) fn measure(criterion: &mut Criterion) {
    let event = Event::new().data("x".repeat(64));
    let mut group = criterion.benchmark_group("send");
    group.throughput(Throughput::Elements(STREAMS as u64));
    let mut rig = None;
    let made = || {
        let mut rig = Rig::new();
        rig.open("/alone", STREAMS);
        let streams = rig.server.handler().opened.clone();
        for (number, stream) in streams.iter().enumerate() {
            let tag = (number / TAGGED).to_string();
            rig.server.context().tag(*stream, &tag).expect("an open stream");
        }
        (rig, streams)
    };
    group.bench_function("to each of 10,000 streams", |bencher| {
        let (rig, streams) = rig.get_or_insert_with(made);
        bencher.iter(|| {
            rig.until_each_has_one(|rig| {
                let mut cx = rig.server.context();
                for stream in streams.iter() {
                    cx.send(*stream, &event).expect("an open stream");
                }
            });
        });
    });
    group.bench_function("to 1,000 tags of 10 streams each", |bencher| {
        let (rig, streams) = rig.get_or_insert_with(made);
        let tags: Vec<_> = (0..streams.len() / TAGGED).map(|tag| tag.to_string()).collect();
        bencher.iter(|| {
            rig.until_each_has_one(|rig| {
                let mut cx = rig.server.context();
                for tag in &tags {
                    assert_eq!(cx.send_tagged(tag, &event).expect("an event that can be written"), TAGGED);
                }
            });
        });
    });
    group.finish();

    let mut group = criterion.benchmark_group("stale id");
    group.bench_function("send", |bencher| {
        let mut rig = Rig::new();
        rig.open("/alone", 1);
        let stale = rig.server.handler().opened[0];
        rig.hang_up();
        // Another stream has its slot.
        rig.open("/alone", 1);
        assert_ne!(rig.server.handler().opened[0], stale);
        let before = rig.server.stats().events_sent;
        let mut cx = rig.server.context();
        bencher.iter(|| assert_eq!(cx.send(stale, &event), Err(Error::Closed)));
        assert_eq!(rig.server.stats().events_sent, before);
    });
    group.finish();

    let mut group = criterion.benchmark_group("source");
    for streams in [1, 100] {
        group.throughput(Throughput::Elements(streams as u64 * u64::from(SOURCE_EVENTS)));
        group.bench_function(format!("{streams} streams pull 1,000 events each"), |bencher| {
            let mut rig = Rig::new();
            bencher.iter_custom(|iterations| (0..iterations).map(|_| pull(&mut rig, streams)).sum());
        });
    }
    group.finish();
}

impl Rig {
    /// Runs `work`, and then turns until every stream has one event more.
    fn until_each_has_one(&mut self, work: impl FnOnce(&mut Self)) {
        let streams = self.server.stats().streams;
        let before = self.server.stats().events_delivered;
        let writes = self.net().writes;
        work(self);
        self.turn_until(|rig| rig.server.next_timeout() != Some(std::time::Duration::ZERO));
        assert_eq!(self.server.stats().events_delivered - before, streams);
        assert_eq!(self.net().writes - writes, streams);
    }
}

/// From the request to the end of the stream by its source.
fn pull(rig: &mut Rig, streams: usize) -> std::time::Duration {
    rig.net().check = if streams == 1 { Check::Keep(Vec::new()) } else { Check::Tail(Vec::new()) };
    rig.net().input = request("/source", "");
    let before = rig.server.stats().events_delivered;
    rig.net().connect(streams);
    let took = time(|| rig.turn_until(|rig| rig.server.handler().closed == streams));
    let delivered = rig.server.stats().events_delivered - before;
    assert_eq!(delivered, streams as u64 * u64::from(SOURCE_EVENTS));
    if streams == 1 {
        let given = String::from_utf8_lossy(rig.net().tail());
        let numbers = given.lines().filter_map(|line| line.strip_prefix("data: "));
        assert!(numbers.eq((0..SOURCE_EVENTS).map(|number| number.to_string())), "all of them in order");
    }
    assert!(rig.net().tail().ends_with(b"0\r\n\r\n"), "the end of the body");
    rig.hang_up();
    took
}
