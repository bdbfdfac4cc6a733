//! Callbacks, state and source of a stream, beside its record.

use crate::conn::id::{Generation, StreamId};
use crate::server::state::by_slot::BySlot;
use crate::server::state::feed::Feed;
use crate::server::state::pages::{Pages, Place};
use std::any::Any;

/// The `on_close` callbacks, states and sources of streams. Most streams have none.
///
/// They form a list that begins at the stream's slot. A stream that has ended may not be reported yet when
/// the next one begins in the slot, so each entry knows its stream by the generation.
///
/// Cost (64-bit): 33 bytes for each callback, state and source, besides its own box, and that of `BySlot`.
pub(crate) struct Hooks<C> {
    of_slot: BySlot,
    hooks: Pages<Hook<C>>,
}

enum Hook<C> {
    OnClose(Link, C),
    /// The application's state of the stream.
    State(Link, Box<dyn Any + Send>),
    Feed(Link, Box<Feed>),
}

#[derive(Clone, Copy)]
struct Link {
    generation: Generation,
    /// The entry that was added to the slot before.
    next: Place,
}

/// The removed entries of a stream.
pub(crate) struct Removed<C> {
    /// In the order they were added.
    pub(crate) on_close: Vec<C>,
    pub(crate) state: Option<Box<dyn Any + Send>>,
    pub(crate) feed: Option<Feed>,
}

impl<C> Default for Hooks<C> {
    fn default() -> Self {
        Self { of_slot: BySlot::default(), hooks: Pages::default() }
    }
}

impl<C> Default for Removed<C> {
    fn default() -> Self {
        Self { on_close: Vec::new(), state: None, feed: None }
    }
}

impl<C> Hook<C> {
    fn link(&self) -> Link {
        let (Self::OnClose(link, _) | Self::State(link, _) | Self::Feed(link, _)) = self;
        *link
    }

    fn link_mut(&mut self) -> &mut Link {
        let (Self::OnClose(link, _) | Self::State(link, _) | Self::Feed(link, _)) = self;
        link
    }
}

impl<C> Hooks<C> {
    pub(crate) fn add_on_close(&mut self, id: StreamId, callback: C) {
        self.add(id, |link| Hook::OnClose(link, callback));
    }

    pub(crate) fn add_state(&mut self, id: StreamId, state: Box<dyn Any + Send>) {
        self.add(id, |link| Hook::State(link, state));
    }

    /// The stream must have no feed yet.
    pub(crate) fn add_feed(&mut self, id: StreamId, feed: Feed) {
        self.add(id, |link| Hook::Feed(link, Box::new(feed)));
    }

    fn add(&mut self, id: StreamId, hook: impl FnOnce(Link) -> Hook<C>) {
        let link = Link { generation: id.generation, next: self.of_slot.get(id.slot) };
        let place = self.hooks.insert(hook(link));
        self.of_slot.set(id.slot, place);
    }

    pub(crate) fn state(&mut self, id: StreamId) -> Option<&mut (dyn Any + Send)> {
        let place = self.find(id, |hook| matches!(hook, Hook::State(..)))?;
        let Hook::State(_, state) = self.hooks.get_mut(place)? else { return None };
        Some(&mut **state)
    }

    pub(crate) fn feed(&self, id: StreamId) -> Option<&Feed> {
        let place = self.find(id, |hook| matches!(hook, Hook::Feed(..)))?;
        let Hook::Feed(_, feed) = self.hooks.get(place)? else { return None };
        Some(feed)
    }

    pub(crate) fn feed_mut(&mut self, id: StreamId) -> Option<&mut Feed> {
        let place = self.find(id, |hook| matches!(hook, Hook::Feed(..)))?;
        let Hook::Feed(_, feed) = self.hooks.get_mut(place)? else { return None };
        Some(feed)
    }

    fn find(&self, id: StreamId, is_wanted: impl Fn(&Hook<C>) -> bool) -> Option<Place> {
        let mut place = self.of_slot.get(id.slot);
        while let Some(hook) = self.hooks.get(place) {
            if hook.link().generation == id.generation && is_wanted(hook) {
                return Some(place);
            }
            place = hook.link().next;
        }
        None
    }

    pub(crate) fn remove_on_close(&mut self, id: StreamId) -> Vec<C> {
        self.remove(id, |hook| matches!(hook, Hook::OnClose(..))).on_close
    }

    pub(crate) fn remove_feed(&mut self, id: StreamId) -> Option<Feed> {
        self.remove(id, |hook| matches!(hook, Hook::Feed(..))).feed
    }

    pub(crate) fn remove_all(&mut self, id: StreamId) -> Removed<C> {
        self.remove(id, |_| true)
    }

    fn remove(&mut self, id: StreamId, is_wanted: impl Fn(&Hook<C>) -> bool) -> Removed<C> {
        let mut removed = Removed::default();
        let (mut before, mut place) = (Place::NONE, self.of_slot.get(id.slot));
        while let Some(hook) = self.hooks.get(place) {
            let Link { generation, next } = hook.link();
            if generation == id.generation && is_wanted(hook) {
                match self.hooks.get_mut(before) {
                    Some(before) => before.link_mut().next = next,
                    None => self.of_slot.set(id.slot, next),
                }
                match self.hooks.remove(place) {
                    Some(Hook::OnClose(_, callback)) => removed.on_close.push(callback),
                    Some(Hook::State(_, state)) => removed.state = Some(state),
                    Some(Hook::Feed(_, feed)) => removed.feed = Some(*feed),
                    None => {}
                }
            } else {
                before = place;
            }
            place = next;
        }
        // The list begins with the last entry added.
        removed.on_close.reverse();
        removed
    }

    /// Frees memory of slots from `bound` on, which have no streams.
    pub(crate) fn shrink(&mut self, bound: u32) {
        self.of_slot.shrink(bound);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::conn::slot::Slot;
    use crate::conn::slots::Slots;

    fn stream() -> (Slots, StreamId) {
        let mut slots = Slots::default();
        let slot = slots.insert(Slot::new(0, None));
        let id = slots.draw_id(slot);
        (slots, id)
    }

    #[test]
    fn one_stream_has_nothing_of_the_next_in_its_slot() {
        let (mut slots, earlier) = stream();
        let mut hooks = Hooks::default();
        hooks.add_on_close(earlier, 1);
        hooks.add_state(earlier, Box::new("earlier"));
        hooks.add_on_close(earlier, 2);
        let later = slots.draw_id(earlier.slot);
        assert!(hooks.state(later).is_none());
        hooks.add_on_close(later, 3);
        hooks.add_state(later, Box::new("later"));

        assert_eq!(hooks.remove_on_close(earlier), [1, 2], "in the order in which they were added");
        assert_eq!(hooks.state(earlier).and_then(|state| state.downcast_ref()), Some(&"earlier"));
        assert!(hooks.remove_all(earlier).state.is_some());
        assert!(hooks.state(earlier).is_none());
        assert_eq!(hooks.state(later).and_then(|state| state.downcast_ref()), Some(&"later"));
        assert_eq!(hooks.remove_all(later).on_close, [3]);
        assert!(hooks.hooks.len() == 0 && hooks.of_slot.get(later.slot) == Place::NONE);
    }

    #[test]
    fn a_hook_is_32_bytes_also_in_the_slab() {
        type OnClose = Box<dyn FnOnce()>;
        assert_eq!(size_of::<Option<Hook<OnClose>>>(), 32);
    }
}
