//! The steps of a turn, each in a file of its own.

pub(crate) mod accept;
pub(crate) mod adopt;
pub(crate) mod answer;
pub(crate) mod close;
pub(crate) mod drain;
pub(crate) mod flush;
pub(crate) mod inbox;
mod late;
pub(crate) mod open;
pub(crate) mod relieve;
pub(crate) mod replies;
pub(crate) mod requests;
pub(crate) mod sweep;
pub(crate) mod timers;
