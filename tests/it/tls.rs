//! TLS: the same streams, and all that a peer can do below them.

use crate::memory_net::get;
use crate::support::{Client, DEADLINE, Running, now, run, secs};
use crate::tls_client::{BOTH, certificate, client, client_config, config_of, tls};
use mio_sse::{CloseReason, Config, Context, Event, Listeners, Reply, Router, Server, TlsConfig, TlsVersion};
use rustls::crypto::{CryptoProvider, ring};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, HandshakeKind, ProtocolVersion};
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::{Arc, Mutex};
use std::time::Duration;

fn app() -> Router {
    let mut app = Router::new();
    app.get("/page", |_request, _cx| Reply::text("page"));
    app.get("/large", |_request, _cx| Reply::text("x".repeat(3 << 20)));
    app.get("/events", |_request, _cx| Reply::stream().topic("news"));
    app.sse("/once", |stream, _request, cx| {
        cx.send(stream, Event::new().data("only"))?;
        cx.close(stream)
    });
    app
}

fn serve(tls: &TlsConfig) -> Running {
    serve_with(tls, app(), Config::default())
}

fn serve_with(tls: &TlsConfig, app: Router, config: Config) -> Running {
    run(Server::listen(Listeners::new().tls("127.0.0.1:0", tls), app, config).unwrap())
}

/// A client of TLS on a socket that blocks.
pub(crate) struct Secure {
    connection: ClientConnection,
    socket: TcpStream,
    pub(crate) received: String,
}

impl Secure {
    fn connect(server: &Running, config: ClientConfig) -> Self {
        Self::connect_as(server, "localhost", Arc::new(config))
    }

    fn connect_as(server: &Running, name: &str, config: Arc<ClientConfig>) -> Self {
        Self::connect_to(server.address, name, config)
    }

    pub(crate) fn connect_to(address: SocketAddr, name: &str, config: Arc<ClientConfig>) -> Self {
        let socket = TcpStream::connect(address).unwrap();
        socket.set_nodelay(true).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        let name = ServerName::try_from(name.to_owned()).unwrap();
        Self { connection: ClientConnection::new(config, name).unwrap(), socket, received: String::new() }
    }

    pub(crate) fn write(&mut self, bytes: impl AsRef<[u8]>) {
        self.try_write(bytes).unwrap();
    }

    fn try_write(&mut self, bytes: impl AsRef<[u8]>) -> std::io::Result<()> {
        let mut stream = rustls::Stream::new(&mut self.connection, &mut self.socket);
        stream.write_all(bytes.as_ref())?;
        stream.flush()
    }

    /// Reads more. 0 is the end that the server has announced.
    pub(crate) fn read(&mut self) -> std::io::Result<usize> {
        let mut chunk = [0; 16 << 10];
        let count = rustls::Stream::new(&mut self.connection, &mut self.socket).read(&mut chunk)?;
        self.received += std::str::from_utf8(&chunk[..count]).unwrap();
        Ok(count)
    }

    /// Reads until `text` has come.
    pub(crate) fn wait_for(&mut self, text: &str) {
        while !self.received.contains(text) {
            let count = self.read().unwrap();
            assert!(count > 0, "{text:?}, not only {:?}", self.received);
        }
    }

    /// Says goodbye, and leaves.
    fn close(mut self) {
        self.connection.send_close_notify();
        self.connection.complete_io(&mut self.socket).unwrap();
    }

    pub(crate) fn peer_certificate(&self) -> CertificateDer<'static> {
        self.connection.peer_certificates().unwrap()[0].clone().into_owned()
    }
}

fn publish(server: &Running, data: &'static str) {
    server.publisher.publish("news", Event::new().data(data)).unwrap();
}

