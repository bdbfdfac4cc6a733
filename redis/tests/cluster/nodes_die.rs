//! Nodes that are killed, or paused for a while.

use crate::support::{Load, Node, RedisServer, ms};
use crate::{crowd, finish, more, topics};

#[test]
fn clients_of_a_killed_node_resume_at_the_other() {
    let redis = RedisServer::start();
    let (killed, other) = (Node::start(&redis.url(), 5000), Node::start(&redis.url(), 5000));
    let topics = topics(5);
    let mut crowd = crowd(&[&killed, &other], &topics, 20);
    let load = Load::start(&[killed.address, other.address], &topics, 500);
    more(&mut crowd, &load, 200);
    load.use_nodes(&[other.address]);
    crowd.nodes = vec![other.address];
    drop(killed);
    more(&mut crowd, &load, 200);
    assert!(crowd.listeners.iter().all(|one| one.node == other.address));
    let again = Node::start(&redis.url(), 5000);
    for index in 0..10 {
        crowd.move_to(index, again.address);
    }
    more(&mut crowd, &load, 200);
    let (tally, _) = finish(crowd, load, &again, &topics);
    assert_eq!((tally.gaps, tally.missed), (0, 0));
}

/// Pauses a node while others publish. Returns the number of gaps that its clients, and those of the other
/// node, received.
fn pause(history: usize, published_meanwhile: u64) -> [usize; 2] {
    let redis = RedisServer::start();
    let (paused, other) = (Node::start(&redis.url(), history), Node::start(&redis.url(), history));
    let topics = topics(1);
    let mut crowd = crowd(&[&paused, &other], &topics, 10);
    let load = Load::start(&[other.address], &topics, 1000);
    more(&mut crowd, &load, 100);
    paused.process.pause();
    more(&mut crowd, &load, published_meanwhile);
    paused.process.resume();
    crowd.run(ms(200));
    let (_, crowd) = finish(crowd, load, &paused, &topics);
    let gaps = |first: usize| crowd.listeners.iter().skip(first).step_by(2).map(|one| one.gaps()).sum();
    [gaps(0), gaps(1)]
}

#[test]
fn a_node_that_is_paused_for_a_while_misses_nothing() {
    assert_eq!(pause(10_000, 500), [0, 0]);
}

#[test]
fn a_node_that_is_paused_for_longer_than_the_stream_retains_has_a_gap() {
    // Redis retains ten times as many entries as a node.
    let [paused, _] = pause(100, 1500);
    assert!(paused >= 5, "{paused}");
}
