//! Connections above the limits: some get a place for one request, the rest are closed, and no open
//! connection has to leave.

use crate::memory_net::{Loop, Peer, check_accounts, get, subscribe};
use crate::support::{parse, replies};
use mio_sse::{App, CloseReason, Config, Event, Refusal, Reply, Router};
use std::io::ErrorKind;
use std::net::IpAddr;
use std::time::Duration;

/// Pause between two attempts without descriptors.
const RETRY: Duration = Duration::from_millis(50);

fn app() -> Router {
    let mut app = Router::new();
    app.get("/page", |_request, _cx| Reply::text("page"));
    app.get("/stream", |_request, _cx| {
        Reply::stream().topic("t").header("Access-Control-Allow-Origin", "https://example.org")
    });
    app
}

fn config(connections_max: usize) -> Config {
    let mut config = Config::default();
    config.connections_max = connections_max;
    config
}

/// A network whose connections arrive together with their requests.
fn deferred() -> Config {
    let mut config = Config::default();
    config.tcp_defer_accept = Some(Duration::from_secs(60));
    config
}

fn per_address(limit: usize) -> Config {
    let mut config = Config::default();
    config.connections_per_address_max = Some(limit);
    config
}

/// Peers that have opened a stream each.
fn streams<H: App>(world: &mut Loop<H>, count: usize) -> Vec<Peer> {
    let peers: Vec<_> = (0..count).map(|_| world.connect()).collect();
    peers.iter().for_each(|peer| peer.write(subscribe("/stream")));
    world.settle();
    for peer in &peers {
        assert!(peer.read().contains("Transfer-Encoding: chunked"));
    }
    peers
}

fn ask<H: App>(world: &mut Loop<H>, peer: &Peer, request: &str) -> String {
    peer.write(request);
    world.settle();
    peer.read()
}

/// Publishes an event, and checks that it reaches all of `peers`.
fn reaches<H: App>(world: &mut Loop<H>, peers: &[Peer]) {
    world.server.context().publish("t", Event::new().data("to all")).unwrap();
    world.settle();
    for peer in peers {
        assert!(peer.read().contains("data: to all"), "no open stream has to close");
    }
}

fn leave<H: App>(world: &mut Loop<H>, peers: &[Peer]) {
    peers.iter().for_each(Peer::close);
    world.settle();
    assert!(peers.iter().all(Peer::is_closed));
}

fn is_refused_softly(answer: &str) -> bool {
    answer.starts_with("HTTP/1.1 200 OK\r\n")
        && answer.contains("\r\nContent-Type: text/event-stream\r\n")
        && answer.contains("\r\nContent-Length: ")
        && answer.contains("\r\nConnection: close\r\n")
        && answer.contains("\r\n\r\nretry: ")
}

#[test]
fn a_deferred_connection_is_served_in_the_turn_that_accepts_it() {
    let mut world: Loop<_> = Loop::with_config(app(), deferred());
    let peer = world.connect();
    peer.write(get("/page"));
    world.turn();
    assert_eq!(replies(&peer.read()), [(200, "page".into())]);
    assert_eq!(peer.reads(), 1);
    // Input that comes later, in pieces, is read as usual.
    let late = world.connect();
    world.turn();
    let request = get("/page");
    late.write(&request[..5]);
    world.settle();
    late.write(&request[5..]);
    world.settle();
    assert_eq!(replies(&late.read()), [(200, "page".into())]);
}

#[test]
fn a_crowd_with_requests_shares_the_turns() {
    let mut config = deferred();
    config.requests_per_turn = 10;
    let mut world: Loop<_> = Loop::with_config(app(), config);
    let peers: Vec<_> = (0..25).map(|_| world.connect()).collect();
    peers.iter().for_each(|peer| peer.write(get("/page")));
    let in_each_turn = [(); 4].map(|()| {
        world.turn();
        peers.iter().filter(|peer| !peer.writes().is_empty()).count()
    });
    assert_eq!(in_each_turn, [10, 10, 5, 0]);
}

#[test]
fn one_too_many_stays_one_also_where_it_has_to_wait_for_room() {
    let mut world = Loop::with_config(app(), config(1));
    let there = streams(&mut world, 1);
    let surplus = world.connect();
    surplus.set_room(10);
    surplus.write("POST /page HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 2\r\n\r\n");
    world.settle();
    assert_eq!(surplus.read(), "HTTP/1.1 1", "the word that the body is wanted does not fit");
    surplus.set_room(usize::MAX);
    world.settle();
    let answer = ask(&mut world, &surplus, "ok");
    assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
    assert!(surplus.is_shut());
    leave(&mut world, &[surplus]);
    assert_eq!(world.server.stats().connections_closed(CloseReason::Refused), 1);
    reaches(&mut world, &there);
}

