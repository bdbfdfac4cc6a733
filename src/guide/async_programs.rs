//! Async programs: publish from tokio or another runtime, and reply from a task.
//!
//! The server has a thread of its own, because it waits for its sockets there. It needs no runtime, and works
//! with all of them. Tasks talk to it by handles whose calls never block:
//!
//! ```
//! use mio_sse::{Error, Reply, Router, Server};
//! use std::time::Duration;
//! # use std::io::{Read, Write};
//! # use std::net::TcpStream;
//!
//! let runtime = tokio::runtime::Runtime::new()?;
//! let tasks = runtime.handle().clone();
//!
//! let mut app = Router::new();
//! app.get("/clock", |_request, _cx| Reply::stream().topic("clock"));
//! // A request whose reply comes from a task. The loop does not wait for it.
//! app.get("/slow", move |_request, cx| {
//!     let (reply, responder) = cx.later();
//!     tasks.spawn(async move {
//!         tokio::time::sleep(Duration::from_millis(10)).await;
//!         let _ = responder.reply("done"); // An error says that the client has left.
//!     });
//!     reply
//! });
//!
//! let mut server = Server::bind("127.0.0.1:0", app)?;
//! # let address = server.local_addr()?;
//! let publisher = server.publisher();
//! let thread = std::thread::spawn(move || server.run());
//!
//! let clock = publisher.nonblocking();
//! runtime.spawn(async move {
//!     let mut beat = tokio::time::interval(Duration::from_millis(100));
//!     loop {
//!         beat.tick().await;
//!         match clock.publish("clock", "tick") {
//!             Ok(()) | Err(Error::Full) => {} // The next one is as good.
//!             Err(_) => return,               // The server has stopped.
//!         }
//!     }
//! });
//! # let ask = |path: &str| -> std::io::Result<TcpStream> {
//! #     let mut socket = TcpStream::connect(address)?;
//! #     socket.set_read_timeout(Some(Duration::from_secs(20)))?;
//! #     socket.write_all(format!("GET {path} HTTP/1.0\r\n\r\n").as_bytes())?;
//! #     Ok(socket)
//! # };
//! # let (mut slow, mut ticks, mut buffer) = (String::new(), Vec::new(), [0; 1024]);
//! # ask("/slow")?.read_to_string(&mut slow)?;
//! # assert!(slow.ends_with("\r\n\r\ndone"), "{slow}");
//! # let mut stream = ask("/clock")?;
//! # while !ticks.windows(10).any(|part| part == b"data: tick") {
//! #     let count = stream.read(&mut buffer)?;
//! #     assert!(count > 0);
//! #     ticks.extend_from_slice(&buffer[..count]);
//! # }
//!
//! // Some time later:
//! publisher.drain(Duration::from_secs(1))?;
//! thread.join().expect("the server does not panic")?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # Which calls wait
//!
//! | call | in a task |
//! |---|---|
//! | [`Publisher::publish`](crate::Publisher::publish) and its other methods | wait while the inbox is full: use [`nonblocking`](crate::Publisher::nonblocking), which returns [`Error::Full`](crate::Error::Full) instead |
//! | [`Publisher::ask`](crate::Publisher::ask), [`ask_all`](crate::Publisher::ask_all) | wait for the loop: use [`run`](crate::Publisher::run) and [send the value back](#ask-the-loop-for-something) |
//! | [`EventSender::send`](crate::EventSender::send) | waits while the client does not read: use [`try_send`](crate::EventSender::try_send) |
//! | [`Responder::reply`](crate::Responder::reply), [`is_awaited`](crate::Responder::is_awaited) | never wait |
//!
//! # What to do when the inbox is full
//!
//! The inbox holds [`Config::inbox_max`](crate::Config::inbox_max) messages. It fills up if tasks publish
//! faster than the loop delivers. Choose one:
//!
//! - **Drop the event**, if the next one replaces it, as above.
//! - **Wait a little and try again**, if every event counts. [`nonblocking`](crate::Publisher::nonblocking)
//!   has that loop as an example.
//! - **Leave it to a thread**: one `spawn_blocking` task takes events from a channel of your runtime and
//!   calls `publish`, which waits. The channel then slows down the tasks.
//!
//! # Ask the loop for something
//!
//! [`Publisher::run`](crate::Publisher::run) runs a closure in the loop. The closure sends the result to a
//! channel of your runtime, whose sending half does not block:
//!
//! ```
//! # use mio_sse::{Error, Publisher};
//! /// `reply` sends to a channel whose other end a task awaits, such as `tokio::sync::oneshot`.
//! fn count_readers(
//!     publisher: &Publisher,
//!     reply: impl FnOnce(usize) + Send + 'static,
//! ) -> Result<(), Error> {
//!     publisher.nonblocking().run(move |cx| reply(cx.subscribers("news")))
//! }
//! ```
//!
//! # Feed a stream from a task
//!
//! A channel writes one stream. Its `ahead` is the number of events that may wait for the client. While it is
//! full, the task sleeps and tries again:
//!
//! ```
//! # use mio_sse::{Error, EventSender};
//! # use std::time::Duration;
//! async fn send(sender: &EventSender, data: &str) -> Result<(), Error> {
//!     loop {
//!         match sender.try_send(data) {
//!             Err(Error::Full) => tokio::time::sleep(Duration::from_millis(5)).await,
//!             done => return done, // `Error::Closed`: the client has left, so stop the work.
//!         }
//!     }
//! }
//! ```
//!
//! Make the channel in the handler ([`Context::channel`](crate::Context::channel)), spawn the task with it,
//! and drop it to end the stream. The example `tokens` does the same with a thread.
//!
//! # Spawn tasks from handlers
//!
//! Handlers run on the server's thread, outside of the runtime: `tokio::spawn` would panic there. Give them a
//! `Handle`, as above. Never call `block_on` in a handler: it would hold up every stream.
//!
//! # Shut down together
//!
//! A task that waits for a signal calls [`Publisher::drain`](crate::Publisher::drain). The thread of the
//! server ends when the drain is over, so join it before the runtime shuts down.
//! [`is_stopped`](crate::Publisher::is_stopped) tells tasks whether the server has ended.
//!
//! # Where to look next
//!
//! - The example `tokio` is a whole program.
//! - [Embedding](super::embedding): run the server without a thread of its own.
//! - [Deployment](super::deployment): what a drain does.
