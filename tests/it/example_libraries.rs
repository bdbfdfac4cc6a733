//! The examples whose pages are made with a library: they send what the library expects.

use crate::example_apps::{JSON, send};
use crate::example_pages::has_a_page;
use crate::examples::Example;
use crate::support::{Client, Head};

/// The script is served in this version, and cached for ever.
fn has_a_script(example: &Example, path: &str, has: &str) {
    let mut client = example.connect();
    let head = client.get(path);
    assert_eq!((head.status, head.get("Content-Type")), (200, Some("text/javascript")));
    assert_eq!(head.get("Cache-Control"), Some("public, max-age=31536000, immutable"));
    assert!(client.body(&head).contains(has), "{path} has {has}");
}

fn ask(example: &Example, method: &str, path: &str, headers: &str, body: &str) -> (Head, String) {
    let mut client = example.connect();
    send(&mut client, method, path, headers, body);
    client.reply()
}

fn open(example: &Example, path: &str, last_event_id: Option<&str>) -> Client {
    let mut client = example.connect();
    let header = last_event_id.map_or(String::new(), |id| format!("Last-Event-ID: {id}\r\n"));
    client.write(format!("GET {path} HTTP/1.1\r\nHost: x\r\n{header}\r\n"));
    let head = client.head();
    assert_eq!((head.status, head.get("Content-Type")), (200, Some("text/event-stream")));
    client
}

/// The names and data of all events up to the first whose data has `end` in it.
fn until(client: &mut Client, end: &str) -> Vec<(String, String)> {
    client.wait_for_body(end);
    let mut events = client.events(1);
    while !events.iter().any(|event| event.data.contains(end)) {
        events = client.events(events.len() + 1);
    }
    let length = 1 + events.iter().position(|event| event.data.contains(end)).unwrap();
    events.into_iter().take(length).map(|event| (event.event, event.data)).collect()
}

fn names(events: &[(String, String)]) -> Vec<&str> {
    events.iter().map(|(name, _)| name.as_str()).collect()
}

mod htmx {
    use super::*;

    fn add(example: &Example, form: &str) -> u16 {
        ask(example, "POST", "/items", "Content-Type: application/x-www-form-urlencoded\r\n", form).0.status
    }

    fn counters(items: usize, people: usize) -> String {
        format!(
            r#"<span id="items" hx-swap-oob="true">{items}</span><span id="people" hx-swap-oob="true">{people}</span>"#
        )
    }

