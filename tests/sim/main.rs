//! The whole server on a simulated network: hundreds of clients of all kinds, faults that no real network
//! produces on demand, and the invariants of the library, which are checked after every step.
//!
//! `lives` has several servers that restart, and follows each client over its whole life.
//!
//! Everything is drawn from a seed, so a failure can be repeated. `SIM_SEED` runs one seed and prints the end
//! of its trace if it fails. `SIM_SEEDS` is the number of seeds, `SIM_STEPS` the length of a run, and
//! `SIM_FIRST` the first seed.

mod answers;
mod app;
mod belongings;
mod client;
mod counts;
mod ends;
mod gunzip;
mod kept;
mod late;
mod lives;
mod memory;
mod model;
mod net;
mod reading;
mod resume;
mod run;
mod scenario;
#[cfg(feature = "tls")]
mod secure;
mod socket;
mod sources;
mod tagged;
mod trace;

use crate::net::{FAULTS, World};
use crate::run::{Summary, run};
use mio_sse::{CloseReason, Refusal};
use std::cell::{Cell, RefCell};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::rc::Rc;
use std::sync::Once;

/// Default number of seeds, and of steps of each.
const SEEDS: u64 = 120;
const STEPS: u64 = 4_000;

/// The failure of one seed.
struct Failure {
    step: u64,
    message: String,
    trace: String,
}

thread_local! {
    static MESSAGE: RefCell<String> = const { RefCell::new(String::new()) };
    static CAUGHT: Cell<bool> = const { Cell::new(false) };
}

/// Runs one seed, and catches its panic.
fn attempt(seed: u64, steps: u64) -> Result<Summary, Failure> {
    let world = Rc::new(RefCell::new(World::new(0)));
    catch(|| run(seed, steps, &world)).map_err(|message| {
        let world = world.borrow();
        Failure { step: world.trace.step, message, trace: world.trace.tail() }
    })
}

/// The same for a run of `lives`.
fn attempt_lives(seed: u64, steps: u64, verbose: bool) -> Result<lives::Summary, Failure> {
    let story = RefCell::new(None);
    catch(|| lives::run(seed, steps, verbose, &story)).map_err(|message| {
        let story = story.borrow();
        let story = story.as_ref().expect("it has begun").borrow();
        Failure { step: story.step, message, trace: story.tail() }
    })
}

/// Returns the message of the first panic, if there is one.
fn catch<T>(work: impl FnOnce() -> T) -> Result<T, String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if CAUGHT.get() {
                // The first panic counts: the library catches panics of callbacks.
                MESSAGE.with_borrow_mut(|message| {
                    if message.is_empty() {
                        *message = info.to_string();
                    }
                });
            } else {
                usual(info);
            }
        }));
    });
    MESSAGE.with_borrow_mut(String::clear);
    CAUGHT.set(true);
    let result = catch_unwind(AssertUnwindSafe(work));
    CAUGHT.set(false);
    result.map_err(|_| MESSAGE.with_borrow_mut(std::mem::take))
}

/// Runs one seed. If it fails, prints how to repeat it.
fn expect(seed: u64, steps: u64, verbose: bool) -> Summary {
    or_repeat(attempt(seed, steps), seed, steps, verbose)
}

fn or_repeat<T>(result: Result<T, Failure>, seed: u64, steps: u64, verbose: bool) -> T {
    result.unwrap_or_else(|Failure { step, message, trace }| {
        let trace = if verbose { trace.as_str() } else { "" };
        panic!(
            "{trace}seed {seed} fails in step {step}: {message}\n\
             to repeat it: SIM_SEED={seed} SIM_STEPS={steps} cargo test --test sim"
        );
    })
}

fn variable(name: &str) -> Option<u64> {
    std::env::var(name).ok().map(|value| value.parse().unwrap_or_else(|_| panic!("{name} is a number")))
}

#[test]
fn whatever_happens_the_invariants_hold() {
    let steps = variable("SIM_STEPS").unwrap_or(STEPS);
    if let Some(seed) = variable("SIM_SEED") {
        println!("{}", expect(seed, steps, true));
        return;
    }
    let seeds = variable("SIM_SEEDS").unwrap_or(SEEDS);
    let mut sum = Summary::default();
    let first = variable("SIM_FIRST").unwrap_or(0);
    for seed in first..first + seeds {
        sum.add(&expect(seed, steps, false));
    }
    println!("{seeds} seeds: {sum}");
    if seeds >= SEEDS && steps >= STEPS {
        sum.check_coverage();
    }
}

#[test]
fn each_client_has_the_whole_story() {
    let steps = variable("SIM_STEPS").unwrap_or(STEPS);
    let run = |seed, verbose| or_repeat(attempt_lives(seed, steps, verbose), seed, steps, verbose);
    if let Some(seed) = variable("SIM_SEED") {
        println!("{}", run(seed, true));
        return;
    }
    let seeds = variable("SIM_SEEDS").unwrap_or(SEEDS);
    let first = variable("SIM_FIRST").unwrap_or(0);
    let mut sum = lives::Summary::default();
    for seed in first..first + seeds {
        sum.add(&run(seed, false));
    }
    println!("{seeds} seeds of lives:{sum}");
    if seeds >= SEEDS && steps >= STEPS {
        sum.check_coverage();
    }
}

