//! Frames: events as they lie in a log, encoded once, already HTTP/1.1 chunks (RFC 9112 7.1).

use crate::error::Error;
use crate::event::{Event, EventError};
use std::fmt::Display;
use std::io::Write;

/// What kind of bytes a frame holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Kind {
    /// The length of the chunk size line. 0 if the bytes are not a chunk and are sent as they are, such as a
    /// response head.
    pub(crate) prefix: u8,
    /// Whether it counts as a delivered event. The server's own notices do not.
    pub(crate) event: bool,
    /// Whether observers already know of it: it was sent to a tag.
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
    /// Its place in the one order of all topics and private sends.
    pub(crate) sequence: u64,
    /// The offset after its last byte.
    pub(crate) end: u32,
    pub(crate) kind: Kind,
    pub(crate) role: Role,
}

impl Frame {
    /// Whether streams that are behind skip it.
    pub(crate) fn is_conflated(&self) -> bool {
        self.role == Role::Superseded
    }
}

/// The role of a frame in a keyed topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Role {
    /// An event without a key, or in a topic without keys.
    #[default]
    Plain,
    /// The newest event of its key, which the log keeps.
    Current,
    /// A newer event of the same key exists. Only streams that are already at this frame get it.
    Superseded,
}

/// The last chunk of a body.
pub(crate) const LAST_CHUNK: &[u8] = b"0\r\n\r\n";

/// Appends a chunk with these bytes, which must not be empty.
pub(crate) fn append_chunk(bytes: &[u8], out: &mut Vec<u8>) {
    // Writing to a vector cannot fail.
    let _ = write!(out, "{:x}\r\n", bytes.len());
    out.extend_from_slice(bytes);
    out.extend_from_slice(CHUNK_SUFFIX);
}

/// The bytes after the data of a chunk.
const CHUNK_SUFFIX: &[u8] = b"\r\n";

/// An empty comment, which clients ignore: the first bytes of a body, and the heartbeat. It has no empty line
/// after it, because some clients take that for an event.
pub(crate) const COMMENT: &[u8] = b"2\r\n:\n\r\n";

/// The heartbeat of a compressed stream: an empty stored block (RFC 1951 3.2.4). It decodes to nothing and
/// fits anywhere.
pub(crate) const EMPTY_BLOCK: &[u8] = b"5\r\n\0\0\0\xff\xff\r\n";

/// The kind of [`COMMENT`].
pub(crate) const COMMENT_KIND: Kind = Kind { prefix: 3, event: false, told: false };

/// Room for the largest chunk size line: eight hexadecimal digits and CRLF.
const PREFIX_MAX: usize = 10;

/// How the body of a stream is delimited on the wire (RFC 9112 6.3), and coded.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Framing {
    /// Chunked transfer coding: frames are sent as they lie in the log.
    Chunked,
    /// The body lasts until the connection closes: the same frames without their chunk lines.
    CloseDelimited,
    /// Chunked, and gzip within the chunks (RFC 9110 8.4.1.3).
    Gzip,
}

impl Framing {
    /// The bytes at the end of the body: the last chunk (RFC 9112 7.1), or none if the connection is closed.
    /// A compressed body has the end of its gzip stream before that.
    pub(crate) fn end(self) -> &'static [u8] {
        match self {
            Self::Chunked => LAST_CHUNK,
            Self::CloseDelimited | Self::Gzip => b"",
        }
    }

    /// The bytes of a frame in this framing. `bytes` is the frame as it lies in the log. Bytes that are still
    /// to be compressed have no chunk lines.
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
    // The bytes were made from a `str`.
    str::from_utf8(Framing::CloseDelimited.bytes_of(kind, bytes)).unwrap_or_default()
}

/// One encoded event in chunk framing. If it is reused, it encodes without allocating.
#[derive(Debug, Clone, Default)]
pub(crate) struct EncodedEvent {
    /// `PREFIX_MAX` bytes of room, the event, CRLF. The size line stands at the end of the room, so it can be
    /// written when the size is known and nothing has to move.
    bytes: Vec<u8>,
    prefix: u8,
    /// The length of its id in bytes, if it has one.
    id_bytes: Option<u32>,
    key: Option<Box<str>>,
    removes_key: bool,
    /// Whether it is a notice of the server, see [`Kind::event`].
    is_notice: bool,
}

impl EncodedEvent {
    pub(crate) fn new(event: &Event<'_>) -> Result<Self, EventError> {
        let mut encoded = Self::default();
        encoded.encode(event)?;
        Ok(encoded)
    }

    /// A notice of the server.
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

    /// The same, and checks that the id has at most `id_bytes_max` bytes.
    pub(crate) fn encode_checked(&mut self, event: &Event<'_>, id_bytes_max: usize) -> Result<(), Error> {
        self.encode(event)?;
        if self.has_longer_id(id_bytes_max) { Err(Error::IdTooLong) } else { Ok(()) }
    }

    /// Replaces the content by `event` with an id before it.
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

    /// Writes the chunk lines around the event.
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

    /// Clears the event, and frees its memory if that is more than `bytes`.
    pub(crate) fn shrink(&mut self, bytes: usize) {
        if self.bytes.capacity() > bytes {
            *self = Self::default();
        }
    }

    /// The frame's bytes, chunk lines included.
    pub(crate) fn bytes(&self) -> &[u8] {
        self.bytes.get(PREFIX_MAX - usize::from(self.prefix)..).unwrap_or_default()
    }

    /// The memory that the buffer holds.
    pub(crate) fn held(&self) -> usize {
        self.bytes.capacity() + self.key.as_ref().map_or(0, |key| key.len())
    }

    /// Whether the event removes its key.
    pub(crate) fn removes_key(&self) -> bool {
        self.key_and_end().is_some_and(|(_, end)| end)
    }

    /// Its key, and whether the event removes it.
    pub(crate) fn key_and_end(&self) -> Option<(&str, bool)> {
        self.key.as_deref().map(|key| (key, self.removes_key))
    }

    /// Whether the application gave it an id.
    pub(crate) fn has_id(&self) -> bool {
        self.id_bytes.is_some()
    }

    /// Whether its id is empty, which makes clients forget their last id.
    pub(crate) fn has_empty_id(&self) -> bool {
        self.id_bytes == Some(0)
    }

    /// Whether its id has more than `bytes_max` bytes.
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

    /// The kind of a notice that the server puts into a stream.
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
