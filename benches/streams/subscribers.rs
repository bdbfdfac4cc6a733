//! A client process, as the harness controls it.

use crate::Result;
use crate::process::Process;
use crate::procfs::{self, Cpu};
use std::net::{Ipv4Addr, SocketAddr};
use std::process::Command;
use std::time::Duration;

/// The outer timeout: the client gives up by itself without progress, so only a broken one reaches this.
const FENCE: Duration = Duration::from_secs(900);

/// The open streams of one client. Dropping this closes them.
#[derive(Debug)]
pub(crate) struct Subscribers {
    process: Process,
    sources: Sources,
}

/// Source addresses of a client. One has too few ports for many streams. Each client has its own, so ports
/// that an earlier one left in TIME_WAIT do not matter.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Sources {
    pub(crate) first: Ipv4Addr,
    pub(crate) count: usize,
}

/// Result of publishing.
#[derive(Debug)]
pub(crate) struct Published {
    pub(crate) wall: Duration,
    /// Bytes that all streams have read.
    pub(crate) bytes: u64,
    /// For each turn, the time until the last stream had all of it.
    pub(crate) latencies: Vec<Duration>,
}

/// Result of publishing on a schedule.
#[derive(Debug)]
pub(crate) struct Scheduled {
    pub(crate) wall: Duration,
    /// Bytes that all streams have read.
    pub(crate) bytes: u64,
    /// Largest delay of the publisher.
    pub(crate) late: Duration,
    /// From the scheduled time of an event to its arrival at a stream.
    pub(crate) deliveries: Quantiles,
    /// The same, to its arrival at the last stream.
    pub(crate) lasts: Quantiles,
}

#[derive(Debug)]
pub(crate) struct Quantiles {
    pub(crate) p50: Duration,
    pub(crate) p99: Duration,
    pub(crate) p999: Duration,
    pub(crate) max: Duration,
}

/// How streams disconnect.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Leave {
    /// As browsers do.
    Fin,
    /// With a reset, which leaves no port in TIME_WAIT, after a measurement.
    Reset,
}

/// Parses the client's list of times.
fn times(list: &str) -> Result<Vec<Duration>> {
    list.split_terminator(',').map(|nanos| Ok(Duration::from_nanos(nanos.parse()?))).collect()
}

impl Subscribers {
    pub(crate) fn start(command: Command, sources: Sources) -> Result<Subscribers> {
        Ok(Subscribers { process: Process::spawn("client", command)?, sources })
    }

    pub(crate) fn cpu(&self) -> Result<Cpu> {
        procfs::cpu(self.process.pid())
    }

    pub(crate) fn open(&mut self, address: SocketAddr, topic: &str, streams: usize) -> Result<()> {
        self.open_as("open", address, topic, streams)
    }

    /// Opens streams with small buffers, which are not read afterwards.
    pub(crate) fn stall(&mut self, address: SocketAddr, topic: &str, streams: usize) -> Result<()> {
        self.open_as("stall", address, topic, streams)
    }

    fn open_as(&mut self, how: &str, address: SocketAddr, topic: &str, streams: usize) -> Result<()> {
        let Sources { first, count } = self.sources;
        self.ask(&format!("{how} {address} {topic} {streams} {first} {count}"), "opened ")?;
        Ok(())
    }

    /// Publishes `turns` times `burst` events, each turn when the one before has reached every stream.
    pub(crate) fn publish(&mut self, turns: usize, burst: usize) -> Result<Published> {
        let answer = self.ask(&format!("publish {turns} {burst}"), "published ")?;
        let mut words = answer.split(' ');
        let mut word = || words.next().ok_or("the client's answer is too short");
        let wall = Duration::from_nanos(word()?.parse()?);
        let bytes = word()?.parse()?;
        Ok(Published { wall, bytes, latencies: times(word()?)? })
    }

    /// Publishes `events` events, one every `period`, whether or not those before have arrived.
    pub(crate) fn schedule(&mut self, events: usize, period: Duration) -> Result<Scheduled> {
        let time = period.saturating_mul(u32::try_from(events)?);
        let command = format!("schedule {events} {}", period.as_millis());
        let answer = self.ask_within(FENCE.saturating_add(time), &command, "scheduled ")?;
        let words: Vec<&str> = answer.split(' ').collect();
        let [wall, bytes, late, quantiles] = words[..] else {
            return Err(format!("unexpected reply of the client: {answer:?}").into());
        };
        let [p50, p99, p999, max, last_p50, last_p99, last_p999, last_max] = times(quantiles)?[..] else {
            return Err(format!("unexpected reply of the client: {answer:?}").into());
        };
        Ok(Scheduled {
            wall: Duration::from_nanos(wall.parse()?),
            bytes: bytes.parse()?,
            late: Duration::from_nanos(late.parse()?),
            deliveries: Quantiles { p50, p99, p999, max },
            lasts: Quantiles { p50: last_p50, p99: last_p99, p999: last_p999, max: last_max },
        })
    }

    /// Publishes nothing for a time. Returns the number of successful reads and of bytes.
    pub(crate) fn rest(&mut self, time: Duration) -> Result<(u64, u64)> {
        let answer = self.ask(&format!("rest {}", time.as_millis()), "rested ")?;
        let (reads, bytes) = answer.split_once(' ').ok_or("the client's answer is too short")?;
        Ok((reads.parse()?, bytes.parse()?))
    }

    /// Stops the server. Returns the time until it had exited, and until each stream was closed.
    pub(crate) fn end(&mut self, server: u32) -> Result<(Duration, Vec<Duration>)> {
        let answer = self.ask(&format!("end {server}"), "ended ")?;
        let (exit, ends) = answer.split_once(' ').ok_or("the client's answer is too short")?;
        Ok((Duration::from_nanos(exit.parse()?), times(ends)?))
    }

    pub(crate) fn leave(&mut self, how: Leave) -> Result<()> {
        let how = match how {
            Leave::Fin => "fin",
            Leave::Reset => "rst",
        };
        self.ask(&format!("leave {how}"), "left ")?;
        Ok(())
    }

    fn ask(&mut self, command: &str, answer: &str) -> Result<String> {
        self.ask_within(FENCE, command, answer)
    }

    fn ask_within(&mut self, fence: Duration, command: &str, answer: &str) -> Result<String> {
        self.process.say(command)?;
        let answer = self.process.line(fence, |line| {
            let failure = line.strip_prefix("error ").map(|failure| Err(failure.to_owned()));
            failure.or_else(|| Some(Ok(line.strip_prefix(answer)?.to_owned())))
        })?;
        Ok(answer.map_err(|failure| format!("client: {failure}"))?)
    }
}
