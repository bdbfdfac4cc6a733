//! A hash table that finds entries of a slab by their names.
//!
//! It uses `hashbrown`, because the hash table of the standard library cannot look up a key that is stored
//! elsewhere: each name would be stored twice.

use hashbrown::HashTable;
use std::hash::{BuildHasher, RandomState};

/// A hash table of slab keys. The names stay in the slab, so none is stored twice. Names come from peers, so
/// the hash is seeded at random.
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
    /// The key with that name. `name_of` returns the name of a key.
    pub(crate) fn find<'a>(&self, name: &str, name_of: impl Fn(K) -> &'a [u8]) -> Option<K> {
        let name = name.as_bytes();
        // Most tables are empty.
        if self.keys.is_empty() {
            return None;
        }
        self.keys.find(self.hasher.hash_one(name), |key| name_of(*key) == name).copied()
    }

    /// Adds a key with a new name. `name_of` already knows it.
    pub(crate) fn insert<'a>(&mut self, key: K, name_of: impl Fn(K) -> &'a [u8]) {
        let hash = |key| self.hasher.hash_one(name_of(key));
        self.keys.insert_unique(hash(key), key, |key| hash(*key));
    }

    /// Removes the key with the name `name`.
    pub(crate) fn remove(&mut self, name: &[u8], key: K) {
        if let Ok(found) = self.keys.find_entry(self.hasher.hash_one(name), |found| *found == key) {
            found.remove();
        }
    }

    /// How many keys fit without allocating.
    pub(crate) fn capacity(&self) -> usize {
        self.keys.capacity()
    }

    /// Frees unused memory. Walks over all keys.
    pub(crate) fn shrink<'a>(&mut self, name_of: impl Fn(K) -> &'a [u8]) {
        self.keys.shrink_to_fit(|key| self.hasher.hash_one(name_of(*key)));
    }
}
