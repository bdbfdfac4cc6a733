//! Adopts connections that another server has accepted and may have read from.
//!
//! Input that was read is held like the beginning of an incomplete request. Parser and limits then treat it
//! like any other.

use crate::conn::slot::Connection;
use crate::error::Error;
use crate::http::parse::held::Held;
use crate::http::parse::incoming::Incoming;
use crate::server::api::app::App;
use crate::server::api::server::Server;
use crate::server::io::net::Net;
use std::io;
use std::net::TcpStream;

impl<H: App, N: Net> Server<H, N> {
    /// Takes over a connection that another HTTP server has accepted. `input` is what that server has read
    /// from it so far: the head of the request, a part of it, or more. It is treated as if this server had
    /// read it, and reading continues from the socket. If you have only a parsed request,
    /// [`RawRequest`](crate::RawRequest) writes it as bytes again.
    ///
    /// The connection counts as [accepted](crate::Stats::accepted). If there are too many, it is refused like
    /// any other; this is not an error. In a [drain](crate::Context::drain) it gets a reply but no stream,
    /// although no other connections are accepted: the server that handed it over can no longer reply.
    ///
    /// The socket and its clones become nonblocking. A clone that you keep holds the connection open. Nothing
    /// of a response to the request may have been written yet.
    ///
    /// Nothing is parsed and no handler is called before the next [turn](Self::turn). In a loop of your own,
    /// call [`next_timeout`](Self::next_timeout) again. From other threads use
    /// [`Publisher::adopt`](crate::Publisher::adopt).
    ///
    /// ```no_run
    /// use mio_sse::{Event, Router, Server};
    /// use std::io::Read;
    /// use std::net::TcpListener;
    /// use std::time::Duration;
    ///
    /// let mut app = Router::new();
    /// app.sse("/events", |stream, _request, cx| cx.send(stream, Event::new().data("hello")));
    /// let mut server = Server::bind("127.0.0.1:0", app)?;
    ///
    /// // Another server's listener, and its first read.
    /// let (mut socket, _) = TcpListener::bind("127.0.0.1:8080")?.accept()?;
    /// let mut input = vec![0; 4096];
    /// let count = socket.read(&mut input)?;
    /// input.truncate(count);
    /// server.adopt(socket, input)?;
    ///
    /// server.turn(Some(Duration::ZERO))?;
    /// # Ok::<(), std::io::Error>(())
    /// ```
    ///
    /// # Errors
    /// [`Other`](io::ErrorKind::Other) with [`Error::Stopped`] inside after the server has stopped;
    /// [`Unsupported`](io::ErrorKind::Unsupported) if the [`Net`] has no TCP sockets; errors of the operating
    /// system. The connection is closed then.
    pub fn adopt(&mut self, socket: TcpStream, input: impl Into<Vec<u8>>) -> io::Result<()> {
        if self.stopped {
            return Err(io::Error::other(Error::Stopped));
        }
        // The last turn may have been long ago, and the time for the request runs from now.
        self.tell_time();
        self.take_over(socket, input.into())
    }

    /// A part of step 4. Errors are only logged: the thread that handed the connection over does not wait for
    /// them.
    pub(crate) fn adopt_for_publisher(&mut self, socket: TcpStream, input: Vec<u8>) {
        if let Err(error) = self.take_over(socket, input) {
            log::debug!("cannot adopt a connection for another thread: {error}");
        }
    }

    fn take_over(&mut self, socket: TcpStream, input: Vec<u8>) -> io::Result<()> {
        // A peer that has left already has no address. A read will show that it has left.
        let address = socket.peer_addr().ok().map(|address| address.ip());
        let socket = self.net.adopt(socket).inspect_err(|error| self.accept_failed(error))?;
        let Some(slot) = self.add_connection(socket, address, None)? else { return Ok(()) };
        if !input.is_empty()
            && let Some(entry) = self.core.delivery.slots.get_mut(slot)
            && let Connection::Reading { held, .. } = &mut entry.state
        {
            *held = Some(Held::new(input, Incoming::default(), &self.core.account));
            // The poll reports only input that is still in the socket, so it may never report this
            // connection.
            self.core.unread.push(slot);
        }
        Ok(())
    }
}
