//! Events that are easy to get wrong, and what a client has to make of them.

use mio_sse::{Context, Error, Event, StreamId};
use std::time::Duration;

/// An event as a client sees it: the fields of `MessageEvent`.
#[derive(Debug, Clone, PartialEq)]
pub(crate) struct Seen {
    pub(crate) event: String,
    pub(crate) data: String,
    pub(crate) id: String,
}

/// The last event.
pub(crate) const END: &str = "end";

/// Line ends of every kind are one line feed for clients.
fn unified(text: &str) -> String {
    text.replace("\r\n", "\n").replace('\r', "\n")
}

/// A megabyte with a line break here and there, and characters of every length in UTF-8.
pub(crate) fn megabyte() -> String {
    let mut text = String::with_capacity(1 << 20);
    for count in 0.. {
        text.push_str(&format!("{count} a é € 🦀{}", if count % 40 == 0 { "\n" } else { ", " }));
        if text.len() >= 1 << 20 {
            return text;
        }
    }
    unreachable!()
}

/// Texts that arrive unchanged, except for line ends.
const TEXTS: &[&str] = &[
    "plain",
    "",
    " one space in front",
    "   three, and three behind   ",
    "\ta tab",
    " ",
    "\n",
    "\n\n\n",
    "two\nlines",
    "carriage\rreturn",
    "both\r\nof them",
    "\r\n\r\r\n\n",
    "ends with a line feed\n",
    "\nbegins with one",
    "data: looks like a field",
    "a line\ndata: and a field\nid: 7\nevent: x\nretry: 1\n: comment",
    ":",
    ": no comment",
    "a:b: c",
    "\u{feff}a byte order mark in front",
    "behind\u{feff}",
    "\u{2028}line and paragraph\u{2029}separators, next line \u{85}, vertical tab \u{b}, form feed \u{c}, group \u{1c}\u{1d}\u{1e}",
    "Grüße, 世界, مرحبا, Ελλάδα",
    "👩‍👩‍👧‍👦 🏳️‍🌈 🦀 \u{10ffff} \u{1}",
    "{\"json\": \"\\u0000 \\n\"}",
];

/// A block of the stream, and what a client sees of it.
pub(crate) struct Sent {
    event: Event<'static>,
    /// The id in the block.
    pub(crate) new_id: Option<String>,
    /// The id that is valid after it.
    pub(crate) id: String,
    /// `None` if there is no data, and so no event.
    pub(crate) seen: Option<Seen>,
}

/// Sends everything to a stream.
pub(crate) fn send(stream: StreamId, cx: &mut Context<'_>) -> Result<(), Error> {
    for sent in all() {
        cx.send(stream, sent.event)?;
    }
    Ok(())
}

/// The events of [`send`], for a client that follows the standard.
pub(crate) fn expected() -> Vec<Seen> {
    all().into_iter().filter_map(|sent| sent.seen).collect()
}

/// All blocks.
pub(crate) fn all() -> Vec<Sent> {
    let mut all = Sequence(Vec::new());
    for (index, text) in TEXTS.iter().enumerate() {
        all.add(Event::new().data(*text), "message", None, text);
        // Between them blocks that no client sees: comments, like those of heartbeats, and a retry time.
        match index % 3 {
            0 => all.add_unseen(Event::new().comment("")),
            1 => all.add_unseen(Event::new().comment("data: no event\nid: 9")),
            _ => all.add_unseen(Event::new().retry(WAIT)),
        }
    }
    all.add(Event::new().data("with an id").id("1"), "message", Some("1"), "with an id");
    all.add_unseen(Event::new().comment(""));
    // The last id is valid until there is another.
    all.add(Event::new().data("still the id before"), "message", None, "still the id before");
    all.add(Event::new().data("named").event("named").id("ü €"), "named", Some("ü €"), "named");
    all.add(Event::new().data("").event("named"), "named", None, "");
    all.add(
        Event::new().data("with a comment").comment("here\r\nand here"),
        "message",
        None,
        "with a comment",
    );
    all.add(Event::new().data("all").event("named").id("a: b"), "named", Some("a: b"), "all");
    all.add(Event::new().data("no id again").id(""), "message", Some(""), "no id again");
    let megabyte = megabyte();
    all.add(Event::new().data(megabyte.clone()), "message", None, &megabyte);
    all.add(Event::new().data("").event(END), END, None, "");
    all.0
}

/// Delay before reconnecting.
const WAIT: Duration = Duration::from_millis(100);

struct Sequence(Vec<Sent>);

impl Sequence {
    /// The id that is valid at the end.
    fn id(&self) -> String {
        self.0.last().map_or_else(String::new, |last| last.id.clone())
    }

    fn add(&mut self, event: Event<'static>, name: &str, new_id: Option<&str>, data: &str) {
        let id = new_id.map_or_else(|| self.id(), str::to_owned);
        let seen = Seen { event: name.to_owned(), data: unified(data), id: id.clone() };
        self.0.push(Sent { event, new_id: new_id.map(str::to_owned), id, seen: Some(seen) });
    }

    fn add_unseen(&mut self, event: Event<'static>) {
        self.0.push(Sent { event, new_id: None, id: self.id(), seen: None });
    }
}
