//! Detection of entries that were written twice.

use crate::record::Nonce;
use std::collections::HashMap;

/// Writers that are remembered. Above that, the writer that has been silent longest is forgotten. A writer is
/// a node, from its start to its end.
const WRITERS_MAX: usize = 1024;

/// The newest count of each writer. A writer writes in order, so an entry that is not newer is a duplicate.
#[derive(Debug, Default)]
pub(crate) struct Nonces {
    newest: HashMap<u64, (u64, u64)>,
    read: u64,
}

impl Nonces {
    /// Records an entry. Returns whether it is new.
    pub(crate) fn is_new(&mut self, nonce: Nonce) -> bool {
        self.read += 1;
        if let Some((count, used)) = self.newest.get_mut(&nonce.writer) {
            *used = self.read;
            let is_new = nonce.count > *count;
            *count = nonce.count.max(*count);
            return is_new;
        }
        if self.newest.len() >= WRITERS_MAX
            && let Some((&oldest, _)) = self.newest.iter().min_by_key(|(_, (_, used))| *used)
        {
            self.newest.remove(&oldest);
        }
        self.newest.insert(nonce.writer, (nonce.count, self.read));
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_that_is_written_again_is_not_new() {
        let mut nonces = Nonces::default();
        let counts = [1, 2, 3, 2, 3, 4, 1].map(|count| nonces.is_new(Nonce { writer: 7, count }));
        assert_eq!(counts, [true, true, true, false, false, true, false]);
        assert!(nonces.is_new(Nonce { writer: 8, count: 1 }));
        for writer in 100..100 + WRITERS_MAX as u64 {
            assert!(nonces.is_new(Nonce { writer, count: 1 }));
        }
        assert_eq!(nonces.newest.len(), WRITERS_MAX);
    }
}
