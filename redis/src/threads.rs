//! The two threads of a hub: one reads the stream, one writes to it. Each has its own connection.

use crate::link::{Link, send};
use crate::reader::{Act, Reader};
use crate::shared::Shared;
use crate::wire;
use mio_sse::{Context, Error, Publisher};
use redis::{Connection, pipe};
use std::sync::Arc;
use std::time::{Duration, SystemTime, UNIX_EPOCH};

/// Timeout of the reader's replies: well above the time for which Redis itself blocks.
pub(crate) const READ_PATIENCE: Duration = Duration::from_secs(3 * wire::BLOCK.as_secs());

/// Timeout of the writer's replies.
const WRITE_PATIENCE: Duration = Duration::from_secs(5);

/// Pauses between attempts to connect.
const PAUSE_MIN: Duration = Duration::from_millis(100);
const PAUSE_MAX: Duration = Duration::from_secs(5);

/// The key of the stream, and how many entries it retains.
#[derive(Debug, Clone)]
pub(crate) struct Stream {
    pub(crate) key: String,
    pub(crate) kept: usize,
}

/// Sends the reader's next command. Returns the acts that follow from the reply.
///
/// # Errors
///
/// A description of the problem. The connection must not be used again.
pub(crate) fn ask(
    reader: &mut Reader,
    stream: &Stream,
    connection: &mut Connection,
    shared: &Shared,
) -> Result<Vec<Act>, String> {
    tell_written(reader, shared);
    let ask = reader.ask(unix_ms());
    let replies = send(wire::ask(&stream.key, stream.kept, &ask), connection);
    let told = replies.map_err(|error| error.to_string()).and_then(|replies| wire::told(&ask, replies));
    // The reply may contain entries that were written meanwhile.
    tell_written(reader, shared);
    let acts = match told {
        Ok(told) => reader.told(told, shared.now()),
        Err(problem) => {
            reader.lost();
            return Err(problem);
        }
    };
    let read = reader.read();
    let mut state = shared.lock();
    state.highest = state.highest.max(reader.highest());
    state.stats.entries_read = read.entries;
    state.stats.duplicates = read.duplicates;
    state.stats.malformed = read.malformed;
    state.stats.gaps = read.gaps;
    drop(state);
    if let Some((position, problem)) = reader.take_malformed() {
        shared.complain(&format!("the entry {position} of {:?} is not an event: {}", stream.key, problem.0));
    }
    Ok(acts)
}

/// Tells the reader which entries were written here.
fn tell_written(reader: &mut Reader, shared: &Shared) {
    let mut state = shared.lock();
    let written = state.writer.take_written();
    written.into_iter().for_each(|(position, nonce)| reader.wrote(position, nonce));
    reader.saw(state.highest);
}

/// Performs the reader's acts in a loop that does not run yet.
pub(crate) fn fill<S: 'static>(acts: &[Act], shared: &Shared, cx: &mut Context<'_, S>) {
    for act in acts {
        let done = match act {
            Act::Publish { topics, position, event } => {
                match cx.publish_all_at(topics.iter().map(|topic| &**topic), *position, event) {
                    // The event is lost, so a client that resumes before it has to get a gap.
                    Err(Error::TooMuchMemory) => cx.ordered_gap(*position),
                    done => done,
                }
            }
            Act::Finish(topic) => cx.finish_topic(topic),
            Act::Gap(position) => cx.ordered_gap(*position),
            Act::End(position) => {
                cx.ordered_end(*position);
                Ok(())
            }
        };
        if let Err(error) = done {
            shared.complain(&format!("an entry was not published: {error}"));
        }
    }
}

/// Performs the reader's acts. Returns whether the server and the hub are still running.
fn perform(acts: Vec<Act>, shared: &Shared, publisher: &Publisher) -> bool {
    for act in acts {
        loop {
            let done = match &act {
                Act::Publish { topics, position, event } => {
                    publisher.publish_all_at(topics.iter().map(|topic| &**topic), *position, event)
                }
                Act::Finish(topic) => publisher.finish_topic(topic),
                Act::Gap(position) => publisher.ordered_gap(*position),
                Act::End(position) => publisher.ordered_end(*position),
            };
            match done {
                // The inbox is full because the server does not run yet.
                Err(Error::Full) if shared.rest(PAUSE_MIN) => continue,
                Err(Error::Full | Error::Stopped) => return false,
                Err(error) => shared.complain(&format!("an entry was not published: {error}")),
                Ok(()) => {}
            }
            break;
        }
    }
    true
}

