//! Servers, nodes and clients for the tests with a real Redis, which can be killed, paused and disconnected.
//!
//! Each of them is stopped when its value is dropped, also if a test panics.

#![allow(dead_code, unused_imports, reason = "not every program needs everything")]

mod crowd;
mod load;
mod node;
mod process;
mod proxy;
mod redis_server;
mod truth;

pub(crate) use crowd::{Crowd, Heard};
pub(crate) use load::{Load, Outcome, Published};
pub(crate) use node::Node;
pub(crate) use proxy::{Mode, Proxy};
pub(crate) use redis_server::RedisServer;
pub(crate) use truth::{Tally, Truth};

use std::thread;
use std::time::{Duration, Instant};

/// Longer than any wait of a test, also on a busy machine.
pub(crate) const DEADLINE: Duration = Duration::from_secs(60);

#[expect(clippy::disallowed_methods, reason = "tests have deadlines")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Waits until `done` is true.
pub(crate) fn until(what: &str, mut done: impl FnMut() -> bool) {
    let deadline = now() + DEADLINE;
    while !done() {
        assert!(now() < deadline, "waited {DEADLINE:?} for {what}");
        thread::sleep(ms(5));
    }
}
