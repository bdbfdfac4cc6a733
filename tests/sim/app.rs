//! The application: in every callback it does what the dice say, and tells the model.

use crate::model::{Answer, Model, TOPICS};
use crate::net::World;
use crate::trace::Note;
use mio_sse::{CloseReason, Context, Error, Event, Handler, Publisher, Reply, Request, StreamId};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

/// Shared with timers and closures, which have to be `Send`.
pub(crate) type Shared = Arc<Mutex<Model>>;

/// Runs `work` with the model, which a failure elsewhere does not make worse.
pub(crate) fn with<T>(shared: &Shared, work: impl FnOnce(&mut Model) -> T) -> T {
    work(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
}

/// What any callback can do.
#[derive(Debug, Clone, Copy)]
enum Operation {
    Publish,
    Burst,
    Send,
    Subscribe,
    Unsubscribe,
    Close,
    After,
    Every,
    AfterGlobal,
    Cancel,
    OnClose,
    Stale,
}

/// How often each operation is drawn, relative to the others.
const OPERATIONS: [(u32, Operation); 12] = [
    (16, Operation::Publish),
    (2, Operation::Burst),
    (14, Operation::Send),
    (7, Operation::Subscribe),
    (7, Operation::Unsubscribe),
    (2, Operation::Close),
    (2, Operation::After),
    (1, Operation::Every),
    (1, Operation::AfterGlobal),
    (2, Operation::Cancel),
    (2, Operation::OnClose),
    (3, Operation::Stale),
];

/// Draws from a list of weights and values.
pub(crate) fn draw<T: Copy>(rng: &mut fastrand::Rng, weighted: &[(u32, T)]) -> T {
    let mut at = rng.u32(..weighted.iter().map(|(weight, _)| weight).sum::<u32>());
    for &(weight, value) in weighted {
        match at.checked_sub(weight) {
            None => return value,
            Some(rest) => at = rest,
        }
    }
    unreachable!("the sum is that of all weights")
}

impl Model {
    /// The size of an event's data.
    fn size(&mut self) -> u32 {
        match self.rng.u16(..1024) {
            0..900 => self.rng.u32(..40),
            900..1000 => self.rng.u32(..500),
            1000..1020 => self.rng.u32(..5_000),
            _ => self.rng.u32(..80_000),
        }
    }

    fn topic(&mut self) -> u8 {
        // The first ones are more popular.
        let last = self.rng.u8(0..6);
        self.rng.u8(0..=last)
    }

    fn delay(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(0..2_000))
    }

    /// A stream: often `own`, else any that lives.
    fn any_stream(&mut self, own: Option<u32>) -> Option<u32> {
        match own {
            Some(own) if self.rng.bool() => Some(own),
            _ if self.live.is_empty() => None,
            _ => Some(self.live[self.rng.usize(..self.live.len())]),
        }
    }

    fn keep_timer(&mut self, timer: mio_sse::TimerId) {
        self.timers.push_back(timer);
        if self.timers.len() > 16 {
            self.timers.pop_front();
        }
    }
}

/// What callbacks do: most often nothing.
fn play(shared: &Shared, own: Option<u32>, cx: &mut Context<'_>) {
    let count = with(shared, |model| {
        model.sync(cx.stats().events_published);
        if model.quiet || model.rng.bool() { 0 } else { model.rng.u32(1..4) }
    });
    for _ in 0..count {
        perform(shared, own, cx);
    }
}

/// One operation.
pub(crate) fn perform(shared: &Shared, own: Option<u32>, cx: &mut Context<'_>) {
    with(shared, |model| {
        model.sync(cx.stats().events_published);
        let operation = draw(&mut model.rng, &OPERATIONS);
        match operation {
            Operation::Publish => publish_any(model, cx),
            Operation::Burst if model.floods && model.rng.u8(..32) == 0 => {
                // More than a burst that is kept together.
                let topic = model.topic();
                for _ in 0..30 {
                    let size = model.rng.u32(40_000..80_000);
                    publish(model, topic, size, cx);
                }
            }
            Operation::Burst => {
                for _ in 0..model.rng.u32(2..30) {
                    publish_any(model, cx);
                }
            }
            Operation::AfterGlobal => {
                let (delay, again) = (model.delay(), shared.clone());
                let timer = cx.after_global(delay, move |cx| {
                    with(&again, |model| model.counts.timers_fired += 1);
                    play(&again, None, cx);
                });
                model.keep_timer(timer);
            }
            Operation::Cancel => {
                if !model.timers.is_empty() {
                    let any = model.rng.usize(..model.timers.len());
                    cx.cancel(model.timers[any]);
                }
            }
            Operation::Stale => stale(model, cx),
            _ => {
                if let Some(index) = model.any_stream(own) {
                    perform_with(shared, model, operation, index, cx);
                }
            }
        }
    });
}

