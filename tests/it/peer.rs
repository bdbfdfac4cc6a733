//! The address at the other end of a connection, for each kind of connection.

use crate::memory_net::{Loop, get};
use crate::support::{Client, replies, run, serve};
use mio_sse::{Event, Peer, Reply, Request, Router, Server};
use std::net::{IpAddr, Ipv4Addr, TcpListener, TcpStream};

/// Replies with the address, as `Debug` prints it.
fn app() -> Router {
    let mut app = Router::new();
    app.get("/peer", |request, _cx| Reply::text(format!("{:?}", request.peer())));
    app.get("/peer/{name}", |request, _cx| Reply::text(format!("{:?}", request.peer())));
    app.sse("/events", |stream, request, cx| {
        cx.send(stream, Event::new().data(format!("{:?}", request.peer())))
    });
    app
}

/// The reply of the server for `client`.
fn expected(client: &Client) -> String {
    format!("{:?}", Some(Peer::Address(client.socket.local_addr().unwrap())))
}

fn has_ipv6() -> bool {
    TcpListener::bind("[::1]:0").is_ok()
}

#[test]
fn over_tcp_it_is_the_address_and_port_of_the_client() {
    let server = serve(app());
    let mut clients = [server.connect(), server.connect()];
    for client in &mut clients {
        let expected = expected(client);
        assert_eq!(client.get_text("/peer"), expected);
        assert_eq!(client.get_text("/peer/a"), expected, "also where the path has parameters");
        client.get("/events");
        assert_eq!(client.data(1), [expected]);
    }
    server.stop();
}

#[test]
fn over_ipv6_too() {
    if !has_ipv6() {
        return;
    }
    let server = run(Server::bind("[::1]:0", app()).unwrap());
    let mut client = server.connect();
    let expected = expected(&client);
    assert!(expected.contains("[::1]"), "{expected}");
    assert_eq!(client.get_text("/peer"), expected);
    server.stop();
}

#[test]
fn an_ipv4_client_of_a_listener_for_both_families_has_an_ipv4_address() {
    let mut app = Router::new();
    app.get("/ip", |request, _cx| Reply::text(format!("{:?}", request.peer().and_then(|peer| peer.ip()))));
    let Ok(server) = Server::bind("[::]:0", app) else { return };
    let server = run(server);
    // Not on systems that separate the families.
    if let Ok(socket) = TcpStream::connect((Ipv4Addr::LOCALHOST, server.address.port())) {
        assert_eq!(Client::from(socket).get_text("/ip"), "Some(127.0.0.1)");
    }
    server.stop();
}

#[test]
fn a_connection_that_was_adopted_has_its_own() {
    let server = serve(app());
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let mut client = Client::connect(listener.local_addr().unwrap());
    server.publisher.adopt(listener.accept().unwrap().0, get("/peer")).unwrap();
    assert_eq!(client.reply().1, expected(&client));
    // The next request on it is read by the server itself.
    let expected = expected(&client);
    assert_eq!(client.get_text("/peer"), expected);
    server.stop();
}

#[cfg(any(target_os = "linux", target_os = "android"))]
mod credentials {
    use super::*;
    use crate::support::DEADLINE;
    use crate::unix::Directory;
    use mio_sse::{Config, Listeners};
    use std::io::{Read, Write};
    use std::os::fd::OwnedFd;
    use std::os::unix::fs::MetadataExt;
    use std::os::unix::net::UnixStream;

    fn is_this_process(request: &Request<'_>) -> bool {
        let this = std::fs::metadata("/proc/self").unwrap();
        let Some(Peer::Unix(Some(process))) = request.peer() else { return false };
        assert_eq!(request.peer().unwrap().ip(), None);
        process.pid == Some(std::process::id()) && (process.uid, process.gid) == (this.uid(), this.gid())
    }

    fn app() -> Router {
        let mut app = Router::new();
        app.get("/peer", |request, _cx| {
            let this = is_this_process(request);
            Reply::text(if this { "this process".into() } else { format!("{:?}", request.peer()) })
        });
        app
    }

    fn ask(mut socket: UnixStream) -> String {
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.write_all(b"GET /peer HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n").unwrap();
        let mut text = String::new();
        socket.read_to_string(&mut text).unwrap();
        replies(&text).remove(0).1
    }

