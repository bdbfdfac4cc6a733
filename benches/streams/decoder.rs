//! The receiving end of one stream in 32 bytes: response head, chunks, lines, and the order of the events.
//!
//! ```text
//!  bytes ──► head ──► chunk size ◄──► chunk ──► lines ──► events
//!              └───────────► body ─────────────┘
//! ```
//!
//! A body that is not chunked, which some servers send, ends with the connection.
//!
//! No byte is kept, and none is parsed twice: a line that is cut is kept as a state. Nearly every line is
//! whole in the buffer and the expected one, and costs one comparison.

use super::payload::{DATA_BYTES, LINE_BYTES, Lines, PADDING};
use std::fmt;

#[derive(Debug)]
pub(crate) struct Decoder {
    /// Number of the next event.
    next: u32,
    /// Number in the data of the current block.
    block: Option<u32>,
    framing: Framing,
    line: Line,
}

/// State within the response.
#[derive(Debug, Clone, Copy)]
enum Framing {
    Head(Head),
    Size {
        size: u32,
        digits: u8,
    },
    /// Between the digits of a size and the end of its line: an extension, or just CR.
    SizeEnd {
        size: u32,
    },
    Chunk {
        left: u32,
    },
    ChunkEnd,
    /// The rest of the response, if the body is not chunked.
    Body,
    /// After the line of the last chunk, before the empty line.
    Last,
    Ended,
}

/// State within a line.
#[derive(Debug, Clone, Copy)]
enum Line {
    Start,
    /// This many bytes of `data:` have been seen.
    Name(u8),
    /// After the colon, where one space may follow.
    Space,
    Number {
        number: u32,
        length: u8,
    },
    Padding {
        number: u32,
        length: u8,
    },
    /// A comment or another field.
    Skipped,
}

/// Errors of a stream.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Fault {
    Status,
    ChunkSize(u8),
    ChunkEnd,
    Data { next: u32 },
    Order { next: u32, came: u32 },
    Ended,
}

impl Decoder {
    /// A stream before its response head. Event `next` comes first.
    pub(crate) fn new(next: u32) -> Decoder {
        Decoder { next, block: None, framing: Framing::Head(Head::default()), line: Line::Start }
    }

    /// Number of the next event: all events before it have been delivered.
    pub(crate) fn next(&self) -> u32 {
        self.next
    }

    /// Whether the head has arrived.
    pub(crate) fn opened(&self) -> bool {
        !matches!(self.framing, Framing::Head(_))
    }

    /// Whether the last chunk has arrived as a whole.
    pub(crate) fn ended(&self) -> bool {
        matches!(self.framing, Framing::Ended)
    }

    /// Decodes the bytes of a read, which may be cut anywhere.
    pub(crate) fn decode(&mut self, mut bytes: &[u8], lines: &Lines) -> Result<(), Fault> {
        while let Some((&byte, rest)) = bytes.split_first() {
            self.framing = match self.framing {
                Framing::Chunk { left } => {
                    let (body, rest) = bytes.split_at(bytes.len().min(left as usize));
                    self.lines(body, lines)?;
                    bytes = rest;
                    // `body` is not longer than `left`, a u32.
                    match left - u32::try_from(body.len()).unwrap_or(left) {
                        0 => Framing::ChunkEnd,
                        left => Framing::Chunk { left },
                    }
                }
                Framing::Body => {
                    self.lines(bytes, lines)?;
                    return Ok(());
                }
                framing => {
                    bytes = rest;
                    framing.step(byte)?
                }
            };
        }
        Ok(())
    }

    fn lines(&mut self, mut bytes: &[u8], lines: &Lines) -> Result<(), Fault> {
        while let Some((&byte, rest)) = bytes.split_first() {
            self.line = match self.line {
                Line::Start if byte == b'\n' => {
                    bytes = rest;
                    self.dispatch()?;
                    Line::Start
                }
                Line::Start => {
                    if let (None, Some(line)) = (self.block, lines.get(self.next))
                        && bytes.starts_with(line)
                    {
                        self.block = Some(self.next);
                        bytes = &bytes[line.len()..];
                        Line::Start
                    } else {
                        Line::Name(0)
                    }
                }
                Line::Skipped => match bytes.iter().position(|&byte| byte == b'\n') {
                    Some(end) => {
                        bytes = &bytes[end + 1..];
                        Line::Start
                    }
                    None => return Ok(()),
                },
                // The same line without the space, which is optional; with the space, the read began after
                // the colon.
                Line::Number { length: 0, .. }
                    if let (None, Some(line)) = (self.block, lines.get(self.next))
                        && bytes.starts_with(&line[LINE_BYTES - DATA_BYTES - 1..]) =>
                {
                    self.block = Some(self.next);
                    bytes = &bytes[DATA_BYTES + 1..];
                    Line::Start
                }
                line => {
                    let (line, taken) = self.step(line, byte)?;
                    if taken {
                        bytes = rest;
                    }
                    line
                }
            };
        }
        Ok(())
    }

