//! Events that are kept elsewhere: in a database, or in a log that several servers read. What a server does
//! not have, it has its application ask there.

mod client;
mod ordered;
mod sqlite;

use std::sync::atomic::{AtomicU32, Ordering};

/// How many of the numbers are there, and whether these are all: what clients wait for that stay away.
#[derive(Default)]
struct Progress {
    numbers: AtomicU32,
    all: AtomicU32,
}

impl Progress {
    fn is_at(&self, number: u32) {
        self.numbers.store(number, Ordering::SeqCst);
    }

    /// No more numbers come.
    fn is_over(&self) {
        self.all.store(1, Ordering::SeqCst);
    }

    /// Whether there are so many, or all.
    fn has(&self, number: u32) -> bool {
        self.all.load(Ordering::SeqCst) == 1 || self.numbers.load(Ordering::SeqCst) >= number
    }

    fn now(&self) -> u32 {
        self.numbers.load(Ordering::SeqCst)
    }
}
