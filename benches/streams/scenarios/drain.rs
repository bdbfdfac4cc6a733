//! SIGTERM to a server with many streams: every stream closes cleanly, spread over the window, and the server
//! exits in time.

use super::{Checks, percentile, warm_server};
use crate::Result;
use crate::rig::{Metric, Rig};
use crate::server::Subject;
use crate::table::count;
use std::time::Duration;

/// The window of the examples.
const WINDOW: Duration = Duration::from_secs(2);

pub(super) fn run(rig: &mut Rig) -> Result<bool> {
    let streams = rig.streams(5_000);
    let mut checks = Checks::new();
    for run in 1..=rig.runs {
        rig.progress(&format!("drain: run {run} of {}", rig.runs));
        let server = warm_server(rig, Subject::Hub, streams)?;
        let mut subscribers = rig.subscribers(streams)?;
        subscribers.open(server.address(), "streams", streams)?;
        subscribers.publish(1, 1)?;
        // The client fails unless the last chunk reaches each stream.
        let (exit, mut ends) = subscribers.end(server.pid())?;
        ends.sort();
        let name = format!("run {run}: streams that saw a clean end");
        checks.add(&name, count(ends.len() as u64), count(streams as u64), ends.len() == streams);
        for (percent, low, high) in [(10, 0.0, 0.3), (50, 0.3, 0.7), (90, 0.6, 1.0)] {
            let end = percentile(&ends, percent);
            let share = end.as_secs_f64() / WINDOW.as_secs_f64();
            let name = format!("run {run}: {percent} % had ended after, s");
            let bounds = format!("{:.1} … {:.1}", low * 2.0, high * 2.0);
            checks.add(&name, format!("{:.2}", end.as_secs_f64()), bounds, (low..=high).contains(&share));
        }
        let name = format!("run {run}: the server had ended after, s");
        let in_time = exit <= WINDOW + WINDOW / 20;
        checks.add(
            &name,
            format!("{:.2}", exit.as_secs_f64()),
            format!("≤ {:.1}", (WINDOW + WINDOW / 20).as_secs_f64()),
            in_time,
        );
        rig.record.figure(
            "drain",
            "hub",
            run,
            Metric { name: "end of the server", unit: "s" },
            exit.as_secs_f64(),
        )?;
    }
    rig.progress("");
    Ok(checks.print(&format!("drain: SIGTERM with {} streams, window {WINDOW:?}", count(streams as u64))))
}
