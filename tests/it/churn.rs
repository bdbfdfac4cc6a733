//! A great many peers that come and go at every stage, by FIN and by RST, over real sockets.

use crate::memory_net::{check_accounts, get};
use crate::support::{Client, serve_with};
use mio_sse::{Config, Event, Reply, Router};
use std::net::SocketAddr;
use std::time::Duration;

/// Number of clients, unless the environment sets another: `MIO_SSE_CHURN=20000`.
const CYCLES: usize = 2000;

/// Clients that are connected at the same time.
const AT_ONCE: usize = 50;

/// Open sockets of this process that are bound to `address`, as Linux reports them.
fn sockets_at(address: SocketAddr) -> usize {
    let table = std::fs::read_to_string("/proc/self/net/tcp").unwrap();
    let port = format!(":{:04X}", address.port());
    let held = table.lines().skip(1).filter(|line| {
        let fields: Vec<_> = line.split_whitespace().collect();
        // Sockets in TIME_WAIT belong to no process, and have no inode.
        fields[1].ends_with(&port) && fields[9] != "0"
    });
    held.count()
}

/// Takes a client to its `stage`, then disconnects it.
fn come_to(client: &mut Client, stage: usize) {
    match stage {
        // Sends nothing.
        0 => {}
        1 => client.write("GET /pa"),
        2 => client.write("POST /echo HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nhal"),
        // Does not read a reply.
        3 => client.write(get("/page").repeat(5)),
        4 => client.write(get("/large")),
        5 => {
            client.get_text("/page");
        }
        // A stream that is not read, one that is, and one with more requests after it.
        6 => client.write(get("/stream")),
        7 => {
            client.get("/stream");
            client.wait_for_body(":\n");
        }
        8 => client.write(get("/stream") + &get("/page")),
        9 => {
            client.get("/ended");
            client.events_to_end();
        }
        10 => client.write("nonsense\r\n\r\n"),
        _ => client.shutdown_write(),
    }
}

#[test]
fn clients_that_come_and_go_at_any_stage_leave_nothing_behind() {
    let cycles = std::env::var("MIO_SSE_CHURN").map_or(CYCLES, |cycles| cycles.parse().unwrap());
    let mut app = Router::new();
    app.get("/page", |_request, _cx| Reply::text("page"));
    app.get("/large", |_request, _cx| Reply::text("0".repeat(8 << 20)));
    app.post("/echo", |request, _cx| Reply::text(String::from_utf8_lossy(request.body()).into_owned()));
    app.sse("/stream", |stream, _request, cx| {
        cx.every(stream, Duration::from_millis(5), |stream, cx| cx.send(stream, Event::new().data("tick")))?;
        Ok::<_, mio_sse::Error>(Reply::stream().topic("t").max_age(Duration::from_millis(50)))
    });
    app.sse("/ended", |stream, _request, cx| {
        cx.send(stream, Event::new().data("only"))?;
        cx.close(stream)
    });
    let mut config = Config::default();
    config.linger = Duration::from_millis(50);
    config.stall_timeout = Duration::from_millis(200);
    config.connections_per_address_max = Some(1000);
    let server = serve_with(app, config);
    let mut clients = std::collections::VecDeque::new();
    for cycle in 0..cycles {
        let mut client = server.connect();
        come_to(&mut client, cycle % 12);
        clients.push_back(client);
        if clients.len() > AT_ONCE {
            let client = clients.pop_front().unwrap();
            if cycle % 5 < 2 { client.reset() } else { drop(client) }
        }
        if cycle % 20 == 0 {
            server.publisher.publish("t", Event::new().data("to all who are there")).unwrap();
        }
    }
    drop(clients);
    let stats = server.wait_for("nobody is left", |stats| {
        (stats.connections, stats.streams, stats.topics, stats.timers) == (0, 0, 0, 0)
            && stats.accepted == cycles as u64
    });
    check_accounts(&stats);
    assert_eq!((stats.streams_behind, stats.log_bytes), (0, 0));
    assert_eq!(stats.accept_errors, 0);
    if cfg!(target_os = "linux") {
        assert_eq!(sockets_at(server.address), 1, "only the listener is left");
    }
    let mut client = server.connect();
    assert_eq!(client.get_text("/page"), "page");
}
