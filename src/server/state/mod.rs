//! All that handlers can reach, and no socket.

pub(crate) mod addresses;
pub(crate) mod core;
pub(crate) mod draining;
pub(crate) mod feed;
pub(crate) mod guard;
pub(crate) mod hooks;
pub(crate) mod inbox;
pub(crate) mod lifecycle;
pub(crate) mod rarely;
pub(crate) mod resume;
pub(crate) mod scatter;
pub(crate) mod sources;
pub(crate) mod tags;
pub(crate) mod ticks;
pub(crate) mod timers;
