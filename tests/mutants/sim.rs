//! Planted bugs that have to be found: a part of the simulator in the copy that `tests/mutants/run` makes.

use crate::{SEEDS, STEPS, attempt, attempt_lives, expect};
use mio_sse::mutant::switch_to;

/// Seeds within which each has to be found: hardly any needs more than a hundred, but which ones do changes
/// with every commit.
const SEEDS_MAX: u64 = 1_000;

#[test]
fn every_mutant_is_found() {
    switch_to("");
    // Without a bug, nothing may be found.
    for seed in 0..SEEDS {
        expect(seed, STEPS, false);
        assert!(attempt_lives(seed, STEPS, false).is_ok(), "lives of seed {seed}");
    }
    let names = std::env::var("MUTANTS").expect("the names of those to be found");
    let mut missed = Vec::new();
    for name in names.split_whitespace() {
        switch_to(name);
        let found = (0..SEEDS_MAX).find_map(|seed| {
            let found = attempt(seed, STEPS).err();
            Some((seed, found.or_else(|| attempt_lives(seed, STEPS, false).err())?))
        });
        switch_to("");
        match found {
            Some((seed, failure)) => {
                let message = failure.message.lines().nth(1).unwrap_or_default();
                let message: String = message.chars().take(100).collect();
                println!("{name:24} seed {seed:3}, step {:4}: {message}", failure.step);
            }
            None => missed.push(name),
        }
    }
    assert!(missed.is_empty(), "not found within {SEEDS_MAX} seeds: {}", missed.join(" "));
}
