//! The examples for terminals and programs, used as a person would.

use crate::examples::{Example, example, lines};
use crate::support::{Client, DEADLINE, ms, now, serve};
use mio_sse::{Event, Events, History, Reply, Router, TopicConfig};
use std::io::Write;
use std::net::{SocketAddr, UdpSocket};
use std::process::{Child, Stdio};
use std::sync::mpsc::Receiver;

mod countdown {
    use super::*;

    fn ask(example: &Example, path: &str, last: &str) -> Client {
        let mut client = example.connect();
        client.write(format!("GET {path} HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {last}\r\n\r\n"));
        client
    }

    #[test]
    fn countdown_counts_a_second_at_a_time_and_ends() {
        let example = Example::start("countdown");
        let mut client = example.connect();
        let begin = now();
        assert_eq!(client.get("/countdown?from=2").status, 200);
        let events = client.events_to_end();
        assert!(begin.elapsed() >= ms(2900), "a second for each number: {:?}", begin.elapsed());
        assert_eq!(events.iter().map(|event| &*event.data).collect::<Vec<_>>(), ["2", "1", "0"]);
        // EventSource reconnects.
        let mut again = ask(&example, "/countdown?from=2", "0");
        assert_eq!(again.head().status, 204);
        // A client that was cut off resumes.
        let mut rest = ask(&example, "/countdown?from=5", "2");
        assert_eq!(rest.head().status, 200);
        assert_eq!(rest.data(1), ["1"]);
        for odd in ["9", "x", "4294967295"] {
            let mut odd = ask(&example, "/countdown?from=3", odd);
            assert_eq!(odd.head().status, 200);
            assert_eq!(odd.data(1), ["3"]);
        }
    }

    #[test]
    fn countdown_refuses_an_invalid_number() {
        let example = Example::start("countdown");
        for from in ["x", "-1", "3601", "4294967296", ""] {
            let mut client = example.connect();
            assert_eq!(client.get(&format!("/countdown?from={from}")).status, 400, "{from}");
        }
        for path in ["/", "/style.css"] {
            assert_eq!(example.connect().get(path).status, 200);
        }
    }
}

mod tail {
    use super::*;

    fn start() -> Example {
        let mut command = example("tail");
        Example::start_as("tail", command.env("PORT", "0").stdin(Stdio::piped()).stderr(Stdio::null()))
    }

    fn open(example: &Example) -> Client {
        let mut client = example.connect();
        assert_eq!(client.get("/lines").status, 200);
        client
    }

    #[test]
    fn tail_sends_lines_at_once_and_later_clients_get_them_too() {
        let mut example = start();
        let mut input = example.process.stdin.take().unwrap();
        input.write_all(b"one\ntwo\r\n\n").unwrap();
        let mut first = open(&example);
        assert_eq!(first.data(3), ["one", "two", ""]);
        input.write_all(b"caf\xe9 three").unwrap();
        input.write_all(b"\nfour").unwrap();
        assert_eq!(first.data(4)[3], "caf\u{fffd} three");
        let second = open(&example).events(4);
        // A client that reconnects resumes.
        let mut third = example.connect();
        let last = &second[1].id;
        third.write(format!("GET /lines HTTP/1.1\r\nHost: x\r\nLast-Event-ID: {last}\r\n\r\n"));
        assert_eq!(third.head().status, 200);
        drop(input);
        for mut client in [first, open(&example)] {
            let events = client.events(6);
            assert_eq!(events[4].data, "four");
            assert_eq!((&*events[5].event, &*events[5].data), ("end", "end of input"));
        }
        assert_eq!(third.data(4), ["", "caf\u{fffd} three", "four", "end of input"]);
    }

