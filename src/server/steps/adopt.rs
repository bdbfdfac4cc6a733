//! Connections that another server has accepted, and of which it may have read something.
//!
//! What was read is put where the beginning of a request waits for its rest, so from there on nothing is
//! different: who parses it, and by which limits, does not know where it came from.

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
    /// Takes over a connection that another HTTP server has accepted. `input` is what that has read of it so
    /// far: the head of the request, a part of it, or more. It is treated as if this server had read it, and
    /// what comes next is read from the socket. Where only a parsed request is left,
    /// [`RawRequest`](crate::RawRequest) writes it as bytes again.
    ///
    /// The connection counts like one that was [accepted](crate::Stats::accepted) here, and if there are too
    /// many it is refused like one; this is no error. In a [drain](crate::Context::drain), when nobody else
    /// is let in, it is answered, but gets no stream: the one that handed it over can no longer tell its
    /// client.
    ///
    /// The socket may block or not; it will not any more, nor will its clones. A clone that is kept holds the
    /// connection open. Nothing may have been written to it that the client takes for an answer to the
    /// request.
    ///
    /// Nothing is parsed and nobody asked before the next [turn](Self::turn); in a loop of your own ask for
    /// [`next_timeout`](Self::next_timeout) again. For other threads there is
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
    /// // Somebody else's listener, and somebody who reads the beginning.
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
    /// [`Unsupported`](io::ErrorKind::Unsupported) with a [`Net`] that is not of TCP; what the operating
    /// system says. The connection is closed then.
    pub fn adopt(&mut self, socket: TcpStream, input: impl Into<Vec<u8>>) -> io::Result<()> {
        if self.stopped {
            return Err(io::Error::other(Error::Stopped));
        }
        // The last turn may have been long ago, and the time for the request runs from this moment.
        self.tell_time();
        self.take_over(socket, input.into())
    }

    /// A part of step 4: the thread that asked for it cannot be told what became of it.
    pub(crate) fn adopt_for_publisher(&mut self, socket: TcpStream, input: Vec<u8>) {
        if let Err(error) = self.take_over(socket, input) {
            log::debug!("a connection is not taken over for another thread: {error}");
        }
    }

    fn take_over(&mut self, socket: TcpStream, input: Vec<u8>) -> io::Result<()> {
        // A peer that has left already has no address any more. That it has left shows when it is read from.
        let address = socket.peer_addr().ok().map(|address| address.ip());
        let socket = self.net.adopt(socket).inspect_err(|error| self.accept_failed(error))?;
        let Some(slot) = self.add_connection(socket, address, None)? else { return Ok(()) };
        if !input.is_empty()
            && let Some(entry) = self.core.delivery.slots.get_mut(slot)
            && let Connection::Reading { held, .. } = &mut entry.state
        {
            *held = Some(Held::new(input, Incoming::default(), &self.core.account));
            // The poll knows of nothing but what is still in the socket, and may have nothing to tell.
            self.core.unread.push(slot);
        }
        Ok(())
    }
}
