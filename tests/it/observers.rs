//! Observers see everything that happens, in order and once, and nothing else.

use crate::memory_net::{Clock, Loop, Peer, get, subscribe};
use log::{Level, LevelFilter, Log, Metadata, Record};
use mio_sse::{
    Access, Audience, CloseReason, Config, Context, Drain, Error, Event, Events, Handler, LogObserver,
    Message, Observer, Reply, Request, Router, StreamId,
};
use std::cell::Cell;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::ThreadId;
use std::time::Duration;

type Notes = Arc<Mutex<Vec<String>>>;

/// Records every call.
struct Noting(Notes, &'static str);

impl Noting {
    fn note(&self, note: &str) {
        self.0.lock().unwrap().push(format!("{}{note}", self.1));
    }
}

impl Observer for Noting {
    fn open(&mut self, stream: StreamId, request: &Request<'_>) {
        self.note(&format!("open {stream} {}", request.target()));
    }

    fn message(&mut self, message: &Message<'_>) {
        match message.to {
            Audience::Topic(topic) => self.note(&format!("topic {topic} {:?}", message.text)),
            Audience::Stream(stream) => self.note(&format!("stream {stream} {:?}", message.text)),
            _ => self.note("somebody else"),
        }
    }

    fn close(&mut self, stream: StreamId, reason: CloseReason) {
        self.note(&format!("close {stream} {reason:?}"));
    }
}

/// Opens streams on topic `t`, and sends each a greeting before it is open.
#[derive(Default)]
struct App(Vec<StreamId>, Option<Clock>);

impl Handler for App {
    fn request(&mut self, request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
        let stream = cx.stream().unwrap();
        if let Some(clock) = &self.1 {
            clock.jump(Duration::from_secs(1));
        }
        if request.path() == "/page" {
            return Reply::text("page");
        }
        Reply::stream().topic("t").header("X-Stream", &stream.to_string()).into()
    }

    fn opened(&mut self, stream: StreamId, _request: &Request<'_>, cx: &mut Context<'_>) {
        self.0.push(stream);
        cx.send(stream, Event::new().data("hello")).unwrap();
    }
}

fn world(config: Config) -> (Loop<App>, Notes) {
    let mut world = Loop::with_config(App::default(), config);
    let notes = Notes::default();
    world.server.observe(Noting(notes.clone(), ""));
    (world, notes)
}

fn take(notes: &Notes) -> Vec<String> {
    std::mem::take(&mut notes.lock().unwrap())
}

fn open(world: &mut Loop<App>, target: &str) -> (Peer, StreamId) {
    let peer = world.connect();
    peer.write(subscribe(target));
    world.settle();
    (peer, *world.server.handler().0.last().unwrap())
}

#[test]
fn an_observer_sees_each_stream_and_event_once_and_in_order() {
    let (mut world, notes) = world(Config::default());
    let (first, a) = open(&mut world, "/stream?first");
    let (_second, b) = open(&mut world, "/stream?second");
    assert_eq!(
        take(&notes),
        [
            format!("open {a} /stream?first"),
            format!("stream {a} \"data: hello\\n\\n\""),
            format!("open {b} /stream?second"),
            format!("stream {b} \"data: hello\\n\\n\""),
        ]
    );
    // Once for any number of deliveries, even for none.
    let mut cx = world.server.context();
    cx.publish("t", Event::new().data("1").event("number")).unwrap();
    cx.publish("nobody", Event::new().data("2")).unwrap();
    cx.send(b, Event::new().data("3\n4")).unwrap();
    let publisher = world.server.publisher();
    publisher.publish("t", Event::new().data("5")).unwrap();
    publisher.try_publish("t", Event::new().data("6")).unwrap();
    publisher.send(a, Event::new().data("7")).unwrap();
    publisher.run(|cx| cx.publish("t", Event::new().data("8"))).unwrap();
    world.settle();
    let told = take(&notes);
    let expected = [
        "topic t \"event: number\\ndata: 1\\n\\n\"".to_owned(),
        "topic nobody \"data: 2\\n\\n\"".to_owned(),
        format!("stream {b} \"data: 3\\ndata: 4\\n\\n\""),
        "topic t \"data: 5\\n\\n\"".to_owned(),
        "topic t \"data: 6\\n\\n\"".to_owned(),
        format!("stream {a} \"data: 7\\n\\n\""),
        "topic t \"data: 8\\n\\n\"".to_owned(),
    ];
    assert_eq!(told.len(), 7, "{told:?}");
    for (told, expected) in told.iter().zip(expected) {
        assert_eq!(*told, expected);
    }
    // Events of a source, too.
    let says = Events::new([Event::new().data("9")]).every(Duration::from_secs(1));
    world.server.context().set_source(b, says).unwrap();
    world.settle();
    assert_eq!(take(&notes), [format!("stream {b} \"data: 9\\n\\n\"")]);
    first.close();
    world.settle();
    publisher.close(b).unwrap();
    publisher.send(b, Event::new().data("too late")).unwrap();
    world.settle();
    assert_eq!(world.server.context().send(b, Event::new().data("too late")), Err(Error::Closed));
    assert_eq!(take(&notes), [format!("close {a} PeerClosed"), format!("close {b} Application")]);
}

#[test]
fn events_that_are_never_sent_are_not_observed() {
    let mut config = Config::default();
    config.streams_max = 1;
    let (mut world, notes) = world(config);
    let (_peer, _) = open(&mut world, "/stream");
    take(&notes);
    for request in [subscribe("/stream"), get("/page"), "HEAD /stream HTTP/1.1\r\nHost: x\r\n\r\n".to_owned()]
    {
        let peer = world.connect();
        peer.write(request);
        world.settle();
        peer.close();
    }
    world.pass(Duration::from_secs(20));
    assert_eq!(world.server.stats().heartbeats, 1);
    assert!(world.server.context().publish("t", Event::new().data("x").event("a\nb")).is_err());
    let told = take(&notes);
    assert!(told.is_empty(), "refusals, heartbeats and invalid events are not observed: {told:?}");
}

#[test]
fn the_farewell_of_a_drain_is_an_event_like_any_other() {
    let (mut world, notes) = world(Config::default());
    let (_peer, a) = open(&mut world, "/stream");
    take(&notes);
    let drain = Drain::within(Duration::from_secs(1))
        .farewell(Event::new().data("bye"))
        .retry(Duration::from_secs(1));
    world.server.context().drain(drain).unwrap();
    world.settle();
    assert_eq!(take(&notes), [format!("stream {a} \"data: bye\\n\\n\""), format!("close {a} Drained")]);
}

#[test]
fn several_observers_are_called_in_the_order_they_were_added() {
    let (mut world, notes) = world(Config::default());
    world.server.observe(Noting(notes.clone(), "second "));
    let (peer, a) = open(&mut world, "/");
    peer.reset();
    world.settle();
    let hello = format!("stream {a} \"data: hello\\n\\n\"");
    let expected = [
        format!("open {a} /"),
        format!("second open {a} /"),
        hello.clone(),
        format!("second {hello}"),
        format!("close {a} Reset"),
        format!("second close {a} Reset"),
    ];
    assert_eq!(take(&notes), expected);
}

#[test]
fn streams_that_are_open_when_the_server_is_dropped_are_observed() {
    let (mut world, notes) = world(Config::default());
    let (_peer, a) = open(&mut world, "/");
    let (_other, b) = open(&mut world, "/");
    take(&notes);
    drop(world);
    let mut told = take(&notes);
    told.sort();
    let mut expected = [format!("close {a} Stopped"), format!("close {b} Stopped")];
    expected.sort();
    assert_eq!(told, expected);
}

/// Sends while the request is still being handled, as most applications do.
struct Early(Option<StreamId>);

impl Handler for Early {
    fn request(&mut self, _request: &Request<'_>, cx: &mut Context<'_>) -> Reply {
        let stream = cx.stream().unwrap();
        self.0 = Some(stream);
        cx.send(stream, Event::new().data("first")).unwrap();
        Reply::stream().into()
    }
}

#[test]
fn a_stream_is_observed_before_its_events_and_a_refused_one_not_at_all() {
    let mut config = Config::default();
    config.streams_max = 1;
    let mut world: Loop<_> = Loop::with_config(Early(None), config);
    let notes = Notes::default();
    world.server.observe(Noting(notes.clone(), ""));
    let (peer, refused) = (world.connect(), world.connect());
    peer.write(subscribe("/"));
    world.settle();
    let stream = world.server.handler().0.unwrap();
    assert_eq!(take(&notes), [format!("open {stream} /"), format!("stream {stream} \"data: first\\n\\n\"")]);
    refused.write(subscribe("/"));
    world.settle();
    assert!(refused.read().contains("retry: "));
    assert!(take(&notes).is_empty(), "its events are not sent");
}

/// Keeps the log lines of the thread that listens: a process has one logger, and tests run side by side.
struct Capture(Mutex<Vec<Line>>);

/// Thread, level, target and text.
type Line = (ThreadId, Level, String, String);

static CAPTURE: Capture = Capture(Mutex::new(Vec::new()));

thread_local! {
    /// What else of this thread is kept: by default nothing below `info`.
    static LEVEL: Cell<Level> = const { Cell::new(Level::Info) };
}

impl Capture {
    fn lines(&self) -> MutexGuard<'_, Vec<Line>> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Log for Capture {
    fn enabled(&self, metadata: &Metadata<'_>) -> bool {
        metadata.level() <= LEVEL.get()
    }

    fn log(&self, record: &Record<'_>) {
        if self.enabled(record.metadata()) {
            let line = (record.target().to_owned(), record.args().to_string());
            self.lines().push((std::thread::current().id(), record.level(), line.0, line.1));
        }
    }

    fn flush(&self) {}
}

/// From here on the log lines of this thread are kept.
pub(crate) fn listen() {
    // The first test that needs it installs it.
    if log::set_logger(&CAPTURE).is_ok() {
        log::set_max_level(LevelFilter::Debug);
    }
    logged();
}

/// The same, including log lines about faults of peers.
pub(crate) fn listen_closely() {
    LEVEL.set(Level::Debug);
    listen();
}

/// The log lines of this thread since the last call.
pub(crate) fn logged() -> Vec<(Level, String, String)> {
    let this = std::thread::current().id();
    let mut lines = CAPTURE.lines();
    let (own, others) = lines.drain(..).partition(|(thread, ..)| *thread == this);
    *lines = others;
    let own: Vec<_> = own;
    own.into_iter().map(|(_, level, target, line)| (level, target, line)).collect()
}

#[test]
fn the_log_observer_writes_one_line_for_each_under_targets_of_its_own() {
    listen();
    let mut world = Loop::new(App::default());
    world.server.observe(LogObserver);
    let (peer, a) = open(&mut world, "/stream?q=1");
    world
        .server
        .context()
        .publish("a \"topic\"\n", Event::new().data("one\ntwo \u{1b}[31m").event("e"))
        .unwrap();
    world.settle();
    peer.close();
    world.settle();
    let info = |target: &str, line: String| (Level::Info, target.to_owned(), line);
    assert_eq!(
        logged(),
        [
            info("sse:open", format!("{a} GET /stream?q=1")),
            info("sse:message", format!("to {a}: data: hello")),
            info(
                "sse:message",
                r#"to topic "a \"topic\"\n": event: e\ndata: one\ndata: two \u{1b}[31m"#.to_owned()
            ),
            info("sse:close", format!("{a} the peer closed the connection")),
        ]
    );
}

#[test]
fn a_panic_is_logged_as_an_error_with_its_message() {
    listen();
    let mut world = Loop::new(App::default());
    let publisher = world.server.publisher();
    publisher.run::<()>(|_| panic!("said {}", 1)).unwrap();
    publisher.run::<()>(|_| panic!("just said")).unwrap();
    publisher.run::<()>(|_| std::panic::panic_any(1)).unwrap();
    world.settle();
    let lines = logged();
    assert!(lines.iter().all(|(level, ..)| *level == Level::Error), "{lines:?}");
    let lines: Vec<_> = lines.into_iter().map(|(.., line)| line).collect();
    let what = "a publisher's closure panicked: ";
    assert_eq!(lines, [format!("{what}said 1"), format!("{what}just said"), format!("{what}no message")]);
}

#[test]
fn slow_turns_are_logged_once_in_ten_seconds() {
    listen();
    let mut world = Loop::new(App::default());
    let clock = world.clock();
    world.server.handler().1 = Some(clock);
    let peer = world.connect();
    for _ in 0..25 {
        peer.write(get("/page"));
        world.settle();
    }
    assert_eq!(world.server.stats().slow_turns, 25);
    let lines = logged();
    assert_eq!(lines.len(), 3, "at the beginning, after ten seconds and after twenty: {lines:?}");
    assert!(lines.iter().all(|(level, ..)| *level == Level::Warn));
    assert!(lines[0].2.starts_with("a turn took 1s"), "{lines:?}");
}

/// One line for each reply, whatever happens to the request.
#[test]
fn an_access_log_has_every_reply_once() {
    struct Journal(Arc<Mutex<Vec<String>>>);
    impl Observer for Journal {
        fn access(&mut self, access: &Access<'_>) {
            let line = access.to_string();
            let (who, what) = line.split_once(" - - [15/Jan/2027:08:00:0").expect("a time");
            self.0.lock().unwrap().push(format!("{who} {}", &what[9..]));
        }
    }
    let lines = Arc::<Mutex<Vec<String>>>::default();
    let mut app = Router::new();
    app.get("/page", |_request, _cx| "page");
    app.get("/stream", |_request, _cx| Reply::stream().topic("t"));
    app.get("/panics", |_request, _cx| -> Reply { panic!("on purpose") });
    app.get("/later", |_request, cx| {
        let (reply, responder) = cx.later();
        responder.reply(Reply::stream().topic("t")).unwrap();
        reply
    });
    let mut config = Config::default();
    config.streams_max = 2;
    config.cors = Some(mio_sse::Cors::any());
    config.body_bytes_max = 10;
    let mut world = Loop::<_>::with_config(app, config);
    world.server.observe(Journal(lines.clone()));
    let post = |length: usize| format!("POST /page HTTP/1.1\r\nHost: a\r\nContent-Length: {length}\r\n\r\n");
    for (request, line) in [
        (get("/page?a=\"b"), r#"192.0.2.1 "GET /page?a=\"b HTTP/1.1" 200 4"#),
        ("HEAD /page HTTP/1.0\r\n\r\n".to_owned(), r#"192.0.2.1 "HEAD /page HTTP/1.0" 200 0"#),
        (get("/stream"), r#"192.0.2.1 "GET /stream HTTP/1.1" 200 -"#),
        (get("/later"), r#"192.0.2.1 "GET /later HTTP/1.1" 200 -"#),
        (get("/stream"), r#"192.0.2.1 "GET /stream HTTP/1.1" 503 19"#),
        (get("/panics"), r#"192.0.2.1 "GET /panics HTTP/1.1" 500 21"#),
        (get("/none"), r#"192.0.2.1 "GET /none HTTP/1.1" 404 9"#),
        (post(11), r#"192.0.2.1 "POST /page HTTP/1.1" 413 "#),
        ("nonsense\r\n\r\n".to_owned(), r#"192.0.2.1 "-" 400 "#),
        (
            "OPTIONS /page HTTP/1.1\r\nHost: a\r\nOrigin: https://b\r\nAccess-Control-Request-Method: GET\r\n\r\n"
                .to_owned(),
            r#"192.0.2.1 "OPTIONS /page HTTP/1.1" 204 0"#,
        ),
    ] {
        let peer = world.connect_from(std::net::Ipv4Addr::new(192, 0, 2, 1).into());
        peer.write(&request);
        world.settle();
        // Messages of the inbox.
        world.settle();
        let told = std::mem::take(&mut *lines.lock().unwrap());
        assert!(told.len() == 1 && told[0].starts_with(line), "{told:?}, not {line}");
    }
    // A request that is not complete in time.
    let peer = world.connect();
    peer.write(post(5));
    world.pass(Duration::from_secs(31));
    assert!(peer.read().starts_with("HTTP/1.1 408 "));
}

#[test]
fn errors_have_a_body_of_the_applications_own() {
    let mut app = Router::new();
    app.get("/page", |_request, _cx| "page");
    app.get("/own", |_request, _cx| Reply::text("own").with_status(418));
    app.get("/bad", |_request, _cx| Err::<Reply, _>(mio_sse::BadRequest::new("no such thing")));
    app.get("/fails", |_request, _cx| Err::<Reply, _>("a secret"));
    app.get("/panics", |_request, _cx| -> Reply { panic!("on purpose") });
    app.get("/topics", |_request, _cx| Reply::stream().topic("t").topic("u"));
    app.get("/tea", |_request, _cx| Reply::status(418));
    let mut config = Config::default();
    config.subscriptions_max = 1;
    config.error_body = Some(|status, text| match status {
        418 => panic!("in the hook"),
        _ => Reply::json_text(format!("{{\"{status}\":\"{text}\"}}")).header("X-Error", "1").with_status(200),
    });
    let mut world = Loop::<_>::with_config(app, config);
    for (request, body) in [
        (get("/page"), "page"),
        (get("/own"), "own"),
        (get("/bad"), r#"{"400":"no such thing"}"#),
        (get("/fails"), r#"{"500":"Internal Server Error"}"#),
        (get("/panics"), r#"{"500":"Internal Server Error"}"#),
        (get("/none"), r#"{"404":"Not Found"}"#),
        ("DELETE /page HTTP/1.1\r\nHost: a\r\n\r\n".to_owned(), r#"{"405":"Method Not Allowed"}"#),
        (get("/topics"), r#"{"400":"The stream asks for more topics than one may read."}"#),
        (
            "GET / HTTP/1.1\r\n\r\n".to_owned(),
            r#"{"400":"The Host header is missing, which HTTP/1.1 requires."}"#,
        ),
        (get("/tea"), "Client Error"),
    ] {
        let peer = world.connect();
        peer.write(&request);
        world.settle();
        let text = peer.read();
        let (head, found) = text.split_once("\r\n\r\n").unwrap();
        assert_eq!(found, body, "{request}");
        let is_own = body.starts_with('{');
        assert_eq!(
            (head.contains("application/json"), head.contains("X-Error: 1")),
            (is_own, is_own),
            "{head}"
        );
        assert!(!is_own || head[9..12] == body[2..5], "{head}");
    }
}
