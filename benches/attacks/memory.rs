//! Attacks on the memory of the server.

use crate::turns::Attack;
use crate::world::{Found, World, bytes, get, post};
use mio_sse::Event;

/// Messages for the inbox. More would not fit into the memory of many machines.
const MESSAGES: usize = 64;

pub(crate) const ATTACKS: [Attack; 5] = [
    ("memory: one slow stream of 120 topics", |_streams| many_topics()),
    ("memory: 23 MB published during a wave", |_streams| publishing()),
    ("memory: 64 messages of 16 MiB in the inbox", |_streams| inbox()),
    ("memory: 2,000 streams send 16 KB", |_streams| talkative()),
    ("memory: 500 bodies, half sent", |_streams| bodies()),
];

fn many_topics() -> Found {
    let topics: Vec<_> = (0..120).map(|topic| format!("t{topic}")).collect();
    let mut world = World::with_streams(1, &format!("/live/{}", topics.join("+")), |_config| {});
    let peer = world.peers[0];
    world.server.net().set_room(peer, 0);
    world.begin();
    for _ in 0..16 {
        for topic in &topics {
            let event = Event::new().data("x".repeat(60_000));
            world.call(|cx| cx.publish(topic, event)).expect("an event that can be written");
        }
        world.settle();
    }
    world.end()
}

fn publishing() -> Found {
    let mut world = World::with_streams(400, "/live/a", |config| config.sends_per_turn = 1);
    let publisher = world.server.net().connect(&bytes(""), false);
    let post = bytes(&post(&"x".repeat(60_000)));
    world.begin();
    for _ in 0..390 {
        world.server.net().send(publisher, &post);
        world.turn();
    }
    world.end()
}

fn inbox() -> Found {
    let mut world = World::with_streams(1, "/live/a", |_config| {});
    let publisher = world.server.publisher();
    let event = Event::new().data("x".repeat((16 << 20) - 100));
    world.begin();
    for _ in 0..MESSAGES {
        if publisher.try_publish("a", &event).is_err() {
            break;
        }
    }
    world.settle();
    world.end()
}

fn talkative() -> Found {
    let mut world = World::with_streams(2_000, "/live/a", |_config| {});
    let said = bytes(&"x".repeat(16_000));
    world.begin();
    for peer in world.peers.clone() {
        world.server.net().send(peer, &said);
        world.turn();
    }
    world.settle();
    world.end()
}

fn bodies() -> Found {
    let mut world = World::new(|config| config.body_bytes_max = 1 << 20);
    let whole = post(&"x".repeat(1 << 20));
    let half = bytes(&whole[..whole.len() / 2]);
    world.begin();
    for _ in 0..500 {
        world.server.net().connect(&half, false);
        world.settle();
    }
    // Other clients are still served.
    world.server.net().connect(&bytes(&get("/page")), false);
    world.settle();
    world.end()
}
