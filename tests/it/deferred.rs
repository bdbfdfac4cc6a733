//! Connections that the kernel keeps to itself until they send something.

use crate::memory_net::get;
use crate::support::serve_with;
use mio_sse::{Config, Reply, Router};
use std::time::Duration;

#[test]
fn a_connection_that_says_nothing_is_accepted_later_if_the_server_wants_it_so() {
    let mut app = Router::new();
    app.get("/page", |_request, _cx| Reply::text("page"));
    let mut config = Config::default();
    config.tcp_defer_accept = Some(Duration::from_secs(60));
    let server = serve_with(app, config);
    let mut silent = server.connect();
    let mut other = server.connect();
    other.write(get("/page"));
    assert_eq!(other.reply().1, "page");
    assert_eq!(server.stats().accepted, 1);
    silent.write(get("/page"));
    assert_eq!(silent.reply().1, "page");
    assert_eq!(server.stats().accepted, 2);
}
