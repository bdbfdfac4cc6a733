//! Deliveries and nothing else, for a profiler.

use crate::rig::Rig;

/// Deliveries of which the instructions are counted, at least.
const DELIVERIES: usize = 1_000_000;

pub(crate) fn deliver(streams: usize, events: usize) {
    let mut rig = Rig::live(streams);
    // The first waves make room for the others.
    (0..10).for_each(|_| rig.deliver(events));
    let waves = DELIVERIES.div_ceil(streams * events);
    deliver_waves(&mut rig, events, waves);
    println!("{} deliveries", streams * events * waves);
}

/// What is counted is what happens in here.
#[inline(never)]
fn deliver_waves(rig: &mut Rig, events: usize, waves: usize) {
    (0..waves).for_each(|_| rig.deliver(events));
}
