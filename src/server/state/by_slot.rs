//! The first place of each slot's list.

use crate::server::state::pages::Place;

/// The first place of each slot that has one, in an array.
///
/// Cost: four bytes for each slot up to the highest that has had a place, and nothing if none ever had one.
#[derive(Debug, Default)]
pub(crate) struct BySlot(Vec<Place>);

impl BySlot {
    /// The place of a slot; [`Place::NONE`] if it has none.
    pub(crate) fn get(&self, slot: u32) -> Place {
        self.0.get(slot as usize).copied().unwrap_or(Place::NONE)
    }

    /// Sets the place of a slot; [`Place::NONE`] removes it.
    pub(crate) fn set(&mut self, slot: u32, place: Place) {
        let slot = slot as usize;
        if slot >= self.0.len() {
            if place == Place::NONE {
                return;
            }
            // Grows by an eighth: doubling would waste more memory than the entries take.
            if slot >= self.0.capacity() {
                let spare = slot / 8 + 64;
                self.0.reserve_exact(slot + spare - self.0.len());
            }
            self.0.resize(slot + 1, Place::NONE);
        }
        self.0[slot] = place;
    }

    /// Frees memory of slots from `bound` on, which have no places.
    pub(crate) fn shrink(&mut self, bound: u32) {
        self.0.truncate(bound as usize);
        self.0.shrink_to_fit();
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::server::state::pages::Pages;

    #[test]
    fn slots_without_a_place_cost_nothing_and_memory_is_freed() {
        let mut first = BySlot::default();
        first.set(1_000_000, Place::NONE);
        assert_eq!((first.get(7), first.0.capacity()), (Place::NONE, 0));
        let place = Pages::default().insert(());
        (0..100_000).for_each(|slot| first.set(slot, place));
        assert!(first.0.capacity() < 100_000 * 9 / 8 + 100);
        first.set(3, Place::NONE);
        first.shrink(5);
        assert_eq!((first.get(3), first.get(4), first.get(5)), (Place::NONE, place, Place::NONE));
        assert!(first.0.capacity() < 10);
    }
}