#[test]
fn a_few_too_many_get_one_page_each_and_the_rest_is_closed_at_once() {
    let mut world = Loop::with_config(app(), config(2));
    let there = streams(&mut world, 2);
    let surplus: Vec<_> = (0..8).map(|_| world.connect()).collect();
    let beyond: Vec<_> = (0..3).map(|_| world.connect()).collect();
    world.settle();
    let stats = world.server.stats();
    assert_eq!((stats.connections, stats.accepted), (10, 13));
    assert_eq!(stats.refused(Refusal::Connections), 11);
    assert_eq!(stats.connections_closed(CloseReason::Refused), 3);
    check_accounts(&stats);
    for peer in &beyond {
        assert!(peer.is_closed());
        assert_eq!(peer.read(), "");
    }
    for peer in &surplus {
        let answer = ask(&mut world, peer, &get("/page"));
        assert!(answer.contains("\r\nConnection: close\r\n"), "{answer}");
        assert_eq!(replies(&answer), [(200, "page".to_owned())]);
        assert!(peer.is_shut());
    }
    leave(&mut world, &surplus);
    let stats = world.server.stats();
    assert_eq!(stats.connections_closed(CloseReason::Refused), 11);
    assert_eq!((stats.connections, stats.requests), (2, 10));
    check_accounts(&stats);
    reaches(&mut world, &there);
}

#[test]
fn connections_accepted_above_the_limit_are_a_sixteenth_of_it_within_bounds() {
    for (limit, surplus) in [(1, 8), (128, 8), (160, 10), (16_000, 1000), (20_000, 1024)] {
        let mut config = config(limit);
        config.accepts_per_turn = usize::MAX;
        let mut world: Loop<_> = Loop::with_config(app(), config);
        let peers: Vec<_> = (0..limit + surplus + 2).map(|_| world.connect()).collect();
        world.settle();
        assert_eq!(world.server.stats().connections, (limit + surplus) as u64);
        assert_eq!(peers.iter().filter(|peer| peer.is_closed()).count(), 2);
        assert!(peers[limit + surplus].is_closed(), "the last client is refused, not an older one");
    }
}

#[test]
fn a_stream_is_refused_on_a_connection_too_many_and_counted_once() {
    let mut world = Loop::with_config(app(), config(1));
    let there = streams(&mut world, 1);
    let peer = world.connect();
    let answer = ask(&mut world, &peer, &subscribe("/stream"));
    assert!(is_refused_softly(&answer), "{answer}");
    assert!(answer.contains("\r\nAccess-Control-Allow-Origin: https://example.org\r\n"), "{answer}");
    assert!(parse(answer.split_once("\r\n\r\n").unwrap().1.as_bytes()).is_empty());
    assert!(peer.is_shut());
    let plain = world.connect();
    let answer = ask(&mut world, &plain, &get("/stream"));
    assert!(answer.starts_with("HTTP/1.1 503 "), "{answer}");
    let stats = world.server.stats();
    assert_eq!((stats.refused(Refusal::Connections), stats.refused(Refusal::Streams)), (2, 0));
    assert_eq!((stats.streams, stats.streams_opened, stats.topics), (1, 1, 1));
    reaches(&mut world, &there);
}

#[test]
fn only_the_first_request_on_a_connection_above_the_limit_is_served() {
    let mut world = Loop::with_config(app(), config(1));
    streams(&mut world, 1);
    for (first, second) in [("/page", "/stream"), ("/stream", "/page"), ("/page", "/page")] {
        let peer = world.connect();
        let answer = ask(&mut world, &peer, &(subscribe(first) + &subscribe(second)));
        assert_eq!(replies(&answer).len(), 1, "{answer}");
        assert!(peer.is_shut());
        leave(&mut world, &[peer]);
    }
    assert_eq!(world.server.stats().requests, 4);
    check_accounts(&world.server.stats());
}

