//! One event and its encoding as an event stream (WHATWG HTML 9.2.5, "Parsing an event stream").

use memchr::memchr2;
use std::borrow::Cow;
use std::fmt;
use std::io::Write;
use std::time::Duration;

/// The most bytes that one encoded event may have: 16 MiB.
///
/// Browsers buffer an event until it is complete, so anything near this size belongs in a download whose URL
/// the event carries. The limit keeps every offset into the log within 32 bits.
pub const EVENT_BYTES_MAX: usize = 16 << 20;

/// Bytes reserved for field names, and for an event name and an id of usual length.
const FIELDS_BYTES: usize = 64;

/// One event of an event stream: any of data, event name, id, retry and comment.
///
/// Building an event never fails. Publishing or sending it fails with an [`EventError`] if it cannot be
/// written. Text may hold any line breaks: data and comments are split at CR, LF and CRLF into several lines,
/// which a client joins again with LF.
///
/// ```
/// use mio_sse::Event;
/// use std::time::Duration;
///
/// let event = Event::new().data("21.5 °C\n48 %").event("climate").id("1714").retry(Duration::from_secs(3));
/// assert_eq!(event.encode()?, "event: climate\nid: 1714\nretry: 3000\ndata: 21.5 °C\ndata: 48 %\n\n".as_bytes());
/// # Ok::<(), mio_sse::EventError>(())
/// ```
///
/// Text alone is an event with that data: every function that takes an event also takes `"hello"`, a `String`
/// or `&event`.
///
/// ```
/// # use mio_sse::Event;
/// assert_eq!(Event::from("hello"), Event::new().data("hello"));
/// ```
///
/// The fields can be read: `event.data`, `event.id` and so on.
///
/// # Cost
/// An event borrows its text. Currently the text is copied once, when the event is encoded: in the call that
/// publishes or sends it, on the calling thread. An owned `String` is moved into the event.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Event<'a> {
    /// The data. Clients ignore an event without data.
    pub data: Option<Cow<'a, str>>,
    /// The event name. Without one it is `message`.
    pub event: Option<Cow<'a, str>>,
    /// The id that a client sends as `Last-Event-ID` when it reconnects.
    pub id: Option<Cow<'a, str>>,
    /// How long the client waits before it reconnects.
    pub retry: Option<Duration>,
    /// A comment. Clients ignore it.
    pub comment: Option<Cow<'a, str>>,
    /// The key of the event in a [keyed](crate::TopicConfig::keyed) topic.
    pub key: Option<Cow<'a, str>>,
    /// Whether the event removes its key.
    pub removes_key: bool,
}

impl<'a> Event<'a> {
    /// An empty event.
    ///
    /// ```
    /// use mio_sse::Event;
    /// assert_eq!(Event::new().comment("still here").encode()?, b": still here\n");
    /// # Ok::<(), mio_sse::EventError>(())
    /// ```
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// An event that removes `key` from a [keyed](crate::TopicConfig::keyed) topic: it has empty data and
    /// [`removes_key`](Self::removes_key). Give it a name by which clients recognise it.
    ///
    /// ```
    /// # use mio_sse::Event;
    /// let gone = Event::removal("42").event("deleted").data("42");
    /// assert_eq!(gone.encode()?, b"event: deleted\ndata: 42\n\n");
    /// # Ok::<(), mio_sse::EventError>(())
    /// ```
    #[must_use]
    pub fn removal(key: impl Into<Cow<'a, str>>) -> Self {
        Self::new().data("").key(key).removes_key()
    }

