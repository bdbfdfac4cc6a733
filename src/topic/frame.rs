//! An event as it lies in the log: encoded once, already wrapped as an HTTP/1.1 chunk (RFC 9112 7.1).

use crate::error::Error;
use crate::event::{Event, EventError};
use std::fmt::Display;
use std::io::Write;

/// What the bytes of a frame are.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Kind {
    /// The bytes of its chunk size line; 0 for bytes that are no chunk and are sent as they are, such as a
    /// response head.
    pub(crate) prefix: u8,
    /// Whether it counts as an event that was delivered: not what the server itself puts into a stream.
    pub(crate) event: bool,
    /// Whether observers have been told of it already, where it was sent to a tag.
    pub(crate) told: bool,
}

impl Kind {
    pub(crate) const RAW: Self = Self { prefix: 0, event: false, told: false };

    pub(crate) fn told_to_observers(self) -> Self {
        Self { told: true, ..self }
    }
}

/// Where a frame ends in its block, and what it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Frame {
    /// Its place in the one order over all topics and private sends.
    pub(crate) sequence: u64,
    /// The offset behind its last byte.
    pub(crate) end: u32,
    pub(crate) kind: Kind,
    pub(crate) role: Role,
}

impl Frame {
    /// Whether streams that are behind do without it.
    pub(crate) fn is_conflated(&self) -> bool {
        self.role == Role::Superseded
    }
}

/// What a frame is in a keyed topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Role {
    /// One event among others.
    #[default]
    Plain,
    /// The newest of its key: kept as long as it is that.
    Current,
    /// A newer one of the same key is there, so that nobody needs it who is not getting it already.
    Superseded,
}

/// The last chunk of a body.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Adds a chunk with these bytes, of which there is one at least.
pub(crate) fn append_chunk(bytes: &[u8], out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{:x}\r\n", bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(CHUNK_SUFFIX);
}

/// The bytes behind the data of a chunk.
const CHUNK_SUFFIX: &[u8] = b"\r\n";

/// An empty comment, which clients ignore: the first byte of a body, and its heartbeat. It has no empty line
/// of its own, which some clients take for an event.
pub(crate) const COMMENT: &[u8] = b"2\r\n:\n\r\n";

/// The heartbeat of a compressed stream: an empty stored block (RFC 1951 3.2.4), which is nothing when it is
/// decoded, and fits behind anything.
pub(crate) const EMPTY_BLOCK: &[u8] = b"5\r\n\0\0\0\xff\xff\r\n";

/// What [`COMMENT`] is.
pub(crate) const COMMENT_KIND: Kind = Kind { prefix: 3, event: false, told: false };

/// Room for the largest chunk size line: eight hexadecimal digits and CRLF.
const PREFIX_MAX: usize = 10;

/// How the body of a stream is delimited on the wire (RFC 9112 6.3), and coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Framing {
    /// Chunked transfer coding: frames are sent just as they lie in the log.
    Chunked,
    /// The end of the connection ends the body: the same frames without their chunk lines.
    CloseDelimited,
    /// Chunked, and gzip within the chunks (RFC 9110 8.4.1.3).
    Gzip,
}

impl Framing {
    /// What ends the body: the last chunk (RFC 9112 7.1), or nothing but the end of the connection. Before
    /// the last chunk of one that is compressed stands the end of that.
    pub(crate) fn end(self) -> &'static [u8] {
        match self {
            Self::Chunked => LAST_CHUNK,
            Self::CloseDelimited | Self::Gzip => b"",
        }
    }

    /// The bytes of a frame, which lies in the log as `bytes`, in this framing; without chunk lines where it
    /// has yet to be compressed.
    pub(crate) fn bytes_of(self, kind: Kind, bytes: &[u8]) -> &[u8] {
        match self {
            Self::CloseDelimited | Self::Gzip if kind.prefix > 0 => {
                &bytes[usize::from(kind.prefix)..bytes.len() - CHUNK_SUFFIX.len()]
            }
            _ => bytes,
        }
    }
}

/// The text in the bytes of an event.
pub(crate) fn text_of(kind: Kind, bytes: &[u8]) -> &str {
    // It was put together from text.
    str::from_utf8(Framing::CloseDelimited.bytes_of(kind, bytes)).unwrap_or_default()
}

/// One encoded event in chunk framing. Reused, it encodes without allocating.
#[derive(Debug, Clone, Default)]
pub(crate) struct EncodedEvent {
    /// `PREFIX_MAX` bytes of room, the event, CRLF. The size line stands at the end of the room, so that it
    /// can be written when the size is known and nothing has to move.
    bytes: Vec<u8>,
    prefix: u8,
    /// How many bytes its id has, if it has one.
    id_bytes: Option<u32>,
    key: Option<Box<str>>,
    removes_key: bool,
    /// Whether it is the server's own, see [`Kind::event`].
    is_notice: bool,
}

impl EncodedEvent {
    pub(crate) fn new(event: &Event<'_>) -> Result<Self, EventError> {
        let mut encoded = Self::default();
        encoded.encode(event)?;
        Ok(encoded)
    }

    /// An event of the server's own.
    pub(crate) fn new_notice(event: &Event<'_>) -> Result<Self, EventError> {
        Ok(Self { is_notice: true, ..Self::new(event)? })
    }

