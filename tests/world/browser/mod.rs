//! Debian's Chromium with its own `EventSource`, and Firefox.

mod before_the_first_event;
mod connections;
mod datastar;
pub(crate) mod devtools;
mod events;
pub(crate) mod firefox;
mod htmx;
mod leaks;
mod leaving;
mod reconnecting;
mod screenshots;
mod time_ticker;
mod whole_lives;

use crate::support::{Example, serve_at};
use crate::wire::Wire;
pub(crate) use devtools::Tab;
use mio_sse::{Config, Reply, Router};

/// An app with the page that the tests run their scripts in; see `page.html`.
pub(crate) fn app() -> Router {
    let mut app = Router::new();
    app.get("/", |_request, _cx| Reply::html(include_str!("page.html")));
    app
}

/// An example that stops and starts again on its port. Its pages connect through `wire`, and `away` waits
/// until they have noticed that it is down. With `proxy` they get a proxy's error pages meanwhile.
fn restart(example: Example, name: &str, wire: &Wire, proxy: bool, away: impl Fn()) -> Example {
    let meanwhile = || {
        away();
        // Nothing connects while there is no server: a connection from the port to itself would occupy it.
        wire.cut();
    };
    let example = example.restart(name, meanwhile, |address| {
        if !proxy {
            return;
        }
        let app = || {
            let mut app = Router::new();
            app.before(|_request, _cx| Some(Reply::text("no server").with_status(502)));
            app
        };
        let proxy = serve_at(address, app, &Config::default());
        wire.mend();
        proxy.wait_for("error pages", |stats| stats.requests >= 2);
        wire.cut();
    });
    wire.mend();
    example
}

/// Errors of a page, except for lost connections, which the browser logs, and so does the error handler of
/// htmx's extension.
fn other_errors(tab: &Tab) -> Vec<String> {
    let broken = ["net::ERR_", "status of 502", "s.onerror"];
    tab.errors().into_iter().filter(|error| !broken.iter().any(|broken| error.contains(broken))).collect()
}
