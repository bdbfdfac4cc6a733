//! Several loops as one server: the same events with the same ids in each.

use crate::support::{Client, wait_until};
use mio_sse::net::InMemory;
use mio_sse::{
    Answer, Config, Context, Error, Event, EventSender, History, Ids, Listeners, Missed, Overflow, Position,
    RawRequest, Reply, Request, Router, Server, Shards, StreamId, TopicConfig,
};
use std::collections::HashMap;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

/// The loop that was used last has its streams here.
type Seen = Arc<Mutex<Vec<StreamId>>>;

fn kept(ids: Ids) -> Config {
    let mut config = Config::default();
    config.topic = TopicConfig::default().history(History::new().events(10_000)).ids(ids);
    config.heartbeat = None;
    config
}

/// Streams of the topic that is the path, and a route that runs `act`.
fn app(
    seen: &Seen,
    act: impl FnMut(&Request<'_>, &mut Context<'_>) -> Result<(), Error> + Send + 'static,
) -> Router {
    let (mut app, seen, mut act) = (Router::new(), Arc::clone(seen), act);
    app.get("/topics/{topic}", move |request, cx| {
        seen.lock().unwrap().extend(cx.stream());
        Reply::stream().topic(request.param("topic").unwrap()).tag("all")
    });
    app.post("/act", move |request, cx| act(request, cx).map(|()| "done"));
    app
}

fn shards(
    count: usize,
    config: Config,
    act: impl FnMut(&Request<'_>, &mut Context<'_>) -> Result<(), Error> + Clone + Send + 'static,
) -> (Shards<Router, InMemory>, Seen) {
    let seen = Seen::default();
    let shards = Shards::in_memory(count, |_| app(&seen, act.clone()), config).unwrap();
    (shards, seen)
}

fn read(shards: &mut Shards<Router, InMemory>, index: usize, last_event_id: Option<&str>) -> Answer {
    let mut request = RawRequest::get("/topics/news").unwrap();
    if let Some(id) = last_event_id {
        request = request.header("Last-Event-ID", id).unwrap();
    }
    shards.servers()[index].ask(request)
}

fn act(shards: &mut Shards<Router, InMemory>, index: usize) -> Answer {
    let answer = shards.servers()[index].ask(RawRequest::new("POST", "/act").unwrap());
    shards.settle();
    answer
}

/// The data of events that have some, with their ids.
fn data(answer: &mut Answer) -> Vec<(String, Option<String>)> {
    let events = answer.events().into_iter().filter_map(|event: Event<'static>| {
        Some((event.data?.into_owned(), event.id.map(|id| id.into_owned())))
    });
    events.collect()
}

fn texts(answer: &mut Answer) -> Vec<String> {
    data(answer).into_iter().map(|(text, _)| text).collect()
}

#[test]
fn every_loop_has_the_same_events_with_the_same_ids() {
    for ids in [Ids::Generated, Ids::Own] {
        let mut count = 0;
        let publish = move |_: &Request<'_>, cx: &mut Context<'_>| {
            count += 1;
            let text = format!("{count} of a handler");
            let event = Event::new().data(text.clone());
            cx.publish("news", if ids == Ids::Own { event.id(text) } else { event })
        };
        let (mut shards, _) = shards(3, kept(ids), publish);
        let publisher = shards.publisher();
        let mut streams: Vec<_> = (0..3).map(|index| read(&mut shards, index, None)).collect();
        act(&mut shards, 1);
        let event = Event::new().data("of a thread");
        publisher.publish("news", if ids == Ids::Own { event.id("x") } else { event }).unwrap();
        act(&mut shards, 2);
        act(&mut shards, 1);
        let got: Vec<_> = streams.iter_mut().map(data).collect();
        assert_eq!(got[0].len(), 4, "{got:?}");
        assert!(got[0].iter().all(|(_, id)| id.is_some()));
        assert!(got.iter().all(|one| *one == got[0]), "{got:?}");
        // A client can resume at any loop.
        for index in 0..3 {
            let mut again = read(&mut shards, index, got[0][1].1.as_deref());
            assert_eq!(data(&mut again), got[0][2..], "in loop {index}");
        }
    }
}

