//! Nodes: processes that run the example `cluster`.

use super::process::{Process, tied};
use super::{DEADLINE, until};
use std::ffi::OsStr;
use std::io::{BufRead, BufReader, Error, ErrorKind, Read, Result, Write};
use std::net::{SocketAddr, TcpStream};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::LazyLock;

/// A node that runs until it is dropped: then it is killed with SIGKILL.
pub(crate) struct Node {
    pub(crate) process: Process,
    pub(crate) address: SocketAddr,
}

/// Builds the example, as `cargo test --test` and `cargo bench` do not.
fn example() -> &'static Path {
    static EXAMPLE: LazyLock<PathBuf> = LazyLock::new(|| {
        let test = std::env::current_exe().unwrap();
        let profile = test.parent().and_then(Path::parent).unwrap();
        let name = match profile.file_name().and_then(OsStr::to_str).unwrap() {
            "debug" => "dev",
            other => other,
        };
        let mut cargo = Command::new(env!("CARGO"));
        cargo.args(["build", "--quiet", "--example", "cluster", "--profile", name]);
        cargo.args(["--manifest-path", concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml")]);
        assert!(cargo.arg("--target-dir").arg(profile.parent().unwrap()).status().unwrap().success());
        profile.join("examples/cluster")
    });
    &EXAMPLE
}

impl Node {
    /// Starts a node that keeps `history` entries of the Redis at `url`.
    pub(crate) fn start(url: &str, history: usize) -> Self {
        Self::start_in(1, url, history)
    }

    /// The same, in several loops.
    pub(crate) fn start_in(shards: usize, url: &str, history: usize) -> Self {
        let mut command = tied(example());
        command.env("PORT", "0").env("REDIS_URL", url).env("HISTORY", history.to_string());
        command.env("KEY", "events").env("SHARDS", shards.to_string()).stdout(Stdio::piped());
        if std::env::var_os("RUST_LOG").is_some() {
            command.stderr(Stdio::inherit());
        }
        let mut process = Process::spawn(&mut command);
        let mut line = String::new();
        BufReader::new(process.stdout()).read_line(&mut line).unwrap();
        let said = line.trim_end().strip_prefix("cluster: http://").unwrap_or_default();
        let Ok(address) = said.parse() else { panic!("an address, not {line:?}") };
        Self { process, address }
    }

    pub(crate) fn get(&self, path: &str) -> Answer {
        self.get_for("http://x", path)
    }

    /// Sends the request with the header `Origin`.
    pub(crate) fn get_for(&self, origin: &str, path: &str) -> Answer {
        let request = format!("GET {path} HTTP/1.1\r\nOrigin: {origin}");
        send(&mut connect(self.address).unwrap(), &request, "").unwrap()
    }

    /// Publishes. Returns the reply of the node.
    pub(crate) fn publish(&self, topics: &str, data: &str) -> Answer {
        ask(&mut connect(self.address).unwrap(), &format!("POST /publish/{topics}"), data).unwrap()
    }

    /// A value from `/metrics`.
    pub(crate) fn metric(&self, name: &str) -> u64 {
        let metrics = self.get("/metrics").body;
        let value = metrics.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        value.and_then(|value| value.parse().ok()).unwrap_or_else(|| panic!("{name} in {metrics}"))
    }

    pub(crate) fn until_connected(&self) {
        until("the node's connection to Redis", || self.metric("mio_sse_redis_connected") == 1);
    }
}

#[derive(Debug, PartialEq)]
pub(crate) struct Answer {
    pub(crate) status: u16,
    /// All header lines.
    pub(crate) headers: String,
    pub(crate) body: String,
}

pub(crate) fn connect(node: SocketAddr) -> Result<BufReader<TcpStream>> {
    let socket = TcpStream::connect_timeout(&node, DEADLINE)?;
    socket.set_read_timeout(Some(DEADLINE))?;
    socket.set_nodelay(true)?;
    Ok(BufReader::new(socket))
}

/// Sends one request on an open connection.
pub(crate) fn ask(connection: &mut BufReader<TcpStream>, request: &str, body: &str) -> Result<Answer> {
    send(connection, &format!("{request} HTTP/1.1"), body)
}

fn send(connection: &mut BufReader<TcpStream>, head: &str, body: &str) -> Result<Answer> {
    let length = body.len();
    let request = format!("{head}\r\nHost: x\r\nContent-Length: {length}\r\n\r\n{body}");
    connection.get_mut().write_all(request.as_bytes())?;
    let invalid = |line: &str| Error::new(ErrorKind::InvalidData, line.to_owned());
    let mut line = String::new();
    connection.read_line(&mut line)?;
    let status = line.split(' ').nth(1).and_then(|status| status.parse().ok());
    let status = status.ok_or_else(|| invalid(&line))?;
    let (mut headers, mut length) = (String::new(), 0);
    loop {
        line.clear();
        connection.read_line(&mut line)?;
        let (name, value) = match line.trim_end().split_once(':') {
            Some(field) => field,
            None if line == "\r\n" => break,
            None => return Err(invalid(&line)),
        };
        if name.eq_ignore_ascii_case("Content-Length") {
            length = value.trim().parse().map_err(|_| invalid(&line))?;
        }
        headers.push_str(&line);
    }
    let mut body = vec![0; length];
    connection.read_exact(&mut body)?;
    Ok(Answer { status, headers, body: String::from_utf8_lossy(&body).into_owned() })
}
