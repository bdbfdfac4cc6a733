//! Streams that open and close, some with a reset: what the server keeps of them.

use super::{Checks, warm_server};
use crate::Result;
use crate::rig::Rig;
use crate::server::Subject;
use crate::subscribers::Leave;
use crate::table::count;
use std::time::{Duration, Instant};

/// Streams that are open at the same time.
const WAVE: usize = 1_000;

/// Memory of a wave that the allocator may keep.
const MEMORY_MAX: u64 = 512 << 10;

pub(super) fn run(rig: &mut Rig) -> Result<bool> {
    let streams = rig.streams.unwrap_or(20_000);
    let wave = rig.streams(WAVE).min(WAVE);
    let mut waves = streams.div_ceil(wave);
    let patterns = if rig.patterns.is_empty() { vec!["shared"] } else { rig.patterns.clone() };
    let server = warm_server(rig, Subject::Hub, wave)?;
    let cycle = |rig: &mut Rig, number: usize| -> Result<()> {
        let mut subscribers = rig.subscribers(wave)?;
        let pattern = patterns[number / 2 % patterns.len()];
        subscribers.open(server.address(), &format!("streams?pattern={pattern}"), wave)?;
        // With a topic for each stream, there is no topic to publish to.
        if pattern != "topic" {
            subscribers.publish(1, 1)?;
        }
        subscribers.leave(if number.is_multiple_of(2) { Leave::Fin } else { Leave::Reset })
    };
    // The first streams of each kind make everything grow to its size.
    for number in 0..2 * patterns.len() {
        cycle(rig, number)?;
    }
    let before = server.until_streams(0)?;
    let (descriptors, memory) = (server.descriptors()?, server.memory()?.counted);
    let begun = Instant::now();
    let seconds = rig.seconds.map(|seconds| Duration::from_secs(seconds as u64));
    let mut number = 0;
    while seconds.map_or(number < waves, |seconds| begun.elapsed() < seconds) {
        let took = begun.elapsed().as_secs();
        rig.progress(&format!("churn: {} streams in {took} s", count((number * wave) as u64)));
        cycle(rig, number)?;
        number += 1;
    }
    waves = number;
    let after = server.until_streams(0)?;
    let returned = server.until_descriptors(descriptors);
    let grown = server.memory()?.counted.saturating_sub(memory);
    rig.progress("");

    let mut checks = Checks::new();
    let difference =
        |name: &str| Ok::<_, Box<dyn std::error::Error>>(after.number(name)? - before.number(name)?);
    let total = (waves * wave) as u64;
    for (name, has_to_be) in [("streams_opened", total), ("streams_closed", total)] {
        let is = difference(name)?;
        checks.add(name, count(is), count(has_to_be), is == has_to_be);
    }
    let (fin, reset) = (difference("peer_closed")?, difference("reset")?);
    checks.add("closed by FIN and by RST", count(fin + reset), count(total), fin + reset == total);
    for name in ["streams", "topics", "log_bytes"] {
        let is = after.number(name)?;
        checks.add(name, count(is), 0, is == 0);
    }
    let now = server.descriptors()?;
    checks.add("descriptors", now, format!("≤ {descriptors}"), returned.is_ok());
    checks.add("memory grew by, KiB", grown >> 10, format!("≤ {}", MEMORY_MAX >> 10), grown <= MEMORY_MAX);
    let title =
        format!("churn: {} streams, {} at a time, FIN and RST in turn", count(total), count(wave as u64));
    Ok(checks.print(&title))
}
