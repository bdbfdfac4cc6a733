//! What only some streams have.

use super::slot::Held;
use crate::log::{Log, TopicKey};

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

impl Extras {
    pub(crate) fn is_empty(&self) -> bool {
        self.private.is_empty() && self.subscriptions.is_empty() && self.held.is_none()
    }
}
