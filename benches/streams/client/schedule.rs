//! Publishing on a schedule, whether or not the events before have arrived, and resting.
//!
//! Latencies count from the *scheduled* time of an event: a server that holds up the publisher, or a client
//! that is late, makes them longer instead of hiding in them.

use super::{Client, STALL};
use crate::Result;
use crate::payload::Lines;
use hdrhistogram::Histogram;
use mio::Token;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

/// Time before the first event, so that it is not late either.
const LEAD: Duration = Duration::from_millis(5);

/// Polling waits in whole milliseconds. For shorter times the client polls without waiting.
const SPIN: Duration = Duration::from_millis(2);

/// Period with which a rest reads the clock.
const LOOK: Duration = Duration::from_secs(1);

/// Quantiles that are reported, of all deliveries, and of the last delivery of each event.
const QUANTILES: [f64; 4] = [0.5, 0.99, 0.999, 1.0];

impl Client {
    /// Publishes `count` events, one every `period`, and waits until every stream has each of them.
    pub(super) fn schedule(&mut self, count: u32, period: Duration) -> Result<String> {
        let mut publisher = self.publisher()?;
        let first = self.published + 1;
        self.lines = Lines::new(first, count);
        let mut events = self.events.take().ok_or("no events")?;
        let bytes = self.bytes;

        let mut deliveries = Histogram::<u64>::new_with_bounds(1_000, 60_000_000_000, 3)?;
        let mut lasts = deliveries.clone();
        // For each event, the number of streams that lack it.
        let mut missing = vec![self.streams.len(); count as usize];
        let (mut sent, mut complete) = (0, 0);
        let mut late = Duration::ZERO;

        let start = Instant::now() + LEAD;
        let due = |nth: u32| start + period * nth;
        let mut progress = Instant::now();
        while complete < count || publisher.unanswered() > 0 {
            let mut wait = STALL;
            if sent < count {
                let now = Instant::now();
                if now >= due(sent) {
                    late = late.max(now - due(sent));
                    publisher.renew(1, &self.poll)?;
                    self.published += 1;
                    publisher.publish(self.published..=self.published)?;
                    // Everything had arrived before, so no progress was possible until now.
                    if complete == sent {
                        progress = now;
                    }
                    sent += 1;
                    continue;
                }
                wait = due(sent).duration_since(now).min(STALL);
                wait = if wait < SPIN { Duration::ZERO } else { wait - SPIN };
            }
            let everywhere = complete;
            let what = || format!("{everywhere} of {sent} events on schedule are everywhere");
            self.exchange(&mut publisher, &mut events, wait, progress, what, |numbers| {
                let now = Instant::now();
                for number in numbers {
                    let nth = number - first;
                    let latency = now.duration_since(due(nth)).as_nanos().try_into()?;
                    deliveries.saturating_record(latency);
                    let missing = &mut missing[nth as usize];
                    *missing -= 1;
                    if *missing == 0 {
                        lasts.saturating_record(latency);
                        complete += 1;
                        progress = now;
                    }
                }
                Ok(())
            })?;
        }
        let wall = start.elapsed().as_nanos();
        let mut answer = format!("scheduled {wall} {} {} ", self.bytes - bytes, late.as_nanos());
        for histogram in [&deliveries, &lasts] {
            for quantile in QUANTILES {
                write!(answer, "{},", histogram.value_at_quantile(quantile))?;
            }
        }
        self.events = Some(events);
        Ok(answer)
    }

    /// Publishes nothing, and reads what arrives.
    pub(super) fn rest(&mut self, time: Duration) -> Result<String> {
        let mut events = self.events.take().ok_or("no events")?;
        let (bytes, start) = (self.bytes, Instant::now());
        let mut reads = 0;
        loop {
            let left = time.saturating_sub(start.elapsed());
            if left.is_zero() {
                break;
            }
            // Silence is not a failure here.
            self.poll(&mut events, left.min(LOOK), Instant::now(), String::new)?;
            for event in events.iter().filter(|event| event.is_readable()) {
                let Token(index) = event.token();
                let before = self.bytes;
                self.read(index, event.is_read_closed())?;
                reads += u64::from(self.bytes > before);
            }
        }
        self.events = Some(events);
        Ok(format!("rested {reads} {}", self.bytes - bytes))
    }
}