#[test]
fn calls_of_a_handler_after_an_event_take_effect_after_it() {
    let streams = Seen::default();
    let of_handler = Arc::clone(&streams);
    let act_on = move |_: &Request<'_>, cx: &mut Context<'_>| {
        let streams = of_handler.lock().unwrap();
        cx.publish("news", "first")?;
        for stream in streams.iter() {
            cx.send(*stream, "second")?;
        }
        cx.send_tagged("all", "third")?;
        cx.publish("news", "fourth")?;
        for stream in streams.iter() {
            cx.close(*stream)?;
        }
        cx.publish("news", "too late")
    };
    let mut shards = Shards::in_memory(2, |_| app(&streams, act_on.clone()), Config::default()).unwrap();
    let mut answers: Vec<_> = [0, 1, 1].map(|index| read(&mut shards, index, None)).into();
    act(&mut shards, 0);
    for answer in &mut answers {
        assert_eq!(texts(answer), ["first", "second", "third", "fourth"]);
        assert!(answer.is_over());
    }
}

#[test]
fn a_client_that_is_ahead_of_its_loop_gets_what_is_new_to_it_and_nothing_else() {
    for ids in [Ids::Generated, Ids::Own] {
        let mut config = kept(ids);
        config.inbox_max = 5_000;
        let publish = move |_: &Request<'_>, cx: &mut Context<'_>| {
            (0..5_000).try_for_each(|number| {
                let event = Event::new().data(number.to_string());
                cx.publish("news", if ids == Ids::Own { event.id(format!("own {number}")) } else { event })
            })
        };
        let (mut shards, _) = shards(2, config, publish);
        shards.prepare(|cx| {
            for number in 0..10 {
                let event = Event::new().data("prepared");
                let event = if ids == Ids::Own { event.id(format!("prepared {number}")) } else { event };
                cx.publish("news", event).unwrap();
            }
        });
        let mut first = read(&mut shards, 0, None);
        shards.servers()[0].ask(RawRequest::new("POST", "/act").unwrap());
        let got = data(&mut first);
        assert_eq!(got.len(), 5_000);
        // This loop publishes a thousand of them in a turn, and reads the request in its second turn.
        let mut second = read(&mut shards, 1, got[4_995].1.as_deref());
        assert!(shards.stats().gaps == 0);
        assert_eq!(data(&mut second), got[4_996..], "{ids:?}");
    }
}

#[test]
fn missed_events_come_before_pending_ones() {
    let mut shards = Shards::in_memory(
        2,
        |_| {
            let mut app = Router::new();
            app.get("/topics/news", |_request, cx| {
                // Another request in the same turn is enough.
                cx.publish("news", Event::new().data("three").id("3"))?;
                Ok::<_, Error>(Reply::stream().topic("news"))
            });
            app.missed(|stream, _id, cx| {
                cx.send(stream, Event::new().data("two").id("2"))?;
                Ok::<_, Error>(Missed::Sent)
            });
            app
        },
        kept(Ids::Own),
    )
    .unwrap();
    let mut stream = read(&mut shards, 1, Some("1"));
    shards.settle();
    assert_eq!(texts(&mut stream), ["two", "three"]);
}

