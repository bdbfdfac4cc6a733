//! Many events at once to many streams, flat out: the gain of batching.
//!
//! A burst is published as pipelined requests in one write on one connection. The floor without coalescing
//! shows the cost of single events, the one with coalescing the least cost of a burst.

use super::{Traffic, in_turn, traffic};
use crate::Result;
use crate::rig::Rig;
use crate::server::Subject;
use crate::table::count;

const SUBJECTS: [Subject; 3] = [Subject::Hub, Subject::Floor, Subject::FloorCoalesce];

pub(super) fn run(rig: &mut Rig) -> Result<()> {
    let streams = rig.streams(5_000);
    let events = rig.events.unwrap_or(640);
    for burst in [16, 64] {
        let turns = events.div_ceil(burst);
        let title =
            format!("burst: {} streams, {turns} times {burst} events of 64 bytes", count(streams as u64));
        in_turn(rig, &format!("burst-{burst}"), &SUBJECTS, &title, |rig, subject| {
            traffic(rig, subject, Traffic { streams, turns, burst, warm_up: 2 })
        })?;
    }
    Ok(())
}
