//! A growing number of streams on one server: memory of each in the program and in the kernel, and the cost
//! of an event to all.

use super::{CPU_PER_DELIVERY, kernel_memory, millis, percentile, warm_server};
use crate::Result;
use crate::procfs;
use crate::rig::{Metric, Rig};
use crate::server::Subject;
use crate::subscribers::Leave;
use crate::table::{self, count, figure};
use std::time::Instant;

/// Steps on the way up.
const STEPS: usize = 10;

/// Events at each step, one at a time.
const EVENTS: usize = 10;

pub(super) fn run(rig: &mut Rig) -> Result<()> {
    let streams = rig.streams_at_most();
    let server = warm_server(rig, Subject::Hub, streams)?;
    let mut subscribers = rig.subscribers(streams)?;
    let (memory, kernel) = (server.memory()?.counted, procfs::kernel_memory()?);
    let columns = [
        Metric { name: "opened per second", unit: "1" },
        Metric { name: "server CPU per stream accepted", unit: "µs" },
        Metric { name: "user memory", unit: "B per stream" },
        kernel_memory(),
        CPU_PER_DELIVERY,
        Metric { name: "to the last stream p50", unit: "ms" },
    ];
    let mut header = vec!["streams".to_owned()];
    header.extend(columns.map(|metric| format!("{}, {}", metric.name, metric.unit)));
    let mut rows = vec![header];
    let mut open = 0;
    for step in 1..=STEPS {
        let goal = streams * step / STEPS;
        let more = goal - open;
        if more == 0 {
            continue;
        }
        rig.progress(&format!("ramp: {} of {} streams", count(goal as u64), count(streams as u64)));
        let (cpu, start) = (server.cpu()?, Instant::now());
        subscribers.open(server.address(), "streams", more)?;
        let wall = start.elapsed();
        let accepted = (server.cpu()? - cpu).nanos;
        open = goal;
        let per_stream = |now: u64, before: u64| now.saturating_sub(before) as f64 / open as f64;
        let memory = per_stream(server.memory()?.counted, memory);
        let kernel = per_stream(procfs::kernel_memory()?, kernel);
        let cpu = server.cpu()?;
        let mut published = subscribers.publish(EVENTS, 1)?;
        let delivering = (server.cpu()? - cpu).nanos;
        published.latencies.sort();
        let values = [
            more as f64 / wall.as_secs_f64(),
            accepted as f64 / more as f64 / 1e3,
            memory,
            kernel,
            delivering as f64 / (open * EVENTS) as f64,
            millis(percentile(&published.latencies, 50)),
        ];
        let mut row = vec![count(open as u64)];
        for (metric, value) in columns.into_iter().zip(values) {
            rig.record.figure(&format!("ramp-{open}"), "hub", 1, metric, value)?;
            row.push(figure(value));
        }
        rows.push(row);
    }
    subscribers.leave(Leave::Reset)?;
    rig.progress("");
    table::print(
        &format!("ramp: to {} streams on one topic, {EVENTS} events at each step", count(streams as u64)),
        &rows,
    );
    Ok(())
}
