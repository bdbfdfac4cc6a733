//! How much user memory of the server an idle stream takes. What the kernel keeps for a socket is not in these
//! figures, and comes on top for every server alike.

use super::warm_server;
use crate::Result;
use crate::rig::{Metric, Rig};
use crate::server::Subject;
use crate::table::{self, count, figure};

pub(super) fn run(rig: &mut Rig) -> Result<bool> {
    let streams = rig.streams(15_000);
    rig.progress("memory: opening streams");
    let server = warm_server(rig, Subject::Hub, streams)?;
    let before = server.memory()?;
    let mut subscribers = rig.subscribers(streams)?;
    subscribers.open(server.address(), "streams", streams)?;
    let after = server.memory()?;
    // Asked last, as answering takes memory too.
    let stats = server.stats()?;
    rig.progress("");

    let mut rows =
        vec![["of the hub, KiB", "before", "with streams", "bytes per stream"].map(String::from).to_vec()];
    for (name, before, after) in [
        ("RSS", before.resident, after.resident),
        ("RSS anonymous", before.anonymous, after.anonymous),
        ("RSS anonymous counted by page", before.counted, after.counted),
    ] {
        let per_stream = (after as f64 - before as f64) / streams as f64;
        rig.record("memory", "hub", 1, Metric { name, unit: "B per stream" }, per_stream)?;
        rows.push(vec![
            name.to_owned(),
            figure(before as f64 / 1024.0),
            figure(after as f64 / 1024.0),
            figure(per_stream),
        ]);
    }
    table::print(
        &format!("memory: {} idle streams on one topic, without kernel memory", count(streams as u64)),
        &rows,
    );
    println!("  /stats: {}", stats.0);
    let counted = stats.number("streams")?;
    if counted != streams as u64 {
        println!("  FAILED: {counted} streams in /stats, {streams} are open");
    }
    Ok(counted == streams as u64)
}
