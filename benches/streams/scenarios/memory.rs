//! The memory of an idle stream: user memory of the server, and separately the kernel's memory for both ends
//! of a connection, which is the same for every server.

use super::{in_turn, kernel_memory, warm_server};
use crate::Result;
use crate::procfs;
use crate::rig::{Figures, Metric, Rig};
use crate::server::{Stats, Subject};
use crate::subscribers::Leave;
use crate::table::count;

pub(super) fn run(rig: &mut Rig) -> Result<bool> {
    let streams = rig.streams(18_000);
    if rig.patterns.is_empty() {
        let title = format!("memory: {} idle streams on one topic", count(streams as u64));
        return measure(rig, "memory", "streams", streams, &title);
    }
    let mut passed = true;
    for pattern in rig.patterns.clone() {
        let scenario = format!("memory {pattern}");
        let title = format!("{scenario}: {} idle streams", count(streams as u64));
        passed &= measure(rig, &scenario, &format!("streams?pattern={pattern}"), streams, &title)?;
    }
    Ok(passed)
}

fn measure(rig: &mut Rig, scenario: &str, topic: &str, streams: usize, title: &str) -> Result<bool> {
    let mut passed = true;
    in_turn(rig, scenario, &[Subject::Hub], title, |rig, subject| {
        let (figures, stats) = grow(rig, subject, topic, streams)?;
        let counted = stats.map(|stats| stats.number("streams")).transpose()?;
        if let Some(counted) = counted.filter(|&counted| counted != streams as u64) {
            println!("  FAILED: {counted} streams in /stats, {streams} are open");
            passed = false;
        }
        Ok(figures)
    })?;
    Ok(passed)
}

/// Bytes of memory for each stream, while it is open and after all have left, and the hub's own figures.
fn grow(rig: &mut Rig, subject: Subject, topic: &str, streams: usize) -> Result<(Figures, Option<Stats>)> {
    let server = warm_server(rig, subject, streams)?;
    let mut subscribers = rig.subscribers(streams)?;
    let (before, kernel_before, descriptors) =
        (server.memory()?, procfs::kernel_memory()?, server.descriptors()?);
    subscribers.open(server.address(), topic, streams)?;
    let (after, kernel_after) = (server.memory()?, procfs::kernel_memory()?);
    // Requested last, as the reply takes memory too.
    let stats = if subject == Subject::Hub { Some(server.stats()?) } else { None };
    subscribers.leave(Leave::Fin)?;
    // A peer may notice only at its next write: then the memory that it keeps counts.
    match (server.until_descriptors(descriptors), subject) {
        (Err(_), Subject::Peer(_)) => {}
        (noticed, _) => noticed?,
    }
    let left = server.memory()?;
    let figures = [
        ("RSS", before.resident, after.resident),
        ("RSS anonymous", before.anonymous, after.anonymous),
        ("RSS anonymous counted by page", before.counted, after.counted),
        (kernel_memory().name, kernel_before, kernel_after),
        ("RSS anonymous left when all have left", before.counted, left.counted),
    ]
    .map(|(name, before, after)| {
        (Metric { name, unit: "B per stream" }, (after as f64 - before as f64) / streams as f64)
    });
    Ok((figures.to_vec(), stats))
}