#[test]
fn a_connection_too_many_has_two_seconds_however_its_bytes_drip() {
    for bytes in ["", "GET /page HTTP/1.1\r\n"] {
        let mut world = Loop::with_config(app(), config(1));
        let there = streams(&mut world, 1);
        let peer = world.connect();
        world.settle();
        let mut drip = bytes.bytes();
        let begun = world.now();
        while !peer.is_shut() && !peer.is_closed() {
            if let Some(byte) = drip.next() {
                peer.write([byte]);
            }
            world.pass(Duration::from_millis(100));
            assert!(world.now() - begun <= Duration::from_secs(4), "its place is needed");
        }
        assert!(world.now() - begun >= Duration::from_secs(2), "{bytes:?}");
        let answer = peer.read();
        assert_eq!(answer.starts_with("HTTP/1.1 408 "), !bytes.is_empty(), "{answer}");
        leave(&mut world, &[peer]);
        assert_eq!(world.server.stats().connections_closed(CloseReason::HeadTimeout), 1);
        check_accounts(&world.server.stats());
        reaches(&mut world, &there);
    }
}

#[test]
fn a_place_that_becomes_free_is_for_the_next_client() {
    let mut world = Loop::with_config(app(), config(2));
    for _ in 0..20 {
        let there = streams(&mut world, 2);
        let surplus = world.connect();
        leave(&mut world, &there);
        // It was accepted only to be refused, and it is, even if there is room by now.
        let answer = ask(&mut world, &surplus, &subscribe("/stream"));
        assert!(is_refused_softly(&answer), "{answer}");
        leave(&mut world, &[surplus]);
    }
    let stats = world.server.stats();
    assert_eq!((stats.connections, stats.streams_opened), (0, 40));
    assert_eq!(stats.refused(Refusal::Connections), 20);
    check_accounts(&stats);
}

/// Connects peers from `addresses`. Returns which of them are served as if there was no limit.
fn served<H: App>(world: &mut Loop<H>, addresses: &[&str]) -> (Vec<Peer>, Vec<bool>) {
    let mut peers = Vec::new();
    let mut served = Vec::new();
    for address in addresses {
        let peer = world.connect_from(address.parse().unwrap());
        let answer = ask(world, &peer, &subscribe("/stream"));
        served.push(answer.contains("Transfer-Encoding: chunked"));
        assert!(served[served.len() - 1] || is_refused_softly(&answer), "{answer}");
        peers.push(peer);
    }
    (peers, served)
}

#[test]
fn an_address_has_so_many_connections_whatever_others_have() {
    let mut world = Loop::with_config(app(), per_address(2));
    let addresses = ["192.0.2.1", "192.0.2.1", "192.0.2.1", "192.0.2.2", "::ffff:192.0.2.2", "192.0.2.2"];
    let (peers, let_in) = served(&mut world, &addresses);
    assert_eq!(let_in, [true, true, false, true, true, false]);
    let stats = world.server.stats();
    assert_eq!(stats.refused(Refusal::ConnectionsPerAddress), 2);
    assert_eq!(stats.refused(Refusal::Connections), 0);
    let there: Vec<_> = [0, 1, 3, 4].map(|n: usize| peers[n].again()).into();
    reaches(&mut world, &there);
    check_accounts(&world.server.stats());
}

#[test]
fn a_network_of_ipv6_is_one_address() {
    let mut world = Loop::with_config(app(), per_address(2));
    let addresses = ["2001:db8::1", "2001:db8::ffff:2", "2001:db8:0:0:8000::", "2001:db8:0:1::1"];
    let (_peers, let_in) = served(&mut world, &addresses);
    assert_eq!(let_in, [true, true, false, true]);
}

#[test]
fn a_client_that_leaves_makes_room_for_another_of_its_address() {
    let mut world = Loop::with_config(app(), per_address(1));
    for round in 0..5 {
        let (peers, let_in) = served(&mut world, &["192.0.2.1", "192.0.2.1"]);
        assert_eq!(let_in, [true, false], "{round}");
        if round % 2 == 0 {
            peers[0].reset();
        }
        leave(&mut world, &peers);
    }
    assert_eq!(world.server.stats().connections, 0);
}

#[test]
fn above_the_limit_of_an_address_a_few_get_a_reply_and_the_rest_are_closed_at_once() {
    let mut world = Loop::with_config(app(), per_address(1));
    let address: IpAddr = "192.0.2.1".parse().unwrap();
    let peers: Vec<_> = (0..12).map(|_| world.connect_from(address)).collect();
    world.settle();
    assert_eq!(peers.iter().filter(|peer| peer.is_closed()).count(), 3);
    assert_eq!(world.server.stats().refused(Refusal::ConnectionsPerAddress), 11);
    let other = world.connect();
    let answer = ask(&mut world, &other, &get("/page"));
    assert!(!answer.contains("Connection: close"), "others are not concerned: {answer}");
}

