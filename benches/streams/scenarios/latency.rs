//! One event a second to many streams, on a schedule: its latency.
//!
//! Latencies count from the scheduled time of an event. The histogram has all deliveries.

use super::{Watch, in_turn, millis, warm_server};
use crate::Result;
use crate::rig::{Figures, Metric, Rig};
use crate::server::Subject;
use crate::subscribers::Leave;
use crate::table::count;
use std::time::Duration;

const PERIOD: Duration = Duration::from_secs(1);

/// Events before the measured ones.
const WARM_UP: usize = 3;

const SUBJECTS: [Subject; 2] = [Subject::Hub, Subject::Floor];

pub(super) fn run(rig: &mut Rig) -> Result<()> {
    let streams = rig.streams(18_000);
    let events = rig.events.unwrap_or(20);
    let title = format!(
        "latency: {} streams, {} events of 64 bytes, one every {PERIOD:?} on schedule",
        count(streams as u64),
        count(events as u64),
    );
    in_turn(rig, "latency", &SUBJECTS, &title, |rig, subject| on_schedule(rig, subject, streams, events))
}

fn on_schedule(rig: &mut Rig, subject: Subject, streams: usize, events: usize) -> Result<Figures> {
    let server = warm_server(rig, subject, streams)?;
    let mut subscribers = rig.subscribers(streams)?;
    subscribers.open(server.address(), "streams", streams)?;
    subscribers.publish(WARM_UP, 1)?;

    let watch = Watch::start(&server, &subscribers)?;
    let scheduled = subscribers.schedule(events, PERIOD)?;
    let spent = watch.stop(&server, &subscribers)?;

    subscribers.leave(Leave::Reset)?;
    let deliveries = (streams * events) as f64;
    let (each, last) = (scheduled.deliveries, scheduled.lasts);
    let ms = |name, time| (Metric { name, unit: "ms" }, millis(time));
    let mut figures = vec![
        ms("to a stream p50", each.p50),
        ms("to a stream p99", each.p99),
        ms("to a stream p99.9", each.p999),
        ms("to a stream max", each.max),
        ms("to the last stream p50", last.p50),
        ms("to the last stream max", last.max),
        ms("published late by at most", scheduled.late),
    ];
    figures.extend(spent.per_delivery(deliveries));
    figures.push((Metric { name: "bytes per delivery", unit: "B" }, scheduled.bytes as f64 / deliveries));
    figures.extend(spent.busy(scheduled.wall));
    Ok(figures)
}
