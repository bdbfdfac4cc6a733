//! Reading an event stream (WHATWG HTML 9.2.6), for tests of applications.

use crate::event::Event;
use std::time::Duration;

/// Removes the complete blocks from `text` and returns the events in them, as a client would dispatch them.
/// An event has the id and the `retry:` of its own block.
pub(crate) fn take_events(text: &mut String) -> Vec<Event<'static>> {
    let Some(end) = text.rfind("\n\n").map(|at| at + 2) else { return Vec::new() };
    let blocks: String = text.drain(..end).collect();
    blocks.split("\n\n").filter_map(event).collect()
}

/// The event of a block. A block without data has none.
fn event(block: &str) -> Option<Event<'static>> {
    let mut event = Event::new();
    let mut data: Option<String> = None;
    for line in block.lines() {
        let (field, value) = line.split_once(':').unwrap_or((line, ""));
        let value = value.strip_prefix(' ').unwrap_or(value);
        match field {
            "data" => match &mut data {
                Some(data) => {
                    data.push('\n');
                    data.push_str(value);
                }
                None => data = Some(value.to_owned()),
            },
            "event" => event.event = Some(value.to_owned().into()),
            "id" => event.id = Some(value.to_owned().into()),
            "retry" => event.retry = value.parse().ok().map(Duration::from_millis),
            _ => {}
        }
    }
    data.map(|data| event.data(data))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn written_events_are_read_again() {
        let events = [
            Event::new().data("a\nb\n").event("x").id("1").retry(Duration::from_secs(1)),
            Event::new().data(" : space"),
            Event::new().data(""),
        ];
        let mut text = String::from(":\nid: 0\n\n: comment\n");
        for event in &events {
            text += str::from_utf8(&event.encode().unwrap()).unwrap();
        }
        text += "data: half";
        assert_eq!(take_events(&mut text), events);
        assert_eq!(text, "data: half");
        text += "\n\n";
        assert_eq!(take_events(&mut text), [Event::new().data("half")]);
        assert_eq!((take_events(&mut text), &*text), (Vec::new(), ""));
    }
}
