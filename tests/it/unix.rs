//! Unix sockets: the same server, and a file that exists as long as it listens.

use crate::support::{DEADLINE, now, replies, secs};
use mio_sse::{CloseReason, Config, Drain, Event, Reply, Router, Server};
use std::fs;
use std::io::{ErrorKind, Read, Write};
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

/// A directory for one test, removed with it.
pub(crate) struct Directory(PathBuf);

impl Directory {
    pub(crate) fn new() -> Self {
        static COUNT: AtomicUsize = AtomicUsize::new(0);
        let number = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("mio-sse-{}-{number}", std::process::id());
        // Short, as the path of a socket has to be.
        let path = std::env::temp_dir().join(name);
        fs::create_dir_all(&path).unwrap();
        Self(path)
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.0.join("s")
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn app() -> Router {
    let mut app = Router::new();
    app.get("/page", |_request, _cx| Reply::text("page"));
    app.get("/events", |_request, _cx| Reply::stream().topic("t"));
    app
}

fn connect(path: &Path) -> UnixStream {
    let socket = UnixStream::connect(path).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

fn turn(server: &mut Server<Router>) {
    server.turn(Some(Duration::from_millis(1))).unwrap();
}

/// Turns the loop until the input of `socket` `is_enough`, or the connection ends.
fn read_until(
    server: &mut Server<Router>,
    socket: &mut UnixStream,
    is_enough: impl Fn(&str) -> bool,
) -> String {
    let deadline = now() + DEADLINE;
    let mut text = Vec::new();
    let mut chunk = vec![0; 64 << 10];
    loop {
        match socket.read(&mut chunk) {
            Ok(0) => return String::from_utf8(text).unwrap(),
            Ok(count) => text.extend_from_slice(&chunk[..count]),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
        let so_far = std::str::from_utf8(&text).unwrap();
        if is_enough(so_far) {
            return so_far.to_owned();
        }
        assert!(now() < deadline, "more than {so_far:?}");
        turn(server);
    }
}

fn turn_until(server: &mut Server<Router>, condition: impl Fn(&mut Server<Router>) -> bool) {
    let deadline = now() + DEADLINE;
    while !condition(server) {
        assert!(now() < deadline, "{:?}", server.stats());
        turn(server);
    }
}

fn page(server: &mut Server<Router>, path: &Path) -> String {
    let mut socket = connect(path);
    socket.write_all(b"GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let text = read_until(server, &mut socket, |_| false);
    replies(&text).remove(0).1
}

fn is_there(path: &Path) -> bool {
    fs::symlink_metadata(path).is_ok()
}

#[test]
fn pages_and_streams_come_over_a_unix_socket_and_its_file_goes_with_the_server() {
    let directory = Directory::new();
    let path = directory.socket();
    let mut config = Config::default();
    // There are no addresses to count, and only the options that a unix socket has.
    config.connections_per_address_max = Some(1);
    config.send_buffer_bytes = Some(8 << 10);
    let mut server = Server::bind_unix_with(&path, app(), config).unwrap();
    let mut stream = connect(&path);
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    read_until(&mut server, &mut stream, |text| text.contains("\r\n\r\n"));
    assert_eq!(page(&mut server, &path), "page");
    server.context().publish("t", Event::new().data("to all")).unwrap();
    let text = read_until(&mut server, &mut stream, |text| text.contains("data: to all\n\n"));
    assert!(!text.contains("HTTP/1.1"), "{text}");
    // A stream that lags on a unix socket catches up when it is read again.
    let big = "x".repeat(100 << 10);
    server.context().publish("t", Event::new().data(big.clone())).unwrap();
    turn_until(&mut server, |server| server.stats().streams_behind == 1);
    let text =
        read_until(&mut server, &mut stream, |text| text.contains("data: ") && text.ends_with("\n\n\r\n"));
    assert_eq!(text.matches(&big).count(), 1);
    drop(stream);
    turn_until(&mut server, |server| server.stats().connections == 0);
    assert!(server.stats().connections_closed(CloseReason::PeerClosed) > 0);
    assert!(is_there(&path));
    drop(server);
    assert!(!is_there(&path));
}

#[test]
fn there_is_no_address() {
    let directory = Directory::new();
    let server = Server::bind_unix(directory.socket(), app()).unwrap();
    let error = server.local_addr().unwrap_err();
    assert_eq!(error.kind(), ErrorKind::Unsupported);
    assert_eq!(error.to_string(), "the server does not listen on TCP");
}

#[test]
fn a_socket_file_of_a_killed_server_is_replaced() {
    let directory = Directory::new();
    let path = directory.socket();
    // A listener of std leaves its file, like a killed server.
    drop(UnixListener::bind(&path).unwrap());
    assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    let mut server = Server::bind_unix(&path, app()).unwrap();
    assert_eq!(page(&mut server, &path), "page");
    drop(server);
    assert!(!is_there(&path));
}

#[test]
fn a_running_server_keeps_its_socket_file() {
    let directory = Directory::new();
    let path = directory.socket();
    let mut first = Server::bind_unix(&path, app()).unwrap();
    let error = Server::bind_unix(&path, app()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert_eq!(page(&mut first, &path), "page");
    drop(first);
    // A socket of another type is alive as well.
    let datagrams = UnixDatagram::bind(&path).unwrap();
    assert_eq!(Server::bind_unix(&path, app()).unwrap_err().kind(), ErrorKind::AddrInUse);
    drop(datagrams);
    drop(Server::bind_unix(&path, app()).unwrap());
}

#[test]
fn a_full_backlog_is_not_mistaken_for_a_dead_server() {
    let directory = Directory::new();
    let path = directory.socket();
    let mut config = Config::default();
    config.backlog = 1;
    let server = Server::bind_unix_with(&path, app(), config).unwrap();
    let mut waiting = Vec::new();
    loop {
        let socket = socket2::Socket::new(socket2::Domain::UNIX, socket2::Type::STREAM, None).unwrap();
        socket.set_nonblocking(true).unwrap();
        match socket.connect(&socket2::SockAddr::unix(&path).unwrap()) {
            Ok(()) => waiting.push(socket),
            Err(error) => break assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    assert!(!waiting.is_empty());
    assert_eq!(Server::bind_unix(&path, app()).unwrap_err().kind(), ErrorKind::AddrInUse);
    drop(server);
}

#[test]
fn a_file_that_is_not_a_socket_stays() {
    let directory = Directory::new();
    let path = directory.socket();
    fs::write(&path, "precious").unwrap();
    let error = Server::bind_unix(&path, app()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AlreadyExists);
    assert_eq!(fs::read(&path).unwrap(), b"precious");
    // The target of a link is not touched either, whatever it is.
    let (link, stale) = (directory.0.join("l"), directory.0.join("t"));
    drop(UnixListener::bind(&stale).unwrap());
    std::os::unix::fs::symlink(&stale, &link).unwrap();
    assert_eq!(Server::bind_unix(&link, app()).unwrap_err().kind(), ErrorKind::AlreadyExists);
    assert!(is_there(&link) && is_there(&stale));
}

#[test]
fn paths_that_cannot_be_are_errors() {
    let directory = Directory::new();
    let (long, cut) = (directory.0.join("x".repeat(200)), directory.0.join("a\0b"));
    for path in [Path::new(""), Path::new("\0abstract"), &cut, &long] {
        assert_eq!(Server::bind_unix(path, app()).unwrap_err().kind(), ErrorKind::InvalidInput, "{path:?}");
    }
    assert_eq!(fs::read_dir(&directory.0).unwrap().count(), 0, "nor is a part of the path taken for it");
    let missing = directory.0.join("missing").join("s");
    assert_eq!(Server::bind_unix(missing, app()).unwrap_err().kind(), ErrorKind::NotFound);
    let mut config = Config::default();
    config.backlog = 0;
    let path = directory.socket();
    assert_eq!(Server::bind_unix_with(&path, app(), config).unwrap_err().kind(), ErrorKind::InvalidInput);
    assert!(!is_there(&path), "nothing is made for limits that make no sense");
}

#[test]
fn the_socket_file_is_removed_as_soon_as_listening_ends() {
    let directory = Directory::new();
    let path = directory.socket();
    let mut server = Server::bind_unix(&path, app()).unwrap();
    turn(&mut server);
    let mut stream = connect(&path);
    stream.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    turn_until(&mut server, |server| server.stats().streams == 1);
    server.context().drain(Drain::within(secs(600))).unwrap();
    turn(&mut server);
    assert!(!server.is_stopped(), "the client has not closed its side");
    assert!(!is_there(&path));
    // Another server may start while this one still drains, and keeps its file when this one is done.
    let mut next = Server::bind_unix(&path, app()).unwrap();
    drop(stream);
    turn_until(&mut server, |server| server.is_stopped());
    drop(server);
    assert_eq!(page(&mut next, &path), "page");
    // A stopped server no longer listens, though it still exists.
    next.context().stop();
    turn(&mut next);
    assert!(next.is_stopped() && !is_there(&path));
}

#[test]
fn the_file_of_another_server_stays() {
    let directory = Directory::new();
    let path = directory.socket();
    let first = Server::bind_unix(&path, app()).unwrap();
    // Another program removes the file by force.
    fs::remove_file(&path).unwrap();
    let mut second = Server::bind_unix(&path, app()).unwrap();
    drop(first);
    assert_eq!(page(&mut second, &path), "page");
    fs::remove_file(&path).unwrap();
    fs::write(&path, "precious").unwrap();
    drop(second);
    assert_eq!(fs::read(&path).unwrap(), b"precious");
}

#[test]
fn the_file_goes_also_when_the_handler_has_panicked() {
    let directory = Directory::new();
    let path = directory.socket();
    let moved = path.clone();
    let thread = std::thread::spawn(move || {
        let _server = Server::bind_unix(moved, app()).unwrap();
        panic!("planned");
    });
    assert!(thread.join().is_err());
    assert!(!is_there(&path));
}

#[test]
fn a_listener_that_was_made_elsewhere_keeps_its_file() {
    let directory = Directory::new();
    let path = directory.socket();
    let listener = UnixListener::bind(&path).unwrap();
    let mut server = Server::from_unix_listener(listener, app(), Config::default()).unwrap();
    assert_eq!(page(&mut server, &path), "page");
    server.context().drain(secs(1)).unwrap();
    turn_until(&mut server, |server| server.is_stopped());
    // No descriptor holds it open, not even those in reserve.
    assert_eq!(UnixStream::connect(&path).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    drop(server);
    assert!(is_there(&path));
}

#[test]
fn a_connection_over_a_unix_socket_can_be_handed_over() {
    let mut server = Server::bind("127.0.0.1:0", app()).unwrap();
    let (mut client, socket) = UnixStream::pair().unwrap();
    client.set_nonblocking(true).unwrap();
    let socket = std::net::TcpStream::from(std::os::fd::OwnedFd::from(socket));
    server.adopt(socket, "GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    assert_eq!(replies(&read_until(&mut server, &mut client, |_| false)), [(200, "page".to_owned())]);
}
