//! The examples with tables and charts, read as their pages read them.

use crate::examples::Example;
use crate::support::{Client, DEADLINE, ms, now};
use eventsource_stream::Event;
use serde_json::Value;
use std::collections::{BTreeMap, BTreeSet};
use std::net::TcpStream;

/// The data of an event, which has to be JSON.
fn json(event: &Event) -> Value {
    serde_json::from_str(&event.data).unwrap_or_else(|error| panic!("{error}: {event:?}"))
}

fn number(of: &Value, name: &str) -> u64 {
    of[name].as_u64().unwrap_or_else(|| panic!("{name} of {of}"))
}

/// Checks the page, the `paths` that it requests, and its style sheet.
pub(crate) fn has_a_page(example: &Example, paths: &[&str]) {
    let mut client = example.connect();
    let head = client.get("/");
    assert_eq!((head.status, head.get("Content-Type")), (200, Some("text/html; charset=utf-8")));
    let page = client.body(&head);
    for path in paths.iter().chain(&["/style.css"]) {
        assert!(page.contains(&format!("\"{path}\"")), "{path}");
    }
    // Everything that the page needs is served here.
    assert!(!page.contains("https://") && !page.contains("src=\"//"));
    let head = client.get("/style.css");
    assert_eq!((head.status, head.get("Content-Type")), (200, Some("text/css; charset=utf-8")));
}

mod prices {
    use super::*;

    fn open(example: &Example) -> Client {
        let mut client = example.connect();
        let head = client.get("/prices");
        assert_eq!((head.status, head.get("Content-Type")), (200, Some("text/event-stream")));
        client
    }

    fn n(event: &Event) -> u64 {
        number(&json(event), "n")
    }

    fn symbol(event: &Event) -> String {
        json(event)["symbol"].as_str().unwrap().to_owned()
    }

    /// The table of a page that has received `events` up to the number `until`.
    fn table(events: &[Event], until: u64) -> BTreeMap<String, String> {
        let mut table = BTreeMap::new();
        for event in events.iter().filter(|event| n(event) <= until) {
            match event.event.as_str() {
                "price" => table.insert(symbol(event), json(event)["price"].to_string()),
                "delisted" => table.remove(&symbol(event)),
                other => panic!("{other}"),
            };
        }
        table
    }

    /// The number of the newest event.
    fn newest(example: &Example) -> u64 {
        n(open(example).events(19).last().unwrap())
    }

    fn wait_for(example: &Example, published: u64) {
        let deadline = now() + 3 * DEADLINE;
        while newest(example) < published {
            assert!(now() < deadline, "{published} events");
            std::thread::sleep(ms(50));
        }
    }

    #[test]
    fn a_slower_pace_skips_most_events_and_ends_up_the_same() {
        let example = Example::start("prices");
        let mut client = example.connect();
        assert_eq!(client.get("/prices?pace=often").status, 400);
        let mut paced = example.connect();
        assert_eq!(paced.get("/prices?pace=999").status, 200);
        // A table, and at least three more waves of 50 events each, most of which are superseded.
        let events = paced.events(90);
        let (first, last) = (n(&events[20]), n(events.last().unwrap()));
        assert!(last - first > 2 * (90 - 20), "{first} to {last}");
        let seen = table(&events, last);
        assert!(seen.len() >= 19, "{seen:?}");
    }

