//! The part of a topic that exists only while the log has events, or something is retained.

use crate::account::Account;
use crate::topic::chain::{Chain, Chains};
use crate::topic::history::Kept;
use crate::topic::log::Log;

/// The state of a topic that is not at rest. Most topics serve one stream and are at rest.
#[derive(Debug, Default)]
pub(crate) struct Busy {
    pub(crate) log: Log,
    /// How many subscribers the current wave has visited; `None` between waves. A wave offers new events to
    /// every subscriber, and may take several turns.
    pub(crate) wave: Option<usize>,
    /// The shortest time between two waves, in milliseconds.
    pub(crate) pace: u64,
    /// When the next wave may begin, by the server's clock.
    next_wave: u64,
    /// Bytes published since the last wave began.
    pub(crate) fresh: usize,
    /// Bytes that the current wave offers.
    pub(crate) offered: usize,
    pub(crate) offers: Offers,
    /// When the topic was finished, by the server's clock; `None` if it was not.
    pub(crate) finished: Option<u64>,
    /// The same events compressed, if several streams read them so.
    pub(crate) chain: Option<Box<Chain>>,
    /// How many streams with compression the wave has visited so far.
    pub(crate) compressed: usize,
    /// The history, if the topic retains events.
    pub(crate) kept: Option<Box<Kept>>,
}

impl Busy {
    /// Whether all of this can be dropped. The sequences of the log do not matter: an empty log has no frame
    /// for any stream, and only a topic that retains events needs to know where they begin.
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

    pub(crate) fn begin_wave(&mut self, tick: u64) {
        self.log.mark();
        self.wave = Some(0);
        self.offered = std::mem::take(&mut self.fresh);
        self.next_wave = tick.saturating_add(self.pace);
    }

    /// When the next wave may begin, if that is later than `tick`. Many bytes do not wait.
    pub(crate) fn rests_until(&self, tick: u64) -> Option<u64> {
        (self.next_wave > tick && self.fresh < PACED_BYTES_MAX).then_some(self.next_wave)
    }

    /// Whether streams skip superseded frames although they are not behind.
    pub(crate) fn conflates(&self) -> bool {
        self.pace > 0 && self.log.is_conflated()
    }

    /// Whether the topic has a chain, or may get one with the next wave.
    pub(crate) fn has_chain(&self) -> bool {
        self.chain.is_some() || self.compressed >= CHAIN_READERS
    }

    /// Called before a wave. Drops the pieces that the last wave has offered. Starts or drops the chain,
    /// depending on how many of the visited streams read the topic compressed.
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

    /// Called when no wave is due: every reader of the chain has all of its pieces.
    pub(crate) fn rest_chain(&mut self, is_left: bool) {
        if is_left {
            (self.chain, self.compressed) = (None, 0);
        } else if let Some(chain) = &mut self.chain {
            chain.forget(u64::MAX);
        }
    }
}

/// The most bytes that wait for the next wave of a topic with a pace.
const PACED_BYTES_MAX: usize = 1 << 20;

/// From this number of streams with compression on, an encoder for the topic is worth its memory.
const CHAIN_READERS: usize = 2;

/// The time that a stream has at least to read what it was offered before that counts as lag, in
/// milliseconds. Otherwise a burst of more bytes than the log may hold would disconnect streams that read as
/// fast as they can.
pub(crate) const TIME_TO_READ: u64 = 100;

/// What was offered to the streams, and when: in two steps, each at least [`TIME_TO_READ`] long.
#[derive(Debug, Default)]
pub(crate) struct Offers {
    /// The newest frame that was offered two steps ago.
    read: u64,
    /// The newest frame that had been offered at the last step.
    recent: u64,
    /// When the last step was made.
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

/// Spare boxes, with room for a few blocks in their logs. With them a topic that is published to now and then
/// does not allocate each time.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "they are given back as they lie in memory, not copied")]
pub(crate) struct SpareBusy(Vec<Box<Busy>>);

/// In most turns, no more topics than this are published to.
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
    fn a_reused_box_is_like_a_new_one() {
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
