//! Requirements of a service: cores, memory, bandwidth, computed from the figures of the hub.
//!
//! A delivery costs as much as the first event of a turn, and less for each further one; a stream costs the
//! memory of its slot and that of one end of a connection in the kernel.

use crate::figures::{CPU_PER_DELIVERY, Figures};
use crate::tables::{figure, table};

/// Share of a core's time and of the bandwidth that is used: the rest is for peaks, and for clients that
/// reconnect together.
const PLANNED: f64 = 0.7;

/// Seconds between two heartbeats of a stream, on average, where 60 are configured: they are spread and never
/// late. The default is 15; a server of millions of streams takes more.
const HEARTBEAT: f64 = 52.0;

/// Bytes of a heartbeat.
const HEARTBEAT_BYTES: f64 = 8.0;

/// Headers of Ethernet, IP and TCP with timestamps, as each delivery is a packet of its own.
const PACKET: f64 = 66.0;

/// A machine: loops, each on a core of its own, besides the cores for the network card's interrupts; bytes of
/// memory for streams; bits a second.
const LOOPS: f64 = 8.0;
const MEMORY: f64 = 16e9;
const BANDWIDTH: f64 = 10e9;

/// Streams, turns a second, events in a turn.
const SERVICES: [(f64, f64, f64); 12] = [
    (1e3, 10.0, 1.0),
    (1e4, 1.0, 1.0),
    (1e4, 10.0, 1.0),
    (1e5, 0.1, 1.0),
    (1e5, 1.0, 1.0),
    (1e5, 1.0, 16.0),
    (1e5, 10.0, 1.0),
    (1e6, 0.1, 1.0),
    (1e6, 1.0, 1.0),
    (1e6, 1.0, 16.0),
    (1e7, 0.1, 1.0),
    (1e7, 1.0, 1.0),
];

/// The unit costs.
struct Costs {
    /// Bytes of an idle stream: the server's and the kernel's.
    user: f64,
    kernel: f64,
    /// Seconds of CPU time for the first event of a turn, and for each further one.
    first: f64,
    further: f64,
    /// Bytes of an event on the wire, without packet headers.
    bytes: f64,
}

pub(crate) fn print(figures: &Figures) {
    let Some(costs) = Costs::of(figures) else { return };
    println!(
        "\nSizing, computed of: {} B and {} B of the kernel for a stream; {} µs for the first event of a turn, {} µs for each further one",
        figure(costs.user),
        figure(costs.kernel),
        figure(costs.first * 1e6),
        figure(costs.further * 1e6),
    );
    let rows = SERVICES.into_iter().map(|(streams, turns, events)| costs.row(streams, turns, events));
    let header = [
        "streams",
        "events a second",
        "in turns of",
        "cores",
        "memory: ours",
        "kernel's",
        "bandwidth",
        "machines",
    ];
    table("Sizing", &header, rows);
}

impl Costs {
    fn of(figures: &Figures) -> Option<Costs> {
        let cpu = |scenario| Some(figures.median(scenario, "hub", CPU_PER_DELIVERY)? / 1e9);
        // Once a second, with cold caches: half as much again as one directly after another.
        let first = cpu("latency")?;
        Some(Costs {
            user: figures.median("memory", "hub", "RSS")?,
            kernel: figures.median("memory", "hub", "kernel memory both ends")? / 2.0,
            first,
            further: (16.0 * cpu("burst-16")? - cpu("fanout")?) / 15.0,
            bytes: figures.median("fanout", "hub", "bytes per delivery")?,
        })
    }

    fn row(&self, streams: f64, turns: f64, events: f64) -> Vec<String> {
        let turn = self.first + (events - 1.0) * self.further;
        let cores = streams * (turns * turn + self.first / HEARTBEAT) / PLANNED;
        let memory = streams * (self.user + self.kernel);
        let beats = (HEARTBEAT_BYTES + PACKET) / HEARTBEAT;
        let bits = streams * (turns * (events * self.bytes + PACKET) + beats) * 8.0;
        let machines = [cores / LOOPS, memory / MEMORY, bits / BANDWIDTH / PLANNED];
        let machines = machines.into_iter().fold(1.0, f64::max).ceil();
        vec![
            figure(streams.round()),
            figure(turns * events),
            figure(events),
            if cores < 0.1 { "0.1".to_owned() } else { format!("{cores:.1}") },
            bytes(streams * self.user),
            bytes(streams * self.kernel),
            bandwidth(bits),
            figure(machines),
        ]
    }
}

fn bytes(bytes: f64) -> String {
    if bytes < 1e9 { format!("{} MB", figure(bytes / 1e6)) } else { format!("{} GB", figure(bytes / 1e9)) }
}

fn bandwidth(bits: f64) -> String {
    if bits < 1e9 {
        format!("{} Mbit/s", figure(bits / 1e6))
    } else {
        format!("{} Gbit/s", figure(bits / 1e9))
    }
}
