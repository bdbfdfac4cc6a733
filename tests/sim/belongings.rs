//! Values that a stream gets with its reply: a state, and `on_open` callbacks.

use crate::app::{Shared, play_for_stream, sync, with};
use crate::model::Model;
use mio_sse::{Context, StreamReply};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The state of one stream.
#[derive(Debug)]
struct State {
    /// Index of its stream.
    stream: u32,
    /// Number of states of that stream.
    count: Arc<AtomicU32>,
}

impl Drop for State {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Draws the values that the stream of a reply has when it opens.
pub(crate) fn give_belongings(
    shared: &Shared,
    model: &mut Model,
    index: u32,
    mut reply: StreamReply,
    cx: &mut Context<'_>,
) -> StreamReply {
    let stream = &mut model.streams[index as usize];
    for _ in 0..model.rng.u8(..3) {
        // The last of several counts.
        stream.has_state = true;
        stream.states.fetch_add(1, Ordering::Relaxed);
        reply = reply.with(State { stream: index, count: stream.states.clone() });
    }
    for number in 0..u32::from(model.rng.u8(..3)) {
        stream.on_open_set += 1;
        let again = shared.clone();
        cx.on_open(move |_, cx| on_open(&again, index, number, cx));
    }
    reply
}

fn on_open(shared: &Shared, index: u32, number: u32, cx: &mut Context<'_>) {
    with(shared, |model| {
        sync(model, cx);
        if number == 0 {
            model.open(index);
        }
        let stream = &mut model.streams[index as usize];
        assert_eq!(stream.on_open_run, number, "called once, and in order: {stream:?}");
        assert!(!stream.panicked, "none is called after one that has panicked: {stream:?}");
        stream.on_open_run += 1;
        model.counts.on_open += 1;
        model.check_state(index, cx);
    });
    play_for_stream(shared, index, &mut false, cx);
}

impl Model {
    /// A stream has opened, and the application gets the first report.
    pub(crate) fn open(&mut self, index: u32) {
        let stream = &mut self.streams[index as usize];
        assert!(!stream.opened && stream.closed.is_none(), "opened once: {stream:?}");
        stream.opened = true;
        self.opened += 1;
        self.begin_reading(index);
    }

    /// Checks that a stream has its state from its opening until its close has been reported.
    pub(crate) fn check_state(&self, index: u32, cx: &mut Context<'_>) {
        let stream = &self.streams[index as usize];
        let expected = (stream.has_state && stream.opened && stream.closed.is_none()).then_some(index);
        assert_eq!(cx.of::<State>(stream.id).map(|state| state.stream), expected, "{stream:?}");
        assert!(cx.of::<u32>(stream.id).is_none(), "of another type there is none");
    }

    /// Checks that values of streams that have closed, or never opened, are dropped at the end of the turn.
    pub(crate) fn check_dropped(&mut self) {
        for index in std::mem::take(&mut self.just_over) {
            let stream = &self.streams[index as usize];
            assert_eq!(stream.sources.load(Ordering::Relaxed), 0, "its source goes with it: {stream:?}");
            assert_eq!(stream.states.load(Ordering::Relaxed), 0, "its state goes with it: {stream:?}");
        }
    }
}
