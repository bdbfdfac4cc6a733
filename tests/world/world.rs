//! The library and other programs: browsers, proxies, and clients in several languages.
//!
//! A package of its own, as it needs what the library's tests should not: `cargo test --manifest-path
//! tests/world/Cargo.toml`, with chromium, firefox-esr, nginx, haproxy, caddy, lighttpd, varnish, apache2,
//! openssl, curl, node, npm and python3 installed. Clients in other languages are downloaded by name into the
//! target directory.

mod browser;
mod clients;
mod compressed;
mod payloads;
mod proxy;
mod stores;
mod stranger;
mod support;
mod tls;
mod wire;
