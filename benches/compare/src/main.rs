//! The example `hub` beside the same hub made with other libraries: the cost of an idle stream, of a delivery
//! and of a new stream in each.
//!
//! ```text
//! cargo run --release --manifest-path benches/compare/Cargo.toml                          everything
//! cargo run --release --manifest-path benches/compare/Cargo.toml -- --runs 1 --only axum  one of them, once
//! cargo run --release --manifest-path benches/compare/Cargo.toml -- --draw                tables and charts, of figures taken before
//! cargo run --release --manifest-path benches/compare/Cargo.toml -- --help
//! ```
//!
//! The measurements are those of the load harness, `benches/streams/`, in which all servers get fresh
//! processes in turn, the same clients, and the same checks that every stream has every event. This program
//! chooses the servers and processes the figures: tables on stdout, and `compare.csv`, `idle.svg`,
//! `delivery.svg`, `latency.svg` and `accept.svg` in `benches/record/`.
//!
//! Every server has one serving thread, as the work of one core is compared: tokio's `current_thread`, one
//! worker of actix-web, one of nginx, one process of Node, `GOMAXPROCS` of 1. Each uses what its own
//! documentation offers for event streams, with heartbeats, `TCP_NODELAY` and a long backlog. The programs in
//! Rust need no installation; nginx with nchan, Node, better-sse (npm) and Go are left out if they are
//! missing.

#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "tables on stdout are what this program is for"
)]

mod charts;
mod figures;
mod peers;
mod sizing;
mod tables;

use figures::Figures;
use std::fs;
use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, Stdio};

type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

const USAGE: &str = "\
usage: cargo run --release --manifest-path benches/compare/Cargo.toml -- [OPTION]...

  --runs N       runs of each server, in turn (5); with all servers one takes about a quarter of an hour
  --only NAMES   of the others only these: hyper,axum,warp,poem,salvo,actix-web,node,better-sse,go,nchan
  --streams N    open streams (memory and latency: 18,000; otherwise 5,000)
  --events N     events of one run (one at a time: 200; in bursts: 640; on schedule: 20)
  --pin          server on CPU 0, client on CPU 1 (needs `taskset`)
  --out FOLDER   where figures and charts go (benches/record)
  --draw         measure nothing; tables and charts of the figures that are there";

#[derive(Debug, Default)]
struct Args {
    /// Passed on to the harness.
    harness: Vec<String>,
    only: Option<Vec<String>>,
    out: Option<PathBuf>,
    draw: bool,
}

fn main() -> ExitCode {
    let outcome = match parse(std::env::args().skip(1)) {
        Ok(Some(args)) => run(&args),
        Ok(None) => {
            println!("{USAGE}");
            Ok(())
        }
        Err(mistake) => {
            eprintln!("{mistake}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    match outcome {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => {
            eprintln!("compare: {failure}");
            ExitCode::FAILURE
        }
    }
}

fn parse(mut words: impl Iterator<Item = String>) -> Result<Option<Args>> {
    let mut args = Args::default();
    while let Some(word) = words.next() {
        let mut operand = || words.next().ok_or_else(|| format!("{word} needs an operand"));
        match word.as_str() {
            "--help" | "-h" => return Ok(None),
            "--runs" | "--streams" | "--events" => {
                let operand = operand()?;
                args.harness.extend([word, operand]);
            }
            "--pin" => args.harness.push(word),
            "--only" => args.only = Some(operand()?.split(',').map(str::to_owned).collect()),
            "--out" => args.out = Some(operand()?.into()),
            "--draw" => args.draw = true,
            _ => return Err(format!("there is no option {word:?}").into()),
        }
    }
    Ok(Some(args))
}

fn run(args: &Args) -> Result<()> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR"));
    let out = args.out.clone().unwrap_or_else(|| package.join("../record"));
    let csv = out.join("compare.csv");
    if !args.draw {
        fs::create_dir_all(&out)?;
        let figures = measure(args, package, &out)?;
        fs::write(&csv, figures)?;
    }
    let text = fs::read_to_string(&csv).map_err(|error| format!("{}: {error}", csv.display()))?;
    let figures = Figures::parse(&text)?;
    tables::print(&figures);
    sizing::print(&figures);
    charts::draw(&figures, &out)?;
    Ok(())
}

/// Lets the harness measure all servers. Returns its figures, after a header about the method.
fn measure(args: &Args, package: &Path, out: &Path) -> Result<String> {
    if cfg!(debug_assertions) {
        return Err("the servers to compare with are built like this program: use --release".into());
    }
    let cargo = std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into());
    let status = Command::new(&cargo)
        .args(["build", "--release", "--bins", "--quiet", "--manifest-path"])
        .arg(package.join("Cargo.toml"))
        .status()?;
    if !status.success() {
        return Err("the servers to compare with could not be built".into());
    }
    let peers = peers::find(package, args.only.as_deref())?;

    let raw = out.join("compare.csv.part");
    let mut harness = Command::new(&cargo);
    harness
        .args(["bench", "--bench", "streams", "--manifest-path"])
        .arg(package.join("../../Cargo.toml"))
        .args(["--", "memory", "fanout", "burst", "latency", "accept", "--csv"])
        .arg(std::path::absolute(&raw)?)
        .args(&args.harness);
    for peer in &peers {
        harness.arg("--peer").arg(format!("{}={}", peer.name, peer.program.display()));
    }
    let mut harness = harness.stdin(Stdio::null()).stdout(Stdio::piped()).spawn()?;
    let mut titles = Vec::new();
    for line in BufReader::new(harness.stdout.take().ok_or("no stdout")?).lines() {
        // Its tables are too wide with so many servers. The important lines are those that are not indented:
        // what was measured, on which machine, and which servers have failed.
        let line = line?;
        if !line.is_empty() && !line.starts_with(' ') {
            println!("{line}");
            titles.extend(line.contains("runs in turn").then_some(line));
        }
    }
    let passed = harness.wait()?.success();
    let figures = fs::read_to_string(&raw)?;
    fs::remove_file(&raw)?;
    if !passed {
        return Err(
            "the harness has failed with the hub or the floor, so there is nothing to compare with".into()
        );
    }
    let (machine, rows) = figures.split_once('\n').ok_or("the harness has left no figures")?;
    let mut text = format!("{machine}\n");
    for title in titles {
        text += &format!("# {title}\n");
    }
    let versions: Vec<String> = peers.iter().map(|peer| peer.version.clone()).collect();
    text += &format!("# against {}\n{rows}", versions.join(", "));
    Ok(text)
}
