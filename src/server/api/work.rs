//! What turns of the loop have done, by kind.

use std::ops::AddAssign;

macro_rules! work {
    ($($(#[$doc:meta])* $name:ident,)*) => {
        /// Work by kind, as [`Stats`](crate::Stats) counts it: each number is of things done. A turn is short
        /// because each of them has a bound in it, whatever peers and the application do.
        #[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
        #[non_exhaustive]
        pub struct Work {
            $($(#[$doc])* pub $name: u64,)*
        }

        impl Work {
            /// How many kinds there are.
            pub(crate) const KINDS: usize = [$(stringify!($name)),*].len();

            /// Each kind with its number.
            pub(crate) fn kinds(&self) -> [(&'static str, u64); Self::KINDS] {
                [$((stringify!($name), self.$name)),*]
            }

            /// The greater of the two, kind by kind.
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
    /// Bytes read from peers.
    bytes_read,
    /// Requests that the handler was asked about.
    requests,
    /// Timers called.
    timers,
    /// Events that [`Source`](crate::Source)s were asked for.
    events_pulled,
    /// Streams that were offered something, each as often as it was.
    streams_served,
    /// Bytes handed to the kernel.
    bytes_written,
    /// Connections looked at for time-outs and heartbeats.
    connections_swept,
    /// Connections looked at because of a [drain](crate::Context::drain).
    connections_drained,
    /// Streams closed by a call that closes many, for their tag or with their topic.
    closed_together,
    /// Streams whose end the handler was told.
    streams_reported,
    /// Connections freed.
    connections_freed,
    /// Streams looked at to make room in logs.
    streams_for_room,
    /// Bytes that closed streams took along from logs of keyed topics, where what they are still to get may
    /// be superseded.
    bytes_taken_along,
}
