//! Bugs to be planted: whoever watches over the loop has to notice each of them.
//!
//! A simulator that finds nothing says little before it is known what it would find. With the feature `canaries` its own
//! test plants one of these at a time; without, the question whether one is planted is answered when compiling.

#[cfg(feature = "canaries")]
use std::cell::Cell;

/// A bug that can be planted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "canaries"),
    expect(unreachable_pub, reason = "the module is public with the feature only")
)]
pub enum Canary {
    /// A connection that has used up its visit with input left is not visited again.
    LostRead,
    /// A stream that is behind is not served when the poll tells of room.
    LostRoom,
    /// More connections than one turn accepts are left in the backlog.
    LostAccept,
    /// A slot is free for the next connection as soon as its own has ended, not at the end of the turn.
    SlotFreedEarly,
    /// The id of a stream that has ended names the next one in its slot.
    StaleId,
    /// A stream forgets how much of a frame it has been given.
    FrameCut,
    /// A wave misses the subscriber that takes the place of one that has left.
    WaveSkips,
    /// A heartbeat that is cut is taken up again behind what a wave brings.
    BeatInterleaves,
    /// A stream that leaves a topic within a frame does not get the rest of it.
    NoRescue,
    /// A timer goes on when its stream has ended.
    TimerSurvives,
    /// What waits for a stream alone keeps its place in front of what it should follow, when the stream joins a topic.
    NoRenumber,
    /// That a peer has closed its side is forgotten when a read takes less than it could.
    LostEnd,
    /// What other threads ask for does not wake the loop.
    LostWake,
    /// A connection that lingers is never given up.
    Immortal,
    /// A log forgets what nobody was offered yet.
    TrimsUnoffered,
    /// `closed` is called again for a stream that is cut while the end of its body is on its way.
    ClosedTwice,
}

#[cfg(feature = "canaries")]
impl Canary {
    /// Every canary.
    pub const ALL: [Self; 16] = [
        Self::LostRead,
        Self::LostRoom,
        Self::LostAccept,
        Self::SlotFreedEarly,
        Self::StaleId,
        Self::FrameCut,
        Self::WaveSkips,
        Self::BeatInterleaves,
        Self::NoRescue,
        Self::TimerSurvives,
        Self::NoRenumber,
        Self::LostEnd,
        Self::LostWake,
        Self::Immortal,
        Self::TrimsUnoffered,
        Self::ClosedTwice,
    ];
}

#[cfg(feature = "canaries")]
thread_local! {
    static PLANTED: Cell<Option<Canary>> = const { Cell::new(None) };
}

/// Plants a canary in all loops of this thread, in place of the one before, or none.
#[cfg(feature = "canaries")]
pub fn plant(canary: Option<Canary>) {
    PLANTED.set(canary);
}

/// Whether this canary is planted.
#[cfg(feature = "canaries")]
pub(crate) fn is_planted(canary: Canary) -> bool {
    PLANTED.get() == Some(canary)
}

/// Whether this canary is planted.
#[cfg(not(feature = "canaries"))]
pub(crate) const fn is_planted(_canary: Canary) -> bool {
    false
}
