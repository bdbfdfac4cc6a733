//! Embedding: run the server inside your own event loop, or beside another HTTP server.
//!
//! [`Server::run`](crate::Server::run) needs a thread of its own. If your program has a loop already, call
//! [`Server::turn`](crate::Server::turn) from it. One turn does what is due and returns:
//!
//! ```
//! use mio_sse::{Reply, Router, Server};
//! use std::os::fd::{AsFd, BorrowedFd};
//! use std::time::Duration;
//! # use std::io::{Read, Write};
//! # let (mut frames, mut turns) = (0, 0);
//!
//! /// Your poll: returns when the descriptor is readable or the time is over.
//! fn wait(descriptor: BorrowedFd<'_>, timeout: Option<Duration>) {
//!     # let _ = (descriptor, timeout);
//!     # std::thread::sleep(Duration::from_millis(1));
//! }
//!
//! let mut app = Router::new();
//! app.get("/state", |_request, _cx| Reply::stream().topic("state"));
//! let mut server = Server::bind("127.0.0.1:0", app)?;
//! # let mut tab = std::net::TcpStream::connect(server.local_addr()?)?;
//! # tab.write_all(b"GET /state HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
//!
//! while !server.is_stopped() {
//!     let timeout = server.next_timeout();
//!     wait(server.as_fd(), timeout);
//!     // Your own work. Between two turns the server is yours.
//!     # if server.stats().streams == 1 {
//!     server.context().publish("state", "moved")?;
//!     # frames += 1; if frames == 3 { server.context().stop(); }
//!     # }
//!     server.turn(Some(Duration::ZERO))?;
//!     # turns += 1; assert!(turns < 10_000, "nobody has come");
//! }
//! # let mut text = String::new();
//! # tab.read_to_string(&mut text)?;
//! # assert!(text.contains("data: moved"), "{text}");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Rules for your own loop
//!
//! 1. Watch the descriptor of the server ([`AsFd`](std::os::fd::AsFd), `AsRawFd`) for reading. It is that of
//!    an epoll or kqueue instance, so one descriptor stands for all connections.
//! 2. Ask [`next_timeout`](crate::Server::next_timeout) before each wait, and wait no longer than that.
//!    `None` means no limit. `Some(ZERO)` means that work is left.
//! 3. Then call `turn(Some(Duration::ZERO))`, even if only time has passed: it runs timers and heartbeats.
//! 4. Stop when [`is_stopped`](crate::Server::is_stopped) returns true: after a drain or
//!    [`Context::stop`](crate::Context::stop).
//!
//! The example `embed` does this with mio: datagrams become events. A game does without `wait`, and calls
//! `turn(Some(Duration::ZERO))` once a frame. If nothing else waits, `turn(None)` itself is the wait.
//!
//! [`Server::context`](crate::Server::context) publishes, sends and closes between two turns. What it does is
//! written to sockets in the next turn. Other threads use a [`Publisher`](crate::Publisher) as ever: it wakes
//! your loop by the same descriptor.
//!
//! Every step of a turn has a budget, so a turn is short unless a callback of yours is slow.
//!
//! # Beside another HTTP server
//!
//! Your HTTP server keeps its routes. For the path of the stream it hands the connection over, together with
//! the bytes it has read:
//!
//! ```
//! use mio_sse::{Config, Reply, Router, Server};
//! use std::io::{Read, Write};
//! use std::net::{TcpListener, TcpStream};
//!
//! let mut app = Router::new();
//! app.get("/events", |_request, _cx| Reply::stream().topic("news").first("welcome"));
//! // This server listens nowhere.
//! let mut server = Server::without_listener(app, Config::default())?;
//! let publisher = server.publisher();
//! let thread = std::thread::spawn(move || server.run());
//!
//! # let listener = TcpListener::bind("127.0.0.1:0")?;
//! # let mut tab = TcpStream::connect(listener.local_addr()?)?;
//! # tab.set_read_timeout(Some(std::time::Duration::from_secs(10)))?;
//! # tab.write_all(b"GET /events HTTP/1.1\r\nHost: localhost\r\n\r\n")?;
//! // In your server:
//! let (mut socket, _) = listener.accept()?;
//! let mut buffer = [0; 4096];
//! let count = socket.read(&mut buffer)?;
//! if buffer.starts_with(b"GET /events ") {
//!     publisher.adopt(socket, &buffer[..count])?;
//! }
//! # let mut text = Vec::new();
//! # while !text.windows(13).any(|part| part == b"data: welcome") {
//! #     let count = tab.read(&mut buffer)?;
//! #     assert!(count > 0);
//! #     text.extend_from_slice(&buffer[..count]);
//! # }
//! # publisher.run(|cx| cx.stop())?;
//! # thread.join().unwrap()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! - If only a parsed request is left, [`RawRequest`](crate::RawRequest) writes it as bytes again.
//! - Write nothing to the socket before, and keep no clone of it: a clone keeps the connection open.
//! - [`Publisher::try_adopt`](crate::Publisher::try_adopt) gives the connection back if there is no room, so
//!   that you can send a 503.
//! - In your own loop, use [`Server::adopt`](crate::Server::adopt).
//! - The example `adopt` is a whole program.
//!
//! Some frameworks do not give their sockets away. Then let this server listen on a port or [unix
//! socket](crate::Server::bind_unix) of its own, and route by path in the proxy in front of both. On another
//! port, the page needs [`Config::cors`](crate::Config::cors).
//!
//! # Where it may listen
//!
//! | you have | use |
//! |---|---|
//! | an address | [`Server::bind`](crate::Server::bind) |
//! | a path for a unix socket | [`Server::bind_unix`](crate::Server::bind_unix) |
//! | a listener, such as one from systemd | [`Server::from_listener`](crate::Server::from_listener), [`from_unix_listener`](crate::Server::from_unix_listener) |
//! | several of these | [`Listeners`](crate::Listeners) with [`Server::listen`](crate::Server::listen) |
//! | connections only | [`Server::without_listener`](crate::Server::without_listener) |
//! | another transport | [`Net`](crate::net::Net) with [`Server::with_net`](crate::Server::with_net) |
//!
//! # Where to look next
//!
//! - [Async programs](super::async_programs), if the rest of your program runs on tokio.
//! - [Deployment](super::deployment): shut down, and listeners of systemd.
//! - [`Server::in_memory`](crate::Server::in_memory): test your handlers without sockets.
