//! What the fuzz targets check, as plain functions of bytes: each is called by its target in `fuzz_targets/`,
//! and with every file of `corpus/` by the library's own test `tests/corpus.rs`, which includes this file.
//!
//! All of them talk to a whole server, over the network in memory of the library's tests. So nothing here
//! knows how the library is built inside, nothing depends on a clock, and what fails once fails always.

pub mod body;
pub mod connection;
pub mod event;
pub mod head;
#[cfg(feature = "tls")]
pub mod tls;

#[path = "../../tests/it/memory_net.rs"]
#[allow(dead_code, reason = "the tests need more of it")]
mod memory_net;
mod response;
mod seen;
mod talk;
mod twin;
