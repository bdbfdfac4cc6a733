//! A redis-server for one test.

use super::process::{Process, tied};
use super::{Proxy, until};
use redis::{Connection, FromRedisValue};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// A server that listens on a unix socket in a directory of its own, so no other process can take its port
/// while it is down. A [`Proxy`] gives it a port.
pub(crate) struct RedisServer {
    directory: TempDir,
    options: Vec<String>,
    process: Option<Process>,
}

impl RedisServer {
    /// Starts a server that keeps nothing on disk except by `SAVE`.
    pub(crate) fn start() -> Self {
        Self::with(["--save", ""])
    }

    /// Starts a server that writes each command to its file (`appendfsync always`) before it replies.
    pub(crate) fn with_aof() -> Self {
        Self::with(["--save", "", "--appendonly", "yes", "--appendfsync", "always"])
    }

    /// Starts a replica of the server behind `proxy`. It has caught up when this returns.
    pub(crate) fn replica_of(proxy: &Proxy) -> Self {
        let port = proxy.address().port().to_string();
        let replica =
            Self::with(["--save", "", "--replicaof", "127.0.0.1", &port, "--repl-diskless-load", "swapdb"]);
        until("the replica", || replica.ask::<String>("INFO replication").contains("master_link_status:up"));
        replica
    }

    fn with<'a>(options: impl IntoIterator<Item = &'a str>) -> Self {
        let options = options.into_iter().map(str::to_owned).collect();
        let mut server = Self { directory: TempDir::new().unwrap(), options, process: None };
        server.restart();
        server
    }

    /// Starts the server again, after it was killed or not. It replies to commands when this returns.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let mut command = tied("redis-server");
        command.args(["--port", "0", "--unixsocket"]).arg(self.socket());
        command.arg("--dir").arg(self.directory.path()).args(&self.options);
        // A replica need not wait for others.
        command.args(["--repl-diskless-sync-delay", "0"]);
        self.process = Some(Process::spawn(&mut command));
        until("redis-server", || {
            let ended = self.process.as_mut().is_none_or(Process::has_ended);
            assert!(!ended, "redis-server has ended: is it installed?");
            let mut connection = self.client().get_connection();
            connection.as_mut().is_ok_and(|connection| redis::cmd("PING").exec(connection).is_ok())
        });
    }

    /// SIGKILL.
    pub(crate) fn kill(&mut self) {
        self.process = None;
    }

    pub(crate) fn process(&self) -> &Process {
        self.process.as_ref().expect("it runs")
    }

    pub(crate) fn socket(&self) -> PathBuf {
        self.directory.path().join("redis.sock")
    }

    pub(crate) fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub(crate) fn url(&self) -> String {
        format!("unix://{}", self.socket().display())
    }

    pub(crate) fn client(&self) -> redis::Client {
        redis::Client::open(self.url()).unwrap()
    }

    pub(crate) fn connect(&self) -> Connection {
        self.client().get_connection().unwrap()
    }

    /// Sends one command, whose parts are separated by spaces.
    pub(crate) fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        let mut parts = command.split(' ');
        let mut command = redis::cmd(parts.next().unwrap());
        command.arg(parts.collect::<Vec<_>>());
        command.query(&mut self.connect()).unwrap()
    }
}
