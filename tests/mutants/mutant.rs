//! Which of the bugs that are planted is switched on: see `tests/mutants/run`, which puts this and their
//! names into its copy.

use std::sync::atomic::{AtomicUsize, Ordering};

/// The place in [`ALL`] of the one that is switched on, or behind its end.
static ACTIVE: AtomicUsize = AtomicUsize::new(UNKNOWN);

/// Nobody has said yet which it is: the environment does.
const UNKNOWN: usize = usize::MAX;

/// Whether this one is switched on.
#[inline]
pub(crate) fn is(name: &str) -> bool {
    let mut active = ACTIVE.load(Ordering::Relaxed);
    if active == UNKNOWN {
        switch_to(&std::env::var("MUTANT").unwrap_or_default());
        active = ACTIVE.load(Ordering::Relaxed);
    }
    ALL.get(active).is_some_and(|active| *active == name)
}

/// Switches one on, instead of the one before, or none if that has no name.
///
/// # Panics
/// If there is none of that name.
pub fn switch_to(name: &str) {
    let place = ALL.iter().position(|found| *found == name);
    assert!(place.is_some() || name.is_empty(), "there is no mutant {name}");
    ACTIVE.store(place.unwrap_or(ALL.len()), Ordering::Relaxed);
}
