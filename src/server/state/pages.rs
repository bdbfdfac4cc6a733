//! A slab in pages that are freed one by one.

use slab::Slab;
use std::num::NonZeroU32;

/// Entries of one page.
const PAGE: usize = 64;

/// The place of an entry. Never zero, so a slab entry that contains a place needs no separate tag.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) struct Place(NonZeroU32);

impl Place {
    /// The place of no entry.
    pub(crate) const NONE: Self = Self(NonZeroU32::MAX);

    fn new(index: usize) -> Self {
        // Entries belong to streams or to the application: far fewer than 2^32.
        Self(u32::try_from(index + 1).ok().and_then(NonZeroU32::new).unwrap_or(NonZeroU32::MAX))
    }

    fn index(self) -> usize {
        self.0.get() as usize - 1
    }
}

/// A slab in pages. It grows by a page instead of doubling. A few entries that stay after many were removed
/// keep only their own pages.
///
/// Cost: at most one unused page, and 44 bytes for each page of 64 that there ever was at once, until all are
/// empty.
#[derive(Debug)]
pub(crate) struct Pages<T> {
    pages: Vec<Slab<T>>,
    /// The pages with room, in no particular order. The last is used next. Invariant: each page that is not
    /// full is here once, and no empty one has memory but the last.
    roomy: Vec<u32>,
    len: usize,
}

impl<T> Default for Pages<T> {
    fn default() -> Self {
        Self { pages: Vec::new(), roomy: Vec::new(), len: 0 }
    }
}

impl<T> Pages<T> {
    pub(crate) fn insert(&mut self, entry: T) -> Place {
        let number = match self.roomy.last() {
            Some(&number) => number as usize,
            None => {
                self.pages.push(Slab::new());
                self.add_roomy(self.pages.len() - 1);
                self.pages.len() - 1
            }
        };
        let page = &mut self.pages[number];
        if page.capacity() == 0 {
            page.reserve_exact(PAGE);
        }
        let index = page.insert(entry);
        if page.len() == PAGE {
            self.roomy.pop();
        }
        self.len += 1;
        Place::new(number * PAGE + index)
    }

    /// Removes the entry at a place, if there is one.
    pub(crate) fn remove(&mut self, place: Place) -> Option<T> {
        let number = place.index() / PAGE;
        let page = self.pages.get_mut(number)?;
        let entry = page.try_remove(place.index() % PAGE)?;
        let (was_full, is_empty) = (page.len() + 1 == PAGE, page.is_empty());
        self.len -= 1;
        if self.len == 0 && self.pages.len() > 1 {
            *self = Self::default();
        } else if was_full {
            self.add_roomy(number);
        } else if is_empty && self.roomy.last().is_none_or(|&last| last as usize != number) {
            self.pages[number] = Slab::new();
        }
        Some(entry)
    }

    /// Adds a page with room. If the page that was to be used next is empty, it is freed.
    fn add_roomy(&mut self, number: usize) {
        if let Some(&last) = self.roomy.last()
            && self.pages[last as usize].is_empty()
        {
            self.pages[last as usize] = Slab::new();
        }
        // A page has 64 entries, and there are fewer than 2^32 entries.
        self.roomy.push(u32::try_from(number).unwrap_or(u32::MAX));
    }

    pub(crate) fn get(&self, place: Place) -> Option<&T> {
        self.pages.get(place.index() / PAGE)?.get(place.index() % PAGE)
    }

    pub(crate) fn get_mut(&mut self, place: Place) -> Option<&mut T> {
        self.pages.get_mut(place.index() / PAGE)?.get_mut(place.index() % PAGE)
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    impl<T> Pages<T> {
        /// Pages that have memory.
        fn held(&self) -> usize {
            self.pages.iter().filter(|page| page.capacity() > 0).count()
        }
    }

    #[test]
    fn remaining_entries_keep_only_their_own_pages() {
        let mut pages = Pages::default();
        let places: Vec<Place> = (0..10_000).map(|number| pages.insert(number)).collect();
        assert_eq!(pages.held(), 10_000_usize.div_ceil(PAGE));
        for (number, &place) in places.iter().enumerate() {
            if ![5_000, 9_999].contains(&number) {
                assert_eq!(pages.remove(place), Some(number));
            }
        }
        assert!(pages.held() <= 3, "{} pages for two entries, and one that is used next", pages.held());
        assert_eq!((pages.get(places[5_000]), pages.get(places[9_999])), (Some(&5_000), Some(&9_999)));
        pages.remove(places[5_000]);
        pages.remove(places[9_999]);
        assert_eq!((pages.pages.capacity(), pages.roomy.capacity()), (0, 0));
    }

    #[test]
    fn entries_that_come_and_go_reuse_memory() {
        let mut pages = Pages::default();
        let places = [pages.insert(0), pages.insert(1)];
        for _ in 0..2 {
            pages.remove(places[0]);
            pages.remove(places[1]);
            assert_eq!(pages.held(), 1);
            assert!([pages.insert(0), pages.insert(1)].iter().all(|place| places.contains(place)));
        }
    }

    proptest! {
        /// The pages agree with a list.
        #[test]
        fn entries_stay_at_their_places(steps in proptest::collection::vec((0..4, any::<u16>()), 0..1_000)) {
            let mut pages = Pages::default();
            let mut model: Vec<(Place, u16)> = Vec::new();
            for (step, &(die, number)) in steps.iter().enumerate() {
                // First most steps add, then most remove, so pages fill and empty.
                let comes = if step < steps.len() / 2 { die != 0 } else { die == 0 };
                if model.is_empty() || comes {
                    let place = pages.insert(number);
                    prop_assert!(model.iter().all(|(other, _)| *other != place));
                    model.push((place, number));
                } else {
                    let (place, number) = model.swap_remove(number as usize % model.len());
                    prop_assert_eq!(pages.remove(place), Some(number));
                    prop_assert_eq!(pages.remove(place), None);
                }
                prop_assert_eq!(pages.len(), model.len());
                let mut roomy = pages.roomy.clone();
                roomy.sort_unstable();
                let with_room = (0_u32..).zip(&pages.pages).filter(|(_, page)| page.len() < PAGE);
                prop_assert_eq!(roomy, with_room.map(|(number, _)| number).collect::<Vec<_>>());
                let used = pages.pages.iter().filter(|page| !page.is_empty()).count();
                prop_assert!(pages.held() <= used + 1);
            }
            for (place, number) in model {
                prop_assert_eq!(pages.get(place), Some(&number));
            }
            prop_assert_eq!(pages.get(Place::NONE), None);
        }
    }
}
