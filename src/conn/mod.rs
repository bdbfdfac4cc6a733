//! Connections without their sockets: their records, their states, how they close.
//!
//! ```text
//!                ┌───────────────── keep-alive ──────────────────┐
//!                ▼                                               │
//!   accept ─→ Reading ── request, whole reply ──→ Replying ──────┤
//!                │                                               │
//!                ├─ request ──→ Awaiting ── its late reply ──→ Replying or Streaming
//!                │                                               │
//!                ├─ request, stream ──→ Streaming ── last byte ──┤
//!                │                 Opening → Open → Ending       │ else
//!                │                                               ▼
//!                └─ rejected ──→ Replying ────────────────→ Lingering ─→ Closed ─→ (slot freed)
//!
//!   From everywhere: the peer leaves, the socket fails, a limit ends it ─→ Closed
//! ```
//!
//! `Replying` is skipped if the whole reply fits into the socket at once, as it nearly always does. A slot
//! stays `Closed` until the end of the turn, so no code of that turn meets another connection there.

pub(crate) mod close_reason;
pub(crate) mod id;
pub(crate) mod list;
pub(crate) mod refusal;
pub(crate) mod slot;
pub(crate) mod slots;
pub(crate) mod ticket;
