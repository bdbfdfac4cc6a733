//! Steady work allocates nothing: fan-out, heartbeats, waiting.
//!
//! It is a binary of its own with a single test, as the allocator counts for the whole process.

#![allow(unsafe_code, reason = "an allocator cannot be written without")]

use mio_sse::net::{Net, Ready};
use mio_sse::{Config, Event, Reply, Router, Server};
use std::alloc::{GlobalAlloc, Layout, System};
use std::io;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Wake, Waker};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

struct Counting;

static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

/// Bytes allocated and not freed.
static BYTES: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: everything is left to the system's allocator.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        BYTES.fetch_add(size, Ordering::Relaxed);
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Peers that request a stream each and then read everything: a network without cost of its own.
struct Sink {
    now: Duration,
    waiting: u32,
    request: &'static [u8],
    ready: Vec<u32>,
    /// The peers have left.
    left: bool,
    written: u64,
}

struct NoWaker;

impl Wake for NoWaker {
    fn wake(self: Arc<Self>) {}
}

impl Net for Sink {
    /// Whether the request has been read.
    type Socket = bool;
    const SHORT_MEANS_DRAINED: bool = true;

    fn poll(&mut self, _timeout: Option<Duration>, ready: &mut Vec<Ready>) -> io::Result<()> {
        if self.waiting > 0 {
            ready.push(Ready::Listener);
        }
        let connection =
            |slot| Ready::Connection { slot, readable: true, writable: false, until_blocked: false };
        ready.extend(self.ready.drain(..).map(connection));
        Ok(())
    }

    fn accept(&mut self) -> io::Result<(bool, Option<IpAddr>)> {
        self.waiting = self.waiting.checked_sub(1).ok_or(io::ErrorKind::WouldBlock)?;
        Ok((false, None))
    }

    fn stop_listening(&mut self) {
        self.waiting = 0;
    }

    fn register(&mut self, _socket: &mut bool, slot: u32) -> io::Result<()> {
        self.ready.push(slot);
        Ok(())
    }

    fn read(&mut self, socket: &mut bool, buffer: &mut [u8]) -> io::Result<usize> {
        if self.left {
            return Ok(0);
        }
        if std::mem::replace(socket, true) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        buffer[..self.request.len()].copy_from_slice(self.request);
        Ok(self.request.len())
    }

    fn write(&mut self, _socket: &mut bool, bytes: &[u8]) -> io::Result<usize> {
        self.written += bytes.len() as u64;
        Ok(bytes.len())
    }

    fn shutdown(&mut self, _socket: &mut bool) -> io::Result<()> {
        Ok(())
    }

    fn close(&mut self, _socket: bool) {}

    fn waker(&self) -> Waker {
        Arc::new(NoWaker).into()
    }

    fn now(&self) -> Duration {
        self.now
    }

    fn unix_time(&self) -> SystemTime {
        UNIX_EPOCH
    }

    fn local_addr(&self) -> io::Result<SocketAddr> {
        Ok(([127, 0, 0, 1], 80).into())
    }
}

type Loop = Server<Router, Sink>;

const STREAMS: u32 = 1000;

/// So many that the fixed memory of a server does not count.
const CROWD: u32 = 20_000;

/// A server with streams on the topic `t`.
fn streams(request: &'static [u8]) -> Loop {
    crowd(request, STREAMS)
}

fn crowd(request: &'static [u8], count: u32) -> Loop {
    let mut app = Router::new();
    app.get("/chunked", |_request, _cx| Reply::stream().topic("t"));
    app.get("/close-delimited", |_request, _cx| Reply::stream().topic("t").close_delimited());
    app.get("/shared-tag", |_request, _cx| Reply::stream().topic("t").tag("all"));
    let mut number = 0;
    app.get("/own-tag", move |_request, _cx| {
        number += 1;
        Reply::stream().topic("t").tag(format!("user {number:011}"))
    });
    app.get("/everything", |request, cx| {
        let number = request.query("number").map_or(0, |number| number.len());
        let id = cx.stream().unwrap();
        cx.every(id, Duration::from_secs(3600), |_stream, _cx| {})?;
        cx.on_close(id, move |_reason, _cx| _ = std::hint::black_box(number))?;
        let (own, tag) = (format!("own {id}"), format!("user {id}"));
        Ok::<_, mio_sse::Error>(Reply::stream().topic("t").topic(own).tag(tag).with(number))
    });
    let net =
        Sink { now: Duration::ZERO, waiting: count, request, ready: Vec::new(), left: false, written: 0 };
    let mut server = Server::with_net(net, app, Config::default()).unwrap();
    rest(&mut server);
    assert_eq!(server.stats().streams, u64::from(count));
    server
}