#[test]
fn an_id_that_was_never_given_is_a_gap() {
    let (mut shards, _) = shards(2, kept(Ids::Generated), |_, cx| cx.publish("news", "one"));
    let mut stream = read(&mut shards, 0, None);
    act(&mut shards, 0);
    let id = data(&mut stream).remove(0).1.unwrap();
    let (maker, number) = id.split_once('-').unwrap();
    let to_come = format!("{maker}-{}", number.parse::<u64>().unwrap() + 1);
    let mut made_up = read(&mut shards, 1, Some(&to_come));
    assert_eq!(shards.stats().gaps, 1);
    act(&mut shards, 1);
    assert_eq!(texts(&mut made_up).last().unwrap(), "one");
    // It was published meanwhile.
    let mut back = read(&mut shards, 0, Some(&to_come));
    assert_eq!((shards.stats().gaps, texts(&mut back)), (1, vec![]));
}

#[test]
fn ids_stay_the_same_however_much_one_loop_sends_to_single_streams() {
    let streams = Seen::default();
    let of_handler = Arc::clone(&streams);
    let send = move |_: &Request<'_>, cx: &mut Context<'_>| {
        let stream = of_handler.lock().unwrap()[0];
        (0..10_000).for_each(|_| drop(cx.send(stream, "alone")));
        cx.publish("news", "for all")
    };
    let mut config = kept(Ids::Generated);
    config.lag_bytes_max = 1 << 20;
    let mut shards = Shards::in_memory(2, |_| app(&streams, send.clone()), config).unwrap();
    let mut answers = [read(&mut shards, 0, None), read(&mut shards, 1, None)];
    let mut last = Vec::new();
    for _ in 0..3 {
        act(&mut shards, 0);
        let [own, other] = answers.each_mut().map(data);
        assert_eq!((own.len(), other.len()), (10_001, 1));
        assert_eq!(own.last(), other.last());
        last.extend(other);
    }
    for index in 0..2 {
        let mut again = read(&mut shards, index, last[0].1.as_deref());
        assert_eq!(data(&mut again), last[1..], "in loop {index}");
    }
}

#[test]
fn private_events_reach_their_stream_from_any_loop() {
    let streams = Seen::default();
    let of_handler = Arc::clone(&streams);
    let mut step = 0;
    let act_on = move |_: &Request<'_>, cx: &mut Context<'_>| {
        let stream = of_handler.lock().unwrap()[0];
        step += 1;
        match step {
            1 => cx.send(stream, "sent"),
            2 => cx.subscribe(stream, "more"),
            3 => cx.publish("more", "of more"),
            4 => cx.tag(stream, "mine"),
            5 => cx.send_tagged("mine", "tagged").map(|here| assert_eq!(here, 0)),
            6 => cx.untag(stream, "mine"),
            7 => cx.send_tagged("mine", "nobody").map(|here| assert_eq!(here, 0)),
            8 => cx.unsubscribe(stream, "more"),
            9 => cx.publish("more", "unheard"),
            10 => {
                // The hooks of a stream are in its own loop.
                assert!(!cx.is_open(stream));
                let second = Duration::from_secs(1);
                assert_eq!(cx.every(stream, second, |_, _| {}).err(), Some(Error::OtherLoop));
                assert_eq!(cx.on_close(stream, |_, _| {}).err(), Some(Error::OtherLoop));
                assert_eq!(cx.channel(stream, 1).err(), Some(Error::OtherLoop));
                assert!(cx.of::<u8>(stream).is_none());
                cx.publisher().run_for(stream, move |cx| {
                    cx.after(stream, second, |stream, cx| cx.send(stream, "timer"))
                })
            }
            _ => cx.close(stream),
        }
    };
    // Loop 1 makes all calls.
    let mut shards = Shards::in_memory(2, |_| app(&streams, act_on.clone()), Config::default()).unwrap();
    let mut answer = read(&mut shards, 0, None);
    for _ in 0..10 {
        act(&mut shards, 1);
    }
    shards.servers()[0].advance(Duration::from_secs(2));
    act(&mut shards, 1);
    assert_eq!(texts(&mut answer), ["sent", "of more", "tagged", "timer"]);
    assert!(answer.is_over());
    let publisher = shards.publisher();
    let mut again = read(&mut shards, 1, None);
    let stream = *streams.lock().unwrap().last().unwrap();
    assert!(stream.to_string().starts_with("1:"), "{stream}");
    publisher.send(stream, "of a thread").unwrap();
    publisher.close(stream).unwrap();
    shards.settle();
    assert_eq!(texts(&mut again), ["of a thread"]);
    assert!(again.is_over());
}

