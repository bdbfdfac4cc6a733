//! Tests without sockets, as in the documentation.

use mio_sse::net::InMemory;
use mio_sse::{Answer, Config, Error, Event, History, RawRequest, Reply, Router, Server, TopicConfig};
use std::time::Duration;

fn app() -> Router<u32> {
    let mut app = Router::with_state(0);
    app.get("/page", |_request, _cx| Reply::text("page").header("X-One", " two "));
    app.get("/news", |_request, _cx| Reply::stream().topic("news"));
    app.get("/close-delimited", |_request, _cx| Reply::stream().topic("news").close_delimited());
    app.get("/none", |_request, _cx| Reply::no_content());
    app.get("/same", |_request, _cx| Reply::status(304));
    app.get("/binary", |_request, _cx| Reply::bytes("image/x", vec![0xFF; 9]));
    app.post("/echo", |request, _cx| String::from_utf8_lossy(request.body()).into_owned());
    app.sse("/ticks", |stream, _request, cx| {
        cx.on_open(|stream, cx| {
            *cx.state += 1;
            cx.on_close(stream, |_reason, cx| *cx.state -= 1)
        });
        cx.every(stream, Duration::from_secs(1), |stream, cx| cx.send(stream, "tick"))?;
        cx.after(stream, Duration::from_secs(5), |stream, cx| cx.close(stream))
    });
    app.get("/later", |_request, cx| {
        let (reply, responder) = cx.later();
        std::thread::spawn(move || responder.reply("done"));
        reply
    });
    app
}

fn ask(server: &mut Server<Router<u32>, InMemory>, path: &str) -> Answer {
    server.ask(RawRequest::get(path).unwrap())
}

#[test]
fn whole_replies_are_available_at_once() {
    let mut server = Server::in_memory(app(), Config::default()).unwrap();
    let mut page = ask(&mut server, "/page");
    assert_eq!((page.status(), page.text(), page.is_over()), (Some(200), "page".to_owned(), true));
    assert_eq!((page.header("x-one"), page.header("x-two")), (Some("two".to_owned()), None));
    let mut none = ask(&mut server, "/none");
    assert_eq!((none.status(), none.text(), none.is_over()), (Some(204), String::new(), true));
    assert_eq!(ask(&mut server, "/nowhere").status(), Some(404));
    assert_eq!(server.ask("nonsense\r\n\r\n").status(), Some(400));
    assert_eq!(server.ask("GET /page HT").status(), None);
    let mut same = ask(&mut server, "/same");
    assert_eq!((same.status(), same.text(), same.is_over()), (Some(304), String::new(), true));
    for path in ["/page", "/news"] {
        let mut head = server.ask(format!("HEAD {path} HTTP/1.1\r\nHost: a\r\n\r\n"));
        assert_eq!((head.status(), head.text(), head.is_over()), (Some(200), String::new(), true), "{path}");
    }
    let continued = "POST /echo HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 1\r\n\r\n";
    assert_eq!(server.ask(continued).status(), None, "100 is no answer");
    let mut binary = ask(&mut server, "/binary");
    assert_eq!((binary.events(), binary.body()), (vec![], &[0xFF; 9][..]));
    let mut head = server.ask("HEAD /page HTTP/1.0\r\n\r\n");
    assert_eq!((head.status(), head.text(), head.is_over()), (Some(200), String::new(), true));
}

#[test]
fn streams_go_on_and_the_clock_is_moved_by_hand() {
    let mut server = Server::in_memory(app(), Config::default()).unwrap();
    let mut ticks = ask(&mut server, "/ticks");
    assert_eq!((ticks.status(), ticks.events(), ticks.is_over()), (Some(200), vec![], false));
    assert_eq!(*server.handler().state(), 1);
    server.advance(Duration::from_millis(2500));
    assert_eq!(ticks.events(), [Event::from("tick"), Event::from("tick")]);
    server.advance(Duration::from_secs(60));
    assert_eq!((ticks.events().len(), ticks.is_over()), (3, true), "it was closed after five seconds");
    assert_eq!(*server.handler().state(), 0);
    assert_eq!(ticks.text().matches("data: tick\n\n").count(), 5);

    // A client that disconnects.
    let ticks = ask(&mut server, "/ticks");
    assert_eq!(*server.handler().state(), 1);
    drop(ticks);
    server.settle();
    assert_eq!((*server.handler().state(), server.stats().connections), (0, 0));
}

#[test]
fn events_are_as_an_event_source_sees_them() {
    let mut server = Server::in_memory(app(), Config::default()).unwrap();
    let kept = TopicConfig::default().history(History::new().events(10));
    server.context().configure("news", kept).unwrap();
    let mut streams = ["/news", "/close-delimited"].map(|path| ask(&mut server, path));
    server.context().publish("news", Event::new().data("a\nb").event("x")).unwrap();
    server.context().publish("news", "c").unwrap();
    server.settle();
    for stream in &mut streams {
        let events = stream.events();
        let id = events[1].id.clone().expect("an id");
        assert_eq!(events[0].data.as_deref(), Some("a\nb"));
        assert_eq!(
            (events.len(), events[0].event.as_deref(), events[1].event.as_deref()),
            (2, Some("x"), None)
        );
        // A client that resumes.
        let request =
            RawRequest::get("/news").unwrap().header("Last-Event-ID", &*events[0].id.clone().unwrap());
        let mut again = server.ask(request.unwrap());
        assert_eq!(again.events(), [Event::from("c").id(id)]);
    }
    // Heartbeats are not events.
    server.advance(Duration::from_secs(40));
    assert!(streams.iter_mut().all(|stream| stream.events().is_empty()));
    server.context().drain(Duration::from_secs(1)).unwrap();
    server.advance(Duration::from_secs(2));
    assert!(server.is_stopped() && streams.iter_mut().all(Answer::is_over));
    assert_eq!(ask(&mut server, "/page").status(), None);
}

#[test]
fn other_threads_are_waited_for() {
    let mut server = Server::in_memory(app(), Config::default()).unwrap();
    let mut later = ask(&mut server, "/later");
    while later.status().is_none() {
        server.settle();
    }
    assert_eq!(later.text(), "done");
    let publisher = server.publisher();
    std::thread::spawn(move || publisher.run(|cx| *cx.state = 7)).join().unwrap().unwrap();
    server.settle();
    assert_eq!(*server.handler().state(), 7);
}

/// As over a socket with little room.
#[test]
fn a_client_that_does_not_read_lags() {
    let mut config = Config::default();
    config.memory_max = 64 << 20;
    let mut server = Server::in_memory(app(), config).unwrap();
    let mut news = ask(&mut server, "/news");
    for _ in 0..3 {
        server.context().publish("news", "x".repeat(700_000)).unwrap();
        server.settle();
    }
    assert_eq!(server.stats().streams_behind, 1);
    let mut count = 0;
    while count < 3 {
        count += news.events().len();
        server.settle();
    }
    assert_eq!(server.stats().streams_behind, 0);
    assert_eq!(
        server.context().publish("news", Event::new()),
        Err(Error::InvalidEvent(mio_sse::EventError::Empty))
    );
}
