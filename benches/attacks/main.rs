//! The longest turn, and the maximum of memory, under anything that a client, a topic or a call can do, with
//! 20,000 streams over a network in memory.
//!
//! ```text
//! cargo bench --bench attacks                      all, three times each
//! cargo bench --bench attacks -- skip keys         those with such a name
//! cargo bench --bench attacks -- --streams 2000    fewer streams; --runs 1 fewer runs
//! cargo bench --bench attacks -- --hours 24        instead, so many simulated hours of everything at once
//! ```
//!
//! Times are wall clock times, so a busy machine makes turns look longer. `a turn` is the most that one turn
//! has written. Memory is the exact growth of the heap since the beginning of the attack.

#![allow(
    clippy::disallowed_methods,
    reason = "the rule keeps the clock out of the library; measuring needs it"
)]
#![allow(clippy::print_stdout, reason = "a table on stdout is what this program is for")]

mod heap;
mod memory;
mod net;
mod soak;
mod turns;
mod world;

use std::time::Duration;
use world::Found;

fn main() {
    let (mut streams, mut runs, mut names) = (20_000, 3, Vec::new());
    let (mut bench, mut hours) = (false, None);
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut number = || words.next().and_then(|word| word.parse().ok()).expect("a number");
        match word.as_str() {
            // `cargo bench` adds it. `cargo test` does not, and then nothing is measured.
            "--bench" => bench = true,
            "--streams" => streams = number(),
            "--runs" => runs = number(),
            "--hours" => hours = Some(number()),
            _ => names.push(word),
        }
    }
    if !bench {
        return println!("Nothing measured: start it with `cargo bench --bench attacks`.");
    }
    if let Some(hours) = hours {
        return soak::run(hours);
    }
    println!("{streams} streams, median of {runs}");
    println!(
        "{:<44} {:>12} {:>10} {:>8} {:>13} {:>10}",
        "attack", "longest, ms", "over 10 ms", "turns", "a turn, KiB", "held, KiB"
    );
    for (name, attack) in turns::ATTACKS.into_iter().chain(memory::ATTACKS) {
        if names.is_empty() || names.iter().any(|part| name.contains(part.as_str())) {
            let mut found: Vec<Found> = (0..runs).map(|_| attack(streams)).collect();
            found.sort_by_key(|found| found.longest);
            let median = found[found.len() / 2];
            let held = found.iter().map(|found| found.held).max().unwrap_or_default();
            println!(
                "{name:<44} {:>12.2} {:>10} {:>8} {:>13} {:>10}",
                millis(median.longest),
                median.over,
                median.turns,
                median.written >> 10,
                held >> 10
            );
        }
    }
}

fn millis(time: Duration) -> f64 {
    time.as_secs_f64() * 1e3
}
