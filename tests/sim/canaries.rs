//! Bugs that are planted, and have to be found.

use crate::{STEPS, attempt};
use mio_sse::canary::{Canary, plant};

/// Seeds within which each is to be found.
const SEEDS_MAX: u64 = 200;

#[test]
fn every_bug_that_is_planted_is_found() {
    let mut missed = Vec::new();
    for canary in Canary::ALL {
        plant(Some(canary));
        let found = (0..SEEDS_MAX).find_map(|seed| Some((seed, attempt(seed, STEPS).err()?)));
        plant(None);
        match found {
            Some((seed, failure)) => {
                let message = failure.message.lines().nth(1).unwrap_or_default();
                let message: String = message.chars().take(120).collect();
                println!("{canary:?}: found after {} seeds, in step {}: {message}", seed + 1, failure.step);
            }
            None => missed.push(canary),
        }
    }
    assert_eq!(missed, [], "not found within {SEEDS_MAX} seeds");
}
