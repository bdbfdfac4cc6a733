//! Why streams and connections may end: whoever ends without one of these reasons ends by a mistake.

use crate::model::{Answer, FRAME_BYTES, Model, SURPLUS_TIMEOUT, Stream};
use crate::net::{Connection, World};
use crate::reading::Window;
use mio_sse::CloseReason;
use std::time::Duration;

/// What waits for a stream alone without being an event: its first frame, its end.
const PRIVATE_BYTES: u64 = 100;

impl Model {
    /// That `reason` can be why the stream has ended.
    pub(crate) fn check_reason(&self, index: u32, reason: CloseReason, world: &World, stopping: bool) {
        let stream = &self.streams[index as usize];
        let connection = &world.connections[stream.connection as usize];
        let justified = match reason {
            CloseReason::Application => stream.close_requested,
            CloseReason::PeerClosed => connection.fin && !connection.unsaid && !self.config.half_closed,
            CloseReason::Reset => connection.reset || connection.unsaid,
            CloseReason::IoError => connection.broken,
            CloseReason::Lagged => {
                // A stream that has taken all it was offered does not lag, unless earlier replies on its
                // connection wait.
                let held_up = connection.behind_since.is_some()
                    || connection.held_up_at.is_some_and(|at| at >= stream.since);
                self.lags(stream) && (held_up || self.lags_alone(stream))
            }
            CloseReason::Stalled => is_over(connection.written_at, world.now, self.config.stall_timeout),
            CloseReason::ExcessInput => self.connections[stream.connection as usize].excess,
            CloseReason::Stopped => stopping && self.drain.is_none(),
            CloseReason::MaxAge => match (stream.own_age, self.config.max_age) {
                (Some(age), _) => is_over(stream.since, world.now, age),
                (None, Some(age)) => is_over(stream.since, world.now, age * 3 / 4),
                (None, None) => false,
            },
            CloseReason::Revoked => stream.revoked,
            CloseReason::Panicked => stream.panicked,
            CloseReason::Drained => {
                self.drain.is_some_and(|drain| !stream.finishes || drain.again || world.now >= drain.end())
            }
            _ => false,
        };
        assert!(justified, "{reason:?} of stream {index}: {stream:?}, {connection:?}");
    }

    /// Whether the server may have closed the connection, or broken it off, for a reason that is none of its
    /// own.
    pub(crate) fn may_be_cut(&self, number: u32, connection: &Connection, now: Duration) -> bool {
        let answers = &self.connections[number as usize];
        let config = &self.config;
        let shortest = [
            config.head_timeout,
            config.body_timeout,
            config.keep_alive_timeout,
            config.stall_timeout,
            config.linger,
        ];
        let shortest = shortest.into_iter().chain(connection.refusal.map(|_| SURPLUS_TIMEOUT));
        let shortest = shortest.min().unwrap_or_default();
        let closed_at = connection.server_closed.unwrap_or(now);
        // In a handshake, too, something is written; and when a connection with TLS is closed, that it is.
        let since = if answers.expects || self.secure && answers.answers.is_empty() {
            connection.accepted_at.unwrap_or_default()
        } else if self.secure && connection.server_closed == Some(connection.written_at) {
            connection.written_before
        } else {
            connection.written_at
        };
        // Who waits for a reply has all the time that there is for it. Behind the 504 it has the usual time.
        let waits = match answers.answers.last() {
            Some(Answer::Late { since, said: None, .. }) => {
                !is_over(*since, closed_at, config.late_reply_timeout)
            }
            _ => false,
        };
        let may_time_out = !waits || connection.unfinished;
        connection.fin
            || connection.reset
            || connection.broken
            || connection.refusal.is_some_and(|(_, room)| !room)
            || answers.dropped
            || answers.excess
            // A server that stops gives everybody as much as there is room for.
            || self.stopped && connection.unfinished
            || self.stopped && self.drain.is_some_and(|drain| connection.held_up_at >= Some(drain.begun))
            || connection.server_closed.is_some() && may_time_out && is_over(since, closed_at, shortest)
            // Whoever takes a little of a reply now and then does not take it in time.
            || connection.server_closed.is_some()
                && connection.behind_since.is_some_and(|since| is_over(since, closed_at, config.stall_timeout))
            || answers.streams().any(|index| {
                let stream = &self.streams[index as usize];
                stream.closed.is_some_and(|reason| !is_clean(reason))
                    // Reported already, and what was left has had its time.
                    || stream.closed.is_some() && self.rest_is_over(stream.closed_at, closed_at)
                    // Reported already, and then too slow for what was to follow.
                    || stream.closed.is_some() && self.lags(stream)
            })
    }

    /// Whether what was left of a stream that ended at `since` has had its time: a quarter of the longest
    /// age, as exactly as its clock goes.
    fn rest_is_over(&self, since: Duration, now: Duration) -> bool {
        let stall = self.config.stall_timeout;
        let age = self.config.max_age.filter(|age| *age >= stall);
        age.is_some_and(|age| is_over(since, now, stall.max(age / 4).saturating_sub(age / 50)))
    }

    /// Whether so much was waiting for the stream that it could be closed for it.
    fn lags(&self, stream: &Stream) -> bool {
        let limit = self.config.lag_bytes_max as u64;
        let lags = |window: &Window| {
            let topic = &self.topics[window.topic as usize];
            // One that is ending is cut where others skip; but not for what is behind its end.
            let closes = topic.may_disconnect(stream.began_turn) || !stream.live;
            let needs = window.next < window.until.min(topic.count());
            closes && needs && !window.given_up && topic.bytes_from(window.next) + FRAME_BYTES > limit
        };
        self.lags_alone(stream) || stream.windows.iter().any(lags)
    }

    /// The same for what was sent to it alone.
    fn lags_alone(&self, stream: &Stream) -> bool {
        stream.waiting_alone() + PRIVATE_BYTES > self.config.lag_bytes_max as u64
    }
}

/// Whether a stream that is closed for this reason gets everything first, and an end.
pub(crate) fn is_clean(reason: CloseReason) -> bool {
    matches!(
        reason,
        CloseReason::Application | CloseReason::MaxAge | CloseReason::Revoked | CloseReason::Drained
    )
}

/// Whether `limit` is over since `since`, as far as a clock of whole milliseconds can tell.
pub(crate) fn is_over(since: Duration, now: Duration, limit: Duration) -> bool {
    now.saturating_sub(since) + Duration::from_millis(1) >= limit
}
