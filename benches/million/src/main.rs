//! A million streams in one process and one thread: their cost, the time until one event has reached them
//! all, and a check that none is missing.
//!
//! ```text
//! benches/million/run                 # a million, in a guest where this machine's limits do not allow it
//! STREAMS=2000 benches/million/run    # so many
//! ```
//!
//! `million STREAMS` starts `million server STREAMS`, holds the other ends itself, and prints each figure as
//! `name value unit`. Progress goes to standard error.

mod control;
mod procfs;
mod server;
mod streams;

use control::Control;
use procfs::{Machine, Process};
use std::fmt::Display;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::process::{Child, Command, ExitCode, Stdio};
use std::time::{Duration, Instant};
use streams::Streams;

pub(crate) type Result<T> = std::result::Result<T, Box<dyn std::error::Error>>;

/// Events in the burst, all published in one turn.
const BURST: u32 = 16;

/// A step without progress for this long fails. It is long, as an emulated processor is slow.
pub(crate) const PATIENCE: Duration = Duration::from_secs(120);

/// Idle time of the server and its streams, to see what they cost then.
const IDLE: Duration = Duration::from_secs(10);

fn main() -> ExitCode {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let done = match args[..] {
        ["server", streams] => streams.parse().map_err(Into::into).and_then(server::run),
        [streams] => streams.parse().map_err(Into::into).and_then(measure),
        _ => Err("usage: million STREAMS".into()),
    };
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("million: {error}");
            ExitCode::FAILURE
        }
    }
}

/// The server's process, which is killed on drop.
struct Server {
    process: Child,
    address: SocketAddr,
}

impl Server {
    fn start(streams: usize) -> Result<Server> {
        let mut process = Command::new(std::env::current_exe()?)
            .args(["server", &streams.to_string()])
            .stdout(Stdio::piped())
            .spawn()?;
        let mut line = String::new();
        BufReader::new(process.stdout.take().ok_or("no pipe")?).read_line(&mut line)?;
        let address = line.trim().parse().map_err(|_| format!("the server says {line:?}"))?;
        Ok(Server { process, address })
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

fn figure(name: impl Display, value: impl Display, unit: &str) {
    println!("{name} {value} {unit}");
}

fn per_stream(after: u64, before: u64, streams: usize) -> u64 {
    after.saturating_sub(before) / streams as u64
}

fn measure(count: usize) -> Result<()> {
    let server = Server::start(count)?;
    let mut control = Control::connect(server.address)?;
    let pid = server.process.id();
    let mut streams = Streams::new(server.address, count)?;

    let bare = (Process::of(pid)?, Process::of(std::process::id())?, Machine::now()?);
    let start = Instant::now();
    streams.open()?;
    let took = start.elapsed().as_secs_f64();
    figure("streams", control.streams()?, "streams");
    figure("open_time", format_args!("{took:.1}"), "s");
    figure("open_rate", format_args!("{:.0}", count as f64 / took), "streams/s");

    // What the handshakes have left is freed first.
    std::thread::sleep(Duration::from_secs(2));
    let cpu = procfs::cpu(pid)?;
    std::thread::sleep(IDLE);
    let idle = (procfs::cpu(pid)? - cpu).as_secs_f64() / IDLE.as_secs_f64();
    let held = (Process::of(pid)?, Process::of(std::process::id())?, Machine::now()?);
    figure("server_threads", held.0.threads, "threads");
    figure("server_rss_without", bare.0.resident >> 10, "KiB");
    figure("server_rss", held.0.resident >> 10, "KiB");
    figure("server_rss_per_stream", per_stream(held.0.resident, bare.0.resident, count), "B");
    figure("server_idle_cpu", format_args!("{:.2}", idle * 100.0), "%");
    figure("client_rss", held.1.resident >> 10, "KiB");
    let user = |(server, client, _): &(Process, Process, Machine)| server.resident + client.resident;
    let used = held.2.used.saturating_sub(bare.2.used);
    let kernel = used.saturating_sub(user(&held).saturating_sub(user(&bare)));
    figure("machine_memory", held.2.total >> 20, "MiB");
    figure("machine_available", held.2.available >> 20, "MiB");
    figure("kernel_memory", kernel >> 20, "MiB");
    figure("kernel_memory_per_stream", kernel / count as u64, "B");
    figure("slab_per_stream", per_stream(held.2.slab, bare.2.slab, count), "B");

    for (name, burst) in [("event_1", 1), ("event_2", 1), ("burst", BURST)] {
        let cpu = procfs::cpu(pid)?;
        let start = Instant::now();
        control.publish(streams.expect(burst), burst)?;
        let failure = streams.receive(start).err();
        let took = start.elapsed().as_secs_f64();
        figure(format_args!("{name}_time"), format_args!("{took:.2}"), "s");
        figure(format_args!("{name}_missing"), streams.missing(), "streams");
        if let Some(failure) = failure {
            return Err(failure);
        }
        let deliveries = count as f64 * f64::from(burst);
        let cpu = (procfs::cpu(pid)? - cpu).as_secs_f64();
        figure(format_args!("{name}_rate"), format_args!("{:.0}", deliveries / took), "deliveries/s");
        figure(
            format_args!("{name}_server_cpu"),
            format_args!("{:.2}", cpu * 1e6 / deliveries),
            "us/delivery",
        );
    }
    // No stream gets anything twice, not even late.
    std::thread::sleep(Duration::from_secs(1));
    streams.look()?;
    figure("server_rss_after_events", Process::of(pid)?.resident >> 10, "KiB");

    let start = Instant::now();
    if let Err(failure) = streams.close(&mut control) {
        let states = procfs::tcp_states(server.address.port())?;
        return Err(format!("{failure}; sockets of the server: {states}").into());
    }
    figure("close_time", format_args!("{:.1}", start.elapsed().as_secs_f64()), "s");
    figure("streams_left", control.streams()?, "streams");
    let after = Process::of(pid)?;
    figure("server_rss_after", after.resident >> 10, "KiB");
    figure("server_rss_peak", after.peak >> 10, "KiB");
    figure("server_slow_turns", control.ask("GET", "/slow-turns")?, "turns");
    figure("server_turn_max", control.ask("GET", "/turn-max")?, "ms");
    Ok(())
}
