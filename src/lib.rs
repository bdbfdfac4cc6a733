//! Server-Sent Events for any program: one thread, one [mio] event loop, raw TCP, no async runtime.
//!
//! A browser's `EventSource` keeps one response open and calls a function for each event in it. This crate is
//! the server for it. It holds thousands of open responses, waits for none of them, notices clients that have
//! left, and gives clients that reconnect what they have missed.
//!
//! ```no_run
//! use mio_sse::{Reply, Router, Server};
//! use std::time::Duration;
//!
//! let mut app = Router::new();
//! // A stream for each client. Its timers end with it.
//! app.sse("/ticks", |stream, _request, cx| {
//!     cx.send(stream, "welcome")?;
//!     cx.every(stream, Duration::from_secs(1), |stream, cx| cx.send(stream, "tick"))
//! });
//! // A topic for everybody: an event is published once and encoded once, however many clients listen.
//! app.get("/news", |_request, _cx| Reply::stream().topic("news"));
//! app.post("/news", |request, cx| cx.publish("news", String::from_utf8_lossy(request.body())));
//! Server::bind("127.0.0.1:8080", app)?.run()
//! # ; Ok::<(), std::io::Error>(())
//! ```
//!
//! The [guides](guide) explain whole tasks: [ids and resume](guide::ids_and_resume),
//! [slow clients](guide::slow_clients), [memory](guide::memory), [embedding](guide::embedding),
//! [async programs](guide::async_programs), [deployment](guide::deployment), [scaling](guide::scaling).
//!
//! # What to use for what
//!
//! | to | use |
//! |---|---|
//! | listen and run the loop | [`Server::bind`], [`bind_unix`](Server::bind_unix), [`from_listener`](Server::from_listener), [`listen`](Server::listen) on several [`Listeners`], [`run`](Server::run) |
//! | handle requests | [`Router`] of closures with a state; [`Request`] with query, cookies, form, JSON, [`peer`](Request::peer); or a [`Handler`] by hand, with [`Routes`] |
//! | authenticate, and do other things for many routes | [`Router::before`], [`after`](Router::after), [`scope`](Router::scope) |
//! | reply | [`Reply`]: `html`, `text`, `json`, `bytes`, `status` …, [`Cookie`]; a stream is [`Reply::stream`] |
//! | reply later, from another thread | [`Context::later`], [`Responder`] |
//! | make an event | [`Event`]: data, name, id, retry, comment, key |
//! | send to all clients, or to one | [`Context::publish`] to a topic, [`Context::send`] to a stream, [`Context::send_tagged`] to the streams of a user |
//! | send from other threads | [`Publisher`], from [`Server::publisher`] or [`Context::publisher`] |
//! | send at intervals | [`Context::every`], [`after`](Context::after), which end with their stream; [`every_global`](Context::every_global) |
//! | let a stream pull its events | [`StreamReply::source`] with an iterator ([`Events`]) or any [`Source`] |
//! | let a thread write a stream | [`Context::channel`], an [`EventSender`] that waits while the client does not read |
//! | close a stream, and learn why it ended | [`Context::close`], [`close_tagged`](Context::close_tagged), [`revoke`](Context::revoke); [`Context::on_close`] with the [`CloseReason`] |
//! | resume after a reconnect | [`TopicConfig::history`] and [`ids`](TopicConfig::ids); [`StreamReply::snapshot`], [`resume_after`](StreamReply::resume_after); [`Handler::missed`] |
//! | finish a topic or a stream | [`Context::finish_topic`], [`StreamReply::then_end`] |
//! | keep a table up to date | [`TopicConfig::keyed`], [`Event::key`] |
//! | limit slow clients | [`Config::lag_bytes_max`], [`Config::stall_timeout`], [`Overflow`] |
//! | allow other origins (CORS) | [`Config::cors`], [`Router::cors`], [`Cors`] |
//! | prevent DNS rebinding | [`Config::hosts`] |
//! | send errors as JSON | [`Config::error_body`] |
//! | set limits | [`Config`]; a client over a limit gets a [`Refusal`] |
//! | run code when a stream opens, keep state for it | [`Context::on_open`], [`StreamReply::with`], [`Context::of`] |
//! | bound the memory | [`Config::memory_max`], [`Stats::memory`] |
//! | shut down gracefully | [`Publisher::drain`], [`Drain`] |
//! | watch and log | [`Stats`] as numbers, JSON and Prometheus text; an [`Observer`]; [`LogObserver`] and [`AccessLog`] |
//! | test an application | [`Server::in_memory`], an [`Answer`] |
//! | use several cores | [`Shards`]: several loops with the same events and ids |
//! | use your own loop | [`Server::turn`], [`next_timeout`](Server::next_timeout), `AsFd` |
//! | take connections from another server | [`Publisher::adopt`], [`Server::adopt`], [`RawRequest`] |
//!
//! # How it works
//!
//! Each topic has a log of encoded events. Each stream has one cursor: the number of the last event it was
//! given. Live delivery, catching up, resuming, skipping and snapshots all move that cursor. So there is no
//! boundary between replayed and live events, and a slow client needs no queue. All events that are published
//! in one turn of the loop go out in one `send` for each stream. Currently an idle stream costs 65 bytes.
//!
//! Callbacks run in the loop, one at a time. Slow work belongs in a thread, with a [`Publisher`]. A callback
//! gets a [`Context`], which records what it asks for; no callback runs inside another. A panic in a callback
//! ends the stream or request that it served, and no other.
//!
//! # Features
//!
//! - `gzip`: [`Config`]`::gzip` compresses streams; what a topic publishes is compressed once for all.
//! - `json`: [`Event::json`](Event), [`Request::json`](Request) and [`Reply::json`](Reply) for any `serde`
//!   value.
//! - `tls`: [`Listeners`]`::tls` for clients that speak TLS, with rustls.

#![forbid(unsafe_code)]
// On docs.rs each item says which feature it needs.
#![cfg_attr(docsrs, feature(doc_cfg))]
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

/// Compiles the examples of the README.
#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
