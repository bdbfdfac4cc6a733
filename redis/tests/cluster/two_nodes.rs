//! What two nodes have in common.

use crate::support::{Crowd, Heard, Load, Node, RedisServer, until};
use crate::{crowd, finish, more, topics, warm_up};
use mio_sse::Position;

#[test]
fn both_have_the_same_events_in_the_same_order_with_the_same_ids() {
    let redis = RedisServer::start();
    let nodes = [Node::start(&redis.url(), 1000), Node::start(&redis.url(), 1000)];
    let mut crowd = Crowd::new(&[]);
    for node in &nodes {
        crowd.join(node.address, &["a"]);
        crowd.join(node.address, &["a", "b"]);
    }
    crowd.until_open();
    let mut told: Vec<(Position, String)> = Vec::new();
    for (number, topics) in ["a", "b", "a,b", "a", "a,b"].iter().cycle().take(100).enumerate() {
        let data = format!("e{number} {topics}");
        let answer = nodes[number % 2].publish(topics, &data);
        assert_eq!(answer.status, 200, "{answer:?}");
        told.push((answer.body.trim().parse().unwrap(), data));
    }
    assert!(told.is_sorted(), "each was published after the one before was there");
    crowd.until_all_have("e99");
    for (index, listener) in crowd.listeners.iter().enumerate() {
        let of_a = |data: &str| data.split(' ').nth(1).unwrap().contains('a');
        let due = told.iter().filter(|(_, data)| index % 2 == 1 || of_a(data));
        let due: Vec<_> = due.map(|(position, data)| (*position, &**data)).collect();
        assert_eq!(listener.events().collect::<Vec<_>>(), due, "client {index}");
    }
    let entries: Vec<(String, Vec<String>)> = redis.ask("XRANGE events - +");
    let entries: Vec<Position> = entries.iter().map(|(id, _)| id.parse().unwrap()).collect();
    assert_eq!(entries, told.iter().map(|(position, _)| *position).collect::<Vec<_>>());
}

#[test]
fn other_programs_publish_with_one_command() {
    let redis = RedisServer::start();
    let node = Node::start(&redis.url(), 1000);
    let mut crowd = Crowd::new(&[]);
    crowd.join(node.address, &["news"]);
    crowd.until_open();
    let id: String = redis.ask("XADD events * topic news data hello");
    crowd.until_all_have("hello");
    assert_eq!(crowd.listeners[0].events().next(), Some((id.parse().unwrap(), "hello")));
    // An entry that is not an event does no harm.
    let _: String = redis.ask("XADD events * nothing here");
    let _: String = redis.ask("XADD events * topic news retry soon");
    let _: String = redis.ask("XADD events * topic news data again");
    crowd.until_all_have("again");
    assert_eq!(crowd.count(|heard| *heard == Heard::Gap), 0);
}

#[test]
fn a_node_that_starts_later_has_the_history() {
    let redis = RedisServer::start();
    let first = Node::start(&redis.url(), 1000);
    let topics = topics(3);
    let mut crowd = crowd(&[&first], &topics, 6);
    let load = Load::start(&[first.address], &topics, 500);
    more(&mut crowd, &load, 50);
    // They have an old id, and receive nothing for a while.
    let away: Vec<_> = (0..3).map(|_| crowd.leave()).collect();
    more(&mut crowd, &load, 300);
    let second = Node::start(&redis.url(), 1000);
    for listener in away {
        crowd.come_back(listener, second.address);
    }
    more(&mut crowd, &load, 50);
    let (tally, _) = finish(crowd, load, &first, &topics);
    assert_eq!(tally.gaps, 0);
}

#[test]
fn a_client_that_resumes_before_the_history_gets_a_gap() {
    let redis = RedisServer::start();
    let nodes = [Node::start(&redis.url(), 100), Node::start(&redis.url(), 100)];
    let topics = topics(1);
    let mut crowd = crowd(&[&nodes[0]], &topics, 2);
    let load = Load::start(&[nodes[0].address], &topics, 1000);
    more(&mut crowd, &load, 50);
    let away = crowd.leave();
    // `MAXLEN ~` keeps more entries than it says. By then these are gone, too.
    more(&mut crowd, &load, 1000);
    crowd.come_back(away, nodes[1].address);
    more(&mut crowd, &load, 50);
    let (tally, crowd) = finish(crowd, load, &nodes[0], &topics);
    assert!(tally.missed > 0);
    assert_eq!((crowd.listeners[0].gaps(), crowd.listeners[1].gaps()), (0, 1));
}

#[test]
fn an_id_that_never_was_is_a_gap_and_no_stall() {
    let redis = RedisServer::start();
    let node = Node::start(&redis.url(), 100);
    warm_up(&[&node]);
    let mut crowd = Crowd::new(&[]);
    crowd.join(node.address, &["t0"]);
    crowd.listeners[0].claim("99999999999999-7");
    crowd.until("a gap", |crowd| crowd.listeners[0].gaps() == 1);
    assert_eq!(node.publish("t0", "e1 t0").status, 200);
    crowd.until_all_have("e1");
    until("the gap in the node's figures", || node.metric("mio_sse_gaps_total") == 1);
}
