//! Several listeners of one server: of one name, and of a list.

use crate::support::{Client, DEADLINE, now, run, secs};
use mio_sse::{Config, Drain, Listeners, Reply, Router, Server};
use std::io::ErrorKind;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

const V4: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::LOCALHOST), 0);
const V6: SocketAddr = SocketAddr::new(std::net::IpAddr::V6(Ipv6Addr::LOCALHOST), 0);
/// An address that no machine has (RFC 5737).
const NOBODYS: SocketAddr = SocketAddr::new(std::net::IpAddr::V4(Ipv4Addr::new(192, 0, 2, 1)), 0);

fn app() -> Router {
    let mut app = Router::new();
    app.get("/page", |_request, _cx| Reply::text("page"));
    app.get("/events", |_request, _cx| Reply::stream().topic("t"));
    app
}

fn bind(addresses: &[SocketAddr]) -> std::io::Result<Server<Router>> {
    Server::bind(addresses, app())
}

/// Not every machine that runs tests has IPv6.
fn has_ipv6() -> bool {
    TcpListener::bind(V6).is_ok()
}

fn turn(server: &mut Server<Router>) {
    server.turn(Some(Duration::from_millis(1))).unwrap();
}

fn is_refused(address: SocketAddr) -> bool {
    TcpStream::connect(address).is_err_and(|error| error.kind() == ErrorKind::ConnectionRefused)
}

#[test]
fn all_addresses_of_a_name_are_listened_on_with_one_port() {
    if !has_ipv6() {
        return;
    }
    let server = bind(&[V4, V6]).unwrap();
    let addresses = server.local_addrs();
    let port = addresses[0].port();
    assert_ne!(port, 0);
    assert_eq!(addresses, [(V4.ip(), port).into(), (V6.ip(), port).into()]);
    assert_eq!(server.local_addr().unwrap(), addresses[0]);
    let server = run(server);
    for address in addresses {
        assert_eq!(Client::connect(address).get_text("/page"), "page");
    }
    server.stop();
}

#[test]
fn localhost_is_every_address_that_it_has() {
    use std::net::ToSocketAddrs;
    let server = Server::bind("localhost:0", app()).unwrap();
    let port = server.local_addr().unwrap().port();
    let mut expected = Vec::new();
    for address in ("localhost", port).to_socket_addrs().unwrap() {
        if !expected.contains(&address) && (address.is_ipv4() || has_ipv6()) {
            expected.push(address);
        }
    }
    assert_eq!(server.local_addrs(), expected);
}

#[test]
fn a_foreign_address_is_skipped_while_another_works() {
    let server = bind(&[NOBODYS, V4]).unwrap();
    assert_eq!(server.local_addrs().len(), 1);
    assert_eq!(server.local_addr().unwrap().ip(), V4.ip());
    let error = bind(&[NOBODYS]).unwrap_err();
    assert_eq!(error.kind(), ErrorKind::AddrNotAvailable);
    assert!(error.to_string().starts_with("cannot listen on 192.0.2.1:0: "), "{error}");
    assert_eq!(bind(&[]).unwrap_err().kind(), ErrorKind::InvalidInput);
}

#[test]
fn an_address_that_is_taken_is_an_error_whatever_the_others_are() {
    let taken = TcpListener::bind(V4).unwrap();
    let address = taken.local_addr().unwrap();
    for addresses in [[V4, address], [address, V4]] {
        let error = bind(&addresses).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::AddrInUse);
        assert!(error.to_string().starts_with(&format!("cannot listen on {address}: ")), "{error}");
    }
}

#[test]
fn an_address_that_comes_twice_is_one_listener() {
    let server = bind(&[V4, V4]).unwrap();
    assert_eq!(server.local_addrs().len(), 1);
}

#[test]
fn all_of_ipv4_and_all_of_ipv6_go_together_in_one_list_or_as_two_places() {
    if !has_ipv6() {
        return;
    }
    let any = |port| [(Ipv4Addr::UNSPECIFIED, port).into(), SocketAddr::from((Ipv6Addr::UNSPECIFIED, port))];
    let draw = || {
        let server = bind(&any(0)).unwrap();
        let port = server.local_addr().unwrap().port();
        assert_eq!(server.local_addrs(), any(port));
        port
    };
    // Another program may take the port in between, but not each time.
    let server = (0..100).find_map(|_| {
        let [v4, v6] = any(draw());
        Server::listen(Listeners::new().tcp(v4).tcp(v6), app(), Config::default()).ok()
    });
    assert_eq!(server.expect("two places, though they have one port").local_addrs().len(), 2);
    // Each address alone stays one listener.
    for address in any(0) {
        assert_eq!(bind(&[address]).unwrap().local_addrs().len(), 1);
    }
}

