//! Giving way when too much memory is held.

use crate::delivery::delivery::{Delivery, Streams};

/// When closed streams have copied this many bytes in a turn, other streams are closed in the next turn.
pub(crate) const TAKEN_ALONG_PER_TURN: u64 = 16 << 20;

impl<S: Streams> Delivery<S> {
    /// Sets how many bytes a log may hold for streams that lag, until the next call. Less than configured if
    /// memory is short.
    pub(crate) fn set_lag_bytes_max(&mut self, bytes: usize) {
        self.may_lag = bytes;
    }

    /// How many streams were visited to make room since the last call, and how many bytes closed streams have
    /// copied.
    pub(crate) fn take_work(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.looked_at), std::mem::take(&mut self.taken_along))
    }

    /// How many bytes closed streams have copied in this turn.
    pub(crate) fn taken_along(&self) -> u64 {
        self.taken_along
    }

    /// Whether closed streams have copied so much that no others should be closed in this turn.
    pub(crate) fn has_taken_much(&self) -> bool {
        self.taken_along >= TAKEN_ALONG_PER_TURN
    }

    pub(crate) fn may_lag(&self) -> usize {
        self.may_lag
    }

    /// Makes room in the logs of up to `count` topics, from place `from` on, and drops their encoders.
    /// Returns the number of topics.
    pub(crate) fn make_room_in(&mut self, from: usize, count: usize) -> usize {
        self.compressor.drop_encoder();
        let end = self.topics.bound().min(from + count);
        for place in from..end {
            // In the middle of a wave some streams still need all that it offers. Room is then made before
            // the next wave.
            let key = self.topics.key_at(place);
            if let Some(key) = key.filter(|key| !self.topics.get(*key).has_wave()) {
                self.make_room(key);
                self.topics.drop_chain(key);
            }
        }
        end.saturating_sub(from)
    }
}
