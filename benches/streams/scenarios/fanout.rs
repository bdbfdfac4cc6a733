//! One event at a time to many streams: what a delivery costs when nothing can be batched.

use super::{Traffic, names, progress, traffic};
use crate::Result;
use crate::rig::Rig;
use crate::server::Subject;
use crate::table::{Comparison, count};

const SUBJECTS: [Subject; 2] = [Subject::Hub, Subject::Floor];

pub(super) fn run(rig: &mut Rig) -> Result<()> {
    let streams = rig.streams(5_000);
    let events = rig.events.unwrap_or(200);
    let subjects = rig.subjects(&SUBJECTS);
    let mut comparison = Comparison::new("fanout", &names(&subjects));
    for run in 1..=rig.runs {
        for &subject in &subjects {
            progress(rig, "fanout", run, subject);
            let figures = traffic(rig, subject, Traffic { streams, turns: events, burst: 1, warm_up: 10 });
            comparison.add(rig, subject, run, figures)?;
        }
    }
    rig.progress("");
    comparison.print(&format!(
        "fanout: {} streams, {} events of 64 bytes one at a time, runs in turn: {}",
        count(streams as u64),
        count(events as u64),
        rig.runs,
    ));
    Ok(())
}
