//! The load harness: how much memory and CPU time a stream, a delivery and an accepted connection cost.
//!
//! The server under test is the example `hub` in a process of its own, so that the kernel accounts for it
//! alone. The `floor` runs in turn with it: a bare loop of writes that only delivers. The difference is the
//! cost of the library. The ratio holds on other machines, times do not.
//!
//! ```text
//! cargo bench --bench streams                                   everything
//! cargo bench --bench streams -- fanout --streams 5000          one scenario
//! cargo bench --bench streams -- --help
//! ```
//!
//! This program is also its own floor, its own client and the keeper of its servers: see [`args::Role`].

#![allow(
    clippy::disallowed_methods,
    reason = "the rule keeps the clock out of the library; measuring needs it"
)]
#![allow(
    clippy::print_stdout,
    clippy::print_stderr,
    reason = "a table on stdout is what this program is for"
)]

mod args;
mod client;
mod decoder;
mod floor;
mod keeper;
mod payload;
mod process;
mod procfs;
mod record;
mod rig;
#[path = "../root.rs"]
mod root;
mod scenarios;
mod server;
mod subscribers;
mod table;

use args::{Args, Role};
use std::process::ExitCode;

/// Failures of the harness are only printed.
type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

fn main() -> ExitCode {
    if let Err(error) = root::enter() {
        eprintln!("the repository's folder: {error}");
        return ExitCode::from(2);
    }
    let role = match args::parse(std::env::args().skip(1)) {
        Ok(role) => role,
        Err(mistake) => {
            eprintln!("{mistake}\n\n{}", args::USAGE);
            return ExitCode::from(2);
        }
    };
    let outcome = match role {
        Role::Help => {
            println!("{}", args::USAGE);
            Ok(true)
        }
        Role::Idle => {
            println!("Nothing measured: start it with `cargo bench --bench streams`, or name a scenario.");
            Ok(true)
        }
        Role::Floor { coalesce, loops } => floor::run(coalesce, loops).map(|()| true),
        Role::Client { opening } => client::run(opening).map(|()| true),
        Role::Keeper { program, arguments } => keeper::run(&program, &arguments).map(|()| true),
        Role::Harness(args) => harness(&args),
    };
    match outcome {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(failure) => {
            eprintln!("streams: {failure}");
            ExitCode::FAILURE
        }
    }
}

/// Runs the scenarios one after another. A failed one does not stop the next.
fn harness(args: &Args) -> Result<bool> {
    let mut rig = rig::Rig::new(args)?;
    rig.describe();
    let mut passed = true;
    for &scenario in &args.scenarios {
        match scenarios::run(scenario, &mut rig) {
            Ok(verdict) => passed &= verdict,
            Err(failure) => {
                rig.progress("");
                println!("\n{}: FAILED: {failure}", scenario.name());
                passed = false;
            }
        }
    }
    Ok(passed)
}