/// Reads until the server or the hub has stopped.
pub(crate) fn read(
    mut reader: Reader,
    stream: &Stream,
    mut link: Link,
    connection: Connection,
    shared: &Arc<Shared>,
    publisher: &Publisher,
) {
    let mut connection = Some(connection);
    let mut pause = PAUSE_MIN;
    loop {
        if shared.lock().stopped {
            return;
        }
        let open = match connection.take() {
            Some(open) => Ok(open),
            None => link.connect(READ_PATIENCE).map_err(|error| error.to_string()),
        };
        let asked = open.and_then(|mut open| {
            let acts = ask(&mut reader, stream, &mut open, shared)?;
            connection = Some(open);
            Ok(acts)
        });
        match asked {
            Ok(acts) => {
                pause = PAUSE_MIN;
                if !std::mem::replace(&mut shared.lock().stats.is_connected, true) {
                    log::info!("reading {:?} again", stream.key);
                }
                if !perform(acts, shared, publisher) {
                    return shared.stop();
                }
            }
            Err(problem) => {
                let mut state = shared.lock();
                state.stats.disconnects += 1;
                let was_connected = std::mem::replace(&mut state.stats.is_connected, false);
                drop(state);
                if was_connected {
                    log::warn!("cannot read {:?}, retrying: {problem}", stream.key);
                }
                if publisher.is_stopped() {
                    return shared.stop();
                }
                if !shared.rest(scattered(pause)) {
                    return;
                }
                pause = (2 * pause).min(PAUSE_MAX);
            }
        }
    }
}

/// Writes submitted events until the hub stops.
pub(crate) fn write(stream: &Stream, mut link: Link, patience: Duration, shared: &Arc<Shared>) {
    let mut connection: Option<Connection> = None;
    let mut pause = PAUSE_MIN;
    loop {
        let mut state = shared.lock();
        while state.writer.waiting() == 0 && !state.stopped {
            state = shared.wait(state, None);
        }
        if state.stopped {
            return;
        }
        let late = state.writer.give_up(shared.now());
        let highest = state.highest;
        let (mut together, mut count) = (pipe(), 0);
        for (at, record) in state.writer.send(unix_ms(), highest) {
            together.add_command(wire::add(&stream.key, stream.kept, at, record));
            count += 1;
        }
        drop(state);
        shared.settle(late);
        if count == 0 {
            continue;
        }
        let open = match connection.take() {
            Some(open) => Ok(open),
            None => link.connect(patience.min(WRITE_PATIENCE)),
        };
        let replied = open.and_then(|mut open| {
            let replies = send(together, &mut open)?;
            connection = Some(open);
            Ok(replies)
        });
        let mut state = shared.lock();
        let (fates, is_available) = match replied {
            Ok(replies) => state.writer.told(replies.into_iter().map(wire::reply).collect()),
            Err(error) => {
                state.writer.lost(error.to_string());
                (Vec::new(), false)
            }
        };
        drop(state);
        shared.settle(fates);
        if is_available {
            pause = PAUSE_MIN;
            continue;
        }
        connection = None;
        if !rest_and_give_up(shared, scattered(pause)) {
            return;
        }
        pause = (2 * pause).min(PAUSE_MAX);
    }
}

/// Waits for `time`, and meanwhile gives up events whose time is over. Returns whether the hub is still
/// running.
fn rest_and_give_up(shared: &Shared, time: Duration) -> bool {
    let until = shared.now() + time;
    loop {
        let late = shared.lock().writer.next_late().unwrap_or(Duration::MAX);
        if !shared.rest(until.min(late).saturating_sub(shared.now())) {
            return false;
        }
        let late = shared.lock().writer.give_up(shared.now());
        shared.settle(late);
        if shared.now() >= until {
            return true;
        }
    }
}

/// A random time between half of `pause` and `pause`, so that nodes do not all reconnect to Redis at once.
fn scattered(pause: Duration) -> Duration {
    let share = getrandom::u32().unwrap_or(u32::MAX);
    pause / 2 + (pause / 2).mul_f64(f64::from(share) / f64::from(u32::MAX))
}

#[expect(clippy::disallowed_methods, reason = "positions begin with the time of day")]
fn unix_ms() -> u64 {
    let since = SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default();
    u64::try_from(since.as_millis()).unwrap_or(u64::MAX)
}
