//! Lists that may become as long as there are streams. They shrink when the streams have left.

use std::collections::VecDeque;

/// A list that is emptied in most turns and keeps its memory for the next one.
pub(crate) trait List {
    /// Frees memory beyond that of `2 * most` entries.
    fn give_back(&mut self, most: usize);
}

impl<T> List for Vec<T> {
    fn give_back(&mut self, most: usize) {
        if self.capacity() / 2 > most {
            self.shrink_to(most);
        }
    }
}

impl<T> List for VecDeque<T> {
    fn give_back(&mut self, most: usize) {
        if self.capacity() / 2 > most {
            self.shrink_to(most);
        }
    }
}
