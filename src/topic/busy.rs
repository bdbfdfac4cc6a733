//! What a topic has only while something is in its log, or is kept.

use crate::account::Account;
use crate::topic::chain::{Chain, Chains};
use crate::topic::history::Kept;
use crate::topic::log::Log;

/// What is left out of a topic at rest, as most are that one stream has for itself.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    pub(crate) log: Log,
    /// How many subscribers the current wave has visited; `None` between waves. A wave offers every
    /// subscriber what was published, and may take several turns.
    pub(crate) wave: Option<usize>,
    /// How many milliseconds there are between two waves at least.
    pub(crate) pace: u64,
    /// When the next wave may begin, by the server's clock.
    next_wave: u64,
    /// Bytes published since the last wave began.
    pub(crate) fresh: usize,
    /// Bytes that the current wave was begun for.
    pub(crate) offered: usize,
    pub(crate) offers: Offers,
    /// When it was said that nothing more will come, if it was, by the server's clock.
    pub(crate) finished: Option<u64>,
    /// The same compressed, where several streams read it so.
    pub(crate) chain: Option<Box<Chain>>,
    /// How many such streams the wave has visited so far.
    pub(crate) compressed: usize,
    /// What of the log is kept for newcomers, if anything.
    pub(crate) kept: Option<Box<Kept>>,
}

impl Busy {
    /// Whether nobody would miss it. Where its log stands does not matter: an empty log gives nothing to
    /// anybody, and only a topic that keeps something is asked where that began.
    pub(crate) fn is_at_rest(&self) -> bool {
        debug_assert!(self.wave.is_none() || self.fresh + self.offered > 0);
        self.log.is_empty()
            && self.wave.is_none()
            && self.fresh == 0
            && self.finished.is_none()
            && self.kept.is_none()
            && !self.has_chain()
            && self.pace == 0
    }

    /// A wave begins.
    pub(crate) fn begin_wave(&mut self, tick: u64) {
        self.log.mark();
        self.wave = Some(0);
        self.offered = std::mem::take(&mut self.fresh);
        self.next_wave = tick.saturating_add(self.pace);
    }

    /// When the next wave may begin, if that is not now. What is a lot does not wait.
    pub(crate) fn rests_until(&self, tick: u64) -> Option<u64> {
        (self.next_wave > tick && self.fresh < PACED_BYTES_MAX).then_some(self.next_wave)
    }

    /// Whether streams do without what is superseded, though they are not behind.
    pub(crate) fn conflates(&self) -> bool {
        self.pace > 0 && self.log.is_conflated()
    }

    /// Whether it has a chain, or may have one with the next wave.
    pub(crate) fn has_chain(&self) -> bool {
        self.chain.is_some() || self.compressed >= CHAIN_READERS
    }

    /// Before a wave: what the last one has offered is needed no more, and whether it is worth to compress
    /// what comes depends on how many it has visited that read it compressed.
    pub(crate) fn begin_chain(&mut self, chains: Chains, account: &Account) {
        let offered = self.log.marked();
        let readers = std::mem::take(&mut self.compressed);
        match (&mut self.chain, chains.level) {
            (None, Some(level)) if readers >= CHAIN_READERS && chains.may_begin => {
                self.chain = Chain::new(level, offered, account).map(Box::new);
            }
            (Some(chain), Some(_)) if readers > 0 => chain.forget(offered),
            (chain, _) => *chain = None,
        }
    }

    /// No wave is due: all who read the chain were given what is in it.
    pub(crate) fn rest_chain(&mut self, is_left: bool) {
        if is_left {
            (self.chain, self.compressed) = (None, 0);
        } else if let Some(chain) = &mut self.chain {
            chain.forget(u64::MAX);
        }
    }
}

/// So much waits for the next wave of a topic with a pace at most.
const PACED_BYTES_MAX: usize = 1 << 20;

/// So many streams have to read a topic compressed, that an encoder of its own is worth its memory.
const CHAIN_READERS: usize = 2;

/// How long a stream has, at least, to read what it was offered before that counts as lag, in milliseconds. A
/// burst of more than the log may hold would otherwise cut streams that read as fast as they can.
pub(crate) const TIME_TO_READ: u64 = 100;

/// What has been offered to the streams, and when: in two steps, of [`TIME_TO_READ`] each at least.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    /// The newest frame that was offered two steps ago.
    read: u64,
    /// The newest frame that was offered when the last step was made.
    recent: u64,
    /// When that was.
    since: u64,
}

impl Offers {
    pub(crate) fn read_by(&mut self, tick: u64, offered: u64) -> u64 {
        if tick.saturating_sub(self.since) >= TIME_TO_READ {
            self.read = std::mem::replace(&mut self.recent, offered);
            self.since = tick;
        }
        self.read
    }
}

/// Boxes that no topic needs at the moment, each with the room for a few blocks that its log has: a topic
/// that is published to now and then does not allocate each time.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "they are given back as they lie in memory, not copied")]
pub(crate) struct SpareBusy(Vec<Box<Busy>>);

/// As many as there are topics that are published to in one turn, in most turns.
const SPARES_MAX: usize = 256;

impl SpareBusy {
    pub(crate) fn take(&mut self) -> Box<Busy> {
        self.0.pop().unwrap_or_default()
    }

    /// Keeps the box of a topic [at rest](Busy::is_at_rest) for later.
    pub(crate) fn give(&mut self, mut busy: Box<Busy>) {
        debug_assert!(busy.is_at_rest());
        if self.0.len() < SPARES_MAX {
            busy.log.reset();
            let log = std::mem::take(&mut busy.log);
            *busy = Busy { log, ..Busy::default() };
            self.0.push(busy);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::block::Spares;
    use crate::topic::frame::Kind;

    #[test]
    fn what_is_taken_is_as_new() {
        let (mut spares, mut blocks) = (SpareBusy::default(), Spares::default());
        let mut busy = spares.take();
        busy.log.append(7, b"x", Kind::RAW, &mut blocks);
        busy.log.mark();
        busy.offers.read_by(1000, 7);
        assert!(!busy.is_at_rest());
        busy.log.clear(&mut blocks);
        spares.give(busy);
        assert_eq!(format!("{:?}", spares.take()), format!("{:?}", Busy::default()));

        (0..2 * SPARES_MAX).for_each(|_| spares.give(Box::default()));
        assert_eq!(spares.0.len(), SPARES_MAX);
    }
}
