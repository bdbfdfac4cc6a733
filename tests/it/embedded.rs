//! A server within an outer loop.

use crate::support::Client;
use mio::unix::SourceFd;
use mio_sse::{Event, Router, Server};
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

#[test]
fn a_loop_of_ones_own_turns_the_server() {
    let mut app = Router::new();
    app.sse("/", |stream, _request, cx| {
        cx.every(stream, Duration::from_millis(5), |stream, cx| cx.send(stream, Event::new().data("tick")))
    });
    let mut server = Server::bind("127.0.0.1:0", app).unwrap();
    let address = server.local_addr().unwrap();
    let reader = std::thread::spawn(move || {
        let mut client = Client::connect(address);
        client.get("/");
        client.data(5)
    });

    let mut poll = mio::Poll::new().unwrap();
    let fd = server.as_fd().as_raw_fd();
    poll.registry().register(&mut SourceFd(&fd), mio::Token(0), mio::Interest::READABLE).unwrap();
    let mut events = mio::Events::with_capacity(8);
    while !reader.is_finished() {
        let limit = Duration::from_millis(100);
        let timeout = server.next_timeout().map_or(limit, |timeout| timeout.min(limit));
        poll.poll(&mut events, Some(timeout)).unwrap();
        server.turn(Some(Duration::ZERO)).unwrap();
    }
    assert_eq!(reader.join().unwrap(), ["tick"; 5]);
}
