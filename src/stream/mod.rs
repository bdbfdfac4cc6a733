//! What a connection is, without the socket: its record, its states, how it ends.
//!
//! ```text
//!                ┌───────────────── keep-alive ──────────────────┐
//!                ▼                                               │
//!   accept ─→ Reading ── request, whole reply ──→ Replying ──────┤
//!                │                                               │
//!                ├─ request, stream ──→ Streaming ── last byte ──┤
//!                │                 Opening → Open → Ending       │ else
//!                │                                               ▼
//!                └─ rejected ──→ Replying ────────────────→ Lingering ─→ Closed ─→ (slot freed)
//!
//!   From everywhere: the peer leaves, the socket fails, a limit ends it ─→ Closed
//! ```
//!
//! `Replying` is skipped where the whole reply fits into the socket at once, which is nearly always. A slot stays
//! `Closed` until the end of the turn, so that nothing that happens within one turn meets another connection there.

mod close_reason;
mod extras;
mod id;
mod refusal;
mod slot;
mod slots;

pub use close_reason::{CloseReason, Party};
pub(crate) use extras::{Gap, SpareExtras, Subscription};
pub use id::StreamId;
pub use refusal::Refusal;
pub(crate) use slot::{Flags, Held, Input, Phase, Reply, Slot, State, Stream};
pub(crate) use slots::Slots;
