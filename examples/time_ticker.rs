//! A page that ticks: `cargo run --release --example time_ticker`, then open the address it prints.
//!
//! - `/sse/time`: the time, at once and each second, for this stream alone. The server closes it after ten
//!   seconds.
//! - `/sse/clock`: one topic for all streams, ten events a second, without end.
//!
//! `PORT` in the environment chooses the port, `RUST_LOG` what is logged.

use mio_sse::{Event, LogObserver, Reply, Router, Server};
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

fn app() -> Router {
    let mut app = Router::new();

    app.get("/", |_request, _cx| Reply::html(include_str!("time_ticker.html")));

    app.sse("/sse/time", |stream, _request, cx| {
        cx.send(stream, time())?;
        // Called once, whichever side closes the stream.
        cx.on_close(stream, move |reason, _cx| log::info!("/sse/time: {stream} has ended: {reason}"))?;
        // The timers of a stream end with it.
        cx.every(stream, Duration::from_secs(1), |stream, cx| cx.send(stream, time()))?;
        cx.after(stream, Duration::from_secs(10), |stream, cx| cx.close(stream))
    });

    app.get("/sse/clock", |_request, _cx| Reply::stream().topic("clock"));
    app.on_start(|cx| {
        cx.every_global(Duration::from_millis(100), |cx| cx.publish("clock", clock()));
    });

    app
}

fn time() -> Event<'static> {
    Event::new().data(jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%SZ").to_string()).event("time")
}

fn clock() -> Event<'static> {
    Event::new().data(jiff::Timestamp::now().strftime("%Y-%m-%dT%H:%M:%S%.3fZ").to_string()).event("clock")
}

fn serve(port: &str) -> Result<(), Box<dyn Error>> {
    let mut server = Server::bind(format!("127.0.0.1:{port}"), app())?;
    server.observe(LogObserver);

    // Ctrl-C and SIGTERM close every stream within two seconds. A second signal closes them at once.
    let publisher = server.publisher();
    ctrlc::set_handler(move || drop(publisher.drain(Duration::from_secs(2))))?;

    println!("time_ticker: http://{}", server.local_addr()?);
    Ok(server.run()?)
}

fn main() -> ExitCode {
    // Logs everything but the ten events a second.
    let log = env_logger::Env::default().default_filter_or("info,sse:message=warn");
    env_logger::Builder::from_env(log).init();

    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    match serve(&port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("time_ticker: cannot serve on port {port}: {error}");
            ExitCode::FAILURE
        }
    }
}
