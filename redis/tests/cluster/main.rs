//! Nodes and clients over a real redis-server, which are killed, stopped and disconnected. That needs unix
//! sockets and signals.
#![cfg(unix)]

#[path = "../support/mod.rs"]
mod support;

mod example;
mod harness;
mod in_process;
mod network;
mod nodes_die;
mod redis_dies;
mod two_nodes;
mod ways_in;
mod whole_lives;

use support::{Crowd, Heard, Load, Node, Tally, Truth};

/// The names of `count` topics.
fn topics(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("t{number}")).collect()
}

/// Waits until all nodes have read an entry. Before that no id is known, so a client that resumes gets a gap.
fn warm_up(nodes: &[&Node]) {
    let mut crowd = Crowd::new(&[]);
    for node in nodes {
        crowd.join(node.address, &["first"]);
    }
    crowd.until_open();
    assert_eq!(nodes[0].publish("first", "first first").status, 200);
    crowd.until_all_have("first");
}

/// Connects `count` clients to the nodes in turn. Each reads two of the topics.
fn crowd(nodes: &[&Node], topics: &[String], count: usize) -> Crowd {
    warm_up(nodes);
    let addresses: Vec<_> = nodes.iter().map(|node| node.address).collect();
    let mut crowd = Crowd::new(&addresses);
    for index in 0..count {
        let first = index % topics.len();
        let second = (first + 1 + index / topics.len()) % topics.len();
        let mut reads = vec![&*topics[first], &*topics[second]];
        reads.dedup();
        crowd.join(addresses[index % addresses.len()], &reads);
    }
    crowd.until_open();
    crowd
}

/// Waits until `count` more events are published.
fn more(crowd: &mut Crowd, load: &Load, count: u64) {
    let enough = load.accepted() + count;
    crowd.until("events to be published", |_| load.accepted() >= enough);
}

/// Stops publishing, lets everything arrive, and checks that each client has the events it was entitled to.
fn finish(mut crowd: Crowd, load: Load, node: &Node, topics: &[String]) -> (Tally, Crowd) {
    let mut published = load.finish();
    published.push(crowd.settle(node, topics));
    let truth = Truth::new(&published, &crowd);
    let tally = truth.check(&crowd).unwrap_or_else(|wrong| panic!("{wrong}"));
    println!(
        "{} events, {} given, {} gaps of {} events",
        truth.len(),
        tally.events,
        tally.gaps,
        tally.missed
    );
    (tally, crowd)
}

/// Number of streams that were closed or refused.
fn cut_off(crowd: &Crowd) -> usize {
    crowd.count(|heard| *heard == Heard::CutOff)
}
