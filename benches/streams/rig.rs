//! Shared by all scenarios: the servers, the limits of the machine, and the outputs.

use crate::Result;
use crate::args::{Args, Peer};
use crate::procfs;
use crate::record::Record;
use crate::server::{Server, Subject};
use crate::subscribers::{Sources, Subscribers};
use crate::table::count;
use std::io::IsTerminal;
use std::net::Ipv4Addr;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};

/// Descriptors that a process needs besides its streams.
const SPARE_FILES: usize = 100;

/// Most addresses of one client.
const SOURCES: usize = 250;

/// Most streams of the example `hub`, which does not change `Config::streams_max`.
const HUB_STREAMS: usize = 100_000;

#[derive(Debug)]
pub(crate) struct Rig {
    pub(crate) streams: Option<usize>,
    pub(crate) events: Option<usize>,
    pub(crate) runs: usize,
    pub(crate) seconds: Option<usize>,
    pub(crate) opening: usize,
    pub(crate) patterns: Vec<&'static str>,
    pin: bool,
    program: PathBuf,
    hub: PathBuf,
    peers: Vec<&'static Peer>,
    /// Soft and hard limit.
    open_files: (usize, usize),
    ports: usize,
    clients: u8,
    /// Output of every figure, besides the tables.
    pub(crate) record: Record,
}

impl Rig {
    /// Reads the limits and builds the hub, so that an error shows before anything is measured.
    pub(crate) fn new(args: &Args) -> Result<Rig> {
        if !cfg!(target_os = "linux") {
            return Err("CPU time and memory are read from /proc, so this measures on Linux only".into());
        }
        let cores = std::thread::available_parallelism()?.get();
        if args.pin
            && (cores < 2 || Command::new("taskset").arg("-V").stdout(Stdio::null()).status().is_err())
        {
            return Err("--pin needs two cores and the program `taskset` (util-linux)".into());
        }
        let mut rig = Rig {
            streams: args.streams,
            events: args.events,
            runs: args.runs,
            seconds: args.seconds,
            opening: args.opening,
            patterns: args.patterns.clone(),
            pin: args.pin,
            program: std::env::current_exe()?,
            hub: PathBuf::new(),
            peers: args.peers.clone(),
            open_files: procfs::open_files()?,
            ports: procfs::ports()?,
            clients: 0,
            record: Record::create(args, &procfs::machine())?,
        };
        rig.hub = match &args.hub {
            // Relative to the current folder, not to the PATH.
            Some(hub) => hub.canonicalize().map_err(|error| format!("--hub {}: {error}", hub.display()))?,
            None => {
                let example = if args.patterns.is_empty() { "hub" } else { "patterns" };
                rig.progress(&format!("building the example `{example}`"));
                build(example)?
            }
        };
        rig.progress("");
        Ok(rig)
    }

    /// Prints the machine and the program that are measured.
    pub(crate) fn describe(&self) {
        let (soft, hard) = self.open_files;
        println!("machine: {}", procfs::machine());
        println!("limits:  {soft} open files (hard limit {hard}), {} ports per address", self.ports);
        let hub = self.hub.file_name().map_or(self.hub.as_path(), Path::new);
        let pinned = if self.pin { "server on CPU 0, client on CPU 1" } else { "placed by the kernel" };
        println!("hub:     {}; {pinned}", hub.display());
    }

    /// Number of streams to open: as requested, or the scenario's default, or what the limits allow.
    pub(crate) fn streams(&self, default: usize) -> usize {
        let wanted = self.streams.unwrap_or(default);
        let allowed = self.allowed();
        if wanted > allowed {
            println!(
                "\nOnly {} streams instead of {}: {}.",
                count(allowed as u64),
                count(wanted as u64),
                self.how_to_allow(wanted)
            );
        }
        wanted.min(allowed)
    }

    /// Number of streams: as requested, or as many as the limits allow.
    pub(crate) fn streams_at_most(&self) -> usize {
        self.streams(self.allowed())
    }

    /// Most streams that server and client can have.
    fn allowed(&self) -> usize {
        let (soft, _) = self.open_files;
        let most = self.ports.saturating_mul(SOURCES).min(HUB_STREAMS);
        soft.saturating_sub(SPARE_FILES).clamp(1, most)
    }

