//! Values of the application that are no longer needed.
//!
//! They are dropped in step 9, one after the other, and not where they become unneeded: a destructor is code
//! of the application, and may panic or publish like any other.

use crate::conn::list::List;
use std::collections::VecDeque;

/// A value of any type that is only to be dropped.
pub(crate) trait Remain: Send {}

impl<T: Send> Remain for T {}

/// The values to drop at the end of the turn.
#[derive(Default)]
pub(crate) struct Remains(VecDeque<Box<dyn Remain>>);

impl Remains {
    pub(crate) fn add(&mut self, remain: impl Remain + 'static) {
        self.0.push_back(Box::new(remain));
    }

    pub(crate) fn add_all(&mut self, remains: impl IntoIterator<Item = impl Remain + 'static>) {
        remains.into_iter().for_each(|remain| self.add(remain));
    }

    pub(crate) fn take(&mut self) -> Option<Box<dyn Remain>> {
        self.0.pop_front()
    }

    /// Frees memory if there is more than twice that of `most`.
    pub(crate) fn give_back(&mut self, most: usize) {
        self.0.give_back(most);
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}
