//! Idle streams: the cost of heartbeats and of the sweep.

use super::{Checks, Watch, names, progress, warm_server};
use crate::Result;
use crate::rig::{Figures, Metric, Rig};
use crate::server::Subject;
use crate::subscribers::Leave;
use crate::table::{Comparison, count};
use std::time::Duration;

/// The library's default, which the hub has. Within this time after they are opened, all streams have their
/// first heartbeat and none its second. Later heartbeats are somewhat closer, as they are spread and never
/// late.
const INTERVAL: Duration = Duration::from_secs(15);

/// Share of heartbeats that may be missing or double, as the interval may end at the time of some of them.
const EDGE: f64 = 0.02;

pub(super) fn run(rig: &mut Rig) -> Result<bool> {
    let streams = rig.streams(18_000);
    let subjects = [Subject::Hub];
    let mut comparison = Comparison::new("heartbeats", &names(&subjects));
    let mut checks = Checks::new();
    for run in 1..=rig.runs {
        progress(rig, "heartbeats", run, Subject::Hub);
        let (figures, heartbeats) = rest(rig, streams)?;
        let name = format!("run {run}: heartbeats within {INTERVAL:?}");
        let off = (heartbeats as f64 - streams as f64).abs();
        let holds = heartbeats > 0 && off <= (EDGE * streams as f64).max(1.0);
        checks.add(&name, count(heartbeats), count(streams as u64), holds);
        comparison.add(rig, Subject::Hub, run, Ok(figures))?;
    }
    rig.progress("");
    let title = format!("heartbeats: {} streams, nothing published for {INTERVAL:?}", count(streams as u64));
    comparison.print(&format!("{title}, runs: {}", rig.runs));
    Ok(checks.print("heartbeats: how many came"))
}

/// The figures of a run, and the number of heartbeats.
fn rest(rig: &mut Rig, streams: usize) -> Result<(Figures, u64)> {
    let server = warm_server(rig, Subject::Hub, streams)?;
    let mut subscribers = rig.subscribers(streams)?;
    subscribers.open(server.address(), "streams", streams)?;

    let watch = Watch::start(&server, &subscribers)?;
    let (heartbeats, bytes) = subscribers.rest(INTERVAL)?;
    let spent = watch.stop(&server, &subscribers)?;

    subscribers.leave(Leave::Reset)?;
    let each = |of: f64| of / heartbeats.max(1) as f64;
    let mut figures = vec![
        (Metric { name: "server CPU per heartbeat", unit: "ns" }, each(spent.server.nanos as f64)),
        (Metric { name: "of it in the kernel", unit: "%" }, 100.0 * spent.server.system_share()),
        (Metric { name: "bytes per heartbeat", unit: "B" }, each(bytes as f64)),
    ];
    figures.extend(spent.busy(INTERVAL));
    Ok((figures, heartbeats))
}
