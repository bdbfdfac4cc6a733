//! How much memory an idle stream takes: user memory of the server, and apart from it what the kernel keeps for both
//! ends of a connection, which comes on top for every server alike.

use super::{in_turn, kernel_memory, warm_server};
use crate::Result;
use crate::procfs;
use crate::rig::{Figures, Metric, Rig};
use crate::server::{Stats, Subject};
use crate::table::count;

pub(super) fn run(rig: &mut Rig) -> Result<bool> {
    let streams = rig.streams(18_000);
    let title = format!("memory: {} idle streams on one topic", count(streams as u64));
    let mut passed = true;
    in_turn(rig, "memory", &[Subject::Hub], &title, |rig, subject| {
        let (figures, stats) = grow(rig, subject, streams)?;
        let counted = stats.map(|stats| stats.number("streams")).transpose()?;
        if let Some(counted) = counted.filter(|&counted| counted != streams as u64) {
            println!("  FAILED: {counted} streams in /stats, {streams} are open");
            passed = false;
        }
        Ok(figures)
    })?;
    Ok(passed)
}

/// Bytes of memory for each stream, and what the hub says of itself.
fn grow(rig: &mut Rig, subject: Subject, streams: usize) -> Result<(Figures, Option<Stats>)> {
    let server = warm_server(rig, subject, streams)?;
    let mut subscribers = rig.subscribers(streams)?;
    let (before, kernel_before) = (server.memory()?, procfs::kernel_memory()?);
    subscribers.open(server.address(), "streams", streams)?;
    let (after, kernel_after) = (server.memory()?, procfs::kernel_memory()?);
    // Asked last, as answering takes memory too.
    let stats = if subject == Subject::Hub { Some(server.stats()?) } else { None };
    let figures = [
        ("RSS", before.resident, after.resident),
        ("RSS anonymous", before.anonymous, after.anonymous),
        ("RSS anonymous counted by page", before.counted, after.counted),
        (kernel_memory().name, kernel_before, kernel_after),
    ]
    .map(|(name, before, after)| {
        (Metric { name, unit: "B per stream" }, (after as f64 - before as f64) / streams as f64)
    });
    Ok((figures.to_vec(), stats))
}
