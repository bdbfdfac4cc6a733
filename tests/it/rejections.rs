//! Invalid requests: each kind gets its status, then the connection is closed, and the bytes that follow are
//! ignored.

use crate::memory_net::{Loop, get};
use crate::observers::{listen_closely, logged};
use crate::support::{Running, replies, serve_with};
use log::Level;
use mio_sse::{Config, Context, Handler, Reply, Request, Router};
use std::sync::{Arc, Mutex};

/// Records the target of every request that it gets.
struct Targets(Arc<Mutex<Vec<String>>>);

impl Handler for Targets {
    fn request(&mut self, request: &Request<'_>, _cx: &mut Context<'_>) -> Reply {
        self.0.lock().unwrap().push(request.target().to_owned());
        Reply::text("ok")
    }
}

fn serve_targets() -> (Running, Arc<Mutex<Vec<String>>>) {
    let targets = Arc::<Mutex<Vec<_>>>::default();
    (serve_with(Targets(targets.clone()), config()), targets)
}

fn config() -> Config {
    let mut config = Config::default();
    config.head_bytes_max = 4096;
    config.target_bytes_max = 1024;
    config.headers_max = 20;
    config.body_bytes_max = 2048;
    config
}

/// A request head with these header lines, each with its CRLF.
fn head(request_line: &str, headers: &str) -> String {
    format!("{request_line}\r\nHost: x\r\n{headers}\r\n")
}

fn post(headers: &str) -> String {
    head("POST / HTTP/1.1", headers)
}

fn chunked(body: &str) -> String {
    post("Transfer-Encoding: chunked\r\n") + body
}

