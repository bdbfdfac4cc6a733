//! Events as applications have them.

use fastrand::Rng;
use std::fmt::Write;

pub(crate) struct Payload {
    pub(crate) name: &'static str,
    /// Makes the data of the event with this number.
    make: fn(&mut Rng, usize) -> String,
    bytes: usize,
}

pub(crate) const KINDS: [Payload; 5] = [
    Payload { name: "ticks", make: tick, bytes: 171 },
    Payload { name: "chat", make: chat, bytes: 975 },
    Payload { name: "tokens", make: token, bytes: 286 },
    Payload { name: "html", make: html, bytes: 13_600 },
    Payload { name: "sensors", make: sensors, bytes: 470 },
];

impl Payload {
    pub(crate) fn next(&self, random: &mut Rng, number: usize) -> String {
        (self.make)(random, number)
    }

    /// Number of measured events for so many streams: some seconds' worth.
    pub(crate) fn events_for(&self, streams: usize) -> usize {
        let by_bytes = (1 << 30) / (self.bytes * streams);
        (400_000 / streams).clamp(64, 2_048).min(by_bytes.max(64))
    }
}

fn tick(random: &mut Rng, number: usize) -> String {
    let symbol = ["BTC-USD", "ETH-USD", "SOL-USD", "EUR-USD"][random.usize(..4)];
    let (price, size) = (67_000.0 + random.f64() * 300.0, random.f64() * 2.0);
    let side = if random.bool() { "buy" } else { "sell" };
    let (sequence, ms) = (81_204_511 + number, 1_764_400_000_000 + 37 * number + random.usize(..37));
    format!(
        r#"{{"type":"trade","symbol":"{symbol}","sequence":{sequence},"price":"{price:.2}","size":"{size:.8}","side":"{side}","time":{ms},"venue":"north","maker":{}}}"#,
        random.bool()
    )
}

const WORDS: &str = "the of and to in a is that for it was on are as with his they at be this from have or by one \
    had not but what all were when we there can an your which their said if do will each about how up out them then she \
    many some so these would other into has more her two like him see time could no make than first been its who now \
    people my made over did down only way find use may water long little very after words called just where most know \
    get through back much before go good new write our used me man too any day same right look think also around \
    another came come work three word must because does part even place well such here take why help put different away \
    again off went old number great tell men say small every found still between name should home big give air line set";

fn text(random: &mut Rng, words: usize) -> String {
    let all: Vec<&str> = WORDS.split_whitespace().collect();
    let mut text = String::new();
    for _ in 0..words {
        // Few words are most of what is said.
        let at = random.usize(..all.len()).min(random.usize(..all.len()));
        text.push_str(all[at]);
        text.push(' ');
    }
    text
}

fn chat(random: &mut Rng, number: usize) -> String {
    let said = text(random, 150);
    let (user, ms) = (random.u32(..40), 1_764_400_000_000 + 900 * number);
    format!(
        r#"{{"id":"m{:016x}","room":"general","user":{{"id":{user},"name":"user-{user}","avatar":"/avatars/{user}.webp"}},"sent_at":{ms},"text":"{said}"}}"#,
        random.u64(..)
    )
}

fn token(random: &mut Rng, number: usize) -> String {
    let token = text(random, 1);
    format!(
        r#"{{"id":"chatcmpl-9f3kQ2vXo7LmN8pRtYwZb1c4","object":"chat.completion.chunk","created":1764400{:03},"model":"large-2026-10-01","system_fingerprint":"fp_8d7c6b5a4f","service_tier":"default","choices":[{{"index":0,"delta":{{"content":"{token}"}},"logprobs":null,"finish_reason":null}}]}}"#,
        number / 50 % 1_000
    )
}

/// A table of 60 rows, of which some change from one event to the next.
fn html(random: &mut Rng, number: usize) -> String {
    let mut page = String::from(
        "<section id=\"orders\" hx-swap-oob=\"true\"><table class=\"orders table table-striped\"><tbody>",
    );
    for row in 0..60 {
        // Its value at the last change.
        let of = if random.usize(..20) == 0 { number } else { 0 };
        let hash = (row * 7_919 + of * 104_729) % 1_000_003;
        write!(
            page,
            "<tr id=\"order-{row}\" class=\"order\"><td class=\"order-id\"><a href=\"/orders/{row}\">#{}</a></td><td class=\"customer\">Customer {}</td><td class=\"total\">{}.{:02} EUR</td><td><span class=\"badge badge-{}\">{}</span></td></tr>",
            10_000 + row,
            hash % 977,
            hash % 499,
            hash % 100,
            hash % 4,
            ["new", "paid", "sent", "done"][hash % 4]
        )
        .expect("a string takes it");
    }
    page.push_str("</tbody></table></section>");
    page
}

fn sensors(random: &mut Rng, number: usize) -> String {
    let mut event = format!(r#"{{"device":"hall-7","n":{number},"values":["#);
    for sensor in 0..64 {
        let value = 20.0 + f64::from(sensor) * 0.1 + random.f64() * 3.0;
        write!(event, "{}{value:.2}", if sensor == 0 { "" } else { "," }).expect("a string takes it");
    }
    event.push_str("]}");
    event
}