#[test]
fn a_stream_is_read_over_both_versions_and_ends_with_a_goodbye() {
    let server = serve(&tls());
    for (version, name) in BOTH.into_iter().zip([ProtocolVersion::TLSv1_3, ProtocolVersion::TLSv1_2]) {
        let mut client = Secure::connect(&server, client_config(&[version]));
        client.write(get("/events"));
        client.wait_for(":\n");
        publish(&server, "hello");
        client.wait_for("data: hello\n\n");
        assert_eq!(client.connection.protocol_version(), Some(name));
        assert_eq!(client.connection.alpn_protocol(), Some(&b"http/1.1"[..]));
        client.close();

        // A connection is used on, and closed in good order by the server.
        let mut client = Secure::connect(&server, client_config(&[version]));
        client.write(get("/once"));
        client.wait_for("data: only\n\n\r\n0\r\n\r\n");
        client.write("GET /page HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
        client.wait_for("\r\n\r\npage");
        while client.read().unwrap() > 0 {}
    }
    server.wait_for("all have left", |stats| stats.connections == 0);
}

#[test]
fn every_suite_that_there_is_works() {
    let server = serve(&tls());
    for suite in ring::ALL_CIPHER_SUITES {
        // The certificate is of the elliptic kind, so what needs RSA is not to be had.
        if format!("{:?}", suite.suite()).contains("RSA") {
            continue;
        }
        let provider = CryptoProvider { cipher_suites: vec![*suite], ..ring::default_provider() };
        let version = if suite.tls13().is_some() { BOTH[0] } else { BOTH[1] };
        let mut client = Secure::connect(&server, client(provider, &[version]).with_no_client_auth());
        client.write(get("/page"));
        client.wait_for("page");
    }
}

#[test]
fn who_does_not_speak_tls_is_told_in_plain_words() {
    let server = serve(&tls());
    let mut client = Client::connect(server.address);
    client.write(get("/page"));
    let (head, body) = client.reply();
    assert_eq!(
        (head.status, body.as_str()),
        (400, "This port speaks TLS: the address has to begin with https://.\n")
    );
    assert_eq!(client.to_end(), "");
    server.wait_for("it is closed", |stats| stats.connections == 0);
}

#[test]
fn a_hello_on_a_port_without_tls_is_refused_and_no_more() {
    let server = run(Server::bind("127.0.0.1:0", app()).unwrap());
    let mut client = Secure::connect(&server, client_config(&BOTH));
    assert!(client.try_write(get("/page")).is_err());
    assert_eq!(Client::connect(server.address).get_text("/page"), "page");
}

/// The records of a whole handshake and a request, byte by byte.
#[test]
fn what_comes_in_pieces_is_put_together() {
    let server = serve(&tls());
    for version in BOTH {
        let mut client = Secure::connect(&server, client_config(&[version]));
        client.connection.writer().write_all(get("/page").as_bytes()).unwrap();
        while !client.received.ends_with("page") {
            let mut records = Vec::new();
            while client.connection.wants_write() {
                client.connection.write_tls(&mut records).unwrap();
            }
            for byte in records {
                client.socket.write_all(&[byte]).unwrap();
            }
            if client.connection.wants_write() {
                continue;
            }
            client.connection.read_tls(&mut client.socket).unwrap();
            client.connection.process_new_packets().unwrap();
            let mut text = [0; 4096];
            match client.connection.reader().read(&mut text) {
                Ok(count) => client.received += std::str::from_utf8(&text[..count]).unwrap(),
                Err(error) => assert_eq!(error.kind(), ErrorKind::WouldBlock),
            }
        }
    }
}

#[test]
fn half_a_handshake_has_the_time_of_a_head() {
    let mut config = Config::default();
    config.head_timeout = Duration::from_millis(200);
    let server = serve_with(&tls(), app(), config);
    let mut hello = Vec::new();
    let mut silent = Secure::connect(&server, client_config(&BOTH));
    silent.connection.write_tls(&mut hello).unwrap();
    silent.socket.write_all(&hello[..hello.len() / 2]).unwrap();
    let mut rest = Vec::new();
    // Closed, with an alert or without.
    let _ = silent.socket.read_to_end(&mut rest);
    server.wait_for("nobody is there", |stats| stats.connections == 0);
    // So has one that has shaken hands and asks for nothing.
    let mut idle = Secure::connect(&server, client_config(&BOTH));
    idle.connection.complete_io(&mut idle.socket).unwrap();
    while idle.read().is_ok_and(|count| count > 0) {}
    server.wait_for("nobody is there", |stats| stats.connections == 0);
}

#[test]
fn garbage_is_answered_with_an_alert() {
    let server = serve(&tls());
    // A hello that is none; a record of no version; a message that is too long; no record at all.
    let hello = &[22, 3, 1, 0, 5, 1, 0, 0, 1, 0][..];
    let version = &[22, 0xff, 0xff, 0xff, 0xff, 0][..];
    let long = &[22, 3, 1, 0, 5, 1, 2, 3, 4, 5][..];
    for (garbage, is_told) in [(hello, true), (version, true), (long, false), (&[0; 600], false)] {
        let mut socket = TcpStream::connect(server.address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.write_all(garbage).unwrap();
        let mut answer = Vec::new();
        let _ = socket.read_to_end(&mut answer);
        // A record that holds an alert, and it is fatal.
        if is_told {
            assert_eq!((answer.first(), answer.get(5)), (Some(&21), Some(&2)), "{garbage:?}: {answer:?}");
        }
    }
    server.wait_for("nobody is there", |stats| stats.connections == 0);
}

/// Whatever a peer makes of its records, the server goes on, and forgets it.
#[test]
fn any_damage_to_what_a_client_sends_harms_nobody_else() {
    let server = serve(&tls());
    let mut reader = Secure::connect(&server, client_config(&BOTH));
    reader.write(get("/events"));
    reader.wait_for(":\n");
    let mut rng = fastrand::Rng::with_seed(7);
    for round in 0..300 {
        let mut client = Secure::connect(&server, client_config(&[BOTH[round % 2]]));
        client.socket.set_read_timeout(Some(Duration::from_millis(20))).unwrap();
        let _ = client.connection.writer().write_all(get("/page").as_bytes());
        // Some are damaged in their hello, others in what comes later.
        let spared = rng.usize(..3);
        for step in 0..4 {
            let mut records = Vec::new();
            while client.connection.wants_write() {
                client.connection.write_tls(&mut records).unwrap();
            }
            if step >= spared && !records.is_empty() {
                for _ in 0..rng.usize(1..4) {
                    let at = rng.usize(..records.len());
                    match rng.u8(..4) {
                        0 => records[at] = rng.u8(..),
                        1 => records[at] ^= 1 << rng.u8(..8),
                        2 => drop(records.splice(at..at, (0..rng.usize(..9)).map(|_| rng.u8(..)))),
                        _ => records.truncate(at.max(1)),
                    }
                }
            }
            if client.socket.write_all(&records).is_err()
                || client.connection.read_tls(&mut client.socket).is_err()
                || client.connection.process_new_packets().is_err()
            {
                break;
            }
        }
    }
    publish(&server, "still here");
    reader.wait_for("data: still here\n\n");
    server.wait_for("they are forgotten", |stats| stats.connections == 1);
}

/// Why the streams of an app have ended.
fn reasons(app: &mut Router) -> Arc<Mutex<Vec<CloseReason>>> {
    let reasons = Arc::<Mutex<Vec<CloseReason>>>::default();
    let noted = Arc::clone(&reasons);
    app.sse("/noted", move |stream, _request, cx: &mut Context<'_>| {
        let noted = Arc::clone(&noted);
        cx.on_close(stream, move |reason, _cx| noted.lock().unwrap().push(reason))
    });
    reasons
}

#[test]
fn a_cut_is_not_taken_for_an_end() {
    let mut app = app();
    let reasons = reasons(&mut app);
    let server = serve_with(&tls(), app, Config::default());
    for cuts in [false, true] {
        let mut client = Secure::connect(&server, client_config(&BOTH));
        client.write(get("/noted"));
        client.wait_for(":\n");
        if cuts {
            drop(client);
        } else {
            client.close();
        }
        server.wait_for("it has left", |stats| stats.connections == 0);
    }
    assert_eq!(*reasons.lock().unwrap(), [CloseReason::PeerClosed, CloseReason::Reset]);
}

#[test]
fn the_name_that_a_client_asks_for_chooses_the_certificate() {
    let identities = [
        certificate(&["localhost"]),
        certificate(&["example.org", "*.example.org"]),
        certificate(&["example.net"]),
    ];
    let builder = identities.iter().fold(TlsConfig::builder(), |builder, one| {
        builder.identity(one.cert.pem().as_bytes(), one.signing_key.serialize_pem().as_bytes())
    });
    let server = serve(&builder.build().unwrap());
    for (name, expected) in
        [("localhost", 0), ("a.example.org", 1), ("example.org", 1), ("EXAMPLE.net", 2), ("example.com", 0)]
    {
        let mut client = Secure::connect_as(&server, name, Arc::new(client_config(&BOTH)));
        client.write(get("/page"));
        client.wait_for("page");
        assert_eq!(client.peer_certificate(), *identities[expected].cert.der(), "{name}");
    }
}

#[test]
fn a_new_certificate_is_for_those_who_come_from_then_on() {
    let (old, new) = (certificate(&["localhost"]), certificate(&["localhost"]));
    let tls = config_of(&old);
    let server = serve(&tls);
    let mut there = Secure::connect(&server, client_config(&BOTH));
    there.write(get("/events"));
    there.wait_for(":\n");
    tls.clone().reload(&config_of(&new));
    let mut later = Secure::connect(&server, client_config(&BOTH));
    later.write(get("/page"));
    later.wait_for("page");
    assert_eq!(later.peer_certificate(), *new.cert.der());
    assert_eq!(there.peer_certificate(), *old.cert.der());
    publish(&server, "still here");
    there.wait_for("data: still here\n\n");
}

#[test]
fn who_comes_back_is_spared_the_certificate() {
    let server = serve(&tls());
    for version in BOTH {
        let config = Arc::new(client_config(&[version]));
        for expected in [HandshakeKind::Full, HandshakeKind::Resumed, HandshakeKind::Resumed] {
            let mut client = Secure::connect_as(&server, "localhost", Arc::clone(&config));
            client.write(get("/page"));
            client.wait_for("page");
            assert_eq!(client.connection.handshake_kind(), Some(expected), "{version:?}");
            client.close();
        }
    }
}

#[test]
fn clients_may_have_to_have_certificates() {
    let identity = certificate(&["client"]);
    let own = certificate(&["localhost"]);
    for required in [false, true] {
        let tls = TlsConfig::builder()
            .identity(own.cert.pem().as_bytes(), own.signing_key.serialize_pem().as_bytes())
            .client_certificates(identity.cert.pem().as_bytes(), required)
            .build()
            .unwrap();
        let server = serve(&tls);
        let mut nobody = Secure::connect(&server, client_config(&BOTH));
        let served = nobody.try_write(get("/page")).and_then(|()| nobody.read()).is_ok();
        assert_eq!(served, !required);
        let config = client(ring::default_provider(), &BOTH)
            .with_client_auth_cert(
                vec![identity.cert.der().clone()],
                PrivateKeyDer::from_pem_slice(identity.signing_key.serialize_pem().as_bytes()).unwrap(),
            )
            .unwrap();
        let mut known = Secure::connect(&server, config);
        known.write(get("/page"));
        known.wait_for("page");
    }
}

/// RFC 7301 3.2. In TLS 1.3 that is said behind the server's hello, which the client needs to read it.
#[test]
fn who_speaks_no_protocol_of_ours_is_told_so() {
    let server = serve(&tls());
    for version in BOTH {
        let mut config = client_config(&[version]);
        config.alpn_protocols = vec![b"h2".to_vec()];
        let error = Secure::connect(&server, config).try_write(get("/page")).unwrap_err();
        assert!(error.to_string().contains("NoApplicationProtocol"), "{version:?}: {error}");
    }
}

#[test]
fn a_version_that_is_too_old_is_refused() {
    let own = certificate(&["localhost"]);
    let tls = TlsConfig::builder()
        .identity(own.cert.pem().as_bytes(), own.signing_key.serialize_pem().as_bytes())
        .min_version(TlsVersion::Tls13)
        .build()
        .unwrap();
    let server = serve(&tls);
    let mut old = Secure::connect(&server, client_config(&[BOTH[1]]));
    let error = old.try_write(get("/page")).unwrap_err();
    assert!(error.to_string().contains("ProtocolVersion"), "{error}");
    let mut new = Secure::connect(&server, client_config(&BOTH));
    new.write(get("/page"));
    new.wait_for("page");
}

#[test]
fn who_reads_late_gets_all_of_it() {
    let mut config = Config::default();
    // The kernel alone might take all of it where there is no `TCP_NOTSENT_LOWAT`.
    config.send_buffer_bytes = Some(64 << 10);
    let server = serve_with(&tls(), app(), config);
    for version in BOTH {
        let mut client = Secure::connect(&server, client_config(&[version]));
        client.write(get("/large"));
        server.wait_for("it waits", |stats| stats.memory.replies > 0 || stats.memory.network > 0);
        client.wait_for("\r\n\r\n");
        let begin = client.received.find("\r\n\r\n").unwrap() + 4;
        while client.received.len() < begin + (3 << 20) {
            assert!(client.read().unwrap() > 0);
        }
        assert!(client.received[begin..].bytes().all(|byte| byte == b'x'));
        client.close();
        server.wait_for("nothing is held", |stats| stats.memory.network == 0 && stats.connections == 0);
    }
}

#[test]
fn new_keys_may_be_asked_for_at_any_time() {
    let server = serve(&tls());
    let mut client = Secure::connect(&server, client_config(&[BOTH[0]]));
    client.write(get("/events"));
    client.wait_for(":\n");
    for _ in 0..3 {
        client.received.clear();
        client.connection.refresh_traffic_keys().unwrap();
        client.connection.complete_io(&mut client.socket).unwrap();
        publish(&server, "next");
        client.wait_for("data: next\n\n");
    }
}

#[test]
fn plain_and_tls_are_served_side_by_side_and_share_what_is_published() {
    let listeners = Listeners::new().tcp("127.0.0.1:0").tls("127.0.0.1:0", &tls());
    let server = Server::listen(listeners, app(), Config::default()).unwrap();
    let [plain, secure] = server.local_addrs()[..] else { panic!("two addresses") };
    let mut server = run(server);
    let mut one = Client::connect(plain);
    one.get("/events");
    one.wait_for_body(":\n");
    server.address = secure;
    let mut other = Secure::connect(&server, client_config(&BOTH));
    other.write(get("/events"));
    other.wait_for(":\n");
    publish(&server, "to all");
    other.wait_for("data: to all\n\n");
    one.wait_for_body("data: to all\n\n");
    server.address = plain;
}

#[test]
fn what_cannot_be_used_is_named() {
    let (one, other) = (certificate(&["a"]), certificate(&["b"]));
    let said = |certificates: &str, key: &str| {
        TlsConfig::from_pem(certificates.as_bytes(), key.as_bytes()).unwrap_err().to_string()
    };
    let (pem, key) = (one.cert.pem(), one.signing_key.serialize_pem());
    assert_eq!(said("", &key), "the certificate: there is no certificate in it");
    assert_eq!(said(&pem, &pem), "the private key: there is no key in it");
    let mixed = said(&pem, &other.signing_key.serialize_pem());
    assert_eq!(mixed, "the private key: the key does not belong to the certificate");
    let missing = TlsConfig::from_pem_files("/nowhere.pem", "/nowhere.key").unwrap_err().to_string();
    assert!(missing.starts_with("/nowhere.pem: "), "{missing}");
    assert_eq!(TlsConfig::builder().build().unwrap_err().to_string(), "the certificate: there is none");
}

#[test]
fn a_crowd_that_shakes_hands_does_not_keep_others_waiting_for_ever() {
    let server = serve(&tls());
    let mut reader = Secure::connect(&server, client_config(&BOTH));
    reader.write(get("/events"));
    reader.wait_for(":\n");
    let config = Arc::new(client_config(&BOTH));
    let mut crowd: Vec<_> =
        (0..100).map(|_| Secure::connect_as(&server, "localhost", Arc::clone(&config))).collect();
    let deadline = now() + secs(20);
    for client in &mut crowd {
        let mut hello = Vec::new();
        client.connection.write_tls(&mut hello).unwrap();
        client.socket.write_all(&hello).unwrap();
    }
    publish(&server, "meanwhile");
    reader.wait_for("data: meanwhile\n\n");
    for client in &mut crowd {
        client.write(get("/page"));
        client.wait_for("page");
    }
    assert!(now() < deadline);
}
