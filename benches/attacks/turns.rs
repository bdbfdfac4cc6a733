//! Attacks on the time of a turn, each with the given number of streams.

use crate::world::{Found, World, bytes, get, keeps_all, post};
use mio_sse::{Drain, Event, History, Ids, Overflow, TopicConfig};
use std::time::Duration;

pub(crate) type Attack = (&'static str, fn(usize) -> Found);

pub(crate) const ATTACKS: [Attack; 18] = [
    ("skip, all behind", skip),
    ("expiry of 1,000,000 events", expiry),
    ("send_tagged to all", |streams| {
        called(streams, |cx| drop(cx.send_tagged("all", Event::new().data("x"))))
    }),
    ("close_tagged of all", |streams| {
        called(streams, |cx| {
            cx.close_tagged("all");
        })
    }),
    ("revoke of all", |streams| {
        called(streams, |cx| {
            cx.revoke("all", Duration::from_secs(60));
        })
    }),
    ("finish_topic of all", |streams| called(streams, |cx| drop(cx.finish_topic("a")))),
    ("300,000 keys, three times", keyed),
    ("a wave, one 200 MB behind", far_behind),
    ("drain of all", |streams| called(streams, |cx| drop(cx.drain(Drain::within(Duration::ZERO))))),
    ("heartbeats, all due at once", heartbeats),
    ("all stalled at once", stalled),
    ("all leave at once", leave),
    ("sources of bad events", bad_sources),
    ("junk after the end", junk),
    ("publishing during a wave", publishing),
    ("a crowd opens", crowd),
    ("whole replies, byte by byte", slow_replies),
    ("a large wave", |streams| {
        called(streams, |cx| drop(cx.publish("a", Event::new().data("x".repeat(1 << 20)))))
    }),
];

/// A handler makes a call that concerns all streams.
fn called(streams: usize, call: impl FnOnce(&mut mio_sse::Context<'_>)) -> Found {
    let mut world = World::with_streams(streams, "/tagged", |_config| {});
    world.begin();
    world.call(call);
    world.settle();
    world.end()
}

/// All streams but one stop reading, each at another place. Later they have to continue at the oldest event.
fn skip(streams: usize) -> Found {
    const BATCH: usize = 20;
    let mut world = World::with_streams(streams, "/live/a", |config| {
        config.topic = TopicConfig::default().overflow(Overflow::Skip);
    });
    // The first stream keeps reading.
    for (place, &peer) in world.peers.clone().iter().skip(1).enumerate() {
        world.server.net().set_room(peer, 60 * place);
    }
    world.begin();
    for _ in 0..3_000 {
        for _ in 0..BATCH {
            let event = Event::new().data("0123456789012345678901234567890123456");
            world.call(|cx| cx.publish("a", event)).expect("an event that can be written");
        }
        world.settle();
        // What was offered just now does not count as lag.
        world.pass(Duration::from_millis(20));
        if world.is_over() {
            break;
        }
    }
    world.end()
}

fn expiry(streams: usize) -> Found {
    let mut world = World::with_streams(streams, "/live/b", |config| {
        let history = History::new().bytes(1 << 30).age(Duration::from_secs(60));
        config.topic = TopicConfig::default().history(history).ids(Ids::Own);
    });
    for number in 0..1_000_000_u32 {
        let event = Event::new().data("0123456789").id(number.to_string());
        world.server.context().publish("a", event).expect("an event that can be written");
    }
    world.settle();
    world.pass(Duration::from_secs(61));
    world.begin();
    world.settle();
    world.end()
}

fn keyed(streams: usize) -> Found {
    let mut world = World::with_streams(streams, "/live/b", |config| {
        config.topic = TopicConfig::default().keyed();
    });
    world.begin();
    for _ in 0..3 {
        for key in 0..300_000 {
            let event = Event::new().data("0123456789012345678901234567890123456").key(format!("k{key}"));
            world.call(|cx| cx.publish("a", event)).expect("an event that can be written");
            if key % 1_000 == 0 {
                world.settle();
            }
        }
    }
    world.end()
}

fn far_behind(streams: usize) -> Found {
    let mut world = World::new(|config| config.topic = keeps_all());
    for _ in 0..2_000 {
        let event = Event::new().data("x".repeat(100_000));
        world.server.context().publish("a", event).expect("an event that can be written");
    }
    world.settle();
    world.open(streams, "/live/a");
    world.settle();
    world.begin();
    world.open(1, "/all/a");
    world.turn();
    world.call(|cx| cx.publish("a", Event::new().data("new"))).expect("an event that can be written");
    world.settle();
    world.end()
}

/// The loop is held up, so all streams are late.
fn heartbeats(streams: usize) -> Found {
    let mut world =
        World::with_streams(streams, "/live/a", |config| config.heartbeat = Some(Duration::from_secs(15)));
    world.begin();
    world.pass(Duration::from_secs(31));
    world.settle();
    // The rest is done slice by slice.
    for _ in 0..100 {
        world.pass(Duration::from_millis(100));
        world.settle();
    }
    assert!(world.server.stats().heartbeats >= streams as u64, "each has a heartbeat");
    world.end()
}

fn stalled(streams: usize) -> Found {
    let mut world =
        World::with_streams(streams, "/live/a", |config| config.stall_timeout = Duration::from_secs(30));
    for peer in world.peers.clone() {
        world.server.net().set_room(peer, 0);
    }
    world.begin();
    world.call(|cx| cx.publish("a", Event::new().data("x"))).expect("an event that can be written");
    world.settle();
    for _ in 0..40 {
        world.pass(Duration::from_secs(1));
        world.settle();
    }
    assert_eq!(world.server.stats().streams, 0, "all have stalled");
    world.end()
}

fn leave(streams: usize) -> Found {
    let mut world = World::with_streams(streams, "/live/a", |_config| {});
    for peer in world.peers.clone() {
        world.server.net().leave(peer);
    }
    world.begin();
    world.settle();
    assert_eq!(world.server.stats().streams, 0, "all have left");
    world.end()
}

fn bad_sources(streams: usize) -> Found {
    let mut world = World::new(|_config| {});
    world.open(streams, "/bad");
    world.begin();
    world.turn_up_to(2_000);
    world.end()
}

/// A rejected request gets its reply. The bytes after it are read and dropped.
fn junk(streams: usize) -> Found {
    let mut world = World::new(|_config| {});
    let input = bytes("this is no request\r\n\r\n");
    for _ in 0..streams {
        world.server.net().connect(&input, true);
    }
    world.begin();
    world.turn_up_to(2_000);
    world.end()
}

fn publishing(streams: usize) -> Found {
    let mut world = World::with_streams(streams, "/live/a", |_config| {});
    let publisher = world.server.net().connect(&bytes(""), false);
    let post = bytes(&post(&"x".repeat(60_000)));
    world.begin();
    for _ in 0..400 {
        world.server.net().send(publisher, &post);
        world.turn();
    }
    world.settle();
    world.end()
}

fn crowd(streams: usize) -> Found {
    let mut world = World::new(|_config| {});
    world.open(streams, "/live/a");
    world.begin();
    world.settle();
    world.end()
}

fn slow_replies(streams: usize) -> Found {
    let mut world = World::new(|_config| {});
    let page = bytes(&get("/page"));
    let peers: Vec<_> = (0..streams).map(|_| world.server.net().connect(&page, false)).collect();
    for &peer in &peers {
        world.server.net().set_room(peer, 1);
    }
    world.begin();
    world.settle();
    for _ in 0..100 {
        for &peer in &peers {
            world.server.net().set_room(peer, 1);
        }
        world.pass(Duration::from_secs(10));
        world.settle();
    }
    world.end()
}