#[test]
fn a_stream_of_shards_that_never_were_has_ended() {
    let streams = Seen::default();
    let mut many = Shards::in_memory(3, |_| app(&streams, |_, _| Ok(())), Config::default()).unwrap();
    drop(read(&mut many, 2, None));
    let foreign = streams.lock().unwrap()[0];
    let (shards, _) = shards(2, Config::default(), |_, _| Ok(()));
    assert_eq!(shards.publisher().send(foreign, "x"), Err(Error::Closed));
    let mut server = Server::in_memory(Router::new(), Config::default()).unwrap();
    assert!(server.context().send(foreign, "x").is_err());
}

#[test]
fn calls_that_concern_a_tag_or_a_topic_reach_all_loops() {
    let mut step = 0;
    let act_on = move |_: &Request<'_>, cx: &mut Context<'_>| {
        step += 1;
        match step {
            1 => assert_eq!(cx.close_tagged("all"), 1),
            2 => assert_eq!(cx.revoke("all", Duration::from_secs(60)), 1),
            3 => assert!(cx.unrevoke("all")),
            4 => cx.finish_topic("news")?,
            _ => cx.configure("other", TopicConfig::default().history(History::new().events(1)))?,
        }
        Ok(())
    };
    let (mut shards, _) = shards(2, kept(Ids::Generated), act_on);
    for step in 1..=2 {
        let mut answers = [read(&mut shards, 0, None), read(&mut shards, 1, None)];
        // Each loop has its own handler: that of loop 0 makes all calls.
        act(&mut shards, 0);
        assert!(answers.each_mut().iter_mut().all(|answer| answer.is_over()), "{step}");
    }
    assert_eq!([0, 1].map(|index| read(&mut shards, index, None).status()), [Some(204); 2]);
    act(&mut shards, 0);
    let mut answers = [read(&mut shards, 0, None), read(&mut shards, 1, None)];
    assert!(!answers.each_mut().iter_mut().any(|answer| answer.is_over()));
    act(&mut shards, 0);
    assert!(answers.each_mut().iter_mut().all(|answer| answer.is_over()), "the topic has finished");
    shards.publisher().publish("news", "refused everywhere").unwrap();
    act(&mut shards, 0);
    shards.publisher().publish("other", "kept").unwrap();
    shards.publisher().publish("other", "kept instead of it").unwrap();
    shards.settle();
    for index in 0..2 {
        let request = RawRequest::get("/topics/other").unwrap().header("Last-Event-ID", "x").unwrap();
        assert_eq!(texts(&mut shards.servers()[index].ask(request)).last().unwrap(), "kept instead of it");
    }
}

#[test]
fn one_loop_that_has_no_room_is_a_clear_error_and_nothing_is_published_anywhere() {
    let mut config = kept(Ids::Generated);
    config.inbox_max = 4;
    let refused = Arc::new(Mutex::new(None));
    let of_handler = Arc::clone(&refused);
    let publish = move |_: &Request<'_>, cx: &mut Context<'_>| {
        let failed =
            (0..).find_map(|number: usize| Some((number, cx.publish("news", number.to_string()).err()?)));
        *of_handler.lock().unwrap() = failed;
        Ok(())
    };
    let (mut shards, _) = shards(2, config, publish);
    let mut streams = [read(&mut shards, 0, None), read(&mut shards, 1, None)];
    let publisher = shards.publisher().nonblocking();
    let fits = (0..).take_while(|_| publisher.publish("news", "of a thread").is_ok()).count();
    assert_eq!(fits, 4);
    // Handlers have twice the room.
    shards.servers()[0].ask(RawRequest::new("POST", "/act").unwrap());
    assert_eq!(*refused.lock().unwrap(), Some((4, Error::Full)));
    shards.settle();
    let [one, other] = streams.each_mut().map(data);
    assert_eq!((one.len(), one), (8, other));
}

