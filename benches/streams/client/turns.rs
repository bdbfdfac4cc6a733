//! Publishing in turns: the next turn begins when the last stream has the events of the one before.

use super::publisher::Publisher;
use super::{Client, STALL};
use crate::Result;
use crate::payload::Lines;
use mio::Events;
use std::fmt::Write as _;
use std::time::{Duration, Instant};

impl Client {
    /// Publishes `turns` times `burst` events.
    pub(super) fn publish(&mut self, turns: u32, burst: u32) -> Result<String> {
        let mut publisher = self.publisher()?;
        self.lines = Lines::new(self.published + 1, turns * burst);
        let mut events = self.events.take().ok_or("no events")?;
        let mut latencies = Vec::with_capacity(turns as usize);
        let bytes = self.bytes;
        let start = Instant::now();
        for _ in 0..turns {
            publisher.renew(burst, &self.poll)?;
            latencies.push(self.turn(&mut publisher, &mut events, burst)?);
        }
        let mut answer = format!("published {} {} ", start.elapsed().as_nanos(), self.bytes - bytes);
        for latency in latencies {
            write!(answer, "{},", latency.as_nanos())?;
        }
        self.events = Some(events);
        Ok(answer)
    }

    /// Publishes one burst in one write. Returns the time until the last stream had all of it.
    fn turn(&mut self, publisher: &mut Publisher, events: &mut Events, burst: u32) -> Result<Duration> {
        let first = self.published + 1;
        self.published += burst;
        let last = self.published;
        let mut missing = self.streams.len();
        let mut arrived = Duration::ZERO;
        let mut progress = Instant::now();
        let start = Instant::now();
        publisher.publish(first..=last)?;
        while missing > 0 || publisher.unanswered() > 0 {
            let before = (missing, publisher.unanswered());
            let (streams, answers) = before;
            let what = || {
                format!("event {last} is missing at {streams} streams, {answers} requests lack a response")
            };
            self.exchange(publisher, events, STALL, progress, what, |numbers| {
                if numbers.contains(&last) {
                    missing -= 1;
                    if missing == 0 {
                        arrived = start.elapsed();
                    }
                }
                Ok(())
            })?;
            if before != (missing, publisher.unanswered()) {
                progress = Instant::now();
            }
        }
        Ok(arrived)
    }
}
