//! `openssl s_client`, which tells what was agreed on, and can be asked for what no client should do.

use super::{Secure, serve};
use crate::support::{DEADLINE, eventually, now, run, scratch, tied};
use crate::wire::Wire;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};

const VERSIONS: [&str; 2] = ["-tls1_2", "-tls1_3"];

/// What a server with this kind of key may agree on in TLS 1.2.
const SAFE: [(&str, u16); 3] = [
    ("ECDHE-ECDSA-AES256-GCM-SHA384", 0xc02c),
    ("ECDHE-ECDSA-AES128-GCM-SHA256", 0xc02b),
    ("ECDHE-ECDSA-CHACHA20-POLY1305", 0xcca9),
];

/// A connection, until it is dropped.
struct Openssl {
    process: Child,
    input: ChildStdin,
    lines: Receiver<String>,
}

impl Openssl {
    fn connect(secure: &Secure, arguments: &[&str]) -> Self {
        Self::connect_to(secure.server.address, secure, arguments)
    }

    fn connect_to(address: SocketAddr, secure: &Secure, arguments: &[&str]) -> Self {
        let mut command = tied("sh");
        command.args(["-c", r#"exec stdbuf -oL openssl s_client "$@" 2>&1"#, "sh", "-connect"]);
        command.arg(address.to_string());
        command.args(["-servername", "localhost", "-verify_return_error", "-CAfile", secure.root]);
        let mut process =
            command.args(arguments).stdin(Stdio::piped()).stdout(Stdio::piped()).spawn().unwrap();
        let output = BufReader::new(process.stdout.take().unwrap());
        let (sender, lines) = channel();
        std::thread::spawn(move || {
            for line in output.split(b'\n').map_while(Result::ok) {
                // Nobody may wait any more.
                let _ = sender.send(String::from_utf8_lossy(&line).trim_end().to_owned());
            }
        });
        Self { input: process.stdin.take().unwrap(), process, lines }
    }

    /// A line is a command if it consists of one letter.
    fn say(&mut self, text: &str) {
        self.input.write_all(text.as_bytes()).unwrap();
    }

    fn request(&mut self, path: &str, more: &str) {
        self.say(&format!("GET {path} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n"));
    }

    /// Reads up to a line with this in it, and returns all that was read.
    fn wait_for(&self, wanted: &str) -> String {
        let mut seen = String::new();
        while !seen.contains(wanted) {
            let line = self.lines.recv_timeout(DEADLINE);
            seen += &line.unwrap_or_else(|error| panic!("{wanted:?}: {error}, after {seen}"));
            seen.push('\n');
        }
        seen
    }

    /// Reads to the end. Returns whether it was a clean one, and what came before.
    fn rest(mut self) -> (bool, String) {
        let deadline = now() + DEADLINE;
        let mut seen = String::new();
        while let Ok(line) = self.lines.recv_timeout(deadline.saturating_duration_since(now())) {
            seen += &line;
            seen.push('\n');
        }
        let status = eventually("openssl ends", || {
            self.process.try_wait().unwrap().ok_or_else(|| format!("it runs, after {seen}"))
        });
        (status.success(), seen)
    }
}

impl Drop for Openssl {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// Is refused, by the server and not by openssl itself.
fn assert_refused(secure: &Secure, arguments: &[&str], alert: &str) {
    let (clean, seen) = Openssl::connect(secure, arguments).rest();
    assert!(
        !clean && seen.contains(alert) && seen.contains("no peer certificate available"),
        "{arguments:?}: {seen}"
    );
}

#[test]
fn requests_and_a_stream_over_both_versions() {
    let secure = serve();
    for (version, agreed) in VERSIONS.into_iter().zip(["New, TLSv1.2,", "New, TLSv1.3,"]) {
        let mut openssl = Openssl::connect(&secure, &[version, "-alpn", "h2,http/1.1"]);
        // The last lines before what comes from the server.
        let told = openssl.wait_for("Extended master secret");
        for line in
            [agreed, "Verification: OK", "Compression: NONE", "Expansion: NONE", "ALPN protocol: http/1.1"]
        {
            assert!(told.contains(line), "{line}, not {told}");
        }
        // Of 1.3 there is no such thing at all.
        let renegotiates = told.contains("Secure Renegotiation IS supported");
        assert_eq!(renegotiates, version == "-tls1_2", "the extension of RFC 5746: {told}");
        assert!(told.contains("Server Temp Key: X25519"), "{told}");

        openssl.request("/page", "");
        openssl.wait_for("a page");
        openssl.request("/events", "Connection: close\r\n");
        openssl.wait_for("text/event-stream");
        for data in ["one", "two"] {
            secure.publish(data);
            openssl.wait_for(&format!("data: {data}"));
        }
        secure.end("unread");
        let (clean, rest) = openssl.rest();
        assert!(clean && rest.contains("closed"), "{rest}");
    }
}

/// In HTTP/1.0 the end of the connection is that of the stream, so TLS has to announce it. curl takes a cut
/// for an end.
#[test]
fn an_end_is_told_from_a_cut() {
    let secure = serve();
    for version in VERSIONS {
        for cut in [false, true] {
            let wire = Wire::to(secure.server.address);
            let mut openssl = Openssl::connect_to(wire.address, &secure, &[version]);
            openssl.say("GET /events HTTP/1.0\r\n\r\n");
            let head = openssl.wait_for("text/event-stream");
            assert!(!head.contains("chunked"), "{head}");
            if cut {
                wire.end();
            } else {
                secure.end("unread");
            }
            let (clean, rest) = openssl.rest();
            assert!(clean != cut && rest.contains("unexpected eof") == cut, "{version}, {cut}: {rest}");
        }
    }
}

#[test]
fn versions_before_1_2_are_refused() {
    let secure = serve();
    for version in ["-tls1", "-tls1_1"] {
        // openssl does not speak them by itself either.
        assert_refused(&secure, &[version, "-cipher", "DEFAULT:@SECLEVEL=0"], "SSL alert number");
    }
}

/// All that openssl has, besides those that are safe.
#[test]
fn suites_that_are_not_safe_are_refused() {
    let secure = serve();
    let all_but = SAFE.map(|(name, _)| format!(":!{name}")).concat();
    let lists = [
        format!("ALL:COMPLEMENTOFALL{all_but}"),
        "aNULL".to_owned(),
        "eNULL".to_owned(),
        "kRSA".to_owned(),
        "ECDHE-ECDSA-AES256-SHA384:ECDHE-ECDSA-AES128-SHA256:ECDHE-ECDSA-AES128-SHA".to_owned(),
    ];
    for list in lists {
        let list = format!("{list}:@SECLEVEL=0");
        assert_refused(&secure, &["-tls1_2", "-cipher", &list], "alert handshake failure");
    }
    for (name, _) in SAFE {
        let openssl = Openssl::connect(&secure, &["-tls1_2", "-cipher", name]);
        openssl.wait_for(&format!("New, TLSv1.2, Cipher is {name}"));
    }
}

/// A hello of TLS 1.2 that offers compression, as old ones did: by openssl's rules, but with any suites.
fn hello(suites: &[u16]) -> Vec<u8> {
    fn prefixed<const N: usize>(content: &[u8]) -> Vec<u8> {
        [&u32::try_from(content.len()).unwrap().to_be_bytes()[4 - N..], content].concat()
    }
    let words = |words: &[u16]| words.iter().flat_map(|word| word.to_be_bytes()).collect::<Vec<_>>();
    let extension = |kind: u16, content: &[u8]| [words(&[kind]), prefixed::<2>(content)].concat();
    let extensions = [
        // Groups: X25519 and P-256. Signatures: by ECDSA with P-256, and RSA. Points as they are.
        extension(10, &prefixed::<2>(&words(&[0x1d, 0x17]))),
        extension(13, &prefixed::<2>(&words(&[0x0403, 0x0804, 0x0401]))),
        extension(11, &prefixed::<1>(&[0])),
    ];
    let body = [
        vec![3, 3],
        vec![7; 32],
        prefixed::<1>(&[]),
        prefixed::<2>(&words(suites)),
        prefixed::<1>(&[1, 0]),
        prefixed::<2>(&extensions.concat()),
    ];
    let message = [vec![1], prefixed::<3>(&body.concat())].concat();
    [vec![22, 3, 1], prefixed::<2>(&message)].concat()
}

/// RC4, 3DES and others that openssl does not have any more, each by its number, and compression.
#[test]
fn neither_suites_of_old_nor_compression_are_agreed_on() {
    let secure = serve();
    let send = |suites: &[u16]| {
        let mut socket = TcpStream::connect(secure.server.address).unwrap();
        socket.set_read_timeout(Some(DEADLINE)).unwrap();
        socket.write_all(&hello(suites)).unwrap();
        let mut head = [0; 5];
        socket.read_exact(&mut head).unwrap();
        let mut record = vec![0; usize::from(u16::from_be_bytes([head[3], head[4]]))];
        socket.read_exact(&mut record).unwrap();
        (head[0], record)
    };
    let unsafe_ones = (0..=0x00fe).chain(0xc001..=0xc0ff).chain(0xcc13..=0xccaf);
    let unsafe_ones: Vec<u16> =
        unsafe_ones.filter(|suite| SAFE.iter().all(|(_, safe)| safe != suite)).collect();
    assert_eq!(send(&unsafe_ones), (21, vec![2, 40]), "an alert: handshake_failure");
    for (_, safe) in SAFE {
        let (kind, record) = send(&[&unsafe_ones[..], &[safe]].concat());
        assert_eq!((kind, record[0]), (22, 2), "a server's hello");
        // Behind a header, version and random comes an id, then the suite and the compression.
        let at = 4 + 2 + 32 + 1 + usize::from(record[38]);
        assert_eq!(record[at..at + 3], [&safe.to_be_bytes()[..], &[0]].concat());
    }
}

#[test]
fn renegotiation_is_refused() {
    let secure = serve();
    let mut other = Openssl::connect(&secure, &["-tls1_2"]);
    other.wait_for("Extended master secret");
    other.request("/events", "");
    other.wait_for("text/event-stream");

    let mut openssl = Openssl::connect(&secure, &["-tls1_2"]);
    openssl.wait_for("Extended master secret");
    openssl.request("/page", "");
    openssl.wait_for("a page");
    openssl.say("R\n");
    openssl.wait_for("RENEGOTIATING");
    let (clean, rest) = openssl.rest();
    assert!(!clean && rest.contains("no renegotiation"), "{rest}");

    secure.publish("for the other");
    other.wait_for("data: for the other");
    secure.server.wait_for("one connection is left", |stats| stats.connections == 1);
}

/// With and without asking the server for new ones, while a stream is read. rustls takes 32 in a row.
#[test]
fn new_keys_change_nothing() {
    let secure = serve();
    let mut openssl = Openssl::connect(&secure, &["-tls1_3"]);
    openssl.wait_for("Extended master secret");
    openssl.request("/events", "");
    openssl.wait_for("text/event-stream");
    for count in 0..30 {
        openssl.say(if count % 2 == 0 { "K\n" } else { "k\n" });
        openssl.wait_for("KEYUPDATE");
        secure.publish(&format!("number {count}"));
        openssl.wait_for(&format!("data: number {count}"));
    }
}

/// RFC 7301 3.2: who speaks nothing that the server does is told so.
#[test]
fn a_client_with_nothing_but_http2_is_refused() {
    let secure = serve();
    for version in VERSIONS {
        assert_refused(&secure, &[version, "-alpn", "h2"], "alert no application protocol");
    }
    let openssl = Openssl::connect(&secure, &[]);
    assert!(openssl.wait_for("Verify return code").contains("No ALPN negotiated"));
}

#[test]
fn who_comes_back_with_a_ticket_is_known() {
    let secure = serve();
    let directory = scratch("tickets");
    for (version, agreed) in VERSIONS.into_iter().zip(["Reused, TLSv1.2,", "Reused, TLSv1.3,"]) {
        let ticket = directory.join(version);
        let ticket = ticket.to_str().unwrap();
        let mut openssl = Openssl::connect(&secure, &[version, "-sess_out", ticket]);
        openssl.request("/page", "Connection: close\r\n");
        let (clean, seen) = openssl.rest();
        assert!(clean && seen.contains("a page"), "{seen}");
        run(Command::new("openssl").args(["sess_id", "-noout", "-in", ticket]));

        let mut openssl = Openssl::connect(&secure, &[version, "-sess_in", ticket]);
        openssl.wait_for(agreed);
        openssl.request("/page", "Connection: close\r\n");
        let (clean, seen) = openssl.rest();
        assert!(clean && seen.contains("a page"), "{seen}");
    }
}

/// The group that the client has a key for at first is none that the server takes.
#[test]
fn a_client_is_asked_for_another_group() {
    let secure = serve();
    let mut openssl = Openssl::connect(&secure, &["-tls1_3", "-groups", "P-521:P-256", "-msg"]);
    openssl.request("/page", "Connection: close\r\n");
    let (clean, seen) = openssl.rest();
    assert!(clean && seen.contains("a page"), "{seen}");
    assert!(seen.contains("Server Temp Key: ECDH, prime256v1"), "{seen}");
    assert_eq!(seen.matches(", ClientHello").count(), 2, "{seen}");
}
