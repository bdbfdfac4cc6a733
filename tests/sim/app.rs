//! The application: every callback makes random calls, and reports them to the model.

use crate::answers::{answer, one_too_many};
use crate::kept::{ALWAYS, Kind};
use crate::late::{Asked, reply_to_any, wait};
use crate::model::{Drained, Model, TOPICS};
use crate::net::World;
use crate::sources::give_source;
use crate::tagged::{perform_tagged, tag_or_untag};
use crate::trace::Note;
use mio_sse::{
    CloseReason, Context, Drain, Error, Event, Handler, Missed, Publisher, Refusal, Reply, Request, StreamId,
    TimerId,
};
use std::cell::RefCell;
use std::rc::Rc;
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;

/// Shared with timers and closures, which have to be `Send`.
pub(crate) type Shared = Arc<Mutex<Model>>;

/// Runs `work` with the model. A failure elsewhere does not make this fail as well.
pub(crate) fn with<T>(shared: &Shared, work: impl FnOnce(&mut Model) -> T) -> T {
    work(&mut shared.lock().unwrap_or_else(PoisonError::into_inner))
}

/// Operations of any callback.
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
    EveryGlobal,
    Cancel,
    OnClose,
    Stale,
    Tag,
    Tagged,
    Configure,
    Source,
    Wake,
    Reply,
}

/// Relative frequency of each operation.
const OPERATIONS: [(u32, Operation); 19] = [
    (32, Operation::Publish),
    (2, Operation::Burst),
    (14, Operation::Send),
    (7, Operation::Subscribe),
    (7, Operation::Unsubscribe),
    (2, Operation::Close),
    (2, Operation::After),
    (1, Operation::Every),
    (1, Operation::AfterGlobal),
    (1, Operation::EveryGlobal),
    (2, Operation::Cancel),
    (2, Operation::OnClose),
    (3, Operation::Stale),
    (5, Operation::Tag),
    (3, Operation::Tagged),
    (1, Operation::Configure),
    (3, Operation::Source),
    (5, Operation::Wake),
    (6, Operation::Reply),
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
    pub(crate) fn size(&mut self) -> u32 {
        match self.rng.u16(..1024) {
            0..900 => self.rng.u32(..40),
            900..1000 => self.rng.u32(..500),
            1000..1020 => self.rng.u32(..5_000),
            _ => self.rng.u32(..80_000),
        }
    }

    pub(crate) fn topic(&mut self) -> u8 {
        // The first ones are more popular.
        let last = self.rng.u8(0..6);
        self.rng.u8(0..=last)
    }

    pub(crate) fn delay(&mut self) -> Duration {
        Duration::from_millis(self.rng.u64(0..2_000))
    }

    /// A stream: often `own`, otherwise any live one.
    fn any_stream(&mut self, own: Option<u32>) -> Option<u32> {
        match own {
            Some(own) if self.rng.bool() => Some(own),
            _ if self.live.is_empty() => None,
            _ => Some(self.live[self.rng.usize(..self.live.len())]),
        }
    }

    fn keep_timer(&mut self, timer: TimerId) {
        self.timers.push_back(timer);
        if self.timers.len() > 16 {
            self.timers.pop_front();
        }
    }
}

/// Handles everything that has happened since the last call.
pub(crate) fn sync(model: &mut Model, cx: &Context<'_>) {
    model.now = cx.now();
    model.sync(cx.stats().events_published);
    if cx.is_draining() && model.drain.is_none() {
        let drained = model.drain_asked.take().expect("there was no request for a drain");
        begin_drain(model, drained, cx.now());
    }
}

fn begin_drain(model: &mut Model, drained: Drained, begun: Duration) {
    model.counts.drains += 1;
    // Every stream gets a farewell at some time.
    model.streams.iter_mut().for_each(|stream| stream.behind_until = ALWAYS);
    model.drain = Some(Drained { begun, turn: model.turn, ..drained });
}