    /// Decodes one byte of a line that is cut, or is not the expected one. Returns whether the byte was
    /// consumed.
    fn step(&mut self, line: Line, byte: u8) -> Result<(Line, bool), Fault> {
        const NAME: &[u8] = b"data:";
        let fault = Fault::Data { next: self.next };
        Ok(match line {
            Line::Name(seen) if byte == NAME[seen as usize] => {
                let seen = seen + 1;
                (if seen as usize == NAME.len() { Line::Space } else { Line::Name(seen) }, true)
            }
            Line::Start | Line::Name(_) | Line::Skipped => (Line::Skipped, false),
            Line::Space => (Line::Number { number: 0, length: 0 }, byte == b' '),
            Line::Number { number, length } => match byte {
                b'0'..=b'9' if length < 9 => {
                    (Line::Number { number: number * 10 + u32::from(byte - b'0'), length: length + 1 }, true)
                }
                b' ' if length > 0 => (Line::Padding { number, length: length + 1 }, true),
                _ => return Err(fault),
            },
            Line::Padding { number, length } => match byte {
                PADDING if (length as usize) < DATA_BYTES => {
                    (Line::Padding { number, length: length + 1 }, true)
                }
                b'\n' if length as usize == DATA_BYTES && self.block.is_none() => {
                    self.block = Some(number);
                    (Line::Start, true)
                }
                _ => return Err(fault),
            },
        })
    }

    /// The empty line that ends a block. Without data, as after a comment, no event is delivered.
    fn dispatch(&mut self) -> Result<(), Fault> {
        match self.block.take() {
            Some(came) if came != self.next => return Err(Fault::Order { next: self.next, came }),
            Some(_) => self.next += 1,
            None => {}
        }
        Ok(())
    }
}

impl Framing {
    /// Decodes one byte of the chunked coding.
    fn step(self, byte: u8) -> Result<Framing, Fault> {
        let sized = |size| if size == 0 { Framing::Last } else { Framing::Chunk { left: size } };
        Ok(match self {
            Framing::Head(mut head) => match head.step(byte, b"HTTP/1.1 200 ") {
                Some(true) if head.chunked() => Framing::Size { size: 0, digits: 0 },
                Some(true) => Framing::Body,
                Some(false) => Framing::Head(head),
                None => return Err(Fault::Status),
            },
            Framing::Size { size, digits } => match (byte as char).to_digit(16) {
                Some(digit) if digits < 7 => Framing::Size { size: size << 4 | digit, digits: digits + 1 },
                None if digits > 0 && byte == b'\n' => sized(size),
                None if digits > 0 && matches!(byte, b'\r' | b';' | b' ') => Framing::SizeEnd { size },
                _ => return Err(Fault::ChunkSize(byte)),
            },
            Framing::SizeEnd { size } if byte == b'\n' => sized(size),
            Framing::SizeEnd { size } => Framing::SizeEnd { size },
            Framing::ChunkEnd if byte == b'\r' => Framing::ChunkEnd,
            Framing::ChunkEnd if byte == b'\n' => Framing::Size { size: 0, digits: 0 },
            Framing::ChunkEnd => return Err(Fault::ChunkEnd),
            Framing::Last if byte == b'\r' => Framing::Last,
            Framing::Last if byte == b'\n' => Framing::Ended,
            Framing::Last => return Err(Fault::ChunkEnd),
            Framing::Chunk { .. } | Framing::Body | Framing::Ended => return Err(Fault::Ended),
        })
    }
}

/// The head of a response. Only its beginning and its end matter.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Head {
    /// Matched bytes of the expected beginning.
    start: u8,
    /// Matched bytes of CR LF CR LF.
    end: u8,
    /// Matched bytes of [`Head::CHUNKED`].
    chunked: u8,
}

impl Head {
    /// The end of the line that announces chunks. No other line of a tested server ends like this.
    const CHUNKED: &[u8] = b"chunked\r";

    /// Whether the head has announced a chunked body.
    fn chunked(self) -> bool {
        self.chunked as usize == Head::CHUNKED.len()
    }

    /// Decodes one byte. `Some(true)` ends the head; `None`: the head does not begin with `start`.
    pub(crate) fn step(&mut self, byte: u8, start: &[u8]) -> Option<bool> {
        if let Some(&expected) = start.get(self.start as usize) {
            if byte != expected {
                return None;
            }
            self.start += 1;
        }
        if !self.chunked() {
            let expected = Head::CHUNKED[self.chunked as usize];
            self.chunked = match byte.to_ascii_lowercase() {
                byte if byte == expected => self.chunked + 1,
                byte => u8::from(byte == Head::CHUNKED[0]),
            };
        }
        self.end = match (self.end, byte) {
            (0 | 2, b'\r') | (1 | 3, b'\n') => self.end + 1,
            (_, b'\r') => 1,
            _ => 0,
        };
        Some(self.end == 4)
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Fault::Status => write!(f, "the response is not an HTTP/1.1 200"),
            Fault::ChunkSize(byte) => write!(f, "byte {byte:#04x} where a chunk size was due"),
            Fault::ChunkEnd => write!(f, "no line end after a chunk"),
            Fault::Data { next } => write!(f, "where event {next} was due, data that nobody published"),
            Fault::Order { next, came } => write!(f, "event {came} came where event {next} was due"),
            Fault::Ended => write!(f, "the server sent bytes after the end of the stream"),
        }
    }
}