fn publish_any(model: &mut Model, cx: &mut Context<'_>) {
    let (topic, size) = (model.topic(), model.size());
    publish(model, topic, size, cx);
}

fn publish(model: &mut Model, topic: u8, size: u32, cx: &mut Context<'_>) {
    let (number, event) = model.for_topic(topic, size);
    cx.publish(TOPICS[topic as usize], event).unwrap();
    model.place(number);
}

/// The id of a stream that has ended means nothing, whatever is asked of it.
fn stale(model: &mut Model, cx: &mut Context<'_>) {
    if model.retired.is_empty() {
        return;
    }
    let any = model.rng.usize(..model.retired.len());
    let id = model.retired[any];
    let closed = Err(Error::Closed);
    match model.rng.u8(..6) {
        0 => assert_eq!(cx.send(id, Event::data("stale")), closed),
        1 => assert_eq!(cx.close(id), closed),
        2 => assert_eq!(cx.subscribe(id, TOPICS[0]), closed),
        3 => assert_eq!(cx.unsubscribe(id, TOPICS[0]), closed),
        4 => assert_eq!(cx.after(id, Duration::ZERO, |_, _| ()).map(drop), closed),
        _ => assert_eq!(cx.on_close(id, |_, _| ()), closed),
    }
    model.counts.stale_refused += 1;
}

fn perform_with(shared: &Shared, model: &mut Model, operation: Operation, index: u32, cx: &mut Context<'_>) {
    let id = model.streams[index as usize].id;
    match operation {
        Operation::Send => {
            let size = model.size();
            let (number, event) = model.for_stream(index, size);
            let result = cx.send(id, event);
            if model.accepts(index, &result) {
                model.place(number);
            } else {
                model.refused(index, size);
            }
        }
        Operation::Subscribe => {
            let topic = model.topic();
            let result = cx.subscribe(id, TOPICS[topic as usize]);
            if model.accepts(index, &result) {
                model.subscribe(index, topic);
            }
        }
        Operation::Unsubscribe => {
            let topic = model.topic();
            let result = cx.unsubscribe(id, TOPICS[topic as usize]);
            if model.accepts(index, &result) {
                model.unsubscribe(index, topic);
            }
        }
        Operation::Close => {
            let result = cx.close(id);
            if model.accepts(index, &result) {
                model.streams[index as usize].close_requested = true;
                model.end(index);
            }
        }
        Operation::After => {
            let (delay, again) = (model.delay(), shared.clone());
            let result = cx.after(id, delay, move |_, cx| fire(&again, index, cx));
            model.accepts(index, &result);
            result.into_iter().for_each(|timer| model.keep_timer(timer));
        }
        Operation::Every => {
            let (period, again) = (model.delay().max(Duration::from_millis(20)), shared.clone());
            let result = cx.every(id, period, move |_, cx| fire(&again, index, cx));
            model.accepts(index, &result);
            result.into_iter().for_each(|timer| model.keep_timer(timer));
        }
        Operation::OnClose => {
            let again = shared.clone();
            let result = cx.on_close(id, move |_, cx| {
                with(&again, |model| model.streams[index as usize].hooks_run += 1);
                play(&again, None, cx);
            });
            if model.accepts(index, &result) {
                model.streams[index as usize].hooks_set += 1;
            }
        }
        _ => unreachable!("{operation:?} is for no stream"),
    }
}

/// A timer of a stream is due.
fn fire(shared: &Shared, index: u32, cx: &mut Context<'_>) {
    with(shared, |model| {
        let stream = &model.streams[index as usize];
        assert!(stream.opened && stream.closed.is_none(), "a timer dies with its stream: {stream:?}");
        model.counts.timers_fired += 1;
    });
    play(shared, Some(index), cx);
}

/// Something by way of the inbox, from between two turns.
pub(crate) fn by_inbox(shared: &Shared, publisher: &Publisher) {
    with(shared, |model| {
        let stream = model.any_stream(None);
        match (model.rng.u8(..8), stream) {
            (0, _) => {
                let again = shared.clone();
                is_taken(&publisher.run(move |cx| perform(&again, None, cx)));
            }
            (1, Some(stream)) => {
                let size = model.size();
                let event = model.for_stream_by_inbox(stream, size);
                is_taken(&publisher.send(model.streams[stream as usize].id, event));
            }
            (2, Some(stream)) if model.rng.bool() => {
                if is_taken(&publisher.close(model.streams[stream as usize].id)) {
                    model.close_by_inbox(stream);
                }
            }
            _ => {
                let (topic, size) = (model.topic(), model.size());
                let (number, event) = model.for_topic(topic, size);
                if is_taken(&publisher.try_publish(TOPICS[topic as usize], event)) {
                    model.inbox.push_back(number);
                }
            }
        }
    });
}

