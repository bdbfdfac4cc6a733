//! Reads that stop before the end of the data: at an urgent byte (TCP), and at a descriptor that was passed
//! (unix sockets).

use crate::support::{DEADLINE, now};
use mio_sse::net::Net;
use mio_sse::{Config, Listeners, Reply, Router, Server};
use socket2::{MsgHdr, SockRef};
use std::io::{ErrorKind, IoSlice, Read, Write};
use std::net::{Shutdown, TcpStream};
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Arc, Mutex};
use std::time::Duration;

const LARGE: usize = 300 << 10;

/// `/page` has a fixed reply; `/echo` returns the posted body.
fn app() -> Router {
    let mut app = Router::new();
    app.get("/page", |_request, _cx| Reply::text("page"));
    app.post("/echo", |request, _cx| Reply::bytes("text/plain", request.body().to_vec()));
    app
}

/// Late requests get 408 only after the test has failed.
fn config() -> Config {
    let mut config = Config::default();
    config.body_bytes_max = LARGE;
    config.head_timeout = 2 * DEADLINE;
    config.body_timeout = 2 * DEADLINE;
    config
}

fn turn<N: Net>(server: &mut Server<Router, N>) {
    server.turn(Some(Duration::from_millis(1))).unwrap();
}

/// Turns until `socket` has received this many responses with the body `page`. Returns all of its input.
fn pages<N: Net>(server: &mut Server<Router, N>, socket: &mut (impl Read + Write), count: usize) -> String {
    let deadline = now() + DEADLINE;
    let mut text = String::new();
    let mut chunk = vec![0; 64 << 10];
    while text.matches("\r\n\r\npage").count() < count {
        assert!(now() < deadline, "more than {text:?}");
        turn(server);
        match socket.read(&mut chunk) {
            Ok(0) => break,
            Ok(read) => text.push_str(std::str::from_utf8(&chunk[..read]).unwrap()),
            Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
        }
    }
    assert_eq!(text.matches("HTTP/1.1 200").count(), count, "{text}");
    text
}

fn turn_until_accepted(server: &mut Server<Router>, count: u64) {
    let deadline = now() + DEADLINE;
    while server.stats().accepted < count {
        assert!(now() < deadline);
        turn(server);
    }
}

fn send_all(socket: &TcpStream, bytes: &[u8]) {
    let mut socket = socket;
    socket.write_all(bytes).unwrap();
}

fn send_urgent(socket: &TcpStream) {
    assert_eq!(SockRef::from(socket).send_out_of_band(b"!").unwrap(), 1);
}

fn connect(server: &Server<Router>) -> TcpStream {
    let socket = TcpStream::connect(server.local_addr().unwrap()).unwrap();
    socket.set_nodelay(true).unwrap();
    socket.set_nonblocking(true).unwrap();
    socket
}

const PAGE: &[u8] = b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n";

/// The urgent byte itself is not part of the request (RFC 6093; recv(2), `MSG_OOB`).
#[test]
fn an_urgent_byte_within_a_head_does_not_hold_it_up() {
    for at in 1..PAGE.len() {
        let mut server = Server::bind_with("127.0.0.1:0", app(), config()).unwrap();
        let mut socket = connect(&server);
        // All of it arrives before the server accepts the connection, or after.
        if at % 2 == 0 {
            turn_until_accepted(&mut server, 1);
        }
        send_all(&socket, &PAGE[..at]);
        send_urgent(&socket);
        send_all(&socket, &PAGE[at..]);
        pages(&mut server, &mut socket, 1);
        // The connection is as good as any other.
        send_all(&socket, PAGE);
        pages(&mut server, &mut socket, 1);
    }
}

