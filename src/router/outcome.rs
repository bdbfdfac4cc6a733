//! Return types for the closures of a router.

use crate::http::reply::reply::{IntoReply, Reply};
use crate::http::reply::stream_reply::StreamReply;
use crate::sealed::Sealed;
use crate::server::api::missed::Missed;
use crate::server::state::timers::TimerId;
use std::fmt;

/// Types that the closure of an [`sse`](crate::Router::sse) route may return.
pub trait SseOutcome: Sealed {
    #[doc(hidden)]
    fn into_sse_reply(self) -> Reply;
}

impl Sealed for Reply {}
impl Sealed for StreamReply {}
impl Sealed for Missed {}

impl SseOutcome for () {
    fn into_sse_reply(self) -> Reply {
        Reply::stream().into()
    }
}

/// For a closure that ends with setting a timer.
impl SseOutcome for TimerId {
    fn into_sse_reply(self) -> Reply {
        Reply::stream().into()
    }
}

impl SseOutcome for StreamReply {
    fn into_sse_reply(self) -> Reply {
        self.into()
    }
}

impl SseOutcome for Reply {
    fn into_sse_reply(self) -> Reply {
        self
    }
}

impl<R: SseOutcome, E: fmt::Display + 'static> SseOutcome for Result<R, E> {
    fn into_sse_reply(self) -> Reply {
        self.map(SseOutcome::into_sse_reply).into_reply()
    }
}

/// Types that the closure of [`Router::missed`](crate::Router::missed) may return.
pub trait IntoMissed: Sealed {
    #[doc(hidden)]
    fn into_missed(self) -> Missed;
}

impl IntoMissed for Missed {
    fn into_missed(self) -> Missed {
        self
    }
}

impl IntoMissed for bool {
    fn into_missed(self) -> Missed {
        self.into()
    }
}

/// An error is logged, and the client receives a gap.
impl<M: IntoMissed, E: fmt::Display> IntoMissed for Result<M, E> {
    fn into_missed(self) -> Missed {
        self.map_or_else(
            |error| {
                log::error!("missed events could not be supplied: {error}");
                Missed::Gap
            },
            IntoMissed::into_missed,
        )
    }
}
