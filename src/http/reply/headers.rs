//! Header lines of a reply: the application's, and those about the connection.

use crate::error::Error;
use crate::http::header::{SET_COOKIE, check_name, check_value, invalid};
use std::fmt;
use std::io::Write as _;

/// Headers about the connection and the framing of the body. Only the server knows their values.
pub(crate) const WRITTEN_BY_THE_SERVER: [&str; 8] = [
    "Connection",
    "Content-Length",
    "Date",
    "Keep-Alive",
    "Proxy-Connection",
    "Trailer",
    "Transfer-Encoding",
    "Upgrade",
];

/// What the head of a reply depends on besides the reply.
#[derive(Debug, Clone, Copy)]
pub(crate) struct HeadContext<'a> {
    /// The value of the `Date` header.
    pub(crate) date: &'a str,
    /// Whether the connection may carry another request after this reply.
    pub(crate) keep_alive: bool,
    /// Whether the request was HTTP/1.0, which closes the connection by default.
    pub(crate) http_10: bool,
    /// Whether the request was HEAD: it gets only the head.
    pub(crate) head_request: bool,
}

impl HeadContext<'_> {
    pub(crate) fn connection(&self, keep_alive: bool) -> &'static str {
        match (keep_alive, self.http_10) {
            (false, _) => "Connection: close\r\n",
            (true, true) => "Connection: keep-alive\r\n",
            (true, false) => "",
        }
    }
}

/// The application's header lines, ready to be sent.
#[derive(Clone, Default, PartialEq, Eq)]
pub(crate) struct Headers {
    pub(crate) lines: String,
}

impl Headers {
    pub(crate) fn push(&mut self, name: &str, value: &str) -> Result<(), Error> {
        check_name(name)?;
        if is_one_of(&WRITTEN_BY_THE_SERVER, name) {
            return Err(invalid(name, "the server sets this header itself"));
        }
        check_value(name, value.as_bytes())?;
        self.add(name, value);
        Ok(())
    }

    /// Adds a line that is known to be well-formed.
    pub(crate) fn add(&mut self, name: &str, value: &str) {
        for part in [name, ": ", value, "\r\n"] {
            self.lines.push_str(part);
        }
    }

    /// Whether there is a line of this name. Case does not matter.
    pub(crate) fn has(&self, name: &str) -> bool {
        self.lines.lines().any(|line| name_of(line).eq_ignore_ascii_case(name))
    }
}

/// Leaves out the values of cookies, which must not be logged.
impl fmt::Debug for Headers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let shown = |line| match name_of(line) {
            name if name.eq_ignore_ascii_case(SET_COOKIE) => format!("{name}: …"),
            _ => String::from(line),
        };
        f.debug_list().entries(self.lines.lines().map(shown)).finish()
    }
}

fn name_of(line: &str) -> &str {
    line.split_once(':').map_or(line, |(name, _)| name)
}

pub(crate) fn is_one_of(names: &[&str], name: &str) -> bool {
    names.iter().any(|candidate| candidate.eq_ignore_ascii_case(name))
}

pub(crate) fn append(out: &mut Vec<u8>, parts: &[&str]) {
    for part in parts {
        out.extend_from_slice(part.as_bytes());
    }
}

pub(crate) fn append_fmt(out: &mut Vec<u8>, arguments: fmt::Arguments<'_>) {
    let written = out.write_fmt(arguments);
    debug_assert!(written.is_ok(), "writing to a vector cannot fail");
}