#[test]
fn without_a_limit_an_address_has_any_number_of_connections() {
    let mut world = Loop::with_config(app(), Config::default());
    let peers = streams(&mut world, 300);
    reaches(&mut world, &peers);
    assert_eq!(world.server.stats().refused(Refusal::ConnectionsPerAddress), 0);
}

#[test]
fn without_descriptors_clients_get_a_refusal_from_the_first_connection_on() {
    let mut world = Loop::new(app());
    // Eight descriptors are held in reserve.
    world.set_descriptors(12);
    let there = streams(&mut world, 4);
    let refused: Vec<_> = (0..8).map(|_| world.connect()).collect();
    refused.iter().for_each(|peer| peer.write(subscribe("/stream")));
    world.pass(RETRY);
    for peer in &refused {
        let answer = peer.read();
        assert!(is_refused_softly(&answer), "{answer:?}");
    }
    let stats = world.server.stats();
    assert_eq!((stats.refused(Refusal::Descriptors), stats.streams), (8, 4));
    reaches(&mut world, &there);
}

#[test]
fn without_descriptors_the_loop_waits_and_does_not_spin() {
    let mut world = Loop::new(app());
    world.set_descriptors(12);
    let there = streams(&mut world, 4);
    // None of these sends anything, so after the reserve nothing is left.
    let waiting: Vec<_> = (0..20).map(|_| world.connect()).collect();
    world.settle();
    let (turns, accepts) = (world.server.stats().turns, world.accepts());
    world.pass(Duration::from_secs(1));
    assert!((world.accepts() - accepts) <= 25, "{} tries in a second", world.accepts() - accepts);
    assert!(world.server.stats().turns - turns < 100);
    assert!(world.server.stats().accept_errors >= 15);
    reaches(&mut world, &there);

    // Connections that were accepted only to be refused time out, and others get their places.
    waiting.iter().for_each(|peer| peer.write(get("/page")));
    waiting.iter().for_each(Peer::close);
    world.pass(Duration::from_secs(1));
    assert!(waiting.iter().all(Peer::is_closed));
    let answered = waiting.iter().filter(|peer| peer.read().contains("page")).count();
    assert_eq!(answered, 20);
    assert_eq!(world.server.stats().connections, 4);
    check_accounts(&world.server.stats());

    // After the open streams have left, everything is as at the beginning.
    leave(&mut world, &there);
    let again = streams(&mut world, 4);
    reaches(&mut world, &again);
    let one_more = world.connect();
    let answer = ask(&mut world, &one_more, &subscribe("/stream"));
    assert!(is_refused_softly(&answer), "the reserve is there again: {answer}");
}

#[test]
fn an_accept_that_fails_for_another_want_leaves_the_reserve_alone() {
    for kind in [ErrorKind::OutOfMemory, ErrorKind::Other, ErrorKind::InvalidInput] {
        let mut world = Loop::new(app());
        world.set_descriptors(12);
        let there = streams(&mut world, 3);
        // It fails even after a reserve descriptor was freed.
        world.fail_accept(kind);
        world.fail_accept(kind);
        let late = world.connect();
        late.write(subscribe("/stream"));
        world.settle();
        assert_eq!(late.read(), "", "not before the delay");
        assert_eq!(world.server.stats().accept_errors, 1);
        world.pass(RETRY);
        assert!(late.read().contains("Transfer-Encoding: chunked"), "{kind:?}");
        reaches(&mut world, &there);
        let refused = world.connect();
        let answer = ask(&mut world, &refused, &subscribe("/stream"));
        assert!(is_refused_softly(&answer), "the reserve is whole: {answer}");
    }
}

#[test]
fn an_accept_error_of_one_connection_does_not_hold_up_the_others() {
    let mut world = Loop::new(app());
    for kind in [
        ErrorKind::ConnectionAborted,
        ErrorKind::ConnectionReset,
        ErrorKind::Interrupted,
        ErrorKind::NetworkDown,
        ErrorKind::NetworkUnreachable,
        ErrorKind::HostUnreachable,
        ErrorKind::PermissionDenied,
    ] {
        for _ in 0..3 {
            world.fail_accept(kind);
        }
        let peer = world.connect();
        assert_eq!(replies(&ask(&mut world, &peer, &get("/page"))), [(200, "page".to_owned())], "{kind:?}");
    }
    assert_eq!(world.server.stats().accept_errors, 0);
}
