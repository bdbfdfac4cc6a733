//! The scenarios, and what the ones that send traffic have in common.

mod accept;
mod burst;
mod churn;
mod deliver;
mod drain;
mod fanout;
mod memory;
mod stalled;

use crate::Result;
use crate::args::Scenario;
use crate::procfs;
use crate::rig::{Figures, Metric, Rig};
use crate::server::{Server, Subject};
use crate::subscribers::Leave;
use crate::table;
use std::fmt::Display;
use std::time::Duration;

/// Streams that come and go before anything is measured, so that nothing is done for the first time later.
const WARM_UP_STREAMS: usize = 100;

/// Runs a scenario and prints its table. `false`: it ran, and something was not as it has to be.
pub(crate) fn run(scenario: Scenario, rig: &mut Rig) -> Result<bool> {
    match scenario {
        Scenario::Memory => memory::run(rig),
        Scenario::Deliver => deliver::run(rig),
        Scenario::Fanout => fanout::run(rig).map(|()| true),
        Scenario::Burst => burst::run(rig).map(|()| true),
        Scenario::Accept => accept::run(rig).map(|()| true),
        Scenario::Stalled => stalled::run(rig),
        Scenario::Churn => churn::run(rig),
        Scenario::Drain => drain::run(rig),
    }
}

fn names(subjects: &[Subject]) -> Vec<&'static str> {
    subjects.iter().map(|subject| subject.name()).collect()
}

/// A server that has had streams before.
fn warm_server(rig: &mut Rig, subject: Subject, streams: usize) -> Result<Server> {
    let server = rig.server(subject)?;
    if matches!(subject, Subject::Peer(_)) {
        // What a peer opens for itself, it may open when it is first asked something.
        let mut first = rig.subscribers(1)?;
        first.open(server.address(), "first", 1)?;
        first.publish(1, 1)?;
        first.leave(Leave::Fin)?;
    }
    let before = server.descriptors()?;
    let streams = streams.min(WARM_UP_STREAMS);
    let mut subscribers = rig.subscribers(streams)?;
    subscribers.open(server.address(), "warm-up", streams)?;
    subscribers.publish(1, 1)?;
    subscribers.leave(Leave::Fin)?;
    drop(subscribers);
    match (server.until_descriptors(before), subject) {
        // Many a peer notices who has left only when it next sends something.
        (Err(_), Subject::Peer(_)) => {}
        (noticed, _) => noticed?,
    }
    Ok(server)
}

/// What one run publishes to how many.
#[derive(Debug, Clone, Copy)]
struct Traffic {
    streams: usize,
    turns: usize,
    burst: usize,
    /// Turns before those that count.
    warm_up: usize,
}

/// Sends traffic through a fresh server; gives the figures of the run.
///
/// The next turn begins when the last stream has the one before. A fixed schedule would look fairer and is not: a
/// server that falls behind it finds two events waiting, sends them together, and is rewarded for its delay with a
/// cheaper delivery. This way each server sends exactly the same, whatever its speed. The price is that waiting in
/// line is not part of the latencies; they are the time that one fan-out takes.
fn traffic(rig: &mut Rig, subject: Subject, traffic: Traffic) -> Result<Figures> {
    let Traffic { streams, turns, burst, warm_up } = traffic;
    let server = warm_server(rig, subject, streams)?;
    let mut subscribers = rig.subscribers(streams)?;
    subscribers.open(server.address(), "streams", streams)?;
    subscribers.publish(warm_up, burst)?;

    let (server_before, client_before) = (server.cpu()?, subscribers.cpu()?);
    let machine_before = procfs::machine_busy()?;
    let published = subscribers.publish(turns, burst)?;
    let machine = procfs::machine_busy()?.saturating_sub(machine_before);
    let (server_cpu, client_cpu) = (server.cpu()? - server_before, subscribers.cpu()? - client_before);

    subscribers.leave(Leave::Reset)?;
    let mut latencies = published.latencies;
    latencies.sort();
    let deliveries = (streams * turns * burst) as f64;
    let wall = published.wall.as_secs_f64();
    let share = |nanos: f64| 100.0 * nanos / 1e9 / wall;
    let (server_nanos, client_nanos) = (server_cpu.nanos as f64, client_cpu.nanos as f64);
    // Ticks against nanoseconds: the difference of a quiet machine may come out a little below zero.
    let others = (machine.as_nanos() as f64 - server_nanos - client_nanos).max(0.0);
    Ok(vec![
        (Metric { name: "server CPU per delivery", unit: "ns" }, server_nanos / deliveries),
        (Metric { name: "of it in the kernel", unit: "%" }, 100.0 * server_cpu.system_share()),
        (Metric { name: "deliveries per second", unit: "thousand" }, deliveries / wall / 1e3),
        (Metric { name: "to the last stream p50", unit: "ms" }, millis(percentile(&latencies, 50))),
        (Metric { name: "to the last stream p99", unit: "ms" }, millis(percentile(&latencies, 99))),
        (Metric { name: "bytes per delivery", unit: "B" }, published.bytes as f64 / deliveries),
        (Metric { name: "one core busy with the server", unit: "%" }, share(server_nanos)),
        (Metric { name: "one core busy with the client", unit: "%" }, share(client_nanos)),
        (Metric { name: "one core busy with others", unit: "%" }, share(others)),
    ])
}

/// The nearest rank.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// The run that is under way, for whoever watches.
fn progress(rig: &Rig, scenario: &str, run: usize, subject: Subject) {
    rig.progress(&format!("{scenario}: run {run} of {}: {}", rig.runs, subject.name()));
}

/// What was found, what it has to be, and whether it is.
struct Checks {
    rows: Vec<Vec<String>>,
    passed: bool,
}

impl Checks {
    fn new() -> Checks {
        Checks { rows: vec![["", "is", "has to be", ""].map(String::from).to_vec()], passed: true }
    }

    fn add(&mut self, name: &str, is: impl Display, has_to_be: impl Display, holds: bool) {
        self.passed &= holds;
        let verdict = if holds { "ok" } else { "FAILED" };
        self.rows.push(vec![name.to_owned(), is.to_string(), has_to_be.to_string(), verdict.to_owned()]);
    }

    /// Prints them under a title; answers whether all hold.
    fn print(self, title: &str) -> bool {
        table::print(title, &self.rows);
        self.passed
    }
}