/// Turns until there is nothing left to do.
fn rest(server: &mut Loop) {
    loop {
        server.turn(Some(Duration::ZERO)).unwrap();
        if server.next_timeout() != Some(Duration::ZERO)
            && server.net().ready.is_empty()
            && server.net().waiting == 0
        {
            return;
        }
    }
}

fn allocations(work: impl FnOnce()) -> usize {
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    work();
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

#[test]
fn steady_work_allocates_nothing() {
    let requests: [&'static [u8]; 2] =
        [b"GET /chunked HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /close-delimited HTTP/1.1\r\nHost: x\r\n\r\n"];
    for request in requests {
        let mut server = streams(request);
        let event = Event::new().data("x".repeat(64)).event("tick").id("1");
        let publish = |server: &mut Loop, count: u32| {
            for _ in 0..count {
                server.context().publish("t", &event).unwrap();
            }
            rest(server);
        };
        // Buffers grow to their size.
        publish(&mut server, 64);

        let fan_out = allocations(|| (0..50).for_each(|_| publish(&mut server, 64)));
        assert_eq!(fan_out, 0, "for {} deliveries", 50 * 64 * STREAMS);

        let beats = |server: &mut Loop| {
            for _ in 0..400 {
                server.net().now += Duration::from_millis(100);
                rest(server);
            }
        };
        beats(&mut server);
        let before = server.stats().heartbeats;
        assert_eq!(allocations(|| beats(&mut server)), 0, "for heartbeats");
        assert!(server.stats().heartbeats >= before + 2 * u64::from(STREAMS));

        assert_eq!(allocations(|| (0..1000).for_each(|_| rest(&mut server))), 0, "for nothing");
    }

    // Tags cost what the documentation of `Context::tag` says. Without tags there is no cost.
    let bytes_of = |request| {
        let before = BYTES.load(Ordering::Relaxed);
        let server = streams(request);
        let bytes = BYTES.load(Ordering::Relaxed) - before;
        drop(server);
        bytes / STREAMS as usize
    };
    let without = bytes_of(requests[0]);
    let shared = bytes_of(b"GET /shared-tag HTTP/1.1\r\nHost: x\r\n\r\n") - without;
    let own = bytes_of(b"GET /own-tag HTTP/1.1\r\nHost: x\r\n\r\n") - without;
    println!("{without} bytes for each stream, {shared} more with a tag of all, {own} with a tag of its own");
    let mut server = streams(requests[0]);
    let before = BYTES.load(Ordering::Relaxed);
    for user in 0..STREAMS {
        server.context().revoke(&format!("user {user:011}"), Duration::from_millis(user.into()));
    }
    let revoked = (BYTES.load(Ordering::Relaxed) - before) / STREAMS as usize;
    println!("{revoked} bytes for each revocation");
    assert!(revoked < 200, "{revoked} bytes for each revocation");
    assert!(shared < 80 && own < 200, "{shared} and {own} bytes for each stream");

    // When all have left, only memory that the next streams use again is kept.
    let everything = b"GET /everything HTTP/1.1\r\nHost: x\r\n\r\n";
    let before = BYTES.load(Ordering::Relaxed);
    let mut server = crowd(everything, CROWD);
    let held = || (BYTES.load(Ordering::Relaxed) - before) / CROWD as usize;
    let open = held();
    server.net().left = true;
    server.net().ready = (0..CROWD).collect();
    rest(&mut server);
    assert_eq!(server.stats().connections, 0);
    let left = held();
    println!("{open} bytes for each of {CROWD} streams with everything, {left} when they have left");
    assert!(left < 30, "{left} bytes for each stream that has left");
    drop(server);

    // Opening a stream may allocate, but the stream keeps only its record. After earlier streams, the only
    // allocations are the reply, the name of the topic in it, and the lists that grow now and then.
    let mut server = None;
    let first = allocations(|| server = Some(streams(requests[0])));
    let mut server = server.unwrap();
    let more = allocations(|| {
        server.net().waiting = STREAMS;
        rest(&mut server);
    });
    assert_eq!(server.stats().streams, 2 * u64::from(STREAMS));
    println!("{first} allocations for the first {STREAMS} streams, {more} for the next");
    assert!(first < 4 * STREAMS as usize, "{first} for {STREAMS} streams");
    assert!(more < 3 * STREAMS as usize, "{more} for {STREAMS} streams");
}
