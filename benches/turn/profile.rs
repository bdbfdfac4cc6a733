//! Nothing but deliveries, or streams that open and close: for a profiler.

use crate::requests::BROWSER;
use crate::rig::{Rig, request};

/// Least number of deliveries whose instructions are counted.
const DELIVERIES: usize = 1_000_000;

pub(crate) fn deliver(streams: usize, events: usize) {
    let mut rig = Rig::live(streams);
    // The first waves allocate memory for the later ones.
    (0..10).for_each(|_| rig.deliver(events));
    let waves = DELIVERIES.div_ceil(streams * events);
    deliver_waves(&mut rig, events, waves);
    println!("{} deliveries", streams * events * waves);
}

/// The instructions in here are counted.
#[inline(never)]
fn deliver_waves(rig: &mut Rig, events: usize, waves: usize) {
    (0..waves).for_each(|_| rig.deliver(events));
}

/// Opens and closes streams with a browser's request, for an application with a [`Router`](mio_sse::Router).
pub(crate) fn come_and_go(streams: usize) {
    let mut rig = Rig::new();
    // The first streams allocate memory for the later ones. One of them stays, so that the topic does.
    let stays = 1;
    rig.open("/events/live", stays);
    rig.net().forget();
    for _ in 0..2 {
        rig.net().input = request("/events/live", BROWSER);
        open_streams(&mut rig, streams);
        close_streams(&mut rig, stays);
    }
    println!("{} streams", 2 * streams);
}

#[inline(never)]
fn open_streams(rig: &mut Rig, streams: usize) {
    rig.connect_and_read(streams);
}

#[inline(never)]
fn close_streams(rig: &mut Rig, others: usize) {
    rig.leave(others);
}
