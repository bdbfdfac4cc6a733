//! What an application does about events that a client has missed and the server does not have.

/// What [`Handler::missed`](crate::Handler::missed) has done, or is about to do.
///
/// `true` is [`Sent`](Self::Sent) and `false` is [`Gap`](Self::Gap).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missed {
    /// Nothing: the client is told of a [gap](crate::Config::gap_event), and goes on as
    /// [`StreamReply::after_gap`](crate::StreamReply::after_gap) says.
    #[default]
    Gap,
    /// All that was missed up to this moment was sent to the stream in this call: it goes on live, without a
    /// gap.
    Sent,
    /// The [source](crate::Context::set_source), or [channel](crate::Context::channel), that the stream was
    /// given in this call brings what was missed up to this moment. It is pulled as fast as the client reads.
    /// What is published and sent to the stream meanwhile comes behind it, and counts as
    /// [lag](crate::Config::lag_bytes_max).
    ///
    /// That this is all is said by [`Pull::End`](crate::Pull::End), or by
    /// [`EventSender::complete`](crate::EventSender::complete). A source that fails, a channel that is
    /// dropped before, and one that takes longer than
    /// [`Config::missed_timeout`](crate::Config::missed_timeout) leave a gap: the client is told, and goes on
    /// live. A stream that is closed meanwhile ends behind what the source has brought so far, and what was
    /// sent to it: give that no id, or the client would come back with it and miss the rest.
    Later,
}

impl From<bool> for Missed {
    fn from(sent: bool) -> Self {
        if sent { Self::Sent } else { Self::Gap }
    }
}