/// Draws the settings of a drain.
fn draw_drain(model: &mut Model) -> (Drain, Drained) {
    let window = match model.rng.u8(..4) {
        0 => Duration::ZERO,
        1 => Duration::from_millis(model.rng.u64(..100)),
        _ => Duration::from_millis(model.rng.u64(..20_000)),
    };
    let mut drain = Drain::within(window);
    let mut farewell = None;
    let deadline = model.rng.bool().then(|| Duration::from_millis(model.rng.u64(..20_000)));
    if let Some(deadline) = deadline {
        drain = drain.deadline(deadline);
    }
    if model.rng.bool() {
        let (number, event) = model.for_everyone();
        drain = drain.farewell(event);
        farewell = Some(number);
    }
    if model.rng.bool() {
        let retry = Duration::from_millis(model.rng.u64(..5_000));
        model.drain_retries.push(retry);
        drain = drain.retry(retry);
    }
    let begun = Duration::ZERO;
    (drain, Drained { begun, window, deadline, turn: 0, farewell, again: false })
}

/// Starts a drain, or a second one.
pub(crate) fn drain(model: &mut Model, cx: &mut Context<'_>) {
    sync(model, cx);
    if let Some(drain) = &mut model.drain {
        model.counts.second_drains += u64::from(!drain.again);
        drain.again = true;
        cx.drain(Duration::from_secs(1)).unwrap();
        return;
    }
    let (drain, drained) = draw_drain(model);
    cx.drain(drain).unwrap();
    begin_drain(model, drained, cx.now());
}

/// The operations of a callback, most often none. Returns whether this one is to panic now.
#[must_use]
pub(crate) fn play(shared: &Shared, own: Option<u32>, cx: &mut Context<'_>) -> bool {
    let count = with(shared, |model| {
        sync(model, cx);
        let again = model.drain.is_some() && !model.quiet && model.rng.u16(..128) == 0;
        if again || model.drain_after == Some(0) {
            model.drain_after = None;
            drain(model, cx);
        }
        model.drain_after = model.drain_after.map(|left| left - 1);
        if model.quiet || model.rng.bool() { 0 } else { model.rng.u32(1..4) }
    });
    for _ in 0..count {
        perform(shared, own, cx);
    }
    with(shared, |model| {
        let Some(rate) = model.panic_rate else { return false };
        let panics = model.rng.u32(..rate) == 0;
        model.panics += u64::from(panics);
        panics
    })
}

/// Panics as applications do, but without a message.
fn panic_silently() -> ! {
    std::panic::resume_unwind(Box::new("as planned"))
}

fn play_for_nobody(shared: &Shared, cx: &mut Context<'_>) {
    if play(shared, None, cx) {
        panic_silently();
    }
}