#[test]
fn a_publisher_waits_for_the_slowest_loop() {
    let mut config = Config::default();
    config.inbox_max = 1;
    let (mut shards, _) = shards(2, config, |_, _| Ok(()));
    let publisher = shards.publisher();
    shards.settle();
    publisher.publish("news", "first").unwrap();
    shards.servers()[0].settle();
    let thread = thread::spawn(move || publisher.publish("news", "second"));
    // Waiting can only be observed as not having ended.
    for _ in 0..1_000 {
        thread::yield_now();
    }
    assert!(!thread.is_finished());
    let mut stream = read(&mut shards, 0, None);
    shards.servers()[1].settle();
    thread.join().unwrap().unwrap();
    shards.settle();
    assert_eq!(texts(&mut stream), ["second"]);
}

#[test]
fn limits_of_connections_and_streams_hold_for_all_loops_together() {
    let mut config = Config::default();
    config.streams_max = 3;
    let (mut shards, _) = shards(2, config.clone(), |_, _| Ok(()));
    let mut streams: Vec<_> = [0, 0, 1].map(|index| read(&mut shards, index, None)).into();
    let mut refused = read(&mut shards, 1, None);
    assert!(refused.is_over() && !streams.iter_mut().any(Answer::is_over));
    assert_eq!(shards.stats().streams, 3);
    streams.remove(0);
    shards.settle();
    assert!(!read(&mut shards, 1, None).is_over());

    config.connections_max = 2;
    let (mut shards, _) = self::shards(2, config.clone(), |_, _| Ok(()));
    let open = [read(&mut shards, 0, None), read(&mut shards, 1, None)];
    assert!(read(&mut shards, 0, None).is_over());
    drop(open);
    shards.settle();
    assert!(!read(&mut shards, 0, None).is_over());

    (config.connections_max, config.connections_per_address_max) = (100, Some(2));
    let (mut shards, _) = self::shards(2, config, |_, _| Ok(()));
    let _open = [read(&mut shards, 0, None), read(&mut shards, 1, None)];
    assert!(read(&mut shards, 1, None).is_over());
}

#[test]
fn an_event_without_room_in_a_loop_is_a_gap_there() {
    let mut config = kept(Ids::Generated);
    config.topics_max = 1;
    let (mut shards, _) = shards(2, config, |_, cx| cx.publish("news", "one"));
    let other = shards.servers()[1].ask(RawRequest::get("/topics/other").unwrap());
    let mut first = read(&mut shards, 0, None);
    act(&mut shards, 0);
    act(&mut shards, 0);
    let got = data(&mut first);
    drop(other);
    shards.settle();
    // Loop 1 had no room for the topic, so its clients get a gap.
    let gaps = |shards: &mut Shards<Router, InMemory>, id: &str| {
        let before = shards.stats().gaps;
        drop(read(shards, 1, Some(id)));
        shards.stats().gaps - before
    };
    assert_eq!(gaps(&mut shards, got[0].1.as_deref().unwrap()), 1);
    assert_eq!(gaps(&mut shards, got[1].1.as_deref().unwrap()), 0);
}

