//! Whole lives: pages and programs that listen for half a minute while connections are lost at random and the
//! server restarts three times. A client gets a gap for any event that it has missed.

use super::{Tab, app};
use crate::clients::fetched::node;
use crate::clients::script::Script;
use crate::payloads::END;
use crate::support::{Running, ms, now, serve_at, serve_with};
use crate::wire::Wire;
use mio_sse::{Config, Context, Error, Event, History, Reply, Router, TopicConfig};
use serde_json::Value;
use std::time::{Duration, Instant};

/// Pages, each with two streams less than a browser opens to one host.
const TABS: usize = 3;
const STREAMS_OF_TAB: usize = 4;
/// Programs in Node.
const SCRIPTS: usize = 2;
const STREAMS_OF_SCRIPT: usize = 4;
const CLIENTS: usize = TABS * STREAMS_OF_TAB + SCRIPTS * STREAMS_OF_SCRIPT;

/// Number of servers, each on the port of the one before.
const SERVERS: usize = 4;
/// Lifetime of a server.
const LIFE: Duration = Duration::from_millis(7500);
/// Interval between two numbers.
const BEAT: Duration = Duration::from_millis(20);
/// One beat of this many ends a connection.
const BREAKS: usize = 6;
/// Numbers that are published while all clients are disconnected.
const AWAY: u64 = 10;

/// The topic with an endless history, and the one whose history is shorter than a disconnect.
const TOPICS: [&str; 2] = ["long", "short"];
const SHORT: usize = 15;

fn lives() -> Router {
    let mut app = app();
    app.on_start(|cx| {
        cx.configure(TOPICS[0], TopicConfig::default().history(History::new()))?;
        cx.configure(TOPICS[1], TopicConfig::default().history(History::new().events(SHORT)))
    });
    let mut dice = fastrand::Rng::with_seed(7);
    app.get("/live/{topic}/{client}", move |request, _cx| {
        let topic = request.param("topic").unwrap_or_default();
        // Some clients reconnect in time for the short history, and some do not.
        let retry = if topic == TOPICS[1] { ms(dice.u64(20..600)) } else { ms(50) };
        Reply::stream().topic(topic).tag(request.param("client").unwrap_or_default()).retry(retry)
    });
    app
}

/// The path of a client's stream: half of the clients read each topic.
fn path(client: usize) -> String {
    format!("/live/{}/{client}", TOPICS[client % 2])
}

/// Events that a client has seen.
#[derive(Debug, Clone, Copy, PartialEq)]
enum Seen {
    /// The end has an id, too.
    Number(u64),
    Gap,
    Open,
}

fn seen(name: &str, data: &str) -> Option<Seen> {
    match name {
        "message" | END => Some(Seen::Number(data.parse().unwrap())),
        "gap" => Some(Seen::Gap),
        "open" => Some(Seen::Open),
        _ => None,
    }
}

/// The numbers, each published to both topics.
struct Numbers {
    next: u64,
    /// The first number of each server.
    firsts: Vec<u64>,
}

impl Numbers {
    fn publish(&mut self, server: &Running, name: &'static str) {
        let number = self.next;
        let publish = move |cx: &mut Context<'_>| {
            for topic in TOPICS {
                cx.publish(topic, Event::new().data(number.to_string()).event(name))?;
            }
            Ok::<_, Error>(())
        };
        server.publisher.run(publish).unwrap();
        self.next += 1;
    }

    /// The server that has published a number.
    fn server_of(&self, number: u64) -> usize {
        self.firsts.partition_point(|&first| first <= number)
    }

    /// Checks that a story has all numbers, in order and once, or a gap exactly where some are missing.
    fn check(&self, client: usize, story: &[Seen]) {
        let short = client % 2 == 1;
        let (mut last, mut gaps) = (0, 0);
        for seen in story {
            match *seen {
                Seen::Open => {}
                Seen::Gap => gaps += 1,
                Seen::Number(number) => {
                    let what =
                        format!("client {client}: {number} behind {last} and {gaps} gaps, {:?}", self.firsts);
                    let servers = self.server_of(number) - self.server_of(last.max(1));
                    assert!(number > last, "twice or in disorder: {what}");
                    if gaps == 0 {
                        assert_eq!(number, last + 1, "missing without a word: {what}");
                    } else if !short {
                        assert!(gaps <= servers, "a gap where nothing is missing: {what}");
                        assert_eq!(number, self.firsts[self.server_of(number) - 1], "it is kept: {what}");
                    } else if servers == 0 {
                        assert!(number > last + 1, "a gap where nothing is missing: {what}");
                    }
                    (last, gaps) = (number, 0);
                }
            }
        }
        assert_eq!((last, gaps), (self.next - 1, 0), "client {client} has seen the end");
    }
}

/// All clients. Pages and programs have wires of their own.
struct Clients {
    pages: Wire,
    programs: Wire,
    tabs: Vec<Tab>,
    scripts: Vec<Script>,
}

