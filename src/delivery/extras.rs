//! What only some streams have.

use crate::conn::slot::Held;
use crate::topic::log::Log;
use crate::topic::topics::TopicKey;

/// All of a stream's state that most streams do without most of the time.
#[derive(Debug, Default)]
pub(crate) struct Extras {
    /// What was sent to this stream alone and has not been delivered: its response head, events, the end of its body.
    pub(crate) private: Log,
    /// The bytes of it that are its source's: since it was given everything last, so some may be gone.
    pub(crate) pulled: usize,
    /// Topics besides the first.
    pub(crate) subscriptions: Vec<Subscription>,
    /// What the peer has sent since the stream was opened: the beginning of its next request.
    pub(crate) held: Option<Box<Held>>,
    /// What it is being told that it has missed.
    pub(crate) gap: Option<Gap>,
}

/// Events that a stream has missed, and the frame of its private log that says so.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Gap {
    pub(crate) topic: TopicKey,
    pub(crate) missed: u64,
    pub(crate) sequence: u64,
}

/// A topic that a stream reads besides its first.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Subscription {
    pub(crate) topic: TopicKey,
    /// The stream's place among the topic's subscribers.
    pub(crate) place: u32,
    /// The newest sequence when it subscribed: it reads what comes behind.
    pub(crate) from: u64,
}

/// Extras that no stream has at the moment. Each has some while its head waits to be written, and while anything waits that is
/// for it alone, so they come and go far more often than streams do.
#[derive(Debug, Default)]
#[expect(clippy::vec_box, reason = "they are given back as they lie in memory, not copied")]
pub(crate) struct SpareExtras(Vec<Box<Extras>>);

/// As many as streams that may open in one turn, unless it is configured otherwise. With their logs' room for blocks they take some
/// 110 KiB.
const SPARES_MAX: usize = 256;

impl SpareExtras {
    pub(crate) fn take(&mut self) -> Box<Extras> {
        self.0.pop().unwrap_or_default()
    }

    /// Keeps extras for later, of which nobody needs anything; the blocks of the log have been given back.
    pub(crate) fn give(&mut self, mut extras: Box<Extras>) {
        if self.0.len() < SPARES_MAX {
            let Extras { private, pulled, subscriptions, held, gap } = &mut *extras;
            private.reset();
            (*pulled, *subscriptions, *held, *gap) = (0, Vec::new(), None, None);
            self.0.push(extras);
        }
    }
}

impl Extras {
    pub(crate) fn is_empty(&self) -> bool {
        self.private.is_empty() && self.subscriptions.is_empty() && self.held.is_none()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::topic::frame::Kind;
    use crate::topic::topics::Topics;

    #[test]
    fn what_is_taken_is_as_new() {
        let mut blocks = Topics::default().spares;
        let mut spares = SpareExtras::default();
        let mut extras = spares.take();
        extras.private.append(7, b"x", Kind::RAW, &mut blocks);
        extras.pulled = 1;
        extras.gap = Some(Gap { topic: TopicKey::NONE, missed: 1, sequence: 7 });
        extras.private.clear(&mut blocks);
        spares.give(extras);
        let mut again = spares.take();
        assert_eq!(format!("{again:?}"), format!("{:?}", Extras::default()));
        // Its log has no floor and no newest frame of before.
        again.private.append(1, b"x", Kind::RAW, &mut blocks);

        (0..2 * SPARES_MAX).for_each(|_| spares.give(Box::default()));
        assert_eq!(spares.0.len(), SPARES_MAX);
    }
}
