//! What is kept from turn to turn, without a socket: all that handlers can reach, in `core`, and what the
//! steps need besides.

pub(crate) mod acceptor;
pub(crate) mod addresses;
pub(crate) mod ages;
pub(crate) mod beats;
pub(crate) mod by_slot;
pub(crate) mod core;
pub(crate) mod draining;
pub(crate) mod feed;
pub(crate) mod guard;
pub(crate) mod hooks;
pub(crate) mod inbox;
pub(crate) mod lifecycle;
pub(crate) mod log_limit;
pub(crate) mod memory;
pub(crate) mod ordered;
pub(crate) mod pages;
pub(crate) mod pressure;
pub(crate) mod remain;
pub(crate) mod request_buffers;
pub(crate) mod resume;
pub(crate) mod scatter;
pub(crate) mod sources;
pub(crate) mod sweep;
pub(crate) mod tagged;
pub(crate) mod tags;
pub(crate) mod ticks;
pub(crate) mod timers;
pub(crate) mod together;
