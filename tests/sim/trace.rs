//! The trace of a run: its end as text, all of it as one number for comparison.

use std::collections::VecDeque;
use std::fmt::Debug;
use std::hash::{Hash, Hasher};

/// Number of notes that are kept as text.
const KEPT: usize = 400;

/// The trace of one run.
#[derive(Default)]
pub(crate) struct Trace {
    /// Number of the current step.
    pub(crate) step: u64,
    hash: Mixer,
    last: VecDeque<(u64, Note)>,
}

/// One event of the run.
#[derive(Debug, Clone, Copy, Hash)]
pub(crate) enum Note {
    /// The action that the scheduler has chosen.
    Act(&'static str, u32),
    Polled {
        told: usize,
        waited: bool,
        now: u64,
    },
    Told {
        slot: u32,
        readable: bool,
        writable: bool,
        until_blocked: bool,
    },
    Accepted(Result<u32, i32>),
    Registered {
        connection: u32,
        slot: u32,
    },
    Read {
        connection: u32,
        result: Result<usize, i32>,
    },
    Written {
        connection: u32,
        asked: usize,
        result: Result<usize, i32>,
    },
    Shut(u32),
    Closed(u32),
    /// A request reached the handler: its connection and number.
    Requested(u32, u32),
    /// The same for a late reply, after its turn.
    Said(u32, u32),
    Opened(u32),
    Ended(u32, &'static str),
    /// An event arrived at a client: the stream and the event's number.
    Received(u32, u32),
}

impl Trace {
    pub(crate) fn note(&mut self, note: Note) {
        note.hash(&mut self.hash);
        if self.last.len() == KEPT {
            self.last.pop_front();
        }
        self.last.push_back((self.step, note));
    }

    /// The hash of the trace.
    pub(crate) fn hash(&self) -> u64 {
        self.hash.0
    }

    /// The last steps, with a line for each note.
    pub(crate) fn tail(&self) -> String {
        self.last.iter().map(|(step, note)| format!("{step:>8}  {note:?}\n")).collect()
    }
}

/// A hash that is the same on every machine and costs next to nothing.
#[derive(Default)]
struct Mixer(u64);

impl Hasher for Mixer {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        for &byte in bytes {
            self.write_u64(byte.into());
        }
    }

    fn write_u64(&mut self, value: u64) {
        self.0 = (self.0.rotate_left(23) ^ value).wrapping_mul(0x9E37_79B9_7F4A_7C15);
    }

    fn write_u32(&mut self, value: u32) {
        self.write_u64(value.into());
    }

    fn write_usize(&mut self, value: usize) {
        self.write_u64(value as u64);
    }

    fn write_isize(&mut self, value: isize) {
        self.write_u64(value.cast_unsigned() as u64);
    }
}
