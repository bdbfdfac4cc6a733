//! Observers: access logs and traces, apart from the application.

use crate::conn::close_reason::CloseReason;
use crate::conn::id::StreamId;
use crate::http::parse::request::Request;
use crate::server::api::access::Access;

/// Is called for every reply, every stream that opens or closes, and every event that is published or sent:
/// for access logs, traces, counters of your own. See [`Server::observe`](crate::Server::observe).
///
/// It is called in the loop at the moment it happens, so a slow observer delays every stream. An event is
/// reported once when it is published, not for each delivery. An observer that panics is still called the
/// next time, see [`Config::propagate_panics`](crate::Config::propagate_panics).
///
/// ```
/// use mio_sse::{CloseReason, Observer, Request, Router, Server, StreamId};
///
/// /// Prints each stream that opens or closes.
/// struct Doorman;
///
/// impl Observer for Doorman {
///     fn open(&mut self, stream: StreamId, request: &Request<'_>) {
///         println!("{stream} opened: {}", request.path());
///     }
///
///     fn close(&mut self, stream: StreamId, reason: CloseReason) {
///         println!("{stream} closed: {reason}");
///     }
/// }
///
/// let mut server = Server::bind("127.0.0.1:0", Router::new())?;
/// server.observe(Doorman);
/// # Ok::<(), std::io::Error>(())
/// ```
pub trait Observer {
    /// A reply is on its way: a whole one, or a stream, for which [`open`](Self::open) is called next. Called
    /// once for every request, including refused and rejected ones, and not for connections that close
    /// without a reply.
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

    /// A stream was opened as the reply to `request`.
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

/// An event, as [`Observer::message`] gets it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct Message<'a> {
    /// The streams that get it.
    pub to: Audience<'a>,
    /// The event as written to streams: lines of fields, and an empty line.
    pub text: &'a str,
}

/// The streams that get an event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Audience<'a> {
    /// Every stream subscribed to this topic.
    Topic(&'a str),
    /// One stream.
    Stream(StreamId),
    /// Every stream with this tag.
    Tag(&'a str),
}

/// Logs every stream that opens or closes and every event, at level `info`, under the targets `sse:open`,
/// `sse:message` and `sse:close`. With `env_logger`, for example: `RUST_LOG=sse:open,sse:close`.
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
        // Escaped, so each event is one line.
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

/// Logs every request and its status in the [Common Log Format](Access), at level `info`, under the target
/// `access`. With `env_logger`: `RUST_LOG=access`.
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
