//! Bugs that are planted, and have to be found: a part of the simulator in the copy that `tests/mutants/run`
//! makes.

use crate::{SEEDS, STEPS, attempt, expect};
use mio_sse::mutant::switch_to;

/// Seeds within which each is to be found.
const SEEDS_MAX: u64 = 1_000;

#[test]
fn every_mutant_is_found() {
    switch_to("");
    // What is found then is their doing.
    for seed in 0..SEEDS {
        expect(seed, STEPS, false);
    }
    let names = std::env::var("MUTANTS").expect("the names of those to be found");
    let mut missed = Vec::new();
    for name in names.split_whitespace() {
        switch_to(name);
        let found = (0..SEEDS_MAX).find_map(|seed| Some((seed, attempt(seed, STEPS).err()?)));
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
