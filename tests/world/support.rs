//! Servers in a thread, examples as processes, and waiting with a deadline.

use mio_sse::{App, Config, Listeners, Publisher, Server, Stats};
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::{OnceLock, mpsc};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

/// Timeout of a test. Only a failed test waits this long.
pub(crate) const DEADLINE: Duration = Duration::from_secs(30);

#[expect(clippy::disallowed_methods, reason = "tests have deadlines")]
pub(crate) fn now() -> Instant {
    Instant::now()
}

pub(crate) fn ms(ms: u64) -> Duration {
    Duration::from_millis(ms)
}

/// Asks repeatedly until there is an answer.
pub(crate) fn eventually<T>(what: &str, mut ask: impl FnMut() -> Result<T, String>) -> T {
    let deadline = now() + DEADLINE;
    loop {
        match ask() {
            Ok(answer) => return answer,
            Err(state) => assert!(now() < deadline, "{what}: {state}"),
        }
        std::thread::sleep(ms(5));
    }
}

/// Directory for everything that is made here: nothing is written to the repository.
pub(crate) fn target_dir() -> &'static Path {
    Path::new(env!("CARGO_TARGET_TMPDIR")).parent().unwrap()
}

/// An empty directory.
pub(crate) fn scratch(name: &str) -> PathBuf {
    let directory = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    let _ = std::fs::remove_dir_all(&directory);
    std::fs::create_dir_all(&directory).unwrap();
    directory
}

pub(crate) fn repository() -> &'static Path {
    Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/../.."))
}

/// A command that is killed with the thread that started it. `setpriv` is part of util-linux, which is
/// everywhere.
pub(crate) fn tied(program: impl AsRef<std::ffi::OsStr>) -> Command {
    let mut command = Command::new("setpriv");
    command.args(["--pdeathsig", "TERM"]).arg(program).stdin(Stdio::null());
    command
}

/// Runs a command to its end.
pub(crate) fn run(command: &mut Command) {
    let output = command.output().unwrap_or_else(|error| panic!("{command:?}: {error}"));
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    assert!(output.status.success(), "{command:?}: {}{}", text(&output.stdout), text(&output.stderr));
}

/// A server in a thread that runs until it is dropped.
pub(crate) struct Running {
    pub(crate) address: SocketAddr,
    pub(crate) publisher: Publisher,
    thread: Option<JoinHandle<()>>,
}

pub(crate) fn serve(app: impl App + Send + 'static) -> Running {
    serve_with(app, Config::default())
}

pub(crate) fn serve_with(app: impl App + Send + 'static, config: Config) -> Running {
    serve_on(Listeners::new().tcp("127.0.0.1:0"), app, config)
}

pub(crate) fn serve_on(listeners: Listeners, app: impl App + Send + 'static, config: Config) -> Running {
    let mut server = Server::listen(listeners, app, config).unwrap();
    let (address, publisher) = (server.local_addr().unwrap(), server.publisher().without_state());
    let thread = std::thread::spawn(move || server.run().unwrap());
    Running { address, publisher, thread: Some(thread) }
}

/// A server on a port that another had a moment ago.
pub(crate) fn serve_at<H: App + Send + 'static>(
    address: SocketAddr,
    app: impl Fn() -> H,
    config: &Config,
) -> Running {
    let mut server = eventually("the port is free again", || {
        Server::bind_with(address, app(), config.clone()).map_err(|error| error.to_string())
    });
    let publisher = server.publisher().without_state();
    let thread = std::thread::spawn(move || server.run().unwrap());
    Running { address, publisher, thread: Some(thread) }
}

impl Running {
    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    pub(crate) fn stats(&self) -> Stats {
        let (sender, receiver) = mpsc::channel();
        self.publisher.run(move |cx| sender.send(cx.stats()).map_err(|_| "nobody waits")).unwrap();
        receiver.recv_timeout(DEADLINE).unwrap()
    }

    /// Waits until the stats meet the condition.
    pub(crate) fn wait_for(&self, what: &str, mut condition: impl FnMut(&Stats) -> bool) -> Stats {
        eventually(what, || {
            let stats = self.stats();
            if condition(&stats) { Ok(stats) } else { Err(format!("{stats:?}")) }
        })
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.publisher.run(|cx| cx.stop());
        let stopped = self.thread.take().unwrap().join();
        if !std::thread::panicking() {
            stopped.unwrap();
        }
    }
}

/// An example of the library as its readers start it, until it is dropped.
pub(crate) struct Example {
    process: Child,
    pub(crate) address: SocketAddr,
}

impl Example {
    pub(crate) fn start(name: &str) -> Self {
        Self::start_with(name, Stdio::null())
    }

    pub(crate) fn start_with(name: &str, input: impl Into<Stdio>) -> Self {
        Self::start_on(0, name, input)
    }

    /// Asks it to stop cleanly, calls `meanwhile`, and starts it again on the same port once it has exited.
    /// `between` is called while it does not run.
    pub(crate) fn restart(
        mut self,
        name: &str,
        meanwhile: impl FnOnce(),
        between: impl FnOnce(SocketAddr),
    ) -> Self {
        run(Command::new("kill").args(["-TERM", &self.process.id().to_string()]));
        meanwhile();
        self.process.wait().unwrap();
        between(self.address);
        Self::start_on(self.address.port(), name, Stdio::null())
    }

    fn start_on(port: u16, name: &str, input: impl Into<Stdio>) -> Self {
        static BUILT: OnceLock<()> = OnceLock::new();
        BUILT.get_or_init(|| {
            let mut build = Command::new(env!("CARGO"));
            build.args(["build", "--release", "--examples", "--quiet", "--manifest-path"]);
            build.arg(repository().join("Cargo.toml")).arg("--target-dir").arg(target_dir());
            run(&mut build);
        });
        let mut command = tied(target_dir().join("release/examples").join(name));
        command
            .env_remove("RUST_LOG")
            .env("PORT", port.to_string())
            .stdin(input)
            .stdout(Stdio::piped())
            .stderr(Stdio::null());
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let address = line.trim_end().strip_prefix(&format!("{name}: http://"));
        let Some(address) = address.and_then(|address| address.parse().ok()) else {
            let _ = process.kill();
            panic!("an address, not {line:?}");
        };
        Self { process, address }
    }

    pub(crate) fn url(&self, path: &str) -> String {
        format!("http://{}{path}", self.address)
    }

    fn proc(&self, file: &str) -> PathBuf {
        Path::new("/proc").join(self.process.id().to_string()).join(file)
    }

    pub(crate) fn descriptors(&self) -> usize {
        std::fs::read_dir(self.proc("fd")).unwrap().count()
    }

    /// Resident memory, in KiB.
    pub(crate) fn resident(&self) -> u64 {
        let status = std::fs::read_to_string(self.proc("status")).unwrap();
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).unwrap();
        line.trim().trim_end_matches(" kB").parse().unwrap()
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}
