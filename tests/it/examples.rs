//! The examples as their readers start them: in processes of their own.

use crate::memory_net::get;
use crate::support::{Client, DEADLINE, now};
use std::io::{BufRead, BufReader, Read};
use std::net::{SocketAddr, TcpListener};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, channel};
use std::time::Duration;

/// Plain `cargo test` builds the examples too, next to the directory of the tests; with `--test it` or
/// `--all-targets` it does not.
pub(crate) fn example(name: &str) -> Command {
    let test = std::env::current_exe().unwrap();
    let profile = test.parent().and_then(|deps| deps.parent()).unwrap();
    let file: PathBuf = profile.join("examples").join(format!("{name}{}", std::env::consts::EXE_SUFFIX));
    assert!(file.exists(), "there is no {name}: run `cargo build --examples` first");
    let mut command = Command::new(file);
    command.env_remove("RUST_LOG").stdin(Stdio::null()).stdout(Stdio::piped());
    command
}

/// An example that runs until it is dropped.
pub(crate) struct Example {
    pub(crate) process: Child,
    pub(crate) address: SocketAddr,
    /// The text after the address in the line that announces it.
    pub(crate) rest: String,
}

impl Example {
    pub(crate) fn start(name: &str) -> Self {
        Self::start_as(name, example(name).env("PORT", "0").stderr(Stdio::null()))
    }

    pub(crate) fn start_as(name: &str, command: &mut Command) -> Self {
        let mut process = command.spawn().unwrap();
        let mut line = String::new();
        BufReader::new(process.stdout.as_mut().unwrap()).read_line(&mut line).unwrap();
        let said = line.trim_end().strip_prefix(&format!("{name}: http://")).unwrap_or_default();
        let (address, rest) = said.split_once(' ').unwrap_or((said, ""));
        let Ok(address) = address.parse() else {
            let _ = process.kill();
            panic!("an address, not {line:?}");
        };
        Self { process, address, rest: rest.to_owned() }
    }

    pub(crate) fn connect(&self) -> Client {
        Client::connect(self.address)
    }
}

