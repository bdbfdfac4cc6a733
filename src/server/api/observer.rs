//! Watching what a server does without being part of the application.

use crate::conn::close_reason::CloseReason;
use crate::conn::id::StreamId;
use crate::http::parse::request::Request;
use crate::server::api::access::Access;

/// Is told of every reply, every stream that opens, every event that is published or sent, and every stream
/// that closes: for access logs, traces, counters of your own. See
/// [`Server::observe`](crate::Server::observe).
///
/// Called in the loop, at the moment it happens; what takes long here holds up every stream. Events are told
/// once when they are published, not for each of their deliveries. One that panics is told of the next thing
/// all the same, see [`Config::propagate_panics`](crate::Config::propagate_panics).
///
/// ```
/// use mio_sse::{CloseReason, Observer, Request, Router, Server, StreamId};
///
/// /// Prints who comes and goes.
/// struct Doorman;
///
/// impl Observer for Doorman {
///     fn open(&mut self, stream: StreamId, request: &Request<'_>) {
///         println!("{stream} has come to {}", request.path());
///     }
///
///     fn close(&mut self, stream: StreamId, reason: CloseReason) {
///         println!("{stream} has gone: {reason}");
///     }
/// }
///
/// let mut server = Server::bind("127.0.0.1:0", Router::new())?;
/// server.observe(Doorman);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Observer {
    /// A reply is on its way: a whole one, or a stream, of which [`open`](Self::open) tells next. Told of
    /// every request once, refused and rejected ones included; not of connections that end without one.
    ///
    /// ```
    /// use mio_sse::{Access, Observer};
    /// use std::io::Write;
    ///
    /// /// A file in the Common Log Format.
    /// struct Journal(std::io::BufWriter<std::fs::File>);
    ///
    /// impl Observer for Journal {
    ///     fn access(&mut self, access: &Access<'_>) {
    ///         let _ = writeln!(self.0, "{access}");
    ///     }
    /// }
    /// ```
    fn access(&mut self, access: &Access<'_>) {
        let _ = access;
    }

    /// A stream has been opened, in answer to `request`.
    fn open(&mut self, stream: StreamId, request: &Request<'_>) {
        let _ = (stream, request);
    }

    /// An event was published or sent.
    fn message(&mut self, message: &Message<'_>) {
        let _ = message;
    }

    /// A stream has ended.
    fn close(&mut self, stream: StreamId, reason: CloseReason) {
        let _ = (stream, reason);
    }
}

/// An event on its way, as [`Observer::message`] sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message<'a> {
    /// Who gets it.
    pub to: Audience<'a>,
    /// The event as it is written to streams: lines of fields, and an empty line.
    pub text: &'a str,
}

/// Who gets an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Audience<'a> {
    /// Everyone who is subscribed to this topic.
    Topic(&'a str),
    /// One stream.
    Stream(StreamId),
    /// Every stream with this tag.
    Tag(&'a str),
}

/// Writes a line to the `log` for everything it is told, at level `info`, under the targets `sse:open`,
/// `sse:message` and `sse:close`. With `env_logger` that is `RUST_LOG=sse:open,sse:close`, for example.
///
/// ```
/// use mio_sse::{LogObserver, Router, Server};
///
/// let mut server = Server::bind("127.0.0.1:0", Router::new())?;
/// server.observe(LogObserver);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct LogObserver;

impl Observer for LogObserver {
    fn open(&mut self, stream: StreamId, request: &Request<'_>) {
        log::info!(target: "sse:open", "{stream} {} {}", request.method(), request.target());
    }

    fn message(&mut self, message: &Message<'_>) {
        // One line for each, whatever the event contains.
        let text = message.text.trim_end().escape_debug();
        match message.to {
            Audience::Topic(topic) => log::info!(target: "sse:message", "to topic {topic:?}: {text}"),
            Audience::Stream(stream) => log::info!(target: "sse:message", "to {stream}: {text}"),
            Audience::Tag(tag) => log::info!(target: "sse:message", "to tag {tag:?}: {text}"),
        }
    }

    fn close(&mut self, stream: StreamId, reason: CloseReason) {
        log::info!(target: "sse:close", "{stream} {reason}");
    }
}

/// Writes every request and the status that it got to the `log`, in the [Common Log Format](Access), at level
/// `info` and under the target `access`. With `env_logger` that is `RUST_LOG=access`, for example.
///
/// ```
/// use mio_sse::{AccessLog, Router, Server};
///
/// let mut server = Server::bind("127.0.0.1:0", Router::new())?;
/// server.observe(AccessLog);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug, Clone, Copy, Default)]
pub struct AccessLog;

impl Observer for AccessLog {
    fn access(&mut self, access: &Access<'_>) {
        log::info!(target: "access", "{access}");
    }
}
