//! Clients that make a server hold as much memory as possible: its RSS beside `Config::memory_max`.

use super::Checks;
use crate::Result;
use crate::rig::Rig;
use crate::server::Server;
use std::io::{ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::time::Duration;

/// Clients of one attack.
const CLIENTS: usize = 5_000;

/// Clients that request a page of 8 MiB. They are fewer, as the kernel takes some megabytes for each.
const READERS: usize = 60;

/// Period of RSS samples. RSS is settled when it has not grown this many times in a row.
const LOOK: Duration = Duration::from_millis(50);
const LOOKS: usize = 20;

/// Further memory of the process: code, stacks, connections, and fragmentation of its allocator.
const BESIDES: u64 = 16 << 20;

type Attack = fn(SocketAddr) -> Result<Vec<TcpStream>>;

const ATTACKS: [(&str, Attack); 4] = [
    ("5,000 bodies of 64 KB, all but the end", bodies),
    ("5,000 streams whose peers send 16 KB", talkative),
    ("60 pages of 8 MiB that nobody reads", unread),
    ("115 MB for one slow stream of 120 topics", many_topics),
];

pub(super) fn run(rig: &mut Rig) -> Result<bool> {
    let mut checks = Checks::new();
    for (name, attack) in ATTACKS {
        rig.progress(&format!("hoard: {name}"));
        let server = rig.example("patterns")?;
        let memory_max = server.stats()?.number("memory_max")?;
        let before = server.memory()?.counted;
        let clients = attack(server.address())?;
        let grown = settled(&server)?.saturating_sub(before);
        let may = memory_max + BESIDES;
        let is = format!("{} MiB", grown >> 20);
        checks.add(name, is, format!("≤ {} MiB", may >> 20), grown <= may);
        drop(clients);
    }
    rig.progress("");
    Ok(checks.print("hoard: by how much RSS grows, where memory_max is 64 MiB"))
}

/// The maximum of the server's memory, once it no longer grows.
fn settled(server: &Server) -> Result<u64> {
    let (mut most, mut looks) = (0, 0);
    while looks < LOOKS {
        std::thread::sleep(LOOK);
        let now = server.memory()?.counted;
        looks = if now > most { 0 } else { looks + 1 };
        most = most.max(now);
    }
    Ok(most)
}

/// A client that has sent as much of `bytes` as the server reads.
fn client(address: SocketAddr, mut bytes: &[u8]) -> Result<TcpStream> {
    let mut socket = TcpStream::connect(address)?;
    socket.set_write_timeout(Some(Duration::from_millis(100)))?;
    while !bytes.is_empty() {
        match socket.write(bytes) {
            Ok(count) => bytes = &bytes[count..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            // The server may refuse it, or stop reading.
            Err(_) => break,
        }
    }
    Ok(socket)
}

fn bodies(address: SocketAddr) -> Result<Vec<TcpStream>> {
    let head = "POST /publish/t HTTP/1.1\r\nHost: x\r\nContent-Length: 65536\r\n\r\n";
    let request = format!("{head}{}", "x".repeat(65_000));
    (0..CLIENTS).map(|_| client(address, request.as_bytes())).collect()
}

fn talkative(address: SocketAddr) -> Result<Vec<TcpStream>> {
    let request = format!("GET /events/t HTTP/1.1\r\nHost: x\r\n\r\nGET /{}", "x".repeat(16_000));
    (0..CLIENTS).map(|_| client(address, request.as_bytes())).collect()
}

fn unread(address: SocketAddr) -> Result<Vec<TcpStream>> {
    (0..READERS).map(|_| client(address, b"GET /page HTTP/1.1\r\nHost: x\r\n\r\n")).collect()
}

fn many_topics(address: SocketAddr) -> Result<Vec<TcpStream>> {
    let slow = client(address, b"GET /events/t?pattern=many HTTP/1.1\r\nHost: x\r\n\r\n")?;
    let mut publisher = TcpStream::connect(address)?;
    publisher.set_read_timeout(Some(Duration::from_secs(30)))?;
    let body = "x".repeat(60_000);
    let mut reply = [0; 4096];
    for number in 0..16 * 120 {
        let topic = number % 120;
        let length = body.len();
        write!(
            publisher,
            "POST /publish/t{topic} HTTP/1.1\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}"
        )?;
        // One at a time, as the reply may be that there is no memory.
        if publisher.read(&mut reply)? == 0 {
            break;
        }
    }
    Ok(vec![slow, publisher])
}
