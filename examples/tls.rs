//! A page that ticks, over TLS: `cargo run --release --features tls --example tls`, then open the address it
//! prints.
//!
//! ```text
//! curl --insecure --no-buffer https://localhost:8443/clock
//! CERTIFICATES=fullchain.pem KEY=privkey.pem cargo run --release --features tls --example tls
//! pkill -HUP tls                          # it reads both files again; streams that are open stay open
//! ```
//!
//! Without files it makes a certificate for `localhost` that nobody has issued, so browsers warn. Who comes
//! to the port of plain HTTP (`HTTP_PORT`, 8080) is sent to that of TLS (`PORT`, 8443). `RUST_LOG` chooses
//! what is logged.

use mio_sse::{
    Config, Drain, Event, Listeners, LogObserver, Reply, Router, Server, TlsConfig, TlsConfigError,
};
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

const PAGE: &str = "<!DOCTYPE html><html lang=en><meta charset=utf-8><title>TLS</title>\
    <meta name=viewport content=\"width=device-width\"><meta name=color-scheme content=\"light dark\">\
    <link rel=icon href=\"data:,\">\
    <body style=\"font: 3rem monospace; text-align: center; margin-top: 4rem\"><p id=clock>…</p>\
    <script>new EventSource('/clock').onmessage = event => clock.textContent = event.data</script>";

fn app() -> Router {
    let mut app = Router::new();
    app.get("/", |_request, _cx| Reply::html(PAGE));
    app.sse("/clock", |stream, _request, cx| {
        // What comes next is up to a second away.
        cx.send(stream, now())?;
        cx.subscribe(stream, "clock")
    });
    app.on_start(|cx| {
        cx.every_global(Duration::from_secs(1), |cx| cx.publish("clock", now()));
    });
    app
}

fn now() -> Event<'static> {
    Event::new().data(jiff::Timestamp::now().strftime("%H:%M:%SZ").to_string())
}

/// Sends everybody to the same place of `https://HOST:port`, whatever the method: 308 keeps it.
fn redirect(port: u16) -> Router {
    let mut app = Router::new();
    app.before(move |request, _cx| Some(elsewhere(request.header("Host"), request.target(), port)));
    app
}

fn elsewhere(host: Option<&str>, target: &str, port: u16) -> Reply {
    let host = host.unwrap_or("localhost");
    // What a name may consist of, and nothing behind a colon but a port. An address of IPv6 has brackets.
    let name =
        host.rsplit_once(':').map_or(host, |(name, port)| if port.contains(']') { host } else { name });
    // A target may also be `*` or, for a proxy, a whole URL.
    let target = if target.starts_with('/') { target } else { "/" };
    Reply::empty(308).header("Location", &format!("https://{name}:{port}{target}"))
}

/// The certificate in the files that the environment names, if it does.
fn certificate_in_files() -> Option<Result<TlsConfig, TlsConfigError>> {
    let (Ok(certificates), Ok(key)) = (std::env::var("CERTIFICATES"), std::env::var("KEY")) else {
        return None;
    };
    Some(TlsConfig::from_pem_files(certificates, key))
}

/// One for `localhost`.
fn new_certificate() -> Result<TlsConfig, Box<dyn Error>> {
    let made = rcgen::generate_simple_self_signed(["localhost".to_owned(), "127.0.0.1".to_owned()])?;
    Ok(TlsConfig::from_pem(made.cert.pem().as_bytes(), made.signing_key.serialize_pem().as_bytes())?)
}

/// Has a signal to end the program call `end`, and SIGHUP read the certificate again.
#[cfg(unix)]
fn on_signals(end: impl Fn() + Send + 'static, tls: TlsConfig) -> Result<(), Box<dyn Error>> {
    use signal_hook::consts::{SIGHUP, SIGINT, SIGTERM};
    let mut signals = signal_hook::iterator::Signals::new([SIGHUP, SIGINT, SIGTERM])?;
    std::thread::spawn(move || {
        for signal in &mut signals {
            if signal != SIGHUP {
                end();
                continue;
            }
            match certificate_in_files() {
                Some(Ok(new)) => tls.reload(&new),
                Some(Err(error)) => log::error!("the certificate stays as it is: {error}"),
                None => log::info!("there are no files to read again"),
            }
        }
    });
    Ok(())
}

/// Has Ctrl-C call `end`. There is no signal with which to say that the certificate is a new one.
#[cfg(not(unix))]
fn on_signals(end: impl Fn() + Send + 'static, _tls: TlsConfig) -> Result<(), Box<dyn Error>> {
    Ok(ctrlc::set_handler(end)?)
}

fn port(name: &str, default: u16) -> Result<u16, Box<dyn Error>> {
    let Ok(text) = std::env::var(name) else { return Ok(default) };
    Ok(text.parse().map_err(|_| format!("{name} is a port, not {text:?}"))?)
}

fn serve() -> Result<(), Box<dyn Error>> {
    let tls = match certificate_in_files() {
        Some(read) => read?,
        None => new_certificate()?,
    };
    let listeners = Listeners::new().tls(("127.0.0.1", port("PORT", 8443)?), &tls);
    let mut server = Server::listen(listeners, app(), Config::default())?;
    server.observe(LogObserver);
    let secure = server.local_addr()?;

    let mut plain = Server::bind(("127.0.0.1", port("HTTP_PORT", 8080)?), redirect(secure.port()))?;
    let plain_address = plain.local_addr()?;
    let stops_plain = plain.publisher();
    std::thread::spawn(move || plain.run());

    // Ctrl-C and SIGTERM: every stream is ended cleanly within two seconds.
    let publisher = server.publisher();
    let end = move || {
        let _ = publisher.drain(Drain::within(Duration::from_secs(2)));
        let _ = stops_plain.run(|cx| cx.stop());
    };
    on_signals(end, tls)?;

    println!("tls: https://{secure}, and http://{plain_address} leads there");
    Ok(server.run()?)
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info,sse:message=warn"))
        .init();
    match serve() {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("tls: {error}");
            ExitCode::FAILURE
        }
    }
}
