//! A page that ticks: `cargo run --release --example time_ticker`, then open the address it prints.
//!
//! - `/sse/time`: the time, at once and each second, to this stream alone; the server ends it after ten seconds.
//! - `/sse/clock`: one topic, published ten times a second to everybody, without end.
//!
//! `PORT` in the environment chooses the port, `RUST_LOG` what is logged.

use mio_sse::{Event, Reply, Router, Server};
use std::io;
use std::process::ExitCode;
use std::time::Duration;

fn app() -> Router {
    let mut app = Router::new();

    app.get("/", |_request, _cx| Reply::html(include_str!("time_ticker.html")));

    app.sse("/sse/time", |stream, _request, cx| {
        log::info!("/sse/time: {stream} opened");
        cx.on_close(stream, move |reason, _cx| log::info!("/sse/time: {stream} {reason}"))?;
        cx.send(stream, time())?;
        // Timers of a stream end with it: there is nothing to clean up.
        cx.every(stream, Duration::from_secs(1), |stream, cx| cx.send(stream, time()))?;
        cx.after(stream, Duration::from_secs(10), |stream, cx| cx.close(stream))
    });

    app.get("/sse/clock", |_request, _cx| Reply::stream().topic("clock"));
    app.on_start(|cx| {
        cx.every_global(Duration::from_millis(100), |cx| cx.publish("clock", clock()));
    });

    app
}

fn time() -> Event {
    Event::data(jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).event("time")
}

fn clock() -> Event {
    Event::data(jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()).event("clock")
}

fn serve(port: &str) -> io::Result<()> {
    let mut server = Server::bind(format!("127.0.0.1:{port}"), app())?;
    println!("time_ticker: http://{}", server.local_addr()?);
    server.run()
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    match serve(&port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("time_ticker: cannot serve on port {port}: {error}");
            ExitCode::FAILURE
        }
    }
}
