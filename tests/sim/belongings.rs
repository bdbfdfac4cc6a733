//! What a stream has from its reply on: a state, and callbacks for the moment in which it opens.

use crate::app::{Shared, play_for_stream, sync, with};
use crate::model::Model;
use mio_sse::{Context, StreamReply};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// The state of one stream.
#[derive(Debug)]
struct State {
    /// The index of its stream.
    stream: u32,
    /// How many of that stream's states are there.
    count: Arc<AtomicU32>,
}

impl Drop for State {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

/// Draws what the stream of a reply is to have when it opens.
pub(crate) fn give_belongings(
    shared: &Shared,
    model: &mut Model,
    index: u32,
    mut reply: StreamReply,
    cx: &mut Context<'_>,
) -> StreamReply {
    let stream = &mut model.streams[index as usize];
    for _ in 0..model.rng.u8(..3) {
        // Of several the last one counts.
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
        assert!(!stream.panicked, "none is called behind one that has panicked: {stream:?}");
        stream.on_open_run += 1;
        model.counts.on_open += 1;
        model.check_state(index, cx);
    });
    play_for_stream(shared, index, &mut false, cx);
}

impl Model {
    /// A stream has opened: the application is told for the first time.
    pub(crate) fn open(&mut self, index: u32) {
        let stream = &mut self.streams[index as usize];
        assert!(!stream.opened && stream.closed.is_none(), "opened once: {stream:?}");
        stream.opened = true;
        self.opened += 1;
        self.begin_reading(index);
    }

    /// A stream has its state from when it opens until its end has been told.
    pub(crate) fn check_state(&self, index: u32, cx: &mut Context<'_>) {
        let stream = &self.streams[index as usize];
        let expected = (stream.has_state && stream.opened && stream.closed.is_none()).then_some(index);
        assert_eq!(cx.of::<State>(stream.id).map(|state| state.stream), expected, "{stream:?}");
        assert!(cx.of::<u32>(stream.id).is_none(), "of another type there is none");
    }

    /// Whatever the application gave to streams that are over, or were none, is dropped at the end of the
    /// turn.
    pub(crate) fn check_dropped(&mut self) {
        for index in std::mem::take(&mut self.just_over) {
            let stream = &self.streams[index as usize];
            assert_eq!(stream.sources.load(Ordering::Relaxed), 0, "its source goes with it: {stream:?}");
            assert_eq!(stream.states.load(Ordering::Relaxed), 0, "its state goes with it: {stream:?}");
        }
    }
}
