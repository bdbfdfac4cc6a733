//! Sources: their answers, and when they may be asked.

use crate::app::{Shared, draw, with};
use crate::model::Model;
use mio_sse::{Context, Event, Pull, Source};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

/// A source with random answers, which it reports to the model.
struct Dice {
    shared: Shared,
    /// Index of its stream.
    stream: u32,
    number: u32,
    /// The events it has left.
    left: u32,
    /// Number of sources of that stream.
    count: Arc<AtomicU32>,
}

#[derive(Debug, Clone, Copy)]
enum Answer {
    Event,
    Bad,
    Wait,
    Idle,
    End,
    Panic,
}

const ANSWERS: [(u32, Answer); 5] =
    [(32, Answer::Event), (1, Answer::Bad), (6, Answer::Wait), (4, Answer::Idle), (1, Answer::End)];

/// Gives a stream a source, instead of its present one.
pub(crate) fn give_source(shared: &Shared, model: &mut Model, index: u32, cx: &mut Context<'_>) {
    let left = if model.rng.u8(..4) == 0 { model.rng.u32(..1_000) } else { model.rng.u32(..20) };
    let stream = &model.streams[index as usize];
    let number = stream.source.map_or(0, |number| number + 1);
    let count = stream.sources.clone();
    count.fetch_add(1, Ordering::Relaxed);
    let source = Dice { shared: shared.clone(), stream: index, number, left, count: count.clone() };
    let result = cx.set_source(stream.id, source);
    if model.accepts(index, &result) {
        model.streams[index as usize].source = Some(number);
        model.counts.sources += 1;
    }
}

impl Drop for Dice {
    fn drop(&mut self) {
        self.count.fetch_sub(1, Ordering::Relaxed);
    }
}

impl Source for Dice {
    fn pull(&mut self) -> Pull {
        let answer = with(&self.shared, |model| {
            let published = model.published_so_far();
            model.sync(published);
            let stream = &model.streams[self.stream as usize];
            assert!(stream.opened && stream.live, "asked for a stream that is open: {stream:?}");
            assert_eq!(
                stream.source,
                Some(self.number),
                "asked as long as no other has its place: {stream:?}"
            );
            if model.quiet {
                return Answer::Idle;
            }
            if model.panic_rate.is_some_and(|rate| model.rng.u32(..rate) == 0) {
                model.panics += 1;
                model.streams[self.stream as usize].panicked = true;
                model.lost.push((self.stream, model.turn));
                return Answer::Panic;
            }
            draw(&mut model.rng, &ANSWERS)
        });
        with(&self.shared, |model| match answer {
            Answer::Event if self.left > 0 => {
                self.left -= 1;
                let size = model.size();
                let (number, event) = model.for_stream(self.stream, size);
                model.place(number);
                model.counts.pulled += 1;
                Pull::Event(event)
            }
            Answer::Bad => Pull::Event(Event::new().data("").event("two\nlines")),
            Answer::Wait => Pull::Wait(model.delay()),
            Answer::Event | Answer::Idle => Pull::Idle,
            Answer::End => {
                model.streams[self.stream as usize].close_requested = true;
                model.end(self.stream);
                model.counts.sources_over += 1;
                Pull::End
            }
            Answer::Panic => std::panic::resume_unwind(Box::new("as planned")),
        })
    }
}

impl Model {
    fn published_so_far(&self) -> u64 {
        self.obituaries.lock().unwrap_or_else(std::sync::PoisonError::into_inner).published
    }
}