    #[test]
    fn tail_cuts_long_lines_and_drops_old_ones() {
        let mut example = start();
        let mut input = example.process.stdin.take().unwrap();
        input.write_all(&vec![b'x'; 100 << 10]).unwrap();
        input.write_all(b"\n").unwrap();
        let mut client = open(&example);
        let lengths: Vec<_> = client.data(2).iter().map(String::len).collect();
        assert_eq!(lengths, [64 << 10, 36 << 10]);
        for number in 0..3000 {
            writeln!(input, "{number}").unwrap();
        }
        drop(input);
        client.wait_for_body("end of input");
        let all = open(&example).data(1000);
        assert_eq!((&*all[0], &*all[999]), ("2001", "end of input"));
    }
}

mod embed {
    use super::*;

    #[test]
    fn datagrams_become_events_in_one_loop() {
        let mut command = example("embed");
        let command = command.env("PORT", "0").env("UDP_PORT", "0").stderr(Stdio::null());
        let example = Example::start_as("embed", command);
        let udp: SocketAddr = example.rest.strip_prefix("and udp://").unwrap().parse().unwrap();
        let mut clients = [example.connect(), example.connect()];
        for client in &mut clients {
            assert_eq!(client.get("/datagrams").status, 200);
            client.wait_for_body(":\n");
        }
        let socket = UdpSocket::bind("127.0.0.1:0").unwrap();
        // On loopback no datagram is lost as long as they fit into the receiver's buffer.
        for number in 0..100 {
            socket.send_to(format!("kitchen {number}\n").as_bytes(), udp).unwrap();
        }
        let expected: Vec<_> = (0..100).map(|number| format!("kitchen {number}")).collect();
        for client in &mut clients {
            assert_eq!(client.data(100), expected);
        }
        assert_eq!(example.connect().get("/nowhere").status, 404);
    }
}

mod adopt {
    use super::*;

    #[test]
    fn pages_come_from_the_plain_server_and_streams_from_ours() {
        let example = Example::start("adopt");
        let mut watcher = example.connect();
        let head = watcher.get("/events");
        assert_eq!((head.status, head.get("Content-Type")), (200, Some("text/event-stream")));
        watcher.wait_for_body(":\n");
        for _ in 0..3 {
            let mut visitor = example.connect();
            let head = visitor.get("/");
            assert!(visitor.body(&head).starts_with("Visits so far: "));
        }
        assert_eq!(watcher.data(3), ["2", "3", "4"], "its own came before it");
        // The connection has been adopted by now. It closes, as the client does not want keep-alive.
        let mut rude = example.connect();
        rude.write("GET /events HTTP/1.1\r\n\r\n");
        assert_eq!(rude.head().status, 400, "a request without a host");
    }
}

mod listen {
    use super::*;

    /// The client and its output.
    struct Listener {
        process: Child,
        out: Receiver<String>,
        error: Receiver<String>,
    }

    impl Drop for Listener {
        fn drop(&mut self) {
            let _ = self.process.kill();
            let _ = self.process.wait();
        }
    }

    impl Listener {
        fn start(arguments: &[&str]) -> Self {
            let mut process = example("listen").args(arguments).stderr(Stdio::piped()).spawn().unwrap();
            let (out, error) = (process.stdout.take().unwrap(), process.stderr.take().unwrap());
            Self { process, out: lines(out), error: lines(error) }
        }

        fn out(&self) -> String {
            self.out.recv_timeout(DEADLINE).expect("a line")
        }

        fn error(&self) -> String {
            self.error.recv_timeout(DEADLINE).expect("a line on standard error")
        }

        fn wait(&mut self) -> Option<i32> {
            // Its standard error is complete when its output ends.
            while self.out.recv_timeout(DEADLINE).is_ok() {}
            self.process.wait().unwrap().code()
        }
    }