    #[test]
    fn over_a_unix_socket_it_is_the_process() {
        let directory = Directory::new();
        let path = directory.socket();
        let listeners = Listeners::new().unix(&path).tcp("127.0.0.1:0");
        let server = run(Server::listen(listeners, app(), Config::default()).unwrap());
        assert_eq!(ask(UnixStream::connect(&path).unwrap()), "this process");
        let mut client = server.connect();
        let expected = expected(&client);
        assert_eq!(client.get_text("/peer"), expected);
        server.stop();
    }

    #[test]
    fn over_a_unix_socket_that_was_adopted_too() {
        let server = serve(app());
        let (client, socket) = UnixStream::pair().unwrap();
        server.publisher.adopt(TcpStream::from(OwnedFd::from(socket)), "").unwrap();
        assert_eq!(ask(client), "this process");
        server.stop();
    }
}

#[test]
fn the_address_is_looked_up_once_for_requests_that_are_read_together() {
    let mut world = Loop::new(app());
    let address = IpAddr::from([192, 0, 2, 7]);
    let peer = world.connect_from(address);
    let text = format!("{:?}", Some(Peer::Address((address, 50_000).into())));
    peer.write(get("/peer").repeat(3));
    world.settle();
    assert_eq!(replies(&peer.read()), vec![(200, text.clone()); 3]);
    assert_eq!(peer.asked(), 1);
    // For half a request there is no look-up.
    let request = get("/peer");
    let (half, rest) = request.split_at(10);
    peer.write(half);
    world.settle();
    assert_eq!(peer.asked(), 1);
    peer.write(rest);
    world.settle();
    assert_eq!(replies(&peer.read()), [(200, text)]);
    assert_eq!(peer.asked(), 2);
    // Nor for a rejected one.
    peer.write("nonsense\r\n\r\n");
    world.settle();
    assert_eq!(replies(&peer.read())[0].0, 400);
    assert_eq!(peer.asked(), 2);
}

#[test]
fn there_is_no_address_if_the_network_does_not_report_it() {
    let mut world = Loop::<_>::new(app());
    let peer = world.adopt(get("/peer"));
    world.settle();
    assert_eq!(replies(&peer.read()), [(200, "None".to_owned())]);
}

/// The example in the documentation of `Request::peer`.
fn client(request: &Request<'_>, own: IpAddr) -> Option<IpAddr> {
    let peer = request.peer()?.ip()?;
    if peer != own {
        return Some(peer);
    }
    let lines = request.headers().filter(|(name, _)| name.eq_ignore_ascii_case("X-Forwarded-For"));
    let (_, line) = lines.last()?;
    str::from_utf8(line).ok()?.rsplit(',').next()?.trim().parse().ok()
}

#[test]
fn only_the_last_entry_of_ones_own_proxy_counts() {
    let mut app = Router::new();
    let own = IpAddr::from([10, 0, 0, 1]);
    app.get("/client", move |request, _cx| Reply::text(format!("{:?}", client(request, own))));
    let mut world = Loop::new(app);
    let cases = [
        ([10, 0, 0, 1], "X-Forwarded-For: 192.0.2.1\r\n", "Some(192.0.2.1)"),
        ([10, 0, 0, 1], "X-Forwarded-For: 1.1.1.1, 192.0.2.1\r\n", "Some(192.0.2.1)"),
        ([10, 0, 0, 1], "x-forwarded-for: 1.1.1.1\r\nX-Forwarded-For: 2001:db8::1\r\n", "Some(2001:db8::1)"),
        ([10, 0, 0, 1], "X-Forwarded-For: 192.0.2.1, unknown\r\n", "None"),
        ([10, 0, 0, 1], "", "None"),
        ([10, 0, 0, 2], "X-Forwarded-For: 192.0.2.1\r\n", "Some(10.0.0.2)"),
    ];
    for (address, header, expected) in cases {
        let peer = world.connect_from(address.into());
        peer.write(format!("GET /client HTTP/1.1\r\nHost: x\r\n{header}\r\n"));
        world.settle();
        assert_eq!(replies(&peer.read()), [(200, expected.to_owned())], "{header}");
    }
}
