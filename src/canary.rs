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
    /// A connection that is one too many is let in as if there was room.
    SurplusStays,
    /// A connection that is one too many has all the time in the world.
    SurplusWaits,
    /// The count of an address does not go down when one of its connections closes.
    AddressKept,
    /// What was given up of the reserve of descriptors is not taken back.
    ReserveLost,
    /// A drain misses every fourth connection.
    DrainMisses,
    /// A drain does not end before everybody has gone.
    DrainEndless,
    /// Streams that should be left alone by a drain are closed by it.
    DrainHurries,
    /// A drain goes on accepting streams on connections that are there.
    DrainAdmits,
    /// A stream that is refused keeps its topics.
    RefusedKeepsTopics,
    /// A stream that is refused keeps its timers and callbacks.
    RefusedKeepsHooks,
    /// Streams can be one more than they may.
    StreamsOneMore,
    /// The clock of ages goes round while the loop is held up, and nobody notices.
    AgeWraps,
    /// Nobody looks at the ages of streams.
    AgeIgnored,
    /// A timer that has panicked is called again.
    PanickedTimerAgain,
    /// A stream goes on when a callback for it has panicked.
    PanickedGoesOn,
    /// Who sends too slowly is told so again and again.
    LateTwice,
    /// Who takes a reply too slowly is told that its request came too late, in the middle of it.
    LateInReply,
    /// A stream that ends while it is behind is counted as behind for ever.
    BehindForever,
    /// That the limit of requests is reached is not told to the peer.
    LimitUntold,
    /// A peer that has closed its side is gone, also where that is enough for a stream.
    HalfClosedGone,
    /// Who is told how many events it has missed is told of one too few.
    GapMiscounted,
    /// Who comes back gets the event once more that it saw last.
    ResumesOneEarly,
    /// Of the events of a key, those that are behind do not get the newest.
    NewestConflated,
    /// What a history gives up is not noted, so that nobody who comes back is told of it.
    GapUntold,
    /// Ids go back with the clock.
    IdStepsBack,
    /// A snapshot still holds a key that was removed.
    RemovalForgotten,
    /// A tag that is revoked is forgotten at once: who had it may come again.
    RevokesForNobody,
    /// What is sent to a tag does not reach the stream that was given it last.
    TagSkipsOne,
    /// A stream that skips within a frame does not get the rest of it.
    SkipNoRescue,
    /// The id of a heartbeat is ahead of what is published next.
    BeatAhead,
    /// Those that are not behind get the newest of each key only, too.
    ConflatesAll,
    /// A history is never given up.
    HistoryEndless,
    /// An id of the application's leads to where it was used first.
    OwnIdStale,
}

#[cfg(feature = "canaries")]
impl Canary {
    /// Every canary.
    pub const ALL: [Self; 49] = [
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
        Self::SurplusStays,
        Self::SurplusWaits,
        Self::AddressKept,
        Self::ReserveLost,
        Self::DrainMisses,
        Self::DrainEndless,
        Self::DrainHurries,
        Self::DrainAdmits,
        Self::RefusedKeepsTopics,
        Self::RefusedKeepsHooks,
        Self::StreamsOneMore,
        Self::AgeWraps,
        Self::AgeIgnored,
        Self::PanickedTimerAgain,
        Self::PanickedGoesOn,
        Self::LateTwice,
        Self::LateInReply,
        Self::BehindForever,
        Self::LimitUntold,
        Self::HalfClosedGone,
        Self::GapMiscounted,
        Self::ResumesOneEarly,
        Self::NewestConflated,
        Self::GapUntold,
        Self::IdStepsBack,
        Self::RemovalForgotten,
        Self::RevokesForNobody,
        Self::TagSkipsOne,
        Self::SkipNoRescue,
        Self::BeatAhead,
        Self::ConflatesAll,
        Self::HistoryEndless,
        Self::OwnIdStale,
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
