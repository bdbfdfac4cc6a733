//! Step 8: visits every connection regularly, for heartbeats and time-outs without a timer for each.
//!
//! A late request gets 408, and its connection lingers. A connection that has sent nothing is just closed. A
//! stream that stalls is closed at once, and one that is too old is closed cleanly.

use crate::config::Config;
use crate::conn::close_reason::CloseReason;
use crate::conn::slot::Connection;
use crate::delivery::stream::{Flags, Phase};
use crate::server::api::app::App;
use crate::server::api::server::Server;
use crate::server::io::net::Net;
use crate::server::io::write::write;
use crate::server::state::ages;
use crate::server::state::scatter::scatter;
use crate::server::state::ticks::ticks;
use crate::server::steps::late::too_late;
use std::time::Duration;

/// The smallest slice, in slots, so a small server wakes once a period.
const SLICE_MIN: u32 = 4096;

/// Connections that are written to or closed in one turn at most.
const ACTS_PER_TURN: u32 = 1024;

/// Slices of a period if there are many slots, to keep a turn short.
const SLICES: u32 = 16;

/// The longest period, which bounds how late a time-out can be.
const PERIOD_MAX: Duration = Duration::from_secs(1);

/// Time for the request of a connection over a limit.
const SURPLUS_TIMEOUT: Duration = Duration::from_secs(2);

/// Topics that are checked for expired events in one slice.
const TOPICS_PER_SLICE: usize = 4096;

/// The time between two visits of a connection: a quarter of the shortest time-out.
fn period(config: &Config) -> Duration {
    let times = [
        config.head_timeout,
        config.body_timeout,
        config.keep_alive_timeout,
        config.late_reply_timeout,
        config.stall_timeout,
        config.linger,
    ];
    let shortest = times
        .into_iter()
        .chain(config.heartbeat)
        // An age has a resolution of a hundredth.
        .chain(config.max_age.map(|age| age / 16))
        .min()
        .unwrap_or(PERIOD_MAX);
    (shortest / 4).clamp(Duration::from_millis(1), PERIOD_MAX)
}

/// How long a stream may be silent before it gets a heartbeat: early enough that the silence never exceeds
/// `heartbeat`, although the sweep visits it only once a `period`. It differs by up to a quarter between
/// slots, so streams that were served together do not all beat together.
fn silence_max(heartbeat: u32, period: u32, slot: u32) -> u32 {
    let spread = heartbeat / 4;
    let early = (u64::from(spread) * u64::from(scatter(slot))) >> 32;
    heartbeat - period - u32::try_from(early).unwrap_or(spread)
}

/// Times for a slice, in milliseconds, computed once for up to a million streams.
#[derive(Debug, Clone, Copy)]
struct Slice {
    now: u32,
    stall: u32,
    heartbeat: Option<u32>,
    period: u32,
    /// The clock of ages, see `ages::clock`.
    age: Option<u8>,
    /// Whether the time to write the rest of a stream that has ended is bounded.
    bounds_rests: bool,
}

impl<H: App, N: Net> Server<H, N> {
    /// Step 8: relieves memory pressure, and does one slice of the sweep if it is due.
    pub(crate) fn sweep(&mut self) {
        self.relieve();
        if self.core.delivery.topics.is_behind() {
            self.core.delivery.topics.expire(TOPICS_PER_SLICE);
        }
        let now = self.core.now;
        if self.core.delivery.slots.len() == 0 && !self.core.delivery.topics.is_aging() {
            self.sweep.due = None;
            return;
        }
        if *self.sweep.due.get_or_insert(now) > now {
            return;
        }
        let period = period(&self.core.config);
        self.core.delivery.topics.expire(TOPICS_PER_SLICE);
        let bound = self.core.delivery.slots.bound();
        let slice = bound.div_ceil(SLICES).max(SLICE_MIN).min(bound);
        let config = &self.core.config;
        let look = Slice {
            now: ticks(now),
            stall: ticks(config.stall_timeout),
            heartbeat: config.heartbeat.map(ticks),
            period: ticks(period),
            age: config.max_age.map(|age_max| ages::clock(age_max, now)),
            bounds_rests: self.core.rest_expires().is_some(),
        };
        let mut acts = 0;
        for _ in 0..slice {
            if self.sweep.next >= bound {
                self.sweep.next = 0;
            }
            acts += u32::from(self.look_at(self.sweep.next, look));
            self.core.work.connections_swept += 1;
            self.sweep.next += 1;
            if acts >= ACTS_PER_TURN {
                // The rest of the slice waits for the next turn.
                return;
            }
        }
        let slices = bound.div_ceil(slice.max(1)).max(1);
        self.sweep.due = Some(now.saturating_add(period / slices));
    }

