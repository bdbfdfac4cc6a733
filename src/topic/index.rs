//! Finds by name what lies in a slab.
//!
//! This uses `hashbrown`, because the hash table of the standard library cannot look up a key that lies
//! elsewhere: each name would be kept twice.

use hashbrown::HashTable;
use std::hash::{BuildHasher, RandomState};

/// A hash table of keys, whose names lie with what they are keys of: no name is kept twice. Names come from
/// peers, so they are hashed with a key that is drawn.
#[derive(Debug)]
pub(crate) struct Index<K> {
    keys: HashTable<K>,
    hasher: RandomState,
}

impl<K> Default for Index<K> {
    fn default() -> Self {
        Self { keys: HashTable::new(), hasher: RandomState::new() }
    }
}

impl<K: Copy + Eq> Index<K> {
    /// The key of that name, where `name_of` tells what each is called.
    pub(crate) fn find<'a>(&self, name: &str, name_of: impl Fn(K) -> &'a [u8]) -> Option<K> {
        let name = name.as_bytes();
        // Most often there is nobody else to tell it from, and nobody to look for.
        if self.keys.is_empty() {
            return None;
        }
        self.keys.find(self.hasher.hash_one(name), |key| name_of(*key) == name).copied()
    }

    /// Adds a key whose name is new, and is told by `name_of` already.
    pub(crate) fn insert<'a>(&mut self, key: K, name_of: impl Fn(K) -> &'a [u8]) {
        let hash = |key| self.hasher.hash_one(name_of(key));
        self.keys.insert_unique(hash(key), key, |key| hash(*key));
    }

    /// Removes a key, which was called `name`.
    pub(crate) fn remove(&mut self, name: &[u8], key: K) {
        if let Ok(found) = self.keys.find_entry(self.hasher.hash_one(name), |found| *found == key) {
            found.remove();
        }
    }

    /// How many keys fit.
    pub(crate) fn capacity(&self) -> usize {
        self.keys.capacity()
    }

    /// Gives back memory that is not in use. Costs a walk over all.
    pub(crate) fn shrink<'a>(&mut self, name_of: impl Fn(K) -> &'a [u8]) {
        self.keys.shrink_to_fit(|key| self.hasher.hash_one(name_of(*key)));
    }
}
