//! The sum of memory held for others, and the reactions when there is too much.

use crate::account::Purpose;
use crate::error::Error;
use crate::http::reply::reply::Reply;
use crate::http::reply::stream_reply::StreamReply;
use crate::server::api::memory::Memory;
use crate::server::state::core::Core;
use std::time::Duration;

impl Core {
    /// The memory held for others.
    pub(crate) fn memory(&self) -> Memory {
        let sum = |purpose| self.account.sum(purpose);
        Memory {
            logs: self.delivery.topics.held(),
            hands: sum(Purpose::Hands),
            input: sum(Purpose::Input),
            replies: sum(Purpose::Replies),
            network: self.network_bytes,
            inbox: sum(Purpose::Channels) + self.inbox_bytes,
        }
    }

    /// Whether the memory of logs was counted correctly. Checks only if there are few.
    pub(crate) fn is_well_counted(&self) -> bool {
        const FEW: usize = 32;
        if self.delivery.slots.len() > FEW || self.delivery.topics.len() > FEW {
            return true;
        }
        let streams = self.delivery.slots.occupied().filter_map(|slot| self.delivery.stream(slot));
        let own = streams.filter_map(|stream| stream.extras()).map(|extras| &extras.private);
        let (counted, found) = self.delivery.topics.recount(own);
        counted == found
    }

    /// Whether `memory_max` is reached.
    pub(crate) fn memory_is_full(&self) -> bool {
        self.memory().total() >= self.config.memory_max
    }

    /// Halves the histories of the next topics. Returns the number visited, and whether those were the last.
    pub(crate) fn shorten_histories(&mut self, count: usize) -> (usize, bool) {
        let (looks, bytes) = self.delivery.topics.halve_histories(self.pressure.next_topic, count);
        self.pressure.next_topic += looks;
        self.stats.memory_shortened += bytes as u64;
        (looks, self.pressure.next_topic >= self.delivery.topics.bound())
    }

    /// Logs a warning, at most once in ten seconds.
    pub(crate) fn warn_of_memory(&mut self) {
        if self.memory_log.is_due(self.now, Duration::from_secs(10)) {
            let (memory, max) = (self.memory(), self.config.memory_max);
            log::warn!(
                "{} of {max} bytes of memory are in use, and no more can be freed: {memory:?}",
                memory.total()
            );
        }
    }

    /// The reply to a request for which there is no memory.
    pub(crate) fn unavailable(&mut self) -> Reply {
        let retry = self.scatter(self.config.refuse_retry);
        StreamReply::default().unavailable(retry)
    }

    /// Fails if memory is full.
    pub(super) fn has_memory(&self) -> Result<(), Error> {
        if self.memory_is_full() { Err(Error::TooMuchMemory) } else { Ok(()) }
    }
}