    /// The limit that forbids so many streams, and who can raise it.
    fn how_to_allow(&self, streams: usize) -> String {
        let (soft, hard) = self.open_files;
        let files = streams + SPARE_FILES;
        if streams > HUB_STREAMS {
            return format!("the hub lets in {} at most", count(HUB_STREAMS as u64));
        }
        if soft >= files {
            return format!(
                "{SOURCES} addresses have {} ports each; widen net.ipv4.ip_local_port_range with sysctl, as root",
                self.ports
            );
        }
        let root = if hard < files { ", after raising the hard limit as root" } else { "" };
        format!(
            "server and client may have {soft} files open each; raise it with `ulimit -n {files}` in this shell{root}"
        )
    }

    /// The servers that are measured in turn: those of the scenario, and the peers.
    pub(crate) fn subjects(&self, own: &[Subject]) -> Vec<Subject> {
        own.iter().copied().chain(self.peers.iter().map(|peer| Subject::Peer(peer))).collect()
    }

    pub(crate) fn server(&self, subject: Subject) -> Result<Server> {
        let mut keeper = Command::new(&self.program);
        keeper.arg("keeper");
        if self.pin {
            keeper.args(["taskset", "-c", "0"]);
        }
        match subject {
            Subject::Hub => keeper.arg(&self.hub),
            Subject::Floor => keeper.arg(&self.program).arg("floor"),
            Subject::FloorCoalesce => keeper.arg(&self.program).args(["floor", "--coalesce"]),
            Subject::Peer(peer) => keeper.arg(&peer.program),
        };
        Server::start(subject, keeper)
    }

    /// An example, even if the hub is another program.
    pub(crate) fn example(&self, name: &str) -> Result<Server> {
        let mut keeper = Command::new(&self.program);
        keeper.arg("keeper").arg(build(name)?);
        Server::start(Subject::Hub, keeper)
    }

    /// A client with addresses of its own, enough for `streams`.
    pub(crate) fn subscribers(&mut self, streams: usize) -> Result<Subscribers> {
        self.clients = self.clients.wrapping_add(1);
        // With a quarter of an address's ports the kernel finds a free one quickly.
        let sources = streams.div_ceil(self.ports.div_ceil(4)).clamp(4, SOURCES);
        let [pid, ..] = std::process::id().to_le_bytes();
        let first = Ipv4Addr::new(127, 64 + pid % 128, self.clients, 1);
        let mut command;
        if self.pin {
            command = Command::new("taskset");
            command.args(["-c", "1"]).arg(&self.program);
        } else {
            command = Command::new(&self.program);
        }
        command.arg("client").arg(self.opening.to_string());
        Subscribers::start(command, Sources { first, count: sources })
    }

    /// Prints the present step on one line, which the next replaces. Prints nothing without a terminal.
    pub(crate) fn progress(&self, what: &str) {
        if std::io::stderr().is_terminal() {
            eprint!("\r\x1b[K{what}");
        }
    }
}

/// Type of a figure.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Metric {
    pub(crate) name: &'static str,
    pub(crate) unit: &'static str,
}

/// The figures of one run of one server.
pub(crate) type Figures = Vec<(Metric, f64)>;

/// Builds a server as a user would. Cargo reports where it is, as that depends on several settings.
fn build(example: &str) -> Result<PathBuf> {
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let mut command = Command::new(cargo);
    command.args(["build", "--release", "--example", example, "--message-format=json-render-diagnostics"]);
    let output = command.stdin(Stdio::null()).stderr(Stdio::inherit()).output()?;
    let messages = String::from_utf8_lossy(&output.stdout);
    let hub =
        messages.lines().filter(|line| line.contains(&format!("\"name\":\"{example}\""))).find_map(|line| {
            let (_, path) = line.split_once("\"executable\":\"")?;
            Some(PathBuf::from(path.split_once('"')?.0))
        });
    match hub {
        Some(hub) if output.status.success() => Ok(hub),
        _ => Err(format!("the example `{example}` could not be built; --hub names another program").into()),
    }
}
