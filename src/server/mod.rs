//! The loop: the only code that does I/O.
//!
//! [`Server::turn`] is the loop's body, nine steps in nine functions. `server` is generic over [`Net`], so
//! tests drive the same turn over a network in memory.

pub(crate) mod api;
pub(crate) mod io;
pub(crate) mod state;
pub(crate) mod steps;
mod turn;
