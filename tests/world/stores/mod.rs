//! Events that are stored elsewhere: in a database, or in a log that several servers read. A server's
//! application gets events from there that the server does not have.

mod client;
mod ordered;
mod sqlite;

use std::sync::atomic::{AtomicU32, Ordering};

/// The number of stored numbers, and whether these are all: clients that are away wait for this.
#[derive(Default)]
struct Progress {
    numbers: AtomicU32,
    all: AtomicU32,
}

impl Progress {
    fn is_at(&self, number: u32) {
        self.numbers.store(number, Ordering::SeqCst);
    }

    /// There will be no more numbers.
    fn is_over(&self) {
        self.all.store(1, Ordering::SeqCst);
    }

    /// Whether there are this many, or all.
    fn has(&self, number: u32) -> bool {
        self.all.load(Ordering::SeqCst) == 1 || self.numbers.load(Ordering::SeqCst) >= number
    }

    fn now(&self) -> u32 {
        self.numbers.load(Ordering::SeqCst)
    }
}
