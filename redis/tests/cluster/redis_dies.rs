//! Redis loses nothing, some entries, or all: clients have the events they were entitled to, or a gap.

use crate::support::{Crowd, Load, Mode, Node, Proxy, RedisServer, ms};
use crate::{crowd, cut_off, finish, more, topics};

const RATE: u32 = 400;

/// Two nodes of `url`, with ten clients and publishers at each.
struct Scene {
    nodes: [Node; 2],
    topics: Vec<String>,
    crowd: Crowd,
    load: Load,
}

impl Scene {
    fn new(url: &str) -> Self {
        let nodes = [Node::start(url, 5000), Node::start(url, 5000)];
        let topics = topics(5);
        let mut crowd = crowd(&[&nodes[0], &nodes[1]], &topics, 20);
        let load = Load::start(&[nodes[0].address, nodes[1].address], &topics, RATE);
        more(&mut crowd, &load, 200);
        Self { nodes, topics, crowd, load }
    }

    /// Publishing continues, and half of the clients move to the other node.
    fn go_on(&mut self) {
        more(&mut self.crowd, &self.load, 100);
        for index in 0..10 {
            let other = &self.nodes[1 - index % 2];
            self.crowd.move_to(index, other.address);
        }
        more(&mut self.crowd, &self.load, 100);
    }

    /// All clients got a gap, and their streams stayed open.
    fn all_are_told(self) {
        let (tally, crowd) = finish(self.crowd, self.load, &self.nodes[1], &self.topics);
        assert_eq!(cut_off(&crowd), 0);
        let not_told = crowd.listeners.iter().filter(|one| one.gaps() == 0).count();
        assert_eq!(not_told, 0, "{tally:?}");
    }
}

#[test]
fn redis_killed_with_aof_loses_nothing() {
    let mut redis = RedisServer::with_aof();
    let mut scene = Scene::new(&redis.url());
    for _ in 0..2 {
        redis.kill();
        scene.crowd.run(ms(300));
        redis.restart();
        scene.go_on();
    }
    let (tally, crowd) = finish(scene.crowd, scene.load, &scene.nodes[0], &scene.topics);
    assert_eq!((tally.gaps, tally.missed, cut_off(&crowd)), (0, 0, 0));
}

#[test]
fn redis_killed_without_a_file_is_a_gap_for_all() {
    let mut redis = RedisServer::start();
    let mut scene = Scene::new(&redis.url());
    redis.kill();
    scene.crowd.run(ms(300));
    redis.restart();
    scene.go_on();
    scene.all_are_told();
}

#[test]
fn redis_killed_with_an_old_snapshot_is_a_gap_for_all() {
    let mut redis = RedisServer::start();
    let mut scene = Scene::new(&redis.url());
    let _: () = redis.ask("SAVE");
    more(&mut scene.crowd, &scene.load, 100);
    redis.kill();
    redis.restart();
    scene.go_on();
    scene.all_are_told();
}

#[test]
fn redis_emptied_under_load_is_a_gap_for_all() {
    for command in ["FLUSHALL", "DEL events"] {
        let redis = RedisServer::start();
        let mut scene = Scene::new(&redis.url());
        let _: redis::Value = redis.ask(command);
        scene.go_on();
        scene.all_are_told();
    }
}

#[test]
fn redis_emptied_while_idle_is_a_gap_for_all() {
    let redis = RedisServer::start();
    let nodes = [Node::start(&redis.url(), 100), Node::start(&redis.url(), 100)];
    let topics = topics(2);
    let mut crowd = crowd(&[&nodes[0], &nodes[1]], &topics, 4);
    crowd.settle(&nodes[0], &topics);
    let _: redis::Value = redis.ask("DEL events");
    crowd.until("gaps", |crowd| crowd.listeners.iter().all(|one| one.gaps() > 0));
    // New ids are above those that clients have.
    crowd.settle(&nodes[1], &topics);
    for listener in &crowd.listeners {
        assert!(listener.events().map(|(position, _)| position).is_sorted());
    }
}

#[test]
fn a_replica_that_takes_over_without_the_tail_is_a_gap() {
    let first = RedisServer::start();
    let between = Proxy::before(&first);
    let replica = RedisServer::replica_of(&between);
    let proxy = Proxy::before(&first);
    let mut scene = Scene::new(&proxy.url());
    // Events that are published now do not reach the replica.
    between.set(Mode::Hold);
    more(&mut scene.crowd, &scene.load, 100);
    drop(first);
    let _: () = replica.ask("REPLICAOF NO ONE");
    proxy.lead_to(&replica);
    scene.go_on();
    scene.all_are_told();
}
