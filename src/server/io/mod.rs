//! The seam to the world: sockets, poll, clock; and the real one.

pub(crate) mod mio_net;
pub(crate) mod net;
#[cfg(unix)]
pub(crate) mod unix;
pub(crate) mod write;
