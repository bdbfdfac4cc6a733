//! Compressed streams as browsers, curl and clients in JavaScript and Python read them: each event at once,
//! whenever they have joined, up to an end that is not an error, and from there on.

use crate::browser::Tab;
use crate::browser::firefox::Firefox;
use crate::clients::fetched::{node, python};
use crate::clients::script::{Said, Script};
use crate::support::{Running, ms, now, serve_with};
use crate::wire::Wire;
use mio_sse::{Config, Context, History, Reply, Router, TopicConfig};
use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

/// Numbers of events after which readers join: at the beginning, while others share a chain, and when a new
/// chain can begin.
const JOINS: [usize; 3] = [0, 10, 25];

/// Number of events before the first end.
const EVENTS: usize = 60;

/// A client's report when a stream has ended as it should.
#[derive(Clone, Copy)]
enum CleanEnd {
    /// Only that it has ended.
    End,
    /// EventSource reports every end as an error.
    Error,
}

/// The readers of one program, and the events that they have to have seen.
struct Play {
    said: Arc<Said>,
    server: Running,
    wire: Wire,
    expected: [Vec<String>; JOINS.len()],
    published: usize,
    latencies: Vec<Duration>,
    _program: Box<dyn Any>,
}

impl Play {
    /// `start` gets the URL of the stream, that of the page, and the receiver of the page's reports.
    fn begin<P: Any>(start: impl FnOnce(&Wire, &Running, &Arc<Said>) -> (P, Arc<Said>)) -> Self {
        let said = Arc::<Said>::default();
        let hearer = said.clone();
        let mut app = Router::new();
        app.get("/", |_request, _cx| Reply::html(include_str!("readers.html")));
        app.get("/readers.mjs", |_request, _cx| {
            Reply::bytes("text/javascript", include_bytes!("clients/readers.mjs").to_vec())
        });
        app.post("/said", move |request, _cx| {
            hearer.hear(request.body());
            Reply::text("")
        });
        app.get("/events", |request, _cx| {
            let reader = request.query("reader").unwrap_or_default().into_owned();
            Reply::stream().topic("ticks").tag("all").tag(&reader).retry(ms(20))
        });
        let mut config = Config::default();
        config.gzip = Some(1);
        config.heartbeat = Some(ms(1000));
        config.topic = TopicConfig::default().history(History::new().events(1000));
        let server = serve_with(app, config);
        let wire = Wire::to(server.address);
        let (program, said) = start(&wire, &server, &said);
        let program = Box::new(program);
        let (published, latencies) = (0, Vec::new());
        Self { said, server, wire, expected: Default::default(), published, latencies, _program: program }
    }

    /// The next event: most resemble each other, and some are large and do not.
    fn next(&mut self) -> String {
        let number = self.published;
        self.published += 1;
        let noise = if number % 20 == 7 { 20_000 } else { 4 };
        let mut random = fastrand::Rng::with_seed(number as u64);
        let noise: String = (0..noise).map(|_| random.alphanumeric()).collect();
        format!(r#"{{"number": {number}, "symbol": "ACME", "currency": "EUR", "noise": "{noise}"}}"#)
    }

    /// Waits until the first readers have seen all of their events, and nothing else.
    fn wait_for_events(&self, readers: usize) {
        let expected = &self.expected[..readers];
        let all = |lines: &[serde_json::Value]| {
            (0..readers).all(|reader| {
                let seen = lines.iter().filter(|line| line[0] == reader && line[1] == "event");
                seen.count() >= expected[reader].len()
            })
        };
        let lines = self.said.wait_for("each event is seen", all);
        for (reader, expected) in expected.iter().enumerate() {
            let seen = lines.iter().filter(|line| line[0] == reader && line[1] == "event");
            let seen: Vec<_> = seen.map(|line| line[2].as_str().unwrap()).collect();
            let wrong = seen.iter().zip(expected).position(|(seen, expected)| seen != expected);
            assert!(seen == *expected, "reader {reader} of {} at {wrong:?}", seen.len());
        }
    }

    /// Waits until each of the first readers has reported this often.
    fn wait_for(&self, readers: usize, what: &str, times: usize) {
        self.said.wait_for(what, |lines| {
            (0..readers).all(|reader| {
                lines.iter().filter(|line| line[0] == reader && line[1] == what).count() >= times
            })
        });
    }

    /// Number of reports of one kind, over all readers.
    fn times(&self, what: &str) -> usize {
        self.said.wait_for("", |_| true).iter().filter(|line| line[1] == what).count()
    }

    /// Publishes another event for the first readers, which have to see it now.
    fn publish(&mut self, readers: usize) {
        let event = self.next();
        for expected in &mut self.expected[..readers] {
            expected.push(event.clone());
        }
        let begin = now();
        self.server.publisher.publish("ticks", event).unwrap();
        self.wait_for_events(readers);
        self.latencies.push(now() - begin);
    }

    /// Sends an event to a single reader.
    fn send(&mut self, reader: usize) {
        let event = "for one alone".to_owned();
        self.expected[reader].push(event.clone());
        let send = move |cx: &mut Context<'_>| {
            let stream = cx.streams_tagged(&reader.to_string()).next().expect("it reads");
            cx.send(stream, event)
        };
        self.server.publisher.run(send).unwrap();
        self.wait_for_events(JOINS.len());
    }