    #[test]
    fn a_new_client_gets_each_symbol_once_and_then_every_change() {
        let example = Example::start("prices");
        has_a_page(&example, &["/prices"]);
        wait_for(&example, 300);
        let events = open(&example).events(80);
        let numbers: Vec<_> = events.iter().map(n).collect();
        assert!(numbers.is_sorted_by(|a, b| a < b), "{numbers:?}");
        // Nineteen or twenty symbols are listed. The last event is the newest, and those that follow have no
        // gap.
        let listed = if numbers[19] == numbers[18] + 1 { 19 } else { 20 };
        let symbols: BTreeSet<_> = events[..listed].iter().map(symbol).collect();
        assert_eq!(symbols.len(), listed, "{events:?}");
        assert!(numbers[18] - numbers[0] > 20, "hundreds of events were superseded: {numbers:?}");
        assert!(numbers[listed..].windows(2).all(|pair| pair[1] == pair[0] + 1), "{numbers:?}");
        for event in &events {
            let (symbol, json) = (symbol(event), json(event));
            assert!(symbol.len() == 4 && symbol.bytes().all(|byte| byte.is_ascii_uppercase()), "{json}");
            let price = json["price"].as_f64().unwrap_or(1.0);
            assert!((1.0..=10_000.0).contains(&price), "{json}");
            assert_eq!(json["price"].is_null(), event.event == "delisted", "{event:?}");
        }
    }

    #[test]
    fn a_client_that_does_not_read_for_a_while_skips_superseded_events() {
        let example = Example::start("prices");
        // A small receive buffer, or the kernel would take everything.
        let socket = socket2::Socket::new(socket2::Domain::IPV4, socket2::Type::STREAM, None).unwrap();
        socket.set_recv_buffer_size(4096).unwrap();
        socket.connect(&example.address.into()).unwrap();
        let mut slow = Client::from(TcpStream::from(socket));
        assert_eq!(slow.get("/prices").status, 200);
        slow.events(20);
        // More than its buffers and the server's hold together, some 40 KB.
        wait_for(&example, 1200);

        let mut newcomer = open(&example);
        let last = n(newcomer.events(40).last().unwrap());
        let mut events = slow.events(20);
        while n(events.last().unwrap()) < last {
            events = slow.events(events.len() + 1);
        }
        // Both up to the same event.
        let until = n(events.last().unwrap());
        let mut right = newcomer.events(40);
        while n(right.last().unwrap()) < until {
            right = newcomer.events(right.len() + 1);
        }
        assert_eq!(table(&events, until), table(&right, until));
        assert!(events.iter().map(n).is_sorted_by(|a, b| a < b));
        let published = usize::try_from(until).unwrap();
        assert!(events.len() < published - 200, "{} of {published}", events.len());
    }

    #[test]
    fn a_client_that_resumes_gets_the_changes() {
        let example = Example::start("prices");
        let seen = open(&example).events(60).pop().unwrap();
        wait_for(&example, n(&seen) + 40);
        let mut client = example.connect();
        client.write(format!("GET /prices HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {}\r\n\r\n", seen.id));
        assert_eq!(client.head().status, 200);
        let events = client.events(30);
        // A removal is not retained: a client that may have missed it gets a gap and the whole table.
        if events[0].event == "price" {
            assert!(events.iter().all(|event| n(event) > n(&seen)), "{seen:?}, then {events:?}");
        } else {
            assert_eq!(events[0].event, "gap");
        }
    }
}

mod dashboard {
    use super::*;

    fn open(example: &Example, last_event_id: &str) -> Client {
        let mut client = example.connect();
        client.write(format!("GET /stats HTTP/1.1\r\nHost: x\r\n{last_event_id}\r\n"));
        assert_eq!(client.head().status, 200);
        client
    }

    fn samples(events: &[Event]) -> Vec<Value> {
        events.iter().filter(|event| event.event == "sample").map(json).collect()
    }

    /// Reads until the samples meet the condition.
    fn wait_for(client: &mut Client, condition: impl Fn(&[Value]) -> bool) -> Vec<Event> {
        let mut events = client.events(1);
        while !condition(&samples(&events)) {
            events = client.events(events.len() + 1);
        }
        events
    }

    fn streams(samples: &[Value]) -> u64 {
        samples.last().map_or(0, |sample| number(sample, "streams"))
    }