#[test]
fn prepared_events_are_in_every_loop_and_new_ones_follow() {
    let config = kept(Ids::Ordered);
    let (mut shards, _) = shards(2, config, |_, cx| cx.publish_at("news", Position::new(3, 0), "three"));
    shards.prepare(|cx| {
        for ms in 1..=2 {
            cx.publish_at("news", Position::new(ms, 0), ms.to_string()).unwrap();
        }
    });
    act(&mut shards, 0);
    for index in 0..2 {
        let mut stream = read(&mut shards, index, Some("1-0"));
        assert_eq!(texts(&mut stream), ["2", "three"]);
    }
    let (mut shards, _) = self::shards(2, kept(Ids::Generated), |_, cx| cx.publish("news", "of a handler"));
    shards.prepare(|cx| cx.publish("news", "prepared").unwrap());
    let mut streams = [read(&mut shards, 0, None), read(&mut shards, 1, None)];
    act(&mut shards, 1);
    let [one, other] = streams.each_mut().map(data);
    assert_eq!(one, other);
    assert!(one[0].1.as_ref().unwrap().ends_with("-2"), "{one:?}");
    // Every loop knows that the newest was published.
    drop(read(&mut shards, 0, one[0].1.as_deref()));
    assert_eq!(shards.stats().gaps, 0);
}

#[test]
fn one_loop_is_a_server_like_any_other() {
    let (mut shards, streams) = shards(1, kept(Ids::Generated), |_, cx| cx.publish("news", "one"));
    let mut stream = read(&mut shards, 0, None);
    act(&mut shards, 0);
    assert_eq!(texts(&mut stream), ["one"]);
    assert!(!streams.lock().unwrap()[0].to_string().contains(':'));
    let publisher = shards.publisher();
    let answers = thread::spawn(move || publisher.ask_all(|cx| cx.subscribers("news")));
    while !answers.is_finished() {
        shards.settle();
    }
    assert_eq!(answers.join().unwrap(), Ok(vec![1]));
    assert!(Shards::in_memory(0, |_| Router::new(), Config::default()).is_err());
}

/// Loops in threads, on sockets.
struct Running {
    address: std::net::SocketAddr,
    publisher: mio_sse::Publisher,
    thread: Option<thread::JoinHandle<std::io::Result<()>>>,
}

fn run(listeners: Listeners, count: usize, config: Config) -> Running {
    let seen = Seen::default();
    let publish = |_: &Request<'_>, cx: &mut Context<'_>| cx.publish("news", "one");
    let mut shards = Shards::listen(listeners, count, |_| app(&seen, publish), config).unwrap();
    let address = shards.local_addr().unwrap_or_else(|_| ([127, 0, 0, 1], 1).into());
    let publisher = shards.publisher();
    Running { address, publisher, thread: Some(thread::spawn(move || shards.run())) }
}

impl Running {
    fn subscribers(&self) -> Vec<usize> {
        self.publisher.ask_all(|cx| cx.subscribers("news")).unwrap()
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.publisher.run(|cx| cx.stop());
        if let Some(thread) = self.thread.take() {
            thread.join().unwrap().unwrap();
        }
    }
}

fn open(running: &Running) -> Client {
    let mut client = Client::connect(running.address);
    assert_eq!(client.get("/topics/news").status, 200);
    client
}

#[test]
fn threads_serve_one_address_together() {
    let running = run(Listeners::new().tcp("127.0.0.1:0"), 3, kept(Ids::Generated));
    let mut clients: Vec<_> = (0..60).map(|_| open(&running)).collect();
    let counts = running.subscribers();
    assert_eq!((counts.len(), counts.iter().sum::<usize>()), (3, 60));
    if cfg!(target_os = "linux") {
        assert!(counts.iter().all(|count| *count > 0), "{counts:?}");
    }
    let threads = (0..2).map(|number| {
        let publisher = running.publisher.clone();
        thread::spawn(move || (0..100).for_each(|_| publisher.publish("news", number.to_string()).unwrap()))
    });
    threads.collect::<Vec<_>>().into_iter().for_each(|thread| thread.join().unwrap());
    let all: Vec<_> = clients.iter_mut().map(|client| client.events(200)).collect();
    assert!(all.iter().all(|events| *events == all[0]), "all loops have one order");
    let stats = running.publisher.ask(|cx| cx.stats()).unwrap();
    assert_eq!(stats.events_published, 200);
    // The others had reported theirs when their last turn ended.
    wait_until("all streams are counted", || running.publisher.ask(|cx| cx.stats()).unwrap().streams == 60);
}

