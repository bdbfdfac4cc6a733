//! Some streams with small buffers that never read, among many that do: their cost for the others, and how
//! they are closed.

use super::{Checks, millis, percentile, warm_server};
use crate::Result;
use crate::rig::{Figures, Metric, Rig};
use crate::server::Subject;
use crate::subscribers::Leave;
use crate::table::{Comparison, count};

const STALLED: usize = 200;

/// Events of one turn.
const BURST: usize = 16;

/// Further memory that the server may need: one log of 1 MiB, its spare room, and what the allocator keeps.
const MEMORY_MAX: u64 = 8 << 20;

const SUBJECTS: [&str; 2] = ["with stalled", "without"];

pub(super) fn run(rig: &mut Rig) -> Result<bool> {
    let streams = rig.streams(5_000).saturating_sub(STALLED).max(1);
    let events = rig.events.unwrap_or(20_000);
    let mut comparison = Comparison::new("stalled", &SUBJECTS);
    let mut checks = Checks::new();
    for run in 1..=rig.runs {
        for (subject, stalled) in SUBJECTS.into_iter().zip([STALLED, 0]) {
            rig.progress(&format!("stalled: run {run} of {}: {subject}", rig.runs));
            let figures = measure(rig, run, streams, stalled, events, &mut checks)?;
            comparison.keep(rig, subject, run, &figures)?;
        }
    }
    rig.progress("");
    comparison.print(&format!(
        "stalled: {} streams that read, {} events of 64 bytes in turns of {BURST}, runs in turn: {}",
        count(streams as u64),
        count(events as u64),
        rig.runs,
    ));
    Ok(checks.print(&format!("stalled: what became of {STALLED} streams that never read")))
}

fn measure(
    rig: &mut Rig,
    run: usize,
    streams: usize,
    stalled: usize,
    events: usize,
    checks: &mut Checks,
) -> Result<Figures> {
    let server = warm_server(rig, Subject::Hub, streams)?;
    let mut subscribers = rig.subscribers(streams)?;
    let mut others = rig.subscribers(STALLED)?;
    subscribers.open(server.address(), "streams", streams)?;
    if stalled > 0 {
        others.stall(server.address(), "streams", stalled)?;
    }
    let memory_before = server.memory()?.counted;
    subscribers.publish(10, BURST)?;
    let before = server.cpu()?;
    let turns = events.div_ceil(BURST);
    let published = subscribers.publish(turns, BURST)?;
    let cpu = server.cpu()? - before;
    let memory = server.memory()?.counted.saturating_sub(memory_before);
    let stats = server.stats()?;

    if stalled > 0 {
        // The first field of that name belongs to the streams.
        let (lagged, gone) = (stats.number("lagged")?, stats.number("stalled")?);
        let name = format!("run {run}: closed by lag or stall");
        checks.add(&name, count(lagged + gone), count(stalled as u64), lagged + gone == stalled as u64);
        let name = format!("run {run}: streams left");
        let left = stats.number("streams")?;
        checks.add(&name, count(left), count(streams as u64), left == streams as u64);
        let name = format!("run {run}: memory of the server grew by, KiB");
        checks.add(
            &name,
            count(memory >> 10),
            format!("≤ {}", count(MEMORY_MAX >> 10)),
            memory <= MEMORY_MAX,
        );
    }
    subscribers.leave(Leave::Reset)?;
    let mut latencies = published.latencies;
    latencies.sort();
    let deliveries = (streams * turns * BURST) as f64;
    Ok(vec![
        (Metric { name: "to the last stream p50", unit: "ms" }, millis(percentile(&latencies, 50))),
        (Metric { name: "to the last stream p99", unit: "ms" }, millis(percentile(&latencies, 99))),
        (Metric { name: "server CPU per delivery", unit: "ns" }, cpu.nanos as f64 / deliveries),
        (Metric { name: "memory grew by", unit: "KiB" }, memory as f64 / 1024.0),
    ])
}