    /// The same event with owned text, which may outlive the text it was made of.
    #[must_use]
    pub fn into_owned(self) -> Event<'static> {
        let owned = |text: Option<Cow<'a, str>>| text.map(|text| Cow::Owned(text.into_owned()));
        Event {
            data: owned(self.data),
            event: owned(self.event),
            id: owned(self.id),
            retry: self.retry,
            comment: owned(self.comment),
            key: owned(self.key),
            removes_key: self.removes_key,
        }
    }

    /// Bytes of owned text.
    pub(crate) fn held(&self) -> usize {
        let texts = [&self.data, &self.event, &self.id, &self.comment, &self.key];
        let owned = texts.into_iter().flatten().map(|text| match text {
            Cow::Borrowed(_) => 0,
            Cow::Owned(text) => text.capacity(),
        });
        owned.sum()
    }

    /// Sets the data. Empty data is data: the client's handler is called with `""`.
    #[must_use]
    pub fn data(mut self, text: impl Into<Cow<'a, str>>) -> Self {
        self.data = Some(text.into());
        self
    }

    /// An event of the server itself: with that name and empty data, or an empty event without a name.
    pub(crate) fn notice(name: Option<&'a Cow<'static, str>>) -> Self {
        name.map_or_else(Self::new, |name| Self::from("").event(&**name))
    }

    /// An event whose data is `value` as JSON, on one line. Needs the feature `json`.
    ///
    /// # Errors
    /// The error of [`serde_json::to_string`]: for example for a map whose keys are not strings.
    ///
    /// ```
    /// # use mio_sse::Event;
    /// assert_eq!(Event::json(&[1, 2, 3])?, Event::new().data("[1,2,3]"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[cfg(feature = "json")]
    pub fn json<T: serde::Serialize + ?Sized>(value: &T) -> Result<Self, serde_json::Error> {
        serde_json::to_string(value).map(Self::from)
    }

    /// Names the event: `addEventListener(name, …)` receives it instead of `onmessage`.
    #[must_use]
    pub fn event(mut self, name: impl Into<Cow<'a, str>>) -> Self {
        self.event = Some(name.into());
        self
    }

    /// Sets the id that a client repeats as `Last-Event-ID` when it reconnects (WHATWG HTML 9.2.4). An empty
    /// id makes the client forget its last id.
    ///
    /// An id that browsers would not send back, or not unchanged, is refused when the event is encoded. An
    /// event for a topic that makes the [ids](crate::TopicConfig::ids) of its events itself must have none.
    #[must_use]
    pub fn id(mut self, id: impl Into<Cow<'a, str>>) -> Self {
        self.id = Some(id.into());
        self
    }

    /// Tells the client how long to wait before it reconnects, in whole milliseconds.
    #[must_use]
    pub fn retry(mut self, delay: Duration) -> Self {
        self.retry = Some(delay);
        self
    }

    /// Adds a comment, which clients ignore.
    #[must_use]
    pub fn comment(mut self, text: impl Into<Cow<'a, str>>) -> Self {
        self.comment = Some(text.into());
        self
    }

    /// The bytes of this event on the wire, with the empty line that ends it. A comment or `retry` without
    /// data and id has no such line: it takes effect without (WHATWG HTML 9.2.6), and many clients would take
    /// it for an event.
    ///
    /// Publishing does this by itself. Call it to write an event elsewhere, or in tests.
    ///
    /// # Errors
    /// See [`EventError`].
    pub fn encode(&self) -> Result<Vec<u8>, EventError> {
        let mut out = Vec::new();
        self.encode_into(&mut out)?;
        Ok(out)
    }

    /// Appends the encoded event to `out`. Leaves `out` unchanged if the event is refused.
    pub(crate) fn encode_into(&self, out: &mut Vec<u8>) -> Result<(), EventError> {
        self.check()?;
        let start = out.len();
        // Enough for most events, so a new vector grows once.
        out.reserve(self.data.as_deref().map_or(0, str::len) + FIELDS_BYTES);
        if let Some(comment) = &self.comment {
            for line in lines(comment) {
                write_field(out, b":", line);
            }
        }
        if let Some(name) = &self.event {
            write_field(out, b"event:", name.as_bytes());
        }
        if let Some(id) = &self.id {
            write_field(out, b"id:", id.as_bytes());
        }
        if let Some(retry) = self.retry {
            // Writing to a vector cannot fail.
            let _ = writeln!(out, "retry: {}", retry.as_millis());
        }
        if let Some(data) = &self.data {
            for line in lines(data) {
                write_field(out, b"data:", line);
            }
        }
        if self.data.is_some() || self.id.is_some() {
            out.push(b'\n');
        }
        if out.len() - start > EVENT_BYTES_MAX {
            out.truncate(start);
            return Err(EventError::TooLarge);
        }
        Ok(())
    }

    /// Sets the key of the event in a [keyed](crate::TopicConfig::keyed) topic: the event supersedes the one
    /// before it with the same key. The key itself is not sent. Other topics, and
    /// [`Context::send`](crate::Context::send), ignore it.
    #[must_use]
    pub fn key(mut self, key: impl Into<Cow<'a, str>>) -> Self {
        self.key = Some(key.into());
        self
    }

    /// Makes the event remove its key: streams that read the topic get it, and later snapshots contain no
    /// event of that key. The event itself is retained as long as the [history](crate::TopicConfig::history)
    /// retains events.
    #[must_use]
    pub fn removes_key(mut self) -> Self {
        self.removes_key = true;
        self
    }

    /// The key, and whether the event removes it.
    pub(crate) fn key_and_end(&self) -> Option<(&str, bool)> {
        self.key.as_deref().map(|key| (key, self.removes_key))
    }

    /// The length of the id in bytes, if there is one.
    pub(crate) fn id_bytes(&self) -> Option<u32> {
        // An event that is larger than 4 GiB is refused.
        self.id.as_deref().map(|id| u32::try_from(id.len()).unwrap_or(u32::MAX))
    }

    /// Checks all that can be checked without encoding the event.
    pub(crate) fn check(&self) -> Result<(), EventError> {
        if self.event.as_deref().is_some_and(|name| memchr2(b'\r', b'\n', name.as_bytes()).is_some()) {
            return Err(EventError::LineBreakInName);
        }
        if let Some(id) = self.id.as_deref() {
            if id.bytes().any(|byte| byte.is_ascii_control()) {
                return Err(EventError::ControlInId);
            }
            if id.starts_with(' ') || id.ends_with(' ') {
                return Err(EventError::SpaceAroundId);
            }
        }
        if self.event.is_some() && self.data.is_none() {
            return Err(EventError::NameWithoutData);
        }
        if *self == Self::default() {
            return Err(EventError::Empty);
        }
        // Checked before copying too: encoding only makes it longer.
        if self.data.as_deref().map_or(0, str::len) > EVENT_BYTES_MAX {
            return Err(EventError::TooLarge);
        }
        Ok(())
    }
}