impl Clients {
    fn open(server: &Running) -> Self {
        let (pages, programs) = (Wire::to(server.address), Wire::to(server.address));
        let mut client = 0..CLIENTS;
        let tabs = (0..TABS).map(|_| {
            let tab = Tab::open(&pages.url("/"));
            let paths: Vec<_> = client.by_ref().take(STREAMS_OF_TAB).map(path).collect();
            tab.run(&format!("var all = {paths:?}.map((path) => listen(path, 'gap', '{END}'))"));
            tab
        });
        let tabs = tabs.collect();
        let scripts = (0..SCRIPTS).map(|_| {
            let urls: Vec<_> =
                client.by_ref().take(STREAMS_OF_SCRIPT).map(|client| programs.url(&path(client))).collect();
            let mut arguments = vec![END];
            arguments.extend(urls.iter().map(String::as_str));
            Script::start(&node("live_eventsource.mjs", &arguments))
        });
        let scripts = scripts.collect();
        server.wait_for("all are there", |stats| stats.streams == CLIENTS as u64);
        Self { pages, programs, tabs, scripts }
    }

    /// Cuts the pages off before their first number. They know their position; a program does not, before it
    /// has seen a number.
    fn begin(&self, server: &Running, numbers: &mut Numbers) {
        for tab in &self.tabs {
            tab.wait_for("all.every(({ source }) => source.readyState == 1)");
        }
        self.pages.cut();
        for _ in 0..3 {
            numbers.publish(server, "message");
        }
        self.pages.mend();
        for script in &self.scripts {
            let numbers = |lines: &[Value]| lines.iter().filter(|line| line[1] == "message").count();
            script.wait_for("the first numbers", |lines| numbers(lines) == 3 * STREAMS_OF_SCRIPT);
        }
    }

    /// Ends a connection, on the way or by the server.
    fn break_one(&self, server: &Running, dice: &mut fastrand::Rng) {
        match dice.usize(..3) {
            0 => drop(self.pages.cut_one(|count| dice.usize(..count))),
            1 => drop(self.programs.cut_one(|count| dice.usize(..count))),
            _ => server.publisher.close_tagged(dice.usize(..CLIENTS).to_string()).unwrap(),
        }
    }

    fn cut(&self) {
        self.pages.cut();
        self.programs.cut();
    }

    fn mend(&self) {
        self.pages.mend();
        self.programs.mend();
    }

    /// The story of each client, once it has seen the end.
    fn stories(self) -> Vec<Vec<Seen>> {
        let mut stories = Vec::new();
        for tab in self.tabs {
            tab.wait_for(&format!("all.every(({{ seen }}) => seen.some(([name]) => name == '{END}'))"));
            let all = tab.run("all.map(({ seen }) => seen.map(([name, data]) => [name, `${data}`]))");
            let story = |entries: &Value| {
                let entries = entries.as_array().unwrap().iter();
                entries
                    .filter_map(|entry| seen(entry[0].as_str().unwrap(), entry[1].as_str().unwrap()))
                    .collect()
            };
            stories.extend(all.as_array().unwrap().iter().map(story));
        }
        for script in self.scripts {
            let lines = script.finish();
            for index in 0..STREAMS_OF_SCRIPT {
                let own = lines.iter().filter(|line| line[0] == index);
                let story = own.filter_map(|line| seen(line[1].as_str().unwrap(), line[2].as_str().unwrap()));
                stories.push(story.collect());
            }
        }
        stories
    }
}

/// Publishes a number at each beat, and sometimes ends a connection.
fn live(server: &Running, clients: &Clients, numbers: &mut Numbers, dice: &mut fastrand::Rng) {
    let begin = now();
    let mut next: Instant = begin;
    while next < begin + LIFE {
        std::thread::sleep(next.saturating_duration_since(now()));
        next += BEAT;
        numbers.publish(server, "message");
        if dice.usize(..BREAKS) == 0 {
            clients.break_one(server, dice);
        }
    }
}

#[test]
fn every_missing_event_of_a_life_is_covered_by_a_gap() {
    let mut dice = fastrand::Rng::with_seed(13);
    let mut numbers = Numbers { next: 1, firsts: vec![1] };
    let mut server = serve_with(lives(), Config::default());
    let address = server.address;
    let clients = Clients::open(&server);
    clients.begin(&server, &mut numbers);
    for _ in 1..SERVERS {
        live(&server, &clients, &mut numbers, &mut dice);
        // Nothing connects while there is no server: a connection from the port to itself would occupy it.
        clients.cut();
        for _ in 0..AWAY {
            numbers.publish(&server, "message");
        }
        drop(server);
        server = serve_at(address, lives, &Config::default());
        numbers.firsts.push(numbers.next);
        clients.mend();
    }
    live(&server, &clients, &mut numbers, &mut dice);
    numbers.publish(&server, END);

    let stories = clients.stories();
    let count = |wanted: fn(&Seen) -> bool| stories.iter().flatten().filter(|seen| wanted(seen)).count();
    let (opened, gaps) = (count(|seen| *seen == Seen::Open), count(|seen| *seen == Seen::Gap));
    let received = count(|seen| matches!(seen, Seen::Number(_)));
    println!(
        "{CLIENTS} clients, {SERVERS} servers, {} numbers: {received} received, {} reconnects, {gaps} gaps",
        numbers.next - 1,
        opened - CLIENTS,
    );
    for (client, story) in stories.iter().enumerate() {
        numbers.check(client, story);
    }
    assert!(opened > 8 * CLIENTS && gaps > CLIENTS * (SERVERS - 1), "{opened} {gaps}");
}
