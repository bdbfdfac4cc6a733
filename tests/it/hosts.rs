//! Requests for foreign hosts: a page whose name was rebound reaches no handler.

use crate::memory_net::{Loop, check_accounts};
use crate::support::replies;
use mio_sse::{CloseReason, Config, Cors, RawRequest, Reply, Router, Server};
use std::io::ErrorKind;
use std::time::Duration;

fn world(hosts: &[&str]) -> Loop<Router> {
    let mut app = Router::new();
    app.get("/page", |_request, _cx| Reply::text("page"));
    app.post("/page", |request, _cx| Reply::text(format!("{} bytes", request.body().len())));
    app.get("/stream", |_request, _cx| Reply::stream().topic("t"));
    let mut config = Config::default();
    config.hosts = hosts.iter().map(|host| (*host).to_owned()).collect();
    config.cors = Some(Cors::any());
    Loop::with_config(app, config)
}

/// The statuses of the replies on a new connection.
fn ask(world: &mut Loop<Router>, requests: &str) -> Vec<u16> {
    let peer = world.connect();
    peer.write(requests);
    world.settle();
    let statuses = replies(&peer.read()).into_iter().map(|(status, _)| status).collect();
    peer.close();
    world.settle();
    statuses
}

fn get(host: &str) -> String {
    format!("GET /page HTTP/1.1\r\nHost: {host}\r\n\r\n")
}

#[test]
fn only_the_hosts_of_the_list_are_served() {
    let mut world = world(&["localhost", "127.0.0.1:8080", "[::1]"]);
    let served = ["localhost", "LOCALHOST:1", "127.0.0.1:8080", "[::1]", "[0:0::1]:8080", " localhost "];
    for host in served {
        assert_eq!(ask(&mut world, &get(host)), [200], "{host}");
    }
    let others = [
        "evil.example",
        "evil.example:8080",
        "localhost.evil.example",
        "evil.localhost",
        "localhost.",
        "127.0.0.1",
        "127.0.0.1:80",
        "127.0.0.2:8080",
        "[::2]",
        "local%68ost",
        "",
        ":8080",
    ];
    for host in others {
        assert_eq!(ask(&mut world, &get(host)), [421], "{host}");
    }
    let stats = world.server.stats();
    assert_eq!((stats.requests, stats.rejected), (served.len() as u64, others.len() as u64));
    assert_eq!(stats.connections_closed(CloseReason::Rejected), others.len() as u64);
    check_accounts(&stats);
}

#[test]
fn without_a_list_all_hosts_are_served() {
    let mut world = world(&[]);
    for request in [get("evil.example"), get(""), "GET /page HTTP/1.0\r\n\r\n".to_owned()] {
        assert_eq!(ask(&mut world, &request), [200], "{request}");
    }
}

#[test]
fn a_request_that_names_no_host_or_another_one_in_its_target_is_not_served() {
    let mut world = world(&["localhost"]);
    for (request, status) in [
        ("GET /page HTTP/1.0\r\n\r\n", 421),
        ("GET /page HTTP/1.0\r\nHost: evil\r\n\r\n", 421),
        ("GET /page HTTP/1.0\r\nHost: localhost\r\n\r\n", 200),
        // A URL as target overrides the header (RFC 9112 3.2.2).
        ("GET http://evil/page HTTP/1.1\r\nHost: localhost\r\n\r\n", 421),
        ("GET http://localhost:80/page HTTP/1.1\r\nHost: evil\r\n\r\n", 200),
        // No method is exempt.
        ("OPTIONS * HTTP/1.1\r\nHost: evil\r\n\r\n", 421),
        (
            "OPTIONS /page HTTP/1.1\r\nHost: evil\r\nOrigin: http://a\r\nAccess-Control-Request-Method: PUT\r\n\r\n",
            421,
        ),
        ("GET /stream HTTP/1.1\r\nHost: evil\r\nAccept: text/event-stream\r\n\r\n", 421),
        // A malformed host has a status of its own.
        ("GET /page HTTP/1.1\r\n\r\n", 400),
    ] {
        assert_eq!(ask(&mut world, request), [status], "{request}");
    }
    assert_eq!(world.server.stats().streams_opened, 0);
}