    /// A part of step 3, before new streams open. The clock of ages wraps, so after a turn that took longer
    /// than `max_age` an old stream could look young: such streams are marked here.
    pub(crate) fn mark_ages(&mut self) {
        let now = self.core.now;
        let since = now.saturating_sub(std::mem::replace(&mut self.sweep.turned, now));
        if let Some(age_max) = self.core.config.max_age
            && since >= age_max / 4
        {
            let over = ages::clock(age_max, now);
            // Streams that have ended could not write in the meantime.
            let rest = self.core.rest_expires().unwrap_or(over);
            for stream in self.core.delivery.slots.streams_mut() {
                if stream.phase == Phase::Ending {
                    stream.expires = rest;
                } else if since >= age_max {
                    stream.expires = over;
                }
            }
        }
    }

    /// Returns whether there was something to do.
    fn look_at(&mut self, slot: u32, look: Slice) -> bool {
        let tick = look.now;
        let config = &self.core.config;
        let Some(entry) = self.core.delivery.slots.get(slot) else { return false };
        // Whether bytes count as written that the socket has not taken.
        let keeps = || {
            let socket = self.sockets.get(slot as usize).and_then(Option::as_ref);
            socket.is_some_and(|socket| self.net.keeps(socket))
        };
        match &entry.state {
            Connection::Streaming(stream) => {
                let silent = tick.wrapping_sub(stream.since);
                let stalled = silent >= look.stall && (!entry.writable || keeps());
                let too_old = || {
                    let clock = look.age.filter(|_| !stream.flags.has(Flags::OWN_AGE));
                    clock.is_some_and(|clock| ages::is_over(clock, stream.expires))
                };
                // The stream has ended, but the client takes its rest so slowly that it never stalls.
                let lingers = || {
                    let clock = look.age.filter(|_| stream.phase == Phase::Ending && look.bounds_rests);
                    clock.is_some_and(|clock| ages::is_over(clock, stream.expires))
                };
                if stalled || lingers() {
                    self.core.end(slot, CloseReason::Stalled);
                } else if stream.phase == Phase::Open && too_old() {
                    if let Some(id) = self.core.delivery.slots.id(slot) {
                        // Cannot fail: the stream is open.
                        let _ = self.core.close_for(id, CloseReason::MaxAge);
                    }
                } else if (!stream.pins || stream.is_held())
                    && !stream.queued
                    && let Some(heartbeat) = look.heartbeat
                    && stream.phase == Phase::Open
                    && silent >= silence_max(heartbeat, look.period, slot)
                {
                    self.beat(slot);
                } else {
                    return false;
                }
            }
            Connection::Reading { since, held, refused, .. } => {
                let (limit, reason) = match held {
                    Some(held) if held.incoming.in_body() => (config.body_timeout, CloseReason::BodyTimeout),
                    None if !entry.is_new() => (config.keep_alive_timeout, CloseReason::IdleTimeout),
                    _ => (config.head_timeout, CloseReason::HeadTimeout),
                };
                // A connection accepted only to be refused has little time, because others wait for its
                // place.
                let limit = if refused.is_some() { limit.min(SURPLUS_TIMEOUT) } else { limit };
                let limit = if keeps() { limit.max(config.stall_timeout) } else { limit };
                if tick.wrapping_sub(*since) < ticks(limit) {
                    return false;
                }
                self.give_up_waiting(slot, reason);
            }
            Connection::Replying(reply) => {
                if tick.wrapping_sub(reply.written) < ticks(config.stall_timeout) {
                    return false;
                }
                self.core.end(slot, CloseReason::Stalled);
            }
            Connection::Awaiting(awaiting) => {
                if tick.wrapping_sub(awaiting.since) < ticks(config.late_reply_timeout) {
                    return false;
                }
                self.give_up_awaiting(slot, too_late());
            }
            Connection::Lingering { since, reason, .. } => {
                // What it is to get first may take as long as anything else.
                let limit = if keeps() { config.linger.max(config.stall_timeout) } else { config.linger };
                if tick.wrapping_sub(*since) < ticks(limit) {
                    return false;
                }
                let reason = *reason;
                self.core.end(slot, reason);
            }
            Connection::Closed => return false,
        }
        true
    }

    /// Writes a heartbeat to a stream that has received everything else.
    fn beat(&mut self, slot: u32) {
        let now = self.core.tick();
        let Some(stream) = self.core.delivery.stream(slot) else { return };
        // A wave will reach this stream soon. A heartbeat before it would carry an id ahead of the wave's
        // events.
        if !stream.is_held() && stream.topics().any(|(key, _)| self.core.delivery.topics.get(key).dirty) {
            return;
        }
        // A stream that waits for missed events, or is ahead of this server, gets no id: it would lose its
        // place.
        let has_place = !stream.is_held() && stream.waits_for().is_none();
        let ids = self.core.delivery.ids_of(slot).filter(|_| has_place);
        let (beat, kind) = self.sweep.beats.frame(&self.core, ids);
        let Some(socket) = self.sockets.get_mut(slot as usize).and_then(Option::as_mut) else { return };
        let net = &mut self.net;
        match self.core.delivery.give_aside(slot, now, kind, beat, |bytes| write(net, socket, bytes)) {
            Ok(given) => self.core.stats.heartbeats += u64::from(given),
            Err(reason) => self.core.end(slot, reason),
        }
    }
}
