//! The public interface of a server.

pub(crate) mod access;
pub(crate) mod app;
pub(crate) mod ask;
pub(crate) mod channel;
pub(crate) mod context;
pub(crate) mod drain;
pub(crate) mod handler;
pub(crate) mod memory;
pub(crate) mod metrics;
pub(crate) mod missed;
pub(crate) mod not_adopted;
pub(crate) mod observer;
pub(crate) mod publisher;
pub(crate) mod responder;
pub(crate) mod server;
pub(crate) mod stats;
pub(crate) mod work;
