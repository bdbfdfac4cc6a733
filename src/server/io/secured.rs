//! What a listener speaks besides plain text.

/// The certificates with which connections speak TLS.
#[cfg(feature = "tls")]
pub(crate) use crate::server::io::tls::config::TlsConfig as Tls;

/// Nobody has such: without feature `tls` all is plain text.
#[cfg(not(feature = "tls"))]
#[derive(Debug, Clone)]
pub(crate) enum Tls {}
