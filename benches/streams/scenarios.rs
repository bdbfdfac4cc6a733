//! The scenarios, and the code that they share.

mod accept;
mod burst;
mod churn;
mod deliver;
mod drain;
mod fanout;
mod heartbeats;
mod hoard;
mod latency;
mod memory;
mod ramp;
mod stalled;

use crate::Result;
use crate::args::Scenario;
use crate::procfs::{self, Cpu};
use crate::rig::{Figures, Metric, Rig};
use crate::server::{Server, Subject};
use crate::subscribers::{Leave, Subscribers};
use crate::table::{self, BUSY_CLIENT, BUSY_OTHERS, BUSY_SERVER, Comparison};
use std::fmt::Display;
use std::time::Duration;

/// Streams that open and close before a measurement, so that nothing is done for the first time later.
const WARM_UP_STREAMS: usize = 100;

const CPU_PER_DELIVERY: Metric = Metric { name: "server CPU per delivery", unit: "ns" };

fn kernel_memory() -> Metric {
    let name = match procfs::counts_kernel_objects() {
        true => "kernel memory both ends",
        false => "kernel memory both ends in whole pages",
    };
    Metric { name, unit: "B per stream" }
}

/// Runs a scenario and prints its table. Returns `false` if a check failed.
pub(crate) fn run(scenario: Scenario, rig: &mut Rig) -> Result<bool> {
    match scenario {
        Scenario::Ramp => ramp::run(rig).map(|()| true),
        Scenario::Memory => memory::run(rig),
        Scenario::Deliver => deliver::run(rig),
        Scenario::Fanout => fanout::run(rig).map(|()| true),
        Scenario::Burst => burst::run(rig).map(|()| true),
        Scenario::Latency => latency::run(rig).map(|()| true),
        Scenario::Heartbeats => heartbeats::run(rig),
        Scenario::Accept => accept::run(rig).map(|()| true),
        Scenario::Stalled => stalled::run(rig),
        Scenario::Churn => churn::run(rig),
        Scenario::Hoard => hoard::run(rig),
        Scenario::Drain => drain::run(rig),
    }
}

/// Measures all subjects and peers in turn, as often as requested, and prints the figures.
fn in_turn(
    rig: &mut Rig,
    scenario: &str,
    own: &[Subject],
    title: &str,
    mut measure: impl FnMut(&mut Rig, Subject) -> Result<Figures>,
) -> Result<()> {
    let subjects = rig.subjects(own);
    let mut comparison = Comparison::new(scenario, &names(&subjects));
    for run in 1..=rig.runs {
        for &subject in &subjects {
            progress(rig, scenario, run, subject);
            let figures = measure(rig, subject);
            comparison.add(rig, subject, run, figures)?;
        }
    }
    rig.progress("");
    comparison.print(&format!("{title}, runs in turn: {}", rig.runs));
    Ok(())
}

fn names(subjects: &[Subject]) -> Vec<&'static str> {
    subjects.iter().map(|subject| subject.name()).collect()
}

/// A server that has had streams before.
fn warm_server(rig: &mut Rig, subject: Subject, streams: usize) -> Result<Server> {
    let server = rig.server(subject)?;
    if matches!(subject, Subject::Peer(_)) {
        // Peers may open descriptors of their own on the first request.
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
        // Many peers notice that a client has left only at their next write.
        (Err(_), Subject::Peer(_)) => {}
        (noticed, _) => noticed?,
    }
    Ok(server)
}

/// The events of one run, and the number of streams.
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
/// The next turn begins when the last stream has the one before. A fixed schedule would look fairer and is
/// not: a server that falls behind it finds two events waiting, sends them together, and is rewarded for its
/// delay with a cheaper delivery. This way each server sends exactly the same, whatever its speed. The price
/// is that waiting in line is not part of the latencies; they are the time that one fan-out takes.
fn traffic(rig: &mut Rig, subject: Subject, traffic: Traffic) -> Result<Figures> {
    let Traffic { streams, turns, burst, warm_up } = traffic;
    let server = warm_server(rig, subject, streams)?;
    let mut subscribers = rig.subscribers(streams)?;
    subscribers.open(server.address(), "streams", streams)?;
    subscribers.publish(warm_up, burst)?;

    let watch = Watch::start(&server, &subscribers)?;
    let published = subscribers.publish(turns, burst)?;
    let spent = watch.stop(&server, &subscribers)?;

    subscribers.leave(Leave::Reset)?;
    let mut latencies = published.latencies;
    latencies.sort();
    let deliveries = (streams * turns * burst) as f64;
    let mut figures = spent.per_delivery(deliveries);
    let rate = deliveries / published.wall.as_secs_f64() / 1e3;
    figures.extend([
        (Metric { name: "deliveries per second", unit: "thousand" }, rate),
        (Metric { name: "to the last stream p50", unit: "ms" }, millis(percentile(&latencies, 50))),
        (Metric { name: "to the last stream p99", unit: "ms" }, millis(percentile(&latencies, 99))),
        (Metric { name: "bytes per delivery", unit: "B" }, published.bytes as f64 / deliveries),
    ]);
    figures.extend(spent.busy(published.wall));
    Ok(figures)
}

/// CPU time so far, or of a while: of the server, of the client, and of everything that runs on the machine.
struct Watch {
    server: Cpu,
    client: Cpu,
    machine: Duration,
}

impl Watch {
    fn start(server: &Server, subscribers: &Subscribers) -> Result<Watch> {
        Ok(Watch { server: server.cpu()?, client: subscribers.cpu()?, machine: procfs::machine_busy()? })
    }

    /// CPU time since it was started.
    fn stop(self, server: &Server, subscribers: &Subscribers) -> Result<Watch> {
        let machine = procfs::machine_busy()?.saturating_sub(self.machine);
        Ok(Watch { server: server.cpu()? - self.server, client: subscribers.cpu()? - self.client, machine })
    }

    fn per_delivery(&self, deliveries: f64) -> Figures {
        vec![
            (CPU_PER_DELIVERY, self.server.nanos as f64 / deliveries),
            (Metric { name: "of it in the kernel", unit: "%" }, 100.0 * self.server.system_share()),
        ]
    }

    /// Share of a core that each process used: the bottleneck, and other load.
    fn busy(&self, wall: Duration) -> Figures {
        let share = |nanos: f64| 100.0 * nanos / wall.as_nanos() as f64;
        let (server, client) = (self.server.nanos as f64, self.client.nanos as f64);
        // Ticks against nanoseconds: the difference of a quiet machine may come out a little below zero.
        let others = (self.machine.as_nanos() as f64 - server - client).max(0.0);
        vec![(BUSY_SERVER, share(server)), (BUSY_CLIENT, share(client)), (BUSY_OTHERS, share(others))]
    }
}

/// The nearest rank.
fn percentile(sorted: &[Duration], percent: usize) -> Duration {
    let rank = (sorted.len() * percent).div_ceil(100).max(1);
    sorted.get(rank - 1).copied().unwrap_or_default()
}

fn millis(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e3
}

/// Prints the current run.
fn progress(rig: &Rig, scenario: &str, run: usize, subject: Subject) {
    rig.progress(&format!("{scenario}: run {run} of {}: {}", rig.runs, subject.name()));
}

/// A figure, its expected value, and whether they agree.
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

    /// Prints them under a title; returns whether all hold.
    fn print(self, title: &str) -> bool {
        table::print(title, &self.rows);
        self.passed
    }
}
