//! Server-Sent Events for any program: one thread, one [mio] event loop, raw TCP, no async runtime.
//!
//! ```no_run
//! use mio_sse::{Event, Router, Server};
//! use std::time::Duration;
//!
//! let mut app = Router::new();
//! app.sse("/ticks", |stream, _request, cx| {
//!     cx.send(stream, Event::data("welcome"))?;
//!     cx.every(stream, Duration::from_secs(1), |stream, cx| cx.send(stream, Event::data("tick")))
//! });
//! Server::bind("127.0.0.1:8080", app)?.run()
//! # ; Ok::<(), std::io::Error>(())
//! ```
//!
//! # What is where
//!
//! - [`Server`] listens and runs the loop, in a thread of its own or [turned](Server::turn) by hand; or it [takes over](Server::adopt)
//!   connections from an HTTP server that is there already.
//! - [`Router`] answers requests with closures; implement [`Handler`] for state of your own.
//! - [`Request`] is what was asked, with its query, cookies, form or JSON.
//! - [`Reply`] is a whole response, or a stream: [`Reply::stream`]; [`Cookie`] is what either may set.
//! - [`Context`] is the server as seen from a callback: publish to a topic, send to one stream or to all with a tag, set timers, close.
//! - [`Source`] is pulled instead of pushed: an iterator, or a closure, that is asked whenever the stream has room.
//! - [`Publisher`] is the way in from other threads.
//! - [`Event`] is what is sent; [`StreamId`] names whom it is sent to; [`CloseReason`] says how that ended.
//! - [`Config`] holds every limit, and in [`Cors`] who may read from other origins; [`Stats`] every count, [`Error`] what can be refused; [`Refusal`] says who was turned away.
//! - [`Observer`] watches from outside; [`Drain`] shuts down in good order.
//!
//! # Features
//!
//! - `json`: [`Event::json`](Event) and [`Reply::json_of`](Reply) for any `serde::Serialize` value, [`Request::json`](Request) for
//!   any `serde::Deserialize` one.

#![forbid(unsafe_code)]
// A peer or an application value must never bring the loop down, and a library has no terminal.
#![warn(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

#[cfg(feature = "canaries")]
#[doc(hidden)]
pub mod canary;
#[cfg(not(feature = "canaries"))]
mod canary;
mod config;
mod error;
mod event;
mod http;
mod log;
mod router;
mod server;
mod source;
mod stream;

pub use config::{Config, ConfigError, Refuse};
pub use error::Error;
pub use event::{EVENT_BYTES_MAX, Event, EventError};
pub use http::{AfterGap, Cookie, Cors, IntoReply, RawRequest, Reply, Request, SameSite, StreamReply};
pub use log::{History, Overflow, TopicConfig};
pub use router::{Router, SseOutcome};
pub use server::{
    Audience, Context, Drain, Handler, LogObserver, Message, MioNet, Net, NotAdopted, Observer, Outcome,
    Publisher, Ready, Server, Stats, TimerId,
};
pub use source::{Events, Pull, Source};
pub use stream::{CloseReason, Party, Refusal, StreamId};

/// The example in the README is compiled like any other.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
