//! One event at a time to many streams: the cost of a delivery without batching.

use super::{Traffic, in_turn, traffic};
use crate::Result;
use crate::rig::Rig;
use crate::server::Subject;
use crate::table::count;

const SUBJECTS: [Subject; 2] = [Subject::Hub, Subject::Floor];

pub(super) fn run(rig: &mut Rig) -> Result<()> {
    let streams = rig.streams(5_000);
    let events = rig.events.unwrap_or(200);
    let title = format!(
        "fanout: {} streams, {} events of 64 bytes one at a time",
        count(streams as u64),
        count(events as u64)
    );
    in_turn(rig, "fanout", &SUBJECTS, &title, |rig, subject| {
        traffic(rig, subject, Traffic { streams, turns: events, burst: 1, warm_up: 10 })
    })
}