#[test]
fn urgent_bytes_among_pipelined_requests_hold_none_up() {
    let mut server = Server::bind_with("127.0.0.1:0", app(), config()).unwrap();
    let mut socket = connect(&server);
    turn_until_accepted(&mut server, 1);
    let requests = PAGE.repeat(3);
    for at in 0..requests.len() {
        send_all(&socket, &requests[..at]);
        send_urgent(&socket);
        send_all(&socket, &requests[at..]);
        pages(&mut server, &mut socket, 3);
    }
    // The next urgent byte arrives before the first is read: then the first is like any other byte, here
    // within the value of a header.
    let [before, after] = ["GET /page HTTP/1.1\r\nHost: x\r\nA: b", "c\r\n\r\n"].map(str::as_bytes);
    for count in 1..10 {
        for _ in 0..count {
            send_all(&socket, before);
            send_urgent(&socket);
            send_all(&socket, after);
        }
        pages(&mut server, &mut socket, count);
    }
}

/// The last byte before the end of the connection is urgent, or the first.
#[test]
fn an_urgent_byte_before_the_end_of_what_a_client_sends_does_not_hide_it() {
    for half_closed in [false, true] {
        for at in [0, 5, PAGE.len()] {
            let mut config = config();
            config.half_closed = half_closed;
            let mut server = Server::bind_with("127.0.0.1:0", app(), config).unwrap();
            let mut socket = connect(&server);
            send_all(&socket, &PAGE[..at]);
            send_urgent(&socket);
            send_all(&socket, &PAGE[at..]);
            socket.shutdown(Shutdown::Write).unwrap();
            pages(&mut server, &mut socket, 1);
            let deadline = now() + DEADLINE;
            while server.stats().connections > 0 {
                assert!(now() < deadline, "{:?}", server.stats());
                turn(&mut server);
            }
        }
    }
}

/// The urgent byte arrives after the poll has reported the bytes before it, and before these are read.
#[test]
fn an_urgent_byte_that_arrives_between_the_poll_and_the_read_does_not_hold_the_request_up() {
    let late = Arc::new(Mutex::new(None::<TcpStream>));
    let for_app = late.clone();
    let mut app = app();
    app.get("/first", move |_request, _cx| {
        if let Some(socket) = for_app.lock().unwrap().take() {
            send_urgent(&socket);
            send_all(&socket, &PAGE[5..]);
        }
        Reply::text("first")
    });
    let mut server = Server::bind_with("127.0.0.1:0", app, config()).unwrap();
    for round in 1..=10 {
        let (first, mut second) = (connect(&server), connect(&server));
        turn_until_accepted(&mut server, 2 * round);
        *late.lock().unwrap() = Some(second.try_clone().unwrap());
        send_all(&first, b"GET /first HTTP/1.1\r\nHost: x\r\n\r\n");
        send_all(&second, &PAGE[..5]);
        pages(&mut server, &mut second, 1);
        assert!(late.lock().unwrap().is_none(), "the other request was served");
    }
}

/// Reads with a full buffer, and marks where each buffer ends.
#[test]
fn an_urgent_byte_anywhere_in_a_large_body_is_passed_over() {
    let body: Vec<u8> = (b'a'..=b'z').cycle().take(LARGE).collect();
    let head = format!("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: {LARGE}\r\n\r\n");
    let request = [head.as_bytes(), &body].concat();
    let read = 64 << 10;
    for at in [head.len() - 1, head.len(), read - 1, read, read + 1, 2 * read, 4 * read, request.len() - 1] {
        let mut server = Server::bind_with("127.0.0.1:0", app(), config()).unwrap();
        let socket = connect(&server);
        socket.set_nonblocking(false).unwrap();
        let client = std::thread::spawn({
            let request = request.clone();
            move || {
                send_all(&socket, &request[..at]);
                send_urgent(&socket);
                send_all(&socket, &request[at..]);
                socket.shutdown(Shutdown::Write).unwrap();
                socket.set_read_timeout(Some(DEADLINE)).unwrap();
                let mut text = Vec::new();
                let mut socket = socket;
                socket.read_to_end(&mut text).unwrap();
                text
            }
        });
        let deadline = now() + DEADLINE;
        while !client.is_finished() && now() < deadline {
            turn(&mut server);
        }
        drop(server);
        let text = client.join().unwrap();
        assert!(text.ends_with(&body), "{at}: {}", String::from_utf8_lossy(&text[..text.len().min(500)]));
    }
}

