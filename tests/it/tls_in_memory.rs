//! TLS over the network in memory: what comes in which order, and what is left waiting.

use crate::memory_net::{Loop, MemoryNet, Peer, get};
use crate::tls_client::{BOTH, client_config, tls};
use mio_sse::net::TlsNet;
use mio_sse::{App, CloseReason, Config, Drain, Event, Reply, Router};
use rustls::{ClientConnection, SupportedProtocolVersion};
use std::io::{ErrorKind, Read, Write};
use std::sync::Arc;
use std::time::Duration;

type Server<H> = Loop<H, true, TlsNet<MemoryNet<true>>>;

fn serve(app: Router, config: Config) -> Server<Router> {
    Loop::over(app, config, |net| TlsNet::for_all(net, tls()))
}

fn app() -> Router {
    let mut app = Router::new();
    app.get("/page", |_request, _cx| Reply::text("page"));
    app.get("/large", |_request, _cx| Reply::text("x".repeat(LARGE)));
    app.post("/measured", |request, _cx| Reply::text(request.body().len().to_string()));
    app.get("/events", |_request, _cx| Reply::stream().topic("news"));
    app
}

/// More than a record.
const LARGE: usize = 40_000;

struct Client {
    peer: Peer,
    connection: ClientConnection,
    received: String,
    /// Whether the server has said that nothing more comes.
    ended: bool,
}

impl Client {
    fn new<H: App>(server: &Server<H>, version: &'static SupportedProtocolVersion) -> Self {
        let name = "localhost".try_into().unwrap();
        let connection = ClientConnection::new(Arc::new(client_config(&[version])), name).unwrap();
        Self { peer: server.connect(), connection, received: String::new(), ended: false }
    }

    /// One whose handshake is complete.
    fn open<H: App>(server: &mut Server<H>, version: &'static SupportedProtocolVersion) -> Self {
        let mut client = Self::new(server, version);
        while client.connection.is_handshaking() {
            client.push();
            server.settle();
            client.pull();
        }
        client.push();
        server.settle();
        client.pull();
        client
    }

    /// The records that wait to be sent.
    fn records(&mut self) -> Vec<u8> {
        let mut records = Vec::new();
        while self.connection.wants_write() {
            self.connection.write_tls(&mut records).unwrap();
        }
        records
    }

    fn push(&mut self) {
        let records = self.records();
        self.peer.write(records);
    }

    fn ask(&mut self, path: &str) {
        self.connection.writer().write_all(get(path).as_bytes()).unwrap();
        self.push();
    }

    fn say_goodbye(&mut self) {
        self.connection.send_close_notify();
        self.push();
    }

    /// Reads what has come.
    fn pull(&mut self) {
        let records = self.peer.read_bytes();
        let mut rest = &records[..];
        while !rest.is_empty() {
            self.connection.read_tls(&mut rest).unwrap();
            self.connection.process_new_packets().unwrap();
            let mut text = [0; 4096];
            loop {
                match self.connection.reader().read(&mut text) {
                    Ok(0) => {
                        self.ended = true;
                        break;
                    }
                    Ok(count) => self.received += std::str::from_utf8(&text[..count]).unwrap(),
                    Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                    Err(error) => panic!("{error}"),
                }
            }
        }
    }
}

/// What waits for room is no less written than what a kernel holds: the end of the client's side must not
/// cost it the end of its reply.
#[test]
fn who_has_said_goodbye_and_reads_late_gets_all_of_its_reply() {
    for half_closed in [false, true] {
        for version in BOTH {
            let mut config = Config::default();
            config.half_closed = half_closed;
            let mut server = serve(app(), config);
            let mut client = Client::open(&mut server, version);
            client.peer.set_room(0);
            client.ask("/large");
            client.say_goodbye();
            client.peer.close();
            for _ in 0..2 * LARGE / 1000 {
                server.settle();
                client.peer.set_room(1000);
            }
            server.settle();
            client.pull();
            let (_, body) = client.received.split_once("\r\n\r\n").unwrap();
            assert_eq!(body.len(), LARGE, "{version:?}, {half_closed}");
            assert!(client.ended && client.peer.is_closed(), "{version:?}, {half_closed}");
            server.turn();
            assert_eq!(server.server.stats().memory.network, 0);
        }
    }
}

