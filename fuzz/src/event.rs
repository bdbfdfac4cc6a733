//! Events of any text: what a client reads is what was meant, or nothing of it.

use super::memory_net::Loop;
use super::response::read_all;
use eventsource_stream::EventStream;
use futures_executor::block_on;
use futures_util::{StreamExt, stream};
use mio_sse::{Context, Error, Event, EventError, Handler, Reply, Request, StreamId};
use std::convert::Infallible;
use std::time::Duration;

const TOPIC: &str = "all";

/// The first byte tells which parts the event has, and the others are these parts, with `|` between them:
/// event name, id, retry in microseconds, data, comment.
pub fn check(data: &[u8]) {
    let Some((&parts, text)) = data.split_first() else { return };
    let text = String::from_utf8_lossy(text);
    let mut texts = text.splitn(5, '|').map(str::to_owned);
    let mut part = |bit: u8| texts.next().filter(|_| parts & 1 << bit != 0);
    let parts = Parts { name: part(0), id: part(1), retry: part(2), data: part(3), comment: part(4) };
    let event = parts.event();
    let encoded = event.encode();
    assert_eq!(encoded.as_ref().err().copied(), parts.error());
    let encoded = encoded.unwrap_or_default();
    let encoded = String::from_utf8(encoded).expect("an event is text");

    let sent: Vec<_> = [Event::new().data("before"), event, Event::new().data("after")].into();
    // A stream begins with an empty comment, so that its peer hears from it before the first event.
    let encodings = [":\ndata: before\n\n", &encoded, "data: after\n\n"].concat();
    for (public, version) in [(true, "1.1"), (false, "1.1"), (true, "1.0")] {
        let body = deliver(&sent, public, version, parts.error());
        assert_eq!(body, encodings);
        assert_eq!(read(&body), parts.expected());
    }
}

/// An event in its parts.
struct Parts {
    name: Option<String>,
    id: Option<String>,
    retry: Option<String>,
    data: Option<String>,
    comment: Option<String>,
}

/// What a client is told: event name, data, last id, retry.
type Told = (String, String, String, Option<Duration>);

impl Parts {
    fn event(&self) -> Event<'static> {
        let mut event = Event::new();
        if let Some(data) = &self.data {
            event = Event::new().data(data.clone());
        }
        if let Some(name) = &self.name {
            event = event.event(name.clone());
        }
        if let Some(id) = &self.id {
            event = event.id(id.clone());
        }
        if let Some(micros) = self.retry_micros() {
            event = event.retry(Duration::from_micros(micros));
        }
        if let Some(comment) = &self.comment {
            event = event.comment(comment.clone());
        }
        event
    }

    fn retry_micros(&self) -> Option<u64> {
        self.retry.as_ref().map(|text| text.parse().unwrap_or(1))
    }

    /// Why the event is refused, as its documentation has it.
    fn error(&self) -> Option<EventError> {
        let breaks = |text: &Option<String>| text.as_ref().is_some_and(|text| text.contains(['\r', '\n']));
        if breaks(&self.name) {
            Some(EventError::LineBreakInName)
        } else if self.id.as_ref().is_some_and(|id| id.contains(|c: char| c.is_ascii_control())) {
            Some(EventError::ControlInId)
        } else if self.id.as_ref().is_some_and(|id| id.starts_with(' ') || id.ends_with(' ')) {
            Some(EventError::SpaceAroundId)
        } else if self.name.is_some() && self.data.is_none() {
            Some(EventError::NameWithoutData)
        } else if self.id.is_none() && self.retry.is_none() && self.data.is_none() && self.comment.is_none() {
            Some(EventError::Empty)
        } else {
            None
        }
    }

    /// What a client makes of this event with one in front and one behind.
    fn expected(&self) -> Vec<Told> {
        let message = |data: &str, id: &str| ("message".to_owned(), data.to_owned(), id.to_owned(), None);
        let mut expected = vec![message("before", "")];
        let accepted = self.error().is_none();
        let id = self.id.as_deref().filter(|_| accepted).unwrap_or_default();
        if accepted && let Some(data) = &self.data {
            let lines = data.replace("\r\n", "\n").replace('\r', "\n");
            let name = self.name.as_deref().filter(|name| !name.is_empty()).unwrap_or("message");
            let retry = self.retry_micros().map(|micros| Duration::from_millis(micros / 1000));
            expected.push((name.to_owned(), lines, id.to_owned(), retry));
        }
        // A client keeps the last id that it was given.
        let mut after = message("after", id);
        if accepted && self.data.is_none() && self.id.is_none() {
            // What is no event is one block with what follows.
            after.3 = self.retry_micros().map(|micros| Duration::from_millis(micros / 1000));
        }
        expected.push(after);
        expected
    }
}

/// The body of a stream that was given these events, by a topic or to itself alone, until it is closed. One
/// event is refused, for the reason given.
fn deliver(events: &[Event<'static>], public: bool, version: &str, refused: Option<EventError>) -> String {
    let app = Sender { events: events.to_vec(), public, errors: Vec::new() };
    let mut world = Loop::<_, true>::with_config(app, Default::default());
    let peer = world.connect();
    peer.write(format!("GET / HTTP/{version}\r\nHost: x\r\n\r\n"));
    world.settle();
    let expected: Vec<_> = refused.map(Error::InvalidEvent).into_iter().collect();
    assert_eq!(world.server.handler().errors, expected);
    let mut responses = read_all(&peer.read(), []);
    assert_eq!(responses.len(), 1);
    responses.remove(0).body
}

struct Sender {
    events: Vec<Event<'static>>,
    public: bool,
    errors: Vec<Error>,
}

impl Handler for Sender {
    fn request(&mut self, _request: &Request<'_>, _cx: &mut Context<'_>) -> Reply {
        Reply::stream().topic(TOPIC).into()
    }

    fn opened(&mut self, stream: StreamId, _request: &Request<'_>, cx: &mut Context<'_>) {
        for event in &self.events {
            let outcome = if self.public { cx.publish(TOPIC, event) } else { cx.send(stream, event) };
            self.errors.extend(outcome.err());
        }
        cx.close(stream).expect("the stream has just been opened");
    }
}

/// What a parser that is not ours reads in a body.
fn read(body: &str) -> Vec<Told> {
    let input = stream::iter([Ok::<_, Infallible>(body.as_bytes().to_vec())]);
    let events = EventStream::new(input).map(|event| {
        let event = event.expect("a stream of events");
        (event.event, event.data, event.id, event.retry)
    });
    block_on(events.collect())
}