#[test]
fn a_foreign_host_is_refused_as_soon_as_the_head_has_arrived() {
    let mut world = world(&["localhost"]);
    for lines in
        ["Content-Length: 10", "Transfer-Encoding: chunked", "Content-Length: 10\r\nExpect: 100-continue"]
    {
        let head = format!("POST /page HTTP/1.1\r\nHost: evil\r\n{lines}\r\n\r\n");
        let (last, most) = head.as_bytes().split_last().unwrap();
        let peer = world.connect();
        for byte in most {
            peer.write([*byte]);
            world.turn();
        }
        world.settle();
        assert_eq!(peer.read(), "");
        peer.write([*last]);
        world.settle();
        let answer = peer.read();
        assert!(answer.starts_with("HTTP/1.1 421 Misdirected Request\r\n"), "{lines}: {answer}");
        assert!(answer.contains("\r\nConnection: close\r\n") && peer.is_shut(), "{answer}");
        // Bytes after it are ignored.
        peer.write(get("localhost"));
        world.pass(Duration::from_secs(5));
        assert_eq!(peer.read(), "");
    }
    assert_eq!(world.server.stats().requests, 0);
    // A body of other hosts is not waited for any longer than before.
    let peer = world.connect();
    peer.write("POST /page HTTP/1.1\r\nHost: localhost\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
    world.settle();
    assert_eq!(peer.read(), "HTTP/1.1 100 Continue\r\n\r\n");
    for byte in ["a", "b", "c"] {
        peer.write(byte);
        world.settle();
    }
    assert!(peer.read().ends_with("3 bytes"));
}

#[test]
fn requests_before_a_refused_one_are_served() {
    let mut world = world(&["localhost"]);
    let requests = get("localhost") + &get("localhost") + &get("evil") + &get("localhost");
    assert_eq!(ask(&mut world, &requests), [200, 200, 421]);
    let stats = world.server.stats();
    assert_eq!((stats.requests, stats.rejected), (2, 1));
}

#[test]
fn a_head_has_no_body_also_where_it_is_rejected() {
    let mut world = world(&["localhost"]);
    let peer = world.connect();
    peer.write(get("evil").replace("GET", "HEAD"));
    world.settle();
    let answer = peer.read();
    assert!(answer.starts_with("HTTP/1.1 421 ") && answer.ends_with("\r\n\r\n"), "{answer}");
    assert!(answer.contains("\r\nContent-Length: 5"), "{answer}");
}

#[test]
fn connections_that_are_adopted_are_held_to_it_too() {
    let mut world = world(&["localhost"]);
    let request = RawRequest::get("/page").unwrap();
    for (request, status) in [
        (request.clone(), "421"),
        (request.clone().header("Host", "evil").unwrap(), "421"),
        (request.header("Host", "localhost").unwrap(), "200"),
    ] {
        let peer = world.adopt(request);
        world.settle();
        let answer = peer.read();
        assert_eq!(answer.split(' ').nth(1), Some(status), "{answer}");
    }
}

#[test]
fn a_server_is_not_built_with_hosts_that_none_can_name() {
    for (host, problem) in [
        ("http://localhost", "must be hosts, such as localhost or localhost:8080, not URLs"),
        ("::1", "must be spelled as clients send them: \"[::1]\", not \"::1\""),
    ] {
        let mut config = Config::default();
        config.hosts = vec!["localhost".to_owned(), host.to_owned()];
        let error = Server::bind_with("127.0.0.1:0", Router::new(), config).unwrap_err();
        assert_eq!(error.kind(), ErrorKind::InvalidInput);
        assert_eq!(error.to_string(), format!("Config::hosts {problem}"));
    }
}