/// A stream of a client that has said goodbye goes on where that is so configured, but not when it has left.
#[test]
fn who_has_said_goodbye_may_leave_later() {
    let mut config = Config::default();
    config.half_closed = true;
    let mut server = serve(app(), config);
    let publisher = server.server.publisher();
    let mut client = Client::open(&mut server, BOTH[0]);
    client.ask("/events");
    client.say_goodbye();
    server.settle();
    publisher.publish("news", Event::new().data("hello")).unwrap();
    server.settle();
    client.pull();
    assert!(client.received.ends_with("data: hello\n\n\r\n"), "{}", client.received);
    client.peer.reset();
    server.settle();
    assert!(client.peer.is_closed());
}

/// The last record of a reply waits in the server, and nothing else is to come.
#[test]
fn what_waits_is_sent_as_soon_as_there_is_room() {
    let mut server = serve(app(), Config::default());
    let mut client = Client::open(&mut server, BOTH[0]);
    client.peer.set_room(100);
    client.ask("/page");
    server.settle();
    client.pull();
    assert_eq!(client.received, "");
    // It is counted at the next poll.
    server.turn();
    assert!(server.server.stats().memory.network > 0);
    client.peer.set_room(usize::MAX);
    server.settle();
    client.pull();
    assert!(client.received.ends_with("\r\n\r\npage"), "{}", client.received);
    server.turn();
    assert_eq!(server.server.stats().memory.network, 0);
}

/// A stream whose client takes a little now and then does not stall, though it takes none of what comes
/// behind.
#[test]
fn a_client_that_reads_slowly_does_not_stall() {
    let mut server = serve(app(), Config::default());
    let publisher = server.server.publisher();
    let mut client = Client::open(&mut server, BOTH[0]);
    client.ask("/events");
    server.settle();
    client.peer.set_room(0);
    publisher.publish("news", Event::new().data("x".repeat(16_000))).unwrap();
    publisher.publish("news", Event::new().data("more")).unwrap();
    for _ in 0..20 {
        server.pass(Duration::from_secs(20));
        client.peer.set_room(100);
    }
    server.settle();
    assert!(!client.peer.is_closed());
    client.peer.set_room(usize::MAX);
    server.settle();
    client.pull();
    assert!(client.received.contains("data: more\n"));
    client.peer.set_room(0);
    publisher.publish("news", Event::new().data("x".repeat(40_000))).unwrap();
    server.pass(Duration::from_secs(40));
    assert!(client.peer.is_closed());
    assert_eq!(server.server.stats().closed(CloseReason::Stalled), 1);
}

/// A client that takes nothing stalls, even if nothing is published after what TLS has taken for it.
#[test]
fn a_client_that_takes_nothing_of_one_record_stalls() {
    let mut config = Config::default();
    config.heartbeat = None;
    let mut server = serve(app(), config);
    let publisher = server.server.publisher();
    let mut client = Client::open(&mut server, BOTH[0]);
    client.ask("/events");
    server.settle();
    client.peer.set_room(0);
    publisher.publish("news", Event::new().data("x")).unwrap();
    server.pass(Duration::from_secs(29));
    assert!(!client.peer.is_closed());
    server.pass(Duration::from_secs(2));
    assert_eq!(server.server.stats().closed(CloseReason::Stalled), 1);
}

/// The last record of a reply has as much time as those before, whatever the connection waits for besides.
#[test]
fn the_end_of_a_reply_has_its_time() {
    for close in ["Connection: close\r\n", ""] {
        let mut config = Config::default();
        config.keep_alive_timeout = Duration::from_secs(1);
        let mut server = serve(app(), config);
        let mut client = Client::open(&mut server, BOTH[0]);
        client.peer.set_room(0);
        let request = format!("GET /large HTTP/1.1\r\nHost: x\r\n{close}\r\n");
        client.connection.writer().write_all(request.as_bytes()).unwrap();
        client.push();
        // All but the end of the last record.
        client.peer.set_room(LARGE - 4000);
        server.pass(Duration::from_secs(25));
        assert!(!client.peer.is_closed(), "{close}");
        client.peer.set_room(usize::MAX);
        // Only now has it all, and the time for what comes next begins.
        server.pass(Duration::from_millis(500));
        assert!(!client.peer.is_closed(), "{close}");
        client.pull();
        let (_, body) = client.received.split_once("\r\n\r\n").unwrap();
        assert_eq!(body.len(), LARGE, "{close}");
        assert!(close.is_empty() || client.ended);
        server.pass(Duration::from_secs(3));
        assert!(client.peer.is_closed(), "{close}");
    }
}

