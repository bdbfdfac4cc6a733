//! Chromium, as Debian has it, with its own `EventSource`.

mod before_the_first_event;
mod connections;
pub(crate) mod devtools;
mod events;
mod leaks;
mod leaving;
mod reconnecting;
mod screenshots;
mod time_ticker;
mod whole_lives;

pub(crate) use devtools::Tab;
use mio_sse::{Reply, Router};

/// An app with the page that the tests run their scripts in; see `page.html`.
pub(crate) fn app() -> Router {
    let mut app = Router::new();
    app.get("/", |_request, _cx| Reply::html(include_str!("page.html")));
    app
}
