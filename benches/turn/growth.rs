//! Growth of the cost of a delivery with the number of streams.
//!
//! Few and many streams alternate, so that other load on the machine affects both.

use crate::rig::{Rig, time};
use std::time::Duration;

const FEW: usize = 1_000;
const MANY: usize = 1_000_000;

/// Largest allowed growth of the cost of a delivery.
const TARGET: f64 = 1.5;

const ROUNDS: usize = 15;

pub(crate) fn measure() {
    println!("\nnanoseconds per delivery, median of {ROUNDS} rounds, and the median of their ratios");
    let mut few = Rig::live(FEW);
    let mut many = Rig::live(MANY);
    compare("in the order of their slots", &mut few, &mut many);
    // After long coming and going, streams are in random order.
    few.shuffle();
    many.shuffle();
    compare("in any order", &mut few, &mut many);
}

fn compare(order: &str, few: &mut Rig, many: &mut Rig) {
    for events in [1, 64] {
        let (mut small, mut large, mut ratios) = (Vec::new(), Vec::new(), Vec::new());
        for _ in 0..ROUNDS {
            let times = [round(few, FEW, events), round(many, MANY, events)];
            let [from, to] = times.map(|time| time.as_nanos() as f64 / (2 * MANY * events) as f64);
            small.push(from);
            large.push(to);
            ratios.push(to / from);
        }
        let (small, large, ratio) = (median(&mut small), median(&mut large), median(&mut ratios));
        let verdict = if ratio <= TARGET { "within" } else { "MISSES" };
        println!(
            "{events:>2} events a turn, {order}: {small:.2} to each of {FEW}, {large:.2} to each of {MANY}: \
             {ratio:.2} times, {verdict} the target of {TARGET}"
        );
    }
}

/// Publishes until there are twice as many deliveries as `streams`.
fn round(rig: &mut Rig, streams: usize, events: usize) -> Duration {
    time(|| (0..2 * MANY / streams).for_each(|_| rig.deliver(events)))
}

fn median(samples: &mut [f64]) -> f64 {
    samples.sort_by(f64::total_cmp);
    samples[samples.len() / 2]
}
