//! A redis-server of the test's own.

use super::process::{Process, tied};
use super::{Proxy, until};
use redis::{Connection, FromRedisValue};
use std::path::{Path, PathBuf};
use tempfile::TempDir;

/// It listens on a unix socket in a directory of its own, so that no port can be taken while it is down. A
/// [`Proxy`] gives it a port.
pub(crate) struct RedisServer {
    directory: TempDir,
    options: Vec<String>,
    process: Option<Process>,
}

impl RedisServer {
    /// It keeps nothing on disk but what `SAVE` has put there, which is there again after a restart.
    pub(crate) fn start() -> Self {
        Self::with(["--save", ""])
    }

    /// All that it has answered is in a file, and there again after a restart.
    pub(crate) fn with_aof() -> Self {
        Self::with(["--save", "", "--appendonly", "yes", "--appendfsync", "always"])
    }

    /// It follows the server behind `proxy`, and has caught up when this returns.
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

    /// Starts it where it was killed, or anew. It answers when this returns.
    pub(crate) fn restart(&mut self) {
        self.kill();
        let mut command = tied("redis-server");
        command.args(["--port", "0", "--unixsocket"]).arg(self.socket());
        command.arg("--dir").arg(self.directory.path()).args(&self.options);
        // A replica is not kept waiting for others.
        command.args(["--repl-diskless-sync-delay", "0"]);
        self.process = Some(Process::spawn(&mut command));
        until("redis-server", || {
            let ended = self.process.as_mut().is_none_or(Process::has_ended);
            assert!(!ended, "redis-server has ended: is it installed?");
            let mut connection = self.client().get_connection();
            connection.as_mut().is_ok_and(|connection| redis::cmd("PING").exec(connection).is_ok())
        });
    }

    /// kill -9.
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

    /// Sends one command, its parts separated by spaces.
    pub(crate) fn ask<T: FromRedisValue>(&self, command: &str) -> T {
        let mut parts = command.split(' ');
        let mut command = redis::cmd(parts.next().unwrap());
        command.arg(parts.collect::<Vec<_>>());
        command.query(&mut self.connect()).unwrap()
    }
}