#[test]
fn a_server_without_listeners_has_no_address() {
    let server = Server::listen(Listeners::new(), app(), Config::default()).unwrap();
    assert_eq!(server.local_addrs(), []);
    assert_eq!(server.local_addr().unwrap_err().kind(), ErrorKind::Unsupported);
}

#[test]
fn a_crowd_at_one_listener_does_not_keep_those_at_another_waiting() {
    let mut config = Config::default();
    config.accepts_per_turn = 4;
    let listeners = Listeners::new().tcp(V4).tcp(V4);
    let mut server = Server::listen(listeners, app(), config).unwrap();
    let [noisy, quiet] = server.local_addrs().try_into().unwrap();
    let mut crowd: Vec<_> = (0..100).map(|_| TcpStream::connect(noisy).unwrap()).collect();
    let mut client = Client::connect(quiet);
    client.write("GET /page HTTP/1.1\r\nHost: x\r\n\r\n");
    let deadline = now() + DEADLINE;
    while server.stats().requests == 0 {
        assert!(now() < deadline, "{:?}", server.stats());
        turn(&mut server);
        crowd.push(TcpStream::connect(noisy).unwrap());
    }
    assert!(server.stats().accepted < 20, "it is among the first: {:?}", server.stats());
    assert_eq!(client.reply().1, "page");
}

#[test]
fn the_budget_of_a_turn_is_shared_by_all_listeners() {
    let mut config = Config::default();
    config.accepts_per_turn = 3;
    let listeners = Listeners::new().tcp(V4).tcp(V4).tcp(V4);
    let mut server = Server::listen(listeners, app(), config).unwrap();
    let addresses = server.local_addrs();
    let _clients: Vec<_> =
        (0..5).flat_map(|_| addresses.iter().map(|address| TcpStream::connect(address).unwrap())).collect();
    let deadline = now() + DEADLINE;
    let mut before = 0;
    while before < 15 {
        assert!(now() < deadline, "{:?}", server.stats());
        turn(&mut server);
        let accepted = server.stats().accepted;
        assert!(accepted - before <= 3, "{accepted}");
        before = accepted;
    }
    // A client that connects later is noticed at each of them.
    for (address, count) in addresses.into_iter().zip(16..) {
        let _client = TcpStream::connect(address).unwrap();
        while server.stats().accepted < count {
            assert!(now() < deadline, "{:?}", server.stats());
            turn(&mut server);
        }
    }
}

#[test]
fn listeners_that_exist_already_are_served_besides_others() {
    let inherited: Vec<_> = (0..2).map(|_| TcpListener::bind(V4).unwrap()).collect();
    let mut addresses: Vec<_> = inherited.iter().map(|listener| listener.local_addr().unwrap()).collect();
    let listeners = inherited.into_iter().fold(Listeners::new(), Listeners::tcp_listener).tcp(V4);
    let server = Server::listen(listeners, app(), Config::default()).unwrap();
    addresses.push(server.local_addrs()[2]);
    assert_eq!(server.local_addrs(), addresses);
    let server = run(server);
    for address in addresses {
        assert_eq!(Client::connect(address).get_text("/page"), "page");
    }
    server.stop();
}

#[test]
fn a_drain_closes_all_listeners() {
    let listeners = Listeners::new().tcp(V4).tcp(V4).tcp_listener(TcpListener::bind(V4).unwrap());
    let mut server = Server::listen(listeners, app(), Config::default()).unwrap();
    let addresses = server.local_addrs();
    let mut client = Client::connect(addresses[0]);
    client.write("GET /events HTTP/1.1\r\nHost: x\r\n\r\n");
    let deadline = now() + DEADLINE;
    while server.stats().streams == 0 {
        assert!(now() < deadline, "{:?}", server.stats());
        turn(&mut server);
    }
    server.context().drain(Drain::within(secs(600))).unwrap();
    turn(&mut server);
    assert!(!server.is_stopped());
    assert!(addresses.iter().copied().all(is_refused));
    assert_eq!(server.local_addrs(), addresses, "they are still known");
    server.context().stop();
    turn(&mut server);
}