/// Sends `bytes` together with a descriptor (unix(7), `SCM_RIGHTS`).
fn send_with_descriptor(socket: &UnixStream, bytes: &[u8]) {
    const SOL_SOCKET: i32 = 1;
    const SCM_RIGHTS: i32 = 1;
    let descriptor = socket.as_fd().as_raw_fd();
    let length = size_of::<usize>() + 3 * size_of::<i32>();
    let mut control = length.to_ne_bytes().to_vec();
    for number in [SOL_SOCKET, SCM_RIGHTS, descriptor] {
        control.extend_from_slice(&number.to_ne_bytes());
    }
    control.resize(control.len().next_multiple_of(size_of::<usize>()), 0);
    let bytes = [IoSlice::new(bytes)];
    let message = MsgHdr::new().with_buffers(&bytes).with_control(&control);
    assert_eq!(SockRef::from(socket).sendmsg(&message, 0).unwrap(), bytes[0].len());
}

/// A request in three pieces, two of them with descriptors.
fn send_with_descriptors(socket: &UnixStream, at: usize) {
    send_with_descriptor(socket, &PAGE[..at]);
    send_with_descriptor(socket, &PAGE[at..=at]);
    let mut socket = socket;
    socket.write_all(&PAGE[at + 1..]).unwrap();
}

#[test]
fn descriptors_that_are_passed_within_a_request_do_not_hold_it_up() {
    let path = std::env::temp_dir().join(format!("mio-sse-{}-descriptors", std::process::id()));
    let mut server = Server::bind_unix_with(&path, app(), config()).unwrap();
    for at in 1..PAGE.len() {
        let mut socket = UnixStream::connect(&path).unwrap();
        socket.set_nonblocking(true).unwrap();
        if at % 2 == 0 {
            turn_until_accepted(&mut server, at as u64);
        }
        send_with_descriptors(&socket, at);
        pages(&mut server, &mut socket, 1);
    }
}

/// Input of one stops at descriptors, input of the other at urgent bytes.
#[test]
fn marks_hold_nothing_up_where_a_server_listens_on_both_kinds_of_sockets() {
    let path = std::env::temp_dir().join(format!("mio-sse-{}-both", std::process::id()));
    let listeners = Listeners::new().tcp("127.0.0.1:0").unix(&path);
    let mut server = Server::listen(listeners, app(), config()).unwrap();
    for at in 1..PAGE.len() {
        let mut unix = UnixStream::connect(&path).unwrap();
        unix.set_nonblocking(true).unwrap();
        let mut tcp = connect(&server);
        if at % 2 == 0 {
            turn_until_accepted(&mut server, 2 * at as u64);
        }
        send_with_descriptors(&unix, at);
        send_all(&tcp, &PAGE[..at]);
        send_urgent(&tcp);
        send_all(&tcp, &PAGE[at..]);
        pages(&mut server, &mut unix, 1);
        pages(&mut server, &mut tcp, 1);
    }
}

/// A server that listens on TCP may adopt a unix socket.
#[test]
fn descriptors_that_are_passed_over_an_adopted_socket_hold_nothing_up() {
    let mut server = Server::bind_with("127.0.0.1:0", app(), config()).unwrap();
    for at in 1..PAGE.len() {
        let (mut socket, adopted) = UnixStream::pair().unwrap();
        socket.set_nonblocking(true).unwrap();
        let adopted = TcpStream::from(std::os::fd::OwnedFd::from(adopted));
        server.adopt(adopted, Vec::new()).unwrap();
        if at % 2 == 0 {
            turn(&mut server);
        }
        send_with_descriptors(&socket, at);
        pages(&mut server, &mut socket, 1);
    }
}
