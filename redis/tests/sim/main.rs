//! Several nodes on one Redis stream under every fault, with clients that move from node to node.
//!
//! The servers run in memory, with the library's own reader and writer. Redis, time and connections are
//! simulated, and drawn from a seed. `SIM_SEED` runs one seed and prints its events; `SIM_SEEDS` is the
//! number of seeds, `SIM_STEPS` the length of a run, and `SIM_FIRST` the first seed.

mod client;
mod node;
mod run;
mod store;

use run::Run;
use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

/// Names of the topics. The last topic is finished at some time.
pub(crate) const TOPICS: [&str; 4] = ["news", "chat", "jobs", "race"];

const SEEDS: u64 = 200;
const STEPS: u64 = 700;

/// Counters of the cases that a run has exercised.
pub(crate) type Counts = BTreeMap<&'static str, u64>;

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

fn run(seed: u64, steps: u64, is_healthy: bool, verbose: bool) -> Counts {
    let result = catch_unwind(AssertUnwindSafe(|| Run::new(seed, is_healthy, verbose).run(steps)));
    result.unwrap_or_else(|panic| {
        eprintln!("to repeat it: SIM_SEED={seed} SIM_STEPS={steps} cargo test -p mio-sse-redis --test sim");
        resume_unwind(panic)
    })
}

fn run_all(is_healthy: bool) -> Counts {
    let steps = variable("SIM_STEPS").unwrap_or(STEPS);
    let seed = variable("SIM_SEED");
    let first = seed.or(variable("SIM_FIRST")).unwrap_or(0);
    let count = if seed.is_some() { 1 } else { variable("SIM_SEEDS").unwrap_or(SEEDS) };
    let mut sum = Counts::new();
    for seed in first..first + count {
        for (name, count) in run(seed, steps, is_healthy, count == 1) {
            *sum.entry(name).or_default() += count;
        }
    }
    println!("{count} seeds: {sum:?}");
    sum
}

/// Cases that must occur in many runs.
const COUNTED: [&str; 20] = [
    "clocks of Redis set",
    "clocks of nodes set",
    "connections with an id",
    "entries lost",
    "entries of others",
    "entries trimmed",
    "entries written again",
    "events twice",
    "gaps received",
    "keys deleted",
    "losses without witnesses",
    "marks",
    "outages begun or ended",
    "pauses",
    "publishes confirmed",
    "publishes given up",
    "refusals begun or ended",
    "restarts",
    "tails lost",
    "topics finished",
];

#[test]
fn every_loss_is_a_gap() {
    let sum = run_all(false);
    if sum["seeds"] >= SEEDS && sum["steps"] >= SEEDS * STEPS {
        for name in COUNTED {
            assert!(sum.get(name).is_some_and(|count| *count > 0), "there were no {name}");
        }
        // With many losses without witnesses, this test would prove nothing.
        assert!(sum["losses without witnesses"] < sum["gaps received"] / 50);
    }
}

#[test]
fn without_losses_every_event_arrives_once() {
    let sum = run_all(true);
    assert_eq!((sum["gaps received"], sum["events twice"]), (0, 0));
}

#[test]
fn the_same_seed_gives_the_same_run() {
    for seed in 0..5 {
        assert_eq!(run(seed, 300, false, false), run(seed, 300, false, false), "seed {seed}");
    }
}