/// One operation.
pub(crate) fn perform(shared: &Shared, own: Option<u32>, cx: &mut Context<'_>) {
    with(shared, |model| {
        sync(model, cx);
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
                let own = Arc::new(OnceLock::<TimerId>::new());
                let known = own.clone();
                let timer = cx.after_global(delay, move |cx| {
                    with(&again, |model| {
                        let known = own.get().is_some_and(|own| model.global_timers.remove(own));
                        assert!(known, "a timer fires once");
                        model.counts.timers_fired += 1;
                    });
                    play_for_nobody(&again, cx);
                });
                known.set(timer).unwrap();
                model.global_timers.insert(timer);
                model.keep_timer(timer);
            }
            Operation::EveryGlobal if model.global_timers.len() < 8 => {
                let (period, again) = (model.delay().max(Duration::from_millis(50)), shared.clone());
                let own = Arc::new(OnceLock::<TimerId>::new());
                let known = own.clone();
                let timer = cx.every_global(period, move |cx| {
                    let own = *own.get().unwrap();
                    with(&again, |model| {
                        let known = model.global_timers.contains(&own);
                        assert!(known, "a timer that was cancelled, or has panicked, is not called again");
                        model.counts.timers_fired += 1;
                    });
                    if play(&again, None, cx) {
                        with(&again, |model| model.global_timers.remove(&own));
                        panic_silently();
                    }
                });
                known.set(timer).unwrap();
                model.global_timers.insert(timer);
                model.keep_timer(timer);
            }
            Operation::EveryGlobal => {}
            Operation::Cancel => {
                if !model.timers.is_empty() {
                    let any = model.rng.usize(..model.timers.len());
                    let timer = model.timers[any];
                    let found = cx.cancel(timer);
                    assert!(found || !model.global_timers.remove(&timer), "there is something to cancel");
                    model.global_timers.remove(&timer);
                }
            }
            Operation::Stale => stale(model, cx),
            Operation::Reply => reply_to_any(shared, model),
            Operation::Tagged => perform_tagged(model, cx),
            Operation::Configure => {
                if model.configures && model.rng.u8(..4) == 0 {
                    let (topic, kind) = (model.topic(), Kind::draw(&mut model.rng, model.own_ids));
                    configure(model, topic, kind, cx);
                    model.counts.configured += 1;
                }
            }
            _ => {
                if let Some(index) = model.any_stream(own) {
                    perform_with(shared, model, operation, index, cx);
                }
            }
        }
    });
}

fn publish_any(model: &mut Model, cx: &mut Context<'_>) {
    let several = if model.rng.u8(..4) == 0 { model.several_topics() } else { None };
    if let Some(topics) = several {
        return publish_to_several(model, &topics, cx);
    }
    let topic = model.topic();
    let size = if model.heavy && model.rng.bool() { model.rng.u32(..16_000) } else { model.size() };
    publish(model, topic, size, cx);
}

fn publish_to_several(model: &mut Model, topics: &[u8], cx: &mut Context<'_>) {
    let size = model.size();
    let (number, event) = model.for_several(topics, size);
    cx.publish_all(names(topics), event).expect("topics without a history accept events");
    model.place(number);
}

fn names(topics: &[u8]) -> impl Iterator<Item = &'static str> + Clone {
    topics.iter().map(|topic| TOPICS[*topic as usize])
}

fn publish(model: &mut Model, topic: u8, size: u32, cx: &mut Context<'_>) {
    let (number, event) = model.for_topic(topic, size);
    match cx.publish(TOPICS[topic as usize], event) {
        Ok(()) => model.place(number),
        Err(error) => {
            assert_eq!(error, Error::TooManyTopics);
            assert!(model.topics[topic as usize].kind.is_kept(), "a topic without a history needs no place");
            assert!(cx.stats().topics >= model.config.topics_max as u64, "there is room for a topic");
            model.counts.unkept += 1;
        }
    }
}

/// Gives a topic another configuration.
pub(crate) fn configure(model: &mut Model, topic: u8, kind: Kind, cx: &mut Context<'_>) {
    match cx.configure(TOPICS[topic as usize], kind.config()) {
        Ok(()) => model.topics[topic as usize].configure(kind, model.turn, model.now),
        Err(error) => {
            assert_eq!(error, Error::TooManyTopics);
            assert!(model.config.topics_max < TOPICS.len(), "all of them can be configured");
        }
    }
}

/// The id of a closed stream means nothing, whatever the call.
fn stale(model: &mut Model, cx: &mut Context<'_>) {
    if model.retired.is_empty() {
        return;
    }
    let any = model.rng.usize(..model.retired.len());
    let id = model.retired[any];
    let closed = Err(Error::Closed);
    match model.rng.u8(..8) {
        6 => assert_eq!(cx.tag(id, "ann"), closed),
        7 => assert_eq!(cx.untag(id, "ann"), closed),
        0 => assert_eq!(cx.send(id, Event::new().data("stale")), closed),
        1 => assert_eq!(cx.close(id), closed),
        2 => assert_eq!(cx.subscribe(id, TOPICS[0]), closed),
        3 => assert_eq!(cx.unsubscribe(id, TOPICS[0]), closed),
        4 => assert_eq!(cx.after(id, Duration::ZERO, |_, _| ()).map(drop), closed),
        _ => {
            // A stream that has closed already may be reported as opened right now.
            let result = cx.on_close(id, |_, _| ());
            assert!(result.is_ok() || result == closed);
        }
    }
    model.counts.stale_refused += 1;
}

