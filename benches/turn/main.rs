//! Cost of the parts of a turn without an operating system: the real [`Server::turn`](mio_sse::Server::turn)
//! over a network in memory, whose writes are checked and cost next to nothing.
//!
//! ```text
//! cargo bench --bench turn                       everything, some two minutes
//! cargo bench --bench turn -- fan-out            one group; any part of a name will do
//! cargo bench --bench turn -- growth             the cost of a delivery to 1,000 and to 1,000,000 streams, in turn
//! cargo bench --bench turn -- deliver 10000 64   no measurement: so many streams get bursts of so many events, for a
//!                                                profiler; see `benches/turn/instructions`
//! cargo bench --bench turn -- come 2000          no measurement: so many streams open and close, likewise
//! ```
//!
//! `benches/streams` measures the whole cost of a delivery, nearly all of which is the kernel's.

#![allow(
    clippy::disallowed_methods,
    reason = "the rule keeps the clock out of the library; measuring needs it"
)]
#![allow(clippy::print_stdout, reason = "a table on stdout is what this program is for")]

mod coming;
mod events;
mod fan_out;
mod growth;
mod history;
mod net;
mod numbered;
mod profile;
mod quiet;
mod requests;
mod rig;
mod single;

use criterion::Criterion;
use std::time::Duration;

fn main() {
    let args: Vec<String> = std::env::args().collect();
    if let [_, mode, streams, events, ..] = &args[..]
        && mode == "deliver"
    {
        return profile::deliver(streams.parse().expect("a number"), events.parse().expect("a number"));
    }
    if let [_, mode, streams, ..] = &args[..]
        && mode == "come"
    {
        return profile::come_and_go(streams.parse().expect("a number"));
    }
    // `cargo bench` adds the last argument.
    if args[1..] == ["growth", "--bench"] {
        return growth::measure();
    }
    let mut criterion = Criterion::default()
        .sample_size(20)
        .warm_up_time(Duration::from_millis(300))
        .measurement_time(Duration::from_secs(1))
        .configure_from_args();
    requests::measure(&mut criterion);
    events::measure(&mut criterion);
    coming::measure(&mut criterion);
    history::measure(&mut criterion);
    single::measure(&mut criterion);
    quiet::measure(&mut criterion);
    fan_out::measure(&mut criterion);
    criterion.final_summary();
    if args[1..] == ["--bench"] {
        growth::measure();
    }
}
