//! Tests of the tests' own tools: without these, a passing test proves nothing.

use crate::support::{Mode, Proxy, RedisServer, ms, now};
use redis::{Client, Commands, Connection};

fn through(proxy: &Proxy) -> Connection {
    let connection = Client::open(proxy.url()).unwrap().get_connection().unwrap();
    connection.set_read_timeout(Some(ms(300))).unwrap();
    connection
}

#[test]
fn a_restart_brings_back_saved_entries() {
    for (mut server, kept) in [(RedisServer::start(), None), (RedisServer::with_aof(), Some("x".to_owned()))]
    {
        let _: () = server.ask("SET k x");
        server.restart();
        assert_eq!(server.connect().get::<_, Option<String>>("k").unwrap(), kept);
    }
}

#[test]
fn a_paused_server_is_silent_until_it_is_resumed() {
    let server = RedisServer::start();
    let mut connection = server.connect();
    connection.set_read_timeout(Some(ms(300))).unwrap();
    server.process().pause();
    assert!(redis::cmd("PING").exec(&mut connection).is_err());
    server.process().resume();
    assert_eq!(server.ask::<String>("PING"), "PONG");
}

#[test]
fn a_replica_lacks_the_tail_that_did_not_pass() {
    let first = RedisServer::start();
    let between = Proxy::before(&first);
    let _: () = first.ask("SET k before");
    let replica = RedisServer::replica_of(&between);
    assert_eq!(replica.ask::<String>("GET k"), "before");
    between.set(Mode::Hold);
    let _: () = first.ask("SET k after");
    let _: () = replica.ask("REPLICAOF NO ONE");
    assert_eq!(replica.ask::<String>("GET k"), "before");
}

#[test]
fn the_proxy_does_what_its_mode_says() {
    let server = RedisServer::start();
    let proxy = Proxy::before(&server);
    let mut connection = through(&proxy);
    let long = "x".repeat(5000);
    let _: () = connection.set("k", &long).unwrap();

    proxy.set(Mode::Trickle);
    assert_eq!(connection.get::<_, String>("k").unwrap(), long);
    proxy.set(Mode::Delay(ms(30)));
    let start = now();
    assert_eq!(connection.get::<_, String>("k").unwrap(), long);
    assert!(start.elapsed() >= ms(60), "there and back");

    // Shorter than the reply, so the connection is cut within the reply.
    proxy.set(Mode::Cut(4000));
    assert!(connection.get::<_, String>("k").is_err());
    proxy.set(Mode::Refuse);
    assert!(Client::open(proxy.url()).unwrap().get_connection().is_err());

    proxy.set(Mode::Pass);
    let mut connection = through(&proxy);
    proxy.set(Mode::Hold);
    assert!(connection.get::<_, String>("k").is_err(), "too late");
    let other = RedisServer::start();
    let _: () = other.ask("SET k other");
    proxy.lead_to(&other);
    proxy.set(Mode::Pass);
    assert_eq!(through(&proxy).get::<_, String>("k").unwrap(), "other");
}

mod truth {
    use crate::support::{Crowd, Heard, Outcome, Published, Tally, Truth};
    use mio_sse::Position;

    fn event(ms: u64) -> Heard {
        Heard::Event { id: Position::new(ms, 0), data: format!("e{ms} a,b") }
    }

    fn at(ms: u64) -> Heard {
        Heard::At(Position::new(ms, 0))
    }

    /// Checks what a client of topic `a` has received, if the events 1 to 9 were published.
    fn check(heard: &[Heard]) -> Option<Tally> {
        let publish = |ms: u64| Published {
            topics: "a,b".to_owned(),
            data: format!("e{ms} a,b"),
            outcome: Outcome::At(Position::new(ms, 0)),
        };
        let mut crowd = Crowd::new(&[]);
        crowd.join(([127, 0, 0, 1], 1).into(), &["a"]);
        crowd.listeners[0].heard = heard.to_vec();
        let truth = Truth::new(&(1..10).map(publish).collect::<Vec<_>>(), &crowd);
        truth.check(&crowd).ok()
    }

    #[test]
    fn a_client_has_all_events_or_a_gap() {
        let whole = [at(2), event(3), Heard::CutOff, Heard::Opened, at(3), event(4)];
        assert_eq!(check(&whole), Some(Tally { events: 2, gaps: 0, missed: 0 }));
        let with_gap = [at(2), event(3), Heard::Gap, event(6), event(7)];
        assert_eq!(check(&with_gap), Some(Tally { events: 3, gaps: 1, missed: 2 }));
        let with_id = [at(2), event(3), Heard::Gap, at(5), event(6)];
        assert_eq!(check(&with_id), Some(Tally { events: 2, gaps: 1, missed: 2 }));
    }

    #[test]
    fn a_loss_a_double_and_a_wrong_order_are_found() {
        let wrong: [&[Heard]; 7] = [
            &[at(2), event(4)],
            &[at(2), event(3), at(4), event(5)],
            &[at(2), Heard::Gap, event(4), event(6)],
            &[at(2), event(3), event(3)],
            &[at(2), event(3), event(4), at(3)],
            &[at(2), event(3), Heard::Gap, at(3), event(3)],
            &[at(2), event(3), Heard::Event { id: Position::new(4, 0), data: "other b".to_owned() }],
        ];
        for heard in wrong {
            assert_eq!(check(heard), None, "{heard:?}");
        }
    }
}