#[test]
fn the_same_seed_gives_the_same_trace() {
    for seed in 0..6 {
        let hashes = [(); 2].map(|()| expect(seed, 1_000, false).hash);
        assert_eq!(hashes[0], hashes[1], "seed {seed}");
        assert_ne!(hashes[0], expect(seed + 100, 1_000, false).hash);
        let lives = |seed| or_repeat(attempt_lives(seed, 1_000, false), seed, 1_000, false).hash;
        let hashes = [(); 2].map(|()| lives(seed));
        assert_eq!(hashes[0], hashes[1], "lives of seed {seed}");
        assert_ne!(hashes[0], lives(seed + 100));
    }
}

/// Whether streams close for this reason, and not only connections.
fn can_end_a_stream(reason: CloseReason) -> bool {
    (reason as usize) < CloseReason::HeadTimeout as usize
}

impl Summary {
    fn add(&mut self, other: &Self) {
        self.steps += other.steps;
        self.turns += other.turns;
        self.connections += other.connections;
        self.opened += other.opened;
        self.rejected += other.rejected;
        self.panics += other.panics;
        self.heartbeats += other.heartbeats;
        self.delivered += other.delivered;
        self.published += other.published;
        for (sum, more) in self.closed.iter_mut().zip(other.closed) {
            *sum += more;
        }
        for (sum, more) in self.connections_closed.iter_mut().zip(other.connections_closed) {
            *sum += more;
        }
        for (sum, more) in self.refused.iter_mut().zip(other.refused) {
            *sum += more;
        }
        for (sum, more) in self.struck.0.iter_mut().zip(other.struck.0) {
            *sum += more;
        }
        self.counts.add(&other.counts);
    }

    /// Checks that every case was exercised.
    fn check_coverage(&self) {
        for &reason in CloseReason::ALL {
            let of_connections = !can_end_a_stream(reason);
            let stream = self.closed[reason as usize];
            // Topics finish only in `lives`.
            let of_connections = of_connections || reason == CloseReason::Finished;
            assert_eq!(stream == 0, of_connections, "streams closed for {reason:?}: {stream}");
            // A reason that closes a stream cleanly is not one for the connection to close.
            let of_streams = matches!(
                reason,
                CloseReason::Application | CloseReason::MaxAge | CloseReason::Revoked | CloseReason::Finished
            );
            let connection = self.connections_closed[reason as usize];
            assert_eq!(connection == 0, of_streams, "connections closed for {reason:?}: {connection}");
        }
        let elsewhere = [Refusal::Finished, Refusal::MixedIds, Refusal::Memory];
        for &refusal in Refusal::ALL.iter().filter(|refusal| !elsewhere.contains(refusal)) {
            assert!(self.refused[refusal as usize] > 0, "no stream was refused for {refusal:?}");
        }
        for (name, count) in FAULTS.iter().zip(self.struck.0) {
            assert!(count > 0, "the fault {name:?} has never struck");
        }
        let others =
            [("rejections", self.rejected), ("panics", self.panics), ("heartbeats", self.heartbeats)];
        let counts = self.counts.named().into_iter();
        let counts = counts.filter(|(name, _)| cfg!(feature = "gzip") || *name != "compressed streams");
        let counts = counts.filter(|(name, _)| cfg!(feature = "tls") || !name.contains("TLS"));
        let others = others.into_iter().chain(counts);
        for (name, count) in others {
            assert!(count > 0, "there were no {name}");
        }
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { steps, turns, connections, opened, rejected, heartbeats, panics, .. } = self;
        let Self { delivered, published, counts, .. } = self;
        writeln!(f, "{steps} steps, {turns} turns, {connections} connections, {opened} streams")?;
        write!(f, "closed:")?;
        for &reason in CloseReason::ALL {
            if can_end_a_stream(reason) {
                write!(f, " {} {}", self.closed[reason as usize], reason.name())?;
            }
        }
        write!(f, "\nconnections closed:")?;
        for &reason in CloseReason::ALL {
            write!(f, " {} {}", self.connections_closed[reason as usize], reason.name())?;
        }
        write!(f, "\nrefused:")?;
        for &refusal in Refusal::ALL {
            write!(f, " {} {}", self.refused[refusal as usize], refusal.name())?;
        }
        writeln!(f)?;
        writeln!(
            f,
            "{published} published, {delivered} delivered, {rejected} rejected, {panics} panics, {heartbeats} heartbeats"
        )?;
        for (name, count) in counts.named() {
            writeln!(f, "{count:>10} {name}")?;
        }
        write!(f, "faults:")?;
        for (name, count) in FAULTS.iter().zip(self.struck.0) {
            write!(f, " {count} {name}")?;
        }
        Ok(())
    }
}