impl<'a> From<&'a str> for Event<'a> {
    fn from(text: &'a str) -> Self {
        Self::new().data(text)
    }
}

impl From<String> for Event<'_> {
    fn from(text: String) -> Self {
        Self::new().data(text)
    }
}

impl<'a> From<&'a String> for Event<'a> {
    fn from(text: &'a String) -> Self {
        Self::new().data(text)
    }
}

impl<'a> From<Cow<'a, str>> for Event<'a> {
    fn from(text: Cow<'a, str>) -> Self {
        Self::new().data(text)
    }
}

/// Borrows the text of the other event.
impl<'a> From<&'a Event<'_>> for Event<'a> {
    fn from(event: &'a Event<'_>) -> Self {
        let text = |text: &'a Option<Cow<'_, str>>| text.as_deref().map(Cow::Borrowed);
        Self {
            data: text(&event.data),
            event: text(&event.event),
            id: text(&event.id),
            retry: event.retry,
            comment: text(&event.comment),
            key: text(&event.key),
            removes_key: event.removes_key,
        }
    }
}

/// Writes one space after the colon. A parser removes exactly one, so values that begin with a space survive.
fn write_field(out: &mut Vec<u8>, field: &[u8], value: &[u8]) {
    out.extend_from_slice(field);
    out.push(b' ');
    out.extend_from_slice(value);
    out.push(b'\n');
}

/// The lines of `text`; CR, LF and CRLF each end one (WHATWG HTML 9.2.5). There is always at least one.
fn lines(text: &str) -> impl Iterator<Item = &[u8]> {
    let mut rest = Some(text.as_bytes());
    std::iter::from_fn(move || {
        let bytes = rest?;
        let Some(end) = memchr2(b'\r', b'\n', bytes) else {
            rest = None;
            return Some(bytes);
        };
        let (line, tail) = bytes.split_at(end);
        rest = Some(tail.strip_prefix(b"\r\n").unwrap_or(&tail[1..]));
        Some(line)
    })
}

/// Why an event cannot be written. It is refused as a whole: without the wrong part it would not be what the
/// application meant, and with it data could become fields.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum EventError {
    /// The event name holds CR or LF.
    LineBreakInName,
    /// The id holds a control character: NUL makes clients ignore the id (WHATWG HTML 9.2.6), and a client
    /// cannot send the others in a header when it reconnects.
    ControlInId,
    /// The id begins or ends with a space, which browsers remove when they send it back.
    SpaceAroundId,
    /// The id is empty, which makes clients forget their place, in a topic whose ids are for resuming.
    EmptyId,
    /// The event has a name but no data. Clients ignore events without data (WHATWG HTML 9.2.6).
    NameWithoutData,
    /// The event is empty.
    Empty,
    /// The encoded event is larger than [`EVENT_BYTES_MAX`].
    TooLarge,
}

impl fmt::Display for EventError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::LineBreakInName => "the event name holds a line break",
            Self::ControlInId => "the id holds a control character",
            Self::SpaceAroundId => "the id begins or ends with a space",
            Self::EmptyId => "the id is empty, but clients resume by the topic's ids",
            Self::NameWithoutData => "the event has a name but no data, so clients would ignore it",
            Self::Empty => "the event is empty",
            Self::TooLarge => "the event is larger than 16 MiB",
        })
    }
}

impl std::error::Error for EventError {}

#[cfg(test)]
mod tests;
