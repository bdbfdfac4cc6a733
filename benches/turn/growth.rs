//! What becomes of the cost of a delivery as streams become more.

use std::collections::BTreeMap;
use std::time::Duration;

/// From so many streams to so many.
const FROM: usize = 1_000;
const TO: usize = 1_000_000;

/// How much more each delivery may cost then.
const TARGET: f64 = 1.5;

/// Fewer samples mean that nothing was measured, only tried.
const SAMPLES_MIN: usize = 10;

/// The nanoseconds of a delivery in every sample, by series and number of streams.
#[derive(Debug, Default)]
pub(crate) struct Growth(BTreeMap<String, BTreeMap<usize, Vec<f64>>>);

impl Growth {
    pub(crate) fn add(&mut self, series: &str, streams: usize, time: Duration, deliveries: u64) {
        let nanoseconds = time.as_nanos() as f64 / deliveries as f64;
        self.0.entry(series.to_owned()).or_default().entry(streams).or_default().push(nanoseconds);
    }

    /// Prints the medians, and what they grow by.
    pub(crate) fn report(mut self) {
        for samples in self.0.values_mut() {
            samples.retain(|_, samples| samples.len() >= SAMPLES_MIN);
        }
        self.0.retain(|_, samples| !samples.is_empty());
        for (series, samples) in &mut self.0 {
            println!("\nnanoseconds per delivery, {series}");
            let medians: BTreeMap<usize, f64> =
                samples.iter_mut().map(|(streams, samples)| (*streams, median(samples))).collect();
            for (streams, nanoseconds) in &medians {
                println!("{streams:>10} streams  {nanoseconds:>8.2}");
            }
            if let (Some(from), Some(to)) = (medians.get(&FROM), medians.get(&TO)) {
                let ratio = to / from;
                let verdict = if ratio <= TARGET { "within" } else { "MISSES" };
                println!("from {FROM} to {TO}: {ratio:.2} times, {verdict} the target of {TARGET}");
            }
        }
    }
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
