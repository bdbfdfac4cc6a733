//! Giving way where too much memory is held.

use crate::delivery::delivery::{Delivery, Streams};

/// When so many bytes were taken along by closed streams, others are closed in the next turn.
pub(crate) const TAKEN_ALONG_PER_TURN: u64 = 16 << 20;

impl<S: Streams> Delivery<S> {
    /// What a log may hold for streams that lag, until it is said anew: less than it is configured to, if
    /// they have to give way.
    pub(crate) fn set_lag_bytes_max(&mut self, bytes: usize) {
        self.may_lag = bytes;
    }

    /// How many streams were looked at to make room since the last call, and how many bytes were taken along.
    pub(crate) fn take_work(&mut self) -> (u64, u64) {
        (std::mem::take(&mut self.looked_at), std::mem::take(&mut self.taken_along))
    }

    /// How many bytes were taken along in this turn.
    pub(crate) fn taken_along(&self) -> u64 {
        self.taken_along
    }

    /// Whether so much was taken along that no more should be asked for in this turn.
    pub(crate) fn has_taken_much(&self) -> bool {
        self.taken_along >= TAKEN_ALONG_PER_TURN
    }

    pub(crate) fn may_lag(&self) -> usize {
        self.may_lag
    }

    /// Makes room in the logs of up to `count` topics, from place `from` on, and has them do without
    /// encoders. Returns how many there were.
    pub(crate) fn make_room_in(&mut self, from: usize, count: usize) -> usize {
        self.compressor.drop_encoder();
        let end = self.topics.bound().min(from + count);
        for place in from..end {
            // In the middle of a wave some still need all that it brings: room is made before the next.
            let key = self.topics.key_at(place);
            if let Some(key) = key.filter(|key| !self.topics.get(*key).has_wave()) {
                self.make_room(key);
                self.topics.drop_chain(key);
            }
        }
        end.saturating_sub(from)
    }
}
