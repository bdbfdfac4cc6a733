//! The library from outside: over real sockets, and the same loop over a network in memory.

mod connections;
mod corners;
mod delivery;
mod examples;
mod interplay;
mod lifecycle;
mod load_harness;
mod memory_net;
mod publisher;
mod rejections;
mod router;
mod support;
mod tags;
mod timers;
