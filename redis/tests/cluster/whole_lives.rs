//! Clients that move between nodes all the time, under load.

use crate::support::{Load, Node, RedisServer, now};
use crate::{crowd, cut_off, finish, topics};
use std::time::Duration;

const TIME: Duration = Duration::from_secs(30);
const RATE: u32 = 2000;
const CLIENTS: usize = 200;

#[test]
fn clients_that_move_all_the_time_have_every_event_once_and_in_order() {
    let redis = RedisServer::start();
    // One of the nodes runs several loops.
    let nodes = [Node::start(&redis.url(), 20_000), Node::start_in(2, &redis.url(), 20_000)];
    let topics = topics(50);
    let mut crowd = crowd(&[&nodes[0], &nodes[1]], &topics, CLIENTS);
    let load = Load::start(&[nodes[0].address, nodes[1].address], &topics, RATE);
    let (end, mut moves) = (now() + TIME, 0);
    while now() < end {
        crowd.turn();
        // Each client moves about three times a second.
        if fastrand::u8(..4) == 0 {
            let (listener, node) = (fastrand::usize(..CLIENTS), fastrand::usize(..2));
            crowd.move_to(listener, nodes[node].address);
            moves += 1;
        }
    }
    let accepted = load.accepted();
    let (tally, crowd) = finish(crowd, load, &nodes[0], &topics);
    println!("{moves} moves, {accepted} published");
    assert_eq!((tally.gaps, tally.missed, cut_off(&crowd)), (0, 0, 0));
    // An idle machine reaches far more: 2,000 events a second, and some 20,000 moves.
    assert!(moves > 500 && accepted > 10_000, "{moves}, {accepted}");
}