/// The lines of an output as they arrive.
pub(crate) fn lines(output: impl Read + Send + 'static) -> Receiver<String> {
    let (sender, lines) = channel();
    std::thread::spawn(move || {
        BufReader::new(output).lines().map_while(Result::ok).try_for_each(|line| sender.send(line))
    });
    lines
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

#[test]
fn a_port_that_is_taken_is_one_line_on_stderr_and_a_failure() {
    let taken = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = taken.local_addr().unwrap().port().to_string();
    let names = [
        "time_ticker",
        "notes",
        "countdown",
        "tokens",
        "mcp",
        "tail",
        "prices",
        "dashboard",
        "htmx",
        "datastar",
        "hub",
        "embed",
        "adopt",
    ];
    for name in names {
        let mut process = example(name).env("PORT", &port).stderr(Stdio::piped()).spawn().unwrap();
        let deadline = now() + DEADLINE;
        let status = loop {
            match process.try_wait().unwrap() {
                Some(status) => break status,
                None if now() < deadline => std::thread::sleep(Duration::from_millis(5)),
                None => {
                    let _ = process.kill();
                    panic!("{name} does not give up");
                }
            }
        };
        assert_eq!(status.code(), Some(1), "{name}");
        let (mut out, mut error) = (String::new(), String::new());
        process.stdout.unwrap().read_to_string(&mut out).unwrap();
        process.stderr.unwrap().read_to_string(&mut error).unwrap();
        assert_eq!(out, "", "{name}");
        assert_eq!(error.lines().count(), 1, "{error}");
        assert!(error.starts_with(&format!("{name}: ")) && error.contains(&port), "{error}");
    }
}

mod time_ticker {
    use super::*;

    #[test]
    fn the_page_has_its_buttons() {
        let example = Example::start("time_ticker");
        let mut client = example.connect();
        let head = client.get("/");
        assert_eq!((head.status, head.get("Content-Type")), (200, Some("text/html; charset=utf-8")));
        let page = client.body(&head);
        assert!(page.trim_start().to_ascii_lowercase().starts_with("<!doctype html>"));
        for id in ["time-connect", "time-disconnect", "clock-connect", "clock-disconnect"] {
            let button = page.lines().find(|line| line.contains("<button"));
            assert!(button.is_some() && page.contains(&format!("id=\"{id}\"")), "{id}");
        }
        for path in ["/sse/time", "/sse/clock"] {
            assert!(page.contains(path), "{path}");
        }
        assert_eq!(client.get("/favicon.ico").status, 404);
    }

    /// UTC, to the second: `2024-02-29T12:34:56Z`.
    fn is_iso_8601(text: &str) -> bool {
        let shape: String = text.chars().map(|c| if c.is_ascii_digit() { '0' } else { c }).collect();
        let time = text.parse::<jiff::Timestamp>();
        let off = time.map(|time| time.duration_until(jiff::Timestamp::now()).as_secs().abs());
        shape == "0000-00-00T00:00:00Z" && off.is_ok_and(|seconds| seconds < 60)
    }

    #[test]
    fn the_time_is_sent_at_once_and_each_second_until_the_server_closes() {
        let example = Example::start("time_ticker");
        let mut client = example.connect();
        let begin = now();
        let head = client.get("/sse/time");
        assert_eq!((head.status, head.get("Transfer-Encoding")), (200, Some("chunked")));
        assert_eq!(head.get("Content-Type"), Some("text/event-stream"));
        client.events(1);
        assert!(
            client.body_text().starts_with("event: time\ndata: "),
            "nothing comes before the first event"
        );
        // The last chunk, not the end of the connection: `events_to_end` checks that.
        let events = client.events_to_end();
        let seconds = begin.elapsed().as_secs_f64();
        assert!(seconds >= 9.9, "it ends after ten seconds, not {seconds}");
        assert!((2..=11).contains(&events.len()), "{events:?}");
        for event in &events {
            assert!(event.event == "time" && is_iso_8601(&event.data), "{event:?}");
        }
        let mut times: Vec<_> = events.iter().map(|event| event.data.as_str()).collect();
        times.dedup();
        assert!(times.is_sorted() && times.len() >= 2, "{times:?}");

        assert_eq!(client.get("/nowhere").status, 404, "the connection serves another request");
    }

    #[test]
    fn all_clocks_show_the_same() {
        let example = Example::start("time_ticker");
        let (mut first, mut second) = (example.connect(), example.connect());
        first.get("/sse/clock");
        first.events(1);
        second.get("/sse/clock");
        let shown = second.events(4);
        assert!(shown.iter().all(|event| event.event == "clock"), "{shown:?}");
        let mut count = shown.len();
        let all = loop {
            let all = first.events(count);
            if all.iter().any(|event| event.data == shown[3].data) {
                break all;
            }
            count = all.len() + 1;
        };
        assert!(all.windows(4).any(|run| run == &shown[..4]), "{shown:?} is not in {all:?}");
    }
}

mod hub {
    use super::*;

    fn subscribe(example: &Example, topic: &str) -> Client {
        let mut client = example.connect();
        assert_eq!(client.get(&format!("/events/{topic}")).status, 200);
        client.wait_for_body(":\n");
        client
    }

    fn publish(client: &mut Client, topic: &str, body: impl AsRef<[u8]>) -> u16 {
        let body = body.as_ref();
        client.write(format!(
            "POST /publish/{topic} HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n",
            body.len()
        ));
        client.write(body);
        let head = client.head();
        client.body(&head);
        head.status
    }

    /// Otherwise it would stop for some milliseconds each time that the table of descriptors grows.
    #[test]
    #[cfg(target_os = "linux")]
    fn there_is_room_for_the_descriptors_of_a_crowd_before_it_comes() {
        let example = Example::start("hub");
        let status = std::fs::read_to_string(format!("/proc/{}/status", example.process.id())).unwrap();
        let room = status.lines().find_map(|line| line.strip_prefix("FDSize:")).unwrap().trim();
        let (limit, _) = nix::sys::resource::getrlimit(nix::sys::resource::Resource::RLIMIT_NOFILE).unwrap();
        let wanted = limit.min(mio_sse::Config::default().connections_max as u64);
        assert!(room.parse::<u64>().unwrap() >= wanted, "{room} of {wanted}");
    }

    #[test]
    fn an_event_reaches_all_subscribers_of_its_topic_and_no_others() {
        let example = Example::start("hub");
        let mut news = [subscribe(&example, "news"), subscribe(&example, "news")];
        let mut other = subscribe(&example, "caf%C3%A9%2Fbar");
        let mut publisher = example.connect();
        assert_eq!(publish(&mut publisher, "news", "one\ntwo"), 204);
        assert_eq!(publish(&mut publisher, "nobody", "lost"), 204);
        assert_eq!(publish(&mut publisher, "news", ""), 204);
        assert_eq!(publish(&mut publisher, "caf%c3%a9%2fbar", "ü"), 204);
        assert_eq!(publish(&mut publisher, "news", "three"), 204);
        for client in &mut news {
            client.wait_for_body("three");
            assert_eq!(client.data(3), ["one\ntwo", "", "three"]);
            assert_eq!(client.body_text(), ":\ndata: one\ndata: two\n\ndata: \n\ndata: three\n\n");
        }
        assert_eq!(other.data(1), ["ü"]);
        assert_eq!(other.body_text(), ":\ndata: ü\n\n");
    }

    #[test]
    fn a_body_that_is_not_utf_8_is_a_bad_request_and_the_connection_stays_open() {
        let example = Example::start("hub");
        let mut news = subscribe(&example, "news");
        let mut publisher = example.connect();
        assert_eq!(publish(&mut publisher, "news", b"\xff"), 400);
        assert_eq!(publish(&mut publisher, "news", "text"), 204);
        assert_eq!(news.data(1), ["text"]);
    }

    #[test]
    fn a_topic_that_cannot_be_decoded_is_a_bad_request() {
        let example = Example::start("hub");
        for topic in ["%", "%zz", "%f", "%ff", "%C3", "a%00b"] {
            let mut client = example.connect();
            client.write(format!("POST /publish/{topic} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"));
            assert_eq!(client.reply().0.status, 400, "{topic}");
            assert_eq!(client.to_end(), "");
            let mut client = example.connect();
            assert_eq!(client.get(&format!("/events/{topic}")).status, 400, "{topic}");
        }
        for path in ["/publish/", "/publish/a/b", "/publish"] {
            let mut client = example.connect();
            client.write(format!("POST {path} HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n"));
            assert_eq!(client.reply().0.status, 404, "{path}");
        }
    }

    #[test]
    fn a_client_that_resumes_at_a_hub_with_a_history_misses_nothing() {
        let mut command = example("hub");
        let command = command.env("PORT", "0").env("HISTORY", "3").stderr(Stdio::null());
        let example = Example::start_as("hub", command);
        let mut publisher = example.connect();
        for text in ["1", "2", "3", "4"] {
            assert_eq!(publish(&mut publisher, "news", text), 204);
        }
        let mut oldest = example.connect();
        assert_eq!(oldest.get("/events/news?from=oldest").status, 200);
        let events = oldest.events(3);
        assert_eq!(events.iter().map(|event| &*event.data).collect::<Vec<_>>(), ["2", "3", "4"]);
        let mut back = example.connect();
        assert_eq!(back.get(&format!("/events/news?last_event_id={}", events[1].id)).status, 200);
        assert_eq!(back.data(1), ["4"]);
    }

    #[cfg(all(unix, feature = "gzip"))]
    #[test]
    fn streams_of_a_hub_are_compressed_by_default() {
        for (level, encoding) in [(None, Some("gzip")), (Some("9"), Some("gzip")), (Some("0"), None)] {
            let mut command = example("hub");
            command.env("PORT", "0").stderr(Stdio::null());
            level.map(|level| command.env("GZIP", level));
            let example = Example::start_as("hub", &mut command);
            let mut news = example.connect();
            news.write("GET /events/news HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n");
            assert_eq!(news.head().get("Content-Encoding"), encoding, "{level:?}");
            assert_eq!(publish(&mut example.connect(), "news", "one"), 204);
            let pid = example.process.id().to_string();
            assert!(Command::new("kill").args(["-TERM", &pid]).status().unwrap().success());
            let body = news.chunks_to_end();
            let body = if encoding.is_some() { crate::gzip::gunzip(&body, true).into_bytes() } else { body };
            assert!(body.starts_with(b":\ndata: one\n\n"), "{}", String::from_utf8_lossy(&body));
        }
        for (level, problem) in [("10", "gzip must be from 1 to 9"), ("high", "GZIP is a number")] {
            let output = example("hub").env("PORT", "0").env("GZIP", level).output().unwrap();
            let said = String::from_utf8_lossy(&output.stderr);
            assert!(!output.status.success() && said.contains(problem), "{said}");
        }
    }

    fn stats(client: &mut Client) -> serde_json::Value {
        client.write(get("/stats"));
        let (head, body) = client.reply();
        assert_eq!((head.status, head.get("Content-Type")), (200, Some("application/json")));
        serde_json::from_str(&body).unwrap()
    }

    #[test]
    fn the_stats_are_json_and_correct() {
        let example = Example::start("hub");
        let mut control = example.connect();
        let mut news =
            [subscribe(&example, "news"), subscribe(&example, "news"), subscribe(&example, "other")];
        assert_eq!(publish(&mut control, "news", "x"), 204);
        for client in &mut news[..2] {
            client.events(1);
        }
        let mut bad = example.connect();
        bad.write("no request\r\n\r\n");
        assert_eq!(bad.reply().0.status, 400);
        let before = stats(&mut control);
        for (name, count) in [
            ("accepted", 5),
            ("streams", 3),
            ("streams_opened", 3),
            ("streams_closed", 0),
            ("topics", 2),
            // Three streams, the event, and this request.
            ("requests", 5),
            ("rejected", 1),
            ("log_bytes", 0),
            ("events_published", 1),
        ] {
            assert_eq!(before[name], count, "{name} of {before}");
        }
        assert!(before["bytes_written"].as_u64().unwrap() > 0 && before["turns"].as_u64().unwrap() > 0);
        assert!(before["events_delivered"].as_u64().unwrap() >= 2, "{before}");

        drop(news);
        let deadline = now() + DEADLINE;
        let after = loop {
            let after = stats(&mut control);
            // A topic is freed at the end of the turn in which its last stream has closed.
            if after["streams"] == 0 && after["topics"] == 0 {
                break after;
            }
            assert!(now() < deadline, "{after}");
        };
        assert_eq!(after["streams_closed"], 3);
        let closed = after["closed"].as_object().unwrap();
        assert_eq!(closed.values().map(|count| count.as_u64().unwrap()).sum::<u64>(), 3, "{after}");
        assert!(closed.contains_key("peer_closed") && closed.contains_key("application"), "{after}");
    }
}