/// Bytes that are not a request, with the status of the rejection.
fn rejected() -> Vec<(String, u16)> {
    let get = |headers: &str| head("GET / HTTP/1.1", headers);
    let target = |target: &str| head(&format!("GET {target} HTTP/1.1"), "");
    vec![
        // The request line.
        ("no request\r\n\r\n".to_owned(), 400),
        ("\0\0\0\0".to_owned(), 400),
        ("\u{16}\u{3}\u{1}\u{2}\0\u{1}\0".to_owned(), 400),
        ("GET /\r\n\r\n".to_owned(), 400),
        (head("GET  / HTTP/1.1", ""), 400),
        (head(" GET / HTTP/1.1", ""), 400),
        (head("GET / HTTP/1.1 ", ""), 400),
        (head("GET / http/1.1", ""), 400),
        (head("G<T / HTTP/1.1", ""), 400),
        (head("GET / FTP/1.1", ""), 400),
        ("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n".to_owned(), 505),
        (head("GET / HTTP/3.0", ""), 505),
        (head("GET / HTTP/1.12", ""), 400),
        (head("CONNECT x:443 HTTP/1.1", ""), 501),
        (head(&format!("{} / HTTP/1.1", "M".repeat(100)), ""), 501),
        ("\r\n".repeat(100), 400),
        // The target.
        (target("*"), 400),
        (target("path"), 400),
        (target("/a#b"), 400),
        (target("ftp://x/"), 400),
        (target("http:///"), 400),
        (target("/%"), 400),
        (target("/%4x"), 400),
        (target("/%ff"), 400),
        (target("/a%00b"), 400),
        (target(&format!("/{}", "a".repeat(1024))), 414),
        // Line ends and control characters.
        ("GET / HTTP/1.1\nHost: x\n\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: x\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\rHost: x\r\n\r\n".to_owned(), 400),
        (get("X: a\rb\r\n"), 400),
        (get("X: a\0b\r\n"), 400),
        (get("X: a\u{8}b\r\n"), 400),
        (get("X\0: a\r\n"), 400),
        ("\nGET / HTTP/1.1\r\nHost: x\r\n\r\n".to_owned(), 400),
        // Header lines.
        (get(" folded: x\r\n"), 400),
        (get("X: a\r\n\tfolded\r\n"), 400),
        (get("X : a\r\n"), 400),
        (get("X\t: a\r\n"), 400),
        (get("no colon\r\n"), 400),
        (get(": no name\r\n"), 400),
        (get("X(): a\r\n"), 400),
        (get("X: a\r\n".repeat(20).as_str()), 431),
        (get(&format!("X: {}\r\n", "a".repeat(4096 - 31))), 431),
        // Host.
        ("GET / HTTP/1.1\r\n\r\n".to_owned(), 400),
        (get("Host: x\r\n"), 400),
        (get("host: y\r\n"), 400),
        ("GET / HTTP/1.1\r\nHost: a b\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: x/y\r\n\r\n".to_owned(), 400),
        ("GET / HTTP/1.1\r\nHost: x, y\r\n\r\n".to_owned(), 400),
        // Body length.
        (post("Content-Length: 2\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", 400),
        (post("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n") + "0\r\n\r\n", 400),
        (post("Content-Length: 2\r\nContent-Length: 3\r\n") + "abc", 400),
        (post("Content-Length: 2, 3\r\n") + "abc", 400),
        (post("Content-Length: +2\r\n") + "ab", 400),
        (post("Content-Length: -2\r\n") + "ab", 400),
        (post("Content-Length: 0x2\r\n") + "ab", 400),
        (post("Content-Length: 2 2\r\n") + "ab", 400),
        (post("Content-Length:\r\n") + "ab", 400),
        (post("Content-Length: 99999999999999999999999999\r\n") + "ab", 400),
        (post("Transfer-Encoding: gzip\r\n"), 400),
        (post("Transfer-Encoding: chunked, gzip\r\n") + "0\r\n\r\n", 400),
        (post("Transfer-Encoding: gzip, chunked\r\n") + "0\r\n\r\n", 501),
        (post("Transfer-Encoding: xchunked\r\n") + "0\r\n\r\n", 400),
        (post("Transfer-Encoding:\r\n"), 400),
        (post("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n") + "0\r\n\r\n", 400),
        ("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n".to_owned(), 400),
        (post("Content-Length: 2049\r\n"), 413),
        (post("Content-Length: 18446744073709551615\r\n"), 413),
        (post("Expect: 200-ok\r\nContent-Length: 2\r\n") + "ab", 417),
        (get("Expect: nothing\r\n"), 417),
        // Chunks.
        (chunked("11111111111111111\r\n"), 400),
        (chunked("FFFFFFFFFFFFFFFF\r\n"), 413),
        (chunked("801\r\n"), 413),
        (chunked(&format!("800\r\n{}\r\n1\r\n", "x".repeat(2048))), 413),
        (chunked("\r\n"), 400),
        (chunked("-1\r\n"), 400),
        (chunked("0x1\r\na\r\n0\r\n\r\n"), 400),
        (chunked("1\na\r\n0\r\n\r\n"), 400),
        (chunked("1\r\nab\r\n0\r\n\r\n"), 400),
        (chunked("1 1\r\na\r\n0\r\n\r\n"), 400),
        (chunked(&format!("1;{}", "x".repeat(5000))), 400),
        (chunked("0\r\nX : a\r\n\r\n"), 400),
        (chunked(&format!("0\r\nX: {}", "x".repeat(5000))), 431),
    ]
}

#[test]
fn a_rejected_request_gets_its_status_and_the_bytes_after_it_are_ignored() {
    let (server, targets) = serve_targets();
    let cases = rejected();
    for (bytes, status) in &cases {
        let mut client = server.connect();
        client.write(format!("{bytes}{}", get("/smuggled")));
        let (head, body) = client.reply();
        assert_eq!(head.status, *status, "{bytes:?}: {body}");
        assert_eq!(head.get("Connection"), Some("close"), "{bytes:?}");
        assert!(head.get("Date").is_some() && head.get("Content-Type").is_some(), "{bytes:?}");
        assert!(body.ends_with('.'), "the reply to {bytes:?} is a sentence, not {body:?}");
        assert_eq!(client.to_end(), "", "{bytes:?}");
    }
    assert_eq!(*targets.lock().unwrap(), [""; 0]);
    let stats = server.wait_for("no connection", |stats| stats.connections == 0);
    assert_eq!((stats.rejected, stats.requests), (cases.len() as u64, 0));
}

/// The reply follows the byte that decides it. Bytes in later pieces are ignored.
#[test]
fn rejections_do_not_depend_on_how_the_bytes_are_cut() {
    for (bytes, status) in rejected() {
        let mut world = Loop::<_>::with_config(Targets(Arc::default()), config());
        let peer = world.connect();
        for byte in bytes.bytes() {
            peer.write([byte]);
            world.turn();
        }
        world.settle();
        peer.write(get("/smuggled"));
        world.settle();
        let statuses: Vec<_> = replies(&peer.read()).into_iter().map(|(status, _)| status).collect();
        let stats = world.server.stats();
        // Some begin like a good request, and only the next bytes make them invalid.
        if statuses.is_empty() {
            assert_eq!((stats.requests, stats.rejected), (0, 0), "{bytes:?}");
            continue;
        }
        assert_eq!(statuses, [status], "{bytes:?}");
        assert!(peer.is_shut(), "{bytes:?}");
        assert_eq!((stats.requests, stats.rejected), (0, 1), "{bytes:?}");
    }
}

#[test]
fn requests_before_a_rejected_one_are_served_and_those_after_it_are_not() {
    let (server, targets) = serve_targets();
    let mut client = server.connect();
    client.write(get("/first") + &get("/second") + "GET / HTTP/1.1\r\n\r\n" + &get("/third"));
    assert_eq!(client.reply().0.status, 200);
    assert_eq!(client.reply().0.status, 200);
    let (head, _) = client.reply();
    assert_eq!((head.status, head.get("Connection")), (400, Some("close")));
    assert_eq!(client.to_end(), "");
    assert_eq!(*targets.lock().unwrap(), ["/first", "/second"]);
    let stats = server.stats();
    assert_eq!((stats.requests, stats.rejected), (2, 1));
}

#[test]
fn a_request_just_within_the_limits_is_accepted() {
    let (server, targets) = serve_targets();
    let mut client = server.connect();
    let large = head("GET /2 HTTP/1.1", &format!("X: {}\r\n", "a".repeat(4096 - 33)));
    assert_eq!(large.len(), 4096);
    let requests = [
        head("GET /1 HTTP/1.1", &"X: a\r\n".repeat(19)),
        large,
        get(&format!("/{}", "3".repeat(1023))),
        head("POST /4 HTTP/1.1", "Content-Length: 2048\r\n") + &"x".repeat(2048),
        head("POST /5 HTTP/1.1", "Transfer-Encoding: chunked\r\n")
            + "400\r\n"
            + &"x".repeat(1024)
            + "\r\n400\r\n"
            + &"x".repeat(1024)
            + "\r\n0\r\n\r\n",
        head("POST /6 HTTP/1.1", "Content-Length: 2\r\nContent-Length: 2\r\n") + "ab",
        head("OPTIONS * HTTP/1.1", ""),
        head("GET http://other/8 HTTP/1.1", ""),
    ];
    for request in &requests {
        client.write(request);
        let (head, body) = client.reply();
        assert_eq!((head.status, head.get("Connection")), (200, None), "{request:?}: {body}");
    }
    assert_eq!(targets.lock().unwrap().len(), requests.len());
    assert_eq!(server.stats().rejected, 0);
}

#[test]
fn a_client_that_sends_too_large_a_body_to_its_end_can_read_the_rejection() {
    let (server, _) = serve_targets();
    let mut client = server.connect();
    client.write(post("Content-Length: 300000\r\n"));
    server.wait_for("the refusal", |stats| stats.rejected == 1);
    client.write("x".repeat(300_000));
    assert_eq!(client.reply().0.status, 413);
    assert_eq!(client.to_end(), "");
}

#[test]
fn a_path_or_method_that_there_is_none_of_keeps_the_connection() {
    let mut app = Router::new();
    app.post("/here", |_request, _cx| Reply::text("posted"));
    let server = serve_with(app, config());
    let mut client = server.connect();
    client.write(get("/nowhere") + &get("/here") + &head("POST /here HTTP/1.1", ""));
    let (head, _) = client.reply();
    assert_eq!((head.status, head.get("Connection"), head.get("Allow")), (404, None, None));
    let (head, _) = client.reply();
    assert_eq!((head.status, head.get("Connection"), head.get("Allow")), (405, None, Some("POST, OPTIONS")));
    let (head, body) = client.reply();
    assert_eq!((head.status, body.as_str()), (200, "posted"));
    let stats = server.stats();
    assert_eq!((stats.requests, stats.rejected, stats.accepted), (3, 0, 1));
}

#[test]
fn a_later_http_1_is_served_as_one() {
    let seen = Arc::<Mutex<Vec<String>>>::default();
    let mut world = Loop::<_, true>::new(Targets(seen.clone()));
    let peer = world.connect();
    let version = |minor: u8| format!("GET /%61/{minor}?q HTTP/1.{minor}\r\nHost: x\r\n\r\n");
    peer.write(version(2) + &version(9));
    // In pieces, the last of which has the end of the version.
    peer.write("GET /c HTTP/1.");
    world.settle();
    peer.write("7\r\nHost: x\r\n\r\n");
    world.settle();
    assert_eq!(*seen.lock().unwrap(), ["/%61/2?q", "/%61/9?q", "/c"]);
    let replies = peer.read();
    assert_eq!(replies.matches("HTTP/1.1 200 OK\r\n").count(), 3, "{replies}");
    assert!(!peer.is_closed() && !replies.contains("Connection: close"));
}

/// A client that speaks TLS cannot read this, but its developer may, in a dump or where the server logs it.
/// Other servers reply with the same status.
#[test]
fn a_hello_of_tls_on_a_port_without_it_is_called_so() {
    const WHY: &str = "This port speaks plain HTTP, but a TLS handshake arrived: use http://, not https://.";
    listen_closely();
    let mut world = Loop::new(Targets(Arc::default()));
    let peer = world.connect();
    peer.write([0x16, 3, 1, 2, 0, 1, 0]);
    world.settle();
    let reply = peer.read();
    assert!(reply.starts_with("HTTP/1.1 400 Bad Request\r\n") && reply.ends_with(WHY), "{reply}");
    assert!(peer.is_shut());
    let lines: Vec<_> = logged().into_iter().map(|(level, _, line)| (level, line)).collect();
    assert_eq!(lines, [(Level::Debug, format!("rejected a request: {WHY}"))]);
}