    /// Closes all streams, and publishes while there are none.
    fn end(&mut self, clean: CleanEnd, visit: usize) {
        let (errors, ends) = (self.times("error"), self.times("end"));
        let away: Vec<_> = (0..3).map(|_| self.next()).collect();
        self.expected.iter_mut().for_each(|expected| expected.extend(away.clone()));
        let end = move |cx: &mut Context<'_>| {
            assert_eq!(cx.close_tagged("all"), JOINS.len());
            away.into_iter().try_for_each(|event| cx.publish("ticks", event))
        };
        self.server.publisher.run(end).unwrap();
        self.wait_for(JOINS.len(), "open", visit);
        let said = (self.times("error") - errors, self.times("end") - ends);
        match clean {
            CleanEnd::End => assert_eq!(said, (0, JOINS.len()), "an end, and no error"),
            CleanEnd::Error => assert_eq!(said, (JOINS.len(), 0)),
        }
        self.wait_for_events(JOINS.len());
    }

    /// Resets all connections, and publishes before any client can reconnect.
    fn cut(&mut self, clean: CleanEnd, visit: usize) {
        self.wire.cut();
        for _ in 0..3 {
            let event = self.next();
            self.expected.iter_mut().for_each(|expected| expected.push(event.clone()));
            self.server.publisher.publish("ticks", event).unwrap();
        }
        let before = usize::from(matches!(clean, CleanEnd::Error));
        self.wait_for(JOINS.len(), "error", before + 1);
        self.wire.mend();
        self.wait_for(JOINS.len(), "open", visit);
        self.wait_for_events(JOINS.len());
    }

    fn play(mut self, name: &str, clean: CleanEnd) {
        let all = JOINS.len();
        for count in 0..EVENTS {
            let readers = JOINS.iter().filter(|join| **join <= count).count();
            self.wait_for(readers, "open", 1);
            self.publish(readers);
            match count {
                35 => self.send(1),
                // By then all streams share a chain, until a heartbeat.
                53 => {
                    let before = self.server.stats().heartbeats;
                    self.server.wait_for("a heartbeat", |stats| stats.heartbeats >= before + all as u64);
                }
                _ => {}
            }
        }
        self.end(clean, 2);
        (0..20).for_each(|_| self.publish(all));
        self.cut(clean, 3);
        (0..20).for_each(|_| self.publish(all));
        self.end(clean, 4);

        let heads = self.wire.heads();
        let streams = heads.iter().filter(|head| head.contains("text/event-stream")).collect::<Vec<_>>();
        assert!(streams.len() >= all * 4, "{heads:?}");
        assert!(streams.iter().all(|head| head.contains("\r\nContent-Encoding: gzip")), "{streams:?}");
        self.latencies.sort_unstable();
        let [middle, most, last] =
            [5, 9, 10].map(|tenths| self.latencies[(self.latencies.len() - 1) * tenths / 10]);
        println!(
            "{name}: half of the events are reported within {middle:?}, 9 of 10 within {most:?}, all within {last:?}"
        );
    }
}

/// Reads with a script.
fn script(command: impl Fn(&str, &[&str]) -> Vec<String>, file: &str, kind: &str, clean: CleanEnd) {
    let start = |wire: &Wire, _server: &Running, _said: &Arc<Said>| {
        let script = Script::start(&command(file, &[kind, &wire.url("/events"), &format!("{JOINS:?}")]));
        let said = script.said.clone();
        (script, said)
    };
    Play::begin(start).play(kind, clean);
}

/// Reads with a page.
fn page<P: Any>(browser: &str, open: impl Fn(&str) -> P, kind: &str, clean: CleanEnd) {
    let start = |wire: &Wire, server: &Running, said: &Arc<Said>| {
        let query = format!("/?kind={kind}&joins={JOINS:?}&to={}", server.url("/said")).replace(' ', "");
        (open(&wire.url(&query)), said.clone())
    };
    Play::begin(start).play(&format!("{browser}, {kind}"), clean);
}

#[test]
fn chromium_reads_with_eventsource() {
    page("chromium", Tab::open, "eventsource", CleanEnd::Error);
}

#[test]
fn chromium_reads_with_fetch() {
    page("chromium", Tab::open, "fetch", CleanEnd::End);
}

#[test]
fn firefox_reads_with_eventsource() {
    page("firefox", |url| Firefox::open("eventsource", url), "eventsource", CleanEnd::Error);
}

#[test]
fn firefox_reads_with_fetch() {
    page("firefox", |url| Firefox::open("fetch", url), "fetch", CleanEnd::End);
}

#[test]
fn npm_eventsource_reads() {
    script(node, "read_all.mjs", "eventsource", CleanEnd::Error);
}

#[test]
fn node_reads_with_fetch() {
    script(node, "read_all.mjs", "fetch", CleanEnd::End);
}

#[test]
fn curl_reads() {
    script(python, "read_all.py", "curl", CleanEnd::End);
}

#[test]
fn requests_reads() {
    script(python, "read_all.py", "requests", CleanEnd::End);
}

#[test]
fn httpx_reads() {
    script(python, "read_all.py", "httpx", CleanEnd::End);
}

#[test]
fn aiohttp_reads() {
    script(python, "read_all.py", "aiohttp", CleanEnd::End);
}
