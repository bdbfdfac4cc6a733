//! Server-Sent Events for any program: one thread, one [mio] event loop, raw TCP, no async runtime.
//!
//! A browser's `EventSource` keeps one response open and calls a function for each event in it. This is the
//! other end: a server that holds many thousands of such responses, waits for none of them, notices those
//! that have gone, and gives those that come back what they have missed.
//!
//! ```no_run
//! use mio_sse::{Reply, Router, Server};
//! use std::time::Duration;
//!
//! let mut app = Router::new();
//! // A stream of its own for everyone. Its timers end with it.
//! app.sse("/ticks", |stream, _request, cx| {
//!     cx.send(stream, "welcome")?;
//!     cx.every(stream, Duration::from_secs(1), |stream, cx| cx.send(stream, "tick"))
//! });
//! // A topic for everybody: published once, encoded once, however many listen.
//! app.get("/news", |_request, _cx| Reply::stream().topic("news"));
//! app.post("/news", |request, cx| cx.publish("news", String::from_utf8_lossy(request.body())));
//! Server::bind("127.0.0.1:8080", app)?.run()
//! # ; Ok::<(), std::io::Error>(())
//! ```
//!
//! # What is where
//!
//! | to | there is |
//! |---|---|
//! | listen and run the loop | [`Server::bind`], [`bind_unix`](Server::bind_unix), [`from_listener`](Server::from_listener), [`listen`](Server::listen) on several [`Listeners`], [`run`](Server::run) |
//! | answer requests | [`Router`] of closures with a state; [`Request`] with query, cookies, form, JSON, [`peer`](Request::peer); or a [`Handler`] by hand, with [`Routes`] |
//! | do something before and after many routes | [`Router::before`], [`after`](Router::after), [`scope`](Router::scope) |
//! | reply later, from another thread | [`Context::later`], a [`Responder`] |
//! | reply | [`Reply`]: `html`, `text`, `json`, `bytes`, `status` …, [`Cookie`]; a stream is [`Reply::stream`] |
//! | say what an event is | [`Event`]: data, name, id, retry, comment, key |
//! | send to everybody, or to one | [`Context::publish`] to a topic, [`Context::send`] to a stream, [`Context::send_tagged`] to those of a user |
//! | send from other threads | [`Publisher`], by [`Server::publisher`] or [`Context::publisher`] |
//! | send by the clock | [`Context::every`], [`after`](Context::after), which end with their stream; [`every_global`](Context::every_global) |
//! | have a stream pull its events | [`StreamReply::source`]: an iterator by [`Events`], or any [`Source`] |
//! | have a thread write one | [`Context::channel`], an [`EventSender`] that waits while the client does not read |
//! | end a stream, and learn of its end | [`Context::close`], [`close_tagged`](Context::close_tagged), [`revoke`](Context::revoke); [`Context::on_close`] with the [`CloseReason`] |
//! | miss nothing by coming back | the guide [Ids and resume](guide); [`TopicConfig::history`] and [`ids`](TopicConfig::ids); [`StreamReply::snapshot`], [`resume_after`](StreamReply::resume_after); [`Handler::missed`] |
//! | say that no more will come | [`Context::finish_topic`], [`StreamReply::then_end`] |
//! | keep a table up to date | [`TopicConfig::keyed`], [`Event::key`] |
//! | decide about slow readers | [`Config::lag_bytes_max`], [`Config::stall_timeout`], [`Overflow`] |
//! | let other origins in | [`Config::cors`], [`Router::cors`], [`Cors`] |
//! | be served under one's own names only | [`Config::hosts`] |
//! | say in JSON what is wrong | [`Config::error_body`] |
//! | set limits | [`Config`]; who is one too many gets a [`Refusal`] |
//! | begin and undo what belongs to a stream, keep a state for it | [`Context::on_open`], [`StreamReply::with`], [`Context::of`] |
//! | bound the memory of everything | [`Config::memory_max`], [`Stats::memory`] |
//! | shut down in good order | [`Publisher::drain`], [`Drain`] |
//! | watch | [`Stats`] as numbers, JSON and Prometheus text; an [`Observer`]; [`LogObserver`] and [`AccessLog`] that log |
//! | test an application | [`Server::in_memory`], an [`Answer`] |
//! | use several cores | [`Shards`]: several loops with the same events and ids |
//! | use a loop that is there already | [`Server::turn`], [`next_timeout`](Server::next_timeout), `AsFd` |
//! | take connections from another server | [`Publisher::adopt`], [`Server::adopt`], [`RawRequest`] |
//!
//! # How it works
//!
//! Each topic has a log of encoded events, each stream one cursor: the number of the last event it was given.
//! Live delivery, catching up after a full socket, resuming with Last-Event-ID, skipping what is superseded,
//! a snapshot for a newcomer: all of it is placing or moving that cursor. So there is no boundary between
//! what is replayed and what is live, a slow client costs no queue, and what is published in one turn of the
//! loop leaves in one `send` for each stream. An idle stream costs 64 bytes.
//!
//! Callbacks run in the loop, one at a time: what takes long belongs into a thread, with a [`Publisher`].
//! They get a [`Context`], which records what they want; nothing is called back from within a call. A
//! callback that panics ends the stream or request that it was for, and no other.
//!
//! # Features
//!
//! - `gzip`: [`Config`]`::gzip`, streams that are compressed, what a topic publishes once for all.
//! - `json`: [`Event::json`](Event), [`Request::json`](Request) and [`Reply::json`](Reply) for any `serde`
//!   value.
//! - `tls`: [`Listeners`]`::tls`, clients that speak TLS, by rustls.

