//! Clients that read all they are sent and look at none of it, in a thread of their own.

use mio::event::Source;
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Registry, Token};
use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::Duration;

const REQUEST: &[u8] = b"GET / HTTP/1.1\r\nHost: x\r\nAccept-Encoding: gzip\r\n\r\n";

pub(crate) struct Readers {
    address: SocketAddr,
    registry: Registry,
    shared: Arc<Shared>,
    joined: u64,
    thread: Option<JoinHandle<()>>,
}

#[derive(Default)]
struct Shared {
    received: AtomicU64,
    stops: AtomicBool,
    arrivals: std::sync::Mutex<Vec<TcpStream>>,
}

impl Readers {
    pub(crate) fn new(address: SocketAddr) -> Self {
        let poll = Poll::new().expect("a poll");
        let registry = poll.registry().try_clone().expect("a registry");
        let shared = Arc::<Shared>::default();
        let thread = std::thread::spawn({
            let shared = Arc::clone(&shared);
            move || read_all(poll, &shared)
        });
        Self { address, registry, shared, joined: 0, thread: Some(thread) }
    }

    /// One more comes. Returns how many have.
    pub(crate) fn join(&mut self) -> u64 {
        let mut socket = std::net::TcpStream::connect(self.address).expect("a connection");
        socket.write_all(REQUEST).expect("room for a request");
        socket.set_nonblocking(true).expect("a socket");
        let mut socket = TcpStream::from_std(socket);
        let token = Token(usize::try_from(self.joined).expect("few"));
        let mut arrivals = self.shared.arrivals.lock().expect("nobody panics");
        socket.register(&self.registry, token, Interest::READABLE).expect("a registration");
        arrivals.push(socket);
        self.joined += 1;
        self.joined
    }

    /// The bytes that all have received.
    pub(crate) fn received(&self) -> u64 {
        self.shared.received.load(Ordering::Relaxed)
    }
}

impl Drop for Readers {
    fn drop(&mut self) {
        self.shared.stops.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            thread.join().expect("it has not panicked");
        }
    }
}

fn read_all(mut poll: Poll, shared: &Shared) {
    let mut events = Events::with_capacity(1_024);
    let (mut sockets, mut buffer) = (Vec::<TcpStream>::new(), vec![0; 256 << 10]);
    while !shared.stops.load(Ordering::Relaxed) {
        poll.poll(&mut events, Some(Duration::from_millis(20))).expect("a poll");
        sockets.append(&mut shared.arrivals.lock().expect("nobody panics"));
        for event in &events {
            let mut taken = 0;
            while let Ok(count @ 1..) = sockets[event.token().0].read(&mut buffer) {
                taken += count as u64;
            }
            shared.received.fetch_add(taken, Ordering::Relaxed);
        }
    }
}
