//! Requests as a dumb twin reads them: all bytes at once, line by line, with nothing remembered.

use super::seen::{Seen, is_token};
use mio_sse::Config;

/// What was seen must be what the bytes are, one request behind the other, to a reader who forgives nothing.
/// So neither can hide something from the other, which is what request smuggling is made of.
pub(crate) fn check(bytes: &[u8], seen: &[Seen], config: &Config) {
    let mut rest = bytes;
    for seen in seen {
        rest = read(rest, seen, config)
            .unwrap_or_else(|| panic!("{seen:?} is not what {:?} is", rest.escape_ascii()));
    }
}

/// What follows the request that `seen` is; `None` if that is not what `bytes` begin with.
fn read<'a>(bytes: &'a [u8], seen: &Seen, config: &Config) -> Option<&'a [u8]> {
    let mut bytes = bytes;
    while let Some(behind) = bytes.strip_prefix(b"\r\n") {
        bytes = behind;
    }
    let end = bytes.windows(4).position(|window| window == b"\r\n\r\n")?;
    let (head, rest) = (&bytes[..end], &bytes[end + 4..]);
    let mut lines = lines(head).into_iter();
    // What comes after 1.1 means to be understood as that.
    let versions = if seen.http_10 { 0..=0 } else { 1..=9 };
    let mut said = versions.map(|minor| format!("{} {} HTTP/1.{minor}", seen.method, seen.target));
    let line = lines.next()?;
    let mut headers = seen.headers.iter();
    if !said.any(|said| line == said.as_bytes())
        || !lines.all(|line| headers.next().is_some_and(|header| is_header(line, header)))
    {
        return None;
    }
    let body = if seen.values("Transfer-Encoding").next().is_some() {
        decode_chunks(rest, config)
    } else {
        // The length itself is looked at where the rules for what is seen are.
        let (body, rest) = rest.split_at_checked(seen.body.len())?;
        Coded::Complete(body.to_vec(), rest)
    };
    match body {
        Coded::Complete(body, rest) if headers.next().is_none() && body == seen.body => Some(rest),
        _ => None,
    }
}

/// Only CRLF ends a line.
fn lines(head: &[u8]) -> Vec<&[u8]> {
    let mut lines = Vec::new();
    let mut rest = head;
    while let Some(end) = rest.windows(2).position(|window| window == b"\r\n") {
        lines.push(&rest[..end]);
        rest = &rest[end + 2..];
    }
    lines.push(rest);
    lines
}

fn is_header(line: &[u8], (name, value): &(String, Vec<u8>)) -> bool {
    let trimmed =
        line.strip_prefix(name.as_bytes()).and_then(|rest| rest.strip_prefix(b":")).map(<[u8]>::trim_ascii);
    trimmed == Some(value)
}

/// What bytes are as a chunked body.
pub(crate) enum Coded<'a> {
    Partial,
    Wrong,
    /// The body, and the bytes that follow it.
    Complete(Vec<u8>, &'a [u8]),
}

/// RFC 9112 7.1 line by line, of all bytes at once. A line that is not complete is judged as far as it goes,
/// as whoever reads byte by byte does.
pub(crate) fn decode_chunks<'a>(bytes: &'a [u8], config: &Config) -> Coded<'a> {
    let mut rest = bytes;
    let mut body = Vec::new();
    let mut extensions = 0;
    loop {
        let digits = rest.iter().take_while(|byte| byte.is_ascii_hexdigit()).count();
        if digits > 16 {
            return Coded::Wrong;
        }
        let (number, behind) = rest.split_at(digits);
        let Some(first) = behind.first() else { return Coded::Partial };
        if digits == 0 || !b"\r; \t".contains(first) {
            return Coded::Wrong;
        }
        let number = std::str::from_utf8(number).expect("digits");
        let size = u64::from_str_radix(number, 16).expect("at most 16 digits");
        if size > (config.body_bytes_max - body.len()) as u64 {
            return Coded::Wrong;
        }
        let Ok(size) = usize::try_from(size) else { return Coded::Wrong };
        // Spaces, then nothing or a semicolon and anything but control characters.
        let line = behind.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let spaces = line.iter().take_while(|byte| b" \t".contains(byte)).count();
        let wrong = match &line[spaces..] {
            [] => spaces > 0 && line.len() < behind.len(),
            [b';', text @ ..] => text.iter().any(|byte| is_control(*byte)),
            _ => true,
        };
        extensions += line.len();
        if wrong || extensions > 4096 {
            return Coded::Wrong;
        }
        rest = match after(&behind[line.len()..], b"\r\n") {
            Ok(rest) => rest,
            Err(coded) => return coded,
        };
        if size == 0 {
            return skip_trailers(rest, body, config.head_bytes_max);
        }
        let Some((chunk, behind)) = rest.split_at_checked(size) else { return Coded::Partial };
        body.extend_from_slice(chunk);
        rest = match after(behind, b"\r\n") {
            Ok(rest) => rest,
            Err(coded) => return coded,
        };
    }
}

/// Whatever is longer than the limit is wrong, if not for another reason then for this.
fn skip_trailers(bytes: &[u8], body: Vec<u8>, bytes_max: usize) -> Coded<'_> {
    let mut rest = bytes.get(..bytes_max).unwrap_or(bytes);
    loop {
        let line = rest.split(|byte| *byte == b'\r').next().unwrap_or_default();
        let name = line.iter().take_while(|byte| is_token(**byte)).count();
        let wrong = match &line[name..] {
            [] => name > 0 && line.len() < rest.len(),
            [b':', value @ ..] => name == 0 || value.iter().any(|byte| is_control(*byte)),
            _ => true,
        };
        if wrong {
            return Coded::Wrong;
        }
        rest = match after(&rest[line.len()..], b"\r\n") {
            Ok(end) if line.is_empty() => {
                return Coded::Complete(body, &bytes[bytes.len().min(bytes_max) - end.len()..]);
            }
            Ok(rest) => rest,
            Err(Coded::Partial) if bytes.len() > bytes_max => return Coded::Wrong,
            Err(coded) => return coded,
        };
    }
}

fn is_control(byte: u8) -> bool {
    byte.is_ascii_control() && byte != b'\t'
}

/// What follows `expected` in `bytes`.
fn after<'a>(bytes: &'a [u8], expected: &[u8]) -> Result<&'a [u8], Coded<'a>> {
    match bytes.strip_prefix(expected) {
        Some(rest) => Ok(rest),
        None if expected.starts_with(bytes) => Err(Coded::Partial),
        None => Err(Coded::Wrong),
    }
}
