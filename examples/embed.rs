//! A program with an event loop of its own that contains the server: datagrams become events.
//!
//! ```text
//! cargo run --release --example embed
//! curl -N http://127.0.0.1:8080/datagrams
//! echo 'kitchen 21.5' > /dev/udp/127.0.0.1/9000        # bash
//! ```
//!
//! There is one thread, and one call that waits. `run` shows what the server needs from the outer loop: its
//! descriptor, which becomes readable when there is work, and its next deadline. `PORT` and `UDP_PORT` in the
//! environment choose the ports.

use mio::net::UdpSocket;
use mio::{Events, Interest, Poll, Token};
use mio_sse::{Event, Reply, Router, Server};
use std::error::Error;
use std::io::{self, ErrorKind};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

const DATAGRAMS: Token = Token(1);

/// Most datagrams that are read before the streams have a turn.
const DATAGRAMS_PER_TURN: usize = 256;

fn app() -> Router {
    let mut app = Router::new();
    app.get("/datagrams", |_request, _cx| Reply::stream().topic("datagrams"));
    app.get("/", |_request, _cx| Reply::text("GET /datagrams\n"));
    app
}

fn run(port: &str, udp_port: &str) -> Result<(), Box<dyn Error>> {
    let mut server = Server::bind(format!("127.0.0.1:{port}"), app())?;
    let mut socket = UdpSocket::bind(format!("127.0.0.1:{udp_port}").parse::<SocketAddr>()?)?;

    let mut poll = Poll::new()?;
    let at_most = watch(&poll, &server)?;
    poll.registry().register(&mut socket, DATAGRAMS, Interest::READABLE)?;

    // Ctrl-C and SIGTERM: a publisher wakes the server, and that wakes the outer loop.
    let publisher = server.publisher();
    ctrlc::set_handler(move || drop(publisher.drain(Duration::from_secs(2))))?;

    println!("embed: http://{} and udp://{}", server.local_addr()?, socket.local_addr()?);
    let mut events = Events::with_capacity(64);
    let mut unread = false;
    while !server.is_stopped() {
        // Work left over from this turn must not wait. The server reports its own with a deadline of zero.
        let timeout = if unread { Duration::ZERO } else { server.next_timeout().unwrap_or(at_most) };
        match poll.poll(&mut events, Some(timeout.min(at_most))) {
            Err(error) if error.kind() == ErrorKind::Interrupted => continue,
            result => result?,
        }
        unread |= events.iter().any(|event| event.token() == DATAGRAMS);
        if unread {
            unread = read_datagrams(&socket, &mut server)?;
        }
        // This is called after a timeout as well, for heartbeats and timers. It does not wait.
        server.turn(Some(Duration::ZERO))?;
    }
    Ok(())
}

/// Wakes the outer loop when the server has work. Returns how long the outer loop may sleep at most.
#[cfg(unix)]
fn watch(poll: &Poll, server: &Server<Router>) -> io::Result<Duration> {
    const SERVER: Token = Token(0);
    let descriptor = std::os::fd::AsRawFd::as_raw_fd(server);
    poll.registry().register(&mut mio::unix::SourceFd(&descriptor), SERVER, Interest::READABLE)?;
    Ok(Duration::from_secs(3600))
}

/// On Windows there is no descriptor to wait for, so the outer loop wakes every few milliseconds.
#[cfg(not(unix))]
fn watch(_poll: &Poll, _server: &Server<Router>) -> io::Result<Duration> {
    Ok(Duration::from_millis(10))
}

/// Publishes the datagrams that have arrived. Returns whether there may be more, as mio reports them only
/// once.
fn read_datagrams(socket: &UdpSocket, server: &mut Server<Router>) -> Result<bool, Box<dyn Error>> {
    let mut buffer = [0; 2048];
    for _ in 0..DATAGRAMS_PER_TURN {
        match socket.recv(&mut buffer) {
            Ok(length) => {
                let text = String::from_utf8_lossy(buffer[..length].trim_ascii_end()).into_owned();
                server.context().publish("datagrams", Event::new().data(text))?;
            }
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(false),
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(error) => return Err(error.into()),
        }
    }
    Ok(true)
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let port = |name: &str, default: &str| std::env::var(name).unwrap_or_else(|_| default.to_owned());
    match run(&port("PORT", "8080"), &port("UDP_PORT", "9000")) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("embed: cannot serve on port {}: {error}", port("PORT", "8080"));
            ExitCode::FAILURE
        }
    }
}
