//! The command line.

use crate::Result;
use std::path::{Path, PathBuf};

pub(crate) const USAGE: &str = "\
usage: cargo bench --bench streams -- [SCENARIO]... [OPTION]...
With no more said it takes about twenty minutes on two cores that nothing else uses.

Scenarios (all of them when none is named):
  ramp      more and more streams: what each costs on the way up         as many as the limits allow
  memory    memory per idle stream: the server's, and the kernel's       18,000 streams
  deliver   every event reaches every stream, and all is given back     15,000 streams, 100 events
  fanout    one event at a time: CPU per delivery, time to the last      5,000 streams, 200 events a run
  burst     16 and 64 events per turn: deliveries per second             5,000 streams, 640 events a run
  latency   one event a second, on a schedule: when it is where          18,000 streams, 20 events a run
  heartbeats   nothing but heartbeats, every 15 seconds                  18,000 streams
  accept    CPU per accepted stream, and per stream that leaves          5,000 streams
  stalled   what streams that never read cost the others: time to the    5,000 streams, 200 stalled,
            last with and without them, and how they are closed          20,000 events a run
  churn     streams that come and leave, by FIN and by RST: what stays   20,000 streams in all, or --seconds
  hoard     clients that make the server hold all that it will: RSS      5,000 clients
  drain     SIGTERM: when each stream ends, and the server               5,000 streams

Options:
  --streams N   open streams                        --events N   events of one run
  --runs N      runs of each server, in turn (5)
  --seconds N   churn: for so long
  --opening N   streams that a client opens at the same time (100)
  --csv FILE    every single figure, one per line   --json FILE  the same, a JSON object per line
  --hub PATH    measure this program instead of building the example `hub`;
                a script in its place has to `exec` it
  --peer NAME=PATH   measure this program too, in turn with the others (memory, fanout, burst, latency,
                accept);
                may be given more than once; see benches/compare/
  --pattern P   memory, churn: what each stream has of its own: timer, close (`on_close`), both, topic, two (topics), tag, or
                shared (nothing, as without the option); `all` measures one after the other. The server is then
                `patterns`, as which --hub and --peer have to serve too
  --pin         server on CPU 0, client on CPU 1 (needs `taskset`)";

/// The role of this process. The harness starts itself again in the other roles, so one build is enough.
#[derive(Debug)]
pub(crate) enum Role {
    /// Measures.
    Harness(Args),
    /// The yardstick: a server that is a bare loop of writes.
    Floor { coalesce: bool, loops: usize },
    /// Holds the streams and publishes.
    Client { opening: usize },
    /// Stands between the harness and a server, and stops the server when the harness is gone, for whatever
    /// reason.
    Keeper { program: PathBuf, arguments: Vec<String> },
    /// Started by `cargo test --all-targets`, which measures nothing.
    Idle,
    /// Prints the usage.
    Help,
}

#[derive(Debug, Default)]
pub(crate) struct Args {
    pub(crate) scenarios: Vec<Scenario>,
    pub(crate) streams: Option<usize>,
    pub(crate) events: Option<usize>,
    pub(crate) runs: usize,
    pub(crate) hub: Option<PathBuf>,
    pub(crate) peers: Vec<&'static Peer>,
    pub(crate) csv: Option<PathBuf>,
    pub(crate) json: Option<PathBuf>,
    pub(crate) pin: bool,
    pub(crate) seconds: Option<usize>,
    pub(crate) opening: usize,
    /// Names of the patterns for the streams of `memory` and `churn`, as the server of patterns knows them.
    pub(crate) patterns: Vec<&'static str>,
}

/// Streams that are being opened at the same time by default: below 128, the backlog of many servers.
const OPENING: usize = 100;

/// Values of `--pattern`.
const PATTERNS: [&str; 7] = ["shared", "timer", "close", "both", "topic", "two", "tag"];

/// Another server, which does the same as the hub.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Peer {
    pub(crate) name: String,
    pub(crate) program: PathBuf,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Scenario {
    Ramp,
    Memory,
    Deliver,
    Fanout,
    Burst,
    Latency,
    Heartbeats,
    Accept,
    Stalled,
    Churn,
    Hoard,
    Drain,
}

