//! A server under test: starting it, sending requests, and measuring it from outside.

use crate::Result;
use crate::args::Peer;
use crate::process::Process;
use crate::procfs::{self, Cpu, Memory};
use std::cell::Cell;
use std::io::{ErrorKind, Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpStream};
use std::process::Command;
use std::time::{Duration, Instant};

/// Time for a server to print its address, reply to `/stats`, or notice a disconnect.
const ANSWER: Duration = Duration::from_secs(30);

/// After this time a peer is assumed to notice a disconnect only at its next write.
const PEER_PATIENCE: Duration = Duration::from_secs(2);

/// Period with which a condition is checked.
const LOOK: Duration = Duration::from_millis(5);

/// The server, by its name in tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Subject {
    Hub,
    Floor,
    FloorCoalesce,
    Peer(&'static Peer),
}

impl Subject {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Subject::Hub => "hub",
            Subject::Floor => "floor",
            Subject::FloorCoalesce => "floor --coalesce",
            Subject::Peer(peer) => &peer.name,
        }
    }
}

/// A running server, which is stopped on drop.
#[derive(Debug)]
pub(crate) struct Server {
    pid: u32,
    address: SocketAddr,
    /// Time that it may need to notice a disconnect.
    patience: Duration,
    /// Between the harness and the server.
    _keeper: Process,
}

impl Server {
    /// `keeper` is the command of a keeper that starts the server.
    pub(crate) fn start(subject: Subject, mut keeper: Command) -> Result<Server> {
        keeper.env("PORT", "0");
        // A log line for each stream would distort the figures of an example that logs by default.
        if std::env::var_os("RUST_LOG").is_none() {
            keeper.env("RUST_LOG", "warn");
        }
        let keeper = Process::spawn(subject.name(), keeper)?;
        // The keeper prints the one and the server the other, in any order. A server whose work is done by
        // another process reports that process before its address.
        let (pid, worker, at) = (Cell::new(None), Cell::new(None), Cell::new(None));
        let (pid, address) = keeper.line(ANSWER, |line| {
            match (line.strip_prefix("pid "), line.strip_prefix("worker ")) {
                (Some(number), _) => pid.set(number.parse().ok()),
                (_, Some(number)) => worker.set(number.parse().ok()),
                _ => at.set(at.get().or(address(line))),
            }
            pid.get().map(|pid| worker.get().unwrap_or(pid)).zip(at.get())
        })?;
        if let Some(program) = procfs::program(pid)
            && ["sh", "dash", "bash"].iter().any(|shell| program.ends_with(shell))
        {
            return Err(
                "a script in the server's place must `exec` it, or the shell is what gets measured".into()
            );
        }
        let patience = if matches!(subject, Subject::Peer(_)) { PEER_PATIENCE } else { ANSWER };
        Ok(Server { pid, address, patience, _keeper: keeper })
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.address
    }

    pub(crate) fn pid(&self) -> u32 {
        self.pid
    }

    pub(crate) fn cpu(&self) -> Result<Cpu> {
        procfs::cpu(self.pid)
    }

    pub(crate) fn memory(&self) -> Result<Memory> {
        procfs::memory(self.pid)
    }

    pub(crate) fn descriptors(&self) -> Result<usize> {
        procfs::descriptors(self.pid)
    }

    /// Waits until the server has closed the connections of peers that have left. Counting from outside costs
    /// the server nothing, so this may happen between two samples of its CPU time.
    pub(crate) fn until_descriptors(&self, at_most: usize) -> Result<()> {
        let deadline = Instant::now() + self.patience;
        loop {
            let open = self.descriptors()?;
            if open <= at_most {
                return Ok(());
            }
            if Instant::now() > deadline {
                return Err(format!(
                    "{open} descriptors still open after {:?}, {at_most} before",
                    self.patience
                )
                .into());
            }
            std::thread::sleep(LOOK);
        }
    }

    /// Waits until `/stats` counts this many streams.
    pub(crate) fn until_streams(&self, streams: u64) -> Result<Stats> {
        let deadline = Instant::now() + ANSWER;
        loop {
            let stats = self.stats()?;
            if stats.number("streams")? == streams || Instant::now() > deadline {
                return Ok(stats);
            }
            std::thread::sleep(LOOK);
        }
    }

    pub(crate) fn stats(&self) -> Result<Stats> {
        let mut socket = TcpStream::connect_timeout(&self.address, ANSWER)?;
        socket.set_read_timeout(Some(ANSWER))?;
        write!(socket, "GET /stats HTTP/1.1\r\nHost: {}\r\nConnection: close\r\n\r\n", self.address)?;
        let mut response = Vec::new();
        let mut buf = [0; 4096];
        loop {
            match socket.read(&mut buf) {
                Ok(0) => break,
                Ok(length) => response.extend_from_slice(&buf[..length]),
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(format!("GET /stats: {error}").into()),
            }
            if whole(&response) {
                break;
            }
        }
        let response = String::from_utf8_lossy(&response).into_owned();
        match response.split_once("\r\n\r\n") {
            Some((head, body)) if head.starts_with("HTTP/1.1 200 ") => Ok(Stats(body.trim().to_owned())),
            _ => Err(format!("GET /stats got {response:?}").into()),
        }
    }
}

/// Whether a response is complete by its Content-Length. Without one, the server has to close.
fn whole(response: &[u8]) -> bool {
    let response = String::from_utf8_lossy(response);
    let Some((head, body)) = response.split_once("\r\n\r\n") else { return false };
    head.lines()
        .filter_map(|line| line.split_once(':'))
        .filter(|(name, _)| name.eq_ignore_ascii_case("content-length"))
        .any(|(_, length)| length.trim().parse().is_ok_and(|length: usize| body.len() >= length))
}

/// The address in a line with which a server announces it.
fn address(line: &str) -> Option<SocketAddr> {
    let (_, rest) = line.split_once("http://127.0.0.1:")?;
    let digits = rest.find(|character: char| !character.is_ascii_digit()).unwrap_or(rest.len());
    Some(SocketAddr::from((Ipv4Addr::LOCALHOST, rest[..digits].parse().ok()?)))
}

/// Statistics that the server reports.
#[derive(Debug)]
pub(crate) struct Stats(pub(crate) String);

impl Stats {
    /// The first whole number with this name, at any depth.
    pub(crate) fn number(&self, name: &str) -> Result<u64> {
        let value = self
            .0
            .split_once(&format!("\"{name}\""))
            .and_then(|(_, rest)| rest.trim_start().strip_prefix(':'));
        let digits: String = value
            .map(|value| value.trim_start().chars().take_while(char::is_ascii_digit).collect())
            .unwrap_or_default();
        Ok(digits.parse().map_err(|_| format!("/stats has no number {name:?}: {}", self.0))?)
    }
}
