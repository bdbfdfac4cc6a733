//! Shared by the examples: the port, the log, and a clean shutdown.

use mio_sse::{App, Config, Drain, Listeners, LogObserver, Publisher, Reply, Router, Server, Shards};
use std::io;
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

/// Clients are disconnected within this time when the example is asked to stop.
const WINDOW: Duration = Duration::from_secs(2);

/// Delay before clients reconnect: about as long as a restart takes.
const RETRY: Duration = Duration::from_secs(1);

/// Serves the page of an example at `/`, and the style that all of them share.
#[allow(dead_code, reason = "not every example has a page")]
pub(crate) fn page<S: 'static>(app: &mut Router<S>, html: &'static str) {
    app.get("/", move |_request, _cx| Reply::html(html));
    app.get("/style.css", |_request, _cx| {
        Reply::bytes("text/css; charset=utf-8", include_bytes!("style.css"))
    });
}

/// Serves a third-party file with its version in `path`, so that browsers may cache it for ever.
#[allow(dead_code, reason = "not every page needs one")]
pub(crate) fn asset<S: 'static>(
    app: &mut Router<S>,
    path: &str,
    content_type: &'static str,
    bytes: &'static [u8],
) {
    app.get(path, move |_request, _cx| {
        Reply::bytes(content_type, bytes).header("Cache-Control", "public, max-age=31536000, immutable")
    });
}

/// Escapes user input for HTML.
#[allow(dead_code, reason = "most pages make their HTML themselves")]
pub(crate) fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('"', "&quot;")
}

/// Serves `app` on 127.0.0.1 until Ctrl-C or SIGTERM; a second signal stops it at once. `PORT` chooses the
/// port, 8080 by default.
///
/// `RUST_LOG` chooses what is logged: `RUST_LOG=warn,sse=info` for streams and events only.
#[allow(dead_code, reason = "some examples have limits of their own")]
pub(crate) fn run(name: &str, app: impl App) -> ExitCode {
    run_with(name, app, Config::default())
}

/// The same as [`run`], with a configuration.
#[allow(dead_code, reason = "some examples run in several loops")]
pub(crate) fn run_with(name: &str, app: impl App, config: Config) -> ExitCode {
    started(name, |address| serve(name, address, app, config))
}

/// The same as [`run_with`], in `count` loops. `listeners` turns the address into a scheme and listeners.
#[allow(dead_code, reason = "most examples run in one loop")]
pub(crate) fn run_shards<H: App + Send>(
    name: &str,
    listeners: impl FnOnce(&str) -> io::Result<(&'static str, Listeners)>,
    count: usize,
    app: impl FnMut(usize) -> H,
    config: Config,
) -> ExitCode {
    started(name, |address| {
        let (scheme, listeners) = listeners(address)?;
        let mut shards = Shards::listen(listeners, count, app, config)?;
        shards.servers().iter_mut().for_each(|server| server.observe(LogObserver));
        announce(name, shards.publisher(), scheme, shards.local_addr()?)?;
        shards.run()
    })
}

/// Calls `serve` with the address that `PORT` chooses. Prints an error on standard error.
#[allow(dead_code, reason = "most examples need no more than the above")]
pub(crate) fn started(name: &str, serve: impl FnOnce(&str) -> io::Result<()>) -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info,sse:message=warn"))
        .init();
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    match serve(&format!("127.0.0.1:{port}")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("{name}: cannot serve on port {port}: {error}");
            ExitCode::FAILURE
        }
    }
}

fn serve(name: &str, address: &str, app: impl App, config: Config) -> io::Result<()> {
    let mut server = Server::bind_with(address, app, config)?;
    server.observe(LogObserver);
    announce(name, server.publisher(), "http", server.local_addr()?)?;
    server.run()
}

/// Prints the address of the example, and arranges a clean shutdown.
#[allow(dead_code, reason = "as for `started`")]
pub(crate) fn announce<S: 'static>(
    name: &str,
    publisher: Publisher<S>,
    scheme: &str,
    address: SocketAddr,
) -> io::Result<()> {
    ctrlc::set_handler(move || {
        // This fails if the server has stopped already.
        let _ = publisher.drain(Drain::within(WINDOW).retry(RETRY));
    })
    .map_err(io::Error::other)?;
    println!("{name}: {scheme}://{address}");
    Ok(())
}
