//! Debian's nginx, with the configuration of the README.

mod curl;
mod nginx;
mod over_http2;
mod streams;

pub(crate) use curl::Curl;
pub(crate) use nginx::Nginx;

/// The ways to a server behind the proxy: curl's option, and whether they use TLS.
pub(crate) const WAYS: [(&str, bool); 3] = [("--http1.1", false), ("--http1.1", true), ("--http2", true)];
