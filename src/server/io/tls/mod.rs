//! TLS below the loop: a network around another one, whose connections carry records of TLS.
//!
//! The loop reads and writes plain text; what is between that and the records is
//! [`Session`](session::Session), which does no I/O of its own. Nothing above the seam knows of any of this:
//! cursors count plain text. At rest a session has no buffers; the two that all share are in `TlsNet`.
//!
//! `MioNet` is `Sockets`, or `TlsNet<Sockets>` with the feature: a listener says what its connections speak
//! (`Net::tls`). Without the feature nothing of this is compiled.

pub(crate) mod config;
pub(crate) mod names;
pub(crate) mod session;
pub(crate) mod tls_net;
