//! The figures of `configurations.md`, printed, not asserted: `cargo test --manifest-path
//! tests/world/Cargo.toml proxy::figures -- --ignored --nocapture`.

use super::nginx::replace;
use super::others::{ALL, APACHE, CADDY, HAPROXY, Kind, LIGHTTPD, VARNISH};
use super::through::{app, publish, silent};
use super::{Curl, Nginx};
use crate::support::{Running, ms, now, serve_with};
use mio_sse::Config;
use std::any::Any;
use std::net::SocketAddr;
use std::time::{Duration, Instant};

/// Starts a proxy in front of a server, if there is one, and returns it with the URL of a stream.
type Way = Box<dyn Fn(SocketAddr) -> (Box<dyn Any>, String) + Send>;

fn through(kind: &'static Kind, change: impl Fn(&str) -> String + Send + 'static) -> Way {
    Box::new(move |server| {
        let proxy = kind.with(server, &change);
        let url = proxy.url("/events/news");
        (Box::new(proxy), url)
    })
}

fn ways() -> Vec<(String, Way)> {
    let direct: Way = Box::new(|server| (Box::new(()), format!("http://{server}/events/news")));
    let nginx: Way = Box::new(|server| {
        let nginx = Nginx::before(server);
        let url = nginx.url(false, "/events/news");
        (Box::new(nginx), url)
    });
    let mut ways = vec![("no proxy".to_owned(), direct), ("nginx".to_owned(), nginx)];
    ways.extend(ALL.map(|kind| (kind.says(), through(kind, str::to_owned))));
    let mut changed = |name: &str, kind, old: &'static str, new: &'static str| {
        ways.push((format!("  {name}"), through(kind, move |text| replace(text, old, new))));
    };
    changed("HAProxy without http-no-delay", &HAPROXY, "    option http-no-delay\n", "");
    changed("HAProxy without abortonclose", &HAPROXY, "    option abortonclose\n", "");
    let end_of_proxy = "8080\n\n";
    changed("Caddy with flush_interval -1", &CADDY, end_of_proxy, "8080 {\nflush_interval -1\n}\n");
    changed(
        "lighttpd without tcp-fin-propagate",
        &LIGHTTPD,
        "    \"tcp-fin-propagate\" => \"enable\",\n",
        "",
    );
    changed("Varnish with pass", &VARNISH, "return (pipe);", "return (pass);");
    changed("Apache with flushpackets", &APACHE, "8080/\n", "8080/ flushpackets=on\n");
    ways
}

fn median(mut times: Vec<Duration>) -> Duration {
    times.sort();
    times[times.len() / 2]
}

/// Time from `publish` to the line that curl prints.
#[test]
#[ignore = "figures, not a test"]
fn how_late_an_event_is() {
    for (name, way) in ways() {
        let server = serve_with(app(), silent());
        let (_proxy, url) = way(server.address);
        let curl = Curl::get(&url, &[]);
        curl.head();
        curl.wait_for("");
        let times = (0..200).map(|count| {
            // So that the stream is at rest, as most streams are.
            std::thread::sleep(ms(5));
            let begin = now();
            publish(&server, "news", &count.to_string());
            curl.wait_for(&format!("data: {count}"));
            begin.elapsed()
        });
        println!("{:?} {name}", median(times.collect()));
    }
}

/// Time from a client's leaving to the end of its stream, without heartbeats and with the default ones, or
/// `None` if that takes longer than a minute. Three clients each, which leave at different times after a
/// heartbeat.
#[test]
#[ignore = "figures, and minutes"]
fn when_a_client_is_seen_to_have_left() {
    for heartbeat in [None, Config::default().heartbeat] {
        println!("heartbeat: {heartbeat:?}");
        let threads: Vec<_> = ways()
            .into_iter()
            .map(|(name, way)| (name, std::thread::spawn(move || leave(&way, heartbeat))))
            .collect();
        for (name, thread) in threads {
            println!("{:?} {name}", thread.join().unwrap());
        }
    }
}

struct Client {
    /// Until it leaves.
    curl: Option<Curl>,
    left: Option<Instant>,
    /// How long after that the stream ended.
    noticed: Option<Duration>,
    server: Running,
    _proxy: Box<dyn Any>,
}

fn leave(way: &Way, heartbeat: Option<Duration>) -> Vec<Option<Duration>> {
    let mut config = Config::default();
    config.heartbeat = heartbeat;
    let mut clients = [(); 3].map(|()| {
        let server = serve_with(app(), config.clone());
        let (proxy, url) = way(server.address);
        let curl = Some(Curl::get(&url, &[]));
        server.wait_for("a stream", |stats| stats.streams == 1);
        Client { curl, left: None, noticed: None, server, _proxy: proxy }
    });
    let begin = now();
    while begin.elapsed() < Duration::from_secs(70) && clients.iter().any(|client| client.noticed.is_none()) {
        for (client, seconds) in clients.iter_mut().zip([1, 5, 10]) {
            if client.left.is_none() && begin.elapsed() > Duration::from_secs(seconds) {
                client.left = Some(now());
                client.curl = None;
            }
            if client.noticed.is_none() && client.server.stats().streams == 0 {
                client.noticed = client.left.map(|left| left.elapsed());
            }
        }
        std::thread::sleep(ms(1));
    }
    clients.iter().map(|client| client.noticed).collect()
}
