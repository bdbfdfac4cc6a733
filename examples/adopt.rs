//! A plain HTTP server with a thread for each request that hands its event streams over, so that a thousand
//! of them need no thousand threads.
//!
//! ```text
//! cargo run --release --example adopt
//! curl http://127.0.0.1:8080/
//! curl -N http://127.0.0.1:8080/events
//! ```
//!
//! The plain server stands for the one that you have. It needs to pass only the connection and the bytes that
//! it has read from it. A server that keeps only a parsed request writes it as bytes again with
//! `mio_sse::RawRequest`. `PORT` in the environment chooses the port.

use mio_sse::{Config, Event, LogObserver, Publisher, Reply, Router, Server};
use std::error::Error;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::ExitCode;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

/// The longest head that is read.
const HEAD_BYTES_MAX: usize = 16 << 10;

/// How long a client may take to send its request.
const PATIENCE: Duration = Duration::from_secs(10);

/// Requests that the plain server has received.
static VISITS: AtomicU64 = AtomicU64::new(0);

/// Serves the event streams. Their requests arrive as if the connections had been accepted here.
fn streams() -> Router {
    let mut app = Router::new();
    app.get("/events", |_request, _cx| Reply::stream().topic("visits"));
    app
}

/// Reads one request and replies to it.
fn serve(mut socket: TcpStream, publisher: &Publisher) -> Result<(), Box<dyn Error>> {
    socket.set_read_timeout(Some(PATIENCE))?;
    let mut input = Vec::new();
    while !input.windows(4).any(|end| end == b"\r\n\r\n") {
        let mut buffer = [0; 1024];
        let count = socket.read(&mut buffer)?;
        input.extend_from_slice(&buffer[..count]);
        if count == 0 || input.len() > HEAD_BYTES_MAX {
            return Err("no request".into());
        }
    }
    let visits = VISITS.fetch_add(1, Ordering::Relaxed) + 1;
    publisher.publish("visits", Event::new().data(visits.to_string()))?;
    if input.starts_with(b"GET /events ") {
        // Hands the connection over, with all bytes that have been read.
        return Ok(publisher.adopt(socket, input)?);
    }
    let page = format!("Visits so far: {visits}. Follow them at /events\n");
    let length = page.len();
    write!(socket, "HTTP/1.1 200 OK\r\nContent-Length: {length}\r\nConnection: close\r\n\r\n{page}")?;
    Ok(())
}

/// The plain server: a thread for each connection.
fn accept_all(listener: &TcpListener, publisher: &Publisher) {
    for socket in listener.incoming() {
        let publisher = publisher.clone();
        let served = socket.and_then(|socket| {
            // `thread::spawn` would panic if no more threads can be started.
            thread::Builder::new().spawn(move || {
                serve(socket, &publisher).unwrap_or_else(|error| log::debug!("not served: {error}"));
            })
        });
        if let Err(error) = served {
            log::warn!("cannot serve: {error}");
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn run(port: &str) -> Result<(), Box<dyn Error>> {
    // This server has no listener.
    let mut server = Server::without_listener(streams(), Config::default())?;
    server.observe(LogObserver);

    let listener = TcpListener::bind(format!("127.0.0.1:{port}"))?;
    println!("adopt: http://{}", listener.local_addr()?);
    let publisher = server.publisher();
    thread::spawn(move || accept_all(&listener, &publisher));

    let publisher = server.publisher();
    ctrlc::set_handler(move || drop(publisher.drain(Duration::from_secs(2))))?;
    Ok(server.run()?)
}

fn main() -> ExitCode {
    env_logger::Builder::from_env(env_logger::Env::default().default_filter_or("info")).init();
    let port = std::env::var("PORT").unwrap_or_else(|_| "8080".to_owned());
    match run(&port) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("adopt: cannot serve on port {port}: {error}");
            ExitCode::FAILURE
        }
    }
}
