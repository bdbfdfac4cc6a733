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

use mio_sse::{Config, Drain, Event, Listeners, LogObserver, Reply, Router, Server, TlsConfig};
use std::error::Error;
use std::process::ExitCode;
use std::time::Duration;

const PAGE: &str = "<!DOCTYPE html><meta charset=utf-8><title>TLS</title>\
    <body style=\"font: 3rem monospace; text-align: center; margin-top: 4rem\"><p id=clock>…</p>\
    <script>new EventSource('/clock').onmessage = event => clock.textContent = event.data</script>";

fn app() -> Router {
    let mut app = Router::new();
    app.get("/", |_request, _cx| Reply::html(PAGE));
    app.get("/clock", |_request, _cx| Reply::stream().topic("clock"));
    app.on_start(|cx| {
        cx.every_global(Duration::from_secs(1), |cx| {
            let now = jiff::Timestamp::now().strftime("%H:%M:%SZ").to_string();
            cx.publish("clock", Event::new().data(now))
        });
    });
    app
}

/// Sends everybody to the same place of `https://HOST:port`.
fn redirect(port: u16) -> Router {
    let mut app = Router::new();
    app.get("/{*path}", move |request, _cx| elsewhere(request.header("Host"), request.target(), port));
    app.get("/", move |request, _cx| elsewhere(request.header("Host"), request.target(), port));
    app
}

fn elsewhere(host: Option<&str>, target: &str, port: u16) -> Reply {
    let host = host.unwrap_or("localhost");
    // What a name may consist of, and nothing behind a colon but a port. An address of IPv6 has brackets.
    let name =
        host.rsplit_once(':').map_or(host, |(name, port)| if port.contains(']') { host } else { name });
    Reply::empty(308).header("Location", &format!("https://{name}:{port}{target}"))
}

/// The certificate: from files, or one that is made now.
fn certificate() -> Result<TlsConfig, Box<dyn Error>> {
    if let (Ok(certificates), Ok(key)) = (std::env::var("CERTIFICATES"), std::env::var("KEY")) {
        return Ok(TlsConfig::from_pem_files(certificates, key)?);
    }
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
            match certificate() {
                Ok(new) => tls.reload(&new),
                Err(error) => log::error!("the certificate stays as it is: {error}"),
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
    let tls = certificate()?;
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
