//! A bad network between a node and Redis.

use crate::support::{Load, Mode, Node, Proxy, RedisServer, ms, now};
use crate::{crowd, cut_off, finish, more, topics};
use std::time::Duration;

#[test]
fn delays_cuts_and_single_bytes_lose_nothing() {
    let redis = RedisServer::start();
    let proxy = Proxy::before(&redis);
    let (far, near) = (Node::start(&proxy.url(), 5000), Node::start(&redis.url(), 5000));
    let topics = topics(5);
    let mut crowd = crowd(&[&far, &near], &topics, 20);
    let load = Load::start(&[far.address, near.address], &topics, 100);
    more(&mut crowd, &load, 20);
    for mode in [Mode::Delay(ms(50)), Mode::Trickle, Mode::Cut(1000)] {
        proxy.set(mode);
        for _ in 0..10 {
            let (listener, node) = (fastrand::usize(..20), if fastrand::bool() { &far } else { &near });
            crowd.move_to(listener, node.address);
            crowd.run(ms(150));
        }
        proxy.set(Mode::Pass);
        // The node recovers from every mode.
        crowd.settle(&far, &topics);
    }
    let (tally, crowd) = finish(crowd, load, &far, &topics);
    assert_eq!((tally.gaps, tally.missed, cut_off(&crowd)), (0, 0, 0));
}

/// Default timeout of publishing, with a margin for a busy machine.
const BOUND: Duration = Duration::from_secs(5 + 10);

/// While Redis cannot be reached, streams stay open and publishing fails in time.
fn unreachable(mode: Mode) {
    let redis = RedisServer::start();
    let proxy = Proxy::before(&redis);
    let (cut, other) = (Node::start(&proxy.url(), 5000), Node::start(&redis.url(), 5000));
    let topics = topics(1);
    let mut crowd = crowd(&[&cut, &other], &topics, 4);
    assert_eq!(cut.publish("t0", "before t0").status, 200);
    crowd.until_all_have("before");
    proxy.set(mode);
    if mode == Mode::Refuse {
        proxy.cut();
    }
    let start = now();
    let answer = cut.publish("t0", "lost t0");
    assert!(start.elapsed() < BOUND, "{:?}", start.elapsed());
    assert!(matches!(answer.status, 503 | 504), "{answer:?}");
    // The rest of the node works, and the other node is not affected.
    assert_eq!(cut.get("/stats").status, 200);
    assert_eq!(other.publish("t0", "meanwhile t0").status, 200);
    crowd.run(ms(200));
    assert!(!crowd.listeners[0].has("meanwhile") && crowd.listeners[1].has("meanwhile"));
    proxy.set(Mode::Pass);
    crowd.until_all_have("meanwhile");
    crowd.settle(&cut, &topics);
    assert_eq!((cut_off(&crowd), crowd.listeners[0].gaps()), (0, 0));
}

#[test]
fn nodes_recover_when_redis_refused_connections() {
    unreachable(Mode::Refuse);
}

#[test]
fn nodes_recover_when_redis_was_silent() {
    unreachable(Mode::Hold);
}
