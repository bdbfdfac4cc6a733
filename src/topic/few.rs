//! A list that usually has one entry, and then allocates nothing.

use std::ops::{Deref, DerefMut};

/// As large as a `Vec`, and becomes one with the second entry.
#[derive(Debug, Clone, Default)]
pub(crate) enum Few<T> {
    #[default]
    None,
    One(T),
    Many(Vec<T>),
}

impl<T> Few<T> {
    pub(crate) fn push(&mut self, entry: T) {
        match std::mem::take(self) {
            Self::None => *self = Self::One(entry),
            Self::One(first) => *self = Self::Many(vec![first, entry]),
            Self::Many(mut entries) => {
                entries.push(entry);
                *self = Self::Many(entries);
            }
        }
    }

    /// Removes the entry at `index` and puts the last one there. Frees memory if little of it is used.
    pub(crate) fn swap_remove(&mut self, index: usize) -> Option<T> {
        debug_assert!(index < self.len());
        match std::mem::take(self) {
            Self::None => None,
            Self::One(entry) => Some(entry),
            Self::Many(mut entries) => {
                let removed = entries.swap_remove(index);
                if entries.len() == 1 {
                    *self = entries.pop().map_or(Self::None, Self::One);
                    return Some(removed);
                }
                if entries.len() < entries.capacity() / 4 {
                    entries.shrink_to(entries.len() * 2);
                }
                *self = Self::Many(entries);
                Some(removed)
            }
        }
    }
}

impl<T> Deref for Few<T> {
    type Target = [T];

    fn deref(&self) -> &[T] {
        match self {
            Self::None => &[],
            Self::One(entry) => std::slice::from_ref(entry),
            Self::Many(entries) => entries,
        }
    }
}

impl<T> DerefMut for Few<T> {
    fn deref_mut(&mut self) -> &mut [T] {
        match self {
            Self::None => &mut [],
            Self::One(entry) => std::slice::from_mut(entry),
            Self::Many(entries) => entries,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn few_behaves_like_a_vector_and_is_small_with_one_entry() {
        assert_eq!(size_of::<Few<u32>>(), size_of::<Vec<u32>>());
        let (mut few, mut vec) = (Few::default(), Vec::new());
        let mut random = 7_u32;
        for round in 0..4000_u32 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            // The list grows to about a thousand entries, and then shrinks to none.
            let grows = if round < 2000 { 3 } else { 1 };
            if random >> 30 < grows || vec.is_empty() {
                few.push(round);
                vec.push(round);
            } else {
                let index = random as usize % vec.len();
                assert_eq!(few.swap_remove(index), Some(vec.swap_remove(index)));
            }
            assert_eq!(*few, *vec);
            match &few {
                Few::Many(entries) => {
                    assert!(vec.len() > 1 && entries.capacity() / 4 <= vec.len(), "{round}");
                }
                Few::None | Few::One(_) => assert!(vec.len() < 2),
            }
        }
        while !vec.is_empty() {
            assert_eq!(few.swap_remove(0), Some(vec.swap_remove(0)));
        }
        assert!(matches!(few, Few::None));
    }
}
