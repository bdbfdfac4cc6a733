//! The planted bug that is switched on: see `tests/mutants/run`, which adds this file and the names of the
//! bugs to its copy.

use std::sync::atomic::{AtomicUsize, Ordering};

/// Index in [`ALL`] of the bug that is switched on; after the end, none is.
static ACTIVE: AtomicUsize = AtomicUsize::new(UNKNOWN);

/// Not chosen yet: the environment chooses.
const UNKNOWN: usize = usize::MAX;

/// Whether this bug is switched on.
#[inline]
pub(crate) fn is(name: &str) -> bool {
    let mut active = ACTIVE.load(Ordering::Relaxed);
    if active == UNKNOWN {
        switch_to(&std::env::var("MUTANT").unwrap_or_default());
        active = ACTIVE.load(Ordering::Relaxed);
    }
    ALL.get(active).is_some_and(|active| *active == name)
}

/// Switches a bug on, instead of the present one; with an empty name, none.
///
/// # Panics
/// If there is no bug of that name.
pub fn switch_to(name: &str) {
    let place = ALL.iter().position(|found| *found == name);
    assert!(place.is_some() || name.is_empty(), "there is no mutant {name}");
    ACTIVE.store(place.unwrap_or(ALL.len()), Ordering::Relaxed);
}
