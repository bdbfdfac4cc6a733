//! Every event reaches every stream, once and in order; the server counts the same; and when all have left,
//! it has freed everything.
//!
//! The client checks the order for every stream and every byte of data: see `decoder.rs`.

use super::{Checks, warm_server};
use crate::Result;
use crate::rig::{Metric, Rig};
use crate::server::Subject;
use crate::subscribers::Leave;
use crate::table::{self, count, figure};

pub(super) fn run(rig: &mut Rig) -> Result<bool> {
    let streams = rig.streams(15_000);
    let events = rig.events.unwrap_or(100);
    let expected = (streams * events) as u64;
    rig.progress("deliver: opening streams");
    let server = warm_server(rig, Subject::Hub, streams)?;
    // Counted before any request: a connection to `/stats` may outlive its reply for a moment.
    let descriptors_before = server.descriptors()?;
    let delivered_before = server.until_streams(0)?.number("events_delivered")?;
    let memory_before = server.memory()?;

    let mut subscribers = rig.subscribers(streams)?;
    subscribers.open(server.address(), "streams", streams)?;
    let open = server.stats()?;
    let memory_open = server.memory()?;
    rig.progress("deliver: publishing");
    let published = subscribers.publish(events, 1)?;
    let delivered = server.stats()?.number("events_delivered")?.saturating_sub(delivered_before);
    let memory_delivered = server.memory()?;
    rig.progress("deliver: leaving");
    subscribers.leave(Leave::Fin)?;
    let left = server.until_streams(0)?;
    let returned = server.until_descriptors(descriptors_before);
    let descriptors_after = server.descriptors()?;
    let memory_after = server.memory()?;
    rig.progress("");

    let checks = [
        ("streams in /stats while open", open.number("streams")?, streams as u64),
        // The client has seen each of them, or it would have failed.
        ("events delivered in /stats", delivered, expected),
        ("streams in /stats at the end", left.number("streams")?, 0),
    ];
    let mut table = Checks::new();
    for (name, is, has_to_be) in checks {
        table.add(name, count(is), count(has_to_be), is == has_to_be);
        rig.record.figure("deliver", "hub", 1, Metric { name, unit: "1" }, is as f64)?;
    }
    let at_most = format!("≤ {}", count(descriptors_before as u64));
    table.add("open descriptors at the end", count(descriptors_after as u64), at_most, returned.is_ok());
    let title = format!(
        "deliver: {} streams, {} events, each everywhere and in order",
        count(streams as u64),
        count(events as u64)
    );
    let passed = table.print(&title);

    let mut rows = vec![
        ["of the hub, KiB", "before", "streams open", "events sent", "all left"].map(String::from).to_vec(),
    ];
    let memories = [memory_before, memory_open, memory_delivered, memory_after];
    for (name, values) in [
        ("RSS", memories.map(|memory| memory.resident)),
        ("RSS anonymous", memories.map(|memory| memory.anonymous)),
    ] {
        let mut row = vec![name.to_owned()];
        row.extend(values.iter().map(|&bytes| figure(bytes as f64 / 1024.0)));
        rows.push(row);
        let metric = Metric { name, unit: "B kept" };
        rig.record.figure("deliver", "hub", 1, metric, values[3] as f64 - values[0] as f64)?;
    }
    table::print("deliver: memory", &rows);
    println!(
        "  {:.2} s for {} deliveries; /stats: {}",
        published.wall.as_secs_f64(),
        count(expected),
        left.0
    );
    Ok(passed)
}
