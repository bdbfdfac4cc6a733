//! Debian's nginx with the configuration of the README, and other proxies with those of `configurations.md`.

mod curl;
mod defaults;
mod figures;
mod nginx;
mod others;
mod over_http2;
mod streams;
mod through;

pub(crate) use curl::Curl;
pub(crate) use nginx::Nginx;

/// The ways to a server behind the proxy: curl's option, and whether they use TLS.
pub(crate) const WAYS: [(&str, bool); 3] = [("--http1.1", false), ("--http1.1", true), ("--http2", true)];