#[test]
fn one_loop_accepts_for_all_and_gives_to_the_one_with_the_fewest() {
    let running = run(Listeners::new().tcp("127.0.0.1:0").to_fewest(), 4, Config::default());
    let mut clients: Vec<_> = (0..40).map(|_| open(&running)).collect();
    assert_eq!(running.subscribers(), [10; 4]);
    running.publisher.publish("news", "for all").unwrap();
    clients.iter_mut().for_each(|client| assert_eq!(client.data(1), ["for all"]));
    // A client that leaves makes room.
    clients.truncate(20);
    wait_until("half of them have left", || running.subscribers().iter().sum::<usize>() == 20);
    clients.extend((0..20).map(|_| open(&running)));
    assert_eq!(running.subscribers(), [10; 4]);
}

#[test]
fn a_second_program_on_the_address_of_shards_gets_an_error() {
    let running = run(Listeners::new().tcp("127.0.0.1:0"), 2, Config::default());
    for count in [1, 2] {
        let second = Shards::bind(running.address, count, |_| Router::new());
        assert_eq!(second.unwrap_err().kind(), std::io::ErrorKind::AddrInUse, "{count} loops");
    }
}

#[test]
fn a_drain_and_a_stop_reach_all_loops() {
    for drains in [true, false] {
        let mut running = run(Listeners::new().tcp("127.0.0.1:0").to_fewest(), 3, Config::default());
        let mut clients: Vec<_> = (0..6).map(|_| open(&running)).collect();
        if drains {
            running.publisher.drain(Duration::ZERO).unwrap();
        } else {
            running.publisher.run(|cx| cx.stop()).unwrap();
        }
        clients.iter_mut().for_each(Client::wait_for_close);
        running.thread.take().unwrap().join().unwrap().unwrap();
        assert_eq!(running.publisher.publish("news", "x"), Err(Error::Stopped));
    }
}

#[test]
fn a_panic_that_is_to_be_resumed_stops_all_loops_first() {
    let mut config = Config::default();
    config.propagate_panics = true;
    let make = |index| {
        let mut app = Router::new();
        app.get("/", move |_request, _cx| -> Reply {
            assert_ne!(index, 1, "the handler of the second loop panics");
            Reply::text("well")
        });
        app
    };
    let mut shards =
        Shards::listen(Listeners::new().tcp("127.0.0.1:0").to_fewest(), 2, make, config).unwrap();
    let address = shards.local_addr().unwrap();
    let thread = thread::spawn(move || shards.run());
    let mut first = Client::connect(address);
    assert_eq!(first.get_text("/"), "well");
    let mut second = Client::connect(address);
    second.write("GET / HTTP/1.1\r\nHost: a\r\n\r\n");
    first.wait_for_close();
    assert!(thread.join().is_err());
}

#[test]
fn connections_of_others_go_to_the_loop_with_the_fewest() {
    let running = run(Listeners::new(), 2, Config::default());
    let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let mut clients = Vec::new();
    for _ in 0..4 {
        let mut client = Client::connect(address);
        let (socket, _) = listener.accept().unwrap();
        running.publisher.adopt(socket, RawRequest::get("/topics/news").unwrap()).unwrap();
        assert_eq!(client.head().status, 200);
        clients.push(client);
    }
    assert_eq!(running.subscribers(), [2; 2]);
}

