//! The TLS configuration of a listener.

/// The certificates for TLS.
#[cfg(feature = "tls")]
pub(crate) use crate::server::io::tls::config::TlsConfig as Tls;

/// Has no values: without feature `tls` all connections are plain text.
#[cfg(not(feature = "tls"))]
#[derive(Debug, Clone)]
pub(crate) enum Tls {}