impl Scenario {
    pub(crate) const ALL: [Scenario; 12] = [
        Scenario::Ramp,
        Scenario::Memory,
        Scenario::Deliver,
        Scenario::Fanout,
        Scenario::Burst,
        Scenario::Latency,
        Scenario::Heartbeats,
        Scenario::Accept,
        Scenario::Stalled,
        Scenario::Churn,
        Scenario::Hoard,
        Scenario::Drain,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Scenario::Ramp => "ramp",
            Scenario::Memory => "memory",
            Scenario::Deliver => "deliver",
            Scenario::Fanout => "fanout",
            Scenario::Burst => "burst",
            Scenario::Latency => "latency",
            Scenario::Heartbeats => "heartbeats",
            Scenario::Accept => "accept",
            Scenario::Stalled => "stalled",
            Scenario::Churn => "churn",
            Scenario::Hoard => "hoard",
            Scenario::Drain => "drain",
        }
    }
}

pub(crate) fn parse(mut words: impl Iterator<Item = String>) -> Result<Role> {
    let mut args = Args { runs: 5, opening: OPENING, ..Args::default() };
    // `cargo bench` adds `--bench`; `cargo test` does not.
    let mut bench = false;
    while let Some(word) = words.next() {
        let mut operand = || words.next().ok_or_else(|| format!("{word} needs an operand"));
        match word.as_str() {
            "floor" => {
                let rest: Vec<String> = words.collect();
                let coalesce = rest.iter().any(|word| word == "--coalesce");
                let loops = rest.iter().skip_while(|word| *word != "--loops").nth(1);
                let loops = loops.map_or(Ok(1), |loops| positive("--loops", loops))?;
                return Ok(Role::Floor { coalesce, loops });
            }
            "client" => return Ok(Role::Client { opening: positive(&word, &operand()?)? }),
            "keeper" => return Ok(Role::Keeper { program: operand()?.into(), arguments: words.collect() }),
            "--bench" => bench = true,
            "--help" | "-h" => return Ok(Role::Help),
            "--streams" => args.streams = Some(positive(&word, &operand()?)?),
            "--events" => args.events = Some(positive(&word, &operand()?)?),
            "--runs" => args.runs = positive(&word, &operand()?)?,
            "--seconds" => args.seconds = Some(positive(&word, &operand()?)?),
            "--opening" => args.opening = positive(&word, &operand()?)?,
            "--hub" => args.hub = Some(operand()?.into()),
            "--peer" => args.peers.push(peer(&operand()?)?),
            "--json" => args.json = Some(operand()?.into()),
            "--csv" => args.csv = Some(operand()?.into()),
            "--pin" => args.pin = true,
            "--pattern" => args.patterns.extend(patterns(&operand()?)?),
            name => match Scenario::ALL.into_iter().find(|scenario| scenario.name() == name) {
                Some(scenario) => args.scenarios.push(scenario),
                None => return Err(format!("there is no scenario or option {name:?}").into()),
            },
        }
    }
    if args.scenarios.is_empty() {
        if !bench {
            return Ok(Role::Idle);
        }
        args.scenarios.extend(Scenario::ALL);
    }
    Ok(Role::Harness(args))
}

/// Peers are few and needed to the end, so they are leaked.
fn peer(text: &str) -> Result<&'static Peer> {
    let (name, program) =
        text.split_once('=').ok_or_else(|| format!("--peer takes NAME=PATH, not {text:?}"))?;
    // Relative to the current folder, not to the PATH.
    let program = Path::new(program).canonicalize().map_err(|error| format!("--peer {text}: {error}"))?;
    Ok(Box::leak(Box::new(Peer { name: name.to_owned(), program })))
}

fn patterns(name: &str) -> Result<Vec<&'static str>> {
    let named: Vec<_> = PATTERNS.into_iter().filter(|&pattern| name == pattern || name == "all").collect();
    if named.is_empty() {
        return Err(format!("--pattern is one of {} or all, not {name:?}", PATTERNS.join(", ")).into());
    }
    Ok(named)
}

/// The client keeps all expected lines in memory, and numbers in 32 bits: hence this limit, which no use
/// reaches.
fn positive(option: &str, text: &str) -> Result<usize> {
    match text.replace(['_', ','], "").parse() {
        Ok(number @ 1..=1_000_000) => Ok(number),
        _ => Err(format!("{option} takes a number from 1 to 1,000,000, not {text:?}").into()),
    }
}