#[test]
fn a_slow_reader_in_one_loop_does_not_affect_the_other() {
    let mut config = kept(Ids::Generated);
    config.topic = config.topic.overflow(Overflow::Skip);
    config.lag_bytes_max = 10_000;
    let running = run(Listeners::new().tcp("127.0.0.1:0").to_fewest(), 2, config);
    let _slow = open(&running);
    let mut quick = open(&running);
    let reads = thread::spawn(move || quick.data(2_000));
    let mut counts = HashMap::new();
    for number in 0..2_000 {
        running.publisher.publish("news", format!("{number} {}", "x".repeat(500))).unwrap();
    }
    for text in reads.join().unwrap() {
        *counts.entry(text.split(' ').next().unwrap().to_owned()).or_insert(0) += 1;
    }
    assert_eq!(counts.len(), 2_000);
}

#[test]
fn a_gap_of_an_external_log_reaches_every_loop_and_is_not_an_event() {
    let mut config = kept(Ids::Ordered);
    config.gap_event = Some("gap".into());
    let mut step = 0;
    let act_on = move |_: &Request<'_>, cx: &mut Context<'_>| {
        step += 1;
        match step {
            1 => cx.configure("own", TopicConfig::default().history(History::new().events(9))),
            2 => {
                cx.publish_at("news", Position::new(1, 0), "one")?;
                cx.ordered_gap(Position::new(2, 0))?;
                cx.publish_at("news", Position::new(3, 0), "three")
            }
            _ => {
                cx.ordered_end(Position::new(3, 0));
                cx.publish("own", "made here")
            }
        }
    };
    let (mut shards, _) = shards(2, config, act_on);
    act(&mut shards, 0);
    let mut streams = [read(&mut shards, 0, None), read(&mut shards, 1, None)];
    act(&mut shards, 0);
    let got = streams.each_mut().map(|stream| stream.events());
    let names = |events: &[Event<'_>]| {
        let events = events.iter().filter(|event| event.data.is_some());
        events.map(|event| event.event.as_deref().unwrap_or_default().to_owned()).collect::<Vec<_>>()
    };
    assert_eq!((names(&got[0]), &got[0]), (vec!["".into(), "gap".into(), "".into()], &got[1]));
    // A client from elsewhere, with an id that the log has lost: it stops waiting when that id can no longer
    // come.
    let mut lost = read(&mut shards, 1, Some("9-0"));
    act(&mut shards, 0);
    act(&mut shards, 0);
    assert_eq!(names(&lost.events()), ["gap"]);
    // Two events with positions, two with ids of this server, and the next.
    let own = RawRequest::get("/topics/own").unwrap();
    let mut streams = [shards.servers()[0].ask(own.clone()), shards.servers()[1].ask(own)];
    act(&mut shards, 0);
    for stream in &mut streams {
        let (text, id) = data(stream).remove(0);
        assert!(text == "made here" && id.as_ref().unwrap().ends_with("-5"), "{id:?}");
    }
}

#[test]
fn a_full_channel_is_an_error_on_the_thread_of_any_loop() {
    let kept = Arc::<Mutex<Option<EventSender>>>::default();
    let app = |_| {
        let (mut app, kept) = (Router::new(), Arc::clone(&kept));
        app.sse("/", move |stream, _request, cx| {
            *kept.lock().unwrap() = Some(cx.channel(stream, 1)?);
            Ok::<_, Error>(())
        });
        app
    };
    let mut shards = Shards::bind("127.0.0.1:0", 2, app).unwrap();
    let (address, publisher) = (shards.local_addr().unwrap(), shards.publisher());
    let thread = thread::spawn(move || shards.run());
    let mut client = Client::connect(address);
    client.get("/");
    let sender = kept.lock().unwrap().take().unwrap();
    // More than all buffers between the two hold, as neither reads.
    let results = publisher.ask_all(move |_cx| {
        let data = "x".repeat(10_000);
        (0..10_000).find_map(|_| sender.send(data.as_str()).err())
    });
    assert_eq!(results.unwrap(), [Some(Error::Full), Some(Error::Full)]);
    publisher.run(|cx| cx.stop()).unwrap();
    thread.join().unwrap().unwrap();
}
