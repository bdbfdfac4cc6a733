//! Streams that open and close: the CPU time of accepting one, which includes its request and the response
//! head, and of noticing that one has left.

use super::{Watch, in_turn, warm_server};
use crate::Result;
use crate::procfs;
use crate::rig::{Figures, Metric, Rig};
use crate::server::Subject;
use crate::subscribers::Leave;
use crate::table::count;
use std::time::Instant;

const SUBJECTS: [Subject; 2] = [Subject::Hub, Subject::Floor];

pub(super) fn run(rig: &mut Rig) -> Result<()> {
    let streams = rig.streams(5_000);
    let title = format!("accept: {} streams, {} under way", count(streams as u64), rig.opening);
    in_turn(rig, "accept", &SUBJECTS, &title, |rig, subject| come_and_go(rig, subject, streams))
}

fn come_and_go(rig: &mut Rig, subject: Subject, streams: usize) -> Result<Figures> {
    let server = warm_server(rig, subject, streams)?;
    let descriptors = server.descriptors()?;
    let mut subscribers = rig.subscribers(streams)?;

    let watch = Watch::start(&server, &subscribers)?;
    let start = Instant::now();
    subscribers.open(server.address(), "streams", streams)?;
    let wall = start.elapsed();
    let spent = watch.stop(&server, &subscribers)?;
    let open = server.cpu()?;
    subscribers.leave(Leave::Fin)?;
    let noticed = server.until_descriptors(descriptors);
    let left = server.cpu()?;

    let each = |cpu: procfs::Cpu| cpu.nanos as f64 / streams as f64 / 1e3;
    let mut figures = vec![
        (Metric { name: "server CPU per stream accepted", unit: "µs" }, each(spent.server)),
        (Metric { name: "streams accepted per second", unit: "1" }, streams as f64 / wall.as_secs_f64()),
    ];
    figures.extend(spent.busy(wall));
    match (noticed, subject) {
        // Many peers notice it only at their next write.
        (Err(_), Subject::Peer(_)) => {}
        (noticed, _) => {
            noticed?;
            figures.push((Metric { name: "server CPU per stream that left", unit: "µs" }, each(left - open)));
        }
    }
    Ok(figures)
}
