//! The example of TLS: its two ports, its certificate, and its end.

use crate::examples::example;
use crate::memory_net::get;
use crate::support::{Client, DEADLINE, now};
use crate::tls::Secure;
use crate::tls_client::{BOTH, certificate, client_config};
use rcgen::{CertifiedKey, KeyPair};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::Arc;

/// Ended when it is dropped.
struct Example {
    process: Child,
    secure: SocketAddr,
    plain: SocketAddr,
    /// Where its certificate lies.
    directory: PathBuf,
}

impl Example {
    /// One with a certificate from files.
    fn start(name: &str, certified: &CertifiedKey<KeyPair>) -> Self {
        let directory = std::env::temp_dir().join(format!("mio-sse-{}-{name}", std::process::id()));
        std::fs::create_dir_all(&directory).unwrap();
        write(&directory, certified);
        let mut command = example("tls");
        command.env("CERTIFICATES", directory.join("certificates.pem")).env("KEY", directory.join("key.pem"));
        let (process, secure, plain) = start(&mut command);
        Self { process, secure, plain, directory }
    }

    fn signal(&self, signal: &str) {
        signal_to(&self.process, signal);
    }

    fn connect(&self) -> Secure {
        connect(self.secure)
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
        let _ = std::fs::remove_dir_all(&self.directory);
    }
}

/// Starts it on any ports, and reads which those are.
fn start(command: &mut Command) -> (Child, SocketAddr, SocketAddr) {
    command.env("PORT", "0").env("HTTP_PORT", "0").stderr(Stdio::null());
    let mut process = command.spawn().unwrap();
    let mut line = String::new();
    BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
    let said = line.trim_end().strip_prefix("tls: https://").unwrap();
    let (secure, plain) = said.split_once(", and http://").unwrap();
    let plain = plain.strip_suffix(" leads there").unwrap();
    (process, secure.parse().unwrap(), plain.parse().unwrap())
}

fn write(directory: &std::path::Path, certified: &CertifiedKey<KeyPair>) {
    std::fs::write(directory.join("certificates.pem"), certified.cert.pem()).unwrap();
    std::fs::write(directory.join("key.pem"), certified.signing_key.serialize_pem()).unwrap();
}

fn signal_to(process: &Child, signal: &str) {
    let status = Command::new("kill").args([signal, &process.id().to_string()]).status().unwrap();
    assert!(status.success());
}

fn connect(address: SocketAddr) -> Secure {
    Secure::connect_to(address, "localhost", Arc::new(client_config(&BOTH)))
}

/// A client that has asked for something now.
fn asks(address: SocketAddr, path: &str) -> Secure {
    let mut client = connect(address);
    client.write(get(path));
    client.wait_for("\r\n\r\n");
    client
}

#[test]
fn plain_http_leads_to_the_same_place_over_tls() {
    let example = Example::start("leads", &certificate(&["localhost"]));
    let port = example.secure.port();
    for (host, target, location) in [
        ("localhost:8080", "/", "https://localhost:PORT/"),
        ("localhost", "/clock", "https://localhost:PORT/clock"),
        ("example.org:80", "/a/b%20c?d=e&f", "https://example.org:PORT/a/b%20c?d=e&f"),
        ("[::1]:8080", "/", "https://[::1]:PORT/"),
        ("[::1]", "/x", "https://[::1]:PORT/x"),
        ("localhost:8080", "http://localhost:8080/clock", "https://localhost:PORT/"),
    ] {
        for method in ["GET", "HEAD", "POST"] {
            let mut client = Client::connect(example.plain);
            client.write(format!("{method} {target} HTTP/1.1\r\nHost: {host}\r\nContent-Length: 0\r\n\r\n"));
            let head = client.head();
            let expected = location.replace("PORT", &port.to_string());
            assert_eq!(
                (head.status, head.get("Location")),
                (308, Some(&*expected)),
                "{method} {host} {target}"
            );
        }
    }
}

#[test]
fn it_reads_its_certificate_again_and_streams_go_on() {
    let (old, new) = (certificate(&["localhost"]), certificate(&["localhost"]));
    let example = Example::start("again", &old);
    let mut there = asks(example.secure, "/clock");
    there.wait_for("data: ");
    // One that cannot be used changes nothing.
    std::fs::write(example.directory.join("key.pem"), "no key").unwrap();
    example.signal("-HUP");
    there.received.clear();
    there.wait_for("data: ");
    assert_eq!(asks(example.secure, "/").peer_certificate(), *old.cert.der());

    write(&example.directory, &new);
    example.signal("-HUP");
    let deadline = now() + DEADLINE;
    while asks(example.secure, "/").peer_certificate() != *new.cert.der() {
        assert!(now() < deadline, "there is a new certificate");
    }
    there.received.clear();
    there.wait_for("data: ");
    assert_eq!(there.peer_certificate(), *old.cert.der());
}

#[test]
fn it_ends_its_streams_cleanly() {
    let mut example = Example::start("ends", &certificate(&["localhost"]));
    let mut client = example.connect();
    client.write(get("/clock"));
    client.wait_for("data: ");
    example.signal("-TERM");
    while client.read().unwrap() > 0 {}
    assert!(client.received.ends_with("\r\n0\r\n\r\n"), "{}", client.received);
    assert_eq!(example.process.wait().unwrap().code(), Some(0));
}

/// Without files it makes a certificate, which stays: there is nothing to be read again.
#[test]
fn its_own_certificate_is_made_once() {
    let (process, secure, plain) = start(&mut example("tls"));
    let example = Example { process, secure, plain, directory: PathBuf::new() };
    let mut there = asks(example.secure, "/clock");
    let first = there.peer_certificate();
    example.signal("-HUP");
    there.received.clear();
    there.wait_for("data: ");
    there.received.clear();
    there.wait_for("data: ");
    assert_eq!(asks(example.secure, "/").peer_certificate(), first);
}
