//! A table of prices that updates in place: `cargo run --release --example prices`, then open the address it
//! prints.
//!
//! The topic is keyed by symbol. A client begins with the newest price of each symbol, without the older
//! ones. A client that reads too slowly skips prices that newer ones have superseded: its table is late, but
//! never wrong. Each event has a number, which shows the skipped ones.
//!
//! A page chooses how often it gets prices: with `/prices?pace=1000` once a second, and then only the newest
//! of each symbol. Each event is published to a topic for each pace.
//!
//! `PORT` in the environment chooses the port, `RUST_LOG` what is logged.

mod common;

use mio_sse::{Context, Error, Event, Reply, Router, TopicConfig};
use std::process::ExitCode;
use std::time::Duration;

const SYMBOLS: [&str; 20] = [
    "ACME", "BOLT", "CRUX", "DUNE", "ECHO", "FLUX", "GLOW", "HALO", "IRIS", "JADE", "KITE", "LUMA", "MOSS",
    "NOVA", "OPAL", "PINE", "QUAY", "RUNE", "SAGE", "TIDE",
];

/// Pace in milliseconds, and the topic with that pace. The first has none.
const PACES: [(u64, &str); 3] = [(0, "prices"), (250, "prices 250"), (1_000, "prices 1000")];

/// 200 prices a second.
const PERIOD: Duration = Duration::from_millis(5);

/// Time until a symbol is delisted, and until it is listed again.
const LISTING: Duration = Duration::from_secs(8);

/// The market: a random walk.
struct Market {
    /// Prices in cents; `None` is delisted.
    prices: [Option<u32>; SYMBOLS.len()],
    /// Number of events published, so that clients can count those that they have skipped.
    n: u64,
}

impl Market {
    fn new() -> Self {
        Self { prices: SYMBOLS.map(|_| Some(fastrand::u32(1_000..50_000))), n: 0 }
    }

    /// Publishes the price of one symbol, or its removal.
    fn publish(&mut self, symbol: usize, cx: &mut Context<'_>) -> Result<(), Error> {
        self.n += 1;
        let (name, n) = (SYMBOLS[symbol], self.n);
        // The text contains nothing that JSON has to escape.
        let event = match self.prices[symbol] {
            Some(cents) => {
                let price = format!("{}.{:02}", cents / 100, cents % 100);
                Event::from(format!(r#"{{"n":{n},"symbol":"{name}","price":{price}}}"#)).event("price")
            }
            None => Event::from(format!(r#"{{"n":{n},"symbol":"{name}"}}"#)).event("delisted").removes_key(),
        };
        cx.publish_all(PACES.map(|(_, topic)| topic), event.key(name))
    }

    /// A trade: one price moves by at most half a percent.
    fn trade(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        // Some symbols are traded much more than others; 7 scatters them over the table.
        let rank = fastrand::usize(0..SYMBOLS.len()).min(fastrand::usize(0..SYMBOLS.len()));
        let symbol = rank * 7 % SYMBOLS.len();
        let Some(cents) = &mut self.prices[symbol] else { return Ok(()) };
        let most = (*cents / 200).max(1);
        *cents = (*cents + fastrand::u32(0..=2 * most)).saturating_sub(most).clamp(100, 1_000_000);
        self.publish(symbol, cx)
    }

    /// Lists a delisted symbol again, or delists one.
    fn list(&mut self, cx: &mut Context<'_>) -> Result<(), Error> {
        let gone = self.prices.iter().position(Option::is_none);
        let symbol = gone.unwrap_or_else(|| fastrand::usize(0..SYMBOLS.len()));
        self.prices[symbol] = gone.map(|_| fastrand::u32(1_000..50_000));
        self.publish(symbol, cx)
    }
}

fn app() -> Router {
    let mut app = Router::new();
    common::page(&mut app, include_str!("prices.html"));
    app.get("/prices", |request, _cx| {
        let asked: u64 = match request.query("pace") {
            Some(pace) => {
                pace.parse().map_err(|_| Reply::text("pace is in milliseconds\n").with_status(400))?
            }
            None => 0,
        };
        // The slowest pace that is not slower than the one asked for.
        let topic = PACES.iter().rev().find(|(pace, _)| *pace <= asked).map_or("prices", |(_, topic)| topic);
        Ok::<_, Reply>(Reply::stream().topic(topic).snapshot())
    });

    app.on_start(|cx| {
        for (pace, topic) in PACES {
            let config = TopicConfig::default().keyed();
            let paced = config.pace(Duration::from_millis(pace));
            cx.configure(topic, if pace > 0 { paced } else { config })?;
        }
        let mut market = Market::new();
        for symbol in 0..SYMBOLS.len() {
            market.publish(symbol, cx)?;
        }
        let mut until_listing = LISTING;
        cx.every_global(PERIOD, move |cx| {
            until_listing = until_listing.saturating_sub(PERIOD);
            if until_listing.is_zero() {
                until_listing = LISTING;
                market.list(cx)?;
            }
            market.trade(cx)
        });
        Ok::<_, Error>(())
    });

    app
}

fn main() -> ExitCode {
    common::run("prices", app())
}