#![forbid(unsafe_code)]
// A peer or an application value must never bring the loop down, and a library has no terminal.
#![warn(clippy::unwrap_used, clippy::panic, clippy::print_stdout, clippy::print_stderr)]

mod account;
mod config;
mod conn;
mod delivery;
mod error;
mod event;
mod event_stream;
pub mod guide;
mod gzip;
mod http;
pub mod net;
mod peer;
mod router;
mod sealed;
mod server;
mod shards;
mod source;
mod topic;

pub use config::{Config, Refuse};
pub use conn::close_reason::{CloseReason, Party};
pub use conn::id::StreamId;
pub use conn::refusal::Refusal;
pub use error::{BadRequest, ConfigError, Error};
pub use event::{EVENT_BYTES_MAX, Event, EventError};
pub use http::browser::cookie::{Cookie, SameSite};
pub use http::browser::cors::Cors;
pub use http::parse::raw_request::RawRequest;
pub use http::parse::request::Request;
pub use http::reply::reply::{IntoReply, Reply};
pub use http::reply::stream_reply::{AfterGap, StreamReply};
pub use peer::{Credentials, Peer};
pub use router::outcome::{IntoMissed, SseOutcome};
pub use router::router::Router;
pub use router::routes::{Found, RouteError, Routes};
pub use server::api::access::Access;
pub use server::api::app::App;
pub use server::api::ask::Answer;
pub use server::api::channel::EventSender;
pub use server::api::context::{Context, Outcome};
pub use server::api::drain::Drain;
pub use server::api::handler::Handler;
pub use server::api::memory::Memory;
pub use server::api::missed::Missed;
pub use server::api::not_adopted::NotAdopted;
pub use server::api::observer::{AccessLog, Audience, LogObserver, Message, Observer};
pub use server::api::publisher::Publisher;
pub use server::api::responder::Responder;
pub use server::api::server::Server;
pub use server::api::stats::Stats;
pub use server::api::work::Work;
pub use server::io::listeners::Listeners;
#[cfg(feature = "tls")]
pub use server::io::tls::config::{TlsBuilder, TlsConfig, TlsConfigError, TlsVersion};
pub use server::state::timers::TimerId;
pub use shards::shards::Shards;
pub use source::{Events, Pull, Source};
pub use topic::history::{History, Overflow, TopicConfig};
pub use topic::ids::Ids;
pub use topic::position::{ParsePositionError, Position};

/// The example in the README is compiled like any other.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