/// A drain closes connections between two requests, but not before the reply is out.
#[test]
fn a_drain_does_not_cut_the_end_of_a_reply() {
    let mut server = serve(app(), Config::default());
    let publisher = server.server.publisher();
    let mut client = Client::open(&mut server, BOTH[0]);
    client.peer.set_room(0);
    client.connection.writer().write_all(b"GET /large HTTP/1.1\r\nHost: x\r\n\r\n").unwrap();
    client.push();
    client.peer.set_room(LARGE - 4000);
    server.settle();
    publisher.drain(Drain::within(Duration::from_secs(5))).unwrap();
    server.pass(Duration::from_secs(4));
    assert!(!client.peer.is_closed() && !server.server.is_stopped());
    client.peer.set_room(usize::MAX);
    server.pass(Duration::from_secs(2));
    client.pull();
    let (_, body) = client.received.split_once("\r\n\r\n").unwrap();
    assert_eq!(body.len(), LARGE);
    assert!(server.server.is_stopped());
}

/// Events are published while a record waits, a byte of room at a time: records come in order, or the client
/// cannot read them.
#[test]
fn what_waits_goes_first() {
    let mut server = serve(app(), Config::default());
    let publisher = server.server.publisher();
    let mut client = Client::open(&mut server, BOTH[0]);
    client.ask("/events");
    server.settle();
    client.peer.set_room(7);
    for number in 0..100 {
        publisher.publish("news", Event::new().data(format!("number {number};"))).unwrap();
        server.settle();
        client.peer.set_room(13);
        server.settle();
        client.pull();
    }
    client.peer.set_room(usize::MAX);
    server.settle();
    client.pull();
    for number in 0..100 {
        assert!(client.received.contains(&format!("number {number};")), "{number}: {}", client.received);
    }
}

/// A hello of which the first byte has come before is no cheaper, and who has waited comes first.
#[test]
fn four_handshakes_are_carried_out_in_a_turn_however_they_come() {
    for version in BOTH {
        let mut server = serve(app(), Config::default());
        let mut clients: Vec<_> = (0..20).map(|_| Client::new(&server, version)).collect();
        let hellos: Vec<_> = clients.iter_mut().map(Client::records).collect();
        for (client, hello) in clients.iter().zip(&hellos) {
            client.peer.write(&hello[..1]);
        }
        server.settle();
        for (client, hello) in clients.iter().zip(&hellos) {
            client.peer.write(&hello[1..]);
        }
        for turn in 1..=5 {
            server.turn();
            let answered: Vec<_> = clients.iter().map(|client| !client.peer.writes().is_empty()).collect();
            // Each turn others come, and have to wait.
            Client::new(&server, version).push();
            let expected: Vec<_> = (0..20).map(|at| (4 * turn - 4..4 * turn).contains(&at)).collect();
            assert_eq!(answered, expected, "{version:?}, turn {turn}");
        }
        for client in &mut clients {
            client.pull();
            client.ask("/page");
        }
        server.settle();
        for client in &mut clients {
            client.pull();
            client.push();
        }
        server.settle();
        for client in &mut clients {
            client.pull();
            assert!(client.received.ends_with("\r\n\r\npage"), "{version:?}: {}", client.received);
        }
    }
}

/// Records of one byte are six times as long as the message in them.
#[test]
fn a_hello_in_the_smallest_pieces_is_kept_up_to_a_limit() {
    let mut server = serve(app(), Config::default());
    let peer = server.connect();
    // A hello of almost 64 KiB, of which a third comes.
    let hello = [1, 0, 0xff, 0xf0].into_iter().chain(std::iter::repeat(0)).take(22_000);
    let records: Vec<_> = hello.flat_map(|byte| [22, 3, 1, 0, 1, byte]).collect();
    let (some, rest) = records.split_at(120 << 10);
    peer.write(some);
    server.settle();
    assert!(!peer.is_closed());
    peer.write(rest);
    server.settle();
    assert!(peer.is_closed());
    server.turn();
    assert_eq!(server.server.stats().memory.network, 0);
}

