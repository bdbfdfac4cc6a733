//! The work of turns of the loop, by kind.

use std::ops::AddAssign;

macro_rules! work {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Work by kind, as [`Stats`](crate::Stats) counts it. Each kind has a bound in a turn, so a turn is
        /// short whatever clients and the application do.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Work {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Work {
            /// The number of kinds.
            pub(crate) const KINDS: usize = [$(stringify!($name)),*].len();

            /// Each kind with its count.
            pub(crate) fn kinds(&self) -> [(&'static str, u64); Self::KINDS] {
                [$((stringify!($name), self.$name)),*]
            }

            /// The maximum of both, kind by kind.
            pub(crate) fn max(&self, other: &Self) -> Self {
                Self { $($name: self.$name.max(other.$name)),* }
            }
        }

        impl AddAssign<&Work> for Work {
            fn add_assign(&mut self, other: &Self) {
                $(self.$name += other.$name;)*
            }
        }
    };
}

work! {
    /// Messages taken from the inbox of [`Publisher`](crate::Publisher)s.
    orders,
    /// Connections accepted or adopted.
    accepted,
    /// Bytes read from clients.
    bytes_read,
    /// Requests passed to the handler.
    requests,
    /// Timers called.
    timers,
    /// Calls of [`Source`](crate::Source)s for an event.
    events_pulled,
    /// Visits of streams to deliver events.
    streams_served,
    /// Bytes passed to the kernel.
    bytes_written,
    /// Connections visited for time-outs and heartbeats.
    connections_swept,
    /// Connections visited for a [drain](crate::Context::drain).
    connections_drained,
    /// Streams closed by a call that closes many: those of a tag, or of a finished topic.
    closed_together,
    /// Streams whose end was reported to the handler.
    streams_reported,
    /// Connections freed.
    connections_freed,
    /// Streams visited to make room in logs.
    streams_for_room,
    /// Bytes that closed streams copied from logs of keyed topics, because later events may supersede those
    /// that they still get.
    bytes_taken_along,
}
