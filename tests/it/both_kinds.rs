//! One server on TCP and on unix sockets.

use crate::support::{DEADLINE, run, wait_until};
use crate::unix::Directory;
use mio_sse::{Config, Listeners, Reply, Router, Server, Shards};
use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::{UnixListener, UnixStream};
use std::thread;

const TCP: &str = "127.0.0.1:0";

fn app() -> Router {
    let mut app = Router::new();
    app.get("/page", |_request, _cx| Reply::text("page"));
    app.get("/events", |_request, _cx| Reply::stream().topic("t"));
    app
}

fn page_over_unix(path: &std::path::Path) -> String {
    let mut socket = UnixStream::connect(path).unwrap();
    socket.set_read_timeout(Some(DEADLINE)).unwrap();
    socket.write_all(b"GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
    let mut text = String::new();
    socket.read_to_string(&mut text).unwrap();
    text.split_once("\r\n\r\n").unwrap().1.to_owned()
}

#[test]
fn both_kinds_of_sockets_are_one_server() {
    let directory = Directory::new();
    let path = directory.socket();
    let inherited = directory.socket().with_extension("inherited");
    let listeners =
        Listeners::new().unix(&path).tcp(TCP).unix_listener(UnixListener::bind(&inherited).unwrap());
    let server = Server::listen(listeners, app(), Config::default()).unwrap();
    assert_eq!(server.local_addrs(), [server.local_addr().unwrap()], "the first of TCP");
    let server = run(server);
    assert_eq!(server.connect().get_text("/page"), "page");
    assert_eq!(page_over_unix(&path), "page");
    assert_eq!(page_over_unix(&inherited), "page");
    assert_eq!(server.stats().accepted, 3);
    // Events reach clients of every kind.
    let mut streams = [UnixStream::connect(&path).unwrap(), UnixStream::connect(&inherited).unwrap()];
    for stream in &mut streams {
        stream.set_read_timeout(Some(DEADLINE)).unwrap();
        stream.write_all(b"GET /events HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    }
    let mut client = server.connect();
    assert_eq!(client.get("/events").status, 200);
    server.wait_for("three streams", |stats| stats.streams == 3);
    server.publisher.publish("t", mio_sse::Event::new().data("to all")).unwrap();
    assert_eq!(client.data(1), ["to all"]);
    for stream in &mut streams {
        let mut text = String::new();
        while !text.contains("data: to all\n\n") {
            let mut chunk = [0; 1024];
            let count = stream.read(&mut chunk).unwrap();
            assert!(count > 0, "{text:?}");
            text.push_str(std::str::from_utf8(&chunk[..count]).unwrap());
        }
    }
    // It removes its own file, and leaves those of others.
    let address = server.address;
    server.stop();
    assert_eq!(TcpStream::connect(address).unwrap_err().kind(), ErrorKind::ConnectionRefused);
    assert!(!path.exists() && inherited.exists());
    assert_eq!(UnixStream::connect(&inherited).unwrap_err().kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn if_one_cannot_be_had_nothing_is_left_of_the_others() {
    let directory = Directory::new();
    let path = directory.socket();
    let taken = TcpListener::bind(TCP).unwrap();
    let listeners = Listeners::new().unix(&path).tcp(taken.local_addr().unwrap());
    let error = Server::listen(listeners, app(), Config::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrInUse);
    assert!(!path.exists());
    // An invalid name is an error then, too, before anything after it is opened.
    let listeners = Listeners::new().tcp("no port").unix(&path);
    let error = Server::listen(listeners, app(), Config::default()).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    // Nothing is opened for invalid limits.
    let mut config = Config::default();
    config.connections_max = 0;
    let error = Server::listen(Listeners::new().unix(&path), app(), config).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::InvalidInput);
    assert!(!path.exists());
}

#[test]
fn a_unix_socket_is_for_all_loops() {
    let directory = Directory::new();
    let path = directory.socket();
    let mut shards = Shards::listen(Listeners::new().unix(&path), 2, |_| app(), Config::default()).unwrap();
    let publisher = shards.publisher();
    let running = thread::spawn(move || shards.run());
    let subscribers = || publisher.ask_all(|cx| cx.subscribers("t")).unwrap();
    let mut clients = Vec::new();
    for _ in 0..6 {
        let mut socket = UnixStream::connect(&path).unwrap();
        socket.write_all(b"GET /events HTTP/1.1\r\nHost: a\r\n\r\n").unwrap();
        clients.push(socket);
        wait_until("it is open", || subscribers().iter().sum::<usize>() == clients.len());
    }
    assert_eq!(subscribers(), [3; 2]);
    publisher.run(|cx| cx.stop()).unwrap();
    running.join().unwrap().unwrap();
    assert!(!path.exists());
}