/// Whatever a client sends that has been told of the end, there is nothing to be said to it.
#[test]
fn what_comes_behind_the_end_is_thrown_away() {
    for version in BOTH {
        let mut server = serve(app(), Config::default());
        let mut client = Client::open(&mut server, version);
        let request = "GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
        client.connection.writer().write_all(request.as_bytes()).unwrap();
        client.push();
        server.settle();
        client.pull();
        assert!(client.ended && client.peer.is_shut() && !client.peer.is_closed());
        let garbage: Vec<_> = [23, 3, 3, 0, 40].into_iter().chain([7; 40]).collect();
        client.peer.write(garbage);
        server.settle();
        assert_eq!(client.peer.read_bytes(), [0; 0]);
        assert!(!client.peer.is_closed());
        client.peer.close();
        server.settle();
        assert!(client.peer.is_closed());
        server.turn();
        assert_eq!(server.server.stats().memory.network, 0);
    }
}

/// The same in every place of a connection's life: nothing that a peer sends harms the server, and nothing is
/// kept of it.
#[test]
fn any_damage_at_any_time_costs_only_its_own_connection() {
    let mut rng = fastrand::Rng::with_seed(11);
    for round in 0..400 {
        let mut config = Config::default();
        let is_half_closed = rng.bool();
        config.half_closed = is_half_closed;
        let mut server = serve(app(), config);
        let publisher = server.server.publisher();
        let mut client = Client::open(&mut server, BOTH[round % 2]);
        if rng.bool() {
            client.peer.set_room(rng.usize(..3000));
        }
        for _ in 0..rng.usize(1..5) {
            match rng.u8(..6) {
                0 => client.connection.writer().write_all(get("/large").as_bytes()).unwrap(),
                1 => client.connection.writer().write_all(get("/events").as_bytes()).unwrap(),
                2 => {
                    let request = "GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n";
                    client.connection.writer().write_all(request.as_bytes()).unwrap();
                }
                3 if round % 2 == 0 => client.connection.refresh_traffic_keys().unwrap(),
                4 => client.connection.send_close_notify(),
                _ => {}
            }
            let records = client.records();
            for piece in records.chunks(rng.usize(1..200)) {
                client.peer.write(piece);
                if rng.bool() {
                    server.settle();
                }
            }
            publisher.publish("news", Event::new().data("x".repeat(rng.usize(1..5000)))).unwrap();
            server.settle();
        }
        let mut garbage: Vec<u8> = (0..rng.usize(1..200)).map(|_| rng.u8(..)).collect();
        if rng.bool() {
            // A whole record.
            let length = u8::try_from(garbage.len()).unwrap();
            garbage.splice(..0, [rng.u8(20..25), 3, 3, 0, length]);
        }
        client.peer.write(garbage);
        server.settle();
        match rng.u8(..3) {
            0 => client.peer.reset(),
            1 => client.peer.set_room(usize::MAX),
            _ => {}
        }
        client.peer.close();
        server.settle();
        client.peer.set_room(usize::MAX);
        server.settle();
        if !client.peer.is_closed() {
            // One that reads on after it has said goodbye.
            assert!(server.server.stats().streams == 1 && is_half_closed, "{round}");
            client.peer.reset();
            server.settle();
        }
        server.turn();
        assert!(client.peer.is_closed(), "{round}");
        assert_eq!(server.server.stats().memory.network, 0, "{round}");
    }
}

/// What little text takes many records to say is work, too, and not all of it is done at once.
#[test]
fn records_of_one_byte_do_not_make_a_turn_long() {
    const BODY: usize = 5000;
    let mut server = serve(app(), Config::default());
    let mut clients: Vec<_> = (0..30).map(|_| Client::open(&mut server, BOTH[0])).collect();
    let head = format!("POST /measured HTTP/1.1\r\nHost: x\r\nContent-Length: {BODY}\r\n\r\n");
    for client in &mut clients {
        client.connection.set_buffer_limit(None);
        for byte in head.bytes().chain(std::iter::repeat_n(b'x', BODY)) {
            client.connection.writer().write_all(&[byte]).unwrap();
        }
        client.push();
    }
    let reads = |clients: &[Client]| clients.iter().map(|client| client.peer.reads()).sum::<usize>();
    let before = reads(&clients);
    server.turn();
    // A megabyte of 3.5, 32 KiB at a time; that nothing is left is seen by a read, too.
    assert!((1..=45).contains(&(reads(&clients) - before)), "{}", reads(&clients) - before);
    server.settle();
    for client in &mut clients {
        client.pull();
        assert!(client.received.ends_with(&format!("\r\n\r\n{BODY}")), "{}", client.received);
    }
}