fn perform_with(shared: &Shared, model: &mut Model, operation: Operation, index: u32, cx: &mut Context<'_>) {
    let id = model.streams[index as usize].id;
    model.check_state(index, cx);
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
            let expected = one_too_many(model, index, &[topic], cx);
            let result = cx.subscribe(id, TOPICS[topic as usize]);
            match result {
                Err(Error::TooManySubscriptions) => assert_eq!(expected, Some(Some(Refusal::Subscriptions))),
                Err(Error::TooManyTopics) => {
                    assert!(matches!(expected, None | Some(Some(Refusal::Topics))), "{expected:?}");
                }
                _ => {
                    if model.accepts(index, &result) {
                        assert!(matches!(expected, None | Some(None)), "{expected:?}");
                        model.subscribe(index, topic);
                    }
                    return;
                }
            }
            model.counts.limits_met += 1;
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
        Operation::Tag => tag_or_untag(model, index, cx),
        Operation::Source => give_source(shared, model, index, cx),
        Operation::Wake => {
            let result = cx.wake(id);
            model.accepts(index, &result);
        }
        Operation::After => {
            let (delay, again) = (model.delay(), shared.clone());
            let result = cx.after(id, delay, move |_, cx| fire(&again, index, &mut false, cx));
            model.accepts(index, &result);
            result.into_iter().for_each(|timer| model.keep_timer(timer));
        }
        Operation::Every => {
            let (period, again) = (model.delay().max(Duration::from_millis(20)), shared.clone());
            let mut is_over = false;
            let result = cx.every(id, period, move |_, cx| fire(&again, index, &mut is_over, cx));
            model.accepts(index, &result);
            result.into_iter().for_each(|timer| model.keep_timer(timer));
        }
        Operation::OnClose => {
            let again = shared.clone();
            let result = cx.on_close(id, move |_, cx| {
                with(&again, |model| {
                    let stream = &mut model.streams[index as usize];
                    assert!(stream.opened, "the close of a refused stream is not reported: {stream:?}");
                    stream.hooks_run += 1;
                    model.check_state(index, cx);
                });
                play_for_nobody(&again, cx);
            });
            // While its opening is reported, `on_close` can still be set, though it has closed already.
            let has_ended = !model.streams[index as usize].live;
            if has_ended && result.is_ok() || model.accepts(index, &result) {
                model.streams[index as usize].hooks_set += 1;
            }
        }
        _ => unreachable!("{operation:?} is for no stream"),
    }
}

/// A timer of a stream is due.
fn fire(shared: &Shared, index: u32, is_over: &mut bool, cx: &mut Context<'_>) {
    with(shared, |model| {
        let stream = &model.streams[index as usize];
        assert!(stream.opened && stream.closed.is_none(), "a timer dies with its stream: {stream:?}");
        assert!(!*is_over, "a timer that has panicked is not called again: {stream:?}");
        model.counts.timers_fired += 1;
        model.check_state(index, cx);
    });
    play_for_stream(shared, index, is_over, cx);
}

/// A callback for an open stream.
pub(crate) fn play_for_stream(shared: &Shared, index: u32, is_over: &mut bool, cx: &mut Context<'_>) {
    if play(shared, Some(index), cx) {
        with(shared, |model| {
            let stream = &mut model.streams[index as usize];
            stream.panicked = true;
            if stream.live {
                // Its close has to follow.
                model.lost.push((index, model.turn));
            }
        });
        *is_over = true;
        panic_silently();
    }
}