    /// Replaces the content by `event`.
    pub(crate) fn encode(&mut self, event: &Event<'_>) -> Result<(), EventError> {
        self.bytes.resize(PREFIX_MAX, 0);
        event.encode_into(&mut self.bytes)?;
        self.id_bytes = event.id_bytes();
        let key = event.key_and_end();
        self.key = key.map(|(key, _)| key.into());
        self.removes_key = key.is_some_and(|(_, end)| end);
        self.wrap();
        Ok(())
    }

    /// The same for an event whose id may have so many bytes.
    pub(crate) fn encode_checked(&mut self, event: &Event<'_>, id_bytes_max: usize) -> Result<(), Error> {
        self.encode(event)?;
        if self.has_longer_id(id_bytes_max) { Err(Error::IdTooLong) } else { Ok(()) }
    }

    /// Replaces the content by `event` with an id in front.
    pub(crate) fn encode_with_id(&mut self, event: &Self, id: impl Display) {
        self.bytes.resize(PREFIX_MAX, 0);
        // Writing to a vector cannot fail.
        let _ = writeln!(self.bytes, "id: {id}");
        self.bytes.extend_from_slice(Framing::CloseDelimited.bytes_of(event.kind(), event.bytes()));
        self.id_bytes = None;
        self.key.clone_from(&event.key);
        self.removes_key = event.removes_key;
        self.wrap();
    }

    /// Writes the chunk lines around the event that lies behind the room for them.
    fn wrap(&mut self) {
        let mut size = self.bytes.len() - PREFIX_MAX;
        self.bytes.extend_from_slice(CHUNK_SUFFIX);

        let mut at = PREFIX_MAX - CHUNK_SUFFIX.len();
        self.bytes[at..PREFIX_MAX].copy_from_slice(CHUNK_SUFFIX);
        // `EVENT_BYTES_MAX` has seven digits, so the room suffices.
        while size > 0 {
            at -= 1;
            self.bytes[at] = b"0123456789abcdef"[size % 16];
            size /= 16;
        }
        self.prefix = u8::try_from(PREFIX_MAX - at).unwrap_or(0);
    }

    /// Gives up the content, and the memory where it is more than `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        if self.bytes.capacity() > bytes {
            *self = Self::default();
        }
    }

    /// The frame's bytes, chunk lines included.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(PREFIX_MAX - usize::from(self.prefix)..).unwrap_or_default()
    }

    /// The memory that it holds.
    pub(crate) fn held(&self) -> usize {
        self.bytes.capacity() + self.key.as_ref().map_or(0, |key| key.len())
    }

    /// Whether it says that its key is gone.
    pub(crate) fn removes_key(&self) -> bool {
        self.key_and_end().is_some_and(|(_, end)| end)
    }

    /// Its key, and whether it is the end of it.
    pub(crate) fn key_and_end(&self) -> Option<(&str, bool)> {
        self.key.as_deref().map(|key| (key, self.removes_key))
    }

    /// Whether the application has given it an id.
    pub(crate) fn has_id(&self) -> bool {
        self.id_bytes.is_some()
    }

    /// Whether that is the one which makes a client forget where it was.
    pub(crate) fn has_empty_id(&self) -> bool {
        self.id_bytes == Some(0)
    }

    /// Whether the application has given it an id of more bytes than that.
    pub(crate) fn has_longer_id(&self, bytes_max: usize) -> bool {
        self.id_bytes.is_some_and(|bytes| bytes as usize > bytes_max)
    }

    /// The event without its chunk lines.
    pub(crate) fn text(&self) -> &str {
        text_of(self.kind(), self.bytes())
    }

    pub(crate) fn kind(&self) -> Kind {
        Kind { prefix: self.prefix, event: !self.is_notice, told: false }
    }

    /// The same for what the server itself puts into a stream.
    pub(crate) fn notice(&self) -> Kind {
        Kind { prefix: self.prefix, event: false, told: false }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::event::EVENT_BYTES_MAX;

    #[test]
    fn an_event_is_one_chunk() {
        let encoded = EncodedEvent::new(&Event::new().data("0123456789")).unwrap();
        assert_eq!(encoded.bytes(), b"12\r\ndata: 0123456789\n\n\r\n");
        assert_eq!(encoded.kind(), Kind { prefix: 4, event: true, told: false });
        let kind = encoded.kind();
        assert_eq!(Framing::CloseDelimited.bytes_of(kind, encoded.bytes()), b"data: 0123456789\n\n");
        assert_eq!(Framing::Chunked.bytes_of(kind, encoded.bytes()), encoded.bytes());
        assert_eq!(Framing::CloseDelimited.bytes_of(Kind::RAW, b"raw"), b"raw");
        assert_eq!(Framing::CloseDelimited.bytes_of(COMMENT_KIND, COMMENT), b":\n");
    }

    #[test]
    fn the_buffer_is_reused_for_events_of_any_size() {
        let mut encoded = EncodedEvent::default();
        for size in [0, 1, 8, 9, 300, 5000, 70_000, EVENT_BYTES_MAX - 8, 0] {
            encoded.encode(&Event::new().data("x".repeat(size))).unwrap();
            let text = std::str::from_utf8(encoded.bytes()).unwrap();
            let (line, rest) = text.split_once("\r\n").unwrap();
            assert_eq!(usize::from_str_radix(line, 16).unwrap(), rest.len() - 2, "{size}");
            assert_eq!(usize::from(encoded.kind().prefix), line.len() + 2);
        }
    }
}
