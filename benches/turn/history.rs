//! Resuming from a topic's history, and catching up after conflation.

use crate::net::Check;
use crate::rig::{HISTORY, HISTORY_EVENTS, KEYED, Rig, request, time};
use criterion::{BenchmarkId, Criterion, Throughput};
use mio_sse::Event;
use std::time::Duration;

/// Keys of the conflated topic. The events are published while a reader has no room.
const KEYS: usize = 100;
const SUPERSEDED: usize = 100_000;

pub(crate) fn measure(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("resume");
    let mut history = None;
    for (streams, back) in [(1, 10), (1, 1_000), (1, 10_000), (1_000, 10), (1_000, 1_000)] {
        group.throughput(Throughput::Elements((streams * back) as u64));
        let name = if streams == 1 { "1 stream".to_owned() } else { format!("{streams} streams") };
        group.bench_function(BenchmarkId::new(name, format!("{back} events back")), |bencher| {
            let history = history.get_or_insert_with(Kept::new);
            history.check(back);
            bencher.iter_custom(|iterations| (0..iterations).map(|_| history.resume(streams, back)).sum());
        });
    }
    group.finish();

    let mut group = criterion.benchmark_group("conflated");
    group.sample_size(10);
    group.throughput(Throughput::Elements(SUPERSEDED as u64));
    group.bench_function("100,000 events on 100 keys, to a reader without room", |bencher| {
        bencher.iter_custom(|iterations| (0..iterations).map(|_| conflated().0).sum());
    });
    group.throughput(Throughput::Elements(KEYS as u64));
    group.bench_function("the 100 that are left, when it has room", |bencher| {
        bencher.iter_custom(|iterations| (0..iterations).map(|_| conflated().1).sum());
    });
    group.finish();
}

/// A history, and the bytes of a stream that has received all of it.
struct Kept {
    rig: Rig,
    /// End of each event in these bytes, and its id.
    events: Vec<(usize, String)>,
    given: Vec<u8>,
}

impl Kept {
    fn new() -> Self {
        let mut rig = Rig::new();
        rig.open("/history", 1);
        rig.net().check = Check::Keep(Vec::new());
        // One more than the history keeps: a client that resumes for all of them saw that one last.
        for number in 0..=HISTORY_EVENTS {
            let event = Event::new().data(format!("{number:08}{}", "x".repeat(56)));
            rig.server.context().publish(HISTORY, event).expect("an event that can be written");
            rig.turn();
        }
        let given = rig.net().tail().to_vec();
        let text = str::from_utf8(&given).expect("text");
        let mut end = 0;
        let events = text.split_inclusive("\n\n\r\n").map(|frame| {
            end += frame.len();
            let id = frame.lines().find_map(|line| line.strip_prefix("id: ")).expect("an id");
            (end, id.to_owned())
        });
        let events: Vec<_> = events.collect();
        assert_eq!(events.len(), HISTORY_EVENTS + 1);
        rig.hang_up();
        Self { rig, events, given }
    }

    /// The request that resumes `back` events before the end, and the body that it has to get.
    fn back(&self, back: usize) -> (Vec<u8>, &[u8]) {
        let (end, id) = &self.events[HISTORY_EVENTS - back];
        (request("/history", &format!("Last-Event-ID: {id}\r\n")), &self.given[*end..])
    }

    /// Checks that exactly these events arrive.
    fn check(&mut self, back: usize) {
        let (input, expected) = self.back(back);
        let expected = expected.to_vec();
        self.rig.net().check = Check::Keep(Vec::new());
        self.rig.net().input = input;
        self.rig.connect_and_read(1);
        assert!(self.rig.net().tail().ends_with(&expected));
        let head = self.rig.net().tail().len() - expected.len();
        let head = str::from_utf8(&self.rig.net().tail()[..head]).expect("text");
        assert!(!head.contains("data:"), "no event before them: {head}");
        self.rig.hang_up();
        self.rig.net().check = Check::Tail(Vec::new());
    }

    /// Time until `streams` streams that resume have their missed events.
    fn resume(&mut self, streams: usize, back: usize) -> Duration {
        let (input, expected) = self.back(back);
        let newest = expected[expected.len() - 32..].to_vec();
        self.rig.net().input = input;
        let before = self.rig.server.stats().events_delivered;
        let took = time(|| self.rig.connect_and_read(streams));
        let stats = self.rig.server.stats();
        assert_eq!(stats.events_delivered - before, (streams * back) as u64);
        assert_eq!(stats.gaps, 0);
        assert!(self.rig.net().tail().ends_with(&newest));
        self.rig.hang_up();
        took
    }
}

/// Time to publish events that are superseded at once, and time to deliver the remaining ones to a reader.
fn conflated() -> (Duration, Duration) {
    let mut rig = Rig::new();
    rig.open("/keyed", 1);
    let events: Vec<_> =
        (0..KEYS).map(|key| Event::new().data(format!("{key:064}")).key(key.to_string())).collect();
    rig.net().blocked = true;
    let publish = time(|| {
        for _ in 0..SUPERSEDED / KEYS {
            let mut cx = rig.server.context();
            for event in &events {
                cx.publish(KEYED, event).expect("an event that can be written");
            }
            rig.turn();
        }
    });
    let before = rig.server.stats();
    assert_eq!((before.events_delivered, before.streams_behind), (0, 1));
    rig.net().check = Check::Keep(Vec::new());
    rig.net().make_room();
    let read = time(|| rig.turn_until(|rig| rig.server.stats().streams_behind == 0));
    assert_eq!(rig.server.stats().events_delivered, KEYS as u64);
    let given = rig.net().tail().to_vec();
    let given: Vec<_> = str::from_utf8(&given).expect("text").split_terminator("\n\n\r\n").collect();
    assert!(given.len() == KEYS && given[KEYS - 1].ends_with("99"), "each key once, in order");
    (publish, read)
}