/// A message through the inbox, between two turns.
pub(crate) fn by_inbox(shared: &Shared, publisher: &Publisher) {
    with(shared, |model| {
        let stream = model.any_stream(None);
        match (model.rng.u8(..8), stream) {
            (0, _) => {
                let again = shared.clone();
                let result = publisher.run(move |cx| {
                    perform(&again, None, cx);
                    play_for_nobody(&again, cx);
                });
                put(model, &result);
            }
            _ if model.drain_after.is_some() && model.rng.u8(..8) == 0 => {
                let (drain, drained) = draw_drain(model);
                if put(model, &publisher.drain(drain)) {
                    model.drain_after = None;
                    model.drain_asked = Some(drained);
                }
            }
            (1, Some(stream)) => {
                let size = model.size();
                let event = model.for_stream_by_inbox(stream, size);
                put(model, &publisher.send(model.streams[stream as usize].id, event));
            }
            (2, Some(stream)) if model.rng.bool() => {
                if put(model, &publisher.close(model.streams[stream as usize].id)) {
                    model.close_by_inbox(stream);
                }
            }
            _ if model.config.topics_max < TOPICS.len() => {
                // Refused messages of the inbox are not reported.
                let again = shared.clone();
                let result = publisher.run(move |cx| {
                    with(&again, |model| {
                        sync(model, cx);
                        publish_any(model, cx);
                    });
                });
                put(model, &result);
            }
            _ if model.rng.u8(..4) == 0 => {
                if let Some(topics) = model.several_topics() {
                    let size = model.size();
                    let (number, event) = model.for_several(&topics, size);
                    if put(model, &publisher.publish_all(names(&topics), event)) {
                        model.inbox.push_back(number);
                    }
                }
            }
            _ => {
                let (topic, size) = (model.topic(), model.size());
                let (number, event) = model.for_topic(topic, size);
                if put(model, &publisher.try_publish(TOPICS[topic as usize], event)) {
                    model.inbox.push_back(number);
                }
            }
        }
    });
}

fn put(model: &mut Model, result: &Result<(), Error>) -> bool {
    assert!(matches!(result, Ok(()) | Err(Error::Full)), "{result:?}");
    model.waiting += u64::from(result.is_ok());
    result.is_ok()
}

/// The handler gets a request. From now on its stream exists, and may be opened by the reply.
pub(crate) fn begin(model: &mut Model, request: &Request<'_>, asked: Asked, cx: &mut Context<'_>) -> u32 {
    asked.check(request, model);
    model.connections[asked.connection as usize].asked_at = cx.now();
    model.begin(cx.stream().unwrap(), asked.connection, cx.now())
}

