//! Many events at once to many streams, flat out: what batching is worth.
//!
//! A burst is published as pipelined requests in one write on one connection. The floor without batching says what
//! each event costs by itself, the one with batching what a burst costs at least.

use super::{Traffic, names, progress, traffic};
use crate::Result;
use crate::rig::Rig;
use crate::server::Subject;
use crate::table::{Comparison, count};

const SUBJECTS: [Subject; 3] = [Subject::Hub, Subject::Floor, Subject::FloorCoalesce];

pub(super) fn run(rig: &mut Rig) -> Result<()> {
    let streams = rig.streams(5_000);
    let events = rig.events.unwrap_or(640);
    let subjects = rig.subjects(&SUBJECTS);
    for burst in [16, 64] {
        let scenario = format!("burst-{burst}");
        let turns = events.div_ceil(burst);
        let mut comparison = Comparison::new(&scenario, &names(&subjects));
        for run in 1..=rig.runs {
            for &subject in &subjects {
                progress(rig, &scenario, run, subject);
                let figures = traffic(rig, subject, Traffic { streams, turns, burst, warm_up: 2 });
                comparison.add(rig, subject, run, figures)?;
            }
        }
        rig.progress("");
        comparison.print(&format!(
            "burst: {} streams, {turns} times {burst} events of 64 bytes, runs in turn: {}",
            count(streams as u64),
            rig.runs,
        ));
    }
    Ok(())
}
