//! Counters of the cases that were exercised. In the end none may be zero.

macro_rules! counts {
    ($($name:ident $text:literal,)*) => {
        /// Counters of all cases.
        #[derive(Debug, Clone, Copy, Default)]
        pub(crate) struct Counts {
            $(pub(crate) $name: u64,)*
        }

        impl Counts {
            pub(crate) fn add(&mut self, more: &Self) {
                $(self.$name += more.$name;)*
            }

            /// Every counter with its name.
            pub(crate) fn named(&self) -> Vec<(&'static str, u64)> {
                vec![$(($text, self.$name),)*]
            }
        }
    };
}

counts! {
    received "events received",
    ends_seen "ends seen",
    replies_seen "replies seen",
    rejections_seen "rejections seen",
    timeouts_seen "time-outs seen",
    refusals_seen "refusals seen",
    panics_seen "panics seen",
    farewells_seen "farewells seen",
    drains "drains",
    second_drains "second drains",
    half_closed "half closed",
    limits_met "limits met by subscribing",
    timers_fired "timers fired",
    stale_refused "stale ids refused",
    cut "connections cut",
    resumed "resumed without a gap",
    caught_up "resumed with something to catch up",
    own_ids_found "ids of the application's found",
    gaps "gaps of those who came back",
    gaps_off "gaps without an event",
    missed_answered "gaps made up for by the application",
    snapshots "snapshots",
    conflated "events conflated",
    removed "keys removed",
    skipped "events lost and counted",
    gaps_counted "counted gaps",
    dated_beats "heartbeats with an id",
    beginnings "streams that begin with an id",
    named_beats "heartbeats with a name",
    steps_back "steps back of the clock",
    steps_forward "steps forward of the clock",
    configured "topics configured",
    unkept "publishing refused for want of topics",
    tagged "tags given",
    tags_met "limits met by tagging",
    sent_tagged "events sent to a tag",
    closed_tagged "streams closed by tag",
    revoked "streams closed by revoking",
    revoked_late "streams closed by a tag that is revoked",
    revoked_seen "clients told not to come back",
    unrevoked "revocations ended",
    on_open "callbacks of streams that open",
    sources "sources given",
    pulled "events pulled",
    sources_over "streams that ended with their source",
    several "events published to several topics",
    several_once "events of several topics received once",
    late "requests that wait for their replies",
    late_said "late replies said",
    late_given_up "late replies given up",
    late_timed_out "late replies timed out",
    late_in_vain "late replies that nobody waits for",
    compressed "compressed streams",
    secure "connections with TLS",
    unsaid "connections with TLS that ended without a word",
}