/// Draws the reply to a request, or panics.
pub(crate) fn reply(
    shared: &Shared,
    request: &Request<'_>,
    index: u32,
    refused: Option<Refusal>,
    panics: bool,
    cx: &mut Context<'_>,
) -> Reply {
    let reply = with(shared, |model| {
        sync(model, cx);
        answer(shared, model, request, index, refused, panics, cx)
    });
    reply.unwrap_or_else(|| panic_silently())
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
        let asked = Asked::of(request);
        let Asked { connection, number, .. } = asked;
        self.note(Note::Requested(connection, number));
        let refused =
            self.world.borrow().connections[connection as usize].refusal.map(|(refusal, _)| refusal);
        let index = with(&self.shared, |model| {
            let waits = model.awaiting(connection).is_some();
            assert!(!waits, "requests wait for the replies before theirs: {connection}");
            let answers = &mut model.connections[connection as usize];
            assert_eq!(answers.requests, number, "requests are answered once, and in order");
            let surplus = refused.is_some() && number > 0;
            assert!(!surplus, "a connection above the limit gets one request");
            answers.requests += 1;
            begin(model, request, asked, cx)
        });
        let panics = play(&self.shared, Some(index), cx);
        let later = with(&self.shared, |model| {
            sync(model, cx);
            if panics { None } else { wait(model, request, index, refused, cx) }
        });
        later.unwrap_or_else(|| reply(&self.shared, request, index, refused, panics, cx))
    }

    fn missed(&mut self, id: StreamId, last_event_id: &str, cx: &mut Context<'_>) -> Missed {
        let (answer, panics) = with(&self.shared, |model| {
            sync(model, cx);
            let index = model.find(id);
            let stream = &model.streams[index as usize];
            assert_eq!(stream.plan.id.as_deref(), Some(last_event_id), "the last event seen");
            assert!(!stream.opened && !stream.gap, "asked once: {stream:?}");
            assert!(model.may_have_gap(index), "nothing is missing: {stream:?}");
            let answer = missed(model, index, cx);
            model.streams[index as usize].gap = !answer;
            let panics = !answer && model.panic_rate.is_some_and(|rate| model.rng.u32(..rate) == 0);
            if panics {
                // It does not open: there is no reply and no report.
                model.panics += 1;
                let connection = model.streams[index as usize].connection;
                model.connections[connection as usize].dropped = true;
                model.end(index);
                model.just_over.push(index);
            }
            (answer, panics)
        });
        if panics {
            panic_silently();
        }
        answer.into()
    }

    fn opened(&mut self, id: StreamId, _request: &Request<'_>, cx: &mut Context<'_>) {
        let index = with(&self.shared, |model| {
            let index = model.find(id);
            if model.streams[index as usize].on_open_set == 0 {
                model.open(index);
            }
            let stream = &model.streams[index as usize];
            let all = stream.on_open_run == stream.on_open_set || stream.panicked;
            assert!(all && stream.opened && stream.closed.is_none(), "reported last: {stream:?}");
            model.check_state(index, cx);
            index
        });
        self.note(Note::Opened(index));
        play_for_stream(&self.shared, index, &mut false, cx);
    }

    fn closed(&mut self, id: StreamId, reason: CloseReason, cx: &mut Context<'_>) {
        assert_eq!(cx.send(id, Event::new().data("too late")), Err(Error::Closed));
        let index = with(&self.shared, |model| {
            let index = model.find(id);
            sync(model, cx);
            model.check_reason(index, reason, &self.world.borrow(), self.stopping);
            let stream = &mut model.streams[index as usize];
            assert!(stream.opened && stream.closed.is_none(), "closed once: {stream:?}");
            assert_eq!(stream.hooks_run, stream.hooks_set, "all hooks run, before the handler: {stream:?}");
            model.check_state(index, cx);
            let stream = &mut model.streams[index as usize];
            (stream.closed, stream.closed_at) = (Some(reason), cx.now());
            model.just_over.push(index);
            model.end(index);
            model.lost.retain(|(lost, _)| *lost != index);
            model.closed[reason as usize] += 1;
            index
        });
        self.note(Note::Ended(index, reason.name()));
        play_for_nobody(&self.shared, cx);
    }

    fn started(&mut self, cx: &mut Context<'_>) {
        play_for_nobody(&self.shared, cx);
    }
}

/// Sends a client's missed events, from a store that has everything. Not if they are too many, or at random.
fn missed(model: &mut Model, index: u32, cx: &mut Context<'_>) -> bool {
    let Some(missed) = model.missed(index).filter(|missed| missed.len() < 200) else { return false };
    let id = model.streams[index as usize].id;
    let bytes: u64 = missed.iter().map(|(topic, place)| model.frame_bytes(*topic, *place)).sum();
    let waiting = model.streams[index as usize].waiting_alone() + bytes;
    if waiting > model.config.lag_bytes_max as u64 || model.rng.u8(..3) == 0 {
        return false;
    }
    for (topic, place) in &missed {
        cx.send(id, model.send_again(index, *topic, *place)).unwrap();
    }
    model.answered_from_store(index, &missed);
    true
}