    #[test]
    fn listen_prints_events_as_they_are_meant() {
        let mut app = Router::new();
        app.get("/", |_request, _cx| {
            let events = [
                Event::new().data("plain"),
                Event::new().data(" two\r\nlines\rthree\n").event("named"),
                Event::new().comment("nothing"),
                Event::new().data(""),
                Event::new().data("data: \u{feff}ü 🦀"),
            ];
            Reply::stream().source(Events::new(events))
        });
        let server = serve(app);
        let listener = Listener::start(&[&format!("http://{}/", server.address)]);
        let expected = ["plain", "named:  two", "lines", "three", "", "", "data: \u{feff}ü 🦀"];
        let said: Vec<_> = expected.iter().map(|_| listener.out()).collect();
        assert_eq!(said, expected);
        assert_eq!(listener.error(), "listen: open");
        assert_eq!(listener.error(), "listen: the stream has ended; again in 3s");
    }

    fn kept() -> Router {
        let mut app = Router::new();
        app.get("/", |_request, _cx| Reply::stream().topic("t").tag("all").retry(ms(100)));
        app.get("/over", |_request, _cx| Reply::no_content());
        app.on_start(|cx| cx.configure("t", TopicConfig::default().history(History::new())));
        app
    }

    #[test]
    fn listen_resumes() {
        let server = serve(kept());
        let publisher = &server.publisher;
        let listener = Listener::start(&[&format!("http://{}/", server.address)]);
        assert_eq!(listener.error(), "listen: open");
        server.wait_for("a stream", |stats| stats.streams == 1);
        for round in 0..5 {
            publisher.publish("t", Event::new().data(format!("{round} live"))).unwrap();
            assert_eq!(listener.out(), format!("{round} live"));
            publisher.close_tagged("all").unwrap();
            publisher.publish("t", Event::new().data(format!("{round} missed"))).unwrap();
            assert_eq!(listener.out(), format!("{round} missed"));
            let cut = listener.error();
            assert!(cut.starts_with("listen: the stream has ended; again in 100ms, after "), "{cut}");
            assert_eq!(listener.error(), "listen: open");
        }
    }

    #[test]
    fn listen_reports_why_it_exits() {
        let server = serve(kept());
        let address = server.address;
        let over = |path: &str| {
            let mut listener = Listener::start(&[&format!("http://{address}{path}")]);
            (listener.wait(), listener.error())
        };
        assert_eq!(
            over("/over"),
            (Some(0), "listen: the server says that nothing more will come".to_owned())
        );
        assert_eq!(over("/missing"), (Some(1), "listen: the server replied 404 Not Found".to_owned()));
        assert_eq!(over("/a b").0, Some(1));
        for arguments in [&[][..], &["ftp://x"], &["a", "b", "c"], &["http://127.0.0.1:99999/"]] {
            let mut listener = Listener::start(arguments);
            assert_eq!(listener.wait(), Some(1));
            assert!(listener.error().starts_with("listen: "), "{arguments:?}");
        }
        let no_path = Listener::start(&[&format!("http://{address}?from=1")]);
        assert_eq!(no_path.error(), "listen: open");
        let no_port = Listener::start(&["http://[::1]"]);
        assert!(no_port.error().starts_with("listen: cannot connect to [::1]:80: "));
    }

    #[test]
    fn listen_retries_a_server_that_is_down() {
        let free = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", free.local_addr().unwrap());
        drop(free);
        let listener = Listener::start(&[&url, "17-1"]);
        let error = listener.error();
        assert!(error.contains("cannot connect") && error.ends_with("again in 3s, after 17-1"), "{error}");
    }
}

#[cfg(feature = "tokio")]
mod tokio {
    use super::*;

    #[test]
    fn tasks_publish_and_reply() {
        let example = Example::start("tokio");
        let mut clock = example.connect();
        clock.get("/clock");
        assert!(clock.data(3).is_sorted());
        let mut slow: Vec<_> = (0..20).map(|_| example.connect()).collect();
        let begin = now();
        slow.iter_mut().for_each(|client| client.write("GET /slow HTTP/1.1\r\nHost: x\r\n\r\n"));
        for client in &mut slow {
            assert_eq!(client.reply().1, "I have thought about it.\n");
        }
        assert!(begin.elapsed() < ms(20 * 300), "all at once: {:?}", begin.elapsed());
    }
}