fn is_taken(result: &Result<(), Error>) -> bool {
    assert!(matches!(result, Ok(()) | Err(Error::Full)), "{result:?}");
    result.is_ok()
}

/// The handler.
pub(crate) struct App {
    pub(crate) shared: Shared,
    pub(crate) world: Rc<RefCell<World>>,
    pub(crate) stopping: bool,
}

impl App {
    fn note(&self, note: Note) {
        self.world.borrow_mut().trace.note(note);
    }
}

impl Handler for App {
    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
        let mut parts = request.path().split('/').skip(1);
        let mut part =
            || parts.next().and_then(|part| part.parse::<u32>().ok()).expect("no request but ours");
        let (connection, number, body) = (part(), part(), part());
        self.note(Note::Requested(connection, number));
        assert_eq!(request.body().len(), body as usize, "the whole body");
        assert!(request.body().iter().all(|byte| *byte == b'p'), "no byte of another's");

        let index = with(&self.shared, |model| {
            let answers = &mut model.connections[connection as usize];
            assert_eq!(answers.requests, number, "requests are answered once, and in order");
            answers.requests += 1;
            model.begin(cx.stream().unwrap(), connection, cx.now())
        });
        play(&self.shared, Some(index), cx);
        with(&self.shared, |model| answer(model, request, connection, index))
    }

    fn opened(&mut self, id: StreamId, cx: &mut Context<'_>) {
        let index = with(&self.shared, |model| {
            let index = model.find(id);
            let stream = &mut model.streams[index as usize];
            assert!(!stream.opened && stream.closed.is_none(), "opened once: {stream:?}");
            stream.opened = true;
            model.opened += 1;
            index
        });
        self.note(Note::Opened(index));
        play(&self.shared, Some(index), cx);
    }

    fn closed(&mut self, id: StreamId, reason: CloseReason, cx: &mut Context<'_>) {
        assert_eq!(cx.send(id, Event::data("too late")), Err(Error::Closed));
        let index = with(&self.shared, |model| {
            let index = model.find(id);
            model.sync(cx.stats().events_published);
            model.check_reason(index, reason, &self.world.borrow(), self.stopping);
            let stream = &mut model.streams[index as usize];
            assert!(stream.opened && stream.closed.is_none(), "closed once: {stream:?}");
            assert_eq!(stream.hooks_run, stream.hooks_set, "all are told, before the handler: {stream:?}");
            stream.closed = Some(reason);
            model.end(index);
            model.lost.retain(|(lost, _)| *lost != index);
            model.closed[reason as usize] += 1;
            index
        });
        self.note(Note::Ended(index, reason.name()));
        play(&self.shared, None, cx);
    }

    fn started(&mut self, cx: &mut Context<'_>) {
        play(&self.shared, None, cx);
    }
}

/// Draws the answer to a request.
fn answer(model: &mut Model, request: &Request<'_>, connection: u32, index: u32) -> Reply {
    if let Some(at) = model.lost.iter().position(|(lost, _)| *lost == index) {
        // It was given more than may wait for it. Nothing is answered and nobody is told.
        model.lost.remove(at);
        model.connections[connection as usize].dropped = true;
        return Reply::text("dropped");
    }
    let is_stream = model.rng.u8(..8) > 1;
    let reply = if is_stream {
        let mut reply = Reply::stream();
        for _ in 0..model.rng.u8(..5) {
            let topic = model.topic();
            if !request.is_head() {
                model.subscribe(index, topic);
            }
            reply = reply.topic(TOPICS[topic as usize]);
        }
        if model.rng.u8(..5) == 0 {
            reply = reply.close_delimited();
            model.streams[index as usize].chunked = false;
        } else {
            model.streams[index as usize].chunked = !request.is_http_10();
        }
        if model.rng.u8(..6) == 0 {
            reply = reply.retry(Duration::from_millis(model.rng.u64(..10_000)));
        }
        Reply::from(reply)
    } else {
        let bytes = match model.rng.u8(..8) {
            0 => model.rng.usize(..200_000),
            1 => 0,
            _ => model.rng.usize(..200),
        };
        let status = [200, 200, 200, 204, 404, 503][model.rng.usize(..6)];
        Reply::bytes("text/plain", vec![b'w'; bytes]).unwrap().with_status(status)
    };
    let answer = match () {
        () if request.is_head() => Answer::Head,
        () if is_stream => Answer::Stream(index),
        () => Answer::Whole { status: reply.status_code(), bytes: reply.body().len() },
    };
    model.connections[connection as usize].answers.push(answer);
    if !matches!(answer, Answer::Stream(_)) {
        model.end(index);
    }
    reply
}
