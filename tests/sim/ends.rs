//! Allowed reasons for the close of streams and connections. Any other close is a bug.

use crate::model::{Answer, FRAME_BYTES, Model, SURPLUS_TIMEOUT, Stream};
use crate::net::{Connection, World};
use crate::reading::Window;
use mio_sse::CloseReason;
use std::time::Duration;

/// Bytes that wait for a stream without being an event: its first frame, its end.
const PRIVATE_BYTES: u64 = 100;

impl Model {
    /// Checks that `reason` can be why the stream has closed.
    pub(crate) fn check_reason(&self, index: u32, reason: CloseReason, world: &World, stopping: bool) {
        let stream = &self.streams[index as usize];
        let connection = &world.connections[stream.connection as usize];
        let justified = match reason {
            CloseReason::Application => stream.close_requested,
            CloseReason::PeerClosed => connection.fin && !connection.unsaid && !self.config.half_closed,
            CloseReason::Reset => connection.reset || connection.unsaid,
            CloseReason::IoError => connection.broken,
            CloseReason::Lagged => {
                // A stream that has read everything offered does not lag, unless earlier replies on its
                // connection wait.
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

    /// Whether the server may have closed the connection, or reset it, for a reason other than its own.
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
        // A handshake writes as well, and so does the close of a connection with TLS.
        let since = if answers.expects || self.secure && answers.answers.is_empty() {
            connection.accepted_at.unwrap_or_default()
        } else if self.secure && connection.server_closed == Some(connection.written_at) {
            connection.written_before
        } else {
            connection.written_at
        };
        // A client that waits for a reply has the whole timeout for that. After a 504 it has the usual time.
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
            // A server that stops sends each client as much as there is room for.
            || self.stopped && connection.unfinished
            || self.stopped && self.drain.is_some_and(|drain| connection.held_up_at >= Some(drain.begun))
            || connection.server_closed.is_some() && may_time_out && is_over(since, closed_at, shortest)
            // A client that reads a little of a reply now and then may still be too slow.
            || connection.server_closed.is_some()
                && connection.behind_since.is_some_and(|since| is_over(since, closed_at, config.stall_timeout))
            || answers.streams().any(|index| {
                let stream = &self.streams[index as usize];
                stream.closed.is_some_and(|reason| !is_clean(reason))
                    // Its close was reported already, and the rest has had its time.
                    || stream.closed.is_some() && self.rest_is_over(stream.closed_at, closed_at)
                    // Its close was reported already, and it was too slow for the next reply.
                    || stream.closed.is_some() && self.lags(stream)
            })
    }

    /// Whether the rest of a stream that closed at `since` has had its time: a quarter of the maximum age,
    /// within the precision of the clock.
    fn rest_is_over(&self, since: Duration, now: Duration) -> bool {
        let stall = self.config.stall_timeout;
        let age = self.config.max_age.filter(|age| *age >= stall);
        age.is_some_and(|age| is_over(since, now, stall.max(age / 4).saturating_sub(age / 50)))
    }

    /// Whether so much waited for the stream that it could be closed for it.
    fn lags(&self, stream: &Stream) -> bool {
        let limit = self.config.lag_bytes_max as u64;
        let lags = |window: &Window| {
            let topic = &self.topics[window.topic as usize];
            // A closing stream is cut where others skip; but not for events after its end.
            let closes = topic.may_disconnect(stream.began_turn) || !stream.live;
            let needs = window.next < window.until.min(topic.count());
            closes && needs && !window.given_up && topic.bytes_from(window.next) + FRAME_BYTES > limit
        };
        self.lags_alone(stream) || stream.windows.iter().any(lags)
    }

    /// The same for private events.
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

/// Whether `limit` has passed since `since`, for a clock of whole milliseconds.
pub(crate) fn is_over(since: Duration, now: Duration, limit: Duration) -> bool {
    now.saturating_sub(since) + Duration::from_millis(1) >= limit
}
