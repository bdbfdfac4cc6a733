//! The handling of missed events that the server no longer has.

/// How [`Handler::missed`](crate::Handler::missed) handles missed events.
///
/// `true` is [`Sent`](Self::Sent) and `false` is [`Gap`](Self::Gap).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Missed {
    /// Not at all: the client gets a [gap event](crate::Config::gap_event), and continues as
    /// [`StreamReply::after_gap`](crate::StreamReply::after_gap) says.
    #[default]
    Gap,
    /// All events missed up to now were sent to the stream in this call. It continues live, without a gap.
    Sent,
    /// The [source](crate::Context::set_source) or [channel](crate::Context::channel) that this call gave the
    /// stream brings the events missed up to now. It is asked as fast as the client reads. Events published
    /// or sent to the stream in the meantime follow after it, and count as
    /// [lag](crate::Config::lag_bytes_max).
    ///
    /// [`Pull::End`](crate::Pull::End) or [`EventSender::complete`](crate::EventSender::complete) marks the
    /// last of them. If the source fails, the channel is dropped before that, or it takes longer than
    /// [`Config::missed_timeout`](crate::Config::missed_timeout), the client gets a gap event and continues
    /// live. A stream that is closed in the meantime ends after what the source has brought so far and what
    /// was sent to it. Send it no event with an id until then: the client would resume after that id and miss
    /// the rest.
    Later,
}

impl From<bool> for Missed {
    fn from(sent: bool) -> Self {
        if sent { Self::Sent } else { Self::Gap }
    }
}