    #[test]
    fn the_page_comes_with_the_library_and_its_extension() {
        let example = Example::start("htmx");
        has_a_page(&example, &["/list", "/items", "/htmx-2.0.11.js", "/sse-2.2.4.js"]);
        has_a_script(&example, "/htmx-2.0.11.js", r#""2.0.11""#);
        has_a_script(&example, "/sse-2.2.4.js", "sse-connect");
    }

    #[test]
    fn a_stream_has_the_items_that_there_are_and_then_each_change() {
        let example = Example::start("htmx");
        for text in ["text=Milk", "text=+%3Cb%3ETea%3C/b%3E+%26+%22x%22+", "text=Salt"] {
            assert_eq!(add(&example, text), 204);
        }
        assert_eq!(ask(&example, "DELETE", "/items/3", "", "").0.status, 204);
        let mut page = open(&example, "/list", None);
        let events = until(&mut page, &counters(2, 1));
        assert_eq!(names(&events), ["gap", "item", "item", "bought-3", "counters"]);
        assert_eq!(events[0].1, "");
        assert!(events[1].1.starts_with(r#"<li sse-swap="bought-1" hx-swap="delete"><span>Milk</span>"#));
        let escaped = "&lt;b>Tea&lt;/b> &amp; &quot;x&quot;";
        assert!(events[2].1.contains(&format!("<span>{escaped}</span>")), "{events:?}");
        assert!(events[2].1.contains(&format!(r#"aria-label="Bought: {escaped}""#)), "{events:?}");

        // A client that reconnects gets the missed events, and no `gap`, which would empty its list.
        let seen = page.events(2)[1].id.clone();
        let mut back = open(&example, "/list", Some(&seen));
        let events = until(&mut back, &counters(2, 2));
        assert_eq!(names(&events), ["item", "bought-3", "counters"]);
        drop(back);
        until(&mut page, &counters(2, 2));
        page.wait_for_body(&counters(2, 1));

        // A client of an earlier server starts anew.
        let mut stranger = open(&example, "/list", Some("strange0-7"));
        assert_eq!(names(&until(&mut stranger, &counters(2, 2)))[..3], ["gap", "item", "item"]);
    }

    #[test]
    fn an_invalid_item_is_refused() {
        let example = Example::start("htmx");
        let long = format!("text={}", "x".repeat(81));
        for form in ["", "text=", "text=+%09", "other=Milk", &long] {
            assert_eq!(add(&example, form), 422, "{form}");
        }
        assert_eq!(ask(&example, "POST", "/items", JSON, r#"{"text":"Milk"}"#).0.status, 422);
        for _ in 0..100 {
            assert_eq!(add(&example, "text=Milk"), 204);
        }
        assert_eq!(add(&example, "text=Milk"), 422);
        // A deleted or unknown item counts as bought.
        for id in ["7", "7", "1000", "x"] {
            assert_eq!(ask(&example, "DELETE", &format!("/items/{id}"), "", "").0.status, 204);
        }
        until(&mut open(&example, "/list", None), &counters(99, 1));
    }
}

mod datastar {
    use super::*;

    const ELEMENTS: &str = "datastar-patch-elements";
    const SIGNALS: &str = "datastar-patch-signals";

    fn add(example: &Example, body: &str) -> (u16, String) {
        let (head, body) = ask(example, "POST", "/options", JSON, body);
        if head.status == 200 {
            assert_eq!(head.get("Content-Type"), Some("application/json"));
        }
        (head.status, body)
    }

    fn vote(example: &Example, option: &str) -> u16 {
        ask(example, "POST", &format!("/options/{option}/vote"), JSON, "{}").0.status
    }

    #[test]
    fn the_page_comes_with_the_library() {
        let example = Example::start("datastar");
        has_a_page(&example, &["/datastar-1.0.2.js"]);
        has_a_script(&example, "/datastar-1.0.2.js", "// Datastar v1.0.2\n");
    }

    #[test]
    fn options_are_elements_and_votes_are_signals() {
        let example = Example::start("datastar");
        let mut page = open(&example, "/poll", None);
        let events = until(&mut page, r#"signals {"people":1,"votes":[0,0,0]}"#);
        assert_eq!(names(&events), [ELEMENTS, SIGNALS]);
        assert!(events[0].1.starts_with(r#"elements <ul id="options"><li id="option-0"><button data-on:click="@post('/options/0/vote')">Ferry</button>"#), "{events:?}");
        assert_eq!(events[0].1.lines().count(), 1, "each line would have to begin with `elements`");

        assert_eq!(vote(&example, "1"), 204);
        let events = until(&mut page, r#"signals {"people":1,"votes":[0,1,0]}"#);
        assert_eq!(names(&events), [ELEMENTS, SIGNALS, SIGNALS]);
        for option in ["3", "-1", "x", "18446744073709551616"] {
            assert_eq!(vote(&example, option), 404, "{option}");
        }

        let reply = add(&example, r#"{"draft":" <On foot> & \"away\" ","votes":[],"people":1}"#);
        assert_eq!(reply, (200, r#"{"draft":"","problem":""}"#.to_owned()));
        let events = until(&mut page, r#"signals {"people":1,"votes":[0,1,0,0]}"#);
        assert_eq!(names(&events)[3..], [ELEMENTS, SIGNALS]);
        assert!(events[3].1.contains(">&lt;On foot> &amp; &quot;away&quot;</button>"), "{events:?}");

        // A new client, and one of an earlier server, need one event of each key.
        let mut pages = Vec::new();
        for (people, last_event_id) in [(2, None), (3, Some("strange0-7"))] {
            let mut late = open(&example, "/poll", last_event_id);
            let now = format!(r#"signals {{"people":{people},"votes":[0,1,0,0]}}"#);
            let mut events = until(&mut late, &now);
            events.retain(|(name, _)| name != "gap");
            assert_eq!(names(&events), [ELEMENTS, SIGNALS]);
            pages.push(late);
        }
        drop(pages);
        until(&mut page, r#"signals {"people":3,"votes":[0,1,0,0]}"#);
        // Both have disconnected.
        let mut count = page.events(1).len();
        while !page.events(count).last().unwrap().data.contains(r#""people":1,"#) {
            count += 1;
        }
    }

    #[test]
    fn an_invalid_option_is_reported_to_the_page_that_sent_it() {
        let example = Example::start("datastar");
        let problem = |draft: &str| {
            let (status, body) = add(&example, &format!(r#"{{"draft":"{draft}"}}"#));
            let reply: serde_json::Value = serde_json::from_str(&body).unwrap();
            assert_eq!(status, 200);
            reply["problem"].as_str().unwrap().to_owned()
        };
        assert_eq!(problem("  "), "An option has a name.");
        assert_eq!(problem(&"x".repeat(41)), "That is too long.");
        assert_eq!(problem("Ferry"), "There is such an option already.");
        for number in 3..12 {
            assert_eq!(problem(&number.to_string()), "");
        }
        assert_eq!(problem("one more"), "There are enough options.");
        for body in ["", "draft=Bus", "{}", "[]"] {
            assert_eq!(add(&example, body).0, 400, "{body}");
        }
    }
}