    fn post(example: &Example, path: &str) -> u16 {
        let mut client = example.connect();
        client.write(format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"));
        client.reply().0.status
    }

    #[test]
    fn the_charts_are_served_with_the_page() {
        let example = Example::start("dashboard");
        has_a_page(&example, &["/stats", "/demo", "/uPlot-1.6.32.js", "/uPlot-1.6.32.css"]);
        let mut client = example.connect();
        for (path, content_type, has) in [("js", "text/javascript", "v1.6.32"), ("css", "text/css", ".uplot")]
        {
            let head = client.get(&format!("/uPlot-1.6.32.{path}"));
            assert_eq!((head.status, head.get("Content-Type")), (200, Some(content_type)));
            assert_eq!(head.get("Cache-Control"), Some("public, max-age=31536000, immutable"));
            assert!(client.body(&head).contains(has), "{path}");
        }
    }

    #[test]
    fn a_new_page_gets_the_past_at_once_and_one_that_resumes_has_no_gap() {
        let example = Example::start("dashboard");
        let mut first = open(&example, "");
        let past = samples(&wait_for(&mut first, |samples| samples.len() >= 4));
        // The whole history, and then the newest counters.
        let mut second = open(&example, "");
        let mut events = second.events(past.len());
        let end = loop {
            match events.iter().position(|event| event.event == "now") {
                Some(end) => break end,
                None => events = second.events(events.len() + 1),
            }
        };
        assert!(samples(&events[..end]).starts_with(&past), "{past:?} in {events:?}");

        let mut back = open(&example, &format!("Last-Event-ID: {}\r\n", events[1].id));
        let more = wait_for(&mut back, |samples| samples.len() >= past.len() - 2);
        assert!(samples(&more).starts_with(&past[2..]), "{past:?}, then {more:?}");
    }

    #[test]
    fn the_dashboard_agrees_with_the_stats() {
        let example = Example::start("dashboard");
        let mut page = open(&example, "");
        let mut demo: Vec<_> = (0..3).map(|_| example.connect()).collect();
        for client in &mut demo {
            assert_eq!(client.get("/demo").status, 200);
        }
        assert_eq!(post(&example, "/demo/200"), 204);
        for path in ["/demo/-1", "/demo/x", "/demo/10001"] {
            assert_eq!(post(&example, path), 400, "{path}");
        }
        for client in &mut demo {
            assert!(client.events(50).iter().all(|event| event.data.len() == 1000));
        }
        let events = wait_for(&mut page, |samples| streams(samples) == 4);
        drop(demo);
        let events_after = wait_for(&mut page, |samples| streams(samples) == 1);
        assert_eq!(events_after[..events.len()], events);

        let all = samples(&events_after);
        for pair in all.windows(2) {
            for name in ["time", "published"] {
                assert!(number(&pair[0], name) < number(&pair[1], name), "{name} of {pair:?}");
            }
            for name in ["delivered", "bytes"] {
                assert!(number(&pair[0], name) <= number(&pair[1], name), "{name} of {pair:?}");
            }
            assert!(pair[0]["busy"].as_f64().unwrap() < pair[1]["busy"].as_f64().unwrap(), "{pair:?}");
        }
        for sample in &all {
            let memory = &sample["memory"];
            assert!(memory.is_null() || (1 << 20..1 << 30).contains(&number(sample, "memory")), "{sample}");
            assert!(number(sample, "behind") <= number(sample, "streams"), "{sample}");
            let off = (jiff::Timestamp::now().as_millisecond() - sample["time"].as_i64().unwrap()).abs();
            assert!(off < 120_000, "{sample}");
        }
        let last = all.last().unwrap();
        assert!(number(last, "delivered") >= 150 && number(last, "bytes") > 150_000, "{last}");
        let now = events_after.iter().rfind(|event| event.event == "now").map(json);
        let now = now.unwrap();
        assert!(number(&now, "streams_opened") >= 4 && now["closed"]["peer_closed"].is_u64(), "{now}");
    }
}
